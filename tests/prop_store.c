/*
 * What every eviction policy of the registry must hold to, over seeds: against a plain set for the
 * books, against naive_cache.c for the choices, against each other for the bound.
 */
#include "base/rng.h"
#include "naive_cache.h"
#include "store/evict.h"
#include "store/future.h"
#include "store/ghost.h"
#include "store/tier.h"
#include "test.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define N_SEED 40

/* --- the books: a tier under random calls against a plain set --------------------------------- */

#define N_KEY 64

struct books {
    struct kvs_tier *tier;
    struct kvs_rng rng;
    bool held[N_KEY];
    uint64_t n_bytes[N_KEY];
    uint32_t n_pin[N_KEY];
    uint64_t capacity, reserved, need; /* need: what room is being made for */
    uint64_t n_evicted, log;
};

static uint64_t sum(const struct books *books, bool pinned_only)
{
    uint64_t n_bytes = 0;
    for (int i = 0; i < N_KEY; i++)
        if (books->held[i] && (!pinned_only || books->n_pin[i] > 0))
            n_bytes += books->n_bytes[i];
    return n_bytes;
}

/* Keys of the test are spread; this is the one of number i. */
static uint64_t key_of(int i)
{
    if (i == 1)
        return UINT64_MAX;
    return (uint64_t)i * (UINT64_MAX / 3 * 2 + 1);
}

static void strike_out(void *ctx, uint64_t key, const struct kvs_block_info *info)
{
    struct books *books = ctx;
    int i = 0;
    while (key_of(i) != key)
        i++;
    assert_true(books->held[i]);
    assert_int_equal(books->n_pin[i], 0);
    assert_int_equal(info->n_bytes, books->n_bytes[i]);
    /* it had to go */
    assert_true(sum(books, false) + books->reserved + books->need > books->capacity);
    books->held[i] = false;
    books->n_evicted++;
    books->log = books->log * 31 + key;
    assert_int_equal(kvs_tier_find(books->tier, key), KVS_NO_SLOT);
}

static bool fits(const struct books *books, uint64_t n_bytes)
{
    return n_bytes + books->reserved + sum(books, true) <= books->capacity;
}

static void do_insert(struct books *books, int i, int64_t now_ns)
{
    struct kvs_block_info info = {
        .n_bytes = 1 + kvs_rng_below(&books->rng, 20),
        .recompute_s = (float)kvs_rng_unit(&books->rng),
        .pos_tok = (uint32_t)kvs_rng_below(&books->rng, 1000),
    };
    if (kvs_rng_below(&books->rng, 30) == 0)
        info.n_bytes = books->capacity + 1;
    books->need = info.n_bytes;
    bool ok = fits(books, info.n_bytes);
    struct kvs_tier_stats before, after;
    kvs_tier_stats(books->tier, &before);
    uint32_t slot = kvs_tier_insert(books->tier, key_of(i), &info, now_ns);
    kvs_tier_stats(books->tier, &after);
    assert_int_equal(slot != KVS_NO_SLOT, ok);
    if (ok) {
        books->held[i] = true;
        books->n_bytes[i] = info.n_bytes;
        assert_int_equal(kvs_tier_key(books->tier, slot), key_of(i));
        assert_memory_equal(kvs_tier_info(books->tier, slot), &info, sizeof info);
    } else {
        before.n_refused++;
        assert_memory_equal(&before, &after, sizeof after);
    }
}

static void do_reserve(struct books *books)
{
    uint64_t n_bytes = kvs_rng_below(&books->rng, books->capacity / 2);
    if (kvs_rng_below(&books->rng, 2)) {
        n_bytes = n_bytes < books->reserved ? n_bytes : books->reserved;
        kvs_tier_release(books->tier, n_bytes);
        books->reserved -= n_bytes;
        return;
    }
    books->need = n_bytes;
    bool ok = fits(books, n_bytes);
    assert_int_equal(kvs_tier_reserve(books->tier, n_bytes), ok);
    if (ok)
        books->reserved += n_bytes;
}

static void do_held(struct books *books, int i, int64_t now_ns)
{
    uint32_t slot = kvs_tier_find(books->tier, key_of(i));
    switch (kvs_rng_below(&books->rng, 8)) {
    case 0:
        if (books->n_pin[i] == 0) {
            kvs_tier_remove(books->tier, slot);
            books->held[i] = false;
        }
        break;
    case 1:
        kvs_tier_pin(books->tier, slot);
        books->n_pin[i]++;
        break;
    case 2:
    case 3:
        if (books->n_pin[i] > 0) {
            kvs_tier_unpin(books->tier, slot);
            books->n_pin[i]--;
        }
        break;
    case 4:
        kvs_tier_expect(books->tier, slot, kvs_rng_below(&books->rng, 1000));
        break;
    default:
        kvs_tier_touch(books->tier, slot, now_ns);
    }
}

