/* kvsim plan, as a user sees it. */
#include "test.h"

#include "cli_json.h"
#include "model/codec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void every_problem_is_planned_and_valued(void **state)
{
    json_t *got = kvs_cli_json("plan --instances tests/data/plan_problems.json --planner exact "
                               "--json");

    (void)state;
    kvs_cli_expect(got, "{\"planner\": \"exact\"}");
    assert_int_equal(json_array_size(json_object_get(got, "instances")), 2);
    /* layer 0 recomputed for its K and V only, layer 1 loaded at level 1: 32 -> 35 -> 52 */
    kvs_cli_expect(json_array_get(json_object_get(got, "instances"), 0),
                   "{\"name\": \"two-layers\", \"optimum_ns\": 1052, \"value_ns\": 1052, "
                   "\"lower_bound_ns\": 1052, \"distortion\": 9}");
    kvs_cli_expect(json_array_get(json_object_get(got, "instances"), 1),
                   "{\"name\": \"one-layer\", \"value_ns\": 14, \"lower_bound_ns\": 14}");
    assert_true(json_is_real(
        json_object_get(json_array_get(json_object_get(got, "instances"), 0), "seconds")));
    json_decref(got);
}

static void a_problem_with_a_restart_point_is_planned(void **state)
{
    json_t *got = kvs_cli_json("plan --instances tests/data/plan_restart.json --planner exact "
                               "--json");

    (void)state;
    /* layer 0 loaded, 20; states, 10; K and V of layer 1 computed from them, 5, and the new: 40;
     * computing layer 0 and loading layer 1 would take 55 */
    kvs_cli_expect(json_array_get(json_object_get(got, "instances"), 0),
                   "{\"name\": \"restart\", \"value_ns\": 40, \"lower_bound_ns\": 40}");
    json_decref(got);
}

static void the_certified_planner_answers_by_default(void **state)
{
    json_t *got = kvs_cli_json("plan --instances tests/data/plan_problems.json --json");

    (void)state;
    kvs_cli_expect(got, "{\"planner\": \"optimal\"}");
    kvs_cli_expect(json_array_get(json_object_get(got, "instances"), 0), "{\"value_ns\": 1052}");
    json_decref(got);
}

/* The problems with one piece of text replaced, in a file of their own. */
static void with(const char *from, const char *to, char *path)
{
    FILE *in = fopen("tests/data/plan_problems.json", "r"), *out;
    char text[4096], *at;
    size_t n;
    int fd = mkstemp(path);

    assert_non_null(in);
    n = fread(text, 1, sizeof text - 1, in);
    text[n] = '\0';
    fclose(in);
    at = strstr(text, from);
    assert_non_null(at);
    out = fdopen(fd, "w");
    assert_non_null(out);
    fprintf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_int_equal(fclose(out), 0);
}

/* As kvsim itself prints it where no optimum is known. */
static void an_optimum_that_is_not_known_may_be_null(void **state)
{
    char path[] = "/tmp/kvsim-plan-XXXXXX", args[256];

    (void)state;
    with("1052", "null", path);
    snprintf(args, sizeof args, "plan --instances %s --json", path);
    json_t *got = kvs_cli_json(args);
    unlink(path);
    kvs_cli_expect(json_array_get(json_object_get(got, "instances"), 0),
                   "{\"optimum_ns\": null, \"value_ns\": 1052}");
    json_decref(got);
}

static void a_plan_that_fails_its_check_ends_1(void **state)
{
    static const struct {
        const char *from, *to, *planner, *what;
    } cases[] = {
        {"1052", "1051", "exact", "the value differs from the optimum"},
        {"1052", "1053", "optimal", "the value is below the optimum"},
        {"[[[0, 9], [0, 5], [0, 0]]", "[[[10, 10], [10, 10], [0, 0]]", "load",
         "the plan is over the budget"},
        {"[[[0, 9], [0, 5], [0, 0]]", "[[[10, 10], [10, 10], [10, 10]]", "optimal",
         "no plan is within the budget"},
        {"[[2, 0], [0, 1]]", "[[1, 0], [2, 0]]", "optimal", "file's own plan is no staircase"},
        {"[[2, 0], [0, 1]]", "[[2, 0], [2, 0]]", "optimal", "own plan does not take the optimum"},
    };

    (void)state;
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        char path[] = "/tmp/kvsim-plan-XXXXXX", args[256];
        const char *text;
        int status;

        with(cases[n].from, cases[n].to, path);
        snprintf(args, sizeof args, "plan --instances %s --planner %s", path, cases[n].planner);
        text = kvs_cli_error(args, &status);
        unlink(path);
        assert_int_equal(status, 1);
        assert_non_null(strstr(text, cases[n].what));
    }
}

