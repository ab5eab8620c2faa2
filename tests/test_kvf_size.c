/* What files cost and what measuring says of them: parts, entropy, errors in steps. */
#include "kvf_made.h"
#include "test.h"

#include "kernels/codec/format.h"
#include "kernels/codec/half.h"
#include "kernels/codec/measure.h"
#include "probes/quality.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of very many tokens one in two or four is counted for the tables: next to nothing is lost. */
static void tables_of_a_part_of_the_tokens_are_as_good(void **state)
{
    struct made whole = kvf_make(1, 8, 128, 4096, 256, 0, KVS_HALF_BF16), half = whole;
    size_t n, n_half, sum = 0;
    (void)state;
    whole.level[0] = half.level[0] = KVS_E5;
    whole.level[1] = half.level[1] = KVS_E2;
    free(kvf_encode(&whole, NULL, &n));
    half.shape.n_tok = 2048; /* 2^22 elements: all are counted */
    for (int i = 0; i < 2; i++) {
        free(kvf_encode(&half, NULL, &n_half));
        sum += n_half;
        half.x[0] += 2048 * 1024;
        half.x[1] += 2048 * 1024;
    }
    assert_true((double)n < 1.0005 * (double)sum);
    kvf_made_free(&whole);
}

/* Bits that order-0 entropy asks for the symbols of a section, channels of a table together. */
static double entropy_bits(const uint8_t *section, const uint16_t *x,
                           const struct kvs_kvf_shape *shape, enum kvs_level level, enum kvs_kv kv)
{
    static uint32_t count[64][256];
    struct kvs_layout at = kvs_layout(shape, level, kv, shape->n_tok, 0, 0, 0);
    const uint16_t *mean = (const void *)(section + at.param_at), *step = mean + at.n_chan;
    const uint8_t *table = (const void *)(step + at.n_chan);
    double bits = 0;
    memset(count, 0, sizeof count);
    for (size_t i = 0; i < (size_t)shape->n_tok * at.n_chan; i++) {
        size_t c = i % at.n_chan;
        double q =
            (double)(kvs_f32_of_half(x[i], shape->half) - kvs_f32_of_half(mean[c], shape->half)) /
            (double)kvs_f32_of_half(step[c], shape->half);
        count[table[c]][(int)fmax(1, fmin(255, rint(q) + 128))]++;
    }
    for (int t = 0; t < 64; t++) {
        double sum = 0;
        for (int s = 0; s < 256; s++)
            sum += count[t][s];
        for (int s = 0; s < 256; s++)
            bits += count[t][s] ? count[t][s] * log2(sum / count[t][s]) : 0;
    }
    return bits;
}

/* E-levels of some elements, without weights and with those there are, as bf16 and f16; the
 * payload: parameters, tables, stream states and escapes are told apart from it. */
static void check_coded(const struct kvs_kvf_shape *shape, const uint16_t *const *x,
                        const float *const *weight, enum kvs_level first, const char *what)
{
    uint8_t levels[64];
    struct kvs_err err = {0};
    for (int level = (int)first; level < KVS_N_LEVEL; level++)
        for (int weighted = 0; weighted <= (weight != NULL); weighted++) {
            struct kvs_kvf_in in = {*shape, x, levels, weighted ? weight : NULL};
            struct kvs_kvf_measure m;
            uint8_t *file;
            size_t n;
            memset(levels, level, sizeof levels);
            if (kvs_kvf_encode(&in, kvs_kvf_isa(NULL), &file, &n, &err))
                fail_msg("%s", err.msg);
            struct kvs_kvf *codec = kvf_parse(file, n);
            assert_int_equal(kvs_kvf_sizes(codec, kvs_kvf_isa(NULL), &m, &err), KVS_OK);
            if (!(m.coded_over_entropy <= 1.01 && m.coded_over_entropy > .97))
                fail_msg("%s, %s, %s%s: %.4f of the entropy", what, shape->half ? "bf16" : "f16",
                         kvs_level_names[level], weighted ? ", weighted" : "",
                         m.coded_over_entropy);
            kvs_kvf_close(codec);
            free(file);
        }
}

static void payload_is_within_1_percent_of_entropy(void **state)
{
    static float weight[256];
    const float *weights[4] = {weight, weight, weight, weight};
    (void)state;
    for (int c = 0; c < 256; c++)
        weight[c] = (float)exp(2 * sin(1.7 * c));
    for (int half = 0; half < 2; half++) {
        struct made made = kvf_make(2, 4, 64, 1024, 256, 4, (enum kvs_half)half);
        check_coded(&made.shape, made.x, weights, KVS_E6, "made-up");
        for (unsigned i = 0; i < 4; i++) {
            uint16_t *x = (uint16_t *)(uintptr_t)made.x[i];
            for (size_t k = 0; k < 1024 * 256; k += 3 + k % 5)
                x[k] = half ? 0x7fc0 : 0x7e00;
        }
        /* what stands for them is counted; not so tables with low bits, of neighbours alike */
        check_coded(&made.shape, made.x, NULL, KVS_E4, "many escapes");
        kvf_made_free(&made);
    }
}

