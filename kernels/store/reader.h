/*
 * reader.h - parts of stored blocks, read while other work goes on: what a load is made of.
 *
 * Reads are handed over one by one and come back as they end, each with its own result: a failed
 * one says why and takes no other with it. From a folder they go by io_uring and O_DIRECT (or,
 * where the system has neither, as kvs_reader_how says), from Redis as pipelined GETRANGEs.
 *
 * With a rate the path is a pipe of that many bytes per second: a read handed over at time t begins
 * when the pipe is free, free = max(t, free) + n_byte / rate, and does not come back before that. A
 * lone flow's bytes thus arrive at known times, later only if the store itself is slower.
 *
 * Nothing moves unless somebody waits or hands over. A reader belongs to one thread.
 */
#ifndef KVS_STORE_READER_H
#define KVS_STORE_READER_H

#include "store.h"

struct kvs_reader; /* from kvs_reader_new, ended by kvs_reader_free */

struct kvs_reader_opt {
    uint32_t depth;     /* reads in flight at once, 1 to 1024; more wait their turn */
    double bytes_per_s; /* of the pipe; 0: as fast as it goes */
    /* when nothing in flight has ended for so long, all of it has failed, and all that follows; 0:
     * 5
     * s */
    int64_t timeout_ns;
    /* or NULL: memory that most reads go to, page-aligned: made known to the kernel once */
    uint8_t *pool;
    size_t pool_bytes;
};

/* A read; the caller's, and not touched by him from submit until it comes back. */
struct kvs_read {
    const struct kvs_stored *block;
    uint64_t at_bytes; /* as kvs_stored_range says: multiples of KVS_STORE_PAGE */
    size_t n_byte;
    uint8_t *to; /* likewise aligned; n_byte */
    void *user;  /* not looked at */

    /* --- the result --- */
    enum kvs_code code; /* KVS_OK: all of it is there; KVS_ERR_IO: see kvs_read_error */
    int error;          /* errno; 0: the file ended before */
    int64_t begin_ns;   /* CLOCK_MONOTONIC: handed over */
    int64_t end_ns;     /* came back, the rate's delay included */

    /* --- the reader's --- */
    struct kvs_read *next;
    int64_t free_ns; /* when the pipe has passed it */
    size_t n_done;
};

/* A store's own reader; the store must outlive it. */
KVS_MUST_CHECK enum kvs_code kvs_reader_new(struct kvs_store *store,
                                            const struct kvs_reader_opt *opt,
                                            struct kvs_reader **reader, struct kvs_err *err);
/* Waits for what is in flight, not for the rate; what has not come back never will, and its memory
 * is the caller's again. But false: a read never ended (a disk that hangs), so that the memory of
 * all may still be written: it must not be used again, or given back. Accepts NULL. */
bool kvs_reader_free(struct kvs_reader *reader);
/* "io_uring, O_DIRECT", "threads, page cache: no io_uring: ...", "redis". */
const char *kvs_reader_how(struct kvs_reader *reader);

/* Hands a read over; what is wrong with it comes back with it. */
void kvs_reader_submit(struct kvs_reader *reader, struct kvs_read *read);
/*
 * The next read that has ended, in the order of ends. NULL: none until until_ns (CLOCK_MONOTONIC;
 * 0: don't wait; INT64_MAX: for ever, which timeout_ns bounds), or none is under way.
 */
struct kvs_read *kvs_reader_wait(struct kvs_reader *reader, int64_t until_ns);
uint32_t kvs_reader_n_pending(const struct kvs_reader *reader); /* handed over, not back */

/* A sentence about a read that failed: "STORE/ab/ab..raw16.kvf: bytes 8192 to 16383: ...". */
enum kvs_code kvs_read_error(const struct kvs_read *read, struct kvs_err *err);

#endif
