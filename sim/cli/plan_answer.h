/*
 * plan_answer.h - `kvsim plan`: what there is to say about one prompt on one machine.
 *
 * Everything is computed by planning again: with other policies, other contexts, other speeds.
 */
#ifndef KVS_PLAN_ANSWER_H
#define KVS_PLAN_ANSWER_H

#include "plan/own.h"
#include "plan/regret.h"
#include "plan_case.h"

#include <string.h>

#define KVS_MAX_POLICY_ROW 32
#define KVS_MAX_KNOB 8
#define KVS_MAX_OWN 8
#define KVS_ENOUGH_GAIN 1e-3 /* a finer list of fractions that gains less is not worth it */

/* One policy's plan of the prompt. */
struct kvs_policy_row {
    const struct kvs_planner_ops *planner;
    struct kvs_plan plan;
    struct kvs_plan_eval eval;
    int64_t lower_bound_ns;         /* INT64_MIN: none */
    bool over_budget, loss_unknown; /* no table says what moved text loses by its repair */
    double load_bytes, recompute_frac;
    int64_t work_ns; /* compute, as slow as --load makes it */
};

/* A stage as a whole, its fixed costs included; one rate of it; what the prompt has. */
enum kvs_knob_kind { KVS_KNOB_STAGE, KVS_KNOB_PART, KVS_KNOB_PROMPT };

/* TTFT with one knob at half and at twice what it is, everything else as it is, planned anew. More
 * of a prompt is slower, more of all else faster. */
struct kvs_knob_row {
    const char *name; /* "links" */
    enum kvs_knob_kind kind;
    int64_t half_ns, twice_ns;
};

/*
 * Where loading beats recomputing, in rising order; 0: from the least value looked at on, up to the
 * greatest (least and most of a crossing). Of more ranges than there is room for, the first ones
 * and the last are named.
 */
#define KVS_MAX_RANGE 4
struct kvs_range {
    double from, to;
};
struct kvs_crossing {
    uint32_t n_range, n_more;
    struct kvs_range range[KVS_MAX_RANGE];
    double least, most;
    double low, high; /* what the error bars make of kvs_crossing_at */
};

/*
 * What the plan loses, nats. Errors of one table are taken as one: the loss lies between nats /
 * (1 + rel_error) and nats * (1 + rel_error).
 */
struct kvs_plan_loss {
    double nats, rel_error;
    double level_nats[KVS_MAX_LEVEL]; /* by what layers are loaded at */
    uint32_t level_n[KVS_MAX_LEVEL];  /* layers */
    double moved_nats;                /* of text cached elsewhere, what is not repaired */
    double carried_nats;              /* what spans carry, as they say */
    double source_nats[4];            /* by where the table has its figures from: enum kvs_source */
};

struct kvs_plan_answer {
    struct kvs_knobs knobs; /* that it is of */
    struct kvs_variant v;   /* with these */
    uint32_t n_policy;
    struct kvs_policy_row policy[KVS_MAX_POLICY_ROW]; /* without the asked planner's own row */
    struct kvs_policy_row best;                       /* the asked planner's */
    struct kvs_policy_row optimum; /* optimal's, around which fractions and levels are chosen */
    uint32_t n_own;                /* those replayed by their own rule */
    const struct kvs_own_ops *own_ops[KVS_MAX_OWN];
    struct kvs_own_result own[KVS_MAX_OWN];
    struct kvs_regret regret; /* of best, within the profile's error bars */
    bool fell_back;           /* best is careful's, which took something else than the optimum */
    struct kvs_plan_loss loss;
    double refine_gain; /* relative: what the last, finer list of fractions gained */
    double load_rate;   /* of the routes, raw bytes per second, fixed costs included */
    uint32_t n_pair;    /* pairs of levels that the menu is chosen from, besides raw16; 0: named */
    int64_t pair_bound_ns; /* no plan over any of them ends before; INT64_MIN: not proven */
    struct kvs_crossing context, bandwidth; /* tokens; bytes per second */
    uint32_t n_knob;
    struct kvs_knob_row knob[KVS_MAX_KNOB];
    /* of the asked planner's plan: work of each stage, and when layers pass it */
    int64_t io_work_ns[KVS_MAX_ROUTE], decode_work_ns, gpu_work_ns;
    int64_t io_end_ns[KVS_MAX_ROUTE][KVS_MAX_LAYER], decode_end_ns[KVS_MAX_LAYER];
    int64_t gpu_end_ns[KVS_MAX_LAYER], gpu_wait_ns[KVS_MAX_LAYER]; /* work that waits for it */
    int64_t gpu_again_ns[KVS_MAX_LAYER]; /* of that: tokens repaired, or computed from states */
    int64_t io_ns[KVS_MAX_ROUTE][KVS_MAX_LAYER]; /* before io_end_ns, states included */
    double state_bytes[KVS_MAX_LAYER];           /* loaded to compute again from this layer on */
    int64_t without_states_ns; /* TTFT without restart points; 0: there are none */
};

