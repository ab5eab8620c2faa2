/*
 * plan_list.h - the planners: X(name) for each plan_NAME.c, which defines kvs_planner_NAME.
 */
#ifndef KVS_PLAN_LIST_H
#define KVS_PLAN_LIST_H

#define KVS_PLANNERS                                                                               \
    X(recompute)                                                                                   \
    X(load)                                                                                        \
    X(token_split)                                                                                 \
    X(layer_split)                                                                                 \
    X(best)                                                                                        \
    X(optimal)                                                                                     \
    X(careful)                                                                                     \
    X(online)                                                                                      \
    X(exact)                                                                                       \
    X(cacheflow)                                                                                   \
    X(cacheflow2)                                                                                  \
    X(cacheblend)                                                                                  \
    X(epic)                                                                                        \
    X(hcache)

#endif
