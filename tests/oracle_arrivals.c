/*
 * oracle_arrivals.c - how requests come: drawn processes and closed loops against the formulas of
 * queueing theory, sessions by hand.
 */
#include "memtrace.h"
#include "simlab.h"
#include "test.h"

#include "base/rng.h"
#include "base/units.h"

#include <math.h>
#include <stdlib.h>

#define MEAN_S 0.5 /* of service */

/* Prompts of exponential service, all at time 0 in the trace, for a server that is one step each.
 */
static struct kvs_request *prompts(struct simlab *lab, size_t n, uint64_t seed)
{
    struct kvs_request *request = calloc(n, sizeof *request);
    struct kvs_rng sizes = kvs_rng_stream(seed, "sizes");
    assert_non_null(request);
    for (size_t i = 0; i < n; i++) {
        request[i].input_tok = simlab_prompt_for(lab, kvs_rng_exp(&sizes, MEAN_S));
        request[i].output_tok = 1;
    }
    lab->config.planner = kvs_planner_find("recompute");
    lab->config.chunk_tok = 1u << 17;
    lab->config.prefill_batch = 1;
    lab->config.max_batch = 256;
    lab->config.n_tier = 0;
    lab->config.seed = seed;
    return request;
}

/* Mean service of the prompts: what rounding to tokens made of MEAN_S. */
static double mean_service_s(const struct simlab *lab, const struct kvs_request *request, size_t n)
{
    double sum_s = 0;
    for (size_t i = 0; i < n; i++)
        sum_s += (double)simlab_service_ns(lab, request[i].input_tok) * 1e-9;
    return sum_s / (double)n;
}

static double mean_gap_s(const struct simlab *lab, double *cv)
{
    double sum = 0, square = 0, n = (double)(lab->n_record - 1);
    for (size_t i = 1; i < lab->n_record; i++) {
        double gap = (double)(lab->record[i].arrive_ns - lab->record[i - 1].arrive_ns) * 1e-9;
        sum += gap;
        square += gap * gap;
    }
    *cv = sqrt(square / n - sum / n * (sum / n)) / (sum / n);
    return sum / n;
}

/*
 * GI/M/1: wait = service * sigma / (1 - sigma), sigma the root below 1 of
 * sigma = A*((1 - sigma) / service), A* the Laplace transform of a gap (Kleinrock 1975, 6.3).
 */
static double gi_m_1_wait_s(double rate, double cv, double service_s)
{
    double shape = 1 / (cv * cv), scale = cv * cv / rate, sigma = 0.5;
    for (int i = 0; i < 1000; i++)
        sigma = pow(1 + scale * (1 - sigma) / service_s, -shape);
    return service_s * sigma / (1 - sigma);
}

static void drawn_arrivals_wait_as_gi_m_1_says(void **state)
{
    enum { N = 12000, N_SEED = 5 };
    static const struct {
        enum kvs_process process;
        double cv;
    } cases[] = {{KVS_PROCESS_POISSON, 1}, {KVS_PROCESS_GAMMA, 0.5}, {KVS_PROCESS_GAMMA, 2}};
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const double rate = 0.6 / MEAN_S;
        double wait = 0, square = 0, want = 0;
        for (uint64_t seed = 1; seed <= N_SEED; seed++) {
            struct simlab lab;
            double sum = 0, cv;
            simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
            struct kvs_request *request = prompts(&lab, N, seed);
            lab.config.arrivals = (struct kvs_arrivals){
                .process = cases[c].process, .rate_per_s = rate, .cv = cases[c].cv};
            simlab_run(&lab, request, N, true);
            double gap_s = mean_gap_s(&lab, &cv);
            assert_true(fabs(gap_s * rate - 1) < 5 * cases[c].cv / sqrt(N));
            assert_true(fabs(cv / cases[c].cv - 1) < 0.05);
            for (size_t i = N / 10; i < N; i++)
                sum += (double)lab.record[i].queue_ns * 1e-9 / (0.9 * N);
            wait += sum / N_SEED;
            square += sum * sum / N_SEED;
            want += gi_m_1_wait_s(rate, cases[c].cv, mean_service_s(&lab, request, N)) / N_SEED;
            free(request);
            simlab_close(&lab);
        }
        double error = sqrt((square - wait * wait) / (N_SEED - 1));
        print_message("# cv %.1f: wait %.4f s, GI/M/1 %.4f s, error %.4f s\n", cases[c].cv, wait,
                      want, error);
        assert_true(fabs(wait - want) <= 3 * error + 0.005 * want && error < 0.08 * want);
    }
}

/* Throughput of n users with think time: exact mean value analysis (Reiser and Lavenberg 1980). */
static double mva_per_s(uint32_t n_user, double service_s, double think_s)
{
    double queue = 0, per_s = 0;
    for (uint32_t n = 1; n <= n_user; n++) {
        double response_s = service_s * (1 + queue);
        per_s = n / (response_s + think_s);
        queue = per_s * response_s;
    }
    return per_s;
}

