/*
 * Quality as planned beside quality as measured, on SmolLM2-135M: 64 texts of 256 cached tokens,
 * and 128 more that the model is made to read behind them. Plans are the planner's own, for the
 * fewest bytes within a budget, with levels as kvsim chooses them, K and V apart. One JSON line a
 * result. Texts come from the file that $KVS_QUALITY_TEXTS names (token numbers, a text a line), or
 * else the model draws them; they are not those of the quality table ($KVS_QUALITY_TABLE, or
 * configs/quality/smollm2-135m.json). Without the model (make models) it says so. Some ten minutes
 * of one core.
 */
#include "model/codec.h"
#include "model/quality.h"
#include "plan/levels.h"
#include "plan/plan.h"
#include "probes/quality.h"
#include "probes/subject.h"

#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 256, WINDOW = 128, N_TEXT = 64, N_LAYER = 30, N_PART = 60 };
enum { N_PLAN = 10, N_UNIFORM = 7, N_PLAIN = 3, N_RUN = N_PLAN + N_UNIFORM + N_PLAIN };

/* What plans choose from besides raw16; from the second on also uniform, and the last plain. */
static const enum kvs_level menu[] = {KVS_P8, KVS_E6,   KVS_E5, KVS_E4,
                                      KVS_E3, KVS_E2_5, KVS_E2, KVS_E1_5};
enum { N_MENU = sizeof menu / sizeof *menu };
static const enum kvs_level plain[N_PLAIN] = {KVS_E4, KVS_E3, KVS_E2};
static const double budget[N_PLAN] = {.0005, .001, .002, .004, .008, .015, .025, .04, .06, .08};

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

static double sum_of(const struct kvs_quality *q, const uint8_t *level)
{
    double sum = 0;
    for (uint32_t p = 0; p < N_PART; p++)
        sum += level[p] == KVS_RAW16
                   ? 0
                   : kvs_quality_nats(q, p / 2, p % 2, kvs_level_names[level[p]], 0);
    return sum;
}

/* --- plans ----------------------------------------------------------------------------------- */

/* A codec whose decoding costs nothing: levels differ in bits and loss. */
static void make_codec(const double *bits, struct kvs_codec *codec)
{
    const struct kvs_figure raw = {.value = KVS_CODEC_RAW_BITS, .known = true};
    const struct kvs_figure rate = {.value = 1e18, .known = true};
    *codec = (struct kvs_codec){.name = "bits", .decoder = KVS_DECODER_GPU, .n_level = N_MENU + 1};
    codec->level[0] =
        (struct kvs_codec_level){.name = "raw16", .lossless = true, .k_bits = raw, .v_bits = raw};
    for (int m = 0; m < N_MENU; m++) {
        const struct kvs_figure figure = {.value = bits[m], .known = true};
        codec->level[m + 1] = (struct kvs_codec_level){.name = kvs_level_names[menu[m]],
                                                       .k_bits = figure,
                                                       .v_bits = figure,
                                                       .decode_bytes_per_s = rate};
    }
}

/* The levels of K and V of an entry of the menu, "e4" or "e5/e4". */
static void split(const char *name, uint8_t level[2])
{
    const char *slash = strchr(name, '/');
    char k[32];
    enum kvs_level l[2];
    snprintf(k, sizeof k, "%.*s", slash ? (int)(slash - name) : 31, name);
    if (!kvs_level_find(k, &l[0]) || !kvs_level_find(slash ? slash + 1 : k, &l[1])) {
        fprintf(stderr, "bench: level %s\n", name);
        exit(1);
    }
    level[0] = (uint8_t)l[0];
    level[1] = (uint8_t)l[1];
}

