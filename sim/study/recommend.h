/*
 * recommend.h - the cheapest configuration of a space that meets an SLO, and what is to be known of
 * it.
 *
 * The search takes configurations from cheap to dear. It rules out what is no larger, in every
 * dimension, than one that failed; before any of a number of replicas is tried, the largest DRAM
 * and drives of it are. That more never hurts is an assumption (tests hold it against the whole
 * space); `all` simulates every configuration instead.
 */
#ifndef KVS_RECOMMEND_H
#define KVS_RECOMMEND_H

#include "slo.h"
#include "space.h"

struct kvs_recommend_options {
    const char *workload;
    struct kvs_strs sets;
    const struct kvs_space *space;
    const struct kvs_slo *slo;
    unsigned n_job;
    bool all;
    bool (*progress)(void *ctx, uint64_t n_simulated); /* true stops; may be NULL */
    void *ctx;
};

enum kvs_try { KVS_TRY_UNKNOWN, KVS_TRY_RULED_OUT, KVS_TRY_DONE };

struct kvs_recommend {
    uint64_t n; /* configurations */
    enum kvs_try *state;
    struct kvs_measure *measure; /* where DONE */
    uint64_t n_simulated;
    bool found;
    uint64_t best;     /* number of the cheapest that meets the SLO */
    double growth;     /* the largest factor of the rate that was seen to meet it; 0: not found */
    double growth_not; /* the smallest above it that was seen not to; 0: none up to GROWTH_MOST */
};

KVS_MUST_CHECK enum kvs_code kvs_recommend(const struct kvs_recommend_options *options,
                                           struct kvs_recommend **recommend, struct kvs_err *err);
void kvs_recommend_free(struct kvs_recommend *recommend); /* accepts NULL */

/* The cheapest of those simulated that meets the SLO at other prices; false: none. */
bool kvs_recommend_cheapest(const struct kvs_recommend *recommend, const struct kvs_space *space,
                            uint64_t *best);
/* Whether no simulated configuration is as cheap and better in p99 TTFT or in goodput. */
bool kvs_recommend_on_front(const struct kvs_recommend *recommend, const struct kvs_space *space,
                            uint64_t number);

#endif
