#include "exec_lab.h"
#include "test.h"

#include "kernels/forward.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One model on one device, f32 unless the device takes less. */
struct run {
    struct kvs_dev *dev;
    struct kvs_stream *stream;
    struct kvs_forward *forward;
    uint32_t n_vocab, n_layer;
};

/* elem: of everything; KVS_U8: what the device likes, with KV in the same. */
static struct run run_new(const char *backend, const struct kvs_weights *w, uint32_t max_ctx,
                          enum kvs_elem elem)
{
    struct run run;
    struct kvs_err err = {0};
    if (kvs_dev_open(backend, 0, 3, &run.dev, &err))
        fail_msg("%s", err.msg);
    const struct kvs_dev_info *info = kvs_dev_info(run.dev);
    if (elem == KVS_U8)
        elem = info->act_elem;
    struct kvs_forward_opt opt = {max_ctx, max_ctx, 1, elem, elem, elem};
    if (kvs_stream_new(run.dev, &run.stream, &err) ||
        kvs_forward_new(run.dev, w, &opt, &run.forward, &err))
        fail_msg("%s", err.msg);
    run.n_vocab = kvs_weights_shape(w)->n_vocab;
    run.n_layer = kvs_weights_shape(w)->n_layer;
    return run;
}

static void run_free(struct run *run)
{
    kvs_stream_free(run->stream);
    kvs_forward_free(run->forward);
    kvs_dev_close(run->dev);
}

static void prefill(struct run *run, const uint32_t *tok, uint32_t n_cached, uint32_t n,
                    float *logits)
{
    struct kvs_err err = {0};
    if (kvs_forward_prefill(run->forward, run->stream, tok, n_cached, n, logits, &err))
        fail_msg("%s", err.msg);
}

static uint32_t best(const float *logits, uint32_t n)
{
    uint32_t top = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[top])
            top = i;
    return top;
}

static double distance(const float *a, const float *b, uint32_t n)
{
    double most = 0;
    for (uint32_t i = 0; i < n; i++) {
        double diff = fabs((double)a[i] - (double)b[i]);
        most = diff <= most ? most : diff; /* NaN stays */
    }
    return most;
}

static struct kvs_weights *stories(void)
{
    struct kvs_weights *w;
    struct kvs_err err = {0};
    const char *path = kvs_shared("models/stories260K.bin");
    if (!path)
        return NULL;
    if (kvs_weights_open(path, &w, &err))
        fail_msg("%s", err.msg);
    return w;
}

/* --- an implementation of its own: llama2.c's loops, one token after another --------------------
 */

struct naive {
    const struct kvs_weights *w;
    const struct kvs_weights_shape *s;
    float *weight[KVS_W_N_KIND]; /* of the layers: all layers, one after another */
    double *k, *v;               /* [layer][pos][kv] */
};

static struct naive naive_new(const struct kvs_weights *w, uint32_t max_ctx)
{
    struct naive naive = {.w = w, .s = kvs_weights_shape(w)};
    size_t n_kv = (size_t)naive.s->n_kv_head * naive.s->head_dim;
    for (int kind = 0; kind < KVS_W_N_KIND; kind++) {
        uint32_t n_layer = kind < KVS_W_N_LAYER_KIND ? naive.s->n_layer : 1;
        size_t n = kvs_weights_n(w, (enum kvs_weight)kind);
        naive.weight[kind] = calloc(n * n_layer, sizeof(float));
        for (uint32_t l = 0; l < n_layer; l++)
            kvs_weights_read(w, (enum kvs_weight)kind, l, naive.weight[kind] + n * l);
    }
    naive.k = calloc(naive.s->n_layer * max_ctx * n_kv, sizeof(double));
    naive.v = calloc(naive.s->n_layer * max_ctx * n_kv, sizeof(double));
    return naive;
}

static void naive_free(struct naive *naive)
{
    for (int kind = 0; kind < KVS_W_N_KIND; kind++)
        free(naive->weight[kind]);
    free(naive->k);
    free(naive->v);
}

static const float *of_layer(const struct naive *naive, enum kvs_weight kind, uint32_t l)
{
    return naive->weight[kind] + kvs_weights_n(naive->w, kind) * l;
}

