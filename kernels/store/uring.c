/* uring.c - a folder's reads by io_uring. */
#include "place.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

struct ring {
    struct io_uring uring;
    uint8_t *pool; /* registered, or NULL */
    size_t pool_bytes;
    unsigned n_flying;
    bool buffered; /* some block's file system has no O_DIRECT */
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
    int error = io_uring_queue_init(opt->depth, &ring->uring, IORING_SETUP_CLAMP);
    if (error < 0) {
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

/* The rest of a read; false: the kernel took nothing. */
static bool submit(struct ring *ring, struct kvs_read *read)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    uint8_t *to = read->to + read->n_done;
    unsigned n = (unsigned)(read->n_byte - read->n_done);
    int got;

    if (!sqe) {
        read->error = EBUSY;
        return false;
    }
    if (read->to >= ring->pool && read->to + read->n_byte <= ring->pool + ring->pool_bytes)
        io_uring_prep_read_fixed(sqe, read->block->fd, to, n, read->at_bytes + read->n_done, 0);
    else
        io_uring_prep_read(sqe, read->block->fd, to, n, read->at_bytes + read->n_done);
    io_uring_sqe_set_data(sqe, read);
    do
        got = io_uring_submit(&ring->uring);
    while (got == -EINTR);
    /* what could not be handed over stays in the ring and goes with the next call */
    return true;
}

static bool ring_start(void *path, struct kvs_read *read)
{
    struct ring *ring = path;

    ring->buffered = ring->buffered || !read->block->direct;
    if (!submit(ring, read))
        return false;
    ring->n_flying++;
    return true;
}

/* Has it ended? A short read goes on where it stopped. */
static bool ended(struct ring *ring, struct kvs_read *read, int got)
{
    if (got == -EINTR || got == -EAGAIN)
        return !submit(ring, read);
    if (got < 0)
        read->error = -got;
    else
        read->n_done += (size_t)got;
    if (got > 0 && read->n_done < read->n_byte && kvs_store_aligned(read->n_done))
        return !submit(ring, read);
    return true;
}

static struct kvs_read *take(struct ring *ring)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
        struct kvs_read *read = io_uring_cqe_get_data(cqe);
        int got = cqe->res;
        io_uring_cqe_seen(&ring->uring, cqe);
        if (!ended(ring, read, got))
            continue;
        ring->n_flying--;
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

static void ring_free(void *path)
{
    struct ring *ring = path;

    if (!ring)
        return;
    while (ring->n_flying > 0)
        (void)ring_poll(ring, INT64_MAX);
    io_uring_queue_exit(&ring->uring);
    free(ring);
}

static const char *ring_how(void *path)
{
    const struct ring *ring = path;

    return ring->buffered ? "io_uring, page cache" : "io_uring, O_DIRECT";
}

const struct kvs_path_ops kvs_path_uring = {ring_new, ring_free, ring_start, ring_poll, ring_how};
