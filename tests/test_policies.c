/* Published policies on problems small enough to work by hand from each paper's rule. */
#include "test.h"

#include "plan/own.h"
#include "plan/plan.h"

#include <math.h>
#include <string.h>

#define MAX_CELL 16

static const int64_t zero[MAX_CELL];

/* Equal layers; what is not set is 0. */
struct made {
    struct kvs_layer_cost cost;
    const struct kvs_layer_cost *layer[4];
    struct kvs_plan_problem p;
};

static void make(struct made *m, uint32_t n_layer, uint32_t n_frac, uint32_t n_level,
                 const double *frac, const int64_t *io, const int64_t *full, const int64_t *post)
{
    memset(m, 0, sizeof *m);
    m->cost = (struct kvs_layer_cost){.io_ns = {io},
                                      .decode_ns = zero,
                                      .post_ns = post,
                                      .distortion = zero,
                                      .full_ns = full,
                                      .kv_ns = zero,
                                      .wfull_ns = zero,
                                      .wkv_ns = zero};
    for (uint32_t l = 0; l < n_layer; l++)
        m->layer[l] = &m->cost;
    m->p = (struct kvs_plan_problem){.n_layer = n_layer,
                                     .n_frac = n_frac,
                                     .n_level = n_level,
                                     .n_route = 1,
                                     .frac = frac,
                                     .layer = m->layer};
}

static void expect(const struct made *m, const char *name, const uint8_t *frac_i,
                   const uint8_t *level)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();
    struct kvs_plan_eval eval, again;
    struct kvs_plan plan;
    int64_t bound;

    assert_int_equal(kvs_planner_find(name)->plan(&m->p, scratch, &plan, &eval, &bound, NULL),
                     KVS_OK);
    assert_memory_equal(plan.frac_i, frac_i, m->p.n_layer);
    for (uint32_t l = 0; l < m->p.n_layer; l++)
        if (plan.frac_i[l] + 1u < m->p.n_frac)
            assert_int_equal(plan.level[l], level[l]);
    assert_true(kvs_plan_eval(&m->p, &plan, NULL, &again));
    assert_memory_equal(&eval, &again, sizeof eval);
    kvs_plan_scratch_free(scratch);
}

static const double halves[] = {0, .5, 1};
static const uint8_t raw[4] = {0};

static void cacheflow_takes_the_mode_with_the_lesser_sum(void **state)
{
    static const int64_t io[] = {40, 20, 0}, post[] = {3, 3, 3};
    static const int64_t cheap_half[] = {0, 10, 30}, dear_half[] = {0, 25, 30};
    struct made m;

    (void)state;
    /* half the tokens: compute 20, loads 40; half the layers: 30 and 40; a tie goes to tokens */
    make(&m, 2, 3, 1, halves, io, cheap_half, post);
    expect(&m, "cacheflow", (uint8_t[]){1, 1}, raw);
    /* half the tokens: 50 and 40; half the layers: 30 and 40 */
    make(&m, 2, 3, 1, halves, io, dear_half, post);
    expect(&m, "cacheflow", (uint8_t[]){2, 0}, raw);
}

static void cacheflow_v2_finds_the_staircase_that_balances(void **state)
{
    static const int64_t io[] = {50, 30, 0}, full[] = {0, 8, 24}, post[] = {3, 3, 3};
    struct made m;

    (void)state;
    /* all of layer 0, half of layer 1: compute 32, loads 30; the flat halves: 16 and 60; a layer:
     * 24 and 50; all: 48 */
    make(&m, 2, 3, 1, halves, io, full, post);
    expect(&m, "cacheflow-v2", (uint8_t[]){2, 1}, raw);
}

static const double shares[] = {0, .05, .15, .3, 1};

