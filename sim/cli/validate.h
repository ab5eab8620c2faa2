/*
 * validate.h - `kvsim validate`: plans that run on a device, each beside what the tables predict.
 *
 * A case is a prompt behind a path: context, new tokens, level, rate. A cell is a case run by one
 * policy; it is a JSON object from the moment it was measured on (configs/schema/
 * validate.schema.json), so that a journal, the report and the figures all read the same.
 */
#ifndef KVS_VALIDATE_H
#define KVS_VALIDATE_H

#include "base/opt.h"
#include "kernels/exec/exec.h"
#include "model/cost.h"
#include "plan/levels.h"

#define KVS_VAL_REPAIR 8 /* shares of repair, at most */
#define KVS_VAL_GREEDY 8 /* tokens continued greedily behind each plan */

struct kvs_val_options {
    bool matrix, quick, json, overwrite;
    int reuse; /* of the matrix: KVS_VAL_PREFIX, _CONTENT, or both */
    const char *weights, *model, *hw, *codec, *quality, *device, *tokens, *store, *journal, *out;
    struct kvs_strs levels;
    uint64_t seed, block_tok, repeats, window_bytes;
    double seconds, bandwidth, latency_s;
};

/* How a prompt's blocks are held: as its prefix, or each computed by itself at position 0 and then
 * text that moved, but for the first. */
enum kvs_val_reuse { KVS_VAL_PREFIX, KVS_VAL_CONTENT, KVS_VAL_N_HELD };
#define KVS_VAL_ABSENT KVS_VAL_N_HELD /* of a block: not held, a hole in the prompt */

struct kvs_val_case {
    uint32_t context_tok, new_tok; /* up to the last span, which is new; holes are context */
    enum kvs_val_reuse reuse;      /* KVS_VAL_CONTENT where any block is */
    /* [context_tok / block_tok] a kvs_val_reuse or KVS_VAL_ABSENT each; NULL: all are of reuse */
    const uint8_t *block;
    const char *level;  /* all layers' level; NULL: the problem's menu is all that are stored */
    double budget_nats; /* of the plan's loss; 0: any */
    double rate;        /* of the path, as a multiple of b*; 0: bytes_per_s was given */
    double bytes_per_s; /* 0: as fast as the store goes */
    double latency_s;
};

/* Blocks in the store, at each level. */
struct kvs_val_held {
    struct kvs_stored **stored;  /* [block * n_level + level] */
    double ratio[KVS_MAX_LEVEL]; /* bytes as read over raw 16-bit bytes, all blocks */
    double *tok; /* [block * n_level + level] a block's bytes in tokens of that ratio */
};

/* The device, the model, the profile, and blocks of one prompt stored at each level. */
struct kvs_val_lab {
    struct kvs_val_options options;
    struct kvs_model *model;
    struct kvs_hw *hw;
    struct kvs_codec *codec;
    struct kvs_quality *quality; /* NULL: no losses are predicted */
    struct kvs_cost *cost;
    struct kvs_weights *weights;
    struct kvs_dev *dev;
    struct kvs_stream *canary;
    struct kvs_buf *canary_buf[3];
    struct kvs_forward *forward;
    struct kvs_store *store;
    struct kvs_plan_scratch *scratch;
    char made_store[256]; /* a folder of our own, to be removed; "" if none */
    uint32_t max_context_tok, max_new_tok, n_block;
    uint32_t *tok;
    uint32_t n_level;
    const char *level[KVS_MAX_LEVEL];
    struct kvs_val_held held[KVS_VAL_N_HELD];
    float *logits, *full;         /* [n_vocab] of a run, of full recompute */
    float *new_logits, *new_full; /* [max_new_tok][n_vocab] likewise, of all new tokens */
    uint32_t full_greedy[KVS_VAL_GREEDY];
    uint32_t full_context_tok, full_new_tok; /* whose they are; 0: nobody's */
    int64_t best_canary_ns;
};

KVS_MUST_CHECK enum kvs_code kvs_val_lab_open(const struct kvs_val_options *options,
                                              uint32_t max_context_tok, uint32_t max_new_tok,
                                              struct kvs_val_lab **lab, struct kvs_err *err);
