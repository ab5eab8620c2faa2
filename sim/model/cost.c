#include "cost_in.h"

#include <assert.h>
#include <math.h>

/* --- operators ------------------------------------------------------------------------------- */

static double gemm_s(const struct gemm *g, double m)
{
    return fmax(g->flop_s0 + g->flop_s * m, g->mem_s0 + g->mem_s * m);
}

static double experts_s(const struct experts *e, double m)
{
    double hit = e->n * -expm1(m * e->log_miss);
    return fmax(e->flop_s0 + e->flop_s * m, e->mem_s0 * hit + e->mem_s * m);
}

double kvs_cost_linear_s(const struct kvs_cost *cost, uint32_t class_i, double n_tok)
{
    assert(class_i < cost->n_class);
    const struct layer *l = &cost->layer[class_i];
    if (n_tok <= 0)
        return 0;
    if (l->measured)
        return kvs_measured_linear_s(l->measured, n_tok);
    double s = l->launch_s + l->stream_s * n_tok;
    for (uint32_t i = 0; i < l->n_gemm; i++)
        s += gemm_s(&l->gemm[i], n_tok);
    if (l->moe)
        s += experts_s(&l->experts, n_tok);
    return s;
}

/*
 * Keys that each of q queries behind ctx sees on average, at most w. The query at offset x of [0,
 * q) sees ctx + x + 1/2, up to w: integrated, so that it is continuous in all three.
 */
static double keys_seen(double q, double ctx, double w)
{
    if (w <= 0)
        return ctx + (q + 1) / 2;
    double grow = fmin(q, fmax(0, w - ctx - 0.5)); /* queries whose window is not yet full */
    return (grow * (ctx + (grow + 1) / 2) + (q - grow) * w) / q;
}

/* Seconds of one sequence's attention without the launch. */
static double attend_s(const struct layer *l, double q, double ctx)
{
    if (l->measured)
        return kvs_measured_attention_s(l->measured, q, ctx);
    double seen = keys_seen(q, ctx, l->window);
    double last = l->window > 0 ? fmin(ctx + q, l->window + q) : ctx + q; /* keys that any sees */
    /* the cheaper kernel for this many queries: whatever the context, so that decode is affine */
    double query_s =
        fmin(l->key_flop_s[0] * (q + l->half_q[0]), l->key_flop_s[1] * (q + l->half_q[1]));
    return query_s * l->tail_tok + fmax(query_s * seen, l->key_mem_s * last);
}

double kvs_cost_attention_s(const struct kvs_cost *cost, uint32_t class_i,
                            const struct kvs_seg *seg, uint32_t n_seg)
{
    assert(class_i < cost->n_class);
    const struct layer *l = &cost->layer[class_i];
    double s = 0;
    for (uint32_t i = 0; i < n_seg; i++)
        if (seg[i].n_seq > 0 && seg[i].n_tok > 0)
            s += seg[i].n_seq * attend_s(l, seg[i].n_tok, seg[i].context_tok);
    return s;
}

double kvs_cost_allreduce_s(const struct kvs_cost *cost, double n_tok)
{
    return cost->tp > 1 && n_tok > 0 ? 2 * (cost->reduce_s0 + cost->reduce_s * n_tok) : 0;
}

double kvs_cost_layer_s(const struct kvs_cost *cost, uint32_t class_i, const struct kvs_seg *seg,
                        uint32_t n_seg)
{
    double n_tok = 0;
    for (uint32_t i = 0; i < n_seg; i++)
        n_tok += seg[i].n_seq * seg[i].n_tok;
    if (n_tok <= 0)
        return 0;
    double launch_s = cost->layer[class_i].measured ? 0 : cost->launch_s;
    return kvs_cost_linear_s(cost, class_i, n_tok) + launch_s +
           kvs_cost_attention_s(cost, class_i, seg, n_seg) + kvs_cost_allreduce_s(cost, n_tok);
}

