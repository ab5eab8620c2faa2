/*
 * cost_new.c - a cost model of a shape on a GPU: what a row of each operator takes.
 */
#include "cost_in.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* --- making the tables ----------------------------------------------------------------------- */

/* What the GPU does a second, for this model. */
struct rates {
    double gemm_flop, expert_flop, attn_flop, mem;
    double half_rows, attn_half, weight_bytes, expert_bytes, kv_bytes;
};

static struct rates rates_of(const struct kvs_model *model, const struct kvs_hw_gpu *gpu)
{
    double peak = gpu->peak_flop_per_s.value;
    double gemm_peak =
        model->fp8 && gpu->peak_fp8_flop_per_s.known ? gpu->peak_fp8_flop_per_s.value : peak;
    struct rates r = {
        .gemm_flop = gemm_peak * gpu->gemm_eff.value,
        .attn_flop = peak * gpu->attn_eff.value,
        .mem = gpu->mem_bytes_per_s.value * gpu->mem_eff.value,
        .half_rows = gpu->gemm_half_rows.value,
        .attn_half = gpu->attn_half_rows.value,
        .weight_bytes = model->weight_bits / 8,
        .expert_bytes = model->moe.expert_bits / 8,
        .kv_bytes = model->kv_bits / 8,
    };
    r.expert_flop = r.gemm_flop * gpu->moe_eff.value;
    return r;
}

static struct gemm gemm_of(const struct rates *r, double k, double n)
{
    double row_s = 2 * k * n / r->gemm_flop;
    return (struct gemm){
        .flop_s0 = row_s * r->half_rows,
        .flop_s = row_s,
        .mem_s0 = k * n * r->weight_bytes / r->mem,
        .mem_s = (k + n) * ACT_BYTES / r->mem,
    };
}

static void add_gemm(struct layer *l, const struct rates *r, double k, double n)
{
    assert(l->n_gemm < MAX_GEMM);
    l->gemm[l->n_gemm++] = gemm_of(r, k, n);
}

/* Widths on one of tp ranks. K and V heads are copied where there are fewer than ranks. */
struct widths {
    double hidden, q_heads, kv_heads, q, kv, ffn, expert_ffn;
};

static struct widths widths_of(const struct kvs_model *m, uint32_t tp)
{
    struct widths w = {
        .hidden = m->hidden,
        .q_heads = (double)m->heads / tp,
        .kv_heads = m->kv_heads * kvs_model_kv_share(m, tp),
        .ffn = (double)m->ffn / tp,
        .expert_ffn = (double)m->moe.expert_ffn / tp,
    };
    w.q = w.q_heads * m->head_dim;
    w.kv = w.kv_heads * m->head_dim;
    return w;
}

/* Grouped-query attention: fused QKV projection, output projection, one pass over the keys. */
static void set_gqa(struct layer *l, const struct kvs_model *m, const struct widths *w,
                    const struct rates *r)
{
    add_gemm(l, r, w->hidden, w->q + 2 * w->kv);
    add_gemm(l, r, w->q, w->hidden);
    l->key_flop_s[0] = 4 * w->q / r->attn_flop;
    l->half_q[0] = r->attn_half * w->kv_heads / w->q_heads;
    l->key_flop_s[1] = l->key_flop_s[0] / DECODE_EFF;
    l->half_q[1] = DECODE_ROWS * w->kv_heads / w->q_heads;
    l->key_mem_s = 2 * w->kv * r->kv_bytes / r->mem;
    l->stream_s += 2 * ACT_BYTES * (w->q + w->kv) / r->mem; /* RoPE, in and out */
    l->launch_s = 4;                                        /* norm, 2 GEMMs, RoPE */
    (void)m;
}

/*
 * Latent attention, two ways: the latent expanded to each head's keys and values (long prefill), or
 * the up-projections absorbed into queries and output, so that all heads share the latent (decode).
 * The new tokens' own up-projection costs the same either way; expanding pays it for the context
 * too.
 */
static void set_mla(struct layer *l, const struct kvs_model *m, const struct widths *w,
                    const struct rates *r)
{
    const struct kvs_mla *a = &m->mla;
    double qk = (double)a->nope_dim + a->rope_dim, latent = (double)a->kv_lora + a->rope_dim;
    if (a->q_lora) {
        add_gemm(l, r, w->hidden, a->q_lora);
        add_gemm(l, r, a->q_lora, w->q_heads * qk);
    } else {
        add_gemm(l, r, w->hidden, w->q_heads * qk);
    }
    add_gemm(l, r, w->hidden, latent);
    add_gemm(l, r, a->kv_lora, w->q_heads * ((double)a->nope_dim + a->v_dim));
    add_gemm(l, r, w->q_heads * a->v_dim, w->hidden);
    l->key_flop_s[0] = 2 * w->q_heads * (qk + a->v_dim) / r->attn_flop;
    l->half_q[0] = r->attn_half +
                   /* expanding one key costs as much as so many queries that see it */
                   a->kv_lora * ((double)a->nope_dim + a->v_dim) / (qk + a->v_dim) * r->attn_flop /
                       r->gemm_flop;
    l->key_flop_s[1] = 2 * w->q_heads * (latent + a->kv_lora) / r->attn_flop;
    l->half_q[1] = r->attn_half / w->q_heads;
    l->key_mem_s = latent * r->kv_bytes / r->mem;
    l->stream_s += 2 * ACT_BYTES * (w->q_heads * qk + latent) / r->mem;
    l->launch_s = 3.0 + l->n_gemm; /* norm, RoPE, latent's norm, GEMMs */
}

