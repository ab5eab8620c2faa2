/* kvsim plan: what people read of it is what the numbers say. */
#include "test.h"

#include "cli_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const json_t *knob(const json_t *answer, const char *name)
{
    size_t i;
    const json_t *row;

    json_array_foreach(json_object_get(answer, "sensitivity"), i,
                       row) if (strcmp(json_string_value(json_object_get(row, "knob")), name) ==
                                0) return row;
    fail_msg("no knob %s", name);
    return NULL;
}

/* Rates of all links twice, pieces in half the time: what is read of a profile. */
static void twice_as_fast(const char *hardware, char path[64])
{
    char from[100];
    json_t *machine, *link;
    size_t i;

    snprintf(from, sizeof from, "configs/hardware/%s.json", hardware);
    machine = json_load_file(from, 0, NULL);
    assert_non_null(machine);
    json_array_foreach(json_object_get(machine, "links"), i, link)
    {
        json_t *rate = json_object_get(link, "read_bytes_per_s"),
               *piece = json_object_get(link, "descriptor_s");

        json_object_set_new(rate, "value", json_real(2 * kvs_cli_number(rate, "value")));
        json_object_set_new(piece, "value", json_real(.5 * kvs_cli_number(piece, "value")));
    }
    snprintf(path, 64, "/tmp/kvsim-twice-%ld.json", (long)getpid());
    assert_int_equal(json_dump_file(machine, path, 0), 0);
    json_decref(machine);
}

/* Pieces of 32 KiB at 3.54 us each: neither the rate nor the pieces alone are as much as the GPU,
 * the link is more. */
static void a_links_fixed_costs_are_the_links(void **state)
{
#define SMALL_BLOCKS " -m llama-3.1-8b -c 32Ki -n 256 -t dram --block 16"
    json_t *answer = kvs_cli_json("plan --json -H h100-sxm" SMALL_BLOCKS), *there;
    double links_s = kvs_cli_number(knob(answer, "links"), "twice_ttft_s");
    char path[64], args[200];

    (void)state;
    assert_string_equal(json_string_value(json_object_get(answer, "binds")), "links");
    assert_true(links_s < kvs_cli_number(knob(answer, "GPU"), "twice_ttft_s"));
    assert_true(kvs_cli_number(knob(answer, "GPU"), "twice_ttft_s") <
                kvs_cli_number(knob(answer, "bandwidth"), "twice_ttft_s"));
    assert_non_null(strstr(json_string_value(json_array_get(json_object_get(answer, "words"), 3)),
                           "What binds: the links; "));
    assert_non_null(strstr(json_string_value(json_array_get(json_object_get(answer, "words"), 3)),
                           "due to the pieces a second"));
    twice_as_fast("h100-sxm", path);
    snprintf(args, sizeof args, "plan --json -H %s" SMALL_BLOCKS, path);
    there = kvs_cli_json(args);
    unlink(path);
    assert_true(fabs(kvs_cli_ttft_s(there) / links_s - 1) < .002);
    json_decref(there);
    json_decref(answer);
}

/* 61 layers of 64 Ki tokens, 512 + 64 elements of 2 bytes each, in blocks of 256: 256 pieces. */
static void a_latent_is_one_piece(void **state)
{
    json_t *answer = kvs_cli_json("plan --json -m deepseek-v3 -H h200 -c 64Ki -n 512 -t dram "
                                  "-p load --tp 8"),
           *machine = json_load_file("configs/hardware/h200.json", 0, NULL), *link;
    double most_s = 0;
    size_t i;

    (void)state;
    assert_non_null(machine);
    json_array_foreach(json_object_get(machine, "links"), i, link)
    {
        const char *name = json_string_value(json_object_get(link, "name"));
        double share =
            strcmp(json_string_value(json_object_get(link, "scope")), "gpu") == 0 ? 8 : 1;
        double rate = kvs_cli_number(json_object_get(link, "read_bytes_per_s"), "value");
        double piece_s = kvs_cli_number(json_object_get(link, "descriptor_s"), "value");

        if (strcmp(name, "dram") == 0 || strcmp(name, "pcie") == 0)
            most_s = fmax(most_s, 61 * (256 * piece_s + 65536. * 1152 / share / rate));
    }
    assert_true(fabs(kvs_cli_number(json_object_get(answer, "work_s"), "dram") / most_s - 1) <
                1e-3);
    json_decref(machine);
    json_decref(answer);
}

