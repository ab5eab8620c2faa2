/*
 * device.h - what a plan runs on: memory, streams, events, copies and operators, behind one
 * interface.
 *
 * Back ends: ref (double precision, straight from the formula), cpu (oneDNN and SIMD), simt (the
 * CUDA kernels, compiled for the host) and cuda. What is put on a stream happens in its order;
 * between streams only events order anything. On ref and simt nothing runs before somebody
 * synchronizes, and then the ready items of all streams run in a seeded random order over memory
 * that began as NaN: a missing wait gives a wrong result, not a lucky one. On cpu each stream is a
 * thread.
 *
 * Operators are checked when they are put on a stream (shapes, element types, that every operand
 * lies in its buffer); what fails later is kept by the stream and told by kvs_stream_sync. Strides
 * count elements; rows are contiguous inside. A device and its parts belong to one host thread.
 */
#ifndef KVS_DEVICE_H
#define KVS_DEVICE_H

#include "base/err.h"
#include "elem.h"

#include <stdbool.h>

struct kvs_dev;    /* from kvs_dev_open, ended by kvs_dev_close */
struct kvs_buf;    /* from kvs_buf_new, ended by kvs_buf_free */
struct kvs_stream; /* from kvs_stream_new, ended by kvs_stream_free */
struct kvs_event;  /* from kvs_event_new, ended by kvs_event_free */

/* --- devices --------------------------------------------------------------------------------- */

struct kvs_dev_info {
    const char *name;        /* "ref", "cpu", "simt", "cuda" */
    const char *help;        /* what the back end is */
    const char *can;         /* what it can do */
    char detail[160];        /* what was found: "oneDNN 2.6.3, avx512"; "NVIDIA H100, sm_90" */
    enum kvs_elem act_elem;  /* activations that the operators take at their best */
    enum kvs_elem gemm_elem; /* likewise weights */
};

extern const char *const kvs_backends[]; /* names of all back ends, NULL-ended */

/*
 * Opens device index of a back end. seed orders the ready work on ref and simt; the others ignore
 * it. KVS_ERR_ABSENT with the reason if there is no such device here ("cuda: no GPU: ..."),
 * KVS_ERR_ARG if no back end has that name.
 */
KVS_MUST_CHECK enum kvs_code kvs_dev_open(const char *backend, int index, uint64_t seed,
                                          struct kvs_dev **dev, struct kvs_err *err);
void kvs_dev_close(struct kvs_dev *dev); /* after its buffers, streams and events; accepts NULL */
const struct kvs_dev_info *kvs_dev_info(const struct kvs_dev *dev);

/* --- memory ---------------------------------------------------------------------------------- */

enum kvs_where { KVS_MEM_DEVICE, KVS_MEM_PINNED /* the host's, that copies can reach */ };

/* A place in a buffer. The zero view stands for "none" where an operand is optional. */
struct kvs_view {
    struct kvs_buf *buf;
    size_t at_bytes;
};

/* Fresh memory holds no meaningful value: NaN on ref and simt. n_byte may be 0. */
KVS_MUST_CHECK enum kvs_code kvs_buf_new(struct kvs_dev *dev, enum kvs_where where, size_t n_byte,
                                         struct kvs_buf **buf, struct kvs_err *err);
