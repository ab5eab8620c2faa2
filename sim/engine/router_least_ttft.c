/*
 * router_least_ttft.c - the replica with the least queue + transfer + prefill: Mooncake's choice of
 * the prefill instance (Qin et al., FAST'25, algorithm 1). Transfer is what loading the blocks from
 * the replica's tiers takes; blocks in another replica's HBM are not sent for.
 */
#include "router.h"

extern const struct kvs_router_ops kvs_router_least_ttft;

static int64_t ttft_ns(const struct kvs_replica_view *replica)
{
    return replica->backlog_ns + replica->transfer_ns + replica->prefill_ns;
}

static uint32_t route(const struct kvs_replica_view *replica, uint32_t n, uint64_t turn)
{
    uint32_t best = 0;
    (void)turn;
    for (uint32_t r = 1; r < n; r++)
        if (ttft_ns(&replica[r]) < ttft_ns(&replica[best]))
            best = r;
    return best;
}

const struct kvs_router_ops kvs_router_least_ttft = {
    .name = "least-ttft",
    .help = "least queue + transfer + prefill, as Mooncake's conductor",
    .looks_up = true,
    .route = route,
};
