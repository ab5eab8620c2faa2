#include "future.h"

#include "base/map.h"

#include <stdlib.h>
#include <string.h>

enum kvs_code kvs_future_add(struct kvs_future *future, const uint64_t *key, size_t n,
                             struct kvs_err *err)
{
    if (n >= UINT32_MAX - future->n)
        return kvs_fail(err, KVS_ERR_RANGE, "more than %u accesses to look ahead in",
                        UINT32_MAX - 1);
    if (future->n + n > future->room) {
        size_t room = future->n + n + future->room / 2 + 1024;
        uint64_t *grown = realloc(future->key, room * sizeof *grown);
        if (!grown)
            return kvs_fail(err, KVS_ERR_NOMEM, "no memory for %zu accesses", room);
        future->key = grown;
        future->room = room;
    }
    if (n > 0)
        memcpy(future->key + future->n, key, n * sizeof *key);
    future->n += n;
    return KVS_OK;
}

/* Backwards: the map holds each key's earliest access after i. */
static bool find_next(struct kvs_future *future, struct kvs_map *map)
{
    for (size_t i = future->n; i-- > 0;) {
        bool found;
        uint32_t *next = kvs_map_put(map, future->key[i], (uint32_t)i, &found);
        if (!next)
            return false;
        future->next_use[i] = found ? *next : UINT64_MAX;
        *next = (uint32_t)i;
    }
    return true;
}

enum kvs_code kvs_future_find(struct kvs_future *future, struct kvs_err *err)
{
    struct kvs_map map;
    free(future->next_use);
    future->next_use = malloc((future->n + 1) * sizeof *future->next_use);
    bool ok = future->next_use && kvs_map_init(&map, 0);
    if (ok) {
        ok = find_next(future, &map);
        kvs_map_free(&map);
    }
    return ok ? KVS_OK : kvs_fail(err, KVS_ERR_NOMEM, "no memory for the next uses");
}

void kvs_future_free(struct kvs_future *future)
{
    free(future->key);
    free(future->next_use);
    *future = (struct kvs_future){0};
}
