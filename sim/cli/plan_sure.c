/*
 * plan_sure.c - what `kvsim plan` prints on how good its plan is and how sure that is: the
 * certificate, the regret within the error bars, the loss and its error. At most 100 columns.
 */
#include "plan_answer.h"

#include "base/units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS 100

/* Words of a sentence that goes on in further lines, indented. */
struct lines {
    int column;
};

static void say(struct lines *lines, const char *text)
{
    int n = (int)strlen(text);

    if (lines->column + n > COLUMNS) {
        printf("\n   ");
        lines->column = 3;
        while (*text == ' ') {
            text++;
            n--;
        }
        putchar(' ');
        n++;
    }
    fputs(text, stdout);
    lines->column += n;
}

/* What the certificate is over: the levels, and whether finer fractions still gained. */
static void show_choice(const struct kvs_plan_answer *answer)
{
    char bound[KVS_TEXT_MAX];

    if (answer->n_pair > 0 && answer->pair_bound_ns != INT64_MIN)
        printf("  levels: the %u are chosen from %u pairs, K and V apart, around the optimum; over "
               "all %u none is\n  below %s; gap %.2f %%\n",
               answer->v.levels->n, answer->n_pair + 1, answer->n_pair + 1,
               kvs_text_time(bound, (double)answer->pair_bound_ns * 1e-9),
               100 * (1 - (double)answer->pair_bound_ns / (double)answer->best.eval.end_ns));
    if (answer->v.n_frac == KVS_MAX_FRAC && answer->refine_gain >= KVS_ENOUGH_GAIN &&
        answer->refine_gain < 1)
        printf("  fractions: %d are the most that are tried; the last finer list still gained %.2f "
               "%%\n",
               KVS_MAX_FRAC, 100 * answer->refine_gain);
}

static void show_bound(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    int64_t bound_ns = answer->best.lower_bound_ns;
    char bound[KVS_TEXT_MAX];

    if (c->limit.stopped)
        printf("  exact gave up after %s of processor time (--limit): plan and bound are the best "
               "known\n",
               kvs_text_time(bound, c->options.limit));
    if (bound_ns != INT64_MIN)
        printf("  certificate: no plan over these %u fractions and %u level%s is below %s; gap "
               "%.2f %%",
               answer->v.n_frac, answer->v.problem.n_level,
               answer->v.problem.n_level > 1 ? "s" : "",
               kvs_text_time(bound, (double)bound_ns * 1e-9),
               100 * (1 - (double)bound_ns / (double)answer->best.eval.end_ns));
    if (bound_ns != INT64_MIN && answer->fell_back)
        printf(", the optimum's %.2f %%",
               100 * (1 - (double)bound_ns / (double)answer->optimum.eval.end_ns));
    if (bound_ns != INT64_MIN)
        printf("\n");
    show_choice(answer);
}

/* The box: which factors are how uncertain. */
static void show_box(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                     struct lines *lines)
{
    const struct kvs_plan_error *error = &answer->v.problem.error;
    char text[120];

    for (uint32_t k = 0; k < c->n_route; k++) {
        snprintf(text, sizeof text, "%s%s %.0f %%", k ? ", " : " (", c->tier[k]->name,
                 100 * error->route[k]);
        say(lines, text);
    }
    snprintf(text, sizeof text, ", GPU %.0f %%", 100 * error->compute);
    say(lines, text);
    if (error->decode > 0 || error->gpu_decode > 0) {
        snprintf(text, sizeof text, ", decoding %.0f %%",
                 100 * fmax(error->decode, error->gpu_decode));
        say(lines, text);
    }
    say(lines, ")");
}