static void wrong_input_ends_2_and_is_named(void **state)
{
    int status;
    const char *text;

    (void)state;
    text = kvs_cli_error("plan", &status);
    assert_int_equal(status, 2);
    assert_non_null(strstr(text, "--instances"));
    text = kvs_cli_error("plan --instances tests/data/plan_problems.json --planner exakt", &status);
    assert_int_equal(status, 2);
    assert_non_null(strstr(text, "\"exact\""));
    text = kvs_cli_error("plan --instances tests/data/plan_problems.json extra", &status);
    assert_int_equal(status, 2);
    assert_non_null(strstr(text, "\"extra\""));
    char path[] = "/tmp/kvsim-plan-XXXXXX", args[256];
    with("two-layers", "two\\n\\u001b[31mlayers", path);
    snprintf(args, sizeof args, "plan --instances %s", path);
    text = kvs_cli_error(args, &status);
    unlink(path);
    assert_int_equal(status, 2);
    assert_non_null(strstr(text, "instances[0].name: found a control character"));
    text = kvs_cli_error("plan -m llama-3.1-8b -H h100-2gpu --plot /proc/x", &status);
    assert_int_equal(status, 1);
    assert_non_null(strstr(text, "kvsim plan: /proc/x: no folder can be made in /proc: "));
    text = kvs_cli_error("plan --instances nowhere.json", &status);
    assert_int_equal(status, 2);
    assert_non_null(strstr(text, "nowhere.json"));
}

#define LONE "plan --model llama-3.1-8b --hardware h100-2gpu "

/* Rates below a profile's least are refused; at it, the longest context still fits the clock. */
static void the_slowest_bandwidth_and_longest_context_are_planned(void **state)
{
    int status;
    const char *text;
    json_t *got;

    (void)state;
    text = kvs_cli_error(LONE "--bandwidth 1B/s", &status);
    assert_int_equal(status, 2);
    assert_non_null(strstr(text, "--bandwidth: found 1 B/s, want 1MB/s"));
    text = kvs_cli_error(LONE "--tier nvme,nvme", &status);
    assert_int_equal(status, 2);
    assert_non_null(strstr(text, "\"nvme\" a second time"));
    got = kvs_cli_json("plan --model llama-65b --hardware h100-sxm --bandwidth 1MB/s "
                       "--context 16Mi --tp 2 --json");
    assert_true(json_real_value(json_object_get(json_object_get(got, "plan"), "recompute_frac")) >
                .99);
    json_decref(got);
}

