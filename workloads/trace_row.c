/* What the readers of line formats share: from a line to a request. */
#include "trace_format.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum kvs_code kvs_row_fail(const struct kvs_trace *trace, struct kvs_err *err, enum kvs_code code,
                           const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (trace->lines)
        return kvs_lines_fail(trace->lines, err, code, "%s", text);
    return kvs_fail(err, code, "%s: %s", trace->path ? trace->path : trace->ops->name, text);
}

uint64_t kvs_session_of(const char *text, size_t n_byte)
{
    uint64_t hash =
        XXH3_64bits(text, n_byte) >> 1; /* within what JSON readers take as an integer */
    return hash ? hash : 1;
}

void kvs_row_begin(struct kvs_trace *trace)
{
    trace->req = (struct kvs_request){0};
    trace->block_sum_tok = 0;
}

static enum kvs_code blocks_grow(struct kvs_trace *trace, struct kvs_err *err)
{
    size_t cap = trace->cap_block ? trace->cap_block * 2 : 256;
    struct kvs_trace_block *block = realloc(trace->block, cap * sizeof *block);
    if (!block)
        return kvs_row_fail(trace, err, KVS_ERR_NOMEM, "no memory for %zu blocks", cap);
    trace->block = block;
    trace->cap_block = cap;
    return KVS_OK;
}

enum kvs_code kvs_row_block(struct kvs_trace *trace, uint64_t id, uint64_t n_tok,
                            enum kvs_part part, struct kvs_err *err)
{
    uint32_t n = trace->req.n_block;
    if (n_tok < 1 || n_tok > UINT32_MAX)
        return kvs_row_fail(trace, err, KVS_ERR_RANGE,
                            "block %llu: %llu tokens, want 1 to 4294967295", (unsigned long long)id,
                            (unsigned long long)n_tok);
    if (n == trace->cap_block) {
        enum kvs_code code = blocks_grow(trace, err);
        if (code)
            return code;
    }
    trace->block[n] = (struct kvs_trace_block){.id = id, .n_tok = (uint32_t)n_tok, .part = part};
    trace->req.n_block = n + 1;
    trace->block_sum_tok += n_tok;
    return KVS_OK;
}

enum kvs_code kvs_row_even(struct kvs_trace *trace, const struct kvs_ids *ids, uint64_t input_tok,
                           uint32_t block_tok, struct kvs_err *err)
{
    uint64_t left = input_tok;
    for (size_t i = 0; i < ids->n; i++) {
        uint64_t n_tok = left < block_tok ? left : block_tok;
        enum kvs_code code = kvs_row_block(trace, ids->v[i], n_tok, KVS_PART_TEXT, err);
        if (code)
            return code;
        left -= n_tok;
    }
    return KVS_OK;
}

static bool scan_row(struct kvs_scan *scan, struct kvs_trace *trace,
                     const struct kvs_row_form *form, struct kvs_row_head *head)
{
    const unsigned n = form->name[4].key ? 5 : 4;
    uint32_t seen = 0;
    unsigned which;
    bool ok = kvs_scan_object(scan);
    while (ok && (ok = kvs_scan_field(scan, form->name, n, &seen, &which)) && which < n) {
        if (which == 0)
            ok = kvs_scan_time(scan, form->unit_ns, form->quoted, &head->at_ns);
        else if (which == 1)
            ok = kvs_scan_u32(scan, form->least_input, &head->input);
        else if (which == 2)
            ok = kvs_scan_u32(scan, 0, &head->output);
        else if (which == 4)
            ok = kvs_scan_u64(scan, 0, UINT32_MAX, &head->session);
        else
            ok = form->list ? form->list(scan, trace) : kvs_scan_ids(scan, UINT64_MAX, &trace->ids);
    }
    return ok && kvs_scan_end(scan);
}

enum kvs_code kvs_row_scan(struct kvs_trace *trace, const char *line,
                           const struct kvs_row_form *form, struct kvs_row_head *head,
                           struct kvs_err *err)
{
    struct kvs_scan scan;
    *head = (struct kvs_row_head){0};
    kvs_scan_begin(&scan, trace->lines, line, err);
    return scan_row(&scan, trace, form, head) ? KVS_OK : err->code;
}

static int64_t row_time(struct kvs_trace *trace, int64_t at_ns)
{
    if (!trace->begun) {
        trace->begun = true;
        trace->first_ns = trace->last_ns = at_ns;
    }
    if (at_ns < trace->last_ns) {
        trace->moved++;
        at_ns = trace->last_ns;
    }
    trace->last_ns = at_ns;
    return at_ns - trace->first_ns;
}

enum kvs_code kvs_row_end(struct kvs_trace *trace, int64_t at_ns, uint64_t session,
                          uint64_t input_tok, uint64_t output_tok, struct kvs_err *err)
{
    struct kvs_request *req = &trace->req;
    if (input_tok < 1 || input_tok > UINT32_MAX || output_tok > UINT32_MAX)
        return kvs_row_fail(trace, err, KVS_ERR_RANGE,
                            "input of %llu and output of %llu tokens, want 1 to 4294967295 and at "
                            "most 4294967295",
                            (unsigned long long)input_tok, (unsigned long long)output_tok);
    if (trace->block_sum_tok > input_tok)
        return kvs_row_fail(trace, err, KVS_ERR_RANGE,
                            "the input's %llu tokens are fewer than the %llu of its blocks",
                            (unsigned long long)input_tok,
                            (unsigned long long)trace->block_sum_tok);
    req->arrive_ns = row_time(trace, at_ns);
    req->session = session;
    req->input_tok = (uint32_t)input_tok;
    req->output_tok = (uint32_t)output_tok;
    req->block = trace->block;
    return KVS_OK;
}

static bool is_blank(const char *line)
{
    return line[strspn(line, " \t\r")] == '\0';
}

enum kvs_code kvs_row_line(struct kvs_trace *trace, const char **line, struct kvs_err *err)
{
    *line = trace->pending;
    trace->pending = NULL;
    while (!*line) {
        char *text;
        size_t n_byte;
        struct kvs_err line_err = {0};
        enum kvs_code code = kvs_lines_next(trace->lines, &text, &n_byte, &line_err);
        if (code == KVS_ERR_PARSE && trace->skip_bad) { /* no text; the next line may be */
            trace->skipped++;
            continue;
        }
        if (code)
            return kvs_fail(err, code, "%s", line_err.msg);
        if (!text)
            return KVS_OK;
        if (!is_blank(text))
            *line = text;
    }
    return KVS_OK;
}

enum kvs_code kvs_row_next(struct kvs_trace *trace, const struct kvs_request **req,
                           struct kvs_err *err)
{
    for (;;) {
        struct kvs_err row_err = {0};
        const char *line;
        enum kvs_code code = kvs_row_line(trace, &line, err);
        if (code || !line)
            return code;
        trace->no_request = false;
        kvs_row_begin(trace);
        code = trace->ops->row(trace, line, &row_err);
        if (code == KVS_OK) {
            if (trace->no_request)
                continue;
            *req = &trace->req;
            return KVS_OK;
        }
        if (!trace->skip_bad || (code != KVS_ERR_PARSE && code != KVS_ERR_RANGE))
            return kvs_fail(err, code, "%s", row_err.msg);
        trace->skipped++;
    }
}
