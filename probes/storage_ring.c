#include "storage_in.h"

#include "base/units.h"

#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define STALL_S 30    /* no completion for that long: the device hangs */
#define SUBMIT_EACH 4 /* a stream's submits: a whole queue at once leaves the disk waiting */

struct ring {
    struct io_uring uring;
    bool fixed_file, fixed_buf, polls;
    struct kvs_disk_io *slot;
    unsigned *free_slot, n_free;
};

/*
 * The best set-up that this kernel takes; or with kind "iopoll" completions polled from the device,
 * with "sqpoll" submissions by a kernel thread: what a loader might choose instead, measured to
 * tell whether it should. 0, or a negative errno.
 */
static int set_up(struct io_uring *uring, unsigned depth, const char *kind, const char **flags)
{
    static const struct {
        const char *kind;
        unsigned flags;
        const char *name;
    } ways[] = {
        {"", IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
         "single-issuer,defer-taskrun"},
        {"", IORING_SETUP_COOP_TASKRUN, "coop-taskrun"},
        {"", 0, "none"},
        {"iopoll", IORING_SETUP_IOPOLL, "iopoll"},
        {"sqpoll", IORING_SETUP_SQPOLL, "sqpoll"},
    };
    int error = -EINVAL;
    for (size_t i = 0; i < sizeof ways / sizeof *ways && error == -EINVAL; i++) {
        if (strcmp(ways[i].kind, kind) != 0)
            continue;
        error = io_uring_queue_init(depth, uring, ways[i].flags);
        *flags = ways[i].name;
    }
    return error;
}

static enum kvs_code ring_open(struct kvs_disk_job *job, struct ring *ring)
{
    struct kvs_disk *disk = job->disk;
    const char *flags;
    struct iovec all = {job->buf, (size_t)job->depth * job->point->size_bytes};
    memset(ring, 0, sizeof *ring);
    ring->slot = calloc(job->depth, sizeof *ring->slot);
    ring->free_slot = calloc(job->depth, sizeof *ring->free_slot);
    if (!ring->slot || !ring->free_slot) {
        free(ring->slot);
        free(ring->free_slot);
        return kvs_nomem(&job->err);
    }
    const char *kind = kvs_point_param(job->point, "ring");
    int error = set_up(&ring->uring, job->depth, kind, &flags);
    if (error) {
        free(ring->slot);
        free(ring->free_slot);
        memset(ring, 0, sizeof *ring);
        return kvs_fail(&job->err, KVS_ERR_ABSENT, "io_uring%s%s: %s", kind[0] ? " " : "", kind,
                        strerror(-error));
    }
    ring->polls = strcmp(kind, "iopoll") == 0;
    ring->fixed_file = io_uring_register_files(&ring->uring, &disk->fd, 1) == 0;
    ring->fixed_buf =
        io_uring_register_buffers(&ring->uring, &all, 1) == 0; /* or memlock is short */
    if (job->index == 0 && !kind[0])
        snprintf(disk->flags, sizeof disk->flags, "%s%s%s", flags,
                 ring->fixed_file ? ",fixed-file" : "", ring->fixed_buf ? ",fixed-buffers" : "");
    for (unsigned i = 0; i < job->depth; i++)
        ring->free_slot[ring->n_free++] = i;
    return KVS_OK;
}

static void ring_close(struct ring *ring)
{
    io_uring_queue_exit(&ring->uring);
    free(ring->slot);
    free(ring->free_slot);
}

static void prepare(struct kvs_disk_job *job, struct ring *ring, uint64_t at, bool write,
                    int64_t now_ns)
{
    unsigned i = ring->free_slot[--ring->n_free], size = (unsigned)job->point->size_bytes;
    unsigned char *buf = job->buf + (size_t)i * size;
    int fd = ring->fixed_file ? 0 : job->disk->fd;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    ring->slot[i] = (struct kvs_disk_io){at, now_ns, write};
    if (ring->fixed_buf && write)
        io_uring_prep_write_fixed(sqe, fd, buf, size, at, 0);
    else if (ring->fixed_buf)
        io_uring_prep_read_fixed(sqe, fd, buf, size, at, 0);
    else if (write)
        io_uring_prep_write(sqe, fd, buf, size, at);
    else
        io_uring_prep_read(sqe, fd, buf, size, at);
    if (ring->fixed_file)
        sqe->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(sqe, i);
}

static int wait_asleep(struct io_uring *uring)
{
    struct io_uring_cqe *cqe;
    struct __kernel_timespec limit = {.tv_sec = STALL_S};
    return io_uring_submit_and_wait_timeout(uring, &cqe, 1, &limit, NULL);
}

/* The device is asked until it has something: nothing wakes who sleeps for polled completions. */
static int wait_polling(struct io_uring *uring)
{
    int64_t deadline_ns = kvs_now_ns() + (int64_t)STALL_S * 1000000000;
    int error = io_uring_submit(uring);
    while (error >= 0 && io_uring_cq_ready(uring) == 0) {
        error = io_uring_get_events(uring);
        if (kvs_now_ns() > deadline_ns)
            return -ETIME;
    }
    return error;
}

/* Submits what is prepared, waits for one completion at least, and takes all there are. *n: how
 * many. */
