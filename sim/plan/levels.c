#include "levels.h"

#include "menu.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool can_decode(const struct kvs_codec_level *level)
{
    return level->decode_bytes_per_s.known || strcmp(level->name, KVS_CODEC_RAW) == 0;
}

static bool is_known(const struct kvs_quality *quality, const struct kvs_codec_level *level)
{
    return level->lossless || (quality && kvs_quality_knows(quality, level->name));
}

/* What the table says of a level; NULL: it is exact. */
static const struct kvs_quality_row *row_of(const struct kvs_levels_config *config, uint32_t level)
{
    const struct kvs_codec_level *of = &config->codec->level[level];

    return of->lossless ? NULL : kvs_quality_row(config->quality, of->name);
}

static double nats_at(const struct kvs_levels_config *config, uint32_t layer, bool value,
                      const struct kvs_quality_row *row, double exact_frac)
{
    return row ? kvs_quality_row_nats(config->quality, row, layer, value, exact_frac) : 0;
}

/* Seconds to decode a raw byte of K and V, half of each. */
static double decode_s(const struct kvs_levels_config *config, const struct kvs_menu_pair *pair)
{
    const struct kvs_figure *k = &config->codec->level[pair->k].decode_bytes_per_s;
    const struct kvs_figure *v = &config->codec->level[pair->v].decode_bytes_per_s;
    double s = (k->known ? .5 / k->value : 0) + (v->known ? .5 / v->value : 0);

    return s * KVS_CODEC_RAW_BITS / config->model->kv_bits / config->n_decoder;
}

static double decode_error(const struct kvs_levels_config *config, const struct kvs_menu_pair *pair)
{
    const struct kvs_figure *k = &config->codec->level[pair->k].decode_bytes_per_s;
    const struct kvs_figure *v = &config->codec->level[pair->v].decode_bytes_per_s;

    return fmax(k->known ? k->rel_error : 0, v->known ? v->rel_error : 0);
}

/* Seconds that a section of K and one of V cost besides. */
static double section_s(const struct kvs_levels_config *config, const struct kvs_menu_pair *pair)
{
    const struct kvs_figure *k = &config->codec->level[pair->k].section_s;
    const struct kvs_figure *v = &config->codec->level[pair->v].section_s;

    return ((k->known ? k->value : 0) + (v->known ? v->value : 0)) / config->n_decoder;
}

/* The same to encode one; 0 if no one measured it. */
static double encode_s(const struct kvs_levels_config *config, const struct kvs_menu_pair *pair)
{
    const struct kvs_figure *k = &config->codec->level[pair->k].encode_bytes_per_s;
    const struct kvs_figure *v = &config->codec->level[pair->v].encode_bytes_per_s;
    double s = (k->known ? .5 / k->value : 0) + (v->known ? .5 / v->value : 0);

    return s * KVS_CODEC_RAW_BITS / config->model->kv_bits / config->n_decoder;
}

/* Bits an element of a section takes, with its padding. */
static double stored_bits(const struct kvs_levels_config *config, uint32_t level, bool value)
{
    const struct kvs_codec_level *of = &config->codec->level[level];
    const struct kvs_model *model = config->model;
    double n_chan = kvs_model_kv_bytes_per_tok(model, 0) * 8 / model->kv_bits / 2;
    double n_tok = config->block_tok;

    if (config->block_tok == 0)
        return (value ? &of->v_bits : &of->k_bits)->value;
    return kvs_codec_section_bytes(of, value, n_tok, n_chan) * 8 / (n_tok * n_chan);
}

static double pair_bits(const struct kvs_levels_config *config, const struct kvs_menu_pair *pair)
{
    return (stored_bits(config, pair->k, false) + stored_bits(config, pair->v, true)) / 2;
}

static double time_of(const struct kvs_levels_config *config, const struct kvs_menu_pair *pair)
{
    double load = pair_bits(config, pair) / config->model->kv_bits * config->load_s_per_byte;

    return config->codec->decoder == KVS_DECODER_GPU ? load + decode_s(config, pair)
                                                     : fmax(load, decode_s(config, pair));
}

const char *kvs_levels_why_not(const struct kvs_levels_config *config, uint32_t q)
{
    const struct kvs_codec_level *level = &config->codec->level[q];

    return !can_decode(level)                  ? "no decoding rate"
           : !is_known(config->quality, level) ? "not in the quality table"
                                               : NULL;
}

static bool is_usable(const struct kvs_levels_config *config, uint32_t q)
{
    return !kvs_levels_why_not(config, q);
}