static void matvec(double *y, const float *w, const double *x, size_t out, size_t in)
{
    for (size_t o = 0; o < out; o++) {
        y[o] = 0;
        for (size_t i = 0; i < in; i++)
            y[o] += (double)w[o * in + i] * x[i];
    }
}

static void naive_norm(double *y, const double *x, const float *w, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (size_t i = 0; i < n; i++)
        y[i] = (double)w[i] * x[i] / sqrt(sum / (double)n + 1e-5);
}

static void naive_rope(double *x, uint32_t n, uint32_t dim, uint32_t pos)
{
    for (uint32_t i = 0; i < n; i += 2) {
        double angle = pos * pow(10000, -(double)(i % dim) / dim), a = x[i], b = x[i + 1];
        x[i] = a * cos(angle) - b * sin(angle);
        x[i + 1] = a * sin(angle) + b * cos(angle);
    }
}

static void naive_step(struct naive *naive, uint32_t max_ctx, uint32_t tok, uint32_t pos,
                       double *logits)
{
    const struct kvs_weights_shape *s = naive->s;
    uint32_t dim = s->head_dim, n_q = s->n_head * dim, n_kv = s->n_kv_head * dim;
    double x[1024] = {0}, h[1024] = {0}, q[1024] = {0}, o[1024] = {0};
    double gate[4096] = {0}, up[4096] = {0}, p[512] = {0};
    for (uint32_t i = 0; i < s->hidden; i++)
        x[i] = (double)naive->weight[KVS_W_EMBED][(size_t)tok * s->hidden + i];
    for (uint32_t l = 0; l < s->n_layer; l++) {
        double *k = naive->k + (size_t)l * max_ctx * n_kv, *v = naive->v + (k - naive->k);
        naive_norm(h, x, of_layer(naive, KVS_W_ATTN_NORM, l), s->hidden);
        matvec(q, of_layer(naive, KVS_W_Q, l), h, n_q, s->hidden);
        matvec(k + (size_t)pos * n_kv, of_layer(naive, KVS_W_K, l), h, n_kv, s->hidden);
        matvec(v + (size_t)pos * n_kv, of_layer(naive, KVS_W_V, l), h, n_kv, s->hidden);
        naive_rope(q, n_q, dim, pos);
        naive_rope(k + (size_t)pos * n_kv, n_kv, dim, pos);
        for (uint32_t a = 0; a < s->n_head; a++) {
            uint32_t g = a / (s->n_head / s->n_kv_head);
            double total = 0;
            for (uint32_t t = 0; t <= pos; t++) {
                p[t] = 0;
                for (uint32_t c = 0; c < dim; c++)
                    p[t] += q[a * dim + c] * k[(size_t)t * n_kv + g * dim + c] / sqrt(dim);
                total += p[t] = exp(p[t]);
            }
            for (uint32_t c = 0; c < dim; c++) {
                o[a * dim + c] = 0;
                for (uint32_t t = 0; t <= pos; t++)
                    o[a * dim + c] += p[t] / total * v[(size_t)t * n_kv + g * dim + c];
            }
        }
        matvec(h, of_layer(naive, KVS_W_O, l), o, s->hidden, n_q);
        for (uint32_t i = 0; i < s->hidden; i++)
            x[i] += h[i];
        naive_norm(h, x, of_layer(naive, KVS_W_FFN_NORM, l), s->hidden);
        matvec(gate, of_layer(naive, KVS_W_GATE, l), h, s->ffn, s->hidden);
        matvec(up, of_layer(naive, KVS_W_UP, l), h, s->ffn, s->hidden);
        for (uint32_t i = 0; i < s->ffn; i++)
            gate[i] *= up[i] / (1 + exp(-gate[i]));
        matvec(h, of_layer(naive, KVS_W_DOWN, l), gate, s->hidden, s->ffn);
        for (uint32_t i = 0; i < s->hidden; i++)
            x[i] += h[i];
    }
    naive_norm(h, x, naive->weight[KVS_W_OUT_NORM], s->hidden);
    matvec(logits, naive->weight[KVS_W_OUTPUT], h, s->n_vocab, s->hidden);
}

/* --- stories260K ------------------------------------------------------------------------------ */

