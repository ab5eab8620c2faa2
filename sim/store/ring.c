#include "ring.h"

#include "base/map.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

struct point {
    uint64_t at;
    uint32_t node;
};

struct kvs_ring {
    uint32_t n_node, n_point; /* points of all nodes */
    struct point point[];     /* clockwise */
};

static int by_place(const void *a, const void *b)
{
    const struct point *one = a, *other = b;
    if (one->at != other->at)
        return one->at < other->at ? -1 : 1;
    return one->node < other->node ? -1 : one->node > other->node;
}

struct kvs_ring *kvs_ring_new(uint32_t n_node, uint32_t n_point)
{
    assert(n_node > 0 && n_node <= KVS_RING_MAX_NODE && n_point > 0);
    const size_t n = (size_t)n_node * n_point;
    struct kvs_ring *ring = calloc(1, sizeof *ring + n * sizeof *ring->point);
    if (!ring)
        return NULL;
    ring->n_node = n_node;
    ring->n_point = (uint32_t)n;
    for (uint32_t i = 0; i < n; i++)
        ring->point[i] = (struct point){kvs_chain(i / n_point, i % n_point), i / n_point};
    qsort(ring->point, n, sizeof *ring->point, by_place);
    return ring;
}

void kvs_ring_free(struct kvs_ring *ring)
{
    free(ring);
}

/* The first point at or after a hash; past the last one comes the first again. */
static uint32_t point_after(const struct kvs_ring *ring, uint64_t at)
{
    uint32_t low = 0, high = ring->n_point;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (ring->point[mid].at < at)
            low = mid + 1;
        else
            high = mid;
    }
    return low < ring->n_point ? low : 0;
}

uint32_t kvs_ring_pick(const struct kvs_ring *ring, uint64_t key, uint32_t n_copy,
                       const struct kvs_ring_state *state, uint32_t *node)
{
    const uint32_t from = point_after(ring, kvs_mix64(key + 0x9e3779b97f4a7c15ull));
    uint64_t done = state->out;
    uint32_t n = 0;
    for (int full = 0; full < 2; full++)
        for (uint32_t i = 0; i < ring->n_point && n < n_copy; i++) {
            uint32_t at = from + i < ring->n_point ? from + i : from + i - ring->n_point;
            uint32_t next = ring->point[at].node;
            if (done >> next & 1 || (!full && state->load && state->load[next] >= state->bound))
                continue;
            done |= (uint64_t)1 << next;
            node[n++] = next;
        }
    return n;
}

uint64_t kvs_ring_bound(double c, uint64_t total, uint64_t one, uint32_t n_node)
{
    assert(c > 1 && n_node > 0);
    return (uint64_t)ceil(c * ((double)total + (double)one) / n_node);
}
