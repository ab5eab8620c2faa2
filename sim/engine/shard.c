/*
 * shard.c - a tier of the hosts that all of them see: who holds what, and who gives it.
 *
 * A node is a host with its part of the tier. Everybody knows which nodes hold a block (as by a
 * master's directory), so a block is found wherever it is; the ring says where a new one goes. A
 * prompt's load is one flow that comes from all its nodes at once, in the shares of its blocks: it
 * occupies each node's storage links by what that node gives, the network link of each other node
 * (out) and of the requester (in), and the GPU's links by all of it. So the node that is slowest
 * for its share sets the pace. Links of the host's scope count at the node that holds the block.
 */
#include "parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define N_POINT 128 /* of a node on the ring: shares deviate by 1 / sqrt(128) of their mean */
#define BOUND 1.25  /* no node is given a block while it holds so many times the mean */

bool sim_sharded(const struct sim *sim, uint32_t tier_i)
{
    return sim->config->tier[tier_i].placement != KVS_PLACE_LOCAL;
}

struct store *sim_node_at(const struct sim *sim, uint32_t tier_i, uint32_t host_i)
{
    return &sim->store[tier_i * sim->n_host + host_i];
}

struct store *sim_block_store(const struct sim *sim, const struct req *req, uint32_t b)
{
    const uint32_t t = (uint32_t)req->where[b];
    return sim_sharded(sim, t) ? sim_node_at(sim, t, req->node[b])
                               : sim_store(sim, req->record.replica, t);
}

struct lane *sim_move_lane(const struct sim *sim, uint32_t tier_i, uint32_t host_i)
{
    return &sim->lane[sim->n_replica * (sim->config->n_tier + 1) * 2 + tier_i * sim->n_host +
                      host_i];
}

/* --- set-up ----------------------------------------------------------------------------------- */

static enum kvs_code check_outages(const struct sim *sim, uint32_t t)
{
    const struct kvs_tier_config *tier = &sim->config->tier[t];
    for (uint32_t i = 0; i < tier->n_outage; i++) {
        const struct kvs_outage *one = &tier->outage[i];
        if (one->host >= sim->n_host)
            return kvs_fail(sim->err, KVS_ERR_RANGE,
                            "tiers[%u].nodes_lost[%u].host: found %u, want less than %u, the hosts "
                            "that the replicas fill",
                            t, i, one->host, sim->n_host);
        for (uint32_t j = 0; j < i; j++)
            if (tier->outage[j].host == one->host && tier->outage[j].from_ns <= one->to_ns &&
                one->from_ns <= tier->outage[j].to_ns)
                return kvs_fail(sim->err, KVS_ERR_ARG,
                                "tiers[%u].nodes_lost[%u]: host %u is lost already at that time, "
                                "by entry %u",
                                t, i, one->host, j);
    }
    return KVS_OK;
}

