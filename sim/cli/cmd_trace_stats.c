/*
 * kvsim trace stats: what a trace holds, and what caches would have hit. The caches are the
 * simulator's own tiers, each block one unit of one byte.
 */
#include "cmd_trace.h"

#include "base/opt.h"
#include "base/units.h"
#include "store/evict.h"
#include "store/future.h"
#include "store/tier.h"
#include "workloads/trace.h"
#include "workloads/trace_stats.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stats_args {
    const char *format, *rows;
    struct kvs_strs parts, lru, evict;
    uint64_t limit, n_top;
    double chars_per_tok;
    bool skip_bad, full_only, per_session, json;
};

#define OPT(name, kind, field, by_default, least, most, text)                                      \
    .key = (name), .type = KVS_OPT_##kind, .offset = offsetof(struct stats_args, field),           \
    .def = (by_default), .min = (least), .max = (most), .help = (text)
static const struct kvs_opt options[] = {
    {OPT("format", STR, format, NULL, 0, 0, "trace format; told by the file if not given")},
    {OPT("parts", LIST, parts, NULL, 0, 0,
         "count only blocks of these parts: text, sys, passage, history, web, user")},
    {OPT("lru", LIST, lru, NULL, 0, 0, "hits of LRU caches of so many blocks")},
    {OPT("evict", LIST, evict, "lru", 0, 0, "eviction policies of the caches of --lru")},
    {OPT("rows", STR, rows, NULL, 0, 0, "only requests A-B, counted from 1")},
    {OPT("limit", U64, limit, "0", 0, 0x1p63, "only the first so many requests; 0: all")},
    {OPT("full-blocks", FLAG, full_only, NULL, 0, 0,
         "leave out a prompt's last block where it is shorter than the others")},
    {OPT("per-session", FLAG, per_session, NULL, 0, 0, "a cache for each session")},
    {OPT("top", U64, n_top, "0", 0, 0x1p63, "accesses of the so many most used blocks")},
    {OPT("chars-per-tok", DOUBLE, chars_per_tok, "0", 0, 1e6,
         "for traces that count characters; 0: the format's own ratio")},
    {OPT("skip-bad", FLAG, skip_bad, NULL, 0, 0, "count bad lines and go on")},
    {OPT("json", FLAG, json, NULL, 0, 0, "one JSON object")},
};
enum { N_OPTION = sizeof options / sizeof options[0], MAX_CACHE = 64 };

struct cache {
    const struct kvs_evict_ops *evict;
    struct kvs_tier *tier;
    uint64_t n_block, hits;
};

struct job {
    struct stats_args args;
    const char *path;
    struct kvs_trace *trace;
    struct kvs_stats *stats;
    struct kvs_stats_sums sums;
    struct cache cache[MAX_CACHE];
    unsigned n_cache;
    struct kvs_future future; /* all accesses, if a cache's policy has to be told the next use */
    uint64_t first, last;     /* rows */
};

/* --- arguments -----------------------------------------------------------------------------------
 */

/* A part by its name, or by the key that RAGPulse has for it. KVS_N_PART if there is none. */
static unsigned find_part(const char *name)
{
    static const struct {
        const char *name;
        enum kvs_part part;
    } other[] = {{"sys_prompt", KVS_PART_SYS},
                 {"passages", KVS_PART_PASSAGE},
                 {"passages_ids", KVS_PART_PASSAGE},
                 {"web_search", KVS_PART_WEB},
                 {"user_input", KVS_PART_USER}};
    for (unsigned i = 0; i < sizeof other / sizeof *other; i++)
        if (strcmp(name, other[i].name) == 0)
            return other[i].part;
    unsigned part = 0;
    while (part < KVS_N_PART && strcmp(name, kvs_part_name[part]) != 0)
        part++;
    return part;
}

enum kvs_code kvs_trace_parts(const struct kvs_strs *parts, uint32_t *mask, struct kvs_err *err)
{
    *mask = 0;
    for (unsigned i = 0; i < parts->n; i++) {
        unsigned part = find_part(parts->v[i]);
        if (part == KVS_N_PART) {
            char known[200];
            return kvs_fail(err, KVS_ERR_ARG, "--parts: %s: unknown part%s", parts->v[i],
                            kvs_known(known, sizeof known, parts->v[i], kvs_part_name, KVS_N_PART));
        }
        *mask |= 1u << part;
    }
    return KVS_OK;
}

