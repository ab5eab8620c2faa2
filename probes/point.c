#include "point.h"

#include "base/units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CANARY_FRAC 0.05
#define MAX_PRESSURE_FRAC 0.10
#define MAX_STEAL_FRAC 0.01

static const char *const status_names[] = {"ok", "unavailable", "failed", NULL};

void kvs_points_free(struct kvs_points *points)
{
    for (size_t i = 0; i < points->n; i++) {
        for (unsigned k = 0; k < points->v[i]->n_repeat; k++)
            free(points->v[i]->repeat[k].bin);
        json_decref(points->v[i]->params);
        free(points->v[i]);
    }
    free(points->v);
    memset(points, 0, sizeof *points);
}

struct kvs_point *kvs_points_add(struct kvs_points *points, const char *probe, const char *target)
{
    struct kvs_point *point = calloc(1, sizeof *point);
    if (point && points->n == points->room) {
        size_t room = points->room ? 2 * points->room : 16;
        struct kvs_point **v = realloc(points->v, room * sizeof(struct kvs_point *));
        if (!v) {
            free(point);
            return NULL;
        }
        points->v = v;
        points->room = room;
    }
    if (!point)
        return NULL;
    snprintf(point->probe, sizeof point->probe, "%s", probe);
    snprintf(point->target, sizeof point->target, "%s", target);
    snprintf(point->source, sizeof point->source, "measured");
    return points->v[points->n++] = point;
}

bool kvs_point_set(struct kvs_point *point, const char *key, json_t *value)
{
    if (!point->params)
        point->params = json_object();
    if (point->params && value)
        return json_object_set_new(point->params, key, value) == 0;
    json_decref(value);
    return false;
}

const char *kvs_point_param(const struct kvs_point *point, const char *key)
{
    const char *text = json_string_value(json_object_get(point->params, key));
    return text ? text : "";
}

void kvs_point_unavailable(struct kvs_point *point, enum kvs_status status, const char *reason)
{
    point->status = status;
    snprintf(point->reason, sizeof point->reason, "%s", reason);
}

/* --- repeats ------------------------------------------------------------------------------------
 */

static enum kvs_code keep_bins(struct kvs_repeat *repeat, const struct kvs_hist *hist,
                               struct kvs_err *err)
{
    size_t n_bucket = sizeof hist->bucket / sizeof *hist->bucket, n = 0;
    for (size_t i = 0; i < n_bucket; i++)
        n += hist->bucket[i] > 0;
    repeat->bin = calloc(n + 1, sizeof *repeat->bin);
    if (!repeat->bin)
        return kvs_nomem(err);
    for (size_t i = 0; i < n_bucket; i++)
        if (hist->bucket[i] > 0)
            repeat->bin[repeat->n_bin++] =
                (struct kvs_bin){kvs_hist_top((unsigned)i), hist->bucket[i]};
    return KVS_OK;
}

static double percentile(const struct kvs_hist *hist, double p)
{
    return hist->n ? (double)kvs_hist_percentile(hist, p) : (double)NAN;
}

enum kvs_code kvs_point_repeat(struct kvs_point *point, const struct kvs_sample *sample,
                               const struct kvs_health *health, double t0_s, struct kvs_err *err)
{
    if (point->n_repeat == KVS_MAX_REPEAT)
        return kvs_fail(err, KVS_ERR_RANGE, "more than %d repeats of %s", KVS_MAX_REPEAT,
                        point->probe);
    struct kvs_repeat *repeat = &point->repeat[point->n_repeat];
    const struct kvs_hist *lat = &sample->lat_ns;
    *repeat = (struct kvs_repeat){
        .t0_s = t0_s,
        .secs = sample->secs,
        .bytes_per_s = sample->bytes_per_s,
        .cpu_ns_per_op =
            sample->cpu_ns >= 0 && sample->ops ? sample->cpu_ns / (double)sample->ops : -1,
        .bytes = sample->bytes,
        .ops = sample->ops,
        .p50_ns = percentile(lat, 50),
        .p90_ns = percentile(lat, 90),
        .p99_ns = percentile(lat, 99),
        .p999_ns = percentile(lat, 99.9),
        .max_ns = percentile(lat, 100),
        .health = *health,
    };
    enum kvs_code code = keep_bins(repeat, lat, err);
    if (!code)
        point->n_repeat++;
    return code;
}