/* Chooses the case's menu of levels on the way. */
KVS_MUST_CHECK enum kvs_code kvs_plan_answer_new(struct kvs_plan_case *c,
                                                 const struct kvs_planner_ops *planner,
                                                 struct kvs_plan_answer **answer,
                                                 struct kvs_err *err);
void kvs_plan_answer_free(struct kvs_plan_answer *answer); /* accepts NULL */

/* KV of so many cached tokens and the new ones, and what there is for it in HBM, bytes. */
void kvs_plan_room(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                   double cached_tok, double *need, double *has);

/* The GPU's own time that a row takes, without what others make it wait. */
static inline double kvs_plan_gpu_s(const struct kvs_plan_case *c, const struct kvs_policy_row *row)
{
    return (double)row->work_ns * 1e-9 * (1 - c->options.load);
}

/* false: KV lies as raw16 only. */
static inline bool kvs_plan_has_levels(const struct kvs_variant *v)
{
    return v->levels->n > 1 || strcmp(v->levels->level[0].name, KVS_CODEC_RAW) != 0;
}

/* The one level that all of a row's loads have, where there are several; NULL: none such. */
const char *kvs_plan_flat_level(const struct kvs_plan_answer *answer,
                                const struct kvs_policy_row *row);

/* plan_held.c: what the tier has to hold, bytes a token of all layers: raw16; all that plans were
 * free to choose in any layer; what this one loads, of each layer one level. */
struct kvs_plan_held {
    double raw_bytes, free_bytes, loaded_bytes;
    uint32_t n_free[2], n_loaded[2]; /* levels of K, of V */
    char free[2][KVS_MAX_CODEC_LEVEL][32], loaded[2][KVS_MAX_CODEC_LEVEL][32];
};
void kvs_plan_hold(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                   struct kvs_plan_held *held);

/* false: the distortion is of moved text, and no table says what that loses. */
static inline bool kvs_plan_loss_known(const struct kvs_policy_row *row)
{
    return !row->loss_unknown || row->eval.distortion <= 0;
}

/* The loss of the asked planner's plan; zeros where it is not known. */
void kvs_plan_lose(const struct kvs_plan_case *c, const struct kvs_variant *v,
                   const struct kvs_plan *plan, struct kvs_plan_loss *loss);

/* T of one policy, within the budget or not, with knobs turned and a menu of n_frac fractions. */
KVS_MUST_CHECK enum kvs_code kvs_plan_ttft(const struct kvs_plan_case *c, const char *policy,
                                           const struct kvs_knobs *knobs, uint32_t n_frac,
                                           int64_t *ttft_ns, struct kvs_err *err);

/* plan_refine.c: the answer's fractions and levels, a variant of them, and optimal's row of it. */
KVS_MUST_CHECK enum kvs_code kvs_plan_refine(struct kvs_plan_case *c,
                                             struct kvs_plan_answer *answer, struct kvs_err *err);
/*
 * plan_cross.c: at which lengths of what is cached, tokens; and from which --bandwidth on, bytes a
 * second, planned as the answer there would be, so whatever the rate here is.
 */
