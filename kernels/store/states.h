/*
 * states.h - hidden states: what enters a layer, the residual stream, kept so that K and V can be
 * projected from it later (HCache), or the layers from there on be computed.
 */
#ifndef KVS_STORE_STATES_H
#define KVS_STORE_STATES_H

#include "../forward.h"
#include "store.h"

/* Of layers first_layer to first_layer + n_layer - 1; from kvs_states_new, ended by _free. */
struct kvs_states {
    uint32_t first_layer, n_layer, n_tok, hidden;
    uint16_t *x; /* bf16 [n_layer][n_tok][hidden] */
};

/*
 * Computes a prompt from its first token on, in batches of at most max_row tokens, and keeps what
 * enters those layers; forward's cache holds its K and V then, slot j being position j. Waits.
 */
KVS_MUST_CHECK enum kvs_code kvs_states_new(struct kvs_forward *forward, struct kvs_stream *stream,
                                            const uint32_t *tok, uint32_t n_tok,
                                            uint32_t first_layer, uint32_t n_layer,
                                            struct kvs_states **states, struct kvs_err *err);
void kvs_states_free(struct kvs_states *states); /* accepts NULL */

/* "hidden" of all n_model layers, "hidden-A-B" of layers A to B. */
void kvs_states_tag(uint32_t first_layer, uint32_t n_layer, uint32_t n_model,
                    char tag[KVS_TAG_MAX]);
/* "all", "A-B", "A", layers counted from 0, below n_model. what names the text in messages. */
KVS_MUST_CHECK enum kvs_code kvs_states_parse(const char *what, const char *text, uint32_t n_model,
                                              uint32_t *first_layer, uint32_t *n_layer,
                                              struct kvs_err *err);

#endif
