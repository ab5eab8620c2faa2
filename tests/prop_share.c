/* Routes of one prompt that share hops: what the plan says, against schedules and a real network.
 */
#include "test.h"

#include "base/rng.h"
#include "base/units.h"
#include "engine/net.h"
#include "plan/tables.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_PIECE = 40, N_FRAC = 9, N_LEVEL = 3, MOST = 4000 };

static const char *const profiles[] = {
    "a10",    "a100-80g", "b200",     "h100-2gpu", "h100-pcie", "h100-sxm",    "h200",
    "h800-8", "mi300x",   "rtx-3090", "rtx-4090",  "a40",       "rtx-pro-6000"};
#define N_PROFILE (sizeof profiles / sizeof *profiles)

/* Two tiers of a machine, rates that tests may turn, and random blocks on them. */
struct machine {
    struct kvs_model *model;
    struct kvs_hw *hw;
    struct kvs_cost *cost;
    struct kvs_hw_link link[KVS_MAX_LINK];
    struct kvs_table_route route[2];
    struct kvs_tables *tables;
    struct kvs_tables_inst *inst;
    struct kvs_piece piece[N_PIECE + 1];
    uint32_t n_piece;
    struct kvs_plan_problem problem;
};

static const struct kvs_table_level levels[N_LEVEL] = {
    {.name = "raw16", .k_ratio = 1, .v_ratio = 1},
    {.name = "half", .k_ratio = .5, .v_ratio = .5, .decode_bytes_per_s = 4e11},
    {.name = "third", .k_ratio = .4, .v_ratio = .26, .decode_bytes_per_s = 2e11},
};

static void build(struct machine *m)
{
    struct kvs_err err = {0};
    struct kvs_tables_config config = {.model = m->model,
                                       .cost = m->cost,
                                       .n_route = 2,
                                       .route = m->route,
                                       .chunk_tok = 512,
                                       .n_frac = N_FRAC,
                                       .descriptors = 2,
                                       .n_level = N_LEVEL,
                                       .level = levels};

    kvs_tables_inst_free(m->inst);
    kvs_tables_free(m->tables);
    if (kvs_tables_new(&config, &m->tables, &err))
        fail_msg("%s", err.msg);
    m->inst = kvs_tables_inst_new(m->tables);
    assert_non_null(m->inst);
    kvs_tables_build(m->tables, m->inst, m->piece, m->n_piece, &m->problem);
}

static void open_machine(struct machine *m, struct kvs_rng *rng, const char *profile)
{
    static const char *const pair[3][2] = {
        {"dram", "nvme"}, {"dram", "remote"}, {"nvme", "remote"}};
    const char *const *names = pair[kvs_rng_below(rng, 3)];
    uint32_t first = (uint32_t)kvs_rng_below(rng, N_PIECE), mixed = (uint32_t)kvs_rng_below(rng, 3);
    struct kvs_err err = {0};

    memset(m, 0, sizeof *m);
    if (kvs_model_open("llama-3.1-8b", &m->model, &err) || kvs_hw_open(profile, &m->hw, &err) ||
        kvs_cost_new(m->model, m->hw, 1, &m->cost, &err))
        fail_msg("%s", err.msg);
    memcpy(m->link, m->hw->link, m->hw->n_link * sizeof *m->link);
    for (uint32_t k = 0; k < 2; k++) {
        const struct kvs_hw_tier *tier = kvs_hw_tier(m->hw, names[k]);

        assert_non_null(tier);
        m->route[k].n_hop = tier->n_hop;
        for (uint32_t h = 0; h < tier->n_hop; h++)
            m->route[k].hop[h] = (struct kvs_table_hop){&m->link[tier->hop[h]], 1};
    }
    m->n_piece = N_PIECE + 1;
    for (uint32_t b = 0; b < N_PIECE; b++)
        m->piece[b] = (struct kvs_piece){.n_tok = 64 + (uint32_t)kvs_rng_below(rng, 1000),
                                         .where = mixed == 0 ? (int32_t)kvs_rng_below(rng, 2)
                                                             : (mixed == 1) == (b < first)};
    m->piece[N_PIECE] =
        (struct kvs_piece){.n_tok = 1 + (uint32_t)kvs_rng_below(rng, 1000), .where = KVS_AT_NONE};
    build(m);
}

