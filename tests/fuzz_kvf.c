/*
 * Codec files. The input's first byte: bit 0, checksums; the rest, which instruction set. Then the
 * file, page by page: a length (u16, at most 4096) and as many bytes, zeros behind them, so that
 * inputs are short. What opens is decoded.
 */
#include "kernels/codec/format.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

/* What inspecting a file looks at besides. n: elements of section i. */
static void measure(const struct kvs_kvf *codec, uint32_t i, const struct kvs_kvf_isa *isa,
                    size_t n)
{
    struct kvs_err err = {0};
    float *step = n <= 1 << 16 ? malloc(n * sizeof *step) : NULL;
    double bits;
    if (step && kvs_kvf_entropy(codec, i, NULL, isa, &bits, &err) && !err.msg[0])
        abort();
    if (step)
        (void)!kvs_kvf_steps(codec, i, NULL, step, &err);
    free(step);
}

static void decode(const struct kvs_kvf *codec, const struct kvs_kvf_isa *isa)
{
    const struct kvs_kvf_shape *shape = kvs_kvf_shape(codec);
    uint32_t n_chan = kvs_kvf_n_chan(shape);

    for (uint32_t i = 0; i < kvs_kvf_n_section(codec) && i < 64; i++) {
        struct kvs_section s = kvs_kvf_section(codec, i);
        size_t n = (size_t)s.n_tok * n_chan;
        uint16_t *out = n <= 1 << 20 ? malloc(n * sizeof *out) : NULL;
        struct kvs_kvf_parts parts = {0};
        struct kvs_err err = {0};
        if (out && kvs_kvf_decode(codec, i, NULL, isa, out, n_chan, &err) && !err.msg[0])
            abort();
        (void)!kvs_kvf_section_parts(codec, i, NULL, &parts, &err);
        measure(codec, i, isa, n);
        free(out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    static const char *const isas[] = {"scalar", "avx2", "avx512", "avx512bf16"};
    const struct kvs_kvf_isa *isa;
    struct kvs_kvf *codec;
    struct kvs_err err = {0};
    size_t n_page = 0;

    if (n_byte < 1)
        return 0;
    bool check = data[0] & 1;
    isa = kvs_kvf_isa(isas[(data[0] >> 1) % 4]);
    if (!isa)
        return 0;
    for (size_t at = 1; at + 2 <= n_byte; n_page++) {
        size_t n = (size_t)(data[at] | data[at + 1] << 8) % 4097;
        at += 2 + n;
    }
    if (n_page > 256)
        return 0;
    uint8_t *file = calloc(n_page ? n_page : 1, KVS_KVF_PAGE);
    if (!file)
        return 0;
    n_page = 0;
    for (size_t at = 1; at + 2 <= n_byte; n_page++) {
        size_t n = (size_t)(data[at] | data[at + 1] << 8) % 4097;
        at += 2;
        memcpy(file + n_page * KVS_KVF_PAGE, data + at, n < n_byte - at ? n : n_byte - at);
        at = n < n_byte - at ? at + n : n_byte;
    }
    size_t n_file = n_page * KVS_KVF_PAGE;
    if (kvs_kvf_parse("fuzz", file, n_file, n_file, check, &codec, &err)) {
        if (!err.code || !err.msg[0] || codec)
            abort();
    } else {
        decode(codec, isa);
        kvs_kvf_close(codec);
    }
    free(file);
    return 0;
}