/* --- judgement ----------------------------------------------------------------------------------
 */

static void say(struct kvs_point *point, const char *text)
{
    size_t at = strlen(point->reason);
    snprintf(point->reason + at, sizeof point->reason - at, "%s%s", at ? "; " : "", text);
}

/* The machine was not ours alone: the largest of each sign over the repeats. */
static void judge_noise(struct kvs_point *point, unsigned n_core)
{
    struct kvs_health worst = {-1, -1, -1, -1, -1};
    char text[96];
    for (unsigned i = 0; i < point->n_repeat; i++) {
        const struct kvs_health *h = &point->repeat[i].health;
        worst.psi_cpu_frac = fmax(worst.psi_cpu_frac, h->psi_cpu_frac);
        worst.steal_frac = fmax(worst.steal_frac, h->steal_frac);
        worst.gap_frac = fmax(worst.gap_frac, h->gap_frac);
        worst.n_runnable = fmax(worst.n_runnable, h->n_runnable);
    }
    if (worst.gap_frac > MAX_CANARY_FRAC) {
        snprintf(text, sizeof text, "canary lost %.0f %% of a core", 100 * worst.gap_frac);
        say(point, text);
    }
    if (worst.psi_cpu_frac > MAX_PRESSURE_FRAC) {
        snprintf(text, sizeof text, "CPU pressure %.0f %%", 100 * worst.psi_cpu_frac);
        say(point, text);
    }
    if (worst.steal_frac > MAX_STEAL_FRAC) {
        snprintf(text, sizeof text, "%.1f %% of CPU time stolen", 100 * worst.steal_frac);
        say(point, text);
    }
    if (worst.n_runnable > n_core + 1) {
        snprintf(text, sizeof text, "%.0f tasks on %u cores", worst.n_runnable, n_core);
        say(point, text);
    }
    point->noisy = point->reason[0] != 0;
}

void kvs_point_judge(struct kvs_point *point, unsigned n_core, uint64_t seed)
{
    double rate[KVS_MAX_REPEAT], p50[KVS_MAX_REPEAT], p99[KVS_MAX_REPEAT];
    unsigned n_lat = 0;
    for (unsigned i = 0; i < point->n_repeat; i++) {
        rate[i] = point->repeat[i].bytes_per_s;
        if (isnan(point->repeat[i].p50_ns))
            continue;
        p50[n_lat] = point->repeat[i].p50_ns;
        p99[n_lat++] = point->repeat[i].p99_ns;
    }
    point->rate = kvs_summarize(rate, point->n_repeat, seed);
    point->p50 = kvs_summarize(p50, n_lat, seed);
    point->p99 = kvs_summarize(p99, n_lat, seed);
    point->steady = kvs_is_steady(rate, point->n_repeat);
    if (point->status != KVS_MEASURED_OK || point->n_repeat == 0)
        return;
    point->reason[0] = 0;
    judge_noise(point, n_core);
    point->suspect =
        point->ceiling_bytes_per_s > 0 && point->rate.median > point->ceiling_bytes_per_s;
    if (point->suspect) {
        char text[KVS_TEXT_MAX + 32], rate_text[KVS_TEXT_MAX];
        snprintf(text, sizeof text, "faster than its ceiling of %s",
                 kvs_text_rate(rate_text, point->ceiling_bytes_per_s));
        say(point, text);
    }
}

char *kvs_point_title(const struct kvs_point *point, char *buf, size_t room)
{
    char size[KVS_TEXT_MAX];
    const char *key;
    json_t *value;
    int at = snprintf(buf, room, "%s %s", point->probe, point->target);
    if (point->size_bytes && at >= 0 && (size_t)at < room)
        at += snprintf(buf + at, room - (size_t)at, " %s",
                       kvs_text_bytes(size, (double)point->size_bytes));
    if (point->depth && at >= 0 && (size_t)at < room)
        at += snprintf(buf + at, room - (size_t)at, " x %llu", (unsigned long long)point->depth);
    if (point->jobs > 1 && at >= 0 && (size_t)at < room)
        at += snprintf(buf + at, room - (size_t)at, " jobs %llu", (unsigned long long)point->jobs);
    if (point->n_descriptor && at >= 0 && (size_t)at < room)
        at += snprintf(buf + at, room - (size_t)at, " load of %llu",
                       (unsigned long long)point->n_descriptor);
    json_object_foreach(point->params, key, value)
    {
        if (json_is_string(value) && at >= 0 && (size_t)at < room)
            at += snprintf(buf + at, room - (size_t)at, " %s", json_string_value(value));
        else if (json_is_integer(value) && at >= 0 && (size_t)at < room)
            at += snprintf(buf + at, room - (size_t)at, " %s %lld", key,
                           (long long)json_integer_value(value));
    }
    return buf;
}

