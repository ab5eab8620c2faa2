/*
 * pipelines.c - streams, events and copies as an executor uses them, and a small model's plans:
 * recompute all, load all, a staircase, a sparse set, each to the logits of the reference.
 */
#include "kernels/forward.h"
#include "parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((code = (call)))                                                                       \
            goto done;                                                                             \
    } while (0)

/* --- a ring of slots between a loading and a computing stream ----------------------------------
 */

enum { N_STAGE = 24, N_SLOT = 2, STAGE_BYTES = 64 << 10 };

struct ring {
    struct kvs_stream *load, *compute;
    struct kvs_buf *from, *slot[N_SLOT], *to, *back;
    struct kvs_event *there[N_SLOT], *free_again[N_SLOT];
};

static enum kvs_code ring_new(struct kvs_dev *dev, struct ring *r, struct kvs_err *err)
{
    enum kvs_code code;

    TRY(kvs_stream_new(dev, &r->load, err));
    TRY(kvs_stream_new(dev, &r->compute, err));
    TRY(kvs_buf_new(dev, KVS_MEM_PINNED, (size_t)N_STAGE * STAGE_BYTES, &r->from, err));
    TRY(kvs_buf_new(dev, KVS_MEM_DEVICE, (size_t)N_STAGE * STAGE_BYTES, &r->to, err));
    TRY(kvs_buf_new(dev, KVS_MEM_PINNED, (size_t)N_STAGE * STAGE_BYTES, &r->back, err));
    for (int i = 0; i < N_SLOT; i++) {
        TRY(kvs_buf_new(dev, KVS_MEM_DEVICE, STAGE_BYTES, &r->slot[i], err));
        TRY(kvs_event_new(dev, &r->there[i], err));
        TRY(kvs_event_new(dev, &r->free_again[i], err));
    }
done:
    return code;
}

static void ring_free(struct ring *r)
{
    kvs_stream_free(r->load);
    kvs_stream_free(r->compute);
    for (int i = 0; i < N_SLOT; i++) {
        kvs_buf_free(r->slot[i]);
        kvs_event_free(r->there[i]);
        kvs_event_free(r->free_again[i]);
    }
    kvs_buf_free(r->from);
    kvs_buf_free(r->to);
    kvs_buf_free(r->back);
}

/* Stage i: pinned memory to its slot on one stream, slot to its place on the other. */
static enum kvs_code stage(struct ring *r, size_t i, struct kvs_err *err)
{
    size_t at = i % N_SLOT;
    struct kvs_rows take = {.dst = kvs_at(r->to, i * STAGE_BYTES),
                            .src = kvs_at(r->slot[at], 0),
                            .dst_elem = KVS_U8,
                            .src_elem = KVS_U8,
                            .n_row = 16,
                            .n_dst_row = 16,
                            .n_src_row = 16,
                            .n = STAGE_BYTES / 16,
                            .dst_stride = STAGE_BYTES / 16,
                            .src_stride = STAGE_BYTES / 16};
    enum kvs_code code;

    TRY(kvs_stream_wait(r->load, r->free_again[at], err));
    TRY(kvs_stream_copy(r->load, kvs_at(r->slot[at], 0), kvs_at(r->from, i * STAGE_BYTES),
                        STAGE_BYTES, err));
    TRY(kvs_stream_record(r->load, r->there[at], err));
    TRY(kvs_stream_wait(r->compute, r->there[at], err));
    TRY(kvs_stream_rows(r->compute, &take, err));
    TRY(kvs_stream_record(r->compute, r->free_again[at], err));
done:
    return code;
}

static enum kvs_code double_buffered_loads_arrive_whole(struct kvs_dev *dev, struct kvs_err *err)
{
    size_t n = (size_t)N_STAGE * STAGE_BYTES / sizeof(uint32_t);
    struct ring r = {0};
    enum kvs_code code;

