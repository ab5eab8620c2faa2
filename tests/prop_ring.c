/* Consistent hashing: how evenly keys lie, how few move, how full a node gets. */
#include "test.h"

#include "base/rng.h"
#include "store/ring.h"

#include <math.h>
#include <string.h>

#define N_KEY 20000
#define N_POINT 128
#define C 1.25

static uint64_t key_of(uint32_t seed, uint32_t i)
{
    return (uint64_t)seed << 32 | i;
}

static uint32_t home(const struct kvs_ring *ring, uint64_t key, uint64_t out)
{
    const struct kvs_ring_state state = {.out = out};
    uint32_t node;
    assert_int_equal(kvs_ring_pick(ring, key, 1, &state, &node), 1);
    return node;
}

/* Points of one node cover exponential gaps: a share deviates by 1/sqrt(points) of the mean. */
static void keys_lie_evenly(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= KVS_RING_MAX_NODE; n += 7) {
        struct kvs_ring *ring = kvs_ring_new(n, N_POINT);
        uint32_t count[KVS_RING_MAX_NODE] = {0};
        assert_non_null(ring);
        for (uint32_t i = 0; i < N_KEY; i++)
            count[home(ring, key_of(n, i), 0)]++;
        const double mean = (double)N_KEY / n;
        for (uint32_t h = 0; h < n; h++)
            assert_true(fabs(count[h] - mean) <= mean * 4.5 / sqrt(N_POINT) + 4.5 * sqrt(mean));
        kvs_ring_free(ring);
    }
}

static void lost_node_moves_only_its_keys_and_they_come_back(void **state)
{
    (void)state;
    for (uint32_t n = 2; n <= 16; n++) {
        struct kvs_ring *ring = kvs_ring_new(n, N_POINT);
        const uint32_t lost = n / 2;
        assert_non_null(ring);
        for (uint32_t i = 0; i < N_KEY / 4; i++) {
            const uint64_t key = key_of(n, i);
            const uint32_t before = home(ring, key, 0), after = home(ring, key, 1ull << lost);
            assert_true(after != lost);
            assert_true(before == lost || after == before);
            assert_int_equal(home(ring, key, 0), before);
        }
        kvs_ring_free(ring);
    }
}

/* A ring of n + 1 nodes: the new one takes keys, and no key goes from one old node to another. */
static void new_node_takes_keys_only_for_itself(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 12; n++) {
        struct kvs_ring *ring = kvs_ring_new(n, N_POINT), *more = kvs_ring_new(n + 1, N_POINT);
        uint32_t n_moved = 0;
        assert_true(ring && more);
        for (uint32_t i = 0; i < N_KEY / 4; i++) {
            const uint32_t before = home(ring, i, 0), after = home(more, i, 0);
            assert_true(after == before || after == n);
            n_moved += after != before;
        }
        const double share = (double)n_moved / (N_KEY / 4.0);
        assert_true(fabs(share - 1.0 / (n + 1)) < 0.5 / (n + 1));
        kvs_ring_free(ring);
        kvs_ring_free(more);
    }
}

static void copies_lie_on_distinct_nodes_and_nest(void **state)
{
    struct kvs_ring *ring = kvs_ring_new(9, N_POINT);
    const struct kvs_ring_state all = {0}, some = {.out = 0x1b};
    (void)state;
    assert_non_null(ring);
    for (uint32_t i = 0; i < 2000; i++) {
        uint32_t most[9], node[9];
        assert_int_equal(kvs_ring_pick(ring, i, 9, &all, most), 9);
        for (uint32_t a = 0; a < 9; a++)
            for (uint32_t b = 0; b < a; b++)
                assert_true(most[a] != most[b]);
        for (uint32_t n = 1; n < 9; n++) { /* fewer copies: the first ones of more */
            assert_int_equal(kvs_ring_pick(ring, i, n, &all, node), n);
            assert_memory_equal(node, most, n * sizeof *node);
        }
        assert_int_equal(kvs_ring_pick(ring, i, 9, &some, node), 5);
        for (uint32_t n = 0; n < 5; n++)
            assert_false(some.out >> node[n] & 1);
    }
    kvs_ring_free(ring);
}

/* Keys of random sizes one after the other, nodes lost now and then: none gets more than its bound
 * and one key. */
static void no_node_exceeds_its_bound(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 20; seed++) {
        const uint32_t n = 2 + seed % 14;
        struct kvs_ring *ring = kvs_ring_new(n, 16); /* few points: uneven without the bound */
        struct kvs_rng rng = kvs_rng_stream(seed, "ring");
        uint64_t load[KVS_RING_MAX_NODE] = {0}, total = 0;
        assert_non_null(ring);
        for (uint32_t i = 0; i < 5000; i++) {
            const uint64_t one = 1 + kvs_rng_below(&rng, 1000);
            const uint64_t bound = kvs_ring_bound(C, total, one, n);
            const struct kvs_ring_state at = {.load = load, .bound = bound};
            uint32_t node;
            assert_int_equal(kvs_ring_pick(ring, key_of(seed, i), 1, &at, &node), 1);
            assert_true(load[node] < bound);
            load[node] += one;
            total += one;
        }
        for (uint32_t h = 0; h < n; h++)
            assert_true((double)load[h] <= C * (double)total / n + 1001);
        kvs_ring_free(ring);
    }
}

static void full_nodes_serve_when_no_other_does(void **state)
{
    struct kvs_ring *ring = kvs_ring_new(3, N_POINT);
    const uint64_t load[] = {9, 2, 9};
    const struct kvs_ring_state at = {.load = load, .bound = 9};
    uint32_t node[3];
    (void)state;
    assert_non_null(ring);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(kvs_ring_pick(ring, i, 1, &at, node), 1);
        assert_int_equal(node[0], 1);
        assert_int_equal(kvs_ring_pick(ring, i, 3, &at, node), 3);
        assert_int_equal(node[0], 1);
    }
    kvs_ring_free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_lie_evenly),
        cmocka_unit_test(lost_node_moves_only_its_keys_and_they_come_back),
        cmocka_unit_test(new_node_takes_keys_only_for_itself),
        cmocka_unit_test(copies_lie_on_distinct_nodes_and_nest),
        cmocka_unit_test(no_node_exceeds_its_bound),
        cmocka_unit_test(full_nodes_serve_when_no_other_does),
    };
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
