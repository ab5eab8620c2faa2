#include "test.h"

#include "base/hist.h"
#include "base/rng.h"
#include "probes/stat.h"

#include <math.h>
#include <stdlib.h>

static void assert_near(double got, double want, double tol)
{
    if (!(fabs(got - want) <= tol))
        fail_msg("got %.12g, want %.12g within %g", got, want, tol);
}

static void median_is_the_middle_or_the_mean_of_two(void **state)
{
    double x[] = {5, 1, 4, 2, 3};
    (void)state;
    assert_near(kvs_median(x, 5), 3, 0);
    assert_near(kvs_median(x, 4), 3, 0); /* 1 2 4 5 */
    assert_near(kvs_median(x, 1), 5, 0);
    assert_true(isnan(kvs_median(x, 0)));
    assert_near(x[0], 5, 0); /* untouched */
}

static void median_and_mad_equal_brute_force(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "stat");
        double x[KVS_MAX_REPEAT], off[KVS_MAX_REPEAT];
        size_t n = 1 + kvs_rng_below(&rng, KVS_MAX_REPEAT);
        for (size_t i = 0; i < n; i++)
            x[i] = kvs_rng_unit(&rng);
        double mid = kvs_median(x, n);
        size_t below = 0, above = 0;
        for (size_t i = 0; i < n; i++) {
            below += x[i] < mid;
            above += x[i] > mid;
            off[i] = fabs(x[i] - mid);
        }
        assert_true(below <= n / 2 && above <= n / 2 && below == above);
        qsort(off, n, sizeof *off, kvs_cmp_double);
        assert_near(kvs_mad(x, n), n % 2 ? off[n / 2] : (off[n / 2 - 1] + off[n / 2]) / 2, 1e-15);
    }
}

static void bootstrap_repeats_with_its_seed_and_holds_the_median(void **state)
{
    double x[] = {10, 12, 11, 13, 9}, a[2], b[2];
    (void)state;
    kvs_bootstrap_median(x, 5, 7, a);
    kvs_bootstrap_median(x, 5, 7, b);
    assert_true(a[0] == b[0] && a[1] == b[1]);
    assert_true(a[0] >= 9 && a[0] <= 11 && a[1] >= 11 && a[1] <= 13);
    assert_true(a[1] - a[0] >= 2); /* five values say little */
    double same[] = {4, 4, 4, 4, 4};
    kvs_bootstrap_median(same, 5, 7, a);
    assert_true(a[0] == 4 && a[1] == 4);
    kvs_bootstrap_median(x, 0, 7, a);
    assert_true(isnan(a[0]) && isnan(a[1]));
}

/* 95 % intervals of 20 normal values hold the true median in about 95 % of trials; binomially, 300
 * trials lie above 88 % all but never if that is so. */
static void bootstrap_interval_covers_the_true_median(void **state)
{
    unsigned n_hit = 0, n_trial = 300;
    (void)state;
    for (unsigned t = 0; t < n_trial; t++) {
        struct kvs_rng rng = kvs_rng_stream(t, "cover");
        double x[20], ci[2];
        for (int i = 0; i < 20; i++)
            x[i] = 100 + kvs_rng_normal(&rng);
        kvs_bootstrap_median(x, 20, t, ci);
        n_hit += ci[0] <= 100 && 100 <= ci[1];
    }
    if (n_hit < 264 || n_hit == n_trial)
        fail_msg("%u of %u intervals hold the median", n_hit, n_trial);
}

static void steady_means_small_range_and_small_slope(void **state)
{
    double flat[] = {100, 101, 99, 100, 100}, wide[] = {100, 121, 100, 100, 100};
    double edge[] = {90, 110, 100, 90, 110};         /* range 20 % of the mean, slope 8 % */
    double rising[] = {95, 97.4, 100, 102.6, 105.1}; /* slope 2.54 x 4 = 10.1 %, range 10.1 % */
    double long_run[] = {1, 1, 1, 100, 101, 99, 100, 100};
    (void)state;
    assert_true(kvs_is_steady(flat, 5));
    assert_false(kvs_is_steady(wide, 5));
    assert_true(kvs_is_steady(edge, 5));
    assert_false(kvs_is_steady(rising, 5));
    assert_true(kvs_is_steady(long_run, 8)); /* only the last five count */
    assert_false(kvs_is_steady(flat, 4));
    double none[] = {0, 0, 0, 0, 0};
    assert_false(kvs_is_steady(none, 5));
}

static void canary_counts_the_time_in_gaps(void **state)
{
    int64_t at[] = {0, 10, 20, 120, 130, 230, 250};
    struct kvs_gaps gaps = {0, 0, 0, 0};
    (void)state;
    assert_near(kvs_gaps_frac(&gaps), 0, 0);
    for (size_t i = 0; i < 7; i++)
        kvs_gaps_see(&gaps, at[i], 20);
    assert_near(kvs_gaps_frac(&gaps), 200.0 / 250, 1e-15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(median_is_the_middle_or_the_mean_of_two),
        cmocka_unit_test(median_and_mad_equal_brute_force),
        cmocka_unit_test(bootstrap_repeats_with_its_seed_and_holds_the_median),
        cmocka_unit_test(bootstrap_interval_covers_the_true_median),
        cmocka_unit_test(steady_means_small_range_and_small_slope),
        cmocka_unit_test(canary_counts_the_time_in_gaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
