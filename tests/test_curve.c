/* Stack distances and hit-ratio curves: by hand, against the definition, against known traces. */
#include "base/map.h"
#include "base/rng.h"
#include "store/curve.h"
#include "store/stack.h"
#include "test.h"
#include "workloads/trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void distances_of_a_short_string_are_known(void **state)
{
    static const char keys[] = "abcabcaacbbd";
    static const uint32_t want[] = {0, 0, 0, 3, 3, 3, 3, 1, 2, 3, 1, 0};
    struct kvs_stack *stack = kvs_stack_new();
    (void)state;
    assert_non_null(stack);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        uint32_t distance;
        assert_true(kvs_stack_access(stack, (uint64_t)keys[i], &distance));
        assert_int_equal(distance, want[i]);
    }
    assert_int_equal(kvs_stack_n_key(stack), 4);
    kvs_stack_free(stack);
}

/* The list of keys, the last used first: the distance is a key's place in it. */
static uint32_t naive_access(uint64_t *list, uint32_t *n, uint64_t key)
{
    uint32_t i = 0, distance;
    while (i < *n && list[i] != key)
        i++;
    distance = i < *n ? i + 1 : 0;
    if (i == *n)
        (*n)++;
    memmove(list + 1, list, i * sizeof *list);
    list[0] = key;
    return distance;
}

/* Long enough for the times to be renumbered and for the tables to grow, again and again. */
static void distances_meet_their_definition(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "stack");
        const uint64_t n_key = 3 + kvs_rng_below(&rng, seed % 2 ? 2000 : 40);
        const struct kvs_zipf zipf = kvs_zipf_make(n_key, (double)(seed % 3) * 0.6);
        struct kvs_stack *stack = kvs_stack_new();
        uint64_t *list = calloc(n_key, sizeof *list);
        uint32_t n = 0;
        assert_true(stack && list);
        for (int i = 0; i < 30000; i++) {
            const uint64_t key = kvs_mix64(kvs_zipf_draw(&zipf, &rng));
            uint32_t distance;
            assert_true(kvs_stack_access(stack, key, &distance));
            if (distance != naive_access(list, &n, key))
                fail_msg("seed %d, access %d", (int)seed, i);
        }
        assert_int_equal(kvs_stack_n_key(stack), n);
        free(list);
        kvs_stack_free(stack);
    }
}

static void curve_of_a_cycle_is_a_step(void **state)
{
    struct kvs_curve *curve = kvs_curve_new(1);
    uint64_t key[100];
    (void)state;
    assert_non_null(curve);
    for (uint64_t i = 0; i < 100; i++)
        key[i] = i % 10;
    assert_true(kvs_curve_add(curve, key, 100));
    assert_true(kvs_curve_end(curve));
    assert_true(kvs_curve_at(curve, 9).hit_frac == 0);
    assert_true(kvs_curve_at(curve, 10).hit_frac == 0.9);
    assert_true(kvs_curve_at(curve, 1000).hit_frac == 0.9);
    assert_true(kvs_curve_at(curve, 10).error == 0);
    assert_true(kvs_curve_n_key(curve) == 10);
    kvs_curve_free(curve);
}

/* A quarter of a million accesses to 50,000 keys, popular and not, in runs as prompts have them. */
static void draw(uint64_t seed, struct kvs_curve *exact, struct kvs_curve *sample)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "curve");
    const struct kvs_zipf zipf = kvs_zipf_make(10000, 0.8);
    for (int i = 0; i < 50000; i++) {
        uint64_t key[5];
        const uint64_t first = kvs_zipf_draw(&zipf, &rng) * 5 + seed * 1000000;
        for (uint64_t k = 0; k < 5; k++)
            key[k] = first + k;
        assert_true(kvs_curve_add(exact, key, 5) && kvs_curve_add(sample, key, 5));
    }
    assert_true(kvs_curve_end(exact) && kvs_curve_end(sample));
}

/* 95 % intervals hold the truth in about 95 of 100 cases: 240 here, which are not independent. */
static void samples_hold_the_exact_curve_in_their_error_bars(void **state)
{
    static const uint64_t size[] = {1000, 2000, 5000, 10000, 20000, 40000};
    unsigned n = 0, n_in = 0;
    double worst = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct kvs_curve *exact = kvs_curve_new(1), *sample = kvs_curve_new(0.1);
        assert_true(exact && sample);
        draw(seed, exact, sample);
        assert_true(fabs(kvs_curve_n_key(sample) / kvs_curve_n_key(exact) - 1) < 0.1);
        for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
            const struct kvs_curve_point want = kvs_curve_at(exact, size[i]),
                                         got = kvs_curve_at(sample, size[i]);
            const double off = fabs(got.hit_frac - want.hit_frac);
            n++;
            n_in += off <= got.error;
            worst = fmax(worst, off);
            assert_true(got.error > 0);
        }
        kvs_curve_free(exact);
        kvs_curve_free(sample);
    }
    if (n_in * 100 < n * 88 || worst > 0.1)
        fail_msg("%u of %u in their bars, the worst is off by %g", n_in, n, worst);
}

static struct kvs_curve *curve_of(const char *file, uint32_t part_mask)
{
    const struct kvs_trace_options how = {0};
    struct kvs_trace *trace;
    struct kvs_curve *curve = kvs_curve_new(1);
    const struct kvs_request *req;
    assert_non_null(curve);
    assert_int_equal(kvs_trace_open(file, &how, &trace, NULL), KVS_OK);
    while (!kvs_trace_next(trace, &req, NULL) && req)
        for (uint32_t i = 0; i < req->n_block; i++)
            if (part_mask & 1u << req->block[i].part)
                assert_true(kvs_curve_add(curve, &req->block[i].id, 1));
    kvs_trace_close(trace);
    assert_true(kvs_curve_end(curve));
    return curve;
}

static void expect_hits(const struct kvs_curve *curve, uint64_t n_block, double hits)
{
    assert_true(fabs(kvs_curve_at(curve, n_block).hit_frac * (double)kvs_curve_n_access(curve) -
                     hits) < 1e-6);
}

/* The shared README's counts, which an LRU list gave. */
static void shared_traces_give_the_known_hits(void **state)
{
    const char *file = kvs_shared("traces/ragpulse");
    (void)state;
    if (!file)
        KVS_SKIP("no shared traces");
    struct kvs_curve *curve = curve_of(file, 1u << KVS_PART_PASSAGE);
    expect_hits(curve, 32, 6344);
    expect_hits(curve, 100, 10056);
    expect_hits(curve, 320, 16869);
    expect_hits(curve, 1000, 25194);
    expect_hits(curve, 2000, 29113);
    kvs_curve_free(curve);
    file = kvs_shared("traces/mooncake/conversation_trace.jsonl");
    assert_non_null(file);
    curve = curve_of(file, UINT32_MAX);
    expect_hits(curve, 1000, 12831);
    expect_hits(curve, 10000, 60921);
    expect_hits(curve, 30000, 93967);
    expect_hits(curve, 50000, 102290);
    expect_hits(curve, 100000, 104924);
    kvs_curve_free(curve);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances_of_a_short_string_are_known),
        cmocka_unit_test(distances_meet_their_definition),
        cmocka_unit_test(curve_of_a_cycle_is_a_step),
        cmocka_unit_test(samples_hold_the_exact_curve_in_their_error_bars),
        cmocka_unit_test(shared_traces_give_the_known_hits),
    };
    return cmocka_run_group_tests_name("curve", tests, NULL, NULL);
}
