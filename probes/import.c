#include "import.h"

#include "base/units.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COLUMN 24

/* One report's point. NaN: not told. */
static enum kvs_code add_point(struct kvs_points *points, const char *probe, const char *target,
                               const char *tool, uint64_t size, uint64_t depth, double bytes_per_s,
                               double p50_ns, double p99_ns, struct kvs_point **point,
                               struct kvs_err *err)
{
    struct kvs_point *p = kvs_points_add(points, probe, target);
    if (!p || !kvs_point_set(p, "tool", json_string(tool)))
        return kvs_nomem(err);
    snprintf(p->source, sizeof p->source, "imported");
    p->size_bytes = size;
    p->depth = depth;
    p->n_repeat = 1;
    p->repeat[0] = (struct kvs_repeat){.bytes_per_s = bytes_per_s,
                                       .cpu_ns_per_op = -1,
                                       .p50_ns = p50_ns,
                                       .p90_ns = (double)NAN,
                                       .p99_ns = p99_ns,
                                       .p999_ns = (double)NAN,
                                       .max_ns = (double)NAN,
                                       .health = {-1, -1, -1, -1, -1}};
    kvs_point_judge(p, 1, 0);
    *point = p;
    return KVS_OK;
}

static bool is_good(double x, double max)
{
    return x > 0 && x <= max;
}

/* --- fio ----------------------------------------------------------------------------------------
 */

/* An option of a job, or the global one. */
static const char *fio_option(struct kvs_json root, struct kvs_json job, const char *key)
{
    const char *text = json_string_value(kvs_json_get(kvs_json_get(job, "job options"), key).v);
    return text ? text
                : json_string_value(kvs_json_get(kvs_json_get(root, "global options"), key).v);
}

/* fio's sizes: "4k" is 4096 bytes unless told otherwise. */
static uint64_t fio_size(const char *text)
{
    char *end;
    if (!text || !isdigit((unsigned char)*text))
        return 0;
    unsigned long long n = strtoull(text, &end, 10);
    unsigned shift = *end == 'k' || *end == 'K' ? 10 : *end == 'm' || *end == 'M' ? 20 : 0;
    return n < 1ull << 40 ? (uint64_t)n << shift : 0;
}

static double fio_percentile(struct kvs_json side, const char *p)
{
    static const char *const kinds[] = {"lat_ns", "clat_ns"};
    for (size_t i = 0; i < 2; i++) { /* total latency if it was asked for, else after submit */
        struct kvs_json list = kvs_json_get(kvs_json_get(side, kinds[i]), "percentile");
        const json_t *v = kvs_json_get(list, p).v;
        if (json_is_number(v) && is_good(json_number_value(v), 1e18))
            return json_number_value(v);
    }
    return (double)NAN;
}

static enum kvs_code fio_side(struct kvs_json root, struct kvs_json job, const char *side,
                              const char *probe, struct kvs_points *points, struct kvs_err *err)
{
    struct kvs_json s = kvs_json_get(job, side);
    double rate = json_number_value(kvs_json_get(s, "bw_bytes").v);
    const char *rw = fio_option(root, job, "rw"), *depth = fio_option(root, job, "iodepth");
    const char *jobs = fio_option(root, job, "numjobs"), *direct = fio_option(root, job, "direct");
    const char *name = json_string_value(kvs_json_get(job, "jobname").v);
    char target[KVS_NAME_MAX];
    struct kvs_point *p;
    if (!is_good(rate, 1e15))
        return KVS_OK; /* this side did nothing */
    snprintf(target, sizeof target, "fio:%.40s", name ? name : "job");
    double p50 = fio_percentile(s, "50.000000"), p99 = fio_percentile(s, "99.000000");
    if (isnan(p50))
        p99 = (double)NAN;
    uint64_t size = fio_size(fio_option(root, job, "bs"));
    enum kvs_code code =
        add_point(points, probe, target, "fio", size ? size : fio_size("4k"),
                  depth ? (uint64_t)strtoul(depth, NULL, 10) % 65536 : 1, rate, p50, p99, &p, err);
    if (code)
        return code;
    p->jobs = jobs ? strtoul(jobs, NULL, 10) % 65536 : 1;
    if (!kvs_point_set(p, "pattern", json_string(rw && strstr(rw, "rand") ? "rand" : "seq")) ||
        !kvs_point_set(p, "path", json_string(direct && *direct == '1' ? "direct" : "buffered")))
        return kvs_nomem(err);
    return KVS_OK;
}

