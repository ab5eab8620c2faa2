/* What must hold of every planner, of the bound, and of the pieces the search is made of. */
#include "test.h"

#include "plan/certify.h"
#include "plan/chain.h"
#include "plan/own.h"
#include "plan/polish.h"
#include "plan/scratch.h"
#include "plan_random.h"

#include <string.h>

struct made {
    struct kvs_arena *arena;
    struct kvs_plan_problem *p;
};

static struct made make(uint64_t seed, uint32_t most_layer)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "prop");
    struct made made = {kvs_arena_new(), NULL};
    uint32_t n_layer = 1 + (uint32_t)kvs_rng_below(&rng, most_layer);
    uint32_t n_frac = 2 + (uint32_t)kvs_rng_below(&rng, 12);
    uint32_t n_level = 1 + (uint32_t)kvs_rng_below(&rng, 5);

    made.p = plan_random(made.arena, &rng, seed % 2 ? PLAN_REALISTIC : PLAN_ADVERSARIAL, n_layer,
                         n_frac, n_level);
    if (seed % 5 == 0)
        plan_random_share(made.p);
    if (seed % 3 == 0)
        plan_random_states(made.arena, &rng, made.p, 4);
    return made;
}

static int64_t over(const struct kvs_plan_problem *p, const struct kvs_plan_eval *e)
{
    return e->distortion > p->budget ? e->distortion - p->budget : 0;
}

/* Each policy is a restriction of the staircase, so the certified planner is never slower. */
static void optimal_is_never_worse_than_a_corner(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();

    (void)state;
    for (uint64_t seed = 1; seed <= 120; seed++) {
        struct made made = make(seed, 64);
        const uint8_t *state_at = made.p->state_at;
        struct kvs_plan_eval best, e, again;
        struct kvs_plan plan;
        int64_t bound, none;

        assert_int_equal(
            kvs_planner_find("optimal")->plan(made.p, scratch, &plan, &best, &bound, NULL), KVS_OK);
        assert_true(kvs_plan_eval(made.p, &plan, NULL, &again));
        assert_memory_equal(&best, &again, sizeof best);
        assert_true(bound <= best.end_ns);
        for (unsigned n = 0; kvs_planner_list[n]; n++) {
            const struct kvs_planner_ops *ops = kvs_planner_list[n];

            if (strcmp(ops->name, "exact") == 0)
                continue;
            assert_int_equal(ops->plan(made.p, scratch, &plan, &e, &none, NULL), KVS_OK);
            if (over(made.p, &best) > over(made.p, &e) ||
                (over(made.p, &best) == over(made.p, &e) && best.end_ns > e.end_ns))
                fail_msg("seed %d: %s is faster than optimal: %lld < %lld", (int)seed, ops->name,
                         (long long)e.end_ns, (long long)best.end_ns);
            if (over(made.p, &e) == 0)
                assert_true(bound <= e.end_ns);
        }
        made.p->state_at = NULL; /* restart points never make it slower */
        assert_int_equal(kvs_planner_find("optimal")->plan(made.p, scratch, &plan, &e, &none, NULL),
                         KVS_OK);
        assert_true(over(made.p, &best) < over(made.p, &e) ||
                    (over(made.p, &best) == over(made.p, &e) && best.end_ns <= e.end_ns));
        assert_true(state_at || best.end_ns == e.end_ns);
        kvs_arena_free(made.arena);
    }
    kvs_plan_scratch_free(scratch);
}

