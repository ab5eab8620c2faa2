#include "selftest.h"

#include "kernels/opvec.h"
#include "parts.h"

#include <stdio.h>
#include <time.h>

void kvs_checks_add(struct kvs_checks *checks, enum kvs_code code, const char *name,
                    const struct kvs_err *err)
{
    char line[700];

    if (code == KVS_OK)
        checks->passed++;
    else if (code == KVS_ERR_ABSENT)
        checks->not_offered++;
    else {
        checks->failed++;
        snprintf(line, sizeof line, "%s: %s", name, err->msg);
        (void)json_array_append_new(checks->failures, json_string(line)); /* it is counted */
    }
}

void kvs_selftest_vectors(struct kvs_dev *dev, struct kvs_checks *checks)
{
    char name[160];

    for (unsigned i = 0; i < kvs_opvec_n(); i++) {
        struct kvs_err why = {0};
        enum kvs_code code = kvs_opvec_run(dev, i, &why);
        kvs_checks_add(checks, code, kvs_opvec_name(i, name), &why);
    }
}

static double now_s(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static enum kvs_code run_part(struct kvs_dev *dev, json_t *report, const char *name,
                              void (*part)(struct kvs_dev *dev, struct kvs_checks *checks),
                              unsigned *n_failed, struct kvs_err *err)
{
    struct kvs_checks checks = {.failures = json_array()};
    double from_s = now_s();

    if (!checks.failures)
        return kvs_nomem(err);
    part(dev, &checks);
    *n_failed += checks.failed;
    json_t *node = json_pack("{s:i, s:i, s:i, s:o, s:f}", "passed", (int)checks.passed, "failed",
                             (int)checks.failed, "not_offered", (int)checks.not_offered, "failures",
                             checks.failures, "seconds", now_s() - from_s);
    return node && json_object_set_new(report, name, node) == 0 ? KVS_OK : kvs_nomem(err);
}

enum kvs_code kvs_selftest_run(struct kvs_dev *dev, double most_s, json_t **out, unsigned *n_failed,
                               struct kvs_err *err)
{
    static const struct {
        const char *name;
        void (*run)(struct kvs_dev *dev, struct kvs_checks *checks);
    } parts[] = {{"intrinsics", kvs_selftest_intrinsics},
                 {"vectors", kvs_selftest_vectors},
                 {"pipelines", kvs_selftest_pipelines}};
    const struct kvs_dev_info *info = kvs_dev_info(dev);
    double from_s = now_s();
    json_t *timings = NULL;
    enum kvs_code code = KVS_OK;

    *n_failed = 0;
    *out = json_pack("{s:s, s:s, s:s, s:s}", "kvsim", KVS_VERSION, "backend", info->name, "device",
                     info->detail, "source", "measured");
    if (!*out)
        return kvs_nomem(err);
    for (size_t i = 0; i < sizeof parts / sizeof *parts && !code; i++)
        code = run_part(dev, *out, parts[i].name, parts[i].run, n_failed, err);
    if (!code)
        code = kvs_selftest_timings(dev, most_s / 100, &timings, err);
    if (timings && json_object_set_new(*out, "timings", timings) && !code)
        code = kvs_nomem(err);
    if (!code && json_object_set_new(*out, "seconds", json_real(now_s() - from_s)))
        code = kvs_nomem(err);
    if (code) {
        json_decref(*out);
        *out = NULL;
    }
    return code;
}
