/*
 * cmd_selftest.c - kvsim selftest: does a back end compute what the reference computes, here?
 */
#include "base/opt.h"
#include "cmd.h"
#include "kernels/opvec.h"

#include <stdio.h>

struct selftest {
    const char *backend;
    uint64_t seed;
};

#define FIELD(name) offsetof(struct selftest, name)
static const struct kvs_opt options[] = {
    {.key = "backend",
     .type = KVS_OPT_STR,
     .offset = FIELD(backend),
     .required = true,
     .help = "ref, cpu, simt or cuda"},
    {.key = "seed",
     .type = KVS_OPT_U64,
     .offset = FIELD(seed),
     .def = "0",
     .help = "order of ready work on ref and simt; schedule of simt"},
};
enum { N_OPTION = sizeof options / sizeof options[0] };

static enum kvs_code vectors(struct kvs_dev *dev, struct kvs_err *err)
{
    const struct kvs_dev_info *info = kvs_dev_info(dev);
    unsigned n_pass = 0, n_fail = 0, n_absent = 0;
    char name[160];

    for (unsigned i = 0; i < kvs_opvec_n(); i++) {
        struct kvs_err why = {0};
        enum kvs_code code = kvs_opvec_run(dev, i, &why);
        if (code == KVS_ERR_ABSENT)
            n_absent++;
        else if (code == KVS_OK)
            n_pass++;
        else
            n_fail++;
        if (code && code != KVS_ERR_ABSENT)
            fprintf(stdout, "# %s: %s\n", kvs_opvec_name(i, name), why.msg);
    }
    printf("{\"backend\": \"%s\", \"device\": \"%s\", \"vectors\": {\"passed\": %u, \"failed\": "
           "%u, \"not_offered\": %u}}\n",
           info->name, info->detail, n_pass, n_fail, n_absent);
    return n_fail ? kvs_fail(err, KVS_ERR_DEVICE, "%s: %u of %u operator vectors failed",
                             info->name, n_fail, n_pass + n_fail)
                  : KVS_OK;
}

static enum kvs_code run(int argc, char *const *argv, struct kvs_err *err)
{
    struct selftest test = {0};
    struct kvs_dev *dev;
    bool help = false;
    enum kvs_code code = kvs_opt_argv(options, N_OPTION, argc, argv, &test, NULL, &help, err);

    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, "usage: kvsim selftest --backend NAME",
                     "Runs every operator vector on a back end beside the reference. Exit status 3 "
                     "where the back end is absent.",
                     options, N_OPTION);
        return KVS_OK;
    }
    code = kvs_dev_open(test.backend, 0, test.seed, &dev, err);
    if (code)
        return code;
    code = vectors(dev, err);
    kvs_dev_close(dev);
    return code;
}

const struct kvs_cmd kvs_cmd_selftest = {
    .name = "selftest",
    .help = "does a back end compute what the reference computes, here?",
    .run = run,
};
