#include "test.h"

#include "base/rng.h"
#include "kernels/codec/format.h"
#include "kernels/codec/half.h"
#include "kernels/codec/made.h"
#include "kernels/codec/rans.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* All layers hold the same kind of made-up elements; level[] is that of every layer's K and V. */
struct made {
    struct kvs_kvf_shape shape;
    const uint16_t *x[64];
    uint8_t level[64];
    const float *const *weight; /* or NULL */
};

static struct made make(uint32_t n_layer, uint32_t heads, uint32_t dim, uint32_t n_tok,
                        uint32_t block_tok, uint32_t n_sink, enum kvs_half half)
{
    struct made made = {.shape = {.n_layer = n_layer,
                                  .n_kv_head = heads,
                                  .head_dim = dim,
                                  .n_tok = n_tok,
                                  .block_tok = block_tok,
                                  .n_sink = n_sink,
                                  .half = half,
                                  .model_hash = {1, 2},
                                  .prefix_hash = {3, 4}}};
    for (uint32_t i = 0; i < n_layer * 2; i++)
        made.x[i] = kvs_kvf_made(i + 1, n_tok, heads * dim, .3, half);
    return made;
}

static void made_free(struct made *made)
{
    for (uint32_t i = 0; i < made->shape.n_layer * 2; i++)
        free((void *)(uintptr_t)made->x[i]);
}

static uint8_t *encode(const struct made *made, const char *isa, size_t *n)
{
    struct kvs_kvf_in in = {made->shape, made->x, made->level, made->weight};
    struct kvs_err err = {0};
    uint8_t *file;
    if (kvs_kvf_encode(&in, kvs_kvf_isa(isa), &file, n, &err))
        fail_msg("%s", err.msg);
    return file;
}

static struct kvs_kvf *parse(const uint8_t *file, size_t n)
{
    struct kvs_kvf *codec;
    struct kvs_err err = {0};
    if (kvs_kvf_parse("made", file, n, n, true, &codec, &err))
        fail_msg("%s", err.msg);
    return codec;
}

/* K or V of a layer, all blocks: [n_tok][n_chan], the caller's to free */
static uint16_t *decode(const struct kvs_kvf *codec, const char *isa, uint32_t layer,
                        enum kvs_kv kv)
{
    const struct kvs_kvf_shape *s = kvs_kvf_shape(codec);
    uint32_t n_chan = kvs_kvf_n_chan(s);
    uint16_t *out = malloc((size_t)s->n_tok * n_chan * sizeof *out);
    struct kvs_err err = {0};
    memset(out, 0xff, (size_t)s->n_tok * n_chan * sizeof *out);
    for (uint32_t b = 0; b < kvs_kvf_n_block(codec); b++) {
        uint32_t i = kvs_kvf_section_i(s, b, layer, kv);
        if (kvs_kvf_decode(codec, i, NULL, kvs_kvf_isa(isa),
                           out + (size_t)kvs_kvf_section(codec, i).first_tok * n_chan, n_chan,
                           &err))
            fail_msg("%s", err.msg);
    }
    return out;
}

static const char *const isas[] = {"scalar", "avx2", "avx512"};

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

