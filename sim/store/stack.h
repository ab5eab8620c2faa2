/*
 * stack.h - LRU stack distances: one pass over the accesses, hits of caches of every size.
 *
 * The distance of an access is the number of different keys used since the same key was used last,
 * itself included: an LRU cache of n blocks of one size hits it if and only if the distance is at
 * most n (Mattson et al. 1970). A bit for each time whose key was not used since; counts of bits in
 * a Fenwick tree over whole lines of them (Bennett and Kruskal 1975 used a tree over times).
 */
#ifndef KVS_STACK_H
#define KVS_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kvs_stack; /* from kvs_stack_new, ended by kvs_stack_free */

struct kvs_stack *kvs_stack_new(void);        /* NULL: no memory */
void kvs_stack_free(struct kvs_stack *stack); /* accepts NULL */
/* The access's distance, 0 for a key's first. false: no memory, and the access was not made. */
bool kvs_stack_access(struct kvs_stack *stack, uint64_t key, uint32_t *distance);
uint64_t kvs_stack_n_key(const struct kvs_stack *stack);
/* Asks for what an access to key needs: worth it some accesses ahead. */
void kvs_stack_prefetch(const struct kvs_stack *stack, uint64_t key);
/* The same for what its last use left; later, when that is there. */
void kvs_stack_prefetch_bit(const struct kvs_stack *stack, uint64_t key);

#endif
