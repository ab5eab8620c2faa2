/* kvprobe serve: the network peer, until Ctrl-C. */
#include "cmd.h"

#include "base/opt.h"
#include "network.h"

#include <stdio.h>
#include <unistd.h>

struct options {
    const char *bind;
    uint64_t port;
};

static const struct kvs_opt table[] = {
    {"bind", KVS_OPT_STR, offsetof(struct options, bind), "127.0.0.1", 0, 0,
     "address to listen on; 0.0.0.0: everyone may read the test data", NULL, false, 0},
    {"port", KVS_OPT_U64, offsetof(struct options, port), "18515", 0, 65535, "0: any", NULL, false,
     0},
};

enum kvs_code kvs_cmd_serve(int argc, char **argv, struct kvs_err *err)
{
    struct options opt = {0};
    struct kvs_server *server;
    bool help = false;
    enum kvs_code code = kvs_opt_argv(table, 2, argc, argv, &opt, NULL, &help, err);
    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, "kvprobe serve [OPTION]...",
                     "Serves a buffer of test data for `kvprobe network --peer`, until Ctrl-C.",
                     table, 2);
        return KVS_OK;
    }
    if ((code = kvs_server_start(opt.bind, (uint16_t)opt.port, &server, err)))
        return code;
    printf("serving on %s port %u\n", opt.bind, kvs_server_port(server));
    fflush(stdout);
    while (!kvs_probe_stop)
        usleep(100000);
    kvs_server_stop(server);
    return KVS_OK;
}
