/*
 * test_sched.c - schedulers: the order of a handful of prompts worked out by hand, the age bound,
 * and mean waits of two classes against Cobham's formula for priority queues.
 */
#include "simlab.h"
#include "test.h"

#include "base/rng.h"
#include "base/units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define S_NS ((int64_t)1000000000)

/* One prompt a step, HBM for all, nothing kept below it. */
static void open_lab(struct simlab *lab, const char *scheduler)
{
    simlab_open(lab, "llama-3.1-8b", "h100-sxm", 1);
    lab->config.sched = kvs_sched_find(scheduler);
    lab->config.planner = kvs_planner_find("recompute");
    lab->config.chunk_tok = 1u << 15;
    lab->config.prefill_batch = 1;
    lab->config.max_batch = 256;
    lab->config.n_tier = 0;
    assert_non_null(lab->config.sched);
}

/* The requests in the order of their first tokens, as digits. */
static void expect_order(const struct simlab *lab, const char *want)
{
    char found[16] = "";
    for (size_t k = 0; k < lab->n_record; k++) {
        size_t place = 0;
        for (size_t i = 0; i < lab->n_record; i++)
            place += lab->record[i].first_token_ns < lab->record[k].first_token_ns;
        found[place] = (char)('0' + k);
    }
    assert_string_equal(found, want);
}

/*
 * While prompt 0 is computed four others come: long, short, middle, and one as long as the first
 * that shares its blocks. Admitted at once (batch 256) or one by one (batch 1: the choice is made
 * among prompts without room), the order is the same.
 */
static void prompts_go_in_the_order_that_the_scheduler_says(void **state)
{
    static const struct {
        const char *scheduler, *order;
    } cases[] = {
        {"fcfs", "01234"},
        {"shortest-first", "04231"},  /* 4 has 200 tokens left, 2 has 500, 3 has 3000, 1 has 9000 */
        {"cache-hit-first", "04123"}, /* 4 has a hit, the others go by arrival */
    };
    static const uint32_t n_tok[] = {20000, 9000, 500, 3000, 20000};
    struct kvs_trace_block block[40];
    (void)state;
    for (uint32_t b = 0; b < 40; b++)
        block[b] = (struct kvs_trace_block){b, 495, KVS_PART_TEXT};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (uint32_t batch = 1; batch <= 256; batch += 255) {
            struct kvs_request request[5] = {{0}};
            struct simlab lab;
            open_lab(&lab, cases[c].scheduler);
            lab.config.max_batch = batch;
            for (int i = 0; i < 5; i++)
                request[i] = (struct kvs_request){.arrive_ns = i,
                                                  .input_tok = n_tok[i],
                                                  .output_tok = 1,
                                                  .n_block = n_tok[i] == 20000 ? 40 : 0,
                                                  .block = block};
            simlab_run(&lab, request, 5, true);
            expect_order(&lab, cases[c].order);
            simlab_close(&lab);
        }
}

/* A prompt that is left with one chunk goes before a shorter one that has two. */
static void shortest_first_counts_what_is_left(void **state)
{
    struct kvs_request request[2] = {{.input_tok = 12000, .output_tok = 1},
                                     {.arrive_ns = 1, .input_tok = 7000, .output_tok = 1}};
    struct simlab lab;
    (void)state;
    open_lab(&lab, "shortest-first");
    lab.config.chunk_tok = 4096; /* 12000 - 4096 > 7000: overtaken after its first chunk */
    simlab_run(&lab, request, 2, true);
    expect_order(&lab, "10");
    request[0].input_tok = 11000; /* 11000 - 4096 < 7000 */
    simlab_run(&lab, request, 2, true);
    expect_order(&lab, "01");
    simlab_close(&lab);
}

/* Short prompts that keep the GPU busy overtake a long one for 60 s, no longer. */
static void nobody_starves(void **state)
{
    enum { N = 4000 };
    struct kvs_request *request = calloc(N, sizeof *request);
    (void)state;
    assert_non_null(request);
    for (size_t s = 0; kvs_sched_list[s]; s++) {
        struct simlab lab;
        open_lab(&lab, kvs_sched_list[s]->name);
        struct kvs_trace_block block = {1, 256, KVS_PART_TEXT};
        for (size_t i = 0; i < N; i++)
            request[i] = (struct kvs_request){.input_tok = 2048, .n_block = 1, .block = &block};
        request[1].arrive_ns = 1000 * S_NS;
        simlab_run(&lab, request, 2, true);
        int64_t gap_ns = simlab_ttft_ns(&lab, 1); /* of one with a hit: the queue never empties */
        for (size_t i = 0; i < N; i++)
            request[i].arrive_ns = (int64_t)(i > 8 ? i - 8 : 0) * (gap_ns * 29 / 30);
        request[20].input_tok = 30000; /* without a block: no hit, and the longest */
        request[20].n_block = 0;
        simlab_run(&lab, request, N, true);
        int64_t ttft_ns = simlab_ttft_ns(&lab, 20);
        assert_true(lab.record[N - 1].arrive_ns > 80 * S_NS);
        if (lab.config.sched->rank)
            assert_true(ttft_ns >= KVS_SCHED_AGE_NS);
        assert_true(ttft_ns < KVS_SCHED_AGE_NS + 5 * S_NS);
        simlab_close(&lab);
    }
    free(request);
}

