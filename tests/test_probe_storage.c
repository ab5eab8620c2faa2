#include "test.h"

#include "base/rng.h"
#include "probes/storage_in.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/kvprobe-test-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir); /* fails if anything was left behind */
}

static struct kvs_disk *open_disk(enum kvs_disk_engine engine, uint64_t file_bytes)
{
    struct kvs_disk_config config = {
        .dir = dir, .file_bytes = file_bytes, .engine = engine, .seed = 5};
    struct kvs_err err = {KVS_OK, ""};
    struct kvs_disk *disk;
    if (kvs_disk_open(&config, &disk, &err))
        fail_msg("%s", err.msg);
    return disk;
}

/* Runs one point for a moment; the sample's counts must agree with each other. */
static enum kvs_code run(struct kvs_disk *disk, const char *probe, uint64_t size, uint64_t depth,
                         uint64_t jobs, uint64_t n_descriptor, const char *pattern,
                         struct kvs_err *err)
{
    static struct kvs_sample sample;
    struct kvs_points points = {0, 0, NULL};
    struct kvs_point *p = kvs_points_add(&points, probe, "disk0");
    memset(&sample, 0, sizeof sample);
    kvs_hist_init(&sample.lat_ns);
    p->size_bytes = size;
    p->depth = depth;
    p->jobs = jobs;
    p->n_descriptor = n_descriptor;
    assert_true(kvs_point_set(p, "pattern", json_string(pattern)));
    enum kvs_code code = kvs_disk_run(disk, p, 0.02, &sample, err);
    if (!code) {
        uint64_t each = size * (n_descriptor ? n_descriptor : 1);
        assert_true(sample.ops >= 1 && sample.bytes == sample.ops * each);
        assert_int_equal(sample.lat_ns.n, sample.ops);
        assert_true(sample.secs > 0 && sample.bytes_per_s > 0);
        assert_true(sample.lat_ns.min > 0);
    }
    kvs_points_free(&points);
    return code;
}

static void both_engines_run_every_kind_of_point(void **state)
{
    (void)state;
    for (int engine = KVS_ENGINE_AUTO; engine <= KVS_ENGINE_THREADS; engine += 2) {
        struct kvs_disk *disk = open_disk((enum kvs_disk_engine)engine, 16 << 20);
        static const struct {
            const char *probe, *pattern;
            uint64_t size, depth, jobs, n_descriptor;
        } points[] = {
            {"storage.read", "rand", 4096, 1, 1, 0},    {"storage.read", "rand", 4096, 16, 2, 0},
            {"storage.read", "seq", 65536, 4, 2, 0},    {"storage.write", "rand", 4096, 4, 1, 0},
            {"storage.write", "seq", 1 << 20, 2, 1, 0}, {"storage.mix", "rand", 16384, 8, 1, 0},
            {"storage.kv", "rand", 65536, 4, 1, 16},    {"storage.kv", "rand", 4096, 32, 1, 64},
        };
        for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
            struct kvs_err err = {KVS_OK, ""};
            if (run(disk, points[i].probe, points[i].size, points[i].depth, points[i].jobs,
                    points[i].n_descriptor, points[i].pattern, &err))
                fail_msg("engine %d point %zu: %s", engine, i, err.msg);
        }
        json_t *json = kvs_disk_json(disk);
        assert_true(json_is_true(json_object_get(json, "reads_checked")));
        if (engine == KVS_ENGINE_THREADS)
            assert_string_equal(json_string_value(json_object_get(json, "engine")), "threads");
        assert_int_equal(json_integer_value(json_object_get(json, "file_bytes")), 16 << 20);
        json_decref(json);
        kvs_disk_close(disk);
    }
}

