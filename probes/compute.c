#include "compute.h"

#include "base/hist.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_AXIS 32
#define NOISY_ERROR 0.25

/* --- points by what they measured ------------------------------------------------------------ */

static double number(const struct kvs_point *p, const char *key)
{
    return (double)json_integer_value(json_object_get(p->params, key));
}

/* A good point of a probe, measured alone. */
static bool is(const struct kvs_point *p, const char *probe)
{
    return p->status == KVS_MEASURED_OK && p->n_repeat > 0 && strcmp(p->probe, probe) == 0 &&
           !kvs_point_param(p, "beside")[0] && p->rate.median > 0;
}

static double seconds(const struct kvs_point *p)
{
    return (double)p->size_bytes / p->rate.median;
}

static const struct kvs_point *find(const struct kvs_points *points, const char *probe, double rows,
                                    double context)
{
    for (size_t i = 0; i < points->n; i++) {
        const struct kvs_point *p = points->v[i];
        if (is(p, probe) && number(p, "rows") == rows && number(p, "context") == context)
            return p;
    }
    return NULL;
}

/* The different values of a param among a probe's points, ascending. */
static unsigned axis(const struct kvs_points *points, const char *probe, const char *key,
                     double out[MAX_AXIS])
{
    unsigned n = 0;
    for (size_t i = 0; i < points->n; i++) {
        if (!is(points->v[i], probe))
            continue;
        double x = number(points->v[i], key);
        unsigned k = 0;
        while (k < n && out[k] != x)
            k++;
        if (k == n && n < MAX_AXIS)
            out[n++] = x;
    }
    qsort(out, n, sizeof *out, kvs_cmp_double);
    return n;
}

/* --- the entry ------------------------------------------------------------------------------- */

struct table {
    unsigned n_row, n_context, n_out;
    double row[MAX_AXIS], context[MAX_AXIS], out[MAX_AXIS];
    double linear[MAX_AXIS], kv[MAX_AXIS], begin[MAX_AXIS], head[MAX_AXIS];
    double attention[MAX_AXIS][MAX_AXIS];
    double error; /* of whole layers, predicted against measured: the median */
    bool noisy;
};

/* One curve by rows; false: a point is missing. */
static bool read_curve(const struct kvs_points *points, const char *probe, const double *row,
                       unsigned n, double *to, struct table *t)
{
    for (unsigned i = 0; i < n; i++) {
        const struct kvs_point *p = find(points, probe, row[i], 0);
        if (!p)
            return false;
        to[i] = seconds(p);
        t->noisy |= p->noisy;
    }
    return true;
}

static bool read_attention(const struct kvs_points *points, struct table *t)
{
    for (unsigned i = 0; i < t->n_row; i++)
        for (unsigned c = 0; c < t->n_context; c++) {
            const struct kvs_point *p = find(points, "prefill.attention", t->row[i], t->context[c]);
            if (!p)
                return false;
            t->attention[i][c] = seconds(p);
            t->noisy |= p->noisy;
        }
    return true;
}

/* What whole layers take beyond their attention: the median over the contexts measured. */
static bool read_linear(const struct kvs_points *points, struct table *t)
{
    for (unsigned i = 0; i < t->n_row; i++) {
        double rest[MAX_AXIS];
        unsigned n = 0;
        for (unsigned c = 0; c < t->n_context; c++) {
            const struct kvs_point *p = find(points, "prefill.layer", t->row[i], t->context[c]);
            if (p) {
                rest[n++] = seconds(p) - t->attention[i][c];
                t->noisy |= p->noisy;
            }
        }
        if (!n)
            return false;
        t->linear[i] = kvs_median(rest, n);
    }
    return true;
}

static void never_fall(double *y, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        y[i] = fmax(y[i], i ? y[i - 1] : 1e-9);
}

static void smooth(struct table *t)
{
    never_fall(t->linear, t->n_row);
    never_fall(t->begin, t->n_row);
    never_fall(t->head, t->n_out);
    never_fall(t->kv, t->n_row);
    for (unsigned i = 0; i < t->n_row; i++) {
        t->kv[i] = fmin(t->kv[i], t->linear[i]);
        never_fall(t->attention[i], t->n_context);
        for (unsigned c = 0; c < t->n_context && i; c++)
            t->attention[i][c] = fmax(t->attention[i][c], t->attention[i - 1][c]);
    }
}

static double error_of(const struct kvs_points *points, const struct table *t)
{
    double error[MAX_AXIS * MAX_AXIS];
    unsigned n = 0;
    for (unsigned i = 0; i < t->n_row; i++)
        for (unsigned c = 0; c < t->n_context; c++) {
            const struct kvs_point *p = find(points, "prefill.layer", t->row[i], t->context[c]);
            if (p)
                error[n++] = fabs((t->linear[i] + t->attention[i][c]) / seconds(p) - 1);
        }
    double median = kvs_median(error, n);
    return t->noisy ? fmax(median, NOISY_ERROR) : median;
}

