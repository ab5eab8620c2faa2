/*
 * PGDSF of RAGCache (Jin, Zhang, Jiang, Liu, Liu, Liu, Jin: RAGCache, 2024, section 5.1): GDSF
 * whose cost depends on the prefix before the block:
 *
 *     weight = clock + uses * mean over its misses of (recompute_s / n_bytes)
 *
 * Uses and misses count on when a block is evicted and comes back (RAGCache counts from the start
 * of service; here for as long as the block is among the last evicted, as many as are held). clock
 * is the highest weight that was evicted so far. RAGCache lets only leaves of its tree of prefixes
 * leave; keys have no tree here: who wants a prefix's end to leave first touches it from its end.
 */
#include "evict.h"
#include "ghost.h"
#include "heap.h"

struct past {
    uint32_t n_use, n_miss;
    double s_per_byte; /* the sum over misses */
};

struct pgdsf {
    struct kvs_heap heap;
    struct past *past; /* [slot] */
    struct kvs_ghost ghost;
    struct past recalled; /* of the key to be inserted next */
    double clock;
};

static bool pgdsf_init(struct kvs_evict *evict)
{
    struct pgdsf *pgdsf = evict->state;
    pgdsf->ghost.note_bytes = sizeof(struct past);
    return true;
}

static void pgdsf_end(struct kvs_evict *evict)
{
    struct pgdsf *pgdsf = evict->state;
    kvs_heap_free(&pgdsf->heap);
    kvs_ghost_free(&pgdsf->ghost);
    free(pgdsf->past);
}

static bool pgdsf_grow(struct kvs_evict *evict, uint32_t n_slot)
{
    struct pgdsf *pgdsf = evict->state;
    struct past *past = realloc(pgdsf->past, n_slot * sizeof *past);
    if (!past)
        return false;
    pgdsf->past = past;
    return kvs_heap_grow(&pgdsf->heap, n_slot) && kvs_ghost_grow(&pgdsf->ghost, n_slot);
}

static uint64_t priority(const struct kvs_evict *evict, uint32_t slot)
{
    const struct pgdsf *pgdsf = evict->state;
    const struct past *past = &pgdsf->past[slot];
    return kvs_heap_priority(pgdsf->clock + past->n_use * (past->s_per_byte / past->n_miss));
}

static void pgdsf_before_insert(struct kvs_evict *evict, uint64_t key)
{
    struct pgdsf *pgdsf = evict->state;
    pgdsf->recalled = (struct past){0};
    kvs_ghost_take(&pgdsf->ghost, key, &pgdsf->recalled);
}

static void pgdsf_insert(struct kvs_evict *evict, uint32_t slot)
{
    struct pgdsf *pgdsf = evict->state;
    struct past *past = &pgdsf->past[slot];
    *past = pgdsf->recalled;
    past->n_use++;
    past->n_miss++;
    past->s_per_byte += kvs_evict_s_per_byte(&evict->info[slot]);
    kvs_heap_add(&pgdsf->heap, slot, priority(evict, slot));
}

static void pgdsf_hit(struct kvs_evict *evict, uint32_t slot)
{
    struct pgdsf *pgdsf = evict->state;
    pgdsf->past[slot].n_use++;
    kvs_heap_set(&pgdsf->heap, slot, priority(evict, slot));
}

static uint32_t pgdsf_victim(struct kvs_evict *evict)
{
    const struct pgdsf *pgdsf = evict->state;
    return kvs_heap_min(&pgdsf->heap);
}

static void pgdsf_remove(struct kvs_evict *evict, uint32_t slot, enum kvs_leave why)
{
    struct pgdsf *pgdsf = evict->state;
    kvs_heap_remove(&pgdsf->heap, slot);
    if (why != KVS_LEAVE_EVICTED)
        return;
    double weight = kvs_heap_weight(&pgdsf->heap, slot);
    if (weight > pgdsf->clock)
        pgdsf->clock = weight;
    kvs_ghost_add(&pgdsf->ghost, evict->node[slot].key, evict->n_block, &pgdsf->past[slot]);
}

static void pgdsf_return(struct kvs_evict *evict, uint32_t slot)
{
    struct pgdsf *pgdsf = evict->state;
    kvs_heap_return(&pgdsf->heap, slot);
}

const struct kvs_evict_ops kvs_evict_pgdsf = {
    .name = "pgdsf",
    .help = "RAGCache's GDSF: fewest uses times mean seconds to recompute per byte first, aged",
    .state_bytes = sizeof(struct pgdsf),
    .init = pgdsf_init,
    .end = pgdsf_end,
    .grow = pgdsf_grow,
    .before_insert = pgdsf_before_insert,
    .on_insert = pgdsf_insert,
    .on_hit = pgdsf_hit,
    .victim = pgdsf_victim,
    .on_remove = pgdsf_remove,
    .on_return = pgdsf_return,
};
