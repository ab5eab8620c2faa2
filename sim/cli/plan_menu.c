/*
 * plan_menu.c - which levels a plan chooses from, where nobody names them.
 *
 * A plan has room for KVS_MAX_LEVEL levels, and a codec has some hundred pairs of one for K and one
 * for V. The prices of a plan's certificate tell which pairs would be worth more than those that
 * the menu has; they take the place of what the plan does not use, and it is made again, as long as
 * the bound over all pairs leaves something to gain. What is in use stays, so no round is a loss.
 */
#include "plan/menu.h"
#include "plan/pool.h"
#include "plan_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENOUGH 1e-3 /* relative: what all pairs could gain at most */
#define MAX_ROUND 6
#define ROOM (KVS_MAX_LEVEL - 2) /* besides raw16 and hidden states */
#define MAX_MENU (KVS_MENU_PAIRS / ROOM + 1)

/* All pairs in menus of as many as there is room for; a problem each. */
struct all {
    uint32_t n_pair, n_variant, n_level;
    char (*pair)[64];
    struct kvs_variant *variant; /* [n_variant] */
    struct kvs_pool_level level[MAX_MENU * KVS_MAX_LEVEL];
    const char *name[MAX_MENU * KVS_MAX_LEVEL]; /* of each level */
    uint32_t count[MAX_MENU * KVS_MAX_LEVEL];   /* layers that want it */
    struct kvs_pool *pool;
};

static void free_all(struct all *all)
{
    if (!all)
        return;
    kvs_pool_free(all->pool);
    for (uint32_t n = 0; n < all->n_variant; n++)
        kvs_variant_end(&all->variant[n]);
    free(all->pair);
    free(all->variant);
    free(all);
}

static enum kvs_code make_all(struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                              struct all *all, struct kvs_err *err)
{
    const struct kvs_strs menu = c->menu;
    const struct kvs_variant *v = &answer->v;
    struct kvs_levels_config config;
    enum kvs_code code;

    kvs_variant_levels(c, v, &config);
    code = kvs_levels_pairs(&config, &all->pair, &all->n_pair, err);
    if (code)
        return code;
    all->variant = calloc(all->n_pair / ROOM + 1, sizeof *all->variant);
    if (!all->variant)
        return kvs_nomem(err);
    for (uint32_t from = 0; from < all->n_pair && !code; from += ROOM) {
        struct kvs_variant *one = &all->variant[all->n_variant++];

        c->menu.n = 0;
        for (uint32_t n = from; n < all->n_pair && n < from + ROOM; n++)
            c->menu.v[c->menu.n++] = all->pair[n];
        code = kvs_variant_begin(c, &answer->knobs, v->n_frac, one, err);
        for (uint32_t q = 0; !code && q < one->problem.n_level; q++) {
            all->level[all->n_level] = (struct kvs_pool_level){&one->problem, q};
            all->name[all->n_level++] = one->levels->level[q].name;
        }
    }
    c->menu = menu;
    return code;
}

static bool on_menu(const struct kvs_plan_case *c, const char *name)
{
    for (unsigned n = 0; n < c->menu.n; n++)
        if (strcmp(c->menu.v[n], name) == 0)
            return true;
    return false;
}

static void put(struct kvs_plan_case *c, const struct kvs_variant *v, const char *name)
{
    uint32_t room = KVS_MAX_LEVEL - 1 - c->options.hidden;

    if (c->menu.n >= room || on_menu(c, name) || strcmp(name, KVS_HIDDEN) == 0 ||
        strcmp(name, v->levels->level[0].name) == 0)
        return;
    snprintf(c->menu_name[c->menu.n], sizeof *c->menu_name, "%s", name);
    c->menu.v[c->menu.n] = c->menu_name[c->menu.n];
    c->menu.n++;
}

/* The menu: what the plan uses, what its prices would take most, and what there was. */
static void turn_menu(struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                      struct all *all)
{
    const struct kvs_variant *v = &answer->v;
    const struct kvs_plan_problem *problem = &v->problem;

    c->menu.n = 0;
    for (uint32_t l = 0; l < problem->n_layer; l++)
        if (answer->optimum.plan.frac_i[l] + 1u < problem->n_frac)
            put(c, v, v->levels->level[answer->optimum.plan.level[l]].name);
    for (;;) {
        uint32_t most = 0;

        for (uint32_t n = 1; n < all->n_level; n++)
            most = all->count[n] > all->count[most] ? n : most;
        if (all->count[most] == 0)
            break;
        put(c, v, all->name[most]);
        all->count[most] = 0;
    }
    for (uint32_t q = 0; q < v->levels->n; q++)
        put(c, v, v->levels->level[q].name);
}