/* Of a real model; as f16 too. */
static void payload_of_real_elements_is_within_1_percent_of_entropy(void **state)
{
    enum { TOK = 400, SEED = 3 };
    const char *path = kvs_shared("models/stories260K.bin");
    static uint16_t narrow[10][TOK * 32];
    struct kvs_weights *weights;
    struct kvs_lab *lab;
    struct kvs_err err = {0};
    uint32_t tok[TOK + 1] = {0};
    const uint16_t *x[10];
    (void)state;
    if (!path)
        KVS_SKIP("models/stories260K.bin is not there");
    if (kvs_weights_open(path, &weights, &err))
        fail_msg("%s", err.msg);
    struct kvs_quality_config config = {"cpu", 0, weights, TOK, 1, 256, 4};
    if (kvs_lab_open(&config, &lab, &err) || kvs_lab_sample(lab, SEED, tok, TOK + 1, &err) ||
        kvs_lab_read(lab, tok, NULL, &err))
        fail_msg("%s", err.msg);
    struct kvs_kvf_shape shape = {.n_layer = 5,
                                  .n_kv_head = 4,
                                  .head_dim = 8,
                                  .n_tok = TOK,
                                  .block_tok = TOK,
                                  .n_sink = 4,
                                  .half = KVS_HALF_BF16};
    check_coded(&shape, kvs_lab_kv(lab), kvs_lab_weight(lab), KVS_E6, "stories260K");
    for (int i = 0; i < 10; i++) {
        x[i] = narrow[i];
        for (int k = 0; k < TOK * 32; k++)
            narrow[i][k] = kvs_f16_of(kvs_f32_of_bf16(kvs_lab_kv(lab)[i][k]));
    }
    shape.half = KVS_F16;
    check_coded(&shape, x, kvs_lab_weight(lab), KVS_E6, "stories260K");
    kvs_lab_close(lab);
    kvs_weights_close(weights);
}

/* What a file tells of its symbols' entropy is what their elements say. */
static void entropy_is_that_of_the_symbols(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++) {
        struct made made = kvf_make(1, 4, 64, 1024, 1024, 0, (enum kvs_half)half);
        for (int level = KVS_E6; level < KVS_N_LEVEL; level++) {
            size_t n;
            made.level[0] = made.level[1] = (uint8_t)level;
            uint8_t *file = kvf_encode(&made, NULL, &n);
            struct kvs_kvf *codec = kvf_parse(file, n);
            for (uint32_t i = 0; i < 2; i++) {
                double told,
                    bits = entropy_bits(file + codec->entry[i].at_bytes, made.x[i], &made.shape,
                                        (enum kvs_level)level, (enum kvs_kv)i);
                assert_int_equal(kvs_kvf_entropy(codec, i, NULL, kvs_kvf_isa(NULL), &told, NULL),
                                 KVS_OK);
                if (!(fabs(told - bits) < .002 * bits))
                    fail_msg("%s: found %.0f bits, want %.0f", kvs_level_names[level], told, bits);
            }
            kvs_kvf_close(codec);
            free(file);
        }
        kvf_made_free(&made);
    }
}

/* 0, 3, 1.5, 1 at two bits: steps of 1, and 1.5 becomes 2. V's groups are of one channel: exact. */
static void errors_are_told_in_steps(void **state)
{
    static const float value[4] = {0, 3, 1.5f, 1};
    struct made made = kvf_make(1, 1, 1, 4, 4, 0, KVS_F16);
    struct kvs_kvf_measure m;
    struct kvs_kvf_error part[2];
    struct kvs_err err = {0};
    size_t n;
    (void)state;
    for (int kv = 0; kv < 2; kv++)
        for (int t = 0; t < 4; t++)
            ((uint16_t *)(uintptr_t)made.x[kv])[t] = kvs_f16_of(value[t]);
    made.level[0] = made.level[1] = KVS_P2;
    uint8_t *file = kvf_encode(&made, NULL, &n);
    struct kvs_kvf *codec = kvf_parse(file, n);
    struct kvs_kvf_in in = {made.shape, made.x, made.level, NULL};
    assert_int_equal(kvs_kvf_compare(codec, &in, kvs_kvf_isa(NULL), &m, part, &err), KVS_OK);
    assert_true(m.error[0].max_abs == .5 && m.error[0].max_step == .5);
    assert_true(part[0].max_step == .5 && part[0].max_abs == .5);
    assert_true(m.error[1].max_abs == 0 && isnan(m.error[1].max_step) && isnan(part[1].max_step));
    assert_true(fabs(part[0].rel_l2 - .5 / sqrt(9 + 2.25 + 1)) < 1e-12);
    assert_true(isnan(m.coded_over_entropy));
    kvs_kvf_close(codec);
    free(file);
    kvf_made_free(&made);
}

/* Two channels of fp8: 0, which is exact, and 1.37 always, which is not and has no variance:
 * without it 120 dB are left. A NaN that was 2, an infinity that was a NaN are counted.
 */
