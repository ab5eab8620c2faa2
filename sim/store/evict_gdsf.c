/*
 * GreedyDual-Size-Frequency (Cherkasova: Improving WWW proxies performance with
 * greedy-dual-size-frequency caching policy, HP Labs 1998), cost 1:
 *
 *     weight = clock + uses / n_bytes
 *
 * uses counted while resident; clock is the highest weight that was evicted so far.
 */
#include "evict.h"
#include "heap.h"

#include <stdlib.h>

struct gdsf {
    struct kvs_heap heap;
    uint32_t *n_use; /* [slot] */
    double clock;
};

static void gdsf_end(struct kvs_evict *evict)
{
    struct gdsf *gdsf = evict->state;
    kvs_heap_free(&gdsf->heap);
    free(gdsf->n_use);
}

static bool gdsf_grow(struct kvs_evict *evict, uint32_t n_slot)
{
    struct gdsf *gdsf = evict->state;
    uint32_t *n_use = realloc(gdsf->n_use, n_slot * sizeof *n_use);
    if (!n_use)
        return false;
    gdsf->n_use = n_use;
    return kvs_heap_grow(&gdsf->heap, n_slot);
}

static uint64_t priority(const struct kvs_evict *evict, uint32_t slot)
{
    const struct gdsf *gdsf = evict->state;
    uint64_t n_bytes = evict->info[slot].n_bytes;
    return kvs_heap_priority(gdsf->clock + gdsf->n_use[slot] / (double)(n_bytes ? n_bytes : 1));
}

static void gdsf_insert(struct kvs_evict *evict, uint32_t slot)
{
    struct gdsf *gdsf = evict->state;
    gdsf->n_use[slot] = 1;
    kvs_heap_add(&gdsf->heap, slot, priority(evict, slot));
}

static void gdsf_hit(struct kvs_evict *evict, uint32_t slot)
{
    struct gdsf *gdsf = evict->state;
    gdsf->n_use[slot]++;
    kvs_heap_set(&gdsf->heap, slot, priority(evict, slot));
}

static uint32_t gdsf_victim(struct kvs_evict *evict)
{
    const struct gdsf *gdsf = evict->state;
    return kvs_heap_min(&gdsf->heap);
}

static void gdsf_remove(struct kvs_evict *evict, uint32_t slot, enum kvs_leave why)
{
    struct gdsf *gdsf = evict->state;
    double weight = kvs_heap_weight(&gdsf->heap, slot);
    if (why == KVS_LEAVE_EVICTED && weight > gdsf->clock)
        gdsf->clock = weight;
    kvs_heap_remove(&gdsf->heap, slot);
}

static void gdsf_return(struct kvs_evict *evict, uint32_t slot)
{
    struct gdsf *gdsf = evict->state;
    kvs_heap_return(&gdsf->heap, slot);
}

const struct kvs_evict_ops kvs_evict_gdsf = {
    .name = "gdsf",
    .help = "GreedyDual-Size-Frequency: fewest uses per byte first, aged",
    .state_bytes = sizeof(struct gdsf),
    .end = gdsf_end,
    .grow = gdsf_grow,
    .on_insert = gdsf_insert,
    .on_hit = gdsf_hit,
    .victim = gdsf_victim,
    .on_remove = gdsf_remove,
    .on_return = gdsf_return,
};
