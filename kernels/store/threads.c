/* threads.c - a folder's reads by threads and pread, where there is no io_uring. */
#include "place.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_THREAD = 16 };

/* A read, and what its thread works on; for a thread that hangs outlives the read. */
struct job {
    struct kvs_read *read; /* NULL: given up */
    struct job *next;      /* to be read, or read */
    int fd, error;
    uint8_t *to;
    uint64_t at_bytes;
    size_t n_byte, n_done;
};

struct crew {
    pthread_mutex_t lock;
    pthread_cond_t work, ended;
    struct job *first, *last;           /* to be read */
    struct job *done_first, *done_last; /* read */
    struct job **flying;                /* [depth] from start to poll; NULL: free */
    unsigned depth;
    pthread_t thread[MAX_THREAD];
    unsigned n_thread, n_alive;
    bool stop, buffered;
    bool orphan; /* the last thread frees it */
};

/* All of it, unless it was given up; the lock is held, but not while reading. */
static void read_all(struct crew *crew, struct job *job)
{
    while (job->read && job->n_done < job->n_byte) {
        pthread_mutex_unlock(&crew->lock);
        ssize_t n = pread(job->fd, job->to + job->n_done, job->n_byte - job->n_done,
                          (off_t)(job->at_bytes + job->n_done));
        int error = n < 0 ? errno : 0;
        pthread_mutex_lock(&crew->lock);
        if (n < 0 && error == EINTR)
            continue;
        job->error = error;
        if (n <= 0)
            return;
        job->n_done += (size_t)n;
    }
}

static void destroy(struct crew *crew)
{
    for (struct job *job = crew->done_first, *next; job; job = next) {
        next = job->next;
        free(job);
    }
    pthread_cond_destroy(&crew->work);
    pthread_cond_destroy(&crew->ended);
    pthread_mutex_destroy(&crew->lock);
    free(crew->flying);
    free(crew);
}

static void *serve(void *arg)
{
    struct crew *crew = arg;

    pthread_mutex_lock(&crew->lock);
    for (;;) {
        while (!crew->first && !crew->stop)
            pthread_cond_wait(&crew->work, &crew->lock);
        struct job *job = crew->first;
        if (!job)
            break;
        crew->first = job->next;
        read_all(crew, job);
        if (!job->read) {
            free(job);
            continue;
        }
        job->next = NULL;
        if (crew->done_first)
            crew->done_last->next = job;
        else
            crew->done_first = job;
        crew->done_last = job;
        pthread_cond_signal(&crew->ended);
    }
    bool last = --crew->n_alive == 0 && crew->orphan;
    pthread_cond_signal(&crew->ended);
    pthread_mutex_unlock(&crew->lock);
    if (last)
        destroy(crew);
    return NULL;
}

static struct kvs_read *crew_abandon(void *path)
{
    struct crew *crew = path;
    struct kvs_read *read = NULL;

    pthread_mutex_lock(&crew->lock);
    for (unsigned i = 0; i < crew->depth && !read; i++) {
        if (!crew->flying[i])
            continue;
        read = crew->flying[i]->read;
        crew->flying[i]->read = NULL; /* its thread frees it */
        crew->flying[i] = NULL;
    }
    /* one that had ended by itself has no thread any more */
    for (struct job **at = &crew->done_first, *before = NULL; *at;) {
        struct job *job = *at;
        if (job->read) {
            before = job;
            at = &job->next;
            continue;
        }
        *at = job->next;
        crew->done_last = before;
        free(job);
    }
    pthread_mutex_unlock(&crew->lock);
    return read;
}

/* true if all threads have ended, within that time. */
static bool wait_for_all(struct crew *crew, int64_t patience_ns)
{
    int64_t until_ns = kvs_store_now_ns() + patience_ns;
    struct timespec limit = {until_ns / 1000000000, until_ns % 1000000000};
    int late = 0;

    while (crew->n_alive > 0 && !late)
        late = pthread_cond_timedwait(&crew->ended, &crew->lock, &limit);
    return crew->n_alive == 0;
}

