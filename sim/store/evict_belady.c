/*
 * Belady's MIN (Belady 1966): the block whose next use is farthest leaves first. Only the future
 * can tell (kvs_tier_expect); a block of which nothing is told is never used again as far as this
 * goes, and among those the longest unused leaves first. With blocks of one size no policy that
 * stores every miss has more hits; with different sizes it is no bound.
 */
#include "evict.h"
#include "heap.h"

#define NEVER 0 /* the priority of what is used in UINT64_MAX: ~next_use */

static void belady_end(struct kvs_evict *evict)
{
    kvs_heap_free(evict->state);
}

static bool belady_grow(struct kvs_evict *evict, uint32_t n_slot)
{
    return kvs_heap_grow(evict->state, n_slot);
}

static void belady_insert(struct kvs_evict *evict, uint32_t slot)
{
    kvs_heap_add(evict->state, slot, NEVER);
}

static void belady_hit(struct kvs_evict *evict, uint32_t slot)
{
    kvs_heap_set(evict->state, slot, NEVER);
}

static void belady_expect(struct kvs_evict *evict, uint32_t slot, uint64_t next_use)
{
    kvs_heap_set(evict->state, slot, ~next_use);
}

static uint32_t belady_victim(struct kvs_evict *evict)
{
    return kvs_heap_min(evict->state);
}

static void belady_remove(struct kvs_evict *evict, uint32_t slot, enum kvs_leave why)
{
    (void)why;
    kvs_heap_remove(evict->state, slot);
}

static void belady_return(struct kvs_evict *evict, uint32_t slot)
{
    kvs_heap_return(evict->state, slot);
}

const struct kvs_evict_ops kvs_evict_belady = {
    .name = "belady",
    .help = "block whose next use is farthest first: the bound, needs the trace ahead",
    .state_bytes = sizeof(struct kvs_heap),
    .end = belady_end,
    .grow = belady_grow,
    .on_insert = belady_insert,
    .on_hit = belady_hit,
    .on_expect = belady_expect,
    .victim = belady_victim,
    .on_remove = belady_remove,
    .on_return = belady_return,
};
