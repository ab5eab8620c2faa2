/* Properties of the parts that the certified planner is made of: the walk, splices, fixed stairs.
 */
#include "test.h"

#include "plan/dual_in.h"
#include "plan/polish.h"
#include "plan/splice.h"
#include "plan/stairs.h"
#include "plan_random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct kvs_plan_problem *make(struct kvs_arena *arena, uint64_t seed, uint32_t most_layer)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "parts");
    uint32_t n_layer = 1 + (uint32_t)kvs_rng_below(&rng, most_layer);
    uint32_t n_frac = 2 + (uint32_t)kvs_rng_below(&rng, 16);
    uint32_t n_level = 1 + (uint32_t)kvs_rng_below(&rng, 5);
    struct kvs_plan_problem *p = plan_random(
        arena, &rng, seed % 2 ? PLAN_REALISTIC : PLAN_ADVERSARIAL, n_layer, n_frac, n_level);

    if (seed % 3 == 0)
        plan_random_share(p);
    if (seed % 4 == 0)
        plan_random_states(arena, &rng, p, 4);
    return p;
}

static struct kvs_path random_path(struct kvs_rng *rng, const struct kvs_plan_problem *p)
{
    struct kvs_path path = {.all_work = kvs_rng_below(rng, 3) == 0};

    path.route = (uint32_t)kvs_rng_below(rng, p->n_route + 1);
    path.compute = (uint32_t)kvs_rng_below(rng, p->n_layer);
    path.enter = path.route < p->n_route ? (uint32_t)kvs_rng_below(rng, path.compute + 1) : 0;
    return path;
}

/* Prices of a few random paths, and of distortion. */
static void random_prices(struct kvs_rng *rng, const struct kvs_plan_problem *p,
                          struct kvs_prices *prices)
{
    uint32_t n = 1 + (uint32_t)kvs_rng_below(rng, 4);

    memset(prices, 0, sizeof *prices);
    for (uint32_t i = 0; i < n; i++) {
        struct kvs_path path = random_path(rng, p);

        kvs_prices_add(p, &path, 1. / n, prices);
    }
    prices->distortion = (double)kvs_rng_below(rng, 1000);
}

static struct kvs_dual *dual_of(const struct kvs_plan_problem *p)
{
    void *mem = aligned_alloc(64, (kvs_dual_size(p) + 63) / 64 * 64);

    assert_non_null(mem);
    return kvs_dual_init(mem, p, INT64_MAX / 4); /* affords everything */
}

static double price_of(const struct kvs_plan_problem *p, const struct kvs_prices *prices,
                       const struct kvs_plan *plan)
{
    double sum = 0;
    uint32_t low = p->n_frac;

    for (uint32_t l = 0; l < p->n_layer; l++) {
        const struct kvs_layer_cost *c = p->layer[l];
        uint32_t i = plan->frac_i[l], next = l + 1 < p->n_layer ? plan->frac_i[l + 1] : 0;
        uint32_t at = i * p->n_level + plan->level[l], on;

        low = i < low ? i : low;
        on = next < low ? next : low;
        next = next < i ? next : i;
        for (uint32_t k = 0; k < p->n_route; k++)
            sum += prices->io[k][l] * (double)(c->io_ns[k][at] + kvs_plan_state_ns(p, plan, l, k));
        sum += prices->decode[l] * (double)c->decode_ns[at];
        sum += prices->distortion * (double)c->distortion[at];
        sum += prices->wait[l] *
               (double)(c->post_ns[at] + c->wfull_ns[next] + c->wkv_ns[i] - c->wkv_ns[next]);
        sum += prices->pre * (double)(c->full_ns[on] + c->kv_ns[low] - c->kv_ns[on]);
        sum += prices->wait[l] * (double)(c->full_ns[next] + c->kv_ns[i] - c->kv_ns[next] -
                                          (c->full_ns[on] + c->kv_ns[low] - c->kv_ns[on]));
    }
    return sum;
}

static void a_walk_finds_the_cheapest_staircase(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "prices");
        struct kvs_plan_problem *p = make(arena, seed, 40);
        struct kvs_dual *dual = dual_of(p);
        double value[KVS_MAX_LAYER + 1][KVS_MAX_FRAC], least = 1e300, own;
        struct kvs_prices prices;
        struct kvs_plan plan = {{0}, {0}}, other;

        random_prices(&rng, p, &prices);
        kvs_dual_walk(dual, &prices, &plan);
        kvs_dual_values(dual, &prices, value);
        for (uint32_t i = 0; i < p->n_frac; i++)
            least = value[0][i] < least ? value[0][i] : least;
        own = price_of(p, &prices, &plan);
        assert_true(fabs(own - least) <= 1e-9 * (1 + fabs(own)));
        for (int n = 0; n < 50; n++) {
            plan_random_plan(&rng, p, &other);
            assert_true(price_of(p, &prices, &other) >= least * (1 - 1e-9) - 1);
        }
        free(dual);
        kvs_arena_free(arena);
    }
}

