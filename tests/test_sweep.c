/* Sweeps: points, the journal, workers that die, the same table whatever made it. */
#include "base/data.h"
#include "study/farm.h"
#include "study/journal.h"
#include "study/point.h"
#include "study/sweep.h"
#include "test.h"
#include "tmpdir.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void write_file(const char *path, const char *text)
{
    FILE *to = fopen(path, "w");
    assert_non_null(to);
    assert_true(fputs(text, to) >= 0);
    assert_int_equal(fclose(to), 0);
}

static char *read_file(const char *path)
{
    FILE *from = fopen(path, "rb");
    if (!from)
        fail_msg("%s is not there", path);
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, from) < (1 << 20) - 1);
    fclose(from);
    return text;
}

#define WORKLOAD                                                                                   \
    "{\"model\": \"llama-3.1-8b\", \"hardware\": \"h100-2gpu\","                                   \
    " \"trace\": {\"generate\": {\"requests\": 60, \"rate\": 4}},"                                 \
    " \"tiers\": [{\"name\": \"dram\", \"capacity\": \"4GiB\"}],"                                  \
    " \"compare\": [\"recompute\", \"load\"]}"

static struct kvs_spec *open_spec(const char *text)
{
    struct kvs_spec *spec;
    struct kvs_err err = {0};
    write_file("w.json", WORKLOAD);
    write_file("s.json", text);
    if (kvs_spec_open("./s.json", NULL, &spec, &err))
        fail_msg("%s", err.msg);
    return spec;
}

static void expect_bad(const char *text, const char *want)
{
    struct kvs_spec *spec;
    struct kvs_err err = {0};
    write_file("s.json", text);
    assert_int_equal(kvs_exit_status(kvs_spec_open("./s.json", NULL, &spec, &err)), 2);
    assert_null(spec);
    if (!strstr(err.msg, want))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, want);
}

/* --- points ------------------------------------------------------------------------------------
 */

static void last_axis_runs_fastest(void **state)
{
    struct kvs_spec *spec = open_spec(
        "{\"workload\": \"w.json\", \"set\": {\"seed\": 3}, \"axes\": ["
        "{\"path\": \"cluster.replicas\", \"values\": [1, 2]},"
        "{\"name\": \"gpu\", \"choices\": [{\"name\": \"a\", \"set\": {\"hardware\": \"h200\"}},"
        " {\"name\": \"b\", \"set\": {\"hardware\": \"b200\", \"cluster.tp\": 1}}]}]}");
    struct kvs_strs sets;
    (void)state;
    assert_int_equal(spec->n_point, 4);
    kvs_spec_sets(spec, 2, &sets);
    assert_int_equal(sets.n, 3);
    assert_string_equal(sets.v[0], "seed=3");
    assert_string_equal(sets.v[1], "cluster.replicas=2");
    assert_string_equal(sets.v[2], "hardware=\"h200\"");
    kvs_spec_sets(spec, 1, &sets);
    assert_int_equal(sets.n, 4);
    assert_string_equal(sets.v[2], "hardware=\"b200\"");
    char *header = kvs_point_header(spec);
    assert_int_equal(strncmp(header, "point,cluster.replicas,gpu,policy,status,", 41), 0);
    free(header);
    kvs_spec_free(spec);
}

static void ranges_meet_their_ends_and_count_in_whole_things(void **state)
{
    struct kvs_spec *spec = open_spec(
        "{\"workload\": \"w.json\", \"axes\": ["
        "{\"path\": \"a\", \"log\": {\"from\": \"1GiB\", \"to\": \"4GiB\", \"points\": 3}},"
        "{\"path\": \"b\", \"linear\": {\"from\": 1, \"to\": 2, \"points\": 5}},"
        "{\"path\": \"c\", \"linear\": {\"from\": 1.0, \"to\": 2, \"points\": 5}},"
        "{\"path\": \"d\", \"log\": {\"from\": \"10ms\", \"to\": \"1s\", \"points\": 3}}]}");
    static const char *const want[4][5] = {{"1073741824", "2147483648", "4294967296"},
                                           {"1", "2"},
                                           {"1", "1.25", "1.5", "1.75", "2"},
                                           {"0.01", "0.1", "1"}};
    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t v = 0; v < spec->axis[i].n_value; v++)
            assert_string_equal(spec->axis[i].value[v].label, want[i][v]);
    assert_int_equal(spec->axis[1].n_value, 2); /* 1, 1.25, 1.5, 1.75, 2 as whole numbers */
    assert_int_equal(spec->n_point, 3 * 2 * 5 * 3);
    kvs_spec_free(spec);
}

