/*
 * plan_loss.c - `kvsim plan`: what a plan is predicted to lose, how sure that is, and where it
 * went.
 */
#include "plan_answer.h"

#include <math.h>
#include <string.h>

/* Nats that a row of the quality table answers for. */
static void add(struct kvs_plan_loss *loss, double nats, enum kvs_source source, double rel_error)
{
    loss->nats += nats;
    loss->rel_error += nats * rel_error; /* divided at the end */
    loss->source_nats[source] += nats;
}

/* One side's part: the row's error bar, or that of all layers at once where it is wider. */
static void add_side(const struct kvs_quality *quality, const char *level, double nats,
                     struct kvs_plan_loss *loss)
{
    const struct kvs_quality_row *row = kvs_quality_row(quality, level);
    double error;

    if (!row || nats <= 0)
        return;
    error = row->joint.known ? fmax(row->rel_error, row->joint.rel_error) : row->rel_error;
    add(loss, nats, row->source, error);
}

/* A level's loss in one layer, shared by K and V as the table has them. */
static void add_level(const struct kvs_quality *quality, uint32_t layer, const char *name,
                      double nats, struct kvs_plan_loss *loss)
{
    char k[64];
    const char *slash = strchr(name, '/'), *v = slash ? slash + 1 : name;
    double k_nats = 0, v_nats = 0;

    snprintf(k, sizeof k, "%.*s", (int)(slash ? slash - name : 63), name);
    if (kvs_quality_knows(quality, k))
        k_nats = kvs_quality_nats(quality, layer, false, k, 0);
    if (kvs_quality_knows(quality, v))
        v_nats = kvs_quality_nats(quality, layer, true, v, 0);
    if (k_nats + v_nats <= 0)
        return;
    add_side(quality, k, nats * k_nats / (k_nats + v_nats), loss);
    add_side(quality, v, nats * v_nats / (k_nats + v_nats), loss);
}

/* What a layer loses by levels: by the one it is loaded at, or by those its text is stored at. Of
 * several, each has the share that it would have alone. */
static void add_levels(const struct kvs_plan_case *c, const struct kvs_variant *v, uint32_t layer,
                       uint32_t frac_i, uint32_t q, double nats, struct kvs_plan_loss *loss)
{
    uint32_t class_i = kvs_cost_class(v->cost, layer);
    double alone[KVS_MAX_LEVEL] = {0}, sum = 0;

    alone[q] = 1;
    for (uint32_t h = 0; c->as_held && h < v->levels->n; h++) {
        const int64_t *distortion = v->levels->level[h].distortion;

        alone[h] = distortion ? kvs_tables_lossy_frac(v->inst, class_i, frac_i, q, h) *
                                    (double)distortion[(size_t)layer * v->n_frac]
                              : 0;
    }
    for (uint32_t h = 0; h < v->levels->n; h++)
        sum += alone[h];
    for (uint32_t h = 0; h < v->levels->n; h++) {
        if (alone[h] <= 0)
            continue;
        loss->level_nats[h] += nats * alone[h] / sum;
        loss->level_n[h]++;
        add_level(c->quality, layer, v->levels->level[h].name, nats * alone[h] / sum, loss);
    }
}

static void add_moved(const struct kvs_plan_case *c, const struct kvs_variant *v, uint32_t frac_i,
                      double nats, struct kvs_plan_loss *loss)
{
    uint32_t n = v->problem.n_repair;
    double share = v->problem.repair_frac[frac_i < n ? frac_i : n - 1u];
    const struct kvs_repair_row *row = kvs_quality_repair_row(c->quality, v->repair_method, share);

    loss->moved_nats += nats;
    if (row)
        add(loss, nats, row->nats.source, row->nats.rel_error);
}

void kvs_plan_lose(const struct kvs_plan_case *c, const struct kvs_variant *v,
                   const struct kvs_plan *plan, struct kvs_plan_loss *loss)
{
    const struct kvs_plan_problem *p = &v->problem;

    memset(loss, 0, sizeof *loss);
    for (uint32_t l = 0; l < p->n_layer && c->quality && (!c->moved || v->repair_method); l++) {
        uint32_t i = plan->frac_i[l], q = plan->level[l];
        double all = (double)p->layer[l]->distortion[i * p->n_level + q] / KVS_NAT;
        double other = fmin(all, (double)kvs_tables_other_loss(v->inst, i) / KVS_NAT);
        double carried = fmin(other, (double)kvs_tables_carried_loss(v->inst, i) / KVS_NAT);
        double moved = other - carried;

        if (carried > 0) {
            loss->carried_nats += carried;
            loss->nats += carried;
        }
        if (c->moved && moved > 0)
            add_moved(c, v, i, moved, loss);
        if (all > other)
            add_levels(c, v, l, i, q, all - other, loss);
    }
    loss->rel_error = loss->nats > 0 ? loss->rel_error / loss->nats : 0;
}
