/*
 * timeline.h - timeline.json: the first requests of each policy, for Perfetto or chrome://tracing.
 *
 * Chrome's trace-event format: complete events ("X") with microseconds to three decimals, so exact
 * nanoseconds. A process is a policy's replica, or its requests; a track is a GPU, or a tier's
 * loads or writes; what overlaps on one track gets a second lane.
 */
#ifndef KVS_TIMELINE_H
#define KVS_TIMELINE_H

#include "outcome.h"

#include <stdio.h>

/* tier_name: of the tiers of the run, n_tier of them. KVS_ERR_NOMEM; write errors show at close. */
KVS_MUST_CHECK enum kvs_code kvs_timeline_write(FILE *to, const char *const *tier_name,
                                                const struct kvs_outcome *outcome,
                                                uint32_t n_outcome, struct kvs_err *err);

#endif
