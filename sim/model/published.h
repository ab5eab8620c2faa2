/*
 * published.h - published measurements, read from a table, and what the cost model says of each.
 *
 * A row names a model, a GPU, how many, token counts, a link and a quantity; the quantity's name
 * picks the arithmetic (kvs_pub_quantities). Profiles come from configs/hardware, by name or alias.
 * Nothing here knows a row's id, but for the list fitted_on of its profile.
 */
#ifndef KVS_PUBLISHED_H
#define KVS_PUBLISHED_H

#include "base/lines.h"
#include "cost.h"

enum kvs_pub_status { KVS_PUB_PASSED, KVS_PUB_FAILED, KVS_PUB_SKIPPED, KVS_PUB_FITTED };
const char *kvs_pub_status_name(enum kvs_pub_status status);

struct kvs_pub_row {
    /* as in the table; text is "" and a number NaN where the cell is empty */
    const char *id, *source, *mark, *model, *gpu, *link, *quantity, *unit;
    double gpus, context_tok, new_tok, link_bytes_per_s, value, within, across;
    /* the outcome */
    bool restates; /* KV bytes of a shape, peak of a data sheet: arithmetic, no prediction */
    bool predicted_known;
    double predicted, error; /* error: predicted / value - 1; the difference where value is 0 */
    double tolerance;
    bool
        is_within; /* the tolerance is within: the profile was fitted on other rows of the source */
    enum kvs_pub_status status;
    char why[224]; /* why it was skipped, or can't be predicted; "" otherwise */
};

struct kvs_pub {
    size_t n_row;
    struct kvs_pub_row *row;
    unsigned passed, failed;      /* predictions */
    unsigned restated, misstated; /* rows of arithmetic that agree, and that don't */
    unsigned skipped, fitted;
    double median_abs_error; /* of predictions that passed or failed; NaN if there are none */
    struct kvs_arena *arena;
};

/*
 * Reads the table and predicts every row. A line that breaks the format: "FILE:LINE: column: ...".
 * A row that can't be predicted (a model without a shape, say) is no error: it fails, with why.
 */
KVS_MUST_CHECK enum kvs_code kvs_pub_read(struct kvs_lines *lines, struct kvs_pub **pub,
                                          struct kvs_err *err);
void kvs_pub_free(struct kvs_pub *pub); /* accepts NULL */

#endif