static enum kvs_code import_fio(struct kvs_json root, struct kvs_points *points,
                                struct kvs_err *err)
{
    struct kvs_json jobs = kvs_json_get(root, "jobs");
    enum kvs_code code = kvs_json_array(jobs, err);
    for (size_t i = 0; !code && i < kvs_json_size(jobs); i++) {
        struct kvs_json job = kvs_json_at(jobs, i);
        if ((code = kvs_json_object(job, err)) ||
            (code = fio_side(root, job, "read", "storage.read", points, err)))
            return code;
        code = fio_side(root, job, "write", "storage.write", points, err);
    }
    return code;
}

/* --- tables: perftest, nixlbench
 * ------------------------------------------------------------------ */

/* One column that we know, and what its unit is in SI. */
struct column {
    const char *title;
    enum { SIZE, BATCH, RATE, P50, MEAN, P99 } what;
    double scale;
};

struct format {
    const char *tool, *probe;
    const char *begins; /* the header line's start, after spaces */
    struct column column[8];
};

static const struct format formats[] = {
    {"perftest",
     "network.read",
     "#bytes", /* MB is 2^20 bytes there */
     {{"#bytes", SIZE, 1},
      {"BW average[MB/sec]", RATE, 1048576},
      {"BW average[MiB/sec]", RATE, 1048576},
      {"BW average[Gb/sec]", RATE, 1e9 / 8},
      {"t_typical[usec]", P50, 1e3},
      {"99% percentile[usec]", P99, 1e3}}},
    {"nixlbench",
     "network.read",
     "Block Size (B)",
     {{"Block Size (B)", SIZE, 1},
      {"Batch Size", BATCH, 1},
      {"B/W (GB/Sec)", RATE, 1e9},
      {"B/W (GiB/Sec)", RATE, 1073741824},
      {"Avg Lat. (us)", MEAN, 1e3},
      {"P99 Tx (us)", P99, 1e3}}},
};

/* The next title of a header: words with one space between; perftest's titles too. */
static const char *next_title(const char *at, const char *end, char title[64])
{
    size_t n = 0;
    while (at < end && (*at == ' ' || *at == '\t' || *at == '|'))
        at++;
    while (at < end && *at != '\t' && *at != '|' &&
           !(*at == ' ' && (at + 1 == end || at[1] == ' '))) {
        if (n < 63)
            title[n++] = *at;
        at++;
    }
    title[n] = 0;
    return at;
}

/* Which known column each title of a header is; -1: none. Titles that stand one space apart are
 * taken by their known beginnings. */
static unsigned read_header(const struct format *f, const char *at, const char *end,
                            int column[MAX_COLUMN])
{
    unsigned n = 0;
    while (n < MAX_COLUMN) {
        char title[64];
        at = next_title(at, end, title);
        const char *rest = title;
        if (!title[0])
            break;
        while (*rest && n < MAX_COLUMN) {
            int found = -1;
            size_t length = strlen(rest);
            for (int i = 0; i < 8 && f->column[i].title; i++)
                if (strncmp(rest, f->column[i].title, strlen(f->column[i].title)) == 0) {
                    found = i;
                    length = strlen(f->column[i].title);
                }
            if (found < 0) { /* "#iterations BW peak[MB/sec]": up to where a known one begins */
                for (int i = 0; i < 8 && f->column[i].title; i++) {
                    const char *next = strstr(rest, f->column[i].title);
                    if (next && next > rest && (size_t)(next - rest) < length)
                        length = (size_t)(next - rest);
                }
            }
            column[n++] = found;
            rest += length;
            while (*rest == ' ')
                rest++;
        }
    }
    return n;
}