static enum kvs_code read_rows(struct job *job, struct kvs_err *err)
{
    const char *rows = job->args.rows;
    char tail;
    job->first = 1;
    job->last = job->args.limit ? job->args.limit : UINT64_MAX;
    if (!rows)
        return KVS_OK;
    if (sscanf(rows, "%" SCNu64 "-%" SCNu64 "%c", &job->first, &job->last, &tail) != 2 ||
        strchr("0123456789", rows[0]) == NULL || job->first < 1 || job->first > job->last)
        return kvs_fail(err, KVS_ERR_ARG, "--rows: found \"%s\", want A-B with 1 <= A <= B", rows);
    return KVS_OK;
}

static enum kvs_code open_cache(struct job *job, const struct kvs_evict_ops *evict,
                                const char *text, struct kvs_err *err)
{
    struct cache *cache = &job->cache[job->n_cache];
    struct kvs_err own = {0};
    if (job->n_cache == MAX_CACHE)
        return kvs_fail(err, KVS_ERR_ARG, "--lru: more than %d caches", MAX_CACHE);
    cache->evict = evict;
    if (kvs_parse_u64(text, &cache->n_block, &own) || cache->n_block < 1)
        return kvs_fail(err, KVS_ERR_ARG, "--lru: found \"%s\", want a number of blocks", text);
    job->n_cache++;
    return kvs_tier_new(evict, cache->n_block, NULL, NULL, &cache->tier, err);
}

static enum kvs_code open_caches(struct job *job, struct kvs_err *err)
{
    const struct stats_args *args = &job->args;
    for (unsigned i = 0; i < args->evict.n; i++) {
        const struct kvs_evict_ops *evict;
        enum kvs_code code = kvs_evict_find(args->evict.v[i], &evict, err);
        for (unsigned k = 0; code == KVS_OK && k < args->lru.n; k++)
            code = open_cache(job, evict, args->lru.v[k], err);
        if (code)
            return code;
    }
    return KVS_OK;
}

/* --- the walk ------------------------------------------------------------------------------------
 */

static const struct kvs_block_info unit = {.n_bytes = 1};

static bool needs_future(const struct cache *cache)
{
    return cache->evict->on_expect != NULL;
}

static enum kvs_code take_request(struct job *job, const struct kvs_request *req,
                                  struct kvs_err *err)
{
    const uint64_t *keys;
    size_t n;
    bool keep = false;
    enum kvs_code code = kvs_stats_add(job->stats, req, err);
    if (code)
        return code;
    keys = kvs_stats_keys(job->stats, &n);
    for (unsigned i = 0; i < job->n_cache; i++)
        if (needs_future(&job->cache[i]))
            keep = true;
        else
            job->cache[i].hits += kvs_tier_access(job->cache[i].tier, keys, n, &unit, NULL);
    return keep ? kvs_future_add(&job->future, keys, n, err) : KVS_OK;
}

/* The caches whose policy is told the next use of each block: once all accesses are known. */
static enum kvs_code run_told(struct job *job, struct kvs_err *err)
{
    enum kvs_code code = kvs_future_find(&job->future, err);
    for (unsigned i = 0; i < job->n_cache && code == KVS_OK; i++)
        if (needs_future(&job->cache[i]))
            job->cache[i].hits = kvs_tier_access(job->cache[i].tier, job->future.key, job->future.n,
                                                 &unit, job->future.next_use);
    return code;
}

static enum kvs_code walk(struct job *job, struct kvs_err *err)
{
    for (uint64_t row = 1; row <= job->last; row++) {
        const struct kvs_request *req;
        enum kvs_code code = kvs_trace_next(job->trace, &req, err);
        if (!code && !req && job->args.rows && row <= job->first)
            return kvs_fail(err, KVS_ERR_RANGE,
                            "%s: --rows: found %s, the trace has %" PRIu64 " requests", job->path,
                            job->args.rows, row - 1);
        if (code || !req)
            return code;
        if (row >= job->first && (code = take_request(job, req, err)))
            return code;
    }
    return KVS_OK;
}

