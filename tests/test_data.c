#include "test.h"

#include "base/data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

static void touch(const char *name)
{
    char path[160];
    snprintf(path, sizeof path, "%s/things/%s", root, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
}

static int make_root(void **state)
{
    char path[160];
    (void)state;
    snprintf(root, sizeof root, "/tmp/kvsim-data-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    snprintf(path, sizeof path, "%s/things", root);
    mkdir(path, 0777);
    touch("beta.json");
    touch("alpha-1.5.json");
    touch("notes.txt");
    touch(".hidden.json");
    return setenv("KVSIM_DATA", root, 1);
}

static int drop_root(void **state)
{
    char command[160];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command); /* NOLINT: a path of our own making */
}

static void names_are_sorted_json_stems(void **state)
{
    (void)state;
    char **names = kvs_data_names("things");
    assert_string_equal(names[0], "alpha-1.5");
    assert_string_equal(names[1], "beta");
    assert_null(names[2]);
    kvs_data_names_free(names);
    names = kvs_data_names("nothing");
    assert_null(names[0]);
    kvs_data_names_free(names);
}

static void name_finds_its_file_and_path_stays(void **state)
{
    char *path, want[160];
    (void)state;
    assert_int_equal(kvs_data_find("thing", "things", "alpha-1.5", &path, NULL), KVS_OK);
    snprintf(want, sizeof want, "%s/things/alpha-1.5.json", root);
    assert_string_equal(path, want);
    free(path);
    assert_int_equal(kvs_data_find("thing", "things", "my.json", &path, NULL), KVS_OK);
    assert_string_equal(path, "my.json");
    free(path);
    assert_int_equal(kvs_data_find("thing", "things", "./beta", &path, NULL), KVS_OK);
    assert_string_equal(path, "./beta");
    free(path);
}

static void unknown_name_is_met_with_the_known_ones(void **state)
{
    struct kvs_err err = {0};
    char *path;
    (void)state;
    assert_int_equal(kvs_data_find("thing", "things", "bata", &path, &err), KVS_ERR_ARG);
    assert_null(path);
    assert_string_equal(
        err.msg, "thing \"bata\" is not known; did you mean \"beta\"? known: alpha-1.5, beta");
    err = (struct kvs_err){0};
    assert_int_equal(kvs_data_find("thing", "things", "..", &path, &err), KVS_ERR_ARG);
    err = (struct kvs_err){0};
    assert_int_equal(kvs_data_find("thing", "things", "", &path, &err), KVS_ERR_ARG);
    err = (struct kvs_err){0};
    assert_int_equal(kvs_data_find("thing", "nothing", "x", &path, &err), KVS_ERR_ARG);
    assert_string_equal(err.msg, "thing \"x\" is not known; known: none");
}

static void any_file_is_found_by_its_place(void **state)
{
    struct kvs_err err = {0};
    char *path, want[128];
    (void)state;
    assert_int_equal(kvs_data_file("things/beta.json", &path, NULL), KVS_OK);
    snprintf(want, sizeof want, "%s/things/beta.json", root);
    assert_string_equal(path, want);
    free(path);
    assert_int_equal(kvs_data_file("things/none.gp", &path, &err), KVS_ERR_ABSENT);
    assert_null(path);
    assert_memory_equal(err.msg, "things/none.gp is not there", 27);
}

static void relative_paths_start_at_the_document(void **state)
{
    static const struct {
        const char *base, *file, *want;
    } cases[] = {
        {"/a/b/w.json", "t.jsonl", "/a/b/t.jsonl"},
        {"/a/b/w.json", "/t.jsonl", "/t.jsonl"},
        {"w.json", "t.jsonl", "t.jsonl"},
        {"x/w.json", "../t", "x/../t"},
        {"/w.json", "t", "/t"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = kvs_path_from(cases[i].base, cases[i].file);
        assert_string_equal(path, cases[i].want);
        free(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_sorted_json_stems),
        cmocka_unit_test(name_finds_its_file_and_path_stays),
        cmocka_unit_test(unknown_name_is_met_with_the_known_ones),
        cmocka_unit_test(any_file_is_found_by_its_place),
        cmocka_unit_test(relative_paths_start_at_the_document),
    };
    return cmocka_run_group_tests_name("data", tests, make_root, drop_root);
}
