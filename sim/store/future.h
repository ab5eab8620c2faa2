/*
 * future.h - a sequence of accesses, kept whole, and the next use of each: what a policy that hears
 * kvs_tier_expect has to be told in hit-rate mode.
 *
 * 16 bytes an access, and 23 to 46 a different key while the next uses are found.
 */
#ifndef KVS_STORE_FUTURE_H
#define KVS_STORE_FUTURE_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct kvs_future { /* zeroed is empty; the fields may be read */
    uint64_t *key;
    uint64_t *next_use; /* the rank of the key's next access, from 0, or UINT64_MAX; from
                           kvs_future_find */
    size_t n, room;
};

/* Adds n accesses. KVS_ERR_RANGE beyond 2^32 - 1 of them in all. */
KVS_MUST_CHECK enum kvs_code kvs_future_add(struct kvs_future *future, const uint64_t *key,
                                            size_t n, struct kvs_err *err);
/* Fills next_use in, after the last access was added. */
KVS_MUST_CHECK enum kvs_code kvs_future_find(struct kvs_future *future, struct kvs_err *err);
void kvs_future_free(struct kvs_future *future);

#endif
