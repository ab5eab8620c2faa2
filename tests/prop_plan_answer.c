/* What `kvsim plan` means by optimal, over prompts drawn at random. */
#include "test.h"

#include "base/rng.h"
#include "cli_json.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define N_SEED 4

static const json_t *policy(const json_t *answer, const char *name)
{
    size_t i;
    const json_t *row;

    json_array_foreach(json_object_get(answer, "policies"), i,
                       row) if (strcmp(json_string_value(json_object_get(row, "policy")), name) ==
                                0) return row;
    return NULL;
}

/* A prompt, without who plans it. */
static void draw(uint64_t seed, char *args, size_t size)
{
    static const char *const model[] = {"llama-3.1-8b", "llama-3-8b", "llama-3.1-70b",
                                        "mistral-7b"};
    static const char *const hardware[] = {"h200", "h100-sxm", "a100-80g", "b200"};
    static const char *const tier[] = {"dram", "nvme", "remote", "remote,dram", "nvme,remote"};
    static const char *const level[] = {"", "", " --levels lx", " --levels e4", " --levels p8,e3"};
    struct kvs_rng rng = kvs_rng_stream(seed, "answer");
    const char *m = model[kvs_rng_below(&rng, 4)];
    unsigned tok = 300 + (unsigned)kvs_rng_below(&rng, 20000), n = (unsigned)strlen(args);

    n += (unsigned)snprintf(args + n, size - n, " -m %s -H %s --tp 4 -n %u", m,
                            hardware[kvs_rng_below(&rng, 4)],
                            1 + (unsigned)kvs_rng_below(&rng, 1000));
    if (kvs_rng_below(&rng, 2))
        n += (unsigned)snprintf(args + n, size - n, " --reuse content");
    n += (unsigned)snprintf(args + n, size - n, " -c %u -t %s%s", tok, tier[kvs_rng_below(&rng, 5)],
                            level[kvs_rng_below(&rng, 5)]);
    if (kvs_rng_below(&rng, 3) == 0)
        n += (unsigned)snprintf(args + n, size - n, " --bandwidth %.0fMB/s",
                                10 + 3000 * kvs_rng_unit(&rng));
    snprintf(args + n, size - n, " -b %.4f", .002 + .05 * kvs_rng_unit(&rng));
}

static void no_policy_within_the_budget_beats_optimal(const json_t *answer, const char *args)
{
    size_t i;
    const json_t *row;

    json_array_foreach(json_object_get(answer, "policies"), i,
                       row) if (json_is_false(json_object_get(row, "over_budget")) &&
                                kvs_cli_number(row, "ttft_s") < kvs_cli_ttft_s(answer))
        fail_msg("%s: %s %.9g s, optimal %.9g s", args,
                 json_string_value(json_object_get(row, "policy")), kvs_cli_number(row, "ttft_s"),
                 kvs_cli_ttft_s(answer));
}

/* More tokens are no improvement, nor is a greater cost. */
static void better_is_never_slower(const json_t *answer, const char *args)
{
    double now_s = kvs_cli_ttft_s(answer);
    size_t i;
    const json_t *row;

    json_array_foreach(json_object_get(answer, "sensitivity"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "knob"));
        double half_s = kvs_cli_number(row, "half_ttft_s"),
               twice_s = kvs_cli_number(row, "twice_ttft_s");
        bool less = strstr(name, "tokens");

        if (less ? half_s > now_s || now_s > twice_s : half_s < now_s || now_s < twice_s)
            fail_msg("%s: %s: half %.9g s, as is %.9g s, twice %.9g s", args, name, half_s, now_s,
                     twice_s);
    }
}

static void optimal_is_the_least_and_better_machines_are_no_slower(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= N_SEED; seed++) {
        char args[500] = "plan -p optimal --json";

        draw(seed, args, sizeof args);
        json_t *answer = kvs_cli_json(args);
        no_policy_within_the_budget_beats_optimal(answer, args);
        better_is_never_slower(answer, args);
        json_decref(answer);
    }
}

