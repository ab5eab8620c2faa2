/*
 * plan_draw.c - `kvsim plan --plot DIR`: the staircase, the stages and the crossover, each a CSV
 * and a figure.
 */
#include "gnuplot.h"
#include "plan_answer.h"

#include "base/data.h"
#include "base/outdir.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define N_BELOW 15 /* points of the curve below the prompt's context: three an octave */
#define N_ABOVE 9
#define MOST_CURVE_TOK 1048576

static double ms_of(int64_t ns)
{
    return ns == INT64_MAX ? -1 : (double)ns * 1e-6;
}

/* A level of what is loaded; UINT32_MAX: nothing is. */
static uint32_t loaded_at(const struct kvs_plan_answer *answer, uint32_t l)
{
    const struct kvs_plan *plan = &answer->best.plan;

    return plan->frac_i[l] + 1u < answer->v.problem.n_frac ? plan->level[l] : UINT32_MAX;
}

/* Layers from l on that load at the same level, where l is the first of them; else 0. */
static uint32_t count_level(const struct kvs_plan_answer *answer, uint32_t l)
{
    uint32_t q = loaded_at(answer, l), n = 0;

    if (q == UINT32_MAX || (l > 0 && loaded_at(answer, l - 1) == q))
        return 0;
    while (l + n < answer->v.problem.n_layer && loaded_at(answer, l + n) == q)
        n++;
    return n;
}

static enum kvs_code write_staircase(struct kvs_outdir *out, const struct kvs_plan_answer *answer,
                                     struct kvs_err *err)
{
    const struct kvs_plan_problem *p = &answer->v.problem;
    FILE *file = kvs_outdir_file(out, "plan_staircase.csv", err);

    if (!file)
        return err->code;
    fprintf(file,
            "layer,recompute_tok,repair_tok,context_tok,level,bits_per_element,level_layers\n");
    for (uint32_t l = 0; l < p->n_layer; l++) {
        uint32_t i = answer->best.plan.frac_i[l], q = answer->best.plan.level[l];

        fprintf(file, "%u,%u,%u,%u,%s,%.4g,%u\n", l, kvs_tables_recompute_tok(answer->v.inst, i),
                kvs_tables_repair_tok(answer->v.inst, i), answer->v.context_tok,
                answer->v.levels->level[q].name, answer->v.levels->bits[q], count_level(answer, l));
    }
    return kvs_outdir_close(out, file, err);
}

static void stage(FILE *file, const char *name, int row, uint32_t layer, const char *work,
                  int64_t from_ns, int64_t to_ns)
{
    if (to_ns > from_ns)
        fprintf(file, "%s,%d,%u,%.6f,%.6f,%s\n", name, row, layer, ms_of(from_ns), ms_of(to_ns),
                work);
}

static enum kvs_code write_stages(struct kvs_outdir *out, const struct kvs_plan_case *c,
                                  const struct kvs_plan_answer *answer, struct kvs_err *err)
{
    const struct kvs_plan_problem *p = &answer->v.problem;
    const struct kvs_plan *plan = &answer->best.plan;
    FILE *file = kvs_outdir_file(out, "plan_stages.csv", err);
    int64_t end_ns = answer->best.eval.end_ns;
    int row[KVS_MAX_ROUTE] = {0}, n = 0; /* of stages that do something */

    if (!file)
        return err->code;
    for (uint32_t k = 0; k < c->n_route; k++) {
        row[k] = n;
        n += answer->io_work_ns[k] > 0;
    }
    int decoder = n, gpu = n + (answer->decode_work_ns > 0);
    fprintf(file, "stage,row,layer,from_ms,to_ms,work\n");
    for (uint32_t l = 0; l < p->n_layer; l++) {
        uint32_t i = plan->frac_i[l], at = i * p->n_level + plan->level[l];
        int64_t gpu_ns = answer->gpu_end_ns[l] - answer->gpu_wait_ns[l];
        int64_t new_ns = gpu_ns + answer->gpu_again_ns[l];

        for (uint32_t k = 0; k < c->n_route; k++)
            stage(file, c->tier[k]->name, row[k], l, "load",
                  answer->io_end_ns[k][l] - answer->io_ns[k][l], answer->io_end_ns[k][l]);
        stage(file, "decoder", decoder, l, "decode",
              answer->decode_end_ns[l] - p->layer[l]->decode_ns[at], answer->decode_end_ns[l]);
        stage(file, "GPU", gpu, l, c->moved ? "repair" : "from states", gpu_ns, new_ns);
        stage(file, "GPU", gpu, l, "new tokens", new_ns, answer->gpu_end_ns[l]);
    }
    stage(file, "GPU", gpu, p->n_layer, "computed again", p->gpu_start_ns,
          p->gpu_start_ns + answer->best.eval.pre_ns);
    stage(file, "GPU", gpu, p->n_layer, "later chunks and logits", end_ns - p->head_ns, end_ns);
    return kvs_outdir_close(out, file, err);
}

