/*
 * validate_trace_prompts.c - a workload as prompts that a small model can run.
 */
#include "base/rng.h"
#include "kernels/store/fill.h"
#include "store/evict.h"
#include "validate_trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- what can be replayed -----------------------------------------------------------------------
 */

/* Policies that go by order alone: times and costs of a block are not the same on both sides. */
static const char *const by_order[] = {"lru", "fifo", "lfu", "s3fifo", "sieve", NULL};

static bool is_by_order(const struct kvs_evict_ops *evict)
{
    for (int i = 0; by_order[i]; i++)
        if (strcmp(evict->name, by_order[i]) == 0)
            return true;
    return false;
}

/* What is not the case, or NULL: the device does what the simulator is told. */
static const char *unlike(const struct kvs_sim_config *c, const struct kvs_planner_ops *planner)
{
    const struct kvs_tier_config *tier = &c->tier[0];

    if (c->n_replica != 1 || c->n_decode_replica || c->tp != 1)
        return "cluster: want one replica of one device";
    if (c->serving || c->repoll_ns)
        return "cluster: want no serving system and no repoll: the device has none";
    if (c->reuse != KVS_REUSE_PREFIX)
        return "cluster.reuse: want \"prefix\"";
    if (c->n_tier != 1)
        return "tiers: want one, the store";
    if (tier->write != KVS_WRITE_THROUGH || tier->level || tier->admit ||
        tier->placement != KVS_PLACE_LOCAL || tier->n_outage)
        return "tiers[0]: want raw blocks, written through, all of them, in one place";
    if (!is_by_order(tier->evict))
        return "tiers[0].evict: want lru, fifo, lfu, s3fifo or sieve, which go by order alone";
    if (planner->never_loads || planner->priced)
        return "compare: want a policy that loads, and knows no prices";
    return NULL;
}

static enum kvs_code check(const struct kvs_vt *vt, struct kvs_err *err)
{
    const struct kvs_workload *w = vt->workload;
    const struct kvs_weights_shape *shape = kvs_weights_shape(vt->weights);
    const struct kvs_model *model = w->sim.model;

    if (w->n_policy != 1 || !w->policy[0].cached)
        return kvs_fail(err, KVS_ERR_ARG,
                        "%s: compare: found %u policies, want one that uses the store", w->name,
                        w->n_policy);
    const char *why = unlike(&w->sim, w->policy[0].planner);
    if (why)
        return kvs_fail(err, KVS_ERR_ARG, "%s: %s", w->name, why);
    if (model->n_layer != shape->n_layer || model->hidden != shape->hidden ||
        model->kv_heads != shape->n_kv_head || model->head_dim != shape->head_dim)
        return kvs_fail(err, KVS_ERR_ARG,
                        "--weights: %u layers, hidden %u, %u KV heads of %u; %s: model: %s has %u, "
                        "%u, %u of %u",
                        shape->n_layer, shape->hidden, shape->n_kv_head, shape->head_dim, w->name,
                        model->name, model->n_layer, model->hidden, model->kv_heads,
                        model->head_dim);
    return KVS_OK;
}

/* --- prompts ------------------------------------------------------------------------------------
 */

static uint32_t scaled(const struct kvs_vt *vt, uint32_t n_tok)
{
    double n = floor(n_tok * vt->options.scale + .5);

    return n < 1 ? 1 : (uint32_t)n;
}

/* The text of an id: the same tokens wherever it stands. */
static void write_text(const struct kvs_vt *vt, const char *kind, uint64_t id, uint32_t *tok,
                       uint32_t n_tok)
{
    uint64_t mixed = vt->options.seed * 0x9e3779b97f4a7c15 ^ (id + 1) * 0xbf58476d1ce4e5b9;
    struct kvs_rng rng = kvs_rng_stream(mixed, kind);

    for (uint32_t t = 0; t < n_tok; t++)
        tok[t] = (uint32_t)kvs_rng_below(&rng, kvs_weights_shape(vt->weights)->n_vocab);
}

static enum kvs_code make_prompt(struct kvs_vt *vt, const struct kvs_request *from,
                                 struct kvs_vt_prompt *to, struct kvs_err *err)
{
    uint64_t n = 0, tail = from->input_tok;
    uint32_t at = 0;

