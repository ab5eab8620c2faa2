/*
 * kvsim's main: finds the subcommand, prints its error, picks the exit status. Nothing else in
 * kvsim prints an error or exits.
 */
#include "cmd.h"
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define CMD_MAX 64

#define X(name) &kvs_cmd_##name,
static const struct kvs_cmd *const cmds[CMD_MAX] = {
#include "cmd_list.h"
    NULL};
#undef X

static void print_help(FILE *to)
{
    fputs("usage: kvsim COMMAND [ARGUMENTS]\n\n"
          "When a prompt repeats text whose KV cache is stored somewhere: should each layer be "
          "loaded "
          "or\ncomputed again?\n\ncommands:\n",
          to);
    for (const struct kvs_cmd *const *cmd = cmds; *cmd; cmd++)
        fprintf(to, "  %-12s %s\n", (*cmd)->name, (*cmd)->help);
    fputs("\nkvsim COMMAND --help tells a command's options. Also: kvsim --help, kvsim --version.\n"
          "Exit status: 0 done, 1 failed, 2 wrong input, 3 something optional is not there,\n"
          "128 and the signal's number: interrupted.\n",
          to);
}

static const struct kvs_cmd *find(const char *name, struct kvs_err *err)
{
    const char *names[CMD_MAX];
    char known[400];
    unsigned n = 0;
    for (; cmds[n]; n++) {
        names[n] = cmds[n]->name;
        if (strcmp(names[n], name) == 0)
            return cmds[n];
    }
    if (name[0] == '-')
        kvs_fail(err, KVS_ERR_ARG, "%s: unknown option; see kvsim --help", name);
    else
        kvs_fail(err, KVS_ERR_ARG, "%s: unknown command%s", name,
                 kvs_known(known, sizeof known, name, names, n));
    return NULL;
}

static enum kvs_code run(int argc, char *const *argv, const struct kvs_cmd **cmd,
                         struct kvs_err *err)
{
    if (argc < 2) {
        print_help(stderr);
        return kvs_fail(err, KVS_ERR_ARG, "no command given");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return KVS_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("kvsim " KVS_VERSION);
        return KVS_OK;
    }
    *cmd = find(argv[1], err);
    return *cmd ? (*cmd)->run(argc - 1, argv + 1, err) : KVS_ERR_ARG;
}

/* What was printed must have arrived: a closed pipe or a full disk shows only here. */
static enum kvs_code close_stdout(struct kvs_err *err)
{
    int earlier = ferror(stdout);
    errno = 0;
    if (fclose(stdout) == 0 && !earlier)
        return KVS_OK;
    return kvs_fail(err, KVS_ERR_IO, "standard output: %s",
                    errno ? strerror(errno) : "a write failed");
}

int main(int argc, char **argv)
{
    struct kvs_err err = {0};
    const struct kvs_cmd *cmd = NULL;
    (void)signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write, */
    (void)signal(SIGXFSZ, SIG_IGN); /* and so is a file at its limit */
    enum kvs_code code = run(argc, argv, &cmd, &err), closed = close_stdout(&err);
    if (code == KVS_OK)
        code = closed;
    if (code == KVS_OK)
        return 0;
    fprintf(stderr, "kvsim%s%s: %s\n", cmd ? " " : "", cmd ? cmd->name : "", err.msg);
    return kvs_interrupted() ? 128 + kvs_signal() : kvs_exit_status(code);
}
