#include "test.h"

#include "plan/instance.h"
#include "plan/plan.h"

#include <string.h>

/* Two layers, fractions 0, 1/2, 1, two levels, one route; small enough to follow by hand. */
static const double frac3[] = {0, .5, 1};
static const int64_t io0[] = {100, 40, 60, 30, 0, 0}, io1[] = {80, 30, 50, 20, 0, 0};
static const int64_t decode0[] = {0, 10, 0, 5, 0, 0}, post0[] = {7, 7, 7, 7, 3, 3};
static const int64_t lossy[] = {0, 9, 0, 5, 0, 0};
static const int64_t full0[] = {0, 50, 90}, kv0[] = {0, 20, 30}, none3[] = {0, 0, 0};
static const int64_t wfull0[] = {0, 11, 21}, wkv0[] = {0, 4, 6};
static const struct kvs_layer_cost first = {{io0}, decode0, post0, lossy, full0,
                                            kv0,   none3,   none3, NULL};
static const struct kvs_layer_cost second = {{io1}, decode0, post0, lossy, full0,
                                             kv0,   none3,   none3, NULL};
static const struct kvs_layer_cost waiting = {{io0}, decode0, post0, lossy, none3,
                                              none3, wfull0,  wkv0,  NULL};
static const struct kvs_layer_cost *const two_layers[] = {&first, &second};
static const struct kvs_layer_cost *const two_waiting[] = {&waiting, &waiting};

static struct kvs_plan_problem two(void)
{
    return (struct kvs_plan_problem){.n_layer = 2,
                                     .n_frac = 3,
                                     .n_level = 2,
                                     .n_route = 1,
                                     .frac = frac3,
                                     .layer = two_layers,
                                     .io_start_ns = {5},
                                     .gpu_start_ns = 2,
                                     .head_ns = 1000,
                                     .budget = 20};
}

static struct kvs_plan plan2(int i0, int q0, int i1, int q1)
{
    return (struct kvs_plan){{(uint8_t)i0, (uint8_t)i1}, {(uint8_t)q0, (uint8_t)q1}};
}

static void load_all_waits_for_each_layer(void **state)
{
    struct kvs_plan_problem p = two();
    struct kvs_plan plan = plan2(0, 0, 0, 0);
    struct kvs_plan_eval e;

    (void)state;
    assert_true(kvs_plan_eval(&p, &plan, NULL, &e));
    /* I = 105, 185; X the same; pre 0; P = 2 -> 112 -> 192 */
    assert_int_equal(e.end_ns, 1192);
    assert_int_equal(e.pre_ns, 0);
    assert_int_equal(e.wait_ns, 14);
    assert_int_equal(e.loaded_ns, 185);
    assert_int_equal(e.stall_ns, 192 - 2 - 14);
    assert_int_equal(e.slack_ns, 176);
    assert_int_equal(e.distortion, 0);
}

static void staircase_pays_whole_layers_only_where_the_next_needs_them(void **state)
{
    struct kvs_plan_problem p = two();
    struct kvs_plan plan = plan2(2, 0, 1, 1);
    struct kvs_plan_eval e;

    (void)state;
    assert_true(kvs_plan_eval(&p, &plan, NULL, &e));
    /* layer 0: full[1] + kv[2] - kv[1] = 50 + 10; layer 1: full[0] + kv[1] - kv[0] = 20 */
    assert_int_equal(e.pre_ns, 80);
    /* I = 5, 25; X = 5, 30; P = 82 -> 85 -> 92 */
    assert_int_equal(e.end_ns, 1092);
    assert_int_equal(e.slack_ns, 0);
    assert_int_equal(e.loaded_ns, 30);
    assert_int_equal(e.distortion, 5);
}

static void recompute_all_loads_nothing(void **state)
{
    struct kvs_plan_problem p = two();
    struct kvs_plan plan = plan2(2, 0, 2, 0);
    struct kvs_plan_eval e;

    (void)state;
    assert_true(kvs_plan_eval(&p, &plan, NULL, &e));
    assert_int_equal(e.pre_ns, 90 + 30);
    assert_int_equal(e.end_ns, 2 + 120 + 6 + 1000);
    assert_int_equal(e.loaded_ns, 0);
}

