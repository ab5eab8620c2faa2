/* kvsim plan --spans: prompts of prefix-, content-cached, resident and absent text. */
#include "test.h"

#include "cli_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LONE "plan --model llama-3.1-8b --hardware h100-2gpu "

static void one_span_is_what_context_and_reuse_say(void **state)
{
    static const char *const same[][2] = {
        {LONE "-c 10000 -n 300 --json", LONE "--spans prefix:10000,new:300 --json"},
        {LONE "-c 10000 -n 300 -t dram,nvme --budget 0.02 --json",
         LONE "--spans prefix:10000,new:300 -t dram,nvme --budget 0.02 --json"},
        {LONE "-c 10000 -n 300 --reuse content --json",
         LONE "--spans content:10000,new:300 --json"},
        {LONE "-c 10000 -n 300 -t dram --json", LONE "--spans prefix:10000@dram,new:300 --json"},
    };
    static const char *const keys[] = {"plan",   "policies", "own_rule",    "layers",
                                       "work_s", "reuse",    "sensitivity", "context_crossing_tok"};

    (void)state;
    for (size_t n = 0; n < sizeof same / sizeof *same; n++) {
        json_t *a = kvs_cli_json(same[n][0]), *b = kvs_cli_json(same[n][1]);

        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            assert_true(json_equal(json_object_get(a, keys[k]), json_object_get(b, keys[k])));
        json_decref(a);
        json_decref(b);
    }
}

/*
 * 8,192 tokens of prefix, 1,024 in HBM, 2 passages of 4,096: 17,408 cached, of which 16,384 are
 * loaded, 128 KiB a token: 2 GiB. Moved text that nobody repairs loses .5 nats where all is moved:
 * here 8,192 of 17,408 tokens. Two routes bring 12,288 and 4,096 tokens.
 */
static void mixed_spans_are_loaded_from_where_they_lie(void **state)
{
    json_t *got = kvs_cli_json(
        LONE "--spans prefix:8Ki,hbm:1Ki,content:4Ki@dram,new:512,content:4Ki,new:256 --levels "
             "raw16 --budget 1 --planner load --json");
    json_t *plan = json_object_get(got, "plan"), *work = json_object_get(got, "work_s");

    (void)state;
    kvs_cli_expect(got, "{\"context_tok\": 17408, \"new_tok\": 768, \"reuse\": \"mixed\"}");
    kvs_cli_expect(plan, "{\"load_bytes\": 2147483648.0, \"recompute_frac\": 0.0, "
                         "\"loss_nats\": 0.235294118}");
    kvs_cli_expect(json_array_get(json_object_get(got, "spans"), 2),
                   "{\"kind\": \"content\", \"tok\": 4096, \"tiers\": [\"dram\"]}");
    kvs_cli_expect(json_array_get(json_object_get(got, "spans"), 3),
                   "{\"kind\": \"new\", \"tok\": 512, \"tiers\": []}");
    assert_true(kvs_cli_number(work, "nvme") > 0);
    assert_true(kvs_cli_number(work, "dram") > 0);
    assert_true(kvs_cli_number(kvs_cli_policy(got, "recompute"), "load_bytes") == 0);
    /* 16 tokens of each 256: the curve has .1 at .03 and .05 at .12 */
    assert_true(fabs(kvs_cli_number(kvs_cli_policy(got, "epic"), "loss_nats") -
                     (.1 - .05 * (.0625 - .03) / .09) * 8192 / 17408) < 1e-6);
    json_decref(got);
}

/* The prefix stands where it stood: CacheBlend computes the passage behind it, 8,192 tokens, in two
 * layers, and nothing before it. */
static void cacheblend_leaves_a_prefix_as_it_is(void **state)
{
    json_t *got = kvs_cli_json(LONE "--spans prefix:8Ki,content:8Ki,new:256 --levels raw16 "
                                    "--budget 1 --planner cacheblend --json");
    const json_t *layers = json_object_get(got, "layers");

    (void)state;
    kvs_cli_expect(json_array_get(layers, 0), "{\"recompute_tok\": 0, \"repair_tok\": 8192}");
    kvs_cli_expect(json_array_get(layers, 1), "{\"recompute_tok\": 0, \"repair_tok\": 8192}");
    kvs_cli_expect(json_array_get(layers, 2), "{\"recompute_tok\": 0}");
    assert_true(kvs_cli_number(json_array_get(layers, 2), "repair_tok") < 8192);
    json_decref(got);
}

