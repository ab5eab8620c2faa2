#include "trace_write.h"

#include "base/map.h"
#include "base/outfile.h"
#include "kvt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* How one format is written. Write errors may wait: the stream is checked at the end. */
struct out_ops {
    const char *name, *ending, *help;
    bool text; /* may go to standard output */
    size_t state_bytes;
    bool (*begin)(struct kvs_trace_out *out);
    bool (*add)(struct kvs_trace_out *out, const struct kvs_request *req);
    bool (*end)(struct kvs_trace_out *out);
    void (*free)(struct kvs_trace_out *out);
};

struct kvs_trace_out {
    const struct out_ops *ops;
    void *state;
    struct kvs_trace_about about;
    FILE *file;
    char *path;
    struct kvs_outfile *outfile; /* NULL: standard output */
};

/* --- kvsim's JSON lines --------------------------------------------------------------------------
 */

static bool json_begin(struct kvs_trace_out *out)
{
    return fprintf(out->file, "{\"kvsim_trace\":1,\"ids\":\"%s\",\"block_tok\":%" PRIu32 "}\n",
                   out->about.chained ? "chained" : "content", out->about.block_tok) > 0;
}

static bool json_add(struct kvs_trace_out *out, const struct kvs_request *req)
{
    fprintf(out->file,
            "{\"arrive_ns\":%" PRId64 ",\"session\":%" PRIu64 ",\"input_tok\":%" PRIu32
            ",\"output_tok\":%" PRIu32 ",\"blocks\":[",
            req->arrive_ns, req->session, req->input_tok, req->output_tok);
    for (uint32_t i = 0; i < req->n_block; i++)
        fprintf(out->file, "%s[\"%s\",%" PRIu64 ",%" PRIu32 "]", i ? "," : "",
                kvs_part_name[req->block[i].part], req->block[i].id, req->block[i].n_tok);
    return fputs("]}\n", out->file) >= 0;
}

/* --- .kvt ----------------------------------------------------------------------------------------
 */

/* Written in pieces of this size, a file lies in the page cache in large pages, whose mapping costs
 * little. */
enum { KVT_PIECE = 4 << 20 };

struct kvt_out {
    char *piece; /* the stream's buffer */
    struct kvt_header header;
    struct kvt_request request[KVT_CHUNK_REQUEST];
    struct kvs_trace_block *block;
    size_t cap_block;
    uint32_t n_request, n_block; /* of the chunk at hand */
};

static bool kvt_begin(struct kvs_trace_out *out)
{
    struct kvt_out *kvt = out->state;
    memcpy(kvt->header.magic, KVT_MAGIC, sizeof kvt->header.magic);
    kvt->header.version = KVT_VERSION;
    kvt->header.flags = out->about.chained ? KVT_CHAINED : 0;
    kvt->header.block_tok = out->about.block_tok;
    kvt->header.n_byte = sizeof kvt->header;
    kvt->piece = malloc(KVT_PIECE);
    if (!kvt->piece || setvbuf(out->file, kvt->piece, _IOFBF, KVT_PIECE) != 0)
        return false;
    /* its place; the real one is written last */
    return fwrite(&kvt->header, sizeof kvt->header, 1, out->file) == 1;
}

static bool kvt_flush(struct kvs_trace_out *out)
{
    struct kvt_out *kvt = out->state;
    size_t request_bytes = kvt->n_request * sizeof *kvt->request;
    size_t block_bytes = kvt->n_block * sizeof *kvt->block;
    struct kvt_chunk chunk = {
        .index = kvt->header.n_chunk, .n_request = kvt->n_request, .n_block = kvt->n_block};
    XXH3_state_t *hash;
    if (!kvt->n_request)
        return true;
    hash = XXH3_createState();
    if (!hash)
        return false;
    XXH3_64bits_reset(hash);
    XXH3_64bits_update(hash, kvt->request, request_bytes);
    if (block_bytes)
        XXH3_64bits_update(hash, kvt->block, block_bytes);
    chunk.body_sum = XXH3_64bits_digest(hash);
    XXH3_freeState(hash);
    chunk.sum = XXH3_64bits(&chunk, offsetof(struct kvt_chunk, sum));
    kvt->header.n_chunk++;
    kvt->header.n_byte += sizeof chunk + request_bytes + block_bytes;
    kvt->n_request = kvt->n_block = 0;
    return fwrite(&chunk, sizeof chunk, 1, out->file) == 1 &&
           fwrite(kvt->request, 1, request_bytes, out->file) == request_bytes &&
           (!block_bytes || fwrite(kvt->block, 1, block_bytes, out->file) == block_bytes);
}