    TRY(ring_new(dev, &r, err));
    uint32_t *from = kvs_buf_host(r.from), *back = kvs_buf_host(r.back);
    for (size_t i = 0; i < n; i++)
        from[i] = (uint32_t)(i * 2654435761u);
    for (size_t i = 0; i < N_STAGE; i++)
        TRY(stage(&r, i, err));
    TRY(kvs_stream_copy(r.compute, kvs_at(r.back, 0), kvs_at(r.to, 0), n * sizeof *from, err));
    TRY(kvs_stream_sync(r.compute, err));
    for (size_t i = 0; i < n && !code; i++)
        if (back[i] != from[i])
            code =
                kvs_fail(err, KVS_ERR_DEVICE, "word %zu is %08x, want %08x", i, back[i], from[i]);
done:
    ring_free(&r);
    return code;
}

/* --- order ----------------------------------------------------------------------------------- */

struct notes {
    unsigned n;
    char what[8];
};
struct note {
    struct notes *to;
    char what;
};

static void take_note(void *arg)
{
    const struct note *note = arg;

    if (note->to->n < sizeof note->to->what)
        note->to->what[note->to->n++] = note->what;
}

/* b waits for a's second record of the event; what a does behind it nobody waits for. */
static enum kvs_code host_calls_keep_the_order_of_events(struct kvs_dev *dev, struct kvs_err *err)
{
    struct notes notes = {0};
    struct note first = {&notes, '1'}, second = {&notes, '2'}, third = {&notes, '3'};
    struct kvs_stream *a = NULL, *b = NULL;
    struct kvs_event *event = NULL, *end = NULL;
    int64_t ns = -1;
    enum kvs_code code;

    TRY(kvs_stream_new(dev, &a, err));
    TRY(kvs_stream_new(dev, &b, err));
    TRY(kvs_event_new(dev, &event, err));
    TRY(kvs_event_new(dev, &end, err));
    TRY(kvs_stream_record(a, event, err));
    TRY(kvs_stream_call(a, take_note, &first, err));
    TRY(kvs_stream_call(a, take_note, &second, err));
    TRY(kvs_stream_record(a, event, err));
    TRY(kvs_stream_wait(b, event, err));
    TRY(kvs_stream_call(b, take_note, &third, err));
    TRY(kvs_stream_record(b, end, err));
    TRY(kvs_stream_sync(b, err));
    if (notes.n != 3 || memcmp(notes.what, "123", 3) != 0)
        code = kvs_fail(err, KVS_ERR_DEVICE, "calls came as \"%.8s\", want \"123\"", notes.what);
    else if (!(code = kvs_event_elapsed(event, end, &ns, err)) && ns < 0)
        code = kvs_fail(err, KVS_ERR_DEVICE, "%lld ns between an event and a later one",
                        (long long)ns);
done:
    kvs_stream_free(a);
    kvs_stream_free(b);
    kvs_event_free(event);
    kvs_event_free(end);
    return code;
}

/* --- plans of a small model --------------------------------------------------------------------
 */

enum { N_LAYER = 4, N_TOK = 70, N_NEW = 6, N_OLD = N_TOK - N_NEW, N_VOCAB = 96 };

struct model {
    struct kvs_dev *dev;
    struct kvs_stream *stream;
    struct kvs_forward *forward;
};

static enum kvs_code random_weights(struct kvs_weights **weights, struct kvs_err *err)
{
    struct kvs_weights_shape shape = {.n_layer = N_LAYER,
                                      .hidden = 64,
                                      .ffn = 160,
                                      .n_head = 4,
                                      .n_kv_head = 2,
                                      .head_dim = 16,
                                      .n_vocab = N_VOCAB,
                                      .n_ctx = 512,
                                      .norm_eps = 1e-5f};

    for (int i = 0; i < 8; i++)
        shape.freq[i] = pow(10000, -i / 8.);
    return kvs_weights_random(&shape, 5, weights, err);
}

