/*
 * kvsim sweep: a workload over the points of a grid, on all cores, by MPI or in shards; and merge.
 */
#include "cmd.h"
#include "signals.h"

#include "base/opt.h"
#include "base/units.h"
#include "study/farm_mpi.h"
#include "study/sweep.h"

#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define USAGE                                                                                      \
    "kvsim sweep SWEEP [-o DIR] [--jobs N] [--shard I/N] | kvsim sweep merge DIR... -o OUT"
#define ABOUT                                                                                      \
    "Runs a workload at every point of a grid and writes DIR/results.csv: a row a point and\n"     \
    "policy. SWEEP is a file or a name of configs/sweeps (quick). What is finished is kept: the\n" \
    "same command goes on where it stopped. Under mpirun, rank 0 deals the points out to the\n"    \
    "other ranks. With --shard I/N (1/4 to 4/4) each does its part, and merge makes one table."

struct sweep_args {
    const char *dir, *shard;
    uint64_t jobs;
    struct kvs_strs sets;
    bool overwrite, quiet;
};

#define ARG(field) offsetof(struct sweep_args, field)
static const struct kvs_opt sweep_table[] = {
    {"out", KVS_OPT_STR, ARG(dir), NULL, 0, 0, "results folder; default: results/NAME of NAME.json",
     NULL, false, 'o'},
    {"jobs", KVS_OPT_U64, ARG(jobs), "0", 0, 4096, "worker processes; 0: one a core", NULL, false,
     'j'},
    {"shard", KVS_OPT_STR, ARG(shard), NULL, 0, 0, "I/N: every Nth point from the Ith on", NULL,
     false, 0},
    {"set", KVS_OPT_MANY, ARG(sets), NULL, 0, 0, "PATH=VALUE, a setting of all points", NULL, false,
     0},
    {"overwrite", KVS_OPT_FLAG, ARG(overwrite), NULL, 0, 0, "begin anew", NULL, false, 0},
    {"quiet", KVS_OPT_FLAG, ARG(quiet), NULL, 0, 0, "no progress, no summary", NULL, false, 'q'},
};
#define N_ARG ((unsigned)(sizeof sweep_table / sizeof *sweep_table))

static double wall_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

struct meter {
    bool shown;
    double begin_s, last_s;
};

static bool on_progress(void *ctx, const struct kvs_sweep_count *count)
{
    struct meter *meter = ctx;
    const double now_s = wall_s(), took_s = now_s - meter->begin_s;
    const uint64_t n_done = count->n_kept + count->n_run;
    char text[KVS_TEXT_MAX], of[KVS_TEXT_MAX];
    if (meter->shown && now_s - meter->last_s > 0.2) {
        meter->last_s = now_s;
        fprintf(stderr, "\r%s of %s points", kvs_text_count(text, n_done),
                kvs_text_count(of, count->n_point));
        if (count->n_failed)
            fprintf(stderr, ", %s failed", kvs_text_count(text, count->n_failed));
        if (count->n_run) {
            const double per_s = (double)count->n_run / took_s;
            fprintf(stderr, ", %.3g points/s, %s to go", per_s,
                    kvs_text_time(text, (double)(count->n_point - n_done) / per_s));
        }
        fputs("\033[K", stderr);
    }
    return kvs_interrupted();
}

static enum kvs_code read_shard(const char *text, struct kvs_sweep_options *options,
                                struct kvs_err *err)
{
    unsigned long long i = 0, n = 0;
    int end = 0;
    if (!text)
        return KVS_OK;
    if (sscanf(text, "%llu/%llu%n", &i, &n, &end) != 2 || text[end] || text[0] == '-' || i < 1 ||
        i > n)
        return kvs_fail(err, KVS_ERR_ARG, "--shard: found \"%.40s\", want I/N with I from 1 to N",
                        text);
    options->shard_i = i - 1;
    options->shard_n = n;
    return KVS_OK;
}

static unsigned n_core(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : (unsigned)CPU_COUNT(&set);
}

static void print_count(const struct kvs_sweep_count *count, const char *dir, double took_s)
{
    char a[KVS_TEXT_MAX], b[KVS_TEXT_MAX], c[KVS_TEXT_MAX], d[KVS_TEXT_MAX];
    printf("%s points: %s run, %s kept from before, %s failed, after %s; simulated\n",
           kvs_text_count(a, count->n_point), kvs_text_count(b, count->n_run),
           kvs_text_count(c, count->n_kept), kvs_text_count(d, count->n_failed),
           kvs_text_time((char[KVS_TEXT_MAX]){0}, took_s));
    if (count->complete)
        printf("results: %s/results.csv\n", dir);
    else
        printf("kept in %s; `kvsim sweep merge` makes the table of all shards\n", dir);
}