enum kvs_code sim_shard_check(const struct sim *sim)
{
    const struct kvs_sim_config *config = sim->config;
    for (uint32_t t = 0; t < config->n_tier; t++) {
        const struct kvs_hw_tier *tier = kvs_hw_tier(config->hw, config->tier[t].name);
        uint32_t n_hop = tier->n_hop + 1;
        if (!sim_sharded(sim, t))
            continue;
        if (tier->scope != KVS_SCOPE_HOST)
            return kvs_fail(sim->err, KVS_ERR_ARG,
                            "tiers[%u].placement: %s of %s is no tier of the hosts; want \"local\"",
                            t, tier->name, config->hw->name);
        if (config->tier[t].write != KVS_WRITE_THROUGH)
            return kvs_fail(sim->err, KVS_ERR_ARG,
                            "tiers[%u].write: a tier spread over nodes wants \"through\"", t);
        assert(config->tier[t].n_copy > 0 && config->tier[t].network < config->hw->n_link);
        if (config->tier[t].n_copy > sim->n_host)
            return kvs_fail(sim->err, KVS_ERR_RANGE,
                            "tiers[%u].replicas: found %u, want at most %u, the hosts that the "
                            "replicas fill",
                            t, config->tier[t].n_copy, sim->n_host);
        for (uint32_t h = 0; h < tier->n_hop; h++) {
            if (tier->hop[h] == config->tier[t].network)
                return kvs_fail(sim->err, KVS_ERR_ARG,
                                "tiers[%u].network: %s is on the tier's own route already", t,
                                config->hw->link[tier->hop[h]].name);
            if (config->hw->link[tier->hop[h]].scope == KVS_SCOPE_HOST)
                n_hop += sim->n_host;
        }
        n_hop += sim->n_host;
        if (sim->n_host > KVS_RING_MAX_NODE || n_hop > KVS_FLOW_HOP || tier->n_hop == KVS_MAX_HOP)
            return kvs_fail(sim->err, KVS_ERR_RANGE,
                            "tiers[%u].placement: %u nodes with a route of %u links each, want at "
                            "most %d nodes and %d links",
                            t, sim->n_host, tier->n_hop, KVS_RING_MAX_NODE, KVS_FLOW_HOP);
        if (check_outages(sim, t) != KVS_OK)
            return sim->err->code;
    }
    return KVS_OK;
}

bool sim_shard_begin(struct sim *sim)
{
    const struct kvs_sim_config *config = sim->config;
    bool any = false;
    for (uint32_t t = 0; t < config->n_tier; t++) {
        const struct kvs_tier_config *tier = &config->tier[t];
        if (!sim_sharded(sim, t))
            continue;
        any = true;
        if (tier->placement == KVS_PLACE_HASHED &&
            !(sim->ring[t] = kvs_ring_new(sim->n_host, N_POINT)))
            return sim_nomem(sim);
        if (tier->hot_reads && !kvs_map_init(&sim->reads[t], 1024))
            return sim_nomem(sim);
        for (uint32_t h = 0; h < sim->n_host; h++)
            *sim_move_lane(sim, t, h) =
                (struct lane){.replica_i = h, .tier_i = t, .write = true, .slow = 1};
        for (uint32_t i = 0; i < 2 * tier->n_outage; i++) {
            const struct kvs_outage *outage = &tier->outage[i / 2];
            if (!sim_event(sim, i % 2 ? outage->to_ns : outage->from_ns, EV_NODE,
                           t * 2 * KVS_MAX_OUTAGE + i, 0))
                return false;
        }
    }
    if (any && !(sim->node_load = calloc(KVS_MAX_TIER * KVS_RING_MAX_NODE, sizeof *sim->node_load)))
        return sim_nomem(sim);
    return true;
}

/* --- who holds what --------------------------------------------------------------------------- */

uint64_t sim_holders(const struct sim *sim, uint32_t t, uint64_t key)
{
    uint64_t held = 0;
    for (uint32_t h = 0; h < sim->n_host; h++)
        if (!sim_node_at(sim, t, h)->down &&
            kvs_tier_find(sim_node_at(sim, t, h)->tier, key) != KVS_NO_SLOT)
            held |= (uint64_t)1 << h;
    return held;
}

/* From whom a block is read: here if it is here, or else who has least to give; equals in turn. */
static uint32_t giver(const struct sim *sim, uint32_t t, uint64_t key, uint64_t held, uint32_t here)
{
    const uint64_t *load = sim->node_load + t * sim->n_host;
    uint32_t best = UINT32_MAX;
    if (held >> here & 1)
        return here;
    uint32_t h = (uint32_t)(kvs_mix64(key) % sim->n_host);
    for (uint32_t i = 0; i < sim->n_host; i++, h = h + 1 < sim->n_host ? h + 1 : 0)
        if (held >> h & 1 && (best == UINT32_MAX || load[h] < load[best]))
            best = h;
    return best;
}

