/* What a run leaves: the files of a results folder, and what they say. */
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
