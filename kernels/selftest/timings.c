/*
 * timings.c - rates of copies and operators over sizes, by the stream's own events.
 *
 * A row is the median of N_REPEAT runs after one that warms up, with the shortest and longest.
 * Sizes of an operator grow until a run takes too long here.
 */
#include "parts.h"

#include "base/hist.h"

#include <math.h>
#include <stdlib.h>

enum { N_REPEAT = 7 };

struct bench {
    struct kvs_dev *dev;
    struct kvs_stream *stream;
    struct kvs_event *from, *to;
    struct kvs_buf *a, *b, *c, *d, *pos, *freq, *host;
    json_t *rows;
    double most_s;
};

/* Puts one run of size n on the stream; *work: its bytes or operations. */
typedef enum kvs_code run_fn(struct bench *b, uint32_t n, double *work, struct kvs_err *err);

enum { WIDE = 2048, MOST_ROWS = 4096, HEADS = 8, KV_HEADS = 2 };
static const size_t room = (size_t)WIDE * MOST_ROWS * sizeof(float); /* of a to d and host */

static enum kvs_code copy_in(struct bench *b, uint32_t n, double *work, struct kvs_err *err)
{
    *work = n;
    return kvs_stream_copy(b->stream, kvs_at(b->a, 0), kvs_at(b->host, 0), n, err);
}

static enum kvs_code copy_out(struct bench *b, uint32_t n, double *work, struct kvs_err *err)
{
    *work = n;
    return kvs_stream_copy(b->stream, kvs_at(b->host, 0), kvs_at(b->a, 0), n, err);
}

static enum kvs_code gemm(struct bench *b, uint32_t n, double *work, struct kvs_err *err)
{
    const struct kvs_dev_info *info = kvs_dev_info(b->dev);
    struct kvs_gemm op = {.y = kvs_at(b->c, 0),
                          .x = kvs_at(b->a, 0),
                          .w = kvs_at(b->b, 0),
                          .y_elem = info->act_elem,
                          .x_elem = info->act_elem,
                          .w_elem = info->gemm_elem,
                          .m = n,
                          .n = WIDE,
                          .k = WIDE,
                          .y_stride = WIDE,
                          .x_stride = WIDE,
                          .w_stride = WIDE};

    *work = 2. * n * WIDE * WIDE;
    return kvs_stream_gemm(b->stream, &op, err);
}

static enum kvs_code attn(struct bench *b, uint32_t n, uint32_t dim, double *work,
                          struct kvs_err *err)
{
    enum kvs_elem elem = kvs_dev_info(b->dev)->act_elem;
    struct kvs_attn op = {.y = kvs_at(b->d, 0),
                          .q = kvs_at(b->a, 0),
                          .k = kvs_at(b->b, 0),
                          .v = kvs_at(b->c, 0),
                          .q_pos = kvs_at(b->pos, 0),
                          .kv_pos = kvs_at(b->pos, 0),
                          .y_elem = elem,
                          .q_elem = elem,
                          .kv_elem = elem,
                          .n_q = n,
                          .n_kv = n,
                          .n_head = HEADS,
                          .n_kv_head = KV_HEADS,
                          .head_dim = dim,
                          .y_stride = HEADS * dim,
                          .q_stride = HEADS * dim,
                          .kv_stride = KV_HEADS * dim,
                          .scale = (float)(1 / sqrt(dim))};

    /* causal: (n + 1) / 2 keys a query; Q K^T and P V, two operations a product */
    *work = 4. * HEADS * dim * n * (n + 1.) / 2;
    return kvs_stream_attn(b->stream, &op, err);
}

static enum kvs_code attn_64(struct bench *b, uint32_t n, double *work, struct kvs_err *err)
{
    return attn(b, n, 64, work, err);
}

static enum kvs_code attn_128(struct bench *b, uint32_t n, double *work, struct kvs_err *err)
{
    return attn(b, n, 128, work, err);
}

static enum kvs_code rmsnorm(struct bench *b, uint32_t n, double *work, struct kvs_err *err)
{
    struct kvs_rmsnorm op = {
        kvs_at(b->c, 0), kvs_at(b->a, 0), kvs_at(b->b, 0), KVS_F32, n, WIDE, 1e-5f};

