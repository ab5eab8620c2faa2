/*
 * farm.h - items of work dealt out to processes, one at a time, to whoever is free.
 *
 * The farmer (this process) hands out numbers and takes texts back; workers are children on this
 * machine (kvs_farm_local), or the ranks of an MPI job (kvs_farm_mpi). Which worker made what shows
 * nowhere.
 */
#ifndef KVS_FARM_H
#define KVS_FARM_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct kvs_farm {
    void *ctx;
    /* The next item; false: none is left. */
    bool (*next)(void *ctx, uint64_t *item);
    /* In a worker: the item's text, malloced; NULL: no memory. */
    char *(*work)(void *ctx, uint64_t item);
    /* An item's text; or, text NULL, why it has none ("the worker ended by signal 11"). */
    enum kvs_code (*done)(void *ctx, uint64_t item, const char *text, const char *reason,
                          struct kvs_err *err);
    /* About five times a second; true stops all (KVS_ERR_IO "interrupted"). */
    bool (*tick)(void *ctx);
};

/*
 * With n_worker children of this process, which have its memory as it is now. A child that is
 * killed from outside (signals 9 and 15) is replaced and its item made again, three times at most.
 * All children have ended when this returns, and end if the farmer dies.
 */
KVS_MUST_CHECK enum kvs_code kvs_farm_local(const struct kvs_farm *farm, unsigned n_worker,
                                            struct kvs_err *err);

#endif
