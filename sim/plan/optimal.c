#include "optimal.h"

#include "branch.h"
#include "corner.h"
#include "polish.h"
#include "splice.h"
#include "stairs.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define N_WALK 120
#define N_SWEEP 20
#define WITHIN_REACH .5 /* share of its error that the bound may still lose */
#define N_SHARE 7       /* plans of the mixture that are spliced */
#define ROUGH 3e-3      /* of the bound, at first */
#define BOUND_PART 4    /* a bound is sharpened while its own error is over one part in so many */
#define BOUND_PART_RISING 20 /* the same with restart points: a sharp mixture has better plans */

/* Label searches, and cases, each where the gap is still wide, with what they cost in mind. */
struct stage {
    uint32_t width, n_case; /* of a label search; or how many cases there may be in all */
    double above;           /* relative gap */
};

static const struct stage stages[] = {
    {8, 0, .02}, {0, 8, .02}, {32, 0, .022}, {128, 0, .025}, {0, 16, .02}};
static const struct stage rising_stages[] = {{8, 0, .01}, {32, 0, .02}, {128, 0, .025}};
static const struct stage level_stages[] = {{8, 0, 0}, {32, 0, .005}};

#define ABOVE_STAIRS .008 /* relative gap that is worth a search of levels alone */
#define FEW_PLANS 6       /* in the mixture; made of more, its mean staircase means nothing */
#define N_STAIRS 4        /* staircases tried, at most */

/* Working memory, each part for problems of one size. */
struct room {
    void *mem;
    struct kvs_labels *labels;
    struct kvs_stairs *stairs; /* NULL: the problem has fixed ones already */
    void *stairs_mem;
    void *branch_mem;          /* NULL: no cases */
    struct kvs_branch *branch; /* in it, once it is there */
};

int64_t kvs_least_distortion(const struct kvs_plan_problem *problem, struct kvs_plan *plan)
{
    uint8_t from[KVS_MAX_LAYER][KVS_MAX_FRAC] = {{0}}, level[KVS_MAX_LAYER][KVS_MAX_FRAC] = {{0}};
    int64_t value[KVS_MAX_FRAC] = {0}, least;
    uint32_t i = 0;

    for (uint32_t l = problem->n_layer; l-- > 0;) {
        bool may_rise = problem->state_at && l + 1 < problem->n_layer && problem->state_at[l + 1];
        int64_t reach = INT64_MAX;
        uint8_t at = 0;

        for (uint32_t f = 0; may_rise && f < problem->n_frac; f++) {
            if (value[f] < reach) {
                reach = value[f];
                at = (uint8_t)f;
            }
        }

        for (uint32_t f = 0; f < problem->n_frac; f++) {
            const int64_t *distortion = problem->layer[l]->distortion + f * problem->n_level;
            uint8_t best = 0;

            for (uint32_t q = 1; q < problem->n_level; q++)
                best = distortion[q] < distortion[best] ? (uint8_t)q : best;
            if (value[f] < reach) {
                reach = value[f];
                at = (uint8_t)f;
            }
            value[f] = reach + distortion[best];
            from[l][f] = at;
            level[l][f] = best;
        }
    }
    for (uint32_t f = 1; f < problem->n_frac; f++)
        i = value[f] < value[i] ? f : i;
    least = value[i];
    for (uint32_t l = 0; l < problem->n_layer; l++) {
        plan->frac_i[l] = (uint8_t)i;
        plan->level[l] = level[l][i];
        i = from[l][i];
    }
    return least;
}

/* The fastest corner, or, where none fits the budget, a plan of least distortion. */
static void start(const struct kvs_plan_problem *problem, struct kvs_optimum *out)
{
    struct kvs_corner_pick pick = {0};
    struct kvs_plan_eval eval;

    kvs_corner_flat(problem, 0, problem->n_frac - 1, &pick);
    kvs_corner_cuts(problem, &pick);
    kvs_corner_plan(problem, &pick, &out->plan, &eval);
    out->budget = problem->budget;
    if (pick.over > 0) {
        int64_t least = kvs_least_distortion(problem, &out->plan);

        out->budget = least > out->budget ? least : out->budget;
        if (!kvs_plan_eval(problem, &out->plan, NULL, &eval))
            assert(false);
    }
    out->end_ns = eval.end_ns;
}

static bool is_close(const struct kvs_optimum *out, double enough)
{
    return (double)out->end_ns - out->bound_ns <= enough * (double)out->end_ns;
}