    *work = 2. * n * WIDE * sizeof(float);
    return kvs_stream_rmsnorm(b->stream, &op, err);
}

static enum kvs_code rope(struct bench *b, uint32_t n, double *work, struct kvs_err *err)
{
    struct kvs_rope op = {kvs_at(b->c, 0),
                          kvs_at(b->pos, 0),
                          kvs_at(b->freq, 0),
                          KVS_F32,
                          KVS_ROPE_ADJACENT,
                          n,
                          WIDE / 64,
                          64,
                          WIDE};

    *work = 2. * n * WIDE * sizeof(float);
    return kvs_stream_rope(b->stream, &op, err);
}

static enum kvs_code swiglu(struct bench *b, uint32_t n, double *work, struct kvs_err *err)
{
    struct kvs_swiglu op = {
        kvs_at(b->c, 0), kvs_at(b->a, 0), kvs_at(b->b, 0), KVS_F32, KVS_F32, n, WIDE, WIDE, WIDE};

    *work = 3. * n * WIDE * sizeof(float);
    return kvs_stream_swiglu(b->stream, &op, err);
}

static enum kvs_code add(struct bench *b, uint32_t n, double *work, struct kvs_err *err)
{
    struct kvs_add op = {kvs_at(b->c, 0), kvs_at(b->a, 0), KVS_F32, (size_t)n * WIDE};

    *work = 3. * n * WIDE * sizeof(float);
    return kvs_stream_add(b->stream, &op, err);
}

static enum kvs_code rows(struct bench *b, uint32_t n, double *work, struct kvs_err *err)
{
    struct kvs_rows op = {.dst = kvs_at(b->c, 0),
                          .src = kvs_at(b->a, 0),
                          .src_i = kvs_at(b->pos, 0),
                          .dst_elem = KVS_U8,
                          .src_elem = KVS_U8,
                          .n_row = n,
                          .n_dst_row = n,
                          .n_src_row = MOST_ROWS,
                          .n = 4 * WIDE,
                          .dst_stride = 4 * WIDE,
                          .src_stride = 4 * WIDE};

    *work = 2. * n * WIDE * 4;
    return kvs_stream_rows(b->stream, &op, err);
}

static const struct timing {
    const char *what, *unit;
    run_fn *run;
    uint32_t first, last, grow;
} timings[] = {
    {"copy from pinned memory, bytes", "byte/s", copy_in, 4096, 32 << 20, 8},
    {"copy to pinned memory, bytes", "byte/s", copy_out, 4096, 32 << 20, 8},
    {"gemm n x 2048 x 2048", "FLOP/s", gemm, 1, 4096, 8},
    {"attention of n, 8 / 2 heads of 64", "FLOP/s", attn_64, 64, 4096, 4},
    {"attention of n, 8 / 2 heads of 128", "FLOP/s", attn_128, 64, 4096, 4},
    {"rmsnorm n x 2048", "byte/s", rmsnorm, 1, 4096, 16},
    {"rope n x 32 heads of 64", "byte/s", rope, 1, 4096, 16},
    {"swiglu n x 2048", "byte/s", swiglu, 1, 4096, 16},
    {"add n x 2048", "byte/s", add, 1, 4096, 16},
    {"gather n rows of 8 KiB", "byte/s", rows, 1, 4096, 16},
};

static enum kvs_code one_run(struct bench *b, const struct timing *t, uint32_t n, double *s,
                             double *work, struct kvs_err *err)
{
    int64_t ns = 0;
    enum kvs_code code;

    if ((code = kvs_stream_record(b->stream, b->from, err)) || (code = t->run(b, n, work, err)) ||
        (code = kvs_stream_record(b->stream, b->to, err)) ||
        (code = kvs_stream_sync(b->stream, err)) ||
        (code = kvs_event_elapsed(b->from, b->to, &ns, err)))
        return code;
    *s = (double)ns * 1e-9;
    return KVS_OK;
}

