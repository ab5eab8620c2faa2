/* Sweeps: points, the same table whatever made it. */
#include "base/data.h"
#include "study/journal.h"
#include "study/point.h"
#include "study/sweep.h"
#include "test.h"
#include "tmpdir.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKLOAD                                                                                   \
    "{\"model\": \"llama-3.1-8b\", \"hardware\": \"h100-2gpu\","                                   \
    " \"trace\": {\"generate\": {\"requests\": 60, \"rate\": 4}},"                                 \
    " \"tiers\": [{\"name\": \"dram\", \"capacity\": \"4GiB\"}],"                                  \
    " \"compare\": [\"recompute\", \"load\"]}"

static struct kvs_spec *open_spec(const char *text)
{
    struct kvs_spec *spec;
    struct kvs_err err = {0};
    tmpdir_write("w.json", WORKLOAD);
    tmpdir_write("s.json", text);
    if (kvs_spec_open("./s.json", NULL, &spec, &err))
        fail_msg("%s", err.msg);
    return spec;
}

static void expect_bad(const char *text, const char *want)
{
    struct kvs_spec *spec;
    struct kvs_err err = {0};
    tmpdir_write("s.json", text);
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
    char *text_a = tmpdir_read(a), *text_b = tmpdir_read(b);
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
    char *table = tmpdir_read("one/results.csv");
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
    tmpdir_write("files.json",
                 "{\"model\": \"m.json\", \"hardware\": \"h.json\","
                 " \"trace\": {\"generate\": {\"requests\": 20}}, \"compare\": [\"load\"],"
                 " \"cluster\": {\"reuse\": \"content\"},"
                 " \"planner\": {\"repair\": \"deviation\", \"quality\": \"q.json\"}}");
    for (int i = 0; i < 3; i++)
        copy_config(files[i][0], files[i][1], names[i]);
    assert_int_equal(sweep_of_files(&n_kept), KVS_OK);
    assert_int_equal(n_kept, 0);
    for (int i = 0; i < 3; i++) {
        char *before = tmpdir_read(names[i]), *longer = NULL;
        assert_true(asprintf(&longer, "%s\n", before) > 0);
        tmpdir_write(names[i], longer);
        assert_int_equal(sweep_of_files(&n_kept), KVS_ERR_ARG);
        tmpdir_write(names[i], before);
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
