#include "test.h"

#include "base/rng.h"
#include "model/hardware.h"
#include "probes/import.h"
#include "probes/memory.h"
#include "probes/plot.h"
#include "probes/profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Points of a device of known figures: what kvprobe would have measured. */
static void add_points(struct kvs_points *points, const char *probe, const char *target,
                       double latency_s, double descriptor_s, double bytes_per_s,
                       uint64_t n_descriptor)
{
    static const uint64_t sizes[] = {4096, 65536, 1048576}, depths[] = {1, 8, 64};
    static struct kvs_sample sample;
    static const struct kvs_health quiet = {0, 0, 0, 1, 0};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            struct kvs_point *p = kvs_points_add(points, probe, target);
            p->size_bytes = sizes[i];
            p->depth = depths[k];
            p->jobs = 1;
            p->n_descriptor = n_descriptor;
            for (int r = 0; r < 5; r++) {
                double s = kvs_link_fit_s(latency_s, descriptor_s, bytes_per_s, (double)sizes[i],
                                          (double)depths[k], (double)n_descriptor);
                memset(&sample, 0, sizeof sample);
                kvs_hist_init(&sample.lat_ns);
                sample.secs = 1;
                sample.cpu_ns = -1;
                sample.bytes_per_s =
                    (double)sizes[i] * (n_descriptor ? (double)n_descriptor : 1) / s;
                kvs_hist_add(&sample.lat_ns, (uint64_t)(s * 1e9));
                assert_int_equal(kvs_point_repeat(p, &sample, &quiet, 1, NULL), KVS_OK);
            }
            kvs_point_judge(p, 1, 1);
        }
}

static json_t *make(struct kvs_points *points)
{
    struct kvs_profile profile = {.name = "test",
                                  .about = "test",
                                  .gpus_per_host = 1,
                                  .mem_bytes = 64e9,
                                  .disk_bytes = 1e12,
                                  .points = points,
                                  .seed = 1};
    json_t *json = kvs_profile_json(&profile);
    assert_non_null(json);
    return json;
}

static struct kvs_hw *as_hardware(json_t *json)
{
    struct kvs_err err = {KVS_OK, ""};
    struct kvs_doc *doc;
    struct kvs_hw *hw = NULL;
    char *text = json_dumps(json, 0);
    if (kvs_doc_parse("profile", text, strlen(text), &doc, &err) || kvs_hw_from(doc, &hw, &err))
        fail_msg("%s", err.msg);
    free(text);
    return hw;
}

static void assert_figure(const struct kvs_figure *figure, double want, const char *what)
{
    assert_true(figure->known);
    assert_int_equal(figure->source, KVS_MEASURED);
    if (!(fabs(figure->value / want - 1) < 0.02))
        fail_msg("%s: %g, want %g", what, figure->value, want);
}

static void kvsim_reads_a_measured_profile_with_the_fitted_figures(void **state)
{
    struct kvs_points points = {0, 0, NULL};
    (void)state;
    add_points(&points, "storage.read", "disk0", 70e-6, 2e-6, 7e9, 0);
    add_points(&points, "storage.kv", "disk0", 80e-6, 1.5e-6, 6.5e9, 64);
    add_points(&points, "storage.write", "disk0", 30e-6, 3e-6, 3e9, 0);
    add_points(&points, "memory.copy", "host", 1e-9, 1e-10, 20e9, 0);
    add_points(&points, "memory.latency", "host", 1e-7, 1e-9, 1e9, 0);
    add_points(&points, "memory.gather", "host", 3e-7, 1e-8, 18e9, 0);
    add_points(&points, "network.read", "10.0.0.2", 20e-6, 1e-6, 12e9, 0);
    json_t *json = make(&points);
    struct kvs_hw *hw = as_hardware(json);
    const struct kvs_hw_link *nvme = kvs_hw_link(hw, "nvme"), *nic = kvs_hw_link(hw, "nic");
    assert_non_null(nvme);
    assert_figure(&nvme->read_bytes_per_s, 6.5e9, "rate of loads, not of streams");
    assert_figure(&nvme->write_bytes_per_s, 3e9, "write rate");
    assert_figure(&nvme->latency_s, 80e-6, "latency");
    assert_figure(&nvme->descriptor_s, 1.5e-6, "descriptor");
    assert_true(nvme->latency_s.rel_error < 0.05);
    assert_figure(&nic->read_bytes_per_s, 12e9, "network");
    assert_non_null(kvs_hw_link(hw, "dram"));
    assert_null(kvs_hw_link(hw, "pcie")); /* not measured: not there, and in no route */
    assert_null(hw->gpu);
    assert_int_equal(kvs_hw_tier(hw, "nvme")->n_hop, 2);
    assert_non_null(kvs_hw_tier(hw, "remote"));
    kvs_hw_free(hw);
    json_decref(json);
    kvs_points_free(&points);
}

