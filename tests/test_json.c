#include "test.h"

#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct kvs_doc *parse(const char *text)
{
    struct kvs_err err = {0};
    struct kvs_doc *doc;
    if (kvs_doc_parse("w.json", text, strlen(text), &doc, &err))
        fail_msg("%s", err.msg);
    return doc;
}

static void nodes_know_their_paths(void **state)
{
    struct kvs_doc *doc = parse(
        "{\"tiers\": [{}, {\"capacity\": 7}], \"a.b\": {\"q\\\"\\\\\": 1}, \"\": {\"x-y_1\": 2}}");
    struct kvs_json root = kvs_doc_root(doc);
    (void)state;
    struct kvs_json node = kvs_json_get(kvs_json_at(kvs_json_get(root, "tiers"), 1), "capacity");
    assert_string_equal(node.path, "tiers[1].capacity");
    assert_int_equal(json_integer_value(node.v), 7);
    assert_string_equal(root.path, "");
    node = kvs_json_get(kvs_json_get(root, "a.b"), "q\"\\");
    assert_string_equal(node.path, "[\"a.b\"][\"q\\\"\\\\\"]");
    assert_non_null(node.v);
    assert_string_equal(kvs_json_get(kvs_json_get(root, ""), "x-y_1").path, "[\"\"].x-y_1");
    node = kvs_json_get(kvs_json_at(kvs_json_get(root, "none"), 3), "deep");
    assert_null(node.v);
    assert_string_equal(node.path, "none[3].deep");
    assert_int_equal(kvs_json_size(kvs_json_get(root, "tiers")), 2);
    assert_int_equal(kvs_json_size(root), 3);
    assert_int_equal(kvs_json_size(node), 0);
    kvs_doc_free(doc);
}

static void broken_documents_name_line_and_column(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", "w.json:1:0: "},
        {"{\"a\": 1,\n \"a\": 2}", "w.json:2:4: duplicate object key near '\"a\"'"},
        {"{\"a\": 1} x", "w.json:1:10: end of file expected near 'x'"},
        {"{\"a\": 99999999999999999999}",
         "w.json:1:26: a number does not fit 64 bits: too big integer near '99999999999999999999'"},
        {"{\"a\": 1e999}",
         "w.json:1:11: a number does not fit 64 bits: real number overflow near '1e999'"},
        {"{\"a\": nan}", "w.json:1:9: invalid token near 'nan'"},
        {"{\"a\": \"\\u0000\"}", "w.json:1:14: \\u0000 is not allowed"},
        {"{\"a\": \"\033[2J\"}", "w.json:1:7: control character 0x1b near '\"'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvs_err err = {0};
        struct kvs_doc *doc;
        assert_int_equal(kvs_doc_parse("w.json", cases[i].text, strlen(cases[i].text), &doc, &err),
                         KVS_ERR_PARSE);
        assert_null(doc);
        if (strncmp(err.msg, cases[i].want, strlen(cases[i].want)) != 0) /* Jansson adds "near" */
            fail_msg("%s", err.msg);
    }
}

static void depth_is_bounded(void **state)
{
    char text[200];
    struct kvs_err err = {0};
    struct kvs_doc *doc;
    (void)state;
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    assert_int_equal(kvs_doc_parse("d", text, 130, &doc, &err), KVS_OK);
    kvs_doc_free(doc);
    memset(text, '[', 66);
    memset(text + 66, ']', 66);
    assert_int_equal(kvs_doc_parse("d", text, 132, &doc, &err), KVS_ERR_PARSE);
    assert_string_equal(err.msg, "d: deeper than 64 levels");
}

static void missing_file_is_wrong_input(void **state)
{
    struct kvs_err err = {0};
    struct kvs_doc *doc;
    (void)state;
    assert_int_equal(kvs_doc_open("/nonexistent/w.json", &doc, &err), KVS_ERR_ARG);
    assert_string_equal(err.msg, "/nonexistent/w.json: No such file or directory");
    err = (struct kvs_err){0};
    assert_int_equal(kvs_doc_open("/", &doc, &err), KVS_ERR_ARG);
    assert_string_equal(err.msg, "/: Is a directory");
}

