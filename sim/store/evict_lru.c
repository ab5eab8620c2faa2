/*
 * Least recently used (Mattson, Gecsei, Slutz, Traiger 1970): one list, newest use at the head.
 */
#include "evict.h"

static bool lru_init(struct kvs_evict *evict)
{
    struct kvs_list *list = evict->state;
    *list = kvs_list_empty();
    return true;
}

static void lru_insert(struct kvs_evict *evict, uint32_t slot)
{
    kvs_list_push_head(evict->state, evict->node, slot);
}

static void lru_hit(struct kvs_evict *evict, uint32_t slot)
{
    struct kvs_list *list = evict->state;
    if (list->head == slot)
        return;
    kvs_list_remove(list, evict->node, slot);
    kvs_list_push_head(list, evict->node, slot);
}

static uint32_t lru_victim(struct kvs_evict *evict)
{
    const struct kvs_list *list = evict->state;
    return list->tail;
}

static void lru_remove(struct kvs_evict *evict, uint32_t slot, enum kvs_leave why)
{
    (void)why;
    kvs_list_remove(evict->state, evict->node, slot);
}

/* It was the oldest when it was set aside. */
static void lru_return(struct kvs_evict *evict, uint32_t slot)
{
    kvs_list_push_tail(evict->state, evict->node, slot);
}

const struct kvs_evict_ops kvs_evict_lru = {
    .name = "lru",
    .help = "least recently used block first",
    .state_bytes = sizeof(struct kvs_list),
    .init = lru_init,
    .on_insert = lru_insert,
    .on_hit = lru_hit,
    .victim = lru_victim,
    .on_remove = lru_remove,
    .on_return = lru_return,
};