/* The nearest tier that holds a block. */
static bool find_block(struct sim *sim, struct req *req, uint32_t b)
{
    const uint32_t replica_i = req->record.replica, here = sim->replica[replica_i].host_i;
    const uint64_t key = req->key[b];
    const uint64_t n_bytes = (uint64_t)(sim->kv_bytes_per_tok * req->tok[b]);
    if ((req->slot[b] = kvs_tier_find(sim->replica[replica_i].hbm, key)) != KVS_NO_SLOT) {
        req->where[b] = KVS_AT_HBM;
        return true;
    }
    for (uint32_t t = 0; t < sim->config->n_tier && !sim->config->planner->never_loads; t++) {
        const struct store *store = sim_store(sim, replica_i, t);
        if (sim_sharded(sim, t)) {
            const uint64_t held = sim_holders(sim, t, key);
            if (!held)
                continue;
            req->node[b] = giver(sim, t, key, held, here);
            sim->node_load[t * sim->n_host + req->node[b]] += n_bytes;
            store = sim_node_at(sim, t, req->node[b]);
        }
        if ((req->tier_slot[b] = kvs_tier_find(store->tier, key)) == KVS_NO_SLOT)
            continue;
        req->where[b] = (int8_t)t;
        return true;
    }
    return false;
}

void sim_shard_look_up(struct sim *sim, struct req *req)
{
    bool ended = false;
    for (uint32_t i = 0; i < sim->config->n_tier * sim->n_host; i++)
        sim->node_load[i] = sim->store[i].reading_bytes;
    for (uint32_t b = 0; b < req->n_block; b++) {
        req->where[b] = KVS_AT_NONE;
        req->slot[b] = req->tier_slot[b] = KVS_NO_SLOT;
        if (!ended && !find_block(sim, req, b))
            ended = sim->config->reuse == KVS_REUSE_PREFIX;
    }
}

/* Copies that a block should have: one more for every so many reads from other nodes. */
static uint32_t copies_due(const struct sim *sim, uint32_t t, uint64_t key)
{
    const struct kvs_tier_config *config = &sim->config->tier[t];
    const uint32_t *n_read = config->hot_reads ? kvs_map_find(&sim->reads[t], key) : NULL;
    return config->n_copy + (n_read ? *n_read / config->hot_reads : 0);
}

/* Notes that a prompt reads its blocks of a tier from other nodes. */
static bool count_reads(struct sim *sim, const struct req *req, uint32_t t)
{
    const uint32_t here = sim->replica[req->record.replica].host_i;
    for (uint32_t b = 0; b < req->n_block; b++) {
        bool found;
        if (req->where[b] != (int8_t)t || req->node[b] == here)
            continue;
        uint32_t *n_read = kvs_map_put(&sim->reads[t], req->key[b], 0, &found);
        if (!n_read)
            return false;
        *n_read += *n_read < UINT32_MAX - 1;
    }
    return true;
}

/* Where copies of a block are still to go. */
static uint32_t places(struct sim *sim, uint32_t replica_i, uint32_t t, uint64_t key,
                       uint64_t n_bytes, uint32_t node[KVS_RING_MAX_NODE])
{
    const struct kvs_tier_config *config = &sim->config->tier[t];
    uint64_t *load = sim->node_load + t * sim->n_host, total = 0;
    const uint64_t held = sim_holders(sim, t, key);
    const uint32_t n_held = (uint32_t)__builtin_popcountll(held), n_due = copies_due(sim, t, key);
    uint32_t here = sim->replica[replica_i].host_i, n_up = 0;
    struct kvs_ring_state state = {.out = held, .load = load};
    if (n_held >= n_due)
        return 0;
    if (config->placement == KVS_PLACE_CACHE_AWARE) {
        node[0] = here;
        return !(held >> here & 1) && !sim_node_at(sim, t, here)->down;
    }
    for (uint32_t h = 0; h < sim->n_host; h++) {
        struct kvs_tier_stats stats;
        if (sim_node_at(sim, t, h)->down) {
            state.out |= (uint64_t)1 << h;
            continue;
        }
        kvs_tier_stats(sim_node_at(sim, t, h)->tier, &stats);
        load[h] = stats.used_bytes;
        total += load[h];
        n_up++;
    }
    if (!n_up)
        return 0;
    state.bound = kvs_ring_bound(BOUND, total, n_bytes, n_up);
    return kvs_ring_pick(sim->ring[t], key, n_due - n_held, &state, node);
}

