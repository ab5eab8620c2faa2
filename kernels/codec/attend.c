#include "attend.h"

#include "half.h"

#include <math.h>
#include <stdlib.h>

/* One KV head of one layer: keys and values as they were and as decoded, [n_tok][stride]. */
struct head {
    const float *k[2], *v[2]; /* was, is */
    uint32_t dim, stride;
};

struct sums {
    double logit_error, n_logit; /* squared */
    double output, output_error; /* squared */
    double cosine, n_output;
};

static void widen(float *to, const uint16_t *from, size_t n, enum kvs_half half)
{
    for (size_t i = 0; i < n; i++) {
        float value = kvs_f32_of_half(from[i], half);
        to[i] = isfinite(value) ? value : 0;
    }
}

/* The output of token t's key over the tokens before it; logit: [t], out: [dim]. */
static void attend(const struct head *head, int which, uint32_t t, float *logit, double *out)
{
    const float *q = head->k[0] + (size_t)t * head->stride;
    float most = -HUGE_VALF;
    double sum = 0;

    for (uint32_t j = 0; j < t; j++) {
        const float *k = head->k[which] + (size_t)j * head->stride;
        float dot = 0;
        for (uint32_t d = 0; d < head->dim; d++)
            dot += q[d] * k[d];
        logit[j] = dot / sqrtf((float)head->dim);
        most = fmaxf(most, logit[j]);
    }
    for (uint32_t d = 0; d < head->dim; d++)
        out[d] = 0;
    for (uint32_t j = 0; j < t; j++) {
        const float *v = head->v[which] + (size_t)j * head->stride;
        float p = expf(logit[j] - most);
        sum += (double)p;
        for (uint32_t d = 0; p > 0 && d < head->dim; d++)
            out[d] += (double)(p * v[d]);
    }
    for (uint32_t d = 0; d < head->dim; d++)
        out[d] /= sum;
}

/* room: [2][n_tok] of logits; out: [2][dim] */
static void add_query(struct sums *sums, const struct head *head, uint32_t t, float *room,
                      uint32_t n_tok, double *out)
{
    const float *was = room, *is = room + n_tok;
    double mean = 0, square = 0, a = 0, b = 0, ab = 0;

    for (int which = 0; which < 2; which++)
        attend(head, which, t, room + (size_t)which * n_tok, out + (size_t)which * head->dim);
    for (uint32_t j = 0; j < t; j++)
        mean += (double)(is[j] - was[j]) / t;
    for (uint32_t j = 0; j < t; j++) {
        double off = (double)(is[j] - was[j]) - mean;
        sums->logit_error += off * off;
    }
    sums->n_logit += t;
    for (uint32_t d = 0; d < head->dim; d++) {
        double x = out[d], y = out[head->dim + d];
        a += x * x;
        b += y * y;
        ab += x * y;
        square += (x - y) * (x - y);
    }
    sums->output += a;
    sums->output_error += square;
    sums->cosine += a > 0 && b > 0 ? ab / sqrt(a * b) : a == b;
    sums->n_output += 1;
}

static enum kvs_code decode_part(const struct kvs_kvf *codec, uint32_t part,
                                 const struct kvs_kvf_isa *isa, uint16_t *y, struct kvs_err *err)
{
    const struct kvs_kvf_shape *s = kvs_kvf_shape(codec);
    uint32_t n_chan = kvs_kvf_n_chan(s);
    enum kvs_code code = KVS_OK;

    for (uint32_t b = 0; b < kvs_kvf_n_block(codec) && !code; b++)
        code = kvs_kvf_decode(codec, kvs_kvf_section_i(s, b, part / 2, (enum kvs_kv)(part % 2)),
                              NULL, isa, y + (size_t)b * s->block_tok * n_chan, n_chan, err);
    return code;
}

static void add_sums(struct sums *to, const struct sums *from)
{
    to->logit_error += from->logit_error;
    to->n_logit += from->n_logit;
    to->output += from->output;
    to->output_error += from->output_error;
    to->cosine += from->cosine;
    to->n_output += from->n_output;
}

static struct kvs_kvf_attention settle(const struct sums *sums, uint32_t n_query)
{
    return (struct kvs_kvf_attention){
        .n_query = n_query,
        .logit_rms = sqrt(sums->logit_error / sums->n_logit),
        .output_rel_l2 = sums->output > 0 ? sqrt(sums->output_error / sums->output) : 0,
        .output_cosine = sums->cosine / sums->n_output};
}

enum kvs_code kvs_kvf_attention(const struct kvs_kvf *codec, const uint16_t *const *x,
                                uint32_t n_query, const struct kvs_kvf_isa *isa,
                                struct kvs_kvf_attention *attention,
                                struct kvs_kvf_attention *layer, struct kvs_err *err)
{
    const struct kvs_kvf_shape *s = kvs_kvf_shape(codec);
    uint32_t n_chan = kvs_kvf_n_chan(s);
    size_t n = (size_t)s->n_tok * n_chan;
    uint16_t *y = calloc(n, sizeof *y);
    float *wide = malloc(4 * n * sizeof *wide), *logit = malloc(2ull * s->n_tok * sizeof *logit);
    double *sum = malloc(2ull * s->head_dim * sizeof *sum);
    struct sums all = {0};
    enum kvs_code code = KVS_OK;

    *attention = (struct kvs_kvf_attention){0};
    if (!y || !wide || !logit || !sum) {
        code = kvs_nomem(err);
        goto out;
    }
    n_query = s->n_tok < 2 ? 0 : n_query < s->n_tok - 1 ? n_query : s->n_tok - 1;
    for (uint32_t l = 0; l < s->n_layer && !code; l++) {
        struct sums sums = {0};
        for (uint32_t kv = 0; kv < 2 && !code; kv++) { /* was k, v; is k, v */
            code = decode_part(codec, l * 2 + kv, isa, y, err);
            if (code)
                break;
            widen(wide + kv * n, x[l * 2 + kv], n, s->half);
            widen(wide + (2 + kv) * n, y, n, s->half);
        }
        for (uint32_t h = 0; h < s->n_kv_head && !code; h++) {
            const float *at = wide + (size_t)h * s->head_dim;
            struct head head = {{at, at + 2 * n}, {at + n, at + 3 * n}, s->head_dim, n_chan};
            for (uint32_t i = 1; i <= n_query; i++) /* the last is the last token */
                add_query(&sums, &head, (uint32_t)((uint64_t)i * (s->n_tok - 1) / n_query), logit,
                          s->n_tok, sum);
        }
        add_sums(&all, &sums);
        if (layer)
            layer[l] = n_query > 0 ? settle(&sums, n_query) : (struct kvs_kvf_attention){0};
    }
    if (!code && n_query > 0)
        *attention = settle(&all, n_query);
out:
    free(y);
    free(wide);
    free(logit);
    free(sum);
    return code;
}
