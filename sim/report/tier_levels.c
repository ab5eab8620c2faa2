#include "tier_levels.h"

#include <string.h>

/* A failure of another room, told with the place in the workload file. */
static enum kvs_code fail_at(struct kvs_json node, struct kvs_err *err, enum kvs_code code,
                             const struct kvs_err *inner)
{
    return kvs_json_fail(node, err, code, "%s", inner->msg);
}

/* Asks for each level by itself first, so that an error names its tier. */
static enum kvs_code check_names(const struct kvs_tier_levels_config *config,
                                 struct kvs_levels_config *menu, struct kvs_strs *names,
                                 struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    for (uint32_t t = 0; t < config->n_tier && !code; t++) {
        struct kvs_levels *alone = NULL;
        struct kvs_err inner = {0};
        names->v[0] = config->name[t];
        names->n = 1;
        if ((code = kvs_levels_new(menu, &alone, &inner)))
            code = fail_at(config->node[t], err, code, &inner);
        kvs_levels_free(alone);
    }
    names->n = 0;
    for (uint32_t t = 0; t < config->n_tier && !code; t++) {
        uint32_t i = 0;
        while (i < names->n && strcmp(names->v[i], config->name[t]) != 0)
            i++;
        if (i == names->n)
            names->v[names->n++] = config->name[t];
    }
    return code;
}

/* "p4/p4" is called "p4". */
static bool is_called(const char *name, const char *called)
{
    const size_t n = strlen(called);
    return strcmp(name, called) == 0 ||
           (strncmp(name, called, n) == 0 && name[n] == '/' && strcmp(name + n + 1, called) == 0);
}

static enum kvs_code make(const struct kvs_tier_levels_config *config,
                          const struct kvs_codec *codec, const struct kvs_quality *quality,
                          struct kvs_levels **levels, uint32_t *level, struct kvs_err *err)
{
    struct kvs_strs names = {0};
    struct kvs_levels_config menu = {
        .model = config->model,
        .codec = codec,
        .quality = quality,
        .n_decoder = codec && codec->decoder == KVS_DECODER_GPU ? config->n_gpu : config->n_thread,
        .n_frac = config->n_frac,
        .block_tok = KVS_CODEC_BLOCK_TOK,
        .load_s_per_byte = 1e-9, /* it only orders them */
        .prefix = "",
        .names = &names,
    };
    enum kvs_code code = check_names(config, &menu, &names, err);
    if (code || (code = kvs_levels_new(&menu, levels, err)))
        return code;
    for (uint32_t t = 0; t < config->n_tier; t++)
        for (uint32_t q = 1; q < (*levels)->n; q++)
            if (is_called(config->name[t], (*levels)->name[q]))
                level[t] = q;
    return KVS_OK;
}

enum kvs_code kvs_tier_levels_new(const struct kvs_tier_levels_config *config,
                                  struct kvs_levels **levels, uint32_t *level, struct kvs_err *err)
{
    struct kvs_codec *codec = NULL;
    struct kvs_quality *quality = NULL;
    struct kvs_err inner = {0};
    enum kvs_code code;
    bool raw = true, coded = false;
    *levels = NULL;
    for (uint32_t t = 0; t < config->n_tier; t++) {
        level[t] = 0;
        const bool is_raw = strcmp(config->name[t], KVS_CODEC_RAW) == 0;
        raw = raw && is_raw;
        coded = coded || (!is_raw && strcmp(config->name[t], KVS_HIDDEN) != 0);
    }
    if (raw)
        return KVS_OK;
    if (!coded) /* hidden states need no codec and lose nothing */
        return make(config, NULL, NULL, levels, level, err);
    if ((code = kvs_codec_open(config->codec, &codec, &inner)))
        code = fail_at(config->codec_node, err, code, &inner);
    else if ((code = kvs_quality_open(config->quality, kvs_model_n_layer(config->model), &quality,
                                      &inner)))
        code = fail_at(config->quality_node, err, code, &inner);
    else
        code = make(config, codec, quality, levels, level, err);
    kvs_quality_free(quality);
    kvs_codec_free(codec);
    return code;
}
