/* What a run leaves fits what configs/schema says of it, column by column and key by key. */
#include "base/data.h"
#include "jsonfit.h"
#include "report/run.h"
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char workload_text[] =
    "{\"model\": \"llama-3.1-8b\", \"hardware\": \"h100-2gpu\",\n"
    " \"trace\": {\"generate\": {\"requests\": 400, \"rate\": 4}},\n"
    " \"arrivals\": {\"process\": \"gamma\", \"rate\": 4, \"cv\": 2},\n"
    " \"warmup\": {\"cut\": \"requests\", \"requests\": 20},\n"
    " \"cluster\": {\"replicas\": 2},\n"
    " \"tiers\": [{\"name\": \"dram\", \"capacity\": \"8GiB\"},\n"
    "             {\"name\": \"nvme\", \"write\": \"back\", \"admit\": \"touched\"}],\n"
    " \"output\": {\"timeline_requests\": 8, \"bin\": \"5s\"},\n"
    " \"compare\": [\"no-cache\", \"recompute\", \"best\"]}\n";

static char folder[] = "/tmp/kvsim-results-XXXXXX";
static struct kvs_workload *workload;

static int run_once(void **state)
{
    struct kvs_run_options options = {.dir = "out"};
    struct kvs_run run;
    struct kvs_err err = {0};
    (void)state;
    if (!mkdtemp(folder) || chdir(folder))
        return -1;
    FILE *to = fopen("w.json", "w");
    if (!to || fputs(workload_text, to) < 0 || fclose(to))
        return -1;
    if (kvs_workload_open("w.json", NULL, &workload, &err) ||
        kvs_run(workload, &options, &run, &err)) {
        print_error("%s\n", err.msg);
        return -1;
    }
    kvs_run_free(&run);
    return 0;
}

static int clean_up(void **state)
{
    char command[64];
    (void)state;
    kvs_workload_free(workload);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return chdir("/") || system(command) ? -1 : 0; /* NOLINT(cert-env33-c) */
}

static json_t *load(const char *path)
{
    json_error_t error;
    json_t *v = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!v)
        fail_msg("%s: %s", path, error.text);
    return v;
}

static json_t *schema_of(const char *name)
{
    char file[96], *path = NULL;
    snprintf(file, sizeof file, "configs/schema/%s.json", name);
    assert_int_equal(kvs_data_file(file, &path, NULL), KVS_OK);
    json_t *schema = load(path);
    free(path);
    return schema;
}

static void expect_fit(const char *name, json_t *value)
{
    char why[256] = "";
    json_t *schema = schema_of(name);
    if (!jsonfit(schema, value, why))
        fail_msg("%s: %s", name, why);
    json_decref(schema);
    json_decref(value);
}

static void summary_fits_its_schema(void **state)
{
    (void)state;
    expect_fit("summary.schema", load("out/summary.json"));
}

static void timeline_fits_its_schema(void **state)
{
    (void)state;
    expect_fit("timeline.schema", load("out/timeline.json"));
}

static void recorded_workload_fits_its_schema(void **state)
{
    (void)state;
    expect_fit("workload.schema", load("out/workload.json"));
}

/* A key more or less, a wrong type or name is found: the schemas are no empty promise. */
static void schemas_refuse_what_is_not_so(void **state)
{
    char why[256] = "";
    json_t *schema = schema_of("summary.schema"), *summary = load("out/summary.json");
    json_t *policy = json_array_get(json_object_get(summary, "policies"), 0);
    (void)state;
    json_object_set_new(policy, "surprise", json_integer(1));
    assert_false(jsonfit(schema, summary, why));
    assert_non_null(strstr(why, "surprise"));
    json_object_del(policy, "surprise");
    assert_true(jsonfit(schema, summary, why));
    json_object_set_new(policy, "verdict", json_string("fine"));
    assert_false(jsonfit(schema, summary, why));
    json_object_del(policy, "verdict");
    assert_false(jsonfit(schema, summary, why));
    json_decref(schema);
    json_decref(summary);
}

/* The next field of the header, which becomes one of names; its type is that of the column. */
struct header {
    char line[4096], *rest;
    uint32_t n;
    const char *type[256];
};

static void expect_column(struct header *header, const char *name, const char *type)
{
    const char *field = strsep(&header->rest, ",");
    if (!field || strcmp(field, name) != 0)
        fail_msg("column %u is \"%s\", the schema says \"%s\"", header->n, field ? field : "",
                 name);
    assert_true(header->n < 256);
    header->type[header->n++] = type;
}

/* A field with {kind} stands once for each of the names. */
static void expect_columns(struct header *header, const json_t *field)
{
    static const char *const kind[] = {"{tier}", "{link}"};
    const char *name = json_string_value(json_object_get(field, "name"));
    const char *type = json_string_value(json_object_get(field, "type"));
    assert_non_null(name);
    assert_non_null(type);
    for (int k = 0; k < 2; k++) {
        const char *at = strstr(name, kind[k]);
        const uint32_t n = k ? workload->sim.hw->n_link : workload->sim.n_tier;
        for (uint32_t i = 0; at && i < n; i++) {
            char text[128];
            snprintf(text, sizeof text, "%.*s%s%s", (int)(at - name), name,
                     k ? workload->sim.hw->link[i].name : workload->sim.tier[i].name,
                     at + strlen(kind[k]));
            expect_column(header, text, type);
        }
        if (at)
            return;
    }
    expect_column(header, name, type);
}

static void expect_type(const char *column_type, const char *value)
{
    char *end;
    errno = 0;
    if (strcmp(column_type, "string") == 0 || !*value)
        return;
    if (strcmp(column_type, "integer") == 0)
        (void)strtoull(value, &end, 10);
    else
        (void)strtod(value, &end);
    if (*end || errno)
        fail_msg("\"%s\" is no %s", value, column_type);
}

static void expect_table(const char *file, const char *name)
{
    static struct header header;
    char line[4096];
    size_t i, n_row = 0;
    json_t *schema = schema_of(name), *field;
    FILE *from = fopen(file, "r");
    assert_non_null(from);
    memset(&header, 0, sizeof header);
    assert_non_null(fgets(header.line, sizeof header.line, from));
    header.line[strcspn(header.line, "\n")] = '\0';
    header.rest = header.line;
    json_array_foreach(json_object_get(schema, "fields"), i, field) expect_columns(&header, field);
    if (header.rest)
        fail_msg("%s: column \"%s\" is not in the schema", file, header.rest);
    for (; fgets(line, sizeof line, from); n_row++) {
        char *rest = line;
        uint32_t n = 0;
        line[strcspn(line, "\n")] = '\0';
        for (const char *value; (value = strsep(&rest, ",")) && n < header.n; n++)
            expect_type(header.type[n], value);
        assert_int_equal(n, header.n);
        assert_null(rest);
    }
    assert_true(n_row > 0);
    fclose(from);
    json_decref(schema);
}

static void tables_have_the_columns_of_their_schemas(void **state)
{
    (void)state;
    expect_table("out/requests.csv", "requests.table");
    expect_table("out/plans.csv", "plans.table");
    expect_table("out/plots/hits_over_time.csv", "hits_over_time.table");
    expect_table("out/plots/busy_over_time.csv", "busy_over_time.table");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(summary_fits_its_schema),
        cmocka_unit_test(timeline_fits_its_schema),
        cmocka_unit_test(recorded_workload_fits_its_schema),
        cmocka_unit_test(schemas_refuse_what_is_not_so),
        cmocka_unit_test(tables_have_the_columns_of_their_schemas),
    };
    return cmocka_run_group_tests_name("results", tests, run_once, clean_up);
}
