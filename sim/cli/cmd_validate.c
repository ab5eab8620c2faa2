/*
 * cmd_validate.c - kvsim validate: plans run on a device, each beside its prediction.
 */
#include "base/units.h"
#include "cmd.h"
#include "signals.h"
#include "validate.h"
#include "validate_trace.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const reuse_names[] = {"prefix", "content", "both", NULL};
enum { REUSE_BOTH = KVS_VAL_N_HELD };

#define AT(field) offsetof(struct kvs_val_options, field)
static const struct kvs_opt table[] = {
    {"weights", KVS_OPT_STR, AT(weights), NULL, 0, 0, "the model: GGUF, safetensors or llama2.c",
     NULL, true, 'w'},
    {"model", KVS_OPT_STR, AT(model), NULL, 0, 0,
     "its shape in configs/models, or a file (the plan's; smollm2-135m)", NULL, false, 'm'},
    {"hardware", KVS_OPT_STR, AT(hw), NULL, 0, 0, "profile of this machine, by kvprobe", NULL, true,
     'H'},
    {"codec", KVS_OPT_STR, AT(codec), "cpu-avx512", 0, 0, "codec of configs/codec, or a file", NULL,
     false, 0},
    {"quality", KVS_OPT_STR, AT(quality), "smollm2-135m", 0, 0,
     "quality table of configs/quality, or a file", NULL, false, 0},
    {"device", KVS_OPT_STR, AT(device), "cpu", 0, 0, "what computes: see kvsim devices", NULL,
     false, 'd'},
    {"tokens", KVS_OPT_STR, AT(tokens), NULL, 0, 0,
     "file of token numbers, the prompt (made-up ones)", NULL, false, 0},
    {"seed", KVS_OPT_U64, AT(seed), "1", 0, 0, "of made-up tokens", NULL, false, 0},
    {"store", KVS_OPT_STR, AT(store), NULL, 0, 0,
     "folder, or redis:HOST:PORT, for the blocks (a temporary folder)", NULL, false, 0},
    {"block", KVS_OPT_TOK, AT(block_tok), "64", 1, 65536, "tokens of a block", NULL, false, 0},
    {"levels", KVS_OPT_LIST, AT(levels), NULL, 0, 0,
     "with --matrix: levels that are stored, hidden among them: states (raw16, e4, e2, hidden)",
     NULL, false, 0},
    {"window", KVS_OPT_BYTES, AT(window_bytes), "1GiB", 4096, 1e15,
     "pinned memory that loads may take", NULL, false, 0},
    {"repeats", KVS_OPT_U64, AT(repeats), "3", 1, 7,
     "quiet runs wanted of each cell; two that agree within 2 % are enough", NULL, false, 0},
    {"bandwidth", KVS_OPT_RATE, AT(bandwidth), "0", 0, 1e15,
     "of a plan file's path, kept by a token bucket; 0: as fast as the store goes", NULL, false, 0},
    {"latency", KVS_OPT_TIME, AT(latency_s), "0", 0, 60, "of a plan file's path", NULL, false, 0},
    {"matrix", KVS_OPT_FLAG, AT(matrix), NULL, 0, 0,
     "contexts, new tokens, rates, levels and policies, instead of a plan", NULL, false, 0},
    {"reuse", KVS_OPT_ENUM, AT(reuse), "both", 0, 0,
     "with --matrix: prefix; content, each block computed by itself and moved; both", reuse_names,
     false, 0},
    {"quick", KVS_OPT_FLAG, AT(quick), NULL, 0, 0, "with --matrix: a few cells of it", NULL, false,
     0},
    {"journal", KVS_OPT_STR, AT(journal), NULL, 0, 0,
     "with --matrix: finished cells are kept in this file; noisy ones are measured again", NULL,
     false, 0},
    {"time", KVS_OPT_TIME, AT(seconds), "1d", 0, 1e9,
     "with --matrix: begin no cell after this time; a journal goes on", NULL, false, 0},
    {"json", KVS_OPT_FLAG, AT(json), NULL, 0, 0, "print JSON (configs/schema/validate.schema.json)",
     NULL, false, 0},
    {"out", KVS_OPT_STR, AT(out), NULL, 0, 0, "folder for JSON, CSV, timelines and figures", NULL,
     false, 'o'},
    {"overwrite", KVS_OPT_FLAG, AT(overwrite), NULL, 0, 0, "replace the folder", NULL, false, 0},
};
#define N_OPT (unsigned)(sizeof table / sizeof *table)

