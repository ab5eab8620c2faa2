/*
 * arena.h - memory that lives as long as one job and goes with it.
 *
 * Allocations are 16-byte aligned, zeroed, never freed one by one. Not for what is freed earlier.
 */
#ifndef KVS_BASE_ARENA_H
#define KVS_BASE_ARENA_H

#include <stddef.h>

struct kvs_arena; /* from kvs_arena_new, ended by kvs_arena_free */

struct kvs_arena *kvs_arena_new(void);        /* NULL: no memory */
void kvs_arena_free(struct kvs_arena *arena); /* accepts NULL */
/* n items of size bytes each, zeroed. NULL: no memory, or the product does not fit. n * size may be
 * 0. */
void *kvs_arena_alloc(struct kvs_arena *arena, size_t n, size_t size);
char *kvs_arena_str(struct kvs_arena *arena, const char *text); /* a copy; NULL: no memory */

#endif
