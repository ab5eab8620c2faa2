#include "jsonfit.h"
#include "test.h"

#include "cli_json.h"

#include "base/data.h"
#include "kernels/selftest/selftest.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static json_t *load(const char *path)
{
    json_error_t error;
    json_t *v = json_load_file(path, 0, &error);
    if (!v)
        fail_msg("%s: %s", path, error.text);
    return v;
}

static json_t *load_schema(const char *kind)
{
    char file[64], *path = NULL;
    struct kvs_err err = {0};
    snprintf(file, sizeof file, "configs/schema/%s.schema.json", kind);
    if (kvs_data_file(file, &path, &err))
        fail_msg("%s", err.msg);
    json_t *schema = load(path);
    free(path);
    return schema;
}

static void all_files_fit(const char *kind, const char *folder, unsigned at_least)
{
    char why[256] = "", **names = kvs_data_names(folder);
    json_t *schema = load_schema(kind);
    unsigned i = 0;
    assert_non_null(names);
    for (; names[i]; i++) {
        char *path = NULL;
        struct kvs_err err = {0};
        if (kvs_data_find(kind, folder, names[i], &path, &err))
            fail_msg("%s", err.msg);
        json_t *v = load(path);
        if (!jsonfit(schema, v, why))
            fail_msg("%s: %s", path, why);
        json_decref(v);
        free(path);
    }
    assert_true(i >= at_least);
    kvs_data_names_free(names);
    json_decref(schema);
}

static void every_shape_fits_its_schema(void **state)
{
    (void)state;
    all_files_fit("model", "configs/models", 10);
}

static void every_profile_fits_its_schema(void **state)
{
    (void)state;
    all_files_fit("hardware", "configs/hardware", 10);
}

static void every_codec_fits_its_schema(void **state)
{
    (void)state;
    all_files_fit("codec", "configs/codec", 1);
}

static void every_quality_table_fits_its_schema(void **state)
{
    (void)state;
    all_files_fit("quality", "configs/quality", 4);
}

static void every_price_list_fits_its_schema(void **state)
{
    (void)state;
    all_files_fit("prices", "configs/prices", 2);
}

static void every_sweep_fits_its_schema(void **state)
{
    (void)state;
    all_files_fit("sweep", "configs/sweeps", 2);
}

