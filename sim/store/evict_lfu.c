/*
 * Least frequently used, counted while the block is resident; among equals the one whose last use
 * is oldest.
 */
#include "evict.h"
#include "heap.h"

static void lfu_end(struct kvs_evict *evict)
{
    kvs_heap_free(evict->state);
}

static bool lfu_grow(struct kvs_evict *evict, uint32_t n_slot)
{
    return kvs_heap_grow(evict->state, n_slot);
}

static void lfu_insert(struct kvs_evict *evict, uint32_t slot)
{
    kvs_heap_add(evict->state, slot, 1);
}

static void lfu_hit(struct kvs_evict *evict, uint32_t slot)
{
    struct kvs_heap *heap = evict->state;
    kvs_heap_set(heap, slot, heap->rank[slot].priority + 1);
}

static uint32_t lfu_victim(struct kvs_evict *evict)
{
    return kvs_heap_min(evict->state);
}

static void lfu_remove(struct kvs_evict *evict, uint32_t slot, enum kvs_leave why)
{
    (void)why;
    kvs_heap_remove(evict->state, slot);
}

static void lfu_return(struct kvs_evict *evict, uint32_t slot)
{
    kvs_heap_return(evict->state, slot);
}

const struct kvs_evict_ops kvs_evict_lfu = {
    .name = "lfu",
    .help = "least often used block first; ties by age",
    .state_bytes = sizeof(struct kvs_heap),
    .end = lfu_end,
    .grow = lfu_grow,
    .on_insert = lfu_insert,
    .on_hit = lfu_hit,
    .victim = lfu_victim,
    .on_remove = lfu_remove,
    .on_return = lfu_return,
};
