/*
 * shard_links.c - the links that a transfer of a tier over nodes takes, and what each carried.
 */
#include "parts.h"

#include <assert.h>

int64_t sim_shard_latency_ns(const struct sim *sim, uint32_t t)
{
    return kvs_ns(sim->config->hw->link[sim->config->tier[t].network].latency_s.value);
}

/* What comes from or goes to other nodes. */
static uint64_t remote_bytes(const struct sim *sim, const struct transfer *transfer)
{
    const uint32_t here =
        transfer->move ? transfer->replica_i : sim->replica[transfer->replica_i].host_i;
    uint64_t n_bytes = 0;
    for (uint32_t h = 0; h < sim->n_host; h++)
        n_bytes += h != here ? transfer->node_bytes[h] : 0;
    return n_bytes;
}

int64_t sim_shard_network_ns(const struct sim *sim, const struct transfer *transfer)
{
    return remote_bytes(sim, transfer) ? sim_shard_latency_ns(sim, transfer->tier_i) : 0;
}

static void add_hop(struct hops *hops, uint32_t instance, const struct kvs_hw_link *link,
                    bool write, uint64_t n_bytes, double s_share, double n_descriptor)
{
    assert(hops->n < KVS_FLOW_HOP);
    hops->link[hops->n] = instance;
    hops->s[hops->n] = kvs_link_s(link, write, s_share * (double)n_bytes, s_share * n_descriptor);
    hops->n_bytes[hops->n++] = n_bytes;
}

/* A replica of the host whose links of a GPU's scope a transfer of another replica takes there. */
static uint32_t rail(const struct sim *sim, uint32_t host_i, uint32_t replica_i)
{
    const uint32_t r = host_i * sim->per_host + replica_i % sim->per_host;
    return r < sim->n_replica ? r : host_i * sim->per_host;
}

/* The network link at one end. */
static void add_network(const struct sim *sim, struct hops *hops, const struct transfer *transfer,
                        uint32_t replica_i, bool write, uint64_t n_bytes)
{
    const uint32_t network = sim->config->tier[transfer->tier_i].network;
    const struct kvs_hw_link *link = &sim->config->hw->link[network];
    const double frac = (double)n_bytes / (double)transfer->n_bytes;
    if (n_bytes)
        add_hop(hops, sim_link_instance(sim, network, write, replica_i), link, write, n_bytes,
                link->scope == KVS_SCOPE_GPU ? 1.0 / sim->config->tp : 1,
                frac * transfer->n_descriptor);
}

/* All ends of the network: `here` on one side, the other nodes on the other. */
static void network_hops(const struct sim *sim, const struct transfer *transfer, uint32_t here,
                         uint32_t replica_i, bool out, struct hops *hops)
{
    const uint32_t network = sim->config->tier[transfer->tier_i].network;
    add_network(sim, hops, transfer, replica_i, out, remote_bytes(sim, transfer));
    if (sim->config->hw->link[network].scope == KVS_SCOPE_CLUSTER)
        return; /* one for all */
    for (uint32_t h = 0; h < sim->n_host; h++)
        if (h != here)
            add_network(sim, hops, transfer, rail(sim, h, replica_i), !out,
                        transfer->node_bytes[h]);
}

/* From one node to another: read there, written here. */
static void move_hops(const struct sim *sim, const struct transfer *transfer, struct hops *hops)
{
    const struct kvs_hw *hw = sim->config->hw;
    const struct kvs_hw_tier *tier = kvs_hw_tier(hw, sim->config->tier[transfer->tier_i].name);
    const uint32_t from = transfer->replica_i * sim->per_host;
    for (uint32_t j = 0; j < tier->n_hop; j++) {
        const struct kvs_hw_link *link = &hw->link[tier->hop[j]];
        if (link->scope != KVS_SCOPE_HOST)
            continue;
        add_hop(hops, sim_link_instance(sim, tier->hop[j], false, from), link, false,
                transfer->n_bytes, 1, transfer->n_descriptor);
        for (uint32_t h = 0; h < sim->n_host; h++)
            if (transfer->node_bytes[h])
                add_hop(hops, sim_link_instance(sim, tier->hop[j], true, h * sim->per_host), link,
                        true, transfer->node_bytes[h], 1, transfer->n_descriptor);
    }
    network_hops(sim, transfer, transfer->replica_i, from, true, hops);
}

