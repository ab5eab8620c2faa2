/*
 * kvsim trace curve: hit ratios of LRU caches of every size, in one pass over a trace, exact or
 * from a sample of its blocks with error bars.
 */
#include "cmd_trace.h"

#include "base/outdir.h"
#include "base/units.h"
#include "model/model.h"
#include "report/csv.h"
#include "report/plot.h"
#include "store/curve.h"
#include "workloads/trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct curve_args {
    const char *format, *model, *plot;
    struct kvs_strs parts, sizes;
    uint64_t limit;
    double sample, chars_per_tok;
    bool skip_bad, overwrite, json;
};

#define OPT(name, kind, field, by_default, least, most, text)                                      \
    .key = (name), .type = KVS_OPT_##kind, .offset = offsetof(struct curve_args, field),           \
    .def = (by_default), .min = (least), .max = (most), .help = (text)
static const struct kvs_opt options[] = {
    {OPT("sample", DOUBLE, sample, "1", 1e-6, 1,
         "share of the blocks that is followed, by hash; 1: all, exact")},
    {OPT("sizes", LIST, sizes, NULL, 0, 0, "caches of so many blocks; default: 1, 2, 5, 10, ...")},
    {OPT("model", STR, model, NULL, 0, 0, "tells sizes in bytes too, as this model's KV")},
    {OPT("parts", LIST, parts, NULL, 0, 0,
         "only blocks of these parts: text, sys, passage, history, web, user")},
    {OPT("limit", U64, limit, "0", 0, 0x1p63, "only the first so many requests; 0: all")},
    {OPT("plot", STR, plot, NULL, 0, 0, "folder for hit_curve.csv and its drawing")},
    {OPT("overwrite", FLAG, overwrite, NULL, 0, 0, "replace an earlier folder of --plot")},
    {OPT("format", STR, format, NULL, 0, 0, "trace format; told by the file if not given")},
    {OPT("chars-per-tok", DOUBLE, chars_per_tok, "0", 0, 1e6,
         "for traces that count characters; 0: the format's own ratio")},
    {OPT("skip-bad", FLAG, skip_bad, NULL, 0, 0, "count bad lines and go on")},
    {OPT("json", FLAG, json, NULL, 0, 0, "one JSON object")},
};
enum { N_OPTION = sizeof options / sizeof options[0], MAX_SIZE = 64 };

struct job {
    struct curve_args args;
    const char *path;
    struct kvs_curve *curve;
    struct kvs_model *model;
    uint64_t n_tok, n_block; /* of the accesses */
    uint64_t size[MAX_SIZE];
    unsigned n_size;
    uint64_t *key;
    size_t room;
};

static enum kvs_code take_request(struct job *job, const struct kvs_request *req, uint32_t mask,
                                  struct kvs_err *err)
{
    size_t n = 0;
    if (req->n_block > job->room) {
        const size_t room = (size_t)req->n_block * 2;
        uint64_t *key = realloc(job->key, room * sizeof *key);
        if (!key)
            return kvs_nomem(err);
        job->key = key;
        job->room = room;
    }
    for (uint32_t i = 0; i < req->n_block; i++)
        if (!mask || mask & 1u << req->block[i].part) {
            job->key[n++] = req->block[i].id;
            job->n_tok += req->block[i].n_tok;
        }
    job->n_block += n;
    return kvs_curve_add(job->curve, job->key, n) ? KVS_OK : kvs_nomem(err);
}

static enum kvs_code walk(struct job *job, struct kvs_trace *trace, struct kvs_err *err)
{
    uint32_t mask;
    enum kvs_code code = kvs_trace_parts(&job->args.parts, &mask, err);
    for (uint64_t row = 0; !code && (!job->args.limit || row < job->args.limit); row++) {
        const struct kvs_request *req;
        if ((code = kvs_trace_next(trace, &req, err)) || !req)
            return code;
        code = take_request(job, req, mask, err);
    }
    return code;
}

