/*
 * validate_out.c - what cells say together, and how terminal, programs and figures are told.
 */
#include "base/data.h"
#include "base/outdir.h"
#include "gnuplot.h"
#include "validate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN .05 /* "faster by more than 5 %"; "within 5 %" */
#define MAX_CASE 512

static double number(const json_t *cell, const char *key)
{
    return json_number_value(json_object_get(cell, key));
}

static const char *text(const json_t *cell, const char *key)
{
    const char *value = json_string_value(json_object_get(cell, key));

    return value ? value : "";
}

static bool flag(const json_t *cell, const char *key)
{
    return json_is_true(json_object_get(cell, key));
}

static double part(const json_t *cell, const char *key, const char *stage)
{
    return number(json_object_get(cell, key), stage);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The value that a share of the sorted x lies below or at: nearest rank. */
static double rank(const double *x, size_t n, double share)
{
    size_t i = (size_t)ceil(share * (double)n);

    return n ? x[i > 0 ? i - 1 : 0] : 0;
}

/* --- cases --------------------------------------------------------------------------------------
 */

enum { RECOMPUTE, LOAD, HALF, OPTIMAL, N_POLICY };
static const char *const policies[N_POLICY] = {"recompute", "load", "half", "optimal"};

/* Cells of one prompt behind one path; recompute's is shared by all paths. */
struct row {
    const json_t *cell[N_POLICY];
};

static bool same_prompt(const json_t *a, const json_t *b)
{
    return number(a, "context_tok") == number(b, "context_tok") &&
           number(a, "new_tok") == number(b, "new_tok");
}

static bool same_path(const json_t *a, const json_t *b)
{
    return same_prompt(a, b) && strcmp(text(a, "level"), text(b, "level")) == 0 &&
           number(a, "rate") == number(b, "rate") &&
           number(a, "latency_s") == number(b, "latency_s") &&
           strcmp(text(a, "reuse"), text(b, "reuse")) == 0;
}

static int policy_of(const json_t *cell)
{
    for (int i = 0; i < N_POLICY; i++)
        if (strcmp(text(cell, "policy"), policies[i]) == 0)
            return i;
    return -1;
}

static unsigned gather(const json_t *cells, struct row *row)
{
    unsigned n = 0;

    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *cell = json_array_get(cells, i);
        unsigned r = 0;

        if (policy_of(cell) != LOAD || n == MAX_CASE)
            continue;
        r = n++;
        memset(&row[r], 0, sizeof row[r]);
        for (size_t j = 0; j < json_array_size(cells); j++) {
            const json_t *other = json_array_get(cells, j);
            int p = policy_of(other);

            if (p == RECOMPUTE ? same_prompt(cell, other) : p >= 0 && same_path(cell, other))
                row[r].cell[p] = other;
        }
        if (!row[r].cell[RECOMPUTE])
            n--;
    }
    return n;
}

/* Not to be judged by: noisy, or no run of its plan. */
static bool is_noisy(const struct row *row)
{
    for (int p = 0; p < N_POLICY; p++)
        if (row->cell[p] && (flag(row->cell[p], "noisy") || flag(row->cell[p], "fell_back")))
            return true;
    return false;
}

static double measured(const struct row *row, int policy)
{
    return row->cell[policy] ? number(row->cell[policy], "measured_ttft_s") : HUGE_VAL;
}

/* --- scores -------------------------------------------------------------------------------------
 */

struct score {
    unsigned n;                 /* cases with all policies, not noisy */
    unsigned fastest[N_POLICY]; /* by more than 5 %, among recompute, load and half */
    unsigned right, load_right, recompute_right; /* within 5 % of the measured fastest */
};

static struct score score_of(const struct row *row, unsigned n)
{
    struct score score = {0};

    for (unsigned r = 0; r < n; r++) {
        int choice = RECOMPUTE, first = RECOMPUTE;
        double best = HUGE_VAL, least = HUGE_VAL, second = HUGE_VAL;

        if (!row[r].cell[HALF] || !row[r].cell[OPTIMAL] || is_noisy(&row[r]))
            continue;
        score.n++;
        for (int p = 0; p < N_POLICY; p++) {
            best = fmin(best, measured(&row[r], p));
            if (number(row[r].cell[p], "predicted_ttft_s") <
                number(row[r].cell[choice], "predicted_ttft_s"))
                choice = p;
        }
        for (int p = 0; p < OPTIMAL; p++)
            if (measured(&row[r], p) < least) {
                second = least;
                least = measured(&row[r], p);
                first = p;
            } else {
                second = fmin(second, measured(&row[r], p));
            }
        score.fastest[first] += least * (1 + MARGIN) < second;
        score.right += measured(&row[r], choice) <= best * (1 + MARGIN);
        score.load_right += measured(&row[r], LOAD) <= best * (1 + MARGIN);
        score.recompute_right += measured(&row[r], RECOMPUTE) <= best * (1 + MARGIN);
    }
    return score;
}

