#include "trace.h"

#include "trace_format.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

const char *const kvs_part_name[KVS_N_PART + 1] = {"text",    "sys", "passage",
                                                   "history", "web", "user"};

static const struct kvs_trace_ops *const formats[] = {
#define X(name) &kvs_trace_##name,
#include "trace_list.h"
#undef X
};
static const char *const format_names[] = {
#define X(name) #name,
#include "trace_list.h"
#undef X
    NULL};
enum { N_FORMAT = sizeof formats / sizeof formats[0] };

const char *const *kvs_trace_formats(void)
{
    return format_names;
}

static const struct kvs_trace_ops *format_named(const char *name)
{
    for (unsigned i = 0; i < N_FORMAT; i++)
        if (strcmp(format_names[i], name) == 0)
            return formats[i];
    return NULL;
}

const char *kvs_trace_format_help(const char *name)
{
    const struct kvs_trace_ops *ops = format_named(name);
    return ops ? ops->help : NULL;
}

/* --- rows ----------------------------------------------------------------------------------------
 */

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

/* Rows until one gives a request or the file ends. */
static enum kvs_code next_row(struct kvs_trace *trace, const struct kvs_request **req,
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

enum kvs_code kvs_trace_next(struct kvs_trace *trace, const struct kvs_request **req,
                             struct kvs_err *err)
{
    if (trace->ready != trace->ready_end) {
        *req = trace->ready++;
        return KVS_OK;
    }
    *req = NULL;
    return trace->ops->next ? trace->ops->next(trace, req, err) : next_row(trace, req, err);
}

/* --- open and close ------------------------------------------------------------------------------
 */

struct kvs_trace *kvs_trace_new(const struct kvs_trace_ops *ops)
{
    struct kvs_trace *trace = calloc(1, sizeof *trace);
    if (!trace)
        return NULL;
    trace->ops = ops;
    trace->chained = ops->chained;
    trace->block_tok = ops->block_tok;
    if (ops->state_bytes && !(trace->state = calloc(1, ops->state_bytes))) {
        free(trace);
        return NULL;
    }
    return trace;
}

void kvs_trace_close(struct kvs_trace *trace)
{
    if (!trace)
        return;
    if (trace->ops && trace->ops->close && trace->state)
        trace->ops->close(trace);
    kvs_trace_close(trace->inner);
    kvs_lines_close(trace->lines);
    kvs_ids_free(&trace->ids);
    free(trace->block);
    free(trace->state);
    free(trace->path);
    free(trace);
}

static enum kvs_code no_memory(const char *path, struct kvs_err *err)
{
    return kvs_fail(err, KVS_ERR_NOMEM, "%s: no memory", path);
}

static enum kvs_code unknown_format(const char *name, struct kvs_err *err)
{
    char known[400];
    return kvs_fail(err, KVS_ERR_ARG, "trace format %s: unknown%s", name,
                    kvs_known(known, sizeof known, name, format_names, N_FORMAT));
}

/* A folder stands for the file in it that a format names. */
static enum kvs_code resolve(const char *path, const struct kvs_trace_ops *wanted, char **file,
                             struct kvs_err *err)
{
    struct stat st;
    *file = NULL;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        *file = strdup(path);
        return *file ? KVS_OK : no_memory(path, err);
    }
    for (unsigned i = 0; i < N_FORMAT; i++) {
        const char *name = formats[i]->folder_file;
        if (!name || (wanted && wanted != formats[i]))
            continue;
        if (asprintf(file, "%s/%s", path, name) < 0) {
            *file = NULL;
            return no_memory(path, err);
        }
        if (stat(*file, &st) == 0)
            return KVS_OK;
        free(*file);
        *file = NULL;
    }
    return kvs_fail(err, KVS_ERR_ARG, "%s: is a folder that no format knows; name the trace's file",
                    path);
}

/* The binary format whose magic the bytes begin with, or NULL. */
static const struct kvs_trace_ops *format_by_magic(const void *head, size_t n_byte)
{
    for (unsigned i = 0; i < N_FORMAT; i++) {
        const char *magic = formats[i]->magic;
        if (magic && strlen(magic) <= n_byte && memcmp(head, magic, strlen(magic)) == 0)
            return formats[i];
    }
    return NULL;
}

/* *ops: the binary format of the file, NULL if it is of none. */
static enum kvs_code format_by_file(const char *path, const struct kvs_trace_ops **ops,
                                    struct kvs_err *err)
{
    char head[16];
    size_t n_byte;
    FILE *file;
    *ops = NULL;
    if (strcmp(path, "-") == 0)
        return KVS_OK;
    file = fopen(path, "rb");
    if (!file)
        return kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno));
    n_byte = fread(head, 1, sizeof head, file);
    (void)fclose(file); /* was only read; what is wrong with it, kvs_lines_open will meet */
    *ops = format_by_magic(head, n_byte);
    return KVS_OK;
}

static const struct kvs_trace_ops *format_by_line(const char *line)
{
    for (unsigned i = 0; i < N_FORMAT; i++)
        if (formats[i]->detect && formats[i]->detect(line))
            return formats[i];
    return NULL;
}

/* A line that is a binary format's first bytes, as far as a line goes. */
static bool begins_binary(const char *line)
{
    for (unsigned i = 0; i < N_FORMAT; i++) {
        const char *magic = formats[i]->magic;
        if (magic && strncmp(line, magic, strcspn(magic, "\r\n")) == 0)
            return true;
    }
    return false;
}

