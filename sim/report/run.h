/*
 * run.h - runs a workload under every policy it compares and leaves the results folder.
 *
 * The folder appears whole or not at all (base/outdir.h): summary.json, requests.csv, plans.csv,
 * timeline.json, workload.json, plots/ and run.log. All but run.log, which tells wall time, are the
 * same bytes for the same workload and seed.
 */
#ifndef KVS_RUN_H
#define KVS_RUN_H

#include "outcome.h"
#include "workload.h"

struct kvs_run_options {
    const char *dir; /* the results folder */
    bool overwrite;  /* replaces an earlier one */
    bool draw;       /* runs gnuplot */
    /*
     * About every thousand arrivals: the policy, arrivals so far, the trace's share that is read
     * (NaN: unknown). true stops the run. NULL: not asked for.
     */
    bool (*progress)(void *ctx, uint32_t policy_i, uint64_t n_arrived, double done_frac);
    void *ctx;
};

struct kvs_run {
    uint32_t n; /* outcomes, one a policy, in the order of compare */
    struct kvs_outcome *outcome;
    json_t *summary;
    char answer[1024];
    char undrawn[512]; /* why figures were not drawn; "": they were, or were not asked for */
};

/*
 * KVS_ERR_IO "interrupted" if progress stopped it. After an error nothing was left in dir and run
 * holds nothing. A missing or failing gnuplot is no error: run->undrawn says so.
 */
KVS_MUST_CHECK enum kvs_code kvs_run(const struct kvs_workload *workload,
                                     const struct kvs_run_options *options, struct kvs_run *run,
                                     struct kvs_err *err);
void kvs_run_free(struct kvs_run *run); /* accepts a zeroed one */

#endif
