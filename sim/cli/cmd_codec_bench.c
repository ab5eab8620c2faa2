/*
 * kvsim codec bench: what each level costs, loses and how fast it is, on made-up tensors or those
 * of a codec file.
 */
#include "base/opt.h"
#include "cmd_codec.h"
#include "kernels/codec/made.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    bool json;
    const char *isa, *input, *weights;
    uint64_t tok, chan, layers, rounds, block;
    double rho;
    int half;
};

#define FIELD(name) offsetof(struct options, name)
static const struct kvs_opt table[] = {
    {.key = "input",
     .letter = 'i',
     .type = KVS_OPT_STR,
     .offset = FIELD(input),
     .help =
         "codec file whose elements are taken instead of made-up ones, best one of raw16; type, "
         "tokens, channels and layers are its own"},
    {.key = "weights",
     .type = KVS_OPT_STR,
     .offset = FIELD(weights),
     .help = "with --input: the model by which channels' errors are weighted, and e-levels' steps"},
    {.key = "json", .type = KVS_OPT_FLAG, .offset = FIELD(json), .help = "print JSON"},
    {.key = "isa",
     .type = KVS_OPT_STR,
     .offset = FIELD(isa),
     .help = "scalar, avx2, avx512 or avx512bf16; default the fastest here"},
    {.key = "type",
     .type = KVS_OPT_ENUM,
     .offset = FIELD(half),
     .def = "f16",
     .names = kvs_codec_halves,
     .help = "of the elements; lx has bf16 in any case"},
    {.key = "tokens",
     .type = KVS_OPT_TOK,
     .offset = FIELD(tok),
     .def = "2048",
     .min = 8,
     .max = 65536,
     .help = "tokens"},
    {.key = "block",
     .type = KVS_OPT_TOK,
     .offset = FIELD(block),
     .def = "0",
     .min = 0,
     .max = 65536,
     .help = "tokens of a block; 0: 2048, or --input's own"},
    {.key = "channels",
     .type = KVS_OPT_U64,
     .offset = FIELD(chan),
     .def = "1024",
     .min = 1,
     .max = 16384,
     .help = "channels of K, and of V"},
    {.key = "layers",
     .type = KVS_OPT_U64,
     .offset = FIELD(layers),
     .def = "4",
     .min = 1,
     .max = 64,
     .help = "layers; 4 of the default size are 32 MiB, more than most caches"},
    {.key = "rounds",
     .type = KVS_OPT_U64,
     .offset = FIELD(rounds),
     .def = "7",
     .min = 1,
     .max = 101,
     .help = "rounds, of which the medians are told"},
    {.key = "correlation",
     .type = KVS_OPT_DOUBLE,
     .offset = FIELD(rho),
     .def = "0.3",
     .min = 0,
     .max = 0.999,
     .help = "of neighbouring tokens"},
};
enum { N_QUERY = 4 }; /* for errors of attention, which --json tells */
enum { N_OPTION = sizeof table / sizeof table[0] };

/* What is measured: elements, a level a row. */
struct scene {
    struct kvs_kvf_shape shape;
    const float **weight; /* or NULL */
    uint32_t n, n_part;
    enum kvs_level level[KVS_N_LEVEL];
    uint16_t **x, **as_bf16; /* [n_part]; as_bf16: for lx, where x is none */
    uint8_t *levels;         /* [n][n_part] */
    bool lossy[KVS_N_LEVEL]; /* --input has sections of that level: x is what they decoded to */
    struct kvs_kvf_in in[KVS_N_LEVEL];
    struct kvs_kvf_measure measure[KVS_N_LEVEL];
    struct kvs_kvf_attention attention[KVS_N_LEVEL];
    double memcpy_gb_per_s;
};

static void print_lossy(const struct scene *s, bool json)
{
    uint32_t n = 0;

    if (json)
        printf("\"lossy_input\": [");
    for (int l = 0; l < KVS_N_LEVEL; l++)
        if (s->lossy[l] && json)
            printf("%s\"%s\"", n++ ? ", " : "", kvs_level_names[l]);
        else if (s->lossy[l])
            printf("%s%s", n++ ? ", " : "input: lossy, ", kvs_level_names[l]);
    if (json)
        printf("], ");
    else if (n)
        printf("; what is coded, and errors are told of, is what it decodes to\n");
}

