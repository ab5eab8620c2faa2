/* The evaluation and the planners: nanoseconds a call, gaps, one JSON line each. */
#include "plan_random.h"

#include <stdio.h>
#include <time.h>

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void line(const char *what, double value, const char *unit, double goal)
{
    printf("{\"bench\": \"plan\", \"what\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"goal\": "
           "%.6g}\n",
           what, value, unit, goal);
}

static void bench_eval(void)
{
    enum { n_call = 2000000 };
    struct kvs_arena *arena = kvs_arena_new();
    struct kvs_rng rng = kvs_rng_stream(1, "bench");
    struct kvs_plan_problem *p = plan_random(arena, &rng, PLAN_REALISTIC, 32, 17, 1);
    struct kvs_plan_eval e;
    struct kvs_plan plan;
    int64_t sum = 0;
    double start;

    p->n_route = 1;
    plan_random_plan(&rng, p, &plan);
    start = now_s();
    for (int n = 0; n < n_call; n++) {
        p->gpu_start_ns = n & 7;
        if (kvs_plan_eval(p, &plan, NULL, &e))
            sum += e.end_ns;
    }
    line(sum ? "kvs_plan_eval, 32 layers, one route" : "", (now_s() - start) / n_call * 1e9, "ns",
         150);
    kvs_arena_free(arena);
}

static void bench_policy(const char *name, bool share)
{
    enum { n_call = 100000 };
    struct kvs_arena *arena = kvs_arena_new();
    struct kvs_rng rng = kvs_rng_stream(1, "bench");
    struct kvs_plan_problem *p = plan_random(arena, &rng, PLAN_REALISTIC, 32, 17, 1);
    const struct kvs_planner_ops *ops = kvs_planner_find(name);
    struct kvs_plan_eval e;
    struct kvs_plan plan;
    int64_t bound;
    char what[80];
    double start;

    p->n_route = 1;
    if (share)
        plan_random_share(p);
    start = now_s();
    for (int n = 0; n < n_call; n++) {
        p->gpu_start_ns = n & 7;
        if (ops->plan(p, NULL, &plan, &e, &bound, NULL))
            break;
    }
    snprintf(what, sizeof what, "%s, 32 layers%s, 17 fractions, one level", name,
             share ? " of equal cost" : "");
    line(what, (now_s() - start) / n_call * 1e6, "us", 5);
    kvs_arena_free(arena);
}

int main(void)
{
    bench_eval();
    for (unsigned n = 0; kvs_planner_list[n]; n++) {
        bench_policy(kvs_planner_list[n]->name, true);
        bench_policy(kvs_planner_list[n]->name, false);
    }
    return 0;
}
