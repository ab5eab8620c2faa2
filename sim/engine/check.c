/*
 * check.c - what must hold at the end of every run: nothing is lost, and nothing comes from
 * nowhere.
 */
#include "parts.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* Sums of integers in doubles: exact up to 2^53, to rounding beyond. */
static bool same(double a, double b)
{
    return fabs(a - b) <= 1e-9 * (fabs(a) + fabs(b));
}

/* All requests ended and gave their room back; Little's law. */
static void check_requests(const struct sim *sim)
{
    const struct kvs_sim_result *result = sim->result;
    assert(sim->n_live == 0 && sim->n_in_system == 0 && sim->work_ns == 0);
    assert(result->n_request == sim->n_arrived);
    assert(result->hbm.pinned_bytes == 0 && result->hbm.reserved_bytes == 0);
    assert(fabs(result->in_system_s - result->sojourn_s) <= 1e-6 * (1 + result->sojourn_s));
    for (uint32_t r = 0; r < sim->n_replica; r++) {
        assert(sim->replica[r].n_admitted == 0 && sim->replica[r].n_decoding == 0);
        assert(sim->replica[r].n_waiting == 0 && sim->replica[r].grown_bytes == 0);
        assert(sim->replica[r].n_swapping == 0 && sim->replica[r].n_loading == 0);
        assert(sim->replica[r].backlog_ns == 0 && !sim->replica[r].pre_first);
    }
}

/*
 * The GPUs did the work that the plans asked for, once, one step at a time; and what requests were
 * charged with is what was done, to the nanosecond that each part of a step is rounded by.
 */
static void check_work(const struct sim *sim)
{
    const struct check *check = &sim->check;
    int64_t prefill_ns = 0;
    for (uint32_t r = 0; r < sim->n_replica; r++) {
        const struct replica *replica = &sim->replica[r];
        assert(replica->busy_ns + replica->stall_ns == replica->steps_ns);
        assert(replica->prefill_ns + replica->decode_ns == replica->busy_ns);
        assert(replica->steps_ns <= sim->now_ns);
        prefill_ns += replica->prefill_ns;
    }
    assert(check->asked_tok == check->done_tok);
    if (sim->result->n_preempt == 0)
        assert(llabs(check->compute_ns - prefill_ns) <= 2 * check->n_part);
}

static bool crosses(const struct lane *lane, uint32_t link)
{
    for (uint32_t h = 0; h < lane->n_hop; h++)
        if (lane->link[h] == link)
            return true;
    return false;
}

/* What a link of the profile carried in one direction is what crossed it. */
static void check_link(const struct sim *sim, uint32_t link_i, bool write)
{
    const struct kvs_sim_config *config = sim->config;
    const struct kvs_sim_result *result = sim->result;
    const struct kvs_sim_link_total *total = &result->link[2 * link_i + write];
    const uint32_t own = sim_link_instance(sim, link_i, write, 0);
    double n_bytes = 0;
    for (uint32_t t = 0; t < config->n_tier; t++) {
        const bool on_lane = crosses(sim_lane(sim, 0, t, write), own);
        const uint64_t lane_bytes =
            write ? result->tier[t].write_bytes : result->tier[t].load_bytes;
        if (sim_sharded(sim, t))
            n_bytes += (double)sim_shard_link_bytes(sim, t, link_i, write, on_lane);
        else if (on_lane)
            n_bytes += (double)lane_bytes;
        if (on_lane && t == 0)
            n_bytes += (double)result->swap_bytes; /* out, and all of it back */
    }
    if (config->n_decode_replica && config->handover_link == link_i)
        n_bytes += (double)result->handover_bytes; /* of one end; the other's direction likewise */
    assert(same(n_bytes, total->n_bytes));
    assert(total->busy_s <= total->n * (double)sim->now_ns * 1e-9 * (1 + 1e-6) + 1e-9);
}

/* Bytes that requests loaded are those that tiers gave; what a tier took in left it or is there. */
static void check_bytes(const struct sim *sim)
{
    const struct kvs_sim_config *config = sim->config;
    for (uint32_t t = 0; t < config->n_tier; t++) {
        const struct kvs_sim_tier_total *total = &sim->result->tier[t];
        const struct kvs_tier_stats *stats = &total->stats;
        const uint64_t out_bytes = stats->evict_bytes + stats->used_bytes;
        assert(sim->check.load_bytes[t] == total->load_bytes);
        assert(stats->pinned_bytes == 0 && stats->reserved_bytes == 0);
        assert(stats->used_bytes <= stats->capacity_bytes);
        assert(out_bytes <= stats->insert_bytes);
        /* exclusive: what is loaded leaves, too; nodes lost: what they held, and what moves */
        if (config->tier[t].write != KVS_WRITE_EXCLUSIVE && !config->tier[t].n_outage)
            assert(out_bytes == stats->insert_bytes);
    }
    for (uint32_t j = 0; j < config->hw->n_link; j++) {
        check_link(sim, j, false);
        check_link(sim, j, true);
    }
}

void sim_check_end(const struct sim *sim)
{
    check_requests(sim);
    check_work(sim);
    check_bytes(sim);
}
