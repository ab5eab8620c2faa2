/*
 * Multi-turn RAG whose documents come again in other orders (after glbyktjys/
 * NonPrefix_LMCacheDataset, mtRag runs), reduced to numbers: one JSON object a line: session, turn,
 * timestamp_ms, input_chars, output_chars, latency_ms, status, segments: [id, kind, chars] in
 * prompt order, with content ids and kinds T tools, S system, U user, P preamble, D document, Q
 * question, A assistant, R tool result.
 */
#include "trace_format.h"

#include <math.h>
#include <string.h>

/* What the source reports for clapnq: 42675055 characters of input, 9476500 tokens. */
static const double chars_per_tok = 4.5;

static bool mtrag_detect(const char *line)
{
    return line[0] == '{' && strstr(line, "\"segments\"") && strstr(line, "\"timestamp_ms\"");
}

static enum kvs_code mtrag_open(struct kvs_trace *trace, struct kvs_err *err)
{
    (void)err;
    if (!(trace->chars_per_tok > 0))
        trace->chars_per_tok = chars_per_tok;
    return KVS_OK;
}

static bool part_of(char kind, enum kvs_part *part)
{
    static const char kinds[] = "TSUPDQAR";
    static const enum kvs_part parts[] = {KVS_PART_SYS,     KVS_PART_SYS,     KVS_PART_USER,
                                          KVS_PART_TEXT,    KVS_PART_PASSAGE, KVS_PART_USER,
                                          KVS_PART_HISTORY, KVS_PART_HISTORY};
    const char *at = kind ? strchr(kinds, kind) : NULL;
    if (at)
        *part = parts[at - kinds];
    return at != NULL;
}

struct segment {
    uint64_t id;
    enum kvs_part part;
    uint32_t n_char;
};

/* [id, kind, chars] */
static bool scan_segment(struct kvs_scan *scan, struct segment *segment)
{
    bool more, ok = kvs_scan_array(scan);
    for (int i = 0; ok && i < 4; i++) {
        const char *text;
        size_t n_byte;
        ok = kvs_scan_element(scan, &more);
        if (ok && more != (i < 3))
            return kvs_scan_want(scan, "a segment as [id, kind, characters]");
        if (ok && i == 0)
            ok = kvs_scan_u64(scan, 0, UINT64_MAX, &segment->id);
        else if (ok && i == 1) {
            ok = kvs_scan_str(scan, &text, &n_byte);
            if (ok && (n_byte != 1 || !part_of(*text, &segment->part)))
                return kvs_scan_bad(scan, "found \"%.*s\", want one of T S U P D Q A R",
                                    n_byte < 20 ? (int)n_byte : 20, text);
        } else if (ok && i == 2) {
            ok = kvs_scan_u32(scan, 0, &segment->n_char);
        }
    }
    return ok;
}

/* Blocks end where their characters do, in tokens, rounded; each has at least one. */
static bool scan_segments(struct kvs_scan *scan, struct kvs_trace *trace, uint64_t *n_char)
{
    bool more = true, ok = kvs_scan_array(scan);
    *n_char = 0;
    while (ok && (ok = kvs_scan_element(scan, &more)) && more) {
        struct segment segment = {0};
        double end_tok;
        uint64_t n_tok;
        if (!scan_segment(scan, &segment))
            return false;
        *n_char += segment.n_char;
        end_tok = floor((double)*n_char / trace->chars_per_tok + 0.5);
        if (!(end_tok <= UINT32_MAX))
            return kvs_scan_bad(scan, "more than 4294967295 tokens");
        n_tok =
            end_tok > (double)trace->block_sum_tok ? (uint64_t)end_tok - trace->block_sum_tok : 1;
        ok = kvs_row_block(trace, segment.id, n_tok, segment.part, scan->err) == KVS_OK;
    }
    return ok;
}

struct mtrag_row {
    int64_t at_ns;
    uint64_t session, n_char;
    uint32_t input_chars, output_chars;
};

static bool mtrag_scan(struct kvs_scan *scan, struct kvs_trace *trace, struct mtrag_row *row)
{
    static const struct kvs_scan_name names[] = {{"session", "a number"},
                                                 {"timestamp_ms", "milliseconds"},
                                                 {"input_chars", "characters"},
                                                 {"output_chars", "characters"},
                                                 {"segments", "a list of segments"}};
    uint32_t seen = 0;
    unsigned which;
    bool ok = kvs_scan_object(scan);
    while (ok && (ok = kvs_scan_field(scan, names, 5, &seen, &which)) && which < 5) {
        if (which == 0)
            ok = kvs_scan_u64(scan, 0, UINT32_MAX, &row->session);
        else if (which == 1)
            ok = kvs_scan_time(scan, 1000000, false, &row->at_ns);
        else if (which == 2)
            ok = kvs_scan_u32(scan, 0, &row->input_chars);
        else if (which == 3)
            ok = kvs_scan_u32(scan, 0, &row->output_chars);
        else
            ok = scan_segments(scan, trace, &row->n_char);
    }
    return ok && kvs_scan_end(scan);
}

static enum kvs_code mtrag_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    struct mtrag_row row = {0};
    struct kvs_scan scan;
    double input_tok, output_tok;
    kvs_scan_begin(&scan, trace->lines, line, err);
    if (!mtrag_scan(&scan, trace, &row))
        return err->code;
    if (row.n_char > row.input_chars)
        return kvs_row_fail(trace, err, KVS_ERR_PARSE,
                            "input_chars: found %u, want at least the segments' %llu",
                            row.input_chars, (unsigned long long)row.n_char);
    input_tok = fmax(fmax(1, floor(row.input_chars / trace->chars_per_tok + 0.5)),
                     (double)trace->block_sum_tok);
    output_tok = floor(row.output_chars / trace->chars_per_tok + 0.5);
    if (!(input_tok <= UINT32_MAX && output_tok <= UINT32_MAX))
        return kvs_row_fail(trace, err, KVS_ERR_RANGE, "more than 4294967295 tokens");
    return kvs_row_end(trace, row.at_ns, row.session + 1, (uint64_t)input_tok, (uint64_t)output_tok,
                       err);
}

const struct kvs_trace_ops kvs_trace_mtrag = {
    .name = "mtrag",
    .help = "multi-turn RAG, documents in changing order, JSON lines of numbers "
            "(NonPrefix_LMCacheDataset)",
    .invents = "tokens: characters over 4.5, or over --chars-per-tok",
    .detect = mtrag_detect,
    .open = mtrag_open,
    .row = mtrag_row,
};
