/* decode.c - a section back to its elements: what is in it, packed levels, escapes. */
#include "decode.h"

#include "half.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FAIL(...) kvs_fail(err, KVS_ERR_PARSE, __VA_ARGS__)

/* Bytes of a section from which stores go past the caches: packed levels wait for memory. */
enum { PAST_CACHES = 32 << 10 };

enum kvs_code kvs_decoder_find(struct kvs_decoder *d, uint32_t i, const uint8_t *bytes,
                               struct kvs_err *err)
{
    const struct kvs_kvf *codec = d->codec;
    const struct kvs_kvf_shape *shape = &codec->shape;
    const struct kvs_entry *e = &codec->entry[i];
    struct kvs_section_head head;

    if (!bytes && e->at_bytes + e->n_byte > codec->n_byte)
        return kvs_fail(err, KVS_ERR_ARG, "%s: only the head is here, section %u is not",
                        codec->name, i);
    d->entry = e;
    d->bytes = bytes ? bytes : codec->data + e->at_bytes;
    if (codec->check && d->isa->hash(d->bytes, e->n_byte) != e->hash)
        return FAIL("%s: block %u, layer %u, %s: the checksum is wrong", codec->name, e->block,
                    e->layer, e->kv ? "V" : "K");
    memcpy(&head, d->bytes, sizeof head);
    uint32_t sink = kvs_block_sink(shape, e->block);
    uint64_t n = (uint64_t)(e->n_tok - sink) * kvs_kvf_n_chan(shape);
    if (memcmp(head.magic, "kvss", 4) != 0 || head.block != e->block || head.layer != e->layer ||
        head.kv != e->kv || head.level != e->level || head.half != (uint8_t)shape->half ||
        head.zero != 0 || head.n_tok != e->n_tok || head.n_sink != sink ||
        head.n_chan != kvs_kvf_n_chan(shape))
        return FAIL("%s: section %u: its header and the directory disagree", codec->name, i);
    if (codec->minor == 0 && !kvs_all_zero(head.zeros, 7))
        return FAIL("%s: section %u: a reserved field is not zero", codec->name, i);
    if (head.n_word && !kvs_level_is_e((enum kvs_level)e->level))
        return FAIL("%s: section %u: %u words of rANS, level %s has none", codec->name, i,
                    head.n_word, kvs_level_names[e->level]);
    if (head.n_escape > n || head.n_word > n)
        return FAIL("%s: section %u: %u escapes and %u words in %llu elements", codec->name, i,
                    head.n_escape, head.n_word, (unsigned long long)n);
    d->at = kvs_layout(shape, (enum kvs_level)e->level, (enum kvs_kv)e->kv, e->n_tok, sink,
                       head.n_escape, head.n_word);
    if (d->at.n_byte != e->n_byte)
        return FAIL("%s: section %u: has %llu bytes, its header says %llu", codec->name, i,
                    (unsigned long long)e->n_byte, (unsigned long long)d->at.n_byte);
    return KVS_OK;
}

enum kvs_code kvs_decoder_check_params(const struct kvs_decoder *d, const uint16_t *param, size_t n,
                                       size_t n_step, struct kvs_err *err)
{
    uint64_t sign = 0, four;
    size_t i = n - n_step;

    if (d->isa->max_bits(param, n) > kvs_half_max(d->codec->shape.half))
        return FAIL("%s: block %u, layer %u, %s: a parameter is no finite number", d->codec->name,
                    d->entry->block, d->entry->layer, d->entry->kv ? "V" : "K");
    for (; i + 4 <= n; i += 4) {
        memcpy(&four, param + i, sizeof four);
        sign |= four;
    }
    for (; i < n; i++)
        sign |= param[i];
    if (sign & 0x8000800080008000)
        return FAIL("%s: block %u, layer %u, %s: a step is negative", d->codec->name,
                    d->entry->block, d->entry->layer, d->entry->kv ? "V" : "K");
    return KVS_OK;
}

bool kvs_decoder_past_caches(const struct kvs_decoder *d, uint64_t least_bytes)
{
    return (uintptr_t)d->out % 64 == 0 && d->stride % 32 == 0 &&
           (uint64_t)d->at.n_tok * d->at.n_chan * 2 >= least_bytes;
}