static void take(struct kvs_optimum *out, const struct kvs_plan *plan, int64_t end_ns)
{
    if (end_ns < out->end_ns) {
        out->plan = *plan;
        out->end_ns = end_ns;
    }
}

static enum kvs_code search_labels(const struct kvs_plan_problem *problem,
                                   struct kvs_labels *labels, const struct stage *stage,
                                   struct kvs_optimum *out, struct kvs_err *err)
{
    struct kvs_label_search search = {
        .problem = problem,
        .budget = out->budget,
        .potential = (const struct kvs_potential *const *)out->relax->potential,
        .n_potential = out->relax->n_potential,
        .guide = out->relax->guide,
        .limit_ns = out->end_ns,
        .width = stage->width,
        .n_most = UINT32_MAX,
    };
    struct kvs_plan plan;
    struct kvs_plan_eval eval;
    bool found;

    if (kvs_label_search(labels, &search, &plan, &found, err))
        return KVS_ERR_NOMEM;
    if (found && kvs_plan_eval(problem, &plan, NULL, &eval)) {
        assert(eval.distortion <= out->budget);
        take(out, &plan, eval.end_ns);
    }
    plan = out->plan;
    take(out, &plan, kvs_polish(problem, out->budget, N_SWEEP, &plan));
    return KVS_OK;
}

void kvs_optimum_splice(const struct kvs_relax *relax, void *mem, double enough,
                        struct kvs_optimum *out)
{
    const struct kvs_plan_problem *problem = relax->problem;
    struct kvs_splice *all = kvs_splice_init(mem, problem, out->budget);
    const struct kvs_master *master = relax->master;
    double above = 2;
    struct kvs_plan plan;
    int64_t end_ns;

    kvs_splice_add(all, &out->plan);
    for (uint32_t n = 0; n < N_SHARE && above > 0; n++) {
        double most = 0;
        uint32_t best = 0;

        for (uint32_t p = 0; p < kvs_master_n_plan(master); p++) {
            double share = kvs_master_share(master, p, NULL);

            if (share < above && share > most) {
                most = share;
                best = p;
            }
        }
        above = most;
        if (most > 0 && kvs_master_share(master, best, &plan) > 0)
            kvs_splice_add(all, &plan);
    }
    if (kvs_splice_best(all, out->end_ns, &plan, &end_ns))
        take(out, &plan, end_ns);
    if (is_close(out, enough))
        return;
    plan = out->plan;
    take(out, &plan, kvs_polish(problem, out->budget, N_SWEEP, &plan));
}

/* The relaxation and its splices: a rough bound first, a sharp one where the gap is mostly its.
 * from: that of the problem without restart points, NULL: none. */
static void relax(const struct kvs_plan_problem *problem, void *mem, const struct kvs_relax *from,
                  double enough, struct kvs_optimum *out)
{
    char *rest = (char *)mem + kvs_splice_size();
    double error = enough / 3 > ROUGH || enough <= 0 ? enough / 3 : ROUGH;

    out->guided = false;
    out->n_tree = 0;
    out->relax = from ? kvs_relax_init_rising(rest, problem, from, &out->plan)
                      : kvs_relax_init(rest, problem, out->budget, &out->plan);
    if (from) {
        out->bound_ns = out->relax->bound_ns;
        take(out, &out->relax->plan, out->relax->end_ns);
    }
    while (!from || !is_close(out, enough)) {
        kvs_relax_run(out->relax, N_WALK, error);
        out->bound_ns = out->relax->bound_ns;
        take(out, &out->relax->plan, out->relax->end_ns);
        if (is_close(out, enough))
            return;
        kvs_optimum_splice(out->relax, mem, enough, out);
        if (is_close(out, enough) || error <= enough / 3 ||
            (double)out->end_ns - out->relax->bound_ns >
                (from ? BOUND_PART_RISING : BOUND_PART) *
                    (out->relax->mixture_ns - out->relax->bound_ns))
            return;
        error = enough / 3;
    }
}

static void guide(struct kvs_optimum *out)
{
    if (!out->guided)
        kvs_relax_guide(out->relax);
    out->guided = true;
    take(out, &out->relax->plan, out->relax->end_ns);
}

static void search_cases(struct room *room, uint32_t n_case, double enough, struct kvs_optimum *out)
{
    if (!room->branch)
        room->branch = kvs_branch_init(room->branch_mem, out);
    kvs_branch_run(room->branch, n_case, enough, out);
}

