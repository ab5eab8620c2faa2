#include "csv.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

static void put(struct kvs_csv *csv, const char *text, size_t n)
{
    assert(n < sizeof csv->buf);
    if (csv->n + n > sizeof csv->buf)
        kvs_csv_end(csv);
    memcpy(csv->buf + csv->n, text, n);
    csv->n += (uint32_t)n;
}

static void begin_field(struct kvs_csv *csv)
{
    if (csv->field++)
        put(csv, ",", 1);
}

void kvs_csv_begin(struct kvs_csv *csv, FILE *to)
{
    csv->to = to;
    csv->n = 0;
    csv->field = 0;
}

/* Digits of value, written before end; returns the first. */
static char *digits(char *end, uint64_t value)
{
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    return end;
}

void kvs_csv_u64(struct kvs_csv *csv, uint64_t value)
{
    char text[20];
    begin_field(csv);
    char *from = digits(text + sizeof text, value);
    put(csv, from, (size_t)(text + sizeof text - from));
}

void kvs_csv_i64(struct kvs_csv *csv, int64_t value)
{
    char text[21];
    begin_field(csv);
    char *from = digits(text + sizeof text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    if (value < 0)
        *--from = '-';
    put(csv, from, (size_t)(text + sizeof text - from));
}

void kvs_csv_double(struct kvs_csv *csv, double value)
{
    char text[32];
    begin_field(csv);
    if (isnan(value))
        return;
    int n = snprintf(text, sizeof text, "%.6g", value);
    assert(n > 0);
    put(csv, text, (size_t)n);
}

void kvs_csv_str(struct kvs_csv *csv, const char *text)
{
    kvs_csv_str2(csv, text, "");
}

void kvs_csv_str2(struct kvs_csv *csv, const char *text, const char *more)
{
    assert(!strpbrk(text, ",\"\r\n") && !strpbrk(more, ",\"\r\n"));
    begin_field(csv);
    put(csv, text, strlen(text));
    put(csv, more, strlen(more));
}

void kvs_csv_quoted(struct kvs_csv *csv, const char *text)
{
    const bool quote = strpbrk(text, ",\"\r\n") != NULL;
    begin_field(csv);
    if (quote)
        put(csv, "\"", 1);
    for (; *text; text++) {
        const char c = (unsigned char)*text < ' ' ? ' ' : *text;
        put(csv, &c, 1);
        if (c == '"')
            put(csv, &c, 1);
    }
    if (quote)
        put(csv, "\"", 1);
}

void kvs_csv_row(struct kvs_csv *csv)
{
    put(csv, "\n", 1);
    csv->field = 0;
}

void kvs_csv_end(struct kvs_csv *csv)
{
    fwrite(csv->buf, 1, csv->n, csv->to);
    csv->n = 0;
}
