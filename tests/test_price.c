/* What a second of the GPU and of a link costs those behind it: the online planner in a queue. */
#include "simlab.h"
#include "test.h"

#include "base/rng.h"

#define HOUR_NS 3600000000000
#define MS 1000000

enum { N_DOC = 400, N_BLOCK = 40, N_ASK = 400, N = N_DOC + N_ASK, NEW = 500 };

struct outcome {
    uint64_t computed_tok; /* of the documents */
    double mean_s;         /* TTFT of the questions */
};

/* Documents stored one an hour, on NVMe alone; then each is asked about once, every gap_ns in the
 * mean (Poisson), with answers of n_out tokens. */
static struct outcome ask_of(const struct kvs_planner_ops *planner, int64_t gap_ns, uint32_t n_out)
{
    static struct kvs_trace_block block[N_DOC][N_BLOCK];
    static struct kvs_request request[N];
    struct outcome out = {0};
    struct simlab lab;
    simlab_open(&lab, "llama-3.1-8b", "h100-2gpu", 1);
    for (int d = 0; d < N_DOC; d++)
        for (uint32_t b = 0; b < N_BLOCK; b++)
            block[d][b] = (struct kvs_trace_block){(uint64_t)d * 100 + b + 1, 256, KVS_PART_TEXT};
    struct kvs_rng rng = kvs_rng_stream(1, "arrivals");
    int64_t at_ns = 0;
    for (int i = 0; i < N; i++) {
        at_ns += i <= N_DOC ? HOUR_NS : (int64_t)kvs_rng_exp(&rng, (double)gap_ns);
        request[i] = (struct kvs_request){.arrive_ns = at_ns,
                                          .input_tok = N_BLOCK * 256 + NEW,
                                          .output_tok = n_out,
                                          .n_block = N_BLOCK,
                                          .block = block[i % N_DOC]};
    }
    lab.config.hbm_cache = false;
    lab.config.tier[0] = lab.config.tier[1];
    lab.config.n_tier = 1;
    lab.config.planner = planner;
    simlab_run(&lab, request, N, true);
    for (size_t i = N_DOC; i < N; i++) {
        out.computed_tok += lab.record[i].recompute_tok;
        out.mean_s += (double)simlab_ttft_ns(&lab, i) * 1e-9 / N_ASK;
    }
    simlab_close(&lab);
    return out;
}

/* Computed .72 to .80 of it over five seeds, and the mean .97 to 1.005: here the price wins
 * nothing.
 */
static struct outcome ask(const char *planner, int64_t gap_ns, uint32_t n_out)
{
    return ask_of(kvs_planner_find(planner), gap_ns, n_out);
}

/* What the passes of prompts planned beside those who decode were said to cost: all tokens computed
 * in all layers, and in the first layer alone. */
static struct {
    uint32_t n_waiting, n_saving, n_free, n_costing;
    double rest_ns;
} seen;

static enum kvs_code look(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err)
{
    const uint32_t all = problem->n_frac - 1;
    if (problem->pass_rest_ns[all] > 0) { /* some decode */
        const bool waiting = problem->price_t > 0;
        const int64_t pass_ns = problem->pass_ns[all];
        *(waiting ? &seen.n_waiting : &seen.n_free) += 1;
        *(waiting ? &seen.n_saving : &seen.n_costing) += waiting ? pass_ns < 0 : pass_ns > 0;
        seen.rest_ns += (double)problem->pass_rest_ns[all];
    }
    return kvs_planner_find("optimal")->plan(problem, scratch, plan, eval, lower_bound_ns, err);
}

/* A pass over a prompt's tokens reads the weights for those who decode, too. Where prompts wait for
 * a place, and so for decoding, that is won; elsewhere the prompt waits for their part of the pass.
 */
static void passes_save_while_prompts_wait_for_a_place_and_cost_elsewhere(void **state)
{
    static struct kvs_planner_ops spy;
    (void)state;
    spy = *kvs_planner_find("online");
    spy.plan = look;
    (void)ask_of(&spy, 90 * MS, 160);
    assert_true(seen.n_waiting > 100 && seen.n_saving == seen.n_waiting);
    assert_true(seen.n_free > 20 && seen.n_costing == seen.n_free);
    assert_true(seen.rest_ns > 0);
}

static void behind_a_queue_online_computes_less_than_optimal(void **state)
{
    struct outcome priced = ask("online", 120 * MS, 40), unpriced = ask("optimal", 120 * MS, 40);
    (void)state;
    assert_true(priced.computed_tok > 0);
    assert_true((double)priced.computed_tok < .85 * (double)unpriced.computed_tok);
    assert_true(priced.mean_s < 1.05 * unpriced.mean_s);
}

/*
 * Drive and GPU have more to do than they can: 121 ms a load, every 90 ms. The optimum of T alone
 * has the least of both; online takes .82 to .89 of its compute over five seeds, and is 1.24
 * to 1.71 times as slow. Why is not known.
 */
static void behind_two_overloaded_servers_online_is_slower_than_optimal(void **state)
{
    struct outcome priced = ask("online", 90 * MS, 10), unpriced = ask("optimal", 90 * MS, 10);
    (void)state;
    assert_true((double)priced.computed_tok > .6 * (double)unpriced.computed_tok);
    assert_true(priced.mean_s < 2 * unpriced.mean_s);
    assert_true(priced.mean_s < .33 * ask("load", 90 * MS, 10).mean_s);
}

/* Long answers hold all 64 places, and whoever computes lets all of them wait: the mean is .74 to
 * .85 of optimal's over five seeds. */
static void where_answers_hold_the_places_online_loads(void **state)
{
    struct outcome priced = ask("online", 90 * MS, 160), unpriced = ask("optimal", 90 * MS, 160);
    (void)state;
    assert_true((double)priced.computed_tok < .5 * (double)unpriced.computed_tok);
    assert_true(priced.mean_s < .9 * unpriced.mean_s);
}

/* Of load's mean it is .81 to 1.02 over five seeds, of the others' less than half. */
static void between_two_full_servers_online_is_near_the_best_corner(void **state)
{
    static const char *const others[] = {"recompute", "token-split", "layer-split"};
    double mean_s = ask("online", 160 * MS, 160).mean_s;
    (void)state;
    assert_true(mean_s < 1.05 * ask("load", 160 * MS, 160).mean_s);
    for (size_t n = 0; n < sizeof others / sizeof *others; n++)
        assert_true(mean_s < .6 * ask(others[n], 160 * MS, 160).mean_s);
}

/* Hardly anyone waits here; what a pass of its own costs is what others decode in it. */
static void others_decoding_in_its_passes_is_counted(void **state)
{
    struct outcome priced = ask("online", 500 * MS, 160), unpriced = ask("optimal", 500 * MS, 160);
    (void)state;
    assert_true(priced.mean_s < .97 * unpriced.mean_s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_save_while_prompts_wait_for_a_place_and_cost_elsewhere),
        cmocka_unit_test(behind_a_queue_online_computes_less_than_optimal),
        cmocka_unit_test(behind_two_overloaded_servers_online_is_slower_than_optimal),
        cmocka_unit_test(where_answers_hold_the_places_online_loads),
        cmocka_unit_test(between_two_full_servers_online_is_near_the_best_corner),
        cmocka_unit_test(others_decoding_in_its_passes_is_counted),
    };
    return cmocka_run_group_tests_name("price", tests, NULL, NULL);
}
