/*
 * ghost.h - the keys that left most recently, oldest forgotten first: S3-FIFO's ghost queue.
 *
 * A ring of keys and an index of it, about 16 bytes a key. A key taken from the middle leaves a
 * hole; holes are squeezed out when the ring is full.
 */
#ifndef KVS_STORE_GHOST_H
#define KVS_STORE_GHOST_H

#include "index.h"

struct kvs_ghost {
    uint64_t *key;          /* the ring */
    uint32_t size;          /* of the ring */
    uint32_t first, n_used; /* oldest place; places from there on, holes included */
    struct kvs_index index; /* of the keys that are no holes: n of them */
};

void kvs_ghost_free(struct kvs_ghost *ghost); /* zeroed is valid */
/* Room for n keys, n never less than before; false: no memory, nothing lost. */
bool kvs_ghost_grow(struct kvs_ghost *ghost, uint32_t n);
/* Adds a key that is not there, then forgets the oldest until at most limit (<= room) are left. */
void kvs_ghost_add(struct kvs_ghost *ghost, uint64_t key, uint32_t limit);
/* Takes key out; false if it was not there. */
bool kvs_ghost_take(struct kvs_ghost *ghost, uint64_t key);

#endif
