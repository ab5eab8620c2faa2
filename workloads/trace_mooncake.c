/*
 * Mooncake: Kimi's production traffic (kvcache-ai/Mooncake, FAST25-release/traces; Qin et al., FAST
 * 2025). One JSON object a line: timestamp (ms), input_length, output_length (tokens), hash_ids:
 * prefix-chained ids of blocks of 512 tokens, ceil(input_length / 512) of them, so that the last is
 * usually shorter. No sessions.
 */
#include "trace_format.h"

#include <string.h>

enum { BLOCK_TOK = 512 };

static bool mooncake_detect(const char *line)
{
    return line[0] == '{' && strstr(line, "\"hash_ids\"") && strstr(line, "\"input_length\"") &&
           strstr(line, "\"timestamp\"");
}

static enum kvs_code mooncake_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    static const struct kvs_row_form form = {.name = {{"timestamp", "milliseconds"},
                                                      {"input_length", "tokens"},
                                                      {"output_length", "tokens"},
                                                      {"hash_ids", "a list of block ids"}},
                                             .unit_ns = 1000000,
                                             .least_input = 1};
    struct kvs_row_head row;
    size_t want;
    enum kvs_code code = kvs_row_scan(trace, line, &form, &row, err);
    if (code)
        return code;
    want = (row.input + (size_t)BLOCK_TOK - 1) / BLOCK_TOK;
    if (trace->ids.n != want)
        return kvs_row_fail(trace, err, KVS_ERR_PARSE,
                            "hash_ids: found %zu ids, want %zu, one for each %d of input_length's "
                            "%u tokens",
                            trace->ids.n, want, BLOCK_TOK, row.input);
    code = kvs_row_even(trace, &trace->ids, row.input, BLOCK_TOK, err);
    return code ? code : kvs_row_end(trace, row.at_ns, 0, row.input, row.output, err);
}

const struct kvs_trace_ops kvs_trace_mooncake = {
    .name = "mooncake",
    .help = "Kimi production traffic, JSON lines (kvcache-ai/Mooncake, FAST25-release/traces)",
    .chained = true,
    .block_tok = BLOCK_TOK,
    .detect = mooncake_detect,
    .row = mooncake_row,
};
