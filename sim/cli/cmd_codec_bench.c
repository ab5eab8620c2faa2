/*
 * kvsim codec bench: what each level costs, loses and how fast it is, on made-up tensors.
 */
#include "base/opt.h"
#include "cmd_codec.h"
#include "kernels/codec/made.h"

#include <stdio.h>
#include <stdlib.h>

struct options {
    bool json;
    const char *isa;
    uint64_t tok, chan, layers, rounds, block;
    double rho;
    int half;
};

static const char *const half_names[] = {"f16", "bf16", NULL};

#define FIELD(name) offsetof(struct options, name)
static const struct kvs_opt table[] = {
    {.key = "json", .type = KVS_OPT_FLAG, .offset = FIELD(json), .help = "print JSON"},
    {.key = "isa",
     .type = KVS_OPT_STR,
     .offset = FIELD(isa),
     .help = "scalar, avx2 or avx512; default the fastest here"},
    {.key = "type",
     .type = KVS_OPT_ENUM,
     .offset = FIELD(half),
     .def = "f16",
     .names = half_names,
     .help = "of the elements; lx is measured on bf16 only"},
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
     .def = "2048",
     .min = 8,
     .max = 65536,
     .help = "tokens of a block"},
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

static void print_table(const struct kvs_kvf_measure *m, const enum kvs_level *level, uint32_t n,
                        double rate, const char *isa)
{
    printf("one thread, %s; GB/s of 16-bit elements; memcpy %.1f GB/s\n\n", isa, rate);
    printf("level  b/elem   ratio  payload  side  escapes  SNR K  SNR V  p5 K   encode  decode\n");
    for (uint32_t i = 0; i < n; i++) {
        double side = m[i].bits_per_element - m[i].payload_bits - m[i].padding_bits;
        printf("%-6s %6.3f  %6.2f   %6.3f %5.3f %8llu  %5.1f  %5.1f  %5.1f  %6.2f  %6.2f\n",
               kvs_level_names[level[i]], m[i].bits_per_element, 16 / m[i].bits_per_element,
               m[i].payload_bits, side, (unsigned long long)m[i].parts.n_escape,
               m[i].error[0].snr_db, m[i].error[1].snr_db, m[i].error[0].snr_db_p5,
               m[i].encode_gb_per_s, m[i].decode_gb_per_s);
    }
}

static void print_json(const struct kvs_kvf_measure *m, const struct kvs_kvf_attention *attention,
                       const enum kvs_level *level, uint32_t n, double rate, const char *isa)
{
    printf("{\"isa\": \"%s\", \"memcpy_gb_per_s\": %.6g, \"levels\": [", isa, rate);
    for (uint32_t i = 0; i < n; i++) {
        printf("%s\n  {", i ? "," : "");
        kvs_codec_print_measure(kvs_level_names[level[i]], &m[i]);
        printf(", \"encode_gb_per_s\": %.6g, \"decode_gb_per_s\": %.6g,\n \"bytes\": {",
               m[i].encode_gb_per_s, m[i].decode_gb_per_s);
        kvs_codec_print_parts(&m[i].parts, 0, true);
        printf("}");
        if (attention[i].n_query)
            kvs_codec_print_attention(&attention[i]);
        printf("}");
    }
    printf("\n]}\n");
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

    if (!code)
        code = kvs_kvf_parse("bench", file, n, n, true, &codec, err);
    if (!code)
        code = kvs_kvf_compare(codec, in, isa, measure, err);
    if (!code && attention)
        code = kvs_kvf_attention(codec, in->x, N_QUERY, isa, attention, err);
    kvs_kvf_close(codec);
    free(file);
    return code;
}

static enum kvs_code bench(const struct options *opt, const struct kvs_kvf_isa *isa,
                           struct kvs_err *err)
{
    const uint16_t *x[128] = {NULL};
    uint8_t levels[KVS_N_LEVEL][128];
    enum kvs_level level[KVS_N_LEVEL];
    struct kvs_kvf_in in[KVS_N_LEVEL];
    struct kvs_kvf_measure measure[KVS_N_LEVEL] = {{0}};
    struct kvs_kvf_attention attention[KVS_N_LEVEL] = {{0}};
    uint32_t n = 0, n_part = (uint32_t)opt->layers * 2;
    double rate = 0;
    enum kvs_code code = KVS_OK;

    for (uint32_t i = 0; i < n_part && !code; i++) {
        x[i] = kvs_kvf_made(i, (uint32_t)opt->tok, (uint32_t)opt->chan, opt->rho,
                            (enum kvs_half)opt->half);
        if (!x[i])
            code = kvs_nomem(err);
    }
    for (int l = 0; l < KVS_N_LEVEL; l++) {
        if (l == KVS_LX && opt->half == KVS_F16)
            continue;
        level[n] = (enum kvs_level)l;
        for (uint32_t i = 0; i < n_part; i++)
            levels[n][i] = (uint8_t)l;
        in[n] = (struct kvs_kvf_in){{.n_layer = (uint32_t)opt->layers,
                                     .n_kv_head = 1,
                                     .head_dim = (uint32_t)opt->chan,
                                     .n_tok = (uint32_t)opt->tok,
                                     .block_tok = (uint32_t)opt->block,
                                     .n_sink = 4,
                                     .half = (enum kvs_half)opt->half},
                                    x,
                                    levels[n],
                                    NULL};
        n++;
    }
    for (uint32_t i = 0; i < n && !code; i++)
        code = errors(&in[i], isa, &measure[i], opt->json ? &attention[i] : NULL, err);
    if (!code)
        code = kvs_kvf_rates(in, n, (unsigned)opt->rounds, isa, measure, &rate, err);
    if (!code && opt->json)
        print_json(measure, attention, level, n, rate, kvs_kvf_isa_name(isa));
    else if (!code)
        print_table(measure, level, n, rate, kvs_kvf_isa_name(isa));
    for (uint32_t i = 0; i < n_part; i++)
        free((void *)(uintptr_t)x[i]);
    return code;
}

enum kvs_code kvs_codec_bench_cmd(int argc, char *const *argv, struct kvs_err *err)
{
    struct options opt = {0};
    const struct kvs_kvf_isa *isa;
    bool help = false;
    enum kvs_code code = kvs_opt_argv(table, N_OPTION, argc, argv, &opt, NULL, &help, err);

    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, "kvsim codec bench [--json]",
                     "Sizes, errors and rates of every level on made-up keys and values "
                     "(kernels/codec/made.h), one thread; times are the thread's CPU time.",
                     table, N_OPTION);
        return KVS_OK;
    }
    code = kvs_codec_pick_isa(opt.isa, &isa, err);
    return code ? code : bench(&opt, isa, err);
}