static void a_walk_with_wide_vectors_gives_the_same_bits(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "prices");
        struct kvs_plan_problem *p = make(arena, seed, 60);
        struct kvs_dual *wide = dual_of(p), *plain = dual_of(p);
        double a[KVS_MAX_LAYER + 1][KVS_MAX_FRAC] = {{0}},
                                 b[KVS_MAX_LAYER + 1][KVS_MAX_FRAC] = {{0}};
        struct kvs_prices prices;
        struct kvs_plan x = {{0}, {0}}, y = {{0}, {0}};
        double bound_x, bound_y;

        plain->wide = false;
        random_prices(&rng, p, &prices);
        bound_x = kvs_dual_walk(wide, &prices, &x);
        bound_y = kvs_dual_walk(plain, &prices, &y);
        kvs_dual_values(wide, &prices, a);
        kvs_dual_values(plain, &prices, b);
        assert_memory_equal(&bound_x, &bound_y, sizeof bound_x);
        assert_memory_equal(&x, &y, sizeof x);
        assert_memory_equal(a, b, sizeof a);
        free(wide);
        free(plain);
        kvs_arena_free(arena);
    }
}

static void a_walk_with_the_tables_of_the_plain_problem_gives_the_same_bits(void **state)
{
    (void)state;
    for (uint64_t seed = 4; seed <= 200; seed += 4) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "prices");
        struct kvs_plan_problem *p = make(arena, seed, 40), falling = *p;
        struct kvs_dual *own = dual_of(p), *plain, *shared;
        struct kvs_prices prices;
        struct kvs_plan x = {{0}, {0}}, y = {{0}, {0}};
        double bound_x, bound_y;

        falling.state_at = NULL;
        plain = dual_of(&falling);
        shared = aligned_alloc(64, (kvs_dual_size(p) + 63) / 64 * 64);
        assert_non_null(shared);
        shared = kvs_dual_init_rising(shared, plain, p);
        random_prices(&rng, p, &prices);
        bound_x = kvs_dual_walk(own, &prices, &x);
        bound_y = kvs_dual_walk(shared, &prices, &y);
        assert_memory_equal(&bound_x, &bound_y, sizeof bound_x);
        assert_memory_equal(&x, &y, sizeof x);
        kvs_dual_walk(plain, &prices, &y); /* what never rises is never cheaper */
        assert_true(price_of(p, &prices, &y) >= price_of(p, &prices, &x) * (1 - 1e-9) - 1);
        free(own);
        free(shared);
        free(plain);
        kvs_arena_free(arena);
    }
}

/* Two programs that share nothing: what the walk finds, certify proves. */
static void a_walk_bounds_as_high_as_its_certificate(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "prices");
        struct kvs_plan_problem *p = make(arena, seed, 40);
        struct kvs_certificate at = {.n_path = 1 + (uint32_t)kvs_rng_below(&rng, 4)};
        struct kvs_prices prices = {.pre = 0};
        struct kvs_plan plan = {{0}, {0}};
        void *mem = aligned_alloc(64, (kvs_dual_size(p) + 63) / 64 * 64);
        struct kvs_dual *dual;
        double found;

        assert_non_null(mem);
        dual = kvs_dual_init(mem, p, p->budget);
        for (uint32_t n = 0; n < at.n_path; n++) {
            at.path[n] = random_path(&rng, p);
            at.weight[n] = 1. / at.n_path;
            kvs_prices_add(p, &at.path[n], at.weight[n], &prices);
        }
        at.price_ns = prices.distortion = (double)kvs_rng_below(&rng, 1000);
        found = kvs_dual_walk(dual, &prices, &plan);
        if (found < KVS_DUAL_NEVER) {
            double proven = (double)kvs_certify(p, p->budget, &at);

            assert_true(fabs(proven - found) <=
                        2 + 1e-6 * (fabs(found) + at.price_ns * (double)p->budget));
        }
        free(dual);
        kvs_arena_free(arena);
    }
}

