/*
 * map.h - a hash map from 64-bit keys to 32-bit values: open addressing, backward-shift deletion.
 *
 * Iteration order is not offered, so that no result can depend on it. Any key is allowed.
 */
#ifndef KVS_BASE_MAP_H
#define KVS_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kvs_map {
    uint64_t *key;
    uint32_t *val; /* UINT32_MAX: empty slot; so values are below it */
    size_t mask, n;
};

/* Mixes 64 bits so that near keys fall far apart (the finaliser of MurmurHash3). */
uint64_t kvs_mix64(uint64_t x);
/* Chains a block id onto the hash of all before it: the identity of a prefix. */
uint64_t kvs_chain(uint64_t prefix, uint64_t id);

/* Room for about n_hint keys. false: no memory (and *map is empty, safe to free). */
bool kvs_map_init(struct kvs_map *map, size_t n_hint);
void kvs_map_free(struct kvs_map *map);
/* The value's place, or NULL. Valid until the next insert or delete. */
uint32_t *kvs_map_find(const struct kvs_map *map, uint64_t key);
/* Finds key or inserts it with value val; *found says which. NULL: no memory. */
uint32_t *kvs_map_put(struct kvs_map *map, uint64_t key, uint32_t val, bool *found);
bool kvs_map_del(struct kvs_map *map, uint64_t key); /* true if it was there */

#endif
