/*
 * setup.c - the cluster of a run: replicas, tiers, links and lanes, tables; and its end.
 */
#include "parts.h"
#include "plan/levels.h"
#include "plan/regret.h"

#include "model/layout.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const struct kvs_hw_tier *hw_tier(const struct kvs_hw *hw, const char *name)
{
    for (uint32_t t = 0; t < hw->n_tier; t++)
        if (!strcmp(hw->tier[t].name, name))
            return &hw->tier[t];
    return NULL;
}

static uint32_t replicas_per_host(const struct kvs_sim_config *config)
{
    uint32_t n = config->hw->gpus_per_host / config->tp;
    return n ? n : 1;
}

/* Instances of a link: a GPU's links count as one a replica, tp of them side by side. */
static uint32_t n_instance(const struct sim *sim, const struct kvs_hw_link *link)
{
    switch (link->scope) {
    case KVS_SCOPE_GPU:
        return sim->n_replica;
    case KVS_SCOPE_HOST:
        return sim->n_host;
    case KVS_SCOPE_CLUSTER:
        break;
    }
    return 1;
}

uint32_t sim_n_instance(const struct sim *sim, uint32_t link_i)
{
    return n_instance(sim, &sim->config->hw->link[link_i]);
}

uint32_t sim_link_instance(const struct sim *sim, uint32_t link_i, bool write, uint32_t replica_i)
{
    const struct kvs_hw *hw = sim->config->hw;
    uint32_t first = 0;
    for (uint32_t j = 0; j < link_i; j++)
        first += 2 * n_instance(sim, &hw->link[j]);
    const struct kvs_hw_link *link = &hw->link[link_i];
    if (write)
        first += n_instance(sim, link);
    if (link->scope == KVS_SCOPE_GPU)
        return first + replica_i;
    return first + (link->scope == KVS_SCOPE_HOST ? sim->replica[replica_i].host_i : 0);
}

static void add_hop(struct sim *sim, struct lane *lane, uint32_t link_i)
{
    const struct kvs_hw_link *link = &sim->config->hw->link[link_i];
    double share = link->scope == KVS_SCOPE_GPU ? 1.0 / sim->config->tp : 1;
    lane->link[lane->n_hop] = sim_link_instance(sim, link_i, lane->write, lane->replica_i);
    lane->hop[lane->n_hop++] = (struct kvs_table_hop){link, share};
    lane->latency_ns += kvs_ns(link->latency_s.value);
}

static bool has_hop(const struct kvs_hw_tier *tier, uint32_t link_i)
{
    for (uint32_t h = 0; h < tier->n_hop; h++)
        if (tier->hop[h] == link_i)
            return true;
    return false;
}

/* A write-back starts at the nearest tier that gets the block too: it does not cross its links
 * again. */
static void make_lane(struct sim *sim, uint32_t replica_i, uint32_t tier_i, bool write)
{
    const struct kvs_sim_config *config = sim->config;
    const struct kvs_hw_tier *tier = hw_tier(config->hw, config->tier[tier_i].name);
    const struct kvs_hw_tier *near =
        write && tier_i ? hw_tier(config->hw, config->tier[0].name) : NULL;
    struct lane *lane = sim_lane(sim, replica_i, tier_i, write);
    *lane = (struct lane){.replica_i = replica_i, .tier_i = tier_i, .write = write, .slow = 1};
    for (uint32_t h = 0; h < tier->n_hop; h++)
        if (!near || !has_hop(near, tier->hop[h]))
            add_hop(sim, lane, tier->hop[h]);
}

/* From a prefill replica to any decode replica; the far end's link joins when it is known. */
static void make_handover_lane(struct sim *sim, uint32_t replica_i)
{
    struct lane *lane = sim_lane(sim, replica_i, sim->config->n_tier, true);
    *lane = (struct lane){.replica_i = replica_i, .tier_i = sim->config->n_tier, .write = true};
    add_hop(sim, lane, sim->config->handover_link);
}

