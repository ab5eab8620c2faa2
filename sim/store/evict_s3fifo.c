/*
 * S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: FIFO queues are all you need for cache eviction, SOSP
 * 2023).
 *
 * A small queue, a tenth of the bytes, takes what is new; what was used twice or more there goes on
 * to the main queue, the rest is evicted and its key remembered in the ghost queue, for nine tenths
 * as many keys as there are blocks. What comes back while remembered enters the main queue, whose
 * blocks get one more round for each use, at most three. Details where the paper leaves them open
 * are those of libCacheSim's S3FIFO: until the first eviction what overflows the small queue goes
 * to the main one, and the ghost is asked before room is made.
 */
#include "evict.h"
#include "ghost.h"

enum { SMALL, MAIN };

struct s3fifo {
    struct kvs_list list[2];
    uint64_t list_bytes[2];
    struct kvs_ghost ghost;
    bool from_ghost, has_evicted;
};

static bool s3fifo_init(struct kvs_evict *evict)
{
    struct s3fifo *s3 = evict->state;
    s3->list[SMALL] = s3->list[MAIN] = kvs_list_empty();
    return true;
}

static void s3fifo_end(struct kvs_evict *evict)
{
    struct s3fifo *s3 = evict->state;
    kvs_ghost_free(&s3->ghost);
}

static uint32_t ghost_limit(uint32_t n_block)
{
    return (uint32_t)((uint64_t)n_block * 9 / 10);
}

static bool s3fifo_grow(struct kvs_evict *evict, uint32_t n_slot)
{
    struct s3fifo *s3 = evict->state;
    return kvs_ghost_grow(&s3->ghost, ghost_limit(n_slot));
}

static void push(struct kvs_evict *evict, uint32_t slot, unsigned queue, unsigned count)
{
    struct s3fifo *s3 = evict->state;
    evict->node[slot].queue = queue & 3;
    evict->node[slot].count = count & 3;
    kvs_list_push_head(&s3->list[queue], evict->node, slot);
    s3->list_bytes[queue] += evict->info[slot].n_bytes;
}

static void take(struct kvs_evict *evict, uint32_t slot)
{
    struct s3fifo *s3 = evict->state;
    unsigned queue = evict->node[slot].queue;
    kvs_list_remove(&s3->list[queue], evict->node, slot);
    s3->list_bytes[queue] -= evict->info[slot].n_bytes;
}

static void s3fifo_before_insert(struct kvs_evict *evict, uint64_t key)
{
    struct s3fifo *s3 = evict->state;
    s3->from_ghost = kvs_ghost_take(&s3->ghost, key, NULL);
}

static void s3fifo_insert(struct kvs_evict *evict, uint32_t slot)
{
    struct s3fifo *s3 = evict->state;
    bool filling = !s3->has_evicted && s3->list_bytes[SMALL] >= evict->room_bytes / 10;
    push(evict, slot, s3->from_ghost || filling ? MAIN : SMALL, 0);
    s3->from_ghost = false;
}

static void s3fifo_hit(struct kvs_evict *evict, uint32_t slot)
{
    if (evict->node[slot].count < 3)
        evict->node[slot].count++;
}

/* The main queue's next, after those used since they came up last had their further round. */
static uint32_t main_victim(struct kvs_evict *evict)
{
    struct s3fifo *s3 = evict->state;
    uint32_t slot;
    while ((slot = s3->list[MAIN].tail) != KVS_NIL && evict->node[slot].count > 0) {
        unsigned count = evict->node[slot].count - 1U;
        take(evict, slot);
        push(evict, slot, MAIN, count);
    }
    return slot;
}

/* The small queue's next, after those used twice or more went on; KVS_NIL if all did. */
static uint32_t small_victim(struct kvs_evict *evict)
{
    struct s3fifo *s3 = evict->state;
    uint32_t slot;
    while ((slot = s3->list[SMALL].tail) != KVS_NIL && evict->node[slot].count > 1) {
        take(evict, slot);
        push(evict, slot, MAIN, 0);
    }
    return slot;
}

static uint32_t s3fifo_victim(struct kvs_evict *evict)
{
    struct s3fifo *s3 = evict->state;
    s3->has_evicted = true;
    uint64_t main_bytes = evict->room_bytes - evict->room_bytes / 10;
    uint32_t slot = KVS_NIL;
    if (s3->list_bytes[MAIN] <= main_bytes)
        slot = small_victim(evict);
    if (slot == KVS_NIL)
        slot = main_victim(evict);
    if (slot == KVS_NIL)
        slot = small_victim(evict);
    return slot;
}

static void s3fifo_remove(struct kvs_evict *evict, uint32_t slot, enum kvs_leave why)
{
    struct s3fifo *s3 = evict->state;
    take(evict, slot);
    if (why == KVS_LEAVE_EVICTED && evict->node[slot].queue == SMALL)
        kvs_ghost_add(&s3->ghost, evict->node[slot].key, ghost_limit(evict->n_block), NULL);
}

/* Somebody needed it until now, which is worth a round in the main queue. */
static void s3fifo_return(struct kvs_evict *evict, uint32_t slot)
{
    push(evict, slot, MAIN, evict->node[slot].count);
}

const struct kvs_evict_ops kvs_evict_s3fifo = {
    .name = "s3fifo",
    .help = "S3-FIFO: small queue for the new, main queue for the proven, ghosts of the evicted",
    .state_bytes = sizeof(struct s3fifo),
    .init = s3fifo_init,
    .end = s3fifo_end,
    .grow = s3fifo_grow,
    .before_insert = s3fifo_before_insert,
    .on_insert = s3fifo_insert,
    .on_hit = s3fifo_hit,
    .victim = s3fifo_victim,
    .on_remove = s3fifo_remove,
    .on_return = s3fifo_return,
};
