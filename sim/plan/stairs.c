#include "stairs.h"

#include <assert.h>
#include <string.h>

static const int64_t nothing[1] = {0};
static const double load_all[1] = {0};

void kvs_stairs_fix(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                    int64_t budget, struct kvs_stairs *s)
{
    uint32_t n_level = problem->n_level;

    assert(!problem->state_at);
    s->problem = *problem;
    s->problem.n_frac = 1;
    s->problem.frac = load_all;
    s->problem.layer = s->layer;
    s->problem.budget = budget;
    for (uint32_t l = 0; l < problem->n_layer; l++) {
        const struct kvs_layer_cost *from = problem->layer[l];
        struct kvs_layer_cost *to = &s->cost[l];
        uint32_t i = plan->frac_i[l], next = l + 1 < problem->n_layer ? plan->frac_i[l + 1] : 0;
        int64_t wait = from->wfull_ns[next] + from->wkv_ns[i] - from->wkv_ns[next];

        for (uint32_t k = 0; k < problem->n_route; k++)
            to->io_ns[k] = from->io_ns[k] + i * n_level;
        to->decode_ns = from->decode_ns + i * n_level;
        to->distortion = from->distortion + i * n_level;
        to->gpu_decode_ns = NULL;
        to->post_ns = s->post_ns + l * n_level;
        for (uint32_t q = 0; q < n_level; q++)
            s->post_ns[l * n_level + q] = from->post_ns[i * n_level + q] + wait;
        to->full_ns = to->kv_ns = to->wfull_ns = to->wkv_ns = nothing;
        s->problem.gpu_start_ns += from->full_ns[next] + from->kv_ns[i] - from->kv_ns[next];
        s->layer[l] = to;
    }
}

void kvs_stairs_of_mixture(const struct kvs_relax *relax, struct kvs_plan *plan)
{
    const struct kvs_plan_problem *problem = relax->problem;
    double layers[KVS_MAX_FRAC] = {0}, below = 0;
    uint32_t l = problem->n_layer;
    struct kvs_plan one;

    for (uint32_t n = 0; n < kvs_master_n_plan(relax->master); n++) {
        double share = kvs_master_share(relax->master, n, NULL);

        if (share <= 0)
            continue;
        kvs_master_share(relax->master, n, &one);
        for (uint32_t at = 0; at < problem->n_layer; at++)
            layers[one.frac_i[at]] += share;
    }
    memset(plan, 0, sizeof *plan);
    for (uint32_t f = 0; f < problem->n_frac; f++) {
        below += layers[f];
        while (l > 0 && (double)(problem->n_layer - l) + .5 <= below)
            plan->frac_i[--l] = (uint8_t)f;
    }
    while (l > 0) /* what rounding left over */
        plan->frac_i[--l] = (uint8_t)(problem->n_frac - 1);
}
