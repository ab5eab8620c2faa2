/*
 * format.h - the layout of a codec file; for kernels/codec only, users include codec.h.
 *
 * Little-endian. Head: a header of 4 KiB, of which 128 bytes are used; the rANS tables; the
 * directory; each at a multiple of 4 KiB. Then the sections, block by block, layer by layer, K
 * before V, each at a multiple of 4 KiB with no gap but the padding, to the end of the file. A
 * higher minor version may use reserved fields, zero here; another major version, unknown level or
 * flag is an error. Checksums are XXH3, 64 bits: of the header up to its own, the tables, the
 * directory, each section, without the padding behind.
 *
 * A table: struct kvs_table_head, n freq (u16, sum 2^KVS_RANS_BITS), n value (i16), one after
 * another. One with low bits has no fraction: its symbols' values are those of their first element.
 * Section: struct kvs_section_head, then, each but the slack at the next multiple of 16,
 *
 *     sink    u16[n_sink][n_chan]
 *     param   e: mean u16[n_chan], step u16[n_chan], table u8[n_chan]
 *             p, K: minimum u16[n_group][n_chan], step likewise; n_group of tokens
 *             p, V: minimum u16[n_tok][n_group], step likewise; n_group of channels
 *             fp8: step u16[n_chan] (K), u16[n_kv_head] (V)
 *             lx: exponent u8[16]
 *     stream  e: words u32[n_stream], then states u32[n_stream][32]
 *     payload raw16: u16[n_tok][n_chan]; e: u16[n_word]; others: rows of kvs_row_bytes, a token
 * each escape  position u32[n_escape] (token * n_chan + channel, sinks not counted), ascending;
 *             element u16[n_escape]; they stand instead of what was decoded
 *     slack   e: 64 zero bytes that a vector may read, right behind
 *
 * where n_tok is without the sinks, which the head's counts. Parameters are numbers of the file's
 * 16-bit type; steps are not negative. All padding is zero. x = minimum or mean + a product is
 * exact, then rounded to a float, and that to the type, ties to even.
 *
 * Rows: 64 channels together, a row filled with zeros to the next 64. q8, fp8: as they are; of fp8
 * 0x7f and 0xff are 480 and -480, no NaN. q4: byte j holds channels j and j + 32 (high half). q2:
 * byte j holds j, j + 16, j + 32, j + 48, from the lowest bits up. q3: all the row's low two bits
 * as q2, then its third bits, channel c in bit c % 8 of byte c / 8. lx: the row's codes as q4, then
 * bytes of sign (the highest bit) and mantissa. x = minimum + step * q.
 *
 * rANS: stream s covers tokens of group s / n_part (256 each) and channels of part s % n_part (each
 * of kvs_part_chan channels: n_chan over the least number of parts of at most 128, rounded up to a
 * multiple of 32; the last of what is left). In it channels stand table by table, by number
 * (kvs_order), so that vectors of lanes find one table; an encoder sees to it that 16 do. Token by
 * token, 32 channels at a time, lane = place % 32. Lane state x, 2^15 <= x < 2^31, begins as stored
 * and ends at 2^15: slot = x % 2^11 finds symbol and rank (below), x = freq * (x >> 11) + rank; the
 * table's low bits are then taken from x's lowest and added to the value; if x < 2^15, x = x << 16
 * | next word, lanes in order. x = mean + step * value * 2^-fraction.
 *
 * Whose slots are whose, by the alias method: 64 buckets of 32 slots, slot / 32. left[s] = freq of
 * symbol s, 0 for those that a table has not; done[b] = false; large: the least s with left >= 32.
 * For i = 0 .. 63, from b = i, while b is not done and left[b] < 32: done[b] = true, other[b] =
 * large, left[large] -= 32 - left[b]; if left[large] >= 32 still, the next i; else b = large, and
 * large goes up to the next that is not done and has left >= 32. The buckets that are not done have
 * other[b] = b. Of bucket b the first left[b] slots are symbol b's, of ranks 0 and up; the rest are
 * other[b]'s, whose ranks go on from left[other[b]], over the buckets ascending.
 */
#ifndef KVS_KVF_FORMAT_H
#define KVS_KVF_FORMAT_H

#include "codec.h"

#ifdef __cplusplus
#define KVS_KVF_ASSERT static_assert
#else
#define KVS_KVF_ASSERT _Static_assert
#endif

#define KVS_KVF_MAGIC "kvscodec"

KVS_KVF_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "codec files are little-endian");

enum {
    KVS_KVF_MAJOR = 4,
    KVS_KVF_MINOR = 0,
    KVS_KVF_PAGE = 4096,
    KVS_KVF_SLACK = 64,
    KVS_RANS_BITS = 11,
    KVS_RANS_M = 1 << KVS_RANS_BITS,
    KVS_RANS_LOW = 1 << 15,                       /* the least state, and the last */
    KVS_RANS_SYMBOL = 64,                         /* of a table, at most; and its buckets */
    KVS_RANS_WIDE = KVS_RANS_M / KVS_RANS_SYMBOL, /* slots of a bucket */
    KVS_RANS_LOW_BITS = 2,                        /* of a table, at most */
    KVS_RANS_LANES = 32,
    KVS_RANS_TOK = 256,       /* of a stream */
    KVS_RANS_CHAN = 128,      /* of a stream, at most */
    KVS_RANS_VALUE_MAX = 511, /* of a table's values */
    KVS_MAX_TABLE = 64,
    KVS_MAX_CHAN = 16384,
    KVS_MAX_LAYER = 4096,
    KVS_MAX_TOK = 1 << 24,
    KVS_MAX_BLOCK_TOK = 1 << 16,
    KVS_MAX_SECTION = 1 << 20,
    KVS_LX_CODES = 16,
};

