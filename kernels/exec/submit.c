/*
 * submit.c - a plan checked, and put on the streams.
 */
#include "inside.h"

#include <string.h>

/* --- the plan --------------------------------------------------------------------------------- */

/* Blocks computed again in the first layer that loads any. */
static uint32_t first_cut(const struct kvs_exec *exec, const struct kvs_exec_plan *plan)
{
    uint32_t l = 0;

    while (l < exec->shape->n_layer && plan->cut[l] == plan->n_block)
        l++;
    return l < exec->shape->n_layer ? plan->cut[l] : 0;
}

enum kvs_code kvs_exec_check(const struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                             struct kvs_err *err)
{
    const struct kvs_forward_opt *f = kvs_forward_opt(exec->forward);
    uint32_t end = 0;

    if (plan->n_tok == 0 || plan->n_tok > f->max_ctx || plan->n_tok > f->max_row)
        return kvs_fail(err, KVS_ERR_RANGE, "plan: %u tokens, want 1 to %u", plan->n_tok,
                        f->max_ctx < f->max_row ? f->max_ctx : f->max_row);
    for (uint32_t b = 0; b < plan->n_block; b++) {
        if (plan->block[b].first_tok < end || plan->block[b].n_tok == 0 ||
            plan->block[b].n_tok > plan->n_tok - plan->block[b].first_tok)
            return kvs_fail(err, KVS_ERR_RANGE,
                            "plan: block %u of %u tokens at %u: want ascending, within %u tokens",
                            b, plan->block[b].n_tok, plan->block[b].first_tok, plan->n_tok);
        end = plan->block[b].first_tok + plan->block[b].n_tok;
    }
    if (end == plan->n_tok)
        return kvs_fail(err, KVS_ERR_RANGE, "plan: all %u tokens are cached, want a new last one",
                        plan->n_tok);
    for (uint32_t l = 0; l < exec->shape->n_layer; l++) {
        if (plan->cut[l] > (l ? plan->cut[l - 1] : plan->n_block))
            return kvs_fail(err, KVS_ERR_RANGE,
                            "plan: layer %u computes %u blocks again, the layer before fewer", l,
                            plan->cut[l]);
        if (plan->n_form && plan->form[l] >= plan->n_form)
            return kvs_fail(err, KVS_ERR_RANGE, "plan: layer %u loads form %u of %u", l,
                            plan->form[l], plan->n_form);
        if (plan->repair_tok && l && plan->repair_tok[l] > plan->repair_tok[l - 1])
            return kvs_fail(err, KVS_ERR_RANGE,
                            "plan: layer %u repairs %u tokens, the layer before fewer", l,
                            plan->repair_tok[l]);
    }
    end = 0;
    for (uint32_t b = 0; b < first_cut(exec, plan); b++) {
        if (plan->block[b].first_tok != end)
            return kvs_fail(err, KVS_ERR_RANGE,
                            "plan: block %u is computed again behind absent tokens", b);
        end += plan->block[b].n_tok;
    }
    return KVS_OK;
}

struct kvs_exec_shape kvs_exec_shape(const struct kvs_exec *exec, const struct kvs_exec_plan *plan)
{
    uint32_t n_layer = exec->shape->n_layer;
    struct kvs_exec_shape shape = {.first_load = n_layer};

    for (uint32_t l = n_layer; l-- > 0 && plan->cut[l] < plan->n_block;) {
        size_t section = kvs_feed_section_bytes(plan, l);
        size_t row = kvs_feed_row_bytes(plan, l, exec->shape);

        shape.first_load = l;
        shape.section_bytes = section > shape.section_bytes ? section : shape.section_bytes;
        shape.row_bytes = row > shape.row_bytes ? row : shape.row_bytes;
    }
    shape.row_bytes = (shape.row_bytes + KVS_STORE_PAGE - 1) / KVS_STORE_PAGE * KVS_STORE_PAGE;
    return shape;
}

/* --- tokens ----------------------------------------------------------------------------------- */

uint32_t kvs_exec_cut_tok(const struct kvs_exec_plan *plan, uint32_t layer)
{
    uint32_t n_tok = 0;

    for (uint32_t b = 0; b < plan->cut[layer]; b++)
        n_tok += plan->block[b].n_tok;
    return n_tok;
}

/* true if the waiting work computes this token in the layer: absent, or repaired. Tokens ascend
 * from call to call; *b is the block they have come to. */
