/*
 * feed.h - the executor's read and decode threads; for kernels/exec only.
 *
 * A feed brings the layers that load, a run of layers down to the last, in their order: a thread
 * reads them into a ring of section slots, another decodes them into a ring of row slots, and
 * whoever opened the feed takes the rows and gives their slot back. The first failure stops it all.
 */
#ifndef KVS_EXEC_FEED_H
#define KVS_EXEC_FEED_H

#include "exec.h"

struct kvs_feed; /* from kvs_feed_new, ended by kvs_feed_end */

struct kvs_feed_in {
    const struct kvs_exec_plan *plan;
    struct kvs_store *store;
    const struct kvs_weights_shape *shape; /* of the model */
    struct kvs_reader_opt reader;
    const struct kvs_kvf_isa *isa;
    int64_t latency_ns;
    uint32_t first_layer;            /* that loads */
    uint8_t *section, *row;          /* the rings' memory, page-aligned */
    size_t section_bytes, row_bytes; /* of a slot */
    uint32_t n_section, n_row;       /* slots */
};

/* Tokens that a layer loads, and whether as hidden states. */
uint32_t kvs_feed_n_tok(const struct kvs_exec_plan *plan, uint32_t layer);
bool kvs_feed_hidden(const struct kvs_exec_plan *plan, uint32_t layer);
/* Bytes of the sections and of the decoded rows of a layer. */
size_t kvs_feed_section_bytes(const struct kvs_exec_plan *plan, uint32_t layer);
size_t kvs_feed_row_bytes(const struct kvs_exec_plan *plan, uint32_t layer,
                          const struct kvs_weights_shape *shape);

/* Threads that wait for kvs_feed_go. KVS_ERR_CHECK: a block is not held, or is another model's. */
KVS_MUST_CHECK enum kvs_code kvs_feed_new(const struct kvs_feed_in *in, struct kvs_feed **feed,
                                          struct kvs_err *err);
void kvs_feed_go(struct kvs_feed *feed, int64_t begin_ns);
/*
 * Waits for the next layer: its rows, K of the loaded blocks one after another, then V, bf16; or
 * their hidden states. They stay until the caller gives them back; layers are given back in their
 * order.
 */
KVS_MUST_CHECK enum kvs_code kvs_feed_next(struct kvs_feed *feed, const uint8_t **row,
                                           struct kvs_err *err);
void kvs_feed_back(struct kvs_feed *feed);
/* Stops and joins; adds times and counts to result. false: a read never ended, so that the rings'
 * memory may still be written and must be left alone for ever. Accepts NULL. */
bool kvs_feed_end(struct kvs_feed *feed, struct kvs_exec_result *result);

#endif
