/*
 * router_least_work.c - the replica with the fewest predicted seconds of prefill queued: what its
 * admitted prompts still have to compute, and what the others would, by what the router saw of them
 * in its caches when they came. As least-loaded, but a prompt of 100,000 tokens counts as what it
 * takes: the queue of Mooncake's choice (Qin et al., FAST'25, algorithm 1) without this prompt's
 * own part.
 */
#include "router.h"

extern const struct kvs_router_ops kvs_router_least_work;

static uint32_t route(const struct kvs_replica_view *replica, uint32_t n, uint64_t turn)
{
    uint32_t best = 0;
    (void)turn;
    for (uint32_t r = 1; r < n; r++) {
        const uint32_t here = replica[r].n_waiting + replica[r].n_running;
        const uint32_t there = replica[best].n_waiting + replica[best].n_running;
        const int64_t less_ns = replica[best].backlog_ns - replica[r].backlog_ns;
        if (less_ns > 0 || (less_ns == 0 && here < there))
            best = r;
    }
    return best;
}

const struct kvs_router_ops kvs_router_least_work = {
    .name = "least-work",
    .help = "fewest predicted seconds of prefill queued; ties to the fewest requests in it",
    .looks_up = true,
    .route = route,
};