static void constant_channels_and_odd_elements_are_left_out(void **state)
{
    struct made made = kvf_make(1, 1, 2, 8, 8, 0, KVS_F16);
    uint16_t other[16];
    struct kvs_kvf_measure m;
    struct kvs_err err = {0};
    size_t n;
    (void)state;
    for (int kv = 0; kv < 2; kv++)
        for (int t = 0; t < 8; t++) {
            ((uint16_t *)(uintptr_t)made.x[kv])[2 * t] = 0;
            ((uint16_t *)(uintptr_t)made.x[kv])[2 * t + 1] = kvs_f16_of(1.37f);
        }
    ((uint16_t *)(uintptr_t)made.x[1])[2] = 0x7e00;
    ((uint16_t *)(uintptr_t)made.x[1])[4] = 0x7e00;
    made.level[0] = made.level[1] = KVS_FP8;
    uint8_t *file = kvf_encode(&made, NULL, &n);
    struct kvs_kvf *codec = kvf_parse(file, n);
    memcpy(other, made.x[1], sizeof other);
    other[2] = kvs_f16_of(2);
    other[4] = 0x7c00;
    const uint16_t *x[2] = {made.x[0], other};
    struct kvs_kvf_in in = {made.shape, x, made.level, NULL};
    assert_int_equal(kvs_kvf_compare(codec, &in, kvs_kvf_isa(NULL), &m, NULL, &err), KVS_OK);
    for (int kv = 0; kv < 2; kv++) {
        assert_true(m.error[kv].max_abs > 0);
        assert_true(m.error[kv].snr_db == 120 && m.error[kv].snr_db_p5 == 120);
        assert_int_equal(m.error[kv].n_odd, kv ? 2 : 0);
    }
    /* V has 2 escapes of 6 bytes more, and is padded to 16 bytes at most */
    assert_true(fabs((m.kv_bits[1] - m.kv_bits[0]) * 16 / 8 - 2 * 6) <= 16);
    kvs_kvf_close(codec);
    free(file);
    kvf_made_free(&made);
}

/* Steps as told hold the bounds: half of one at packed levels, one at e-levels, and roundings. */
static void no_error_is_over_its_step(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++) {
        struct made made = kvf_mixed((enum kvs_half)half, 45);
        struct kvs_kvf_error part[14];
        struct kvs_kvf_measure m;
        struct kvs_err err = {0};
        size_t n;
        uint8_t *file = kvf_encode(&made, NULL, &n);
        struct kvs_kvf *codec = kvf_parse(file, n);
        struct kvs_kvf_in in = {made.shape, made.x, made.level, NULL};
        assert_int_equal(kvs_kvf_compare(codec, &in, kvs_kvf_isa(NULL), &m, part, &err), KVS_OK);
        for (int i = 0; i < 14; i++) {
            enum kvs_level level = (enum kvs_level)made.level[i];
            bool is_e = level >= KVS_E6, is_p = level >= KVS_P8 && !is_e;
            /* fine steps are no larger than what 16 bits round by */
            bool fine = level == KVS_P8 || level == KVS_E6 || level == KVS_E5;
            double most = fine ? 1.5 : is_p ? .6 : 1.1;
            if (!is_e && !is_p)
                assert_true(isnan(part[i].max_step));
            else if (!(part[i].max_step > .3 && part[i].max_step < most))
                fail_msg("%s: %.3f steps", kvs_level_names[level], part[i].max_step);
        }
        kvs_kvf_close(codec);
        free(file);
        kvf_made_free(&made);
    }
}

static void parts_sum_to_the_file(void **state)
{
    struct made made = kvf_mixed(KVS_HALF_BF16, 64);
    struct kvs_kvf_parts p = {0};
    size_t n;
    (void)state;
    uint8_t *file = kvf_encode(&made, NULL, &n);
    struct kvs_kvf *codec = kvf_parse(file, n);
    kvs_kvf_head_parts(codec, &p);
    for (uint32_t i = 0; i < kvs_kvf_n_section(codec); i++)
        assert_int_equal(kvs_kvf_section_parts(codec, i, NULL, &p, NULL), KVS_OK);
    assert_int_equal(
        p.payload + p.sink + p.param + p.stream + p.escape + p.table + p.head + p.padding, n);
    assert_int_equal(p.sink, 14 * 4 * 192 * 2);
    kvs_kvf_close(codec);
    free(file);
    kvf_made_free(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_of_a_part_of_the_tokens_are_as_good),
        cmocka_unit_test(payload_is_within_1_percent_of_entropy),
        cmocka_unit_test(payload_of_real_elements_is_within_1_percent_of_entropy),
        cmocka_unit_test(entropy_is_that_of_the_symbols),
        cmocka_unit_test(errors_are_told_in_steps),
        cmocka_unit_test(constant_channels_and_odd_elements_are_left_out),
        cmocka_unit_test(no_error_is_over_its_step),
        cmocka_unit_test(parts_sum_to_the_file),
    };
    return cmocka_run_group_tests_name("codec, sizes", tests, NULL, NULL);
}
