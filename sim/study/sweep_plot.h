/*
 * sweep_plot.h - the figures of a sweep's results.csv: what each axis does, a heat map of the two
 * longest, goodput against the rate.
 *
 * An axis is drawn with the others at their middle value. Data for gnuplot go to dir/plots.
 */
#ifndef KVS_SWEEP_PLOT_H
#define KVS_SWEEP_PLOT_H

#include "base/err.h"

#include <stdbool.h>

/* Whether dir holds a sweep's results. */
bool kvs_sweep_plot_has(const char *dir);
/* KVS_ERR_ABSENT if there is no gnuplot: the data are there then. */
KVS_MUST_CHECK enum kvs_code kvs_sweep_plot(const char *dir, struct kvs_err *err);

#endif
