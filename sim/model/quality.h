/*
 * quality.h - what a compression level costs in quality: nats of KL divergence of the next token's
 * distribution against full recompute, by layer, K or V, level, and share of tokens recomputed.
 *
 * A table is a file of configs/quality, one a model (format: configs/README.md). What layers cost
 * one by one adds up to first order only, so where a row says what all cost at once its layers'
 * figures are scaled to add up to that: the sum over a plan is then its predicted joint loss. An
 * exact level, raw16 or a lossless one, costs nothing and is in no table.
 */
#ifndef KVS_QUALITY_H
#define KVS_QUALITY_H

#include "figure.h"

#define KVS_MAX_QUALITY_ROW 256

/* One level, measured with one share of the tokens recomputed. */
struct kvs_quality_row {
    const char *level; /* rows of one level have the same pointer */
    double recomputed_frac;
    const double *k_nats, *v_nats; /* [n_layer] adding up to joint, if that is known */
    struct kvs_figure joint;       /* all layers at this level at once, K and V; may be not known */
    struct kvs_figure agreement;   /* then: share of tokens whose most likely next one stays */
    enum kvs_source source;
    const char *ref;
    double rel_error;
};

/* What reusing text after other text costs, by how much of it is repaired. */
struct kvs_repair_row {
    const char *method; /* "first-tokens" of each passage, "deviation": those that deviate most */
    double recomputed_frac;
    struct kvs_figure nats;
};

struct kvs_quality {
    const char *model, *about;
    uint32_t n_layer;
    uint32_t n_row, n_repair;
    struct kvs_quality_row row[KVS_MAX_QUALITY_ROW];   /* by level, then by recomputed_frac */
    struct kvs_repair_row repair[KVS_MAX_QUALITY_ROW]; /* by method, then by recomputed_frac */
    struct kvs_doc *doc;                               /* what the strings are borrowed from */
};

/* KVS_ERR_RANGE if a list has not n_layer entries. */
KVS_MUST_CHECK enum kvs_code kvs_quality_open(const char *name_or_file, uint32_t n_layer,
                                              struct kvs_quality **quality, struct kvs_err *err);
/* The same from a document, which it takes, also when it fails. */
KVS_MUST_CHECK enum kvs_code kvs_quality_from(struct kvs_doc *doc, uint32_t n_layer,
                                              struct kvs_quality **quality, struct kvs_err *err);
void kvs_quality_free(struct kvs_quality *quality); /* accepts NULL */

/* What the table says of a level (its first row), and of a method with at least that share
 * repaired: for the source and the error bar of what follows from it. NULL: nothing. */
const struct kvs_quality_row *kvs_quality_row(const struct kvs_quality *quality, const char *level);
const struct kvs_repair_row *kvs_quality_repair_row(const struct kvs_quality *quality,
                                                    const char *method, double recomputed_frac);
/* true if the table knows the level. */
bool kvs_quality_knows(const struct kvs_quality *quality, const char *level);
/*
 * Nats of one layer's K or V loaded at a level while recomputed_frac of the cached tokens are
 * computed again: straight lines between the known shares; below the least known one as there,
 * above the greatest a line to 0 at 1. Asserts that the level is known.
 */
double kvs_quality_nats(const struct kvs_quality *quality, uint32_t layer, bool value,
                        const char *level, double recomputed_frac);
/* The same of the level that kvs_quality_row found. */
double kvs_quality_row_nats(const struct kvs_quality *quality, const struct kvs_quality_row *row,
                            uint32_t layer, bool value, double recomputed_frac);
/* Nats of a method of repair: straight lines, above the last known share a line to 0 at 1; HUGE_VAL
 * if the method is not known. */
double kvs_quality_repair_nats(const struct kvs_quality *quality, const char *method,
                               double recomputed_frac);

#endif
