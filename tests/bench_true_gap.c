/*
 * The true gap of the certified planner at full size, (value - optimum) / value, wherever `exact`
 * ends: problems of the shared generator, one JSON line per result, one line per problem on
 * standard error. Seeds from 1 on, three problems each (two realistic, one adversarial).
 * Environment:
 *
 *     TRUE_GAP_SEEDS     how many seeds (2)
 *     TRUE_GAP_LIMIT_S   processor seconds of exact on one problem (3; the study: 60)
 *     TRUE_GAP_MINUTES   no problem is begun after so many minutes (1)
 *     TRUE_GAP_KIND      realistic or adversarial alone: two runs, two cores
 */
#include "base/hist.h"
#include "plan/instance.h"
#include "test.h"
#include "tmpdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 4096, N_KIND = 2 };

static const char *const kind_name[N_KIND] = {"realistic", "adversarial"};

/* Problems of one kind that were planned. */
struct kind {
    double truth[MOST];   /* %, of those that exact solved */
    double printed[MOST]; /* %, of the same: value and bound */
    double open[MOST];    /* %, printed, of those that it did not solve */
    uint32_t n_solved, n_open, n_met;
};

struct watch {
    double end_s;
};

static double clock_s(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool stop(void *ctx, uint32_t layer, uint32_t n_layer, size_t n_partial)
{
    const struct watch *watch = ctx;

    (void)layer;
    (void)n_layer;
    (void)n_partial;
    return clock_s(CLOCK_PROCESS_CPUTIME_ID) > watch->end_s;
}

static double setting(const char *name, double otherwise)
{
    const char *text = getenv(name);

    return text ? strtod(text, NULL) : otherwise;
}

static double percent(int64_t value, int64_t least)
{
    return 100 * (double)(value - least) / (double)value;
}

/* false: a planner failed, or what it says is no proof. */
static bool plan_one(const struct kvs_plan_instance *in, uint32_t seed, double limit_s,
                     struct kind *kind)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();
    struct watch watch;
    const struct kvs_plan_watch asked = {stop, &watch};
    struct kvs_plan_eval eval, best;
    int64_t bound = 0, proven = 0;
    struct kvs_err err = {0};
    struct kvs_plan plan;
    double start = clock_s(CLOCK_PROCESS_CPUTIME_ID), gap;
    bool good = scratch && kvs_planner_find("optimal")->plan(&in->problem, scratch, &plan, &eval,
                                                             &bound, &err) == KVS_OK;

    watch.end_s = start + limit_s;
    if (good) {
        kvs_plan_scratch_watch(scratch, &asked);
        good = kvs_planner_find("exact")->plan(&in->problem, scratch, &plan, &best, &proven,
                                               &err) == KVS_OK &&
               proven <= best.end_ns && bound <= best.end_ns && best.end_ns <= eval.end_ns;
    }
    kvs_plan_scratch_free(scratch);
    if (!good) {
        fprintf(stderr, "true gap: seed %u %s failed: %s\n", seed, in->name, err.msg);
        return false;
    }
    gap = percent(eval.end_ns, bound);
    if (proven == best.end_ns) {
        kind->truth[kind->n_solved] = percent(eval.end_ns, best.end_ns);
        kind->printed[kind->n_solved++] = gap;
        kind->n_met += best.end_ns == eval.end_ns;
    } else {
        kind->open[kind->n_open++] = gap;
    }
    fprintf(stderr, "true gap: seed %u %s: gap printed %.4f %%, ", seed, in->name, gap);
    if (proven == best.end_ns)
        fprintf(stderr, "true %.4f %%", percent(eval.end_ns, best.end_ns));
    else
        fputs("exact gave up", stderr);
    fprintf(stderr, ", %.1f s\n", clock_s(CLOCK_PROCESS_CPUTIME_ID) - start);
    return true;
}