void sim_shard_hops(const struct sim *sim, const struct lane *lane, const struct transfer *transfer,
                    struct hops *hops)
{
    const struct kvs_hw *hw = sim->config->hw;
    const uint32_t here = sim->replica[transfer->replica_i].host_i;
    hops->n = 0;
    if (!transfer->n_bytes)
        return;
    if (transfer->move) {
        move_hops(sim, transfer, hops);
        return;
    }
    for (uint32_t j = 0; j < lane->n_hop; j++) {
        const struct kvs_hw_link *link = lane->hop[j].link;
        const double once = (double)transfer->once_bytes / (double)transfer->n_bytes;
        if (link->scope != KVS_SCOPE_HOST) {
            add_hop(hops, lane->link[j], link, lane->write, transfer->once_bytes,
                    lane->hop[j].share, once * transfer->n_descriptor);
            continue;
        }
        for (uint32_t h = 0; h < sim->n_host; h++) {
            const double frac = (double)transfer->node_bytes[h] / (double)transfer->n_bytes;
            if (transfer->node_bytes[h])
                add_hop(hops,
                        sim_link_instance(sim, (uint32_t)(link - hw->link), lane->write,
                                          h * sim->per_host),
                        link, lane->write, transfer->node_bytes[h], 1,
                        frac * transfer->n_descriptor);
        }
    }
    network_hops(sim, transfer, here, transfer->replica_i, lane->write, hops);
}

void sim_shard_done(struct sim *sim, const struct lane *lane, const struct transfer *transfer)
{
    struct kvs_sim_tier_total *total = &sim->result->tier[transfer->tier_i];
    struct hops hops;
    sim_shard_hops(sim, lane, transfer, &hops);
    for (uint32_t h = 0; h < hops.n; h++)
        sim->link_bytes[hops.link[h]] += (double)hops.n_bytes[h];
    const uint64_t network_bytes = remote_bytes(sim, transfer);
    total->network_bytes += network_bytes;
    if (transfer->write && !transfer->move)
        sim->check.once_bytes[transfer->tier_i] += transfer->once_bytes;
    if (lane->write) /* of the one fabric, where the network is that */
        sim->check.network_write_bytes[transfer->tier_i] += network_bytes;
    for (uint32_t h = 0; h < sim->n_host && !transfer->write; h++) {
        struct store *store = sim_node_at(sim, transfer->tier_i, h);
        assert(store->reading_bytes >= transfer->node_bytes[h]);
        store->reading_bytes -= transfer->node_bytes[h];
        store->read_bytes += transfer->node_bytes[h];
    }
}

uint64_t sim_shard_link_bytes(const struct sim *sim, uint32_t tier_i, uint32_t link_i, bool write,
                              bool on_lane)
{
    const struct kvs_sim_config *config = sim->config;
    const struct kvs_sim_tier_total *total = &sim->result->tier[tier_i];
    const struct kvs_hw_tier *tier = kvs_hw_tier(config->hw, config->tier[tier_i].name);
    const enum kvs_scope scope = config->hw->link[link_i].scope;
    const uint64_t write_bytes = sim->check.network_write_bytes[tier_i];
    uint64_t n_bytes = 0;
    if (link_i == config->tier[tier_i].network)
        return scope != KVS_SCOPE_CLUSTER ? total->network_bytes
               : write                    ? write_bytes
                                          : total->network_bytes - write_bytes;
    if (on_lane)
        n_bytes = !write                    ? total->load_bytes
                  : scope == KVS_SCOPE_HOST ? total->write_bytes
                                            : sim->check.once_bytes[tier_i];
    for (uint32_t h = 0; h < tier->n_hop; h++)
        if (tier->hop[h] == link_i && scope == KVS_SCOPE_HOST)
            n_bytes += total->rebalance_bytes; /* read at one node, written at another */
    return n_bytes;
}
