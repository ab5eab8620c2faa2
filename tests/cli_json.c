#include "cli_json.h"

#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static FILE *start(const char *args, const char *redirect)
{
    char command[8192];
    const char *program = getenv("KVSIM");
    FILE *pipe;
    snprintf(command, sizeof command, "%s %s %s", program ? program : "build/kvsim", args,
             redirect);
    pipe = popen(command, "r");
    assert_non_null(pipe);
    return pipe;
}

json_t *kvs_cli_json_any(const char *args, int *status)
{
    json_error_t error;
    FILE *pipe = start(args, "");
    json_t *root = json_loadf(pipe, 0, &error);
    *status = pclose(pipe);
    *status = WIFEXITED(*status) ? WEXITSTATUS(*status) : -1;
    if (!root)
        fail_msg("kvsim %s: status %d, %s", args, *status, error.text);
    return root;
}

json_t *kvs_cli_json(const char *args)
{
    int status;
    json_t *root = kvs_cli_json_any(args, &status);
    if (status != 0)
        fail_msg("kvsim %s: status %d", args, status);
    return root;
}

const char *kvs_cli_text(const char *args)
{
    static char text[16384];
    FILE *pipe = start(args, "");
    size_t n = fread(text, 1, sizeof text - 1, pipe);
    text[n] = '\0';
    assert_int_equal(pclose(pipe), 0);
    return text;
}

const char *kvs_cli_error(const char *args, int *status)
{
    static char text[4096];
    FILE *pipe = start(args, "2>&1 >/dev/null");
    size_t n = fread(text, 1, sizeof text - 1, pipe);
    text[n] = '\0';
    *status = pclose(pipe);
    *status = WIFEXITED(*status) ? WEXITSTATUS(*status) : -1;
    return text;
}

double kvs_cli_number(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_number(v))
        fail_msg("%s: no number", key);
    return json_number_value(v);
}

double kvs_cli_ttft_s(const json_t *answer)
{
    return kvs_cli_number(json_object_get(answer, "plan"), "ttft_s");
}

const json_t *kvs_cli_policy(const json_t *answer, const char *policy)
{
    const json_t *row;
    size_t i;

    json_array_foreach(json_object_get(answer, "policies"), i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "policy")), policy) == 0)
            return row;
    }
    fail_msg("no row of %s", policy);
    return NULL;
}

static void expect(const char *path, const json_t *got, const json_t *want)
{
    const char *key;
    const json_t *value;
    if (!got)
        fail_msg("%s: missing", path);
    if (json_is_object(want)) {
        json_object_foreach((json_t *)want, key, value)
        {
            char inner[256];
            snprintf(inner, sizeof inner, "%s.%s", path, key);
            expect(inner, json_object_get(got, key), value);
        }
    } else if (json_is_real(want)) {
        double a = json_number_value(got), b = json_real_value(want);
        if (!(fabs(a - b) <= 1e-6 * fabs(b)))
            fail_msg("%s: found %.9g, want %.9g", path, a, b);
    } else if (json_is_integer(want)) {
        if (!json_is_integer(got) || json_integer_value(got) != json_integer_value(want))
            fail_msg("%s: found %.17g, want %lld", path, json_number_value(got),
                     (long long)json_integer_value(want));
    } else if (!json_equal(got, want)) {
        fail_msg("%s: not as wanted", path);
    }
}

void kvs_cli_expect(const json_t *got, const char *want)
{
    json_error_t error;
    json_t *root = json_loads(want, 0, &error);
    if (!root)
        fail_msg("the test's own JSON: %s", error.text);
    expect("", got, root);
    json_decref(root);
}
