/*
 * plan.h - the plan problem, a plan, and the one evaluation of it.
 *
 * All times are integer nanoseconds. i is the index of a recompute fraction in the ascending list
 * (0: load all, n_frac - 1: recompute all), q the index of a level (0: lossless). Nothing else in
 * kvsim knows the recursion: planner, report and simulator call kvs_plan_eval.
 */
#ifndef KVS_PLAN_H
#define KVS_PLAN_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVS_MAX_LAYER 256
#define KVS_MAX_ROUTE 6  /* pipes of a problem: routes of tiers, and hops that they share */
#define KVS_MAX_SHARED 2 /* of them, at most so many shared hops */
#define KVS_MAX_TIER_ROUTE (KVS_MAX_ROUTE - KVS_MAX_SHARED)
#define KVS_MAX_FRAC 64
#define KVS_MAX_LEVEL 16
#define KVS_LEGO_TOK 16 /* of a passage's first tokens, that EPIC computes again */

/* Costs of one layer. Layers of equal cost may share one struct, and planners may tell so by the
 * pointer. */
struct kvs_layer_cost {
    const int64_t *io_ns[KVS_MAX_ROUTE]; /* [i * n_level + q] time on route k */
    const int64_t *decode_ns;            /* [i * n_level + q] time in the decoder */
    const int64_t *post_ns; /* [i * n_level + q] compute that waits for the layer: the new tokens */
    const int64_t *distortion; /* [i * n_level + q] */
    const int64_t *full_ns,
        *kv_ns; /* [i] compute that waits for no load: recomputed set, whole layer; K, V only */
    const int64_t *wfull_ns, *wkv_ns; /* [i] the same for a waiting set */
    const int64_t *gpu_decode_ns;     /* [i * n_level + q] of post: decoding on the compute engine,
                                         which has an error bar of its own; NULL: none */
};

/* Error bars: a time lies between 1 / (1 + e) and 1 + e of what the tables say, all times of one
 * route, of the decoder, of decoding on the compute engine, or of its other work together. 0:
 * exact. */
struct kvs_plan_error {
    double route[KVS_MAX_ROUTE], decode, gpu_decode, compute;
};

struct kvs_plan_problem {
    uint32_t n_layer, n_frac, n_level, n_route;
    const double *frac;                        /* ascending, frac[0] = 0, frac[n_frac - 1] = 1 */
    const struct kvs_layer_cost *const *layer; /* [n_layer] */
    /*
     * The last n_shared of the n_route pipes are hops that routes share: each serves the layers in
     * order, for all its routes, and begins with the first of them (kvs_plan_share). So a route
     * takes of a hop what it brings, layer by layer, and what it leaves is the others'.
     */
    uint32_t n_shared;
    uint8_t shared_by[KVS_MAX_SHARED]; /* bit k: route k takes the hop */
    int64_t io_start_ns[KVS_MAX_ROUTE], gpu_start_ns, head_ns;
    int64_t budget;       /* of the sum of distortions */
    uint8_t hidden_level; /* the level that stands for hidden states; 0: none does */
    /*
     * Moved text: the first n_repair fractions compute nothing else again, and repair_frac[i] of
     * it. first_i: the least of them that has the first 16 tokens of each passage, or the last. 0:
     * none is moved.
     */
    uint8_t n_repair, first_i;
    const double *repair_frac; /* [n_repair] */
    /*
     * Restart points: before layer l the store holds the hidden states too that enter it, and a
     * fraction may rise there. The states of the tokens in which it rises are loaded before that
     * layer's KV; what is computed from them waits for the layer, as a waiting set does.
     */
    const uint8_t *state_at;                /* [n_layer] 1: layer l is one (never the first);
                                               NULL: none is */
    const int64_t *state_ns[KVS_MAX_ROUTE]; /* [i] ascending: states of all that fraction i
                                               computes, on route k; a rise costs the difference */
    struct kvs_plan_error error;
    /*
     * What a nanosecond of T, of compute, and of a route costs others, in ns of delay: planners
     * that heed it minimise (1 + price_t) * T + price_gpu * compute + sum of price_link * io, T
     * and compute with the passes. 0: nobody waits. The evaluation knows no price.
     */
    double price_t, price_gpu, price_link[KVS_MAX_ROUTE];
    /*
     * The passes that work waiting for no load takes, by the first layer's fraction: what others'
     * share in them adds to T and to compute, if it is computed in every layer; and for every layer
     * where it is not, how much more. Less than 0 where a pass saves others more. NULL: 0.
     */
    const int64_t *pass_ns, *pass_rest_ns; /* [i] */
};

