/*
 * kvt.h - kvsim's binary trace format, version 1, little-endian: what reader and writer share.
 *
 * A header, then chunks, each a chunk header, its requests and their blocks. Every byte is under a
 * checksum (XXH3, 64 bits): the header's own over its other bytes; a chunk header's over its other
 * bytes; a chunk's over its requests and blocks. The header holds the file's size, so that a file
 * cut short or made longer is found too. A block is as struct kvs_trace_block lies in memory, so
 * that the reader hands out the mapped file itself.
 */
#ifndef KVS_KVT_H
#define KVS_KVT_H

#include "trace.h"

#include <stddef.h>

#define KVT_MAGIC "\x93kvt\r\n\x1a\n"
enum { KVT_VERSION = 1, KVT_CHAINED = 1, KVT_CHUNK_REQUEST = 4096, KVT_CHUNK_BLOCK = 65536 };

struct kvt_header {
    char magic[8];
    uint32_t version;
    uint32_t flags;     /* KVT_CHAINED; others are 0 */
    uint32_t block_tok; /* of a full block; 0: blocks differ */
    uint32_t zero;
    uint64_t n_request, n_block, n_chunk;
    uint64_t n_byte; /* of the file */
    uint64_t sum;    /* of the bytes before */
};

/* n_request requests and n_block blocks follow. */
struct kvt_chunk {
    uint64_t index; /* 0 for the first */
    uint32_t n_request, n_block;
    uint64_t body_sum; /* of the requests and blocks */
    uint64_t sum;      /* of the bytes before */
};

struct kvt_request {
    int64_t arrive_ns;
    uint64_t session;
    uint32_t input_tok, output_tok, n_block, zero;
};

/* XXH3, 64 bits; the second form only where the Makefile builds it, for processors that have it. */
uint64_t kvt_sum(const void *data, size_t n_byte);
uint64_t kvt_sum_avx2(const void *data, size_t n_byte);

/*
 * Whether each of n blocks has a token and a known part; *sum_tok: their tokens. n_room >= n blocks
 * can be read. The second form reads whole groups of KVT_GROUP blocks.
 */
enum { KVT_GROUP = 16 };
bool kvt_blocks_fit(const struct kvs_trace_block *block, uint32_t n, uint32_t n_room,
                    uint64_t *sum_tok);
bool kvt_blocks_fit_avx2(const struct kvs_trace_block *block, uint32_t n, uint64_t *sum_tok);

_Static_assert(sizeof(struct kvt_header) == 64, "the header is 64 bytes");
_Static_assert(sizeof(struct kvt_chunk) == 32, "a chunk header is 32 bytes");
_Static_assert(sizeof(struct kvt_request) == 32, "a request is 32 bytes");
_Static_assert(sizeof(struct kvs_trace_block) == 16 && offsetof(struct kvs_trace_block, id) == 0 &&
                   offsetof(struct kvs_trace_block, n_tok) == 8 &&
                   offsetof(struct kvs_trace_block, part) == 12,
               "a block is id, n_tok, part");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is the machine's memory");

#endif
