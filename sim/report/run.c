#include "run.h"

#include "answer.h"
#include "base/outdir.h"
#include "crossover.h"
#include "figures.h"
#include "plot.h"
#include "replay.h"
#include "summary.h"
#include "tables_csv.h"
#include "timeline.h"

#include <locale.h>
#include <stdlib.h>
#include <time.h>

/* Context and block whose loads the crossover map's tier lines stand for. */
#define TIER_LINE_TOK 16384
#define TIER_LINE_BLOCK_TOK 512
#define TYPICAL_NEW_TOK 256 /* where no request loaded anything */

struct job {
    const struct kvs_workload *workload;
    const struct kvs_run_options *options;
    struct kvs_run *run;
    struct kvs_outdir *out;
    struct kvs_csv csv;
    FILE *requests; /* requests.csv, open over all policies */
    FILE *log;
    /* the policy that runs */
    uint32_t policy_i;
};

static double wall_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static enum kvs_code run_policy(struct job *job, struct kvs_err *err)
{
    const struct kvs_workload *w = job->workload;
    const char *name = w->policy[job->policy_i].name;
    struct kvs_sim_result result;
    struct kvs_collect collect = {0};
    struct kvs_trace_note note;
    const struct kvs_replay_options options = {
        .n_timeline = w->timeline_requests,
        .progress = job->options->progress,
        .ctx = job->options->ctx,
    };
    const double begin_s = wall_s();
    enum kvs_code code = kvs_replay(w, job->policy_i, &options, &collect, &note, &result, err);
    if (!code) {
        const double took_s = wall_s() - begin_s;
        fprintf(job->log, "%s: %llu requests, %llu events in %.3f s: %.0f requests/s\n", name,
                (unsigned long long)result.n_request, (unsigned long long)result.n_event, took_s,
                took_s > 0 ? (double)result.n_request / took_s : 0);
        kvs_csv_begin(&job->csv, job->requests);
        kvs_requests_csv_rows(&job->csv, &w->sim, name, &collect);
        kvs_csv_end(&job->csv);
        code = kvs_outcome_make(name, &result, &w->warmup, &collect,
                                &job->run->outcome[job->policy_i], err);
        if (!code) {
            job->run->outcome[job->policy_i].trace = note;
            kvs_collect_shrink(&job->run->outcome[job->policy_i].collect);
            job->run->n++;
        }
    }
    kvs_collect_free(&collect);
    return code;
}

static enum kvs_code run_policies(struct job *job, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    job->requests = kvs_outdir_file(job->out, "requests.csv", err);
    if (!job->requests)
        return err->code;
    kvs_csv_begin(&job->csv, job->requests);
    kvs_requests_csv_header(&job->csv, &job->workload->sim);
    kvs_csv_end(&job->csv);
    for (; job->policy_i < job->workload->n_policy && !code; job->policy_i++)
        code = run_policy(job, err);
    enum kvs_code closed = kvs_outdir_close(job->out, job->requests, err);
    return code ? code : closed;
}

/* --- files of the folder -----------------------------------------------------------------------
 */

static enum kvs_code put_json(FILE *to, const json_t *value, struct kvs_err *err)
{
    if (!value)
        return kvs_nomem(err);
    if (json_dumpf(value, to, KVS_JSON_FORMAT))
        return kvs_fail(err, KVS_ERR_IO, "the results could not be written");
    fputc('\n', to);
    return KVS_OK;
}

static enum kvs_code put_summary(struct job *job, FILE *to, struct kvs_err *err)
{
    struct kvs_run *run = job->run;
    run->summary = kvs_summary(job->workload, run->outcome, run->n, run->answer);
    return put_json(to, run->summary, err);
}

static enum kvs_code put_workload(struct job *job, FILE *to, struct kvs_err *err)
{
    json_t *record = kvs_workload_record(job->workload);
    enum kvs_code code = put_json(to, record, err);
    json_decref(record);
    return code;
}

static enum kvs_code put_plans(struct job *job, FILE *to, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    kvs_csv_begin(&job->csv, to);
    kvs_plans_csv_header(&job->csv);
    for (uint32_t i = 0; i < job->run->n && !code; i++)
        code = kvs_plans_csv_rows(&job->csv, &job->run->outcome[i], err);
    kvs_csv_end(&job->csv);
    return code;
}

static enum kvs_code put_timeline(struct job *job, FILE *to, struct kvs_err *err)
{
    const char *tier_name[KVS_MAX_TIER] = {0};
    for (uint32_t i = 0; i < job->workload->sim.n_tier; i++)
        tier_name[i] = job->workload->sim.tier[i].name;
    return kvs_timeline_write(to, tier_name, job->run->outcome, job->run->n, err);
}

static enum kvs_code put_cdf(struct job *job, FILE *to, struct kvs_err *err)
{
    (void)err;
    kvs_csv_begin(&job->csv, to);
    kvs_ttft_cdf_csv(&job->csv, job->run->outcome, job->run->n);
    kvs_csv_end(&job->csv);
    return KVS_OK;
}

static enum kvs_code put_stack(struct job *job, FILE *to, struct kvs_err *err)
{
    (void)err;
    kvs_csv_begin(&job->csv, to);
    kvs_ttft_stack_csv(&job->csv, job->run->outcome, job->run->n);
    kvs_csv_end(&job->csv);
    return KVS_OK;
}