/* Context at which load becomes as fast as recompute, by lines through the logs between the cells
 * with a latency; 0: they do not cross. */
static double crossing(const struct row *row, unsigned n, const char *key)
{
    double last_context = 0, last_gap = 0;

    for (double at = 0;;) {
        const struct row *next = NULL;

        for (unsigned r = 0; r < n; r++) {
            const json_t *load = row[r].cell[LOAD];

            if (number(load, "latency_s") > 0 && number(load, "context_tok") > at &&
                (!next || number(load, "context_tok") < number(next->cell[LOAD], "context_tok")))
                next = &row[r];
        }
        if (!next)
            return 0;
        at = number(next->cell[LOAD], "context_tok");
        double gap = log(number(next->cell[LOAD], key) / number(next->cell[RECOMPUTE], key));
        if (last_gap > 0 && gap <= 0)
            return last_context * pow(at / last_context, last_gap / (last_gap - gap));
        last_gap = gap;
        last_context = at;
    }
}

static json_t *share(unsigned n, unsigned of)
{
    return of ? json_real((double)n / of) : json_null();
}

/* Median of what plans lost over what was predicted, new tokens' mean, where both are something. */
static json_t *loss_ratio(const json_t *cells, size_t *n_loss)
{
    size_t n = json_array_size(cells);
    double *ratio = calloc(n + 1, sizeof *ratio);
    json_t *median = NULL;

    *n_loss = 0;
    for (size_t i = 0; ratio && i < n; i++) {
        const json_t *cell = json_array_get(cells, i);
        double told = number(cell, "predicted_nats"), seen = number(cell, "mean_nats");

        if (told > 0 && seen > 0 && !flag(cell, "fell_back"))
            ratio[(*n_loss)++] = seen / told;
    }
    if (ratio) {
        qsort(ratio, *n_loss, sizeof *ratio, by_value);
        median = *n_loss ? json_real(rank(ratio, *n_loss, .5)) : json_null();
    }
    free(ratio);
    return median;
}

json_t *kvs_val_summary(const json_t *cells)
{
    size_t n = json_array_size(cells), n_error = 0, n_noisy = 0, n_fell = 0;
    double *error = calloc(n + 1, sizeof *error), bias = 0;
    struct row *row = calloc(MAX_CASE, sizeof *row);
    json_t *summary = NULL;

    for (size_t i = 0; error && row && i < n; i++) {
        const json_t *cell = json_array_get(cells, i);

        n_fell += flag(cell, "fell_back");
        n_noisy += flag(cell, "noisy");
        if (flag(cell, "noisy") || flag(cell, "fell_back"))
            continue;
        bias += number(cell, "ttft_error");
        error[n_error++] = fabs(number(cell, "ttft_error"));
    }
    if (error && row) {
        unsigned n_row = gather(cells, row);
        struct score score = score_of(row, n_row);
        double told = crossing(row, n_row, "predicted_ttft_s");
        double seen = crossing(row, n_row, "measured_ttft_s");

        qsort(error, n_error, sizeof *error, by_value);
        summary = json_pack(
            "{si si si so so so si s{so so so} so so so s{so so so}}", "cells", (int)n, "noisy",
            (int)n_noisy, "fell_back", (int)n_fell, "median_abs_ttft_error",
            n_error ? json_real(rank(error, n_error, .5)) : json_null(), "p95_abs_ttft_error",
            n_error ? json_real(rank(error, n_error, .95)) : json_null(), "mean_ttft_error",
            n_error ? json_real(bias / (double)n_error) : json_null(), "cases", (int)score.n,
            "fastest_by_5pct", "recompute", share(score.fastest[RECOMPUTE], score.n), "load",
            share(score.fastest[LOAD], score.n), "half", share(score.fastest[HALF], score.n),
            "choice_right", share(score.right, score.n), "always_load_right",
            share(score.load_right, score.n), "always_recompute_right",
            share(score.recompute_right, score.n), "crossover_tok", "predicted",
            told > 0 ? json_real(told) : json_null(), "measured",
            seen > 0 ? json_real(seen) : json_null(), "error",
            told > 0 && seen > 0 ? json_real(told / seen - 1) : json_null());
    }
    json_t *loss = loss_ratio(cells, &n_error);
    json_t *more = json_pack("{si so}", "loss_cells", (int)n_error, "loss_ratio", loss);
    if (!loss || !more || !summary || json_object_update(summary, more)) {
        json_decref(summary);
        summary = NULL;
    }
    json_decref(more);
    free(error);
    free(row);
    return summary;
}

