#include "quality.h"

#include "base/arena.h"
#include "base/data.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N(table) ((unsigned)(sizeof(table) / sizeof *(table)))
#define MAX_NATS 1e3

static const char *const source_names[] = {"assumed", "published", "fitted", "measured", NULL};

struct row_file {
    const char *level, *ref;
    double recomputed, rel_error;
    int source;
    struct kvs_json k_nats, v_nats, joint, agreement;
};

#define AT(field) offsetof(struct row_file, field)
static const struct kvs_opt row_table[] = {
    {"level", KVS_OPT_STR, AT(level), NULL, 0, 0, "a level of configs/codec", NULL, true, 0},
    {"recomputed", KVS_OPT_DOUBLE, AT(recomputed), "0", 0, 0.999, "share of tokens recomputed",
     NULL, false, 0},
    {"k_nats", KVS_OPT_NODE, AT(k_nats), NULL, 0, 0, "a number a layer", NULL, true, 0},
    {"v_nats", KVS_OPT_NODE, AT(v_nats), NULL, 0, 0, "a number a layer", NULL, true, 0},
    {"joint_nats", KVS_OPT_NODE, AT(joint), NULL, 0, 0, "all layers at once", NULL, false, 0},
    {"agreement", KVS_OPT_NODE, AT(agreement), NULL, 0, 0, "then: share of greedy tokens that stay",
     NULL, false, 0},
    {"source", KVS_OPT_ENUM, AT(source), NULL, 0, 0, "where the numbers come from", source_names,
     true, 0},
    {"ref", KVS_OPT_STR, AT(ref), NULL, 0, 0, "publication, command or reason", NULL, true, 0},
    {"rel_error", KVS_OPT_DOUBLE, AT(rel_error), "0", 0, 10, "relative error bar", NULL, false, 0},
};
#undef AT

static const struct kvs_figure_row joint_row = {
    "joint_nats", offsetof(struct kvs_quality_row, joint), 0, MAX_NATS, false};

static const struct kvs_figure_row agreement_row = {
    "agreement", offsetof(struct kvs_quality_row, agreement), 0, 1, false};

static enum kvs_code read_nats(struct kvs_json array, const struct kvs_quality *quality,
                               double **out, struct kvs_err *err)
{
    enum kvs_code code = kvs_json_array(array, err);
    size_t n = code ? 0 : kvs_json_size(array);

    if (code)
        return code;
    if (n != quality->n_layer)
        return kvs_json_fail(array, err, KVS_ERR_RANGE,
                             "found %zu numbers, want one a layer: %u; the table is of %s", n,
                             quality->n_layer, quality->model);
    double *nats = kvs_arena_alloc(kvs_doc_arena(quality->doc), n, sizeof *nats);
    if (!nats)
        return kvs_nomem(err);
    for (size_t i = 0; i < n && !code; i++)
        code = kvs_json_double(kvs_json_at(array, i), 0, MAX_NATS, &nats[i], err);
    *out = nats;
    return code;
}

/* Rows of one level come together, in the order of their shares: what the look-up relies on. */
static enum kvs_code check_order(struct kvs_json node, const struct kvs_quality *quality,
                                 const struct kvs_quality_row *row, struct kvs_err *err)
{
    for (uint32_t i = 0; i < quality->n_row; i++) {
        const struct kvs_quality_row *other = &quality->row[i];

        if (strcmp(other->level, row->level) != 0)
            continue;
        if (i + 1 < quality->n_row && strcmp(other[1].level, row->level) != 0)
            return kvs_json_fail(kvs_json_get(node, "level"), err, KVS_ERR_PARSE,
                                 "\"%s\" stands apart from its earlier rows", row->level);
        if (other->recomputed_frac >= row->recomputed_frac)
            return kvs_json_fail(kvs_json_get(node, "recomputed"), err, KVS_ERR_PARSE,
                                 "found %g after %g for \"%s\", want ascending shares",
                                 row->recomputed_frac, other->recomputed_frac, row->level);
    }
    return KVS_OK;
}

/* Layers' figures, which add up to first order only, become shares of what was measured of all at
 * once. */
static void calibrate(const struct kvs_figure *joint, uint32_t n, double *k, double *v)
{
    double sum = 0;

    for (uint32_t l = 0; l < n; l++)
        sum += k[l] + v[l];
    if (!joint->known || !(sum > 0))
        return;
    for (uint32_t l = 0; l < n; l++) {
        k[l] = k[l] / sum * joint->value;
        v[l] = v[l] / sum * joint->value;
    }
}

static enum kvs_code read_row(struct kvs_json node, struct kvs_quality *quality,
                              struct kvs_err *err)
{
    struct row_file f;
    struct kvs_quality_row *row = &quality->row[quality->n_row];
    double *k = NULL, *v = NULL;
    enum kvs_code code;

