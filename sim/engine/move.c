/*
 * move.c - transfers between tiers and HBM: lanes, flows, what they bring.
 */
#include "state.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { AHEAD = 8 }; /* keys asked for ahead of their look-up: main memory's time */

struct store *sim_store(const struct sim *sim, uint32_t replica_i, uint32_t tier_i)
{
    uint32_t host_i = sim->tier_shared[tier_i] ? 0 : sim->replica[replica_i].host_i;
    return &sim->store[tier_i * sim->n_host + host_i];
}

struct lane *sim_lane(const struct sim *sim, uint32_t replica_i, uint32_t tier_i, bool write)
{
    return &sim->lane[(replica_i * (sim->config->n_tier + 1) + tier_i) * 2 + write];
}

void sim_transfer_free(struct transfer *transfer)
{
    free(transfer->key);
    free(transfer->info);
    free(transfer->held);
    free(transfer->node);
    free(transfer->node_bytes);
    free(transfer);
}

struct transfer *sim_transfer_new(struct sim *sim)
{
    struct transfer *transfer = sim->idle_transfer;
    if (transfer) {
        sim->idle_transfer = transfer->next;
        transfer->next = NULL;
        transfer->n_block = 0;
        transfer->encode_s = 0;
        transfer->open = transfer->sharded = transfer->move = false;
        return transfer;
    }
    transfer = calloc(1, sizeof *transfer);
    if (!transfer)
        sim_nomem(sim);
    return transfer;
}

static void transfer_idle(struct sim *sim, struct transfer *transfer)
{
    transfer->req = transfer->swap = transfer->handover = NULL;
    transfer->next = sim->idle_transfer;
    sim->idle_transfer = transfer;
}

/* Joins the lane; the first in it starts when its latency is over. */
bool sim_enqueue(struct sim *sim, struct lane *lane, struct transfer *transfer)
{
    bool empty = !lane->first;
    transfer->flow = KVS_NO_FLOW;
    if (empty)
        lane->first = transfer;
    else
        lane->last->next = transfer;
    lane->last = transfer;
    lane->queued_ns += transfer->work_ns;
    if (!empty)
        return true;
    return sim_event(sim, sim->now_ns + transfer->latency_ns, EV_FLOW_START,
                     (uint32_t)(lane - sim->lane), 0);
}

uint32_t sim_units(const struct sim *sim, uint32_t n_tok)
{
    return sim->unit_tok ? (n_tok + sim->unit_tok - 1) / sim->unit_tok : 1;
}

/* Pieces that all KV of a request of n_tok tokens lies in. */
static double all_descriptors(const struct sim *sim, const struct req *req, uint32_t n_tok)
{
    uint32_t n_block = req->n_block ? req->n_block : 1;
    return sim->unit_descriptors * (sim->unit_tok ? sim_units(sim, n_tok) : n_block);
}

/* Pieces that a load comes in: those of all the tier's blocks, less the share that is not read. */
static double descriptors(const struct sim *sim, const struct req *req, uint32_t tier_i)
{
    uint32_t n_unit = 0;
    for (uint32_t b = 0; b < req->n_block; b++)
        n_unit += req->where[b] == (int8_t)tier_i ? sim_units(sim, req->tok[b]) : 0;
    const double state_bytes = (double)req->state_bytes[tier_i];
    double all_bytes = sim->levels ? req->now.tier_bytes[tier_i]
                                   : sim->kv_bytes_per_tok * req->now.tier_tok[tier_i];
    double n = sim->unit_descriptors * n_unit * ((double)req->load_bytes[tier_i] - state_bytes) /
               all_bytes;
    if (state_bytes > 0) /* one a unit and layer, of the share whose states are read */
        n += n_unit * sim->n_state * state_bytes /
             (sim->state_bytes_per_tok * req->now.tier_tok[tier_i]);
    return n;
}

