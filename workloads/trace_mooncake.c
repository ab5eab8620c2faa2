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

struct mooncake_row {
    int64_t at_ns;
    uint32_t input_tok, output_tok;
};

static bool mooncake_scan(struct kvs_scan *scan, struct mooncake_row *row, struct kvs_ids *ids)
{
    static const struct kvs_scan_name names[] = {{"timestamp", "milliseconds"},
                                                 {"input_length", "tokens"},
                                                 {"output_length", "tokens"},
                                                 {"hash_ids", "a list of block ids"}};
    uint32_t seen = 0;
    unsigned which;
    bool ok = kvs_scan_object(scan);
    while (ok && (ok = kvs_scan_field(scan, names, 4, &seen, &which)) && which < 4) {
        if (which == 0)
            ok = kvs_scan_time(scan, 1000000, false, &row->at_ns);
        else if (which == 1)
            ok = kvs_scan_u32(scan, 1, &row->input_tok);
        else if (which == 2)
            ok = kvs_scan_u32(scan, 0, &row->output_tok);
        else
            ok = kvs_scan_ids(scan, UINT64_MAX, ids);
    }
    return ok && kvs_scan_end(scan);
}

static enum kvs_code mooncake_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    struct mooncake_row row = {0};
    struct kvs_scan scan;
    size_t want;
    enum kvs_code code;
    kvs_scan_begin(&scan, trace->lines, line, err);
    if (!mooncake_scan(&scan, &row, &trace->ids))
        return err->code;
    want = (row.input_tok + (size_t)BLOCK_TOK - 1) / BLOCK_TOK;
    if (trace->ids.n != want)
        return kvs_row_fail(trace, err, KVS_ERR_PARSE,
                            "hash_ids: found %zu ids, want %zu, one for each %d of input_length's "
                            "%u tokens",
                            trace->ids.n, want, BLOCK_TOK, row.input_tok);
    code = kvs_row_even(trace, &trace->ids, row.input_tok, BLOCK_TOK, err);
    return code ? code : kvs_row_end(trace, row.at_ns, 0, row.input_tok, row.output_tok, err);
}

const struct kvs_trace_ops kvs_trace_mooncake = {
    .name = "mooncake",
    .help = "Kimi production traffic, JSON lines (kvcache-ai/Mooncake, FAST25-release/traces)",
    .chained = true,
    .block_tok = BLOCK_TOK,
    .detect = mooncake_detect,
    .row = mooncake_row,
};
