/*
 * sheet.h - a CSV file with a header, in memory: what results are read back from.
 */
#ifndef KVS_SHEET_H
#define KVS_SHEET_H

#include "base/err.h"

#include <stdint.h>

#define KVS_SHEET_COL 128

struct kvs_sheet {
    unsigned n_col;
    const char *col[KVS_SHEET_COL];
    uint64_t n_row;
    const char **cell; /* [row * n_col + column] */
    char *text;        /* what cells point into */
};

/* Every row must have the header's fields: else "FILE:LINE: ...". */
KVS_MUST_CHECK enum kvs_code kvs_sheet_open(const char *file, struct kvs_sheet **sheet,
                                            struct kvs_err *err);
void kvs_sheet_free(struct kvs_sheet *sheet); /* accepts NULL */

/* A column's index by its name; -1: there is none. */
int kvs_sheet_col(const struct kvs_sheet *sheet, const char *name);
/* "" and NaN for a column of -1, or where the cell holds no number. */
const char *kvs_sheet_str(const struct kvs_sheet *sheet, uint64_t row, int col);
double kvs_sheet_num(const struct kvs_sheet *sheet, uint64_t row, int col);

#endif
