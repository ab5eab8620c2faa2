#include "test.h"

#include "kernels/device.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const hosts[] = {"ref", "cpu"};
enum { N_HOST = sizeof hosts / sizeof *hosts };

static struct kvs_dev *open_dev(const char *name, uint64_t seed)
{
    struct kvs_err err = {0};
    struct kvs_dev *dev;
    if (kvs_dev_open(name, 0, seed, &dev, &err))
        fail_msg("%s", err.msg);
    return dev;
}

static struct kvs_buf *buffer(struct kvs_dev *dev, size_t n_byte, const void *data)
{
    struct kvs_buf *buf;
    assert_int_equal(kvs_buf_new(dev, KVS_MEM_DEVICE, n_byte, &buf, NULL), KVS_OK);
    if (data)
        assert_int_equal(kvs_buf_write(kvs_at(buf, 0), data, n_byte, NULL), KVS_OK);
    return buf;
}

static struct kvs_stream *stream_of(struct kvs_dev *dev)
{
    struct kvs_stream *stream;
    assert_int_equal(kvs_stream_new(dev, &stream, NULL), KVS_OK);
    return stream;
}

static struct kvs_event *event_of(struct kvs_dev *dev)
{
    struct kvs_event *event;
    assert_int_equal(kvs_event_new(dev, &event, NULL), KVS_OK);
    return event;
}

static void floats_are(struct kvs_buf *buf, const float *want, size_t n)
{
    float got[64];
    assert_true(n <= 64);
    assert_int_equal(kvs_buf_read(got, kvs_at(buf, 0), n * sizeof *got, NULL), KVS_OK);
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)(got[i] - want[i])) <= 1e-6 * (1 + fabs((double)want[i]))))
            fail_msg("element %zu is %.9g, want %.9g", i, (double)got[i], (double)want[i]);
}

/* --- operators, worked out by hand ------------------------------------------------------------ */

static void operators_give_the_values_of_their_formulas(void **state)
{
    (void)state;
    for (int i = 0; i < N_HOST; i++) {
        struct kvs_dev *dev = open_dev(hosts[i], 3);
        struct kvs_stream *s = stream_of(dev);
        /* rms of (3, 4) is sqrt(25 / 2); with weights 2 and 1 */
        struct kvs_buf *x = buffer(dev, 8, (float[]){3, 4}), *w = buffer(dev, 8, (float[]){2, 1});
        struct kvs_buf *y = buffer(dev, 16, NULL);
        struct kvs_rmsnorm norm = {kvs_at(y, 0), kvs_at(x, 0), kvs_at(w, 0), KVS_F32, 1, 2, 0};
        assert_int_equal(kvs_stream_rmsnorm(s, &norm, NULL), KVS_OK);
        assert_int_equal(kvs_stream_sync(s, NULL), KVS_OK);
        floats_are(y, (float[]){1.697056275f, 1.131370850f}, 2);
        /* [1 2; 3 4] times the transpose of [5 6; 7 8] */
        struct kvs_buf *a = buffer(dev, 16, (float[]){1, 2, 3, 4});
        struct kvs_buf *b = buffer(dev, 16, (float[]){5, 6, 7, 8});
        struct kvs_gemm gemm = {
            kvs_at(y, 0), kvs_at(a, 0), kvs_at(b, 0), KVS_F32, KVS_F32, KVS_F32, 2, 2, 2, 2, 2, 2};
        assert_int_equal(kvs_stream_gemm(s, &gemm, NULL), KVS_OK);
        assert_int_equal(kvs_stream_sync(s, NULL), KVS_OK);
        floats_are(y, (float[]){17, 23, 39, 53}, 4);
        /* silu(1) * 2, silu(-1) * 3 */
        struct kvs_buf *glu = buffer(dev, 16, (float[]){1, -1, 2, 3});
        struct kvs_swiglu swiglu = {
            kvs_at(y, 0), kvs_at(glu, 0), kvs_at(glu, 8), KVS_F32, KVS_F32, 1, 2, 2, 2};
        assert_int_equal(kvs_stream_swiglu(s, &swiglu, NULL), KVS_OK);
        assert_int_equal(kvs_stream_sync(s, NULL), KVS_OK);
        floats_are(y, (float[]){1.462117157f, -0.806824264f}, 2);
        /* a quarter turn, both ways to pair: (1 2 3 4) by pi/2 at frequency pi/2, none at 0 */
        struct kvs_buf *freq = buffer(dev, 16, (double[]){1.5707963267948966, 0});
        struct kvs_buf *pos = buffer(dev, 4, (int32_t[]){1});
        struct kvs_rope rope = {
            kvs_at(a, 0), kvs_at(pos, 0), kvs_at(freq, 0), KVS_F32, KVS_ROPE_ADJACENT, 1, 1, 4, 4};
        assert_int_equal(kvs_stream_rope(s, &rope, NULL), KVS_OK);
        assert_int_equal(kvs_stream_sync(s, NULL), KVS_OK);
        floats_are(a, (float[]){-2, 1, 3, 4}, 4);
        rope.x = kvs_at(b, 0);
        rope.pairs = KVS_ROPE_HALVES; /* (5, 7) turns, (6, 8) does not */
        assert_int_equal(kvs_stream_rope(s, &rope, NULL), KVS_OK);
        assert_int_equal(kvs_stream_sync(s, NULL), KVS_OK);
        floats_are(b, (float[]){-7, 6, 5, 8}, 4);
        kvs_buf_free(x), kvs_buf_free(w), kvs_buf_free(y), kvs_buf_free(a), kvs_buf_free(b);
        kvs_buf_free(glu), kvs_buf_free(freq), kvs_buf_free(pos);
        kvs_stream_free(s);
        kvs_dev_close(dev);
    }
}

