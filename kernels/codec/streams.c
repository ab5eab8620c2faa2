/*
 * streams.c - from symbols to streams: where channels stand, what their symbols are coded with,
 * four streams at once.
 */
#include "encode.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* At once: streams that come after each other, of as many sections at most. */
enum { AT_ONCE = 4, ENC_WORDS = KVS_RANS_TOK * KVS_RANS_CHAN + KVS_RANS_LANES };

/* Rows of 16 bits a channel that an order has: three, and three of 8 bits. */
enum { ORDER_ROWS = 5 };

/* Where a section's streams have their models, and whose place each is. */
struct order {
    struct kvs_rans_flat flat;    /* if each; blocks beyond the last model: never looked at */
    uint16_t *base, *delta, *low; /* [n_chan, to the next 64]: see kern.h */
    uint8_t *from;                /* likewise: channel of the part at each place */
    uint8_t *place;               /* likewise: the channels' places in their part */
    uint8_t *block;               /* of each 16 */
    bool moved, each;             /* some stand elsewhere; 16 side by side share a model */
};

struct kvs_coder {
    struct order order[AT_ONCE]; /* of the sections that became ready last, in turn */
    struct kvs_coder_in in;
    uint32_t n_ready; /* sections of which all but the streams is known */
    unsigned n_order;
    uint32_t section, stream; /* the next to be coded */
    struct kvs_stream_job job[AT_ONCE];
    unsigned n, given; /* streams in job; that are given out */
    uint32_t state[AT_ONCE][KVS_RANS_LANES];
    uint16_t word[AT_ONCE][ENC_WORDS]; /* the last first */
    uint16_t room[];                   /* of the orders */
};

struct kvs_coder *kvs_coder_new(const struct kvs_coder_in *in)
{
    size_t wide = kvs_up(in->n_chan, 64), n_room = ORDER_ROWS * wide;
    size_t n = sizeof(struct kvs_coder) + AT_ONCE * n_room * sizeof(uint16_t);
    struct kvs_coder *coder = aligned_alloc(64, (n + 63) / 64 * 64);

    if (!coder)
        return NULL;
    memset(coder, 0, offsetof(struct kvs_coder, word));
    coder->in = *in;
    for (unsigned i = 0; i < AT_ONCE; i++) {
        struct order *order = &coder->order[i];
        order->base = coder->room + i * n_room;
        order->delta = order->base + wide;
        order->low = order->delta + wide;
        order->from = (void *)(order->low + wide);
        order->place = order->from + wide;
        order->block = order->place + wide;
    }
    return coder;
}

void kvs_coder_free(struct kvs_coder *coder)
{
    free(coder);
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

/* Symbols that their model has not become escapes. */
static enum kvs_code clip(struct kvs_quant *quant, uint32_t n_chan,
                          const struct kvs_rans_model *model, const struct kvs_kvf_isa *isa,
                          struct kvs_err *err)
{
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
    for (uint32_t t = 0; t < quant->n_tok && !code; t++) {
        uint8_t *symbol = quant->symbol + t * quant->symbol_stride;
        if (isa->outside(symbol, low, last, n_chan))
            code = clip_row(quant, symbol, t, low, last, n_chan, isa, err);
    }
    free(low);
    return code;
}

static void order_channels(struct order *order, const struct kvs_quant *quant, uint32_t n_chan,
                           const struct kvs_rans_model *model)
{
    uint32_t wide = kvs_up(n_chan, 64), room = kvs_part_chan(n_chan);

    order->moved = kvs_order(order->place, quant->model, n_chan);
    order->each = n_chan % KVS_RANS_LANES == 0;
    memset(order->base, 0, wide * sizeof *order->base);
    for (uint32_t c = 0; c < wide; c++)
        order->from[c] = (uint8_t)(c % room); /* lanes beyond the last */
    for (uint32_t c = 0; c < n_chan; c++) {
        uint32_t m = quant->model[c], at = c - c % room + order->place[c];
        order->from[at] = (uint8_t)(c % room);
        order->base[at] = (uint16_t)(m * KVS_N_SYMBOL);
        order->delta[at] = (uint16_t) - (model[m].first << model[m].low);
        order->low[at] = model[m].low;
    }
    for (uint32_t at = 0; at < n_chan; at++)
        order->each = order->each && order->base[at] == order->base[at / 16 * 16];
}

/* The section's models, one after another. */
static void flatten(struct order *order, uint32_t n_chan, const struct kvs_rans_model *model,
                    const struct kvs_rans_enc *enc)
{
    struct kvs_rans_flat *flat = &order->flat;
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
            flat->low[block[m]] = low;
            for (uint32_t s = model[m].first; s < model[m].first + model[m].n; s++, at++) {
                uint32_t rest = enc->rest[m * KVS_N_SYMBOL + (s << low)];
                flat->freq16[at] = (uint16_t)(rest % KVS_RANS_M << 4);
                flat->first[at] = (uint16_t)(rest >> KVS_RANS_BITS);
            }
        }
        order->block[g] = block[m];
    }
}