static enum kvs_code put_hits(struct job *job, FILE *to, struct kvs_err *err)
{
    (void)err;
    kvs_csv_begin(&job->csv, to);
    kvs_hits_csv(&job->csv, &job->workload->sim, job->run->outcome, job->run->n);
    kvs_csv_end(&job->csv);
    return KVS_OK;
}

static enum kvs_code put_busy(struct job *job, FILE *to, struct kvs_err *err)
{
    (void)err;
    kvs_csv_begin(&job->csv, to);
    kvs_busy_csv(&job->csv, &job->workload->sim, job->run->outcome, job->run->n);
    kvs_csv_end(&job->csv);
    return KVS_OK;
}

/* New tokens of a typical request that had something to load. */
static uint32_t typical_new_tok(const struct kvs_run *run)
{
    for (uint32_t i = 0; i < run->n; i++)
        if (run->outcome[i].loaded_new_tok)
            return run->outcome[i].loaded_new_tok;
    return TYPICAL_NEW_TOK;
}

static enum kvs_code put_crossover(struct job *job, FILE *to, struct kvs_err *err)
{
    kvs_csv_begin(&job->csv, to);
    enum kvs_code code =
        kvs_crossover_csv(&job->csv, job->workload, typical_new_tok(job->run), err);
    kvs_csv_end(&job->csv);
    return code;
}

static enum kvs_code put_crossover_tiers(struct job *job, FILE *to, struct kvs_err *err)
{
    kvs_csv_begin(&job->csv, to);
    enum kvs_code code =
        kvs_crossover_tiers_csv(&job->csv, job->workload, TIER_LINE_TOK, TIER_LINE_BLOCK_TOK, err);
    kvs_csv_end(&job->csv);
    return code;
}

static const struct {
    const char *name;
    enum kvs_code (*put)(struct job *job, FILE *to, struct kvs_err *err);
} files[] = {
    {"summary.json", put_summary},
    {"workload.json", put_workload},
    {"plans.csv", put_plans},
    {"timeline.json", put_timeline},
    {"plots/ttft_cdf.csv", put_cdf},
    {"plots/ttft_stack.csv", put_stack},
    {"plots/hits_over_time.csv", put_hits},
    {"plots/busy_over_time.csv", put_busy},
    {"plots/crossover.csv", put_crossover},
    {"plots/crossover_tiers.csv", put_crossover_tiers},
};

static enum kvs_code write_files(struct job *job, struct kvs_err *err)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        FILE *to = kvs_outdir_file(job->out, files[i].name, err);
        if (!to)
            return err->code;
        enum kvs_code code = files[i].put(job, to, err);
        enum kvs_code closed = kvs_outdir_close(job->out, to, err);
        if (code || closed)
            return code ? code : closed;
    }
    return KVS_OK;
}

/* --- the run -----------------------------------------------------------------------------------
 */

static enum kvs_code make_folder(struct job *job, struct kvs_err *err)
{
    struct kvs_err undrawn = {0};
    enum kvs_code code;
    job->log = kvs_outdir_file(job->out, "run.log", err);
    if (!job->log)
        return err->code;
    code = run_policies(job, err);
    enum kvs_code closed = kvs_outdir_close(job->out, job->log, err);
    if (code || closed)
        return code ? code : closed;
    kvs_answer(job->run->answer, job->workload, job->run->outcome, job->run->n);
    if ((code = write_files(job, err)))
        return code;
    if (job->options->draw && kvs_plot(kvs_outdir_tmp(job->out), &undrawn))
        snprintf(job->run->undrawn, sizeof job->run->undrawn, "%s", undrawn.msg);
    if (job->options->progress &&
        job->options->progress(job->options->ctx, job->policy_i, 0, 1)) /* while drawing */
        return kvs_fail(err, KVS_ERR_IO, "interrupted");
    return KVS_OK;
}

enum kvs_code kvs_run(const struct kvs_workload *workload, const struct kvs_run_options *options,
                      struct kvs_run *run, struct kvs_err *err)
{
    struct kvs_err own = {0};
    err = err ? err : &own;
    *run = (struct kvs_run){.outcome = calloc(workload->n_policy, sizeof *run->outcome)};
    struct job *job = calloc(1, sizeof *job);
    /* figures are written with a point, whatever the caller's locale has */
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    locale_t callers = plain ? uselocale(plain) : (locale_t)0;
    enum kvs_code code;
    if (!run->outcome || !job || !plain) {
        code = kvs_nomem(err);
    } else {
        *job = (struct job){.workload = workload, .options = options, .run = run};
        code = kvs_outdir_begin(options->dir, options->overwrite, &job->out, err);
        if (!code && !(code = make_folder(job, err)))
            code = kvs_outdir_commit(job->out, err);
        else
            kvs_outdir_abort(job->out);
    }
    free(job);
    if (plain) {
        uselocale(callers);
        freelocale(plain);
    }
    if (code)
        kvs_run_free(run);
    return code;
}

void kvs_run_free(struct kvs_run *run)
{
    for (uint32_t i = 0; run->outcome && i < run->n; i++)
        kvs_outcome_free(&run->outcome[i]);
    free(run->outcome);
    json_decref(run->summary);
    *run = (struct kvs_run){0};
}
