#include "dual_in.h"

#include <assert.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3") /* vectors in price_layer */
#endif

#ifdef KVS_DUAL_WIDE
#include <immintrin.h>
#endif

static inline __attribute__((always_inline)) void
find_terms(struct kvs_dual *dual, const struct kvs_prices *prices, uint32_t l)
{
    struct kvs_dual_terms *terms = &dual->terms[l];
    uint32_t n_route = dual->problem->n_route, n = 0;
    double price[KVS_MAX_ROUTE + 3] = {0};

    for (uint32_t k = 0; k < n_route; k++)
        price[k] = prices->io[k][l];
    price[n_route] = prices->decode[l];
    price[n_route + 1] = prices->wait[l];
    price[n_route + 2] = prices->distortion;
    for (uint32_t f = 0; f < dual->n_field; f++) {
        terms->price[n] = price[f];
        terms->at[n] = f * dual->n_pad;
        n += price[f] != 0;
    }
    terms->n = n;
}

/*
 * Price of each fraction in one layer at its best level, kv terms and all. Two of the same: in C,
 * and, over twice as fast, with vectors that compilers don't find; operation by operation equal.
 */
static void price_plain(const struct kvs_dual *dual, const struct kvs_prices *prices, uint32_t l,
                        double *restrict out)
{
    size_t n_pad = dual->n_pad, step = dual->n_field * n_pad, c = dual->class_of[l];
    const double *edge = dual->edge + c * DUAL_EDGES * n_pad;
    const struct kvs_dual_terms *terms = &dual->terms[l];
    const double *restrict cell = dual->cell + c * dual->problem->n_level * step;

    for (uint32_t i = 0; i < n_pad; i++)
        out[i] = KVS_DUAL_BANNED;
    for (uint32_t slot = 0; slot < dual->n_slot[c]; slot++) {
        double sum[KVS_MAX_FRAC] = {0};

        for (uint32_t t = 0; t < terms->n; t++) {
            double price = terms->price[t];

            for (uint32_t i = 0; i < n_pad; i++)
                sum[i] += price * cell[terms->at[t] + i];
        }
        for (uint32_t i = 0; i < n_pad; i++)
            out[i] = sum[i] < out[i] ? sum[i] : out[i];
        cell += step;
    }
    for (uint32_t i = 0; i < n_pad; i++)
        out[i] += prices->pre * edge[DUAL_KV * n_pad + i] +
                  prices->wait[l] * edge[DUAL_WKV * n_pad + i] + edge[DUAL_BAN * n_pad + i];
}

#ifdef KVS_DUAL_WIDE
/* n is terms->n, a constant. */
static inline __attribute__((always_inline, target("avx2"))) void
price_terms(const struct kvs_dual *dual, const struct kvs_dual_terms *terms, uint32_t n, uint32_t c,
            double *restrict out)
{
    size_t n_pad = dual->n_pad, n_slot = dual->n_slot[c], step = dual->n_field * n_pad;
    const double *cell = dual->cell + (size_t)c * dual->problem->n_level * step;
    __m256d price[KVS_MAX_ROUTE + 3];

    for (uint32_t t = 0; t < n; t++)
        price[t] = _mm256_set1_pd(terms->price[t]);
    for (size_t i = 0; i < n_pad; i += KVS_DUAL_LANES) {
        __m256d best = _mm256_set1_pd(KVS_DUAL_BANNED);
        const double *at = cell + i;

        for (size_t slot = 0; slot < n_slot; slot++) {
            __m256d sum = _mm256_setzero_pd();

            for (uint32_t t = 0; t < n; t++) {
                __m256d cost = _mm256_loadu_pd(at + terms->at[t]);

                sum = _mm256_add_pd(sum, _mm256_mul_pd(price[t], cost));
            }
            best = _mm256_min_pd(sum, best);
            at += step;
        }
        _mm256_storeu_pd(out + i, best);
    }
}

/* What a fraction costs at any level. */
static inline __attribute__((always_inline, target("avx2"))) __m256d
fixed_wide(const double *edge, size_t n_pad, __m256d pre, __m256d wait)
{
    __m256d sum = _mm256_add_pd(_mm256_mul_pd(pre, _mm256_loadu_pd(edge + DUAL_KV * n_pad)),
                                _mm256_mul_pd(wait, _mm256_loadu_pd(edge + DUAL_WKV * n_pad)));

    return _mm256_add_pd(sum, _mm256_loadu_pd(edge + DUAL_BAN * n_pad));
}

