/*
 * sim.c - the event loop and totals.
 */
#include "parts.h"

#include <assert.h>
#include <stdlib.h>

bool sim_nomem(struct sim *sim)
{
    kvs_fail(sim->err, KVS_ERR_NOMEM, "out of memory after %llu requests",
             (unsigned long long)sim->n_arrived);
    return false;
}

bool sim_event(struct sim *sim, int64_t at_ns, enum event_kind kind, uint32_t index,
               uint32_t version)
{
    assert(at_ns >= sim->now_ns && index < 1u << 28);
    return kvs_queue_add(&sim->queue, at_ns, kind, (uint32_t)kind << 28 | index, version) ||
           sim_nomem(sim);
}

bool sim_span(struct sim *sim, const struct kvs_span *span)
{
    return !sim->sink->span || sim->sink->span(sim->sink->ctx, span, sim->err) == KVS_OK;
}

static bool handle(struct sim *sim, const struct kvs_event *event)
{
    uint32_t index = event->what & ((1u << 28) - 1);
    switch ((enum event_kind)(event->what >> 28)) {
    case EV_FLOW_END:
        return event->version != sim->flow_version[index] || sim_flow_end(sim, index);
    case EV_STEP_END:
        return event->version != sim->replica[index].step_version || sim_step_end(sim, index);
    case EV_FLOW_START:
        return sim_lane_start(sim, index);
    case EV_WAKE:
        if (event->version != sim->replica[index].wake_version)
            return true;
        sim->replica[index].wake_ns = INT64_MAX;
        return sim_poke(sim, index);
    case EV_FRONT:
        return sim_front_end(sim, index);
    case EV_NODE:
        return sim_node(sim, index);
    case EV_ARRIVE:
        break;
    }
    return sim_coming(sim, index);
}

static double mean(const int64_t *sample_ns, uint32_t from, uint32_t to)
{
    double sum_ns = 0;
    for (uint32_t i = from; i < to; i++)
        sum_ns += (double)sample_ns[i];
    return to > from ? sum_ns / (to - from) : 0;
}

/*
 * See enum kvs_verdict. The work did not keep up if the last third of the arrivals met clearly more
 * of it than the middle one (a queue that grows evenly: 5/3 of it) and than the first one (which
 * the cold caches of a beginning may fill). Work, not requests: who serves short prompts first lets
 * few and long ones wait.
 */
static enum kvs_verdict verdict(const struct sim *sim)
{
    const struct kvs_sim_result *result = sim->result;
    const uint32_t n = sim->n_sample;
    const int64_t span_ns = result->last_arrive_ns - result->first_arrive_ns;
    const uint64_t n_served = result->n_request - result->n_refused;
    const double mean_ns = (double)sim->all_work_ns / (double)(n_served ? n_served : 1);
    const double some = 4 * mean_ns * sim->config->n_replica;
    const double first = mean(sim->sample_ns, 0, n / 3);
    const double middle = mean(sim->sample_ns, n / 3, 2 * n / 3);
    const double last = mean(sim->sample_ns, 2 * n / 3, n);
    if (n < 30 || last < 1.25 * middle + some || last < 2 * first + some)
        return KVS_STABLE;
    return sim->last_first_token_ns - result->last_arrive_ns <= span_ns / 10 ? KVS_BACKLOGGED
                                                                             : KVS_OVERLOADED;
}

static void add_stats(struct kvs_tier_stats *sum, const struct kvs_tier *tier)
{
    struct kvs_tier_stats stats;
    kvs_tier_stats(tier, &stats);
    sum->capacity_bytes += stats.capacity_bytes;
    sum->used_bytes += stats.used_bytes;
    sum->pinned_bytes += stats.pinned_bytes;
    sum->reserved_bytes += stats.reserved_bytes;
    sum->n_block += stats.n_block;
    sum->n_insert += stats.n_insert;
    sum->n_evict += stats.n_evict;
    sum->n_touch += stats.n_touch;
    sum->n_refused += stats.n_refused;
    sum->insert_bytes += stats.insert_bytes;
    sum->evict_bytes += stats.evict_bytes;
    sum->unused_bytes += stats.unused_bytes;
    sum->evict_unused_bytes += stats.evict_unused_bytes;
}