/* More walks, where the bound's own error may be all that the gap has above that. */
static void sharpen(double above, double enough, struct kvs_optimum *out)
{
    struct kvs_relax *relax = out->relax;
    double stop_ns = (double)out->end_ns * (1 - above);

    if (out->n_tree > 0 ||
        relax->bound_ns + WITHIN_REACH * (relax->mixture_ns - relax->bound_ns) < stop_ns)
        return;
    relax->stop_ns = stop_ns;
    kvs_relax_run(relax, N_WALK, enough / 3);
    relax->stop_ns = HUGE_VAL;
    out->bound_ns = relax->bound_ns;
    take(out, &relax->plan, relax->end_ns);
}

static enum kvs_code run_stages(const struct kvs_plan_problem *problem, struct room *room,
                                const struct stage *stage, uint32_t n_stage, double enough,
                                struct kvs_optimum *out, struct kvs_err *err)
{
    for (uint32_t n = 0; n < n_stage && !is_close(out, enough); n++) {
        if (!is_close(out, stage[n].above))
            sharpen(stage[n].above, enough, out);
        if (is_close(out, stage[n].above))
            continue;
        if (stage[n].n_case) {
            search_cases(room, stage[n].n_case, fmax(enough, stage[n].above), out);
            continue;
        }
        guide(out);
        if (search_labels(problem, room->labels, &stage[n], out, err))
            return KVS_ERR_NOMEM;
    }
    return KVS_OK;
}

/* The best levels on a staircase, which may then move. *gains: it is a better plan. */
static enum kvs_code search_levels(const struct kvs_plan_problem *problem, const struct room *room,
                                   double enough, const struct kvs_plan *stairs, bool *gains,
                                   struct kvs_optimum *out, struct kvs_err *err)
{
    const struct kvs_plan_problem *levels = &room->stairs->problem;
    struct room inner = {.mem = room->stairs_mem, .labels = room->labels};
    struct kvs_optimum best;
    struct kvs_plan_eval eval;

    *gains = false;
    kvs_stairs_fix(problem, stairs, out->budget, room->stairs);
    start(levels, &best);
    if (best.budget > out->budget)
        return KVS_OK; /* these stairs break the budget */
    relax(levels, inner.mem, NULL, enough, &best);
    if (best.relax->bound_ns >= (double)out->end_ns)
        return KVS_OK; /* nor do they lead below what is known */
    if (run_stages(levels, &inner, level_stages, sizeof level_stages / sizeof *level_stages, enough,
                   &best, err))
        return KVS_ERR_NOMEM;
    memcpy(best.plan.frac_i, stairs->frac_i, problem->n_layer);
    if (!kvs_plan_eval(problem, &best.plan, NULL, &eval))
        assert(false);
    assert(eval.end_ns == best.end_ns && eval.distortion <= out->budget);
    best.end_ns = kvs_polish(problem, out->budget, N_SWEEP, &best.plan);
    *gains = best.end_ns < out->end_ns;
    take(out, &best.plan, best.end_ns);
    return KVS_OK;
}

static uint32_t n_mixed(const struct kvs_relax *relax)
{
    uint32_t n = 0;

    for (uint32_t p = 0; p < kvs_master_n_plan(relax->master); p++)
        n += kvs_master_share(relax->master, p, NULL) > 0;
    return n;
}

/* Levels on the mixture's staircase, then on the best plan's as long as that gains. */
static enum kvs_code alternate(const struct kvs_plan_problem *problem, const struct room *room,
                               double enough, struct kvs_optimum *out, struct kvs_err *err)
{
    struct kvs_plan stairs;
    bool gains = true;

    kvs_stairs_of_mixture(out->relax, &stairs);
    for (uint32_t n = 0; n < N_STAIRS && gains && !is_close(out, enough); n++) {
        if (search_levels(problem, room, enough, &stairs, &gains, out, err))
            return KVS_ERR_NOMEM;
        stairs = out->plan;
    }
    return KVS_OK;
}

static size_t own_size(const struct kvs_plan_problem *problem)
{
    return kvs_splice_size() + kvs_relax_size(problem);
}

static size_t stairs_size(void)
{
    return (sizeof(struct kvs_stairs) + 63) / 64 * 64;
}

/* `extra` bytes more, at room->mem - extra. false: no memory. */
static bool make_room(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                      size_t extra, struct room *room)
{
    size_t own = own_size(problem), stairs = stairs_size();
    char *mem = kvs_plan_scratch_mem(scratch, extra + 2 * own + stairs + kvs_branch_size(problem));

    *room = (struct room){.labels = kvs_plan_scratch_labels(scratch)};
    if (!mem || !room->labels)
        return false;
    room->mem = mem + extra;
    room->stairs = (struct kvs_stairs *)((char *)room->mem + own);
    room->stairs_mem = (char *)room->stairs + stairs;
    room->branch_mem = (char *)room->stairs_mem + own;
    return true;
}