static void close_machine(struct machine *m)
{
    kvs_tables_inst_free(m->inst);
    kvs_tables_free(m->tables);
    kvs_cost_free(m->cost);
    kvs_hw_free(m->hw);
    kvs_model_free(m->model);
}

/* One level, or one for some of the first layers and another one behind. */
static void random_plan(struct kvs_rng *rng, const struct kvs_plan_problem *p,
                        struct kvs_plan *plan)
{
    uint32_t i = (uint32_t)kvs_rng_below(rng, p->n_frac), turn = (uint32_t)kvs_rng_below(rng, 40);
    uint32_t q[2] = {(uint32_t)kvs_rng_below(rng, p->n_level),
                     (uint32_t)kvs_rng_below(rng, p->n_level)};

    for (uint32_t l = 0; l < p->n_layer; l++) {
        i = kvs_rng_below(rng, 4) ? i : (uint32_t)kvs_rng_below(rng, i + 1);
        plan->frac_i[l] = (uint8_t)i;
        plan->level[l] = (uint8_t)q[l > turn];
    }
}

static int64_t end_of(const struct kvs_plan_problem *p, const struct kvs_plan *plan)
{
    struct kvs_plan_eval eval;

    assert_true(kvs_plan_eval(p, plan, NULL, &eval));
    return eval.end_ns;
}

/* --- property: second tiers and faster links ----------------------------------------------------
 */

/* All blocks lie on the first tier too. Where the second brings its part in the time that the first
 * would take for everything, no plan is slower but for the later start. */
static void a_second_tier_that_keeps_up_slows_no_plan(void **state)
{
    uint32_t n = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 40 * N_PROFILE; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "second");
        struct machine m;
        struct kvs_plan_problem both;
        struct kvs_plan plan;
        int64_t end_ns[8], start_ns = 0;
        bool keeps_up = true;

        open_machine(&m, &rng, profiles[seed % N_PROFILE]);
        both = m.problem;
        struct kvs_rng again = rng;
        for (uint32_t j = 0; j < 8; j++) {
            random_plan(&rng, &both, &plan);
            end_ns[j] = end_of(&both, &plan);
        }
        int64_t io_ns[N_FRAC * N_LEVEL];
        for (uint32_t at = 0; at < N_FRAC * N_LEVEL; at++)
            io_ns[at] = both.n_route > 1 ? both.layer[0]->io_ns[1][at] : 0;
        start_ns = both.io_start_ns[1] - both.io_start_ns[0];
        for (uint32_t b = 0; b < N_PIECE; b++)
            m.piece[b].where = 0;
        build(&m);
        for (uint32_t at = 0; at < N_FRAC * N_LEVEL; at++)
            keeps_up &= io_ns[at] <= m.problem.layer[0]->io_ns[0][at];
        for (uint32_t j = 0; j < 8 && keeps_up; j++) {
            int64_t late_ns = (start_ns > 0 ? start_ns : 0) + 64; /* a layer's rounding */

            random_plan(&again, &m.problem, &plan);
            if (end_ns[j] > end_of(&m.problem, &plan) + late_ns)
                fail_msg("seed %llu: %lld ns, %lld on the first alone", (unsigned long long)seed,
                         (long long)end_ns[j], (long long)end_of(&m.problem, &plan));
            n++;
        }
        close_machine(&m);
    }
    assert_true(n > 1000);
}

