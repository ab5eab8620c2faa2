#include "published.h"

#include "base/arena.h"
#include "base/data.h"
#include "base/hist.h"
#include "base/units.h"
#include "csv.h"
#include "layout.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define N(table) (sizeof(table) / sizeof *(table))
#define MAX_PROFILE 64
#define MAX_MODEL 64

const char *kvs_pub_status_name(enum kvs_pub_status status)
{
    static const char *const names[] = {"passed", "failed", "skipped", "fitted"};
    return names[status];
}

/* --- the table ------------------------------------------------------------------------------- */

enum column_type { TEXT, NUMBER };

#define COL(name, type)                                                                            \
    {                                                                                              \
#name, type, offsetof(struct kvs_pub_row, name)                                            \
    }
static const struct {
    const char *name;
    enum column_type type;
    size_t offset;
} columns[] = {
    COL(id, TEXT),
    COL(source, TEXT),
    COL(mark, TEXT),
    COL(model, TEXT),
    COL(gpu, TEXT),
    COL(gpus, NUMBER),
    COL(context_tok, NUMBER),
    COL(new_tok, NUMBER),
    COL(link, TEXT),
    COL(link_bytes_per_s, NUMBER),
    COL(quantity, TEXT),
    COL(value, NUMBER),
    COL(unit, TEXT),
    COL(within, NUMBER),
    COL(across, NUMBER),
};

static enum kvs_code split(const struct kvs_lines *lines, char *line, char *field[N(columns)],
                           struct kvs_err *err)
{
    unsigned bad;
    unsigned n = kvs_csv_split(line, field, N(columns), &bad);
    if (n == 0)
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "%s: the quoted field has no proper end",
                              columns[bad - 1].name);
    if (n != N(columns))
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "found %s%u columns, want %zu",
                              n > N(columns) ? "more than " : "",
                              n > N(columns) ? (unsigned)N(columns) : n, N(columns));
    return KVS_OK;
}

static enum kvs_code read_number(const struct kvs_lines *lines, const char *column,
                                 const char *text, double *value, struct kvs_err *err)
{
    char *end;
    *value = (double)NAN;
    if (!*text)
        return KVS_OK;
    *value = strtod(text, &end);
    if (*end || !isfinite(*value))
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "%s: \"%.40s\" is no number", column,
                              text);
    return KVS_OK;
}

static enum kvs_code read_row(const struct kvs_lines *lines, struct kvs_arena *arena, char *line,
                              struct kvs_pub_row *row, struct kvs_err *err)
{
    char *field[N(columns)];
    enum kvs_code code = split(lines, line, field, err);
    for (size_t i = 0; i < N(columns) && !code; i++) {
        void *at = (char *)row + columns[i].offset;
        if (columns[i].type == NUMBER) {
            code = read_number(lines, columns[i].name, field[i], at, err);
            continue;
        }
        const char *copy = kvs_arena_str(arena, field[i]);
        if (!copy)
            return kvs_fail(err, KVS_ERR_NOMEM, "no memory for published rows");
        *(const char **)at = copy;
    }
    if (code)
        return code;
    if (!*row->id)
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "id: is empty");
    if (!*row->quantity)
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "quantity: is empty");
    if (isnan(row->value))
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "value: is empty; want a number");
    if (!(row->within >= 0))
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "within: want a number of 0 or more");
    if (!(row->across >= 0))
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "across: want a number of 0 or more");
    const double counts[] = {row->gpus, row->context_tok, row->new_tok, row->link_bytes_per_s};
    for (size_t i = 0; i < N(counts); i++)
        if (counts[i] < 0)
            return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "%s: %g is negative",
                                  columns[i < 3 ? 5 + i : 9].name, counts[i]);
    return KVS_OK;
}

