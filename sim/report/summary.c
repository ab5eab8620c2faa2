#include "summary.h"

#include "provenance.h"

#include <math.h>
#include <string.h>

/* An object that is being made: the first failure (no memory) spoils it. */
struct maker {
    json_t *object;
    bool spoilt;
};

static struct maker make(void)
{
    struct maker m = {.object = json_object()};
    m.spoilt = !m.object;
    return m;
}

static void put(struct maker *m, const char *key, json_t *value)
{
    if (m->spoilt)
        json_decref(value);
    else if (!value || json_object_set_new(m->object, key, value))
        m->spoilt = true;
}

static void put_num(struct maker *m, const char *key, double value)
{
    put(m, key, isfinite(value) ? json_real(value) : json_null());
}

static void put_int(struct maker *m, const char *key, uint64_t value)
{
    put(m, key, json_integer((json_int_t)value));
}

static void put_str(struct maker *m, const char *key, const char *value)
{
    put(m, key, value ? json_string(value) : json_null());
}

static json_t *made(struct maker *m)
{
    if (m->spoilt) {
        json_decref(m->object);
        m->object = NULL;
    }
    return m->object;
}

static json_t *spread_json(const struct kvs_spread *spread)
{
    struct maker m = make();
    put_num(&m, "mean", spread->mean);
    put_num(&m, "p50", spread->p50);
    put_num(&m, "p90", spread->p90);
    put_num(&m, "p95", spread->p95);
    put_num(&m, "p99", spread->p99);
    put_num(&m, "max", spread->max);
    return made(&m);
}

static json_t *parts_json(const double *part_s)
{
    struct maker m = make();
    for (int i = 0; i < KVS_N_TTFT_PART; i++)
        put_num(&m, kvs_ttft_part_name[i], part_s[i]);
    return made(&m);
}

/* [low, high]; null if there is none. */
static json_t *interval_json(struct kvs_interval interval)
{
    return isfinite(interval.low) ? json_pack("[ff]", interval.low, interval.high) : json_null();
}

static json_t *ci_json(const struct kvs_outcome *outcome)
{
    struct maker m = make();
    put(&m, "ttft_mean_s", interval_json(outcome->ttft_ci.mean));
    put(&m, "ttft_p50_s", interval_json(outcome->ttft_ci.p50));
    put(&m, "ttft_p99_s", interval_json(outcome->ttft_ci.p99));
    put(&m, "goodput_req_per_s", interval_json(outcome->goodput_ci));
    return made(&m);
}

static json_t *steady_json(const struct kvs_outcome *outcome)
{
    struct maker m = make();
    put_str(&m, "verdict", kvs_steady_name(outcome->ttft_ci.steady));
    put_int(&m, "warmup_requests", outcome->n_warmup);
    put(&m, "mser5_requests",
        outcome->has_mser5 ? json_integer((json_int_t)outcome->n_mser5) : json_null());
    put_int(&m, "batches", KVS_N_BATCH);
    return made(&m);
}

static json_t *speedup_json(const struct kvs_spread *ttft_s, const struct kvs_spread *baseline_s)
{
    struct maker m = make();
    put_num(&m, "mean", baseline_s->mean / ttft_s->mean);
    put_num(&m, "p50", baseline_s->p50 / ttft_s->p50);
    put_num(&m, "p95", baseline_s->p95 / ttft_s->p95);
    put_num(&m, "p99", baseline_s->p99 / ttft_s->p99);
    return made(&m);
}

static json_t *tokens_json(const struct kvs_workload *workload, const struct kvs_outcome *outcome)
{
    const struct kvs_sim_result *sim = &outcome->sim;
    struct maker m = make(), hits = make();
    put_int(&hits, "hbm", sim->hbm_hit_tok);
    for (uint32_t i = 0; i < sim->n_tier; i++)
        put_int(&hits, workload->sim.tier[i].name, sim->tier[i].hit_tok);
    put_int(&m, "input", sim->input_tok);
    put_int(&m, "output", sim->output_tok);
    put(&m, "hit", made(&hits));
    put_int(&m, "recomputed", sim->recompute_tok);
    put_int(&m, "new", sim->new_tok);
    put_num(&m, "first_hit_frac", outcome->first_hit_frac);
    put_num(&m, "final_hit_frac", outcome->final_hit_frac);
    return made(&m);
}

