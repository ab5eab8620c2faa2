/* Levels that a menu has no room for: what is proven over all of them, and which are worth it. */
#include "test.h"

#include "base/rng.h"
#include "plan/pool.h"
#include "plan_random.h"

#include <string.h>

enum { N_ALL = 9, N_MENU = 3, N_LAYER = 5, N_FRAC = 4 };

/* The same problem with some of its levels, level 0 among them. */
static struct kvs_plan_problem menu_of(struct kvs_arena *arena, const struct kvs_plan_problem *all,
                                       const uint32_t *take, uint32_t n)
{
    struct kvs_plan_problem menu = *all;
    const struct kvs_layer_cost **layer =
        kvs_arena_alloc(arena, all->n_layer, sizeof(struct kvs_layer_cost *));

    assert_non_null(layer);
    for (uint32_t l = 0; l < all->n_layer; l++) {
        struct kvs_layer_cost *cost = kvs_arena_alloc(arena, 1, sizeof *cost);

        assert_non_null(cost);
        *cost = *all->layer[l];
        const int64_t **field[KVS_MAX_ROUTE + 3] = {&cost->decode_ns, &cost->post_ns,
                                                    &cost->distortion};
        for (uint32_t k = 0; k < all->n_route; k++)
            field[3 + k] = &cost->io_ns[k];
        for (uint32_t f = 0; f < 3 + all->n_route; f++) {
            int64_t *cell = kvs_arena_alloc(arena, (size_t)all->n_frac * n, sizeof *cell);

            assert_non_null(cell);
            for (uint32_t i = 0; i < all->n_frac; i++)
                for (uint32_t q = 0; q < n; q++)
                    cell[i * n + q] = (*field[f])[i * all->n_level + take[q]];
            *field[f] = cell;
        }
        layer[l] = cost;
    }
    menu.layer = layer;
    menu.n_level = n;
    return menu;
}

static int64_t exact_ns(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                        struct kvs_plan *plan)
{
    struct kvs_plan_eval eval;
    struct kvs_err err = {0};
    int64_t bound;

    if (kvs_planner_find("exact")->plan(problem, scratch, plan, &eval, &bound, &err))
        fail_msg("%s", err.msg);
    return eval.distortion <= problem->budget ? eval.end_ns : INT64_MAX;
}

/* What a search over a few levels proves over all is below the optimum over all; and a menu that
 * takes what its prices want, round by round, comes as close to it as the bound says. */
static void a_menu_proves_a_bound_over_all_levels(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();
    uint32_t n_tight = 0, n_case = 0, n_better = 0;
    (void)state;
    assert_non_null(scratch);
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "pool");
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_plan_problem *all = plan_random(
            arena, &rng, seed % 2 ? PLAN_REALISTIC : PLAN_ADVERSARIAL, N_LAYER, N_FRAC, N_ALL);
        struct kvs_pool_level level[N_ALL];
        struct kvs_pool *pool;
        struct kvs_err err = {0};
        struct kvs_plan plan;
        uint32_t take[N_ALL] = {0}, n_take = N_MENU, count[N_ALL];
        int64_t best_ns = exact_ns(all, scratch, &plan), first_ns = 0;

        for (uint32_t q = 0; q < N_ALL; q++)
            level[q] = (struct kvs_pool_level){all, q};
        for (uint32_t q = 1; q < N_MENU; q++)
            take[q] = q + (uint32_t)kvs_rng_below(&rng, 2) * N_MENU;
        if (kvs_pool_new(level, N_ALL, &pool, &err))
            fail_msg("%s", err.msg);
        for (uint32_t round = 0; best_ns < INT64_MAX; round++) {
            struct kvs_plan_problem menu = menu_of(arena, all, take, n_take);
            struct kvs_optimum optimum;
            struct kvs_plan_eval eval;
            int64_t bound_ns, all_ns;
            bool new = false;

            if (kvs_optimize(&menu, scratch, 1e-3, &optimum, &err))
                fail_msg("%s", err.msg);
            kvs_optimum_take(&menu, &optimum, &plan, &eval, &bound_ns);
            if (bound_ns == INT64_MIN)
                break; /* nothing on this menu fits the budget */
            all_ns = kvs_pool_bound(pool, &optimum);
            if (all_ns > best_ns)
                fail_msg("seed %llu: %lld ns are said to bound %lld", (unsigned long long)seed,
                         (long long)all_ns, (long long)best_ns);
            assert_true(all_ns <= bound_ns);
            kvs_pool_wants(pool, &optimum, count);
            first_ns = round ? first_ns : eval.end_ns;
            for (uint32_t q = 1; q < N_ALL; q++) {
                bool has = count[q] == 0;

                for (uint32_t t = 0; t < n_take; t++)
                    has |= take[t] == q;
                if (!has) {
                    take[n_take++] = q;
                    new = true;
                }
            }
            if (!new) { /* the bound over all is that of the menu */
                n_case++;
                n_tight += (double)(bound_ns - all_ns) <= 5e-3 * (double)bound_ns;
                n_better += eval.end_ns < first_ns;
                break;
            }
        }
        kvs_pool_free(pool);
        kvs_arena_free(arena);
    }
    print_message("# %u cases, bound as that of the menu in %u, better than at first %u\n", n_case,
                  n_tight, n_better);
    assert_true(n_case >= 100 && n_tight >= n_case * 4 / 5 && n_better >= 20);
    kvs_plan_scratch_free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_menu_proves_a_bound_over_all_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
