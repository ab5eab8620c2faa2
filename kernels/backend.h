/*
 * backend.h - what a back end provides; for kernels/ only, users include device.h.
 *
 * device.c checks every operand before a back end sees it. All that a stream can be given is a
 * struct kvs_item; back ends on the host queue items (host/queue.h), cuda hands them on at once.
 */
#ifndef KVS_BACKEND_H
#define KVS_BACKEND_H

#include "device.h"

struct kvs_buf {
    struct kvs_dev *dev;
    enum kvs_where where;
    size_t n_byte;
    unsigned char *base; /* host memory, or a device address */
};

/* The address of a view; NULL for the zero view. */
static inline void *kvs_ptr(struct kvs_view view)
{
    return view.buf ? view.buf->base + view.at_bytes : NULL;
}

#define KVS_OPS(X) X(rmsnorm) X(gemm) X(rope) X(attn) X(swiglu) X(add) X(rows)

enum kvs_item_kind {
    KVS_ITEM_COPY,
    KVS_ITEM_RECORD,
    KVS_ITEM_WAIT,
    KVS_ITEM_CALL,
#define X(name) KVS_ITEM_##name,
    KVS_OPS(X)
#undef X
};

struct kvs_item {
    enum kvs_item_kind kind;
    union {
        struct {
            void *dst;
            const void *src;
            size_t n_byte;
        } copy;
        struct {
            void *impl;      /* the back end's event */
            uint64_t ticket; /* host queues: which record */
        } event;
        struct {
            void (*fn)(void *arg);
            void *arg;
        } call;
#define X(name) struct kvs_##name name;
        KVS_OPS(X)
#undef X
    } u;
};

/* One implementation of the operators. stream: a cudaStream_t, or what the host back end made for
 * the stream (host/queue.h). ctx: the back end's own. Addresses come by kvs_ptr. */
struct kvs_kernels {
/* NOLINTBEGIN(bugprone-macro-parentheses): name is a declarator */
#define X(name)                                                                                    \
    enum kvs_code (*name)(void *ctx, const struct kvs_##name *op, void *stream,                    \
                          struct kvs_err *err);
    KVS_OPS(X)
#undef X
    /* NOLINTEND(bugprone-macro-parentheses) */
};
/* Calls the operator of an item. */
enum kvs_code kvs_kernels_run(const struct kvs_kernels *kernels, void *ctx,
                              const struct kvs_item *item, void *stream, struct kvs_err *err);

/* One instruction of the kernel dialect, alone: what a self-test compares with the shim first. A
 * block of KVS_INTRINSIC_THREADS, each with its words of in and out. */
enum kvs_intrinsic_kind {
    KVS_I_SHFL_XOR,       /* out[0..7] = in[0..7] of lane ^ imm */
    KVS_I_LDMATRIX,       /* 8 x 8 b16 matrices; row of thread t: in[0..3]; address: row t ^ imm */
    KVS_I_LDMATRIX_TRANS, /* likewise */
    KVS_I_MMA,            /* f32 out[0..3] = bf16 in[0..3] x bf16 in[4..5] + f32 in[8..11] */
    KVS_I_CP_ASYNC,       /* two groups: imm bytes of in[0..3], 16 of in[4..7] */
    KVS_I_BARRIER,        /* f32 sums over the block through shared memory */
    KVS_I_TO_BF16,        /* bf16 out[0..7] = f32 in[0..7] */
    KVS_I_TO_F32,         /* f32 out[0..7] = bf16 in[0..7] */
    KVS_I_PACK_BF16,      /* bf16 pairs out[0..3] = f32 in[0..7] */
    KVS_I_EXP2,           /* f32, as all that follow */
    KVS_I_EXP,
    KVS_I_COS_SIN, /* of in[0..3] in double, to f32 */
    KVS_I_SQRT,
    KVS_I_DIVIDE, /* in[i] / in[8 + i] */
    KVS_I_MAX,
    KVS_I_N
};
enum { KVS_INTRINSIC_THREADS = 64, KVS_INTRINSIC_IN = 16, KVS_INTRINSIC_OUT = 8 };
struct kvs_intrinsic {
    struct kvs_view out, in; /* 32-bit words, _OUT and _IN a thread */
    enum kvs_intrinsic_kind kind;
    unsigned imm;
};

struct kvs_backend {
    const char *name, *help, *can; /* see kvs_dev_info */
    enum kvs_elem act_elem, gemm_elem;
    bool checks; /* kernels that touch memory outside its buffers end with an error */
    /* Sets dev->state and dev->info.detail. */
    enum kvs_code (*open)(struct kvs_dev *dev, int index, uint64_t seed, struct kvs_err *err);
    void (*close)(struct kvs_dev *dev);
    enum kvs_code (*mem_new)(struct kvs_dev *dev, enum kvs_where where, size_t n_byte, void **base,
                             struct kvs_err *err);
    void (*mem_free)(struct kvs_dev *dev, enum kvs_where where, void *base);
    enum kvs_code (*mem_copy)(struct kvs_dev *dev, void *dst, const void *src, size_t n_byte,
                              struct kvs_err *err);
    enum kvs_code (*stream_new)(struct kvs_dev *dev, void **stream, struct kvs_err *err);
    void (*stream_free)(struct kvs_dev *dev, void *stream);
    enum kvs_code (*stream_sync)(struct kvs_dev *dev, void *stream, struct kvs_err *err);
    enum kvs_code (*submit)(struct kvs_dev *dev, void *stream, const struct kvs_item *item,
                            struct kvs_err *err);
    enum kvs_code (*event_new)(struct kvs_dev *dev, void **event, struct kvs_err *err);
    void (*event_free)(struct kvs_dev *dev, void *event);
    enum kvs_code (*event_sync)(struct kvs_dev *dev, void *event, struct kvs_err *err);
    enum kvs_code (*event_elapsed)(struct kvs_dev *dev, void *from, void *to, int64_t *ns,
                                   struct kvs_err *err);
    /* Now, not on a stream. NULL: the back end runs no CUDA kernels. */
    enum kvs_code (*intrinsic)(struct kvs_dev *dev, const struct kvs_intrinsic *op,
                               struct kvs_err *err);
};

struct kvs_dev {
    const struct kvs_backend *backend;
    struct kvs_dev_info info;
    void *state; /* the back end's */
};
struct kvs_stream {
    struct kvs_dev *dev;
    void *impl;
};
struct kvs_event {
    struct kvs_dev *dev;
    void *impl;
};

#define X(name) extern const struct kvs_backend kvs_backend_##name;
#include "backend_list.h"
#undef X

/* Opens a back end that is in no list: tests bring their own kernels. */
KVS_MUST_CHECK enum kvs_code kvs_dev_open_backend(const struct kvs_backend *backend, int index,
                                                  uint64_t seed, struct kvs_dev **dev,
                                                  struct kvs_err *err);

#endif
