/*
 * Broken codec files: an error, or with checksums off perhaps wrong numbers, but never a read or
 * write outside. The file ends where a page does, and the next may not be touched; so does the
 * output.
 */
#include "test.h"

#include "base/rng.h"
#include "kernels/codec/format.h"
#include "kernels/codec/gpu.h"
#include "kernels/codec/made.h"
#include "kvf_made.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { N_LAYER = 7, HEADS = 2, N_TOK = 70, ROOM = 1 << 20 };

struct lab {
    uint8_t *file, *end; /* the good one; where a copy must end */
    size_t n;
    uint16_t *good[N_LAYER * 2 * 2], *out; /* of each section, of all tokens */
    uint16_t *out_end;
    const struct kvs_kvf_isa *isa[KVF_ISAS];
    unsigned n_isa, turn, n_opened, n_decoded;
    uint32_t n_chan;
    enum kvs_half half;
    uint32_t first, end_i; /* sections that are decoded: the damage can reach no other */
};

/* Memory of n bytes that ends at *end, with a page behind it that may not be touched. */
static uint8_t *fenced(size_t n, void *end)
{
    uint8_t *at = mmap(NULL, n + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(at != MAP_FAILED && n % 4096 == 0);
    assert_int_equal(mprotect(at + n, 4096, PROT_NONE), 0);
    *(uint8_t **)end = at + n;
    return at;
}

/* Opens a broken copy and decodes all that can be; checked: what decodes must be right. */
static void try_file(struct lab *lab, const uint8_t *data, size_t n, bool check)
{
    struct kvs_err err = {0};
    struct kvs_kvf *codec;
    size_t up = (n + 15) / 16 * 16; /* sections at multiples of 16 */
    uint8_t *copy = lab->end - up;
    memcpy(copy, data, n);
    memset(copy + n, 0, up - n);
    if (kvs_kvf_parse("broken", copy, n, n, check, &codec, &err)) {
        assert_null(codec);
        assert_true(err.msg[0] != 0);
        return;
    }
    lab->n_opened++;
    const struct kvs_kvf_shape *s = kvs_kvf_shape(codec);
    for (uint32_t i = lab->first; i < kvs_kvf_n_section(codec) && i < lab->end_i; i++) {
        size_t size = (size_t)kvs_kvf_section(codec, i).n_tok * kvs_kvf_n_chan(s);
        if (size * 2 > ROOM)
            continue;
        uint16_t *out = lab->out_end - size;
        err = (struct kvs_err){0};
        if (kvs_kvf_decode(codec, i, NULL, lab->isa[lab->turn++ % lab->n_isa], out,
                           kvs_kvf_n_chan(s), &err)) {
            assert_true(err.msg[0] != 0);
            continue;
        }
        lab->n_decoded++;
        if (check) /* then it is one of the good file's sections */
            assert_memory_equal(out, lab->good[i], size * 2);
    }
    kvs_kvf_close(codec);
}

static void both(struct lab *lab, const uint8_t *data, size_t n)
{
    try_file(lab, data, n, true);
    try_file(lab, data, n, false);
}

static int set_up(void **state, uint32_t n_chan, enum kvs_half half)
{
    struct lab *lab = calloc(1, sizeof *lab);
    lab->end_i = 64;
    lab->n_chan = n_chan;
    lab->half = half;
    const uint16_t *x[N_LAYER * 2];
    const float *weight[N_LAYER * 2];
    float one[64]; /* channels change places */
    for (int c = 0; c < 64; c++)
        one[c] = (float)(1 << (c * 7 % 11));
    uint8_t level[N_LAYER * 2];
    for (unsigned i = 0; i < N_LAYER * 2; i++) {
        uint16_t *made = kvs_kvf_made(i, N_TOK, lab->n_chan, .5, half);
        made[i * 7 + 300] = half == KVS_F16 ? 0x7c00 : 0x7f80; /* an escape */
        x[i] = made;
        weight[i] = one;
        level[i] = (uint8_t)(i == KVS_LX && half == KVS_F16 ? KVS_RAW16 : i);
    }
    struct kvs_kvf_in in = {{.n_layer = N_LAYER,
                             .n_kv_head = HEADS,
                             .head_dim = lab->n_chan / HEADS,
                             .n_tok = N_TOK,
                             .block_tok = 64,
                             .n_sink = 2,
                             .half = half},
                            x,
                            level,
                            weight};
    assert_int_equal(kvs_kvf_encode(&in, kvs_kvf_isa(NULL), &lab->file, &lab->n, NULL), KVS_OK);
    for (unsigned i = 0; i < KVF_ISAS; i++)
        if (kvs_kvf_isa(kvf_isas[i]))
            lab->isa[lab->n_isa++] = kvs_kvf_isa(kvf_isas[i]);
    (void)fenced(2 * lab->n, &lab->end);
    lab->out = (uint16_t *)(void *)fenced(ROOM, &lab->out_end);
    struct kvs_kvf *codec;
    assert_int_equal(kvs_kvf_parse("good", lab->file, lab->n, lab->n, true, &codec, NULL), KVS_OK);
    assert_int_equal(kvs_kvf_n_section(codec), N_LAYER * 2 * 2);
    for (uint32_t i = 0; i < N_LAYER * 2 * 2; i++) {
        lab->good[i] = malloc(N_TOK * lab->n_chan * 2);
        assert_int_equal(
            kvs_kvf_decode(codec, i, NULL, lab->isa[0], lab->good[i], lab->n_chan, NULL), KVS_OK);
    }
    kvs_kvf_close(codec);
    for (unsigned i = 0; i < N_LAYER * 2; i++)
        free((void *)(uintptr_t)x[i]);
    *state = lab;
    return 0;
}

static int set_up_ragged(void **state)
{
    return set_up(state, HEADS * 19, KVS_HALF_BF16);
}
static int set_up_whole_vectors(void **state)
{
    return set_up(state, HEADS * 32, KVS_HALF_BF16);
}
static int set_up_f16(void **state)
{
    return set_up(state, HEADS * 32, KVS_F16);
}

static int tear_down(void **state)
{
    struct lab *lab = *state;
    for (uint32_t i = 0; i < N_LAYER * 2 * 2; i++)
        free(lab->good[i]);
    free(lab->file);
    (void)munmap(lab->end - 2 * lab->n, 2 * lab->n + 4096);
    (void)munmap(lab->out, ROOM + 4096);
    free(lab);
    return 0;
}

static void good_file_opens(void **state)
{
    struct lab *lab = *state;
    both(lab, lab->file, lab->n);
    assert_int_equal(lab->n_decoded, 2 * N_LAYER * 2 * 2);
}

/* The section that a byte of the file belongs to; of the head all. */
static void reach(struct lab *lab, const struct kvs_kvf *good, size_t at)
{
    lab->first = 0;
    lab->end_i = 64;
    for (uint32_t i = 0; i < kvs_kvf_n_section(good); i++)
        if (kvs_kvf_section(good, i).at_bytes <= at) {
            lab->first = i;
            lab->end_i = i + 1;
        }
}

/* Every byte of the head and of the sections' headers, three ways each. */
static void flipped_bits_of_any_field_do_no_harm(void **state)
{
    static const uint8_t ways[] = {0x01, 0x80, 0xff};
    struct lab *lab = *state;
    size_t n_head = kvs_kvf_head_bytes(lab->file, lab->n);
    uint8_t *copy = malloc(lab->n);
    struct kvs_kvf *good;
    memcpy(copy, lab->file, lab->n);
    assert_int_equal(kvs_kvf_parse("good", lab->file, lab->n, lab->n, true, &good, NULL), KVS_OK);
    for (size_t at = 0; at < lab->n; at++) {
        if (at < n_head ? copy[at] == 0 && at % 4096 > 300 : at % 4096 >= 64 + 48)
            continue; /* padding, payload: below */
        reach(lab, good, at);
        for (int w = 0; w < 3; w++) {
            copy[at] ^= ways[w];
            if (w == 0)
                try_file(lab, copy, lab->n, true);
            try_file(lab, copy, lab->n, false);
            copy[at] ^= ways[w];
        }
    }
    reach(lab, good, 0);
    kvs_kvf_close(good);
    free(copy);
}

static void random_damage_does_no_harm(void **state)
{
    struct lab *lab = *state;
    struct kvs_rng rng = kvs_rng_stream(8, "damage");
    uint8_t *copy = malloc(lab->n);
    unsigned before = lab->n_decoded;
    for (int i = 0; i < 600; i++) {
        memcpy(copy, lab->file, lab->n);
        for (uint64_t k = 1 + kvs_rng_below(&rng, 6); k > 0; k--)
            copy[kvs_rng_below(&rng, lab->n)] = (uint8_t)kvs_rng_u64(&rng);
        both(lab, copy, lab->n);
    }
    assert_true(lab->n_decoded > before + 600); /* damage in one section leaves the others */
    free(copy);
}

/* A field of 1 to 64 bytes over another one: duplicated sections, tables, entries, lengths. */
static void duplicated_fields_do_no_harm(void **state)
{
    struct lab *lab = *state;
    struct kvs_rng rng = kvs_rng_stream(9, "duplicates");
    size_t n_head = kvs_kvf_head_bytes(lab->file, lab->n);
    uint8_t *copy = malloc(lab->n);
    for (int i = 0; i < 1500; i++) {
        uint64_t size = 1ull << kvs_rng_below(&rng, 7), area = i % 2 ? lab->n : n_head;
        if (i % 3 == 0 && size < 4096)
            size = i % 2 ? 4096 : 64; /* whole sections, whole entries */
        uint64_t from = kvs_rng_below(&rng, area / size) * size;
        uint64_t to = kvs_rng_below(&rng, area / size) * size;
        memcpy(copy, lab->file, lab->n);
        memcpy(copy + to, lab->file + from, size);
        both(lab, copy, lab->n);
    }
    free(copy);
}

static void cut_and_grown_files_are_refused(void **state)
{
    struct lab *lab = *state;
    unsigned before = lab->n_opened;
    uint8_t *copy = calloc(1, lab->n + 8192);
    memcpy(copy, lab->file, lab->n);
    for (size_t n = 0; n < lab->n; n += n < 300 ? 1 : 509)
        both(lab, copy, n);
    for (size_t n = lab->n + 1; n < lab->n + 8192; n += 911)
        both(lab, copy, n);
    both(lab, copy, lab->n + 4096);
    assert_int_equal(lab->n_opened, before);
    /* cut, and the header made to agree */
    for (size_t n = 4096; n < lab->n; n += 4096) {
        uint64_t told = n;
        memcpy(copy + offsetof(struct kvs_header, file_bytes), &told, 8);
        both(lab, copy, n);
    }
    assert_int_equal(lab->n_opened, before);
    free(copy);
}

static void newer_versions_are_told_apart(void **state)
{
    struct lab *lab = *state;
    struct kvs_kvf *codec;
    struct kvs_err err = {0};
    uint8_t *copy = malloc(lab->n);
    memcpy(copy, lab->file, lab->n);
    copy[offsetof(struct kvs_header, minor)] = 9;
    assert_int_equal(kvs_kvf_parse("f", copy, lab->n, lab->n, false, &codec, &err), KVS_OK);
    kvs_kvf_close(codec);
    copy[offsetof(struct kvs_header, major)] = 2; /* streams have channels in another order */
    assert_int_equal(kvs_kvf_parse("f", copy, lab->n, lab->n, true, &codec, &err), KVS_ERR_PARSE);
    assert_string_equal(err.msg, "f: version: found 2.9, want 4.x");
    err = (struct kvs_err){0};
    assert_int_equal(kvs_kvf_parse("f", (const uint8_t *)"no codec", 8, 8, true, &codec, &err),
                     KVS_ERR_PARSE);
    free(copy);
}

/* At minor version 0, whose reserved fields are zero; a higher one may use them. Words of rANS are
 * e-levels' in any. */
static void reserved_fields_and_words_of_no_stream_are_refused(void **state)
{
    struct lab *lab = *state;
    uint8_t *copy = malloc(lab->n);
    for (int minor = 0; minor < 2; minor++) {
        for (uint32_t k = 0; k < 6; k++) { /* the header's, an entry's first to last */
            struct kvs_err err = {0};
            struct kvs_kvf *codec;
            struct kvs_header head;
            memcpy(copy, lab->file, lab->n);
            memcpy(&head, copy, sizeof head);
            size_t entry = KVS_KVF_PAGE + kvs_page_up(head.table_bytes) + sizeof(struct kvs_entry);
            copy[offsetof(struct kvs_header, minor)] = (uint8_t)minor;
            copy[k == 5 ? offsetof(struct kvs_header, zero) + 3
                        : entry + offsetof(struct kvs_entry, zeros) + 4 * k + 1] = 1;
            assert_int_equal(kvs_kvf_parse("f", copy, lab->n, lab->n, false, &codec, &err),
                             minor ? KVS_OK : KVS_ERR_PARSE);
            assert_true(minor || strstr(err.msg, "a reserved field is not zero"));
            kvs_kvf_close(codec);
        }
        for (uint32_t i = 0; i < N_LAYER * 2; i++)
            for (uint32_t k = 0; k < 8; k++) { /* words, reserved fields */
                struct kvs_err err = {0};
                struct kvs_kvf *codec;
                memcpy(copy, lab->file, lab->n);
                copy[offsetof(struct kvs_header, minor)] = (uint8_t)minor;
                assert_int_equal(kvs_kvf_parse("f", copy, lab->n, lab->n, false, &codec, &err),
                                 KVS_OK);
                struct kvs_section s = kvs_kvf_section(codec, i);
                if (k || s.level < KVS_E6) {
                    copy[s.at_bytes + (k ? offsetof(struct kvs_section_head, zeros) + 4 * (k - 1)
                                         : offsetof(struct kvs_section_head, n_word))] = 1;
                    assert_int_equal(
                        kvs_kvf_decode(codec, i, NULL, lab->isa[0], lab->out, lab->n_chan, &err),
                        k && minor ? KVS_OK : KVS_ERR_PARSE);
                    assert_true((k && minor) || strstr(err.msg, k ? "a reserved field is not zero"
                                                                  : "words of rANS, level"));
                }
                kvs_kvf_close(codec);
            }
    }
    free(copy);
}

/* One section's layout, as its header and the directory have it. */
static struct kvs_layout layout_of(const uint8_t *file, const struct kvs_kvf *codec, uint32_t i)
{
    struct kvs_section s = kvs_kvf_section(codec, i);
    struct kvs_section_head head;
    memcpy(&head, file + s.at_bytes, sizeof head);
    return kvs_layout(kvs_kvf_shape(codec), s.level, s.kv, s.n_tok, head.n_sink, head.n_escape,
                      head.n_word);
}

/* Where the first stream's states are in the file, of section i; 0: it has none. */
static size_t states_at(const uint8_t *file, const struct kvs_kvf *codec, uint32_t i)
{
    struct kvs_section s = kvs_kvf_section(codec, i);
    if (!kvs_level_is_e(s.level))
        return 0;
    struct kvs_layout at = layout_of(file, codec, i);
    return s.at_bytes + at.stream_at + at.n_stream * sizeof(uint32_t);
}

static void states_that_no_encoder_leaves_are_refused(void **state)
{
    static const uint32_t bad[] = {0, 0x7fff, 0x80000000, 0xffffffff};
    struct lab *lab = *state;
    uint8_t *copy = malloc(lab->n), order[128];
    uint32_t word_at[64];
    struct kvs_kvf_gpu job;
    struct kvs_kvf *codec;
    unsigned n_tried = 0;
    memcpy(copy, lab->file, lab->n);
    assert_int_equal(kvs_kvf_parse("f", copy, lab->n, lab->n, false, &codec, NULL), KVS_OK);
    for (uint32_t i = 0; i < kvs_kvf_n_section(codec); i++) {
        size_t at = states_at(copy, codec, i);
        for (unsigned k = 0; at && k < 4 * 32; k++, n_tried++) {
            struct kvs_err err = {0}, gpu_err = {0};
            memcpy(copy + at + k / 4 * 4, &bad[k % 4], 4);
            assert_int_equal(kvs_kvf_decode(codec, i, NULL, lab->isa[k % lab->n_isa], lab->out,
                                            lab->n_chan, &err),
                             KVS_ERR_PARSE);
            assert_non_null(strstr(err.msg, "stream 0: 1 of 32 states are less than 2^15 or not"));
            assert_int_equal(kvs_kvf_gpu_plan(codec, i, NULL, &job, word_at, order, &gpu_err),
                             KVS_ERR_PARSE);
            assert_string_equal(err.msg, gpu_err.msg);
            memcpy(copy + at, lab->file + at, 128);
        }
    }
    assert_true(n_tried > 0);
    kvs_kvf_close(codec);
    free(copy);
}

/* States, words and escapes at random: what one set of instructions takes all do, for the same. */
static void damaged_streams_are_the_same_to_all(void **state)
{
    struct lab *lab = *state;
    struct kvs_rng rng = kvs_rng_stream(10, "streams");
    uint8_t *copy = malloc(lab->n);
    uint16_t *first = malloc(ROOM);
    struct kvs_kvf *codec;
    unsigned n_refused = 0;
    memcpy(copy, lab->file, lab->n);
    assert_int_equal(kvs_kvf_parse("f", copy, lab->n, lab->n, false, &codec, NULL), KVS_OK);
    for (uint32_t i = 0; i < kvs_kvf_n_section(codec); i++) {
        size_t at = states_at(copy, codec, i);
        struct kvs_section s = kvs_kvf_section(codec, i);
        size_t end = s.at_bytes + s.n_byte, size = (size_t)s.n_tok * lab->n_chan;
        for (int k = 0; at && k < 60; k++) {
            enum kvs_code want = KVS_OK;
            for (int n = k % 3; n >= 0; n--) /* states stay below 2^31 */
                copy[at + kvs_rng_below(&rng, end - at)] = (uint8_t)kvs_rng_below(&rng, 128);
            for (unsigned isa = 0; isa < lab->n_isa; isa++) {
                enum kvs_code code =
                    kvs_kvf_decode(codec, i, NULL, lab->isa[isa], lab->out, lab->n_chan, NULL);
                if (isa == 0) {
                    want = code;
                    memcpy(first, lab->out, size * sizeof *first);
                }
                assert_int_equal(code, want);
                if (!code)
                    assert_memory_equal(first, lab->out, size * sizeof *first);
            }
            n_refused += want != KVS_OK;
            memcpy(copy + at, lab->file + at, end - at);
        }
    }
    assert_true(n_refused > 100);
    kvs_kvf_close(codec);
    free(first);
    free(copy);
}

/* A number of the type that is not negative: of any size, or of some kind. */
static uint16_t number(struct kvs_rng *rng, uint64_t kind, enum kvs_half half)
{
    uint32_t infinite = half == KVS_F16 ? 0x7c00 : 0x7f80;
    uint32_t least = half == KVS_F16 ? 0x400 : 0x80; /* that is normal */
    switch (kind) {
    case 0:
        return (uint16_t)kvs_rng_below(rng, infinite);
    case 1:
        return (uint16_t)kvs_rng_below(rng, 2 * least);
    case 2: /* bf16: 2^-110 and about */
        return (uint16_t)((15 << 7) + kvs_rng_below(rng, 5 << 7));
    case 3: /* times an integer beyond all numbers, but not where a minimum takes it back */
        return (uint16_t)(infinite - 1 - kvs_rng_below(rng, 15 << 7));
    default:
        return kind == 4 ? 0 : half == KVS_F16 ? 0x3c00 : 0x3f80;
    }
}

/* Minima, means and steps of all sizes: no set of instructions takes one for 0, or for infinite. */
static void parameters_of_any_size_decode_alike(void **state)
{
    struct lab *lab = *state;
    struct kvs_rng rng = kvs_rng_stream(11, "parameters");
    uint8_t *copy = malloc(lab->n);
    uint16_t *first = malloc(ROOM);
    struct kvs_kvf *codec;
    memcpy(copy, lab->file, lab->n);
    assert_int_equal(kvs_kvf_parse("f", copy, lab->n, lab->n, false, &codec, NULL), KVS_OK);
    for (uint32_t i = 0; i < kvs_kvf_n_section(codec); i++) {
        struct kvs_section s = kvs_kvf_section(codec, i);
        struct kvs_layout at = layout_of(copy, codec, i);
        size_t size = (size_t)s.n_tok * lab->n_chan;
        uint16_t *param = (void *)(copy + s.at_bytes + at.param_at);
        uint32_t n = kvs_level_is_e(s.level) ? lab->n_chan : at.n_param;
        for (int k = 0; s.level >= KVS_FP8 && k < 72; k++) {
            uint64_t low = (uint64_t)k % 6, step = (uint64_t)k / 6 % 6, last = (uint64_t)k / 36;
            uint16_t *to = param;
            for (uint32_t c = 0; s.level != KVS_FP8 && c < n; c++) /* last: others are 1 */
                *to++ = (uint16_t)(number(&rng, last && c + 1 < n ? 5 : low, lab->half) |
                                   kvs_rng_below(&rng, 2) << 15);
            for (uint32_t c = 0; c < n; c++)
                *to++ = number(&rng, last && c + 1 < n ? 5 : step, lab->half);
            for (unsigned isa = 0; isa < lab->n_isa; isa++) {
                assert_int_equal(
                    kvs_kvf_decode(codec, i, NULL, lab->isa[isa], lab->out, lab->n_chan, NULL),
                    KVS_OK);
                if (isa == 0)
                    memcpy(first, lab->out, size * sizeof *first);
                assert_memory_equal(first, lab->out, size * sizeof *first);
            }
        }
    }
    kvs_kvf_close(codec);
    free(first);
    free(copy);
}

/* Tables that ask for more words than there are: a section's end is where memory ends. */
static void words_that_run_out_are_read_no_further(void **state)
{
    struct lab *lab = *state;
    struct kvs_header header;
    struct kvs_kvf *codec;
    unsigned n_refused = 0;
    memcpy(&header, lab->file, sizeof header);
    assert_int_equal(kvs_kvf_parse("f", lab->file, lab->n, lab->n, false, &codec, NULL), KVS_OK);
    for (uint32_t i = 0; i < kvs_kvf_n_section(codec); i++) {
        struct kvs_section s = kvs_kvf_section(codec, i);
        struct kvs_layout at = layout_of(lab->file, codec, i);
        uint8_t *copy = lab->end - (s.n_byte + 15) / 16 * 16;
        memcpy(copy, lab->file + s.at_bytes, s.n_byte);
        for (uint32_t k = 0; kvs_level_is_e(s.level) && k < header.n_table * lab->n_isa; k++) {
            memset(copy + at.param_at + 4 * lab->n_chan, (int)(k / lab->n_isa), lab->n_chan);
            n_refused += kvs_kvf_decode(codec, i, copy, lab->isa[k % lab->n_isa], lab->out,
                                        lab->n_chan, NULL) == KVS_ERR_PARSE;
        }
    }
    assert_true(n_refused > 100);
    kvs_kvf_close(codec);
}

/* A token of 32 channels, each a lane: V's states and words are overwritten. all: lanes take a word
 * each and end at it, times 2^16 above; else a word more is told than is taken. */
static void check_end(struct lab *lab, enum kvs_level level, bool all)
{
    enum { CHAN = 32 };
    struct made made = kvf_make(1, 1, CHAN, 1, 1, 0, KVS_HALF_BF16);
    made.level[1] = (uint8_t)level;
    size_t n;
    uint8_t *file = kvf_encode(&made, NULL, &n);
    struct kvs_header header;
    struct kvs_kvf *codec;
    memcpy(&header, file, sizeof header);
    codec = kvf_parse(file, n);
    struct kvs_section s = kvs_kvf_section(codec, 1);
    struct kvs_layout at = layout_of(file, codec, 1);
    kvs_kvf_close(codec);
    assert_int_equal(at.n_escape, 0);
    uint32_t n_word = all ? CHAN : at.n_word + 1,
             *stream = (void *)(file + s.at_bytes + at.stream_at);
    uint16_t *word = (void *)(file + s.at_bytes + at.payload_at);
    stream[0] = n_word;
    for (uint32_t c = 0; all && c < CHAN; c++) {
        stream[1 + c] = KVS_RANS_LOW; /* 16 * frequency is less than that */
        word[c] = KVS_RANS_LOW;
    }
    at = kvs_layout(&made.shape, level, KVS_V, 1, 0, 0, n_word);
    memcpy(file + s.at_bytes + offsetof(struct kvs_section_head, n_word), &n_word, 4);
    memcpy(file + KVS_KVF_PAGE + kvs_page_up(header.table_bytes) + sizeof(struct kvs_entry) +
               offsetof(struct kvs_entry, n_byte),
           &at.n_byte, 8);
    assert_int_equal(kvs_page_up(at.n_byte), n - s.at_bytes); /* in the same page */
    assert_int_equal(kvs_kvf_parse("f", file, n, n, false, &codec, NULL), KVS_OK);
    for (unsigned isa = 0; isa < lab->n_isa; isa++) {
        struct kvs_err err = {0};
        assert_int_equal(kvs_kvf_decode(codec, 1, NULL, lab->isa[isa], lab->out, CHAN, &err),
                         KVS_ERR_PARSE);
        assert_non_null(strstr(err.msg, "do not end as they began"));
    }
    kvs_kvf_close(codec);
    free(file);
    kvf_made_free(&made);
}

static void streams_that_end_otherwise_are_refused(void **state)
{
    for (int level = KVS_E6; level < KVS_N_LEVEL; level++) {
        check_end(*state, (enum kvs_level)level, true);
        check_end(*state, (enum kvs_level)level, false);
    }
}

/* The first table's low bits, fraction and first value. */
static void tables_whose_values_would_overflow_are_refused(void **state)
{
    static const struct {
        uint8_t fraction, low;
        int16_t value;
        const char *want; /* NULL: it opens */
    } cases[] = {
        {0, 0, 511, NULL},
        {0, 2, 508, NULL},
        {0, 2, 509, "f: table 0: symbol 0 has frequency"},
        {0, 0, -512, "f: table 0: symbol 0 has frequency"},
        {1, 1, 0,
         "f: table 0: found 1 low bits, 1 bits of fraction; want 0 to 2, and one of both at most"},
        {0, 3, 0,
         "f: table 0: found 3 low bits, 0 bits of fraction; want 0 to 2, and one of both at most"},
    };
    struct lab *lab = *state;
    uint8_t *copy = malloc(lab->n), *table = copy + KVS_KVF_PAGE;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct kvs_kvf *codec;
        struct kvs_err err = {0};
        struct kvs_table_head head;
        memcpy(copy, lab->file, lab->n);
        memcpy(&head, table, sizeof head);
        head.fraction = cases[k].fraction;
        head.low = cases[k].low;
        memcpy(table, &head, sizeof head);
        memcpy(table + sizeof head + head.n * 2u, &cases[k].value, 2);
        enum kvs_code code = kvs_kvf_parse("f", copy, lab->n, lab->n, false, &codec, &err);
        assert_int_equal(code, cases[k].want ? KVS_ERR_PARSE : KVS_OK);
        if (cases[k].want)
            assert_int_equal(strncmp(err.msg, cases[k].want, strlen(cases[k].want)), 0);
        kvs_kvf_close(codec);
    }
    free(copy);
}

