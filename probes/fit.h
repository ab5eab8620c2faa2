/*
 * fit.h - from measured points to the few figures of a link: latency, rate, cost of a descriptor.
 *
 * The model is that of sim/model/hardware.h. A descriptor of b bytes that goes alone takes
 * latency_s + b / rate; with depth of them in flight no more than depth complete in that time, and
 * however many there are, each costs descriptor_s + b / rate:
 *
 *     steady stream, seconds an operation:  max(descriptor_s + b / rate, (latency_s + b / rate) /
 * depth) one load of n descriptors, seconds:   max(latency_s + n * (descriptor_s + b / rate), n *
 * (latency_s + b / rate) / depth)
 *
 * Fitted by least squares of the logarithms, so that 10 % counts alike at 4 KiB and at 16 MiB; what
 * lies further off than 20 % counts linearly (Huber 1964). Nothing here measures.
 */
#ifndef KVS_PROBES_FIT_H
#define KVS_PROBES_FIT_H

#include "base/err.h"
#include "stat.h"

struct kvs_obs {
    double bytes;             /* of one descriptor, > 0 */
    double depth;             /* descriptors in flight, at least 1 */
    double n_descriptor;      /* of one load; 0: a steady stream */
    unsigned n;               /* repeats, at least 1 */
    double s[KVS_MAX_REPEAT]; /* seconds an operation, or of a load; > 0 */
};

/* One fitted figure. With known false the points do not tell it, and why says what is missing. */
struct kvs_param {
    bool known;
    double value, ci95[2];
    const char *why; /* a constant; "" if known */
};

struct kvs_link_fit {
    struct kvs_param latency_s, descriptor_s, bytes_per_s;
    double residual_frac; /* median of |predicted / measured - 1| over the points */
    double worst_frac;    /* the largest */
    double bytes_min, bytes_max, depth_min, depth_max; /* the range the points span */
    unsigned n_obs;
};

/*
 * Fits the three figures to n points. With one depth only, descriptor_s stays unknown; with sizes
 * that differ by less than 4x, the rate and descriptor_s (all is latency then). The intervals are
 * of a seeded bootstrap over the repeats. KVS_ERR_RANGE: no point, or a value that is not positive.
 */
KVS_MUST_CHECK enum kvs_code kvs_fit_link(const struct kvs_obs *obs, unsigned n, uint64_t seed,
                                          struct kvs_link_fit *fit, struct kvs_err *err);
/* What the model says of a point; n_descriptor 0: a steady stream. */
double kvs_link_fit_s(double latency_s, double descriptor_s, double bytes_per_s, double bytes,
                      double depth, double n_descriptor);
/* The depth from which on more does not help, for descriptors of bytes: the knee. 0 if unknown. */
double kvs_link_fit_knee(const struct kvs_link_fit *fit, double bytes);
/* Half the interval over the value, or the residual if that is larger: the error bar of a figure.
 */
double kvs_param_error(const struct kvs_param *param, double residual_frac);

#endif
