/*
 * slo.h - what must be met, and what a point of a study measured of it.
 */
#ifndef KVS_SLO_H
#define KVS_SLO_H

#include "base/opt.h"

#define KVS_MAX_TERM 8

/* "ttft.p99=500ms": a column of the results and its bound. */
struct kvs_slo_term {
    char column[24], text[48];
    double bound_s;
};

struct kvs_slo {
    unsigned n;
    struct kvs_slo_term term[KVS_MAX_TERM];
};

/* Terms like "ttft.p99=500ms", "tpot.mean=50ms"; statistics: mean, p50, p90, p95, p99. */
KVS_MUST_CHECK enum kvs_code kvs_slo_read(const struct kvs_strs *text, struct kvs_slo *slo,
                                          struct kvs_err *err);

/* The policy of a point that meets the SLO best, of those that do, or else that comes nearest. */
struct kvs_measure {
    bool ran, meets;
    char reason[200]; /* why it did not run */
    char policy[32], verdict[16], link[32];
    double worst_frac; /* the largest of value / bound over the terms; at most 1 if it meets */
    char worst[48];    /* that term */
    double value_s[KVS_MAX_TERM];
    double ttft_p99_s, goodput_per_s, throughput_per_s, input_tok, span_s;
    double hbm_hit_frac, tier_hit_frac[2], recomputed_frac;
    double gpu_busy_frac, gpu_prefill_frac, link_frac;
    double write_bytes[2]; /* of the first two tiers */
};

/* From a point's header and rows (point.h). */
KVS_MUST_CHECK enum kvs_code kvs_measure_read(const char *header, const char *rows,
                                              const struct kvs_slo *slo,
                                              struct kvs_measure *measure, struct kvs_err *err);

#endif
