/*
 * router.h - which replica a request goes to. A router is one file router_NAME.c and one line of
 * router_list.h.
 */
#ifndef KVS_ROUTER_H
#define KVS_ROUTER_H

#include <stdint.h>

/* What a router sees of a replica. */
struct kvs_replica_view {
    uint32_t n_waiting, n_running; /* requests: before their first token, and decoding */
    int64_t backlog_ns;            /* prefill work that stands before a new arrival */
};

struct kvs_router_ops {
    const char *name, *help;
    /* Index of the chosen replica. turn counts the arrivals from 0. Ties go to the lowest index. */
    uint32_t (*route)(const struct kvs_replica_view *replica, uint32_t n, uint64_t turn);
};

extern const struct kvs_router_ops *const kvs_router_list[];    /* NULL-ended */
const struct kvs_router_ops *kvs_router_find(const char *name); /* NULL if there is none */

#endif