static enum kvs_code read_sizes(struct job *job, struct kvs_err *err)
{
    static const uint64_t step[] = {1, 2, 5};
    const double most = kvs_curve_n_key(job->curve);
    for (unsigned i = 0; i < job->args.sizes.n; i++) {
        uint64_t *size = &job->size[job->n_size++];
        if (kvs_parse_tok(job->args.sizes.v[i], size, NULL) || *size == 0)
            return kvs_fail(err, KVS_ERR_ARG, "--sizes: found \"%.40s\", want a number of blocks",
                            job->args.sizes.v[i]);
    }
    if (job->n_size)
        return KVS_OK;
    /* below one followed block a sample knows nothing */
    const double least = job->args.sample < 1 ? KVS_CURVE_GROUPS / job->args.sample : 1;
    for (uint64_t ten = 1; (double)ten < most && job->n_size + 4 < MAX_SIZE; ten *= 10)
        for (unsigned i = 0; i < 3; i++)
            if ((double)(ten * step[i]) < most && (double)(ten * step[i]) >= least)
                job->size[job->n_size++] = ten * step[i];
    job->size[job->n_size++] = (uint64_t)ceil(most);
    return KVS_OK;
}

/* KV of a cache of so many blocks of the trace's mean length. NaN: no model was named. */
static double size_bytes(const struct job *job, uint64_t n_block)
{
    uint64_t bytes_1k = 0;
    if (!job->model || !job->n_block || kvs_model_kv_bytes(job->model, 1024, &bytes_1k, NULL))
        return (double)NAN;
    return (double)n_block * (double)job->n_tok / (double)job->n_block * (double)bytes_1k / 1024;
}

/* --- what is told ------------------------------------------------------------------------------
 */

static void print_text(const struct job *job)
{
    char a[KVS_TEXT_MAX], b[KVS_TEXT_MAX], c[KVS_TEXT_MAX], bytes[KVS_TEXT_MAX];
    const double n_key = kvs_curve_n_key(job->curve);
    printf("%s accesses, %s%s different blocks, %.4g tokens each\n",
           kvs_text_count(a, kvs_curve_n_access(job->curve)), job->args.sample < 1 ? "about " : "",
           kvs_text_count(b, (uint64_t)n_key),
           job->n_block ? (double)job->n_tok / (double)job->n_block : 0);
    if (job->args.sample < 1)
        printf("followed: %s accesses, to %g of the blocks; +- is half a 95 %% interval\n",
               kvs_text_count(c, kvs_curve_n_followed(job->curve)), job->args.sample);
    printf("\n%12s %12s %9s%s\n", "LRU, blocks", job->model ? kvs_model_name(job->model) : "",
           "hits", job->args.sample < 1 ? "       +-" : "");
    for (unsigned i = 0; i < job->n_size; i++) {
        const struct kvs_curve_point point = kvs_curve_at(job->curve, job->size[i]);
        printf("%12s %12s %7.3f %%", kvs_text_count(a, job->size[i]),
               job->model ? kvs_text_bytes(bytes, size_bytes(job, job->size[i])) : "",
               100 * point.hit_frac);
        if (job->args.sample < 1)
            printf(" %6.3f %%", 100 * point.error);
        putchar('\n');
    }
}

static enum kvs_code print_json(const struct job *job, struct kvs_err *err)
{
    json_t *points = json_array();
    for (unsigned i = 0; points && i < job->n_size; i++) {
        const struct kvs_curve_point point = kvs_curve_at(job->curve, job->size[i]);
        const double bytes = size_bytes(job, job->size[i]);
        json_array_append_new(points,
                              json_pack("{s:I, s:o, s:f, s:f}", "blocks", (json_int_t)job->size[i],
                                        "bytes", isnan(bytes) ? json_null() : json_real(bytes),
                                        "hit_frac", point.hit_frac, "error", point.error));
    }
    json_t *all = json_pack("{s:I, s:I, s:f, s:f, s:o}", "accesses",
                            (json_int_t)kvs_curve_n_access(job->curve), "followed",
                            (json_int_t)kvs_curve_n_followed(job->curve), "different_blocks",
                            kvs_curve_n_key(job->curve), "sample", job->args.sample, "lru", points);
    const int bad = !all || json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    putchar('\n');
    json_decref(all);
    return bad ? kvs_nomem(err) : KVS_OK;
}

