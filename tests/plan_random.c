/*
 * The two families of the published generator of golden plan instances: "realistic" (a transformer
 * with grouped heads on a machine; a third with two routes, a quarter with a recomputed set that
 * waits for loads, a third decoding on the compute engine) and "adversarial" (random costs, half of
 * them 0).
 */
#include "plan_random.h"

#include <stdlib.h>
#include <string.h>

struct tables {
    int64_t *io[KVS_MAX_ROUTE], *decode, *post, *distortion; /* [l][i][q] */
    int64_t *full, *kv, *wfull, *wkv;                        /* [l][i] */
};

static void *must_alloc(struct kvs_arena *arena, size_t n, size_t size)
{
    void *mem = kvs_arena_alloc(arena, n, size);

    if (!mem)
        abort();
    return mem;
}

static struct tables new_tables(struct kvs_arena *arena, const struct kvs_plan_problem *p)
{
    size_t rows = (size_t)p->n_layer * p->n_frac, cells = rows * p->n_level;
    struct tables t = {.decode = NULL};

    for (uint32_t k = 0; k < p->n_route; k++)
        t.io[k] = must_alloc(arena, cells, sizeof *t.io[k]);
    t.decode = must_alloc(arena, cells, sizeof *t.decode);
    t.post = must_alloc(arena, cells, sizeof *t.post);
    t.distortion = must_alloc(arena, cells, sizeof *t.distortion);
    t.full = must_alloc(arena, rows, sizeof *t.full);
    t.kv = must_alloc(arena, rows, sizeof *t.kv);
    t.wfull = must_alloc(arena, rows, sizeof *t.wfull);
    t.wkv = must_alloc(arena, rows, sizeof *t.wkv);
    return t;
}

static void set_layers(struct kvs_arena *arena, struct kvs_plan_problem *p, struct tables t)
{
    size_t cells = (size_t)p->n_frac * p->n_level;
    const struct kvs_layer_cost **layer = must_alloc(arena, p->n_layer, sizeof(void *));

    for (size_t l = 0; l < p->n_layer; l++) {
        struct kvs_layer_cost *cost = must_alloc(arena, 1, sizeof *cost);

        for (uint32_t k = 0; k < p->n_route; k++)
            cost->io_ns[k] = t.io[k] + l * cells;
        cost->decode_ns = t.decode + l * cells;
        cost->post_ns = t.post + l * cells;
        cost->distortion = t.distortion + l * cells;
        cost->full_ns = t.full + l * p->n_frac;
        cost->kv_ns = t.kv + l * p->n_frac;
        cost->wfull_ns = t.wfull + l * p->n_frac;
        cost->wkv_ns = t.wkv + l * p->n_frac;
        layer[l] = cost;
    }
    p->layer = layer;
}

#define CHOICE(rng, ...)                                                                           \
    ((const double[]){                                                                             \
        __VA_ARGS__}[kvs_rng_below(rng, sizeof((const double[]){__VA_ARGS__}) / sizeof(double))])

static double uniform(struct kvs_rng *rng, double from, double to)
{
    return from + (to - from) * kvs_rng_unit(rng);
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x < y) - (x > y);
}

/* Sum over layers of the least distortion any fraction and level has. */
static int64_t least_distortion(const struct kvs_plan_problem *p, const struct tables *t)
{
    size_t cells = (size_t)p->n_frac * p->n_level;
    int64_t sum = 0;

    for (size_t l = 0; l < p->n_layer; l++) {
        int64_t least = INT64_MAX;

        for (size_t c = 0; c < cells; c++)
            if (t->distortion[l * cells + c] < least)
                least = t->distortion[l * cells + c];
        sum += least;
    }
    return sum;
}