static bool waits(const struct kvs_exec_plan *plan, const uint8_t *absent, uint32_t first_cut,
                  uint32_t layer, uint32_t tok, uint32_t *b)
{
    if (absent[tok])
        return true;
    while (plan->block[*b].first_tok + plan->block[*b].n_tok <= tok)
        (*b)++;
    return plan->repair_tok && plan->block[*b].moved && *b >= first_cut &&
           tok - plan->block[*b].first_tok < plan->repair_tok[layer];
}

/* Rows of the waiting batch as it enters a layer, by slot. */
static uint32_t waiting_rows(const struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                             uint32_t layer, uint32_t *slot)
{
    uint32_t n = 0, b = 0;

    for (uint32_t t = 0; t < plan->n_tok; t++)
        if (waits(plan, exec->absent, first_cut(exec, plan), layer, t, &b))
            slot[n++] = t;
    return n;
}

/* --- work on the streams -----------------------------------------------------------------------
 */

/* A layer of the batch, of whose n_row rows the first n_keep go on. */
static enum kvs_code first_rows(struct kvs_exec *exec, struct span *span, uint32_t n_row,
                                uint32_t n_keep, struct kvs_err *err)
{
    enum kvs_code code = kvs_stream_record(exec->compute, span->from, err);

    for (uint32_t r = 0; r < n_keep; r++)
        exec->keep[r] = r;
    if (!code)
        code = kvs_forward_layer(exec->forward, exec->compute, n_keep < n_row ? exec->keep : NULL,
                                 n_keep, err);
    return code ? code : kvs_stream_record(exec->compute, span->to, err);
}

/* Layers in which every token is computed; then the new ones are parked and the rest goes on. */
static enum kvs_code ride(struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                          const struct kvs_exec_shape *shape, struct kvs_err *err)
{
    uint32_t n_layer = exec->shape->n_layer, n_tok = plan->n_tok, n_row = 0, n_pre, b = 0;
    enum kvs_code code;

    for (uint32_t t = 0; t < n_tok; t++)
        exec->slot[t] = t;
    code = kvs_forward_begin(exec->forward, exec->compute, plan->tok, exec->slot, n_tok, NULL,
                             n_tok, err);
    for (uint32_t l = 0; l + 1 < shape->first_load && !code; l++)
        code = first_rows(exec, &exec->pre[l], n_tok, n_tok, err);
    if (code || shape->first_load == n_layer)
        return code ? code : first_rows(exec, &exec->pre[n_layer - 1], n_tok, n_tok, err);
    /* of the last such layer, those that go on: computed again in the next, or waiting there */
    n_pre = kvs_exec_cut_tok(plan, shape->first_load);
    for (uint32_t t = 0; t < n_tok; t++)
        if (t < n_pre || waits(plan, exec->absent, first_cut(exec, plan), shape->first_load, t, &b))
            exec->keep[n_row++] = t;
    if ((code = kvs_stream_record(exec->compute, exec->pre[shape->first_load - 1].from, err)) ||
        (code = kvs_forward_layer(exec->forward, exec->compute, n_row < n_tok ? exec->keep : NULL,
                                  n_row, err)) ||
        (code = kvs_stream_record(exec->compute, exec->pre[shape->first_load - 1].to, err)))
        return code;
    struct kvs_view x = kvs_forward_hidden(exec->forward);
    size_t row_bytes = (size_t)exec->shape->hidden * sizeof(float);
    x.at_bytes += n_pre * row_bytes;
    if ((code = kvs_stream_copy(exec->compute, kvs_at(exec->parked, 0), x,
                                (n_row - n_pre) * row_bytes, err)) ||
        n_pre == 0)
        return code;
    return kvs_forward_resume(exec->forward, exec->compute, shape->first_load,
                              kvs_forward_hidden(exec->forward), exec->slot, n_pre, NULL, n_pre,
                              err);
}

/* The work that waits for no load. */
enum kvs_code kvs_exec_submit_pre(struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                                  const struct kvs_exec_shape *shape, struct kvs_err *err)
{
    uint32_t n_layer = exec->shape->n_layer, n_row;
    enum kvs_code code = KVS_OK;

    if (shape->first_load > 0 && (code = ride(exec, plan, shape, err)))
        return code;
    if (shape->first_load == n_layer)
        return KVS_OK;
    n_row = kvs_exec_cut_tok(plan, shape->first_load);
    if (shape->first_load == 0 && n_row > 0) {
        for (uint32_t t = 0; t < n_row; t++)
            exec->slot[t] = t;
        code = kvs_forward_begin(exec->forward, exec->compute, plan->tok, exec->slot, n_row, NULL,
                                 n_row, err);
    }
    for (uint32_t l = shape->first_load; l < n_layer && n_row > 0 && !code; l++) {
        uint32_t n_next = l + 1 < n_layer ? kvs_exec_cut_tok(plan, l + 1) : 0;

        code = first_rows(exec, &exec->pre[l], n_row, n_next, err);
        n_row = n_next;
    }
    return code;
}