static void attention_sees_only_positions_up_to_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < N_HOST; i++) {
        struct kvs_dev *dev = open_dev(hosts[i], 3);
        struct kvs_stream *s = stream_of(dev);
        /* equal scores: the mean of the values at positions 2, 5, 9 that each query sees */
        struct kvs_buf *q = buffer(dev, 32, (float[]){0, 0, 0, 0, 0, 0, 0, 0});
        struct kvs_buf *k = buffer(dev, 24, (float[]){1, 2, 3, 4, 5, 6});
        struct kvs_buf *v = buffer(dev, 24, (float[]){3, 30, 6, 60, 12, 120});
        struct kvs_buf *q_pos = buffer(dev, 16, (int32_t[]){1, 2, 8, 9});
        struct kvs_buf *kv_pos = buffer(dev, 12, (int32_t[]){2, 5, 9}), *y = buffer(dev, 32, NULL);
        struct kvs_attn attn = {.y = kvs_at(y, 0),
                                .q = kvs_at(q, 0),
                                .k = kvs_at(k, 0),
                                .v = kvs_at(v, 0),
                                .q_pos = kvs_at(q_pos, 0),
                                .kv_pos = kvs_at(kv_pos, 0),
                                .y_elem = KVS_F32,
                                .q_elem = KVS_F32,
                                .kv_elem = KVS_F32,
                                .n_q = 4,
                                .n_kv = 3,
                                .n_head = 1,
                                .n_kv_head = 1,
                                .head_dim = 2,
                                .y_stride = 2,
                                .q_stride = 2,
                                .kv_stride = 2,
                                .scale = 1};
        assert_int_equal(kvs_stream_attn(s, &attn, NULL), KVS_OK);
        assert_int_equal(kvs_stream_sync(s, NULL), KVS_OK);
        floats_are(y, (float[]){0, 0, 3, 30, 4.5f, 45, 7, 70}, 8);
        /* the same three tokens in pages of two: page 1, then page 0 of a pool of two pages */
        struct kvs_buf *page = buffer(dev, 8, (int32_t[]){1, 0});
        struct kvs_buf *pool = buffer(dev, 32, (float[]){12, 120, -1, -1, 3, 30, 6, 60});
        attn.k = attn.v = kvs_at(pool, 0);
        attn.page = kvs_at(page, 0);
        attn.page_tok = 2;
        attn.n_page = 2;
        assert_int_equal(kvs_stream_attn(s, &attn, NULL), KVS_OK);
        assert_int_equal(kvs_stream_sync(s, NULL), KVS_OK);
        floats_are(y, (float[]){0, 0, 3, 30, 4.5f, 45, 7, 70}, 8);
        kvs_buf_free(q), kvs_buf_free(k), kvs_buf_free(v), kvs_buf_free(q_pos);
        kvs_buf_free(kv_pos), kvs_buf_free(y), kvs_buf_free(page), kvs_buf_free(pool);
        kvs_stream_free(s);
        kvs_dev_close(dev);
    }
}

