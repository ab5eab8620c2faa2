/* One policy's figures, rows and spans, worked out by hand. */
#include "report/figures.h"
#include "report/tables_csv.h"
#include "report/timeline.h"
#include "test.h"
#include "tmpdir.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N(table) (sizeof(table) / sizeof *(table))

/* --- csv ---------------------------------------------------------------------------------------
 */

static void csv_prints_every_kind_of_field(void **state)
{
    static struct kvs_csv csv;
    char *text;
    size_t n;
    FILE *to = open_memstream(&text, &n);
    (void)state;
    kvs_csv_begin(&csv, to);
    kvs_csv_u64(&csv, 0);
    kvs_csv_u64(&csv, UINT64_MAX);
    kvs_csv_i64(&csv, INT64_MIN);
    kvs_csv_i64(&csv, -7);
    kvs_csv_row(&csv);
    kvs_csv_double(&csv, 0.1);
    kvs_csv_double(&csv, 1234567.0);
    kvs_csv_double(&csv, (double)NAN);
    kvs_csv_str2(&csv, "dram", "_tok");
    kvs_csv_row(&csv);
    kvs_csv_end(&csv);
    fclose(to);
    assert_string_equal(text, "0,18446744073709551615,-9223372036854775808,-7\n"
                              "0.1,1.23457e+06,,dram_tok\n");
    free(text);
}

static void csv_keeps_rows_longer_than_its_buffer(void **state)
{
    static struct kvs_csv csv;
    char *text;
    size_t n, n_row = 0;
    FILE *to = open_memstream(&text, &n);
    (void)state;
    kvs_csv_begin(&csv, to);
    for (uint64_t i = 0; i < 20000; i++) {
        kvs_csv_u64(&csv, i);
        kvs_csv_row(&csv);
    }
    kvs_csv_end(&csv);
    fclose(to);
    for (char *at = text; *at; at = strchr(at, '\n') + 1)
        assert_int_equal(strtoull(at, NULL, 10), n_row++);
    assert_int_equal(n_row, 20000);
    free(text);
}

static void staircase_is_told_in_runs(void **state)
{
    static const uint8_t step[] = {4, 4, 2, 2, 2, 0, 0, 0};
    char text[KVS_STAIRCASE_MAX];
    (void)state;
    kvs_staircase_text(text, step, 8, 5);
    assert_string_equal(text, "2x1 3x0.5 3x0");
    kvs_staircase_text(text, step, 8, 0);
    assert_string_equal(text, "2x4 3x2 3x0");
    kvs_staircase_text(text, step, 1, 5);
    assert_string_equal(text, "1x1");
}

/* --- figures of one policy ---------------------------------------------------------------------
 */

#define MS INT64_C(1000000)

/* Request i arrives at i seconds and takes (i + 1) ms to its first token: queue 1/2, compute 1/2.
 */
static struct kvs_sim_request made_request(uint64_t i)
{
    const int64_t arrive_ns = (int64_t)i * 1000 * MS, ttft_ns = (int64_t)(i + 1) * MS;
    return (struct kvs_sim_request){
        .index = i,
        .input_tok = 100,
        .output_tok = i % 2 ? 11 : 1,
        .arrive_ns = arrive_ns,
        .first_token_ns = arrive_ns + ttft_ns,
        .finish_ns = arrive_ns + ttft_ns + (i % 2 ? 100 * MS : 0),
        .queue_ns = ttft_ns / 2,
        .compute_ns = ttft_ns / 2,
        .predicted_ttft_ns = ttft_ns / 2,
        .new_tok = (uint32_t)i,
        .in_slo = i < 50,
    };
}

/* n requests, the last first, every tenth with a plan of its own out of two. */
static void make_outcome_after(struct kvs_outcome *outcome, uint64_t n, uint64_t n_timeline,
                               const struct kvs_warmup *warmup)
{
    struct kvs_collect collect;
    struct kvs_plan plan[2] = {{.frac_i = {1, 1}}, {.frac_i = {2, 0}}};
    struct kvs_sim_result sim = {.n_request = n, .n_in_slo = 50, .n_replica = 1};
    assert_int_equal(kvs_collect_init(&collect, 2, n_timeline, NULL), KVS_OK);
    for (uint64_t i = n; i-- > 0;) {
        struct kvs_sim_request request = made_request(i);
        if (i % 10 == 0)
            request.plan = &plan[i % 20 == 0];
        assert_int_equal(kvs_collect_request(&collect, &request, NULL), KVS_OK);
    }
    kvs_collect_sort(&collect);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(collect.row[i].index, i);
    assert_int_equal(kvs_outcome_make("made", &sim, warmup, &collect, outcome, NULL), KVS_OK);
    kvs_collect_shrink(&outcome->collect);
    assert_int_equal(outcome->collect.n_row, n_timeline < n ? n_timeline : n);
}

