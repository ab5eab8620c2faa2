/*
 * make_cost.h - models and machines made up for tests, through the real readers.
 */
#ifndef KVS_MAKE_COST_H
#define KVS_MAKE_COST_H

#include "base/rng.h"
#include "model/cost.h"

/* Figures of a made-up GPU; the names are those of the profile. */
struct made_gpu {
    double memory_bytes, peak_flop_per_s, mem_bytes_per_s, usable_frac;
    double gemm_eff, gemm_half_rows, mem_eff, launch_s, moe_eff;
    double attn_eff, attn_half_rows, attn_tail_tok;
    double allreduce_bytes_per_s, allreduce_latency_s;
};

/* 1 FLOP and 1 byte a nanosecond, nothing else costs anything. */
struct made_gpu made_plain_gpu(void);
struct made_gpu made_random_gpu(struct kvs_rng *rng);
/* With no links; fails the test on an error. */
struct kvs_hw *made_hw(const struct made_gpu *gpu);

struct kvs_model *made_model(const char *json); /* fails the test on an error */
/* Any of grouped-query, latent, mixture, windowed; at most 8 heads' parallelism. */
struct kvs_model *made_random_model(struct kvs_rng *rng);

#endif
