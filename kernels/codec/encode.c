/* encode.c - a file from its elements: sections side by side, behind them what finds them. */
#include "encode.h"
#include "half.h"

#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>

/* Symbols that tables are fitted to, at least; of more, tokens are left out. */
enum { ENOUGH = 1 << 22 };

struct encoder {
    const struct kvs_kvf_in *in;
    const struct kvs_kvf_isa *isa;
    struct kvs_kvf_memory *memory, own; /* the caller's, or its own; the file is in its bytes */
    size_t n;
    uint32_t n_section;
    struct kvs_quant *quant; /* [n_section] */
    struct kvs_counts *counts;
    struct kvs_rans_model model[KVS_N_MODEL];
    uint8_t table_of[KVS_N_MODEL]; /* number in the file */
    uint32_t n_table, table_bytes;
    struct kvs_rans_enc enc; /* one allocation, rest's */
    uint8_t *symbol;         /* of all sections */
    struct kvs_coder *coder;
    uint16_t *calm;
};

static uint32_t block_of(const struct encoder *e, uint32_t i)
{
    assert(e->in->shape.n_layer > 0);
    return i / (e->in->shape.n_layer * 2);
}

/* Place of a section's K or V among all layers'. */
static uint32_t part_of(const struct encoder *e, uint32_t i)
{
    uint32_t n_part = e->in->shape.n_layer * 2;
    assert(n_part > 0);
    return i % n_part;
}

/* The file grows to n bytes; what is new is anything. */
static enum kvs_code grow(struct encoder *e, size_t n, struct kvs_err *err)
{
    struct kvs_kvf_memory *memory = e->memory;

    if (n > memory->room) {
        size_t room = memory->room * 2 > n ? memory->room * 2 : n;
        uint8_t *more = realloc(memory->bytes, room);
        if (!more) {
            (void)kvs_nomem(err);
            return KVS_ERR_NOMEM;
        }
        memory->bytes = more;
        memory->room = room;
    }
    e->n = n;
    return KVS_OK;
}

enum kvs_code kvs_rows_calm(struct kvs_rows *rows, uint16_t **room, struct kvs_err *err)
{
    size_t n = (size_t)rows->n_tok * rows->n_chan;
    assert(n > 0); /* there is a number that is huge */
    uint16_t *calm = realloc(*room, n * sizeof *calm);

    if (!calm)
        return kvs_nomem(err);
    for (size_t k = 0; k < n; k++)
        calm[k] = (rows->x[k] & 0x7fff) > kvs_half_huge(rows->half) ? 0 : rows->x[k];
    rows->calm = *room = calm;
    return KVS_OK;
}

/* The elements of the section after i, if it is as long; else NULL. They are fetched while i is
 * worked on: it does not lie beside i, so the CPU would not do so by itself. */
static const uint16_t *next_of(const struct encoder *e, uint32_t i)
{
    const struct kvs_kvf_shape *shape = &e->in->shape;
    uint32_t next = i + 1, block = block_of(e, next);

    if (next >= e->n_section || kvs_block_tok(shape, block) < kvs_block_tok(shape, block_of(e, i)))
        return NULL;
    return e->in->x[part_of(e, next)] + (size_t)block * shape->block_tok * kvs_kvf_n_chan(shape);
}

/* The coded elements of section i; the sinks lie before them. calm is x. */
static void rows_of(const struct encoder *e, uint32_t i, struct kvs_rows *rows)
{
    const struct kvs_kvf_shape *shape = &e->in->shape;
    uint32_t block = block_of(e, i), part = part_of(e, i), n_chan = kvs_kvf_n_chan(shape);
    uint32_t sink = kvs_block_sink(shape, block);

    rows->n_tok = kvs_block_tok(shape, block) - sink;
    rows->n_chan = n_chan;
    rows->half = shape->half;
    rows->kv = (enum kvs_kv)(part % 2);
    rows->level = (enum kvs_level)e->in->level[part];
    rows->x = e->in->x[part] + ((size_t)block * shape->block_tok + sink) * n_chan;
    rows->calm = rows->x;
    rows->next = next_of(e, i);
}

