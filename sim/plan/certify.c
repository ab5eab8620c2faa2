#include "certify.h"

#include <assert.h>
#include <math.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3") /* vectors in most_of */
#endif

#define LIMIT 0x1p60 /* no sum of scaled prices reaches it */
#define MAX_BITS 30  /* of the scale of weights */
#define BANNED (INT64_MAX / 2)

/* Scaled integer prices, by layer. */
struct prices {
    int64_t io[KVS_MAX_ROUTE][KVS_MAX_LAYER], decode[KVS_MAX_LAYER], wait[KVS_MAX_LAYER];
    int64_t pre, distortion;
    int64_t start; /* of all paths, weighted */
};

/* No entry is above it: all bits that any of them has, less than twice the largest. */
static double most_of(const int64_t *v, uint32_t n)
{
    int64_t any = 0;

    for (uint32_t i = 0; i < n; i++)
        any |= v[i];
    return (double)any;
}

static double most_of_states(const struct kvs_plan_problem *problem)
{
    double sum = 0;

    for (uint32_t k = 0; k < problem->n_route; k++)
        sum += most_of(problem->state_ns[k], problem->n_frac);
    return sum;
}

/* The largest power of two by which weights may be scaled so that no sum overflows; -1: none. */
static int scale_bits(const struct kvs_plan_problem *problem, int64_t budget, double price_ns)
{
    uint32_t n_frac = problem->n_frac, n_cell = n_frac * problem->n_level;
    double time = (double)problem->gpu_start_ns, distortion = (double)budget, start = 0;
    double own = 0, blur = 0; /* most that a layer can add */

    for (uint32_t k = 0; k < problem->n_route; k++)
        start = fmax(start, (double)problem->io_start_ns[k]);
    for (uint32_t l = 0; l < problem->n_layer; l++) {
        const struct kvs_layer_cost *cost = problem->layer[l];

        if (l == 0 || cost != problem->layer[l - 1]) {
            own = most_of(cost->decode_ns, n_cell) + most_of(cost->post_ns, n_cell);
            own += 2 * most_of(cost->full_ns, n_frac) + 2 * most_of(cost->kv_ns, n_frac);
            own += 2 * most_of(cost->wfull_ns, n_frac) + 2 * most_of(cost->wkv_ns, n_frac);
            for (uint32_t k = 0; k < problem->n_route; k++)
                own += most_of(cost->io_ns[k], n_cell);
            blur = most_of(cost->distortion, n_cell);
        }
        time += own;
        if (problem->state_at) /* states, and the work that waits for them */
            time += own + most_of_states(problem);
        distortion += blur;
    }
    for (int bits = MAX_BITS; bits >= 0; bits--)
        if (ldexp(time + start + price_ns * distortion + 1, bits) + distortion < LIMIT)
            return bits;
    return -1;
}

static void add_path(const struct kvs_plan_problem *problem, const struct kvs_path *path,
                     int64_t weight, struct prices *prices)
{
    uint32_t n_layer = problem->n_layer;

    if (path->all_work) {
        prices->pre += weight;
        prices->start += weight * problem->gpu_start_ns;
        for (uint32_t l = 0; l < n_layer; l++)
            prices->wait[l] += weight;
        return;
    }
    assert(path->enter <= path->compute && path->compute < n_layer);
    assert(path->route < problem->n_route || path->enter == 0);
    if (path->route < problem->n_route) {
        prices->start += weight * problem->io_start_ns[path->route];
        for (uint32_t l = 0; l <= path->enter; l++)
            prices->io[path->route][l] += weight;
    }
    for (uint32_t l = path->enter; l <= path->compute; l++)
        prices->decode[l] += weight;
    for (uint32_t l = path->compute; l < n_layer; l++)
        prices->wait[l] += weight;
}

/* Weights as integers that add up to one; what rounding leaves goes to the heaviest. */
static bool scale(const struct kvs_plan_problem *problem, const struct kvs_certificate *certificate,
                  int64_t one, struct prices *prices)
{
    double sum = 0;
    uint32_t heaviest = 0;
    int64_t rest = one;

    for (uint32_t n = 0; n < certificate->n_path; n++) {
        if (!(certificate->weight[n] >= 0))
            return false;
        sum += certificate->weight[n];
        if (certificate->weight[n] > certificate->weight[heaviest])
            heaviest = n;
    }
    if (!(sum > 0) || !isfinite(sum))
        return false;
    for (uint32_t n = 0; n < certificate->n_path; n++) {
        int64_t weight = (int64_t)(certificate->weight[n] / sum * (double)one);

        if (n == heaviest || weight > rest)
            continue;
        rest -= weight;
        add_path(problem, &certificate->path[n], weight, prices);
    }
    add_path(problem, &certificate->path[heaviest], rest, prices);
    prices->distortion = (int64_t)(certificate->price_ns * (double)one);
    return true;
}