__attribute__((target("avx2"))) static void price_wide(const struct kvs_dual *dual,
                                                       const struct kvs_prices *prices, uint32_t l,
                                                       double *restrict out)
{
    const struct kvs_dual_terms *terms = &dual->terms[l];
    uint32_t c = dual->class_of[l];
    const double *edge = dual->edge + (size_t)c * DUAL_EDGES * dual->n_pad;
    __m256d pre = _mm256_set1_pd(prices->pre), wait = _mm256_set1_pd(prices->wait[l]);

    if (terms->n == 1)
        price_terms(dual, terms, 1, c, out);
    else if (terms->n == 2)
        price_terms(dual, terms, 2, c, out);
    else if (terms->n == 3)
        price_terms(dual, terms, 3, c, out);
    else if (terms->n == 4)
        price_terms(dual, terms, 4, c, out);
    else
        price_terms(dual, terms, terms->n, c, out);
    for (size_t i = 0; i < dual->n_pad; i += KVS_DUAL_LANES)
        _mm256_storeu_pd(out + i, _mm256_add_pd(_mm256_loadu_pd(out + i),
                                                fixed_wide(edge + i, dual->n_pad, pre, wait)));
}

/* Lanes moved up by one or two, KVS_DUAL_BANNED in front. */
static inline __attribute__((always_inline, target("avx2"))) __m256d up_1(__m256d v)
{
    return _mm256_blend_pd(_mm256_permute4x64_pd(v, 0x90), _mm256_set1_pd(KVS_DUAL_BANNED), 1);
}

static inline __attribute__((always_inline, target("avx2"))) __m256d up_2(__m256d v)
{
    return _mm256_blend_pd(_mm256_permute4x64_pd(v, 0x40), _mm256_set1_pd(KVS_DUAL_BANNED), 3);
}

/* reach_plain, a few fractions at a time. */
__attribute__((target("avx2"))) static void reach_wide(const struct kvs_dual *dual, double pre,
                                                       double wait, uint32_t l)
{
    size_t n_pad = dual->n_pad;
    const double *full = dual->edge + (dual->class_of[l] * DUAL_EDGES + DUAL_FULL) * n_pad;
    const double *wfull = dual->edge + (dual->class_of[l] * DUAL_EDGES + DUAL_WFULL) * n_pad;
    const double *after = dual->value + (l + 1) * n_pad;
    double *reach = dual->reach + l * n_pad, *here = dual->value + l * n_pad;
    __m256d low = _mm256_set1_pd(KVS_DUAL_BANNED), by = _mm256_set1_pd(pre),
            by_wait = _mm256_set1_pd(wait);

    for (size_t f = 0; f < n_pad; f += KVS_DUAL_LANES) {
        __m256d on =
            _mm256_add_pd(_mm256_loadu_pd(after + f), _mm256_mul_pd(by, _mm256_loadu_pd(full + f)));

        on = _mm256_add_pd(on, _mm256_mul_pd(by_wait, _mm256_loadu_pd(wfull + f)));
        on = _mm256_min_pd(on, up_1(on));
        on = _mm256_min_pd(on, up_2(on));
        on = _mm256_min_pd(on, low);
        low = _mm256_permute4x64_pd(on, 0xff);
        _mm256_storeu_pd(reach + f, on);
        _mm256_storeu_pd(here + f, _mm256_add_pd(on, _mm256_loadu_pd(dual->own + f)));
    }
}
#endif

/* Least price of each fraction from layer l on, and of those up to it, from the next layer's. */
static void reach_plain(const struct kvs_dual *dual, double pre, double wait, uint32_t l)
{
    size_t n_pad = dual->n_pad;
    const double *edge = dual->edge + dual->class_of[l] * DUAL_EDGES * n_pad;
    const double *after = dual->value + (l + 1) * n_pad;
    double *reach = dual->reach + l * n_pad, *here = dual->value + l * n_pad, low = KVS_DUAL_BANNED;

    for (size_t f = 0; f < n_pad; f++) {
        double on =
            after[f] + pre * edge[DUAL_FULL * n_pad + f] + wait * edge[DUAL_WFULL * n_pad + f];

        low = on < low ? on : low;
        reach[f] = low;
        here[f] = low + dual->own[f];
    }
}

/* The level behind the price of fraction i. */
static inline __attribute__((always_inline)) uint8_t best_level(const struct kvs_dual *dual,
                                                                uint32_t l, uint32_t i)
{
    size_t n_pad = dual->n_pad, c = dual->class_of[l], row = c * dual->problem->n_level;
    const double *cell = dual->cell + row * dual->n_field * n_pad + i;
    const struct kvs_dual_terms *terms = &dual->terms[l];
    double least = KVS_DUAL_BANNED;
    uint32_t best = 0;

    for (uint32_t slot = 0; slot < dual->n_slot[c]; slot++) {
        double sum = 0;

        for (uint32_t t = 0; t < terms->n; t++)
            sum += terms->price[t] * cell[terms->at[t]];
        if (sum < least) {
            least = sum;
            best = slot;
        }
        cell += dual->n_field * n_pad;
    }
    return dual->level[(row + best) * n_pad + i];
}

