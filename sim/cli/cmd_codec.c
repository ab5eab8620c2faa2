/*
 * kvsim codec: stored KV and its levels - encode, decode, inspect, bench.
 */
#include "cmd_codec.h"
#include "base/opt.h"
#include "base/outfile.h"
#include "cmd.h"
#include "kernels/codec/weigh.h"
#include "kernels/store/levels.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const kvs_codec_halves[] = {"f16", "bf16", NULL};

#define FIELD(name) offsetof(struct kvs_codec_options, name)
#define ISA_OPTION                                                                                 \
    {                                                                                              \
        .key = "isa", .type = KVS_OPT_STR, .offset = FIELD(isa),                                   \
        .help = "scalar, avx2, avx512 or avx512bf16; default the fastest here"                     \
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
     .names = kvs_codec_halves,
     .help = "of the elements"},
    {.key = "level",
     .type = KVS_OPT_STR,
     .offset = FIELD(level),
     .def = "e4",
     .help = "raw16, lx, fp8, p8 to p2, e6 to e1.5: of all layers, or K/V, or layer by layer: "
             "p8/e4*2,e4*28"},
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
     .help = "the raw elements, as for encode: errors are told too, sinks (exact) left out, and "
             "of attention with keys for queries"},
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
                : kvs_fail(err, KVS_ERR_ARG,
                           "--isa: found \"%s\", want scalar, or avx2, avx512 or avx512bf16 where "
                           "the CPU has it",
                           name);
}

enum kvs_code kvs_codec_read(const char *path, uint8_t **data, size_t *n, struct kvs_err *err)
{
    struct stat about;
    FILE *file;
    long size = -1;