static enum kvs_code model_new(struct model *m, struct kvs_dev *dev, enum kvs_elem elem,
                               const struct kvs_weights *weights, struct kvs_err *err)
{
    struct kvs_forward_opt opt = {N_TOK, N_TOK, 1, elem, elem, elem};
    enum kvs_code code = kvs_stream_new(dev, &m->stream, err);

    m->dev = dev;
    return code ? code : kvs_forward_new(dev, weights, &opt, &m->forward, err);
}

static void model_free(struct model *m)
{
    kvs_stream_free(m->stream);
    kvs_forward_free(m->forward);
}

static void prompt(uint32_t tok[N_TOK])
{
    for (uint32_t i = 0; i < N_TOK; i++)
        tok[i] = (i * 37 + 11) % N_VOCAB;
}

/* Which cached tokens layer l recomputes. */
typedef bool recompute_fn(uint32_t layer, uint32_t tok);
static bool none(uint32_t layer, uint32_t tok)
{
    return (void)layer, (void)tok, false;
}
static bool all(uint32_t layer, uint32_t tok)
{
    return (void)layer, (void)tok, true;
}
static bool stairs(uint32_t layer, uint32_t tok)
{
    return tok < N_OLD - 17 * layer;
}
static bool sparse(uint32_t layer, uint32_t tok)
{
    return layer == 0 || tok % 7 == 3;
}

/* Loads of a layer what the plan does not recompute; the rest of its cache becomes NaN. */
static enum kvs_code load_layer(struct model *m, recompute_fn *recompute, uint32_t l,
                                const unsigned char *kept, struct kvs_err *err)
{
    size_t size = kvs_forward_slot_bytes(m->forward);
    unsigned char nan[256];
    enum kvs_code code = size <= sizeof nan ? KVS_OK : KVS_ERR_RANGE;

    memset(nan, 0xff, sizeof nan);
    for (size_t side = 0; side < 2; side++)
        for (uint32_t t = 0; t < N_TOK && !code; t++) {
            struct kvs_view at = side ? kvs_forward_v(m->forward, l) : kvs_forward_k(m->forward, l);
            bool load = t < N_OLD && !recompute(l, t);
            at.at_bytes += t * size;
            code = kvs_buf_write(
                at, load ? kept + ((size_t)(2 * l) + side) * N_TOK * size + t * size : nan, size,
                err);
        }
    return code;
}

static enum kvs_code read_cache(struct model *m, unsigned char *kept, struct kvs_err *err)
{
    size_t n = N_TOK * kvs_forward_slot_bytes(m->forward);
    enum kvs_code code = KVS_OK;

    for (uint32_t l = 0; l < N_LAYER && !code; l++)
        if (!(code =
                  kvs_buf_read(kept + (size_t)(2 * l) * n, kvs_forward_k(m->forward, l), n, err)))
            code = kvs_buf_read(kept + ((size_t)(2 * l) + 1) * n, kvs_forward_v(m->forward, l), n,
                                err);
    return code;
}

static enum kvs_code run_plan(struct model *m, recompute_fn *recompute, const unsigned char *kept,
                              float logits[N_VOCAB], struct kvs_err *err)
{
    uint32_t tok[N_TOK], slot[N_TOK], row_tok[N_TOK], keep[N_TOK], n_row = 0;
    struct kvs_view at;
    enum kvs_code code;

    prompt(tok);
    for (uint32_t l = 0; l < N_LAYER; l++)
        TRY(load_layer(m, recompute, l, kept, err));
    for (uint32_t t = 0; t < N_TOK; t++)
        if (t >= N_OLD || recompute(0, t)) {
            slot[n_row] = t;
            row_tok[n_row++] = tok[t];
        }
    TRY(kvs_forward_begin(m->forward, m->stream, row_tok, slot, n_row, NULL, N_TOK, err));
    for (uint32_t l = 0; l < N_LAYER; l++) {
        uint32_t n_keep = 0;
        for (uint32_t r = 0; r < n_row; r++)
            if (slot[r] >= N_OLD || (l + 1 < N_LAYER && recompute(l + 1, slot[r]))) {
                slot[n_keep] = slot[r];
                keep[n_keep++] = r;
            }
        TRY(kvs_forward_layer(m->forward, m->stream, n_keep == n_row ? NULL : keep, n_keep, err));
        n_row = n_keep;
    }
    TRY(kvs_forward_logits(m->forward, m->stream, 1, &at, err));
done:;
    enum kvs_code waited = kvs_stream_sync(m->stream, err);
    code = code ? code : waited;
    return code ? code : kvs_buf_read(logits, at, N_VOCAB * sizeof *logits, err);
}

