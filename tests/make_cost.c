#include "test.h"

#include "make_cost.h"

#include <stdio.h>
#include <string.h>

struct made_gpu made_plain_gpu(void)
{
    return (struct made_gpu){
        .memory_bytes = 1e15,
        .peak_flop_per_s = 1e9,
        .mem_bytes_per_s = 1e9,
        .usable_frac = 1,
        .gemm_eff = 1,
        .mem_eff = 1,
        .moe_eff = 1,
        .attn_eff = 1,
        .allreduce_bytes_per_s = 1e9,
    };
}

static double between(struct kvs_rng *rng, double low, double high)
{
    return low + (high - low) * kvs_rng_unit(rng);
}

struct made_gpu made_random_gpu(struct kvs_rng *rng)
{
    return (struct made_gpu){
        .memory_bytes = 1e15,
        .peak_flop_per_s = between(rng, 1e12, 3e15),
        .mem_bytes_per_s = between(rng, 1e11, 1e13),
        .usable_frac = between(rng, 0.5, 1),
        .gemm_eff = between(rng, 0.1, 1),
        .gemm_half_rows = between(rng, 0, 300),
        .mem_eff = between(rng, 0.3, 1),
        .launch_s = between(rng, 0, 1e-5),
        .moe_eff = between(rng, 0.2, 1),
        .attn_eff = between(rng, 0.1, 1),
        .attn_half_rows = between(rng, 0, 2000),
        .attn_tail_tok = between(rng, 0, 500),
        .allreduce_bytes_per_s = between(rng, 1e10, 1e12),
        .allreduce_latency_s = between(rng, 0, 1e-4),
    };
}

struct kvs_hw *made_hw(const struct made_gpu *gpu)
{
    static const char *const names[] = {
        "memory_bytes",
        "peak_flop_per_s",
        "mem_bytes_per_s",
        "usable_frac",
        "gemm_eff",
        "gemm_half_rows",
        "mem_eff",
        "launch_s",
        "moe_eff",
        "attn_eff",
        "attn_half_rows",
        "attn_tail_tok",
        "allreduce_bytes_per_s",
        "allreduce_latency_s",
    };
    const double values[] = {
        gpu->memory_bytes,
        gpu->peak_flop_per_s,
        gpu->mem_bytes_per_s,
        gpu->usable_frac,
        gpu->gemm_eff,
        gpu->gemm_half_rows,
        gpu->mem_eff,
        gpu->launch_s,
        gpu->moe_eff,
        gpu->attn_eff,
        gpu->attn_half_rows,
        gpu->attn_tail_tok,
        gpu->allreduce_bytes_per_s,
        gpu->allreduce_latency_s,
    };
    char text[4096];
    int n = snprintf(text, sizeof text,
                     "{\"schema\": \"kvsim.profile\", \"schema_version\": \"1.0.0\", \"name\": "
                     "\"made\", \"gpus_per_host\": 8, \"links\": [], \"tiers\": [], \"gpu\": {");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        n += snprintf(text + n, sizeof text - (size_t)n,
                      "%s\"%s\": {\"value\": %.17g, \"source\": \"assumed\"}", i ? ", " : "",
                      names[i], values[i]);
    snprintf(text + n, sizeof text - (size_t)n, "}}");
    struct kvs_doc *doc;
    struct kvs_hw *hw = NULL;
    struct kvs_err err = {0};
    if (kvs_doc_parse("made.json", text, strlen(text), &doc, &err) || kvs_hw_from(doc, &hw, &err))
        fail_msg("%s", err.msg);
    return hw;
}

struct kvs_model *made_model(const char *json)
{
    struct kvs_doc *doc;
    struct kvs_model *model = NULL;
    struct kvs_err err = {0};
    if (kvs_doc_parse("made.json", json, strlen(json), &doc, &err) ||
        kvs_model_from(doc, &model, &err))
        fail_msg("%s", err.msg);
    return model;
}

struct kvs_model *made_random_model(struct kvs_rng *rng)
{
    char text[1024], part[4][200] = {"", "", "", ""};
    unsigned kv_heads = 8u << kvs_rng_below(rng, 2), layers = 1 + (unsigned)kvs_rng_below(rng, 9);
    unsigned experts = 2 + (unsigned)kvs_rng_below(rng, 200);
    if (kvs_rng_below(rng, 2))
        snprintf(part[0], sizeof part[0],
                 ", \"moe\": {\"experts\": %u, \"active\": %u, \"shared\": %u, \"expert_ffn\": 256,"
                 " \"dense_layers\": %u}",
                 experts, 1 + (unsigned)kvs_rng_below(rng, experts),
                 (unsigned)kvs_rng_below(rng, 2), (unsigned)kvs_rng_below(rng, 3));
    if (kvs_rng_below(rng, 3) == 0)
        snprintf(part[1], sizeof part[1],
                 ", \"mla\": {\"q_lora\": %u, \"kv_lora\": 512, \"rope_dim\": 64, \"nope_dim\": "
                 "128, \"v_dim\": 128}",
                 kvs_rng_below(rng, 2) ? 1536u : 0u);
    if (kvs_rng_below(rng, 3) == 0)
        snprintf(part[2], sizeof part[2], ", \"window\": {\"tokens\": %u, \"full_every\": %u}",
                 1 + (unsigned)kvs_rng_below(rng, 5000), (unsigned)kvs_rng_below(rng, 4));
    if (kvs_rng_below(rng, 2))
        snprintf(part[3], sizeof part[3], ", \"weight_bits\": 8, \"kv_bits\": 8");
    snprintf(text, sizeof text,
             "{\"name\": \"made\", \"source\": \"-\", \"layers\": %u, \"hidden\": %u, \"heads\": "
             "%u, \"kv_heads\": %u, \"head_dim\": 128, \"ffn\": %u, \"vocab\": 32000%s%s%s%s}",
             layers, 256 + 64 * (unsigned)kvs_rng_below(rng, 100),
             kv_heads * (1u << kvs_rng_below(rng, 4)), kv_heads,
             512 + 64 * (unsigned)kvs_rng_below(rng, 300), part[0], part[1], part[2], part[3]);
    return made_model(text);
}