/* Heads as many as KV heads: a state is half of K and V; with a quarter as many, twice. */
static void restart_points_are_used_where_they_pay(void **state)
{
    json_t *got = kvs_cli_json("plan --model llama-2-7b --hardware h100-sxm --states 8,16 --json");
    json_t *layers = json_object_get(got, "layers"), *at = json_array_get(layers, 16);
    double state_tok = json_number_value(json_object_get(at, "state_tok"));
    double without =
        json_number_value(json_object_get(json_object_get(got, "states"), "without_ttft_s"));
    int status;

    (void)state;
    assert_true(state_tok > 0);
    assert_true(json_number_value(json_object_get(at, "state_bytes")) == state_tok * 8192);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(layers, 15), "state_tok")),
                     0);
    kvs_cli_expect(got, "{\"states\": {\"layers\": [8, 16], \"bytes_per_tok\": 16384.0}}");
    assert_true(json_number_value(json_object_get(json_object_get(got, "plan"), "ttft_s")) <
                .99 * without);
    json_decref(got);
    got = kvs_cli_json("plan --model llama-3.1-8b --hardware h100-sxm --states 8,16 --json");
    layers = json_object_get(got, "layers");
    for (size_t l = 0; l < json_array_size(layers); l++)
        kvs_cli_expect(json_array_get(layers, l), "{\"state_tok\": 0}");
    assert_true(
        json_number_value(json_object_get(json_object_get(got, "plan"), "ttft_s")) ==
        json_number_value(json_object_get(json_object_get(got, "states"), "without_ttft_s")));
    json_decref(got);
    assert_non_null(strstr(kvs_cli_error(LONE "--states 32", &status),
                           "--states: found \"32\", want layers from 1 to 31 of llama-3.1-8b"));
    assert_int_equal(status, 2);
    assert_non_null(
        strstr(kvs_cli_error(LONE "--states 0", &status), "--states: found \"0\", want"));
    assert_non_null(
        strstr(kvs_cli_error(LONE "--states 8 --reuse content", &status), "want --reuse prefix"));
    assert_int_equal(status, 2);
}

/* SmolLM2's table was measured for one method, and that is the one without a word. */
static void moved_text_is_repaired_as_the_table_knows(void **state)
{
#define MOVED                                                                                      \
    "plan --model smollm2-135m --hardware h100-2gpu --tier nvme --context 2Ki --reuse content"
    int status;
    (void)state;
    json_t *got = kvs_cli_json(MOVED " --budget 0.2 --json"),
           *same = kvs_cli_json(MOVED " --budget 0.2 --json --repair first-tokens");
    assert_true(json_equal(got, same));
    json_decref(got);
    json_decref(same);
    assert_non_null(strstr(kvs_cli_error(MOVED " --repair deviation", &status),
                           "no method \"deviation\"; known: first-tokens"));
    assert_int_equal(status, 2);
}

/* Nothing may be lost, so moved text is computed again, and no table need say what it would lose.
 * What stands behind the moved text may be loaded. */
static void nothing_lost_needs_no_quality_table(void **state)
{
#define NO_TABLE "plan --model qwen2.5-7b --hardware h100-sxm "
    json_t *got = kvs_cli_json(NO_TABLE "-c 4Ki --reuse content -b 0 --json"),
           *load = kvs_cli_json(NO_TABLE "-c 4Ki --reuse content -b 0 -p load --json"),
           *mixed = kvs_cli_json(NO_TABLE "--spans prefix:256,content:256,prefix:8Ki@dram,new:256 "
                                          "-b 0 --json"),
           *known = kvs_cli_json("plan --model llama-3.1-8b --hardware h100-sxm -c 4Ki "
                                 "--reuse content -b 0 --json");
    const char *text;
    int status;

    (void)state;
    kvs_cli_expect(got, "{\"plan\": {\"recompute_frac\": 1.0, \"loss_nats\": 0.0, "
                        "\"over_budget\": false}, \"loss\": {\"nats\": 0.0}}");
    assert_true(kvs_cli_ttft_s(got) == kvs_cli_number(kvs_cli_policy(got, "recompute"), "ttft_s"));
    assert_true(json_is_null(json_object_get(kvs_cli_policy(got, "load"), "loss_nats")));
    assert_true(json_is_true(json_object_get(kvs_cli_policy(got, "load"), "over_budget")));
    assert_true(json_is_null(json_object_get(json_object_get(load, "loss"), "nats")));
    kvs_cli_expect(mixed, "{\"loss\": {\"nats\": 0.0}, \"plan\": {\"over_budget\": false}}");
    assert_true(kvs_cli_number(json_object_get(mixed, "plan"), "load_bytes") > 0);
    kvs_cli_expect(known, "{\"plan\": {\"recompute_frac\": 1.0}}");
    text = kvs_cli_error(NO_TABLE "-c 4Ki --reuse content", &status);
    assert_int_equal(status, 2);
    assert_non_null(strstr(text, "kvsim plan: there is no quality table of qwen2.5-7b; --quality "
                                 "FILE names one, --budget 0 needs none"));
    text = kvs_cli_error(NO_TABLE "-c 4Ki --reuse content -b 0 --levels p8", &status);
    assert_int_equal(status, 2);
    assert_non_null(strstr(text, "no quality table says what p8 costs"));
    text = kvs_cli_error(NO_TABLE "-c 4Ki --reuse content -b 0 --repair deviation", &status);
    assert_int_equal(status, 2);
    assert_non_null(strstr(text, "--repair: no quality table says"));
    json_decref(got);
    json_decref(load);
    json_decref(mixed);
    json_decref(known);
}

