/*
 * kvsim codec inspect: what a codec file holds, and how far it is from the elements it was made of.
 */
#include "cmd_codec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { N_QUERY = 16 }; /* of each KV head, for errors of attention */

struct figure {
    const char *key;
    double value;
};

/* JSON has no NaN, which is what figures of elements that are none come to. */
static void print_figures(const struct figure *figure, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        printf("%s\"%s\": ", i ? ", " : "", figure[i].key);
        if (isfinite(figure[i].value))
            printf("%.8g", figure[i].value);
        else
            printf("null");
    }
    printf("}");
}

void kvs_codec_print_measure(const char *level, const struct kvs_kvf_measure *m)
{
    printf("\"level\": \"%s\", \"bits_per_element\": %.6g, \"payload_bits\": %.6g, "
           "\"padding_bits\": %.6g, \"escapes\": %llu",
           level, m->bits_per_element, m->payload_bits, m->padding_bits,
           (unsigned long long)m->parts.n_escape);
    for (int kv = 0; kv < 2; kv++) {
        const struct kvs_kvf_error *e = &m->error[kv];
        const struct figure figures[] = {{"max_abs", e->max_abs},
                                         {"rel_l2", e->rel_l2},
                                         {"snr_db", e->snr_db},
                                         {"snr_db_p5", e->snr_db_p5},
                                         {"weighted_rel_mse", e->weighted_rel_mse}};
        printf(", \"%c\": {", kv ? 'v' : 'k');
        print_figures(figures, sizeof figures / sizeof *figures);
    }
}