static void sum_links(struct sim *sim)
{
    struct kvs_sim_result *result = sim->result;
    uint32_t at = 0;
    for (uint32_t j = 0; j < sim->config->hw->n_link; j++)
        for (int write = 0; write < 2; write++) {
            struct kvs_sim_link_total *total = &result->link[result->n_link++];
            total->name = sim->config->hw->link[j].name;
            total->write = write;
            total->n = sim_n_instance(sim, j);
            for (uint32_t i = 0; i < total->n; i++, at++) {
                total->busy_s += kvs_net_busy_s(sim->net, at, sim->now_ns);
                total->n_bytes += sim->link_bytes[at];
            }
        }
}

static void sum_up(struct sim *sim)
{
    const struct kvs_sim_config *config = sim->config;
    struct kvs_sim_result *result = sim->result;
    result->n_event = sim->queue.n_run;
    result->n_replica = sim->n_replica;
    result->n_tier = config->n_tier;
    result->n_frac = sim_n_frac(config);
    result->kv_bytes_per_tok = sim->kv_bytes_per_tok;
    result->in_system_s = sim->in_system_s;
    result->sojourn_s = sim->sojourn_s;
    for (uint32_t r = 0; r < sim->n_replica; r++) {
        const struct replica *replica = &sim->replica[r];
        result->gpu_busy_s += (double)replica->busy_ns * 1e-9;
        result->gpu_stall_s += (double)replica->stall_ns * 1e-9;
        result->prefill_s += (double)replica->prefill_ns * 1e-9;
        result->decode_s += (double)replica->decode_ns * 1e-9;
        add_stats(&result->hbm, replica->hbm);
    }
    for (uint32_t t = 0; t < config->n_tier; t++)
        for (uint32_t h = 0; h < sim->n_host; h++)
            if (sim->store[t * sim->n_host + h].tier) {
                add_stats(&result->tier[t].stats, sim->store[t * sim->n_host + h].tier);
                result->tier[t].n++;
            }
    for (uint32_t r = 0; r < sim->n_replica; r++)
        for (uint32_t t = 0; t < config->n_tier; t++)
            for (const struct transfer *left = sim_lane(sim, r, t, true)->first; left;
                 left = left->next)
                result->tier[t].write_backlog_bytes += left->n_bytes;
    sim_shard_sum(sim);
    sum_links(sim);
    result->verdict = verdict(sim);
}

enum kvs_code kvs_sim_run(const struct kvs_sim_config *config, struct kvs_trace *trace,
                          const struct kvs_sim_sink *sink, struct kvs_sim_result *result,
                          struct kvs_err *err)
{
    struct kvs_err own = {0};
    struct sim *sim = calloc(1, sizeof *sim);
    *result = (struct kvs_sim_result){0};
    if (!sim)
        return kvs_fail(err, KVS_ERR_NOMEM, "the simulator");
    sim->config = config;
    sim->sink = sink;
    sim->trace = trace;
    sim->err = err ? err : &own;
    sim->result = result;
    bool fine = sim_set_up(sim) == KVS_OK && sim_samples_begin(sim) && sim_arrivals_begin(sim);
    struct kvs_event event;
    /* ends with the last request: what is still being written then is told as a backlog */
    while (fine && (sim_more(sim) || sim->n_live) && kvs_queue_take(&sim->queue, &event)) {
        assert(event.at_ns >= sim->now_ns);
        fine = event.at_ns < sim->next_bin_ns || sim_sample_until(sim, event.at_ns);
        sim->now_ns = event.at_ns;
        fine = fine && handle(sim, &event) && !sim->broken;
    }
    fine = fine && sim_samples_end(sim);
    if (fine) {
        sum_up(sim);
        sim_check_end(sim);
    } else {
        *result = (struct kvs_sim_result){0};
    }
    enum kvs_code code = fine ? KVS_OK : sim->err->code;
    assert(fine || code != KVS_OK);
    sim_tear_down(sim);
    free(sim);
    return code;
}
