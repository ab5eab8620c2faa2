#include "sweep_plot.h"

#include "base/outfile.h"
#include "base/units.h"
#include "report/plot.h"
#include "sheet.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_AXIS 16
#define MAX_VALUE 256

struct axis {
    int col;
    unsigned n;
    const char *value[MAX_VALUE]; /* in the order of the points */
    bool numeric;
    const char *middle; /* of the values that some point ran with */
};

struct plot {
    const char *dir;
    struct kvs_sheet *sheet;
    unsigned n_axis;
    struct axis axis[MAX_AXIS];
    int policy, status;
};

bool kvs_sweep_plot_has(const char *dir)
{
    char *file = NULL;
    const bool has = asprintf(&file, "%s/results.csv", dir) >= 0 && access(file, R_OK) == 0;
    free(file);
    return has;
}

static bool is_number(const char *text)
{
    double value;
    return kvs_parse_double(text, &value, NULL) == KVS_OK;
}

static void find_values(struct plot *plot, struct axis *axis)
{
    axis->numeric = true;
    for (uint64_t row = 0; row < plot->sheet->n_row; row++) {
        const char *value = kvs_sheet_str(plot->sheet, row, axis->col);
        unsigned i = 0;
        while (i < axis->n && strcmp(axis->value[i], value) != 0)
            i++;
        if (i < axis->n || axis->n == MAX_VALUE)
            continue;
        axis->value[axis->n++] = value;
        axis->numeric &= is_number(value);
    }
}

static bool ran(const struct plot *plot, uint64_t row)
{
    return strcmp(kvs_sheet_str(plot->sheet, row, plot->status), "ok") == 0;
}

static void find_middle(const struct plot *plot, struct axis *axis)
{
    unsigned n = 0, at = 0;
    bool has[MAX_VALUE] = {false};
    for (uint64_t row = 0; row < plot->sheet->n_row; row++)
        for (unsigned i = 0; i < axis->n && ran(plot, row); i++)
            has[i] |= strcmp(axis->value[i], kvs_sheet_str(plot->sheet, row, axis->col)) == 0;
    for (unsigned i = 0; i < axis->n; i++)
        n += has[i];
    axis->middle = "";
    for (unsigned i = 0; i < axis->n; i++)
        if (has[i] && at++ == n / 2)
            axis->middle = axis->value[i];
}

static enum kvs_code find_axes(struct plot *plot, const char *file, struct kvs_err *err)
{
    plot->policy = kvs_sheet_col(plot->sheet, "policy");
    plot->status = kvs_sheet_col(plot->sheet, "status");
    if (kvs_sheet_col(plot->sheet, "point") != 0 || plot->policy < 1 || plot->policy - 1 > MAX_AXIS)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: is no table of a sweep", file);
    for (int col = 1; col < plot->policy; col++) {
        struct axis *axis = &plot->axis[plot->n_axis++];
        axis->col = col;
        find_values(plot, axis);
        find_middle(plot, axis);
    }
    return KVS_OK;
}

/* Whether a row has every axis but a and b at its middle value. */
static bool at_middle(const struct plot *plot, uint64_t row, unsigned a, unsigned b)
{
    if (!ran(plot, row))
        return false;
    for (unsigned i = 0; i < plot->n_axis; i++) {
        const struct axis *axis = &plot->axis[i];
        if (i != a && i != b &&
            strcmp(kvs_sheet_str(plot->sheet, row, axis->col), axis->middle) != 0)
            return false;
    }
    return true;
}

static double num(const struct plot *plot, uint64_t row, const char *name)
{
    return kvs_sheet_num(plot->sheet, row, kvs_sheet_col(plot->sheet, name));
}

/* A field's place on its axis: its value, or its number from 1 where values are names. */
static double place(const struct plot *plot, uint64_t row, const struct axis *axis)
{
    const char *value = kvs_sheet_str(plot->sheet, row, axis->col);
    double number;
    if (axis->numeric && kvs_parse_double(value, &number, NULL) == KVS_OK)
        return number;
    for (unsigned i = 0; i < axis->n; i++)
        if (strcmp(axis->value[i], value) == 0)
            return i + 1;
    return (double)NAN;
}