/* The first four fractions repair moved text, which is all that is cached, or less of it. */
static void make_moved(struct made *m, const double *frac, const double *repair_frac,
                       const int64_t *io)
{
    static const int64_t full[] = {0, 0, 0, 0, 20}, wfull[] = {0, 1, 3, 6, 0};
    static const int64_t post[] = {1, 1, 1, 1, 1};

    make(m, 4, 5, 1, frac, io, full, post);
    m->cost.wfull_ns = wfull;
    m->p.n_repair = 4;
    m->p.repair_frac = repair_frac;
    m->p.first_i = 1;
}

static void cacheblend_repairs_15_percent_or_what_hides(void **state)
{
    static const int64_t slow[] = {10, 10, 10, 10, 0}, fast[] = {5, 5, 5, 5, 0};
    struct made m;

    (void)state;
    make_moved(&m, shares, shares, slow); /* 30 %: 24 of compute behind 40 of loads */
    expect(&m, "cacheblend", (uint8_t[]){4, 4, 3, 3}, raw);
    make_moved(&m, shares, shares, fast); /* 24 do not hide behind 20 */
    expect(&m, "cacheblend", (uint8_t[]){4, 4, 2, 2}, raw);
    expect(&m, "epic", (uint8_t[]){1, 1, 1, 1}, raw);
}

/* Half of the text is in place: .15 of the other half is .075 of all, and all of it is .5. */
static void what_is_in_place_is_loaded_as_it_is(void **state)
{
    static const double frac[] = {0, .025, .075, .5, 1}, of_moved[] = {0, .05, .15, 1};
    static const int64_t io[] = {5, 5, 5, 5, 0};
    struct made m;

    (void)state;
    make_moved(&m, frac, of_moved, io);
    expect(&m, "cacheblend", (uint8_t[]){3, 3, 2, 2}, raw);
    expect(&m, "epic", (uint8_t[]){1, 1, 1, 1}, raw);
    m.p.n_repair = 0; /* all of it is */
    m.p.first_i = 0;
    expect(&m, "cacheblend", (uint8_t[]){0, 0, 0, 0}, raw);
    expect(&m, "epic", (uint8_t[]){0, 0, 0, 0}, raw);
}

static void hcache_balances_hidden_states_with_the_rest(void **state)
{
    static const double ends[] = {0, 1};
    static const int64_t full[] = {0, 30};
    /* [i * 2 + q]: raw and hidden */
    static const int64_t io[] = {60, 30, 0, 0};
    static const int64_t cheap[] = {1, 5, 1, 5}, dear[] = {1, 50, 1, 50};
    struct made m;

    (void)state;
    /* two layers computed: 60 and what projecting two takes, against 60 of loads */
    make(&m, 4, 2, 2, ends, io, full, cheap);
    m.p.hidden_level = 1;
    expect(&m, "hcache", (uint8_t[]){1, 1, 0, 0}, (uint8_t[]){0, 0, 1, 1});
    /* projecting is slow: the last layer as K and V, 151 and 150 */
    make(&m, 4, 2, 2, ends, io, full, dear);
    m.p.hidden_level = 1;
    expect(&m, "hcache", (uint8_t[]){0, 0, 0, 0}, (uint8_t[]){1, 1, 1, 0});
    expect(&m, "load", (uint8_t[]){0, 0, 0, 0}, raw); /* K and V: hidden states are HCache's */
    /* none on the menu: K and V */
    m.p.hidden_level = 0;
    expect(&m, "hcache", (uint8_t[]){0, 0, 0, 0}, raw);
}

static const struct kvs_own_ops *own(const char *name)
{
    for (int i = 0; kvs_own_list[i]; i++)
        if (strcmp(kvs_own_list[i]->name, name) == 0)
            return kvs_own_list[i];
    fail_msg("no policy %s", name);
    return NULL;
}

static const int64_t own_io[] = {40, 20, 16, 8, 0, 0}; /* raw and a half-size level */
static const int64_t own_full[] = {0, 10, 30}, own_post[] = {3, 3, 3, 3, 3, 3};