bool sim_load(struct sim *sim, struct req *req, uint32_t tier_i)
{
    struct lane *lane = sim_lane(sim, req->record.replica, tier_i, false);
    struct transfer *transfer = sim_transfer_new(sim);
    if (!transfer)
        return false;
    transfer->req = req;
    transfer->request_i = req->record.index;
    transfer->replica_i = req->record.replica;
    transfer->tier_i = tier_i;
    transfer->write = false;
    transfer->n_bytes = req->load_bytes[tier_i];
    transfer->n_descriptor = descriptors(sim, req, tier_i);
    transfer->work_ns = req->due_ns[tier_i][sim->n_layer - 1];
    transfer->ease = 1;
    transfer->latency_ns = lane->latency_ns;
    if (sim_sharded(sim, tier_i) && !sim_shard_load(sim, transfer)) {
        sim_transfer_free(transfer);
        return sim_nomem(sim);
    }
    req->transfer[tier_i] = transfer;
    req->load[tier_i] = LOAD_QUEUED;
    req->n_loading++;
    return sim_enqueue(sim, lane, transfer);
}

/* Seconds that the transfer occupies one hop of its lane. */
static double hop_s(const struct lane *lane, uint32_t h, const struct transfer *transfer)
{
    const struct kvs_table_hop *hop = &lane->hop[h];
    return kvs_link_s(hop->link, lane->write, hop->share * (double)transfer->n_bytes,
                      hop->share * transfer->n_descriptor);
}

/* The links that the transfer takes, and how long it occupies each. */
static void hops_of(const struct sim *sim, const struct lane *lane, const struct transfer *transfer,
                    struct hops *hops)
{
    if (transfer->sharded) {
        sim_shard_hops(sim, lane, transfer, hops);
        return;
    }
    hops->n = lane->n_hop;
    for (uint32_t h = 0; h < lane->n_hop; h++) {
        hops->link[h] = lane->link[h];
        hops->s[h] = hop_s(lane, h, transfer);
    }
}

/* How much of a link's time the loads of one prompt would take together. */
static double use_of(uint32_t link, struct transfer *const *transfer, const struct hops *hops,
                     uint32_t n)
{
    double use = 0;
    for (uint32_t u = 0; u < n; u++)
        for (uint32_t g = 0; transfer[u] && g < hops[u].n; g++)
            if (hops[u].link[g] == link)
                use += fmin(1, hops[u].s[g] * 1e9 / (double)transfer[u]->work_ns);
    return use;
}

void sim_ease_loads(const struct sim *sim, const struct req *req)
{
    double most = 1;
    struct hops hops[KVS_MAX_TIER];
    for (uint32_t t = 0; t < sim->config->n_tier; t++)
        if (req->transfer[t])
            hops_of(sim, sim_lane(sim, req->record.replica, t, false), req->transfer[t], &hops[t]);
    for (uint32_t t = 0; t < sim->config->n_tier; t++)
        for (uint32_t h = 0; req->transfer[t] && h < hops[t].n; h++)
            most = fmax(most, use_of(hops[t].link[h], req->transfer, hops, sim->config->n_tier));
    for (uint32_t t = 0; most > 1 && t < sim->config->n_tier; t++)
        if (req->transfer[t])
            req->transfer[t]->ease = (1 - 1e-9) / most;
}

/* Seconds that a hand-over occupies the link of the replica it goes to. */
static double arrival_s(const struct lane *lane, const struct transfer *transfer)
{
    const struct kvs_table_hop *hop = &lane->hop[0];
    return kvs_link_s(hop->link, false, hop->share * (double)transfer->n_bytes,
                      hop->share * transfer->n_descriptor);
}

