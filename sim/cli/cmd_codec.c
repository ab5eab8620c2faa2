/*
 * kvsim codec: stored KV and its levels - encode, decode, inspect, bench.
 */
#include "cmd_codec.h"
#include "base/opt.h"
#include "base/outfile.h"
#include "cmd.h"
#include "kernels/codec/attend.h"
#include "kernels/codec/weigh.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *out, *level, *k_level, *v_level, *isa, *against, *weights;
    uint64_t layers, kv_heads, head_dim, block, sinks;
    int half;
    bool before_rope, json, no_check;
};

static const char *const half_names[] = {"f16", "bf16", NULL};
enum { N_QUERY = 16 }; /* of each KV head, for errors of attention */

#define FIELD(name) offsetof(struct options, name)
#define ISA_OPTION                                                                                 \
    {                                                                                              \
        .key = "isa", .type = KVS_OPT_STR, .offset = FIELD(isa),                                   \
        .help = "scalar, avx2 or avx512; default the fastest here"                                 \
    }
#define OUT_OPTION                                                                                 \
    {                                                                                              \
        .key = "out", .letter = 'o', .type = KVS_OPT_STR, .offset = FIELD(out), .required = true,  \
        .help = "file to write"                                                                    \
    }
#define WEIGHTS_OPTION(text)                                                                       \
    {                                                                                              \
        .key = "weights", .type = KVS_OPT_STR, .offset = FIELD(weights), .help = (text)            \
    }
#define CHECK_OPTION                                                                               \
    {                                                                                              \
        .key = "no-checksums", .type = KVS_OPT_FLAG, .offset = FIELD(no_check),                    \
        .help = "do not verify checksums"                                                          \
    }

static const struct kvs_opt encode_table[] = {
    OUT_OPTION,
    {.key = "layers",
     .type = KVS_OPT_U64,
     .offset = FIELD(layers),
     .required = true,
     .min = 1,
     .max = 4096,
     .help = "layers"},
    {.key = "kv-heads",
     .type = KVS_OPT_U64,
     .offset = FIELD(kv_heads),
     .required = true,
     .min = 1,
     .max = 16384,
     .help = "KV heads"},
    {.key = "head-dim",
     .type = KVS_OPT_U64,
     .offset = FIELD(head_dim),
     .required = true,
     .min = 1,
     .max = 16384,
     .help = "elements of a head"},
    {.key = "type",
     .type = KVS_OPT_ENUM,
     .offset = FIELD(half),
     .def = "bf16",
     .names = half_names,
     .help = "of the elements"},
    {.key = "level",
     .type = KVS_OPT_STR,
     .offset = FIELD(level),
     .def = "e4",
     .help = "raw16, lx, fp8, p8 to p2, e6 to e1.5"},
    {.key = "k-level",
     .type = KVS_OPT_STR,
     .offset = FIELD(k_level),
     .help = "of K, where not --level"},
    {.key = "v-level",
     .type = KVS_OPT_STR,
     .offset = FIELD(v_level),
     .help = "of V, where not --level"},
    {.key = "block",
     .type = KVS_OPT_TOK,
     .offset = FIELD(block),
     .def = "256",
     .min = 1,
     .max = 65536,
     .help = "tokens of a block"},
    {.key = "sinks",
     .type = KVS_OPT_TOK,
     .offset = FIELD(sinks),
     .def = "4",
     .min = 0,
     .max = 65536,
     .help = "first tokens that stay raw"},
    {.key = "before-rope",
     .type = KVS_OPT_FLAG,
     .offset = FIELD(before_rope),
     .help = "the keys were not yet turned by RoPE"},
    WEIGHTS_OPTION(
        "the model (GGUF, safetensors, llama2.c): e-levels give its channels steps by what "
        "their errors weigh"),
    ISA_OPTION,
};
static const struct kvs_opt decode_table[] = {OUT_OPTION, CHECK_OPTION, ISA_OPTION};
static const struct kvs_opt inspect_table[] = {
    {.key = "against",
     .type = KVS_OPT_STR,
     .offset = FIELD(against),
     .help = "the raw elements, as for encode: errors are told too, of attention with keys for "
             "queries"},
    WEIGHTS_OPTION("with --against: the model by which channels' errors are weighted"),
    {.key = "json", .type = KVS_OPT_FLAG, .offset = FIELD(json), .help = "print JSON"},
    CHECK_OPTION,
    ISA_OPTION,
};