static void a_faster_link_slows_no_plan(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();
    const struct kvs_planner_ops *optimal = kvs_planner_find("optimal");
    struct kvs_err err = {0};

    (void)state;
    assert_non_null(scratch);
    for (uint64_t seed = 1; seed <= 12 * N_PROFILE; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "faster");
        struct machine m;
        struct kvs_plan plan[8], best;
        struct kvs_plan_eval eval;
        int64_t before_ns[8], best_ns, bound_ns;

        open_machine(&m, &rng, profiles[seed % N_PROFILE]);
        for (uint32_t j = 0; j < 8; j++) {
            random_plan(&rng, &m.problem, &plan[j]);
            before_ns[j] = end_of(&m.problem, &plan[j]);
        }
        assert_int_equal(optimal->plan(&m.problem, scratch, &best, &eval, &bound_ns, &err), KVS_OK);
        best_ns = eval.end_ns;
        struct kvs_hw_link *link = &m.link[kvs_rng_below(&rng, m.hw->n_link)];
        link->read_bytes_per_s.value *= 1 + 3 * kvs_rng_unit(&rng);
        build(&m);
        for (uint32_t j = 0; j < 8; j++)
            if (end_of(&m.problem, &plan[j]) > before_ns[j] + 32)
                fail_msg("seed %llu: %lld ns, %lld with the slower link", (unsigned long long)seed,
                         (long long)end_of(&m.problem, &plan[j]), (long long)before_ns[j]);
        assert_true(end_of(&m.problem, &best) <= best_ns + 32);
        assert_int_equal(optimal->plan(&m.problem, scratch, &best, &eval, &bound_ns, &err), KVS_OK);
        assert_true(bound_ns <= best_ns + 32);
        if ((double)eval.end_ns > (double)best_ns * 1.001)
            fail_msg("seed %llu: planned %lld ns, %lld with the slower link",
                     (unsigned long long)seed, (long long)eval.end_ns, (long long)best_ns);
        close_machine(&m);
    }
    kvs_plan_scratch_free(scratch);
}

/* --- oracle: schedules ------------------------------------------------------------------------ */

/* What two routes load under a plan, and what it costs the hop that they share. */
struct loads {
    double own_ns[2][KVS_MAX_LAYER], hop_ns[2][KVS_MAX_LAYER];
    int64_t start_ns[2];
};

static void loads_of(struct machine *m, const struct kvs_plan *plan, struct loads *loads)
{
    const struct kvs_plan_problem *p = &m->problem;
    const struct kvs_hw_link *shared = m->route[0].hop[m->route[0].n_hop - 1].link; /* PCIe */
    double n_block[2][N_FRAC] = {{0}};

    for (uint32_t i = 0; i < N_FRAC; i++) {
        uint32_t done = 0;

        for (uint32_t b = 0; b < N_PIECE; b++) {
            n_block[m->piece[b].where][i] += done >= kvs_tables_recompute_tok(m->inst, i);
            done += m->piece[b].n_tok;
        }
    }
    for (uint32_t k = 0; k < 2; k++) {
        loads->start_ns[k] = p->io_start_ns[k];
        for (uint32_t l = 0; l < p->n_layer; l++) {
            uint32_t i = plan->frac_i[l], q = plan->level[l];
            double bytes = kvs_tables_load_bytes(m->inst, k, 0, i, q);

            loads->own_ns[k][l] = (double)p->layer[l]->io_ns[k][i * p->n_level + q];
            loads->hop_ns[k][l] =
                n_block[k][i] > 0 ? 1e9 * kvs_link_s(shared, false, bytes, 2 * n_block[k][i]) : 0;
        }
    }
}

/*
 * A schedule on a clock: a route moves its layers in order, at most at its own speed; the shared
 * hop goes to the route with the earlier layer, what that leaves to the other; at the same layer
 * both end together if they can.
 */
