#include "kvf_made.h"
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
#include <unistd.h>
#include <xxhash.h>

/* --- the same everywhere ------------------------------------------------------------------------
 */

/* The file that plain C wrote. */
static void all_write(const struct made *made, const uint8_t *file, size_t n)
{
    for (size_t s = 1; s < KVF_ISAS; s++) {
        size_t n_other;
        if (!kvs_kvf_isa(kvf_isas[s]))
            continue;
        uint8_t *other = kvf_encode(made, kvf_isas[s], &n_other);
        assert_int_equal(n, n_other);
        assert_memory_equal(file, other, n);
        free(other);
    }
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
            struct made made = kvf_mixed((enum kvs_half)half, dims[d]);
            made.weight = d < 2 ? NULL : weights;
            size_t n;
            uint8_t *file = kvf_encode(&made, "scalar", &n);
            all_write(&made, file, n);
            struct kvs_kvf *codec = kvf_parse(file, n);
            for (uint32_t part = 0; part < 14; part++) {
                uint16_t *y = kvf_decode(codec, "scalar", part / 2, (enum kvs_kv)(part % 2));
                for (size_t s = 1; s < KVF_ISAS; s++) {
                    if (!kvs_kvf_isa(kvf_isas[s]))
                        continue;
                    uint16_t *z = kvf_decode(codec, kvf_isas[s], part / 2, (enum kvs_kv)(part % 2));
                    if (memcmp(y, z, 600 * 3 * (size_t)dims[d] * 2) != 0)
                        fail_msg("%s: %s decodes otherwise than scalar",
                                 kvs_level_names[made.level[part]], kvf_isas[s]);
                    free(z);
                }
                free(y);
            }
            kvs_kvf_close(codec);
            free(file);
            kvf_made_free(&made);
        }
}

/* Down to numbers that an instruction for bf16 may take for 0. */
static void the_least_numbers_decode_alike(void **state)
{
    enum { TOK = 256, CHAN = 192 };
    unsigned n_least = 0;
    (void)state;
    for (int down = 100; down < 134; down += down < 114 ? 4 : 1) {
        struct made made = kvf_make(KVS_N_LEVEL, 3, CHAN / 3, TOK, 256, 4, KVS_HALF_BF16);
        for (int part = 0; part < 2 * KVS_N_LEVEL; part++)
            made.level[part] = (uint8_t)(part / 2);
        for (int part = 0; part < 2 * KVS_N_LEVEL; part++)
            for (int i = 0; i < TOK * CHAN; i++) {
                uint16_t *x = (uint16_t *)(uintptr_t)made.x[part] + i;
                float y = ldexpf(kvs_f32_of_half(*x, KVS_HALF_BF16), -down);
                if (down % 2) /* the least is 0: steps alone are small */
                    y = i / CHAN % 7 == 0 || i % 31 == 0 ? 0 : fabsf(y);
                *x = kvs_half_of(y, KVS_HALF_BF16);
            }
        size_t n;
        uint8_t *file = kvf_encode(&made, "scalar", &n);
        struct kvs_kvf *codec = kvf_parse(file, n);
        for (uint32_t part = 0; part < 2 * KVS_N_LEVEL; part++) {
            uint16_t *y = kvf_decode(codec, "scalar", part / 2, (enum kvs_kv)(part % 2));
            for (int i = 4 * CHAN; i < TOK * CHAN; i++) /* beyond sinks */
                n_least += (y[i] & 0x7f80) == 0 && (y[i] & 0x7f) != 0;
            for (size_t s = 1; s < KVF_ISAS; s++) {
                if (!kvs_kvf_isa(kvf_isas[s]))
                    continue;
                uint16_t *z = kvf_decode(codec, kvf_isas[s], part / 2, (enum kvs_kv)(part % 2));
                if (memcmp(y, z, TOK * CHAN * sizeof *y) != 0)
                    fail_msg("2^-%d, %s: %s decodes otherwise than scalar", down,
                             kvs_level_names[part / 2], kvf_isas[s]);
                free(z);
            }
            free(y);
        }
        kvs_kvf_close(codec);
        free(file);
        kvf_made_free(&made);
    }
    assert_true(n_least > 10000);
}

/* One element that no code stands for, of either sign, anywhere: all sets of instructions find it.
 */
