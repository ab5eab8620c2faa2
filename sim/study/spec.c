#include "spec.h"

#include "base/arena.h"
#include "base/data.h"
#include "base/units.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N(table) ((unsigned)(sizeof(table) / sizeof *(table)))
#define MAX_VALUE 100000
#define MAX_POINT 10000000
#define MAX_SET ((uint32_t)(sizeof((struct kvs_strs *)0)->v / sizeof(char *)))

struct top {
    const char *kvsim, *about, *workload;
    struct kvs_json set, axes;
};

#define TOP(field) offsetof(struct top, field)
static const struct kvs_opt top_table[] = {
    {"kvsim", KVS_OPT_STR, TOP(kvsim), NULL, 0, 0, "version that recorded this file", NULL, false,
     0},
    {"about", KVS_OPT_STR, TOP(about), NULL, 0, 0, "what is studied, for people", NULL, false, 0},
    {"workload", KVS_OPT_STR, TOP(workload), NULL, 0, 0, "a name of workloads/, or a file", NULL,
     true, 0},
    {"set", KVS_OPT_NODE, TOP(set), NULL, 0, 0, "settings of every point, by path", NULL, false, 0},
    {"axes", KVS_OPT_NODE, TOP(axes), NULL, 0, 0, "what varies; the last axis fastest", NULL, true,
     0},
};

struct axis_in {
    const char *path, *name;
    struct kvs_json values, linear, log, choices;
};

#define AXIS(field) offsetof(struct axis_in, field)
static const struct kvs_opt axis_table[] = {
    {"path", KVS_OPT_STR, AXIS(path), NULL, 0, 0, "of the workload, like tiers[0].capacity", NULL,
     false, 0},
    {"name", KVS_OPT_STR, AXIS(name), NULL, 0, 0, "column in the results; default: the path", NULL,
     false, 0},
    {"values", KVS_OPT_NODE, AXIS(values), NULL, 0, 0, "a list", NULL, false, 0},
    {"linear", KVS_OPT_NODE, AXIS(linear), NULL, 0, 0, "from, to, points: even steps", NULL, false,
     0},
    {"log", KVS_OPT_NODE, AXIS(log), NULL, 0, 0, "from, to, points: even ratios", NULL, false, 0},
    {"choices", KVS_OPT_NODE, AXIS(choices), NULL, 0, 0,
     "name and set: several paths at once; in place of path", NULL, false, 0},
};

struct range_in {
    struct kvs_json from, to;
    uint64_t points;
};

static const struct kvs_opt range_table[] = {
    {"from", KVS_OPT_NODE, offsetof(struct range_in, from), NULL, 0, 0, "first value", NULL, true,
     0},
    {"to", KVS_OPT_NODE, offsetof(struct range_in, to), NULL, 0, 0, "last value", NULL, true, 0},
    {"points", KVS_OPT_U64, offsetof(struct range_in, points), NULL, 2, MAX_VALUE, "how many", NULL,
     true, 0},
};

struct choice_in {
    const char *name;
    struct kvs_json set;
};

static const struct kvs_opt choice_table[] = {
    {"name", KVS_OPT_STR, offsetof(struct choice_in, name), NULL, 0, 0, "in the results", NULL,
     true, 0},
    {"set", KVS_OPT_NODE, offsetof(struct choice_in, set), NULL, 0, 0, "settings by path", NULL,
     true, 0},
};

static struct kvs_arena *arena_of(const struct kvs_spec *spec)
{
    return kvs_doc_arena(spec->doc);
}

/* "path=text" in the document's memory, appended to sets. */
static enum kvs_code add_set(struct kvs_spec *spec, struct kvs_json at, const char *path,
                             const char *text, struct kvs_strs *sets, struct kvs_err *err)
{
    const size_t room = strlen(path) + strlen(text) + 2;
    char *set = kvs_arena_alloc(arena_of(spec), room, 1);
    if (!set)
        return kvs_nomem(err);
    if (sets->n == MAX_SET)
        return kvs_json_fail(at, err, KVS_ERR_RANGE, "found more than %u settings", MAX_SET);
    snprintf(set, room, "%s=%s", path, text);
    sets->v[sets->n++] = set;
    return KVS_OK;
}

static enum kvs_code add_value_set(struct kvs_spec *spec, struct kvs_json at, const char *path,
                                   const json_t *value, struct kvs_strs *sets, struct kvs_err *err)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    enum kvs_code code = text ? add_set(spec, at, path, text, sets, err) : kvs_nomem(err);
    free(text);
    return code;
}

