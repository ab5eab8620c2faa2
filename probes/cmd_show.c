/* kvprobe show, compare, merge, import: what is done with profiles that are there already. */
#include "cmd.h"

#include "base/opt.h"
#include "base/units.h"
#include "import.h"
#include "model/hardware.h"
#include "plot.h"
#include "profile.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct options {
    const char *plots, *out, *name;
};

#define AT(field) offsetof(struct options, field)

/* Reads the command line; *stop: it was --help, which is answered. */
static enum kvs_code read_args(int argc, char **argv, const struct kvs_opt *table, unsigned n,
                               const char *usage, const char *about, unsigned n_min, unsigned n_max,
                               struct options *opt, struct kvs_strs *files, bool *stop,
                               struct kvs_err *err)
{
    memset(opt, 0, sizeof *opt);
    files->n = 0;
    *stop = false;
    enum kvs_code code = kvs_opt_argv(table, n, argc, argv, opt, files, stop, err);
    if (code)
        return code;
    if (*stop)
        kvs_opt_help(stdout, usage, about, table, n);
    else if (files->n < n_min || files->n > n_max)
        return kvs_fail(err, KVS_ERR_ARG, "found %u files; usage: %s", files->n, usage);
    return KVS_OK;
}

/* --- show ---------------------------------------------------------------------------------------
 */

static void show_point(const struct kvs_point *p)
{
    char title[128], rate[KVS_TEXT_MAX], low[KVS_TEXT_MAX], high[KVS_TEXT_MAX], p50[KVS_TEXT_MAX],
        p99[KVS_TEXT_MAX];
    kvs_point_title(p, title, sizeof title);
    if (p->status != KVS_MEASURED_OK || !p->n_repeat) {
        printf("%-58s %s\n", title, p->reason[0] ? p->reason : "not measured");
        return;
    }
    printf("%-58s %10s [%s, %s] n=%u", title, kvs_text_rate(rate, p->rate.median),
           kvs_text_rate(low, p->rate.ci95[0]), kvs_text_rate(high, p->rate.ci95[1]), p->rate.n);
    if (p->p50.n)
        printf("  p50 %s  p99 %s", kvs_text_time(p50, p->p50.median / 1e9),
               isnan(p->p99.median) ? "?" : kvs_text_time(p99, p->p99.median / 1e9));
    if (strcmp(p->source, "measured") != 0)
        printf("  (%s)", p->source);
    else
        printf("%s%s%s%s%s", p->steady ? "" : "  UNSTEADY", p->noisy ? "  NOISY" : "",
               p->suspect ? "  SUSPECT" : "", p->reason[0] ? ": " : "", p->reason);
    putchar('\n');
}

static void show_param(const char *name, const struct kvs_param *p, bool is_rate)
{
    char value[KVS_TEXT_MAX], low[KVS_TEXT_MAX], high[KVS_TEXT_MAX];
    char *(*text)(char *, double) = is_rate ? kvs_text_rate : kvs_text_time;
    if (p->known)
        printf("  %-11s %10s  [%s, %s]\n", name, text(value, p->value), text(low, p->ci95[0]),
               text(high, p->ci95[1]));
    else
        printf("  %-11s unknown: %s\n", name, p->why);
}

static enum kvs_code show_fits(const struct kvs_points *points, struct kvs_err *err)
{
    struct kvs_named_fit *fits = calloc(KVS_MAX_FIT, sizeof *fits);
    char low[KVS_TEXT_MAX], high[KVS_TEXT_MAX];
    unsigned n;
    if (!fits)
        return kvs_nomem(err);
    enum kvs_code code = kvs_profile_fits(points, 1, fits, &n, err);
    for (unsigned i = 0; i < n && !code; i++) {
        const struct kvs_link_fit *f = &fits[i].fit;
        printf("\nfit %s %s: %u points, %s to %s, depth %.0f to %.0f, residual %.1f %% (worst %.0f "
               "%%)\n",
               fits[i].probe, fits[i].target, f->n_obs, kvs_text_bytes(low, f->bytes_min),
               kvs_text_bytes(high, f->bytes_max), f->depth_min, f->depth_max,
               100 * f->residual_frac, 100 * f->worst_frac);
        show_param("latency", &f->latency_s, false);
        show_param("descriptor", &f->descriptor_s, false);
        show_param("rate", &f->bytes_per_s, true);
        if (kvs_link_fit_knee(f, f->bytes_min) > 0)
            printf("  knee        depth %.1f at the smallest size, %.1f at the largest\n",
                   kvs_link_fit_knee(f, f->bytes_min), kvs_link_fit_knee(f, f->bytes_max));
    }
    free(fits);
    return code;
}

