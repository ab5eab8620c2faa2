/* How far decoded elements may be from what they were: every level, shape and odd number. */
#include "kvf_made.h"
#include "test.h"

#include "base/rng.h"
#include "kernels/codec/format.h"
#include "kernels/codec/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- numbers ------------------------------------------------------------------------------------
 */

static void f16_goes_there_and_back(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float value = kvs_f32_of_f16((uint16_t)bits);
        if ((bits & 0x7fff) > 0x7c00)
            assert_true(isnan(value));
        else
            assert_int_equal(kvs_f16_of(value), bits);
    }
    assert_true(kvs_f32_of_f16(0x3c00) == 1 && kvs_f32_of_f16(0x0001) == 0x1p-24f);
    /* halfway goes to even, a bit more goes up; 65520 is the first that is infinite */
    assert_int_equal(kvs_f16_of(1 + 0x1p-11f), 0x3c00);
    assert_int_equal(kvs_f16_of(1 + 0x1p-11f + 0x1p-20f), 0x3c01);
    assert_int_equal(kvs_f16_of(1 + 3 * 0x1p-11f), 0x3c02);
    assert_int_equal(kvs_f16_of(65519), 0x7bff);
    assert_int_equal(kvs_f16_of(-65520), 0xfc00);
    assert_int_equal(kvs_f16_of(0x1p-25f), 0);
    assert_int_equal(kvs_f16_of(0x1.8p-25f), 1);
}

/* --- error bounds -------------------------------------------------------------------------------
 */

static double value(uint16_t x, enum kvs_half half)
{
    return (double)kvs_f32_of_half(x, half);
}

/* Least and largest of a group; deviation of a channel. */
struct spread {
    double low, high, deviation;
};

static struct spread spread_of(const uint16_t *x, uint32_t stride, uint32_t n, enum kvs_half half)
{
    struct spread s = {HUGE_VAL, -HUGE_VAL, 0};
    double sum = 0, square = 0;
    for (uint32_t i = 0; i < n; i++) {
        double v = value(x[(size_t)i * stride], half);
        s.low = fmin(s.low, v);
        s.high = fmax(s.high, v);
        sum += v;
    }
    for (uint32_t i = 0; i < n; i++) {
        double away = value(x[(size_t)i * stride], half) - sum / n;
        square += away * away;
    }
    s.deviation = sqrt(square / n);
    return s;
}

/* How far element (t, c) may be off, from the elements themselves; all: of each channel; tiny:
 * what is under it counts for nothing. */
static double bound(const struct made *made, enum kvs_level level, enum kvs_kv kv,
                    const uint16_t *x, const struct spread *all, uint32_t t, uint32_t c,
                    double tiny)
{
    const struct kvs_kvf_shape *s = &made->shape;
    uint32_t n_chan = kvs_kvf_n_chan(s), sink = s->n_sink;
    double unit = s->half == KVS_F16 ? 0x1p-11 : 0x1p-8;
    double v = fabs(value(x[(size_t)t * n_chan + c], s->half));
    if (t < sink || level == KVS_RAW16 || level == KVS_LX)
        return 0;
    if (kvs_level_is_e(level)) {
        double step = all[c].deviation * kvs_level_step(level) * (1 + 4 * unit) + tiny;
        return step + (v + step) * unit + tiny;
    }
    if (level == KVS_FP8) { /* 4 significant bits, and a scale rounded up; subnormal below */
        uint32_t from = kv == KVS_K ? c : c / s->head_dim * s->head_dim,
                 n = kv == KVS_K ? 1 : s->head_dim;
        double most = 0;
        for (uint32_t i = from; i < from + n; i++)
            most = fmax(most, fmax(fabs(all[i].low), fabs(all[i].high)));
        return v * (0x1p-4 + 2 * unit) + (most / 448 * (1 + 4 * unit) + tiny) * 0x1p-10 + tiny;
    }
    uint32_t group = kvs_level_group(level);
    struct spread g;
    if (kv == KVS_K) {
        uint32_t from = sink + (t - sink) / group * group;
        g = spread_of(x + (size_t)from * n_chan + c, n_chan,
                      s->n_tok - from < group ? s->n_tok - from : group, s->half);
    } else {
        uint32_t from = c / group * group;
        g = spread_of(x + (size_t)t * n_chan + from, 1,
                      n_chan - from < group ? n_chan - from : group, s->half);
    }
    double step = (g.high - g.low) / ((1 << kvs_level_bits(level)) - 1) * (1 + 2 * unit) + tiny;
    return step * .5001 + (fmax(fabs(g.low), fabs(g.high)) + step) * unit + tiny;
}

