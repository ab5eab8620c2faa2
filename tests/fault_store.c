/*
 * A tier whose nth allocation fails refuses that one insert and is as it was: done again, it gives
 * the very evictions of a tier that met no fault.
 */
#include "base/rng.h"
#include "fault.h"
#include "store/evict.h"
#include "store/future.h"
#include "store/tier.h"
#include "test.h"

enum { N_ACCESS = 3000, N_KEY = 1200, CAPACITY = 700 };

static void log_key(void *ctx, uint64_t key, const struct kvs_block_info *info)
{
    uint64_t *log = ctx;
    *log = *log * 31 + key + info->n_bytes;
}

struct run {
    enum kvs_code made;
    uint64_t n_hit, n_refused, log;
};

static void access_once(struct kvs_tier *tier, uint64_t key, int64_t now_ns, struct run *run)
{
    const struct kvs_block_info info = {.n_bytes = 1 + key % 2};
    uint32_t slot = kvs_tier_find(tier, key);
    if (slot != KVS_NO_SLOT) {
        run->n_hit++;
        kvs_tier_touch(tier, slot, now_ns);
        return;
    }
    struct kvs_tier_stats before, after;
    kvs_tier_stats(tier, &before);
    slot = kvs_tier_insert(tier, key, &info, now_ns);
    if (slot == KVS_NO_SLOT) {
        kvs_tier_stats(tier, &after);
        before.n_refused++;
        assert_memory_equal(&before, &after, sizeof after);
        assert_int_equal(kvs_tier_find(tier, key), KVS_NO_SLOT);
        run->n_refused++;
        slot = kvs_tier_insert(tier, key, &info, now_ns);
    }
    assert_int_not_equal(slot, KVS_NO_SLOT);
    kvs_tier_expect(tier, slot, key * 7919 % 1000);
}

static struct run run(const struct kvs_evict_ops *ops)
{
    struct run run = {0};
    struct kvs_err err = {0};
    struct kvs_tier *tier;
    struct kvs_rng rng = kvs_rng_stream(1, "fault");
    run.made = kvs_tier_new(ops, CAPACITY, log_key, &run.log, &tier, &err);
    assert_int_equal(run.made, err.code);
    if (run.made) {
        assert_null(tier);
        return run;
    }
    for (int64_t i = 0; i < N_ACCESS; i++)
        access_once(tier, kvs_rng_below(&rng, N_KEY), i, &run);
    kvs_tier_free(tier);
    return run;
}

static void failed_allocation_refuses_one_insert_and_changes_nothing(void **state)
{
    (void)state;
    for (int p = 0; kvs_evict_all[p]; p++) {
        struct run plain = run(kvs_evict_all[p]);
        assert_int_equal(plain.made, KVS_OK);
        assert_int_equal(plain.n_refused, 0);
        unsigned n = 1;
        for (bool more = true; more; n++) {
            kvs_fault_at(KVS_FAULT_MEM, n);
            struct run faulty = run(kvs_evict_all[p]);
            more = kvs_fault_end();
            if (faulty.made) {
                assert_int_equal(faulty.made, KVS_ERR_NOMEM);
                continue;
            }
            assert_int_equal(faulty.n_refused, more);
            assert_int_equal(faulty.n_hit, plain.n_hit);
            assert_int_equal(faulty.log, plain.log);
        }
        assert_true(n > 20);
    }
}

static void next_uses_without_memory_are_an_error(void **state)
{
    (void)state;
    static uint64_t key[5000];
    for (uint64_t i = 0; i < 5000; i++)
        key[i] = i * i % 4000;
    unsigned n = 1;
    for (bool more = true; more; n++) {
        struct kvs_future future = {0};
        struct kvs_err err = {0};
        kvs_fault_at(KVS_FAULT_MEM, n);
        enum kvs_code code = kvs_future_add(&future, key, 5000, &err);
        if (code == KVS_OK)
            code = kvs_future_find(&future, &err);
        more = kvs_fault_end();
        assert_int_equal(code, more ? KVS_ERR_NOMEM : KVS_OK);
        assert_int_equal(code, err.code);
        kvs_future_free(&future);
    }
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_allocation_refuses_one_insert_and_changes_nothing),
        cmocka_unit_test(next_uses_without_memory_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