/* The layer's prices of fractions are those of the layer after it. */
static inline __attribute__((always_inline)) bool
is_like_next(const struct kvs_dual *dual, const struct kvs_prices *prices, uint32_t l)
{
    uint32_t on = l + 1;

    if (on == dual->problem->n_layer || dual->class_of[l] != dual->class_of[on] ||
        prices->decode[l] != prices->decode[on] || prices->wait[l] != prices->wait[on])
        return false;
    for (uint32_t k = 0; k < dual->problem->n_route; k++)
        if (prices->io[k][l] != prices->io[k][on])
            return false;
    return true;
}

/* Prices of the layer's fractions, which may be there from the next layer. */
static inline __attribute__((always_inline)) void
price_layer(struct kvs_dual *dual, const struct kvs_prices *prices, uint32_t l)
{
    if (is_like_next(dual, prices, l)) {
        dual->terms[l] = dual->terms[l + 1];
        return;
    }
    find_terms(dual, prices, l);
#ifdef KVS_DUAL_WIDE
    if (dual->wide) {
        price_wide(dual, prices, l, dual->own);
        return;
    }
#endif
    price_plain(dual, prices, l, dual->own);
}

void kvs_dual_price_layer(struct kvs_dual *dual, const struct kvs_prices *prices, uint32_t l)
{
    price_layer(dual, prices, l);
}

uint8_t kvs_dual_best_level(const struct kvs_dual *dual, uint32_t l, uint32_t i)
{
    return best_level(dual, l, i);
}

/* Least prices from every layer on. */
static void walk_up(struct kvs_dual *dual, const struct kvs_prices *prices)
{
    uint32_t n_pad = dual->n_pad;

    for (uint32_t l = dual->problem->n_layer; l-- > 0;) {
        double *here = dual->value + (size_t)l * n_pad;

        price_layer(dual, prices, l);
#ifdef KVS_DUAL_WIDE
        if (dual->wide)
            reach_wide(dual, prices->pre, prices->wait[l], l);
        else
#endif
            reach_plain(dual, prices->pre, prices->wait[l], l);
        if (dual->box) {
            for (uint32_t f = 0; f < dual->box->low[l]; f++)
                here[f] = KVS_DUAL_BANNED;
            for (uint32_t f = dual->box->high[l] + 1u; f < n_pad; f++)
                here[f] = KVS_DUAL_BANNED;
        }
    }
}

double kvs_dual_walk(struct kvs_dual *dual, const struct kvs_prices *prices, struct kvs_plan *plan)
{
    uint32_t n_layer = dual->problem->n_layer, n_frac = dual->problem->n_frac, n_pad = dual->n_pad;
    double *value = dual->value;
    double least = KVS_DUAL_BANNED;
    uint32_t i = 0;

    if (dual->problem->state_at)
        return kvs_dual_walk_rising(dual, prices, plan) + prices->start_ns -
               prices->distortion * (double)dual->budget;
    for (uint32_t f = 0; f < n_pad; f++) /* after the last layer nothing is recomputed */
        value[(size_t)n_layer * n_pad + f] = f == 0 ? 0 : KVS_DUAL_BANNED;
    walk_up(dual, prices);
    for (uint32_t f = 0; f < n_frac; f++) {
        if (value[f] < least) {
            least = value[f];
            i = f;
        }
    }
    for (uint32_t l = 0; l < n_layer; l++) {
        const double *reach = dual->reach + (size_t)l * n_pad;
        double want = reach[i];

        plan->frac_i[l] = (uint8_t)i;
        plan->level[l] = best_level(dual, l, i);
        while (i > 0 && reach[i - 1] <= want)
            i--;
    }
    return least + prices->start_ns - prices->distortion * (double)dual->budget;
}

void kvs_dual_values(struct kvs_dual *dual, const struct kvs_prices *prices,
                     double (*value)[KVS_MAX_FRAC])
{
    if (dual->problem->state_at)
        kvs_dual_up_rising(dual, prices, true);
    for (uint32_t l = 0; l <= dual->problem->n_layer; l++)
        memcpy(value[l], dual->value + (size_t)l * dual->n_pad,
               dual->problem->n_frac * sizeof **value);
}