/* Those whose split is a corner but whose layers come together are never ahead of the optimum. */
static void own_rules_that_are_corners_served_later_are_never_ahead(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();
    const struct kvs_own_config config = {.slo_ns = 1000000000};

    (void)state;
    for (uint64_t seed = 1; seed <= 120; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "own");
        struct kvs_plan_problem *p =
            plan_random(arena, &rng, PLAN_REALISTIC, 1 + (uint32_t)kvs_rng_below(&rng, 40), 9, 3);
        struct kvs_plan_eval best;
        struct kvs_plan plan;
        int64_t bound;

        assert_int_equal(kvs_planner_find("optimal")->plan(p, scratch, &plan, &best, &bound, NULL),
                         KVS_OK);
        for (unsigned n = 0; kvs_own_list[n]; n++) {
            struct kvs_own_result own;

            kvs_own_list[n]->run(p, &config, &own);
            if (own.recompute_frac > 1 - 1e-9)
                continue; /* nothing is loaded: it need not wait for a route, a plan must */
            if (kvs_own_list[n]->never_ahead && own.distortion <= p->budget &&
                best.distortion <= p->budget && own.end_ns < best.end_ns)
                fail_msg("seed %d: %s is faster than optimal: %lld < %lld", (int)seed,
                         kvs_own_list[n]->name, (long long)own.end_ns, (long long)best.end_ns);
        }
        kvs_arena_free(arena);
    }
    kvs_plan_scratch_free(scratch);
}

/* Whatever a planner finds in its memory, it must not read: here, NaN. */
static void poison(struct kvs_plan_scratch *scratch)
{
    const size_t n_byte = (size_t)16 << 20;
    void *mem = kvs_plan_scratch_mem(scratch, n_byte);

    assert_non_null(mem);
    memset(mem, 0xff, n_byte);
}

static void planners_give_the_same_plan_again(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct made made = make(seed, 40), other = make(seed + 1, 90);
        struct kvs_plan_scratch *fresh = kvs_plan_scratch_new();
        struct kvs_plan_eval e;
        struct kvs_plan a, b;
        int64_t bound;

        for (unsigned n = 0; kvs_planner_list[n]; n++) {
            const struct kvs_planner_ops *ops = kvs_planner_list[n];

            if (strcmp(ops->name, "exact") == 0)
                continue;
            memset(&a, 1, sizeof a);
            memset(&b, 2, sizeof b);
            assert_int_equal(ops->plan(other.p, scratch, &b, &e, &bound, NULL), KVS_OK);
            poison(scratch);
            assert_int_equal(ops->plan(made.p, scratch, &a, &e, &bound, NULL), KVS_OK);
            assert_int_equal(ops->plan(made.p, fresh, &b, &e, &bound, NULL), KVS_OK);
            assert_memory_equal(a.frac_i, b.frac_i, made.p->n_layer);
            assert_memory_equal(a.level, b.level, made.p->n_layer);
        }
        kvs_plan_scratch_free(fresh);
        kvs_arena_free(made.arena);
        kvs_arena_free(other.arena);
    }
    kvs_plan_scratch_free(scratch);
}

/* Any weights at all prove a bound, so none may exceed T of any plan within the budget. */
static void no_certificate_bounds_above_the_optimum(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();

    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct made made = make(seed, 8);
        struct kvs_rng rng = kvs_rng_stream(seed, "certificate");
        struct kvs_plan_eval e;
        struct kvs_plan plan;
        int64_t bound;

        assert_int_equal(kvs_planner_find("exact")->plan(made.p, scratch, &plan, &e, &bound, NULL),
                         KVS_OK);
        for (int turn = 0; turn < 20 && over(made.p, &e) == 0; turn++) {
            struct kvs_certificate c = {.n_path = 1 + (uint32_t)kvs_rng_below(&rng, 6)};

            for (uint32_t n = 0; n < c.n_path; n++) {
                struct kvs_path *path = &c.path[n];

                path->all_work = kvs_rng_below(&rng, 4) == 0;
                path->route = (uint32_t)kvs_rng_below(&rng, made.p->n_route + 1);
                path->compute = (uint32_t)kvs_rng_below(&rng, made.p->n_layer);
                path->enter = path->route == made.p->n_route
                                  ? 0
                                  : (uint32_t)kvs_rng_below(&rng, path->compute + 1);
                c.weight[n] = kvs_rng_unit(&rng);
            }
            c.price_ns = kvs_rng_below(&rng, 2) ? 0 : kvs_rng_exp(&rng, (double)e.end_ns / 100);
            bound = kvs_certify(made.p, made.p->budget, &c);
            if (bound > e.end_ns)
                fail_msg("seed %d: bound %lld above the optimum %lld", (int)seed, (long long)bound,
                         (long long)e.end_ns);
        }
        kvs_arena_free(made.arena);
    }
    kvs_plan_scratch_free(scratch);
}

