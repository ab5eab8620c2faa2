/*
 * storage.h - a disk under io_uring: streams of reads and writes, and loads laid out as KV blocks.
 *
 * The file is our own: nameless (O_TMPFILE) or unlinked at once, so that nothing is left behind
 * whatever happens; its first half holds known incompressible data, which reads check, its second
 * half takes the writes. A file or device of others is only ever read, unless it is a block device
 * and destroy says so. Without O_DIRECT, registered buffers or io_uring the next best is used, and
 * kvs_disk_json says which.
 */
#ifndef KVS_PROBES_STORAGE_H
#define KVS_PROBES_STORAGE_H

#include "measure.h"

enum kvs_disk_engine { KVS_ENGINE_AUTO, KVS_ENGINE_URING, KVS_ENGINE_THREADS };

struct kvs_disk_config {
    const char *dir;     /* where our file goes */
    const char *target;  /* or: a file or block device to read; NULL: our file */
    bool destroy;        /* write to target, which must be a block device, too */
    bool buffered;       /* through the page cache */
    uint64_t file_bytes; /* of our file; a multiple of 64 MiB is best */
    enum kvs_disk_engine engine;
    uint64_t seed;
    const volatile int *stop;
};

struct kvs_disk; /* from kvs_disk_open, ended by kvs_disk_close */

/* Makes and fills the file, or opens the target. KVS_ERR_IO names the folder and what is wrong;
 * KVS_ERR_ARG: a target that must not be written. */
KVS_MUST_CHECK enum kvs_code kvs_disk_open(const struct kvs_disk_config *config,
                                           struct kvs_disk **disk, struct kvs_err *err);
void kvs_disk_close(struct kvs_disk *disk); /* accepts NULL */
bool kvs_disk_can_write(const struct kvs_disk *disk);
uint64_t kvs_disk_bytes(const struct kvs_disk *disk);
/* The file itself, for those who read it in another way; [0, kvs_disk_read_bytes) is for reading.
 */
int kvs_disk_fd(const struct kvs_disk *disk);
uint64_t kvs_disk_read_bytes(const struct kvs_disk *disk);
/* Are these the file's bytes at that place (a multiple of 8)? True of files that are not ours. */
bool kvs_disk_is_data(const struct kvs_disk *disk, const void *bytes, uint64_t at, size_t n_byte);

/*
 * A kvs_run_fn. The point's probe is storage.read, storage.write, storage.mix (70 % reads) or
 * storage.kv; size_bytes, depth and jobs say how, params.pattern "rand" or "seq",
 * params.ring "iopoll" or "sqpoll" asks for that set-up (KVS_ERR_ABSENT where there is none). With
 * n_descriptor the unit is a load: that many sections of size_bytes, one layer of as many blocks,
 * depth of them in flight, timed from before the first submit to the last reap.
 */
enum kvs_code kvs_disk_run(void *disk, struct kvs_point *point, double secs,
                           struct kvs_sample *sample, struct kvs_err *err);

/* What was used: path, engine, flags, file size, whether reads were checked. After a run. */
json_t *kvs_disk_json(const struct kvs_disk *disk);

#endif
