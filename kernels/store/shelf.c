/* shelf.c - the tier decides, the store follows. */
#include "shelf.h"

#include "base/map.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A tier's key is a block's first word; the second is kept here. */
struct kvs_shelf {
    struct kvs_store *store;
    char tag[KVS_TAG_MAX];
    struct kvs_tier *tier;
    struct kvs_map place; /* first word: where in word */
    uint64_t *word;       /* second words; of free places: the next free one */
    uint32_t n_word, room, free;
    struct kvs_block_key *leaving; /* [room]: evicted, not dropped yet */
    uint32_t n_leaving;
};

static const uint32_t none = UINT32_MAX;

static void leave(void *ctx, uint64_t key, const struct kvs_block_info *info)
{
    struct kvs_shelf *shelf = ctx;
    uint32_t place = *kvs_map_find(&shelf->place, key);

    (void)info;
    assert(shelf->n_leaving < shelf->room);
    shelf->leaving[shelf->n_leaving++] = (struct kvs_block_key){{key, shelf->word[place]}};
    shelf->word[place] = shelf->free;
    shelf->free = place;
    (void)kvs_map_del(&shelf->place, key);
}

enum kvs_code kvs_shelf_new(struct kvs_store *store, const char *tag,
                            const struct kvs_evict_ops *evict, uint64_t capacity_bytes,
                            struct kvs_shelf **result, struct kvs_err *err)
{
    struct kvs_store_entry *entry = NULL;
    size_t n = 0;

    *result = NULL;
    if (!kvs_tag_ok(tag))
        return kvs_fail(err, KVS_ERR_ARG, "\"%s\" is no tag", tag);
    struct kvs_shelf *shelf = calloc(1, sizeof *shelf);
    if (!shelf)
        return kvs_nomem(err);
    shelf->store = store;
    shelf->free = none;
    snprintf(shelf->tag, sizeof shelf->tag, "%s", tag);
    enum kvs_code code = kvs_map_init(&shelf->place, 64) ? KVS_OK : kvs_nomem(err);
    if (!code)
        code = kvs_tier_new(evict, capacity_bytes, leave, shelf, &shelf->tier, err);
    if (!code)
        code = kvs_store_list(store, &entry, &n, err);
    for (size_t i = 0; i < n && !code; i++)
        if (strcmp(entry[i].tag, tag) == 0)
            code = kvs_fail(err, KVS_ERR_ARG, "%s: holds blocks of tag %s, want none at the start",
                            kvs_store_place(store), tag);
    free(entry);
    if (code)
        kvs_shelf_free(shelf);
    else
        *result = shelf;
    return code;
}

void kvs_shelf_free(struct kvs_shelf *shelf)
{
    if (!shelf)
        return;
    kvs_tier_free(shelf->tier);
    kvs_map_free(&shelf->place);
    free(shelf->word);
    free(shelf->leaving);
    free(shelf);
}

bool kvs_shelf_holds(const struct kvs_shelf *shelf, struct kvs_block_key key)
{
    return kvs_tier_find(shelf->tier, key.word[0]) != KVS_NO_SLOT;
}

void kvs_shelf_touch(struct kvs_shelf *shelf, struct kvs_block_key key, int64_t now_ns)
{
    uint32_t slot = kvs_tier_find(shelf->tier, key.word[0]);

    assert(slot != KVS_NO_SLOT);
    kvs_tier_touch(shelf->tier, slot, now_ns);
}

/* A place for one more block; all that are held could leave at once. */
static bool have_place(struct kvs_shelf *shelf)
{
    if (shelf->free != none || shelf->n_word < shelf->room)
        return true;
    uint32_t room = shelf->room ? shelf->room * 2 : 64;
    uint64_t *word = realloc(shelf->word, room * sizeof *word);
    if (word)
        shelf->word = word;
    struct kvs_block_key *leaving = realloc(shelf->leaving, room * sizeof *leaving);
    if (leaving)
        shelf->leaving = leaving;
    if (!word || !leaving)
        return false;
    shelf->room = room;
    return true;
}

static bool note(struct kvs_shelf *shelf, struct kvs_block_key key)
{
    uint32_t place = shelf->free != none ? shelf->free : shelf->n_word;
    bool found;

    if (!kvs_map_put(&shelf->place, key.word[0], place, &found))
        return false;
    assert(!found);
    if (shelf->free != none)
        shelf->free = (uint32_t)shelf->word[place];
    else
        shelf->n_word++;
    shelf->word[place] = key.word[1];
    return true;
}

/* Out of the tier and of the map, as if it had never come. */
static void forget(struct kvs_shelf *shelf, struct kvs_block_key key, uint32_t slot)
{
    uint32_t place = *kvs_map_find(&shelf->place, key.word[0]);

    kvs_tier_remove(shelf->tier, slot);
    shelf->word[place] = shelf->free;
    shelf->free = place;
    (void)kvs_map_del(&shelf->place, key.word[0]);
}

enum kvs_code kvs_shelf_put(struct kvs_shelf *shelf, struct kvs_block_key key, const uint8_t *file,
                            size_t n_byte, const struct kvs_block_info *info, int64_t now_ns,
                            bool *kept, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;

    *kept = false;
    assert(!kvs_shelf_holds(shelf, key));
    if (!have_place(shelf))
        return kvs_nomem(err);
    uint32_t slot = kvs_tier_insert(shelf->tier, key.word[0], info, now_ns);
    if (slot != KVS_NO_SLOT && !note(shelf, key)) {
        kvs_tier_remove(shelf->tier, slot);
        slot = KVS_NO_SLOT;
        code = kvs_nomem(err);
    }
    while (shelf->n_leaving > 0) {
        struct kvs_block_key gone = shelf->leaving[--shelf->n_leaving];
        enum kvs_code dropped = kvs_store_drop(shelf->store, gone, shelf->tag, err);
        code = code ? code : dropped;
    }
    if (slot == KVS_NO_SLOT)
        return code;
    if (!code)
        code = kvs_store_put(shelf->store, key, shelf->tag, file, n_byte, NULL, err);
    if (code)
        forget(shelf, key, slot);
    *kept = !code;
    return code;
}

void kvs_shelf_stats(const struct kvs_shelf *shelf, struct kvs_tier_stats *stats)
{
    kvs_tier_stats(shelf->tier, stats);
}