static void schedule(const struct loads *loads, uint32_t n_layer, int64_t *arrive_ns[2])
{
    uint32_t at[2] = {0, 0};
    double left[2] = {1, 1}, now = 0; /* of the layer */

    for (;;) {
        double speed[2] = {0, 0}, use[2] = {0, 0}, step = HUGE_VAL, own[2] = {0, 0};
        bool on[2];

        for (uint32_t k = 0; k < 2; k++) {
            while (at[k] < n_layer && loads->own_ns[k][at[k]] <= 0) /* nothing to bring */
                arrive_ns[k][at[k]++] = (int64_t)now;
            on[k] = at[k] < n_layer && now >= (double)loads->start_ns[k];
            if (at[k] < n_layer && !on[k])
                step = fmin(step, (double)loads->start_ns[k] - now);
            own[k] = on[k] ? loads->own_ns[k][at[k]] : 0;
            use[k] = on[k] ? fmin(1, loads->hop_ns[k][at[k]] / own[k]) : 0;
        }
        if (at[0] == n_layer && at[1] == n_layer)
            return;
        if (on[0] && on[1] && at[0] == at[1]) {
            double hop = left[0] * own[0] * use[0] + left[1] * own[1] * use[1];
            double last = fmax(hop, fmax(left[0] * own[0], left[1] * own[1]));
            uint32_t slow = left[0] * own[0] >= left[1] * own[1] ? 0 : 1;

            speed[slow] = left[slow] * own[slow] / last;
            speed[1 - slow] = hop >= last ? left[1 - slow] * own[1 - slow] / last
                                          : fmin(1, (1 - use[slow] * speed[slow]) / use[1 - slow]);
        } else if (on[0] || on[1]) {
            uint32_t first = !on[1] || (on[0] && at[0] < at[1]) ? 0 : 1;

            speed[first] = 1;
            if (on[1 - first])
                speed[1 - first] = fmin(1, fmax(0, 1 - use[first]) / use[1 - first]);
        }
        for (uint32_t k = 0; k < 2; k++)
            if (speed[k] > 1e-9)
                step = fmin(step, left[k] * own[k] / speed[k]);
        now += step;
        for (uint32_t k = 0; k < 2; k++)
            if (on[k]) {
                left[k] -= speed[k] * step / own[k];
                if (left[k] < 1e-9) {
                    arrive_ns[k][at[k]++] = (int64_t)ceil(now);
                    left[k] = 1;
                }
            }
    }
}

/* Stops those of two flows that end up to then. */
static void stop_until(struct kvs_net *net, const uint32_t *flow, bool *runs, int64_t until_ns)
{
    while (runs[0] || runs[1]) {
        uint32_t k =
            !runs[0] || (runs[1] && kvs_net_end_ns(net, flow[1]) < kvs_net_end_ns(net, flow[0]));
        int64_t end_ns = kvs_net_end_ns(net, flow[k]);

        if (end_ns > until_ns)
            return;
        kvs_net_stop(net, end_ns, flow[k]);
        runs[k] = false;
    }
}

