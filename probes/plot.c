#include "plot.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One figure's points: a probe on a target. */
static bool belongs(const struct kvs_point *p, const char *probe, const char *target,
                    const char *transport)
{
    return p->status == KVS_MEASURED_OK && p->n_repeat && p->size_bytes &&
           strcmp(p->probe, probe) == 0 && strcmp(p->target, target) == 0 &&
           strcmp(kvs_point_param(p, "transport"), transport) == 0;
}

static int by_depth_and_size(const void *a, const void *b)
{
    const struct kvs_point *p = *(const struct kvs_point *const *)a;
    const struct kvs_point *q = *(const struct kvs_point *const *)b;
    if (p->depth != q->depth)
        return p->depth < q->depth ? -1 : 1;
    return p->size_bytes < q->size_bytes ? -1 : p->size_bytes > q->size_bytes;
}

static FILE *create(const char *dir, const char *name, const char *end, struct kvs_err *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s%s", dir, name, end);
    FILE *file = fopen(path, "w");
    if (!file)
        kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno));
    return file;
}

static enum kvs_code finish(FILE *file, const char *dir, struct kvs_err *err)
{
    int bad = ferror(file);
    bad |= fclose(file);
    return bad ? kvs_fail(err, KVS_ERR_IO, "%s: cannot write: %s", dir, strerror(errno)) : KVS_OK;
}

/* Blocks of one depth, two empty lines between: gnuplot's index. */
static void write_points(FILE *file, struct kvs_point **v, size_t n)
{
    fputs("# size_bytes depth bytes_per_s ci95_low ci95_high p50_s p99_s\n", file);
    for (size_t i = 0; i < n; i++) {
        const struct kvs_point *p = v[i];
        if (i && v[i - 1]->depth != p->depth)
            fputs("\n\n", file);
        fprintf(file, "%llu %llu %.6g %.6g %.6g %.6g %.6g\n", (unsigned long long)p->size_bytes,
                (unsigned long long)p->depth, p->rate.median, p->rate.ci95[0], p->rate.ci95[1],
                p->p50.n ? p->p50.median / 1e9 : (double)NAN,
                p->p99.n ? p->p99.median / 1e9 : (double)NAN);
    }
}

/* The distribution of every point: all repeats' histograms together, as a running share. */
static void write_cdf(FILE *file, struct kvs_point **v, size_t n)
{
    fputs("# latency_s share_at_most\n", file);
    for (size_t i = 0; i < n; i++) {
        const struct kvs_repeat *r = &v[i]->repeat[v[i]->n_repeat - 1]; /* the last repeat */
        uint64_t all = 0, below = 0;
        for (size_t k = 0; k < r->n_bin; k++)
            all += r->bin[k].n;
        fprintf(file, "%s# %llu B x %llu\n", i ? "\n\n" : "", (unsigned long long)v[i]->size_bytes,
                (unsigned long long)v[i]->depth);
        for (size_t k = 0; k < r->n_bin && all; k++) {
            below += r->bin[k].n;
            fprintf(file, "%.6g %.6g\n", (double)r->bin[k].value / 1e9,
                    (double)below / (double)all);
        }
    }
}

static void write_script(FILE *file, const char *name, const char *title, struct kvs_point **v,
                         size_t n)
{
    fprintf(
        file,
        "set terminal svg size 1000,1100 background 'white'\nset output '%s.svg'\n"
        "set multiplot layout 3,1 title \"%s\" noenhanced\nset key left top noenhanced\nset grid\n"
        "set logscale x 2\nset xlabel 'size, bytes (log)'\nset ylabel 'bytes per second'\n"
        "set yrange [0:*]\nplot ",
        name, title);
    unsigned block = 0;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || v[i - 1]->depth != v[i]->depth) {
            fprintf(file, "%s'%s.dat' index %u using 1:3:4:5 with yerrorlines title 'depth %llu'",
                    block ? ", " : "", name, block, (unsigned long long)v[i]->depth);
            block++;
        }
    fputs("\nset ylabel 'latency, s (log)'\nset logscale y\nset yrange [*:*]\nplot ", file);
    block = 0;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || v[i - 1]->depth != v[i]->depth) {
            fprintf(file,
                    "%s'%s.dat' index %u using 1:6 with linespoints title 'p50, depth %llu', "
                    "'' index %u using 1:7 with linespoints dashtype 2 title 'p99'",
                    block ? ", " : "", name, block, (unsigned long long)v[i]->depth, block);
            block++;
        }
    fputs("\nunset logscale y\nset xlabel 'latency, s (log)'\nset logscale x\n"
          "set ylabel 'share at most'\nset yrange [0:1]\nunset key\nplot ",
          file);
    for (size_t i = 0; i < n; i++)
        fprintf(file, "%s'%s-cdf.dat' index %zu with steps", i ? ", " : "", name, i);
    fputs("\nunset multiplot\n", file);
}

static enum kvs_code plot_one(struct kvs_point **v, size_t n, const char *dir, struct kvs_err *err)
{
    char name[128], title[128];
    snprintf(name, sizeof name, "%s-%s%s%s", v[0]->probe, v[0]->target,
             kvs_point_param(v[0], "transport")[0] ? "-" : "", kvs_point_param(v[0], "transport"));
    snprintf(title, sizeof title, "%s", name);
    for (char *c = name; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9')))
            *c = '-'; /* it becomes a file's name, and stands in quotes in a script */
    for (char *c = title; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ' || *c == '`')
            *c = '-';
    qsort(v, n, sizeof(struct kvs_point *),
          by_depth_and_size); /* NOLINT(bugprone-sizeof-expression) */
    static const char *const ends[] = {".dat", "-cdf.dat", ".gp"};
    for (int i = 0; i < 3; i++) {
        FILE *file = create(dir, name, ends[i], err);
        if (!file)
            return KVS_ERR_IO;
        if (i == 0)
            write_points(file, v, n);
        else if (i == 1)
            write_cdf(file, v, n);
        else
            write_script(file, name, title, v, n);
        enum kvs_code code = finish(file, dir, err);
        if (code)
            return code;
    }
    return KVS_OK;
}

enum kvs_code kvs_plot_points(const struct kvs_points *points, const char *dir, unsigned *n,
                              struct kvs_err *err)
{
    struct kvs_point **v = calloc(points->n + 1, sizeof(struct kvs_point *));
    bool *used = calloc(points->n + 1, sizeof *used);
    enum kvs_code code = KVS_OK;
    *n = 0;
    if (!v || !used) {
        code = kvs_nomem(err);
        goto done;
    }
    for (size_t i = 0; i < points->n && !code; i++) {
        const struct kvs_point *p = points->v[i];
        size_t m = 0;
        if (used[i] || !belongs(p, p->probe, p->target, kvs_point_param(p, "transport")))
            continue;
        for (size_t k = i; k < points->n; k++)
            if (!used[k] &&
                belongs(points->v[k], p->probe, p->target, kvs_point_param(p, "transport"))) {
                used[k] = true;
                v[m++] = points->v[k];
            }
        code = plot_one(v, m, dir, err);
        *n += !code;
    }
done:
    free(v);
    free(used);
    return code;
}
