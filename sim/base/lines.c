#include "lines.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define RAW_BYTES ((size_t)256 << 10)
#define LINE_MAX_BYTES ((size_t)256 << 20)

/*
 * Source bytes go to raw; from there, copied or decompressed, to text, where lines are cut. A plain
 * file is read straight into text once raw is empty.
 */
struct kvs_lines {
    char *file;
    int fd; /* -1: memory */
    bool own_fd, source_end, end;
    const unsigned char *mem;
    size_t n_mem;
    uint64_t n_read, n_file; /* bytes taken from the source; all it has, 0 if unknown */
    unsigned char *raw;
    size_t raw_at, raw_n;
    ZSTD_DStream *zstd; /* NULL: plain */
    bool in_frame;      /* a frame is begun and not ended */
    char *text;
    size_t at, scan, n, room; /* next line; where to look for its end; bytes held; room */
    uint64_t number;
};

/* --- source --- */

/* Up to room bytes of the source to into; *n is 0 at its end. */
static enum kvs_code read_source(struct kvs_lines *lines, void *into, size_t room, size_t *n,
                                 struct kvs_err *err)
{
    ssize_t got;
    *n = 0;
    if (lines->fd < 0) {
        size_t left = lines->n_mem - (size_t)lines->n_read;
        got = (ssize_t)(left < room ? left : room);
        if (got > 0)
            memcpy(into, lines->mem + lines->n_read, (size_t)got);
    } else {
        do
            got = read(lines->fd, into, room);
        while (got < 0 && errno == EINTR);
    }
    if (got < 0)
        return kvs_fail(err, KVS_ERR_IO, "%s: %s", lines->file, strerror(errno));
    lines->source_end = got == 0;
    lines->n_read += (uint64_t)got;
    *n = (size_t)got;
    return KVS_OK;
}

static enum kvs_code fill_raw(struct kvs_lines *lines, struct kvs_err *err)
{
    lines->raw_at = 0;
    return read_source(lines, lines->raw, RAW_BYTES, &lines->raw_n, err);
}

static enum kvs_code fill_plain(struct kvs_lines *lines, struct kvs_err *err)
{
    size_t n = lines->raw_n - lines->raw_at, room = lines->room - lines->n;
    char *into = lines->text + lines->n;
    if (n > 0) {
        n = n < room ? n : room;
        memcpy(into, lines->raw + lines->raw_at, n);
        lines->raw_at += n;
    } else {
        enum kvs_code code = read_source(lines, into, room, &n, err);
        if (code)
            return code;
        lines->end = n == 0;
    }
    lines->n += n;
    return KVS_OK;
}

/* Until there is at least one more byte of text, or the end. */
static enum kvs_code fill_zstd(struct kvs_lines *lines, struct kvs_err *err)
{
    ZSTD_outBuffer out = {lines->text + lines->n, lines->room - lines->n, 0};
    while (out.pos == 0) {
        if (lines->raw_at == lines->raw_n && !lines->source_end) {
            enum kvs_code code = fill_raw(lines, err);
            if (code)
                return code;
        }
        if (lines->source_end && !lines->in_frame) {
            lines->end = true;
            return KVS_OK;
        }
        ZSTD_inBuffer in = {lines->raw, lines->raw_n, lines->raw_at};
        size_t left = ZSTD_decompressStream(lines->zstd, &out, &in);
        if (ZSTD_isError(left))
            return kvs_fail(err, KVS_ERR_IO, "%s: broken zstd data before byte %llu: %s",
                            lines->file, (unsigned long long)lines->n_read,
                            ZSTD_getErrorName(left));
        if (left != 0 && lines->source_end && out.pos == 0)
            return kvs_fail(err, KVS_ERR_IO, "%s: the file ends inside a zstd frame", lines->file);
        lines->in_frame = left != 0;
        lines->raw_at = in.pos;
    }
    lines->n += out.pos;
    return KVS_OK;
}

