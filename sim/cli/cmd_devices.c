/*
 * cmd_devices.c - kvsim devices: what a plan can run on here, and why the rest is absent.
 */
#include "base/opt.h"
#include "cmd.h"
#include "kernels/device.h"

#include <stdio.h>

static void print_backend(const char *name)
{
    struct kvs_err why = {0};
    struct kvs_dev *dev;

    if (kvs_dev_open(name, 0, 0, &dev, &why)) {
        printf("%-6s absent   %s\n", name, why.msg);
        return;
    }
    const struct kvs_dev_info *info = kvs_dev_info(dev);
    printf("%-6s present  %s%s%s\n", name, info->help, info->detail[0] ? ": " : "", info->detail);
    printf("%-6s          can: %s\n", "", info->can);
    kvs_dev_close(dev);
}

static enum kvs_code run(int argc, char *const *argv, struct kvs_err *err)
{
    bool help = false;
    char none;
    enum kvs_code code = kvs_opt_argv(NULL, 0, argc, argv, &none, NULL, &help, err);

    if (code)
        return code;
    if (help)
        kvs_opt_help(
            stdout, "kvsim devices",
            "Lists the back ends that can run a plan, with what was found on this machine, "
            "and for the absent ones why.",
            NULL, 0);
    else
        for (int i = 0; kvs_backends[i]; i++)
            print_backend(kvs_backends[i]);
    return KVS_OK;
}

const struct kvs_cmd kvs_cmd_devices = {
    .name = "devices",
    .help = "what a plan can run on here",
    .run = run,
};
