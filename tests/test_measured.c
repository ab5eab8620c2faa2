#include "test.h"

#include "make_cost.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL                                                                                      \
    "{\"name\": \"tiny\", \"source\": \"-\", \"layers\": 2, \"hidden\": 8, \"heads\": 2, "         \
    "\"kv_heads\": 1, \"head_dim\": 4, \"ffn\": 10, \"vocab\": 100}"

/* Rows 1, 4, 64 behind 0, 100, 1000 tokens. */
#define ENTRY(vocab, linear, attention, kv)                                                        \
    "{\"model\": \"tiny\", \"device\": \"made up\", \"source\": \"assumed\", \"ref\": \"a "        \
    "test\", "                                                                                     \
    "\"layer\": {\"hidden\": 8, \"heads\": 2, \"kv_heads\": 1, \"head_dim\": 4, \"ffn\": 10, "     \
    "\"vocab\": " vocab "}, \"row_tok\": [1, 4, 64], \"context_tok\": [0, 100, 1000], "            \
    "\"linear_s\": [" linear "], \"attention_s\": [" attention "], \"kv_s\": [" kv "], "           \
    "\"begin_s\": [0.01, 0.01, 0.02], \"out_row\": [1, 4], \"head_s\": [0.5, 0.75]}"
#define LINEAR "1, 2, 8"
#define ATTENTION "[0.1, 0.2, 2], [0.2, 0.6, 6], [1, 5, 40]"
#define GOOD ENTRY("100", LINEAR, ATTENTION, "0.25, 0.5, 2")

static const char head[] =
    "{\"schema\": \"kvsim.profile\", \"schema_version\": \"1.0.0\", \"name\": \"made\", "
    "\"gpus_per_host\": 1, \"links\": [], \"tiers\": [], \"gpu\": {";
static const char *const figures[] = {"memory_bytes\": {\"value\": 1e15",
                                      "peak_flop_per_s\": {\"value\": 1e9",
                                      "mem_bytes_per_s\": {\"value\": 1e9",
                                      "usable_frac\": {\"value\": 1",
                                      "gemm_eff\": {\"value\": 1",
                                      "gemm_half_rows\": {\"value\": 3",
                                      "mem_eff\": {\"value\": 1",
                                      "launch_s\": {\"value\": 1e-6",
                                      "moe_eff\": {\"value\": 1",
                                      "attn_eff\": {\"value\": 1",
                                      "attn_half_rows\": {\"value\": 0",
                                      "attn_tail_tok\": {\"value\": 0",
                                      "allreduce_bytes_per_s\": {\"value\": 1e9",
                                      "allreduce_latency_s\": {\"value\": 0"};

/* A machine with these entries of "compute"; NULL: it has none. */
static enum kvs_code open_hw(const char *entries, struct kvs_hw **hw, struct kvs_err *err)
{
    char text[16384];
    struct kvs_doc *doc;
    int n = snprintf(text, sizeof text, "%s", head);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s\"%s, \"source\": \"assumed\"}",
                      i ? ", " : "", figures[i]);
    n += snprintf(text + n, sizeof text - (size_t)n, "}");
    if (entries)
        n += snprintf(text + n, sizeof text - (size_t)n, ", \"compute\": [%s]", entries);
    snprintf(text + n, sizeof text - (size_t)n, "}");
    *hw = NULL;
    enum kvs_code code = kvs_doc_parse("made.json", text, strlen(text), &doc, err);
    return code ? code : kvs_hw_from(doc, hw, err);
}

struct made {
    struct kvs_model *model;
    struct kvs_hw *hw;
    struct kvs_cost *cost;
};

static struct made make(const char *entries, uint32_t tp)
{
    struct kvs_err err = {0};
    struct made made = {.model = made_model(MODEL)};
    if (open_hw(entries, &made.hw, &err) ||
        kvs_cost_new_part(made.model, made.hw, tp, &made.cost, &err))
        fail_msg("%s", err.msg);
    return made;
}

static void drop(struct made *made)
{
    kvs_cost_free(made->cost);
    kvs_hw_free(made->hw);
    kvs_model_free(made->model);
}

static double layer_s(const struct made *made, double n_tok, double context)
{
    struct kvs_seg seg = {1, n_tok, context};
    return kvs_cost_layer_s(made->cost, 0, &seg, 1);
}

