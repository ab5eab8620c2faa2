/*
 * kvsim store: KV of prompts kept in a folder or a Redis server - put, get, ls, check.
 */
#include "base/opt.h"
#include "base/outfile.h"
#include "base/units.h"
#include "cmd.h"
#include "kernels/codec/weigh.h"
#include "kernels/store/fill.h"
#include "kernels/store/levels.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *model, *tokens, *levels, *hidden, *device, *out;
    uint64_t block, sinks;
    bool json, drop;
};

#define FIELD(name) offsetof(struct options, name)
static const struct kvs_opt put_table[] = {
    {.key = "model",
     .letter = 'm',
     .type = KVS_OPT_STR,
     .offset = FIELD(model),
     .required = true,
     .help = "weights: GGUF, safetensors or llama2.c"},
    {.key = "tokens",
     .letter = 't',
     .type = KVS_OPT_STR,
     .offset = FIELD(tokens),
     .required = true,
     .help = "file of prompts: token numbers, a line each; '#' begins a comment"},
    {.key = "level",
     .type = KVS_OPT_STR,
     .offset = FIELD(levels),
     .def = "e4",
     .help = "of all layers, or K/V, or layer by layer: p8/e4*2,e4*28; not with --hidden"},
    {.key = "hidden",
     .type = KVS_OPT_STR,
     .offset = FIELD(hidden),
     .help = "hidden states instead of K and V, raw: what enters layers A-B, A or all of them"},
    {.key = "block",
     .type = KVS_OPT_TOK,
     .offset = FIELD(block),
     .def = "256",
     .min = 1,
     .max = 65536,
     .help = "tokens of a block; what is left of a prompt is not stored"},
    {.key = "sinks",
     .type = KVS_OPT_TOK,
     .offset = FIELD(sinks),
     .def = "4",
     .min = 0,
     .max = 65536,
     .help = "first tokens of a prompt that stay raw"},
    {.key = "device",
     .type = KVS_OPT_STR,
     .offset = FIELD(device),
     .def = "cpu",
     .help = "that computes: see kvsim devices"},
};
static const struct kvs_opt get_table[] = {
    {.key = "out",
     .letter = 'o',
     .type = KVS_OPT_STR,
     .offset = FIELD(out),
     .required = true,
     .help = "file of raw elements, [layer][K, V][token][head][dim]; of hidden states "
             "[layer][token][channel]"},
};
static const struct kvs_opt check_table[] = {
    {.key = "drop",
     .type = KVS_OPT_FLAG,
     .offset = FIELD(drop),
     .help = "drop the broken ones; put then stores them anew"},
};
static const struct kvs_opt ls_table[] = {
    {.key = "json", .type = KVS_OPT_FLAG, .offset = FIELD(json), .help = "print JSON"},
};

/* --- put ---------------------------------------------------------------------------------------
 */

/* What puts prompts into a store. */
struct putter {
    const struct options *opt;
    struct kvs_dev *dev;
    struct kvs_stream *stream;
    struct kvs_weights *weights;
    struct kvs_forward *forward;
    uint64_t model_hash[2];
    uint8_t *level;
    const float **weight; /* of channels: e-levels lose 2 to 4 times less */
    float *logits;
    struct kvs_fill fill;
    uint32_t first_layer, n_layer; /* of hidden states */
};

enum { CHUNK_TOK = 512 }; /* computed at once */

static enum kvs_code set_up(struct putter *p, uint32_t max_ctx, struct kvs_err *err)
{
    const struct options *opt = p->opt;
    enum kvs_code code;

