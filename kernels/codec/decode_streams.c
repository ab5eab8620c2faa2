/* decode_streams.c - e-levels: what a stream's channels have, and what came of its symbols. */
#include "decode.h"
#include "half.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FAIL(...) kvs_fail(err, KVS_ERR_PARSE, __VA_ARGS__)

/* As in decode.c; but e-levels wait less for memory. */
enum { PAST_CACHES = 128 << 10 };

enum kvs_code kvs_decoder_check_states(const struct kvs_decoder *d, uint32_t stream,
                                       struct kvs_err *err)
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
static bool small_tables(struct kvs_decoder *d, const struct kvs_chan32 *chan)
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
static enum kvs_code params(struct kvs_decoder *d, struct kvs_chan32 *chan, bool one, bool *moved,
                            struct kvs_err *err)
{
    uint32_t n = d->at.n_chan, wide = kvs_up(n, 64), room = kvs_part_chan(n);
    enum kvs_half half = d->codec->shape.half;
    const uint16_t *mean16 = (const void *)(d->bytes + d->at.param_at), *step16 = mean16 + n;
    const uint8_t *table = kvs_decoder_tables(d);
    float *mean = (float *)(chan + wide / 32), *step = mean + wide;

    if (kvs_decoder_check_params(d, mean16, 2 * (size_t)n, n, err))
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

enum kvs_code kvs_decode_streams(struct kvs_decoder *d, struct kvs_err *err)
{
    const struct kvs_layout *at = &d->at;
    uint32_t wide = kvs_up(at->n_chan, 64), room = kvs_part_chan(at->n_chan);
    const uint32_t *n_word = (const void *)(d->bytes + at->stream_at);
    const uint16_t *word = (const void *)(d->bytes + at->payload_at);
    struct kvs_chan32 *chans = (void *)d->scratch;
    uint64_t left = at->n_word;
    bool stream = kvs_decoder_past_caches(d, PAST_CACHES), moved = false;

    const uint8_t *table = kvs_decoder_tables(d);
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
            if (kvs_decoder_check_states(d, s + n, err))
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

/* How often each value of each table came: [n_table][2 * KVS_RANS_VALUE_MAX + 1]. */
enum { N_VALUE = 2 * KVS_RANS_VALUE_MAX + 1 };
static void count_values(const struct kvs_decoder *d, uint32_t *count)
{
    const uint8_t *table = kvs_decoder_tables(d);

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
    struct kvs_decoder d = {.codec = codec, .isa = isa, .values = true};
    enum kvs_code code = kvs_decoder_find(&d, i, bytes, err);
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
    code = d.out && count ? kvs_decoder_scratch(&d, err) : kvs_nomem(err);
    assert(code || (d.out && count && d.scratch));
    if (!code)
        code = kvs_decode_streams(&d, err);
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
