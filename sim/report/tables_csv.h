/*
 * tables_csv.h - requests.csv and plans.csv: a row a request, a row a distinct plan, per policy.
 *
 * Times are integer nanoseconds, exact; the header names each column's unit.
 */
#ifndef KVS_TABLES_CSV_H
#define KVS_TABLES_CSV_H

#include "csv.h"
#include "outcome.h"

/* config says which tiers there are and what the fractions are; all policies of a run share it. */
void kvs_requests_csv_header(struct kvs_csv *csv, const struct kvs_sim_config *config);
void kvs_requests_csv_rows(struct kvs_csv *csv, const struct kvs_sim_config *config,
                           const char *policy, const struct kvs_collect *collect);

void kvs_plans_csv_header(struct kvs_csv *csv);
/* Most frequent first, then in the order in which they were first used. */
KVS_MUST_CHECK enum kvs_code
kvs_plans_csv_rows(struct kvs_csv *csv, const struct kvs_outcome *outcome, struct kvs_err *err);

/*
 * A staircase as run-length text, first layer first: "12x1 4x0.5 16x0" is 12 layers computed, 4 of
 * which half the tokens are, 16 loaded. n_frac > 0: indices i are fractions i / (n_frac - 1), else
 * they are levels and stand as they are. text holds KVS_STAIRCASE_MAX bytes.
 */
#define KVS_STAIRCASE_MAX (KVS_MAX_LAYER * 20)
void kvs_staircase_text(char *text, const uint8_t *step, uint32_t n_layer, uint32_t n_frac);

#endif
