#include "plan_answer.h"

#include "plan/chain.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool loads_nothing(const struct kvs_variant *v, const struct kvs_plan *plan)
{
    uint32_t all_tok = kvs_tables_recompute_tok(v->inst, v->n_frac - 1);

    for (uint32_t l = 0; l < v->problem.n_layer; l++)
        if (kvs_tables_recompute_tok(v->inst, plan->frac_i[l]) < all_tok)
            return false;
    return true;
}

/* A plan that loads nothing does not wait for its routes to begin. */
static void without_start(const struct kvs_plan_problem *problem, struct kvs_policy_row *row)
{
    struct kvs_plan_problem alone = *problem;

    alone.n_route = 0;
    (void)kvs_plan_eval(&alone, &row->plan, NULL, &row->eval);
}

/* Bytes of states for what layer l computes above the layer before. */
static double state_bytes(const struct kvs_variant *v, const struct kvs_plan *plan, uint32_t l)
{
    if (l == 0 || plan->frac_i[l] <= plan->frac_i[l - 1])
        return 0;
    return kvs_tables_state_bytes(v->inst, plan->frac_i[l - 1], plan->frac_i[l]);
}

/* What a plan means: T, and what it loads and computes. */
static void fill_row(const struct kvs_variant *v, struct kvs_policy_row *row)
{
    const struct kvs_plan_problem *problem = &v->problem;

    row->over_budget = row->eval.distortion > problem->budget;
    row->loss_unknown = false;
    row->recompute_frac = row->load_bytes = 0;
    row->work_ns = row->eval.pre_ns + row->eval.wait_ns + problem->head_ns;
    for (uint32_t l = 0; l < problem->n_layer; l++) {
        uint32_t i = row->plan.frac_i[l];

        row->loss_unknown |=
            problem->n_repair && !v->repair_method && kvs_tables_other_loss(v->inst, i) > 0;
        row->recompute_frac += problem->frac[i] / problem->n_layer;
        row->load_bytes += state_bytes(v, &row->plan, l);
        for (uint32_t k = 0; k < kvs_plan_routes(problem); k++)
            row->load_bytes += kvs_tables_load_bytes(v->inst, k, kvs_cost_class(v->cost, l), i,
                                                     row->plan.level[l]);
    }
}

bool kvs_plan_row_offer(const struct kvs_variant *v, const struct kvs_plan *plan,
                        struct kvs_policy_row *row)
{
    struct kvs_policy_row other = *row;

    other.plan = *plan;
    if (!kvs_plan_eval(&v->problem, plan, NULL, &other.eval))
        return false;
    if (loads_nothing(v, plan))
        without_start(&v->problem, &other);
    if (other.eval.distortion > v->problem.budget || other.eval.end_ns >= row->eval.end_ns)
        return false;
    *row = other;
    fill_row(v, row);
    return true;
}

const char *kvs_plan_flat_level(const struct kvs_plan_answer *answer,
                                const struct kvs_policy_row *row)
{
    const struct kvs_variant *v = &answer->v;
    uint32_t q = KVS_MAX_LEVEL;

    for (uint32_t l = 0; l < v->problem.n_layer && v->problem.n_level > 1; l++) {
        if (row->plan.frac_i[l] + 1u == v->problem.n_frac)
            continue;
        if (q != KVS_MAX_LEVEL && q != row->plan.level[l])
            return NULL;
        q = row->plan.level[l];
    }
    return q == KVS_MAX_LEVEL ? NULL : v->levels->level[q].name;
}

/* A planner that searches is told the plans of all that don't, and another: it is not slower. */
static enum kvs_code run_planner(const struct kvs_plan_case *c,
                                 const struct kvs_plan_problem *problem,
                                 const struct kvs_plan *also, struct kvs_policy_row *row,
                                 struct kvs_err *err)
{
    struct kvs_plan known[KVS_MAX_POLICY_ROW + 1];
    struct kvs_plan_eval eval;
    uint32_t n = 0;
    int64_t bound_ns;

