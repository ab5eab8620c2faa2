#include "sampled.h"

#include "base/units.h"

#include "farm.h"
#include "model/csv.h"
#include "point.h"
#include "report/sample.h"
#include "report/workload.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COLUMN 128
#define N_COLUMN (KVS_N_SAMPLED - 1) /* the last figure is the sum of two of them */

/* Columns of a sweep's table. */
#define FIGURES(X)                                                                                 \
    X(requests, true)                                                                              \
    X(hbm_hit_frac, false)                                                                         \
    X(tiers_hit_frac, false)                                                                       \
    X(recomputed_frac, false)                                                                      \
    X(ttft_mean_s, false)                                                                          \
    X(ttft_p50_s, false)                                                                           \
    X(ttft_p99_s, false)                                                                           \
    X(tpot_mean_s, false)                                                                          \
    X(throughput_req_per_s, true)                                                                  \
    X(goodput_req_per_s, true)                                                                     \
    X(gpu_busy_frac, false)                                                                        \
    X(write_bytes, true)

#define NAME(column, whole) #column,
const char *const kvs_sampled_name[KVS_N_SAMPLED] = {FIGURES(NAME) "hit_frac"};
#undef NAME

/* Whether it grows with the cluster: a sample's is then divided by its share. */
#define OF_WHOLE(column, whole) whole,
static const bool of_whole[] = {FIGURES(OF_WHOLE)};
#undef OF_WHOLE

struct kvs_estimate kvs_sampled_estimate(const double *value, unsigned n)
{
    /* two-sided 95 %, 1 to 29 degrees of freedom */
    static const double t[KVS_MAX_SAMPLES - 1] = {
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
        2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
        2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045};
    struct kvs_estimate e = {.full = (double)NAN};
    double square = 0;
    for (unsigned i = 0; i < n; i++)
        e.mean += value[i] / n;
    for (unsigned i = 0; i < n; i++)
        square += (value[i] - e.mean) * (value[i] - e.mean);
    e.half = n < 2 ? (double)NAN : t[n - 2] * sqrt(square / (n - 1) / n);
    return e;
}

/* --- simulating --------------------------------------------------------------------------------
 */

struct study {
    const struct kvs_sampled_options *options;
    struct kvs_sampled *out;
    struct kvs_point_job job;
    unsigned column[N_COLUMN], n_column, policy_col, status_col;
    unsigned n_point, next, n_done;
    double *value; /* [policy][figure][point]; the full run is the last point */
    char *header;
};

static bool next_item(void *ctx, uint64_t *item)
{
    struct study *study = ctx;
    *item = study->next;
    return study->next < study->n_point && ++study->next;
}

static char *work(void *ctx, uint64_t item)
{
    return kvs_point_run(&((struct study *)ctx)->job, item);
}

static bool tick(void *ctx)
{
    const struct study *study = ctx;
    return study->options->progress && study->options->progress(study->options->ctx, study->n_done);
}

static double *value_at(const struct study *study, unsigned policy_i, unsigned figure_i)
{
    return &study->value[((size_t)policy_i * KVS_N_SAMPLED + figure_i) * study->n_point];
}

static double read_number(const char *text)
{
    double value;
    return kvs_parse_double(text, &value, NULL) == KVS_OK ? value : (double)NAN;
}