static void show_regret(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    double regret_s = answer->regret.most_ns * 1e-9;
    double share = answer->regret.most_ns / (double)answer->best.eval.end_ns;
    struct lines lines = {0};
    char text[160], time[KVS_TEXT_MAX];

    say(&lines, "  regret: within the error bars");
    show_box(c, answer, &lines);
    kvs_text_time(time, fabs(regret_s));
    if (regret_s > 0)
        snprintf(text, sizeof text, " this plan loses at most %s (%.1f %% of TTFT)", time,
                 100 * share);
    else
        snprintf(text, sizeof text, " this plan gains %s or more", time);
    say(&lines, text);
    snprintf(text, sizeof text, " %s the better of load all and recompute all%s%s",
             regret_s > 0 ? "to" : "on", answer->best.over_budget ? ", which keep the budget" : "",
             answer->fell_back ? ";" : "");
    say(&lines, text);
    if (answer->fell_back)
        say(&lines, " the optimum could lose over 1 %, so it is not taken");
    printf("\n");
}

/* Where the predicted loss went, and what it rests on. */
static void show_loss(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    const struct kvs_plan_loss *loss = &answer->loss;
    struct lines lines = {0};
    bool any = false;
    char text[160];

    if (!kvs_plan_loss_known(&answer->best)) {
        printf("  quality: not known, no table says what moved text loses that is not repaired; "
               "over the budget\n");
        return;
    }
    if (c->budget_nats <= 0 && loss->nats <= 0) {
        printf("  quality: exact\n");
        return;
    }
    snprintf(text, sizeof text, "  quality: %.4f of %.4f nats predicted", loss->nats,
             c->budget_nats);
    say(&lines, text);
    if (answer->best.over_budget)
        say(&lines, ", over the budget");
    if (loss->nats > 0 && loss->rel_error > 0) {
        snprintf(text, sizeof text, ", %.4f to %.4f within its error bars",
                 loss->nats / (1 + loss->rel_error), loss->nats * (1 + loss->rel_error));
        say(&lines, text);
    }
    for (int s = KVS_MEASURED; s >= KVS_ASSUMED && loss->nats > 0; s--) {
        double share = loss->source_nats[s] / loss->nats;

        if (share < .005)
            continue;
        snprintf(text, sizeof text, "%s %s %.0f %%", any ? "," : ";",
                 kvs_source_name((enum kvs_source)s), 100 * share);
        say(&lines, text);
        any = true;
    }
    if (loss->nats > 0) {
        snprintf(text, sizeof text, " (quality table %s)", c->quality->model);
        say(&lines, text);
    }
    printf("\n");
    if (loss->nats <= 0)
        return;
    lines = (struct lines){0};
    say(&lines, "  where it went:");
    any = false;
    for (uint32_t q = 0; q < answer->v.levels->n; q++) {
        if (loss->level_nats[q] <= 0)
            continue;
        if (any)
            say(&lines, ",");
        snprintf(text, sizeof text, " %.4f in %u layer%s at %s", loss->level_nats[q],
                 loss->level_n[q], loss->level_n[q] > 1 ? "s" : "",
                 answer->v.levels->level[q].name);
        say(&lines, text);
        any = true;
    }
    if (loss->moved_nats > 0) {
        if (any)
            say(&lines, ",");
        snprintf(text, sizeof text, " %.4f in moved text", loss->moved_nats);
        say(&lines, text);
        say(&lines, " that is not repaired");
        any = true;
    }
    if (loss->carried_nats > 0) {
        snprintf(text, sizeof text, "%s %.4f carried by what is loaded", any ? "," : "",
                 loss->carried_nats);
        say(&lines, text);
    }
    printf("\n");
}

static void show_slo(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    char slo[KVS_TEXT_MAX];

    for (uint32_t i = 0; i < answer->n_own; i++)
        if (strcmp(answer->own_ops[i]->name, "cachegen") == 0)
            printf("  cachegen keeps a deadline of %s for the context (--slo): text, or the finest "
                   "level that does\n",
                   kvs_text_time(slo, c->options.slo));
}

void kvs_plan_show_sure(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    show_slo(c, answer);
    show_bound(c, answer);
    show_regret(c, answer);
    show_loss(c, answer);
    putchar('\n');
}