/* Runs gnuplot on every script of dir, in dir. */
static enum kvs_code run_gnuplot(const char *dir, struct kvs_err *err)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (chdir(dir) != 0)
            _exit(126);
        execlp("sh", "sh", "-c", "for s in ./*.gp; do gnuplot \"$s\" || exit 1; done",
               (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return kvs_fail(err, KVS_ERR_IO, "gnuplot: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return kvs_fail(
            err, KVS_ERR_ABSENT,
            "gnuplot failed or is not there (apt-get install gnuplot-nox); the data and "
            "scripts are in %s",
            dir);
    return KVS_OK;
}

enum kvs_code kvs_cmd_show(int argc, char **argv, struct kvs_err *err)
{
    static const struct kvs_opt table[] = {{"plots", KVS_OPT_STR, AT(plots), NULL, 0, 0,
                                            "folder for gnuplot's data, scripts and SVG", NULL,
                                            false, 0}};
    struct options opt = {0};
    struct kvs_strs files;
    struct kvs_doc *doc;
    struct kvs_points points;
    unsigned n_plot;
    bool stop;
    enum kvs_code code =
        read_args(argc, argv, table, 1, "kvprobe show PROFILE [--plots FOLDER]",
                  "Prints a profile's points and fits.", 1, 1, &opt, &files, &stop, err);
    if (code || stop || (code = kvs_profile_open(files.v[0], &doc, &points, err)))
        return code;
    for (size_t i = 0; i < points.n; i++)
        show_point(points.v[i]);
    code = show_fits(&points, err);
    if (!code && opt.plots) {
        if (mkdir(opt.plots, 0777) != 0 && errno != EEXIST)
            code = kvs_fail(err, KVS_ERR_IO, "%s: %s", opt.plots, strerror(errno));
        if (!code)
            code = kvs_plot_points(&points, opt.plots, &n_plot, err);
        if (!code && n_plot)
            code = run_gnuplot(opt.plots, err);
        if (!code)
            printf("\n%u plots in %s\n", n_plot, opt.plots);
    }
    kvs_points_free(&points);
    kvs_doc_free(doc);
    return code;
}

/* --- compare ------------------------------------------------------------------------------------
 */

static bool same_point(const struct kvs_point *p, const struct kvs_point *q)
{
    char a[160], b[160];
    return strcmp(kvs_point_title(p, a, sizeof a), kvs_point_title(q, b, sizeof b)) == 0;
}

static void compare_point(const struct kvs_point *p, const struct kvs_point *q)
{
    char title[128], x[KVS_TEXT_MAX], y[KVS_TEXT_MAX];
    bool apart = p->rate.ci95[0] > q->rate.ci95[1] || q->rate.ci95[0] > p->rate.ci95[1];
    printf("%-58s %10s %10s  x %.3f%s%s\n", kvs_point_title(p, title, sizeof title),
           kvs_text_rate(x, p->rate.median), kvs_text_rate(y, q->rate.median),
           q->rate.median / p->rate.median, apart ? "" : "  (intervals meet)",
           p->noisy || q->noisy ? "  NOISY" : "");
}

enum kvs_code kvs_cmd_compare(int argc, char **argv, struct kvs_err *err)
{
    struct options opt = {0};
    struct kvs_strs files;
    struct kvs_doc *doc[2] = {NULL, NULL};
    struct kvs_points points[2] = {{0, 0, NULL}, {0, 0, NULL}};
    size_t n_both = 0;
    bool stop;
    enum kvs_code code =
        read_args(argc, argv, NULL, 0, "kvprobe compare A B",
                  "Sets the points that two profiles share side by side: medians, and B over A.", 2,
                  2, &opt, &files, &stop, err);
    if (code || stop)
        return code;
    for (int i = 0; i < 2 && !code; i++)
        code = kvs_profile_open(files.v[i], &doc[i], &points[i], err);
    for (size_t i = 0; i < points[0].n && !code; i++)
        for (size_t k = 0; k < points[1].n; k++) {
            const struct kvs_point *p = points[0].v[i], *q = points[1].v[k];
            if (p->n_repeat && q->n_repeat && same_point(p, q)) {
                compare_point(p, q);
                n_both++;
                break;
            }
        }
    if (!code)
        printf("%zu points in both; %zu in %s, %zu in %s\n", n_both, points[0].n, files.v[0],
               points[1].n, files.v[1]);
    for (int i = 0; i < 2; i++) {
        kvs_points_free(&points[i]);
        kvs_doc_free(doc[i]);
    }
    return code;
}

/* --- merge --------------------------------------------------------------------------------------
 */

static json_t *named(json_t *array, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(array, i, item)
    {
        const char *its = json_string_value(json_object_get(item, "name"));
        if (its && strcmp(its, name) == 0)
            return item;
    }
    return NULL;
}

static json_t *array_of(json_t *object, const char *key)
{
    json_t *array = json_object_get(object, key);
    if (!json_is_array(array)) {
        array = json_array();
        json_object_set_new(object, key, array);
    }
    return array;
}

/* Links and tiers by name: what is known in from goes over what into has. */
static void merge_named(json_t *into, json_t *from, const char *key)
{
    json_t *to = array_of(into, key), *item;
    size_t i;
    json_array_foreach(json_object_get(from, key), i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        json_t *old = name ? named(to, name) : NULL, *value;
        const char *field;
        if (!old) {
            json_array_append(to, item);
            continue;
        }
        json_object_foreach(item, field, value)
        {
            /* the first one's routes stay: it may know a hop more, such as the GPU's */
            if (!json_is_null(value) && strcmp(field, "route") != 0)
                json_object_set(old, field, value);
        }
    }
}

static void merge_lists(json_t *into, json_t *from)
{
    static const char *const keys[] = {"points", "fits"};
    for (size_t i = 0; i < 2; i++)
        json_array_extend(array_of(into, keys[i]), json_object_get(from, keys[i]));
}

static bool same_text(const json_t *a, const json_t *b, const char *key)
{
    const char *x = json_string_value(json_object_get(a, key));
    const char *y = json_string_value(json_object_get(b, key));
    return x && y && strcmp(x, y) == 0;
}

/*
 * Layers as measured belong to the device that computes: those of a machine's processor do not come
 * along where the base has a GPU of its own. The same model on the same device is replaced.
 */
static void merge_compute(json_t *into, json_t *from)
{
    json_t *item, *old;
    size_t i, k;
    if (json_is_object(json_object_get(into, "gpu")) &&
        json_is_object(json_object_get(from, "gpu")))
        json_object_del(from, "compute");
    if (!json_object_get(from, "compute"))
        return;
    json_t *to = array_of(into, "compute");
    json_array_foreach(json_object_get(from, "compute"), i, item)
    {
        bool found = false;
        json_array_foreach(to, k, old)
        {
            if (same_text(old, item, "model") && same_text(old, item, "device")) {
                json_array_set(to, k, item);
                found = true;
            }
        }
        if (!found)
            json_array_append(to, item);
    }
}

static void merge_rest(json_t *into, json_t *from)
{
    const char *key;
    json_t *value;
    json_object_foreach(from, key, value)
    {
        json_t *old = json_object_get(into, key);
        if (!old || json_is_null(old) ||
            (json_is_integer(old) && json_integer_value(old) == 0 && json_is_integer(value)))
            json_object_set(into, key, value);
    }
}

/* The document must be what kvsim reads. */
static enum kvs_code check_profile(json_t *json, struct kvs_err *err)
{
    struct kvs_doc *doc;
    struct kvs_hw *hw;
    char *text = json_dumps(json, 0);
    if (!text)
        return kvs_nomem(err);
    enum kvs_code code = kvs_doc_parse("merged profile", text, strlen(text), &doc, err);
    if (!code)
        code = kvs_hw_from(doc, &hw, err);
    if (!code)
        kvs_hw_free(hw);
    free(text);
    return code;
}

enum kvs_code kvs_cmd_merge(int argc, char **argv, struct kvs_err *err)
{
    static const struct kvs_opt table[] = {
        {"out", KVS_OPT_STR, AT(out), "-", 0, 0, "profile to write; - is standard output", NULL,
         false, 'o'},
        {"name", KVS_OPT_STR, AT(name), NULL, 0, 0, "of the merged profile; none: the first's",
         NULL, false, 0}};
    struct options opt = {0};
    struct kvs_strs files;
    json_t *into = NULL;
    bool stop;
    enum kvs_code code =
        read_args(argc, argv, table, 2, "kvprobe merge BASE MEASURED... [-o FILE]",
                  "Lays measured profiles over a base, such as a published one: links and tiers by "
                  "name, known figures over older ones; points, fits and measured layers are kept "
                  "side by side.",
                  2, 64, &opt, &files, &stop, err);
    if (code || stop)
        return code;
    for (unsigned i = 0; i < files.n && !code; i++) {
        struct kvs_doc *doc;
        struct kvs_points points;
        if ((code = kvs_profile_open(files.v[i], &doc, &points, err)))
            break;
        json_t *from = json_deep_copy(kvs_doc_root(doc).v);
        kvs_points_free(&points);
        kvs_doc_free(doc);
        if (!from) {
            code = kvs_nomem(err);
        } else if (!into) {
            into = from;
        } else {
            merge_named(into, from, "links");
            merge_named(into, from, "tiers");
            merge_lists(into, from);
            merge_compute(into, from);
            merge_rest(into, from);
            json_decref(from);
        }
    }
    if (!code && opt.name)
        json_object_set_new(into, "name", json_string(opt.name));
    if (!code)
        code = check_profile(into, err);
    if (!code)
        code = kvs_profile_write(into, opt.out, err);
    json_decref(into);
    return code;
}

/* --- import -------------------------------------------------------------------------------------
 */

#define MAX_IMPORT (64u << 20)

static enum kvs_code read_file(const char *path, char **text, size_t *n_byte, struct kvs_err *err)
{
    FILE *file = fopen(path, "r");
    size_t room = 1 << 16, n = 0, got;
    char *buf = malloc(room);
    enum kvs_code code = buf ? KVS_OK : kvs_nomem(err);
    *text = NULL;
    if (!file && !code)
        code = kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno));
    while (!code && (got = fread(buf + n, 1, room - n, file)) > 0) {
        n += got;
        if (n < room)
            continue;
        char *more = room < MAX_IMPORT ? realloc(buf, 2 * room) : NULL;
        if (!more)
            code = kvs_fail(err, KVS_ERR_RANGE, "%s: over 64 MiB, or no memory", path);
        else
            buf = more;
        room *= 2;
    }
    if (!code && ferror(file))
        code = kvs_fail(err, KVS_ERR_IO, "%s: cannot read", path);
    if (file)
        fclose(file);
    if (code) {
        free(buf);
        return code;
    }
    *text = buf;
    *n_byte = n;
    return KVS_OK;
}