static void check_bounds(const struct made *made, enum kvs_level level, const char *isa,
                         double tiny)
{
    size_t n;
    uint8_t *file = kvf_encode(made, isa, &n);
    struct kvs_kvf *codec = kvf_parse(file, n);
    uint32_t n_chan = kvs_kvf_n_chan(&made->shape);
    for (int kv = 0; kv < 2; kv++) {
        uint16_t *y = kvf_decode(codec, isa, 0, (enum kvs_kv)kv);
        struct spread all[256];
        uint32_t sink = made->shape.n_sink;
        for (uint32_t c = 0; c < n_chan; c++)
            all[c] = spread_of(made->x[kv] + (size_t)sink * n_chan + c, n_chan,
                               made->shape.n_tok - sink, made->shape.half);
        for (uint32_t t = 0; t < made->shape.n_tok; t += 1 + t % 3)
            for (uint32_t c = 0; c < n_chan; c += 1 + c % 3) {
                size_t at = (size_t)t * n_chan + c;
                double off =
                    fabs(value(made->x[kv][at], made->shape.half) - value(y[at], made->shape.half));
                double most = bound(made, level, (enum kvs_kv)kv, made->x[kv], all, t, c, tiny);
                if (!(off <= most))
                    fail_msg("%s, %s, %s, %s: %u tokens of %u channels: (%u, %u) is %g off, at "
                             "most %g",
                             kvs_level_names[level], kv ? "V" : "K", isa,
                             made->shape.half ? "bf16" : "f16", made->shape.n_tok, n_chan, t, c,
                             off, most);
            }
        free(y);
    }
    kvs_kvf_close(codec);
    free(file);
}

static const double smallest[2] = {0x1p-24, 0x1p-126}; /* f16: subnormal; bf16: normal */

static void every_level_keeps_its_bound_in_every_shape(void **state)
{
    static const uint32_t toks[] = {1, 2, 5, 31, 64, 65, 257};
    static const uint32_t shapes[][2] = {{1, 1}, {3, 5}, {2, 33}, {1, 64}, {3, 64}, {5, 27}};
    (void)state;
    for (int half = 0; half < 2; half++)
        for (size_t t = 0; t < sizeof toks / sizeof toks[0]; t++)
            for (size_t c = 0; c < 6; c++) {
                struct made made = kvf_make(1, shapes[c][0], shapes[c][1], toks[t], 1024,
                                            toks[t] > 4 ? 4 : 0, (enum kvs_half)half);
                for (int level = 0; level < KVS_N_LEVEL; level++) {
                    if (level == KVS_LX && half == KVS_F16)
                        continue;
                    made.level[0] = made.level[1] = (uint8_t)level;
                    const char *isa = kvf_isas[((unsigned)level + t + c) % KVF_ISAS];
                    check_bounds(&made, (enum kvs_level)level, kvs_kvf_isa(isa) ? isa : "scalar",
                                 smallest[half]);
                }
                kvf_made_free(&made);
            }
}

/* --- odd numbers --------------------------------------------------------------------------------
 */

static void what_is_no_number_or_huge_comes_back_as_it_was(void **state)
{
    static const uint16_t odd[2][8] = {
        {0x7c00, 0xfc00, 0x7e01, 0xfe00, 0x7bff, 0xfbff, 0x7801, 0x7fff},
        {0x7f80, 0xff80, 0x7fc1, 0xffc0, 0x7f7f, 0xff7f, 0x7e01, 0x7fff},
    };
    (void)state;
    for (int half = 0; half < 2; half++)
        for (int level = 0; level < KVS_N_LEVEL; level++) {
            struct made made = kvf_make(1, 2, 40, 100, 100, 2, (enum kvs_half)half);
            if (level == KVS_LX && half == KVS_F16) {
                kvf_made_free(&made);
                continue;
            }
            made.level[0] = made.level[1] = (uint8_t)level;
            for (uint32_t i = 0; i < 2 * 8; i++) /* in the sinks too */
                ((uint16_t *)(uintptr_t)made.x[i % 2])[i * 497] = odd[half][i / 2];
            size_t n;
            uint8_t *file = kvf_encode(&made, NULL, &n);
            struct kvs_kvf *codec = kvf_parse(file, n);
            for (uint32_t i = 0; i < 2 * 8; i++) {
                uint16_t *y = kvf_decode(codec, NULL, 0, (enum kvs_kv)(i % 2));
                assert_int_equal(y[i * 497], odd[half][i / 2]);
                for (uint32_t k = 0; k < 8000; k++) /* and does not spoil its neighbours */
                    if ((made.x[i % 2][k] & 0x7fff) <= kvs_half_huge((enum kvs_half)half))
                        assert_true(fabs(value(y[k], (enum kvs_half)half)) < 300);
                free(y);
            }
            kvs_kvf_close(codec);
            free(file);
            kvf_made_free(&made);
        }
}

