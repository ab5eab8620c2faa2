/*
 * index.h - from key to slot, for tables whose keys lie in an array of the caller's.
 *
 * Open addressing with 4-byte entries: a slot in the low bits, in the top three how far the entry
 * lies from its key's home bucket (7: that far or farther), a tag of the key's hash between them.
 * So a search reads one line of the index and, where the tag fits, the caller's key; and a deletion
 * knows which entries to shift back without reading their keys, each of them a cache miss. kvs_map
 * keeps keys of its own and would take three times the memory and one more cache miss. A key is
 * found at ((const char *)keys + slot * stride). Inline, so that the stride is a constant.
 */
#ifndef KVS_STORE_INDEX_H
#define KVS_STORE_INDEX_H

#include "base/prefetch.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define KVS_INDEX_NONE UINT32_MAX /* an empty entry, and no bucket */

struct kvs_index {
    uint32_t *entry;
    uint32_t n_bucket, n_max, n; /* n_max: entries until it grows */
    uint32_t slot_mask;          /* slots are below it */
};

/* The array in which the keys of an index lie. */
struct kvs_keys {
    const void *base;
    size_t stride;
};

static inline uint64_t kvs_index_key(struct kvs_keys keys, uint32_t slot)
{
    uint64_t key;
    memcpy(&key, (const char *)keys.base + (size_t)slot * keys.stride, sizeof key);
    return key;
}

/*
 * Fibonacci hashing (Knuth, volume 3, section 6.4), of groups of keys: those that differ in their
 * lowest bits only have homes side by side. Ids given in order, as traces have them, then share
 * cache lines, and their groups fall nearly evenly; to keys that are hashes it makes no difference.
 */
enum { KVS_INDEX_GROUP = 4 };

static inline uint64_t kvs_index_hash(uint64_t key)
{
    uint64_t group = key / KVS_INDEX_GROUP;
    group = (group ^ group >> 32) * 0x9e3779b97f4a7c15ULL;
    return (group & ~(uint64_t)(KVS_INDEX_GROUP - 1)) | (key & (KVS_INDEX_GROUP - 1));
}

/* The home bucket comes from the hash's upper half (multiplied into range: Lemire 2019) and the
 * place in the group, the tag from the lower half. */
static inline uint32_t kvs_index_home(const struct kvs_index *index, uint64_t hash)
{
    uint32_t range = index->n_bucket - (KVS_INDEX_GROUP - 1);
    return (uint32_t)(((hash >> 32) * range) >> 32) + (uint32_t)(hash & (KVS_INDEX_GROUP - 1));
}

static inline uint32_t kvs_index_slot(const struct kvs_index *index, uint32_t bucket)
{
    return index->entry[bucket] & index->slot_mask;
}

enum { KVS_INDEX_FAR = 7, KVS_INDEX_SHIFT = 29 };
enum { KVS_INDEX_SMALL = 1 << 14 }; /* entries below which it grows twofold */
enum { KVS_INDEX_AHEAD = 48 };      /* buckets whose keys a rehash asks for ahead */

/* The tag of a hash, and how far from its home the entry with it lies. */
static inline uint32_t kvs_index_tag(const struct kvs_index *index, uint64_t hash)
{
    return (uint32_t)hash & ~index->slot_mask & (UINT32_MAX >> 3);
}

static inline uint32_t kvs_index_far(uint32_t distance)
{
    return (distance < KVS_INDEX_FAR ? distance : KVS_INDEX_FAR) << KVS_INDEX_SHIFT;
}

/* The bucket's key now lies at slot. */
static inline void kvs_index_move(struct kvs_index *index, uint32_t bucket, uint32_t slot)
{
    index->entry[bucket] = (index->entry[bucket] & ~index->slot_mask) | slot;
}

/* The bucket of key, or KVS_INDEX_NONE. */
static inline uint32_t kvs_index_find(const struct kvs_index *index, uint64_t key, uint64_t hash,
                                      struct kvs_keys keys)
{
    if (index->n == 0)
        return KVS_INDEX_NONE;
    uint32_t mask = index->slot_mask, tag = kvs_index_tag(index, hash);
    uint32_t bucket = kvs_index_home(index, hash), distance = 0;
    for (uint32_t entry; (entry = index->entry[bucket]) != KVS_INDEX_NONE; distance++) {
        if ((entry & ~mask) == (tag | kvs_index_far(distance)) &&
            kvs_index_key(keys, entry & mask) == key)
            return bucket;
        if (++bucket == index->n_bucket)
            bucket = 0;
    }
    return KVS_INDEX_NONE;
}

