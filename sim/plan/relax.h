/*
 * relax.h - weights and a price under which the relaxation's bound is high, by cutting planes.
 *
 * The linear program over known plans and paths (master.h) proposes weights; the walk (dual.h) at
 * weights between these and the best so far gives a bound and a new plan; the mixture's longest
 * path is made known. Bound and mixture meet at the optimum of the relaxation.
 */
#ifndef KVS_PLAN_RELAX_H
#define KVS_PLAN_RELAX_H

#include "labels.h"
#include "master.h"

#define KVS_RELAX_POTENTIALS 7

struct kvs_relax {
    const struct kvs_plan_problem *problem;
    int64_t budget;
    struct kvs_certificate certificate; /* the best so far */
    double bound_ns;                    /* what the walk said of it */
    double mixture_ns;                  /* T of the mixture: no weights bound higher */
    uint32_t n_walk;
    struct kvs_plan plan; /* the best plan met on the way, within the budget */
    int64_t end_ns;
    double stop_ns; /* a bound that is high enough; HUGE_VAL at first */
    struct kvs_master *master;
    struct kvs_dual *dual;
    /* from kvs_relax_guide or kvs_relax_spread */
    uint32_t n_potential; /* the best weights' first */
    struct kvs_potential *potential[KVS_RELAX_POTENTIALS];
    struct kvs_guide *guide; /* from kvs_relax_guide */
};

size_t kvs_relax_size(const struct kvs_plan_problem *problem);
/* mem: kvs_relax_size bytes, aligned to 64. start: a plan within the budget. */
struct kvs_relax *kvs_relax_init(void *mem, const struct kvs_plan_problem *problem, int64_t budget,
                                 const struct kvs_plan *start);
/*
 * The same for the staircases of a box only, from a certificate that fits them roughly and plans
 * of which those in the box are known from the start. It has the dual of `whole`, which walks in
 * the box as long as this relaxation is used; mem as for kvs_relax_init. end_ns is INT64_MAX until
 * it meets a plan within the budget.
 */
struct kvs_relax *kvs_relax_init_box(void *mem, const struct kvs_relax *whole,
                                     const struct kvs_box *box,
                                     const struct kvs_certificate *certificate,
                                     const struct kvs_plan *plan, uint32_t n_plan);
/*
 * The same for a problem with restart points, from the relaxation of that without them, whose dual
 * it shares: its weights, the plans of its mixture, and `start`, within the budget.
 */
struct kvs_relax *kvs_relax_init_rising(void *mem, const struct kvs_plan_problem *problem,
                                        const struct kvs_relax *plain,
                                        const struct kvs_plan *start);
/*
 * Goes on until n_walk walks have been made in all, or mixture and bound, or best plan and bound,
 * are within `enough` (relative) of one another, or the bound reaches stop_ns.
 */
void kvs_relax_run(struct kvs_relax *relax, uint32_t n_walk, double enough);

/*
 * The potential at the best weights, and the mixture as a guide: what a label search of bounded
 * width goes by. A plan met on the way counts.
 */
void kvs_relax_guide(struct kvs_relax *relax);
/*
 * Potentials at the best weights and around them - the price of distortion and the two heaviest
 * paths a little more, a little less - so that an exact search sees what happens to a plan out of
 * balance. Plans met on the way count.
 */
void kvs_relax_spread(struct kvs_relax *relax);

#endif