static void stories_text_equals_a_naive_implementation(void **state)
{
    static const char *const backends[] = {"ref", "cpu"};
    enum { N = 40 };
    struct kvs_weights *w = stories();
    (void)state;
    if (!w)
        KVS_SKIP("models/stories260K.bin is not there");
    struct naive naive = naive_new(w, N);
    uint32_t tok[N + 1] = {1};
    double want[N][512] = {{0}};
    for (uint32_t i = 0; i < N; i++) {
        naive_step(&naive, N, tok[i], i, want[i]);
        for (uint32_t t = 0; t < 512; t++)
            if (want[i][t] > want[i][tok[i + 1]])
                tok[i + 1] = t;
    }
    for (int b = 0; b < 2; b++) {
        struct run run = run_new(backends[b], w, N, KVS_F32);
        float logits[512];
        for (uint32_t i = 0; i < N; i++) {
            prefill(&run, tok, i, i + 1, logits);
            assert_int_equal(best(logits, 512), tok[i + 1]);
            for (uint32_t t = 0; t < 512; t++)
                if (!(fabs((double)logits[t] - want[i][t]) <= 2e-4))
                    fail_msg("%s: token %u, logit %u: %.9g, want %.9g", backends[b], i, t,
                             (double)logits[t], want[i][t]);
        }
        /* and all at once */
        prefill(&run, tok, 0, N, logits);
        for (uint32_t t = 0; t < 512; t++)
            assert_true(fabs((double)logits[t] - want[N - 1][t]) <= 2e-4);
        run_free(&run);
    }
    naive_free(&naive);
    kvs_weights_close(w);
}

static void stories_on_simt_agrees_with_ref_in_bf16(void **state)
{
    enum { N = 12 };
    struct kvs_weights *w = stories();
    float exact[512], a[512], b[512];
    uint32_t tok[N] = {1};
    (void)state;
    if (!w)
        KVS_SKIP("models/stories260K.bin is not there");
    struct run f32 = run_new("ref", w, N, KVS_F32), ref = run_new("ref", w, N, KVS_BF16);
    struct run simt = run_new("simt", w, N, KVS_BF16);
    for (uint32_t i = 0; i + 1 < N; i++) {
        prefill(&f32, tok, i, i + 1, exact);
        tok[i + 1] = best(exact, 512);
    }
    prefill(&f32, tok, 0, N, exact);
    prefill(&ref, tok, 0, N, a);
    prefill(&simt, tok, 0, N, b);
    /* the same roundings but that of P: nearer than bf16 is to f32 (0.41); logits span about 20 */
    assert_true(distance(a, b, 512) <= 0.3);
    prefill(&simt, tok, 0, 7, b); /* a prefix, then the rest over its KV */
    prefill(&simt, tok, 7, N, b);
    assert_true(distance(a, b, 512) <= 0.3);
    run_free(&f32);
    run_free(&ref);
    run_free(&simt);
    kvs_weights_close(w);
}

/* --- injected KV, staircases, positions ---------------------------------------------------------
 */

enum { N_TOK = 24 };

static void tokens(uint32_t tok[N_TOK])
{
    for (uint32_t i = 0; i < N_TOK; i++)
        tok[i] = (i * 37 + 11) % 96;
}

/*
 * Recomputes slots below edge[l] in layer l (edge descending), loads the rest of the first N_TOK -
 * 2 from kept, computes the last two; returns the logits.
 */