static enum kvs_code reap(struct kvs_disk_job *job, struct ring *ring, int64_t *now_ns, unsigned *n)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    enum kvs_code code = KVS_OK;
    int got = ring->polls ? wait_polling(&ring->uring) : wait_asleep(&ring->uring);
    *n = 0;
    *now_ns = kvs_now_ns();
    if (got == -ETIME)
        return kvs_fail(&job->err, KVS_ERR_IO, "%s: no completion in %d s", job->disk->name,
                        STALL_S);
    if (got < 0 && got != -EINTR && got != -EAGAIN)
        return kvs_fail(&job->err, KVS_ERR_IO, "io_uring: %s", strerror(-got));
    io_uring_for_each_cqe(&ring->uring, head, cqe)
    {
        unsigned i = (unsigned)io_uring_cqe_get_data64(cqe);
        ++*n;
        ring->free_slot[ring->n_free++] = i;
        if (!code)
            code = kvs_disk_done(job, &ring->slot[i], job->buf + (size_t)i * job->point->size_bytes,
                                 cqe->res, *now_ns);
    }
    io_uring_cq_advance(&ring->uring, *n);
    return code;
}

/* What is in flight is waited for, so that no buffer is written later. */
static void drain(struct kvs_disk_job *job, struct ring *ring)
{
    int64_t now_ns, deadline_ns = kvs_now_ns() + (int64_t)STALL_S * 1000000000;
    unsigned n;
    job->counts = false;
    while (ring->n_free < job->depth && kvs_now_ns() < deadline_ns)
        (void)!reap(job, ring, &now_ns, &n);
}

/*
 * A stream: depth operations always in flight. The window runs from one completion to another, so
 * that no part of an operation counts: it opens with the first completion after the ramp and closes
 * with the first one secs later, when two rounds of the queue at least have gone through.
 */
static enum kvs_code ring_stream(struct kvs_disk_job *job, struct ring *ring)
{
    int64_t now_ns = kvs_now_ns(), ramp_ns = now_ns + (int64_t)(job->secs * 1e8);
    double cpu_ns = 0;
    enum kvs_code code = KVS_OK;
    while (!code && !kvs_disk_is_stopped(job)) {
        unsigned n, n_prepared = 0;
        while (ring->n_free) {
            bool write = job->write_frac > 0 && kvs_rng_unit(&job->rng) < job->write_frac;
            prepare(job, ring, kvs_disk_stream_at(job, write), write, now_ns);
            if (++n_prepared % SUBMIT_EACH == 0)
                io_uring_submit(
                    &ring->uring); /* what fails here fails in reap, and is said there */
        }
        code = reap(job, ring, &now_ns, &n);
        if (job->counts && !code) {
            if (now_ns - job->begin_ns >= (int64_t)(job->secs * 1e9) &&
                job->ops >= 2ull * job->depth)
                break;
            if (now_ns - job->begin_ns >= (int64_t)(job->secs * 1e9 * 4 + 2e9) && job->ops)
                break; /* slow: what there is must do */
        } else if (n && now_ns >= ramp_ns) {
            job->counts = true;
            job->begin_ns = now_ns;
            cpu_ns = kvs_cpu_ns();
        }
    }
    job->cpu_ns = kvs_cpu_ns() - cpu_ns;
    job->bytes = job->ops * job->point->size_bytes;
    return code;
}

/* One load: n_descriptor sections of one layer. */
static enum kvs_code ring_load(struct kvs_disk_job *job, struct ring *ring, uint64_t layer)
{
    uint64_t n = job->point->n_descriptor, submitted = 0, done = 0;
    int64_t now_ns = 0;
    enum kvs_code code = KVS_OK;
    while (done < n && !code) {
        unsigned got;
        for (; ring->n_free && submitted < n; submitted++)
            prepare(job, ring, kvs_disk_section_at(job, layer), false, now_ns);
        code = reap(job, ring, &now_ns, &got);
        done += got;
    }
    return code;
}

static enum kvs_code ring_loads(struct kvs_disk_job *job, struct ring *ring)
{
    double cpu_ns = kvs_cpu_ns();
    enum kvs_code code = KVS_OK;
    job->begin_ns = job->end_ns = kvs_now_ns();
    for (uint64_t i = 0; !code && !kvs_disk_is_stopped(job); i++) {
        int64_t start_ns = kvs_now_ns();
        code = ring_load(job, ring, i);
        job->end_ns = kvs_now_ns();
        if (code)
            break;
        kvs_hist_add(job->hist, (uint64_t)(job->end_ns - start_ns));
        job->ops++;
        if (job->end_ns - job->begin_ns >= (int64_t)(job->secs * 1e9) && job->ops >= 2)
            break;
    }
    job->cpu_ns = kvs_cpu_ns() - cpu_ns;
    job->bytes = job->ops * job->point->n_descriptor * job->point->size_bytes;
    return code;
}

static void *ring_job(void *self)
{
    struct kvs_disk_job *job = self;
    struct ring ring;
    if (ring_open(job, &ring) != KVS_OK)
        return NULL;
    if (job->point->n_descriptor)
        (void)!ring_loads(job, &ring);
    else
        (void)!ring_stream(job, &ring);
    drain(job, &ring);
    ring_close(&ring);
    return NULL;
}

enum kvs_code kvs_disk_rings(struct kvs_disk_job *job, unsigned n, struct kvs_err *err)
{
    unsigned n_started = kvs_disk_start(job, n, ring_job);
    kvs_disk_join(job, n_started);
    return n_started == n ? KVS_OK : kvs_fail(err, KVS_ERR_IO, "cannot start %u threads", n);
}