/* A policy's row of a point. */
static enum kvs_code read_row(struct study *study, uint64_t item, unsigned policy_i, char *row,
                              struct kvs_err *err)
{
    char *field[MAX_COLUMN];
    unsigned bad;
    const unsigned n = kvs_csv_split(row, field, MAX_COLUMN, &bad);
    if (n != study->n_column || policy_i >= study->out->n_policy)
        return kvs_fail(err, KVS_ERR_PARSE, "sample %u: %u fields", (unsigned)item + 1, n);
    if (strcmp(field[study->status_col], "ok") != 0)
        return kvs_fail(err, KVS_ERR_ARG, "sample %u: %s", (unsigned)item + 1,
                        field[study->status_col]);
    snprintf(study->out->policy[policy_i].name, sizeof study->out->policy[policy_i].name, "%.31s",
             field[study->policy_col]);
    const bool full = study->options->full && item + 1 == study->n_point;
    double hit = 0;
    for (unsigned f = 0; f < N_COLUMN; f++) {
        const double value = read_number(field[study->column[f]]);
        value_at(study, policy_i, f)[item] = value / (of_whole[f] && !full ? study->out->share : 1);
        if (strstr(kvs_sampled_name[f], "hit_frac") && isfinite(value))
            hit += value;
    }
    value_at(study, policy_i, N_COLUMN)[item] = hit;
    return KVS_OK;
}

static enum kvs_code done(void *ctx, uint64_t item, const char *text, const char *reason,
                          struct kvs_err *err)
{
    struct study *study = ctx;
    if (!text)
        return kvs_fail(err, KVS_ERR_IO, "sample %u: %s", (unsigned)item + 1, reason);
    char *rows = strdup(text), *rest = rows;
    enum kvs_code code = rows ? KVS_OK : kvs_nomem(err);
    for (unsigned p = 0; rest && !code; p++)
        code = read_row(study, item, p, strsep(&rest, "\t"), err);
    free(rows);
    study->n_done++;
    return code;
}

/* --- the samples as a sweep ----------------------------------------------------------------------
 */

static char *sweep_text(const struct study *study)
{
    json_t *choices = json_array();
    char name[24];
    for (unsigned i = 0; i < study->options->n_sample; i++) {
        snprintf(name, sizeof name, "sample %u", i + 1);
        json_array_append_new(choices,
                              json_pack("{s:s, s:{s:f, s:i}}", "name", name, "set", "trace.sample",
                                        study->out->share, "trace.sample_seed", (int)i + 1));
    }
    if (study->options->full)
        json_array_append_new(
            choices, json_pack("{s:s, s:{s:i}}", "name", "full", "set", "trace.sample", 1));
    json_t *sweep = json_pack("{s:s, s:[{s:s, s:o}]}", "workload", study->options->workload, "axes",
                              "name", "what", "choices", choices);
    char *text = sweep ? json_dumps(sweep, 0) : NULL;
    json_decref(sweep);
    return text;
}

static enum kvs_code find_columns(struct study *study, struct kvs_err *err)
{
    char *field[MAX_COLUMN], *header = strdup(study->header);
    unsigned bad, found = 0;
    if (!header)
        return kvs_nomem(err);
    header[strcspn(header, "\n")] = '\0';
    study->n_column = kvs_csv_split(header, field, MAX_COLUMN, &bad);
    for (unsigned i = 0; i < study->n_column && i < MAX_COLUMN; i++) {
        if (strcmp(field[i], "policy") == 0)
            study->policy_col = i;
        if (strcmp(field[i], "status") == 0)
            study->status_col = i;
        for (unsigned f = 0; f < N_COLUMN; f++)
            if (strcmp(field[i], kvs_sampled_name[f]) == 0) {
                study->column[f] = i;
                found++;
            }
    }
    free(header);
    return found == N_COLUMN
               ? KVS_OK
               : kvs_fail(err, KVS_ERR_PARSE, "%u of %d columns of figures", found, N_COLUMN);
}

/* All points replay the same trace: it is read once. */
static enum kvs_code share_trace(struct study *study, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    for (unsigned i = 0; i < 2 && !code; i++) {
        struct kvs_doc *doc;
        if (!(code = kvs_point_document(study->job.spec, 0, &doc, err))) {
            code = kvs_traces_count(study->job.traces, doc, err);
            kvs_doc_free(doc);
        }
    }
    return code ? code : kvs_traces_load(study->job.traces, err);
}

