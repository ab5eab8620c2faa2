#include "test.h"

#include "base/json.h"
#include "workloads/gen.h"
#include "workloads/trace_filter.h"
#include "workloads/trace_stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct kvs_gen_options defaults(void)
{
    struct kvs_gen_options options;
    struct kvs_err err = {0};
    bool help;
    char *argv[] = {(char *)"generate", NULL};
    if (kvs_opt_argv(kvs_gen_table, kvs_gen_n_opt, 1, argv, &options, NULL, &help, &err))
        fail_msg("%s", err.msg);
    return options;
}

static struct kvs_trace *generate(const struct kvs_gen_options *options, uint64_t seed)
{
    struct kvs_trace *trace;
    struct kvs_err err = {0};
    if (kvs_gen_open(options, seed, &trace, &err))
        fail_msg("%s", err.msg);
    return trace;
}

static const struct kvs_request *next(struct kvs_trace *trace)
{
    const struct kvs_request *req;
    struct kvs_err err = {0};
    if (kvs_trace_next(trace, &req, &err))
        fail_msg("%s", err.msg);
    return req;
}

/* RAGPulse's first week (rows 1-3800) and, last, both weeks: ../shared/traces/README.md's counts.
 */
enum { N_FIGURE = 22, N_SEED = 8 };
static const struct {
    const char *name;
    double want;
} figures[N_FIGURE] = {
    {"passage content hits", 16252.0 / 18846},
    {"passage content hits by tokens", 4356547.0 / 5015823},
    {"passage exact-prefix hits", 4969.0 / 18846},
    {"share of the top 1 % of passages", 3082.0 / 18846},
    {"share of the top 84 passages", 6196.0 / 18846},
    {"passages used", 2580},
    {"sys and passage exact-prefix hits", 7063.0 / 30246},
    {"exact-prefix hits of all parts", 7063.0 / 39236},
    {"the same by input tokens", 3613517.0 / 11478851},
    {"content hits of all parts", 26718.0 / 39236},
    {"the same by input tokens", 8186523.0 / 11478851},
    {"input mean", 3020.75},
    {"input p50", 3166},
    {"input p90", 3922},
    {"input p95", 4341},
    {"input p99", 5269},
    {"output mean", 255.91},
    {"output p50", 201},
    {"output p90", 508},
    {"output p99", 795},
    {"system prompts' share of input", 0.467},
    {"passage content hits in two weeks", 30006.0 / 33255},
};

struct counts {
    struct kvs_stats_sums passage, lead, all; /* passages; sys and passages; all parts */
    double input_sum, input_mean, input[4], output_mean, output[4];
};

static void tally_points(struct kvs_tally *tally, double *point)
{
    static const double at[] = {50, 90, 95, 99};
    for (int i = 0; i < 4; i++)
        point[i] = (double)kvs_tally_percentile(tally, at[i]);
}

static struct counts count(struct kvs_trace *trace)
{
    const struct kvs_stats_options options[3] = {
        {.part_mask = 1u << KVS_PART_PASSAGE, .n_top = 84},
        {.part_mask = 1u << KVS_PART_PASSAGE | 1u << KVS_PART_SYS},
        {.part_mask = 0}};
    struct kvs_stats *stats[3];
    struct counts counts;
    const struct kvs_request *req;
    for (int i = 0; i < 3; i++)
        assert_non_null(stats[i] = kvs_stats_new(&options[i]));
    while ((req = next(trace)))
        for (int i = 0; i < 3; i++)
            assert_int_equal(kvs_stats_add(stats[i], req, NULL), KVS_OK);
    assert_int_equal(kvs_stats_end(stats[0], &counts.passage, NULL), KVS_OK);
    assert_int_equal(kvs_stats_end(stats[1], &counts.lead, NULL), KVS_OK);
    assert_int_equal(kvs_stats_end(stats[2], &counts.all, NULL), KVS_OK);
    counts.input_sum = (double)kvs_tally_sum(kvs_stats_input(stats[2]));
    counts.input_mean = kvs_tally_mean(kvs_stats_input(stats[2]));
    counts.output_mean = kvs_tally_mean(kvs_stats_output(stats[2]));
    tally_points(kvs_stats_input(stats[2]), counts.input);
    tally_points(kvs_stats_output(stats[2]), counts.output);
    for (int i = 0; i < 3; i++)
        kvs_stats_free(stats[i]);
    kvs_trace_close(trace);
    return counts;
}