static void make_outcome(struct kvs_outcome *outcome, uint64_t n, uint64_t n_timeline)
{
    make_outcome_after(outcome, n, n_timeline, &(struct kvs_warmup){0});
}

static void near(double value, double want)
{
    if (!(fabs(value - want) <= 1e-12 * (1 + fabs(want))))
        fail_msg("%.17g is not %.17g", value, want);
}

static void figures_are_those_worked_out_by_hand(void **state)
{
    static struct kvs_outcome outcome;
    (void)state;
    make_outcome(&outcome, 100, 3);
    near(outcome.ttft_s.mean, 0.0505);
    near(outcome.ttft_s.p50, 0.050);
    near(outcome.ttft_s.p95, 0.095);
    near(outcome.ttft_s.p99, 0.099);
    near(outcome.ttft_s.max, 0.100);
    near(outcome.tpot_s.mean, 0.010); /* 100 ms over 10 tokens, of the 50 that have more than one */
    near(outcome.part_mean_s[KVS_TTFT_QUEUE], 0.02525);
    near(outcome.part_mean_s[KVS_TTFT_LOAD], 0);
    near(outcome.part_p95_s[KVS_TTFT_COMPUTE], 0.0475); /* of 94, 95 and 96 ms */
    near(outcome.span_s, 99 + 0.1 + 0.1);
    near(outcome.goodput_per_s, 50 / 99.2);
    near(outcome.predicted_error, 0.5);
    near(outcome.ttft_quantile_s[0], 0.001);
    near(outcome.ttft_quantile_s[KVS_N_QUANTILE - 1], 0.100);
    assert_int_equal(outcome.loaded_new_tok, 40); /* of 0, 10, ... 90: rank 5 of 10 */
    assert_int_equal(outcome.collect.n_plan, 2);
    assert_int_equal(outcome.collect.plan[0].n_request, 5);
    kvs_outcome_free(&outcome);
}

static void warmup_counts_in_no_figure_of_requests(void **state)
{
    static struct kvs_outcome outcome;
    (void)state;
    make_outcome_after(&outcome, 100, 3, &(struct kvs_warmup){KVS_CUT_REQUESTS, 40, 0});
    assert_int_equal(outcome.n_warmup, 40);
    assert_int_equal(outcome.n_run, 60);
    near(outcome.ttft_s.mean, 0.0705); /* of 41 to 100 ms */
    near(outcome.part_mean_s[KVS_TTFT_QUEUE], 0.03525);
    near(outcome.counted_s, 99 + 0.2 - 40);
    near(outcome.goodput_per_s, 10 / 59.2);
    near(outcome.in_slo_frac, 1.0 / 6);
    kvs_outcome_free(&outcome);
    make_outcome_after(&outcome, 100, 3, &(struct kvs_warmup){KVS_CUT_TIME, 0, 9.5});
    assert_int_equal(outcome.n_warmup, 10); /* those at 0 to 9 s */
    kvs_outcome_free(&outcome);
    make_outcome_after(&outcome, 100, 3, &(struct kvs_warmup){KVS_CUT_REQUESTS, 1000, 0});
    assert_int_equal(outcome.n_run, 0);
    assert_true(isnan(outcome.goodput_per_s));
    kvs_outcome_free(&outcome);
    make_outcome_after(&outcome, 100, 3, &(struct kvs_warmup){KVS_CUT_AUTO, 0, 0});
    assert_false(outcome.has_mser5); /* it rises to the end: nothing is warm-up, and that is said */
    assert_int_equal(outcome.n_warmup, 0);
    assert_int_equal(outcome.ttft_ci.steady, KVS_STEADY_SHORT);
    kvs_outcome_free(&outcome);
    make_outcome(&outcome, 400, 3);
    assert_int_equal(outcome.ttft_ci.steady, KVS_STEADY_DRIFTING);
    kvs_outcome_free(&outcome);
}

