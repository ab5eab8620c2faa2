/*
 * figure.h - a number with its source: the cell of every profile of configs/.
 *
 * In a file: {"value": 0.741, "source": "fitted", "ref": "...", "rel_error": 0.05}, or null where
 * it is not known. A published or fitted figure names its reference.
 */
#ifndef KVS_FIGURE_H
#define KVS_FIGURE_H

#include "base/json.h"
#include "base/opt.h"

enum kvs_source { KVS_ASSUMED, KVS_PUBLISHED, KVS_FITTED, KVS_MEASURED };
const char *kvs_source_name(enum kvs_source source); /* "assumed", ... */

/* One figure of a profile: value in SI units, source, its reference, and a relative error bar (0:
 * none stated). */
struct kvs_figure {
    double value; /* 0 if not known */
    double rel_error;
    enum kvs_source source;
    bool known;
    const char *ref; /* borrowed from the profile; "" if none */
};

/* One figure of an object: its key, where it goes, what range it may have, and whether null or
 * absence would do. */
struct kvs_figure_row {
    const char *key;
    size_t offset;
    double min, max;
    bool required;
};

/* Reads one figure (node may be absent), or the figures of an object by a table of them into *out.
 */
KVS_MUST_CHECK enum kvs_code kvs_figure_json(struct kvs_json node, const struct kvs_figure_row *row,
                                             struct kvs_figure *figure, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_figures_json(struct kvs_json object,
                                              const struct kvs_figure_row *rows, unsigned n,
                                              void *out, struct kvs_err *err);

#endif
