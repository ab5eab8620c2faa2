/*
 * kvsim compare: results folders side by side.
 */
#include "cmd.h"

#include "base/opt.h"
#include "study/compare.h"

#define USAGE "kvsim compare DIR DIR..."
#define ABOUT                                                                                      \
    "Results folders of kvsim run side by side: which settings differ, and by how much each\n"     \
    "policy's figures change against the first folder's."

static enum kvs_code compare(int argc, char *const *argv, struct kvs_err *err)
{
    struct kvs_strs pos = {0};
    bool help = false;
    char nothing;
    enum kvs_code code = kvs_opt_argv(NULL, 0, argc, argv, &nothing, &pos, &help, err);
    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, USAGE, ABOUT, NULL, 0);
        return KVS_OK;
    }
    if (pos.n < 2)
        return kvs_fail(err, KVS_ERR_ARG, "found %u folders, want two or more: " USAGE, pos.n);
    return kvs_compare(&pos, stdout, err);
}

const struct kvs_cmd kvs_cmd_compare = {"compare", "results folders side by side", compare};
