/*
 * plan_knobs.c - `kvsim plan`: what the prompt would take with one knob at half and at twice what
 * it is.
 *
 * A plan that keeps the budget keeps it on any machine, and none is slower on a better one. But a
 * search may miss on one machine what it finds on another; so all that is found is tried on all.
 */
#include "plan_answer.h"

#include <stdlib.h>
#include <string.h>

#define N_SIDE 2 /* half, twice */

static const struct knob {
    const char *name;
    size_t at; /* of a double of kvs_knobs */
    enum kvs_knob_kind kind;
} knobs[] = {
    {"links", offsetof(struct kvs_knobs, link), KVS_KNOB_STAGE},
    {"GPU", offsetof(struct kvs_knobs, gpu), KVS_KNOB_STAGE},
    {"decoder", offsetof(struct kvs_knobs, decoder), KVS_KNOB_STAGE}, /* where there are levels */
    {"bandwidth", offsetof(struct kvs_knobs, rate), KVS_KNOB_PART},
    {"pieces a second", offsetof(struct kvs_knobs, piece), KVS_KNOB_PART},
    {"new tokens", offsetof(struct kvs_knobs, new_tok), KVS_KNOB_PROMPT},
    {"cached tokens", offsetof(struct kvs_knobs, context_tok), KVS_KNOB_PROMPT},
};
#define N_KNOB (sizeof knobs / sizeof *knobs)
_Static_assert(N_KNOB <= KVS_MAX_KNOB, "an answer has room for all");

struct one {
    const struct knob *knob;
    struct kvs_variant v;          /* over the answer's fractions and levels */
    struct kvs_policy_row row;     /* optimal's of it */
    struct kvs_plan_answer *there; /* over its own; NULL: not yet */
};

struct kvs_turned {
    uint32_t n;
    struct one one[N_SIDE * N_KNOB]; /* half and twice by turns */
};

/* The case with a knob turned, as if it had been asked for. */
static enum kvs_code choose(const struct kvs_plan_case *asked, const struct kvs_knobs *turned,
                            struct one *one, struct kvs_err *err)
{
    struct kvs_plan_case *c = malloc(sizeof *c);
    enum kvs_code code = KVS_ERR_NOMEM;

    one->there = calloc(1, sizeof *one->there);
    if (c && one->there) {
        *c = *asked; /* borrows all that it points to */
        one->there->knobs = *turned;
        code = kvs_plan_refine(c, one->there, err);
    } else {
        code = kvs_nomem(err);
    }
    free(c);
    return code;
}

static enum kvs_code turn(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                          double factor, struct one *one, struct kvs_err *err)
{
    struct kvs_knobs turned = KVS_KNOBS_AS_IS;

    *(double *)((char *)&turned + one->knob->at) = factor;
    enum kvs_code code = kvs_variant_begin(c, &turned, answer->v.n_frac, &one->v, err);
    if (!code)
        code = kvs_plan_row(c, &one->v, answer->optimum.planner, &answer->optimum.plan, &one->row,
                            err);
    return code ? code : choose(c, &turned, one, err);
}

static enum kvs_code turn_all(struct kvs_plan_case *c, struct kvs_plan_answer *answer,
                              struct kvs_turned *turned, struct kvs_err *err)
{
    bool gains = false;

    for (size_t k = 0; k < N_KNOB; k++)
        for (int side = 0; side < N_SIDE; side++) {
            struct one *one = &turned->one[turned->n];

            if (knobs[k].at == offsetof(struct kvs_knobs, decoder) &&
                !kvs_plan_has_levels(&answer->v))
                continue;
            one->knob = &knobs[k];
            turned->n++;
            if (turn(c, answer, side == 0 ? .5 : 2, one, err))
                return err->code;
        }
    for (uint32_t i = 0; i < turned->n; i++)
        gains |= kvs_plan_row_offer(&answer->v, &turned->one[i].row.plan, &answer->optimum);
    while (gains) { /* until a search from there ends where it began, as any other's will */
        struct kvs_policy_row row;

        if (kvs_plan_row(c, &answer->v, answer->optimum.planner, &answer->optimum.plan, &row, err))
            return err->code;
        gains = row.eval.end_ns < answer->optimum.eval.end_ns;
        if (gains)
            answer->optimum = row;
    }
    return KVS_OK;
}