static void wrong_sweeps_are_named_exactly(void **state)
{
    (void)state;
    expect_bad("{\"axes\": []}", "missing key \"workload\"");
    expect_bad("{\"workload\": \"w.json\", \"axis\": []}", "did you mean \"axes\"");
    expect_bad("{\"workload\": \"w.json\", \"axes\": [{\"path\": \"a\"}]}",
               "axes[0]: want \"path\" with one of \"values\"");
    expect_bad("{\"workload\": \"w.json\", \"axes\": [{\"path\": \"a\", \"values\": []}]}",
               "axes[0].values: found 0 values");
    expect_bad("{\"workload\": \"w.json\", \"axes\": [{\"path\": \"a\", \"values\": [1]},"
               " {\"path\": \"a\", \"values\": [1]}]}",
               "axes[1]: found \"a\" a second time");
    expect_bad("{\"workload\": \"w.json\", \"axes\": [{\"path\": \"a\", \"values\": [1, 2, 1]}]}",
               "axes[0].values: found 1 a second time, want each value once");
    expect_bad("{\"workload\": \"w.json\", \"axes\": [{\"name\": \"a\", \"choices\": ["
               "{\"name\": \"x\", \"set\": {}}, {\"name\": \"x\", \"set\": {}}]}]}",
               "axes[0].choices: found x a second time");
    expect_bad("{\"workload\": \"w.json\", \"axes\": [{\"path\": \"a\", \"log\": {\"from\": 0, "
               "\"to\": 1, \"points\": 3}}]}",
               "axes[0].log: found an end of 0 or less");
    expect_bad("{\"workload\": \"w.json\", \"axes\": [{\"path\": \"a\", \"log\": {\"from\": "
               "\"1s\", \"to\": \"1GiB\", \"points\": 3}}]}",
               "axes[0].log.to: is another quantity");
}

/* --- the journal -------------------------------------------------------------------------------
 */

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
    all = read_file("j");
    const size_t n_all = strlen(all);
    /* cut at every place: what is whole counts, what is torn is gone, and it can go on */
    for (size_t n = 0; n <= n_all; n++) {
        char *cut = strndup(all, n);
        write_file("cut", cut);
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
    char *all = read_file("broken");
    char *second = strstr(all, "\t1\trow");
    second[4] = 'R'; /* the checksum does not fit any more */
    write_file("broken", all);
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
    write_file("text", "this is a letter to my mother\nand not a journal\n");
    err = (struct kvs_err){0};
    assert_int_equal(kvs_journal_open("text", &id, &second, &err), KVS_ERR_PARSE);
    char *text = read_file("text");
    assert_string_equal(text, "this is a letter to my mother\nand not a journal\n");
    free(text);
}

/* --- workers -----------------------------------------------------------------------------------
 */

#define N_ITEM 40

/* What the workers did is seen through memory that they share. */
struct barn {
    uint64_t next;
    unsigned n_done[N_ITEM];
    char reason[N_ITEM][100];
    unsigned *n_work;                /* [N_ITEM], shared */
    int (*accident)(unsigned n_try); /* what befalls item 7: a signal, or 0 */
};

static bool barn_next(void *ctx, uint64_t *item)
{
    struct barn *barn = ctx;
    *item = barn->next;
    return barn->next++ < N_ITEM;
}

