#include "storage_in.h"

#include "base/map.h"
#include "base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MAX_DEPTH 1024
#define MAX_POOL (1ull << 30)
#define LOOP_MAJOR 7

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

bool kvs_disk_is_data(const struct kvs_disk *disk, const void *bytes, uint64_t at, size_t n_byte)
{
    const uint64_t *word = bytes;
    if (!disk->is_ours)
        return true;
    for (size_t i = 0; i < n_byte / 8; i++)
        if (word[i] != word_at(disk, at / 8 + i))
            return false;
    return true;
}

/* --- opening ------------------------------------------------------------------------------------
 */

enum kvs_code kvs_disk_error(const char *name, const char *what, int error, struct kvs_err *err)
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
        return kvs_disk_error(dir, "cannot make a test file", errno, err);
    uint64_t half = disk->config.file_bytes / 2 & ~(uint64_t)(KVS_DISK_ALIGN - 1);
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
        return kvs_disk_error(target, "cannot open", errno, err);
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
        return kvs_disk_error(target, "cannot open", errno, err);
    if (S_ISREG(st.st_mode))
        n_byte = (uint64_t)st.st_size;
    else if (ioctl(disk->fd, BLKGETSIZE64, &n_byte) != 0)
        return kvs_disk_error(target, "cannot learn its size", errno, err);
    disk->read_bytes = n_byte & ~(uint64_t)(KVS_DISK_ALIGN - 1);
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
            return kvs_disk_error(disk->name, what, n == 0 ? ENOSPC : errno, err);
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
    unsigned char *buf = aligned_alloc(KVS_DISK_ALIGN, chunk);
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
        code = kvs_disk_error(disk->name, "sync", errno, err);
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

static void gather(const struct kvs_disk_job *jobs, unsigned n, struct kvs_sample *sample)
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
    n = n > KVS_DISK_MAX_THREAD ? KVS_DISK_MAX_THREAD : n < 1 ? 1 : n;
    if (point->n_descriptor && uring)
        n = 1;
    struct kvs_disk_job *jobs = calloc(n, sizeof *jobs);
    struct kvs_hist *hists = calloc(n, sizeof *hists);
    if (!jobs || !hists) {
        code = kvs_nomem(err);
        goto done;
    }
    if ((code = make_pool(disk, (size_t)n * depth * point->size_bytes, err)))
        goto done;
    for (unsigned i = 0; i < n; i++) {
        kvs_hist_init(&hists[i]);
        jobs[i] = (struct kvs_disk_job){
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
    code = uring ? kvs_disk_rings(jobs, n, err) : kvs_disk_threads(jobs, n, err);
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