/* What e-levels want, if there are some: room for symbols, counts, who codes them. */
static enum kvs_code rooms(struct encoder *e, struct kvs_err *err)
{
    const struct kvs_kvf_shape *shape = &e->in->shape;
    uint32_t n_chan = kvs_kvf_n_chan(shape), wide = kvs_up(n_chan, 32);
    size_t n = 0;

    for (uint32_t i = 0; i < shape->n_layer * 2; i++)
        n += kvs_level_is_e((enum kvs_level)e->in->level[i]) ? (size_t)shape->n_tok * wide : 0;
    if (n == 0)
        return KVS_OK;
    e->counts = calloc(1, sizeof *e->counts);
    if (!e->counts)
        return kvs_nomem(err);
    e->counts->every = 1;
    while (e->counts->every < 4 && n / e->counts->every >= 2 * ENOUGH)
        e->counts->every *= 2;
    e->symbol = kvs_memory_room(&e->memory->symbol, &e->memory->n_symbol, n);
    struct kvs_coder_in in = {.quant = e->quant,
                              .n_section = e->n_section,
                              .n_chan = n_chan,
                              .model = e->model,
                              .enc = &e->enc,
                              .isa = e->isa};
    e->coder = kvs_coder_new(&in);
    return e->symbol && e->coder ? KVS_OK : kvs_nomem(err);
}

static enum kvs_code analyse(struct encoder *e, struct kvs_err *err)
{
    uint8_t *symbol = e->symbol;

    for (uint32_t i = 0; i < e->n_section; i++) {
        struct kvs_rows rows;
        uint32_t part = part_of(e, i);
        const float *weight = e->in->weight ? e->in->weight[part] : NULL;
        if (!kvs_level_is_e((enum kvs_level)e->in->level[part]))
            continue;
        rows_of(e, i, &rows);
        e->quant[i].symbol = symbol;
        symbol += (size_t)rows.n_tok * kvs_up(rows.n_chan, 32);
        if (kvs_quant_section(&e->quant[i], e->counts, &rows, &e->calm, weight, e->isa, err))
            return err->code;
    }
    return KVS_OK;
}

static enum kvs_code fit_tables(struct encoder *e, struct kvs_err *err)
{
    if (!e->counts)
        return KVS_OK;
    e->enc.rest =
        calloc(KVS_N_MODEL, KVS_N_SYMBOL * sizeof *e->enc.rest + KVS_RANS_M * sizeof *e->enc.slot);
    if (!e->enc.rest)
        return kvs_nomem(err);
    e->enc.slot = (void *)(e->enc.rest + KVS_N_MODEL * KVS_N_SYMBOL);
    kvs_counts_end(e->counts, e->isa);
    for (uint32_t m = 0; m < KVS_N_MODEL; m++) {
        float offset[KVS_N_SYMBOL];
        if (!e->counts->used[m])
            continue;
        for (uint32_t s = 0; s < KVS_N_SYMBOL; s++) {
            double n = (double)e->counts->n_place[m * KVS_N_SYMBOL + s];
            double sum = (double)e->counts->sum_place[m * KVS_N_SYMBOL + s];
            offset[s] = n > 0 ? (float)(sum * 0x1p-16 / n - .5) : 0;
        }
        kvs_rans_fit(&e->model[m], e->counts->count[m], offset);
        kvs_rans_enc_table(&e->enc, m, &e->model[m]);
        e->table_of[m] = (uint8_t)e->n_table++;
        e->table_bytes += (uint32_t)sizeof(struct kvs_table_head) + 4u * e->model[m].n;
    }
    return KVS_OK;
}

static void write_tables(const struct encoder *e, uint8_t *to)
{
    for (uint32_t m = 0; m < KVS_N_MODEL; m++) {
        const struct kvs_rans_model *model = &e->model[m];
        struct kvs_table_head head = {model->n, (uint8_t)model->fraction, (uint8_t)model->low};
        if (!model->n)
            continue;
        memcpy(to, &head, sizeof head);
        memcpy(to + sizeof head, model->freq + model->first, model->n * sizeof *model->freq);
        memcpy(to + sizeof head + model->n * sizeof *model->freq, model->value + model->first,
               model->n * sizeof *model->value);
        to += sizeof head + 4u * model->n;
    }
}