enum kvs_code kvs_codec_pick_isa(const char *name, const struct kvs_kvf_isa **isa,
                                 struct kvs_err *err)
{
    *isa = kvs_kvf_isa(name);
    return *isa ? KVS_OK
                : kvs_fail(
                      err, KVS_ERR_ARG,
                      "--isa: found \"%s\", want scalar, or avx2 or avx512 where the CPU has it",
                      name);
}

static enum kvs_code find_level(const char *key, const char *name, enum kvs_level *level,
                                struct kvs_err *err)
{
    char known[300];
    if (kvs_level_find(name, level))
        return KVS_OK;
    return kvs_fail(err, KVS_ERR_ARG, "--%s: unknown level \"%s\"%s", key, name,
                    kvs_known(known, sizeof known, name, kvs_level_names, KVS_N_LEVEL));
}

/* All of a file; the caller frees it. */
static enum kvs_code read_all(const char *path, uint8_t **data, size_t *n, struct kvs_err *err)
{
    FILE *file = fopen(path, "rb");
    long size = -1;

    *data = NULL;
    if (file && fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    if (size < 0 || fseek(file, 0, SEEK_SET) != 0) {
        kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno));
    } else if (!(*data = malloc(size ? (size_t)size : 1))) {
        kvs_nomem(err);
    } else if (fread(*data, 1, (size_t)size, file) != (size_t)size) {
        kvs_fail(err, KVS_ERR_IO, "%s: ends early", path);
        free(*data);
        *data = NULL;
    }
    *n = *data ? (size_t)size : 0;
    if (file)
        (void)fclose(file); /* was only read */
    return *data ? KVS_OK : err->code;
}

static enum kvs_code write_all(const char *path, const void *data, size_t n, struct kvs_err *err)
{
    struct kvs_outfile *out;

    if (kvs_outfile_begin(path, &out, err))
        return err->code;
    if (fwrite(data, 1, n, kvs_outfile_stream(out)) != n) {
        kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno));
        kvs_outfile_abort(out);
        return err->code;
    }
    return kvs_outfile_commit(out, err);
}

/* Places of K and V of each layer in raw elements; tells the tokens. */
static enum kvs_code lay_out(const char *path, const uint8_t *data, size_t n,
                             struct kvs_kvf_shape *shape, const uint16_t ***x, struct kvs_err *err)
{
    size_t row = (size_t)shape->n_layer * 2 * kvs_kvf_n_chan(shape) * 2;

    *x = NULL;
    if (n == 0 || n % row)
        return kvs_fail(err, KVS_ERR_RANGE,
                        "%s: has %zu bytes, want a multiple of %zu: layers times K and V times KV "
                        "heads times head dim times 2",
                        path, n, row);
    shape->n_tok = n / row > UINT32_MAX ? UINT32_MAX : (uint32_t)(n / row);
    *x = malloc(shape->n_layer * 2ull * sizeof **x);
    if (!*x)
        return kvs_nomem(err);
    for (uint32_t i = 0; i < shape->n_layer * 2; i++)
        (*x)[i] =
            (const uint16_t *)(const void *)data + (size_t)i * shape->n_tok * kvs_kvf_n_chan(shape);
    return KVS_OK;
}

/*
 * What errors in channels weigh by the model of --weights, as kvs_kvf_weigh has it; NULL without
 * one. The model and the elements are of one shape.
 */
static enum kvs_code weigh(const char *file, const struct kvs_kvf_shape *shape,
                           const float ***weight, struct kvs_err *err)
{
    struct kvs_weights *weights = NULL;

    *weight = NULL;
    if (!file)
        return KVS_OK;
    if (kvs_weights_open(file, &weights, err))
        return err->code;
    const struct kvs_weights_shape *s = kvs_weights_shape(weights);
    enum kvs_code code =
        s->n_layer == shape->n_layer && s->n_kv_head == shape->n_kv_head &&
                s->head_dim == shape->head_dim
            ? kvs_kvf_weigh(weights, weight, err)
            : kvs_fail(err, KVS_ERR_ARG,
                       "--weights: %s has %u layers of %u KV heads of %u, the elements %u of %u of "
                       "%u",
                       file, s->n_layer, s->n_kv_head, s->head_dim, shape->n_layer,
                       shape->n_kv_head, shape->head_dim);
    kvs_weights_close(weights);
    return code;
}

