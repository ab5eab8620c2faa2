/*
 * own_cake.c - Cake's run (Jin et al., ICML 2025, arXiv 2410.03065): the GPU takes token groups
 * from the front as it gets free, the link takes groups from the back as it gets free, until they
 * meet. No prediction, and what is in flight is finished. All layers of a group come together, so
 * the new tokens wait for the last. Of the levels the one that ends first within the budget.
 */
#include "own.h"
#include "rule.h"

#include <string.h>

static void run_at(const struct kvs_plan_problem *problem, const struct kvs_own_config *config,
                   uint32_t q, struct kvs_own_result *result)
{
    int64_t gpu_ns = problem->gpu_start_ns, link_ns = kvs_own_start_ns(problem);
    int64_t decoded_ns = 0;
    uint32_t front = 0, back = problem->n_frac - 1; /* groups front to back - 1 are free */

    memset(result, 0, sizeof *result);
    while (front < back) {
        if (gpu_ns <= link_ns) {
            gpu_ns += kvs_own_compute_ns(problem, front);
            result->choice[front++] = KVS_OWN_COMPUTED;
            continue;
        }
        double rate = config && config->rate ? config->rate[back - 1] : 1;

        back--;
        link_ns += (int64_t)((double)kvs_own_load_ns(problem, back, q) / rate);
        decoded_ns =
            (decoded_ns > link_ns ? decoded_ns : link_ns) + kvs_own_decode_ns(problem, back, q);
        result->choice[back] = (uint8_t)q;
    }
    result->end_ns =
        (gpu_ns > decoded_ns ? gpu_ns : decoded_ns) + kvs_own_post_ns(problem, front, q);
    kvs_own_settle(problem, result);
}

static void run(const struct kvs_plan_problem *problem, const struct kvs_own_config *config,
                struct kvs_own_result *result)
{
    run_at(problem, config, 0, result);
    for (uint32_t q = 1; q < problem->n_level; q++) {
        struct kvs_own_result one;

        if (!kvs_rule_is_kv(problem, q))
            continue;
        run_at(problem, config, q, &one);
        if (one.distortion <= problem->budget && one.end_ns < result->end_ns)
            *result = one;
    }
}

const struct kvs_own_ops kvs_own_cake = {
    .name = "cake",
    .help = "Cake's run: compute from the front and load from the back until they meet",
    .never_ahead = true,
    .run = run,
};
