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

#endif
