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
}

static void print_error(const struct kvs_kvf_error *e, bool weighted)
{
    const struct figure figures[] = {{"max_abs", e->max_abs},
                                     {"max_over_step", e->max_step},
                                     {"rel_l2", e->rel_l2},
                                     {"snr_db", e->snr_db},
                                     {"snr_db_p5", e->snr_db_p5},
                                     {"not_finite_wrong", (double)e->n_odd},
                                     {"weighted_rel_mse", e->weighted_rel_mse}};
    print_figures(figures, sizeof figures / sizeof *figures - !weighted);
}

void kvs_codec_print_measure(const char *level, const struct kvs_kvf_measure *m, bool compared,
                             bool weighted)
{
    const struct figure figures[] = {
        {"bits_per_element", m->bits_per_element}, {"payload_bits", m->payload_bits},
        {"padding_bits", m->padding_bits},         {"k_bits_without_padding", m->kv_bits[0]},
        {"v_bits_without_padding", m->kv_bits[1]}, {"coded_over_entropy", m->coded_over_entropy}};

    printf("\"level\": \"%s\", ", level);
    print_figures(figures, sizeof figures / sizeof *figures);
    printf(", \"escapes\": %llu", (unsigned long long)m->parts.n_escape);
    for (int kv = 0; compared && kv < 2; kv++) {
        printf(", \"%c\": {", kv ? 'v' : 'k');
        print_error(&m->error[kv], weighted);
        printf("}");
    }
}

void kvs_codec_print_parts(const struct kvs_kvf_parts *p, double n, bool json)
{
    const struct {
        const char *name;
        uint64_t bytes;
    } parts[] = {{"payload", p->payload}, {"sinks", p->sink},     {"parameters", p->param},
                 {"streams", p->stream},  {"escapes", p->escape}, {"tables", p->table},
                 {"head", p->head},       {"padding", p->padding}};
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
    printf("}");
}

/* As --level of encode takes them: runs of layers alike. */
static void print_levels(const struct kvs_kvf *codec, bool json)
{
    const struct kvs_kvf_shape *s = kvs_kvf_shape(codec);

    printf("%s", json ? "" : "levels K/V by layer: ");
    for (uint32_t l = 0, n; l < s->n_layer; l += n) {
        enum kvs_level k = kvs_kvf_section(codec, l * 2).level;
        enum kvs_level v = kvs_kvf_section(codec, l * 2 + 1).level;
        for (n = 1; !json && l + n < s->n_layer; n++)
            if (kvs_kvf_section(codec, (l + n) * 2).level != k ||
                kvs_kvf_section(codec, (l + n) * 2 + 1).level != v)
                break;
        if (json)
            printf("%s[\"%s\", \"%s\"]", l ? ", " : "", kvs_level_names[k], kvs_level_names[v]);
        else
            printf("%s%s/%s", l ? "," : "", kvs_level_names[k], kvs_level_names[v]);
        if (n > 1)
            printf("*%u", n);
    }
}

/* A file, and how far it is from the elements, if they are told. */
struct seen {
    struct kvs_kvf *codec;
    struct kvs_kvf_shape shape;
    struct kvs_kvf_measure measure;
    struct kvs_kvf_attention attention;
    bool compared, weighted;
    /* of layers; compared only */
    struct kvs_kvf_error *error; /* [n_layer * 2] */
    struct kvs_kvf_attention *at_layer;
};

/* Bits an element of layer l's K or V, padding counted. */
static double part_bits(const struct kvs_kvf *codec, uint32_t l, enum kvs_kv kv)
{
    const struct kvs_kvf_shape *s = kvs_kvf_shape(codec);
    double n = 0;

    for (uint32_t b = 0; b < kvs_kvf_n_block(codec); b++) {
        struct kvs_section section = kvs_kvf_section(codec, kvs_kvf_section_i(s, b, l, kv));
        uint64_t n_page = (section.n_byte + 4095) / 4096;
        n += (double)n_page * 4096;
    }
    return n * 8 / ((double)s->n_tok * kvs_kvf_n_chan(s));
}