static void one_huge_element_is_found_wherever_it_is(void **state)
{
    enum { TOK = 70 };
    static const uint32_t dims[] = {77, 192}; /* ends of rows; whole groups */
    static const uint16_t huge[2][4] = {{0x7c00, 0x7e00, 0x7801, 0x7800}, /* the last: not yet */
                                        {0x7f80, 0x7fc0, 0x5781, 0x5780}};
    struct kvs_rng rng = kvs_rng_stream(12, "huge");
    (void)state;
    for (int k = 0; k < 600; k++) {
        enum kvs_half half = (enum kvs_half)(k % 2);
        enum kvs_level level = (enum kvs_level)(KVS_FP8 + k / 2 % 5);
        uint32_t dim = dims[k / 10 % 2], part = (uint32_t)kvs_rng_below(&rng, 2);
        struct made made = kvf_make(1, 3, dim, TOK, TOK, 0, half);
        uint16_t *x = (uint16_t *)(uintptr_t)made.x[part];
        size_t at = kvs_rng_below(&rng, (uint64_t)TOK * 3 * dim), n;
        made.level[0] = made.level[1] = (uint8_t)level;
        x[at] =
            (uint16_t)(huge[half == KVS_HALF_BF16][k / 20 % 4] | (kvs_rng_below(&rng, 2) << 15));
        uint8_t *file = kvf_encode(&made, "scalar", &n);
        struct kvs_kvf *codec = kvf_parse(file, n);
        uint16_t *y = kvf_decode(codec, NULL, 0, (enum kvs_kv)part);
        assert_true(y[at] == x[at] || k / 20 % 4 == 3);
        all_write(&made, file, n);
        free(y);
        kvs_kvf_close(codec);
        free(file);
        kvf_made_free(&made);
    }
}

static void tokens_may_all_be_sinks(void **state)
{
    (void)state;
    for (int level = 0; level < KVS_N_LEVEL; level++) {
        struct made made = kvf_make(1, 1, 64, 4, 4, 4, KVS_HALF_BF16);
        memset(made.level, level, sizeof made.level);
        size_t n;
        uint8_t *file = kvf_encode(&made, NULL, &n);
        struct kvs_kvf *codec = kvf_parse(file, n);
        uint16_t *y = kvf_decode(codec, NULL, 0, KVS_V);
        assert_memory_equal(y, made.x[1], 4 * 64 * sizeof *y);
        free(y);
        kvs_kvf_close(codec);
        free(file);
        kvf_made_free(&made);
    }
}

/* Sections that are made beside the file come whole into it, over what was there. */
static void large_files_are_whole(void **state)
{
    enum { TOK = 6000, BLOCK = 256 };
    struct made made = kvf_make(1, 3, 64, TOK, BLOCK, 4, KVS_HALF_BF16);
    struct kvs_kvf_in in = {made.shape, made.x, made.level, NULL};
    (void)state;
    for (size_t i = 0; i < TOK * 192; i += 40001)
        ((uint16_t *)(uintptr_t)made.x[0])[i] = 0x7f80; /* escapes at sections' ends */
    for (size_t s = 0; s < KVF_ISAS; s++) {
        const struct kvs_kvf_isa *isa = kvs_kvf_isa(kvf_isas[s]);
        struct kvs_kvf_memory memory = {0};
        uint8_t *file;
        size_t n;
        if (!isa)
            continue;
        for (int level = KVS_RAW16; level <= KVS_P8; level += KVS_P8 - KVS_RAW16) {
            memset(made.level, level, sizeof made.level);
            assert_int_equal(kvs_kvf_encode_into(&memory, &in, isa, &file, &n, NULL), KVS_OK);
        }
        assert_true(memory.n_section >= 32 << 10);
        struct kvs_kvf *codec = kvf_parse(file, n);
        for (int part = 0; part < 2; part++) {
            uint16_t *y = kvf_decode(codec, NULL, 0, (enum kvs_kv)part);
            for (size_t i = 0; i < TOK * 192 && part == 0; i += 40001)
                assert_int_equal(y[i], 0x7f80);
            free(y);
        }
        kvs_kvf_close(codec);
        kvs_kvf_memory_free(&memory);
    }
    kvf_made_free(&made);
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
        for (size_t s = 0; s < KVF_ISAS; s++)
            if (kvs_kvf_isa(kvf_isas[s]))
                assert_true(kvs_kvf_isa(kvf_isas[s])->hash(data, sizes[i]) ==
                            XXH3_64bits(data, sizes[i]));
        free(data);
    }
}

