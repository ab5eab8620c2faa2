/*
 * recommend.h - the cheapest configuration of a space that meets an SLO, and what is to be known of
 * it.
 *
 * The search takes configurations from cheap to dear. It rules out what is no larger in anything
 * (kvs_space_no_larger) than one that failed; before any of a number of replicas of a GPU type is
 * tried, the largest DRAM, drives and network of it are. That more never hurts is an assumption
 * (tests hold it against the whole space); `all` simulates every configuration instead. How fast
 * drives wear out is known only when a configuration has been simulated, so the search goes on
 * until the next one costs more without any wear than the best does with it.
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

#define KVS_THRESHOLD_TOK 256

enum kvs_try { KVS_TRY_UNKNOWN, KVS_TRY_RULED_OUT, KVS_TRY_NOT_OFFERED, KVS_TRY_DONE };

struct kvs_recommend {
    uint64_t n, n_offered; /* configurations; those that can be had */
    enum kvs_try *state;
    struct kvs_measure *measure; /* where DONE */
    uint64_t n_simulated;
    bool found;
    uint64_t best; /* number of the cheapest that meets the SLO */
    /* of the answer: the fewest tokens that its DRAM and its drives bring sooner than they are
     * computed, in steps of KVS_THRESHOLD_TOK; 0: none, or no such tier */
    uint32_t threshold_tok[2];
    double growth;     /* the largest factor of the rate that was seen to meet it; 0: not found */
    double growth_not; /* the smallest above it that was seen not to; 0: none up to GROWTH_MOST */
};

KVS_MUST_CHECK enum kvs_code kvs_recommend(const struct kvs_recommend_options *options,
                                           struct kvs_recommend **recommend, struct kvs_err *err);
void kvs_recommend_free(struct kvs_recommend *recommend); /* accepts NULL */

/*
 * What a simulated configuration costs an hour, and how much of that is drives bought again because
 * they wear out before they are written off: one lasts KVS_RATED_YEARS at the writes a day that it
 * is made for, and as much shorter as it is written over more often.
 */
#define KVS_RATED_YEARS 5 /* for which drives promise their writes a day */
struct kvs_total {
    double all, wear;
    double writes_per_day; /* of each drive's capacity; NaN: no drives */
};
struct kvs_total kvs_recommend_total(const struct kvs_recommend *recommend,
                                     const struct kvs_space *space, uint64_t number);
/* What is busiest: "GPU", a link's name, or "none". */
const char *kvs_measure_binding(const struct kvs_measure *measure);

/* The cheapest of those simulated that meets the SLO, at any prices; of equally cheap ones that
 * which meets it best. false: none. */
bool kvs_recommend_cheapest(const struct kvs_recommend *recommend, const struct kvs_space *space,
                            uint64_t *best);
/* Whether no simulated configuration is as cheap and better in p99 TTFT or in goodput. */
bool kvs_recommend_on_front(const struct kvs_recommend *recommend, const struct kvs_space *space,
                            uint64_t number);

#endif