/* The bucket of the key that lies at slot and has this hash. */
static inline uint32_t kvs_index_bucket(const struct kvs_index *index, uint64_t hash, uint32_t slot)
{
    uint32_t bucket = kvs_index_home(index, hash);
    while (kvs_index_slot(index, bucket) != slot) {
        assert(index->entry[bucket] != KVS_INDEX_NONE);
        if (++bucket == index->n_bucket)
            bucket = 0;
    }
    return bucket;
}

/* Adds the key at slot, which is in no other; kvs_index_reserve made room. */
static inline void kvs_index_add(struct kvs_index *index, uint64_t hash, uint32_t slot,
                                 struct kvs_keys keys)
{
    assert(index->n < index->n_max && slot < index->slot_mask);
    uint32_t mask = index->slot_mask, tag = kvs_index_tag(index, hash);
    uint32_t bucket = kvs_index_home(index, hash), distance = 0;
    for (uint32_t entry; (entry = index->entry[bucket]) != KVS_INDEX_NONE; distance++) {
        assert((entry & ~mask) != (tag | kvs_index_far(distance)) ||
               kvs_index_key(keys, entry & mask) != kvs_index_key(keys, slot));
        if (++bucket == index->n_bucket)
            bucket = 0;
    }
    index->entry[bucket] = kvs_index_far(distance) | tag | slot;
    index->n++;
}

/* Empties a bucket and shifts back what its entry had displaced. */
static inline void kvs_index_del(struct kvs_index *index, uint32_t hole, struct kvs_keys keys)
{
    uint32_t n = index->n_bucket;
    for (uint32_t at = hole;;) {
        if (++at == n)
            at = 0;
        uint32_t entry = index->entry[at];
        if (entry == KVS_INDEX_NONE)
            break;
        uint32_t from_home = entry >> KVS_INDEX_SHIFT;
        if (from_home == KVS_INDEX_FAR) {
            uint64_t key = kvs_index_key(keys, entry & index->slot_mask);
            uint32_t home = kvs_index_home(index, kvs_index_hash(key));
            from_home = at >= home ? at - home : at + n - home;
        }
        uint32_t from_hole = at >= hole ? at - hole : at + n - hole;
        if (from_home >= from_hole) {
            index->entry[hole] = (entry & UINT32_MAX >> 3) | kvs_index_far(from_home - from_hole);
            hole = at;
        }
    }
    index->entry[hole] = KVS_INDEX_NONE;
    index->n--;
}

/*
 * Room for n entries, with slots below 2 * n. Grows by a quarter at least, twofold while small, to
 * a load of 0.5 at most. false: no memory, or over 2^28 entries; nothing changed then.
 */
static inline bool kvs_index_reserve(struct kvs_index *index, uint32_t n, struct kvs_keys keys)
{
    if (n <= index->n_max)
        return true;
    struct kvs_index grown = {.n_max = index->n_max +
                                       index->n_max / (index->n_max < KVS_INDEX_SMALL ? 1 : 4)};
    if (grown.n_max < n)
        grown.n_max = n;
    if (grown.n_max < 64)
        grown.n_max = 64;
    if (grown.n_max > 1u << 28)
        return false;
    grown.n_bucket = 2 * grown.n_max;
    grown.slot_mask = UINT32_MAX >> __builtin_clz(2 * grown.n_max);
    grown.entry = malloc(grown.n_bucket * sizeof *grown.entry);
    if (!grown.entry)
        return false;
    memset(grown.entry, 0xff, grown.n_bucket * sizeof *grown.entry);
    const char *base = keys.base;
    for (uint32_t bucket = 0; bucket < index->n_bucket; bucket++) {
        if (bucket + KVS_INDEX_AHEAD < index->n_bucket)
            kvs_prefetch(base + keys.stride * kvs_index_slot(index, bucket + KVS_INDEX_AHEAD));
        if (index->entry[bucket] != KVS_INDEX_NONE) {
            uint32_t slot = kvs_index_slot(index, bucket);
            kvs_index_add(&grown, kvs_index_hash(kvs_index_key(keys, slot)), slot, keys);
        }
    }
    free(index->entry);
    *index = grown;
    return true;
}

#endif
