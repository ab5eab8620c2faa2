/*
 * kvsim trace: inspects, makes and converts traces.
 */
#include "cmd_trace.h"
#include "cmd.h"

#include "workloads/trace.h"
#include "workloads/trace_write.h"

#include <stdio.h>
#include <string.h>

static enum kvs_code formats_cmd(int argc, char *const *argv, struct kvs_err *err)
{
    const char *const *name = kvs_trace_formats();
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        printf(
            "usage: kvsim trace formats\n\nLists the trace formats that are read and written.\n");
        return KVS_OK;
    }
    if (argc > 1)
        return kvs_fail(err, KVS_ERR_ARG, "%s: found \"%s\", want nothing", argv[0], argv[1]);
    printf("read:\n");
    for (; *name; name++)
        printf("  %-14s %s\n", *name, kvs_trace_format_help(*name));
    printf("written:\n");
    for (name = kvs_trace_out_formats(); *name; name++)
        printf("  %-14s %s\n", *name, kvs_trace_out_help(*name));
    return KVS_OK;
}

static const struct {
    const char *name, *help;
    enum kvs_code (*run)(int argc, char *const *argv, struct kvs_err *err);
} commands[] = {
    {"stats", "what a trace holds, and what caches would have hit", kvs_trace_stats_cmd},
    {"curve", "hit ratio of LRU caches of every size, in one pass", kvs_trace_curve_cmd},
    {"generate", "make RAG traffic from a seed", kvs_trace_generate_cmd},
    {"convert", "write a trace in another format", kvs_trace_convert_cmd},
    {"formats", "the trace formats that kvsim reads", formats_cmd},
};
enum { N_COMMAND = sizeof commands / sizeof commands[0] };

static void print_help(void)
{
    printf("usage: kvsim trace COMMAND ...\n\nInspects, makes and converts traces.\n\n");
    for (unsigned i = 0; i < N_COMMAND; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].help);
    printf("\n`kvsim trace COMMAND --help` has each one's options.\n");
}

static enum kvs_code trace_run(int argc, char *const *argv, struct kvs_err *err)
{
    const char *names[N_COMMAND];
    char known[200];
    if (argc < 2)
        return kvs_fail(err, KVS_ERR_ARG,
                        "want a command: stats, curve, generate, convert or formats");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return KVS_OK;
    }
    for (unsigned i = 0; i < N_COMMAND; i++) {
        names[i] = commands[i].name;
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1, err);
    }
    return kvs_fail(err, KVS_ERR_ARG, "%s: unknown command%s", argv[1],
                    kvs_known(known, sizeof known, argv[1], names, N_COMMAND));
}

const struct kvs_cmd kvs_cmd_trace = {
    .name = "trace",
    .help = "inspect, make and convert traces",
    .run = trace_run,
};