/* --- open and close --- */

/* Enough first bytes to tell what it is; a pipe may give them in pieces. */
static enum kvs_code read_magic(struct kvs_lines *lines, struct kvs_err *err)
{
    while (lines->raw_n < 4 && !lines->source_end) {
        size_t n;
        enum kvs_code code =
            read_source(lines, lines->raw + lines->raw_n, RAW_BYTES - lines->raw_n, &n, err);
        if (code)
            return code;
        lines->raw_n += n;
    }
    return KVS_OK;
}

static enum kvs_code tell_kind(struct kvs_lines *lines, struct kvs_err *err)
{
    static const unsigned char bom[] = {0xef, 0xbb, 0xbf}, gzip[] = {0x1f, 0x8b, 0x08};
    const unsigned char *raw = lines->raw;
    enum kvs_code code = read_magic(lines, err);
    if (code)
        return code;
    if (lines->raw_n >= 3 && memcmp(raw, gzip, sizeof gzip) == 0)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: found gzip, want plain text or zstd", lines->file);
    if (lines->raw_n >= 3 && memcmp(raw, bom, sizeof bom) == 0)
        lines->raw_at = sizeof bom;
    if (lines->raw_n < 4)
        return KVS_OK;
    uint32_t magic =
        raw[0] | (uint32_t)raw[1] << 8 | (uint32_t)raw[2] << 16 | (uint32_t)raw[3] << 24;
    if (magic != ZSTD_MAGICNUMBER &&
        (magic & ZSTD_MAGIC_SKIPPABLE_MASK) != ZSTD_MAGIC_SKIPPABLE_START)
        return KVS_OK;
    lines->zstd = ZSTD_createDStream();
    return lines->zstd ? KVS_OK : kvs_nomem(err);
}

static enum kvs_code lines_new(const char *name, struct kvs_lines **out, struct kvs_err *err)
{
    struct kvs_lines *lines = calloc(1, sizeof *lines);
    *out = lines;
    if (!lines)
        return kvs_nomem(err);
    lines->fd = -1;
    lines->room = RAW_BYTES;
    lines->file = strdup(name);
    lines->raw = malloc(RAW_BYTES);
    lines->text = malloc(lines->room);
    return lines->file && lines->raw && lines->text ? KVS_OK : kvs_nomem(err);
}

static enum kvs_code open_file(struct kvs_lines *lines, struct kvs_err *err)
{
    struct stat st;
    bool is_stdin = strcmp(lines->file, "-") == 0;
    lines->fd = is_stdin ? STDIN_FILENO : open(lines->file, O_RDONLY | O_CLOEXEC);
    lines->own_fd = !is_stdin && lines->fd >= 0;
    if (lines->fd < 0)
        return kvs_fail(err, kvs_errno_code(errno), "%s: %s", lines->file, strerror(errno));
    if (fstat(lines->fd, &st) == 0 && S_ISREG(st.st_mode))
        lines->n_file = (uint64_t)st.st_size;
    return KVS_OK;
}

enum kvs_code kvs_lines_open(const char *file, struct kvs_lines **out, struct kvs_err *err)
{
    struct kvs_lines *lines;
    *out = NULL;
    enum kvs_code code = lines_new(file, &lines, err);
    if (code == KVS_OK)
        code = open_file(lines, err);
    if (code == KVS_OK)
        code = tell_kind(lines, err);
    if (code == KVS_OK)
        *out = lines;
    else
        kvs_lines_close(lines);
    return code;
}

enum kvs_code kvs_lines_mem(const char *name, const void *data, size_t n_byte,
                            struct kvs_lines **out, struct kvs_err *err)
{
    struct kvs_lines *lines;
    *out = NULL;
    enum kvs_code code = lines_new(name, &lines, err);
    if (code == KVS_OK) {
        lines->mem = data;
        lines->n_mem = n_byte;
        lines->n_file = n_byte;
        code = tell_kind(lines, err);
    }
    if (code == KVS_OK)
        *out = lines;
    else
        kvs_lines_close(lines);
    return code;
}

