/*
 * tier_levels.h - the levels that a workload's tiers store blocks at, from a codec and what they
 * cost in quality.
 */
#ifndef KVS_TIER_LEVELS_H
#define KVS_TIER_LEVELS_H

#include "base/json.h"
#include "engine/sim.h"
#include "plan/levels.h"

struct kvs_tier_levels_config {
    const struct kvs_model *model;
    const char *codec, *quality; /* names of configs, or files */
    struct kvs_json codec_node, quality_node;
    uint32_t n_gpu, n_thread; /* that decode and encode at once, as the codec says which */
    uint32_t n_frac;
    uint32_t n_tier;
    const char *name[KVS_MAX_TIER]; /* "raw16", "p4", "p8/p4" */
    struct kvs_json node[KVS_MAX_TIER];
};

/*
 * Sets level[t], an index of (*levels)->level, for each tier; *levels is NULL where all are raw.
 * Errors name the setting's place in the workload.
 */
KVS_MUST_CHECK enum kvs_code kvs_tier_levels_new(const struct kvs_tier_levels_config *config,
                                                 struct kvs_levels **levels, uint32_t *level,
                                                 struct kvs_err *err);

#endif