bool sim_shard_lacks(struct sim *sim, uint32_t replica_i, uint32_t tier_i, uint64_t key,
                     uint64_t n_bytes)
{
    uint32_t node[KVS_RING_MAX_NODE];
    return places(sim, replica_i, tier_i, key, n_bytes, node) > 0;
}

/* --- what travels ----------------------------------------------------------------------------- */

bool sim_shard_make(struct sim *sim, struct transfer *transfer)
{
    if (!transfer->node_bytes)
        transfer->node_bytes = calloc(sim->n_host, sizeof *transfer->node_bytes);
    if (!transfer->node_bytes)
        return false;
    memset(transfer->node_bytes, 0, sim->n_host * sizeof *transfer->node_bytes);
    transfer->once_bytes = 0;
    transfer->sharded = true;
    return true;
}

/* Tokens of the prompt that each node gives. */
static void tok_of(const struct sim *sim, const struct req *req, uint32_t t,
                   uint64_t tok[KVS_RING_MAX_NODE])
{
    memset(tok, 0, sim->n_host * sizeof *tok);
    for (uint32_t b = 0; b < req->n_block; b++)
        if (req->where[b] == (int8_t)t)
            tok[req->node[b]] += req->tok[b];
}

/* Its bytes come from the nodes as its blocks lie there, whichever layers and blocks the plan
 * reads. */
bool sim_shard_load(struct sim *sim, struct transfer *transfer)
{
    uint64_t tok[KVS_RING_MAX_NODE], left_tok = 0, left_bytes = transfer->n_bytes;
    const uint32_t t = transfer->tier_i;
    if (!sim_shard_make(sim, transfer) ||
        (sim->config->tier[t].hot_reads && !count_reads(sim, transfer->req, t)))
        return false;
    tok_of(sim, transfer->req, t, tok);
    for (uint32_t h = 0; h < sim->n_host; h++)
        left_tok += tok[h];
    for (uint32_t h = 0; h < sim->n_host && left_tok; h++) {
        const double frac = (double)tok[h] / (double)left_tok;
        const uint64_t n_bytes =
            tok[h] == left_tok ? left_bytes : (uint64_t)((double)left_bytes * frac);
        transfer->node_bytes[h] = n_bytes;
        sim_node_at(sim, t, h)->reading_bytes += n_bytes;
        left_tok -= tok[h];
        left_bytes -= n_bytes;
    }
    assert(left_bytes == 0);
    transfer->once_bytes = transfer->n_bytes;
    transfer->latency_ns += sim_shard_network_ns(sim, transfer);
    return true;
}

void sim_shard_cut(struct sim *sim, struct transfer *transfer)
{
    uint64_t had_bytes = transfer->once_bytes, left_bytes = transfer->n_bytes;
    for (uint32_t h = 0; h < sim->n_host && had_bytes; h++) {
        const uint64_t had = transfer->node_bytes[h];
        const uint64_t n_bytes =
            had == had_bytes ? left_bytes
                             : (uint64_t)((double)left_bytes * ((double)had / (double)had_bytes));
        sim_node_at(sim, transfer->tier_i, h)->reading_bytes -= had - n_bytes;
        transfer->node_bytes[h] = n_bytes;
        had_bytes -= had;
        left_bytes -= n_bytes;
    }
    transfer->once_bytes = transfer->n_bytes;
}