/* {"path": value, ...} */
static enum kvs_code add_object(struct kvs_spec *spec, struct kvs_json object,
                                struct kvs_strs *sets, struct kvs_err *err)
{
    const char *path;
    json_t *value;
    enum kvs_code code = kvs_json_object(object, err);
    if (code)
        return code;
    json_object_foreach((json_t *)object.v, path, value)
    {
        if ((code = add_value_set(spec, kvs_json_get(object, path), path, value, sets, err)))
            return code;
    }
    return KVS_OK;
}

/* What the results show: text as it is, everything else as JSON. */
static const char *label_of(struct kvs_spec *spec, const json_t *value)
{
    char *text = json_is_string(value) ? strdup(json_string_value(value))
                                       : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    const char *label = text ? kvs_arena_str(arena_of(spec), text) : NULL;
    free(text);
    return label;
}

static enum kvs_code new_values(struct kvs_spec *spec, struct kvs_axis *axis, struct kvs_json at,
                                uint64_t n, struct kvs_err *err)
{
    if (n == 0 || n > MAX_VALUE)
        return kvs_json_fail(at, err, KVS_ERR_RANGE, "found %" PRIu64 " values, want 1 to %d", n,
                             MAX_VALUE);
    axis->value = kvs_arena_alloc(arena_of(spec), n, sizeof *axis->value);
    return axis->value ? KVS_OK : kvs_nomem(err);
}

static enum kvs_code read_values(struct kvs_spec *spec, const char *path, struct kvs_json list,
                                 struct kvs_axis *axis, struct kvs_err *err)
{
    enum kvs_code code = kvs_json_array(list, err);
    if (code || (code = new_values(spec, axis, list, kvs_json_size(list), err)))
        return code;
    for (size_t i = 0; i < kvs_json_size(list) && !code; i++) {
        struct kvs_axis_value *value = &axis->value[axis->n_value++];
        const struct kvs_json node = kvs_json_at(list, i);
        value->label = label_of(spec, node.v);
        code = value->label ? add_value_set(spec, node, path, node.v, &value->sets, err)
                            : kvs_nomem(err);
    }
    return code;
}

static enum kvs_code read_choices(struct kvs_spec *spec, struct kvs_json list,
                                  struct kvs_axis *axis, struct kvs_err *err)
{
    enum kvs_code code = kvs_json_array(list, err);
    if (code || (code = new_values(spec, axis, list, kvs_json_size(list), err)))
        return code;
    for (size_t i = 0; i < kvs_json_size(list) && !code; i++) {
        struct kvs_axis_value *value = &axis->value[axis->n_value++];
        const struct kvs_json node = kvs_json_at(list, i);
        struct choice_in in;
        if (!(code = kvs_json_object(node, err)) &&
            !(code = kvs_opt_json(choice_table, N(choice_table), node, &in, err))) {
            value->label = in.name;
            code = add_object(spec, in.set, &value->sets, err);
        }
    }
    return code;
}

/* --- ranges ------------------------------------------------------------------------------------
 */

enum kind { KIND_REAL, KIND_WHOLE, KIND_BYTES, KIND_RATE, KIND_TIME, KIND_TOK };

/* A number, or a quantity with its unit. */
static enum kvs_code read_end(struct kvs_json node, double *value, enum kind *kind,
                              struct kvs_err *err)
{
    const char *text = json_string_value(node.v);
    uint64_t whole = 0;
    if (!text) {
        *kind = json_is_integer(node.v) ? KIND_WHOLE : KIND_REAL;
        return kvs_json_double(node, -1e18, 1e18, value, err);
    }
    if (!kvs_parse_bytes(text, &whole, NULL))
        *kind = KIND_BYTES;
    else if (!kvs_parse_tok(text, &whole, NULL))
        *kind = KIND_TOK;
    else if (!kvs_parse_rate(text, value, NULL))
        *kind = KIND_RATE;
    else if (!kvs_parse_time(text, value, NULL))
        *kind = KIND_TIME;
    else
        return kvs_json_want(node, err, KVS_ERR_PARSE, "a number, or one with a unit");
    if (*kind == KIND_BYTES || *kind == KIND_TOK)
        *value = (double)whole;
    return KVS_OK;
}

/* Value i of n; the ends are met exactly, and what counts things is whole. */
static void range_text(char text[40], double from, double to, uint64_t i, uint64_t n,
                       bool log_scale, enum kind kind)
{
    const double at = (double)i / (double)(n - 1);
    double value = log_scale ? from * pow(to / from, at) : from + (to - from) * at;
    if (i == 0)
        value = from;
    if (i == n - 1)
        value = to;
    if (kind == KIND_WHOLE || kind == KIND_BYTES || kind == KIND_TOK)
        snprintf(text, 40, "%.0f", value);
    else
        snprintf(text, 40, i == 0 || i == n - 1 ? "%.15g" : "%.6g", value);
}