double kvs_levels_bits(const struct kvs_levels_config *config, uint32_t level, bool value)
{
    return is_usable(config, level) ? stored_bits(config, level, value) : 0;
}

static void name_pair(const struct kvs_codec *codec, uint32_t k, uint32_t v, char name[64])
{
    snprintf(name, 64, k == v ? "%.30s" : "%.30s/%.30s", codec->level[k].name,
             codec->level[v].name);
}

enum kvs_code kvs_levels_pairs(const struct kvs_levels_config *config, char (**name)[64],
                               uint32_t *n, struct kvs_err *err)
{
    *n = 0;
    *name = malloc(KVS_MENU_PAIRS * sizeof **name);
    if (!*name)
        return kvs_nomem(err);
    for (uint32_t k = 0; config->codec && k < config->codec->n_level; k++)
        for (uint32_t v = 0; v < config->codec->n_level; v++)
            if ((k > 0 || v > 0) && is_usable(config, k) && is_usable(config, v))
                name_pair(config->codec, k, v, (*name)[(*n)++]);
    return KVS_OK;
}

/* The pairs that can be planned with; of levels[2 * level + (V)][layer] what each loses. */
static uint32_t gather(const struct kvs_levels_config *config, const double *level,
                       struct kvs_menu_pair *pair, double *nats)
{
    const struct kvs_codec *codec = config->codec;
    uint32_t n = 0, n_layer = kvs_model_n_layer(config->model);

    for (uint32_t k = 0; k < codec->n_level; k++)
        for (uint32_t v = 0; v < codec->n_level; v++) {
            if ((k == 0 && v == 0) || !is_usable(config, k) || !is_usable(config, v))
                continue;
            pair[n] = (struct kvs_menu_pair){.k = k, .v = v};
            pair[n].time_s = time_of(config, &pair[n]);
            for (uint32_t l = 0; l < n_layer; l++) {
                double x =
                    level[2 * (size_t)k * n_layer + l] + level[(2 * (size_t)v + 1) * n_layer + l];

                nats[(size_t)n * n_layer + l] = x;
                pair[n].nats += x;
            }
            n++;
        }
    return n;
}

/* [2 * level + (V)][layer], nothing recomputed; of levels that are known. */
static void look_up(const struct kvs_levels_config *config, double *level)
{
    for (uint32_t q = 0; q < config->codec->n_level; q++) {
        bool known = is_known(config->quality, &config->codec->level[q]);
        const struct kvs_quality_row *row = known ? row_of(config, q) : NULL;

        for (uint32_t v = 0; v < 2; v++)
            for (uint32_t l = 0; l < kvs_model_n_layer(config->model); l++)
                *level++ = nats_at(config, l, v, row, 0);
    }
}

/* The pairs that trade time for quality best, slowest first, without raw16, which stands first
 * anyway. */
static enum kvs_code choose_pairs(const struct kvs_levels_config *config,
                                  struct kvs_menu_pair *pair, uint32_t n_most, uint32_t *n,
                                  struct kvs_err *err)
{
    size_t n_layer = kvs_model_n_layer(config->model);
    struct kvs_menu_pair raw = {.k = 0, .v = 0};
    struct kvs_menu_in in = {.n_layer = (uint32_t)n_layer, .budget_nats = config->budget_nats};
    double *level = malloc(2 * KVS_MAX_CODEC_LEVEL * n_layer * sizeof *level);
    double *nats = malloc(KVS_MENU_PAIRS * n_layer * sizeof *nats);
    enum kvs_code code = level && nats ? KVS_OK : kvs_nomem(err);

    if (level && nats) {
        look_up(config, level);
        in.raw_s = time_of(config, &raw);
        in.n_pair = gather(config, level, pair, nats);
        in.nats = nats;
        code = kvs_menu_choose(&in, n_most, pair, n, err);
    }
    free(level);
    free(nats);
    return code;
}

/* --- the menu -----------------------------------------------------------------------------------
 */

/* All layers, all loaded. */
static double nats_of(const struct kvs_levels_config *config, const struct kvs_menu_pair *pair)
{
    const struct kvs_quality_row *k = row_of(config, pair->k), *v = row_of(config, pair->v);
    double nats = 0;

    for (uint32_t l = 0; l < kvs_model_n_layer(config->model); l++)
        nats += nats_at(config, l, false, k, 0) + nats_at(config, l, true, v, 0);
    return nats;
}

static const char *told_as(const struct kvs_levels_config *config)
{
    return config->prefix ? config->prefix : "--levels: ";
}

