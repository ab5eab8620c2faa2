/* uring.c - a folder's reads by io_uring. */
#include "place.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#define CALL_BACK_NS 100000000 /* how long a cancellation may take */

/* A read in flight; the kernel knows it by its slot, for it may outlive the read. */
struct slot {
    struct kvs_read *read; /* NULL: given up */
    bool flies;
};

struct ring {
    struct io_uring uring;
    struct slot *slot;
    unsigned n_slot;
    uint8_t *pool; /* registered, or NULL */
    size_t pool_bytes;
    unsigned n_flying; /* slots */
    bool buffered;     /* some block's file system has no O_DIRECT */
};

static enum kvs_code ring_new(void *at, const struct kvs_reader_opt *opt, void **path,
                              struct kvs_err *err)
{
    struct ring *ring = calloc(1, sizeof *ring);
    struct iovec all = {opt->pool, opt->pool_bytes};

    (void)at;
    *path = NULL;
    if (!ring)
        return kvs_nomem(err);
    ring->n_slot = opt->depth;
    ring->slot = calloc(opt->depth, sizeof *ring->slot);
    if (!ring->slot) {
        free(ring);
        return kvs_nomem(err);
    }
    int error = io_uring_queue_init(opt->depth, &ring->uring, IORING_SETUP_CLAMP);
    if (error < 0) {
        free(ring->slot);
        free(ring);
        return kvs_fail(err, error == -ENOMEM ? KVS_ERR_NOMEM : KVS_ERR_ABSENT, "no io_uring: %s",
                        strerror(-error));
    }
    /* refused where little memory may be locked: then pages are looked up read by read */
    if (opt->pool && io_uring_register_buffers(&ring->uring, &all, 1) == 0) {
        ring->pool = opt->pool;
        ring->pool_bytes = opt->pool_bytes;
    }
    *path = ring;
    return KVS_OK;
}

static void hand_over(struct ring *ring)
{
    int got;

    do
        got = io_uring_submit(&ring->uring);
    while (got == -EINTR);
    /* what could not be handed over stays in the ring and goes with the next call */
}

/* The rest of a slot's read; false: the kernel took nothing. */
static bool submit(struct ring *ring, struct slot *slot)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    struct kvs_read *read = slot->read;
    uint8_t *to = read->to + read->n_done;
    unsigned n = (unsigned)(read->n_byte - read->n_done);

    if (!sqe) {
        read->error = EBUSY;
        return false;
    }
    if (read->to >= ring->pool && read->to + read->n_byte <= ring->pool + ring->pool_bytes)
        io_uring_prep_read_fixed(sqe, read->block->fd, to, n, read->at_bytes + read->n_done, 0);
    else
        io_uring_prep_read(sqe, read->block->fd, to, n, read->at_bytes + read->n_done);
    io_uring_sqe_set_data(sqe, slot);
    hand_over(ring);
    return true;
}

static bool ring_start(void *path, struct kvs_read *read)
{
    struct ring *ring = path;
    struct slot *slot = ring->slot;

    while (slot->flies) /* at most depth are in flight */
        slot++;
    ring->buffered = ring->buffered || !read->block->direct;
    slot->read = read;
    slot->flies = submit(ring, slot);
    ring->n_flying += slot->flies;
    return slot->flies;
}

/* Has it ended? A short read goes on where it stopped. */
static bool ended(struct ring *ring, struct slot *slot, int got)
{
    struct kvs_read *read = slot->read;

    if (got == -EINTR || got == -EAGAIN)
        return !submit(ring, slot);
    if (got < 0)
        read->error = -got;
    else
        read->n_done += (size_t)got;
    if (got > 0 && read->n_done < read->n_byte && kvs_store_aligned(read->n_done))
        return !submit(ring, slot);
    return true;
}

static struct kvs_read *take(struct ring *ring)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
        struct slot *slot = io_uring_cqe_get_data(cqe);
        int got = cqe->res;
        io_uring_cqe_seen(&ring->uring, cqe);
        if (!slot || (slot->read && !ended(ring, slot, got))) /* none: a cancellation's answer */
            continue;
        struct kvs_read *read = slot->read;
        slot->flies = false;
        ring->n_flying--;
        if (!read)
            continue;
        read->code = read->n_done == read->n_byte ? KVS_OK : KVS_ERR_IO;
        return read;
    }
    return NULL;
}

static struct kvs_read *ring_poll(void *path, int64_t until_ns)
{
    struct ring *ring = path;

    for (;;) {
        struct kvs_read *read = take(ring);
        int64_t left = until_ns - kvs_store_now_ns();
        if (read || left <= 0)
            return read;
        struct __kernel_timespec limit = {left / 1000000000, left % 1000000000};
        struct io_uring_cqe *cqe;
        (void)io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1, &limit, NULL);
    }
}

/* Asks for the read to be called back: one that waits is, one that the disk has is not. */
static struct kvs_read *ring_abandon(void *path)
{
    struct ring *ring = path;

    for (unsigned i = 0; i < ring->n_slot; i++) {
        struct slot *slot = &ring->slot[i];
        struct kvs_read *read = slot->flies ? slot->read : NULL;
        struct io_uring_sqe *sqe;

        if (!read)
            continue;
        slot->read = NULL;
        sqe = io_uring_get_sqe(&ring->uring);
        if (sqe) {
            io_uring_prep_cancel(sqe, slot, 0);
            io_uring_sqe_set_data(sqe, NULL);
            hand_over(ring);
        }
        return read;
    }
    return NULL;
}

static void wait_for_all(struct ring *ring, int64_t patience_ns)
{
    int64_t until_ns = kvs_store_now_ns() + patience_ns;

    while (ring->n_flying > 0 &&
           (ring_poll(ring, kvs_store_now_ns() + 1000000) || kvs_store_now_ns() < until_ns))
        ;
}

static bool ring_free(void *path, int64_t patience_ns)
{
    struct ring *ring = path;

    if (!ring)
        return true;
    wait_for_all(ring, patience_ns);
    if (ring->n_flying > 0) {
        while (ring_abandon(ring))
            ;
        wait_for_all(ring, CALL_BACK_NS);
    }
    bool all = ring->n_flying == 0;
    io_uring_queue_exit(&ring->uring); /* the kernel ends what is left by itself */
    free(ring->slot);
    free(ring);
    return all;
}

static const char *ring_how(void *path)
{
    const struct ring *ring = path;

    return ring->buffered ? "io_uring, page cache" : "io_uring, O_DIRECT";
}

const struct kvs_path_ops kvs_path_uring = {.new_path = ring_new,
                                            .free_path = ring_free,
                                            .start = ring_start,
                                            .poll = ring_poll,
                                            .abandon = ring_abandon,
                                            .how = ring_how};
