#include "arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN 16u
#define FIRST_BYTES ((size_t)4096)
#define MOST_BYTES ((size_t)1 << 20)

struct chunk {
    _Alignas(ALIGN) struct chunk *next;
    size_t n_used, n_byte; /* of data */
    _Alignas(ALIGN) unsigned char data[];
};

struct kvs_arena {
    struct chunk *head; /* the one that allocations come from; NULL: none yet */
    size_t next_bytes;  /* size of the next chunk: doubles, so that chunks stay few */
};

struct kvs_arena *kvs_arena_new(void)
{
    struct kvs_arena *arena = calloc(1, sizeof *arena);
    if (arena)
        arena->next_bytes = FIRST_BYTES;
    return arena;
}

void kvs_arena_free(struct kvs_arena *arena)
{
    if (!arena)
        return;
    for (struct chunk *chunk = arena->head, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(arena);
}

/* calloc, since fresh pages of the system are zero already. */
static struct chunk *chunk_new(size_t n_byte)
{
    struct chunk *chunk = calloc(1, sizeof *chunk + n_byte);
    if (chunk)
        chunk->n_byte = n_byte;
    return chunk;
}

/* A large piece gets a chunk of its own behind the head, whose room stays in use. */
static void *alloc_large(struct kvs_arena *arena, size_t n_byte)
{
    struct chunk *chunk = chunk_new(n_byte);
    if (!chunk)
        return NULL;
    chunk->n_used = n_byte;
    if (arena->head) {
        chunk->next = arena->head->next;
        arena->head->next = chunk;
    } else {
        arena->head = chunk;
    }
    return chunk->data;
}

void *kvs_arena_alloc(struct kvs_arena *arena, size_t n, size_t size)
{
    size_t n_byte;
    if (__builtin_mul_overflow(n, size, &n_byte) || n_byte > PTRDIFF_MAX / 2)
        return NULL;
    n_byte = (n_byte + ALIGN - 1) / ALIGN * ALIGN;
    struct chunk *chunk = arena->head;
    if (!chunk || chunk->n_byte - chunk->n_used < n_byte) {
        if (n_byte > arena->next_bytes / 4)
            return alloc_large(arena, n_byte);
        chunk = chunk_new(arena->next_bytes);
        if (!chunk)
            return NULL;
        if (arena->next_bytes < MOST_BYTES)
            arena->next_bytes *= 2;
        chunk->next = arena->head;
        arena->head = chunk;
    }
    void *p = chunk->data + chunk->n_used;
    chunk->n_used += n_byte;
    return p;
}

char *kvs_arena_str(struct kvs_arena *arena, const char *text)
{
    size_t n_byte = strlen(text) + 1;
    char *copy = kvs_arena_alloc(arena, n_byte, 1);
    if (copy)
        memcpy(copy, text, n_byte);
    return copy;
}
