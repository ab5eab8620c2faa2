/* router_round_robin.c - each replica in turn. */
#include "router.h"

extern const struct kvs_router_ops kvs_router_round_robin;

static uint32_t route(const struct kvs_replica_view *replica, uint32_t n, uint64_t turn)
{
    (void)replica;
    return (uint32_t)(turn % n);
}

const struct kvs_router_ops kvs_router_round_robin = {
    .name = "round-robin",
    .help = "each replica in turn",
    .route = route,
};