struct kvs_header {
    char magic[8]; /* "kvscodec" */
    uint16_t major, minor;
    uint32_t header_bytes; /* 4096 */
    uint32_t flags;        /* 1: keys before RoPE; 2: hidden states */
    uint32_t half;
    uint32_t n_layer, n_kv_head, head_dim;
    uint32_t n_tok, block_tok, n_sink;
    uint32_t n_table, table_bytes;
    uint64_t model_hash[2], prefix_hash[2];
    uint64_t file_bytes;
    uint64_t table_hash, directory_hash;
    uint32_t first_layer; /* of hidden states */
    uint32_t zero;
    uint64_t header_hash; /* of what is before it */
};
KVS_KVF_ASSERT(sizeof(struct kvs_header) == 128, "on disk");

struct kvs_table_head {
    uint16_t n;       /* symbols, 2 .. 64 */
    uint8_t fraction; /* bits of the values behind the point, 0 .. 9 */
    uint8_t low;      /* bits beside a symbol, 0 .. 2 */
};

struct kvs_entry { /* of the directory: a section */
    uint64_t at_bytes, n_byte, hash;
    uint32_t block, layer;
    uint8_t kv, level;
    uint16_t zero;
    uint32_t first_tok, n_tok;
    uint32_t zeros[5];
};
KVS_KVF_ASSERT(sizeof(struct kvs_entry) == 64, "on disk");

struct kvs_section_head {
    char magic[4]; /* "kvss" */
    uint32_t block, layer;
    uint8_t kv, level, half, zero;
    uint32_t n_tok, n_sink, n_chan;
    uint32_t n_escape, n_word; /* n_word: of rANS; 0 but for e */
    uint32_t zeros[7];
};
KVS_KVF_ASSERT(sizeof(struct kvs_section_head) == 64, "on disk");

struct kvs_rans_small;
struct kvs_kvf {
    char *name;
    const uint8_t *data;
    size_t n_byte; /* of data */
    bool check;
    uint8_t *own; /* data, if it is to be freed; or NULL */
    uint16_t minor;
    struct kvs_kvf_shape shape;
    uint64_t head_bytes, file_bytes;
    uint32_t n_section, n_table, table_bytes;
    struct kvs_entry *entry;         /* [n_section] */
    uint32_t *table;                 /* [n_table][2^11]: see kvs_rans_table */
    struct kvs_rans_small *small;    /* [n_table] */
    uint8_t fraction[KVS_MAX_TABLE]; /* | low << 4 */
};

/* Where the parts of a section lie, from its beginning. */
struct kvs_layout {
    uint32_t n_tok, n_sink, n_chan; /* n_tok: without the sinks */
    uint32_t n_group, n_param;      /* groups, see above; n_param: minima, or steps */
    uint32_t n_stream, n_part;
    uint32_t n_escape, n_word;
    uint64_t sink_at, param_at, stream_at, payload_at, escape_at, n_byte;
};

/* Reserved fields, which a file of minor version 0 leaves zero. */
static inline bool kvs_all_zero(const uint32_t *x, uint32_t n)
{
    uint32_t any = 0;
    for (uint32_t i = 0; i < n; i++)
        any |= x[i];
    return any == 0;
}

static inline uint64_t kvs_page_up(uint64_t n)
{
    return (n + KVS_KVF_PAGE - 1) / KVS_KVF_PAGE * KVS_KVF_PAGE;
}
static inline uint32_t kvs_up(uint32_t n, uint32_t unit)
{
    return (n + unit - 1) / unit * unit;
}

bool kvs_level_is_p(enum kvs_level level);
bool kvs_level_is_e(enum kvs_level level);
unsigned kvs_level_bits(enum kvs_level level);                 /* of a packed integer */
uint32_t kvs_level_group(enum kvs_level level);                /* of p: tokens or channels */
double kvs_level_step(enum kvs_level level);                   /* of e: in deviations */
uint32_t kvs_part_chan(uint32_t n_chan);                       /* channels of a rANS stream */
uint64_t kvs_row_bytes(enum kvs_level level, uint32_t n_chan); /* of fp8, p, lx */
/*
 * Where a channel stands in its part's streams: table by table, channels of a table as they come.
 * table: [n_chan], below KVS_MAX_TABLE; place: [n_chan]. false: all stand where they are.
 */
bool kvs_order(uint8_t *place, const uint8_t *table, uint32_t n_chan);
/* n_tok counts the sinks. The sizes are in range: nothing overflows. */
struct kvs_layout kvs_layout(const struct kvs_kvf_shape *shape, enum kvs_level level,
                             enum kvs_kv kv, uint32_t n_tok, uint32_t n_sink, uint32_t n_escape,
                             uint32_t n_word);
/* KVS_ERR_RANGE with the field if no file can hold it. */
KVS_MUST_CHECK enum kvs_code
kvs_kvf_check_shape(const char *name, const struct kvs_kvf_shape *shape, struct kvs_err *err);
/* Tokens of a block, and how many of them are sinks. */
static inline uint32_t kvs_block_tok(const struct kvs_kvf_shape *s, uint32_t block)
{
    uint32_t left = s->n_tok - block * s->block_tok;
    return left < s->block_tok ? left : s->block_tok;
}
static inline uint32_t kvs_block_sink(const struct kvs_kvf_shape *s, uint32_t block)
{
    uint32_t first = block * s->block_tok, n = kvs_block_tok(s, block);
    return s->n_sink <= first ? 0 : s->n_sink - first < n ? s->n_sink - first : n;
}

#endif
