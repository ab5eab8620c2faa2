#include "memtrace.h"

#include "workloads/trace_format.h"

struct state {
    const struct kvs_request *request;
    size_t n, at;
};

static enum kvs_code next(struct kvs_trace *trace, const struct kvs_request **req,
                          struct kvs_err *err)
{
    struct state *state = trace->state;
    (void)err;
    *req = state->at < state->n ? &state->request[state->at++] : NULL;
    return KVS_OK;
}

static const struct kvs_trace_ops ops = {
    .name = "memory", .help = "an array", .state_bytes = sizeof(struct state), .next = next};

struct kvs_trace *memtrace(const struct kvs_request *request, size_t n, bool chained)
{
    struct kvs_trace *trace = kvs_trace_new(&ops);
    if (trace) {
        *(struct state *)trace->state = (struct state){request, n, 0};
        trace->chained = chained;
    }
    return trace;
}
