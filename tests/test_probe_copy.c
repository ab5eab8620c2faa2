#include "test.h"

#include "probes/copy.h"

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
        cmocka_unit_test(what_is_missing_is_said),
        cmocka_unit_test(backends_are_available_or_say_why_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