static void equal_numbers_are_sorted_as_they_come(void **state)
{
    static const float x[] = {3, 0, 0x1p-149f, 3, INFINITY, 0, 2.5f, 3};
    static const uint8_t want[] = {1, 5, 2, 6, 0, 3, 7, 4};
    uint8_t by[KVS_RANS_CHAN];
    float many[KVS_RANS_CHAN];
    (void)state;
    for (int c = 0; c < KVS_RANS_CHAN; c++) {
        int two = c * 37 % KVS_RANS_CHAN / 2;
        many[c] = (float)two;
    }
    for (int k = 0; k < KVF_ISAS; k++) {
        const struct kvs_kvf_isa *isa = kvs_kvf_isa(kvf_isas[k]);
        if (!isa)
            continue;
        isa->sort(by, x, 8);
        assert_memory_equal(by, want, 8);
        isa->sort(by, many, KVS_RANS_CHAN);
        for (int i = 1; i < KVS_RANS_CHAN; i++)
            assert_true(many[by[i - 1]] < many[by[i]] ||
                        (many[by[i - 1]] == many[by[i]] && by[i - 1] < by[i]));
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
    uint32_t *pair = calloc(KVS_COUNT_PAIR, sizeof *pair);
    uint32_t *want = malloc(2 * KVS_COUNT_ALL * sizeof *want), *got = want + KVS_COUNT_ALL;
    struct kvs_rng rng = kvs_rng_stream(5, "counts");
    (void)state;
    for (int c = 0; c < CHAN; c++)
        base[c] = (uint16_t)(c % 32 * 256);
    for (size_t k = 0; k < 6 * KVF_ISAS * 2; k++) {
        const struct kvs_kvf_isa *isa = kvs_kvf_isa(kvf_isas[k % KVF_ISAS]);
        bool each = k >= 6 * KVF_ISAS;
        if (!isa)
            continue;
        memset(want, 0, 2 * KVS_COUNT_ALL * sizeof *want);
        for (int i = 0; i < TOK * STRIDE; i++)
            symbol[i] = (uint8_t)(128 + widths[k / KVF_ISAS % 6] * (2 * kvs_rng_unit(&rng) - 1));
        if (k / KVF_ISAS % 2 == 0)
            symbol[3 * STRIDE + 5] = 0; /* an escape */
        for (int i = 0; i < TOK * CHAN; i++)
            want[(each ? base[i % CHAN] : 0) + symbol[i / CHAN * STRIDE + i % CHAN]] += 2;
        for (int twice = 0; twice < 2; twice++)
            if (each)
                isa->count_each(part, base, symbol, STRIDE, TOK, CHAN);
            else
                isa->count(got, pair, symbol, STRIDE, TOK, CHAN);
        isa->count_pairs(got, pair); /* zeros if each */
        memset(pair, 0, KVS_COUNT_PAIR * sizeof *pair);
        for (int i = 0; i < 4 * KVS_COUNT_ALL; i++) {
            got[i % KVS_COUNT_ALL] += part[i];
            part[i] = 0;
        }
        assert_memory_equal(want, got, KVS_COUNT_ALL * sizeof *want);
    }
    free(want);
    free(pair);
    free(part);
}

/* 64-byte aligned output of a large section goes past the caches; other output does not. */
static void output_past_the_caches_has_the_same_bits(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++) {
        struct made made = kvf_make(7, 1, 128, 600, 600, 1, (enum kvs_half)half);
        size_t n, n_out = 600 * 128, room = n_out * 2 + 128;
        for (int i = 0; i < 14; i++)
            made.level[i] = (uint8_t)(i == KVS_LX && half == KVS_F16 ? KVS_RAW16 : i);
        uint8_t *file = kvf_encode(&made, NULL, &n);
        struct kvs_kvf *codec = kvf_parse(file, n);
        for (size_t s = 0; s < KVF_ISAS; s++) {
            const struct kvs_kvf_isa *isa = kvs_kvf_isa(kvf_isas[s]);
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
        kvf_made_free(&made);
    }
}

/* Steps from the mean on, one by one past both ends, and far: 127 have symbols, others 0. */
static void symbols_end_at_127_steps_by_every_instruction_set(void **state)
{
    enum { N = 64 + 43 };
    uint16_t x[N];
    float mean[128] = {0}, inverse[128];
    uint8_t symbol[128];
    (void)state;
    for (int c = 0; c < 128; c++)
        inverse[c] = 1;
    for (size_t k = 0; k < KVF_ISAS; k++) {
        const struct kvs_kvf_isa *isa = kvs_kvf_isa(kvf_isas[k]);
        for (int from = -1024; isa && from < 1024; from += 7) {
            bool out = false;
            for (int c = 0; c < N; c++) {
                x[c] = kvs_half_of((float)(from + c) * (c == 70 ? 30 : 1), KVS_F16);
                int steps = (int)lrintf(kvs_f32_of_half(x[c], KVS_F16));
                out = out || steps < -127 || steps > 127;
            }
            assert_int_equal(isa->quantise(symbol, x, mean, inverse, N, KVS_F16), out);
            for (int c = 0; c < N; c++) {
                int steps = (int)lrintf(kvs_f32_of_half(x[c], KVS_F16));
                assert_int_equal(symbol[c], steps < -127 || steps > 127 ? 0 : steps + 128);
            }
        }
    }
}

/* Frequencies of every kind: whatever is left over goes to one symbol. */
static void a_symbol_has_as_many_slots_as_its_frequency_says(void **state)
{
    struct kvs_rng rng = kvs_rng_stream(8, "slots");
    (void)state;
    for (int round = 0; round < 600; round++) {
        uint32_t n = 2 + (uint32_t)kvs_rng_below(&rng, KVS_RANS_SYMBOL - 1);
        uint32_t table[KVS_RANS_M], seen[KVS_RANS_SYMBOL] = {0};
        uint32_t most = 1 + (uint32_t)kvs_rng_below(&rng, 2 * KVS_RANS_M / n);
        uint16_t freq[KVS_RANS_SYMBOL];
        int16_t value[KVS_RANS_SYMBOL];
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
        static uint8_t taken[KVS_RANS_SYMBOL][KVS_RANS_M];
        memset(taken, 0, sizeof taken);
        for (uint32_t slot = 0; slot < KVS_RANS_M; slot++) {
            uint32_t s = (uint32_t)(((int32_t)table[slot] >> 22) + 128), rank = table[slot] & 2047;
            assert_true(s < n && rank < freq[s] && !taken[s][rank]);
            assert_int_equal(table[slot] >> 11 & 2047, freq[s]);
            taken[s][rank] = 1;
            seen[s]++;
            uint32_t b = slot / KVS_RANS_WIDE, in = slot % KVS_RANS_WIDE;
            uint32_t own = in << 11 | 64 | b, less = small.bucket[b] < own ? small.bucket[b] : own;
            assert_int_equal(s, less & 63);
            assert_int_equal(rank, less == own ? in : (uint16_t)(in + small.rank[b]));
            assert_int_equal(small.freq[s], 32 * freq[s]);
            assert_int_equal(small.value[s], value[s] + 512);
        }
        for (uint32_t s = 0; s < n; s++)
            assert_int_equal(seen[s], freq[s]);
    }
}

/* Flat counts over symbols beside the mean: what each costs is known. */
static void symbols_too_many_for_a_table_leave_their_low_bits(void **state)
{
    static const struct {
        int from, to; /* symbols */
        unsigned low, first, n;
        double bits;
    } cases[] = {
        {96, 159, 0, 96, 64, 6}, /* as many as a table has: 32 slots each */
        {64, 191, 1, 32, 64, 7}, /* pairs */
        {65, 190, 1, 32, 64, 0}, /* the outer pairs half full, but worth slots */
        {4, 251, 2, 1, 62, 0},   /* fours */
        {1, 255, 2, 0, 64, 0},   /* one with the symbol that is none */
    };
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        uint32_t count[256] = {0};
        float offset[256];
        struct kvs_rans_model model;
        for (int s = 0; s < 256; s++) {
            count[s] = s >= cases[k].from && s <= cases[k].to ? 1000 : 0;
            offset[s] = .25f;
        }
        kvs_rans_fit(&model, count, offset);
        assert_int_equal(model.low, cases[k].low);
        assert_int_equal(model.first, cases[k].first);
        assert_int_equal(model.n, cases[k].n);
        assert_true(!model.low || model.fraction == 0);
        if (cases[k].bits > 0)
            assert_true(fabs(kvs_rans_cost(&model, count) - cases[k].bits) < 1e-9);
        for (unsigned s = model.first; s < model.first + model.n && model.low; s++)
            assert_int_equal(model.value[s], (int)(s << model.low) - 128);
    }
}

