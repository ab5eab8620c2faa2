/* threads.c - a folder's reads by threads and pread, where there is no io_uring. */
#include "place.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_THREAD = 16 };

struct crew {
    pthread_mutex_t lock;
    pthread_cond_t work, ended;
    struct kvs_read *first, *last;           /* to be read */
    struct kvs_read *done_first, *done_last; /* read */
    pthread_t thread[MAX_THREAD];
    unsigned n_thread;
    bool stop, buffered;
};

static void read_all(struct kvs_read *read)
{
    read->code = KVS_OK;
    while (read->n_done < read->n_byte) {
        ssize_t n = pread(read->block->fd, read->to + read->n_done, read->n_byte - read->n_done,
                          (off_t)(read->at_bytes + read->n_done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            read->error = n < 0 ? errno : 0;
            read->code = KVS_ERR_IO;
            return;
        }
        read->n_done += (size_t)n;
    }
}

static void *serve(void *arg)
{
    struct crew *crew = arg;

    pthread_mutex_lock(&crew->lock);
    for (;;) {
        while (!crew->first && !crew->stop)
            pthread_cond_wait(&crew->work, &crew->lock);
        struct kvs_read *read = crew->first;
        if (!read)
            break;
        crew->first = read->next;
        pthread_mutex_unlock(&crew->lock);
        read_all(read);
        pthread_mutex_lock(&crew->lock);
        read->next = NULL;
        if (crew->done_first)
            crew->done_last->next = read;
        else
            crew->done_first = read;
        crew->done_last = read;
        pthread_cond_signal(&crew->ended);
    }
    pthread_mutex_unlock(&crew->lock);
    return NULL;
}

static void crew_free(void *path)
{
    struct crew *crew = path;

    if (!crew)
        return;
    pthread_mutex_lock(&crew->lock);
    crew->stop = true;
    crew->first = NULL;
    pthread_cond_broadcast(&crew->work);
    pthread_mutex_unlock(&crew->lock);
    for (unsigned i = 0; i < crew->n_thread; i++)
        pthread_join(crew->thread[i], NULL);
    pthread_cond_destroy(&crew->ended);
    pthread_cond_destroy(&crew->work);
    pthread_mutex_destroy(&crew->lock);
    free(crew);
}

static enum kvs_code crew_new(void *at, const struct kvs_reader_opt *opt, void **path,
                              struct kvs_err *err)
{
    struct crew *crew = calloc(1, sizeof *crew);
    pthread_condattr_t clock;

    (void)at;
    *path = NULL;
    if (!crew)
        return kvs_nomem(err);
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->work, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&crew->ended, &clock);
    pthread_condattr_destroy(&clock);
    while (crew->n_thread < MAX_THREAD && crew->n_thread < opt->depth) {
        if (pthread_create(&crew->thread[crew->n_thread], NULL, serve, crew) != 0)
            break;
        crew->n_thread++;
    }
    if (crew->n_thread == 0) {
        crew_free(crew);
        return kvs_fail(err, KVS_ERR_IO, "no thread for reads");
    }
    *path = crew;
    return KVS_OK;
}

static bool crew_start(void *path, struct kvs_read *read)
{
    struct crew *crew = path;

    read->next = NULL;
    pthread_mutex_lock(&crew->lock);
    crew->buffered = crew->buffered || !read->block->direct;
    if (crew->first)
        crew->last->next = read;
    else
        crew->first = read;
    crew->last = read;
    pthread_cond_signal(&crew->work);
    pthread_mutex_unlock(&crew->lock);
    return true;
}

static struct kvs_read *crew_poll(void *path, int64_t until_ns)
{
    struct crew *crew = path;
    struct timespec limit = {until_ns / 1000000000, until_ns % 1000000000};
    int late = 0;

    pthread_mutex_lock(&crew->lock);
    while (!crew->done_first && !late)
        late = pthread_cond_timedwait(&crew->ended, &crew->lock, &limit);
    struct kvs_read *read = crew->done_first;
    if (read)
        crew->done_first = read->next;
    pthread_mutex_unlock(&crew->lock);
    return read;
}

static const char *crew_how(void *path)
{
    const struct crew *crew = path;

    return crew->buffered ? "threads, page cache" : "threads, O_DIRECT";
}

const struct kvs_path_ops kvs_path_threads = {crew_new, crew_free, crew_start, crew_poll, crew_how};