/* --- telling ------------------------------------------------------------------------------------
 */

static void percent(const char *what, const json_t *value)
{
    if (json_is_number(value))
        printf("%s %.1f %%", what, 100 * json_number_value(value));
    else
        printf("%s -", what);
}

void kvs_val_show(const json_t *cells, const json_t *summary)
{
    const json_t *fastest = json_object_get(summary, "fastest_by_5pct");
    const json_t *cross = json_object_get(summary, "crossover_tok");

    printf("%-34s %21s %7s  %17s %17s %17s %19s %6s\n", "", "TTFT (ms)", "", "link (ms)",
           "decoder (ms)", "compute (ms)", "KL (nat)", "greedy");
    printf("%-34s %10s %10s %7s  %8s %8s %8s %8s %8s %8s %9s %9s %6s\n", "cell", "predicted",
           "measured", "error", "pred.", "meas.", "pred.", "meas.", "pred.", "meas.", "pred.",
           "meas.", "same");
    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *c = json_array_get(cells, i);
        char nats[32] = "-";

        if (json_is_number(json_object_get(c, "predicted_nats")))
            snprintf(nats, sizeof nats, "%.2g", number(c, "predicted_nats"));
        printf("%-34s %10.1f %10.1f %+6.1f%%%s %8.1f %8.1f %8.2f %8.2f %8.1f %8.1f %9s %9.2g "
               "%4d/%d%s\n",
               text(c, "id"), 1e3 * number(c, "predicted_ttft_s"),
               1e3 * number(c, "measured_ttft_s"), 100 * number(c, "ttft_error"),
               flag(c, "noisy") ? "~" : " ", 1e3 * part(c, "predicted_s", "link"),
               1e3 * part(c, "measured_s", "link"), 1e3 * part(c, "predicted_s", "decoder"),
               1e3 * part(c, "measured_s", "decoder"), 1e3 * part(c, "predicted_s", "compute"),
               1e3 * part(c, "measured_s", "compute"), nats, number(c, "mean_nats"),
               (int)number(c, "greedy_same"), (int)number(c, "greedy_of"),
               flag(c, "fell_back") ? " fell back" : "");
    }
    printf("\n%d cells, %d noisy (~), %d fell back. TTFT error of the quiet ones:",
           (int)number(summary, "cells"), (int)number(summary, "noisy"),
           (int)number(summary, "fell_back"));
    percent(" median", json_object_get(summary, "median_abs_ttft_error"));
    percent(", 95th percentile", json_object_get(summary, "p95_abs_ttft_error"));
    percent(", mean (signed)", json_object_get(summary, "mean_ttft_error"));
    printf("\n%d quiet cases. Fastest by more than 5 %%:", (int)number(summary, "cases"));
    percent(" recompute", json_object_get(fastest, "recompute"));
    percent(", load", json_object_get(fastest, "load"));
    percent(", half and half", json_object_get(fastest, "half"));
    percent("\nWithin 5 % of the fastest: the predicted choice",
            json_object_get(summary, "choice_right"));
    percent("; always load", json_object_get(summary, "always_load_right"));
    percent("; always recompute", json_object_get(summary, "always_recompute_right"));
    if (json_is_number(json_object_get(summary, "loss_ratio")))
        printf("\nKL behind the new tokens: %.2f of what was predicted, median of %d cells",
               number(summary, "loss_ratio"), (int)number(summary, "loss_cells"));
    if (json_is_number(json_object_get(cross, "error")))
        printf("\nLoading from far pays from %.0f tokens on, predicted %.0f (%+.1f %%)",
               number(cross, "measured"), number(cross, "predicted"), 100 * number(cross, "error"));
    printf("\n");
}