static void staircase(struct run *run, const uint32_t *tok, const uint32_t edge[4],
                      char *kept[4][2], float *logits)
{
    struct kvs_err err = {0};
    uint32_t slot[N_TOK], row_tok[N_TOK], n_row = 0, old = N_TOK - 2;
    size_t slot_bytes = kvs_forward_slot_bytes(run->forward);
    struct kvs_view at;
    /* poison the cache, so that what was not loaded or computed shows */
    for (uint32_t l = 0; l < 4; l++)
        for (int v = 0; v < 2; v++) {
            struct kvs_view cache =
                v ? kvs_forward_v(run->forward, l) : kvs_forward_k(run->forward, l);
            char nan[4096];
            memset(nan, 0xff, sizeof nan);
            assert_int_equal(kvs_buf_write(cache, nan, N_TOK * slot_bytes, NULL), KVS_OK);
            cache.at_bytes += edge[l] * slot_bytes;
            assert_int_equal(kvs_buf_write(cache, kept[l][v] + edge[l] * slot_bytes,
                                           (old - edge[l]) * slot_bytes, NULL),
                             KVS_OK);
        }
    for (uint32_t j = 0; j < N_TOK; j++)
        if (j < edge[0] || j >= old) {
            slot[n_row] = j;
            row_tok[n_row++] = tok[j];
        }
    if (kvs_forward_begin(run->forward, run->stream, row_tok, slot, n_row, NULL, N_TOK, &err))
        fail_msg("%s", err.msg);
    for (uint32_t l = 0; l < 4; l++) {
        uint32_t keep[N_TOK], n_keep = 0, next = l < 3 ? edge[l + 1] : 0;
        for (uint32_t r = 0; r < edge[l] + 2; r++)
            if (r < next || r >= edge[l])
                keep[n_keep++] = r;
        bool all = n_keep == edge[l] + 2;
        if (kvs_forward_layer(run->forward, run->stream, all ? NULL : keep, n_keep, &err))
            fail_msg("%s", err.msg);
    }
    assert_int_equal(kvs_forward_logits(run->forward, run->stream, 1, &at, NULL), KVS_OK);
    assert_int_equal(kvs_stream_sync(run->stream, NULL), KVS_OK);
    assert_int_equal(kvs_buf_read(logits, at, 96 * sizeof *logits, NULL), KVS_OK);
}

static void any_staircase_gives_the_logits_of_full_recompute(void **state)
{
    static const char *const backends[] = {"ref", "cpu", "simt"};
    static const uint32_t edges[][4] = {{0, 0, 0, 0},   {22, 22, 22, 22}, {22, 15, 7, 0},
                                        {10, 10, 3, 3}, {22, 0, 0, 0},    {5, 4, 3, 2},
                                        {22, 22, 22, 1}};
    struct kvs_weights *w = exec_lab_weights();
    uint32_t tok[N_TOK];
    (void)state;
    tokens(tok);
    for (int b = 0; b < 3; b++) {
        bool simt = b == 2;
        struct run run = run_new(backends[b], w, N_TOK, KVS_U8);
        size_t n_byte = N_TOK * kvs_forward_slot_bytes(run.forward);
        float want[96], got[96];
        char *kept[4][2];
        prefill(&run, tok, 0, N_TOK, want);
        for (uint32_t l = 0; l < 4; l++)
            for (int v = 0; v < 2; v++) {
                kept[l][v] = malloc(n_byte);
                assert_int_equal(
                    kvs_buf_read(kept[l][v],
                                 v ? kvs_forward_v(run.forward, l) : kvs_forward_k(run.forward, l),
                                 n_byte, NULL),
                    KVS_OK);
            }
        for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
            staircase(&run, tok, edges[i], kept, got);
            if (!(distance(got, want, 96) <= (simt ? 2e-2 : 2e-5)))
                fail_msg("%s: staircase %zu: %g away", backends[b], i, distance(got, want, 96));
        }
        for (uint32_t l = 0; l < 4; l++)
            for (int v = 0; v < 2; v++)
                free(kept[l][v]);
        run_free(&run);
    }
    kvs_weights_close(w);
}

/* Only differences of positions count: the same tokens moved as a whole give the same logits. */
static void positions_may_begin_anywhere(void **state)
{
    struct kvs_weights *w = exec_lab_weights();
    struct run run = run_new("ref", w, N_TOK, KVS_F32);
    uint32_t tok[N_TOK], slot[N_TOK];
    int32_t pos[N_TOK];
    float want[96], got[96];
    struct kvs_view at;
    (void)state;
    tokens(tok);
    prefill(&run, tok, 0, N_TOK, want);
    for (int gap = 0; gap < 2; gap++) {
        for (uint32_t i = 0; i < N_TOK; i++) {
            slot[i] = i;
            pos[i] = 1000 + (int32_t)i + (gap && i > 9 ? 50 : 0);
        }
        assert_int_equal(
            kvs_forward_begin(run.forward, run.stream, tok, slot, N_TOK, pos, N_TOK, NULL), KVS_OK);
        for (int l = 0; l < 4; l++)
            assert_int_equal(kvs_forward_layer(run.forward, run.stream, NULL, 0, NULL), KVS_OK);
        assert_int_equal(kvs_forward_logits(run.forward, run.stream, 1, &at, NULL), KVS_OK);
        assert_int_equal(kvs_stream_sync(run.stream, NULL), KVS_OK);
        assert_int_equal(kvs_buf_read(got, at, sizeof got, NULL), KVS_OK);
        if (gap)
            assert_true(distance(got, want, 96) > 1e-3);
        else
            assert_true(distance(got, want, 96) <= 1e-5);
    }
    run_free(&run);
    kvs_weights_close(w);
}