static void realistic(struct kvs_arena *arena, struct kvs_rng *rng, struct kvs_plan_problem *p)
{
    double tok = CHOICE(rng, 512, 2048, 8192, 32768, 100000);
    double kv_bytes = CHOICE(rng, 1024, 2048, 4096) * 2, chunk = CHOICE(rng, 16, 64, 256, 1024);
    double flops = CHOICE(rng, 6e13, 2e14, 5e14), d = CHOICE(rng, 2048, 4096, 8192);
    double par = 12 * d * d, kv_par = d * kv_bytes / 2;
    double decode_rate = CHOICE(rng, 1e10, 1e11, 6e11);
    bool on_gpu = kvs_rng_unit(rng) < .3, sparse = kvs_rng_unit(rng) < .25;
    double rate[2], latency[2], share[2] = {1, 0}, ratio[KVS_MAX_LEVEL], base, new_ns;
    int64_t high = 0, low;
    struct tables t;

    p->n_route = kvs_rng_unit(rng) < .3 ? 2 : 1;
    t = new_tables(arena, p);
    for (uint32_t k = 0; k < p->n_route; k++) {
        rate[k] = CHOICE(rng, 1.5e9, 3e9, 6e9, 12e9, 25e9, 50e9);
        latency[k] = CHOICE(rng, 0, 20000, 100000);
        p->io_start_ns[k] = (int64_t)CHOICE(rng, 0, 0, 300000, 5000000);
    }
    if (p->n_route == 2) {
        share[0] = uniform(rng, .1, .9);
        share[1] = 1 - share[0];
    }
    for (uint32_t q = 0; q < p->n_level; q++)
        ratio[q] = q == 0 ? uniform(rng, .9, 1) : uniform(rng, .08, .6);
    qsort(ratio, p->n_level, sizeof *ratio, descending);
    new_ns = (2 * chunk * par + 4 * chunk * (tok + chunk / 2) * d) / flops * 1e9 + 15000;
    base = uniform(rng, 50, 400);
    for (uint32_t l = 0; l < p->n_layer; l++) {
        double sense = base * (l < p->n_layer / 3 ? 1.5 : .7) * uniform(rng, .6, 1.4);

        for (uint32_t i = 0; i < p->n_frac; i++) {
            double f = p->frac[i], rest = 1 - f, n = f * tok;
            size_t row = (size_t)l * p->n_frac + i;
            double attend = sparse ? 4 * n * (tok / 2) * d : 2 * n * n * d;
            int64_t full = f > 0 ? (int64_t)((2 * n * par + attend) / flops * 1e9) + 15000 : 0;
            int64_t kv = (int64_t)(2 * n * kv_par / flops * 1e9);
            int64_t blend = sparse && f < .3 ? (int64_t)(3 * base * (.3 - f)) : 0;

            (sparse ? t.wfull : t.full)[row] = full;
            (sparse ? t.wkv : t.kv)[row] = kv;
            for (uint32_t q = 0; q < p->n_level; q++) {
                size_t at = row * p->n_level + q;
                int64_t decode =
                    q == 0 || f >= 1 ? 0 : (int64_t)(rest * tok * kv_bytes / decode_rate * 1e9);

                for (uint32_t k = 0; k < p->n_route; k++)
                    t.io[k][at] = f >= 1 ? 0
                                         : (int64_t)(latency[k] + rest * share[k] * tok * kv_bytes *
                                                                      ratio[q] / rate[k] * 1e9);
                t.decode[at] = on_gpu ? 0 : decode;
                t.post[at] = (int64_t)new_ns + (on_gpu ? decode : 0);
                t.distortion[at] = blend + (q == 0 || f >= 1 ? 0 : (int64_t)(rest * sense * q * q));
            }
        }
        high += t.distortion[(size_t)l * p->n_frac * p->n_level + p->n_level - 1];
    }
    low = least_distortion(p, &t);
    p->gpu_start_ns = (int64_t)CHOICE(rng, 0, 0, 2000000);
    p->head_ns = (int64_t)CHOICE(rng, 0, 150000);
    p->budget =
        low + (int64_t)((double)(high > low ? high - low : 0) * CHOICE(rng, 0, .1, .3, .6, 1));
    set_layers(arena, p, t);
}

