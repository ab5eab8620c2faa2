/*
 * Everything is stored, as LMCache and HiCache's write_through do.
 */
#include "admit.h"

static bool always_init(void *state, const struct kvs_admit_config *config)
{
    (void)state;
    (void)config;
    return true;
}

static bool always_wants(void *state, uint64_t key)
{
    (void)state;
    (void)key;
    return true;
}

extern const struct kvs_admit_ops kvs_admit_always;
const struct kvs_admit_ops kvs_admit_always = {
    .name = "always",
    .help = "every block",
    .init = always_init,
    .wants = always_wants,
};
