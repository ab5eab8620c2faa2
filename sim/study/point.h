/*
 * point.h - one point of a study: its settings, its run, its rows in the table of results.
 *
 * A point is a run of its own: same rows wherever and whenever it is made. Rows are CSV without
 * line ends; a point has one a policy, or a single one with the reason why it failed.
 */
#ifndef KVS_POINT_H
#define KVS_POINT_H

#include "spec.h"
#include "traces.h"

#define KVS_POINT_SEPARATOR '\t' /* between a point's rows; no row holds one */

struct kvs_point_job {
    const struct kvs_spec *spec;
    struct kvs_traces *traces;
};

/* The document of a point, with its settings in it. */
KVS_MUST_CHECK enum kvs_code kvs_point_document(const struct kvs_spec *spec, uint64_t point,
                                                struct kvs_doc **doc, struct kvs_err *err);
/* Names of the columns, as a CSV row. The caller frees it; NULL: no memory. */
char *kvs_point_header(const struct kvs_spec *spec);
/* Runs a point; its rows. The caller frees them; NULL: no memory for even a reason. */
char *kvs_point_run(const struct kvs_point_job *job, uint64_t point);
/* The row of a point that could not be run. */
char *kvs_point_failed(const struct kvs_spec *spec, uint64_t point, const char *reason);
/* Whether a point's rows tell a failure. */
bool kvs_point_is_failed(const struct kvs_spec *spec, const char *rows);

#endif
