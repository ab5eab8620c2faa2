/*
 * plan_case.h - `kvsim plan`: one prompt on one machine, as the options describe it, and the same
 * with a knob turned.
 */
#ifndef KVS_PLAN_CASE_H
#define KVS_PLAN_CASE_H

#include "base/opt.h"
#include "plan/levels.h"
#include "plan/repair.h"
#include "plan_limit.h"

#define KVS_MAX_SPAN 64
#define KVS_LEAST_BANDWIDTH 1e6 /* bytes a second, as a hardware profile's rates */
#define KVS_MOST_BANDWIDTH 1e15

struct kvs_plan_options {
    const char *instances, *planner, *plot;
    bool json, overwrite;
    const char *model, *hw, *codec, *quality, *repair, *budget;
    struct kvs_strs tiers, levels, states, spans; /* spans: instead of context, new and reuse */
    uint64_t context_tok, new_tok, block_tok, chunk_tok, fractions, tp, decoders;
    double error, bandwidth, load, slo; /* bandwidth 0: the profile's */
    double limit;                       /* of exact, seconds */
    int reuse;                          /* 0 prefix, 1 content */
    bool hidden;
};

/* What the tokens of a span are, in the order of kvs_span_names: the same text cached behind the
 * same text; cached elsewhere; in HBM already; not cached. */
enum kvs_span_kind { KVS_SPAN_PREFIX, KVS_SPAN_CONTENT, KVS_SPAN_HBM, KVS_SPAN_NEW };
extern const char *const kvs_span_names[]; /* NULL-ended */

/* A row of tokens of the prompt. */
struct kvs_span {
    enum kvs_span_kind kind;
    uint32_t n_tok;
    int32_t route;    /* of a cached one; -1: on all routes that --tier names, in equal parts */
    char level[32];   /* that a cached one is stored at; "": as the others */
    double loss_nats; /* that it carries, as if all cached text were such */
};

/* What may be turned, as factors of what the options say. */
struct kvs_knobs {
    double link, gpu, decoder; /* speed of a whole stage: of the links rates and pieces a second */
    double rate, piece;        /* --bandwidth; pieces a second of all links */
    double new_tok, context_tok;
};
#define KVS_KNOBS_AS_IS                                                                            \
    (struct kvs_knobs)                                                                             \
    {                                                                                              \
        1, 1, 1, 1, 1, 1, 1                                                                        \
    }

/* What all variants share. */
struct kvs_plan_case {
    struct kvs_plan_options options;
    struct kvs_model *model;
    struct kvs_hw *hw;
    struct kvs_codec *codec;
    struct kvs_quality *quality; /* NULL: none needed */
    struct kvs_plan_scratch *scratch;
    struct kvs_plan_limit limit;
    uint32_t tp, n_decoder, n_route;
    bool fits;       /* the GPUs hold the prompt beside the model */
    uint32_t n_tier; /* of the routes, those that --tier names: the first ones */
    uint32_t n_span; /* the last one is new */
    struct kvs_span span[KVS_MAX_SPAN];
    uint32_t context_tok, new_tok; /* cached, and not, of all spans */
    bool moved;                    /* there is text cached elsewhere */
    bool as_held; /* spans say what they are stored at, and are loaded so: nothing to choose */
    bool carries; /* a span carries a loss */
    const struct kvs_hw_tier *tier[KVS_MAX_ROUTE];
    double budget_nats;
    bool loss_unknown; /* of moved text: no table tells; the budget is 0, so none of it stays */
    uint32_t n_state;  /* restart points: layers that --states names */
    uint8_t state_at[KVS_MAX_LAYER];
    /* levels that plans choose from where --levels names none (plan_menu.c); none: as
     * kvs_levels_new chooses them */
    struct kvs_strs menu;
    char menu_name[KVS_MAX_LEVEL][64];
    /* The link whose rate --bandwidth is: of all hops of the tiers the one that takes longest for a
     * prompt's bytes by the profile; other hops keep their rates. Its place in hw->link. */
    uint32_t slow_link;
    double link_error, gpu_error; /* relative, of the slowest hop and of the GPU's GEMMs */
    double decode_error;          /* of the least certain level on the answer's menu */
};