static enum kvs_code read_range(struct kvs_spec *spec, const char *path, struct kvs_json node,
                                bool log_scale, struct kvs_axis *axis, struct kvs_err *err)
{
    struct range_in in;
    double from = 0, to = 0;
    enum kind kind = KIND_REAL, kind_to = KIND_REAL;
    enum kvs_code code = kvs_json_object(node, err);
    if (code || (code = kvs_opt_json(range_table, N(range_table), node, &in, err)) ||
        (code = read_end(in.from, &from, &kind, err)) ||
        (code = read_end(in.to, &to, &kind_to, err)))
        return code;
    if ((kind <= KIND_WHOLE) != (kind_to <= KIND_WHOLE) || (kind > KIND_WHOLE && kind != kind_to))
        return kvs_json_fail(in.to, err, KVS_ERR_ARG, "is another quantity than \"from\"");
    if (kind <= KIND_WHOLE && kind_to < kind)
        kind = kind_to;
    if (log_scale && (from <= 0 || to <= 0))
        return kvs_json_fail(node, err, KVS_ERR_RANGE,
                             "found an end of 0 or less, want both over "
                             "0 in a logarithmic range");
    if ((code = new_values(spec, axis, node, in.points, err)))
        return code;
    char text[40], last[40] = "";
    for (uint64_t i = 0; i < in.points && !code; i++) {
        range_text(text, from, to, i, in.points, log_scale, kind);
        if (strcmp(last, text) == 0)
            continue; /* whole numbers that lie too near */
        memcpy(last, text, sizeof last);
        struct kvs_axis_value *value = &axis->value[axis->n_value++];
        value->label = kvs_arena_str(arena_of(spec), text);
        code = value->label ? add_set(spec, node, path, text, &value->sets, err) : kvs_nomem(err);
    }
    return code;
}

/* --- axes --------------------------------------------------------------------------------------
 */

static enum kvs_code check_axis(const struct kvs_spec *spec, struct kvs_json node,
                                const struct axis_in *in, struct kvs_err *err)
{
    const int n_way = !!in->values.v + !!in->linear.v + !!in->log.v;
    const char *name = in->name ? in->name : in->path;
    if (in->choices.v ? n_way || in->path || !in->name : n_way != 1 || !in->path)
        return kvs_json_fail(node, err, KVS_ERR_ARG,
                             "want \"path\" with one of \"values\", \"linear\", \"log\"; or "
                             "\"name\" with \"choices\"");
    for (uint32_t i = 0; i < spec->n_axis; i++)
        if (strcmp(spec->axis[i].name, name) == 0)
            return kvs_json_fail(node, err, KVS_ERR_ARG, "found \"%s\" a second time", name);
    return KVS_OK;
}

