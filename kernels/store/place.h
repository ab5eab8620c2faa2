/*
 * place.h - what a kind of store must do; for kernels/store only, users include store.h, reader.h.
 *
 * One more kind: a file that defines a struct kvs_store_ops, and a line of `kinds` in store.c.
 */
#ifndef KVS_STORE_PLACE_H
#define KVS_STORE_PLACE_H

#include "reader.h"

struct kvs_stored {
    struct kvs_store *store;
    struct kvs_block_key key;
    char tag[KVS_TAG_MAX];
    char *name;      /* of the file or value */
    int fd;          /* a folder's; -1 */
    bool held;       /* there is such a file or value */
    bool direct;     /* fd goes past the page cache */
    uint64_t n_byte; /* of the file */
    uint8_t *head;   /* page-aligned */
    struct kvs_kvf *kvf;
};

/* What carries a reader's reads; it neither counts nor delays them. */
struct kvs_path_ops {
    enum kvs_code (*new_path)(void *at, const struct kvs_reader_opt *opt, void **path,
                              struct kvs_err *err);
    /* After what is in flight, for which it waits so long, then gives it up. false: something never
     * ended, so that its memory may be written at any time. Accepts NULL. */
    bool (*free_path)(void *path, int64_t patience_ns);
    /* Begins a read; false: it has failed, read->error says why. At most opt.depth are in flight.
     */
    bool (*start)(void *path, struct kvs_read *read);
    /* One that has ended, code and error set; NULL: none until until_ns. Some are in flight. */
    struct kvs_read *(*poll)(void *path, int64_t until_ns);
    /* Gives a read in flight up, whatever may still happen to its memory; NULL: none is left. The
     * whole function is NULL where the path has its own limit. */
    struct kvs_read *(*abandon)(void *path);
    const char *(*how)(void *path);
};

typedef enum kvs_code kvs_entry_fn(void *ctx, const struct kvs_store_entry *entry,
                                   struct kvs_err *err);

struct kvs_store_ops {
    const char *prefix; /* of its names: "redis:"; "" takes the rest */
    enum kvs_code (*open)(const char *where, const struct kvs_store_opt *opt, void **at,
                          struct kvs_err *err);
    void (*close)(void *at); /* accepts NULL */
    enum kvs_code (*put)(void *at, const char *name, const uint8_t *file, size_t n_byte,
                         bool *there, struct kvs_err *err);
    /* Sets held, n_byte, and a folder's fd and direct. */
    enum kvs_code (*find)(void *at, struct kvs_stored *block, struct kvs_err *err);
    /* Page-aligned bytes of a block, now. */
    enum kvs_code (*read)(void *at, const struct kvs_stored *block, uint64_t at_bytes,
                          size_t n_byte, uint8_t *to, struct kvs_err *err);
    enum kvs_code (*drop)(void *at, const char *name, struct kvs_err *err);
    enum kvs_code (*list)(void *at, kvs_entry_fn *each, void *ctx, struct kvs_err *err);
    /* A block's name in messages and in put, find, drop; the caller's to free, NULL: no memory. */
    char *(*name)(void *at, const struct kvs_block_key *key, const char *tag);
    const struct kvs_path_ops *path, *other_path; /* other: where path is absent; or NULL */
};
extern const struct kvs_store_ops kvs_store_dir_ops, kvs_store_redis_ops;

void *kvs_store_at(const struct kvs_store *store);
const struct kvs_store_ops *kvs_store_ops(const struct kvs_store *store);
extern const struct kvs_path_ops kvs_path_uring, kvs_path_threads;

/* KEY.TAG: 32 hex digits, a dot, a tag, n bytes in all. */
bool kvs_block_name_parse(const char *text, size_t n, struct kvs_block_key *key,
                          char tag[KVS_TAG_MAX]);
#define KVS_KEY_FMT "%016llx%016llx"
#define KVS_KEY_ARG(key) (unsigned long long)(key)->word[0], (unsigned long long)(key)->word[1]

int64_t kvs_store_now_ns(void); /* CLOCK_MONOTONIC */
/* Page-aligned memory of whole pages, free()d; NULL: none. */
void *kvs_store_pages(size_t n_byte);
static inline bool kvs_store_aligned(uint64_t n)
{
    return n % KVS_STORE_PAGE == 0;
}

#endif
