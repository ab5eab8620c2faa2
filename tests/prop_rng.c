#include "test.h"

#include "base/rng.h"

#include <math.h>

#define N_DRAW 200000

/* First outputs of xoshiro256** from the state {1, 2, 3, 4}, by its authors' reference code. */
static void xoshiro_gives_its_published_numbers(void **state)
{
    static const uint64_t want[] = {11520, 0, 1509978240, 1215971899390074240};
    struct kvs_rng rng = {{1, 2, 3, 4}};
    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(kvs_rng_u64(&rng), want[i]);
}

static void streams_are_apart_and_repeatable(void **state)
{
    (void)state;
    struct kvs_rng a = kvs_rng_stream(1, "arrivals"), b = kvs_rng_stream(1, "lengths"),
                   c = kvs_rng_stream(2, "arrivals"), again = kvs_rng_stream(1, "arrivals");
    for (int i = 0; i < 100; i++) {
        uint64_t x = kvs_rng_u64(&a);
        assert_int_equal(x, kvs_rng_u64(&again));
        assert_int_not_equal(x, kvs_rng_u64(&b));
        assert_int_not_equal(x, kvs_rng_u64(&c));
    }
}

static void below_is_uniform(void **state)
{
    struct kvs_rng rng = kvs_rng_stream(3, "below");
    uint64_t seen[7] = {0};
    double chi2 = 0;
    (void)state;
    for (int i = 0; i < N_DRAW; i++)
        seen[kvs_rng_below(&rng, 7)]++;
    for (int i = 0; i < 7; i++) {
        double want = N_DRAW / 7.0, diff = (double)seen[i] - want;
        chi2 += diff * diff / want;
    }
    assert_true(chi2 < 22.5); /* 6 degrees of freedom, p = 0.001 */
    for (int i = 0; i < 1000; i++) {
        assert_true(kvs_rng_below(&rng, UINT64_MAX) < UINT64_MAX);
        assert_int_equal(kvs_rng_below(&rng, 1), 0);
    }
    /* of n = 3/4 * 2^64, the plain high half of a product gives multiples of 3 half of all draws */
    uint64_t n = 3ull << 62, n_third = 0;
    for (int i = 0; i < N_DRAW; i++)
        n_third += kvs_rng_below(&rng, n) % 3 == 0;
    assert_true(fabs((double)n_third / N_DRAW - 1.0 / 3) < 5 * sqrt(2.0 / 9 / N_DRAW));
}

typedef double draw_fn(struct kvs_rng *rng);
static double unit(struct kvs_rng *rng)
{
    double u = kvs_rng_unit(rng);
    assert_true(u >= 0 && u < 1);
    return u;
}
static double exp_3(struct kvs_rng *rng)
{
    return kvs_rng_exp(rng, 3);
}
static double lognormal(struct kvs_rng *rng)
{
    return kvs_rng_lognormal(rng, 1, 0.5);
}
static double gamma_half(struct kvs_rng *rng)
{
    return kvs_rng_gamma(rng, 0.5, 2);
}
static double gamma_4(struct kvs_rng *rng)
{
    return kvs_rng_gamma(rng, 4, 0.5);
}

static void draws_have_their_mean_and_variance(void **state)
{
    static const struct {
        const char *name;
        draw_fn *draw;
        double mean, var;
    } cases[] = {
        {"unit", unit, 0.5, 1.0 / 12},
        {"exp", exp_3, 3, 9},
        {"normal", kvs_rng_normal, 0, 1},
        {"lognormal", lognormal, 3.0802168, 2.6947988}, /* e^1.125, (e^0.25 - 1) e^2.25 */
        {"gamma 0.5", gamma_half, 1, 2},                /* shape * scale, shape * scale^2 */
        {"gamma 4", gamma_4, 2, 1},
    };
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct kvs_rng rng = kvs_rng_stream(7, cases[c].name);
        double sum = 0, sum2 = 0;
        for (int i = 0; i < N_DRAW; i++) {
            double x = cases[c].draw(&rng);
            sum += x;
            sum2 += x * x;
        }
        double mean = sum / N_DRAW, var = sum2 / N_DRAW - mean * mean;
        if (!(fabs(mean - cases[c].mean) < 5 * sqrt(cases[c].var / N_DRAW)) ||
            !(fabs(var / cases[c].var - 1) < 0.05))
            fail_msg("%s: mean %g, variance %g", cases[c].name, mean, var);
    }
}

static void zipf_ranks_have_their_weights(void **state)
{
    static const double exponents[] = {0, 0.5, 0.99, 1, 1.2, 2.5};
    (void)state;
    for (size_t e = 0; e < sizeof exponents / sizeof *exponents; e++) {
        struct kvs_rng rng = kvs_rng_stream(11, "zipf");
        struct kvs_zipf zipf = kvs_zipf_make(40, exponents[e]);
        uint64_t seen[40] = {0};
        double total = 0, chi2 = 0;
        for (int i = 0; i < N_DRAW; i++) {
            uint64_t rank = kvs_zipf_draw(&zipf, &rng);
            assert_true(rank < 40);
            seen[rank]++;
        }
        for (int r = 0; r < 40; r++)
            total += pow(r + 1, -exponents[e]);
        for (int r = 0; r < 40; r++) {
            double want = N_DRAW * pow(r + 1, -exponents[e]) / total, diff = (double)seen[r] - want;
            chi2 += diff * diff / want;
        }
        if (!(chi2 < 72.1)) /* 39 degrees of freedom, p = 0.001 */
            fail_msg("s = %g: chi2 %g", exponents[e], chi2);
    }
    struct kvs_rng rng = kvs_rng_stream(1, "one");
    struct kvs_zipf one = kvs_zipf_make(1, 1.5);
    for (int i = 0; i < 100; i++)
        assert_int_equal(kvs_zipf_draw(&one, &rng), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xoshiro_gives_its_published_numbers),
        cmocka_unit_test(streams_are_apart_and_repeatable),
        cmocka_unit_test(below_is_uniform),
        cmocka_unit_test(draws_have_their_mean_and_variance),
        cmocka_unit_test(zipf_ranks_have_their_weights),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
