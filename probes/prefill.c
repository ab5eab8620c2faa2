#include "prefill.h"

#include "base/hist.h"
#include "base/rng.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_EVENT 256 /* layers put on the stream at once */
#define BATCH_S 0.004 /* of work between two waits */
#define MAX_TIME 4096
#define COLD_BYTES (48u << 20)     /* more than what caches keep */
#define COLD_WAIT 4                /* cooling and work take at most so many times the work's time */
#define COLD_OPS 8                 /* but for so many operations, which are always measured */
#define OPERATOR_BYTES (96u << 20) /* of copies of a GEMM's weights */

struct kvs_prefill {
    struct kvs_prefill_config config;
    struct kvs_weights_shape shape;
    struct kvs_dev *dev;
    struct kvs_stream *stream;
    struct kvs_forward *forward;
    struct kvs_event *event[MAX_EVENT + 1];
    uint32_t *tok, *slot;
    struct kvs_buf *cold, *x, *w, *y, *pos; /* cold: the host's; the rest are operators' operands */
    double layer_s;  /* of the last layer measured: how many to put at once */
    unsigned n_time; /* operations of the run; the last ones' times */
    double time_s[MAX_TIME];
};

/* --- opening --------------------------------------------------------------------------------- */

static uint32_t of_q(const struct kvs_weights_shape *s)
{
    return s->n_head * s->head_dim;
}

static uint32_t of_kv(const struct kvs_weights_shape *s)
{
    return s->n_kv_head * s->head_dim;
}

/* Small normal numbers: time must not depend on denormals or NaN. */
static enum kvs_code fill(struct kvs_view to, size_t n_byte, enum kvs_elem elem, uint64_t seed,
                          struct kvs_err *err)
{
    enum { N = 1 << 14 };
    static const size_t at_most = N * sizeof(float);
    struct kvs_rng rng = kvs_rng_stream(seed, "prefill");
    float *room = malloc(at_most);
    enum kvs_code code = KVS_OK;
    if (!room)
        return kvs_nomem(err);
    size_t size = kvs_elem_bytes(elem);
    for (size_t i = 0; i < N; i++) {
        float x = (float)(kvs_rng_unit(&rng) - .5);
        if (elem == KVS_BF16)
            memcpy((char *)room + 2 * i, &(uint16_t){kvs_bf16_of(x)}, 2);
        else
            room[i] = x;
    }
    for (size_t at = 0; at < n_byte && !code; at += N * size) {
        size_t n = n_byte - at < N * size ? n_byte - at : N * size;
        code = kvs_buf_write(kvs_at(to.buf, to.at_bytes + at), room, n, err);
    }
    free(room);
    return code;
}

static enum kvs_code new_filled(struct kvs_prefill *p, size_t n, enum kvs_elem elem,
                                struct kvs_buf **buf, struct kvs_err *err)
{
    size_t n_byte = n * kvs_elem_bytes(elem);
    enum kvs_code code = kvs_buf_new(p->dev, KVS_MEM_DEVICE, n_byte, buf, err);
    return code ? code : fill(kvs_at(*buf, 0), n_byte, elem, p->config.seed, err);
}

/* Operands of the operators alone: the widest of each. */
static enum kvs_code open_operands(struct kvs_prefill *p, struct kvs_err *err)
{
    const struct kvs_weights_shape *s = &p->shape;
    const struct kvs_dev_info *info = kvs_dev_info(p->dev);
    size_t row = p->config.max_row, wide = 2 * (size_t)s->ffn, n_pos = row + p->config.max_ctx + 1;
    size_t weights;
    enum kvs_code code;
    if (wide < of_q(s) + 2 * (size_t)of_kv(s))
        wide = of_q(s) + 2 * (size_t)of_kv(s);
    if (wide < s->hidden)
        wide = s->hidden;
    weights = wide * s->hidden;
    if (weights < OPERATOR_BYTES / kvs_elem_bytes(info->gemm_elem))
        weights = OPERATOR_BYTES / kvs_elem_bytes(info->gemm_elem);
    if ((code = new_filled(p, row * wide, info->act_elem, &p->x, err)) ||
        (code = new_filled(p, weights, info->gemm_elem, &p->w, err)) ||
        (code = new_filled(p, row * wide, info->act_elem, &p->y, err)) ||
        (code = kvs_buf_new(p->dev, KVS_MEM_PINNED, COLD_BYTES, &p->cold, err)) ||
        (code = kvs_buf_new(p->dev, KVS_MEM_DEVICE, n_pos * sizeof(int32_t), &p->pos, err)))
        return code;
    memset(kvs_buf_host(p->cold), 0, COLD_BYTES);
    return KVS_OK;
}

