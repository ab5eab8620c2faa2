/* quant.c - sections of e-levels: steps and symbols. */
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

/* Others, infinite ones too, have steps as without weights. */
static bool weighs(float weight, float deviation)
{
    return weight > 0 && weight < INFINITY && deviation > 0;
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
        if (weighs(weight[c], deviation[c])) {
            sum += log((double)deviation[c] * sqrt((double)weight[c]));
            n++;
        }
    double level = n ? share * exp(sum / n) : 0;
    for (uint32_t c = 0; c < n_chan; c++)
        if (weighs(weight[c], deviation[c])) {
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

/* What was counted by pairs, to its model. */
static void end_pairs(struct kvs_counts *counts, unsigned kv, const struct kvs_kvf_isa *isa)
{
    if (counts->pair_any[kv]) {
        isa->count_pairs(counts->count[counts->pair_model[kv]], counts->pair[kv]);
        memset(counts->pair[kv], 0, sizeof counts->pair[kv]);
    }
    counts->pair_any[kv] = false;
}

/* Counts of symbols. base: where channels' models begin. */
static void count(struct kvs_counts *counts, const struct kvs_quant *quant,
                  const struct kvs_rows *rows, const uint16_t *base, const struct kvs_kvf_isa *isa)
{
    size_t stride = quant->symbol_stride * counts->every;
    uint32_t n_tok = (rows->n_tok + counts->every - 1) / counts->every;
    uint8_t model = quant->model[0];

    if (!one_model(quant, rows->n_chan)) {
        isa->count_each(counts->each, base, quant->symbol, stride, n_tok, rows->n_chan);
        return;
    }
    if (counts->pair_model[rows->kv] != model) /* seldom: without weights all is of one */
        end_pairs(counts, rows->kv, isa);
    counts->pair_model[rows->kv] = model;
    counts->pair_any[rows->kv] = true;
    isa->count(counts->count[model], counts->pair[rows->kv], quant->symbol, stride, n_tok,
               rows->n_chan);
}

void kvs_counts_end(struct kvs_counts *counts, const struct kvs_kvf_isa *isa)
{
    enum { N = KVS_N_SYMBOL };
    end_pairs(counts, KVS_K, isa);
    end_pairs(counts, KVS_V, isa);
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
            kvs_counts_end(counts, isa);
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

    quant->n_tok = rows->n_tok;
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
        if (n_chan % 32 != 0) /* lanes beyond the last */
            memset(symbol + quant->symbol_stride - 32, KVS_SYMBOL_ZERO, 32);
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