    if ((code = kvs_json_object(node, err)) ||
        (code = kvs_opt_json(row_table, N(row_table), node, &f, err)) ||
        (code = kvs_figure_json(f.joint, &joint_row, &row->joint, err)) ||
        (code = kvs_figure_json(f.agreement, &agreement_row, &row->agreement, err)) ||
        (code = read_nats(f.k_nats, quality, &k, err)) ||
        (code = read_nats(f.v_nats, quality, &v, err)))
        return code;
    assert(k && v);
    calibrate(&row->joint, quality->n_layer, k, v);
    row->k_nats = k;
    row->v_nats = v;
    row->level = f.level;
    if (quality->n_row && strcmp(row[-1].level, f.level) == 0)
        row->level = row[-1].level;
    row->recomputed_frac = f.recomputed;
    row->source = (enum kvs_source)f.source;
    row->ref = f.ref;
    row->rel_error = f.rel_error;
    if ((code = check_order(node, quality, row, err)))
        return code;
    quality->n_row++;
    return KVS_OK;
}

struct repair_file {
    const char *method;
    double recomputed;
    struct kvs_json nats;
};

static const struct kvs_opt repair_table[] = {
    {"method", KVS_OPT_STR, offsetof(struct repair_file, method), NULL, 0, 0, "which tokens", NULL,
     true, 0},
    {"recomputed", KVS_OPT_DOUBLE, offsetof(struct repair_file, recomputed), NULL, 0, 0.999,
     "share of tokens recomputed", NULL, true, 0},
    {"nats", KVS_OPT_NODE, offsetof(struct repair_file, nats), NULL, 0, 0, "a figure", NULL, true,
     0},
};

static const struct kvs_figure_row nats_row = {"nats", 0, 0, MAX_NATS, true};

static enum kvs_code read_repair(struct kvs_json node, struct kvs_quality *quality,
                                 struct kvs_err *err)
{
    struct repair_file f;
    struct kvs_repair_row *row = &quality->repair[quality->n_repair];
    enum kvs_code code;

    if ((code = kvs_json_object(node, err)) ||
        (code = kvs_opt_json(repair_table, N(repair_table), node, &f, err)) ||
        (code = kvs_figure_json(f.nats, &nats_row, &row->nats, err)))
        return code;
    if (!row->nats.known)
        return kvs_json_fail(kvs_json_get(node, "nats"), err, KVS_ERR_PARSE,
                             "not known; leave the row out");
    if (quality->n_repair) {
        const struct kvs_repair_row *last = row - 1;

        if (strcmp(last->method, f.method) == 0 && last->recomputed_frac >= f.recomputed)
            return kvs_json_fail(kvs_json_get(node, "recomputed"), err, KVS_ERR_PARSE,
                                 "found %g after %g, want ascending shares", f.recomputed,
                                 last->recomputed_frac);
    }
    row->method = f.method;
    row->recomputed_frac = f.recomputed;
    quality->n_repair++;
    return KVS_OK;
}

typedef enum kvs_code read_fn(struct kvs_json node, struct kvs_quality *quality,
                              struct kvs_err *err);

static enum kvs_code read_all(struct kvs_json array, read_fn *read, struct kvs_quality *quality,
                              struct kvs_err *err)
{
    enum kvs_code code = array.v ? kvs_json_array(array, err) : KVS_OK;
    size_t n = code ? 0 : kvs_json_size(array);

    if (n > KVS_MAX_QUALITY_ROW)
        return kvs_json_fail(array, err, KVS_ERR_RANGE, "found %zu rows, want at most %d", n,
                             KVS_MAX_QUALITY_ROW);
    for (size_t i = 0; i < n && !code; i++)
        code = read(kvs_json_at(array, i), quality, err);
    return code;
}

struct file {
    const char *model, *about;
    struct kvs_json levels, repair;
};

static const struct kvs_opt file_table[] = {
    {"model", KVS_OPT_STR, offsetof(struct file, model), NULL, 0, 0, "a shape of configs/models",
     NULL, true, 0},
    {"about", KVS_OPT_STR, offsetof(struct file, about), NULL, 0, 0, "what was measured, and how",
     NULL, false, 0},
    {"levels", KVS_OPT_NODE, offsetof(struct file, levels), NULL, 0, 0, "rows of levels", NULL,
     true, 0},
    {"repair", KVS_OPT_NODE, offsetof(struct file, repair), NULL, 0, 0,
     "rows of content reuse and its repair", NULL, false, 0},
};

