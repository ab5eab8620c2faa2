/* Codecs: whatever is read has levels that can be planned with, or is refused. */
#include "model/codec.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    struct kvs_doc *doc;
    struct kvs_codec *codec;
    struct kvs_err err = {0};

    if (kvs_doc_parse("fuzz.json", (const char *)data, n_byte, &doc, &err))
        return 0;
    if (kvs_codec_from(doc, &codec, &err)) {
        assert(err.msg[0]);
        return 0;
    }
    assert(codec->n_level >= 1 && strcmp(codec->level[0].name, KVS_CODEC_RAW) == 0);
    for (uint32_t i = 0; i < codec->n_level; i++) {
        const struct kvs_codec_level *level = &codec->level[i];

        assert(level->k_bits.value > 0 && level->v_bits.value <= KVS_CODEC_RAW_BITS);
        assert(kvs_codec_level(codec, level->name) == (int)i);
    }
    kvs_codec_free(codec);
    return 0;
}
