/*
 * lookup.h - where the blocks of a prompt are held: the prefix index and the content index.
 *
 * Both are a look at each tier for each key, nearest tier first; they differ in what a key means
 * and in where the look ends:
 *
 *   prefix   a key stands for the block and all before it (a chained id, or kvs_chain over content
 *            ids); a block counts only if all before it are held somewhere, so it ends at the first
 *            that is held nowhere
 *   content  a key stands for the block's text; each block counts by itself
 *
 * Nothing is touched, pinned or allocated.
 */
#ifndef KVS_STORE_LOOKUP_H
#define KVS_STORE_LOOKUP_H

#include "tier.h"

enum kvs_lookup { KVS_LOOKUP_PREFIX, KVS_LOOKUP_CONTENT };

#define KVS_NOWHERE UINT32_MAX

struct kvs_place {
    uint32_t tier_i; /* the nearest tier that holds the block, or KVS_NOWHERE */
    uint32_t slot;   /* there, or KVS_NO_SLOT */
};

/*
 * place[i] for each of the prompt's keys in order; tier[0] is the nearest. Returns how many blocks
 * count: under KVS_LOOKUP_PREFIX they are the first ones, and place[] is KVS_NOWHERE from there on.
 */
size_t kvs_lookup(enum kvs_lookup mode, struct kvs_tier *const *tier, uint32_t n_tier,
                  const uint64_t *key, size_t n_key, struct kvs_place *place);

#endif