/* Version 4.0, for ever: a change here is a change of the format or of what the encoder chooses. */
static void stays(const float *const *weight, const char *want)
{
    struct made made = kvf_mixed(KVS_HALF_BF16, 64);
    size_t n;
    made.weight = weight;
    uint8_t *file = kvf_encode(&made, NULL, &n);
    struct kvs_kvf *codec = kvf_parse(file, n);
    XXH3_state_t *all = XXH3_createState();
    XXH3_64bits_reset(all);
    for (uint32_t part = 0; part < 14; part++) {
        uint16_t *y = kvf_decode(codec, NULL, part / 2, (enum kvs_kv)(part % 2));
        XXH3_64bits_update(all, y, 600 * 192 * 2);
        free(y);
    }
    char found[80];
    snprintf(found, sizeof found, "%zu %016llx %016llx", n,
             (unsigned long long)XXH3_64bits(file, n), (unsigned long long)XXH3_64bits_digest(all));
    assert_string_equal(found, want);
    XXH3_freeState(all);
    kvs_kvf_close(codec);
    free(file);
    kvf_made_free(&made);
}

static void files_of_version_4_stay_as_they_are(void **state)
{
    static float weight[192];
    const float *weights[14];
    (void)state;
    for (int c = 0; c < 192; c++) /* powers of 2: the same on every machine */
        weight[c] = (float)(1 << (c * 7 % 11));
    for (int i = 0; i < 14; i++)
        weights[i] = weight;
    stays(NULL, "1302528 ee71c3aac995fcc7 bf03c8389ced24af");
    stays(weights, "1298432 ba121d0c40bdc119 69599ecd87e95cf0");
}

