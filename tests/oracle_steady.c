/*
 * oracle_steady.c - intervals by batch means against M/M/1, whose figures are known: how often a
 * 95 % interval holds the truth, over many seeds; what is called steady, short and drifting.
 */
#include "report/steady.h"
#include "test.h"

#include "base/hist.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

/* Times in an M/M/1 of service mean 1 at utilisation rho, from empty: Lindley's recursion. */
static void mm1(double *value, uint64_t n, double rho, uint64_t seed)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "mm1");
    double wait = 0;
    for (uint64_t i = 0; i < n; i++) {
        double service = kvs_rng_exp(&rng, 1);
        value[i] = wait + service;
        wait = fmax(0, value[i] - kvs_rng_exp(&rng, 1 / rho));
    }
}

static struct kvs_ttft_intervals intervals_of(double *value, uint64_t n)
{
    struct kvs_batches batches;
    double mean = 0;
    for (uint64_t i = 0; i < n; i++)
        mean += value[i] / (double)n;
    kvs_batches_make(value, n, &batches);
    qsort(value, n, sizeof *value, kvs_cmp_double);
    return kvs_ttft_intervals(&batches, mean, kvs_percentile(value, n, 50),
                              kvs_percentile(value, n, 99));
}

static bool holds(struct kvs_interval interval, double truth)
{
    return interval.low <= truth && truth <= interval.high;
}

/* The time in the system is exponential with mean 1 / (1 - rho). */
static void intervals_hold_the_truth_as_often_as_they_say(void **state)
{
    enum { N = 20000, N_SEED = 300 };
    static double value[N];
    const double rho = 0.6, mean = 1 / (1 - rho);
    int in_mean = 0, in_p50 = 0, in_p99 = 0, n_steady = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= N_SEED; seed++) {
        bool cut;
        mm1(value, N, rho, seed);
        uint64_t first = kvs_mser5(value, N, &cut);
        struct kvs_ttft_intervals found = intervals_of(value + first, N - first);
        in_mean += holds(found.mean, mean);
        in_p50 += holds(found.p50, mean * log(2));
        in_p99 += holds(found.p99, mean * log(100));
        n_steady += found.steady == KVS_STEADY;
    }
    print_message(
        "# M/M/1 at %.1f: mean in %.3f, p50 in %.3f, p99 in %.3f of %d runs; steady %.3f\n", rho,
        (double)in_mean / N_SEED, (double)in_p50 / N_SEED, (double)in_p99 / N_SEED, N_SEED,
        (double)n_steady / N_SEED);
    /* 0.95 less what dependence of batches costs, within three deviations of a share of 300 */
    assert_true(in_mean >= 0.90 * N_SEED && in_mean <= 0.99 * N_SEED);
    assert_true(in_p50 >= 0.90 * N_SEED && in_p50 <= 0.99 * N_SEED);
    assert_true(in_p99 >= 0.91 * N_SEED && in_p99 <= 0.99 * N_SEED);
    assert_true(n_steady >= 0.85 * N_SEED);
}

/* At 0.98 a queue forgets after some 5000 requests: 400 a batch are too few, and that is said. */
static void intervals_of_dependent_batches_are_told(void **state)
{
    enum { N = 8000, N_SEED = 60 };
    static double value[N];
    int n_steady = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= N_SEED; seed++) {
        mm1(value, N, 0.98, seed);
        n_steady += intervals_of(value, N).steady == KVS_STEADY;
    }
    print_message("# M/M/1 at 0.98: %d of %d short runs are called steady\n", n_steady, N_SEED);
    assert_true(n_steady <= N_SEED / 5);
}

static void growing_queue_is_drifting(void **state)
{
    enum { N = 4000 };
    static double value[N];
    (void)state;
    mm1(value, N, 1.2, 5);
    assert_int_equal(intervals_of(value, N).steady, KVS_STEADY_DRIFTING);
}

/* Mean 1 with noise, after 500 values of 10: cut there, give or take a few means of 5. */
static void mser5_cuts_a_transient_off(void **state)
{
    enum { N = 5000 };
    static double value[N];
    struct kvs_rng rng = kvs_rng_stream(9, "noise");
    bool found;
    (void)state;
    for (int i = 0; i < N; i++)
        value[i] = kvs_rng_exp(&rng, i < 500 ? 10 : 1);
    uint64_t cut = kvs_mser5(value, N, &found);
    print_message("# cut after %llu\n", (unsigned long long)cut);
    assert_true(found && cut >= 490 && cut <= 560);
    assert_int_equal(kvs_mser5(value, 40, &found), 0);
    assert_false(found);
    for (int i = 0; i < N; i++)
        value[i] = 7;
    assert_int_equal(kvs_mser5(value, N, &found), 0); /* nothing to gain: nothing cut */
    assert_true(found);
}

/* By hand: batches 1..20 by turns 9 and 11: deviation sqrt(20 / 19), half width 2.093 * that /
 * sqrt(20). */
static void interval_is_that_worked_out_by_hand(void **state)
{
    double batch[KVS_N_BATCH];
    (void)state;
    for (int b = 0; b < KVS_N_BATCH; b++)
        batch[b] = b % 2 ? 11 : 9;
    struct kvs_interval interval = kvs_batch_interval(10.5, batch);
    assert_true(fabs(interval.high - 10.5 - 2.093 * sqrt(1.0 / 19)) < 1e-12);
    assert_true(fabs(interval.low - 10.5 + 2.093 * sqrt(1.0 / 19)) < 1e-12);
    assert_int_equal(kvs_batch_steady(batch), KVS_STEADY);
    struct kvs_ttft_intervals found = intervals_of(batch, KVS_N_BATCH); /* one a batch */
    assert_true(isnan(found.mean.low) && isnan(found.p99.high));
    assert_int_equal(found.steady, KVS_STEADY_SHORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intervals_hold_the_truth_as_often_as_they_say),
        cmocka_unit_test(intervals_of_dependent_batches_are_told),
        cmocka_unit_test(growing_queue_is_drifting),
        cmocka_unit_test(mser5_cuts_a_transient_off),
        cmocka_unit_test(interval_is_that_worked_out_by_hand),
    };
    return cmocka_run_group_tests_name("steady", tests, NULL, NULL);
}