static json_t *list(const double *x, unsigned n)
{
    json_t *array = json_array();
    for (unsigned i = 0; i < n; i++)
        if (array && json_array_append_new(array, json_real(x[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *lists(const struct table *t)
{
    json_t *array = json_array();
    for (unsigned i = 0; i < t->n_row; i++)
        if (array && json_array_append_new(array, list(t->attention[i], t->n_context)) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *entry_json(const struct kvs_compute_of *of, const struct table *t)
{
    const struct kvs_weights_shape *s = of->shape;
    return json_pack("{ss ss ss ss sf s{sI sI sI sI sI sI} so so so so so so so so}", "model",
                     of->model, "device", of->device, "source", "measured", "ref",
                     t->noisy ? "kvprobe prefill, noisy" : "kvprobe prefill", "rel_error", t->error,
                     "layer", "hidden", (json_int_t)s->hidden, "heads", (json_int_t)s->n_head,
                     "kv_heads", (json_int_t)s->n_kv_head, "head_dim", (json_int_t)s->head_dim,
                     "ffn", (json_int_t)s->ffn, "vocab", (json_int_t)s->n_vocab, "row_tok",
                     list(t->row, t->n_row), "context_tok", list(t->context, t->n_context),
                     "linear_s", list(t->linear, t->n_row), "attention_s", lists(t), "kv_s",
                     list(t->kv, t->n_row), "begin_s", list(t->begin, t->n_row), "out_row",
                     list(t->out, t->n_out), "head_s", list(t->head, t->n_out));
}

json_t *kvs_compute_entry(const struct kvs_compute_of *of, const struct kvs_points *points,
                          const char **why)
{
    struct table *t = calloc(1, sizeof *t);
    json_t *json = NULL;
    *why = NULL;
    if (!t)
        return NULL;
    t->n_row = axis(points, "prefill.layer", "rows", t->row);
    t->n_context = axis(points, "prefill.attention", "context", t->context);
    t->n_out = axis(points, "prefill.head", "rows", t->out);
    if (!t->n_row || t->row[0] != 1 || t->n_context < 2 || t->context[0] != 0 || !t->n_out ||
        t->out[0] != 1)
        *why = "one row, no context and a second context: want them measured";
    else if (!read_attention(points, t) || !read_linear(points, t) ||
             !read_curve(points, "prefill.kv", t->row, t->n_row, t->kv, t) ||
             !read_curve(points, "prefill.begin", t->row, t->n_row, t->begin, t) ||
             !read_curve(points, "prefill.head", t->out, t->n_out, t->head, t))
        *why = "a point of the grid was not measured";
    if (!*why) {
        smooth(t);
        t->error = error_of(points, t);
        json = entry_json(of, t);
    }
    free(t);
    return json;
}

/* --- operator figures ------------------------------------------------------------------------ */

/* Operators measured, and what the cost model says of them. */
struct operators {
    unsigned n_gemm, n_attn;
    struct {
        double flop_row, weights, rows, s; /* FLOP of a row; elements; measured */
    } gemm[128];
    struct {
        double rows, context, s;
    } attn[256];
    double flop_key; /* of one query and key, all heads */
    double group;    /* query heads that share a KV head */
    double peak, mem, launch, half, attn_rate, attn_half, tail;
    bool noisy;
};

static double gemm_s(const struct operators *o, unsigned i)
{
    double flop_s = o->gemm[i].flop_row * (o->gemm[i].rows + o->half) / o->peak;
    return o->launch + fmax(flop_s, o->gemm[i].weights / o->mem);
}

static double attn_s(const struct operators *o, unsigned i)
{
    double rows = o->attn[i].rows + o->attn_half / o->group;
    double seen = o->attn[i].context + (o->attn[i].rows + 1) / 2;
    return o->launch + o->flop_key * rows * (seen + o->tail) / o->attn_rate;
}

/* Sum of |log| errors, which is what a median would choose. */
static double misfit(const struct operators *o, bool attention)
{
    double sum = 0;
    for (unsigned i = 0; i < (attention ? o->n_attn : o->n_gemm); i++)
        sum += attention ? fabs(log(attn_s(o, i) / o->attn[i].s))
                         : fabs(log(gemm_s(o, i) / o->gemm[i].s));
    return sum;
}

/* The value of *x among 0 and so many steps of a factor from low on that fits best. */
static void search(struct operators *o, bool attention, double *x, double low, double factor,
                   int n_step)
{
    double best = *x, least = misfit(o, attention);
    for (int i = -1; i < n_step; i++) {
        *x = i < 0 ? 0 : low * pow(factor, i);
        double now = misfit(o, attention);
        if (now < least) {
            least = now;
            best = *x;
        }
    }
    *x = best;
}

static void collect(const struct kvs_points *points, struct operators *o)
{
    for (size_t i = 0; i < points->n; i++) {
        const struct kvs_point *p = points->v[i];
        double n = number(p, "n"), k = number(p, "k"), rows = number(p, "rows");
        if (is(p, "prefill.gemm") && o->n_gemm < 128) {
            o->gemm[o->n_gemm].flop_row = 2 * n * k;
            o->gemm[o->n_gemm].weights = n * k;
            o->gemm[o->n_gemm].rows = rows;
            o->gemm[o->n_gemm++].s = seconds(p);
        } else if (is(p, "prefill.attention") && o->n_attn < 256) {
            o->attn[o->n_attn].rows = rows;
            o->attn[o->n_attn].context = number(p, "context");
            o->attn[o->n_attn++].s = seconds(p);
        } else if (is(p, "prefill.launch")) {
            o->launch = seconds(p);
        } else {
            continue;
        }
        o->noisy |= p->noisy;
    }
}

static void fit(struct operators *o)
{
    for (unsigned i = 0; i < o->n_gemm; i++) {
        o->peak = fmax(o->peak, o->gemm[i].flop_row * o->gemm[i].rows / o->gemm[i].s);
        if (o->gemm[i].rows == 1)
            o->mem = fmax(o->mem, o->gemm[i].weights / o->gemm[i].s);
    }
    for (unsigned i = 0; i < o->n_attn; i++)
        o->attn_rate =
            fmax(o->attn_rate, o->flop_key * o->attn[i].rows *
                                   (o->attn[i].context + (o->attn[i].rows + 1) / 2) / o->attn[i].s);
    for (int pass = 0; pass < 4; pass++) {
        search(o, false, &o->half, .1, 1.1, 80);
        search(o, true, &o->tail, .1, 1.1, 100);
        search(o, true, &o->attn_half, .1, 1.1, 80);
    }
}

static json_t *figure(double value, const char *source, const char *ref, double error)
{
    return json_pack("{sf ss ss sf}", "value", value, "source", source, "ref", ref, "rel_error",
                     fmin(error, 10));
}

json_t *kvs_compute_gpu(const struct kvs_compute_of *of, const struct kvs_points *points,
                        const char **why)
{
    static const char ref[] = "kvprobe prefill, operators alone";
    struct operators *o = calloc(1, sizeof *o);
    json_t *json = NULL;
    *why = NULL;
    if (!o)
        return NULL;
    o->flop_key = 4. * of->shape->n_head * of->shape->head_dim;
    o->group = (double)of->shape->n_head / of->shape->n_kv_head;
    collect(points, o);
    fit(o);
    if (!(o->peak > 0) || !(o->mem > 0) || !(o->attn_rate > 0)) {
        *why = "GEMMs of one row and of many, and attention: want them measured";
        free(o);
        return NULL;
    }
    double noise = o->noisy ? NOISY_ERROR : 0;
    double gemm_error = fmax(noise, misfit(o, false) / o->n_gemm);
    double attn_error = fmax(noise, misfit(o, true) / o->n_attn);
    /* models say 16 bits a weight; here each lies in weight_bytes */
    json = json_pack(
        "{so so so so so so so so so so so so}", "memory_bytes",
        of->memory_bytes > 0 ? figure(of->memory_bytes, "measured", "memory of this host", 0)
                             : json_null(),
        "peak_flop_per_s", figure(o->peak, "measured", "kvprobe prefill, fastest GEMM", gemm_error),
        "mem_bytes_per_s",
        figure(o->mem * of->weight_bytes, "measured",
               "kvprobe prefill, weights of a one-row GEMM, as they lie in memory", gemm_error),
        "usable_frac", figure(.9, "assumed", "the rest is the system's", .1), "gemm_eff",
        figure(1, "measured", "of the fastest GEMM measured", gemm_error), "gemm_half_rows",
        figure(o->half, "fitted", ref, gemm_error), "mem_eff",
        figure(fmin(2. / of->weight_bytes, 1.5), "measured", "16-bit weights as they lie in memory",
               gemm_error),
        "launch_s", figure(o->launch, "measured", "kvprobe prefill, norm of one number", noise),
        "moe_eff", figure(1, "assumed", "as plain GEMMs", .5), "attn_eff",
        figure(fmin(o->attn_rate / o->peak, 1.5), "measured", ref, attn_error), "attn_half_rows",
        figure(o->attn_half, "fitted", ref, attn_error), "attn_tail_tok",
        figure(o->tail, "fitted", ref, attn_error));
    free(o);
    return json;
}