static enum kvs_code read_header(struct kvs_lines *lines, struct kvs_err *err)
{
    char *line, *field[N(columns)];
    size_t n_byte;
    enum kvs_code code = kvs_lines_next(lines, &line, &n_byte, err);
    if (code)
        return code;
    if (!line)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: is empty; want a header line",
                        kvs_lines_file(lines));
    if ((code = split(lines, line, field, err)))
        return code;
    for (size_t i = 0; i < N(columns); i++)
        if (strcmp(field[i], columns[i].name) != 0)
            return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "column %zu is \"%.40s\", want \"%s\"",
                                  i + 1, field[i], columns[i].name);
    return KVS_OK;
}

static enum kvs_code read_rows(struct kvs_lines *lines, struct kvs_pub *pub, struct kvs_err *err)
{
    size_t room = 0, n_byte;
    char *line;
    enum kvs_code code = read_header(lines, err);
    while (!code && !(code = kvs_lines_next(lines, &line, &n_byte, err)) && line) {
        if (!*line)
            continue;
        if (pub->n_row == room) {
            room = room ? 2 * room : 128;
            struct kvs_pub_row *more = realloc(pub->row, room * sizeof *more);
            if (!more)
                return kvs_fail(err, KVS_ERR_NOMEM, "no memory for published rows");
            pub->row = more;
        }
        pub->row[pub->n_row] = (struct kvs_pub_row){0};
        code = read_row(lines, pub->arena, line, &pub->row[pub->n_row], err);
        if (!code)
            pub->n_row++;
    }
    return code;
}

/* --- shapes and profiles that rows name --------------------------------------------------------
 */

struct library {
    unsigned n_hw, n_model;
    struct kvs_hw *hw[MAX_PROFILE];
    struct kvs_model *model[MAX_MODEL];
};

static void library_free(struct library *lib)
{
    for (unsigned i = 0; i < lib->n_hw; i++)
        kvs_hw_free(lib->hw[i]);
    for (unsigned i = 0; i < lib->n_model; i++)
        kvs_model_free(lib->model[i]);
}

static enum kvs_code fill_hw(struct library *lib, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    char **names = kvs_data_names("configs/hardware");
    if (!names)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for the names of profiles");
    for (unsigned i = 0; names[i] && lib->n_hw < MAX_PROFILE && !code; i++) {
        code = kvs_hw_open(names[i], &lib->hw[lib->n_hw], err);
        lib->n_hw += !code;
    }
    kvs_data_names_free(names);
    return code;
}

static enum kvs_code fill_models(struct library *lib, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    char **names = kvs_data_names("configs/models");
    if (!names)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for the names of shapes");
    for (unsigned i = 0; names[i] && lib->n_model < MAX_MODEL && !code; i++) {
        code = kvs_model_open(names[i], &lib->model[lib->n_model], err);
        lib->n_model += !code;
    }
    kvs_data_names_free(names);
    return code;
}

/* Opens all that come with kvsim. */
static enum kvs_code library_fill(struct library *lib, struct kvs_err *err)
{
    enum kvs_code code;
    if ((code = fill_hw(lib, err)) || (code = fill_models(lib, err)))
        return code;
    if (!lib->n_hw || !lib->n_model)
        return kvs_fail(err, KVS_ERR_ABSENT,
                        "no profiles or no model shapes were found: configs/ "
                        "is not where kvsim looks");
    return KVS_OK;
}

static const struct kvs_hw *find_hw(const struct library *lib, const char *gpu)
{
    for (unsigned i = 0; i < lib->n_hw; i++) {
        const struct kvs_hw *hw = lib->hw[i];
        if (strcasecmp(hw->name, gpu) == 0)
            return hw;
        for (unsigned k = 0; k < hw->aliases.n; k++)
            if (strcasecmp(hw->aliases.v[k], gpu) == 0)
                return hw;
    }
    return NULL;
}

static const struct kvs_model *find_model(const struct library *lib, const char *name)
{
    for (unsigned i = 0; i < lib->n_model; i++)
        if (strcasecmp(lib->model[i]->name, name) == 0)
            return lib->model[i];
    return NULL;
}

/* --- one row's prediction ----------------------------------------------------------------------
 */

