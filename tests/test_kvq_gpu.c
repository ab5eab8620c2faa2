/*
 * The GPU's quantisers through the SIMT shim: the CPU's bytes and symbols on every level, shape and
 * schedule; and every planted bug is seen.
 */
#include "planted.h"
#include "registers.h"
#include "test.h"

#include "kernels/codec/gpu.h"
#include "kernels/codec/kern.h"
#include "kernels/codec/made.h"
#include "kernels/simt/simt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_TOK = 150, N_LEVEL = 4 };

struct lab {
    struct kvs_kvf_shape shape;
    uint16_t *x[2 * N_LEVEL];
    uint8_t level[2 * N_LEVEL], *file;
    struct kvs_kvf *kvf;
};

/* p8 to p2, K and V: ragged channels and groups; a sink; groups of equal, of zero, of huge
 * elements. */
static struct lab lab_new(uint32_t heads, uint32_t dim, enum kvs_half half)
{
    struct lab lab = {.shape = {.n_layer = N_LEVEL,
                                .n_kv_head = heads,
                                .head_dim = dim,
                                .n_tok = N_TOK,
                                .block_tok = N_TOK,
                                .n_sink = 1,
                                .half = half}};
    uint32_t n_chan = heads * dim;
    struct kvs_err err = {0};
    size_t n;
    for (unsigned i = 0; i < 2 * N_LEVEL; i++) {
        lab.level[i] = (uint8_t)(KVS_P8 + i / 2);
        lab.x[i] = kvs_kvf_made(i, N_TOK, n_chan, .5, half);
        for (uint32_t t = 70; t < 140; t++)
            for (uint32_t c = 0; c < n_chan; c++) {
                uint16_t *x = &lab.x[i][t * n_chan + c];
                *x = (uint16_t)(c < 3 ? 0x3c00 : c == 5 ? (t % 2 ? 0x8000 : 0) : *x);
                *x = (uint16_t)(t == 90 ? (c % 2 ? 0 : 0x8000) : *x);
            }
        for (unsigned k = 0; k < 20; k++)
            lab.x[i][(k * 91 + 300) % (N_TOK * n_chan)] = half ? 0x7f80 : 0x7c00;
    }
    struct kvs_kvf_in in = {lab.shape, (const uint16_t *const *)lab.x, lab.level, NULL};
    if (kvs_kvf_encode(&in, kvs_kvf_isa("scalar"), &lab.file, &n, &err) ||
        kvs_kvf_parse("lab", lab.file, n, n, true, &lab.kvf, &err))
        fail_msg("%s", err.msg);
    return lab;
}

static void lab_free(struct lab *lab)
{
    kvs_kvf_close(lab->kvf);
    free(lab->file);
    for (unsigned i = 0; i < 2 * N_LEVEL; i++)
        free(lab->x[i]);
}

typedef enum kvs_code pack_launcher(void *ctx, const struct kvs_kvq_pack *job, void *stream,
                                    struct kvs_err *err);

/* Whether the parameters and the payload of section i, and no byte beside, are the file's. */
static bool packs(const struct lab *lab, uint32_t i, struct simt *simt, pack_launcher *launch)
{
    struct kvs_section s = kvs_kvf_section(lab->kvf, i);
    const uint8_t *want = lab->file + s.at_bytes;
    uint32_t n_huge = 0, n_chan = kvs_kvf_n_chan(&lab->shape);
    struct kvs_section_head head;
    struct kvs_err err = {0};
    struct kvs_kvq_pack job = {.x = lab->x[i] + n_chan, .stride = n_chan, .n_huge = &n_huge};
    memcpy(&head, want, sizeof head);
    kvs_kvq_plan(&job, &lab->shape, s.level, s.kv, s.n_tok, 1);
    size_t from = job.at.param_at, end = job.at.escape_at; /* without escapes: payload's end */
    job.section = calloc(1, end + 64);
    memset(job.section + end, 0xa5, 64);
    assert_true(simt_buffer_new(simt, job.x, (size_t)(N_TOK - 1) * n_chan * sizeof *job.x) &&
                simt_buffer_new(simt, job.section, end) &&
                simt_buffer_new(simt, &n_huge, sizeof n_huge));
    bool good = launch(simt, &job, NULL, &err) == KVS_OK && n_huge == head.n_escape &&
                memcmp(job.section + from, want + from, end - from) == 0;
    for (size_t k = 0; k < 64; k++)
        good = good && job.section[end + k] == 0xa5;
    for (size_t k = 0; k < from; k++)
        good = good && job.section[k] == 0;
    free(job.section);
    return good;
}