/* Channels of deviation 20000, cut at the largest f16: symbols reach there, and half a step beyond,
 * where numbers are infinite. */
static void wide_channels_keep_huge_numbers_and_all_finite(void **state)
{
    (void)state;
    for (int level = KVS_E6; level <= KVS_E1_5; level++) {
        struct made made = kvf_make(1, 1, 64, 256, 256, 0, KVS_F16);
        uint8_t *first = NULL;
        size_t n, n_first = 0;
        made.level[0] = made.level[1] = (uint8_t)level;
        for (uint32_t i = 0; i < 2 * 256 * 64; i++) {
            uint16_t *x = (uint16_t *)(uintptr_t)made.x[i % 2] + i / 2;
            uint32_t r = i * 2654435761u; /* sum of four even bytes: deviation 148 */
            double sum = (r & 255) + (r >> 8 & 255) + (r >> 16 & 255) + (r >> 24) - 510.;
            *x = kvs_f16_of((float)fmin(fmax(sum * 135, -65504), 65504));
        }
        for (size_t s = 0; s < KVF_ISAS; s++) {
            if (!kvs_kvf_isa(kvf_isas[s]))
                continue;
            uint8_t *file = kvf_encode(&made, kvf_isas[s], &n);
            if (!first) {
                first = file;
                n_first = n;
                continue;
            }
            assert_int_equal(n, n_first);
            assert_memory_equal(file, first, n);
            free(file);
        }
        struct kvs_kvf *codec = kvf_parse(first, n_first);
        for (uint32_t kv = 0; kv < 2; kv++) {
            uint16_t *y = kvf_decode(codec, NULL, 0, (enum kvs_kv)kv);
            uint32_t n_huge = 0;
            for (uint32_t i = 0; i < 256 * 64; i++) {
                assert_true(isfinite(value(y[i], KVS_F16)));
                if ((made.x[kv][i] & 0x7fff) > kvs_half_huge(KVS_F16)) {
                    assert_int_equal(y[i], made.x[kv][i]);
                    n_huge++;
                }
            }
            assert_true(n_huge > 500);
            free(y);
        }
        kvs_kvf_close(codec);
        free(first);
        kvf_made_free(&made);
    }
}

/* One element in 64 lies 125 to 127 steps from the mean: low bits of the least symbols, beside 0,
 * which is none. */
static void escapes_differ_from_the_least_symbols(void **state)
{
    struct made made = kvf_make(1, 1, 64, 256, 256, 0, KVS_F16);
    size_t n;
    (void)state;
    made.level[0] = made.level[1] = KVS_E6;
    for (uint32_t i = 0; i < 2 * 256 * 64; i++) {
        uint32_t at = i % (256 * 64), t = at / 64;
        float far = (t % 128 ? 1.f : -1.f) * (1 + .008f * (float)((int)(i % 3) - 1));
        float near = (float)(int)(i * 2654435761u >> 16 & 0xff) / 127.5f - 1;
        ((uint16_t *)(uintptr_t)made.x[i / (256 * 64)])[at] =
            kvs_f16_of(t % 64 ? near * .0388f : far);
    }
    for (uint32_t kv = 0; kv < 2; kv++)
        ((uint16_t *)(uintptr_t)made.x[kv])[5 * 64 + 3] = 0x7c00; /* infinite */
    uint8_t *file = kvf_encode(&made, NULL, &n);
    struct kvs_kvf *codec = kvf_parse(file, n);
    for (size_t s = 0; s < KVF_ISAS; s++)
        for (uint32_t kv = 0; kv < 2 && kvs_kvf_isa(kvf_isas[s]); kv++) {
            uint16_t *y = kvf_decode(codec, kvf_isas[s], 0, (enum kvs_kv)kv);
            for (uint32_t i = 0; i < 256 * 64; i++)
                if (i == 5 * 64 + 3)
                    assert_true(y[i] == 0x7c00);
                else
                    assert_true(fabs(value(y[i], KVS_F16) - value(made.x[kv][i], KVS_F16)) <
                                1 / 125.);
            free(y);
        }
    kvs_kvf_close(codec);
    free(file);
    kvf_made_free(&made);
}

