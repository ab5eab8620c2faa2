/* test_plan_codec.c - kvsim plan with codec files whose levels can't be used, or contradict. */
#include "test.h"

#include "cli_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROMPT "plan -m llama-3.1-8b -H h100-2gpu -c 8Ki -b 0.02 --codec "

/* gpu-published with `key` of the level, or of all (NULL), set; path: to be unlinked. */
static void with(const char *level, const char *key, json_t *value, char path[40])
{
    json_t *codec = json_load_file("configs/codec/gpu-published.json", 0, NULL), *one;
    size_t i;

    snprintf(path, 40, "/tmp/kvsim-codec-XXXXXX");
    int fd = mkstemp(path);
    json_array_foreach(json_object_get(codec, "levels"), i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (!level || strcmp(name, level) == 0)
            json_object_set(one, key, value);
    }
    assert_int_equal(json_dumpfd(codec, fd, 0), 0);
    assert_int_equal(close(fd), 0);
    json_decref(value);
    json_decref(codec);
}

static void a_level_that_no_table_knows_is_left_out_aloud(void **state)
{
    char path[40], args[200];

    (void)state;
    with("e4", "name", json_string("e7"), path);
    snprintf(args, sizeof args, PROMPT "%s --json", path);
    json_t *got = kvs_cli_json(args);
    kvs_cli_expect(json_object_get(got, "menu"),
                   "{\"unusable\": [{\"level\": \"e7\", \"why\": \"not in the quality table\"}]}");
    json_decref(got);
    snprintf(args, sizeof args, PROMPT "%s", path);
    assert_non_null(strstr(kvs_cli_text(args), "levels left out: e7 (not in the quality table)\n"));
    snprintf(args, sizeof args, PROMPT "%s --levels raw16,p4", path); /* asked for, so no choice */
    assert_null(strstr(kvs_cli_text(args), "levels left out"));
    unlink(path);
    assert_null(strstr(kvs_cli_text(PROMPT "gpu-published"), "levels left out"));
}

static void a_codec_of_which_nothing_can_be_used_is_told_why(void **state)
{
    char path[40], args[200];
    int status;

    (void)state;
    with(NULL, "decode_bytes_per_s", json_null(), path);
    snprintf(args, sizeof args, PROMPT "%s", path);
    assert_non_null(strstr(kvs_cli_error(args, &status),
                           "--codec: nothing can be planned with any of its levels; lx, for one: "
                           "no decoding rate"));
    assert_int_equal(status, 2);
    unlink(path);
}

static void a_level_is_not_lossless_where_its_loss_is_known(void **state)
{
    char path[40], args[200];
    int status;

    (void)state;
    with("e4", "lossless", json_true(), path);
    snprintf(args, sizeof args, PROMPT "%s", path);
    assert_non_null(strstr(kvs_cli_error(args, &status), "says that e4 is lossless"));
    assert_int_equal(status, 2);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_level_that_no_table_knows_is_left_out_aloud),
        cmocka_unit_test(a_codec_of_which_nothing_can_be_used_is_told_why),
        cmocka_unit_test(a_level_is_not_lossless_where_its_loss_is_known),
    };
    return cmocka_run_group_tests_name("plan_codec", tests, NULL, NULL);
}
