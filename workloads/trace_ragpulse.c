/*
 * RAGPulse: two weeks of a university's RAG question answering (flashserve/RAGPulse, data/; Wang et
 * al. 2025). 0_trace.jsonl has one JSON object a line: timestamp (seconds, as a string),
 * input_length, output_length (tokens), session_id, and hash_ids: lists of content ids by part of
 * the prompt, which stand in it in the order of `parts` below. Tables beside it give each id's
 * tokens.
 *
 * The file is two weeks, each with a clock of its own: where the clock falls back by more than half
 * a week, the next week begins. What input_length has beyond its ids' tokens (6 to 12) stays
 * without identity.
 */
#include "trace_format.h"

#include "base/data.h"
#include "base/map.h"

#include <stdlib.h>
#include <string.h>

enum { N_KIND = 5 };
static const int64_t second_ns = 1000000000;
static const int64_t week_ns = 604800 * INT64_C(1000000000);

static const struct kind {
    const char *file, *key;
    enum kvs_part part;
} kinds[N_KIND] = {
    {"1_sys_prompt.jsonl", "sys_prompt_id", KVS_PART_SYS},
    {"2_passages.jsonl", "passage_id", KVS_PART_PASSAGE},
    {"3_history.jsonl", "history_id", KVS_PART_HISTORY},
    {"5_web_search.jsonl", "web_search_id", KVS_PART_WEB},
    {"4_user_input.jsonl", "user_input_id", KVS_PART_USER},
};
static const struct kvs_scan_name parts[N_KIND] = {{"sys_prompt", "a list of ids"},
                                                   {"passages_ids", "a list of ids"},
                                                   {"history", "a list of ids"},
                                                   {"web_search", "a list of ids"},
                                                   {"user_input", "a list of ids"}};

struct ragpulse {
    struct kvs_map n_tok[N_KIND]; /* of an id */
    struct kvs_ids ids[N_KIND];   /* of the row */
    int64_t week_ns;              /* when the row's week began */
    int64_t last_ns;              /* of the row before, on its week's clock */
};

static bool ragpulse_detect(const char *line)
{
    return line[0] == '{' && strstr(line, "\"passages_ids\"");
}

/* --- tables --------------------------------------------------------------------------------------
 */

static bool table_row(struct kvs_scan *scan, const char *key, struct kvs_map *map)
{
    const struct kvs_scan_name names[] = {{key, "an id"}, {"token_length", "tokens"}};
    uint64_t id = 0;
    uint32_t seen = 0, n_tok = 0;
    unsigned which;
    bool found, ok = kvs_scan_object(scan);
    while (ok && (ok = kvs_scan_field(scan, names, 2, &seen, &which)) && which < 2)
        ok = which == 0 ? kvs_scan_u64(scan, 0, UINT64_MAX, &id) : kvs_scan_u32(scan, 1, &n_tok);
    if (!ok || !kvs_scan_end(scan))
        return false;
    if (n_tok == UINT32_MAX)
        return kvs_scan_bad(scan, "token_length %u is too large", n_tok);
    if (!kvs_map_put(map, id, n_tok, &found)) {
        kvs_lines_fail(scan->lines, scan->err, KVS_ERR_NOMEM, "no memory for the table");
        return false;
    }
    return found ? kvs_scan_bad(scan, "%s %llu is given twice", key, (unsigned long long)id) : true;
}

static enum kvs_code table_rows(struct kvs_lines *lines, const char *key, struct kvs_map *map,
                                struct kvs_err *err)
{
    for (;;) {
        struct kvs_scan scan;
        char *line;
        size_t n_byte;
        enum kvs_code code = kvs_lines_next(lines, &line, &n_byte, err);
        if (code || !line)
            return code;
        if (line[strspn(line, " \t")] == '\0')
            continue;
        kvs_scan_begin(&scan, lines, line, err);
        if (!table_row(&scan, key, map))
            return err->code;
    }
}

static enum kvs_code table_open(struct kvs_trace *trace, unsigned kind, struct kvs_err *err)
{
    struct ragpulse *state = trace->state;
    struct kvs_lines *lines = NULL;
    struct kvs_err own = {0}; /* err may be NULL; the scan needs one */
    char *file = kvs_path_from(trace->path, kinds[kind].file);
    enum kvs_code code;
    if (!file || !kvs_map_init(&state->n_tok[kind], 0)) {
        free(file);
        return kvs_row_fail(trace, err, KVS_ERR_NOMEM, "no memory for the tables");
    }
    code = kvs_lines_open(file, &lines, &own);
    if (code == KVS_OK)
        code = table_rows(lines, kinds[kind].key, &state->n_tok[kind], &own);
    kvs_lines_close(lines);
    free(file);
    return code ? kvs_fail(err, code, "%s", own.msg) : KVS_OK;
}

