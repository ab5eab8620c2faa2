/* quant.c - sections of e-levels: steps, symbols, streams. */
#include "encode.h"
#include "half.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

void kvs_quant_free(struct kvs_quant *quant)
{
    free(quant->mean);
    free(quant->step);
    free(quant->model);
    free(quant->escapes.at);
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Which table: by how many steps a deviation is, squared, in quarter octaves, 2^-3 to 2^4.75. */
static uint8_t model_of(float square, enum kvs_kv kv)
{
    int number = 0;
    uint32_t bits = bits_of(square);

    if (square > 0) {
        int octave = (int)(bits >> 23) - 127;
        bits = (bits & 0x7fffff) | 0x3f800000;
        number = 2 * octave + (bits >= bits_of(1.18920712f)) + (bits >= bits_of(1.68179283f)) + 12;
        number = number < 0 ? 0 : number >= KVS_N_CLASS ? KVS_N_CLASS - 1 : number;
    }
    return (uint8_t)(number + (kv == KVS_V ? KVS_N_CLASS : 0));
}

/* A step for each channel: level's share of the deviation; with weights, of what makes all weighted
 * errors equal at the same mean rate. */
static void wanted_steps(float *step, const float *deviation, const float *weight, uint32_t n_chan,
                         double share)
{
    double sum = 0;
    uint32_t n = 0;

    for (uint32_t c = 0; c < n_chan; c++)
        step[c] = (float)(share * (double)deviation[c]);
    if (!weight)
        return;
    for (uint32_t c = 0; c < n_chan; c++)
        if (weight[c] > 0 && deviation[c] > 0) {
            sum += log((double)deviation[c] * sqrt((double)weight[c]));
            n++;
        }
    double level = n ? share * exp(sum / n) : 0;
    for (uint32_t c = 0; c < n_chan; c++)
        if (weight[c] > 0 && deviation[c] > 0) {
            double even = level / sqrt((double)weight[c]);
            double least = (double)deviation[c] / 22.6, most = (double)deviation[c] * 8;
            step[c] = (float)(even < least ? least : even > most ? most : even);
        }
}

/* Models by 16 channels of a part that vary most alike, so that streams find them side by side
 * (kvs_order): that of their mean square, which is what costs least. */
static void group_models(uint8_t *model, const float *square, uint32_t n_chan, enum kvs_kv kv,
                         const struct kvs_kvf_isa *isa)
{
    uint32_t room = kvs_part_chan(n_chan);

    for (uint32_t from = 0; from < n_chan; from += room) {
        uint32_t n = n_chan - from < room ? n_chan - from : room;
        uint8_t by[KVS_RANS_CHAN];
        isa->sort(by, square + from, n);
        for (uint32_t g = 0; g < n; g += 16) {
            float sum = 0;
            for (uint32_t i = g; i < g + 16; i++)
                sum += square[from + by[i]];
            uint8_t m = model_of(sum / 16, kv);
            for (uint32_t i = g; i < g + 16; i++)
                model[from + by[i]] = m;
        }
    }
}

/* Whether all channels have one model: the usual case without weights. */
static bool one_model(const struct kvs_quant *quant, uint32_t n_chan)
{
    return memcmp(quant->model, quant->model + 1, n_chan - 1) == 0;
}

/* Steps and models; mean and deviation: sums and sums of squares before; means and squares
 * of deviations over steps after. */
static void choose_steps(struct kvs_quant *quant, float *mean, float *inverse, float *deviation,
                         const struct kvs_rows *rows, const float *weight,
                         const struct kvs_kvf_isa *isa)
{
    float n = (float)rows->n_tok, most = rows->half == KVS_F16 ? 0x1p14f : 0x1p124f;

    for (uint32_t c = 0; c < rows->n_chan; c++) {
        float away = mean[c] / n, square = deviation[c] / n - away * away;
        quant->mean[c] = kvs_half_of(kvs_f32_of_half(rows->calm[c], rows->half) + away, rows->half);
        deviation[c] = square > 0 ? sqrtf(square) : 0;
        mean[c] = kvs_f32_of_half(quant->mean[c], rows->half);
    }
    wanted_steps(inverse, deviation, weight, rows->n_chan, kvs_level_step(rows->level));
    for (uint32_t c = 0; c < rows->n_chan; c++) {
        quant->step[c] = kvs_half_of(inverse[c] < most ? inverse[c] : most, rows->half);
        float step = kvs_f32_of_half(quant->step[c], rows->half);
        float ratio = step > 0 ? deviation[c] / step : 0;
        deviation[c] = ratio * ratio;
        quant->model[c] = model_of(deviation[c], rows->kv);
        inverse[c] = step > 0 ? 1 / step : 3e38f; /* what is not the mean then becomes an escape */
    }
    /* others are coded without vectors of one table */
    if (rows->n_chan % KVS_RANS_LANES == 0 && !one_model(quant, rows->n_chan))
        group_models(quant->model, deviation, rows->n_chan, rows->kv, isa);
}

/* Counts of symbols. base: where channels' models begin. */
static void count(struct kvs_counts *counts, const struct kvs_quant *quant,
                  const struct kvs_rows *rows, const uint16_t *base, const struct kvs_kvf_isa *isa)
{
    size_t stride = quant->symbol_stride * counts->every;
    uint32_t n_tok = (rows->n_tok + counts->every - 1) / counts->every;

    if (one_model(quant, rows->n_chan))
        isa->count(counts->count[base[0] / KVS_N_SYMBOL], counts->pair, quant->symbol, stride,
                   n_tok, rows->n_chan);
    else
        isa->count_each(counts->each, base, quant->symbol, stride, n_tok, rows->n_chan);
}

void kvs_counts_end(struct kvs_counts *counts)
{
    enum { N = KVS_N_SYMBOL };
    for (uint32_t m = 0; m < KVS_N_MODEL; m++)
        for (uint32_t i = m * N; counts->used[m] && i < (m + 1) * N; i++) {
            for (uint32_t part = 0; part < 4; part++) {
                counts->count[m][i % N] += counts->each[part * KVS_COUNT_ALL + i];
                counts->each[part * KVS_COUNT_ALL + i] = 0;
            }
            counts->n_place[i] += counts->place[i] >> 40;
            counts->sum_place[i] += counts->place[i] & ((1ull << 40) - 1);
            counts->place[i] = 0;
        }
    counts->n_sampled = 0;
}

/* Where in their bins elements lie, from one in 8 of the rows that are counted. */
static void sample(struct kvs_counts *counts, const struct kvs_quant *quant,
                   const struct kvs_rows *rows, const uint16_t *base, const float *mean,
                   const float *inverse, const struct kvs_kvf_isa *isa)
{
    enum { MOST = 1 << 24 }; /* no sum overflows */

    for (uint32_t t = 0; t < rows->n_tok; t += 8 * counts->every) {
        if (counts->n_sampled + rows->n_chan >= MOST)
            kvs_counts_end(counts);
        counts->n_sampled += rows->n_chan;
        isa->places(counts->place, base, quant->symbol + t * quant->symbol_stride,
                    rows->x + (size_t)t * rows->n_chan, mean, inverse, rows->n_chan, rows->half);
    }
}

/* A row's elements that are huge become escapes; true if there is one. */
static bool except_huge(uint8_t *symbol, const uint16_t *x, uint32_t n_chan, enum kvs_half half)
{
    bool found = false;

    for (uint32_t c = 0; c < n_chan; c++)
        if ((x[c] & 0x7fff) > kvs_half_huge(half)) {
            symbol[c] = 0;
            found = true;
        }
    return found;
}

enum kvs_code kvs_quant_section(struct kvs_quant *quant, struct kvs_counts *counts,
                                struct kvs_rows *rows, uint16_t **calm, const float *weight,
                                const struct kvs_kvf_isa *isa, struct kvs_err *err)
{
    uint32_t n_chan = rows->n_chan, wide = kvs_up(n_chan, 64);
    float *scratch = calloc(4 * (size_t)wide, sizeof *scratch);
    float *mean = scratch, *inverse = mean + wide, *deviation = inverse + wide;
    uint16_t *base = (void *)(deviation + wide);
    enum kvs_code code = KVS_OK;
    bool huge;

    quant->symbol_stride = kvs_up(n_chan, 32);
    quant->mean = calloc(n_chan, sizeof *quant->mean);
    quant->step = calloc(n_chan, sizeof *quant->step);
    quant->model = calloc(n_chan, 1);
    if (!scratch || !quant->mean || !quant->step || !quant->model) {
        free(scratch);
        return kvs_nomem(err);
    }
    huge = isa->moments(mean, deviation, rows->x, rows->n_tok, n_chan, rows->half) >
           kvs_half_huge(rows->half);
    if (huge) {
        code = kvs_rows_calm(rows, calm, err);
        if (!code)
            (void)isa->moments(mean, deviation, rows->calm, rows->n_tok, n_chan, rows->half);
    }
    if (rows->n_tok && !code)
        choose_steps(quant, mean, inverse, deviation, rows, weight, isa);
    for (uint32_t t = 0; t < rows->n_tok && !code; t++) {
        uint8_t *symbol = quant->symbol + t * quant->symbol_stride;
        memset(symbol + quant->symbol_stride - 32, KVS_SYMBOL_ZERO, 32); /* lanes beyond the last */
        for (uint32_t c = 0; c < n_chan && rows->next; c += 32)
            __builtin_prefetch(rows->next + (size_t)t * n_chan + c, 0, 2);
        const uint16_t *x = rows->x + (size_t)t * n_chan;
        bool escape = isa->quantise(symbol, x, mean, inverse, n_chan, rows->half);
        if (huge)
            escape = except_huge(symbol, x, n_chan, rows->half) || escape;
        if (escape)
            for (uint32_t c = 0; c < n_chan && !code; c++)
                if (symbol[c] == 0 && !kvs_escapes_add(&quant->escapes, t * n_chan + c))
                    code = kvs_nomem(err);
    }
    for (uint32_t c = 0; c < n_chan; c++) {
        base[c] = (uint16_t)(quant->model[c] * KVS_N_SYMBOL);
        counts->used[quant->model[c]] = true;
    }
    if (!code) {
        count(counts, quant, rows, base, isa);
        sample(counts, quant, rows, base, mean, inverse, isa);
    }
    free(scratch);
    return code;
}

/* Symbols of token t that lie outside low .. last become escapes. */
static enum kvs_code clip_row(struct kvs_quant *quant, uint8_t *symbol, uint32_t t,
                              const uint8_t *low, const uint8_t *last, uint32_t n_chan,
                              const struct kvs_kvf_isa *isa, struct kvs_err *err)
{
    for (uint32_t from = 0, n; from < n_chan; from += n) {
        n = n_chan - from < 64 ? n_chan - from : 64;
        if (!isa->outside(symbol + from, low + from, last + from, n))
            continue;
        for (uint32_t c = from; c < from + n; c++) {
            if (symbol[c] >= low[c] && symbol[c] <= last[c])
                continue;
            symbol[c] = KVS_SYMBOL_ZERO;
            if (!kvs_escapes_add(&quant->escapes, t * n_chan + c))
                return kvs_nomem(err);
        }
    }
    return KVS_OK;
}

enum kvs_code kvs_quant_clip(struct kvs_quant *quant, const struct kvs_rans_model *model,
                             const struct kvs_rows *rows, const struct kvs_kvf_isa *isa,
                             struct kvs_err *err)
{
    uint32_t n_chan = rows->n_chan;
    uint8_t *low = malloc(2 * (size_t)n_chan), *last = low + n_chan;
    enum kvs_code code = KVS_OK;

    if (!low)
        return kvs_nomem(err);
    for (uint32_t c = 0; c < n_chan; c++) {
        const struct kvs_rans_model *m = &model[quant->model[c]];
        uint32_t first = (uint32_t)m->first << m->low;
        low[c] = (uint8_t)(first ? first : 1); /* 0 is no symbol */
        last[c] = (uint8_t)(((uint32_t)(m->first + m->n) << m->low) - 1);
    }
    quant->escapes.n = 0; /* all of them again, in order: those without a symbol have symbol 0 */
    for (uint32_t t = 0; t < rows->n_tok && !code; t++) {
        uint8_t *symbol = quant->symbol + t * quant->symbol_stride;
        if (isa->outside(symbol, low, last, n_chan))
            code = clip_row(quant, symbol, t, low, last, n_chan, isa, err);
    }
    free(low);
    return code;
}

size_t kvs_quant_scratch(const struct kvs_layout *at)
{
    return 3 * (size_t)kvs_up(at->n_chan, 64); /* see order_of */
}

/* Where the streams' places have their models, and whose place each is. */
struct enc_order {
    uint16_t *base, *delta, *low; /* [n_chan, to the next 32]: see kern.h */
    uint8_t *from;                /* likewise: channel of the part at each place */
    uint8_t *block;               /* of each 16 */
    bool moved, each;             /* some stand elsewhere; 16 side by side share a model */
};
static struct enc_order order_of(const struct kvs_quant *quant, uint32_t n_chan,
                                 const struct kvs_rans_model *model, int32_t *scratch)
{
    uint32_t wide = kvs_up(n_chan, 64), room = kvs_part_chan(n_chan);
    struct enc_order order = {.base = (void *)scratch};
    uint8_t *place;

    order.delta = order.base + wide;
    order.low = order.delta + wide;
    order.from = (void *)(order.low + wide);
    order.block = order.from + wide;
    place = order.block + wide;
    order.moved = kvs_order(place, quant->model, n_chan);
    order.each = n_chan % KVS_RANS_LANES == 0;
    memset(order.base, 0, wide * sizeof *order.base);
    for (uint32_t c = 0; c < wide; c++)
        order.from[c] = (uint8_t)(c % room); /* lanes beyond the last */
    for (uint32_t c = 0; c < n_chan; c++) {
        uint32_t m = quant->model[c], at = c - c % room + place[c];
        order.from[at] = (uint8_t)(c % room);
        order.base[at] = (uint16_t)(m * KVS_N_SYMBOL);
        order.delta[at] = (uint16_t) - (model[m].first << model[m].low);
        order.low[at] = model[m].low;
    }
    for (uint32_t at = 0; at < n_chan; at++)
        order.each = order.each && order.base[at] == order.base[at / 16 * 16];
    return order;
}

/* The section's models, one after another. */
static void flatten(struct kvs_rans_flat *flat, const struct enc_order *order, uint32_t n_chan,
                    const struct kvs_rans_model *model, const struct kvs_rans_enc *enc)
{
    uint8_t block[KVS_N_MODEL] = {0};
    bool seen[KVS_N_MODEL] = {false};
    uint8_t next = 0;

    flat->split = false;
    for (uint32_t g = 0; g < n_chan / 16; g++) {
        uint32_t m = order->base[16 * g] / KVS_N_SYMBOL, low = model[m].low;
        if (!seen[m]) {
            uint32_t at = next * KVS_RANS_SYMBOL;
            seen[m] = true;
            block[m] = next++;
            assert(next <= KVS_FLAT_MODELS); /* K's models or V's */
            flat->split = flat->split || low > 0;
            for (uint32_t s = model[m].first; s < model[m].first + model[m].n; s++, at++) {
                uint32_t rest = enc->rest[m * KVS_N_SYMBOL + (s << low)];
                flat->freq[at] = (uint16_t)(rest % KVS_RANS_M | low << (KVS_RANS_BITS + 2));
                flat->first[at] = (uint16_t)(rest >> KVS_RANS_BITS);
            }
        }
        order->block[g] = block[m];
    }
}

uint32_t kvs_quant_encode(const struct kvs_quant *quant, const struct kvs_layout *at,
                          const struct kvs_rans_model *model, const struct kvs_rans_enc *enc,
                          uint8_t *section, uint16_t *word, int32_t *scratch,
                          const struct kvs_kvf_isa *isa)
{
    struct kvs_rans_flat flat; /* blocks beyond the last model: never looked at */
    struct enc_order order = order_of(quant, at->n_chan, model, scratch);
    struct kvs_rans_enc part = {enc->rest, enc->slot};
    uint32_t n_all = 0, room = kvs_part_chan(at->n_chan);
    uint32_t *n_word = (void *)(section + at->stream_at), *state = n_word + at->n_stream;
    uint16_t *to = (void *)(section + at->payload_at);

    if (quant->model[0] >= KVS_N_CLASS)
        part.slot += (size_t)KVS_N_CLASS * KVS_RANS_M;
    if (order.each)
        flatten(&flat, &order, at->n_chan, model, enc);
    for (uint32_t s = 0; s < at->n_stream;) {
        struct kvs_stream_job job[4];
        unsigned n = 0;
        for (; n < 4 && s + n < at->n_stream; n++) {
            uint32_t tok = (s + n) / at->n_part * KVS_RANS_TOK, chan = (s + n) % at->n_part * room;
            job[n] = (struct kvs_stream_job){
                .n_tok = at->n_tok - tok < KVS_RANS_TOK ? at->n_tok - tok : KVS_RANS_TOK,
                .n_chan = at->n_chan - chan < room ? at->n_chan - chan : room,
                .state = state + (size_t)(s + n) * KVS_RANS_LANES,
                .word = word + (size_t)n * KVS_ENC_WORDS,
                .base = order.base + chan,
                .flat = order.each ? &flat : NULL,
                .block = order.block + chan / 16,
                .delta = order.delta + chan,
                .low = order.low + chan,
                .symbol = quant->symbol + tok * quant->symbol_stride + chan,
                .symbol_stride = quant->symbol_stride,
            };
            if (n && (job[n].n_tok != job[0].n_tok || job[n].n_chan != job[0].n_chan))
                break;
            if (order.moved)
                isa->place(quant->symbol + tok * quant->symbol_stride + chan, quant->symbol_stride,
                           job[n].n_tok, order.from + chan, job[n].n_chan);
        }
        isa->rans_encode(job, n, &part);
        for (unsigned i = 0; i < n; i++, s++) {
            isa->turn(to + n_all, job[i].word, job[i].n_word);
            n_word[s] = job[i].n_word;
            n_all += job[i].n_word;
        }
    }
    return n_all;
}