/* --- JSON ---------------------------------------------------------------------------------------
 */

/* Not known is null. */
static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *known(double x)
{
    return x >= 0 ? number(x) : json_null();
}

static json_t *count_or_null(uint64_t n)
{
    return n ? json_integer((json_int_t)n) : json_null();
}

/* Adds item to array, which becomes NULL (and makes json_pack fail) when memory ends: no part of a
 * profile is lost silently. */
static void push(json_t **array, json_t *item)
{
    if (*array && json_array_append_new(*array, item) == 0)
        return;
    if (!*array)
        json_decref(item);
    json_decref(*array);
    *array = NULL;
}

static json_t *bins_json(const struct kvs_repeat *r)
{
    json_t *bins = json_array();
    for (size_t i = 0; i < r->n_bin; i++)
        push(&bins, json_pack("[II]", (json_int_t)r->bin[i].value, (json_int_t)r->bin[i].n));
    return bins;
}

static json_t *repeat_json(const struct kvs_repeat *r)
{
    json_t *lat = isnan(r->p50_ns) ? json_null()
                                   : json_pack("{so so so so so}", "p50", number(r->p50_ns), "p90",
                                               number(r->p90_ns), "p99", number(r->p99_ns), "p999",
                                               number(r->p999_ns), "max", number(r->max_ns));
    return json_pack("{so so so sI sI so so so so so so so so}", "t0_s", number(r->t0_s), "secs",
                     number(r->secs), "bytes_per_s", number(r->bytes_per_s), "bytes",
                     (json_int_t)r->bytes, "ops", (json_int_t)r->ops, "lat_ns", lat, "hist",
                     bins_json(r), "cpu_ns_per_op", known(r->cpu_ns_per_op), "psi_cpu_frac",
                     known(r->health.psi_cpu_frac), "steal_frac", known(r->health.steal_frac),
                     "gap_frac", known(r->health.gap_frac), "n_runnable",
                     known(r->health.n_runnable), "nivcsw", known(r->health.nivcsw));
}

static json_t *summary_json(const struct kvs_summary *s)
{
    if (s->n == 0)
        return json_null();
    return json_pack("{so so so so s[oo] sI}", "median", number(s->median), "min", number(s->min),
                     "max", number(s->max), "mad", number(s->mad), "ci95", number(s->ci95[0]),
                     number(s->ci95[1]), "n", (json_int_t)s->n);
}

json_t *kvs_point_json(const struct kvs_point *p)
{
    json_t *repeats = json_array();
    for (unsigned i = 0; i < p->n_repeat; i++)
        push(&repeats, repeat_json(&p->repeat[i]));
    return json_pack("{ss ss ss so ss so so so so sO? so so so sb sb sb so}", "probe", p->probe,
                     "target", p->target, "status", status_names[p->status], "reason",
                     p->reason[0] ? json_string(p->reason) : json_null(), "source", p->source,
                     "size_bytes", count_or_null(p->size_bytes), "depth", count_or_null(p->depth),
                     "jobs", count_or_null(p->jobs), "n_descriptor", count_or_null(p->n_descriptor),
                     "params", p->params, "bytes_per_s", summary_json(&p->rate), "p50_ns",
                     summary_json(&p->p50), "p99_ns", summary_json(&p->p99), "steady", p->steady,
                     "noisy", p->noisy, "suspect", p->suspect, "repeats", repeats);
}

