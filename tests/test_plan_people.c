/* kvsim plan: what people read of it is what the numbers say. */
#include "test.h"

#include "cli_json.h"

#include <math.h>
#include <stdbool.h>
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

/* --levels is all that the tier holds: p4 of K and V, 4.5 bits and some of 16, and no raw16. */
static void a_tier_holds_the_levels_that_are_named(void **state)
{
#define NAMED "plan --json -m llama-3.1-8b -H h100-2gpu -c 16Ki -n 64 -t nvme -p load "
    json_t *p4 = kvs_cli_json(NAMED "-b 0.1 --levels p4"),
           *both = kvs_cli_json(NAMED "-b 0 --levels raw16,p4");
    const json_t *held = json_object_get(p4, "held");
    double raw = kvs_cli_number(held, "raw_bytes_per_tok");
    double tok = kvs_cli_number(p4, "context_tok");
    double loaded = kvs_cli_number(json_object_get(p4, "plan"), "load_bytes");
    int status;

    (void)state;
    kvs_cli_expect(p4, "{\"menu\": {\"levels\": [\"p4\"]}, \"plan\": {\"over_budget\": false}, "
                       "\"held\": {\"free\": {\"k\": [\"p4\"], \"v\": [\"p4\"]}, "
                       "\"loaded\": {\"k\": [\"p4\"], \"v\": [\"p4\"]}}}");
    assert_true(raw == 131072);
    assert_true(loaded > .25 * raw * tok && loaded < .32 * raw * tok);
    assert_true(fabs(kvs_cli_number(json_object_get(held, "free"), "bytes_per_tok") * tok / loaded -
                     1) < 1e-6);
    assert_true(
        fabs(kvs_cli_number(json_object_get(held, "loaded"), "bytes_per_tok") * tok / loaded - 1) <
        1e-6);
    kvs_cli_expect(both, "{\"menu\": {\"levels\": [\"raw16\", \"p4\"]}, \"plan\": {\"loss_nats\": "
                         "0.0, \"over_budget\": false}, \"held\": {\"loaded\": {\"k\": "
                         "[\"raw16\"]}}}");
    /* nothing may be lost, and nothing exact is held */
    assert_non_null(strstr(kvs_cli_error(NAMED "-b 0 --levels p4", &status),
                           "--levels: each of them loses something"));
    assert_int_equal(status, 2);
    assert_non_null(
        strstr(kvs_cli_error("plan -m llama-3.1-8b -H h100-2gpu --levels hidden", &status),
               "found only \"hidden\", want a level of K and V beside it"));
    assert_int_equal(status, 2);
    json_decref(p4);
    json_decref(both);
}

/* Hidden states are exact: a model that no table knows may have them. */
static void exact_levels_need_no_quality_table(void **state)
{
    const char *text = kvs_cli_text("plan -m llama-2-7b -H h100-sxm -c 4Ki -b 0 -p hcache "
                                    "--levels raw16,hidden");

    (void)state;
    assert_non_null(strstr(text, ", hidden\n"));
    assert_null(strstr(text, "losses of quality table"));
}

static bool is_in(const json_t *names, const char *name, size_t n)
{
    size_t i;
    json_t *one;

    json_array_foreach((json_t *)names, i,
                       one) if (strlen(json_string_value(one)) == n &&
                                strncmp(json_string_value(one), name, n) == 0) return true;
    return false;
}

/* Where nobody names levels, all of the codec: the README's prompt loads seven pairs of them. */
static void a_plan_says_what_the_tier_has_to_hold_for_it(void **state)
{
    json_t *got = kvs_cli_json("plan --json -m llama-3.1-8b -H h100-2gpu -c 16Ki -t nvme -b 0.02"),
           *layer;
    const json_t *held = json_object_get(got, "held"), *all = json_object_get(held, "free");
    const json_t *loaded = json_object_get(held, "loaded");
    size_t l;

    (void)state;
    assert_int_equal(json_array_size(json_object_get(all, "k")), 13);
    assert_true(is_in(json_object_get(all, "v"), "raw16", 5));
    assert_true(kvs_cli_number(all, "bytes_per_tok") >
                3 * kvs_cli_number(held, "raw_bytes_per_tok"));
    assert_true(kvs_cli_number(loaded, "bytes_per_tok") <
                kvs_cli_number(held, "raw_bytes_per_tok"));
    json_array_foreach(json_object_get(got, "layers"), l, layer)
    {
        const char *name = json_string_value(json_object_get(layer, "level"));
        const char *slash = strchr(name, '/');
        size_t n_key = slash ? (size_t)(slash - name) : strlen(name);

        if (kvs_cli_number(layer, "recompute_frac") < 1)
            assert_true(is_in(json_object_get(loaded, "k"), name, n_key) &&
                        is_in(json_object_get(loaded, "v"), slash ? slash + 1 : name,
                              strlen(slash ? slash + 1 : name)));
    }
    assert_non_null(strstr(json_string_value(json_array_get(json_object_get(got, "words"), 3)),
                           "the tier has to hold all 13 levels of K and 13 of V"));
    json_decref(got);
}

