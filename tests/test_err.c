#include "test.h"

#include "base/err.h"

#include <errno.h>
#include <string.h>

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
    assert_int_equal(kvs_exit_status(kvs_errno_code(ENOENT)), 2);
    assert_int_equal(kvs_exit_status(kvs_errno_code(EISDIR)), 2);
    assert_int_equal(kvs_exit_status(kvs_errno_code(EACCES)), 1);
}

#define N(list) (unsigned)(sizeof(list) / sizeof *(list))

static void nearest_name_is_found(void **state)
{
    const char *const names[] = {"replicas", "tp", "router", "seed", "lru", "lfu", "s3fifo"};
    (void)state;
    assert_string_equal(kvs_nearest("replcas", names, N(names)), "replicas");
    assert_string_equal(kvs_nearest("sed", names, N(names)), "seed");
    assert_string_equal(kvs_nearest("rotuer", names, N(names)), "router");
    assert_string_equal(kvs_nearest("LRU", names, N(names)), "lru");
    assert_string_equal(kvs_nearest("s3-fifo", names, N(names)), "s3fifo");
    assert_string_equal(kvs_nearest("lxu", names, N(names)), "lru"); /* a tie goes to the first */
}

static void far_names_are_not_offered(void **state)
{
    const char *const names[] = {"replicas", "tp"};
    char word[200];
    (void)state;
    assert_null(kvs_nearest("zzzzzz", names, N(names)));
    assert_null(kvs_nearest("", names, N(names)));
    assert_null(kvs_nearest("x", names, N(names)));
    assert_null(kvs_nearest("replicas", names, 0));
    /* distance 3 of 8 letters is near, 4 is not */
    assert_non_null(kvs_nearest("xxxlicas", names, N(names)));
    assert_null(kvs_nearest("xxxxicas", names, N(names)));
    memset(word, 'r', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    assert_null(kvs_nearest(word, names, N(names)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_failure_is_kept),
        cmocka_unit_test(wrong_input_exits_2),
        cmocka_unit_test(nearest_name_is_found),
        cmocka_unit_test(far_names_are_not_offered),
    };
    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
