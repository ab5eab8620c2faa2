/*
 * Seconds saved per byte, aged: GreedyDual-Size (Cao, Irani: Cost-aware WWW proxy caching
 * algorithms, USITS 1997) with the time to compute the block again as its cost:
 *
 *     weight = clock + recompute_s / n_bytes
 *
 * set anew at each use; clock is the highest weight that was evicted so far, so that a block unused
 * for long falls behind however dear it is. A block whose cost is not known counts one second.
 */
#include "evict.h"
#include "heap.h"

struct cost {
    struct kvs_heap heap;
    double clock;
};

static void cost_end(struct kvs_evict *evict)
{
    struct cost *cost = evict->state;
    kvs_heap_free(&cost->heap);
}

static bool cost_grow(struct kvs_evict *evict, uint32_t n_slot)
{
    struct cost *cost = evict->state;
    return kvs_heap_grow(&cost->heap, n_slot);
}

static uint64_t priority(const struct kvs_evict *evict, uint32_t slot)
{
    const struct cost *cost = evict->state;
    return kvs_heap_priority(cost->clock + kvs_evict_s_per_byte(&evict->info[slot]));
}

static void cost_insert(struct kvs_evict *evict, uint32_t slot)
{
    struct cost *cost = evict->state;
    kvs_heap_add(&cost->heap, slot, priority(evict, slot));
}

static void cost_hit(struct kvs_evict *evict, uint32_t slot)
{
    struct cost *cost = evict->state;
    kvs_heap_set(&cost->heap, slot, priority(evict, slot));
}

static uint32_t cost_victim(struct kvs_evict *evict)
{
    const struct cost *cost = evict->state;
    return kvs_heap_min(&cost->heap);
}

static void cost_remove(struct kvs_evict *evict, uint32_t slot, enum kvs_leave why)
{
    struct cost *cost = evict->state;
    double weight = kvs_heap_weight(&cost->heap, slot);
    if (why == KVS_LEAVE_EVICTED && weight > cost->clock)
        cost->clock = weight;
    kvs_heap_remove(&cost->heap, slot);
}

static void cost_return(struct kvs_evict *evict, uint32_t slot)
{
    struct cost *cost = evict->state;
    kvs_heap_return(&cost->heap, slot);
}

const struct kvs_evict_ops kvs_evict_cost = {
    .name = "cost",
    .help = "block that saves the fewest seconds per byte first, aged (GreedyDual-Size)",
    .state_bytes = sizeof(struct cost),
    .end = cost_end,
    .grow = cost_grow,
    .on_insert = cost_insert,
    .on_hit = cost_hit,
    .victim = cost_victim,
    .on_remove = cost_remove,
    .on_return = cost_return,
};
