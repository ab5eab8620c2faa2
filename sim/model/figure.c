#include "figure.h"

static const char *const source_names[] = {"assumed", "published", "fitted", "measured", NULL};

const char *kvs_source_name(enum kvs_source source)
{
    return source_names[source];
}

#define N(table) ((unsigned)(sizeof(table) / sizeof *(table)))

/* The value may be null: not known. kvs_opt_json has no such number, so it is read by hand. */
struct figure_file {
    struct kvs_json value;
    int source;
    const char *ref;
    double rel_error;
};

static const struct kvs_opt figure_table[] = {
    {"value", KVS_OPT_NODE, offsetof(struct figure_file, value), NULL, 0, 0,
     "SI units; null: not known", NULL, true, 0},
    {"source", KVS_OPT_ENUM, offsetof(struct figure_file, source), NULL, 0, 0,
     "where the value comes from", source_names, true, 0},
    {"ref", KVS_OPT_STR, offsetof(struct figure_file, ref), NULL, 0, 0,
     "publication, command or reason", NULL, false, 0},
    {"rel_error", KVS_OPT_DOUBLE, offsetof(struct figure_file, rel_error), "0", 0, 10,
     "relative error bar; 0: none stated", NULL, false, 0},
};

enum kvs_code kvs_figure_json(struct kvs_json node, const struct kvs_figure_row *row,
                              struct kvs_figure *figure, struct kvs_err *err)
{
    struct figure_file f;
    enum kvs_code code;
    *figure = (struct kvs_figure){.ref = ""};
    if (json_is_null(node.v))
        return KVS_OK; /* not known */
    if (!node.v)
        return row->required ? kvs_json_fail(node, err, KVS_ERR_PARSE,
                                             "missing; want {\"value\": number, \"source\": ...}, "
                                             "or null if not known")
                             : KVS_OK;
    if ((code = kvs_json_object(node, err)) ||
        (code = kvs_opt_json(figure_table, N(figure_table), node, &f, err)))
        return code;
    figure->source = (enum kvs_source)f.source;
    figure->ref = f.ref ? f.ref : "";
    figure->rel_error = f.rel_error;
    if (json_is_null(f.value.v))
        return KVS_OK;
    if ((f.source == KVS_PUBLISHED || f.source == KVS_FITTED) && !*figure->ref)
        return kvs_json_fail(kvs_json_get(node, "ref"), err, KVS_ERR_PARSE,
                             "missing; a %s figure names its reference", source_names[f.source]);
    if ((code = kvs_json_double(f.value, row->min, row->max, &figure->value, err)))
        return code;
    figure->known = true;
    return KVS_OK;
}

enum kvs_code kvs_figures_json(struct kvs_json object, const struct kvs_figure_row *rows,
                               unsigned n, void *out, struct kvs_err *err)
{
    for (unsigned i = 0; i < n; i++) {
        struct kvs_figure *figure = (struct kvs_figure *)((char *)out + rows[i].offset);
        enum kvs_code code =
            kvs_figure_json(kvs_json_get(object, rows[i].key), &rows[i], figure, err);
        if (code)
            return code;
    }
    return KVS_OK;
}