static int64_t least_distortion(const struct kvs_plan_problem *problem, uint32_t l)
{
    int64_t least = INT64_MAX;

    for (uint32_t c = 0; c < problem->n_frac * problem->n_level; c++)
        if (problem->layer[l]->distortion[c] < least)
            least = problem->layer[l]->distortion[c];
    return least;
}

/* Least price of fraction i in layer l over the levels with at most `afford` distortion. */
static int64_t least_price(const struct kvs_plan_problem *problem, const struct prices *prices,
                           uint32_t l, uint32_t i, int64_t afford)
{
    const struct kvs_layer_cost *cost = problem->layer[l];
    int64_t least = BANNED;

    for (uint32_t q = 0; q < problem->n_level; q++) {
        uint32_t at = i * problem->n_level + q;
        int64_t sum = prices->decode[l] * cost->decode_ns[at] +
                      prices->wait[l] * cost->post_ns[at] +
                      prices->distortion * cost->distortion[at];

        if (cost->distortion[at] > afford)
            continue;
        for (uint32_t k = 0; k < problem->n_route; k++)
            sum += prices->io[k][l] * cost->io_ns[k][at];
        least = sum < least ? sum : least;
    }
    return least;
}

/* Costs and prices of a layer are those of the next one. */
static bool is_like_next(const struct kvs_plan_problem *problem, const struct prices *prices,
                         uint32_t l)
{
    uint32_t on = l + 1;

    if (on == problem->n_layer || problem->layer[l] != problem->layer[on] ||
        prices->decode[l] != prices->decode[on] || prices->wait[l] != prices->wait[on])
        return false;
    for (uint32_t k = 0; k < problem->n_route; k++)
        if (prices->io[k][l] != prices->io[k][on])
            return false;
    return true;
}

/* Least distortion of each layer; what the budget leaves above their sum. */
static int64_t fill_lowest(const struct kvs_plan_problem *problem, int64_t budget, int64_t *lowest)
{
    for (uint32_t l = 0; l < problem->n_layer; l++) {
        lowest[l] = l > 0 && problem->layer[l] == problem->layer[l - 1]
                        ? lowest[l - 1]
                        : least_distortion(problem, l);
        budget -= lowest[l];
    }
    return budget;
}

/* The cheapest staircase in the box, from the last layer up. BANNED: none is affordable. */
static int64_t cheapest(const struct kvs_plan_problem *problem, const struct kvs_box *box,
                        const struct prices *prices, int64_t budget)
{
    int64_t value[KVS_MAX_FRAC], own[KVS_MAX_FRAC], least = BANNED;
    int64_t lowest[KVS_MAX_LAYER], spare = fill_lowest(problem, budget, lowest);
    uint32_t n_frac = problem->n_frac;

    for (uint32_t i = 0; i < n_frac; i++)
        value[i] = i == 0 ? 0 : BANNED;
    for (uint32_t l = problem->n_layer; l-- > 0;) {
        const struct kvs_layer_cost *cost = problem->layer[l];
        int64_t reach = BANNED;

        if (!is_like_next(problem, prices, l))
            for (uint32_t i = 0; i < n_frac; i++)
                own[i] = least_price(problem, prices, l, i, spare + lowest[l]);
        for (uint32_t i = 0; i < n_frac; i++) {
            if (value[i] < BANNED) {
                int64_t on = value[i] + prices->pre * (cost->full_ns[i] - cost->kv_ns[i]) +
                             prices->wait[l] * (cost->wfull_ns[i] - cost->wkv_ns[i]);

                reach = on < reach ? on : reach;
            }
            value[i] = BANNED;
            if (i >= box->low[l] && i <= box->high[l] && own[i] < BANNED && reach < BANNED)
                value[i] = reach + own[i] + prices->pre * cost->kv_ns[i] +
                           prices->wait[l] * cost->wkv_ns[i];
        }
    }
    for (uint32_t i = 0; i < n_frac; i++)
        least = value[i] < least ? value[i] : least;
    return least;
}