static enum kvs_code open_job(struct job *job, struct kvs_err *err)
{
    const struct stats_args *args = &job->args;
    struct kvs_trace_options how = {
        .format = args->format, .skip_bad = args->skip_bad, .chars_per_tok = args->chars_per_tok};
    struct kvs_stats_options what = {
        .full_only = args->full_only, .per_session = args->per_session, .n_top = args->n_top};
    enum kvs_code code = kvs_trace_parts(&args->parts, &what.part_mask, err);
    if (code || (code = read_rows(job, err)) || (code = open_caches(job, err)) ||
        (code = kvs_trace_open(job->path, &how, &job->trace, err)))
        return code;
    what.chained = kvs_trace_chained(job->trace);
    what.block_tok = kvs_trace_block_tok(job->trace);
    job->stats = kvs_stats_new(&what);
    return job->stats ? KVS_OK : kvs_fail(err, KVS_ERR_NOMEM, "trace stats: no memory");
}

static void close_job(struct job *job)
{
    for (unsigned i = 0; i < job->n_cache; i++)
        kvs_tier_free(job->cache[i].tier);
    kvs_future_free(&job->future);
    kvs_stats_free(job->stats);
    kvs_trace_close(job->trace);
}

/* --- JSON ----------------------------------------------------------------------------------------
 */

static json_t *json_u64(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *json_tally(struct kvs_tally *tally)
{
    static const struct {
        const char *key;
        double p;
    } points[] = {{"p50", 50}, {"p90", 90}, {"p95", 95}, {"p99", 99}};
    json_t *node = json_object();
    json_object_set_new(node, "sum", json_u64(kvs_tally_sum(tally)));
    json_object_set_new(node, "mean", json_real(kvs_tally_mean(tally)));
    for (unsigned i = 0; i < sizeof points / sizeof points[0]; i++)
        json_object_set_new(node, points[i].key,
                            json_u64(kvs_tally_percentile(tally, points[i].p)));
    json_object_set_new(node, "min", json_u64(kvs_tally_min(tally)));
    json_object_set_new(node, "max", json_u64(kvs_tally_max(tally)));
    return node;
}

static json_t *json_parts(const struct kvs_stats_sums *sums)
{
    json_t *all = json_object();
    for (unsigned i = 0; i < KVS_N_PART; i++) {
        const struct kvs_stats_part *part = &sums->part[i];
        if (part->n_access)
            json_object_set_new(
                all, kvs_part_name[i],
                json_pack("{sIsIsIsI}", "block_accesses", (json_int_t)part->n_access, "tok",
                          (json_int_t)part->n_tok, "content_hits", (json_int_t)part->content_hits,
                          "content_hit_tok", (json_int_t)part->content_hit_tok));
    }
    return all;
}

/* "lru_hits": {"1000": 12831, ...}, and so for each policy */
static void json_caches(json_t *root, const struct job *job)
{
    for (unsigned i = 0; i < job->n_cache; i++) {
        const struct cache *cache = &job->cache[i];
        char key[64], size[32];
        json_t *hits;
        snprintf(key, sizeof key, "%s_hits", cache->evict->name);
        snprintf(size, sizeof size, "%" PRIu64, cache->n_block);
        hits = json_object_get(root, key);
        if (!hits) {
            hits = json_object();
            json_object_set_new(root, key, hits);
        }
        json_object_set_new(hits, size, json_u64(cache->hits));
    }
}

static json_t *json_all(struct job *job)
{
    const struct kvs_stats_sums *sums = &job->sums;
    const char *invents = kvs_trace_invents(job->trace);
    const struct {
        const char *key;
        uint64_t value;
    } counts[] = {
        {"block_accesses", sums->n_access},
        {"unique_blocks", sums->n_unique},
        {"prefix_hits", sums->prefix_hits},
        {"content_hits", sums->content_hits},
        {"block_tok", sums->access_tok},
        {"prefix_hit_tok", sums->prefix_hit_tok},
        {"content_hit_tok", sums->content_hit_tok},
        {"blocks_used_once", sums->n_once},
        {"requests_with_blocks", sums->with_blocks},
        {"requests_any_prefix_hit", sums->any_hit},
        {"requests_all_prefix_hits", sums->all_prefix},
        {"requests_all_content_hits", sums->all_content},
        {"block_lists", sums->n_list},
        {"block_sets", sums->n_set},
        {"top_1pct_blocks", sums->top_1pct},
        {"top_1pct_accesses", sums->top_1pct_access},
        {"sessions", sums->n_session},
    };
    json_t *root = json_object();
    json_object_set_new(root, "format", json_string(kvs_trace_format(job->trace)));
    json_object_set_new(root, "ids",
                        json_string(kvs_trace_chained(job->trace) ? "chained" : "content"));
    json_object_set_new(root, "invented", invents ? json_string(invents) : json_null());
    json_object_set_new(root, "requests", json_u64(sums->n_request));
    json_object_set_new(root, "skipped", json_u64(kvs_trace_skipped(job->trace)));
    json_object_set_new(root, "moved", json_u64(kvs_trace_moved(job->trace)));
    json_object_set_new(root, "span_s", json_real((double)(sums->last_ns - sums->first_ns) * 1e-9));
    json_object_set_new(root, "input_tok", json_tally(kvs_stats_input(job->stats)));
    json_object_set_new(root, "output_tok", json_tally(kvs_stats_output(job->stats)));
    for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++)
        json_object_set_new(root, counts[i].key, json_u64(counts[i].value));
    if (job->args.n_top)
        json_object_set_new(root, "top_accesses", json_u64(sums->top_access));
    json_object_set_new(root, "parts", json_parts(sums));
    if (!job->n_cache)
        json_object_set_new(root, "lru_hits", json_object());
    json_caches(root, job);
    return root;
}

