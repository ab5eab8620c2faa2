/*
 * attend.h - what decoding does to attention: logits and outputs, with keys standing for queries.
 *
 * A store has no queries. For each KV head, the keys of n_query tokens, spread evenly over the
 * file, are taken for them as they were before coding, and each attends to all tokens before its
 * own; so the figures compare levels and files, they are not a model's own. A model's queries
 * differ from its keys: bench_kvf_quality.c measures what a model then says.
 */
#ifndef KVS_KVF_ATTEND_H
#define KVS_KVF_ATTEND_H

#include "codec.h"

struct kvs_kvf_attention {
    uint32_t n_query;     /* of each KV head of each layer; 0: fewer than two tokens */
    double logit_rms;     /* of q * k / sqrt(head_dim), less each query's mean error, which softmax
                             doesn't see */
    double output_rel_l2; /* |o - o'| / |o|, over all outputs */
    double output_cosine; /* mean over outputs */
};
/*
 * x: as for encoding. What is no finite number counts as 0. Time is n_query * n_tok * channels *
 * layers multiply-adds, four times. layer: [n_layer], of each; NULL: not wanted.
 */
KVS_MUST_CHECK enum kvs_code
kvs_kvf_attention(const struct kvs_kvf *codec, const uint16_t *const *x, uint32_t n_query,
                  const struct kvs_kvf_isa *isa, struct kvs_kvf_attention *attention,
                  struct kvs_kvf_attention *layer, struct kvs_err *err);

#endif