static void check(const struct books *books)
{
    struct kvs_tier_stats stats;
    uint64_t n_block = 0;
    kvs_tier_stats(books->tier, &stats);
    for (int i = 0; i < N_KEY; i++) {
        uint32_t slot = kvs_tier_find(books->tier, key_of(i));
        assert_int_equal(slot != KVS_NO_SLOT, books->held[i]);
        n_block += books->held[i];
        if (books->held[i])
            assert_int_equal(kvs_tier_key(books->tier, slot), key_of(i));
    }
    assert_int_equal(stats.n_block, n_block);
    assert_int_equal(stats.used_bytes, sum(books, false));
    assert_int_equal(stats.pinned_bytes, sum(books, true));
    assert_int_equal(stats.reserved_bytes, books->reserved);
    assert_int_equal(stats.n_evict, books->n_evicted);
    assert_true(stats.used_bytes + stats.reserved_bytes <= stats.capacity_bytes);
}

/* Returns a hash of all evictions in order. */
static uint64_t keep_books(const struct kvs_evict_ops *ops, uint64_t seed)
{
    struct books books = {.rng = kvs_rng_stream(seed, ops->name)};
    books.capacity = 20 + kvs_rng_below(&books.rng, 300);
    assert_int_equal(kvs_tier_new(ops, books.capacity, strike_out, &books, &books.tier, NULL),
                     KVS_OK);
    for (int64_t now_ns = 0; now_ns < 600; now_ns++) {
        int i = (int)kvs_rng_below(&books.rng, N_KEY);
        if (kvs_rng_below(&books.rng, 20) == 0)
            do_reserve(&books);
        else if (books.held[i])
            do_held(&books, i, now_ns);
        else
            do_insert(&books, i, now_ns);
        check(&books);
    }
    kvs_tier_free(books.tier);
    return books.log;
}

static void books_agree_with_a_plain_set(void **state)
{
    (void)state;
    for (int p = 0; kvs_evict_all[p]; p++)
        for (uint64_t seed = 0; seed < N_SEED; seed++) {
            print_message("# %s seed %d\n", kvs_evict_all[p]->name, (int)seed);
            uint64_t log = keep_books(kvs_evict_all[p], seed);
            assert_int_equal(log, keep_books(kvs_evict_all[p], seed));
        }
}

/* --- the choices: access by access against naive_cache.c -------------------------------------- */

#define N_ACCESS 3000

struct trace {
    uint64_t key[N_ACCESS], next[N_ACCESS];
};

/* Zipf keys, with a scan now and then. */
static void draw_trace(struct trace *trace, uint64_t seed, uint64_t n_key)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "trace");
    struct kvs_zipf zipf = kvs_zipf_make(n_key, 0.9);
    uint64_t scan = 0;
    for (size_t i = 0; i < N_ACCESS; i++)
        trace->key[i] = (i / 200) % 5 == 4 ? n_key + scan++ % 150 : kvs_zipf_draw(&zipf, &rng);
    naive_next_use(trace->key, N_ACCESS, trace->next);
}

/* Both depend on the key alone; costs per byte a factor of 4 apart, or the same. */
static struct kvs_block_info info_of(uint64_t key, bool equal)
{
    if (equal)
        return (struct kvs_block_info){.n_bytes = 1, .recompute_s = 1};
    uint64_t n_bytes = 1U << (key % 3);
    return (struct kvs_block_info){.n_bytes = n_bytes,
                                   .recompute_s = (float)(n_bytes << (key % 5 * 2))};
}

static bool one_access(struct kvs_tier *tier, uint64_t key, const struct kvs_block_info *info,
                       int64_t now_ns, uint64_t next_use)
{
    uint32_t slot = kvs_tier_find(tier, key);
    bool hit = slot != KVS_NO_SLOT;
    if (hit)
        kvs_tier_touch(tier, slot, now_ns);
    else
        slot = kvs_tier_insert(tier, key, info, now_ns);
    if (slot != KVS_NO_SLOT)
        kvs_tier_expect(tier, slot, next_use);
    return hit;
}