static bool plan_seed(const char *generator, uint32_t seed, double limit_s, double until_s,
                      struct kind kinds[N_KIND])
{
    const char *only = getenv("TRUE_GAP_KIND");
    char file[512], command[8192];
    struct kvs_plan_set *set = NULL;
    struct kvs_err err = {0};
    bool good;

    snprintf(file, sizeof file, "%s/true_gap.json", tmpdir());
    snprintf(command, sizeof command, "python3 '%s' %u '%s' 0 3 126 17 6 >/dev/null", generator,
             seed, file);
    good = system(command) == 0 && kvs_plan_set_open(file, &set, &err) == KVS_OK;
    if (!good)
        fprintf(stderr, "true gap: seed %u: %s\n", seed, err.msg[0] ? err.msg : command);
    for (size_t i = 0; good && i < kvs_plan_set_n(set); i++) {
        const struct kvs_plan_instance *in = kvs_plan_set_at(set, i);

        for (int k = 0; k < N_KIND; k++)
            if (strstr(in->name, kind_name[k]) && (!only || strcmp(only, kind_name[k]) == 0) &&
                clock_s(CLOCK_MONOTONIC) < until_s)
                good = plan_one(in, seed, limit_s, &kinds[k]);
    }
    kvs_plan_set_free(set);
    return good;
}

static void line(const char *kind, double limit_s, const char *what, double value, const char *unit)
{
    printf(
        "{\"bench\": \"true gap\", \"what\": \"%s, 126x17x6, exact up to %g s: %s\", \"figure\": "
        "%.6g, \"unit\": \"%s\"}\n",
        kind, limit_s, what, value, unit);
}

static void spread(const char *kind, double limit_s, const char *what, double *values, uint32_t n)
{
    char text[80];

    qsort(values, n, sizeof *values, kvs_cmp_double);
    for (int i = 0; i < 3 && n > 0; i++) {
        static const double at[] = {50, 99, 100};

        snprintf(text, sizeof text, "%s p%g", what, at[i]);
        line(kind, limit_s, text, kvs_percentile(values, n, at[i]), "%");
    }
}

int main(void)
{
    const char *generator = kvs_shared("golden/generate.py");
    double limit_s = setting("TRUE_GAP_LIMIT_S", 3), n_seed = setting("TRUE_GAP_SEEDS", 2);
    double until_s = clock_s(CLOCK_MONOTONIC) + 60 * setting("TRUE_GAP_MINUTES", 1);
    struct kind *kinds = calloc(N_KIND, sizeof *kinds);
    bool good = kinds != NULL;

    if (!generator || system("python3 -c '' 2>/dev/null") != 0) {
        fprintf(stderr, "true gap: skipped: %s is not there\n",
                generator ? "python3" : "golden/generate.py of the shared folder");
        free(kinds);
        return 0;
    }
    good = good && tmpdir_make(NULL) == 0;
    for (uint32_t seed = 1;
         good && seed <= n_seed && seed <= MOST / 2 && clock_s(CLOCK_MONOTONIC) < until_s; seed++)
        good = plan_seed(generator, seed, limit_s, until_s, kinds);
    for (int k = 0; good && k < N_KIND; k++) {
        struct kind *kind = &kinds[k];

        if (kind->n_solved + kind->n_open == 0)
            continue;
        line(kind_name[k], limit_s, "problems", kind->n_solved + kind->n_open, "");
        line(kind_name[k], limit_s, "ended", kind->n_solved, "");
        line(kind_name[k], limit_s, "plan is the optimum", kind->n_met, "");
        spread(kind_name[k], limit_s, "true gap where it ended", kind->truth, kind->n_solved);
        spread(kind_name[k], limit_s, "gap printed there", kind->printed, kind->n_solved);
        spread(kind_name[k], limit_s, "gap printed where it did not end", kind->open, kind->n_open);
    }
    if (kinds)
        tmpdir_drop(NULL);
    free(kinds);
    return good ? 0 : 1;
}