/* 4,096 tokens in passages of 256 or 64, the first in its place: 16 tokens of each other one. The
 * curve of first tokens has .1 nats at .03 and .05 at .12, that of deviation .06 at .05 and .02 at
 * .15, where all is moved; here all but one passage is. */
static void each_repairs_in_its_own_way_whatever_the_option_says(void **state)
{
    static const char *const repair[] = {"deviation", "first-tokens"};

    (void)state;
    for (int i = 0; i < 2; i++) {
        char args[300];
        snprintf(args, sizeof args,
                 "plan -m llama-3.1-8b -H h100-sxm -c 4Ki -t nvme --levels raw16 --budget 1 "
                 "--reuse content --repair %s --json",
                 repair[i]);
        json_t *got = kvs_cli_json(args);

        assert_true(fabs(kvs_cli_number(kvs_cli_policy(got, "epic"), "recompute_frac") -
                         15 * 16 / 4096.) < 1e-9);
        assert_true(fabs(kvs_cli_number(kvs_cli_policy(got, "epic"), "loss_nats") -
                         (.1 - .05 * (.0625 - .03) / .09) * 15 / 16) < 1e-6);
        assert_true(kvs_cli_number(kvs_cli_policy(got, "cacheblend"), "loss_nats") < .02 * 15 / 16);
        json_decref(got);
    }
    json_t *got = kvs_cli_json("plan -m llama-3.1-8b -H h100-sxm -c 4Ki -t nvme --levels raw16 "
                               "--budget 1 --reuse content --block 64 --json");
    assert_true(fabs(kvs_cli_number(kvs_cli_policy(got, "epic"), "recompute_frac") -
                     63 * 16 / 4096.) < 1e-9);
    json_decref(got);
}

/* SmolLM2's table has first tokens only. */
static void a_repair_that_no_table_knows_is_said_to_be_unknown(void **state)
{
    json_t *got = kvs_cli_json("plan -m smollm2-135m -H h100-sxm -c 4Ki -t dram --levels raw16 "
                               "--load 0.9 --reuse content --json");

    (void)state;
    assert_true(json_is_null(json_object_get(kvs_cli_policy(got, "cacheblend"), "loss_nats")));
    assert_true(json_is_true(json_object_get(kvs_cli_policy(got, "cacheblend"), "over_budget")));
    assert_true(json_is_real(json_object_get(kvs_cli_policy(got, "epic"), "loss_nats")));
    json_decref(got);
}

/* Llama 2 7B has 512 KiB a token of K and V; its hidden states are half of that. */
static void load_is_of_k_and_v_where_hidden_states_are_held(void **state)
{
    json_t *got = kvs_cli_json("plan -m llama-2-7b -H h100-sxm -c 4Ki -t nvme --hidden --json");
    const json_t *left_out = json_object_get(got, "left_out");

    (void)state;
    assert_true(kvs_cli_number(kvs_cli_policy(got, "load"), "load_bytes") > 4096 * 524288. - 10);
    assert_true(kvs_cli_number(kvs_cli_policy(got, "hcache"), "load_bytes") < 4096 * 524288. * .6);
    /* there is one level of K and V: nothing for CacheGen to choose */
    assert_int_equal(json_array_size(left_out), 1);
    kvs_cli_expect(json_array_get(left_out, 0), "{\"policy\": \"cachegen\"}");
    json_decref(got);
}

/* One block stands where it stood: it is loaded. Of one moved token among 257, EPIC repairs that
 * one. */