void kvs_val_lab_close(struct kvs_val_lab *lab); /* accepts NULL */
/* Of the lab's opening and closing: its store, and the prompt's blocks in it. */
KVS_MUST_CHECK enum kvs_code kvs_val_store_open(struct kvs_val_lab *lab, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_val_store_fill(struct kvs_val_lab *lab, struct kvs_err *err);
void kvs_val_store_close(struct kvs_val_lab *lab);
/* Index of a level that is stored; -1: none. */
int kvs_val_level(const struct kvs_val_lab *lab, const char *name);

/* --- prediction --------------------------------------------------------------------------------
 */

/* A case's problem; ended by kvs_val_predict_end, also when it failed. */
struct kvs_val_problem {
    struct kvs_hw_link path, disk; /* a token bucket, and behind it the profile's own disk */
    struct kvs_table_route route;
    uint32_t n_level;
    struct kvs_levels *levels[KVS_MAX_LEVEL]; /* what the entries borrow from */
    struct kvs_table_level level[KVS_MAX_LEVEL];
    uint32_t level_i[KVS_MAX_LEVEL]; /* which stored level an entry is */
    const struct kvs_val_held *held;
    double repair_frac[KVS_VAL_REPAIR]; /* shares of moved blocks to choose from */
    int64_t repair_distortion[KVS_VAL_REPAIR];
    uint32_t n_repair;
    struct kvs_tables *tables;
    struct kvs_tables_inst *inst;
    struct kvs_piece *piece;
    double *stored_tok; /* [block * n_level] of the entries */
    uint32_t n_block;   /* of the context, holes among them */
    struct kvs_plan_problem problem;
};
/* What the evaluation says of a plan, layer by layer: ends on the link, in the decoder, of the
 * waiting work and of that which waits for nothing; work of each stage. */
struct kvs_val_predicted {
    struct kvs_plan plan;
    struct kvs_plan_eval eval;
    int64_t io_end_ns[KVS_MAX_LAYER], decode_end_ns[KVS_MAX_LAYER], post_end_ns[KVS_MAX_LAYER];
    int64_t io_ns[KVS_MAX_LAYER], decode_ns[KVS_MAX_LAYER], post_ns[KVS_MAX_LAYER];
    int64_t pre_ns[KVS_MAX_LAYER], pre_end_ns[KVS_MAX_LAYER];
    int64_t io_work_ns, decode_work_ns, compute_work_ns, head_ns;
};

/* names: levels to choose from, first the one that load-all uses; all are stored. */
KVS_MUST_CHECK enum kvs_code kvs_val_problem_begin(const struct kvs_val_lab *lab,
                                                   const struct kvs_val_case *c,
                                                   struct kvs_val_problem *p, struct kvs_err *err);
void kvs_val_problem_end(struct kvs_val_problem *p);
/* policy: "half" (the first half of the blocks recomputed in all layers), or a planner's name. */
KVS_MUST_CHECK enum kvs_code kvs_val_plan(const struct kvs_val_lab *lab,
                                          const struct kvs_val_problem *p, const char *policy,
                                          struct kvs_val_predicted *predicted, struct kvs_err *err);
/* How a block of the context is held; KVS_VAL_ABSENT: it is not. */
static inline unsigned kvs_val_held_as(const struct kvs_val_case *c, uint32_t block_i)
{
    return c->block ? c->block[block_i] : (unsigned)c->reuse;
}
/* Tokens of each moved block that a step of the menu repairs. */
uint32_t kvs_val_repair_tok(const struct kvs_val_lab *lab, const struct kvs_val_problem *p,
                            uint32_t frac_i);
/* Fills all but plan. false: the plan is no staircase. */
bool kvs_val_evaluate(const struct kvs_val_problem *p, struct kvs_val_predicted *predicted);
/* b*: stored bytes a second that keep up with computing: prefill rate of that many tokens, as the
 * profile has it measured, times the level's stored bytes a token. */
double kvs_val_even_rate(const struct kvs_val_lab *lab, enum kvs_val_reuse reuse, uint32_t n_tok,
                         uint32_t level);

/* --- the plan of a file ------------------------------------------------------------------------
 */

struct kvs_val_file {
    struct kvs_doc *doc; /* what the strings are borrowed from */
    const char *model;
    uint32_t context_tok, new_tok, n_layer; /* as a case's */
    enum kvs_val_reuse reuse;
    uint8_t *block;                     /* as a case's; the caller's to free */
    uint32_t cut[KVS_MAX_LAYER];        /* blocks computed again */
    uint32_t repair_tok[KVS_MAX_LAYER]; /* of all moved blocks, repaired */
    const char *level[KVS_MAX_LAYER];
};
/* doc and block are the caller's to free, also when it failed. */
KVS_MUST_CHECK enum kvs_code kvs_val_plan_open(const char *path,
                                               const struct kvs_val_options *options,
                                               struct kvs_val_file *file, struct kvs_err *err);
/* The levels that it loads. */
KVS_MUST_CHECK enum kvs_code kvs_val_plan_levels(const struct kvs_val_file *file,
                                                 struct kvs_strs *levels, struct kvs_err *err);
/* As a plan of the problem, evaluated. */
KVS_MUST_CHECK enum kvs_code kvs_val_plan_take(const struct kvs_val_lab *lab,
                                               const struct kvs_val_file *file,
                                               const struct kvs_val_problem *p,
                                               struct kvs_val_predicted *predicted,
                                               struct kvs_err *err);

/* --- running -----------------------------------------------------------------------------------
 */

/* What a run's cache does to next tokens, beside full recompute's. */
struct kvs_val_loss {
    double nats;      /* KL of the run's own logits, of the first token after the prompt */
    double mean_nats; /* KL behind each new token, mean */
    double agreement; /* share of those whose most likely next token is the same */
    uint32_t n_same;  /* tokens continued greedily until the first that differs */
};
/* Computes what the case's runs are compared with, if it is not the last one's. */
KVS_MUST_CHECK enum kvs_code kvs_val_reference(struct kvs_val_lab *lab,
                                               const struct kvs_val_case *c, struct kvs_err *err);
/* After a run, whose logits are lab's and whose cache is forward's. */
KVS_MUST_CHECK enum kvs_code kvs_val_loss(struct kvs_val_lab *lab, const struct kvs_val_case *c,
                                          struct kvs_val_loss *loss, struct kvs_err *err);

/* How quiet the machine was while something ran. */
struct kvs_val_noise {
    int64_t canary_ns;    /* the slower of before and after */
    double waited_frac;   /* of the run's time, that this process's threads waited for processors */
    double stolen_frac;   /* likewise, that the host of a virtual machine took */
    double pressure_frac; /* of the time in which some task waited for a processor */
};
/* Runs a predicted plan until two quiet runs agree, there are `repeats` quiet ones, or a run more
 * than twice as many were made; the cell, a new reference. Nothing of the prediction is looked at
 * before it was decided what is noisy. */
KVS_MUST_CHECK enum kvs_code kvs_val_cell(struct kvs_val_lab *lab, const struct kvs_val_case *c,
                                          const struct kvs_val_problem *p, const char *policy,
                                          const struct kvs_val_predicted *predicted, json_t **cell,
                                          struct kvs_err *err);
/* "c512-n64-e4-r0.5" and, with a policy, "/load" behind it. */
void kvs_val_id(const struct kvs_val_case *c, const char *policy, char *id, size_t room);

/* --- telling -----------------------------------------------------------------------------------
 */

/* Shares, errors and scores over cells; a new reference, NULL without memory. */
json_t *kvs_val_summary(const json_t *cells);
void kvs_val_show(const json_t *cells, const json_t *summary);
/* A folder: validate.json, validate.csv, validate_scatter, and of one cell (the first whose plan
 * is the planner's) validate_gantt and timeline.json. */
KVS_MUST_CHECK enum kvs_code kvs_val_write(const struct kvs_val_options *options,
                                           const json_t *report, struct kvs_err *err);

#endif