static void waiting_set_starts_after_its_layer_arrives(void **state)
{
    struct kvs_plan_problem p = two();
    struct kvs_plan plan = plan2(1, 0, 1, 0);
    struct kvs_plan_eval e;

    (void)state;
    p.layer = two_waiting;
    assert_true(kvs_plan_eval(&p, &plan, NULL, &e));
    /* I = 65, 125; layer 0 waits 7 + 11, layer 1 waits 7 + 4: P = 2 -> 83 -> 136 */
    assert_int_equal(e.pre_ns, 0);
    assert_int_equal(e.wait_ns, 29);
    assert_int_equal(e.end_ns, 1136);
}

static void slack_moves_the_start_but_not_the_end(void **state)
{
    struct kvs_plan_problem p = two();
    struct kvs_plan plan = plan2(1, 1, 0, 1);
    struct kvs_plan_eval e, later;

    (void)state;
    assert_true(kvs_plan_eval(&p, &plan, NULL, &e));
    assert_true(e.slack_ns > 0);
    p.gpu_start_ns += e.slack_ns;
    assert_true(kvs_plan_eval(&p, &plan, NULL, &later));
    assert_int_equal(later.end_ns, e.end_ns);
    assert_int_equal(later.slack_ns, 0);
    p.gpu_start_ns++;
    assert_true(kvs_plan_eval(&p, &plan, NULL, &later));
    assert_int_equal(later.end_ns, e.end_ns + 1);
}

static void actual_arrivals_and_start_replace_the_predicted(void **state)
{
    struct kvs_plan_problem p = two();
    struct kvs_plan plan = plan2(0, 1, 0, 1);
    int64_t arrive[] = {200, 210};
    struct kvs_plan_actual actual = {.arrive_ns = {arrive}};
    struct kvs_plan_eval e;

    (void)state;
    assert_true(kvs_plan_eval(&p, &plan, &actual, &e));
    /* X = 210, 220; P = 2 -> 217 -> 227 */
    assert_int_equal(e.end_ns, 1227);
    assert_int_equal(e.loaded_ns, 220);
    actual.has_start = true;
    actual.start_ns = 300;
    assert_true(kvs_plan_eval(&p, &plan, &actual, &e));
    assert_int_equal(e.end_ns, 1314);
    actual.arrive_ns[0] = NULL;
    actual.start_ns = 0;
    assert_true(kvs_plan_eval(&p, &plan, &actual, &e));
    /* I = 45, 75; X = 55, 85; P = 0 -> 62 -> 92 */
    assert_int_equal(e.end_ns, 1092);
}

static void slowest_of_two_routes_counts(void **state)
{
    struct kvs_layer_cost cost = first;
    const struct kvs_layer_cost *layer[] = {&cost, &cost};
    struct kvs_plan_problem p = two();
    struct kvs_plan plan = plan2(0, 0, 0, 0);
    struct kvs_plan_eval e;

    (void)state;
    cost.io_ns[1] = io1;
    p.layer = layer;
    p.n_route = 2;
    p.io_start_ns[1] = 90;
    assert_true(kvs_plan_eval(&p, &plan, NULL, &e));
    /* routes at 105, 205 and 170, 250 */
    assert_int_equal(e.loaded_ns, 250);
    assert_int_equal(e.end_ns, 1257);
}

static void a_rise_loads_states_and_its_work_waits_for_the_layer(void **state)
{
    static const uint8_t at_1[] = {0, 1}, at_none[] = {0, 0};
    static const int64_t states[] = {0, 8, 16};
    struct kvs_plan_problem p = two();
    struct kvs_plan from_none = plan2(0, 0, 2, 0), from_half = plan2(1, 0, 2, 0);
    struct kvs_plan_eval e;

    (void)state;
    p.state_at = at_1;
    p.state_ns[0] = states;
    assert_true(kvs_plan_eval(&p, &from_none, NULL, &e));
    /* I = 105, 105 + 16; layer 1 computes K and V of all, 30, behind its states: P = 2 -> 112 ->
     * 121 + 3 + 30 */
    assert_int_equal(e.end_ns, 1154);
    assert_int_equal(e.pre_ns, 0);
    assert_int_equal(e.wait_ns, 40);
    assert_int_equal(e.loaded_ns, 121);
    assert_true(kvs_plan_eval(&p, &from_half, NULL, &e));
    /* I = 65, 65 + 8; the half that layer 0 computes goes on without a state: pre 50 + 20, and 10
     * of layer 1 wait: P = 72 -> 79 -> 92 */
    assert_int_equal(e.end_ns, 1092);
    assert_int_equal(e.pre_ns, 70);
    assert_int_equal(e.wait_ns, 20);
    p.price_link[0] = 2;
    assert_true(kvs_plan_cost(&p, &from_half, &e) == 1092 + 2 * (60 + 8));
    p.state_at = at_none;
    assert_false(kvs_plan_eval(&p, &from_half, NULL, &e));
}