void kvs_codec_print_parts(const struct kvs_kvf_parts *p, double n, bool json)
{
    const struct {
        const char *name;
        uint64_t bytes;
    } parts[] = {{"payload", p->payload}, {"sinks", p->sink},     {"parameters", p->param},
                 {"streams", p->stream},  {"escapes", p->escape}, {"head", p->head},
                 {"padding", p->padding}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (json)
            printf("%s\"%s\": %llu", i ? ", " : "", parts[i].name,
                   (unsigned long long)parts[i].bytes);
        else
            printf("%-10s %12llu bytes  %7.3f bits an element\n", parts[i].name,
                   (unsigned long long)parts[i].bytes, (double)parts[i].bytes * 8 / n);
}

void kvs_codec_print_attention(const struct kvs_kvf_attention *attention)
{
    const struct figure figures[] = {{"logit_rms", attention->logit_rms},
                                     {"output_rel_l2", attention->output_rel_l2},
                                     {"output_cosine", attention->output_cosine}};
    printf(",\n \"attention\": {\"queries\": \"keys\", \"queries_per_head\": %u, ",
           attention->n_query);
    print_figures(figures, sizeof figures / sizeof *figures);
}

static void print_levels(const struct kvs_kvf *codec, bool json)
{
    const struct kvs_kvf_shape *s = kvs_kvf_shape(codec);
    for (uint32_t l = 0; l < s->n_layer; l++) {
        const char *k = kvs_level_names[kvs_kvf_section(codec, l * 2).level];
        const char *v = kvs_level_names[kvs_kvf_section(codec, l * 2 + 1).level];
        if (json)
            printf("%s[\"%s\", \"%s\"]", l ? ", " : "", k, v);
        else
            printf("%s%s/%s", l ? " " : "levels K/V by layer: ", k, v);
    }
}

enum kvs_code kvs_codec_inspect(const struct kvs_codec_options *opt, const char *from,
                                struct kvs_err *err)
{
    const struct kvs_kvf_isa *isa;
    struct kvs_kvf *codec = NULL;
    struct kvs_kvf_measure m = {0};
    uint8_t *data = NULL;
    const uint16_t **x = NULL;
    const float **weight = NULL;
    struct kvs_kvf_attention attention = {0};
    size_t n_data;
    enum kvs_code code;

    if (opt->weights && !opt->against)
        return kvs_fail(err, KVS_ERR_ARG, "--weights: wants --against, the raw elements");
    if ((code = kvs_codec_pick_isa(opt->isa, &isa, err)) ||
        (code = kvs_kvf_open(from, !opt->no_check, &codec, err)))
        return code;
    struct kvs_kvf_shape s = *kvs_kvf_shape(codec);
    double n = (double)s.n_tok * s.n_layer * 2 * kvs_kvf_n_chan(&s);
    if (opt->against) {
        struct kvs_kvf_shape told = s;
        code = kvs_codec_read(opt->against, &data, &n_data, err);
        if (!code)
            code = kvs_codec_lay_out(opt->against, data, n_data, &told, &x, err);
        if (!code && told.n_tok != s.n_tok)
            code = kvs_fail(err, KVS_ERR_RANGE, "%s: has %u tokens, %s has %u", opt->against,
                            told.n_tok, from, s.n_tok);
        if (!code)
            code = kvs_codec_weigh(opt->weights, &s, &weight, err);
        if (!code)
            code = kvs_kvf_compare(codec, &(struct kvs_kvf_in){s, x, NULL, weight}, isa, &m, err);
        if (!code && !s.hidden)
            code = kvs_kvf_attention(codec, x, N_QUERY, isa, &attention, err);
    } else {
        kvs_kvf_head_parts(codec, &m.parts);
        for (uint32_t i = 0; i < kvs_kvf_n_section(codec) && !code; i++)
            code = kvs_kvf_section_parts(codec, i, NULL, &m.parts, err);
    }
    if (code)
        goto out;
    if (opt->json) {
        printf("{\"layers\": %u, \"kv_heads\": %u, \"head_dim\": %u, \"tokens\": %u, "
               "\"block_tokens\": %u, \"sinks\": %u, \"type\": \"%s\", \"before_rope\": %s,\n "
               "\"bytes\": {",
               s.n_layer, s.n_kv_head, s.head_dim, s.n_tok, s.block_tok, s.n_sink,
               kvs_codec_halves[s.half], s.before_rope ? "true" : "false");
        kvs_codec_print_parts(&m.parts, n, true);
        printf("},\n \"levels\": [");
        print_levels(codec, true);
        printf("]");
        if (opt->against) {
            printf(",\n ");
            kvs_codec_print_measure("mixed", &m);
        }
        if (attention.n_query)
            kvs_codec_print_attention(&attention);
        printf("}\n");
    } else {
        if (s.hidden)
            printf("hidden states from layer %u on: halves of width %u as K and V\n", s.first_layer,
                   2 * kvs_kvf_n_chan(&s));
        printf("%u layers, %u KV heads of %u, %s; %u tokens in blocks of %u, %u sinks raw; keys %s "
               "RoPE\n",
               s.n_layer, s.n_kv_head, s.head_dim, kvs_codec_halves[s.half], s.n_tok, s.block_tok,
               s.n_sink, s.before_rope ? "before" : "after");
        print_levels(codec, false);
        printf("\n");
        kvs_codec_print_parts(&m.parts, n, false);
        for (int kv = 0; opt->against && kv < 2; kv++)
            printf("%c: SNR %.2f dB (5th percentile of channels %.2f), relative L2 %.4g, largest "
                   "error %.4g\n",
                   kv ? 'V' : 'K', m.error[kv].snr_db, m.error[kv].snr_db_p5, m.error[kv].rel_l2,
                   m.error[kv].max_abs);
        for (int kv = 0; weight && kv < 2; kv++)
            printf("%c: weighted squared error %.4g of the variance\n", kv ? 'V' : 'K',
                   m.error[kv].weighted_rel_mse);
        if (attention.n_query)
            printf("attention, %u keys a head for queries: logits off by %.4g (RMS), outputs by "
                   "%.4g (relative L2), cosine %.6f\n",
                   attention.n_query, attention.logit_rms, attention.output_rel_l2,
                   attention.output_cosine);
    }
out:
    free(data);
    free(x);
    free(weight);
    kvs_kvf_close(codec);
    return code;
}