static enum kvs_code find_level(const struct kvs_levels_config *config, const char *name, size_t n,
                                uint32_t *index, struct kvs_err *err)
{
    const char *names[KVS_MAX_CODEC_LEVEL];
    char text[64], known[400];

    snprintf(text, sizeof text, "%.*s", (int)(n < 63 ? n : 63), name);
    int found = kvs_codec_level(config->codec, text);
    if (found < 0) {
        for (uint32_t i = 0; i < config->codec->n_level; i++)
            names[i] = config->codec->level[i].name;
        return kvs_fail(err, KVS_ERR_ARG, "%scodec %s has no level \"%s\"%s", told_as(config),
                        config->codec->name, text,
                        kvs_known(known, sizeof known, text, names, config->codec->n_level));
    }
    const struct kvs_codec_level *level = &config->codec->level[found];
    if (!can_decode(level))
        return kvs_fail(err, KVS_ERR_ARG, "%sno one measured how fast codec %s decodes %s",
                        told_as(config), config->codec->name, text);
    if (!is_known(config->quality, level))
        return kvs_fail(err, KVS_ERR_ARG, "%sno quality table says what %s costs%s",
                        told_as(config), text, config->prefix ? "" : "; see --quality");
    *index = (uint32_t)found;
    return KVS_OK;
}

static enum kvs_code name_pairs(const struct kvs_levels_config *config, struct kvs_menu_pair *pair,
                                uint32_t *n, uint32_t n_most, struct kvs_err *err)
{
    for (unsigned i = 0; i < config->names->n; i++) {
        const char *name = config->names->v[i], *slash = strchr(name, '/');
        size_t n_k = slash ? (size_t)(slash - name) : strlen(name);
        struct kvs_menu_pair one = {0};
        if (strcmp(name, KVS_HIDDEN) == 0)
            continue;
        enum kvs_code code = find_level(config, name, n_k, &one.k, err);

        if (!code && slash)
            code = find_level(config, slash + 1, strlen(slash + 1), &one.v, err);
        else
            one.v = one.k;
        if (code)
            return code;
        if (one.k == 0 && one.v == 0)
            continue;
        for (uint32_t j = 0; j < *n; j++)
            if (pair[j].k == one.k && pair[j].v == one.v)
                return kvs_fail(err, KVS_ERR_ARG, "%sfound %s twice, want a level once",
                                told_as(config), name);
        if (*n == n_most)
            return kvs_fail(err, KVS_ERR_RANGE, "%smore than %u", told_as(config), n_most);
        one.time_s = time_of(config, &one);
        one.nats = nats_of(config, &one);
        pair[(*n)++] = one;
    }
    qsort(pair, *n, sizeof *pair, kvs_menu_by_time);
    return KVS_OK;
}

/* The entry of a pair: sizes, decoding, and what is lost in each layer. */
static void add_pair(const struct kvs_levels_config *config, const struct kvs_menu_pair *pair,
                     struct kvs_levels *levels)
{
    const struct kvs_quality_row *k = row_of(config, pair->k), *v = row_of(config, pair->v);
    uint32_t n_layer = kvs_model_n_layer(config->model), n = levels->n++;
    int64_t *cell = levels->distortion + (size_t)n * n_layer * config->n_frac;
    double s = decode_s(config, pair), encode = encode_s(config, pair);

    name_pair(config->codec, pair->k, pair->v, levels->name[n]);
    levels->bits[n] = pair_bits(config, pair);
    levels->level[n] = (struct kvs_table_level){
        .name = levels->name[n],
        .k_ratio = stored_bits(config, pair->k, false) / config->model->kv_bits,
        .v_ratio = stored_bits(config, pair->v, true) / config->model->kv_bits,
        .decode_bytes_per_s = s > 0 ? 1 / s : 0,
        .decode_unit_s = section_s(config, pair),
        .decode_error = decode_error(config, pair),
        .encode_bytes_per_s = encode > 0 ? 1 / encode : 0,
        .on_gpu = config->codec->decoder == KVS_DECODER_GPU,
        .distortion = k || v ? cell : NULL,
    };
    for (uint32_t l = 0; l < n_layer; l++)
        for (uint32_t j = 0; j < config->n_frac; j++) {
            double frac = j / (double)(config->n_frac - 1);

            *cell++ = llround(
                KVS_NAT * (nats_at(config, l, false, k, frac) + nats_at(config, l, true, v, frac)));
        }
}