enum kvs_code kvs_coder_section(struct kvs_coder *coder, uint32_t i, struct kvs_err *err)
{
    const struct kvs_coder_in *in = &coder->in;
    struct kvs_quant *quant = &in->quant[i];
    struct order *order;

    if (i < coder->n_ready)
        return KVS_OK;
    coder->n_ready = i + 1;
    quant->order = coder->n_order++ % AT_ONCE;
    order = &coder->order[quant->order];
    if (clip(quant, in->n_chan, in->model, in->isa, err))
        return err->code;
    order_channels(order, quant, in->n_chan, in->model);
    if (order->each)
        flatten(order, in->n_chan, in->model, in->enc);
    return KVS_OK;
}

static uint32_t n_part(uint32_t n_chan)
{
    return (n_chan + KVS_RANS_CHAN - 1) / KVS_RANS_CHAN;
}

/* What is to be done for stream s of section i, which is ready. */
static struct kvs_stream_job job_of(const struct kvs_coder *coder, uint32_t i, uint32_t s)
{
    const struct kvs_coder_in *in = &coder->in;
    const struct kvs_quant *quant = &in->quant[i];
    const struct order *order = &coder->order[quant->order];
    uint32_t room = kvs_part_chan(in->n_chan);
    uint32_t tok = s / n_part(in->n_chan) * KVS_RANS_TOK, chan = s % n_part(in->n_chan) * room;
    bool is_v = quant->model[0] >= KVS_N_CLASS;

    return (struct kvs_stream_job){
        .n_tok = quant->n_tok - tok < KVS_RANS_TOK ? quant->n_tok - tok : KVS_RANS_TOK,
        .n_chan = in->n_chan - chan < room ? in->n_chan - chan : room,
        .base = order->base + chan,
        .flat = order->each ? &order->flat : NULL,
        .block = order->block + chan / 16,
        .delta = order->delta + chan,
        .low = order->low + chan,
        .slot = in->enc->slot + (is_v ? (size_t)KVS_N_CLASS * KVS_RANS_M : 0),
        .symbol = quant->symbol + tok * quant->symbol_stride + chan,
        .symbol_stride = quant->symbol_stride,
    };
}

/* Codes the streams that come next, as many of a shape as go at once. */
static enum kvs_code code_streams(struct kvs_coder *coder, struct kvs_err *err)
{
    const struct kvs_coder_in *in = &coder->in;
    struct kvs_stream_job *first = &coder->job[0];

    coder->n = coder->given = 0;
    while (coder->n < AT_ONCE && coder->section < in->n_section) {
        struct kvs_quant *quant = &in->quant[coder->section];
        uint32_t n_stream = (quant->n_tok + KVS_RANS_TOK - 1) / KVS_RANS_TOK * n_part(in->n_chan);
        if (coder->stream == n_stream) {
            coder->section++;
            coder->stream = 0;
            continue;
        }
        if (kvs_coder_section(coder, coder->section, err))
            return err->code;
        struct kvs_stream_job job = job_of(coder, coder->section, coder->stream);
        const struct order *order = &coder->order[quant->order];
        if (coder->n && (job.n_tok != first->n_tok || job.n_chan != first->n_chan))
            break;
        if (order->moved)
            in->isa->place(quant->symbol + (job.symbol - quant->symbol), job.symbol_stride,
                           job.n_tok, order->from + (job.base - order->base), job.n_chan);
        job.state = coder->state[coder->n];
        job.word = coder->word[coder->n];
        coder->job[coder->n++] = job;
        coder->stream++;
    }
    in->isa->rans_encode(coder->job, coder->n, in->enc->rest);
    return KVS_OK;
}

enum kvs_code kvs_coder_stream(struct kvs_coder *coder, const struct kvs_stream_job **stream,
                               struct kvs_err *err)
{
    if (coder->given == coder->n && code_streams(coder, err))
        return err->code;
    assert(coder->given < coder->n);
    *stream = &coder->job[coder->given++];
    return KVS_OK;
}
