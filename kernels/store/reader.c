/* reader.c - reads in flight, those that wait for a place, and those that the rate holds back. */
#include "place.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GRACE_NS 100000000 /* for reads that were given up: most can be called back */

struct queue {
    struct kvs_read *first, *last;
};

struct kvs_reader {
    struct kvs_reader_opt opt;
    const struct kvs_path_ops *ops;
    void *path;
    char why[200]; /* the other path was absent; or empty */
    char how[256];
    struct queue waiting;  /* for a place */
    struct kvs_read *done; /* by free_ns; not yet back */
    uint32_t n_flying, n_pending;
    int64_t moved_ns; /* something in flight has ended, or was the first in flight */
    bool hangs;
    double free_ns;  /* when the pipe is */
    int64_t zero_ns; /* what free_ns counts from: a double is exact to far below a ns */
};

static enum kvs_code new_path(struct kvs_reader *reader, const struct kvs_store *store,
                              struct kvs_err *err)
{
    const struct kvs_store_ops *kind = kvs_store_ops(store);
    struct kvs_err first = {0};

    reader->ops = kind->path;
    enum kvs_code code =
        reader->ops->new_path(kvs_store_at(store), &reader->opt, &reader->path, &first);
    if (code == KVS_ERR_ABSENT && kind->other_path) {
        snprintf(reader->why, sizeof reader->why, ": %.190s", first.msg);
        reader->ops = kind->other_path;
        return reader->ops->new_path(kvs_store_at(store), &reader->opt, &reader->path, err);
    }
    return code ? kvs_fail(err, code, "%s", first.msg) : KVS_OK;
}

enum kvs_code kvs_reader_new(struct kvs_store *store, const struct kvs_reader_opt *opt,
                             struct kvs_reader **result, struct kvs_err *err)
{
    *result = NULL;
    if (opt->depth < 1 || opt->depth > 1024)
        return kvs_fail(err, KVS_ERR_ARG, "depth of reads: found %u, want 1 to 1024", opt->depth);
    if (!(opt->bytes_per_s >= 0) || !isfinite(opt->bytes_per_s))
        return kvs_fail(err, KVS_ERR_ARG, "rate of reads: found %g bytes/s, want 0 or more",
                        opt->bytes_per_s);
    struct kvs_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return kvs_nomem(err);
    reader->opt = *opt;
    if (reader->opt.timeout_ns <= 0)
        reader->opt.timeout_ns = 5000000000;
    reader->zero_ns = kvs_store_now_ns();
    enum kvs_code code = new_path(reader, store, err);
    if (code) {
        free(reader);
        return code;
    }
    *result = reader;
    return KVS_OK;
}

bool kvs_reader_free(struct kvs_reader *reader)
{
    if (!reader)
        return true;
    bool ended =
        reader->ops->free_path(reader->path, reader->hangs ? GRACE_NS : reader->opt.timeout_ns);
    free(reader);
    return ended;
}

const char *kvs_reader_how(struct kvs_reader *reader)
{
    snprintf(reader->how, sizeof reader->how, "%s%s", reader->ops->how(reader->path), reader->why);
    return reader->how;
}

uint32_t kvs_reader_n_pending(const struct kvs_reader *reader)
{
    return reader->n_pending;
}

static void push(struct queue *queue, struct kvs_read *read)
{
    read->next = NULL;
    if (queue->first)
        queue->last->next = read;
    else
        queue->first = read;
    queue->last = read;
}

/* Into done, after those that come back at the same time or before. */
static void put_done(struct kvs_reader *reader, struct kvs_read *read)
{
    struct kvs_read **at = &reader->done;

    while (*at && (*at)->free_ns <= read->free_ns)
        at = &(*at)->next;
    read->next = *at;
    *at = read;
}

