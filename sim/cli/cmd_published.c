/*
 * kvsim published FILE.csv: predicts published measurements and says how far off it is.
 */
#include "base/data.h"
#include "base/json.h"
#include "base/opt.h"
#include "base/outdir.h"
#include "base/units.h"
#include "cmd.h"
#include "gnuplot.h"
#include "model/published.h"
#include "signals.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_PLOT "results/published"

struct options {
    bool json, overwrite;
    const char *plot;
};

static const struct kvs_opt table[] = {
    {.key = "json",
     .type = KVS_OPT_FLAG,
     .offset = offsetof(struct options, json),
     .help = "print JSON: a row each, counts, median absolute error"},
    {.key = "plot",
     .type = KVS_OPT_STR,
     .offset = offsetof(struct options, plot),
     .help = "write predicted against published (CSV, SVG, PNG) to this folder; alone: "
             "" DEFAULT_PLOT},
    {.key = "overwrite",
     .type = KVS_OPT_FLAG,
     .offset = offsetof(struct options, overwrite),
     .help = "replace that folder"},
};
#define N_OPT (unsigned)(sizeof table / sizeof *table)

/* --- text and JSON -----------------------------------------------------------------------------
 */

static void print_row(const struct kvs_pub_row *row)
{
    printf("%-46.46s %11.5g ", row->id, row->value);
    if (row->predicted_known)
        printf("%11.5g %-8s %+7.1f %%", row->predicted, row->unit, 100 * row->error);
    else
        printf("%11s %-8s %9s", "-", row->unit, "-");
    if (row->status == KVS_PUB_SKIPPED)
        printf(" %9s", "-");
    else
        printf(" %5.1f %% %c", 100 * row->tolerance, row->is_within ? 'w' : 'a');
    printf(" %s%s%s\n", kvs_pub_status_name(row->status), *row->why ? ": " : "", row->why);
}

static void print_table(const struct kvs_pub *pub)
{
    printf("%-46s %11s %11s %-8s %9s %9s status\n", "row", "published", "predicted", "unit",
           "error", "allowed");
    for (size_t i = 0; i < pub->n_row; i++)
        print_row(&pub->row[i]);
    unsigned scored = pub->passed + pub->failed;
    printf("\nallowed: w within a source that the GPU's profile was fitted on, a across sources\n");
    if (isfinite(pub->median_abs_error))
        printf("%u of %u predictions passed (%.1f %%), %u failed; median error %.1f %%\n",
               pub->passed, scored, 100.0 * pub->passed / scored, pub->failed,
               100 * pub->median_abs_error);
    else
        printf("no row could be predicted: %u failed\n", pub->failed);
    printf(
        "not predictions: %u of %u rows of arithmetic (KV bytes of a shape, peaks of data sheets) "
        "agree;\n%u used in fitting, %u skipped\n",
        pub->restated, pub->restated + pub->misstated, pub->fitted, pub->skipped);
}

static json_t *number(bool known, double value)
{
    return known && isfinite(value) ? json_real(value) : json_null();
}

static json_t *row_json(const struct kvs_pub_row *row)
{
    bool judged = row->status != KVS_PUB_SKIPPED;
    json_t *object =
        json_pack("{ss so so ss so so ss}", "id", row->id, "value", number(true, row->value),
                  "predicted", number(row->predicted_known, row->predicted), "unit", row->unit,
                  "error", number(row->predicted_known, row->error), "tolerance",
                  number(judged, row->tolerance), "status", kvs_pub_status_name(row->status));
    if (object && *row->why)
        json_object_set_new(object, "why", json_string(row->why));
    return object;
}

static enum kvs_code print_json(const struct kvs_pub *pub, struct kvs_err *err)
{
    json_t *rows = json_array(), *all = NULL;
    for (size_t i = 0; rows && i < pub->n_row; i++)
        if (json_array_append_new(rows, row_json(&pub->row[i]))) {
            json_decref(rows);
            rows = NULL;
        }
    if (rows)
        all = json_pack("{so si si si si si si so}", "rows", rows, "passed", (int)pub->passed,
                        "failed", (int)pub->failed, "restated", (int)pub->restated, "misstated",
                        (int)pub->misstated, "skipped", (int)pub->skipped, "fitted",
                        (int)pub->fitted, "median_abs_error", number(true, pub->median_abs_error));
    if (!all)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for the JSON text");
    (void)json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)); /* main checks stdout */
    putchar('\n');
    json_decref(all);
    return KVS_OK;
}