void kvs_buf_free(struct kvs_buf *buf); /* no work that uses it may be pending; accepts NULL */
size_t kvs_buf_bytes(const struct kvs_buf *buf);
void *kvs_buf_host(struct kvs_buf *buf); /* a pinned buffer's memory; NULL for device memory */
static inline struct kvs_view kvs_at(struct kvs_buf *buf, size_t at_bytes)
{
    struct kvs_view view = {buf, at_bytes};
    return view;
}
/* Now, not on a stream: no work on these bytes may be pending. */
KVS_MUST_CHECK enum kvs_code kvs_buf_write(struct kvs_view dst, const void *src, size_t n_byte,
                                           struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_buf_read(void *dst, struct kvs_view src, size_t n_byte,
                                          struct kvs_err *err);

/* --- streams and events ---------------------------------------------------------------------- */

KVS_MUST_CHECK enum kvs_code kvs_stream_new(struct kvs_dev *dev, struct kvs_stream **stream,
                                            struct kvs_err *err);
void kvs_stream_free(struct kvs_stream *stream); /* after all that was put on it; accepts NULL */
/* Returns when all that was put on the stream so far has happened; the first failure since the last
 * call. */
KVS_MUST_CHECK enum kvs_code kvs_stream_sync(struct kvs_stream *stream, struct kvs_err *err);
/* Bytes move when the stream comes to it; the source must stay as it is until then. */
KVS_MUST_CHECK enum kvs_code kvs_stream_copy(struct kvs_stream *stream, struct kvs_view dst,
                                             struct kvs_view src, size_t n_byte,
                                             struct kvs_err *err);
/* Runs fn(arg) on the host when the stream comes to it. fn must not use the device. */
KVS_MUST_CHECK enum kvs_code kvs_stream_call(struct kvs_stream *stream, void (*fn)(void *arg),
                                             void *arg, struct kvs_err *err);

KVS_MUST_CHECK enum kvs_code kvs_event_new(struct kvs_dev *dev, struct kvs_event **event,
                                           struct kvs_err *err);
void kvs_event_free(struct kvs_event *event); /* accepts NULL */
/* The event happens when the stream comes to it. Recording again replaces the earlier record. */
KVS_MUST_CHECK enum kvs_code kvs_stream_record(struct kvs_stream *stream, struct kvs_event *event,
                                               struct kvs_err *err);
/* What follows on the stream waits for the event as last recorded before this call; an event never
 * recorded is not waited for. */
KVS_MUST_CHECK enum kvs_code kvs_stream_wait(struct kvs_stream *stream, struct kvs_event *event,
                                             struct kvs_err *err);
/* The host waits for the event as last recorded. */
KVS_MUST_CHECK enum kvs_code kvs_event_sync(struct kvs_event *event, struct kvs_err *err);
/* Time between two events that have happened; KVS_ERR_ARG if one has not. */
KVS_MUST_CHECK enum kvs_code kvs_event_elapsed(const struct kvs_event *from,
                                               const struct kvs_event *to, int64_t *ns,
                                               struct kvs_err *err);

/* --- operators ------------------------------------------------------------------------------- */

/*
 * y[r][i] = w[i] * x[r][i] / sqrt(mean over i of x[r][i]^2 + eps)      (Zhang, Sennrich 2019)
 *
 * x, w: f32; rows of n, contiguous.
 */
struct kvs_rmsnorm {
    struct kvs_view y, x, w;
    enum kvs_elem y_elem;
    uint32_t n_row, n;
    float eps;
};
KVS_MUST_CHECK enum kvs_code kvs_stream_rmsnorm(struct kvs_stream *stream,
                                                const struct kvs_rmsnorm *op, struct kvs_err *err);

/* y[m][n] = sum over k of x[m][k] * w[n][k], the linear layer of a transformer. */
struct kvs_gemm {
    struct kvs_view y, x, w;
    enum kvs_elem y_elem, x_elem, w_elem;
    uint32_t m, n, k;
    uint32_t y_stride, x_stride, w_stride;
};
KVS_MUST_CHECK enum kvs_code kvs_stream_gemm(struct kvs_stream *stream, const struct kvs_gemm *op,
                                             struct kvs_err *err);

/*
 * Rotary embedding in place (Su et al. 2021): pair i of each head is turned by pos[row] * freq[i].
 *
 * x[row][head][head_dim], rows row_stride apart; pos: int32[n_row]; freq: double[head_dim / 2], so
 * that an angle at position 100000 is still right. Turning cached keys by the difference of two
 * positions (pos may be negative) moves a block: shift(rope(x, p), d) = rope(x, p + d).
 */
enum kvs_rope_pairs {
    KVS_ROPE_ADJACENT, /* (2i, 2i + 1): llama2.c, GGUF of the llama family */
    KVS_ROPE_HALVES,   /* (i, i + head_dim / 2): safetensors as Hugging Face writes them */
};
struct kvs_rope {
    struct kvs_view x, pos, freq;
    enum kvs_elem elem;
    enum kvs_rope_pairs pairs;
    uint32_t n_row, n_head, head_dim, row_stride;
};
KVS_MUST_CHECK enum kvs_code kvs_stream_rope(struct kvs_stream *stream, const struct kvs_rope *op,
                                             struct kvs_err *err);

/*
 * Causal attention with grouped query heads, over keys and values at any positions:
 *
 *     y[i][h] = sum over j with kv_pos[j] <= q_pos[i] of softmax(scale * q[i][h] . k[j][g]) v[j][g]
 *     g = h / (n_head / n_kv_head)
 *
 * q_pos, kv_pos: int32, each sorted ascending; they need not be contiguous, so a recomputed subset
 * attends to a loaded rest. A query that sees nothing gives zeros. KV row j lies at slot j, or with
 * a page table (int32, entries below n_page) at page[j / page_tok] * page_tok + j % page_tok.
 * k and v: [slot][n_kv_head][head_dim], rows kv_stride apart; y and q: [n_q][n_head][head_dim].
 */
struct kvs_attn {
    struct kvs_view y, q, k, v, q_pos, kv_pos, page; /* page: none if contiguous */
    enum kvs_elem y_elem, q_elem, kv_elem;
    uint32_t n_q, n_kv, n_head, n_kv_head, head_dim;
    uint32_t y_stride, q_stride, kv_stride;
    uint32_t page_tok, n_page; /* tokens in a page, pages in the pool; 0 if contiguous */
    float scale;
};
KVS_MUST_CHECK enum kvs_code kvs_stream_attn(struct kvs_stream *stream, const struct kvs_attn *op,
                                             struct kvs_err *err);

/* y = gate / (1 + exp(-gate)) * up, elementwise (Shazeer 2020); gate and up share stride and type.
 */
struct kvs_swiglu {
    struct kvs_view y, gate, up;
    enum kvs_elem y_elem, x_elem;
    uint32_t n_row, n, y_stride, x_stride;
};
KVS_MUST_CHECK enum kvs_code kvs_stream_swiglu(struct kvs_stream *stream,
                                               const struct kvs_swiglu *op, struct kvs_err *err);

/* x[i] += y[i]; x: f32. The residual. */
struct kvs_add {
    struct kvs_view x, y;
    enum kvs_elem y_elem;
    size_t n;
};
KVS_MUST_CHECK enum kvs_code kvs_stream_add(struct kvs_stream *stream, const struct kvs_add *op,
                                            struct kvs_err *err);

/*
 * dst[dst_i[r]] = src[src_i[r]] for r < n_row, rows of n elements, converted to dst's type.
 *
 * An absent index (int32) is r itself. Token embedding, appending to KV slots, and with KVS_U8 the
 * gather and scatter of whole blocks, byte for byte. src rows may repeat; dst rows must not.
 * Indices lie below n_src_row and n_dst_row.
 */
struct kvs_rows {
    struct kvs_view dst, src, dst_i, src_i;
    enum kvs_elem dst_elem, src_elem; /* both KVS_U8 or neither */
    uint32_t n_row, n_dst_row, n_src_row;
    uint32_t n, dst_stride, src_stride;
};
KVS_MUST_CHECK enum kvs_code kvs_stream_rows(struct kvs_stream *stream, const struct kvs_rows *op,
                                             struct kvs_err *err);

#endif
