/*
 * cmd_selftest.c - kvsim selftest: does a back end compute what the reference computes, here, and
 * how fast? One JSON object: the evidence to keep.
 */
#include "base/opt.h"
#include "cmd.h"
#include "kernels/selftest/selftest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct selftest {
    const char *backend, *out;
    uint64_t seed;
    double most_s;
};

#define FIELD(name) offsetof(struct selftest, name)
static const struct kvs_opt options[] = {
    {.key = "backend",
     .type = KVS_OPT_STR,
     .offset = FIELD(backend),
     .required = true,
     .help = "ref, cpu, simt or cuda"},
    {.key = "out",
     .type = KVS_OPT_STR,
     .offset = FIELD(out),
     .letter = 'o',
     .help = "file for the report; standard output if not given"},
    {.key = "seed",
     .type = KVS_OPT_U64,
     .offset = FIELD(seed),
     .def = "0",
     .help = "order of ready work on ref and simt; schedule of simt"},
    {.key = "time",
     .type = KVS_OPT_TIME,
     .offset = FIELD(most_s),
     .def = "60s",
     .min = 0.001,
     .max = 240,
     .help = "what timings may take: on a slow back end their sizes end early"},
};
enum { N_OPTION = sizeof options / sizeof options[0] };

static enum kvs_code write_report(const json_t *report, const char *path, struct kvs_err *err)
{
    size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(6);
    char *text = json_dumps(report, flags);
    enum kvs_code code = text ? KVS_OK : kvs_nomem(err);
    FILE *file = stdout;

    if (!code && path && !(file = fopen(path, "wb")))
        code = kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno));
    if (!code && (fprintf(file, "%s\n", text) < 0 || fflush(file)))
        code =
            kvs_fail(err, KVS_ERR_IO, "%s: %s", path ? path : "standard output", strerror(errno));
    if (path && file && file != stdout && fclose(file) && !code)
        code = kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno));
    free(text);
    return code;
}

static enum kvs_code run(int argc, char *const *argv, struct kvs_err *err)
{
    struct selftest test = {0};
    struct kvs_dev *dev = NULL;
    json_t *report = NULL;
    unsigned n_failed = 0;
    bool help = false;
    enum kvs_code code = kvs_opt_argv(options, N_OPTION, argc, argv, &test, NULL, &help, err);

    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, "kvsim selftest --backend NAME",
                     "Runs a back end's instructions beside the shim, its operators beside the "
                     "reference, pipelines\nand timings; writes one JSON report. Exit status 3 "
                     "where the back end is absent, 1 where\nsomething failed.",
                     options, N_OPTION);
        return KVS_OK;
    }
    if ((code = kvs_dev_open(test.backend, 0, test.seed, &dev, err)))
        return code;
    code = kvs_selftest_run(dev, test.most_s, &report, &n_failed, err);
    if (!code)
        code = write_report(report, test.out, err);
    if (!code && n_failed)
        code = kvs_fail(err, KVS_ERR_DEVICE, "%s: %u checks failed, see the report", test.backend,
                        n_failed);
    json_decref(report);
    kvs_dev_close(dev);
    return code;
}

const struct kvs_cmd kvs_cmd_selftest = {
    .name = "selftest",
    .help = "does a back end compute what the reference computes, here?",
    .run = run,
};
