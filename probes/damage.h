/*
 * damage.h - scores of levels, gathered over texts: what becomes a file of configs/quality. Pure.
 *
 * Each level is scored with all parts changed at once (joint); at some levels also each part alone.
 * A text need not score all parts: a part's share is the sum of its KL over that of the joint KL of
 * the texts that scored it, and its figure the share times the mean joint KL of all texts.
 *
 * However little a part changes, roundings of the window's own K and V in the layers above fall
 * otherwise, and that alone has a KL: some 1e-5 nats of a part low in SmolLM2-135M, which sixty
 * parts have sixty times and all of them at once only once. It is what a part has at the finest
 * level, where it has next to nothing of its own, and is taken off at the others.
 * Levels without scores of single parts take shares between those of the levels next to them in
 * joint KL that have them, and say so.
 *
 * Beside levels: what text loses that was computed behind other text, by the share repaired.
 */
#ifndef KVS_PROBES_DAMAGE_H
#define KVS_PROBES_DAMAGE_H

#include "quality.h"

#include <jansson.h>

struct kvs_damage_level {
    enum kvs_level level;
    uint32_t n_joint;
    double kl, kl2, agreement, first_tok, bits; /* sums over n_joint texts */
    double *part_kl, *of_kl; /* [n_part] sums over the texts that scored the part: its KL, theirs */
    uint32_t *n_text;        /* [n_part] those texts */
};

/* Passages that moved, a share of each computed again. */
struct kvs_damage_repair {
    double share;   /* of the passage */
    uint32_t n;     /* texts */
    double kl, kl2; /* sums over them, of texts that are all moved */
};

#define KVS_DAMAGE_REPAIR 8

struct kvs_damage {
    uint32_t n_part, n_level, n_repair;
    struct kvs_damage_level *level; /* finest first */
    struct kvs_damage_repair repair[KVS_DAMAGE_REPAIR];
};

/* repair: [n_repair] shares, ascending from 0, at most KVS_DAMAGE_REPAIR. */
KVS_MUST_CHECK enum kvs_code kvs_damage_new(uint32_t n_part, const enum kvs_level *level,
                                            uint32_t n_level, const double *repair,
                                            uint32_t n_repair, struct kvs_damage **damage,
                                            struct kvs_err *err);
void kvs_damage_free(struct kvs_damage *damage); /* accepts NULL */
void kvs_damage_joint(struct kvs_damage *damage, uint32_t level_i,
                      const struct kvs_quality_score *score, double bits);
/* joint: of the same text and level. */
void kvs_damage_part(struct kvs_damage *damage, uint32_t level_i, uint32_t part,
                     const struct kvs_quality_score *score, const struct kvs_quality_score *joint);
/* moved_frac: of the cached tokens, those that moved; a text of moved ones alone would lose more.
 */
void kvs_damage_repair(struct kvs_damage *damage, uint32_t repair_i, double moved_frac,
                       const struct kvs_quality_score *score);
/* What is gathered so far, and back into a damage of the same parts and levels that has gathered
 * nothing; false: it is of others. NULL: memory ends. */
json_t *kvs_damage_state(const struct kvs_damage *damage);
bool kvs_damage_restore(struct kvs_damage *damage, const json_t *state);
/* The file. how: which texts. NULL: memory ends (*why NULL), or no level has all its parts. */
json_t *kvs_damage_json(const struct kvs_damage *damage, const char *model, const char *how,
                        const char **why);

#endif
