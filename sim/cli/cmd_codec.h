/*
 * cmd_codec.h - `kvsim codec`: what its subcommands share.
 */
#ifndef KVS_CMD_CODEC_H
#define KVS_CMD_CODEC_H

#include "kernels/codec/measure.h"

/* argv[0] is the subcommand's name. They print to stdout; errors come back for main to print. */
KVS_MUST_CHECK enum kvs_code kvs_codec_bench_cmd(int argc, char *const *argv, struct kvs_err *err);

/* A level's size and errors as members of a JSON object, without braces. */
void kvs_codec_print_measure(const char *level, const struct kvs_kvf_measure *measure);
/* The ISA of --isa, NULL: the fastest. */
KVS_MUST_CHECK enum kvs_code kvs_codec_pick_isa(const char *name, const struct kvs_kvf_isa **isa,
                                                struct kvs_err *err);

#endif