/* Seeds of their own: a search that is given no time at all, and one of a few milliseconds. */
static void who_is_asked_changes_no_other_row_and_exact_is_never_worse(void **state)
{
    static const char *const asked[] = {" -p exact --limit 0", " -p exact --limit 5ms", " -p load",
                                        " -p careful"};
    (void)state;
    for (uint64_t seed = 101; seed <= 104; seed++) {
        char args[500] = "plan -p optimal --json";
        size_t n;

        draw(seed, args, sizeof args);
        json_t *best = kvs_cli_json(args);
        n = strlen(args);
        snprintf(args + n, sizeof args - n, "%s", asked[seed % 4]);
        json_t *other = kvs_cli_json(args);
        const json_t *row = policy(other, "optimal");

        assert_non_null(row);
        if (kvs_cli_number(row, "ttft_s") != kvs_cli_ttft_s(best))
            fail_msg("%s: optimal %.9g s, asked itself %.9g s", args, kvs_cli_number(row, "ttft_s"),
                     kvs_cli_ttft_s(best));
        if (strstr(asked[seed % 4], "exact")) {
            json_t *menu = json_object_get(best, "menu");

            if (kvs_cli_ttft_s(other) > kvs_cli_ttft_s(best))
                fail_msg("%s: %.9g s, optimal %.9g s", args, kvs_cli_ttft_s(other),
                         kvs_cli_ttft_s(best));
            assert_true(json_equal(menu, json_object_get(other, "menu")));
        }
        json_decref(best);
        json_decref(other);
    }
}

static void the_order_of_the_tiers_says_nothing(void **state)
{
    static const char *const order[] = {"nvme,remote", "remote,nvme"};
    json_t *answer[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        char args[300];

        snprintf(
            args, sizeof args,
            "plan -p optimal --json -m llama-3.1-70b -H h100-2gpu -c 12251 -n 16 -b 0.02 -t %s",
            order[i]);
        answer[i] = kvs_cli_json(args);
    }
    assert_true(json_equal(answer[0], answer[1]));
    json_decref(answer[0]);
    json_decref(answer[1]);
}

/* Of text moved without repair, which loses 0.49 nats, and may lose 0.01. */
static void a_policy_over_the_budget_has_real_times_and_says_so(void **state)
{
    json_t *got =
        kvs_cli_json("plan -p optimal --json -m llama-3.1-8b -H h100-2gpu --reuse content -b 0.01 "
                     "-p load");
    const char *first = json_string_value(json_array_get(json_object_get(got, "words"), 0));

    (void)state;
    better_is_never_slower(got, "load");
    for (size_t i = 0; i < json_array_size(json_object_get(got, "sensitivity")); i++)
        assert_true(kvs_cli_number(json_array_get(json_object_get(got, "sensitivity"), i),
                                   "half_ttft_s") < 10);
    assert_non_null(strstr(first, "load is over the budget"));
    json_decref(got);
}

/* Prompts on which a published staircase was faster once, and a better machine slower. */
static void prompts_that_were_answered_wrongly(void **state)
{
    static const char *const prompt[] = {
        "plan -p optimal --json -m llama-3.1-8b -H rtx-4090 --spans "
        "new:86,content:6746@remote,new:963 "
        "-b 0.01 --block 64",
        "plan -p optimal --json -m llama-3.1-8b -H h100-sxm -c 18013 -n 769 -t nvme,remote "
        "--bandwidth 10.7MB/s",
        "plan -p optimal --json -m llama-3-8b -H b200 --spans "
        "prefix:6081,prefix:37@dram,prefix:569@dram,"
        "new:11 -b 0.05 --bandwidth 207MB/s --levels e4 --tp 1",
        "plan -p optimal --json -m llama-3.1-8b -H b200 -c 19931 -n 3 -t remote,dram --reuse "
        "content "
        "--levels lx",
        "plan -p optimal --json -m llama-3.1-70b -H a100-80g -c 4861 -n 118 -t remote --reuse "
        "content",
        "plan -p optimal --json -m llama-3.1-8b -H h100-2gpu -c 7747 -n 33 -b 0.001",
    };
    (void)state;
    for (size_t i = 0; i < sizeof prompt / sizeof *prompt; i++) {
        json_t *answer = kvs_cli_json(prompt[i]);

        no_policy_within_the_budget_beats_optimal(answer, prompt[i]);
        better_is_never_slower(answer, prompt[i]);
        json_decref(answer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(optimal_is_the_least_and_better_machines_are_no_slower),
        cmocka_unit_test(prompts_that_were_answered_wrongly),
        cmocka_unit_test(who_is_asked_changes_no_other_row_and_exact_is_never_worse),
        cmocka_unit_test(the_order_of_the_tiers_says_nothing),
        cmocka_unit_test(a_policy_over_the_budget_has_real_times_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
