/*
 * map.h - a hash map from 64-bit keys to 32-bit values: open addressing, backward-shift deletion.
 *
 * Iteration order is not offered, so that no result can depend on it. Any key is allowed. Key and
 * value lie side by side: a lookup in a table larger than the caches costs one miss, not two.
 */
#ifndef KVS_BASE_MAP_H
#define KVS_BASE_MAP_H

#include "prefetch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kvs_map_slot {
    uint64_t key;
    uint32_t val; /* UINT32_MAX: empty slot; so values are below it */
};

struct kvs_map {
    struct kvs_map_slot *slot;
    size_t mask, n; /* slots less one, a power of two; keys held */
};

/* Mixes 64 bits so that near keys fall far apart (the finaliser of MurmurHash3); one to one. */
static inline uint64_t kvs_mix64(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

/* Chains a block id onto the hash of all before it: the identity of a prefix. */
static inline uint64_t kvs_chain(uint64_t prefix, uint64_t id)
{
    return kvs_mix64(kvs_mix64(prefix + 0x9e3779b97f4a7c15ull) ^ id);
}

/* Room for about n_hint keys. false: no memory (and *map is empty, safe to free). */
bool kvs_map_init(struct kvs_map *map, size_t n_hint);
void kvs_map_free(struct kvs_map *map);

/* Where a search for key begins: Fibonacci hashing (Knuth, volume 3, section 6.4). */
static inline size_t kvs_map_home(const struct kvs_map *map, uint64_t key)
{
    return ((key ^ key >> 32) * 0x9e3779b97f4a7c15ull) >> 32 & map->mask;
}

/* The value's place, or NULL. Valid until the next insert or delete. */
static inline uint32_t *kvs_map_find(const struct kvs_map *map, uint64_t key)
{
    for (size_t i = kvs_map_home(map, key);; i = (i + 1) & map->mask) {
        struct kvs_map_slot *slot = &map->slot[i];
        if (slot->val == UINT32_MAX)
            return NULL;
        if (slot->key == key)
            return &slot->val;
    }
}

/* Asks for key's slot to be in cache soon: worth it some 100 ns before the find. */
static inline void kvs_map_prefetch(const struct kvs_map *map, uint64_t key)
{
    kvs_prefetch(&map->slot[kvs_map_home(map, key)]);
}

/* Finds key or inserts it with value val; *found says which. NULL: no memory. */
uint32_t *kvs_map_put(struct kvs_map *map, uint64_t key, uint32_t val, bool *found);
bool kvs_map_del(struct kvs_map *map, uint64_t key); /* true if it was there */

#endif
