/*
 * trace_filter.h - a trace as a workload asks for it: cut, faster, for more people; and the `trace`
 * section of workload.json, which says where it comes from.
 */
#ifndef KVS_TRACE_FILTER_H
#define KVS_TRACE_FILTER_H

#include "base/opt.h"
#include "trace.h"

/*
 * limit       ends after so many requests; 0: no limit.
 * rate        requests come `rate` times as fast: times are divided by it, so gaps between a
 *             session's turns shrink too.
 * population  as many people, each group with questions, sessions and passages of its own: a
 *             request becomes `population` requests, spread evenly over the time to the next one.
 *             Their block ids and sessions differ, but system prompts stay shared in traces with
 *             content ids. So the groups are alike and out of step, and what they share is assumed
 *             to be the system prompts only.
 * sample      only this share of it, drawn by hashes; 0 or 1: all. A session or a group is in it
 *             whole, at its own times, so that it meets its own blocks again as it does in the full
 *             trace. limit counts requests before sampling.
 */
enum kvs_sample_by {
    /* Sessions. Requests without one, of chained ids: by their second block, so that all that share
     * more than their first block stay together; of content ids: an error. */
    KVS_SAMPLE_SESSION,
    KVS_SAMPLE_GROUP /* groups of the population: exactly sample * population of them */
};

struct kvs_trace_filter {
    uint64_t limit;
    double rate;
    uint64_t population;
    double sample;
    enum kvs_sample_by sample_by;
    uint64_t sample_seed;
};

/* The filtered trace owns inner, which is closed if this fails. */
KVS_MUST_CHECK enum kvs_code kvs_trace_filtered(struct kvs_trace *inner,
                                                const struct kvs_trace_filter *filter,
                                                struct kvs_trace **trace, struct kvs_err *err);

/*
 * The trace that a workload's `trace` section describes: "path" (from the document's folder) with
 * format, skip_bad, chars_per_tok, or "generate": {options of gen.h}; and limit, rate, population,
 * sample, sample_by, sample_seed. seed is the generator's.
 */
KVS_MUST_CHECK enum kvs_code kvs_trace_from_json(struct kvs_json node, uint64_t seed,
                                                 struct kvs_trace **trace, struct kvs_err *err);
/* The table of that section, for schemas and help. */
extern const struct kvs_opt kvs_trace_table[];
extern const unsigned kvs_trace_n_opt;

#endif
