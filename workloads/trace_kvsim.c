/*
 * kvsim's own trace format: what all formats read here can say, as JSON lines that people can read
 * and scripts can write. The first line is {"kvsim_trace": 1, "ids": "content" or "chained",
 * "block_tok": N or 0}; then one request a line:
 *
 *   {"arrive_ns": 0, "session": 7, "input_tok": 900, "output_tok": 120,
 *    "blocks": [["sys", 3, 512], ["passage", 41, 380]]}
 *
 * A block is [part, id, tokens]; blocks stand in prompt order and begin at token 0, one after the
 * other. What input_tok has beyond them stands at the end and has no identity. session may be left
 * out. Schema: configs/schema/trace.schema.json.
 */
#include "trace_format.h"

#include <string.h>

enum { VERSION = 1 };

static bool kvsim_detect(const char *line)
{
    return line[0] == '{' && strstr(line, "\"kvsim_trace\"");
}

static bool is_word(const char *text, size_t n_byte, const char *word)
{
    return strlen(word) == n_byte && memcmp(text, word, n_byte) == 0;
}

static bool scan_ids_kind(struct kvs_scan *scan, bool *chained)
{
    const char *text;
    size_t n_byte;
    if (!kvs_scan_str(scan, &text, &n_byte))
        return false;
    *chained = is_word(text, n_byte, "chained");
    if (*chained || is_word(text, n_byte, "content"))
        return true;
    scan->at = text - 1;
    return kvs_scan_want(scan, "\"content\" or \"chained\"");
}

static bool scan_header(struct kvs_scan *scan, bool *chained, uint32_t *block_tok)
{
    static const struct kvs_scan_name names[] = {
        {"kvsim_trace", "a version"}, {"ids", "\"content\" or \"chained\""}, {"block_tok", NULL}};
    uint32_t seen = 0;
    uint64_t version;
    unsigned which;
    bool ok = kvs_scan_object(scan);
    while (ok && (ok = kvs_scan_field(scan, names, 3, &seen, &which)) && which < 3) {
        if (which == 0)
            ok = kvs_scan_u64(scan, VERSION, VERSION, &version);
        else if (which == 1)
            ok = scan_ids_kind(scan, chained);
        else
            ok = kvs_scan_u32(scan, 0, block_tok);
    }
    return ok && kvs_scan_end(scan);
}

static enum kvs_code kvsim_open(struct kvs_trace *trace, struct kvs_err *err)
{
    struct kvs_err own = {0};
    struct kvs_scan scan;
    const char *line;
    enum kvs_code code = kvs_row_line(trace, &line, err);
    if (code)
        return code;
    if (!line)
        return kvs_row_fail(trace, err, KVS_ERR_PARSE,
                            "kvsim_trace: missing, want a first line that says version and ids");
    kvs_scan_begin(&scan, trace->lines, line, &own);
    if (!scan_header(&scan, &trace->chained, &trace->block_tok))
        return kvs_fail(err, own.code, "%s", own.msg);
    return KVS_OK;
}

static bool scan_part(struct kvs_scan *scan, enum kvs_part *part)
{
    const char *text;
    size_t n_byte;
    if (!kvs_scan_str(scan, &text, &n_byte))
        return false;
    for (unsigned i = 0; i < KVS_N_PART; i++) {
        if (is_word(text, n_byte, kvs_part_name[i])) {
            *part = (enum kvs_part)i;
            return true;
        }
    }
    scan->at = text - 1;
    return kvs_scan_want(scan, "text, sys, passage, history, web or user");
}

/* [part, id, tokens] */
static bool scan_block(struct kvs_scan *scan, struct kvs_trace *trace)
{
    enum kvs_part part = KVS_PART_TEXT;
    uint64_t id = 0;
    uint32_t n_tok = 0;
    bool more, ok = kvs_scan_array(scan);
    for (int i = 0; ok && i < 4; i++) {
        ok = kvs_scan_element(scan, &more);
        if (ok && more != (i < 3))
            return kvs_scan_want(scan, "a block as [part, id, tokens]");
        if (ok && i == 0)
            ok = scan_part(scan, &part);
        else if (ok && i == 1)
            ok = kvs_scan_u64(scan, 0, UINT64_MAX, &id);
        else if (ok && i == 2)
            ok = kvs_scan_u32(scan, 1, &n_tok);
    }
    return ok && kvs_row_block(trace, id, n_tok, part, scan->err) == KVS_OK;
}

static bool scan_blocks(struct kvs_scan *scan, struct kvs_trace *trace)
{
    bool more = true, ok = kvs_scan_array(scan);
    while (ok && (ok = kvs_scan_element(scan, &more)) && more)
        ok = scan_block(scan, trace);
    return ok;
}

static enum kvs_code kvsim_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    static const struct kvs_scan_name names[] = {{"arrive_ns", "nanoseconds"},
                                                 {"session", NULL},
                                                 {"input_tok", "tokens"},
                                                 {"output_tok", "tokens"},
                                                 {"blocks", "a list of blocks"}};
    struct kvs_scan scan;
    uint32_t seen = 0, input_tok = 0, output_tok = 0;
    uint64_t session = 0, at_ns = 0;
    unsigned which;
    bool ok;
    kvs_scan_begin(&scan, trace->lines, line, err);
    ok = kvs_scan_object(&scan);
    while (ok && (ok = kvs_scan_field(&scan, names, 5, &seen, &which)) && which < 5) {
        if (which == 0)
            ok = kvs_scan_u64(&scan, 0, INT64_MAX / 2, &at_ns);
        else if (which == 1)
            ok = kvs_scan_u64(&scan, 0, UINT64_MAX, &session);
        else if (which == 2)
            ok = kvs_scan_u32(&scan, 1, &input_tok);
        else if (which == 3)
            ok = kvs_scan_u32(&scan, 0, &output_tok);
        else
            ok = scan_blocks(&scan, trace);
    }
    if (!ok || !kvs_scan_end(&scan))
        return err->code;
    return kvs_row_end(trace, (int64_t)at_ns, session, input_tok, output_tok, err);
}

const struct kvs_trace_ops kvs_trace_kvsim = {
    .name = "kvsim",
    .help = "kvsim's own JSON lines, written by `kvsim trace generate` and `convert`",
    .detect = kvsim_detect,
    .open = kvsim_open,
    .row = kvsim_row,
};
