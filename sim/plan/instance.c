#include "instance.h"

#include "base/arena.h"
#include "base/json.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct kvs_plan_set {
    struct kvs_arena *arena; /* all that the instances point to */
    size_t n;
    struct kvs_plan_instance *instance;
};

/* A table's shape: up to four dimensions, outermost first. */
struct shape {
    uint32_t n_dim;
    uint32_t dim[4];
};

static const char *const instance_keys[] = {
    "name",    "layers",      "fractions",    "levels",     "routes", "io_ns",      "decode_ns",
    "full_ns", "kv_ns",       "post_ns",      "wfull_ns",   "wkv_ns", "distortion", "budget",
    "head_ns", "io_start_ns", "gpu_start_ns", "optimum_ns", "plan",   "states",     "state_ns",
};

/* Numbers of a nested array of that shape, row by row, into *out, which moves on. */
static enum kvs_code read_table(struct kvs_json node, struct shape shape, int64_t **out,
                                struct kvs_err *err)
{
    struct shape inner = {.n_dim = shape.n_dim - 1};
    size_t n = kvs_json_size(node);

    if (kvs_json_array(node, err))
        return err->code;
    if (n != shape.dim[0])
        return kvs_json_fail(node, err, KVS_ERR_RANGE, "found %zu items, want %u", n, shape.dim[0]);
    memcpy(inner.dim, shape.dim + 1, sizeof inner.dim - sizeof inner.dim[0]);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(node.v, i);

        if (inner.n_dim > 0) {
            if (read_table(kvs_json_at(node, i), inner, out, err))
                return err->code;
            continue;
        }
        /* no node for each of many numbers: only for the one that is wrong */
        **out = json_integer_value(v);
        if (!json_is_integer(v) || **out < 0 || **out > KVS_PLAN_MAX_NS)
            return kvs_json_i64(kvs_json_at(node, i), 0, KVS_PLAN_MAX_NS, *out, err);
        (*out)++;
    }
    return KVS_OK;
}

static enum kvs_code read_count(struct kvs_json object, const char *key, int64_t min, int64_t max,
                                uint32_t *n, struct kvs_err *err)
{
    int64_t value;

    if (kvs_json_i64(kvs_json_get(object, key), min, max, &value, err))
        return err->code;
    *n = (uint32_t)value;
    return KVS_OK;
}

/* Named table of the shape into new memory. */
static enum kvs_code read_new(struct kvs_arena *arena, struct kvs_json object, const char *key,
                              struct shape shape, int64_t **table, struct kvs_err *err)
{
    size_t n = 1;
    int64_t *at;

    for (uint32_t d = 0; d < shape.n_dim; d++)
        n *= shape.dim[d]; /* at most 4 * 256 * 64 * 16 */
    *table = at = kvs_arena_alloc(arena, n, sizeof **table);
    if (!at)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for a plan problem");
    return read_table(kvs_json_get(object, key), shape, &at, err);
}

static enum kvs_code read_fractions(struct kvs_arena *arena, struct kvs_json object,
                                    struct kvs_plan_problem *problem, struct kvs_err *err)
{
    struct kvs_json node = kvs_json_get(object, "fractions");
    size_t n = kvs_json_size(node);
    double *frac;

    if (kvs_json_array(node, err))
        return err->code;
    if (n < 2 || n > KVS_MAX_FRAC)
        return kvs_json_fail(node, err, KVS_ERR_RANGE, "found %zu items, want 2 to %d", n,
                             KVS_MAX_FRAC);
    problem->n_frac = (uint32_t)n;
    problem->frac = frac = kvs_arena_alloc(arena, n, sizeof *frac);
    if (!frac)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for a plan problem");
    for (size_t i = 0; i < n; i++) {
        struct kvs_json item = kvs_json_at(node, i);

        if (kvs_json_double(item, 0, 1, &frac[i], err))
            return err->code;
        if (i == 0 ? frac[i] != 0 : frac[i] <= frac[i - 1])
            return kvs_json_fail(item, err, KVS_ERR_RANGE,
                                 "found %.6g, want fractions that ascend from 0 to 1", frac[i]);
    }
    if (frac[n - 1] != 1)
        return kvs_json_fail(kvs_json_at(node, n - 1), err, KVS_ERR_RANGE,
                             "found %.6g, want 1 as the last fraction", frac[n - 1]);
    return KVS_OK;
}

/* Costs of all layers. */
static enum kvs_code read_layers(struct kvs_arena *arena, struct kvs_json object,
                                 struct kvs_plan_problem *problem, struct kvs_err *err)
{
    uint32_t n_layer = problem->n_layer, n_frac = problem->n_frac, n_level = problem->n_level;
    struct shape by_route = {4, {problem->n_route, n_layer, n_frac, n_level}};
    struct shape by_level = {3, {n_layer, n_frac, n_level}};
    struct shape by_frac = {2, {n_layer, n_frac}};
    size_t cells = (size_t)n_frac * n_level;
    int64_t *io, *decode, *post, *distortion, *full, *kv, *wfull, *wkv;
    const struct kvs_layer_cost **layer = kvs_arena_alloc(arena, n_layer, sizeof(void *));