static bool wants_new(const struct kvs_variant *v, const struct all *all)
{
    for (uint32_t n = 0; n < all->n_level; n++) {
        bool has = all->count[n] == 0;

        for (uint32_t q = 0; q < v->levels->n && !has; q++)
            has = strcmp(v->levels->level[q].name, all->name[n]) == 0;
        if (!has)
            return true;
    }
    return false;
}

/* Plans with another menu; the old one comes back if that is no gain. */
static enum kvs_code plan_again(struct kvs_plan_case *c, struct kvs_plan_answer *answer,
                                struct all *all, bool *gains, struct kvs_err *err)
{
    struct kvs_variant *v = malloc(sizeof *v);
    struct kvs_policy_row row;
    struct kvs_strs menu;
    char name[KVS_MAX_LEVEL][64];
    enum kvs_code code;

    if (!v)
        return kvs_nomem(err);
    menu = c->menu;
    memcpy(name, c->menu_name, sizeof name);
    turn_menu(c, answer, all);
    code = kvs_variant_begin(c, &answer->knobs, answer->v.n_frac, v, err);
    if (!code)
        code = kvs_plan_row(c, v, answer->optimum.planner, NULL, &row, err);
    *gains = !code && row.over_budget <= answer->optimum.over_budget &&
             row.eval.end_ns <= answer->optimum.eval.end_ns;
    if (*gains) { /* a variant lies where it was made */
        kvs_variant_end(&answer->v);
        code = kvs_variant_begin(c, &answer->knobs, v->n_frac, &answer->v, err);
        answer->optimum = row;
    } else {
        c->menu = menu;
        memcpy(c->menu_name, name, sizeof name);
    }
    kvs_variant_end(v);
    free(v);
    return code;
}

void kvs_plan_menu_fix(struct kvs_plan_case *c, const struct kvs_variant *v)
{
    if (c->options.levels.n)
        return;
    c->menu.n = 0;
    for (uint32_t q = 0; q < v->levels->n; q++)
        put(c, v, v->levels->level[q].name);
}

enum kvs_code kvs_plan_menu(struct kvs_plan_case *c, struct kvs_plan_answer *answer,
                            struct kvs_err *err)
{
    struct all *all;
    struct kvs_err own = {0};
    bool gains = true;
    enum kvs_code code = KVS_OK;

    answer->n_pair = 0;
    answer->pair_bound_ns = INT64_MIN;
    if (c->options.levels.n || answer->v.levels->n < 2)
        return KVS_OK;
    all = calloc(1, sizeof *all);
    if (!all)
        return kvs_nomem(err);
    code = make_all(c, answer, all, err);
    if (!code && all->n_level > 0 &&
        kvs_pool_new(all->level, all->n_level, &all->pool, &own) == KVS_ERR_NOMEM)
        code = kvs_nomem(err); /* too many pairs: the first menu stays, and nothing is proven */
    answer->n_pair = all->n_pair;
    for (uint32_t round = 0; round < MAX_ROUND && gains && !code && all->pool; round++) {
        struct kvs_optimum optimum;

        code = kvs_optimize(&answer->v.problem, c->scratch, ENOUGH, &optimum, err);
        if (code)
            break;
        int64_t bound_ns = kvs_pool_bound(all->pool, &optimum),
                end_ns = answer->optimum.eval.end_ns;
        bound_ns = bound_ns < end_ns ? bound_ns : end_ns;
        if (bound_ns > answer->pair_bound_ns)
            answer->pair_bound_ns = bound_ns;
        kvs_pool_wants(all->pool, &optimum, all->count);
        if ((double)(end_ns - answer->pair_bound_ns) < ENOUGH * (double)end_ns ||
            !wants_new(&answer->v, all))
            break;
        code = plan_again(c, answer, all, &gains, err);
    }
    free_all(all);
    return code;
}
