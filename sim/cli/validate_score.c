/*
 * validate_score.c - what cells say together: errors, who was faster, where that changes.
 */
#include "validate_cell.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN .05 /* "faster by more than 5 %"; "within 5 %" */
#define MAX_CASE 512

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
    return kvs_val_number(a, "context_tok") == kvs_val_number(b, "context_tok") &&
           kvs_val_number(a, "new_tok") == kvs_val_number(b, "new_tok");
}

static bool same_path(const json_t *a, const json_t *b)
{
    return same_prompt(a, b) && strcmp(kvs_val_text(a, "level"), kvs_val_text(b, "level")) == 0 &&
           kvs_val_number(a, "rate") == kvs_val_number(b, "rate") &&
           kvs_val_number(a, "latency_s") == kvs_val_number(b, "latency_s") &&
           strcmp(kvs_val_text(a, "reuse"), kvs_val_text(b, "reuse")) == 0;
}

static int policy_of(const json_t *cell)
{
    for (int i = 0; i < N_POLICY; i++)
        if (strcmp(kvs_val_text(cell, "policy"), policies[i]) == 0)
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
        if (row->cell[p] &&
            (kvs_val_flag(row->cell[p], "noisy") || kvs_val_flag(row->cell[p], "fell_back")))
            return true;
    return false;
}

static double measured(const struct row *row, int policy)
{
    return row->cell[policy] ? kvs_val_number(row->cell[policy], "measured_ttft_s") : HUGE_VAL;
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
            if (kvs_val_number(row[r].cell[p], "predicted_ttft_s") <
                kvs_val_number(row[r].cell[choice], "predicted_ttft_s"))
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

            if (kvs_val_number(load, "latency_s") > 0 && kvs_val_number(load, "context_tok") > at &&
                (!next || kvs_val_number(load, "context_tok") <
                              kvs_val_number(next->cell[LOAD], "context_tok")))
                next = &row[r];
        }
        if (!next)
            return 0;
        at = kvs_val_number(next->cell[LOAD], "context_tok");
        double gap =
            log(kvs_val_number(next->cell[LOAD], key) / kvs_val_number(next->cell[RECOMPUTE], key));
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
        double told = kvs_val_number(cell, "predicted_nats"),
               seen = kvs_val_number(cell, "mean_nats");

        if (told > 0 && seen > 0 && !kvs_val_flag(cell, "fell_back"))
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

        n_fell += kvs_val_flag(cell, "fell_back");
        n_noisy += kvs_val_flag(cell, "noisy");
        if (kvs_val_flag(cell, "noisy") || kvs_val_flag(cell, "fell_back"))
            continue;
        bias += kvs_val_number(cell, "ttft_error");
        error[n_error++] = fabs(kvs_val_number(cell, "ttft_error"));
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