static void replay_both(const struct kvs_evict_ops *ops, const struct trace *trace,
                        uint64_t capacity, bool equal)
{
    struct kvs_tier *tier;
    struct naive_cache *naive = naive_new(ops->name, capacity);
    assert_non_null(naive); /* a new policy gets a naive form too */
    assert_int_equal(kvs_tier_new(ops, capacity, NULL, NULL, &tier, NULL), KVS_OK);
    for (size_t i = 0; i < N_ACCESS; i++) {
        struct kvs_block_info info = info_of(trace->key[i], equal);
        bool hit = one_access(tier, trace->key[i], &info, (int64_t)i + 1, trace->next[i]);
        bool want = naive_access(naive, trace->key[i], info.n_bytes, (double)info.recompute_s,
                                 trace->next[i]);
        if (hit != want)
            fail_msg("%s, capacity %d, access %d: hit %d, naively %d", ops->name, (int)capacity,
                     (int)i, hit, want);
    }
    kvs_tier_free(tier);
    naive_free(naive);
}

static void hits_equal_naive_implementations(void **state)
{
    (void)state;
    static const uint64_t capacity[] = {1, 2, 5, 10, 37, 100, 333};
    static struct trace trace;
    for (uint64_t seed = 0; seed < 3; seed++) {
        draw_trace(&trace, seed, 200 + 200 * seed);
        for (int p = 0; kvs_evict_all[p]; p++)
            for (size_t c = 0; c < sizeof capacity / sizeof capacity[0]; c++) {
                replay_both(kvs_evict_all[p], &trace, capacity[c], true);
                replay_both(kvs_evict_all[p], &trace, capacity[c], false);
            }
    }
}

static uint64_t hits(const struct kvs_evict_ops *ops, const struct trace *trace, uint64_t capacity)
{
    struct kvs_tier *tier;
    const struct kvs_block_info info = {.n_bytes = 8};
    assert_int_equal(kvs_tier_new(ops, 8 * capacity, NULL, NULL, &tier, NULL), KVS_OK);
    uint64_t n_hit = kvs_tier_access(tier, trace->key, N_ACCESS, &info, trace->next);
    kvs_tier_free(tier);
    return n_hit;
}

static void hit_rate_mode_equals_single_accesses(void **state)
{
    (void)state;
    static struct trace trace;
    draw_trace(&trace, 11, 300);
    for (int p = 0; kvs_evict_all[p]; p++) {
        struct kvs_tier *tier;
        const struct kvs_block_info info = {.n_bytes = 1};
        uint64_t n_hit = 0;
        assert_int_equal(kvs_tier_new(kvs_evict_all[p], 50, NULL, NULL, &tier, NULL), KVS_OK);
        for (size_t i = 0; i < N_ACCESS; i++)
            n_hit += one_access(tier, trace.key[i], &info, (int64_t)i + 1, trace.next[i]);
        kvs_tier_free(tier);
        assert_int_equal(hits(kvs_evict_all[p], &trace, 50), n_hit);
    }
}

static void no_policy_beats_belady_on_equal_blocks(void **state)
{
    (void)state;
    static struct trace trace;
    const struct kvs_evict_ops *belady;
    assert_int_equal(kvs_evict_find("belady", &belady, NULL), KVS_OK);
    for (uint64_t seed = 0; seed < N_SEED; seed++) {
        draw_trace(&trace, seed, 30 + 20 * seed);
        for (uint64_t capacity = 1; capacity < 400; capacity += 1 + capacity / 2) {
            uint64_t bound = hits(belady, &trace, capacity);
            for (int p = 0; kvs_evict_all[p]; p++)
                if (hits(kvs_evict_all[p], &trace, capacity) > bound)
                    fail_msg("%s, seed %d, capacity %d", kvs_evict_all[p]->name, (int)seed,
                             (int)capacity);
        }
    }
}

static void reserved_bytes_are_as_if_not_there(void **state)
{
    (void)state;
    static struct trace trace;
    const struct kvs_block_info info = {.n_bytes = 8};
    draw_trace(&trace, 13, 300);
    for (int p = 0; kvs_evict_all[p]; p++) {
        struct kvs_tier *tier;
        assert_int_equal(kvs_tier_new(kvs_evict_all[p], 5000, NULL, NULL, &tier, NULL), KVS_OK);
        assert_true(kvs_tier_reserve(tier, 4900));
        kvs_tier_release(tier, 300);
        assert_int_equal(kvs_tier_access(tier, trace.key, N_ACCESS, &info, trace.next),
                         hits(kvs_evict_all[p], &trace, 50));
        kvs_tier_free(tier);
    }
}