/* Sizes of one operator. What the back end does not offer gives no row. */
static enum kvs_code time_one(struct bench *b, const struct timing *t, struct kvs_err *err)
{
    for (uint32_t n = t->first; n <= t->last; n *= t->grow) {
        double s[N_REPEAT], work = 0, warm = 0;
        struct kvs_err why = {0};
        enum kvs_code code = one_run(b, t, n, &warm, &work, &why);
        if (code == KVS_ERR_ABSENT)
            return KVS_OK;
        int n_run = warm * N_REPEAT > b->most_s ? 1 : N_REPEAT;
        for (int i = 0; i < n_run && !code; i++)
            code = one_run(b, t, n, &s[i], &work, &why);
        if (code)
            return kvs_fail(err, code, "%s, n %u: %s", t->what, n, why.msg);
        qsort(s, (size_t)n_run, sizeof *s, kvs_cmp_double);
        double middle = s[n_run / 2];
        json_t *row =
            json_pack("{s:s, s:I, s:f, s:f, s:f, s:i, s:f, s:s}", "what", t->what, "n",
                      (json_int_t)n, "median_s", middle, "low_s", s[0], "high_s", s[n_run - 1],
                      "repeats", n_run, "rate", middle > 0 ? work / middle : 0., "unit", t->unit);
        if (!row || json_array_append_new(b->rows, row))
            return kvs_nomem(err);
        if (middle * t->grow * (N_REPEAT + 1) > b->most_s)
            break;
    }
    return KVS_OK;
}

/* Normal-sized finite values for every element type: 0x3c00-ish words, small as bf16 and as f32. */
static enum kvs_code filled(struct kvs_dev *dev, struct kvs_buf **buf, struct kvs_err *err)
{
    enum kvs_code code = kvs_buf_new(dev, KVS_MEM_DEVICE, room, buf, err);
    uint32_t *data = malloc(room);

    if (!data && !code)
        code = kvs_nomem(err);
    for (size_t i = 0; data && i < room / 4; i++) {
        uint32_t low = 0x3c00u | (uint32_t)(i * 40503u % 0x180u);
        data[i] = (i % 2 ? 0x80008000u : 0) | low << 16 | low;
    }
    if (!code)
        code = kvs_buf_write(kvs_at(*buf, 0), data, room, err);
    free(data);
    return code;
}

static enum kvs_code bench_new(struct bench *b, struct kvs_err *err)
{
    int32_t pos[MOST_ROWS];
    double freq[32];
    enum kvs_code code;

    for (int i = 0; i < MOST_ROWS; i++)
        pos[i] = i;
    for (int i = 0; i < 32; i++)
        freq[i] = pow(10000, -i / 32.);
    if ((code = kvs_stream_new(b->dev, &b->stream, err)) ||
        (code = kvs_event_new(b->dev, &b->from, err)) ||
        (code = kvs_event_new(b->dev, &b->to, err)) || (code = filled(b->dev, &b->a, err)) ||
        (code = filled(b->dev, &b->b, err)) || (code = filled(b->dev, &b->c, err)) ||
        (code = filled(b->dev, &b->d, err)) ||
        (code = kvs_buf_new(b->dev, KVS_MEM_PINNED, room, &b->host, err)) ||
        (code = kvs_buf_new(b->dev, KVS_MEM_DEVICE, sizeof pos, &b->pos, err)) ||
        (code = kvs_buf_new(b->dev, KVS_MEM_DEVICE, sizeof freq, &b->freq, err)) ||
        (code = kvs_buf_write(kvs_at(b->pos, 0), pos, sizeof pos, err)))
        return code;
    return kvs_buf_write(kvs_at(b->freq, 0), freq, sizeof freq, err);
}

enum kvs_code kvs_selftest_timings(struct kvs_dev *dev, double most_s, json_t **out,
                                   struct kvs_err *err)
{
    struct bench b = {.dev = dev, .most_s = most_s, .rows = json_array()};
    enum kvs_code code = b.rows ? bench_new(&b, err) : kvs_nomem(err);

    for (size_t i = 0; i < sizeof timings / sizeof *timings && !code; i++)
        code = time_one(&b, &timings[i], err);
    struct kvs_buf *const bufs[] = {b.a, b.b, b.c, b.d, b.pos, b.freq, b.host};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++)
        kvs_buf_free(bufs[i]);
    kvs_event_free(b.from);
    kvs_event_free(b.to);
    kvs_stream_free(b.stream);
    *out = b.rows;
    return code;
}
