/*
 * The GPU's decoder through the SIMT shim: the CPU's bits on every level, shape and schedule; and
 * every planted bug is seen.
 */
#include "registers.h"
#include "test.h"

#include "kernels/codec/gpu.h"
#include "kernels/codec/made.h"
#include "kernels/simt/simt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum kvs_code launcher(void *ctx, const struct kvs_kvf_gpu *job, void *stream,
                               struct kvs_err *err);

enum { FENCE = 64 };

/* One section on the host and through the shim; false: the bits differ, or words beside the output
 * were touched, or a good stream is called bad. */
static bool same(const struct kvs_kvf *kvf, uint32_t i, struct simt *simt, launcher *launch)
{
    const struct kvs_kvf_shape *s = kvs_kvf_shape(kvf);
    struct kvs_section section = kvs_kvf_section(kvf, i);
    uint32_t n_chan = kvs_kvf_n_chan(s), word_at[65], n_bad = 0, n_table;
    size_t stride = n_chan + 3, n = section.n_tok * stride;
    uint16_t *want = malloc((n + 2 * FENCE) * 2), *got = malloc((n + 2 * FENCE) * 2);
    struct kvs_err err = {0};
    struct kvs_kvf_gpu job = {.stride = stride, .n_bad = &n_bad, .word_at = word_at};
    memset(want, 0xa5, (n + 2 * FENCE) * 2);
    memset(got, 0xa5, (n + 2 * FENCE) * 2);
    if (kvs_kvf_decode(kvf, i, NULL, kvs_kvf_isa("scalar"), want + FENCE, stride, &err) ||
        kvs_kvf_gpu_plan(kvf, i, NULL, &job, word_at, &err))
        fail_msg("%s", err.msg);
    assert_true(job.at.n_stream <= 64);
    job.section = kvf->data + section.at_bytes;
    job.table = kvs_kvf_gpu_tables(kvf, &job.fraction, &n_table);
    memcpy(got + FENCE, want + FENCE, job.at.n_sink * stride * 2); /* the caller's copy */
    job.out = got + FENCE + job.at.n_sink * stride;
    if (section.level == KVS_RAW16)
        memcpy(got + FENCE, want + FENCE, n * 2);
    bool good = launch(simt, &job, NULL, &err) == KVS_OK && n_bad == 0 &&
                memcmp(want, got, (n + 2 * FENCE) * 2) == 0;
    free(want);
    free(got);
    return good;
}

/* Two blocks of all levels: ragged channels, sinks, escapes; a stream of one token and of 256. */
static struct kvs_kvf *lab(uint32_t heads, uint32_t dim, enum kvs_half half, uint8_t **file)
{
    const uint16_t *x[14];
    uint8_t level[14];
    struct kvs_err err = {0};
    struct kvs_kvf *kvf;
    size_t n;
    for (unsigned i = 0; i < 14; i++) {
        uint16_t *made = kvs_kvf_made(i, 300, heads * dim, .5, half);
        for (int k = 0; k < 200; k++)
            made[(uint32_t)(k * 91 + 3000) % (300 * heads * dim)] = half ? 0x7f80 : 0x7c00;
        x[i] = made;
        level[i] = (uint8_t)(i == KVS_LX && half == KVS_F16 ? KVS_RAW16 : i);
    }
    struct kvs_kvf_in in = {{.n_layer = 7,
                             .n_kv_head = heads,
                             .head_dim = dim,
                             .n_tok = 300,
                             .block_tok = 259,
                             .n_sink = 2,
                             .half = half},
                            x,
                            level,
                            NULL};
    if (kvs_kvf_encode(&in, kvs_kvf_isa(NULL), file, &n, &err) ||
        kvs_kvf_parse("lab", *file, n, n, true, &kvf, &err))
        fail_msg("%s", err.msg);
    for (unsigned i = 0; i < 14; i++)
        free((void *)(uintptr_t)x[i]);
    return kvf;
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
}

static void broken_streams_are_counted_and_do_no_harm(void **state)
{
    uint8_t *file;
    struct kvs_kvf *kvf = lab(2, 16, KVS_HALF_BF16, &file);
    uint32_t n_bad = 0, word_at[65], n_table;
    (void)state;
    for (uint32_t i = 0; i < kvs_kvf_n_section(kvf); i++) {
        struct kvs_section section = kvs_kvf_section(kvf, i);
        struct kvs_err err = {0};
        uint16_t *out = malloc((size_t)section.n_tok * 32 * 2);
        struct kvs_kvf_gpu job = {.stride = 32, .n_bad = &n_bad, .word_at = word_at, .out = out};
        if (kvs_kvf_gpu_plan(kvf, i, NULL, &job, word_at, &err))
            fail_msg("%s", err.msg);
        uint8_t *copy = malloc(section.n_byte);
        memcpy(copy, file + section.at_bytes, section.n_byte);
        job.section = copy;
        job.table = kvs_kvf_gpu_tables(kvf, &job.fraction, &n_table);
        if (job.at.n_stream) { /* words become others: the end is not where it was */
            for (uint32_t k = 0; k < job.at.n_word / 2; k++)
                copy[job.at.payload_at + k] ^= 0x5a;
            uint32_t before = n_bad;
            struct simt *simt = simt_new(SIMT_RANDOM, i, 0);
            assert_int_equal(kvs_simt_kvf(simt, &job, NULL, &err), KVS_OK);
            assert_true(n_bad > before);
            simt_free(simt);
            before = n_bad;
            simt = simt_new(SIMT_RANDOM, i, 83); /* planted: nobody counts */
            assert_int_equal(kvs_mutant_kvf(simt, &job, NULL, &err), KVS_OK);
            assert_int_equal(n_bad, before);
            simt_free(simt);
        }
        free(copy);
        free(out);
    }
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
    };
    (void)state;
    uint8_t *file;
    struct kvs_kvf *kvf = lab(3, 45, KVS_HALF_BF16, &file);
    for (size_t b = 0; b < sizeof bugs / sizeof bugs[0]; b++) {
        bool seen = false;
        for (uint32_t i = 0; i < kvs_kvf_n_section(kvf) && !seen; i++) {
            struct simt *simt = simt_new(SIMT_FIRST, 1, bugs[b].id);
            seen = !same(kvf, i, simt, kvs_mutant_kvf);
            simt_free(simt);
        }
        if (!seen)
            fail_msg("bug %d (%s) goes unnoticed", bugs[b].id, bugs[b].what);
    }
    kvs_kvf_close(kvf);
    free(file);
}

static void kernels_keep_to_their_registers(void **state)
{
    static const struct register_budget budget[] = {
        {"kvf_rans_kernel", 40}, {"kvf_rows_kernel", 32}, {"kvf_escape_kernel", 16}};
    (void)state;
    hold_registers("build-cuda/kvf.ptxas", budget, sizeof budget / sizeof *budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gpu_decodes_the_same_bits),
        cmocka_unit_test(broken_streams_are_counted_and_do_no_harm),
        cmocka_unit_test(every_planted_bug_is_seen),
        cmocka_unit_test(kernels_keep_to_their_registers),
    };
    return cmocka_run_group_tests_name("codec on the GPU", tests, NULL, NULL);
}
