/*
 * cmd.h - kvprobe's subcommands. Each takes its own argv (argv[0] is its name), prints its result
 * on standard output, and fails with a sentence that main prints.
 */
#ifndef KVS_PROBES_CMD_H
#define KVS_PROBES_CMD_H

#include "base/err.h"

/* Set by Ctrl-C and SIGTERM: measuring and serving end in good order. */
extern volatile int kvs_probe_stop;

enum kvs_code kvs_cmd_measure(int argc, char **argv, struct kvs_err *err);
enum kvs_code kvs_cmd_serve(int argc, char **argv, struct kvs_err *err);
enum kvs_code kvs_cmd_show(int argc, char **argv, struct kvs_err *err);
enum kvs_code kvs_cmd_compare(int argc, char **argv, struct kvs_err *err);
enum kvs_code kvs_cmd_merge(int argc, char **argv, struct kvs_err *err);
enum kvs_code kvs_cmd_import(int argc, char **argv, struct kvs_err *err);

#endif
