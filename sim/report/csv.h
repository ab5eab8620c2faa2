/*
 * csv.h - rows of comma-separated values, fast: its own buffer and its own integer formatting.
 *
 * Fields are numbers, names and texts of ours: none holds a comma, a quote or a line end
 * (asserted), but for kvs_csv_quoted. Write errors show when the caller closes the file
 * (kvs_outdir_close).
 */
#ifndef KVS_REPORT_CSV_H
#define KVS_REPORT_CSV_H

#include <stdint.h>
#include <stdio.h>

struct kvs_csv {
    FILE *to;
    uint32_t n;     /* bytes in buf */
    uint32_t field; /* fields in this row so far */
    char buf[1 << 15];
};

void kvs_csv_begin(struct kvs_csv *csv, FILE *to);
void kvs_csv_u64(struct kvs_csv *csv, uint64_t value);
void kvs_csv_i64(struct kvs_csv *csv, int64_t value);
void kvs_csv_double(struct kvs_csv *csv, double value); /* %.6g; NaN: an empty field */
void kvs_csv_str(struct kvs_csv *csv, const char *text);
void kvs_csv_str2(struct kvs_csv *csv, const char *text, const char *more); /* one field of both */
/* Any text, in quotes where it must be; control characters become spaces. */
void kvs_csv_quoted(struct kvs_csv *csv, const char *text);
void kvs_csv_row(struct kvs_csv *csv); /* ends the row */
void kvs_csv_end(struct kvs_csv *csv); /* hands the rest to the file */

#endif
