#include "storage.h"

#include "base/map.h"
#include "base/rng.h"
#include "base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define ALIGN 4096u
#define MAX_THREAD 256
#define MAX_DEPTH 1024
#define N_LAYER 32 /* sections of a block in the KV layout */
#define STALL_S 30 /* no completion for that long: the device hangs */
#define MAX_POOL (1ull << 30)
#define SUBMIT_EACH 4 /* a stream's submits: a whole queue at once leaves the disk waiting */
#define LOOP_MAJOR 7

struct kvs_disk {
    struct kvs_disk_config config;
    char name[256]; /* for messages */
    char path[16];  /* "direct", "buffered", "tmpfs", "loop" */
    char flags[64]; /* of the ring used last */
    int fd;
    bool is_ours, can_write, direct, checked, no_uring;
    char why_no_uring[96];
    uint64_t read_bytes, write_at, write_bytes; /* reads in [0, read_bytes) */
    unsigned char *pool;                        /* buffers of all jobs, kept between runs */
    size_t pool_bytes;
    uint64_t n_run;
};

/* One thread's part of a run. */
struct job {
    struct kvs_disk *disk;
    const struct kvs_point *point;
    unsigned index, n_job, depth;
    double secs, write_frac;
    bool random;
    unsigned char *buf;
    struct kvs_rng rng;
    uint64_t next; /* sequential position, in operations */
    /* what it found */
    struct kvs_hist *hist;
    int64_t begin_ns, end_ns;
    uint64_t bytes, ops;
    double cpu_ns;
    bool checked;
    struct kvs_err err;
    pthread_t thread;
};

/* --- known data ---------------------------------------------------------------------------------
 */

/* Bytes that no compressor shrinks, told by their place: word w of the file. */
static uint64_t word_at(const struct kvs_disk *disk, uint64_t w)
{
    return kvs_mix64(disk->config.seed * 0x9e3779b97f4a7c15ull + w + 1);
}

static void make_data(const struct kvs_disk *disk, unsigned char *buf, uint64_t at, size_t n_byte)
{
    uint64_t *word = (uint64_t *)(void *)buf;
    for (size_t i = 0; i < n_byte / 8; i++)
        word[i] = word_at(disk, at / 8 + i);
}

static bool is_data(const struct kvs_disk *disk, const unsigned char *buf, uint64_t at,
                    size_t n_byte)
{
    const uint64_t *word = (const uint64_t *)(const void *)buf;
    for (size_t i = 0; i < n_byte / 8; i++)
        if (word[i] != word_at(disk, at / 8 + i))
            return false;
    return true;
}

/* The first and the last 4 KiB of a read. */
static enum kvs_code check_read(struct job *job, const unsigned char *buf, uint64_t at,
                                size_t n_byte)
{
    size_t n = n_byte < ALIGN ? n_byte : ALIGN;
    job->checked = true;
    if (is_data(job->disk, buf, at, n) && is_data(job->disk, buf + n_byte - n, at + n_byte - n, n))
        return KVS_OK;
    return kvs_fail(&job->err, KVS_ERR_IO,
                    "%s: the %zu bytes read at %llu are not what was written", job->disk->name,
                    n_byte, (unsigned long long)at);
}

/* --- opening ------------------------------------------------------------------------------------
 */

static enum kvs_code io_error(const char *name, const char *what, int error, struct kvs_err *err)
{
    const char *hint = error == EINVAL   ? " (size or offset not a multiple of the block size?)"
                       : error == ENOSPC ? " (choose a smaller --size or another --dir)"
                       : error == EROFS || error == EACCES || error == EPERM
                           ? " (choose a --dir that can be written)"
                           : "";
    return kvs_fail(err, KVS_ERR_IO, "%s: %s: %s%s", name, what, strerror(error), hint);
}

