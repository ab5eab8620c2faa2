/* Content reuse in the simulator: text that stood elsewhere is repaired, within the budget. */
#include "test.h"

#include "simlab.h"

#include <string.h>

#define HOUR_NS (3600 * (int64_t)1000000000)
#define N_TOK 700

static const double frac[] = {0, .1, .2};
static const int64_t distortion[] = {1000000000, 100000000, 10000000}; /* 1, 0.1, 0.01 nats */

/* Three blocks; then the same ones in the given order, an hour later, with 100 new tokens. */
static void run(struct simlab *lab, const char *planner, const uint64_t order[3], int64_t budget)
{
    struct kvs_trace_block block[2][3];
    struct kvs_request request[2] = {{0}};

    for (int i = 0; i < 2; i++) {
        for (uint64_t b = 0; b < 3; b++)
            block[i][b] = (struct kvs_trace_block){i ? order[b] : b, N_TOK, KVS_PART_PASSAGE};
        request[i] = (struct kvs_request){.arrive_ns = i * HOUR_NS,
                                          .input_tok = 3 * N_TOK + 100,
                                          .output_tok = 2,
                                          .n_block = 3,
                                          .block = block[i]};
    }
    lab->config.reuse = KVS_REUSE_CONTENT;
    lab->config.n_frac = 9;
    lab->config.repair = (struct kvs_table_repair){.n = 3, .frac = frac, .distortion = distortion};
    lab->config.budget = budget;
    lab->config.planner = kvs_planner_find(planner);
    simlab_run(lab, request, 2, false);
    assert_int_equal(simlab_ttft_ns(lab, 1), lab->record[1].predicted_ttft_ns);
}

static void text_in_its_place_needs_no_repair(void **state)
{
    static const uint64_t same[] = {0, 1, 2};
    struct simlab lab;

    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    for (int hbm = 0; hbm < 2; hbm++) {
        lab.config.hbm_cache = hbm;
        run(&lab, "load", same, 0);
        assert_int_equal(lab.record[1].recompute_tok, 0);
        assert_int_equal(lab.record[1].hbm_tok + lab.record[1].tier_tok[0], 3 * N_TOK);
    }
    simlab_close(&lab);
}

static void moved_text_is_repaired_within_the_budget(void **state)
{
    static const uint64_t turned[] = {2, 0, 1};
    struct simlab lab;

    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    for (int hbm = 0; hbm < 2; hbm++) {
        lab.config.hbm_cache = hbm;
        /* nothing may be lost: all is computed again, whatever the policy knows */
        run(&lab, "load", turned, 0);
        assert_int_equal(lab.record[1].recompute_tok, 3 * N_TOK);
        int64_t all_ns = simlab_ttft_ns(&lab, 1);
        run(&lab, "token-split", turned, 0);
        assert_int_equal(simlab_ttft_ns(&lab, 1), all_ns);
        /* a tenth repaired loses 0.1 nats, a fifth 0.01 */
        run(&lab, "token-split", turned, 100000000);
        assert_int_equal(lab.record[1].recompute_tok, 3 * (N_TOK / 10));
        int64_t tenth_ns = simlab_ttft_ns(&lab, 1);
        run(&lab, "token-split", turned, 99000000);
        assert_int_equal(lab.record[1].recompute_tok, 3 * (N_TOK / 5));
        int64_t fifth_ns = simlab_ttft_ns(&lab, 1);
        assert_true(tenth_ns < fifth_ns && fifth_ns < all_ns);
        /* unrepaired within the budget */
        run(&lab, "load", turned, 1000000000);
        assert_int_equal(lab.record[1].recompute_tok, 0);
    }
    simlab_close(&lab);
}

static void the_first_passage_that_differs_moves_all_behind_it(void **state)
{
    static const uint64_t other[] = {0, 2, 1};
    struct simlab lab;

    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    run(&lab, "token-split", other, 67000000); /* two thirds moved: a tenth loses 0.0667 */
    assert_int_equal(lab.record[1].recompute_tok, 2 * (N_TOK / 10));
    simlab_close(&lab);
}

static void without_a_menu_of_repair_reuse_is_free(void **state)
{
    static const uint64_t turned[] = {2, 0, 1};
    struct simlab lab;

    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    run(&lab, "load", turned, 1000000000);
    int64_t unrepaired_ns = simlab_ttft_ns(&lab, 1);
    struct kvs_trace_block block[2][3];
    struct kvs_request request[2] = {{0}};
    for (int i = 0; i < 2; i++) {
        for (uint64_t b = 0; b < 3; b++)
            block[i][b] = (struct kvs_trace_block){i ? turned[b] : b, N_TOK, KVS_PART_PASSAGE};
        request[i] = (struct kvs_request){.arrive_ns = i * HOUR_NS,
                                          .input_tok = 3 * N_TOK + 100,
                                          .output_tok = 2,
                                          .n_block = 3,
                                          .block = block[i]};
    }
    lab.config.repair.n = 0;
    simlab_run(&lab, request, 2, false);
    assert_int_equal(lab.record[1].recompute_tok, 0);
    assert_true(simlab_ttft_ns(&lab, 1) < unrepaired_ns); /* no keys rotated */
    simlab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_in_its_place_needs_no_repair),
        cmocka_unit_test(moved_text_is_repaired_within_the_budget),
        cmocka_unit_test(the_first_passage_that_differs_moves_all_behind_it),
        cmocka_unit_test(without_a_menu_of_repair_reuse_is_free),
    };
    return cmocka_run_group_tests_name("repair", tests, NULL, NULL);
}
