/*
 * Tiers and eviction policies, cases worked out by hand.
 */
#include "store/evict.h"
#include "store/lookup.h"
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

/* Near tier holds 1 2 5, far tier 2 3 6; asked for 1 2 3 4 5 6. */
static void lookup_finds_nearest_tier_and_stops_as_its_mode_says(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier *tier[2] = {tier_of("lru", 9, &left), tier_of("fifo", 9, &left)};
    const uint64_t key[] = {1, 2, 3, 4, 5, 6};
    struct kvs_place place[6];
    use(tier[0], "1 2 5");
    use(tier[1], "2 3 6");
    static const uint32_t content[] = {0, 0, 1, KVS_NOWHERE, 0, 1};
    assert_int_equal(kvs_lookup(KVS_LOOKUP_CONTENT, tier, 2, key, 6, place), 5);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(place[i].tier_i, content[i]);
        if (content[i] == KVS_NOWHERE)
            assert_int_equal(place[i].slot, KVS_NO_SLOT);
        else
            assert_int_equal(kvs_tier_key(tier[content[i]], place[i].slot), key[i]);
    }
    assert_int_equal(kvs_lookup(KVS_LOOKUP_PREFIX, tier, 2, key, 6, place), 3);
    for (int i = 0; i < 6; i++)
        assert_int_equal(place[i].tier_i, i < 3 ? content[i] : KVS_NOWHERE);
    assert_int_equal(kvs_lookup(KVS_LOOKUP_PREFIX, tier, 2, key + 3, 3, place), 0);
    assert_int_equal(kvs_lookup(KVS_LOOKUP_PREFIX, tier, 2, key, 3, place), 3);
    assert_int_equal(kvs_lookup(KVS_LOOKUP_CONTENT, tier, 0, key, 6, place), 0);
    assert_int_equal(kvs_lookup(KVS_LOOKUP_CONTENT, tier, 2, key, 0, place), 0);
    kvs_tier_free(tier[0]);
    kvs_tier_free(tier[1]);
}

/* 40 blocks over three tiers, longer than the search runs ahead. */
static void lookup_of_a_long_prompt_agrees_with_single_finds(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier *tier[3];
    uint64_t key[40];
    struct kvs_place place[40];
    for (uint32_t t = 0; t < 3; t++)
        tier[t] = tier_of("lru", 100, &left);
    for (uint64_t i = 0; i < 40; i++) {
        key[i] = i * 1000003;
        if (i != 37)
            put(tier[i * 7 % 3], key[i], 1);
    }
    assert_int_equal(kvs_lookup(KVS_LOOKUP_CONTENT, tier, 3, key, 40, place), 39);
    for (uint64_t i = 0; i < 40; i++)
        assert_int_equal(place[i].tier_i, i == 37 ? KVS_NOWHERE : i * 7 % 3);
    assert_int_equal(kvs_lookup(KVS_LOOKUP_PREFIX, tier, 3, key, 40, place), 37);
    for (uint32_t t = 0; t < 3; t++)
        kvs_tier_free(tier[t]);
}

static void sieve_spares_what_was_used_since_the_hand_came_by(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier *tier = tier_of("sieve", 3, &left);
    use(tier, "1 2 3 1 4"); /* 1 spared, 2 leaves, the hand is at 3 */
    assert_string_equal(left.text, "2 ");
    use(tier, "3 4 5"); /* 3 and 4 spared, round to 1, whose mark is gone */
    assert_string_equal(left.text, "2 1 ");
    use(tier, "6");
    assert_string_equal(left.text, "2 1 3 ");
    kvs_tier_free(tier);
}

static void lfu_evicts_least_used_then_longest_unused(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier *tier = tier_of("lfu", 3, &left);
    use(tier, "1 1 1 2 3 2 3 4"); /* 1 thrice, 2 and 3 twice: 2 is longer unused */
    assert_string_equal(left.text, "2 ");
    use(tier, "5"); /* 4 once */
    assert_string_equal(left.text, "2 4 ");
    kvs_tier_free(tier);
}

