/*
 * damage.h - scores of levels, gathered over texts: what becomes a file of configs/quality. Pure.
 *
 * Each level is scored with all parts changed at once (joint); at some levels also each part alone.
 * A text need not score all parts: a part's figure is the mean of its shares of
 * the joint KL (quality.h) of the texts that scored it, times the mean joint KL of all texts.
 * Levels without scores of single parts take the shares of the level nearest in joint KL that has
 * them, and say so.
 */
#ifndef KVS_PROBES_DAMAGE_H
#define KVS_PROBES_DAMAGE_H

#include "quality.h"

#include <jansson.h>

struct kvs_damage_level {
    enum kvs_level level;
    uint32_t n_joint;
    double kl, kl2, agreement, first_tok, bits; /* sums over n_joint texts */
    double *share;     /* [n_part] sums over the texts that scored the part */
    uint32_t *n_share; /* [n_part] those texts */
};

struct kvs_damage {
    uint32_t n_part, n_level;
    struct kvs_damage_level *level; /* finest first */
};

KVS_MUST_CHECK enum kvs_code kvs_damage_new(uint32_t n_part, const enum kvs_level *level,
                                            uint32_t n_level, struct kvs_damage **damage,
                                            struct kvs_err *err);
void kvs_damage_free(struct kvs_damage *damage); /* accepts NULL */
void kvs_damage_joint(struct kvs_damage *damage, uint32_t level_i,
                      const struct kvs_quality_score *score, double bits);
void kvs_damage_part(struct kvs_damage *damage, uint32_t level_i, uint32_t part,
                     const struct kvs_quality_score *score);
/* The file. how: which texts. NULL: memory ends (*why NULL), or no level has all its parts. */
json_t *kvs_damage_json(const struct kvs_damage *damage, const char *model, const char *how,
                        const char **why);

#endif
