/*
 * outdir.h - a folder of results that appears whole or not at all.
 *
 * Files are written into a hidden folder beside the target, synced, and renamed to it on commit. An
 * abort, a crash or a full disk leaves the old folder or none.
 */
#ifndef KVS_BASE_OUTDIR_H
#define KVS_BASE_OUTDIR_H

#include "err.h"

#include <stdbool.h>
#include <stdio.h>

struct kvs_outdir; /* from kvs_outdir_begin, ended by kvs_outdir_commit or kvs_outdir_abort */

/*
 * Begins the folder at path (its parents are made). If path exists: KVS_ERR_ARG unless overwrite,
 * and even then only if it is a folder that a commit made (it holds the marker file ".kvsim") or is
 * empty. Leftovers of killed runs for the same path are removed.
 */
KVS_MUST_CHECK enum kvs_code kvs_outdir_begin(const char *path, bool overwrite,
                                              struct kvs_outdir **out, struct kvs_err *err);
/* A file in it, opened for writing; name may hold one folder ("plots/ttft.csv"). NULL on error. End
 * it with kvs_outdir_close. */
FILE *kvs_outdir_file(struct kvs_outdir *out, const char *name, struct kvs_err *err);
/* Flushes, checks and closes: a full disk shows here. */
KVS_MUST_CHECK enum kvs_code kvs_outdir_close(struct kvs_outdir *out, FILE *file,
                                              struct kvs_err *err);
const char *kvs_outdir_tmp(const struct kvs_outdir *out); /* where it lies until commit */
KVS_MUST_CHECK enum kvs_code kvs_outdir_commit(struct kvs_outdir *out, struct kvs_err *err);
void kvs_outdir_abort(struct kvs_outdir *out); /* accepts NULL */

#endif