/* Per layer l the fraction's index and the level. */
struct kvs_plan {
    uint8_t frac_i[KVS_MAX_LAYER];
    uint8_t level[KVS_MAX_LAYER];
};

/* What really happened, for the simulator; each part may be NULL or absent: then it is as the
 * problem predicts. Where arrivals are given, shared hops say nothing. */
struct kvs_plan_actual {
    const int64_t *arrive_ns[KVS_MAX_ROUTE]; /* [l]: when route k had delivered layer l */
    bool has_start;                          /* start_ns stands for P[-1] = gpu_start + pre */
    int64_t start_ns;
};

struct kvs_plan_eval {
    int64_t end_ns;    /* T */
    int64_t pre_ns;    /* compute that waits for no load */
    int64_t wait_ns;   /* compute that waits: post, wfull, wkv, all layers */
    int64_t stall_ns;  /* time the compute engine stood waiting for a layer after its start */
    int64_t loaded_ns; /* X[L-1]: the last layer is there, decoded; 0 if nothing is loaded */
    int64_t slack_ns;  /* how much later P[-1] could have been without moving T (0 when it binds) */
    int64_t distortion; /* sum over layers */
};

/*
 * The recursion, to the nanosecond. Each route, the decoder and the compute engine serve the layers
 * in order; i is the fraction's index at layer l, i' the next layer's (0 after the last), q the
 * level:
 *
 *     I[k][l] = I[k][l-1] + io[k][l][i][q]                            I[k][-1] = io_start[k]
 *     X[l]    = max(X[l-1], I[k][l] of every k) + decode[l][i][q]     X[-1] = 0
 *     pre     = sum over l of  full[l][i'] + kv[l][i] - kv[l][i']
 *     P[l]    = max(P[l-1], X[l]) + post[l][i][q] + wfull[l][i'] + wkv[l][i] - wkv[l][i']
 *                                                                     P[-1] = gpu_start + pre
 *     T       = P[L-1] + head
 *
 * A recomputed token that layer l + 1 needs runs all of layer l (full); one that is recomputed for
 * the last time there needs its norm and its K and V projections only (kv). pre waits for no load:
 * the recomputed tokens, when they are the first ones, attend only to themselves.
 *
 * actual may be NULL. false if the plan breaks the staircase (a fraction grows with depth, and not
 * at a restart point) or an index is out of range; *eval is zeroed then. The budget is not checked:
 * compare eval->distortion.
 *
 * With restart points: where i rises from h, state[k][i] - state[k][h] more on route k before the
 * layer's own. Tokens that every layer so far computes, j (the least fraction up to the
 * layer; j' up to the next), need no state; with c = min(i, i')
 *
 *     pre      = sum over l of  full[l][j'] + kv[l][j] - kv[l][j']
 *     waits at l: post + wfull[c] + wkv[i] - wkv[c]
 *                 + (full[c] + kv[i] - kv[c]) - (full[j'] + kv[j] - kv[j'])
 *
 * which without a rise (j = i) is the above. full - kv must not fall with i, as more tokens never
 * are less work.
 */
bool kvs_plan_eval(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                   const struct kvs_plan_actual *actual, struct kvs_plan_eval *eval);

/* What a plan costs in all, ns: T, and T, its compute and io at the problem's prices. */
double kvs_plan_cost(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                     const struct kvs_plan_eval *eval);

/* What its passes add to T: see pass_ns. */
double kvs_plan_pass_ns(const struct kvs_plan_problem *problem, const struct kvs_plan *plan);