static enum kvs_code run_sweep(const struct kvs_spec *spec, const struct sweep_args *args,
                               const char *dir, struct kvs_mpi *mpi, struct kvs_err *err)
{
    struct meter meter = {
        .shown = !args->quiet && isatty(STDERR_FILENO),
        .begin_s = wall_s(),
    };
    struct kvs_sweep_options options = {
        .dir = dir,
        .overwrite = args->overwrite,
        .n_job = args->jobs ? (unsigned)args->jobs : n_core(),
        .shard_n = 1,
        .deal = mpi ? kvs_mpi_deal : NULL,
        .deal_ctx = mpi,
        .progress = on_progress,
        .ctx = &meter,
    };
    struct kvs_sweep_count count;
    enum kvs_code code = read_shard(args->shard, &options, err);
    if (code)
        return code;
    kvs_catch_signals();
    code = kvs_sweep_run(spec, &options, &count, err);
    if (meter.shown)
        fputs("\r\033[K", stderr);
    if (!code && !args->quiet)
        print_count(&count, dir, wall_s() - meter.begin_s);
    return code;
}

/* Rank 0 runs the sweep, the others work for it. What a rank prints but the first is lost in many
 * launchers, so that only rank 0 speaks. */
static enum kvs_code run_or_help(const struct kvs_spec *spec, const struct sweep_args *args,
                                 const char *dir, struct kvs_err *err)
{
    struct kvs_mpi *mpi;
    enum kvs_code code = kvs_mpi_join(&mpi, err);
    if (code)
        return code;
    if (mpi && kvs_mpi_rank(mpi) > 0)
        code = kvs_sweep_help(spec, kvs_mpi_work, mpi, err);
    else
        code = run_sweep(spec, args, dir, mpi, err);
    if (mpi && code) /* the first to fail ends all, so it says why itself */
        fprintf(stderr, "kvsim sweep: %s\n", err->msg);
    kvs_mpi_leave(mpi, code != KVS_OK);
    return code;
}

static enum kvs_code merge(int argc, char *const *argv, struct kvs_err *err)
{
    struct sweep_args args = {0};
    struct kvs_strs dirs = {0};
    struct kvs_sweep_count count;
    bool help = false;
    enum kvs_code code = kvs_opt_argv(sweep_table, N_ARG, argc, argv, &args, &dirs, &help, err);
    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, USAGE, ABOUT, sweep_table, N_ARG);
        return KVS_OK;
    }
    if (dirs.n == 0 || !args.dir)
        return kvs_fail(err, KVS_ERR_ARG, "want the shards' folders and -o OUT: " USAGE);
    if ((code = kvs_sweep_merge(&dirs, args.dir, &count, err)))
        return code;
    if (!args.quiet)
        printf("%" PRIu64 " points: %s/results.csv\n", count.n_point, args.dir);
    return KVS_OK;
}

static enum kvs_code sweep(int argc, char *const *argv, struct kvs_err *err)
{
    struct sweep_args args = {0};
    struct kvs_strs pos = {0};
    struct kvs_spec *spec = NULL;
    char *dir = NULL;
    bool help = false;
    enum kvs_code code;
    if (argc > 1 && strcmp(argv[1], "merge") == 0)
        return merge(argc - 1, argv + 1, err);
    if ((code = kvs_opt_argv(sweep_table, N_ARG, argc, argv, &args, &pos, &help, err)))
        return code;
    if (help) {
        kvs_opt_help(stdout, USAGE, ABOUT, sweep_table, N_ARG);
        return KVS_OK;
    }
    if (pos.n != 1)
        return kvs_fail(err, KVS_ERR_ARG, "found %u sweeps, want one: " USAGE, pos.n);
    if (!(code = kvs_spec_open(pos.v[0], &args.sets, &spec, err))) {
        if (asprintf(&dir, "%s%s", args.dir ? args.dir : "results/", args.dir ? "" : spec->name) <
            0)
            dir = NULL;
        code = dir ? run_or_help(spec, &args, dir, err) : kvs_nomem(err);
    }
    free(dir);
    kvs_spec_free(spec);
    return code;
}

const struct kvs_cmd kvs_cmd_sweep = {
    "sweep", "run a workload over a grid of settings, on cores, by MPI or in shards", sweep};