static enum kvs_code check(const struct kvs_sim_config *config, struct kvs_err *err)
{
    assert(config->tp && config->n_replica && config->max_batch && config->chunk_tok);
    assert(!config->n_decode_replica || config->handover_link < config->hw->n_link);
    assert(config->prefill_batch && config->n_frac >= 2 && config->n_tier <= KVS_MAX_TIER);
    if (config->tp > config->hw->gpus_per_host)
        return kvs_fail(err, KVS_ERR_RANGE, "cluster.tp: %u GPUs, but a host of %s has %u",
                        config->tp, config->hw->name, config->hw->gpus_per_host);
    if (config->preemption == KVS_PREEMPT_SWAP && !config->n_tier)
        return kvs_fail(
            err, KVS_ERR_ARG,
            "cluster.preemption: \"swap\" needs a tier below HBM; want one in tiers, or "
            "\"recompute\"");
    for (uint32_t t = 0; t < config->n_tier; t++)
        if (!hw_tier(config->hw, config->tier[t].name))
            return kvs_fail(err, KVS_ERR_ARG, "tiers[%u].name: %s has no tier \"%s\"", t,
                            config->hw->name, config->tier[t].name);
    return KVS_OK;
}

/*
 * Pieces by the layout; bytes are those of the tokens, without its padding. Where a unit's layers
 * lie together they count evenly among the layers, which load one by one all the same.
 */
static void take_layout(struct sim *sim)
{
    const struct kvs_sim_config *config = sim->config;
    const struct kvs_layout *layout = config->layout ? config->layout : kvs_layout_find("blocks");
    sim->unit_tok = layout->block_tok;
    sim->unit_descriptors = kvs_layout_bulk(layout, config->model, 1, 1, 1).n_piece;
}

uint32_t sim_n_frac(const struct kvs_sim_config *config)
{
    return config->planner->ends_only ? 2 : config->n_frac;
}

static enum kvs_code make_tables(struct sim *sim)
{
    const struct kvs_sim_config *config = sim->config;
    for (uint32_t t = 0; t < config->n_tier; t++) { /* of tiers spread over nodes: for now */
        const struct lane *lane = sim_lane(sim, 0, t, false);
        sim->route[t].n_hop = lane->n_hop;
        memcpy(sim->route[t].hop, lane->hop, sizeof lane->hop);
    }
    kvs_plan_error_of(config->hw, sim->route, config->n_tier, sim->level,
                      sim->levels ? config->n_level : 0, &sim->error);
    struct kvs_tables_config tables = {
        .model = config->model,
        .cost = config->cost,
        .n_route = config->n_tier,
        .route = sim->route,
        .chunk_tok = config->chunk_tok,
        .n_frac = sim_n_frac(config),
        .descriptors = sim->unit_descriptors / sim->n_layer,
        .unit_tok = sim->unit_tok,
        .n_level = sim->levels ? config->n_level : 1,
        .level = sim->level,
        .as_held = sim->levels,
        .repair = config->repair,
        .state_at = sim->n_state ? config->state_at : NULL,
        .state_bytes_per_tok = kvs_state_bytes_per_tok(config->model),
        .budget = config->budget,
    };
    /* who looks at the ends only repairs nothing or computes all */
    if (tables.repair.n >= tables.n_frac)
        tables.repair.n = tables.n_frac - 1;
    return kvs_tables_new(&tables, &sim->tables, sim->err);
}

/* What the place before tier t evicts is written to it. */
static bool goes_on(const struct kvs_sim_config *config, uint32_t t)
{
    return t < config->n_tier && config->tier[t].write != KVS_WRITE_THROUGH &&
           !config->planner->never_loads;
}

static bool make_admit(struct store *store, const struct kvs_tier_config *config)
{
    if (!config->admit)
        return true;
    store->admit = calloc(1, config->admit->state_bytes + 1);
    return store->admit && config->admit->init(store->admit, &config->admit_config);
}

/* Loads from tier t pass the nearer one if they cross all of its links. */
static bool passes(const struct kvs_hw_tier *tier, const struct kvs_hw_tier *near)
{
    for (uint32_t h = 0; h < near->n_hop; h++)
        if (!has_hop(tier, near->hop[h]))
            return false;
    return true;
}

