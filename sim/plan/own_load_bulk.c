/*
 * own_load_bulk.c - load all, then compute: what connectors do that hand over a request's KV when
 * all of it has arrived (LMCache without its layer-wise mode, arXiv 2510.09665; SGLang HiCache's
 * wait_complete). The finest level within the budget, or else the coarsest.
 */
#include "own.h"
#include "rule.h"

#include <string.h>

static void run(const struct kvs_plan_problem *problem, const struct kvs_own_config *config,
                struct kvs_own_result *result)
{
    (void)config;
    for (uint32_t q = 0; q < problem->n_level; q++) {
        struct kvs_own_result one = {0};

        if (!kvs_rule_is_kv(problem, q))
            continue;
        memset(one.choice, (int)q, sizeof one.choice);
        one.end_ns = kvs_own_start_ns(problem);
        for (uint32_t g = 0; g + 1 < problem->n_frac; g++)
            one.end_ns += kvs_own_load_ns(problem, g, q) + kvs_own_decode_ns(problem, g, q);
        if (one.end_ns < problem->gpu_start_ns)
            one.end_ns = problem->gpu_start_ns;
        one.end_ns += kvs_own_post_ns(problem, 0, q);
        kvs_own_settle(problem, &one);
        if (q == 0 || (one.distortion <= problem->budget && one.end_ns < result->end_ns))
            *result = one;
    }
}

const struct kvs_own_ops kvs_own_load_bulk = {
    .name = "load-bulk",
    .help = "load all layers, then compute (connectors without a layer-wise mode)",
    .never_ahead = true,
    .run = run,
};
