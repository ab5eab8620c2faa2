#include "format.h"

#include <string.h>

const char *const kvs_level_names[KVS_N_LEVEL + 1] = {"raw16", "lx",   "fp8", "p8",   "p4",
                                                      "p3",    "p2",   "e6",  "e5",   "e4",
                                                      "e3",    "e2.5", "e2",  "e1.5", NULL};

bool kvs_level_find(const char *name, enum kvs_level *level)
{
    for (int l = 0; l < KVS_N_LEVEL; l++)
        if (strcmp(name, kvs_level_names[l]) == 0) {
            *level = (enum kvs_level)l;
            return true;
        }
    return false;
}

bool kvs_level_is_p(enum kvs_level level)
{
    return level >= KVS_P8 && level <= KVS_P2;
}

bool kvs_level_is_e(enum kvs_level level)
{
    return level >= KVS_E6 && level <= KVS_E1_5;
}

unsigned kvs_level_bits(enum kvs_level level)
{
    static const unsigned bits[] = {8, 4, 3, 2};
    return kvs_level_is_p(level) ? bits[level - KVS_P8] : 0;
}

uint32_t kvs_level_group(enum kvs_level level)
{
    return level == KVS_P2 ? 32 : 64;
}

double kvs_level_step(enum kvs_level level)
{
    static const double step[] = {1. / 16, 1. / 8, 1. / 4, .5, .75, 1, 1.5};
    return kvs_level_is_e(level) ? step[level - KVS_E6] : 0;
}

uint32_t kvs_part_chan(uint32_t n_chan)
{
    uint32_t n_part = (n_chan + KVS_RANS_CHAN - 1) / KVS_RANS_CHAN;
    return kvs_up((n_chan + n_part - 1) / n_part, KVS_RANS_LANES);
}

bool kvs_order(uint8_t *place, const uint8_t *table, uint32_t n_chan)
{
    uint32_t room = kvs_part_chan(n_chan), moved = 0;

    for (uint32_t from = 0; from < n_chan; from += room) {
        uint32_t n = n_chan - from < room ? n_chan - from : room, next[KVS_MAX_TABLE + 1] = {0};
        for (uint32_t c = from; c < from + n; c++)
            next[table[c] + 1]++;
        for (uint32_t t = 1; t < KVS_MAX_TABLE; t++)
            next[t] += next[t - 1];
        for (uint32_t c = from; c < from + n; c++) {
            place[c] = (uint8_t)next[table[c]]++;
            moved |= place[c] ^ (c - from);
        }
    }
    return moved != 0;
}

uint64_t kvs_row_bytes(enum kvs_level level, uint32_t n_chan)
{
    uint64_t n = kvs_up(n_chan, 64);
    switch (level) {
    case KVS_LX:
        return n / 2 + n;
    case KVS_FP8:
        return n;
    default:
        return n * kvs_level_bits(level) / 8;
    }
}

static uint64_t up16(uint64_t n)
{
    return (n + 15) / 16 * 16;
}

struct kvs_layout kvs_layout(const struct kvs_kvf_shape *shape, enum kvs_level level,
                             enum kvs_kv kv, uint32_t n_tok, uint32_t n_sink, uint32_t n_escape,
                             uint32_t n_word)
{
    struct kvs_layout at = {.n_tok = n_tok - n_sink,
                            .n_sink = n_sink,
                            .n_chan = kvs_kvf_n_chan(shape),
                            .n_escape = n_escape,
                            .n_word = n_word};
    uint64_t param = 0, stream = 0, payload;
    bool is_e = kvs_level_is_e(level);

    if (kvs_level_is_p(level)) {
        uint32_t n = kv == KVS_K ? at.n_tok : at.n_chan, group = kvs_level_group(level);
        at.n_group = (n + group - 1) / group;
        at.n_param = at.n_group * (kv == KVS_K ? at.n_chan : at.n_tok);
        param = (uint64_t)at.n_param * 4;
    } else if (is_e) {
        param = (uint64_t)at.n_chan * 5;
        at.n_part = (at.n_chan + KVS_RANS_CHAN - 1) / KVS_RANS_CHAN;
        at.n_stream = (at.n_tok + KVS_RANS_TOK - 1) / KVS_RANS_TOK * at.n_part;
        stream = (uint64_t)at.n_stream * 4 * (1 + KVS_RANS_LANES);
    } else if (level == KVS_FP8) {
        at.n_param = kv == KVS_K ? at.n_chan : shape->n_kv_head;
        param = (uint64_t)at.n_param * 2;
    } else if (level == KVS_LX) {
        param = KVS_LX_CODES;
    }
    payload = level == KVS_RAW16 ? (uint64_t)at.n_tok * at.n_chan * 2
              : is_e             ? (uint64_t)n_word * 2
                                 : at.n_tok * kvs_row_bytes(level, at.n_chan);
    at.sink_at = sizeof(struct kvs_section_head);
    at.param_at = up16(at.sink_at + (uint64_t)n_sink * at.n_chan * 2);
    at.stream_at = up16(at.param_at + param);
    at.payload_at = up16(at.stream_at + stream);
    at.escape_at = up16(at.payload_at + payload);
    at.n_byte = at.escape_at + (uint64_t)n_escape * 6 + (is_e ? KVS_KVF_SLACK : 0);
    return at;
}

enum kvs_code kvs_kvf_check_shape(const char *name, const struct kvs_kvf_shape *s,
                                  struct kvs_err *err)
{
    const struct {
        const char *what;
        uint64_t value, min, max;
    } fields[] = {
        {"layers", s->n_layer, 1, KVS_MAX_LAYER},
        {"KV heads", s->n_kv_head, 1, KVS_MAX_CHAN},
        {"head dim", s->head_dim, 1, KVS_MAX_CHAN},
        {"channels (KV heads times head dim)", (uint64_t)s->n_kv_head * s->head_dim, 1,
         KVS_MAX_CHAN},
        {"tokens", s->n_tok, 1, KVS_MAX_TOK},
        {"tokens of a block", s->block_tok, 1, KVS_MAX_BLOCK_TOK},
        {"sinks", s->n_sink, 0, s->n_tok},
        {"number type", (uint64_t)s->half, 0, KVS_HALF_BF16},
        {"as first layer", s->first_layer, 0, s->hidden ? KVS_MAX_LAYER : 0},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i].value < fields[i].min || fields[i].value > fields[i].max)
            return kvs_fail(err, KVS_ERR_RANGE, "%s: found %llu %s, want %llu to %llu", name,
                            (unsigned long long)fields[i].value, fields[i].what,
                            (unsigned long long)fields[i].min, (unsigned long long)fields[i].max);
    return KVS_OK;
}
