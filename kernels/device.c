#include "device.h"

#include "backend.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- devices --------------------------------------------------------------------------------- */

#define X(name) #name,
const char *const kvs_backends[] = {
#include "backend_list.h"
    NULL};
#undef X

#define X(name) &kvs_backend_##name,
static const struct kvs_backend *const backends[] = {
#include "backend_list.h"
};
#undef X
enum { N_BACKEND = sizeof kvs_backends / sizeof kvs_backends[0] - 1 };

enum kvs_code kvs_dev_open_backend(const struct kvs_backend *backend, int index, uint64_t seed,
                                   struct kvs_dev **out, struct kvs_err *err)
{
    struct kvs_err local = {0};
    struct kvs_dev *dev;

    *out = NULL;
    err = err ? err : &local;
    dev = calloc(1, sizeof *dev);
    if (!dev)
        return kvs_nomem(err);
    dev->backend = backend;
    dev->info = (struct kvs_dev_info){.name = backend->name,
                                      .help = backend->help,
                                      .can = backend->can,
                                      .act_elem = backend->act_elem,
                                      .gemm_elem = backend->gemm_elem};
    if (backend->open(dev, index, seed, err)) {
        free(dev);
        return err->code;
    }
    *out = dev;
    return KVS_OK;
}

enum kvs_code kvs_dev_open(const char *name, int index, uint64_t seed, struct kvs_dev **dev,
                           struct kvs_err *err)
{
    char known[256];

    *dev = NULL;
    for (int i = 0; i < N_BACKEND; i++)
        if (strcmp(backends[i]->name, name) == 0)
            return kvs_dev_open_backend(backends[i], index, seed, dev, err);
    return kvs_fail(err, KVS_ERR_ARG, "no back end \"%s\"%s", name,
                    kvs_known(known, sizeof known, name, kvs_backends, N_BACKEND));
}

void kvs_dev_close(struct kvs_dev *dev)
{
    if (!dev)
        return;
    dev->backend->close(dev);
    free(dev);
}

const struct kvs_dev_info *kvs_dev_info(const struct kvs_dev *dev)
{
    return &dev->info;
}

/* --- memory ---------------------------------------------------------------------------------- */

enum kvs_code kvs_buf_new(struct kvs_dev *dev, enum kvs_where where, size_t n_byte,
                          struct kvs_buf **out, struct kvs_err *err)
{
    struct kvs_err local = {0};
    void *base = NULL;
    struct kvs_buf *buf;

    *out = NULL;
    err = err ? err : &local;
    buf = calloc(1, sizeof *buf);
    if (!buf)
        return kvs_nomem(err);
    /* never a null address: an empty buffer is not the zero view */
    if (dev->backend->mem_new(dev, where, n_byte ? n_byte : 1, &base, err)) {
        free(buf);
        return err->code;
    }
    *buf = (struct kvs_buf){dev, where, n_byte, base};
    *out = buf;
    return KVS_OK;
}

void kvs_buf_free(struct kvs_buf *buf)
{
    if (!buf)
        return;
    buf->dev->backend->mem_free(buf->dev, buf->where, buf->base);
    free(buf);
}

size_t kvs_buf_bytes(const struct kvs_buf *buf)
{
    return buf->n_byte;
}

void *kvs_buf_host(struct kvs_buf *buf)
{
    return buf->where == KVS_MEM_PINNED ? buf->base : NULL;
}

static bool inside(struct kvs_view view, size_t n_byte)
{
    return view.buf && view.at_bytes <= view.buf->n_byte &&
           n_byte <= view.buf->n_byte - view.at_bytes;
}

static enum kvs_code outside(struct kvs_view view, const char *op, const char *what, size_t n_byte,
                             struct kvs_err *err)
{
    if (!view.buf)
        return kvs_fail(err, KVS_ERR_ARG, "%s: %s is missing", op, what);
    return kvs_fail(err, KVS_ERR_RANGE, "%s: %s needs %zu bytes at %zu of a buffer of %zu", op,
                    what, n_byte, view.at_bytes, view.buf->n_byte);
}

enum kvs_code kvs_buf_write(struct kvs_view dst, const void *src, size_t n_byte,
                            struct kvs_err *err)
{
    if (!inside(dst, n_byte))
        return outside(dst, "write", "the destination", n_byte, err);
    return n_byte ? dst.buf->dev->backend->mem_copy(dst.buf->dev, kvs_ptr(dst), src, n_byte, err)
                  : KVS_OK;
}

