/*
 * Reading, making and writing traces while the nth allocation or call to the system fails.
 */
#include "test.h"

#include "fault.h"
#include "tmpdir.h"

#include "base/opt.h"
#include "workloads/gen.h"
#include "workloads/trace_filter.h"
#include "workloads/trace_stats.h"
#include "workloads/trace_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* All requests of a trace, which it closes, into statistics. */
static enum kvs_code drain(struct kvs_trace *trace, struct kvs_err *err)
{
    struct kvs_stats_options options = {.chained = kvs_trace_chained(trace)};
    struct kvs_stats *stats = kvs_stats_new(&options);
    struct kvs_stats_sums sums;
    const struct kvs_request *req = NULL;
    enum kvs_code code = stats ? KVS_OK : kvs_fail(err, KVS_ERR_NOMEM, "no memory");
    while (code == KVS_OK) {
        code = kvs_trace_next(trace, &req, err);
        if (code || !req)
            break;
        code = kvs_stats_add(stats, req, err);
    }
    if (code == KVS_OK)
        code = kvs_stats_end(stats, &sums, err);
    kvs_stats_free(stats);
    kvs_trace_close(trace);
    return code;
}

static enum kvs_code read_trace(void *file, struct kvs_err *err)
{
    struct kvs_trace_options options = {.skip_bad = true}; /* a fault is no bad line */
    struct kvs_trace *trace, *twice;
    struct kvs_trace_filter filter = {.rate = 2, .population = 2};
    enum kvs_code code = kvs_trace_open(file, &options, &trace, err);
    if (!trace || (code = kvs_trace_filtered(trace, &filter, &twice, err)))
        return code;
    return drain(twice, err);
}

static struct kvs_gen_options options; /* read before the faults */

static enum kvs_code generate(void *file, struct kvs_err *err)
{
    struct kvs_trace *trace;
    enum kvs_code code = kvs_gen_open(&options, 1, &trace, err);
    (void)file;
    return trace ? drain(trace, err) : code;
}

static enum kvs_code write_trace(void *file, struct kvs_err *err)
{
    struct kvs_trace *trace;
    enum kvs_code code = kvs_trace_open("tests/data/mooncake.jsonl", NULL, &trace, err);
    if (!trace)
        return code;
    code = kvs_trace_copy(trace, file, NULL, NULL, NULL, err);
    kvs_trace_close(trace);
    return code;
}

static const char *const samples[] = {
    "tests/data/kvsim.jsonl",    "tests/data/ragpulse",
    "tests/data/agentic.jsonl",  "tests/data/bailian.jsonl",
    "tests/data/mtrag.jsonl",    "tests/data/lmcache_agent.jsonl",
    "tests/data/gmi.jsonl",      "tests/data/lmcache_lookup.jsonl",
    "tests/data/mooncake.jsonl", "tests/data/azure.csv",
    "tests/data/burstgpt.csv",   "tests/data/vidur.csv",
};

static void reading_reports_every_fault(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        kvs_fault_every(KVS_FAULT_MEM, true, read_trace, (void *)(uintptr_t)samples[i]);
        kvs_fault_every(KVS_FAULT_IO, true, read_trace, (void *)(uintptr_t)samples[i]);
    }
}

static void generating_reports_every_fault(void **state)
{
    char *argv[] = {(char *)"generate", NULL};
    bool help;
    (void)state;
    assert_int_equal(
        kvs_opt_argv(kvs_gen_table, kvs_gen_n_opt, 1, argv, &options, NULL, &help, NULL), KVS_OK);
    options.n_request = 200;
    options.rate_per_s = 10;
    options.think_s = 1000; /* many sessions wait at once */
    kvs_fault_every(KVS_FAULT_MEM, true, generate, NULL);
}

static void writing_reports_every_fault_and_reading_back_too(void **state)
{
    static const char *const names[] = {"x.kvt", "x.jsonl", "x.oracleGeneral"};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        char file[128];
        snprintf(file, sizeof file, "%s/%s", tmpdir(), names[i]);
        kvs_fault_every(KVS_FAULT_MEM, true, write_trace, file);
        kvs_fault_every(KVS_FAULT_IO, true, write_trace, file);
        if (i < 2) {
            kvs_fault_every(KVS_FAULT_MEM, true, read_trace, file);
            kvs_fault_every(KVS_FAULT_IO, true, read_trace, file);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_reports_every_fault),
        cmocka_unit_test(generating_reports_every_fault),
        cmocka_unit_test(writing_reports_every_fault_and_reading_back_too),
    };
    return cmocka_run_group_tests_name("fault_trace", tests, tmpdir_make, tmpdir_drop);
}
