/*
 * summary.h - summary.json: all figures of a run, its answer in words, and what was assumed.
 */
#ifndef KVS_SUMMARY_H
#define KVS_SUMMARY_H

#include "outcome.h"
#include "workload.h"

/*
 * n outcomes, one a policy. answer: kvs_answer's. NULL: no memory. To be written with
 * KVS_JSON_FORMAT.
 */
json_t *kvs_summary(const struct kvs_workload *workload, const struct kvs_outcome *outcome,
                    uint32_t n, const char *answer);

/* Doubles as %.6g, integers exact, keys in the order of writing. */
#define KVS_JSON_FORMAT (JSON_INDENT(2) | JSON_REAL_PRECISION(6))

#endif