static void times_meet_the_points(void **state)
{
    static const double rows[] = {1, 4, 64}, context[] = {0, 100, 1000}, linear[] = {1, 2, 8},
                        kv[] = {.25, .5, 2},
                        attention[][3] = {{.1, .2, 2}, {.2, .6, 6}, {1, 5, 40}};
    struct made made = make(GOOD, 1);
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_true(kvs_cost_linear_s(made.cost, 0, rows[i]) == linear[i]);
        assert_true(kvs_cost_kv_s(made.cost, 0, rows[i]) == kv[i]);
        for (int c = 0; c < 3; c++)
            assert_true(layer_s(&made, rows[i], context[c]) == linear[i] + attention[i][c]);
    }
    assert_true(kvs_cost_head_s(made.cost, 64, 4) == .02 + .75);
    assert_true(kvs_cost_head_s(made.cost, 64, 0) == .02);
    drop(&made);
}

static void near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-9 * fabs(want)))
        fail_msg("found %.12g, want %.12g", got, want);
}

static void between_points_rows_follow_a_power_law_and_contexts_a_line(void **state)
{
    struct made made = make(GOOD, 1);
    (void)state;
    near(kvs_cost_linear_s(made.cost, 0, 2), sqrt(1 * 2.));  /* half way from 1 to 4 */
    near(kvs_cost_linear_s(made.cost, 0, 16), sqrt(2 * 8.)); /* from 4 to 64 */
    near(layer_s(&made, 4, 400), 2 + .6 + (6 - .6) / 3);
    near(layer_s(&made, 2, 50), sqrt(2) + sqrt(.15 * .4));
    drop(&made);
}

/* A row more costs as the last ones did, and sees as many keys more. */
static void beyond_the_points_time_goes_on_as_at_the_last(void **state)
{
    struct made made = make(GOOD, 1);
    (void)state;
    near(kvs_cost_linear_s(made.cost, 0, 128), 16);
    near(kvs_cost_kv_s(made.cost, 0, 128), 4);
    near(layer_s(&made, 64, 1900), 8 + 40 + 35);
    near(layer_s(&made, 128, 100), 16 + 2 * (5 + 35. / 900 * 32));
    near(kvs_cost_head_s(made.cost, 0, 8), 1.5);
    near(layer_s(&made, .5, 100), 1 + .2); /* half a row is one */
    drop(&made);
}

static void segments_share_the_linear_part_and_add_their_attention(void **state)
{
    struct made made = make(GOOD, 1);
    struct kvs_seg seg[2] = {{1, 60, 0}, {1, 4, 1000}};
    double fixed, per_tok;
    (void)state;
    near(kvs_cost_layer_s(made.cost, 0, seg, 2),
         layer_s(&made, 60, 0) - kvs_cost_linear_s(made.cost, 0, 60) + 6 + 8);
    kvs_cost_decode_s(made.cost, 4, &fixed, &per_tok);
    near(fixed, 2 * (2 + 4 * .1) + .01 + .75);
    near(per_tok, 2 * (2 - .1) / 1000);
    drop(&made);
}

static void other_shapes_and_tensor_parallelism_keep_the_formulas(void **state)
{
    struct made with = make(GOOD, 2), without = make(NULL, 2);
    (void)state;
    for (int n = 1; n < 3000; n += 1 + n * 2 / 3)
        assert_true(layer_s(&with, n, 3. * n) == layer_s(&without, n, 3. * n));
    drop(&with);
    drop(&without);
    /* another vocabulary: the layers are its, the logits are not */
    with = make(ENTRY("99", LINEAR, ATTENTION, "0.25, 0.5, 2"), 1);
    without = make(NULL, 1);
    assert_true(layer_s(&with, 4, 0) == 2.2);
    assert_true(kvs_cost_head_s(with.cost, 4, 1) == kvs_cost_head_s(without.cost, 4, 1));
    drop(&with);
    drop(&without);
}

static void the_last_entry_that_fits_counts(void **state)
{
    struct made made = make(GOOD ", " ENTRY("100", "3, 4, 9", ATTENTION, "0.25, 0.5, 2"), 1);
    (void)state;
    assert_true(kvs_cost_linear_s(made.cost, 0, 4) == 4);
    drop(&made);
}