static enum kvs_code near(const float *got, const float *want, double tol, struct kvs_err *err)
{
    for (int i = 0; i < N_VOCAB; i++) {
        double diff = fabs((double)got[i] - (double)want[i]);
        if (!(diff <= tol))
            return kvs_fail(err, KVS_ERR_DEVICE, "logit %d is %.6g, the reference's %.6g +- %.2g",
                            i, (double)got[i], (double)want[i], tol);
    }
    return KVS_OK;
}

/* The reference runs in double over values of the same element type. */
static void plans(struct kvs_dev *dev, struct kvs_checks *checks)
{
    static const struct plan {
        const char *name;
        recompute_fn *recompute;
    } plans[] = {{"plan: recompute all", all},
                 {"plan: load all", none},
                 {"plan: staircase", stairs},
                 {"plan: all of layer 0, then every seventh token", sparse}};
    enum kvs_elem elem = kvs_dev_info(dev)->act_elem;
    /* logits span about 2; a bf16 activation is rounded to 1 in 256, f32 to 1 in 2^24 */
    double tol = elem == KVS_BF16 ? 4e-2 : 2e-5;
    float want[N_VOCAB], got[N_VOCAB];
    struct kvs_weights *weights = NULL;
    struct kvs_dev *ref = NULL;
    struct model here = {0}, there = {0};
    unsigned char *kept = NULL;
    uint32_t tok[N_TOK];
    struct kvs_err err = {0};
    enum kvs_code code;

    prompt(tok);
    TRY(kvs_dev_open("ref", 0, 1, &ref, &err));
    TRY(random_weights(&weights, &err));
    TRY(model_new(&here, dev, elem, weights, &err));
    TRY(model_new(&there, ref, elem, weights, &err));
    kept = calloc((size_t)2 * N_LAYER * N_TOK, kvs_forward_slot_bytes(there.forward));
    TRY(kept ? KVS_OK : kvs_nomem(&err));
    TRY(kvs_forward_prefill(there.forward, there.stream, tok, 0, N_TOK, want, &err));
    TRY(read_cache(&there, kept, &err));
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        struct kvs_err why = {0};
        code = run_plan(&here, plans[i].recompute, kept, got, &why);
        if (!code)
            code = near(got, want, tol, &why);
        kvs_checks_add(checks, code, plans[i].name, &why);
    }
    code = KVS_OK;
done:
    if (code)
        kvs_checks_add(checks, code, "plans", &err);
    model_free(&here);
    model_free(&there);
    kvs_weights_close(weights);
    kvs_dev_close(ref);
    free(kept);
}

void kvs_selftest_pipelines(struct kvs_dev *dev, struct kvs_checks *checks)
{
    struct kvs_err err = {0};
    enum kvs_code code = double_buffered_loads_arrive_whole(dev, &err);

    kvs_checks_add(checks, code, "double-buffered loads arrive whole", &err);
    err = (struct kvs_err){0};
    code = host_calls_keep_the_order_of_events(dev, &err);
    kvs_checks_add(checks, code, "host calls keep the order of events", &err);
    plans(dev, checks);
}
