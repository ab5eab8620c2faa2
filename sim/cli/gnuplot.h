/*
 * gnuplot.h - runs gnuplot for commands with a figure of their own.
 */
#ifndef KVS_GNUPLOT_H
#define KVS_GNUPLOT_H

#include "base/err.h"

/* Runs gnuplot on a script of ours with dir set to the folder where it finds and leaves its files.
 * KVS_ERR_ABSENT if there is none. */
KVS_MUST_CHECK enum kvs_code kvs_gnuplot(const char *script, const char *dir, struct kvs_err *err);

#endif