    for (uint32_t i = 0; row->planner->searches && kvs_planner_list[i]; i++) {
        assert(n < KVS_MAX_POLICY_ROW);
        if (!kvs_planner_list[i]->searches &&
            kvs_planner_list[i]->plan(problem, c->scratch, &known[n++], &eval, &bound_ns, err))
            return err->code;
    }
    if (also)
        known[n++] = *also;
    kvs_plan_scratch_know(c->scratch, known, n);
    enum kvs_code code =
        row->planner->plan(problem, c->scratch, &row->plan, &row->eval, &row->lower_bound_ns, err);
    kvs_plan_scratch_know(c->scratch, NULL, 0);
    return code;
}

/* What the row's planner goes by. */
static double weight(const struct kvs_plan_problem *problem, const struct kvs_policy_row *row)
{
    return row->planner->priced ? kvs_plan_cost(problem, &row->plan, &row->eval)
                                : (double)row->eval.end_ns;
}

/* On a variant with the planner's own repair of moved text. */
static enum kvs_code own_repair_row(const struct kvs_plan_case *c, const struct kvs_variant *v,
                                    const struct kvs_planner_ops *planner,
                                    struct kvs_policy_row *row, struct kvs_err *err)
{
    struct kvs_variant *own = malloc(sizeof *own);

    if (!own)
        return kvs_nomem(err);
    enum kvs_code code = kvs_variant_begin_of(c, &v->knobs, v->n_frac, planner, own, err);
    if (!code)
        code = kvs_plan_row(c, own, planner, NULL, row, err);
    kvs_variant_end(own);
    free(own);
    return code;
}

enum kvs_code kvs_plan_row(const struct kvs_plan_case *c, const struct kvs_variant *v,
                           const struct kvs_planner_ops *planner, const struct kvs_plan *also,
                           struct kvs_policy_row *row, struct kvs_err *err)
{
    const struct kvs_plan_problem *problem = &v->problem;
    struct kvs_policy_row all = {0};

    memset(row, 0, sizeof *row);
    if (c->moved && planner->repairs && v->repairer != planner)
        return own_repair_row(c, v, planner, row, err);
    row->planner = all.planner = planner;
    if (run_planner(c, problem, also, row, err))
        return err->code;
    memset(all.plan.frac_i, (int)problem->n_frac - 1, problem->n_layer);
    without_start(problem, &all);
    if (loads_nothing(v, &row->plan) ||
        (planner->may_recompute && weight(problem, &all) < weight(problem, row))) {
        row->plan = all.plan;
        row->eval = all.eval;
    }
    if (row->lower_bound_ns > all.eval.end_ns)
        row->lower_bound_ns = all.eval.end_ns; /* the bound was of plans that wait for a start */
    fill_row(v, row);
    return KVS_OK;
}

enum kvs_code kvs_plan_ttft(const struct kvs_plan_case *c, const char *policy,
                            const struct kvs_knobs *knobs, uint32_t n_frac, int64_t *ttft_ns,
                            struct kvs_err *err)
{
    struct kvs_variant *v = malloc(sizeof *v);
    struct kvs_policy_row row;

    *ttft_ns = 0;
    if (!v)
        return kvs_nomem(err);
    enum kvs_code code = kvs_variant_begin(c, knobs, n_frac, v, err);
    if (!code)
        code = kvs_plan_row(c, v, kvs_planner_find(policy), NULL, &row, err);
    if (!code)
        *ttft_ns = row.eval.end_ns;
    kvs_variant_end(v);
    free(v);
    return code;
}

/* --- the plan itself -----------------------------------------------------------------------------
 */

static enum kvs_code plan_all(const struct kvs_plan_case *c, struct kvs_plan_answer *answer,
                              struct kvs_err *err)
{
    for (uint32_t i = 0; kvs_planner_list[i]; i++) {
        const struct kvs_planner_ops *planner = kvs_planner_list[i];
        struct kvs_policy_row *row = &answer->policy[answer->n_policy];

        if (planner == answer->best.planner || strcmp(planner->name, "exact") == 0 ||
            strcmp(planner->name, "best") == 0 || answer->n_policy == KVS_MAX_POLICY_ROW)
            continue;
        answer->n_policy++;
        if (planner == answer->optimum.planner)
            *row = answer->optimum;
        else if (kvs_plan_row(c, &answer->v, planner, &answer->optimum.plan, row, err))
            return err->code;
    }
    return KVS_OK;
}

