/*
 * kvsim sample: a cluster too large to replay, told from samples of it with intervals.
 */
#include "cmd.h"
#include "signals.h"

#include "base/opt.h"
#include "base/units.h"
#include "study/sampled.h"

#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#define USAGE "kvsim sample WORKLOAD --share 0.1 [options]"
#define ABOUT                                                                                      \
    "Replays several samples of the workload's sessions (trace.sample_by: of its population's\n"   \
    "groups), each on as large a share of the cluster, and gives every figure of the whole with\n" \
    "its 95 % interval over the samples. Simulated."

struct args {
    double share;
    uint64_t samples, jobs;
    struct kvs_strs sets;
    bool full, json, quiet;
};

#define ARG(field) offsetof(struct args, field)
static const struct kvs_opt table[] = {
    {"share", KVS_OPT_DOUBLE, ARG(share), "0", 0, 1,
     "of trace and cluster; 0: the workload's trace.sample", NULL, false, 0},
    {"samples", KVS_OPT_U64, ARG(samples), "8", 2, KVS_MAX_SAMPLES, "how many", NULL, false, 'n'},
    {"full", KVS_OPT_FLAG, ARG(full), NULL, 0, 0, "simulate the whole as well, beside them", NULL,
     false, 0},
    {"set", KVS_OPT_MANY, ARG(sets), NULL, 0, 0, "PATH=VALUE, a setting of the workload", NULL,
     false, 0},
    {"json", KVS_OPT_FLAG, ARG(json), NULL, 0, 0, "as JSON", NULL, false, 0},
    {"jobs", KVS_OPT_U64, ARG(jobs), "0", 0, 4096, "worker processes; 0: one a core", NULL, false,
     'j'},
    {"quiet", KVS_OPT_FLAG, ARG(quiet), NULL, 0, 0, "no progress", NULL, false, 'q'},
};
#define N_ARG ((unsigned)(sizeof table / sizeof *table))

static void print_table(const struct kvs_sampled *sampled)
{
    printf("%u samples of %g of trace and cluster; rates and bytes of the whole; simulated\n",
           sampled->n_sample, sampled->share);
    for (unsigned p = 0; p < sampled->n_policy; p++) {
        const struct kvs_sampled_policy *policy = &sampled->policy[p];
        printf("\n%-24s %12s %27s%s\n", policy->name, "mean", "95 % interval",
               sampled->full ? "         full" : "");
        for (unsigned f = 0; f < KVS_N_SAMPLED; f++) {
            const struct kvs_estimate *e = &policy->figure[f];
            if (isnan(e->mean))
                continue;
            printf("  %-22s %12.6g %12.6g to %11.6g", kvs_sampled_name[f], e->mean,
                   e->mean - e->half, e->mean + e->half);
            if (sampled->full)
                printf(" %12.6g%s", e->full, fabs(e->full - e->mean) <= e->half ? "" : "  outside");
            putchar('\n');
        }
    }
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static enum kvs_code print_json(const struct kvs_sampled *sampled, struct kvs_err *err)
{
    json_t *policies = json_object();
    for (unsigned p = 0; p < sampled->n_policy; p++) {
        json_t *figures = json_object();
        for (unsigned f = 0; f < KVS_N_SAMPLED; f++) {
            const struct kvs_estimate *e = &sampled->policy[p].figure[f];
            json_object_set_new(figures, kvs_sampled_name[f],
                                json_pack("{s:o, s:o, s:o, s:o}", "mean", number(e->mean), "low",
                                          number(e->mean - e->half), "high",
                                          number(e->mean + e->half), "full", number(e->full)));
        }
        json_object_set_new(policies, sampled->policy[p].name, figures);
    }
    json_t *all = json_pack("{s:b, s:f, s:i, s:o}", "simulated", 1, "share", sampled->share,
                            "samples", (int)sampled->n_sample, "policies", policies);
    if (!all)
        return kvs_nomem(err);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
    return KVS_OK;
}

static bool on_progress(void *ctx, uint64_t n_simulated)
{
    if (*(const bool *)ctx)
        fprintf(stderr, "\r%" PRIu64 " runs simulated\033[K", n_simulated);
    return kvs_interrupted();
}

static unsigned n_core(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : (unsigned)CPU_COUNT(&set);
}

static enum kvs_code sample(int argc, char *const *argv, struct kvs_err *err)
{
    struct args args = {0};
    struct kvs_strs pos = {0};
    struct kvs_sampled *sampled = NULL;
    bool help = false;
    enum kvs_code code = kvs_opt_argv(table, N_ARG, argc, argv, &args, &pos, &help, err);
    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, USAGE, ABOUT, table, N_ARG);
        return KVS_OK;
    }
    if (pos.n != 1)
        return kvs_fail(err, KVS_ERR_ARG, "found %u workloads, want one: " USAGE, pos.n);
    bool shown = !args.quiet && isatty(STDERR_FILENO);
    const struct kvs_sampled_options options = {
        .workload = pos.v[0],
        .sets = args.sets,
        .share = args.share,
        .n_sample = (unsigned)args.samples,
        .n_job = args.jobs ? (unsigned)args.jobs : n_core(),
        .full = args.full,
        .progress = on_progress,
        .ctx = &shown,
    };
    kvs_catch_signals();
    code = kvs_sampled(&options, &sampled, err);
    if (shown)
        fputs("\r\033[K", stderr);
    if (!code && args.json)
        code = print_json(sampled, err);
    else if (!code)
        print_table(sampled);
    kvs_sampled_free(sampled);
    return code;
}

const struct kvs_cmd kvs_cmd_sample = {
    "sample", "a cluster too large to replay, from samples of it, with intervals", sample};