    if ((code = kvs_weights_open(opt->model, &p->weights, err)))
        return code;
    const struct kvs_weights_shape *shape = kvs_weights_shape(p->weights);
    p->level = malloc((size_t)shape->n_layer * 2);
    p->logits = malloc(shape->n_vocab * sizeof *p->logits);
    if (!p->level || !p->logits)
        return kvs_nomem(err);
    if ((code = kvs_levels_parse("--level", opt->levels, shape->n_layer, p->level, err)) ||
        (opt->hidden && (code = kvs_states_parse("--hidden", opt->hidden, shape->n_layer,
                                                 &p->first_layer, &p->n_layer, err))) ||
        (code = kvs_model_hash(p->weights, p->model_hash, err)) ||
        (code = kvs_kvf_weigh(p->weights, &p->weight, err)) ||
        (code = kvs_dev_open(opt->device, 0, 0, &p->dev, err)) ||
        (code = kvs_stream_new(p->dev, &p->stream, err)))
        return code;
    const struct kvs_dev_info *info = kvs_dev_info(p->dev);
    const struct kvs_forward_opt forward = {.max_row = max_ctx < CHUNK_TOK ? max_ctx : CHUNK_TOK,
                                            .max_ctx = max_ctx,
                                            .max_out = 1,
                                            .kv_elem = KVS_BF16,
                                            .act_elem = info->act_elem,
                                            .gemm_elem = info->gemm_elem};
    p->fill = (struct kvs_fill){.shape = shape,
                                .model_hash = p->model_hash,
                                .block_tok = (uint32_t)opt->block,
                                .n_sink = (uint32_t)opt->sinks,
                                .level = p->level,
                                .weight = p->weight};
    code = kvs_forward_new(p->dev, p->weights, &forward, &p->forward, err);
    p->fill.forward = p->forward;
    return code;
}

static void tear_down(struct putter *p)
{
    kvs_stream_free(p->stream);
    kvs_forward_free(p->forward);
    kvs_dev_close(p->dev);
    kvs_weights_close(p->weights);
    free(p->level);
    free((void *)p->weight);
    free(p->logits);
}

static enum kvs_code put_prompt(struct putter *p, uint32_t line, const uint32_t *tok,
                                uint32_t n_tok, struct kvs_err *err)
{
    struct kvs_filled filled = {0};
    struct kvs_states *states = NULL;
    enum kvs_code code = KVS_OK;
    /* what no whole block holds is not computed either */
    uint32_t n_whole = n_tok / p->fill.block_tok * p->fill.block_tok;

    if (p->n_layer && n_whole)
        code = kvs_states_new(p->forward, p->stream, tok, n_whole, p->first_layer, p->n_layer,
                              &states, err);
    for (uint32_t at = 0; at < n_whole && !p->n_layer && !code; at += CHUNK_TOK)
        code = kvs_forward_prefill(p->forward, p->stream, tok, at,
                                   n_whole - at < CHUNK_TOK ? n_whole : at + CHUNK_TOK, p->logits,
                                   err);
    p->fill.tok = tok;
    p->fill.n_tok = n_whole;
    p->fill.states = states;
    if (!code)
        code = kvs_fill(&p->fill, &filled, err);
    kvs_states_free(states);
    if (!code)
        printf("%s:%u: %u tokens: %u blocks stored, %u were there, %u tokens left out, %llu bytes "
               "written\n",
               p->opt->tokens, line, n_tok, filled.n_put, filled.n_there, n_tok - n_whole,
               (unsigned long long)filled.put_bytes);
    return code;
}

/* All of the file, before anything of it is stored. */
static enum kvs_code check_tokens(const struct putter *p, const struct kvs_prompts *prompts,
                                  struct kvs_err *err)
{
    const struct kvs_weights_shape *shape = kvs_weights_shape(p->weights);
    uint32_t n_vocab = shape->n_vocab;

    for (uint32_t i = 0; i < prompts->n; i++) {
        size_t n_tok = prompts->first[i + 1] - prompts->first[i];
        if (shape->n_ctx && n_tok > shape->n_ctx)
            return kvs_fail(err, KVS_ERR_RANGE, "%s:%u: found %zu tokens, the model takes %u",
                            p->opt->tokens, prompts->line[i], n_tok, shape->n_ctx);
        for (size_t t = prompts->first[i]; t < prompts->first[i + 1]; t++)
            if (prompts->tok[t] >= n_vocab)
                return kvs_fail(err, KVS_ERR_RANGE,
                                "%s:%u: found token %u, want one below %u, the model's vocabulary",
                                p->opt->tokens, prompts->line[i], prompts->tok[t], n_vocab);
    }
    return KVS_OK;
}

