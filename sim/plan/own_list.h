/*
 * own_list.h - policies replayed by their own rule: X(name) for each own_NAME.c, which defines
 * kvs_own_NAME.
 */
#ifndef KVS_OWN_LIST_H
#define KVS_OWN_LIST_H

#define KVS_OWN                                                                                    \
    X(load_bulk)                                                                                   \
    X(cake)                                                                                        \
    X(cachegen)

#endif
