/*
 * forward_in.h - a forward pass from inside: for forward.c, which runs batches, and forward_new.c,
 * which makes it.
 */
#ifndef KVS_FORWARD_IN_H
#define KVS_FORWARD_IN_H

#include "forward.h"

struct kvs_forward_block {
    struct kvs_buf *attn_norm, *qkv, *o, *ffn_norm, *gate_up, *down; /* weights */
    struct kvs_buf *k, *v;                                           /* cache */
    /* int32, a batch each: what the rows are after this layer's keep; see kvs_forward_rows_at */
    struct kvs_buf *row[KVS_FORWARD_BATCHES], *staged[KVS_FORWARD_BATCHES];
};

struct kvs_forward {
    struct kvs_dev *dev;
    struct kvs_weights_shape shape;
    struct kvs_forward_opt opt;
    struct kvs_forward_block *layer;
    struct kvs_buf *embed, *out_norm, *output; /* output: embed where they are tied */
    struct kvs_buf *freq;
    struct kvs_buf *x[2], *h[2], *qkv, *attn, *proj, *gate_up, *ff, *last, *logits;
    /* int32, a batch each: as of begin; then tokens and the context's positions */
    struct kvs_buf *row[KVS_FORWARD_BATCHES], *staged[KVS_FORWARD_BATCHES];
    bool tied;
    /* the batch */
    unsigned batch; /* which of the buffers above it uses */
    uint32_t next_layer, n_row, n_ctx;
    unsigned side;       /* which of x and h holds the rows */
    uint32_t *slot;      /* host: of each row */
    int32_t *ctx_pos;    /* host: of each slot */
    struct kvs_buf *now; /* the buffer whose positions and slots are the rows' */
};

/* Three arrays of max_row int32 in a row buffer. */
enum kvs_forward_rows_at {
    KVS_AT_POS,
    KVS_AT_SLOT,
    KVS_AT_FROM /* row of the batch before */,
    KVS_N_ROWS_AT
};

static inline struct kvs_view kvs_forward_ints(const struct kvs_forward *f, struct kvs_buf *buf,
                                               enum kvs_forward_rows_at which)
{
    return kvs_at(buf, (size_t)which * f->opt.max_row * sizeof(int32_t));
}

static inline uint32_t kvs_forward_n_q(const struct kvs_forward *f)
{
    return f->shape.n_head * f->shape.head_dim;
}

static inline uint32_t kvs_forward_n_kv(const struct kvs_forward *f)
{
    return f->shape.n_kv_head * f->shape.head_dim;
}

#endif
