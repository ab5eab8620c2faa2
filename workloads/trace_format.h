/*
 * trace_format.h - what a trace format is made of: the inside of struct kvs_trace, for the readers,
 * the generator and the filters of this folder.
 *
 * A format is a file trace_NAME.c that defines `const struct kvs_trace_ops kvs_trace_NAME` and a
 * line in trace_list.h. Most formats have one row a request and define `row`; those that don't
 * (several requests a line, binary) define `next` instead.
 */
#ifndef KVS_TRACE_FORMAT_H
#define KVS_TRACE_FORMAT_H

#include "base/lines.h"
#include "scan.h"
#include "trace.h"

struct kvs_trace_ops {
    const char *name;
    const char *help;        /* one line: what it is and where it is published */
    const char *invents;     /* NULL, or what is made up where the format lacks it */
    const char *folder_file; /* opened when the path is a folder; NULL: folders are not taken */
    const char *magic;       /* binary formats: the file's first bytes; NULL: the file is text */
    bool counts_chars;       /* not tokens: chars_per_tok makes tokens of them */
    bool chained;            /* block ids are prefix-chained; open may set trace->chained instead */
    uint32_t block_tok;      /* tokens in a full block; 0: blocks differ */
    size_t state_bytes;      /* of trace->state, zeroed before open */
    /* Whether a file whose first line that is not blank is this one may be of this format. */
    bool (*detect)(const char *line);
    /* Reads tables, sets trace->chained, ...; NULL: nothing to do. */
    enum kvs_code (*open)(struct kvs_trace *trace, struct kvs_err *err);
    /*
     * Makes trace->req of one line by kvs_row_*. A line that holds no request (a header) sets
     * trace->no_request. What it changed in trace->state must stay right if it fails.
     */
    enum kvs_code (*row)(struct kvs_trace *trace, const char *line, struct kvs_err *err);
    /* Instead of row: as kvs_trace_next. It may leave further requests in trace->ready, which are
     * handed out before it is called again. */
    enum kvs_code (*next)(struct kvs_trace *trace, const struct kvs_request **req,
                          struct kvs_err *err);
    void (*close)(struct kvs_trace *trace);             /* frees what state holds; NULL: nothing */
    double (*done_frac)(const struct kvs_trace *trace); /* NULL: bytes read of the file's */
};

struct kvs_trace {
    const struct kvs_trace_ops *ops;
    void *state;
    struct kvs_trace *inner; /* what a filter filters, which it owns */
    char *path;
    const void *mem; /* the file's bytes where it was given as such */
    size_t n_mem;
    struct kvs_lines *lines; /* NULL for binary formats, filters and the generator */
    const char *pending;     /* a line read while the format was told, not yet a row */
    double chars_per_tok;    /* 0: the format's own */
    bool chained, skip_bad, no_request, begun;
    uint32_t block_tok;
    uint64_t skipped, moved;
    int64_t first_ns, last_ns; /* of the file's clock */
    uint64_t block_sum_tok;    /* tokens of req's blocks so far */
    struct kvs_request req;
    const struct kvs_request *ready, *ready_end;
    struct kvs_trace_block *block; /* what req.block points to */
    size_t cap_block;
    struct kvs_ids ids; /* scratch of rows */
};

/* A trace that is no file: a generator or a filter. It owns state (state_bytes of ops, zeroed). */
struct kvs_trace *kvs_trace_new(const struct kvs_trace_ops *ops); /* NULL: no memory */

/* Begins a request: no blocks. */
void kvs_row_begin(struct kvs_trace *trace);
/* Appends a block of n_tok >= 1 tokens. */
KVS_MUST_CHECK enum kvs_code kvs_row_block(struct kvs_trace *trace, uint64_t id, uint64_t n_tok,
                                           enum kvs_part part, struct kvs_err *err);
/*
 * Ends the request. at_ns is on the file's own clock: the first request becomes time 0, one earlier
 * than the request before is moved to its time and counted. KVS_ERR_RANGE if the blocks hold more
 * tokens than input_tok, or input_tok is 0.
 */
KVS_MUST_CHECK enum kvs_code kvs_row_end(struct kvs_trace *trace, int64_t at_ns, uint64_t session,
                                         uint64_t input_tok, uint64_t output_tok,
                                         struct kvs_err *err);
/* The next line that is not blank; *line is NULL at the end. */
KVS_MUST_CHECK enum kvs_code kvs_row_line(struct kvs_trace *trace, const char **line,
                                          struct kvs_err *err);
/* Rows until one gives a request; *req stays as it is where the file ends. */
KVS_MUST_CHECK enum kvs_code kvs_row_next(struct kvs_trace *trace, const struct kvs_request **req,
                                          struct kvs_err *err);
/* Fails as "FILE:LINE: <sentence>", or without a place where there are no lines. */
enum kvs_code kvs_row_fail(const struct kvs_trace *trace, struct kvs_err *err, enum kvs_code code,
                           const char *fmt, ...) KVS_PRINTF(4, 5);
/*
 * The rows that four formats share but for names and units: a JSON object with a time, two lengths,
 * a list and perhaps a session; other fields are skipped.
 */
struct kvs_row_form {
    struct kvs_scan_name name[5]; /* time, input, output, list, session (no key: it has none) */
    int64_t unit_ns;              /* of the time */
    bool quoted;                  /* the time stands in quotes */
    uint32_t least_input;
    /* Reads the list; NULL: block ids, into trace->ids. */
    bool (*list)(struct kvs_scan *scan, struct kvs_trace *trace);
};
struct kvs_row_head {
    int64_t at_ns;
    uint64_t session; /* as it stands; 0 where the form has none */
    uint32_t input, output;
};
KVS_MUST_CHECK enum kvs_code kvs_row_scan(struct kvs_trace *trace, const char *line,
                                          const struct kvs_row_form *form,
                                          struct kvs_row_head *head, struct kvs_err *err);
/* A session's number of its name; never 0. */
uint64_t kvs_session_of(const char *text, size_t n_byte);
/* Cuts ids into blocks of block_tok tokens of an input of input_tok; the last may be shorter. */
KVS_MUST_CHECK enum kvs_code kvs_row_even(struct kvs_trace *trace, const struct kvs_ids *ids,
                                          uint64_t input_tok, uint32_t block_tok,
                                          struct kvs_err *err);

#define X(name) extern const struct kvs_trace_ops kvs_trace_##name;
#include "trace_list.h"
#undef X

#endif
