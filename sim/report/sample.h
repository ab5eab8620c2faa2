/*
 * sample.h - a cluster as much smaller as the sample of its trace (workloads/trace_filter.h).
 *
 * Replicas, users in flight and drawn arrivals are scaled by the share, and what a host or the
 * cluster has one of, by what is left to do for it: tiers' bytes, links' rates. A replica stays
 * whole, so its HBM, batches and own links are as in the full cluster. Stack distances shrink with
 * the share of what is asked (SHARDS, Waldspurger et al., FAST'15), so hit ratios stay; waiting
 * does only while it is short, for fewer replicas pool their queues less.
 */
#ifndef KVS_REPORT_SAMPLE_H
#define KVS_REPORT_SAMPLE_H

#include "base/json.h"
#include "engine/sim.h"

#include <stdbool.h>

/* The share that a workload's `trace` section asks for; 1: all of it. */
double kvs_sample_share(struct kvs_json trace);

/*
 * Scales sim, and hw that it borrows. KVS_ERR_RANGE where the share leaves a fraction of a replica
 * or of a user: neither queueing nor HBM would be those of the full cluster.
 */
KVS_MUST_CHECK enum kvs_code kvs_sample_scale(struct kvs_json root, struct kvs_sim_config *sim,
                                              struct kvs_hw *hw, struct kvs_err *err);

#endif
