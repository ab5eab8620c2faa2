/* store.c - what all kinds of stores share: heads, checks, lists. */
#include "place.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct kvs_store {
    char *place;
    const struct kvs_store_ops *ops;
    void *at;
};

enum { N_KIND = 2 };
static const struct kvs_store_ops *const kinds[N_KIND] = {&kvs_store_redis_ops, &kvs_store_dir_ops};

int64_t kvs_store_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

void *kvs_store_pages(size_t n_byte)
{
    void *pages;
    size_t n = (n_byte + KVS_STORE_PAGE - 1) / KVS_STORE_PAGE * KVS_STORE_PAGE;
    return posix_memalign(&pages, KVS_STORE_PAGE, n ? n : KVS_STORE_PAGE) == 0 ? pages : NULL;
}

void *kvs_store_at(const struct kvs_store *store)
{
    return store->at;
}

const struct kvs_store_ops *kvs_store_ops(const struct kvs_store *store)
{
    return store->ops;
}

const char *kvs_store_place(const struct kvs_store *store)
{
    return store->place;
}

enum kvs_code kvs_store_open(const char *place, const struct kvs_store_opt *opt,
                             struct kvs_store **result, struct kvs_err *err)
{
    static const struct kvs_store_opt none;
    struct kvs_store *store = calloc(1, sizeof *store);
    enum kvs_code code = KVS_OK;
    unsigned i = 0;

    *result = NULL;
    if (!store)
        return kvs_nomem(err);
    store->place = strdup(place);
    if (!store->place)
        code = kvs_nomem(err);
    while (!code && i + 1 < N_KIND &&
           strncmp(place, kinds[i]->prefix, strlen(kinds[i]->prefix)) != 0)
        i++;
    if (!code) {
        store->ops = kinds[i];
        code = store->ops->open(place + strlen(store->ops->prefix), opt ? opt : &none, &store->at,
                                err);
    }
    if (code)
        kvs_store_close(store);
    else
        *result = store;
    return code;
}

void kvs_store_close(struct kvs_store *store)
{
    if (!store)
        return;
    if (store->ops)
        store->ops->close(store->at);
    free(store->place);
    free(store);
}

/* --- one block ---------------------------------------------------------------------------------
 */

/* Is this the head of the block that its name says? */
static enum kvs_code check_owner(const char *name, const struct kvs_kvf *kvf,
                                 const struct kvs_block_key *key, enum kvs_code wrong,
                                 struct kvs_err *err)
{
    const struct kvs_kvf_shape *shape = kvs_kvf_shape(kvf);

    if (memcmp(shape->prefix_hash, key->word, sizeof key->word) != 0)
        return kvs_fail(err, wrong, "%s: holds another block: " KVS_KEY_FMT, name,
                        (unsigned long long)shape->prefix_hash[0],
                        (unsigned long long)shape->prefix_hash[1]);
    if (kvs_kvf_n_block(kvf) != 1)
        return kvs_fail(err, wrong, "%s: holds %u blocks, want 1", name, kvs_kvf_n_block(kvf));
    return KVS_OK;
}

static enum kvs_code name_of(const struct kvs_store *store, const struct kvs_block_key *key,
                             const char *tag, char **name, struct kvs_err *err)
{
    *name = NULL;
    if (!kvs_tag_ok(tag))
        return kvs_fail(err, KVS_ERR_ARG,
                        "tag: found \"%s\"; want 1 to %d lower-case letters, digits, '.' and '-'",
                        tag, KVS_TAG_MAX - 1);
    *name = store->ops->name(store->at, key, tag);
    return *name ? KVS_OK : kvs_nomem(err);
}

enum kvs_code kvs_store_put(struct kvs_store *store, struct kvs_block_key key, const char *tag,
                            const uint8_t *file, size_t n_byte, bool *there, struct kvs_err *err)
{
    struct kvs_kvf *kvf = NULL;
    bool ignored;
    char *name;
    enum kvs_code code = name_of(store, &key, tag, &name, err);

    there = there ? there : &ignored;
    *there = false;
    if (!code)
        code = kvs_kvf_parse(name, file, n_byte, n_byte, true, &kvf, err);
    if (!code)
        code = check_owner(name, kvf, &key, KVS_ERR_ARG, err);
    if (!code)
        code = store->ops->put(store->at, name, file, n_byte, there, err);
    kvs_kvf_close(kvf);
    free(name);
    return code;
}