static char *barn_work(void *ctx, uint64_t item)
{
    struct barn *barn = ctx;
    char *text = NULL;
    const unsigned n_try = ++barn->n_work[item];
    if (item == 7 && barn->accident && barn->accident(n_try))
        (void)raise(barn->accident(n_try));
    return asprintf(&text, "%" PRIu64, item * item) < 0 ? NULL : text;
}

static enum kvs_code barn_done(void *ctx, uint64_t item, const char *text, const char *reason,
                               struct kvs_err *err)
{
    struct barn *barn = ctx;
    (void)err;
    barn->n_done[item]++;
    if (text)
        assert_int_equal(strtoull(text, NULL, 10), item * item);
    else
        snprintf(barn->reason[item], sizeof barn->reason[item], "%s", reason);
    return KVS_OK;
}

static void farm_barn(struct barn *barn, unsigned n_worker)
{
    const struct kvs_farm farm = {
        .ctx = barn, .next = barn_next, .work = barn_work, .done = barn_done};
    struct kvs_err err = {0};
    barn->n_work = mmap(NULL, N_ITEM * sizeof *barn->n_work, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(barn->n_work != MAP_FAILED);
    if (kvs_farm_local(&farm, n_worker, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < N_ITEM; i++)
        assert_int_equal(barn->n_done[i], 1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
    munmap(barn->n_work, N_ITEM * sizeof *barn->n_work);
}

static int killed_once(unsigned n_try)
{
    return n_try == 1 ? SIGKILL : 0;
}

static int killed_always(unsigned n_try)
{
    (void)n_try;
    return SIGKILL;
}

static int crashes(unsigned n_try)
{
    (void)n_try;
    return SIGXCPU; /* one that cmocka does not catch */
}

static void every_item_is_made_once(void **state)
{
    (void)state;
    for (unsigned n_worker = 1; n_worker < 6; n_worker += 2) {
        struct barn barn = {0};
        farm_barn(&barn, n_worker);
    }
}

static void killed_workers_item_is_made_again(void **state)
{
    struct barn once = {.accident = killed_once}, always = {.accident = killed_always};
    (void)state;
    farm_barn(&once, 2);
    assert_string_equal(once.reason[7], "");
    farm_barn(&always, 2);
    assert_string_equal(always.reason[7], "the worker ended by signal 9 (Killed)");
}

static void crash_is_told_and_stops_no_other(void **state)
{
    struct barn barn = {.accident = crashes};
    (void)state;
    farm_barn(&barn, 2);
    assert_string_equal(barn.reason[7], "the worker ended by signal 24 (CPU time limit exceeded)");
    assert_string_equal(barn.reason[8], "");
}

/* --- sweeps ------------------------------------------------------------------------------------
 */

/* 12 points; the third of each trio has a tensor parallelism that its host does not. */
#define SWEEP                                                                                      \
    "{\"workload\": \"w.json\", \"axes\": ["                                                       \
    "{\"path\": \"trace.rate\", \"values\": [1, 3]},"                                              \
    "{\"path\": \"tiers[0].capacity\", \"values\": [\"1GiB\", \"4GiB\"]},"                         \
    "{\"path\": \"hardware_set\", \"name\": \"gpu, memory\", \"values\": ["                        \
    "{}, {\"gpu.mem_bytes_per_s\": \"1TB/s\"}, {\"gpu.memory_bytes\": \"8GB\"}]}]}"

static void run_sweep(const char *dir, unsigned n_job, uint64_t shard_i, uint64_t shard_n,
                      struct kvs_sweep_count *count)
{
    struct kvs_spec *spec = open_spec(SWEEP);
    const struct kvs_sweep_options options = {
        .dir = dir, .n_job = n_job, .shard_i = shard_i, .shard_n = shard_n};
    struct kvs_err err = {0};
    if (kvs_sweep_run(spec, &options, count, &err))
        fail_msg("%s", err.msg);
    kvs_spec_free(spec);
}

static void expect_same_file(const char *a, const char *b)
{
    char *text_a = read_file(a), *text_b = read_file(b);
    assert_string_equal(text_a, text_b);
    free(text_a);
    free(text_b);
}

static void table_is_the_same_whatever_the_workers(void **state)
{
    struct kvs_sweep_count count;
    (void)state;
    run_sweep("one", 1, 0, 1, &count);
    assert_int_equal(count.n_point, 12);
    assert_int_equal(count.n_run, 12);
    assert_int_equal(count.n_failed, 4);
    assert_true(count.complete);
    run_sweep("three", 3, 0, 1, &count);
    expect_same_file("one/results.csv", "three/results.csv");
}

static void failing_point_has_its_reason_and_the_others_their_rows(void **state)
{
    char *table = read_file("one/results.csv");
    unsigned n_line = 0, n_point = 0;
    (void)state;
    for (char *line = strtok(table, "\n"); line; line = strtok(NULL, "\n"), n_line++) {
        if (n_line == 0) {
            assert_non_null(strstr(line, "point,trace.rate,tiers[0].capacity,\"gpu, memory\","));
            continue;
        }
        const unsigned point = (unsigned)strtoul(line, NULL, 10);
        assert_true(point == n_point || point == n_point + 1); /* in order, none left out */
        n_point = point;
        if (point % 3 == 2)
            assert_non_null(strstr(line, "do not fit the usable"));
        else
            assert_non_null(strstr(line, ",ok,"));
    }
    assert_int_equal(n_line, 1 + 8 * 2 + 4);
    free(table);
}

static void shards_merge_to_the_same_table(void **state)
{
    struct kvs_sweep_count count;
    struct kvs_strs dirs = {.n = 2, .v = {"a", "b"}};
    struct kvs_err err = {0};
    (void)state;
    run_sweep("a", 1, 0, 3, &count);
    assert_int_equal(count.n_point, 4);
    assert_false(count.complete);
    run_sweep("a", 1, 2, 3, &count); /* two shards may share a folder */
    assert_int_equal(kvs_sweep_merge(&(struct kvs_strs){.n = 1, .v = {"a"}}, "all", &count, &err),
                     KVS_ERR_ARG);
    assert_string_equal(err.msg, "4 of 12 points are missing, the first is 1; let each shard come "
                                 "to its end first");
    run_sweep("b", 2, 1, 3, &count);
    err = (struct kvs_err){0};
    if (kvs_sweep_merge(&dirs, "all", &count, &err))
        fail_msg("%s", err.msg);
    expect_same_file("one/results.csv", "all/results.csv");
}

/* The sweep's process dies after some points, again and again, until it comes to its end. */
static bool die_soon(void *ctx, const struct kvs_sweep_count *count)
{
    (void)ctx;
    if (count->n_run >= 2)
        (void)raise(SIGKILL);
    return false;
}

static void killed_sweep_goes_on_where_it_stopped(void **state)
{
    struct kvs_sweep_count count = {0};
    int n_kill = 0;
    (void)state;
    for (int status = 1; status; n_kill++) {
        pid_t pid = fork();
        assert_true(pid >= 0 && n_kill < 12);
        if (pid == 0) {
            struct kvs_spec *spec = open_spec(SWEEP);
            const struct kvs_sweep_options options = {
                .dir = "killed", .n_job = 1, .shard_n = 1, .progress = die_soon};
            _exit(kvs_sweep_run(spec, &options, &count, NULL) != KVS_OK);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(status == 0 || WIFSIGNALED(status));
    }
    assert_true(n_kill >= 4);
    expect_same_file("one/results.csv", "killed/results.csv");
    run_sweep("killed", 2, 0, 1, &count);
    assert_int_equal(count.n_run, 0);
    assert_int_equal(count.n_kept, 12);
    assert_int_equal(count.n_failed, 4);
    expect_same_file("one/results.csv", "killed/results.csv");
}

/* Copies a file of configs/ to name, here. */
static void copy_config(const char *configs, const char *what, const char *name)
{
    char *path = NULL, command[600];
    assert_int_equal(kvs_data_find("file", configs, what, &path, NULL), KVS_OK);
    snprintf(command, sizeof command, "cp %s %s", path, name);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    free(path);
}

static enum kvs_code sweep_of_files(uint64_t *n_kept)
{
    struct kvs_spec *spec = open_spec("{\"workload\": \"files.json\", \"axes\": ["
                                      "{\"path\": \"trace.rate\", \"values\": [1]}]}");
    const struct kvs_sweep_options options = {.dir = "files", .n_job = 1, .shard_n = 1};
    struct kvs_sweep_count count;
    struct kvs_err err = {0};
    enum kvs_code code = kvs_sweep_run(spec, &options, &count, &err);
    *n_kept = count.n_kept;
    kvs_spec_free(spec);
    return code;
}

/* What is kept was made of the same machine, model and quality table. */
static void sweep_goes_on_with_the_same_files_only(void **state)
{
    static const char *const files[][2] = {{"configs/models", "llama-3.1-8b"},
                                           {"configs/hardware", "h100-2gpu"},
                                           {"configs/quality", "llama-3.1-8b"}};
    static const char *const names[] = {"m.json", "h.json", "q.json"};
    uint64_t n_kept;
    (void)state;
    write_file("files.json",
               "{\"model\": \"m.json\", \"hardware\": \"h.json\","
               " \"trace\": {\"generate\": {\"requests\": 20}}, \"compare\": [\"load\"],"
               " \"cluster\": {\"reuse\": \"content\"},"
               " \"planner\": {\"repair\": \"deviation\", \"quality\": \"q.json\"}}");
    for (int i = 0; i < 3; i++)
        copy_config(files[i][0], files[i][1], names[i]);
    assert_int_equal(sweep_of_files(&n_kept), KVS_OK);
    assert_int_equal(n_kept, 0);
    for (int i = 0; i < 3; i++) {
        char *before = read_file(names[i]), *longer = NULL;
        assert_true(asprintf(&longer, "%s\n", before) > 0);
        write_file(names[i], longer);
        assert_int_equal(sweep_of_files(&n_kept), KVS_ERR_ARG);
        write_file(names[i], before);
        assert_int_equal(sweep_of_files(&n_kept), KVS_OK);
        assert_int_equal(n_kept, 1);
        free(before);
        free(longer);
    }
}

static bool stop_at_once(void *ctx, const struct kvs_sweep_count *count)
{
    (void)ctx;
    (void)count;
    return true;
}

static void interrupted_sweep_says_so_and_keeps_what_it_has(void **state)
{
    struct kvs_spec *spec = open_spec(SWEEP);
    const struct kvs_sweep_options options = {
        .dir = "stopped", .n_job = 1, .shard_n = 1, .progress = stop_at_once};
    struct kvs_sweep_count count;
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(kvs_sweep_run(spec, &options, &count, &err), KVS_ERR_IO);
    assert_string_equal(err.msg, "interrupted");
    kvs_spec_free(spec);
    assert_int_equal(access("stopped/results.csv", F_OK), -1);
    run_sweep("stopped", 2, 0, 1, &count);
    assert_int_equal(count.n_kept + count.n_run, 12);
    expect_same_file("one/results.csv", "stopped/results.csv");
}

static void foreign_folder_is_not_touched(void **state)
{
    struct kvs_spec *spec = open_spec(SWEEP);
    const struct kvs_sweep_options options = {
        .dir = "foreign", .overwrite = true, .n_job = 1, .shard_n = 1};
    struct kvs_sweep_count count;
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(system("mkdir foreign && echo precious >foreign/file"), 0); /* NOLINT */
    assert_int_equal(kvs_sweep_run(spec, &options, &count, &err), KVS_ERR_ARG);
    assert_non_null(strstr(err.msg, "foreign: holds files but no sweep"));
    kvs_spec_free(spec);
}

static void setting_that_no_workload_has_is_told_at_once(void **state)
{
    struct kvs_spec *spec = open_spec(
        "{\"workload\": \"w.json\", \"axes\": [{\"path\": \"cluster.replica\", \"values\": [1]}]}");
    const struct kvs_sweep_options options = {.dir = "never", .n_job = 1, .shard_n = 1};
    struct kvs_sweep_count count;
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(kvs_exit_status(kvs_sweep_run(spec, &options, &count, &err)), 2);
    assert_non_null(strstr(err.msg, "cluster.replica: unknown key; did you mean \"replicas\"?"));
    assert_int_equal(access("never", F_OK), -1);
    kvs_spec_free(spec);
}

/* A trace read once for all gives what each point would have read for itself. */
static void shared_trace_changes_nothing(void **state)
{
    struct kvs_spec *spec = open_spec(SWEEP);
    struct kvs_point_job own = {spec, kvs_traces_new()}, shared = {spec, kvs_traces_new()};
    struct kvs_doc *doc;
    (void)state;
    for (uint64_t i = 0; i < spec->n_point; i++) {
        assert_int_equal(kvs_point_document(spec, i, &doc, NULL), KVS_OK);
        assert_int_equal(kvs_traces_count(shared.traces, doc, NULL), KVS_OK);
        kvs_doc_free(doc);
    }
    assert_int_equal(kvs_traces_load(shared.traces, NULL), KVS_OK);
    assert_int_equal(kvs_point_document(spec, 0, &doc, NULL), KVS_OK);
    assert_int_equal(kvs_traces_use(shared.traces, doc, NULL), KVS_OK);
    const json_t *trace = json_object_get(kvs_doc_root(doc).v, "trace");
    assert_non_null(strstr(json_string_value(json_object_get(trace, "path")), "/proc/self/fd/"));
    assert_null(json_object_get(trace, "generate"));
    assert_int_equal(json_integer_value(json_object_get(trace, "rate")), 1);
    kvs_doc_free(doc);
    for (uint64_t i = 0; i < spec->n_point; i++) {
        char *a = kvs_point_run(&own, i), *b = kvs_point_run(&shared, i);
        assert_non_null(a);
        assert_string_equal(a, b);
        assert_int_equal(kvs_point_is_failed(spec, a), i % 3 == 2);
        free(a);
        free(b);
    }
    kvs_traces_free(own.traces);
    kvs_traces_free(shared.traces);
    kvs_spec_free(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_axis_runs_fastest),
        cmocka_unit_test(ranges_meet_their_ends_and_count_in_whole_things),
        cmocka_unit_test(wrong_sweeps_are_named_exactly),
        cmocka_unit_test(journal_keeps_whole_records_only),
        cmocka_unit_test(journal_ends_at_the_first_broken_record),
        cmocka_unit_test(journal_waits_for_a_killed_sweeps_workers),
        cmocka_unit_test(journal_of_another_sweep_is_refused),
        cmocka_unit_test(every_item_is_made_once),
        cmocka_unit_test(killed_workers_item_is_made_again),
        cmocka_unit_test(crash_is_told_and_stops_no_other),
        cmocka_unit_test(table_is_the_same_whatever_the_workers),
        cmocka_unit_test(failing_point_has_its_reason_and_the_others_their_rows),
        cmocka_unit_test(shards_merge_to_the_same_table),
        cmocka_unit_test(killed_sweep_goes_on_where_it_stopped),
        cmocka_unit_test(sweep_goes_on_with_the_same_files_only),
        cmocka_unit_test(interrupted_sweep_says_so_and_keeps_what_it_has),
        cmocka_unit_test(foreign_folder_is_not_touched),
        cmocka_unit_test(setting_that_no_workload_has_is_told_at_once),
        cmocka_unit_test(shared_trace_changes_nothing),
    };
    return cmocka_run_group_tests_name("sweep", tests, tmpdir_enter, tmpdir_drop);
}