static enum kvs_code put(const struct options *opt, const char *place, struct kvs_err *err)
{
    struct putter putter = {.opt = opt};
    struct kvs_prompts prompts = {0};
    struct kvs_store *store = NULL;
    enum kvs_code code = kvs_prompts_read(opt->tokens, &prompts, err);

    if (!code)
        code = set_up(&putter, prompts.most_tok, err);
    if (!code)
        code = check_tokens(&putter, &prompts, err);
    if (!code) /* made only now: nothing is left of a call with wrong input */
        code = kvs_store_open(place, &(struct kvs_store_opt){.make = true}, &store, err);
    putter.fill.store = store;
    for (uint32_t i = 0; i < prompts.n && !code; i++)
        code = put_prompt(&putter, prompts.line[i], prompts.tok + prompts.first[i],
                          (uint32_t)(prompts.first[i + 1] - prompts.first[i]), err);
    tear_down(&putter);
    kvs_store_close(store);
    kvs_prompts_free(&prompts);
    return code;
}

/* --- get, ls, check ----------------------------------------------------------------------------
 */

/* The levels of a block, as --level takes them. */
static enum kvs_code print_levels(const struct kvs_kvf *kvf, struct kvs_err *err)
{
    const struct kvs_kvf_shape *s = kvs_kvf_shape(kvf);
    uint32_t n_layer = s->n_layer;
    uint8_t *level = malloc((size_t)n_layer * 2);

    if (!level)
        return kvs_nomem(err);
    for (uint32_t i = 0; i < n_layer * 2; i++)
        level[i] = (uint8_t)kvs_kvf_section(kvf, i).level;
    if (s->hidden)
        printf("hidden states of layers %u-%u: ", s->first_layer, s->first_layer + n_layer - 1);
    kvs_levels_print(stdout, level, n_layer);
    free(level);
    return KVS_OK;
}

/* Section by section; of hidden states, layer by layer, a token's two halves together. */
static enum kvs_code write_elements(const struct kvs_stored *block, FILE *to, struct kvs_err *err)
{
    const struct kvs_kvf *kvf = kvs_stored_kvf(block);
    const struct kvs_kvf_shape *s = kvs_kvf_shape(kvf);
    size_t n_chan = kvs_kvf_n_chan(s), at_once = s->hidden ? 2 : 1, n = s->n_tok * n_chan * at_once;
    uint16_t *out = malloc(n * sizeof *out);
    uint8_t *bytes = NULL;
    enum kvs_code code = out ? KVS_OK : kvs_nomem(err);

    for (uint32_t i = 0; i < kvs_kvf_n_section(kvf) && !code; i++) {
        code = kvs_stored_read(block, i, 1, &bytes, err);
        if (!code)
            code = kvs_kvf_decode(kvf, i, bytes, kvs_kvf_isa(NULL), out + i % at_once * n_chan,
                                  n_chan * at_once, err);
        if (!code && (i + 1) % at_once == 0 && fwrite(out, sizeof *out, n, to) != n)
            code = kvs_fail(err, KVS_ERR_IO, "%s", strerror(errno));
        free(bytes);
        bytes = NULL;
    }
    free(out);
    return code;
}

static enum kvs_code get(const struct options *opt, struct kvs_store *store, struct kvs_strs *args,
                         struct kvs_err *err)
{
    struct kvs_block_key key;
    char tag[KVS_TAG_MAX];
    struct kvs_stored *block = NULL;
    struct kvs_outfile *out;