static void typed_reads_give_values(void **state)
{
    struct kvs_doc *doc = parse("{\"i\": -3, \"w\": 1e6, \"r\": 2.5, \"b\": true, \"s\": \"x\"}");
    struct kvs_json root = kvs_doc_root(doc);
    int64_t i;
    double d;
    bool b;
    const char *s;
    (void)state;
    assert_int_equal(kvs_json_i64(kvs_json_get(root, "i"), -3, 5, &i, NULL), KVS_OK);
    assert_int_equal(i, -3);
    assert_int_equal(kvs_json_i64(kvs_json_get(root, "w"), 0, INT64_MAX, &i, NULL), KVS_OK);
    assert_int_equal(i, 1000000);
    assert_int_equal(kvs_json_double(kvs_json_get(root, "r"), 0, 5, &d, NULL), KVS_OK);
    assert_true(d == 2.5);
    assert_int_equal(
        kvs_json_double(kvs_json_get(root, "i"), -(double)INFINITY, (double)INFINITY, &d, NULL),
        KVS_OK);
    assert_true(d == -3);
    assert_int_equal(kvs_json_bool(kvs_json_get(root, "b"), &b, NULL), KVS_OK);
    assert_true(b);
    assert_int_equal(kvs_json_str(kvs_json_get(root, "s"), &s, NULL), KVS_OK);
    assert_string_equal(s, "x");
    kvs_doc_free(doc);
}

static void typed_reads_say_found_and_want(void **state)
{
    struct kvs_doc *doc = parse("{\"i\": 70000, \"r\": 1.5, \"s\": \"x\", \"a\": [null]}");
    struct kvs_json root = kvs_doc_root(doc);
    struct kvs_err err = {0};
    int64_t i;
    double d;
    bool b;
    const char *s;
    (void)state;
#define SAYS(call, wanted_code, text)                                                              \
    do {                                                                                           \
        err = (struct kvs_err){0};                                                                 \
        assert_int_equal(call, wanted_code);                                                       \
        assert_string_equal(err.msg, text);                                                        \
    } while (0)
    SAYS(kvs_json_i64(kvs_json_get(root, "i"), 1, 65536, &i, &err), KVS_ERR_RANGE,
         "w.json: i: found 70000, want a whole number in 1..65536");
    SAYS(kvs_json_i64(kvs_json_get(root, "r"), 0, INT64_MAX, &i, &err), KVS_ERR_PARSE,
         "w.json: r: found 1.5, want a whole number from 0 up");
    SAYS(kvs_json_double(kvs_json_get(root, "s"), 0, (double)INFINITY, &d, &err), KVS_ERR_PARSE,
         "w.json: s: found \"x\", want a number from 0 up");
    SAYS(kvs_json_bool(kvs_json_at(kvs_json_get(root, "a"), 0), &b, &err), KVS_ERR_PARSE,
         "w.json: a[0]: found null, want true or false");
    SAYS(kvs_json_str(kvs_json_get(root, "a"), &s, &err), KVS_ERR_PARSE,
         "w.json: a: found an array, want a string");
    SAYS(kvs_json_array(root, &err), KVS_ERR_PARSE,
         "w.json: (root): found an object, want an array");
    SAYS(kvs_json_object(kvs_json_get(root, "none"), &err), KVS_ERR_PARSE,
         "w.json: none: missing; want an object");
    const char *const names[] = {"i", "r", "s", "ab"};
    SAYS(kvs_json_only(root, names, 4, &err), KVS_ERR_PARSE,
         "w.json: a: unknown key; did you mean \"ab\"? known: i, r, s, ab");
    kvs_doc_free(doc);
}

static char *after_set(const char *text, const char *path, const char *value)
{
    struct kvs_doc *doc = parse(text);
    struct kvs_err err = {0};
    if (kvs_doc_set(doc, path, value, &err))
        fail_msg("%s", err.msg);
    json_t *v = (json_t *)kvs_doc_root(doc).v;
    char *got = json_dumps(v, JSON_COMPACT | JSON_SORT_KEYS);
    kvs_doc_free(doc);
    return got;
}