static enum kvs_code read_text(struct kvs_json object, const char *key, char *to, size_t room,
                               struct kvs_err *err)
{
    const char *text;
    struct kvs_json node = kvs_json_get(object, key);
    enum kvs_code code = kvs_json_str(node, &text, err);
    if (!code && strlen(text) >= room)
        return kvs_json_fail(node, err, KVS_ERR_RANGE, "found %zu characters, want at most %zu",
                             strlen(text), room - 1);
    if (!code)
        memcpy(to, text, strlen(text) + 1);
    return code;
}

/* null and absence read as none. */
static enum kvs_code read_number(struct kvs_json object, const char *key, double none, double max,
                                 double *value, struct kvs_err *err)
{
    struct kvs_json node = kvs_json_get(object, key);
    *value = none;
    if (!node.v || json_is_null(node.v))
        return KVS_OK;
    return kvs_json_double(node, 0, max, value, err);
}

static enum kvs_code read_count(struct kvs_json object, const char *key, int64_t max,
                                uint64_t *value, struct kvs_err *err)
{
    struct kvs_json node = kvs_json_get(object, key);
    int64_t n = 0;
    enum kvs_code code = KVS_OK;
    if (node.v && !json_is_null(node.v))
        code = kvs_json_i64(node, 0, max, &n, err);
    *value = (uint64_t)n;
    return code;
}

static enum kvs_code read_bins(struct kvs_json array, struct kvs_repeat *r, struct kvs_err *err)
{
    enum kvs_code code = kvs_json_array(array, err);
    size_t n = code ? 0 : kvs_json_size(array);
    if (code)
        return code;
    r->bin = calloc(n + 1, sizeof *r->bin);
    if (!r->bin)
        return kvs_nomem(err);
    for (size_t i = 0; i < n && !code; i++) {
        struct kvs_json pair = kvs_json_at(array, i);
        int64_t value, count;
        if ((code = kvs_json_array(pair, err)))
            break;
        if (kvs_json_size(pair) != 2)
            return kvs_json_fail(pair, err, KVS_ERR_PARSE, "found %zu items, want [value, count]",
                                 kvs_json_size(pair));
        if ((code = kvs_json_i64(kvs_json_at(pair, 0), 0, INT64_MAX, &value, err)) ||
            (code = kvs_json_i64(kvs_json_at(pair, 1), 0, INT64_MAX, &count, err)))
            break;
        r->bin[r->n_bin++] = (struct kvs_bin){(uint64_t)value, (uint64_t)count};
    }
    return code;
}

static enum kvs_code read_health(struct kvs_json node, struct kvs_health *h, struct kvs_err *err)
{
    enum kvs_code code;
    if ((code = read_number(node, "psi_cpu_frac", -1, 1e9, &h->psi_cpu_frac, err)) ||
        (code = read_number(node, "steal_frac", -1, 1e9, &h->steal_frac, err)) ||
        (code = read_number(node, "gap_frac", -1, 1e9, &h->gap_frac, err)) ||
        (code = read_number(node, "n_runnable", -1, 1e12, &h->n_runnable, err)))
        return code;
    return read_number(node, "nivcsw", -1, 1e15, &h->nivcsw, err);
}

static enum kvs_code read_repeat(struct kvs_json node, struct kvs_repeat *r, struct kvs_err *err)
{
    struct kvs_json lat = kvs_json_get(node, "lat_ns");
    enum kvs_code code = kvs_json_object(node, err);
    if (json_is_null(lat.v))
        lat.v = NULL;
    if (code || (code = read_number(node, "t0_s", 0, 1e12, &r->t0_s, err)) ||
        (code = read_number(node, "secs", 0, 1e9, &r->secs, err)) ||
        (code = read_number(node, "bytes_per_s", 0, 1e18, &r->bytes_per_s, err)) ||
        (code = read_number(node, "cpu_ns_per_op", -1, 1e18, &r->cpu_ns_per_op, err)) ||
        (code = read_count(node, "bytes", INT64_MAX, &r->bytes, err)) ||
        (code = read_count(node, "ops", INT64_MAX, &r->ops, err)) ||
        (lat.v && (code = kvs_json_object(lat, err))) ||
        (code = read_number(lat, "p50", (double)NAN, 1e18, &r->p50_ns, err)) ||
        (code = read_number(lat, "p90", (double)NAN, 1e18, &r->p90_ns, err)) ||
        (code = read_number(lat, "p99", (double)NAN, 1e18, &r->p99_ns, err)) ||
        (code = read_number(lat, "p999", (double)NAN, 1e18, &r->p999_ns, err)) ||
        (code = read_number(lat, "max", (double)NAN, 1e18, &r->max_ns, err)) ||
        (code = read_health(node, &r->health, err)))
        return code;
    struct kvs_json bins = kvs_json_get(node, "hist");
    return bins.v ? read_bins(bins, r, err) : KVS_OK;
}

