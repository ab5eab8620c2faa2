/*
 * forward.h - the forward pass of a Llama-family model, layer by layer, over a KV cache that others
 * may fill.
 *
 * A batch is a set of rows, each a token at a slot of the cache; slots stand in the order of their
 * positions, which need not be contiguous. In every layer the K and V of the rows are computed and
 * written to their slots; then the rows that are kept attend to all slots of the context at or
 * before their position, and go on to the next layer. So a recomputed set may shrink from layer to
 * layer, and what is loaded is copied into kvs_forward_k and _v before the layer that reads it: on
 * the batch's stream, or behind an event that the stream waits for. Keys are cached after RoPE.
 *
 * Everything happens on the stream that is passed; nothing here waits, except where said.
 */
#ifndef KVS_FORWARD_H
#define KVS_FORWARD_H

#include "device.h"
#include "weights/weights.h"

struct kvs_forward; /* from kvs_forward_new, ended by kvs_forward_free */

struct kvs_forward_opt {
    uint32_t max_row; /* rows of a batch */
    uint32_t max_ctx; /* slots of the cache */
    uint32_t max_out; /* rows that logits are asked for at once */
    enum kvs_elem kv_elem;
    enum kvs_elem act_elem;  /* of activations between operators; kvs_dev_info says the device's */
    enum kvs_elem gemm_elem; /* of weights */
};

/* Copies the weights to the device, which takes its time; weights may be closed after. */
KVS_MUST_CHECK enum kvs_code kvs_forward_new(struct kvs_dev *dev, const struct kvs_weights *weights,
                                             const struct kvs_forward_opt *opt,
                                             struct kvs_forward **forward, struct kvs_err *err);
void kvs_forward_free(struct kvs_forward *forward); /* no batch may be under way; accepts NULL */

/* A layer's cache: [slot][n_kv_head][head_dim] of kv_elem, max_ctx slots. */
struct kvs_view kvs_forward_k(struct kvs_forward *forward, uint32_t layer);
struct kvs_view kvs_forward_v(struct kvs_forward *forward, uint32_t layer);
size_t kvs_forward_slot_bytes(const struct kvs_forward *forward); /* of K, or of V */
const struct kvs_weights_shape *kvs_forward_shape(const struct kvs_forward *forward);
const struct kvs_forward_opt *kvs_forward_opt(const struct kvs_forward *forward);

/* Batches that may be under way on their streams at once: a new one begins when the stream has
 * ended the one so many before it. */
enum { KVS_FORWARD_BATCHES = 3 };

/*
 * Begins a batch: row r is token tok[r] at slot slot[r], slots ascending, below n_ctx. pos[j]: the
 * position of slot j for j < n_ctx, ascending; NULL: slot j is position j. The arrays are
 * read before this returns.
 * KVS_ERR_RANGE, with the number, if something is outside what opt and the model allow.
 */
KVS_MUST_CHECK enum kvs_code kvs_forward_begin(struct kvs_forward *forward,
                                               struct kvs_stream *stream, const uint32_t *tok,
                                               const uint32_t *slot, uint32_t n_row,
                                               const int32_t *pos, uint32_t n_ctx,
                                               struct kvs_err *err);
/*
 * The same from a layer on: row r's residual stream as it enters that layer is x,
 * f32[n_row][hidden], which is read when the stream comes to it. kvs_forward_hidden tells where the
 * current batch's lies after the layers put on the stream so far; the next layer, or batch,
 * overwrites it.
 */
KVS_MUST_CHECK enum kvs_code kvs_forward_resume(struct kvs_forward *forward,
                                                struct kvs_stream *stream, uint32_t layer,
                                                struct kvs_view x, const uint32_t *slot,
                                                uint32_t n_row, const int32_t *pos, uint32_t n_ctx,
                                                struct kvs_err *err);
struct kvs_view kvs_forward_hidden(struct kvs_forward *forward);

/* What enters a layer, of tokens that are in no batch. */
struct kvs_forward_states {
    struct kvs_view x; /* [n_row][hidden] of elem: their residual stream */
    enum kvs_elem elem;
    struct kvs_view pos, slot; /* int32[n_row] on the device */
    uint32_t n_row;
};
/*
 * K and V of a layer, projected from what enters it (HCache), into the cache. Between layers of a
 * batch, which goes on as if nothing had been; before the layer that reads them, on its stream.
 */
KVS_MUST_CHECK enum kvs_code kvs_forward_project(struct kvs_forward *forward,
                                                 struct kvs_stream *stream, uint32_t layer,
                                                 const struct kvs_forward_states *states,
                                                 struct kvs_err *err);
/*
 * The next layer. keep: rows, by their place in the batch as it is now, ascending, that go on;
 * NULL: all. n_keep 0 ends the batch: of this layer only K and V are computed.
 */
KVS_MUST_CHECK enum kvs_code kvs_forward_layer(struct kvs_forward *forward,
                                               struct kvs_stream *stream, const uint32_t *keep,
                                               uint32_t n_keep, struct kvs_err *err);
/*
 * After the last layer: the logits of the last n_out rows, f32[n_out][n_vocab], in a buffer that
 * belongs to forward and is overwritten by the next call.
 */
KVS_MUST_CHECK enum kvs_code kvs_forward_logits(struct kvs_forward *forward,
                                                struct kvs_stream *stream, uint32_t n_out,
                                                struct kvs_view *logits, struct kvs_err *err);

/* All of it for a prompt whose n_cached first tokens are in the cache: begin, layers, logits of the
 * last row, and waits. to: f32[n_vocab]. */
KVS_MUST_CHECK enum kvs_code kvs_forward_prefill(struct kvs_forward *forward,
                                                 struct kvs_stream *stream, const uint32_t *tok,
                                                 uint32_t n_cached, uint32_t n_tok, float *to,
                                                 struct kvs_err *err);

#endif