/* At 10 tokens recomputing wins, whatever is said of more; and a number has three digits. */
static void words_claim_no_length_that_was_not_looked_at(void **state)
{
    json_t *answer = kvs_cli_json("plan --json -m smollm2-135m -H rtx-pro-6000 -t remote -n 32 "
                                  "-c 10");
    const json_t *x = json_object_get(answer, "context_crossing_tok");
    const char *words = json_string_value(json_array_get(json_object_get(answer, "words"), 1));

    (void)state;
    assert_true(kvs_cli_number(x, "least") == 10);
    assert_true(kvs_cli_number(x, "most") == 1048576);
    assert_true(kvs_cli_number(json_array_get(json_object_get(x, "ranges"), 0), "from") > 10);
    assert_null(strstr(words, "up to"));
    assert_non_null(strstr(words, "looked at: 10 to 1,048,576"));
    json_decref(answer);
    answer = kvs_cli_json("plan --json -m llama-3.1-8b -H h100-2gpu -c 8Ki -n 128 -t nvme "
                          "--bandwidth 1GB/s");
    words = json_string_value(json_array_get(json_object_get(answer, "words"), 1));
    for (const char *at = strstr(words, "about "); at; at = strstr(at + 1, "about ")) {
        unsigned digits = 0, zeros = 0;

        for (const char *p = at + 6; *p != ' '; p++) {
            digits += *p >= '0' && *p <= '9';
            zeros = *p == '0' ? zeros + 1 : *p == ',' ? zeros : 0;
        }
        assert_true(digits - zeros <= 3);
    }
    json_decref(answer);
}

/* A file of one problem of one layer. */
static void write_problem(const char *io, char path[])
{
    int fd = mkstemp(path);
    FILE *out = fdopen(fd, "w");

    assert_non_null(out);
    fprintf(out,
            "{\"instances\": [{\"name\": \"one\", \"layers\": 1, \"levels\": 1, \"routes\": 1, "
            "\"fractions\": [0, 1], \"io_ns\": [[[[%s], [0]]]], \"decode_ns\": [[[0], [0]]], "
            "\"post_ns\": [[[0], [0]]], \"distortion\": [[[0], [0]]], \"full_ns\": [[0, 0]], "
            "\"kv_ns\": [[0, 0]], \"wfull_ns\": [[0, 0]], \"wkv_ns\": [[0, 0]], "
            "\"io_start_ns\": [0], \"gpu_start_ns\": 0, \"head_ns\": 0, \"budget\": 0}]}",
            io);
    assert_int_equal(fclose(out), 0);
}

static void a_problem_of_no_time_has_a_gap_of_0(void **state)
{
    char path[] = "/tmp/kvsim-people-XXXXXX", args[200];
    const char *text;

    (void)state;
    write_problem("0", path);
    snprintf(args, sizeof args, "plan --instances %s", path);
    text = kvs_cli_text(args);
    assert_null(strstr(text, "nan"));
    assert_non_null(strstr(text, " 0.0000\n"));
    unlink(path);
}

/* Columns by position: name, optimum_ns, value_ns, lower_bound_ns, distortion, seconds. */
static void columns_of_problems_stand_in_their_order_and_plans_are_told(void **state)
{
    const char *text = kvs_cli_text("plan --instances tests/data/plan_problems.json -p exact");
    char word[8][40];
    json_t *got, *plan;

    (void)state;
    assert_int_equal(sscanf(text, "%39s %39s %39s %39s %39s %39s %39s", word[0], word[1], word[2],
                            word[3], word[4], word[5], word[6]),
                     7);
    assert_string_equal(word[3], "lower_bound_ns");
    assert_string_equal(word[4], "distortion");
    assert_string_equal(word[5], "seconds");
    assert_string_equal(word[6], "gap_%");
    text = strchr(text, '\n') + 1;
    assert_int_equal(
        sscanf(text, "%39s %39s %39s %39s %39s", word[0], word[1], word[2], word[3], word[4]), 5);
    assert_string_equal(word[4], "9");
    got = kvs_cli_json("plan --instances tests/data/plan_problems.json -p exact --json");
    plan = json_object_get(json_array_get(json_object_get(got, "instances"), 0), "plan");
    kvs_cli_expect(json_array_get(json_object_get(got, "instances"), 0), "{\"gap_percent\": 0.0}");
    assert_int_equal(json_integer_value(json_array_get(json_array_get(plan, 0), 0)), 2);
    assert_int_equal(json_integer_value(json_array_get(json_array_get(plan, 1), 1)), 1);
    json_decref(got);
}

static void errors_say_what_would_do(void **state)
{
    static const struct {
        const char *args, *what;
    } cases[] = {
        {"--spans hbm:20,new:166 -t dram", "nothing lies on a tier"},
        {"--block 1 --context 1Mi", "--block: blocks of 1 tokens are more than 65,536 of 1048832; "
                                    "want 17 or more"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char args[200];
        int status;

        snprintf(args, sizeof args, "plan -m llama-3.1-8b -H h100-2gpu %s", cases[i].args);
        const char *text = kvs_cli_error(args, &status);
        if (status != 2 || !strstr(text, cases[i].what))
            fail_msg("%s: %d, %s", args, status, text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_links_fixed_costs_are_the_links),
        cmocka_unit_test(a_latent_is_one_piece),
        cmocka_unit_test(words_claim_no_length_that_was_not_looked_at),
        cmocka_unit_test(a_problem_of_no_time_has_a_gap_of_0),
        cmocka_unit_test(columns_of_problems_stand_in_their_order_and_plans_are_told),
        cmocka_unit_test(errors_say_what_would_do),
    };
    return cmocka_run_group_tests_name("kvsim plan, for people", tests, NULL, NULL);
}
