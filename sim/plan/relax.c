#include "relax.h"

#include "chain.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define CAUTION 0.6 /* share of the best weights so far in the next ones tried */
#define NEW_PATHS 8 /* paths made known at a time, at most */
#define STAND_IN 4. /* T of what stands for a plan where none is known, of the best one's */
#define SPREAD 1.3  /* factor of the potentials around the best */

static size_t round64(size_t n)
{
    return (n + 63) / 64 * 64;
}

size_t kvs_relax_size(const struct kvs_plan_problem *problem)
{
    return round64(sizeof(struct kvs_relax)) + round64(kvs_dual_size(problem)) + kvs_master_size() +
           KVS_RELAX_POTENTIALS * round64(sizeof(struct kvs_potential)) +
           round64(sizeof(struct kvs_guide));
}

static struct kvs_relax *place(void *mem, const struct kvs_plan_problem *problem, int64_t budget)
{
    struct kvs_relax *relax = mem;
    char *at = (char *)mem + round64(sizeof *relax);

    relax->dual = (struct kvs_dual *)at;
    at += round64(kvs_dual_size(problem));
    relax->master = (struct kvs_master *)at;
    at += kvs_master_size();
    for (uint32_t p = 0; p < KVS_RELAX_POTENTIALS; p++) {
        relax->potential[p] = (struct kvs_potential *)at;
        at += round64(sizeof(struct kvs_potential));
    }
    relax->guide = (struct kvs_guide *)at;
    relax->problem = problem;
    relax->budget = budget;
    relax->n_potential = relax->n_walk = 0;
    relax->certificate.n_path = 0;
    relax->certificate.price_ns = 0;
    relax->bound_ns = relax->mixture_ns = 0;
    relax->end_ns = INT64_MAX;
    relax->stop_ns = HUGE_VAL;
    return relax;
}

/* Makes paths known until none is longer than the master says. */
static void learn_paths(struct kvs_relax *relax, const struct kvs_plan_problem *problem)
{
    struct kvs_sums mix;
    struct kvs_path path;

    for (uint32_t n = 0; n < NEW_PATHS; n++) {
        kvs_master_mix(relax->master, &mix);
        relax->mixture_ns = kvs_path_longest(problem, &mix, &path);
        if (relax->mixture_ns <= kvs_master_value(relax->master) * (1 + 1e-6) ||
            !kvs_master_add_path(relax->master, &path))
            return;
    }
}

/* The master's weights, drawn towards the best so far. */
static void next_weights(const struct kvs_relax *relax, struct kvs_certificate *next)
{
    const struct kvs_certificate *best = &relax->certificate;
    double caution = relax->n_walk < 2 ? 0 : CAUTION;
    double weight[KVS_MAX_PATH], price = kvs_master_duals(relax->master, weight);

    next->n_path = kvs_master_n_path(relax->master);
    for (uint32_t n = 0; n < next->n_path; n++) {
        double old = n < best->n_path ? best->weight[n] : 0;

        next->path[n] = *kvs_master_path(relax->master, n);
        next->weight[n] = caution * old + (1 - caution) * weight[n];
    }
    next->price_ns = caution * best->price_ns + (1 - caution) * price;
}

static void offer(struct kvs_relax *relax, const struct kvs_plan *plan)
{
    struct kvs_plan_eval eval;

    if (kvs_plan_eval(relax->problem, plan, NULL, &eval) && eval.distortion <= relax->budget &&
        eval.end_ns < relax->end_ns) {
        relax->plan = *plan;
        relax->end_ns = eval.end_ns;
    }
}

/* A walk at a certificate's weights; what it bounds. The weights add up to 1. */
static double walk(struct kvs_relax *relax, const struct kvs_certificate *at,
                   struct kvs_prices *prices, struct kvs_plan *plan)
{
    double bound;

    kvs_prices_clear(relax->problem, prices);
    for (uint32_t n = 0; n < at->n_path; n++)
        if (at->weight[n] > 0)
            kvs_prices_add(relax->problem, &at->path[n], at->weight[n], prices);
    prices->distortion = at->price_ns;
    bound = kvs_dual_walk(relax->dual, prices, plan);
    offer(relax, plan);
    return bound;
}

struct kvs_relax *kvs_relax_init(void *mem, const struct kvs_plan_problem *problem, int64_t budget,
                                 const struct kvs_plan *start)
{
    struct kvs_relax *relax = place(mem, problem, budget);

    relax->dual = kvs_dual_init(relax->dual, problem, budget);
    relax->master = kvs_master_init(relax->master, problem, budget, start);
    offer(relax, start);
    assert(relax->end_ns < INT64_MAX);
    return relax;
}

