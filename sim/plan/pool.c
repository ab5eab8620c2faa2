#include "pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct kvs_pool {
    struct kvs_plan_problem problem;
    uint32_t n_given, n;
    uint32_t given[KVS_MAX_POOL]; /* which of the given levels each is */
    struct kvs_layer_cost cost[KVS_MAX_LAYER];
    const struct kvs_layer_cost *layer[KVS_MAX_LAYER];
    int64_t *cells; /* of all layers */
    void *mem;      /* the dual's */
    struct kvs_dual *dual;
};

/* The tables of a layer that have an entry a level: [f] below n_field. */
static const int64_t *field(const struct kvs_plan_problem *problem, uint32_t l, uint32_t f)
{
    const struct kvs_layer_cost *cost = problem->layer[l];

    return f < problem->n_route        ? cost->io_ns[f]
           : f == problem->n_route     ? cost->decode_ns
           : f == problem->n_route + 1 ? cost->post_ns
                                       : cost->distortion;
}

static uint32_t n_field(const struct kvs_plan_problem *problem)
{
    return problem->n_route + 3;
}

/* Whether a is no slower and no worse than b in any layer, whatever is recomputed. */
static bool as_good(const struct kvs_pool_level *a, const struct kvs_pool_level *b)
{
    const struct kvs_plan_problem *p = a->problem;

    for (uint32_t l = 0; l < p->n_layer; l++)
        for (uint32_t f = 0; f < n_field(p); f++) {
            const int64_t *x = field(p, l, f) + a->q, *y = field(b->problem, l, f) + b->q;

            for (uint32_t i = 0; i < p->n_frac; i++)
                if (x[(size_t)i * p->n_level] > y[(size_t)i * b->problem->n_level])
                    return false;
        }
    return true;
}

/* Of those that are as good as one another, the first stays. */
static bool is_dropped(const struct kvs_pool_level *level, uint32_t n, uint32_t at)
{
    for (uint32_t j = 0; j < n; j++)
        if (j != at && as_good(&level[j], &level[at]) &&
            (j < at || !as_good(&level[at], &level[j])))
            return true;
    return false;
}

static void fill(struct kvs_pool *pool, const struct kvs_pool_level *level)
{
    const struct kvs_plan_problem *p = &pool->problem;
    int64_t *cell = pool->cells;

    for (uint32_t l = 0; l < p->n_layer; l++) {
        struct kvs_layer_cost *cost = &pool->cost[l];

        *cost = *level[0].problem->layer[l];
        for (uint32_t f = 0; f < n_field(p); f++) {
            const int64_t **place = f < p->n_route        ? &cost->io_ns[f]
                                    : f == p->n_route     ? &cost->decode_ns
                                    : f == p->n_route + 1 ? &cost->post_ns
                                                          : &cost->distortion;
            *place = cell;
            for (uint32_t i = 0; i < p->n_frac; i++)
                for (uint32_t q = 0; q < pool->n; q++) {
                    const struct kvs_pool_level *from = &level[pool->given[q]];

                    *cell++ = field(from->problem, l, f)[i * from->problem->n_level + from->q];
                }
        }
        pool->layer[l] = cost;
    }
}

enum kvs_code kvs_pool_new(const struct kvs_pool_level *level, uint32_t n, struct kvs_pool **out,
                           struct kvs_err *err)
{
    struct kvs_pool *pool = calloc(1, sizeof *pool);
    size_t n_cell;

    assert(n > 0);
    *out = NULL;
    if (!pool)
        return kvs_nomem(err);
    pool->problem = *level[0].problem;
    pool->n_given = n;
    for (uint32_t q = 0; q < n; q++) {
        if (is_dropped(level, n, q))
            continue;
        if (pool->n == KVS_MAX_POOL) {
            kvs_pool_free(pool);
            return kvs_fail(err, KVS_ERR_RANGE, "more than %d pairs of levels", KVS_MAX_POOL);
        }
        pool->given[pool->n++] = q;
    }
    pool->problem.n_level = pool->n;
    pool->problem.layer = pool->layer;
    n_cell = (size_t)pool->problem.n_layer * n_field(&pool->problem) * pool->problem.n_frac;
    pool->cells = malloc(n_cell * pool->n * sizeof *pool->cells);
    if (pool->cells)
        fill(pool, level);
    size_t n_byte = (kvs_dual_size(&pool->problem) + 63) / 64 * 64;
    pool->mem = aligned_alloc(64, n_byte);
    if (!pool->cells || !pool->mem) {
        kvs_pool_free(pool);
        return kvs_nomem(err);
    }
    *out = pool;
    return KVS_OK;
}

void kvs_pool_free(struct kvs_pool *pool)
{
    if (!pool)
        return;
    free(pool->cells);
    free(pool->mem);
    free(pool);
}

int64_t kvs_pool_bound(const struct kvs_pool *pool, const struct kvs_optimum *optimum)
{
    const struct kvs_plan_problem *problem = &pool->problem;

    return optimum->n_tree
               ? kvs_certify_cases(problem, problem->budget, optimum->tree, optimum->n_tree)
               : kvs_certify(problem, problem->budget, &optimum->relax->certificate);
}

void kvs_pool_wants(struct kvs_pool *pool, const struct kvs_optimum *optimum, uint32_t *count)
{
    const struct kvs_certificate *certificate = &optimum->relax->certificate;
    struct kvs_prices prices;
    struct kvs_plan plan;
    double sum = 0;

    memset(count, 0, pool->n_given * sizeof *count);
    if (!pool->dual)
        pool->dual = kvs_dual_init(pool->mem, &pool->problem, optimum->budget);
    for (uint32_t n = 0; n < certificate->n_path; n++)
        sum += certificate->weight[n];
    if (!(sum > 0))
        return;
    kvs_prices_clear(&pool->problem, &prices);
    for (uint32_t n = 0; n < certificate->n_path; n++)
        kvs_prices_add(&pool->problem, &certificate->path[n], certificate->weight[n] / sum,
                       &prices);
    prices.distortion = certificate->price_ns;
    if (kvs_dual_walk(pool->dual, &prices, &plan) >= KVS_DUAL_NEVER)
        return;
    for (uint32_t l = 0; l < pool->problem.n_layer; l++)
        if (plan.frac_i[l] + 1u < pool->problem.n_frac)
            count[pool->given[plan.level[l]]]++;
}