static void closed_loop_meets_mean_value_analysis(void **state)
{
    enum { N = 12000 };
    static const uint32_t users[] = {1, 3, 8, 20};
    (void)state;
    for (size_t u = 0; u < 4; u++) {
        struct simlab lab;
        const double think_s = 4;
        simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
        struct kvs_request *request = prompts(&lab, N, 17);
        lab.config.arrivals = (struct kvs_arrivals){.loop = KVS_LOOP_CLOSED,
                                                    .in_flight = users[u],
                                                    .think = KVS_THINK_EXPONENTIAL,
                                                    .think_s = think_s};
        simlab_run(&lab, request, N, true);
        double per_s = N / ((double)lab.result.end_ns * 1e-9);
        double want = mva_per_s(users[u], mean_service_s(&lab, request, N), think_s);
        print_message("# %u users: %.4f/s, MVA %.4f/s; most in flight %llu\n", users[u], per_s,
                      want, (unsigned long long)lab.result.max_in_system);
        assert_true(fabs(per_s / want - 1) < 0.02);
        assert_true(lab.result.max_in_system <= users[u]);
        free(request);
        simlab_close(&lab);
    }
}

/* With no think time so many are always in flight until the trace is used up. */
static void closed_loop_without_thinking_keeps_so_many_in_flight(void **state)
{
    enum { N = 200, USERS = 7 };
    struct simlab lab;
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    struct kvs_request *request = prompts(&lab, N, 3);
    lab.config.arrivals = (struct kvs_arrivals){.loop = KVS_LOOP_CLOSED, .in_flight = USERS};
    simlab_run(&lab, request, N, true);
    assert_int_equal(lab.result.max_in_system, USERS);
    for (size_t i = USERS; i < N; i++) /* one server, first come first served */
        assert_true(lab.record[i].arrive_ns == lab.record[i - USERS].finish_ns);
    assert_true(lab.result.gpu_busy_s > 0.999999 * (double)lab.result.end_ns * 1e-9);
    free(request);
    simlab_close(&lab);
}

/* Two sessions of turns at 0, 10, 30 s and 5, 6 s, and one request of none at 7 s. */
static const struct kvs_request talk[] = {
    {0, 1, 900, 300, 0, NULL},           {5000000000, 2, 900, 300, 0, NULL},
    {6000000000, 2, 900, 300, 0, NULL},  {7000000000, 0, 900, 300, 0, NULL},
    {10000000000, 1, 900, 300, 0, NULL}, {30000000000, 1, 900, 300, 0, NULL},
};

/* The record of this session's turn, 0 its first. */
static const struct kvs_sim_request *turn(const struct simlab *lab, uint64_t session, int i)
{
    for (size_t r = 0; r < lab->n_record; r++)
        if (lab->record[r].session == session && i-- == 0)
            return &lab->record[r];
    fail_msg("session %llu has no such turn", (unsigned long long)session);
    return NULL;
}

static void turns_of_a_session_wait_for_the_answer(void **state)
{
    struct simlab lab;
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    lab.config.arrivals.loop = KVS_LOOP_SESSIONS;
    simlab_run(&lab, talk, 6, true);
    assert_true(turn(&lab, 1, 0)->arrive_ns == 0);
    assert_true(turn(&lab, 1, 1)->arrive_ns == turn(&lab, 1, 0)->finish_ns + 10000000000);
    assert_true(turn(&lab, 1, 2)->arrive_ns == turn(&lab, 1, 1)->finish_ns + 20000000000);
    assert_true(turn(&lab, 2, 0)->arrive_ns == 5000000000);
    assert_true(turn(&lab, 2, 1)->arrive_ns == turn(&lab, 2, 0)->finish_ns + 1000000000);
    assert_true(turn(&lab, 0, 0)->arrive_ns == 7000000000);
    lab.config.arrivals.think = KVS_THINK_FIXED; /* earlier than the trace has it: as well */
    lab.config.arrivals.think_s = 0.25;
    simlab_run(&lab, talk, 6, true);
    assert_true(turn(&lab, 1, 2)->arrive_ns == turn(&lab, 1, 1)->finish_ns + 250000000);
    for (size_t i = 0; i < 6; i++) /* numbered as they came */
        assert_true(lab.record[i].index == i &&
                    (i == 0 || lab.record[i].arrive_ns >= lab.record[i - 1].arrive_ns));
    lab.config.n_request = 3;
    simlab_trace(&lab, memtrace(talk, 6, true));
    assert_int_equal(lab.result.n_request, 3);
    simlab_close(&lab);
}

static void refused_requests_hold_no_user_up(void **state)
{
    static const struct kvs_request huge[] = {
        {0, 1, 4000000, 1, 0, NULL}, {0, 1, 500, 1, 0, NULL}, {0, 1, 4000000, 1, 0, NULL}};
    struct simlab lab;
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    for (int loop = KVS_LOOP_OPEN; loop <= KVS_LOOP_CLOSED; loop++) {
        lab.config.arrivals = (struct kvs_arrivals){.loop = (enum kvs_loop)loop, .in_flight = 1};
        simlab_run(&lab, huge, 3, true);
        assert_int_equal(lab.result.n_refused, 2);
    }
    simlab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drawn_arrivals_wait_as_gi_m_1_says),
        cmocka_unit_test(closed_loop_meets_mean_value_analysis),
        cmocka_unit_test(closed_loop_without_thinking_keeps_so_many_in_flight),
        cmocka_unit_test(turns_of_a_session_wait_for_the_answer),
        cmocka_unit_test(refused_requests_hold_no_user_up),
    };
    return cmocka_run_group_tests_name("arrivals", tests, NULL, NULL);
}