/* Prices of the layer after l for a rise to each fraction; the states lie before its loads. */
static void price_states(const struct kvs_plan_problem *problem, const struct prices *prices,
                         uint32_t l, int64_t *rise)
{
    for (uint32_t i = 0; i < problem->n_frac; i++) {
        rise[i] = 0;
        for (uint32_t k = 0; k < problem->n_route; k++)
            rise[i] += prices->io[k][l + 1] * problem->state_ns[k][i];
    }
}

/*
 * One layer of it, from the table of the layer after: the next fraction is below j, which then
 * moves with it, or from j to i, or above i; of each kind the least sum is kept as i goes up. What
 * is i's own is added at last. rise: NULL where nothing may rise.
 */
static void rising_layer(const struct kvs_plan_problem *problem, const struct prices *prices,
                         uint32_t l, const int64_t *rise, const int64_t *own,
                         int64_t (*after)[KVS_MAX_FRAC], int64_t (*here)[KVS_MAX_FRAC])
{
    const struct kvs_layer_cost *cost = problem->layer[l];
    uint32_t n_frac = problem->n_frac;
    int64_t wait = prices->wait[l], early = prices->pre - wait;
    int64_t full[KVS_MAX_FRAC], kv[KVS_MAX_FRAC], first[KVS_MAX_FRAC], below = BANNED;

    for (uint32_t i = 0; i < n_frac; i++) {
        first[i] = early * (cost->full_ns[i] - cost->kv_ns[i]);
        full[i] = wait * (cost->full_ns[i] - cost->kv_ns[i] + cost->wfull_ns[i] - cost->wkv_ns[i]);
        kv[i] = own[i] < BANNED ? own[i] + wait * (cost->kv_ns[i] + cost->wkv_ns[i]) : BANNED;
    }
    for (uint32_t j = 0; j < n_frac; j++) {
        int64_t reach = below, up[KVS_MAX_FRAC], above = BANNED;

        for (uint32_t i = n_frac; rise && i-- > j;) {
            up[i] = above;
            if (after[j][i] < BANNED && after[j][i] + rise[i] < above)
                above = after[j][i] + rise[i];
        }
        for (uint32_t i = j; i < n_frac; i++) {
            int64_t sum;

            if (after[j][i] < BANNED && after[j][i] + full[i] + first[j] < reach)
                reach = after[j][i] + full[i] + first[j];
            sum = reach;
            if (rise && up[i] < BANNED && up[i] - rise[i] + full[i] + first[j] < sum)
                sum = up[i] - rise[i] + full[i] + first[j];
            here[j][i] = BANNED;
            if (kv[i] < BANNED && sum < BANNED)
                here[j][i] = sum + kv[i] + early * cost->kv_ns[j];
        }
        if (after[j][j] < BANNED && after[j][j] + full[j] + first[j] < below)
            below = after[j][j] + full[j] + first[j];
    }
}

/*
 * The cheapest staircase that may rise at restart points. By plan.h's evaluation, T is still the
 * longest of the same paths (io of a route up to a layer, decoding, waiting work from a layer on;
 * or all work), hence at least any weighted mean of them. What a layer adds to them depends on its
 * fraction i, its level, the next layer's fraction, and j, the least fraction so far, which says
 * how much of the work waits for nothing (the prices of pre) and how much for the layer (those of
 * wait); j goes from layer to layer as min(j, next). So a table over (j, i) has the least sum of
 * all plans, rises included, and proves the bound as the one over i does without restart points.
 */
static int64_t cheapest_rising(const struct kvs_plan_problem *problem, const struct prices *prices,
                               int64_t budget)
{
    int64_t table[2][KVS_MAX_FRAC][KVS_MAX_FRAC], own[KVS_MAX_FRAC] = {0}, rise[KVS_MAX_FRAC];
    int64_t lowest[KVS_MAX_LAYER], spare = fill_lowest(problem, budget, lowest), least = BANNED;
    uint32_t n_layer = problem->n_layer, n_frac = problem->n_frac;

    for (uint32_t j = 0; j < n_frac; j++) /* after the last layer nothing is computed */
        for (uint32_t i = j; i < n_frac; i++)
            table[n_layer & 1][j][i] = i == 0 ? 0 : BANNED;
    for (uint32_t l = n_layer; l-- > 0;) {
        bool may_rise = l + 1 < n_layer && problem->state_at[l + 1];

        if (may_rise)
            price_states(problem, prices, l, rise);
        if (!is_like_next(problem, prices, l))
            for (uint32_t i = 0; i < n_frac; i++)
                own[i] = least_price(problem, prices, l, i, spare + lowest[l]);
        rising_layer(problem, prices, l, may_rise ? rise : NULL, own, table[~l & 1], table[l & 1]);
    }
    for (uint32_t i = 0; i < n_frac; i++)
        least = table[0][i][i] < least ? table[0][i][i] : least;
    return least;
}

