#include "share.h"

#include "base/units.h"
#include "instance.h"

#include <math.h>

/* The index of a shared link's pipe in a class's tables. */
static uint32_t pipe_of(const struct kvs_tables_inst *inst, uint32_t s)
{
    return inst->tables->config.n_route + (s < KVS_MAX_SHARED ? s : KVS_MAX_SHARED - 1);
}

/* Part of a replica's bytes on this route that cross the link; 0: it is none of its hops. */
static double hop_share(const struct kvs_table_route *route, const struct kvs_hw_link *link)
{
    double share = 0;

    for (uint32_t h = 0; h < route->n_hop; h++)
        if (route->hop[h].link == link)
            share += route->hop[h].share;
    return share;
}

/* Whether one shared link takes no longer than another, whatever its routes bring. */
static bool never_slower(const struct kvs_tables_config *config, const struct kvs_shared_link *a,
                         const struct kvs_shared_link *b)
{
    if ((a->by & b->by) != a->by || a->link->descriptor_s.value > b->link->descriptor_s.value)
        return false;
    for (uint32_t k = 0; k < config->n_route; k++)
        if (a->by >> k & 1 &&
            kvs_link_s(a->link, false, hop_share(&config->route[k], a->link), 0) >
                kvs_link_s(b->link, false, hop_share(&config->route[k], b->link), 0))
            return false;
    return true;
}

void kvs_find_shared(struct kvs_tables_inst *inst)
{
    const struct kvs_tables_config *config = &inst->tables->config;

    inst->n_shared = 0;
    for (uint32_t k = 0; k < config->n_route; k++)
        for (uint32_t h = 0; inst->used[k] && h < config->route[k].n_hop; h++) {
            struct kvs_shared_link found = {config->route[k].hop[h].link, 0};
            uint32_t s = 0;

            for (uint32_t j = 0; j < config->n_route; j++)
                if (inst->used[j] && hop_share(&config->route[j], found.link) > 0)
                    found.by |= (uint8_t)(1u << j);
            while (s < inst->n_shared && inst->shared[s].link != found.link)
                s++;
            if (s == inst->n_shared && (found.by & (found.by - 1)))
                inst->shared[inst->n_shared++] = found;
        }
    for (uint32_t s = inst->n_shared; s-- > 0;)
        for (uint32_t o = 0; o < inst->n_shared; o++)
            if (o != s && never_slower(config, &inst->shared[s], &inst->shared[o])) {
                inst->shared[s] = inst->shared[--inst->n_shared];
                break;
            }
}

/* The tables of a pipe in the problem's k-th place; UINT32_MAX: nothing goes through it. */
static void place_pipe(struct kvs_tables_inst *inst, struct kvs_plan_problem *problem, uint32_t k,
                       uint32_t pipe)
{
    for (uint32_t c = 0; c < inst->tables->n_class; c++)
        inst->class[c].cost.io_ns[k] = pipe == UINT32_MAX ? inst->zero : inst->class[c].io_ns[pipe];
    problem->state_ns[k] = pipe == UINT32_MAX ? inst->zero : inst->state_ns[pipe];
}

/* Whether a pipe takes no longer than another one, whatever is loaded. */
static bool never_binds(const struct kvs_tables_inst *inst, uint32_t pipe, uint32_t other)
{
    const struct kvs_tables *t = inst->tables;

    for (uint32_t c = 0; c < t->n_class; c++)
        for (uint32_t at = 0; at < t->config.n_frac * t->n_menu; at++)
            if (inst->class[c].io_ns[pipe][at] > inst->class[c].io_ns[other][at])
                return false;
    for (uint32_t i = 1; t->config.state_at && i < t->config.n_frac; i++)
        if (inst->state_ns[pipe][i] - inst->state_ns[pipe][i - 1] >
            inst->state_ns[other][i] - inst->state_ns[other][i - 1])
            return false;
    return true;
}

/* The pipes of shared links that may bind, behind the routes. */
static void add_shared(struct kvs_tables_inst *inst, struct kvs_plan_problem *problem)
{
    uint32_t n_route = problem->n_route;

    for (uint32_t s = 0; s < inst->n_shared; s++) {
        uint32_t pipe = pipe_of(inst, s), n = problem->n_shared;
        bool keep = inst->tables->config.keep_shared, binds = true;

        if (s >= KVS_MAX_SHARED) {
            if (n > 0) /* the last pipe is its, too */
                problem->shared_by[n - 1] |= inst->shared[s].by;
            continue;
        }
        for (uint32_t k = 0; k < n_route; k++)
            binds &= !(inst->used[k] && inst->shared[s].by >> k & 1 && never_binds(inst, pipe, k));
        if (!binds && !keep && !(s == KVS_MAX_SHARED - 1 && inst->n_shared > KVS_MAX_SHARED))
            continue;
        problem->shared_by[problem->n_shared++] = inst->shared[s].by;
        place_pipe(inst, problem, problem->n_route++, pipe);
    }
    kvs_plan_share(problem);
}

void kvs_place_pipes(struct kvs_tables_inst *inst, struct kvs_plan_problem *problem)
{
    for (uint32_t k = 0; k < problem->n_route; k++)
        place_pipe(inst, problem, k, inst->used[k] ? k : UINT32_MAX);
    add_shared(inst, problem);
}

int64_t kvs_io_ns(double s)
{
    return kvs_ns(fmin(s, KVS_PLAN_MAX_NS * 1e-9));
}

void kvs_share_add(const struct kvs_tables_inst *inst, uint32_t k, double bytes,
                   double n_descriptor, double *route_s, double *shared_s)
{
    const struct kvs_table_route *route = &inst->tables->config.route[k];

    for (uint32_t h = 0; h < route->n_hop && n_descriptor > 0; h++) {
        double s = kvs_link_s(route->hop[h].link, false, bytes * route->hop[h].share, n_descriptor);

        *route_s = fmax(*route_s, s);
        for (uint32_t i = 0; i < inst->n_shared; i++)
            shared_s[i] += inst->shared[i].link == route->hop[h].link ? s : 0;
    }
}

void kvs_share_fill(const struct kvs_tables_inst *inst, const double *shared_s,
                    int64_t *const *pipe_ns, uint32_t at)
{
    for (uint32_t i = 0; i < inst->n_shared; i++) {
        int64_t *ns = &pipe_ns[pipe_of(inst, i)][at], own_ns = kvs_io_ns(shared_s[i]);

        *ns = i < KVS_MAX_SHARED || own_ns > *ns ? own_ns : *ns;
    }
}