/* A name without what would end a field. */
static void put_name(FILE *to, const char *name)
{
    for (; *name; name++)
        fputc(strchr(",\"\n", *name) ? ' ' : *name, to);
}

static void put_axes(const struct plot *plot, FILE *to)
{
    fputs("axis_i,axis,numeric,place,value,policy,ttft_p50_s,ttft_p99_s,hit_frac\n", to);
    for (unsigned i = 0; i < plot->n_axis; i++)
        for (uint64_t row = 0; row < plot->sheet->n_row; row++) {
            const struct axis *axis = &plot->axis[i];
            if (!at_middle(plot, row, i, i))
                continue;
            fprintf(to, "%u,", i + 1);
            put_name(to, plot->sheet->col[axis->col]);
            fprintf(to, ",%d,%.10g,", axis->numeric, place(plot, row, axis));
            put_name(to, kvs_sheet_str(plot->sheet, row, axis->col));
            fprintf(to, ",%s,%.6g,%.6g,%.6g\n", kvs_sheet_str(plot->sheet, row, plot->policy),
                    num(plot, row, "ttft_p50_s"), num(plot, row, "ttft_p99_s"),
                    num(plot, row, "hbm_hit_frac") + num(plot, row, "tiers_hit_frac"));
        }
}

/* The longest axis but one; MAX_AXIS: there is none. */
static unsigned longest(const struct plot *plot, unsigned but)
{
    unsigned at = MAX_AXIS;
    for (unsigned i = 0; i < plot->n_axis; i++)
        if (i != but && (at == MAX_AXIS || plot->axis[i].n > plot->axis[at].n))
            at = i;
    return at;
}

static unsigned value_i(const struct plot *plot, uint64_t row, const struct axis *axis)
{
    unsigned i = 0;
    while (i < axis->n && strcmp(axis->value[i], kvs_sheet_str(plot->sheet, row, axis->col)) != 0)
        i++;
    return i;
}

/* The last policy's p99 TTFT over the two longest axes. */
static void put_heat(const struct plot *plot, FILE *to)
{
    const unsigned a = longest(plot, MAX_AXIS), b = longest(plot, a);
    const char *policy = "";
    fputs("x_axis,y_axis,x_i,y_i,x,y,policy,ttft_p99_s\n", to);
    if (b == MAX_AXIS)
        return;
    for (uint64_t row = 0; row < plot->sheet->n_row; row++)
        if (at_middle(plot, row, a, b))
            policy = kvs_sheet_str(plot->sheet, row, plot->policy);
    for (uint64_t row = 0; row < plot->sheet->n_row; row++) {
        if (!at_middle(plot, row, a, b) ||
            strcmp(kvs_sheet_str(plot->sheet, row, plot->policy), policy) != 0)
            continue;
        put_name(to, plot->sheet->col[plot->axis[a].col]);
        fputc(',', to);
        put_name(to, plot->sheet->col[plot->axis[b].col]);
        fprintf(to, ",%u,%u,", value_i(plot, row, &plot->axis[a]),
                value_i(plot, row, &plot->axis[b]));
        put_name(to, kvs_sheet_str(plot->sheet, row, plot->axis[a].col));
        fputc(',', to);
        put_name(to, kvs_sheet_str(plot->sheet, row, plot->axis[b].col));
        fprintf(to, ",%s,%.6g\n", policy, num(plot, row, "ttft_p99_s"));
    }
}

/* Goodput against what was offered, where the rate is an axis. */
static void put_rate(const struct plot *plot, FILE *to)
{
    fputs("offered_req_per_s,goodput_req_per_s,policy\n", to);
    for (unsigned i = 0; i < plot->n_axis; i++) {
        const char *name = plot->sheet->col[plot->axis[i].col];
        if (!strstr(name, "rate"))
            continue;
        for (uint64_t row = 0; row < plot->sheet->n_row; row++)
            if (at_middle(plot, row, i, i))
                fprintf(to, "%.6g,%.6g,%s\n", num(plot, row, "offered_req_per_s"),
                        num(plot, row, "goodput_req_per_s"),
                        kvs_sheet_str(plot->sheet, row, plot->policy));
        return;
    }
}

