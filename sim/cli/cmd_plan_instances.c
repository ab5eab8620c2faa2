/*
 * kvsim plan --instances FILE: plans every problem of a file, and checks each plan.
 */
#include "cmd_plan.h"

#include "plan/instance.h"
#include "plan/optimal.h"
#include "plan/regret.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* One problem, planned. */
struct answer {
    struct kvs_plan plan;
    struct kvs_plan_eval eval; /* the planner's */
    int64_t lower_bound_ns;
    double seconds;
    double regret_ns;  /* the largest, by the options' error; NAN: not asked for */
    bool gave_up;      /* exact: its bound is below its value */
    bool stopped;      /* at --limit; else it met too many partial plans */
    bool infeasible;   /* no plan is within the budget */
    const char *wrong; /* what does not hold; NULL: all does */
};

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* one thread; others may be busy */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What does not hold of the plan that the file has. */
static const char *find_wrong_plan(const struct kvs_plan_instance *in)
{
    struct kvs_plan_eval eval;

    if (!in->has_plan)
        return NULL;
    if (!kvs_plan_eval(&in->problem, &in->plan, NULL, &eval))
        return "the file's own plan is no staircase";
    if (eval.distortion > in->problem.budget)
        return "the file's own plan is over the budget";
    if (in->has_optimum && eval.end_ns != in->optimum_ns)
        return "the file's own plan does not take the optimum";
    return NULL;
}

/* What does not hold of the answer, by the evaluation and the known optimum. */
static const char *find_wrong(const struct kvs_plan_instance *in,
                              const struct kvs_planner_ops *planner, const struct kvs_plan *plan,
                              const struct answer *answer)
{
    struct kvs_plan_eval eval;

    if (!kvs_plan_eval(&in->problem, plan, NULL, &eval))
        return "the plan is no staircase";
    if (eval.end_ns != answer->eval.end_ns || eval.distortion != answer->eval.distortion)
        return "the value differs from the evaluation";
    if (answer->infeasible)
        return "no plan is within the budget";
    if (eval.distortion > in->problem.budget)
        return "the plan is over the budget";
    if (answer->lower_bound_ns > eval.end_ns)
        return "the lower bound is above the value";
    if (answer->gave_up)
        return answer->stopped ? "exact gave up at --limit: this is the best known"
                               : "exact met too many partial plans: this is the best known";
    if (!in->has_optimum)
        return find_wrong_plan(in);
    if (strcmp(planner->name, "exact") == 0 && eval.end_ns != in->optimum_ns)
        return "the value differs from the optimum";
    if (eval.end_ns < in->optimum_ns)
        return "the value is below the optimum";
    if (answer->lower_bound_ns > in->optimum_ns)
        return "the lower bound is above the optimum";
    return find_wrong_plan(in);
}

static enum kvs_code answer_one(const struct kvs_plan_options *options,
                                const struct kvs_plan_instance *in,
                                const struct kvs_planner_ops *planner,
                                struct kvs_plan_scratch *scratch, struct answer *answer,
                                struct kvs_err *err)
{
    struct kvs_plan_problem problem = in->problem;
    struct kvs_plan least;
    struct kvs_plan_limit limit;
    struct kvs_err own = {0};
    double start = now_s();

    memset(answer, 0, sizeof *answer);
    answer->infeasible = kvs_least_distortion(&problem, &least) > problem.budget;
    for (uint32_t k = 0; k < problem.n_route; k++)
        problem.error.route[k] = options->error;
    problem.error.decode = problem.error.gpu_decode = problem.error.compute = options->error;
    kvs_plan_limit_begin(&limit, options->limit);
    kvs_plan_scratch_watch(scratch, &limit.watch);
    enum kvs_code code = planner->plan(&problem, scratch, &answer->plan, &answer->eval,
                                       &answer->lower_bound_ns, &own);
    kvs_plan_scratch_watch(scratch, NULL);
    kvs_plan_limit_end(&limit);
    if (code)
        return kvs_fail(err, own.code, "%s: %s", in->name, own.msg);
    answer->seconds = now_s() - start;
    answer->stopped = limit.stopped;
    answer->gave_up =
        strcmp(planner->name, "exact") == 0 && answer->lower_bound_ns < answer->eval.end_ns;
    answer->wrong = find_wrong(in, planner, &answer->plan, answer);
    answer->regret_ns = (double)NAN;
    if (options->error > 0) {
        struct kvs_regret regret;

        kvs_regret_of(&problem, &answer->plan, &regret);
        answer->regret_ns = regret.most_ns;
    }
    return KVS_OK;
}

static double gap(const struct answer *answer)
{
    int64_t gap_ns = answer->eval.end_ns - answer->lower_bound_ns;

    return gap_ns == 0 ? 0 : (double)gap_ns / (double)answer->eval.end_ns; /* of 0 ns no share */
}

