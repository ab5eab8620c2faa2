/*
 * explain.h - why one request of a run took as long as it did, under each policy.
 *
 * Reads a results folder of `kvsim run`: requests.csv, plans.csv.
 */
#ifndef KVS_EXPLAIN_H
#define KVS_EXPLAIN_H

#include "base/err.h"

#include <stdint.h>
#include <stdio.h>

KVS_MUST_CHECK enum kvs_code kvs_explain_request(const char *dir, uint64_t request, FILE *to,
                                                 struct kvs_err *err);

#endif
