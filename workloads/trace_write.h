/*
 * trace_write.h - writes a trace to a file, which appears whole or not at all: it is written under
 * a temporary name beside it (the name, a dot, six letters) and renamed when it is complete. Only a
 * killed program leaves that name behind.
 */
#ifndef KVS_TRACE_WRITE_H
#define KVS_TRACE_WRITE_H

#include "trace.h"

struct kvs_trace_out; /* from kvs_trace_out_open, ended by kvs_trace_out_close */

/* What the blocks of the requests to come are: as kvs_trace_chained, kvs_trace_block_tok. */
struct kvs_trace_about {
    bool chained;
    uint32_t block_tok;
};

/* The formats that can be written; NULL-ended. */
const char *const *kvs_trace_out_formats(void);
const char *kvs_trace_out_help(const char *format); /* one line; NULL: no such format */

/*
 * format NULL: the one whose ending path has (".kvt", ".oracleGeneral"), none of
 * them is an error. path "-" is standard output, for JSON lines only.
 */
KVS_MUST_CHECK enum kvs_code kvs_trace_out_open(const char *path, const char *format,
                                                const struct kvs_trace_about *about,
                                                struct kvs_trace_out **out, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_trace_out_add(struct kvs_trace_out *out,
                                               const struct kvs_request *req, struct kvs_err *err);
/* keep: completes the file and puts it in place; else, or on error, it is removed. Frees out, which
 * may be NULL. */
KVS_MUST_CHECK enum kvs_code kvs_trace_out_close(struct kvs_trace_out *out, bool keep,
                                                 struct kvs_err *err);
/*
 * All of trace into a file. *n_request (or NULL): how many. stop (or NULL) is asked now and then; a
 * true answer ends it (KVS_ERR_IO, "interrupted"), and no file is left.
 */
KVS_MUST_CHECK enum kvs_code kvs_trace_copy(struct kvs_trace *trace, const char *path,
                                            const char *format, bool (*stop)(void),
                                            uint64_t *n_request, struct kvs_err *err);

#endif
