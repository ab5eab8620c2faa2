/*
 * Trace readers. The first byte says the format ('a': told by the text, 'b' on: as listed) and, as
 * a capital, that bad lines are skipped; the rest is the file. RAGPulse's tables are the sample's.
 */
#include "workloads/trace.h"
#include "workloads/trace_filter.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

static void demand(bool fact)
{
    if (!fact)
        abort();
}

/* What every reader promises of a request. */
static void check_request(const struct kvs_request *req, int64_t *last_ns)
{
    uint64_t sum_tok = 0;
    demand(req->arrive_ns >= *last_ns);
    *last_ns = req->arrive_ns;
    demand(req->input_tok > 0);
    for (uint32_t i = 0; i < req->n_block; i++) {
        demand(req->block[i].n_tok > 0 && req->block[i].part < KVS_N_PART);
        sum_tok += req->block[i].n_tok;
    }
    demand(sum_tok <= req->input_tok);
}

static void drain(struct kvs_trace *trace)
{
    struct kvs_err err = {0};
    const struct kvs_request *req = NULL;
    int64_t last_ns = 0;
    enum kvs_code code;
    while ((code = kvs_trace_next(trace, &req, &err)) == KVS_OK && req)
        check_request(req, &last_ns);
    demand(err.code == code && (err.msg[0] == '\0') == (code == KVS_OK));
    kvs_trace_close(trace);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    struct kvs_trace_options options = {0};
    struct kvs_trace_filter filter = {.rate = 0.5, .population = 2};
    struct kvs_err err = {0};
    struct kvs_trace *trace, *twice;
    unsigned n_format = 0, pick;
    if (n_byte < 1)
        return 0;
    while (kvs_trace_formats()[n_format])
        n_format++;
    pick = (unsigned)(tolower(data[0]) - 'a') % (n_format + 1);
    options.format = pick ? kvs_trace_formats()[pick - 1] : NULL;
    options.skip_bad = isupper(data[0]);
    if (kvs_trace_open_mem("tests/data/ragpulse/fuzz", data + 1, n_byte - 1, &options, &trace,
                           &err)) {
        demand(err.msg[0] != '\0');
        return 0;
    }
    if (n_byte % 2 && kvs_trace_filtered(trace, &filter, &twice, &err) == KVS_OK)
        trace = twice;
    drain(trace);
    return 0;
}