static void print_table(const struct scene *s, const char *isa)
{
    bool has_lx = false, apart = false;

    for (uint32_t i = 0; i < s->n; i++) /* alike but for their sections' ends: told once */
        apart = apart || fabs(s->measure[i].kv_bits[0] - s->measure[i].kv_bits[1]) >= .05;
    printf("one thread, %s; %s, %u layer%s, %u tokens in blocks of %u, %u channels\nGB/s of 16-bit "
           "elements; memcpy %.1f GB/s\n",
           isa, kvs_codec_halves[s->shape.half], s->shape.n_layer, KVS_S(s->shape.n_layer),
           s->shape.n_tok, s->shape.block_tok, kvs_kvf_n_chan(&s->shape), s->memcpy_gb_per_s);
    print_lossy(s, false);
    printf(
        "\nlevel  b/elem   ratio%s  payload  over H   side  escapes  SNR K  SNR V  p5 K  encode  "
        "decode\n",
        apart ? "  b/el K  b/el V" : "");
    for (uint32_t i = 0; i < s->n; i++) {
        const struct kvs_kvf_measure *m = &s->measure[i];
        double side = m->bits_per_element - m->payload_bits - m->padding_bits;
        has_lx = has_lx || s->level[i] == KVS_LX;
        printf("%-6s %6.3f  %6.2f", kvs_level_names[s->level[i]], m->bits_per_element,
               16 / m->bits_per_element);
        if (apart)
            printf("  %6.3f  %6.3f", m->kv_bits[0], m->kv_bits[1]);
        printf("   %6.3f  ", m->payload_bits);
        printf(isfinite(m->coded_over_entropy) ? "%6.4f" : "  -   ", m->coded_over_entropy);
        printf("  %5.3f %8llu  %5.1f  %5.1f %5.1f  %6.2f  %6.2f\n", side,
               (unsigned long long)m->parts.n_escape, m->error[0].snr_db, m->error[1].snr_db,
               m->error[0].snr_db_p5, m->encode_gb_per_s, m->decode_gb_per_s);
    }
    if (apart)
        printf("b/el K, V: of each one's sections, without padding, head and tables\n");
    if (s->shape.half == KVS_F16)
        printf(has_lx ? "lx: of bf16\n" : "lx: of bf16 only\n");
}

static void print_json(const struct scene *s, const char *isa)
{
    printf("{\"isa\": \"%s\", \"type\": \"%s\", \"layers\": %u, \"tokens\": %u, "
           "\"block_tokens\": %u, \"channels\": %u, \"memcpy_gb_per_s\": %.6g, ",
           isa, kvs_codec_halves[s->shape.half], s->shape.n_layer, s->shape.n_tok,
           s->shape.block_tok, kvs_kvf_n_chan(&s->shape), s->memcpy_gb_per_s);
    print_lossy(s, true);
    printf("\"levels\": [");
    for (uint32_t i = 0; i < s->n; i++) {
        printf("%s\n  {", i ? "," : "");
        kvs_codec_print_measure(kvs_level_names[s->level[i]], &s->measure[i], true,
                                s->weight != NULL);
        printf(", \"type\": \"%s\", \"encode_gb_per_s\": %.6g, \"decode_gb_per_s\": %.6g,\n "
               "\"bytes\": {",
               kvs_codec_halves[s->in[i].shape.half], s->measure[i].encode_gb_per_s,
               s->measure[i].decode_gb_per_s);
        kvs_codec_print_parts(&s->measure[i].parts, 0, true);
        printf("}");
        if (s->attention[i].n_query)
            kvs_codec_print_attention(&s->attention[i]);
        printf("}");
    }
    printf("\n]}\n");
}

static enum kvs_code made(const struct kvs_kvf_shape *shape, double rho, enum kvs_half half,
                          uint16_t **x, struct kvs_err *err)
{
    for (uint32_t i = 0; i < shape->n_layer * 2; i++) {
        x[i] = kvs_kvf_made(i, shape->n_tok, kvs_kvf_n_chan(shape), rho, half);
        if (!x[i])
            return kvs_nomem(err);
    }
    return KVS_OK;
}

static enum kvs_code new_tensors(struct scene *s, struct kvs_err *err)
{
    s->n_part = s->shape.n_layer * 2;
    s->x = calloc(s->n_part, sizeof *s->x);
    s->as_bf16 = calloc(s->n_part, sizeof *s->as_bf16);
    s->levels = calloc(s->n_part, KVS_N_LEVEL);
    return s->x && s->as_bf16 && s->levels ? KVS_OK : kvs_nomem(err);
}

static enum kvs_code make_up(struct scene *s, const struct options *opt, struct kvs_err *err)
{
    s->shape = (struct kvs_kvf_shape){.n_layer = (uint32_t)opt->layers,
                                      .n_kv_head = 1,
                                      .head_dim = (uint32_t)opt->chan,
                                      .n_tok = (uint32_t)opt->tok,
                                      .block_tok = 2048,
                                      .n_sink = 4,
                                      .half = (enum kvs_half)opt->half};
    enum kvs_code code = new_tensors(s, err);
    if (!code)
        code = made(&s->shape, opt->rho, s->shape.half, s->x, err);
    if (!code && s->shape.half == KVS_F16)
        code = made(&s->shape, opt->rho, KVS_HALF_BF16, s->as_bf16, err);
    return code;
}

