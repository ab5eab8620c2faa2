/*
 * share.h - how fast routes load at once where they share hops.
 */
#ifndef KVS_SHARE_H
#define KVS_SHARE_H

#include "tables.h"

/* What a prompt's loads do to the hops of their routes, one layer, raw, all its blocks. */
struct kvs_hop_use {
    double rate[KVS_MAX_ROUTE];             /* loads per second of each route alone; 0: not used */
    double use[KVS_MAX_ROUTE][KVS_MAX_HOP]; /* share of each hop's time that it takes then */
};

/*
 * Routes that load at once share hops max-min fair, each weighted by what it has to bring, so that
 * routes that are slowed by one hop end together: each route's speed, 1 as alone. (Equal bytes per
 * second would let one small load in many pieces hold up a large one for all its time.) The
 * over-full link that has least for each of its routes fixes theirs; then the next.
 */
void kvs_share_hops(const struct kvs_tables_config *config, const struct kvs_hop_use *hops,
                    double speed[]);

#endif
