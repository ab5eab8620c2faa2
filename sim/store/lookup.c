#include "lookup.h"

/* Keys that a search runs ahead of the look: enough to cover a read of main memory. */
enum { AHEAD = 12 };

static void prefetch(struct kvs_tier *const *tier, uint32_t n_tier, uint64_t key)
{
    for (uint32_t i = 0; i < n_tier; i++)
        kvs_tier_prefetch(tier[i], key);
}

static struct kvs_place look(struct kvs_tier *const *tier, uint32_t n_tier, uint64_t key)
{
    for (uint32_t i = 0; i < n_tier; i++) {
        uint32_t slot = kvs_tier_find(tier[i], key);
        if (slot != KVS_NO_SLOT)
            return (struct kvs_place){i, slot};
    }
    return (struct kvs_place){KVS_NOWHERE, KVS_NO_SLOT};
}

size_t kvs_lookup(enum kvs_lookup mode, struct kvs_tier *const *tier, uint32_t n_tier,
                  const uint64_t *key, size_t n_key, struct kvs_place *place)
{
    size_t n_held = 0, n_look = n_key;
    for (size_t i = 0; i < n_key && i < AHEAD; i++)
        prefetch(tier, n_tier, key[i]);
    for (size_t i = 0; i < n_look; i++) {
        if (i + AHEAD < n_key)
            prefetch(tier, n_tier, key[i + AHEAD]);
        place[i] = look(tier, n_tier, key[i]);
        if (place[i].tier_i != KVS_NOWHERE)
            n_held++;
        else if (mode == KVS_LOOKUP_PREFIX)
            n_look = i;
    }
    for (size_t i = n_look; i < n_key; i++)
        place[i] = (struct kvs_place){KVS_NOWHERE, KVS_NO_SLOT};
    return n_held;
}