/* The streams of section i into the output's end; how many words they have is known only then. */
static enum kvs_code write_streams(struct encoder *e, uint32_t i, size_t from,
                                   const struct kvs_layout *at, uint32_t *n_word,
                                   struct kvs_err *err)
{
    const struct kvs_quant *quant = &e->quant[i];
    size_t most = (size_t)at->n_tok * at->n_chan * sizeof(uint16_t);

    if (grow(e, from + at->payload_at + most, err))
        return err->code;
    uint8_t *section = e->memory->bytes + from, *param = section + at->param_at;
    memcpy(param, quant->mean, at->n_chan * 2);
    memcpy(param + at->n_chan * 2, quant->step, at->n_chan * 2);
    for (uint32_t c = 0; c < at->n_chan; c++)
        param[at->n_chan * 4 + c] = e->table_of[quant->model[c]];
    uint32_t *words = (void *)(section + at->stream_at), *state = words + at->n_stream;
    uint16_t *to = (void *)(section + at->payload_at);
    *n_word = 0;
    for (uint32_t s = 0; s < at->n_stream; s++) {
        const struct kvs_stream_job *stream;
        if (kvs_coder_stream(e->coder, &stream, err))
            return err->code;
        e->isa->turn(to + *n_word, stream->word, stream->n_word);
        memcpy(state + (size_t)s * KVS_RANS_LANES, stream->state, KVS_RANS_LANES * sizeof *state);
        words[s] = stream->n_word;
        *n_word += stream->n_word;
    }
    return KVS_OK;
}

/* Where a packed section of n_byte is made: in its place; or beside it, if that is in no cache and
 * its lines would come from memory only to be overwritten: of p8, as much again as it writes. */
static uint8_t *section_room(struct encoder *e, size_t from, size_t n_byte, enum kvs_level level)
{
    enum { LARGE = 32 << 10, LARGE_FILE = 4 << 20 };

    if (level != KVS_P8 || n_byte < LARGE || e->memory->room < LARGE_FILE)
        return e->memory->bytes + from;
    return kvs_memory_room(&e->memory->section, &e->memory->n_section, n_byte);
}

static void write_escapes(uint8_t *to, const struct kvs_escapes *escapes, const uint16_t *x)
{
    uint16_t value;

    if (escapes->n)
        memcpy(to, escapes->at, escapes->n * 4ull);
    to += escapes->n * 4ull;
    for (uint32_t i = 0; i < escapes->n; i++, to += 2) {
        value = x[escapes->at[i]];
        memcpy(to, &value, 2);
    }
}

static size_t payload_bytes(const struct kvs_layout *at, enum kvs_level level)
{
    if (level == KVS_RAW16)
        return (size_t)at->n_tok * at->n_chan * 2;
    return kvs_level_is_e(level) ? at->n_word * 2ull : at->n_tok * kvs_row_bytes(level, at->n_chan);
}

/* Section i at the end of the output. again: it holds nothing, and rows->calm must be other than
 * rows->x. */