static void one_path_alone_bounds_by_its_cheapest_staircase(void **state)
{
    struct kvs_certificate c = {.n_path = 1, .path = {{.all_work = true}}, .weight = {3}};

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "all work");
        struct kvs_plan_problem *p =
            plan_random(arena, &rng, seed % 2 ? PLAN_REALISTIC : PLAN_ADVERSARIAL, 3, 3, 2);
        int64_t least = INT64_MAX;

        for (uint32_t n = 0; n < 6 * 6 * 6; n++) {
            uint32_t a = n % 6, b = n / 6 % 6, d = n / 36;
            struct kvs_plan plan = {{(uint8_t)(a / 2), (uint8_t)(b / 2), (uint8_t)(d / 2)},
                                    {a % 2, b % 2, d % 2}};
            struct kvs_plan_eval e;
            int64_t work;

            if (!kvs_plan_eval(p, &plan, NULL, &e))
                continue;
            work = p->gpu_start_ns + e.pre_ns + e.wait_ns + p->head_ns;
            least = work < least ? work : least;
        }
        assert_int_equal(kvs_certify(p, 1000000000, &c), least);
        kvs_arena_free(arena);
    }
}

static void useless_certificates_prove_nothing(void **state)
{
    struct made made = make(3, 4);
    struct kvs_certificate none = {.n_path = 0};
    struct kvs_certificate zero = {.n_path = 1, .path = {{.all_work = true}}};
    struct kvs_certificate negative = {
        .n_path = 1, .path = {{.all_work = true}}, .weight = {1}, .price_ns = -1};

    (void)state;
    assert_true(kvs_certify(made.p, made.p->budget, &none) == INT64_MIN);
    assert_true(kvs_certify(made.p, made.p->budget, &zero) == INT64_MIN);
    assert_true(kvs_certify(made.p, made.p->budget, &negative) == INT64_MIN);
    kvs_arena_free(made.arena);
}

static void head_and_tail_join_to_the_evaluation(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct made made = make(seed, 30);
        struct kvs_rng rng = kvs_rng_stream(seed, "chain");
        uint32_t n = made.p->n_layer, cut = (uint32_t)kvs_rng_below(&rng, n + 1);
        struct kvs_chain_head head;
        struct kvs_chain_tail tail;
        struct kvs_chain_step step;
        struct kvs_plan plan;
        struct kvs_plan_eval e;

        made.p->state_at = NULL; /* a tail knows nothing of what rose before it */
        plan_random_plan(&rng, made.p, &plan);
        kvs_chain_head_init(made.p, &head);
        kvs_chain_tail_init(&tail);
        for (uint32_t l = 0; l < cut; l++) {
            kvs_chain_step_at(made.p, l, plan.frac_i[l], l + 1 < n ? plan.frac_i[l + 1] : 0,
                              plan.level[l], &step);
            kvs_chain_append(made.p->n_route, &head, &step);
        }
        for (uint32_t l = n; l-- > cut;) {
            kvs_chain_step_at(made.p, l, plan.frac_i[l], l + 1 < n ? plan.frac_i[l + 1] : 0,
                              plan.level[l], &step);
            kvs_chain_prepend(made.p->n_route, &step, &tail);
        }
        assert_true(kvs_plan_eval(made.p, &plan, NULL, &e));
        assert_int_equal(kvs_chain_end_ns(made.p, &head, &tail), e.end_ns);
        assert_int_equal(head.distortion + tail.distortion, e.distortion);
        kvs_arena_free(made.arena);
    }
}

