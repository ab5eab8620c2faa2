#include "test.h"

#include "plan/instance.h"

#include <stdio.h>
#include <string.h>

static const char good[] =
    "{\"about\": \"x\", \"instances\": [{\"name\": \"a\", \"layers\": 2, \"fractions\": [0, 1],"
    "\"levels\": 1, \"routes\": 1, \"io_ns\": [[[[9], [0]], [[8], [0]]]],"
    "\"decode_ns\": [[[1], [0]], [[2], [0]]], \"post_ns\": [[[5], [4]], [[5], [4]]],"
    "\"distortion\": [[[0], [0]], [[3], [0]]], \"full_ns\": [[0, 7], [0, 6]],"
    "\"kv_ns\": [[0, 2], [0, 2]], \"wfull_ns\": [[0, 0], [0, 0]], \"wkv_ns\": [[0, 0], [0, 0]],"
    "\"io_start_ns\": [3], \"gpu_start_ns\": 1, \"head_ns\": 10, \"budget\": 5,"
    "\"optimum_ns\": 28, \"plan\": [[1, 0], [0, 0]]}]}";

/* The good text with the first `from` as `to`. */
static const char *with(const char *from, const char *to)
{
    static char text[2048];
    const char *at = strstr(good, from);

    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    return text;
}

static void an_instance_is_read_whole(void **state)
{
    struct kvs_plan_set *set;
    struct kvs_err err = {0};
    const struct kvs_plan_instance *in;
    struct kvs_plan_eval e;

    (void)state;
    assert_int_equal(kvs_plan_set_parse("p.json", good, strlen(good), &set, &err), KVS_OK);
    assert_int_equal(kvs_plan_set_n(set), 1);
    in = kvs_plan_set_at(set, 0);
    assert_string_equal(in->name, "a");
    assert_int_equal(in->problem.n_layer, 2);
    assert_int_equal(in->problem.layer[1]->io_ns[0][0], 8);
    assert_int_equal(in->problem.layer[1]->distortion[0], 3);
    assert_int_equal(in->problem.layer[0]->full_ns[1], 7);
    assert_int_equal(in->optimum_ns, 28);
    assert_true(kvs_plan_eval(&in->problem, &in->plan, NULL, &e));
    /* I = 3, 11; X = 3, 13; pre 2; P = 3 -> 7 -> 18 */
    assert_int_equal(e.end_ns, in->optimum_ns);
    kvs_plan_set_free(set);
}

static void restart_points_are_read(void **state)
{
    const char *text = with("\"head_ns\": 10", "\"states\": [1], \"state_ns\": [[0, 4]], "
                                               "\"head_ns\": 10");
    struct kvs_plan plan = {{0, 1}, {0, 0}};
    struct kvs_plan_set *set;
    struct kvs_plan_eval e;

    (void)state;
    assert_int_equal(kvs_plan_set_parse("p.json", text, strlen(text), &set, NULL), KVS_OK);
    assert_int_equal(kvs_plan_set_at(set, 0)->problem.state_at[1], 1);
    /* I = 12, 16; X = 13, 16; P = 1 -> 18 -> 24: K and V of layer 1 are 2 of work */
    assert_true(kvs_plan_eval(&kvs_plan_set_at(set, 0)->problem, &plan, NULL, &e));
    assert_int_equal(e.end_ns, 34);
    kvs_plan_set_free(set);
    text = with("\"head_ns\": 10", "\"states\": [], \"state_ns\": [[0, 4]], \"head_ns\": 10");
    assert_int_equal(kvs_plan_set_parse("p.json", text, strlen(text), &set, NULL), KVS_OK);
    assert_null(kvs_plan_set_at(set, 0)->problem.state_at);
    kvs_plan_set_free(set);
}

static void optimum_and_plan_may_be_absent(void **state)
{
    const char *text = with(",\"optimum_ns\": 28, \"plan\": [[1, 0], [0, 0]]", "");
    struct kvs_plan_set *set;

    (void)state;
    assert_int_equal(kvs_plan_set_parse("p.json", text, strlen(text), &set, NULL), KVS_OK);
    assert_false(kvs_plan_set_at(set, 0)->has_optimum);
    assert_false(kvs_plan_set_at(set, 0)->has_plan);
    kvs_plan_set_free(set);
}

