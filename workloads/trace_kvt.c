/*
 * .kvt, kvsim's binary trace (kvt.h): mapped into memory, checked chunk by chunk as it is read, its
 * blocks handed out as they lie in the file.
 */
#include "kvt.h"
#include "trace_format.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEEP_BYTES = 8 << 20 }; /* mapped pages behind the reader that are let go at once */

struct kvt {
    const unsigned char *data;
    size_t n_byte;
    bool mapped;
    struct kvt_header header;
    size_t at;                            /* of the next chunk's header */
    size_t dropped;                       /* bytes at the front whose pages were let go */
    uint64_t n_chunk, n_request, n_block; /* read so far */
    int64_t last_ns;
    const struct kvt_request *request; /* the chunk's next */
    const struct kvs_trace_block *block;
    uint32_t left_request, left_block; /* of the chunk */
};

static enum kvs_code broken(const struct kvs_trace *trace, const char *what, struct kvs_err *err)
{
    return kvs_row_fail(trace, err, KVS_ERR_PARSE, "%s: the file is damaged; convert it anew",
                        what);
}

static enum kvs_code map_file(struct kvs_trace *trace, struct kvt *kvt, struct kvs_err *err)
{
    struct stat st;
    void *data;
    int fd;
    if (trace->mem) {
        kvt->data = trace->mem;
        kvt->n_byte = trace->n_mem;
        return KVS_OK;
    }
    fd = open(trace->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return kvs_fail(err, KVS_ERR_IO, "%s: %s", trace->path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return kvs_fail(err, KVS_ERR_IO, "%s: is no regular file, which .kvt must be", trace->path);
    }
    kvt->n_byte = (size_t)st.st_size;
    data = kvt->n_byte ? mmap(NULL, kvt->n_byte, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    if (data == MAP_FAILED)
        return kvs_fail(err, KVS_ERR_IO, "%s: %s", trace->path,
                        kvt->n_byte ? strerror(errno) : "is empty");
    kvt->data = data;
    kvt->mapped = true;
    (void)madvise(data, kvt->n_byte, MADV_SEQUENTIAL);
    return KVS_OK;
}

static enum kvs_code kvt_open(struct kvs_trace *trace, struct kvs_err *err)
{
    struct kvt *kvt = trace->state;
    const struct kvt_header *header = &kvt->header;
    enum kvs_code code = map_file(trace, kvt, err);
    if (code)
        return code;
    if (kvt->n_byte < sizeof *header || memcmp(kvt->data, KVT_MAGIC, sizeof header->magic) != 0)
        return kvs_row_fail(trace, err, KVS_ERR_PARSE, "is no .kvt file");
    memcpy(&kvt->header, kvt->data, sizeof *header);
    if (header->sum != kvt_sum(header, offsetof(struct kvt_header, sum)))
        return broken(trace, "the header's checksum does not fit", err);
    if (header->version != KVT_VERSION)
        return kvs_row_fail(trace, err, KVS_ERR_PARSE, "found version %u, want %d", header->version,
                            KVT_VERSION);
    if ((header->flags & ~(uint32_t)KVT_CHAINED) || header->zero)
        return broken(trace, "the header has flags that version 1 has not", err);
    if (header->n_byte != kvt->n_byte)
        return kvs_row_fail(trace, err, KVS_ERR_PARSE,
                            "found %zu bytes, want %llu: the file was cut short or made longer",
                            kvt->n_byte, (unsigned long long)header->n_byte);
    trace->chained = header->flags & KVT_CHAINED;
    trace->block_tok = header->block_tok;
    kvt->at = sizeof *header;
    return KVS_OK;
}

/* Lets go of pages that were read, so that memory does not grow with the file. */
static void drop_read(struct kvt *kvt)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t upto = kvt->at & ~(page - 1);
    if (!kvt->mapped || upto < kvt->dropped + KEEP_BYTES)
        return;
    (void)madvise((void *)(uintptr_t)(kvt->data + kvt->dropped), upto - kvt->dropped,
                  MADV_DONTNEED);
    kvt->dropped = upto;
}

static enum kvs_code next_chunk(struct kvs_trace *trace, struct kvt *kvt, struct kvs_err *err)
{
    struct kvt_chunk chunk;
    const unsigned char *body;
    size_t body_bytes;
    drop_read(kvt);
    if (kvt->n_byte - kvt->at < sizeof chunk)
        return broken(trace, "a chunk is missing", err);
    memcpy(&chunk, kvt->data + kvt->at, sizeof chunk);
    if (chunk.sum != kvt_sum(&chunk, offsetof(struct kvt_chunk, sum)) ||
        chunk.index != kvt->n_chunk)
        return broken(trace, "a chunk header's checksum or number does not fit", err);
    body = kvt->data + kvt->at + sizeof chunk;
    body_bytes = chunk.n_request * sizeof(struct kvt_request) +
                 chunk.n_block * sizeof(struct kvs_trace_block);
    if (body_bytes > kvt->n_byte - kvt->at - sizeof chunk || !chunk.n_request)
        return broken(trace, "a chunk is longer than the file", err);
    if (chunk.body_sum != kvt_sum(body, body_bytes))
        return broken(trace, "a chunk's checksum does not fit", err);
    kvt->request = (const void *)body;
    kvt->block = (const void *)(body + chunk.n_request * sizeof(struct kvt_request));
    kvt->left_request = chunk.n_request;
    kvt->left_block = chunk.n_block;
    kvt->at += sizeof chunk + body_bytes;
    kvt->n_chunk++;
    return KVS_OK;
}

static enum kvs_code at_end(struct kvs_trace *trace, const struct kvt *kvt, struct kvs_err *err)
{
    if (kvt->at != kvt->n_byte || kvt->n_request != kvt->header.n_request ||
        kvt->n_block != kvt->header.n_block)
        return broken(trace, "the header's counts do not fit", err);
    return KVS_OK;
}

static bool blocks_fit(const struct kvt *kvt, const struct kvt_request *request)
{
    uint64_t sum_tok;
    return kvt_blocks_fit(kvt->block, request->n_block, kvt->left_block, &sum_tok) &&
           sum_tok <= request->input_tok;
}

static enum kvs_code kvt_next(struct kvs_trace *trace, const struct kvs_request **req,
                              struct kvs_err *err)
{
    struct kvt *kvt = trace->state;
    const struct kvt_request *request;
    if (!kvt->left_request) {
        enum kvs_code code;
        if (kvt->left_block)
            return broken(trace, "a chunk has blocks of no request", err);
        if (kvt->n_chunk == kvt->header.n_chunk)
            return at_end(trace, kvt, err);
        if ((code = next_chunk(trace, kvt, err)))
            return code;
    }
    request = kvt->request;
    if (request->n_block > kvt->left_block || !request->input_tok || request->zero ||
        request->arrive_ns < kvt->last_ns || !blocks_fit(kvt, request))
        return broken(trace, "a request can't be", err);
    trace->req = (struct kvs_request){.arrive_ns = request->arrive_ns,
                                      .session = request->session,
                                      .input_tok = request->input_tok,
                                      .output_tok = request->output_tok,
                                      .n_block = request->n_block,
                                      .block = kvt->block};
    kvt->last_ns = request->arrive_ns;
    kvt->request++;
    kvt->left_request--;
    kvt->block += request->n_block;
    kvt->left_block -= request->n_block;
    kvt->n_request++;
    kvt->n_block += request->n_block;
    *req = &trace->req;
    return KVS_OK;
}

static void kvt_close(struct kvs_trace *trace)
{
    struct kvt *kvt = trace->state;
    if (kvt->mapped)
        munmap((void *)(uintptr_t)kvt->data, kvt->n_byte);
}

static double kvt_done_frac(const struct kvs_trace *trace)
{
    const struct kvt *kvt = trace->state;
    return kvt->header.n_request ? (double)kvt->n_request / (double)kvt->header.n_request : 1;
}

const struct kvs_trace_ops kvs_trace_kvt = {
    .name = "kvt",
    .help = "kvsim's binary form, written by `kvsim trace convert IN OUT.kvt`",
    .magic = KVT_MAGIC,
    .state_bytes = sizeof(struct kvt),
    .open = kvt_open,
    .next = kvt_next,
    .close = kvt_close,
    .done_frac = kvt_done_frac,
};
