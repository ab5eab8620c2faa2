/*
 * inside.h - an executor from inside: what exec.c makes and runs, and submit.c puts on streams.
 */
#ifndef KVS_EXEC_INSIDE_H
#define KVS_EXEC_INSIDE_H

#include "feed.h"

/* A layer's or a batch's time on a stream. */
struct span {
    struct kvs_event *from, *to;
};

struct kvs_exec {
    struct kvs_dev *dev;
    struct kvs_forward *forward;
    const struct kvs_weights_shape *shape;
    struct kvs_exec_opt opt;
    uint32_t n_chan;
    struct kvs_stream *compute, *copy;
    struct kvs_event *begin;
    int64_t event_ns;                 /* the host's clock just before it */
    struct span *copied, *pre, *post; /* [n_layer] */
    struct span head;
    struct kvs_buf *freq;                 /* double[head_dim / 2] */
    struct kvs_buf *shift, *shift_staged; /* int32[max_ctx] */
    struct kvs_buf *held, *held_staged;   /* int32[max_ctx]: slots of the blocks' tokens */
    struct kvs_buf *state[2];             /* bf16[max_ctx][hidden], by layer: loaded states */
    uint32_t first_load;                  /* of the plan that runs */
    struct kvs_buf *parked;               /* f32[max_row][hidden]: new tokens that wait for loads */
    struct kvs_buf *pinned;               /* the loads' window; grows */
    uint32_t *row_tok, *slot, *keep;      /* [max_row] */
    uint8_t *absent;                      /* [max_ctx] */
};

/* What a plan comes to. */
struct kvs_exec_shape {
    uint32_t first_load; /* layers before it compute all tokens; from it on something is loaded */
    size_t section_bytes, row_bytes; /* of the largest layer that loads */
};

/* KVS_ERR_RANGE if it is no plan. */
enum kvs_code kvs_exec_check(const struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                             struct kvs_err *err);
struct kvs_exec_shape kvs_exec_shape(const struct kvs_exec *exec, const struct kvs_exec_plan *plan);
/* Tokens computed again before anything is loaded, in a layer. */
uint32_t kvs_exec_cut_tok(const struct kvs_exec_plan *plan, uint32_t layer);

/* Onto the compute stream: the work that waits for no load. */
enum kvs_code kvs_exec_submit_pre(struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                                  const struct kvs_exec_shape *shape, struct kvs_err *err);
/* Layer by layer, as the feed brings them into n_slot slots: copy, then compute behind the copy. */
enum kvs_code kvs_exec_submit_waiting(struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                                      const struct kvs_exec_shape *shape, struct kvs_feed *feed,
                                      uint32_t n_slot, struct kvs_err *err);
enum kvs_code kvs_exec_submit_head(struct kvs_exec *exec, struct kvs_view *logits,
                                   struct kvs_err *err);

#endif