static bool kvt_add(struct kvs_trace_out *out, const struct kvs_request *req)
{
    struct kvt_out *kvt = out->state;
    size_t want;
    if (kvt->n_request == KVT_CHUNK_REQUEST ||
        (kvt->n_request && (uint64_t)kvt->n_block + req->n_block > KVT_CHUNK_BLOCK))
        if (!kvt_flush(out))
            return false;
    want = (size_t)kvt->n_block + req->n_block;
    if (want > kvt->cap_block) {
        struct kvs_trace_block *block;
        want = want < KVT_CHUNK_BLOCK ? KVT_CHUNK_BLOCK : want;
        block = realloc(kvt->block, want * sizeof *block);
        if (!block) {
            errno = ENOMEM;
            return false;
        }
        kvt->block = block;
        kvt->cap_block = want;
    }
    kvt->request[kvt->n_request++] = (struct kvt_request){.arrive_ns = req->arrive_ns,
                                                          .session = req->session,
                                                          .input_tok = req->input_tok,
                                                          .output_tok = req->output_tok,
                                                          .n_block = req->n_block};
    if (req->n_block)
        memcpy(kvt->block + kvt->n_block, req->block, req->n_block * sizeof *req->block);
    kvt->n_block += req->n_block;
    kvt->header.n_request++;
    kvt->header.n_block += req->n_block;
    return true;
}

static bool kvt_end(struct kvs_trace_out *out)
{
    struct kvt_out *kvt = out->state;
    if (!kvt_flush(out))
        return false;
    kvt->header.sum = XXH3_64bits(&kvt->header, offsetof(struct kvt_header, sum));
    return fseek(out->file, 0, SEEK_SET) == 0 &&
           fwrite(&kvt->header, sizeof kvt->header, 1, out->file) == 1;
}

static void kvt_free(struct kvs_trace_out *out)
{
    struct kvt_out *kvt = out->state;
    free(kvt->block);
    free(kvt->piece);
}

/* --- libCacheSim's oracleGeneral -----------------------------------------------------------------
 */

/*
 * One record a block access (libCacheSim, traceReader/customizedReader/oracle): clock_time in
 * seconds, obj_id, obj_size, and next_access_vtime, the number (from 1) of the record of the id's
 * next access, -1 if there is none; packed, little-endian, 24 bytes. An object's size is its
 * tokens. Requests' arrival order and the order of blocks in a prompt make the order of accesses.
 */
enum { ORACLE_RECORD = 24, ORACLE_NEXT_AT = 16 };

struct oracle_out {
    struct kvs_map index; /* of an id in last */
    uint64_t *last;       /* record number of its latest access */
    size_t n, cap;
    uint64_t n_record;
};

static bool oracle_begin(struct kvs_trace_out *out)
{
    struct oracle_out *oracle = out->state;
    return kvs_map_init(&oracle->index, 0);
}

/* Writes `next` into the record of the id's latest access, which is on disk or in the buffer. */
static bool oracle_patch(struct kvs_trace_out *out, uint64_t record, int64_t next)
{
    return fseeko(out->file, (off_t)(record * ORACLE_RECORD + ORACLE_NEXT_AT), SEEK_SET) == 0 &&
           fwrite(&next, sizeof next, 1, out->file) == 1 && fseeko(out->file, 0, SEEK_END) == 0;
}

/* The place of id's latest record number; *found: it has one. NULL: no memory. */
static uint64_t *oracle_last(struct oracle_out *oracle, uint64_t id, bool *found)
{
    uint32_t *index = kvs_map_put(&oracle->index, id, (uint32_t)oracle->n, found);
    if (!index)
        return NULL;
    if (!*found && oracle->n++ == oracle->cap) {
        size_t cap = oracle->cap ? oracle->cap * 2 : 1024;
        uint64_t *last = realloc(oracle->last, cap * sizeof *last);
        if (!last)
            return NULL;
        oracle->last = last;
        oracle->cap = cap;
    }
    return &oracle->last[*index];
}

