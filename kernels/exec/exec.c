#include "inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WINDOW_BYTES (1ull << 30)
#define DEPTH 64

static int64_t now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

/* --- making it -------------------------------------------------------------------------------- */

static enum kvs_code new_span(struct kvs_dev *dev, struct span *span, struct kvs_err *err)
{
    enum kvs_code code = kvs_event_new(dev, &span->from, err);

    return code ? code : kvs_event_new(dev, &span->to, err);
}

static void free_span(struct span *span)
{
    kvs_event_free(span->from);
    kvs_event_free(span->to);
}

static enum kvs_code make(struct kvs_exec *exec, struct kvs_err *err)
{
    const struct kvs_forward_opt *f = kvs_forward_opt(exec->forward);
    size_t n_freq = exec->shape->head_dim / 2 * sizeof(double), n_ctx = f->max_ctx;
    enum kvs_code code;

    if ((code = kvs_stream_new(exec->dev, &exec->compute, err)) ||
        (code = kvs_stream_new(exec->dev, &exec->copy, err)) ||
        (code = kvs_event_new(exec->dev, &exec->begin, err)) ||
        (code = new_span(exec->dev, &exec->head, err)) ||
        (code = kvs_buf_new(exec->dev, KVS_MEM_DEVICE, n_freq, &exec->freq, err)) ||
        (code = kvs_buf_write(kvs_at(exec->freq, 0), exec->shape->freq, n_freq, err)) ||
        (code =
             kvs_buf_new(exec->dev, KVS_MEM_DEVICE, n_ctx * sizeof(int32_t), &exec->shift, err)) ||
        (code = kvs_buf_new(exec->dev, KVS_MEM_PINNED, n_ctx * sizeof(int32_t), &exec->shift_staged,
                            err)) ||
        (code =
             kvs_buf_new(exec->dev, KVS_MEM_DEVICE, n_ctx * sizeof(int32_t), &exec->held, err)) ||
        (code = kvs_buf_new(exec->dev, KVS_MEM_PINNED, n_ctx * sizeof(int32_t), &exec->held_staged,
                            err)) ||
        (code = kvs_buf_new(exec->dev, KVS_MEM_DEVICE,
                            (size_t)f->max_row * exec->shape->hidden * sizeof(float), &exec->parked,
                            err)))
        return code;
    for (uint32_t l = 0; l < exec->shape->n_layer; l++)
        if ((code = new_span(exec->dev, &exec->copied[l], err)) ||
            (code = new_span(exec->dev, &exec->pre[l], err)) ||
            (code = new_span(exec->dev, &exec->post[l], err)))
            return code;
    return KVS_OK;
}

enum kvs_code kvs_exec_new(struct kvs_dev *dev, struct kvs_forward *forward,
                           const struct kvs_exec_opt *opt, struct kvs_exec **out,
                           struct kvs_err *err)
{
    const struct kvs_weights_shape *shape = kvs_forward_shape(forward);
    const struct kvs_forward_opt *f = kvs_forward_opt(forward);
    struct kvs_exec *exec;
    enum kvs_code code = KVS_OK;

    *out = NULL;
    if (f->kv_elem != KVS_BF16)
        return kvs_fail(err, KVS_ERR_ARG, "executor: the cache's elements must be bf16");
    if (shape->n_layer > KVS_MAX_LAYER)
        return kvs_fail(err, KVS_ERR_RANGE, "executor: %u layers, want at most %d", shape->n_layer,
                        KVS_MAX_LAYER);
    exec = calloc(1, sizeof *exec);
    if (!exec)
        return kvs_nomem(err);
    exec->dev = dev;
    exec->forward = forward;
    exec->shape = shape;
    exec->opt = *opt;
    exec->opt.window_bytes = opt->window_bytes ? opt->window_bytes : WINDOW_BYTES;
    exec->opt.reader.depth = opt->reader.depth ? opt->reader.depth : DEPTH;
    exec->n_chan = shape->n_kv_head * shape->head_dim;
    exec->copied = calloc(shape->n_layer, sizeof *exec->copied);
    exec->pre = calloc(shape->n_layer, sizeof *exec->pre);
    exec->post = calloc(shape->n_layer, sizeof *exec->post);
    exec->row_tok = calloc(f->max_row, sizeof *exec->row_tok);
    exec->slot = calloc(f->max_row, sizeof *exec->slot);
    exec->keep = calloc(f->max_row, sizeof *exec->keep);
    exec->absent = calloc(f->max_ctx, 1);
    if (!exec->copied || !exec->pre || !exec->post || !exec->row_tok || !exec->slot ||
        !exec->keep || !exec->absent)
        code = kvs_nomem(err);
    if (!code)
        code = make(exec, err);
    if (code) {
        kvs_exec_free(exec);
        return code;
    }
    *out = exec;
    return KVS_OK;
}

