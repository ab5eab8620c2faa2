#include "test.h"

#include "base/map.h"
#include "base/rng.h"

#define N_KEY 512

/* Keys of a small set, many of which share their home slot, against a plain table. */
static void map_agrees_with_a_plain_table(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "map");
        struct kvs_map map;
        bool held[N_KEY] = {false};
        uint32_t want[N_KEY] = {0};
        size_t n = 0;
        assert_true(kvs_map_init(&map, seed % 3 ? 0 : N_KEY));
        for (int step = 0; step < 4000; step++) {
            uint64_t k = kvs_rng_below(&rng, N_KEY), key = seed % 2 ? k : k << 52;
            bool found = false;
            switch (kvs_rng_below(&rng, 3)) {
            case 0: {
                uint32_t val = (uint32_t)kvs_rng_below(&rng, UINT32_MAX);
                uint32_t *place = kvs_map_put(&map, key, val, &found);
                assert_non_null(place);
                assert_int_equal(found, held[k]);
                if (!found) {
                    held[k] = true;
                    want[k] = val;
                    n++;
                }
                assert_int_equal(*place, want[k]);
                break;
            }
            case 1:
                assert_int_equal(kvs_map_del(&map, key), held[k]);
                n -= held[k];
                held[k] = false;
                break;
            default: {
                const uint32_t *place = kvs_map_find(&map, key);
                if ((place != NULL) != held[k] || (place && *place != want[k]))
                    fail_msg("seed %llu step %d", (unsigned long long)seed, step);
            }
            }
            assert_int_equal(map.n, n);
        }
        for (uint64_t k = 0; k < N_KEY; k++)
            assert_int_equal(kvs_map_find(&map, seed % 2 ? k : k << 52) != NULL, held[k]);
        kvs_map_free(&map);
    }
}

static void any_key_is_allowed(void **state)
{
    const uint64_t keys[] = {0, 1, UINT32_MAX, UINT64_MAX};
    struct kvs_map map;
    bool found;
    (void)state;
    assert_true(kvs_map_init(&map, 0));
    for (uint32_t i = 0; i < 4; i++) {
        assert_null(kvs_map_find(&map, keys[i]));
        assert_non_null(kvs_map_put(&map, keys[i], i, &found));
        assert_false(found);
    }
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(*kvs_map_find(&map, keys[i]), i);
    kvs_map_free(&map);
}

static void hint_makes_room_at_once(void **state)
{
    struct kvs_map map;
    bool found;
    (void)state;
    assert_true(kvs_map_init(&map, 100000));
    const struct kvs_map_slot *slots = map.slot;
    for (uint64_t key = 0; key < 100000; key++)
        assert_non_null(kvs_map_put(&map, key, 1, &found));
    assert_ptr_equal(map.slot, slots);
    kvs_map_free(&map);
    assert_false(kvs_map_init(&map, SIZE_MAX));
    kvs_map_free(&map);
}

static void chain_knows_order_and_prefix(void **state)
{
    (void)state;
    uint64_t ab = kvs_chain(kvs_chain(0, 1), 2), ba = kvs_chain(kvs_chain(0, 2), 1);
    assert_int_not_equal(ab, ba);
    assert_int_not_equal(kvs_chain(0, 0), 0);
    assert_int_not_equal(kvs_chain(kvs_chain(0, 0), 0), kvs_chain(0, 0));
    assert_int_not_equal(ab, kvs_chain(0, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_agrees_with_a_plain_table),
        cmocka_unit_test(any_key_is_allowed),
        cmocka_unit_test(hint_makes_room_at_once),
        cmocka_unit_test(chain_knows_order_and_prefix),
    };
    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
