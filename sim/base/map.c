#include "map.h"

#include <assert.h>
#include <stdlib.h>

/* At most 7 of 10 slots are taken: beyond, linear probing's runs grow fast. */
static size_t n_slot_for(size_t n_key)
{
    size_t n_slot = 16;
    while (n_slot / 10 * 7 < n_key) {
        if (n_slot > SIZE_MAX / 4 / sizeof(struct kvs_map_slot))
            return 0;
        n_slot *= 2;
    }
    return n_slot;
}

static struct kvs_map_slot *slots_new(size_t n_slot)
{
    struct kvs_map_slot *slot = n_slot ? malloc(n_slot * sizeof *slot) : NULL;
    if (slot)
        for (size_t i = 0; i < n_slot; i++)
            slot[i] = (struct kvs_map_slot){.key = 0, .val = UINT32_MAX};
    return slot;
}

bool kvs_map_init(struct kvs_map *map, size_t n_hint)
{
    size_t n_slot = n_slot_for(n_hint);
    *map = (struct kvs_map){.slot = slots_new(n_slot)};
    if (!map->slot)
        return false;
    map->mask = n_slot - 1;
    return true;
}

void kvs_map_free(struct kvs_map *map)
{
    free(map->slot);
    *map = (struct kvs_map){0};
}

/* The slot that holds key, or the empty one where it belongs. */
static struct kvs_map_slot *probe(const struct kvs_map *map, uint64_t key)
{
    size_t i = kvs_map_home(map, key);
    while (map->slot[i].val != UINT32_MAX && map->slot[i].key != key)
        i = (i + 1) & map->mask;
    return &map->slot[i];
}

static bool grow(struct kvs_map *map)
{
    struct kvs_map larger;
    if (!kvs_map_init(&larger, (map->mask + 1) / 10 * 7 + 1))
        return false;
    for (size_t i = 0; i <= map->mask; i++)
        if (map->slot[i].val != UINT32_MAX)
            *probe(&larger, map->slot[i].key) = map->slot[i];
    larger.n = map->n;
    kvs_map_free(map);
    *map = larger;
    return true;
}

uint32_t *kvs_map_put(struct kvs_map *map, uint64_t key, uint32_t val, bool *found)
{
    assert(val != UINT32_MAX);
    struct kvs_map_slot *slot = probe(map, key);
    *found = slot->val != UINT32_MAX;
    if (*found)
        return &slot->val;
    if (map->n + 1 > (map->mask + 1) / 10 * 7) {
        if (!grow(map))
            return NULL;
        slot = probe(map, key);
    }
    *slot = (struct kvs_map_slot){.key = key, .val = val};
    map->n++;
    return &slot->val;
}

bool kvs_map_del(struct kvs_map *map, uint64_t key)
{
    struct kvs_map_slot *slot = probe(map, key);
    if (slot->val == UINT32_MAX)
        return false;
    /* Close the gap: whoever stands behind it, and may stand at it without passing its own home. */
    size_t gap = (size_t)(slot - map->slot);
    for (size_t i = (gap + 1) & map->mask; map->slot[i].val != UINT32_MAX;
         i = (i + 1) & map->mask) {
        size_t home = kvs_map_home(map, map->slot[i].key);
        if (((i - home) & map->mask) >= ((i - gap) & map->mask)) {
            map->slot[gap] = map->slot[i];
            gap = i;
        }
    }
    map->slot[gap].val = UINT32_MAX;
    map->n--;
    return true;
}
