/*
 * GMI production sample (LMCache/LMBench, 3-workloads/trace-replayer): one JSON object a line:
 * timestamp (nanoseconds since 1970, as a string), input_length, output_length (tokens), hash_ids:
 * content ids of blocks whose size is not stated; it comes out at 30 to 37 tokens.
 */
#include "trace_format.h"

#include <string.h>

/* A time in quotes tells this format from Mooncake's. */
static bool gmi_detect(const char *line)
{
    const char *at = line[0] == '{' ? strstr(line, "\"timestamp\"") : NULL;
    if (!at || !strstr(line, "\"hash_ids\"") || !strstr(line, "\"input_length\""))
        return false;
    at += strlen("\"timestamp\"");
    at += strspn(at, " \t:");
    return *at == '"';
}

static enum kvs_code gmi_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    static const struct kvs_row_form form = {.name = {{"timestamp", "nanoseconds in quotes"},
                                                      {"input_length", "tokens"},
                                                      {"output_length", "tokens"},
                                                      {"hash_ids", "a list of block ids"}},
                                             .unit_ns = 1,
                                             .quoted = true,
                                             .least_input = 1};
    const struct kvs_ids *ids = &trace->ids;
    struct kvs_row_head row;
    if (kvs_row_scan(trace, line, &form, &row, err))
        return err->code;
    if (ids->n > row.input)
        return kvs_row_fail(trace, err, KVS_ERR_RANGE, "hash_ids: found %zu ids for %u tokens",
                            ids->n, row.input);
    for (size_t i = 0; i < ids->n; i++) {
        uint64_t from = row.input * (uint64_t)i / ids->n;
        uint64_t to = row.input * (uint64_t)(i + 1) / ids->n;
        enum kvs_code code = kvs_row_block(trace, ids->v[i], to - from, KVS_PART_TEXT, err);
        if (code)
            return code;
    }
    return kvs_row_end(trace, row.at_ns, 0, row.input, row.output, err);
}

const struct kvs_trace_ops kvs_trace_gmi = {
    .name = "gmi",
    .help = "GMI production sample, JSON lines (LMCache/LMBench, trace-replayer)",
    .invents = "tokens of a block: the input in as many equal blocks as it has ids",
    .detect = gmi_detect,
    .row = gmi_row,
};
