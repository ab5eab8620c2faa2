/* kvprobe: measures this machine and writes a hardware profile for kvsim. */
#include "cmd.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

volatile int kvs_probe_stop;

static void on_stop(int signal)
{
    (void)signal;
    kvs_probe_stop = 1;
}

static const struct {
    const char *name;
    enum kvs_code (*fn)(int argc, char **argv, struct kvs_err *err);
} commands[] = {
    {"serve", kvs_cmd_serve}, {"show", kvs_cmd_show},     {"compare", kvs_cmd_compare},
    {"merge", kvs_cmd_merge}, {"import", kvs_cmd_import},
};

int main(int argc, char **argv)
{
    struct kvs_err err = {KVS_OK, ""};
    struct sigaction stop = {.sa_handler = on_stop,
                             .sa_flags = (int)SA_RESETHAND}; /* twice: at once */
    enum kvs_code (*fn)(int, char **, struct kvs_err *) = kvs_cmd_measure;
    int skip = 0;
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is an error of write */
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("kvprobe " KVS_VERSION "\n");
        return 0;
    }
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0) {
            fn = commands[i].fn;
            skip = 1;
        }
    if (fn(argc - skip, argv + skip, &err) == KVS_OK)
        return 0;
    fprintf(stderr, "kvprobe%s%s: %s\n", skip ? " " : "", skip ? argv[1] : "", err.msg);
    return kvs_exit_status(err.code);
}
