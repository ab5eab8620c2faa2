#include "codec.h"

#include "base/data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N(table) ((unsigned)(sizeof(table) / sizeof *(table)))

static const char *const decoder_names[] = {"host", "gpu", NULL};

struct level_file {
    const char *name;
    bool lossless;
    struct kvs_json k_bits, v_bits, encode, decode, channel, section;
};

#define AT(field) offsetof(struct level_file, field)
static const struct kvs_opt level_table[] = {
    {"name", KVS_OPT_STR, AT(name), NULL, 0, 0, "name of the level", NULL, true, 0},
    {"lossless", KVS_OPT_FLAG, AT(lossless), "false", 0, 0, "decodes to the same bits", NULL, false,
     0},
    {"k_bits", KVS_OPT_NODE, AT(k_bits), NULL, 0, 0, "bits an element of K", NULL, false, 0},
    {"v_bits", KVS_OPT_NODE, AT(v_bits), NULL, 0, 0, "bits an element of V", NULL, false, 0},
    {"encode_bytes_per_s", KVS_OPT_NODE, AT(encode), NULL, 0, 0, "raw bytes encoded", NULL, false,
     0},
    {"decode_bytes_per_s", KVS_OPT_NODE, AT(decode), NULL, 0, 0, "raw bytes decoded", NULL, false,
     0},
    {"channel_bytes", KVS_OPT_NODE, AT(channel), NULL, 0, 0, "of the bits, once a channel", NULL,
     false, 0},
    {"section_s", KVS_OPT_NODE, AT(section), NULL, 0, 0, "a section decoded, besides its bytes",
     NULL, false, 0},
};
#undef AT

static const struct kvs_figure_row level_rows[] = {
    {"k_bits", offsetof(struct kvs_codec_level, k_bits), 0.01, KVS_CODEC_RAW_BITS, true},
    {"v_bits", offsetof(struct kvs_codec_level, v_bits), 0.01, KVS_CODEC_RAW_BITS, true},
    {"encode_bytes_per_s", offsetof(struct kvs_codec_level, encode_bytes_per_s), 1, 1e15, true},
    {"decode_bytes_per_s", offsetof(struct kvs_codec_level, decode_bytes_per_s), 1, 1e15, true},
    {"channel_bytes", offsetof(struct kvs_codec_level, channel_bytes), 0, 64, false},
    {"section_s", offsetof(struct kvs_codec_level, section_s), 0, 1, false},
};

static enum kvs_code read_level(struct kvs_json node, struct kvs_codec *codec, struct kvs_err *err)
{
    struct level_file f;
    struct kvs_codec_level *level = &codec->level[codec->n_level];
    enum kvs_code code;

    if ((code = kvs_json_object(node, err)) ||
        (code = kvs_opt_json(level_table, N(level_table), node, &f, err)) ||
        (code = kvs_figures_json(node, level_rows, N(level_rows), level, err)))
        return code;
    if (kvs_codec_level(codec, f.name) >= 0)
        return kvs_json_fail(kvs_json_get(node, "name"), err, KVS_ERR_PARSE,
                             strcmp(f.name, KVS_CODEC_RAW) == 0
                                 ? "\"%s\" is in every codec; leave it out"
                                 : "\"%s\" is the name of an earlier level",
                             f.name);
    if (strpbrk(f.name, "/, "))
        return kvs_json_fail(kvs_json_get(node, "name"), err, KVS_ERR_PARSE,
                             "found \"%s\", want a name without '/', ',' and spaces", f.name);
    if (!level->k_bits.known || !level->v_bits.known)
        return kvs_json_fail(kvs_json_get(node, level->k_bits.known ? "v_bits" : "k_bits"), err,
                             KVS_ERR_PARSE, "not known; a level needs its bits an element");
    level->name = f.name;
    level->lossless = f.lossless;
    codec->n_level++;
    return KVS_OK;
}

