/*
 * measured.h - layers of one shape as one device was measured to compute them: points, and the
 * times between them.
 *
 * kvprobe prefill writes an entry of a profile's "compute" (configs/README.md); cost.h takes it
 * where a model's layers have its shape, and operators by roofline elsewhere. A layer is its linear
 * part, which knows only the rows of the batch, and the attention of each sequence, which also
 * knows the tokens before it; at a measured point both together are what was measured. Seconds of
 * one whole layer, or of one pass.
 *
 * Between rows times follow a power law (straight lines in log rows and log seconds), between
 * contexts straight lines: attention is affine there. Beyond the last rows each row costs as at the
 * last, seeing as many keys more; beyond the last context, as on the last stretch (of these rows or
 * fewer, the steeper one); below the first row, as at it. All is finite, meets the points, and
 * never falls as rows or context grow, since the reader takes no points that fall.
 */
#ifndef KVS_MEASURED_H
#define KVS_MEASURED_H

#include "figure.h"

#define KVS_MAX_MEASURED 8

struct kvs_measured {
    const char *model, *device, *ref; /* whose layers; on what, with what elements and threads */
    enum kvs_source source;
    double rel_error;
    uint32_t hidden, heads, kv_heads, head_dim, ffn, vocab;
    uint32_t n_row, n_context, n_out;
    const double *row_tok;     /* [n_row] rows of a batch: ascending from 1 */
    const double *context_tok; /* [n_context] tokens before them: ascending from 0, at least two */
    const double *linear_s;    /* [n_row] all of a layer but attention */
    const double *attention_s; /* [n_row * n_context], by rows */
    const double *kv_s;        /* [n_row] only the norm, K and V */
    const double *begin_s;     /* [n_row] before the first layer: the batch set up, embedding */
    const double *out_row;     /* [n_out] rows that logits are made for: ascending from 1 */
    const double *head_s;      /* [n_out] final norm and logits */
};

/* Reads one entry; arrays live in the document's arena. */
KVS_MUST_CHECK enum kvs_code kvs_measured_json(struct kvs_json node, struct kvs_measured *measured,
                                               struct kvs_err *err);

double kvs_measured_linear_s(const struct kvs_measured *measured, double n_row);
double kvs_measured_attention_s(const struct kvs_measured *measured, double n_row,
                                double context_tok);
double kvs_measured_kv_s(const struct kvs_measured *measured, double n_row);
double kvs_measured_begin_s(const struct kvs_measured *measured, double n_row);
double kvs_measured_head_s(const struct kvs_measured *measured, double n_out);

#endif
