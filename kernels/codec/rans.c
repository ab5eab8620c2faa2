#include "rans.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { ESCAPE_BITS = 48, RARE_BITS = KVS_RANS_BITS };

/* Whether n of total elements cost more as a symbol, which takes a slot from the others, than as
 * escapes. */
static bool too_rare(uint64_t n, uint64_t total)
{
    const double slot = 1.4427 / KVS_RANS_M; /* bits an element that a slot less costs the others */
    return (double)n * (ESCAPE_BITS - RARE_BITS) < slot * (double)total;
}

/* Gives or takes slots, one at a time, where it costs least, until the sum is right. */
static void settle(uint16_t *freq, const uint32_t *count, unsigned first, unsigned n, int sum)
{
    for (; sum != KVS_RANS_M; sum += sum < KVS_RANS_M ? 1 : -1) {
        int step = sum < KVS_RANS_M ? 1 : -1;
        double best = -HUGE_VAL;
        unsigned at = first;
        for (unsigned s = first; s < first + n; s++) {
            if (step < 0 && freq[s] < 2)
                continue;
            double gain =
                (double)count[s] * (step < 0 ? -1. / (freq[s] - .5) : 1. / (freq[s] + .5));
            if (gain > best) {
                best = gain;
                at = s;
            }
        }
        freq[at] = (uint16_t)(freq[at] + step);
    }
}

static void values(struct kvs_rans_model *model, const float *offset)
{
    int most = 0, first = model->first, end = first + model->n;

    model->fraction = 0;
    if (model->low) { /* so many to a deviation that their centroids lie in the middle */
        for (int s = first; s < end; s++)
            model->value[s] = (int16_t)((s << model->low) - KVS_SYMBOL_ZERO);
        return;
    }
    for (int s = first; s < end; s++) {
        int away = s < KVS_SYMBOL_ZERO ? KVS_SYMBOL_ZERO - s : s - KVS_SYMBOL_ZERO;
        most = away > most ? away : most;
    }
    while (model->fraction < 9 && /* the half: offset */
           (2 * most + 1) << (model->fraction + 1) <= 2 * KVS_RANS_VALUE_MAX)
        model->fraction++;
    for (int s = first; s < end; s++) {
        float beside = fminf(fmaxf(offset[s], -.5f), .5f);
        model->value[s] = (int16_t)lrintf(((float)(s - KVS_SYMBOL_ZERO) + beside) *
                                          (float)(1 << model->fraction));
    }
}

/* Which symbols are worth a slot, of few enough: as many low bits are left to themselves. */
static void choose_symbols(struct kvs_rans_model *model, uint32_t count[KVS_N_SYMBOL],
                           uint64_t total)
{
    for (int n = KVS_N_SYMBOL;; n /= 2) {
        int zero = KVS_SYMBOL_ZERO >> model->low, low = 0, high = n - 1;
        /* symbol zero stays, it stands in for escapes; a table has two symbols at least */
        while (low < zero && too_rare(count[low], total))
            low++;
        while (high > zero && too_rare(count[high], total))
            high--;
        high += low == high;
        model->first = (uint16_t)low;
        model->n = (uint16_t)(high - low + 1);
        if (model->n <= KVS_RANS_SYMBOL)
            return;
        model->low++;
        for (int s = 0; s < n; s++)
            count[s] = s < n / 2 ? count[2 * s] + count[2 * s + 1] : 0;
    }
}

void kvs_rans_fit(struct kvs_rans_model *model, const uint32_t of_symbol[KVS_N_SYMBOL],
                  const float offset[KVS_N_SYMBOL])
{
    uint64_t total = 0, kept = 0;
    uint32_t count[KVS_N_SYMBOL] = {0};
    int sum = 0;

    memset(model, 0, sizeof *model);
    for (int s = 1; s < KVS_N_SYMBOL; s++)
        total += count[s] = of_symbol[s];
    count[KVS_SYMBOL_ZERO] += of_symbol[0]; /* escapes, which it stands in for */
    total += of_symbol[0];
    choose_symbols(model, count, total);
    for (int s = model->first; s < model->first + model->n; s++)
        kept += count[s];
    for (int s = model->first; s < model->first + model->n; s++) {
        double share = kept ? (double)count[s] / (double)kept : 1. / model->n;
        int freq = (int)(share * KVS_RANS_M + .5);
        freq = freq < 1 ? 1 : freq > KVS_RANS_M - 1 ? KVS_RANS_M - 1 : freq;
        model->freq[s] = (uint16_t)freq;
        sum += freq;
    }
    settle(model->freq, count, model->first, model->n, sum);
    values(model, offset);
}

