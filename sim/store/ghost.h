/*
 * ghost.h - the keys that left most recently, oldest forgotten first: S3-FIFO's ghost queue.
 *
 * A ring of keys, each with a note of the policy's if it wants one, and an index of it: about 16
 * bytes a key without notes. A key taken from the middle leaves a
 * hole; holes are squeezed out when the ring is full.
 */
#ifndef KVS_STORE_GHOST_H
#define KVS_STORE_GHOST_H

#include "index.h"

struct kvs_ghost { /* zeroed, but for note_bytes, is empty */
    size_t note_bytes;
    char *note;             /* [place] */
    uint64_t *key;          /* the ring */
    uint32_t size;          /* of the ring */
    uint32_t first, n_used; /* oldest place; places from there on, holes included */
    struct kvs_index index; /* of the keys that are no holes: n of them */
};

void kvs_ghost_free(struct kvs_ghost *ghost);
/* Room for n keys, n never less than before; false: no memory, nothing lost. */
bool kvs_ghost_grow(struct kvs_ghost *ghost, uint32_t n);
/* Adds a key that is not there, then forgets the oldest until at most limit (<= room) are left. */
void kvs_ghost_add(struct kvs_ghost *ghost, uint64_t key, uint32_t limit, const void *note);
/* Takes key out and copies its note; false if it was not there. */
bool kvs_ghost_take(struct kvs_ghost *ghost, uint64_t key, void *note);

#endif
