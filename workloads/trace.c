#include "trace.h"

#include "trace_format.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

enum kvs_code kvs_trace_next(struct kvs_trace *trace, const struct kvs_request **req,
                             struct kvs_err *err)
{
    if (trace->ready != trace->ready_end) {
        *req = trace->ready++;
        return KVS_OK;
    }
    *req = NULL;
    return trace->ops->next ? trace->ops->next(trace, req, err) : kvs_row_next(trace, req, err);
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
        return kvs_fail(err, kvs_errno_code(errno), "%s: %s", path, strerror(errno));
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
    return open_from(path, NULL, 0, options, trace, err);
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
