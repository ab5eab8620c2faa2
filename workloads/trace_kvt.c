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

enum {
    DROP_BYTES = 2 << 20,        /* a large page; smaller parts of it are not let go of */
    KEEP_BYTES = 4 * DROP_BYTES, /* mapped pages behind the reader that are let go at once */
    BATCH = 64,                  /* requests made ready at once */
};

struct kvt {
    const unsigned char *data;
    size_t n_byte;
    bool mapped;
    struct kvt_header header;
    const struct kvt_work *work;
    size_t at;                               /* of the next chunk's header */
    size_t dropped;                          /* bytes at the front whose pages were let go */
    uint64_t n_chunk, n_request, n_block;    /* in the chunks reached so far */
    int64_t last_ns;                         /* the last request's arrival in them */
    const struct kvt_request *request, *end; /* of the chunk, the next and after the last */
    const struct kvs_trace_block *block;     /* of the next */
    uint32_t n_chunk_block;                  /* in the chunk */
    struct kvs_request batch[BATCH];         /* made ready last */
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
        return kvs_fail(err, kvs_errno_code(errno), "%s: %s", trace->path, strerror(errno));
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
    /* what has to come from the disk then lies in large pages, with a fault for 512 small ones */
    (void)madvise(data, kvt->n_byte, MADV_HUGEPAGE);
    return KVS_OK;
}

static enum kvs_code kvt_open(struct kvs_trace *trace, struct kvs_err *err)
{
    struct kvt *kvt = trace->state;
    const struct kvt_header *header = &kvt->header;
    enum kvs_code code = map_file(trace, kvt, err);
    kvt->work = kvt_work();
    if (code)
        return code;
    if (kvt->n_byte < sizeof *header || memcmp(kvt->data, KVT_MAGIC, sizeof header->magic) != 0)
        return kvs_row_fail(trace, err, KVS_ERR_PARSE, "is no .kvt file");
    memcpy(&kvt->header, kvt->data, sizeof *header);
    if (header->sum != kvt->work->sum(header, offsetof(struct kvt_header, sum)))
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
    size_t upto = kvt->at / DROP_BYTES * DROP_BYTES;
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
    if (chunk.sum != kvt->work->sum(&chunk, offsetof(struct kvt_chunk, sum)) ||
        chunk.index != kvt->n_chunk)
        return broken(trace, "a chunk header's checksum or number does not fit", err);
    body = kvt->data + kvt->at + sizeof chunk;
    body_bytes = chunk.n_request * sizeof(struct kvt_request) +
                 chunk.n_block * sizeof(struct kvs_trace_block);
    if (body_bytes > kvt->n_byte - kvt->at - sizeof chunk || !chunk.n_request)
        return broken(trace, "a chunk is longer than the file", err);
    if (chunk.body_sum != kvt->work->sum(body, body_bytes))
        return broken(trace, "a chunk's checksum does not fit", err);
    kvt->request = (const void *)body;
    kvt->end = kvt->request + chunk.n_request;
    kvt->block = (const void *)kvt->end;
    if (!kvt->work->fits(kvt->request, chunk.n_request, kvt->block, chunk.n_block, kvt->last_ns))
        return broken(trace, "a request can't be", err);
    kvt->n_chunk_block = chunk.n_block;
    kvt->last_ns = kvt->end[-1].arrive_ns;
    kvt->n_request += chunk.n_request;
    kvt->n_block += chunk.n_block;
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

/* The next requests of a chunk that was checked, as many as are there and fit into the batch. */
static unsigned fill_batch(struct kvt *kvt)
{
    const struct kvt_request *from = kvt->request;
    const struct kvs_trace_block *block = kvt->block;
    unsigned n = 0;
    for (; n < BATCH && from < kvt->end; n++, from++) {
        /* of the next chunk, a third of what its check will want; the check of this one asked for
         * the rest */
        __builtin_prefetch(block + kvt->n_chunk_block + 2 * KVT_LINE_BLOCK, 0, 2);
        kvt->batch[n] = (struct kvs_request){.arrive_ns = from->arrive_ns,
                                             .session = from->session,
                                             .input_tok = from->input_tok,
                                             .output_tok = from->output_tok,
                                             .n_block = from->n_block,
                                             .block = block};
        block += from->n_block;
    }
    kvt->request = from;
    kvt->block = block;
    return n;
}

static enum kvs_code kvt_next(struct kvs_trace *trace, const struct kvs_request **req,
                              struct kvs_err *err)
{
    struct kvt *kvt = trace->state;
    if (kvt->request == kvt->end) {
        enum kvs_code code;
        if (kvt->n_chunk == kvt->header.n_chunk)
            return at_end(trace, kvt, err);
        if ((code = next_chunk(trace, kvt, err)))
            return code;
    }
    trace->ready_end = kvt->batch + fill_batch(kvt);
    trace->ready = kvt->batch + 1;
    *req = kvt->batch;
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
    const uint64_t n_done = kvt->n_request - (uint64_t)(kvt->end - kvt->request) -
                            (uint64_t)(trace->ready_end - trace->ready);
    return kvt->header.n_request ? (double)n_done / (double)kvt->header.n_request : 1;
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