/* One policy at one context: as the profile has it, and at both ends of the error bars. */
static enum kvs_code curve_point(const struct kvs_plan_case *c, const char *policy, double context,
                                 FILE *file, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;

    for (int sign = 0; sign <= 2 && !code; sign++) {
        struct kvs_knobs knobs = KVS_KNOBS_AS_IS;
        double by = sign == 0 ? 0 : sign == 1 ? 1 : -1;
        int64_t ttft_ns;

        knobs.context_tok = context / c->context_tok;
        knobs.link = 1 + by * (c->link_error < .9 ? c->link_error : .9);
        knobs.gpu = 1 + by * (c->gpu_error < .9 ? c->gpu_error : .9);
        code = kvs_plan_ttft(c, policy, &knobs, c->moved ? 17 : 9, &ttft_ns, err);
        if (!code)
            fprintf(file, ",%.6f", ms_of(ttft_ns));
    }
    return code;
}

/* The contexts of the curve: five octaves below the prompt's, and three above it as far as HBM has
 * room. */
static void choose_contexts(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                            double context[N_BELOW + 1 + N_ABOVE])
{
    double at = answer->v.context_tok, low = fmax(at / 32, fmin(at, 16)), high = at;

    for (uint32_t tok = 8 * answer->v.context_tok; tok > answer->v.context_tok;
         tok -= tok / 50 + 1) {
        double need, has;

        kvs_plan_room(c, answer, tok, &need, &has);
        if (need <= has && tok <= MOST_CURVE_TOK) {
            high = tok;
            break;
        }
    }
    for (int i = 0; i < N_BELOW; i++)
        context[i] = low * pow(at / low, i / (double)N_BELOW);
    for (int i = 0; i <= N_ABOVE; i++)
        context[N_BELOW + i] = at * pow(high / at, i / (double)N_ABOVE);
}

static enum kvs_code write_curve(struct kvs_outdir *out, const struct kvs_plan_case *c,
                                 const struct kvs_plan_answer *answer, struct kvs_err *err)
{
    const char *const policy[] = {"recompute", c->moved ? "token-split" : "load",
                                  answer->best.planner->name};
    FILE *file = kvs_outdir_file(out, "plan_crossover.csv", err);
    enum kvs_code code = KVS_OK;
    double context[N_BELOW + 1 + N_ABOVE];

    if (!file)
        return err->code;
    fprintf(file, "context_tok");
    for (size_t p = 0; p < 3; p++)
        fprintf(file, ",%s_ms,%s_low_ms,%s_high_ms", policy[p], policy[p], policy[p]);
    fprintf(file, "\n");
    choose_contexts(c, answer, context);
    for (int step = 0; step <= N_BELOW + N_ABOVE && !code; step++) {
        if (step > 0 && !(context[step] > context[step - 1]))
            continue; /* no room above */
        fprintf(file, "%.0f", context[step]);
        for (size_t p = 0; p < 3 && !code; p++)
            code = curve_point(c, policy[p], context[step], file, err);
        fprintf(file, "\n");
    }
    if (!code)
        return kvs_outdir_close(out, file, err);
    struct kvs_err ignored = {0};
    (void)!kvs_outdir_close(out, file, &ignored);
    return code;
}

static enum kvs_code draw(const char *name, struct kvs_outdir *out, struct kvs_err *err)
{
    char file[64], *script = NULL;

    snprintf(file, sizeof file, "plots/%s.gp", name);
    enum kvs_code code = kvs_data_file(file, &script, err);
    if (!code)
        code = kvs_gnuplot(script, kvs_outdir_tmp(out), err);
    free(script);
    return code;
}

enum kvs_code kvs_plan_draw(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                            struct kvs_err *err)
{
    struct kvs_outdir *out = NULL;
    enum kvs_code code = kvs_outdir_begin(c->options.plot, c->options.overwrite, &out, err);

    if (!code)
        code = write_staircase(out, answer, err);
    if (!code)
        code = write_stages(out, c, answer, err);
    if (!code)
        code = write_curve(out, c, answer, err);
    if (!code)
        code = draw("plan_staircase", out, err);
    if (!code)
        code = draw("plan_stages", out, err);
    if (!code)
        code = draw("plan_crossover", out, err);
    if (code) {
        kvs_outdir_abort(out);
        return code;
    }
    return kvs_outdir_commit(out, err);
}
