/*
 * LMCache's log of lookups (LMCache, lookup hash logging; lookup_hashes_*.jsonl): one JSON object a
 * line: timestamp (seconds since 1970), seq_len (tokens), chunk_size, chunk_hashes ("0x..." of full
 * blocks, each over all tokens up to its end), request_id, model_name and more. What an engine
 * looked up, so a request that was looked up twice stands there twice.
 */
#include "trace_format.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static bool lookup_detect(const char *line)
{
    return line[0] == '{' && strstr(line, "\"chunk_hashes\"") && strstr(line, "\"seq_len\"");
}

static bool scan_hashes(struct kvs_scan *scan, struct kvs_ids *ids)
{
    bool more = true, ok = kvs_scan_array(scan);
    for (ids->n = 0; ok && (ok = kvs_scan_element(scan, &more)) && more;) {
        const char *text;
        size_t n_byte;
        ok = kvs_scan_str(scan, &text, &n_byte) &&
             kvs_ids_add(ids, XXH3_64bits(text, n_byte) >> 1, scan);
    }
    return ok;
}

struct lookup_row {
    int64_t at_ns;
    uint32_t input_tok, block_tok;
};

static bool lookup_scan(struct kvs_scan *scan, struct lookup_row *row, struct kvs_ids *ids)
{
    static const struct kvs_scan_name names[] = {{"timestamp", "seconds"},
                                                 {"seq_len", "tokens"},
                                                 {"chunk_size", "tokens"},
                                                 {"chunk_hashes", "a list of hashes"}};
    uint32_t seen = 0;
    unsigned which;
    bool ok = kvs_scan_object(scan);
    while (ok && (ok = kvs_scan_field(scan, names, 4, &seen, &which)) && which < 4) {
        if (which == 0)
            ok = kvs_scan_time(scan, 1000000000, false, &row->at_ns);
        else if (which == 1)
            ok = kvs_scan_u32(scan, 1, &row->input_tok);
        else if (which == 2)
            ok = kvs_scan_u32(scan, 1, &row->block_tok);
        else
            ok = scan_hashes(scan, ids);
    }
    return ok && kvs_scan_end(scan);
}

static enum kvs_code lookup_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    struct lookup_row row = {.block_tok = 1};
    struct kvs_scan scan;
    kvs_scan_begin(&scan, trace->lines, line, err);
    if (!lookup_scan(&scan, &row, &trace->ids))
        return err->code;
    if (trace->ids.n > row.input_tok / row.block_tok)
        return kvs_row_fail(trace, err, KVS_ERR_PARSE,
                            "chunk_hashes: found %zu, want at most %u, one for each full %u of "
                            "seq_len's %u tokens",
                            trace->ids.n, row.input_tok / row.block_tok, row.block_tok,
                            row.input_tok);
    enum kvs_code code = kvs_row_even(trace, &trace->ids, row.input_tok, row.block_tok, err);
    return code ? code : kvs_row_end(trace, row.at_ns, 0, row.input_tok, 0, err);
}

const struct kvs_trace_ops kvs_trace_lmcache_lookup = {
    .name = "lmcache_lookup",
    .help = "LMCache's log of lookups, lookup_hashes_*.jsonl (LMCache documentation)",
    .invents = "answers of 0 tokens: the log has none",
    .chained = true,
    .detect = lookup_detect,
    .row = lookup_row,
};
