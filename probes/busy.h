/*
 * busy.h - a benchmark while others keep the machine busy: loaded latency, copies beside I/O.
 */
#ifndef KVS_PROBES_BUSY_H
#define KVS_PROBES_BUSY_H

#include "measure.h"

#define KVS_MAX_BESIDE 4

/* What runs beside, all the time: its point says how; the rate of each slice is summed in it. */
struct kvs_beside {
    kvs_run_fn *run;
    void *self;
    struct kvs_point *point; /* not of the profile's list */
};

struct kvs_busy {
    kvs_run_fn *run; /* what is measured */
    void *self;
    unsigned n;
    struct kvs_beside beside[KVS_MAX_BESIDE];
};

/*
 * A kvs_run_fn: runs busy->run once every one of beside has moved its first bytes, and until then
 * nothing. The point's param beside_bytes_per_s tells what they reached together. The processor
 * time of an operation is not known then. An error of one beside is the run's.
 */
enum kvs_code kvs_busy_run(void *busy, struct kvs_point *point, double secs,
                           struct kvs_sample *sample, struct kvs_err *err);

#endif
