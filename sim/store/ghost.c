#include "ghost.h"

static struct kvs_keys ring_keys(const struct kvs_ghost *ghost)
{
    return (struct kvs_keys){ghost->key, sizeof *ghost->key};
}

void kvs_ghost_free(struct kvs_ghost *ghost)
{
    free(ghost->key);
    free(ghost->note);
    free(ghost->index.entry);
    *ghost = (struct kvs_ghost){0};
}

static void *note_at(const struct kvs_ghost *ghost, uint32_t at)
{
    return ghost->note + at * ghost->note_bytes;
}

static uint32_t place(const struct kvs_ghost *ghost, uint32_t i)
{
    uint32_t at = ghost->first + i;
    return at < ghost->size ? at : at - ghost->size;
}

/* The bucket of the key at place at, or KVS_INDEX_NONE if the place is a hole. */
static uint32_t live_bucket(const struct kvs_ghost *ghost, uint32_t at)
{
    uint64_t key = ghost->key[at];
    uint32_t bucket = kvs_index_find(&ghost->index, key, kvs_index_hash(key), ring_keys(ghost));
    bool live = bucket != KVS_INDEX_NONE && kvs_index_slot(&ghost->index, bucket) == at;
    return live ? bucket : KVS_INDEX_NONE;
}

/* The bucket's key moves to another place of the ring; index and ring agree before and after. */
static void move(struct kvs_ghost *ghost, uint32_t from, uint32_t to)
{
    uint32_t bucket = live_bucket(ghost, from);
    ghost->key[to] = ghost->key[from];
    if (ghost->note_bytes)
        memmove(note_at(ghost, to), note_at(ghost, from), ghost->note_bytes);
    if (bucket != KVS_INDEX_NONE)
        kvs_index_move(&ghost->index, bucket, to);
}

/* Moves the live keys together, to the oldest place and on. */
static void squeeze(struct kvs_ghost *ghost)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < ghost->n_used; i++) {
        uint32_t from = place(ghost, i);
        if (live_bucket(ghost, from) != KVS_INDEX_NONE)
            move(ghost, from, place(ghost, n++));
    }
    ghost->n_used = n;
}

bool kvs_ghost_grow(struct kvs_ghost *ghost, uint32_t n)
{
    uint32_t room = n < 128 ? 128 : n;
    uint32_t size = room + room / 8, more = size - ghost->size;
    if (!kvs_index_reserve(&ghost->index, room, ring_keys(ghost)))
        return false;
    if (size <= ghost->size)
        return true;
    uint64_t *key = realloc(ghost->key, size * sizeof *key);
    if (!key)
        return false;
    ghost->key = key;
    if (ghost->note_bytes) {
        char *note = realloc(ghost->note, size * ghost->note_bytes);
        if (!note)
            return false;
        ghost->note = note;
    }
    if (ghost->n_used > ghost->size - ghost->first) { /* it wraps: open the gap in the middle */
        for (uint32_t at = ghost->size; at-- > ghost->first;)
            move(ghost, at, at + more);
        ghost->first += more;
    }
    ghost->size = size;
    return true;
}

static void forget_oldest(struct kvs_ghost *ghost)
{
    uint32_t bucket = live_bucket(ghost, ghost->first);
    if (bucket != KVS_INDEX_NONE)
        kvs_index_del(&ghost->index, bucket, ring_keys(ghost));
    ghost->first = place(ghost, 1);
    ghost->n_used--;
}

void kvs_ghost_add(struct kvs_ghost *ghost, uint64_t key, uint32_t limit, const void *note)
{
    while (ghost->index.n > 0 && ghost->index.n >= limit)
        forget_oldest(ghost);
    if (limit == 0)
        return;
    if (ghost->n_used == ghost->size)
        squeeze(ghost);
    uint32_t at = place(ghost, ghost->n_used++);
    ghost->key[at] = key;
    if (ghost->note_bytes)
        memcpy(note_at(ghost, at), note, ghost->note_bytes);
    kvs_index_add(&ghost->index, kvs_index_hash(key), at, ring_keys(ghost));
}

bool kvs_ghost_take(struct kvs_ghost *ghost, uint64_t key, void *note)
{
    uint32_t bucket = kvs_index_find(&ghost->index, key, kvs_index_hash(key), ring_keys(ghost));
    if (bucket == KVS_INDEX_NONE)
        return false;
    if (ghost->note_bytes)
        memcpy(note, note_at(ghost, kvs_index_slot(&ghost->index, bucket)), ghost->note_bytes);
    kvs_index_del(&ghost->index, bucket, ring_keys(ghost));
    return true;
}
