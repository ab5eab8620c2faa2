/*
 * router.h - which replica a request goes to. A router is one file router_NAME.c and one line of
 * router_list.h.
 */
#ifndef KVS_ROUTER_H
#define KVS_ROUTER_H

#include <stdbool.h>
#include <stdint.h>

/* What a router sees of a replica. */
struct kvs_replica_view {
    uint32_t n_waiting, n_running; /* requests: before their first token, and decoding */
    int64_t backlog_ns;            /* prefill work that stands before a new arrival */
    /* for routers that look up, of the prompt that is to be routed */
    uint32_t prompt_tok;   /* the whole prompt */
    uint32_t match_tok;    /* held in the replica's HBM or its host's tiers */
    int64_t transfer_ns;   /* until what tiers hold of it is loaded, behind other loads */
    int64_t prefill_ns;    /* computing what nothing holds, alone */
    uint64_t cached_bytes; /* blocks in the replica's HBM */
};

struct kvs_router_ops {
    const char *name, *help;
    bool looks_up; /* the view's second half is filled in, at the cost of a look-up a replica */
    /* Index of the chosen replica. turn counts the arrivals from 0. Ties go to the lowest index. */
    uint32_t (*route)(const struct kvs_replica_view *replica, uint32_t n, uint64_t turn);
};

extern const struct kvs_router_ops *const kvs_router_list[];    /* NULL-ended */
const struct kvs_router_ops *kvs_router_find(const char *name); /* NULL if there is none */

#endif
