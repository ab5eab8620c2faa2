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

struct gmi_row {
    int64_t at_ns;
    uint32_t input_tok, output_tok;
};

static bool gmi_scan(struct kvs_scan *scan, struct gmi_row *row, struct kvs_ids *ids)
{
    static const struct kvs_scan_name names[] = {{"timestamp", "nanoseconds in quotes"},
                                                 {"input_length", "tokens"},
                                                 {"output_length", "tokens"},
                                                 {"hash_ids", "a list of block ids"}};
    uint32_t seen = 0;
    unsigned which;
    bool ok = kvs_scan_object(scan);
    while (ok && (ok = kvs_scan_field(scan, names, 4, &seen, &which)) && which < 4) {
        if (which == 0)
            ok = kvs_scan_time(scan, 1, true, &row->at_ns);
        else if (which == 1)
            ok = kvs_scan_u32(scan, 1, &row->input_tok);
        else if (which == 2)
            ok = kvs_scan_u32(scan, 0, &row->output_tok);
        else
            ok = kvs_scan_ids(scan, UINT64_MAX, ids);
    }
    return ok && kvs_scan_end(scan);
}

static enum kvs_code gmi_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    const struct kvs_ids *ids = &trace->ids;
    struct gmi_row row = {0};
    struct kvs_scan scan;
    kvs_scan_begin(&scan, trace->lines, line, err);
    if (!gmi_scan(&scan, &row, &trace->ids))
        return err->code;
    if (ids->n > row.input_tok)
        return kvs_row_fail(trace, err, KVS_ERR_RANGE, "hash_ids: found %zu ids for %u tokens",
                            ids->n, row.input_tok);
    for (size_t i = 0; i < ids->n; i++) {
        uint64_t from = row.input_tok * (uint64_t)i / ids->n;
        uint64_t to = row.input_tok * (uint64_t)(i + 1) / ids->n;
        enum kvs_code code = kvs_row_block(trace, ids->v[i], to - from, KVS_PART_TEXT, err);
        if (code)
            return code;
    }
    return kvs_row_end(trace, row.at_ns, 0, row.input_tok, row.output_tok, err);
}

const struct kvs_trace_ops kvs_trace_gmi = {
    .name = "gmi",
    .help = "GMI production sample, JSON lines (LMCache/LMBench, trace-replayer)",
    .invents = "tokens of a block: the input in as many equal blocks as it has ids",
    .detect = gmi_detect,
    .row = gmi_row,
};
