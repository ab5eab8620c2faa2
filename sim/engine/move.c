/*
 * move.c - transfers between tiers and HBM: lanes and flows.
 */
#include "parts.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

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

void sim_transfer_idle(struct sim *sim, struct transfer *transfer)
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
void sim_set_transfer_work(const struct sim *sim, const struct lane *lane,
                           struct transfer *transfer)
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
    sim_set_transfer_work(sim, lane, transfer);
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
    sim_set_transfer_work(sim, lane, transfer);
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
        sim_transfer_idle(sim, transfer);
    }
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
    if (req && !sim_load_ended(sim, transfer))
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
    else if (write && !swap && !handover && !sim_write_ended(sim, transfer))
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
    sim_transfer_idle(sim, transfer);
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