static const char *const policies[] = {"recompute", "load", "half",      "optimal",
                                       "hcache",    "epic", "cacheblend"};
enum { N_POLICY = sizeof policies / sizeof *policies };

/* --- the matrix ---------------------------------------------------------------------------------
 */

static const struct {
    uint32_t context_tok, new_tok;
} prompts[] = {{256, 16}, {512, 128}, {1024, 32}};
static const double rates[] = {.25, .5, 1, 2, 4}, few_rates[] = {.5, 1, 2};
/* a far store: its latency makes the crossover of load and recompute */
static const double far_latency_s = .6, far_rate = 2;
static const double budgets_nats[] = {.003, .03};
enum { N_PROMPT = 3, N_RATE = 5, N_FEW_RATE = 3, N_BUDGET = 2, MAX_CASE = 256 };

struct matrix {
    struct kvs_val_case of[MAX_CASE];
    uint32_t n, max_context_tok, max_new_tok;
};

static void add_case(struct matrix *m, const struct kvs_val_case *c)
{
    assert(m->n < MAX_CASE);
    m->of[m->n++] = *c;
    m->max_context_tok = c->context_tok > m->max_context_tok ? c->context_tok : m->max_context_tok;
    m->max_new_tok = c->new_tok > m->max_new_tok ? c->new_tok : m->max_new_tok;
}

static bool is_hidden(const char *level)
{
    return level && strcmp(level, KVS_HIDDEN) == 0;
}

/* One prompt's prefix, level by level; hidden states of one prompt, as they are more bytes here. */
static void add_prefix(const struct kvs_val_options *o, struct kvs_val_case c, bool hidden,
                       struct matrix *m)
{
    for (unsigned q = 0; q < o->levels.n; q++)
        for (size_t r = 0; r < N_RATE; r++) {
            c.level = o->levels.v[q];
            c.rate = rates[r];
            if (hidden || !is_hidden(c.level))
                add_case(m, &c);
        }
    if (o->quick)
        return;
    c.level = o->levels.v[0];
    c.rate = 0; /* as fast as the disk goes */
    add_case(m, &c);
}

/* What one prompt is for: levels mixed by layer, moved text. */
static void add_others(const struct kvs_val_options *o, struct kvs_val_case c, struct matrix *m)
{
    for (size_t b = 0; b < N_BUDGET && !o->quick && o->reuse != KVS_VAL_CONTENT; b++)
        for (size_t r = 0; r < N_FEW_RATE; r++) {
            c.level = NULL;
            c.budget_nats = budgets_nats[b];
            c.rate = few_rates[r];
            add_case(m, &c);
        }
    c.budget_nats = 0;
    c.reuse = KVS_VAL_CONTENT;
    for (unsigned q = 0; q < o->levels.n && q < 2 && o->reuse != KVS_VAL_PREFIX; q++)
        for (size_t r = 0; r < N_FEW_RATE; r++) {
            c.level = o->levels.v[q];
            c.rate = few_rates[r];
            add_case(m, &c);
        }
}

static void make_matrix(const struct kvs_val_options *o, struct matrix *m)
{
    uint32_t n_prompt = o->quick ? 1 : N_PROMPT;

    memset(m, 0, sizeof *m);
    for (uint32_t i = 0; i < n_prompt; i++) {
        const struct kvs_val_case c = {.context_tok = prompts[i].context_tok,
                                       .new_tok = prompts[i].new_tok};

        if (o->reuse != KVS_VAL_CONTENT)
            add_prefix(o, c, i == n_prompt / 2, m);
        if (i == n_prompt / 2)
            add_others(o, c, m);
    }
    for (uint32_t context = 256; !o->quick && o->reuse != KVS_VAL_CONTENT && context <= 1024;
         context += 128) {
        const struct kvs_val_case c = {.context_tok = context,
                                       .new_tok = 32,
                                       .level = o->levels.v[0],
                                       .rate = far_rate,
                                       .latency_s = far_latency_s};
        add_case(m, &c);
    }
}

