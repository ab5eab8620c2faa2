#include "trace_filter.h"

#include "base/data.h"
#include "base/map.h"
#include "gen.h"
#include "trace_format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct filter {
    struct kvs_trace_filter options;
    uint64_t n_out;          /* requests before sampling */
    uint64_t threshold;      /* a key whose hash is no larger is in the sample */
    uint64_t copy;           /* of `now` that comes next */
    bool have, ended;        /* `now` holds a request; the inner trace has no more */
    struct kvs_request now;  /* its blocks are a copy, `block` */
    int64_t next_ns;         /* when the request after it comes */
    struct kvs_request next; /* as the inner trace gave it */
    struct kvs_trace_block *block;
    size_t cap_block;
};

static bool room(struct kvs_trace_block **block, size_t *cap, size_t n)
{
    struct kvs_trace_block *grown;
    if (n <= *cap)
        return true;
    n += n / 2;
    grown = realloc(*block, n * sizeof *grown);
    if (!grown)
        return false;
    *block = grown;
    *cap = n;
    return true;
}

static enum kvs_code no_memory(struct kvs_err *err)
{
    return kvs_fail(err, KVS_ERR_NOMEM, "trace: no memory");
}

/* Steps to the inner trace's next request: it becomes `now`, and the one behind it `next`. */
static enum kvs_code step(struct kvs_trace *trace, struct filter *filter, struct kvs_err *err)
{
    const struct kvs_request *req;
    enum kvs_code code;
    filter->have = false;
    if (!filter->ended && !filter->next.input_tok) { /* the very first */
        if ((code = kvs_trace_next(trace->inner, &req, err)))
            return code;
        filter->ended = !req;
        if (req)
            filter->next = *req;
    }
    if (filter->ended)
        return KVS_OK;
    filter->now = filter->next;
    if (filter->now.n_block) {
        if (!room(&filter->block, &filter->cap_block, filter->now.n_block))
            return no_memory(err);
        memcpy(filter->block, filter->now.block, filter->now.n_block * sizeof *filter->block);
    }
    filter->have = true;
    filter->copy = 0;
    if ((code = kvs_trace_next(trace->inner, &req, err)))
        return code;
    filter->ended = !req;
    if (req)
        filter->next = *req;
    filter->next_ns = req ? req->arrive_ns : filter->now.arrive_ns;
    return KVS_OK;
}

/* Copy i of `now`: other people who ask for the same amounts of other text. */
static enum kvs_code make_copy(struct kvs_trace *trace, struct filter *filter, struct kvs_err *err)
{
    const struct kvs_request *now = &filter->now;
    uint64_t copy = filter->copy++;
    int64_t gap_ns = filter->next_ns - now->arrive_ns;
    if (!room(&trace->block, &trace->cap_block, now->n_block))
        return no_memory(err);
    trace->req = *now;
    trace->req.arrive_ns +=
        (int64_t)((double)gap_ns / (double)filter->options.population * (double)copy);
    if (copy && now->session)
        trace->req.session = kvs_chain(copy, now->session) >> 1 | 1;
    for (uint32_t i = 0; i < now->n_block; i++) {
        struct kvs_trace_block *block = &trace->block[i];
        *block = filter->block[i];
        if (copy && (trace->chained || block->part != KVS_PART_SYS))
            block->id = kvs_chain(copy, block->id) >> 1;
    }
    trace->req.block = trace->block;
    return KVS_OK;
}

/* --- sampling ----------------------------------------------------------------------------------
 */

static bool samples(const struct kvs_trace_filter *options)
{
    return options->sample > 0 && options->sample < 1;
}

static uint64_t hash_of(const struct filter *filter, uint64_t key)
{
    return kvs_chain(filter->options.sample_seed, key);
}