    if (!kvs_block_parse(args->v[1], &key, tag))
        return kvs_fail(err, KVS_ERR_ARG,
                        "found block \"%s\", want KEY.TAG as `kvsim store ls` has", args->v[1]);
    enum kvs_code code = kvs_store_find(store, key, tag, &block, err);
    if (!code && !block)
        code = kvs_fail(err, KVS_ERR_IO, "%s: holds no block %s", args->v[0], args->v[1]);
    if (!code)
        code = kvs_outfile_begin(opt->out, &out, err);
    if (!code) {
        code = write_elements(block, kvs_outfile_stream(out), err);
        if (code)
            kvs_outfile_abort(out);
        else
            code = kvs_outfile_commit(out, err);
    }
    if (!code) {
        const struct kvs_kvf_shape *s = kvs_kvf_shape(kvs_stored_kvf(block));
        const char *type = s->half == KVS_F16 ? "f16" : "bf16";
        if (s->hidden)
            printf("%s: hidden states of %u tokens, layers %u to %u, width %u, %s\n", opt->out,
                   s->n_tok, s->first_layer, s->first_layer + s->n_layer - 1, 2 * kvs_kvf_n_chan(s),
                   type);
        else
            printf("%s: %u tokens of %u layers, %u KV heads of %u, %s\n", opt->out, s->n_tok,
                   s->n_layer, s->n_kv_head, s->head_dim, type);
    }
    kvs_stored_close(block);
    return code;
}

static enum kvs_code ls_one(const struct options *opt, struct kvs_store *store,
                            const struct kvs_store_entry *entry, bool first, struct kvs_err *err)
{
    struct kvs_err broken = {0};
    struct kvs_stored *block;
    enum kvs_code code = kvs_store_find(store, entry->key, entry->tag, &block, &broken);

    if (code && code != KVS_ERR_PARSE)
        return kvs_fail(err, code, "%s", broken.msg);
    if (!code && !block)
        return KVS_OK; /* gone since it was listed */
    const struct kvs_kvf_shape *s = block ? kvs_kvf_shape(kvs_stored_kvf(block)) : NULL;
    if (opt->json)
        printf("%s{\"key\": \"%016llx%016llx\", \"tag\": \"%s\", \"bytes\": %llu, \"tokens\": ",
               first ? "" : ",\n ", (unsigned long long)entry->key.word[0],
               (unsigned long long)entry->key.word[1], entry->tag,
               (unsigned long long)entry->n_byte);
    else
        printf("%016llx%016llx.%-8s %12llu bytes ", (unsigned long long)entry->key.word[0],
               (unsigned long long)entry->key.word[1], entry->tag,
               (unsigned long long)entry->n_byte);
    code = KVS_OK;
    if (s) {
        printf(opt->json ? "%u, \"levels\": \"" : "%6u tokens  ", s->n_tok);
        code = print_levels(kvs_stored_kvf(block), err);
    } else {
        printf(opt->json ? "null, \"levels\": null" : "broken");
    }
    printf(!opt->json ? "\n" : s ? "\"}" : "}");
    kvs_stored_close(block);
    return code;
}

static enum kvs_code ls(const struct options *opt, struct kvs_store *store, struct kvs_strs *args,
                        struct kvs_err *err)
{
    struct kvs_store_entry *entry;
    uint64_t n_byte = 0;
    size_t n;
    enum kvs_code code = kvs_store_list(store, &entry, &n, err);

    (void)args;
    if (code)
        return code;
    if (opt->json)
        printf("{\"blocks\": [");
    for (size_t i = 0; i < n && !code; i++) {
        code = ls_one(opt, store, &entry[i], i == 0, err);
        n_byte += entry[i].n_byte;
    }
    printf(opt->json ? "],\n \"n\": %zu, \"bytes\": %llu}\n" : "%zu blocks, %llu bytes\n", n,
           (unsigned long long)n_byte);
    free(entry);
    return code;
}

static enum kvs_code check(const struct options *opt, struct kvs_store *store,
                           struct kvs_strs *args, struct kvs_err *err)
{
    struct kvs_store_entry *entry;
    size_t n, n_broken = 0, n_dropped = 0;
    enum kvs_code code = kvs_store_list(store, &entry, &n, err);

    if (code)
        return code;
    for (size_t i = 0; i < n && !code; i++) {
        struct kvs_err found = {0};
        enum kvs_code state = kvs_store_verify(store, entry[i].key, entry[i].tag, &found);
        if (state == KVS_OK || state == KVS_ERR_ABSENT) /* dropped meanwhile */
            continue;
        printf("%s\n", found.msg);
        n_broken++;
        if (opt->drop && state == KVS_ERR_PARSE)
            code = kvs_store_drop(store, entry[i].key, entry[i].tag, err);
        n_dropped += opt->drop && state == KVS_ERR_PARSE && !code;
    }
    free(entry);
    printf("%zu blocks, %zu broken", n, n_broken);
    printf(opt->drop ? ", %zu of them dropped\n" : "\n", n_dropped);
    if (code)
        return code;
    return n_broken > n_dropped ? kvs_fail(err, KVS_ERR_CHECK, "%s: %zu of %zu blocks are broken",
                                           args->v[0], n_broken - n_dropped, n)
                                : KVS_OK;
}

