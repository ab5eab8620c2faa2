/*
 * The line reader over plain and zstd bytes: lines have no LF and no NUL, numbers count up, and a
 * plain text's lines add up to it.
 */
#include "base/lines.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    struct kvs_err err = {0};
    struct kvs_lines *lines;
    uint64_t number = 0;
    if (kvs_lines_mem("f.jsonl", data, n_byte, &lines, &err) != KVS_OK)
        return err.code ? 0 : (abort(), 0);
    for (;;) {
        char *line;
        size_t n;
        enum kvs_code code = kvs_lines_next(lines, &line, &n, &err);
        if (code != err.code || (code && line))
            abort();
        if (code || !line)
            break;
        if (strlen(line) != n || memchr(line, '\n', n) || kvs_lines_number(lines) != ++number)
            abort();
    }
    if (kvs_lines_offset(lines) > n_byte || (!err.code && kvs_lines_offset(lines) != n_byte))
        abort();
    kvs_lines_close(lines);
    return 0;
}