static void epic_computes_no_more_of_short_prompts_than_there_is(void **state)
{
    json_t *one = kvs_cli_json("plan -m llama-3.1-8b -H h100-sxm -c 1 --reuse content --json"),
           *two = kvs_cli_json("plan -m llama-3.1-8b -H h100-sxm -c 257 --reuse content --json");

    (void)state;
    assert_true(kvs_cli_number(kvs_cli_policy(one, "epic"), "ttft_s") ==
                kvs_cli_number(kvs_cli_policy(one, "load"), "ttft_s"));
    assert_true(fabs(kvs_cli_number(kvs_cli_policy(two, "epic"), "recompute_frac") - 1. / 257) <
                1e-9);
    json_decref(one);
    json_decref(two);
}

static double at(const json_t *object, const char *in, const char *key)
{
    return json_number_value(json_object_get(json_object_get(object, in), key));
}

/*
 * The box has the decoder too: h100-2gpu's nvme 25 %, its GPU 6 %; of gpu-published's levels the
 * least certain rate is 60 % off. What careful takes may lose 1 % of TTFT at most, or is load or
 * recompute itself.
 */
static void the_regret_is_told_and_heeded(void **state)
{
    json_t *got = kvs_cli_json(LONE "-c 32Ki --budget 0.02 -p optimal --json"),
           *careful = kvs_cli_json(LONE "-c 32Ki --budget 0.02 --json"),
           *raw = kvs_cli_json(LONE "-c 32Ki --bandwidth 10GB/s --json");
    const json_t *error = json_object_get(json_object_get(got, "regret"), "rel_error");

    (void)state;
    kvs_cli_expect(error, "{\"routes\": {\"nvme\": 0.25}, \"decoder\": 0.0, \"gpu_decoding\": 0.6, "
                          "\"gpu\": 0.06}");
    assert_true(at(got, "regret", "of_ttft") > .01);
    kvs_cli_expect(json_object_get(careful, "regret"), "{\"fell_back\": true}");
    assert_true(at(careful, "regret", "of_ttft") <= .01);
    assert_true(at(careful, "plan", "ttft_s") > at(got, "plan", "ttft_s"));
    /* a rate that was asked for is exact, and what isn't compressed needs no decoding */
    error = json_object_get(json_object_get(raw, "regret"), "rel_error");
    kvs_cli_expect(error, "{\"routes\": {\"nvme\": 0.0}, \"gpu_decoding\": 0.0}");
    json_decref(got);
    json_decref(careful);
    json_decref(raw);
}

/* At its limit exact has what the certified planner has, and says that it is not proven. */
static void exact_gives_up_at_its_limit(void **state)
{
    json_t *got = kvs_cli_json(LONE "-c 8Ki --budget 0.02 --fractions 9 -p exact --limit 0 --json");
    int status;

    (void)state;
    assert_true(at(got, "plan", "lower_bound_s") < at(got, "plan", "ttft_s"));
    assert_true(at(got, "plan", "lower_bound_s") > .9 * at(got, "plan", "ttft_s"));
    json_decref(got);
    assert_non_null(
        strstr(kvs_cli_text(LONE "-c 8Ki --budget 0.02 --fractions 9 -p exact --limit 0"),
               "exact gave up after 0 s of processor time (--limit)"));
    assert_non_null(
        strstr(kvs_cli_error(LONE "--limit 5s", &status), "--limit: is of --planner exact"));
    assert_int_equal(status, 2);
}

/* All layers at p4, K and V: what the table's rows add up to, as sure as they are; and text that
 * moved: .5 nats where nothing is repaired. */
