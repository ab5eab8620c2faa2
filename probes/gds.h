/*
 * gds.h - reads from a file straight into device memory by cuFile (GPUDirect Storage), opened at
 * run time.
 *
 * Without cuFile, its kernel module or a device, opening says what is missing. cuFile may go
 * through host memory by itself (its compatibility mode): the figures are what an application would
 * get.
 */
#ifndef KVS_PROBES_GDS_H
#define KVS_PROBES_GDS_H

#include "copy.h"
#include "storage.h"

struct kvs_gds; /* from kvs_gds_open, ended by kvs_gds_close, before its copy and disk */

/* lib_dir as for kvs_copy_open. The first bytes read are checked against the file's. */
KVS_MUST_CHECK enum kvs_code kvs_gds_open(const char *lib_dir, struct kvs_copy *copy,
                                          const struct kvs_disk *disk, const volatile int *stop,
                                          struct kvs_gds **gds, struct kvs_err *err);
void kvs_gds_close(struct kvs_gds *gds); /* accepts NULL */

/* A kvs_run_fn: copy.gds, reads of size_bytes at random places, one at a time. */
enum kvs_code kvs_gds_run(void *gds, struct kvs_point *point, double secs,
                          struct kvs_sample *sample, struct kvs_err *err);

#endif
