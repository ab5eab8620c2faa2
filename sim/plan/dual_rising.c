#include "dual_in.h"

#include <assert.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

#define HERE static inline __attribute__((always_inline))

/* Vectors that any processor has, if only in parts; and one word for each of their lanes. */
typedef double lanes __attribute__((vector_size(8 * KVS_DUAL_LANES)));
typedef int64_t marks __attribute__((vector_size(8 * KVS_DUAL_LANES)));
typedef int32_t words __attribute__((vector_size(4 * KVS_DUAL_LANES)));
#define N_BLOCK ((KVS_MAX_FRAC + KVS_DUAL_LANES - 1) / KVS_DUAL_LANES)

/*
 * The walk where fractions may rise. A state is (j, i): i the layer's fraction, j the least up to
 * it (plan.h); tables are [i][j], so that all j of a fraction are vectors. The next fraction is
 * below j, which then moves with it; or from j to i, which leaves it alone; or, at a restart point,
 * above i, for the price of states. certify.c's rising_layer says the same, entry by entry.
 */

/* What a layer's edges cost: full[i] of the next fraction, first[j] of the least, rest[i] and
 * kept[j] of the layer's own. */
union row {
    double of[N_BLOCK * KVS_DUAL_LANES];
    lanes block[N_BLOCK];
};
struct edges {
    union row full, first, rest, kept;
};

/* For all j, the next fraction of least price so far; it is a double, as vectors want it. */
struct reach {
    union row least, at;
};

/* x where marked, else y. */
HERE void choose(const marks *mark, const lanes *x, const lanes *y, lanes *out)
{
    *out = (lanes)(((marks)*x & *mark) | ((marks)*y & ~*mark));
}

/* Offers what lies at `at` for `on`, lane by lane. */
HERE void offer(const lanes *on, const lanes *on_at, lanes *least, lanes *at)
{
    marks less = (marks)(*on < *least);

    choose(&less, on_at, at, at);
    choose(&less, on, least, least);
}

HERE void fill_edges(const struct kvs_dual *dual, const struct kvs_prices *prices, uint32_t l,
                     struct edges *edges)
{
    uint32_t n_pad = dual->n_pad;
    const double *edge = dual->edge + (size_t)dual->class_of[l] * DUAL_EDGES * n_pad;
    double wait = prices->wait[l], early = prices->pre - wait;

    assert(n_pad >= 1 && n_pad >= dual->problem->n_frac);
    for (uint32_t i = 0; i < n_pad; i++) {
        edges->full.of[i] = wait * (edge[DUAL_FULL * n_pad + i] + edge[DUAL_WFULL * n_pad + i]);
        edges->first.of[i] = early * edge[DUAL_FULL * n_pad + i];
        edges->kept.of[i] = early * edge[DUAL_KV * n_pad + i];
        edges->rest.of[i] = dual->own[i] - edges->kept.of[i];
    }
}

/* Next fractions below each j. */
HERE void fall_below(const struct kvs_dual *dual, const struct edges *edges, const double *after,
                     struct reach *reach)
{
    uint32_t n_pad = dual->n_pad;
    double least = KVS_DUAL_BANNED, at = 0;

    assert(n_pad >= 1 && n_pad >= dual->problem->n_frac);
    for (uint32_t j = 0; j < n_pad; j++) {
        reach->least.of[j] = least;
        reach->at.of[j] = at;
        if (j < dual->problem->n_frac) {
            double on = after[j * n_pad + j] + edges->full.of[j] + edges->first.of[j];

            at = on < least ? j : at;
            least = on < least ? on : least;
        }
    }
}

/* Next fractions above each i, with the states' price: dual->up and up_at. */
HERE void rise_above(struct kvs_dual *dual, const struct kvs_prices *prices, uint32_t l,
                     const double *after)
{
    const struct kvs_plan_problem *problem = dual->problem;
    uint32_t n_pad = dual->n_pad, n_block = n_pad / KVS_DUAL_LANES;
    struct reach above;

    for (uint32_t j = 0; j < n_pad; j++) {
        above.least.of[j] = KVS_DUAL_BANNED;
        above.at.of[j] = 0;
    }
    for (uint32_t f = problem->n_frac; f-- > 0;) {
        double price = 0, at = f;
        lanes *up = (lanes *)(dual->up + (size_t)f * n_pad);
        lanes *up_at = (lanes *)(dual->up_at + (size_t)f * n_pad);
        const lanes *row = (const lanes *)(after + (size_t)f * n_pad);
        lanes all_at = {at, at, at, at};

        for (uint32_t k = 0; k < problem->n_route; k++)
            price += prices->io[k][l + 1] * (double)problem->state_ns[k][f];
        for (uint32_t b = 0; b < n_block; b++) {
            lanes on = row[b] + price;

            up[b] = above.least.block[b] - price;
            up_at[b] = above.at.block[b];
            offer(&on, &all_at, &above.least.block[b], &above.at.block[b]);
        }
    }
}

/* States (i, i) alone: nothing has risen yet. */
HERE void walk_falling(struct kvs_dual *dual, const struct edges *edges, const struct reach *reach,
                       const double *after, bool may_rise, double *here, int32_t *next)
{
    uint32_t n_pad = dual->n_pad;

    for (uint32_t i = 0; i < dual->problem->n_frac; i++) {
        uint32_t cell = i * n_pad + i;
        double edge = edges->full.of[i] + edges->first.of[i];
        double least = reach->least.of[i], at = reach->at.of[i];

        if (after[cell] + edge < least) {
            least = after[cell] + edge;
            at = i;
        }
        if (may_rise && dual->up[cell] + edge < least) {
            least = dual->up[cell] + edge;
            at = dual->up_at[cell];
        }
        here[cell] = least + edges->rest.of[i] + edges->kept.of[i];
        next[cell] = (int32_t)at;
    }
}

