/* parts.h - the parts of a self-test; for kernels/selftest only. */
#ifndef KVS_SELFTEST_PARTS_H
#define KVS_SELFTEST_PARTS_H

#include "kernels/backend.h"

#include <jansson.h>

struct kvs_checks {
    unsigned passed, failed, not_offered;
    json_t *failures; /* array of sentences */
};

/* Counts one result; name and err->msg become a sentence where it failed. */
void kvs_checks_add(struct kvs_checks *checks, enum kvs_code code, const char *name,
                    const struct kvs_err *err);

void kvs_selftest_intrinsics(struct kvs_dev *dev, struct kvs_checks *checks);
void kvs_selftest_vectors(struct kvs_dev *dev, struct kvs_checks *checks);
void kvs_selftest_pipelines(struct kvs_dev *dev, struct kvs_checks *checks);
/* An array of rows; each operator's sizes grow until one takes longer than most_s. */
KVS_MUST_CHECK enum kvs_code kvs_selftest_timings(struct kvs_dev *dev, double most_s,
                                                  json_t **timings, struct kvs_err *err);

#endif
