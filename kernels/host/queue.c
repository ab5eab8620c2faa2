#include "queue.h"

#include "base/rng.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Memory is aligned for the widest vectors, and for O_DIRECT reads. */
enum { ALIGN = 4096 };

struct stream {
    struct queue *queue;
    struct stream *next; /* all streams of the device, oldest first */
    struct kvs_item *item;
    size_t head, n, room; /* a ring of room items, a power of two */
    struct kvs_err failed;
    bool busy, leaving; /* threads: an item is running; the thread is to end */
    unsigned i;         /* its number */
    void *own;          /* what the back end made for it */
    pthread_t thread;
};

struct event {
    uint64_t asked, done; /* records put on streams so far; the latest one that has happened */
    int64_t at_ns;
};

struct queue {
    enum kvs_queue_mode mode;
    bool poison;
    const struct kvs_kernels *kernels;
    void *ctx;
    const struct kvs_queue_own *own;     /* NULL: streams have nothing */
    const struct kvs_queue_watch *watch; /* or NULL */
    struct kvs_rng rng;
    struct stream *first;
    pthread_mutex_t lock; /* threads: guards every field of streams and events */
    pthread_cond_t changed;
};

static int64_t now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

enum kvs_code kvs_queue_open(struct kvs_dev *dev, enum kvs_queue_mode mode, uint64_t seed,
                             bool poison, const struct kvs_kernels *kernels, void *ctx,
                             struct kvs_err *err)
{
    struct queue *queue = calloc(1, sizeof *queue);

    if (!queue)
        return kvs_nomem(err);
    *queue = (struct queue){.mode = mode,
                            .poison = poison,
                            .kernels = kernels,
                            .ctx = ctx,
                            .rng = kvs_rng_stream(seed, "streams")};
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->changed, NULL);
    dev->state = queue;
    return KVS_OK;
}

void kvs_queue_set_own(struct kvs_dev *dev, const struct kvs_queue_own *own)
{
    struct queue *queue = dev->state;

    queue->own = own;
}

void kvs_queue_set_watch(struct kvs_dev *dev, const struct kvs_queue_watch *watch)
{
    struct queue *queue = dev->state;

    queue->watch = watch;
}

void *kvs_queue_ctx(struct kvs_dev *dev)
{
    struct queue *queue = dev->state;

    return queue->ctx;
}