void kvs_lines_close(struct kvs_lines *lines)
{
    if (!lines)
        return;
    if (lines->own_fd)
        (void)close(lines->fd); /* was only read */
    ZSTD_freeDStream(lines->zstd);
    free(lines->file);
    free(lines->raw);
    free(lines->text);
    free(lines);
}

/* --- lines --- */

/* Room for more text: the begun line moves to the front, or the buffer doubles. */
static enum kvs_code make_room(struct kvs_lines *lines, struct kvs_err *err)
{
    if (lines->at > 0) {
        memmove(lines->text, lines->text + lines->at, lines->n - lines->at);
        lines->n -= lines->at;
        lines->scan -= lines->at;
        lines->at = 0;
    }
    if (lines->n < lines->room - 1) /* one byte stays free for the last line's NUL */
        return KVS_OK;
    if (lines->n >= LINE_MAX_BYTES)
        return kvs_fail(err, KVS_ERR_RANGE, "%s:%llu: the line is over 256 MiB", lines->file,
                        (unsigned long long)lines->number + 1);
    char *text = realloc(lines->text, lines->room * 2);
    if (!text)
        return kvs_nomem(err);
    lines->text = text;
    lines->room *= 2;
    return KVS_OK;
}

static enum kvs_code fill(struct kvs_lines *lines, struct kvs_err *err)
{
    enum kvs_code code = make_room(lines, err);
    if (code)
        return code;
    lines->room--;
    code = lines->zstd ? fill_zstd(lines, err) : fill_plain(lines, err);
    lines->room++;
    return code;
}

/* The line [at, end), whose end mark takes n_mark bytes. */
static enum kvs_code give(struct kvs_lines *lines, size_t end, size_t n_mark, char **line,
                          size_t *n_byte, struct kvs_err *err)
{
    char *text = lines->text + lines->at;
    size_t n = end - lines->at;
    lines->at = lines->scan = end + n_mark;
    lines->number++;
    if (n > 0 && n_mark && text[n - 1] == '\r')
        n--;
    if (memchr(text, '\0', n))
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "found a NUL byte, want text");
    text[n] = '\0';
    *line = text;
    *n_byte = n;
    return KVS_OK;
}

enum kvs_code kvs_lines_next(struct kvs_lines *lines, char **line, size_t *n_byte,
                             struct kvs_err *err)
{
    *line = NULL;
    *n_byte = 0;
    for (;;) {
        const char *mark = memchr(lines->text + lines->scan, '\n', lines->n - lines->scan);
        if (mark)
            return give(lines, (size_t)(mark - lines->text), 1, line, n_byte, err);
        lines->scan = lines->n;
        if (lines->end && lines->at == lines->n)
            return KVS_OK;
        if (lines->end)
            return give(lines, lines->n, 0, line, n_byte, err);
        enum kvs_code code = fill(lines, err);
        if (code)
            return code;
    }
}

uint64_t kvs_lines_number(const struct kvs_lines *lines)
{
    return lines->number;
}

const char *kvs_lines_file(const struct kvs_lines *lines)
{
    return lines->file;
}

uint64_t kvs_lines_offset(const struct kvs_lines *lines)
{
    uint64_t ahead = lines->raw_n - lines->raw_at;
    if (!lines->zstd)
        ahead += lines->n - lines->at;
    return lines->n_read - ahead;
}

uint64_t kvs_lines_size(const struct kvs_lines *lines)
{
    return lines->n_file;
}

enum kvs_code kvs_lines_fail(const struct kvs_lines *lines, struct kvs_err *err, enum kvs_code code,
                             const char *fmt, ...)
{
    char msg[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(msg, sizeof msg, fmt, args);
    va_end(args);
    return kvs_fail(err, code, "%s:%llu: %s", lines->file, (unsigned long long)lines->number, msg);
}