static void wrong_batches_are_refused(void **state)
{
    struct kvs_weights *w = exec_lab_weights();
    struct run run = run_new("ref", w, 8, KVS_F32);
    struct kvs_err err = {0};
    struct kvs_view at;
    (void)state;
    uint32_t tok[] = {1, 96}, slot[] = {0, 1}, crossed[] = {1, 0};
    assert_int_equal(kvs_forward_begin(run.forward, run.stream, tok, slot, 2, NULL, 8, &err),
                     KVS_ERR_RANGE);
    assert_string_equal(err.msg, "forward: token 96 of row 1, want below 96");
    tok[1] = 2;
    assert_int_equal(kvs_forward_begin(run.forward, run.stream, tok, crossed, 2, NULL, 8, NULL),
                     KVS_ERR_RANGE);
    assert_int_equal(kvs_forward_begin(run.forward, run.stream, tok, slot, 2, NULL, 9, NULL),
                     KVS_ERR_RANGE);
    assert_int_equal(kvs_forward_begin(run.forward, run.stream, tok, slot, 2, NULL, 1, NULL),
                     KVS_ERR_RANGE);
    assert_int_equal(kvs_forward_begin(run.forward, run.stream, tok, slot, 0, NULL, 8, NULL),
                     KVS_ERR_RANGE);
    assert_int_equal(
        kvs_forward_begin(run.forward, run.stream, tok, slot, 2, (int32_t[]){5, 5}, 2, NULL),
        KVS_ERR_RANGE);
    assert_int_equal(kvs_forward_begin(run.forward, run.stream, tok, slot, 2, NULL, 2, NULL),
                     KVS_OK);
    assert_int_equal(kvs_forward_logits(run.forward, run.stream, 1, &at, NULL), KVS_ERR_ARG);
    assert_int_equal(kvs_forward_layer(run.forward, run.stream, (uint32_t[]){1, 1}, 2, NULL),
                     KVS_ERR_RANGE);
    assert_int_equal(kvs_stream_sync(run.stream, NULL), KVS_OK);
    run_free(&run);
    kvs_weights_close(w);
}

/* --- SmolLM2 ---------------------------------------------------------------------------------- */

static unsigned numbers(char *text, uint32_t *to, unsigned max)
{
    unsigned n = 0;
    for (char *at = strtok(text, " "); at && n < max; at = strtok(NULL, " "))
        to[n++] = (uint32_t)strtoul(at, NULL, 10);
    return n;
}

/* NULL: it is not there. */
static struct kvs_weights *smollm2(void)
{
    const char *path = getenv("KVS_SMOLLM2");
    struct kvs_weights *w;
    struct kvs_err err = {0};
    path = path ? path : "models/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (access(path, R_OK) != 0)
        return NULL;
    if (kvs_weights_open(path, &w, &err))
        fail_msg("%s", err.msg);
    return w;
}

enum { SMOLLM2_VOCAB = 49152 };
static const uint32_t prompt_0[] = {504, 3575, 282, 4649, 314}; /* of smollm2_greedy.txt */

