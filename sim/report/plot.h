/*
 * plot.h - draws the figures of a results folder with gnuplot.
 *
 * A figure is one script plots/NAME.gp of kvsim's, run in the results' plots/ on NAME.csv there; it
 * leaves NAME.svg and NAME.png beside it. Same data, same bytes.
 */
#ifndef KVS_PLOT_H
#define KVS_PLOT_H

#include "base/err.h"

/*
 * Draws every figure whose data dir/plots holds; the titles come from dir/summary.json. Existing
 * drawings are replaced one by one, each whole. KVS_ERR_ABSENT if there is no gnuplot (nothing was
 * touched), KVS_ERR_ARG if dir is no results folder, KVS_ERR_IO with gnuplot's words if it fails.
 */
KVS_MUST_CHECK enum kvs_code kvs_plot(const char *dir, struct kvs_err *err);

/*
 * Draws one figure, plots/NAME.gp, in the folder that holds its data; title is plain text. Errors
 * as above.
 */
KVS_MUST_CHECK enum kvs_code kvs_plot_figure(const char *folder, const char *name,
                                             const char *title, struct kvs_err *err);

/* The figures' names, NULL-ended. */
extern const char *const kvs_figure_name[];

#endif