enum kvs_code kvs_cmd_import(int argc, char **argv, struct kvs_err *err)
{
    static const struct kvs_opt table[] = {
        {"out", KVS_OPT_STR, AT(out), "-", 0, 0, "profile to write; - is standard output", NULL,
         false, 'o'},
        {"name", KVS_OPT_STR, AT(name), "imported", 0, 0, "of the profile", NULL, false, 0}};
    struct options opt = {0};
    struct kvs_strs files;
    struct kvs_points points = {0, 0, NULL};
    json_t *json = NULL;
    bool stop;
    enum kvs_code code =
        read_args(argc, argv, table, 2, "kvprobe import REPORT... [-o FILE]",
                  "Makes points, marked as imported, of what fio (JSON), perftest, nixlbench and "
                  "nvbandwidth print.",
                  1, 64, &opt, &files, &stop, err);
    if (code || stop)
        return code;
    for (unsigned i = 0; i < files.n && !code; i++) {
        char *text;
        size_t n;
        if ((code = read_file(files.v[i], &text, &n, err)))
            break;
        code = kvs_import(files.v[i], text, n, &points, err);
        free(text);
    }
    if (!code) {
        json = json_pack("{ss ss ss ss sI sn s[] s[] so}", "schema", "kvsim.profile",
                         "schema_version", "1.0.0", "name", opt.name, "about",
                         "imported by kvprobe; no figures of its own", "gpus_per_host",
                         (json_int_t)0, "gpu", "links", "tiers", "points", json_array());
        for (size_t i = 0; i < points.n && json; i++)
            json_array_append_new(json_object_get(json, "points"), kvs_point_json(points.v[i]));
        code = json ? kvs_profile_write(json, opt.out, err) : kvs_nomem(err);
    }
    json_decref(json);
    kvs_points_free(&points);
    return code;
}