static enum kvs_code import_row(const struct format *f, const char *at, const char *end,
                                const int *column, unsigned n_column, struct kvs_points *points,
                                struct kvs_err *err)
{
    double value[6] = {0, 0, 0, (double)NAN, (double)NAN, (double)NAN};
    char line[512];
    struct kvs_point *p;
    size_t n = (size_t)(end - at) < sizeof line - 1 ? (size_t)(end - at) : sizeof line - 1;
    memcpy(line, at, n);
    line[n] = 0;
    char *word = line;
    for (unsigned i = 0; i < n_column; i++) {
        char *stop;
        while (*word == ' ' || *word == '\t' || *word == '|')
            word++;
        double x = strtod(word, &stop);
        if (stop == word)
            return KVS_OK; /* not a row */
        if (column[i] >= 0)
            value[f->column[column[i]].what] = x * f->column[column[i]].scale;
        word = stop;
    }
    if (!is_good(value[SIZE], 1e15))
        return KVS_OK;
    double typical = is_good(value[P50], 1e18) ? value[P50] : (double)NAN;
    /* a latency report has no rate: one read of that size in that time */
    double rate = is_good(value[RATE], 1e15) ? value[RATE]
                  : !isnan(typical)          ? value[SIZE] / typical * 1e9
                                             : 0;
    if (!is_good(rate, 1e15))
        return KVS_OK;
    uint64_t depth = is_good(value[BATCH], 1e6) ? (uint64_t)value[BATCH] : 0;
    double p99 = !isnan(typical) && is_good(value[P99], 1e18) ? value[P99] : (double)NAN;
    return add_point(points, f->probe, f->tool, f->tool, (uint64_t)value[SIZE], depth, rate,
                     typical, p99, &p, err);
}

static const struct format *header_of(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '|'))
        at++;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if ((size_t)(end - at) >= strlen(formats[i].begins) &&
            strncmp(at, formats[i].begins, strlen(formats[i].begins)) == 0)
            return &formats[i];
    return NULL;
}

/* --- nvbandwidth
 * ---------------------------------------------------------------------------------- */

/* A test's name, from "Running host_to_device_memcpy_ce."; which probe it is, or NULL. */
static const char *nvbandwidth_probe(const char *at, const char *end)
{
    static const struct {
        const char *name, *probe;
    } tests[] = {{"host_to_device_memcpy_ce", "copy.h2d"},
                 {"device_to_host_memcpy_ce", "copy.d2h"},
                 {"host_to_device_memcpy_sm", "copy.h2d_sm"},
                 {"device_to_host_memcpy_sm", "copy.d2h_sm"},
                 {"device_to_device_memcpy_read_ce", "copy.d2d"}};
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        size_t n = strlen(tests[i].name);
        if ((size_t)(end - at) >= n && strncmp(at, tests[i].name, n) == 0 &&
            (at + n == end || at[n] == '.' || at[n] == '\r'))
            return tests[i].probe;
    }
    return NULL;
}

/* A matrix row: its index, then GB/s for each device; N/A is passed over. */
static enum kvs_code nvbandwidth_row(const char *probe, const char *at, const char *end,
                                     struct kvs_points *points, struct kvs_err *err)
{
    char line[512], target[KVS_NAME_MAX], *word = line, *stop;
    size_t n = (size_t)(end - at) < sizeof line - 1 ? (size_t)(end - at) : sizeof line - 1;
    memcpy(line, at, n);
    line[n] = 0;
    long row = strtol(word, &stop, 10);
    if (stop == word || row < 0 || row > 1023)
        return KVS_OK;
    word = stop;
    for (int column = 0; column < 64; column++) {
        struct kvs_point *p;
        while (*word == ' ')
            word++;
        if (strncmp(word, "N/A", 3) == 0) {
            word += 3;
            continue;
        }
        double rate = strtod(word, &stop);
        if (stop == word || !memchr(word, '.', (size_t)(stop - word)))
            return KVS_OK; /* the line of column numbers has no points */
        word = stop;
        snprintf(target, sizeof target, "%ld>gpu%d", row, column);
        if (!is_good(rate, 1e6))
            continue;
        enum kvs_code code = add_point(points, probe, target, "nvbandwidth", 0, 0, rate * 1e9,
                                       (double)NAN, (double)NAN, &p, err);
        if (code)
            return code;
    }
    return KVS_OK;
}