static enum kvs_code encode(const struct options *opt, const char *from, struct kvs_err *err)
{
    struct kvs_kvf_shape shape = {.n_layer = (uint32_t)opt->layers,
                                  .n_kv_head = (uint32_t)opt->kv_heads,
                                  .head_dim = (uint32_t)opt->head_dim,
                                  .block_tok = (uint32_t)opt->block,
                                  .n_sink = (uint32_t)opt->sinks,
                                  .half = (enum kvs_half)opt->half,
                                  .before_rope = opt->before_rope};
    const struct kvs_kvf_isa *isa;
    enum kvs_level level[2];
    uint8_t *data = NULL, *file = NULL, *levels = NULL;
    const uint16_t **x = NULL;
    const float **weight = NULL;
    size_t n, n_file;
    enum kvs_code code;

    if ((code = kvs_codec_pick_isa(opt->isa, &isa, err)) ||
        (code = find_level(opt->k_level ? "k-level" : "level",
                           opt->k_level ? opt->k_level : opt->level, &level[0], err)) ||
        (code = find_level(opt->v_level ? "v-level" : "level",
                           opt->v_level ? opt->v_level : opt->level, &level[1], err)) ||
        (code = weigh(opt->weights, &shape, &weight, err)) ||
        (code = read_all(from, &data, &n, err)) || (code = lay_out(from, data, n, &shape, &x, err)))
        goto out;
    levels = malloc(shape.n_layer * 2ull);
    if (!levels) {
        code = kvs_nomem(err);
        goto out;
    }
    shape.n_sink = shape.n_sink < shape.n_tok ? shape.n_sink : shape.n_tok;
    for (uint32_t i = 0; i < shape.n_layer * 2; i++)
        levels[i] = (uint8_t)level[i % 2];
    code = kvs_kvf_encode(&(struct kvs_kvf_in){shape, x, levels, weight}, isa, &file, &n_file, err);
    if (!code)
        code = write_all(opt->out, file, n_file, err);
    if (!code)
        printf("%s: %u tokens, %zu bytes of %zu: %.3f bits an element\n", opt->out, shape.n_tok,
               n_file, n, (double)n_file * 16 / (double)n);
out:
    free(data);
    free(x);
    free(levels);
    free(weight);
    free(file);
    return code;
}

static enum kvs_code decode(const struct options *opt, const char *from, struct kvs_err *err)
{
    const struct kvs_kvf_isa *isa;
    struct kvs_kvf *codec = NULL;
    uint16_t *y = NULL;
    enum kvs_code code;

    if ((code = kvs_codec_pick_isa(opt->isa, &isa, err)) ||
        (code = kvs_kvf_open(from, !opt->no_check, &codec, err)))
        return code;
    const struct kvs_kvf_shape *s = kvs_kvf_shape(codec);
    size_t part = (size_t)s->n_tok * kvs_kvf_n_chan(s), n = part * s->n_layer * 2;
    y = malloc(n * sizeof *y);
    if (!y)
        code = kvs_nomem(err);
    for (uint32_t i = 0; i < kvs_kvf_n_section(codec) && !code; i++) {
        struct kvs_section at = kvs_kvf_section(codec, i);
        code = kvs_kvf_decode(codec, i, NULL, isa,
                              y + part * (at.layer * 2 + (uint32_t)at.kv) +
                                  (size_t)at.first_tok * kvs_kvf_n_chan(s),
                              kvs_kvf_n_chan(s), err);
    }
    if (!code)
        code = write_all(opt->out, y, n * sizeof *y, err);
    if (!code)
        printf("%s: %u tokens of %u layers, %u KV heads of %u, %s\n", opt->out, s->n_tok,
               s->n_layer, s->n_kv_head, s->head_dim, half_names[s->half]);
    free(y);
    kvs_kvf_close(codec);
    return code;
}

void kvs_codec_print_measure(const char *level, const struct kvs_kvf_measure *m)
{
    printf("\"level\": \"%s\", \"bits_per_element\": %.6g, \"payload_bits\": %.6g, "
           "\"padding_bits\": %.6g, \"escapes\": %llu",
           level, m->bits_per_element, m->payload_bits, m->padding_bits,
           (unsigned long long)m->parts.n_escape);
    for (int kv = 0; kv < 2; kv++) {
        const struct kvs_kvf_error *e = &m->error[kv];
        printf(", \"%c\": {\"max_abs\": %.6g, \"rel_l2\": %.6g, \"snr_db\": %.6g, \"snr_db_p5\": "
               "%.6g, \"weighted_rel_mse\": %.6g}",
               kv ? 'v' : 'k', e->max_abs, e->rel_l2, e->snr_db, e->snr_db_p5, e->weighted_rel_mse);
    }
}

static void print_parts(const struct kvs_kvf_parts *p, double n, bool json)
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