static bool oracle_add(struct kvs_trace_out *out, const struct kvs_request *req)
{
    struct oracle_out *oracle = out->state;
    uint32_t clock_s = (uint32_t)(req->arrive_ns / 1000000000);
    for (uint32_t i = 0; i < req->n_block; i++) {
        const struct kvs_trace_block *block = &req->block[i];
        int64_t next = -1;
        unsigned char record[ORACLE_RECORD];
        bool found;
        uint64_t *last = oracle_last(oracle, block->id, &found);
        if (!last) {
            errno = ENOMEM;
            return false;
        }
        if (found && !oracle_patch(out, *last, (int64_t)oracle->n_record + 1))
            return false;
        *last = oracle->n_record++;
        memcpy(record, &clock_s, 4);
        memcpy(record + 4, &block->id, 8);
        memcpy(record + 12, &block->n_tok, 4);
        memcpy(record + ORACLE_NEXT_AT, &next, 8);
        if (fwrite(record, sizeof record, 1, out->file) != 1)
            return false;
    }
    return true;
}

static void oracle_free(struct kvs_trace_out *out)
{
    struct oracle_out *oracle = out->state;
    kvs_map_free(&oracle->index);
    free(oracle->last);
}

/* --- the file ------------------------------------------------------------------------------------
 */

static const struct out_ops formats[] = {
    {.name = "kvsim",
     .ending = ".jsonl",
     .help = "kvsim's JSON lines",
     .text = true,
     .begin = json_begin,
     .add = json_add},
    {.name = "kvt",
     .ending = ".kvt",
     .help = "kvsim's binary form: checksummed, read through mmap",
     .state_bytes = sizeof(struct kvt_out),
     .begin = kvt_begin,
     .add = kvt_add,
     .end = kvt_end,
     .free = kvt_free},
    {.name = "oracleGeneral",
     .ending = ".oracleGeneral",
     .help = "libCacheSim's: one record a block access, with the next one's number",
     .state_bytes = sizeof(struct oracle_out),
     .begin = oracle_begin,
     .add = oracle_add,
     .free = oracle_free},
};
enum { N_FORMAT = sizeof formats / sizeof formats[0] };
static const char *const names[] = {"kvsim", "kvt", "oracleGeneral", NULL};

const char *const *kvs_trace_out_formats(void)
{
    return names;
}

static const struct out_ops *format_named(const char *name)
{
    for (unsigned i = 0; i < N_FORMAT; i++)
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    return NULL;
}

const char *kvs_trace_out_help(const char *format)
{
    const struct out_ops *ops = format_named(format);
    return ops ? ops->help : NULL;
}

static const struct out_ops *format_of_path(const char *path)
{
    size_t n = strlen(path);
    for (unsigned i = 0; i < N_FORMAT; i++) {
        size_t n_ending = strlen(formats[i].ending);
        if (n > n_ending && strcmp(path + n - n_ending, formats[i].ending) == 0)
            return &formats[i];
    }
    return strcmp(path, "-") == 0 ? &formats[0] : NULL;
}

static enum kvs_code fail_format(const char *path, const char *format, struct kvs_err *err)
{
    char known[200], endings[100] = "";
    if (format)
        return kvs_fail(err, KVS_ERR_ARG, "output format %s: unknown%s", format,
                        kvs_known(known, sizeof known, format, names, N_FORMAT));
    for (unsigned i = 0, n = 0; i < N_FORMAT; i++)
        n += (unsigned)snprintf(endings + n, sizeof endings - n, "%s%s", i ? ", " : "",
                                formats[i].ending);
    return kvs_fail(err, KVS_ERR_ARG,
                    "%s: the file's ending tells no format; known: %s; or name the format (--to)",
                    path, endings);
}