static void the_loss_is_told_with_its_error_and_source(void **state)
{
    json_t *p4 = kvs_cli_json("plan -m smollm2-135m -H h100-2gpu --levels p4 --budget 1 -p load "
                              "--bandwidth 100MB/s --json"),
           *moved = kvs_cli_json(LONE "--spans prefix:4Ki,content:4Ki,new:256 --levels raw16 "
                                      "--budget 1 -p load --json");
    const json_t *loss = json_object_get(p4, "loss");

    (void)state;
    kvs_cli_expect(loss, "{\"table\": \"smollm2-135m\"}");
    assert_true(fabs(at(p4, "loss", "nats") - at(p4, "plan", "loss_nats")) < 1e-6);
    assert_true(fabs(at(loss, "sources", "fitted") - at(p4, "loss", "nats")) < 1e-9);
    assert_true(fabs(at(p4, "loss", "high_nats") * at(p4, "loss", "low_nats") -
                     pow(at(p4, "loss", "nats"), 2)) < 1e-9);
    assert_true(at(p4, "loss", "high_nats") > 1.2 * at(p4, "loss", "nats"));
    kvs_cli_expect(json_array_get(json_object_get(loss, "parts"), 0),
                   "{\"what\": \"p4\", \"layers\": 30}");
    loss = json_object_get(moved, "loss");
    kvs_cli_expect(loss, "{\"nats\": 0.25}");
    kvs_cli_expect(json_array_get(json_object_get(loss, "parts"), 0),
                   "{\"what\": \"moved text\", \"nats\": 0.25}");
    json_decref(p4);
    json_decref(moved);
}

/* Sizes that plans count are those that the encoder leaves, a page more or less; long blocks and
 * short ones. The file's head is two pages, or three with tables. */
static void stored_sizes_are_the_encoders(void **state)
{
    static const struct {
        int chan, block_tok;
    } cases[] = {{192, 256}, {192, 64}, {1024, 64}, {512, 128}};
    struct kvs_codec *codec;
    struct kvs_err err = {0};

    (void)state;
    assert_int_equal(kvs_codec_open("gpu-published", &codec, &err), KVS_OK);
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        int chan = cases[n].chan, block_tok = cases[n].block_tok, n_section = 2 * 1024 / block_tok;
        char args[160];
        json_t *real, *one;
        uint32_t n_seen = 0;
        size_t i;

        snprintf(args, sizeof args,
                 "codec bench --channels %d --block %d --tokens 1024 --type bf16 --layers 1 "
                 "--rounds 1 --json",
                 chan, block_tok);
        real = kvs_cli_json(args);
        json_array_foreach(json_object_get(real, "levels"), i, one)
        {
            int q = kvs_codec_level(codec, json_string_value(json_object_get(one, "level")));
            double bits = json_number_value(json_object_get(one, "bits_per_element"));
            double section = bits * chan * block_tok / 8 - 2.5 * 4096 / n_section;

            if (q <= 0)
                continue;
            if (fabs(kvs_codec_section_bytes(&codec->level[q], false, block_tok, chan) - section) >
                4096)
                fail_msg("%s, %d channels, %d tokens: %g bytes", codec->level[q].name, chan,
                         block_tok, section);
            n_seen++;
        }
        assert_true(n_seen == codec->n_level - 1);
        json_decref(real);
    }
    kvs_codec_free(codec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_problem_is_planned_and_valued),
        cmocka_unit_test(the_regret_is_told_and_heeded),
        cmocka_unit_test(exact_gives_up_at_its_limit),
        cmocka_unit_test(the_loss_is_told_with_its_error_and_source),
        cmocka_unit_test(stored_sizes_are_the_encoders),
        cmocka_unit_test(moved_text_is_repaired_as_the_table_knows),
        cmocka_unit_test(nothing_lost_needs_no_quality_table),
        cmocka_unit_test(each_repairs_in_its_own_way_whatever_the_option_says),
        cmocka_unit_test(a_repair_that_no_table_knows_is_said_to_be_unknown),
        cmocka_unit_test(load_is_of_k_and_v_where_hidden_states_are_held),
        cmocka_unit_test(epic_computes_no_more_of_short_prompts_than_there_is),
        cmocka_unit_test(a_problem_with_a_restart_point_is_planned),
        cmocka_unit_test(the_certified_planner_answers_by_default),
        cmocka_unit_test(an_optimum_that_is_not_known_may_be_null),
        cmocka_unit_test(a_plan_that_fails_its_check_ends_1),
        cmocka_unit_test(wrong_input_ends_2_and_is_named),
        cmocka_unit_test(the_slowest_bandwidth_and_longest_context_are_planned),
        cmocka_unit_test(restart_points_are_used_where_they_pay),
    };
    return cmocka_run_group_tests_name("kvsim plan", tests, NULL, NULL);
}
