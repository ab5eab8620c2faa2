/*
 * Request lengths as Vidur keeps them (microsoft/vidur, data/processed_traces; Agrawal et al.,
 * MLSys 2024): CSV with num_prefill_tokens, num_decode_tokens, num_total_tokens, pd_ratio. No times
 * and no text.
 */
#include "trace_format.h"

#include <string.h>

struct vidur {
    int64_t n_row;
};

static bool vidur_detect(const char *line)
{
    return strncmp(line, "num_prefill_tokens,num_decode_tokens", 36) == 0;
}

static enum kvs_code vidur_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    static const char *const names[] = {"num_prefill_tokens", "num_decode_tokens",
                                        "num_total_tokens"};
    struct vidur *state = trace->state;
    struct kvs_scan scan;
    uint32_t tok[3] = {0};
    enum kvs_code code;
    if (vidur_detect(line)) {
        trace->no_request = true;
        return KVS_OK;
    }
    kvs_scan_begin(&scan, trace->lines, line, err);
    for (unsigned i = 0; i < 3; i++) {
        scan.field = names[i];
        if ((i && !kvs_scan_comma(&scan)) || !kvs_scan_u32(&scan, i == 1 ? 0 : 1, &tok[i]))
            return err->code;
    }
    if ((uint64_t)tok[0] + tok[1] != tok[2])
        return kvs_row_fail(trace, err, KVS_ERR_PARSE,
                            "num_total_tokens: found %u, want the sum of the others, %llu", tok[2],
                            (unsigned long long)tok[0] + tok[1]);
    if (*scan.at != ',' && !kvs_scan_end(&scan))
        return err->code;
    code = kvs_row_end(trace, state->n_row * 1000000000, 0, tok[0], tok[1], err);
    state->n_row += code == KVS_OK;
    return code;
}

const struct kvs_trace_ops kvs_trace_vidur = {
    .name = "vidur",
    .help = "request lengths, CSV (microsoft/vidur, data/processed_traces)",
    .invents = "arrivals: one request a second",
    .state_bytes = sizeof(struct vidur),
    .detect = vidur_detect,
    .row = vidur_row,
};
