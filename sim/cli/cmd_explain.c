/*
 * kvsim explain request: why a request took as long as it did.
 */
#include "cmd.h"

#include "base/opt.h"
#include "base/units.h"
#include "study/explain.h"

#include <string.h>

#define USAGE "kvsim explain request DIR ID"
#define ABOUT                                                                                      \
    "Why request ID (from 0, in order of arrival) of a results folder took as long as it did,\n"   \
    "under each of its policies: what was held where, its plan, and what it waited for."

static enum kvs_code explain(int argc, char *const *argv, struct kvs_err *err)
{
    struct kvs_strs pos = {0};
    bool help = false;
    char nothing;
    uint64_t request;
    enum kvs_code code = kvs_opt_argv(NULL, 0, argc, argv, &nothing, &pos, &help, err);
    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, USAGE, ABOUT, NULL, 0);
        return KVS_OK;
    }
    if (pos.n != 3 || strcmp(pos.v[0], "request") != 0)
        return kvs_fail(err, KVS_ERR_ARG, "want a folder and a request: " USAGE);
    if (kvs_parse_u64(pos.v[2], &request, NULL))
        return kvs_fail(err, KVS_ERR_ARG, "found \"%.40s\", want a request's number", pos.v[2]);
    return kvs_explain_request(pos.v[1], request, stdout, err);
}

const struct kvs_cmd kvs_cmd_explain = {"explain", "why a request of a run took as long as it did",
                                        explain};
