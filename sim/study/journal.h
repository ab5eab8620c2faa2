/*
 * journal.h - the finished points of a sweep, one line each, appended as they end.
 *
 * Whoever is killed, and whenever: a line is there whole or it does not count, and a point counts
 * once. The first lines tell which sweep it is: "kvsim-sweep 1 FINGERPRINT POINTS", then the header
 * of the results. A record is "CHECKSUM TAB point TAB row TAB row ... LF".
 */
#ifndef KVS_JOURNAL_H
#define KVS_JOURNAL_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct kvs_journal; /* from kvs_journal_open or _read, ended by kvs_journal_close */

/* Which sweep a journal belongs to. */
struct kvs_journal_id {
    uint64_t fingerprint, n_point;
    const char *header; /* of the results: a CSV row */
};

/*
 * Opens or begins the journal at path, alone (a second process is refused: KVS_ERR_ARG). One of
 * another sweep is KVS_ERR_ARG too. A torn end is cut off.
 */
KVS_MUST_CHECK enum kvs_code kvs_journal_open(const char *path, const struct kvs_journal_id *id,
                                              struct kvs_journal **journal, struct kvs_err *err);
/* Opens one for reading only; whose it is stands in kvs_journal_id. */
KVS_MUST_CHECK enum kvs_code kvs_journal_read(const char *path, struct kvs_journal **journal,
                                              struct kvs_err *err);
void kvs_journal_close(struct kvs_journal *journal); /* accepts NULL */

struct kvs_journal_id kvs_journal_id(const struct kvs_journal *journal);
bool kvs_journal_has(const struct kvs_journal *journal, uint64_t point);
/* The rows of a point that it holds. The caller frees them. */
KVS_MUST_CHECK enum kvs_code kvs_journal_get(const struct kvs_journal *journal, uint64_t point,
                                             char **rows, struct kvs_err *err);
/*
 * Appends a point's rows (without line ends); it survives this process from then on, and the
 * machine within half a second of points. A point that is there already is a bug.
 */
KVS_MUST_CHECK enum kvs_code kvs_journal_add(struct kvs_journal *journal, uint64_t point,
                                             const char *rows, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_journal_sync(struct kvs_journal *journal, struct kvs_err *err);

#endif
