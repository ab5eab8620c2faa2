/*
 * trace.h - requests from a trace file or a generator, one after another, ordered by arrival.
 *
 * A request is what a serving system saw: when it came, how long it was, and which blocks of text
 * its prompt is made of. Two kinds of block identity exist and a trace has one of them:
 *
 *   chained ids   the same id means the same text after the same beginning (Mooncake)
 *   content ids   the same id means the same text, wherever it stands (RAGPulse)
 *
 * Readers stream: memory does not grow with the file (but with tables that the format keeps beside
 * it).
 */
#ifndef KVS_TRACE_H
#define KVS_TRACE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a block of a prompt is; formats without parts have KVS_PART_TEXT only. */
enum kvs_part {
    KVS_PART_TEXT,
    KVS_PART_SYS,
    KVS_PART_PASSAGE,
    KVS_PART_HISTORY,
    KVS_PART_WEB,
    KVS_PART_USER,
    KVS_N_PART
};
extern const char
    *const kvs_part_name[KVS_N_PART + 1]; /* "text", "sys", "passage", ...; NULL-ended */

struct kvs_trace_block {
    uint64_t id;
    uint32_t n_tok; /* tokens in it; a prompt's last block may be shorter than the others */
    uint32_t part;  /* enum kvs_part */
};

struct kvs_request {
    int64_t arrive_ns;   /* from the trace's start; never less than the request before */
    uint64_t session;    /* equal for the turns of one conversation; 0: none known */
    uint32_t input_tok;  /* at least 1, and at least the tokens of all blocks */
    uint32_t output_tok; /* as recorded, may be 0 */
    uint32_t n_block;
    const struct kvs_trace_block *block; /* in prompt order; valid until the next call */
    /* input_tok less the blocks' tokens stand at the prompt's end and have no identity: never
     * cached */
};

struct kvs_trace; /* from kvs_trace_open or kvs_gen_open, ended by kvs_trace_close */

struct kvs_trace_options {
    const char *format;   /* a name of trace_list.h; NULL: told by the file's name and first line */
    bool skip_bad;        /* a bad line is counted and left out, not an error */
    double chars_per_tok; /* for formats that count characters; 0: the format's own ratio */
};

/* A bad line fails as "FILE:LINE: FIELD: found ..., want ...". */
KVS_MUST_CHECK enum kvs_code kvs_trace_open(const char *path,
                                            const struct kvs_trace_options *options,
                                            struct kvs_trace **trace, struct kvs_err *err);
/* The same from a file's bytes, which are borrowed (and 8-byte aligned, if they are a .kvt); tables
 * are looked for beside path. */
KVS_MUST_CHECK enum kvs_code kvs_trace_open_mem(const char *path, const void *data, size_t n_byte,
                                                const struct kvs_trace_options *options,
                                                struct kvs_trace **trace, struct kvs_err *err);
/* *req is NULL at the end. After an error the trace can only be closed. */
KVS_MUST_CHECK enum kvs_code kvs_trace_next(struct kvs_trace *trace, const struct kvs_request **req,
                                            struct kvs_err *err);
void kvs_trace_close(struct kvs_trace *trace); /* accepts NULL */
bool kvs_trace_chained(const struct kvs_trace *trace);
uint64_t kvs_trace_skipped(const struct kvs_trace *trace);
/* Requests that stood after a later one and were moved to its time. */
uint64_t kvs_trace_moved(const struct kvs_trace *trace);
uint32_t kvs_trace_block_tok(const struct kvs_trace *trace); /* of a full block; 0: blocks differ */
const char *kvs_trace_format(const struct kvs_trace *trace);
/* What the trace lacks and the reader made up (ids, times, tokens), as a sentence; NULL: nothing.
 */
const char *kvs_trace_invents(const struct kvs_trace *trace);
/* All formats, in the order of trace_list.h; NULL-ended. */
const char *const *kvs_trace_formats(void);
const char *kvs_trace_format_help(const char *name);       /* one line; NULL: no such format */
double kvs_trace_done_frac(const struct kvs_trace *trace); /* for progress; NaN if unknown */

#endif
