/*
 * BurstGPT: ChatGPT and GPT-4 traffic of a campus (HPMLL/BurstGPT; Wang et al., KDD 2025): CSV with
 * columns Timestamp (seconds), Model, Request tokens, Response tokens, Total tokens, Log Type, and
 * in later files Session ID and Elapsed time after Timestamp. A failed request has 0 response
 * tokens.
 */
#include "trace_format.h"

#include <string.h>

enum column { SKIP, TIME, SESSION, INPUT, OUTPUT, N_COLUMN, MAX_CELL = 16 };
static const int64_t second_ns = 1000000000;

struct burstgpt {
    enum column column[MAX_CELL];
    unsigned n_cell;
};

static bool burstgpt_detect(const char *line)
{
    return strncmp(line, "Timestamp,", 10) == 0 && strstr(line, "Request tokens");
}

static enum column column_of(const char *text, size_t n_byte)
{
    static const char *const names[N_COLUMN] = {"", "Timestamp", "Session ID", "Request tokens",
                                                "Response tokens"};
    for (unsigned i = 1; i < N_COLUMN; i++)
        if (strlen(names[i]) == n_byte && memcmp(names[i], text, n_byte) == 0)
            return (enum column)i;
    return SKIP;
}

/* The header says which column is what. */
static enum kvs_code read_header(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    struct burstgpt *state = trace->state;
    struct kvs_scan scan;
    unsigned found = 0;
    kvs_scan_begin(&scan, trace->lines, line, err);
    for (state->n_cell = 0; state->n_cell < MAX_CELL;) {
        const char *text;
        size_t n_byte;
        enum column column;
        kvs_scan_cell(&scan, &text, &n_byte);
        column = column_of(text, n_byte);
        state->column[state->n_cell++] = column;
        found |= 1u << column;
        if (*scan.at != ',')
            break;
        scan.at++;
    }
    if ((found & (1u << TIME | 1u << INPUT | 1u << OUTPUT)) !=
        (1u << TIME | 1u << INPUT | 1u << OUTPUT))
        return kvs_row_fail(trace, err, KVS_ERR_PARSE,
                            "header: want columns Timestamp, Request tokens and Response tokens");
    return KVS_OK;
}

static enum kvs_code burstgpt_open(struct kvs_trace *trace, struct kvs_err *err)
{
    const char *line;
    enum kvs_code code = kvs_row_line(trace, &line, err);
    return code || !line ? code : read_header(trace, line, err);
}

struct burstgpt_row {
    int64_t at_ns;
    uint64_t session;
    uint32_t input_tok, output_tok;
};

static bool scan_cell(struct kvs_scan *scan, enum column column, struct burstgpt_row *row)
{
    static const char *const names[N_COLUMN] = {"(row)", "Timestamp", "Session ID",
                                                "Request tokens", "Response tokens"};
    const char *text;
    size_t n_byte;
    scan->field = names[column];
    if (column == TIME)
        return kvs_scan_time(scan, second_ns, false, &row->at_ns);
    if (column == INPUT)
        return kvs_scan_u32(scan, 1, &row->input_tok);
    if (column == OUTPUT)
        return kvs_scan_u32(scan, 0, &row->output_tok);
    kvs_scan_cell(scan, &text, &n_byte);
    if (column == SESSION && n_byte)
        row->session = kvs_session_of(text, n_byte);
    return true;
}

static enum kvs_code burstgpt_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    const struct burstgpt *state = trace->state;
    struct burstgpt_row row = {0};
    struct kvs_scan scan;
    bool ok = true;
    kvs_scan_begin(&scan, trace->lines, line, err);
    for (unsigned i = 0; ok && i < state->n_cell; i++)
        ok = (!i || kvs_scan_comma(&scan)) && scan_cell(&scan, state->column[i], &row);
    if (!ok || !kvs_scan_end(&scan))
        return err->code;
    return kvs_row_end(trace, row.at_ns, row.session, row.input_tok, row.output_tok, err);
}

const struct kvs_trace_ops kvs_trace_burstgpt = {
    .name = "burstgpt",
    .help = "ChatGPT and GPT-4 traffic of a campus, CSV (HPMLL/BurstGPT): arrivals and lengths",
    .state_bytes = sizeof(struct burstgpt),
    .detect = burstgpt_detect,
    .open = burstgpt_open,
    .row = burstgpt_row,
};