/* The asked planner's own row. What is proven over all levels is said of a plan that is searched
 * over all fractions. */
static enum kvs_code plan_asked(const struct kvs_plan_case *c,
                                const struct kvs_planner_ops *planner,
                                struct kvs_plan_answer *answer, struct kvs_err *err)
{
    if (planner == answer->optimum.planner) {
        answer->best = answer->optimum;
        return KVS_OK;
    }
    if (strcmp(planner->name, "exact") != 0 && strcmp(planner->name, "careful") != 0) {
        answer->n_pair = 0;
        answer->pair_bound_ns = INT64_MIN;
    }
    return kvs_plan_row(c, &answer->v, planner, &answer->optimum.plan, &answer->best, err);
}

static bool is_stored_at(const struct kvs_plan_case *c)
{
    for (uint32_t i = 0; i < c->n_span; i++)
        if (*c->span[i].level)
            return true;
    return false;
}

const char *kvs_plan_no_own(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                            const struct kvs_own_ops *ops)
{
    const struct kvs_plan_problem *problem = &answer->v.problem;

    if (c->moved)
        return "a rule by token groups repairs no text cached elsewhere";
    if (ops->chooses_level && problem->n_level < (problem->hidden_level ? 3 : 2))
        return is_stored_at(c) ? "the text's level is what it is stored at (--spans)"
                               : "there is no level to choose (--budget)";
    return NULL;
}

static void run_own(const struct kvs_plan_case *c, struct kvs_plan_answer *answer)
{
    const struct kvs_own_config config = {.slo_ns = (int64_t)(c->options.slo * 1e9)};

    for (uint32_t i = 0; kvs_own_list[i] && answer->n_own < KVS_MAX_OWN; i++)
        if (!kvs_plan_no_own(c, answer, kvs_own_list[i])) {
            answer->own_ops[answer->n_own] = kvs_own_list[i];
            kvs_own_list[i]->run(&answer->v.problem, &config, &answer->own[answer->n_own++]);
        }
}

void kvs_plan_room(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                   double cached_tok, double *need, double *has)
{
    kvs_case_room(c, answer->v.cost, c->tp, cached_tok + (double)answer->v.new_tok, need, has);
}

static void trace_stages(struct kvs_plan_answer *answer)
{
    const struct kvs_plan_problem *problem = &answer->v.problem;
    const struct kvs_plan *plan = &answer->best.plan;
    struct kvs_plan_problem none = *problem;
    uint8_t low[KVS_MAX_LAYER];
    struct kvs_chain_head head;
    int64_t gpu_ns = problem->gpu_start_ns + answer->best.eval.pre_ns;

    if (loads_nothing(&answer->v, plan))
        none.n_route = 0;
    kvs_chain_head_init(&none, &head);
    kvs_plan_lows(problem, plan, low);
    for (uint32_t l = 0; l < problem->n_layer; l++) {
        uint32_t next = l + 1 < problem->n_layer ? plan->frac_i[l + 1] : 0;
        struct kvs_chain_step step;

        kvs_chain_step_low(&none, l, low[l], plan->frac_i[l], next, plan->level[l], &step);
        kvs_chain_append(none.n_route, &head, &step);
        for (uint32_t k = 0; k < none.n_route; k++) {
            answer->io_ns[k][l] = step.io_ns[k] + kvs_plan_state_ns(&none, plan, l, k);
            answer->io_work_ns[k] += answer->io_ns[k][l];
            answer->io_end_ns[k][l] = head.in_ns[k];
        }
        kvs_chain_rise(&none, plan->frac_i[l], next, &head);
        answer->state_bytes[l] = state_bytes(&answer->v, plan, l);
        answer->gpu_wait_ns[l] = step.wait_ns;
        answer->gpu_again_ns[l] =
            step.wait_ns - none.layer[l]->post_ns[plan->frac_i[l] * none.n_level + plan->level[l]];
        answer->decode_work_ns += step.decode_ns;
        answer->decode_end_ns[l] = head.x_ns;
        gpu_ns += step.wait_ns;
        answer->gpu_end_ns[l] = gpu_ns > head.after_ns ? gpu_ns : head.after_ns;
    }
    answer->gpu_work_ns = answer->best.eval.pre_ns + answer->best.eval.wait_ns + problem->head_ns;
}