/* A file without a name, direct if the file system can. -1 and errno if none can be made. */
static int open_nameless(const char *dir, bool direct)
{
    int flags = O_RDWR | O_CLOEXEC | (direct ? O_DIRECT : 0);
    char name[4096];
    int fd = open(dir, O_TMPFILE | flags, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL))
        return fd;
    if ((size_t)snprintf(name, sizeof name, "%s/.kvprobe-XXXXXX", dir) >= sizeof name) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        return -1;
    unlink(name);
    if (direct && fcntl(fd, F_SETFL, O_DIRECT) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static enum kvs_code open_ours(struct kvs_disk *disk, struct kvs_err *err)
{
    const char *dir = disk->config.dir;
    disk->is_ours = disk->can_write = true;
    disk->direct = !disk->config.buffered;
    disk->fd = open_nameless(dir, disk->direct);
    if (disk->fd < 0 && disk->direct && errno == EINVAL) {
        disk->direct = false; /* no O_DIRECT here: said in the profile as path buffered */
        disk->fd = open_nameless(dir, false);
    }
    snprintf(disk->name, sizeof disk->name, "test file in %s", dir);
    if (disk->fd < 0)
        return io_error(dir, "cannot make a test file", errno, err);
    uint64_t half = disk->config.file_bytes / 2 & ~(uint64_t)(ALIGN - 1);
    disk->read_bytes = disk->write_at = disk->write_bytes = half;
    if (half < 1 << 20)
        return kvs_fail(err, KVS_ERR_RANGE,
                        "a test file of %llu bytes is too small; want 2 MiB or more",
                        (unsigned long long)disk->config.file_bytes);
    return KVS_OK;
}

static enum kvs_code open_target(struct kvs_disk *disk, struct kvs_err *err)
{
    const char *target = disk->config.target;
    struct stat st;
    uint64_t n_byte = 0;
    int access = disk->config.destroy ? O_RDWR | O_EXCL : O_RDONLY;
    snprintf(disk->name, sizeof disk->name, "%s", target);
    if (stat(target, &st) != 0)
        return io_error(target, "cannot open", errno, err);
    if (disk->config.destroy && !S_ISBLK(st.st_mode))
        return kvs_fail(err, KVS_ERR_ARG,
                        "%s: no block device; kvprobe writes only to files that it made", target);
    if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode))
        return kvs_fail(err, KVS_ERR_ARG, "%s: neither a file nor a block device", target);
    disk->can_write = disk->config.destroy;
    disk->direct = !disk->config.buffered;
    disk->fd = open(target, access | O_CLOEXEC | (disk->direct ? O_DIRECT : 0));
    if (disk->fd < 0 && disk->direct && errno == EINVAL) {
        disk->direct = false;
        disk->fd = open(target, access | O_CLOEXEC);
    }
    if (disk->fd < 0)
        return io_error(target, "cannot open", errno, err);
    if (S_ISREG(st.st_mode))
        n_byte = (uint64_t)st.st_size;
    else if (ioctl(disk->fd, BLKGETSIZE64, &n_byte) != 0)
        return io_error(target, "cannot learn its size", errno, err);
    disk->read_bytes = n_byte & ~(uint64_t)(ALIGN - 1);
    disk->write_bytes = disk->can_write ? disk->read_bytes : 0;
    return KVS_OK;
}

