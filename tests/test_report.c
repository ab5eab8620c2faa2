/* What a run leaves: figures worked out by hand, and the files of a results folder. */
#include "report/answer.h"
#include "report/crossover.h"
#include "report/figures.h"
#include "report/run.h"
#include "report/summary.h"
#include "report/tables_csv.h"
#include "report/timeline.h"
#include "test.h"
#include "tmpdir.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N(table) (sizeof(table) / sizeof *(table))

static char *read_file(const char *dir, const char *name, size_t *n)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *from = fopen(path, "rb");
    if (!from)
        fail_msg("%s is not there", path);
    char *text = malloc(32 << 20);
    assert_non_null(text);
    *n = fread(text, 1, (32 << 20) - 1, from);
    text[*n] = '\0';
    fclose(from);
    return text;
}

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

/* --- a run -------------------------------------------------------------------------------------
 */

static const char workload_text[] =
    "{\"model\": \"llama-3.1-8b\", \"hardware\": \"h100-2gpu\", \"about\": \"a test\",\n"
    " \"trace\": {\"generate\": {\"requests\": 1500, \"rate\": 4, \"topics\": 40,\n"
    "   \"corpus\": 400, \"rank_decay\": 20, \"stray\": 0, \"fresh_tok\": 0,\n"
    "   \"prompts_per_day\": 0, \"output_tok\": 20}},\n"
    " \"tiers\": [{\"name\": \"dram\", \"capacity\": \"1GiB\"},\n"
    "             {\"name\": \"nvme\", \"capacity\": \"64GiB\"}],\n"
    " \"cluster\": {\"hbm_cache\": false, \"replicas\": 2},\n"
    " \"compare\": [\"recompute\", \"load\", \"best\", \"no-cache\"]}\n";

static struct kvs_workload *open_workload(const char *set)
{
    struct kvs_strs sets = {.n = set ? 1 : 0, .v = {set}};
    struct kvs_workload *w;
    struct kvs_err err = {0};
    FILE *to = fopen("w.json", "w");
    assert_non_null(to);
    fputs(workload_text, to);
    fclose(to);
    if (kvs_workload_open("w.json", &sets, &w, &err))
        fail_msg("%s", err.msg);
    return w;
}

static void run_into(const char *dir, const char *set, struct kvs_run *run)
{
    struct kvs_workload *w = open_workload(set);
    const struct kvs_run_options options = {.dir = dir};
    struct kvs_err err = {0};
    if (kvs_run(w, &options, run, &err))
        fail_msg("%s", err.msg);
    kvs_workload_free(w);
}

static const char *const same_files[] = {
    "summary.json",
    "workload.json",
    "requests.csv",
    "plans.csv",
    "timeline.json",
    "plots/ttft_cdf.csv",
    "plots/ttft_stack.csv",
    "plots/crossover.csv",
    "plots/crossover_tiers.csv",
};

static void same_workload_and_seed_give_the_same_bytes(void **state)
{
    struct kvs_run run;
    (void)state;
    run_into("one", NULL, &run);
    kvs_run_free(&run);
    run_into("two", NULL, &run);
    kvs_run_free(&run);
    for (size_t i = 0; i < N(same_files); i++) {
        size_t n_one, n_two;
        char *one = read_file("one", same_files[i], &n_one);
        char *two = read_file("two", same_files[i], &n_two);
        assert_true(n_one > 0);
        if (n_one != n_two || memcmp(one, two, n_one) != 0)
            fail_msg("%s differs", same_files[i]);
        free(one);
        free(two);
    }
}

static void another_seed_gives_other_requests(void **state)
{
    struct kvs_run run;
    size_t n_one, n_other;
    (void)state;
    run_into("other", "seed=2", &run);
    kvs_run_free(&run);
    char *one = read_file("one", "requests.csv", &n_one);
    char *other = read_file("other", "requests.csv", &n_other);
    assert_true(n_one != n_other || memcmp(one, other, n_one) != 0);
    free(one);
    free(other);
}

static size_t count_fields(const char *row)
{
    size_t n = 1;
    for (; *row && *row != '\n'; row++)
        n += *row == ',';
    return n;
}

static size_t expect_even_rows(const char *name)
{
    size_t n, n_row = 0;
    char *text = read_file("one", name, &n);
    const size_t n_field = count_fields(text);
    for (char *at = text; *at; at = strchr(at, '\n') + 1, n_row++) {
        assert_int_equal(count_fields(at), n_field);
        assert_non_null(strchr(at, '\n'));
    }
    free(text);
    return n_row - 1;
}

