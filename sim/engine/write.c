/*
 * write.c - what gets into tiers: write-backs, what a nearer place evicts, copies of what was
 * loaded.
 */
#include "parts.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum { AHEAD = 8 }; /* keys asked for ahead of their look-up: main memory's time */

bool sim_land(struct sim *sim, struct store *store, uint64_t key, const struct kvs_block_info *info,
              uint32_t state)
{
    if (kvs_tier_find(store->tier, key) != KVS_NO_SLOT)
        return true;
    uint32_t slot = kvs_tier_insert(store->tier, key, info, sim->now_ns);
    if (slot == KVS_NO_SLOT)
        return true;
    sim_expect(sim, store->tier, slot, key);
    return sim_hold(sim, &store->held, key, state);
}

/* Who knows what is on its way into a tier and what it admits: of one that is spread over nodes,
 * one for all. */
static struct store *gate(const struct sim *sim, uint32_t replica_i, uint32_t tier_i)
{
    return sim_store(sim, sim_sharded(sim, tier_i) ? 0 : replica_i, tier_i);
}

static bool wanted(struct sim *sim, struct store *store, uint32_t tier_i, uint64_t key,
                   uint64_t n_bytes)
{
    const struct kvs_admit_ops *admit = sim->config->tier[tier_i].admit;
    if (!admit || admit->wants(store->admit, key))
        return true;
    sim->result->tier[tier_i].write_declined_bytes += n_bytes;
    return false;
}

/* The first block that was read in every layer: those before it are recomputed, at least in some.
 */
static uint32_t first_whole(const struct req *req)
{
    uint64_t recompute_tok = kvs_tables_recompute_tok(req->inst, req->plan.frac_i[0]), n_tok = 0;
    uint32_t b = 0;
    while (b < req->n_block && n_tok < recompute_tok) {
        n_tok += req->where[b] >= 0 || req->moved[b] ? req->tok[b] : 0;
        b++;
    }
    return b;
}

bool sim_block_room(struct transfer *transfer)
{
    if (transfer->n_block < transfer->block_room)
        return true;
    uint32_t room = transfer->block_room ? 2 * transfer->block_room : 32;
    uint64_t *key = realloc(transfer->key, room * sizeof *key);
    if (key)
        transfer->key = key;
    struct kvs_block_info *info = realloc(transfer->info, room * sizeof *info);
    if (info)
        transfer->info = info;
    uint32_t *held = realloc(transfer->held, room * sizeof *held);
    if (held)
        transfer->held = held;
    uint32_t *node = realloc(transfer->node, room * sizeof *node);
    if (node)
        transfer->node = node;
    if (!key || !info || !node || !held)
        return false;
    transfer->block_room = room;
    return true;
}

/* The lane's last write, if blocks can still join it, or a new one. */
static struct transfer *open_write(struct sim *sim, struct lane *lane)
{
    struct transfer *transfer = lane->first ? lane->last : NULL;
    if (transfer && transfer->open && transfer->flow == KVS_NO_FLOW)
        return transfer;
    transfer = sim_transfer_new(sim);
    if (!transfer)
        return NULL;
    transfer->req = NULL;
    transfer->request_i = UINT64_MAX;
    transfer->replica_i = lane->replica_i;
    transfer->tier_i = lane->tier_i;
    transfer->write = transfer->open = true;
    transfer->n_bytes = 0;
    transfer->n_descriptor = 0;
    sim_set_transfer_work(sim, lane, transfer);
    if (sim_enqueue(sim, lane, transfer))
        return transfer;
    return NULL; /* it is the lane's */
}

/* A block on its way to another place, as the one it comes from has it. */
struct copy {
    uint64_t key;
    struct kvs_block_info info;
    uint32_t state; /* see held.c */
    bool raw;       /* from HBM */
};

static uint32_t copy_tok(const struct sim *sim, const struct copy *copy)
{
    double per_tok = copy->raw ? sim->kv_bytes_per_tok : sim_stored_per_tok(sim, copy->state);
    return (uint32_t)((double)copy->info.n_bytes / per_tok + 1e-6); /* bytes were rounded up */
}

/* A block to be written, with all its copies. *added: it lacked any. */
static bool add_block(struct sim *sim, struct transfer *transfer, uint64_t key,
                      const struct kvs_block_info *info, uint32_t state, bool *added)
{
    *added = true;
    if (sim_sharded(sim, transfer->tier_i)) {
        const int n = sim_shard_add(sim, transfer, key, info, state);
        *added = n > 0;
        return n >= 0;
    }
    if (!sim_block_room(transfer))
        return false;
    transfer->key[transfer->n_block] = key;
    transfer->held[transfer->n_block] = state;
    transfer->info[transfer->n_block++] = *info;
    transfer->n_bytes += info->n_bytes;
    return true;
}