static enum kvs_code open_parts(struct kvs_prefill *p, struct kvs_err *err)
{
    const struct kvs_prefill_config *c = &p->config;
    enum kvs_code code;
    if ((code = kvs_dev_open(c->backend, c->index, c->seed, &p->dev, err)) ||
        (code = kvs_stream_new(p->dev, &p->stream, err)))
        return code;
    const struct kvs_dev_info *info = kvs_dev_info(p->dev);
    struct kvs_forward_opt opt = {.max_row = c->max_row,
                                  .max_ctx = c->max_row + c->max_ctx,
                                  .max_out = c->max_out,
                                  .kv_elem = c->kv_elem,
                                  .act_elem = info->act_elem,
                                  .gemm_elem = info->gemm_elem};
    if ((code = kvs_forward_new(p->dev, c->weights, &opt, &p->forward, err)))
        return code;
    size_t n_byte = kvs_forward_slot_bytes(p->forward) * opt.max_ctx;
    for (uint32_t l = 0; l < p->shape.n_layer; l++)
        if ((code = fill(kvs_forward_k(p->forward, l), n_byte, c->kv_elem, c->seed + l, err)) ||
            (code = fill(kvs_forward_v(p->forward, l), n_byte, c->kv_elem, ~c->seed - l, err)))
            return code;
    for (int i = 0; i <= MAX_EVENT; i++)
        if ((code = kvs_event_new(p->dev, &p->event[i], err)))
            return code;
    return open_operands(p, err);
}

enum kvs_code kvs_prefill_open(const struct kvs_prefill_config *config,
                               struct kvs_prefill **prefill, struct kvs_err *err)
{
    struct kvs_prefill *p = calloc(1, sizeof *p);
    enum kvs_code code;
    *prefill = NULL;
    if (!p)
        return kvs_nomem(err);
    p->config = *config;
    p->shape = *kvs_weights_shape(config->weights);
    p->tok = calloc(config->max_row, sizeof *p->tok);
    p->slot = calloc(config->max_row, sizeof *p->slot);
    code = p->tok && p->slot ? open_parts(p, err) : kvs_nomem(err);
    if (code) {
        kvs_prefill_close(p);
        return code;
    }
    assert(p->tok);
    struct kvs_rng rng = kvs_rng_stream(config->seed, "tokens");
    for (uint32_t i = 0; i < config->max_row; i++)
        p->tok[i] = (uint32_t)kvs_rng_below(&rng, p->shape.n_vocab);
    *prefill = p;
    return KVS_OK;
}

void kvs_prefill_close(struct kvs_prefill *p)
{
    if (!p)
        return;
    struct kvs_buf *const bufs[] = {p->cold, p->x, p->w, p->y, p->pos};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0];
         i++) /* NOLINT(bugprone-sizeof-expression) */
        kvs_buf_free(bufs[i]);
    for (int i = 0; i <= MAX_EVENT; i++)
        kvs_event_free(p->event[i]);
    kvs_forward_free(p->forward);
    kvs_stream_free(p->stream);
    kvs_dev_close(p->dev);
    free(p->tok);
    free(p->slot);
    free(p);
}

const struct kvs_dev_info *kvs_prefill_device(const struct kvs_prefill *p)
{
    return kvs_dev_info(p->dev);
}

/* --- points ---------------------------------------------------------------------------------- */

static uint32_t number(const struct kvs_point *point, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(point->params, key));
    return n < 0 || n > UINT32_MAX / 4 ? 0 : (uint32_t)n;
}

static bool is(const struct kvs_point *point, const char *probe)
{
    return strcmp(point->probe, probe) == 0;
}

uint64_t kvs_prefill_bytes(const struct kvs_weights_shape *s, const struct kvs_point *point)
{
    uint64_t rows = number(point, "rows"), kv = 2 * 2 * (uint64_t)of_kv(s);
    if (is(point, "prefill.layer") || is(point, "prefill.kv"))
        return rows * kv;
    if (is(point, "prefill.head"))
        return rows * s->n_vocab * sizeof(float);
    if (is(point, "prefill.gemm"))
        return rows * number(point, "n") * sizeof(float);
    return rows * (is(point, "prefill.attention") ? of_q(s) : s->hidden) * sizeof(float);
}