static enum kvs_code put_section(struct encoder *e, uint32_t i, const struct kvs_rows *rows,
                                 const struct kvs_escapes *escapes, struct kvs_entry *entry,
                                 bool *again, struct kvs_err *err)
{
    const struct kvs_kvf_shape *shape = &e->in->shape;
    uint32_t block = block_of(e, i), layer = i / 2 % shape->n_layer;
    uint32_t n_tok = kvs_block_tok(shape, block), sink = kvs_block_sink(shape, block), n_word = 0;
    bool is_e = kvs_level_is_e(rows->level);
    size_t from = e->n;
    float *scratch = NULL;
    struct kvs_layout at = kvs_layout(shape, rows->level, rows->kv, n_tok, sink, escapes->n, 0);
    enum kvs_code code = KVS_OK;

    if (is_e) {
        code = grow(e, from + at.payload_at, err);
        if (!code) {
            memset(e->memory->bytes + from, 0, at.payload_at);
            code = write_streams(e, i, from, &at, &n_word, err);
        }
        at = kvs_layout(shape, rows->level, rows->kv, n_tok, sink, escapes->n, n_word);
    }
    size_t end = kvs_page_up(from + at.n_byte), payload = payload_bytes(&at, rows->level);
    if (code || (code = grow(e, end, err)))
        return code;
    assert(e->memory->bytes);
    uint8_t *section = e->memory->bytes + from;
    if (!is_e) {
        section = section_room(e, from, end - from, rows->level);
        scratch = malloc(kvs_pack_scratch(&at) * sizeof *scratch);
        if (!scratch || !section) {
            free(scratch);
            return kvs_nomem(err);
        }
        memset(section, 0, at.payload_at);
    }
    memset(section + at.payload_at + payload, 0, end - from - at.payload_at - payload);
    struct kvs_section_head head = {.magic = {'k', 'v', 's', 's'},
                                    .block = block,
                                    .layer = layer,
                                    .kv = (uint8_t)rows->kv,
                                    .level = (uint8_t)rows->level,
                                    .half = (uint8_t)shape->half,
                                    .n_tok = n_tok,
                                    .n_sink = sink,
                                    .n_chan = at.n_chan,
                                    .n_escape = escapes->n,
                                    .n_word = n_word};
    memcpy(section, &head, sizeof head);
    if (sink)
        memcpy(section + at.sink_at, rows->x - (size_t)sink * at.n_chan,
               (size_t)sink * at.n_chan * 2);
    *again = !is_e && !kvs_pack_section(section, &at, rows, shape->n_kv_head, scratch, e->isa);
    write_escapes(section + at.escape_at, escapes, rows->x);
    *entry = (struct kvs_entry){.at_bytes = from,
                                .n_byte = at.n_byte,
                                .hash = *again ? 0 : e->isa->hash(section, at.n_byte),
                                .block = block,
                                .layer = layer,
                                .kv = (uint8_t)rows->kv,
                                .level = (uint8_t)rows->level,
                                .first_tok = block * shape->block_tok,
                                .n_tok = n_tok};
    if (section != e->memory->bytes + from && !*again)
        e->isa->copy(e->memory->bytes + from, section, end - from);
    free(scratch);
    return KVS_OK;
}

/* Packed levels find what is huge while they look for extremes: there seldom is any. */
static enum kvs_code write_section(struct encoder *e, uint32_t i, struct kvs_entry *entry,
                                   struct kvs_err *err)
{
    struct kvs_rows rows;
    struct kvs_escapes plain = {0}, *escapes = &plain;
    size_t from = e->n;
    bool again = false;
    enum kvs_code code;

    rows_of(e, i, &rows);
    if (kvs_level_is_e(rows.level)) {
        escapes = &e->quant[i].escapes;
        code = kvs_coder_section(e->coder, i, err);
    } else {
        code = kvs_pack_escapes(escapes, &rows, err);
    }
    if (!code)
        code = put_section(e, i, &rows, escapes, entry, &again, err);
    if (!code && again) {
        code = kvs_rows_calm(&rows, &e->calm, err);
        if (!code)
            code = kvs_pack_escapes(escapes, &rows, err);
        e->n = from;
        if (!code)
            code = put_section(e, i, &rows, escapes, entry, &again, err);
        assert(code || !again);
    }
    free(plain.at);
    return code;
}

static enum kvs_code write_file(struct encoder *e, struct kvs_err *err)
{
    const struct kvs_kvf_shape *shape = &e->in->shape;
    size_t table_at = KVS_KVF_PAGE, entry_at = table_at + kvs_page_up(e->table_bytes);
    struct kvs_entry *entry = calloc(e->n_section, sizeof *entry);
    enum kvs_code code = KVS_OK;

