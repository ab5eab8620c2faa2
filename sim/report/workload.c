#include "workload.h"

#include "arrivals.h"
#include "base/data.h"
#include "base/units.h"
#include "engine/router.h"
#include "engine/sched.h"
#include "model/hw_set.h"
#include "model/layout.h"
#include "plan/levels.h"
#include "sample.h"
#include "store/admit.h"
#include "store/evict.h"
#include "store/ring.h"
#include "tier_levels.h"
#include "workloads/trace_filter.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define N(table) ((unsigned)(sizeof(table) / sizeof *(table)))
#define MAX_NAME 64
/* what the table of a tier gives where admit has no use for it */
#define ADMIT_N 2
#define ADMIT_SHARE 0.1

/* --- the tables: what may stand in a workload file ----------------------------------------------
 */

struct top {
    const char *kvsim, *about, *model, *hardware;
    struct kvs_json hardware_set, trace, arrivals, cluster, tiers, planner, slo, warmup, compare,
        output;
    uint64_t seed;
};

#define TOP(field) offsetof(struct top, field)
static const struct kvs_opt top_table[] = {
    {"kvsim", KVS_OPT_STR, TOP(kvsim), NULL, 0, 0, "version that recorded this file; not a setting",
     NULL, false, 0},
    {"about", KVS_OPT_STR, TOP(about), NULL, 0, 0, "what this workload is, for people", NULL, false,
     0},
    {"model", KVS_OPT_STR, TOP(model), NULL, 0, 0, "a name of configs/models, or a file", NULL,
     true, 0},
    {"hardware", KVS_OPT_STR, TOP(hardware), NULL, 0, 0, "a name of configs/hardware, or a file",
     NULL, true, 0},
    {"hardware_set", KVS_OPT_NODE, TOP(hardware_set), NULL, 0, 0,
     "what-ifs: figures of the profile by path, {\"links.nvme.read_bytes_per_s\": \"28GB/s\"}",
     NULL, false, 0},
    {"trace", KVS_OPT_NODE, TOP(trace), NULL, 0, 0, "where the requests come from", NULL, true, 0},
    {"arrivals", KVS_OPT_NODE, TOP(arrivals), NULL, 0, 0,
     "when they come; default: when the trace says", NULL, false, 0},
    {"seed", KVS_OPT_U64, TOP(seed), "1", 0, 0x1p63, "of all random draws", NULL, false, 0},
    {"cluster", KVS_OPT_NODE, TOP(cluster), NULL, 0, 0, "the replicas", NULL, false, 0},
    {"tiers", KVS_OPT_NODE, TOP(tiers), NULL, 0, 0,
     "where KV is kept below HBM, nearest first; default: all of the profile's", NULL, false, 0},
    {"planner", KVS_OPT_NODE, TOP(planner), NULL, 0, 0, "what plans may be", NULL, false, 0},
    {"slo", KVS_OPT_NODE, TOP(slo), NULL, 0, 0, "bounds that make a request count for goodput",
     NULL, false, 0},
    {"warmup", KVS_OPT_NODE, TOP(warmup), NULL, 0, 0, "which of the first requests do not count",
     NULL, false, 0},
    {"compare", KVS_OPT_NODE, TOP(compare), NULL, 0, 0, "policies, run one after another", NULL,
     false, 0},
    {"output", KVS_OPT_NODE, TOP(output), NULL, 0, 0, "what the results hold", NULL, false, 0},
};

struct cluster {
    uint64_t replicas, decode_replicas, tp, max_batch, chunk_tok, prefill_batch, max_pending_loads;
    double repoll_s;
    const char *layout, *serving, *handover_link, *router, *scheduler, *hbm_evict;
    int reuse, preemption;
    bool hbm_cache;
};

static const char *const reuse_names[] = {"prefix", "content", NULL}; /* by enum kvs_reuse */

static const char *const preempt_names[] = {"recompute", "swap", "never", NULL}; /* kvs_preempt */