/* How far element (t, c) may be off, from the elements themselves; all: of each channel. */
static double bound(const struct made *made, enum kvs_level level, enum kvs_kv kv,
                    const uint16_t *x, const struct spread *all, uint32_t t, uint32_t c)
{
    const struct kvs_kvf_shape *s = &made->shape;
    uint32_t n_chan = kvs_kvf_n_chan(s), sink = s->n_sink;
    double unit = s->half == KVS_F16 ? 0x1p-11 : 0x1p-8;
    double v = fabs(value(x[(size_t)t * n_chan + c], s->half));
    double tiny = s->half == KVS_F16 ? 0x1p-24 : 0x1p-126; /* below, little is promised */
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

static void check_bounds(const struct made *made, enum kvs_level level, const char *isa)
{
    size_t n;
    uint8_t *file = encode(made, isa, &n);
    struct kvs_kvf *codec = parse(file, n);
    uint32_t n_chan = kvs_kvf_n_chan(&made->shape);
    for (int kv = 0; kv < 2; kv++) {
        uint16_t *y = decode(codec, isa, 0, (enum kvs_kv)kv);
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
                double most = bound(made, level, (enum kvs_kv)kv, made->x[kv], all, t, c);
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

static void every_level_keeps_its_bound_in_every_shape(void **state)
{
    static const uint32_t toks[] = {1, 2, 5, 31, 64, 65, 257};
    static const uint32_t shapes[][2] = {{1, 1}, {3, 5}, {2, 33}, {1, 64}, {3, 64}, {5, 27}};
    (void)state;
    for (int half = 0; half < 2; half++)
        for (size_t t = 0; t < sizeof toks / sizeof toks[0]; t++)
            for (size_t c = 0; c < 6; c++) {
                struct made made = make(1, shapes[c][0], shapes[c][1], toks[t], 1024,
                                        toks[t] > 4 ? 4 : 0, (enum kvs_half)half);
                for (int level = 0; level < KVS_N_LEVEL; level++) {
                    if (level == KVS_LX && half == KVS_F16)
                        continue;
                    made.level[0] = made.level[1] = (uint8_t)level;
                    check_bounds(&made, (enum kvs_level)level,
                                 isas[((unsigned)level + t + c) % (kvs_kvf_isa("avx512") ? 3 : 1)]);
                }
                made_free(&made);
            }
}

/* --- the same everywhere ------------------------------------------------------------------------
 */

/* Two blocks and a bit, three layers, each level once or more, sinks. */
static struct made mixed(enum kvs_half half, uint32_t dim)
{
    struct made made = make(7, 3, dim, 600, 260, 4, half);
    for (int i = 0; i < 14; i++)
        made.level[i] = (uint8_t)(i == KVS_LX && half == KVS_F16 ? KVS_RAW16 : i);
    return made;
}

static void all_instruction_sets_write_the_same_bytes(void **state)
{
    static const uint32_t dims[] = {64, 43, 64, 43}; /* the last two: channels of many tables */
    static float weight[192];
    const float *weights[14];
    (void)state;
    for (int c = 0; c < 192; c++)
        weight[c] = (float)exp(3 * sin(1.7 * c));
    for (int i = 0; i < 14; i++)
        weights[i] = weight;
    for (int half = 0; half < 2; half++)
        for (int d = 0; d < 4; d++) {
            struct made made = mixed((enum kvs_half)half, dims[d]);
            made.weight = d < 2 ? NULL : weights;
            size_t n, n_other;
            uint8_t *file = encode(&made, "scalar", &n);
            for (size_t s = 1; s < 3; s++) {
                if (!kvs_kvf_isa(isas[s]))
                    continue;
                uint8_t *other = encode(&made, isas[s], &n_other);
                assert_int_equal(n, n_other);
                assert_memory_equal(file, other, n);
                free(other);
            }
            struct kvs_kvf *codec = parse(file, n);
            for (uint32_t part = 0; part < 14; part++) {
                uint16_t *y = decode(codec, "scalar", part / 2, (enum kvs_kv)(part % 2));
                for (size_t s = 1; s < 3; s++) {
                    if (!kvs_kvf_isa(isas[s]))
                        continue;
                    uint16_t *z = decode(codec, isas[s], part / 2, (enum kvs_kv)(part % 2));
                    if (memcmp(y, z, 600 * 3 * (size_t)dims[d] * 2) != 0)
                        fail_msg("%s: %s decodes otherwise than scalar",
                                 kvs_level_names[made.level[part]], isas[s]);
                    free(z);
                }
                free(y);
            }
            kvs_kvf_close(codec);
            free(file);
            made_free(&made);
        }
}

/* XXH3 of the whole, though long data is summed in steps; never a byte from beyond the end. */
static void checksums_in_steps_are_those_of_the_whole(void **state)
{
    static const size_t sizes[] = {0, 1, 8192, 32767, 32768, 32769, 34816, 36863, 100001};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *data = malloc(sizes[i] + 1);
        for (size_t k = 0; k < sizes[i] + 1; k++)
            data[k] = (uint8_t)(k * k >> 3);
        for (size_t s = 0; s < 3; s++)
            if (kvs_kvf_isa(isas[s]))
                assert_true(kvs_kvf_isa(isas[s])->hash(data, sizes[i]) ==
                            XXH3_64bits(data, sizes[i]));
        free(data);
    }
}

/* Symbols of one table, pairwise where they are few, and of many. */
static void counts_are_exact(void **state)
{
    enum { TOK = 9, CHAN = 77, STRIDE = 96 };
    static const int widths[] = {1, 20, 21, 63, 64, 127}; /* around 128 */
    static uint8_t symbol[TOK * STRIDE];
    static uint16_t base[CHAN];
    uint32_t *part = calloc(4 * KVS_COUNT_ALL, sizeof *part);
    uint32_t *want = malloc(2 * KVS_COUNT_ALL * sizeof *want), *got = want + KVS_COUNT_ALL;
    struct kvs_rng rng = kvs_rng_stream(5, "counts");
    (void)state;
    for (int c = 0; c < CHAN; c++)
        base[c] = (uint16_t)(c % 32 * 256);
    for (size_t k = 0; k < 6 * 3 * 2; k++) {
        const struct kvs_kvf_isa *isa = kvs_kvf_isa(isas[k % 3]);
        bool each = k >= 18;
        if (!isa)
            continue;
        memset(want, 0, 2 * KVS_COUNT_ALL * sizeof *want);
        for (int i = 0; i < TOK * STRIDE; i++)
            symbol[i] = (uint8_t)(128 + widths[k / 3 % 6] * (2 * kvs_rng_unit(&rng) - 1));
        if (k % 6 < 3)
            symbol[3 * STRIDE + 5] = 0; /* an escape */
        for (int i = 0; i < TOK * CHAN; i++)
            want[(each ? base[i % CHAN] : 0) + symbol[i / CHAN * STRIDE + i % CHAN]]++;
        if (each)
            isa->count_each(got, part, base, symbol, STRIDE, TOK, CHAN);
        else
            isa->count(got, part, symbol, STRIDE, TOK, CHAN);
        assert_memory_equal(want, got, KVS_COUNT_ALL * sizeof *want);
        for (int i = 0; i < 4 * KVS_COUNT_ALL; i++)
            assert_int_equal(part[i], 0);
    }
    free(want);
    free(part);
}

/* Of very many tokens one in two or four is counted for the tables: next to nothing is lost. */
static void tables_of_a_part_of_the_tokens_are_as_good(void **state)
{
    struct made whole = make(1, 8, 128, 4096, 256, 0, KVS_HALF_BF16), half = whole;
    size_t n, n_half, sum = 0;
    (void)state;
    whole.level[0] = half.level[0] = KVS_E5;
    whole.level[1] = half.level[1] = KVS_E2;
    free(encode(&whole, NULL, &n));
    half.shape.n_tok = 2048; /* 2^22 elements: all are counted */
    for (int i = 0; i < 2; i++) {
        free(encode(&half, NULL, &n_half));
        sum += n_half;
        half.x[0] += 2048 * 1024;
        half.x[1] += 2048 * 1024;
    }
    assert_true((double)n < 1.0005 * (double)sum);
    made_free(&whole);
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

/* The payload; parameters, tables, stream states and escapes are told apart from it. */
static void payload_is_within_1_percent_of_entropy(void **state)
{
    static float weight[256];
    const float *weights[2] = {weight, weight};
    (void)state;
    for (int c = 0; c < 256; c++)
        weight[c] = (float)exp(2 * sin(1.7 * c));
    for (int level = KVS_E6; level < KVS_N_LEVEL; level++)
        for (int weighted = 0; weighted < 2; weighted++) {
            struct made made = make(1, 4, 64, 1024, 1024, 0, KVS_HALF_BF16);
            made.level[0] = made.level[1] = (uint8_t)level;
            made.weight = weighted ? weights : NULL;
            size_t n;
            uint8_t *file = encode(&made, NULL, &n);
            struct kvs_kvf *codec = parse(file, n);
            struct kvs_err err = {0};
            for (uint32_t i = 0; i < 2; i++) {
                struct kvs_kvf_parts parts = {0};
                assert_int_equal(kvs_kvf_section_parts(codec, i, NULL, &parts, &err), KVS_OK);
                double bits = entropy_bits(file + codec->entry[i].at_bytes, made.x[i], &made.shape,
                                           (enum kvs_level)level, (enum kvs_kv)i);
                double coded = (double)parts.payload * 8;
                if (coded > 1.01 * bits)
                    fail_msg("%s: %.0f bits, entropy %.0f", kvs_level_names[level], coded, bits);
            }
            kvs_kvf_close(codec);
            free(file);
            made_free(&made);
        }
}

/* 64-byte aligned output of a large section goes past the caches; other output does not. */
static void output_past_the_caches_has_the_same_bits(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++) {
        struct made made = make(7, 1, 128, 600, 600, 1, (enum kvs_half)half);
        size_t n, n_out = 600 * 128, room = n_out * 2 + 128;
        for (int i = 0; i < 14; i++)
            made.level[i] = (uint8_t)(i == KVS_LX && half == KVS_F16 ? KVS_RAW16 : i);
        uint8_t *file = encode(&made, NULL, &n);
        struct kvs_kvf *codec = parse(file, n);
        for (size_t s = 0; s < 3; s++) {
            const struct kvs_kvf_isa *isa = kvs_kvf_isa(isas[s]);
            for (uint32_t part = 0; isa && part < 14; part++) {
                struct kvs_err err = {0};
                uint16_t *to = aligned_alloc(64, room), *want = malloc(room);
                memset(to, 0xff, room);
                uint32_t i = kvs_kvf_section_i(&made.shape, 0, part / 2, (enum kvs_kv)(part % 2));
                if (kvs_kvf_decode(codec, i, NULL, isa, to, 128, &err) ||
                    kvs_kvf_decode(codec, i, NULL, isa, want + 1, 128, &err))
                    fail_msg("%s", err.msg);
                assert_memory_equal(to, want + 1, n_out * 2);
                assert_int_equal(to[n_out], 0xffff);
                free(to);
                free(want);
            }
        }
        kvs_kvf_close(codec);
        free(file);
        made_free(&made);
    }
}

/* Frequencies of every kind: whatever is left over goes to one symbol. */
static void a_symbol_has_as_many_slots_as_its_frequency_says(void **state)
{
    struct kvs_rng rng = kvs_rng_stream(8, "slots");
    (void)state;
    for (int round = 0; round < 600; round++) {
        uint32_t n = 2 + (uint32_t)kvs_rng_below(&rng, 255), table[KVS_RANS_M], seen[256] = {0};
        uint32_t most = 1 + (uint32_t)kvs_rng_below(&rng, 2 * KVS_RANS_M / n);
        uint16_t freq[256];
        int16_t value[256];
        int left = KVS_RANS_M;
        for (uint32_t s = 0; s < n; s++) {
            int room = left - (int)(n - s - 1), f = 1 + (int)kvs_rng_below(&rng, most);
            freq[s] = (uint16_t)(f < room ? f : room);
            left -= freq[s];
            value[s] = (int16_t)((int)s - 128);
        }
        uint32_t last = (uint32_t)kvs_rng_below(&rng, n);
        freq[last] = (uint16_t)(freq[last] + left);
        struct kvs_rans_alias alias;
        struct kvs_rans_small small;
        kvs_rans_alias(&alias, freq, n);
        kvs_rans_table(table, &alias, freq, value);
        kvs_rans_small(&small, &alias, freq, value, n);
        assert_int_equal(small.n, n <= KVS_SMALL ? n : 0);
        static uint8_t taken[256][KVS_RANS_M];
        memset(taken, 0, sizeof taken);
        for (uint32_t slot = 0; slot < KVS_RANS_M; slot++) {
            uint32_t s = (uint32_t)(((int32_t)table[slot] >> 22) + 128), rank = table[slot] & 2047;
            assert_true(s < n && rank < freq[s] && !taken[s][rank]);
            assert_int_equal(table[slot] >> 11 & 2047, freq[s]);
            taken[s][rank] = 1;
            seen[s]++;
            if (!small.n)
                continue;
            uint32_t wide = KVS_RANS_M / alias.n_bucket, b = slot / wide, in = slot % wide;
            uint32_t own = small.bucket[b] & 63;
            assert_int_equal(s, in < own ? b : small.bucket[b] >> 6);
            assert_int_equal(rank, in < own ? in : in + small.rank[b] - wide);
        }
        for (uint32_t s = 0; s < n; s++)
            assert_int_equal(seen[s], freq[s]);
    }
}

/* Version 2.0, for ever: a change here is a change of the format or of what the encoder chooses. */
static void files_of_version_2_stay_as_they_are(void **state)
{
    struct made made = mixed(KVS_HALF_BF16, 64);
    size_t n;
    (void)state;
    uint8_t *file = encode(&made, NULL, &n);
    struct kvs_kvf *codec = parse(file, n);
    XXH3_state_t *all = XXH3_createState();
    XXH3_64bits_reset(all);
    for (uint32_t part = 0; part < 14; part++) {
        uint16_t *y = decode(codec, NULL, part / 2, (enum kvs_kv)(part % 2));
        XXH3_64bits_update(all, y, 600 * 192 * 2);
        free(y);
    }
    char found[80];
    snprintf(found, sizeof found, "%zu %016llx %016llx", n,
             (unsigned long long)XXH3_64bits(file, n), (unsigned long long)XXH3_64bits_digest(all));
    assert_string_equal(found, "1302528 88d092071b8145e8 62f6a35bd0fd9d9b");
    XXH3_freeState(all);
    kvs_kvf_close(codec);
    free(file);
    made_free(&made);
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
            struct made made = make(1, 2, 40, 100, 100, 2, (enum kvs_half)half);
            if (level == KVS_LX && half == KVS_F16) {
                made_free(&made);
                continue;
            }
            made.level[0] = made.level[1] = (uint8_t)level;
            for (uint32_t i = 0; i < 2 * 8; i++) /* in the sinks too */
                ((uint16_t *)(uintptr_t)made.x[i % 2])[i * 497] = odd[half][i / 2];
            size_t n;
            uint8_t *file = encode(&made, NULL, &n);
            struct kvs_kvf *codec = parse(file, n);
            for (uint32_t i = 0; i < 2 * 8; i++) {
                uint16_t *y = decode(codec, NULL, 0, (enum kvs_kv)(i % 2));
                assert_int_equal(y[i * 497], odd[half][i / 2]);
                for (uint32_t k = 0; k < 8000; k++) /* and does not spoil its neighbours */
                    if ((made.x[i % 2][k] & 0x7fff) <= kvs_half_huge((enum kvs_half)half))
                        assert_true(fabs(value(y[k], (enum kvs_half)half)) < 300);
                free(y);
            }
            kvs_kvf_close(codec);
            free(file);
            made_free(&made);
        }
}

static void the_largest_numbers_that_are_quantised_overflow_nothing(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++)
        for (int level = 0; level < KVS_N_LEVEL; level++) {
            struct made made = make(1, 1, 70, 600, 600, 0, (enum kvs_half)half);
            uint16_t most = kvs_half_huge((enum kvs_half)half);
            if (level == KVS_LX && half == KVS_F16) {
                made_free(&made);
                continue;
            }
            made.level[0] = made.level[1] = (uint8_t)level;
            for (uint32_t i = 0; i < 600 * 70; i++) /* of either sign, or one sign in a channel */
                ((uint16_t *)(uintptr_t)made.x[i % 2])[i] =
                    (uint16_t)(most | ((i * 37 % 70 + (i % 70 ? i / 70 : 0)) % 2 ? 0x8000 : 0));
            size_t n;
            uint8_t *file = encode(&made, NULL, &n);
            struct kvs_kvf *codec = parse(file, n);
            for (int kv = 0; kv < 2; kv++)
                free(decode(codec, NULL, 0, (enum kvs_kv)kv));
            kvs_kvf_close(codec);
            free(file);
            made_free(&made);
        }
}