static void make_own(struct made *m, uint32_t n_level)
{
    static const int64_t one_level[] = {40, 16, 0};

    make(m, 1, 3, n_level, halves, n_level == 1 ? one_level : own_io, own_full, own_post);
    m->p.io_start_ns[0] = 5;
    m->p.head_ns = 1;
}

static void bulk_loads_end_before_anything_is_computed(void **state)
{
    const struct kvs_own_config config = {.slo_ns = 0};
    struct kvs_own_result got;
    struct made m;

    (void)state;
    make_own(&m, 1);
    own("load-bulk")->run(&m.p, &config, &got);
    assert_int_equal(got.end_ns, 5 + 40 + 3 + 1);
    assert_true(got.recompute_frac == 0);
}

static void cake_meets_in_the_middle(void **state)
{
    const struct kvs_own_config config = {.slo_ns = 0};
    struct kvs_own_result got;
    struct made m;

    (void)state;
    make_own(&m, 1);
    /* the GPU computes the front until 10, the link brings the back from 5 to 21 */
    own("cake")->run(&m.p, &config, &got);
    assert_int_equal(got.end_ns, 21 + 3 + 1);
    assert_int_equal(got.choice[0], KVS_OWN_COMPUTED);
    assert_int_equal(got.choice[1], 0);
    assert_true(got.recompute_frac == .5);
    /* a busy GPU: the link takes both */
    m.p.gpu_start_ns = 30;
    own("cake")->run(&m.p, &config, &got);
    assert_int_equal(got.end_ns, 45 + 3 + 1);
}

static void cachegen_keeps_its_deadline(void **state)
{
    static const double slow[] = {.5, .5};
    struct kvs_own_config config = {.slo_ns = 40};
    struct kvs_own_result got;
    struct made m;

    (void)state;
    make_own(&m, 2);
    /* 35 are left: computing all takes 30, so text it is */
    own("cachegen")->run(&m.p, &config, &got);
    assert_int_equal(got.choice[0], KVS_OWN_COMPUTED);
    assert_int_equal(got.choice[1], KVS_OWN_COMPUTED);
    assert_int_equal(got.end_ns, 5 + 30 + 3 + 1);
    /* 25 are left: neither text (30) nor raw (40), but the level (20); then 13 for 8 */
    config.slo_ns = 30;
    own("cachegen")->run(&m.p, &config, &got);
    assert_int_equal(got.choice[0], 1);
    assert_int_equal(got.choice[1], 1);
    assert_int_equal(got.end_ns, 5 + 20 + 3 + 1);
    /* 53 are left for raw's 40, when text takes 60; then 29 for 16, when text takes 30 */
    static const int64_t dear[] = {0, 30, 60};
    m.cost.full_ns = dear;
    config.slo_ns = 58;
    own("cachegen")->run(&m.p, &config, &got);
    assert_int_equal(got.choice[0], 0);
    assert_int_equal(got.choice[1], 0);
    /* at half the rate the first takes 48: then 5 are left, too few for 8 at half the rate */
    config.rate = slow;
    own("cachegen")->run(&m.p, &config, &got);
    assert_int_equal(got.choice[0], 0);
    assert_int_equal(got.choice[1], 1);
    assert_int_equal(got.end_ns, 5 + 48 + 16 + 3 + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cacheflow_takes_the_mode_with_the_lesser_sum),
        cmocka_unit_test(cacheflow_v2_finds_the_staircase_that_balances),
        cmocka_unit_test(cacheblend_repairs_15_percent_or_what_hides),
        cmocka_unit_test(what_is_in_place_is_loaded_as_it_is),
        cmocka_unit_test(hcache_balances_hidden_states_with_the_rest),
        cmocka_unit_test(bulk_loads_end_before_anything_is_computed),
        cmocka_unit_test(cake_meets_in_the_middle),
        cmocka_unit_test(cachegen_keeps_its_deadline),
    };
    return cmocka_run_group_tests_name("published policies", tests, NULL, NULL);
}