/* --- a folder -----------------------------------------------------------------------------------
 */

static void write_csv(FILE *file, const json_t *cells)
{
    fprintf(file,
            "id,policy,context_tok,new_tok,level,rate,bytes_per_s,latency_s,recompute_frac,"
            "predicted_ttft_s,measured_ttft_s,measured_low_s,measured_high_s,ttft_error,noisy,"
            "predicted_link_s,measured_link_s,predicted_decoder_s,measured_decoder_s,"
            "predicted_compute_s,measured_compute_s,measured_nats,mean_nats,agreement,"
            "predicted_nats,greedy_same,load_bytes,fell_back,reuse,budget_nats\n");
    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *c = json_array_get(cells, i);

        fprintf(
            file,
            "%s,%s,%.0f,%.0f,%s,%g,%.6g,%g,%.4f,%.6f,%.6f,%.6f,%.6f,%.5f,%d,%.6f,%.6f,%.6f,%.6f,"
            "%.6f,%.6f,%.4g,%.4g,%.4f,%.4g,%.0f,%.0f,%d,%s,%g\n",
            text(c, "id"), text(c, "policy"), number(c, "context_tok"), number(c, "new_tok"),
            text(c, "level"), number(c, "rate"), number(c, "bytes_per_s"), number(c, "latency_s"),
            number(c, "recompute_frac"), number(c, "predicted_ttft_s"),
            number(c, "measured_ttft_s"), number(c, "measured_low_s"), number(c, "measured_high_s"),
            number(c, "ttft_error"), flag(c, "noisy"), part(c, "predicted_s", "link"),
            part(c, "measured_s", "link"), part(c, "predicted_s", "decoder"),
            part(c, "measured_s", "decoder"), part(c, "predicted_s", "compute"),
            part(c, "measured_s", "compute"), number(c, "measured_nats"), number(c, "mean_nats"),
            number(c, "agreement"), number(c, "predicted_nats"), number(c, "greedy_same"),
            number(c, "load_bytes"), flag(c, "fell_back"), text(c, "reuse"),
            number(c, "budget_nats"));
    }
}

/* The cell whose stages are drawn: the planner's plan with the most layers loaded and computed. */
static const json_t *drawn(const json_t *cells)
{
    const json_t *best = json_array_get(cells, 0);
    double most = -1;

    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *cell = json_array_get(cells, i);
        double frac = number(cell, "recompute_frac"), mix = frac * (1 - frac);
        bool by_planner = policy_of(cell) == OPTIMAL || strcmp(text(cell, "policy"), "plan") == 0;

        mix += by_planner && !flag(cell, "noisy") ? number(cell, "context_tok") : 0;
        if (mix > most) {
            most = mix;
            best = cell;
        }
    }
    return best;
}

struct bar {
    const char *who, *stage;
    int row;
    unsigned layer;
    double from_s, to_s;
};

/* Every bar of a cell, predicted and measured: link, decoder, copies (not predicted), computing. */
enum { ROWS = 5 }; /* of predicted, and as many of measured */
static void each_bar(const json_t *cell, void (*tell)(FILE *to, const struct bar *bar), FILE *to)
{
    static const char *const whose[2] = {"predicted", "measured"};
    static const struct {
        const char *stage, *took, *ended;
        int row;
    } stages[] = {{"link", "link_s", "arrive_s", 0},
                  {"decoder", "decode_s", "decoded_s", 1},
                  {"copy", "copy_s", "copied_s", 2},
                  {"compute", "pre_s", "pre_end_s", 3},
                  {"compute", "post_s", "computed_s", 3}};
    const json_t *layers = json_object_get(cell, "layers");

    for (int w = 0; w < 2; w++) {
        const char *total = w ? "measured_s" : "predicted_s";
        double end_s = number(cell, w ? "measured_ttft_s" : "predicted_ttft_s");
        struct bar bar = {.who = whose[w]};

        for (size_t s = 0; s < sizeof stages / sizeof *stages; s++)
            for (size_t l = 0; l < json_array_size(layers); l++) {
                const json_t *of = json_object_get(json_array_get(layers, l), whose[w]);

                bar.stage = stages[s].stage;
                bar.row = ROWS * w + stages[s].row;
                bar.layer = (unsigned)l;
                bar.to_s = number(of, stages[s].ended);
                bar.from_s = bar.to_s - number(of, stages[s].took);
                if (bar.to_s > bar.from_s)
                    tell(to, &bar);
            }
        bar.stage = "compute"; /* the logits */
        bar.row = ROWS * w + 3;
        bar.layer = (unsigned)json_array_size(layers);
        bar.from_s = end_s - part(cell, total, "head");
        bar.to_s = end_s;
        tell(to, &bar);
    }
}

