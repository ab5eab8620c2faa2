/*
 * trace_stats.h - what a trace holds: lengths, blocks, and how much of it a cache that never
 * forgets would have had.
 *
 * A request is judged against what earlier requests brought; all its own blocks are known after it.
 *
 *   content hits  blocks whose id an earlier request had, at any place
 *   prefix hits   blocks known together with all before them: leading known ids of a trace with
 *                 chained ids; of content ids, those whose whole beginning opened an earlier prompt
 *
 * Memory grows with the number of different blocks and beginnings, not with the trace.
 */
#ifndef KVS_TRACE_STATS_H
#define KVS_TRACE_STATS_H

#include "base/hist.h"
#include "trace.h"

struct kvs_stats_options {
    uint32_t part_mask; /* bit 1 << enum kvs_part: blocks of other parts are left out; 0: all */
    bool full_only;     /* leave out blocks shorter than block_tok */
    bool per_session;   /* a cache for each session */
    uint32_t block_tok; /* of a full block; 0: blocks differ */
    bool chained;
    uint64_t n_top; /* hits of the n_top most used blocks; 0: not asked for */
};

struct kvs_stats_part {
    uint64_t n_access, n_tok, content_hits, content_hit_tok;
};

struct kvs_stats_sums {
    uint64_t n_request, n_session;
    int64_t first_ns, last_ns;
    uint64_t n_access, n_unique, access_tok; /* blocks; access_tok: tokens of all of them */
    uint64_t prefix_hits, prefix_hit_tok, content_hits, content_hit_tok;
    uint64_t n_once;                    /* ids seen once */
    uint64_t with_blocks;               /* requests that have blocks ... */
    uint64_t any_hit;                   /* ... the first of which is a prefix hit */
    uint64_t all_prefix;                /* ... all of which are prefix hits */
    uint64_t all_content;               /* ... all of which are content hits */
    uint64_t n_list, n_set;             /* different lists and sets of ids of a request */
    uint64_t top_1pct, top_1pct_access; /* the most used 1 % of ids, rounded up; their accesses */
    uint64_t top_access;                /* accesses of the n_top most used ids */
    struct kvs_stats_part part[KVS_N_PART];
};

struct kvs_stats; /* from kvs_stats_new, ended by kvs_stats_free */

struct kvs_stats *kvs_stats_new(const struct kvs_stats_options *options); /* NULL: no memory */
void kvs_stats_free(struct kvs_stats *stats);                             /* accepts NULL */
KVS_MUST_CHECK enum kvs_code kvs_stats_add(struct kvs_stats *stats, const struct kvs_request *req,
                                           struct kvs_err *err);
/*
 * The blocks of the request added last that the options leave in, as keys of what they hold: their
 * id, in its session where caches are per session.
 */
const uint64_t *kvs_stats_keys(const struct kvs_stats *stats, size_t *n);
KVS_MUST_CHECK enum kvs_code kvs_stats_end(const struct kvs_stats *stats,
                                           struct kvs_stats_sums *sums, struct kvs_err *err);
struct kvs_tally *kvs_stats_input(struct kvs_stats *stats);
struct kvs_tally *kvs_stats_output(struct kvs_stats *stats);

#endif
