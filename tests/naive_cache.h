/*
 * naive_cache.h - eviction policies once more, written straight from their definitions with arrays
 * and linear searches, to hold sim/store against. Nothing is shared with it.
 *
 * Blocks of any size, no pins. Slow, and meant to be.
 */
#ifndef KVS_NAIVE_CACHE_H
#define KVS_NAIVE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct naive_cache; /* from naive_new, ended by naive_free */

/* NULL if there is no naive form of the policy. */
struct naive_cache *naive_new(const char *policy, uint64_t capacity_bytes);
void naive_free(struct naive_cache *cache);
/* One access: true if it hits; a miss is inserted. next_use is for belady; time is the count of
 * accesses. */
bool naive_access(struct naive_cache *cache, uint64_t key, uint64_t n_bytes, double recompute_s,
                  uint64_t next_use);

/* next[i] is the next place of key[i] after i, or UINT64_MAX. */
void naive_next_use(const uint64_t *key, size_t n, uint64_t *next);

#endif