double kvs_cost_kv_s(const struct kvs_cost *cost, uint32_t class_i, double n_tok)
{
    assert(class_i < cost->n_class);
    if (n_tok <= 0)
        return 0;
    if (cost->layer[class_i].measured)
        return kvs_measured_kv_s(cost->layer[class_i].measured, n_tok);
    /* three launches: norm, GEMM, RoPE */
    return 3 * cost->launch_s + gemm_s(&cost->kv_gemm, n_tok) + cost->kv_stream_s * n_tok;
}

double kvs_cost_shift_s(const struct kvs_cost *cost, uint32_t class_i, double n_tok)
{
    assert(class_i < cost->n_class);
    return n_tok > 0 ? cost->launch_s + cost->shift_stream_s * n_tok : 0;
}

double kvs_cost_head_s(const struct kvs_cost *cost, double n_tok, double n_row)
{
    const struct kvs_measured *m = cost->head;
    double s = 0;
    if (n_tok > 0)
        s += m ? kvs_measured_begin_s(m, n_tok) : cost->launch_s + cost->embed_s * n_tok;
    if (n_row > 0 && m)
        s += kvs_measured_head_s(m, n_row);
    else if (n_row > 0)
        s += 2 * cost->launch_s + gemm_s(&cost->head_gemm, n_row);
    return s;
}

void kvs_cost_decode_s(const struct kvs_cost *cost, double n_seq, double *fixed_s,
                       double *per_context_tok_s)
{
    *fixed_s = *per_context_tok_s = 0;
    if (n_seq <= 0)
        return;
    *fixed_s = kvs_cost_head_s(cost, n_seq, n_seq);
    for (uint32_t i = 0; i < cost->n_class; i++) {
        const struct layer *l = &cost->layer[i];
        double n = cost->n_of_class[i];
        double ctx = l->window > 0 ? l->window : 0;
        struct kvs_seg seg = {n_seq, 1, ctx};
        *fixed_s += n * kvs_cost_layer_s(cost, i, &seg, 1);
        if (l->window > 0)
            continue;
        /* by roofline affine in the context; as measured, the chord */
        double far = l->measured ? l->measured->context_tok[l->measured->n_context - 1] : 1;
        *per_context_tok_s += n * (attend_s(l, 1, far) - attend_s(l, 1, 0)) / far;
    }
}

double kvs_cost_prefill_s(const struct kvs_cost *cost, double context_tok, double n_tok,
                          double chunk_tok)
{
    double s = 0;
    if (chunk_tok <= 0 || chunk_tok > n_tok)
        chunk_tok = n_tok;
    uint64_t n_chunk = n_tok > 0 ? (uint64_t)ceil(n_tok / chunk_tok) : 0;
    for (uint64_t c = 0; c < n_chunk; c++) {
        double done = (double)c * chunk_tok, now = fmin(chunk_tok, n_tok - done);
        struct kvs_seg seg = {1, now, context_tok + done};
        for (uint32_t i = 0; i < cost->n_class; i++)
            s += cost->n_of_class[i] * kvs_cost_layer_s(cost, i, &seg, 1);
        s += kvs_cost_head_s(cost, now, c + 1 < n_chunk ? 0 : 1);
    }
    return s;
}

double kvs_cost_kv_room_bytes(const struct kvs_cost *cost, double max_tok)
{
    const struct kvs_model *m = cost->model;
    const struct kvs_hw_gpu *gpu = cost->hw->gpu;
    double all = cost->tp * gpu->memory_bytes.value * gpu->usable_frac.value;
    /* alive at once while the MLP runs: residual, its norm, gate and up, their product */
    double wide = kvs_model_is_moe(m, m->n_layer - 1)
                      ? (double)m->moe.expert_ffn * ((double)m->moe.active + m->moe.shared)
                      : m->ffn;
    double peak = max_tok * ACT_BYTES * (cost->tp * 2.0 * m->hidden + 3 * wide);
    return all - kvs_model_weight_bytes(m) - peak;
}

uint32_t kvs_cost_n_class(const struct kvs_cost *cost)
{
    return cost->n_class;
}

uint32_t kvs_cost_class(const struct kvs_cost *cost, uint32_t layer)
{
    assert(layer < cost->model->n_layer);
    return cost->class_of[layer];
}