static enum kvs_code write_csv(const struct job *job, struct kvs_outdir *out, struct kvs_err *err)
{
    struct kvs_csv *csv = calloc(1, sizeof *csv);
    FILE *to = csv ? kvs_outdir_file(out, "hit_curve.csv", err) : NULL;
    if (!to) {
        free(csv);
        return csv ? err->code : kvs_nomem(err);
    }
    kvs_csv_begin(csv, to);
    kvs_csv_str(csv, "cache_blocks");
    kvs_csv_str(csv, "cache_bytes");
    kvs_csv_str(csv, "hit_frac");
    kvs_csv_str(csv, "error_frac");
    kvs_csv_row(csv);
    for (unsigned i = 0; i < job->n_size; i++) {
        const struct kvs_curve_point point = kvs_curve_at(job->curve, job->size[i]);
        kvs_csv_u64(csv, job->size[i]);
        kvs_csv_double(csv, size_bytes(job, job->size[i]));
        kvs_csv_double(csv, point.hit_frac);
        kvs_csv_double(csv, point.error);
        kvs_csv_row(csv);
    }
    kvs_csv_end(csv);
    free(csv);
    return kvs_outdir_close(out, to, err);
}

static enum kvs_code plot(const struct job *job, struct kvs_err *err)
{
    struct kvs_outdir *out = NULL;
    struct kvs_err undrawn = {0};
    enum kvs_code code = kvs_outdir_begin(job->args.plot, job->args.overwrite, &out, err);
    if (!code && !(code = write_csv(job, out, err))) {
        if (kvs_plot_figure(kvs_outdir_tmp(out), "hit_curve", job->path, &undrawn))
            fprintf(stderr, "kvsim trace curve: %s\n", undrawn.msg);
        code = kvs_outdir_commit(out, err);
    } else {
        kvs_outdir_abort(out);
    }
    return code;
}

static enum kvs_code run(struct job *job, struct kvs_err *err)
{
    const struct kvs_trace_options how = {.format = job->args.format,
                                          .skip_bad = job->args.skip_bad,
                                          .chars_per_tok = job->args.chars_per_tok};
    struct kvs_trace *trace = NULL;
    enum kvs_code code;
    if ((job->args.model && (code = kvs_model_open(job->args.model, &job->model, err))) ||
        (code = kvs_trace_open(job->path, &how, &trace, err)))
        return code;
    job->curve = kvs_curve_new(job->args.sample);
    code = job->curve ? walk(job, trace, err) : kvs_nomem(err);
    kvs_trace_close(trace);
    if (!code && kvs_curve_n_access(job->curve) == 0)
        code = kvs_fail(err, KVS_ERR_PARSE, "%s: no block is used", job->path);
    if (!code && !kvs_curve_end(job->curve))
        code = kvs_nomem(err);
    if (code || (code = read_sizes(job, err)))
        return code;
    if (job->args.json)
        code = print_json(job, err);
    else
        print_text(job);
    return !code && job->args.plot ? plot(job, err) : code;
}

enum kvs_code kvs_trace_curve_cmd(int argc, char *const *argv, struct kvs_err *err)
{
    struct job job = {0};
    struct kvs_strs pos = {0};
    bool help = false;
    enum kvs_code code = kvs_opt_argv(options, N_OPTION, argc, argv, &job.args, &pos, &help, err);
    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, "kvsim trace curve TRACE [options]",
                     "Hit ratio of an LRU cache of every size, in one pass over the trace's blocks "
                     "(each\naccess counts by itself, wherever it stands in its prompt). --sample "
                     "0.01 follows one\nblock in a hundred and states its error.",
                     options, N_OPTION);
        return KVS_OK;
    }
    if (pos.n != 1)
        return kvs_fail(err, KVS_ERR_ARG, "%s: found %u traces, want one", argv[0], pos.n);
    job.path = pos.v[0];
    code = run(&job, err);
    kvs_curve_free(job.curve);
    kvs_model_free(job.model);
    free(job.key);
    return code;
}