/* What lies in HBM costs no load and what is absent no loss, wherever they stand. */
static void a_hole_is_computed_and_residents_are_not_loaded(void **state)
{
    json_t *whole = kvs_cli_json(LONE "--spans prefix:8Ki,new:256 --json");
    json_t *hole = kvs_cli_json(LONE "--spans prefix:4Ki,new:4Ki,prefix:4Ki,new:256 --json");
    json_t *hbm = kvs_cli_json(LONE "--spans hbm:4Ki,prefix:4Ki,new:256 --json");

    (void)state;
    assert_true(fabs(kvs_cli_number(kvs_cli_policy(hole, "load"), "load_bytes") - 8192 * 131072.) <
                10);
    assert_true(fabs(kvs_cli_number(kvs_cli_policy(hbm, "load"), "load_bytes") - 4096 * 131072.) <
                10);
    assert_true(kvs_cli_number(kvs_cli_policy(hole, "load"), "ttft_s") >
                kvs_cli_number(kvs_cli_policy(whole, "load"), "ttft_s"));
    assert_true(kvs_cli_number(kvs_cli_policy(hbm, "load"), "ttft_s") <
                kvs_cli_number(kvs_cli_policy(whole, "load"), "ttft_s"));
    kvs_cli_expect(hole, "{\"new_tok\": 4352, \"context_tok\": 8192, \"reuse\": \"prefix\"}");
    kvs_cli_expect(json_object_get(hole, "plan"), "{\"loss_nats\": 0.0}");
    json_decref(whole);
    json_decref(hole);
    json_decref(hbm);
}

/*
 * One of two spans at p4: half of the tokens lose half of what --levels p4 loses of all, and the
 * bytes are the mean of p4's and raw16's. A loss carried by half of the cached text counts half.
 */
static void spans_are_loaded_as_they_are_stored(void **state)
{
    json_t *p4 = kvs_cli_json(LONE "-c 8Ki --levels p4 -p load --json");
    json_t *whole = kvs_cli_json(LONE "--spans prefix:8Ki@nvme=p4/p4,new:256 -p load --json");
    json_t *half =
        kvs_cli_json(LONE "--spans prefix:4Ki=p4+0.01,prefix:4Ki,new:256 -p load --json");
    json_t *best = kvs_cli_json(LONE "--spans prefix:4Ki=p4+0.01,prefix:4Ki,new:256 --budget 0 "
                                     "--json");
    double raw_bytes = 8192 * 131072.;
    const json_t *a = json_object_get(p4, "plan"), *b = json_object_get(whole, "plan"),
                 *c = json_object_get(half, "plan"), *loss = json_object_get(half, "loss");

    (void)state;
    assert_true(kvs_cli_number(a, "ttft_s") == kvs_cli_number(b, "ttft_s"));
    assert_true(kvs_cli_number(a, "loss_nats") == kvs_cli_number(b, "loss_nats"));
    assert_true(kvs_cli_number(a, "load_bytes") == kvs_cli_number(b, "load_bytes"));
    assert_true(fabs(kvs_cli_number(c, "load_bytes") -
                     (kvs_cli_number(a, "load_bytes") + raw_bytes) / 2) < 10);
    assert_true(kvs_cli_number(c, "loss_nats") > .005);
    assert_true(fabs(kvs_cli_number(c, "loss_nats") - kvs_cli_number(loss, "nats")) < 1e-6);
    kvs_cli_expect(json_array_get(json_object_get(loss, "parts"), 0), "{\"what\": \"p4\"}");
    kvs_cli_expect(json_array_get(json_object_get(loss, "parts"), 1),
                   "{\"what\": \"carried\", \"nats\": 0.005}");
    kvs_cli_expect(json_array_get(json_object_get(half, "spans"), 0),
                   "{\"level\": \"p4\", \"carried_nats\": 0.01}");
    kvs_cli_expect(json_array_get(json_object_get(half, "spans"), 1), "{\"level\": \"raw16\"}");
    kvs_cli_expect(json_array_get(json_object_get(half, "layers"), 0),
                   "{\"level\": \"as stored\"}");
    /* nothing may be lost: the first span is computed again in every layer */
    kvs_cli_expect(json_object_get(best, "plan"), "{\"loss_nats\": 0.0}");
    assert_true(kvs_cli_number(json_array_get(json_object_get(best, "layers"), 31),
                               "recompute_tok") >= 4096);
    json_decref(p4);
    json_decref(whole);
    json_decref(half);
    json_decref(best);
}

