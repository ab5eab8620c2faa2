/*
 * queue.h - streams, events and memory of the back ends that live on the host.
 *
 * Two ways to run what streams hold: KVS_QUEUE_SEEDED (nothing runs before a synchronization, then
 * the head of a random stream among those that wait for nothing, again and again) and
 * KVS_QUEUE_THREADS (one thread a stream). A back end opens a queue, keeps it as dev->state, and
 * takes the functions below into its struct kvs_backend as they are.
 */
#ifndef KVS_HOST_QUEUE_H
#define KVS_HOST_QUEUE_H

#include "kernels/backend.h"

enum kvs_queue_mode { KVS_QUEUE_SEEDED, KVS_QUEUE_THREADS };

/* ctx is handed to the kernels. poison: fresh memory is filled with NaN. */
KVS_MUST_CHECK enum kvs_code kvs_queue_open(struct kvs_dev *dev, enum kvs_queue_mode mode,
                                            uint64_t seed, bool poison,
                                            const struct kvs_kernels *kernels, void *ctx,
                                            struct kvs_err *err);
/* What each stream has of its own: the kernels get it as their stream. stream_i: the smallest
 * number that no stream alive has; begin: called on the stream's thread before any work. */
struct kvs_queue_own {
    enum kvs_code (*make)(void *ctx, unsigned stream_i, void **own, struct kvs_err *err);
    void (*begin)(void *own);
    void (*end)(void *own);
};
void kvs_queue_set_own(struct kvs_dev *dev, const struct kvs_queue_own *own);
/* Told of memory that comes and goes. made: false if there is no memory to note it. */
struct kvs_queue_watch {
    bool (*made)(void *ctx, const void *base, size_t n_byte);
    void (*gone)(void *ctx, const void *base);
};
void kvs_queue_set_watch(struct kvs_dev *dev, const struct kvs_queue_watch *watch);
extern const struct kvs_queue_watch kvs_simt_watch; /* simt/backend.c: ctx is a struct simt */
void *kvs_queue_ctx(struct kvs_dev *dev);
void kvs_queue_close(struct kvs_dev *dev);

/* The functions of a struct kvs_backend, in its order. */
#define KVS_QUEUE_FUNCTIONS                                                                        \
    .mem_new = kvs_queue_mem_new, .mem_free = kvs_queue_mem_free, .mem_copy = kvs_queue_mem_copy,  \
    .stream_new = kvs_queue_stream_new, .stream_free = kvs_queue_stream_free,                      \
    .stream_sync = kvs_queue_stream_sync, .submit = kvs_queue_submit,                              \
    .event_new = kvs_queue_event_new, .event_free = kvs_queue_event_free,                          \
    .event_sync = kvs_queue_event_sync, .event_elapsed = kvs_queue_event_elapsed

enum kvs_code kvs_queue_mem_new(struct kvs_dev *dev, enum kvs_where where, size_t n_byte,
                                void **base, struct kvs_err *err);
void kvs_queue_mem_free(struct kvs_dev *dev, enum kvs_where where, void *base);
enum kvs_code kvs_queue_mem_copy(struct kvs_dev *dev, void *dst, const void *src, size_t n_byte,
                                 struct kvs_err *err);
enum kvs_code kvs_queue_stream_new(struct kvs_dev *dev, void **stream, struct kvs_err *err);
void kvs_queue_stream_free(struct kvs_dev *dev, void *stream);
enum kvs_code kvs_queue_stream_sync(struct kvs_dev *dev, void *stream, struct kvs_err *err);
enum kvs_code kvs_queue_submit(struct kvs_dev *dev, void *stream, const struct kvs_item *item,
                               struct kvs_err *err);
enum kvs_code kvs_queue_event_new(struct kvs_dev *dev, void **event, struct kvs_err *err);
void kvs_queue_event_free(struct kvs_dev *dev, void *event);
enum kvs_code kvs_queue_event_sync(struct kvs_dev *dev, void *event, struct kvs_err *err);
enum kvs_code kvs_queue_event_elapsed(struct kvs_dev *dev, void *from, void *to, int64_t *ns,
                                      struct kvs_err *err);

#endif