/* What a prediction is made from. */
struct scene {
    const struct kvs_pub_row *row;
    const struct kvs_hw *hw;
    const struct kvs_model *model;
    struct kvs_cost *cost;                /* NULL for quantities without a model */
    const struct kvs_hw_serving *serving; /* of the row's source; NULL: none */
    uint32_t tp;
};

/* Each sets *value; false: why holds the reason. */
typedef bool predict_fn(const struct scene *scene, double *value, char *why, size_t n_why);

static double tokens(double cell)
{
    return isnan(cell) ? 0 : cell;
}

/* The serving system whose publications a row's source begins with; NULL: the operators alone. */
static const struct kvs_hw_serving *serving_of(const struct kvs_hw *hw, const char *source)
{
    for (uint32_t i = 0; i < hw->n_serving; i++)
        for (unsigned k = 0; k < hw->serving[i].of.n; k++)
            if (strncmp(source, hw->serving[i].of.v[k], strlen(hw->serving[i].of.v[k])) == 0)
                return &hw->serving[i];
    return NULL;
}

/* Seconds that the serving system adds to a prompt of n_tok tokens of which n_new are computed. */
static double serving_s(const struct scene *s, double n_tok, double n_new)
{
    const struct kvs_hw_serving *v = s->serving;
    if (!v)
        return 0;
    return v->request_s.value + v->tok_s.value * n_tok +
           v->step_s.value * ceil(n_new / (double)v->chunk_tok);
}

static double chunk_tok(const struct scene *s)
{
    return s->serving ? (double)s->serving->chunk_tok : 0;
}

/* TTFT when all of n_tok tokens are computed. */
static double recompute_s(const struct scene *s, double n_tok)
{
    return serving_s(s, n_tok, n_tok) + kvs_cost_prefill_s(s->cost, 0, n_tok, chunk_tok(s));
}

/* TTFT when all but n_new tokens are there already; load_s before they can be computed. */
static double hit_s(const struct scene *s, double n_tok, double n_new, double load_s)
{
    return serving_s(s, n_tok, n_new) + load_s +
           kvs_cost_prefill_s(s->cost, n_tok - n_new, n_new, chunk_tok(s));
}

/* "KV at 8 bit" in the mark: how the stored KV compares with the model's own. */
static double kv_scale(const struct scene *s)
{
    const char *at = strstr(s->row->mark, "KV at ");
    if (!at)
        return 1;
    double bits = strtod(at + strlen("KV at "), NULL);
    return bits > 0 ? bits / s->model->kv_bits : 1;
}

/* "2 MiB copies", "64KiB copies" in the link's description; 0: not said. */
static double copy_bytes(const char *link)
{
    for (const char *at = link; *at; at++) {
        char *end;
        if (!isdigit((unsigned char)*at) || (at > link && isalnum((unsigned char)at[-1])))
            continue;
        double n = strtod(at, &end);
        while (*end == ' ')
            end++;
        if (strncmp(end, "KiB cop", 7) == 0)
            return n * 1024;
        if (strncmp(end, "MiB cop", 7) == 0)
            return n * 1024 * 1024;
    }
    return 0;
}

static bool has_word(const char *text, const char *word)
{
    for (; *text; text++)
        if (strncasecmp(text, word, strlen(word)) == 0)
            return true;
    return false;
}

/* How published tables describe a path, first match wins; NULL: the KV is in HBM already. */
static const struct {
    const char *word, *tier;
} link_words[] = {
    {"hbm", NULL},      {"dram", "dram"},      {"ram", "dram"},        {"pcie", "dram"},
    {"nvme", "nvme"},   {"ssd", "nvme"},       {"connectx", "remote"}, {"rdma", "remote"},
    {"roce", "remote"}, {"storage", "remote"}, {"bps", "remote"},
};

/*
 * Every rank's share over every link of a route, which pipelines: the slowest link and all
 * latencies. Where the size of a copy is not stated it is that of LMCache's chunks.
 */
