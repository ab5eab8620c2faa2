#include "sample.h"

#include <math.h>
#include <string.h>

double kvs_sample_share(struct kvs_json trace)
{
    const json_t *share = kvs_json_get(trace, "sample").v;
    return json_is_number(share) ? json_number_value(share) : 1;
}

/* *n times share, which must be whole. */
static enum kvs_code scale_count(struct kvs_json node, double share, uint32_t *n,
                                 struct kvs_err *err)
{
    const double kept = *n * share;
    if (*n && (kept < 0.5 || fabs(kept - rint(kept)) > 1e-6))
        return kvs_json_fail(node, err, KVS_ERR_RANGE,
                             "found %u, of which trace.sample leaves %g; want a whole number left "
                             "(a part of one queues and keeps blocks unlike a whole one)",
                             *n, kept);
    *n = (uint32_t)lrint(kept);
    return KVS_OK;
}

static uint32_t n_host(const struct kvs_sim_config *sim)
{
    const uint32_t fit = sim->hw->gpus_per_host / sim->tp, per_host = fit ? fit : 1;
    return (sim->n_replica + sim->n_decode_replica + per_host - 1) / per_host;
}

static enum kvs_scope scope_of(const struct kvs_hw *hw, const char *tier)
{
    uint32_t i = 0;
    while (strcmp(hw->tier[i].name, tier) != 0)
        i++;
    return hw->tier[i].scope;
}

enum kvs_code kvs_sample_scale(struct kvs_json root, struct kvs_sim_config *sim, struct kvs_hw *hw,
                               struct kvs_err *err)
{
    const double share = kvs_sample_share(kvs_json_get(root, "trace"));
    const struct kvs_json cluster = kvs_json_get(root, "cluster");
    const uint32_t hosts = n_host(sim);
    enum kvs_code code;
    if (!(share < 1))
        return KVS_OK;
    if ((code = scale_count(kvs_json_get(cluster, "replicas"), share, &sim->n_replica, err)) ||
        (code = scale_count(kvs_json_get(cluster, "decode_replicas"), share, &sim->n_decode_replica,
                            err)) ||
        (code = scale_count(kvs_json_get(kvs_json_get(root, "arrivals"), "in_flight"), share,
                            &sim->arrivals.in_flight, err)))
        return code;
    sim->arrivals.rate_per_s *= share;
    const double of[] = {
        [KVS_SCOPE_GPU] = 1,
        [KVS_SCOPE_HOST] = share * hosts / n_host(sim),
        [KVS_SCOPE_CLUSTER] = share,
    };
    for (uint32_t i = 0; i < sim->n_tier; i++) {
        uint64_t *bytes = &sim->tier[i].capacity_bytes;
        const double scaled = (double)*bytes * of[scope_of(hw, sim->tier[i].name)];
        *bytes = scaled < 1 ? 1 : (uint64_t)scaled;
    }
    for (uint32_t i = 0; i < hw->n_link; i++) {
        struct kvs_hw_link *link = &hw->link[i];
        link->read_bytes_per_s.value *= of[link->scope];
        link->write_bytes_per_s.value *= of[link->scope];
        link->descriptor_s.value /= of[link->scope];
    }
    return KVS_OK;
}
