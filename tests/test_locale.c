/*
 * test_locale.c - a program that has set a locale with a decimal comma, and uses the library: same
 * figures in, same bytes out. The locale is compiled here; nothing of it need be installed but its
 * source.
 */
#include "test.h"

#include "base/units.h"
#include "report/run.h"
#include "tmpdir.h"
#include "workloads/trace.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool comma; /* the locale is there */

static int compile_locale(void **state)
{
    if (tmpdir_enter(state))
        return -1;
    if (system("localedef -f UTF-8 -i de_DE ./de_DE.UTF-8 2>/dev/null") == -1 || /* NOLINT */
        setenv("LOCPATH", tmpdir(), 1))
        return -1;
    comma = setlocale(LC_ALL, "de_DE.UTF-8") != NULL;
    (void)setlocale(LC_ALL, "C");
    return 0;
}

#define WITH_COMMA()                                                                               \
    do {                                                                                           \
        if (!comma)                                                                                \
            KVS_SKIP("no source of a locale with a decimal comma (package locales)");              \
        assert_non_null(setlocale(LC_ALL, "de_DE.UTF-8"));                                         \
        char text[8];                                                                              \
        snprintf(text, sizeof text, "%.1f", 0.5);                                                  \
        assert_string_equal(text, "0,5");                                                          \
    } while (0)

static void workload_to(const char *path)
{
    FILE *to = fopen(path, "w");
    assert_non_null(to);
    fputs("{\"model\": \"llama-3.1-8b\", \"hardware\": \"h100-2gpu\", \"slo\": {\"ttft\": 0.25},\n"
          "\"trace\": {\"generate\": {\"requests\": 60, \"rate\": 1.5}},\n"
          "\"tiers\": [{\"name\": \"dram\", \"capacity\": \"1.5GiB\"}],\n"
          "\"compare\": [\"recompute\", \"load\", \"best\"]}\n",
          to);
    assert_int_equal(fclose(to), 0);
}

static void run_to(const char *dir)
{
    const struct kvs_run_options options = {.dir = dir};
    struct kvs_workload *workload;
    struct kvs_err err = {0};
    struct kvs_run run;
    if (kvs_workload_open("w.json", NULL, &workload, &err) ||
        kvs_run(workload, &options, &run, &err))
        fail_msg("%s", err.msg);
    kvs_run_free(&run);
    kvs_workload_free(workload);
}

static void results_are_the_same_bytes_under_a_decimal_comma(void **state)
{
    (void)state;
    workload_to("w.json");
    run_to("point");
    WITH_COMMA();
    run_to("comma");
    char text[8];
    snprintf(text, sizeof text, "%.1f", 0.5);
    assert_string_equal(text, "0,5"); /* the caller's own locale is as it was */
    (void)setlocale(LC_ALL, "C");
    assert_int_equal(system("diff -r -x run.log point comma"), 0); /* NOLINT(cert-env33-c) */
}

static void figures_are_read_the_same_under_a_decimal_comma(void **state)
{
    static const char azure[] = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
                                "2023-11-16 23:59:59.2500000,374,44\n"
                                "2023-11-17 00:00:00.7500000,396,109\n";
    const struct kvs_trace_options options = {.format = "azure"};
    const struct kvs_request *req = NULL;
    struct kvs_trace *trace = NULL;
    double bytes_per_s = 0;
    struct kvs_err err = {0};
    (void)state;
    WITH_COMMA();
    enum kvs_code code = kvs_parse_rate("1.5GB/s", &bytes_per_s, &err);
    if (!code &&
        !(code = kvs_trace_open_mem("a.csv", azure, strlen(azure), &options, &trace, &err)))
        for (int i = 0; i < 2 && !code; i++)
            code = kvs_trace_next(trace, &req, &err);
    (void)setlocale(LC_ALL, "C");
    if (code)
        fail_msg("%s", err.msg);
    assert_true(bytes_per_s == 1.5e9);
    assert_true(req && req->arrive_ns == 1500000000);
    kvs_trace_close(trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_the_same_bytes_under_a_decimal_comma),
        cmocka_unit_test(figures_are_read_the_same_under_a_decimal_comma),
    };
    return cmocka_run_group_tests_name("locale", tests, compile_locale, tmpdir_drop);
}
