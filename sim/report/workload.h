/*
 * workload.h - workload.json: what `kvsim run` runs, read with its defaults and checked.
 *
 * Owns the document, the model, the hardware profile and the costs that the simulator's
 * configuration borrows. Relative paths in it start at the file's folder. Formats and units:
 * configs/schema/workload.schema.json and sim/report/README.md.
 */
#ifndef KVS_WORKLOAD_H
#define KVS_WORKLOAD_H

#include "base/opt.h"
#include "engine/sim.h"
#include "outcome.h"

#define KVS_MAX_POLICY 32

/* One entry of `compare`. */
struct kvs_policy {
    const char *name;
    const struct kvs_planner_ops *planner;
    bool cached; /* false ("no-cache"): no block outlives its request, in HBM or below */
};

struct kvs_workload {
    const char *name; /* the file's, without folder and ".json" */
    const char *about;
    uint64_t seed;
    struct kvs_sim_config sim; /* without planner: kvs_workload_config puts the policy's in */
    uint32_t n_policy;
    struct kvs_policy policy[KVS_MAX_POLICY];
    struct kvs_warmup warmup;
    double share; /* of trace and cluster that is simulated: sim is scaled by it (sample.h) */
    uint64_t timeline_requests;
    bool plots;
    struct kvs_workload_in *in; /* the document and all that is borrowed from it */
};

/*
 * Reads file ("-": standard input; "quickstart": workloads/quickstart.json), with sets
 * ("PATH=VALUE", VALUE is JSON) put in first. Whatever is wrong fails as "FILE: PATH: found ...,
 * want ...".
 */
KVS_MUST_CHECK enum kvs_code kvs_workload_open(const char *file, const struct kvs_strs *sets,
                                               struct kvs_workload **workload, struct kvs_err *err);
/* The same in two steps: the document with sets put in, which the caller may change; and the
 * workload of it, which takes it, also when it fails. file names the workload. */
KVS_MUST_CHECK enum kvs_code kvs_workload_document(const char *file, const struct kvs_strs *sets,
                                                   struct kvs_doc **doc, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_workload_from(struct kvs_doc *doc, const char *file,
                                               struct kvs_workload **workload, struct kvs_err *err);
void kvs_workload_free(struct kvs_workload *workload); /* accepts NULL */

/* The trace from its start: every policy meets the same arrivals. */
KVS_MUST_CHECK enum kvs_code kvs_workload_trace(const struct kvs_workload *workload,
                                                struct kvs_trace **trace, struct kvs_err *err);
struct kvs_sim_config kvs_workload_config(const struct kvs_workload *workload, uint32_t policy_i);

/*
 * Every setting, defaults included, as a workload file that runs again anywhere: paths are
 * absolute. NULL: no memory.
 */
json_t *kvs_workload_record(const struct kvs_workload *workload);

#endif
