#include "test.h"

#include "probes/busy.h"
#include "probes/gds.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The fake libraries lie beside this program. */
static const char *fakes(void)
{
    static char dir[4096];
    ssize_t n = readlink("/proc/self/exe", dir, sizeof dir - 8);
    assert_true(n > 0);
    dir[n] = 0;
    char *slash = strrchr(dir, '/');
    assert_non_null(slash);
    memcpy(slash, "/fake", sizeof "/fake");
    return dir;
}

static const char *text_of(json_t *backends, const char *lib, const char *key)
{
    return json_string_value(json_object_get(json_object_get(backends, lib), key));
}

static void copies_run_both_ways_on_a_device(void **state)
{
    static const char *const probes[] = {"copy.h2d", "copy.d2h", "copy.both"};
    static struct kvs_sample sample;
    struct kvs_err err = {KVS_OK, ""};
    struct kvs_copy *copy;
    (void)state;
    unsetenv("KVS_FAKE_CUDA");
    if (kvs_copy_open(fakes(), 0, NULL, &copy, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < 3; i++) {
        struct kvs_points points = {0, 0, NULL};
        struct kvs_point *p = kvs_points_add(&points, probes[i], "gpu0");
        memset(&sample, 0, sizeof sample);
        kvs_hist_init(&sample.lat_ns);
        p->size_bytes = 4096;
        p->depth = 4;
        assert_int_equal(kvs_copy_run(copy, p, 0.002, &sample, &err), KVS_OK);
        assert_int_equal(sample.ops, sample.lat_ns.n * 4 * (i == 2 ? 2 : 1));
        assert_int_equal(sample.bytes, sample.ops * 4096);
        /* the fake's clock: a byte a nanosecond, one way after the other */
        assert_true(fabs(sample.bytes_per_s / 1e9 - (i == 2 ? 2 : 1)) < 1e-3);
        p->size_bytes = 1ull << 40;
        assert_int_equal(kvs_copy_run(copy, p, 0.001, &sample, NULL), KVS_ERR_RANGE);
        setenv("KVS_FAKE_CUDA", "cuStreamSynchronize", 1);
        p->size_bytes = 4096;
        err.code = KVS_OK;
        assert_int_equal(kvs_copy_run(copy, p, 0.001, &sample, &err), KVS_ERR_DEVICE);
        assert_non_null(strstr(err.msg, "made to fail (700)"));
        unsetenv("KVS_FAKE_CUDA");
        err.code = KVS_OK;
        kvs_points_free(&points);
    }
    kvs_copy_close(copy);
}

static struct kvs_disk *small_disk(void)
{
    struct kvs_disk_config config = {.dir = "/tmp", .file_bytes = 4 << 20, .seed = 7};
    struct kvs_disk *disk;
    struct kvs_err err = {KVS_OK, ""};
    if (kvs_disk_open(&config, &disk, &err))
        fail_msg("%s", err.msg);
    return disk;
}

static void cufile_reads_into_device_memory_what_the_file_holds(void **state)
{
    static const struct {
        const char *how, *says;
        enum kvs_code code;
    } cases[] = {
        {NULL, "cuFileDriverOpen: error 5001 (is nvidia-fs loaded?)", KVS_ERR_ABSENT},
        {"register", "cuFileHandleRegister: error 5030", KVS_ERR_ABSENT},
        {"read", "cuFileRead of 4096 bytes at 4096: -5022", KVS_ERR_DEVICE},
        {"flip", "cuFileRead brought other bytes than the file's", KVS_ERR_DEVICE},
        {"on", "", KVS_OK},
    };
    static struct kvs_sample sample;
    struct kvs_disk *disk = small_disk();
    struct kvs_copy *copy;
    struct kvs_gds *gds = NULL;
    (void)state;
    assert_int_equal(kvs_copy_open(fakes(), 0, NULL, &copy, NULL), KVS_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvs_err err = {KVS_OK, ""};
        if (cases[i].how)
            setenv("KVS_FAKE_CUFILE", cases[i].how, 1);
        else
            unsetenv("KVS_FAKE_CUFILE");
        assert_int_equal(kvs_gds_open(fakes(), copy, disk, NULL, &gds, &err), cases[i].code);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("%s", err.msg);
    }
    struct kvs_points points = {0, 0, NULL};
    struct kvs_point *p = kvs_points_add(&points, "copy.gds", "gpu0");
    kvs_hist_init(&sample.lat_ns);
    p->size_bytes = 65536;
    p->depth = 1;
    assert_int_equal(kvs_gds_run(gds, p, 0.002, &sample, NULL), KVS_OK);
    assert_true(sample.ops > 0 && sample.bytes == sample.ops * 65536 &&
                sample.lat_ns.n == sample.ops);
    p->size_bytes = 1 << 30;
    assert_int_equal(kvs_gds_run(gds, p, 0.002, &sample, NULL), KVS_ERR_RANGE);
    unsetenv("KVS_FAKE_CUFILE");
    kvs_points_free(&points);
    kvs_gds_close(gds);
    kvs_copy_close(copy);
    kvs_disk_close(disk);
}

static void the_device_s_slot_is_told_as_the_topology_tells_it(void **state)
{
    struct kvs_copy *copy;
    char pci[16];
    (void)state;
    assert_int_equal(kvs_copy_open(fakes(), 0, NULL, &copy, NULL), KVS_OK);
    kvs_copy_pci(copy, pci);
    assert_string_equal(pci, "0000:4f:00.0");
    kvs_copy_close(copy);
}

/* --- beside others ------------------------------------------------------------------------------
 */

struct worker {
    atomic_int n_run, n_seen; /* runs so far; those of the other when this one ran */
    struct worker *other;
    enum kvs_code fails;
};

static enum kvs_code work(void *self, struct kvs_point *point, double secs,
                          struct kvs_sample *sample, struct kvs_err *err)
{
    struct worker *w = self;
    (void)point;
    if (w->fails)
        return kvs_fail(err, w->fails, "worker broke");
    usleep((unsigned)(secs * 1e5));
    if (w->other)
        atomic_store(&w->n_seen, atomic_load(&w->other->n_run));
    atomic_fetch_add(&w->n_run, 1);
    sample->secs = secs;
    sample->bytes = (uint64_t)(secs * 5e9);
    sample->ops = 1;
    sample->cpu_ns = 1;
    return KVS_OK;
}

static void a_run_beside_others_begins_when_they_are_busy(void **state)
{
    static struct kvs_sample sample;
    struct worker side = {.other = NULL}, front = {.other = &side};
    struct kvs_points points = {0, 0, NULL}, own = {0, 0, NULL};
    struct kvs_point *p = kvs_points_add(&points, "copy.h2d", "gpu0");
    struct kvs_point *b = kvs_points_add(&own, "storage.read", "beside");
    struct kvs_busy busy = {work, &front, 1, {{work, &side, b}}};
    struct kvs_err err = {KVS_OK, ""};
    (void)state;
    assert_int_equal(kvs_busy_run(&busy, p, 0.01, &sample, &err), KVS_OK);
    assert_int_equal(front.n_run, 1);
    assert_true(front.n_seen >= 1);
    assert_true(sample.cpu_ns < 0 && sample.ops == 1);
    assert_true(fabs(json_real_value(json_object_get(p->params, "beside_bytes_per_s")) / 5e9 - 1) <
                1e-6);
    side.fails = KVS_ERR_IO; /* what runs beside may not fail unseen */
    assert_int_equal(kvs_busy_run(&busy, p, 0.01, &sample, &err), KVS_ERR_IO);
    assert_string_equal(err.msg, "beside it: worker broke");
    kvs_points_free(&points);
    kvs_points_free(&own);
}

static void what_is_missing_is_said(void **state)
{
    static const struct {
        const char *fail, *says;
        enum kvs_code code;
    } cases[] = {
        {"cuInit", "cuInit: made to fail (700)", KVS_ERR_ABSENT},
        {"none", "the CUDA driver sees no device", KVS_ERR_ABSENT},
        {"cuMemAlloc", "buffers of 256 MiB: made to fail", KVS_ERR_DEVICE},
        {"flip", "bytes copied to the device came back changed", KVS_ERR_DEVICE},
    };
    struct kvs_err err = {KVS_OK, ""};
    struct kvs_copy *copy;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("KVS_FAKE_CUDA", cases[i].fail, 1);
        err.code = KVS_OK;
        assert_int_equal(kvs_copy_open(fakes(), 0, NULL, &copy, &err), cases[i].code);
        assert_non_null(strstr(err.msg, cases[i].says));
        assert_null(copy);
    }
    unsetenv("KVS_FAKE_CUDA");
    err.code = KVS_OK;
    assert_int_equal(kvs_copy_open("/nowhere", 0, NULL, &copy, &err), KVS_ERR_ABSENT);
    assert_string_equal(err.msg, "libcuda.so.1 is not on this machine");
}