/* A run of loaded tokens, from row `at` of the layer's, into the cache, and their keys turned. */
static enum kvs_code copy_run(struct kvs_exec *exec, uint32_t layer, struct kvs_view rows,
                              uint32_t n_load, uint32_t at, uint32_t first_tok, uint32_t n_tok,
                              bool shifted, struct kvs_err *err)
{
    size_t size = kvs_forward_slot_bytes(exec->forward);
    struct kvs_view k = kvs_forward_k(exec->forward, layer);
    struct kvs_view v = kvs_forward_v(exec->forward, layer), from_k = rows, from_v = rows;
    enum kvs_code code;

    k.at_bytes += first_tok * size;
    v.at_bytes += first_tok * size;
    from_k.at_bytes += at * size;
    from_v.at_bytes += ((size_t)n_load + at) * size;
    if ((code = kvs_stream_copy(exec->copy, k, from_k, n_tok * size, err)) ||
        (code = kvs_stream_copy(exec->copy, v, from_v, n_tok * size, err)) || !shifted)
        return code;
    struct kvs_rope op = {.x = k,
                          .pos = kvs_at(exec->shift, first_tok * sizeof(int32_t)),
                          .freq = kvs_at(exec->freq, 0),
                          .elem = KVS_BF16,
                          .pairs = exec->shape->rope_halves ? KVS_ROPE_HALVES : KVS_ROPE_ADJACENT,
                          .n_row = n_tok,
                          .n_head = exec->shape->n_kv_head,
                          .head_dim = exec->shape->head_dim,
                          .row_stride = exec->n_chan};
    return kvs_stream_rope(exec->copy, &op, err);
}

/* A layer's loaded rows: K and V to their slots, hidden states to the device as they are. */
static enum kvs_code copy_layer(struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                                uint32_t layer, struct kvs_view rows, struct kvs_err *err)
{
    uint32_t n_load = kvs_feed_n_tok(plan, layer), at = 0;
    enum kvs_code code = kvs_stream_record(exec->copy, exec->copied[layer].from, err);

    if (!code && kvs_feed_hidden(plan, layer)) {
        /* the states that lie there were projected two layers ago */
        if (layer >= exec->first_load + 2)
            code = kvs_stream_wait(exec->copy, exec->post[layer - 2].to, err);
        if (!code)
            code = kvs_stream_copy(exec->copy, kvs_at(exec->state[layer % 2], 0), rows,
                                   kvs_feed_row_bytes(plan, layer, exec->shape), err);
        return code ? code : kvs_stream_record(exec->copy, exec->copied[layer].to, err);
    }
    for (uint32_t b = plan->cut[layer]; b < plan->n_block && !code;) {
        const struct kvs_exec_block *first = &plan->block[b];
        uint32_t n_tok = 0;

        for (; b < plan->n_block && plan->block[b].first_tok == first->first_tok + n_tok &&
               !first->shift == !plan->block[b].shift;
             b++)
            n_tok += plan->block[b].n_tok;
        code = copy_run(exec, layer, rows, n_load, at, first->first_tok, n_tok, first->shift != 0,
                        err);
        at += n_tok;
    }
    return code ? code : kvs_stream_record(exec->copy, exec->copied[layer].to, err);
}

/* K and V of a layer whose hidden states were copied: those of the blocks from cut[layer] on. */
static enum kvs_code project(struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                             uint32_t layer, struct kvs_err *err)
{
    size_t first = kvs_exec_cut_tok(plan, layer) * sizeof(int32_t);
    const struct kvs_forward_states states = {.x = kvs_at(exec->state[layer % 2], 0),
                                              .elem = KVS_BF16,
                                              .pos = kvs_at(exec->held, first),
                                              .slot = kvs_at(exec->held, first),
                                              .n_row = kvs_feed_n_tok(plan, layer)};

    return kvs_forward_project(exec->forward, exec->compute, layer, &states, err);
}

/* Slots of the blocks' tokens, one block after another; they are the positions too. */
static enum kvs_code send_held(struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                               struct kvs_err *err)
{
    int32_t *staged = kvs_buf_host(exec->held_staged);
    uint32_t n = 0;

    for (uint32_t b = 0; b < plan->n_block; b++)
        for (uint32_t t = 0; t < plan->block[b].n_tok; t++)
            staged[n++] = (int32_t)(plan->block[b].first_tok + t);
    return kvs_stream_copy(exec->copy, kvs_at(exec->held, 0), kvs_at(exec->held_staged, 0),
                           n * sizeof *staged, err);
}