static void gdsf_weighs_uses_by_size_and_ages(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier *tier = tier_of("gdsf", 10, &left);
    put(tier, 1, 8);  /* 1/8 */
    put(tier, 2, 2);  /* 1/2 */
    use(tier, "1 1"); /* 3/8 */
    put(tier, 3, 4);  /* 1 leaves, clock 3/8; 3/8 + 1/4 */
    put(tier, 4, 4);  /* 3/8 + 1/4 */
    assert_string_equal(left.text, "1 ");
    put(tier, 5, 2); /* 2 leaves at 1/2 */
    assert_string_equal(left.text, "1 2 ");
    put(tier, 6, 1); /* 3 and 4 weigh the same: 3 is older */
    assert_string_equal(left.text, "1 2 3 ");
    kvs_tier_free(tier);
}

static void put_cost(struct kvs_tier *tier, uint64_t key, float recompute_s, int64_t now_ns)
{
    struct kvs_block_info info = {.n_bytes = 4, .recompute_s = recompute_s};
    uint32_t slot = kvs_tier_find(tier, key);
    if (slot == KVS_NO_SLOT)
        kvs_tier_insert(tier, key, &info, now_ns);
    else
        kvs_tier_touch(tier, slot, now_ns);
}

static void cost_evicts_fewest_seconds_per_byte_and_ages(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier *tier = tier_of("cost", 12, &left);
    put_cost(tier, 1, 8, 0);  /* 2 s a byte */
    put_cost(tier, 2, 4, 0);  /* 1 */
    put_cost(tier, 3, 16, 0); /* 4 */
    put_cost(tier, 4, 4, 0);  /* 2 leaves, clock 1; 4: 2 */
    put_cost(tier, 5, 4, 0);  /* 1 leaves, as heavy as 4 and older, clock 2; 5: 3 */
    put_cost(tier, 6, 4, 0);  /* 4 leaves; 6: 3 */
    put_cost(tier, 7, 4, 0);  /* 5 leaves, clock 3; 7: 4 */
    put_cost(tier, 8, 4, 0);  /* 6 leaves; 8: 4 */
    put_cost(tier, 9, 4, 0);  /* 3, dear but unused all along, leaves before 7 and 8 */
    assert_string_equal(left.text, "2 1 4 5 6 3 ");
    kvs_tier_free(tier);
}

static void removed_block_does_not_move_the_clock(void **state)
{
    (void)state;
    static const char *const policy[] = {"cost", "pgdsf"};
    for (int p = 0; p < 2; p++) {
        struct left left;
        struct kvs_tier *tier = tier_of(policy[p], 8, &left);
        put_cost(tier, 1, 8, 0);   /* 2 s a byte */
        put_cost(tier, 2, 400, 0); /* 100 */
        kvs_tier_remove(tier, kvs_tier_find(tier, 2));
        put_cost(tier, 3, 4, 0); /* 1, with the clock at 0 still */
        put_cost(tier, 4, 4, 0);
        assert_string_equal(left.text, "3 ");
        kvs_tier_free(tier);
    }
}

/* Three blocks of which the second is known from before. */
static void pgdsf_counts_on_after_eviction_and_averages_costs(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier *tier = tier_of("pgdsf", 8, &left);
    put_cost(tier, 1, 4, 0);  /* 1 use of 1 s a byte: 1 */
    put_cost(tier, 2, 8, 0);  /* 2 */
    put_cost(tier, 3, 12, 0); /* 1 leaves, clock 1; 3: 4 */
    put_cost(tier, 1, 20, 0); /* 2 leaves, clock 2; 1: 2 uses of mean (1 + 5) / 2: 8 */
    put_cost(tier, 4, 8, 0);  /* 3 leaves, clock 4; 4: 6 */
    put_cost(tier, 5, 40, 0); /* 4 leaves, clock 6; 5: 16 */
    assert_string_equal(left.text, "1 2 3 4 ");
    kvs_tier_free(tier);
}

static void pensieve_divides_cost_by_time_unused(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier *tier = tier_of("pensieve", 8, &left);
    put_cost(tier, 1, 10, 100);
    put_cost(tier, 2, 2, 180);
    put_cost(tier, 3, 10, 199); /* 10 s over 100 ns against 2 s over 20: just equal, 1 is older */
    assert_string_equal(left.text, "1 ");
    put_cost(tier, 4, 1, 210); /* 2/31 against 10/12 */
    assert_string_equal(left.text, "1 2 ");
    put_cost(tier, 5, 1, 220); /* 1/11 against 10/22 */
    assert_string_equal(left.text, "1 2 4 ");
    put_cost(tier, 6, 1, 520); /* 1/301 against 10/322 */
    put_cost(tier, 7, 1, 521); /* 1/2 against 10/323 */
    assert_string_equal(left.text, "1 2 4 5 3 ");
    kvs_tier_free(tier);
}

