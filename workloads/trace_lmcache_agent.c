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

static enum kvs_code agent_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    static const struct kvs_row_form form = {.name = {{"timestamp_us", "microseconds"},
                                                      {"input_chars", "characters"},
                                                      {"output_chars", "characters"},
                                                      {"hash_ids", "a list of block ids"},
                                                      {"session", "a number"}},
                                             .unit_ns = 1000};
    struct kvs_row_head row;
    double input_tok, output_tok;
    enum kvs_code code = kvs_row_scan(trace, line, &form, &row, err);
    if (code)
        return code;
    if (trace->ids.n != row.input / BLOCK_CHARS)
        return kvs_row_fail(trace, err, KVS_ERR_PARSE,
                            "hash_ids: found %zu ids, want %u, one for each full %d of "
                            "input_chars' %u characters",
                            trace->ids.n, row.input / BLOCK_CHARS, BLOCK_CHARS, row.input);
    input_tok = fmax(fmax(1, ceil(row.input / trace->chars_per_tok)),
                     (double)trace->ids.n * trace->block_tok);
    output_tok = ceil(row.output / trace->chars_per_tok);
    if (!(input_tok <= UINT32_MAX && output_tok <= UINT32_MAX))
        return kvs_row_fail(trace, err, KVS_ERR_RANGE, "more than 4294967295 tokens");
    code = kvs_row_even(trace, &trace->ids, (uint64_t)input_tok, trace->block_tok, err);
    return code ? code
                : kvs_row_end(trace, row.at_ns, row.session + 1, (uint64_t)input_tok,
                              (uint64_t)output_tok, err);
}

const struct kvs_trace_ops kvs_trace_lmcache_agent = {
    .name = "lmcache_agent",
    .counts_chars = true,
    .help = "agent runs, JSON lines of numbers (after LMCache/lmcache-agent-trace)",
    .invents = "tokens: characters over 4, or over --chars-per-tok",
    .chained = true,
    .detect = agent_detect,
    .open = agent_open,
    .row = agent_row,
};
