#include "measure.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void shuffle(unsigned *order, unsigned n, struct kvs_rng *rng)
{
    for (unsigned i = n; i > 1; i--) {
        unsigned k = (unsigned)kvs_rng_below(rng, i), t = order[i - 1];
        order[i - 1] = order[k];
        order[k] = t;
    }
}

static bool is_done(const struct kvs_task *task, const struct kvs_effort *effort)
{
    const struct kvs_point *point = task->point;
    double rate[KVS_MAX_REPEAT];
    if (point->status != KVS_MEASURED_OK || point->n_repeat >= effort->max_repeat)
        return true;
    if (point->n_repeat < effort->min_repeat)
        return false;
    for (unsigned i = 0; i < point->n_repeat; i++)
        rate[i] = point->repeat[i].bytes_per_s;
    return kvs_is_steady(rate, point->n_repeat);
}

/* One run; with keep it becomes a repeat of the point. */
static enum kvs_code run_once(struct kvs_task *task, double secs, bool keep,
                              const struct kvs_hooks *hooks, struct kvs_sample *sample,
                              struct kvs_err *err)
{
    struct kvs_err own = {KVS_OK, ""};
    struct kvs_health health = {-1, -1, -1, -1, -1};
    memset(sample, 0, sizeof *sample);
    kvs_hist_init(&sample->lat_ns);
    sample->cpu_ns = -1;
    double t0_s = hooks->now_s(hooks->self);
    if (keep)
        hooks->before(hooks->self, &health);
    enum kvs_code code = task->run(task->self, task->point, secs, sample, &own);
    if (keep)
        hooks->after(hooks->self, &health);
    if (hooks->stopped(hooks->self))
        return KVS_OK; /* what was cut short is no repeat */
    if (code == KVS_ERR_NOMEM)
        return kvs_nomem(err);
    if (code) {
        kvs_point_unavailable(task->point, code == KVS_ERR_ABSENT ? KVS_UNAVAILABLE : KVS_FAILED,
                              own.msg);
        return KVS_OK;
    }
    if (keep && !(isfinite(sample->bytes_per_s) && sample->bytes_per_s > 0)) {
        kvs_point_unavailable(task->point, KVS_FAILED, "no operation completed in the window");
        return KVS_OK;
    }
    return keep ? kvs_point_repeat(task->point, sample, &health, t0_s, err) : KVS_OK;
}

/* What is left to do before all have their least number. */
static double left_s(const struct kvs_task *tasks, unsigned n, const struct kvs_effort *effort)
{
    double left = 0;
    for (unsigned i = 0; i < n; i++)
        if (!is_done(&tasks[i], effort) && tasks[i].point->n_repeat < effort->min_repeat)
            left += effort->repeat_s * (effort->min_repeat - tasks[i].point->n_repeat);
    return left;
}

static enum kvs_code measure_round(struct kvs_task *tasks, unsigned n, const unsigned *order,
                                   const struct kvs_effort *effort, unsigned round,
                                   const struct kvs_hooks *hooks, struct kvs_sample *sample,
                                   struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    bool warm = round == 0;
    for (unsigned i = 0; i < n && !code && !hooks->stopped(hooks->self); i++) {
        struct kvs_task *task = &tasks[order[i]];
        if (is_done(task, effort))
            continue;
        if (hooks->progress)
            hooks->progress(hooks->self, task->point, round * n + i, n * (effort->min_repeat + 1),
                            left_s(tasks, n, effort) + (warm ? effort->warm_s * (n - i) : 0));
        code = run_once(task, warm ? effort->warm_s : effort->repeat_s, !warm, hooks, sample, err);
    }
    return code;
}

enum kvs_code kvs_measure(struct kvs_task *tasks, unsigned n, const struct kvs_effort *effort,
                          const struct kvs_hooks *hooks, bool *complete, struct kvs_err *err)
{
    struct kvs_rng rng = kvs_rng_stream(effort->seed, "order");
    struct kvs_sample *sample = malloc(sizeof *sample);
    unsigned *order = calloc(n + 1, sizeof *order);
    double start_s = hooks->now_s(hooks->self);
    enum kvs_code code = KVS_OK;
    *complete = false;
    if (!sample || !order) {
        code = kvs_nomem(err);
        goto done;
    }
    for (unsigned i = 0; i < n; i++)
        order[i] = i;
    for (unsigned round = 0; round <= effort->max_repeat && !code; round++) {
        if (hooks->stopped(hooks->self) ||
            (round > effort->min_repeat && hooks->now_s(hooks->self) - start_s > effort->cap_s))
            break;
        shuffle(order, n, &rng);
        code = measure_round(tasks, n, order, effort, round, hooks, sample, err);
    }
    for (unsigned i = 0; i < n; i++)
        kvs_point_judge(tasks[i].point, hooks->n_core, effort->seed);
    *complete = !code && !hooks->stopped(hooks->self);
done:
    free(order);
    free(sample);
    return code;
}
