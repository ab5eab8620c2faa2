/*
 * Agentic coding sessions (callanjfox/kv-cache-tester, traces/): one session a line, a JSON object
 * with block_size 64, hash_id_scope "local" and requests: t (seconds from the session's start), in,
 * out (tokens), hash_ids (prefix-chained ids of the floor(in / 64) full blocks, which mean nothing
 * outside the session). A request of type "subagent" holds requests of its own, whose t counts from
 * its t; they share the session's ids.
 *
 * When sessions begin is not known: one every session_gap_ns is made up. Sessions overlap then, so
 * those that have begun are held in memory, and no more of them.
 */
#include "trace_format.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_TOK = 64, MAX_DEPTH = 8 };
static const int64_t session_gap_ns = 60 * INT64_C(1000000000);

struct agent_request {
    int64_t at_ns;
    uint32_t order; /* in the line, for ties */
    uint32_t input_tok, output_tok, n_id;
    size_t first_id; /* in the session's ids */
};

struct session {
    struct agent_request *request; /* by time */
    size_t n, next, cap;
    uint32_t *id;
    size_t n_id, cap_id;
    int64_t start_ns;
    uint64_t number; /* from 1 */
};

struct agentic {
    struct session *open; /* a heap: the earliest next request first */
    size_t n_open, cap_open;
    uint64_t n_session;
    bool ended; /* the file has no more sessions */
};

static bool agentic_detect(const char *line)
{
    return line[0] == '{' && strstr(line, "\"hash_id_scope\"") && strstr(line, "\"requests\"");
}

static void free_session(struct session *session)
{
    free(session->request);
    free(session->id);
}

/* --- one line ------------------------------------------------------------------------------------
 */

static bool no_memory(struct kvs_scan *scan)
{
    kvs_lines_fail(scan->lines, scan->err, KVS_ERR_NOMEM, "no memory for a session");
    return false;
}

/* A request with the ids just read. */
static bool add_request(struct kvs_scan *scan, struct session *session,
                        const struct agent_request *request, const struct kvs_ids *ids)
{
    if (session->n == session->cap) {
        size_t cap = session->cap ? session->cap * 2 : 64;
        struct agent_request *grown = realloc(session->request, cap * sizeof *grown);
        if (!grown)
            return no_memory(scan);
        session->request = grown;
        session->cap = cap;
    }
    if (session->n_id + ids->n > session->cap_id) {
        size_t cap = (session->n_id + ids->n) * 2;
        uint32_t *grown = realloc(session->id, cap * sizeof *grown);
        if (!grown)
            return no_memory(scan);
        session->id = grown;
        session->cap_id = cap;
    }
    session->request[session->n] = *request;
    session->request[session->n].order = (uint32_t)session->n;
    session->request[session->n].n_id = (uint32_t)ids->n;
    session->request[session->n].first_id = session->n_id;
    session->n++;
    for (size_t i = 0; i < ids->n; i++)
        session->id[session->n_id++] = (uint32_t)ids->v[i];
    return true;
}

static bool scan_requests(struct kvs_scan *scan, struct session *session, struct kvs_ids *ids,
                          int depth);

enum { F_T, F_TYPE, F_IN, F_OUT, F_IDS, F_REQUESTS, N_FIELD };

/* What a request object lacks, or a request of its own. */
static bool end_request(struct kvs_scan *scan, struct session *session,
                        const struct agent_request *request, const struct kvs_ids *ids,
                        uint32_t seen)
{
    static const char *const names[] = {"t", "type", "in", "out", "hash_ids"};
    for (unsigned i = 0; i < F_REQUESTS; i++) {
        if (i != F_TYPE && !(seen & 1u << i)) {
            kvs_lines_fail(scan->lines, scan->err, KVS_ERR_PARSE,
                           "requests: %s: missing in the session's request %zu", names[i],
                           session->n + 1);
            return false;
        }
    }
    scan->field = "hash_ids";
    if (ids->n != request->input_tok / BLOCK_TOK)
        return kvs_scan_bad(scan, "found %zu ids, want %u, one for each full %d of in's %u tokens",
                            ids->n, request->input_tok / BLOCK_TOK, BLOCK_TOK, request->input_tok);
    return add_request(scan, session, request, ids);
}

