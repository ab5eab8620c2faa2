/*
 * SIEVE (Zhang, Yang, Yue, Vigfusson, Rashmi: SIEVE is simpler than LRU, NSDI 2024).
 *
 * One queue in order of insertion; a hit marks the block. A hand goes from the oldest to the
 * youngest and round again, takes the marks off and stops at a block without one, which leaves.
 */
#include "evict.h"

struct sieve {
    struct kvs_list list;
    uint32_t hand; /* looked at next; KVS_NIL: the oldest */
};

static bool sieve_init(struct kvs_evict *evict)
{
    struct sieve *sieve = evict->state;
    sieve->list = kvs_list_empty();
    sieve->hand = KVS_NIL;
    return true;
}

static void sieve_insert(struct kvs_evict *evict, uint32_t slot)
{
    struct sieve *sieve = evict->state;
    evict->node[slot].count = 0;
    kvs_list_push_head(&sieve->list, evict->node, slot);
}

static void sieve_hit(struct kvs_evict *evict, uint32_t slot)
{
    evict->node[slot].count = 1;
}

static uint32_t sieve_victim(struct kvs_evict *evict)
{
    struct sieve *sieve = evict->state;
    uint32_t hand = sieve->hand == KVS_NIL ? sieve->list.tail : sieve->hand;
    while (hand != KVS_NIL && evict->node[hand].count > 0) {
        evict->node[hand].count = 0;
        hand = evict->node[hand].prev;
        if (hand == KVS_NIL)
            hand = sieve->list.tail;
    }
    sieve->hand = hand;
    return hand;
}

static void sieve_remove(struct kvs_evict *evict, uint32_t slot, enum kvs_leave why)
{
    struct sieve *sieve = evict->state;
    (void)why;
    if (slot == sieve->hand)
        sieve->hand = evict->node[slot].prev;
    kvs_list_remove(&sieve->list, evict->node, slot);
}

/* As if the hand had just passed it. */
static void sieve_return(struct kvs_evict *evict, uint32_t slot)
{
    struct sieve *sieve = evict->state;
    uint32_t hand = sieve->hand;
    if (hand == KVS_NIL)
        kvs_list_push_head(&sieve->list, evict->node, slot);
    else
        kvs_list_link(&sieve->list, evict->node, slot, hand, evict->node[hand].next);
}

const struct kvs_evict_ops kvs_evict_sieve = {
    .name = "sieve",
    .help = "SIEVE: oldest block that was not used since the hand came by",
    .state_bytes = sizeof(struct sieve),
    .init = sieve_init,
    .on_insert = sieve_insert,
    .on_hit = sieve_hit,
    .victim = sieve_victim,
    .on_remove = sieve_remove,
    .on_return = sieve_return,
};