static enum kvs_code no_format(const char *path, const char *line, struct kvs_err *err)
{
    char known[400];
    if (line && strcmp(path, "-") == 0 && begins_binary(line))
        return kvs_fail(err, KVS_ERR_PARSE,
                        "standard input: found a binary trace, which is mapped; name its file");
    return kvs_fail(err, KVS_ERR_PARSE, "%s: %s; say its format%s", path,
                    line ? "the first line is of no trace format" : "holds no line",
                    kvs_known(known, sizeof known, "", format_names, N_FORMAT));
}

/* Opens the lines and tells the format by the first one, unless it is known. */
static enum kvs_code open_lines(struct kvs_trace *trace, const struct kvs_trace_ops **ops,
                                struct kvs_err *err)
{
    const char *line;
    enum kvs_code code =
        trace->mem ? kvs_lines_mem(trace->path, trace->mem, trace->n_mem, &trace->lines, err)
                   : kvs_lines_open(trace->path, &trace->lines, err);
    if (code || *ops)
        return code;
    code = kvs_row_line(trace, &line, err);
    if (code)
        return code;
    *ops = line ? format_by_line(line) : NULL;
    if (!*ops)
        return no_format(trace->path, line, err);
    trace->pending = line;
    return KVS_OK;
}

static enum kvs_code set_ops(struct kvs_trace *trace, const struct kvs_trace_ops *ops,
                             struct kvs_err *err)
{
    trace->ops = ops;
    trace->chained = ops->chained;
    trace->block_tok = ops->block_tok;
    if (ops->state_bytes && !(trace->state = calloc(1, ops->state_bytes)))
        return no_memory(trace->path, err);
    if (trace->chars_per_tok > 0 && !ops->counts_chars)
        return kvs_fail(err, KVS_ERR_ARG,
                        "%s: found %g characters per token, want none: format %s counts tokens",
                        trace->path, trace->chars_per_tok, ops->name);
    return ops->open ? ops->open(trace, err) : KVS_OK;
}

static enum kvs_code open_any(struct kvs_trace *trace, const char *path,
                              const struct kvs_trace_options *options, struct kvs_err *err)
{
    const struct kvs_trace_ops *ops = NULL;
    enum kvs_code code;
    if (options && options->format && !(ops = format_named(options->format)))
        return unknown_format(options->format, err);
    code = resolve(path, ops, &trace->path, err);
    if (!trace->path)
        return code;
    trace->skip_bad = options && options->skip_bad;
    trace->chars_per_tok = options ? options->chars_per_tok : 0;
    if (!ops && trace->mem)
        ops = format_by_magic(trace->mem, trace->n_mem);
    else if (!ops && (code = format_by_file(trace->path, &ops, err)))
        return code;
    if (!ops || !ops->magic) {
        code = open_lines(trace, &ops, err);
        if (code || !ops)
            return code;
    }
    return set_ops(trace, ops, err);
}

static enum kvs_code open_from(const char *path, const void *mem, size_t n_byte,
                               const struct kvs_trace_options *options, struct kvs_trace **out,
                               struct kvs_err *err)
{
    struct kvs_trace *trace = calloc(1, sizeof *trace);
    enum kvs_code code;
    *out = NULL;
    if (!trace)
        return no_memory(path, err);
    trace->mem = mem;
    trace->n_mem = n_byte;
    code = open_any(trace, path, options, err);
    if (code) {
        kvs_trace_close(trace);
        return code;
    }
    *out = trace;
    return KVS_OK;
}

enum kvs_code kvs_trace_open(const char *path, const struct kvs_trace_options *options,
                             struct kvs_trace **trace, struct kvs_err *err)
{
    struct stat st;
    enum kvs_code code = open_from(path, NULL, 0, options, trace, err);
    if (code == KVS_ERR_IO && stat(path, &st) != 0 && errno == ENOENT) {
        code = KVS_ERR_ARG; /* a wrong name, not a file that can't be read */
        if (err)
            err->code = code;
    }
    return code;
}

enum kvs_code kvs_trace_open_mem(const char *path, const void *data, size_t n_byte,
                                 const struct kvs_trace_options *options, struct kvs_trace **trace,
                                 struct kvs_err *err)
{
    return open_from(path, data ? data : "", n_byte, options, trace, err);
}

/* What filters stand on: the reader or the generator. */
static const struct kvs_trace *source(const struct kvs_trace *trace)
{
    while (trace->inner)
        trace = trace->inner;
    return trace;
}

bool kvs_trace_chained(const struct kvs_trace *trace)
{
    return trace->chained;
}

uint64_t kvs_trace_skipped(const struct kvs_trace *trace)
{
    return source(trace)->skipped;
}

uint64_t kvs_trace_moved(const struct kvs_trace *trace)
{
    return source(trace)->moved;
}

uint32_t kvs_trace_block_tok(const struct kvs_trace *trace)
{
    return trace->block_tok;
}

const char *kvs_trace_format(const struct kvs_trace *trace)
{
    return source(trace)->ops->name;
}

const char *kvs_trace_invents(const struct kvs_trace *trace)
{
    return source(trace)->ops->invents;
}

double kvs_trace_done_frac(const struct kvs_trace *trace)
{
    uint64_t size;
    if (trace->ops->done_frac)
        return trace->ops->done_frac(trace);
    size = trace->lines ? kvs_lines_size(trace->lines) : 0;
    return size ? (double)kvs_lines_offset(trace->lines) / (double)size : (double)NAN;
}
