#include "kv_lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void must(enum kvs_code code, const struct kvs_err *err)
{
    if (code) {
        fprintf(stderr, "kv_lab: %s\n", err->msg);
        exit(1);
    }
}

static bool read_tokens(uint32_t *tok, int line)
{
    static char text[1 << 16];
    FILE *file = fopen("tests/data/smollm2_text.txt", "r");
    if (!file)
        return false;
    for (int i = 0; i <= line + 1; i++)
        if (!fgets(text, sizeof text, file))
            text[0] = 0;
    (void)fclose(file);
    char *at = text;
    for (int i = 0; i < LAB_PREFIX + LAB_NEXT; i++)
        tok[i] = (uint32_t)strtoul(at, &at, 10);
    return true;
}

void kv_lab_turn(const struct kv_lab *lab, float *k, bool back)
{
    const struct kvs_weights_shape *s = kvs_weights_shape(lab->weights);
    uint32_t half = s->head_dim / 2;
    for (uint32_t t = 0; t < LAB_PREFIX; t++)
        for (uint32_t h = 0; h < s->n_kv_head; h++)
            for (uint32_t i = 0; i < half; i++) {
                float *head = k + (size_t)t * lab->n_chan + (size_t)h * s->head_dim;
                float *a = head + (s->rope_halves ? i : 2 * i);
                float *b = s->rope_halves ? a + half : a + 1;
                double angle = (back ? -1. : 1.) * t * s->freq[i], x = (double)*a, y = (double)*b;
                *a = (float)(x * cos(angle) - y * sin(angle));
                *b = (float)(x * sin(angle) + y * cos(angle));
            }
}

static void put(struct kv_lab *lab, uint32_t part, const uint16_t *x, bool before)
{
    size_t n = (size_t)LAB_PREFIX * lab->n_chan;
    float *wide = calloc(n, sizeof *wide);
    struct kvs_err err = {0};
    for (size_t i = 0; i < n; i++)
        wide[i] = kvs_f32_of_bf16(x[i]);
    if (before)
        kv_lab_turn(lab, wide, false);
    struct kvs_view to =
        part % 2 ? kvs_forward_v(lab->forward, part / 2) : kvs_forward_k(lab->forward, part / 2);
    must(kvs_buf_write(to, wide, n * sizeof *wide, &err), &err);
    free(wide);
}

static void get(struct kv_lab *lab)
{
    size_t n = (size_t)LAB_PREFIX * lab->n_chan;
    float *wide = calloc(n, sizeof *wide);
    struct kvs_err err = {0};
    lab->x = calloc(lab->n_layer * 2ull, sizeof *lab->x);
    lab->before = calloc(lab->n_layer, sizeof *lab->before);
    for (uint32_t part = 0; part < lab->n_layer * 2; part++) {
        struct kvs_view from = part % 2 ? kvs_forward_v(lab->forward, part / 2)
                                        : kvs_forward_k(lab->forward, part / 2);
        lab->x[part] = malloc(n * sizeof **lab->x);
        must(kvs_buf_read(wide, from, n * sizeof *wide, &err), &err);
        for (size_t i = 0; i < n; i++)
            lab->x[part][i] = kvs_bf16_of(wide[i]);
        if (part % 2 == 0) {
            lab->before[part / 2] = malloc(n * sizeof **lab->before);
            kv_lab_turn(lab, wide, true);
            for (size_t i = 0; i < n; i++)
                lab->before[part / 2][i] = kvs_bf16_of(wide[i]);
        }
    }
    free(wide);
}

/* Logits of the continuation over the cache as it is, as log-probabilities. */
static float *next(struct kv_lab *lab)
{
    size_t n = (size_t)LAB_NEXT * lab->n_vocab;
    float *p = malloc(n * sizeof *p);
    uint32_t slot[LAB_NEXT];
    struct kvs_view logits;
    struct kvs_err err = {0};
    for (uint32_t i = 0; i < LAB_NEXT; i++)
        slot[i] = LAB_PREFIX + i;
    must(kvs_forward_begin(lab->forward, lab->stream, lab->tok + LAB_PREFIX, slot, LAB_NEXT, NULL,
                           LAB_PREFIX + LAB_NEXT, &err),
         &err);
    for (uint32_t l = 0; l < lab->n_layer; l++)
        must(kvs_forward_layer(lab->forward, lab->stream, NULL, LAB_NEXT, &err), &err);
    must(kvs_forward_logits(lab->forward, lab->stream, LAB_NEXT, &logits, &err), &err);
    must(kvs_stream_sync(lab->stream, &err), &err);
    must(kvs_buf_read(p, logits, n * sizeof *p, &err), &err);
    for (uint32_t i = 0; i < LAB_NEXT; i++) {
        float *row = p + (size_t)i * lab->n_vocab, most = row[0];
        double sum = 0;
        for (uint32_t v = 1; v < lab->n_vocab; v++)
            most = row[v] > most ? row[v] : most;
        for (uint32_t v = 0; v < lab->n_vocab; v++)
            sum += (double)expf(row[v] - most);
        for (uint32_t v = 0; v < lab->n_vocab; v++)
            row[v] -= most + (float)log(sum);
    }
    return p;
}

