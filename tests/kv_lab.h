/*
 * kv_lab.h - SmolLM2's own keys and values, and what changing them does to its next-token
 * distribution: KL(reference || changed) over a continuation, in nats a token.
 */
#ifndef KVS_KV_LAB_H
#define KVS_KV_LAB_H

#include "kernels/forward.h"

enum { LAB_PREFIX = 1024, LAB_NEXT = 128 };

struct kv_lab {
    struct kvs_dev *dev;
    struct kvs_stream *stream;
    struct kvs_weights *weights;
    struct kvs_forward *forward;
    uint32_t n_layer, n_chan, n_vocab, tok[LAB_PREFIX + LAB_NEXT];
    uint16_t **x;      /* [n_layer * 2]: bf16, [LAB_PREFIX][n_chan]; K after RoPE */
    uint16_t **before; /* [n_layer]: K before RoPE */
    float *reference;  /* log-probabilities, [LAB_NEXT][n_vocab] */
    double nll;        /* of the reference, nats a token */
};
struct kv_score {
    double kl, kl_p99,
        top1;       /* mean; 99th percentile; share of positions with the same best token */
    double d_nll;   /* nats a token by which the text is less likely */
    uint32_t first; /* position whose best token is another; LAB_NEXT: none */
};

/* Line of tests/data/smollm2_text.txt: 0, test; 1, calibration. false: the model is not there. */
bool kv_lab_open(struct kv_lab *lab, int line);
void kv_lab_close(struct kv_lab *lab);
/* With y instead of x; NULL inside: as it is. y_before: K before RoPE. */
struct kv_score kv_lab_score(struct kv_lab *lab, uint16_t *const *y, bool y_before);
/* Turns K by RoPE; back: undoes it. [LAB_PREFIX][n_chan] as f32. */
void kv_lab_turn(const struct kv_lab *lab, float *k, bool back);

#endif