static double route_s(const struct scene *s, const struct kvs_hw_tier *tier, double n_bytes)
{
    double one = copy_bytes(s->row->link), slowest = 0, latency = 0;
    double share = kvs_model_kv_share(s->model, s->tp);
    if (!(one > 0))
        one = kvs_layout_bulk(kvs_layout_find("lmcache-256"), s->model, 256, 0, share).piece_bytes;
    for (uint32_t i = 0; i < tier->n_hop; i++) {
        const struct kvs_hw_link *link = &s->hw->link[tier->hop[i]];
        double bytes = n_bytes * share * (link->scope == KVS_SCOPE_GPU ? 1 : s->tp);
        slowest = fmax(slowest, kvs_link_s(link, false, bytes, bytes / one));
        latency += link->latency_s.value;
    }
    return slowest + latency;
}

/* Seconds until the KV of n_tok tokens has come by the row's link: at the delivered rate where one
 * is stated, else over the profile's route. */
static bool load_s(const struct scene *s, double n_tok, double *value, char *why, size_t n_why)
{
    const struct kvs_pub_row *row = s->row;
    double n_bytes = kvs_model_kv_needed_bytes(s->model, n_tok) * kv_scale(s);
    *value = 0;
    if (row->link_bytes_per_s > 0) {
        *value = n_bytes / row->link_bytes_per_s;
        return true;
    }
    for (size_t i = 0; i < N(link_words); i++) {
        if (!has_word(row->link, link_words[i].word))
            continue;
        if (!link_words[i].tier)
            return true;
        const struct kvs_hw_tier *tier = kvs_hw_tier(s->hw, link_words[i].tier);
        if (!tier) {
            snprintf(why, n_why, "%s has no tier \"%s\"", s->hw->name, link_words[i].tier);
            return false;
        }
        *value = route_s(s, tier, n_bytes);
        return true;
    }
    snprintf(why, n_why, "link \"%.60s\" has no rate and no word that names a tier", row->link);
    return false;
}

/* New tokens of a hit: at least the prompt's last one, whose logits are wanted. */
static double new_tok(const struct scene *s)
{
    return fmax(1, tokens(s->row->new_tok));
}

/* The whole prompt: context and new tokens; a hit's one new token is the context's last. */
static double prompt_tok(const struct scene *s)
{
    return tokens(s->row->context_tok) + tokens(s->row->new_tok);
}

static bool ttft_recompute(const struct scene *s, double *value, char *why, size_t n_why)
{
    (void)why, (void)n_why;
    *value = recompute_s(s, prompt_tok(s));
    return true;
}

static bool ttft_load(const struct scene *s, double *value, char *why, size_t n_why)
{
    double load;
    if (!load_s(s, tokens(s->row->context_tok), &load, why, n_why))
        return false;
    *value = hit_s(s, prompt_tok(s), new_tok(s), load);
    return true;
}

/*
 * Cake: the GPU computes from the front in chunks, the link loads from the back, until they meet:
 * the least over whole chunks computed of the longer of the two.
 */
static bool ttft_hybrid(const struct scene *s, double *value, char *why, size_t n_why)
{
    double n_tok = prompt_tok(s), chunk = fmax(1, chunk_tok(s)), load = 0;
    uint64_t n_chunk = (uint64_t)ceil(n_tok / chunk);
    *value = HUGE_VAL;
    for (uint64_t c = 0; c <= n_chunk; c++) {
        double front = fmin((double)c * chunk, n_tok);
        if (!load_s(s, n_tok - front, &load, why, n_why))
            return false;
        if (front >= n_tok)
            load = 0;
        double compute = front > 0 ? recompute_s(s, front) : hit_s(s, n_tok, 1, load);
        *value = fmin(*value, fmax(compute, load));
    }
    return true;
}

static bool speedup(const struct scene *s, double *value, char *why, size_t n_why)
{
    if (!ttft_load(s, value, why, n_why))
        return false;
    *value = recompute_s(s, prompt_tok(s)) / *value;
    return true;
}

static bool transfer(const struct scene *s, double *value, char *why, size_t n_why)
{
    return load_s(s, prompt_tok(s), value, why, n_why);
}