/* Points at random; times never fall, whatever grows. */
static void times_never_fall(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "measured");
        double row[6], context[4], linear[6], attention[24];
        struct kvs_measured m = {.n_row = 6,
                                 .n_context = 4,
                                 .row_tok = row,
                                 .context_tok = context,
                                 .linear_s = linear,
                                 .attention_s = attention};
        for (int i = 0; i < 6; i++) {
            row[i] = i ? floor(row[i - 1] * (1.1 + 4 * kvs_rng_unit(&rng)) + 1) : 1;
            linear[i] = (i ? linear[i - 1] : 0) +
                        1e-3 * kvs_rng_unit(&rng) * (double)kvs_rng_below(&rng, 2);
            linear[i] = linear[i] > 0 ? linear[i] : 1e-9;
        }
        for (int c = 0; c < 4; c++)
            context[c] = c ? context[c - 1] + 1 + (double)kvs_rng_below(&rng, 5000) : 0;
        for (int i = 0; i < 24; i++) {
            double least = fmax(i >= 4 ? attention[i - 4] : 1e-9, i % 4 ? attention[i - 1] : 1e-9);
            attention[i] = least + 1e-3 * kvs_rng_unit(&rng) * (double)kvs_rng_below(&rng, 2);
        }
        for (int draw = 0; draw < 100; draw++) {
            double n = kvs_rng_lognormal(&rng, 3, 3), c = kvs_rng_lognormal(&rng, 6, 3);
            double more = n * (1 + kvs_rng_unit(&rng));
            double at = kvs_measured_attention_s(&m, n, c);
            if (!(isfinite(at) && at > 0 &&
                  kvs_measured_attention_s(&m, more, c) >= at * (1 - 1e-12) &&
                  kvs_measured_attention_s(&m, n, c * 1.3) >= at * (1 - 1e-12)))
                fail_msg("seed %llu: attention of %g or %g rows behind %g",
                         (unsigned long long)seed, n, more, c);
            assert_true(kvs_measured_linear_s(&m, more) >=
                        kvs_measured_linear_s(&m, n) * (1 - 1e-12));
        }
    }
}

static void bad_entries_are_refused_with_their_place(void **state)
{
    static const struct {
        const char *entry, *says;
    } cases[] = {
        {ENTRY("100", "1, 2, 1.5", ATTENTION, "0.25, 0.5, 2"), "compute[0].linear_s[2]: found 1.5"},
        {ENTRY("100", "1, 2", ATTENTION, "0.25, 0.5, 2"),
         "compute[0].linear_s: found 2 numbers, want 3"},
        {ENTRY("100", "0, 2, 3", ATTENTION, "0.25, 0.5, 2"), "compute[0].linear_s[0]: found 0"},
        {ENTRY("100", LINEAR, "[0.1, 0.2, 2], [0.2, 0.6, 6]", "0.25, 0.5, 2"),
         "compute[0].attention_s: found 2 lists, want one a row: 3"},
        {ENTRY("100", LINEAR, "[0.1, 0.2, 2], [0.2, 0.1, 6], [1, 5, 40]", "0.25, 0.5, 2"),
         "compute[0].attention_s[1][1]: found 0.1"},
        {ENTRY("100", LINEAR, "[0.1, 0.2, 2], [0.2, 0.6, 6], [1, 5, 5]", "0.25, 0.5, 2"),
         "compute[0].attention_s[2][2]: found 5, less than with fewer rows"},
        {ENTRY("100", LINEAR, ATTENTION, "0.25, 3, 4"),
         "compute[0].kv_s[1]: found 3, more than linear_s"},
        {ENTRY("0", LINEAR, ATTENTION, "0.25, 0.5, 2"), "compute[0].layer.vocab"},
        {GOOD ", " GOOD ", " GOOD ", " GOOD ", " GOOD ", " GOOD ", " GOOD ", " GOOD ", " GOOD,
         "compute: found 9 entries, want at most 8"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvs_err err = {0};
        struct kvs_hw *hw;
        assert_int_not_equal(open_hw(cases[i].entry, &hw, &err), KVS_OK);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("found \"%s\", want \"%s\"", err.msg, cases[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_meet_the_points),
        cmocka_unit_test(between_points_rows_follow_a_power_law_and_contexts_a_line),
        cmocka_unit_test(beyond_the_points_time_goes_on_as_at_the_last),
        cmocka_unit_test(segments_share_the_linear_part_and_add_their_attention),
        cmocka_unit_test(other_shapes_and_tensor_parallelism_keep_the_formulas),
        cmocka_unit_test(the_last_entry_that_fits_counts),
        cmocka_unit_test(times_never_fall),
        cmocka_unit_test(bad_entries_are_refused_with_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
