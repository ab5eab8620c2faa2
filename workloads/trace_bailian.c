/*
 * Qwen-Bailian: two hours of Alibaba Cloud's serving (alibaba-edu/qwen-bailian-usagetraces-anon;
 * Wang et al., USENIX ATC 2025): one JSON object a line: chat_id, parent_chat_id (-1: a first
 * turn), timestamp (seconds), input_length, output_length (tokens), type, turn, hash_ids: blocks of
 * 16 tokens. The source does not say whether a block's hash holds what stands before it, so ids are
 * taken as content ids, which is right in both cases: chained ids never come again elsewhere.
 *
 * A session is a first turn and all that follow from it; memory grows with the number of chats.
 */
#include "trace_format.h"

#include "base/map.h"

#include <string.h>

enum { BLOCK_TOK = 16 };

struct bailian {
    struct kvs_map root; /* of a chat: the first turn's number */
};

static bool bailian_detect(const char *line)
{
    return line[0] == '{' && strstr(line, "\"chat_id\"") && strstr(line, "\"hash_ids\"");
}

static enum kvs_code bailian_open(struct kvs_trace *trace, struct kvs_err *err)
{
    struct bailian *state = trace->state;
    return kvs_map_init(&state->root, 0)
               ? KVS_OK
               : kvs_row_fail(trace, err, KVS_ERR_NOMEM, "no memory for chats");
}

static void bailian_close(struct kvs_trace *trace)
{
    struct bailian *state = trace->state;
    kvs_map_free(&state->root);
}

struct bailian_row {
    int64_t at_ns;
    uint64_t chat, parent;
    uint32_t input_tok, output_tok;
    bool first;
};

static bool scan_parent(struct kvs_scan *scan, struct bailian_row *row)
{
    while (*scan->at == ' ')
        scan->at++;
    row->first = strncmp(scan->at, "-1", 2) == 0;
    if (!row->first)
        return kvs_scan_u64(scan, 0, UINT32_MAX - 1, &row->parent);
    scan->at += 2;
    return true;
}

static bool bailian_scan(struct kvs_scan *scan, struct bailian_row *row, struct kvs_ids *ids)
{
    static const struct kvs_scan_name names[] = {
        {"chat_id", "a number"},     {"parent_chat_id", "a number or -1"},
        {"timestamp", "seconds"},    {"input_length", "tokens"},
        {"output_length", "tokens"}, {"hash_ids", "a list of block ids"}};
    uint32_t seen = 0;
    unsigned which;
    bool ok = kvs_scan_object(scan);
    while (ok && (ok = kvs_scan_field(scan, names, 6, &seen, &which)) && which < 6) {
        if (which == 0)
            ok = kvs_scan_u64(scan, 0, UINT32_MAX - 1, &row->chat);
        else if (which == 1)
            ok = scan_parent(scan, row);
        else if (which == 2)
            ok = kvs_scan_time(scan, 1000000000, false, &row->at_ns);
        else if (which == 3)
            ok = kvs_scan_u32(scan, 1, &row->input_tok);
        else if (which == 4)
            ok = kvs_scan_u32(scan, 0, &row->output_tok);
        else
            ok = kvs_scan_ids(scan, UINT64_MAX, ids);
    }
    return ok && kvs_scan_end(scan);
}

/* The number of the session's first turn, plus 1; a parent that the file does not hold begins one.
 */
static enum kvs_code session_of(struct kvs_trace *trace, const struct bailian_row *row,
                                uint64_t *session, struct kvs_err *err)
{
    struct bailian *state = trace->state;
    const uint32_t *parent = row->first ? NULL : kvs_map_find(&state->root, row->parent);
    uint64_t root = parent ? *parent : row->first ? row->chat : row->parent;
    bool found;
    *session = root + 1;
    return kvs_map_put(&state->root, row->chat, (uint32_t)root, &found)
               ? KVS_OK
               : kvs_row_fail(trace, err, KVS_ERR_NOMEM, "no memory for chats");
}

static enum kvs_code bailian_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    struct bailian_row row = {0};
    struct kvs_scan scan;
    uint64_t session;
    size_t full;
    enum kvs_code code;
    kvs_scan_begin(&scan, trace->lines, line, err);
    if (!bailian_scan(&scan, &row, &trace->ids))
        return err->code;
    full = row.input_tok / BLOCK_TOK;
    if (trace->ids.n != full && (trace->ids.n != full + 1 || row.input_tok % BLOCK_TOK == 0))
        return kvs_row_fail(trace, err, KVS_ERR_PARSE,
                            "hash_ids: found %zu ids, want %zu or one more, one for each %d of "
                            "input_length's %u tokens",
                            trace->ids.n, full, BLOCK_TOK, row.input_tok);
    if ((code = kvs_row_even(trace, &trace->ids, row.input_tok, BLOCK_TOK, err)) ||
        (code = session_of(trace, &row, &session, err)))
        return code;
    return kvs_row_end(trace, row.at_ns, session, row.input_tok, row.output_tok, err);
}

const struct kvs_trace_ops kvs_trace_bailian = {
    .name = "bailian",
    .help = "Alibaba Cloud's Qwen serving, JSON lines (alibaba-edu/qwen-bailian-usagetraces-anon)",
    .block_tok = BLOCK_TOK,
    .state_bytes = sizeof(struct bailian),
    .detect = bailian_detect,
    .open = bailian_open,
    .row = bailian_row,
    .close = bailian_close,
};