static void set_dense(struct layer *l, const struct widths *w, const struct rates *r, double ffn)
{
    add_gemm(l, r, w->hidden, 2 * ffn);
    add_gemm(l, r, ffn, w->hidden);
    l->stream_s += ACT_BYTES * 3 * ffn / r->mem; /* gate and up in, product out */
}

static void set_experts(struct layer *l, const struct kvs_model *m, const struct widths *w,
                        const struct rates *r)
{
    const struct kvs_moe *moe = &m->moe;
    double params = 3 * w->hidden * w->expert_ffn;
    double flop_s = 2 * params / r->expert_flop;
    l->moe = true;
    l->experts = (struct experts){
        .n = moe->experts,
        .log_miss = log1p(-(double)moe->active / moe->experts),
        .flop_s = flop_s * moe->active,
        .mem_s = moe->active * ACT_BYTES * (2 * w->hidden + 3 * w->expert_ffn) / r->mem,
        .flop_s0 = flop_s * moe->active * r->half_rows,
        .mem_s0 = params * r->expert_bytes / r->mem,
    };
    if (moe->active == moe->experts)
        l->experts.log_miss = -1e3; /* all are hit by the first token; log 0 is not finite */
    add_gemm(l, r, w->hidden, moe->experts); /* router */
    if (moe->shared)
        set_dense(l, w, r, moe->shared * w->expert_ffn);
    /* tokens gathered for their experts and summed back, the activation between */
    l->stream_s += ACT_BYTES * moe->active * (4 * w->hidden + 3 * w->expert_ffn) / r->mem;
}

static void set_layer(struct layer *l, const struct kvs_model *m, const struct widths *w,
                      const struct rates *r, const struct kvs_hw_gpu *gpu)
{
    /* two norms in and out, two residual sums of two in and one out */
    l->stream_s = ACT_BYTES * (2 * 2 + 2 * 3) * w->hidden / r->mem;
    l->tail_tok = gpu->attn_tail_tok.value;
    if (m->mla.kv_lora)
        set_mla(l, m, w, r);
    else
        set_gqa(l, m, w, r);
    if (l->moe)
        set_experts(l, m, w, r);
    else
        set_dense(l, w, r, w->ffn);
    /* norm with its residual sum, 2 GEMMs, activation, sum; routing and permuting besides */
    l->launch_s = (l->launch_s + (l->moe ? 9 : 5)) * gpu->launch_s.value;
}

/* Layers of this shape as they were measured, on one GPU: the last of the profile's that fit. */
static const struct kvs_measured *measured_for(const struct kvs_model *m, const struct kvs_hw *hw,
                                               uint32_t tp)
{
    for (uint32_t i = tp == 1 && !m->mla.kv_lora ? hw->n_measured : 0; i-- > 0;) {
        const struct kvs_measured *x = &hw->measured[i];
        if (x->hidden == m->hidden && x->heads == m->heads && x->kv_heads == m->kv_heads &&
            x->head_dim == m->head_dim && x->ffn == m->ffn)
            return x;
    }
    return NULL;
}

static uint32_t class_for(struct kvs_cost *cost, bool moe, double window)
{
    for (uint32_t i = 0; i < cost->n_class; i++)
        if (cost->layer[i].moe == moe && cost->layer[i].window == window)
            return i;
    assert(cost->n_class < MAX_CLASS); /* dense or not, window or not */
    cost->layer[cost->n_class] = (struct layer){.moe = moe, .window = window};
    return cost->n_class++;
}

static void set_tables(struct kvs_cost *cost)
{
    const struct kvs_model *m = cost->model;
    const struct kvs_hw_gpu *gpu = cost->hw->gpu;
    struct rates r = rates_of(m, gpu);
    struct widths w = widths_of(m, cost->tp);
    for (uint32_t l = 0; l < m->n_layer; l++) {
        uint32_t class_i = class_for(cost, kvs_model_is_moe(m, l), kvs_model_window_tok(m, l));
        cost->class_of[l] = (uint8_t)class_i;
        cost->n_of_class[class_i]++;
    }
    const struct kvs_measured *measured = measured_for(m, cost->hw, cost->tp);
    for (uint32_t i = 0; i < cost->n_class; i++) {
        struct layer *l = &cost->layer[i];
        set_layer(l, m, &w, &r, gpu);
        l->measured = l->moe || l->window > 0 ? NULL : measured;
    }
    cost->head = measured && measured->vocab == m->vocab ? measured : NULL;

    double kv = m->mla.kv_lora ? (double)m->mla.kv_lora + m->mla.rope_dim : 2 * w.kv;
    cost->kv_gemm = gemm_of(&r, w.hidden, kv);
    cost->kv_stream_s = ACT_BYTES * (2 * w.hidden + kv) / r.mem;
    cost->shift_stream_s = 2 * ACT_BYTES * (m->mla.kv_lora ? m->mla.rope_dim : w.kv) / r.mem;
    r.weight_bytes = ACT_BYTES; /* embeddings stay 16-bit */
    cost->head_gemm = gemm_of(&r, w.hidden, (double)m->vocab / cost->tp);
    cost->embed_s = 2 * ACT_BYTES * w.hidden / r.mem;
    cost->launch_s = gpu->launch_s.value;
    if (cost->tp > 1) {
        double ring = 2 * (cost->tp - 1.0) / cost->tp;
        cost->reduce_s0 = gpu->allreduce_latency_s.value;
        cost->reduce_s = ring * ACT_BYTES * w.hidden / gpu->allreduce_bytes_per_s.value;
    }
}

