/*
 * plan_cacheflow2.c - CacheFlow, second version (arXiv 2604.25080 v2): for each block of layers how
 * many token chunks are recomputed, never more than in the block below; a dynamic programme finds
 * the staircase with the least of max(sum of compute, sum of loads). One level for all, the one
 * with the least T within the budget. It knows no pipeline and no bits; in T it may lose to it.
 */
#include "rule.h"
#include "scratch.h"

#include <string.h>

#define N_BLOCK 8   /* blocks of layers */
#define N_CLOCK 256 /* steps of the compute clock */

/* Least sum of loads by [fraction][compute clock], and the fraction of the block below. */
struct table {
    int64_t load_ns[N_BLOCK][KVS_MAX_FRAC][N_CLOCK];
    uint8_t from[N_BLOCK][KVS_MAX_FRAC][N_CLOCK];
    uint8_t clock[N_BLOCK][KVS_MAX_FRAC][N_CLOCK]; /* of the block below */
};

struct sums {
    int64_t compute_ns[N_BLOCK][KVS_MAX_FRAC], load_ns[N_BLOCK][KVS_MAX_FRAC];
    int64_t step_ns;      /* of the clock */
    int64_t end[N_BLOCK]; /* steps that no staircase of the blocks up to this one reaches */
};

static uint32_t block_of(const struct kvs_plan_problem *problem, uint32_t l, uint32_t n_block)
{
    return l * n_block / problem->n_layer;
}

static int64_t steps_of(const struct sums *sums, uint32_t b, uint32_t i)
{
    return (sums->compute_ns[b][i] + sums->step_ns - 1) / sums->step_ns;
}

static void add_up(const struct kvs_plan_problem *problem, uint32_t n_block, uint32_t q,
                   struct sums *sums)
{
    int64_t most_ns = 0, end = 1;

    memset(sums, 0, sizeof *sums);
    for (uint32_t l = 0; l < problem->n_layer; l++)
        for (uint32_t i = 0; i < problem->n_frac; i++) {
            uint32_t b = block_of(problem, l, n_block);

            sums->compute_ns[b][i] += kvs_rule_compute_ns(problem, l, i);
            sums->load_ns[b][i] += kvs_rule_load_ns(problem, l, i, q);
        }
    for (uint32_t b = 0; b < n_block; b++) {
        int64_t block_ns = 0;

        for (uint32_t i = 0; i < problem->n_frac; i++)
            block_ns = sums->compute_ns[b][i] > block_ns ? sums->compute_ns[b][i] : block_ns;
        most_ns += block_ns;
    }
    /* rounding up to steps, block by block, must still fit the clock */
    sums->step_ns = most_ns / (N_CLOCK - N_BLOCK - 1) + 1;
    for (uint32_t b = 0; b < n_block; b++) {
        int64_t most = 0;

        for (uint32_t i = 0; i < problem->n_frac; i++)
            most = steps_of(sums, b, i) > most ? steps_of(sums, b, i) : most;
        sums->end[b] = end += most;
    }
}

/* One block of layers on top of blocks 0 to b - 1, for every fraction. */
static void fill_block(const struct kvs_plan_problem *problem, uint32_t b, const struct sums *sums,
                       struct table *t)
{
    int64_t least_ns[N_CLOCK]; /* over the fractions below that are no less than i */
    uint8_t from[N_CLOCK] = {0};
    for (uint32_t c = 0; c < N_CLOCK; c++)
        least_ns[c] = INT64_MAX;
    for (uint32_t i = problem->n_frac; i-- > 0;) {
        const int64_t steps = steps_of(sums, b, i);
        for (int64_t c = 0; c < sums->end[b - 1]; c++)
            if (t->load_ns[b - 1][i][c] <= least_ns[c]) {
                least_ns[c] = t->load_ns[b - 1][i][c];
                from[c] = (uint8_t)i;
            }
        for (int64_t c = 0; c < sums->end[b - 1]; c++)
            if (least_ns[c] != INT64_MAX) {
                t->load_ns[b][i][c + steps] = least_ns[c] + sums->load_ns[b][i];
                t->from[b][i][c + steps] = from[c];
                t->clock[b][i][c + steps] = (uint8_t)c;
            }
    }
}

static void fill(const struct kvs_plan_problem *problem, uint32_t n_block, const struct sums *sums,
                 struct table *t)
{
    for (uint32_t b = 0; b < n_block; b++)
        for (uint32_t i = 0; i < problem->n_frac; i++)
            for (int64_t c = 0; c < sums->end[b]; c++)
                t->load_ns[b][i][c] = INT64_MAX;
    for (uint32_t i = 0; i < problem->n_frac; i++) {
        const int64_t steps = steps_of(sums, 0, i);
        t->load_ns[0][i][steps] = sums->load_ns[0][i];
        t->from[0][i][steps] = (uint8_t)i;
        t->clock[0][i][steps] = 0;
    }
    for (uint32_t b = 1; b < n_block; b++)
        fill_block(problem, b, sums, t);
}

static void read_back(const struct kvs_plan_problem *problem, uint32_t n_block,
                      const struct sums *sums, const struct table *t, struct kvs_plan *plan)
{
    uint32_t last = n_block - 1, frac[N_BLOCK], best_i = 0;
    int64_t least_ns = INT64_MAX, clock = 0;

    for (uint32_t i = 0; i < problem->n_frac; i++)
        for (int64_t c = 0; c < sums->end[last]; c++) {
            int64_t load_ns = t->load_ns[last][i][c], compute_ns = c * sums->step_ns;
            int64_t most_ns = load_ns > compute_ns ? load_ns : compute_ns;

            if (most_ns < least_ns) {
                least_ns = most_ns;
                best_i = i;
                clock = c;
            }
        }
    for (uint32_t b = n_block; b-- > 0;) {
        uint32_t below = t->from[b][best_i][clock];

        frac[b] = best_i;
        clock = t->clock[b][best_i][clock];
        best_i = below;
    }
    for (uint32_t l = 0; l < problem->n_layer; l++)
        plan->frac_i[l] = (uint8_t)frac[block_of(problem, l, n_block)];
}

static enum kvs_code plan(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan_out, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err)
{
    uint32_t n_block = problem->n_layer < N_BLOCK ? problem->n_layer : N_BLOCK;
    struct kvs_rule_pick pick = {0};
    struct table *t = kvs_plan_scratch_mem(scratch, sizeof *t);
    struct sums sums;

    *lower_bound_ns = INT64_MIN;
    if (!t)
        return kvs_nomem(err);
    for (uint32_t q = 0; q < problem->n_level; q++) {
        struct kvs_plan plan = {{0}, {0}};

        add_up(problem, n_block, q, &sums);
        fill(problem, n_block, &sums, t);
        read_back(problem, n_block, &sums, t, &plan);
        memset(plan.level, (int)q, problem->n_layer);
        if (kvs_rule_is_kv(problem, q))
            kvs_rule_offer(problem, &plan, &pick);
    }
    *plan_out = pick.plan;
    *eval = pick.eval;
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_cacheflow2 = {
    .name = "cacheflow-v2",
    .help = "CacheFlow v2: the staircase of token chunks by blocks of layers whose compute meets "
            "its loads",
    .may_recompute = true,
    .plan = plan,
};
