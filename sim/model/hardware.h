/*
 * hardware.h - a machine's figures, each with its source: GPU, memory, links, routes of the tiers.
 *
 * A profile is a file of configs/hardware (format: configs/README.md); kvprobe writes the same
 * format. A figure that is not known is null in the file and never zero: known is false then, and
 * who needs it says so. Values are SI: bytes, bytes per second, seconds, FLOP per second.
 */
#ifndef KVS_HARDWARE_H
#define KVS_HARDWARE_H

#include "measured.h"

/* How many of a link a cluster has: one a GPU, one a host, one for all. */
enum kvs_scope { KVS_SCOPE_GPU, KVS_SCOPE_HOST, KVS_SCOPE_CLUSTER };

struct kvs_hw_link {
    const char *name; /* "pcie", "dram", "nvme", "nic" */
    enum kvs_scope scope;
    struct kvs_figure read_bytes_per_s;  /* asymptotic rate towards the GPU */
    struct kvs_figure write_bytes_per_s; /* away from it */
    struct kvs_figure latency_s; /* paid once a load; also one descriptor's, when it goes alone */
    struct kvs_figure descriptor_s; /* fixed cost a descriptor, after overlap at full concurrency */
};

#define KVS_MAX_LINK 16
#define KVS_MAX_HOP 6
#define KVS_MAX_SERVING 8

/* A tier's path to the GPU, storage side first. */
struct kvs_hw_tier {
    const char *name; /* "dram", "nvme", "remote" */
    enum kvs_scope scope;
    uint64_t capacity_bytes; /* of one such tier, as the profile's machine has it; 0: not stated */
    struct kvs_figure capacity;
    uint32_t n_hop;
    uint32_t hop[KVS_MAX_HOP]; /* indices of links */
};

/*
 * What operators cost on one GPU; cost.h says how the figures are used. The first four are data
 * sheet, the rest are measured or fitted.
 */
struct kvs_hw_gpu {
    struct kvs_figure memory_bytes;        /* HBM */
    struct kvs_figure peak_flop_per_s;     /* dense BF16 */
    struct kvs_figure peak_fp8_flop_per_s; /* dense FP8; unknown: GEMMs run in BF16 */
    struct kvs_figure mem_bytes_per_s;
    struct kvs_figure usable_frac;    /* share of HBM that weights, activations and KV may fill */
    struct kvs_figure gemm_eff;       /* share of the peak that large GEMMs reach */
    struct kvs_figure gemm_half_rows; /* rows at which a GEMM reaches half of that */
    struct kvs_figure mem_eff;        /* share of mem_bytes_per_s that streams reach */
    struct kvs_figure launch_s;       /* floor of one operator, and what two have between them */
    struct kvs_figure moe_eff;        /* share of gemm_eff that grouped expert GEMMs reach */
    struct kvs_figure attn_eff;       /* share of the peak that attention reaches */
    struct kvs_figure attn_half_rows; /* rows (queries times heads a KV head) of padding */
    struct kvs_figure attn_tail_tok;  /* keys' worth of work that each query pays besides */
    struct kvs_figure
        allreduce_bytes_per_s;             /* bus rate of a large all-reduce over the host's GPUs */
    struct kvs_figure allreduce_latency_s; /* of a small one */
};

/*
 * What a serving system adds to the operators: the engine's step, tokenising and hashing the
 * prompt, scheduling, gateways. It belongs to a deployment, not to a GPU; the first one listed is
 * the default.
 */
struct kvs_hw_serving {
    const char *name;            /* "vllm" */
    struct kvs_strs of;          /* publications that measured with it */
    uint64_t chunk_tok;          /* prefill chunk */
    struct kvs_figure request_s; /* once a request */
    struct kvs_figure tok_s;     /* each token of the prompt, computed or not */
    struct kvs_figure step_s;    /* each forward pass */
    /* of a cache below HBM that works in the forward pass, so that the GPU waits for it; absent: 0
     */
    struct kvs_figure
        cache_request_s;           /* once a prompt: looking up, setting up, all ranks meeting */
    struct kvs_figure cache_tok_s; /* each of its tokens not in HBM: loaded, or stored */
};

struct kvs_hw {
    const char *name;
    uint32_t gpus_per_host;
    uint32_t n_link, n_tier, n_serving;
    struct kvs_hw_link link[KVS_MAX_LINK];
    struct kvs_hw_tier tier[KVS_MAX_LINK];
    struct kvs_hw_serving serving[KVS_MAX_SERVING];
    struct kvs_hw_gpu *gpu; /* NULL: no GPU, or none that was measured */
    uint32_t n_measured;    /* layers as they were measured: "compute" */
    struct kvs_measured measured[KVS_MAX_MEASURED];
    struct kvs_strs aliases;   /* other names of this GPU, in published tables */
    struct kvs_strs fitted_on; /* ids of the published rows that figures were fitted on */
    struct kvs_doc *doc;       /* what the strings are borrowed from */
};

KVS_MUST_CHECK enum kvs_code kvs_hw_open(const char *name_or_file, struct kvs_hw **hw,
                                         struct kvs_err *err);
/* The same from a document, which it takes, also when it fails. */
KVS_MUST_CHECK enum kvs_code kvs_hw_from(struct kvs_doc *doc, struct kvs_hw **hw,
                                         struct kvs_err *err);
void kvs_hw_free(struct kvs_hw *hw); /* accepts NULL */

/* A link or a tier by name; NULL: none. */
const struct kvs_hw_link *kvs_hw_link(const struct kvs_hw *hw, const char *name);
const struct kvs_hw_tier *kvs_hw_tier(const struct kvs_hw *hw, const char *name);

/*
 * Seconds that n_bytes in n_descriptor pieces take on one link alone, without its latency:
 *
 *     n_descriptor * descriptor_s + n_bytes / rate
 */
double kvs_link_s(const struct kvs_hw_link *link, bool write, double n_bytes, double n_descriptor);

#endif