static void shifted_keys_equal_keys_roped_at_the_new_position(void **state)
{
    (void)state;
    for (int i = 0; i < N_HOST; i++) {
        enum { DIM = 16 };
        struct kvs_dev *dev = open_dev(hosts[i], 3);
        struct kvs_stream *s = stream_of(dev);
        float x[DIM], want[DIM];
        double freq[DIM / 2];
        for (int c = 0; c < DIM; c++)
            x[c] = (float)(c % 5) - 1.7f;
        for (int c = 0; c < DIM / 2; c++)
            freq[c] = pow(10000, -2. * c / DIM);
        struct kvs_buf *moved = buffer(dev, sizeof x, x), *there = buffer(dev, sizeof x, x);
        struct kvs_buf *f = buffer(dev, sizeof freq, freq);
        struct kvs_buf *p = buffer(dev, 12, (int32_t[]){900, -345, 555});
        struct kvs_rope rope = {kvs_at(moved, 0),
                                kvs_at(p, 0),
                                kvs_at(f, 0),
                                KVS_F32,
                                KVS_ROPE_ADJACENT,
                                1,
                                1,
                                DIM,
                                DIM};
        assert_int_equal(kvs_stream_rope(s, &rope, NULL), KVS_OK);
        rope.pos = kvs_at(p, 4);
        assert_int_equal(kvs_stream_rope(s, &rope, NULL), KVS_OK);
        rope.x = kvs_at(there, 0);
        rope.pos = kvs_at(p, 8);
        assert_int_equal(kvs_stream_rope(s, &rope, NULL), KVS_OK);
        assert_int_equal(kvs_stream_sync(s, NULL), KVS_OK);
        assert_int_equal(kvs_buf_read(want, kvs_at(there, 0), sizeof want, NULL), KVS_OK);
        floats_are(moved, want, DIM);
        kvs_buf_free(moved), kvs_buf_free(there), kvs_buf_free(f), kvs_buf_free(p);
        kvs_stream_free(s);
        kvs_dev_close(dev);
    }
}

/* --- order ----------------------------------------------------------------------------------- */

enum { N_STAGE = 6 };

/*
 * The layer-wise pipeline in small: one stream copies stage i into a staging buffer of two slots,
 * the other adds it up. Events hold both directions; `missing` leaves one out: 1 the wait for the
 * copy, 2 the wait for the slot to be free. Returns the sum.
 */
static float pipeline(const char *backend, uint64_t seed, int missing)
{
    struct kvs_dev *dev = open_dev(backend, seed);
    struct kvs_stream *load = stream_of(dev), *compute = stream_of(dev);
    float data[N_STAGE], zero = 0, sum;
    for (int i = 0; i < N_STAGE; i++)
        data[i] = (float)(1 << i);
    struct kvs_buf *from = buffer(dev, sizeof data, data), *slot[2], *total = buffer(dev, 4, &zero);
    struct kvs_event *there[2], *free_again[2];
    for (int i = 0; i < 2; i++) {
        slot[i] = buffer(dev, 4, NULL);
        there[i] = event_of(dev);
        free_again[i] = event_of(dev);
    }
    for (int i = 0; i < N_STAGE; i++) {
        int at = i % 2;
        if (missing != 2)
            assert_int_equal(kvs_stream_wait(load, free_again[at], NULL), KVS_OK);
        assert_int_equal(
            kvs_stream_copy(load, kvs_at(slot[at], 0), kvs_at(from, 4 * (size_t)i), 4, NULL),
            KVS_OK);
        assert_int_equal(kvs_stream_record(load, there[at], NULL), KVS_OK);
        if (missing != 1)
            assert_int_equal(kvs_stream_wait(compute, there[at], NULL), KVS_OK);
        struct kvs_add add = {kvs_at(total, 0), kvs_at(slot[at], 0), KVS_F32, 1};
        assert_int_equal(kvs_stream_add(compute, &add, NULL), KVS_OK);
        assert_int_equal(kvs_stream_record(compute, free_again[at], NULL), KVS_OK);
    }
    assert_int_equal(kvs_stream_sync(compute, NULL), KVS_OK);
    assert_int_equal(kvs_stream_sync(load, NULL), KVS_OK);
    assert_int_equal(kvs_buf_read(&sum, kvs_at(total, 0), 4, NULL), KVS_OK);
    for (int i = 0; i < 2; i++) {
        kvs_buf_free(slot[i]);
        kvs_event_free(there[i]);
        kvs_event_free(free_again[i]);
    }
    kvs_buf_free(from), kvs_buf_free(total);
    kvs_stream_free(load), kvs_stream_free(compute);
    kvs_dev_close(dev);
    return sum;
}

