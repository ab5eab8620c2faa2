/*
 * rng.h - seeded random streams, one per purpose, and the draws that traffic needs.
 *
 * kvs_rng_stream(seed, "arrivals") gives each purpose a stream of its own, so that a new draw in
 * one place shifts no other. xoshiro256** (Blackman, Vigna 2018), seeded by splitmix64 over seed
 * and name.
 */
#ifndef KVS_BASE_RNG_H
#define KVS_BASE_RNG_H

#include <stdint.h>

struct kvs_rng {
    uint64_t s[4];
};

struct kvs_rng kvs_rng_stream(uint64_t seed, const char *name);
uint64_t kvs_rng_u64(struct kvs_rng *rng);
uint64_t kvs_rng_below(struct kvs_rng *rng, uint64_t n); /* uniform in [0, n), n > 0, unbiased */
double kvs_rng_unit(struct kvs_rng *rng);                /* uniform in [0, 1), 53 bits */
double kvs_rng_exp(struct kvs_rng *rng, double mean);    /* exponential */
double kvs_rng_normal(struct kvs_rng *rng);              /* mean 0, deviation 1 */
double kvs_rng_lognormal(struct kvs_rng *rng, double mu, double sigma);
double kvs_rng_gamma(struct kvs_rng *rng, double shape, double scale); /* Marsaglia, Tsang 2000 */

/* Rank in [0, n) with weight (rank + 1)^-s, s >= 0: rejection-inversion (Hormann, Derflinger 1996),
 * O(1). */
struct kvs_zipf {
    uint64_t n;
    double s, h_x1, h_n, cut;
};
struct kvs_zipf kvs_zipf_make(uint64_t n, double s);
uint64_t kvs_zipf_draw(const struct kvs_zipf *zipf, struct kvs_rng *rng);

#endif