/* Two bins, of 2 and 3 s. */
static void bins_of_time_become_rows(void **state)
{
    static struct kvs_outcome outcome = {.policy = "load"};
    static struct kvs_csv csv;
    const struct kvs_sim_config config = {.n_tier = 1, .tier = {{.name = "nvme"}}};
    static struct kvs_sim_sample sample[3] = {
        {.at_ns = 0},
        {2000 * MS, 4, 1, 100, 10, {20}, 1, {0.5, 1, 0.25, 2}, 7, {8}, {9}},
        {5000 * MS, 5, 0, 100, 10, {20}, 4, {0.5, 1, 0.25, 2}, 7, {8}, {19}},
    };
    char *text;
    size_t n;
    FILE *to = open_memstream(&text, &n);
    (void)state;
    outcome.sim.n_tier = outcome.sim.n_replica = 1;
    for (uint32_t l = 0; l < 4;
         l++) /* as the simulator has them: each link's read, then its write */
        outcome.sim.link[outcome.sim.n_link++] =
            (struct kvs_sim_link_total){.name = l < 2 ? "a,b" : "nvme", .write = l % 2, .n = 1};
    outcome.collect.sample = sample;
    outcome.collect.n_sample = 3;
    kvs_csv_begin(&csv, to);
    kvs_hits_csv(&csv, &config, &outcome, 1);
    kvs_busy_csv(&csv, &config, &outcome, 1);
    kvs_csv_end(&csv);
    fclose(to);
    assert_string_equal(
        text, "policy,begin_s,end_s,arrived,in_system,hbm_hit_frac,nvme_hit_frac,hit_frac\n"
              "load,0,2,4,1,0.1,0.2,0.3\n"
              "load,2,5,1,0,,,\n"
              "policy,begin_s,end_s,gpu_busy_frac,a_b_read_busy_frac,nvme_read_busy_frac,"
              "a_b_write_busy_frac,nvme_write_busy_frac,hbm_used_bytes,nvme_used_bytes,"
              "nvme_stored_bytes\n"
              "load,0,2,0.5,0.25,0.125,0.5,1,7,8,9\n"
              "load,2,5,1,0,0,0,0,7,8,10\n");
    free(text);
}

/* 100 s; two drives of 500 bytes: 1000 bytes stored on both, 250 of them without a hit. */
static void what_is_stored_is_told_by_drive_and_day(void **state)
{
    static struct kvs_outcome outcome;
    struct kvs_collect collect;
    struct kvs_sim_request request = made_request(0);
    struct kvs_sim_result sim = {.n_request = 1,
                                 .n_replica = 1,
                                 .n_tier = 1,
                                 .input_tok = 100,
                                 .hbm_hit_tok = 20,
                                 .recompute_tok = 5,
                                 .first_hit_tok = 60,
                                 .kv_bytes_per_tok = 4,
                                 .tier = {{.n = 2,
                                           .hit_tok = 40,
                                           .hit_bytes = 100,
                                           .stats = {.capacity_bytes = 1000,
                                                     .insert_bytes = 1000,
                                                     .unused_bytes = 50,
                                                     .evict_unused_bytes = 200}}}};
    (void)state;
    request.finish_ns = 100000 * MS;
    assert_int_equal(kvs_collect_init(&collect, 2, 0, NULL), KVS_OK);
    assert_int_equal(kvs_collect_request(&collect, &request, NULL), KVS_OK);
    assert_int_equal(
        kvs_outcome_make("made", &sim, &(struct kvs_warmup){0}, &collect, &outcome, NULL), KVS_OK);
    near(outcome.tier[0].hit_tok_frac, 0.4);
    near(outcome.tier[0].hit_byte_frac, 0.25);
    near(outcome.tier[0].unused_write_frac, 0.25);
    near(outcome.tier[0].stored_bytes_per_day, 500 * 864);
    near(outcome.tier[0].drive_writes_per_day, 864);
    near(outcome.first_hit_frac, 0.6);
    near(outcome.final_hit_frac, 0.55);
    kvs_outcome_free(&outcome);
}

static void no_request_makes_no_figure(void **state)
{
    static struct kvs_outcome outcome;
    (void)state;
    make_outcome(&outcome, 0, 3);
    assert_true(isnan(outcome.ttft_s.p50));
    assert_true(isnan(outcome.goodput_per_s));
    kvs_outcome_free(&outcome);
}