static void pipeline_with_its_waits_is_right_in_every_order(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++)
        for (int i = 0; i < N_HOST; i++)
            if (!(pipeline(hosts[i], seed, 0) == (1 << N_STAGE) - 1))
                fail_msg("%s, seed %d", hosts[i], (int)seed);
}

static void missing_wait_shows_on_ref(void **state)
{
    (void)state;
    for (int missing = 1; missing <= 2; missing++) {
        int n_wrong = 0;
        for (uint64_t seed = 0; seed < 20; seed++)
            n_wrong += !(pipeline("ref", seed, missing) == (1 << N_STAGE) - 1);
        assert_in_range(n_wrong, 15, 20);
    }
}

static void append(void *arg)
{
    char **at = arg;
    *(*at)++ = 'x';
}

static void stream_runs_in_order_and_grows(void **state)
{
    (void)state;
    for (int i = 0; i < N_HOST; i++) {
        struct kvs_dev *dev = open_dev(hosts[i], 7);
        struct kvs_stream *s = stream_of(dev);
        char text[1001] = {0}, *at = text;
        int64_t ns;
        struct kvs_event *first = event_of(dev), *last = event_of(dev);
        assert_int_equal(kvs_event_elapsed(first, last, &ns, NULL), KVS_ERR_ARG);
        assert_int_equal(kvs_event_sync(first, NULL), KVS_OK); /* never recorded: no wait */
        assert_int_equal(kvs_stream_record(s, first, NULL), KVS_OK);
        for (int n = 0; n < 1000; n++)
            assert_int_equal(kvs_stream_call(s, append, &at, NULL), KVS_OK);
        assert_int_equal(kvs_stream_record(s, last, NULL), KVS_OK);
        assert_int_equal(kvs_event_sync(last, NULL), KVS_OK);
        assert_int_equal(strlen(text), 1000);
        assert_int_equal(kvs_event_elapsed(first, last, &ns, NULL), KVS_OK);
        assert_true(ns >= 0);
        kvs_event_free(first), kvs_event_free(last);
        kvs_stream_free(s);
        kvs_dev_close(dev);
    }
}

/* --- what is refused ------------------------------------------------------------------------- */