static void print_layers_json(const struct seen *seen)
{
    printf(",\n \"layers_apart\": [");
    for (uint32_t l = 0; l < seen->shape.n_layer; l++) {
        printf("%s\n  {\"layer\": %u", l ? "," : "", l);
        for (uint32_t kv = 0; kv < 2; kv++) {
            printf(", \"%c\": {\"level\": \"%s\", \"bits_per_element\": %.6g, ", kv ? 'v' : 'k',
                   kvs_level_names[kvs_kvf_section(seen->codec, l * 2 + kv).level],
                   part_bits(seen->codec, l, (enum kvs_kv)kv));
            print_error(&seen->error[l * 2 + kv], seen->weighted);
            printf("}");
        }
        if (seen->at_layer[l].n_query)
            kvs_codec_print_attention(&seen->at_layer[l]);
        printf("}");
    }
    printf("]");
}

/* The level of all sections. */
static const char *level_of(const struct kvs_kvf *codec)
{
    enum kvs_level level = kvs_kvf_section(codec, 0).level;

    for (uint32_t i = 1; i < kvs_kvf_n_section(codec); i++)
        if (kvs_kvf_section(codec, i).level != level)
            return "mixed";
    return kvs_level_names[level];
}

static void print_json(const struct seen *seen, double n)
{
    const struct kvs_kvf_shape *s = &seen->shape;

    printf("{\"layers\": %u, \"kv_heads\": %u, \"head_dim\": %u, \"tokens\": %u, "
           "\"block_tokens\": %u, \"sinks\": %u, \"type\": \"%s\", \"before_rope\": %s,\n "
           "\"bytes\": {",
           s->n_layer, s->n_kv_head, s->head_dim, s->n_tok, s->block_tok, s->n_sink,
           kvs_codec_halves[s->half], s->before_rope ? "true" : "false");
    kvs_codec_print_parts(&seen->measure.parts, n, true);
    printf("},\n \"levels\": [");
    print_levels(seen->codec, true);
    printf("],\n ");
    kvs_codec_print_measure(level_of(seen->codec), &seen->measure, seen->compared, seen->weighted);
    if (seen->attention.n_query)
        kvs_codec_print_attention(&seen->attention);
    if (seen->compared)
        print_layers_json(seen);
    printf("}\n");
}

/* A figure that this tensor does not have is NaN. */
static void print_or_dash(int width, int digits, double x)
{
    if (isnan(x))
        printf("%*s", width, "-");
    else
        printf("%*.*f", width, digits, x);
}

/* A layer a line: K, V, and what attention makes of them. */
static void print_layers(const struct seen *seen)
{
    printf("\nlayer K: bits   SNR    p5   L2     max/step V: bits   SNR    p5   L2     max/step  "
           "output L2\n");
    for (uint32_t l = 0; l < seen->shape.n_layer; l++) {
        printf("%-5u", l);
        for (uint32_t kv = 0; kv < 2; kv++) {
            const struct kvs_kvf_error *e = &seen->error[l * 2 + kv];
            printf(" %7.3f", part_bits(seen->codec, l, (enum kvs_kv)kv));
            print_or_dash(6, 1, e->snr_db);
            print_or_dash(6, 1, e->snr_db_p5);
            printf("  %.4f  ", e->rel_l2);
            print_or_dash(8, 3, e->max_step);
        }
        printf("   %.5f\n", seen->at_layer[l].output_rel_l2);
    }
}

