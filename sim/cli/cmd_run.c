/*
 * kvsim run: replays a workload under each policy it compares; terminal table, results folder.
 */
#include "cmd.h"
#include "signals.h"

#include "base/opt.h"
#include "base/units.h"
#include "report/run.h"
#include "report/summary.h"
#include "report/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define USAGE "kvsim run WORKLOAD [-o DIR] [--set PATH=VALUE]... [options]"
#define ABOUT                                                                                      \
    "Replays a workload's trace on its machine under every policy of `compare`: same arrivals,\n"  \
    "one table, a folder of results. WORKLOAD is a file or a name of workloads/ (quickstart).\n"   \
    "Simulated; which of the machine's figures are assumed stands in summary.json."

struct run_args {
    const char *dir, *seed;
    struct kvs_strs sets;
    bool json, overwrite, no_plots, quiet;
};

#define ARG(field) offsetof(struct run_args, field)
static const struct kvs_opt run_table[] = {
    {"out", KVS_OPT_STR, ARG(dir), NULL, 0, 0, "results folder; default: results/NAME of NAME.json",
     NULL, false, 'o'},
    {"set", KVS_OPT_MANY, ARG(sets), NULL, 0, 0,
     "PATH=VALUE, a setting of the workload: cluster.replicas=2, 'compare=[\"best\"]'", NULL, false,
     0},
    {"seed", KVS_OPT_STR, ARG(seed), NULL, 0, 0, "in place of the workload's seed", NULL, false, 0},
    {"json", KVS_OPT_FLAG, ARG(json), NULL, 0, 0, "print summary.json in place of the table", NULL,
     false, 0},
    {"overwrite", KVS_OPT_FLAG, ARG(overwrite), NULL, 0, 0, "replace an earlier results folder",
     NULL, false, 0},
    {"no-plots", KVS_OPT_FLAG, ARG(no_plots), NULL, 0, 0,
     "draw no figures; `kvsim plot DIR` can later", NULL, false, 0},
    {"quiet", KVS_OPT_FLAG, ARG(quiet), NULL, 0, 0, "no progress, no table", NULL, false, 'q'},
};
#define N_ARG ((unsigned)(sizeof run_table / sizeof *run_table))

static double wall_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

struct meter {
    const struct kvs_workload *workload;
    bool shown; /* a terminal looks at it */
    double begin_s, last_s;
    uint64_t n_before, n_last; /* arrivals of the policies before, and of this one */
    uint32_t policy_i;
};

static void show_progress(struct meter *meter, uint32_t policy_i, double done_frac, double now_s)
{
    const uint32_t n_policy = meter->workload->n_policy;
    const double took_s = now_s - meter->begin_s;
    const double done = (policy_i + (isnan(done_frac) ? 0 : done_frac)) / n_policy;
    char count[KVS_TEXT_MAX], rate[KVS_TEXT_MAX], eta[KVS_TEXT_MAX];
    const uint64_t n = meter->n_before + meter->n_last;
    fprintf(stderr, "\r%s (%u of %u): %s requests, %s/s", meter->workload->policy[policy_i].name,
            policy_i + 1, n_policy, kvs_text_count(count, meter->n_last),
            kvs_text_count(rate, (uint64_t)((double)n / took_s)));
    if (done > 0.01)
        fprintf(stderr, ", %.0f %% done, %s to go", 100 * done,
                kvs_text_time(eta, took_s / done - took_s));
    fputs("\033[K", stderr);
}

static bool on_progress(void *ctx, uint32_t policy_i, uint64_t n_arrived, double done_frac)
{
    struct meter *meter = ctx;
    const double now_s = wall_s();
    if (policy_i != meter->policy_i) {
        meter->n_before += meter->n_last;
        meter->policy_i = policy_i;
    }
    meter->n_last = n_arrived;
    if (meter->shown && policy_i < meter->workload->n_policy && now_s - meter->last_s > 0.2) {
        show_progress(meter, policy_i, done_frac, now_s);
        meter->last_s = now_s;
    }
    return kvs_interrupted();
}

