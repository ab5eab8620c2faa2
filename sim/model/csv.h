/*
 * csv.h - one line of comma-separated values: quoted fields with doubled quotes, no line breaks.
 */
#ifndef KVS_MODEL_CSV_H
#define KVS_MODEL_CSV_H

#include "base/err.h"

/*
 * Splits line in place into at most max fields and returns how many there are, max + 1 if more;
 * quotes are taken off. 0 if a quoted field does not end, or text follows its end: *bad is then the
 * field's number, from 1.
 */
unsigned kvs_csv_split(char *line, char **field, unsigned max, unsigned *bad);

#endif
