/*
 * fault_report.c - a run whose nth allocation or system call fails ends with that error, leaves no
 * folder and leaks nothing; the next run is as if nothing had happened.
 */
#include "fault.h"
#include "report/run.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char workload_text[] =
    "{\"model\": \"llama-3.1-8b\", \"hardware\": \"h100-2gpu\",\n"
    " \"trace\": {\"generate\": {\"requests\": 20, \"topics\": 2, \"fresh_tok\": 0}},\n"
    " \"tiers\": [{\"name\": \"dram\", \"capacity\": \"1GiB\"}],\n"
    " \"cluster\": {\"hbm_cache\": false}, \"compare\": [\"recompute\", \"best\"]}\n";

static char folder[] = "/tmp/kvsim-fault-XXXXXX";

static int enter_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder) || chdir(folder))
        return -1;
    FILE *to = fopen("w.json", "w");
    return to && fputs(workload_text, to) >= 0 && fclose(to) == 0 ? 0 : -1;
}

static int leave_folder(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return chdir("/") || system(command) ? -1 : 0; /* NOLINT(cert-env33-c) */
}

static enum kvs_code run_workload(struct kvs_err *err)
{
    const struct kvs_run_options options = {.dir = "out"};
    struct kvs_workload *w = NULL;
    struct kvs_run run = {0};
    enum kvs_code code = kvs_workload_open("w.json", NULL, &w, err);
    if (!code)
        code = kvs_run(w, &options, &run, err);
    kvs_run_free(&run);
    kvs_workload_free(w);
    return code;
}

/* Every call is too many to try: each of the first ones, then ever longer steps. */
static unsigned next_of(unsigned n)
{
    return n + 1 + n / 16;
}

static void fails_cleanly(enum kvs_fault kind, unsigned least)
{
    unsigned n_failed = 0;
    bool more = true;
    for (unsigned n = 1; more; n = next_of(n)) {
        struct kvs_err err = {0};
        kvs_fault_at(kind, n);
        enum kvs_code code = run_workload(&err);
        more = kvs_fault_end();
        if (code) {
            n_failed++;
            assert_true(*err.msg);
            assert_int_equal(err.code, code);
            if (access("out", F_OK) == 0)
                fail_msg("call %u failed (%s), but the folder is there", n, err.msg);
        } else {
            assert_int_equal(access("out/summary.json", F_OK), 0);
            assert_int_equal(system("rm -rf out"), 0); /* NOLINT(cert-env33-c) */
        }
    }
    assert_true(n_failed >= least);
    assert_int_equal(run_workload(NULL), KVS_OK);
    assert_int_equal(system("rm -rf out"), 0); /* NOLINT(cert-env33-c) */
}

static void nth_allocation_fails_cleanly(void **state)
{
    (void)state;
    fails_cleanly(KVS_FAULT_MEM, 20);
}

static void nth_system_call_fails_cleanly(void **state)
{
    (void)state;
    fails_cleanly(KVS_FAULT_IO, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nth_allocation_fails_cleanly),
        cmocka_unit_test(nth_system_call_fails_cleanly),
    };
    return cmocka_run_group_tests_name("fault_report", tests, enter_folder, leave_folder);
}
