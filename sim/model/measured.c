#include "measured.h"

#include "base/arena.h"

#include <assert.h>
#include <math.h>

#define N(table) ((unsigned)(sizeof(table) / sizeof *(table)))
#define MAX_POINT 64
#define MAX_SECONDS 1e6

/* --- reading --------------------------------------------------------------------------------- */

struct shape_file {
    uint64_t hidden, heads, kv_heads, head_dim, ffn, vocab;
};

#define AT(field) offsetof(struct shape_file, field)
#define SIZE(key, help)                                                                            \
    {                                                                                              \
#key, KVS_OPT_U64, AT(key), NULL, 1, 1u << 30, help, NULL, true, 0                         \
    }
static const struct kvs_opt shape_table[] = {
    SIZE(hidden, "of the model"),         SIZE(heads, "of queries"),
    SIZE(kv_heads, "of keys and values"), SIZE(head_dim, "of each"),
    SIZE(ffn, "of the gated MLP"),        SIZE(vocab, "of the logits"),
};
#undef AT

struct file {
    const char *model, *device, *ref;
    int source;
    double rel_error;
    struct kvs_json layer, row, context, linear, attention, kv, begin, out, head;
};

static const char *const source_names[] = {"assumed", "published", "fitted", "measured", NULL};

#define AT(field) offsetof(struct file, field)
static const struct kvs_opt table[] = {
    {"model", KVS_OPT_STR, AT(model), NULL, 0, 0, "whose layers", NULL, true, 0},
    {"device", KVS_OPT_STR, AT(device), NULL, 0, 0, "on what, elements and threads", NULL, true, 0},
    {"source", KVS_OPT_ENUM, AT(source), NULL, 0, 0, "where the times come from", source_names,
     true, 0},
    {"ref", KVS_OPT_STR, AT(ref), NULL, 0, 0, "command, or reason", NULL, true, 0},
    {"rel_error", KVS_OPT_DOUBLE, AT(rel_error), "0", 0, 10, "relative error bar", NULL, false, 0},
    {"layer", KVS_OPT_NODE, AT(layer), NULL, 0, 0, "the layers' shape", NULL, true, 0},
    {"row_tok", KVS_OPT_NODE, AT(row), NULL, 0, 0, "rows of a batch", NULL, true, 0},
    {"context_tok", KVS_OPT_NODE, AT(context), NULL, 0, 0, "tokens before them", NULL, true, 0},
    {"linear_s", KVS_OPT_NODE, AT(linear), NULL, 0, 0, "by rows", NULL, true, 0},
    {"attention_s", KVS_OPT_NODE, AT(attention), NULL, 0, 0, "by rows, then context", NULL, true,
     0},
    {"kv_s", KVS_OPT_NODE, AT(kv), NULL, 0, 0, "by rows", NULL, true, 0},
    {"begin_s", KVS_OPT_NODE, AT(begin), NULL, 0, 0, "by rows", NULL, true, 0},
    {"out_row", KVS_OPT_NODE, AT(out), NULL, 0, 0, "rows of logits", NULL, true, 0},
    {"head_s", KVS_OPT_NODE, AT(head), NULL, 0, 0, "by rows of logits", NULL, true, 0},
};
#undef AT

/* n numbers into to, each at least low. */
static enum kvs_code read_numbers(struct kvs_json array, size_t n, double low, double *to,
                                  struct kvs_err *err)
{
    enum kvs_code code = kvs_json_array(array, err);

    if (!code && kvs_json_size(array) != n)
        return kvs_json_fail(array, err, KVS_ERR_RANGE, "found %zu numbers, want %zu",
                             kvs_json_size(array), n);
    for (size_t i = 0; i < n && !code; i++)
        code = kvs_json_double(kvs_json_at(array, i), low, 1e9, &to[i], err);
    return code;
}

static double *room_for(struct kvs_json node, size_t n)
{
    return kvs_arena_alloc(kvs_doc_arena(node.doc), n, sizeof(double));
}

