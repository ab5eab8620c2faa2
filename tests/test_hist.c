#include "test.h"

#include "base/hist.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

static void tally_gives_exact_statistics(void **state)
{
    struct kvs_tally *tally = kvs_tally_new();
    (void)state;
    assert_int_equal(kvs_tally_percentile(tally, 50), 0);
    assert_int_equal(kvs_tally_min(tally), 0);
    assert_int_equal(kvs_tally_max(tally), 0);
    assert_true(kvs_tally_mean(tally) == 0);
    for (uint64_t i = 100; i >= 1; i--)
        assert_true(kvs_tally_add(tally, i));
    assert_int_equal(kvs_tally_sum(tally), 5050);
    assert_true(kvs_tally_mean(tally) == 50.5);
    for (uint64_t p = 1; p <= 100; p++) /* 7 % of 100 is 7, whatever the rounding */
        assert_int_equal(kvs_tally_percentile(tally, (double)p), p);
    assert_int_equal(kvs_tally_percentile(tally, 0.01), 1);
    assert_int_equal(kvs_tally_percentile(tally, 99.5), 100);
    /* goes on after a percentile was asked */
    assert_true(kvs_tally_add(tally, 1));
    assert_true(kvs_tally_add(tally, 0));
    assert_true(kvs_tally_add(tally, 1));
    assert_int_equal(kvs_tally_min(tally), 0);
    assert_int_equal(kvs_tally_max(tally), 100);
    assert_int_equal(kvs_tally_percentile(tally, 100.0 * 4 / 103), 1);
    assert_int_equal(kvs_tally_percentile(tally, 100.0 * 5 / 103), 2);
    kvs_tally_free(tally);
}

static void tally_sum_saturates(void **state)
{
    struct kvs_tally *tally = kvs_tally_new();
    (void)state;
    assert_true(kvs_tally_add(tally, UINT64_MAX));
    assert_true(kvs_tally_add(tally, 2));
    assert_int_equal(kvs_tally_sum(tally), UINT64_MAX);
    assert_int_equal(kvs_tally_max(tally), UINT64_MAX);
    kvs_tally_free(tally);
}

static void percentile_is_nearest_rank(void **state)
{
    double v[] = {15, 20, 35, 40, 50};
    (void)state;
    assert_true(kvs_percentile(v, 5, 5) == 15);
    assert_true(kvs_percentile(v, 5, 30) == 20);
    assert_true(kvs_percentile(v, 5, 40) == 20);
    assert_true(kvs_percentile(v, 5, 50) == 35);
    assert_true(kvs_percentile(v, 5, 100) == 50);
    assert_true(isnan(kvs_percentile(v, 0, 50)));
    double thousand[1000];
    for (int i = 0; i < 1000; i++)
        thousand[i] = i + 1;
    assert_true(kvs_percentile(thousand, 1000, 99.9) == 999);
}

static void middle_is_the_middle_or_the_mean_of_two(void **state)
{
    double odd[] = {9, 1, 5}, even[] = {8, 2, 40, 4}, two[] = {3, 1};
    (void)state;
    assert_true(kvs_middle(odd, 3) == 5);
    assert_true(kvs_middle(even, 4) == 6);
    assert_true(kvs_middle(two, 2) == 2);
    assert_true(kvs_middle(two, 1) == 1); /* it sorted them */
    assert_true(isnan(kvs_middle(two, 0)));
}

static void histogram_is_within_one_bucket_of_exact(void **state)
{
    static struct kvs_hist hist, half[2];
    static double exact[20000];
    struct kvs_rng rng = kvs_rng_stream(5, "hist");
    (void)state;
    kvs_hist_init(&hist);
    kvs_hist_init(&half[0]);
    kvs_hist_init(&half[1]);
    assert_int_equal(kvs_hist_percentile(&hist, 50), 0);
    for (int i = 0; i < 20000; i++) {
        uint64_t value = (uint64_t)kvs_rng_lognormal(&rng, 12, 4);
        exact[i] = (double)value;
        kvs_hist_add(&hist, value);
        kvs_hist_add(&half[i % 2], value);
    }
    kvs_hist_merge(&half[0], &half[1]);
    assert_memory_equal(hist.bucket, half[0].bucket, sizeof hist.bucket);
    assert_int_equal(hist.n, half[0].n);
    assert_int_equal(hist.min, half[0].min);
    assert_int_equal(hist.max, half[0].max);
    qsort(exact, 20000, sizeof *exact, kvs_cmp_double);
    for (int i = 1; i <= 200; i++) {
        double p = i * 0.5;
        double want = kvs_percentile(exact, 20000, p);
        double got = (double)kvs_hist_percentile(&hist, p);
        if (!(got >= want && got <= want * (1 + 1.0 / 128)))
            fail_msg("p%g: %g, exactly %g", p, got, want);
    }
}

static void histogram_holds_both_ends(void **state)
{
    static struct kvs_hist hist;
    (void)state;
    kvs_hist_init(&hist);
    for (uint64_t i = 0; i < 128; i++)
        kvs_hist_add(&hist, i);
    assert_int_equal(kvs_hist_percentile(&hist, 50), 63);
    kvs_hist_add(&hist, UINT64_MAX);
    assert_int_equal(kvs_hist_percentile(&hist, 100), UINT64_MAX);
    assert_int_equal(hist.bucket[sizeof hist.bucket / sizeof *hist.bucket - 1], 1);
    assert_int_equal(hist.min, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tally_gives_exact_statistics),
        cmocka_unit_test(tally_sum_saturates),
        cmocka_unit_test(percentile_is_nearest_rank),
        cmocka_unit_test(middle_is_the_middle_or_the_mean_of_two),
        cmocka_unit_test(histogram_is_within_one_bucket_of_exact),
        cmocka_unit_test(histogram_holds_both_ends),
    };
    return cmocka_run_group_tests_name("hist", tests, NULL, NULL);
}
