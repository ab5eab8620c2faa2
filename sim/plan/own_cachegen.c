/*
 * own_cachegen.c - CacheGen's adaptation (Liu et al., SIGCOMM 2024, arXiv 2310.07240): token groups
 * in order; for each, with rem left of the deadline: text, if all that remains can be computed in
 * rem; else the finest level at which what remains would arrive in rem at the rate that the last
 * group had; else the coarsest. A group's transfer overlaps the decoding of the one before it. The
 * first group counts with the problem's rate. The quality budget is not its concern.
 */
#include "own.h"
#include "rule.h"

#include <string.h>

/* What remains from group g on, at level q and an estimated rate. */
static int64_t rest_ns(const struct kvs_plan_problem *problem, uint32_t g, uint32_t q, double rate)
{
    double sum = 0;

    for (; g + 1 < problem->n_frac; g++)
        sum += (double)kvs_own_load_ns(problem, g, q) / rate;
    return (int64_t)sum;
}

static uint32_t choose(const struct kvs_plan_problem *problem, uint32_t g, double rate,
                       int64_t rem_ns)
{
    int64_t compute_ns = 0;
    uint32_t coarsest = 0;

    for (uint32_t h = g; h + 1 < problem->n_frac; h++)
        compute_ns += kvs_own_compute_ns(problem, h);
    if (compute_ns <= rem_ns)
        return KVS_OWN_COMPUTED;
    for (uint32_t q = 0; q < problem->n_level; q++) {
        if (!kvs_rule_is_kv(problem, q))
            continue;
        coarsest = q;
        if (rest_ns(problem, g, q, rate) <= rem_ns)
            break;
    }
    return coarsest;
}

static void run(const struct kvs_plan_problem *problem, const struct kvs_own_config *config,
                struct kvs_own_result *result)
{
    int64_t link_ns = kvs_own_start_ns(problem), ready_ns = problem->gpu_start_ns;
    uint32_t n_group = problem->n_frac - 1, computed = 0, level = 0;
    double seen = 1;

    memset(result, 0, sizeof *result);
    for (uint32_t g = 0; g < n_group; g++) {
        double rate = config->rate ? config->rate[g] : 1;
        uint32_t q = choose(problem, g, seen, config->slo_ns - link_ns);

        result->choice[g] = (uint8_t)q;
        if (q == KVS_OWN_COMPUTED) { /* behind the KV of the groups before it */
            ready_ns = (ready_ns > link_ns ? ready_ns : link_ns) + kvs_own_compute_ns(problem, g);
            computed++;
            continue;
        }
        level = q;
        link_ns += (int64_t)((double)kvs_own_load_ns(problem, g, q) / rate);
        ready_ns = (ready_ns > link_ns ? ready_ns : link_ns) + kvs_own_decode_ns(problem, g, q);
        seen = rate;
    }
    /* levels decoded or keys rotated on the GPU count with the new tokens, as in the tables */
    result->end_ns = ready_ns + kvs_own_post_ns(problem, computed, level);
    kvs_own_settle(problem, result);
}

const struct kvs_own_ops kvs_own_cachegen = {
    .name = "cachegen",
    .help = "CacheGen: by deadline, text or the finest level that the measured rate allows",
    .chooses_level = true,
    .run = run,
};