/* The same as two flows of the simulator's network that know of no layers: max-min fair. */
static void flows(const struct loads *loads, uint32_t n_layer, int64_t *arrive_ns[2])
{
    struct kvs_net *net = kvs_net_new(1);
    struct kvs_flow_spec spec[2];
    uint32_t flow[2] = {KVS_NO_FLOW, KVS_NO_FLOW};
    double own[2] = {0, 0}, hop[2] = {0, 0};
    bool runs[2] = {false, false};

    assert_non_null(net);
    for (uint32_t k = 0; k < 2; k++) {
        for (uint32_t l = 0; l < n_layer; l++) {
            own[k] += loads->own_ns[k][l];
            hop[k] += loads->hop_ns[k][l];
        }
        spec[k] = (struct kvs_flow_spec){.n_hop = 1, .n_bytes = hop[k], .work_ns = (int64_t)own[k]};
        spec[k].s_per_byte[0] = 1e-9 * fmin(1, own[k] / (hop[k] + 1e-300)); /* bytes are hop ns */
    }
    uint32_t first = loads->start_ns[0] <= loads->start_ns[1] ? 0 : 1;
    for (uint32_t j = 0; j < 2; j++) {
        uint32_t k = j ? 1 - first : first;

        stop_until(net, flow, runs, loads->start_ns[k]);
        runs[k] = own[k] > 0;
        if (runs[k])
            flow[k] = kvs_net_start(net, loads->start_ns[k], &spec[k]);
    }
    stop_until(net, flow, runs, INT64_MAX);
    for (uint32_t k = 0; k < 2; k++) {
        double done = 0;

        for (uint32_t l = 0; l < n_layer; l++) {
            done += loads->own_ns[k][l];
            arrive_ns[k][l] =
                flow[k] == KVS_NO_FLOW || done <= 0 ? 0 : kvs_net_when(net, flow[k], (int64_t)done);
        }
    }
    kvs_net_free(net);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts n relative errors, prints them, and gives back the one that is exceeded by one in `in`. */
static double told(const char *what, double *error, uint32_t n, uint32_t in)
{
    qsort(error, n, sizeof *error, by_size);
    print_message(
        "# %s: least %+.2f %%, p1 %+.2f, p50 %+.2f, p99 %+.2f, most %+.2f %% of T, %u plans\n",
        what, 100 * error[0], 100 * error[n / 100], 100 * error[n / 2],
        100 * error[n - 1 - n / 100], 100 * error[n - 1], n);
    return error[n - 1 - n / in];
}

/* No schedule is faster than the plan says, as no hop carries more than it can; and of two simple
 * ones the better is hardly slower. */
static void the_plan_says_what_schedules_reach(void **state)
{
    static double error[4][MOST];
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();
    const struct kvs_planner_ops *optimal = kvs_planner_find("optimal");
    int64_t at[2][KVS_MAX_LAYER], *arrive_ns[2] = {at[0], at[1]};
    uint32_t n_best = 0, n = 0;
    struct kvs_err err = {0};

    (void)state;
    assert_non_null(scratch);
    for (uint64_t seed = 1; seed <= 20 * N_PROFILE; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "schedule");
        struct machine m;

        open_machine(&m, &rng, profiles[seed % N_PROFILE]);
        for (uint32_t j = 0; j < 9 && m.problem.n_shared == 1; j++) {
            struct kvs_plan_actual actual = {.arrive_ns = {at[0], at[1]}};
            struct kvs_plan_eval eval, real;
            struct kvs_plan plan;
            struct loads loads;
            int64_t bound_ns;

            if (j == 0 && optimal->plan(&m.problem, scratch, &plan, &eval, &bound_ns, &err))
                fail_msg("%s", err.msg);
            if (j > 0)
                random_plan(&rng, &m.problem, &plan);
            assert_true(kvs_plan_eval(&m.problem, &plan, NULL, &eval));
            loads_of(&m, &plan, &loads);
            schedule(&loads, m.problem.n_layer, arrive_ns);
            assert_true(kvs_plan_eval(&m.problem, &plan, &actual, &real));
            int64_t end_ns[2] = {real.end_ns};
            flows(&loads, m.problem.n_layer, arrive_ns);
            assert_true(kvs_plan_eval(&m.problem, &plan, &actual, &real));
            end_ns[1] = real.end_ns;
            for (uint32_t i = 0; i < 2; i++) {
                /* the rounding of layers; flows spread what layers weigh on the hop evenly */
                if (end_ns[i] < eval.end_ns - (i ? eval.end_ns / 1000 : 64))
                    fail_msg("seed %llu, plan %u: a schedule ends at %lld ns, the plan says %lld",
                             (unsigned long long)seed, j, (long long)end_ns[i],
                             (long long)eval.end_ns);
                error[i][n] = (double)(end_ns[i] - eval.end_ns) / (double)eval.end_ns;
            }
            error[2][n] = fmin(error[0][n], error[1][n]);
            if (j == 0)
                error[3][n_best++] = error[2][n];
            n++;
        }
        close_machine(&m);
    }
    kvs_plan_scratch_free(scratch);
    assert_true(n_best > 100);
    (void)told("earliest layer first", error[0], n, 100);
    (void)told("two flows, max-min fair", error[1], n, 100);
    assert_true(told("the better of both", error[2], n, 100) <= .02);
    assert_true(told("the better of both, optimal plans", error[3], n_best, 50) <= .02);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_tier_that_keeps_up_slows_no_plan),
        cmocka_unit_test(a_faster_link_slows_no_plan),
        cmocka_unit_test(the_plan_says_what_schedules_reach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