/* The first page tells how long the head is, and most heads need few more. */
static enum kvs_code read_head(struct kvs_stored *block, struct kvs_err *err)
{
    enum { GUESS = 8 * KVS_STORE_PAGE };
    const struct kvs_store_ops *kind = block->store->ops;
    size_t have = block->n_byte < GUESS ? (size_t)block->n_byte : GUESS;

    if (block->n_byte == 0 || !kvs_store_aligned(block->n_byte))
        return kvs_fail(err, KVS_ERR_PARSE, "%s: has %llu bytes, want a multiple of %d",
                        block->name, (unsigned long long)block->n_byte, KVS_STORE_PAGE);
    block->head = kvs_store_pages(have);
    if (!block->head)
        return kvs_nomem(err);
    enum kvs_code code = kind->read(block->store->at, block, 0, have, block->head, err);
    size_t want = code ? 0 : kvs_kvf_head_bytes(block->head, have);
    if (!code && want > have && want <= block->n_byte) {
        free(block->head);
        have = want;
        block->head = kvs_store_pages(have);
        code = block->head ? kind->read(block->store->at, block, 0, have, block->head, err)
                           : kvs_nomem(err);
    }
    if (!code)
        code = kvs_kvf_parse(block->name, block->head, have, (size_t)block->n_byte, true,
                             &block->kvf, err);
    return code ? code : check_owner(block->name, block->kvf, &block->key, KVS_ERR_PARSE, err);
}

enum kvs_code kvs_store_find(struct kvs_store *store, struct kvs_block_key key, const char *tag,
                             struct kvs_stored **result, struct kvs_err *err)
{
    struct kvs_err local = {0};
    struct kvs_stored *block = calloc(1, sizeof *block);

    err = err ? err : &local;
    *result = NULL;
    if (!block)
        return kvs_nomem(err);
    block->store = store;
    block->key = key;
    block->fd = -1;
    enum kvs_code code = name_of(store, &key, tag, &block->name, err);
    if (!code) {
        snprintf(block->tag, sizeof block->tag, "%s", tag);
        code = store->ops->find(store->at, block, err);
    }
    bool held = block->held;
    if (!code && held)
        code = read_head(block, err);
    if (code || !held)
        kvs_stored_close(block);
    else
        *result = block;
    return code;
}

enum kvs_code kvs_store_drop(struct kvs_store *store, struct kvs_block_key key, const char *tag,
                             struct kvs_err *err)
{
    char *name;
    enum kvs_code code = name_of(store, &key, tag, &name, err);

    if (!code)
        code = store->ops->drop(store->at, name, err);
    free(name);
    return code;
}

void kvs_stored_close(struct kvs_stored *block)
{
    if (!block)
        return;
    kvs_kvf_close(block->kvf);
    if (block->fd >= 0)
        (void)close(block->fd);
    free(block->head);
    free(block->name);
    free(block);
}

const struct kvs_kvf *kvs_stored_kvf(const struct kvs_stored *block)
{
    return block->kvf;
}

const char *kvs_stored_name(const struct kvs_stored *block)
{
    return block->name;
}

void kvs_stored_range(const struct kvs_stored *block, uint32_t first, uint32_t n,
                      uint64_t *at_bytes, size_t *n_byte)
{
    assert(n > 0 && n <= kvs_kvf_n_section(block->kvf) &&
           first <= kvs_kvf_n_section(block->kvf) - n);
    struct kvs_section last = kvs_kvf_section(block->kvf, first + n - 1);
    uint64_t end = last.at_bytes + last.n_byte;

    *at_bytes = kvs_kvf_section(block->kvf, first).at_bytes;
    *n_byte = (size_t)((end + KVS_STORE_PAGE - 1) / KVS_STORE_PAGE * KVS_STORE_PAGE - *at_bytes);
}

