/* The cpu back end's threads: pinned, shared work, GEMM held to them. */
#include "test.h"

#include "kernels/backend.h"
#include "kernels/cpu/split.h"
#include "kernels/cpu/team.h"
#include "kernels/opvec.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct kvs_dev *open_cpu(const char *wish)
{
    struct kvs_dev *dev;
    struct kvs_err err = {0};
    setenv("KVS_CPU", wish, 1);
    if (kvs_dev_open("cpu", 0, 0, &dev, &err))
        fail_msg("%s: %s", wish, err.msg);
    unsetenv("KVS_CPU");
    return dev;
}

static void vectors_pass_on_any_number_of_threads(void **state)
{
    static const char *const wishes[] = {"threads=2", "own,threads=3", "base,own,threads=7"};
    char name[160];
    (void)state;
    for (int w = 0; w < 3; w++) {
        struct kvs_dev *dev = open_cpu(wishes[w]);
        for (unsigned i = 0; i < kvs_opvec_n(); i++) {
            struct kvs_err err = {0};
            if (kvs_opvec_run(dev, i, &err))
                fail_msg("%s: %s: %s", wishes[w], kvs_opvec_name(i, name), err.msg);
        }
        kvs_dev_close(dev);
    }
}

static void see_affinity(void *arg)
{
    assert_int_equal(sched_getaffinity(0, sizeof(cpu_set_t), arg), 0);
}

static void streams_are_pinned_to_cores_of_their_own(void **state)
{
    struct kvs_dev *dev = open_cpu("threads=1");
    struct kvs_stream *stream[2];
    cpu_set_t seen[2], ours, both;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof ours, &ours), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kvs_stream_new(dev, &stream[i], NULL), KVS_OK);
        assert_int_equal(kvs_stream_call(stream[i], see_affinity, &seen[i], NULL), KVS_OK);
        assert_int_equal(kvs_stream_sync(stream[i], NULL), KVS_OK);
        assert_int_equal(CPU_COUNT(&seen[i]), 1);
        CPU_AND(&both, &seen[i], &ours);
        assert_int_equal(CPU_COUNT(&both), 1);
    }
    if (CPU_COUNT(&ours) > 1)
        assert_false(CPU_EQUAL(&seen[0], &seen[1]));
    /* a freed stream's core is given again */
    kvs_stream_free(stream[0]);
    assert_int_equal(kvs_stream_new(dev, &stream[0], NULL), KVS_OK);
    assert_int_equal(kvs_stream_call(stream[0], see_affinity, &both, NULL), KVS_OK);
    assert_int_equal(kvs_stream_sync(stream[0], NULL), KVS_OK);
    assert_true(CPU_EQUAL(&both, &seen[0]));
    kvs_stream_free(stream[0]);
    kvs_stream_free(stream[1]);
    kvs_dev_close(dev);
}

static unsigned n_thread_now(void)
{
    DIR *folder = opendir("/proc/self/task");
    unsigned n = 0;
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder));)
        n += entry->d_name[0] != '.';
    (void)closedir(folder);
    return n;
}

