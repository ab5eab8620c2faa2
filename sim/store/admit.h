/*
 * admit.h - admission rules: which of the blocks that are offered to a tier are stored there.
 *
 * Most blocks are never read again; what is not stored costs no room, bandwidth or endurance. A
 * block is offered each time a prompt with it was prefilled (write through) or a nearer place lets
 * go of it (write back), as long as the tier does not hold it.
 *
 * A rule is one file, admit_NAME.c, that defines kvs_admit_NAME, and one line of admit_list.h.
 */
#ifndef KVS_ADMIT_H
#define KVS_ADMIT_H

#include "tier.h"

struct kvs_admit_config {
    uint32_t n;   /* rule touched: stored when offered so often */
    double share; /* rule random: of the offers that are taken */
    uint64_t seed;
};

struct kvs_admit_ops {
    const char *name, *help;
    size_t state_bytes;                                               /* zeroed before init */
    bool (*init)(void *state, const struct kvs_admit_config *config); /* false: no memory */
    void (*end)(void *state);                                         /* or NULL */
    bool (*wants)(void *state, uint64_t key);                         /* one offer: store it? */
};

/* Every rule of admit_list.h, NULL-ended; the first is the default. */
extern const struct kvs_admit_ops *const kvs_admit_all[];
const struct kvs_admit_ops *kvs_admit_find(const char *name); /* NULL: none of this name */

#endif
