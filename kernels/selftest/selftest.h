/*
 * selftest.h - does a back end compute what it should, here, and how fast?
 *
 * Four parts, in the order in which they build on each other: every instruction of the kernel
 * dialect beside the shim, every operator vector beside the reference, pipelines (copies, events,
 * order of streams, plans of every kind), timings. The report is one JSON object,
 * configs/schema/selftest.schema.json; with `cuda` it is the evidence that a commit ran on a GPU.
 */
#ifndef KVS_SELFTEST_H
#define KVS_SELFTEST_H

#include "kernels/device.h"

#include <jansson.h>

/*
 * Runs all parts. *report: the caller's, also where something failed; *n_failed counts that. Where
 * a part takes long (timings on simt) its sizes end early, so that all takes less than most_s.
 */
KVS_MUST_CHECK enum kvs_code kvs_selftest_run(struct kvs_dev *dev, double most_s, json_t **report,
                                              unsigned *n_failed, struct kvs_err *err);

#endif
