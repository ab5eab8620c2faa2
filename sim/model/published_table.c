#include "published_in.h"

#include "base/arena.h"
#include "csv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N(table) (sizeof(table) / sizeof *(table))

enum column_type { TEXT, NUMBER };

#define COL(name, type)                                                                            \
    {                                                                                              \
#name, type, offsetof(struct kvs_pub_row, name)                                            \
    }
static const struct {
    const char *name;
    enum column_type type;
    size_t offset;
} columns[] = {
    COL(id, TEXT),
    COL(source, TEXT),
    COL(mark, TEXT),
    COL(model, TEXT),
    COL(gpu, TEXT),
    COL(gpus, NUMBER),
    COL(context_tok, NUMBER),
    COL(new_tok, NUMBER),
    COL(link, TEXT),
    COL(link_bytes_per_s, NUMBER),
    COL(quantity, TEXT),
    COL(value, NUMBER),
    COL(unit, TEXT),
    COL(within, NUMBER),
    COL(across, NUMBER),
};

static enum kvs_code split(const struct kvs_lines *lines, char *line, char *field[N(columns)],
                           struct kvs_err *err)
{
    unsigned bad;
    unsigned n = kvs_csv_split(line, field, N(columns), &bad);
    if (n == 0)
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "%s: the quoted field has no proper end",
                              columns[bad - 1].name);
    if (n != N(columns))
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "found %s%u columns, want %zu",
                              n > N(columns) ? "more than " : "",
                              n > N(columns) ? (unsigned)N(columns) : n, N(columns));
    return KVS_OK;
}

static enum kvs_code read_number(const struct kvs_lines *lines, const char *column,
                                 const char *text, double *value, struct kvs_err *err)
{
    char *end;
    *value = (double)NAN;
    if (!*text)
        return KVS_OK;
    *value = strtod(text, &end);
    if (*end || !isfinite(*value))
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "%s: \"%.40s\" is no number", column,
                              text);
    return KVS_OK;
}

static enum kvs_code read_row(const struct kvs_lines *lines, struct kvs_arena *arena, char *line,
                              struct kvs_pub_row *row, struct kvs_err *err)
{
    char *field[N(columns)];
    enum kvs_code code = split(lines, line, field, err);
    for (size_t i = 0; i < N(columns) && !code; i++) {
        void *at = (char *)row + columns[i].offset;
        if (columns[i].type == NUMBER) {
            code = read_number(lines, columns[i].name, field[i], at, err);
            continue;
        }
        const char *copy = kvs_arena_str(arena, field[i]);
        if (!copy)
            return kvs_fail(err, KVS_ERR_NOMEM, "no memory for published rows");
        *(const char **)at = copy;
    }
    if (code)
        return code;
    if (!*row->id)
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "id: is empty");
    if (!*row->quantity)
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "quantity: is empty");
    if (isnan(row->value))
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "value: is empty; want a number");
    if (!(row->within >= 0))
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "within: want a number of 0 or more");
    if (!(row->across >= 0))
        return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "across: want a number of 0 or more");
    const double counts[] = {row->gpus, row->context_tok, row->new_tok, row->link_bytes_per_s};
    for (size_t i = 0; i < N(counts); i++)
        if (counts[i] < 0)
            return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "%s: %g is negative",
                                  columns[i < 3 ? 5 + i : 9].name, counts[i]);
    return KVS_OK;
}

static enum kvs_code read_header(struct kvs_lines *lines, struct kvs_err *err)
{
    char *line, *field[N(columns)];
    size_t n_byte;
    enum kvs_code code = kvs_lines_next(lines, &line, &n_byte, err);
    if (code)
        return code;
    if (!line)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: is empty; want a header line",
                        kvs_lines_file(lines));
    if ((code = split(lines, line, field, err)))
        return code;
    for (size_t i = 0; i < N(columns); i++)
        if (strcmp(field[i], columns[i].name) != 0)
            return kvs_lines_fail(lines, err, KVS_ERR_PARSE, "column %zu is \"%.40s\", want \"%s\"",
                                  i + 1, field[i], columns[i].name);
    return KVS_OK;
}

enum kvs_code kvs_pub_rows(struct kvs_lines *lines, struct kvs_pub *pub, struct kvs_err *err)
{
    size_t room = 0, n_byte;
    char *line;
    enum kvs_code code = read_header(lines, err);
    while (!code && !(code = kvs_lines_next(lines, &line, &n_byte, err)) && line) {
        if (!*line)
            continue;
        if (pub->n_row == room) {
            room = room ? 2 * room : 128;
            struct kvs_pub_row *more = realloc(pub->row, room * sizeof *more);
            if (!more)
                return kvs_fail(err, KVS_ERR_NOMEM, "no memory for published rows");
            pub->row = more;
        }
        pub->row[pub->n_row] = (struct kvs_pub_row){0};
        code = read_row(lines, pub->arena, line, &pub->row[pub->n_row], err);
        if (!code)
            pub->n_row++;
    }
    return code;
}
