#include "damage.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_SHARE 1e-4 /* less, some texts don't tell from none */

enum kvs_code kvs_damage_new(uint32_t n_part, const enum kvs_level *level, uint32_t n_level,
                             const double *repair, uint32_t n_repair, struct kvs_damage **damage,
                             struct kvs_err *err)
{
    assert(n_repair <= KVS_DAMAGE_REPAIR);
    struct kvs_damage *d = calloc(1, sizeof *d);
    bool good = d != NULL;
    *damage = NULL;
    if (good) {
        d->n_part = n_part;
        d->n_repair = n_repair;
        for (uint32_t i = 0; i < n_repair; i++)
            d->repair[i].share = repair[i];
        d->level = calloc(n_level, sizeof *d->level);
        good = d->level != NULL;
    }
    for (uint32_t i = 0; i < n_level && good; i++) {
        d->n_level++;
        d->level[i].level = level[i];
        d->level[i].part_kl = calloc(n_part, sizeof *d->level[i].part_kl);
        d->level[i].of_kl = calloc(n_part, sizeof *d->level[i].of_kl);
        d->level[i].n_text = calloc(n_part, sizeof *d->level[i].n_text);
        good = d->level[i].part_kl && d->level[i].of_kl && d->level[i].n_text;
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
        free(d->level[i].part_kl);
        free(d->level[i].of_kl);
        free(d->level[i].n_text);
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
                     const struct kvs_quality_score *score, const struct kvs_quality_score *joint)
{
    struct kvs_damage_level *l = &d->level[level_i];
    l->part_kl[part] += score->kl;
    l->of_kl[part] += joint->kl;
    l->n_text[part]++;
}

void kvs_damage_repair(struct kvs_damage *d, uint32_t repair_i, double moved_frac,
                       const struct kvs_quality_score *score)
{
    struct kvs_damage_repair *r = &d->repair[repair_i];
    double kl = score->kl / moved_frac;
    r->n++;
    r->kl += kl;
    r->kl2 += kl * kl;
}

/* --- what is gathered, kept ------------------------------------------------------------------ */

json_t *kvs_damage_state(const struct kvs_damage *d)
{
    json_t *all = json_array();
    for (uint32_t i = 0; i < d->n_level; i++) {
        const struct kvs_damage_level *l = &d->level[i];
        json_t *part = json_array(), *of = json_array(), *n = json_array();
        for (uint32_t p = 0; p < d->n_part; p++) {
            json_array_append_new(part, json_real(l->part_kl[p]));
            json_array_append_new(of, json_real(l->of_kl[p]));
            json_array_append_new(n, json_integer(l->n_text[p]));
        }
        json_array_append_new(all, json_pack("{ss si sf sf sf sf sf so so so}", "level",
                                             kvs_level_names[l->level], "n_joint", (int)l->n_joint,
                                             "kl", l->kl, "kl2", l->kl2, "agreement", l->agreement,
                                             "first_tok", l->first_tok, "bits", l->bits, "part_kl",
                                             part, "of_kl", of, "n_text", n));
    }
    json_t *repair = json_array();
    for (uint32_t i = 0; i < d->n_repair; i++)
        json_array_append_new(repair, json_pack("{sf si sf sf}", "share", d->repair[i].share, "n",
                                                (int)d->repair[i].n, "kl", d->repair[i].kl, "kl2",
                                                d->repair[i].kl2));
    if (json_array_size(all) != d->n_level || json_array_size(repair) != d->n_repair) {
        json_decref(all);
        json_decref(repair);
        return NULL;
    }
    return json_pack("{so so}", "levels", all, "repair", repair);
}

static bool restore_level(struct kvs_damage_level *l, uint32_t n_part, const json_t *from)
{
    const json_t *part = json_object_get(from, "part_kl"), *of = json_object_get(from, "of_kl");
    const json_t *n = json_object_get(from, "n_text");
    const char *name = json_string_value(json_object_get(from, "level"));
    if (!name || strcmp(name, kvs_level_names[l->level]) != 0 || json_array_size(part) != n_part ||
        json_array_size(of) != n_part || json_array_size(n) != n_part)
        return false;
    l->n_joint = (uint32_t)json_integer_value(json_object_get(from, "n_joint"));
    l->kl = json_number_value(json_object_get(from, "kl"));
    l->kl2 = json_number_value(json_object_get(from, "kl2"));
    l->agreement = json_number_value(json_object_get(from, "agreement"));
    l->first_tok = json_number_value(json_object_get(from, "first_tok"));
    l->bits = json_number_value(json_object_get(from, "bits"));
    for (uint32_t p = 0; p < n_part; p++) {
        l->part_kl[p] = json_number_value(json_array_get(part, p));
        l->of_kl[p] = json_number_value(json_array_get(of, p));
        l->n_text[p] = (uint32_t)json_integer_value(json_array_get(n, p));
    }
    return true;
}

bool kvs_damage_restore(struct kvs_damage *d, const json_t *state)
{
    const json_t *levels = json_object_get(state, "levels");
    const json_t *repair = json_object_get(state, "repair");
    bool good = json_array_size(levels) == d->n_level && json_array_size(repair) == d->n_repair;
    for (uint32_t i = 0; i < d->n_level && good; i++)
        good = restore_level(&d->level[i], d->n_part, json_array_get(levels, i));
    for (uint32_t i = 0; i < d->n_repair && good; i++) {
        const json_t *row = json_array_get(repair, i);
        good = json_number_value(json_object_get(row, "share")) == d->repair[i].share;
        d->repair[i].n = (uint32_t)json_integer_value(json_object_get(row, "n"));
        d->repair[i].kl = json_number_value(json_object_get(row, "kl"));
        d->repair[i].kl2 = json_number_value(json_object_get(row, "kl2"));
    }
    return good;
}

/* --- the file -------------------------------------------------------------------------------- */

static bool has_parts(const struct kvs_damage *d, const struct kvs_damage_level *l)
{
    for (uint32_t p = 0; p < d->n_part; p++)
        if (!l->n_text[p])
            return false;
    return true;
}

static double mean_joint(const struct kvs_damage_level *l)
{
    return l->n_joint ? l->kl / l->n_joint : 0;
}

/* Whether a level tells of its parts: the finest only what is taken off, if another does. */
static bool tells(const struct kvs_damage *d, uint32_t level_i)
{
    bool other = false;
    for (uint32_t i = 1; i < d->n_level; i++)
        other |= has_parts(d, &d->level[i]);
    return has_parts(d, &d->level[level_i]) && (level_i > 0 || !other);
}

/* The levels that tell of parts next to l in joint KL, it may be itself, on both sides; beyond the
 * last twice that. */
static void next_to(const struct kvs_damage *d, const struct kvs_damage_level *l,
                    const struct kvs_damage_level *next[2])
{
    next[0] = next[1] = NULL;
    for (uint32_t i = 0; i < d->n_level; i++) {
        const struct kvs_damage_level *x = &d->level[i];
        if (!tells(d, i))
            continue;
        if (mean_joint(x) <= mean_joint(l) && !(next[0] && mean_joint(x) < mean_joint(next[0])))
            next[0] = x;
        if (mean_joint(x) >= mean_joint(l) && !(next[1] && mean_joint(x) > mean_joint(next[1])))
            next[1] = x;
    }
    if (!next[0])
        next[0] = next[1];
    if (!next[1])
        next[1] = next[0];
    assert(next[0] && next[1]); /* or there is no file */
}

/* Less what any change has: what the finest level has. */
static double share_of(const struct kvs_damage *d, const struct kvs_damage_level *l, uint32_t part)
{
    const struct kvs_damage_level *finest = &d->level[0];
    double any = l != finest && has_parts(d, finest)
                     ? finest->part_kl[part] / finest->n_text[part] * l->n_text[part]
                     : 0;
    return fmax((l->part_kl[part] - any) / fmax(l->of_kl[part], 1e-12), LEAST_SHARE);
}

/* A part's share at a level: its own, or on a straight line between the levels next to it, in the
 * logarithms of share and joint KL; beyond the last as there. */
static double share_at(const struct kvs_damage *d, const struct kvs_damage_level *l, uint32_t part)
{
    const struct kvs_damage_level *next[2];
    next_to(d, l, next);
    double low = log(mean_joint(next[0]) + 1e-12), high = log(mean_joint(next[1]) + 1e-12);
    double w = high > low ? (log(mean_joint(l) + 1e-12) - low) / (high - low) : 0;
    return pow(share_of(d, next[0], part), 1 - w) * pow(share_of(d, next[1], part), w);
}

static json_t *parts_json(const struct kvs_damage *d, const struct kvs_damage_level *l,
                          uint32_t first)
{
    json_t *array = json_array();
    for (uint32_t p = first; p < d->n_part && array; p += 2)
        if (json_array_append_new(array, json_real(share_at(d, l, p) * mean_joint(l))) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* Where the layers' figures are from: own, or of the levels next to l. */
static bool refer(const struct kvs_damage *d, const struct kvs_damage_level *l, const char *how,
                  char *ref, size_t room)
{
    const struct kvs_damage_level *next[2];
    next_to(d, l, next);
    const char *a = kvs_level_names[next[0]->level], *b = kvs_level_names[next[1]->level];
    bool own = next[0] == l;
    if (own)
        snprintf(ref, room, "kvprobe quality, %s", how);
    else
        snprintf(ref, room, "kvprobe quality, %s; layers as at %s%s%s, scaled by the joint KL", how,
                 a, a != b ? " and " : "", a != b ? b : "");
    return own;
}

/* Of a mean, one deviation: by a sum and a sum of squares over n texts. */
static double rel_error(uint32_t n, double sum, double sum2)
{
    double mean = n ? sum / n : 0;
    double var = n > 1 ? fmax(0, sum2 / n - mean * mean) / (n - 1) : 0;
    return n > 1 && mean > 0 ? fmin(sqrt(var) / mean, 10) : .5;
}

static json_t *row_json(const struct kvs_damage *d, const struct kvs_damage_level *l,
                        const char *how)
{
    double n = l->n_joint, joint = mean_joint(l);
    double error = rel_error(l->n_joint, l->kl, l->kl2);
    char ref[256], all[256];
    snprintf(all, sizeof all,
             "kvprobe quality, %s; first token that disagrees: %.1f of the window; %.3g bits", how,
             l->first_tok / n, l->bits / n);
    bool own = refer(d, l, how, ref, sizeof ref);
    return json_pack("{ss sf so so s{sf ss ss sf} s{sf ss ss} ss ss sf}", "level",
                     kvs_level_names[l->level], "recomputed", 0.0, "k_nats", parts_json(d, l, 0),
                     "v_nats", parts_json(d, l, 1), "joint_nats", "value", joint, "source",
                     "measured", "ref", all, "rel_error", error, "agreement", "value",
                     l->agreement / n, "source", "measured", "ref", "the same texts", "source",
                     own ? "measured" : "fitted", "ref", ref, "rel_error", fmax(error, .05));
}

static json_t *repair_json(const struct kvs_damage *d, const char *how)
{
    json_t *rows = json_array();
    for (uint32_t i = 0; i < d->n_repair && rows; i++) {
        const struct kvs_damage_repair *r = &d->repair[i];
        json_t *row =
            r->n ? json_pack("{ss sf s{sf ss ss+ sf}}", "method", "first-tokens", "recomputed",
                             r->share, "nats", "value", r->kl / r->n, "source", "measured", "ref",
                             "kvprobe quality, ", how, "rel_error", rel_error(r->n, r->kl, r->kl2))
                 : NULL;
        if (r->n && json_array_append_new(rows, row) != 0) {
            json_decref(rows);
            return NULL;
        }
    }
    return rows;
}

json_t *kvs_damage_json(const struct kvs_damage *d, const char *model, const char *how,
                        const char **why)
{
    json_t *rows = json_array();
    bool any = false;
    *why = NULL;
    for (uint32_t i = 0; i < d->n_level; i++)
        any |= d->level[i].n_joint && tells(d, i);
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
    return json_pack("{ss ss so so}", "model", model, "about",
                     "Measured by kvprobe quality: a layer's K or V at a time, and all at once.",
                     "levels", rows, "repair", repair_json(d, how));
}
