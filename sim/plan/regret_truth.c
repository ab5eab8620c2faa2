/*
 * regret_truth.c - a plan problem as it is at a corner of the box of error bars.
 */
#include "regret.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One block of memory: the problem, its layers' pointers and costs, and their tables. */
struct truth {
    struct kvs_plan_problem problem;
    const struct kvs_layer_cost *layer[KVS_MAX_LAYER];
    struct kvs_layer_cost cost[KVS_MAX_LAYER];
    int64_t cell[];
};

static double factor_of(double error, uint32_t corner, uint32_t f)
{
    return corner >> f & 1 ? 1 + error : 1 / (1 + error);
}

static int64_t *scaled(int64_t **cell, const int64_t *from, uint32_t n, double factor)
{
    int64_t *to = *cell;

    for (uint32_t i = 0; i < n; i++)
        to[i] = llround((double)from[i] * factor);
    *cell += n;
    return to;
}

/* whole above part, so that neither falls where whole - part doesn't. */
static void scale_pair(int64_t **cell, const int64_t **whole_ns, const int64_t **part_ns,
                       uint32_t n, double factor)
{
    int64_t *part = scaled(cell, *part_ns, n, factor), *whole = *cell;

    for (uint32_t i = 0; i < n; i++)
        whole[i] = part[i] + llround((double)((*whole_ns)[i] - (*part_ns)[i]) * factor);
    *cell += n;
    *whole_ns = whole;
    *part_ns = part;
}

static void scale_layer(const struct kvs_plan_problem *problem, uint32_t corner, int64_t **cell,
                        struct kvs_layer_cost *cost)
{
    const struct kvs_plan_error *error = &problem->error;
    double compute = factor_of(error->compute, corner, KVS_CORNER_COMPUTE);
    double gpu_decode = factor_of(error->gpu_decode, corner, KVS_CORNER_GPU_DECODE);
    uint32_t n_cell = problem->n_frac * problem->n_level;
    int64_t *post_ns = *cell;

    for (uint32_t at = 0; at < n_cell; at++) {
        double decode_ns = cost->gpu_decode_ns ? (double)cost->gpu_decode_ns[at] : 0;

        post_ns[at] =
            llround(((double)cost->post_ns[at] - decode_ns) * compute + decode_ns * gpu_decode);
    }
    *cell += n_cell;
    cost->post_ns = post_ns;
    cost->gpu_decode_ns = NULL;
    for (uint32_t k = 0; k < problem->n_route; k++)
        cost->io_ns[k] =
            scaled(cell, cost->io_ns[k], n_cell, factor_of(error->route[k], corner, k));
    cost->decode_ns =
        scaled(cell, cost->decode_ns, n_cell, factor_of(error->decode, corner, KVS_CORNER_DECODE));
    scale_pair(cell, &cost->full_ns, &cost->kv_ns, problem->n_frac, compute);
    scale_pair(cell, &cost->wfull_ns, &cost->wkv_ns, problem->n_frac, compute);
}

struct kvs_plan_problem *kvs_regret_truth(const struct kvs_plan_problem *problem, uint32_t corner)
{
    size_t n_cell = (size_t)problem->n_frac * problem->n_level;
    size_t of_layer = (problem->n_route + 2) * n_cell + 4 * (size_t)problem->n_frac;
    size_t n = problem->n_layer * of_layer + problem->n_route * (size_t)problem->n_frac;
    struct truth *truth = malloc(sizeof *truth + n * sizeof *truth->cell);
    double compute = factor_of(problem->error.compute, corner, KVS_CORNER_COMPUTE);
    int64_t *cell;

    if (!truth)
        return NULL;
    cell = truth->cell;
    truth->problem = *problem;
    truth->problem.layer = truth->layer;
    for (uint32_t l = 0; l < problem->n_layer; l++) {
        uint32_t same = 0;

        while (problem->layer[same] != problem->layer[l])
            same++;
        truth->layer[l] = &truth->cost[same];
        if (same < l)
            continue;
        truth->cost[l] = *problem->layer[l];
        scale_layer(problem, corner, &cell, &truth->cost[l]);
    }
    for (uint32_t k = 0; k < problem->n_route; k++) {
        double factor = factor_of(problem->error.route[k], corner, k);

        truth->problem.io_start_ns[k] = llround((double)problem->io_start_ns[k] * factor);
        if (problem->state_at)
            truth->problem.state_ns[k] =
                scaled(&cell, problem->state_ns[k], problem->n_frac, factor);
    }
    truth->problem.gpu_start_ns = llround((double)problem->gpu_start_ns * compute);
    truth->problem.head_ns = llround((double)problem->head_ns * compute);
    return &truth->problem; /* the first member: free takes it */
}
