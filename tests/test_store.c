/*
 * Tiers and eviction policies, cases worked out by hand.
 */
#include "store/evict.h"
#include "store/tier.h"
#include "test.h"

#include <stdio.h>
#include <string.h>

/* The keys that left, in order, as text: "3 1 ". */
struct left {
    char text[256];
};

static void note(void *ctx, uint64_t key, const struct kvs_block_info *info)
{
    struct left *left = ctx;
    size_t n = strlen(left->text);
    assert_true(info->n_bytes > 0);
    snprintf(left->text + n, sizeof left->text - n, "%d ", (int)key);
}

static struct kvs_tier *tier_of(const char *policy, uint64_t capacity_bytes, struct left *left)
{
    const struct kvs_evict_ops *ops;
    struct kvs_tier *tier;
    memset(left, 0, sizeof *left);
    assert_int_equal(kvs_evict_find(policy, &ops, NULL), KVS_OK);
    assert_int_equal(kvs_tier_new(ops, capacity_bytes, note, left, &tier, NULL), KVS_OK);
    return tier;
}

static uint32_t put(struct kvs_tier *tier, uint64_t key, uint64_t n_bytes)
{
    struct kvs_block_info info = {.n_bytes = n_bytes};
    return kvs_tier_insert(tier, key, &info, 0);
}

/* Runs "1 2 3 1": touches what is resident, inserts the rest with one byte. */
static void use(struct kvs_tier *tier, const char *keys)
{
    for (const char *at = keys; *at; at++) {
        if (*at == ' ')
            continue;
        uint64_t key = (uint64_t)(*at - '0');
        uint32_t slot = kvs_tier_find(tier, key);
        if (slot == KVS_NO_SLOT)
            put(tier, key, 1);
        else
            kvs_tier_touch(tier, slot, 0);
    }
}

static void pin(struct kvs_tier *tier, uint64_t key)
{
    kvs_tier_pin(tier, kvs_tier_find(tier, key));
}

static void unpin(struct kvs_tier *tier, uint64_t key)
{
    kvs_tier_unpin(tier, kvs_tier_find(tier, key));
}

static void lru_evicts_least_recently_used(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier *tier = tier_of("lru", 3, &left);
    use(tier, "1 2 3 1 4 5");
    assert_string_equal(left.text, "2 3 ");
    use(tier, "1 6"); /* oldest first: 4 5 1 */
    assert_string_equal(left.text, "2 3 4 ");
    kvs_tier_free(tier);
}

static void fifo_evicts_oldest_used_or_not(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier *tier = tier_of("fifo", 3, &left);
    use(tier, "1 2 3 1 4 5");
    assert_string_equal(left.text, "1 2 ");
    kvs_tier_free(tier);
}

/* Ten blocks: small queue 1, main 9, 9 ghosts. */
static void s3fifo_keeps_what_is_used_and_recalls_ghosts(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier *tier = tier_of("s3fifo", 10, &left);
    use(tier, "0"); /* small; 1 to 9 find it full before any eviction: main */
    use(tier, "1 2 3 4 5 6 7 8 9");
    assert_string_equal(left.text, "");
    use(tier, "0 0 1"); /* 0 used twice, 1 once */
    use(tier, ":");     /* 0 moves to main, which is over its bytes with small empty: 1 gets a
                           further round, 2 leaves, no ghost; ':' is 10 */
    assert_string_equal(left.text, "2 ");
    use(tier, ";"); /* small holds ':' only, main 9 of 9: ':' leaves, its ghost stays */
    assert_string_equal(left.text, "2 10 ");
    use(tier, ":"); /* 11 leaves small; the ghost brings 10 into main */
    assert_string_equal(left.text, "2 10 11 ");
    use(tier, "2"); /* main has 10 of 9: its oldest, 3, leaves; 2 left no ghost: small */
    assert_string_equal(left.text, "2 10 11 3 ");
    kvs_tier_free(tier);
}