    for (uint32_t b = 0; b < from->n_block; b++) {
        n += scaled(vt, from->block[b].n_tok);
        tail -= from->block[b].n_tok;
    }
    uint32_t tail_tok = tail || !n ? scaled(vt, (uint32_t)tail) : 0;
    n += tail_tok;
    if (n > kvs_weights_shape(vt->weights)->n_ctx)
        return kvs_fail(err, KVS_ERR_RANGE,
                        "request %u: %llu tokens at --scale %g, and the model's context is %u",
                        vt->n, (unsigned long long)n, vt->options.scale,
                        kvs_weights_shape(vt->weights)->n_ctx);
    to->n_tok = (uint32_t)n;
    to->n_block = kvs_serve_blocks(to->n_tok, (uint32_t)vt->options.block_tok);
    to->arrive_ns = from->arrive_ns;
    to->tok = malloc(n * sizeof *to->tok);
    if (!to->tok)
        return kvs_nomem(err);
    for (uint32_t b = 0; b < from->n_block; b++) {
        uint32_t n_tok = scaled(vt, from->block[b].n_tok);

        write_text(vt, "block", from->block[b].id, to->tok + at, n_tok);
        at += n_tok;
    }
    write_text(vt, "tail", vt->n, to->tok + at, tail_tok);
    vt->max_tok = to->n_tok > vt->max_tok ? to->n_tok : vt->max_tok;
    return KVS_OK;
}

static enum kvs_code make_prompts(struct kvs_vt *vt, struct kvs_err *err)
{
    const struct kvs_request *request;
    struct kvs_trace *trace = NULL;
    enum kvs_code code = kvs_workload_trace(vt->workload, &trace, err);

    while (!code && vt->n < vt->options.requests &&
           !(code = kvs_trace_next(trace, &request, err)) && request) {
        code = make_prompt(vt, request, &vt->prompt[vt->n], err);
        vt->n++; /* what was begun is freed */
    }
    kvs_trace_close(trace);
    for (uint32_t i = vt->n; i-- > 0 && !code;)
        vt->prompt[i].arrive_ns -= vt->prompt[0].arrive_ns;
    if (!code && !vt->n)
        code = kvs_fail(err, KVS_ERR_PARSE, "%s: trace: holds no request", vt->workload->name);
    return code;
}

/* --- beginning ----------------------------------------------------------------------------------
 */

static void set_config(struct kvs_vt *vt)
{
    const struct kvs_weights_shape *shape = kvs_weights_shape(vt->weights);
    struct kvs_sim_config *c = &vt->config;

    *c = kvs_workload_config(vt->workload, 0);
    vt->policy = vt->workload->policy[0].name;
    c->max_batch = c->prefill_batch = 1;
    c->chunk_tok = vt->max_tok; /* the executor's batches are whole */
    c->hbm_cache = false;
    c->n_request = 0;
    c->arrivals = (struct kvs_arrivals){0};
    if (!vt->options.clock) /* the next comes when all of the last is written */
        c->arrivals = (struct kvs_arrivals){
            .loop = KVS_LOOP_CLOSED, .in_flight = 1, .think = KVS_THINK_FIXED, .think_s = 3600};
    vt->block_bytes =
        vt->options.block_tok * shape->n_layer * 4 * shape->n_kv_head * shape->head_dim;
}

enum kvs_code kvs_vt_begin(const char *file, const struct kvs_vt_options *options,
                           struct kvs_vt *vt, struct kvs_err *err)
{
    enum kvs_code code;

    memset(vt, 0, sizeof *vt);
    vt->options = *options;
    if ((code = kvs_workload_open(file, &options->sets, &vt->workload, err)) ||
        (code = kvs_weights_open(options->weights, &vt->weights, err)) || (code = check(vt, err)))
        return code;
    vt->prompt = calloc(options->requests, sizeof *vt->prompt);
    vt->row = calloc(options->requests, sizeof *vt->row);
    if (!vt->prompt || !vt->row)
        return kvs_nomem(err);
    if ((code = kvs_model_hash(vt->weights, vt->model_hash, err)) || (code = make_prompts(vt, err)))
        return code;
    set_config(vt);
    return KVS_OK;
}

void kvs_vt_end(struct kvs_vt *vt)
{
    for (uint32_t i = 0; i < vt->n; i++)
        free(vt->prompt[i].tok);
    free(vt->prompt);
    free(vt->row);
    kvs_weights_close(vt->weights);
    kvs_workload_free(vt->workload);
}
