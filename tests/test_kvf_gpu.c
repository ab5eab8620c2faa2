/*
 * The GPU's decoder through the SIMT shim: the CPU's bits on every level, shape and schedule; and
 * every planted bug is seen.
 */
#include "kvf_made.h"
#include "planted.h"
#include "registers.h"
#include "test.h"

#include "kernels/codec/gpu.h"
#include "kernels/codec/made.h"
#include "kernels/simt/simt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum kvs_code launcher(void *ctx, const struct kvs_kvf_gpu *job, void *stream,
                               struct kvs_err *err);

enum { FENCE = 64 };

/* Threads may touch what the job names, and nothing else. n_word: of rANS. */
static void name_buffers(struct simt *simt, const struct kvs_kvf_gpu *job, size_t section_bytes,
                         uint32_t n_table)
{
    const struct kvs_layout *at = &job->at;
    size_t n_out = at->n_tok ? (at->n_tok - 1) * job->stride + at->n_chan : 0;
    assert_true(simt_buffer_new(simt, job->section, section_bytes) &&
                simt_buffer_new(simt, job->out, n_out * sizeof *job->out) &&
                simt_buffer_new(simt, job->n_bad, sizeof *job->n_bad) &&
                simt_buffer_new(simt, job->table, n_table * sizeof *job->table << KVS_RANS_BITS) &&
                simt_buffer_new(simt, job->fraction, n_table) &&
                simt_buffer_new(simt, job->order, at->n_chan) &&
                simt_buffer_new(simt, job->word_at, (at->n_stream + 1) * sizeof *job->word_at));
}

/* One section on the host and through the shim; false: the bits differ, or words beside the output
 * were touched, or a good stream is called bad. */
static bool same(const struct kvs_kvf *kvf, uint32_t i, struct simt *simt, launcher *launch)
{
    const struct kvs_kvf_shape *s = kvs_kvf_shape(kvf);
    struct kvs_section section = kvs_kvf_section(kvf, i);
    uint32_t n_chan = kvs_kvf_n_chan(s), word_at[65], n_bad = 0, n_table;
    uint8_t order[256] = {0};
    size_t stride = n_chan + 3, n = section.n_tok * stride;
    uint16_t *want = malloc((n + 2 * FENCE) * 2), *got = malloc((n + 2 * FENCE) * 2);
    struct kvs_err err = {0};
    struct kvs_kvf_gpu job = {
        .stride = stride, .n_bad = &n_bad, .word_at = word_at, .order = order};
    memset(want, 0xa5, (n + 2 * FENCE) * 2);
    memset(got, 0xa5, (n + 2 * FENCE) * 2);
    if (kvs_kvf_decode(kvf, i, NULL, kvs_kvf_isa("scalar"), want + FENCE, stride, &err) ||
        kvs_kvf_gpu_plan(kvf, i, NULL, &job, word_at, order, &err))
        fail_msg("%s", err.msg);
    assert_true(job.at.n_stream <= 64 && n_chan <= sizeof order);
    job.section = kvf->data + section.at_bytes;
    job.table = kvs_kvf_gpu_tables(kvf, &job.fraction, &n_table);
    memcpy(got + FENCE, want + FENCE, job.at.n_sink * stride * 2); /* the caller's copy */
    job.out = got + FENCE + job.at.n_sink * stride;
    if (section.level == KVS_RAW16)
        memcpy(got + FENCE, want + FENCE, n * 2);
    name_buffers(simt, &job, section.n_byte, n_table);
    bool good = launch(simt, &job, NULL, &err) == KVS_OK && n_bad == 0 &&
                memcmp(want, got, (n + 2 * FENCE) * 2) == 0;
    free(want);
    free(got);
    return good;
}

static void all_same(const struct kvs_kvf *kvf)
{
    for (uint32_t i = 0; i < kvs_kvf_n_section(kvf); i++) {
        struct simt *simt = simt_new(SIMT_FORWARD, i, 0);
        if (!same(kvf, i, simt, kvs_simt_kvf))
            fail_msg("%s: other bits", kvs_level_names[kvs_kvf_section(kvf, i).level]);
        simt_free(simt);
    }
}