static void csv_files_have_even_rows(void **state)
{
    (void)state;
    assert_int_equal(expect_even_rows("requests.csv"), 4 * 1500);
    assert_true(expect_even_rows("plans.csv") >= 2);
    assert_int_equal(expect_even_rows("plots/ttft_cdf.csv"), KVS_N_QUANTILE);
    assert_int_equal(expect_even_rows("plots/ttft_stack.csv"), 4);
    assert_int_equal(expect_even_rows("plots/crossover.csv"),
                     KVS_CROSSOVER_CONTEXTS * KVS_CROSSOVER_BANDWIDTHS);
    assert_int_equal(expect_even_rows("plots/crossover_tiers.csv"), 2);
}

/* The value of the named column in a row. */
static long long column(const char *header, const char *row, const char *name)
{
    const size_t n = strlen(name);
    for (; *header; header = strchr(header, ',') + 1, row = strchr(row, ',') + 1) {
        if (strncmp(header, name, n) == 0 && (header[n] == ',' || header[n] == '\n'))
            return strtoll(row, NULL, 10);
        if (!strchr(header, ','))
            break;
    }
    fail_msg("no column %s", name);
    return 0;
}

static void requests_add_up(void **state)
{
    size_t n;
    char *text = read_file("one", "requests.csv", &n);
    long long n_loaded = 0;
    (void)state;
    for (char *row = strchr(text, '\n') + 1; *row; row = strchr(row, '\n') + 1) {
        assert_int_equal(column(text, row, "queue_ns") + column(text, row, "load_ns") +
                             column(text, row, "decode_ns") + column(text, row, "compute_ns"),
                         column(text, row, "ttft_ns"));
        assert_int_equal(column(text, row, "hbm_tok") + column(text, row, "dram_tok") +
                             column(text, row, "nvme_tok") + column(text, row, "new_tok"),
                         column(text, row, "input_tok"));
        assert_int_equal(column(text, row, "decode_replica"), column(text, row, "replica"));
        assert_int_equal(column(text, row, "preemptions") + column(text, row, "again_tok"), 0);
        assert_int_equal(column(text, row, "first_token_ns") - column(text, row, "arrive_ns"),
                         column(text, row, "ttft_ns"));
        if (strncmp(row, "no-cache,", 9) == 0 || strncmp(row, "recompute,", 10) == 0)
            assert_int_equal(column(text, row, "nvme_load_bytes"), 0);
        else
            n_loaded += column(text, row, "nvme_load_bytes") > 0;
    }
    assert_true(n_loaded > 100);
    free(text);
}

static void plans_count_every_planned_request(void **state)
{
    size_t n;
    char *text = read_file("one", "plans.csv", &n);
    char *requests = read_file("one", "requests.csv", &n);
    long long n_use = 0, n_planned = 0;
    (void)state;
    for (char *row = strchr(text, '\n') + 1; *row; row = strchr(row, '\n') + 1)
        n_use += column(text, row, "requests");
    for (char *row = strchr(requests, '\n') + 1; *row; row = strchr(row, '\n') + 1) {
        const char *at = row;
        for (int i = 0; i < 21; i++)
            at = strchr(at, ',') + 1;
        n_planned += *at != ',';
    }
    assert_true(n_use > 0);
    assert_int_equal(n_use, n_planned);
    free(text);
    free(requests);
}

static void json_files_are_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < N(same_files); i++) {
        size_t n;
        if (!strstr(same_files[i], ".json"))
            continue;
        char *text = read_file("one", same_files[i], &n);
        json_error_t error;
        json_t *json = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
        if (!json)
            fail_msg("%s:%d: %s", same_files[i], error.line, error.text);
        json_decref(json);
        free(text);
    }
}

static void summary_says_that_it_is_simulated_and_what_was_assumed(void **state)
{
    json_t *summary = json_load_file("one/summary.json", 0, NULL);
    (void)state;
    assert_true(json_is_true(json_object_get(summary, "simulated")));
    assert_int_equal(json_array_size(json_object_get(summary, "policies")), 4);
    json_t *from = json_object_get(summary, "hardware_figures");
    json_t *figures = json_object_get(from, "figures"), *count = json_object_get(from, "count"), *n;
    json_int_t sum = 0;
    const char *source;
    json_object_foreach(count, source, n) sum += json_integer_value(n);
    assert_true(sum > 10);
    assert_int_equal(json_array_size(figures), sum);
    for (size_t i = 0; i < json_array_size(figures); i++)
        assert_true(json_is_string(json_object_get(json_array_get(figures, i), "source")));
    json_decref(summary);
}