/* --- the figure --------------------------------------------------------------------------------
 */

static enum kvs_code write_csv(struct kvs_outdir *out, const struct kvs_pub *pub,
                               struct kvs_err *err)
{
    FILE *file = kvs_outdir_file(out, "published.csv", err);
    if (!file)
        return err->code;
    fprintf(file, "id,quantity,unit,published,predicted,error,status\n");
    for (size_t i = 0; i < pub->n_row; i++) {
        const struct kvs_pub_row *row = &pub->row[i];
        if (row->predicted_known)
            fprintf(file, "%s,%s,%s,%.9g,%.9g,%.6g,%s\n", row->id, row->quantity, row->unit,
                    row->value, row->predicted, row->error, kvs_pub_status_name(row->status));
    }
    return kvs_outdir_close(out, file, err);
}

static enum kvs_code write_plot(const struct kvs_pub *pub, const struct options *options,
                                struct kvs_err *err)
{
    struct kvs_outdir *out = NULL;
    char *script = NULL;
    kvs_catch_signals();
    enum kvs_code code = kvs_data_file("plots/published.gp", &script, err);
    if (!code)
        code = kvs_outdir_begin(options->plot, options->overwrite, &out, err);
    if (!code)
        code = write_csv(out, pub, err);
    if (!code)
        code = kvs_gnuplot(script, kvs_outdir_tmp(out), err);
    if (!code && kvs_interrupted())
        code = kvs_fail(err, KVS_ERR_IO, "interrupted");
    free(script);
    if (code) {
        kvs_outdir_abort(out);
        return code;
    }
    return kvs_outdir_commit(out, err);
}

/* --- the command -------------------------------------------------------------------------------
 */

/* "--plot" may stand alone, at the end or before an option or the table: the default folder then.
 */
static bool stands_alone(const char *next)
{
    size_t n = next ? strlen(next) : 0;
    return !next || next[0] == '-' || (n > 4 && strcmp(next + n - 4, ".csv") == 0);
}

static enum kvs_code read_table(const char *file, struct kvs_pub **pub, struct kvs_err *err)
{
    struct kvs_lines *lines;
    *pub = NULL;
    enum kvs_code code = kvs_lines_open(file, &lines, err);
    if (code)
        return code;
    code = kvs_pub_read(lines, pub, err);
    kvs_lines_close(lines);
    return code;
}

static enum kvs_code run_with(int argc, char *const *argv, struct kvs_err *err)
{
    struct options options = {0};
    struct kvs_strs pos = {0};
    struct kvs_pub *pub;
    bool help = false;
    enum kvs_code code = kvs_opt_argv(table, N_OPT, argc, argv, &options, &pos, &help, err);
    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, "kvsim published FILE.csv [--json] [--plot [DIR]]",
                     "Predicts each row of a table of published measurements.", table, N_OPT);
        return KVS_OK;
    }
    if (pos.n != 1)
        return kvs_fail(err, KVS_ERR_ARG, "found %u files, want one table (FILE.csv)", pos.n);
    if ((code = read_table(pos.v[0], &pub, err)))
        return code;
    if (options.plot)
        code = write_plot(pub, &options, err);
    if (!code && options.json)
        code = print_json(pub, err);
    else if (!code)
        print_table(pub);
    if (!code && options.plot)
        fprintf(stderr, "kvsim published: %s/published.svg\n", options.plot);
    kvs_pub_free(pub);
    return code;
}

static enum kvs_code run(int argc, char *const *argv, struct kvs_err *err)
{
    char alone[] = "--plot=" DEFAULT_PLOT;
    char **args = calloc((size_t)argc + 1, sizeof *args);
    if (!args)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for arguments");
    for (int i = 0; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        args[i] = strcmp(argv[i], "--plot") == 0 && stands_alone(next) ? alone : argv[i];
    }
    enum kvs_code code = run_with(argc, args, err);
    free(args);
    return code;
}

const struct kvs_cmd kvs_cmd_published = {
    .name = "published",
    .help = "predict published measurements and say how far off that is",
    .run = run,
};
