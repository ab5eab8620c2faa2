/*
 * traces.h - traces that several points of a study share, read once and kept in binary form.
 *
 * Points differ in tiers, policies and rates far more often than in what was asked. A trace that
 * two or more points replay is converted to .kvt in a file without a name, which child processes
 * inherit and map; limit, rate, population and sample are applied at each point.
 */
#ifndef KVS_STUDY_TRACES_H
#define KVS_STUDY_TRACES_H

#include "base/json.h"

struct kvs_traces; /* from kvs_traces_new, ended by kvs_traces_free */

struct kvs_traces *kvs_traces_new(void); /* NULL: no memory */
void kvs_traces_free(struct kvs_traces *traces);

/* Counts the trace that a workload's document names: one that comes twice is worth sharing. */
KVS_MUST_CHECK enum kvs_code kvs_traces_count(struct kvs_traces *traces, struct kvs_doc *doc,
                                              struct kvs_err *err);
/* Reads all that came twice. One that can't be read is left to the points, which say why. */
KVS_MUST_CHECK enum kvs_code kvs_traces_load(struct kvs_traces *traces, struct kvs_err *err);
/* Lets the document take its trace from here, if it is here. */
KVS_MUST_CHECK enum kvs_code kvs_traces_use(const struct kvs_traces *traces, struct kvs_doc *doc,
                                            struct kvs_err *err);
/* Of all that was read, in the order in which it was counted. */
uint64_t kvs_traces_hash(const struct kvs_traces *traces);

#endif
