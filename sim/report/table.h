/*
 * table.h - what the terminal shows of a run: one table, a row a policy.
 */
#ifndef KVS_TABLE_H
#define KVS_TABLE_H

#include "outcome.h"
#include "workload.h"

#include <stdio.h>

/* At most 140 columns wide; ASCII. */
void kvs_table_print(FILE *to, const struct kvs_workload *workload,
                     const struct kvs_outcome *outcome, uint32_t n);

#endif