/* One variant: a problem and what it was made of. */
struct kvs_variant {
    uint32_t context_tok, new_tok, n_frac;
    struct kvs_hw hw; /* the profile with its GPU turned */
    struct kvs_hw_gpu gpu;
    struct kvs_hw_link link[KVS_MAX_ROUTE][KVS_MAX_HOP];
    struct kvs_table_route route[KVS_MAX_ROUTE];
    struct kvs_knobs knobs;
    const struct kvs_planner_ops *repairer; /* whose own repair of moved text it has; NULL: any's */
    struct kvs_repair_menu repair;
    const char *repair_method; /* NULL: no table says what it loses */
    struct kvs_cost *cost;
    struct kvs_levels *levels;
    struct kvs_tables *tables;
    struct kvs_tables_inst *inst;
    struct kvs_piece *piece;
    struct kvs_plan_problem problem;
};

KVS_MUST_CHECK enum kvs_code kvs_plan_case_open(const struct kvs_plan_options *options,
                                                struct kvs_plan_case **c, struct kvs_err *err);
void kvs_plan_case_free(struct kvs_plan_case *c); /* accepts NULL */

/* KV of so many tokens, and what tp GPUs have for it beside weights and activations, bytes. */
void kvs_case_room(const struct kvs_plan_case *c, const struct kvs_cost *cost, uint32_t tp,
                   double n_tok, double *need, double *has);

/*
 * What a second of the GPU's own time makes others wait. At a load rho a server of mean service s
 * and Poisson arrivals (M/M/1, shared) has L = rho / (1 - rho) requests in it; more work adds
 * dL/drho = 1 / (1 - rho)^2 seconds of anybody's time a second of work, of which 1 / (1 - rho) are
 * its own, which T has.
 */
static inline double kvs_load_price(double rho)
{
    return rho / ((1 - rho) * (1 - rho));
}

/* How many levels a plan with a quality table may choose from where --levels names none; 0: it has
 * no choice. */
static inline uint32_t kvs_plan_n_choice(const struct kvs_plan_case *c,
                                         const struct kvs_levels_config *config)
{
    return config->codec && c->quality && !c->options.levels.n ? config->codec->n_level : 0;
}

/* What the levels of a variant are chosen from; codec is NULL where there is nothing to choose. */
void kvs_variant_levels(const struct kvs_plan_case *c, const struct kvs_variant *v,
                        struct kvs_levels_config *config);
/* The case with knobs turned and a menu of n_frac fractions; ended by kvs_variant_end, also when it
 * fails. */
KVS_MUST_CHECK enum kvs_code kvs_variant_begin(const struct kvs_plan_case *c,
                                               const struct kvs_knobs *knobs, uint32_t n_frac,
                                               struct kvs_variant *v, struct kvs_err *err);
/* The same with the repair of moved text that a planner of its own way has. */
KVS_MUST_CHECK enum kvs_code kvs_variant_begin_of(const struct kvs_plan_case *c,
                                                  const struct kvs_knobs *knobs, uint32_t n_frac,
                                                  const struct kvs_planner_ops *planner,
                                                  struct kvs_variant *v, struct kvs_err *err);
void kvs_variant_end(struct kvs_variant *v);

/* plan_spans.c: the spans of --spans, or of --context, --new and --reuse; and the routes they
 * name. */
KVS_MUST_CHECK enum kvs_code kvs_plan_spans(struct kvs_plan_case *c, struct kvs_err *err);
/* The spans with their tokens turned, in blocks, as pieces of the variant. */
KVS_MUST_CHECK enum kvs_code kvs_variant_pieces(const struct kvs_plan_case *c,
                                                const struct kvs_knobs *knobs,
                                                struct kvs_variant *v, uint32_t *n_piece,
                                                struct kvs_err *err);

/* Bytes per second at which the routes bring raw KV of all the context, fixed costs included. */
double kvs_variant_load_rate(const struct kvs_variant *v);

#endif
