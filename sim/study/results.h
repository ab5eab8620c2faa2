/*
 * results.h - a sweep's folder: where its journals lie, and the one table made of them.
 */
#ifndef KVS_STUDY_RESULTS_H
#define KVS_STUDY_RESULTS_H

#include "base/opt.h"
#include "journal.h"

/*
 * Makes the folder and gives the path of a shard's journal in it, which the caller frees. A folder
 * that holds something else than a sweep is refused. overwrite: what this shard left there goes.
 */
KVS_MUST_CHECK enum kvs_code kvs_results_folder(const char *dir, uint64_t shard_i, uint64_t shard_n,
                                                bool overwrite, char **path, struct kvs_err *err);
/* Opens all journals in dirs; they must be of one sweep. The caller closes and frees them, also
 * after an error. */
KVS_MUST_CHECK enum kvs_code kvs_results_journals(const struct kvs_strs *dirs,
                                                  struct kvs_journal ***journal, uint32_t *n,
                                                  struct kvs_err *err);
/* dir/results.csv, whole or not at all, of journals that hold every point together. */
KVS_MUST_CHECK enum kvs_code kvs_results_write(const char *dir, struct kvs_journal *const *journal,
                                               uint32_t n, struct kvs_err *err);

#endif
