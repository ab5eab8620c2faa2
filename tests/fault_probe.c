/*
 * The nth allocation or file call fails while a profile's points are read, fitted, written and
 * plotted: an error, no leak, no half profile. The text is parsed beforehand: Jansson 2.14's lexer
 * writes past its buffer when memory ends inside a token.
 */
#include "test.h"

#include "fault.h"

#include "probes/import.h"
#include "probes/plot.h"
#include "probes/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64], out[96];
static struct kvs_doc *doc;

#define REPEAT                                                                                     \
    "{\"secs\":1,\"bytes_per_s\":1e9,\"bytes\":1000,\"ops\":10,\"lat_ns\":{\"p50\":1,\"p90\":2,"   \
    "\"p99\":3,"                                                                                   \
    "\"p999\":4,\"max\":5},\"hist\":[[1,5],[5,5]]}"
#define POINT(size, depth)                                                                         \
    "{\"probe\":\"storage.read\",\"target\":\"disk0\",\"status\":\"ok\",\"source\":\"measured\","  \
    "\"size_bytes\":" size ",\"depth\":" depth                                                     \
    ",\"params\":{\"pattern\":\"rand\"},\"repeats\":[" REPEAT "," REPEAT "]}"
static const char text[] =
    "{\"schema\":\"kvsim.profile\",\"schema_version\":\"1.0.0\",\"points\":[" POINT(
        "4096", "1") "," POINT("65536", "1") "," POINT("65536", "8") "]}";

static enum kvs_code read_and_write(void *ctx, struct kvs_err *err)
{
    (void)ctx;
    struct kvs_points points = {0, 0, NULL};
    json_t *json = NULL;
    enum kvs_code code = kvs_profile_points(doc, &points, err);
    if (!code) {
        struct kvs_profile profile = {.name = "x", .about = "y", .points = &points, .seed = 1};
        json = kvs_profile_json(&profile);
        code = json ? kvs_profile_write(json, out, err) : kvs_nomem(err);
        if (json) /* whole, or not at all */
            assert_int_equal(json_array_size(json_object_get(json, "points")), 3);
    }
    json_decref(json);
    kvs_points_free(&points);
    return code;
}

static enum kvs_code plot(void *ctx, struct kvs_err *err)
{
    (void)ctx;
    struct kvs_points points = {0, 0, NULL};
    unsigned n;
    enum kvs_code code = kvs_profile_points(doc, &points, err);
    if (!code)
        code = kvs_plot_points(&points, dir, &n, err);
    kvs_points_free(&points);
    return code;
}

static enum kvs_code import(void *ctx, struct kvs_err *err)
{
    (void)ctx;
    static const char report[] =
        " #bytes #iterations BW average[Gb/sec]\n 4096 10 80.5\n 8192 10 90.5\n";
    struct kvs_points points = {0, 0, NULL};
    enum kvs_code code = kvs_import("report", report, sizeof report - 1, &points, err);
    kvs_points_free(&points);
    return code;
}

static void no_memory_is_an_error_everywhere(void **state)
{
    (void)state;
    kvs_fault_every(KVS_FAULT_MEM, false, read_and_write, NULL);
    kvs_fault_every(KVS_FAULT_MEM, false, plot, NULL);
    kvs_fault_every(KVS_FAULT_MEM, false, import, NULL);
}

static void failing_files_are_errors(void **state)
{
    (void)state;
    kvs_fault_every(KVS_FAULT_IO, false, read_and_write, NULL);
    kvs_fault_every(KVS_FAULT_IO, false, plot, NULL);
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/kvprobe-fault-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(out, sizeof out, "%s/p.json", dir);
    return kvs_doc_parse("fault", text, sizeof text - 1, &doc, NULL) == KVS_OK ? 0 : -1;
}

static int remove_dir(void **state)
{
    static const char *const names[] = {"p.json", "storage-read-disk0.dat",
                                        "storage-read-disk0-cdf.dat", "storage-read-disk0.gp"};
    char path[160];
    (void)state;
    kvs_doc_free(doc);
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    return rmdir(dir); /* fails if a temporary file was left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_memory_is_an_error_everywhere),
        cmocka_unit_test(failing_files_are_errors),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