enum kvs_code kvs_buf_read(void *dst, struct kvs_view src, size_t n_byte, struct kvs_err *err)
{
    if (!inside(src, n_byte))
        return outside(src, "read", "the source", n_byte, err);
    return n_byte ? src.buf->dev->backend->mem_copy(src.buf->dev, dst, kvs_ptr(src), n_byte, err)
                  : KVS_OK;
}

/* --- streams and events ---------------------------------------------------------------------- */

enum kvs_code kvs_stream_new(struct kvs_dev *dev, struct kvs_stream **out, struct kvs_err *err)
{
    struct kvs_err local = {0};
    struct kvs_stream *stream;

    *out = NULL;
    err = err ? err : &local;
    stream = calloc(1, sizeof *stream);
    if (!stream)
        return kvs_nomem(err);
    stream->dev = dev;
    if (dev->backend->stream_new(dev, &stream->impl, err)) {
        free(stream);
        return err->code;
    }
    *out = stream;
    return KVS_OK;
}

void kvs_stream_free(struct kvs_stream *stream)
{
    if (!stream)
        return;
    stream->dev->backend->stream_free(stream->dev, stream->impl);
    free(stream);
}

enum kvs_code kvs_stream_sync(struct kvs_stream *stream, struct kvs_err *err)
{
    return stream->dev->backend->stream_sync(stream->dev, stream->impl, err);
}

static enum kvs_code submit(struct kvs_stream *stream, const struct kvs_item *item,
                            struct kvs_err *err)
{
    return stream->dev->backend->submit(stream->dev, stream->impl, item, err);
}

enum kvs_code kvs_stream_copy(struct kvs_stream *stream, struct kvs_view dst, struct kvs_view src,
                              size_t n_byte, struct kvs_err *err)
{
    struct kvs_item item = {.kind = KVS_ITEM_COPY, .u.copy = {kvs_ptr(dst), kvs_ptr(src), n_byte}};

    if (!inside(dst, n_byte))
        return outside(dst, "copy", "the destination", n_byte, err);
    if (!inside(src, n_byte))
        return outside(src, "copy", "the source", n_byte, err);
    return n_byte ? submit(stream, &item, err) : KVS_OK;
}

enum kvs_code kvs_stream_call(struct kvs_stream *stream, void (*fn)(void *arg), void *arg,
                              struct kvs_err *err)
{
    struct kvs_item item = {.kind = KVS_ITEM_CALL, .u.call = {fn, arg}};

    return submit(stream, &item, err);
}

enum kvs_code kvs_event_new(struct kvs_dev *dev, struct kvs_event **out, struct kvs_err *err)
{
    struct kvs_err local = {0};
    struct kvs_event *event;

    *out = NULL;
    err = err ? err : &local;
    event = calloc(1, sizeof *event);
    if (!event)
        return kvs_nomem(err);
    event->dev = dev;
    if (dev->backend->event_new(dev, &event->impl, err)) {
        free(event);
        return err->code;
    }
    *out = event;
    return KVS_OK;
}

void kvs_event_free(struct kvs_event *event)
{
    if (!event)
        return;
    event->dev->backend->event_free(event->dev, event->impl);
    free(event);
}

enum kvs_code kvs_stream_record(struct kvs_stream *stream, struct kvs_event *event,
                                struct kvs_err *err)
{
    struct kvs_item item = {.kind = KVS_ITEM_RECORD, .u.event = {event->impl, 0}};

    return submit(stream, &item, err);
}

enum kvs_code kvs_stream_wait(struct kvs_stream *stream, struct kvs_event *event,
                              struct kvs_err *err)
{
    struct kvs_item item = {.kind = KVS_ITEM_WAIT, .u.event = {event->impl, 0}};

    return submit(stream, &item, err);
}

enum kvs_code kvs_event_sync(struct kvs_event *event, struct kvs_err *err)
{
    return event->dev->backend->event_sync(event->dev, event->impl, err);
}

enum kvs_code kvs_event_elapsed(const struct kvs_event *from, const struct kvs_event *to,
                                int64_t *ns, struct kvs_err *err)
{
    *ns = 0;
    return from->dev->backend->event_elapsed(from->dev, from->impl, to->impl, ns, err);
}

/* --- operators: every operand lies in its buffer ---------------------------------------------- */

