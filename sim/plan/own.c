#include "own.h"

#include "own_list.h"

#include <math.h>
#include <stddef.h>

#define X(name) extern const struct kvs_own_ops kvs_own_##name;
KVS_OWN
#undef X

#define X(name) &kvs_own_##name,
const struct kvs_own_ops *const kvs_own_list[] = {KVS_OWN NULL};
#undef X

int64_t kvs_own_compute_ns(const struct kvs_plan_problem *problem, uint32_t g)
{
    int64_t sum_ns = 0;

    for (uint32_t l = 0; l < problem->n_layer; l++)
        sum_ns += problem->layer[l]->full_ns[g + 1] - problem->layer[l]->full_ns[g];
    return sum_ns > 0 ? sum_ns : 0;
}

int64_t kvs_own_load_ns(const struct kvs_plan_problem *problem, uint32_t g, uint32_t q)
{
    uint32_t at = g * problem->n_level + q, next = at + problem->n_level;
    int64_t most_ns = 0;

    for (uint32_t k = 0; k < problem->n_route; k++) {
        int64_t sum_ns = 0;

        for (uint32_t l = 0; l < problem->n_layer; l++)
            sum_ns += problem->layer[l]->io_ns[k][at] - problem->layer[l]->io_ns[k][next];
        most_ns = sum_ns > most_ns ? sum_ns : most_ns;
    }
    return most_ns;
}

int64_t kvs_own_decode_ns(const struct kvs_plan_problem *problem, uint32_t g, uint32_t q)
{
    uint32_t at = g * problem->n_level + q;
    int64_t sum_ns = 0;

    for (uint32_t l = 0; l < problem->n_layer; l++)
        sum_ns +=
            problem->layer[l]->decode_ns[at] - problem->layer[l]->decode_ns[at + problem->n_level];
    return sum_ns > 0 ? sum_ns : 0;
}

int64_t kvs_own_start_ns(const struct kvs_plan_problem *problem)
{
    int64_t start_ns = 0;

    for (uint32_t k = 0; k < problem->n_route; k++)
        if (problem->io_start_ns[k] > start_ns)
            start_ns = problem->io_start_ns[k];
    return start_ns;
}

int64_t kvs_own_post_ns(const struct kvs_plan_problem *problem, uint32_t i, uint32_t q)
{
    int64_t sum_ns = problem->head_ns;

    for (uint32_t l = 0; l < problem->n_layer; l++)
        sum_ns +=
            problem->layer[l]->post_ns[i * problem->n_level + q] + problem->layer[l]->wfull_ns[i];
    return sum_ns;
}

void kvs_own_settle(const struct kvs_plan_problem *problem, struct kvs_own_result *result)
{
    result->recompute_frac = 0;
    result->distortion = 0;
    for (uint32_t g = 0; g + 1 < problem->n_frac; g++) {
        uint32_t q = result->choice[g];

        if (q == KVS_OWN_COMPUTED) {
            result->recompute_frac += problem->frac[g + 1] - problem->frac[g];
            continue;
        }
        for (uint32_t l = 0; l < problem->n_layer; l++)
            result->distortion += problem->layer[l]->distortion[g * problem->n_level + q] -
                                  problem->layer[l]->distortion[(g + 1) * problem->n_level + q];
    }
}