static void add_raw(const struct kvs_levels_config *config, struct kvs_levels *levels)
{
    levels->bits[levels->n] = config->model->kv_bits;
    levels->level[levels->n++] =
        (struct kvs_table_level){.name = KVS_CODEC_RAW, .k_ratio = 1, .v_ratio = 1};
}

double kvs_state_bytes_per_tok(const struct kvs_model *model)
{
    return 2.0 * model->hidden;
}

/* Bytes of a hidden state relative to those of K and V. */
static double hidden_ratio(const struct kvs_model *model)
{
    return kvs_state_bytes_per_tok(model) / kvs_model_kv_bytes_per_tok(model, 0);
}

static void add_hidden(const struct kvs_levels_config *config, struct kvs_levels *levels)
{
    double ratio = hidden_ratio(config->model);
    uint32_t n = levels->n++;

    snprintf(levels->name[n], sizeof levels->name[n], "%s", KVS_HIDDEN);
    levels->bits[n] = ratio * config->model->kv_bits;
    levels->level[n] = (struct kvs_table_level){
        .name = levels->name[n], .k_ratio = ratio, .v_ratio = ratio, .projected = true};
}

static bool is_named(const struct kvs_levels_config *config, const char *name)
{
    bool named = false;

    for (unsigned i = 0; config->names && i < config->names->n; i++)
        named |= strcmp(config->names->v[i], name) == 0;
    return named;
}

static bool wants_hidden(const struct kvs_levels_config *config)
{
    return !config->model->mla.kv_lora &&
           (is_named(config, KVS_HIDDEN) || (config->hidden && hidden_ratio(config->model) < 1));
}

/* What a codec's file calls lossless is not asked for its loss. */
static enum kvs_code check_lossless(const struct kvs_levels_config *config, struct kvs_err *err)
{
    for (uint32_t q = 1; config->codec && config->quality && q < config->codec->n_level; q++) {
        const struct kvs_codec_level *level = &config->codec->level[q];
        if (level->lossless && kvs_quality_knows(config->quality, level->name))
            return kvs_fail(err, KVS_ERR_ARG,
                            "codec %s says that %s is lossless, but the quality table of %s has a "
                            "loss of it; want one of them mended",
                            config->codec->name, level->name, config->quality->model);
    }
    return KVS_OK;
}

static enum kvs_code fill(const struct kvs_levels_config *config, struct kvs_menu_pair *pair,
                          struct kvs_levels *levels, struct kvs_err *err)
{
    bool hidden = wants_hidden(config), named = config->names && config->names->n;
    bool raw = !named || !config->exactly || is_named(config, KVS_CODEC_RAW);
    uint32_t n = 0, n_most = KVS_MAX_LEVEL - (raw ? 1u : 0u) - (hidden ? 1u : 0u);
    enum kvs_code code = check_lossless(config, err);

    if (code)
        return code;
    if (raw)
        add_raw(config, levels);
    if (hidden && raw)
        add_hidden(config, levels);
    if (config->codec && named)
        code = name_pairs(config, pair, &n, n_most, err);
    else if (config->codec)
        code = choose_pairs(config, pair, n_most, &n, err);
    if (!code && !raw && n == 0)
        code = kvs_fail(err, KVS_ERR_ARG,
                        "%sfound only \"%s\", want a level of K and V beside it, as raw16",
                        told_as(config), config->names->v[0]);
    for (uint32_t i = 0; i < n && !code; i++)
        add_pair(config, &pair[i], levels);
    if (!code && hidden && !raw) /* never the first */
        add_hidden(config, levels);
    return code;
}

enum kvs_code kvs_levels_new(const struct kvs_levels_config *config, struct kvs_levels **out,
                             struct kvs_err *err)
{
    size_t n_cell = (size_t)KVS_MAX_LEVEL * kvs_model_n_layer(config->model) * config->n_frac;
    struct kvs_levels *levels = calloc(1, sizeof *levels);
    struct kvs_menu_pair *pair = calloc(KVS_MENU_PAIRS, sizeof *pair);

    assert(config->n_decoder > 0 && config->n_frac >= 2);
    *out = NULL;
    if (levels)
        levels->distortion = calloc(n_cell, sizeof *levels->distortion);
    enum kvs_code code =
        levels && levels->distortion && pair ? fill(config, pair, levels, err) : kvs_nomem(err);
    free(pair);
    if (code) {
        kvs_levels_free(levels);
        return code;
    }
    *out = levels;
    return KVS_OK;
}

void kvs_levels_free(struct kvs_levels *levels)
{
    if (!levels)
        return;
    free(levels->distortion);
    free(levels);
}
