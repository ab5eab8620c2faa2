/*
 * Pensieve's retention value (Yu, Lin, Li: Stateful large language model serving with Pensieve,
 * EuroSys 2025): what it costs to compute a block again, which grows with its position, over the
 * time since it was last used:
 *
 *     value = recompute_s / n_bytes / (now - last use)
 *
 * Lowest first, so of blocks used together the prompt's beginning leaves first. (Pensieve's chunks
 * are of one size; per byte is ours.) Values change with time and no order of them lasts; but among
 * blocks of one cost the longest unused is always lowest. So blocks are kept in classes of cost,
 * an eighth of an octave wide, each a list by last use, and the classes' oldest are compared.
 */
#include "evict.h"

#include <stdlib.h>
#include <string.h>

#define MANTISSA_BITS 3
#define N_CLASS                                                                                    \
    (1u << (8 + MANTISSA_BITS)) /* a float's exponent and first bits of its mantissa               \
                                 */

struct pensieve {
    int64_t *last_ns; /* [slot] */
    struct kvs_list list[N_CLASS];
    uint16_t met[N_CLASS]; /* the classes that ever held a block */
    bool is_met[N_CLASS];
    uint32_t n_met;
};

static bool pensieve_init(struct kvs_evict *evict)
{
    struct pensieve *pensieve = evict->state;
    for (uint32_t i = 0; i < N_CLASS; i++)
        pensieve->list[i] = kvs_list_empty();
    return true;
}

static void pensieve_end(struct kvs_evict *evict)
{
    struct pensieve *pensieve = evict->state;
    free(pensieve->last_ns);
}

static bool pensieve_grow(struct kvs_evict *evict, uint32_t n_slot)
{
    struct pensieve *pensieve = evict->state;
    int64_t *last_ns = realloc(pensieve->last_ns, n_slot * sizeof *last_ns);
    if (!last_ns)
        return false;
    pensieve->last_ns = last_ns;
    return true;
}

static uint32_t class_of(const struct kvs_evict *evict, uint32_t slot)
{
    float s_per_byte = (float)kvs_evict_s_per_byte(&evict->info[slot]);
    uint32_t bits;
    memcpy(&bits, &s_per_byte, sizeof bits);
    return bits >> (23 - MANTISSA_BITS);
}

static void push_young(struct kvs_evict *evict, uint32_t slot)
{
    struct pensieve *pensieve = evict->state;
    uint32_t class = class_of(evict, slot);
    if (!pensieve->is_met[class]) {
        pensieve->is_met[class] = true;
        pensieve->met[pensieve->n_met++] = (uint16_t) class;
    }
    pensieve->last_ns[slot] = evict->now_ns;
    kvs_list_push_head(&pensieve->list[class], evict->node, slot);
}

static void pensieve_hit(struct kvs_evict *evict, uint32_t slot)
{
    struct pensieve *pensieve = evict->state;
    kvs_list_remove(&pensieve->list[class_of(evict, slot)], evict->node, slot);
    push_young(evict, slot);
}

static double value(const struct kvs_evict *evict, uint32_t slot)
{
    const struct pensieve *pensieve = evict->state;
    double age_ns = (double)(evict->now_ns - pensieve->last_ns[slot]) + 1;
    return kvs_evict_s_per_byte(&evict->info[slot]) / age_ns;
}

static uint32_t pensieve_victim(struct kvs_evict *evict)
{
    const struct pensieve *pensieve = evict->state;
    uint32_t victim = KVS_NIL;
    double lowest = 0;
    for (uint32_t i = 0; i < pensieve->n_met; i++) {
        uint32_t slot = pensieve->list[pensieve->met[i]].tail;
        if (slot == KVS_NIL)
            continue;
        double v = value(evict, slot);
        if (victim == KVS_NIL || v < lowest ||
            (v == lowest && pensieve->last_ns[slot] < pensieve->last_ns[victim])) {
            victim = slot;
            lowest = v;
        }
    }
    return victim;
}

static void pensieve_remove(struct kvs_evict *evict, uint32_t slot, enum kvs_leave why)
{
    struct pensieve *pensieve = evict->state;
    (void)why;
    kvs_list_remove(&pensieve->list[class_of(evict, slot)], evict->node, slot);
}

/* It was the longest unused of its class when it was set aside. */
static void pensieve_return(struct kvs_evict *evict, uint32_t slot)
{
    struct pensieve *pensieve = evict->state;
    kvs_list_push_tail(&pensieve->list[class_of(evict, slot)], evict->node, slot);
}

const struct kvs_evict_ops kvs_evict_pensieve = {
    .name = "pensieve",
    .help = "Pensieve: lowest cost to recompute at its position, over time since last use, first",
    .state_bytes = sizeof(struct pensieve),
    .init = pensieve_init,
    .end = pensieve_end,
    .grow = pensieve_grow,
    .on_insert = push_young,
    .on_hit = pensieve_hit,
    .victim = pensieve_victim,
    .on_remove = pensieve_remove,
    .on_return = pensieve_return,
};