static void pinned_blocks_stay_and_return_first_in_line(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct left left;
        struct kvs_tier *tier = tier_of(i ? "fifo" : "lru", 4, &left);
        use(tier, "1 2 3 4");
        pin(tier, 1);
        pin(tier, 1);
        pin(tier, 2);
        use(tier, "5 6");
        assert_string_equal(left.text, "3 4 ");
        unpin(tier, 1);
        use(tier, "7");
        assert_string_equal(left.text, "3 4 5 ");
        unpin(tier, 1);
        use(tier, "8");
        assert_string_equal(left.text, "3 4 5 1 ");
        unpin(tier, 2);
        kvs_tier_remove(tier, kvs_tier_find(tier, 2));
        use(tier, "9");
        assert_string_equal(left.text, "3 4 5 1 ");
        kvs_tier_free(tier);
    }
}

static void touched_pinned_block_is_as_young_as_its_touch(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier *tier = tier_of("lru", 3, &left);
    use(tier, "1 2 3");
    pin(tier, 1);
    use(tier, "4 1 5"); /* 1 is set aside for 4, then used again */
    unpin(tier, 1);
    use(tier, "6");
    assert_string_equal(left.text, "2 3 4 ");
    kvs_tier_free(tier);
}

static void insert_that_cannot_fit_evicts_nothing(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier_stats before, after;
    struct kvs_tier *tier = tier_of("lru", 10, &left);
    put(tier, 1, 4);
    put(tier, 2, 4);
    pin(tier, 2);
    kvs_tier_stats(tier, &before);
    assert_int_equal(put(tier, 3, 7), KVS_NO_SLOT);
    assert_int_equal(put(tier, 3, 11), KVS_NO_SLOT);
    assert_int_equal(put(tier, 3, UINT64_MAX), KVS_NO_SLOT);
    kvs_tier_stats(tier, &after);
    assert_int_equal(after.n_refused, 3);
    after.n_refused = 0;
    assert_memory_equal(&before, &after, sizeof after);
    assert_int_not_equal(put(tier, 3, 6), KVS_NO_SLOT);
    assert_string_equal(left.text, "1 ");
    kvs_tier_free(tier);
}

static void reservation_shares_the_budget(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier_stats stats;
    struct kvs_tier *tier = tier_of("lru", 10, &left);
    put(tier, 1, 4);
    put(tier, 2, 4);
    assert_true(kvs_tier_reserve(tier, 5));
    assert_string_equal(left.text, "1 ");
    pin(tier, 2);
    assert_false(kvs_tier_reserve(tier, 2));
    assert_true(kvs_tier_reserve(tier, 1));
    assert_int_equal(put(tier, 3, 1), KVS_NO_SLOT);
    kvs_tier_stats(tier, &stats);
    assert_int_equal(stats.reserved_bytes, 6);
    assert_int_equal(stats.used_bytes, 4);
    assert_int_equal(stats.pinned_bytes, 4);
    kvs_tier_release(tier, 6);
    assert_int_not_equal(put(tier, 3, 6), KVS_NO_SLOT);
    assert_string_equal(left.text, "1 ");
    kvs_tier_free(tier);
}

static void unknown_policy_is_told_the_nearest(void **state)
{
    (void)state;
    const struct kvs_evict_ops *ops;
    struct kvs_err err = {0};
    assert_int_equal(kvs_evict_find("s3fif", &ops, &err), KVS_ERR_ARG);
    assert_string_equal(err.msg, "\"s3fif\" is no eviction policy; did you mean \"s3fifo\"");
    assert_null(ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lru_evicts_least_recently_used),
        cmocka_unit_test(fifo_evicts_oldest_used_or_not),
        cmocka_unit_test(s3fifo_keeps_what_is_used_and_recalls_ghosts),
        cmocka_unit_test(pinned_blocks_stay_and_return_first_in_line),
        cmocka_unit_test(touched_pinned_block_is_as_young_as_its_touch),
        cmocka_unit_test(insert_that_cannot_fit_evicts_nothing),
        cmocka_unit_test(reservation_shares_the_budget),
        cmocka_unit_test(unknown_policy_is_told_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
