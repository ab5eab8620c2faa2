/*
 * .kvt files: as they are, and with their checksums made right, so that what lies behind them is
 * reached.
 */
#include "workloads/kvt.h"
#include "workloads/trace.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

static void demand(bool fact)
{
    if (!fact)
        abort();
}

static void read_all(const void *data, size_t n_byte)
{
    struct kvs_trace_options options = {.format = "kvt"};
    struct kvs_err err = {0};
    struct kvs_trace *trace;
    const struct kvs_request *req = NULL;
    int64_t last_ns = 0;
    enum kvs_code code = kvs_trace_open_mem("fuzz.kvt", data, n_byte, &options, &trace, &err);
    if (code == KVS_OK) {
        while ((code = kvs_trace_next(trace, &req, &err)) == KVS_OK && req) {
            uint64_t sum_tok = 0;
            demand(req->arrive_ns >= last_ns);
            last_ns = req->arrive_ns;
            for (uint32_t i = 0; i < req->n_block; i++) {
                demand(req->block[i].n_tok > 0 && req->block[i].part < KVS_N_PART);
                sum_tok += req->block[i].n_tok;
            }
            demand(sum_tok <= req->input_tok);
        }
        kvs_trace_close(trace);
    }
    demand(err.code == code && (err.msg[0] == '\0') == (code == KVS_OK));
}

/* The checksums that the bytes should have, and the file's size. */
static void mend(uint8_t *data, size_t n_byte)
{
    struct kvt_header header;
    struct kvt_chunk chunk;
    size_t at = sizeof header;
    if (n_byte < sizeof header)
        return;
    memcpy(&header, data, sizeof header);
    memcpy(header.magic, KVT_MAGIC, sizeof header.magic);
    header.version = KVT_VERSION;
    header.n_byte = n_byte;
    header.sum = XXH3_64bits(&header, offsetof(struct kvt_header, sum));
    memcpy(data, &header, sizeof header);
    for (uint64_t index = 0; n_byte - at >= sizeof chunk; index++) {
        size_t body_bytes;
        memcpy(&chunk, data + at, sizeof chunk);
        body_bytes = chunk.n_request * sizeof(struct kvt_request) +
                     chunk.n_block * sizeof(struct kvs_trace_block);
        if (body_bytes > n_byte - at - sizeof chunk)
            return;
        chunk.index = index;
        chunk.body_sum = XXH3_64bits(data + at + sizeof chunk, body_bytes);
        chunk.sum = XXH3_64bits(&chunk, offsetof(struct kvt_chunk, sum));
        memcpy(data + at, &chunk, sizeof chunk);
        at += sizeof chunk + body_bytes;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    uint8_t *copy = malloc(n_byte ? n_byte : 1); /* aligned, as a mapped file is */
    if (!copy)
        return 0;
    memcpy(copy, data, n_byte);
    read_all(copy, n_byte);
    mend(copy, n_byte);
    read_all(copy, n_byte);
    free(copy);
    return 0;
}
