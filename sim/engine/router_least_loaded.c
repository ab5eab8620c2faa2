/* router_least_loaded.c - the replica with the fewest requests; ties to the least prefill work. */
#include "router.h"

extern const struct kvs_router_ops kvs_router_least_loaded;

static uint32_t route(const struct kvs_replica_view *replica, uint32_t n, uint64_t turn)
{
    uint32_t best = 0;
    (void)turn;
    for (uint32_t r = 1; r < n; r++) {
        uint32_t here = replica[r].n_waiting + replica[r].n_running;
        uint32_t there = replica[best].n_waiting + replica[best].n_running;
        if (here < there || (here == there && replica[r].backlog_ns < replica[best].backlog_ns))
            best = r;
    }
    return best;
}

const struct kvs_router_ops kvs_router_least_loaded = {
    .name = "least-loaded",
    .help = "fewest requests in it; ties to the least prefill work, then to the lowest index",
    .route = route,
};