static bool recompute_plus_transfer(const struct scene *s, double *value, char *why, size_t n_why)
{
    if (!load_s(s, prompt_tok(s), value, why, n_why))
        return false;
    *value += recompute_s(s, prompt_tok(s));
    return true;
}

static bool linear_per_layer(const struct scene *s, double *value, char *why, size_t n_why)
{
    (void)why, (void)n_why;
    *value = kvs_cost_linear_s(s->cost, 0, tokens(s->row->new_tok));
    return true;
}

static bool attention_per_layer(const struct scene *s, double *value, char *why, size_t n_why)
{
    struct kvs_seg seg = {1, tokens(s->row->new_tok), tokens(s->row->context_tok)};
    (void)why, (void)n_why;
    *value = kvs_cost_attention_s(s->cost, 0, &seg, 1);
    return true;
}

/*
 * The rate below which loading the context is slower than computing it (py-kvcache study):
 * bytes / (prefill - prefill with everything at hand but the last token).
 */
static bool break_even(const struct scene *s, double *value, char *why, size_t n_why)
{
    double n_tok = prompt_tok(s);
    double gain = recompute_s(s, n_tok) - hit_s(s, n_tok, 1, 0);
    if (gain <= 0) {
        snprintf(why, n_why, "computing %.0f tokens is no slower than a hit: no rate breaks even",
                 n_tok);
        return false;
    }
    *value = kvs_model_kv_needed_bytes(s->model, n_tok) / gain;
    return true;
}

/* CacheBlend: 15 % of the tokens, spread evenly, so that each sees half of the context on average.
 */
static bool recompute_15pct(const struct scene *s, double *value, char *why, size_t n_why)
{
    double n_tok = prompt_tok(s), some = 0.15 * n_tok;
    struct kvs_seg seg = {1, some, (n_tok - some) / 2};
    (void)why, (void)n_why;
    *value = kvs_cost_layer_s(s->cost, 0, &seg, 1);
    return true;
}

static bool load_per_layer(const struct scene *s, double *value, char *why, size_t n_why)
{
    if (!load_s(s, prompt_tok(s), value, why, n_why))
        return false;
    *value /= s->model->n_layer;
    return true;
}

static bool kv_bytes(const struct scene *s, double *value, char *why, size_t n_why)
{
    uint64_t n_bytes;
    struct kvs_err err = {0};
    if (kvs_model_kv_bytes(s->model, (uint64_t)fmax(1, prompt_tok(s)), &n_bytes, &err)) {
        snprintf(why, n_why, "%.*s", (int)n_why - 1, err.msg);
        return false;
    }
    *value = (double)n_bytes;
    return true;
}

static bool peak_flop(const struct scene *s, double *value, char *why, size_t n_why)
{
    if (!s->hw->gpu || !s->hw->gpu->peak_flop_per_s.known) {
        snprintf(why, n_why, "%s: gpu.peak_flop_per_s is not known", s->hw->name);
        return false;
    }
    *value = s->hw->gpu->peak_flop_per_s.value;
    return true;
}

static bool delivered(const struct scene *s, double *value, char *why, size_t n_why)
{
    double one = copy_bytes(s->row->link);
    const struct kvs_hw_link *link = kvs_hw_link(s->hw, "pcie");
    if (!has_word(s->row->link, "pcie") || !link || !(one > 0)) {
        snprintf(why, n_why, "link \"%.60s\": want PCIe copies of a stated size", s->row->link);
        return false;
    }
    *value = one / kvs_link_s(link, false, one, 1);
    return true;
}

/* The quantities: what each needs, and its arithmetic; restates: of a shape or a data sheet, so
 * that agreement predicts nothing. */