static void recorded_workload_runs_again_to_the_same_result(void **state)
{
    struct kvs_workload *w;
    struct kvs_err err = {0};
    struct kvs_run run;
    const struct kvs_run_options options = {.dir = "again"};
    size_t n_one, n_again;
    (void)state;
    assert_int_equal(kvs_workload_open("one/workload.json", NULL, &w, &err), KVS_OK);
    assert_int_equal(kvs_run(w, &options, &run, &err), KVS_OK);
    kvs_run_free(&run);
    kvs_workload_free(w);
    char *one = read_file("one", "requests.csv", &n_one);
    char *again = read_file("again", "requests.csv", &n_again);
    assert_int_equal(n_one, n_again);
    assert_memory_equal(one, again, n_one);
    free(one);
    free(again);
}

static void verdict_tells_whether_the_work_kept_up(void **state)
{
    struct kvs_run run;
    (void)state;
    run_into("slow", "trace.generate.rate=4", &run);
    for (uint32_t i = 0; i < run.n; i++)
        assert_int_equal(run.outcome[i].sim.verdict, KVS_STABLE);
    assert_null(strstr(run.answer, "overloaded"));
    kvs_run_free(&run);
    run_into("fast", "trace.generate.rate=5000", &run);
    for (uint32_t i = 0; i < run.n; i++)
        assert_int_equal(run.outcome[i].sim.verdict, KVS_OVERLOADED);
    assert_non_null(strstr(run.answer, "recompute, load, best, no-cache are overloaded: "));
    kvs_run_free(&run);
}

static void answer_names_the_fastest_and_the_baseline(void **state)
{
    struct kvs_run run;
    (void)state;
    run_into("answer", "compare=[\"recompute\",\"best\"]", &run);
    assert_memory_equal(run.answer, "best is fastest here: mean TTFT ", 31);
    assert_non_null(strstr(run.answer, "x as fast as recompute. "));
    assert_non_null(strstr(run.answer, "Simulated: "));
    assert_null(strstr(run.answer, "nan"));
    kvs_run_free(&run);
}

static void earlier_results_are_not_overwritten_unasked(void **state)
{
    struct kvs_workload *w = open_workload(NULL);
    struct kvs_run_options options = {.dir = "kept"};
    struct kvs_err err = {0};
    struct kvs_run run;
    size_t n_before, n_after;
    (void)state;
    assert_int_equal(kvs_run(w, &options, &run, &err), KVS_OK);
    kvs_run_free(&run);
    char *before = read_file("kept", "run.log", &n_before);
    assert_int_equal(kvs_run(w, &options, &run, &err), KVS_ERR_ARG);
    assert_memory_equal(err.msg, "kept", 4);
    assert_null(run.outcome);
    char *after = read_file("kept", "run.log", &n_after);
    assert_string_equal(before, after);
    options.overwrite = true;
    err = (struct kvs_err){0};
    assert_int_equal(kvs_run(w, &options, &run, &err), KVS_OK);
    kvs_run_free(&run);
    free(before);
    free(after);
    kvs_workload_free(w);
}

static bool stop_in_second_policy(void *ctx, uint32_t policy_i, uint64_t n_arrived,
                                  double done_frac)
{
    unsigned *n_call = ctx;
    (void)n_arrived;
    (void)done_frac;
    (*n_call)++;
    return policy_i == 1;
}

static void interrupted_run_leaves_nothing(void **state)
{
    struct kvs_workload *w = open_workload(NULL);
    unsigned n_call = 0;
    const struct kvs_run_options options = {
        .dir = "stopped", .progress = stop_in_second_policy, .ctx = &n_call};
    struct kvs_err err = {0};
    struct kvs_run run;
    (void)state;
    assert_int_equal(kvs_run(w, &options, &run, &err), KVS_ERR_IO);
    assert_non_null(strstr(err.msg, "interrupted"));
    assert_true(n_call >= 2);
    assert_int_not_equal(access("stopped", F_OK), 0);
    DIR *dir = opendir(".");
    for (struct dirent *entry; (entry = readdir(dir));)
        assert_null(strstr(entry->d_name, "stopped"));
    closedir(dir);
    kvs_workload_free(w);
}

/* --- crossover ---------------------------------------------------------------------------------
 */

static double number_at(const char *row, int i)
{
    while (i-- > 0)
        row = strchr(row, ',') + 1;
    return strtod(row, NULL);
}

