#include "test.h"

#include "base/err.h"

static void first_failure_is_kept(void **state)
{
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(kvs_fail(&err, KVS_ERR_PARSE, "a.json:%d: bad", 3), KVS_ERR_PARSE);
    assert_int_equal(kvs_fail(&err, KVS_ERR_IO, "later"), KVS_ERR_IO);
    assert_int_equal(err.code, KVS_ERR_PARSE);
    assert_string_equal(err.msg, "a.json:3: bad");
}

static void wrong_input_exits_2(void **state)
{
    (void)state;
    assert_int_equal(kvs_exit_status(KVS_OK), 0);
    assert_int_equal(kvs_exit_status(KVS_ERR_ARG), 2);
    assert_int_equal(kvs_exit_status(KVS_ERR_PARSE), 2);
    assert_int_equal(kvs_exit_status(KVS_ERR_RANGE), 2);
    assert_int_equal(kvs_exit_status(KVS_ERR_ABSENT), 3);
    assert_int_equal(kvs_exit_status(KVS_ERR_IO), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_failure_is_kept),
        cmocka_unit_test(wrong_input_exits_2),
    };
    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