static enum kvs_code read_repeats(struct kvs_json array, struct kvs_point *p, struct kvs_err *err)
{
    enum kvs_code code = kvs_json_array(array, err);
    size_t n = code ? 0 : kvs_json_size(array);
    if (n > KVS_MAX_REPEAT)
        return kvs_json_fail(array, err, KVS_ERR_RANGE, "found %zu repeats, want at most %d", n,
                             KVS_MAX_REPEAT);
    for (size_t i = 0; i < n && !code; i++)
        code = read_repeat(kvs_json_at(array, i), &p->repeat[p->n_repeat++], err);
    return code;
}

static enum kvs_code read_status(struct kvs_json node, enum kvs_status *status, struct kvs_err *err)
{
    const char *text;
    enum kvs_code code = kvs_json_str(node, &text, err);
    if (code)
        return code;
    for (int i = 0; status_names[i]; i++)
        if (strcmp(text, status_names[i]) == 0) {
            *status = (enum kvs_status)i;
            return KVS_OK;
        }
    return kvs_json_want(node, err, KVS_ERR_PARSE, "ok, unavailable or failed");
}

static enum kvs_code read_flag(struct kvs_json object, const char *key, bool *flag,
                               struct kvs_err *err)
{
    struct kvs_json node = kvs_json_get(object, key);
    *flag = false;
    return node.v ? kvs_json_bool(node, flag, err) : KVS_OK;
}

static enum kvs_code read_point(struct kvs_json node, struct kvs_point *p, struct kvs_err *err)
{
    struct kvs_json reason = kvs_json_get(node, "reason"), params = kvs_json_get(node, "params");
    enum kvs_code code;
    if ((code = read_text(node, "probe", p->probe, sizeof p->probe, err)) ||
        (code = read_text(node, "target", p->target, sizeof p->target, err)) ||
        (code = read_text(node, "source", p->source, sizeof p->source, err)) ||
        (code = read_status(kvs_json_get(node, "status"), &p->status, err)) ||
        (code = read_count(node, "size_bytes", INT64_MAX, &p->size_bytes, err)) ||
        (code = read_count(node, "depth", 1 << 30, &p->depth, err)) ||
        (code = read_count(node, "jobs", 1 << 30, &p->jobs, err)) ||
        (code = read_count(node, "n_descriptor", INT64_MAX, &p->n_descriptor, err)) ||
        (code = read_flag(node, "steady", &p->steady, err)) ||
        (code = read_flag(node, "noisy", &p->noisy, err)) ||
        (code = read_flag(node, "suspect", &p->suspect, err)))
        return code;
    if (reason.v && !json_is_null(reason.v) &&
        (code = read_text(node, "reason", p->reason, sizeof p->reason, err)))
        return code;
    if (params.v && !json_is_null(params.v)) {
        if ((code = kvs_json_object(params, err)))
            return code;
        p->params = json_deep_copy(params.v);
        if (!p->params)
            return kvs_nomem(err);
    }
    return read_repeats(kvs_json_get(node, "repeats"), p, err);
}

enum kvs_code kvs_point_read(struct kvs_json node, struct kvs_points *points, struct kvs_err *err)
{
    enum kvs_code code = kvs_json_object(node, err);
    if (code)
        return code;
    struct kvs_point *p = kvs_points_add(points, "", "");
    if (!p)
        return kvs_nomem(err);
    if ((code = read_point(node, p, err)))
        return code;
    bool steady = p->steady, noisy = p->noisy, suspect = p->suspect;
    char reason[KVS_REASON_MAX];
    memcpy(reason, p->reason, sizeof reason);
    kvs_point_judge(p, 1,
                    0); /* the statistics anew; the judgement is the machine's that measured */
    p->steady = steady;
    p->noisy = noisy;
    p->suspect = suspect;
    memcpy(p->reason, reason, sizeof reason);
    return KVS_OK;
}
