/* decode.c - a section back to its elements. */
#include "gpu.h"
#include "half.h"
#include "kern.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FAIL(...) kvs_fail(err, KVS_ERR_PARSE, __VA_ARGS__)

/* Sections from which stores go past the caches: packed levels wait for memory, e-levels don't. */
enum { STREAM_PACKED = 32 << 10, STREAM_CODED = 128 << 10 };

struct decoder {
    const struct kvs_kvf *codec;
    const struct kvs_kvf_isa *isa;
    const struct kvs_entry *entry;
    const uint8_t *bytes;
    struct kvs_layout at;
    uint16_t *out; /* of the first coded token */
    size_t stride;
    float *scratch;
    /* of e-levels, a place each, see kvs_order; and tables of each 16 places */
    uint8_t *place;
    const struct kvs_rans_small **each;
    bool split;  /* as a stream's job has it */
    bool values; /* f16 of the tables' values is wanted instead of elements; of e-levels */
};

/* Finds the section's bytes and believes its header only where it agrees with the directory. */
static enum kvs_code find(struct decoder *d, uint32_t i, const uint8_t *bytes, struct kvs_err *err)
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

/* Parameters are numbers; then no sum or product of a decoder is NaN, on any machine. The last
 * n_step are steps, which are not negative. */
static enum kvs_code check_params(const struct decoder *d, const uint16_t *param, size_t n,
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

/* Stores past the caches save reading what they overwrite; what is small may be used at once. */
static bool past_caches(const struct decoder *d, uint64_t least_bytes)
{
    return (uintptr_t)d->out % 64 == 0 && d->stride % 32 == 0 &&
           (uint64_t)d->at.n_tok * d->at.n_chan * 2 >= least_bytes;
}

static enum kvs_code unpack_integers(struct decoder *d, struct kvs_rows_job *job,
                                     struct kvs_err *err)
{
    const struct kvs_layout *at = &d->at;
    const uint16_t *low16 = (const void *)(d->bytes + at->param_at), *step16 = low16 + at->n_param;
    uint32_t group = kvs_level_group(job->level), n_tok = job->n_row;
    /* by channel: a group of tokens has its rows of parameters; by token: 64 tokens at once */
    uint32_t chunk = job->by_token ? 64 : group;
    uint32_t n_one = job->by_token ? 64 * at->n_group : at->n_chan;
    float *low = d->scratch, *step = low + kvs_up(n_one, 64);

    if (check_params(d, low16, 2 * (size_t)at->n_param, at->n_param, err))
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

static enum kvs_code unpack_fp8(struct decoder *d, struct kvs_rows_job *job, struct kvs_err *err)
{
    const uint16_t *step16 = (const void *)(d->bytes + d->at.param_at);
    uint32_t wide = d->at.n_chan / d->at.n_param;

    if (check_params(d, step16, d->at.n_param, d->at.n_param, err))
        return KVS_ERR_PARSE;
    for (uint32_t c = 0; c < d->at.n_chan; c++)
        d->scratch[c] = kvs_f32_of_half(step16[c / wide], job->half);
    job->low = job->step = d->scratch;
    d->isa->unpack(job);
    return KVS_OK;
}

static enum kvs_code unpack(struct decoder *d, struct kvs_err *err)
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
        .stream = past_caches(d, STREAM_PACKED),
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

/* The channels' tables, one byte each. */
static const uint8_t *tables_of(const struct decoder *d)
{
    return d->bytes + d->at.param_at + 4 * (size_t)d->at.n_chan;
}

/* States are those that an encoder leaves: then they stay so, whatever the words are. */
static enum kvs_code check_states(const struct decoder *d, uint32_t stream, struct kvs_err *err)
{
    const uint32_t *state = (const uint32_t *)(const void *)(d->bytes + d->at.stream_at) +
                            d->at.n_stream + (size_t)stream * KVS_RANS_LANES;
    uint32_t n_bad = 0;

    for (unsigned i = 0; i < KVS_RANS_LANES; i++)
        n_bad += state[i] - KVS_RANS_LOW > (uint32_t)INT32_MAX - KVS_RANS_LOW;
    if (n_bad)
        return FAIL("%s: block %u, layer %u, %s: stream %u: %u of %d states are less than 2^15 or "
                    "not less than 2^31",
                    d->codec->name, d->entry->block, d->entry->layer, d->entry->kv ? "V" : "K",
                    stream, n_bad, KVS_RANS_LANES);
    return KVS_OK;
}

/* The tables of 16 places side by side each. false: in some 16 they differ. */
static bool small_tables(struct decoder *d, const struct kvs_chan32 *chan)
{
    for (uint32_t g = 0; g < d->at.n_chan / 16; g++) {
        const int32_t *at = chan[g / 2].table_at + g % 2 * 16;
        if (memcmp(at, at + 1, 15 * sizeof *at) != 0)
            return false;
        d->each[g] = &d->codec->small[at[0] / KVS_RANS_M];
    }
    return true;
}

/* What a table is to its channels. */
struct chan_table {
    int32_t at;
    uint16_t low, low_mask, high_mask;
    float unit; /* of values, in steps */
};

static struct chan_table chan_table(const struct kvs_kvf *codec, uint32_t table)
{
    unsigned fraction = codec->fraction[table] & 15, low = codec->fraction[table] >> 4;

    return (struct chan_table){.at = (int32_t)(table * KVS_RANS_M),
                               .low = (uint16_t)low,
                               .low_mask = (uint16_t)((1u << low) - 1),
                               .high_mask = (uint16_t) ~(((1u << low) - 1) >> 1),
                               .unit = 1.f / (float)(1u << fraction)};
}

static inline void place_channel(struct kvs_chan32 *to, uint32_t at, struct chan_table table,
                                 float mean, float step)
{
    to->table_at[at] = table.at;
    to->low[at] = table.low;
    to->low_mask[at] = table.low_mask;
    to->high_mask[at] = table.high_mask;
    to->mean[at] = mean;
    to->step[at] = step * table.unit; /* exact */
}

/* Means, steps and tables of all channels, place by place, as the kernels want them. one: they
 * have one table; moved: whether channels stand elsewhere in their streams. */
static enum kvs_code params(struct decoder *d, struct kvs_chan32 *chan, bool one, bool *moved,
                            struct kvs_err *err)
{
    uint32_t n = d->at.n_chan, wide = kvs_up(n, 64), room = kvs_part_chan(n);
    enum kvs_half half = d->codec->shape.half;
    const uint16_t *mean16 = (const void *)(d->bytes + d->at.param_at), *step16 = mean16 + n;
    const uint8_t *table = tables_of(d);
    float *mean = (float *)(chan + wide / 32), *step = mean + wide;

    if (check_params(d, mean16, 2 * (size_t)n, n, err))
        return KVS_ERR_PARSE;
    for (uint32_t c = 0; c < (one ? 1 : n); c++)
        if (table[c] >= d->codec->n_table)
            return FAIL("%s: block %u, layer %u, %s: channel %u: found table %u of %u",
                        d->codec->name, d->entry->block, d->entry->layer, d->entry->kv ? "V" : "K",
                        c, table[c], d->codec->n_table);
    memset(mean, 0, 2 * wide * sizeof *mean);
    d->isa->widen(mean, mean16, n, half);
    d->isa->widen(step, step16, n, half);
    for (uint32_t c = 0; c < n && d->values; c++) {
        mean[c] = 0;
        step[c] = (float)(1 << (d->codec->fraction[table[c]] & 15));
    }
    *moved = !one && kvs_order(d->place, table, n);
    for (uint32_t c = 0; c < n && !one; c++) {
        uint32_t at = c - c % room + d->place[c];
        place_channel(&chan[at / 32], at % 32, chan_table(d->codec, table[c]), mean[c], step[c]);
        d->split = d->split || d->codec->fraction[table[c]] >> 4;
    }
    if (one) {
        struct chan_table all = chan_table(d->codec, table[0]);
        d->split = all.low > 0;
        for (uint32_t c = 0; c < n; c += 32)
            for (uint32_t i = 0; i < 32; i++)
                place_channel(&chan[c / 32], i, all, mean[c + i], step[c + i]);
    }
    return KVS_OK;
}

static enum kvs_code streams(struct decoder *d, struct kvs_err *err)
{
    const struct kvs_layout *at = &d->at;
    uint32_t wide = kvs_up(at->n_chan, 64), room = kvs_part_chan(at->n_chan);
    const uint32_t *n_word = (const void *)(d->bytes + at->stream_at);
    const uint16_t *word = (const void *)(d->bytes + at->payload_at);
    struct kvs_chan32 *chans = (void *)d->scratch;
    uint64_t left = at->n_word;
    bool stream = past_caches(d, STREAM_CODED), moved = false;

    const uint8_t *table = tables_of(d);
    bool one = memcmp(table, table + 1, at->n_chan - 1) == 0; /* of all channels */
    memset(chans, 0, wide / 32 * sizeof *chans);
    if (params(d, chans, one, &moved, err))
        return KVS_ERR_PARSE;
    const struct kvs_rans_small *small = one ? &d->codec->small[table[0]] : NULL;
    bool each = !small && small_tables(d, chans);
    const unsigned most = small || each ? 3 : 2; /* as many as is fastest */
    for (uint32_t s = 0; s < at->n_stream;) {
        struct kvs_stream_job job[3];
        unsigned n = 0;
        for (; n < most && s + n < at->n_stream; n++) {
            uint32_t tok = (s + n) / at->n_part * KVS_RANS_TOK, chan = (s + n) % at->n_part * room;
            job[n] = (struct kvs_stream_job){
                .n_tok = at->n_tok - tok < KVS_RANS_TOK ? at->n_tok - tok : KVS_RANS_TOK,
                .n_chan = at->n_chan - chan < room ? at->n_chan - chan : room,
                .state = (uint32_t *)(uintptr_t)(n_word + at->n_stream + /* read only */
                                                 (size_t)(s + n) * KVS_RANS_LANES),
                .word = (uint16_t *)(uintptr_t)word,
                .n_word = n_word[s + n],
                .chan = chans + chan / 32,
                .x = d->out + tok * d->stride + chan,
                .small = small,
                .each = each ? d->each + chan / 16 : NULL,
                .split = d->split,
                .place = moved ? d->place + chan : NULL,
                .stride = d->stride,
                .stream = stream,
            };
            if (n && (job[n].n_tok != job[0].n_tok || job[n].n_chan != job[0].n_chan))
                break;
            if (check_states(d, s + n, err))
                return KVS_ERR_PARSE;
            if (job[n].n_word > left)
                return FAIL("%s: block %u, layer %u, %s: stream %u has %u words, %llu are left",
                            d->codec->name, d->entry->block, d->entry->layer,
                            d->entry->kv ? "V" : "K", s + n, job[n].n_word,
                            (unsigned long long)left);
            word += job[n].n_word;
            left -= job[n].n_word;
        }
        if (!d->isa->rans_decode(job, n, d->codec->table,
                                 d->values ? KVS_F16 : d->codec->shape.half))
            return FAIL("%s: block %u, layer %u, %s: streams %u to %u do not end as they began",
                        d->codec->name, d->entry->block, d->entry->layer, d->entry->kv ? "V" : "K",
                        s, s + n - 1);
        s += n;
    }
    if (left)
        return FAIL("%s: block %u, layer %u, %s: %llu words belong to no stream", d->codec->name,
                    d->entry->block, d->entry->layer, d->entry->kv ? "V" : "K",
                    (unsigned long long)left);
    return KVS_OK;
}

static enum kvs_code escapes(struct decoder *d, struct kvs_err *err)
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

/* Six rows of channels, or two of 64 tokens' groups, and what streams want besides: bounded by
 * the shape, not by the file. At a multiple of 64 bytes: what is loaded often crosses no line. */
static enum kvs_code new_scratch(struct decoder *d, struct kvs_err *err)
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
    struct decoder d = {.codec = codec, .isa = isa, .stride = stride};
    enum kvs_code code = find(&d, i, bytes, err);

    if (code)
        return code;
    for (uint32_t t = 0; t < d.at.n_sink; t++)
        memcpy(out + t * stride, d.bytes + d.at.sink_at + (size_t)t * d.at.n_chan * 2,
               (size_t)d.at.n_chan * 2);
    d.out = out + d.at.n_sink * stride;
    if (d.at.n_tok == 0)
        return KVS_OK;
    if (new_scratch(&d, err))
        return KVS_ERR_NOMEM;
    assert(d.scratch);
    code = kvs_level_is_e((enum kvs_level)d.entry->level) ? streams(&d, err) : unpack(&d, err);
    if (!code)
        code = escapes(&d, err);
    free(d.scratch);
    return code;
}

enum kvs_code kvs_kvf_section_parts(const struct kvs_kvf *codec, uint32_t i, const uint8_t *bytes,
                                    struct kvs_kvf_parts *parts, struct kvs_err *err)
{
    struct decoder d = {.codec = codec, .isa = kvs_kvf_isa(NULL)};
    enum kvs_code code = find(&d, i, bytes, err);
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
    struct decoder d = {.codec = codec, .isa = kvs_kvf_isa(NULL)};
    enum kvs_code code = find(&d, i, bytes, err);
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

/* How often each value of each table came: [n_table][2 * KVS_RANS_VALUE_MAX + 1]. */
enum { N_VALUE = 2 * KVS_RANS_VALUE_MAX + 1 };
static void count_values(const struct decoder *d, uint32_t *count)
{
    const uint8_t *table = tables_of(d);

    for (uint32_t t = 0; t < d->at.n_tok; t++)
        for (uint32_t c = 0; c < d->at.n_chan; c++) {
            float value = kvs_f32_of_f16(d->out[t * d->stride + c]);
            int place = (int)value + KVS_RANS_VALUE_MAX;
            assert(place >= 0 && place < N_VALUE); /* read_table saw to it */
            count[table[c] * N_VALUE + place]++;
        }
}

enum kvs_code kvs_kvf_entropy(const struct kvs_kvf *codec, uint32_t i, const uint8_t *bytes,
                              const struct kvs_kvf_isa *isa, double *bits, struct kvs_err *err)
{
    struct decoder d = {.codec = codec, .isa = isa, .values = true};
    enum kvs_code code = find(&d, i, bytes, err);
    uint32_t *count = NULL;

    *bits = 0;
    if (code)
        return code;
    assert(d.entry);
    if (!kvs_level_is_e((enum kvs_level)d.entry->level) || d.at.n_tok == 0)
        return KVS_OK;
    d.stride = d.at.n_chan;
    d.out = calloc((size_t)d.at.n_tok * d.at.n_chan, sizeof *d.out);
    count = calloc(codec->n_table ? codec->n_table : 1, N_VALUE * sizeof *count);
    code = d.out && count ? new_scratch(&d, err) : kvs_nomem(err);
    assert(code || d.scratch);
    if (!code)
        code = streams(&d, err);
    if (!code)
        count_values(&d, count);
    for (uint32_t k = 0; k < codec->n_table && !code; k++) {
        double sum = 0;
        for (uint32_t v = 0; v < N_VALUE; v++)
            sum += count[k * N_VALUE + v];
        for (uint32_t v = k * N_VALUE; v < (k + 1) * N_VALUE; v++)
            *bits += count[v] ? count[v] * log2(sum / count[v]) : 0;
    }
    free(d.scratch);
    free(d.out);
    free(count);
    return code;
}

/* --- for the GPU: all that a kernel would have to check -----------------------------------------
 */

static enum kvs_code check_streams(struct decoder *d, uint32_t *word_at, uint8_t *order,
                                   struct kvs_err *err)
{
    const struct kvs_layout *at = &d->at;
    const uint8_t *table = tables_of(d);
    uint32_t room = kvs_part_chan(at->n_chan);
    const uint32_t *n_word = (const void *)(d->bytes + at->stream_at);
    uint64_t sum = 0;

    for (uint32_t c = 0; c < at->n_chan; c++)
        if (table[c] >= d->codec->n_table)
            return FAIL("%s: channel %u: found table %u of %u", d->codec->name, c, table[c],
                        d->codec->n_table);
    if (new_scratch(d, err))
        return KVS_ERR_NOMEM;
    (void)kvs_order(d->place, table, at->n_chan);
    for (uint32_t c = 0; c < at->n_chan; c++)
        order[c - c % room + d->place[c]] = (uint8_t)(c % room);
    free(d->scratch);
    word_at[0] = 0;
    for (uint32_t s = 0; s < at->n_stream; s++) {
        if (check_states(d, s, err))
            return KVS_ERR_PARSE;
        sum += n_word[s];
        if (sum > at->n_word)
            break;
        word_at[s + 1] = (uint32_t)sum;
    }
    return sum == at->n_word ? KVS_OK
                             : FAIL("%s: block %u, layer %u, %s: streams have %llu words of %u",
                                    d->codec->name, d->entry->block, d->entry->layer,
                                    d->entry->kv ? "V" : "K", (unsigned long long)sum, at->n_word);
}

enum kvs_code kvs_kvf_gpu_plan(const struct kvs_kvf *codec, uint32_t i, const uint8_t *bytes,
                               struct kvs_kvf_gpu *job, uint32_t *word_at, uint8_t *order,
                               struct kvs_err *err)
{
    struct decoder d = {.codec = codec, .isa = kvs_kvf_isa(NULL)};
    enum kvs_code code = find(&d, i, bytes, err);
    uint64_t next = 0;

    if (code)
        return code;
    assert(d.entry);
    enum kvs_level level = (enum kvs_level)d.entry->level;
    uint32_t n_param = kvs_level_is_p(level)   ? 2 * d.at.n_param
                       : kvs_level_is_e(level) ? 2 * d.at.n_chan
                       : level == KVS_FP8      ? d.at.n_param
                                               : 0;
    code = check_params(&d, (const void *)(d.bytes + d.at.param_at), n_param,
                        level == KVS_FP8 ? n_param : n_param / 2, err);
    if (!code && kvs_level_is_e(level))
        code = check_streams(&d, word_at, order, err);
    const uint32_t *where = (const void *)(d.bytes + d.at.escape_at);
    for (uint32_t k = 0; k < d.at.n_escape && !code; k++) {
        if (where[k] < next || where[k] >= (uint64_t)d.at.n_tok * d.at.n_chan)
            code = FAIL("%s: section %u: escape %u stands at %u", codec->name, i, k, where[k]);
        next = (uint64_t)where[k] + 1;
    }
    job->at = d.at;
    job->row_bytes = kvs_row_bytes(level, d.at.n_chan);
    job->group = kvs_level_group(level);
    job->n_kv_head = codec->shape.n_kv_head;
    job->level = level;
    job->kv = (enum kvs_kv)d.entry->kv;
    job->half = codec->shape.half;
    return code;
}

const uint32_t *kvs_kvf_gpu_tables(const struct kvs_kvf *codec, const uint8_t **fraction,
                                   uint32_t *n_table)
{
    *fraction = codec->fraction;
    *n_table = codec->n_table;
    return codec->table;
}