static void wrong_spans_are_named(void **state)
{
    static const char *const cases[][2] = {
        {"prefx:8Ki,new:1", "\"prefx:8Ki\": unknown kind \"prefx\"; did you mean \"prefix\"?"},
        {"prefix,new:1", "found \"prefix\", want its tokens behind a colon: prefix:4Ki"},
        {"prefix:1.5,new:1", "\"prefix:1.5\": \"1.5\" tokens are no whole number"},
        {"prefix:0,new:1", "\"prefix:0\": found 0 tokens, want 1 to 16777216"},
        {"prefix:8Ki", "found \"prefix:8Ki\" at the end, want the new tokens there: new:256"},
        {"hbm:8Ki,new:1", "nothing lies on a tier; want a span of prefix or content"},
        {"prefix:8Ki@nvm,new:1", "--spans: h100-2gpu has no tier \"nvm\"; did you mean \"nvme\"?"},
        {"prefix:8Ki,new:1@nvme", "what is not cached lies on no tier; want new:1"},
        {"prefix:8Ki,new:1 -c 4Ki", "--context: --spans says what the prompt consists of"},
        {"prefix:8Ki@nvme,new:1 -t dram", "--tier: each cached span of --spans names its own"},
        {"prefix:8Ki=p9,new:1", "--spans: codec gpu-published has no level \"p9\""},
        {"prefix:8Ki=,new:1", "\"prefix:8Ki=\": want a level behind \"=\""},
        {"prefix:8Ki@,new:1", "\"prefix:8Ki@\": want a tier behind \"@\""},
        {"prefix:8Ki+x,new:1", "\"prefix:8Ki+x\": \"x\" is no number"},
        {"prefix:8Ki+2000,new:1", "found 2000, want 0 to 1000 nats"},
        {"hbm:8Ki=p4,prefix:1,new:1", "only what lies on a tier has a level"},
        {"hbm:8Ki+.1,prefix:1,new:1", "only what lies on a tier has a loss of its own"},
        {"prefix:8Ki=p4,new:1 --levels p8", "--levels: spans of --spans say what they are stored"},
        {"prefix:8Ki+.1,new:1 --states 8", "--states: the states of text that carries a loss"},
        {"content:8Ki,new:1 --states 8", "--states: the states of passages cached elsewhere"},
    };

    (void)state;
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        char args[300];
        const char *text;
        int status;

        snprintf(args, sizeof args, LONE "--spans %s", cases[n][0]);
        text = kvs_cli_error(args, &status);
        assert_int_equal(status, 2);
        if (!strstr(text, cases[n][1]))
            fail_msg("%s: found \"%s\"", cases[n][0], text);
    }
}

/* An option that would change nothing is refused by name. */
static void options_that_mean_nothing_are_refused(void **state)
{
    static const char *const cases[][2] = {
        {"plan --instances tests/data/plan_problems.json --budget 1", "--budget: is of a prompt"},
        {"plan --instances tests/data/plan_problems.json -m llama-3.1-8b", "--model: is of a"},
        {LONE "--error 0.1", "--error: is of --instances FILE"},
        {LONE "--repair deviation", "--repair: is of text cached elsewhere"},
        {LONE "--overwrite", "--overwrite: replaces the folder of --plot; there is none"},
        {LONE "--decoders 4", "--decoders: nothing is encoded; want --codec"},
        {LONE "--decoders 4 --budget .1", "--decoders: the codec is decoded by the GPUs"},
        {LONE "--codec cpu-avx512 --levels raw16", "--codec: raw16 is not encoded"},
        {LONE "--quality llama-3.1-8b --budget 0", "--quality: tells what is lost, and the"},
        {LONE "--slo 2s", "--slo: is CacheGen's, which is left out here: there is no level"},
        {LONE "--levels p8 --budget 0", "--levels: each of them loses something"},
        {LONE "--states 8,8", "--states: found 8 twice, want a layer once"},
        {"plan -m deepseek-v3 -H h100-sxm --hidden", "--hidden: deepseek-v3 stores latent KV"},
        {LONE "-c 1.5", "--context: found \"1.5\", want tokens like"},
        {LONE "--budget .", "--budget: \".\" is no number"},
        {LONE "--levels e4/e2,e4/e2", "--levels: found e4/e2 twice, want a level once"},
        {LONE "--levels e4,e4/e4", "--levels: found e4/e4 twice, want a level once"},
        {LONE "--tp 4", "--tp: found 4, a host of h100-2gpu has 2 GPUs"},
        {"plan -m smollm2-135m -H h100-2gpu --quality llama-3-8b",
         "found 32 numbers, want one a layer: 30; the table is of llama-3-8b"},
        {"plan -m qwen2.5-7b -H h100-2gpu --reuse content",
         "; --quality FILE names one, --budget 0 needs none"},
    };

    (void)state;
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        int status;
        const char *text = kvs_cli_error(cases[n][0], &status);

        assert_int_equal(status, 2);
        if (!strstr(text, cases[n][1]))
            fail_msg("%s: found \"%s\"", cases[n][0], text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_span_is_what_context_and_reuse_say),
        cmocka_unit_test(mixed_spans_are_loaded_from_where_they_lie),
        cmocka_unit_test(cacheblend_leaves_a_prefix_as_it_is),
        cmocka_unit_test(a_hole_is_computed_and_residents_are_not_loaded),
        cmocka_unit_test(spans_are_loaded_as_they_are_stored),
        cmocka_unit_test(wrong_spans_are_named),
        cmocka_unit_test(options_that_mean_nothing_are_refused),
    };
    return cmocka_run_group_tests_name("kvsim plan --spans", tests, NULL, NULL);
}