static double share(uint64_t part, uint64_t whole)
{
    return (double)part / (double)whole;
}

static void week_figures(uint64_t seed, double *figure)
{
    struct kvs_gen_options options = defaults();
    struct counts c = count(generate(&options, seed));
    const double got[N_FIGURE - 1] = {
        share(c.passage.content_hits, c.passage.n_access),
        share(c.passage.content_hit_tok, c.passage.access_tok),
        share(c.passage.prefix_hits, c.passage.n_access),
        share(c.passage.top_1pct_access, c.passage.n_access),
        share(c.passage.top_access, c.passage.n_access),
        (double)c.passage.n_unique,
        share(c.lead.prefix_hits, c.lead.n_access),
        share(c.all.prefix_hits, c.all.n_access),
        (double)c.all.prefix_hit_tok / c.input_sum,
        share(c.all.content_hits, c.all.n_access),
        (double)c.all.content_hit_tok / c.input_sum,
        c.input_mean,
        c.input[0],
        c.input[1],
        c.input[2],
        c.input[3],
        c.output_mean,
        c.output[0],
        c.output[1],
        c.output[3],
        (double)c.all.part[KVS_PART_SYS].n_tok / c.input_sum,
    };
    for (int i = 0; i < N_FIGURE - 1; i++)
        figure[i] += got[i] / N_SEED;
    options.n_request = 7106;
    c = count(generate(&options, seed));
    figure[N_FIGURE - 1] += share(c.passage.content_hits, c.passage.n_access) / N_SEED;
}

/* The mean over seeds: one seed's top passages are a draw of 26 from the lists of popular topics.
 */
static void defaults_have_the_statistics_of_ragpulse_within_5_percent(void **state)
{
    double got[N_FIGURE] = {0};
    int n_off = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= N_SEED; seed++)
        week_figures(seed, got);
    for (int i = 0; i < N_FIGURE; i++) {
        double off = got[i] / figures[i].want - 1;
        if (!(fabs(off) <= 0.05)) {
            print_message("%s: %g, want %g (%+.1f %%)\n", figures[i].name, got[i], figures[i].want,
                          100 * off);
            n_off++;
        }
    }
    assert_int_equal(n_off, 0);
}

static void the_same_seed_makes_the_same_trace_and_another_does_not(void **state)
{
    struct kvs_gen_options options = defaults();
    struct kvs_trace *a, *b, *c;
    unsigned n_same = 0;
    (void)state;
    options.n_request = 300;
    a = generate(&options, 7);
    b = generate(&options, 7);
    c = generate(&options, 8);
    for (int i = 0; i < 300; i++) {
        const struct kvs_request *x = next(a), *y = next(b), *z = next(c);
        assert_int_equal(x->arrive_ns, y->arrive_ns);
        assert_int_equal(x->n_block, y->n_block);
        assert_memory_equal(x->block, y->block, x->n_block * sizeof *x->block);
        n_same += x->input_tok == z->input_tok;
    }
    assert_null(next(a));
    assert_true(n_same < 100);
    kvs_trace_close(a);
    kvs_trace_close(b);
    kvs_trace_close(c);
}

static void arrivals_have_the_rate_and_burst_asked_for(void **state)
{
    struct kvs_gen_options options = defaults();
    (void)state;
    options.n_request = 20000;
    options.turns = 1; /* sessions of one turn: requests come as sessions do */
    options.rate_per_s = 50;
    for (int burst = 1; burst <= 2; burst++) {
        double sum = 0, square = 0;
        int64_t last_ns = 0;
        struct kvs_trace *trace;
        options.burst = burst;
        trace = generate(&options, 3);
        for (const struct kvs_request *req = next(trace); req; req = next(trace)) {
            double gap = (double)(req->arrive_ns - last_ns) * 1e-9;
            assert_true(req->arrive_ns >= last_ns);
            last_ns = req->arrive_ns;
            sum += gap;
            square += gap * gap;
        }
        sum /= 20000;
        square /= 20000;
        assert_true(fabs(sum * 50 - 1) < 0.05);
        assert_true(fabs(sqrt(square - sum * sum) / sum / burst - 1) < 0.06);
        kvs_trace_close(trace);
    }
}