static bool is_in_box(const struct kvs_plan_problem *problem, const struct kvs_box *box,
                      const struct kvs_plan *plan)
{
    for (uint32_t l = 0; l < problem->n_layer; l++)
        if (plan->frac_i[l] < box->low[l] || plan->frac_i[l] > box->high[l])
            return false;
    return true;
}

/* Weights from a certificate, a walk at them, and a master that knows its paths and the walk's
 * plan. best_ns: T of some plan. false: no plan can be afforded. */
static bool begin_from(struct kvs_relax *relax, const struct kvs_certificate *certificate,
                       double best_ns)
{
    struct kvs_certificate *own = &relax->certificate;
    struct kvs_prices prices;
    struct kvs_plan first = {{0}, {0}};

    for (uint32_t n = 0; n < certificate->n_path; n++) {
        if (certificate->weight[n] <= 0)
            continue;
        own->path[own->n_path] = certificate->path[n];
        own->weight[own->n_path++] = certificate->weight[n];
    }
    own->price_ns = certificate->price_ns;
    relax->master = kvs_master_init_empty(relax->master, relax->problem, relax->budget,
                                          STAND_IN * best_ns, &own->path[0]);
    relax->bound_ns = walk(relax, own, &prices, &first);
    relax->n_walk = 2; /* the weights are worth as much as others after two walks */
    if (relax->bound_ns >= KVS_DUAL_NEVER)
        return false;
    kvs_master_add_plan(relax->master, &first);
    return true;
}

struct kvs_relax *kvs_relax_init_box(void *mem, const struct kvs_relax *whole,
                                     const struct kvs_box *box,
                                     const struct kvs_certificate *certificate,
                                     const struct kvs_plan *plan, uint32_t n_plan)
{
    const struct kvs_plan_problem *problem = whole->problem;
    struct kvs_relax *relax = place(mem, problem, whole->budget);
    const struct kvs_certificate *own = &relax->certificate;

    relax->dual = whole->dual;
    kvs_dual_keep_to(relax->dual, box);
    if (!begin_from(relax, certificate, (double)whole->end_ns))
        return relax;
    for (uint32_t n = 0; n < n_plan; n++)
        if (is_in_box(problem, box, &plan[n]))
            kvs_master_add_plan(relax->master, &plan[n]);
    for (uint32_t n = 1; n < own->n_path; n++)
        kvs_master_add_path(relax->master, &own->path[n]);
    return relax;
}

struct kvs_relax *kvs_relax_init_rising(void *mem, const struct kvs_plan_problem *problem,
                                        const struct kvs_relax *plain, const struct kvs_plan *start)
{
    struct kvs_relax *relax = place(mem, problem, plain->budget);
    const struct kvs_certificate *own = &relax->certificate;
    bool affords;

    relax->dual = kvs_dual_init_rising(relax->dual, plain->dual, problem);
    offer(relax, start);
    affords = begin_from(relax, &plain->certificate, (double)relax->end_ns);
    assert(affords && relax->end_ns < INT64_MAX);
    kvs_master_add_plan(relax->master, start);
    for (uint32_t n = 0; n < kvs_master_n_plan(plain->master); n++) {
        struct kvs_plan plan;

        if (kvs_master_share(plain->master, n, &plan) > 0)
            kvs_master_add_plan(relax->master, &plan);
    }
    for (uint32_t n = 1; n < own->n_path; n++)
        kvs_master_add_path(relax->master, &own->path[n]);
    return relax;
}

void kvs_relax_run(struct kvs_relax *relax, uint32_t n_walk, double enough)
{
    struct kvs_certificate next;
    struct kvs_prices prices;
    struct kvs_plan plan = {{0}, {0}};

    while (relax->n_walk < n_walk && relax->bound_ns < relax->stop_ns) {
        double bound;
        bool cautious = relax->n_walk >= 2, fresh;

        learn_paths(relax, relax->problem);
        next_weights(relax, &next);
        bound = walk(relax, &next, &prices, &plan);
        if (relax->n_walk++ == 0 || bound > relax->bound_ns) {
            relax->certificate = next;
            relax->bound_ns = bound;
        }
        fresh = kvs_master_add_plan(relax->master, &plan);
        if (relax->mixture_ns - relax->bound_ns <= enough * relax->mixture_ns ||
            (double)relax->end_ns - relax->bound_ns <= enough * (double)relax->end_ns)
            break;
        if (!fresh && (!cautious || kvs_master_n_plan(relax->master) == KVS_MASTER_PLANS))
            break;
    }
}