/* Coordinates: ascending from first. */
static enum kvs_code read_axis(struct kvs_json array, double first, uint32_t at_least,
                               const double **out, uint32_t *n_out, struct kvs_err *err)
{
    enum kvs_code code = kvs_json_array(array, err);
    size_t n = code ? 0 : kvs_json_size(array);

    if (code)
        return code;
    if (n < at_least || n > MAX_POINT)
        return kvs_json_fail(array, err, KVS_ERR_RANGE, "found %zu numbers, want %u to %d", n,
                             at_least, MAX_POINT);
    double *to = room_for(array, n);
    if (!to)
        return kvs_nomem(err);
    if ((code = read_numbers(array, n, 0, to, err)))
        return code;
    for (size_t i = 0; i < n; i++)
        if (i ? to[i] <= to[i - 1] : to[i] != first)
            return kvs_json_fail(kvs_json_at(array, i), err, KVS_ERR_PARSE,
                                 "found %g, want numbers that ascend from %g", to[i], first);
    *out = to;
    *n_out = (uint32_t)n;
    return KVS_OK;
}

/* Seconds by rows: positive, and never falling. */
static enum kvs_code read_seconds(struct kvs_json array, uint32_t n, double *to,
                                  struct kvs_err *err)
{
    enum kvs_code code = read_numbers(array, n, 0, to, err);

    for (uint32_t i = 0; i < n && !code; i++)
        if (to[i] <= 0 || to[i] > MAX_SECONDS || (i && to[i] < to[i - 1]))
            code = kvs_json_fail(kvs_json_at(array, i), err, KVS_ERR_RANGE,
                                 "found %g, want seconds above 0 that never fall", to[i]);
    return code;
}

static enum kvs_code read_curve(struct kvs_json array, uint32_t n, const double **out,
                                struct kvs_err *err)
{
    double *to = room_for(array, n);

    *out = to;
    return to ? read_seconds(array, n, to, err) : kvs_nomem(err);
}

static enum kvs_code read_surface(struct kvs_json array, struct kvs_measured *m,
                                  struct kvs_err *err)
{
    enum kvs_code code = kvs_json_array(array, err);
    uint32_t n = m->n_context;
    double *to = room_for(array, (size_t)m->n_row * n);

    m->attention_s = to;
    if (code || !to)
        return code ? code : kvs_nomem(err);
    if (kvs_json_size(array) != m->n_row)
        return kvs_json_fail(array, err, KVS_ERR_RANGE, "found %zu lists, want one a row: %u",
                             kvs_json_size(array), m->n_row);
    for (uint32_t i = 0; i < m->n_row && !code; i++) {
        struct kvs_json list = kvs_json_at(array, i);

        code = read_seconds(list, n, to + (size_t)i * n, err);
        for (uint32_t c = 0; c < n && i && !code; c++)
            if (to[(size_t)i * n + c] < to[(size_t)(i - 1) * n + c])
                code = kvs_json_fail(kvs_json_at(list, c), err, KVS_ERR_RANGE,
                                     "found %g, less than with fewer rows", to[(size_t)i * n + c]);
    }
    return code;
}

/* K and V alone are a part of the layer. */
static enum kvs_code check_parts(struct kvs_json node, const struct kvs_measured *m,
                                 struct kvs_err *err)
{
    for (uint32_t i = 0; i < m->n_row; i++)
        if (m->kv_s[i] > m->linear_s[i])
            return kvs_json_fail(kvs_json_at(kvs_json_get(node, "kv_s"), i), err, KVS_ERR_RANGE,
                                 "found %g, more than linear_s", m->kv_s[i]);
    return KVS_OK;
}

enum kvs_code kvs_measured_json(struct kvs_json node, struct kvs_measured *m, struct kvs_err *err)
{
    struct file f;
    struct shape_file shape;
    enum kvs_code code;