static enum kvs_code ragpulse_open(struct kvs_trace *trace, struct kvs_err *err)
{
    for (unsigned kind = 0; kind < N_KIND; kind++) {
        enum kvs_code code = table_open(trace, kind, err);
        if (code)
            return code;
    }
    return KVS_OK;
}

static void ragpulse_close(struct kvs_trace *trace)
{
    struct ragpulse *state = trace->state;
    for (unsigned kind = 0; kind < N_KIND; kind++) {
        kvs_map_free(&state->n_tok[kind]);
        kvs_ids_free(&state->ids[kind]);
    }
}

/* --- rows ----------------------------------------------------------------------------------------
 */

struct ragpulse_row {
    int64_t at_ns;
    uint64_t session;
    uint32_t input_tok, output_tok;
};

static bool scan_parts(struct kvs_scan *scan, struct kvs_ids ids[N_KIND])
{
    uint32_t seen = 0;
    unsigned which;
    bool ok = kvs_scan_object(scan);
    while (ok && (ok = kvs_scan_field(scan, parts, N_KIND, &seen, &which)) && which < N_KIND)
        ok = kvs_scan_ids(scan, UINT64_MAX, &ids[which]);
    return ok;
}

static bool scan_row(struct kvs_scan *scan, struct ragpulse *state, struct ragpulse_row *row)
{
    static const struct kvs_scan_name names[] = {{"timestamp", "seconds in quotes"},
                                                 {"input_length", "tokens"},
                                                 {"output_length", "tokens"},
                                                 {"hash_ids", "an object of lists"},
                                                 {"session_id", "a string"}};
    uint32_t seen = 0;
    unsigned which;
    const char *text;
    size_t n_byte;
    bool ok = kvs_scan_object(scan);
    while (ok && (ok = kvs_scan_field(scan, names, 5, &seen, &which)) && which < 5) {
        if (which == 0)
            ok = kvs_scan_time(scan, second_ns, true, &row->at_ns);
        else if (which == 1)
            ok = kvs_scan_u32(scan, 1, &row->input_tok);
        else if (which == 2)
            ok = kvs_scan_u32(scan, 0, &row->output_tok);
        else if (which == 3)
            ok = scan_parts(scan, state->ids);
        else if ((ok = kvs_scan_str(scan, &text, &n_byte)))
            row->session = kvs_session_of(text, n_byte);
    }
    return ok && kvs_scan_end(scan);
}

static enum kvs_code add_blocks(struct kvs_trace *trace, unsigned kind, struct kvs_err *err)
{
    const struct ragpulse *state = trace->state;
    const struct kvs_ids *ids = &state->ids[kind];
    for (size_t i = 0; i < ids->n; i++) {
        const uint32_t *n_tok = kvs_map_find(&state->n_tok[kind], ids->v[i]);
        enum kvs_code code;
        if (!n_tok)
            return kvs_row_fail(trace, err, KVS_ERR_PARSE,
                                "hash_ids.%s: found %llu, want an id of %s", parts[kind].key,
                                (unsigned long long)ids->v[i], kinds[kind].file);
        code = kvs_row_block(trace, ids->v[i], *n_tok, kinds[kind].part, err);
        if (code)
            return code;
    }
    return KVS_OK;
}

static enum kvs_code ragpulse_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    struct ragpulse *state = trace->state;
    struct ragpulse_row row = {0};
    struct kvs_scan scan;
    int64_t at_week_ns = state->week_ns;
    enum kvs_code code;
    kvs_scan_begin(&scan, trace->lines, line, err);
    if (!scan_row(&scan, state, &row))
        return err->code;
    for (unsigned kind = 0; kind < N_KIND; kind++)
        if ((code = add_blocks(trace, kind, err)))
            return code;
    if (row.at_ns < state->last_ns - week_ns / 2)
        at_week_ns += week_ns;
    if (at_week_ns > INT64_MAX / 4)
        return kvs_row_fail(trace, err, KVS_ERR_RANGE, "timestamp: the clock fell back too often");
    code =
        kvs_row_end(trace, at_week_ns + row.at_ns, row.session, row.input_tok, row.output_tok, err);
    if (code)
        return code;
    state->week_ns = at_week_ns;
    state->last_ns = row.at_ns;
    return KVS_OK;
}

const struct kvs_trace_ops kvs_trace_ragpulse = {
    .name = "ragpulse",
    .help = "university RAG service, two weeks: folder or 0_trace.jsonl (flashserve/RAGPulse)",
    .folder_file = "0_trace.jsonl",
    .state_bytes = sizeof(struct ragpulse),
    .detect = ragpulse_detect,
    .open = ragpulse_open,
    .row = ragpulse_row,
    .close = ragpulse_close,
};
