/*
 * plan_held.c - `kvsim plan`: what the tier has to hold for a plan, and for the freedom to choose
 * it.
 *
 * K and V are stored apart: a tier that holds the pairs p8/p4 and p8/p2 holds p8 of K once. Nobody
 * knows at write-back what a later prompt will load, so what plans may choose from is held of every
 * token in every layer.
 */
#include "plan_answer.h"

#include <stdio.h>

#define MOST KVS_MAX_CODEC_LEVEL

static bool add(char names[MOST][32], uint32_t *n, const char *name, size_t n_name)
{
    char text[32];

    snprintf(text, sizeof text, "%.*s", (int)(n_name < 31 ? n_name : 31), name);
    for (uint32_t i = 0; i < *n; i++)
        if (strcmp(names[i], text) == 0)
            return false;
    if (*n == MOST)
        return false;
    memcpy(names[(*n)++], text, sizeof text);
    return true;
}

/* Adds the K and V of an entry of the menu; of raw KV, half is of each. What is new of it, relative
 * to raw KV, is returned. */
static double add_level(const struct kvs_table_level *level, char names[2][MOST][32], uint32_t n[2])
{
    const char *slash = strchr(level->name, '/'), *value = slash ? slash + 1 : level->name;
    size_t n_key = slash ? (size_t)(slash - level->name) : strlen(level->name);
    bool key_is_new = add(names[0], &n[0], level->name, n_key);
    bool value_is_new = add(names[1], &n[1], value, strlen(value));

    return (key_is_new ? level->k_ratio / 2 : 0) + (value_is_new ? level->v_ratio / 2 : 0);
}

/* All levels of the codec that plans may use. */
static double add_codec(const struct kvs_plan_case *c, const struct kvs_levels_config *config,
                        struct kvs_plan_held *held)
{
    double ratio = 0;

    for (uint32_t q = 0; q < config->codec->n_level; q++)
        for (int value = 0; value < 2; value++) {
            double bits = kvs_levels_bits(config, q, value);
            const char *name = config->codec->level[q].name;

            if (bits > 0 && add(held->free[value], &held->n_free[value], name, strlen(name)))
                ratio += bits / c->model->kv_bits / 2;
        }
    return ratio;
}

void kvs_plan_hold(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                   struct kvs_plan_held *held)
{
    const struct kvs_variant *v = &answer->v;
    struct kvs_levels_config config;
    double free = 0;

    memset(held, 0, sizeof *held);
    kvs_variant_levels(c, v, &config);
    if (config.codec && !c->options.levels.n)
        free = add_codec(c, &config, held);
    for (uint32_t q = 0; q < v->levels->n; q++) /* those named; hidden states, too */
        free += add_level(&v->levels->level[q], held->free, held->n_free);
    for (uint32_t l = 0; l < v->problem.n_layer; l++) {
        const struct kvs_table_level *level = &v->levels->level[answer->best.plan.level[l]];
        double raw = kvs_model_kv_bytes_per_tok(c->model, l);

        held->raw_bytes += raw;
        held->free_bytes += raw * free;
        if (answer->best.plan.frac_i[l] + 1u == v->problem.n_frac)
            continue;
        held->loaded_bytes += raw * (level->k_ratio + level->v_ratio) / 2;
        (void)add_level(level, held->loaded, held->n_loaded);
    }
}