/* One operation took s seconds. */
static void count(struct kvs_prefill *p, struct kvs_sample *sample, const struct kvs_point *point,
                  double s)
{
    p->time_s[p->n_time++ % MAX_TIME] = s;
    sample->secs += s;
    sample->ops++;
    sample->bytes += point->size_bytes;
    kvs_hist_add(&sample->lat_ns, (uint64_t)(s * 1e9));
}

static bool is_over(const struct kvs_prefill *p, const struct kvs_sample *sample, double secs)
{
    return (sample->ops && sample->secs >= secs) || (p->config.stop && *p->config.stop);
}

static enum kvs_code begin(struct kvs_prefill *p, uint32_t rows, uint32_t context,
                           struct kvs_err *err)
{
    for (uint32_t r = 0; r < rows; r++)
        p->slot[r] = context + r;
    return kvs_forward_begin(p->forward, p->stream, p->tok, p->slot, rows, NULL, context + rows,
                             err);
}

/* What n layers take that stand between n + 1 events; waits for them. */
static enum kvs_code take(struct kvs_prefill *p, const struct kvs_point *point, uint32_t n,
                          struct kvs_sample *sample, struct kvs_err *err)
{
    enum kvs_code code = kvs_stream_sync(p->stream, err);
    for (uint32_t i = 0; i < n && !code; i++) {
        int64_t ns;
        code = kvs_event_elapsed(p->event[i], p->event[i + 1], &ns, err);
        if (!code)
            count(p, sample, point, (double)ns / 1e9);
        p->layer_s = (double)ns / 1e9;
    }
    return code;
}

static enum kvs_code run_layers(struct kvs_prefill *p, const struct kvs_point *point, double secs,
                                struct kvs_sample *sample, struct kvs_err *err)
{
    uint32_t rows = number(point, "rows"), context = number(point, "context");
    enum kvs_code code = KVS_OK;
    p->layer_s = secs;
    while (!code && !is_over(p, sample, secs)) {
        uint32_t l = 0;
        code = begin(p, rows, context, err);
        while (l < p->shape.n_layer && !code && (!l || !is_over(p, sample, secs))) {
            double fit = p->layer_s > 0 ? BATCH_S / p->layer_s : MAX_EVENT;
            uint32_t n = fit < 1 ? 1 : fit > MAX_EVENT ? MAX_EVENT : (uint32_t)fit;
            n = n < p->shape.n_layer - l ? n : p->shape.n_layer - l;
            code = kvs_stream_record(p->stream, p->event[0], err);
            for (uint32_t i = 0; i < n && !code; i++)
                if (!(code = kvs_forward_layer(p->forward, p->stream, NULL, 0, err)))
                    code = kvs_stream_record(p->stream, p->event[i + 1], err);
            enum kvs_code waited = take(p, point, code ? 0 : n, sample, err);
            code = code ? code : waited;
            l += n;
        }
    }
    return code;
}

/* Weights and cache out of the processor's caches, as after the layers before. */
static void cool(struct kvs_prefill *p)
{
    volatile unsigned char *at = kvs_buf_host(p->cold);
    for (size_t i = 0; i < COLD_BYTES; i += 64)
        at[i]++;
}

static enum kvs_code run_kv(struct kvs_prefill *p, const struct kvs_point *point, double secs,
                            struct kvs_sample *sample, struct kvs_err *err)
{
    uint32_t rows = number(point, "rows");
    enum kvs_code code = KVS_OK;
    int64_t end_ns = kvs_now_ns() + (int64_t)(COLD_WAIT * secs * 1e9);
    while (!code && !is_over(p, sample, secs) &&
           (sample->ops < COLD_OPS || kvs_now_ns() < end_ns)) {
        cool(p);
        if ((code = begin(p, rows, 0, err)) ||
            (code = kvs_stream_record(p->stream, p->event[0], err)) ||
            (code = kvs_forward_layer(p->forward, p->stream, &(uint32_t){0}, 0, err)) ||
            (code = kvs_stream_record(p->stream, p->event[1], err)))
            return code;
        code = take(p, point, 1, sample, err);
    }
    return code;
}

