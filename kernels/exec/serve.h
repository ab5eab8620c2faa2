/*
 * serve.h - prompts served one after another: one device, one store of bounded capacity.
 *
 * Each prompt's whole blocks but those of its last token are looked up from its beginning; what is
 * held is loaded or computed again as a plan says; what was not held is stored, the last block
 * first. Look-ups, touches and insertions come in the order in which the simulator makes them
 * (sim/engine: a lone replica, prefix reuse, one tier written through), so that the blocks held are
 * the same, one for one.
 */
#ifndef KVS_SERVE_H
#define KVS_SERVE_H

#include "../store/shelf.h"
#include "exec.h"

struct kvs_serve; /* from kvs_serve_new, ended by kvs_serve_free */

struct kvs_serve_config {
    struct kvs_forward *forward; /* its cache has room for the longest prompt */
    struct kvs_exec *exec;       /* of forward */
    struct kvs_store *store;     /* holds no raw16 blocks at the start */
    const uint64_t *model_hash;  /* [2], borrowed */
    uint32_t block_tok;
    const struct kvs_evict_ops *evict;
    uint64_t capacity_bytes, block_bytes; /* what a block counts, without padding */
};

KVS_MUST_CHECK enum kvs_code kvs_serve_new(const struct kvs_serve_config *config,
                                           struct kvs_serve **serve, struct kvs_err *err);
void kvs_serve_free(struct kvs_serve *serve); /* the blocks stay; accepts NULL */

/* Of a prompt's n_tok tokens those in whole blocks that are kept: all but the last, at least. */
uint32_t kvs_serve_blocks(uint32_t n_tok, uint32_t block_tok);

/*
 * Looks a prompt up: how many of its first blocks are held. tok is borrowed until it was kept. A
 * prompt that waits already is looked up before the one that ran is kept, as the simulator admits
 * it: what is being written is of no use to it yet.
 */
uint32_t kvs_serve_find(struct kvs_serve *serve, const uint32_t *tok, uint32_t n_tok,
                        int64_t now_ns);
/*
 * Runs the prompt that was looked up last: in layer l the first cut[l] of the held blocks are
 * computed again (cut NULL: none). logits as kvs_exec_run has them. Blocks that left the store
 * since then are computed again, and so is all behind them.
 */
KVS_MUST_CHECK enum kvs_code kvs_serve_run(struct kvs_serve *serve, const uint32_t *cut,
                                           float *logits, struct kvs_exec_result *result,
                                           struct kvs_err *err);
/* Stores what was not held of the prompt that ran last; then the next may run. */
KVS_MUST_CHECK enum kvs_code kvs_serve_keep(struct kvs_serve *serve, int64_t now_ns,
                                            struct kvs_err *err);
void kvs_serve_stats(const struct kvs_serve *serve, struct kvs_tier_stats *stats);

#endif
