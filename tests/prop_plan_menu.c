/* kvsim plan's own menu of levels against menus named by hand. */
#include "test.h"

#include "base/rng.h"
#include "cli_json.h"

#include <stdbool.h>
#include <string.h>

#define MOST_LOSS 2e-3 /* relative; both plans end within 0.1 % of their bounds, mostly */

static const char *const level[] = {"lx", "fp8", "p8", "e5",   "p4", "e4",
                                    "p3", "e3",  "p2", "e2.5", "e2", "e1.5"};
#define N_NAME (sizeof level / sizeof *level)

static void no_menu_named_by_hand_is_better(void **state)
{
    static const char *const model[] = {"llama-3.1-8b", "llama-3.1-70b", "mistral-7b"};
    static const char *const hardware[] = {"h200", "h100-sxm", "a100-80g", "b200"};
    static const char *const tier[] = {"dram", "nvme", "remote", "dram,nvme"};
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "menu");
        char args[500], names[300] = "";
        int n =
            snprintf(args, sizeof args, "plan --json -m %s -H %s --tp 4 -t %s -c %u -n %u -b %.4f",
                     model[kvs_rng_below(&rng, 3)], hardware[kvs_rng_below(&rng, 4)],
                     tier[kvs_rng_below(&rng, 4)], 2000 + (unsigned)kvs_rng_below(&rng, 28000),
                     32 + (unsigned)kvs_rng_below(&rng, 1000), .002 + .1 * kvs_rng_unit(&rng));
        json_t *own = kvs_cli_json(args);
        const json_t *menu = json_object_get(own, "menu");

        assert_true(kvs_cli_number(menu, "chosen_from") == 169);
        assert_true(kvs_cli_number(menu, "lower_bound_all_s") <= kvs_cli_ttft_s(own));
        bool drawn[N_NAME][N_NAME] = {{false}}; /* a pair is named once */
        for (int i = 0; i < 12; i++) {
            uint64_t k = kvs_rng_below(&rng, N_NAME), v = kvs_rng_below(&rng, N_NAME);

            if (!drawn[k][v])
                snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s/%s",
                         i ? "," : "", level[k], level[v]);
            drawn[k][v] = true;
        }
        snprintf(args + n, sizeof args - (size_t)n, " --levels %s", names);
        json_t *hand = kvs_cli_json(args);
        assert_true(json_is_null(json_object_get(json_object_get(hand, "menu"), "chosen_from")));
        if (json_is_false(json_object_get(json_object_get(hand, "plan"), "over_budget")) &&
            kvs_cli_ttft_s(own) > kvs_cli_ttft_s(hand) * (1 + MOST_LOSS))
            fail_msg("seed %llu: %g s, by hand %g s with %s", (unsigned long long)seed,
                     kvs_cli_ttft_s(own), kvs_cli_ttft_s(hand), args);
        json_decref(own);
        json_decref(hand);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_menu_named_by_hand_is_better),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