/* rows of n elements, stride apart, in view */
static enum kvs_code rows_fit(struct kvs_view view, enum kvs_elem elem, size_t n_row, size_t n,
                              size_t stride, const char *op, const char *what, struct kvs_err *err)
{
    size_t n_byte = 0;

    if (elem != KVS_U8 && elem != KVS_BF16 && elem != KVS_F32)
        return kvs_fail(err, KVS_ERR_ARG, "%s: %s has no known element type", op, what);
    if (n > stride && n_row > 1)
        return kvs_fail(err, KVS_ERR_RANGE, "%s: rows of %s overlap: %zu elements, stride %zu", op,
                        what, n, stride);
    if (n_row && n)
        /* at most 2^32 * 2^32 * 4 in all operators: the product is checked, the sum below it */
        if (__builtin_mul_overflow(n_row - 1, stride, &n_byte) ||
            __builtin_add_overflow(n_byte, n, &n_byte) ||
            __builtin_mul_overflow(n_byte, kvs_elem_bytes(elem), &n_byte))
            return kvs_fail(err, KVS_ERR_RANGE, "%s: %s does not fit in memory", op, what);
    if (!inside(view, n_byte))
        return outside(view, op, what, n_byte, err);
    if ((uintptr_t)view.buf->base % 16 == 0 && view.at_bytes % kvs_elem_bytes(elem))
        return kvs_fail(err, KVS_ERR_ARG, "%s: %s is not aligned to its elements", op, what);
    return KVS_OK;
}

static enum kvs_code ints_fit(struct kvs_view view, size_t n, const char *op, const char *what,
                              struct kvs_err *err)
{
    return rows_fit(view, KVS_F32, 1, n, n, op, what, err); /* int32 is as wide */
}

static enum kvs_code floats(enum kvs_elem elem, const char *op, const char *what,
                            struct kvs_err *err)
{
    if (elem == KVS_F32 || elem == KVS_BF16)
        return KVS_OK;
    return kvs_fail(err, KVS_ERR_ARG, "%s: %s must be f32 or bf16", op, what);
}

#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum kvs_code code_ = (call);                                                              \
        if (code_)                                                                                 \
            return code_;                                                                          \
    } while (0)

static enum kvs_code check_rmsnorm(const struct kvs_rmsnorm *op, struct kvs_err *err)
{
    static const char name[] = "rmsnorm";

    TRY(floats(op->y_elem, name, "y", err));
    if (!(op->eps >= 0) || !isfinite(op->eps))
        return kvs_fail(err, KVS_ERR_RANGE, "rmsnorm: eps %g is not a finite positive number",
                        (double)op->eps);
    TRY(rows_fit(op->y, op->y_elem, op->n_row, op->n, op->n, name, "y", err));
    TRY(rows_fit(op->x, KVS_F32, op->n_row, op->n, op->n, name, "x", err));
    return rows_fit(op->w, KVS_F32, 1, op->n, op->n, name, "w", err);
}

static enum kvs_code check_gemm(const struct kvs_gemm *op, struct kvs_err *err)
{
    static const char name[] = "gemm";

    TRY(floats(op->y_elem, name, "y", err));
    TRY(floats(op->x_elem, name, "x", err));
    TRY(floats(op->w_elem, name, "w", err));
    TRY(rows_fit(op->y, op->y_elem, op->m, op->n, op->y_stride, name, "y", err));
    TRY(rows_fit(op->x, op->x_elem, op->m, op->k, op->x_stride, name, "x", err));
    return rows_fit(op->w, op->w_elem, op->n, op->k, op->w_stride, name, "w", err);
}

static enum kvs_code check_rope(const struct kvs_rope *op, struct kvs_err *err)
{
    static const char name[] = "rope";

    TRY(floats(op->elem, name, "x", err));
    if (op->head_dim % 2)
        return kvs_fail(err, KVS_ERR_RANGE, "rope: head_dim %u is odd", op->head_dim);
    TRY(rows_fit(op->x, op->elem, op->n_row, (size_t)op->n_head * op->head_dim, op->row_stride,
                 name, "x", err));
    TRY(ints_fit(op->pos, op->n_row, name, "pos", err));
    return rows_fit(op->freq, KVS_F32, 1, op->head_dim, op->head_dim, name, "freq", err);
}

static enum kvs_code check_attn(const struct kvs_attn *op, struct kvs_err *err)
{
    static const char name[] = "attn";
    size_t n_slot = op->n_kv;