static bool scan_request(struct kvs_scan *scan, struct session *session, struct kvs_ids *ids,
                         int depth)
{
    static const struct kvs_scan_name names[N_FIELD] = {{"t", NULL},        {"type", NULL},
                                                        {"in", NULL},       {"out", NULL},
                                                        {"hash_ids", NULL}, {"requests", NULL}};
    struct agent_request request = {0};
    size_t first = session->n, n_byte;
    const char *text;
    uint32_t seen = 0;
    unsigned which;
    bool ok = kvs_scan_object(scan);
    ids->n = 0;
    while (ok && (ok = kvs_scan_field(scan, names, N_FIELD, &seen, &which)) && which < N_FIELD) {
        if (which == F_T)
            ok = kvs_scan_time(scan, 1000000000, false, &request.at_ns);
        else if (which == F_TYPE)
            ok = kvs_scan_str(scan, &text, &n_byte);
        else if (which == F_IN)
            ok = kvs_scan_u32(scan, 1, &request.input_tok);
        else if (which == F_OUT)
            ok = kvs_scan_u32(scan, 0, &request.output_tok);
        else if (which == F_IDS)
            ok = kvs_scan_ids(scan, UINT32_MAX, ids);
        else
            ok = scan_requests(scan, session, ids, depth + 1);
    }
    if (!ok)
        return false;
    if (!(seen & 1u << F_REQUESTS))
        return end_request(scan, session, &request, ids, seen);
    for (size_t i = first; i < session->n; i++)
        if (__builtin_add_overflow(session->request[i].at_ns, request.at_ns,
                                   &session->request[i].at_ns) ||
            session->request[i].at_ns > INT64_MAX / 2)
            return kvs_scan_bad(scan, "t: later than 146 years");
    return true;
}

static bool scan_requests(struct kvs_scan *scan, struct session *session, struct kvs_ids *ids,
                          int depth)
{
    bool more = true,
         ok = depth <= MAX_DEPTH || kvs_scan_bad(scan, "nested deeper than %d", MAX_DEPTH);
    ok = ok && kvs_scan_array(scan);
    while (ok && (ok = kvs_scan_element(scan, &more)) && more)
        ok = scan_request(scan, session, ids, depth);
    return ok;
}

static bool scan_scope(struct kvs_scan *scan)
{
    const char *text;
    size_t n_byte;
    if (!kvs_scan_str(scan, &text, &n_byte))
        return false;
    if (n_byte == 5 && memcmp(text, "local", 5) == 0)
        return true;
    scan->at = text - 1;
    return kvs_scan_want(scan, "\"local\"");
}

static bool scan_session(struct kvs_scan *scan, struct session *session, struct kvs_ids *ids)
{
    static const struct kvs_scan_name names[] = {
        {"block_size", "64"}, {"hash_id_scope", "\"local\""}, {"requests", "a list of requests"}};
    uint32_t seen = 0;
    uint64_t block_tok;
    unsigned which;
    bool ok = kvs_scan_object(scan);
    while (ok && (ok = kvs_scan_field(scan, names, 3, &seen, &which)) && which < 3) {
        if (which == 0)
            ok = kvs_scan_u64(scan, BLOCK_TOK, BLOCK_TOK, &block_tok);
        else if (which == 1)
            ok = scan_scope(scan);
        else
            ok = scan_requests(scan, session, ids, 1);
    }
    return ok && kvs_scan_end(scan);
}

static int cmp_time(const void *a, const void *b)
{
    const struct agent_request *x = a, *y = b;
    if (x->at_ns != y->at_ns)
        return x->at_ns < y->at_ns ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* --- the sessions that have begun ----------------------------------------------------------------
 */

static int64_t next_ns(const struct session *session)
{
    return session->start_ns + session->request[session->next].at_ns;
}

static bool earlier(const struct session *a, const struct session *b)
{
    int64_t x = next_ns(a), y = next_ns(b);
    return x != y ? x < y : a->number < b->number;
}

static void swap_sessions(struct session *a, struct session *b)
{
    struct session t = *a;
    *a = *b;
    *b = t;
}

static void sift_down(struct agentic *state, size_t i)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < state->n_open && earlier(&state->open[child + 1], &state->open[child]))
            child++;
        if (child >= state->n_open || !earlier(&state->open[child], &state->open[i]))
            return;
        swap_sessions(&state->open[i], &state->open[child]);
        i = child;
    }
}