bool kv_lab_open(struct kv_lab *lab, int line)
{
    const char *path = getenv("KVS_SMOLLM2");
    struct kvs_err err = {0};
    memset(lab, 0, sizeof *lab);
    path = path ? path : "models/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (access(path, R_OK) != 0 || !read_tokens(lab->tok, line))
        return false;
    must(kvs_weights_open(path, &lab->weights, &err), &err);
    const struct kvs_weights_shape *s = kvs_weights_shape(lab->weights);
    struct kvs_forward_opt opt = {LAB_PREFIX, LAB_PREFIX + LAB_NEXT, LAB_NEXT, KVS_F32, KVS_F32,
                                  KVS_F32};
    lab->n_layer = s->n_layer;
    lab->n_chan = s->n_kv_head * s->head_dim;
    lab->n_vocab = s->n_vocab;
    must(kvs_dev_open("cpu", 0, 0, &lab->dev, &err), &err);
    must(kvs_stream_new(lab->dev, &lab->stream, &err), &err);
    must(kvs_forward_new(lab->dev, lab->weights, &opt, &lab->forward, &err), &err);
    float *logits = malloc(lab->n_vocab * sizeof *logits);
    must(kvs_forward_prefill(lab->forward, lab->stream, lab->tok, 0, LAB_PREFIX, logits, &err),
         &err);
    free(logits);
    get(lab);
    for (uint32_t part = 0; part < lab->n_layer * 2; part++)
        put(lab, part, lab->x[part], false);
    lab->reference = next(lab);
    for (uint32_t i = 0; i + 1 < LAB_NEXT; i++)
        lab->nll -=
            (double)lab->reference[(size_t)i * lab->n_vocab + lab->tok[LAB_PREFIX + i + 1]] /
            (LAB_NEXT - 1);
    return true;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct kv_score kv_lab_score(struct kv_lab *lab, uint16_t *const *y, bool y_before)
{
    struct kv_score score = {.first = LAB_NEXT};
    double kl[LAB_NEXT] = {0};
    for (uint32_t part = 0; part < lab->n_layer * 2; part++)
        if (y[part])
            put(lab, part, y[part], y_before && part % 2 == 0);
    float *q = next(lab);
    for (uint32_t i = 0; i < LAB_NEXT; i++) {
        const float *p_row = lab->reference + (size_t)i * lab->n_vocab;
        const float *q_row = q + (size_t)i * lab->n_vocab;
        uint32_t best_p = 0, best_q = 0;
        for (uint32_t v = 0; v < lab->n_vocab; v++) {
            kl[i] += exp((double)p_row[v]) * (double)(p_row[v] - q_row[v]);
            best_p = p_row[v] > p_row[best_p] ? v : best_p;
            best_q = q_row[v] > q_row[best_q] ? v : best_q;
        }
        score.kl += kl[i] / LAB_NEXT;
        score.top1 += (best_p == best_q) / (double)LAB_NEXT;
        if (best_p != best_q && score.first == LAB_NEXT)
            score.first = i;
        if (i + 1 < LAB_NEXT) {
            uint32_t tok = lab->tok[LAB_PREFIX + i + 1];
            score.d_nll += (double)(p_row[tok] - q_row[tok]) / (LAB_NEXT - 1);
        }
    }
    qsort(kl, LAB_NEXT, sizeof *kl, by_size);
    score.kl_p99 = kl[LAB_NEXT * 99 / 100];
    free(q);
    for (uint32_t part = 0; part < lab->n_layer * 2; part++)
        if (y[part])
            put(lab, part, lab->x[part], false);
    return score;
}

void kv_lab_close(struct kv_lab *lab)
{
    for (uint32_t part = 0; lab->x && part < lab->n_layer * 2; part++) {
        free(lab->x[part]);
        if (part % 2 == 0)
            free(lab->before[part / 2]);
    }
    free(lab->x);
    free(lab->before);
    free(lab->reference);
    kvs_stream_free(lab->stream);
    kvs_forward_free(lab->forward);
    kvs_weights_close(lab->weights);
    kvs_dev_close(lab->dev);
}
