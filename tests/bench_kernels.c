/*
 * The cpu back end: GEMM and attention rates, and prefill of SmolLM2's shape with seeded random
 * weights in f32: its rate, where its time goes, and its GEMMs beside the same shapes given
 * straight to oneDNN. Interleaved rounds, best of each; one JSON line a figure. Beside llama.cpp:
 * bench_peer.c. On a busy machine KVS_BENCH_CPU=1 counts seconds of CPU instead of the clock's.
 */
#include "base/rng.h"
#include "kernels/backend.h"
#include "kernels/forward.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now_s(void)
{
    struct timespec at;
    clock_gettime(getenv("KVS_BENCH_CPU") ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static void line(const char *what, double value, const char *unit, double goal)
{
    printf(
        "{\"bench\": \"kernels\", \"what\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"goal\": "
        "%.6g}\n",
        what, value, unit, goal);
}

static void must(enum kvs_code code, const struct kvs_err *err)
{
    if (code) {
        fprintf(stderr, "bench: %s\n", err->msg);
        exit(1);
    }
}

struct bench {
    struct kvs_dev *dev;
    struct kvs_stream *stream;
    double from_s;
    struct kvs_err err;
};

static struct kvs_buf *filled(struct bench *b, size_t n)
{
    struct kvs_buf *buf;
    struct kvs_rng rng = kvs_rng_stream(n, "bench");
    must(kvs_buf_new(b->dev, KVS_MEM_DEVICE, n * sizeof(float), &buf, &b->err), &b->err);
    float *data = malloc(n * sizeof *data);
    for (size_t i = 0; data && i < n; i++)
        data[i] = (float)kvs_rng_unit(&rng) - .5f;
    if (data)
        must(kvs_buf_write(kvs_at(buf, 0), data, n * sizeof *data, &b->err), &b->err);
    free(data);
    return buf;
}

static struct kvs_buf *counting(struct bench *b, uint32_t n)
{
    struct kvs_buf *buf;
    must(kvs_buf_new(b->dev, KVS_MEM_DEVICE, n * sizeof(int32_t), &buf, &b->err), &b->err);
    for (uint32_t i = 0; i < n; i++)
        must(kvs_buf_write(kvs_at(buf, i * sizeof(int32_t)), &(int32_t){(int32_t)i},
                           sizeof(int32_t), &b->err),
             &b->err);
    return buf;
}

/* Seconds since b->from_s, when all that was put on the stream has happened. */
static double end_s(struct bench *b)
{
    must(kvs_stream_sync(b->stream, &b->err), &b->err);
    return now_s() - b->from_s;
}

static void bench_attention(struct bench *b, uint32_t head_dim)
{
    enum { N = 1024, HEADS = 8, KV_HEADS = 2 };
    uint32_t wide = HEADS * head_dim, kv = KV_HEADS * head_dim;
    struct kvs_buf *q = filled(b, (size_t)N * wide), *k = filled(b, (size_t)N * kv);
    struct kvs_buf *v = filled(b, (size_t)N * kv), *y = filled(b, (size_t)N * wide);
    struct kvs_buf *x = filled(b, (size_t)512 * 2048), *w = filled(b, (size_t)2048 * 2048);
    struct kvs_buf *z = filled(b, (size_t)512 * 2048), *pos = counting(b, N);
    struct kvs_gemm gemm = {.y = kvs_at(z, 0),
                            .x = kvs_at(x, 0),
                            .w = kvs_at(w, 0),
                            .y_elem = KVS_F32,
                            .x_elem = KVS_F32,
                            .w_elem = KVS_F32,
                            .m = 512,
                            .n = 2048,
                            .k = 2048,
                            .y_stride = 2048,
                            .x_stride = 2048,
                            .w_stride = 2048};
    struct kvs_attn attn = {.y = kvs_at(y, 0),
                            .q = kvs_at(q, 0),
                            .k = kvs_at(k, 0),
                            .v = kvs_at(v, 0),
                            .q_pos = kvs_at(pos, 0),
                            .kv_pos = kvs_at(pos, 0),
                            .y_elem = KVS_F32,
                            .q_elem = KVS_F32,
                            .kv_elem = KVS_F32,
                            .n_q = N,
                            .n_kv = N,
                            .n_head = HEADS,
                            .n_kv_head = KV_HEADS,
                            .head_dim = head_dim,
                            .y_stride = wide,
                            .q_stride = wide,
                            .kv_stride = kv,
                            .scale = (float)(1 / sqrt(head_dim))};
    double best_gemm = 1e9, best_attn = 1e9;
    /* causal: (N + 1) / 2 keys a query; Q K^T and P V, two operations a product */
    double attn_flop = 4. * HEADS * head_dim * (double)N * (N + 1) / 2;
    char what[80];

    for (int round = 0; round < 7; round++) {
        b->from_s = now_s();
        must(kvs_stream_gemm(b->stream, &gemm, &b->err), &b->err);
        best_gemm = fmin(best_gemm, end_s(b));
        b->from_s = now_s();
        must(kvs_stream_attn(b->stream, &attn, &b->err), &b->err);
        best_attn = fmin(best_attn, end_s(b));
    }
    double gemm_rate = 2. * 512 * 2048 * 2048 / best_gemm, attn_rate = attn_flop / best_attn;
    if (head_dim == 64)
        line("gemm 512 x 2048 x 2048, f32", gemm_rate * 1e-9, "GFLOP/s", 100);
    snprintf(what, sizeof what, "attention, head dim %u, 1024 causal", head_dim);
    line(what, attn_rate * 1e-9, "GFLOP/s", .6 * gemm_rate * 1e-9);
    snprintf(what, sizeof what, "attention over gemm rate, head dim %u", head_dim);
    line(what, attn_rate / gemm_rate, "1", .6);
    struct kvs_buf *const bufs[] = {q, k, v, y, x, w, z, pos};
    for (int i = 0; i < 8; i++)
        kvs_buf_free(bufs[i]);
}

static void bench_shares(const struct kvs_weights_shape *s, const struct kvs_weights *weights,
                         const uint32_t *tok, uint32_t n_tok);

static void bench_prefill(struct bench *b, uint32_t n_tok)
{
    struct kvs_weights_shape shape = {.n_layer = 30,
                                      .hidden = 576,
                                      .ffn = 1536,
                                      .n_head = 9,
                                      .n_kv_head = 3,
                                      .head_dim = 64,
                                      .n_vocab = 49152,
                                      .n_ctx = 8192,
                                      .norm_eps = 1e-5f};
    struct kvs_forward_opt opt = {n_tok, n_tok, 1, KVS_F32, KVS_F32, KVS_F32};
    struct kvs_weights *weights;
    struct kvs_forward *forward;
    float *logits = malloc(shape.n_vocab * sizeof *logits);
    uint32_t *tok = calloc(n_tok, sizeof *tok);
    double best = 1e9;
    char what[80];

    if (!logits || !tok)
        exit(1);
    for (uint32_t i = 0; i < 32; i++)
        shape.freq[i] = pow(100000, -(double)i / 32);
    for (uint32_t i = 0; i < n_tok; i++)
        tok[i] = i * 7919 % shape.n_vocab;
    must(kvs_weights_random(&shape, 1, &weights, &b->err), &b->err);
    must(kvs_forward_new(b->dev, weights, &opt, &forward, &b->err), &b->err);
    for (int round = 0; round < 3; round++) {
        b->from_s = now_s();
        must(kvs_forward_prefill(forward, b->stream, tok, 0, n_tok, logits, &b->err), &b->err);
        best = fmin(best, end_s(b));
    }
    snprintf(what, sizeof what, "prefill, SmolLM2-135M's shape, f32, %u tokens", n_tok);
    line(what, n_tok / best, "tok/s", 0);
    kvs_forward_free(forward);
    if (n_tok == 512)
        bench_shares(&shape, weights, tok, n_tok);
    kvs_weights_close(weights);
    free(logits);
    free(tok);
}

/* --- where a prefill's time goes ----------------------------------------------------------------
 */

/* cpu, with each operator waited for and its time added up by kind. */
static struct kvs_backend timed;
static double spent_s[KVS_ITEM_rows + 1];

static enum kvs_code timed_submit(struct kvs_dev *dev, void *stream, const struct kvs_item *item,
                                  struct kvs_err *err)
{
    enum kvs_code code = kvs_backend_cpu.stream_sync(dev, stream, err);
    double from_s = now_s();

    if (code || (code = kvs_backend_cpu.submit(dev, stream, item, err)) ||
        (code = kvs_backend_cpu.stream_sync(dev, stream, err)))
        return code;
    spent_s[item->kind] += now_s() - from_s;
    return KVS_OK;
}

typedef int sgemm_fn(char transa, char transb, int64_t m, int64_t n, int64_t k, float alpha,
                     const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                     int64_t ldc);

/* The GEMMs of one prefill, straight to the library on this thread; its weights are warm no more
 * than a forward pass's are: each layer has its own. Negative: no oneDNN. */
static double library_s(const struct kvs_weights_shape *s, uint32_t n_tok, const float *w,
                        const float *x, float *y)
{
    void *library = dlopen("libdnnl.so.2", RTLD_NOW);
    sgemm_fn *sgemm = NULL;
    void (*set_threads)(int n) = NULL;
    uint32_t q = s->n_head * s->head_dim, kv = s->n_kv_head * s->head_dim;
    const uint32_t shapes[][2] = {
        {q + 2 * kv, s->hidden}, {s->hidden, q}, {2 * s->ffn, s->hidden}, {s->hidden, s->ffn}};
    const float *at = w;

    if (!library)
        return -1;
    *(void **)&sgemm = dlsym(library, "dnnl_sgemm");
    *(void **)&set_threads = dlsym(library, "omp_set_num_threads");
    if (set_threads)
        set_threads(1);
    double from_s = now_s();
    for (uint32_t l = 0; l < s->n_layer && sgemm; l++)
        for (int i = 0; i < 4; i++) {
            sgemm('N', 'T', n_tok, shapes[i][0], shapes[i][1], 1, x, shapes[i][1], at, shapes[i][1],
                  0, y, shapes[i][0]);
            at += (size_t)shapes[i][0] * shapes[i][1];
        }
    if (sgemm)
        sgemm('N', 'T', 1, s->n_vocab, s->hidden, 1, x, s->hidden, w, s->hidden, 0, y, s->n_vocab);
    double took_s = now_s() - from_s;
    dlclose(library);
    return took_s;
}

static void bench_shares(const struct kvs_weights_shape *s, const struct kvs_weights *weights,
                         const uint32_t *tok, uint32_t n_tok)
{
    static const char *const names[] = {"copy", "record", "wait", "call",
#define X(name) #name,
                                        KVS_OPS(X)
#undef X
    };
    enum { N_KIND = sizeof names / sizeof *names };
    struct kvs_forward_opt opt = {n_tok, n_tok, 1, KVS_F32, KVS_F32, KVS_F32};
    struct bench t = {0};
    struct kvs_forward *forward;
    size_t n_w = (size_t)s->n_layer * (s->hidden * s->hidden * 3 + 3 * s->ffn * s->hidden);
    float *logits = calloc(s->n_vocab, sizeof *logits), *w = calloc(n_w, sizeof *w);
    float *x = calloc((size_t)n_tok * s->ffn, sizeof *x);
    float *y = calloc((size_t)n_tok * s->ffn * 2 + s->n_vocab, sizeof *y);
    double best_gemm = 1e9, best_library = 1e9, best[N_KIND] = {0}, total = 0;
    char what[96];

    if (!logits || !w || !x || !y)
        exit(1);
    for (size_t i = 0; i < n_w; i++)
        w[i] = (float)(i % 17) * .01f;
    for (size_t i = 0; i < (size_t)n_tok * s->ffn; i++)
        x[i] = (float)(i % 13) * .1f;
    timed = kvs_backend_cpu;
    timed.submit = timed_submit;
    must(kvs_dev_open_backend(&timed, 0, 0, &t.dev, &t.err), &t.err);
    must(kvs_stream_new(t.dev, &t.stream, &t.err), &t.err);
    must(kvs_forward_new(t.dev, weights, &opt, &forward, &t.err), &t.err);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < N_KIND; i++)
            spent_s[i] = 0;
        must(kvs_forward_prefill(forward, t.stream, tok, 0, n_tok, logits, &t.err), &t.err);
        best_library = fmin(best_library, library_s(s, n_tok, w, x, y));
        if (spent_s[KVS_ITEM_gemm] >= best_gemm)
            continue;
        best_gemm = spent_s[KVS_ITEM_gemm];
        total = 0;
        for (int i = 0; i < N_KIND; i++)
            total += best[i] = spent_s[i];
    }
    for (int i = KVS_ITEM_rmsnorm; i < N_KIND; i++) {
        snprintf(what, sizeof what, "share of a prefill's time, %u tokens: %s", n_tok, names[i]);
        line(what, best[i] / total, "1", 0);
    }
    snprintf(what, sizeof what, "GEMM of a prefill over oneDNN's own time, %u tokens", n_tok);
    if (best_library > 0)
        line(what, best_gemm / best_library, "1", 1.1);
    kvs_stream_free(t.stream);
    kvs_forward_free(forward);
    kvs_dev_close(t.dev);
    free(logits);
    free(w);
    free(x);
    free(y);
}

int main(void)
{
    struct bench b = {0};

    must(kvs_dev_open("cpu", 0, 0, &b.dev, &b.err), &b.err);
    must(kvs_stream_new(b.dev, &b.stream, &b.err), &b.err);
    fprintf(stderr, "# cpu: %s\n", kvs_dev_info(b.dev)->detail);
    bench_attention(&b, 64);
    bench_attention(&b, 128);
    bench_prefill(&b, 512);
    bench_prefill(&b, 2048);
    kvs_stream_free(b.stream);
    kvs_dev_close(b.dev);
    return 0;
}
