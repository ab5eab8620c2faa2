/* Samples of a trace and of its cluster, and what they tell of the whole. */
#include "report/workload.h"
#include "study/sampled.h"
#include "test.h"
#include "tmpdir.h"
#include "workloads/trace_filter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct kvs_trace *open_trace(const char *more, struct kvs_err *err)
{
    char text[512];
    struct kvs_doc *doc;
    struct kvs_trace *trace;
    snprintf(text, sizeof text, "{\"generate\": {\"requests\": 400, \"rate\": 1}%s}", more);
    assert_int_equal(kvs_doc_parse("w.json", text, strlen(text), &doc, err), KVS_OK);
    (void)!kvs_trace_from_json(kvs_doc_root(doc), 1, &trace, err);
    kvs_doc_free(doc);
    return trace;
}

static uint64_t id_sum(const struct kvs_request *req)
{
    uint64_t sum = req->input_tok;
    for (uint32_t i = 0; i < req->n_block; i++)
        sum = sum * 31 + req->block[i].id;
    return sum;
}

/* Every request of the sample is the whole's, and a session's requests are all there or none. */
static void a_session_is_in_the_sample_whole_or_not_at_all(void **state)
{
    struct kvs_err err = {0};
    struct kvs_trace *whole = open_trace("", &err), *sample = open_trace(", \"sample\": 0.3", &err);
    const struct kvs_request *w, *s;
    uint64_t left[400], n_left = 0, n_in = 0;
    (void)state;
    assert_int_equal(kvs_trace_next(sample, &s, &err), KVS_OK);
    while (kvs_trace_next(whole, &w, &err) == KVS_OK && w) {
        if (s && s->arrive_ns == w->arrive_ns && s->session == w->session) {
            assert_true(id_sum(s) == id_sum(w));
            for (uint64_t i = 0; i < n_left; i++)
                assert_true(left[i] != s->session);
            n_in++;
            assert_int_equal(kvs_trace_next(sample, &s, &err), KVS_OK);
        } else {
            left[n_left++] = w->session;
        }
    }
    assert_null(s);
    assert_int_equal(n_in + n_left, 400);
    assert_true(n_in > 80 && n_in < 160);
    kvs_trace_close(whole);
    kvs_trace_close(sample);
}

static uint64_t count(const char *more)
{
    struct kvs_err err = {0};
    struct kvs_trace *trace = open_trace(more, &err);
    const struct kvs_request *req;
    uint64_t n = 0;
    assert_non_null(trace);
    for (; kvs_trace_next(trace, &req, &err) == KVS_OK && req; n++)
        continue;
    assert_int_equal(err.code, KVS_OK);
    kvs_trace_close(trace);
    return n;
}

static void groups_are_sampled_exactly_and_limit_counts_before(void **state)
{
    (void)state;
    assert_int_equal(count(", \"population\": 8, \"sample\": 0.25, \"sample_by\": \"group\""),
                     2 * 400);
    assert_int_equal(
        count(", \"population\": 8, \"sample\": 0.25, \"sample_by\": \"group\", \"limit\": 80"),
        20);
    assert_int_equal(count(", \"sample\": 1"), 400);
}

static void expect_wrong(const char *more, const char *want)
{
    struct kvs_err err = {0};
    assert_null(open_trace(more, &err));
    if (!strstr(err.msg, want))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, want);
}

static void samples_that_can_not_be_say_why(void **state)
{
    (void)state;
    expect_wrong(", \"sample\": 1.5", "sample: found 1.5, want");
    expect_wrong(", \"sample\": 0.5, \"sample_by\": \"group\"",
                 "found group with a population of 1, want");
    expect_wrong(", \"population\": 4, \"sample\": 0.3, \"sample_by\": \"group\"",
                 "0.3 of a population of 4 are 1.2 groups");
    expect_wrong(", \"sample_by\": \"groups\"", "did you mean \"group\"?");
}

static void write_workload(void)
{
    FILE *to = fopen("w.json", "w");
    assert_non_null(to);
    fputs("{\"model\": \"llama-3.1-8b\", \"hardware\": \"h100-2gpu\","
          " \"trace\": {\"generate\": {\"requests\": 1600, \"rate\": 1, \"corpus\": 300,"
          " \"topics\": 20, \"passages\": 0}},"
          " \"cluster\": {\"replicas\": 8, \"hbm_cache\": false},"
          " \"tiers\": [{\"name\": \"remote\", \"capacity\": \"16GiB\"}],"
          " \"compare\": [\"load\"]}",
          to);
    assert_int_equal(fclose(to), 0);
}

/* 8 replicas on 4 hosts become 3 on 2: a host's share is 3/8 of 4 hosts over 2. */
static void the_cluster_shrinks_with_the_trace(void **state)
{
    const struct kvs_strs sets = {2,
                                  {"trace.sample=0.375",
                                   "tiers=[{\"name\": \"dram\", \"capacity\": 8000}, "
                                   "{\"name\": \"remote\", \"capacity\": 8000}]"}},
                          part = {1, {"trace.sample=0.3"}};
    struct kvs_workload *whole, *sample;
    struct kvs_err err = {0};
    (void)state;
    write_workload();
    assert_int_equal(kvs_workload_open("./w.json", NULL, &whole, &err), KVS_OK);
    assert_int_equal(kvs_workload_open("./w.json", &sets, &sample, &err), KVS_OK);
    assert_int_equal(sample->sim.n_replica, 3);
    assert_int_equal(sample->sim.tier[0].capacity_bytes, 6000);
    assert_int_equal(sample->sim.tier[1].capacity_bytes, 3000);
    for (uint32_t i = 0; i < whole->sim.hw->n_link; i++) {
        const struct kvs_hw_link *w = &whole->sim.hw->link[i], *s = &sample->sim.hw->link[i];
        const double of = w->scope == KVS_SCOPE_HOST ? 0.75 : 1;
        assert_true(fabs(s->read_bytes_per_s.value / w->read_bytes_per_s.value - of) < 1e-12);
    }
    kvs_workload_free(whole);
    kvs_workload_free(sample);
    assert_int_equal(kvs_workload_open("./w.json", &part, &sample, &err), KVS_ERR_RANGE);
    assert_non_null(strstr(err.msg, "cluster.replicas: found 8, of which trace.sample leaves 2.4"));
}