/* Elements of a codec file, all blocks of a layer's K or V side by side. */
static enum kvs_code take(struct scene *s, const struct options *opt, const struct kvs_kvf_isa *isa,
                          struct kvs_err *err)
{
    struct kvs_kvf *codec;
    enum kvs_code code = kvs_codec_open_file(opt->input, true, &codec, err);
    if (code)
        return code;
    s->shape = *kvs_kvf_shape(codec);
    size_t n_chan = kvs_kvf_n_chan(&s->shape), n = s->shape.n_tok * n_chan;
    code = new_tensors(s, err);
    for (uint32_t i = 0; i < s->n_part && !code; i++)
        if (!(s->x[i] = malloc(n * sizeof **s->x)))
            code = kvs_nomem(err);
    for (uint32_t i = 0; i < kvs_kvf_n_section(codec) && !code; i++) {
        struct kvs_section at = kvs_kvf_section(codec, i);
        s->lossy[at.level] = at.level != KVS_RAW16 && at.level != KVS_LX;
        code = kvs_kvf_decode(codec, i, NULL, isa,
                              s->x[at.layer * 2 + (uint32_t)at.kv] + at.first_tok * n_chan, n_chan,
                              err);
    }
    kvs_kvf_close(codec);
    return code ? code : kvs_codec_weigh(opt->weights, &s->shape, &s->weight, err);
}

static void add_levels(struct scene *s)
{
    for (int l = 0; l < KVS_N_LEVEL; l++) {
        bool other = l == KVS_LX && s->shape.half == KVS_F16;
        uint16_t **x = other ? s->as_bf16 : s->x;
        uint8_t *level = s->levels + (size_t)s->n * s->n_part;
        struct kvs_kvf_in *in = &s->in[s->n];
        if (!x[0]) /* no bf16 to be had of the input */
            continue;
        memset(level, l, s->n_part);
        *in = (struct kvs_kvf_in){s->shape, (const uint16_t *const *)x, level, s->weight};
        if (other)
            in->shape.half = KVS_HALF_BF16;
        s->level[s->n++] = (enum kvs_level)l;
    }
}

/* attention: NULL: not wanted */
static enum kvs_code errors(const struct kvs_kvf_in *in, const struct kvs_kvf_isa *isa,
                            struct kvs_kvf_measure *measure, struct kvs_kvf_attention *attention,
                            struct kvs_err *err)
{
    struct kvs_kvf *codec = NULL;
    uint8_t *file;
    size_t n;
    enum kvs_code code = kvs_kvf_encode(in, isa, &file, &n, err);

    if (code)
        return code;
    code = kvs_kvf_parse("bench", file, n, n, true, &codec, err);
    if (!code)
        code = kvs_kvf_compare(codec, in, isa, measure, NULL, err);
    if (!code && attention)
        code = kvs_kvf_attention(codec, in->x, N_QUERY, isa, attention, NULL, err);
    kvs_kvf_close(codec);
    free(file);
    return code;
}

static enum kvs_code bench(const struct options *opt, const struct kvs_kvf_isa *isa,
                           struct scene *s, struct kvs_err *err)
{
    enum kvs_code code = opt->input ? take(s, opt, isa, err) : make_up(s, opt, err);

    if (code)
        return code;
    if (opt->block)
        s->shape.block_tok = (uint32_t)opt->block;
    add_levels(s);
    for (uint32_t i = 0; i < s->n && !code; i++)
        code = errors(&s->in[i], isa, &s->measure[i],
                      opt->json && !s->shape.hidden ? &s->attention[i] : NULL, err);
    if (!code)
        code = kvs_kvf_rates(s->in, s->n, (unsigned)opt->rounds, isa, s->measure,
                             &s->memcpy_gb_per_s, err);
    if (!code && opt->json)
        print_json(s, kvs_kvf_isa_name(isa));
    else if (!code)
        print_table(s, kvs_kvf_isa_name(isa));
    return code;
}

static void end(struct scene *s)
{
    for (uint32_t i = 0; i < s->n_part; i++) {
        free(s->x ? s->x[i] : NULL);
        free(s->as_bf16 ? s->as_bf16[i] : NULL);
    }
    free(s->x);
    free(s->as_bf16);
    free(s->levels);
    free(s->weight);
}

enum kvs_code kvs_codec_bench_cmd(int argc, char *const *argv, struct kvs_err *err)
{
    static const char *const of_made[] = {"type",   "tokens",      "channels",
                                          "layers", "correlation", NULL};
    struct options opt = {0};
    struct scene scene = {0};
    const struct kvs_kvf_isa *isa;
    bool help = false;
    enum kvs_code code = kvs_opt_argv(table, N_OPTION, argc, argv, &opt, NULL, &help, err);

    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, "kvsim codec bench [--json]",
                     "Sizes, errors and rates of every level on made-up keys and values\n"
                     "(kernels/codec/made.h) or those of a file, one thread; times are the "
                     "thread's CPU time.\n"
                     "Errors leave out the sinks, which are exact.",
                     table, N_OPTION);
        return KVS_OK;
    }
    if (opt.weights && !opt.input)
        return kvs_fail(err, KVS_ERR_ARG,
                        "--weights: wants --input, keys and values of that model");
    if (opt.input && kvs_opt_refuse(table, N_OPTION, argc, argv, of_made,
                                    "is of made-up elements; --input has its own", err))
        return err->code;
    code = kvs_codec_pick_isa(opt.isa, &isa, err);
    if (!code)
        code = bench(&opt, isa, &scene, err);
    end(&scene);
    return code;
}