static void operands_outside_their_buffers_are_refused(void **state)
{
    struct kvs_dev *dev = open_dev("ref", 0);
    struct kvs_stream *s = stream_of(dev);
    struct kvs_buf *b = buffer(dev, 64, NULL);
    struct kvs_err err = {0};
    (void)state;

    assert_int_equal(kvs_stream_copy(s, kvs_at(b, 60), kvs_at(b, 0), 5, &err), KVS_ERR_RANGE);
    assert_string_equal(err.msg, "copy: the destination needs 5 bytes at 60 of a buffer of 64");
    assert_int_equal(kvs_stream_copy(s, kvs_at(b, 0), kvs_at(b, SIZE_MAX), 1, NULL), KVS_ERR_RANGE);
    assert_int_equal(kvs_buf_write(kvs_at(b, 1), "", 64, NULL), KVS_ERR_RANGE);
    struct kvs_view at = kvs_at(b, 0), none = {0};
    struct kvs_rmsnorm norm = {at, at, at, KVS_F32, 2, 8, 0};
    assert_int_equal(kvs_stream_rmsnorm(s, &norm, NULL), KVS_OK);
    norm.n_row = 3;
    err.code = KVS_OK;
    assert_int_equal(kvs_stream_rmsnorm(s, &norm, &err), KVS_ERR_RANGE);
    assert_string_equal(err.msg, "rmsnorm: y needs 96 bytes at 0 of a buffer of 64");
    norm = (struct kvs_rmsnorm){at, at, none, KVS_F32, 1, 8, 0};
    assert_int_equal(kvs_stream_rmsnorm(s, &norm, NULL), KVS_ERR_ARG);
    norm = (struct kvs_rmsnorm){at, at, at, KVS_U8, 1, 8, 0};
    assert_int_equal(kvs_stream_rmsnorm(s, &norm, NULL), KVS_ERR_ARG);
    norm = (struct kvs_rmsnorm){at, kvs_at(b, 2), at, KVS_F32, 1, 8, 0};
    assert_int_equal(kvs_stream_rmsnorm(s, &norm, NULL), KVS_ERR_ARG);
    norm = (struct kvs_rmsnorm){at, at, at, KVS_F32, 1, 8, NAN};
    assert_int_equal(kvs_stream_rmsnorm(s, &norm, NULL), KVS_ERR_RANGE);
    struct kvs_gemm gemm = {at, at, at, KVS_F32, KVS_F32, KVS_F32, 4, 4, 4, 4, 4, 3};
    assert_int_equal(kvs_stream_gemm(s, &gemm, NULL), KVS_ERR_RANGE); /* rows overlap */
    gemm =
        (struct kvs_gemm){at,         at,         at,         KVS_F32,    KVS_F32,    KVS_F32,
                          UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
    assert_int_equal(kvs_stream_gemm(s, &gemm, NULL), KVS_ERR_RANGE);
    struct kvs_attn attn = {.y = at,
                            .q = at,
                            .k = at,
                            .v = at,
                            .q_pos = at,
                            .kv_pos = at,
                            .y_elem = KVS_F32,
                            .q_elem = KVS_F32,
                            .kv_elem = KVS_F32,
                            .n_q = 1,
                            .n_kv = 1,
                            .n_head = 3,
                            .n_kv_head = 2,
                            .head_dim = 2,
                            .y_stride = 6,
                            .q_stride = 6,
                            .kv_stride = 4,
                            .scale = 1};
    assert_int_equal(kvs_stream_attn(s, &attn, NULL), KVS_ERR_RANGE);
    attn.n_head = 2;
    assert_int_equal(kvs_stream_attn(s, &attn, NULL), KVS_OK);
    attn.page = at;
    assert_int_equal(kvs_stream_attn(s, &attn, NULL), KVS_ERR_RANGE);
    struct kvs_rows rows = {at, at, none, none, KVS_U8, KVS_F32, 1, 1, 1, 1, 1, 1};
    assert_int_equal(kvs_stream_rows(s, &rows, NULL), KVS_ERR_ARG);
    rows.src_elem = KVS_U8;
    rows.n_row = 2;
    assert_int_equal(kvs_stream_rows(s, &rows, NULL), KVS_ERR_RANGE);
    assert_int_equal(
        kvs_buf_new(dev, KVS_MEM_DEVICE, SIZE_MAX - 4096, &(struct kvs_buf *){NULL}, NULL),
        KVS_ERR_NOMEM);
    kvs_stream_free(s);
    kvs_buf_free(b);
    kvs_dev_close(dev);
}

static void unknown_back_end_names_the_nearest(void **state)
{
    struct kvs_dev *dev;
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(kvs_dev_open("cpo", 0, 0, &dev, &err), KVS_ERR_ARG);
    assert_null(dev);
    assert_non_null(strstr(err.msg, "did you mean \"cpu\"?"));
    assert_int_equal(kvs_dev_open("ref", 1, 0, &dev, NULL), KVS_ERR_ABSENT);
    assert_int_equal(kvs_dev_open("cpu", -1, 0, &dev, NULL), KVS_ERR_ABSENT);
    setenv("KVS_CPU", "mmx", 1);
    assert_int_equal(kvs_dev_open("cpu", 0, 0, &dev, NULL), KVS_ERR_ARG);
    unsetenv("KVS_CPU");
}

static void fresh_memory_on_ref_is_nan(void **state)
{
    struct kvs_dev *dev = open_dev("ref", 0);
    struct kvs_buf *b = buffer(dev, 40, NULL), *pinned;
    float value[10];
    (void)state;
    assert_int_equal(kvs_buf_read(value, kvs_at(b, 0), 40, NULL), KVS_OK);
    for (int i = 0; i < 10; i++)
        assert_true(isnan(value[i]));
    assert_null(kvs_buf_host(b));
    assert_int_equal(kvs_buf_new(dev, KVS_MEM_PINNED, 0, &pinned, NULL), KVS_OK);
    assert_non_null(kvs_buf_host(pinned));
    assert_int_equal(kvs_buf_bytes(pinned), 0);
    kvs_buf_free(b), kvs_buf_free(pinned);
    kvs_dev_close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_give_the_values_of_their_formulas),
        cmocka_unit_test(attention_sees_only_positions_up_to_its_own),
        cmocka_unit_test(shifted_keys_equal_keys_roped_at_the_new_position),
        cmocka_unit_test(pipeline_with_its_waits_is_right_in_every_order),
        cmocka_unit_test(missing_wait_shows_on_ref),
        cmocka_unit_test(stream_runs_in_order_and_grows),
        cmocka_unit_test(operands_outside_their_buffers_are_refused),
        cmocka_unit_test(unknown_back_end_names_the_nearest),
        cmocka_unit_test(fresh_memory_on_ref_is_nan),
    };
    return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