static const struct quantity {
    const char *name;
    bool model, cost, gpu, restates;
    predict_fn *predict;
} quantities[] = {
    {"ttft_recompute", true, true, true, false, ttft_recompute},
    {"ttft_load", true, true, true, false, ttft_load},
    {"ttft_hybrid", true, true, true, false, ttft_hybrid},
    {"ttft_recompute_plus_transfer", true, true, true, false, recompute_plus_transfer},
    {"speedup_over_recompute", true, true, true, false, speedup},
    {"transfer_time", true, false, true, false, transfer},
    {"linear_time_per_layer", true, true, true, false, linear_per_layer},
    {"attention_time_per_layer", true, true, true, false, attention_per_layer},
    {"break_even_bandwidth", true, true, true, false, break_even},
    {"recompute_15pct_per_layer", true, true, true, false, recompute_15pct},
    {"load_per_layer", true, false, true, false, load_per_layer},
    {"kv_bytes_per_token", true, false, false, true, kv_bytes},
    {"peak_flop_per_s", false, false, true, true, peak_flop},
    {"delivered_bandwidth", false, false, true, false, delivered},
};

static const struct quantity *find_quantity(const char *name)
{
    assert(name);
    for (size_t i = 0; i < N(quantities); i++)
        if (strcmp(quantities[i].name, name) == 0)
            return &quantities[i];
    return NULL;
}

/* Quantities that are not the cost model's: words that their names hold, all of them. */
static const char *not_ours(const char *quantity)
{
    static const struct {
        const char *first, *second, *why;
    } list[] = {
        {"mean_", "_change", "contains queueing: kvsim run"},
        {"input_rate", "_change", "contains queueing: kvsim run"},
        {"accuracy", "", "is quality, not time"},
        {"perplexity", "", "is quality, not time"},
        {"quality", "", "is quality, not time"},
    };
    for (size_t i = 0; i < N(list); i++)
        if (strstr(quantity, list[i].first) && strstr(quantity, list[i].second))
            return list[i].why;
    return NULL;
}

/* Models that sim/model/README.md names as unsupported, by how their names begin. */
static const char *unsupported(const char *model)
{
    static const struct {
        const char *prefix, *why;
    } list[] = {
        {"phi-", "unsupported model: its MLP has no gate"},
        {"opt-", "unsupported model: its MLP has no gate"},
        {"qwen3.5", "unsupported model: linear attention in most layers"},
        {"qwen3-next", "unsupported model: linear attention in most layers"},
    };
    for (size_t i = 0; i < N(list); i++)
        if (strncasecmp(model, list[i].prefix, strlen(list[i].prefix)) == 0)
            return list[i].why;
    return NULL;
}

static bool set_scene(const struct library *lib, const struct quantity *q,
                      const struct kvs_pub_row *row, struct scene *s, char *why, size_t n_why)
{
    struct kvs_err err = {0};
    *s = (struct scene){.row = row, .tp = isnan(row->gpus) ? 1 : (uint32_t)fmin(row->gpus, 65536)};
    if (q->gpu && !(s->hw = find_hw(lib, row->gpu))) {
        snprintf(why, n_why, "no profile for GPU \"%.60s\"", row->gpu);
        return false;
    }
    if (q->model && !(s->model = find_model(lib, row->model))) {
        snprintf(why, n_why, "no shape for model \"%.60s\"", row->model);
        return false;
    }
    if (s->hw)
        s->serving = serving_of(s->hw, row->source);
    if (q->cost && kvs_cost_new_part(s->model, s->hw, s->tp, &s->cost, &err)) {
        snprintf(why, n_why, "%.*s", (int)n_why - 1, err.msg);
        return false;
    }
    if (q->cost && prompt_tok(s) < 1) {
        snprintf(why, n_why, "the row has no tokens");
        return false;
    }
    return true;
}

static void predict(const struct library *lib, struct kvs_pub_row *row)
{
    struct scene scene = {0};
    const struct quantity *q = find_quantity(row->quantity);
    const char *skip = not_ours(row->quantity);
    if (!skip)
        skip = unsupported(row->model);
    row->status = skip ? KVS_PUB_SKIPPED : KVS_PUB_FAILED;
    if (skip) {
        snprintf(row->why, sizeof row->why, "%s", skip);
        return;
    }
    if (!q) {
        snprintf(row->why, sizeof row->why, "quantity \"%.60s\" is not known", row->quantity);
        return;
    }
    row->restates = q->restates;
    if (set_scene(lib, q, row, &scene, row->why, sizeof row->why) &&
        q->predict(&scene, &row->predicted, row->why, sizeof row->why)) {
        row->predicted_known = true;
        row->error = row->value != 0 ? row->predicted / row->value - 1 : row->predicted;
    }
    kvs_cost_free(scene.cost);
}

