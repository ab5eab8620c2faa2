/*
 * plot.h - a profile's points as data files and gnuplot scripts: bandwidth by size and depth,
 * latency percentiles, and the whole distribution.
 */
#ifndef KVS_PROBES_PLOT_H
#define KVS_PROBES_PLOT_H

#include "point.h"

/* Writes the files into dir, which must be there. n: how many plots. */
KVS_MUST_CHECK enum kvs_code kvs_plot_points(const struct kvs_points *points, const char *dir,
                                             unsigned *n, struct kvs_err *err);

#endif