static json_t *store_json(const struct kvs_tier_stats *stats)
{
    struct maker m = make();
    put_int(&m, "capacity_bytes", stats->capacity_bytes);
    put_int(&m, "used_bytes", stats->used_bytes);
    put_int(&m, "blocks", stats->n_block);
    put_int(&m, "inserted_blocks", stats->n_insert);
    put_int(&m, "evicted_blocks", stats->n_evict);
    put_int(&m, "inserted_bytes", stats->insert_bytes);
    put_int(&m, "evicted_bytes", stats->evict_bytes);
    put_int(&m, "evicted_unused_bytes", stats->evict_unused_bytes);
    put_int(&m, "unused_bytes", stats->unused_bytes);
    put_int(&m, "refused_blocks", stats->n_refused);
    return made(&m);
}

/* A tier that all hosts see. */
static json_t *nodes_json(const struct kvs_tier_config *config,
                          const struct kvs_sim_tier_total *total)
{
    struct maker m = make();
    put_int(&m, "nodes", total->n);
    put_int(&m, "replicas", config->n_copy);
    put_num(&m, "read_max_over_mean", total->node_spread > 0 ? total->node_spread : (double)NAN);
    put_int(&m, "network_bytes", total->network_bytes);
    put_int(&m, "rebalance_bytes", total->rebalance_bytes);
    put_int(&m, "rebalance_left_bytes", total->rebalance_left_bytes);
    put_int(&m, "lost_bytes", total->lost_bytes);
    return made(&m);
}

static json_t *tier_json(const struct kvs_tier_config *config, const struct kvs_outcome *outcome,
                         uint32_t tier_i)
{
    const struct kvs_sim_tier_total *total = &outcome->sim.tier[tier_i];
    const struct kvs_outcome_tier *of = &outcome->tier[tier_i];
    struct maker m = make();
    put_str(&m, "tier", config->name);
    put_num(&m, "hit_tok_frac", of->hit_tok_frac);
    put_num(&m, "hit_byte_frac", of->hit_byte_frac);
    put_num(&m, "unused_write_frac", of->unused_write_frac);
    put_num(&m, "stored_bytes_per_day", of->stored_bytes_per_day);
    put_num(&m, "drive_writes_per_day", of->drive_writes_per_day);
    put_int(&m, "hit_tok", total->hit_tok);
    put_int(&m, "hit_bytes", total->hit_bytes);
    put_int(&m, "hit_blocks", total->hit_blocks);
    put_int(&m, "lookup_blocks", total->lookup_blocks);
    put_int(&m, "load_bytes", total->load_bytes);
    if (config->states)
        put_int(&m, "load_state_bytes", total->load_state_bytes);
    put_int(&m, "load_cancelled_bytes", total->load_cancelled_bytes);
    put_int(&m, "load_unused_bytes", total->load_unused_bytes);
    put_int(&m, "write_bytes", total->write_bytes);
    put_int(&m, "write_backlog_bytes", total->write_backlog_bytes);
    put_int(&m, "write_declined_bytes", total->write_declined_bytes);
    put_int(&m, "write_dropped_bytes", total->write_dropped_bytes);
    put(&m, "store", store_json(&total->stats));
    if (config->placement != KVS_PLACE_LOCAL)
        put(&m, "nodes", nodes_json(config, total));
    return made(&m);
}

static json_t *link_json(const struct kvs_outcome *outcome, uint32_t link_i)
{
    const struct kvs_sim_link_total *link = &outcome->sim.link[link_i];
    struct maker m = make();
    put_str(&m, "link", link->name);
    put_str(&m, "direction", link->write ? "write" : "read");
    put_int(&m, "instances", link->n);
    put_num(&m, "busy_frac", kvs_outcome_link_frac(outcome, link_i));
    put_int(&m, "bytes", (uint64_t)link->n_bytes);
    return made(&m);
}

static json_t *gpu_json(const struct kvs_outcome *outcome)
{
    struct maker m = make();
    put_int(&m, "replicas", outcome->sim.n_replica);
    put_num(&m, "busy_frac", outcome->gpu_busy_frac);
    put_num(&m, "stall_frac", outcome->gpu_stall_frac);
    put_num(&m, "prefill_frac", outcome->gpu_prefill_frac);
    put_num(&m, "decode_frac", outcome->gpu_decode_frac);
    return made(&m);
}

static void append(json_t *array, json_t *value, bool *spoilt)
{
    if (!array || !value || json_array_append_new(array, value)) {
        if (!array)
            json_decref(value);
        *spoilt = true;
    }
}

static void put_array(struct maker *m, const char *key, json_t *array, bool spoilt)
{
    put(m, key, array);
    m->spoilt |= spoilt;
}

