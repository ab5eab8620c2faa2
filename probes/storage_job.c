#include "storage_in.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define N_LAYER 32 /* sections of a block in the KV layout */

uint64_t kvs_disk_stream_at(struct kvs_disk_job *job, bool write)
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

/* Blocks lie one after another, N_LAYER sections each. */
uint64_t kvs_disk_section_at(struct kvs_disk_job *job, uint64_t layer)
{
    uint64_t size = job->point->size_bytes, n = job->disk->read_bytes / size;
    uint64_t n_layer = n < N_LAYER ? n : N_LAYER, n_block = n / n_layer;
    return (kvs_rng_below(&job->rng, n_block) * n_layer + layer % n_layer) * size;
}

bool kvs_disk_is_stopped(const struct kvs_disk_job *job)
{
    return job->disk->config.stop && *job->disk->config.stop;
}

static enum kvs_code check(struct kvs_disk_job *job, const unsigned char *buf, uint64_t at,
                           size_t n_byte)
{
    size_t n = n_byte < KVS_DISK_ALIGN ? n_byte : KVS_DISK_ALIGN;
    job->checked = true;
    if (kvs_disk_is_data(job->disk, buf, at, n) &&
        kvs_disk_is_data(job->disk, buf + n_byte - n, at + n_byte - n, n))
        return KVS_OK;
    return kvs_fail(&job->err, KVS_ERR_IO,
                    "%s: the %zu bytes read at %llu are not what was written", job->disk->name,
                    n_byte, (unsigned long long)at);
}

static enum kvs_code failed(struct kvs_disk_job *job, const struct kvs_disk_io *io, int64_t result)
{
    char what[96];
    snprintf(what, sizeof what, "%s of %llu bytes at %llu", io->write ? "write" : "read",
             (unsigned long long)job->point->size_bytes, (unsigned long long)io->at);
    if (result == -EOPNOTSUPP && strcmp(kvs_point_param(job->point, "ring"), "iopoll") == 0)
        return kvs_fail(&job->err, KVS_ERR_ABSENT, "%s: the device has no polled queues",
                        job->disk->name);
    if (result < 0)
        return kvs_disk_error(job->disk->name, what, (int)-result, &job->err);
    return kvs_fail(&job->err, KVS_ERR_IO, "%s: %s came short: %lld bytes (did the file shrink?)",
                    job->disk->name, what, (long long)result);
}

enum kvs_code kvs_disk_done(struct kvs_disk_job *job, const struct kvs_disk_io *io,
                            const unsigned char *buf, int64_t result, int64_t now_ns)
{
    size_t size = job->point->size_bytes;
    enum kvs_code code = KVS_OK;
    if (result != (int64_t)size)
        code = failed(job, io, result);
    else if (!job->checked && job->disk->is_ours && !io->write)
        code = check(job, buf, io->at, size);
    if (code || !job->counts)
        return code;
    kvs_hist_add(job->hist, (uint64_t)(now_ns - io->submit_ns));
    job->ops++;
    job->end_ns = now_ns;
    return KVS_OK;
}

unsigned kvs_disk_start(struct kvs_disk_job *job, unsigned n, void *(*fn)(void *))
{
    unsigned n_started = 0;
    while (n_started < n && pthread_create(&job[n_started].thread, NULL, fn, &job[n_started]) == 0)
        n_started++;
    return n_started;
}

void kvs_disk_join(struct kvs_disk_job *job, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        pthread_join(job[i].thread, NULL);
}
