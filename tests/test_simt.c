#include "test.h"

#include "kernels/simt/simt.h"

#include <stdlib.h>
#include <string.h>

static void nothing(void *arg)
{
    (void)arg;
}

static struct kvs_err launch(enum simt_schedule schedule, unsigned block, size_t shared_bytes,
                             void (*body)(void *arg), void *arg)
{
    struct kvs_err err = {0};
    struct simt *simt = simt_new(schedule, 1, 0);
    assert_non_null(simt);
    enum kvs_code code = simt_run(simt, 1, 1, block, shared_bytes, body, arg, &err);
    assert_int_equal(code, err.code);
    /* the device lives on after a launch that was given up */
    assert_int_equal(simt_run(simt, 1, 1, 32, 0, nothing, NULL, NULL), KVS_OK);
    simt_free(simt);
    return err;
}

/* --- ways to be wrong --------------------------------------------------------------------------
 */

static void half_reach_the_barrier(void *arg)
{
    (void)arg;
    if (simt_self.tid < 40)
        simt_barrier(7);
}

static void two_barriers(void *arg)
{
    (void)arg;
    if (simt_self.tid < 32)
        simt_barrier(7);
    else
        simt_barrier(8);
}

static void shuffle(unsigned mask)
{
    struct simt_slot slot = {.in = {simt_self.tid}};
    simt_collective(simt_shfl_xor, mask, &slot);
}

static void lane_misses_the_shuffle(void *arg)
{
    (void)arg;
    if (simt_self.tid != 5)
        shuffle(1);
}

static void lanes_shuffle_differently(void *arg)
{
    (void)arg;
    shuffle(simt_self.tid < 16 ? 1 : 2);
}

static void shuffle_meets_barrier(void *arg)
{
    (void)arg;
    if (simt_self.tid < 16)
        shuffle(1);
    simt_barrier(9);
}

static void crooked_copy(void *arg)
{
    simt_cp_async16(simt_self.shared + 8, arg, 16);
}

static void wrong_kernels_end_with_who_waits_where(void **state)
{
    static const struct {
        void (*body)(void *arg);
        const char *why[2];
    } cases[] = {
        {half_reach_the_barrier, {"40 at a barrier of line 7", "24 ended"}},
        {two_barriers, {"threads of a block meet different barriers", ""}},
        {lane_misses_the_shuffle,
         {"31 at a warp collective (thread 0's warp: lanes ffffffdf came)", "1 ended"}},
        {lanes_shuffle_differently, {"lanes of a warp meet different collectives", ""}},
        {shuffle_meets_barrier, {"48 at a barrier of line 9, 16 at a warp collective", ""}},
        {crooked_copy, {"cp.async of 16 bytes is not aligned", ""}},
    };
    char data[32];
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int schedule = 0; schedule < SIMT_N_SCHEDULE; schedule++) {
            unsigned block = cases[i].body == lane_misses_the_shuffle ||
                                     cases[i].body == lanes_shuffle_differently
                                 ? 32
                                 : 64;
            struct kvs_err err =
                launch((enum simt_schedule)schedule, block, 64, cases[i].body, data);
            assert_int_equal(err.code, KVS_ERR_DEVICE);
            for (int j = 0; j < 2; j++)
                if (!strstr(err.msg, cases[i].why[j]))
                    fail_msg("case %zu, schedule %d: %s", i, schedule, err.msg);
        }
}

static void block_that_is_not_whole_warps_is_refused(void **state)
{
    (void)state;
    assert_int_equal(launch(SIMT_FORWARD, 33, 0, crooked_copy, NULL).code, KVS_ERR_ARG);
    assert_int_equal(launch(SIMT_FORWARD, 0, 0, crooked_copy, NULL).code, KVS_ERR_ARG);
    assert_int_equal(launch(SIMT_FORWARD, 2048, 0, crooked_copy, NULL).code, KVS_ERR_ARG);
}

/* --- what is promised --------------------------------------------------------------------------
 */

struct seen {
    unsigned char source[32];
    unsigned char fresh, under_way, one_left, landed, tail;
};

static void watch_copies(void *arg)
{
    struct seen *seen = arg;
    unsigned char *s = simt_self.shared;
    if (simt_self.tid != 0)
        return;
    seen->fresh = s[0];
    memset(s, 1, 32);
    simt_cp_async16(s, seen->source, 16);
    simt_cp_commit();
    seen->under_way = s[0];
    simt_cp_async16(s + 16, seen->source + 16, 5);
    simt_cp_commit();
    simt_cp_wait(1);
    seen->landed = s[0];
    seen->one_left = s[16];
    simt_cp_wait(0);
    seen->tail = (unsigned char)(s[20] == 7 && s[21] == 0 && s[31] == 0);
}

static void copies_land_at_their_wait_over_nan(void **state)
{
    struct seen seen;
    (void)state;
    memset(&seen, 7, sizeof seen);
    assert_int_equal(launch(SIMT_FORWARD, 32, 32, watch_copies, &seen).code, KVS_OK);
    assert_int_equal(seen.fresh, 0xff);
    assert_int_equal(seen.under_way, 0xff);
    assert_int_equal(seen.landed, 7);
    assert_int_equal(seen.one_left, 0xff);
    assert_int_equal(seen.tail, 1);
}