KVS_MUST_CHECK enum kvs_code kvs_plan_cross_context(const struct kvs_plan_case *c,
                                                    struct kvs_crossing *crossing,
                                                    struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_plan_cross_bandwidth(const struct kvs_plan_case *c,
                                                      struct kvs_crossing *crossing,
                                                      struct kvs_err *err);
/* Where loading wins from on, without end; 0: nowhere, or everywhere. */
double kvs_crossing_at(const struct kvs_crossing *crossing);
/* The --bandwidth that would say what is here, and whether it is a GPU's own rate, of which there
 * are several. */
double kvs_plan_bandwidth(const struct kvs_plan_case *c);
bool kvs_plan_bandwidth_per_gpu(const struct kvs_plan_case *c);

/* plan_menu.c: optimal's row with a menu of levels that is chosen around it, from a first menu's
 * row on; and what is proven over all levels. */
KVS_MUST_CHECK enum kvs_code kvs_plan_menu(struct kvs_plan_case *c, struct kvs_plan_answer *answer,
                                           struct kvs_err *err);
/* The menu is the variant's levels from now on. */
void kvs_plan_menu_fix(struct kvs_plan_case *c, const struct kvs_variant *v);
/*
 * One planner's row of a variant. One that searches is no slower than any that doesn't, nor than
 * the plan `also` (NULL: none), where they keep the budget.
 */
KVS_MUST_CHECK enum kvs_code kvs_plan_row(const struct kvs_plan_case *c,
                                          const struct kvs_variant *v,
                                          const struct kvs_planner_ops *planner,
                                          const struct kvs_plan *also, struct kvs_policy_row *row,
                                          struct kvs_err *err);
/* The row takes a plan of another variant with the same menus, if it is one here, within the
 * budget, and faster. */
bool kvs_plan_row_offer(const struct kvs_variant *v, const struct kvs_plan *plan,
                        struct kvs_policy_row *row);

/*
 * plan_knobs.c: the case with each knob at half and at twice what it is, over the answer's
 * fractions and levels, and over those that it would choose itself. Every plan that optimal finds
 * over the answer's is offered to all, so a better machine is never slower; the answer's optimum
 * takes part.
 */
struct kvs_turned;
KVS_MUST_CHECK enum kvs_code kvs_turned_new(struct kvs_plan_case *c, struct kvs_plan_answer *answer,
                                            struct kvs_turned **turned, struct kvs_err *err);
/* The plan whose knobs are turned: the asked planner's, but where that is careful the optimum: its
 * plans jump where an error bar ends. */
const struct kvs_policy_row *kvs_plan_turned_row(const struct kvs_plan_answer *answer);
/* That planner's rows; of exact, optimal's and the answer's own plan. */
KVS_MUST_CHECK enum kvs_code kvs_turned_rows(const struct kvs_plan_case *c,
                                             struct kvs_turned *turned,
                                             struct kvs_plan_answer *answer, struct kvs_err *err);
void kvs_turned_free(struct kvs_turned *turned); /* accepts NULL */

/* Why a policy replayed by its own rule is not; NULL: it is. */
const char *kvs_plan_no_own(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                            const struct kvs_own_ops *ops);

/* How the terminal, a program and a figure are told. */
void kvs_plan_show(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer);
/* Of that, what is said of the certificate, the regret and the loss. */
void kvs_plan_show_sure(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer);
KVS_MUST_CHECK enum kvs_code kvs_plan_json(const struct kvs_plan_case *c,
                                           const struct kvs_plan_answer *answer,
                                           struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_plan_draw(const struct kvs_plan_case *c,
                                           const struct kvs_plan_answer *answer,
                                           struct kvs_err *err);

/* What the answer says in words, one sentence a call from 0 on; NULL: no more. buf is returned. */
#define KVS_PLAN_WORDS 600
const char *kvs_plan_words(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                           unsigned n, char buf[KVS_PLAN_WORDS]);
/* The stage that would shorten TTFT most if it were twice as fast as a whole: "links", "GPU",
 * "decoder"; NULL: none by 1 %. */
const char *kvs_plan_binds(const struct kvs_plan_answer *answer);
/* What a knob is called here: bandwidth is some link's. buf is returned. */
#define KVS_PLAN_KNOB_NAME 80
const char *kvs_plan_knob_name(const struct kvs_plan_case *c, const struct kvs_knob_row *row,
                               char buf[KVS_PLAN_KNOB_NAME]);

#endif