/* One block for a tier, from a nearer one or HBM: it joins those that wait to be written. */
static bool offer(struct sim *sim, uint32_t replica_i, uint32_t tier_i, struct copy copy)
{
    const uint64_t key = copy.key;
    struct kvs_block_info *info = &copy.info;
    const uint32_t n_tok = copy_tok(sim, &copy);
    const double encode_s = sim_settle(sim, tier_i, copy.raw, n_tok, info, &copy.state);
    struct store *store = gate(sim, replica_i, tier_i);
    struct lane *lane = sim_lane(sim, replica_i, tier_i, true);
    bool found, added;
    if ((sim_sharded(sim, tier_i) ? !sim_shard_lacks(sim, replica_i, tier_i, key, info->n_bytes)
                                  : kvs_tier_find(store->tier, key) != KVS_NO_SLOT) ||
        kvs_map_find(&store->pending, key) || !wanted(sim, store, tier_i, key, info->n_bytes))
        return true;
    if (lane->queued_ns > SIM_WRITE_QUEUE_NS) {
        sim->result->tier[tier_i].write_dropped_bytes += info->n_bytes;
        return true;
    }
    struct transfer *transfer = open_write(sim, lane);
    if (!transfer)
        return false;
    if (!add_block(sim, transfer, key, info, copy.state, &added))
        return sim_nomem(sim);
    assert(added);
    if (!kvs_map_put(&store->pending, key, 1, &found))
        return sim_nomem(sim);
    transfer->encode_s += encode_s;
    transfer->n_descriptor += sim_stored_descriptors(sim, copy.state, sim_units(sim, n_tok));
    lane->queued_ns -= transfer->work_ns;
    sim_set_transfer_work(sim, lane, transfer);
    lane->queued_ns += transfer->work_ns;
    return true;
}

void sim_let_go(void *ctx, uint64_t key, const struct kvs_block_info *info)
{
    const struct let_go *go = ctx;
    const uint32_t state = sim_held(go->sim, go->held, key);
    /* HBM has hidden states while they are computed, not longer */
    const struct copy copy = {key, *info, go->raw ? sim_stateless(state) : state, go->raw};
    if (!offer(go->sim, go->replica_i, go->tier_i, copy))
        go->sim->broken = true;
}

/* A block loaded whole from tier t stays in a nearer one: for nothing where it passed it anyway.
 * Its hidden states, if any, were not all read. */
static bool promote(struct sim *sim, uint32_t replica_i, uint32_t t, uint32_t near,
                    struct copy copy)
{
    struct store *store = sim_store(sim, replica_i, near);
    const uint32_t n_tok = copy_tok(sim, &copy);
    if (sim->config->tier[near].write == KVS_WRITE_EXCLUSIVE)
        return true; /* HBM has it */
    copy.state = sim_stateless(copy.state);
    copy.info.n_bytes = (uint64_t)ceil(sim_stored_per_tok(sim, copy.state) * n_tok);
    if (!sim->passes[t][near] || sim_sharded(sim, near))
        return offer(sim, replica_i, near, copy);
    (void)sim_settle(sim, near, false, n_tok, &copy.info, &copy.state);
    return kvs_tier_find(store->tier, copy.key) != KVS_NO_SLOT ||
           !wanted(sim, store, near, copy.key, copy.info.n_bytes) ||
           sim_land(sim, store, copy.key, &copy.info, copy.state);
}

/* What was read leaves its pins; what was read whole stays in the nearer tiers that it passed. */
bool sim_load_ended(struct sim *sim, struct transfer *transfer)
{
    struct req *req = transfer->req;
    uint32_t t = transfer->tier_i;
    for (uint32_t l = 0; l < sim->n_layer; l++)
        req->arrive_ns[t][l] = kvs_net_when(sim->net, transfer->flow, req->due_ns[t][l]);
    req->load[t] = LOAD_DONE;
    req->n_loading--;
    uint32_t whole_from = first_whole(req);
    for (uint32_t b = req->n_block; b-- > 0;) { /* from the end, as life.c says */
        if (req->where[b] != (int8_t)t)
            continue;
        const uint32_t slot = req->tier_slot[b];
        struct store *from = sim_block_store(sim, req, b);
        const struct copy copy = {req->key[b], *kvs_tier_info(from->tier, slot),
                                  sim_held(sim, &from->held, req->key[b]), false};
        kvs_tier_unpin(from->tier, slot);
        req->tier_slot[b] = KVS_NO_SLOT;
        const bool leaves =
            from->down || (b >= whole_from && sim->config->tier[t].write == KVS_WRITE_EXCLUSIVE);
        if (leaves && !kvs_tier_pinned(from->tier, slot))
            kvs_tier_remove(from->tier, slot);
        if (b < whole_from)
            continue;
        for (uint32_t near = 0; near < t; near++)
            if (!promote(sim, transfer->replica_i, t, near, copy))
                return false;
    }
    sim->result->tier[t].load_bytes += transfer->n_bytes;
    return true;
}

