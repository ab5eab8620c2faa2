/*
 * Quality as planned beside quality as measured, on SmolLM2-135M: 64 texts of 256 cached tokens,
 * and 128 more that the model is made to read behind them. One JSON line a result. Texts come from
 * the file that $KVS_QUALITY_TEXTS names (token numbers, a text a line), or else the model draws
 * them; they are not those of the quality table ($KVS_QUALITY_TABLE, or
 * configs/quality/smollm2-135m.json). Without the model (make models) it says so. Some ten minutes
 * of one core.
 */
#include "model/quality.h"
#include "probes/quality.h"
#include "probes/stat.h"
#include "probes/subject.h"

#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 256, WINDOW = 128, N_TEXT = 64, N_PART = 60, N_MENU = 6, N_PLAN = 5 };
enum { N_UNIFORM = 4, N_PLAIN = 2, N_RUN = N_PLAN + N_UNIFORM + N_PLAIN };

static const enum kvs_level menu[N_MENU] = {KVS_E5, KVS_E4, KVS_E3, KVS_E2_5, KVS_E2, KVS_E1_5};
static const double budget[N_PLAN] = {.001, .003, .01, .03, .08};
static const enum kvs_level uniform[N_UNIFORM + N_PLAIN] = {KVS_E5, KVS_E4, KVS_E3,
                                                            KVS_E2, KVS_E4, KVS_E3};

/* One setting: what is predicted, and what the texts say. */
struct setting {
    uint8_t level[N_PART];
    bool weighted;
    double predicted, bits;
    double kl[N_TEXT], agreement[N_TEXT], first_tok[N_TEXT];
};

static void must(enum kvs_code code, const struct kvs_err *err)
{
    if (code) {
        fprintf(stderr, "bench: %s\n", err->msg);
        exit(1);
    }
}

static double nats(const struct kvs_quality *q, uint32_t part, enum kvs_level level)
{
    return kvs_quality_nats(q, part / 2, part % 2, kvs_level_names[level], 0);
}

static double sum_of(const struct kvs_quality *q, const uint8_t *level)
{
    double sum = 0;
    for (uint32_t p = 0; p < N_PART; p++)
        sum += nats(q, p, (enum kvs_level)level[p]);
    return sum;
}

/* Least bits at a price of nats: each part by itself. */
static void at_price(const struct kvs_quality *q, const double *bits, double price, uint8_t *level)
{
    for (uint32_t p = 0; p < N_PART; p++) {
        int best = 0;
        for (int m = 1; m < N_MENU; m++)
            if (bits[m] + price * nats(q, p, menu[m]) < bits[best] + price * nats(q, p, menu[best]))
                best = m;
        level[p] = (uint8_t)menu[best];
    }
}

/* The least price whose predicted joint KL is within the budget. */
static void plan(const struct kvs_quality *q, const double *bits, double nats_most, uint8_t *level)
{
    double low = 1e-3, high = 1e9;
    for (int step = 0; step < 80; step++) {
        double price = sqrt(low * high);
        at_price(q, bits, price, level);
        if (kvs_quality_joint_nats(q, sum_of(q, level)) > nats_most)
            low = price;
        else
            high = price;
    }
    at_price(q, bits, high, level);
}

/* --- texts ----------------------------------------------------------------------------------- */

static void next_text(struct kvs_lab *lab, FILE *file, uint32_t text_i, uint32_t *tok)
{
    struct kvs_err err = {0};
    for (uint32_t i = 0; file && i < CONTEXT + WINDOW; i++)
        if (fscanf(file, "%u", &tok[i]) != 1) {
            fprintf(stderr, "bench: text %u is too short\n", text_i);
            exit(1);
        }
    if (file)
        for (int c = 0; c != '\n' && c != EOF;)
            c = fgetc(file);
    else
        must(kvs_lab_sample(lab, 1000000 + text_i, tok, CONTEXT + WINDOW, &err), &err);
}

/* --- results --------------------------------------------------------------------------------- */

