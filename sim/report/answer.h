/*
 * answer.h - a run in words: which policy is fastest, by how much, what binds, what to beware of.
 */
#ifndef KVS_ANSWER_H
#define KVS_ANSWER_H

#include "outcome.h"
#include "workload.h"

#define KVS_ANSWER_MAX 1024

/* A few sentences into text, which holds KVS_ANSWER_MAX bytes. */
void kvs_answer(char *text, const struct kvs_workload *workload, const struct kvs_outcome *outcome,
                uint32_t n);

#endif
