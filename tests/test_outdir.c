#include "test.h"

#include "tmpdir.h"

#include "base/outdir.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct kvs_outdir *begin(const char *path, bool overwrite)
{
    struct kvs_err err = {0};
    struct kvs_outdir *out;
    if (kvs_outdir_begin(path, overwrite, &out, &err))
        fail_msg("%s", err.msg);
    return out;
}

static void add(struct kvs_outdir *out, const char *name, const char *text)
{
    struct kvs_err err = {0};
    FILE *file = kvs_outdir_file(out, name, &err);
    if (!file)
        fail_msg("%s", err.msg);
    fputs(text, file);
    assert_int_equal(kvs_outdir_close(out, file, &err), KVS_OK);
}

static void commit(struct kvs_outdir *out)
{
    struct kvs_err err = {0};
    if (kvs_outdir_commit(out, &err))
        fail_msg("%s", err.msg);
}

static bool there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Entries of folder, "." and ".." aside. */
static unsigned n_entry(const char *folder)
{
    unsigned n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;
}

static void folder_appears_only_at_commit(void **state)
{
    (void)state;
    struct kvs_outdir *out = begin("deep/er/one/", false);
    add(out, "a.csv", "1");
    add(out, "plots/b.csv", "2");
    assert_false(there("deep/er/one"));
    assert_true(there(kvs_outdir_tmp(out)));
    commit(out);
    assert_true(there("deep/er/one/a.csv"));
    assert_true(there("deep/er/one/plots/b.csv"));
    assert_true(there("deep/er/one/.kvsim"));
    assert_int_equal(n_entry("deep/er"), 1);
}

static void abort_leaves_nothing(void **state)
{
    (void)state;
    struct kvs_outdir *out = begin("box/two", false);
    add(out, "a.csv", "1");
    kvs_outdir_abort(out);
    kvs_outdir_abort(NULL);
    assert_int_equal(n_entry("box"), 0);
}

static void overwrite_replaces_the_whole_folder(void **state)
{
    (void)state;
    struct kvs_outdir *out = begin("box3/three", false);
    add(out, "old.csv", "1");
    commit(out);
    out = begin("box3/three", true);
    add(out, "new.csv", "1");
    assert_true(there("box3/three/old.csv")); /* until the commit */
    commit(out);
    assert_true(there("box3/three/new.csv"));
    assert_false(there("box3/three/old.csv"));
    assert_int_equal(n_entry("box3"), 1);
}

static void only_our_own_folders_are_replaced(void **state)
{
    static const struct {
        const char *path, *want;
        bool overwrite;
    } cases[] = {
        {"mine", "mine exists; give another folder, or --overwrite", false},
        {"empty", "empty exists; give another folder, or --overwrite", false},
        {"foreign", "foreign holds files that kvsim did not write; give another folder", true},
        {"file", "file exists and is no folder; give another name", true},
        {"link", "link is a symbolic link; give the folder that it points to", true},
        {".", "found \".\", want the name of a folder to make", true},
        {"mine/..", "found \"mine/..\", want the name of a folder to make", true},
        {"/", "found \"/\", want the name of a folder to make", true},
        {"", "found \"\", want the name of a folder to make", true},
    };
    (void)state;
    commit(begin("mine", false));
    assert_int_equal(mkdir("empty", 0777), 0);
    assert_int_equal(mkdir("foreign", 0777), 0);
    assert_int_equal(mkdir("foreign/x", 0777), 0);
    FILE *file = fopen("file", "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(symlink("empty", "link"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvs_err err = {0};
        struct kvs_outdir *out;
        assert_int_equal(kvs_outdir_begin(cases[i].path, cases[i].overwrite, &out, &err),
                         KVS_ERR_ARG);
        assert_null(out);
        assert_string_equal(err.msg, cases[i].want);
    }
    commit(begin("empty", true));
    assert_true(there("empty/.kvsim"));
}

static void change_during_the_run_is_respected(void **state)
{
    struct kvs_err err = {0};
    (void)state;
    struct kvs_outdir *out = begin("box5/late", false);
    assert_int_equal(mkdir("box5/late", 0777), 0);
    assert_int_equal(mkdir("box5/late/theirs", 0777), 0);
    assert_int_equal(kvs_outdir_commit(out, &err), KVS_ERR_ARG);
    assert_true(there("box5/late/theirs"));
    assert_int_equal(n_entry("box5"), 1);
}

static void killed_run_is_cleaned_up_and_a_living_one_left(void **state)
{
    (void)state;
    struct kvs_outdir *alive = begin("box6/run", false);
    pid_t child = fork();
    if (child == 0) {
        struct kvs_outdir *out;
        if (kvs_outdir_begin("box6/run", false, &out, NULL) != KVS_OK)
            _exit(1);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(n_entry("box6"), 2);
    struct kvs_outdir *out = begin("box6/run", false);
    assert_int_equal(n_entry("box6"), 2); /* the living one's and this one's */
    add(alive, "x", "1");
    commit(out);
    kvs_outdir_abort(alive);
    assert_int_equal(n_entry("box6"), 1);
}

static void old_result_comes_back_after_a_kill_amid_a_swap(void **state)
{
    struct kvs_err err = {0};
    struct kvs_outdir *out;
    (void)state;
    commit(begin("box7/run", false));
    assert_int_equal(rename("box7/run", "box7/.run.kvsim-old"), 0);
    assert_int_equal(kvs_outdir_begin("box7/run", false, &out, &err), KVS_ERR_ARG);
    assert_true(there("box7/run/.kvsim"));
    assert_int_equal(n_entry("box7"), 1);
}

static void error_of_a_write_shows_at_close(void **state)
{
    struct kvs_err err = {0};
    (void)state;
    FILE *full = fopen("/dev/full", "w");
    if (!full)
        KVS_SKIP("no /dev/full here");
    struct kvs_outdir *out = begin("box8/run", false);
    fputs("x", full);
    assert_int_equal(kvs_outdir_close(out, full, &err), KVS_ERR_IO);
    assert_string_equal(err.msg, "box8/run: a file could not be written: No space left on device");
    kvs_outdir_abort(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folder_appears_only_at_commit),
        cmocka_unit_test(abort_leaves_nothing),
        cmocka_unit_test(overwrite_replaces_the_whole_folder),
        cmocka_unit_test(only_our_own_folders_are_replaced),
        cmocka_unit_test(change_during_the_run_is_respected),
        cmocka_unit_test(killed_run_is_cleaned_up_and_a_living_one_left),
        cmocka_unit_test(old_result_comes_back_after_a_kill_amid_a_swap),
        cmocka_unit_test(error_of_a_write_shows_at_close),
    };
    return cmocka_run_group_tests_name("outdir", tests, tmpdir_enter, tmpdir_drop);
}