static void the_gpu_packs_the_same_bytes(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++)
        for (int shape = 0; shape < 3; shape++) {
            static const uint32_t heads[] = {2, 3, 1}, dim[] = {32, 45, 7};
            struct lab lab = lab_new(heads[shape], dim[shape], (enum kvs_half)half);
            for (uint32_t i = 0; i < 2 * N_LEVEL; i++) {
                struct simt *simt = simt_new((enum simt_schedule)(i % SIMT_N_SCHEDULE), i, 0);
                if (!packs(&lab, i, simt, kvs_simt_kvq_pack))
                    fail_msg("%s of %s, %s, shape %d: other bytes", i % 2 ? "V" : "K",
                             kvs_level_names[lab.level[i]], half ? "bf16" : "f16", shape);
                simt_free(simt);
            }
            lab_free(&lab);
        }
}

typedef enum kvs_code quant_launcher(void *ctx, const struct kvs_kvq_quant *job, void *stream,
                                     struct kvs_err *err);

enum { CHAN = 135, WIDE = 192, SHORT = 60, LONG = 1040 /* more than a grid has rows of blocks */ };

/* Threads may touch what the job names, and nothing else. */
static void name_buffers(struct simt *simt, const struct kvs_kvq_quant *job)
{
    size_t row = CHAN * sizeof(float);
    assert_true(simt_buffer_new(simt, job->x, (size_t)job->n_tok * CHAN * sizeof *job->x) &&
                simt_buffer_new(simt, job->sum, row) && simt_buffer_new(simt, job->square, row) &&
                simt_buffer_new(simt, job->mean, row) && simt_buffer_new(simt, job->inverse, row) &&
                simt_buffer_new(simt, job->symbol, (job->n_tok - 1) * job->symbol_stride + CHAN));
}

/* Sums and symbols of e-levels beside the CPU's, the last with odd numbers too. */
static bool quantises(enum kvs_half half, uint32_t n_tok, struct simt *simt,
                      quant_launcher *moments, quant_launcher *symbols)
{
    const struct kvs_kvf_isa *isa = kvs_kvf_isa("scalar");
    static float sum[2][WIDE], square[2][WIDE], mean[WIDE], inverse[WIDE];
    static uint8_t symbol[2][LONG][WIDE];
    struct kvs_err err = {0};
    uint16_t *x = kvs_kvf_made(3, n_tok, CHAN, .5, half);
    struct kvs_kvq_quant job = {.x = x,
                                .stride = CHAN,
                                .n_tok = n_tok,
                                .n_chan = CHAN,
                                .half = half,
                                .sum = sum[1],
                                .square = square[1],
                                .mean = mean,
                                .inverse = inverse,
                                .symbol = symbol[1][0],
                                .symbol_stride = WIDE};
    name_buffers(simt, &job);
    (void)isa->moments(sum[0], square[0], x, n_tok, CHAN, half);
    bool good = moments(simt, &job, NULL, &err) == KVS_OK &&
                memcmp((void *)sum[0], (void *)sum[1], CHAN * sizeof(float)) == 0 &&
                memcmp((void *)square[0], (void *)square[1], CHAN * sizeof(float)) == 0;
    x[4 * CHAN + 9] = half ? 0x7fc0 : 0x7e00;
    x[5 * CHAN + 9] = half ? 0xff80 : 0xfc00;
    for (uint32_t c = 0; c < CHAN; c++) {
        mean[c] = sum[0][c] / (float)n_tok;
        inverse[c] = c % 7 ? 1 + (float)(c % 50) * 8 : 3e38f;
    }
    mean[20] = 0; /* and symbols at the ends: -128 to -126, 126 to 128 */
    inverse[20] = 1;
    for (uint16_t k = 0; k < 3; k++) {
        x[(6 + k) * CHAN + 20] = (uint16_t)(half ? 0xc2fc + 2 * k : 0xd7e0 + 16 * k);
        x[(9 + k) * CHAN + 20] = (uint16_t)(half ? 0x42fc + 2 * k : 0x57e0 + 16 * k);
    }
    memset(symbol, 0xa5, sizeof symbol);
    for (uint32_t t = 0; t < n_tok; t++) {
        (void)isa->quantise(symbol[0][t], x + (size_t)t * CHAN, mean, inverse, CHAN, half);
        memset(symbol[0][t] + CHAN, 0xa5, WIDE - CHAN);
    }
    good = good && symbols(simt, &job, NULL, &err) == KVS_OK &&
           memcmp(symbol[0], symbol[1], sizeof symbol[0]) == 0;
    free(x);
    return good;
}

