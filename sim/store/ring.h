/*
 * ring.h - which nodes hold a key: consistent hashing with bounded loads.
 *
 * Each node stands at many points of a circle of 64-bit hashes; a key belongs to the first nodes
 * met clockwise from its own hash (Karger et al. 1997), so that a node that goes takes only its own
 * keys away and one that comes back gets only those. A node whose load has reached a bound, a
 * little more than the mean, is passed over (Mirrokni, Thorup, Zadimoghaddam 2018, "Consistent
 * hashing with bounded loads"). Pure: no load is kept here, and the same ring gives the same nodes.
 */
#ifndef KVS_STORE_RING_H
#define KVS_STORE_RING_H

#include <stdbool.h>
#include <stdint.h>

#define KVS_RING_MAX_NODE 64

struct kvs_ring; /* from kvs_ring_new, ended by kvs_ring_free */

/* n_node from 1 to KVS_RING_MAX_NODE, n_point of each on the circle. NULL: no memory. */
struct kvs_ring *kvs_ring_new(uint32_t n_node, uint32_t n_point);
void kvs_ring_free(struct kvs_ring *ring); /* accepts NULL */

/* Who may take a key now. */
struct kvs_ring_state {
    uint64_t out; /* bit n: node n takes nothing (it is lost, or has the key) */
    const uint64_t *load;
    uint64_t bound; /* a node with load[n] >= bound is passed over; load NULL: no bound */
};

/*
 * node[] gets up to n_copy nodes for key, each once, in clockwise order; those under the bound
 * first, others only if there are too few of them. Returns how many: n_copy, or all that are not
 * out.
 */
uint32_t kvs_ring_pick(const struct kvs_ring *ring, uint64_t key, uint32_t n_copy,
                       const struct kvs_ring_state *state, uint32_t *node);

/*
 * The bound at which no node takes more than c times the mean: ceil(c * (total + one) / n_node),
 * where one is the load about to be placed. c above 1.
 */
uint64_t kvs_ring_bound(double c, uint64_t total, uint64_t one, uint32_t n_node);

#endif