static void odd_channels_keep_the_bound(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++) {
        struct made made = make(1, 1, 70, 130, 130, 0, (enum kvs_half)half);
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
                for (size_t s = 0; s < 3; s++)
                    if (kvs_kvf_isa(isas[s]))
                        check_bounds(&made, (enum kvs_level)level, isas[s]);
            }
        made_free(&made);
    }
}

/* --- the file -----------------------------------------------------------------------------------
 */

static void one_layer_needs_the_head_and_its_own_bytes_only(void **state)
{
    struct made made = mixed(KVS_HALF_BF16, 64);
    size_t n;
    struct kvs_kvf *codec;
    struct kvs_err err = {0};
    (void)state;
    uint8_t *file = encode(&made, NULL, &n);
    size_t n_head = kvs_kvf_head_bytes(file, 128);
    assert_true(n_head > 0 && n_head % 4096 == 0 && n_head < n);
    uint8_t *head = malloc(n_head);
    memcpy(head, file, n_head);
    assert_int_equal(kvs_kvf_parse("head", head, n_head, n, true, &codec, &err), KVS_OK);
    for (uint32_t i = 0; i < kvs_kvf_n_section(codec); i += 5) {
        struct kvs_section s = kvs_kvf_section(codec, i);
        uint16_t *y = malloc(s.n_tok * 192 * 2ull);
        uint8_t *bytes = malloc(s.n_byte);
        memcpy(bytes, file + s.at_bytes, s.n_byte);
        assert_int_equal(s.at_bytes % 4096, 0);
        assert_int_equal(kvs_kvf_decode(codec, i, bytes, kvs_kvf_isa(NULL), y, 192, &err), KVS_OK);
        err = (struct kvs_err){0};
        assert_int_equal(kvs_kvf_decode(codec, i, NULL, kvs_kvf_isa(NULL), y, 192, &err),
                         KVS_ERR_ARG);
        err = (struct kvs_err){0};
        free(bytes);
        free(y);
    }
    kvs_kvf_close(codec);
    free(head);
    free(file);
    made_free(&made);
}