static void print_text(const struct seen *seen, double n)
{
    const struct kvs_kvf_shape *s = &seen->shape;
    const struct kvs_kvf_measure *m = &seen->measure;

    if (s->hidden)
        printf("hidden states from layer %u on, %u layer%s: halves of width %u as K and V, ",
               s->first_layer, s->n_layer, KVS_S(s->n_layer), 2 * kvs_kvf_n_chan(s));
    else
        printf("%u layer%s, %u KV head%s of %u, ", s->n_layer, KVS_S(s->n_layer), s->n_kv_head,
               KVS_S(s->n_kv_head), s->head_dim);
    printf("%s; %u token%s in blocks of %u, %u sink%s raw", kvs_codec_halves[s->half], s->n_tok,
           KVS_S(s->n_tok), s->block_tok, s->n_sink, KVS_S(s->n_sink));
    printf("%s\n", s->hidden ? "" : s->before_rope ? "; keys before RoPE" : "; keys after RoPE");
    print_levels(seen->codec, false);
    printf("\n");
    kvs_codec_print_parts(&m->parts, n, false);
    if (isfinite(m->coded_over_entropy))
        printf("entropy-coded payload: %.4f of its symbols' order-0 entropy\n",
               m->coded_over_entropy);
    printf("without padding: K %.3f, V %.3f bits an element\n", m->kv_bits[0], m->kv_bits[1]);
    if (!seen->compared)
        return;
    for (int kv = 0; kv < 2; kv++) {
        const struct kvs_kvf_error *e = &m->error[kv];
        printf("%c: SNR ", kv ? 'V' : 'K');
        print_or_dash(0, 2, e->snr_db);
        printf(" dB (5th percentile of channels ");
        print_or_dash(0, 2, e->snr_db_p5);
        printf("), relative L2 %.4g, largest error %.4g", e->rel_l2, e->max_abs);
        if (isfinite(e->max_step))
            printf(", over its step %.3f", e->max_step);
        printf("\n");
        if (e->n_odd)
            printf("%c: %llu elements, not finite before or after, are not what they were\n",
                   kv ? 'V' : 'K', (unsigned long long)e->n_odd);
    }
    for (int kv = 0; seen->weighted && kv < 2; kv++)
        printf("%c: weighted squared error %.4g of the variance\n", kv ? 'V' : 'K',
               m->error[kv].weighted_rel_mse);
    if (seen->attention.n_query && !isfinite(seen->attention.logit_rms))
        printf("attention: its logits are no finite numbers\n");
    else if (seen->attention.n_query)
        printf("attention, %u keys a head for queries: logits off by %.4g (RMS), outputs by "
               "%.4g (relative L2), cosine %.6f\n",
               seen->attention.n_query, seen->attention.logit_rms, seen->attention.output_rel_l2,
               seen->attention.output_cosine);
    print_layers(seen);
}

static enum kvs_code compare(struct seen *seen, const struct kvs_codec_options *opt,
                             const char *from, const struct kvs_kvf_isa *isa, struct kvs_err *err)
{
    struct kvs_kvf_shape *s = &seen->shape, told = *s;
    uint8_t *data = NULL;
    const uint16_t **x = NULL;
    const float **weight = NULL;
    size_t n_data;
    enum kvs_code code;

    if (s->hidden)
        return kvs_fail(err, KVS_ERR_ARG,
                        "--against: %s holds hidden states, which are stored as they are", from);
    seen->error = calloc(2ull * s->n_layer, sizeof *seen->error);
    seen->at_layer = calloc(s->n_layer, sizeof *seen->at_layer);
    if (!seen->error || !seen->at_layer)
        return kvs_nomem(err);
    code = kvs_codec_read(opt->against, &data, &n_data, err);
    if (!code)
        code = kvs_codec_lay_out(opt->against, data, n_data, &told, &x, err);
    if (!code && told.n_tok != s->n_tok)
        code = kvs_fail(err, KVS_ERR_RANGE, "%s: has %u tokens, %s has %u", opt->against,
                        told.n_tok, from, s->n_tok);
    if (!code)
        code = kvs_codec_weigh(opt->weights, s, &weight, err);
    if (!code)
        code = kvs_kvf_compare(seen->codec, &(struct kvs_kvf_in){*s, x, NULL, weight}, isa,
                               &seen->measure, seen->error, err);
    if (!code)
        code =
            kvs_kvf_attention(seen->codec, x, N_QUERY, isa, &seen->attention, seen->at_layer, err);
    seen->compared = true;
    seen->weighted = weight != NULL;
    free(data);
    free(x);
    free(weight);
    return code;
}

enum kvs_code kvs_codec_inspect(const struct kvs_codec_options *opt, const char *from,
                                struct kvs_err *err)
{
    const struct kvs_kvf_isa *isa;
    struct seen seen = {0};
    enum kvs_code code;

    if (opt->weights && !opt->against)
        return kvs_fail(err, KVS_ERR_ARG, "--weights: wants --against, the raw elements");
    if ((code = kvs_codec_pick_isa(opt->isa, &isa, err)) ||
        (code = kvs_codec_open_file(from, !opt->no_check, &seen.codec, err)))
        return code;
    seen.shape = *kvs_kvf_shape(seen.codec);
    code = opt->against ? compare(&seen, opt, from, isa, err)
                        : kvs_kvf_sizes(seen.codec, isa, &seen.measure, err);
    const struct kvs_kvf_shape *s = &seen.shape;
    double n = (double)s->n_tok * s->n_layer * 2 * kvs_kvf_n_chan(s);
    if (!code && opt->json)
        print_json(&seen, n);
    else if (!code)
        print_text(&seen, n);
    free(seen.error);
    free(seen.at_layer);
    kvs_kvf_close(seen.codec);
    return code;
}