static void find_path(struct kvs_disk *disk)
{
    struct statfs fs;
    struct stat st;
    const char *path = disk->direct ? "direct" : "buffered";
    if (fstatfs(disk->fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC)
        path = "tmpfs";
    if (fstat(disk->fd, &st) == 0 &&
        major(S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev) == LOOP_MAJOR)
        path = "loop";
    snprintf(disk->path, sizeof disk->path, "%s", path);
}

static enum kvs_code write_all(struct kvs_disk *disk, const unsigned char *buf, uint64_t at,
                               size_t n_byte, struct kvs_err *err)
{
    size_t done = 0;
    while (done < n_byte) {
        ssize_t n = pwrite(disk->fd, buf + done, n_byte - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            char what[96], size[2][KVS_TEXT_MAX];
            snprintf(what, sizeof what, "after %s of %s",
                     kvs_text_bytes(size[0], (double)(at + done)),
                     kvs_text_bytes(size[1], (double)disk->config.file_bytes));
            return io_error(disk->name, what, n == 0 ? ENOSPC : errno, err);
        }
        done += (size_t)n;
    }
    return KVS_OK;
}

/* Every byte is written, so that no extent is sparse or unwritten when it is measured. */
static enum kvs_code fill(struct kvs_disk *disk, struct kvs_err *err)
{
    uint64_t all = disk->write_at + disk->write_bytes;
    size_t chunk = 4 << 20;
    unsigned char *buf = aligned_alloc(ALIGN, chunk);
    enum kvs_code code = buf ? KVS_OK : kvs_nomem(err);
    for (uint64_t at = 0; at < all && !code; at += chunk) {
        size_t n = all - at < chunk ? (size_t)(all - at) : chunk;
        if (disk->config.stop && *disk->config.stop)
            code = kvs_fail(err, KVS_ERR_IO, "stopped while the test file was written");
        if (code)
            break;
        make_data(disk, buf, at, n);
        code = write_all(disk, buf, at, n, err);
    }
    if (!code && fdatasync(disk->fd) != 0)
        code = io_error(disk->name, "sync", errno, err);
    free(buf);
    return code;
}

enum kvs_code kvs_disk_open(const struct kvs_disk_config *config, struct kvs_disk **disk,
                            struct kvs_err *err)
{
    struct kvs_disk *d = calloc(1, sizeof *d);
    *disk = NULL;
    if (!d)
        return kvs_nomem(err);
    d->config = *config;
    d->fd = -1;
    d->no_uring = config->engine == KVS_ENGINE_THREADS;
    enum kvs_code code = config->target ? open_target(d, err) : open_ours(d, err);
    if (!code)
        find_path(d);
    if (!code && d->is_ours)
        code = fill(d, err);
    if (code) {
        kvs_disk_close(d);
        return code;
    }
    *disk = d;
    return KVS_OK;
}

void kvs_disk_close(struct kvs_disk *disk)
{
    if (!disk)
        return;
    if (disk->fd >= 0)
        close(disk->fd);
    if (disk->pool)
        munmap(disk->pool, disk->pool_bytes);
    free(disk);
}

bool kvs_disk_can_write(const struct kvs_disk *disk)
{
    return disk->can_write;
}

uint64_t kvs_disk_bytes(const struct kvs_disk *disk)
{
    return disk->read_bytes + (disk->is_ours ? disk->write_bytes : 0);
}

int kvs_disk_fd(const struct kvs_disk *disk)
{
    return disk->fd;
}

uint64_t kvs_disk_read_bytes(const struct kvs_disk *disk)
{
    return disk->read_bytes;
}

bool kvs_disk_is_data(const struct kvs_disk *disk, const void *bytes, uint64_t at, size_t n_byte)
{
    return !disk->is_ours || is_data(disk, bytes, at, n_byte);
}

/* --- what to read next --------------------------------------------------------------------------
 */

static uint64_t stream_at(struct job *job, bool write)
{
    const struct kvs_disk *disk = job->disk;
    uint64_t size = job->point->size_bytes, room = write ? disk->write_bytes : disk->read_bytes;
    uint64_t n = room / size, i;
    if (job->random) {
        i = kvs_rng_below(&job->rng, n);
    } else { /* each job walks its own part */
        uint64_t part = n / job->n_job ? n / job->n_job : 1;
        i = (job->index * part + job->next++ % part) % n;
    }
    return (write ? disk->write_at : 0) + i * size;
}

/* Section `layer` of a random block: blocks lie one after another, N_LAYER sections each. */
static uint64_t section_at(struct job *job, uint64_t layer)
{
    uint64_t size = job->point->size_bytes, n = job->disk->read_bytes / size;
    uint64_t n_layer = n < N_LAYER ? n : N_LAYER, n_block = n / n_layer;
    return (kvs_rng_below(&job->rng, n_block) * n_layer + layer % n_layer) * size;
}

static bool is_stopped(const struct job *job)
{
    return job->disk->config.stop && *job->disk->config.stop;
}

/* --- io_uring -----------------------------------------------------------------------------------
 */

struct slot {
    uint64_t at;
    int64_t submit_ns;
    bool write;
};

struct ring {
    struct io_uring uring;
    bool fixed_file, fixed_buf, polls;
    struct slot *slot;
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

static enum kvs_code ring_open(struct job *job, struct ring *ring)
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

static void prepare(struct job *job, struct ring *ring, uint64_t at, bool write, int64_t now_ns)
{
    unsigned i = ring->free_slot[--ring->n_free], size = (unsigned)job->point->size_bytes;
    unsigned char *buf = job->buf + (size_t)i * size;
    int fd = ring->fixed_file ? 0 : job->disk->fd;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    ring->slot[i] = (struct slot){at, now_ns, write};
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

static enum kvs_code io_failed(struct job *job, const struct slot *slot, int64_t result)
{
    char what[96];
    snprintf(what, sizeof what, "%s of %llu bytes at %llu", slot->write ? "write" : "read",
             (unsigned long long)job->point->size_bytes, (unsigned long long)slot->at);
    if (result == -EOPNOTSUPP && strcmp(kvs_point_param(job->point, "ring"), "iopoll") == 0)
        return kvs_fail(&job->err, KVS_ERR_ABSENT, "%s: the device has no polled queues",
                        job->disk->name);
    if (result < 0)
        return io_error(job->disk->name, what, (int)-result, &job->err);
    return kvs_fail(&job->err, KVS_ERR_IO, "%s: %s came short: %lld bytes (did the file shrink?)",
                    job->disk->name, what, (long long)result);
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

/* Submits what is prepared, waits for one completion at least, and takes all there are. With count
 * they enter the histogram. *n: how many. */
static enum kvs_code reap(struct job *job, struct ring *ring, bool count, int64_t *now_ns,
                          unsigned *n)
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
        const struct slot *slot = &ring->slot[i];
        ++*n;
        ring->free_slot[ring->n_free++] = i;
        if (code)
            continue;
        if (cqe->res != (int)job->point->size_bytes)
            code = io_failed(job, slot, cqe->res);
        else if (!job->checked && job->disk->is_ours && !slot->write)
            code = check_read(job, job->buf + (size_t)i * job->point->size_bytes, slot->at,
                              job->point->size_bytes);
        else if (count)
            kvs_hist_add(job->hist, (uint64_t)(*now_ns - slot->submit_ns));
    }
    io_uring_cq_advance(&ring->uring, *n);
    return code;
}

/* What is in flight is waited for, so that no buffer is written later. */
static void drain(struct job *job, struct ring *ring)
{
    int64_t now_ns, deadline_ns = kvs_now_ns() + (int64_t)STALL_S * 1000000000;
    unsigned n;
    while (ring->n_free < job->depth && kvs_now_ns() < deadline_ns)
        (void)!reap(job, ring, false, &now_ns, &n);
}

/*
 * A stream: depth operations always in flight. The window runs from one completion to another, so
 * that no part of an operation counts: it opens with the first completion after the ramp and closes
 * with the first one secs later, when two rounds of the queue at least have gone through.
 */
static enum kvs_code ring_stream(struct job *job, struct ring *ring)
{
    int64_t now_ns = kvs_now_ns(), ramp_ns = now_ns + (int64_t)(job->secs * 1e8);
    double cpu_ns = 0;
    enum kvs_code code = KVS_OK;
    bool open = false;
    while (!code && !is_stopped(job)) {
        unsigned n, n_prepared = 0;
        while (ring->n_free) {
            bool write = job->write_frac > 0 && kvs_rng_unit(&job->rng) < job->write_frac;
            prepare(job, ring, stream_at(job, write), write, now_ns);
            if (++n_prepared % SUBMIT_EACH == 0)
                io_uring_submit(
                    &ring->uring); /* what fails here fails in reap, and is said there */
        }
        code = reap(job, ring, open, &now_ns, &n);
        if (open && !code) {
            job->ops += n;
            job->end_ns = now_ns;
            if (now_ns - job->begin_ns >= (int64_t)(job->secs * 1e9) &&
                job->ops >= 2ull * job->depth)
                break;
            if (now_ns - job->begin_ns >= (int64_t)(job->secs * 1e9 * 4 + 2e9) && job->ops)
                break; /* slow: what there is must do */
        } else if (n && now_ns >= ramp_ns) {
            open = true;
            job->begin_ns = now_ns;
            cpu_ns = kvs_cpu_ns();
        }
    }
    job->cpu_ns = kvs_cpu_ns() - cpu_ns;
    job->bytes = job->ops * job->point->size_bytes;
    return code;
}

/* One load: n_descriptor sections of one layer. */
static enum kvs_code ring_load(struct job *job, struct ring *ring, uint64_t layer)
{
    uint64_t n = job->point->n_descriptor, submitted = 0, done = 0;
    int64_t now_ns = 0;
    enum kvs_code code = KVS_OK;
    while (done < n && !code) {
        unsigned got;
        for (; ring->n_free && submitted < n; submitted++)
            prepare(job, ring, section_at(job, layer), false, now_ns);
        code = reap(job, ring, false, &now_ns, &got);
        done += got;
    }
    return code;
}

static enum kvs_code ring_loads(struct job *job, struct ring *ring)
{
    double cpu_ns = kvs_cpu_ns();
    enum kvs_code code = KVS_OK;
    job->begin_ns = job->end_ns = kvs_now_ns();
    for (uint64_t i = 0; !code && !is_stopped(job); i++) {
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
    struct job *job = self;
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

/* --- threads with pread, where there is no io_uring
 * ----------------------------------------------- */

static enum kvs_code one_io(struct job *job, uint64_t at, bool write)
{
    size_t size = job->point->size_bytes;
    struct slot slot = {at, 0, write};
    ssize_t n;
    do
        n = write ? pwrite(job->disk->fd, job->buf, size, (off_t)at)
                  : pread(job->disk->fd, job->buf, size, (off_t)at);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)size)
        return io_failed(job, &slot, n < 0 ? -errno : n);
    if (!write && !job->checked && job->disk->is_ours)
        return check_read(job, job->buf, at, size);
    return KVS_OK;
}

static void *thread_stream(void *self)
{
    struct job *job = self;
    int64_t start_ns = kvs_now_ns(), ramp_ns = start_ns + (int64_t)(job->secs * 1e8);
    double cpu_ns = 0;
    bool open = false;
    for (int64_t now_ns = start_ns; !is_stopped(job);) {
        bool write = job->write_frac > 0 && kvs_rng_unit(&job->rng) < job->write_frac;
        int64_t begin_ns = now_ns;
        if (one_io(job, stream_at(job, write), write))
            return NULL;
        now_ns = kvs_now_ns();
        if (open) {
            kvs_hist_add(job->hist, (uint64_t)(now_ns - begin_ns));
            job->ops++;
            job->end_ns = now_ns;
            if (now_ns - job->begin_ns >= (int64_t)(job->secs * 1e9) && job->ops >= 2)
                break;
        } else if (now_ns >= ramp_ns) {
            open = true;
            job->begin_ns = now_ns;
            cpu_ns = kvs_cpu_ns();
        }
    }
    job->cpu_ns = kvs_cpu_ns() - cpu_ns;
    job->bytes = job->ops * job->point->size_bytes;
    return NULL;
}

/* Threads that share each load's descriptors. The first keeps the time. */
struct crew {
    pthread_barrier_t barrier;
    atomic_int go; /* 0: wait, 1: all are there, -1: go home */
    atomic_uint_fast64_t next;
    atomic_bool over;
    struct job *job;
    unsigned n;
};

struct hand {
    struct crew *crew;
    struct job *job;
};

static void *thread_load(void *self)
{
    struct hand *hand = self;
    struct crew *crew = hand->crew;
    struct job *job = hand->job;
    bool first = job == crew->job;
    while (atomic_load(&crew->go) == 0)
        usleep(100);
    if (atomic_load(&crew->go) < 0)
        return NULL;
    job->begin_ns = kvs_now_ns();
    for (uint64_t layer = 0;; layer++) {
        int64_t start_ns;
        if (first)
            atomic_store(&crew->next, 0);
        pthread_barrier_wait(&crew->barrier);
        start_ns = kvs_now_ns();
        while (!job->err.code && atomic_fetch_add(&crew->next, 1) < job->point->n_descriptor)
            (void)!one_io(job, section_at(job, layer), false);
        if (job->err.code || is_stopped(job))
            atomic_store(&crew->over, true);
        pthread_barrier_wait(&crew->barrier);
        if (first) {
            job->end_ns = kvs_now_ns();
            kvs_hist_add(job->hist, (uint64_t)(job->end_ns - start_ns));
            job->ops++;
            if (job->end_ns - job->begin_ns >= (int64_t)(job->secs * 1e9) && job->ops >= 2)
                atomic_store(&crew->over, true);
        }
        pthread_barrier_wait(&crew->barrier);
        if (atomic_load(&crew->over))
            break;
    }
    if (first)
        job->bytes = job->ops * job->point->n_descriptor * job->point->size_bytes;
    return NULL;
}

/* --- a run --------------------------------------------------------------------------------------
 */

static enum kvs_code make_pool(struct kvs_disk *disk, size_t n_byte, struct kvs_err *err)
{
    if (n_byte <= disk->pool_bytes)
        return KVS_OK;
    if (disk->pool)
        munmap(disk->pool, disk->pool_bytes);
    disk->pool_bytes = 0;
    disk->pool = mmap(NULL, n_byte, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (disk->pool == MAP_FAILED) {
        disk->pool = NULL;
        return kvs_nomem(err);
    }
    disk->pool_bytes = n_byte;
    madvise(disk->pool, n_byte, MADV_HUGEPAGE);
    for (size_t at = 0; at < n_byte; at += 1 << 20) /* what writes write; nothing compresses it */
        make_data(disk, disk->pool + at, ~at, n_byte - at < 1 << 20 ? n_byte - at : 1 << 20);
    return KVS_OK;
}

static enum kvs_code check_point(const struct kvs_disk *disk, const struct kvs_point *p,
                                 double write_frac, struct kvs_err *err)
{
    uint64_t size = p->size_bytes;
    if (size == 0 || size % 512 || size > 1 << 30)
        return kvs_fail(err, KVS_ERR_RANGE,
                        "a size of %llu bytes; want a multiple of 512, to 1 GiB",
                        (unsigned long long)size);
    if (p->depth < 1 || p->depth > MAX_DEPTH || p->jobs < 1 || p->jobs > 64)
        return kvs_fail(err, KVS_ERR_RANGE, "depth %llu with %llu jobs; want 1 to %d with 1 to 64",
                        (unsigned long long)p->depth, (unsigned long long)p->jobs, MAX_DEPTH);
    if (size * p->depth * p->jobs > MAX_POOL)
        return kvs_fail(err, KVS_ERR_RANGE, "buffers of %llu bytes in all; want at most 1 GiB",
                        (unsigned long long)size * p->depth * p->jobs);
    if (write_frac > 0 && !disk->can_write)
        return kvs_fail(err, KVS_ERR_ABSENT, "%s is not ours: it is only read", disk->name);
    if (size > disk->read_bytes || (write_frac > 0 && size > disk->write_bytes))
        return kvs_fail(err, KVS_ERR_RANGE, "%s holds less than one piece of %llu bytes",
                        disk->name, (unsigned long long)size);
    return KVS_OK;
}

static double write_share(const struct kvs_point *point)
{
    return strcmp(point->probe, "storage.write") == 0 ? 1
           : strcmp(point->probe, "storage.mix") == 0 ? 0.3
                                                      : 0;
}

static enum kvs_code start_all(struct job *jobs, unsigned n, void *(*fn)(void *),
                               struct hand *hands, struct kvs_err *err)
{
    unsigned n_started = 0;
    enum kvs_code code = KVS_OK;
    for (; n_started < n && !code; n_started++)
        if (pthread_create(&jobs[n_started].thread, NULL, fn,
                           hands ? (void *)&hands[n_started] : (void *)&jobs[n_started]) != 0) {
            code = kvs_fail(err, KVS_ERR_IO, "cannot start %u threads", n);
            break;
        }
    if (hands) /* a crew that is short of hands would wait at its barrier for ever */
        atomic_store(&hands[0].crew->go, code ? -1 : 1);
    for (unsigned i = 0; i < n_started; i++)
        pthread_join(jobs[i].thread, NULL);
    return code;
}

static enum kvs_code run_threads(struct job *jobs, unsigned n, struct kvs_err *err)
{
    if (!jobs[0].point->n_descriptor)
        return start_all(jobs, n, thread_stream, NULL, err);
    struct crew crew = {.job = jobs, .n = n};
    struct hand hands[MAX_THREAD];
    pthread_barrier_init(&crew.barrier, NULL, n);
    atomic_init(&crew.go, 0);
    atomic_init(&crew.next, 0);
    atomic_init(&crew.over, false);
    for (unsigned i = 0; i < n; i++)
        hands[i] = (struct hand){&crew, &jobs[i]};
    enum kvs_code code = start_all(jobs, n, thread_load, hands, err);
    pthread_barrier_destroy(&crew.barrier);
    return code;
}

static void gather(const struct job *jobs, unsigned n, struct kvs_sample *sample)
{
    sample->cpu_ns = jobs[0].cpu_ns;
    for (unsigned i = 0; i < n; i++) {
        double secs = (double)(jobs[i].end_ns - jobs[i].begin_ns) / 1e9;
        kvs_hist_merge(&sample->lat_ns, jobs[i].hist);
        if (jobs[i].ops == 0 || secs <= 0)
            continue;
        sample->ops += jobs[i].ops;
        sample->bytes += jobs[i].bytes;
        sample->bytes_per_s += (double)jobs[i].bytes / secs;
        sample->secs = sample->secs > secs ? sample->secs : secs;
    }
}

static enum kvs_code run_jobs(struct kvs_disk *disk, const struct kvs_point *point, double secs,
                              bool uring, struct kvs_sample *sample, struct kvs_err *err)
{
    unsigned n = (unsigned)(uring ? point->jobs : point->jobs * point->depth);
    unsigned depth = uring ? (unsigned)point->depth : 1;
    double write_frac = write_share(point);
    enum kvs_code code;
    n = n > MAX_THREAD ? MAX_THREAD : n < 1 ? 1 : n;
    if (point->n_descriptor && uring)
        n = 1;
    struct job *jobs = calloc(n, sizeof *jobs);
    struct kvs_hist *hists = calloc(n, sizeof *hists);
    if (!jobs || !hists) {
        code = kvs_nomem(err);
        goto done;
    }
    if ((code = make_pool(disk, (size_t)n * depth * point->size_bytes, err)))
        goto done;
    for (unsigned i = 0; i < n; i++) {
        kvs_hist_init(&hists[i]);
        jobs[i] = (struct job){
            .disk = disk,
            .point = point,
            .index = i,
            .n_job = n,
            .depth = depth,
            .secs = secs,
            .write_frac = write_frac,
            .random = strcmp(kvs_point_param(point, "pattern"), "seq") != 0,
            .buf = disk->pool + (size_t)i * depth * point->size_bytes,
            .rng = kvs_rng_stream(disk->config.seed + disk->n_run * 1024 + i, "storage"),
            .hist = &hists[i]};
    }
    disk->n_run++;
    code = uring ? start_all(jobs, n, ring_job, NULL, err) : run_threads(jobs, n, err);
    for (unsigned i = 0; i < n && !code; i++) {
        disk->checked |= jobs[i].checked;
        if (jobs[i].err.code)
            code = kvs_fail(err, jobs[i].err.code, "%s", jobs[i].err.msg);
    }
    if (!code)
        gather(jobs, n, sample);
done:
    free(jobs);
    free(hists);
    return code;
}

enum kvs_code kvs_disk_run(void *self, struct kvs_point *point, double secs,
                           struct kvs_sample *sample, struct kvs_err *err)
{
    struct kvs_disk *disk = self;
    enum kvs_code code = check_point(disk, point, write_share(point), err);
    if (code)
        return code;
    if (!disk->no_uring) {
        struct kvs_err own = {KVS_OK, ""};
        code = run_jobs(disk, point, secs, true, sample, &own);
        if (code != KVS_ERR_ABSENT || disk->config.engine == KVS_ENGINE_URING ||
            kvs_point_param(point, "ring")[0])
            return code ? kvs_fail(err, code, "%s", own.msg) : KVS_OK;
        disk->no_uring = true; /* refused or absent: threads from here on */
        snprintf(disk->why_no_uring, sizeof disk->why_no_uring, "%s", own.msg);
    }
    if (kvs_point_param(point, "ring")[0])
        return kvs_fail(err, KVS_ERR_ABSENT, "io_uring is not used here: %s",
                        disk->why_no_uring[0] ? disk->why_no_uring : "--engine threads");
    return run_jobs(disk, point, secs, false, sample, err);
}

json_t *kvs_disk_json(const struct kvs_disk *disk)
{
    bool threads = disk->no_uring;
    return json_pack("{ss ss so so sI sb so}", "path", disk->path, "engine",
                     threads ? "threads" : "io_uring", "flags",
                     threads ? json_null() : json_string(disk->flags), "why_not_io_uring",
                     disk->why_no_uring[0] ? json_string(disk->why_no_uring) : json_null(),
                     "file_bytes", (json_int_t)kvs_disk_bytes(disk), "reads_checked", disk->checked,
                     "target", disk->is_ours ? json_null() : json_string(disk->name));
}