/* Whatever the deviations and weights: else vectors find more than one table. */
static void sixteen_places_side_by_side_have_one_table(void **state)
{
    static float weight[192];
    const float *weights[14];
    (void)state;
    for (int i = 0; i < 14; i++)
        weights[i] = weight;
    for (int round = 0; round < 4; round++) {
        struct made made = kvf_mixed(KVS_F16, 64);
        for (int c = 0; c < 192; c++)
            weight[c] = (float)exp(round * sin(1.7 * c + round));
        for (int t = 0; t < 600; t++) /* constant */
            ((uint16_t *)(uintptr_t)made.x[7])[t * 192 + 5] = 0x3c00;
        made.weight = round ? weights : NULL;
        size_t n;
        uint8_t *file = kvf_encode(&made, NULL, &n), place[192];
        struct kvs_kvf *codec = kvf_parse(file, n);
        for (uint32_t i = 0; i < kvs_kvf_n_section(codec); i++) {
            struct kvs_section s = kvs_kvf_section(codec, i);
            if (s.level < KVS_E6)
                continue;
            struct kvs_layout at = kvs_layout(&made.shape, s.level, s.kv, s.n_tok,
                                              kvs_block_sink(&made.shape, s.block), 0, 0);
            const uint8_t *table = file + s.at_bytes + at.param_at + 4 * 192;
            int of[12], n_moved = 0, seen[192] = {0};
            bool moved = kvs_order(place, table, 192);
            memset(of, -1, sizeof of);
            for (int c = 0; c < 192; c++) {
                int to = c / 96 * 96 + place[c], *group = &of[to / 16];
                assert_true(place[c] < 96 && !seen[to]++);
                assert_true(*group < 0 || *group == table[c]);
                *group = table[c];
                n_moved += to != c;
            }
            assert_int_equal(moved, n_moved > 0);
        }
        kvs_kvf_close(codec);
        free(file);
        kvf_made_free(&made);
    }
}

/* --- the file -----------------------------------------------------------------------------------
 */