    if (!layer)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for a plan problem");
    if (read_new(arena, object, "io_ns", by_route, &io, err) ||
        read_new(arena, object, "decode_ns", by_level, &decode, err) ||
        read_new(arena, object, "post_ns", by_level, &post, err) ||
        read_new(arena, object, "distortion", by_level, &distortion, err) ||
        read_new(arena, object, "full_ns", by_frac, &full, err) ||
        read_new(arena, object, "kv_ns", by_frac, &kv, err) ||
        read_new(arena, object, "wfull_ns", by_frac, &wfull, err) ||
        read_new(arena, object, "wkv_ns", by_frac, &wkv, err))
        return err->code;
    for (uint32_t l = 0; l < n_layer; l++) {
        struct kvs_layer_cost *cost = kvs_arena_alloc(arena, 1, sizeof *cost);

        if (!cost)
            return kvs_fail(err, KVS_ERR_NOMEM, "no memory for a plan problem");
        for (uint32_t k = 0; k < problem->n_route; k++)
            cost->io_ns[k] = io + ((size_t)k * n_layer + l) * cells;
        cost->decode_ns = decode + l * cells;
        cost->post_ns = post + l * cells;
        cost->distortion = distortion + l * cells;
        cost->full_ns = full + (size_t)l * n_frac;
        cost->kv_ns = kv + (size_t)l * n_frac;
        cost->wfull_ns = wfull + (size_t)l * n_frac;
        cost->wkv_ns = wkv + (size_t)l * n_frac;
        layer[l] = cost;
    }
    problem->layer = layer;
    return KVS_OK;
}

/* Restart points, and what their states cost on each route. */
static enum kvs_code read_states(struct kvs_arena *arena, struct kvs_json object,
                                 struct kvs_plan_problem *problem, struct kvs_err *err)
{
    struct kvs_json node = kvs_json_get(object, "states");
    struct kvs_json times = kvs_json_get(object, "state_ns");
    struct shape shape = {2, {problem->n_route, problem->n_frac}};
    uint8_t *state_at = kvs_arena_alloc(arena, problem->n_layer, sizeof *state_at);
    int64_t at = 0, *ns;

    if (!state_at)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for a plan problem");
    if (kvs_json_array(node, err))
        return err->code;
    for (size_t n = 0; n < kvs_json_size(node); n++) {
        if (kvs_json_i64(kvs_json_at(node, n), at + 1, (int64_t)problem->n_layer - 1, &at, err))
            return err->code;
        state_at[at] = 1;
    }
    if (read_new(arena, object, "state_ns", shape, &ns, err))
        return err->code;
    for (uint32_t k = 0; k < problem->n_route; k++)
        for (uint32_t i = 0; i < problem->n_frac; i++) {
            const int64_t *row = ns + (size_t)k * problem->n_frac;

            if (i == 0 ? row[0] != 0 : row[i] < row[i - 1])
                return kvs_json_fail(kvs_json_at(kvs_json_at(times, k), i), err, KVS_ERR_RANGE,
                                     "found %lld, want times that ascend from 0",
                                     (long long)row[i]);
            problem->state_ns[k] = row;
        }
    problem->state_at = kvs_json_size(node) > 0 ? state_at : NULL;
    return KVS_OK;
}

static enum kvs_code read_plan(struct kvs_json node, const struct kvs_plan_problem *problem,
                               struct kvs_plan *plan, struct kvs_err *err)
{
    size_t n = kvs_json_size(node);

    if (kvs_json_array(node, err))
        return err->code;
    if (n != problem->n_layer)
        return kvs_json_fail(node, err, KVS_ERR_RANGE, "found %zu items, want %u, one a layer", n,
                             problem->n_layer);
    for (size_t l = 0; l < n; l++) {
        struct kvs_json pair = kvs_json_at(node, l);
        int64_t i, q;

        if (kvs_json_array(pair, err))
            return err->code;
        if (kvs_json_size(pair) != 2)
            return kvs_json_fail(pair, err, KVS_ERR_RANGE,
                                 "found %zu items, want 2: fraction's index, level",
                                 kvs_json_size(pair));
        if (kvs_json_i64(kvs_json_at(pair, 0), 0, problem->n_frac - 1, &i, err) ||
            kvs_json_i64(kvs_json_at(pair, 1), 0, problem->n_level - 1, &q, err))
            return err->code;
        plan->frac_i[l] = (uint8_t)i;
        plan->level[l] = (uint8_t)q;
    }
    return KVS_OK;
}

static enum kvs_code read_instance(struct kvs_arena *arena, struct kvs_json node,
                                   struct kvs_plan_instance *out, struct kvs_err *err)
{
    struct kvs_plan_problem *problem = &out->problem;
    struct kvs_json optimum = kvs_json_get(node, "optimum_ns");
    struct kvs_json plan = kvs_json_get(node, "plan");
    struct shape by_route = {1, {0}};
    int64_t *start = problem->io_start_ns;
    const char *name;