/* What a transfer that no plan made takes alone. */
static void set_work(const struct sim *sim, const struct lane *lane, struct transfer *transfer)
{
    struct hops hops;
    double longest_s = transfer->encode_s; /* a stage before the links */
    transfer->ease = 1;
    transfer->latency_ns = lane->latency_ns;
    hops_of(sim, lane, transfer, &hops);
    for (uint32_t h = 0; h < hops.n; h++)
        longest_s = fmax(longest_s, hops.s[h]);
    transfer->work_ns = kvs_ns(longest_s) + 1;
    if (transfer->sharded)
        transfer->latency_ns += sim_shard_network_ns(sim, transfer);
}

bool sim_swap(struct sim *sim, struct req *req, bool out)
{
    struct lane *lane = sim_lane(sim, req->record.replica, 0, out);
    struct transfer *transfer = sim_transfer_new(sim);
    if (!transfer)
        return false;
    transfer->swap = req;
    transfer->request_i = req->record.index;
    transfer->replica_i = req->record.replica;
    transfer->tier_i = 0;
    transfer->write = out;
    transfer->n_bytes = req->swap_bytes;
    transfer->n_descriptor = all_descriptors(sim, req, req->record.input_tok + req->done_tok);
    set_work(sim, lane, transfer);
    return sim_enqueue(sim, lane, transfer);
}

/* KV of the whole prompt. Both ends' links are of one kind; each takes its own rate. */
static void describe_handover(const struct sim *sim, const struct req *req,
                              struct transfer *transfer)
{
    const struct lane *lane = sim_lane(sim, req->home_i, sim->config->n_tier, true);
    transfer->replica_i = req->home_i;
    transfer->tier_i = sim->config->n_tier;
    transfer->write = true;
    transfer->n_bytes = (uint64_t)ceil(sim->kv_bytes_per_tok * req->record.input_tok);
    transfer->n_descriptor = all_descriptors(sim, req, req->record.input_tok);
    set_work(sim, lane, transfer);
    int64_t in_ns = kvs_ns(arrival_s(lane, transfer)) + 1;
    transfer->work_ns = in_ns > transfer->work_ns ? in_ns : transfer->work_ns;
}

int64_t sim_send_ns(const struct sim *sim, const struct req *req)
{
    struct transfer transfer = {0};
    describe_handover(sim, req, &transfer);
    return transfer.latency_ns + transfer.work_ns;
}

bool sim_send(struct sim *sim, struct req *req)
{
    struct transfer *transfer = sim_transfer_new(sim);
    if (!transfer)
        return false;
    transfer->handover = req;
    transfer->request_i = req->record.index;
    describe_handover(sim, req, transfer);
    return sim_enqueue(sim, sim_lane(sim, req->home_i, sim->config->n_tier, true), transfer);
}

/* The changed flows end at other times now, and prompts that wait for them may start at others. */
static bool rates_changed(struct sim *sim)
{
    uint32_t n;
    const uint32_t *changed = kvs_net_changed(sim->net, &n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t flow = changed[i];
        int64_t end_ns = kvs_net_end_ns(sim->net, flow);
        sim->flow_version[flow]++;
        if (end_ns != INT64_MAX &&
            !sim_event(sim, end_ns, EV_FLOW_END, flow, sim->flow_version[flow]))
            return false;
    }
    /* poking starts no flow, so the list of changed flows stands */
    for (uint32_t i = 0; i < n; i++) {
        struct req *req = sim->flow_transfer[changed[i]]->req;
        if (!req)
            continue;
        req->unstalled_ns = INT64_MAX;
        if (!sim_poke(sim, req->record.replica))
            return false;
    }
    return true;
}

static bool flow_room(struct sim *sim, uint32_t flow)
{
    if (flow < sim->n_flow_version)
        return true;
    uint32_t n = flow + 64;
    uint32_t *version = realloc(sim->flow_version, n * sizeof *version);
    if (version)
        sim->flow_version = version;
    struct transfer **transfer = realloc(sim->flow_transfer, n * sizeof(struct transfer *));
    if (transfer)
        sim->flow_transfer = transfer;
    if (!version || !transfer)
        return sim_nomem(sim);
    for (uint32_t i = sim->n_flow_version; i < n; i++) {
        version[i] = 0;
        transfer[i] = NULL;
    }
    sim->n_flow_version = n;
    return true;
}