/* 1, 2, 3: deviation 1, t of two degrees of freedom 4.303. */
static void an_interval_is_students(void **state)
{
    const double value[] = {1, 2, 3};
    const struct kvs_estimate e = kvs_sampled_estimate(value, 3);
    (void)state;
    assert_true(fabs(e.mean - 2) < 1e-12 && fabs(e.half - 4.303 / sqrt(3)) < 1e-12);
}

static bool within(const struct kvs_sampled *sampled, const char *name)
{
    unsigned f = 0;
    while (strcmp(kvs_sampled_name[f], name) != 0)
        f++;
    const struct kvs_estimate *e = &sampled->policy[0].figure[f];
    return fabs(e->mean - e->full) <= e->half && e->half < 0.06 * e->mean;
}

/* What sampling promises: the whole lies within the intervals, which are narrow. */
static void the_whole_lies_within_the_samples_intervals(void **state)
{
    const struct kvs_sampled_options options = {
        .workload = "./w.json", .share = 0.25, .n_sample = 8, .n_job = 2, .full = true};
    struct kvs_sampled *sampled;
    struct kvs_err err = {0};
    (void)state;
    write_workload();
    if (kvs_sampled(&options, &sampled, &err))
        fail_msg("%s", err.msg);
    assert_true(within(sampled, "hit_frac"));
    assert_true(within(sampled, "ttft_mean_s"));
    assert_true(within(sampled, "requests"));
    assert_true(within(sampled, "goodput_req_per_s"));
    assert_true(within(sampled, "write_bytes"));
    kvs_sampled_free(sampled);
}

/*
 * Where the tier's size decides (hit ratio 0.33 to 0.82 over it): 4 of 16 groups with a quarter of
 * the tier hit as all of them do. Groups are copies of one trace, so the intervals are narrower
 * than what scaling a cluster down adds, up to 0.002; the whole lies within both together.
 */
static void the_whole_is_met_where_capacity_decides(void **state)
{
    static const char *const capacity[] = {"tiers[0].capacity=\"16GiB\"",
                                           "tiers[0].capacity=\"64GiB\"",
                                           "tiers[0].capacity=\"256GiB\""};
    double hit[3] = {0};
    (void)state;
    FILE *to = fopen("w.json", "w");
    assert_non_null(to);
    fputs(
        "{\"model\": \"llama-3.1-8b\", \"hardware\": \"h100-2gpu\", \"trace\": {\"population\": 16,"
        " \"sample_by\": \"group\", \"generate\": {\"requests\": 300, \"rate\": 0.4, \"corpus\": "
        "600,"
        " \"topics\": 40, \"topic_skew\": 0.5, \"passages\": 12, \"candidates\": 12,"
        " \"passage_skew\": 0, \"rank_decay\": 20, \"stray\": 0, \"drift\": 0, \"chat\": 0,"
        " \"web\": 0, \"turns\": 2, \"think\": \"20s\", \"stay\": 1, \"fresh_tok\": 0,"
        " \"prompts_per_day\": 0}}, \"cluster\": {\"replicas\": 8, \"hbm_cache\": false},"
        " \"tiers\": [{\"name\": \"remote\", \"capacity\": \"16GiB\"}], \"compare\": [\"load\"]}",
        to);
    assert_int_equal(fclose(to), 0);
    for (int i = 0; i < 3; i++) {
        const struct kvs_sampled_options options = {.workload = "./w.json",
                                                    .sets = {1, {capacity[i]}},
                                                    .share = 0.25,
                                                    .n_sample = 4,
                                                    .n_job = 2,
                                                    .full = true};
        struct kvs_sampled *sampled;
        struct kvs_err err = {0};
        unsigned f = 0;
        if (kvs_sampled(&options, &sampled, &err))
            fail_msg("%s", err.msg);
        while (strcmp(kvs_sampled_name[f], "hit_frac") != 0)
            f++;
        const struct kvs_estimate *e = &sampled->policy[0].figure[f];
        print_message("# %s: hit ratio %.4f, samples %.4f +- %.4f\n", capacity[i], e->full, e->mean,
                      e->half);
        assert_true(fabs(e->mean - e->full) <= e->half);
        assert_true(e->half < 0.01);
        hit[i] = e->full;
        kvs_sampled_free(sampled);
    }
    assert_true(hit[1] > 1.5 * hit[0] && hit[2] > 2.3 * hit[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_is_in_the_sample_whole_or_not_at_all),
        cmocka_unit_test(groups_are_sampled_exactly_and_limit_counts_before),
        cmocka_unit_test(samples_that_can_not_be_say_why),
        cmocka_unit_test(the_cluster_shrinks_with_the_trace),
        cmocka_unit_test(an_interval_is_students),
        cmocka_unit_test(the_whole_lies_within_the_samples_intervals),
        cmocka_unit_test(the_whole_is_met_where_capacity_decides),
    };
    return cmocka_run_group_tests_name("sampled", tests, tmpdir_enter, tmpdir_drop);
}