    TRY(floats(op->y_elem, name, "y", err));
    TRY(floats(op->q_elem, name, "q", err));
    TRY(floats(op->kv_elem, name, "k and v", err));
    if (op->n_kv_head == 0 || op->n_head % op->n_kv_head)
        return kvs_fail(err, KVS_ERR_RANGE, "attn: %u heads do not divide over %u KV heads",
                        op->n_head, op->n_kv_head);
    if (!isfinite(op->scale))
        return kvs_fail(err, KVS_ERR_RANGE, "attn: scale is not finite");
    if (op->page.buf) {
        if (op->page_tok == 0)
            return kvs_fail(err, KVS_ERR_RANGE, "attn: pages of 0 tokens");
        TRY(ints_fit(op->page, ((size_t)op->n_kv + op->page_tok - 1) / op->page_tok, name, "page",
                     err));
        n_slot = (size_t)op->n_page * op->page_tok;
    }
    TRY(rows_fit(op->y, op->y_elem, op->n_q, (size_t)op->n_head * op->head_dim, op->y_stride, name,
                 "y", err));
    TRY(rows_fit(op->q, op->q_elem, op->n_q, (size_t)op->n_head * op->head_dim, op->q_stride, name,
                 "q", err));
    TRY(rows_fit(op->k, op->kv_elem, n_slot, (size_t)op->n_kv_head * op->head_dim, op->kv_stride,
                 name, "k", err));
    TRY(rows_fit(op->v, op->kv_elem, n_slot, (size_t)op->n_kv_head * op->head_dim, op->kv_stride,
                 name, "v", err));
    TRY(ints_fit(op->q_pos, op->n_q, name, "q_pos", err));
    return ints_fit(op->kv_pos, op->n_kv, name, "kv_pos", err);
}

static enum kvs_code check_swiglu(const struct kvs_swiglu *op, struct kvs_err *err)
{
    static const char name[] = "swiglu";

    TRY(floats(op->y_elem, name, "y", err));
    TRY(floats(op->x_elem, name, "gate and up", err));
    TRY(rows_fit(op->y, op->y_elem, op->n_row, op->n, op->y_stride, name, "y", err));
    TRY(rows_fit(op->gate, op->x_elem, op->n_row, op->n, op->x_stride, name, "gate", err));
    return rows_fit(op->up, op->x_elem, op->n_row, op->n, op->x_stride, name, "up", err);
}

static enum kvs_code check_add(const struct kvs_add *op, struct kvs_err *err)
{
    TRY(floats(op->y_elem, "add", "y", err));
    TRY(rows_fit(op->x, KVS_F32, 1, op->n, op->n, "add", "x", err));
    return rows_fit(op->y, op->y_elem, 1, op->n, op->n, "add", "y", err);
}

static enum kvs_code check_rows(const struct kvs_rows *op, struct kvs_err *err)
{
    static const char name[] = "rows";

    if ((op->dst_elem == KVS_U8) != (op->src_elem == KVS_U8))
        return kvs_fail(err, KVS_ERR_ARG, "rows: bytes do not convert to numbers, nor back");
    if (!op->dst_i.buf && op->n_row > op->n_dst_row)
        return kvs_fail(err, KVS_ERR_RANGE, "rows: %u rows into %u", op->n_row, op->n_dst_row);
    if (!op->src_i.buf && op->n_row > op->n_src_row)
        return kvs_fail(err, KVS_ERR_RANGE, "rows: %u rows from %u", op->n_row, op->n_src_row);
    TRY(rows_fit(op->dst, op->dst_elem, op->n_dst_row, op->n, op->dst_stride, name, "dst", err));
    TRY(rows_fit(op->src, op->src_elem, op->n_src_row, op->n, op->src_stride, name, "src", err));
    if (op->dst_i.buf)
        TRY(ints_fit(op->dst_i, op->n_row, name, "dst_i", err));
    if (op->src_i.buf)
        TRY(ints_fit(op->src_i, op->n_row, name, "src_i", err));
    return KVS_OK;
}

#define X(name)                                                                                    \
    enum kvs_code kvs_stream_##name(struct kvs_stream *stream, const struct kvs_##name *op,        \
                                    struct kvs_err *err)                                           \
    {                                                                                              \
        struct kvs_item item = {.kind = KVS_ITEM_##name, .u.name = *op};                           \
        TRY(check_##name(op, err));                                                                \
        return submit(stream, &item, err);                                                         \
    }
KVS_OPS(X)
#undef X

enum kvs_code kvs_kernels_run(const struct kvs_kernels *kernels, void *ctx,
                              const struct kvs_item *item, void *stream, struct kvs_err *err)
{
    switch (item->kind) {
#define X(name)                                                                                    \
    case KVS_ITEM_##name:                                                                          \
        return kernels->name(ctx, &item->u.name, stream, err);
        KVS_OPS(X)
#undef X
    default:
        assert(0 && "an operator");
        return KVS_ERR_ARG;
    }
}
