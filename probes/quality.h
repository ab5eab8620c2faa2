/*
 * quality.h - what stored keys and values at a level do to a model's next tokens.
 *
 * A text is context_tok tokens, whose K and V are cached and changed, and window_tok more, which
 * the model is made to read behind them (teacher forcing). Its distributions behind the cache as it
 * was computed are the reference: KL(reference || changed) in nats a token, the share of tokens
 * whose most likely next one stays (greedy agreement), and where it first does not. K and V are
 * 16-bit on the device, steps are weighted by the model's matrices (kernels/codec/weigh.h), as
 * stores have them.
 */
#ifndef KVS_PROBES_QUALITY_H
#define KVS_PROBES_QUALITY_H

#include "kernels/codec/codec.h"
#include "kernels/weights/weights.h"

struct kvs_quality_config {
    const char *backend; /* of kernels/device.h */
    int index;
    const struct kvs_weights *weights; /* borrowed until close */
    uint32_t context_tok, window_tok, block_tok, n_sink;
};

struct kvs_quality_score {
    double kl;          /* nats, mean over the window */
    double agreement;   /* share of the window */
    uint32_t first_tok; /* of the window that disagrees; window_tok: none */
};

struct kvs_lab; /* from kvs_lab_open, ended by kvs_lab_close */

KVS_MUST_CHECK enum kvs_code kvs_lab_open(const struct kvs_quality_config *config,
                                          struct kvs_lab **lab, struct kvs_err *err);
void kvs_lab_close(struct kvs_lab *lab); /* accepts NULL */

/* A text of the model's own, drawn from its distributions by the seed: n_tok tokens, at most
 * context_tok + window_tok. */
KVS_MUST_CHECK enum kvs_code kvs_lab_sample(struct kvs_lab *lab, uint64_t seed, uint32_t *tok,
                                            uint32_t n_tok, struct kvs_err *err);
/* Takes a text of context_tok + window_tok tokens: computes K and V, and the reference. *nll (may
 * be NULL): nats a token of the window, by the reference. */
KVS_MUST_CHECK enum kvs_code kvs_lab_read(struct kvs_lab *lab, const uint32_t *tok, double *nll,
                                          struct kvs_err *err);
/* Encodes the context's K and V, part p (K of layer 0, V of layer 0, ..) at level[p]: what changing
 * them means from here on. *bits (may be NULL): stored bits an element, all but padding and sinks.
 * weighted: as stores do; false: steps follow the deviation alone.
 */
KVS_MUST_CHECK enum kvs_code kvs_lab_encode(struct kvs_lab *lab, const uint8_t *level,
                                            bool weighted, double *bits, struct kvs_err *err);
/* K and V as computed: [n_layer * 2] of [context_tok][n_chan]; and the weights of channels. */
const uint16_t *const *kvs_lab_kv(const struct kvs_lab *lab);
const float *const *kvs_lab_weight(const struct kvs_lab *lab);
/* Reads the window with parts [first, first + n) changed, the rest as computed. */
KVS_MUST_CHECK enum kvs_code kvs_lab_score(struct kvs_lab *lab, uint32_t first, uint32_t n,
                                           struct kvs_quality_score *score, struct kvs_err *err);

/* Computes the context as passages of passage_tok tokens, each by itself from position 0, and moves
 * them to where they stand, keys turned: what changing it means from here on, until the next
 * encode. The first passage stands where it was computed. */
KVS_MUST_CHECK enum kvs_code kvs_lab_move(struct kvs_lab *lab, uint32_t passage_tok,
                                          struct kvs_err *err);
/* Reads the window behind those, the first repair_tok tokens of each but the first passage computed
 * again in their place (EPIC, CacheBlend). */
KVS_MUST_CHECK enum kvs_code kvs_lab_score_moved(struct kvs_lab *lab, uint32_t passage_tok,
                                                 uint32_t repair_tok,
                                                 struct kvs_quality_score *score,
                                                 struct kvs_err *err);

#endif
