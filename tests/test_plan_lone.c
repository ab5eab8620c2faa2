/* kvsim plan --model ...: one prompt, explained. */
#include "test.h"

#include "cli_json.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#define HERE "plan --model llama-3.1-8b --hardware h100-2gpu --context 8Ki --new 128 "

static void the_plan_is_bounded_and_beats_every_corner(void **state)
{
    static const char *const more[] = {"", "--budget 0.02", "--reuse content", "--tier dram,nvme",
                                       "--load 0.5 --bandwidth 2GB/s"};
    (void)state;
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        char args[300];

        snprintf(args, sizeof args, HERE "--json %s", more[i]);
        json_t *answer = kvs_cli_json(args);
        const json_t *plan = json_object_get(answer, "plan");
        const json_t *layers = json_object_get(answer, "layers");
        double ttft = kvs_cli_number(plan, "ttft_s"), loss = 0;
        size_t k;
        json_t *row;

        assert_true(kvs_cli_number(plan, "lower_bound_s") <= ttft);
        assert_true(kvs_cli_number(plan, "loss_nats") <=
                    kvs_cli_number(answer, "budget_nats") + 1e-12);
        json_array_foreach(json_object_get(answer, "policies"), k, row)
        {
            /* those that are no corners of the staircase included */
            if (!json_is_true(json_object_get(row, "over_budget")))
                assert_true(kvs_cli_number(row, "ttft_s") >=
                            kvs_cli_number(plan, "lower_bound_s") - 1e-12);
        }
        assert_int_equal(json_array_size(layers), 32);
        json_array_foreach(layers, k, row) loss += kvs_cli_number(row, "loss_nats");
        assert_true(fabs(loss - kvs_cli_number(plan, "loss_nats")) < 1e-6);
        json_decref(answer);
    }
}

/* Loading alone over a slow link takes bytes over the rate, and recomputing nothing of it. */
static void slow_links_are_priced_by_their_bytes(void **state)
{
    json_t *answer = kvs_cli_json(HERE "--json --bandwidth 1GB/s");
    double load = kvs_cli_number(kvs_cli_policy(answer, "load"), "ttft_s");
    double bytes = 8192 * 131072., pieces = 32 * 32 * 2;

    (void)state;
    assert_true(fabs(kvs_cli_number(kvs_cli_policy(answer, "load"), "load_bytes") - bytes) < 10);
    assert_true(load > bytes / 1e9 && load < bytes / 1e9 + pieces * 1e-5 + .02);
    assert_true(kvs_cli_number(answer, "load_bytes_per_s") < 1e9);
    /* 1 GB/s is too slow for 8 Ki tokens here, so the answer names a rate above it */
    const json_t *x = json_object_get(answer, "bandwidth_crossing_bytes_per_s");
    assert_string_equal(json_string_value(json_object_get(x, "loading_wins")), "from");
    assert_true(kvs_cli_number(x, "from") > 1e9 &&
                kvs_cli_number(x, "low") <= kvs_cli_number(x, "from"));
    assert_true(kvs_cli_number(x, "from") <= kvs_cli_number(x, "high"));
    json_decref(answer);
}

/* TTFT of load over recompute's, as planned with that --bandwidth. */
static double load_over_recompute(const char *prompt, double bandwidth, double *crossing)
{
    char args[300];

    snprintf(args, sizeof args, "plan --json %s --bandwidth %.0f", prompt, bandwidth);
    json_t *answer = kvs_cli_json(args);
    double load = kvs_cli_number(kvs_cli_policy(answer, "load"), "ttft_s");
    double recompute = kvs_cli_number(kvs_cli_policy(answer, "recompute"), "ttft_s");
    *crossing = kvs_cli_number(json_object_get(answer, "bandwidth_crossing_bytes_per_s"), "from");
    assert_true(fabs(kvs_cli_number(answer, "bandwidth_bytes_per_s") / bandwidth - 1) < 1e-8);
    json_decref(answer);
    return load / recompute;
}

/* The rate that the answer names is one that --bandwidth takes, where one GPU loads and where two
 * do, and the same whatever it is asked from. */
static void the_crossing_is_the_bandwidth_where_both_take_as_long(void **state)
{
    static const char *const prompt[] = {
        "--model llama-3.1-8b --hardware h100-2gpu --context 8Ki --new 128",
        "--model llama-3.1-70b --hardware a100-80g --context 31419 --new 64 --tier remote "
        "--budget 0.02"};
    (void)state;
    for (size_t i = 0; i < sizeof prompt / sizeof *prompt; i++) {
        double from_slow, from_fast, again;

        assert_true(load_over_recompute(prompt[i], 2e7, &from_slow) > 1);
        assert_true(load_over_recompute(prompt[i], 1e11, &from_fast) < 1);
        assert_true(fabs(from_slow / from_fast - 1) < 1e-9);
        assert_true(load_over_recompute(prompt[i], round(from_slow * .99), &again) > 1);
        assert_true(load_over_recompute(prompt[i], round(from_slow * 1.01), &again) < 1);
    }
}

