/*
 * import.h - points out of what people already have: fio, perftest, nixlbench, nvbandwidth.
 *
 * Pure: text in, points out, source "imported". One report is one repeat, so that such a point is
 * never steady and its interval is empty; what a report does not say stays unknown.
 */
#ifndef KVS_PROBES_IMPORT_H
#define KVS_PROBES_IMPORT_H

#include "point.h"

/* Tells the format by its text. name is for messages. KVS_ERR_PARSE: none of them, or nothing in
 * it. */
KVS_MUST_CHECK enum kvs_code kvs_import(const char *name, const char *text, size_t n_byte,
                                        struct kvs_points *points, struct kvs_err *err);

#endif
