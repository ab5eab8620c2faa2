/* A sweep's journal: torn ends, broken records, whose it is. */
#include "study/journal.h"
#include "test.h"
#include "tmpdir.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct kvs_journal_id id = {.fingerprint = 7, .n_point = 5, .header = "a,b"};

static struct kvs_journal *open_journal(const char *path)
{
    struct kvs_journal *journal;
    struct kvs_err err = {0};
    if (kvs_journal_open(path, &id, &journal, &err))
        fail_msg("%s", err.msg);
    return journal;
}

static unsigned n_held(const struct kvs_journal *journal)
{
    unsigned n = 0;
    for (uint64_t i = 0; i < id.n_point; i++)
        n += kvs_journal_has(journal, i);
    return n;
}

static void journal_keeps_whole_records_only(void **state)
{
    struct kvs_journal *journal = open_journal("j");
    char *rows, *all;
    (void)state;
    assert_int_equal(kvs_journal_add(journal, 3, "x,1\tx,2", NULL), KVS_OK);
    assert_int_equal(kvs_journal_add(journal, 0, "y", NULL), KVS_OK);
    kvs_journal_close(journal);
    all = tmpdir_read("j");
    const size_t n_all = strlen(all);
    /* cut at every place: what is whole counts, what is torn is gone, and it can go on */
    for (size_t n = 0; n <= n_all; n++) {
        char *cut = strndup(all, n);
        tmpdir_write("cut", cut);
        free(cut);
        journal = open_journal("cut");
        const bool first = n >= n_all - 21,
                   both = n == n_all; /* the last record is 21 bytes long */
        assert_int_equal(n_held(journal), first + both);
        assert_int_equal(kvs_journal_has(journal, 3), first);
        assert_int_equal(kvs_journal_has(journal, 0), both);
        assert_int_equal(kvs_journal_add(journal, 1, "z", NULL), KVS_OK);
        kvs_journal_close(journal);
        journal = open_journal("cut");
        assert_int_equal(n_held(journal), first + both + 1);
        assert_int_equal(kvs_journal_get(journal, 1, &rows, NULL), KVS_OK);
        assert_string_equal(rows, "z");
        free(rows);
        kvs_journal_close(journal);
    }
    free(all);
}

static void journal_ends_at_the_first_broken_record(void **state)
{
    struct kvs_journal *journal = open_journal("broken");
    (void)state;
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(kvs_journal_add(journal, i, "row", NULL), KVS_OK);
    kvs_journal_close(journal);
    char *all = tmpdir_read("broken");
    char *second = strstr(all, "\t1\trow");
    second[4] = 'R'; /* the checksum does not fit any more */
    tmpdir_write("broken", all);
    free(all);
    journal = open_journal("broken");
    assert_int_equal(n_held(journal), 1);
    assert_true(kvs_journal_has(journal, 0));
    kvs_journal_close(journal);
}

/* As a worker does that outlives its killed farmer: it has the lock with the file. */
static void journal_waits_for_a_killed_sweeps_workers(void **state)
{
    struct kvs_journal *journal = open_journal("orphaned");
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct timespec life = {.tv_nsec = 100 * 1000 * 1000};
        (void)nanosleep(&life, NULL);
        _exit(0);
    }
    kvs_journal_close(journal);
    journal = open_journal("orphaned");
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    kvs_journal_close(journal);
}

static void journal_of_another_sweep_is_refused(void **state)
{
    struct kvs_journal_id other = id;
    struct kvs_journal *journal = open_journal("mine"), *second;
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(kvs_journal_open("mine", &id, &second, &err), KVS_ERR_ARG);
    assert_non_null(strstr(err.msg, "another kvsim sweep is writing it"));
    kvs_journal_close(journal);
    other.fingerprint = 8;
    err = (struct kvs_err){0};
    assert_int_equal(kvs_journal_open("mine", &other, &second, &err), KVS_ERR_ARG);
    assert_non_null(strstr(err.msg, "holds points of another sweep"));
    tmpdir_write("text", "this is a letter to my mother\nand not a journal\n");
    err = (struct kvs_err){0};
    assert_int_equal(kvs_journal_open("text", &id, &second, &err), KVS_ERR_PARSE);
    char *text = tmpdir_read("text");
    assert_string_equal(text, "this is a letter to my mother\nand not a journal\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(journal_keeps_whole_records_only),
        cmocka_unit_test(journal_ends_at_the_first_broken_record),
        cmocka_unit_test(journal_waits_for_a_killed_sweeps_workers),
        cmocka_unit_test(journal_of_another_sweep_is_refused),
    };
    return cmocka_run_group_tests_name("journal", tests, tmpdir_enter, tmpdir_drop);
}
