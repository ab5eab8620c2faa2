/*
 * plan_refine.c - `kvsim plan`: over which fractions and levels it plans, whoever plans with them.
 *
 * Lists of fractions get finer until the optimum is proven and a step gains too little; the list
 * with the least optimum stays.
 */
#include "plan_answer.h"

#include <string.h>

/* A list of fractions and a menu of levels, and the optimum over them. */
struct choice {
    uint32_t n_frac, n_pair;
    struct kvs_strs menu;
    char menu_name[KVS_MAX_LEVEL][64];
    struct kvs_policy_row optimum;
    int64_t pair_bound_ns;
};

static void keep(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                 struct choice *kept)
{
    *kept = (struct choice){.n_frac = answer->v.n_frac,
                            .n_pair = answer->n_pair,
                            .menu = c->menu,
                            .optimum = answer->optimum,
                            .pair_bound_ns = answer->pair_bound_ns};
    memcpy(kept->menu_name, c->menu_name, sizeof kept->menu_name);
}

static enum kvs_code go_back(struct kvs_plan_case *c, const struct choice *kept,
                             struct kvs_plan_answer *answer, struct kvs_err *err)
{
    c->menu = kept->menu;
    memcpy(c->menu_name, kept->menu_name, sizeof c->menu_name);
    answer->optimum = kept->optimum;
    answer->n_pair = kept->n_pair;
    answer->pair_bound_ns = kept->pair_bound_ns;
    kvs_variant_end(&answer->v);
    return kvs_variant_begin(c, &answer->knobs, kept->n_frac, &answer->v, err);
}

static bool is_done(const struct kvs_plan_answer *answer)
{
    double end_ns = (double)answer->optimum.eval.end_ns;
    double gap_ns = end_ns - (double)answer->optimum.lower_bound_ns;

    return answer->v.n_frac >= KVS_MAX_FRAC ||
           (answer->refine_gain < KVS_ENOUGH_GAIN && gap_ns <= KVS_ENOUGH_GAIN * end_ns);
}

enum kvs_code kvs_plan_refine(struct kvs_plan_case *c, struct kvs_plan_answer *answer,
                              struct kvs_err *err)
{
    const struct kvs_planner_ops *planner = kvs_planner_find("optimal");
    uint32_t n_frac = (uint32_t)c->options.fractions;
    struct choice best = {0};
    int64_t before_ns = INT64_MAX;

    for (;;) {
        c->menu.n = 0; /* the first menu is the same for each list */
        enum kvs_code code = kvs_variant_begin(c, &answer->knobs, n_frac, &answer->v, err);

        if (!code)
            code = kvs_plan_row(c, &answer->v, planner, NULL, &answer->optimum, err);
        if (!code)
            code = kvs_plan_menu(c, answer, err);
        if (code)
            return code;
        int64_t now_ns = answer->optimum.eval.end_ns;
        answer->refine_gain = before_ns == INT64_MAX ? 1 : 1 - (double)now_ns / (double)before_ns;
        if (!best.n_frac || now_ns < best.optimum.eval.end_ns)
            keep(c, answer, &best);
        if (is_done(answer))
            break;
        before_ns = now_ns;
        n_frac = 2 * n_frac - 1 > KVS_MAX_FRAC ? KVS_MAX_FRAC : 2 * n_frac - 1;
        kvs_variant_end(&answer->v);
    }
    return answer->v.n_frac == best.n_frac ? KVS_OK : go_back(c, &best, answer, err);
}