/* The batch set up on the host, and its tokens' embeddings on the device: by the wall clock. */
static enum kvs_code run_begin(struct kvs_prefill *p, const struct kvs_point *point, double secs,
                               struct kvs_sample *sample, struct kvs_err *err)
{
    uint32_t rows = number(point, "rows");
    enum kvs_code code = KVS_OK;
    while (!code && !is_over(p, sample, secs)) {
        int64_t from_ns = kvs_now_ns();
        code = begin(p, rows, 0, err);
        enum kvs_code waited = kvs_stream_sync(p->stream, err);
        code = code ? code : waited;
        count(p, sample, point, (double)(kvs_now_ns() - from_ns) / 1e9);
    }
    return code;
}

static enum kvs_code run_head(struct kvs_prefill *p, const struct kvs_point *point, double secs,
                              struct kvs_sample *sample, struct kvs_err *err)
{
    uint32_t rows = number(point, "rows");
    struct kvs_view logits;
    enum kvs_code code = begin(p, rows, 0, err);
    for (uint32_t l = 0; l < p->shape.n_layer && !code; l++)
        code = kvs_forward_layer(p->forward, p->stream, NULL, 0, err);
    while (!code && !is_over(p, sample, secs)) {
        cool(p);
        if ((code = kvs_stream_record(p->stream, p->event[0], err)) ||
            (code = kvs_forward_logits(p->forward, p->stream, rows, &logits, err)) ||
            (code = kvs_stream_record(p->stream, p->event[1], err)))
            break;
        code = take(p, point, 1, sample, err);
    }
    enum kvs_code waited = kvs_stream_sync(p->stream, err);
    return code ? code : waited;
}

/* --- operators alone ------------------------------------------------------------------------- */

typedef enum kvs_code put_fn(struct kvs_prefill *p, const struct kvs_point *point, uint32_t turn,
                             struct kvs_err *err);

/* Each turn takes another copy of the weights, as another layer would. */
static enum kvs_code put_gemm(struct kvs_prefill *p, const struct kvs_point *point, uint32_t turn,
                              struct kvs_err *err)
{
    const struct kvs_dev_info *info = kvs_dev_info(p->dev);
    uint32_t n = number(point, "n"), k = number(point, "k");
    size_t each = (size_t)n * k * kvs_elem_bytes(info->gemm_elem);
    size_t n_copy = each ? kvs_buf_bytes(p->w) / each : 1;
    struct kvs_gemm op = {.y = kvs_at(p->y, 0),
                          .x = kvs_at(p->x, 0),
                          .w = kvs_at(p->w, n_copy ? turn % n_copy * each : 0),
                          .y_elem = info->act_elem,
                          .x_elem = info->act_elem,
                          .w_elem = info->gemm_elem,
                          .m = number(point, "rows"),
                          .n = n,
                          .k = k,
                          .y_stride = n,
                          .x_stride = k,
                          .w_stride = k};
    return kvs_stream_gemm(p->stream, &op, err);
}

static enum kvs_code put_attention(struct kvs_prefill *p, const struct kvs_point *point,
                                   uint32_t turn, struct kvs_err *err)
{
    const struct kvs_weights_shape *s = &p->shape;
    const struct kvs_dev_info *info = kvs_dev_info(p->dev);
    uint32_t rows = number(point, "rows"), context = number(point, "context");
    uint32_t l = turn % s->n_layer;
    struct kvs_attn op = {.y = kvs_at(p->y, 0),
                          .q = kvs_at(p->x, 0),
                          .k = kvs_forward_k(p->forward, l),
                          .v = kvs_forward_v(p->forward, l),
                          .q_pos = kvs_at(p->pos, context * sizeof(int32_t)),
                          .kv_pos = kvs_at(p->pos, 0),
                          .y_elem = info->act_elem,
                          .q_elem = info->act_elem,
                          .kv_elem = p->config.kv_elem,
                          .n_q = rows,
                          .n_kv = context + rows,
                          .n_head = s->n_head,
                          .n_kv_head = s->n_kv_head,
                          .head_dim = s->head_dim,
                          .y_stride = of_q(s),
                          .q_stride = of_q(s),
                          .kv_stride = of_kv(s),
                          .scale = (float)(1 / sqrt(s->head_dim))};
    return kvs_stream_attn(p->stream, &op, err);
}

