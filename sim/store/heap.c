#include "heap.h"

#include "evict.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

uint64_t kvs_heap_priority(double weight)
{
    assert(weight >= 0);
    uint64_t bits;
    weight += 0.0; /* -0 becomes 0 */
    memcpy(&bits, &weight, sizeof bits);
    return bits;
}

double kvs_heap_weight(const struct kvs_heap *heap, uint32_t slot)
{
    double weight;
    memcpy(&weight, &heap->rank[slot].priority, sizeof weight);
    return weight;
}

void kvs_heap_free(struct kvs_heap *heap)
{
    free(heap->rank);
    free(heap->at);
    free(heap->heap);
    *heap = (struct kvs_heap){0};
}

bool kvs_heap_grow(struct kvs_heap *heap, uint32_t n_slot)
{
    void *grown = realloc(heap->rank, n_slot * sizeof *heap->rank);
    if (!grown)
        return false;
    heap->rank = grown;
    grown = realloc(heap->at, n_slot * sizeof *heap->at);
    if (!grown)
        return false;
    heap->at = grown;
    grown = realloc(heap->heap, n_slot * sizeof *heap->heap);
    if (!grown)
        return false;
    heap->heap = grown;
    return true;
}

static bool before(const struct kvs_heap *heap, uint32_t a, uint32_t b)
{
    const struct kvs_rank *rank = heap->rank;
    if (rank[a].priority != rank[b].priority)
        return rank[a].priority < rank[b].priority;
    return rank[a].age < rank[b].age;
}

static void put(struct kvs_heap *heap, uint32_t at, uint32_t slot)
{
    heap->heap[at] = slot;
    heap->at[slot] = at;
}

/* Moves the slot, now thought to be at place at, to where its rank belongs. */
static void sift(struct kvs_heap *heap, uint32_t at, uint32_t slot)
{
    while (at > 0 && before(heap, slot, heap->heap[(at - 1) / 2])) {
        put(heap, at, heap->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (uint32_t child; (child = 2 * at + 1) < heap->n; at = child) {
        if (child + 1 < heap->n && before(heap, heap->heap[child + 1], heap->heap[child]))
            child++;
        if (!before(heap, heap->heap[child], slot))
            break;
        put(heap, at, heap->heap[child]);
    }
    put(heap, at, slot);
}

void kvs_heap_return(struct kvs_heap *heap, uint32_t slot)
{
    heap->n++;
    sift(heap, heap->n - 1, slot);
}

void kvs_heap_add(struct kvs_heap *heap, uint32_t slot, uint64_t priority)
{
    heap->rank[slot] = (struct kvs_rank){priority, heap->n_set++};
    kvs_heap_return(heap, slot);
}

void kvs_heap_set(struct kvs_heap *heap, uint32_t slot, uint64_t priority)
{
    heap->rank[slot] = (struct kvs_rank){priority, heap->n_set++};
    sift(heap, heap->at[slot], slot);
}

void kvs_heap_remove(struct kvs_heap *heap, uint32_t slot)
{
    uint32_t at = heap->at[slot], last = heap->heap[--heap->n];
    if (last != slot)
        sift(heap, at, last);
}

uint32_t kvs_heap_min(const struct kvs_heap *heap)
{
    return heap->n ? heap->heap[0] : KVS_NIL;
}