static void every_prompt_holds_its_blocks_and_distinct_passages(void **state)
{
    struct kvs_gen_options options = defaults();
    (void)state;
    options.n_request = 2000;
    options.n_passage = 16;
    options.n_candidate = 3; /* the rest is stray */
    options.n_corpus = 40;
    for (int lengths = KVS_GEN_MEASURED; lengths <= KVS_GEN_FIXED; lengths++) {
        struct kvs_trace *trace;
        options.lengths = lengths;
        trace = generate(&options, 5);
        for (const struct kvs_request *req = next(trace); req; req = next(trace)) {
            uint64_t sum = 0, seen = 0;
            for (uint32_t i = 0; i < req->n_block; i++) {
                assert_true(req->block[i].n_tok > 0);
                sum += req->block[i].n_tok;
                if (req->block[i].part != KVS_PART_PASSAGE)
                    continue;
                assert_true(req->block[i].id < 40);
                assert_false(seen >> req->block[i].id & 1);
                seen |= UINT64_C(1) << req->block[i].id;
            }
            assert_in_range(req->input_tok - sum, 6, 12);
        }
        kvs_trace_close(trace);
    }
}

static void more_passages_than_the_corpus_has_are_refused(void **state)
{
    struct kvs_gen_options options = defaults();
    struct kvs_trace *trace;
    struct kvs_err err = {0};
    (void)state;
    options.n_corpus = 5;
    assert_int_equal(kvs_gen_open(&options, 1, &trace, &err), KVS_ERR_RANGE);
    assert_string_equal(err.msg, "passages is 6, want at most corpus, 5");
}

static void more_chat_and_web_than_all_is_refused(void **state)
{
    struct kvs_gen_options options = defaults();
    struct kvs_trace *trace;
    struct kvs_err err = {0};
    (void)state;
    options.chat_frac = 0.6;
    options.web_frac = 0.5;
    assert_int_equal(kvs_gen_open(&options, 1, &trace, &err), KVS_ERR_RANGE);
    assert_string_equal(err.msg, "chat and web are 0.6 and 0.5, want a sum of at most 1");
}

/* --- filters and the trace section of a workload --- */

static struct kvs_trace *from_json(const char *file, const char *text, struct kvs_err *err)
{
    struct kvs_doc *doc;
    struct kvs_trace *trace = NULL;
    enum kvs_code code = kvs_doc_parse(file, text, strlen(text), &doc, err);
    if (code == KVS_OK) {
        code = kvs_trace_from_json(kvs_json_get(kvs_doc_root(doc), "trace"), 1, &trace, err);
        kvs_doc_free(doc);
    }
    return code ? NULL : trace;
}

static void a_workload_names_a_path_beside_itself_or_generates(void **state)
{
    struct kvs_err err = {0};
    struct kvs_trace *trace =
        from_json("tests/data/w.json",
                  "{\"trace\":{\"path\":\"mooncake.jsonl\",\"limit\":3,\"rate\":2}}", &err);
    (void)state;
    if (!trace)
        fail_msg("%s", err.msg);
    assert_string_equal(kvs_trace_format(trace), "mooncake");
    assert_int_equal(next(trace)->arrive_ns, 0);
    assert_int_equal(next(trace)->arrive_ns, 0);
    assert_int_equal(next(trace)->arrive_ns, 125000000);
    assert_null(next(trace));
    kvs_trace_close(trace);
    trace = from_json("w.json", "{\"trace\":{\"generate\":{\"requests\":2,\"rate\":10}}}", &err);
    if (!trace)
        fail_msg("%s", err.msg);
    assert_non_null(next(trace));
    assert_non_null(next(trace));
    assert_null(next(trace));
    kvs_trace_close(trace);
}