    if (kvs_json_object(node, err) ||
        kvs_json_only(node, instance_keys, sizeof instance_keys / sizeof *instance_keys, err) ||
        kvs_json_str(kvs_json_get(node, "name"), &name, err) ||
        read_count(node, "layers", 1, KVS_MAX_LAYER, &problem->n_layer, err) ||
        read_count(node, "levels", 1, KVS_MAX_LEVEL, &problem->n_level, err) ||
        read_count(node, "routes", 0, KVS_MAX_ROUTE, &problem->n_route, err) ||
        read_fractions(arena, node, problem, err) || read_layers(arena, node, problem, err))
        return err->code;
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            return kvs_json_fail(kvs_json_get(node, "name"), err, KVS_ERR_RANGE,
                                 "found a control character, want text that prints");
    by_route.dim[0] = problem->n_route;
    if (read_table(kvs_json_get(node, "io_start_ns"), by_route, &start, err) ||
        kvs_json_i64(kvs_json_get(node, "gpu_start_ns"), 0, KVS_PLAN_MAX_NS, &problem->gpu_start_ns,
                     err) ||
        kvs_json_i64(kvs_json_get(node, "head_ns"), 0, KVS_PLAN_MAX_NS, &problem->head_ns, err) ||
        kvs_json_i64(kvs_json_get(node, "budget"), 0, KVS_MAX_LAYER * KVS_PLAN_MAX_NS,
                     &problem->budget, err))
        return err->code;
    if ((kvs_json_get(node, "states").v || kvs_json_get(node, "state_ns").v) &&
        read_states(arena, node, problem, err))
        return err->code;
    out->has_optimum = optimum.v && !json_is_null(optimum.v);
    if (out->has_optimum && kvs_json_i64(optimum, 0, INT64_MAX, &out->optimum_ns, err))
        return err->code;
    out->has_plan = plan.v && !json_is_null(plan.v);
    if (out->has_plan && read_plan(plan, problem, &out->plan, err))
        return err->code;
    out->name = kvs_arena_str(arena, name);
    return out->name ? KVS_OK : kvs_fail(err, KVS_ERR_NOMEM, "no memory for a plan problem");
}

static enum kvs_code read_set(const struct kvs_doc *doc, struct kvs_plan_set **out,
                              struct kvs_err *err)
{
    static const char *const keys[] = {"about", "instances"};
    struct kvs_json root = kvs_doc_root(doc);
    struct kvs_json list = kvs_json_get(root, "instances");
    struct kvs_plan_set *set = NULL;

    if (kvs_json_object(root, err) || kvs_json_only(root, keys, 2, err) ||
        kvs_json_array(list, err))
        return err->code;
    if (kvs_json_size(list) == 0)
        return kvs_json_fail(list, err, KVS_ERR_RANGE, "found no problem, want one or more");
    set = calloc(1, sizeof *set);
    if (!set)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for plan problems");
    set->n = kvs_json_size(list);
    set->arena = kvs_arena_new();
    set->instance = set->arena ? kvs_arena_alloc(set->arena, set->n, sizeof *set->instance) : NULL;
    if (!set->instance) {
        kvs_fail(err, KVS_ERR_NOMEM, "no memory for plan problems");
        goto fail;
    }
    for (size_t n = 0; n < set->n; n++)
        if (read_instance(set->arena, kvs_json_at(list, n), &set->instance[n], err))
            goto fail;
    *out = set;
    return KVS_OK;

fail:
    kvs_plan_set_free(set);
    return err->code;
}

enum kvs_code kvs_plan_set_open(const char *file, struct kvs_plan_set **set, struct kvs_err *err)
{
    struct kvs_err local = {0};
    struct kvs_doc *doc = NULL;
    enum kvs_code code;

    err = err ? err : &local; /* the readers above tell failure by err->code */
    *set = NULL;
    code = kvs_doc_open(file, &doc, err);
    if (!code)
        code = read_set(doc, set, err);
    kvs_doc_free(doc);
    return code;
}

enum kvs_code kvs_plan_set_parse(const char *name, const char *text, size_t n_byte,
                                 struct kvs_plan_set **set, struct kvs_err *err)
{
    struct kvs_err local = {0};
    struct kvs_doc *doc = NULL;
    enum kvs_code code;

    err = err ? err : &local;
    *set = NULL;
    code = kvs_doc_parse(name, text, n_byte, &doc, err);
    if (!code)
        code = read_set(doc, set, err);
    kvs_doc_free(doc);
    return code;
}

void kvs_plan_set_free(struct kvs_plan_set *set)
{
    if (!set)
        return;
    kvs_arena_free(set->arena);
    free(set);
}

size_t kvs_plan_set_n(const struct kvs_plan_set *set)
{
    return set->n;
}

const struct kvs_plan_instance *kvs_plan_set_at(const struct kvs_plan_set *set, size_t n)
{
    assert(n < set->n);
    return &set->instance[n];
}