/* What comes after the relaxation. */
static enum kvs_code search(const struct kvs_plan_problem *problem, struct room *room,
                            double enough, struct kvs_optimum *out, struct kvs_err *err)
{
    if (problem->state_at) /* no cases: where fractions may rise, a border splits nothing */
        return run_stages(problem, room, rising_stages,
                          sizeof rising_stages / sizeof *rising_stages, enough, out, err);
    if (problem->n_level > 1 && !is_close(out, fmax(enough, ABOVE_STAIRS)) &&
        n_mixed(out->relax) <= FEW_PLANS && alternate(problem, room, enough, out, err))
        return KVS_ERR_NOMEM;
    return run_stages(problem, room, stages, sizeof stages / sizeof *stages, enough, out, err);
}

/*
 * With restart points: the problem without them is relaxed first, since that is cheap, its optimum
 * is a plan too, and where nothing is gained by a rise, one walk from its weights proves it. It is
 * searched further only as far as its bound leaves a chance against what rises lead to.
 */
static enum kvs_code optimize_rising(const struct kvs_plan_problem *problem,
                                     struct kvs_plan_scratch *scratch, double enough,
                                     struct kvs_optimum *out, struct kvs_err *err)
{
    struct kvs_plan_problem plain = *problem;
    struct kvs_optimum other;
    struct room room, falling;

    plain.state_at = NULL;
    if (!make_room(problem, scratch, own_size(problem), &falling))
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for a planner");
    room = (struct room){.mem = (char *)falling.mem - own_size(problem), .labels = falling.labels};
    start(&plain, &other);
    start(problem, out);
    if (other.budget > out->budget) { /* only with rises it fits the budget, or nearly */
        relax(problem, room.mem, NULL, enough, out);
        return search(problem, &room, enough, out, err);
    }
    relax(&plain, falling.mem, NULL, enough, &other);
    take(out, &other.plan, other.end_ns);
    relax(problem, room.mem, other.relax, enough, out);
    if (!is_close(&other, enough) && other.bound_ns < (double)out->end_ns) {
        if (search(&plain, &falling, enough, &other, err))
            return KVS_ERR_NOMEM;
        take(out, &other.plan, other.end_ns);
    }
    return search(problem, &room, enough, out, err);
}

/* Plans that were found elsewhere, and what a local search makes of the best. */
static void take_known(const struct kvs_plan_problem *problem,
                       const struct kvs_plan_scratch *scratch, struct kvs_optimum *out)
{
    uint32_t n;
    const struct kvs_plan *known = kvs_plan_scratch_known(scratch, &n);
    int64_t before_ns = out->end_ns;
    struct kvs_plan plan;
    struct kvs_plan_eval eval;

    for (uint32_t i = 0; i < n; i++)
        if (kvs_plan_eval(problem, &known[i], NULL, &eval) && eval.distortion <= out->budget)
            take(out, &known[i], eval.end_ns);
    if (out->end_ns == before_ns)
        return;
    plan = out->plan;
    take(out, &plan, kvs_polish(problem, out->budget, N_SWEEP, &plan));
}

enum kvs_code kvs_optimize(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                           double enough, struct kvs_optimum *out, struct kvs_err *err)
{
    struct room room;

    if (problem->state_at) {
        if (optimize_rising(problem, scratch, enough, out, err))
            return KVS_ERR_NOMEM;
    } else {
        if (!make_room(problem, scratch, 0, &room))
            return kvs_fail(err, KVS_ERR_NOMEM, "no memory for a planner");
        start(problem, out);
        relax(problem, room.mem, NULL, enough, out);
        if (search(problem, &room, enough, out, err))
            return KVS_ERR_NOMEM;
    }
    take_known(problem, scratch, out);
    return KVS_OK;
}

void kvs_optimum_take(const struct kvs_plan_problem *problem, const struct kvs_optimum *optimum,
                      struct kvs_plan *plan, struct kvs_plan_eval *eval, int64_t *lower_bound_ns)
{
    *plan = optimum->plan;
    if (!kvs_plan_eval(problem, plan, NULL, eval))
        assert(false);
    assert(eval->end_ns == optimum->end_ns);
    *lower_bound_ns =
        optimum->n_tree
            ? kvs_certify_cases(problem, problem->budget, optimum->tree, optimum->n_tree)
            : kvs_certify(problem, problem->budget, &optimum->relax->certificate);
}
