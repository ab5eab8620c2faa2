#include "damage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum kvs_code kvs_damage_new(uint32_t n_part, const enum kvs_level *level, uint32_t n_level,
                             struct kvs_damage **damage, struct kvs_err *err)
{
    struct kvs_damage *d = calloc(1, sizeof *d);
    bool good = d != NULL;
    *damage = NULL;
    if (good) {
        d->n_part = n_part;
        d->level = calloc(n_level, sizeof *d->level);
        good = d->level != NULL;
    }
    for (uint32_t i = 0; i < n_level && good; i++) {
        d->n_level++;
        d->level[i].level = level[i];
        d->level[i].share = calloc(n_part, sizeof *d->level[i].share);
        d->level[i].n_share = calloc(n_part, sizeof *d->level[i].n_share);
        good = d->level[i].share && d->level[i].n_share;
    }
    if (!good) {
        kvs_damage_free(d);
        return kvs_nomem(err);
    }
    *damage = d;
    return KVS_OK;
}

void kvs_damage_free(struct kvs_damage *d)
{
    if (!d)
        return;
    for (uint32_t i = 0; i < d->n_level; i++) {
        free(d->level[i].share);
        free(d->level[i].n_share);
    }
    free(d->level);
    free(d);
}

void kvs_damage_joint(struct kvs_damage *d, uint32_t level_i, const struct kvs_quality_score *score,
                      double bits)
{
    struct kvs_damage_level *l = &d->level[level_i];
    l->n_joint++;
    l->kl += score->kl;
    l->kl2 += score->kl * score->kl;
    l->agreement += score->agreement;
    l->first_tok += score->first_tok;
    l->bits += bits;
}

void kvs_damage_part(struct kvs_damage *d, uint32_t level_i, uint32_t part,
                     const struct kvs_quality_score *score)
{
    d->level[level_i].share[part] += score->share;
    d->level[level_i].n_share[part]++;
}

static bool has_parts(const struct kvs_damage *d, const struct kvs_damage_level *l)
{
    for (uint32_t p = 0; p < d->n_part; p++)
        if (!l->n_share[p])
            return false;
    return true;
}

static double mean_joint(const struct kvs_damage_level *l)
{
    return l->n_joint ? l->kl / l->n_joint : 0;
}

/* The level with parts whose joint KL is nearest in its logarithm; NULL: none has. */
static const struct kvs_damage_level *nearest(const struct kvs_damage *d,
                                              const struct kvs_damage_level *l)
{
    const struct kvs_damage_level *best = NULL;
    double least = HUGE_VAL;
    for (uint32_t i = 0; i < d->n_level; i++) {
        const struct kvs_damage_level *x = &d->level[i];
        double off = fabs(log((mean_joint(x) + 1e-12) / (mean_joint(l) + 1e-12)));
        if (has_parts(d, x) && off < least) {
            least = off;
            best = x;
        }
    }
    return best;
}

static json_t *parts_json(const struct kvs_damage *d, const struct kvs_damage_level *from,
                          double joint, uint32_t first)
{
    json_t *array = json_array();
    for (uint32_t p = first; p < d->n_part && array; p += 2)
        if (json_array_append_new(array, json_real(from->share[p] / from->n_share[p] * joint)) !=
            0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *row_json(const struct kvs_damage *d, const struct kvs_damage_level *l,
                        const char *how)
{
    bool own = has_parts(d, l);
    const struct kvs_damage_level *from = own ? l : nearest(d, l);
    double n = l->n_joint, joint = mean_joint(l);
    double var = n > 1 ? fmax(0, l->kl2 / n - joint * joint) / (n - 1) : 0;
    double error = n > 1 && joint > 0 ? sqrt(var) / joint : .5;
    char ref[256], all[256];
    snprintf(all, sizeof all,
             "kvprobe quality, %s; first token that disagrees: %.1f of the window; %.3g bits", how,
             l->first_tok / n, l->bits / n);
    if (own)
        snprintf(ref, sizeof ref, "kvprobe quality, %s", how);
    else
        snprintf(ref, sizeof ref, "kvprobe quality, %s; %s's layers scaled by the joint KL", how,
                 kvs_level_names[from->level]);
    return json_pack("{ss sf so so s{sf ss ss sf} s{sf ss ss} ss ss sf}", "level",
                     kvs_level_names[l->level], "recomputed", 0.0, "k_nats",
                     parts_json(d, from, joint, 0), "v_nats", parts_json(d, from, joint, 1),
                     "joint_nats", "value", joint, "source", "measured", "ref", all, "rel_error",
                     fmin(error, 10), "agreement", "value", l->agreement / n, "source", "measured",
                     "ref", "the same texts", "source", own ? "measured" : "fitted", "ref", ref,
                     "rel_error", fmin(fmax(error, .05), 10));
}

json_t *kvs_damage_json(const struct kvs_damage *d, const char *model, const char *how,
                        const char **why)
{
    json_t *rows = json_array();
    bool any = false;
    *why = NULL;
    for (uint32_t i = 0; i < d->n_level; i++)
        any |= d->level[i].n_joint && has_parts(d, &d->level[i]);
    if (!any) {
        *why = "no level was measured in every layer";
        json_decref(rows);
        return NULL;
    }
    for (uint32_t i = 0; i < d->n_level; i++)
        if (d->level[i].n_joint && rows &&
            json_array_append_new(rows, row_json(d, &d->level[i], how)) != 0) {
            json_decref(rows);
            return NULL;
        }
    return json_pack("{ss ss so}", "model", model, "about",
                     "Measured by kvprobe quality: a layer's K or V at a time, and all at once.",
                     "levels", rows);
}