static void set_changes_adds_and_appends(void **state)
{
    static const struct {
        const char *text, *path, *value, *want;
    } cases[] = {
        {"{\"a\":1}", "a", "2", "{\"a\":2}"},
        {"{}", "cluster.replicas", "4", "{\"cluster\":{\"replicas\":4}}"},
        {"{\"t\":[{\"c\":1}]}", "t[0].c", "\"4TiB\"", "{\"t\":[{\"c\":\"4TiB\"}]}"},
        {"{\"t\":[1]}", "t[1]", "2", "{\"t\":[1,2]}"},
        {"{\"t\":[1]}", "t[0]", "[3]", "{\"t\":[[3]]}"},
        {"{}", "t[0].c", "1", "{\"t\":[{\"c\":1}]}"},
        {"{}", "compare", "[\"best\"]", "{\"compare\":[\"best\"]}"},
        {"{}", "[\"a.b\"].c", "1", "{\"a.b\":{\"c\":1}}"},
        {"[5]", "[0]", "6", "[6]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *got = after_set(cases[i].text, cases[i].path, cases[i].value);
        assert_string_equal(got, cases[i].want);
        free(got);
    }
}

static void set_refuses_and_leaves_the_document(void **state)
{
    static const struct {
        const char *path, *value, *want;
        enum kvs_code code;
    } cases[] = {
        {"trace.path", "x.jsonl",
         "--set trace.path: x.jsonl is no JSON (invalid token near 'x'); a text needs its quotes: "
         "--set 'trace.path=\"...\"'",
         KVS_ERR_PARSE},
        {"t[3].c", "1", "--set t[3].c: t[3]: the array has 1 elements; [1] appends one",
         KVS_ERR_ARG},
        {"n.x", "1", "--set n.x: n.x: what holds it is a plain value, no object", KVS_ERR_ARG},
        {"n[0]", "1", "--set n[0]: n[0]: what holds it is no array", KVS_ERR_ARG},
        {"t.x", "1", "--set t.x: t.x: what holds it is an array, no object", KVS_ERR_ARG},
        {"new.a[1]", "1", "--set new.a[1]: new.a[1]: the array has 0 elements; [0] appends one",
         KVS_ERR_ARG},
        {"", "1", "--set : no path; want one like cluster.replicas or tiers[0].capacity",
         KVS_ERR_ARG},
        {"a..b", "1", "--set a..b: no path; want one like cluster.replicas or tiers[0].capacity",
         KVS_ERR_ARG},
        {"a.", "1", "--set a.: no path; want one like cluster.replicas or tiers[0].capacity",
         KVS_ERR_ARG},
        {"t[x]", "1", "--set t[x]: no path; want one like cluster.replicas or tiers[0].capacity",
         KVS_ERR_ARG},
        {"t[0", "1", "--set t[0: no path; want one like cluster.replicas or tiers[0].capacity",
         KVS_ERR_ARG},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvs_doc *doc = parse("{\"n\": 1, \"t\": [1]}");
        struct kvs_err err = {0};
        assert_int_equal(kvs_doc_set(doc, cases[i].path, cases[i].value, &err), cases[i].code);
        assert_string_equal(err.msg, cases[i].want);
        char *left = kvs_doc_dump(doc);
        assert_string_equal(left, "{\n  \"n\": 1,\n  \"t\": [\n    1\n  ]\n}");
        free(left);
        kvs_doc_free(doc);
    }
}

static void long_and_dirty_text_is_cut_clean(void **state)
{
    struct kvs_err err = {0};
    char text[1200];
    (void)state;
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    text[sizeof text - 2] = '\0';
    kvs_fail(&err, KVS_ERR_PARSE, "\033%s", text);
    assert_int_equal(err.msg[0], '?');
    size_t n = strlen(err.msg);
    assert_string_equal(err.msg + n - 5, "\xc3\xa9...");
    assert_true(n > sizeof err.msg - 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_know_their_paths),
        cmocka_unit_test(broken_documents_name_line_and_column),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(missing_file_is_wrong_input),
        cmocka_unit_test(typed_reads_give_values),
        cmocka_unit_test(typed_reads_say_found_and_want),
        cmocka_unit_test(set_changes_adds_and_appends),
        cmocka_unit_test(set_refuses_and_leaves_the_document),
        cmocka_unit_test(long_and_dirty_text_is_cut_clean),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
