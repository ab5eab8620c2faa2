#include "storage_in.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

/* One operation, asked for at *now_ns; when it came back is there afterwards. */
static enum kvs_code one_io(struct kvs_disk_job *job, uint64_t at, bool write, int64_t *now_ns)
{
    struct kvs_disk_io io = {at, *now_ns, write};
    size_t size = job->point->size_bytes;
    ssize_t n;
    do
        n = write ? pwrite(job->disk->fd, job->buf, size, (off_t)at)
                  : pread(job->disk->fd, job->buf, size, (off_t)at);
    while (n < 0 && errno == EINTR);
    n = n < 0 ? -errno : n;
    *now_ns = kvs_now_ns();
    return kvs_disk_done(job, &io, job->buf, n, *now_ns);
}

static void *thread_stream(void *self)
{
    struct kvs_disk_job *job = self;
    int64_t now_ns = kvs_now_ns(), ramp_ns = now_ns + (int64_t)(job->secs * 1e8);
    double cpu_ns = 0;
    while (!kvs_disk_is_stopped(job)) {
        bool write = job->write_frac > 0 && kvs_rng_unit(&job->rng) < job->write_frac;
        if (one_io(job, kvs_disk_stream_at(job, write), write, &now_ns))
            return NULL;
        if (job->counts) {
            if (now_ns - job->begin_ns >= (int64_t)(job->secs * 1e9) && job->ops >= 2)
                break;
        } else if (now_ns >= ramp_ns) {
            job->counts = true;
            job->begin_ns = now_ns;
            cpu_ns = kvs_cpu_ns();
        }
    }
    job->cpu_ns = kvs_cpu_ns() - cpu_ns;
    job->bytes = job->ops * job->point->size_bytes;
    return NULL;
}

/* Threads that share each load's descriptors. The first keeps the time. */
struct kvs_disk_crew {
    pthread_barrier_t barrier;
    atomic_int go; /* 0: wait, 1: all are there, -1: go home */
    atomic_uint_fast64_t next;
    atomic_bool over;
    struct kvs_disk_job *job;
    unsigned n;
};

static void *thread_load(void *self)
{
    struct kvs_disk_job *job = self;
    struct kvs_disk_crew *crew = job->crew;
    bool first = job == crew->job;
    while (atomic_load(&crew->go) == 0)
        usleep(100);
    if (atomic_load(&crew->go) < 0)
        return NULL;
    job->begin_ns = kvs_now_ns();
    for (uint64_t layer = 0;; layer++) {
        int64_t start_ns, now_ns;
        if (first)
            atomic_store(&crew->next, 0);
        pthread_barrier_wait(&crew->barrier);
        start_ns = now_ns = kvs_now_ns();
        while (!job->err.code && atomic_fetch_add(&crew->next, 1) < job->point->n_descriptor)
            (void)!one_io(job, kvs_disk_section_at(job, layer), false, &now_ns);
        if (job->err.code || kvs_disk_is_stopped(job))
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

enum kvs_code kvs_disk_threads(struct kvs_disk_job *job, unsigned n, struct kvs_err *err)
{
    struct kvs_disk_crew crew = {.job = job, .n = n};
    pthread_barrier_init(&crew.barrier, NULL, n);
    atomic_init(&crew.go, 0);
    atomic_init(&crew.next, 0);
    atomic_init(&crew.over, false);
    for (unsigned i = 0; i < n; i++)
        job[i].crew = &crew;
    unsigned n_started =
        kvs_disk_start(job, n, job->point->n_descriptor ? thread_load : thread_stream);
    /* a crew that is short of hands would wait at its barrier for ever */
    atomic_store(&crew.go, n_started < n ? -1 : 1);
    kvs_disk_join(job, n_started);
    pthread_barrier_destroy(&crew.barrier);
    return n_started == n ? KVS_OK : kvs_fail(err, KVS_ERR_IO, "cannot start %u threads", n);
}