static bool push(struct agentic *state, const struct session *session)
{
    size_t i = state->n_open;
    if (state->n_open == state->cap_open) {
        size_t cap = state->cap_open ? state->cap_open * 2 : 16;
        struct session *open = realloc(state->open, cap * sizeof *open);
        if (!open)
            return false;
        state->open = open;
        state->cap_open = cap;
    }
    state->open[state->n_open++] = *session;
    for (; i && earlier(&state->open[i], &state->open[(i - 1) / 2]); i = (i - 1) / 2)
        swap_sessions(&state->open[i], &state->open[(i - 1) / 2]);
    return true;
}

/* Begins the session of a line; one without requests comes to nothing. */
static enum kvs_code begin_session(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    struct agentic *state = trace->state;
    struct session session = {0};
    struct kvs_scan scan;
    kvs_scan_begin(&scan, trace->lines, line, err);
    if (!scan_session(&scan, &session, &trace->ids)) {
        free_session(&session);
        return err->code;
    }
    session.number = ++state->n_session;
    session.start_ns = (int64_t)(session.number - 1) * session_gap_ns;
    if (!session.n) {
        free_session(&session);
        return KVS_OK;
    }
    qsort(session.request, session.n, sizeof *session.request, cmp_time);
    if (push(state, &session))
        return KVS_OK;
    free_session(&session);
    return kvs_row_fail(trace, err, KVS_ERR_NOMEM, "no memory for a session");
}

/* Begins every session that starts before the next request of those that have begun. */
static enum kvs_code begin_due(struct kvs_trace *trace, struct kvs_err *err)
{
    struct agentic *state = trace->state;
    while (!state->ended && (!state->n_open || (int64_t)state->n_session * session_gap_ns <=
                                                   next_ns(&state->open[0]))) {
        struct kvs_err row_err = {0};
        const char *line;
        enum kvs_code code = kvs_row_line(trace, &line, err);
        if (code)
            return code;
        state->ended = !line;
        if (!line)
            return KVS_OK;
        code = begin_session(trace, line, &row_err);
        if (code && (!trace->skip_bad || (code != KVS_ERR_PARSE && code != KVS_ERR_RANGE)))
            return kvs_fail(err, code, "%s", row_err.msg);
        trace->skipped += code != KVS_OK;
    }
    return KVS_OK;
}

static enum kvs_code emit(struct kvs_trace *trace, struct session *session, struct kvs_err *err)
{
    const struct agent_request *request = &session->request[session->next];
    const uint32_t *id = session->id + request->first_id;
    kvs_row_begin(trace);
    for (uint32_t i = 0; i < request->n_id; i++) {
        enum kvs_code code =
            kvs_row_block(trace, session->number << 32 | id[i], BLOCK_TOK, KVS_PART_TEXT, err);
        if (code)
            return code;
    }
    return kvs_row_end(trace, next_ns(session), session->number, request->input_tok,
                       request->output_tok, err);
}

static enum kvs_code agentic_next(struct kvs_trace *trace, const struct kvs_request **req,
                                  struct kvs_err *err)
{
    struct agentic *state = trace->state;
    struct session *first;
    enum kvs_code code = begin_due(trace, err);
    if (code || !state->n_open)
        return code;
    first = &state->open[0];
    code = emit(trace, first, err);
    if (code)
        return code;
    if (++first->next == first->n) {
        free_session(first);
        *first = state->open[--state->n_open];
    }
    if (state->n_open)
        sift_down(state, 0);
    *req = &trace->req;
    return KVS_OK;
}

static void agentic_close(struct kvs_trace *trace)
{
    struct agentic *state = trace->state;
    for (size_t i = 0; i < state->n_open; i++)
        free_session(&state->open[i]);
    free(state->open);
}

const struct kvs_trace_ops kvs_trace_agentic = {
    .name = "agentic",
    .help = "agentic coding sessions, a JSON line each (callanjfox/kv-cache-tester)",
    .invents = "when sessions begin: one every 60 s",
    .chained = true,
    .block_tok = BLOCK_TOK,
    .state_bytes = sizeof(struct agentic),
    .detect = agentic_detect,
    .next = agentic_next,
    .close = agentic_close,
};
