#include "test.h"

#include "cli_json.h"

#include "base/data.h"
#include "kernels/selftest/selftest.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* As much of JSON Schema (draft 2020-12) as the schemas of shapes and profiles use. */
static bool fits(const json_t *root, const json_t *schema, const json_t *v, char why[256]);

static bool is_type(const json_t *v, const char *type)
{
    bool whole = json_is_real(v) && json_real_value(v) == (double)(long long)json_real_value(v);
    return (strcmp(type, "object") == 0 && json_is_object(v)) ||
           (strcmp(type, "array") == 0 && json_is_array(v)) ||
           (strcmp(type, "string") == 0 && json_is_string(v)) ||
           (strcmp(type, "boolean") == 0 && json_is_boolean(v)) ||
           (strcmp(type, "null") == 0 && json_is_null(v)) ||
           (strcmp(type, "number") == 0 && json_is_number(v)) ||
           (strcmp(type, "integer") == 0 && (json_is_integer(v) || whole));
}

static bool fits_type(const json_t *type, const json_t *v)
{
    size_t i;
    json_t *one;
    if (!type)
        return true;
    if (json_is_string(type))
        return is_type(v, json_string_value(type));
    json_array_foreach(type, i, one) if (is_type(v, json_string_value(one))) return true;
    return false;
}

static bool fits_value(const json_t *schema, const json_t *v)
{
    size_t i;
    json_t *one, *names = json_object_get(schema, "enum"), *only = json_object_get(schema, "const");
    const json_t *min = json_object_get(schema, "minimum"),
                 *max = json_object_get(schema, "maximum");
    if (only && !json_equal(only, v))
        return false;
    if (json_is_number(v) && min && json_number_value(v) < json_number_value(min))
        return false;
    if (json_is_number(v) && max && json_number_value(v) > json_number_value(max))
        return false;
    if (!names)
        return true;
    json_array_foreach(names, i, one) if (json_equal(one, v)) return true;
    return false;
}

static bool fits_object(const json_t *root, const json_t *schema, const json_t *v, char why[256])
{
    const json_t *properties = json_object_get(schema, "properties");
    json_t *required = json_object_get(schema, "required"), *one;
    const char *key;
    size_t i;
    json_array_foreach(required, i, one)
    {
        if (!json_object_get(v, json_string_value(one))) {
            snprintf(why, 256, "\"%s\" is missing", json_string_value(one));
            return false;
        }
    }
    json_object_foreach((json_t *)v, key, one)
    {
        const json_t *inner = json_object_get(properties, key);
        if (!inner && json_is_false(json_object_get(schema, "additionalProperties"))) {
            snprintf(why, 256, "\"%.80s\" is not in the schema", key);
            return false;
        }
        if (inner && !fits(root, inner, one, why)) {
            size_t n = strlen(why);
            snprintf(why + n, 256 - n, " in \"%.80s\"", key);
            return false;
        }
    }
    return true;
}

static bool fits_array(const json_t *root, const json_t *schema, const json_t *v, char why[256])
{
    const json_t *items = json_object_get(schema, "items");
    const json_t *max = json_object_get(schema, "maxItems");
    const json_t *min = json_object_get(schema, "minItems");
    size_t n = json_array_size(v);
    if ((max && n > (size_t)json_integer_value(max)) ||
        (min && n < (size_t)json_integer_value(min)))
        return false;
    for (size_t i = 0; items && i < n; i++)
        if (!fits(root, items, json_array_get(v, i), why))
            return false;
    return true;
}

static bool fits(const json_t *root, const json_t *schema, const json_t *v, char why[256])
{
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    if (ref) {
        assert_int_equal(strncmp(ref, "#/$defs/", 8), 0);
        schema = json_object_get(json_object_get(root, "$defs"), ref + 8);
        assert_non_null(schema);
    }
    if (!fits_type(json_object_get(schema, "type"), v) || !fits_value(schema, v)) {
        snprintf(why, 256, "wrong type or value");
        return false;
    }
    if (json_is_object(v))
        return fits_object(root, schema, v, why);
    return json_is_array(v) ? fits_array(root, schema, v, why) : true;
}

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
        if (!fits(schema, schema, v, why))
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
        if (fits(schema, schema, v, why) != cases[i].right)
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
    if (!fits(schema, schema, report, why))
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
        if (!fits(schema, schema, answer, why))
            fail_msg("kvsim %s: %s", args[i], why);
        json_decref(answer);
    }
    json_decref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_fits_its_schema),
        cmocka_unit_test(every_profile_fits_its_schema),
        cmocka_unit_test(every_codec_fits_its_schema),
        cmocka_unit_test(every_quality_table_fits_its_schema),
        cmocka_unit_test(schemas_and_readers_agree),
        cmocka_unit_test(selftest_report_fits_its_schema),
        cmocka_unit_test(plans_fit_their_schema),
    };
    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