static void start(struct kvs_reader *reader)
{
    while (reader->waiting.first && reader->n_flying < reader->opt.depth) {
        struct kvs_read *read = reader->waiting.first;
        reader->waiting.first = read->next;
        if (reader->hangs) {
            read->error = ETIMEDOUT;
            read->code = KVS_ERR_IO;
            put_done(reader, read);
        } else if (reader->ops->start(reader->path, read)) {
            if (reader->n_flying++ == 0)
                reader->moved_ns = kvs_store_now_ns();
        } else {
            read->code = KVS_ERR_IO;
            put_done(reader, read);
        }
    }
}

/* Nothing has moved for too long: what is in flight is given up, and so is what waits. */
static void give_up(struct kvs_reader *reader)
{
    struct kvs_read *read;

    assert(reader->ops->abandon);
    reader->hangs = true;
    while ((read = reader->ops->abandon(reader->path))) {
        reader->n_flying--;
        read->error = ETIMEDOUT;
        read->code = KVS_ERR_IO;
        read->free_ns = 0; /* now, whatever the rate */
        put_done(reader, read);
    }
    assert(reader->n_flying == 0);
    start(reader);
}

/* The pipe's time for the read; failed reads have passed it too. */
static int64_t pass_pipe(struct kvs_reader *reader, const struct kvs_read *read)
{
    double now = (double)(read->begin_ns - reader->zero_ns);

    if (reader->opt.bytes_per_s == 0)
        return 0;
    if (reader->free_ns < now)
        reader->free_ns = now;
    reader->free_ns += (double)read->n_byte * 1e9 / reader->opt.bytes_per_s;
    return reader->zero_ns + (int64_t)ceil(reader->free_ns);
}

void kvs_reader_submit(struct kvs_reader *reader, struct kvs_read *read)
{
    assert(read->n_byte > 0 && kvs_store_aligned(read->at_bytes) &&
           kvs_store_aligned(read->n_byte) && kvs_store_aligned((uintptr_t)read->to));
    read->code = KVS_OK;
    read->error = 0;
    read->n_done = 0;
    read->begin_ns = kvs_store_now_ns();
    read->free_ns = pass_pipe(reader, read);
    reader->n_pending++;
    push(&reader->waiting, read);
    start(reader);
}

static void sleep_until(int64_t until_ns)
{
    struct timespec at = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

struct kvs_read *kvs_reader_wait(struct kvs_reader *reader, int64_t until_ns)
{
    while (reader->n_pending > 0) {
        int64_t now = kvs_store_now_ns(), wake = until_ns;
        struct kvs_read *read = reader->done;
        if (read && read->free_ns <= now) {
            reader->done = read->next;
            reader->n_pending--;
            read->end_ns = now;
            return read;
        }
        if (read && read->free_ns < wake)
            wake = read->free_ns;
        if (reader->n_flying > 0) {
            int64_t late =
                reader->ops->abandon ? reader->moved_ns + reader->opt.timeout_ns : INT64_MAX;
            read = reader->ops->poll(reader->path, wake < late ? wake : late);
            if (read) {
                reader->moved_ns = kvs_store_now_ns();
                reader->n_flying--;
                put_done(reader, read);
                start(reader);
                continue;
            }
            if (kvs_store_now_ns() >= late) {
                give_up(reader);
                continue;
            }
        } else if (wake > now) {
            sleep_until(wake);
        }
        if (wake == until_ns && kvs_store_now_ns() >= until_ns)
            return NULL;
    }
    return NULL;
}

enum kvs_code kvs_read_error(const struct kvs_read *read, struct kvs_err *err)
{
    unsigned long long first = read->at_bytes, last = read->at_bytes + read->n_byte - 1;

    if (!read->code)
        return KVS_OK;
    if (read->error == 0)
        return kvs_fail(err, read->code, "%s: bytes %llu to %llu: it ends at %llu",
                        kvs_stored_name(read->block), first, last, first + read->n_done);
    if (read->error == ETIMEDOUT)
        return kvs_fail(err, read->code, "%s: bytes %llu to %llu: timed out, no answer",
                        kvs_stored_name(read->block), first, last);
    return kvs_fail(err, read->code, "%s: bytes %llu to %llu: %s", kvs_stored_name(read->block),
                    first, last, strerror(read->error));
}