static void put_machine(struct maker *m, const struct kvs_workload *workload,
                        const struct kvs_outcome *outcome)
{
    const struct kvs_sim_result *sim = &outcome->sim;
    bool spoilt = false;
    put(m, "gpu", gpu_json(outcome));
    put(m, "hbm_cache", store_json(&sim->hbm));
    json_t *tiers = json_array();
    for (uint32_t i = 0; i < sim->n_tier; i++)
        append(tiers, tier_json(&workload->sim.tier[i], outcome, i), &spoilt);
    put_array(m, "tiers", tiers, spoilt);
    json_t *links = json_array();
    spoilt = false;
    for (uint32_t i = 0; i < sim->n_link; i++)
        append(links, link_json(outcome, i), &spoilt);
    put_array(m, "links", links, spoilt);
}

static json_t *policy_json(const struct kvs_workload *workload, const struct kvs_outcome *outcome,
                           const struct kvs_outcome *baseline)
{
    const struct kvs_sim_result *sim = &outcome->sim;
    struct maker m = make();
    put_str(&m, "policy", outcome->policy);
    put_str(&m, "verdict", kvs_verdict_name(sim->verdict));
    put_int(&m, "requests", sim->n_request);
    put_int(&m, "refused", sim->n_refused);
    put_int(&m, "preemptions", sim->n_preempt);
    put_int(&m, "again_tok", sim->again_tok);
    put_int(&m, "swap_bytes", sim->swap_bytes);
    put_int(&m, "handover_bytes", sim->handover_bytes);
    put_num(&m, "span_s", outcome->span_s);
    put_num(&m, "offered_req_per_s", outcome->offered_per_s);
    put_num(&m, "throughput_req_per_s", outcome->throughput_per_s);
    put_num(&m, "goodput_req_per_s", outcome->goodput_per_s);
    put_num(&m, "in_slo_frac", outcome->in_slo_frac);
    put(&m, "ttft_s", spread_json(&outcome->ttft_s));
    put(&m, "tpot_s", spread_json(&outcome->tpot_s));
    put(&m, "e2e_s", spread_json(&outcome->e2e_s));
    put(&m, "ci95", ci_json(outcome));
    put(&m, "steady", steady_json(outcome));
    put(&m, "ttft_speedup_over_recompute",
        baseline ? speedup_json(&outcome->ttft_s, &baseline->ttft_s) : json_null());
    put(&m, "ttft_parts_mean_s", parts_json(outcome->part_mean_s));
    put(&m, "ttft_parts_p95_s", parts_json(outcome->part_p95_s));
    put_num(&m, "predicted_ttft_error_frac", outcome->predicted_error);
    put_num(&m, "predicted_loss_nats", outcome->predicted_loss_nats);
    put(&m, "tok", tokens_json(workload, outcome));
    put_int(&m, "load_bytes", (uint64_t)outcome->load_bytes);
    put_int(&m, "write_bytes", (uint64_t)outcome->write_bytes);
    put_int(&m, "distinct_plans", outcome->collect.n_plan);
    put_num(&m, "mean_in_system", sim->in_system_s / outcome->span_s);
    put_int(&m, "max_in_system", sim->max_in_system);
    put_machine(&m, workload, outcome);
    return made(&m);
}

static json_t *trace_json(const struct kvs_trace_note *note, double share)
{
    struct maker m = make();
    put_str(&m, "format", note->format);
    put_str(&m, "ids", note->chained ? "chained" : "content");
    put_int(&m, "skipped_lines", note->skipped);
    put_int(&m, "moved_requests", note->moved);
    put_str(&m, "made_up", *note->invents ? note->invents : NULL);
    put_num(&m, "sample_frac", share);
    return made(&m);
}

json_t *kvs_summary(const struct kvs_workload *workload, const struct kvs_outcome *outcome,
                    uint32_t n, const char *answer)
{
    const struct kvs_outcome *baseline = kvs_outcome_baseline(outcome, n);
    struct maker m = make();
    bool spoilt = false;
    put_str(&m, "kvsim", KVS_VERSION);
    put(&m, "simulated", json_true());
    put_str(&m, "workload", workload->name);
    put_str(&m, "about", workload->about);
    put_str(&m, "model", kvs_model_name(workload->sim.model));
    put_str(&m, "hardware", workload->sim.hw->name);
    put_int(&m, "seed", workload->seed);
    put(&m, "trace", trace_json(&outcome[0].trace, workload->share));
    put_str(&m, "answer", answer);
    json_t *policies = json_array();
    for (uint32_t i = 0; i < n; i++)
        append(policies, policy_json(workload, &outcome[i], baseline), &spoilt);
    put_array(&m, "policies", policies, spoilt);
    put(&m, "hardware_figures", kvs_provenance_json(workload->sim.hw));
    return made(&m);
}