static enum kvs_code make_replicas(struct sim *sim)
{
    const struct kvs_sim_config *config = sim->config;
    double room = kvs_cost_kv_room_bytes(config->cost, config->chunk_tok);
    if (room < sim->kv_bytes_per_tok)
        return kvs_fail(sim->err, KVS_ERR_RANGE,
                        "%s does not fit %u x %s: no HBM is left for KV; raise cluster.tp",
                        kvs_model_name(config->model), config->tp, config->hw->name);
    for (uint32_t r = 0; r < sim->n_replica; r++) {
        struct replica *replica = &sim->replica[r];
        replica->host_i = r / replicas_per_host(config);
        replica->wake_ns = INT64_MAX;
        replica->decoding = calloc(config->max_batch, sizeof(struct req *));
        replica->step.part = calloc(config->prefill_batch, sizeof *replica->step.part);
        if (!replica->decoding || !replica->step.part)
            return kvs_fail(sim->err, KVS_ERR_NOMEM, "%u replicas", sim->n_replica);
        replica->let_go = (struct let_go){sim, r, 0, &replica->held, true};
        if (kvs_tier_new(config->hbm_evict, (uint64_t)room, goes_on(config, 0) ? sim_let_go : NULL,
                         &replica->let_go, &replica->hbm, sim->err))
            return sim->err->code;
    }
    for (uint32_t t = 0; t < config->n_tier; t++) {
        for (uint32_t near = 0; near < t; near++)
            sim->passes[t][near] = passes(hw_tier(config->hw, config->tier[t].name),
                                          hw_tier(config->hw, config->tier[near].name));
        sim->tier_shared[t] = hw_tier(config->hw, config->tier[t].name)->scope == KVS_SCOPE_CLUSTER;
        for (uint32_t h = 0; h < (sim->tier_shared[t] ? 1 : sim->n_host); h++) {
            struct store *store = &sim->store[t * sim->n_host + h];
            store->let_go =
                (struct let_go){sim, h * replicas_per_host(config), t + 1, &store->held, false};
            if (kvs_tier_new(config->tier[t].evict, config->tier[t].capacity_bytes,
                             goes_on(config, t + 1) ? sim_let_go : NULL, &store->let_go,
                             &store->tier, sim->err))
                return sim->err->code;
            if (!make_admit(store, &config->tier[t]))
                return kvs_fail(sim->err, KVS_ERR_NOMEM, "%u tiers", config->n_tier);
            if (!kvs_map_init(&store->pending, 64))
                return kvs_fail(sim->err, KVS_ERR_NOMEM, "%u tiers", config->n_tier);
        }
    }
    return KVS_OK;
}

/* Room for n items of size, at least one, zeroed. */
static void *array(size_t n, size_t size)
{
    return calloc(n ? n : 1, size);
}

enum kvs_code sim_set_up(struct sim *sim)
{
    const struct kvs_sim_config *config = sim->config;
    if (check(config, sim->err) != KVS_OK)
        return sim->err->code;
    kvs_queue_init(&sim->queue);
    sim->sample_every = 1;
    sim->n_replica = config->n_replica + config->n_decode_replica;
    sim->n_layer = kvs_model_n_layer(config->model);
    sim->n_class = kvs_cost_n_class(config->cost);
    take_layout(sim);
    for (uint32_t l = 0; l < sim->n_layer; l++) {
        sim->class_n[kvs_cost_class(config->cost, l)]++;
        sim->kv_bytes_per_tok += kvs_model_kv_bytes_per_tok(config->model, l);
    }
    sim->per_host = replicas_per_host(config);
    sim->n_host = (sim->n_replica + sim->per_host - 1) / sim->per_host;
    if (sim_shard_check(sim) != KVS_OK)
        return sim->err->code;
    for (uint32_t j = 0; j < config->hw->n_link; j++)
        sim->n_link += 2 * n_instance(sim, &config->hw->link[j]);
    sim->net = kvs_net_new(sim->n_link);
    sim->link_bytes = array(sim->n_link, sizeof *sim->link_bytes);
    sim->replica = array(sim->n_replica, sizeof *sim->replica);
    sim->store = array((size_t)config->n_tier * sim->n_host, sizeof *sim->store);
    sim->n_lane = sim->n_replica * (config->n_tier + 1) * 2 + config->n_tier * sim->n_host;
    sim->lane = array(sim->n_lane, sizeof *sim->lane);
    sim->view = array(sim->n_replica, sizeof *sim->view);
    sim->seg = array((size_t)config->prefill_batch + 1, sizeof *sim->seg);
    sim->decode_fixed_s = array((size_t)config->max_batch + 1, sizeof *sim->decode_fixed_s);
    sim->decode_per_tok_s = array((size_t)config->max_batch + 1, sizeof *sim->decode_per_tok_s);
    if (config->repair.n && !kvs_map_init(&sim->made, 1024))
        return kvs_fail(sim->err, KVS_ERR_NOMEM, "no memory for what blocks were computed behind");
    if (config->foresight && !kvs_map_init(&sim->next_use, 1024))
        return kvs_fail(sim->err, KVS_ERR_NOMEM, "the future");
    sim->scratch = kvs_plan_scratch_new();
    const uint32_t n_cost = config->n_level > 1 ? sim->n_layer : sim->n_class;
    sim->stretched = array(n_cost, sizeof *sim->stretched);
    sim->stretched_ns = array((size_t)n_cost * KVS_MAX_ROUTE * KVS_MAX_FRAC * KVS_MAX_LEVEL,
                              sizeof *sim->stretched_ns);
    if (!sim->net || !sim->link_bytes || !sim->replica || !sim->store || !sim->lane || !sim->view ||
        !sim->seg || !sim->decode_fixed_s || !sim->decode_per_tok_s || !sim->scratch ||
        !sim->stretched || !sim->stretched_ns)
        return kvs_fail(sim->err, KVS_ERR_NOMEM, "%u replicas", sim->n_replica);
    for (uint32_t b = 1; b <= config->max_batch; b++) {
        kvs_cost_decode_s(config->cost, b, &sim->decode_fixed_s[b], &sim->decode_per_tok_s[b]);
        sim->decode_fixed_s[b] += config->serving ? config->serving->step_s.value : 0;
    }
    sim->step_ns = config->serving ? kvs_ns(config->serving->step_s.value) : 0;
    const struct kvs_seg near = {1, 2048, 0}, far = {1, 2048, 32768};
    sim->tok_s = (double)sim_pass_ns(sim, &near, 1) * 1e-9 / 2048;
    sim->tok_per_pos_s = (double)sim_pass_ns(sim, &far, 1) * 1e-9 / 2048 - sim->tok_s;
    sim->tok_per_pos_s /= 32768;
    if (make_replicas(sim) != KVS_OK)
        return sim->err->code;
    for (uint32_t r = 0; r < sim->n_replica; r++)
        for (uint32_t t = 0; t < config->n_tier; t++) {
            make_lane(sim, r, t, false);
            make_lane(sim, r, t, true);
        }
    for (uint32_t r = 0; config->n_decode_replica && r < config->n_replica; r++)
        make_handover_lane(sim, r);
    if (!sim_shard_begin(sim) || !sim_levels_begin(sim))
        return sim->err->code;
    return make_tables(sim);
}