static void wrong_trace_sections_are_named(void **state)
{
    static const char *const wrong[][2] = {
        {"{\"trace\":{}}", "w.json: trace: found neither, want one of path and generate"},
        {"{\"trace\":{\"path\":\"x\",\"generate\":{}}}",
         "w.json: trace: found both path and generate, want one of path and generate"},
        {"{\"trace\":{\"generate\":{\"corpus\":3}}}",
         "w.json: trace.generate: passages is 6, want at most corpus, 3"},
        {"{\"trace\":{\"generate\":{\"corpsu\":3}}}", "w.json: trace.generate"},
        {"{\"trace\":{\"path\":\"nowhere.jsonl\"}}", "nowhere.jsonl: No such file"},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct kvs_err err = {0};
        assert_null(from_json("w.json", wrong[i][0], &err));
        if (!strstr(err.msg, wrong[i][1]))
            fail_msg("found \"%s\", want \"%s\"", err.msg, wrong[i][1]);
    }
}

static void a_filter_refuses_what_makes_no_time(void **state)
{
    const struct kvs_trace_filter wrong[] = {{.rate = 0, .population = 1},
                                             {.rate = (double)NAN, .population = 1},
                                             {.rate = 1, .population = 0}};
    struct kvs_gen_options options = defaults();
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct kvs_trace *trace;
        assert_int_equal(kvs_trace_filtered(generate(&options, 1), &wrong[i], &trace, NULL),
                         KVS_ERR_RANGE);
        assert_null(trace);
    }
}

static void a_rate_that_leads_beyond_the_clock_is_an_error(void **state)
{
    struct kvs_trace_filter slow = {.rate = 1e-9, .population = 1, .limit = 2000};
    struct kvs_gen_options options = defaults();
    struct kvs_trace *trace;
    const struct kvs_request *req = NULL;
    struct kvs_err err = {0};
    (void)state;
    options.rate_per_s = 1e-3;
    assert_int_equal(kvs_trace_filtered(generate(&options, 1), &slow, &trace, NULL), KVS_OK);
    while (kvs_trace_next(trace, &req, &err) == KVS_OK && req)
        assert_true(kvs_trace_done_frac(trace) <= 1);
    assert_int_equal(err.code, KVS_ERR_RANGE);
    assert_non_null(strstr(err.msg, "after 146 years"));
    kvs_trace_close(trace);
}

static void a_population_of_3_asks_three_times_of_its_own(void **state)
{
    struct kvs_err err = {0};
    struct kvs_trace *trace = from_json(
        "tests/data/w.json", "{\"trace\":{\"path\":\"ragpulse\",\"population\":3}}", &err);
    uint64_t passage[3], sys[3], session[3];
    (void)state;
    if (!trace)
        fail_msg("%s", err.msg);
    for (int i = 0; i < 3; i++) {
        const struct kvs_request *req = next(trace);
        assert_int_equal(req->arrive_ns, i * 10000000000); /* the next request is 30 s later */
        assert_int_equal(req->n_block, 7);
        assert_int_equal(req->input_tok, 78);
        sys[i] = req->block[0].id;
        passage[i] = req->block[3].id;
        session[i] = req->session;
    }
    assert_int_equal(sys[0], 20);
    assert_int_equal(sys[2], 20);
    assert_int_equal(passage[0], 1);
    assert_true(passage[1] != 1 && passage[2] != 1 && passage[1] != passage[2]);
    assert_true(session[0] != session[1] && session[1] != session[2]);
    /* the group's own passages come again: request 2 holds [2, 1] */
    next(trace);
    assert_int_equal(next(trace)->block[4].id, passage[1]);
    for (int i = 5; i < 12; i++)
        assert_non_null(next(trace));
    assert_null(next(trace));
    kvs_trace_close(trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_have_the_statistics_of_ragpulse_within_5_percent),
        cmocka_unit_test(the_same_seed_makes_the_same_trace_and_another_does_not),
        cmocka_unit_test(arrivals_have_the_rate_and_burst_asked_for),
        cmocka_unit_test(every_prompt_holds_its_blocks_and_distinct_passages),
        cmocka_unit_test(more_passages_than_the_corpus_has_are_refused),
        cmocka_unit_test(a_workload_names_a_path_beside_itself_or_generates),
        cmocka_unit_test(wrong_trace_sections_are_named),
        cmocka_unit_test(more_chat_and_web_than_all_is_refused),
        cmocka_unit_test(a_filter_refuses_what_makes_no_time),
        cmocka_unit_test(a_rate_that_leads_beyond_the_clock_is_an_error),
        cmocka_unit_test(a_population_of_3_asks_three_times_of_its_own),
    };
    return cmocka_run_group_tests_name("gen", tests, NULL, NULL);
}