static void one_layer_needs_the_head_and_its_own_bytes_only(void **state)
{
    struct made made = kvf_mixed(KVS_HALF_BF16, 64);
    size_t n;
    struct kvs_kvf *codec;
    struct kvs_err err = {0};
    (void)state;
    uint8_t *file = kvf_encode(&made, NULL, &n);
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
    kvf_made_free(&made);
}

static void shape_and_flags_come_back(void **state)
{
    struct made made = kvf_make(2, 3, 8, 50, 20, 3, KVS_F16);
    size_t n;
    (void)state;
    made.shape.before_rope = true;
    uint8_t *file = kvf_encode(&made, NULL, &n);
    struct kvs_kvf *codec = kvf_parse(file, n);
    assert_memory_equal(kvs_kvf_shape(codec), &made.shape, sizeof made.shape);
    assert_int_equal(kvs_kvf_n_block(codec), 3);
    assert_int_equal(kvs_kvf_n_section(codec), 12);
    struct kvs_section s = kvs_kvf_section(codec, kvs_kvf_section_i(&made.shape, 2, 1, KVS_V));
    assert_true(s.block == 2 && s.layer == 1 && s.kv == KVS_V && s.first_tok == 40 &&
                s.n_tok == 10);
    kvs_kvf_close(codec);
    free(file);
    kvf_made_free(&made);
}

static void hidden_states_say_whose_layers_they_are(void **state)
{
    struct made made = kvf_make(2, 1, 24, 50, 20, 0, KVS_HALF_BF16);
    struct kvs_kvf_in in = {made.shape, made.x, made.level, NULL};
    struct kvs_err err = {0};
    size_t n;
    (void)state;
    made.shape.hidden = true;
    made.shape.first_layer = 17;
    uint8_t *file = kvf_encode(&made, NULL, &n);
    struct kvs_kvf *codec = kvf_parse(file, n);
    assert_true(kvs_kvf_shape(codec)->hidden);
    assert_int_equal(kvs_kvf_shape(codec)->first_layer, 17);
    kvs_kvf_close(codec);
    free(file);
    in.shape.first_layer = 1; /* of K and V: all layers */
    assert_int_equal(kvs_kvf_encode(&in, kvs_kvf_isa(NULL), &file, &n, &err), KVS_ERR_RANGE);
    kvf_made_free(&made);
}

static void impossible_input_is_refused(void **state)
{
    struct made made = kvf_make(1, 1, 8, 10, 10, 0, KVS_F16);
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
    kvf_made_free(&made);
}

/* Small after large, packed after entropy-coded, after one that failed: nothing of the last file is
 * seen in the next. */
static void memory_that_is_used_again_changes_no_byte(void **state)
{
    static const enum kvs_level levels[] = {KVS_E3, KVS_P3, KVS_RAW16, KVS_E6, KVS_P8, KVS_LX};
    struct kvs_kvf_memory memory = {0};
    (void)state;
    for (uint32_t i = 0; i < 4 * sizeof levels / sizeof *levels; i++) {
        struct made made = kvf_make(2, 2, 40, 40 + 97 * (i * 7 % 11), 100, i % 5, KVS_HALF_BF16);
        struct kvs_kvf_in in = {made.shape, made.x, made.level, NULL};
        uint8_t *file;
        size_t n, n_fresh;
        memset(made.level, (int)levels[i % (sizeof levels / sizeof *levels)], 4);
        uint8_t *fresh = kvf_encode(&made, NULL, &n_fresh);
        assert_int_equal(kvs_kvf_encode_into(&memory, &in, kvs_kvf_isa(NULL), &file, &n, NULL),
                         KVS_OK);
        assert_ptr_equal(file, memory.bytes);
        assert_int_equal(n, n_fresh);
        assert_memory_equal(file, fresh, n);
        in.shape.n_tok = 0;
        assert_int_equal(kvs_kvf_encode_into(&memory, &in, kvs_kvf_isa(NULL), &file, &n, NULL),
                         KVS_ERR_RANGE);
        free(fresh);
        kvf_made_free(&made);
    }
    kvs_kvf_memory_free(&memory);
}

/* Infinite ones, negative ones and what is no number: those channels have steps as without weights.
 */