/* The least there is to do: one row's norm. */
static enum kvs_code put_launch(struct kvs_prefill *p, const struct kvs_point *point, uint32_t turn,
                                struct kvs_err *err)
{
    struct kvs_rmsnorm op = {.y = kvs_at(p->y, 0),
                             .x = kvs_at(p->pos, 0),
                             .w = kvs_at(p->pos, 0),
                             .y_elem = kvs_dev_info(p->dev)->act_elem,
                             .n_row = 1,
                             .n = 1,
                             .eps = 1};
    (void)point;
    (void)turn;
    return kvs_stream_rmsnorm(p->stream, &op, err);
}

static enum kvs_code write_positions(struct kvs_prefill *p, uint32_t n, struct kvs_err *err)
{
    int32_t *pos = calloc(n, sizeof *pos);
    if (!pos)
        return kvs_nomem(err);
    for (uint32_t i = 0; i < n; i++)
        pos[i] = (int32_t)i;
    enum kvs_code code = kvs_buf_write(kvs_at(p->pos, 0), pos, n * sizeof *pos, err);
    free(pos);
    return code;
}

static enum kvs_code run_operator(struct kvs_prefill *p, const struct kvs_point *point, double secs,
                                  put_fn *put, struct kvs_sample *sample, struct kvs_err *err)
{
    uint32_t turn = 0, n = 1;
    enum kvs_code code =
        write_positions(p, number(point, "rows") + number(point, "context") + 1, err);
    while (!code && !is_over(p, sample, secs)) {
        code = kvs_stream_record(p->stream, p->event[0], err);
        for (uint32_t i = 0; i < n && !code; i++)
            if (!(code = put(p, point, turn++, err)))
                code = kvs_stream_record(p->stream, p->event[i + 1], err);
        enum kvs_code waited = take(p, point, code ? 0 : n, sample, err);
        code = code ? code : waited;
        n = p->layer_s * MAX_EVENT < BATCH_S ? MAX_EVENT : (uint32_t)(BATCH_S / p->layer_s);
        n = n ? n : 1;
    }
    return code;
}

/* --- run ------------------------------------------------------------------------------------- */

static enum kvs_code check_point(const struct kvs_prefill *p, const struct kvs_point *point,
                                 struct kvs_err *err)
{
    uint32_t rows = number(point, "rows"), context = number(point, "context");
    uint64_t elements = (uint64_t)number(point, "n") * number(point, "k");
    const struct kvs_dev_info *info = kvs_dev_info(p->dev);
    if (rows == 0 || rows > p->config.max_row || context > p->config.max_ctx)
        return kvs_fail(err, KVS_ERR_RANGE, "%u rows behind %u tokens; want 1 to %u behind %u",
                        rows, context, p->config.max_row, p->config.max_ctx);
    if (is(point, "prefill.gemm") &&
        (elements == 0 || elements * kvs_elem_bytes(info->gemm_elem) > kvs_buf_bytes(p->w)))
        return kvs_fail(err, KVS_ERR_RANGE, "a matrix of %u x %u: want one of the model's",
                        number(point, "n"), number(point, "k"));
    return KVS_OK;
}

static double median_s(struct kvs_prefill *p)
{
    unsigned n = p->n_time < MAX_TIME ? p->n_time : MAX_TIME;
    return kvs_middle(p->time_s, n); /* NaN: nothing ran */
}

enum kvs_code kvs_prefill_run(void *self, struct kvs_point *point, double secs,
                              struct kvs_sample *sample, struct kvs_err *err)
{
    struct kvs_prefill *p = self;
    enum kvs_code code = check_point(p, point, err);
    double cpu_ns = kvs_cpu_ns();
    if (code)
        return code;
    p->n_time = 0;
    if (is(point, "prefill.layer"))
        code = run_layers(p, point, secs, sample, err);
    else if (is(point, "prefill.kv"))
        code = run_kv(p, point, secs, sample, err);
    else if (is(point, "prefill.begin"))
        code = run_begin(p, point, secs, sample, err);
    else if (is(point, "prefill.head"))
        code = run_head(p, point, secs, sample, err);
    else
        code = run_operator(p, point, secs,
                            is(point, "prefill.gemm")        ? put_gemm
                            : is(point, "prefill.attention") ? put_attention
                                                             : put_launch,
                            sample, err);
    sample->cpu_ns = kvs_cpu_ns() - cpu_ns;
    double usual_s = median_s(p);
    sample->bytes_per_s = usual_s > 0 ? (double)point->size_bytes / usual_s : 0;
    return code;
}