static void parts_sum_to_the_file(void **state)
{
    struct made made = mixed(KVS_HALF_BF16, 64);
    struct kvs_kvf_parts p = {0};
    size_t n;
    (void)state;
    uint8_t *file = encode(&made, NULL, &n);
    struct kvs_kvf *codec = parse(file, n);
    kvs_kvf_head_parts(codec, &p);
    for (uint32_t i = 0; i < kvs_kvf_n_section(codec); i++)
        assert_int_equal(kvs_kvf_section_parts(codec, i, NULL, &p, NULL), KVS_OK);
    assert_int_equal(p.payload + p.sink + p.param + p.stream + p.escape + p.head + p.padding, n);
    assert_int_equal(p.sink, 14 * 4 * 192 * 2);
    kvs_kvf_close(codec);
    free(file);
    made_free(&made);
}

static void shape_and_flags_come_back(void **state)
{
    struct made made = make(2, 3, 8, 50, 20, 3, KVS_F16);
    size_t n;
    (void)state;
    made.shape.before_rope = true;
    uint8_t *file = encode(&made, NULL, &n);
    struct kvs_kvf *codec = parse(file, n);
    assert_memory_equal(kvs_kvf_shape(codec), &made.shape, sizeof made.shape);
    assert_int_equal(kvs_kvf_n_block(codec), 3);
    assert_int_equal(kvs_kvf_n_section(codec), 12);
    struct kvs_section s = kvs_kvf_section(codec, kvs_kvf_section_i(&made.shape, 2, 1, KVS_V));
    assert_true(s.block == 2 && s.layer == 1 && s.kv == KVS_V && s.first_tok == 40 &&
                s.n_tok == 10);
    kvs_kvf_close(codec);
    free(file);
    made_free(&made);
}