static void note(void *arg)
{
    unsigned **at = arg;
    *(*at)++ = simt_self.tid;
    simt_barrier(1);
    *(*at)++ = simt_self.tid;
}

static void schedules_run_threads_in_their_order(void **state)
{
    (void)state;
    for (int schedule = 0; schedule < SIMT_N_SCHEDULE; schedule++) {
        unsigned order[128], *at = order, seen[64] = {0};
        assert_int_equal(launch((enum simt_schedule)schedule, 64, 0, note, &at).code, KVS_OK);
        assert_int_equal(at - order, 128);
        for (unsigned i = 0; i < 64; i++)
            seen[order[i]]++;
        for (unsigned i = 0; i < 64; i++)
            assert_int_equal(seen[i], 1);
        if (schedule == SIMT_FORWARD || schedule == SIMT_FIRST)
            assert_int_equal(order[1], 1);
        if (schedule == SIMT_REVERSE || schedule == SIMT_LAST)
            assert_int_equal(order[0], 63);
    }
}

/* What every lane has of the fragments, against the tables of the PTX ISA, worked out apart. */
static void multiply_known(void *arg)
{
    float *d = arg;
    unsigned g = simt_self.tid / 4, t = simt_self.tid % 4;
    struct simt_slot slot;
    uint32_t one = 0x3f80, two = 0x4000; /* bf16 */
    memset(&slot, 0, sizeof slot);
    /* A[3][5] = 1 lies in register 0 of lane (3, 2), high half; A[11][12] = 2 in register 3 of
     * lane (3, 2), low half; B[5][6] = 2 in register 0 of lane (6, 2), high; B[12][1] = 1 in
     * register 1 of lane (1, 2), low; C[11][1] = 1 in register 3 of lane (3, 0) */
    if (g == 3 && t == 2) {
        slot.in[0] = one << 16;
        slot.in[3] = two;
    }
    if (g == 6 && t == 2)
        slot.in[4] = two << 16;
    if (g == 1 && t == 2)
        slot.in[5] = one;
    if (g == 3 && t == 0)
        slot.out[3] = 0x3f800000;
    simt_collective(simt_mma_16816_bf16, 0, &slot);
    for (unsigned i = 0; i < 4; i++)
        memcpy(&d[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2], &slot.out[i], 4);
}

static void mma_fragments_lie_as_the_isa_says(void **state)
{
    float d[16 * 8];
    (void)state;
    assert_int_equal(launch(SIMT_RANDOM, 32, 0, multiply_known, d).code, KVS_OK);
    for (int row = 0; row < 16; row++)
        for (int col = 0; col < 8; col++) {
            float want = row == 3 && col == 6 ? 2.f : row == 11 && col == 1 ? 3.f : 0.f;
            if (!(d[row * 8 + col] == want))
                fail_msg("d[%d][%d]", row, col);
        }
}

static void load_matrices(void *arg)
{
    uint16_t *shared = (uint16_t *)simt_self.shared;
    uint32_t *got = arg;
    struct simt_slot slot;
    for (unsigned i = 0; i < 8; i++)
        shared[simt_self.tid * 8 + i] = (uint16_t)(simt_self.tid * 8 + i);
    memset(&slot, 0, sizeof slot);
    slot.address = shared + (size_t)simt_self.tid * 8;
    simt_collective(simt_ldmatrix_x4, 0, &slot);
    memcpy(got + (size_t)simt_self.tid * 8, slot.out, 16);
    simt_collective(simt_ldmatrix_x4_trans, 0, &slot);
    memcpy(got + (size_t)simt_self.tid * 8 + 4, slot.out, 16);
}

static void ldmatrix_gives_rows_or_columns(void **state)
{
    uint32_t got[32][8];
    (void)state;
    assert_int_equal(launch(SIMT_LAST, 32, 512, load_matrices, got).code, KVS_OK);
    for (unsigned lane = 0; lane < 32; lane++)
        for (unsigned i = 0; i < 4; i++) {
            unsigned row = lane / 4, col = lane % 4 * 2;
            assert_int_equal(got[lane][i], (i * 64 + row * 8 + col) | (i * 64 + row * 8 + col + 1)
                                                                          << 16);
            assert_int_equal(got[lane][4 + i],
                             (i * 64 + col * 8 + row) | (i * 64 + (col + 1) * 8 + row) << 16);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_kernels_end_with_who_waits_where),
        cmocka_unit_test(block_that_is_not_whole_warps_is_refused),
        cmocka_unit_test(copies_land_at_their_wait_over_nan),
        cmocka_unit_test(schedules_run_threads_in_their_order),
        cmocka_unit_test(mma_fragments_lie_as_the_isa_says),
        cmocka_unit_test(ldmatrix_gives_rows_or_columns),
    };
    return cmocka_run_group_tests_name("simt", tests, NULL, NULL);
}