static void smollm2_on_cpu_agrees_with_ref(void **state)
{
    enum { N = 5 };
    struct kvs_weights *w = smollm2();
    static float ref[SMOLLM2_VOCAB], cpu[SMOLLM2_VOCAB];
    (void)state;
    if (!w)
        KVS_SKIP("models/SmolLM2-135M-Instruct.Q4_1.gguf is not there: make models");
    struct run on = run_new("ref", w, N, KVS_F32);
    assert_int_equal(on.n_vocab, SMOLLM2_VOCAB);
    prefill(&on, prompt_0, 0, N, ref);
    run_free(&on);
    assert_int_equal(best(ref, SMOLLM2_VOCAB), 7042);
    on = run_new("cpu", w, N, KVS_F32);
    prefill(&on, prompt_0, 0, N, cpu);
    run_free(&on);
    /* logits span about 50 */
    if (!(distance(ref, cpu, SMOLLM2_VOCAB) <= 1e-3))
        fail_msg("cpu is %g from ref", distance(ref, cpu, SMOLLM2_VOCAB));
    kvs_weights_close(w);
}

static void smollm2_on_simt_agrees_with_ref_in_bf16(void **state)
{
    enum { N = 3 };
    static float exact[SMOLLM2_VOCAB], ref[SMOLLM2_VOCAB], simt[SMOLLM2_VOCAB];
    (void)state;
    if (!getenv("KVS_LONG"))
        KVS_SKIP("SmolLM2 on simt takes 15 s: KVS_LONG=1 runs it, .ci/run does");
    struct kvs_weights *w = smollm2();
    if (!w)
        KVS_SKIP("models/SmolLM2-135M-Instruct.Q4_1.gguf is not there: make models");
    struct run on = run_new("cpu", w, N, KVS_F32);
    prefill(&on, prompt_0, 0, N, exact);
    run_free(&on);
    on = run_new("simt", w, N, KVS_BF16);
    prefill(&on, prompt_0, 0, N, simt);
    run_free(&on);
    on = run_new("ref", w, N, KVS_BF16);
    prefill(&on, prompt_0, 0, N, ref);
    run_free(&on);
    /* the same roundings but that of P; bf16 itself is further from exact */
    double apart = distance(ref, simt, SMOLLM2_VOCAB),
           rounding = distance(ref, exact, SMOLLM2_VOCAB);
    print_message("# simt %.3g from ref in bf16, which is %.3g from f32\n", apart, rounding);
    assert_true(apart <= rounding && rounding <= 1);
    assert_int_equal(best(simt, SMOLLM2_VOCAB), best(ref, SMOLLM2_VOCAB));
    kvs_weights_close(w);
}

static void smollm2_text_equals_an_independent_implementation(void **state)
{
    struct kvs_weights *w = smollm2();
    char line[1024];
    unsigned n_prompt = 0;
    (void)state;
    if (!w)
        KVS_SKIP("models/SmolLM2-135M-Instruct.Q4_1.gguf is not there: make models");
    struct run run = run_new("cpu", w, 64, KVS_F32);
    float *logits = malloc(run.n_vocab * sizeof *logits);
    FILE *file = fopen("tests/data/smollm2_greedy.txt", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) && n_prompt < 7) {
        uint32_t tok[64], want[32];
        if (line[0] == '#')
            continue;
        char *bar = strchr(line, '|');
        *bar = 0;
        unsigned n = numbers(line, tok, 32), n_want = numbers(strtok(bar + 1, "|"), want, 12);
        for (unsigned i = 0, cached = 0; i < n_want; i++) {
            prefill(&run, tok, cached, n, logits);
            cached = n;
            tok[n] = best(logits, run.n_vocab);
            if (tok[n++] != want[i])
                fail_msg("prompt %u: token %u is %u, want %u", n_prompt, i, tok[n - 1], want[i]);
        }
        n_prompt++;
    }
    (void)fclose(file);
    assert_int_equal(n_prompt, 7);
    free(logits);
    run_free(&run);
    kvs_weights_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories_text_equals_a_naive_implementation),
        cmocka_unit_test(stories_on_simt_agrees_with_ref_in_bf16),
        cmocka_unit_test(any_staircase_gives_the_logits_of_full_recompute),
        cmocka_unit_test(positions_may_begin_anywhere),
        cmocka_unit_test(wrong_batches_are_refused),
        cmocka_unit_test(smollm2_on_cpu_agrees_with_ref),
        cmocka_unit_test(smollm2_on_simt_agrees_with_ref_in_bf16),
        cmocka_unit_test(smollm2_text_equals_an_independent_implementation),
    };
    return cmocka_run_group_tests_name("forward", tests, NULL, NULL);
}
