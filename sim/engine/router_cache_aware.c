/*
 * router_cache_aware.c - the replica that holds most of the prompt, unless load is out of balance:
 * the cache_aware policy of SGLang's router (docs/concepts/routing/cache-aware.md of SMG, its
 * successor, with these defaults). The original mirrors the replicas' caches in a tree of its own;
 * here it asks them.
 */
#include "router.h"

#include <stdbool.h>

#define MIN_MATCH 0.3         /* of the prompt: less than that is no reason to go there */
#define MAX_ABOVE_REQUESTS 64 /* out of balance: most above least by more than so many ... */
#define MAX_ABOVE_RATIO 1.5   /* ... and by more than this factor */

extern const struct kvs_router_ops kvs_router_cache_aware;

static uint32_t load_of(const struct kvs_replica_view *replica)
{
    return replica->n_waiting + replica->n_running;
}

static bool out_of_balance(const struct kvs_replica_view *replica, uint32_t n)
{
    uint32_t least = UINT32_MAX, most = 0;
    for (uint32_t r = 0; r < n; r++) {
        uint32_t load = load_of(&replica[r]);
        least = load < least ? load : least;
        most = load > most ? load : most;
    }
    return most - least > MAX_ABOVE_REQUESTS && most > MAX_ABOVE_RATIO * least;
}

static uint32_t route(const struct kvs_replica_view *replica, uint32_t n, uint64_t turn)
{
    uint32_t least = 0, longest = 0, emptiest = 0;
    (void)turn;
    for (uint32_t r = 1; r < n; r++) {
        bool lighter = load_of(&replica[r]) < load_of(&replica[longest]);
        if (load_of(&replica[r]) < load_of(&replica[least]))
            least = r;
        if (replica[r].match_tok > replica[longest].match_tok ||
            (replica[r].match_tok == replica[longest].match_tok && lighter))
            longest = r;
        if (replica[r].cached_bytes < replica[emptiest].cached_bytes)
            emptiest = r;
    }
    if (out_of_balance(replica, n))
        return least;
    return replica[longest].match_tok > MIN_MATCH * replica[longest].prompt_tok ? longest
                                                                                : emptiest;
}

const struct kvs_router_ops kvs_router_cache_aware = {
    .name = "cache-aware",
    .help = "longest match in HBM and the host's tiers; least loaded where load is out of balance",
    .looks_up = true,
    .route = route,
};
