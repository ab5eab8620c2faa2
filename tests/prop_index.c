/*
 * The index of a tier: whatever pattern the ids have, a key lies within a cache line of its home.
 */
#include "store/index.h"
#include "test.h"

enum { N_KEY = 20000 };

static uint64_t keys[N_KEY];

/* The mean distance of the keys from their homes, at a load of one half. */
static double mean_distance(void)
{
    const struct kvs_keys of = {keys, sizeof *keys};
    struct kvs_index index = {0};
    uint64_t sum = 0;
    assert_true(kvs_index_reserve(&index, N_KEY, of));
    for (uint32_t i = 0; i < N_KEY; i++)
        kvs_index_add(&index, kvs_index_hash(keys[i]), i, of);
    for (uint32_t i = 0; i < N_KEY; i++) {
        uint64_t hash = kvs_index_hash(keys[i]);
        uint32_t bucket = kvs_index_bucket(&index, hash, i), home = kvs_index_home(&index, hash);
        assert_int_equal(bucket, kvs_index_find(&index, keys[i], hash, of));
        sum += bucket >= home ? bucket - home : bucket + index.n_bucket - home;
    }
    free(index.entry);
    return (double)sum / N_KEY;
}

static void keys_of_any_stride_lie_near_their_homes(void **state)
{
    (void)state;
    for (uint32_t shift = 0; shift < 48; shift++) {
        for (uint64_t i = 0; i < N_KEY; i++)
            keys[i] = i << shift;
        assert_true(mean_distance() < 16);
    }
}

/* Sessions of 24 blocks, the session in the upper bits. */
static void keys_of_sessions_lie_near_their_homes(void **state)
{
    (void)state;
    for (uint32_t shift = 5; shift < 48; shift++) {
        for (uint64_t i = 0; i < N_KEY; i++)
            keys[i] = (i / 24) << shift | i % 24;
        assert_true(mean_distance() < 16);
    }
}

static void keys_in_order_lie_at_their_homes(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < N_KEY; i++)
        keys[i] = i;
    assert_true(mean_distance() < 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_any_stride_lie_near_their_homes),
        cmocka_unit_test(keys_of_sessions_lie_near_their_homes),
        cmocka_unit_test(keys_in_order_lie_at_their_homes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
