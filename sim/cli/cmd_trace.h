/*
 * cmd_trace.h - `kvsim trace`: what its subcommands share.
 */
#ifndef KVS_CMD_TRACE_H
#define KVS_CMD_TRACE_H

#include "base/opt.h"

/* argv[0] is the subcommand's name. They print to stdout; errors come back for main to print. */
KVS_MUST_CHECK enum kvs_code kvs_trace_stats_cmd(int argc, char *const *argv, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_trace_curve_cmd(int argc, char *const *argv, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_trace_generate_cmd(int argc, char *const *argv,
                                                    struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_trace_convert_cmd(int argc, char *const *argv,
                                                   struct kvs_err *err);

/* A bit 1 << enum kvs_part for each named part; 0 if none is named. */
KVS_MUST_CHECK enum kvs_code kvs_trace_parts(const struct kvs_strs *parts, uint32_t *mask,
                                             struct kvs_err *err);

#endif