static double mean(const double *x)
{
    double sum = 0;
    for (int i = 0; i < N_TEXT; i++)
        sum += x[i] / N_TEXT;
    return sum;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* 95 % of means over texts drawn with replacement. */
static void interval(const double *x, double ci95[2])
{
    enum { N = 1000 };
    static double means[N];
    struct kvs_rng rng = kvs_rng_stream(1, "bench_quality");
    for (int k = 0; k < N; k++) {
        means[k] = 0;
        for (int i = 0; i < N_TEXT; i++)
            means[k] += x[kvs_rng_below(&rng, N_TEXT)] / N_TEXT;
    }
    qsort(means, N, sizeof *means, ascending);
    ci95[0] = means[N / 40];
    ci95[1] = means[N - 1 - N / 40];
}

static void line(const char *what, const struct setting *s)
{
    double kl[2], same[2], first[N_TEXT];
    interval(s->kl, kl);
    interval(s->agreement, same);
    memcpy(first, s->first_tok, sizeof first);
    qsort(first, N_TEXT, sizeof *first, ascending);
    printf("{\"bench\": \"quality\", \"what\": \"%s\", \"bits\": %.4f, \"predicted_nats\": %.6g, "
           "\"measured_nats\": %.6g, \"ci95\": [%.6g, %.6g], \"agreement\": %.4f, "
           "\"agreement_ci95\": [%.4f, %.4f], \"first_divergence_median\": %.0f, "
           "\"first_divergence_p10\": %.0f}\n",
           what, s->bits, s->predicted, mean(s->kl), kl[0], kl[1], mean(s->agreement), same[0],
           same[1], first[N_TEXT / 2], first[N_TEXT / 10]);
}

static void goal(const char *what, double figure, const char *unit, const char *want)
{
    printf("{\"bench\": \"quality\", \"what\": \"%s\", \"figure\": %.4f, \"unit\": \"%s\", "
           "\"goal\": \"%s\"}\n",
           what, figure, unit, want);
}

/* log of a curve of settings' means over their bits, at bits: straight between, and beyond. */
static double at_bits(const struct setting *s, int n, double bits)
{
    int i = 0;
    while (i + 2 < n && bits < s[i + 1].bits)
        i++;
    double w = (bits - s[i].bits) / (s[i + 1].bits - s[i].bits);
    return exp(log(mean(s[i].kl)) + w * (log(mean(s[i + 1].kl)) - log(mean(s[i].kl))));
}

/* Agreement where KL is nats, between settings of ascending KL: straight in log KL. */
static double agreement_at(const struct setting *s, int n, double nats_at)
{
    int i = 0;
    while (i + 2 < n && mean(s[i + 1].kl) < nats_at)
        i++;
    double a = log(mean(s[i].kl)), b = log(mean(s[i + 1].kl)), w = (log(nats_at) - a) / (b - a);
    return mean(s[i].agreement) + w * (mean(s[i + 1].agreement) - mean(s[i].agreement));
}

static void report(const struct setting *s)
{
    char what[64];
    double worst = 0, least[2] = {HUGE_VAL, HUGE_VAL};
    for (int i = 0; i < N_PLAN; i++) {
        double off = s[i].predicted / mean(s[i].kl) - 1;
        snprintf(what, sizeof what, "planned for %g nats", budget[i]);
        line(what, &s[i]);
        worst = fabs(off) > fabs(worst) ? off : worst;
        least[0] = fmin(least[0], at_bits(s + N_PLAN, N_UNIFORM, s[i].bits) / mean(s[i].kl));
        least[1] =
            fmin(least[1], at_bits(s + N_PLAN + N_UNIFORM, N_PLAIN, s[i].bits) / mean(s[i].kl));
        goal("uniform weighted KL over planned at equal bits",
             at_bits(s + N_PLAN, N_UNIFORM, s[i].bits) / mean(s[i].kl), "times", "at least 2");
    }
    for (int i = N_PLAN; i < N_RUN; i++) {
        snprintf(what, sizeof what, "uniform %s%s", kvs_level_names[uniform[i - N_PLAN]],
                 s[i].weighted ? ", weighted steps" : "");
        line(what, &s[i]);
    }
    goal("predicted over measured joint KL, the worst plan", 1 + worst, "times", "0.8 to 1.2");
    goal("uniform KL over planned at equal bits, least of plans; uniform weighted", least[0],
         "times", "at least 2");
    goal("uniform KL over planned at equal bits, least of plans; uniform plain", least[1], "times",
         "at least 2");
    goal("greedy agreement at 0.001 nat", 100 * agreement_at(s + N_PLAN, N_UNIFORM, .001), "%",
         "at least 97");
    goal("greedy agreement at 0.01 nat", 100 * agreement_at(s + N_PLAN, N_UNIFORM, .01), "%",
         "at least 93");
}

/* --- main ------------------------------------------------------------------------------------ */

static void make_settings(struct kvs_lab *lab, const struct kvs_quality *q, struct setting *s)
{
    double bits[N_MENU];
    struct kvs_err err = {0};
    uint8_t level[N_PART];
    for (int m = 0; m < N_MENU; m++) {
        memset(level, (int)menu[m], sizeof level);
        must(kvs_lab_encode(lab, level, true, &bits[m], &err), &err);
    }
    for (int i = 0; i < N_RUN; i++) {
        s[i].weighted = i < N_PLAN + N_UNIFORM;
        if (i < N_PLAN)
            plan(q, bits, budget[i], s[i].level);
        else
            memset(s[i].level, (int)uniform[i - N_PLAN], N_PART);
        s[i].predicted = kvs_quality_joint_nats(q, sum_of(q, s[i].level));
    }
}

int main(void)
{
    static struct setting s[N_RUN];
    static uint32_t tok[CONTEXT + WINDOW];
    const char *table = getenv("KVS_QUALITY_TABLE"), *texts = getenv("KVS_QUALITY_TEXTS");
    struct kvs_err err = {0};
    struct kvs_subject subject;
    struct kvs_quality *q;
    struct kvs_lab *lab;
    FILE *file = texts ? fopen(texts, "r") : NULL;
    must(kvs_subject_open(NULL, 1, &subject, &err), &err);
    if (!subject.real || (texts && !file)) {
        fprintf(stderr, "# skip: no %s\n", subject.real ? texts : "model (make models)");
        return 0;
    }
    must(kvs_quality_open(table ? table : "smollm2-135m", N_PART / 2, &q, &err), &err);
    struct kvs_quality_config config = {"cpu", 0, subject.weights, CONTEXT, WINDOW, 256, 4};
    must(kvs_lab_open(&config, &lab, &err), &err);
    for (uint32_t t = 0; t < N_TEXT; t++) {
        next_text(lab, file, t, tok);
        must(kvs_lab_read(lab, tok, NULL, &err), &err);
        if (t == 0)
            make_settings(lab, q, s);
        for (int i = 0; i < N_RUN; i++) {
            struct kvs_quality_score score;
            double bits;
            must(kvs_lab_encode(lab, s[i].level, s[i].weighted, &bits, &err), &err);
            must(kvs_lab_score(lab, 0, N_PART, &score, &err), &err);
            s[i].bits += bits / N_TEXT;
            s[i].kl[t] = score.kl;
            s[i].agreement[t] = score.agreement;
            s[i].first_tok[t] = score.first_tok;
        }
    }
    report(s);
    if (file)
        (void)fclose(file);
    kvs_lab_close(lab);
    kvs_quality_free(q);
    kvs_subject_close(&subject);
    return 0;
}
