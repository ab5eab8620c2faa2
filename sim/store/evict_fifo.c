/*
 * First in, first out: one list, newest block at the head; a hit changes nothing.
 */
#include "evict.h"

static bool fifo_init(struct kvs_evict *evict)
{
    struct kvs_list *list = evict->state;
    *list = kvs_list_empty();
    return true;
}

static void fifo_insert(struct kvs_evict *evict, uint32_t slot)
{
    kvs_list_push_head(evict->state, evict->node, slot);
}

static void fifo_hit(struct kvs_evict *evict, uint32_t slot)
{
    (void)evict;
    (void)slot;
}

static uint32_t fifo_victim(struct kvs_evict *evict)
{
    const struct kvs_list *list = evict->state;
    return list->tail;
}

static void fifo_remove(struct kvs_evict *evict, uint32_t slot, enum kvs_leave why)
{
    (void)why;
    kvs_list_remove(evict->state, evict->node, slot);
}

/* It was the oldest when it was set aside. */
static void fifo_return(struct kvs_evict *evict, uint32_t slot)
{
    kvs_list_push_tail(evict->state, evict->node, slot);
}

const struct kvs_evict_ops kvs_evict_fifo = {
    .name = "fifo",
    .help = "oldest block first, used or not",
    .state_bytes = sizeof(struct kvs_list),
    .init = fifo_init,
    .on_insert = fifo_insert,
    .on_hit = fifo_hit,
    .victim = fifo_victim,
    .on_remove = fifo_remove,
    .on_return = fifo_return,
};