static void free_reqs(struct req *req)
{
    while (req) {
        struct req *next = req->next;
        sim_req_free(req);
        req = next;
    }
}

static void free_transfers(struct transfer *transfer)
{
    while (transfer) {
        struct transfer *next = transfer->next;
        sim_transfer_free(transfer);
        transfer = next;
    }
}

void sim_tear_down(struct sim *sim)
{
    const struct kvs_sim_config *config = sim->config;
    for (uint32_t i = 0; i < sim->n_live; i++)
        sim_req_free(sim->live[i]);
    free_reqs(sim->idle_req);
    sim_req_free(sim->next_req);
    sim_turns_free(sim->turns);
    free_transfers(sim->idle_transfer);
    for (uint32_t i = 0; sim->lane && i < sim->n_lane; i++)
        free_transfers(sim->lane[i].first);
    for (uint32_t t = 0; t < config->n_tier; t++)
        kvs_ring_free(sim->ring[t]);
    for (uint32_t t = 0; t < config->n_tier; t++)
        kvs_map_free(&sim->reads[t]);
    free(sim->node_load);
    for (uint32_t r = 0; sim->replica && r < sim->n_replica; r++) {
        kvs_tier_free(sim->replica[r].hbm);
        kvs_map_free(&sim->replica[r].held);
        free(sim->replica[r].owner);
        free(sim->replica[r].decoding);
        free(sim->replica[r].step.part);
    }
    for (uint32_t i = 0; sim->store && i < config->n_tier * sim->n_host; i++) {
        const struct kvs_admit_ops *admit = config->tier[i / sim->n_host].admit;
        if (sim->store[i].admit && admit->end)
            admit->end(sim->store[i].admit);
        free(sim->store[i].admit);
        kvs_tier_free(sim->store[i].tier);
        kvs_map_free(&sim->store[i].pending);
        kvs_map_free(&sim->store[i].held);
    }
    kvs_queue_free(&sim->queue);
    kvs_net_free(sim->net);
    kvs_tables_free(sim->tables);
    kvs_plan_scratch_free(sim->scratch);
    free(sim->end_loss);
    free(sim->stretched);
    free(sim->stretched_ns);
    free(sim->flow_version);
    free(sim->flow_transfer);
    free(sim->decode_fixed_s);
    free(sim->decode_per_tok_s);
    free(sim->link_bytes);
    free(sim->replica);
    free(sim->store);
    free(sim->lane);
    free(sim->view);
    free(sim->piece);
    free(sim->seg);
    free(sim->live);
    free(sim->bin);
    kvs_map_free(&sim->made);
    kvs_map_free(&sim->next_use);
}
