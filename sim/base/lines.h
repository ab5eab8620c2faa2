/*
 * lines.h - text files line by line, plain or zstd (told by their first bytes), in bounded memory.
 */
#ifndef KVS_BASE_LINES_H
#define KVS_BASE_LINES_H

#include "err.h"

#include <stddef.h>
#include <stdint.h>

struct kvs_lines; /* from kvs_lines_open or kvs_lines_mem, ended by kvs_lines_close */

/* "-" is standard input. */
KVS_MUST_CHECK enum kvs_code kvs_lines_open(const char *file, struct kvs_lines **lines,
                                            struct kvs_err *err);
/* The same from memory, which is borrowed; name stands for the file in messages. */
KVS_MUST_CHECK enum kvs_code kvs_lines_mem(const char *name, const void *data, size_t n_byte,
                                           struct kvs_lines **lines, struct kvs_err *err);
void kvs_lines_close(struct kvs_lines *lines); /* accepts NULL */

/*
 * The next line without its end (LF or CRLF), NUL-terminated in the reader's buffer until the next
 * call; *line is NULL at the end of the file. KVS_ERR_IO on a read error or a broken zstd frame,
 * KVS_ERR_RANGE for a line over 256 MiB, KVS_ERR_PARSE for a NUL byte inside a line.
 */
KVS_MUST_CHECK enum kvs_code kvs_lines_next(struct kvs_lines *lines, char **line, size_t *n_byte,
                                            struct kvs_err *err);
uint64_t kvs_lines_number(const struct kvs_lines *lines); /* of the line given last, from 1 */
const char *kvs_lines_file(const struct kvs_lines *lines);
uint64_t
kvs_lines_offset(const struct kvs_lines *lines); /* bytes of the file consumed, for progress */
/* Bytes of the file, 0 if unknown. */
uint64_t kvs_lines_size(const struct kvs_lines *lines);

/* Fails as "FILE:LINE: <your sentence>". */
enum kvs_code kvs_lines_fail(const struct kvs_lines *lines, struct kvs_err *err, enum kvs_code code,
                             const char *fmt, ...) KVS_PRINTF(4, 5);

#endif
