/*
 * heap.h - blocks by rank, lowest first: for policies that weigh blocks.
 *
 * A binary heap of slots beside each slot's rank, which a slot keeps while it is out of the heap.
 * Equal priorities leave in the order in which they were set: ties by age.
 */
#ifndef KVS_STORE_HEAP_H
#define KVS_STORE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct kvs_rank {
    uint64_t priority, age;
};

struct kvs_heap {          /* zeroed is empty */
    struct kvs_rank *rank; /* [slot] */
    uint32_t *at;          /* [slot] its place in heap */
    uint32_t *heap;        /* slots */
    uint32_t n;
    uint64_t n_set; /* the next age */
};

/* A priority from a weight >= 0, in the same order: such doubles compare as their bits do. */
uint64_t kvs_heap_priority(double weight);
double kvs_heap_weight(const struct kvs_heap *heap, uint32_t slot); /* and back */

void kvs_heap_free(struct kvs_heap *heap);
bool kvs_heap_grow(struct kvs_heap *heap, uint32_t n_slot); /* false: no memory, nothing lost */
void kvs_heap_add(struct kvs_heap *heap, uint32_t slot, uint64_t priority); /* it was out */
void kvs_heap_set(struct kvs_heap *heap, uint32_t slot,
                  uint64_t priority); /* it was in; young now */
void kvs_heap_remove(struct kvs_heap *heap, uint32_t slot);
void kvs_heap_return(struct kvs_heap *heap, uint32_t slot); /* with the rank it had */
uint32_t kvs_heap_min(const struct kvs_heap *heap);         /* KVS_NIL if it is empty */

#endif
