#include "optimal.h"

#include "corner.h"
#include "polish.h"

#include <assert.h>

#define N_WALK 120
#define N_SWEEP 20

/*
 * Searches from cheap to dear; by bound, then by guide, since each finds what the other misses. A
 * dear one is worth its time only where the gap is wide.
 */
static const struct stage {
    uint32_t width;
    bool guided;
    double above; /* relative gap */
} stages[] = {
    {8, false, 0},    {8, true, 0},      {32, false, .012},
    {32, true, .012}, {128, true, .018}, {256, false, .03},
};

/* Of all staircases, one of least distortion. */
static int64_t least_distortion(const struct kvs_plan_problem *problem, struct kvs_plan *plan)
{
    uint8_t from[KVS_MAX_LAYER][KVS_MAX_FRAC] = {{0}}, level[KVS_MAX_LAYER][KVS_MAX_FRAC] = {{0}};
    int64_t value[KVS_MAX_FRAC] = {0}, least;
    uint32_t i = 0;

    for (uint32_t l = problem->n_layer; l-- > 0;) {
        int64_t reach = INT64_MAX;
        uint8_t at = 0;

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
        int64_t least = least_distortion(problem, &out->plan);

        out->budget = least > out->budget ? least : out->budget;
        if (!kvs_plan_eval(problem, &out->plan, NULL, &eval))
            assert(false);
    }
    out->end_ns = eval.end_ns;
}

static bool is_close(const struct kvs_optimum *out, double enough)
{
    return (double)out->end_ns - out->relax->bound_ns <= enough * (double)out->end_ns;
}

static void take(struct kvs_optimum *out, const struct kvs_plan *plan, int64_t end_ns)
{
    if (end_ns < out->end_ns) {
        out->plan = *plan;
        out->end_ns = end_ns;
    }
}

static enum kvs_code run_stage(const struct kvs_plan_problem *problem, struct kvs_labels *labels,
                               const struct stage *stage, struct kvs_optimum *out,
                               struct kvs_err *err)
{
    struct kvs_label_search search = {
        .problem = problem,
        .budget = out->budget,
        .potential = (const struct kvs_potential *const *)out->relax->potential,
        .n_potential = out->relax->n_potential,
        .guide = stage->guided ? out->relax->guide : NULL,
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
    if (stage->guided) {
        plan = out->plan;
        take(out, &plan, kvs_polish(problem, out->budget, N_SWEEP, &plan));
    }
    return KVS_OK;
}

enum kvs_code kvs_optimize(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                           double enough, struct kvs_optimum *out, struct kvs_err *err)
{
    void *mem = kvs_plan_scratch_mem(scratch, kvs_relax_size(problem));
    struct kvs_labels *labels = kvs_plan_scratch_labels(scratch);

    if (!mem || !labels)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for a planner");
    start(problem, out);
    out->spread = false;
    out->relax = kvs_relax_run(mem, problem, out->budget, &out->plan, N_WALK, enough / 3);
    take(out, &out->relax->plan, out->relax->end_ns);
    if (is_close(out, enough))
        return KVS_OK;
    kvs_relax_spread(out->relax);
    out->spread = true;
    take(out, &out->relax->plan, out->relax->end_ns);
    for (uint32_t n = 0; n < sizeof stages / sizeof *stages && !is_close(out, enough); n++)
        if (!is_close(out, stages[n].above) && run_stage(problem, labels, &stages[n], out, err))
            return KVS_ERR_NOMEM;
    return KVS_OK;
}

void kvs_optimum_take(const struct kvs_plan_problem *problem, const struct kvs_optimum *optimum,
                      struct kvs_plan *plan, struct kvs_plan_eval *eval, int64_t *lower_bound_ns)
{
    *plan = optimum->plan;
    if (!kvs_plan_eval(problem, plan, NULL, eval))
        assert(false);
    assert(eval->end_ns == optimum->end_ns);
    *lower_bound_ns = kvs_certify(problem, problem->budget, &optimum->relax->certificate);
}
