#include "workload_in.h"

#include "base/units.h"
#include "engine/router.h"
#include "engine/sched.h"
#include "model/layout.h"

#include <inttypes.h>
#include <string.h>

static const char *const reuse_names[] = {"prefix", "content", NULL}; /* by enum kvs_reuse */

static const char *const preempt_names[] = {"recompute", "swap", "never", NULL}; /* kvs_preempt */

#define CLUSTER(field) offsetof(struct kvs_wl_cluster, field)
static const struct kvs_opt cluster_table[] = {
    {"replicas", KVS_OPT_U64, CLUSTER(replicas), "1", 1, 4096, "copies of the model", NULL, false,
     0},
    {"decode_replicas", KVS_OPT_U64, CLUSTER(decode_replicas), "0", 0, 4096,
     "more replicas, which only decode; the others then only prefill; 0: all do both", NULL, false,
     0},
    {"handover_link", KVS_OPT_STR, CLUSTER(handover_link), KVS_WL_NETWORK, 0, 0,
     "the profile's link that a prompt's KV takes to its decode replica", NULL, false, 0},
    {"tp", KVS_OPT_U64, CLUSTER(tp), "1", 1, 64, "GPUs a replica", NULL, false, 0},
    {"max_batch", KVS_OPT_U64, CLUSTER(max_batch), "64", 1, 65536,
     "sequences that a replica runs at once", NULL, false, 0},
    {"chunk_tok", KVS_OPT_TOK, CLUSTER(chunk_tok), "8Ki", 16, 1e6,
     "prompt tokens of one step, at most; each decoding sequence adds one", NULL, false, 0},
    {"prefill_batch", KVS_OPT_U64, CLUSTER(prefill_batch), "4", 1, 1024,
     "prompts that share one step", NULL, false, 0},
    {"router", KVS_OPT_STR, CLUSTER(router), "least-loaded", 0, 0,
     "which replica a request goes to", NULL, false, 0},
    {"scheduler", KVS_OPT_STR, CLUSTER(scheduler), "fcfs", 0, 0,
     "which of a replica's waiting prompts goes first", NULL, false, 0},
    {"layout", KVS_OPT_STR, CLUSTER(layout), "blocks", 0, 0,
     "how stored KV lies: what one descriptor moves", NULL, false, 0},
    {"serving", KVS_OPT_STR, CLUSTER(serving), "none", 0, 0,
     "what the serving system adds: one of the profile's, or none", NULL, false, 0},
    {"repoll", KVS_OPT_TIME, CLUSTER(repoll_s), "0", 0, 60,
     "a prompt that waits for its loads is looked at this often; 0: at once", NULL, false, 0},
    {"max_pending_loads", KVS_OPT_U64, CLUSTER(max_pending_loads), "0", 0, 65536,
     "prompts of a replica that load at once, at most; 0: no bound", NULL, false, 0},
    {"reuse", KVS_OPT_ENUM, CLUSTER(reuse), "prefix", 0, 0,
     "prefix: exact; content: the same text anywhere; see planner.repair", reuse_names, false, 0},
    {"preemption", KVS_OPT_ENUM, CLUSTER(preemption), "recompute", 0, 0,
     "when answers outgrow HBM: the youngest is computed again, or swapped; never: room for whole "
     "answers is kept",
     preempt_names, false, 0},
    {"hbm_cache", KVS_OPT_FLAG, CLUSTER(hbm_cache), "true", 0, 0,
     "blocks stay in HBM after their request", NULL, false, 0},
    {"hbm_evict", KVS_OPT_STR, CLUSTER(hbm_evict), "lru", 0, 0, "which of them leaves first", NULL,
     false, 0},
};

static enum kvs_code read_router(struct kvs_json node, const char *name,
                                 const struct kvs_router_ops **router, struct kvs_err *err)
{
    const char *names[KVS_WL_N_NAME];
    uint32_t n = 0;
    for (; kvs_router_list[n] && n < KVS_WL_N_NAME; n++)
        names[n] = kvs_router_list[n]->name;
    *router = kvs_router_find(name);
    return *router ? KVS_OK : kvs_wl_unknown(node, err, name, names, n);
}

static enum kvs_code read_serving(struct kvs_json node, const struct kvs_hw *hw, const char *name,
                                  const struct kvs_hw_serving **serving, struct kvs_err *err)
{
    const char *names[KVS_MAX_SERVING + 1] = {"none"};
    *serving = NULL;
    for (uint32_t i = 0; i < hw->n_serving; i++) {
        names[i + 1] = hw->serving[i].name;
        if (strcmp(names[i + 1], name) == 0)
            *serving = &hw->serving[i];
    }
    return *serving || strcmp(name, "none") == 0
               ? KVS_OK
               : kvs_wl_unknown(node, err, name, names, hw->n_serving + 1);
}