/* With --json: {"nvbandwidth": {"testcases": [{"name", "bandwidth_matrix": [["24.9", "N/A"]]}]}}.
 */
static enum kvs_code import_nvbandwidth(const json_t *root, struct kvs_points *points,
                                        struct kvs_err *err)
{
    size_t i, k, m;
    json_t *test, *row, *cell;
    json_array_foreach(json_object_get(root, "testcases"), i, test)
    {
        const char *name = json_string_value(json_object_get(test, "name"));
        const char *probe = name ? nvbandwidth_probe(name, name + strlen(name)) : NULL;
        json_array_foreach(probe ? json_object_get(test, "bandwidth_matrix") : NULL, k, row)
        {
            json_array_foreach(row, m, cell)
            {
                const char *text = json_string_value(cell);
                char target[KVS_NAME_MAX], *stop;
                double rate = text ? strtod(text, &stop) : json_number_value(cell);
                struct kvs_point *p;
                if ((text && (stop == text || *stop)) || !is_good(rate, 1e6))
                    continue; /* N/A */
                snprintf(target, sizeof target, "%zu>gpu%zu", k, m);
                enum kvs_code code = add_point(points, probe, target, "nvbandwidth", 0, 0,
                                               rate * 1e9, (double)NAN, (double)NAN, &p, err);
                if (code)
                    return code;
            }
        }
    }
    return KVS_OK;
}

/* --- telling them apart
 * ----------------------------------------------------------------------------- */

static enum kvs_code import_lines(const char *text, size_t n_byte, struct kvs_points *points,
                                  struct kvs_err *err)
{
    const struct format *format = NULL;
    const char *probe = NULL, *all_end = text + n_byte;
    int column[MAX_COLUMN];
    unsigned n_column = 0;
    enum kvs_code code = KVS_OK;
    while (text < all_end && !code) {
        const char *end = memchr(text, '\n', (size_t)(all_end - text));
        end = end ? end : all_end;
        const struct format *header = header_of(text, end);
        if (header) {
            format = header;
            probe = NULL;
            n_column = read_header(format, text, end, column);
        } else if ((size_t)(end - text) > 8 && strncmp(text, "Running ", 8) == 0) {
            probe = nvbandwidth_probe(text + 8, end);
            format = NULL;
        } else if (format) {
            code = import_row(format, text, end, column, n_column, points, err);
        } else if (probe) {
            code = nvbandwidth_row(probe, text, end, points, err);
        }
        text = end + 1;
    }
    return code;
}

enum kvs_code kvs_import(const char *name, const char *text, size_t n_byte,
                         struct kvs_points *points, struct kvs_err *err)
{
    size_t n_before = points->n, at = 0;
    enum kvs_code code;
    while (at < n_byte && isspace((unsigned char)text[at]))
        at++;
    if (at < n_byte && text[at] == '{') {
        struct kvs_doc *doc;
        if ((code = kvs_doc_parse(name, text, n_byte, &doc, err)))
            return code;
        const json_t *nvbandwidth = json_object_get(kvs_doc_root(doc).v, "nvbandwidth");
        code = nvbandwidth ? import_nvbandwidth(nvbandwidth, points, err)
                           : import_fio(kvs_doc_root(doc), points, err);
        kvs_doc_free(doc);
    } else {
        code = import_lines(text, n_byte, points, err);
    }
    if (!code && points->n == n_before)
        return kvs_fail(err, KVS_ERR_PARSE,
                        "%s: nothing to import; want fio's JSON (--output-format=json), or what "
                        "perftest, nixlbench or nvbandwidth print",
                        name);
    return code;
}
