/*
 * settings.h - a configuration as serving systems spell it: LMCache's YAML, vLLM's and SGLang's
 * options, each with what it says.
 *
 * Names are those of the documentation: docs.lmcache.ai (Configuring LMCache), docs.vllm.ai (KV
 * Offloading Usage Guide), docs.sglang.io (HiCache Best Practices), looked up in November 2026.
 */
#ifndef KVS_SETTINGS_H
#define KVS_SETTINGS_H

#include "space.h"

#include <stdio.h>

struct kvs_settings {
    uint64_t gpus_of_host; /* that serve */
    uint32_t tp;
    uint64_t dram_bytes, drive_bytes; /* of one host; 0: no such tier */
    uint64_t chunk_tok, max_batch;
};

void kvs_settings_print(const struct kvs_settings *settings, FILE *to);

#endif
