/*
 * cmd.h - a subcommand of kvsim: one file cmd_NAME.c that defines kvs_cmd_NAME, one line of
 * cmd_list.h.
 */
#ifndef KVS_CMD_H
#define KVS_CMD_H

#include "base/err.h"

struct kvs_cmd {
    const char *name, *help; /* help: one line for `kvsim --help` */
    /*
     * argv[0] is the subcommand's name; for kvs_opt_argv, whose help flag it answers by printing
     * kvs_opt_help to stdout and returning KVS_OK. Results go to stdout, which main flushes and
     * checks; errors to err, which main prints as "kvsim NAME: MSG".
     */
    enum kvs_code (*run)(int argc, char *const *argv, struct kvs_err *err);
};

/* Exactly kvs_cmd_NAME for each line X(NAME) of cmd_list.h. */
#define X(name) extern const struct kvs_cmd kvs_cmd_##name;
#include "cmd_list.h"
#undef X

#endif
