/*
 * measure.h - what a level costs and does to given keys and values: bytes, errors, rates.
 */
#ifndef KVS_KVF_MEASURE_H
#define KVS_KVF_MEASURE_H

#include "codec.h"

/* Errors of decoded elements, K and V apart; the sinks, which are exact, are left out. */
struct kvs_kvf_error {
    double max_abs;
    double max_step; /* largest error over its step; NaN: the level has no steps */
    double rel_l2;   /* |x - y| / |x| */
    /* Mean over channels of variance / mean squared error, in dB: exact channels count as 120,
     * constant ones that are not exact are left out; NaN: none is left. The 5th percentile. */
    double snr_db, snr_db_p5;
    uint64_t n_odd; /* elements not finite, on one side at least, that are not the same bits; they
                       are left out of all the others */
    double weighted_rel_mse; /* sum of weight * squared error / sum of weight * variance */
};
struct kvs_kvf_measure {
    double bits_per_element, payload_bits, padding_bits; /* padding: to 4 KiB, within the first */
    double kv_bits[2]; /* K's sections, V's, an element of theirs, without padding */
    /* payload of e-levels over the order-0 entropy of each section's symbols, channels of one table
     * together; NaN: there is none */
    double coded_over_entropy;
    struct kvs_kvf_parts parts;
    struct kvs_kvf_error error[2];           /* K, V */
    double encode_gb_per_s, decode_gb_per_s; /* of 16-bit elements, one thread; medians */
};

/* Bytes alone: the file is enough. */
KVS_MUST_CHECK enum kvs_code kvs_kvf_sizes(const struct kvs_kvf *codec,
                                           const struct kvs_kvf_isa *isa,
                                           struct kvs_kvf_measure *measure, struct kvs_err *err);
/*
 * Bytes and errors; rates are left 0. x and weight as for encoding. part: [n_layer * 2], the errors
 * of each; NULL: not wanted.
 */
KVS_MUST_CHECK enum kvs_code kvs_kvf_compare(const struct kvs_kvf *codec,
                                             const struct kvs_kvf_in *in,
                                             const struct kvs_kvf_isa *isa,
                                             struct kvs_kvf_measure *measure,
                                             struct kvs_kvf_error *part, struct kvs_err *err);

/*
 * Rates of n inputs (one a level, say) beside memcpy's of as many bytes: `rounds` rounds, each all
 * inputs once and memcpy once, so that what else the machine does meets all; medians. Checksums are
 * verified, memory is touched before. measure: [n].
 */
KVS_MUST_CHECK enum kvs_code kvs_kvf_rates(const struct kvs_kvf_in *in, uint32_t n, unsigned rounds,
                                           const struct kvs_kvf_isa *isa,
                                           struct kvs_kvf_measure *measure, double *memcpy_gb_per_s,
                                           struct kvs_err *err);

#endif