void kvs_queue_close(struct kvs_dev *dev)
{
    struct queue *queue = dev->state;

    assert(!queue->first);
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

/* --- memory ---------------------------------------------------------------------------------- */

enum kvs_code kvs_queue_mem_new(struct kvs_dev *dev, enum kvs_where where, size_t n_byte,
                                void **base, struct kvs_err *err)
{
    struct queue *queue = dev->state;
    /* small buffers keep their exact size, so that a sanitizer sees one byte too many */
    size_t align = n_byte < ALIGN ? 64 : ALIGN;

    (void)where;
    *base = NULL;
    if (n_byte > SIZE_MAX / 2 || posix_memalign(base, align, n_byte))
        return kvs_nomem(err);
    if (queue->watch && !queue->watch->made(queue->ctx, *base, n_byte)) {
        free(*base);
        *base = NULL;
        return kvs_nomem(err);
    }
    if (queue->poison)
        memset(*base, 0xff, n_byte); /* NaN in every float format */
    return KVS_OK;
}

void kvs_queue_mem_free(struct kvs_dev *dev, enum kvs_where where, void *base)
{
    struct queue *queue = dev->state;

    (void)where;
    if (queue->watch)
        queue->watch->gone(queue->ctx, base);
    free(base);
}

enum kvs_code kvs_queue_mem_copy(struct kvs_dev *dev, void *dst, const void *src, size_t n_byte,
                                 struct kvs_err *err)
{
    (void)dev;
    (void)err;
    memcpy(dst, src, n_byte);
    return KVS_OK;
}

/* --- running items --------------------------------------------------------------------------- */

static struct kvs_item *head_of(struct stream *stream)
{
    return &stream->item[stream->head & (stream->room - 1)];
}

static bool ready(struct stream *stream)
{
    if (stream->n == 0)
        return false;
    const struct kvs_item *item = head_of(stream);
    const struct event *event = item->u.event.impl;
    return item->kind != KVS_ITEM_WAIT || event->done >= item->u.event.ticket;
}

/* All but events, which are the caller's: they change what the lock guards. */
static void run_item(const struct stream *stream, const struct kvs_item *item, struct kvs_err *err)
{
    switch (item->kind) {
    case KVS_ITEM_COPY:
        memmove(item->u.copy.dst, item->u.copy.src, item->u.copy.n_byte);
        break;
    case KVS_ITEM_CALL:
        item->u.call.fn(item->u.call.arg);
        break;
    case KVS_ITEM_RECORD:
    case KVS_ITEM_WAIT:
        break;
    default:
        (void)kvs_kernels_run(stream->queue->kernels, stream->queue->ctx, item, stream->own, err);
    }
}

static void happen(const struct kvs_item *item)
{
    struct event *event = item->u.event.impl;

    if (item->kind != KVS_ITEM_RECORD || event->done >= item->u.event.ticket)
        return;
    event->done = item->u.event.ticket;
    event->at_ns = now_ns();
}

static void *serve(void *arg)
{
    struct stream *stream = arg;
    struct queue *queue = stream->queue;

    if (queue->own)
        queue->own->begin(stream->own);
    pthread_mutex_lock(&queue->lock);
    for (;;) {
        while (!ready(stream) && !(stream->leaving && stream->n == 0))
            pthread_cond_wait(&queue->changed, &queue->lock);
        if (stream->n == 0)
            break;
        struct kvs_item item = *head_of(stream);
        struct kvs_err err = {0};
        stream->head++;
        stream->n--;
        stream->busy = true;
        pthread_mutex_unlock(&queue->lock);
        run_item(stream, &item, &err);
        pthread_mutex_lock(&queue->lock);
        happen(&item);
        stream->busy = false;
        if (err.code)
            kvs_fail(&stream->failed, err.code, "%s", err.msg);
        /* others wait for events, or for a stream to run dry: waking them for each operator would
         * cost a busy stream several percent */
        if (item.kind == KVS_ITEM_RECORD || stream->n == 0)
            pthread_cond_broadcast(&queue->changed);
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

/* Seeded: one item of a random stream among the ready ones. */
static void run_one(struct queue *queue)
{
    uint64_t n_ready = 0, pick;
    struct stream *stream;

    for (stream = queue->first; stream; stream = stream->next)
        n_ready += ready(stream);
    assert(n_ready > 0); /* a wait names a record that stands before it: no circle */
    pick = kvs_rng_below(&queue->rng, n_ready);
    for (stream = queue->first; !ready(stream) || pick-- > 0;)
        stream = stream->next;
    struct kvs_item item = *head_of(stream);
    stream->head++;
    stream->n--;
    run_item(stream, &item, &stream->failed);
    happen(&item);
}

/* --- streams --------------------------------------------------------------------------------- */

/* Streams stand in the order of their making; numbers that became free are given again. */
static unsigned free_number(const struct queue *queue)
{
    unsigned i = 0;

    for (const struct stream *at = queue->first; at;)
        if (at->i == i) {
            i++;
            at = queue->first;
        } else {
            at = at->next;
        }
    return i;
}

static void drop(struct stream *stream)
{
    if (stream->own)
        stream->queue->own->end(stream->own);
    free(stream->item);
    free(stream);
}

enum kvs_code kvs_queue_stream_new(struct kvs_dev *dev, void **out, struct kvs_err *err)
{
    struct queue *queue = dev->state;
    struct stream *stream = calloc(1, sizeof *stream), **at = &queue->first;
    enum kvs_code code = KVS_OK;

    *out = NULL;
    if (!stream)
        return kvs_nomem(err);
    stream->queue = queue;
    stream->room = 16;
    stream->item = malloc(stream->room * sizeof *stream->item);
    stream->i = free_number(queue); /* streams come and go on one host thread */
    if (!stream->item)
        code = kvs_nomem(err);
    if (!code && queue->own)
        code = queue->own->make(queue->ctx, stream->i, &stream->own, err);
    if (!code && queue->mode == KVS_QUEUE_THREADS &&
        pthread_create(&stream->thread, NULL, serve, stream))
        code = kvs_fail(err, KVS_ERR_IO, "no thread for a stream");
    if (code) {
        drop(stream);
        return code;
    }
    pthread_mutex_lock(&queue->lock);
    while (*at)
        at = &(*at)->next;
    *at = stream;
    pthread_mutex_unlock(&queue->lock);
    *out = stream;
    return KVS_OK;
}

enum kvs_code kvs_queue_stream_sync(struct kvs_dev *dev, void *of, struct kvs_err *err)
{
    struct queue *queue = dev->state;
    struct stream *stream = of;
    struct kvs_err failed;

    pthread_mutex_lock(&queue->lock);
    while (stream->n || stream->busy)
        if (queue->mode == KVS_QUEUE_SEEDED)
            run_one(queue);
        else
            pthread_cond_wait(&queue->changed, &queue->lock);
    failed = stream->failed;
    stream->failed = (struct kvs_err){0};
    pthread_mutex_unlock(&queue->lock);
    return failed.code ? kvs_fail(err, failed.code, "%s", failed.msg) : KVS_OK;
}

void kvs_queue_stream_free(struct kvs_dev *dev, void *of)
{
    struct queue *queue = dev->state;
    struct stream *stream = of, **at = &queue->first;

    (void)kvs_queue_stream_sync(dev, stream, NULL);
    pthread_mutex_lock(&queue->lock);
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    stream->leaving = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
    if (queue->mode == KVS_QUEUE_THREADS)
        pthread_join(stream->thread, NULL);
    drop(stream);
}

static bool grow(struct stream *stream)
{
    struct kvs_item *item = malloc(2 * stream->room * sizeof *item);

    if (!item)
        return false;
    for (size_t i = 0; i < stream->n; i++)
        item[i] = stream->item[(stream->head + i) & (stream->room - 1)];
    free(stream->item);
    stream->item = item;
    stream->head = 0;
    stream->room *= 2;
    return true;
}

enum kvs_code kvs_queue_submit(struct kvs_dev *dev, void *of, const struct kvs_item *item,
                               struct kvs_err *err)
{
    struct queue *queue = dev->state;
    struct stream *stream = of;

    pthread_mutex_lock(&queue->lock);
    if (stream->n == stream->room && !grow(stream)) {
        pthread_mutex_unlock(&queue->lock);
        return kvs_nomem(err);
    }
    struct kvs_item *slot = &stream->item[(stream->head + stream->n++) & (stream->room - 1)];
    *slot = *item;
    if (item->kind == KVS_ITEM_RECORD || item->kind == KVS_ITEM_WAIT) {
        struct event *event = item->u.event.impl;
        event->asked += item->kind == KVS_ITEM_RECORD;
        slot->u.event.ticket = event->asked;
    }
    if (stream->n == 1) /* else its thread has work, or waits for an event */
        pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
    return KVS_OK;
}

/* --- events ---------------------------------------------------------------------------------- */

enum kvs_code kvs_queue_event_new(struct kvs_dev *dev, void **event, struct kvs_err *err)
{
    (void)dev;
    *event = calloc(1, sizeof(struct event));
    return *event ? KVS_OK : kvs_nomem(err);
}

void kvs_queue_event_free(struct kvs_dev *dev, void *event)
{
    (void)dev;
    free(event);
}

enum kvs_code kvs_queue_event_sync(struct kvs_dev *dev, void *of, struct kvs_err *err)
{
    struct queue *queue = dev->state;
    struct event *event = of;

    (void)err;
    pthread_mutex_lock(&queue->lock);
    for (uint64_t ticket = event->asked; event->done < ticket;)
        if (queue->mode == KVS_QUEUE_SEEDED)
            run_one(queue);
        else
            pthread_cond_wait(&queue->changed, &queue->lock);
    pthread_mutex_unlock(&queue->lock);
    return KVS_OK;
}

enum kvs_code kvs_queue_event_elapsed(struct kvs_dev *dev, void *from_event, void *to_event,
                                      int64_t *ns, struct kvs_err *err)
{
    struct queue *queue = dev->state;
    const struct event *from = from_event, *to = to_event;
    bool happened;

    pthread_mutex_lock(&queue->lock);
    happened = from->done && from->done == from->asked && to->done && to->done == to->asked;
    *ns = happened ? to->at_ns - from->at_ns : 0;
    pthread_mutex_unlock(&queue->lock);
    return happened ? KVS_OK : kvs_fail(err, KVS_ERR_ARG, "an event has not happened yet");
}
