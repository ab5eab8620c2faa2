/*
 * settings.h - a configuration as serving systems spell it: LMCache's YAML, vLLM's and SGLang's
 * options, each with what it says.
 *
 * Names and units were looked up in November 2026 in:
 *
 *   LMCache    docs.lmcache.ai/api_reference/configurations.html: chunk_size (256), local_cpu,
 *              max_local_cpu_size and max_local_disk_size (GB), local_disk ("file://..."),
 *              save_decode_cache, min_retrieve_tokens (0: any hit is loaded)
 *   vLLM       docs.vllm.ai, Engine Arguments: --max-num-batched-tokens, --max-num-seqs,
 *              --tensor-parallel-size; KV Offloading Usage Guide: OffloadingConnector,
 *              cpu_bytes_to_use (bytes over all workers of an instance), block_size (tokens),
 *              TieringOffloadingSpec with secondary_tiers of type fs
 *   SGLang     docs.sglang.io, Server Arguments: --chunked-prefill-size, --max-running-requests,
 *              --tp-size; HiCache Best Practices: --page-size, --enable-hierarchical-cache,
 *              --hicache-size (GB a rank), --hicache-write-policy, --hicache-io-backend,
 *              --hicache-mem-layout, --hicache-storage-backend; prefetch_threshold (tokens) of
 *              --hicache-storage-backend-extra-config
 */
#ifndef KVS_SETTINGS_H
#define KVS_SETTINGS_H

#include "space.h"

#include <stdio.h>

struct kvs_settings {
    uint64_t gpus_of_host; /* that serve */
    uint32_t tp;
    uint64_t dram_bytes, drive_bytes; /* of one host; 0: no such tier */
    /* the fewest tokens that are loaded from there sooner than computed; 0: not known */
    uint32_t dram_threshold_tok, drive_threshold_tok;
    uint64_t chunk_tok, max_batch;
};

void kvs_settings_print(const struct kvs_settings *settings, FILE *to);

#endif
