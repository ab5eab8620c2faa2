/* decode_gpu.c - all that the GPU's decoder would have to check. */
#include "decode.h"
#include "gpu.h"

#include <assert.h>
#include <stdlib.h>

#define FAIL(...) kvs_fail(err, KVS_ERR_PARSE, __VA_ARGS__)

static enum kvs_code check_streams(struct kvs_decoder *d, uint32_t *word_at, uint8_t *order,
                                   struct kvs_err *err)
{
    const struct kvs_layout *at = &d->at;
    const uint8_t *table = kvs_decoder_tables(d);
    uint32_t room = kvs_part_chan(at->n_chan);
    const uint32_t *n_word = (const void *)(d->bytes + at->stream_at);
    uint64_t sum = 0;

    for (uint32_t c = 0; c < at->n_chan; c++)
        if (table[c] >= d->codec->n_table)
            return FAIL("%s: channel %u: found table %u of %u", d->codec->name, c, table[c],
                        d->codec->n_table);
    if (kvs_decoder_scratch(d, err))
        return KVS_ERR_NOMEM;
    (void)kvs_order(d->place, table, at->n_chan);
    for (uint32_t c = 0; c < at->n_chan; c++)
        order[c - c % room + d->place[c]] = (uint8_t)(c % room);
    free(d->scratch);
    word_at[0] = 0;
    for (uint32_t s = 0; s < at->n_stream; s++) {
        if (kvs_decoder_check_states(d, s, err))
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
    struct kvs_decoder d = {.codec = codec, .isa = kvs_kvf_isa(NULL)};
    enum kvs_code code = kvs_decoder_find(&d, i, bytes, err);
    uint64_t next = 0;

    if (code)
        return code;
    assert(d.entry);
    enum kvs_level level = (enum kvs_level)d.entry->level;
    uint32_t n_param = d.at.n_tok == 0         ? 0 /* all are sinks: there is nothing to decode */
                       : kvs_level_is_p(level) ? 2 * d.at.n_param
                       : kvs_level_is_e(level) ? 2 * d.at.n_chan
                       : level == KVS_FP8      ? d.at.n_param
                                               : 0;
    code = kvs_decoder_check_params(&d, (const void *)(d.bytes + d.at.param_at), n_param,
                                    level == KVS_FP8 ? n_param : n_param / 2, err);
    if (!code && kvs_level_is_e(level) && d.at.n_tok)
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