static enum kvs_code simulate(struct study *study, struct kvs_err *err)
{
    const struct kvs_farm farm = {
        .ctx = study, .next = next_item, .work = work, .done = done, .tick = tick};
    char *text = sweep_text(study);
    struct kvs_doc *doc = NULL;
    struct kvs_spec *spec = NULL;
    enum kvs_code code =
        text ? kvs_doc_parse("samples.json", text, strlen(text), &doc, err) : kvs_nomem(err);
    if (!code)
        code = kvs_spec_from(doc, "samples.json", &study->options->sets, &spec, err);
    free(text);
    if (code)
        return code;
    study->job = (struct kvs_point_job){spec, kvs_traces_new()};
    study->header = kvs_point_header(spec);
    if (!study->job.traces || !study->header)
        code = kvs_nomem(err);
    else if (!(code = find_columns(study, err)) && !(code = share_trace(study, err)))
        code = kvs_farm_local(&farm, study->options->n_job, err);
    kvs_traces_free(study->job.traces);
    kvs_spec_free(spec);
    free(study->header);
    return code;
}

static void make_estimates(const struct study *study)
{
    for (unsigned p = 0; p < study->out->n_policy; p++)
        for (unsigned f = 0; f < KVS_N_SAMPLED; f++) {
            const double *value = value_at(study, p, f);
            struct kvs_estimate *e = &study->out->policy[p].figure[f];
            *e = kvs_sampled_estimate(value, study->options->n_sample);
            if (study->options->full)
                e->full = value[study->n_point - 1];
        }
}

/* --- all of it -----------------------------------------------------------------------------------
 */

/* What the workload says of it; wrong settings are told before anything is simulated. */
static enum kvs_code read_workload(struct study *study, struct kvs_err *err)
{
    const struct kvs_sampled_options *options = study->options;
    struct kvs_doc *doc = NULL;
    struct kvs_workload *workload = NULL;
    char share[32];
    enum kvs_code code = kvs_workload_document(options->workload, &options->sets, &doc, err);
    if (code)
        return code;
    snprintf(share, sizeof share, "%.17g", options->share);
    if (options->share > 0 && (code = kvs_doc_set(doc, "trace.sample", share, err))) {
        kvs_doc_free(doc);
        return code;
    }
    if ((code = kvs_workload_from(doc, options->workload, &workload, err)))
        return code;
    study->out->share = workload->share;
    study->out->n_policy = workload->n_policy;
    if (!(workload->share < 1))
        code = kvs_fail(err, KVS_ERR_ARG,
                        "no share to sample: want --share 0.1, or trace.sample below 1 in %s",
                        options->workload);
    kvs_workload_free(workload);
    return code;
}

static enum kvs_code run(struct study *study, struct kvs_err *err)
{
    struct kvs_sampled *sampled = study->out;
    enum kvs_code code = read_workload(study, err);
    if (code)
        return code;
    sampled->n_sample = study->options->n_sample;
    sampled->full = study->options->full;
    study->n_point = sampled->n_sample + sampled->full;
    sampled->policy = calloc(sampled->n_policy, sizeof *sampled->policy);
    study->value =
        calloc((size_t)sampled->n_policy * KVS_N_SAMPLED * study->n_point, sizeof *study->value);
    if (!sampled->policy || !study->value)
        return kvs_nomem(err);
    if (!(code = simulate(study, err)))
        make_estimates(study);
    return code;
}

enum kvs_code kvs_sampled(const struct kvs_sampled_options *options, struct kvs_sampled **out,
                          struct kvs_err *err)
{
    struct kvs_sampled *sampled = calloc(1, sizeof *sampled);
    *out = NULL;
    if (!sampled)
        return kvs_nomem(err);
    struct study study = {.options = options, .out = sampled};
    enum kvs_code code = run(&study, err);
    free(study.value);
    if (code) {
        kvs_sampled_free(sampled);
        return code;
    }
    *out = sampled;
    return KVS_OK;
}

void kvs_sampled_free(struct kvs_sampled *sampled)
{
    if (!sampled)
        return;
    free(sampled->policy);
    free(sampled);
}