static const json_t *row_of(const json_t *answer, const char *policy)
{
    size_t i;
    const json_t *row;

    json_array_foreach(json_object_get(answer, "policies"), i,
                       row) if (strcmp(json_string_value(json_object_get(row, "policy")), policy) ==
                                0) return row;
    return json_object_get(answer, "plan");
}

/* rho = 0.8: a second of the GPU's own time makes others wait 0.8 / 0.2^2 = 20 s. */
static void online_weighs_what_others_wait_and_is_optimal_without_load(void **state)
{
    static const char *const other[] = {"optimal", "load", "recompute", "token-split",
                                        "layer-split"};
    static const char *const prompt[] = {"-H h100-2gpu -c 32Ki -n 256 -t nvme",
                                         "-H h100-sxm -c 8Ki -n 100 -t nvme -b 0.01",
                                         "-H a10 -c 5000 -n 64 -t dram"};
    (void)state;
    for (size_t n = 0; n < sizeof prompt / sizeof *prompt; n++) {
        char args[200];

        snprintf(args, sizeof args, "plan --json -m llama-3.1-8b %s", prompt[n]);
        json_t *idle = kvs_cli_json(args);
        const json_t *online = row_of(idle, "online"), *optimal = row_of(idle, "optimal");
        assert_true(kvs_cli_number(online, "ttft_s") == kvs_cli_number(optimal, "ttft_s"));
        assert_true(kvs_cli_number(online, "gpu_s") == kvs_cli_number(optimal, "gpu_s"));
        snprintf(args, sizeof args, "plan --json -m llama-3.1-8b %s --load 0.8", prompt[n]);
        json_t *busy = kvs_cli_json(args);
        double price = kvs_cli_number(json_object_get(busy, "load"), "price_gpu"), cost;

        assert_true(fabs(price - 20) < 1e-9);
        online = row_of(busy, "online");
        cost = kvs_cli_number(online, "ttft_s") + price * kvs_cli_number(online, "gpu_s");
        for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
            const json_t *row = row_of(busy, other[i]);

            if (json_is_false(json_object_get(row, "over_budget")) &&
                cost >
                    1.0001 * (kvs_cli_number(row, "ttft_s") + price * kvs_cli_number(row, "gpu_s")))
                fail_msg("%s: %s costs less than online", args, other[i]);
        }
        if (n == 0) {
            optimal = row_of(busy, "optimal");
            assert_true(kvs_cli_number(online, "gpu_s") < .5 * kvs_cli_number(optimal, "gpu_s"));
            assert_true(kvs_cli_number(online, "ttft_s") > kvs_cli_number(optimal, "ttft_s"));
            assert_non_null(
                strstr(json_string_value(json_array_get(json_object_get(busy, "words"), 4)),
                       "At this load online plans otherwise: 399 ms"));
        }
        json_decref(idle);
        json_decref(busy);
    }
}

/* 101,000 tokens of 320 KiB are 30.8 GiB: two H100 have 10.1 beside 70 B weights, four have. */
static void a_prompt_gets_as_many_gpus_as_hold_it(void **state)
{
#define LONG "-m llama-3.1-70b -H h100-sxm -n 1000 -t nvme "
    json_t *got = kvs_cli_json("plan --json " LONG "-c 100000"),
           *asked = kvs_cli_json("plan --json --tp 2 " LONG "-c 100000");
    const char *text;
    int status;

    (void)state;
    kvs_cli_expect(got, "{\"gpus\": 4, \"fits\": true}");
    kvs_cli_expect(asked, "{\"gpus\": 2, \"fits\": false}");
    assert_non_null(strstr(json_string_value(json_array_get(json_object_get(asked, "words"), 0)),
                           "This prompt does not fit, so this is no plan that can run: 30.8 GiB "));
    json_decref(got);
    json_decref(asked);
    text = kvs_cli_text("plan --tp 2 " LONG "-c 100000");
    assert_true(strncmp(text, "This prompt does not fit", 24) == 0);
    text = kvs_cli_error("plan --block 1Ki " LONG "-c 10000000", &status);
    assert_int_equal(status, 2);
    assert_non_null(strstr(text, "the 8 GPUs of a host of h100-sxm leave "));
    assert_non_null(strstr(text, "want about 1,430,000 tokens in all at most, or --tp 8"));
    text = kvs_cli_error("plan -m llama-3.1-405b -H h100-2gpu", &status);
    assert_int_equal(status, 2);
    assert_non_null(strstr(text, "want a machine with more memory"));
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
        cmocka_unit_test(a_tier_holds_the_levels_that_are_named),
        cmocka_unit_test(exact_levels_need_no_quality_table),
        cmocka_unit_test(a_plan_says_what_the_tier_has_to_hold_for_it),
        cmocka_unit_test(online_weighs_what_others_wait_and_is_optimal_without_load),
        cmocka_unit_test(a_prompt_gets_as_many_gpus_as_hold_it),
        cmocka_unit_test(a_problem_of_no_time_has_a_gap_of_0),
        cmocka_unit_test(columns_of_problems_stand_in_their_order_and_plans_are_told),
        cmocka_unit_test(errors_say_what_would_do),
    };
    return cmocka_run_group_tests_name("kvsim plan, for people", tests, NULL, NULL);
}
