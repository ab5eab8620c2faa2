/*
 * outfile.h - a file that takes its name when it is complete.
 *
 * It is written as .NAME.kvsim-PID-I beside its place, synced and renamed, so that at any moment
 * the old file or the new one stands there. The hidden file is locked while its writer lives; the
 * next writer of the same name removes those that a killed one left. (A folder: outdir.h.)
 */
#ifndef KVS_OUTFILE_H
#define KVS_OUTFILE_H

#include "err.h"

#include <stdio.h>

struct kvs_outfile; /* from kvs_outfile_begin, ended by kvs_outfile_commit or kvs_outfile_abort */

/* A link is followed; what is no regular file is refused (KVS_ERR_ARG). */
KVS_MUST_CHECK enum kvs_code kvs_outfile_begin(const char *path, struct kvs_outfile **out,
                                               struct kvs_err *err);
/* To write to and to seek in; not to be closed. */
FILE *kvs_outfile_stream(const struct kvs_outfile *out);
/* Puts the file in place, whole, on disk. An error (a full disk, say) leaves what was there. */
KVS_MUST_CHECK enum kvs_code kvs_outfile_commit(struct kvs_outfile *out, struct kvs_err *err);
void kvs_outfile_abort(struct kvs_outfile *out); /* out may be NULL */

#endif
