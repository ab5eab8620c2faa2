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
enum { KVT_VERSION = 1, KVT_CHAINED = 1 };
/* The writer's chunks end at whichever comes first; the reader takes any. So many stay in a core's
 * own cache while they are hashed, checked and handed out. */
enum { KVT_CHUNK_REQUEST = 128, KVT_CHUNK_BLOCK = 2048 };

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

/*
 * What reads every byte, in the forms that the Makefile builds: for any processor and, on x86, for
 * those with AVX2 or AVX-512.
 */
struct kvt_work {
    uint64_t (*sum)(const void *data, size_t n_byte); /* XXH3, 64 bits */
    /*
     * Whether a chunk's requests can be: each has input, is no earlier than the one before (the
     * first: than since_ns) and holds no more tokens in blocks than its input; each block has a
     * token and a known part, and the requests have n_block blocks in all.
     */
    bool (*fits)(const struct kvt_request *request, uint32_t n_request,
                 const struct kvs_trace_block *block, uint32_t n_block, int64_t since_ns);
};
enum { KVT_LINE_BLOCK = 4 }; /* blocks in a cache line */
extern const struct kvt_work kvt_work_base, kvt_work_avx2, kvt_work_avx512;
const struct kvt_work *kvt_work(void); /* the fastest that this processor has */

_Static_assert(sizeof(struct kvt_header) == 64, "the header is 64 bytes");
_Static_assert(sizeof(struct kvt_chunk) == 32, "a chunk header is 32 bytes");
_Static_assert(sizeof(struct kvt_request) == 32, "a request is 32 bytes");
_Static_assert(sizeof(struct kvs_trace_block) == 16 && offsetof(struct kvs_trace_block, id) == 0 &&
                   offsetof(struct kvs_trace_block, n_tok) == 8 &&
                   offsetof(struct kvs_trace_block, part) == 12,
               "a block is id, n_tok, part");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is the machine's memory");

#endif
