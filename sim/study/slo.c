#include "slo.h"

#include "base/units.h"
#include "model/csv.h"
#include "point.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COL 128

static const char *const column_names[] = {"ttft.mean", "ttft.p50",  "ttft.p90", "ttft.p95",
                                           "ttft.p99",  "tpot.mean", "tpot.p50", "tpot.p99"};
enum { N_NAME = sizeof column_names / sizeof *column_names };

static enum kvs_code read_term(const char *text, struct kvs_slo_term *term, struct kvs_err *err)
{
    const char *equal = strchr(text, '=');
    const size_t n = equal ? (size_t)(equal - text) : strlen(text);
    for (unsigned i = 0; equal && i < N_NAME; i++)
        if (strlen(column_names[i]) == n && strncmp(column_names[i], text, n) == 0) {
            struct kvs_err inner = {0};
            if (kvs_parse_time(equal + 1, &term->bound_s, &inner) || term->bound_s <= 0)
                return kvs_fail(err, KVS_ERR_ARG, "--slo %s: want a time like 500ms", text);
            snprintf(term->text, sizeof term->text, "%s", text);
            snprintf(term->column, sizeof term->column, "%s_s", column_names[i]);
            *strchr(term->column, '.') = '_';
            return KVS_OK;
        }
    char name[32], known[300];
    snprintf(name, sizeof name, "%.*s", (int)(n < 31 ? n : 31), text);
    return kvs_fail(err, KVS_ERR_ARG, "--slo %s: want NAME=TIME%s", text,
                    kvs_known(known, sizeof known, name, column_names, N_NAME));
}

enum kvs_code kvs_slo_read(const struct kvs_strs *text, struct kvs_slo *slo, struct kvs_err *err)
{
    slo->n = 0;
    if (text->n > KVS_MAX_TERM)
        return kvs_fail(err, KVS_ERR_ARG, "--slo: more than %d terms", KVS_MAX_TERM);
    for (unsigned i = 0; i < text->n; i++) {
        enum kvs_code code = read_term(text->v[i], &slo->term[slo->n++], err);
        if (code)
            return code;
    }
    return KVS_OK;
}

/* --- reading a point ---------------------------------------------------------------------------
 */

struct row {
    unsigned n;
    char **name, **field;
};

static const char *text_of(const struct row *row, const char *name)
{
    for (unsigned i = 0; i < row->n; i++)
        if (strcmp(row->name[i], name) == 0)
            return row->field[i];
    return "";
}

static double num_of(const struct row *row, const char *name)
{
    double value;
    return kvs_parse_double(text_of(row, name), &value, NULL) == KVS_OK ? value : (double)NAN;
}

static void copy(char *to, size_t room, const char *from)
{
    snprintf(to, room, "%s", from);
}

static void read_row(const struct row *row, const struct kvs_slo *slo, struct kvs_measure *m)
{
    *m = (struct kvs_measure){.ran = strcmp(text_of(row, "status"), "ok") == 0};
    copy(m->reason, sizeof m->reason, text_of(row, "status"));
    copy(m->policy, sizeof m->policy, text_of(row, "policy"));
    copy(m->verdict, sizeof m->verdict, text_of(row, "verdict"));
    copy(m->link, sizeof m->link, text_of(row, "busiest_link"));
    m->meets = m->ran && strcmp(m->verdict, "overloaded") != 0 && num_of(row, "refused") == 0;
    for (unsigned i = 0; i < slo->n; i++) {
        const double value = num_of(row, slo->term[i].column);
        m->value_s[i] = value;
        if (!(value / slo->term[i].bound_s <= m->worst_frac)) {
            m->worst_frac = value / slo->term[i].bound_s;
            copy(m->worst, sizeof m->worst, slo->term[i].text);
        }
        m->meets &= value <= slo->term[i].bound_s;
    }
    m->ttft_p99_s = num_of(row, "ttft_p99_s");
    m->goodput_per_s = num_of(row, "goodput_req_per_s");
    m->throughput_per_s = num_of(row, "throughput_req_per_s");
    m->input_tok = num_of(row, "input_tok");
    m->span_s = num_of(row, "span_s");
    m->hbm_hit_frac = num_of(row, "hbm_hit_frac");
    m->tier_hit_frac[0] = num_of(row, "tier0_hit_frac");
    m->tier_hit_frac[1] = num_of(row, "tier1_hit_frac");
    m->recomputed_frac = num_of(row, "recomputed_frac");
    m->gpu_busy_frac = num_of(row, "gpu_busy_frac");
    m->gpu_prefill_frac = num_of(row, "gpu_prefill_frac");
    m->link_frac = num_of(row, "busiest_link_frac");
    m->write_bytes[0] = num_of(row, "tier0_write_bytes");
    m->write_bytes[1] = num_of(row, "tier1_write_bytes");
}

/* Whether a is to be shown rather than b. */
static bool better(const struct kvs_measure *a, const struct kvs_measure *b)
{
    if (a->meets != b->meets)
        return a->meets;
    return a->worst_frac < b->worst_frac;
}

enum kvs_code kvs_measure_read(const char *header, const char *rows, const struct kvs_slo *slo,
                               struct kvs_measure *measure, struct kvs_err *err)
{
    char *names = strdup(header), *text = strdup(rows), *rest = text;
    char *name[MAX_COL], *field[MAX_COL];
    const char separator[] = {KVS_POINT_SEPARATOR, '\0'};
    unsigned bad, n_row = 0;
    enum kvs_code code = KVS_OK;
    *measure = (struct kvs_measure){0};
    if (!names || !text) {
        code = kvs_nomem(err);
    } else {
        const unsigned n = kvs_csv_split(names, name, MAX_COL, &bad);
        for (char *line; !code && (line = strsep(&rest, separator));) {
            const struct row row = {n, name, field};
            struct kvs_measure one = {0};
            if (n == 0 || n > MAX_COL || kvs_csv_split(line, field, MAX_COL, &bad) != n)
                code = kvs_fail(err, KVS_ERR_CHECK, "a point's rows do not fit their header");
            else
                read_row(&row, slo, &one);
            if (!code && (n_row++ == 0 || better(&one, measure)))
                *measure = one;
        }
    }
    free(names);
    free(text);
    return code;
}