double kvs_rans_cost(const struct kvs_rans_model *model, const uint32_t count[KVS_N_SYMBOL])
{
    double bits = 0, each = KVS_RANS_BITS + model->low;
    uint64_t total = 0;

    for (int s = 1; s < KVS_N_SYMBOL; s++) {
        uint16_t freq = model->freq[s >> model->low];
        total += count[s];
        if (count[s] && freq)
            bits += count[s] * (each - log2(freq));
        else
            bits += (double)count[s] *
                    (ESCAPE_BITS + each - log2(model->freq[KVS_SYMBOL_ZERO >> model->low]));
    }
    return total ? bits / (double)total : 0;
}

void kvs_rans_alias(struct kvs_rans_alias *alias, const uint16_t *freq, uint32_t n)
{
    enum { N = KVS_RANS_SYMBOL, WIDE = KVS_RANS_WIDE };
    uint32_t left[N] = {0}, next[N], large = 0;
    bool done[N] = {false};

    assert(n <= N);
    for (uint32_t s = 0; s < n; s++)
        left[s] = freq[s];
    while (large < N && left[large] < WIDE)
        large++;
    for (uint32_t i = 0; i < N; i++)
        for (uint32_t b = i; !done[b] && left[b] < WIDE;) {
            assert(large < N); /* what is missing here is too much there */
            uint32_t from = large;
            done[b] = true;
            alias->other[b] = (uint8_t)from;
            left[from] -= WIDE - left[b];
            if (left[from] >= WIDE)
                break;
            while (large < N && (done[large] || left[large] < WIDE))
                large++;
            b = from;
        }
    for (uint32_t b = 0; b < N; b++) {
        next[b] = left[b];
        alias->own[b] = (uint8_t)left[b];
        alias->other[b] = done[b] ? alias->other[b] : (uint8_t)b;
    }
    for (uint32_t b = 0; b < N; b++) {
        alias->rank[b] = (uint16_t)next[alias->other[b]];
        next[alias->other[b]] += WIDE - left[b];
    }
}

/* The symbol and the rank of a slot. */
static uint32_t symbol_of(const struct kvs_rans_alias *alias, uint32_t slot, uint32_t *rank)
{
    uint32_t b = slot / KVS_RANS_WIDE, in = slot % KVS_RANS_WIDE;

    if (in < alias->own[b]) {
        *rank = in;
        return b;
    }
    *rank = alias->rank[b] + in - alias->own[b];
    return alias->other[b];
}

void kvs_rans_table(uint32_t table[KVS_RANS_M], const struct kvs_rans_alias *alias,
                    const uint16_t *freq, const int16_t *value)
{
    for (uint32_t slot = 0; slot < KVS_RANS_M; slot++) {
        uint32_t rank, s = symbol_of(alias, slot, &rank);
        table[slot] = (uint32_t)value[s] << 22 | (uint32_t)freq[s] << KVS_RANS_BITS | rank;
    }
}

void kvs_rans_small(struct kvs_rans_small *small, const struct kvs_rans_alias *alias,
                    const uint16_t *freq, const int16_t *value, uint32_t n)
{
    memset(small, 0, sizeof *small);
    for (uint32_t b = 0; b < KVS_RANS_SYMBOL; b++) {
        uint32_t own = alias->own[b], other = alias->other[b], rank = alias->rank[b];
        bool all = own == KVS_RANS_WIDE;
        small->bucket[b] = (uint16_t)(all ? b : own << 11 | other);
        small->rank[b] = (uint16_t)(all ? 0 : rank - own);
    }
    for (uint32_t s = 0; s < n; s++) {
        small->freq[s] = (uint16_t)(freq[s] << 5);
        small->value[s] = (uint16_t)(value[s] + 512);
    }
}

void kvs_rans_enc_table(struct kvs_rans_enc *enc, uint32_t m, const struct kvs_rans_model *model)
{
    struct kvs_rans_alias alias;
    uint32_t cum = m * KVS_RANS_M, from[KVS_RANS_SYMBOL] = {0}, rank, n = model->n;

    for (uint32_t s = model->first; s < model->first + n; s++) {
        uint32_t freq = model->freq[s], low = model->low;
        for (uint32_t i = 0; i < 1u << low; i++)
            enc->rest[m * KVS_N_SYMBOL + (s << low) + i] =
                freq | cum << KVS_RANS_BITS | i << 28 | low << 30;
        from[s - model->first] = cum;
        cum += freq;
    }
    kvs_rans_alias(&alias, model->freq + model->first, n);
    for (uint32_t slot = 0; slot < KVS_RANS_M; slot++) {
        uint32_t s = symbol_of(&alias, slot, &rank);
        enc->slot[from[s] + rank] = (uint16_t)slot;
    }
}