/* true if a case is run by a policy. */
static bool applies(const struct kvs_val_case *c, const char *policy)
{
    static const char *const far[] = {"recompute", "load", NULL},
                             *const mixed[] = {"optimal", NULL},
                             *const content[] = {"recompute", "load", "epic", "cacheblend", NULL},
                             *const hidden[] = {"recompute", "load",   "half",
                                                "optimal",   "hcache", NULL},
                             *const others[] = {"recompute", "load", "half", "optimal", NULL};
    const char *const *of = c->latency_s > 0              ? far
                            : !c->level                   ? mixed
                            : c->reuse == KVS_VAL_CONTENT ? content
                            : is_hidden(c->level)         ? hidden
                                                          : others;

    while (*of && strcmp(*of, policy) != 0)
        of++;
    return *of != NULL;
}

/* --- the journal --------------------------------------------------------------------------------
 */

/* The place of a cell among others; json_array_size(cells): it is not there. */
static size_t place_of(const json_t *cells, const char *id)
{
    size_t i = 0;

    for (; i < json_array_size(cells); i++) {
        const char *have = json_string_value(json_object_get(json_array_get(cells, i), "id"));

        if (have && strcmp(have, id) == 0)
            break;
    }
    return i;
}

/* Takes a cell, in the place of an earlier one of its id. */
static bool put_cell(json_t *cells, json_t *cell)
{
    const char *id = json_string_value(json_object_get(cell, "id"));
    size_t i = id ? place_of(cells, id) : json_array_size(cells);

    return i < json_array_size(cells) ? json_array_set_new(cells, i, cell) == 0
                                      : json_array_append_new(cells, cell) == 0;
}

/* A cell's last line counts: noisy ones are measured again. */
static enum kvs_code read_journal(const char *path, json_t *cells, struct kvs_err *err)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;

    if (!file && errno == ENOENT)
        return KVS_OK;
    if (!file)
        return kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno));
    for (unsigned row = 1; getline(&line, &room, file) >= 0 && !err->code; row++) {
        json_error_t why;
        json_t *cell = json_loads(line, 0, &why);

        if (!cell && strchr(line, '\n'))
            kvs_fail(err, KVS_ERR_PARSE, "%s:%u: %s; want a cell, as kvsim validate wrote it", path,
                     row, why.text);
        else if (cell && !put_cell(cells, cell))
            kvs_nomem(err);
    }
    free(line);
    (void)fclose(file); /* was only read */
    return err->code;
}

/* A line of the journal, whole on disk before the next cell begins. */
static enum kvs_code keep(const char *path, const json_t *cell, struct kvs_err *err)
{
    FILE *file = path ? fopen(path, "a") : NULL;
    int bad = 0;

    if (!path)
        return KVS_OK;
    if (!file)
        return kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno));
    bad |= json_dumpf(cell, file, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0;
    bad |= fputc('\n', file) == EOF;
    bad |= fclose(file) != 0;
    return bad ? kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno)) : KVS_OK;
}

/* --- running ------------------------------------------------------------------------------------
 */