/* By how much each slot's keys are to be turned, for all layers. */
static enum kvs_code send_shifts(struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                                 struct kvs_err *err)
{
    int32_t *staged = kvs_buf_host(exec->shift_staged);
    bool any = false;

    for (uint32_t b = 0; b < plan->n_block; b++)
        for (uint32_t t = 0; t < plan->block[b].n_tok; t++) {
            staged[plan->block[b].first_tok + t] = plan->block[b].shift;
            any |= plan->block[b].shift != 0;
        }
    return any ? kvs_stream_copy(exec->copy, kvs_at(exec->shift, 0), kvs_at(exec->shift_staged, 0),
                                 kvs_buf_bytes(exec->shift), err)
               : KVS_OK;
}

static enum kvs_code begin_waiting(struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                                   const struct kvs_exec_shape *shape, uint32_t *n_row,
                                   struct kvs_err *err)
{
    *n_row = waiting_rows(exec, plan, shape->first_load, exec->slot);
    if (shape->first_load > 0)
        return kvs_forward_resume(exec->forward, exec->compute, shape->first_load,
                                  kvs_at(exec->parked, 0), exec->slot, *n_row, NULL, plan->n_tok,
                                  err);
    for (uint32_t r = 0; r < *n_row; r++)
        exec->row_tok[r] = plan->tok[exec->slot[r]];
    return kvs_forward_begin(exec->forward, exec->compute, exec->row_tok, exec->slot, *n_row, NULL,
                             plan->n_tok, err);
}

/* Rows of the waiting batch that go on to the next layer. */
static uint32_t waiting_keep(struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                             uint32_t layer, uint32_t n_row)
{
    uint32_t n = 0, b = 0;

    for (uint32_t r = 0; r < n_row; r++) {
        bool on =
            layer + 1 < exec->shape->n_layer
                ? waits(plan, exec->absent, first_cut(exec, plan), layer + 1, exec->slot[r], &b)
                : exec->absent[exec->slot[r]];
        if (!on)
            continue;
        exec->keep[n] = r;
        exec->slot[n++] = exec->slot[r];
    }
    return n;
}

/* Layer by layer: copy as it comes, then compute behind the copy. */
enum kvs_code kvs_exec_submit_waiting(struct kvs_exec *exec, const struct kvs_exec_plan *plan,
                                      const struct kvs_exec_shape *shape, struct kvs_feed *feed,
                                      uint32_t n_slot, struct kvs_err *err)
{
    uint32_t n_layer = exec->shape->n_layer, n_row = 0;
    uint8_t *pinned = kvs_buf_host(exec->pinned);
    enum kvs_code code;

    exec->first_load = shape->first_load;
    if ((code = send_shifts(exec, plan, err)) || (code = send_held(exec, plan, err)) ||
        (code = begin_waiting(exec, plan, shape, &n_row, err)))
        return code;
    for (uint32_t l = shape->first_load; l < n_layer; l++) {
        uint32_t j = l - shape->first_load, n_keep;
        const uint8_t *row;

        if ((code = kvs_feed_next(feed, &row, err)) ||
            (code = copy_layer(exec, plan, l, kvs_at(exec->pinned, (size_t)(row - pinned)), err)) ||
            (code = kvs_stream_wait(exec->compute, exec->copied[l].to, err)) ||
            (code = kvs_stream_record(exec->compute, exec->post[l].from, err)) ||
            (kvs_feed_hidden(plan, l) && (code = project(exec, plan, l, err))))
            return code;
        n_keep = waiting_keep(exec, plan, l, n_row);
        if ((code = kvs_forward_layer(exec->forward, exec->compute,
                                      n_keep < n_row ? exec->keep : NULL, n_keep, err)) ||
            (code = kvs_stream_record(exec->compute, exec->post[l].to, err)))
            return code;
        n_row = n_keep;
        /* the slot that the layer after the next n_slot - 1 needs */
        if (j + 1 >= n_slot) {
            if ((code = kvs_event_sync(exec->copied[l + 1 - n_slot].to, err)))
                return code;
            kvs_feed_back(feed);
        }
    }
    return KVS_OK;
}

enum kvs_code kvs_exec_submit_head(struct kvs_exec *exec, struct kvs_view *logits,
                                   struct kvs_err *err)
{
    enum kvs_code code = kvs_stream_record(exec->compute, exec->head.from, err);

    if (!code)
        code = kvs_forward_logits(exec->forward, exec->compute, 1, logits, err);
    return code ? code : kvs_stream_record(exec->compute, exec->head.to, err);
}