static bool crew_free(void *path, int64_t patience_ns)
{
    struct crew *crew = path;

    if (!crew)
        return true;
    pthread_mutex_lock(&crew->lock);
    crew->stop = true;
    for (unsigned i = 0; i < crew->depth; i++)
        if (crew->flying[i])
            crew->flying[i]->read = NULL; /* a thread that hangs looks at nobody's read */
    while (crew->first) {
        struct job *job = crew->first;
        crew->first = job->next;
        free(job);
    }
    pthread_cond_broadcast(&crew->work);
    bool all = wait_for_all(crew, patience_ns);
    for (unsigned i = 0; i < crew->n_thread && !all; i++)
        pthread_detach(crew->thread[i]);
    crew->orphan = !all;
    pthread_mutex_unlock(&crew->lock);
    if (!all)
        return false;
    for (unsigned i = 0; i < crew->n_thread; i++)
        pthread_join(crew->thread[i], NULL);
    destroy(crew);
    return true;
}

static enum kvs_code crew_new(void *at, const struct kvs_reader_opt *opt, void **path,
                              struct kvs_err *err)
{
    struct crew *crew = calloc(1, sizeof *crew);
    pthread_condattr_t clock;

    (void)at;
    *path = NULL;
    if (crew)
        crew->flying = calloc(opt->depth, sizeof(struct job *));
    if (!crew || !crew->flying) {
        free(crew);
        return kvs_nomem(err);
    }
    crew->depth = opt->depth;
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->work, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&crew->ended, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_lock(&crew->lock);
    while (crew->n_thread < MAX_THREAD && crew->n_thread < opt->depth) {
        if (pthread_create(&crew->thread[crew->n_thread], NULL, serve, crew) != 0)
            break;
        crew->n_alive = ++crew->n_thread;
    }
    pthread_mutex_unlock(&crew->lock);
    if (crew->n_thread == 0) {
        (void)crew_free(crew, 0); /* there is none to wait for */
        return kvs_fail(err, KVS_ERR_IO, "no thread for reads");
    }
    *path = crew;
    return KVS_OK;
}

static bool crew_start(void *path, struct kvs_read *read)
{
    struct crew *crew = path;
    struct job *job = malloc(sizeof *job);
    unsigned i = 0;

    if (!job) {
        read->error = ENOMEM;
        return false;
    }
    *job = (struct job){.read = read,
                        .fd = read->block->fd,
                        .to = read->to,
                        .at_bytes = read->at_bytes,
                        .n_byte = read->n_byte};
    pthread_mutex_lock(&crew->lock);
    crew->buffered = crew->buffered || !read->block->direct;
    while (crew->flying[i]) /* at most depth are in flight */
        i++;
    crew->flying[i] = job;
    if (crew->first)
        crew->last->next = job;
    else
        crew->first = job;
    crew->last = job;
    pthread_cond_signal(&crew->work);
    pthread_mutex_unlock(&crew->lock);
    return true;
}

static struct kvs_read *crew_poll(void *path, int64_t until_ns)
{
    struct crew *crew = path;
    struct timespec limit = {until_ns / 1000000000, until_ns % 1000000000};
    struct kvs_read *read = NULL;
    int late = 0;

    pthread_mutex_lock(&crew->lock);
    while (!crew->done_first && !late)
        late = pthread_cond_timedwait(&crew->ended, &crew->lock, &limit);
    struct job *job = crew->done_first;
    if (job) {
        crew->done_first = job->next;
        for (unsigned i = 0; i < crew->depth; i++)
            crew->flying[i] = crew->flying[i] == job ? NULL : crew->flying[i];
        read = job->read;
        read->n_done = job->n_done;
        read->error = job->error;
        read->code = job->n_done == job->n_byte ? KVS_OK : KVS_ERR_IO;
        free(job);
    }
    pthread_mutex_unlock(&crew->lock);
    return read;
}

static const char *crew_how(void *path)
{
    const struct crew *crew = path;

    return crew->buffered ? "threads, page cache" : "threads, O_DIRECT";
}

const struct kvs_path_ops kvs_path_threads = {.new_path = crew_new,
                                              .free_path = crew_free,
                                              .start = crew_start,
                                              .poll = crew_poll,
                                              .abandon = crew_abandon,
                                              .how = crew_how};