static void add_potential(struct kvs_relax *relax, const struct kvs_certificate *at)
{
    struct kvs_certificate whole = *at;
    struct kvs_prices prices;
    struct kvs_plan plan = {{0}, {0}};
    double sum = 0;

    assert(relax->n_potential < KVS_RELAX_POTENTIALS);
    for (uint32_t n = 0; n < whole.n_path; n++)
        sum += whole.weight[n];
    for (uint32_t n = 0; n < whole.n_path; n++)
        whole.weight[n] /= sum;
    walk(relax, &whole, &prices, &plan);
    kvs_potential_of(relax->dual, &prices, relax->potential[relax->n_potential++]);
}

/* The mixture's tails: chain.h's recursion on mean steps. */
static void guide_times(struct kvs_relax *relax)
{
    uint32_t n_layer = relax->problem->n_layer, n_route = relax->problem->n_route;
    struct kvs_guide *guide = relax->guide;
    struct kvs_sums mix;

    kvs_master_mix(relax->master, &mix);
    guide->from_x[n_layer] = -HUGE_VAL;
    guide->wait[n_layer] = 0;
    for (uint32_t k = 0; k < n_route; k++)
        guide->from_in[n_layer][k] = -HUGE_VAL;
    for (uint32_t l = n_layer; l-- > 0;) {
        guide->wait[l] = mix.wait[n_layer] - mix.wait[l];
        guide->from_x[l] =
            fmax(guide->from_x[l + 1], guide->wait[l]) + mix.decode[l + 1] - mix.decode[l];
        for (uint32_t k = 0; k < n_route; k++)
            guide->from_in[l][k] =
                fmax(guide->from_in[l + 1][k], guide->from_x[l]) + mix.io[k][l + 1] - mix.io[k][l];
    }
}

/* Its work, distortion and potential from each layer on: means over the plans it is made of. */
static void guide_rest(struct kvs_relax *relax)
{
    const struct kvs_plan_problem *problem = relax->problem;
    struct kvs_guide *guide = relax->guide;
    uint32_t n_layer = problem->n_layer;
    uint8_t low[KVS_MAX_LAYER];
    struct kvs_chain_step step;
    struct kvs_plan plan;

    for (uint32_t l = 0; l <= n_layer; l++)
        guide->work[l] = guide->distortion[l] = guide->value[l] = 0;
    for (uint32_t n = 0; n < kvs_master_n_plan(relax->master); n++) {
        double share = kvs_master_share(relax->master, n, &plan), work = 0, distortion = 0;

        kvs_plan_lows(problem, &plan, low);
        for (uint32_t l = n_layer; share > 0 && l-- > 0;) {
            kvs_chain_step_low(problem, l, low[l], plan.frac_i[l],
                               l + 1 < n_layer ? plan.frac_i[l + 1] : 0, plan.level[l], &step);
            work += (double)(step.pre_ns + step.wait_ns);
            distortion += (double)step.distortion;
            guide->work[l] += share * work;
            guide->distortion[l] += share * distortion;
            guide->value[l] += share * relax->potential[0]->value[l][plan.frac_i[l]];
        }
    }
}

void kvs_relax_guide(struct kvs_relax *relax)
{
    relax->n_potential = 0;
    add_potential(relax, &relax->certificate);
    guide_times(relax);
    guide_rest(relax);
}

void kvs_relax_spread(struct kvs_relax *relax)
{
    const struct kvs_certificate *best = &relax->certificate;
    uint32_t first = 0, second = UINT32_MAX;
    const double factor[] = {SPREAD, 1 / SPREAD};

    relax->n_potential = 0;
    add_potential(relax, best);
    for (uint32_t n = 1; n < best->n_path; n++) {
        if (best->weight[n] > best->weight[first]) {
            second = first;
            first = n;
        } else if (second == UINT32_MAX || best->weight[n] > best->weight[second]) {
            second = n;
        }
    }
    for (uint32_t f = 0; f < 2; f++) {
        struct kvs_certificate at = *best;

        if (best->price_ns > 0) {
            at.price_ns *= factor[f];
            add_potential(relax, &at);
        }
        if (second == UINT32_MAX)
            continue;
        at = *best;
        at.weight[first] *= factor[f];
        add_potential(relax, &at);
        if (best->weight[second] <= 0)
            continue;
        at = *best;
        at.weight[second] *= factor[f];
        add_potential(relax, &at);
    }
}
