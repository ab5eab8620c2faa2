#include "sheet.h"

#include "base/units.h"

#include "model/csv.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static enum kvs_code read_text(const char *file, char **text, struct kvs_err *err)
{
    struct stat about;
    FILE *from = fopen(file, "rb");
    enum kvs_code code = KVS_OK;
    *text = NULL;
    if (!from || fstat(fileno(from), &about))
        code = kvs_fail(err, KVS_ERR_ARG, "%s: %s", file, strerror(errno));
    else if (!(*text = calloc(1, (size_t)about.st_size + 1)))
        code = kvs_nomem(err);
    else if (fread(*text, 1, (size_t)about.st_size, from) != (size_t)about.st_size)
        code = kvs_fail(err, KVS_ERR_IO, "%s: could not be read", file);
    if (from)
        fclose(from);
    return code;
}

static enum kvs_code add_row(struct kvs_sheet *sheet, uint64_t *room, char *const *field,
                             struct kvs_err *err)
{
    if (sheet->n_row == *room) {
        const uint64_t more = *room * 2 + 64;
        const char **cell = realloc(sheet->cell, more * sheet->n_col * sizeof *cell);
        if (!cell)
            return kvs_nomem(err);
        sheet->cell = cell;
        *room = more;
    }
    for (unsigned i = 0; i < sheet->n_col; i++)
        sheet->cell[sheet->n_row * sheet->n_col + i] = field[i];
    sheet->n_row++;
    return KVS_OK;
}

static enum kvs_code read_lines(struct kvs_sheet *sheet, const char *file, struct kvs_err *err)
{
    char *field[KVS_SHEET_COL], *rest = sheet->text;
    uint64_t room = 0, line_i = 0;
    for (char *line; (line = strsep(&rest, "\n")) && (*line || rest);) {
        unsigned bad;
        enum kvs_code code;
        const unsigned n = kvs_csv_split(line, field, KVS_SHEET_COL, &bad);
        line_i++;
        if (n == 0 || n > KVS_SHEET_COL || (line_i > 1 && n != sheet->n_col))
            return kvs_fail(err, KVS_ERR_PARSE, "%s:%" PRIu64 ": found %u fields, want %u", file,
                            line_i, n, sheet->n_col);
        if (line_i == 1) {
            sheet->n_col = n;
            memcpy(sheet->col, field, n * sizeof *field);
        } else if ((code = add_row(sheet, &room, field, err))) {
            return code;
        }
    }
    return line_i ? KVS_OK : kvs_fail(err, KVS_ERR_PARSE, "%s: is empty", file);
}

enum kvs_code kvs_sheet_open(const char *file, struct kvs_sheet **out, struct kvs_err *err)
{
    struct kvs_sheet *sheet = calloc(1, sizeof *sheet);
    *out = NULL;
    if (!sheet)
        return kvs_nomem(err);
    enum kvs_code code = read_text(file, &sheet->text, err);
    if (!code)
        code = read_lines(sheet, file, err);
    if (code) {
        kvs_sheet_free(sheet);
        return code;
    }
    *out = sheet;
    return KVS_OK;
}

void kvs_sheet_free(struct kvs_sheet *sheet)
{
    if (!sheet)
        return;
    free(sheet->cell);
    free(sheet->text);
    free(sheet);
}

int kvs_sheet_col(const struct kvs_sheet *sheet, const char *name)
{
    for (unsigned i = 0; i < sheet->n_col; i++)
        if (strcmp(sheet->col[i], name) == 0)
            return (int)i;
    return -1;
}

const char *kvs_sheet_str(const struct kvs_sheet *sheet, uint64_t row, int col)
{
    return col < 0 ? "" : sheet->cell[row * sheet->n_col + (unsigned)col];
}

double kvs_sheet_num(const struct kvs_sheet *sheet, uint64_t row, int col)
{
    const char *text = kvs_sheet_str(sheet, row, col);
    double value;
    return kvs_parse_double(text, &value, NULL) == KVS_OK ? value : (double)NAN;
}