static uint32_t arrival_link(const struct sim *sim, const struct transfer *transfer)
{
    return sim_link_instance(sim, sim->config->handover_link, false,
                             transfer->handover->record.decode_replica);
}

bool sim_lane_start(struct sim *sim, uint32_t lane_i)
{
    struct lane *lane = &sim->lane[lane_i];
    struct transfer *transfer = lane->first;
    struct kvs_flow_spec spec = {.n_bytes = (double)transfer->n_bytes,
                                 .work_ns = transfer->work_ns};
    /* no link is occupied longer than the transfer takes alone, however its layers were rounded */
    double most_s = (double)spec.work_ns * 1e-9;
    struct hops hops;
    hops_of(sim, lane, transfer, &hops);
    spec.n_hop = hops.n;
    for (uint32_t h = 0; h < hops.n; h++) {
        spec.link[h] = hops.link[h];
        const bool slower = transfer->sharded && hops.s[h] > most_s + sim->n_layer * 1e-9;
        const double s = slower || hops.s[h] < most_s ? hops.s[h] : most_s;
        /* no bytes: it was dropped */
        spec.s_per_byte[h] = spec.n_bytes > 0 ? transfer->ease * s / spec.n_bytes : 0;
    }
    if (transfer->handover) {
        spec.link[spec.n_hop] = arrival_link(sim, transfer);
        spec.s_per_byte[spec.n_hop++] = arrival_s(lane, transfer) / spec.n_bytes;
    }
    transfer->begin_ns = sim->now_ns;
    transfer->flow = kvs_net_start(sim->net, sim->now_ns, &spec);
    if (transfer->flow == KVS_NO_FLOW || !flow_room(sim, transfer->flow))
        return sim_nomem(sim);
    sim->flow_transfer[transfer->flow] = transfer;
    if (transfer->req)
        transfer->req->load[transfer->tier_i] = LOAD_MOVING;
    return rates_changed(sim);
}

int64_t sim_arrival_ns(const struct sim *sim, const struct req *req, uint32_t tier_i, uint32_t l)
{
    switch (req->load[tier_i]) {
    case LOAD_NONE:
        return req->admit_ns;
    case LOAD_QUEUED:
        return INT64_MAX;
    case LOAD_MOVING:
        return kvs_net_when(sim->net, req->transfer[tier_i]->flow, req->due_ns[tier_i][l]);
    case LOAD_DONE:
        break;
    }
    return req->arrive_ns[tier_i][l];
}

/* Takes a load that has not begun out of its lane; the first one, whose latency is running, stays
 * and moves nothing. */
static void leave_lane(struct lane *lane, struct transfer *transfer)
{
    struct transfer *before = lane->first;
    while (before->next != transfer)
        before = before->next;
    before->next = transfer->next;
    if (lane->last == transfer)
        lane->last = before;
}

