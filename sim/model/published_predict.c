#include "published_in.h"

#include "base/data.h"
#include "layout.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define N(table) (sizeof(table) / sizeof *(table))

/* --- shapes and profiles that rows name --------------------------------------------------------
 */

void kvs_pub_lib_free(struct kvs_pub_lib *lib)
{
    for (unsigned i = 0; i < lib->n_hw; i++)
        kvs_hw_free(lib->hw[i]);
    for (unsigned i = 0; i < lib->n_model; i++)
        kvs_model_free(lib->model[i]);
}

static enum kvs_code fill_hw(struct kvs_pub_lib *lib, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    char **names = kvs_data_names("configs/hardware");
    if (!names)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for the names of profiles");
    for (unsigned i = 0; names[i] && lib->n_hw < KVS_PUB_MAX_HW && !code; i++) {
        code = kvs_hw_open(names[i], &lib->hw[lib->n_hw], err);
        lib->n_hw += !code;
    }
    kvs_data_names_free(names);
    return code;
}

static enum kvs_code fill_models(struct kvs_pub_lib *lib, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    char **names = kvs_data_names("configs/models");
    if (!names)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for the names of shapes");
    for (unsigned i = 0; names[i] && lib->n_model < KVS_PUB_MAX_MODEL && !code; i++) {
        code = kvs_model_open(names[i], &lib->model[lib->n_model], err);
        lib->n_model += !code;
    }
    kvs_data_names_free(names);
    return code;
}

/* Opens all that come with kvsim. */
enum kvs_code kvs_pub_lib_fill(struct kvs_pub_lib *lib, struct kvs_err *err)
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

const struct kvs_hw *kvs_pub_hw(const struct kvs_pub_lib *lib, const char *gpu)
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

static const struct kvs_model *find_model(const struct kvs_pub_lib *lib, const char *name)
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

static bool set_scene(const struct kvs_pub_lib *lib, const struct quantity *q,
                      const struct kvs_pub_row *row, struct scene *s, char *why, size_t n_why)
{
    struct kvs_err err = {0};
    *s = (struct scene){.row = row, .tp = isnan(row->gpus) ? 1 : (uint32_t)fmin(row->gpus, 65536)};
    if (q->gpu && !(s->hw = kvs_pub_hw(lib, row->gpu))) {
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

void kvs_pub_predict(const struct kvs_pub_lib *lib, struct kvs_pub_row *row)
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