static void print_row(const struct kvs_plan_instance *in, const struct answer *answer)
{
    char optimum[24] = "-", bound[24] = "-", percent[16] = "-", regret[32] = "";

    if (in->has_optimum)
        snprintf(optimum, sizeof optimum, "%" PRId64, in->optimum_ns);
    if (answer->lower_bound_ns != INT64_MIN) {
        snprintf(bound, sizeof bound, "%" PRId64, answer->lower_bound_ns);
        snprintf(percent, sizeof percent, "%.4f", 100 * gap(answer));
    }
    if (!isnan(answer->regret_ns))
        snprintf(regret, sizeof regret, " %15.0f", answer->regret_ns);
    printf("%-32s %15s %15" PRId64 " %15s %12" PRId64 " %10.6f %9s%s%s%s\n", in->name, optimum,
           answer->eval.end_ns, bound, answer->eval.distortion, answer->seconds, percent, regret,
           answer->infeasible ? "  INFEASIBLE: "
           : answer->gave_up  ? "  NOT PROVEN: "
           : answer->wrong    ? "  WRONG: "
                              : "",
           answer->wrong ? answer->wrong : "");
}

/* [i, q] of each layer, as files of problems have it. */
static json_t *plan_json(const struct kvs_plan_instance *in, const struct kvs_plan *plan)
{
    json_t *layers = json_array();

    for (uint32_t l = 0; l < in->problem.n_layer; l++)
        json_array_append_new(layers, json_pack("[ii]", plan->frac_i[l], plan->level[l]));
    return layers;
}

static json_t *row_json(const struct kvs_plan_instance *in, const struct answer *answer)
{
    bool bounded = answer->lower_bound_ns != INT64_MIN;
    json_t *row = json_pack("{ss so sI so sI sI sf so so}", "name", in->name, "optimum_ns",
                            in->has_optimum ? json_integer(in->optimum_ns) : json_null(),
                            "value_ns", (json_int_t)answer->eval.end_ns, "lower_bound_ns",
                            bounded ? json_integer(answer->lower_bound_ns) : json_null(),
                            "distortion", (json_int_t)answer->eval.distortion, "budget",
                            (json_int_t)in->problem.budget, "seconds", answer->seconds,
                            "gap_percent", bounded ? json_real(100 * gap(answer)) : json_null(),
                            "plan", plan_json(in, &answer->plan));

    if (row && !isnan(answer->regret_ns))
        json_object_set_new(row, "regret_ns", json_real(answer->regret_ns));
    if (row && answer->wrong)
        json_object_set_new(row, "wrong", json_string(answer->wrong));
    return row;
}

static enum kvs_code plan_all(const struct kvs_plan_options *options,
                              const struct kvs_plan_set *set, const struct kvs_planner_ops *planner,
                              struct kvs_plan_scratch *scratch, json_t *rows, struct kvs_err *err)
{
    size_t n_wrong = 0, n = kvs_plan_set_n(set);
    const char *wrong = "", *name = "";

    if (!options->json)
        printf("%-32s %15s %15s %15s %12s %10s %9s%s\n", "name", "optimum_ns", "value_ns",
               "lower_bound_ns", "distortion", "seconds", "gap_%",
               options->error > 0 ? "       regret_ns" : "");
    for (size_t i = 0; i < n; i++) {
        const struct kvs_plan_instance *in = kvs_plan_set_at(set, i);
        struct answer answer;

        if (answer_one(options, in, planner, scratch, &answer, err))
            return err->code;
        if (answer.wrong && n_wrong++ == 0) {
            wrong = answer.wrong;
            name = in->name;
        }
        if (!options->json)
            print_row(in, &answer);
        else if (json_array_append_new(rows, row_json(in, &answer)))
            return kvs_nomem(err);
    }
    if (n_wrong > 0)
        return kvs_fail(err, KVS_ERR_CHECK, "%s: %zu of %zu plans of %s failed; %s: %s",
                        options->instances, n_wrong, n, planner->name, name, wrong);
    return KVS_OK;
}

static enum kvs_code print_json(const struct kvs_planner_ops *planner, json_t *rows,
                                struct kvs_err *err)
{
    json_t *all = json_pack("{ss sO}", "planner", planner->name, "instances", rows);

    if (!all)
        return kvs_nomem(err);
    (void)json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)); /* main checks stdout */
    putchar('\n');
    json_decref(all);
    return KVS_OK;
}

enum kvs_code kvs_plan_instances(const struct kvs_plan_options *options,
                                 const struct kvs_planner_ops *planner, struct kvs_err *err)
{
    struct kvs_plan_scratch *scratch = NULL;
    struct kvs_plan_set *set = NULL;
    json_t *rows = NULL;

    if (kvs_plan_set_open(options->instances, &set, err))
        return err->code;
    scratch = kvs_plan_scratch_new();
    rows = json_array();
    if (!scratch || !rows)
        kvs_nomem(err);
    else if (plan_all(options, set, planner, scratch, rows, err) == KVS_OK ||
             err->code == KVS_ERR_CHECK) {
        if (options->json) /* a failed check is shown, and still ends 1 */
            print_json(planner, rows, err);
    }
    json_decref(rows);
    kvs_plan_scratch_free(scratch);
    kvs_plan_set_free(set);
    return err->code;
}
