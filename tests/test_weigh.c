#include "test.h"

#include "kernels/codec/weigh.h"

#include <math.h>
#include <stdlib.h>

/* 4 query heads on 2 KV heads of 4 channels; seeded random matrices, norms of 1. */
static const struct kvs_weights_shape shape = {.n_layer = 2,
                                               .hidden = 12,
                                               .ffn = 8,
                                               .n_head = 4,
                                               .n_kv_head = 2,
                                               .head_dim = 4,
                                               .n_vocab = 10,
                                               .n_ctx = 64,
                                               .norm_eps = 1e-5f,
                                               .freq = {1, .1}};

static double sum_row(const float *m, uint32_t row)
{
    double sum = 0;
    for (uint32_t i = 0; i < shape.hidden; i++)
        sum += (double)m[row * shape.hidden + i] * (double)m[row * shape.hidden + i];
    return sum;
}

static double sum_column(const float *m, uint32_t column)
{
    double sum = 0;
    for (uint32_t i = 0; i < shape.hidden; i++) {
        double x = (double)m[i * 16 + column];
        sum += x * x;
    }
    return sum;
}

/* KV head 1 is shared by query heads 2 and 3; its channel 1 is turned with channel `pair`. */
static void check_head_one(bool halves, uint32_t pair)
{
    struct kvs_weights_shape turned = shape;
    struct kvs_weights *w;
    const float **weight;
    float q[16 * 12], o[16 * 12];
    turned.rope_halves = halves;
    assert_int_equal(kvs_weights_random(&turned, 7, &w, NULL), KVS_OK);
    assert_int_equal(kvs_kvf_weigh(w, &weight, NULL), KVS_OK);
    kvs_weights_read(w, KVS_W_Q, 1, q);
    kvs_weights_read(w, KVS_W_O, 1, o);
    double k = sum_row(q, 9) + sum_row(q, 13) + sum_row(q, 8 + pair) + sum_row(q, 12 + pair);
    double v = sum_column(o, 9) + sum_column(o, 13);
    assert_true(fabs((double)weight[2][5] / k - 1) < 1e-5);
    assert_true(fabs((double)weight[2][4 + pair] / k - 1) < 1e-5);
    assert_true(fabs((double)weight[3][5] / v - 1) < 1e-5);
    free(weight);
    kvs_weights_close(w);
}

static void a_key_weighs_as_the_queries_that_meet_it_and_its_rope_pair(void **state)
{
    (void)state;
    check_head_one(false, 0);
    check_head_one(true, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_weighs_as_the_queries_that_meet_it_and_its_rope_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
