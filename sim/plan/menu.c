#include "menu.h"

#include "plan.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N_PRICE 12

int kvs_menu_by_time(const void *a, const void *b)
{
    const struct kvs_menu_pair *x = a, *y = b;

    if (x->time_s != y->time_s)
        return x->time_s < y->time_s ? 1 : -1;
    if (x->nats != y->nats)
        return x->nats < y->nats ? 1 : -1;
    return x->k != y->k ? (x->k < y->k ? -1 : 1) : (x->v > y->v) - (x->v < y->v);
}

/* A menu that grows. */
struct choice {
    struct kvs_menu_pair *pair;
    uint32_t n, n_layer, n_price;
    double price[N_PRICE];
    double *nats;  /* [n][n_layer] */
    double *least; /* [n_price][n_layer] of the menu so far */
};

static double cost_of(const struct choice *c, uint32_t pair_i, uint32_t layer, uint32_t price_i)
{
    return c->pair[pair_i].time_s / c->n_layer +
           c->price[price_i] * c->nats[(size_t)pair_i * c->n_layer + layer];
}

/*
 * Prices at which plans lose about as much as the budget allows, from a quarter to twice that, or
 * with an unknown one from what the finest pair loses to the coarsest: e times the nats are worth a
 * quarter of the time, as with levels of 3 bits that lose 4 times as much for a bit less.
 */
static void set_prices(struct choice *c, double budget_nats)
{
    double low = HUGE_VAL, high = 0, time_s = HUGE_VAL;

    for (uint32_t j = 0; j < c->n; j++) {
        low = c->pair[j].nats > 0 ? fmin(low, c->pair[j].nats) : low;
        high = fmax(high, c->pair[j].nats);
        time_s = fmin(time_s, c->pair[j].time_s);
    }
    c->n_price = high > 0 ? N_PRICE : 1; /* nothing is lost: the quickest is the menu */
    if (budget_nats > 0) {
        low = fmin(fmax(low, budget_nats / 4), high);
        high = fmax(fmin(high, budget_nats * 2), low);
    }
    for (uint32_t i = 0; i < c->n_price; i++)
        c->price[i] =
            high > 0 ? .25 * time_s / (low * pow(high / low, i / (double)(N_PRICE - 1))) : 0;
}

/* Of all prices the logarithm of what the layers cost with the menu so far, and pair_i if it is
 * below n; take: it is in the menu from here on. */
static double costs(struct choice *c, uint32_t pair_i, bool take)
{
    double sum = 0;

    for (uint32_t i = 0; i < c->n_price; i++) {
        double *least = c->least + (size_t)i * c->n_layer, all = 0;

        for (uint32_t l = 0; l < c->n_layer; l++) {
            double cost = fmin(least[l], pair_i < c->n ? cost_of(c, pair_i, l, i) : HUGE_VAL);

            all += cost;
            if (take)
                least[l] = cost;
        }
        sum += log(all);
    }
    return sum;
}

/* Pairs that no layer would take at any price are as good as absent; fewer then remain to try. */
static uint32_t keep_wanted(struct choice *c)
{
    bool wanted[KVS_MENU_PAIRS] = {false};
    double least[KVS_MAX_LAYER];
    uint32_t best[KVS_MAX_LAYER] = {0}, kept = 0;

    for (uint32_t i = 0; i < c->n_price; i++) {
        for (uint32_t j = 0; j < c->n; j++)
            for (uint32_t l = 0; l < c->n_layer; l++) {
                double cost = cost_of(c, j, l, i);

                if (j == 0 || cost < least[l]) {
                    least[l] = cost;
                    best[l] = j;
                }
            }
        for (uint32_t l = 0; l < c->n_layer && c->n > 0; l++)
            wanted[best[l]] = true;
    }
    for (uint32_t j = 0; j < c->n; j++) {
        if (!wanted[j])
            continue;
        c->pair[kept] = c->pair[j];
        memmove(c->nats + (size_t)kept++ * c->n_layer, c->nats + (size_t)j * c->n_layer,
                c->n_layer * sizeof *c->nats);
    }
    return kept;
}