/* Loading is all that takes time, a nanosecond a millionth of a bit; nothing is computed again. */
static void plan(const struct kvs_model *model, const struct kvs_codec *codec,
                 const struct kvs_quality *q, double nats_most, uint8_t *level)
{
    enum { DEAR_NS = 1000000000 };
    static const double frac[] = {0, 1};
    static const int64_t zero[2 * KVS_MAX_LEVEL], dear[] = {0, DEAR_NS};
    const struct kvs_levels_config config = {.model = model,
                                             .codec = codec,
                                             .quality = q,
                                             .n_decoder = 1,
                                             .n_frac = 2,
                                             .load_s_per_byte = 1e-9,
                                             .budget_nats = nats_most};
    struct kvs_layer_cost cost[N_LAYER];
    const struct kvs_layer_cost *layer[N_LAYER];
    int64_t io[2 * KVS_MAX_LEVEL] = {0}, loss[N_LAYER][2 * KVS_MAX_LEVEL] = {{0}}, bound;
    struct kvs_levels *levels;
    struct kvs_plan best;
    struct kvs_plan_eval eval;
    struct kvs_err err = {0};
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();
    must(kvs_levels_new(&config, &levels, &err), &err);
    for (uint32_t i = 0; i < levels->n; i++)
        io[i] = llround(levels->bits[i] * 1e6);
    for (uint32_t l = 0; l < N_LAYER; l++) {
        for (uint32_t i = 0; i < levels->n; i++)
            loss[l][i] = levels->level[i].distortion ? levels->level[i].distortion[l * 2ul] : 0;
        cost[l] = (struct kvs_layer_cost){.io_ns = {io},
                                          .decode_ns = zero,
                                          .post_ns = zero,
                                          .distortion = loss[l],
                                          .full_ns = dear,
                                          .kv_ns = dear,
                                          .wfull_ns = zero,
                                          .wkv_ns = zero};
        layer[l] = &cost[l];
    }
    const struct kvs_plan_problem problem = {.n_layer = N_LAYER,
                                             .n_frac = 2,
                                             .n_level = levels->n,
                                             .n_route = 1,
                                             .frac = frac,
                                             .layer = layer,
                                             .budget = llround(nats_most * KVS_NAT)};
    must(kvs_planner_find("optimal")->plan(&problem, scratch, &best, &eval, &bound, &err), &err);
    for (uint32_t l = 0; l < N_LAYER; l++)
        split(best.frac_i[l] ? "raw16" : levels->name[best.level[l]], level + 2ul * l);
    printf("{\"bench\": \"quality\", \"what\": \"planned for %g nats: certificate\", "
           "\"figure\": %.4f, \"unit\": \"%% of bytes\"}\n",
           nats_most, 100 * (1 - (double)bound / (double)eval.end_ns));
    kvs_levels_free(levels);
    kvs_plan_scratch_free(scratch);
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

/* Over the texts drawn, [N_TEXT]. */
static double mean(const double *x, const uint32_t *draw)
{
    double sum = 0;
    for (int i = 0; i < N_TEXT; i++)
        sum += x[draw[i]] / N_TEXT;
    return sum;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What is told of setting i, from the texts drawn. */
typedef double figure_fn(const struct setting *s, int i, const uint32_t *draw);

/* The figure, and 95 % of those of texts drawn with replacement. */
static double with_interval(figure_fn *figure, const struct setting *s, int i, double ci95[2])
{
    enum { N = 1000 };
    static double found[N];
    uint32_t draw[N_TEXT];
    struct kvs_rng rng = kvs_rng_stream(1, "bench_quality");
    for (int k = 0; k < N; k++) {
        for (int t = 0; t < N_TEXT; t++)
            draw[t] = (uint32_t)kvs_rng_below(&rng, N_TEXT);
        found[k] = figure(s, i, draw);
    }
    qsort(found, N, sizeof *found, ascending);
    ci95[0] = found[N / 40];
    ci95[1] = found[N - 1 - N / 40];
    for (uint32_t t = 0; t < N_TEXT; t++)
        draw[t] = t;
    return figure(s, i, draw);
}

static double kl_of(const struct setting *s, int i, const uint32_t *draw)
{
    return mean(s[i].kl, draw);
}

static double agreement_of(const struct setting *s, int i, const uint32_t *draw)
{
    return mean(s[i].agreement, draw);
}

static double predicted_over_measured(const struct setting *s, int i, const uint32_t *draw)
{
    return s[i].predicted / mean(s[i].kl, draw);
}

/* KL of a uniform level over setting i's at its bits: on a line in the logarithm of KL through the
 * settings next to it of `of`, by falling bits. */
static double uniform_over(const struct setting *of, int n, const struct setting *i,
                           const uint32_t *draw)
{
    int k = 0;
    while (k + 2 < n && i->bits < of[k + 1].bits)
        k++;
    double a = log(mean(of[k].kl, draw)), b = log(mean(of[k + 1].kl, draw));
    double w = (i->bits - of[k].bits) / (of[k + 1].bits - of[k].bits);
    return exp(a + w * (b - a)) / mean(i->kl, draw);
}

static double weighted_over_planned(const struct setting *s, int i, const uint32_t *draw)
{
    return uniform_over(s + N_PLAN, N_UNIFORM, &s[i], draw);
}

static double plain_over_planned(const struct setting *s, int i, const uint32_t *draw)
{
    return uniform_over(s + N_PLAN + N_UNIFORM, N_PLAIN, &s[i], draw);
}

/* Greedy agreement in % where KL is i thousandths of a nat, between uniform levels. */
static double agreement_at(const struct setting *s, int i, const uint32_t *draw)
{
    const struct setting *u = s + N_PLAN;
    double nats_at = i / 1e3;
    int k = 0;
    while (k + 2 < N_UNIFORM && mean(u[k + 1].kl, draw) < nats_at)
        k++;
    double a = log(mean(u[k].kl, draw)), b = log(mean(u[k + 1].kl, draw));
    double w = (log(nats_at) - a) / (b - a), x = mean(u[k].agreement, draw);
    return 100 * (x + w * (mean(u[k + 1].agreement, draw) - x));
}

static void line(const char *what, const struct setting *s, int i)
{
    double kl[2], same[2], first[N_TEXT];
    double kl_mean = with_interval(kl_of, s, i, kl);
    double same_mean = with_interval(agreement_of, s, i, same);
    memcpy(first, s[i].first_tok, sizeof first);
    qsort(first, N_TEXT, sizeof *first, ascending);
    printf("{\"bench\": \"quality\", \"what\": \"%s\", \"bits\": %.4f, \"predicted_nats\": %.6g, "
           "\"measured_nats\": %.6g, \"ci95\": [%.6g, %.6g], \"agreement\": %.4f, "
           "\"agreement_ci95\": [%.4f, %.4f], \"first_divergence_median\": %.0f, "
           "\"first_divergence_p10\": %.0f}\n",
           what, s[i].bits, s[i].predicted, kl_mean, kl[0], kl[1], same_mean, same[0], same[1],
           first[N_TEXT / 2], first[N_TEXT / 10]);
}

static void goal(const char *what, figure_fn *figure, const struct setting *s, int i,
                 const char *unit, const char *want)
{
    double ci95[2], x = with_interval(figure, s, i, ci95);
    printf("{\"bench\": \"quality\", \"what\": \"%s\", \"figure\": %.4f, \"ci95\": [%.4f, %.4f], "
           "\"unit\": \"%s\", \"goal\": \"%s\"}\n",
           what, x, ci95[0], ci95[1], unit, want);
}

static void report(const struct setting *s)
{
    static const struct {
        const char *what;
        figure_fn *figure;
        const char *goal;
    } of_plans[] = {
        {"predicted over measured joint KL", predicted_over_measured, "0.8 to 1.2"},
        {"uniform KL over planned at equal bits; uniform weighted", weighted_over_planned,
         "at least 2"},
        {"uniform KL over planned at equal bits; uniform plain", plain_over_planned, "at least 2"},
    };
    char what[128];
    for (int i = 0; i < N_PLAN; i++) {
        snprintf(what, sizeof what, "planned for %g nats", budget[i]);
        line(what, s, i);
    }
    for (int i = N_PLAN; i < N_RUN; i++) {
        snprintf(what, sizeof what, "uniform %s%s", kvs_level_names[s[i].level[0]],
                 s[i].weighted ? ", weighted steps" : "");
        line(what, s, i);
    }
    for (int i = 0; i < N_PLAN; i++)
        for (size_t k = 0; k < sizeof of_plans / sizeof *of_plans; k++) {
            snprintf(what, sizeof what, "%s, planned for %g nats", of_plans[k].what, budget[i]);
            goal(what, of_plans[k].figure, s, i, "times", of_plans[k].goal);
        }
    goal("greedy agreement at 0.001 nat", agreement_at, s, 1, "%", "at least 97");
    goal("greedy agreement at 0.01 nat", agreement_at, s, 10, "%", "at least 93");
}

/* --- main ------------------------------------------------------------------------------------ */

/* Bits of the levels are those of the text at hand. */
static void make_settings(struct kvs_lab *lab, const struct kvs_quality *q, struct setting *s)
{
    double bits[N_MENU];
    struct kvs_codec codec;
    struct kvs_model *model;
    struct kvs_err err = {0};
    uint8_t level[N_PART];
    for (int m = 0; m < N_MENU; m++) {
        memset(level, (int)menu[m], sizeof level);
        must(kvs_lab_encode(lab, level, true, &bits[m], &err), &err);
    }
    make_codec(bits, &codec);
    must(kvs_model_open("smollm2-135m", &model, &err), &err);
    for (int i = 0; i < N_RUN; i++) {
        s[i].weighted = i < N_PLAN + N_UNIFORM;
        if (i < N_PLAN)
            plan(model, &codec, q, budget[i], s[i].level);
        else
            memset(s[i].level,
                   (int)(s[i].weighted ? menu[i - N_PLAN + 1] : plain[i - N_PLAN - N_UNIFORM]),
                   N_PART);
        s[i].predicted = sum_of(q, s[i].level);
    }
    kvs_model_free(model);
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
