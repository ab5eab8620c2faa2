/*
 * validate_plan.c - the plan of a file (`kvsim plan --json`, configs/schema/plan.schema.json) as a
 * case and a plan of its problem.
 */
#include "kernels/store/levels.h"
#include "validate.h"

#include <stdlib.h>
#include <string.h>

#define MOST_BLOCKS 65536 /* as kvsim plan's */

/* What kvsim plan --json prints; what is not named below is not needed to run the plan. */
static const char *const keys[] = {
    "source",
    "model",
    "hardware",
    "gpus",
    "tiers",
    "context_tok",
    "new_tok",
    "reuse",
    "budget_nats",
    "load_bytes_per_s",
    "bandwidth_bytes_per_s",
    "bandwidth_link",
    "plan",
    "policies",
    "own_rule",
    "left_out",
    "sensitivity",
    "words",
    "fractions",
    "last_fractions_gain",
    "menu",
    "held",
    "fits",
    "load",
    "regret",
    "loss",
    "spans",
    "layers",
    "states",
    "work_s",
    "binds",
    "context_crossing_tok",
    "bandwidth_crossing_bytes_per_s",
};

/* A level of all of a layer, or one of K and one of V, or hidden states. */
static enum kvs_code check_level(struct kvs_json node, const char *name, struct kvs_err *err)
{
    uint8_t kv[2];
    char known[300];
    struct kvs_err why = {0};

    if (strcmp(name, KVS_HIDDEN) == 0 ||
        (!strpbrk(name, ",*") && !kvs_levels_parse("level", name, 1, kv, &why)))
        return KVS_OK;
    return kvs_json_fail(node, err, KVS_ERR_RANGE, "unknown level \"%s\"%s", name,
                         kvs_known(known, sizeof known, name, kvs_level_names, KVS_N_LEVEL));
}

/* What a layer of the file says of l, whose own are the ones before. */
static enum kvs_code read_layer(struct kvs_json layer, uint32_t l, int64_t block_tok,
                                struct kvs_val_file *file, struct kvs_err *err)
{
    struct kvs_json tok = kvs_json_get(layer, "recompute_tok"),
                    repair = kvs_json_get(layer, "repair_tok"),
                    state = kvs_json_get(layer, "state_tok");
    int64_t n_tok, repair_tok = 0, state_tok = 0;
    enum kvs_code code;

    if ((code = kvs_json_object(layer, err)) ||
        (code = kvs_json_i64(tok, 0, file->context_tok, &n_tok, err)) ||
        (code = kvs_json_str(kvs_json_get(layer, "level"), &file->level[l], err)) ||
        (code = check_level(kvs_json_get(layer, "level"), file->level[l], err)) ||
        (repair.v && (code = kvs_json_i64(repair, 0, file->context_tok, &repair_tok, err))) ||
        (state.v && (code = kvs_json_i64(state, 0, file->context_tok, &state_tok, err))))
        return code;
    if (state_tok)
        return kvs_json_fail(state, err, KVS_ERR_RANGE,
                             "found %lld, want 0: nothing here computes on from stored hidden "
                             "states; plan without --states",
                             (long long)state_tok);
    if (n_tok % block_tok)
        return kvs_json_fail(tok, err, KVS_ERR_RANGE,
                             "found %lld, want whole blocks of --block %lld tokens",
                             (long long)n_tok, (long long)block_tok);
    if (l && n_tok / block_tok > file->cut[l - 1])
        return kvs_json_fail(tok, err, KVS_ERR_RANGE,
                             "found %lld, more than in the layer before: each layer's tokens "
                             "need the one below",
                             (long long)n_tok);
    file->cut[l] = (uint32_t)(n_tok / block_tok);
    file->repair_tok[l] = (uint32_t)repair_tok;
    return KVS_OK;
}

static enum kvs_code read_reuse(struct kvs_json root, struct kvs_val_file *file,
                                struct kvs_err *err)
{
    struct kvs_json reuse = kvs_json_get(root, "reuse");
    const char *kind = reuse.v ? json_string_value(reuse.v) : "prefix";

