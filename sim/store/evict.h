/*
 * evict.h - what an eviction policy is: the operations it defines and what it sees of its tier.
 *
 * A policy keeps an order over the resident blocks, known by their slots, and says which leaves
 * next. It knows nothing of pins: a block that must stay is taken out of the order when its turn
 * comes (set aside) and comes back when its last pin goes. So a search for a victim never meets the
 * same pinned block twice.
 *
 * A policy is one file, evict_NAME.c, that defines kvs_evict_NAME, and one line of evict_list.h.
 */
#ifndef KVS_EVICT_H
#define KVS_EVICT_H

#include "tier.h"

/* No slot, in a list; slots are below it. */
#define KVS_NIL ((1u << 30) - 1)

/* The hot part of a block: 16 bytes, so that four share a cache line and none straddles two. */
struct kvs_node {
    uint64_t key;
    uint32_t prev : 30,
        count : 2; /* neighbour towards the list's head; the policy's small counter */
    uint32_t next : 30, queue : 2; /* neighbour towards the tail; which of the policy's lists */
};

/* What a policy sees of its tier. The arrays move when the tier grows. */
struct kvs_evict {
    const struct kvs_evict_ops *ops;
    void *state;                 /* ops->state_bytes, zeroed before init */
    struct kvs_node *node;       /* [slot] prev, next, count and queue are the policy's */
    struct kvs_block_info *info; /* [slot] */
    uint64_t room_bytes;         /* for blocks: the capacity less what is reserved */
    uint64_t used_bytes;
    uint32_t n_block;
    int64_t now_ns; /* time of the latest insert or touch */
};

enum kvs_leave {
    KVS_LEAVE_EVICTED, /* to make room */
    KVS_LEAVE_REMOVED, /* by the tier's owner */
    KVS_LEAVE_ASIDE,   /* pinned: it stays in the tier, out of the order, until on_return */
};

/* Operations marked "or NULL" may be left out. None but init and grow can fail. */
struct kvs_evict_ops {
    const char *name; /* as options know it */
    const char *help;
    size_t state_bytes;
    bool (*init)(struct kvs_evict *evict); /* or NULL; false: no memory; end is called then too */
    void (*end)(struct kvs_evict *evict);  /* or NULL; frees what init and grow got */
    /* or NULL. Room for state per slot, n_slot of them, never fewer than before; false: no memory,
     * nothing lost. */
    bool (*grow)(struct kvs_evict *evict, uint32_t n_slot);
    /* or NULL. key will be inserted for sure, room is made for it next. */
    void (*before_insert)(struct kvs_evict *evict, uint64_t key);
    void (*on_insert)(struct kvs_evict *evict, uint32_t slot); /* counted as resident already */
    void (*on_hit)(struct kvs_evict *evict, uint32_t slot);
    /* or NULL. After on_insert or on_hit: the block's next use, as kvs_tier_expect has it. */
    void (*on_expect)(struct kvs_evict *evict, uint32_t slot, uint64_t next_use);
    /* The block of the order that leaves next, without taking it out; KVS_NIL if there is none. */
    uint32_t (*victim)(struct kvs_evict *evict);
    void (*on_remove)(struct kvs_evict *evict, uint32_t slot,
                      enum kvs_leave why); /* takes it out; still counted as resident */
    void (*on_return)(struct kvs_evict *evict, uint32_t slot); /* it was set aside */
};

/* The registry: every policy of evict_list.h, NULL-ended. */
extern const struct kvs_evict_ops *const kvs_evict_all[];
/* The policy of that name; KVS_ERR_ARG names the nearest. */
KVS_MUST_CHECK enum kvs_code kvs_evict_find(const char *name, const struct kvs_evict_ops **ops,
                                            struct kvs_err *err);

/* Seconds it takes to compute a block again, per byte; a block of unknown cost counts one second.
 */
double kvs_evict_s_per_byte(const struct kvs_block_info *info);

/* A doubly linked list through prev and next; a slot is in one list at most. */
struct kvs_list {
    uint32_t head, tail;
};

static inline struct kvs_list kvs_list_empty(void)
{
    return (struct kvs_list){KVS_NIL, KVS_NIL};
}

/* Puts slot between the neighbours prev (towards the head) and next; KVS_NIL: slot becomes the end.
 */
static inline void kvs_list_link(struct kvs_list *list, struct kvs_node *node, uint32_t slot,
                                 uint32_t prev, uint32_t next)
{
    node[slot].prev = prev & KVS_NIL;
    node[slot].next = next & KVS_NIL;
    if (prev == KVS_NIL)
        list->head = slot;
    else
        node[prev].next = slot & KVS_NIL;
    if (next == KVS_NIL)
        list->tail = slot;
    else
        node[next].prev = slot & KVS_NIL;
}

static inline void kvs_list_push_head(struct kvs_list *list, struct kvs_node *node, uint32_t slot)
{
    kvs_list_link(list, node, slot, KVS_NIL, list->head);
}

static inline void kvs_list_push_tail(struct kvs_list *list, struct kvs_node *node, uint32_t slot)
{
    kvs_list_link(list, node, slot, list->tail, KVS_NIL);
}

static inline void kvs_list_remove(struct kvs_list *list, struct kvs_node *node, uint32_t slot)
{
    uint32_t prev = node[slot].prev, next = node[slot].next;
    if (prev == KVS_NIL)
        list->head = next;
    else
        node[prev].next = next & KVS_NIL;
    if (next == KVS_NIL)
        list->tail = prev;
    else
        node[next].prev = prev & KVS_NIL;
}

#endif