/* --- the score ---------------------------------------------------------------------------------
 */

static bool listed(const struct kvs_strs *strs, const char *word)
{
    for (unsigned i = 0; i < strs->n; i++)
        if (strcmp(strs->v[i], word) == 0)
            return true;
    return false;
}

/* true if the row's profile was fitted on another row of the same source. */
static bool fitted_beside(const struct kvs_pub *pub, const struct kvs_pub_row *row,
                          const struct kvs_hw *hw)
{
    for (size_t i = 0; i < pub->n_row; i++) {
        const struct kvs_pub_row *other = &pub->row[i];
        if (other != row && strcmp(other->source, row->source) == 0 &&
            listed(&hw->fitted_on, other->id))
            return true;
    }
    return false;
}

static void judge(const struct kvs_pub *pub, const struct library *lib, struct kvs_pub_row *row)
{
    const struct kvs_hw *hw = *row->gpu ? find_hw(lib, row->gpu) : NULL;
    if (row->status == KVS_PUB_SKIPPED)
        return;
    row->is_within = hw && fitted_beside(pub, row, hw);
    row->tolerance = row->is_within ? row->within : row->across;
    if (row->predicted_known && fabs(row->error) <= row->tolerance)
        row->status = KVS_PUB_PASSED;
    if (hw && listed(&hw->fitted_on, row->id))
        row->status = KVS_PUB_FITTED;
}

static enum kvs_code sum_up(struct kvs_pub *pub, struct kvs_err *err)
{
    double *errors = malloc((pub->n_row + 1) * sizeof *errors);
    size_t n = 0;
    if (!errors)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for published rows");
    for (size_t i = 0; i < pub->n_row; i++) {
        const struct kvs_pub_row *row = &pub->row[i];
        unsigned *count[] = {row->restates ? &pub->restated : &pub->passed,
                             row->restates ? &pub->misstated : &pub->failed, &pub->skipped,
                             &pub->fitted};
        ++*count[row->status];
        if (row->predicted_known && row->status <= KVS_PUB_FAILED && !row->restates)
            errors[n++] = fabs(row->error);
    }
    qsort(errors, n, sizeof *errors, kvs_cmp_double);
    pub->median_abs_error = n ? (errors[(n - 1) / 2] + errors[n / 2]) / 2 : (double)NAN;
    free(errors);
    return KVS_OK;
}

enum kvs_code kvs_pub_read(struct kvs_lines *lines, struct kvs_pub **pub, struct kvs_err *err)
{
    enum kvs_code code;
    struct library *lib = calloc(1, sizeof *lib);
    struct kvs_pub *p = calloc(1, sizeof *p);
    *pub = NULL;
    if (p)
        p->arena = kvs_arena_new();
    if (!lib || !p || !p->arena) {
        code = kvs_fail(err, KVS_ERR_NOMEM, "no memory for published rows");
        goto done;
    }
    if ((code = read_rows(lines, p, err)) || (code = library_fill(lib, err)))
        goto done;
    for (size_t i = 0; i < p->n_row; i++)
        predict(lib, &p->row[i]);
    for (size_t i = 0; i < p->n_row; i++)
        judge(p, lib, &p->row[i]);
    if ((code = sum_up(p, err)))
        goto done;
    *pub = p;
    p = NULL;
done:
    if (lib)
        library_free(lib);
    free(lib);
    kvs_pub_free(p);
    return code;
}

void kvs_pub_free(struct kvs_pub *pub)
{
    if (!pub)
        return;
    kvs_arena_free(pub->arena);
    free(pub->row);
    free(pub);
}
