#include "rng.h"

#include <assert.h>
#include <math.h>

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

struct kvs_rng kvs_rng_stream(uint64_t seed, const char *name)
{
    struct kvs_rng rng;
    uint64_t state = seed;
    uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a */
    for (const char *c = name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3ull;
    state = splitmix64(&state) ^ hash;
    for (int i = 0; i < 4; i++)
        rng.s[i] = splitmix64(&state);
    return rng;
}

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

uint64_t kvs_rng_u64(struct kvs_rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t out = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return out;
}

__extension__ typedef unsigned __int128 u128;

/* Lemire 2019: the high half of a product, with the few low halves that would bias it drawn anew.
 */
uint64_t kvs_rng_below(struct kvs_rng *rng, uint64_t n)
{
    assert(n > 0);
    u128 product = (u128)kvs_rng_u64(rng) * n;
    if ((uint64_t)product < n) {
        uint64_t floor = -n % n;
        while ((uint64_t)product < floor)
            product = (u128)kvs_rng_u64(rng) * n;
    }
    return (uint64_t)(product >> 64);
}

double kvs_rng_unit(struct kvs_rng *rng)
{
    return (double)(kvs_rng_u64(rng) >> 11) * 0x1p-53;
}

double kvs_rng_exp(struct kvs_rng *rng, double mean)
{
    return -mean * log1p(-kvs_rng_unit(rng));
}

/* Marsaglia's polar method; the second draw is left, so that a stream has no hidden state. */
double kvs_rng_normal(struct kvs_rng *rng)
{
    double u, r2;
    do {
        u = 2 * kvs_rng_unit(rng) - 1;
        double v = 2 * kvs_rng_unit(rng) - 1;
        r2 = u * u + v * v;
    } while (r2 >= 1 || r2 == 0);
    return u * sqrt(-2 * log(r2) / r2);
}

double kvs_rng_lognormal(struct kvs_rng *rng, double mu, double sigma)
{
    return exp(mu + sigma * kvs_rng_normal(rng));
}

/* A shape below 1 is drawn one higher and scaled by u^(1 / shape), as the paper says. */
double kvs_rng_gamma(struct kvs_rng *rng, double shape, double scale)
{
    assert(shape > 0);
    double boost = 1;
    if (shape < 1) {
        boost = pow(1 - kvs_rng_unit(rng), 1 / shape);
        shape += 1;
    }
    double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = kvs_rng_normal(rng), v = 1 + c * x;
        if (v <= 0)
            continue;
        v = v * v * v;
        if (log(1 - kvs_rng_unit(rng)) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v * scale * boost;
    }
}

/* log1p(x) / x and expm1(x) / x, continued at 0: s near 1 loses no digits. */
static double log1p_over(double x)
{
    return fabs(x) > 1e-8 ? log1p(x) / x : 1 - x / 2;
}

static double expm1_over(double x)
{
    return fabs(x) > 1e-8 ? expm1(x) / x : 1 + x / 2;
}

/* Of the hat function h(x) = x^-s: itself, its integral from 1, and that one's inverse. */
static double hat(double s, double x)
{
    return exp(-s * log(x));
}

static double hat_integral(double s, double x)
{
    double log_x = log(x);
    return expm1_over((1 - s) * log_x) * log_x;
}

static double hat_inverse(double s, double y)
{
    double t = y * (1 - s);
    return exp(log1p_over(t < -1 ? -1 : t) * y);
}

struct kvs_zipf kvs_zipf_make(uint64_t n, double s)
{
    assert(n > 0 && s >= 0);
    return (struct kvs_zipf){
        .n = n,
        .s = s,
        .h_x1 = hat_integral(s, 1.5) - 1,
        .h_n = hat_integral(s, (double)n + 0.5),
        .cut = 2 - hat_inverse(s, hat_integral(s, 2.5) - hat(s, 2)),
    };
}

uint64_t kvs_zipf_draw(const struct kvs_zipf *zipf, struct kvs_rng *rng)
{
    for (;;) {
        double y = zipf->h_n + kvs_rng_unit(rng) * (zipf->h_x1 - zipf->h_n);
        double x = hat_inverse(zipf->s, y);
        double k = floor(x + 0.5);
        k = k < 1 ? 1 : k > (double)zipf->n ? (double)zipf->n : k;
        if (k - x <= zipf->cut || y >= hat_integral(zipf->s, k + 0.5) - hat(zipf->s, k)) {
            uint64_t rank = (uint64_t)k - 1; /* (double)n may round up */
            return rank < zipf->n ? rank : zipf->n - 1;
        }
    }
}