/* What the plan may lose to loading or computing all; and where it went in quality. */
static void weigh(const struct kvs_plan_case *c, struct kvs_plan_answer *answer)
{
    const struct kvs_plan_problem *problem = &answer->v.problem;

    kvs_regret_of(problem, &answer->best.plan, &answer->regret);
    for (uint32_t i = 0; i < answer->n_policy; i++)
        if (strcmp(answer->best.planner->name, "careful") == 0 &&
            strcmp(answer->policy[i].planner->name, "optimal") == 0)
            answer->fell_back = answer->best.eval.end_ns > answer->policy[i].eval.end_ns;
    kvs_plan_lose(c, &answer->v, &answer->best.plan, &answer->loss);
}

/* The same planner where only KV is stored. */
static enum kvs_code plan_without_states(const struct kvs_plan_case *c,
                                         struct kvs_plan_answer *answer, struct kvs_err *err)
{
    const uint8_t *state_at = answer->v.problem.state_at;
    struct kvs_policy_row row;
    enum kvs_code code;

    if (!state_at)
        return KVS_OK;
    answer->v.problem.state_at = NULL;
    code = kvs_plan_row(c, &answer->v, answer->best.planner, NULL, &row, err);
    answer->v.problem.state_at = state_at;
    answer->without_states_ns = row.eval.end_ns;
    return code;
}

/* A plan with a repair of its own is told by the tables that it was made from. */
static enum kvs_code take_own_repair(const struct kvs_plan_case *c, struct kvs_plan_answer *answer,
                                     struct kvs_err *err)
{
    const struct kvs_planner_ops *planner = answer->best.planner;
    uint32_t n_frac = answer->v.n_frac;

    if (!c->moved || !planner->repairs)
        return KVS_OK;
    kvs_variant_end(&answer->v);
    const struct kvs_knobs as_is = KVS_KNOBS_AS_IS;
    return kvs_variant_begin_of(c, &as_is, n_frac, planner, &answer->v, err);
}

enum kvs_code kvs_plan_answer_new(struct kvs_plan_case *c, const struct kvs_planner_ops *planner,
                                  struct kvs_plan_answer **out, struct kvs_err *err)
{
    struct kvs_plan_answer *answer = calloc(1, sizeof *answer);
    struct kvs_turned *turned = NULL;
    bool stopped = false;
    enum kvs_code code;

    *out = NULL;
    if (!answer)
        return kvs_nomem(err);
    answer->knobs = KVS_KNOBS_AS_IS;
    code = kvs_plan_refine(c, answer, err);
    if (!code)
        code = kvs_turned_new(c, answer, &turned, err);
    if (!code)
        code = plan_asked(c, planner, answer, err);
    stopped = c->limit.stopped; /* by the answer's own plan, not by one beside it */
    if (!code)
        code = plan_all(c, answer, err);
    if (!code)
        code = plan_without_states(c, answer, err);
    if (!code)
        code = take_own_repair(c, answer, err);
    if (!code) {
        weigh(c, answer);
        run_own(c, answer);
        trace_stages(answer);
        answer->load_rate = kvs_variant_load_rate(&answer->v);
        code = kvs_turned_rows(c, turned, answer, err);
    }
    kvs_turned_free(turned);
    c->decode_error = fmax(answer->v.problem.error.decode, answer->v.problem.error.gpu_decode);
    if (!code)
        code = kvs_plan_cross_context(c, &answer->context, err);
    if (!code)
        code = kvs_plan_cross_bandwidth(c, &answer->bandwidth, err);
    c->limit.stopped = stopped;
    if (code) {
        kvs_plan_answer_free(answer);
        return code;
    }
    *out = answer;
    return KVS_OK;
}

void kvs_plan_answer_free(struct kvs_plan_answer *answer)
{
    if (!answer)
        return;
    kvs_variant_end(&answer->v);
    free(answer);
}