static void plans_without_a_rise_evaluate_as_without_restart_points(void **state)
{
    static const uint8_t at_1[] = {0, 1};
    static const int64_t states[] = {0, 8, 16};
    struct kvs_plan_problem p = two(), with = two();

    (void)state;
    with.state_at = at_1;
    with.state_ns[0] = states;
    for (int i = 0; i < 3; i++)
        for (int next = 0; next <= i; next++) {
            struct kvs_plan plan = plan2(i, 0, next, 1);
            struct kvs_plan_eval a, b;

            assert_true(kvs_plan_eval(&p, &plan, NULL, &a));
            assert_true(kvs_plan_eval(&with, &plan, NULL, &b));
            assert_memory_equal(&a, &b, sizeof a);
        }
}

static void broken_plans_are_refused(void **state)
{
    struct kvs_plan_problem p = two();
    struct kvs_plan rises = plan2(0, 0, 1, 0), frac = plan2(3, 0, 0, 0), level = plan2(1, 0, 0, 2);
    struct kvs_plan_eval e;

    (void)state;
    assert_false(kvs_plan_eval(&p, &rises, NULL, &e));
    assert_int_equal(e.end_ns, 0);
    assert_false(kvs_plan_eval(&p, &frac, NULL, &e));
    assert_false(kvs_plan_eval(&p, &level, NULL, &e));
}

static void golden_plans_evaluate_to_their_optimum(void **state)
{
    const char *file = kvs_shared("golden/plans.json");
    struct kvs_plan_set *set;
    struct kvs_err err = {0};

    (void)state;
    if (!file)
        KVS_SKIP("no shared golden/plans.json");
    if (kvs_plan_set_open(file, &set, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(kvs_plan_set_n(set), 100);
    for (size_t n = 0; n < kvs_plan_set_n(set); n++) {
        const struct kvs_plan_instance *in = kvs_plan_set_at(set, n);
        struct kvs_plan_eval e;

        assert_true(in->has_plan && in->has_optimum);
        assert_true(kvs_plan_eval(&in->problem, &in->plan, NULL, &e));
        if (e.end_ns != in->optimum_ns || e.distortion > in->problem.budget)
            fail_msg("%s: %lld, want %lld", in->name, (long long)e.end_ns,
                     (long long)in->optimum_ns);
    }
    kvs_plan_set_free(set);
}

static void planners_are_found_by_name(void **state)
{
    (void)state;
    for (unsigned n = 0; kvs_planner_list[n]; n++) {
        assert_ptr_equal(kvs_planner_find(kvs_planner_list[n]->name), kvs_planner_list[n]);
        assert_non_null(kvs_planner_list[n]->help);
        assert_null(strchr(kvs_planner_list[n]->name, '_'));
    }
    assert_null(kvs_planner_find("fastest"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(load_all_waits_for_each_layer),
        cmocka_unit_test(staircase_pays_whole_layers_only_where_the_next_needs_them),
        cmocka_unit_test(recompute_all_loads_nothing),
        cmocka_unit_test(waiting_set_starts_after_its_layer_arrives),
        cmocka_unit_test(slack_moves_the_start_but_not_the_end),
        cmocka_unit_test(actual_arrivals_and_start_replace_the_predicted),
        cmocka_unit_test(slowest_of_two_routes_counts),
        cmocka_unit_test(a_rise_loads_states_and_its_work_waits_for_the_layer),
        cmocka_unit_test(plans_without_a_rise_evaluate_as_without_restart_points),
        cmocka_unit_test(broken_plans_are_refused),
        cmocka_unit_test(golden_plans_evaluate_to_their_optimum),
        cmocka_unit_test(planners_are_found_by_name),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