static void loopback_and_shared_memory_make_no_network_link(void **state)
{
    struct kvs_points points = {0, 0, NULL};
    (void)state;
    add_points(&points, "network.read", "127.0.0.1", 20e-6, 1e-6, 12e9, 0);
    size_t n = points.n;
    add_points(&points, "network.read", "other", 2e-6, 1e-7, 12e9, 0);
    for (; n < points.n; n++)
        assert_true(kvs_point_set(points.v[n], "transport", json_string("shm")));
    json_t *json = make(&points);
    struct kvs_hw *hw = as_hardware(json);
    assert_null(kvs_hw_link(hw, "nic"));
    assert_int_equal(json_array_size(json_object_get(json, "fits")), 2); /* the record keeps them */
    kvs_hw_free(hw);
    json_decref(json);
    kvs_points_free(&points);
}

static void noisy_points_widen_the_error_bars(void **state)
{
    struct kvs_points points = {0, 0, NULL};
    (void)state;
    add_points(&points, "storage.read", "disk0", 70e-6, 2e-6, 7e9, 0);
    points.v[3]->noisy = true;
    json_t *json = make(&points);
    struct kvs_hw *hw = as_hardware(json);
    assert_true(kvs_hw_link(hw, "nvme")->read_bytes_per_s.rel_error >= 0.25);
    assert_false(kvs_hw_link(hw, "nvme")->write_bytes_per_s.known);
    assert_null(kvs_hw_tier(hw, "nvme")); /* a link that is half known is in no route */
    kvs_hw_free(hw);
    json_decref(json);
    kvs_points_free(&points);
}

