/* The subcommands in the order of `kvsim --help`: X(NAME) for kvs_cmd_NAME of cmd_NAME.c. No
 * include guard: cmd.h and main.c read it with their own X. */
X(run)
X(sweep)
X(recommend)
X(compare)
X(explain)
X(plot)
X(report)
X(trace)
X(devices)
X(published)
X(plan)
X(selftest)
