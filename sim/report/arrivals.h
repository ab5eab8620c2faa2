/*
 * arrivals.h - the `arrivals` section of workload.json: when requests come.
 */
#ifndef KVS_REPORT_ARRIVALS_H
#define KVS_REPORT_ARRIVALS_H

#include "base/opt.h"
#include "engine/sim.h"

struct kvs_arrivals_in { /* as it stands in the file */
    int process, loop, think;
    double rate, cv, think_time;
    uint64_t in_flight;
};

extern const struct kvs_opt kvs_arrivals_table[];
extern const unsigned kvs_arrivals_n_opt;

/* What does not go together ("rate" with the trace's own times) fails with place and remedy. */
KVS_MUST_CHECK enum kvs_code kvs_arrivals_json(struct kvs_json node, struct kvs_arrivals_in *in,
                                               struct kvs_arrivals *arrivals, struct kvs_err *err);
/* "" for a trace's own times; else ", Poisson at 4/s", ", 32 in flight", ... for a heading. */
#define KVS_ARRIVALS_TEXT_MAX 96
char *kvs_arrivals_text(char text[KVS_ARRIVALS_TEXT_MAX], const struct kvs_arrivals *arrivals);

#endif