static void a_polished_plan_takes_what_polish_says(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "polish");
        struct kvs_plan_problem *p = make(arena, seed, 24);
        struct kvs_plan plan;
        struct kvs_plan_eval before, after;
        int64_t end_ns;

        if (!p->state_at)
            plan_random_states(arena, &rng, p, 2);
        plan_random_plan(&rng, p, &plan);
        assert_true(kvs_plan_eval(p, &plan, NULL, &before));
        end_ns = kvs_polish(p, before.distortion, 20, &plan);
        assert_true(kvs_plan_eval(p, &plan, NULL, &after));
        assert_true(after.end_ns == end_ns && end_ns <= before.end_ns);
        assert_true(after.distortion <= before.distortion);
        kvs_arena_free(arena);
    }
}

/* All splices of two plans, by the evaluation alone. */
static int64_t best_of_two(const struct kvs_plan_problem *p, const struct kvs_plan *a,
                           const struct kvs_plan *b, int64_t limit_ns)
{
    int64_t best = limit_ns;

    for (uint32_t cut = 1; cut < p->n_layer; cut++) {
        struct kvs_plan plan = *a;
        struct kvs_plan_eval e;

        memcpy(plan.frac_i + cut, b->frac_i + cut, p->n_layer - cut);
        memcpy(plan.level + cut, b->level + cut, p->n_layer - cut);
        if (kvs_plan_eval(p, &plan, NULL, &e) && e.distortion <= p->budget && e.end_ns < best)
            best = e.end_ns;
    }
    return best;
}

static void a_splice_is_at_least_as_good_as_any_joint_of_two(void **state)
{
    void *mem = aligned_alloc(64, kvs_splice_size());
    uint32_t n_found = 0;

    (void)state;
    assert_non_null(mem);
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "splice");
        struct kvs_plan_problem *p = make(arena, seed, 40);
        struct kvs_splice *splice = kvs_splice_init(mem, p, p->budget);
        struct kvs_plan plan[4], found;
        int64_t limit_ns = INT64_MAX / 4, best, end_ns = 0;

        for (int n = 0; n < 4; n++) {
            plan_random_plan(&rng, p, &plan[n]);
            kvs_splice_add(splice, &plan[n]);
        }
        best = limit_ns;
        for (int a = 0; a < 4; a++)
            for (int b = 0; b < 4; b++)
                best = a == b ? best : best_of_two(p, &plan[a], &plan[b], best);
        if (kvs_splice_best(splice, limit_ns, &found, &end_ns)) {
            struct kvs_plan_eval e;

            n_found++;
            assert_true(kvs_plan_eval(p, &found, NULL, &e));
            assert_int_equal(e.end_ns, end_ns);
            assert_true(e.distortion <= p->budget && end_ns <= best);
        } else {
            assert_int_equal(best, limit_ns);
        }
        kvs_arena_free(arena);
    }
    assert_true(n_found > 20);
    free(mem);
}

static void fixed_stairs_end_when_the_whole_problem_does(void **state)
{
    struct kvs_stairs *stairs = malloc(sizeof *stairs);

    (void)state;
    assert_non_null(stairs);
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "stairs");
        struct kvs_plan_problem *p = make(arena, seed, 60);
        struct kvs_plan plan, flat;
        struct kvs_plan_eval whole, levels;

        p->state_at = NULL; /* stairs are of problems without restart points */
        plan_random_plan(&rng, p, &plan);
        kvs_stairs_fix(p, &plan, p->budget, stairs);
        for (int n = 0; n < 10; n++) {
            for (uint32_t l = 0; l < p->n_layer; l++)
                plan.level[l] = (uint8_t)kvs_rng_below(&rng, p->n_level);
            flat = plan;
            memset(flat.frac_i, 0, sizeof flat.frac_i);
            assert_true(kvs_plan_eval(p, &plan, NULL, &whole));
            assert_true(kvs_plan_eval(&stairs->problem, &flat, NULL, &levels));
            assert_int_equal(whole.end_ns, levels.end_ns);
            assert_int_equal(whole.distortion, levels.distortion);
        }
        kvs_arena_free(arena);
    }
    free(stairs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_walk_finds_the_cheapest_staircase),
        cmocka_unit_test(a_walk_with_wide_vectors_gives_the_same_bits),
        cmocka_unit_test(a_walk_with_the_tables_of_the_plain_problem_gives_the_same_bits),
        cmocka_unit_test(a_walk_bounds_as_high_as_its_certificate),
        cmocka_unit_test(a_polished_plan_takes_what_polish_says),
        cmocka_unit_test(a_splice_is_at_least_as_good_as_any_joint_of_two),
        cmocka_unit_test(fixed_stairs_end_when_the_whole_problem_does),
    };
    return cmocka_run_group_tests_name("plan parts", tests, NULL, NULL);
}