bool sim_write_ended(struct sim *sim, struct transfer *transfer)
{
    struct store *at = gate(sim, transfer->replica_i, transfer->tier_i);
    for (uint32_t b = transfer->n_block; b-- > 0;) {
        struct store *store = transfer->sharded ? at + transfer->node[b] : at;
        if (b >= AHEAD)
            kvs_tier_prefetch(store->tier, transfer->key[b - AHEAD]);
        kvs_map_del(&at->pending, transfer->key[b]);
        if (!store->down &&
            !sim_land(sim, store, transfer->key[b], &transfer->info[b], transfer->held[b]))
            return false;
    }
    sim->result->tier[transfer->tier_i].write_bytes += transfer->n_bytes;
    return true;
}

/* One tier: the prompt's blocks that it neither has nor is getting. */
static bool write_to(struct sim *sim, const struct req *req, uint32_t tier_i)
{
    uint32_t replica_i = req->record.replica;
    struct store *store = gate(sim, replica_i, tier_i);
    struct lane *lane = sim_lane(sim, replica_i, tier_i, true);
    const struct replica *replica = &sim->replica[replica_i];
    const bool admit = sim->config->tier[tier_i].admit, sharded = sim_sharded(sim, tier_i);
    struct transfer *transfer = sim_transfer_new(sim);
    if (!transfer)
        return false;
    double n_descriptor = 0;
    transfer->req = NULL;
    transfer->request_i = req->record.index;
    transfer->replica_i = replica_i;
    transfer->tier_i = tier_i;
    transfer->write = true;
    transfer->n_bytes = 0;
    for (uint32_t b = 0; b < req->n_block; b++) {
        if (b + AHEAD < req->n_block)
            kvs_tier_prefetch(store->tier, req->key[b + AHEAD]);
        if (req->slot[b] == KVS_NO_SLOT ||
            (!sharded && (req->where[b] == (int8_t)tier_i ||
                          kvs_tier_find(store->tier, req->key[b]) != KVS_NO_SLOT)))
            continue;
        struct kvs_block_info info = *kvs_tier_info(replica->hbm, req->slot[b]);
        uint32_t state = 0;
        double encode_s = 0;
        if (sim->notes) {
            state = sim_held(sim, &replica->held, req->key[b]);
            if (req->where[b] == KVS_AT_HBM) /* computed earlier: only K and V are left */
                state = sim_stateless(state);
            encode_s = sim_settle(sim, tier_i, true, req->tok[b], &info, &state);
        }
        bool found, added;
        if (admit && (kvs_map_find(&store->pending, req->key[b]) ||
                      !wanted(sim, store, tier_i, req->key[b], info.n_bytes)))
            continue;
        if (!kvs_map_put(&store->pending, req->key[b], 1, &found))
            goto nomem;
        if (found)
            continue;
        if (!add_block(sim, transfer, req->key[b], &info, state, &added))
            goto nomem;
        if (!added) {
            kvs_map_del(&store->pending, req->key[b]);
            continue;
        }
        transfer->encode_s += encode_s;
        n_descriptor += sim_stored_descriptors(sim, state, sim_units(sim, req->tok[b]));
    }
    if (!transfer->n_bytes || lane->queued_ns > SIM_WRITE_QUEUE_NS) {
        for (uint32_t b = 0; b < transfer->n_block; b++)
            kvs_map_del(&store->pending, transfer->key[b]);
        sim->result->tier[tier_i].write_dropped_bytes += transfer->n_bytes;
        sim_transfer_idle(sim, transfer);
        return true;
    }
    transfer->n_descriptor = n_descriptor;
    sim_set_transfer_work(sim, lane, transfer);
    return sim_enqueue(sim, lane, transfer);

nomem:
    sim_transfer_free(transfer);
    return sim_nomem(sim);
}

bool sim_write_back(struct sim *sim, const struct req *req)
{
    for (uint32_t t = 0; t < sim->config->n_tier; t++)
        if (sim->config->tier[t].write == KVS_WRITE_THROUGH && !write_to(sim, req, t))
            return false;
    return true;
}