/* Inputs of the readers' fuzz corpora that the schemas must refuse as well, or accept. */
static void schemas_and_readers_agree(void **state)
{
    static const struct {
        const char *kind, *file;
        bool right;
    } cases[] = {
        {"model", "mla", true},
        {"model", "moe_window", true},
        {"model", "all_experts_active", true},
        {"model", "tiny", true},
        {"model", "not_an_object", false},
        {"model", "unknown_key", false},
        {"model", "fraction_of_layers", false},
        {"hardware", "kvprobe_record", true},
        {"hardware", "measured_layers", true},
        {"hardware", "no_gpu", true},
        {"hardware", "unknown_figure", true},
        {"hardware", "long_route", false},
        {"hardware", "many_links", false},
        {"codec", "small", true},
        {"codec", "bits_not_known", true}, /* the reader alone refuses it */
        {"codec", "unknown_key", false},
        {"codec", "too_many_bits_a_number", false},
        {"quality", "small", true},
        {"quality", "negative", false},
        {"quality", "no_ref", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char file[96], why[256] = "", *path = NULL;
        json_t *schema = load_schema(cases[i].kind);
        snprintf(file, sizeof file, "tests/fuzz/%s/%s.json", cases[i].kind, cases[i].file);
        assert_int_equal(kvs_data_file(file, &path, NULL), KVS_OK);
        json_t *v = load(path);
        if (jsonfit(schema, v, why) != cases[i].right)
            fail_msg("%s: %s", file, cases[i].right ? why : "was accepted");
        json_decref(v);
        json_decref(schema);
        free(path);
    }
}

static void selftest_report_fits_its_schema(void **state)
{
    struct kvs_dev *dev;
    struct kvs_err err = {0};
    json_t *report = NULL, *schema = load_schema("selftest");
    unsigned n_failed;
    char why[256] = "";
    (void)state;
    if (kvs_dev_open("ref", 0, 0, &dev, &err) ||
        kvs_selftest_run(dev, .01, &report, &n_failed, &err))
        fail_msg("%s", err.msg);
    if (!jsonfit(schema, report, why))
        fail_msg("%s", why);
    json_decref(report);
    json_decref(schema);
    kvs_dev_close(dev);
}

static void plans_fit_their_schema(void **state)
{
    static const char *const args[] = {
        "plan --model llama-3.1-8b --hardware h100-2gpu --budget 0.01 --json",
        "plan --model llama-3.1-8b --hardware h100-2gpu --reuse content --tier dram,nvme --json",
        "plan --model llama-2-7b --hardware a100-80g --hidden --bandwidth 1GB/s --json"};
    json_t *schema = load_schema("plan");
    (void)state;
    for (size_t i = 0; i < sizeof args / sizeof *args; i++) {
        char why[256] = "";
        json_t *answer = kvs_cli_json(args[i]);
        if (!jsonfit(schema, answer, why))
            fail_msg("kvsim %s: %s", args[i], why);
        json_decref(answer);
    }
    json_decref(schema);
}

/* Writes raw elements and codec files of them: exact, of other levels, and of e-levels all over. */
static void make_codec_files(const char *folder)
{
    static const char *const levels[] = {"raw16", "e4/p4,raw16/fp8", "e3"};
    char path[128], args[512];
    snprintf(path, sizeof path, "%s/raw", folder);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (unsigned i = 0; i < 2 * 2 * 40 * 32; i++) { /* f16 of 1 to 2, either sign */
        uint16_t x = (uint16_t)(0x3c00 | (i * 40503u >> 6 & 0x3ff) | (i * 977u >> 4 & 1) << 15);
        assert_int_equal(fwrite(&x, sizeof x, 1, f), 1);
    }
    assert_int_equal(fclose(f), 0);
    for (int i = 0; i < 3; i++) {
        snprintf(args, sizeof args,
                 "codec encode %s/raw -o %s/%d --layers 2 --kv-heads 2 --head-dim 16 --type f16 "
                 "--level %s",
                 folder, folder, i, levels[i]);
        (void)kvs_cli_text(args);
    }
}

static json_t *answer_that_fits(const json_t *schema, const char *args)
{
    char why[256] = "";
    json_t *answer = kvs_cli_json(args);
    if (!jsonfit(schema, answer, why))
        fail_msg("kvsim %s: %s", args, why);
    return answer;
}

static void codec_answers_fit_their_schemas(void **state)
{
    static const char *const lossy[] = {"[]", "[\"fp8\", \"p4\", \"e4\"]", "[\"e3\"]"};
    char folder[] = "/tmp/kvs-schema-XXXXXX", args[512], path[128], raw[128];
    json_t *bench = load_schema("codec_bench"), *inspect = load_schema("codec_inspect");
    (void)state;
    assert_non_null(mkdtemp(folder));
    make_codec_files(folder);
    snprintf(raw, sizeof raw, "%s/raw", folder);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%d", folder, i);
        snprintf(args, sizeof args, "codec inspect %s --json", path);
        json_decref(answer_that_fits(inspect, args));
        snprintf(args, sizeof args, "codec inspect %s --against %s --json", path, raw);
        json_decref(answer_that_fits(inspect, args));
        snprintf(args, sizeof args, "codec bench --input %s --rounds 1 --json", path);
        json_t *answer = answer_that_fits(bench, args), *want = json_loads(lossy[i], 0, NULL);
        assert_true(json_equal(json_object_get(answer, "lossy_input"), want));
        json_decref(want);
        json_decref(answer);
        snprintf(args, sizeof args, "codec bench --input %s --rounds 1", path);
        assert_int_equal(strstr(kvs_cli_text(args), "input: lossy, ") != NULL, i > 0);
        assert_int_equal(remove(path), 0);
    }
    json_decref(answer_that_fits(
        bench, "codec bench --tokens 64 --channels 32 --layers 1 --rounds 1 --json"));
    assert_int_equal(remove(raw), 0);
    assert_int_equal(remove(folder), 0);
    json_decref(bench);
    json_decref(inspect);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_fits_its_schema),
        cmocka_unit_test(every_profile_fits_its_schema),
        cmocka_unit_test(every_codec_fits_its_schema),
        cmocka_unit_test(every_quality_table_fits_its_schema),
        cmocka_unit_test(every_price_list_fits_its_schema),
        cmocka_unit_test(every_sweep_fits_its_schema),
        cmocka_unit_test(schemas_and_readers_agree),
        cmocka_unit_test(selftest_report_fits_its_schema),
        cmocka_unit_test(plans_fit_their_schema),
        cmocka_unit_test(codec_answers_fit_their_schemas),
    };
    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