bool sim_cut_load(struct sim *sim, struct req *req, uint32_t tier_i, uint64_t n_bytes)
{
    struct transfer *transfer = req->transfer[tier_i];
    struct lane *lane = sim_lane(sim, transfer->replica_i, tier_i, false);
    int64_t work_ns = n_bytes ? req->due_ns[tier_i][sim->n_layer - 1] : 0;
    assert(work_ns <= transfer->work_ns && n_bytes <= transfer->n_bytes);
    lane->queued_ns += work_ns - transfer->work_ns;
    transfer->work_ns = work_ns;
    transfer->n_descriptor *= (double)n_bytes / (double)transfer->n_bytes;
    transfer->n_bytes = n_bytes;
    if (transfer->sharded)
        sim_shard_cut(sim, transfer);
    if (req->load[tier_i] == LOAD_MOVING) {
        assert(n_bytes > 0);
        kvs_net_cut(sim->net, transfer->flow, work_ns);
        uint32_t flow = transfer->flow;
        int64_t end_ns = kvs_net_end_ns(sim->net, flow);
        sim->flow_version[flow]++;
        return end_ns == INT64_MAX || sim_event(sim, end_ns > sim->now_ns ? end_ns : sim->now_ns,
                                                EV_FLOW_END, flow, sim->flow_version[flow]);
    }
    if (n_bytes)
        return true;
    req->transfer[tier_i] = NULL;
    req->load[tier_i] = LOAD_NONE;
    req->n_loading--;
    transfer->req = NULL;
    if (lane->first != transfer) {
        leave_lane(lane, transfer);
        transfer_idle(sim, transfer);
    }
    return true;
}

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
    set_work(sim, lane, transfer);
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
    set_work(sim, lane, transfer);
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
static bool load_done(struct sim *sim, struct transfer *transfer)
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

static bool write_done(struct sim *sim, struct transfer *transfer)
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

bool sim_flow_end(struct sim *sim, uint32_t flow)
{
    struct transfer *transfer = sim->flow_transfer[flow];
    struct lane *lane = transfer->move
                            ? sim_move_lane(sim, transfer->tier_i, transfer->replica_i)
                            : sim_lane(sim, transfer->replica_i, transfer->tier_i, transfer->write);
    struct req *req = transfer->req;
    assert(lane->first == transfer);
    lane->first = transfer->next;
    lane->queued_ns -= transfer->work_ns;
    sim->flow_version[flow]++;
    kvs_net_stop(sim->net, sim->now_ns, flow);
    for (uint32_t h = 0; h < lane->n_hop && !transfer->sharded; h++)
        sim->link_bytes[lane->link[h]] += (double)transfer->n_bytes;
    if (transfer->sharded)
        sim_shard_done(sim, lane, transfer);
    if (req)
        sim_lane_done(lane, transfer, sim->now_ns);
    if (req && !load_done(sim, transfer))
        return false;
    struct req *swap = transfer->swap, *handover = transfer->handover;
    const int64_t begin_ns = transfer->begin_ns - transfer->latency_ns;
    if (handover) {
        sim->link_bytes[arrival_link(sim, transfer)] += (double)transfer->n_bytes;
        sim->result->handover_bytes += transfer->n_bytes;
    }
    const bool write = transfer->write, move = transfer->move;
    if (move)
        sim_move_done(sim, transfer);
    else if (write && !swap && !handover && !write_done(sim, transfer))
        return false;
    kvs_net_forget(sim->net, flow);
    struct kvs_span span = {.kind = handover ? KVS_SPAN_HAND_OVER
                                    : swap   ? (write ? KVS_SPAN_SWAP_OUT : KVS_SPAN_SWAP_IN)
                                    : write  ? KVS_SPAN_WRITE
                                             : KVS_SPAN_LOAD,
                            .replica = transfer->replica_i,
                            .tier = transfer->tier_i,
                            .request = transfer->request_i,
                            .begin_ns = transfer->begin_ns,
                            .end_ns = sim->now_ns,
                            .n_bytes = transfer->n_bytes};
    if (req)
        req->transfer[transfer->tier_i] = NULL;
    transfer_idle(sim, transfer);
    if ((!move && !sim_span(sim, &span)) || !rates_changed(sim))
        return false;
    if (lane->first && !sim_event(sim, sim->now_ns + lane->first->latency_ns, EV_FLOW_START,
                                  (uint32_t)(lane - sim->lane), 0))
        return false;
    if (swap)
        return sim_swapped(sim, swap, write);
    if (handover)
        return sim_handed_over(sim, handover, begin_ns);
    return !req || sim_loads_done(sim, req);
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
        transfer_idle(sim, transfer);
        return true;
    }
    transfer->n_descriptor = n_descriptor;
    set_work(sim, lane, transfer);
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
