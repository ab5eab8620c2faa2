/*
 * cost_in.h - what cost_new.c makes and cost.c adds up.
 */
#ifndef KVS_COST_IN_H
#define KVS_COST_IN_H

#include "cost.h"

#define ACT_BYTES 2.0 /* activations travel in 16 bits */
/*
 * Few queries take a kernel that splits the keys over the GPU (flash decoding): it pads to one tile
 * of rows and computes at a share of the prefill kernel's rate. Reading the keys costs more on
 * every GPU we have a profile of, so neither number shows but where attn_half_rows is large.
 */
#define DECODE_ROWS 16.0
#define DECODE_EFF 0.25
#define MAX_GEMM 8
#define MAX_CLASS 4

/* One GEMM as max of two affine functions of its rows: compute and memory. */
struct gemm {
    double flop_s0, flop_s; /* seconds of the padding, and of a row */
    double mem_s0, mem_s;   /* seconds of the weights, and of a row in and out */
};

/* The routed experts of a layer: one grouped GEMM a projection over all experts that are hit. */
struct experts {
    double n;
    double log_miss;        /* log of the chance that a token misses a given expert */
    double flop_s0, flop_s; /* seconds of the padding, and of a token's active experts */
    double mem_s0, mem_s;   /* seconds of one expert's weights, and of a token in and out */
};

/* Costs of one layer of a class; see kvs_cost_new for how they come about. */
struct layer {
    const struct kvs_measured *measured; /* NULL: composed of what follows */
    bool moe;
    double window; /* 0: none */
    uint32_t n_gemm;
    struct gemm gemm[MAX_GEMM];
    struct experts experts;
    double launch_s; /* all operators but attention */
    double stream_s; /* of one token: norms, RoPE, activation, residuals */
    /* attention, of one query with its padding and one key, by two kernels */
    double key_flop_s[2], half_q[2];
    double tail_tok;
    double key_mem_s; /* of one key and value read */
};

struct kvs_cost {
    const struct kvs_model *model;
    const struct kvs_hw *hw;
    uint32_t tp, n_class;
    uint8_t class_of[256];
    struct layer layer[MAX_CLASS];
    struct gemm kv_gemm, head_gemm;
    double kv_stream_s, shift_stream_s, embed_s;
    double launch_s, reduce_s0, reduce_s;
    const struct kvs_measured *head; /* begins of passes, and logits, as measured; NULL: neither */
    double n_of_class[MAX_CLASS];
};

#endif
