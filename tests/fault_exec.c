/*
 * fault_exec.c - an allocation that fails while an executor is made and a plan runs: an error and
 * no leak, or the right logits, by the plan or by full prefill.
 */
#include "exec_lab.h"
#include "fault.h"
#include "kernels/exec/inside.h"
#include "test.h"
#include "tmpdir.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static enum kvs_code make_and_run(struct exec_lab *lab)
{
    struct kvs_exec_opt opt = {0};
    struct kvs_err err = {0};
    enum kvs_code code = kvs_exec_new(lab->dev, lab->forward, &opt, &lab->exec, &err);

    if (!code)
        code = kvs_exec_run(lab->exec, lab->store, &lab->plan, lab->logits, &lab->result, &err);
    assert_int_equal(code, err.code);
    kvs_exec_free(lab->exec);
    lab->exec = NULL;
    return code;
}

static void try_all(const char *backend)
{
    struct kvs_exec_opt opt = {0};
    struct exec_lab lab;
    char dir[400];
    unsigned n = 1, n_error = 0, n_fell = 0;
    static unsigned at;

    snprintf(dir, sizeof dir, "%s/%u", tmpdir(), at++);
    exec_lab_open(&lab, backend, 1, NULL, dir, &opt);
    kvs_exec_free(lab.exec);
    for (uint32_t l = 0; l < lab.n_layer; l++)
        lab.cut[l] = l == 0 ? LAB_N_BLOCK : 2;
    lab.form[2] = LAB_HIDDEN;
    for (bool came = true; came; n++) {
        kvs_fault_at(KVS_FAULT_MEM, n);
        enum kvs_code code = make_and_run(&lab);
        came = kvs_fault_end();
        if (code && code != KVS_ERR_NOMEM)
            fail_msg("%s: call %u fails, code %d", backend, n, (int)code);
        if (!code && !(exec_lab_apart(&lab) <= .02))
            fail_msg("%s: call %u fails, logits are %g apart", backend, n, exec_lab_apart(&lab));
        n_error += code != KVS_OK;
        n_fell += !code && lab.result.fell_back;
        if (!came)
            assert_true(!code && !lab.result.fell_back);
    }
    print_message("# %s: %u calls, %u errors, %u runs that fell back\n", backend, n - 1, n_error,
                  n_fell);
    lab.exec = NULL;
    exec_lab_close(&lab);
}

static void a_failed_allocation_is_an_error_or_means_recompute(void **state)
{
    (void)state;
    try_all("ref");
    try_all("cpu");
}

/* Without a descriptor to spare there is no io_uring, and threads read; one of them hangs. Its
 * memory is let go of, so that what it reads at last harms nobody. */
static void a_thread_that_hangs_means_recompute(void **state)
{
    struct kvs_exec_opt opt = {.reader = {.timeout_ns = 60000000}};
    struct rlimit limit, none;
    struct exec_lab lab;
    char dir[400];
    (void)state;

    snprintf(dir, sizeof dir, "%s/hang", tmpdir());
    exec_lab_open(&lab, "cpu", 1, NULL, dir, &opt);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    exec_lab_run(&lab);
    assert_int_equal(strncmp(lab.result.how, "threads", 7), 0);
    assert_false(lab.result.fell_back);
    struct kvs_buf *window = lab.exec->pinned;
    kvs_fault_at(KVS_FAULT_HANG, 3);
    exec_lab_run(&lab);
    assert_true(lab.result.fell_back);
    assert_non_null(strstr(lab.result.why, "no answer"));
    assert_true(exec_lab_apart(&lab) <= 1e-4);
    assert_null(lab.exec->pinned);
    /* the next run has memory of its own */
    exec_lab_run(&lab);
    assert_false(lab.result.fell_back);
    assert_ptr_not_equal(lab.exec->pinned, window);
    assert_true(kvs_fault_end());
    usleep(50000);
    exec_lab_run(&lab);
    assert_false(lab.result.fell_back);
    assert_true(exec_lab_apart(&lab) <= 1e-4);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    kvs_buf_free(window);
    exec_lab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_allocation_is_an_error_or_means_recompute),
        cmocka_unit_test(a_thread_that_hangs_means_recompute),
    };
    return cmocka_run_group_tests_name("fault executor", tests, tmpdir_make, tmpdir_drop);
}
