#include "figures.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void kvs_ttft_cdf_csv(struct kvs_csv *csv, const struct kvs_outcome *outcome, uint32_t n)
{
    kvs_csv_str(csv, "share_frac");
    for (uint32_t i = 0; i < n; i++)
        kvs_csv_str2(csv, outcome[i].policy, "_ttft_s");
    kvs_csv_row(csv);
    for (int q = 0; q < KVS_N_QUANTILE; q++) {
        kvs_csv_double(csv, (double)q / (KVS_N_QUANTILE - 1));
        for (uint32_t i = 0; i < n; i++)
            kvs_csv_double(csv, outcome[i].ttft_quantile_s[q]);
        kvs_csv_row(csv);
    }
}

void kvs_ttft_stack_csv(struct kvs_csv *csv, const struct kvs_outcome *outcome, uint32_t n)
{
    static const char *const unit[] = {"_mean_s", "_p95_s"};
    kvs_csv_str(csv, "policy");
    for (int stat = 0; stat < 2; stat++)
        for (int part = 0; part < KVS_N_TTFT_PART; part++)
            kvs_csv_str2(csv, kvs_ttft_part_name[part], unit[stat]);
    kvs_csv_row(csv);
    for (uint32_t i = 0; i < n; i++) {
        kvs_csv_str(csv, outcome[i].policy);
        for (int part = 0; part < KVS_N_TTFT_PART; part++)
            kvs_csv_double(csv, outcome[i].part_mean_s[part]);
        for (int part = 0; part < KVS_N_TTFT_PART; part++)
            kvs_csv_double(csv, outcome[i].part_p95_s[part]);
        kvs_csv_row(csv);
    }
}

static double share(double part, double whole)
{
    return whole > 0 ? fmin(1, part / whole) : (double)NAN;
}

static void bin_columns(struct kvs_csv *csv)
{
    kvs_csv_str(csv, "policy");
    kvs_csv_str(csv, "begin_s");
    kvs_csv_str(csv, "end_s");
}

static void bin_fields(struct kvs_csv *csv, const char *policy, const struct kvs_sim_sample *bin)
{
    kvs_csv_str(csv, policy);
    kvs_csv_double(csv, (double)bin[0].at_ns * 1e-9);
    kvs_csv_double(csv, (double)bin[1].at_ns * 1e-9);
}

/* bin[0] to bin[1] */
static void hits_row(struct kvs_csv *csv, const struct kvs_sim_config *config,
                     const struct kvs_outcome *outcome, const struct kvs_sim_sample *bin)
{
    const double input = (double)(bin[1].input_tok - bin[0].input_tok);
    double all = (double)(bin[1].hbm_hit_tok - bin[0].hbm_hit_tok);
    bin_fields(csv, outcome->policy, bin);
    kvs_csv_u64(csv, bin[1].n_arrived - bin[0].n_arrived);
    kvs_csv_u64(csv, bin[1].n_in_system);
    kvs_csv_double(csv, share(all, input));
    for (uint32_t t = 0; t < config->n_tier; t++) {
        double hit = (double)(bin[1].tier_hit_tok[t] - bin[0].tier_hit_tok[t]);
        kvs_csv_double(csv, t < outcome->sim.n_tier ? share(hit, input) : (double)NAN);
        all += hit;
    }
    kvs_csv_double(csv, share(all, input));
    kvs_csv_row(csv);
}

void kvs_hits_csv(struct kvs_csv *csv, const struct kvs_sim_config *config,
                  const struct kvs_outcome *outcome, uint32_t n)
{
    bin_columns(csv);
    kvs_csv_str(csv, "arrived");
    kvs_csv_str(csv, "in_system");
    kvs_csv_str(csv, "hbm_hit_frac");
    for (uint32_t t = 0; t < config->n_tier; t++)
        kvs_csv_str2(csv, config->tier[t].name, "_hit_frac");
    kvs_csv_str(csv, "hit_frac");
    kvs_csv_row(csv);
    for (uint32_t i = 0; i < n; i++)
        for (uint64_t b = 1; b < outcome[i].collect.n_sample; b++)
            hits_row(csv, config, &outcome[i], &outcome[i].collect.sample[b - 1]);
}

static void busy_row(struct kvs_csv *csv, const struct kvs_sim_config *config,
                     const struct kvs_outcome *outcome, const struct kvs_sim_sample *bin)
{
    const struct kvs_sim_result *sim = &outcome->sim;
    const double span_s = (double)(bin[1].at_ns - bin[0].at_ns) * 1e-9;
    bin_fields(csv, outcome->policy, bin);
    kvs_csv_double(csv, share(bin[1].gpu_busy_s - bin[0].gpu_busy_s, span_s * sim->n_replica));
    for (int write = 0; write < 2; write++) /* as the header: reads of all links, then writes */
        for (uint32_t l = 0; l < sim->n_link; l++)
            if (sim->link[l].write == write)
                kvs_csv_double(csv, share(bin[1].link_busy_s[l] - bin[0].link_busy_s[l],
                                          span_s * sim->link[l].n));
    kvs_csv_u64(csv, bin[1].hbm_used_bytes);
    for (uint32_t t = 0; t < config->n_tier; t++)
        kvs_csv_u64(csv, bin[1].tier_used_bytes[t]);
    for (uint32_t t = 0; t < config->n_tier; t++)
        kvs_csv_u64(csv, bin[1].tier_insert_bytes[t] - bin[0].tier_insert_bytes[t]);
    kvs_csv_row(csv);
}

/* A link's name as part of a column's. */
static void link_column(struct kvs_csv *csv, const struct kvs_sim_link_total *link)
{
    char name[64];
    snprintf(name, sizeof name, "%s", link->name);
    for (char *c = name; *c; c++)
        if (strchr(",\"\r\n", *c))
            *c = '_';
    kvs_csv_str2(csv, name, link->write ? "_write_busy_frac" : "_read_busy_frac");
}

void kvs_busy_csv(struct kvs_csv *csv, const struct kvs_sim_config *config,
                  const struct kvs_outcome *outcome, uint32_t n)
{
    bin_columns(csv);
    kvs_csv_str(csv, "gpu_busy_frac");
    for (int write = 0; write < 2; write++)
        for (uint32_t l = 0; l < outcome[0].sim.n_link; l++)
            if (outcome[0].sim.link[l].write == write)
                link_column(csv, &outcome[0].sim.link[l]);
    kvs_csv_str(csv, "hbm_used_bytes");
    for (uint32_t t = 0; t < config->n_tier; t++)
        kvs_csv_str2(csv, config->tier[t].name, "_used_bytes");
    for (uint32_t t = 0; t < config->n_tier; t++)
        kvs_csv_str2(csv, config->tier[t].name, "_stored_bytes");
    kvs_csv_row(csv);
    for (uint32_t i = 0; i < n; i++)
        for (uint64_t b = 1; b < outcome[i].collect.n_sample; b++)
            busy_row(csv, config, &outcome[i], &outcome[i].collect.sample[b - 1]);
}
