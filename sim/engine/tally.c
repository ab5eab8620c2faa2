/*
 * tally.c - what is counted along the way: look-ups, and samples of the machine in bins of time.
 *
 * Without a given width, bins begin at a millisecond and double whenever there are too many.
 */
#include "parts.h"

#include <math.h>
#include <stdlib.h>

#define AUTO_BINS 256
#define MAX_BINS 1000000

void sim_tally_lookup(struct sim *sim, struct req *req)
{
    const struct kvs_sim_request *record = &req->record;
    struct kvs_sim_result *result = sim->result;
    const uint32_t n_tier = sim->config->planner->never_loads ? 0 : sim->config->n_tier;
    uint64_t hit_tok = record->hbm_tok;
    sim->tally.input_tok += record->input_tok;
    sim->tally.hbm_hit_tok += record->hbm_tok;
    for (uint32_t t = 0; t < n_tier; t++) {
        sim->tally.tier_hit_tok[t] += record->tier_tok[t];
        hit_tok += record->tier_tok[t];
    }
    if (!req->counted)
        result->first_hit_tok += hit_tok;
    req->counted = true;
    for (uint32_t b = 0; b < req->n_block; b++) {
        if (req->where[b] == KVS_AT_HBM)
            continue;
        /* one that is nowhere was looked for in each tier; a prefix's end is not looked for */
        uint32_t last = req->where[b] >= 0 ? (uint32_t)req->where[b] + 1 : n_tier;
        for (uint32_t t = 0; t < last; t++)
            result->tier[t].lookup_blocks++;
        if (req->where[b] >= 0) {
            result->tier[req->where[b]].hit_blocks++;
            result->tier[req->where[b]].hit_bytes +=
                (uint64_t)ceil(sim->kv_bytes_per_tok * (double)req->tok[b]);
        } else if (sim->config->reuse == KVS_REUSE_PREFIX) {
            break;
        }
    }
}

/* Busy time of a replica up to at_ns, with the part of its step that is over. */
static double busy_s(const struct replica *replica, int64_t at_ns)
{
    const struct step *step = &replica->step;
    double busy_ns = (double)replica->busy_ns;
    if ((step->kind == STEP_PREFILL || step->kind == STEP_DECODE) && !step->open &&
        step->end_ns > step->begin_ns && at_ns > step->begin_ns) {
        const double whole_ns = (double)(step->end_ns - step->begin_ns);
        busy_ns +=
            (whole_ns - (double)step->stall_ns) * (double)(at_ns - step->begin_ns) / whole_ns;
    }
    return busy_ns * 1e-9;
}

static void take(struct sim *sim, int64_t at_ns, struct kvs_sim_sample *sample)
{
    const struct kvs_sim_config *config = sim->config;
    struct kvs_tier_stats stats;
    uint32_t at = 0;
    *sample = sim->tally;
    sample->at_ns = at_ns;
    sample->n_arrived = sim->n_arrived;
    sample->n_in_system = sim->n_in_system;
    for (uint32_t r = 0; r < sim->n_replica; r++) {
        sample->gpu_busy_s += busy_s(&sim->replica[r], at_ns);
        kvs_tier_stats(sim->replica[r].hbm, &stats);
        sample->hbm_used_bytes += stats.used_bytes + stats.reserved_bytes;
    }
    for (uint32_t i = 0; i < config->n_tier * sim->n_host; i++) {
        if (!sim->store[i].tier)
            continue;
        kvs_tier_stats(sim->store[i].tier, &stats);
        sample->tier_used_bytes[i / sim->n_host] += stats.used_bytes;
        sample->tier_insert_bytes[i / sim->n_host] += stats.insert_bytes;
    }
    for (uint32_t j = 0; j < 2 * config->hw->n_link; j++)
        for (uint32_t i = sim_n_instance(sim, j / 2); i > 0; i--)
            sample->link_busy_s[j] += kvs_net_busy_s(sim->net, at++, at_ns);
}

/* Room for one sample more: more memory, or bins twice as wide. */
static bool room(struct sim *sim)
{
    if (!sim->config->bin_ns && sim->n_bin == AUTO_BINS) {
        for (uint32_t i = 0; i < AUTO_BINS / 2; i++)
            sim->bin[i] = sim->bin[2 * i + 1];
        sim->n_bin = AUTO_BINS / 2;
        sim->bin_ns *= 2;
        return true;
    }
    if (sim->n_bin < sim->bin_room)
        return true;
    if (sim->n_bin >= MAX_BINS) {
        kvs_fail(sim->err, KVS_ERR_RANGE, "output.bin: more than %d bins; want wider ones",
                 MAX_BINS);
        return false;
    }
    uint32_t n = sim->bin_room ? 2 * sim->bin_room : AUTO_BINS;
    struct kvs_sim_sample *bin = realloc(sim->bin, n * sizeof *bin);
    if (!bin)
        return sim_nomem(sim);
    sim->bin = bin;
    sim->bin_room = n;
    return true;
}

bool sim_samples_begin(struct sim *sim)
{
    sim->next_bin_ns = INT64_MAX;
    if (!sim->sink->sample)
        return true;
    sim->bin_ns = sim->config->bin_ns ? sim->config->bin_ns : 1000000;
    sim->next_bin_ns = sim->bin_ns;
    return room(sim);
}

bool sim_sample_until(struct sim *sim, int64_t at_ns)
{
    while (sim->next_bin_ns <= at_ns) {
        if (!room(sim))
            return false;
        if (sim->n_bin && sim->next_bin_ns < sim->bin[sim->n_bin - 1].at_ns + sim->bin_ns) {
            sim->next_bin_ns = sim->bin[sim->n_bin - 1].at_ns + sim->bin_ns; /* wider now */
            continue;
        }
        take(sim, sim->next_bin_ns, &sim->bin[sim->n_bin++]);
        sim->next_bin_ns += sim->bin_ns;
    }
    return true;
}

bool sim_samples_end(struct sim *sim)
{
    const struct kvs_sim_sample begin = {0};
    struct kvs_sim_sample last;
    if (!sim->sink->sample)
        return true;
    take(sim, sim->now_ns, &last);
    bool fine = sim->sink->sample(sim->sink->ctx, &begin, sim->err) == KVS_OK;
    for (uint32_t i = 0; fine && i < sim->n_bin; i++)
        fine = sim->sink->sample(sim->sink->ctx, &sim->bin[i], sim->err) == KVS_OK;
    if (fine && (!sim->n_bin || last.at_ns > sim->bin[sim->n_bin - 1].at_ns))
        fine = sim->sink->sample(sim->sink->ctx, &last, sim->err) == KVS_OK;
    return fine;
}