    if (!kind ||
        (strcmp(kind, "prefix") != 0 && strcmp(kind, "content") != 0 && strcmp(kind, "mixed") != 0))
        return kvs_json_want(reuse, err, KVS_ERR_RANGE, "\"prefix\", \"content\" or \"mixed\"");
    file->reuse = strcmp(kind, "prefix") == 0 ? KVS_VAL_PREFIX : KVS_VAL_CONTENT;
    return KVS_OK;
}

/* A span before the last one: its blocks, from *b on. */
static enum kvs_code read_span(struct kvs_json span, int64_t block_tok, struct kvs_val_file *file,
                               uint32_t *b, struct kvs_err *err)
{
    struct kvs_json kind = kvs_json_get(span, "kind"), tok = kvs_json_get(span, "tok");
    unsigned as = KVS_VAL_PREFIX;
    const char *name;
    int64_t n_tok;
    enum kvs_code code;

    if ((code = kvs_json_object(span, err)) || (code = kvs_json_str(kind, &name, err)) ||
        (code = kvs_json_i64(tok, 1, 1 << 24, &n_tok, err)))
        return code;
    if (strcmp(name, "content") == 0)
        as = KVS_VAL_CONTENT;
    else if (strcmp(name, "new") == 0)
        as = KVS_VAL_ABSENT;
    else if (strcmp(name, "prefix") != 0)
        return kvs_json_fail(kind, err, KVS_ERR_RANGE,
                             "found \"%s\", want prefix, content or new: no KV is in device memory "
                             "before a run here",
                             name);
    if (n_tok % block_tok)
        return kvs_json_fail(tok, err, KVS_ERR_RANGE,
                             "found %lld, want whole blocks of --block %lld tokens",
                             (long long)n_tok, (long long)block_tok);
    if (n_tok / block_tok > MOST_BLOCKS - *b)
        return kvs_json_fail(tok, err, KVS_ERR_RANGE, "more than %d blocks in all", MOST_BLOCKS);
    memset(file->block + *b, (int)as, (size_t)(n_tok / block_tok));
    *b += (uint32_t)(n_tok / block_tok);
    return KVS_OK;
}

/* The prompt span by span; all of them lie on the one path that is run. Cached tokens and the new
 * ones need no map of their blocks. */
static enum kvs_code read_spans(struct kvs_json root, int64_t block_tok, struct kvs_val_file *file,
                                struct kvs_err *err)
{
    struct kvs_json spans = kvs_json_get(root, "spans"), last;
    size_t n = spans.v ? json_array_size(spans.v) : 0;
    enum kvs_code code = KVS_OK;
    uint32_t b = 0;
    int64_t new_tok;

    if (!spans.v)
        return KVS_OK;
    if (n < 2)
        return kvs_json_fail(spans, err, KVS_ERR_RANGE,
                             "found %zu spans, want cached ones, and new tokens last", n);
    last = kvs_json_at(spans, n - 1);
    const char *kind = json_string_value(json_object_get(last.v, "kind"));
    if (!kind || strcmp(kind, "new") != 0)
        return kvs_json_want(kvs_json_get(last, "kind"), err, KVS_ERR_RANGE,
                             "\"new\": the last span");
    if ((code = kvs_json_i64(kvs_json_get(last, "tok"), 1, 1 << 20, &new_tok, err)))
        return code;
    file->block = malloc(MOST_BLOCKS);
    if (!file->block)
        return kvs_nomem(err);
    for (size_t i = 0; i + 1 < n && !code; i++)
        code = read_span(kvs_json_at(spans, i), block_tok, file, &b, err);
    file->context_tok = b * (uint32_t)block_tok;
    file->new_tok = (uint32_t)new_tok;
    if (!code && n == 2) { /* of one kind */
        free(file->block);
        file->block = NULL;
    }
    return code;
}

enum kvs_code kvs_val_plan_open(const char *path, const struct kvs_val_options *options,
                                struct kvs_val_file *file, struct kvs_err *err)
{
    int64_t context_tok, new_tok, block_tok = (int64_t)options->block_tok;
    struct kvs_json root, layers;
    enum kvs_code code;

