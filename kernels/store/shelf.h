/*
 * shelf.h - a store of bounded capacity: the simulator's own tier decides which block leaves.
 *
 * A shelf holds blocks of one tag. Who calls touch and put in the order in which the simulator
 * touches and inserts gets the same blocks held, one for one, under every eviction policy: it is
 * the same code (sim/store/tier.h). Bytes are counted as the caller says them, since a simulated
 * block has no padding.
 */
#ifndef KVS_STORE_SHELF_H
#define KVS_STORE_SHELF_H

#include "store.h"
#include "store/tier.h"

struct kvs_shelf; /* from kvs_shelf_new, ended by kvs_shelf_free */

/* The store must outlive it and hold nothing under the tag (KVS_ERR_ARG); nobody else puts or drops
 * such blocks meanwhile. */
KVS_MUST_CHECK enum kvs_code kvs_shelf_new(struct kvs_store *store, const char *tag,
                                           const struct kvs_evict_ops *evict,
                                           uint64_t capacity_bytes, struct kvs_shelf **shelf,
                                           struct kvs_err *err);
void kvs_shelf_free(struct kvs_shelf *shelf); /* the blocks stay; accepts NULL */

bool kvs_shelf_holds(const struct kvs_shelf *shelf, struct kvs_block_key key);
void kvs_shelf_touch(struct kvs_shelf *shelf, struct kvs_block_key key, int64_t now_ns); /* held */
/*
 * Makes room, dropping blocks, and stores one that is not held; info->n_bytes is what it counts.
 * *kept false: it can't fit, and nothing was dropped. After an error the block is not held.
 */
KVS_MUST_CHECK enum kvs_code kvs_shelf_put(struct kvs_shelf *shelf, struct kvs_block_key key,
                                           const uint8_t *file, size_t n_byte,
                                           const struct kvs_block_info *info, int64_t now_ns,
                                           bool *kept, struct kvs_err *err);
void kvs_shelf_stats(const struct kvs_shelf *shelf, struct kvs_tier_stats *stats);

#endif