static void the_largest_numbers_that_are_quantised_overflow_nothing(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++)
        for (int level = 0; level < KVS_N_LEVEL; level++) {
            struct made made = kvf_make(1, 1, 70, 600, 600, 0, (enum kvs_half)half);
            uint16_t most = kvs_half_huge((enum kvs_half)half);
            if (level == KVS_LX && half == KVS_F16) {
                kvf_made_free(&made);
                continue;
            }
            made.level[0] = made.level[1] = (uint8_t)level;
            for (uint32_t i = 0; i < 600 * 70; i++) /* of either sign, or one sign in a channel */
                ((uint16_t *)(uintptr_t)made.x[i % 2])[i] =
                    (uint16_t)(most | ((i * 37 % 70 + (i % 70 ? i / 70 : 0)) % 2 ? 0x8000 : 0));
            size_t n;
            uint8_t *file = kvf_encode(&made, NULL, &n);
            struct kvs_kvf *codec = kvf_parse(file, n);
            for (int kv = 0; kv < 2; kv++)
                free(kvf_decode(codec, NULL, 0, (enum kvs_kv)kv));
            kvs_kvf_close(codec);
            free(file);
            kvf_made_free(&made);
        }
}

static void odd_channels_keep_the_bound(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++) {
        struct made made = kvf_make(1, 1, 70, 130, 130, 0, (enum kvs_half)half);
        for (int kv = 0; kv < 2; kv++) {
            uint16_t *x = (uint16_t *)(uintptr_t)made.x[kv];
            for (uint32_t t = 0; t < 130; t++) {
                uint16_t *row = x + t * 70;
                row[0] = 0;                                                      /* zeros */
                row[1] = 0x8000;                                                 /* minus zeros */
                row[2] = kvs_half_of(3.25f, (enum kvs_half)half);                /* constant */
                row[3] = kvs_half_of(t == 77 ? 1000.f : 0, (enum kvs_half)half); /* one outlier */
                row[4] = (uint16_t)(t % 5);                                      /* subnormal */
                row[5] = kvs_half_of((t % 2 ? 1.f : -1.f) * 30000, (enum kvs_half)half);
                row[6] = kvs_half_of(ldexpf(1, (int)(t % 28) - 14), (enum kvs_half)half);
                row[7] = kvs_half_of(100 + (float)(t % 3) * .5f, (enum kvs_half)half);
            }
        }
        for (int level = 0; level < KVS_N_LEVEL; level++)
            if (level != KVS_LX || half == KVS_HALF_BF16) {
                made.level[0] = made.level[1] = (uint8_t)level;
                for (size_t s = 0; s < KVF_ISAS; s++)
                    if (kvs_kvf_isa(kvf_isas[s]))
                        check_bounds(&made, (enum kvs_level)level, kvf_isas[s], smallest[half]);
            }
        kvf_made_free(&made);
    }
}

/* Least deviation, a power of 2, from which numbers of bf16 keep their bound: README, "Bounds". */
static int least_deviation(enum kvs_level level)
{
    if (kvs_level_is_e(level))
        return -116;
    if (level == KVS_FP8)
        return -120;
    /* of p: the step is to be 2^-126; groups reach over 2 deviations at least */
    return -127 + (int)kvs_level_bits(level);
}

static void small_numbers_of_bf16_keep_the_bound_down_to_where_it_is_promised(void **state)
{
    struct made made = kvf_make(1, 1, 64, 256, 256, 0, KVS_HALF_BF16);
    (void)state;
    for (int level = KVS_FP8; level < KVS_N_LEVEL; level++)
        for (int e = least_deviation((enum kvs_level)level); e <= -96; e++) {
            made.level[0] = made.level[1] = (uint8_t)level;
            for (uint32_t i = 0; i < 2 * 256 * 64; i++) {
                uint32_t r = (i + 1) * 2654435761u; /* sum of four bytes: deviation 148 */
                r ^= r >> 15;
                r *= 2246822519u;
                r ^= r >> 13;
                int sum = (int)((r & 255) + (r >> 8 & 255) + (r >> 16 & 255) + (r >> 24)) - 510;
                ((uint16_t *)(uintptr_t)made.x[i / (256 * 64)])[i % (256 * 64)] =
                    kvs_half_of(ldexpf((float)sum / 148, e), KVS_HALF_BF16);
            }
            check_bounds(&made, (enum kvs_level)level, "scalar", 0x1p-133);
        }
    kvf_made_free(&made);
}