static void hidden_states_say_whose_layers_they_are(void **state)
{
    struct made made = make(2, 1, 24, 50, 20, 0, KVS_HALF_BF16);
    struct kvs_kvf_in in = {made.shape, made.x, made.level, NULL};
    struct kvs_err err = {0};
    size_t n;
    (void)state;
    made.shape.hidden = true;
    made.shape.first_layer = 17;
    uint8_t *file = encode(&made, NULL, &n);
    struct kvs_kvf *codec = parse(file, n);
    assert_true(kvs_kvf_shape(codec)->hidden);
    assert_int_equal(kvs_kvf_shape(codec)->first_layer, 17);
    kvs_kvf_close(codec);
    free(file);
    in.shape.first_layer = 1; /* of K and V: all layers */
    assert_int_equal(kvs_kvf_encode(&in, kvs_kvf_isa(NULL), &file, &n, &err), KVS_ERR_RANGE);
    made_free(&made);
}

static void impossible_input_is_refused(void **state)
{
    struct made made = make(1, 1, 8, 10, 10, 0, KVS_F16);
    struct kvs_kvf_in in = {made.shape, made.x, made.level, NULL};
    struct kvs_err err = {0};
    uint8_t *file;
    size_t n;
    (void)state;
    made.level[1] = KVS_LX;
    assert_int_equal(kvs_kvf_encode(&in, kvs_kvf_isa(NULL), &file, &n, &err), KVS_ERR_ARG);
    assert_non_null(strstr(err.msg, "lx is for bf16"));
    made.level[1] = KVS_N_LEVEL;
    assert_int_equal(kvs_kvf_encode(&in, kvs_kvf_isa(NULL), &file, &n, NULL), KVS_ERR_ARG);
    made.level[1] = 0;
    err = (struct kvs_err){0};
    in.shape.n_sink = 11;
    assert_int_equal(kvs_kvf_encode(&in, kvs_kvf_isa(NULL), &file, &n, &err), KVS_ERR_RANGE);
    assert_string_equal(err.msg, "codec: found 11 sinks, want 0 to 10");
    enum kvs_level level;
    assert_true(kvs_level_find("e2.5", &level) && level == KVS_E2_5);
    assert_false(kvs_level_find("e7", &level));
    made_free(&made);
}

