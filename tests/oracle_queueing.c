/*
 * oracle_queueing.c - the simulator as a single server, against the formulas of queueing theory:
 * mean waits of M/M/1 and M/D/1 within the confidence interval of batch means.
 */
#include "simlab.h"
#include "test.h"

#include "base/rng.h"
#include "base/units.h"

#include <math.h>
#include <stdlib.h>

/* Mean and standard error of waits by 30 batch means, the first tenth left out. */
static void batch_means(const struct simlab *lab, size_t n, double *mean, double *error)
{
    enum { N_BATCH = 30 };
    size_t first = n / 10, each = (n - first) / N_BATCH;
    double sum = 0, square = 0;
    for (size_t b = 0; b < N_BATCH; b++) {
        double batch = 0;
        for (size_t i = 0; i < each; i++)
            batch += (double)lab->record[first + b * each + i].queue_ns * 1e-9 / (double)each;
        sum += batch;
        square += batch * batch;
    }
    *mean = sum / N_BATCH;
    *error = sqrt((square / N_BATCH - *mean * *mean) / (N_BATCH - 1));
}

/* n requests, Poisson at utilisation rho of a server with this mean service. */
static void run_queue(struct simlab *lab, size_t n, double rho, bool exponential, uint64_t seed,
                      double *service_s)
{
    struct kvs_request *request = calloc(n, sizeof *request);
    struct kvs_rng arrivals = kvs_rng_stream(seed, "arrivals");
    struct kvs_rng sizes = kvs_rng_stream(seed, "sizes");
    double at_s = 0, mean_s = 0.5;
    uint32_t fixed = simlab_prompt_for(lab, mean_s);
    *service_s = (double)simlab_service_ns(lab, fixed) * 1e-9;
    assert_non_null(request);
    for (size_t i = 0; i < n; i++) {
        at_s += kvs_rng_exp(&arrivals, *service_s / rho);
        request[i].arrive_ns = kvs_ns(at_s);
        request[i].input_tok =
            exponential ? simlab_prompt_for(lab, kvs_rng_exp(&sizes, *service_s)) : fixed;
        request[i].output_tok = 1;
    }
    lab->config.planner = kvs_planner_find("recompute");
    lab->config.chunk_tok = 1u << 17; /* a prompt is one step */
    lab->config.prefill_batch = 1;
    lab->config.max_batch = 8;
    lab->config.n_tier = 0;
    simlab_run(lab, request, n, true);
    assert_true(lab->result.n_refused == 0);
    free(request);
}

static void md1_waits_meet_the_formula(void **state)
{
    (void)state;
    for (int load = 5; load <= 8; load += 3) {
        struct simlab lab;
        double rho = load / 10.0, service_s, mean, error;
        simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
        run_queue(&lab, 60000, rho, false, 7, &service_s);
        batch_means(&lab, 60000, &mean, &error);
        double want = rho * service_s / (2 * (1 - rho)); /* Pollaczek-Khinchine, no variance */
        print_message("# M/D/1 at %.1f: wait %.4f s, formula %.4f s, error %.4f s\n", rho, mean,
                      want, error);
        assert_true(error < 0.05 * want);
        assert_true(fabs(mean - want) <= 3 * error);
        simlab_close(&lab);
    }
}

static void mm1_waits_meet_the_formula(void **state)
{
    (void)state;
    for (int load = 5; load <= 7; load += 2) {
        struct simlab lab;
        double rho = load / 10.0, service_s, mean, error;
        simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
        run_queue(&lab, 60000, rho, true, 11, &service_s);
        batch_means(&lab, 60000, &mean, &error);
        double want = rho * service_s / (1 - rho);
        print_message("# M/M/1 at %.1f: wait %.4f s, formula %.4f s, error %.4f s\n", rho, mean,
                      want, error);
        assert_true(error < 0.07 * want);
        assert_true(fabs(mean - want) <= 3 * error);
        simlab_close(&lab);
    }
}

static void service_is_the_cost_model_s(void **state)
{
    struct simlab lab;
    struct kvs_request request[3] = {{0}};
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    lab.config.chunk_tok = 1u << 17;
    for (int i = 0; i < 3; i++) {
        request[i].arrive_ns = i * 100000000000;
        request[i].input_tok = 1u << (2 * i + 4);
        request[i].output_tok = 1;
    }
    simlab_run(&lab, request, 3, true);
    for (size_t i = 0; i < 3; i++) {
        assert_true(simlab_ttft_ns(&lab, i) == simlab_service_ns(&lab, request[i].input_tok));
        assert_true(lab.record[i].compute_ns == simlab_ttft_ns(&lab, i));
    }
    simlab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(service_is_the_cost_model_s),
        cmocka_unit_test(md1_waits_meet_the_formula),
        cmocka_unit_test(mm1_waits_meet_the_formula),
    };
    return cmocka_run_group_tests_name("queueing", tests, NULL, NULL);
}
