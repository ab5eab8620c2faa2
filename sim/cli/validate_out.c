/*
 * validate_out.c - how terminal, programs and figures are told of cells.
 */
#include "base/data.h"
#include "base/outdir.h"
#include "gnuplot.h"
#include "validate_cell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
            snprintf(nats, sizeof nats, "%.2g", kvs_val_number(c, "predicted_nats"));
        printf("%-34s %10.1f %10.1f %+6.1f%%%s %8.1f %8.1f %8.2f %8.2f %8.1f %8.1f %9s %9.2g "
               "%4d/%d%s\n",
               kvs_val_text(c, "id"), 1e3 * kvs_val_number(c, "predicted_ttft_s"),
               1e3 * kvs_val_number(c, "measured_ttft_s"), 100 * kvs_val_number(c, "ttft_error"),
               kvs_val_flag(c, "noisy") ? "~" : " ", 1e3 * kvs_val_part(c, "predicted_s", "link"),
               1e3 * kvs_val_part(c, "measured_s", "link"),
               1e3 * kvs_val_part(c, "predicted_s", "decoder"),
               1e3 * kvs_val_part(c, "measured_s", "decoder"),
               1e3 * kvs_val_part(c, "predicted_s", "compute"),
               1e3 * kvs_val_part(c, "measured_s", "compute"), nats, kvs_val_number(c, "mean_nats"),
               (int)kvs_val_number(c, "greedy_same"), (int)kvs_val_number(c, "greedy_of"),
               kvs_val_flag(c, "fell_back") ? " fell back" : "");
    }
    printf("\n%d cells, %d noisy (~), %d fell back. TTFT error of the quiet ones:",
           (int)kvs_val_number(summary, "cells"), (int)kvs_val_number(summary, "noisy"),
           (int)kvs_val_number(summary, "fell_back"));
    percent(" median", json_object_get(summary, "median_abs_ttft_error"));
    percent(", 95th percentile", json_object_get(summary, "p95_abs_ttft_error"));
    percent(", mean (signed)", json_object_get(summary, "mean_ttft_error"));
    printf("\n%d quiet cases. Fastest by more than 5 %%:", (int)kvs_val_number(summary, "cases"));
    percent(" recompute", json_object_get(fastest, "recompute"));
    percent(", load", json_object_get(fastest, "load"));
    percent(", half and half", json_object_get(fastest, "half"));
    percent("\nWithin 5 % of the fastest: the predicted choice",
            json_object_get(summary, "choice_right"));
    percent("; always load", json_object_get(summary, "always_load_right"));
    percent("; always recompute", json_object_get(summary, "always_recompute_right"));
    if (json_is_number(json_object_get(summary, "loss_ratio")))
        printf("\nKL behind the new tokens: %.2f of what was predicted, median of %d cells",
               kvs_val_number(summary, "loss_ratio"), (int)kvs_val_number(summary, "loss_cells"));
    if (json_is_number(json_object_get(cross, "error")))
        printf("\nLoading from far pays from %.0f tokens on, predicted %.0f (%+.1f %%)",
               kvs_val_number(cross, "measured"), kvs_val_number(cross, "predicted"),
               100 * kvs_val_number(cross, "error"));
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
            kvs_val_text(c, "id"), kvs_val_text(c, "policy"), kvs_val_number(c, "context_tok"),
            kvs_val_number(c, "new_tok"), kvs_val_text(c, "level"), kvs_val_number(c, "rate"),
            kvs_val_number(c, "bytes_per_s"), kvs_val_number(c, "latency_s"),
            kvs_val_number(c, "recompute_frac"), kvs_val_number(c, "predicted_ttft_s"),
            kvs_val_number(c, "measured_ttft_s"), kvs_val_number(c, "measured_low_s"),
            kvs_val_number(c, "measured_high_s"), kvs_val_number(c, "ttft_error"),
            kvs_val_flag(c, "noisy"), kvs_val_part(c, "predicted_s", "link"),
            kvs_val_part(c, "measured_s", "link"), kvs_val_part(c, "predicted_s", "decoder"),
            kvs_val_part(c, "measured_s", "decoder"), kvs_val_part(c, "predicted_s", "compute"),
            kvs_val_part(c, "measured_s", "compute"), kvs_val_number(c, "measured_nats"),
            kvs_val_number(c, "mean_nats"), kvs_val_number(c, "agreement"),
            kvs_val_number(c, "predicted_nats"), kvs_val_number(c, "greedy_same"),
            kvs_val_number(c, "load_bytes"), kvs_val_flag(c, "fell_back"), kvs_val_text(c, "reuse"),
            kvs_val_number(c, "budget_nats"));
    }
}

/* The cell whose stages are drawn: the planner's plan with the most layers loaded and computed. */
static const json_t *drawn(const json_t *cells)
{
    const json_t *best = json_array_get(cells, 0);
    double most = -1;

    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *cell = json_array_get(cells, i);
        double frac = kvs_val_number(cell, "recompute_frac"), mix = frac * (1 - frac);
        const char *policy = kvs_val_text(cell, "policy");
        bool by_planner = strcmp(policy, "optimal") == 0 || strcmp(policy, "plan") == 0;

        mix += by_planner && !kvs_val_flag(cell, "noisy") ? kvs_val_number(cell, "context_tok") : 0;
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
        double end_s = kvs_val_number(cell, w ? "measured_ttft_s" : "predicted_ttft_s");
        struct bar bar = {.who = whose[w]};

        for (size_t s = 0; s < sizeof stages / sizeof *stages; s++)
            for (size_t l = 0; l < json_array_size(layers); l++) {
                const json_t *of = json_object_get(json_array_get(layers, l), whose[w]);

                bar.stage = stages[s].stage;
                bar.row = ROWS * w + stages[s].row;
                bar.layer = (unsigned)l;
                bar.to_s = kvs_val_number(of, stages[s].ended);
                bar.from_s = bar.to_s - kvs_val_number(of, stages[s].took);
                if (bar.to_s > bar.from_s)
                    tell(to, &bar);
            }
        bar.stage = "compute"; /* the logits */
        bar.row = ROWS * w + 3;
        bar.layer = (unsigned)json_array_size(layers);
        bar.from_s = end_s - kvs_val_part(cell, total, "head");
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
            kvs_val_text(cell, "id"));
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
