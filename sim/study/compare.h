/*
 * compare.h - results folders side by side: what differs in their settings, and what came of it.
 */
#ifndef KVS_COMPARE_H
#define KVS_COMPARE_H

#include "base/opt.h"

#include <stdio.h>

/* Folders of `kvsim run`; changes are against the first one's same policy. */
KVS_MUST_CHECK enum kvs_code kvs_compare(const struct kvs_strs *dirs, FILE *to,
                                         struct kvs_err *err);

#endif