static enum kvs_code fail_io(const struct kvs_trace_out *out, struct kvs_err *err)
{
    if (errno == ENOMEM)
        return kvs_fail(err, KVS_ERR_NOMEM, "%s: no memory", out->path);
    return kvs_fail(err, KVS_ERR_IO, "%s: %s", out->path, strerror(errno ? errno : EIO));
}

static enum kvs_code out_begin(struct kvs_trace_out *out, const char *path, struct kvs_err *err)
{
    enum kvs_code code;
    out->path = strdup(path);
    if (!out->path || (out->ops->state_bytes && !(out->state = calloc(1, out->ops->state_bytes))))
        return kvs_fail(err, KVS_ERR_NOMEM, "%s: no memory", path);
    out->file = stdout;
    if (strcmp(path, "-") != 0) {
        code = kvs_outfile_begin(path, &out->outfile, err);
        if (code)
            return code;
        out->file = kvs_outfile_stream(out->outfile);
    }
    errno = 0;
    return out->ops->begin(out) ? KVS_OK : fail_io(out, err);
}

enum kvs_code kvs_trace_out_open(const char *path, const char *format,
                                 const struct kvs_trace_about *about, struct kvs_trace_out **out,
                                 struct kvs_err *err)
{
    const struct out_ops *ops = format ? format_named(format) : format_of_path(path);
    enum kvs_code code;
    *out = NULL;
    if (!ops)
        return fail_format(path, format, err);
    if (strcmp(path, "-") == 0 && !ops->text)
        return kvs_fail(err, KVS_ERR_ARG, "%s can't go to standard output; name a file", ops->name);
    *out = calloc(1, sizeof **out);
    if (!*out)
        return kvs_fail(err, KVS_ERR_NOMEM, "%s: no memory", path);
    (*out)->ops = ops;
    (*out)->about = *about;
    code = out_begin(*out, path, err);
    if (code) {
        enum kvs_code again = kvs_trace_out_close(*out, false, NULL);
        (void)again;
        *out = NULL;
    }
    return code;
}

enum kvs_code kvs_trace_out_add(struct kvs_trace_out *out, const struct kvs_request *req,
                                struct kvs_err *err)
{
    errno = 0;
    return out->ops->add(out, req) && !ferror(out->file) ? KVS_OK : fail_io(out, err);
}

/* Completes the file, on disk, under its own name. */
static enum kvs_code keep_file(struct kvs_trace_out *out, struct kvs_err *err)
{
    errno = 0;
    if ((out->ops->end && !out->ops->end(out)) || fflush(out->file) != 0 || ferror(out->file))
        return fail_io(out, err);
    if (!out->outfile)
        return KVS_OK;
    struct kvs_outfile *outfile = out->outfile;
    out->outfile = NULL;
    return kvs_outfile_commit(outfile, err);
}

enum kvs_code kvs_trace_out_close(struct kvs_trace_out *out, bool keep, struct kvs_err *err)
{
    enum kvs_code code;
    if (!out)
        return KVS_OK;
    code = keep ? keep_file(out, err) : KVS_OK;
    kvs_outfile_abort(out->outfile);
    if (out->ops->free && out->state)
        out->ops->free(out);
    free(out->state);
    free(out->path);
    free(out);
    return code;
}

enum kvs_code kvs_trace_copy(struct kvs_trace *trace, const char *path, const char *format,
                             bool (*stop)(void), uint64_t *n_request, struct kvs_err *err)
{
    struct kvs_trace_about about = {.chained = kvs_trace_chained(trace),
                                    .block_tok = kvs_trace_block_tok(trace)};
    struct kvs_trace_out *out;
    uint64_t n = 0;
    enum kvs_code closed, code = kvs_trace_out_open(path, format, &about, &out, err);
    if (!out)
        return code;
    for (;; n++) {
        const struct kvs_request *req;
        if (stop && n % 256 == 0 && stop()) {
            code = kvs_fail(err, KVS_ERR_IO, "interrupted after %" PRIu64 " requests", n);
            break;
        }
        if ((code = kvs_trace_next(trace, &req, err)) || !req ||
            (code = kvs_trace_out_add(out, req, err)))
            break;
    }
    closed = kvs_trace_out_close(out, code == KVS_OK, err);
    if (n_request)
        *n_request = n;
    return code ? code : closed;
}