static enum kvs_code unpack_integers(struct kvs_decoder *d, struct kvs_rows_job *job,
                                     struct kvs_err *err)
{
    const struct kvs_layout *at = &d->at;
    const uint16_t *low16 = (const void *)(d->bytes + at->param_at), *step16 = low16 + at->n_param;
    uint32_t group = kvs_level_group(job->level), n_tok = job->n_row;
    /* by channel: a group of tokens has its rows of parameters; by token: 64 tokens at once */
    uint32_t chunk = job->by_token ? 64 : group;
    uint32_t n_one = job->by_token ? 64 * at->n_group : at->n_chan;
    float *low = d->scratch, *step = low + kvs_up(n_one, 64);

    if (kvs_decoder_check_params(d, low16, 2 * (size_t)at->n_param, at->n_param, err))
        return KVS_ERR_PARSE;
    job->group = group;
    job->n_group = at->n_group;
    job->low = low;
    job->step = step;
    for (uint32_t t = 0; t < n_tok; t += chunk) {
        struct kvs_rows_job part = *job;
        part.n_row = n_tok - t < chunk ? n_tok - t : chunk;
        part.more = t + chunk < n_tok;
        part.x += t * job->stride;
        part.packed += t * job->row_bytes;
        uint32_t from = job->by_token ? t * at->n_group : t / group * at->n_chan;
        uint32_t n = job->by_token ? part.n_row * at->n_group : at->n_chan;
        d->isa->widen(low, low16 + from, n, job->half);
        d->isa->widen(step, step16 + from, n, job->half);
        d->isa->unpack(&part);
    }
    return KVS_OK;
}

static enum kvs_code unpack_fp8(struct kvs_decoder *d, struct kvs_rows_job *job,
                                struct kvs_err *err)
{
    const uint16_t *step16 = (const void *)(d->bytes + d->at.param_at);
    uint32_t wide = d->at.n_chan / d->at.n_param;

    if (kvs_decoder_check_params(d, step16, d->at.n_param, d->at.n_param, err))
        return KVS_ERR_PARSE;
    for (uint32_t c = 0; c < d->at.n_chan; c++)
        d->scratch[c] = kvs_f32_of_half(step16[c / wide], job->half);
    job->low = job->step = d->scratch;
    d->isa->unpack(job);
    return KVS_OK;
}

static enum kvs_code unpack(struct kvs_decoder *d, struct kvs_err *err)
{
    enum kvs_level level = (enum kvs_level)d->entry->level;
    const uint8_t *payload = d->bytes + d->at.payload_at;
    struct kvs_rows_job job = {
        .level = level,
        .half = d->codec->shape.half,
        .by_token = kvs_level_is_p(level) && d->entry->kv == KVS_V,
        .n_row = d->at.n_tok,
        .n_chan = d->at.n_chan,
        .stride = d->stride,
        .stream = kvs_decoder_past_caches(d, PAST_CACHES),
        .row_bytes = kvs_row_bytes(level, d->at.n_chan),
        .packed = (uint8_t *)(uintptr_t)payload, /* read only when unpacking */
        .x = d->out,
        .exponent = d->bytes + d->at.param_at,
    };

    switch (level) {
    case KVS_RAW16:
        for (uint32_t t = 0; t < d->at.n_tok; t++)
            memcpy(d->out + t * d->stride, payload + (size_t)t * d->at.n_chan * 2,
                   (size_t)d->at.n_chan * 2);
        return KVS_OK;
    case KVS_LX:
        d->isa->unpack(&job);
        return KVS_OK;
    case KVS_FP8:
        return unpack_fp8(d, &job, err);
    default:
        return unpack_integers(d, &job, err);
    }
}

static enum kvs_code escapes(struct kvs_decoder *d, struct kvs_err *err)
{
    const uint32_t *where = (const void *)(d->bytes + d->at.escape_at);
    const uint16_t *value = (const void *)(where + d->at.n_escape);
    uint32_t n_chan = d->at.n_chan;
    uint64_t next = 0;

    for (uint32_t i = 0; i < d->at.n_escape; i++) {
        if (where[i] < next || where[i] >= (uint64_t)d->at.n_tok * n_chan)
            return FAIL("%s: block %u, layer %u, %s: escape %u stands at %u", d->codec->name,
                        d->entry->block, d->entry->layer, d->entry->kv ? "V" : "K", i, where[i]);
        next = (uint64_t)where[i] + 1;
        d->out[where[i] / n_chan * d->stride + where[i] % n_chan] = value[i];
    }
    return KVS_OK;
}

/* Seven rows of channels, or two of 64 tokens' groups, and what streams want besides: bounded by
 * the shape, not by the file. At a multiple of 64 bytes: what is loaded often crosses no line. */