    memset(file, 0, sizeof *file);
    if ((code = kvs_doc_open(path, &file->doc, err)))
        return code;
    root = kvs_doc_root(file->doc);
    if ((code = kvs_json_object(root, err)) ||
        (code = kvs_json_only(root, keys, sizeof keys / sizeof *keys, err)) ||
        (code = kvs_json_i64(kvs_json_get(root, "context_tok"), block_tok, 1 << 24, &context_tok,
                             err)) ||
        (code = kvs_json_i64(kvs_json_get(root, "new_tok"), 1, 1 << 20, &new_tok, err)) ||
        (code = kvs_json_str(kvs_json_get(root, "model"), &file->model, err)))
        return code;
    if (context_tok % block_tok)
        return kvs_json_fail(kvs_json_get(root, "context_tok"), err, KVS_ERR_RANGE,
                             "found %lld, want whole blocks of --block %lld tokens",
                             (long long)context_tok, (long long)block_tok);
    file->context_tok = (uint32_t)context_tok;
    file->new_tok = (uint32_t)new_tok;
    if ((code = read_reuse(root, file, err)) || (code = read_spans(root, block_tok, file, err)))
        return code;
    layers = kvs_json_get(root, "layers");
    if ((code = kvs_json_array(layers, err)))
        return code;
    file->n_layer = (uint32_t)kvs_json_size(layers);
    if (file->n_layer < 1 || file->n_layer > KVS_MAX_LAYER)
        return kvs_json_fail(layers, err, KVS_ERR_RANGE, "found %u layers, want 1 to %d",
                             file->n_layer, KVS_MAX_LAYER);
    for (uint32_t l = 0; l < file->n_layer; l++)
        if ((code = read_layer(kvs_json_at(layers, l), l, block_tok, file, err)))
            return code;
    return KVS_OK;
}

/* A level that is not yet in the list is added to it. */
static int index_of(struct kvs_strs *levels, const char *name)
{
    for (unsigned q = 0; q < levels->n; q++)
        if (strcmp(levels->v[q], name) == 0)
            return (int)q;
    if (levels->n == KVS_MAX_LEVEL)
        return -1;
    levels->v[levels->n] = name;
    return (int)levels->n++;
}

enum kvs_code kvs_val_plan_levels(const struct kvs_val_file *file, struct kvs_strs *levels,
                                  struct kvs_err *err)
{
    levels->n = 0;
    for (uint32_t l = 0; l < file->n_layer; l++)
        if (index_of(levels, file->level[l]) < 0)
            return kvs_fail(err, KVS_ERR_RANGE, "%s: more than %d levels", kvs_doc_file(file->doc),
                            KVS_MAX_LEVEL);
    return KVS_OK;
}

enum kvs_code kvs_val_plan_take(const struct kvs_val_lab *lab, const struct kvs_val_file *file,
                                const struct kvs_val_problem *p,
                                struct kvs_val_predicted *predicted, struct kvs_err *err)
{
    memset(predicted, 0, sizeof *predicted);
    if (file->n_layer != p->problem.n_layer)
        return kvs_fail(err, KVS_ERR_RANGE, "%s: layers: found %u, the model has %u",
                        kvs_doc_file(file->doc), file->n_layer, p->problem.n_layer);
    for (uint32_t l = 0; l < file->n_layer; l++) {
        uint32_t i = 0, cut_tok = file->cut[l] * (uint32_t)lab->options.block_tok;

        while (i < p->problem.n_frac && (kvs_tables_recompute_tok(p->inst, i) != cut_tok ||
                                         kvs_tables_repair_tok(p->inst, i) != file->repair_tok[l]))
            i++;
        if (i == p->problem.n_frac)
            return kvs_fail(err, KVS_ERR_RANGE,
                            "%s: layers[%u]: recompute_tok %u with repair_tok %u is no step of %u "
                            "fractions; is the plan's block %llu tokens too?",
                            kvs_doc_file(file->doc), l, cut_tok, file->repair_tok[l],
                            p->problem.n_frac, (unsigned long long)lab->options.block_tok);
        predicted->plan.frac_i[l] = (uint8_t)i;
        for (uint32_t q = 0; q < p->problem.n_level; q++)
            if (strcmp(lab->level[p->level_i[q]], file->level[l]) == 0)
                predicted->plan.level[l] = (uint8_t)q;
    }
    if (!kvs_val_evaluate(p, predicted))
        return kvs_fail(err, KVS_ERR_RANGE, "%s: no staircase", kvs_doc_file(file->doc));
    return KVS_OK;
}