/* Up to n_most pairs. */
static uint32_t grow_menu(struct choice *c, double raw_s, struct kvs_menu_pair *menu,
                          uint32_t n_most)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->n_price * c->n_layer; i++)
        c->least[i] = raw_s / c->n_layer;
    for (double now = costs(c, c->n, false); n < n_most; n++) {
        double least = now;
        uint32_t best = c->n;

        for (uint32_t j = 0; j < c->n; j++) {
            double cost = costs(c, j, false);

            if (cost < least) {
                least = cost;
                best = j;
            }
        }
        if (best == c->n)
            break;
        now = costs(c, best, true);
        menu[n] = c->pair[best];
    }
    return n;
}

/* Drops pairs that another is as quick as and as good as; slowest first. */
static uint32_t keep_front(struct kvs_menu_pair *pair, uint32_t n)
{
    uint32_t kept = 0;

    qsort(pair, n, sizeof *pair, kvs_menu_by_time);
    for (uint32_t i = 0; i < n; i++) {
        while (kept > 0 && pair[kept - 1].nats >= pair[i].nats)
            kept--;
        pair[kept++] = pair[i];
    }
    return kept;
}

/* Drops, one after the other, those whose neighbours lie closest together in time. */
static uint32_t thin_out(struct kvs_menu_pair *pair, uint32_t n, uint32_t n_most)
{
    while (n > n_most) {
        uint32_t drop = n > 2 ? 1 : 0;
        double least = HUGE_VAL;

        for (uint32_t i = 1; i + 1 < n; i++) {
            double gap = log(pair[i - 1].time_s / pair[i + 1].time_s);

            if (gap < least) {
                least = gap;
                drop = i;
            }
        }
        memmove(pair + drop, pair + drop + 1, (n - drop - 1) * sizeof *pair);
        n--;
    }
    return n;
}

/* Room that is left in a menu of n goes to pairs that are best if all layers have the same: few
 * layers come closer to a budget by them. */
static uint32_t fill_menu(struct kvs_menu_pair *menu, uint32_t n, uint32_t n_most,
                          struct kvs_menu_pair *pair, uint32_t n_pair)
{
    uint32_t n_front = keep_front(pair, n_pair), kept = 0;

    for (uint32_t j = 0; j < n_front; j++) {
        bool in = false;

        for (uint32_t i = 0; i < n; i++)
            in |= menu[i].k == pair[j].k && menu[i].v == pair[j].v;
        if (!in)
            pair[kept++] = pair[j];
    }
    kept = thin_out(pair, kept, n_most - n);
    memcpy(menu + n, pair, kept * sizeof *pair);
    return n + kept;
}

enum kvs_code kvs_menu_choose(const struct kvs_menu_in *in, uint32_t n_most,
                              struct kvs_menu_pair *pair, uint32_t *n, struct kvs_err *err)
{
    struct choice c = {.n = in->n_pair, .n_layer = in->n_layer};
    struct kvs_menu_pair menu[KVS_MAX_LEVEL];
    size_t n_cell = (size_t)in->n_pair * in->n_layer;

    assert(n_most <= KVS_MAX_LEVEL);
    *n = 0;
    c.pair = malloc((in->n_pair + 1) * sizeof *c.pair);
    c.nats = malloc((n_cell + 1) * sizeof *c.nats);
    c.least = malloc(N_PRICE * (size_t)in->n_layer * sizeof *c.least);
    bool good = c.pair && c.nats && c.least;
    if (good) {
        memcpy(c.pair, pair, in->n_pair * sizeof *pair);
        memcpy(c.nats, in->nats, n_cell * sizeof *c.nats);
        set_prices(&c, in->budget_nats);
        c.n = keep_wanted(&c);
        *n = grow_menu(&c, in->raw_s, menu, n_most);
        *n = fill_menu(menu, *n, n_most, pair, in->n_pair);
        memcpy(pair, menu, *n * sizeof *pair);
        qsort(pair, *n, sizeof *pair, kvs_menu_by_time);
    }
    free(c.pair);
    free(c.nats);
    free(c.least);
    return good ? KVS_OK : kvs_nomem(err);
}