static bool uses_network(const struct plot *plot)
{
    for (uint64_t row = 0; row < plot->sheet->n_row; row++)
        if (ran(plot, row) && num(plot, row, "network_bytes") > 0)
            return true;
    return false;
}

/* The last policy over the first axis of numbers, a line for each value of the first one of names;
 * where nodes have anything to do with each other. */
static void put_nodes(const struct plot *plot, FILE *to)
{
    unsigned x = MAX_AXIS, line = MAX_AXIS;
    fputs("x_axis,line_i,line,x,hit_frac,network_bytes_per_s,ttft_p50_s,ttft_p99_s\n", to);
    for (unsigned i = plot->n_axis; i-- > 0;)
        *(plot->axis[i].numeric ? &x : &line) = i;
    if (kvs_sheet_col(plot->sheet, "network_bytes") < 0 || !uses_network(plot) || x == MAX_AXIS)
        return;
    const char *policy = kvs_sheet_str(plot->sheet, plot->sheet->n_row - 1, plot->policy);
    for (uint64_t row = 0; row < plot->sheet->n_row; row++) {
        if (!at_middle(plot, row, x, line) ||
            strcmp(kvs_sheet_str(plot->sheet, row, plot->policy), policy) != 0)
            continue;
        put_name(to, plot->sheet->col[plot->axis[x].col]);
        fprintf(to, ",%u,", line < MAX_AXIS ? value_i(plot, row, &plot->axis[line]) + 1 : 1);
        put_name(to,
                 line < MAX_AXIS ? kvs_sheet_str(plot->sheet, row, plot->axis[line].col) : policy);
        fprintf(to, ",%.10g,%.6g,%.6g,%.6g,%.6g\n", place(plot, row, &plot->axis[x]),
                num(plot, row, "hbm_hit_frac") + num(plot, row, "tiers_hit_frac"),
                num(plot, row, "network_bytes") / num(plot, row, "span_s"),
                num(plot, row, "ttft_p50_s"), num(plot, row, "ttft_p99_s"));
    }
}

static const struct {
    const char *name;
    void (*put)(const struct plot *plot, FILE *to);
} figures[] = {{"sweep_axes", put_axes},
               {"sweep_heat", put_heat},
               {"sweep_rate", put_rate},
               {"sweep_nodes", put_nodes}};

/* The data; *more: more than the header. */
static enum kvs_code write_data(const struct plot *plot, size_t i, bool *more, struct kvs_err *err)
{
    struct kvs_outfile *out = NULL;
    char *path = NULL;
    enum kvs_code code;
    *more = false;
    if (asprintf(&path, "%s/plots/%s.csv", plot->dir, figures[i].name) < 0)
        return kvs_nomem(err);
    if (!(code = kvs_outfile_begin(path, &out, err))) {
        FILE *to = kvs_outfile_stream(out);
        figures[i].put(plot, to);
        *more = ftell(to) > 90; /* the longest header has fewer */
        code = kvs_outfile_commit(out, err);
    }
    free(path);
    return code;
}

static enum kvs_code draw(const struct plot *plot, const char *folder, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    for (size_t i = 0; i < sizeof figures / sizeof *figures && !code; i++) {
        bool more;
        if (!(code = write_data(plot, i, &more, err)) && more)
            code = kvs_plot_figure(folder, figures[i].name, plot->dir, err);
    }
    return code;
}

enum kvs_code kvs_sweep_plot(const char *dir, struct kvs_err *err)
{
    struct plot *plot = calloc(1, sizeof *plot);
    char *file = NULL, *folder = NULL;
    enum kvs_code code = KVS_OK;
    if (!plot || asprintf(&file, "%s/results.csv", dir) < 0 ||
        asprintf(&folder, "%s/plots", dir) < 0)
        code = kvs_nomem(err);
    else if (mkdir(folder, 0777) && errno != EEXIST)
        code = kvs_fail(err, KVS_ERR_IO, "%s: %s", folder, strerror(errno));
    if (plot && !code) {
        plot->dir = dir;
        if (!(code = kvs_sheet_open(file, &plot->sheet, err)) &&
            !(code = find_axes(plot, file, err)))
            code = draw(plot, folder, err);
        kvs_sheet_free(plot->sheet);
    }
    free(plot);
    free(file);
    free(folder);
    return code;
}