/* Of a job that counts from the start, as a mix does whose first read comes after the ramp. */
static void an_operation_counts_with_its_latency_or_not_at_all(void **state)
{
    struct kvs_disk *disk = open_disk(KVS_ENGINE_THREADS, 2 << 20);
    struct kvs_point point = {.size_bytes = 8192};
    static struct kvs_hist hist;
    struct kvs_disk_job job = {.disk = disk, .point = &point, .hist = &hist};
    static _Alignas(4096) unsigned char buf[8192];
    const struct kvs_disk_io io[] = {
        {0, 50, false}, {8192, 100, true}, {16384, 150, false}, {0, 160, false}};
    (void)state;
    kvs_hist_init(&hist);
    assert_int_equal(pread(kvs_disk_fd(disk), buf, sizeof buf, 16384), sizeof buf);

    job.checked = true; /* the ramp: nothing counts */
    assert_int_equal(kvs_disk_done(&job, &io[0], buf, 8192, 90), KVS_OK);
    assert_true(job.ops == 0 && hist.n == 0);

    job.checked = false;
    job.counts = true;
    assert_int_equal(kvs_disk_done(&job, &io[1], buf, 8192, 103), KVS_OK);
    assert_true(job.ops == 1 && hist.n == 1 && hist.min == 3 && job.end_ns == 103 && !job.checked);
    assert_int_equal(kvs_disk_done(&job, &io[2], buf, 8192, 157), KVS_OK); /* it is checked */
    assert_true(job.ops == 2 && hist.n == 2 && hist.max == 7 && job.end_ns == 157 && job.checked);
    assert_int_equal(kvs_disk_done(&job, &io[3], buf, 8192, 165), KVS_OK);
    assert_true(job.ops == 3 && hist.n == 3 && hist.sum == 15 && job.end_ns == 165);

    /* what fails is neither an operation nor a latency */
    assert_int_equal(kvs_disk_done(&job, &io[3], buf, 512, 170), KVS_ERR_IO);
    assert_non_null(strstr(job.err.msg, "came short"));
    job.err.code = KVS_OK;
    job.checked = false;
    assert_int_equal(kvs_disk_done(&job, &io[3], buf, 8192, 170), KVS_ERR_IO);
    assert_non_null(strstr(job.err.msg, "are not what was written"));
    assert_true(job.ops == 3 && hist.n == 3 && job.end_ns == 165);
    kvs_disk_close(disk);
}

/* A ring that polls runs, or the point says that there is none; the usual one goes on either way.
 */
static void other_rings_run_or_are_unavailable(void **state)
{
    static const char *const rings[] = {"iopoll", "sqpoll"};
    struct kvs_disk *disk = open_disk(KVS_ENGINE_AUTO, 4 << 20);
    struct kvs_disk *threads = open_disk(KVS_ENGINE_THREADS, 4 << 20);
    static struct kvs_sample sample;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct kvs_points points = {0, 0, NULL};
        struct kvs_point *p = kvs_points_add(&points, "storage.read", "disk0");
        struct kvs_err err = {KVS_OK, ""};
        memset(&sample, 0, sizeof sample);
        kvs_hist_init(&sample.lat_ns);
        p->size_bytes = 4096;
        p->depth = 4;
        p->jobs = 1;
        assert_true(kvs_point_set(p, "ring", json_string(rings[i])));
        enum kvs_code code = kvs_disk_run(disk, p, 0.01, &sample, &err);
        if (code == KVS_ERR_ABSENT)
            assert_true(strstr(err.msg, "polled queues") || strstr(err.msg, rings[i]));
        else if (code)
            fail_msg("%s: %s", rings[i], err.msg);
        else
            assert_true(sample.ops > 0);
        err = (struct kvs_err){KVS_OK, ""};
        assert_int_equal(kvs_disk_run(threads, p, 0.01, &sample, &err), KVS_ERR_ABSENT);
        assert_non_null(strstr(err.msg, "io_uring is not used here"));
        kvs_points_free(&points);
        err.code = KVS_OK;
        if (run(disk, "storage.read", 4096, 4, 1, 0, "rand", &err))
            fail_msg("%s", err.msg);
    }
    json_t *json = kvs_disk_json(disk);
    const char *why = json_string_value(json_object_get(json, "why_not_io_uring"));
    if (why) /* the kernel has none at all */
        print_message("# %s\n", why);
    else
        assert_string_equal(json_string_value(json_object_get(json, "engine")), "io_uring");
    json_decref(json);
    kvs_disk_close(disk);
    kvs_disk_close(threads);
}

