/*
 * outage.c - nodes of a tier that is spread over them (shard.c), lost and back.
 *
 * A lost node takes its blocks with it; what was being read from it, or waited to be, still comes.
 * When it is back, the blocks that the ring gives to it and others hold meanwhile move to it, a
 * batch at a time, over the same links. Copies that went with a node are made again when a prompt
 * next has the block in HBM.
 */
#include "parts.h"

#include "base/units.h"

#include <math.h>

#define MOVE_BYTES ((uint64_t)256 << 20) /* of a batch */

static void lose(struct sim *sim, uint32_t t, struct store *store)
{
    store->down = true;
    for (uint32_t slot = 0; (slot = kvs_tier_next(store->tier, slot)) != KVS_NO_SLOT; slot++) {
        sim->result->tier[t].lost_bytes += kvs_tier_info(store->tier, slot)->n_bytes;
        if (!kvs_tier_pinned(store->tier, slot))
            kvs_tier_remove(store->tier, slot);
    }
}

/* The ring gives the block to the node, if the bound does not say otherwise. */
static bool belongs(const struct sim *sim, uint32_t t, uint64_t key, uint32_t host_i)
{
    struct kvs_ring_state state = {0};
    uint32_t node[KVS_RING_MAX_NODE];
    for (uint32_t h = 0; h < sim->n_host; h++)
        state.out |= (uint64_t)sim_node_at(sim, t, h)->down << h;
    const uint32_t n = kvs_ring_pick(sim->ring[t], key, sim->config->tier[t].n_copy, &state, node);
    for (uint32_t i = 0; i < n; i++)
        if (node[i] == host_i)
            return true;
    return false;
}

/* One of the holders is none that the ring gives the block to: it is the one to part with it. */
static bool stray(const struct sim *sim, uint32_t t, uint64_t key, uint64_t held)
{
    for (uint32_t h = 0; h < sim->n_host; h++)
        if (held >> h & 1 && !belongs(sim, t, key, h))
            return true;
    return false;
}

static struct transfer *new_move(struct sim *sim, uint32_t t, uint32_t from)
{
    struct transfer *transfer = sim_transfer_new(sim);
    if (!transfer)
        return NULL;
    transfer->req = NULL;
    transfer->request_i = UINT64_MAX;
    transfer->replica_i = from;
    transfer->tier_i = t;
    transfer->write = transfer->move = true;
    transfer->n_bytes = 0;
    transfer->n_descriptor = 0;
    if (sim_shard_make(sim, transfer))
        return transfer;
    sim_transfer_free(transfer);
    sim_nomem(sim);
    return NULL;
}

static bool start_move(struct sim *sim, struct transfer *transfer)
{
    struct lane *lane = sim_move_lane(sim, transfer->tier_i, transfer->replica_i);
    struct hops hops;
    double longest_s = 0;
    sim_shard_hops(sim, lane, transfer, &hops);
    for (uint32_t h = 0; h < hops.n; h++)
        longest_s = fmax(longest_s, hops.s[h]);
    transfer->ease = 1;
    transfer->once_bytes = transfer->n_bytes;
    transfer->work_ns = kvs_ns(longest_s) + 1;
    transfer->latency_ns = sim_shard_latency_ns(sim, transfer->tier_i);
    return sim_enqueue(sim, lane, transfer);
}

/* What `from` holds of the blocks that belong to a node that is back goes there. */
static bool move_from(struct sim *sim, uint32_t t, uint32_t from, uint32_t to)
{
    struct kvs_map *pending = &sim_node_at(sim, t, 0)->pending;
    const struct kvs_tier *tier = sim_node_at(sim, t, from)->tier;
    struct transfer *transfer = NULL;
    bool fine = true;
    for (uint32_t slot = 0; fine && (slot = kvs_tier_next(tier, slot)) != KVS_NO_SLOT; slot++) {
        const uint64_t key = kvs_tier_key(tier, slot);
        const struct kvs_block_info *info = kvs_tier_info(tier, slot);
        bool found;
        const uint64_t held = sim_holders(sim, t, key);
        if (!belongs(sim, t, key, to) || held >> to & 1 || kvs_map_find(pending, key) ||
            (belongs(sim, t, key, from) && stray(sim, t, key, held)))
            continue;
        if (!transfer && !(transfer = new_move(sim, t, from)))
            return false;
        const uint32_t state = sim_held(sim, &sim_node_at(sim, t, from)->held, key);
        if (!sim_shard_add_copy(transfer, to, key, info, state) ||
            !kvs_map_put(pending, key, 1, &found)) {
            sim_transfer_free(transfer);
            return sim_nomem(sim);
        }
        const double n_tok = (double)info->n_bytes / sim_stored_per_tok(sim, state) + 1e-6;
        transfer->n_descriptor +=
            sim_stored_descriptors(sim, state, sim_units(sim, (uint32_t)n_tok));
        if (transfer->n_bytes >= MOVE_BYTES) {
            fine = start_move(sim, transfer);
            transfer = NULL;
        }
    }
    return fine && (!transfer || start_move(sim, transfer));
}

bool sim_node(struct sim *sim, uint32_t index)
{
    const uint32_t t = index / (2 * KVS_MAX_OUTAGE), i = index % (2 * KVS_MAX_OUTAGE);
    const uint32_t host_i = sim->config->tier[t].outage[i / 2].host;
    struct store *store = sim_node_at(sim, t, host_i);
    if (i % 2 == 0) {
        lose(sim, t, store);
        return true;
    }
    store->down = false;
    for (uint32_t h = 0; h < sim->n_host && sim->ring[t]; h++)
        if (h != host_i && !sim_node_at(sim, t, h)->down && !move_from(sim, t, h, host_i))
            return false;
    return true;
}

void sim_move_done(struct sim *sim, const struct transfer *transfer)
{
    const uint32_t t = transfer->tier_i;
    struct store *from = sim_node_at(sim, t, transfer->replica_i);
    for (uint32_t b = 0; b < transfer->n_block; b++) {
        struct store *to = sim_node_at(sim, t, transfer->node[b]);
        const uint64_t key = transfer->key[b];
        const uint32_t slot = kvs_tier_find(from->tier, key);
        kvs_map_del(&sim_node_at(sim, t, 0)->pending, key);
        if (slot == KVS_NO_SLOT || from->down || to->down)
            continue; /* evicted, or gone with its node, meanwhile */
        sim->broken |= !sim_land(sim, to, key, &transfer->info[b], transfer->held[b]);
        if (kvs_tier_find(to->tier, key) != KVS_NO_SLOT && !kvs_tier_pinned(from->tier, slot) &&
            !belongs(sim, t, key, transfer->replica_i))
            kvs_tier_remove(from->tier, slot);
    }
    sim->result->tier[t].rebalance_bytes += transfer->n_bytes;
}