    if (!entry) {
        (void)kvs_nomem(err);
        return KVS_ERR_NOMEM;
    }
    /* as if nothing were saved: pages that are not touched cost nothing */
    size_t before = entry_at + kvs_page_up(e->n_section * sizeof *entry);
    size_t room = before + (size_t)shape->n_tok * kvs_kvf_n_chan(shape) * shape->n_layer * 4 +
                  (size_t)e->n_section * 2 * KVS_KVF_PAGE;
    if (!kvs_memory_room(&e->memory->bytes, &e->memory->room, room))
        code = kvs_nomem(err);
    if (!code)
        memset(e->memory->bytes, 0, before);
    e->n = before;
    for (uint32_t i = 0; i < e->n_section && !code; i++)
        code = write_section(e, i, &entry[i], err);
    if (!code) {
        write_tables(e, e->memory->bytes + table_at);
        memcpy(e->memory->bytes + entry_at, entry, e->n_section * sizeof *entry);
        struct kvs_header head = {
            .major = KVS_KVF_MAJOR,
            .minor = KVS_KVF_MINOR,
            .header_bytes = KVS_KVF_PAGE,
            .flags = (uint32_t)shape->before_rope | (uint32_t)shape->hidden << 1,
            .first_layer = shape->first_layer,
            .half = (uint32_t)shape->half,
            .n_layer = shape->n_layer,
            .n_kv_head = shape->n_kv_head,
            .head_dim = shape->head_dim,
            .n_tok = shape->n_tok,
            .block_tok = shape->block_tok,
            .n_sink = shape->n_sink,
            .n_table = e->n_table,
            .table_bytes = e->table_bytes,
            .model_hash = {shape->model_hash[0], shape->model_hash[1]},
            .prefix_hash = {shape->prefix_hash[0], shape->prefix_hash[1]},
            .file_bytes = e->n,
            .table_hash = XXH3_64bits(e->memory->bytes + table_at, e->table_bytes),
            .directory_hash = XXH3_64bits(entry, e->n_section * sizeof *entry),
        };
        memcpy(head.magic, KVS_KVF_MAGIC, sizeof head.magic);
        head.header_hash = XXH3_64bits(&head, offsetof(struct kvs_header, header_hash));
        memcpy(e->memory->bytes, &head, sizeof head);
    }
    free(entry);
    return code;
}

static enum kvs_code check_in(const struct kvs_kvf_in *in, struct kvs_err *err)
{
    if (kvs_kvf_check_shape("codec", &in->shape, err))
        return err->code;
    for (uint32_t i = 0; i < in->shape.n_layer * 2; i++) {
        if (in->level[i] >= KVS_N_LEVEL)
            return kvs_fail(err, KVS_ERR_ARG, "codec: layer %u: there is no level %u", i / 2,
                            in->level[i]);
        if (in->level[i] == KVS_LX && in->shape.half != KVS_HALF_BF16)
            return kvs_fail(err, KVS_ERR_ARG,
                            "codec: layer %u: lx is for bf16, the elements are f16", i / 2);
    }
    return KVS_OK;
}

enum kvs_code kvs_kvf_encode_into(struct kvs_kvf_memory *memory, const struct kvs_kvf_in *in,
                                  const struct kvs_kvf_isa *isa, uint8_t **file, size_t *n_byte,
                                  struct kvs_err *err)
{
    struct encoder e = {.in = in, .isa = isa};
    struct kvs_err local = {0};

    e.memory = memory ? memory : &e.own;
    err = err ? err : &local;
    *file = NULL;
    *n_byte = 0;
    if (check_in(in, err))
        return err->code;
    assert(in->shape.n_layer > 0 && in->shape.block_tok > 0);
    uint64_t n_block = ((uint64_t)in->shape.n_tok + in->shape.block_tok - 1) / in->shape.block_tok;
    uint64_t n_section = n_block * in->shape.n_layer * 2;
    if (n_section > KVS_MAX_SECTION)
        return kvs_fail(err, KVS_ERR_RANGE, "codec: %llu sections, want at most %d",
                        (unsigned long long)n_section, KVS_MAX_SECTION);
    e.n_section = (uint32_t)n_section;
    e.quant = calloc(e.n_section, sizeof *e.quant);
    enum kvs_code code = e.quant ? KVS_OK : kvs_nomem(err);
    if (!code && !(code = rooms(&e, err)) && !(code = analyse(&e, err)) &&
        !(code = fit_tables(&e, err)))
        code = write_file(&e, err);
    if (!code) {
        uint8_t *fits = memory ? NULL : realloc(e.own.bytes, e.n);
        *file = fits ? fits : e.memory->bytes;
        *n_byte = e.n;
        e.own.bytes = NULL;
    }
    for (uint32_t i = 0; e.quant && i < e.n_section; i++)
        kvs_quant_free(&e.quant[i]);
    free(e.quant);
    free(e.counts);
    free(e.enc.rest);
    kvs_coder_free(e.coder);
    kvs_kvf_memory_free(&e.own);
    free(e.calm);
    return code;
}

enum kvs_code kvs_kvf_encode(const struct kvs_kvf_in *in, const struct kvs_kvf_isa *isa,
                             uint8_t **file, size_t *n_byte, struct kvs_err *err)
{
    return kvs_kvf_encode_into(NULL, in, isa, file, n_byte, err);
}