#define CLUSTER(field) offsetof(struct cluster, field)
static const struct kvs_opt cluster_table[] = {
    {"replicas", KVS_OPT_U64, CLUSTER(replicas), "1", 1, 4096, "copies of the model", NULL, false,
     0},
    {"decode_replicas", KVS_OPT_U64, CLUSTER(decode_replicas), "0", 0, 4096,
     "more replicas, which only decode; the others then only prefill; 0: all do both", NULL, false,
     0},
    {"handover_link", KVS_OPT_STR, CLUSTER(handover_link), "nic", 0, 0,
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

struct tier {
    const char *name, *level, *evict, *admit;
    uint64_t capacity, admit_n, replicas, hot_reads;
    double admit_share;
    int write, placement;
    const char *network;
    struct kvs_json nodes_lost;
};

static const char *const write_names[] = {"through", "back", "exclusive",
                                          NULL}; /* by enum kvs_write */

static const char *const placement_names[] = {"local", "hashed", "cache-aware",
                                              NULL}; /* by enum kvs_placement */

#define TIER(field) offsetof(struct tier, field)
static const struct kvs_opt tier_table[] = {
    {"name", KVS_OPT_STR, TIER(name), NULL, 0, 0, "a tier of the hardware profile", NULL, true, 0},
    {"capacity", KVS_OPT_BYTES, TIER(capacity), "0", 0, 0x1p63,
     "bytes of one such tier; default: the profile's", NULL, false, 0},
    {"level", KVS_OPT_STR, TIER(level), KVS_CODEC_RAW, 0, 0,
     "compression level that blocks are stored at: of planner.codec, \"p4\" or \"p8/p4\" for K/V",
     NULL, false, 0},
    {"evict", KVS_OPT_STR, TIER(evict), "lru", 0, 0, "which block leaves first", NULL, false, 0},
    {"write", KVS_OPT_ENUM, TIER(write), "through", 0, 0,
     "blocks come after prefill (through), or when the nearer place evicts them (back); exclusive: "
     "so, and leave when loaded",
     write_names, false, 0},
    {"admit", KVS_OPT_STR, TIER(admit), "always", 0, 0, "which of them are stored", NULL, false, 0},
    {"admit_n", KVS_OPT_U64, TIER(admit_n), "2", 1, 1000,
     "admit touched: stored when offered so often", NULL, false, 0},
    {"admit_share", KVS_OPT_DOUBLE, TIER(admit_share), "0.1", 0, 1,
     "admit random: share of the offers that is taken", NULL, false, 0},
    {"placement", KVS_OPT_ENUM, TIER(placement), "local", 0, 0,
     "a host's tier is its own (local), or all hosts see each other's: blocks go where a hash ring "
     "says (hashed), or to the host that computed them (cache-aware)",
     placement_names, false, 0},
    {"replicas", KVS_OPT_U64, TIER(replicas), "1", 1, KVS_RING_MAX_NODE,
     "placement other than local: copies of a block, each on another host", NULL, false, 0},
    {"hot_reads", KVS_OPT_U64, TIER(hot_reads), "0", 0, 1000000,
     "placement hashed: a block read from other hosts so often gets a copy more; 0: none does",
     NULL, false, 0},
    {"network", KVS_OPT_STR, TIER(network), "nic", 0, 0,
     "placement other than local: the profile's link between hosts", NULL, false, 0},
    {"nodes_lost", KVS_OPT_NODE, TIER(nodes_lost), NULL, 0, 0,
     "placement other than local: hosts that are away, with what they held", NULL, false, 0},
};

struct lost {
    uint64_t host;
    double from_s, to_s;
};

static const struct kvs_opt lost_table[] = {
    {"host", KVS_OPT_U64, offsetof(struct lost, host), NULL, 0, 4096,
     "which, from 0 in the order in which replicas fill them", NULL, true, 0},
    {"from", KVS_OPT_TIME, offsetof(struct lost, from_s), NULL, 0, 1e9, "it goes", NULL, true, 0},
    {"to", KVS_OPT_TIME, offsetof(struct lost, to_s), NULL, 0, 1e9, "it is back, empty", NULL, true,
     0},
};

#define NO_REPAIR "none"
#define N_REPAIR 8

struct planner {
    uint64_t fractions, decoders;
    const char *repair, *codec, *quality;
    double budget;
};

static const struct kvs_opt planner_table[] = {
    {"fractions", KVS_OPT_U64, offsetof(struct planner, fractions), "17", 2, KVS_MAX_FRAC,
     "recompute fractions that plans choose from: i / (n - 1)", NULL, false, 0},
    {"repair", KVS_OPT_STR, offsetof(struct planner, repair), NO_REPAIR, 0, 0,
     "how text reused behind other text is repaired: a method of the quality table", NULL, false,
     0},
    {"codec", KVS_OPT_STR, offsetof(struct planner, codec), "gpu-published", 0, 0,
     "of tiers' levels: a name of configs/codec, or a file", NULL, false, 0},
    {"decoders", KVS_OPT_U64, offsetof(struct planner, decoders), "8", 1, 1024,
     "host threads that decode and encode levels; a GPU codec runs on the replica's GPUs", NULL,
     false, 0},
    {"quality", KVS_OPT_STR, offsetof(struct planner, quality), "", 0, 0,
     "a name of configs/quality, or a file; \"\": the model's", NULL, false, 0},
    {"budget", KVS_OPT_DOUBLE, offsetof(struct planner, budget), "0.05", 0, 1000,
     "nats that a prompt may lose by levels and repair", NULL, false, 0},
};

struct slo {
    double ttft_s, tpot_s;
};

static const struct kvs_opt slo_table[] = {
    {"ttft", KVS_OPT_TIME, offsetof(struct slo, ttft_s), "2s", 0, 1e6,
     "time to first token; 0: no bound", NULL, false, 0},
    {"tpot", KVS_OPT_TIME, offsetof(struct slo, tpot_s), "100ms", 0, 1e6,
     "mean time per output token after it; 0: no bound", NULL, false, 0},
};

struct warmup {
    int cut;
    uint64_t requests;
    double time;
};

static const char *const cut_names[] = {"none", "requests", "time", "auto",
                                        NULL}; /* enum kvs_cut */

static const struct kvs_opt warmup_table[] = {
    {"cut", KVS_OPT_ENUM, offsetof(struct warmup, cut), "none", 0, 0,
     "leave the first out of the figures: by requests, by time, or auto: where MSER-5 says",
     cut_names, false, 0},
    {"requests", KVS_OPT_U64, offsetof(struct warmup, requests), "0", 0, 0x1p63,
     "cut requests: so many", NULL, false, 0},
    {"time", KVS_OPT_TIME, offsetof(struct warmup, time), "0", 0, 1e9,
     "cut time: those that arrive within it", NULL, false, 0},
};

struct output {
    bool plots;
    uint64_t timeline_requests;
    double bin;
};

static const struct kvs_opt output_table[] = {
    {"plots", KVS_OPT_FLAG, offsetof(struct output, plots), "true", 0, 0,
     "draw the figures, where gnuplot is there", NULL, false, 0},
    {"timeline_requests", KVS_OPT_U64, offsetof(struct output, timeline_requests), "64", 0, 1000,
     "first requests of each policy that timeline.json shows", NULL, false, 0},
    {"bin", KVS_OPT_TIME, offsetof(struct output, bin), "0", 0, 1e6,
     "of hits and utilisation over time; 0: 128 to 256 bins a run", NULL, false, 0},
};

/* --- policies ----------------------------------------------------------------------------------
 */

/* What `compare` may name: every planner, and one entry that keeps nothing. */
#define NO_CACHE "no-cache"

static uint32_t policy_names(const char **names)
{
    uint32_t n = 0;
    names[n++] = NO_CACHE;
    for (uint32_t i = 0; kvs_planner_list[i] && n < MAX_NAME; i++)
        names[n++] = kvs_planner_list[i]->name;
    return n;
}

static bool find_policy(const char *name, struct kvs_policy *policy)
{
    const bool cached = strcmp(name, NO_CACHE) != 0;
    *policy = (struct kvs_policy){
        .name = name,
        .planner = kvs_planner_find(cached ? name : "recompute"),
        .cached = cached,
    };
    return policy->planner != NULL;
}

/* --- reading -----------------------------------------------------------------------------------
 */

struct kvs_workload_in {
    struct kvs_doc *doc;
    struct kvs_model *model;
    struct kvs_hw *hw;
    struct kvs_cost *cost;
    char *name;
    struct top top;
    struct kvs_arrivals_in arrivals;
    struct cluster cluster;
    struct tier tier[KVS_MAX_TIER];
    struct planner planner;
    double repair_frac[N_REPAIR];
    int64_t repair_distortion[N_REPAIR];
    struct kvs_levels *levels; /* that tiers store at; NULL: raw only */
    struct slo slo;
    struct warmup warmup;
    struct output output;
};

/* "found "lruu", want one of lru, fifo, s3fifo; did you mean "lru"?" */
static enum kvs_code unknown_name(struct kvs_json node, struct kvs_err *err, const char *found,
                                  const char *const *names, uint32_t n)
{
    char list[256] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < n && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
    const char *near = kvs_nearest(found, names, n);
    return kvs_json_fail(node, err, KVS_ERR_ARG, "found \"%s\", want one of %s%s%s%s", found, list,
                         near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* A failure of another room, told with the place in the workload file. */
static enum kvs_code fail_at(struct kvs_json node, struct kvs_err *err, enum kvs_code code,
                             const struct kvs_err *inner)
{
    return kvs_json_fail(node, err, code, "%s", inner->msg);
}

static enum kvs_code read_evict(struct kvs_json node, const char *name,
                                const struct kvs_evict_ops **evict, struct kvs_err *err)
{
    const char *names[MAX_NAME];
    uint32_t n = 0;
    for (uint32_t i = 0; kvs_evict_all[i] && n < MAX_NAME; i++) {
        names[n++] = kvs_evict_all[i]->name;
        if (strcmp(names[n - 1], name) == 0) {
            *evict = kvs_evict_all[i];
            return KVS_OK;
        }
    }
    return unknown_name(node, err, name, names, n);
}

static enum kvs_code read_router(struct kvs_json node, const char *name,
                                 const struct kvs_router_ops **router, struct kvs_err *err)
{
    const char *names[MAX_NAME];
    uint32_t n = 0;
    for (; kvs_router_list[n] && n < MAX_NAME; n++)
        names[n] = kvs_router_list[n]->name;
    *router = kvs_router_find(name);
    return *router ? KVS_OK : unknown_name(node, err, name, names, n);
}

static enum kvs_code read_link(struct kvs_json node, const struct kvs_hw *hw, const char *name,
                               uint32_t *link_i, struct kvs_err *err)
{
    const char *names[KVS_MAX_LINK];
    for (*link_i = 0; *link_i < hw->n_link; (*link_i)++) {
        names[*link_i] = hw->link[*link_i].name;
        if (strcmp(names[*link_i], name) == 0)
            return KVS_OK;
    }
    return unknown_name(node, err, name, names, hw->n_link);
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
               : unknown_name(node, err, name, names, hw->n_serving + 1);
}

static enum kvs_code read_layout(struct kvs_json node, const char *name,
                                 const struct kvs_layout **layout, struct kvs_err *err)
{
    const char *names[MAX_NAME];
    uint32_t n = 0;
    for (; kvs_layouts[n].name && n < MAX_NAME; n++)
        names[n] = kvs_layouts[n].name;
    *layout = kvs_layout_find(name);
    return *layout ? KVS_OK : unknown_name(node, err, name, names, n);
}

static enum kvs_code read_sched(struct kvs_json node, const char *name,
                                const struct kvs_sched_ops **sched, struct kvs_err *err)
{
    const char *names[MAX_NAME];
    uint32_t n = 0;
    for (; kvs_sched_list[n] && n < MAX_NAME; n++)
        names[n] = kvs_sched_list[n]->name;
    *sched = kvs_sched_find(name);
    return *sched ? KVS_OK : unknown_name(node, err, name, names, n);
}

static bool is_path(const char *name)
{
    size_t n = strlen(name);
    return strchr(name, '/') || (n > 5 && strcmp(name + n - 5, ".json") == 0);
}

/* A shape's or profile's name as it stands, or its path from the workload file's folder. NULL: no
 * memory. */
static char *name_or_path(const struct kvs_workload_in *in, const char *name)
{
    return is_path(name) ? kvs_path_from(kvs_doc_file(in->doc), name) : strdup(name);
}

/* The name or path at a node, for the room that opens it; the caller frees it. */
static enum kvs_code find_file(const struct kvs_workload_in *in, struct kvs_json node,
                               const char *name, char **file, struct kvs_err *err)
{
    *file = name_or_path(in, name);
    if (!*file)
        return kvs_nomem(err);
    if (!is_path(name) || access(*file, R_OK) == 0)
        return KVS_OK;
    kvs_json_fail(node, err, KVS_ERR_ARG, "no file %s; want a file or a name of configs/", *file);
    free(*file);
    *file = NULL;
    return KVS_ERR_ARG;
}

/* The profile with the workload's what-ifs put in. */
static enum kvs_code open_hardware(struct kvs_workload_in *in, struct kvs_json root,
                                   const char *name, struct kvs_err *err)
{
    const struct kvs_json node = kvs_json_get(root, "hardware");
    struct kvs_err inner = {0};
    struct kvs_doc *doc = NULL;
    char *path = NULL;
    enum kvs_code code;
    if (!(code = kvs_data_find("hardware", "configs/hardware", name, &path, &inner)) &&
        !(code = kvs_doc_open(path, &doc, &inner))) {
        if (!in->top.hardware_set.v || !(code = kvs_hw_set(doc, in->top.hardware_set, err)))
            code = kvs_hw_from(doc, &in->hw, &inner); /* takes the document */
        else
            kvs_doc_free(doc);
    }
    if (code)
        fail_at(node, err, code, &inner); /* unless err has it */
    free(path);
    return code;
}

static enum kvs_code read_machine(struct kvs_workload_in *in, struct kvs_json root,
                                  struct kvs_err *err)
{
    struct kvs_err inner = {0};
    char *model = NULL, *hw = NULL;
    enum kvs_code code;
    if (!(code = find_file(in, kvs_json_get(root, "model"), in->top.model, &model, err)) &&
        !(code = find_file(in, kvs_json_get(root, "hardware"), in->top.hardware, &hw, err))) {
        if ((code = kvs_model_open(model, &in->model, &inner)))
            code = fail_at(kvs_json_get(root, "model"), err, code, &inner);
        else
            code = open_hardware(in, root, hw, err);
    }
    free(model);
    free(hw);
    return code;
}

static enum kvs_code read_cluster(struct kvs_workload_in *in, struct kvs_sim_config *sim,
                                  struct kvs_err *err)
{
    const struct kvs_json node = in->top.cluster;
    struct cluster *c = &in->cluster;
    struct kvs_err inner = {0};
    enum kvs_code code;
    if ((code = kvs_opt_json(cluster_table, N(cluster_table), node, c, err)) ||
        (code = read_router(kvs_json_get(node, "router"), c->router, &sim->router, err)) ||
        (code = read_sched(kvs_json_get(node, "scheduler"), c->scheduler, &sim->sched, err)) ||
        (code = read_evict(kvs_json_get(node, "hbm_evict"), c->hbm_evict, &sim->hbm_evict, err)))
        return code;
    if ((code = kvs_cost_new(in->model, in->hw, (uint32_t)c->tp, &in->cost, &inner)))
        return fail_at(kvs_json_get(node, "tp"), err, code, &inner);
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
    if (c->decode_replicas && (code = read_link(kvs_json_get(node, "handover_link"), in->hw,
                                                c->handover_link, &sim->handover_link, err)))
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

static const struct kvs_hw_tier *find_tier(const struct kvs_hw *hw, const char *name)
{
    for (uint32_t i = 0; i < hw->n_tier; i++)
        if (strcmp(hw->tier[i].name, name) == 0)
            return &hw->tier[i];
    return NULL;
}

/* Tier names become columns of CSV files and tracks of the timeline. */
static bool is_plain(const char *name)
{
    return *name && strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                 "0123456789._-") == strlen(name);
}

/* What a tier takes in, and when. */
static enum kvs_code read_taking(struct kvs_json node, const struct tier *tier, uint64_t seed,
                                 struct kvs_tier_config *config, struct kvs_err *err)
{
    const char *names[MAX_NAME];
    uint32_t n = 0;
    for (; kvs_admit_all[n] && n < MAX_NAME; n++)
        names[n] = kvs_admit_all[n]->name;
    config->write = (enum kvs_write)tier->write;
    config->admit = kvs_admit_find(tier->admit);
    config->admit_config =
        (struct kvs_admit_config){(uint32_t)tier->admit_n, tier->admit_share, seed};
    if (!config->admit)
        return unknown_name(kvs_json_get(node, "admit"), err, tier->admit, names, n);
    if (tier->admit_n != ADMIT_N && strcmp(tier->admit, "touched") != 0)
        return kvs_json_fail(kvs_json_get(node, "admit_n"), err, KVS_ERR_ARG,
                             "found %llu, want none without admit \"touched\"",
                             (unsigned long long)tier->admit_n);
    if (tier->admit_share != ADMIT_SHARE && strcmp(tier->admit, "random") != 0)
        return kvs_json_fail(kvs_json_get(node, "admit_share"), err, KVS_ERR_ARG,
                             "found %g, want none without admit \"random\"", tier->admit_share);
    if (config->admit == kvs_admit_all[0])
        config->admit = NULL; /* nothing to ask */
    return KVS_OK;
}

static enum kvs_code read_lost(struct kvs_json node, struct kvs_tier_config *config,
                               struct kvs_err *err)
{
    const size_t n = kvs_json_size(node);
    enum kvs_code code = node.v ? kvs_json_array(node, err) : KVS_OK;
    if (!code && n > KVS_MAX_OUTAGE)
        return kvs_json_fail(node, err, KVS_ERR_RANGE, "found %zu entries, want at most %d", n,
                             KVS_MAX_OUTAGE);
    for (size_t i = 0; i < n && !code; i++) {
        const struct kvs_json one = kvs_json_at(node, i);
        struct lost lost;
        if ((code = kvs_json_object(one, err)) ||
            (code = kvs_opt_json(lost_table, N(lost_table), one, &lost, err)))
            break;
        if (lost.to_s <= lost.from_s)
            return kvs_json_fail(kvs_json_get(one, "to"), err, KVS_ERR_RANGE,
                                 "found %g s, want a time after \"from\", %g s", lost.to_s,
                                 lost.from_s);
        config->outage[config->n_outage++] =
            (struct kvs_outage){(uint32_t)lost.host, kvs_ns(lost.from_s), kvs_ns(lost.to_s)};
    }
    return code;
}

/* Where a tier's blocks go. */
static enum kvs_code read_placement(const struct kvs_workload_in *in, struct kvs_json node,
                                    const struct tier *tier, struct kvs_tier_config *config,
                                    struct kvs_err *err)
{
    static const char *const keys[] = {"replicas", "hot_reads", "network", "nodes_lost"};
    const char *names[KVS_MAX_LINK];
    config->placement = (enum kvs_placement)tier->placement;
    config->n_copy = (uint32_t)tier->replicas;
    config->hot_reads = (uint32_t)tier->hot_reads;
    if (config->placement == KVS_PLACE_LOCAL) {
        const bool set[] = {tier->replicas != 1, tier->hot_reads > 0, false,
                            kvs_json_size(tier->nodes_lost) > 0};
        for (unsigned i = 0; i < N(keys); i++)
            if (set[i])
                return kvs_json_fail(kvs_json_get(node, keys[i]), err, KVS_ERR_ARG,
                                     "has no meaning with placement \"local\"; want "
                                     "\"placement\": \"hashed\" or \"cache-aware\"");
        return KVS_OK;
    }
    if (tier->hot_reads && config->placement != KVS_PLACE_HASHED)
        return kvs_json_fail(kvs_json_get(node, "hot_reads"), err, KVS_ERR_ARG,
                             "has no meaning with placement \"cache-aware\", which keeps a copy "
                             "wherever a block is computed; want 0");
    for (uint32_t i = 0; i < in->hw->n_link; i++) {
        names[i] = in->hw->link[i].name;
        if (strcmp(names[i], tier->network) == 0) {
            config->network = i;
            return read_lost(tier->nodes_lost, config, err);
        }
    }
    return unknown_name(kvs_json_get(node, "network"), err, tier->network, names, in->hw->n_link);
}

static enum kvs_code read_tier(struct kvs_workload_in *in, struct kvs_json node,
                               struct kvs_sim_config *sim, struct kvs_err *err)
{
    struct tier *tier = &in->tier[sim->n_tier];
    struct kvs_tier_config *config = &sim->tier[sim->n_tier];
    const struct kvs_json name = kvs_json_get(node, "name");
    const struct kvs_json capacity = kvs_json_get(node, "capacity");
    enum kvs_code code = kvs_json_object(node, err);
    if (code || (code = kvs_opt_json(tier_table, N(tier_table), node, tier, err)))
        return code;
    const struct kvs_hw_tier *hw_tier = find_tier(in->hw, tier->name);
    if (!hw_tier) {
        const char *names[KVS_MAX_LINK];
        for (uint32_t i = 0; i < in->hw->n_tier; i++)
            names[i] = in->hw->tier[i].name;
        return unknown_name(name, err, tier->name, names, in->hw->n_tier);
    }
    if (!is_plain(tier->name))
        return kvs_json_fail(name, err, KVS_ERR_ARG,
                             "found \"%s\", want a name of letters, digits, '.', '_' and '-'",
                             tier->name);
    for (uint32_t i = 0; i < sim->n_tier; i++)
        if (strcmp(sim->tier[i].name, tier->name) == 0)
            return kvs_json_fail(name, err, KVS_ERR_ARG,
                                 "found \"%s\" a second time, want a tier "
                                 "once",
                                 tier->name);
    if (sim->n_tier && hw_tier < find_tier(in->hw, sim->tier[sim->n_tier - 1].name))
        return kvs_json_fail(name, err, KVS_ERR_ARG,
                             "found \"%s\" behind \"%s\", want the nearest tier first, as the "
                             "profile %s has them",
                             tier->name, sim->tier[sim->n_tier - 1].name, in->hw->name);
    if (capacity.v && tier->capacity == 0)
        return kvs_json_fail(capacity, err, KVS_ERR_RANGE,
                             "found 0, want at least 1 byte; leave the tier out to be without it");
    if (!capacity.v)
        tier->capacity = hw_tier->capacity_bytes;
    if (tier->capacity == 0)
        return kvs_json_fail(capacity, err, KVS_ERR_ARG,
                             "missing; want bytes like \"4TiB\": "
                             "the profile %s states none for %s",
                             in->hw->name, tier->name);
    config->name = hw_tier->name;
    config->capacity_bytes = tier->capacity;
    if ((code = read_taking(node, tier, in->top.seed, config, err)) ||
        (code = read_placement(in, node, tier, config, err)))
        return code;
    sim->n_tier++;
    return read_evict(kvs_json_get(node, "evict"), tier->evict, &config->evict, err);
}

/* Without a list: every tier whose size the profile states, as the machine has them. */
static void take_all_tiers(struct kvs_workload_in *in, struct kvs_sim_config *sim)
{
    for (uint32_t i = 0; i < in->hw->n_tier && sim->n_tier < KVS_MAX_TIER; i++) {
        const struct kvs_hw_tier *hw_tier = &in->hw->tier[i];
        if (hw_tier->capacity_bytes == 0 || !is_plain(hw_tier->name))
            continue;
        in->tier[sim->n_tier] = (struct tier){.name = hw_tier->name,
                                              .level = KVS_CODEC_RAW,
                                              .evict = "lru",
                                              .admit = "always",
                                              .capacity = hw_tier->capacity_bytes,
                                              .admit_n = ADMIT_N,
                                              .admit_share = ADMIT_SHARE,
                                              .replicas = 1,
                                              .network = "nic"};
        sim->tier[sim->n_tier++] = (struct kvs_tier_config){
            .name = hw_tier->name, .capacity_bytes = hw_tier->capacity_bytes};
        enum kvs_code code = kvs_evict_find("lru", &sim->tier[sim->n_tier - 1].evict, NULL);
        assert(code == KVS_OK);
        (void)code;
    }
}

static enum kvs_code read_tiers(struct kvs_workload_in *in, struct kvs_sim_config *sim,
                                struct kvs_err *err)
{
    const struct kvs_json node = in->top.tiers;
    enum kvs_code code = node.v ? kvs_json_array(node, err) : KVS_OK;
    if (!code && kvs_json_size(node) > KVS_MAX_TIER)
        return kvs_json_fail(node, err, KVS_ERR_RANGE, "found %zu tiers, want at most %d",
                             kvs_json_size(node), KVS_MAX_TIER);
    for (size_t i = 0; i < kvs_json_size(node) && !code; i++)
        code = read_tier(in, kvs_json_at(node, i), sim, err);
    if (!node.v)
        take_all_tiers(in, sim);
    return code;
}

static enum kvs_code read_policy(struct kvs_workload *w, struct kvs_json node, struct kvs_err *err)
{
    const char *name = NULL, *names[MAX_NAME];
    enum kvs_code code = kvs_json_str(node, &name, err);
    if (code)
        return code;
    for (uint32_t i = 0; i < w->n_policy; i++)
        if (strcmp(w->policy[i].name, name) == 0)
            return kvs_json_fail(node, err, KVS_ERR_ARG,
                                 "found \"%s\" a second time, want a "
                                 "policy once",
                                 name);
    if (!find_policy(name, &w->policy[w->n_policy]))
        return unknown_name(node, err, name, names, policy_names(names));
    w->n_policy++;
    return KVS_OK;
}

static enum kvs_code read_compare(struct kvs_workload *w, struct kvs_json node, struct kvs_err *err)
{
    static const char *const usual[] = {"recompute", "load", "token-split", "layer-split", "best"};
    const size_t n = kvs_json_size(node);
    for (uint32_t i = 0; !node.v && i < sizeof usual / sizeof *usual; i++)
        if (find_policy(usual[i], &w->policy[w->n_policy]))
            w->n_policy++;
    if (!node.v)
        return KVS_OK;
    enum kvs_code code = kvs_json_array(node, err);
    if (!code && (n == 0 || n > KVS_MAX_POLICY))
        return kvs_json_fail(node, err, KVS_ERR_RANGE, "found %zu policies, want 1 to %d", n,
                             KVS_MAX_POLICY);
    for (size_t i = 0; i < n && !code; i++)
        code = read_policy(w, kvs_json_at(node, i), err);
    return code;
}

/* A path that leads nowhere is told before anything else of the trace is looked at. */
static enum kvs_code check_trace(struct kvs_workload_in *in, struct kvs_err *err)
{
    const struct kvs_json node = kvs_json_get(in->top.trace, "path");
    const char *path = json_string_value(node.v);
    enum kvs_code code = kvs_json_object(in->top.trace, err);
    if (code || !path)
        return code;
    if (strcmp(path, "-") == 0)
        return kvs_json_fail(node, err, KVS_ERR_ARG,
                             "found \"-\", want a file: every policy reads it from its start");
    char *file = kvs_path_from(kvs_doc_file(in->doc), path);
    struct stat about;
    if (!file)
        return kvs_nomem(err);
    if (access(file, R_OK) != 0)
        code = kvs_json_fail(node, err, KVS_ERR_ARG,
                             "no file %s; get the trace (workloads/README.md says where) or give "
                             "its place: --set trace.path='\"FILE\"'",
                             file);
    else if (stat(file, &about) == 0 && !S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode))
        code = kvs_json_fail(node, err, KVS_ERR_ARG,
                             "%s is a pipe or a device, want a file: every policy reads it from "
                             "its start",
                             file);
    free(file);
    return code;
}

static enum kvs_code read_warmup(struct kvs_workload *w, struct kvs_workload_in *in,
                                 struct kvs_err *err)
{
    const struct kvs_json node = in->top.warmup;
    struct warmup *warmup = &in->warmup;
    enum kvs_code code = kvs_opt_json(warmup_table, N(warmup_table), node, warmup, err);
    if (code)
        return code;
    if ((warmup->cut == KVS_CUT_REQUESTS) != (warmup->requests > 0))
        return kvs_json_fail(kvs_json_get(node, "requests"), err, KVS_ERR_ARG,
                             "found %" PRIu64 " with cut %s, want a number above 0 with cut "
                             "requests and none without",
                             warmup->requests, cut_names[warmup->cut]);
    if ((warmup->cut == KVS_CUT_TIME) != (warmup->time > 0))
        return kvs_json_fail(kvs_json_get(node, "time"), err, KVS_ERR_ARG,
                             "found %g with cut %s, want a time above 0 with cut time and none "
                             "without",
                             warmup->time, cut_names[warmup->cut]);
    w->warmup = (struct kvs_warmup){(enum kvs_cut)warmup->cut, warmup->requests, warmup->time};
    return KVS_OK;
}

/* The quality table that the planner names; the model's if it names none. */
static enum kvs_code open_quality(const struct kvs_workload_in *in, struct kvs_quality **quality,
                                  struct kvs_err *err)
{
    const struct kvs_json node = kvs_json_get(in->top.planner, "quality");
    const char *name = *in->planner.quality ? in->planner.quality : kvs_model_name(in->model);
    struct kvs_err inner = {0};
    char *file = NULL;
    enum kvs_code code = find_file(in, node, name, &file, err);
    *quality = NULL;
    if (!code && (code = kvs_quality_open(file, kvs_model_n_layer(in->model), quality, &inner)))
        code = fail_at(node, err, code, &inner);
    free(file);
    return code;
}

/* Shares of repair to choose from, as the quality table of the model has their cost. */
static enum kvs_code read_repair(struct kvs_workload *w, struct kvs_workload_in *in,
                                 struct kvs_err *err)
{
    static const double share[N_REPAIR] = {0, .03, .05, .08, .12, .15, .2, .3};
    const struct kvs_json node = in->top.planner;
    const struct planner *p = &in->planner;
    struct kvs_quality *quality = NULL;
    if (strcmp(p->repair, NO_REPAIR) == 0)
        return KVS_OK;
    if (w->sim.reuse != KVS_REUSE_CONTENT)
        return kvs_json_fail(kvs_json_get(node, "repair"), err, KVS_ERR_ARG,
                             "found \"%s\" with cluster.reuse prefix, want cluster.reuse content",
                             p->repair);
    if (p->fractions <= N_REPAIR)
        return kvs_json_fail(kvs_json_get(node, "fractions"), err, KVS_ERR_RANGE,
                             "found %" PRIu64 ", want at least %d with repair", p->fractions,
                             N_REPAIR + 1);
    enum kvs_code code = open_quality(in, &quality, err);
    if (code)
        return code;
    for (int i = 0; i < N_REPAIR && !code; i++) {
        double nats = kvs_quality_repair_nats(quality, p->repair, share[i]);
        if (isinf(nats))
            code = kvs_json_fail(kvs_json_get(node, "repair"), err, KVS_ERR_ARG,
                                 "found \"%s\", want none or a method of quality table %s",
                                 p->repair, quality->model);
        else
            in->repair_distortion[i] = llround(nats * KVS_NAT);
    }
    kvs_quality_free(quality);
    if (code)
        return code;
    memcpy(in->repair_frac, share, sizeof share);
    w->sim.repair = (struct kvs_table_repair){N_REPAIR, in->repair_frac, in->repair_distortion};
    w->sim.budget = llround(p->budget * KVS_NAT);
    return KVS_OK;
}

/* What tiers store blocks at. */
static enum kvs_code read_levels(struct kvs_workload *w, struct kvs_workload_in *in,
                                 struct kvs_err *err)
{
    const struct planner *p = &in->planner;
    struct kvs_tier_levels_config config = {
        .model = in->model,
        .codec_node = kvs_json_get(in->top.planner, "codec"),
        .quality_node = kvs_json_get(in->top.planner, "quality"),
        .n_gpu = (uint32_t)in->cluster.tp,
        .n_thread = (uint32_t)p->decoders,
        .n_frac = (uint32_t)p->fractions,
        .n_tier = w->sim.n_tier,
    };
    uint32_t level[KVS_MAX_TIER] = {0};
    for (uint32_t t = 0; t < w->sim.n_tier; t++) {
        config.name[t] = in->tier[t].level;
        config.node[t] = kvs_json_get(kvs_json_at(in->top.tiers, t), "level");
    }
    char *codec = name_or_path(in, p->codec);
    char *quality = name_or_path(in, *p->quality ? p->quality : kvs_model_name(in->model));
    config.codec = codec;
    config.quality = quality;
    enum kvs_code code =
        codec && quality ? kvs_tier_levels_new(&config, &in->levels, level, err) : kvs_nomem(err);
    free(codec);
    free(quality);
    if (code || !in->levels)
        return code;
    for (uint32_t t = 0; t < w->sim.n_tier; t++)
        w->sim.tier[t].level = level[t];
    w->sim.n_level = in->levels->n;
    w->sim.level = in->levels->level;
    w->sim.budget = llround(p->budget * KVS_NAT);
    return KVS_OK;
}

static enum kvs_code read_rest(struct kvs_workload *w, struct kvs_workload_in *in,
                               struct kvs_err *err)
{
    enum kvs_code code;
    if ((code = kvs_arrivals_json(in->top.arrivals, &in->arrivals, &w->sim.arrivals, err)) ||
        (code =
             kvs_opt_json(planner_table, N(planner_table), in->top.planner, &in->planner, err)) ||
        (code = read_repair(w, in, err)) || (code = read_levels(w, in, err)) ||
        (code = kvs_opt_json(slo_table, N(slo_table), in->top.slo, &in->slo, err)) ||
        (code = read_warmup(w, in, err)) ||
        (code = kvs_opt_json(output_table, N(output_table), in->top.output, &in->output, err)))
        return code;
    w->sim.model = in->model;
    w->sim.hw = in->hw;
    w->sim.cost = in->cost;
    w->sim.n_frac = (uint32_t)in->planner.fractions;
    w->sim.slo_ttft_s = in->slo.ttft_s;
    w->sim.slo_tpot_s = in->slo.tpot_s;
    w->seed = w->sim.seed = in->top.seed;
    w->about = in->top.about ? in->top.about : "";
    w->plots = in->output.plots;
    w->sim.bin_ns = kvs_ns(in->output.bin);
    w->timeline_requests = in->output.timeline_requests;
    return KVS_OK;
}

static enum kvs_code read_root(struct kvs_workload *w, struct kvs_workload_in *in,
                               struct kvs_err *err)
{
    const struct kvs_json root = kvs_doc_root(in->doc);
    struct kvs_trace *trace = NULL;
    enum kvs_code code = kvs_json_object(root, err);
    if (code || (code = kvs_opt_json(top_table, N(top_table), root, &in->top, err)) ||
        (code = read_machine(in, root, err)) || (code = read_cluster(in, &w->sim, err)) ||
        (code = read_tiers(in, &w->sim, err)) || (code = read_compare(w, in->top.compare, err)) ||
        (code = read_rest(w, in, err)) || (code = check_trace(in, err)) ||
        (code = kvs_sample_scale(root, &w->sim, in->hw, err)))
        return code;
    w->share = kvs_sample_share(in->top.trace);
    code = kvs_workload_trace(w, &trace, err);
    kvs_trace_close(trace);
    return code;
}

/* "a/quickstart.json" is called "quickstart". NULL: no memory. */
static char *base_name(const char *file)
{
    const char *slash = strrchr(file, '/');
    char *name = strdup(strcmp(file, "-") == 0 ? "stdin" : slash ? slash + 1 : file);
    size_t n = name ? strlen(name) : 0;
    if (n > 5 && strcmp(name + n - 5, ".json") == 0)
        name[n - 5] = '\0';
    for (char *c = name; c && *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '_'; /* it stands in JSON, file names and figures */
    return name;
}

static enum kvs_code apply_sets(struct kvs_doc *doc, const struct kvs_strs *sets,
                                struct kvs_err *err)
{
    for (unsigned i = 0; sets && i < sets->n; i++) {
        const char *equal = strchr(sets->v[i], '=');
        if (!equal || equal == sets->v[i])
            return kvs_fail(err, KVS_ERR_ARG, "--set %s: want PATH=VALUE, like cluster.replicas=2",
                            sets->v[i]);
        char *path = strndup(sets->v[i], (size_t)(equal - sets->v[i]));
        if (!path)
            return kvs_nomem(err);
        enum kvs_code code = kvs_doc_set(doc, path, equal + 1, err);
        free(path);
        if (code)
            return code;
    }
    return KVS_OK;
}

static enum kvs_code open_document(const char *name, struct kvs_doc **doc, struct kvs_err *err)
{
    char *file = NULL;
    enum kvs_code code = KVS_OK;
    if (strcmp(name, "-") == 0)
        return kvs_doc_open(name, doc, err);
    if (!(code = kvs_data_find("workload", "workloads", name, &file, err))) {
        if (access(file, F_OK) != 0)
            code = kvs_fail(err, KVS_ERR_ARG,
                            "%s: no such file; want a workload file or a name of "
                            "workloads/, like quickstart",
                            file);
        else
            code = kvs_doc_open(file, doc, err);
    }
    free(file);
    return code;
}

enum kvs_code kvs_workload_document(const char *file, const struct kvs_strs *sets,
                                    struct kvs_doc **doc, struct kvs_err *err)
{
    enum kvs_code code = open_document(file, doc, err);
    if (code || !(code = apply_sets(*doc, sets, err)))
        return code;
    kvs_doc_free(*doc);
    *doc = NULL;
    return code;
}

enum kvs_code kvs_workload_open(const char *file, const struct kvs_strs *sets,
                                struct kvs_workload **workload, struct kvs_err *err)
{
    struct kvs_doc *doc = NULL;
    enum kvs_code code = kvs_workload_document(file, sets, &doc, err);
    *workload = NULL;
    return code ? code : kvs_workload_from(doc, file, workload, err);
}

enum kvs_code kvs_workload_from(struct kvs_doc *doc, const char *file,
                                struct kvs_workload **workload, struct kvs_err *err)
{
    struct kvs_workload *w = calloc(1, sizeof *w);
    struct kvs_workload_in *in = calloc(1, sizeof *in);
    enum kvs_code code;
    *workload = NULL;
    if (w)
        w->in = in;
    if (!w || !in) {
        free(in);
        free(w);
        kvs_doc_free(doc);
        return kvs_nomem(err);
    }
    in->doc = doc;
    in->name = base_name(file);
    w->name = in->name;
    code = in->name ? read_root(w, in, err) : kvs_nomem(err);
    if (code) {
        kvs_workload_free(w);
        return code;
    }
    *workload = w;
    return KVS_OK;
}

void kvs_workload_free(struct kvs_workload *workload)
{
    if (!workload)
        return;
    struct kvs_workload_in *in = workload->in;
    kvs_levels_free(in->levels);
    kvs_cost_free(in->cost);
    kvs_hw_free(in->hw);
    kvs_model_free(in->model);
    kvs_doc_free(in->doc);
    free(in->name);
    free(in);
    free(workload);
}

enum kvs_code kvs_workload_trace(const struct kvs_workload *workload, struct kvs_trace **trace,
                                 struct kvs_err *err)
{
    return kvs_trace_from_json(workload->in->top.trace, workload->seed, trace, err);
}

struct kvs_sim_config kvs_workload_config(const struct kvs_workload *workload, uint32_t policy_i)
{
    struct kvs_sim_config config = workload->sim;
    config.planner = workload->policy[policy_i].planner;
    if (!workload->policy[policy_i].cached) {
        config.hbm_cache = false;
        config.n_tier = 0;
        if (config.preemption == KVS_PREEMPT_SWAP)
            config.preemption = KVS_PREEMPT_RECOMPUTE; /* there is nowhere to swap to */
    }
    return config;
}

/* --- recording ---------------------------------------------------------------------------------
 */

/* A file as the workload names it, spelled so that it is found from anywhere. NULL: no memory. */
static json_t *absolute(const struct kvs_workload_in *in, const char *file)
{
    char *path = kvs_path_from(kvs_doc_file(in->doc), file);
    char *real = path ? realpath(path, NULL) : NULL;
    json_t *text = path ? json_string(real ? real : path) : NULL;
    free(real);
    free(path);
    return text;
}

static json_t *record_name(const struct kvs_workload_in *in, const char *name)
{
    return is_path(name) ? absolute(in, name) : json_string(name);
}

static json_t *record_planner(const struct kvs_workload_in *in)
{
    json_t *planner = kvs_opt_record(planner_table, N(planner_table), &in->planner);
    if (planner &&
        (json_object_set_new(planner, "codec", record_name(in, in->planner.codec)) ||
         json_object_set_new(planner, "quality", record_name(in, in->planner.quality)))) {
        json_decref(planner);
        return NULL;
    }
    return planner;
}

static json_t *record_trace(const struct kvs_workload_in *in)
{
    json_t *trace = json_copy((json_t *)in->top.trace.v);
    const char *path = json_string_value(json_object_get(trace, "path"));
    if (path && json_object_set_new(trace, "path", absolute(in, path))) {
        json_decref(trace);
        return NULL;
    }
    return trace;
}

/* [make(0), make(1), ...]; NULL: no memory. */
static json_t *record_list(const struct kvs_workload *w, uint32_t n,
                           json_t *(*make)(const struct kvs_workload *w, uint32_t i))
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < n; i++)
        if (json_array_append_new(list, make(w, i))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *record_tier(const struct kvs_workload *w, uint32_t i)
{
    json_t *tier = kvs_opt_record(tier_table, N(tier_table), &w->in->tier[i]);
    if (tier && !w->in->tier[i].nodes_lost.v &&
        json_object_set_new(tier, "nodes_lost", json_array())) {
        json_decref(tier);
        tier = NULL;
    }
    return tier;
}

static json_t *record_policy(const struct kvs_workload *w, uint32_t i)
{
    return json_string(w->policy[i].name);
}

json_t *kvs_workload_record(const struct kvs_workload *workload)
{
    const struct kvs_workload_in *in = workload->in;
    json_t *all = json_object();
    int bad = !all;
    for (unsigned i = 0; i < N(top_table) && !bad; i++)
        bad = json_object_set_new(all, top_table[i].key, json_null()); /* in the table's order */
    if (!bad) {
        bad |= json_object_set_new(all, "kvsim", json_string(KVS_VERSION));
        bad |= json_object_set_new(all, "about", json_string(workload->about));
        bad |= json_object_set_new(all, "model", record_name(in, in->top.model));
        bad |= json_object_set_new(all, "hardware", record_name(in, in->top.hardware));
        bad |= json_object_set_new(
            all, "hardware_set",
            in->top.hardware_set.v ? json_copy((json_t *)in->top.hardware_set.v) : json_object());
        bad |= json_object_set_new(all, "trace", record_trace(in));
        bad |= json_object_set_new(
            all, "arrivals", kvs_opt_record(kvs_arrivals_table, kvs_arrivals_n_opt, &in->arrivals));
        bad |= json_object_set_new(all, "seed", json_integer((json_int_t)in->top.seed));
        bad |= json_object_set_new(all, "cluster",
                                   kvs_opt_record(cluster_table, N(cluster_table), &in->cluster));
        bad |= json_object_set_new(all, "tiers",
                                   record_list(workload, workload->sim.n_tier, record_tier));
        bad |= json_object_set_new(all, "planner", record_planner(in));
        bad |= json_object_set_new(all, "slo", kvs_opt_record(slo_table, N(slo_table), &in->slo));
        bad |= json_object_set_new(all, "warmup",
                                   kvs_opt_record(warmup_table, N(warmup_table), &in->warmup));
        bad |= json_object_set_new(all, "compare",
                                   record_list(workload, workload->n_policy, record_policy));
        bad |= json_object_set_new(all, "output",
                                   kvs_opt_record(output_table, N(output_table), &in->output));
    }
    if (bad) {
        json_decref(all);
        all = NULL;
    }
    return all;
}