/* --- commands ----------------------------------------------------------------------------------
 */

#define ROWS(table) table, sizeof(table) / sizeof((table)[0])
static const struct command {
    const char *name, *usage, *help;
    enum kvs_code (*run)(const struct options *opt, struct kvs_store *store, struct kvs_strs *args,
                         struct kvs_err *err); /* NULL: put, which makes the store */
    unsigned n_arg;
    const struct kvs_opt *table;
    unsigned n;
} commands[] = {
    {"put", "DIR", "the KV of prompts, computed and encoded, block by block", NULL, 1,
     ROWS(put_table)},
    {"get", "DIR KEY.TAG", "a block's KV, decoded", get, 2, ROWS(get_table)},
    {"ls", "DIR", "the blocks held: key, tag, bytes, tokens, levels", ls, 1, ROWS(ls_table)},
    {"check", "DIR", "reads all blocks and says which are broken; 1 if any is", check, 1,
     ROWS(check_table)},
};
enum { N_COMMAND = sizeof commands / sizeof commands[0] };

static enum kvs_code run_one(const struct command *command, int argc, char *const *argv,
                             struct kvs_err *err)
{
    struct options opt = {0};
    struct kvs_strs args = {0};
    static const char *const raw_only[] = {"level", "sinks", NULL};
    struct kvs_store *store;
    bool help = false;
    char usage[64];
    enum kvs_code code =
        kvs_opt_argv(command->table, command->n, argc, argv, &opt, &args, &help, err);

    if (code)
        return code;
    if (help) {
        snprintf(usage, sizeof usage, "kvsim store %s %s", command->name, command->usage);
        kvs_opt_help(stdout, usage, command->help, command->table, command->n);
        return KVS_OK;
    }
    if (args.n != command->n_arg)
        return kvs_fail(err, KVS_ERR_ARG, "%s: found %u arguments, want %s", command->name, args.n,
                        command->usage);
    if (!command->run && opt.hidden &&
        kvs_opt_refuse(command->table, command->n, argc, argv, raw_only,
                       "hidden states are stored raw; want --hidden without", err))
        return err->code;
    if (!command->run)
        return put(&opt, args.v[0], err);
    code = kvs_store_open(args.v[0], NULL, &store, err);
    if (!code)
        code = command->run(&opt, store, &args, err);
    kvs_store_close(store);
    return code;
}

static enum kvs_code run(int argc, char *const *argv, struct kvs_err *err)
{
    static const char *const names[] = {"put", "get", "ls", "check"};
    char known[200];

    if (argc < 2)
        return kvs_fail(err, KVS_ERR_ARG, "want a command: put, get, ls or check");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        printf("usage: kvsim store COMMAND DIR ...\n\nKV kept outside the device. DIR is a folder, "
               "or redis:HOST:PORT, or redis:/PATH/OF/SOCKET.\n\n");
        for (unsigned i = 0; i < N_COMMAND; i++)
            printf("  %-8s %s\n", commands[i].name, commands[i].help);
        printf("\n`kvsim store COMMAND --help` has each one's options.\n");
        return KVS_OK;
    }
    for (unsigned i = 0; i < N_COMMAND; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return run_one(&commands[i], argc - 1, argv + 1, err);
    return kvs_fail(err, KVS_ERR_ARG, "unknown command \"%s\"%s", argv[1],
                    kvs_known(known, sizeof known, argv[1], names, N_COMMAND));
}

const struct kvs_cmd kvs_cmd_store = {
    .name = "store",
    .help = "KV of prompts in a folder or a Redis server: put, get, ls, check",
    .run = run,
};