/* oneDNN's own runtime starts no threads beside ours. */
static void gemm_runs_on_the_threads_it_was_given(void **state)
{
    enum { N = 384 };
    (void)state;
    for (unsigned n_thread = 1; n_thread <= 3; n_thread++) {
        char wish[32];
        unsigned before = n_thread_now();
        snprintf(wish, sizeof wish, "threads=%u", n_thread);
        struct kvs_dev *dev = open_cpu(wish);
        struct kvs_stream *stream;
        struct kvs_buf *x, *y;
        assert_int_equal(kvs_stream_new(dev, &stream, NULL), KVS_OK);
        assert_int_equal(kvs_buf_new(dev, KVS_MEM_DEVICE, 4 * N * N, &x, NULL), KVS_OK);
        assert_int_equal(kvs_buf_new(dev, KVS_MEM_DEVICE, 4 * N * N, &y, NULL), KVS_OK);
        float *ones = calloc(N * N, sizeof *ones);
        assert_non_null(ones);
        for (int i = 0; i < N * N; i++)
            ones[i] = 1;
        assert_int_equal(kvs_buf_write(kvs_at(x, 0), ones, 4 * N * N, NULL), KVS_OK);
        struct kvs_gemm op = {
            kvs_at(y, 0), kvs_at(x, 0), kvs_at(x, 0), KVS_F32, KVS_F32, KVS_F32, N, N, N, N, N, N};
        assert_int_equal(kvs_stream_gemm(stream, &op, NULL), KVS_OK);
        assert_int_equal(kvs_stream_sync(stream, NULL), KVS_OK);
        assert_int_equal(n_thread_now(), before + n_thread);
        assert_int_equal(kvs_buf_read(ones, kvs_at(y, 0), 4 * N * N, NULL), KVS_OK);
        for (int i = 0; i < N * N; i++)
            assert_true(ones[i] == N);
        free(ones);
        kvs_buf_free(x), kvs_buf_free(y);
        kvs_stream_free(stream);
        kvs_dev_close(dev);
        assert_int_equal(n_thread_now(), before);
    }
}

/* --- teams ------------------------------------------------------------------------------------ */

enum { N_TASK = 1000 };

static enum kvs_code count_task(void *arg, unsigned i, struct kvs_err *err)
{
    unsigned *n = arg;
    n[i]++;
    return i == 700 && n[i] > 1 ? kvs_fail(err, KVS_ERR_DEVICE, "task %u again", i) : KVS_OK;
}

static void team_runs_each_task_once_and_tells_the_first_failure(void **state)
{
    struct kvs_cores *cores;
    struct kvs_team *team;
    struct kvs_err err = {0};
    unsigned n[N_TASK] = {0};
    (void)state;
    assert_int_equal(kvs_cores_new(&cores, NULL), KVS_OK);
    assert_int_equal(kvs_team_new(cores, 4, 0, &team, NULL), KVS_OK);
    assert_int_equal(kvs_team_run(team, count_task, n, N_TASK, NULL), KVS_OK);
    for (int i = 0; i < N_TASK; i++)
        assert_int_equal(n[i], 1);
    assert_int_equal(kvs_team_run(team, count_task, n, N_TASK, &err), KVS_ERR_DEVICE);
    assert_string_equal(err.msg, "task 700 again");
    for (int i = 0; i < N_TASK; i++)
        assert_int_equal(n[i], 2);
    for (int round = 0; round < 2000; round++)
        assert_int_equal(kvs_team_run(team, count_task, n, 3, NULL), KVS_OK);
    assert_int_equal(n[2], 2002);
    assert_int_equal(kvs_team_run(team, count_task, n, 0, NULL), KVS_OK);
    kvs_team_free(team);
    kvs_cores_free(cores);
}

/* --- what $KVS_CPU may say ---------------------------------------------------------------------
 */

static void wrong_wishes_are_refused(void **state)
{
    static const struct {
        const char *wish, *why;
    } cases[] = {
        {"mmx", "found \"mmx\", want some of avx512"},
        {"base,threads=0", "found \"threads=0\", want threads=1 to 256"},
        {"threads=257", "want threads=1 to 256"},
        {"threads=2x", "want threads=1 to 256"},
        {"threads=-1", "want threads=1 to 256"},
        {"base,,own", "found \"\""},
    };
    struct kvs_dev *dev;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvs_err err = {0};
        setenv("KVS_CPU", cases[i].wish, 1);
        assert_int_equal(kvs_dev_open("cpu", 0, 0, &dev, &err), KVS_ERR_ARG);
        if (!strstr(err.msg, cases[i].why))
            fail_msg("%s: %s", cases[i].wish, err.msg);
    }
    unsetenv("KVS_CPU");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_pass_on_any_number_of_threads),
        cmocka_unit_test(streams_are_pinned_to_cores_of_their_own),
        cmocka_unit_test(gemm_runs_on_the_threads_it_was_given),
        cmocka_unit_test(team_runs_each_task_once_and_tells_the_first_failure),
        cmocka_unit_test(wrong_wishes_are_refused),
    };
    return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