static void backends_are_available_or_say_why_not(void **state)
{
    (void)state;
    json_t *b = kvs_copy_backends_in(fakes());
    assert_string_equal(text_of(b, "cuda", "status"), "available");
    assert_string_equal(text_of(b, "nvml", "status"), "available");
    json_t *device = json_array_get(json_object_get(json_object_get(b, "nvml"), "devices"), 0);
    assert_string_equal(json_string_value(json_object_get(device, "name")), "Fake 9000");
    assert_int_equal(json_integer_value(json_object_get(device, "sm_clock_mhz")), 1980);
    assert_true(json_is_null(json_object_get(device, "ecc")));
    assert_int_equal(json_integer_value(json_object_get(device, "throttle_reasons")), 4);
    assert_string_equal(text_of(b, "cufile", "status"), "unavailable");
    assert_non_null(strstr(text_of(b, "cufile", "reason"), "error 5001"));
    json_decref(b);
    setenv("KVS_FAKE_NVML", "1", 1);
    b = kvs_copy_backends_in(fakes());
    assert_string_equal(text_of(b, "nvml", "reason"), "nvmlInit: error 9");
    json_decref(b);
    unsetenv("KVS_FAKE_NVML");
    b = kvs_copy_backends_in("/nowhere");
    assert_string_equal(text_of(b, "cufile", "reason"), "libcufile.so.0 is not on this machine");
    json_decref(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_run_both_ways_on_a_device),
        cmocka_unit_test(cufile_reads_into_device_memory_what_the_file_holds),
        cmocka_unit_test(the_device_s_slot_is_told_as_the_topology_tells_it),
        cmocka_unit_test(a_run_beside_others_begins_when_they_are_busy),
        cmocka_unit_test(what_is_missing_is_said),
        cmocka_unit_test(backends_are_available_or_say_why_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