static int by_label(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A value that stands twice would be run twice and counted as two. */
static enum kvs_code check_values(const struct kvs_axis *axis, struct kvs_json node,
                                  struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    const char **label = calloc(axis->n_value, sizeof *label);
    if (!label)
        return kvs_nomem(err);
    for (uint32_t i = 0; i < axis->n_value; i++)
        label[i] = axis->value[i].label;
    qsort(label, axis->n_value, sizeof *label, by_label);
    for (uint32_t i = 1; i < axis->n_value && !code; i++)
        if (strcmp(label[i - 1], label[i]) == 0)
            code = kvs_json_fail(node, err, KVS_ERR_ARG,
                                 "found %.60s a second time, want each value once", label[i]);
    free(label);
    return code;
}

static enum kvs_code read_axis(struct kvs_spec *spec, struct kvs_json node, struct kvs_err *err)
{
    struct kvs_axis *axis = &spec->axis[spec->n_axis];
    struct axis_in in;
    enum kvs_code code = kvs_json_object(node, err);
    if (code || (code = kvs_opt_json(axis_table, N(axis_table), node, &in, err)) ||
        (code = check_axis(spec, node, &in, err)))
        return code;
    axis->name = in.name ? in.name : in.path;
    code = in.choices.v  ? read_choices(spec, in.choices, axis, err)
           : in.values.v ? read_values(spec, in.path, in.values, axis, err)
           : in.log.v    ? read_range(spec, in.path, in.log, true, axis, err)
                         : read_range(spec, in.path, in.linear, false, axis, err);
    spec->n_axis++;
    return code ? code : check_values(axis, in.choices.v ? in.choices : in.values, err);
}

static enum kvs_code read_axes(struct kvs_spec *spec, struct kvs_json axes, struct kvs_err *err)
{
    uint32_t n_set = spec->sets.n;
    enum kvs_code code = kvs_json_array(axes, err);
    if (!code && kvs_json_size(axes) > KVS_MAX_AXIS)
        return kvs_json_fail(axes, err, KVS_ERR_RANGE, "found %zu axes, want at most %d",
                             kvs_json_size(axes), KVS_MAX_AXIS);
    spec->n_point = 1;
    for (size_t i = 0; i < kvs_json_size(axes) && !code; i++) {
        const struct kvs_axis *axis = &spec->axis[i];
        uint32_t most = 0;
        if ((code = read_axis(spec, kvs_json_at(axes, i), err)))
            return code;
        for (uint32_t v = 0; v < axis->n_value; v++)
            most = axis->value[v].sets.n > most ? axis->value[v].sets.n : most;
        n_set += most;
        spec->n_point *= axis->n_value;
        if (spec->n_point > MAX_POINT || n_set > MAX_SET)
            return kvs_json_fail(kvs_json_at(axes, i), err, KVS_ERR_RANGE,
                                 "found %" PRIu64 " points of %u settings up to here, want at most "
                                 "%d and %u",
                                 spec->n_point, n_set, MAX_POINT, MAX_SET);
    }
    return code;
}

static enum kvs_code read_spec(struct kvs_spec *spec, const struct kvs_strs *sets,
                               struct kvs_err *err)
{
    const struct kvs_json root = kvs_doc_root(spec->doc);
    struct top in;
    enum kvs_code code = kvs_json_object(root, err);
    if (code || (code = kvs_opt_json(top_table, N(top_table), root, &in, err)))
        return code;
    const bool path = strchr(in.workload, '/') || strstr(in.workload, ".json");
    char *file = path ? kvs_path_from(kvs_doc_file(spec->doc), in.workload) : strdup(in.workload);
    spec->workload = file ? kvs_arena_str(arena_of(spec), file) : NULL;
    free(file);
    if (!spec->workload)
        return kvs_nomem(err);
    if (in.set.v && (code = add_object(spec, in.set, &spec->sets, err)))
        return code;
    for (unsigned i = 0; sets && i < sets->n; i++) {
        if (spec->sets.n == MAX_SET)
            return kvs_fail(err, KVS_ERR_ARG, "--set: more than %u settings", MAX_SET);
        spec->sets.v[spec->sets.n++] = sets->v[i];
    }
    return read_axes(spec, in.axes, err);
}

enum kvs_code kvs_spec_from(struct kvs_doc *doc, const char *file, const struct kvs_strs *sets,
                            struct kvs_spec **out, struct kvs_err *err)
{
    struct kvs_spec *spec = calloc(1, sizeof *spec);
    const char *slash = strrchr(file, '/');
    enum kvs_code code;
    *out = NULL;
    if (!spec) {
        kvs_doc_free(doc);
        return kvs_nomem(err);
    }
    spec->doc = doc;
    char *name = kvs_arena_str(arena_of(spec), slash ? slash + 1 : file);
    spec->name = name;
    if (name && strlen(name) > 5 && strcmp(name + strlen(name) - 5, ".json") == 0)
        name[strlen(name) - 5] = '\0';
    code = name ? read_spec(spec, sets, err) : kvs_nomem(err);
    if (code) {
        kvs_spec_free(spec);
        return code;
    }
    *out = spec;
    return KVS_OK;
}

enum kvs_code kvs_spec_open(const char *file, const struct kvs_strs *sets, struct kvs_spec **spec,
                            struct kvs_err *err)
{
    struct kvs_doc *doc = NULL;
    char *path = NULL;
    enum kvs_code code;
    *spec = NULL;
    if (!(code = kvs_data_find("sweep", "configs/sweeps", file, &path, err)) &&
        !(code = kvs_doc_open(path, &doc, err)))
        code = kvs_spec_from(doc, path, sets, spec, err);
    free(path);
    return code;
}

void kvs_spec_free(struct kvs_spec *spec)
{
    if (!spec)
        return;
    kvs_doc_free(spec->doc);
    free(spec);
}

/* --- points ------------------------------------------------------------------------------------
 */

uint32_t kvs_spec_value_i(const struct kvs_spec *spec, uint64_t point, uint32_t axis_i)
{
    assert(point < spec->n_point && axis_i < spec->n_axis);
    for (uint32_t i = spec->n_axis - 1; i > axis_i; i--)
        point /= spec->axis[i].n_value;
    return (uint32_t)(point % spec->axis[axis_i].n_value);
}

static void append(struct kvs_strs *to, const struct kvs_strs *from)
{
    for (unsigned i = 0; i < from->n; i++) {
        assert(to->n < MAX_SET);
        to->v[to->n++] = from->v[i];
    }
}

void kvs_spec_sets(const struct kvs_spec *spec, uint64_t point, struct kvs_strs *sets)
{
    sets->n = 0;
    append(sets, &spec->sets);
    for (uint32_t i = 0; i < spec->n_axis; i++)
        append(sets, &spec->axis[i].value[kvs_spec_value_i(spec, point, i)].sets);
}