void kvs_exec_free(struct kvs_exec *exec)
{
    if (!exec)
        return;
    if (exec->compute)
        kvs_stream_free(exec->compute);
    if (exec->copy)
        kvs_stream_free(exec->copy);
    for (uint32_t l = 0; l < exec->shape->n_layer && exec->copied && exec->pre && exec->post; l++) {
        free_span(&exec->copied[l]);
        free_span(&exec->pre[l]);
        free_span(&exec->post[l]);
    }
    free_span(&exec->head);
    kvs_event_free(exec->begin);
    kvs_buf_free(exec->freq);
    kvs_buf_free(exec->shift);
    kvs_buf_free(exec->shift_staged);
    kvs_buf_free(exec->held);
    kvs_buf_free(exec->held_staged);
    kvs_buf_free(exec->state[0]);
    kvs_buf_free(exec->state[1]);
    kvs_buf_free(exec->parked);
    kvs_buf_free(exec->pinned);
    free(exec->copied);
    free(exec->pre);
    free(exec->post);
    free(exec->row_tok);
    free(exec->slot);
    free(exec->keep);
    free(exec->absent);
    free(exec);
}

/* --- a run ------------------------------------------------------------------------------------ */

static size_t slot_bytes(const struct kvs_exec_shape *shape)
{
    return shape->section_bytes + shape->row_bytes;
}

/* Marks tokens that no block holds. */
static void mark_absent(struct kvs_exec *exec, const struct kvs_exec_plan *plan)
{
    memset(exec->absent, 1, plan->n_tok);
    for (uint32_t b = 0; b < plan->n_block; b++)
        memset(exec->absent + plan->block[b].first_tok, 0, plan->block[b].n_tok);
}

/* The loads' window: as many slots as fit, at most one a layer. */
static enum kvs_code make_window(struct kvs_exec *exec, const struct kvs_exec_shape *shape,
                                 uint32_t *n_slot, struct kvs_err *err)
{
    size_t size = slot_bytes(shape), n_load = exec->shape->n_layer - shape->first_load, n;

    *n_slot = 0;
    if (n_load == 0)
        return KVS_OK;
    n = exec->opt.window_bytes / size;
    if (n == 0)
        return kvs_fail(err, KVS_ERR_RANGE,
                        "plan: a layer's loads need %zu bytes of pinned memory, the window has %zu",
                        size, exec->opt.window_bytes);
    *n_slot = (uint32_t)(n < n_load ? n : n_load);
    if (exec->pinned && kvs_buf_bytes(exec->pinned) >= *n_slot * size)
        return KVS_OK;
    kvs_buf_free(exec->pinned);
    exec->pinned = NULL;
    if (kvs_buf_new(exec->dev, KVS_MEM_PINNED, *n_slot * size, &exec->pinned, err))
        return err ? err->code : KVS_ERR_NOMEM;
    memset(kvs_buf_host(exec->pinned), 0, *n_slot * size); /* its pages are there from now on */
    return KVS_OK;
}

/* Room for loaded states, where a plan loads any: two layers', each of whole contexts. */
static enum kvs_code make_states(struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                                 const struct kvs_exec_shape *shape, struct kvs_err *err)
{
    size_t n_byte = (size_t)kvs_forward_opt(exec->forward)->max_ctx * exec->shape->hidden * 2;
    bool any = false;

    for (uint32_t l = shape->first_load; l < exec->shape->n_layer; l++)
        any |= kvs_feed_hidden(plan, l);
    for (int i = 0; i < 2 && any; i++)
        if (!exec->state[i] && kvs_buf_new(exec->dev, KVS_MEM_DEVICE, n_byte, &exec->state[i], err))
            return err ? err->code : KVS_ERR_NOMEM;
    return KVS_OK;
}

static void note_time(void *at_ns)
{
    *(int64_t *)at_ns = now_ns();
}

/* The device's clock tells how long after the begin event; that happened delay_ns into the run. */
static struct kvs_exec_time between(const struct kvs_exec *exec, const struct span *span,
                                    int64_t delay_ns)
{
    struct kvs_exec_time time = {0, 0};

    if (kvs_event_elapsed(exec->begin, span->from, &time.from_ns, NULL) ||
        kvs_event_elapsed(exec->begin, span->to, &time.to_ns, NULL))
        return (struct kvs_exec_time){0, 0};
    time.from_ns += delay_ns;
    time.to_ns += delay_ns;
    return time;
}

static void tell_times(const struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                       const struct kvs_exec_shape *shape, int64_t begin_ns,
                       struct kvs_exec_result *result)
{
    int64_t delay_ns = exec->event_ns - begin_ns;
    int64_t end_ns = between(exec, &exec->head, delay_ns).to_ns;

