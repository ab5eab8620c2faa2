/*
 * figures.h - the data of the figures that are drawn from a run: one CSV a figure, units in its
 * header.
 */
#ifndef KVS_FIGURES_H
#define KVS_FIGURES_H

#include "csv.h"
#include "outcome.h"

/* A row a share of the requests from 0 to 1, a column a policy: TTFT within which they lie. */
void kvs_ttft_cdf_csv(struct kvs_csv *csv, const struct kvs_outcome *outcome, uint32_t n);
/* A row a policy: what TTFT is made of on average, and around the 95th percentile. */
void kvs_ttft_stack_csv(struct kvs_csv *csv, const struct kvs_outcome *outcome, uint32_t n);
/*
 * A row a policy and bin of time: share of the input tokens of the prompts admitted in it that HBM
 * and each tier held, and the number of requests that came and that were there at its end.
 */
void kvs_hits_csv(struct kvs_csv *csv, const struct kvs_sim_config *config,
                  const struct kvs_outcome *outcome, uint32_t n);
/* A row a policy and bin: shares of the time that GPUs and links were busy, bytes held, stored. */
void kvs_busy_csv(struct kvs_csv *csv, const struct kvs_sim_config *config,
                  const struct kvs_outcome *outcome, uint32_t n);

#endif