static enum kvs_code read_layout(struct kvs_json node, const char *name,
                                 const struct kvs_layout **layout, struct kvs_err *err)
{
    const char *names[KVS_WL_N_NAME];
    uint32_t n = 0;
    for (; kvs_layouts[n].name && n < KVS_WL_N_NAME; n++)
        names[n] = kvs_layouts[n].name;
    *layout = kvs_layout_find(name);
    return *layout ? KVS_OK : kvs_wl_unknown(node, err, name, names, n);
}

static enum kvs_code read_sched(struct kvs_json node, const char *name,
                                const struct kvs_sched_ops **sched, struct kvs_err *err)
{
    const char *names[KVS_WL_N_NAME];
    uint32_t n = 0;
    for (; kvs_sched_list[n] && n < KVS_WL_N_NAME; n++)
        names[n] = kvs_sched_list[n]->name;
    *sched = kvs_sched_find(name);
    return *sched ? KVS_OK : kvs_wl_unknown(node, err, name, names, n);
}

enum kvs_code kvs_wl_read_cluster(struct kvs_workload_in *in, struct kvs_sim_config *sim,
                                  struct kvs_err *err)
{
    const struct kvs_json node = in->top.cluster;
    struct kvs_wl_cluster *c = &in->cluster;
    struct kvs_err inner = {0};
    enum kvs_code code;
    if ((code = kvs_opt_json(cluster_table, N(cluster_table), node, c, err)) ||
        (code = read_router(kvs_json_get(node, "router"), c->router, &sim->router, err)) ||
        (code = read_sched(kvs_json_get(node, "scheduler"), c->scheduler, &sim->sched, err)) ||
        (code = kvs_wl_evict(kvs_json_get(node, "hbm_evict"), c->hbm_evict, &sim->hbm_evict, err)))
        return code;
    if ((code = kvs_cost_new(in->model, in->hw, (uint32_t)c->tp, &in->cost, &inner)))
        return kvs_wl_fail_at(kvs_json_get(node, "tp"), err, code, &inner);
    if (c->tp > in->hw->gpus_per_host)
        return kvs_json_fail(kvs_json_get(node, "tp"), err, KVS_ERR_RANGE,
                             "found %" PRIu64 " GPUs, want at most the %u of a host of %s", c->tp,
                             in->hw->gpus_per_host, in->hw->name);
    if (kvs_cost_kv_room_bytes(in->cost, (double)c->chunk_tok) <= 0)
        return kvs_json_fail(kvs_json_get(node, "tp"), err, KVS_ERR_RANGE,
                             "%s leaves no HBM for KV on %" PRIu64 " GPUs of %s with chunks of "
                             "%" PRIu64 " tokens; want more GPUs or smaller chunks (chunk_tok)",
                             kvs_model_name(in->model), c->tp, in->hw->name, c->chunk_tok);
    if ((code = read_layout(kvs_json_get(node, "layout"), c->layout, &sim->layout, err)) ||
        (code =
             read_serving(kvs_json_get(node, "serving"), in->hw, c->serving, &sim->serving, err)))
        return code;
    /* unused, it is still no name to be wrong; the default need not be there */
    if ((c->decode_replicas || strcmp(c->handover_link, KVS_WL_NETWORK) != 0) &&
        (code = kvs_wl_link(kvs_json_get(node, "handover_link"), in->hw, c->handover_link,
                            &sim->handover_link, err)))
        return code;
    sim->n_replica = (uint32_t)c->replicas;
    sim->n_decode_replica = (uint32_t)c->decode_replicas;
    sim->tp = (uint32_t)c->tp;
    sim->max_batch = (uint32_t)c->max_batch;
    sim->chunk_tok = (uint32_t)c->chunk_tok;
    sim->prefill_batch = (uint32_t)c->prefill_batch;
    sim->repoll_ns = kvs_ns(c->repoll_s);
    sim->max_pending_loads = (uint32_t)c->max_pending_loads;
    sim->reuse = (enum kvs_reuse)c->reuse;
    sim->preemption = (enum kvs_preempt)c->preemption;
    sim->hbm_cache = c->hbm_cache;
    return KVS_OK;
}

json_t *kvs_wl_record_cluster(const struct kvs_workload_in *in)
{
    return kvs_opt_record(cluster_table, N(cluster_table), &in->cluster);
}