    /* a thread held up between the begin event and its note: all was done when logits were there */
    if (end_ns > result->ttft_ns)
        delay_ns -= end_ns - result->ttft_ns;
    for (uint32_t l = 0; l < exec->shape->n_layer; l++) {
        if (l < shape->first_load || kvs_exec_cut_tok(plan, l) > 0)
            result->time[KVS_EXEC_PRE][l] = between(exec, &exec->pre[l], delay_ns);
        if (l >= shape->first_load) {
            result->time[KVS_EXEC_POST][l] = between(exec, &exec->post[l], delay_ns);
            result->time[KVS_EXEC_COPY][l] = between(exec, &exec->copied[l], delay_ns);
        }
    }
    result->time[KVS_EXEC_HEAD][0] = between(exec, &exec->head, delay_ns);
}

/* Everything put on the streams, and waited for; *begin_ns: when it began. */
static enum kvs_code run_plan(struct kvs_exec *exec, struct kvs_store *store,
                              const struct kvs_exec_plan *plan, const struct kvs_exec_shape *shape,
                              uint32_t n_slot, float *logits, struct kvs_exec_result *result,
                              int64_t *begin_ns, struct kvs_err *err)
{
    size_t row_at = n_slot * shape->section_bytes;
    struct kvs_feed *feed = NULL;
    struct kvs_view at;
    enum kvs_code code = KVS_OK, waited;

    if (n_slot) {
        uint8_t *pinned = kvs_buf_host(exec->pinned);
        struct kvs_feed_in in = {.plan = plan,
                                 .store = store,
                                 .shape = exec->shape,
                                 .reader = exec->opt.reader,
                                 .isa = exec->opt.isa ? exec->opt.isa : kvs_kvf_isa(NULL),
                                 .latency_ns = exec->opt.latency_ns,
                                 .first_layer = shape->first_load,
                                 .section = pinned,
                                 .row = pinned + row_at,
                                 .section_bytes = shape->section_bytes,
                                 .row_bytes = shape->row_bytes,
                                 .n_section = n_slot,
                                 .n_row = n_slot};
        in.reader.pool = pinned;
        in.reader.pool_bytes = kvs_buf_bytes(exec->pinned) / KVS_STORE_PAGE * KVS_STORE_PAGE;
        code = kvs_feed_new(&in, &feed, err);
    }
    *begin_ns = exec->event_ns = now_ns();
    if (!code && !(code = kvs_stream_call(exec->compute, note_time, &exec->event_ns, err)))
        code = kvs_stream_record(exec->compute, exec->begin, err);
    if (feed && !code)
        kvs_feed_go(feed, *begin_ns);
    if (!code)
        code = kvs_exec_submit_pre(exec, plan, shape, err);
    if (!code && feed)
        code = kvs_exec_submit_waiting(exec, plan, shape, feed, n_slot, err);
    if (!code)
        code = kvs_exec_submit_head(exec, &at, err);
    /* also after a failure: what was put on the streams must not outlive the run */
    waited = kvs_stream_sync(exec->compute, err);
    code = code ? code : waited;
    waited = kvs_stream_sync(exec->copy, err);
    code = code ? code : waited;
    if (!code)
        code = kvs_buf_read(logits, at, exec->shape->n_vocab * sizeof *logits, err);
    result->ttft_ns = now_ns() - *begin_ns;
    if (!kvs_feed_end(feed, result))
        exec->pinned = NULL; /* not freed: the kernel may write there yet */
    if (!code)
        tell_times(exec, plan, shape, *begin_ns, result);
    return code;
}

enum kvs_code kvs_exec_run(struct kvs_exec *exec, struct kvs_store *store,
                           const struct kvs_exec_plan *plan, float *logits,
                           struct kvs_exec_result *result, struct kvs_err *err)
{
    struct kvs_err local = {0}, *mine = err ? err : &local, why = {0};
    struct kvs_exec_shape shape;
    uint32_t n_slot;
    int64_t begin_ns = now_ns();
    enum kvs_code code;

    memset(result, 0, sizeof *result);
    if ((code = kvs_exec_check(exec, plan, mine)))
        return code;
    shape = kvs_exec_shape(exec, plan);
    mark_absent(exec, plan);
    if ((code = make_window(exec, &shape, &n_slot, mine)) ||
        (code = make_states(exec, plan, &shape, mine)))
        return code;
    result->pinned_bytes = n_slot * slot_bytes(&shape);
    if (!run_plan(exec, store, plan, &shape, n_slot, logits, result, &begin_ns, &why))
        return KVS_OK;
    /* whatever it was: all tokens, from the first layer on, need nothing but the weights */
    result->fell_back = true;
    snprintf(result->why, sizeof result->why, "%s", why.msg);
    code =
        kvs_forward_prefill(exec->forward, exec->compute, plan->tok, 0, plan->n_tok, logits, mine);
    result->ttft_ns = now_ns() - begin_ns;
    return code;
}