static void a_profile_is_written_whole_and_read_back(void **state)
{
    struct kvs_points points = {0, 0, NULL}, back;
    struct kvs_err err = {KVS_OK, ""};
    struct kvs_doc *doc;
    char path[] = "/tmp/kvprobe-profile-XXXXXX";
    (void)state;
    close(mkstemp(path));
    add_points(&points, "storage.read", "disk0", 70e-6, 2e-6, 7e9, 0);
    json_t *json = make(&points);
    assert_int_equal(kvs_profile_write(json, path, NULL), KVS_OK);
    if (kvs_profile_open(path, &doc, &back, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(back.n, points.n);
    for (size_t i = 0; i < back.n; i++) {
        assert_int_equal(back.v[i]->n_repeat, 5);
        assert_true(fabs(back.v[i]->rate.median / points.v[i]->rate.median - 1) < 1e-9);
        assert_int_equal(back.v[i]->repeat[4].n_bin, 1);
    }
    kvs_points_free(&back);
    kvs_doc_free(doc);
    assert_int_equal(kvs_profile_write(json, "/nowhere/p.json", &err), KVS_ERR_IO);
    assert_non_null(strstr(err.msg, "/nowhere/p.json: No such file"));
    assert_int_equal(kvs_profile_write(json, "/dev/null", &err), KVS_ERR_ARG); /* it stays one */
    unlink(path);
    json_decref(json);
    kvs_points_free(&points);
}

static void bad_profiles_name_the_place(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"[]", "found an array"},
        {"{\"schema\":\"x\",\"schema_version\":\"1.0.0\"}", "kvsim.profile"},
        {"{\"schema\":\"kvsim.profile\",\"schema_version\":\"2.0.0\"}", "found \"2.0.0\""},
        {"{\"schema\":\"kvsim.profile\",\"schema_version\":\"1.0.0\",\"points\":[{\"probe\":1}]}",
         "points[0].probe"},
        {"{\"schema\":\"kvsim.profile\",\"schema_version\":\"1.0.0\",\"points\":[{\"probe\":\"a\","
         "\"target\":\"b\",\"source\":\"measured\",\"status\":\"fine\",\"repeats\":[]}]}",
         "points[0].status"},
        {"{\"schema\":\"kvsim.profile\",\"schema_version\":\"1.0.0\",\"points\":[{\"probe\":\"a\","
         "\"target\":\"b\",\"source\":\"measured\",\"status\":\"ok\",\"repeats\":[{\"hist\":[[1]]}]"
         "}]}",
         "points[0].repeats[0].hist[0]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvs_points points = {0, 0, NULL};
        struct kvs_err err = {KVS_OK, ""};
        struct kvs_doc *doc;
        assert_int_equal(kvs_doc_parse("p.json", cases[i].text, strlen(cases[i].text), &doc, &err),
                         KVS_OK);
        assert_int_not_equal(kvs_profile_points(doc, &points, &err), KVS_OK);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("\"%s\" does not say \"%s\"", err.msg, cases[i].says);
        kvs_points_free(&points);
        kvs_doc_free(doc);
    }
}

/* --- importers ----------------------------------------------------------------------------------
 */

static enum kvs_code import(const char *text, struct kvs_points *points, struct kvs_err *err)
{
    memset(points, 0, sizeof *points);
    err->code = KVS_OK;
    return kvs_import("report", text, strlen(text), points, err);
}

static void fio_reports_become_points(void **state)
{
    const char *text =
        "{\"fio version\":\"fio-3.33\",\"global options\":{\"direct\":\"1\",\"bs\":\"64k\"},"
        "\"jobs\":[{\"jobname\":\"r\",\"job options\":{\"rw\":\"randread\",\"iodepth\":\"32\"},"
        "\"read\":{\"bw_bytes\":1000000000,\"lat_ns\":{\"percentile\":{\"50.000000\":2000000,"
        "\"99.000000\":5000000}}},\"write\":{\"bw_bytes\":0}}]}";
    struct kvs_points points;
    struct kvs_err err;
    (void)state;
    if (import(text, &points, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(points.n, 1);
    const struct kvs_point *p = points.v[0];
    assert_string_equal(p->probe, "storage.read");
    assert_string_equal(p->source, "imported");
    assert_string_equal(kvs_point_param(p, "pattern"), "rand");
    assert_string_equal(kvs_point_param(p, "path"), "direct");
    assert_int_equal(p->size_bytes, 65536);
    assert_int_equal(p->depth, 32);
    assert_true(p->rate.median == 1e9 && p->p50.median == 2e6 && p->p99.median == 5e6);
    assert_false(p->steady); /* one report is one repeat */
    kvs_points_free(&points);
}

static void perftest_and_nixlbench_tables_become_points(void **state)
{
    struct kvs_points points;
    struct kvs_err err;
    (void)state;
    if (import("---------------------------------------\n"
               " #bytes     #iterations    BW peak[MB/sec]    BW average[MB/sec]   MsgRate[Mpps]\n"
               " 65536      1000             11700.00            11600.00\t\t   0.185600\n"
               " 1048576    1000             11750.00            11740.00\t\t   0.011740\n"
               "---------------------------------------\n",
               &points, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(points.n, 2);
    assert_int_equal(points.v[1]->size_bytes, 1048576);
    assert_true(points.v[0]->rate.median == 11600.0 * 1048576);
    assert_int_equal(points.v[0]->p50.n, 0);
    kvs_points_free(&points);

    if (import(
            " #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    "
            "t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec]\n"
            " 8       1000          1.80           5.00         1.90     \t       1.95        "
            "\t0.10"
            "\t\t2.50                    4.00\n",
            &points, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(points.n, 1);
    assert_true(points.v[0]->p50.median == 1900 && points.v[0]->p99.median == 2500);
    kvs_points_free(&points);

    if (import("Block Size (B)      Batch Size     B/W (GB/Sec)   Avg Lat. (us)  Avg Prep (us)  "
               "P99 Prep "
               "(us)  Avg Post (us)  P99 Post (us)  Avg Tx (us)    P99 Tx (us)\n"
               "----------------------------------------------------------------\n"
               "4096                1              0.5            8.1            1.0            "
               "2.0      "
               "      1.0            2.0            7.0            9.5\n",
               &points, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(points.n, 1);
    assert_int_equal(points.v[0]->depth, 1);
    assert_true(points.v[0]->rate.median == 0.5e9);
    kvs_points_free(&points);
}

static void nvbandwidth_matrices_become_points(void **state)
{
    struct kvs_points points;
    struct kvs_err err;
    (void)state;
    if (import("Running host_to_device_memcpy_ce.\n"
               "memcpy CE CPU(row) -> GPU(column) bandwidth (GB/s)\n"
               "           0         1\n 0     55.63     55.64\n\nSUM host_to_device_memcpy_ce "
               "111.27\n"
               "Running device_to_device_memcpy_read_ce.\n           0         1\n"
               " 0       N/A    276.07\n 1    275.82       N/A\n",
               &points, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(points.n, 4);
    assert_string_equal(points.v[1]->probe, "copy.h2d");
    assert_string_equal(points.v[1]->target, "0>gpu1");
    assert_true(points.v[1]->rate.median == 55.64e9);
    assert_string_equal(points.v[3]->target, "1>gpu0");
    kvs_points_free(&points);
}

static void nvbandwidth_json_becomes_points(void **state)
{
    struct kvs_points points;
    struct kvs_err err;
    (void)state;
    if (import("{\"nvbandwidth\": {\"version\": \"v0.8\", \"testcases\": ["
               "{\"name\": \"host_to_device_memcpy_ce\", \"status\": \"Passed\","
               " \"bandwidth_matrix\": [[\"55.63\", \"55.64\"]], \"sum\": 111.27},"
               "{\"name\": \"some_new_test\", \"bandwidth_matrix\": [[\"1\"]]},"
               "{\"name\": \"device_to_host_memcpy_ce\", \"status\": \"Waived\"},"
               "{\"name\": \"device_to_device_memcpy_read_ce\","
               " \"bandwidth_matrix\": [[\"N/A\", \"276.07\"], [275.82, \"N/A\"]]}]}}",
               &points, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(points.n, 4);
    assert_string_equal(points.v[1]->probe, "copy.h2d");
    assert_string_equal(points.v[1]->target, "0>gpu1");
    assert_true(points.v[1]->rate.median == 55.64e9);
    assert_string_equal(points.v[3]->target, "1>gpu0");
    assert_true(points.v[3]->rate.median == 275.82e9);
    kvs_points_free(&points);
}

static void what_is_no_report_is_an_error(void **state)
{
    static const char *const texts[] = {
        "", "hello\n", "{}", "{\"jobs\":3}", "{\"jobs\":[]}", " #bytes\n"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct kvs_points points;
        struct kvs_err err;
        assert_int_equal(import(texts[i], &points, &err), KVS_ERR_PARSE);
        assert_non_null(strstr(err.msg, "report"));
        kvs_points_free(&points);
    }
}

/* --- memory, plots -------------------------------------------------------------------------------
 */

static void memory_kernels_count_what_they_touch(void **state)
{
    static const char *const probes[] = {"memory.read", "memory.write", "memory.copy",
                                         "memory.gather", "memory.latency"};
    static struct kvs_sample sample;
    struct kvs_mem *mem;
    (void)state;
    assert_int_equal(kvs_mem_open(1 << 20, -1, -1, 1, NULL, &mem, NULL), KVS_ERR_RANGE);
    assert_int_equal(kvs_mem_open(16 << 20, -1, -1, 1, NULL, &mem, NULL), KVS_OK);
    for (int i = 0; i < 5; i++) {
        struct kvs_points points = {0, 0, NULL};
        struct kvs_point *p = kvs_points_add(&points, probes[i], "host");
        memset(&sample, 0, sizeof sample);
        kvs_hist_init(&sample.lat_ns);
        p->jobs = i < 3 ? 3 : 1;
        p->size_bytes = i == 3 ? 4096 : 0;
        assert_int_equal(kvs_mem_run(mem, p, 0.005, &sample, NULL), KVS_OK);
        assert_true(sample.bytes > 0 && sample.bytes_per_s > 0 && sample.secs > 0);
        p->jobs = 0;
        assert_int_equal(kvs_mem_run(mem, p, 0.005, &sample, NULL), KVS_ERR_RANGE);
        kvs_points_free(&points);
    }
    kvs_mem_close(mem);
}

static void plots_have_one_block_a_depth(void **state)
{
    struct kvs_points points = {0, 0, NULL};
    char dir[] = "/tmp/kvprobe-plot-XXXXXX", path[128], line[256];
    unsigned n, n_row = 0, n_empty = 0;
    (void)state;
    assert_non_null(mkdtemp(dir));
    add_points(&points, "storage.read", "a/b\"`x", 70e-6, 2e-6, 7e9, 0);
    assert_int_equal(kvs_plot_points(&points, dir, &n, NULL), KVS_OK);
    assert_int_equal(n, 1);
    snprintf(path, sizeof path, "%s/storage-read-a-b--x.dat", dir);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        n_row += line[0] >= '0' && line[0] <= '9';
        n_empty += line[0] == '\n';
    }
    fclose(file);
    assert_int_equal(n_row, 9);
    assert_int_equal(n_empty, 4);
    static const char *const ends[] = {".dat", "-cdf.dat", ".gp"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/storage-read-a-b--x%s", dir, ends[i]);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(dir), 0);
    kvs_points_free(&points);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kvsim_reads_a_measured_profile_with_the_fitted_figures),
        cmocka_unit_test(loopback_and_shared_memory_make_no_network_link),
        cmocka_unit_test(noisy_points_widen_the_error_bars),
        cmocka_unit_test(a_profile_is_written_whole_and_read_back),
        cmocka_unit_test(bad_profiles_name_the_place),
        cmocka_unit_test(fio_reports_become_points),
        cmocka_unit_test(perftest_and_nixlbench_tables_become_points),
        cmocka_unit_test(nvbandwidth_matrices_become_points),
        cmocka_unit_test(nvbandwidth_json_becomes_points),
        cmocka_unit_test(what_is_no_report_is_an_error),
        cmocka_unit_test(memory_kernels_count_what_they_touch),
        cmocka_unit_test(plots_have_one_block_a_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