/* Two blocks of all levels: ragged channels, sinks, escapes; a stream of one token and of 256. */
static struct kvs_kvf *lab_of(uint32_t heads, uint32_t dim, uint32_t n_tok, uint32_t block_tok,
                              enum kvs_half half, uint8_t **file)
{
    const uint16_t *x[14];
    const float *weight[14];
    float one[256]; /* over a factor of 50: channels change places */
    uint8_t level[14];
    struct kvs_err err = {0};
    struct kvs_kvf *kvf;
    size_t n;
    for (unsigned i = 0; i < 14; i++) {
        uint16_t *made = kvs_kvf_made(i, n_tok, heads * dim, .5, half);
        for (int k = 0; k < 200; k++)
            made[(uint32_t)(k * 91 + 3000) % (n_tok * heads * dim)] = half ? 0x7f80 : 0x7c00;
        x[i] = made;
        weight[i] = i % 3 ? one : NULL;
        level[i] = (uint8_t)(i == KVS_LX && half == KVS_F16 ? KVS_RAW16 : i);
    }
    struct kvs_kvf_in in = {{.n_layer = 7,
                             .n_kv_head = heads,
                             .head_dim = dim,
                             .n_tok = n_tok,
                             .block_tok = block_tok,
                             .n_sink = 2,
                             .half = half},
                            x,
                            level,
                            weight};
    for (uint32_t c = 0; c < heads * dim; c++)
        one[c] = expf(2 * sinf(1.7f * (float)c));
    if (kvs_kvf_encode(&in, kvs_kvf_isa(NULL), file, &n, &err) ||
        kvs_kvf_parse("lab", *file, n, n, true, &kvf, &err))
        fail_msg("%s", err.msg);
    for (unsigned i = 0; i < 14; i++)
        free((void *)(uintptr_t)x[i]);
    return kvf;
}

static struct kvs_kvf *lab(uint32_t heads, uint32_t dim, enum kvs_half half, uint8_t **file)
{
    return lab_of(heads, dim, 300, 259, half, file);
}

/* More tokens than a grid has rows of blocks. */
static struct kvs_kvf *long_lab(uint8_t **file)
{
    return lab_of(1, 5, 1040, 1040, KVS_HALF_BF16, file);
}

static void the_gpu_decodes_the_same_bits(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++)
        for (int shape = 0; shape < 2; shape++) {
            uint8_t *file;
            struct kvs_kvf *kvf = lab(shape ? 3 : 2, shape ? 45 : 16, (enum kvs_half)half, &file);
            for (uint32_t i = 0; i < kvs_kvf_n_section(kvf); i++) {
                struct simt *simt = simt_new((enum simt_schedule)(i % SIMT_N_SCHEDULE), i, 0);
                if (!same(kvf, i, simt, kvs_simt_kvf))
                    fail_msg("%s, %s, shape %d: other bits",
                             kvs_level_names[kvs_kvf_section(kvf, i).level], half ? "bf16" : "f16",
                             shape);
                simt_free(simt);
            }
            kvs_kvf_close(kvf);
            free(file);
        }
    uint8_t *file;
    struct kvs_kvf *kvf = long_lab(&file);
    for (uint32_t i = 0; i < kvs_kvf_n_section(kvf); i++) {
        struct simt *simt = simt_new(SIMT_FORWARD, i, 0);
        assert_true(same(kvf, i, simt, kvs_simt_kvf));
        simt_free(simt);
    }
    kvs_kvf_close(kvf);
    free(file);
}

/* Means, minima and steps near the type's largest number, as a hostile file may have them: products
 * are beyond it, of bf16 beyond floats, and sums are not. */
static void large_parameters_give_the_same_bits(enum kvs_half half)
{
    uint8_t *file, order[256];
    uint32_t word_at[65], infinite = half == KVS_F16 ? 0x7c00 : 0x7f80;
    struct kvs_kvf *good = lab(2, 16, half, &file), *kvf;
    size_t n_byte = good->n_byte;
    unsigned n_tried = 0;
    for (uint32_t i = 0; i < kvs_kvf_n_section(good); i++) {
        struct kvs_section section = kvs_kvf_section(good, i);
        struct kvs_kvf_gpu job = {0};
        if (section.level < KVS_P8)
            continue;
        assert_int_equal(kvs_kvf_gpu_plan(good, i, NULL, &job, word_at, order, NULL), KVS_OK);
        uint16_t *param = (void *)(file + section.at_bytes + job.at.param_at);
        uint32_t n = kvs_level_is_e(section.level) ? job.at.n_chan : job.at.n_param;
        for (uint32_t c = 0; c < n; c++, n_tried++) {
            param[c] = (uint16_t)((c % 2 ? 0 : 0x8000) | (infinite - 1 - c % 128));
            param[n + c] = (uint16_t)(infinite - 0x180 + c % 3 * 0x80);
        }
    }
    assert_true(n_tried > 0);
    kvs_kvf_close(good);
    assert_int_equal(kvs_kvf_parse("far", file, n_byte, n_byte, false, &kvf, NULL), KVS_OK);
    all_same(kvf);
    kvs_kvf_close(kvf);
    free(file);
}

