/* kvsim validate trace, as a user sees it: on a tiny model, whose times mean nothing. */
#include "cli_json.h"
#include "jsonfit.h"
#include "test.h"
#include "tmpdir.h"

#include <stdio.h>
#include <string.h>

static char common[1200];

/* The options that all calls share; false: the model is not there. */
static bool ready(void)
{
    const char *weights = kvs_shared("models/stories260K.bin");

    if (!weights)
        return false;
    tmpdir_write("stories.json",
                 "{\"name\": \"stories\", \"source\": \"test\", \"layers\": 5, \"hidden\": 64, "
                 "\"heads\": 8, \"kv_heads\": 4, \"head_dim\": 8, \"ffn\": 172, \"vocab\": 512, "
                 "\"tied_embeddings\": true}");
    tmpdir_write(
        "w.json",
        "{\"model\": \"stories.json\", \"hardware\": \"h100-sxm\", \"trace\": {\"generate\":"
        "{\"requests\": 40, \"rate\": 40, \"corpus\": 200, \"topics\": 6, "
        "\"topic_skew\": 0.7, \"passages\": 3, \"candidates\": 6, \"passage_skew\": 0, "
        "\"rank_decay\": 20, \"stray\": 0, \"drift\": 0, \"chat\": 0, \"web\": 0, "
        "\"turns\": 2, \"think\": \"20s\", \"stay\": 1, \"fresh_tok\": 0, "
        "\"prompts_per_day\": 0, \"passage_tok\": 400}}, "
        "\"tiers\": [{\"name\": \"nvme\", \"capacity\": \"200KiB\"}], "
        "\"compare\": [\"load\"]}");
    snprintf(common, sizeof common,
             "validate trace %s/w.json --weights %s --scale 0.05 --block 8 -n 25 --json", tmpdir(),
             weights);
    return true;
}

static json_int_t number(const json_t *at, const char *side, const char *name)
{
    const json_t *value = json_object_get(json_object_get(at, side), name);

    assert_non_null(value);
    return json_integer_value(value);
}

static void store_holds_what_the_simulator_says_over_seeds_sizes_and_policies(void **state)
{
    static const struct {
        int seed, kib;
        const char *evict, *policy;
    } cases[] = {
        {1, 100, "lru", "load"},     {2, 100, "s3fifo", "optimal"}, {3, 200, "sieve", "load"},
        {4, 200, "fifo", "optimal"}, {5, 300, "lru", "optimal"},
    };
    char args[1800];
    json_int_t evicted = 0;
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(args, sizeof args,
                 "%s --seed %d --set seed=%d --set 'tiers[0].capacity=\"%dKiB\"' "
                 "--set 'tiers[0].evict=\"%s\"' --set 'compare=[\"%s\"]'",
                 common, cases[i].seed, cases[i].seed, cases[i].kib, cases[i].evict,
                 cases[i].policy);
        json_t *got = kvs_cli_json(args); /* ends 0: they are equal */
        const json_t *hits = json_object_get(got, "hits"), *row;
        size_t r;
        assert_true(json_is_true(json_object_get(hits, "equal")));
        assert_int_equal(json_integer_value(json_object_get(hits, "plans_apart")), 0);
        assert_int_equal(json_integer_value(json_object_get(hits, "fell_back")), 0);
        assert_true(json_integer_value(json_object_get(hits, "measured_tok")) > 0);
        json_array_foreach(json_object_get(got, "rows"), r, row) assert_int_equal(
            number(row, "simulated", "hit_tok"), number(row, "measured", "hit_tok"));
        assert_int_equal(r, 25);
        assert_int_equal(number(hits, "evicted_blocks", "simulated"),
                         number(hits, "evicted_blocks", "measured"));
        evicted += number(hits, "evicted_blocks", "measured");
        json_decref(got);
    }
    assert_true(evicted > 50);
}

/* Both begin alike, and the second comes while the first is computed: as in the simulator, it is
 * looked up when nothing of the first is written. */
static void who_waits_does_not_hit_what_is_being_written(void **state)
{
    char args[1800];
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    char *n = strstr(common, "-n 25");
    assert_non_null(n);
    *n = 0;
    snprintf(args, sizeof args, "%s -n 2 --json --set trace.generate.rate=1e6", common);
    json_t *got = kvs_cli_json(args); /* one after the other: ends 0, they are equal */
    assert_true(json_integer_value(json_object_get(json_object_get(got, "hits"), "measured_tok")) >
                0);
    json_decref(got);
    snprintf(args, sizeof args, "%s -n 2 --json --set trace.generate.rate=1e6 --clock", common);
    got = kvs_cli_json(args);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(got, "hits"), "measured_tok")), 0);
    json_decref(got);
}

static void report_fits_its_schema_and_a_clock_may_rule(void **state)
{
    char args[1800], why[256];
    json_error_t bad;
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    json_t *schema = json_load_file("configs/schema/validate_trace.schema.json", 0, &bad);
    if (!schema)
        fail_msg("%s", bad.text);
    snprintf(args, sizeof args, "%s --clock --throttle -o %s/out --overwrite", common, tmpdir());
    int status; /* on a busy machine a request may wait on one side alone, and hit other blocks */
    json_t *got = kvs_cli_json_any(args, &status);
    if (!jsonfit(schema, got, why))
        fail_msg("%s", why);
    assert_int_equal(status, !json_is_true(json_object_get(json_object_get(got, "hits"), "equal")));
    assert_string_equal(json_string_value(json_object_get(got, "mode")), "clock");
    const json_t *last = json_array_get(json_object_get(got, "rows"), 24);
    assert_true(json_number_value(json_object_get(last, "arrive_s")) > .2);
    snprintf(args, sizeof args, "%s/out/validate_trace.json", tmpdir());
    json_t *file = json_load_file(args, 0, &bad);
    if (!file || !jsonfit(schema, file, why))
        fail_msg("%s", file ? why : bad.text);
    json_decref(file);
    json_decref(got);
    json_decref(schema);
}

static void what_the_device_can_not_do_is_refused(void **state)
{
    static const struct {
        const char *with, *word;
    } wrong[] = {
        {"--set 'compare=[\"load\",\"optimal\"]'", "found 2 policies"},
        {"--set 'compare=[\"recompute\"]'", "a policy that loads"},
        {"--set cluster.replicas=2", "one replica"},
        {"--set 'cluster.reuse=\"content\"'", "want \"prefix\""},
        {"--set 'tiers[0].evict=\"belady\"'", "by order alone"},
        {"--set 'tiers[0].write=\"back\"'", "written through"},
        {"--set 'model=\"smollm2-135m\"'", "--weights: 5 layers"},
        {"--scale 1", "context is 512"},
    };
    char args[1800];
    int status;
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(args, sizeof args, "%s %s", common, wrong[i].with);
        const char *said = kvs_cli_error(args, &status);
        assert_int_equal(status, 2);
        if (!strstr(said, wrong[i].word))
            fail_msg("%s: \"%s\" does not say \"%s\"", wrong[i].with, said, wrong[i].word);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_holds_what_the_simulator_says_over_seeds_sizes_and_policies),
        cmocka_unit_test(who_waits_does_not_hit_what_is_being_written),
        cmocka_unit_test(report_fits_its_schema_and_a_clock_may_rule),
        cmocka_unit_test(what_the_device_can_not_do_is_refused),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_drop);
}