static void wrong_input_is_named(void **state)
{
    static const struct {
        const char *from, *to, *path, *what;
    } cases[] = {
        {"\"layers\": 2", "\"layers\": 257", "instances[0].layers", "257"},
        {"\"layers\": 2", "\"layers\": 0", "instances[0].layers", "0"},
        {"\"layers\": 2,", "", "instances[0].layers", "missing"},
        {"\"levels\": 1", "\"levels\": \"x\"", "instances[0].levels", "\"x\""},
        {"\"routes\": 1", "\"routes\": 7", "instances[0].routes", "7"},
        {"\"head_ns\"", "\"heads_ns\"", "instances[0]", "head_ns"},
        {"[0, 1]", "[0, 0.5]", "instances[0].fractions[1]", "0.5"},
        {"[0, 1]", "[0.5, 1]", "instances[0].fractions[0]", "ascend"},
        {"[0, 1]", "[0]", "instances[0].fractions", "want 2 to 64"},
        {"[[9], [0]]", "[[9]]", "instances[0].io_ns[0][0]", "found 1 items, want 2"},
        {"[[9], [0]]", "[[9, 1], [0]]", "instances[0].io_ns[0][0][0]", "found 2 items, want 1"},
        {"[[9], [0]]", "[[-9], [0]]", "instances[0].io_ns[0][0][0][0]", "-9"},
        {"[[9], [0]]", "[[9.5], [0]]", "instances[0].io_ns[0][0][0][0]", "9.5"},
        {"[[9], [0]]", "[[9000000000000000], [0]]", "instances[0].io_ns[0][0][0][0]", "9000000"},
        {"\"full_ns\": [[0, 7]", "\"full_ns\": [[0, 7, 7]", "instances[0].full_ns[0]", "found 3"},
        {"\"io_start_ns\": [3]", "\"io_start_ns\": 3", "instances[0].io_start_ns", "3"},
        {"\"budget\": 5", "\"budget\": null", "instances[0].budget", "null"},
        {"[1, 0]", "[2, 0]", "instances[0].plan[0][0]", "2"},
        {"[1, 0]", "[1]", "instances[0].plan[0]", "found 1 items, want 2"},
        {"\"head_ns\"", "\"states\": [1], \"head_ns\"", "instances[0].state_ns", "missing"},
        {"\"head_ns\"", "\"state_ns\": [[0, 1]], \"head_ns\"", "instances[0].states", "missing"},
        {"\"head_ns\"", "\"states\": [0], \"head_ns\"", "instances[0].states[0]", "0"},
        {"\"head_ns\"", "\"states\": [1, 1], \"head_ns\"", "instances[0].states[1]", "1"},
        {"\"head_ns\"", "\"states\": [2], \"head_ns\"", "instances[0].states[0]", "2"},
        {"\"head_ns\"", "\"states\": [1], \"state_ns\": [[0]], \"head_ns\"",
         "instances[0].state_ns[0]", "found 1 items, want 2"},
        {"\"head_ns\"", "\"states\": [1], \"state_ns\": [[1, 2]], \"head_ns\"",
         "instances[0].state_ns[0][0]", "ascend from 0"},
        {"[[1, 0], ", "[", "instances[0].plan", "found 1 items, want 2, one a layer"},
    };

    struct kvs_plan_set *none;
    struct kvs_err why = {0};

    (void)state;
    assert_int_equal(kvs_plan_set_parse("p.json", "{\"instances\": []}", 17, &none, &why),
                     KVS_ERR_RANGE);
    assert_non_null(strstr(why.msg, "p.json: instances: found no problem"));
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        const char *text = with(cases[n].from, cases[n].to);
        struct kvs_plan_set *set;
        struct kvs_err err = {0};
        enum kvs_code code = kvs_plan_set_parse("p.json", text, strlen(text), &set, &err);

        if (!code || set || strncmp(err.msg, "p.json: ", 8) != 0 ||
            !strstr(err.msg, cases[n].path) || !strstr(err.msg, cases[n].what))
            fail_msg("case %zu: code %d, %s", n, (int)code, err.msg);
        assert_int_equal(kvs_exit_status(code), 2);
    }
}

static void a_missing_file_is_an_error(void **state)
{
    struct kvs_plan_set *set;
    struct kvs_err err = {0};

    (void)state;
    assert_int_equal(kvs_plan_set_open("/nowhere/p.json", &set, &err), KVS_ERR_ARG);
    assert_null(set);
    assert_non_null(strstr(err.msg, "/nowhere/p.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_instance_is_read_whole),      cmocka_unit_test(restart_points_are_read),
        cmocka_unit_test(optimum_and_plan_may_be_absent), cmocka_unit_test(wrong_input_is_named),
        cmocka_unit_test(a_missing_file_is_an_error),
    };
    return cmocka_run_group_tests_name("instance", tests, NULL, NULL);
}