static bool is_worse(const struct one *one, uint32_t side)
{
    return (side == 0) == (one->knob->kind != KVS_KNOB_PROMPT);
}

enum kvs_code kvs_turned_new(struct kvs_plan_case *c, struct kvs_plan_answer *answer,
                             struct kvs_turned **out, struct kvs_err *err)
{
    struct kvs_turned *turned = calloc(1, sizeof *turned);
    const struct kvs_strs menu = c->menu;

    *out = turned;
    if (!turned)
        return kvs_nomem(err);
    kvs_plan_menu_fix(c, &answer->v);
    enum kvs_code code = turn_all(c, answer, turned, err);
    c->menu.n = menu.n; /* the names are the same, or there were none */
    return code;
}

/* The row over the fractions and levels chosen there, if that is better. */
static enum kvs_code take_own(const struct kvs_plan_case *c, const struct kvs_planner_ops *planner,
                              bool is_best, const struct one *one, struct kvs_policy_row *row,
                              struct kvs_err *err)
{
    const struct kvs_plan_answer *there = one->there;
    struct kvs_policy_row own = there->optimum;

    if (!is_best && kvs_plan_row(c, &there->v, planner, &there->optimum.plan, &own, err))
        return err->code;
    if (own.over_budget < row->over_budget ||
        (own.over_budget == row->over_budget && own.eval.end_ns < row->eval.end_ns))
        *row = own;
    return KVS_OK;
}

const struct kvs_policy_row *kvs_plan_turned_row(const struct kvs_plan_answer *answer)
{
    return strcmp(answer->best.planner->name, "careful") == 0 ? &answer->optimum : &answer->best;
}

enum kvs_code kvs_turned_rows(const struct kvs_plan_case *c, struct kvs_turned *turned,
                              struct kvs_plan_answer *answer, struct kvs_err *err)
{
    const struct kvs_policy_row *of = kvs_plan_turned_row(answer);
    const struct kvs_planner_ops *planner = of->planner;
    bool is_best = planner == answer->optimum.planner || strcmp(planner->name, "exact") == 0;

    for (uint32_t i = 0; i < turned->n; i++) {
        struct one *one = &turned->one[i];
        struct kvs_policy_row row = one->row;

        if (!is_best && kvs_plan_row(c, &one->v, planner, &one->row.plan, &row, err))
            return err->code;
        for (uint32_t j = 0; is_best && j < turned->n; j++)
            (void)kvs_plan_row_offer(&one->v, &turned->one[j].row.plan, &row);
        if (is_best)
            (void)kvs_plan_row_offer(&one->v, &of->plan, &row);
        if (take_own(c, planner, is_best, one, &row, err))
            return err->code;
        /* what little another menu may gain */
        if (is_best && is_worse(one, i % N_SIDE) && row.eval.end_ns < of->eval.end_ns)
            row.eval.end_ns = of->eval.end_ns;
        answer->n_knob = i / N_SIDE + 1;
        answer->knob[i / N_SIDE].name = one->knob->name;
        answer->knob[i / N_SIDE].kind = one->knob->kind;
        *(i % N_SIDE ? &answer->knob[i / N_SIDE].twice_ns : &answer->knob[i / N_SIDE].half_ns) =
            row.eval.end_ns;
    }
    return KVS_OK;
}

void kvs_turned_free(struct kvs_turned *turned)
{
    for (uint32_t i = 0; turned && i < turned->n; i++) {
        kvs_variant_end(&turned->one[i].v);
        kvs_plan_answer_free(turned->one[i].there);
    }
    free(turned);
}