/* Text that moved is over the budget when all of it is loaded; in part it is within, and faster. */
static void moved_text_is_loaded_where_the_table_says_so(void **state)
{
    json_t *answer =
        kvs_cli_json("plan -m smollm2-135m -H h100-2gpu --budget 0.05 --reuse content --json");
    const json_t *lengths = json_object_get(answer, "context_crossing_tok");
    const json_t *rates = json_object_get(answer, "bandwidth_crossing_bytes_per_s");

    (void)state;
    assert_true(kvs_cli_number(kvs_cli_policy(answer, "token-split"), "ttft_s") <
                .5 * kvs_cli_number(kvs_cli_policy(answer, "recompute"), "ttft_s"));
    assert_string_equal(json_string_value(json_object_get(lengths, "loading_wins")), "always");
    assert_int_equal(json_array_size(json_object_get(lengths, "ranges")), 1);
    assert_string_equal(json_string_value(json_object_get(rates, "loading_wins")), "from");
    assert_true(kvs_cli_number(rates, "from") < kvs_cli_number(answer, "bandwidth_bytes_per_s"));
    /* and what else is within the budget is told of, and what is not planned at all */
    const char *gain = json_string_value(json_array_get(json_object_get(answer, "words"), 0));
    assert_non_null(strstr(gain, "recompute (27.1 ms; load is over the budget)"));
    assert_non_null(strstr(gain, "the best other policy within the budget (token-split, "));
    assert_int_equal(json_array_size(json_object_get(answer, "own_rule")), 0);
    assert_int_equal(json_array_size(json_object_get(answer, "left_out")), 3);
    json_decref(answer);
}

/* Of 128 cached tokens little is loaded and recomputing is one small step; of 4,096 it is faster;
 * at the far end attention makes it slower again. The answer at 4,096 must not deny its own rows.
 */
static void who_wins_may_change_twice_with_the_length(void **state)
{
    json_t *answer =
        kvs_cli_json("plan --model llama-2-7b --hardware rtx-4090 --context 4096 --new 32 "
                     "--tier nvme --json");
    const json_t *x = json_object_get(answer, "context_crossing_tok");

    (void)state;
    assert_true(kvs_cli_number(kvs_cli_policy(answer, "load"), "ttft_s") >
                kvs_cli_number(kvs_cli_policy(answer, "recompute"), "ttft_s"));
    assert_string_equal(json_string_value(json_object_get(x, "loading_wins")), "from");
    assert_true(kvs_cli_number(x, "until") > 128 && kvs_cli_number(x, "until") < 4096 &&
                kvs_cli_number(x, "from") > 4096);
    json_decref(answer);
}

/* Loading all is over the budget, so it is nothing that the careful plan could lose against. */
static void what_may_not_be_loaded_is_not_compared_with(void **state)
{
    json_t *answer =
        kvs_cli_json("plan --model llama-3.1-8b --hardware h100-sxm --context 32768 --new "
                     "256 --tier remote --reuse content --json");

    (void)state;
    assert_true(kvs_cli_number(json_object_get(answer, "plan"), "ttft_s") <
                1.01 * kvs_cli_number(kvs_cli_policy(answer, "optimal"), "ttft_s"));
    json_decref(answer);
}

static void the_terminal_is_told_everything(void **state)
{
    static const char *const parts[] = {"careful plan: TTFT", "layers",         "timeline",
                                        "certificate:",       "quality:",       "nats",
                                        "<- binds",           "Loading beats",  "What binds: the ",
                                        "simulated",          "at 8,192 tokens"};
    const char *text = kvs_cli_text(HERE "--budget 0.02");

    (void)state;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strcasestr(text, parts[i]))
            fail_msg("\"%s\" is not in:\n%s", parts[i], text);
    for (const char *line = text; line; line = strchr(line + 1, '\n')) {
        const char *end = strchr(line + 1, '\n');

        assert_true(!end || end - line < 260);
    }
}

static void wrong_options_are_named(void **state)
{
    static const struct {
        const char *args, *what;
    } cases[] = {
        {"plan --model llama-3.1-8b", "--hardware: missing"},
        {"plan --hardware h100-sxm", "--model: missing"},
        {"plan --model lama-3.1-8b --hardware h100-sxm", "llama-3.1-8b"},
        {HERE "--tier nvem", "did you mean \"nvme\"?"},
        {HERE "--budget much", "--budget"},
        {HERE "--budget -1", "--budget"},
        {HERE "--reuse half", "--reuse"},
        {HERE "--levels p5", "no level \"p5\""},
        {HERE "--reuse content --repair luck", "no method \"luck\""},
        {HERE "--tp 16", "--tp: found 16"},
        {HERE "--block 1 --context 1Mi", "--block"},
        {HERE "--load 1", "--load"},
        {"plan --model qwen3-8b --hardware h100-sxm --budget 0.1", "--quality FILE"},
        {"plan --model llama-3.1-405b --hardware h100-2gpu", "does not fit"},
        {HERE "--planner cacke", "--planner"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status;
        const char *text = kvs_cli_error(cases[i].args, &status);

        if (status != 2 || !strstr(text, cases[i].what))
            fail_msg("%s: %d, %s", cases[i].args, status, text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plan_is_bounded_and_beats_every_corner),
        cmocka_unit_test(slow_links_are_priced_by_their_bytes),
        cmocka_unit_test(the_crossing_is_the_bandwidth_where_both_take_as_long),
        cmocka_unit_test(moved_text_is_loaded_where_the_table_says_so),
        cmocka_unit_test(who_wins_may_change_twice_with_the_length),
        cmocka_unit_test(what_may_not_be_loaded_is_not_compared_with),
        cmocka_unit_test(the_terminal_is_told_everything),
        cmocka_unit_test(wrong_options_are_named),
    };
    return cmocka_run_group_tests_name("kvsim plan, one prompt", tests, NULL, NULL);
}