static void plans_are_listed_with_their_use(void **state)
{
    static struct kvs_outcome outcome;
    static struct kvs_csv csv;
    char *text;
    size_t n;
    FILE *to = open_memstream(&text, &n);
    (void)state;
    make_outcome(&outcome, 30, 0);
    outcome.sim.n_frac = 3;
    kvs_csv_begin(&csv, to);
    kvs_plans_csv_header(&csv);
    assert_int_equal(kvs_plans_csv_rows(&csv, &outcome, NULL), KVS_OK);
    kvs_csv_end(&csv);
    fclose(to);
    assert_string_equal(text, "policy,plan,requests,mean_predicted_ttft_ns,mean_ttft_ns,"
                              "recomputed_frac_by_layer,level_by_layer\n"
                              "made,0,2,5500000,11000000,1x1 1x0,2x0\n"
                              "made,1,1,5500000,11000000,2x0.5,2x0\n");
    free(text);
    kvs_outcome_free(&outcome);
}

static void timeline_gives_what_overlaps_lanes_of_its_own(void **state)
{
    static struct kvs_outcome outcome;
    static const struct kvs_span spans[] = {
        {KVS_SPAN_LOAD, 0, 1, 0, 1000, 5000, 77, 0},
        {KVS_SPAN_LOAD, 0, 1, 1, 2000, 3001, 78, 0},
        {KVS_SPAN_LOAD, 0, 1, 2, 3001, 4000, 79, 0},
        {KVS_SPAN_STEP, 0, 0, UINT64_MAX, 0, 1500, 0, 5},
    };
    static const char *const tier_name[] = {"dram", "nvme"};
    char *text;
    size_t n;
    FILE *to = open_memstream(&text, &n);
    (void)state;
    make_outcome(&outcome, 4, 2);
    outcome.collect.n_timeline_ended = 0;
    for (size_t i = 0; i < N(spans); i++) {
        outcome.collect.n_timeline = 3;
        assert_int_equal(kvs_collect_span(&outcome.collect, &spans[i], NULL), KVS_OK);
    }
    assert_int_equal(outcome.collect.n_span, 4);
    assert_int_equal(kvs_timeline_write(to, tier_name, &outcome, 1, NULL), KVS_OK);
    fclose(to);
    json_t *timeline = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(timeline);
    assert_non_null(strstr(text, "\"name\":\"load nvme\""));
    assert_non_null(strstr(text, "\"name\":\"load nvme (2)\""));
    assert_null(strstr(text, "\"name\":\"load nvme (3)\""));
    assert_non_null(strstr(text, "\"ts\":2.000,\"dur\":1.001"));
    assert_non_null(strstr(text, "\"prefill_tok\":5"));
    json_decref(timeline);
    free(text);
    kvs_outcome_free(&outcome);
}

static void spans_after_the_shown_requests_are_left_out(void **state)
{
    struct kvs_collect collect;
    const struct kvs_span late = {KVS_SPAN_STEP, 0, 0, UINT64_MAX, 0, 1, 0, 1};
    const struct kvs_span other = {KVS_SPAN_LOAD, 0, 0, 9, 0, 1, 0, 1};
    struct kvs_sim_request request = made_request(0);
    (void)state;
    assert_int_equal(kvs_collect_init(&collect, 2, 1, NULL), KVS_OK);
    assert_int_equal(kvs_collect_span(&collect, &other, NULL), KVS_OK);
    assert_int_equal(collect.n_span, 0);
    assert_int_equal(kvs_collect_span(&collect, &late, NULL), KVS_OK);
    assert_int_equal(collect.n_span, 1);
    assert_int_equal(kvs_collect_request(&collect, &request, NULL), KVS_OK);
    assert_int_equal(kvs_collect_span(&collect, &late, NULL), KVS_OK);
    assert_int_equal(collect.n_span, 1);
    kvs_collect_free(&collect);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_prints_every_kind_of_field),
        cmocka_unit_test(csv_keeps_rows_longer_than_its_buffer),
        cmocka_unit_test(staircase_is_told_in_runs),
        cmocka_unit_test(figures_are_those_worked_out_by_hand),
        cmocka_unit_test(warmup_counts_in_no_figure_of_requests),
        cmocka_unit_test(bins_of_time_become_rows),
        cmocka_unit_test(what_is_stored_is_told_by_drive_and_day),
        cmocka_unit_test(no_request_makes_no_figure),
        cmocka_unit_test(plans_are_listed_with_their_use),
        cmocka_unit_test(timeline_gives_what_overlaps_lanes_of_its_own),
        cmocka_unit_test(spans_after_the_shown_requests_are_left_out),
    };
    return cmocka_run_group_tests_name("outcome", tests, tmpdir_enter, tmpdir_drop);
}