enum kvs_code kvs_decoder_scratch(struct kvs_decoder *d, struct kvs_err *err)
{
    size_t n = 7 * (size_t)kvs_up(d->at.n_chan + 64 * d->at.n_group, 64);
    size_t wide = kvs_up(d->at.n_chan, 64);
    size_t n_byte = n * sizeof *d->scratch + wide / 16 * sizeof(void *) + wide;

    d->scratch = aligned_alloc(64, (n_byte + 63) / 64 * 64);
    if (d->scratch) {
        d->each = (void *)(d->scratch + n);
        d->place = (void *)(d->each + wide / 16);
        return KVS_OK;
    }
    (void)kvs_nomem(err);
    return KVS_ERR_NOMEM;
}

enum kvs_code kvs_kvf_decode(const struct kvs_kvf *codec, uint32_t i, const uint8_t *bytes,
                             const struct kvs_kvf_isa *isa, uint16_t *out, size_t stride,
                             struct kvs_err *err)
{
    struct kvs_decoder d = {.codec = codec, .isa = isa, .stride = stride};
    enum kvs_code code = kvs_decoder_find(&d, i, bytes, err);

    if (code)
        return code;
    for (uint32_t t = 0; t < d.at.n_sink; t++)
        memcpy(out + t * stride, d.bytes + d.at.sink_at + (size_t)t * d.at.n_chan * 2,
               (size_t)d.at.n_chan * 2);
    d.out = out + d.at.n_sink * stride;
    if (d.at.n_tok == 0)
        return KVS_OK;
    if (kvs_decoder_scratch(&d, err))
        return KVS_ERR_NOMEM;
    assert(d.scratch);
    code = kvs_level_is_e((enum kvs_level)d.entry->level) ? kvs_decode_streams(&d, err)
                                                          : unpack(&d, err);
    if (!code)
        code = escapes(&d, err);
    free(d.scratch);
    return code;
}

enum kvs_code kvs_kvf_section_parts(const struct kvs_kvf *codec, uint32_t i, const uint8_t *bytes,
                                    struct kvs_kvf_parts *parts, struct kvs_err *err)
{
    struct kvs_decoder d = {.codec = codec, .isa = kvs_kvf_isa(NULL)};
    enum kvs_code code = kvs_decoder_find(&d, i, bytes, err);
    const struct kvs_layout *at = &d.at;

    if (code)
        return code;
    uint64_t sink = (uint64_t)at->n_sink * at->n_chan * 2, escape = at->n_escape * 6ull;
    uint64_t stream = (uint64_t)at->n_stream * 4 * (1 + KVS_RANS_LANES);
    uint64_t slack = at->n_byte - at->escape_at - escape;
    parts->sink += sink;
    parts->param += at->stream_at - at->param_at;
    parts->stream += stream;
    parts->payload += at->escape_at - at->payload_at;
    parts->escape += escape;
    parts->head += at->param_at - sink + slack + (at->payload_at - at->stream_at - stream);
    parts->padding += kvs_page_up(at->n_byte) - at->n_byte;
    parts->n_escape += at->n_escape;
    return KVS_OK;
}

enum kvs_code kvs_kvf_steps(const struct kvs_kvf *codec, uint32_t i, const uint8_t *bytes,
                            float *step, struct kvs_err *err)
{
    struct kvs_decoder d = {.codec = codec, .isa = kvs_kvf_isa(NULL)};
    enum kvs_code code = kvs_decoder_find(&d, i, bytes, err);
    const struct kvs_layout *at = &d.at;

    if (code)
        return code;
    assert(d.entry);
    enum kvs_level level = (enum kvs_level)d.entry->level;
    bool is_e = kvs_level_is_e(level), known = is_e || kvs_level_is_p(level);
    const uint16_t *step16 = (const uint16_t *)(const void *)(d.bytes + at->param_at) +
                             (is_e ? at->n_chan : at->n_param);
    uint32_t group = known && !is_e ? kvs_level_group(level) : 1;

    memset(step, 0, ((size_t)at->n_sink + at->n_tok) * at->n_chan * sizeof *step);
    step += (size_t)at->n_sink * at->n_chan;
    for (uint32_t t = 0; t < at->n_tok && known; t++)
        for (uint32_t c = 0; c < at->n_chan; c++) {
            size_t p = is_e                   ? c
                       : d.entry->kv == KVS_K ? (size_t)(t / group) * at->n_chan + c
                                              : (size_t)t * at->n_group + c / group;
            step[(size_t)t * at->n_chan + c] = kvs_f32_of_half(step16[p], codec->shape.half);
        }
    return KVS_OK;
}
