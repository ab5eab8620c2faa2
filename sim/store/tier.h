/*
 * tier.h - one level of the memory hierarchy that holds KV blocks.
 *
 * A tier owns a byte budget and the blocks resident in it. It knows nothing of requests or links;
 * evict.h says which block leaves. A block is a 64-bit key (what the key means is the caller's) and
 * a size. Slots are stable while a block is resident. Memory grows with the blocks held (under
 * lru, fifo, s3fifo and sieve at most 69 bytes each from 33,000 on), never with the capacity.
 */
#ifndef KVS_TIER_H
#define KVS_TIER_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVS_NO_SLOT UINT32_MAX

struct kvs_tier; /* from kvs_tier_new, ended by kvs_tier_free */
struct kvs_evict_ops;

/* What a policy may weigh a block by. Times are the simulator's clock. */
struct kvs_block_info {
    uint64_t n_bytes;
    float recompute_s; /* seconds it takes to compute it again at its position; 0 if not known */
    uint32_t pos_tok;  /* position of its first token in the prompt that brought it */
};

typedef void kvs_evicted_fn(void *ctx, uint64_t key, const struct kvs_block_info *info);

/* evicted (or NULL) is called for each block that leaves by eviction, before its slot is reused; it
 * may look at the tier, not change it. */
KVS_MUST_CHECK enum kvs_code kvs_tier_new(const struct kvs_evict_ops *evict,
                                          uint64_t capacity_bytes, kvs_evicted_fn *evicted,
                                          void *ctx, struct kvs_tier **tier, struct kvs_err *err);
void kvs_tier_free(struct kvs_tier *tier); /* accepts NULL */

uint32_t kvs_tier_find(const struct kvs_tier *tier,
                       uint64_t key); /* slot or KVS_NO_SLOT; changes nothing */
void kvs_tier_touch(struct kvs_tier *tier, uint32_t slot,
                    int64_t now_ns); /* a hit, as the policy sees it */
/* Brings what kvs_tier_find(key) reads first into the processor's cache; for keys known ahead. */
void kvs_tier_prefetch(const struct kvs_tier *tier, uint64_t key);
/*
 * Makes room by evicting unpinned blocks and inserts key, which must not be resident. KVS_NO_SLOT
 * if it can't fit (larger than the tier, or all else is pinned) - then nothing was evicted in vain
 * - or if memory ran out.
 */
uint32_t kvs_tier_insert(struct kvs_tier *tier, uint64_t key, const struct kvs_block_info *info,
                         int64_t now_ns);
/*
 * Says, after a block's insert or touch, when it is used next: any number that grows with time, as
 * the access's rank in the trace; UINT64_MAX (also what counts until told): never. Only Belady's
 * policy listens.
 */
void kvs_tier_expect(struct kvs_tier *tier, uint32_t slot, uint64_t next_use);
void kvs_tier_remove(struct kvs_tier *tier, uint32_t slot); /* not pinned; no eviction */
/* A pinned block is not evicted; pins count. */
void kvs_tier_pin(struct kvs_tier *tier, uint32_t slot);
void kvs_tier_unpin(struct kvs_tier *tier, uint32_t slot);
bool kvs_tier_pinned(const struct kvs_tier *tier, uint32_t slot);
/*
 * Bytes taken from the budget by what is no block (live requests' growing KV): evicts until they
 * fit. false if they can't; nothing was taken then. kvs_tier_release gives them back.
 */
KVS_MUST_CHECK bool kvs_tier_reserve(struct kvs_tier *tier, uint64_t n_bytes);
void kvs_tier_release(struct kvs_tier *tier, uint64_t n_bytes);

/*
 * Hit-rate mode: looks n keys up in order; a hit is touched, a miss inserted with *info. next_use
 * (or NULL) has kvs_tier_expect's number for each (future.h finds it). Returns the hits. A call
 * with many keys hides the cache misses of one behind the work on others.
 */
uint64_t kvs_tier_access(struct kvs_tier *tier, const uint64_t *key, size_t n,
                         const struct kvs_block_info *info, const uint64_t *next_use);

struct kvs_tier_stats {
    uint64_t capacity_bytes, used_bytes, pinned_bytes,
        reserved_bytes; /* used: blocks; pinned is part of used */
    uint64_t n_block, n_insert, n_evict, n_touch, n_refused;
    uint64_t insert_bytes, evict_bytes;
    uint64_t unused_bytes;       /* of used_bytes: blocks not touched since they came */
    uint64_t evict_unused_bytes; /* of evict_bytes: blocks that were never touched */
};
void kvs_tier_stats(const struct kvs_tier *tier, struct kvs_tier_stats *stats);
/* The first slot from `from` on that holds a block, or KVS_NO_SLOT: all blocks, one by one. */
uint32_t kvs_tier_next(const struct kvs_tier *tier, uint32_t from);
uint64_t kvs_tier_key(const struct kvs_tier *tier, uint32_t slot);
const struct kvs_block_info *kvs_tier_info(const struct kvs_tier *tier, uint32_t slot);

#endif
