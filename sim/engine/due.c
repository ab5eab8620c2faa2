/*
 * due.c - when a load brings which layer, at the pace that the plan's evaluation has.
 */
#include "parts.h"

int64_t sim_due(const struct req *req, const struct kvs_plan *plan, uint32_t t, uint32_t from,
                int64_t *due_ns)
{
    const struct kvs_plan_problem *problem = &req->problem;
    uint32_t n_route = kvs_plan_routes(problem);
    int64_t own_ns = 0, before_ns = 0, hop_ns[KVS_MAX_SHARED];
    for (uint32_t s = 0; s < problem->n_shared; s++)
        hop_ns[s] = req->begin_ns[n_route + s] - req->begin_ns[t];
    for (uint32_t l = 0; l < problem->n_layer; l++) {
        const struct kvs_plan *its = l < from ? &req->plan : plan;
        uint32_t at = its->frac_i[l] * problem->n_level + its->level[l];
        before_ns = l == from ? own_ns : before_ns;
        own_ns += problem->layer[l]->io_ns[t][at] + kvs_plan_state_ns(problem, its, l, t);
        due_ns[l] = own_ns;
        for (uint32_t s = 0; s < problem->n_shared; s++) {
            hop_ns[s] += problem->layer[l]->io_ns[n_route + s][at] +
                         kvs_plan_state_ns(problem, its, l, n_route + s);
            if (problem->shared_by[s] >> t & 1 && hop_ns[s] > due_ns[l])
                due_ns[l] = hop_ns[s];
        }
    }
    return own_ns - before_ns;
}