static void heads_with_rises_end_as_the_evaluation_does(void **state)
{
    uint32_t n_rise = 0;

    (void)state;
    for (uint64_t seed = 3; seed <= 300; seed += 3) {
        struct made made = make(seed, 30);
        struct kvs_rng rng = kvs_rng_stream(seed, "rise");
        uint32_t n = made.p->n_layer;
        uint8_t low[KVS_MAX_LAYER];
        struct kvs_chain_head head;
        struct kvs_chain_tail none;
        struct kvs_chain_step step;
        struct kvs_plan plan;
        struct kvs_plan_eval e;

        plan_random_plan(&rng, made.p, &plan);
        kvs_plan_lows(made.p, &plan, low);
        kvs_chain_head_init(made.p, &head);
        kvs_chain_tail_init(&none);
        for (uint32_t l = 0; l < n; l++) {
            uint32_t i = plan.frac_i[l], next = l + 1 < n ? plan.frac_i[l + 1] : 0;

            kvs_chain_step_low(made.p, l, low[l], i, next, plan.level[l], &step);
            kvs_chain_append(made.p->n_route, &head, &step);
            kvs_chain_rise(made.p, i, next, &head);
            n_rise += next > i;
        }
        assert_true(kvs_plan_eval(made.p, &plan, NULL, &e));
        assert_int_equal(kvs_chain_end_ns(made.p, &head, &none), e.end_ns);
        kvs_arena_free(made.arena);
    }
    assert_true(n_rise > 100);
}

static void polish_never_loses(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct made made = make(seed, 40);
        struct kvs_rng rng = kvs_rng_stream(seed, "polish");
        struct kvs_plan plan;
        struct kvs_plan_eval before, after;
        int64_t budget, end;

        plan_random_plan(&rng, made.p, &plan);
        assert_true(kvs_plan_eval(made.p, &plan, NULL, &before));
        budget = before.distortion;
        end = kvs_polish(made.p, budget, 5, &plan);
        assert_true(kvs_plan_eval(made.p, &plan, NULL, &after));
        assert_int_equal(end, after.end_ns);
        assert_true(after.end_ns <= before.end_ns && after.distortion <= budget);
        kvs_arena_free(made.arena);
    }
}

/* More bandwidth never delays a lone request that is planned anew. */
static void a_faster_route_never_makes_the_optimum_slower(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct made made = make(seed, 6);
        uint32_t n_cell = made.p->n_frac * made.p->n_level;
        struct kvs_plan_eval slow, fast;
        struct kvs_plan plan;
        int64_t bound;

        assert_int_equal(
            kvs_planner_find("exact")->plan(made.p, scratch, &plan, &slow, &bound, NULL), KVS_OK);
        for (uint32_t l = 0; l < made.p->n_layer; l++) {
            int64_t *io = (int64_t *)(uintptr_t)made.p->layer[l]->io_ns[0]; /* the arena's */

            for (uint32_t c = 0; c < n_cell && (l == 0 || made.p->layer[l] != made.p->layer[0]);
                 c++)
                io[c] -= io[c] / 4;
        }
        assert_int_equal(
            kvs_planner_find("exact")->plan(made.p, scratch, &plan, &fast, &bound, NULL), KVS_OK);
        assert_true(over(made.p, &fast) > 0 || fast.end_ns <= slow.end_ns);
        kvs_arena_free(made.arena);
    }
    kvs_plan_scratch_free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_rules_that_are_corners_served_later_are_never_ahead),
        cmocka_unit_test(optimal_is_never_worse_than_a_corner),
        cmocka_unit_test(planners_give_the_same_plan_again),
        cmocka_unit_test(no_certificate_bounds_above_the_optimum),
        cmocka_unit_test(one_path_alone_bounds_by_its_cheapest_staircase),
        cmocka_unit_test(useless_certificates_prove_nothing),
        cmocka_unit_test(head_and_tail_join_to_the_evaluation),
        cmocka_unit_test(heads_with_rises_end_as_the_evaluation_does),
        cmocka_unit_test(polish_never_loses),
        cmocka_unit_test(a_faster_route_never_makes_the_optimum_slower),
    };
    return cmocka_run_group_tests_name("plan properties", tests, NULL, NULL);
}
