#include "plan_limit.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool stop(void *ctx, uint32_t layer, uint32_t n_layer, size_t n_partial)
{
    struct kvs_plan_limit *limit = ctx;
    double now = now_s();

    if (limit->shown && now - limit->told_s >= .5) {
        fprintf(stderr, "\rexact: layer %u of %u, %zu partial plans, %.0f s\033[K", layer, n_layer,
                n_partial, now - limit->start_s);
        limit->told_s = now;
    }
    limit->stopped |= now - limit->start_s > limit->limit_s;
    return now - limit->start_s > limit->limit_s;
}

void kvs_plan_limit_begin(struct kvs_plan_limit *limit, double limit_s)
{
    double now = now_s();

    *limit = (struct kvs_plan_limit){.limit_s = limit_s,
                                     .start_s = now,
                                     .told_s = now,
                                     .shown = isatty(STDERR_FILENO),
                                     .watch = {stop, limit}};
}

void kvs_plan_limit_end(struct kvs_plan_limit *limit)
{
    if (limit->told_s > limit->start_s)
        fputs("\r\033[K", stderr);
}