static void the_gpu_finds_the_same_sums_and_symbols(void **state)
{
    (void)state;
    for (int half = 0; half < 2; half++)
        for (int k = 0; k < SIMT_N_SCHEDULE; k++) {
            struct simt *simt = simt_new((enum simt_schedule)k, (unsigned)half, 0);
            assert_true(quantises((enum kvs_half)half, k == SIMT_FORWARD ? LONG : SHORT, simt,
                                  kvs_simt_kvq_moments, kvs_simt_kvq_symbols));
            simt_free(simt);
        }
}

static void every_planted_bug_is_seen(void **state)
{
    static const struct {
        int id;
        const char *what;
    } bugs[] = {
        {90, "steps rounded up"},
        {91, "third bits"},
        {92, "a group's largest"},
        {93, "huge elements"},
        {94, "two warps' largest"},
        {95, "lanes beyond the last"},
        {96, "the second row"},
        {97, "symbol 1"},
        {98, "what has no symbol"},
        {106, "end of channels"},
        {107, "end of a group"},
        {108, "shuffles of the least"},
        {109, "shuffles of the largest"},
        {110, "barrier before two warps' largest"},
        {111, "barrier before rows are put"},
        {112, "barrier behind"},
        {113, "lanes of p4"},
        {114, "lanes of p2"},
        {115, "lanes of third bits"},
        {116, "end of channels, sums"},
        {117, "end of channels, symbols"},
        {118, "end of tokens, symbols"},
        {119, "end of tokens, sums"},
        {120, "tokens beyond the grid's rows"},
    };
    (void)state;
    struct lab lab = lab_new(3, 45, KVS_HALF_BF16);
    for (size_t b = 0; b < sizeof bugs / sizeof bugs[0]; b++) {
        bool seen = false;
        for (int k = 0; k < 2 && !seen; k++) { /* the schedules that show overwriting */
            enum simt_schedule schedule = k ? SIMT_LAST : SIMT_FIRST;
            for (uint32_t i = 0; i < 2 * N_LEVEL && !seen; i++) {
                struct simt *simt = simt_new(schedule, 1, bugs[b].id);
                seen = !packs(&lab, i, simt, kvs_mutant_kvq_pack);
                simt_free(simt);
            }
            struct simt *simt = simt_new(schedule, 1, bugs[b].id);
            seen = seen || !quantises(KVS_HALF_BF16, bugs[b].id == 120 ? LONG : SHORT, simt,
                                      kvs_mutant_kvq_moments, kvs_mutant_kvq_symbols);
            simt_free(simt);
        }
        if (!seen)
            fail_msg("bug %d (%s) goes unnoticed", bugs[b].id, bugs[b].what);
    }
    lab_free(&lab);
}

/* Each barrier, shuffle and comparison with an end stands beside a planted bug, of those above. */
static void every_barrier_shuffle_and_bound_has_its_bug(void **state)
{
    static const char *const bounds[] = {"c < n_chan",    "left < span", "lane < ",
                                         ">= job.n_chan", "n_tok + (",   NULL};
    unsigned n_planted[PLANTED_IDS] = {0}, n = 0;
    (void)state;
    assert_int_equal(planted_lines("kvq", planted_waits, NULL), 5);
    assert_int_equal(planted_lines("kvq", bounds, n_planted), 9);
    for (int id = 0; id < PLANTED_IDS; id++)
        n += n_planted[id] > 0;
    assert_int_equal(n, 24);
}

static void kernels_keep_to_their_registers(void **state)
{
    static const struct register_budget budget[] = {
        {"kvq_pack_kernel", 48}, {"kvq_moments_kernel", 32}, {"kvq_symbols_kernel", 32}};
    (void)state;
    hold_registers("build-cuda/kvq.ptxas", budget, sizeof budget / sizeof *budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gpu_packs_the_same_bytes),
        cmocka_unit_test(the_gpu_finds_the_same_sums_and_symbols),
        cmocka_unit_test(every_planted_bug_is_seen),
        cmocka_unit_test(every_barrier_shuffle_and_bound_has_its_bug),
        cmocka_unit_test(kernels_keep_to_their_registers),
    };
    return cmocka_run_group_tests_name("quantising on the GPU", tests, NULL, NULL);
}