/* INT64_MIN: the certificate proves nothing; INT64_MAX: no plan in the box fits the budget. */
static int64_t certify_box(const struct kvs_plan_problem *problem, int64_t budget,
                           const struct kvs_box *box, const struct kvs_certificate *certificate)
{
    struct prices prices = {.pre = 0};
    int64_t one, total, least;
    int bits;

    assert(certificate->n_path <= KVS_MAX_PATH);
    if (certificate->n_path == 0 || !(certificate->price_ns >= 0) ||
        !isfinite(certificate->price_ns))
        return INT64_MIN;
    bits = scale_bits(problem, budget, certificate->price_ns);
    if (bits < 0)
        return INT64_MIN;
    one = (int64_t)1 << bits;
    if (!scale(problem, certificate, one, &prices))
        return INT64_MIN;
    least = problem->state_at ? cheapest_rising(problem, &prices, budget)
                              : cheapest(problem, box, &prices, budget);
    if (least >= BANNED)
        return INT64_MAX;
    total = least + prices.start - prices.distortion * budget;
    /* T is whole, so a bound between two nanoseconds rounds up */
    return (total >= 0 ? (total + one - 1) / one : -(-total / one)) + problem->head_ns;
}

static void whole_box(const struct kvs_plan_problem *problem, struct kvs_box *box)
{
    for (uint32_t l = 0; l < problem->n_layer; l++) {
        box->low[l] = 0;
        box->high[l] = (uint8_t)(problem->n_frac - 1);
    }
}

int64_t kvs_certify(const struct kvs_plan_problem *problem, int64_t budget,
                    const struct kvs_certificate *certificate)
{
    struct kvs_box whole;
    int64_t bound;

    whole_box(problem, &whole);
    bound = certify_box(problem, budget, &whole, certificate);
    return bound < INT64_MAX ? bound : INT64_MIN;
}

/* What a split leaves of a box: a staircase of at most frac_i here has no more in any later layer,
 * and one of more has it in every earlier one. */
static void halve(const struct kvs_plan_problem *problem, const struct kvs_case *node,
                  const struct kvs_box *box, struct kvs_box *below, struct kvs_box *above)
{
    *below = *above = *box;
    for (uint32_t l = node->layer; l < problem->n_layer; l++)
        below->high[l] = box->high[l] < node->frac_i ? box->high[l] : node->frac_i;
    for (uint32_t l = 0; l <= node->layer; l++)
        above->low[l] = box->low[l] > node->frac_i ? box->low[l] : (uint8_t)(node->frac_i + 1);
}

int64_t kvs_certify_cases(const struct kvs_plan_problem *problem, int64_t budget,
                          const struct kvs_case *node, uint32_t n_node)
{
    struct kvs_box box[KVS_MAX_CASE];
    bool has_box[KVS_MAX_CASE] = {true};
    int64_t least = INT64_MAX;

    assert(n_node >= 1 && n_node <= KVS_MAX_CASE);
    assert(!problem->state_at); /* a staircase that rises is in no half */
    whole_box(problem, &box[0]);
    for (uint32_t n = 0; n < n_node; n++) {
        uint32_t below = node[n].below, above = node[n].above;
        int64_t bound;

        assert(has_box[n]);
        if (node[n].is_split) {
            assert(node[n].layer < problem->n_layer && node[n].frac_i + 1u < problem->n_frac);
            assert(below > n && below < n_node && !has_box[below]);
            has_box[below] = true;
            assert(above > n && above < n_node && !has_box[above]);
            has_box[above] = true;
            halve(problem, &node[n], &box[n], &box[below], &box[above]);
            continue;
        }
        bound = certify_box(problem, budget, &box[n], node[n].certificate);
        least = bound < least ? bound : least;
    }
    return least < INT64_MAX ? least : INT64_MIN;
}