static void large_parameters_of_both_types_give_the_same_bits(void **state)
{
    (void)state;
    large_parameters_give_the_same_bits(KVS_F16);
    large_parameters_give_the_same_bits(KVS_HALF_BF16);
}

/* A block of sinks alone has nothing to decode, and parameters that nobody looks at. */
static void sinks_alone_decode_whatever_their_parameters_are(void **state)
{
    struct made made = kvf_make(7, 1, 32, 3, 3, 3, KVS_HALF_BF16);
    size_t n;
    (void)state;
    for (unsigned i = 0; i < 14; i++)
        made.level[i] = (uint8_t)i;
    uint8_t *file = kvf_encode(&made, NULL, &n);
    struct kvs_kvf *kvf = kvf_parse(file, n);
    for (uint32_t i = 0; i < kvs_kvf_n_section(kvf); i++) {
        struct kvs_section section = kvs_kvf_section(kvf, i);
        struct kvs_section_head head;
        memcpy(&head, file + section.at_bytes, sizeof head);
        struct kvs_layout at =
            kvs_layout(&made.shape, section.level, section.kv, 3, 3, head.n_escape, head.n_word);
        if (section.level != KVS_LX) /* whose parameters are exponents */
            memset(file + section.at_bytes + at.param_at, 0xff, at.stream_at - at.param_at);
    }
    kvs_kvf_close(kvf);
    assert_int_equal(kvs_kvf_parse("sinks", file, n, n, false, &kvf, NULL), KVS_OK);
    all_same(kvf);
    kvs_kvf_close(kvf);
    free(file);
    kvf_made_free(&made);
}

/* Section i of rANS, broken: every second word other; or, a stream each, the start of one lane, not
 * where low bits would take what is other for theirs. */
static void break_streams(uint8_t *section, const struct kvs_layout *at, int lane)
{
    uint32_t *states = (uint32_t *)(void *)(section + at->stream_at) + at->n_stream;
    for (uint32_t k = 0; k < at->n_word / 2 && lane < 0; k++)
        section[at->payload_at + k] ^= 0x5a;
    for (uint32_t s = 0; s < at->n_stream && lane >= 0; s++)
        states[s * KVS_RANS_LANES + (uint32_t)lane] ^= 1u << (16 + s % 8);
}

/* How many streams a launch calls bad; -1: it touched what is not its own. */
static int n_called_bad(const struct kvs_kvf *kvf, uint32_t i, int lane, int bug)
{
    struct kvs_section section = kvs_kvf_section(kvf, i);
    struct kvs_err err = {0};
    uint32_t n_bad = 0, word_at[65], n_table, n_chan = kvs_kvf_n_chan(kvs_kvf_shape(kvf));
    uint8_t order[256] = {0};
    struct kvs_kvf_gpu job = {
        .stride = n_chan, .n_bad = &n_bad, .word_at = word_at, .order = order};
    if (kvs_kvf_gpu_plan(kvf, i, NULL, &job, word_at, order, &err))
        fail_msg("%s", err.msg);
    if (!job.at.n_stream)
        return 0;
    uint8_t *copy = malloc(section.n_byte);
    memcpy(copy, kvf->data + section.at_bytes, section.n_byte);
    break_streams(copy, &job.at, lane);
    job.out = malloc((size_t)section.n_tok * n_chan * 2);
    job.section = copy;
    job.table = kvs_kvf_gpu_tables(kvf, &job.fraction, &n_table);
    job.at.n_escape = 0; /* what lies behind the words is then nobody's */
    struct simt *simt = simt_new(SIMT_RANDOM, i, bug);
    name_buffers(simt, &job, job.at.payload_at + job.at.n_word * 2, n_table);
    enum kvs_code code =
        bug ? kvs_mutant_kvf(simt, &job, NULL, &err) : kvs_simt_kvf(simt, &job, NULL, &err);
    simt_free(simt);
    free(copy);
    free(job.out);
    return code ? -1 : (int)n_bad;
}