static enum kvs_code print_json(struct job *job, struct kvs_err *err)
{
    json_t *root = json_all(job);
    int status = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    json_decref(root);
    if (status != 0)
        return kvs_fail(err, KVS_ERR_NOMEM, "trace stats: no memory for the result");
    putchar('\n');
    return KVS_OK;
}

/* --- text ----------------------------------------------------------------------------------------
 */

static double pct(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void print_tally(const char *name, struct kvs_tally *tally)
{
    char sum[KVS_TEXT_MAX];
    printf("%-9s %s tokens: mean %.1f, p50 %" PRIu64 ", p90 %" PRIu64 ", p95 %" PRIu64
           ", p99 %" PRIu64 ", min %" PRIu64 ", max %" PRIu64 "\n",
           name, kvs_text_count(sum, kvs_tally_sum(tally)), kvs_tally_mean(tally),
           kvs_tally_percentile(tally, 50), kvs_tally_percentile(tally, 90),
           kvs_tally_percentile(tally, 95), kvs_tally_percentile(tally, 99), kvs_tally_min(tally),
           kvs_tally_max(tally));
}

static void print_hits(const char *name, uint64_t hits, uint64_t tok, const struct job *job)
{
    char count[KVS_TEXT_MAX];
    printf("%-9s %s hits: %.2f %% of block accesses, %.2f %% of input tokens\n", name,
           kvs_text_count(count, hits), pct(hits, job->sums.n_access),
           pct(tok, kvs_tally_sum(kvs_stats_input(job->stats))));
}

static void print_head(const struct job *job)
{
    const struct kvs_stats_sums *sums = &job->sums;
    char count[KVS_TEXT_MAX], span[KVS_TEXT_MAX], sessions[KVS_TEXT_MAX];
    double span_s = (double)(sums->last_ns - sums->first_ns) * 1e-9;
    printf("%s: %s", job->path, kvs_trace_format(job->trace));
    if (sums->n_access)
        printf(", %s ids", kvs_trace_chained(job->trace) ? "prefix-chained" : "content");
    if (sums->n_access && kvs_trace_block_tok(job->trace))
        printf(" of %" PRIu32 "-token blocks", kvs_trace_block_tok(job->trace));
    printf("\nrequests  %s in %s", kvs_text_count(count, sums->n_request),
           kvs_text_time(span, span_s));
    if (span_s > 0)
        printf(" (%.4g/s)", (double)sums->n_request / span_s);
    printf(", %s sessions", sums->n_session ? kvs_text_count(sessions, sums->n_session) : "no");
    if (kvs_trace_skipped(job->trace))
        printf(", bad lines left out: %" PRIu64, kvs_trace_skipped(job->trace));
    if (kvs_trace_moved(job->trace))
        printf(", %" PRIu64 " moved to keep time's order", kvs_trace_moved(job->trace));
    putchar('\n');
    if (kvs_trace_invents(job->trace))
        printf("invented  %s\n", kvs_trace_invents(job->trace));
}

static void print_parts(const struct job *job)
{
    const struct kvs_stats_sums *sums = &job->sums;
    uint64_t input_tok = kvs_tally_sum(kvs_stats_input(job->stats));
    if (sums->part[KVS_PART_TEXT].n_access == sums->n_access)
        return;
    printf("\n%-9s %12s %14s %10s %14s\n", "part", "blocks", "tokens", "of input", "content hits");
    for (unsigned i = 0; i < KVS_N_PART; i++) {
        const struct kvs_stats_part *part = &sums->part[i];
        if (part->n_access)
            printf("%-9s %12" PRIu64 " %14" PRIu64 " %8.2f %% %12.2f %%\n", kvs_part_name[i],
                   part->n_access, part->n_tok, pct(part->n_tok, input_tok),
                   pct(part->content_hits, part->n_access));
    }
}

static void print_caches(const struct job *job)
{
    if (job->n_cache)
        printf("\n%-9s %12s %14s %10s\n", "cache", "blocks", "hits", "ratio");
    for (unsigned i = 0; i < job->n_cache; i++) {
        const struct cache *cache = &job->cache[i];
        printf("%-9s %12" PRIu64 " %14" PRIu64 " %8.2f %%\n", cache->evict->name, cache->n_block,
               cache->hits, pct(cache->hits, job->sums.n_access));
    }
}

static void print_text(struct job *job)
{
    const struct kvs_stats_sums *sums = &job->sums;
    char a[KVS_TEXT_MAX], b[KVS_TEXT_MAX], c[KVS_TEXT_MAX];
    print_head(job);
    print_tally("input", kvs_stats_input(job->stats));
    print_tally("output", kvs_stats_output(job->stats));
    if (!sums->n_access) {
        printf("blocks    none: nothing of it can be cached\n");
        return;
    }
    printf("blocks    %s accesses, %s different, %s of them used once\n",
           kvs_text_count(a, sums->n_access), kvs_text_count(b, sums->n_unique),
           kvs_text_count(c, sums->n_once));
    print_hits("prefix", sums->prefix_hits, sums->prefix_hit_tok, job);
    print_hits("content", sums->content_hits, sums->content_hit_tok, job);
    printf("top 1 %%   the %s most used blocks have %.2f %% of accesses\n",
           kvs_text_count(a, sums->top_1pct), pct(sums->top_1pct_access, sums->n_access));
    if (job->args.n_top)
        printf("top       the %s most used blocks have %.2f %% of accesses\n",
               kvs_text_count(a, job->args.n_top), pct(sums->top_access, sums->n_access));
    print_parts(job);
    print_caches(job);
}

static enum kvs_code run_job(struct job *job, struct kvs_err *err)
{
    enum kvs_code code = open_job(job, err);
    if (code || (code = walk(job, err)) || (code = run_told(job, err)) ||
        (code = kvs_stats_end(job->stats, &job->sums, err)))
        return code;
    if (job->args.json)
        return print_json(job, err);
    print_text(job);
    return KVS_OK;
}

enum kvs_code kvs_trace_stats_cmd(int argc, char *const *argv, struct kvs_err *err)
{
    static const char *const of_caches[] = {"evict", NULL}, *const of_all[] = {"limit", NULL};
    struct job job = {0};
    struct kvs_strs pos;
    bool help;
    enum kvs_code code = kvs_opt_argv(options, N_OPTION, argc, argv, &job.args, &pos, &help, err);
    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, "kvsim trace stats FILE [options]",
                     "What a trace holds, and what caches would have hit.", options, N_OPTION);
        return KVS_OK;
    }
    if (pos.n != 1)
        return kvs_fail(err, KVS_ERR_ARG, "found %u files, want one trace", pos.n);
    if ((!job.args.lru.n && (code = kvs_opt_refuse(options, N_OPTION, argc, argv, of_caches,
                                                   "wants the caches' sizes, --lru", err))) ||
        (job.args.rows && (code = kvs_opt_refuse(options, N_OPTION, argc, argv, of_all,
                                                 "--rows says already which requests", err))))
        return code;
    job.path = pos.v[0];
    code = run_job(&job, err);
    close_job(&job);
    return code;
}
