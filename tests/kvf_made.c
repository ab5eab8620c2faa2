#include "kvf_made.h"

#include "test.h"

#include "kernels/codec/made.h"

#include <stdlib.h>
#include <string.h>

struct made kvf_make(uint32_t n_layer, uint32_t heads, uint32_t dim, uint32_t n_tok,
                     uint32_t block_tok, uint32_t n_sink, enum kvs_half half)
{
    struct made made = {.shape = {.n_layer = n_layer,
                                  .n_kv_head = heads,
                                  .head_dim = dim,
                                  .n_tok = n_tok,
                                  .block_tok = block_tok,
                                  .n_sink = n_sink,
                                  .half = half,
                                  .model_hash = {1, 2},
                                  .prefix_hash = {3, 4}}};
    for (uint32_t i = 0; i < n_layer * 2; i++)
        made.x[i] = kvs_kvf_made(i + 1, n_tok, heads * dim, .3, half);
    return made;
}

void kvf_made_free(struct made *made)
{
    for (uint32_t i = 0; i < made->shape.n_layer * 2; i++)
        free((void *)(uintptr_t)made->x[i]);
}

uint8_t *kvf_encode(const struct made *made, const char *isa, size_t *n)
{
    struct kvs_kvf_in in = {made->shape, made->x, made->level, made->weight};
    struct kvs_err err = {0};
    uint8_t *file;
    if (kvs_kvf_encode(&in, kvs_kvf_isa(isa), &file, n, &err))
        fail_msg("%s", err.msg);
    return file;
}

struct kvs_kvf *kvf_parse(const uint8_t *file, size_t n)
{
    struct kvs_kvf *codec;
    struct kvs_err err = {0};
    if (kvs_kvf_parse("made", file, n, n, true, &codec, &err))
        fail_msg("%s", err.msg);
    return codec;
}

uint16_t *kvf_decode(const struct kvs_kvf *codec, const char *isa, uint32_t layer, enum kvs_kv kv)
{
    const struct kvs_kvf_shape *s = kvs_kvf_shape(codec);
    uint32_t n_chan = kvs_kvf_n_chan(s);
    uint16_t *out = malloc((size_t)s->n_tok * n_chan * sizeof *out);
    struct kvs_err err = {0};
    memset(out, 0xff, (size_t)s->n_tok * n_chan * sizeof *out);
    for (uint32_t b = 0; b < kvs_kvf_n_block(codec); b++) {
        uint32_t i = kvs_kvf_section_i(s, b, layer, kv);
        if (kvs_kvf_decode(codec, i, NULL, kvs_kvf_isa(isa),
                           out + (size_t)kvs_kvf_section(codec, i).first_tok * n_chan, n_chan,
                           &err))
            fail_msg("%s", err.msg);
    }
    return out;
}

const char *const kvf_isas[KVF_ISAS] = {"scalar", "avx2", "avx512", "avx512bf16"};

struct made kvf_mixed(enum kvs_half half, uint32_t dim)
{
    struct made made = kvf_make(7, 3, dim, 600, 260, 4, half);
    for (int i = 0; i < 14; i++)
        made.level[i] = (uint8_t)(i == KVS_LX && half == KVS_F16 ? KVS_RAW16 : i);
    return made;
}