static enum kvs_code read_levels(struct kvs_json array, struct kvs_codec *codec,
                                 struct kvs_err *err)
{
    const struct kvs_figure raw_bits = {
        .value = KVS_CODEC_RAW_BITS, .source = KVS_PUBLISHED, .known = true, .ref = "16-bit KV"};
    const struct kvs_figure none = {.ref = ""};
    enum kvs_code code = kvs_json_array(array, err);
    size_t n = code ? 0 : kvs_json_size(array);

    if (n >= KVS_MAX_CODEC_LEVEL)
        return kvs_json_fail(array, err, KVS_ERR_RANGE, "found %zu levels, want at most %d", n,
                             KVS_MAX_CODEC_LEVEL - 1);
    codec->level[0] =
        (struct kvs_codec_level){KVS_CODEC_RAW, true, raw_bits, raw_bits, none, none, none, none};
    codec->n_level = 1;
    for (size_t i = 0; i < n && !code; i++)
        code = read_level(kvs_json_at(array, i), codec, err);
    return code;
}

struct file {
    const char *name, *about;
    int decoder;
    struct kvs_json levels;
};

static const struct kvs_opt file_table[] = {
    {"name", KVS_OPT_STR, offsetof(struct file, name), NULL, 0, 0, "name", NULL, true, 0},
    {"about", KVS_OPT_STR, offsetof(struct file, about), NULL, 0, 0, "what was measured, and where",
     NULL, false, 0},
    {"decoder", KVS_OPT_ENUM, offsetof(struct file, decoder), NULL, 0, 0,
     "who decodes: a thread of the host, or the GPU", decoder_names, true, 0},
    {"levels", KVS_OPT_NODE, offsetof(struct file, levels), NULL, 0, 0, "finest first", NULL, true,
     0},
};

enum kvs_code kvs_codec_from(struct kvs_doc *doc, struct kvs_codec **codec, struct kvs_err *err)
{
    struct file f;
    struct kvs_codec *c = calloc(1, sizeof *c);

    *codec = NULL;
    if (!c) {
        kvs_doc_free(doc);
        return kvs_nomem(err);
    }
    c->doc = doc;
    enum kvs_code code = kvs_opt_json(file_table, N(file_table), kvs_doc_root(doc), &f, err);
    if (!code)
        code = read_levels(f.levels, c, err);
    if (code) {
        kvs_codec_free(c);
        return code;
    }
    c->name = f.name;
    c->about = f.about ? f.about : "";
    c->decoder = (enum kvs_decoder)f.decoder;
    *codec = c;
    return KVS_OK;
}

enum kvs_code kvs_codec_open(const char *name_or_file, struct kvs_codec **codec,
                             struct kvs_err *err)
{
    char *path = NULL;
    struct kvs_doc *doc = NULL;

    *codec = NULL;
    enum kvs_code code = kvs_data_find("codec", "configs/codec", name_or_file, &path, err);
    if (!code)
        code = kvs_doc_open(path, &doc, err);
    if (!code)
        code = kvs_codec_from(doc, codec, err);
    free(path);
    return code;
}

void kvs_codec_free(struct kvs_codec *codec)
{
    if (!codec)
        return;
    kvs_doc_free(codec->doc);
    free(codec);
}

int kvs_codec_level(const struct kvs_codec *codec, const char *name)
{
    for (uint32_t i = 0; i < codec->n_level; i++)
        if (strcmp(codec->level[i].name, name) == 0)
            return (int)i;
    return -1;
}

double kvs_codec_section_bytes(const struct kvs_codec_level *level, bool value, double n_tok,
                               double n_chan)
{
    const struct kvs_figure *bits = value ? &level->v_bits : &level->k_bits;
    double bytes = n_tok * n_chan * bits->value / 8;

    if (level->channel_bytes.known)
        bytes += n_chan * level->channel_bytes.value * (1 - n_tok / KVS_CODEC_BLOCK_TOK);
    return ceil(fmax(bytes, 1) / KVS_CODEC_PAGE) * KVS_CODEC_PAGE;
}
