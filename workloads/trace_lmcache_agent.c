/*
 * Agent runs recorded by LMCache (LMCache/lmcache-agent-trace), reduced to numbers: one JSON object
 * a line: session, timestamp_us (microseconds), input_chars, output_chars, hash_ids: prefix-chained
 * ids of full blocks of 256 characters.
 */
#include "trace_format.h"

#include <math.h>
#include <string.h>

enum { BLOCK_CHARS = 256 };
static const double chars_per_tok = 4; /* of English text, as LMCache's own documentation has it */

static bool agent_detect(const char *line)
{
    return line[0] == '{' && strstr(line, "\"timestamp_us\"") && strstr(line, "\"hash_ids\"");
}

static enum kvs_code agent_open(struct kvs_trace *trace, struct kvs_err *err)
{
    (void)err;
    if (!(trace->chars_per_tok > 0))
        trace->chars_per_tok = chars_per_tok;
    trace->block_tok = (uint32_t)fmax(1, floor(BLOCK_CHARS / trace->chars_per_tok + 0.5));
    return KVS_OK;
}

struct agent_row {
    int64_t at_ns;
    uint64_t session;
    uint32_t input_chars, output_chars;
};

static bool agent_scan(struct kvs_scan *scan, struct agent_row *row, struct kvs_ids *ids)
{
    static const struct kvs_scan_name names[] = {{"session", "a number"},
                                                 {"timestamp_us", "microseconds"},
                                                 {"input_chars", "characters"},
                                                 {"output_chars", "characters"},
                                                 {"hash_ids", "a list of block ids"}};
    uint32_t seen = 0;
    unsigned which;
    bool ok = kvs_scan_object(scan);
    while (ok && (ok = kvs_scan_field(scan, names, 5, &seen, &which)) && which < 5) {
        if (which == 0)
            ok = kvs_scan_u64(scan, 0, UINT32_MAX, &row->session);
        else if (which == 1)
            ok = kvs_scan_time(scan, 1000, false, &row->at_ns);
        else if (which == 2)
            ok = kvs_scan_u32(scan, 0, &row->input_chars);
        else if (which == 3)
            ok = kvs_scan_u32(scan, 0, &row->output_chars);
        else
            ok = kvs_scan_ids(scan, UINT64_MAX, ids);
    }
    return ok && kvs_scan_end(scan);
}

static enum kvs_code agent_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    struct agent_row row = {0};
    struct kvs_scan scan;
    double input_tok, output_tok;
    enum kvs_code code;
    kvs_scan_begin(&scan, trace->lines, line, err);
    if (!agent_scan(&scan, &row, &trace->ids))
        return err->code;
    if (trace->ids.n != row.input_chars / BLOCK_CHARS)
        return kvs_row_fail(trace, err, KVS_ERR_PARSE,
                            "hash_ids: found %zu ids, want %u, one for each full %d of "
                            "input_chars' %u characters",
                            trace->ids.n, row.input_chars / BLOCK_CHARS, BLOCK_CHARS,
                            row.input_chars);
    input_tok = fmax(fmax(1, ceil(row.input_chars / trace->chars_per_tok)),
                     (double)trace->ids.n * trace->block_tok);
    output_tok = ceil(row.output_chars / trace->chars_per_tok);
    if (!(input_tok <= UINT32_MAX && output_tok <= UINT32_MAX))
        return kvs_row_fail(trace, err, KVS_ERR_RANGE, "more than 4294967295 tokens");
    code = kvs_row_even(trace, &trace->ids, (uint64_t)input_tok, trace->block_tok, err);
    return code ? code
                : kvs_row_end(trace, row.at_ns, row.session + 1, (uint64_t)input_tok,
                              (uint64_t)output_tok, err);
}

const struct kvs_trace_ops kvs_trace_lmcache_agent = {
    .name = "lmcache_agent",
    .help = "agent runs, JSON lines of numbers (after LMCache/lmcache-agent-trace)",
    .invents = "tokens: characters over 4, or over --chars-per-tok",
    .chained = true,
    .detect = agent_detect,
    .open = agent_open,
    .row = agent_row,
};