static double now_s(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

/* Cells of a case that are not there yet; again: those that are, and are noisy. */
static enum kvs_code run_case(struct kvs_val_lab *lab, struct kvs_val_case *c, json_t *cells,
                              bool again, double end_s, struct kvs_err *err)
{
    int level = c->level ? kvs_val_level(lab, c->level) : 0;
    struct kvs_val_problem problem;
    enum kvs_code code;

    c->bytes_per_s = c->rate * kvs_val_even_rate(lab, c->reuse, 512, (uint32_t)level);
    code = kvs_val_problem_begin(lab, c, &problem, err);
    for (int i = 0; i < N_POLICY && !code; i++) {
        struct kvs_val_predicted predicted;
        struct kvs_val_case as = *c;
        json_t *cell;
        char id[160];

        if (i == 0) { /* loads nothing: the same for all paths */
            as.rate = as.bytes_per_s = as.latency_s = 0;
            as.level = "any";
            as.reuse = KVS_VAL_PREFIX;
        }
        kvs_val_id(&as, policies[i], id, sizeof id);
        const json_t *have = json_array_get(cells, place_of(cells, id));
        if (!applies(c, policies[i]) || now_s() > end_s ||
            (again ? !json_is_true(json_object_get(have, "noisy")) : have != NULL))
            continue;
        code = kvs_val_plan(lab, &problem, policies[i], &predicted, err);
        if (!code)
            code = kvs_val_cell(lab, &as, &problem, policies[i], &predicted, &cell, err);
        if (!code)
            code = put_cell(cells, cell) ? keep(lab->options.journal, cell, err) : kvs_nomem(err);
        if (!code && !lab->options.json)
            fprintf(stderr, "%s: predicted %.3f s, measured %.3f s%s\n", id,
                    json_number_value(json_object_get(cell, "predicted_ttft_s")),
                    json_number_value(json_object_get(cell, "measured_ttft_s")),
                    json_is_true(json_object_get(cell, "noisy")) ? " (noisy)" : "");
    }
    kvs_val_problem_end(&problem);
    return code;
}

static enum kvs_code run_matrix(const struct kvs_val_options *o, json_t *cells, struct kvs_err *err)
{
    struct matrix *m = malloc(sizeof *m);
    struct kvs_val_lab *lab = NULL;
    double end_s = now_s() + o->seconds;
    enum kvs_code code = m ? KVS_OK : kvs_nomem(err);

    if (m)
        make_matrix(o, m);
    if (!code && o->journal)
        code = read_journal(o->journal, cells, err);
    assert(code || m);
    if (!code)
        code = kvs_val_lab_open(o, m->max_context_tok, m->max_new_tok, &lab, err);
    for (uint32_t i = 0; !code && i < 2 * m->n; i++) /* then once more what was noisy */
        code = run_case(lab, &m->of[i % m->n], cells, i >= m->n, end_s, err);
    kvs_val_lab_close(lab);
    free(m);
    return code;
}

#define LONGEST_NS 3600000000000 /* a prompt that nobody waits for: a slip in --bandwidth */

/* The plan of a file, its cell. */
static enum kvs_code run_plan(struct kvs_val_options *o, const char *path, json_t *cells,
                              struct kvs_err *err)
{
    struct kvs_val_file *file = calloc(1, sizeof *file);
    struct kvs_val_lab *lab = NULL;
    struct kvs_val_problem problem = {0};
    struct kvs_val_predicted *predicted = calloc(1, sizeof *predicted);
    json_t *cell = NULL;
    enum kvs_code code = file && predicted ? KVS_OK : kvs_nomem(err);

    if (!code)
        code = kvs_val_plan_open(path, o, file, err);
    if (!code)
        code = kvs_val_plan_levels(file, &o->levels, err);
    assert(code || file);
    if (!code && !o->model)
        o->model = file->model;
    if (!code)
        o->reuse = file->block ? REUSE_BOTH : (int)file->reuse;
    if (!code)
        code = kvs_val_lab_open(o, file->context_tok, file->new_tok, &lab, err);
    if (!code) {
        struct kvs_val_case c = {.context_tok = file->context_tok,
                                 .new_tok = file->new_tok,
                                 .reuse = file->reuse,
                                 .block = file->block,
                                 .level = o->levels.n == 1 ? o->levels.v[0] : NULL,
                                 .bytes_per_s = o->bandwidth,
                                 .latency_s = o->latency_s};
        code = kvs_val_problem_begin(lab, &c, &problem, err);
        if (!code)
            code = kvs_val_plan_take(lab, file, &problem, predicted, err);
        assert(code || predicted);
        if (!code && predicted->eval.end_ns > LONGEST_NS)
            code = kvs_fail(err, KVS_ERR_RANGE,
                            "%s: predicted to take %.3g s on a path of --bandwidth %.3g B/s; want "
                            "an hour at most",
                            path, (double)predicted->eval.end_ns * 1e-9, o->bandwidth);
        if (!code)
            code = kvs_val_cell(lab, &c, &problem, "plan", predicted, &cell, err);
        if (!code && json_array_append_new(cells, cell))
            code = kvs_nomem(err);
        kvs_val_problem_end(&problem);
    }
    kvs_val_lab_close(lab);
    kvs_doc_free(file ? file->doc : NULL);
    free(file ? file->block : NULL);
    free(predicted);
    free(file);
    return code;
}

/* Options of a matrix mean nothing to a plan, and the other way round. */
static enum kvs_code check_meant(bool matrix, int argc, char *const *argv, struct kvs_err *err)
{
    static const char *const of_matrix[] = {"levels", "reuse", "quick", "journal", "time", NULL},
                             *const of_plan[] = {"bandwidth", "latency", NULL};

    return kvs_opt_refuse(table, N_OPT, argc, argv, matrix ? of_plan : of_matrix,
                          matrix ? "is of a plan's path; cells of a matrix have their own"
                                 : "is of a matrix; a plan file says itself what it loads",
                          err);
}

static enum kvs_code run(int argc, char *const *argv, struct kvs_err *err)
{
    struct kvs_val_options options = {0};
    struct kvs_strs files = {0};
    json_t *cells, *summary = NULL, *report = NULL;
    bool help;

    kvs_catch_signals(); /* the blocks' folder must go */
    if (argc > 1 && strcmp(argv[1], "trace") == 0)
        return kvs_val_trace(argc - 1, argv + 1, err);
    enum kvs_code code = kvs_opt_argv(table, N_OPT, argc, argv, &options, &files, &help, err);

    if (code)
        return code;
    if (help) {
        kvs_opt_help(
            stdout,
            "kvsim validate [PLAN.json | --matrix] --weights W --hardware H [options]\n"
            "       kvsim validate trace WORKLOAD.json --weights W [options]",
            "Runs a plan, as kvsim plan --json prints it, or a matrix of them, on a device: "
            "blocks of a prompt are\ncomputed and stored, then loaded and computed again as "
            "planned. Prints predicted beside measured.",
            table, N_OPT);
        return KVS_OK;
    }
    if (files.n != (options.matrix ? 0 : 1))
        return kvs_fail(
            err, KVS_ERR_ARG,
            "found %u plan files, want one, as kvsim plan --json prints it, or --matrix", files.n);
    if (check_meant(options.matrix, argc, argv, err))
        return err->code;
    if (options.matrix && !options.model)
        options.model = "smollm2-135m";
    if (options.levels.n == 0)
        options.levels = (struct kvs_strs){4, {"raw16", "e4", "e2", KVS_HIDDEN}};
    if (options.quick && options.reuse == REUSE_BOTH)
        options.reuse = KVS_VAL_PREFIX;
    cells = json_array();
    if (!cells)
        return kvs_nomem(err);
    code = options.matrix ? run_matrix(&options, cells, err)
                          : run_plan(&options, files.v[0], cells, err);
    if (!code && (!(summary = kvs_val_summary(cells)) ||
                  !(report = json_pack("{sO sO}", "cells", cells, "summary", summary))))
        code = kvs_nomem(err);
    if (!code && options.out)
        code = kvs_val_write(&options, report, err);
    if (!code && options.json) {
        (void)json_dumpf(report, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)); /* main checks */
        putchar('\n');
    } else if (!code) {
        kvs_val_show(cells, summary);
    }
    json_decref(report);
    json_decref(summary);
    json_decref(cells);
    return code;
}

const struct kvs_cmd kvs_cmd_validate = {
    .name = "validate",
    .help = "run plans on a device and compare with what was predicted",
    .run = run,
};