static int by_hash(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Of the groups as many as asked for, those of the smallest hashes. */
static enum kvs_code choose_groups(struct filter *filter, struct kvs_err *err)
{
    const uint64_t n = filter->options.population;
    const double kept = filter->options.sample * (double)n;
    if (fabs(kept - rint(kept)) > 1e-9 * (double)n || kept < 0.5)
        return kvs_fail(err, KVS_ERR_RANGE,
                        "trace.sample: %g of a population of %llu are %g groups, want a whole "
                        "number of them",
                        filter->options.sample, (unsigned long long)n, kept);
    uint64_t *hash = calloc(n, sizeof *hash);
    if (!hash)
        return no_memory(err);
    for (uint64_t i = 0; i < n; i++)
        hash[i] = hash_of(filter, i);
    qsort(hash, n, sizeof *hash, by_hash);
    filter->threshold = hash[(uint64_t)rint(kept) - 1];
    free(hash);
    return KVS_OK;
}

static enum kvs_code begin_sample(struct filter *filter, struct kvs_err *err)
{
    filter->threshold = UINT64_MAX;
    if (!samples(&filter->options))
        return KVS_OK;
    if (filter->options.sample_by == KVS_SAMPLE_GROUP)
        return choose_groups(filter, err);
    filter->threshold = (uint64_t)(filter->options.sample * 0x1p64);
    return KVS_OK;
}

/* Whether the request that was made last is in the sample. */
static enum kvs_code in_sample(const struct kvs_trace *trace, bool *in, struct kvs_err *err)
{
    const struct filter *filter = trace->state;
    const struct kvs_request *req = &trace->req;
    uint64_t key = req->session;
    *in = true;
    if (!samples(&filter->options) || filter->options.sample_by == KVS_SAMPLE_GROUP)
        return KVS_OK; /* of other groups there is none */
    if (!key && trace->chained && req->n_block)
        key = req->block[req->n_block > 1].id;
    if (!key)
        return kvs_fail(err, KVS_ERR_ARG,
                        "trace.sample: request %llu has no session, so what it shares with others "
                        "is not known; want trace.population and trace.sample_by \"group\"",
                        (unsigned long long)filter->n_out);
    *in = hash_of(filter, key) <= filter->threshold;
    return KVS_OK;
}

/* Copies that belong to groups outside the sample are counted, not made. */
static void skip_groups(struct filter *filter)
{
    if (!samples(&filter->options) || filter->options.sample_by != KVS_SAMPLE_GROUP)
        return;
    while (filter->have && filter->copy < filter->options.population &&
           hash_of(filter, filter->copy) > filter->threshold &&
           (!filter->options.limit || filter->n_out < filter->options.limit)) {
        filter->copy++;
        filter->n_out++;
    }
}

/* --- the filter --------------------------------------------------------------------------------
 */

/* The next copy that is in a sample by groups; *more false: none. */
static enum kvs_code next_copy(struct kvs_trace *trace, struct filter *filter, bool *more,
                               struct kvs_err *err)
{
    enum kvs_code code;
    *more = false;
    for (;;) {
        skip_groups(filter);
        if (filter->options.limit && filter->n_out == filter->options.limit)
            return KVS_OK;
        if (filter->have && filter->copy < filter->options.population)
            break;
        if ((code = step(trace, filter, err)) || !filter->have)
            return code;
    }
    *more = true;
    return make_copy(trace, filter, err);
}

/* The next request before sampling by sessions; *more false: none. */
static enum kvs_code next_request(struct kvs_trace *trace, bool *more, struct kvs_err *err)
{
    struct filter *filter = trace->state;
    enum kvs_code code;
    *more = false;
    if (filter->options.limit && filter->n_out == filter->options.limit)
        return KVS_OK;
    if (filter->options.population == 1) {
        const struct kvs_request *from;
        if ((code = kvs_trace_next(trace->inner, &from, err)) || !from)
            return code;
        trace->req = *from;
    } else if ((code = next_copy(trace, filter, more, err)) || !*more) {
        return code;
    }
    if (filter->options.rate != 1) {
        double at_ns = floor((double)trace->req.arrive_ns / filter->options.rate + 0.5);
        if (!(at_ns < (double)(INT64_MAX / 2)))
            return kvs_fail(err, KVS_ERR_RANGE, "trace: at rate %g a request comes after 146 years",
                            filter->options.rate);
        trace->req.arrive_ns = (int64_t)at_ns;
    }
    filter->n_out++;
    *more = true;
    return KVS_OK;
}

static enum kvs_code filter_next(struct kvs_trace *trace, const struct kvs_request **req,
                                 struct kvs_err *err)
{
    for (bool more, in;;) {
        enum kvs_code code = next_request(trace, &more, err);
        if (code || !more || (code = in_sample(trace, &in, err)))
            return code;
        if (in)
            break;
    }
    *req = &trace->req;
    return KVS_OK;
}

static void filter_close(struct kvs_trace *trace)
{
    struct filter *filter = trace->state;
    free(filter->block);
}

static double filter_done_frac(const struct kvs_trace *trace)
{
    const struct filter *filter = trace->state;
    double inner = kvs_trace_done_frac(trace->inner), own;
    if (!filter->options.limit)
        return inner;
    own = (double)filter->n_out / (double)filter->options.limit;
    return own >= inner || isnan(inner) ? own : inner;
}

static const struct kvs_trace_ops filter_ops = {
    .name = "filter",
    .state_bytes = sizeof(struct filter),
    .next = filter_next,
    .close = filter_close,
    .done_frac = filter_done_frac,
};

enum kvs_code kvs_trace_filtered(struct kvs_trace *inner, const struct kvs_trace_filter *options,
                                 struct kvs_trace **out, struct kvs_err *err)
{
    struct kvs_trace *trace;
    struct filter *filter;
    *out = NULL;
    if (!(options->rate > 0 && isfinite(options->rate)) || options->population < 1) {
        kvs_trace_close(inner);
        return kvs_fail(err, KVS_ERR_RANGE, "trace: rate %g and population %llu, want more than 0",
                        options->rate, (unsigned long long)options->population);
    }
    if (samples(options) && options->sample_by == KVS_SAMPLE_GROUP && options->population == 1) {
        kvs_trace_close(inner);
        return kvs_fail(err, KVS_ERR_ARG,
                        "trace.sample_by: found group with a population of 1, want "
                        "trace.population above 1, or session");
    }
    trace = kvs_trace_new(&filter_ops);
    if (!trace) {
        kvs_trace_close(inner);
        return no_memory(err);
    }
    filter = trace->state;
    filter->options = *options;
    trace->inner = inner;
    trace->chained = inner->chained;
    trace->block_tok = inner->block_tok;
    enum kvs_code code = begin_sample(filter, err);
    if (code) {
        kvs_trace_close(trace);
        return code;
    }
    *out = trace;
    return KVS_OK;
}

/* --- workload.json -------------------------------------------------------------------------------
 */

struct section {
    const char *path, *format;
    bool skip_bad;
    double chars_per_tok, rate, sample;
    uint64_t limit, population, sample_seed;
    int sample_by;
    struct kvs_json generate;
};

static const char *const sample_by_names[] = {"session", "group", NULL}; /* enum kvs_sample_by */

#define OPT(name, kind, field, by_default, least, most, text)                                      \
    .key = (name), .type = KVS_OPT_##kind, .offset = offsetof(struct section, field),              \
    .def = (by_default), .min = (least), .max = (most), .help = (text)
const struct kvs_opt kvs_trace_table[] = {
    {OPT("path", STR, path, NULL, 0, 0, "file or folder, from this file's folder")},
    {OPT("format", STR, format, NULL, 0, 0, "trace format; told by the file if not given")},
    {OPT("skip_bad", FLAG, skip_bad, "false", 0, 0, "count bad lines and go on")},
    {OPT("chars_per_tok", DOUBLE, chars_per_tok, "0", 0, 1e6,
         "for traces that count characters; 0: the format's own ratio")},
    {OPT("limit", U64, limit, "0", 0, 0x1p63, "ends after so many requests; 0: no limit")},
    {OPT("rate", DOUBLE, rate, "1", 1e-9, 1e9, "how much faster requests come")},
    {OPT("population", U64, population, "1", 1, 1e6,
         "groups of people, each with questions and passages of its own")},
    {OPT("sample", DOUBLE, sample, "1", 1e-9, 1,
         "share of the sessions or groups that is replayed, on as large a share of the cluster")},
    {.key = "sample_by",
     .type = KVS_OPT_ENUM,
     .offset = offsetof(struct section, sample_by),
     .def = "session",
     .help = "what is in the sample whole: a session, or a group of the population",
     .names = sample_by_names},
    {OPT("sample_seed", U64, sample_seed, "1", 0, 0x1p63, "which of them")},
    {OPT("generate", NODE, generate, NULL, 0, 0, "make the trace instead of reading it")},
};
const unsigned kvs_trace_n_opt = sizeof kvs_trace_table / sizeof kvs_trace_table[0];

static enum kvs_code open_path(struct kvs_json node, const struct section *section,
                               struct kvs_trace **trace, struct kvs_err *err)
{
    struct kvs_trace_options options = {.format = section->format,
                                        .skip_bad = section->skip_bad,
                                        .chars_per_tok = section->chars_per_tok};
    struct kvs_err own = {0};
    char *path = kvs_path_from(kvs_doc_file(node.doc), section->path);
    if (!path)
        return no_memory(err);
    enum kvs_code code = kvs_trace_open(path, &options, trace, &own);
    free(path);
    if (code == KVS_ERR_ARG && section->format && !kvs_trace_format_help(section->format))
        return kvs_json_fail(kvs_json_get(node, "format"), err, code, "%s", own.msg);
    if (code == KVS_ERR_ARG)
        return kvs_json_fail(kvs_json_get(node, "path"), err, code, "%s", own.msg);
    return code ? kvs_fail(err, code, "%s", own.msg) : KVS_OK;
}

static enum kvs_code open_generated(const struct section *section, uint64_t seed,
                                    struct kvs_trace **trace, struct kvs_err *err)
{
    struct kvs_gen_options options = {0};
    struct kvs_err own = {0};
    enum kvs_code code =
        kvs_opt_json(kvs_gen_table, kvs_gen_n_opt, section->generate, &options, err);
    if (code)
        return code;
    code = kvs_gen_open(&options, seed, trace, &own);
    return code ? kvs_json_fail(section->generate, err, code, "%s", own.msg) : KVS_OK;
}

enum kvs_code kvs_trace_from_json(struct kvs_json node, uint64_t seed, struct kvs_trace **out,
                                  struct kvs_err *err)
{
    struct section section = {0};
    struct kvs_trace *trace = NULL;
    enum kvs_code code = kvs_opt_json(kvs_trace_table, kvs_trace_n_opt, node, &section, err);
    *out = NULL;
    if (code)
        return code;
    if (!section.path == !section.generate.v)
        return kvs_json_fail(node, err, KVS_ERR_PARSE, "found %s, want one of path and generate",
                             section.path ? "both path and generate" : "neither");
    code = section.path ? open_path(node, &section, &trace, err)
                        : open_generated(&section, seed, &trace, err);
    if (!trace)
        return code;
    return kvs_trace_filtered(
        trace,
        &(struct kvs_trace_filter){.limit = section.limit,
                                   .rate = section.rate,
                                   .population = section.population,
                                   .sample = section.sample,
                                   .sample_by = (enum kvs_sample_by)section.sample_by,
                                   .sample_seed = section.sample_seed},
        out, err);
}
