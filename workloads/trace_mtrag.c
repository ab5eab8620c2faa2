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

/* Blocks end where their characters do, in tokens, rounded; each has at least one. The state is the
 * characters of all. */
static bool scan_segments(struct kvs_scan *scan, struct kvs_trace *trace)
{
    uint64_t *n_char = trace->state;
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

static enum kvs_code mtrag_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    static const struct kvs_row_form form = {.name = {{"timestamp_ms", "milliseconds"},
                                                      {"input_chars", "characters"},
                                                      {"output_chars", "characters"},
                                                      {"segments", "a list of segments"},
                                                      {"session", "a number"}},
                                             .unit_ns = 1000000,
                                             .list = scan_segments};
    const uint64_t *n_char = trace->state;
    struct kvs_row_head row;
    double input_tok, output_tok;
    if (kvs_row_scan(trace, line, &form, &row, err))
        return err->code;
    if (*n_char > row.input)
        return kvs_row_fail(trace, err, KVS_ERR_PARSE,
                            "input_chars: found %u, want at least the segments' %llu", row.input,
                            (unsigned long long)*n_char);
    input_tok =
        fmax(fmax(1, floor(row.input / trace->chars_per_tok + 0.5)), (double)trace->block_sum_tok);
    output_tok = floor(row.output / trace->chars_per_tok + 0.5);
    if (!(input_tok <= UINT32_MAX && output_tok <= UINT32_MAX))
        return kvs_row_fail(trace, err, KVS_ERR_RANGE, "more than 4294967295 tokens");
    return kvs_row_end(trace, row.at_ns, row.session + 1, (uint64_t)input_tok, (uint64_t)output_tok,
                       err);
}

const struct kvs_trace_ops kvs_trace_mtrag = {
    .name = "mtrag",
    .counts_chars = true,
    .help = "multi-turn RAG, documents in changing order, JSON lines of numbers "
            "(NonPrefix_LMCacheDataset)",
    .invents = "tokens: characters over 4.5, or over --chars-per-tok",
    .state_bytes = sizeof(uint64_t),
    .detect = mtrag_detect,
    .open = mtrag_open,
    .row = mtrag_row,
};
