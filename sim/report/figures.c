#include "figures.h"

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