static void broken_streams_are_counted_and_do_no_harm(void **state)
{
    uint8_t *file;
    struct kvs_kvf *kvf = lab(2, 16, KVS_HALF_BF16, &file);
    unsigned n_outside = 0, n_fewer = 0;
    (void)state;
    for (uint32_t i = 0; i < kvs_kvf_n_section(kvf); i++) {
        if (kvs_kvf_section(kvf, i).level < KVS_E6)
            continue;
        assert_true(n_called_bad(kvf, i, -1, 0) > 0);
        assert_int_equal(n_called_bad(kvf, i, -1, 83), 0); /* planted: nobody counts */
        n_outside += n_called_bad(kvf, i, -1, 100) < 0;    /* planted: end of words */
        for (int lane = 1; lane < 32; lane += 5) {         /* planted: the first lane's view */
            int n = n_called_bad(kvf, i, lane, 0);
            assert_true(n > 0);
            n_fewer += n_called_bad(kvf, i, lane, 101) < n;
        }
    }
    assert_true(n_outside > 0 && n_fewer > 0);
    kvs_kvf_close(kvf);
    free(file);
}

static void every_planted_bug_is_seen(void **state)
{
    static const struct {
        int id;
        const char *what;
    } bugs[] = {
        {80, "lanes beyond the last channel"},
        {81, "the last lane's vote"},
        {82, "a lane's place among the words"},
        {84, "end of row"},
        {85, "third bits"},
        {86, "token groups"},
        {87, "the last escape"},
        {88, "parameters beyond the last channel"},
        {89, "end of tokens of a stream"},
        {102, "end of tokens"},
        {103, "end of escapes"},
        {105, "tokens beyond the grid's rows"},
        {121, "channels that stand elsewhere"},
        {122, "low bits taken"},
        {123, "low bits left"},
    };
    uint8_t *file, *long_file;
    struct kvs_kvf *kvf = lab(3, 45, KVS_HALF_BF16, &file), *far = long_lab(&long_file);
    (void)state;
    for (size_t b = 0; b < sizeof bugs / sizeof bugs[0]; b++) {
        bool seen = false;
        for (uint32_t i = 0; i < kvs_kvf_n_section(kvf) && !seen; i++) {
            struct simt *simt = simt_new(SIMT_FIRST, 1, bugs[b].id);
            seen = !same(bugs[b].id == 105 ? far : kvf, i, simt, kvs_mutant_kvf);
            simt_free(simt);
        }
        if (!seen)
            fail_msg("bug %d (%s) goes unnoticed", bugs[b].id, bugs[b].what);
    }
    kvs_kvf_close(kvf);
    kvs_kvf_close(far);
    free(file);
    free(long_file);
}

/* Each vote and each comparison with an end stands beside a planted bug, of those above. */
static void every_vote_and_bound_has_its_bug(void **state)
{
    static const char *const bounds[] = {"c < n ",      "< KVS_RANS_TOK ", "from < end",
                                         "c >= n_chan", "n_tok + (",       "n_escape - (",
                                         NULL};
    unsigned n_planted[PLANTED_IDS] = {0}, n = 0;
    (void)state;
    assert_int_equal(planted_lines("kvf", planted_waits, NULL), 2);
    assert_int_equal(planted_lines("kvf", bounds, n_planted), 7);
    for (int id = 0; id < PLANTED_IDS; id++)
        n += n_planted[id] > 0;
    assert_int_equal(n, 18);
}

static void kernels_keep_to_their_registers(void **state)
{
    /* a warp a block: 32 blocks, the most of a multiprocessor, leave 64 registers a thread */
    static const struct register_budget budget[] = {
        {"kvf_rans_kernel", 48}, {"kvf_rows_kernel", 32}, {"kvf_escape_kernel", 16}};
    (void)state;
    hold_registers("build-cuda/kvf.ptxas", budget, sizeof budget / sizeof *budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gpu_decodes_the_same_bits),
        cmocka_unit_test(large_parameters_of_both_types_give_the_same_bits),
        cmocka_unit_test(sinks_alone_decode_whatever_their_parameters_are),
        cmocka_unit_test(broken_streams_are_counted_and_do_no_harm),
        cmocka_unit_test(every_planted_bug_is_seen),
        cmocka_unit_test(every_vote_and_bound_has_its_bug),
        cmocka_unit_test(kernels_keep_to_their_registers),
    };
    return cmocka_run_group_tests_name("codec on the GPU", tests, NULL, NULL);
}
