#include "test.h"

#include "base/rng.h"
#include "kernels/store/shelf.h"
#include "store/evict.h"
#include "store_lab.h"
#include "tmpdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_BLOCK = 10, ROOM = 4, N_ACCESS = 120 };

/* The folder holds exactly the tier's blocks, and all are whole. */
static void assert_same(struct kvs_store *store, const struct kvs_tier *tier,
                        const struct lab_block *block)
{
    struct kvs_store_entry *entry;
    struct kvs_tier_stats stats;
    struct kvs_err err = {0};
    size_t n, n_found = 0;

    kvs_tier_stats(tier, &stats);
    if (kvs_store_list(store, &entry, &n, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(n, stats.n_block);
    for (int i = 0; i < N_BLOCK; i++)
        for (size_t e = 0; e < n; e++)
            if (memcmp(&entry[e].key, &block[i].key, sizeof entry[e].key) == 0) {
                assert_int_not_equal(kvs_tier_find(tier, block[i].key.word[0]), KVS_NO_SLOT);
                n_found++;
            }
    assert_int_equal(n_found, n);
    free(entry);
}

static void folder_follows_the_simulators_tier_under_every_policy(void **state)
{
    struct lab_block block[N_BLOCK];
    char place[160];
    (void)state;

    for (int i = 0; i < N_BLOCK; i++)
        block[i] = lab_block((uint64_t)i, KVS_P2);
    for (uint64_t p = 0; kvs_evict_all[p]; p++) {
        const struct kvs_evict_ops *ops = kvs_evict_all[p];
        const struct kvs_block_info info = {.n_bytes = 1000, .recompute_s = 1};
        struct kvs_rng rng = kvs_rng_stream(p, "accesses");
        struct kvs_tier *tier;
        struct kvs_shelf *shelf;
        struct kvs_err err = {0};
        snprintf(place, sizeof place, "%s/%s", tmpdir(), ops->name);
        struct kvs_store *store = lab_open(place);
        assert_int_equal(kvs_tier_new(ops, ROOM * 1000, NULL, NULL, &tier, &err), KVS_OK);
        assert_int_equal(kvs_shelf_new(store, "p2", ops, ROOM * 1000, &shelf, &err), KVS_OK);
        for (int64_t now = 0; now < N_ACCESS; now++) {
            const struct lab_block *b = &block[kvs_rng_below(&rng, N_BLOCK)];
            uint32_t slot = kvs_tier_find(tier, b->key.word[0]);
            bool kept;
            assert_int_equal(kvs_shelf_holds(shelf, b->key), slot != KVS_NO_SLOT);
            if (slot != KVS_NO_SLOT) {
                kvs_tier_touch(tier, slot, now);
                kvs_shelf_touch(shelf, b->key, now);
                continue;
            }
            slot = kvs_tier_insert(tier, b->key.word[0], &info, now);
            if (kvs_shelf_put(shelf, b->key, b->file, b->n_byte, &info, now, &kept, &err))
                fail_msg("%s", err.msg);
            assert_int_equal(kept, slot != KVS_NO_SLOT);
            if (now % 10 == 0)
                assert_same(store, tier, block);
        }
        assert_same(store, tier, block);
        kvs_shelf_free(shelf);
        kvs_tier_free(tier);
        kvs_store_close(store);
    }
    for (int i = 0; i < N_BLOCK; i++)
        lab_block_free(&block[i]);
}

static void block_that_cannot_be_stored_is_not_held(void **state)
{
    struct lab_block a = lab_block(1, KVS_P2), b = lab_block(2, KVS_P2);
    const struct kvs_block_info info = {.n_bytes = 1000}, large = {.n_bytes = 5000};
    const struct kvs_evict_ops *lru;
    struct kvs_shelf *shelf, *second;
    struct kvs_err err = {0};
    char place[160];
    bool kept;
    (void)state;

    assert_int_equal(kvs_evict_find("lru", &lru, &err), KVS_OK);
    snprintf(place, sizeof place, "%s/refused", tmpdir());
    struct kvs_store *store = lab_open(place);
    assert_int_equal(kvs_shelf_new(store, "p2", lru, 2000, &shelf, &err), KVS_OK);
    assert_int_equal(kvs_shelf_put(shelf, a.key, a.file, a.n_byte, &info, 0, &kept, &err), KVS_OK);
    assert_true(kept);
    assert_int_equal(kvs_shelf_put(shelf, b.key, b.file, b.n_byte, &large, 1, &kept, &err), KVS_OK);
    assert_false(kept);
    assert_true(kvs_shelf_holds(shelf, a.key));
    /* another block's file: the store refuses it */
    assert_int_equal(kvs_shelf_put(shelf, b.key, a.file, a.n_byte, &info, 2, &kept, &err),
                     KVS_ERR_ARG);
    assert_false(kept);
    assert_false(kvs_shelf_holds(shelf, b.key));
    err = (struct kvs_err){0};
    assert_int_equal(kvs_shelf_put(shelf, b.key, b.file, b.n_byte, &info, 3, &kept, &err), KVS_OK);
    assert_true(kept && kvs_shelf_holds(shelf, a.key) && kvs_shelf_holds(shelf, b.key));
    assert_int_equal(kvs_shelf_new(store, "p2", lru, 2000, &second, &err), KVS_ERR_ARG);
    kvs_shelf_free(shelf);
    kvs_store_close(store);
    lab_block_free(&a);
    lab_block_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folder_follows_the_simulators_tier_under_every_policy),
        cmocka_unit_test(block_that_cannot_be_stored_is_not_held),
    };
    return cmocka_run_group_tests_name("kvshelf", tests, tmpdir_make, tmpdir_drop);
}