static void csv_bar(FILE *to, const struct bar *bar)
{
    fprintf(to, "%s %s,%d,%u,%.6f,%.6f\n", bar->stage, bar->who, bar->row, bar->layer,
            1e3 * bar->from_s, 1e3 * bar->to_s);
}

static void trace_bar(FILE *to, const struct bar *bar)
{
    fprintf(to,
            ",\n{\"ph\":\"X\",\"name\":\"%s %u\",\"pid\":%d,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f,"
            "\"args\":{\"layer\":%u}}",
            bar->stage, bar->layer, bar->row / ROWS, bar->row % ROWS, 1e6 * bar->from_s,
            1e6 * (bar->to_s - bar->from_s), bar->layer);
}

static void write_gantt(FILE *to, const json_t *cell)
{
    fprintf(to, "stage,row,layer,from_ms,to_ms\n");
    each_bar(cell, csv_bar, to);
}

static void write_timeline(FILE *to, const json_t *cell)
{
    static const char *const stages[] = {"link", "decoder", "copy", "compute"};

    fprintf(to, "{\"displayTimeUnit\":\"ms\",\"otherData\":{\"cell\":\"%s\"},\"traceEvents\":[\n",
            text(cell, "id"));
    for (int w = 0; w < 2; w++) {
        fprintf(to,
                "%s{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%d,\"tid\":0,\"args\":{\"name\":"
                "\"%s\"}}",
                w ? ",\n" : "", w, w ? "measured" : "predicted");
        for (int s = 0; s < 4; s++)
            fprintf(to,
                    ",\n{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":%d,\"tid\":%d,\"args\":{"
                    "\"name\":\"%s\"}}",
                    w, s, stages[s]);
    }
    each_bar(cell, trace_bar, to);
    fprintf(to, "]}\n");
}

static enum kvs_code draw(const char *name, const struct kvs_outdir *out, struct kvs_err *err)
{
    char file[64], *script = NULL;

    snprintf(file, sizeof file, "plots/%s.gp", name);
    enum kvs_code code = kvs_data_file(file, &script, err);
    if (!code)
        code = kvs_gnuplot(script, kvs_outdir_tmp(out), err);
    free(script);
    return code;
}

static void write_report(FILE *to, const json_t *report)
{
    (void)json_dumpf(report, to, JSON_INDENT(1) | JSON_REAL_PRECISION(9)); /* close checks */
}

static void write_cells(FILE *to, const json_t *report)
{
    write_csv(to, json_object_get(report, "cells"));
}

static void write_drawn_gantt(FILE *to, const json_t *report)
{
    write_gantt(to, drawn(json_object_get(report, "cells")));
}

static void write_drawn_timeline(FILE *to, const json_t *report)
{
    write_timeline(to, drawn(json_object_get(report, "cells")));
}

enum kvs_code kvs_val_write(const struct kvs_val_options *options, const json_t *report,
                            struct kvs_err *err)
{
    static const struct {
        const char *name;
        void (*write)(FILE *to, const json_t *report);
    } files[] = {{"validate.json", write_report},
                 {"validate.csv", write_cells},
                 {"validate_gantt.csv", write_drawn_gantt},
                 {"timeline.json", write_drawn_timeline}};
    struct kvs_outdir *out = NULL;
    enum kvs_code code = kvs_outdir_begin(options->out, options->overwrite, &out, err);

    for (size_t i = 0; i < sizeof files / sizeof *files && !code; i++) {
        FILE *file = kvs_outdir_file(out, files[i].name, err);

        if (file) {
            files[i].write(file, report);
            code = kvs_outdir_close(out, file, err);
        } else {
            code = err->code;
        }
    }
    if (!code && json_array_size(json_object_get(report, "cells")))
        code = draw("validate_scatter", out, err);
    if (!code && json_array_size(json_object_get(report, "cells")))
        code = draw("validate_gantt", out, err);
    if (code) {
        kvs_outdir_abort(out);
        return code;
    }
    return kvs_outdir_commit(out, err);
}