/* --- making and ending ----------------------------------------------------------------------- */

static enum kvs_code check_figures(const struct kvs_hw *hw, uint32_t tp, struct kvs_err *err)
{
    const struct kvs_hw_gpu *gpu = hw->gpu;
    if (!gpu)
        return kvs_fail(err, KVS_ERR_ABSENT, "%s: the profile has no GPU", hw->name);
    const struct {
        const struct kvs_figure *figure;
        const char *key;
        bool tp;
    } need[] = {
        {&gpu->memory_bytes, "memory_bytes", false},
        {&gpu->peak_flop_per_s, "peak_flop_per_s", false},
        {&gpu->mem_bytes_per_s, "mem_bytes_per_s", false},
        {&gpu->usable_frac, "usable_frac", false},
        {&gpu->gemm_eff, "gemm_eff", false},
        {&gpu->gemm_half_rows, "gemm_half_rows", false},
        {&gpu->mem_eff, "mem_eff", false},
        {&gpu->launch_s, "launch_s", false},
        {&gpu->moe_eff, "moe_eff", false},
        {&gpu->attn_eff, "attn_eff", false},
        {&gpu->attn_half_rows, "attn_half_rows", false},
        {&gpu->attn_tail_tok, "attn_tail_tok", false},
        {&gpu->allreduce_bytes_per_s, "allreduce_bytes_per_s", true},
        {&gpu->allreduce_latency_s, "allreduce_latency_s", true},
    };
    for (size_t i = 0; i < sizeof need / sizeof *need; i++)
        if (!need[i].figure->known && (!need[i].tp || tp > 1))
            return kvs_fail(err, KVS_ERR_ABSENT, "%s: gpu.%s is not known%s", hw->name, need[i].key,
                            need[i].tp ? ", which tensor parallelism needs" : "");
    return KVS_OK;
}

static enum kvs_code check_tp(const struct kvs_model *m, uint32_t tp, struct kvs_err *err)
{
    if (tp < 1 || m->heads % tp)
        return kvs_fail(err, KVS_ERR_RANGE, "%s: tensor parallelism of %u does not divide %u heads",
                        m->name, tp, m->heads);
    if (!m->mla.kv_lora && m->kv_heads % tp && tp % m->kv_heads)
        return kvs_fail(err, KVS_ERR_RANGE,
                        "%s: tensor parallelism of %u neither divides %u KV heads nor is a "
                        "multiple of them",
                        m->name, tp, m->kv_heads);
    return KVS_OK;
}

enum kvs_code kvs_cost_new_part(const struct kvs_model *model, const struct kvs_hw *hw, uint32_t tp,
                                struct kvs_cost **cost, struct kvs_err *err)
{
    enum kvs_code code;
    *cost = NULL;
    if ((code = check_figures(hw, tp, err)) || (code = check_tp(model, tp, err)))
        return code;
    struct kvs_cost *c = calloc(1, sizeof *c);
    if (!c)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for a cost model");
    c->model = model;
    c->hw = hw;
    c->tp = tp;
    set_tables(c);
    *cost = c;
    return KVS_OK;
}

enum kvs_code kvs_cost_new(const struct kvs_model *model, const struct kvs_hw *hw, uint32_t tp,
                           struct kvs_cost **cost, struct kvs_err *err)
{
    struct kvs_cost *c;
    *cost = NULL;
    enum kvs_code code = kvs_cost_new_part(model, hw, tp, &c, err);
    if (code || !c)
        return code;
    if (kvs_cost_kv_room_bytes(c, 1) <= 0) {
        code = kvs_fail(
            err, KVS_ERR_RANGE, "%s: weights of %.1f GB do not fit the usable %.1f GB of %u x %s",
            model->name, kvs_model_weight_bytes(model) / 1e9,
            tp * hw->gpu->memory_bytes.value * hw->gpu->usable_frac.value / 1e9, tp, hw->name);
        kvs_cost_free(c);
        return code;
    }
    *cost = c;
    return KVS_OK;
}

void kvs_cost_free(struct kvs_cost *cost)
{
    free(cost);
}