bool sim_shard_add_copy(struct transfer *transfer, uint32_t node, uint64_t key,
                        const struct kvs_block_info *info, uint32_t state)
{
    if (!sim_block_room(transfer))
        return false;
    transfer->node[transfer->n_block] = node;
    transfer->key[transfer->n_block] = key;
    transfer->held[transfer->n_block] = state;
    transfer->info[transfer->n_block++] = *info;
    transfer->node_bytes[node] += info->n_bytes;
    transfer->n_bytes += info->n_bytes;
    return true;
}

int sim_shard_add(struct sim *sim, struct transfer *transfer, uint64_t key,
                  const struct kvs_block_info *info, uint32_t state)
{
    uint32_t node[KVS_RING_MAX_NODE];
    const uint32_t n = places(sim, transfer->replica_i, transfer->tier_i, key, info->n_bytes, node);
    if (!transfer->sharded && !sim_shard_make(sim, transfer))
        return -1;
    for (uint32_t i = 0; i < n; i++)
        if (!sim_shard_add_copy(transfer, node[i], key, info, state))
            return -1;
    transfer->once_bytes += n ? info->n_bytes : 0;
    return (int)n;
}

/* --- what a plan sees ------------------------------------------------------------------------- */

void sim_shard_routes(struct sim *sim, const struct req *req)
{
    const struct kvs_sim_config *config = sim->config;
    const uint32_t here = sim->replica[req->record.replica].host_i;
    for (uint32_t t = 0; t < config->n_tier; t++) {
        const struct lane *lane = sim_lane(sim, req->record.replica, t, false);
        uint64_t tok[KVS_RING_MAX_NODE], all_tok = 0, most_tok = 0;
        if (!sim_sharded(sim, t))
            continue;
        tok_of(sim, req, t, tok);
        for (uint32_t h = 0; h < sim->n_host; h++) {
            all_tok += tok[h];
            most_tok = tok[h] > most_tok ? tok[h] : most_tok;
        }
        struct kvs_table_route *route = &sim->route[t];
        route->n_hop = lane->n_hop;
        memcpy(route->hop, lane->hop, sizeof lane->hop);
        for (uint32_t h = 0; h < route->n_hop && all_tok; h++)
            if (route->hop[h].link->scope == KVS_SCOPE_HOST)
                route->hop[h].share = (double)most_tok / (double)all_tok;
        if (!all_tok || tok[here] == all_tok)
            continue;
        const struct kvs_hw_link *link = &config->hw->link[config->tier[t].network];
        route->hop[route->n_hop++] =
            (struct kvs_table_hop){link, (double)(all_tok - tok[here]) / (double)all_tok *
                                             (link->scope == KVS_SCOPE_GPU ? 1.0 / config->tp : 1)};
    }
}

void sim_shard_latency(const struct sim *sim, const struct req *req,
                       struct kvs_plan_problem *problem)
{
    for (uint32_t t = 0; t < kvs_plan_routes(problem); t++)
        if (sim_sharded(sim, t) &&
            sim->route[t].n_hop > sim_lane(sim, req->record.replica, t, false)->n_hop)
            problem->io_start_ns[t] += sim_shard_latency_ns(sim, t);
}

/* --- totals ----------------------------------------------------------------------------------- */

void sim_shard_sum(struct sim *sim)
{
    for (uint32_t t = 0; t < sim->config->n_tier; t++) {
        struct kvs_sim_tier_total *total = &sim->result->tier[t];
        uint64_t most = 0, all = 0;
        if (!sim_sharded(sim, t))
            continue;
        for (uint32_t h = 0; h < sim->n_host; h++) {
            const uint64_t n_bytes = sim_node_at(sim, t, h)->read_bytes;
            const struct transfer *left = sim_move_lane(sim, t, h)->first;
            assert(sim_node_at(sim, t, h)->reading_bytes == 0); /* all loads ended */
            most = n_bytes > most ? n_bytes : most;
            all += n_bytes;
            for (; left; left = left->next)
                total->rebalance_left_bytes += left->n_bytes;
        }
        assert(all == total->load_bytes);
        total->node_spread = all ? (double)most * sim->n_host / (double)all : 0;
    }
}