static void weights_that_are_none_leave_their_channels_alone(void **state)
{
    static const float none[] = {0, INFINITY, -INFINITY, NAN, -1};
    struct made made = kvf_make(1, 2, 32, 300, 300, 2, KVS_F16);
    float weight[64];
    const float *weights[2] = {weight, weight};
    uint8_t *first = NULL;
    size_t n_first = 0;
    (void)state;
    made.weight = weights;
    memset(made.level, KVS_E4, 2);
    for (unsigned i = 0; i < sizeof none / sizeof *none; i++) {
        size_t n;
        for (unsigned c = 0; c < 64; c++)
            weight[c] = c % 5 == 3 ? none[i] : (float)(1 + c % 7);
        uint8_t *file = kvf_encode(&made, NULL, &n);
        if (i == 0) {
            first = file;
            n_first = n;
            continue;
        }
        assert_int_equal(n, n_first);
        assert_memory_equal(file, first, n);
        free(file);
    }
    free(first);
    kvf_made_free(&made);
}

/* Of a terabyte that is no codec file not more is read than tells so. */
static void what_is_no_codec_file_is_not_read(void **state)
{
    char name[] = "/tmp/kvf_huge_XXXXXX";
    struct kvs_kvf *codec;
    struct kvs_err err = {0};
    int fd = mkstemp(name);
    (void)state;
    assert_true(fd >= 0 && ftruncate(fd, 1ll << 40) == 0);
    assert_int_equal(kvs_kvf_open(name, true, &codec, &err), KVS_ERR_PARSE);
    assert_non_null(strstr(err.msg, "is no codec file"));
    (void)close(fd);
    (void)remove(name);
}

/* A mapped one would end the program. */
static void a_file_cut_after_it_was_opened_is_still_whole(void **state)
{
    struct made made = kvf_make(2, 2, 40, 200, 100, 0, KVS_HALF_BF16);
    char name[] = "/tmp/kvf_cut_XXXXXX";
    struct kvs_kvf *codec;
    struct kvs_err err = {0};
    size_t n;
    (void)state;
    memset(made.level, KVS_P4, 4);
    uint8_t *file = kvf_encode(&made, NULL, &n);
    int fd = mkstemp(name);
    assert_true(fd >= 0 && write(fd, file, n) == (ssize_t)n);
    assert_int_equal(kvs_kvf_open(name, true, &codec, &err), KVS_OK);
    assert_int_equal(ftruncate(fd, 64), 0);
    free(kvf_decode(codec, NULL, 1, KVS_V)); /* which asserts that all went well */
    kvs_kvf_close(codec);
    assert_int_equal(kvs_kvf_open(name, true, &codec, &err), KVS_ERR_PARSE);
    (void)close(fd);
    (void)remove(name);
    free(file);
    kvf_made_free(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_instruction_sets_write_the_same_bytes),
        cmocka_unit_test(the_least_numbers_decode_alike),
        cmocka_unit_test(one_huge_element_is_found_wherever_it_is),
        cmocka_unit_test(tokens_may_all_be_sinks),
        cmocka_unit_test(large_files_are_whole),
        cmocka_unit_test(checksums_in_steps_are_those_of_the_whole),
        cmocka_unit_test(counts_are_exact),
        cmocka_unit_test(equal_numbers_are_sorted_as_they_come),
        cmocka_unit_test(output_past_the_caches_has_the_same_bits),
        cmocka_unit_test(symbols_end_at_127_steps_by_every_instruction_set),
        cmocka_unit_test(a_symbol_has_as_many_slots_as_its_frequency_says),
        cmocka_unit_test(symbols_too_many_for_a_table_leave_their_low_bits),
        cmocka_unit_test(files_of_version_4_stay_as_they_are),
        cmocka_unit_test(sixteen_places_side_by_side_have_one_table),
        cmocka_unit_test(one_layer_needs_the_head_and_its_own_bytes_only),
        cmocka_unit_test(shape_and_flags_come_back),
        cmocka_unit_test(hidden_states_say_whose_layers_they_are),
        cmocka_unit_test(impossible_input_is_refused),
        cmocka_unit_test(memory_that_is_used_again_changes_no_byte),
        cmocka_unit_test(weights_that_are_none_leave_their_channels_alone),
        cmocka_unit_test(what_is_no_codec_file_is_not_read),
        cmocka_unit_test(a_file_cut_after_it_was_opened_is_still_whole),
    };
    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