/*
 * Two classes of fixed length, the short one first, no preemption (Cobham 1954):
 *
 *     W1 = W0 / (1 - rho1)     W2 = W0 / ((1 - rho1) (1 - rho1 - rho2))     W0 = sum lambda s^2 / 2
 */
static void two_classes_wait_as_long_as_cobham_says(void **state)
{
    enum { N = 60000, N_BATCH = 30 };
    struct kvs_request *request = calloc(N, sizeof *request);
    struct kvs_rng rng = kvs_rng_stream(5, "arrivals");
    static const uint32_t n_tok[2] = {2048, 8192};
    double s[2], at_s = 0, rho = 0.7, share = 0.75; /* of the short ones, in number */
    struct simlab lab;
    (void)state;
    assert_non_null(request);
    open_lab(&lab, "shortest-first");
    for (int c = 0; c < 2; c++) {
        request[0] = (struct kvs_request){.input_tok = n_tok[c]};
        simlab_run(&lab, request, 1, true);
        s[c] = (double)simlab_ttft_ns(&lab, 0) * 1e-9;
    }
    double lambda = rho / (share * s[0] + (1 - share) * s[1]);
    for (size_t i = 0; i < N; i++) {
        at_s += kvs_rng_exp(&rng, 1 / lambda);
        request[i] = (struct kvs_request){.arrive_ns = kvs_ns(at_s),
                                          .input_tok = n_tok[kvs_rng_unit(&rng) >= share]};
    }
    simlab_run(&lab, request, N, true);
    double rho1 = lambda * share * s[0];
    double w0 = lambda * (share * s[0] * s[0] + (1 - share) * s[1] * s[1]) / 2;
    double want[2] = {w0 / (1 - rho1), w0 / ((1 - rho1) * (1 - rho))};
    for (int c = 0; c < 2; c++) {
        double sum[N_BATCH] = {0}, mean = 0, square = 0;
        size_t n[N_BATCH] = {0};
        for (size_t i = 0; i < N; i++)
            if (request[i].input_tok == n_tok[c]) {
                sum[i * N_BATCH / N] += (double)lab.record[i].queue_ns * 1e-9;
                n[i * N_BATCH / N]++;
            }
        for (size_t b = 0; b < N_BATCH; b++) {
            double batch = sum[b] / (double)n[b];
            mean += batch / N_BATCH;
            square += batch * batch / N_BATCH;
        }
        double error = sqrt((square - mean * mean) / (N_BATCH - 1));
        print_message("# class %d: wait %.4f s, formula %.4f s, error %.4f s\n", c, mean, want[c],
                      error);
        assert_true(error < 0.05 * want[c]);
        assert_true(fabs(mean - want[c]) <= 3 * error);
    }
    simlab_close(&lab);
    free(request);
}

/*
 * A minute of 8 short prompts a second and a long one of about 3 s every 2.5 s, or every 6 s.
 * Shortest first lets only some long ones wait: few requests, but seconds of work that grow.
 */
static void overload_is_work_that_grows_not_requests(void **state)
{
    static const double every_s[] = {2.5, 6};
    (void)state;
    for (int c = 0; c < 2; c++) {
        enum { N_SHORT = 480, MOST = N_SHORT + 30 };
        struct kvs_request request[MOST] = {{0}};
        struct simlab lab;
        size_t n = 0;
        open_lab(&lab, "shortest-first");
        const uint32_t long_tok = simlab_prompt_for(&lab, 3);
        lab.config.chunk_tok = 1u << 18;
        double next_s = 0;
        for (int i = 0; i < N_SHORT; i++) {
            if (i / 8. >= next_s) {
                request[n++] = (struct kvs_request){kvs_ns(next_s), 0, long_tok, 1, 0, NULL};
                next_s += every_s[c];
            }
            request[n++] = (struct kvs_request){kvs_ns(i / 8.), 0, 1000, 1, 0, NULL};
        }
        simlab_run(&lab, request, n, true);
        assert_int_equal(lab.result.verdict, c ? KVS_STABLE : KVS_OVERLOADED);
        assert_true(lab.result.max_in_system < 40); /* of about 500 */
        simlab_close(&lab);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_go_in_the_order_that_the_scheduler_says),
        cmocka_unit_test(shortest_first_counts_what_is_left),
        cmocka_unit_test(nobody_starves),
        cmocka_unit_test(overload_is_work_that_grows_not_requests),
        cmocka_unit_test(two_classes_wait_as_long_as_cobham_says),
    };
    return cmocka_run_group_tests_name("sched", tests, NULL, NULL);
}