/* All states. */
HERE void walk_states(struct kvs_dual *dual, const struct edges *edges, struct reach *reach,
                      const double *after, bool may_rise, double *here, int32_t *next)
{
    uint32_t n_pad = dual->n_pad;

    for (uint32_t i = 0; i < dual->problem->n_frac; i++) {
        uint32_t n_block = i / KVS_DUAL_LANES + 1; /* of j <= i */
        size_t row = (size_t)i * n_pad;
        double full = edges->full.of[i], rest = edges->rest.of[i], own_at = i;
        const lanes *on = (const lanes *)(after + row), *up = (const lanes *)(dual->up + row);
        const lanes *up_at = (const lanes *)(dual->up_at + row);
        lanes all_at = {own_at, own_at, own_at, own_at}, *out = (lanes *)(here + row);
        words *out_at = (words *)(next + row);

        for (uint32_t b = 0; b < n_block; b++) {
            lanes edge = edges->first.block[b] + full, same = on[b] + edge;
            lanes least = reach->least.block[b], at = reach->at.block[b];

            offer(&same, &all_at, &least, &at);
            reach->least.block[b] = least;
            reach->at.block[b] = at;
            if (may_rise) {
                edge += up[b];
                offer(&edge, &up_at[b], &least, &at);
            }
            out[b] = least + rest + edges->kept.block[b];
            out_at[b] = __builtin_convertvector(at, words);
        }
        for (uint32_t j = i + 1; j < n_block * KVS_DUAL_LANES; j++) /* no states */
            here[row + j] = KVS_DUAL_BANNED;
    }
}

HERE void walk_layer(struct kvs_dual *dual, const struct kvs_prices *prices, uint32_t l)
{
    size_t n_cell = (size_t)dual->problem->n_frac * dual->n_pad;
    const double *after = dual->rising + (~l & 1) * n_cell;
    double *here = dual->rising + (l & 1) * n_cell;
    int32_t *next = dual->next + l * n_cell;
    bool may_rise = l + 1 < dual->problem->n_layer && dual->problem->state_at[l + 1];
    struct edges edges;
    struct reach reach;

    fill_edges(dual, prices, l, &edges);
    fall_below(dual, &edges, after, &reach);
    if (may_rise)
        rise_above(dual, prices, l, after);
    if (l < dual->first_state)
        walk_falling(dual, &edges, &reach, after, may_rise, here, next);
    else
        walk_states(dual, &edges, &reach, after, may_rise, here, next);
}

static void walk_layer_plain(struct kvs_dual *dual, const struct kvs_prices *prices, uint32_t l)
{
    walk_layer(dual, prices, l);
}

#ifdef KVS_DUAL_WIDE
__attribute__((target("avx2"))) static void
walk_layer_wide(struct kvs_dual *dual, const struct kvs_prices *prices, uint32_t l)
{
    walk_layer(dual, prices, l);
}
#endif

/* Least prices of the layer, by its fraction. */
static void keep_values(struct kvs_dual *dual, uint32_t l)
{
    uint32_t n_pad = dual->n_pad;
    const double *here = dual->rising + (size_t)(l & 1) * dual->problem->n_frac * n_pad;
    double *value = dual->value + (size_t)l * n_pad;

    for (uint32_t i = 0; i < dual->problem->n_frac; i++) {
        value[i] = here[(size_t)i * n_pad + i];
        for (uint32_t j = 0; l >= dual->first_state && j < i; j++)
            value[i] =
                here[(size_t)i * n_pad + j] < value[i] ? here[(size_t)i * n_pad + j] : value[i];
    }
}

void kvs_dual_up_rising(struct kvs_dual *dual, const struct kvs_prices *prices, bool keep)
{
    uint32_t n_layer = dual->problem->n_layer, n_frac = dual->problem->n_frac;
    size_t n_cell = (size_t)n_frac * dual->n_pad;
    double *end = dual->rising + (n_layer & 1) * n_cell;

    for (size_t c = 0; c < 2 * n_cell; c++)
        dual->rising[c] = KVS_DUAL_BANNED;
    end[0] = 0; /* after the last layer nothing is recomputed */
    for (uint32_t f = 0; f < n_frac; f++)
        dual->value[(size_t)n_layer * dual->n_pad + f] = f == 0 ? 0 : KVS_DUAL_BANNED;
    for (uint32_t l = n_layer; l-- > 0;) {
        kvs_dual_price_layer(dual, prices, l);
#ifdef KVS_DUAL_WIDE
        if (dual->wide)
            walk_layer_wide(dual, prices, l);
        else
#endif
            walk_layer_plain(dual, prices, l);
        if (keep)
            keep_values(dual, l);
    }
}

double kvs_dual_walk_rising(struct kvs_dual *dual, const struct kvs_prices *prices,
                            struct kvs_plan *plan)
{
    uint32_t n_layer = dual->problem->n_layer, n_frac = dual->problem->n_frac, i = 0, j;
    uint32_t n_pad = dual->n_pad;
    const double *start = dual->rising;
    double least;

    kvs_dual_up_rising(dual, prices, false);
    for (uint32_t f = 1; f < n_frac; f++)
        i = start[(size_t)f * n_pad + f] < start[(size_t)i * n_pad + i] ? f : i;
    least = start[(size_t)i * n_pad + i];
    j = i;
    for (uint32_t l = 0; l < n_layer; l++) {
        plan->frac_i[l] = (uint8_t)i;
        plan->level[l] = kvs_dual_best_level(dual, l, i);
        i = (uint32_t)dual->next[((size_t)l * n_frac + i) * n_pad + j];
        j = i < j ? i : j;
    }
    return least;
}