static void belady_evicts_farthest_next_use_and_the_untold_first(void **state)
{
    (void)state;
    struct left left;
    struct kvs_tier *tier = tier_of("belady", 3, &left);
    use(tier, "1 2 3");
    kvs_tier_expect(tier, kvs_tier_find(tier, 1), 50);
    kvs_tier_expect(tier, kvs_tier_find(tier, 2), 90);
    use(tier, "4");
    kvs_tier_expect(tier, kvs_tier_find(tier, 4), 70);
    use(tier, "5");
    kvs_tier_expect(tier, kvs_tier_find(tier, 5), 10);
    use(tier, "1"); /* used, and what comes next was not told */
    use(tier, "6");
    assert_string_equal(left.text, "3 2 1 ");
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

/* Two blocks of room: one that was touched leaves, then one that was not. */
static void blocks_that_nobody_touched_are_counted(void **state)
{
    const struct kvs_block_info info = {.n_bytes = 10};
    const struct kvs_evict_ops *fifo = NULL;
    struct kvs_tier_stats stats;
    struct kvs_tier *tier;
    (void)state;
    assert_int_equal(kvs_evict_find("fifo", &fifo, NULL), KVS_OK);
    assert_int_equal(kvs_tier_new(fifo, 20, NULL, NULL, &tier, NULL), KVS_OK);
    uint32_t slot = kvs_tier_insert(tier, 1, &info, 0);
    kvs_tier_pin(tier, slot);
    kvs_tier_insert(tier, 2, &info, 0);
    kvs_tier_stats(tier, &stats);
    assert_int_equal(stats.unused_bytes, 20);
    kvs_tier_touch(tier, slot, 1);
    kvs_tier_touch(tier, slot, 2);
    kvs_tier_unpin(tier, slot);
    kvs_tier_insert(tier, 3, &info, 3); /* 1 leaves */
    kvs_tier_insert(tier, 4, &info, 4); /* 2 leaves */
    kvs_tier_remove(tier, kvs_tier_find(tier, 3));
    kvs_tier_stats(tier, &stats);
    assert_int_equal(stats.evict_bytes, 20);
    assert_int_equal(stats.evict_unused_bytes, 10);
    assert_int_equal(stats.unused_bytes, 10);
    kvs_tier_free(tier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_that_nobody_touched_are_counted),
        cmocka_unit_test(lru_evicts_least_recently_used),
        cmocka_unit_test(fifo_evicts_oldest_used_or_not),
        cmocka_unit_test(s3fifo_keeps_what_is_used_and_recalls_ghosts),
        cmocka_unit_test(pinned_blocks_stay_and_return_first_in_line),
        cmocka_unit_test(touched_pinned_block_is_as_young_as_its_touch),
        cmocka_unit_test(insert_that_cannot_fit_evicts_nothing),
        cmocka_unit_test(reservation_shares_the_budget),
        cmocka_unit_test(lookup_finds_nearest_tier_and_stops_as_its_mode_says),
        cmocka_unit_test(lookup_of_a_long_prompt_agrees_with_single_finds),
        cmocka_unit_test(sieve_spares_what_was_used_since_the_hand_came_by),
        cmocka_unit_test(lfu_evicts_least_used_then_longest_unused),
        cmocka_unit_test(gdsf_weighs_uses_by_size_and_ages),
        cmocka_unit_test(cost_evicts_fewest_seconds_per_byte_and_ages),
        cmocka_unit_test(removed_block_does_not_move_the_clock),
        cmocka_unit_test(pgdsf_counts_on_after_eviction_and_averages_costs),
        cmocka_unit_test(pensieve_divides_cost_by_time_unused),
        cmocka_unit_test(belady_evicts_farthest_next_use_and_the_untold_first),
        cmocka_unit_test(unknown_policy_is_told_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