enum kvs_code kvs_stored_read(const struct kvs_stored *block, uint32_t first, uint32_t n,
                              uint8_t **bytes, struct kvs_err *err)
{
    uint64_t at;
    size_t n_byte;
    enum kvs_code code;

    kvs_stored_range(block, first, n, &at, &n_byte);
    *bytes = kvs_store_pages(n_byte);
    if (!*bytes)
        return kvs_nomem(err);
    code = block->store->ops->read(block->store->at, block, at, n_byte, *bytes, err);
    if (code) {
        free(*bytes);
        *bytes = NULL;
    }
    return code;
}

/* --- all of them -------------------------------------------------------------------------------
 */

struct list {
    struct kvs_store_entry *entry;
    size_t n, room;
};

static enum kvs_code add_entry(void *ctx, const struct kvs_store_entry *entry, struct kvs_err *err)
{
    struct list *list = ctx;

    if (list->n == list->room) {
        size_t room = list->room ? list->room * 2 : 64;
        struct kvs_store_entry *more = realloc(list->entry, room * sizeof *more);
        if (!more)
            return kvs_nomem(err);
        list->entry = more;
        list->room = room;
    }
    list->entry[list->n++] = *entry;
    return KVS_OK;
}

static int by_key(const void *a, const void *b)
{
    const struct kvs_store_entry *x = a, *y = b;

    for (unsigned i = 0; i < 2; i++)
        if (x->key.word[i] != y->key.word[i])
            return x->key.word[i] < y->key.word[i] ? -1 : 1;
    return strcmp(x->tag, y->tag);
}

enum kvs_code kvs_store_list(struct kvs_store *store, struct kvs_store_entry **entry, size_t *n,
                             struct kvs_err *err)
{
    struct list list = {0};
    enum kvs_code code = store->ops->list(store->at, add_entry, &list, err);
    size_t n_unique = 0;

    *entry = NULL;
    *n = 0;
    if (code) {
        free(list.entry);
        return code;
    }
    if (list.n > 1)
        qsort(list.entry, list.n, sizeof *list.entry, by_key);
    for (size_t i = 0; i < list.n; i++) /* Redis may name a value twice */
        if (i == 0 || by_key(&list.entry[n_unique - 1], &list.entry[i]) != 0)
            list.entry[n_unique++] = list.entry[i];
    *entry = list.entry;
    *n = n_unique;
    return KVS_OK;
}

enum kvs_code kvs_store_verify(struct kvs_store *store, struct kvs_block_key key, const char *tag,
                               struct kvs_err *err)
{
    struct kvs_stored *block = NULL;
    uint8_t *bytes = NULL;
    uint16_t *out = NULL;
    uint64_t first_at = 0;
    enum kvs_code code = kvs_store_find(store, key, tag, &block, err);

    if (!code && !block)
        code = kvs_fail(err, KVS_ERR_ABSENT, "%s: block " KVS_KEY_FMT ".%s is not held",
                        store->place, KVS_KEY_ARG(&key), tag);
    assert(code || block);
    if (!code)
        code = kvs_stored_read(block, 0, kvs_kvf_n_section(block->kvf), &bytes, err);
    if (!code) {
        const struct kvs_kvf_shape *shape = kvs_kvf_shape(block->kvf);
        out = malloc((size_t)shape->n_tok * kvs_kvf_n_chan(shape) * sizeof *out);
        code = out ? KVS_OK : kvs_nomem(err);
        first_at = kvs_kvf_section(block->kvf, 0).at_bytes;
    }
    for (uint32_t i = 0; !code && i < kvs_kvf_n_section(block->kvf); i++) {
        uint64_t at = kvs_kvf_section(block->kvf, i).at_bytes - first_at;
        code = kvs_kvf_decode(block->kvf, i, bytes + at, kvs_kvf_isa(NULL), out,
                              kvs_kvf_n_chan(kvs_kvf_shape(block->kvf)), err);
    }
    free(bytes);
    free(out);
    kvs_stored_close(block);
    return code;
}
