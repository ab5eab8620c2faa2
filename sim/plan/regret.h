/*
 * regret.h - never worse: how much a plan may lose because its inputs are off.
 *
 * Measured inputs carry error bars, and they are correlated: where a link is slower than its
 * profile says, it is slower for all layers. So the truth is a point in a box of few scale factors:
 * one for each route (its start and its loads), one for the decoder, one for decoding on the
 * compute engine, one for that engine's other work (its start and the head with it). A plan's
 * regret at a truth is how much longer it takes than the better of load-all and recompute-all does
 * there.
 *
 * The corners of the box would not do: T is a maximum of sums that are linear in the factors, so a
 * plan's own T is largest at corners, but a regret need not be: load-all has kinks inside. The
 * bound here holds everywhere: at each truth, load-all takes at least as long as any one of its
 * paths, which is linear, so T less that path is largest at a corner; where no single path is close
 * enough, the box is halved.
 */
#ifndef KVS_PLAN_REGRET_H
#define KVS_PLAN_REGRET_H

#include "tables.h"

#define KVS_REGRET_FRAC .01 /* of T: what a hybrid may lose at most */
#define KVS_CORNER_DECODE KVS_MAX_ROUTE
#define KVS_CORNER_COMPUTE (KVS_MAX_ROUTE + 1)
#define KVS_CORNER_GPU_DECODE (KVS_MAX_ROUTE + 2)

struct kvs_regret {
    double most_ns; /* no truth in the box has a larger regret; may be negative: it always gains */
    double corner_ns; /* the largest at a corner of the box; and that one, a bit a factor: */
    uint32_t corner;  /* 1: it is at its greatest; bit k is route k's, then KVS_CORNER_... */
};

/* The error bars of a profile and of levels: of a route, its slowest hop's rate; of compute, the
 * larger of what is said of GEMMs and attention; of decoding, the largest of a level's. hw has a
 * GPU. */
void kvs_plan_error_of(const struct kvs_hw *hw, const struct kvs_table_route *route,
                       uint32_t n_route, const struct kvs_table_level *level, uint32_t n_level,
                       struct kvs_plan_error *error);
/*
 * The regret of a plan over problem->error. load: the plan that load-all is. Halves the box until
 * the bound is within want_ns or it is clear that it can't be, or a fixed depth is reached.
 */
void kvs_regret(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                const struct kvs_plan *load, double want_ns, struct kvs_regret *regret);
/* The same against the plan that load-all is at its best level, or, where none keeps the budget,
 * against recompute-all alone: within a thousandth of what the box's corners have, where halving
 * makes it so. */
void kvs_regret_of(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                   struct kvs_regret *regret);
/* The problem as it is at a corner; free ends it. NULL: no memory. */
struct kvs_plan_problem *kvs_regret_truth(const struct kvs_plan_problem *problem, uint32_t corner);
/*
 * The rule: `plan` stays where its regret is at most KVS_REGRET_FRAC of its T; else the better one
 * of load-all (at the best level within the budget; none is: not at all) and recompute-all takes
 * its place. true: stays.
 */
bool kvs_never_worse(const struct kvs_plan_problem *problem, struct kvs_plan *plan,
                     struct kvs_plan_eval *eval, struct kvs_regret *regret);

#endif