    *data = NULL;
    *n = 0;
    /* before it is opened: a pipe without a writer would be waited for */
    if (stat(path, &about) == 0 && !S_ISREG(about.st_mode))
        return kvs_fail(err, KVS_ERR_ARG, "%s: is no file, but a folder, pipe or device", path);
    file = fopen(path, "rb");
    if (file && fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    if (size < 0 || fseek(file, 0, SEEK_SET) != 0) {
        kvs_fail(err, kvs_errno_code(errno), "%s: %s", path, strerror(errno));
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

enum kvs_code kvs_codec_open_file(const char *path, bool check, struct kvs_kvf **codec,
                                  struct kvs_err *err)
{
    *codec = NULL;
    if (access(path, F_OK))
        return kvs_fail(err, kvs_errno_code(errno), "%s: %s", path, strerror(errno));
    return kvs_kvf_open(path, check, codec, err);
}

/* An output that is the input would leave none of it. */
static enum kvs_code check_apart(const char *from, const char *to, struct kvs_err *err)
{
    struct stat a, b;

    if (stat(from, &a) == 0 && stat(to, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return kvs_fail(err, KVS_ERR_ARG, "--out: found %s, which is the input", to);
    return KVS_OK;
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

enum kvs_code kvs_codec_lay_out(const char *path, const uint8_t *data, size_t n,
                                struct kvs_kvf_shape *shape, const uint16_t ***x,
                                struct kvs_err *err)
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

enum kvs_code kvs_codec_weigh(const char *file, const struct kvs_kvf_shape *shape,
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

/* level: [n_part] */
static enum kvs_code check_weights(const struct kvs_codec_options *opt, const uint8_t *level,
                                   uint32_t n_part, struct kvs_err *err)
{
    bool has_steps = !opt->weights;

    for (uint32_t i = 0; i < n_part; i++)
        has_steps = has_steps || level[i] >= KVS_E6;
    return has_steps
               ? KVS_OK
               : kvs_fail(err, KVS_ERR_ARG,
                          "--weights: is for steps of e-levels; --level has none: %s", opt->level);
}

static enum kvs_code encode(const struct kvs_codec_options *opt, const char *from,
                            struct kvs_err *err)
{
    struct kvs_kvf_shape shape = {.n_layer = (uint32_t)opt->layers,
                                  .n_kv_head = (uint32_t)opt->kv_heads,
                                  .head_dim = (uint32_t)opt->head_dim,
                                  .block_tok = (uint32_t)opt->block,
                                  .n_sink = (uint32_t)opt->sinks,
                                  .half = (enum kvs_half)opt->half,
                                  .before_rope = opt->before_rope};
    const struct kvs_kvf_isa *isa;
    uint8_t *data = NULL, *file = NULL, *level = NULL;
    const uint16_t **x = NULL;
    const float **weight = NULL;
    size_t n, n_file;
    enum kvs_code code;

    if (!(level = malloc(shape.n_layer * 2ull)))
        return kvs_nomem(err);
    if ((code = kvs_codec_pick_isa(opt->isa, &isa, err)) ||
        (code = kvs_levels_parse("--level", opt->level, shape.n_layer, level, err)) ||
        (code = check_weights(opt, level, shape.n_layer * 2, err)) ||
        (code = kvs_codec_weigh(opt->weights, &shape, &weight, err)) ||
        (code = check_apart(from, opt->out, err)) ||
        (code = kvs_codec_read(from, &data, &n, err)) ||
        (code = kvs_codec_lay_out(from, data, n, &shape, &x, err)))
        goto out;
    shape.n_sink = shape.n_sink < shape.n_tok ? shape.n_sink : shape.n_tok;
    code = kvs_kvf_encode(&(struct kvs_kvf_in){shape, x, level, weight}, isa, &file, &n_file, err);
    if (!code)
        code = write_all(opt->out, file, n_file, err);
    if (!code)
        printf("%s: %u token%s, %zu bytes of %zu: %.3f bits an element\n", opt->out, shape.n_tok,
               KVS_S(shape.n_tok), n_file, n, (double)n_file * 16 / (double)n);
out:
    free(data);
    free(x);
    free(level);
    free(weight);
    free(file);
    return code;
}

static enum kvs_code decode(const struct kvs_codec_options *opt, const char *from,
                            struct kvs_err *err)
{
    const struct kvs_kvf_isa *isa;
    struct kvs_kvf *codec = NULL;
    uint16_t *y = NULL;
    enum kvs_code code;

    if ((code = kvs_codec_pick_isa(opt->isa, &isa, err)) ||
        (code = check_apart(from, opt->out, err)) ||
        (code = kvs_codec_open_file(from, !opt->no_check, &codec, err)))
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
        printf("%s: %u token%s of %u layer%s, %u KV head%s of %u, %s\n", opt->out, s->n_tok,
               KVS_S(s->n_tok), s->n_layer, KVS_S(s->n_layer), s->n_kv_head, KVS_S(s->n_kv_head),
               s->head_dim, kvs_codec_halves[s->half]);
    free(y);
    kvs_kvf_close(codec);
    return code;
}

#define ROWS(table) table, sizeof(table) / sizeof((table)[0])
static const struct command {
    const char *name, *help;
    enum kvs_code (*run)(const struct kvs_codec_options *opt, const char *from,
                         struct kvs_err *err);
    const struct kvs_opt *table;
    unsigned n;
} commands[] = {
    {"encode", "FILE of raw 16-bit elements, [layer][K, V][token][head][dim], into a codec file",
     encode, ROWS(encode_table)},
    {"decode", "a codec FILE back into raw elements", decode, ROWS(decode_table)},
    {"inspect", "what a codec FILE holds: shape, levels, bytes by part", kvs_codec_inspect,
     ROWS(inspect_table)},
};
enum { N_COMMAND = sizeof commands / sizeof commands[0] };

static enum kvs_code run_one(const struct command *command, int argc, char *const *argv,
                             struct kvs_err *err)
{
    struct kvs_codec_options opt = {0};
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
        printf(
            "Exit status: 0; 2 if the input or an option is bad; 1 if the machine has no memory, "
            "space or right.\n");
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