static void next_uses_are_the_next_uses(void **state)
{
    (void)state;
    static struct trace trace;
    struct kvs_future future = {0};
    draw_trace(&trace, 17, 200);
    assert_int_equal(kvs_future_find(&future, NULL), KVS_OK); /* of nothing */
    for (size_t i = 0; i < N_ACCESS; i += 100)
        assert_int_equal(kvs_future_add(&future, trace.key + i, 100, NULL), KVS_OK);
    assert_int_equal(kvs_future_find(&future, NULL), KVS_OK);
    assert_int_equal(future.n, N_ACCESS);
    assert_memory_equal(future.key, trace.key, sizeof trace.key);
    assert_memory_equal(future.next_use, trace.next, sizeof trace.next);
    kvs_future_free(&future);
}

/* The stack distance of an access: different keys since its last, itself included (Mattson 1970).
 */
static size_t stack_distance(const struct trace *trace, size_t i)
{
    size_t n_other = 1;
    for (size_t k = i; k-- > 0;) {
        if (trace->key[k] == trace->key[i])
            return n_other;
        if (trace->next[k] >= i)
            n_other++;
    }
    return SIZE_MAX;
}

static void lru_hits_equal_stack_distances(void **state)
{
    (void)state;
    static struct trace trace;
    static uint64_t n_at[N_ACCESS + 1];
    const struct kvs_evict_ops *lru;
    assert_int_equal(kvs_evict_find("lru", &lru, NULL), KVS_OK);
    draw_trace(&trace, 5, 500);
    memset(n_at, 0, sizeof n_at);
    for (size_t i = 0; i < N_ACCESS; i++) {
        size_t distance = stack_distance(&trace, i);
        if (distance != SIZE_MAX)
            n_at[distance]++;
    }
    uint64_t n_hit = 0;
    for (uint64_t capacity = 1; capacity <= 600; capacity++) {
        n_hit += n_at[capacity];
        assert_int_equal(hits(lru, &trace, capacity), n_hit);
    }
}

/* --- pins cost no search ---------------------------------------------------------------------- */

static uint64_t n_search;
static uint32_t (*searched)(struct kvs_evict *evict);

static uint32_t counting_victim(struct kvs_evict *evict)
{
    n_search++;
    return searched(evict);
}

static void search_meets_each_pinned_block_once(void **state)
{
    (void)state;
    enum { N = 2000 };
    const struct kvs_block_info info = {.n_bytes = 1};
    for (int p = 0; kvs_evict_all[p]; p++) {
        struct kvs_evict_ops ops = *kvs_evict_all[p];
        struct kvs_tier *tier;
        searched = ops.victim;
        ops.victim = counting_victim;
        n_search = 0;
        assert_int_equal(kvs_tier_new(&ops, N + 1, NULL, NULL, &tier, NULL), KVS_OK);
        for (uint64_t key = 0; key < N; key++)
            kvs_tier_pin(tier, kvs_tier_insert(tier, key, &info, 0));
        for (uint64_t key = N; key < 3 * N; key++)
            assert_int_not_equal(kvs_tier_insert(tier, key, &info, (int64_t)key), KVS_NO_SLOT);
        for (uint64_t key = 0; key < N; key++)
            assert_int_not_equal(kvs_tier_find(tier, key), KVS_NO_SLOT);
        assert_in_range(n_search, 2 * N - 1, 3 * N);
        kvs_tier_free(tier);
    }
}

/* --- ghosts: against a plain list ------------------------------------------------------------- */

enum { GHOST_MAX = 1000, GHOST_KEYS = 3000 };

struct ghost_list { /* oldest first */
    uint64_t key[GHOST_MAX + 1];
    uint32_t n;
};

static bool list_take(struct ghost_list *list, uint64_t key)
{
    uint32_t i = 0;
    while (i < list->n && list->key[i] != key)
        i++;
    if (i == list->n)
        return false;
    memmove(list->key + i, list->key + i + 1, (--list->n - i) * sizeof list->key[0]);
    return true;
}

static void list_add(struct ghost_list *list, uint64_t key, uint32_t limit)
{
    while (list->n > 0 && list->n >= limit)
        list_take(list, list->key[0]);
    if (limit > 0)
        list->key[list->n++] = key;
}