/* --- streams coded together ---------------------------------------------------------------------
 */

/* No element is further off than a step of its own. */
static void check_steps(const struct made *made, const struct kvs_kvf *codec, uint32_t part)
{
    const struct kvs_kvf_shape *s = &made->shape;
    uint32_t n_chan = kvs_kvf_n_chan(s);
    uint16_t *y = kvf_decode(codec, NULL, part / 2, (enum kvs_kv)(part % 2));
    float *step = calloc((size_t)s->n_tok * n_chan, sizeof *step);

    for (uint32_t b = 0; b < kvs_kvf_n_block(codec); b++)
        assert_int_equal(kvs_kvf_steps(codec,
                                       kvs_kvf_section_i(s, b, part / 2, (enum kvs_kv)(part % 2)),
                                       NULL, step + (size_t)b * s->block_tok * n_chan, NULL),
                         KVS_OK);
    for (size_t i = 0; i < (size_t)s->n_tok * n_chan; i++) {
        double x = value(made->x[part][i], s->half), off = fabs(x - value(y[i], s->half));
        if (!(off <= (double)step[i] * 1.001 + fabs(x) * 0x1p-9))
            fail_msg("%u tokens of %u channels, part %u: element %zu is %g off, a step is %g",
                     s->n_tok, n_chan, part, i, off, (double)step[i]);
    }
    free(step);
    free(y);
}

/* Sections of one stream to six, whole or cut, whose neighbours have other tables, other levels or
 * no streams at all. */
static void streams_of_several_sections_are_coded_together(void **state)
{
    static const uint32_t shapes[][3] = {{32, 200, 200},  {96, 600, 256},  {192, 512, 256},
                                         {192, 300, 300}, {384, 700, 256}, {77, 100, 40}};
    static const enum kvs_level levels[][2] = {
        {KVS_E3, KVS_E3}, {KVS_E6, KVS_E4}, {KVS_E5, KVS_P4}, {KVS_P8, KVS_E2}};
    enum { LAYER = 5 };
    struct kvs_rng rng = kvs_rng_stream(8, "together");
    (void)state;
    for (uint32_t k = 0; k < 6 * 4 * 2; k++) {
        const uint32_t *of = shapes[k % 6];
        struct made made = kvf_make(LAYER, 1, of[0], of[1], of[2], k % 3, KVS_HALF_BF16);
        float weight[384];
        const float *weights[LAYER * 2];
        size_t n, n2;
        for (uint32_t i = 0; i < LAYER * 2; i++) {
            weights[i] = weight;
            /* one layer in three, packed */
            made.level[i] = (uint8_t)(i / 2 == 2 && k % 5 == 0 ? KVS_P3 : levels[k / 6 % 4][i % 2]);
        }
        for (uint32_t c = 0; c < of[0]; c++)
            weight[c] = (float)exp(4 * kvs_rng_unit(&rng));
        made.weight = k < 24 ? NULL : weights;
        uint8_t *file = kvf_encode(&made, "scalar", &n);
        for (int isa = 1; isa < KVF_ISAS; isa++) {
            if (!kvs_kvf_isa(kvf_isas[isa]))
                continue;
            uint8_t *file2 = kvf_encode(&made, kvf_isas[isa], &n2);
            assert_int_equal(n2, n);
            assert_memory_equal(file2, file, n);
            free(file2);
        }
        struct kvs_kvf *codec = kvf_parse(file, n);
        for (uint32_t i = 0; i < LAYER * 2; i++)
            if (kvs_level_is_e((enum kvs_level)made.level[i]))
                check_steps(&made, codec, i);
        kvs_kvf_close(codec);
        free(file);
        kvf_made_free(&made);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f16_goes_there_and_back),
        cmocka_unit_test(every_level_keeps_its_bound_in_every_shape),
        cmocka_unit_test(what_is_no_number_or_huge_comes_back_as_it_was),
        cmocka_unit_test(wide_channels_keep_huge_numbers_and_all_finite),
        cmocka_unit_test(escapes_differ_from_the_least_symbols),
        cmocka_unit_test(the_largest_numbers_that_are_quantised_overflow_nothing),
        cmocka_unit_test(odd_channels_keep_the_bound),
        cmocka_unit_test(small_numbers_of_bf16_keep_the_bound_down_to_where_it_is_promised),
        cmocka_unit_test(streams_of_several_sections_are_coded_together),
    };
    return cmocka_run_group_tests_name("codec, bounds", tests, NULL, NULL);
}
