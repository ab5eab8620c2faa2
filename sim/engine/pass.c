/*
 * pass.c - how long a step's forward pass takes.
 *
 * A pass goes through the layers one after the other, and in each with those who have something to
 * compute there. A prompt's new tokens and the decoding sequences go through all layers. What is
 * computed before the loads are there does not: a layer needs the tokens that the next one is given
 * (kvs_plan_eval), and those are fewer from layer to layer. So a layer takes the time of the tokens
 * that are in it, and a step that of its layers.
 */
#include "parts.h"

#include <string.h>

int64_t sim_pass_ns(const struct sim *sim, const struct kvs_seg *seg, uint32_t n_seg)
{
    int64_t ns = 0;
    for (uint32_t c = 0; c < sim->n_class; c++)
        ns += sim->class_n[c] * kvs_ns(kvs_cost_layer_s(sim->config->cost, c, seg, n_seg));
    return ns;
}

/* Its chunk in all layers. */
static struct kvs_seg seg_of(const struct req *req, uint32_t n_tok)
{
    uint32_t computed = req->phase == PHASE_PRE     ? req->pre_tok - req->pre_left_tok
                        : req->phase == PHASE_FIRST ? req->now.prompt_tok - req->now.new_tok
                                                    : req->now.prompt_tok - req->later_left_tok;
    return (struct kvs_seg){1, n_tok, computed};
}

int64_t sim_part_ns(const struct sim *sim, const struct part *part)
{
    const struct req *req = part->req;
    if (req->phase == PHASE_PRE)
        return part->n_tok == req->pre_left_tok
                   ? req->pre_left_ns
                   : (int64_t)((double)req->pre_left_ns * part->n_tok / req->pre_left_tok);
    struct kvs_seg seg = seg_of(req, part->n_tok);
    return sim_pass_ns(sim, &seg, 1);
}

int64_t sim_cache_wait_ns(const struct sim *sim, const struct req *req)
{
    const struct kvs_hw_serving *serving = sim->config->serving;
    double n_tok = 0;
    if (!serving || !req->loads)
        return 0;
    for (uint32_t t = 0; t < sim->config->n_tier; t++)
        n_tok += req->now.tier_tok[t];
    return kvs_ns(serving->cache_request_s.value + serving->cache_tok_s.value * n_tok);
}

/* Tokens of a part that layer l hands on, n_tok of them in the one before. */
static double in_layer(const struct sim *sim, const struct part *part, uint32_t l, double n_tok)
{
    const struct req *req = part->req;
    if (req->phase != PHASE_PRE)
        return part->n_tok;
    if (l + 1 == sim->n_layer)
        return 0;
    double on = (double)kvs_tables_recompute_tok(req->inst, req->plan.frac_i[l + 1]) * part->n_tok /
                req->pre_tok;
    return on < n_tok ? on : n_tok;
}

/* The layers of some parts, and of the decoding sequences if there is room left for them. */
static int64_t layers_ns(struct sim *sim, const struct part *part, uint32_t n_part,
                         const struct kvs_seg *decode)
{
    struct kvs_seg *seg = sim->seg;
    int64_t ns = 0;
    for (uint32_t p = 0; p < n_part; p++)
        seg[p] = seg_of(part[p].req, part[p].n_tok);
    if (decode)
        seg[n_part] = *decode;
    for (uint32_t l = 0; l < sim->n_layer; l++) {
        uint32_t c = kvs_cost_class(sim->config->cost, l);
        bool same = l > 0;
        for (uint32_t p = 0; p < n_part; p++) {
            double n_tok = in_layer(sim, &part[p], l, seg[p].n_tok);
            same &= n_tok == seg[p].n_tok;
            seg[p].n_tok = n_tok;
        }
        if (!same)
            memset(sim->class_ns, -1, sim->n_class * sizeof *sim->class_ns);
        if (sim->class_ns[c] < 0)
            sim->class_ns[c] =
                kvs_ns(kvs_cost_layer_s(sim->config->cost, c, seg, n_part + (decode != NULL)));
        ns += sim->class_ns[c];
    }
    return ns;
}

bool sim_is_last_chunk(const struct part *part)
{
    const struct req *req = part->req;
    return req->phase == PHASE_FIRST
               ? req->later_left_tok == 0
               : req->phase == PHASE_LATER && part->n_tok == req->later_left_tok;
}

int64_t sim_extra_ns(struct sim *sim, const struct replica *replica)
{
    const struct step *step = &replica->step;
    const struct part *part = step->part;
    int64_t ns = sim->step_ns, own_ns = 0;
    double n = replica->n_decoding, n_row = n;
    const struct kvs_seg decode = {n, 1, n > 0 ? replica->context_tok / n : 0};

    for (uint32_t p = 0; p < step->n_part; p++)
        if (part[p].req->phase == PHASE_FIRST)
            ns += sim_cache_wait_ns(sim, part[p].req) + (p ? part[p].req->decode_gpu_ns : 0);
    if (step->n_part == 1 && n <= 0)
        return ns;
    int64_t more_ns =
        layers_ns(sim, part, step->n_part, n > 0 ? &decode : NULL) - layers_ns(sim, part, 1, NULL);
    /* keys and values alone, of tokens that a layer does not hand on, take a product of their own
     */
    for (uint32_t p = 1; p < step->n_part; p++) {
        n_row += sim_is_last_chunk(&part[p]);
        if (part[p].req->phase == PHASE_PRE)
            own_ns += sim_part_ns(sim, &part[p]) - layers_ns(sim, &part[p], 1, NULL);
    }
    more_ns += own_ns > 0 ? own_ns : 0;
    return ns + (more_ns > 0 ? more_ns : 0) +
           kvs_ns(kvs_cost_head_s(sim->config->cost, n_row, n_row));
}