static enum kvs_code inspect(const struct options *opt, const char *from, struct kvs_err *err)
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
        code = read_all(opt->against, &data, &n_data, err);
        if (!code)
            code = lay_out(opt->against, data, n_data, &told, &x, err);
        if (!code && told.n_tok != s.n_tok)
            code = kvs_fail(err, KVS_ERR_RANGE, "%s: has %u tokens, %s has %u", opt->against,
                            told.n_tok, from, s.n_tok);
        if (!code)
            code = weigh(opt->weights, &s, &weight, err);
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
               half_names[s.half], s.before_rope ? "true" : "false");
        print_parts(&m.parts, n, true);
        printf("},\n \"levels\": [");
        print_levels(codec, true);
        printf("]");
        if (opt->against) {
            printf(",\n ");
            kvs_codec_print_measure("mixed", &m);
        }
        if (attention.n_query)
            printf(",\n \"attention\": {\"queries\": \"keys\", \"queries_per_head\": %u, "
                   "\"logit_rms\": %.6g, \"output_rel_l2\": %.6g, \"output_cosine\": %.8g}",
                   attention.n_query, attention.logit_rms, attention.output_rel_l2,
                   attention.output_cosine);
        printf("}\n");
    } else {
        if (s.hidden)
            printf("hidden states from layer %u on: halves of width %u as K and V\n", s.first_layer,
                   2 * kvs_kvf_n_chan(&s));
        printf("%u layers, %u KV heads of %u, %s; %u tokens in blocks of %u, %u sinks raw; keys %s "
               "RoPE\n",
               s.n_layer, s.n_kv_head, s.head_dim, half_names[s.half], s.n_tok, s.block_tok,
               s.n_sink, s.before_rope ? "before" : "after");
        print_levels(codec, false);
        printf("\n");
        print_parts(&m.parts, n, false);
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

#define ROWS(table) table, sizeof(table) / sizeof((table)[0])
static const struct command {
    const char *name, *help;
    enum kvs_code (*run)(const struct options *opt, const char *from, struct kvs_err *err);
    const struct kvs_opt *table;
    unsigned n;
} commands[] = {
    {"encode", "FILE of raw 16-bit elements, [layer][K, V][token][head][dim], into a codec file",
     encode, ROWS(encode_table)},
    {"decode", "a codec FILE back into raw elements", decode, ROWS(decode_table)},
    {"inspect", "what a codec FILE holds: shape, levels, bytes by part", inspect,
     ROWS(inspect_table)},
};
enum { N_COMMAND = sizeof commands / sizeof commands[0] };

static enum kvs_code run_one(const struct command *command, int argc, char *const *argv,
                             struct kvs_err *err)
{
    struct options opt = {0};
    struct kvs_strs files = {0};
    bool help = false;
    char usage[64];
    enum kvs_code code =
        kvs_opt_argv(command->table, command->n, argc, argv, &opt, &files, &help, err);

    if (code)
        return code;
    if (help) {
        snprintf(usage, sizeof usage, "kvsim codec %s FILE", command->name);
        kvs_opt_help(stdout, usage, command->help, command->table, command->n);
        return KVS_OK;
    }
    if (files.n != 1)
        return kvs_fail(err, KVS_ERR_ARG, "%s: found %u files, want one", command->name, files.n);
    return command->run(&opt, files.v[0], err);
}

static enum kvs_code run(int argc, char *const *argv, struct kvs_err *err)
{
    static const char *const names[] = {"encode", "decode", "inspect", "bench"};
    char known[200];

    if (argc < 2)
        return kvs_fail(err, KVS_ERR_ARG, "want a command: encode, decode, inspect or bench");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        printf("usage: kvsim codec COMMAND ...\n\nStored KV and its compression levels.\n\n");
        for (unsigned i = 0; i < N_COMMAND; i++)
            printf("  %-8s %s\n", commands[i].name, commands[i].help);
        printf("  %-8s %s\n\n`kvsim codec COMMAND --help` has each one's options.\n", "bench",
               "sizes, errors and rates of every level");
        return KVS_OK;
    }
    for (unsigned i = 0; i < N_COMMAND; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return run_one(&commands[i], argc - 1, argv + 1, err);
    if (strcmp(argv[1], "bench") == 0)
        return kvs_codec_bench_cmd(argc - 1, argv + 1, err);
    return kvs_fail(err, KVS_ERR_ARG, "unknown command \"%s\"%s", argv[1],
                    kvs_known(known, sizeof known, argv[1], names, 4));
}

const struct kvs_cmd kvs_cmd_codec = {
    .name = "codec",
    .help = "stored KV: encode, decode, inspect, bench its compression levels",
    .run = run,
};
