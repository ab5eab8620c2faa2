/*
 * scan.h - one line of JSON or CSV read field by field, without building a tree.
 *
 * For the row formats of traces: strict (what is no JSON is refused), one pass, no allocation but
 * for lists. A scan stands at a place in a NUL-terminated line. Each function returns false after
 * recording "FILE:LINE: FIELD: found ..., want ..."; the scan is of no use then.
 */
#ifndef KVS_SCAN_H
#define KVS_SCAN_H

#include "base/err.h"
#include "base/lines.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kvs_scan {
    const char *at;    /* the next byte */
    const char *field; /* the field being read, for messages */
    bool opened;       /* an object or a list was opened and nothing was read from it */
    const struct kvs_lines *lines;
    struct kvs_err *err;
};

/* A list of integers; grows, and is kept from row to row. */
struct kvs_ids {
    uint64_t *v;
    size_t n, cap;
};
void kvs_ids_free(struct kvs_ids *ids);
/* false: no memory, which the scan's error then says. */
bool kvs_ids_add(struct kvs_ids *ids, uint64_t id, struct kvs_scan *scan);

/* What one field of a row is called. */
struct kvs_scan_name {
    const char *key;
    const char *want; /* for "missing, want ..."; NULL: may be absent */
};

void kvs_scan_begin(struct kvs_scan *scan, const struct kvs_lines *lines, const char *line,
                    struct kvs_err *err);
/* Fails as "FILE:LINE: FIELD: found <what stands here>, want <want>"; false, for `return`. */
bool kvs_scan_want(struct kvs_scan *scan, const char *want);
/* The same of a value that is well-formed but can't be: code is KVS_ERR_RANGE. */
bool kvs_scan_bad(struct kvs_scan *scan, const char *fmt, ...) KVS_PRINTF(2, 3);

/* JSON. The value that opens here must be an object (array). */
bool kvs_scan_object(struct kvs_scan *scan);
bool kvs_scan_array(struct kvs_scan *scan);
/*
 * The object's next field: *which is its index among names, n at the object's end. Fields of other
 * names are skipped; one given twice, or at the end one missing from *seen (begin with 0), fails.
 */
bool kvs_scan_field(struct kvs_scan *scan, const struct kvs_scan_name *names, unsigned n,
                    uint32_t *seen, unsigned *which);
/* Whether the array has one more element, at which the scan then stands. */
bool kvs_scan_element(struct kvs_scan *scan, bool *more);
bool kvs_scan_u64(struct kvs_scan *scan, uint64_t min, uint64_t max, uint64_t *value);
bool kvs_scan_u32(struct kvs_scan *scan, uint32_t min, uint32_t *value);
/* Without its quotes; escapes are checked and left as they stand. */
bool kvs_scan_str(struct kvs_scan *scan, const char **text, size_t *n_byte);
/*
 * A time of at least 0 in units of unit_ns (at most a second), to the nearest nanosecond; bare or,
 * if quoted, in a string. Nine digits after the point count. At most 146 years.
 */
bool kvs_scan_time(struct kvs_scan *scan, int64_t unit_ns, bool quoted, int64_t *ns);
/* An array of integers up to max, instead of what ids held. */
bool kvs_scan_ids(struct kvs_scan *scan, uint64_t max, struct kvs_ids *ids);
bool kvs_scan_skip(struct kvs_scan *scan); /* any value */
bool kvs_scan_end(struct kvs_scan *scan);  /* nothing but spaces to the line's end */

/* CSV without quotes: past the comma that must stand here, or past one cell. */
bool kvs_scan_comma(struct kvs_scan *scan);
void kvs_scan_cell(struct kvs_scan *scan, const char **text, size_t *n_byte);

#endif
