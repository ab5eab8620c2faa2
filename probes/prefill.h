/*
 * prefill.h - what computing costs on a device: whole layers, K and V only, the logits head, and
 * the operators alone.
 *
 * A point's params say what it measures: rows of the batch, context tokens before them, for a GEMM
 * its n and k. One operation is one layer (or head, or operator) and stands for size_bytes: the
 * 16-bit K and V that a layer makes of its rows, so that its rate stands beside those of links and
 * codecs; for the others what they write. The rate of a repeat is that of its median operation: one
 * that lost its core to somebody else does not count. Time is the device's own, between events.
 * Layers run in order through the model, so that weights come from where they would come from.
 */
#ifndef KVS_PROBES_PREFILL_H
#define KVS_PROBES_PREFILL_H

#include "measure.h"

#include "kernels/forward.h"

struct kvs_prefill_config {
    const char *backend; /* of kernels/device.h */
    int index;
    const struct kvs_weights *weights; /* borrowed until close */
    uint32_t max_row, max_ctx, max_out;
    enum kvs_elem kv_elem;
    uint64_t seed;
    const volatile int *stop;
};

struct kvs_prefill; /* from kvs_prefill_open, ended by kvs_prefill_close */

/* Opens the device, copies the weights, fills the cache. KVS_ERR_ABSENT: no such device here. */
KVS_MUST_CHECK enum kvs_code kvs_prefill_open(const struct kvs_prefill_config *config,
                                              struct kvs_prefill **prefill, struct kvs_err *err);
void kvs_prefill_close(struct kvs_prefill *prefill); /* accepts NULL */
const struct kvs_dev_info *kvs_prefill_device(const struct kvs_prefill *prefill);

/* Bytes that one operation of a point stands for. */
uint64_t kvs_prefill_bytes(const struct kvs_weights_shape *shape, const struct kvs_point *point);

/* A kvs_run_fn for probes "prefill.layer", ".kv", ".begin", ".head", ".gemm", ".attention" and
 * ".launch". At least one operation runs, however long it takes. */
enum kvs_code kvs_prefill_run(void *prefill, struct kvs_point *point, double secs,
                              struct kvs_sample *sample, struct kvs_err *err);

#endif