enum kvs_code kvs_quality_from(struct kvs_doc *doc, uint32_t n_layer, struct kvs_quality **quality,
                               struct kvs_err *err)
{
    struct file f;
    struct kvs_quality *q = calloc(1, sizeof *q);

    *quality = NULL;
    if (!q) {
        kvs_doc_free(doc);
        return kvs_nomem(err);
    }
    q->doc = doc;
    q->n_layer = n_layer;
    enum kvs_code code = kvs_opt_json(file_table, N(file_table), kvs_doc_root(doc), &f, err);
    q->model = code ? "" : f.model;
    if (!code)
        code = read_all(f.levels, read_row, q, err);
    if (!code)
        code = read_all(f.repair, read_repair, q, err);
    if (code) {
        kvs_quality_free(q);
        return code;
    }
    q->about = f.about ? f.about : "";
    *quality = q;
    return KVS_OK;
}

enum kvs_code kvs_quality_open(const char *name_or_file, uint32_t n_layer,
                               struct kvs_quality **quality, struct kvs_err *err)
{
    char *path = NULL;
    struct kvs_doc *doc = NULL;

    *quality = NULL;
    enum kvs_code code =
        kvs_data_find("quality table", "configs/quality", name_or_file, &path, err);
    if (!code)
        code = kvs_doc_open(path, &doc, err);
    if (!code)
        code = kvs_quality_from(doc, n_layer, quality, err);
    free(path);
    return code;
}

void kvs_quality_free(struct kvs_quality *quality)
{
    if (!quality)
        return;
    kvs_doc_free(quality->doc);
    free(quality);
}

const struct kvs_quality_row *kvs_quality_row(const struct kvs_quality *quality, const char *level)
{
    for (uint32_t i = 0; i < quality->n_row; i++)
        if (strcmp(quality->row[i].level, level) == 0)
            return &quality->row[i];
    return NULL;
}

const struct kvs_repair_row *kvs_quality_repair_row(const struct kvs_quality *quality,
                                                    const char *method, double recomputed_frac)
{
    const struct kvs_repair_row *found = NULL;

    for (uint32_t i = 0; i < quality->n_repair; i++) {
        const struct kvs_repair_row *row = &quality->repair[i];

        if (strcmp(row->method, method) == 0 && (!found || row->recomputed_frac <= recomputed_frac))
            found = row;
    }
    return found;
}

bool kvs_quality_knows(const struct kvs_quality *quality, const char *level)
{
    return kvs_quality_row(quality, level) != NULL;
}

/* A point of a curve and the one before it; nats at frac on the line through them. */
struct curve {
    bool any;
    double frac, nats;
};

/* true once frac lies at or before the point: *at is the answer then. */
static bool curve_reaches(struct curve *curve, double to_frac, double to_nats, double frac,
                          double *at)
{
    bool reached = frac <= to_frac;

    if (reached && !curve->any)
        *at = to_nats;
    else if (reached)
        *at =
            curve->nats + (to_nats - curve->nats) * (frac - curve->frac) / (to_frac - curve->frac);
    *curve = (struct curve){true, to_frac, to_nats};
    return reached;
}

double kvs_quality_row_nats(const struct kvs_quality *quality, const struct kvs_quality_row *first,
                            uint32_t layer, bool value, double recomputed_frac)
{
    const struct kvs_quality_row *end = quality->row + quality->n_row;
    struct curve curve = {0};
    double nats = 0;

    assert(layer < quality->n_layer && first >= quality->row && first < end);
    for (const struct kvs_quality_row *row = first; row < end && row->level == first->level; row++)
        if (curve_reaches(&curve, row->recomputed_frac,
                          value ? row->v_nats[layer] : row->k_nats[layer], recomputed_frac, &nats))
            return nats;
    curve_reaches(&curve, 1, 0, fmin(recomputed_frac, 1), &nats);
    return nats;
}

double kvs_quality_nats(const struct kvs_quality *quality, uint32_t layer, bool value,
                        const char *level, double recomputed_frac)
{
    const struct kvs_quality_row *row = kvs_quality_row(quality, level);

    assert(row);
    return kvs_quality_row_nats(quality, row, layer, value, recomputed_frac);
}

double kvs_quality_repair_nats(const struct kvs_quality *quality, const char *method,
                               double recomputed_frac)
{
    struct curve curve = {0};
    double nats = HUGE_VAL;

    for (uint32_t i = 0; i < quality->n_repair; i++) {
        const struct kvs_repair_row *row = &quality->repair[i];

        if (strcmp(row->method, method) == 0 &&
            curve_reaches(&curve, row->recomputed_frac, row->nats.value, recomputed_frac, &nats))
            return nats;
    }
    if (curve.any)
        curve_reaches(&curve, 1, 0, fmin(recomputed_frac, 1), &nats);
    return nats;
}