static enum kvs_code add_seed(struct run_args *args, char *buf, size_t room, struct kvs_err *err)
{
    uint64_t seed = 0;
    if (!args->seed)
        return KVS_OK;
    if (kvs_parse_u64(args->seed, &seed, NULL) || seed > INT64_MAX) /* JSON's whole numbers */
        return kvs_fail(err, KVS_ERR_ARG,
                        "--seed: found \"%.40s\", want a whole number, 0 to 9223372036854775807",
                        args->seed);
    if (args->sets.n == sizeof args->sets.v / sizeof *args->sets.v)
        return kvs_fail(err, KVS_ERR_ARG, "--set: more than %u settings", args->sets.n - 1);
    snprintf(buf, room, "seed=%llu", (unsigned long long)seed);
    args->sets.v[args->sets.n++] = buf;
    return KVS_OK;
}

/* Words in lines of at most 100 columns. */
static void print_wrapped(const char *text)
{
    size_t column = 0;
    while (*text) {
        size_t n = strcspn(text, " ");
        if (column && column + 1 + n > 100) {
            fputc('\n', stdout);
            column = 0;
        }
        printf("%s%.*s", column ? " " : "", (int)n, text);
        column += n + (column > 0);
        text += n + (text[n] == ' ');
    }
    fputc('\n', stdout);
}

static void print_results(const struct kvs_workload *workload, const struct kvs_run *run,
                          const struct run_args *args, const char *dir, double took_s)
{
    char time[KVS_TEXT_MAX];
    if (args->json) {
        json_dumpf(run->summary, stdout, KVS_JSON_FORMAT);
        fputc('\n', stdout);
        return;
    }
    if (args->quiet)
        return;
    kvs_table_print(stdout, workload, run->outcome, run->n);
    fputc('\n', stdout);
    print_wrapped(run->answer);
    printf("\nresults: %s (summary.json, requests.csv, plans.csv, timeline.json, plots/), "
           "after %s\n",
           dir, kvs_text_time(time, took_s));
    if (*run->undrawn)
        printf("no figures: %s\n", run->undrawn);
}

static enum kvs_code run_workload(const struct kvs_workload *workload, const struct run_args *args,
                                  const char *dir, struct kvs_err *err)
{
    struct meter meter = {
        .workload = workload,
        .shown = !args->quiet && isatty(STDERR_FILENO),
        .begin_s = wall_s(),
    };
    const struct kvs_run_options options = {
        .dir = dir,
        .overwrite = args->overwrite,
        .draw = workload->plots && !args->no_plots,
        .progress = on_progress,
        .ctx = &meter,
    };
    struct kvs_run run;
    kvs_catch_signals();
    enum kvs_code code = kvs_run(workload, &options, &run, err);
    if (meter.shown)
        fputs("\r\033[K", stderr);
    if (!code)
        print_results(workload, &run, args, dir, wall_s() - meter.begin_s);
    kvs_run_free(&run);
    return code;
}

static enum kvs_code run(int argc, char *const *argv, struct kvs_err *err)
{
    struct run_args args = {0};
    struct kvs_strs pos = {0};
    struct kvs_workload *workload = NULL;
    char seed[40], *dir = NULL;
    bool help = false;
    enum kvs_code code = kvs_opt_argv(run_table, N_ARG, argc, argv, &args, &pos, &help, err);
    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, USAGE, ABOUT, run_table, N_ARG);
        return KVS_OK;
    }
    if (pos.n != 1)
        return kvs_fail(err, KVS_ERR_ARG, "found %u workload files, want one: " USAGE, pos.n);
    if (!(code = add_seed(&args, seed, sizeof seed, err)) &&
        !(code = kvs_workload_open(pos.v[0], &args.sets, &workload, err))) {
        if (asprintf(&dir, "%s%s", args.dir ? args.dir : "results/",
                     args.dir ? "" : workload->name) < 0)
            dir = NULL;
        code = dir ? run_workload(workload, &args, dir, err) : kvs_nomem(err);
    }
    free(dir);
    kvs_workload_free(workload);
    return code;
}

const struct kvs_cmd kvs_cmd_run = {
    "run", "replay a workload under several policies: table, figures, results folder", run};
