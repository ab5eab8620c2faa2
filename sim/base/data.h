/*
 * data.h - where the files that come with kvsim lie: model shapes, hardware profiles, workloads.
 *
 * Searched in order: $KVSIM_DATA; the folder above the running program's (a build tree: build/kvsim
 * has ../configs); the installed share/kvsim. A name never leaves these folders.
 */
#ifndef KVS_BASE_DATA_H
#define KVS_BASE_DATA_H

#include "err.h"

#include <stddef.h>

/*
 * Finds FOLDER/NAME.json ("configs/models", "llama-3.1-8b"), or takes name_or_file as a path if it
 * holds a '/' or ends in ".json". *path is the caller's to free. If there is none: KVS_ERR_ARG with
 * kind ("model"), the name, the nearest known one and all of them.
 */
KVS_MUST_CHECK enum kvs_code kvs_data_find(const char *kind, const char *folder,
                                           const char *name_or_file, char **path,
                                           struct kvs_err *err);
/* The same for any file of ours by its place ("plots/ttft_cdf.gp"), which is found as it is. */
KVS_MUST_CHECK enum kvs_code kvs_data_file(const char *file, char **path, struct kvs_err *err);
/* All names in a folder, sorted; NULL-ended; free with kvs_data_names_free. NULL: no memory. */
char **kvs_data_names(const char *folder);
void kvs_data_names_free(char **names);

/*
 * Path of file as written in the document at base_file: absolute ones stay, others start at
 * base_file's folder. The caller frees it. NULL: no memory.
 */
char *kvs_path_from(const char *base_file, const char *file);

#endif