static void ghosts_agree_with_a_plain_list(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct kvs_ghost ghost = {.note_bytes = sizeof(uint64_t)};
        struct ghost_list list = {.n = 0};
        struct kvs_rng rng = kvs_rng_stream(seed, "ghost");
        uint32_t room = 0;
        for (int i = 0; i < 20000; i++) {
            uint64_t key = kvs_rng_below(&rng, GHOST_KEYS), note = 0;
            if (i % 500 == 0 && room < GHOST_MAX) {
                room += (uint32_t)kvs_rng_below(&rng, 100);
                room = room < GHOST_MAX ? room : GHOST_MAX;
                assert_true(kvs_ghost_grow(&ghost, room));
            }
            bool there = kvs_ghost_take(&ghost, key, &note);
            assert_int_equal(there, list_take(&list, key));
            if (there)
                assert_int_equal(note, ~key);
            uint32_t limit = room - (uint32_t)kvs_rng_below(&rng, room / 20 + 1);
            note = ~key;
            kvs_ghost_add(&ghost, key, limit, &note);
            list_add(&list, key, limit);
            assert_int_equal(ghost.index.n, list.n);
        }
        kvs_ghost_free(&ghost);
    }
}

/* --- many blocks ----------------------------------------- */

static void large_tiers_hold_what_they_should(void **state)
{
    (void)state;
    enum { N = 20000 };
    const struct kvs_block_info info = {.n_bytes = 3};
    for (int p = 0; kvs_evict_all[p]; p++) {
        struct kvs_tier *tier;
        struct kvs_tier_stats stats;
        struct kvs_rng rng = kvs_rng_stream(1, "large");
        assert_int_equal(kvs_tier_new(kvs_evict_all[p], UINT64_MAX, NULL, NULL, &tier, NULL),
                         KVS_OK);
        for (uint64_t key = 0; key < N; key++)
            assert_int_not_equal(kvs_tier_insert(tier, key, &info, 0), KVS_NO_SLOT);
        /* the budget shrinks to a third, is used for a while, and grows again */
        assert_true(kvs_tier_reserve(tier, UINT64_MAX - N));
        for (int i = 0; i < 3 * N; i++)
            one_access(tier, kvs_rng_below(&rng, N), &info, i, kvs_rng_u64(&rng));
        kvs_tier_stats(tier, &stats);
        assert_int_equal(stats.n_block, N / 3);
        kvs_tier_release(tier, UINT64_MAX - N);
        for (uint64_t key = 0; key < 2 * (uint64_t)N; key++)
            one_access(tier, key, &info, 4 * N, 0);
        for (uint64_t key = 0; key < 2 * (uint64_t)N; key++)
            assert_int_not_equal(kvs_tier_find(tier, key), KVS_NO_SLOT);
        kvs_tier_free(tier);
    }
}

/* --- memory ----------------------------------------------------------------------------------- */

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void block_takes_69_bytes_or_less(void **state)
{
    (void)state;
    static const char *const policy[] = {"lru", "fifo", "s3fifo", "sieve"};
    const struct kvs_block_info info = {.n_bytes = 1};
    for (size_t p = 0; p < sizeof policy / sizeof policy[0]; p++)
        for (uint64_t n = 33000; n < 400000; n += n / 7) {
            const struct kvs_evict_ops *ops;
            struct kvs_tier *tier;
            assert_int_equal(kvs_evict_find(policy[p], &ops, NULL), KVS_OK);
            size_t before = heap_bytes();
            assert_int_equal(kvs_tier_new(ops, n, NULL, NULL, &tier, NULL), KVS_OK);
            for (uint64_t key = 0; key < 3 * n; key++) /* full, with all its ghosts */
                kvs_tier_access(tier, &key, 1, &info, NULL);
            size_t grown = heap_bytes() - before;
            kvs_tier_free(tier);
            if (grown == 0)
                KVS_SKIP("this malloc keeps no statistics");
            if (grown > 69 * n)
                fail_msg("%s: %d blocks take %d bytes", policy[p], (int)n, (int)grown);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(books_agree_with_a_plain_set),
        cmocka_unit_test(hits_equal_naive_implementations),
        cmocka_unit_test(hit_rate_mode_equals_single_accesses),
        cmocka_unit_test(no_policy_beats_belady_on_equal_blocks),
        cmocka_unit_test(reserved_bytes_are_as_if_not_there),
        cmocka_unit_test(next_uses_are_the_next_uses),
        cmocka_unit_test(ghosts_agree_with_a_plain_list),
        cmocka_unit_test(lru_hits_equal_stack_distances),
        cmocka_unit_test(search_meets_each_pinned_block_once),
        cmocka_unit_test(block_takes_69_bytes_or_less),
        cmocka_unit_test(large_tiers_hold_what_they_should),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
