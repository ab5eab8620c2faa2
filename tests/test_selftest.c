/*
 * The self-test passes on every back end present, and fails where something is wrong: an
 * instruction, a wait, an operator.
 */
#include "test.h"

#include "kernels/backend.h"
#include "kernels/selftest/parts.h"
#include "kernels/selftest/selftest.h"

#include <string.h>

static json_t *report_of(struct kvs_dev *dev, unsigned *n_failed)
{
    struct kvs_err err = {0};
    json_t *report;
    if (kvs_selftest_run(dev, .01, &report, n_failed, &err))
        fail_msg("%s", err.msg);
    return report;
}

static int count(const json_t *report, const char *part, const char *what)
{
    return (int)json_integer_value(json_object_get(json_object_get(report, part), what));
}

static void every_back_end_present_passes(void **state)
{
    static const struct {
        const char *name;
        int intrinsics, vectors, pipelines;
    } cases[] = {{"ref", 0, 77, 6}, {"cpu", 0, 77, 6}, {"simt", 15, 62, 6}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvs_dev *dev;
        unsigned n_failed;
        assert_int_equal(kvs_dev_open(cases[i].name, 0, 3, &dev, NULL), KVS_OK);
        json_t *report = report_of(dev, &n_failed);
        assert_int_equal(n_failed, 0);
        assert_int_equal(count(report, "intrinsics", "passed"), cases[i].intrinsics);
        assert_true(count(report, "vectors", "passed") >= cases[i].vectors);
        assert_int_equal(count(report, "pipelines", "passed"), cases[i].pipelines);
        assert_true(json_array_size(json_object_get(report, "timings")) >= 8);
        json_decref(report);
        kvs_dev_close(dev);
    }
}

/* a back end with one thing wrong */
static struct kvs_backend wrong;
static int wrong_kind; /* of an instruction */
static enum kvs_item_kind lost;

static enum kvs_code wrong_intrinsic(struct kvs_dev *dev, const struct kvs_intrinsic *op,
                                     struct kvs_err *err)
{
    enum kvs_code code = kvs_backend_simt.intrinsic(dev, op, err);
    uint32_t *out = kvs_ptr(op->out);
    if ((int)op->kind == wrong_kind)
        out[9] = out[9] ? 0 : 0x40000000;
    return code;
}

static enum kvs_code losing_submit(struct kvs_dev *dev, void *stream, const struct kvs_item *item,
                                   struct kvs_err *err)
{
    /* small copies bring indices: without them anything might be written */
    bool lose = item->kind == lost && (lost != KVS_ITEM_COPY || item->u.copy.n_byte >= 65536);
    return lose ? KVS_OK : kvs_backend_ref.submit(dev, stream, item, err);
}

static void every_wrong_instruction_is_found(void **state)
{
    struct kvs_dev *dev;
    unsigned n_failed;
    (void)state;
    wrong = kvs_backend_simt;
    wrong.intrinsic = wrong_intrinsic;
    for (wrong_kind = 0; wrong_kind < KVS_I_N; wrong_kind++) {
        assert_int_equal(kvs_dev_open_backend(&wrong, 0, 0, &dev, NULL), KVS_OK);
        struct kvs_checks checks = {.failures = json_array()};
        kvs_selftest_intrinsics(dev, &checks);
        n_failed = checks.failed;
        if (n_failed != 1)
            fail_msg("instruction %d: %u failures", wrong_kind, n_failed);
        json_decref(checks.failures);
        kvs_dev_close(dev);
    }
}

/* A device that loses an operator, a copy, a wait or a call fails in the pipelines. */
static void lost_work_is_found(void **state)
{
    static const enum kvs_item_kind kinds[] = {KVS_ITEM_COPY, KVS_ITEM_WAIT, KVS_ITEM_CALL,
                                               KVS_ITEM_attn, KVS_ITEM_rows, KVS_ITEM_gemm};
    (void)state;
    wrong = kvs_backend_ref;
    wrong.submit = losing_submit;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct kvs_dev *dev;
        lost = kinds[i];
        assert_int_equal(kvs_dev_open_backend(&wrong, 0, 0, &dev, NULL), KVS_OK);
        struct kvs_checks checks = {.failures = json_array()};
        kvs_selftest_pipelines(dev, &checks);
        if (checks.failed == 0)
            fail_msg("item %d is lost, and nothing fails", (int)kinds[i]);
        json_decref(checks.failures);
        kvs_dev_close(dev);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_back_end_present_passes),
        cmocka_unit_test(every_wrong_instruction_is_found),
        cmocka_unit_test(lost_work_is_found),
    };
    return cmocka_run_group_tests_name("selftest", tests, NULL, NULL);
}
