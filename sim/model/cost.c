#include "cost.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ACT_BYTES 2.0 /* activations travel in 16 bits */
/*
 * Few queries take a kernel that splits the keys over the GPU (flash decoding): it pads to one tile
 * of rows and computes at a share of the prefill kernel's rate. Reading the keys costs more on
 * every GPU we have a profile of, so neither number shows but where attn_half_rows is large.
 */
#define DECODE_ROWS 16.0
#define DECODE_EFF 0.25
#define MAX_GEMM 8
#define MAX_CLASS 4

/* One GEMM as max of two affine functions of its rows: compute and memory. */
struct gemm {
    double flop_s0, flop_s; /* seconds of the padding, and of a row */
    double mem_s0, mem_s;   /* seconds of the weights, and of a row in and out */
};

/* The routed experts of a layer: one grouped GEMM a projection over all experts that are hit. */
struct experts {
    double n;
    double log_miss;        /* log of the chance that a token misses a given expert */
    double flop_s0, flop_s; /* seconds of the padding, and of a token's active experts */
    double mem_s0, mem_s;   /* seconds of one expert's weights, and of a token in and out */
};

/* Costs of one layer of a class; see kvs_cost_new for how they come about. */
struct layer {
    const struct kvs_measured *measured; /* NULL: composed of what follows */
    bool moe;
    double window; /* 0: none */
    uint32_t n_gemm;
    struct gemm gemm[MAX_GEMM];
    struct experts experts;
    double launch_s; /* all operators but attention */
    double stream_s; /* of one token: norms, RoPE, activation, residuals */
    /* attention, of one query with its padding and one key, by two kernels */
    double key_flop_s[2], half_q[2];
    double tail_tok;
    double key_mem_s; /* of one key and value read */
};

struct kvs_cost {
    const struct kvs_model *model;
    const struct kvs_hw *hw;
    uint32_t tp, n_class;
    uint8_t class_of[256];
    struct layer layer[MAX_CLASS];
    struct gemm kv_gemm, head_gemm;
    double kv_stream_s, shift_stream_s, embed_s;
    double launch_s, reduce_s0, reduce_s, hand_s0, hand_s;
    const struct kvs_measured *head; /* begins of passes, and logits, as measured; NULL: neither */
    double n_of_class[MAX_CLASS];
};

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

double kvs_cost_handover_s(const struct kvs_cost *cost, double n_tok)
{
    return n_tok > 0 ? cost->hand_s0 + cost->hand_s * n_tok : 0;
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

void kvs_stage_layers(uint32_t n_layer, uint32_t n_stage, uint32_t stage_i, uint32_t *first,
                      uint32_t *n)
{
    assert(n_stage > 0 && n_stage <= n_layer && stage_i < n_stage);
    uint32_t base = n_layer / n_stage, more = n_layer % n_stage;
    *n = base + (stage_i < more ? 1 : 0);
    *first = stage_i * base + (stage_i < more ? stage_i : more);
}

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
    cost->hand_s0 = gpu->allreduce_latency_s.value;
    if (gpu->allreduce_bytes_per_s.known)
        cost->hand_s = ACT_BYTES * w.hidden / gpu->allreduce_bytes_per_s.value / cost->tp;
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

uint32_t kvs_cost_n_class(const struct kvs_cost *cost)
{
    return cost->n_class;
}

uint32_t kvs_cost_class(const struct kvs_cost *cost, uint32_t layer)
{
    assert(layer < cost->model->n_layer);
    return cost->class_of[layer];
}
