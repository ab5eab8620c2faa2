/* The evaluation and the planners: nanoseconds a call, gaps, one JSON line each. */
#include "base/hist.h"
#include "plan_random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Processor time: planners run on one thread, and others may keep the machine busy. */
static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
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

/* Replans one problem, of which only the start of the GPU changes. us a plan. */
static double replan_us(const struct kvs_planner_ops *ops, struct kvs_plan_problem *p, int n_call)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();
    struct kvs_plan_eval e;
    struct kvs_plan plan;
    int64_t bound;
    double start = now_s();

    for (int n = 0; n < n_call; n++) {
        p->gpu_start_ns = n & 7;
        if (ops->plan(p, scratch, &plan, &e, &bound, NULL))
            break;
    }
    start = (now_s() - start) / n_call * 1e6;
    kvs_plan_scratch_free(scratch);
    return start;
}

static bool searches(const char *name)
{
    static const char *const those[] = {"optimal", "careful", "online", "exact"};

    for (size_t n = 0; n < sizeof those / sizeof *those; n++)
        if (strcmp(name, those[n]) == 0)
            return true;
    return false;
}

static void bench_policy(const char *name, bool share)
{
    struct kvs_arena *arena = kvs_arena_new();
    struct kvs_rng rng = kvs_rng_stream(1, "bench");
    struct kvs_plan_problem *p = plan_random(arena, &rng, PLAN_REALISTIC, 32, 17, 1);
    char what[80];

    p->n_route = 1;
    if (share)
        plan_random_share(p);
    snprintf(what, sizeof what, "%s, 32 layers%s, 17 fractions, one level", name,
             share ? " of equal cost" : "");
    line(what, replan_us(kvs_planner_find(name), p, searches(name) ? 200 : 100000), "us",
         searches(name) ? 1000 : 5);
    kvs_arena_free(arena);
}

/* What a replay meets: layers of equal cost, one level, machines and prompts of all kinds. */
static void bench_replay(bool states)
{
    enum { n_problem = 40 };
    double sum_us = 0;

    for (uint64_t seed = 1; seed <= n_problem; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "eq");
        struct kvs_plan_problem *p = plan_random(arena, &rng, PLAN_REALISTIC, 32, 17, 1);

        plan_random_share(p);
        if (states)
            plan_random_states(arena, &rng, p, 4);
        sum_us += replan_us(kvs_planner_find("optimal"), p, 50);
        kvs_arena_free(arena);
    }
    line(states ? "optimal, mean of 40 problems of 32 equal layers, one level, states"
                : "optimal, mean of 40 problems of 32 equal layers, one level",
         sum_us / n_problem, "us", states ? 60 : 20);
}

/* Gap and time of the certified planner over one family at full size; every 20th layer is a restart
 * point in the mean where `states`. */
static int bench_optimal(enum plan_random_kind kind, const char *name, bool states, uint32_t n,
                         const double goal[3])
{
    const struct kvs_planner_ops *ops = kvs_planner_find("optimal");
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();
    double *gap = calloc(n, sizeof *gap), *ms = calloc(n, sizeof *ms);
    int bad = !scratch || !gap || !ms;
    char what[80];

    for (uint32_t i = 0; i < n && !bad; i++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(i + 1, name);
        struct kvs_plan_problem *p = plan_random(arena, &rng, kind, 126, 17, 6);
        struct kvs_plan_eval eval;
        struct kvs_plan plan;
        int64_t bound;
        double start;

        if (states)
            plan_random_states(arena, &rng, p, 20);
        start = now_s();
        bad = ops->plan(p, scratch, &plan, &eval, &bound, NULL) != KVS_OK ||
              eval.distortion > p->budget || bound > eval.end_ns;
        ms[i] = (now_s() - start) * 1e3;
        gap[i] = 100 * (double)(eval.end_ns - bound) / (double)eval.end_ns;
        kvs_arena_free(arena);
    }
    if (!bad) {
        const double at[] = {50, 99, 100};

        qsort(gap, n, sizeof *gap, kvs_cmp_double);
        qsort(ms, n, sizeof *ms, kvs_cmp_double);
        for (int i = 0; i < 3; i++) {
            snprintf(what, sizeof what, "optimal, %s%s, 126x17x6, gap p%g of %u", name,
                     states ? " with states" : "", at[i], n);
            line(what, kvs_percentile(gap, n, at[i]), "%", goal[i]);
        }
        for (int i = 0; i < 3; i += 2) {
            snprintf(what, sizeof what, "optimal, %s%s, 126x17x6, time p%g of %u", name,
                     states ? " with states" : "", at[i], n);
            line(what, kvs_percentile(ms, n, at[i]), "ms", i ? 20 : 1);
        }
    }
    free(gap);
    free(ms);
    kvs_plan_scratch_free(scratch);
    return bad;
}

int main(void)
{
    const double realistic[] = {.5, 2, 2}, adversarial[] = {2, 5, 5};

    bench_eval();
    for (unsigned n = 0; kvs_planner_list[n]; n++) {
        bench_policy(kvs_planner_list[n]->name, true);
        bench_policy(kvs_planner_list[n]->name, false);
    }
    bench_replay(false);
    bench_replay(true);
    return bench_optimal(PLAN_REALISTIC, "realistic", false, 400, realistic) ||
           bench_optimal(PLAN_ADVERSARIAL, "adversarial", false, 200, adversarial) ||
           bench_optimal(PLAN_REALISTIC, "realistic", true, 200, realistic) ||
           bench_optimal(PLAN_ADVERSARIAL, "adversarial", true, 100, adversarial);
}