/* Small after large, packed after entropy-coded, after one that failed: nothing of the last file is
 * seen in the next. */
static void memory_that_is_used_again_changes_no_byte(void **state)
{
    static const enum kvs_level levels[] = {KVS_E3, KVS_P3, KVS_RAW16, KVS_E6, KVS_P8, KVS_LX};
    struct kvs_kvf_memory memory = {0};
    (void)state;
    for (uint32_t i = 0; i < 4 * sizeof levels / sizeof *levels; i++) {
        struct made made = make(2, 2, 40, 40 + 97 * (i * 7 % 11), 100, i % 5, KVS_HALF_BF16);
        struct kvs_kvf_in in = {made.shape, made.x, made.level, NULL};
        uint8_t *file;
        size_t n, n_fresh;
        memset(made.level, (int)levels[i % (sizeof levels / sizeof *levels)], 4);
        uint8_t *fresh = encode(&made, NULL, &n_fresh);
        assert_int_equal(kvs_kvf_encode_into(&memory, &in, kvs_kvf_isa(NULL), &file, &n, NULL),
                         KVS_OK);
        assert_ptr_equal(file, memory.bytes);
        assert_int_equal(n, n_fresh);
        assert_memory_equal(file, fresh, n);
        in.shape.n_tok = 0;
        assert_int_equal(kvs_kvf_encode_into(&memory, &in, kvs_kvf_isa(NULL), &file, &n, NULL),
                         KVS_ERR_RANGE);
        free(fresh);
        made_free(&made);
    }
    free(memory.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f16_goes_there_and_back),
        cmocka_unit_test(every_level_keeps_its_bound_in_every_shape),
        cmocka_unit_test(all_instruction_sets_write_the_same_bytes),
        cmocka_unit_test(checksums_in_steps_are_those_of_the_whole),
        cmocka_unit_test(counts_are_exact),
        cmocka_unit_test(tables_of_a_part_of_the_tokens_are_as_good),
        cmocka_unit_test(payload_is_within_1_percent_of_entropy),
        cmocka_unit_test(output_past_the_caches_has_the_same_bits),
        cmocka_unit_test(a_symbol_has_as_many_slots_as_its_frequency_says),
        cmocka_unit_test(files_of_version_2_stay_as_they_are),
        cmocka_unit_test(what_is_no_number_or_huge_comes_back_as_it_was),
        cmocka_unit_test(the_largest_numbers_that_are_quantised_overflow_nothing),
        cmocka_unit_test(odd_channels_keep_the_bound),
        cmocka_unit_test(one_layer_needs_the_head_and_its_own_bytes_only),
        cmocka_unit_test(parts_sum_to_the_file),
        cmocka_unit_test(shape_and_flags_come_back),
        cmocka_unit_test(hidden_states_say_whose_layers_they_are),
        cmocka_unit_test(impossible_input_is_refused),
        cmocka_unit_test(memory_that_is_used_again_changes_no_byte),
    };
    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