static int64_t zero_or(struct kvs_rng *rng, uint64_t below)
{
    return kvs_rng_below(rng, 2) ? 0 : 1 + (int64_t)kvs_rng_below(rng, below - 1);
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* n ascending numbers below a limit, the first 0. */
static void stairs(struct kvs_rng *rng, uint64_t below, uint32_t n, int64_t *out)
{
    out[0] = 0;
    for (uint32_t i = 1; i < n; i++)
        out[i] = (int64_t)kvs_rng_below(rng, below);
    qsort(out + 1, n - 1, sizeof *out, ascending);
}

static void adversarial(struct kvs_arena *arena, struct kvs_rng *rng, struct kvs_plan_problem *p)
{
    size_t cells = (size_t)p->n_layer * p->n_frac * p->n_level;
    bool sparse = kvs_rng_unit(rng) < .3;
    struct tables t;

    p->n_route = kvs_rng_below(rng, 3) == 0 ? 2 : 1;
    t = new_tables(arena, p);
    for (uint32_t k = 0; k < p->n_route; k++)
        p->io_start_ns[k] = zero_or(rng, 500);
    p->gpu_start_ns = zero_or(rng, 500);
    p->head_ns = zero_or(rng, 100);
    for (size_t l = 0; l < p->n_layer; l++) {
        stairs(rng, 900, p->n_frac, (sparse ? t.wfull : t.full) + l * p->n_frac);
        stairs(rng, 90, p->n_frac, (sparse ? t.wkv : t.kv) + l * p->n_frac);
    }
    for (size_t c = 0; c < cells; c++) {
        for (uint32_t k = 0; k < p->n_route; k++)
            t.io[k][c] = zero_or(rng, 1000);
        t.decode[c] = zero_or(rng, 400);
        t.post[c] = (int64_t)kvs_rng_below(rng, 300);
        t.distortion[c] = c % p->n_level == 0 ? 0 : (int64_t)kvs_rng_below(rng, 60);
    }
    p->budget = (int64_t)kvs_rng_below(rng, 30 * p->n_layer);
    set_layers(arena, p, t);
}

struct kvs_plan_problem *plan_random(struct kvs_arena *arena, struct kvs_rng *rng,
                                     enum plan_random_kind kind, uint32_t n_layer, uint32_t n_frac,
                                     uint32_t n_level)
{
    struct kvs_plan_problem *p = must_alloc(arena, 1, sizeof *p);
    double *frac = must_alloc(arena, n_frac, sizeof *frac);

    for (uint32_t i = 0; i < n_frac; i++)
        frac[i] = i / (double)(n_frac - 1);
    p->n_layer = n_layer;
    p->n_frac = n_frac;
    p->n_level = n_level;
    p->frac = frac;
    if (kind == PLAN_REALISTIC)
        realistic(arena, rng, p);
    else
        adversarial(arena, rng, p);
    return p;
}

void plan_random_share(struct kvs_plan_problem *problem)
{
    const struct kvs_layer_cost **layer =
        (const struct kvs_layer_cost **)(uintptr_t)problem->layer; /* plan_random's own memory */

    for (uint32_t l = 1; l < problem->n_layer; l++)
        layer[l] = layer[0];
}

void plan_random_states(struct kvs_arena *arena, struct kvs_rng *rng,
                        struct kvs_plan_problem *problem, uint32_t in)
{
    uint8_t *state_at = must_alloc(arena, problem->n_layer, sizeof *state_at);
    double share = uniform(rng, .05, 1.5); /* of a layer's loads: hidden against K and V */
    uint32_t last = problem->n_frac - 1;

    for (uint32_t l = 0; l < problem->n_layer; l++) {
        const struct kvs_layer_cost *cost = problem->layer[l];
        int64_t *full = (int64_t *)(uintptr_t)cost->full_ns; /* the arena's */

        state_at[l] = l > 0 && kvs_rng_below(rng, in) == 0;
        for (uint32_t i = 1; i < problem->n_frac; i++)
            if (full[i] - cost->kv_ns[i] < full[i - 1] - cost->kv_ns[i - 1])
                full[i] = full[i - 1] - cost->kv_ns[i - 1] + cost->kv_ns[i];
    }
    for (uint32_t k = 0; k < problem->n_route; k++) {
        int64_t *state = must_alloc(arena, problem->n_frac, sizeof *state);
        int64_t most = problem->layer[0]->io_ns[k][0];

        for (uint32_t i = 1; i <= last; i++)
            state[i] = (int64_t)(share * problem->frac[i] * (double)most);
        problem->state_ns[k] = state;
    }
    problem->state_at = state_at;
}

void plan_random_plan(struct kvs_rng *rng, const struct kvs_plan_problem *problem,
                      struct kvs_plan *plan)
{
    uint32_t top = problem->n_frac;

    memset(plan, 0, sizeof *plan);
    for (uint32_t l = 0; l < problem->n_layer; l++) {
        if (problem->state_at && problem->state_at[l] && kvs_rng_below(rng, 2))
            top = problem->n_frac;
        if (l == 0 || kvs_rng_below(rng, 3) == 0)
            top = 1 + (uint32_t)kvs_rng_below(rng, top);
        plan->frac_i[l] = (uint8_t)(top - 1);
        plan->level[l] = (uint8_t)kvs_rng_below(rng, problem->n_level);
    }
}