/* Columns: 0 context, 3 bandwidth, 10 gain, 11 sure, 12 recompute, 13 load. */
static void crossover_loads_faster_over_faster_links(void **state)
{
    size_t n;
    char *text = read_file("one", "plots/crossover.csv", &n), *last = NULL;
    (void)state;
    for (char *row = strchr(text, '\n') + 1; *row; last = row, row = strchr(row, '\n') + 1) {
        const double recompute_s = number_at(row, 12), load_s = number_at(row, 13);
        assert_true(recompute_s > 0 && load_s > 0);
        assert_true(number_at(row, 10) >= 1 - 1e-9);
        /* 128 KiB a token: no sooner than the link brings them, no later than that and all compute
         */
        const double link_s = number_at(row, 0) * 131072 / number_at(row, 3);
        assert_true(load_s >= 0.999 * link_s && load_s <= 1.001 * (link_s + recompute_s));
        if (!last || number_at(last, 0) != number_at(row, 0))
            continue;
        assert_true(number_at(row, 3) > number_at(last, 3));
        assert_true(load_s <= number_at(last, 13));
        assert_true(recompute_s == number_at(last, 12));
    }
    free(text);
}

/* What a tier's threshold says is what the map says at the tier's rate, but for the tier's fixed
 * costs; where links are slower it is not lower. */
static void threshold_grows_as_links_slow_down(void **state)
{
    static const char *const rate[] = {"64GB/s", "8GB/s", "2GB/s", "500MB/s", "20MB/s"};
    uint32_t before = 0, n_tok = 0;
    (void)state;
    for (size_t i = 0; i < sizeof rate / sizeof *rate; i++) {
        char set[96];
        struct kvs_workload *w;
        struct kvs_err err = {0};
        snprintf(set, sizeof set, "hardware_set[\"links.nvme.read_bytes_per_s\"]=\"%s\"", rate[i]);
        const struct kvs_strs sets = {1, {set}};
        if (kvs_workload_open("quickstart", &sets, &w, &err) ||
            kvs_crossover_threshold(w, 1, 256, &n_tok, &err))
            fail_msg("%s", err.msg);
        print_message("# %s: %u tokens\n", rate[i], n_tok);
        assert_true(n_tok % 256 == 0);
        n_tok = n_tok ? n_tok : UINT32_MAX; /* never */
        assert_true(n_tok >= before && (i > 0 || n_tok <= 512) && (i < 4 || n_tok == UINT32_MAX));
        before = n_tok;
        kvs_workload_free(w);
    }
}

/* The band around the border between recomputing and loading, as wide as the error bars: a link and
 * a GPU off by e1 and e2 move a border where both take as long by less than (1 + e1)(1 + e2). */
static void crossover_is_unsure_near_the_border_only(void **state)
{
    size_t n;
    char *text = read_file("one", "plots/crossover.csv", &n);
    unsigned n_unsure = 0, n_sure = 0;
    (void)state;
    for (char *row = strchr(text, '\n') + 1; *row; row = strchr(row, '\n') + 1) {
        const double ratio = number_at(row, 13) / number_at(row, 12);
        const bool sure = number_at(row, 11) > 0;
        if (ratio > 2.5 || ratio < 0.4)
            assert_true(sure);
        if (ratio > 0.98 && ratio < 1.02)
            assert_false(sure);
        n_unsure += !sure;
        n_sure += sure;
    }
    assert_true(n_unsure > 20 && n_sure > n_unsure);
    free(text);
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
        cmocka_unit_test(same_workload_and_seed_give_the_same_bytes),
        cmocka_unit_test(another_seed_gives_other_requests),
        cmocka_unit_test(csv_files_have_even_rows),
        cmocka_unit_test(requests_add_up),
        cmocka_unit_test(plans_count_every_planned_request),
        cmocka_unit_test(json_files_are_json),
        cmocka_unit_test(summary_says_that_it_is_simulated_and_what_was_assumed),
        cmocka_unit_test(recorded_workload_runs_again_to_the_same_result),
        cmocka_unit_test(verdict_tells_whether_the_work_kept_up),
        cmocka_unit_test(answer_names_the_fastest_and_the_baseline),
        cmocka_unit_test(earlier_results_are_not_overwritten_unasked),
        cmocka_unit_test(interrupted_run_leaves_nothing),
        cmocka_unit_test(crossover_loads_faster_over_faster_links),
        cmocka_unit_test(crossover_is_unsure_near_the_border_only),
        cmocka_unit_test(threshold_grows_as_links_slow_down),
    };
    return cmocka_run_group_tests_name("report", tests, tmpdir_enter, tmpdir_drop);
}