/* What a rise before layer l loads on route k: the states' time; 0 where nothing rises. */
static inline int64_t kvs_plan_state_ns(const struct kvs_plan_problem *problem,
                                        const struct kvs_plan *plan, uint32_t l, uint32_t k)
{
    if (!problem->state_at || l == 0 || plan->frac_i[l] <= plan->frac_i[l - 1])
        return 0;
    return problem->state_ns[k][plan->frac_i[l]] - problem->state_ns[k][plan->frac_i[l - 1]];
}

/* Routes of tiers: the pipes before the shared hops. */
static inline uint32_t kvs_plan_routes(const struct kvs_plan_problem *problem)
{
    return problem->n_route > problem->n_shared ? problem->n_route - problem->n_shared : 0;
}

/* Gives shared hops what follows from their routes: the first start and the greatest error. */
static inline void kvs_plan_share(struct kvs_plan_problem *problem)
{
    uint32_t n_route = kvs_plan_routes(problem);

    for (uint32_t s = 0; n_route > 0 && s < problem->n_shared; s++) {
        int64_t start_ns = INT64_MAX;
        double error = 0;

        for (uint32_t k = 0; k < n_route; k++)
            if (problem->shared_by[s] >> k & 1) {
                start_ns = problem->io_start_ns[k] < start_ns ? problem->io_start_ns[k] : start_ns;
                error = problem->error.route[k] > error ? problem->error.route[k] : error;
            }
        problem->io_start_ns[n_route + s] = start_ns;
        problem->error.route[n_route + s] = error;
    }
}

struct kvs_plan_scratch; /* working memory of planners; from kvs_plan_scratch_new */

/* A policy: one file plan_NAME.c and one line of plan_list.h. */
struct kvs_planner_ops {
    const char *name;
    const char *help;    /* one line: what it decides, and its source */
    bool never_loads;    /* stored KV is of no use to it: the simulator keeps none outside HBM */
    bool may_recompute;  /* recomputing all is among its choices; the simulator then also weighs it
                            without the routes' start, which a plan that loads nothing need not wait
                            for */
    bool priced;         /* heeds price_t, price_gpu and price_link */
    bool replans;        /* the simulator makes its plans again when compute begins */
    bool ends_only;      /* looks at the first and the last fraction only */
    bool searches;       /* heeds kvs_plan_scratch_know */
    const char *repairs; /* the tokens of moved text that it repairs, whatever others do: a method
                            of quality tables; NULL: any */
    uint32_t repair_tok; /* then: so many first ones of each passage; 0: shares */
    /*
     * Writes a plan within the staircase and, where it can, the budget; eval is kvs_plan_eval's of
     * it. lower_bound_ns: a proven bound on every feasible plan's T, or INT64_MIN if the policy
     * gives none. scratch is from kvs_plan_scratch_new, may be reused from call to call, and
     * carries no result.
     */
    enum kvs_code (*plan)(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err);
};

/*
 * Asked now and then by a planner whose search may take long (exact): layer of n_layer, so many
 * partial plans. true: it stops, and the best plan and bound known are its answer.
 */
struct kvs_plan_watch {
    bool (*stop)(void *ctx, uint32_t layer, uint32_t n_layer, size_t n_partial);
    void *ctx;
};

struct kvs_plan_scratch *kvs_plan_scratch_new(void); /* NULL: no memory */
/* watch is borrowed; NULL: no one asks, which scratch begins with. */
void kvs_plan_scratch_watch(struct kvs_plan_scratch *scratch, const struct kvs_plan_watch *watch);
/*
 * Plans found elsewhere, borrowed; n 0: none, which scratch begins with. Planners that search end
 * with a T that is no greater than that of any of them that is a plan of the problem within its
 * budget. The bound is of the problem alone.
 */
void kvs_plan_scratch_know(struct kvs_plan_scratch *scratch, const struct kvs_plan *plan,
                           uint32_t n);
void kvs_plan_scratch_free(struct kvs_plan_scratch *scratch);

/* The registry, NULL-ended, in the order of plan_list.h; and one by name (NULL if there is none).
 */
extern const struct kvs_planner_ops *const kvs_planner_list[];
const struct kvs_planner_ops *kvs_planner_find(const char *name);

#endif
