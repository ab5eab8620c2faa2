#include "compare.h"

#include "base/json.h"
#include "base/units.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct folder {
    const char *dir;
    struct kvs_doc *summary, *workload;
};

static enum kvs_code open_doc(const char *dir, const char *name, struct kvs_doc **doc,
                              struct kvs_err *err)
{
    char *file = NULL;
    if (asprintf(&file, "%s/%s", dir, name) < 0)
        return kvs_nomem(err);
    enum kvs_code code = kvs_doc_open(file, doc, err);
    free(file);
    return code;
}

/* --- settings ----------------------------------------------------------------------------------
 */

enum { PATH_ROOM = 256 };

/* What does not fit ends in dots. */
__attribute__((format(printf, 2, 3))) static void go_deeper(char path[PATH_ROOM], const char *form,
                                                            ...)
{
    va_list args;

    va_start(args, form);
    if (vsnprintf(path, PATH_ROOM, form, args) >= PATH_ROOM)
        memcpy(path + PATH_ROOM - 4, "...", 4);
    va_end(args);
}

/* One line for each setting in which b differs from a. */
static void tell_difference(FILE *to, const char *path, const json_t *a, const json_t *b,
                            unsigned *n)
{
    if (json_equal((json_t *)a, (json_t *)b))
        return;
    if (json_is_object(a) && json_is_object(b)) {
        const char *key;
        json_t *item;
        char deeper[PATH_ROOM];
        json_object_foreach((json_t *)a, key, item)
        {
            go_deeper(deeper, "%s%s%s", path, *path ? "." : "", key);
            tell_difference(to, deeper, item, json_object_get(b, key), n);
        }
        json_object_foreach((json_t *)b, key, item)
        {
            go_deeper(deeper, "%s%s%s", path, *path ? "." : "", key);
            if (!json_object_get(a, key))
                tell_difference(to, deeper, NULL, item, n);
        }
        return;
    }
    if (json_is_array(a) && json_is_array(b) && json_array_size(a) == json_array_size(b)) {
        char deeper[PATH_ROOM];
        for (size_t i = 0; i < json_array_size(a); i++) {
            go_deeper(deeper, "%s[%zu]", path, i);
            tell_difference(to, deeper, json_array_get(a, i), json_array_get(b, i), n);
        }
        return;
    }
    char *text_a = a ? json_dumps(a, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    char *text_b = b ? json_dumps(b, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    fprintf(to, "  %s: %s -> %s\n", path, text_a ? text_a : "-", text_b ? text_b : "-");
    free(text_a);
    free(text_b);
    (*n)++;
}

/* --- figures -----------------------------------------------------------------------------------
 */

static const struct {
    const char *head, *object, *key;
    bool time;
} figure[] = {
    {"TTFT p50", "ttft_s", "p50", true},
    {"TTFT p99", "ttft_s", "p99", true},
    {"TPOT mean", "tpot_s", "mean", true},
    {"e2e mean", "e2e_s", "mean", true},
    {"goodput/s", NULL, "goodput_req_per_s", false},
};
enum { N_FIGURE = sizeof figure / sizeof *figure };

static double value_of(const json_t *policy, size_t i)
{
    const json_t *in = figure[i].object ? json_object_get(policy, figure[i].object) : policy;
    const json_t *value = json_object_get(in, figure[i].key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static const char *name_of(const json_t *policy)
{
    const char *name = json_string_value(json_object_get(policy, "policy"));
    return name ? name : "?";
}

static const json_t *policies_of(const struct folder *folder)
{
    return json_object_get(kvs_doc_root(folder->summary).v, "policies");
}

static const json_t *find_policy(const struct folder *folder, const char *name)
{
    size_t i;
    json_t *policy;
    json_array_foreach((json_t *)policies_of(folder), i, policy)
    {
        if (strcmp(name_of(policy), name) == 0)
            return policy;
    }
    return NULL;
}

static void print_row(FILE *to, const struct folder *folder, const json_t *policy,
                      const json_t *base)
{
    fprintf(to, "%-28.28s %-12.12s", folder->dir, name_of(policy));
    for (size_t i = 0; i < N_FIGURE; i++) {
        char text[KVS_TEXT_MAX], change[16] = "";
        const double value = value_of(policy, i);
        const double from = base ? value_of(base, i) : (double)NAN;
        if (isfinite(value) && isfinite(from) && from > 0 && base != policy)
            snprintf(change, sizeof change, "%+.1f%%", 100 * (value / from - 1));
        if (!isfinite(value))
            snprintf(text, sizeof text, "-");
        else if (figure[i].time)
            kvs_text_time(text, value);
        else
            snprintf(text, sizeof text, "%.3g", value);
        fprintf(to, " %9s %8s", text, change);
    }
    const char *verdict = json_string_value(json_object_get(policy, "verdict"));
    fprintf(to, "  %s\n", verdict ? verdict : "?");
}

static void print_table(FILE *to, const struct folder *folder, unsigned n)
{
    fprintf(to, "%-28s %-12s", "folder", "policy");
    for (size_t i = 0; i < N_FIGURE; i++)
        fprintf(to, " %9s %8s", figure[i].head, "");
    fputs("  verdict\n", to);
    for (unsigned i = 0; i < n; i++) {
        size_t k;
        json_t *policy;
        json_array_foreach((json_t *)policies_of(&folder[i]), k, policy)
            print_row(to, &folder[i], policy, find_policy(&folder[0], name_of(policy)));
    }
}

enum kvs_code kvs_compare(const struct kvs_strs *dirs, FILE *to, struct kvs_err *err)
{
    struct folder *folder = calloc(dirs->n, sizeof *folder);
    enum kvs_code code = KVS_OK;
    if (!folder)
        return kvs_nomem(err);
    for (unsigned i = 0; i < dirs->n && !code; i++) {
        folder[i].dir = dirs->v[i];
        if (!(code = open_doc(dirs->v[i], "summary.json", &folder[i].summary, err)) &&
            !(code = open_doc(dirs->v[i], "workload.json", &folder[i].workload, err)) &&
            !json_is_array(policies_of(&folder[i])))
            code = kvs_fail(err, KVS_ERR_PARSE, "%s/summary.json: policies: missing", dirs->v[i]);
    }
    for (unsigned i = 1; i < dirs->n && !code; i++) {
        unsigned n = 0;
        fprintf(to, "%s differs from %s in\n", dirs->v[i], dirs->v[0]);
        tell_difference(to, "", kvs_doc_root(folder[0].workload).v,
                        kvs_doc_root(folder[i].workload).v, &n);
        if (n == 0)
            fputs("  nothing\n", to);
    }
    if (!code) {
        fputc('\n', to);
        print_table(to, folder, dirs->n);
        fputs("changes: against the same policy of the first folder; simulated\n", to);
    }
    for (unsigned i = 0; i < dirs->n; i++) {
        kvs_doc_free(folder[i].summary);
        kvs_doc_free(folder[i].workload);
    }
    free(folder);
    return code;
}