    *m = (struct kvs_measured){0};
    if ((code = kvs_json_object(node, err)) ||
        (code = kvs_opt_json(table, N(table), node, &f, err)) ||
        (code = kvs_json_object(f.layer, err)) ||
        (code = kvs_opt_json(shape_table, N(shape_table), f.layer, &shape, err)) ||
        (code = read_axis(f.row, 1, 1, &m->row_tok, &m->n_row, err)) ||
        (code = read_axis(f.context, 0, 2, &m->context_tok, &m->n_context, err)) ||
        (code = read_axis(f.out, 1, 1, &m->out_row, &m->n_out, err)) ||
        (code = read_curve(f.linear, m->n_row, &m->linear_s, err)) ||
        (code = read_surface(f.attention, m, err)) ||
        (code = read_curve(f.kv, m->n_row, &m->kv_s, err)) ||
        (code = read_curve(f.begin, m->n_row, &m->begin_s, err)) ||
        (code = read_curve(f.head, m->n_out, &m->head_s, err)) ||
        (code = check_parts(node, m, err)))
        return code;
    m->model = f.model;
    m->device = f.device;
    m->ref = f.ref;
    m->source = (enum kvs_source)f.source;
    m->rel_error = f.rel_error;
    m->hidden = (uint32_t)shape.hidden;
    m->heads = (uint32_t)shape.heads;
    m->kv_heads = (uint32_t)shape.kv_heads;
    m->head_dim = (uint32_t)shape.head_dim;
    m->ffn = (uint32_t)shape.ffn;
    m->vocab = (uint32_t)shape.vocab;
    return KVS_OK;
}

/* --- times between points -------------------------------------------------------------------- */

/* The last of n >= 1 ascending coordinates that is at most at; 0 if none is. */
static uint32_t stretch(const double *x, uint32_t n, double at)
{
    uint32_t i = 0;

    while (i + 1 < n && x[i + 1] <= at)
        i++;
    return i;
}

/* A power law between (x0, y0) and (x1, y1), all positive. */
static double power(double x0, double y0, double x1, double y1, double at)
{
    return at == x0 ? y0 : y0 * pow(y1 / y0, log(at / x0) / log(x1 / x0));
}

static double curve(const double *x, const double *y, uint32_t n, double at)
{
    uint32_t i = stretch(x, n, at);

    if (at <= x[0])
        return y[0];
    return i + 1 < n ? power(x[i], y[i], x[i + 1], y[i + 1], at) : y[i] * (at / x[i]);
}

double kvs_measured_linear_s(const struct kvs_measured *m, double n_row)
{
    return curve(m->row_tok, m->linear_s, m->n_row, n_row);
}

double kvs_measured_kv_s(const struct kvs_measured *m, double n_row)
{
    return curve(m->row_tok, m->kv_s, m->n_row, n_row);
}

double kvs_measured_begin_s(const struct kvs_measured *m, double n_row)
{
    return curve(m->row_tok, m->begin_s, m->n_row, n_row);
}

double kvs_measured_head_s(const struct kvs_measured *m, double n_out)
{
    return curve(m->out_row, m->head_s, m->n_out, n_out);
}

/* Attention of a measured number of rows behind any context. Beyond the last one it grows as on the
 * last stretch, of these rows or of fewer, whichever is steeper: more rows never take less. */
static double behind(const struct kvs_measured *m, uint32_t row_i, double context_tok)
{
    const double *y = m->attention_s + (size_t)row_i * m->n_context, *x = m->context_tok;
    uint32_t n = m->n_context, c = stretch(x, n, context_tok);
    double grown = 0;

    if (c + 1 < n)
        return y[c] + (y[c + 1] - y[c]) * ((context_tok - x[c]) / (x[c + 1] - x[c]));
    for (uint32_t i = 0; i <= row_i; i++)
        grown =
            fmax(grown, m->attention_s[(size_t)i * n + c] - m->attention_s[(size_t)i * n + c - 1]);
    return y[c] + grown * ((context_tok - x[c]) / (x[c] - x[c - 1]));
}

double kvs_measured_attention_s(const struct kvs_measured *m, double n_row, double context_tok)
{
    uint32_t i = stretch(m->row_tok, m->n_row, n_row);
    double last = m->row_tok[i];

    assert(context_tok >= 0);
    if (n_row <= m->row_tok[0])
        return behind(m, 0, context_tok);
    if (i + 1 == m->n_row)
        return n_row / last * behind(m, i, context_tok + (n_row - last) / 2);
    return power(last, behind(m, i, context_tok), m->row_tok[i + 1], behind(m, i + 1, context_tok),
                 n_row);
}