static void nothing_is_left_in_the_folder_even_while_it_runs(void **state)
{
    struct kvs_disk *disk = open_disk(KVS_ENGINE_AUTO, 4 << 20);
    unsigned n = 0;
    (void)state;
    DIR *d = opendir(dir);
    while (readdir(d))
        n++;
    closedir(d);
    assert_int_equal(n, 2); /* . and .. */
    kvs_disk_close(disk);
}

static void wrong_requests_say_what_would_do(void **state)
{
    struct kvs_disk *disk = open_disk(KVS_ENGINE_AUTO, 4 << 20);
    static const struct {
        uint64_t size, depth, jobs;
        const char *says;
    } cases[] = {
        {4095, 1, 1, "want a multiple of 512"}, {0, 1, 1, "want a multiple of 512"},
        {4096, 0, 1, "want 1 to 1024"},         {4096, 1, 65, "with 1 to 64"},
        {4 << 20, 1, 1, "less than one piece"}, {1 << 20, 1024, 2, "buffers of"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvs_err err = {KVS_OK, ""};
        assert_int_equal(run(disk, "storage.read", cases[i].size, cases[i].depth, cases[i].jobs, 0,
                             "rand", &err),
                         KVS_ERR_RANGE);
        assert_non_null(strstr(err.msg, cases[i].says));
    }
    kvs_disk_close(disk);
}

static void a_folder_that_cannot_be_written_is_named(void **state)
{
    struct kvs_disk_config config = {.dir = "/proc", .file_bytes = 4 << 20};
    struct kvs_err err = {KVS_OK, ""};
    struct kvs_disk *disk;
    (void)state;
    assert_int_equal(kvs_disk_open(&config, &disk, &err), KVS_ERR_IO);
    assert_non_null(strstr(err.msg, "/proc: cannot make a test file: "));
    assert_null(disk);
    err.code = KVS_OK;
    config.dir = "/nowhere/at/all";
    assert_int_equal(kvs_disk_open(&config, &disk, &err), KVS_ERR_IO);
    assert_string_equal(err.msg,
                        "/nowhere/at/all: cannot make a test file: No such file or directory");
}

static void files_of_others_are_read_and_never_written(void **state)
{
    char file[128], before[65536], after[65536];
    struct kvs_disk_config config = {.engine = KVS_ENGINE_THREADS};
    struct kvs_err err = {KVS_OK, ""};
    struct kvs_disk *disk;
    (void)state;
    snprintf(file, sizeof file, "%s/theirs", dir);
    int fd = open(file, O_CREAT | O_RDWR, 0600);
    memset(before, 'x', sizeof before);
    assert_int_equal(write(fd, before, sizeof before), sizeof before);
    config.target = file;
    config.destroy = true;
    assert_int_equal(kvs_disk_open(&config, &disk, &err), KVS_ERR_ARG);
    assert_non_null(strstr(err.msg, "writes only to files that it made"));
    config.destroy = false;
    assert_int_equal(kvs_disk_open(&config, &disk, NULL), KVS_OK);
    assert_int_equal(run(disk, "storage.read", 4096, 2, 1, 0, "rand", NULL), KVS_OK);
    err.code = KVS_OK;
    assert_int_equal(run(disk, "storage.write", 4096, 2, 1, 0, "rand", &err), KVS_ERR_ABSENT);
    assert_int_equal(run(disk, "storage.mix", 4096, 2, 1, 0, "rand", NULL), KVS_ERR_ABSENT);
    assert_int_equal(pread(fd, after, sizeof after, 0), sizeof after);
    assert_memory_equal(before, after, sizeof before);

    /* it shrinks under us: a short read, not a hang and not a number */
    assert_int_equal(ftruncate(fd, 4096 + 512), 0);
    err.code = KVS_OK;
    assert_int_equal(run(disk, "storage.read", 4096, 2, 1, 0, "seq", &err), KVS_ERR_IO);
    assert_non_null(strstr(err.msg, "came short"));
    kvs_disk_close(disk);
    close(fd);
    unlink(file);
    err.code = KVS_OK;
    assert_int_equal(kvs_disk_open(&config, &disk, &err), KVS_ERR_IO); /* it vanished */
    assert_non_null(strstr(err.msg, "cannot open: No such file"));
}

/* A file system of 3 MiB: a file of 16 MiB does not fit. */
static void a_full_disk_is_said_with_what_was_written(void **state)
{
    struct kvs_disk_config config = {.dir = dir, .file_bytes = 16 << 20};
    struct kvs_err err = {KVS_OK, ""};
    struct kvs_disk *disk;
    char command[160];
    (void)state;
    snprintf(command, sizeof command, "mount -t tmpfs -o size=3m kvprobe-test %s 2>/dev/null", dir);
    if (geteuid() != 0 || system(command) != 0) /* NOLINT(bugprone-command-processor) */
        KVS_SKIP("no mounting of a small tmpfs here");
    enum kvs_code code = kvs_disk_open(&config, &disk, &err);
    snprintf(command, sizeof command, "umount %s", dir);
    assert_int_equal(system(command), 0); /* NOLINT(bugprone-command-processor) */
    assert_int_equal(code, KVS_ERR_IO);
    assert_non_null(strstr(err.msg, "No space left on device"));
    assert_non_null(strstr(err.msg, "of 16.0 MiB"));
}

/* In a child whose kernel refuses io_uring: threads take over, and the profile says so. */
static void without_io_uring_threads_take_over(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct sock_filter filter[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
            _exit(77);
        struct kvs_disk *disk = open_disk(KVS_ENGINE_AUTO, 4 << 20);
        if (run(disk, "storage.read", 4096, 8, 1, 0, "rand", NULL))
            _exit(1);
        json_t *json = kvs_disk_json(disk);
        const char *why = json_string_value(json_object_get(json, "why_not_io_uring"));
        _exit(!why || strcmp(why, "io_uring: Operation not permitted") != 0 ||
              strcmp(json_string_value(json_object_get(json, "engine")), "threads") != 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        KVS_SKIP("no seccomp filters here");
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_stop_ends_filling_and_running(void **state)
{
    volatile int stop = 1;
    struct kvs_disk_config config = {.dir = dir, .file_bytes = 4 << 20, .stop = &stop};
    struct kvs_err err = {KVS_OK, ""};
    struct kvs_disk *disk;
    (void)state;
    assert_int_equal(kvs_disk_open(&config, &disk, &err), KVS_ERR_IO);
    assert_non_null(strstr(err.msg, "stopped"));
    stop = 0;
    assert_int_equal(kvs_disk_open(&config, &disk, NULL), KVS_OK);
    stop = 1;
    struct kvs_points points = {0, 0, NULL};
    struct kvs_point *p = kvs_points_add(&points, "storage.read", "disk0");
    static struct kvs_sample sample;
    kvs_hist_init(&sample.lat_ns);
    p->size_bytes = 4096;
    p->depth = p->jobs = 1;
    assert_int_equal(kvs_disk_run(disk, p, 3600, &sample, NULL), KVS_OK); /* at once */
    kvs_points_free(&points);
    kvs_disk_close(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_engines_run_every_kind_of_point),
        cmocka_unit_test(an_operation_counts_with_its_latency_or_not_at_all),
        cmocka_unit_test(other_rings_run_or_are_unavailable),
        cmocka_unit_test(nothing_is_left_in_the_folder_even_while_it_runs),
        cmocka_unit_test(wrong_requests_say_what_would_do),
        cmocka_unit_test(a_folder_that_cannot_be_written_is_named),
        cmocka_unit_test(files_of_others_are_read_and_never_written),
        cmocka_unit_test(a_full_disk_is_said_with_what_was_written),
        cmocka_unit_test(without_io_uring_threads_take_over),
        cmocka_unit_test(a_stop_ends_filling_and_running),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