/* What sums can't tell: they are right, or cover it not. */
static void negative_steps_and_padding_that_is_not_zero_are_refused(void **state)
{
    struct lab *lab = *state;
    struct kvs_kvf *codec;
    uint8_t *copy = malloc(lab->n);
    unsigned n_padding = 0;
    for (uint32_t i = 0; i < N_LAYER * 2; i++) {
        struct kvs_err err = {0};
        memcpy(copy, lab->file, lab->n);
        assert_int_equal(kvs_kvf_parse("f", copy, lab->n, lab->n, false, &codec, &err), KVS_OK);
        struct kvs_section s = kvs_kvf_section(codec, i);
        uint32_t sink = kvs_block_sink(kvs_kvf_shape(codec), s.block);
        struct kvs_layout at = kvs_layout(kvs_kvf_shape(codec), s.level, s.kv, s.n_tok, sink, 0, 0);
        uint32_t n_before = s.level == KVS_FP8 ? 0 : s.level < KVS_E6 ? at.n_param : lab->n_chan;
        if (s.level >= KVS_FP8) {
            copy[s.at_bytes + at.param_at + 2 * n_before + 1] |= 0x80;
            assert_int_equal(
                kvs_kvf_decode(codec, i, NULL, lab->isa[0], lab->out, lab->n_chan, &err),
                KVS_ERR_PARSE);
            assert_non_null(strstr(err.msg, "a step is negative"));
        }
        kvs_kvf_close(codec);
        memcpy(copy, lab->file, lab->n);
        uint64_t padding = s.at_bytes + s.n_byte;
        if (padding % 4096 == 0)
            continue;
        copy[n_padding++ % 2 ? padding : (padding | 4095)] = 1;
        err = (struct kvs_err){0};
        assert_int_equal(kvs_kvf_parse("f", copy, lab->n, lab->n, true, &codec, &err),
                         KVS_ERR_PARSE);
        assert_non_null(strstr(err.msg, "is not zero"));
    }
    assert_true(n_padding > 1);
    static const size_t head[] = {sizeof(struct kvs_header), 4095, 8191, 12287};
    for (size_t k = 0; k < sizeof head / sizeof *head; k++) {
        memcpy(copy, lab->file, lab->n);
        copy[head[k]] ^= 1;
        assert_int_equal(kvs_kvf_parse("f", copy, lab->n, lab->n, true, &codec, NULL),
                         KVS_ERR_PARSE);
    }
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_file_opens),
        cmocka_unit_test(flipped_bits_of_any_field_do_no_harm),
        cmocka_unit_test(random_damage_does_no_harm),
        cmocka_unit_test(duplicated_fields_do_no_harm),
        cmocka_unit_test(cut_and_grown_files_are_refused),
        cmocka_unit_test(newer_versions_are_told_apart),
        cmocka_unit_test(reserved_fields_and_words_of_no_stream_are_refused),
        cmocka_unit_test(states_that_no_encoder_leaves_are_refused),
        cmocka_unit_test(damaged_streams_are_the_same_to_all),
        cmocka_unit_test(parameters_of_any_size_decode_alike),
        cmocka_unit_test(words_that_run_out_are_read_no_further),
        cmocka_unit_test(streams_that_end_otherwise_are_refused),
        cmocka_unit_test(tables_whose_values_would_overflow_are_refused),
        cmocka_unit_test(negative_steps_and_padding_that_is_not_zero_are_refused),
    };
    const struct CMUnitTest some[] = {
        cmocka_unit_test(good_file_opens),
        cmocka_unit_test(random_damage_does_no_harm),
        cmocka_unit_test(damaged_streams_are_the_same_to_all),
        cmocka_unit_test(parameters_of_any_size_decode_alike),
        cmocka_unit_test(words_that_run_out_are_read_no_further),
        cmocka_unit_test(negative_steps_and_padding_that_is_not_zero_are_refused),
    };
    return cmocka_run_group_tests_name("hostile codec files", tests, set_up_ragged, tear_down) +
           cmocka_run_group_tests_name("hostile codec files, whole vectors", some,
                                       set_up_whole_vectors, tear_down) +
           cmocka_run_group_tests_name("hostile codec files, f16", some, set_up_f16, tear_down);
}
