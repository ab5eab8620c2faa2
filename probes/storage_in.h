/*
 * storage_in.h - a disk under test and one thread's part of a run: for the files of storage.h
 * alone.
 */
#ifndef KVS_PROBES_STORAGE_IN_H
#define KVS_PROBES_STORAGE_IN_H

#include "storage.h"

#include "base/rng.h"

#include <pthread.h>

#define KVS_DISK_ALIGN 4096u
#define KVS_DISK_MAX_THREAD 256

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
struct kvs_disk_job {
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
    bool checked, counts; /* counts: the ramp is over, what comes back is counted */
    struct kvs_err err;
    pthread_t thread;
    struct kvs_disk_crew *crew; /* with which it shares loads */
};

/* An operation on its way. */
struct kvs_disk_io {
    uint64_t at;
    int64_t submit_ns;
    bool write;
};

/* Names what went wrong with a path or a read, with a hint what to do; error is an errno. */
enum kvs_code kvs_disk_error(const char *name, const char *what, int error, struct kvs_err *err);

/* Where a job reads or writes next: a stream's operation; section `layer` of a random block. */
uint64_t kvs_disk_stream_at(struct kvs_disk_job *job, bool write);
uint64_t kvs_disk_section_at(struct kvs_disk_job *job, uint64_t layer);
bool kvs_disk_is_stopped(const struct kvs_disk_job *job);
/*
 * An operation came back at now_ns, result as the kernel gave it: bytes, or a negative errno. The
 * job fails if it came short, or if it is the first read of a file of ours and its first or last
 * 4 KiB are not what was written. Else, where the job counts, it enters operations and latencies.
 */
enum kvs_code kvs_disk_done(struct kvs_disk_job *job, const struct kvs_disk_io *io,
                            const unsigned char *buf, int64_t result, int64_t now_ns);

/* Starts a thread a job; how many started, n unless threads are short. */
unsigned kvs_disk_start(struct kvs_disk_job *job, unsigned n, void *(*fn)(void *));
void kvs_disk_join(struct kvs_disk_job *job, unsigned n);

/* All jobs of a run: each on a ring of its own; or with pread and pwrite, where loads are shared by
 * all of them. What a job meets stays in its err. */
KVS_MUST_CHECK enum kvs_code kvs_disk_rings(struct kvs_disk_job *job, unsigned n,
                                            struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_disk_threads(struct kvs_disk_job *job, unsigned n,
                                              struct kvs_err *err);

#endif
