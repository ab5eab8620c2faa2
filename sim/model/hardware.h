/*
 * hardware.h - a machine's figures, each with its source: GPU, memory, links, routes of the tiers.
 */
#ifndef KVS_HARDWARE_H
#define KVS_HARDWARE_H

#include "base/json.h"

enum kvs_source { KVS_ASSUMED, KVS_PUBLISHED, KVS_FITTED, KVS_MEASURED };

/* One figure of a profile: value in SI units, source, its reference, and a relative error bar (0:
 * none stated). */
struct kvs_figure {
    double value;
    double rel_error;
    enum kvs_source source;
    const char *ref; /* borrowed from the profile; "" if none */
};

/* How many of a link a cluster has: one a GPU, one a host, one for all. */
enum kvs_scope { KVS_SCOPE_GPU, KVS_SCOPE_HOST, KVS_SCOPE_CLUSTER };

struct kvs_hw_link {
    const char *name; /* "pcie", "dram", "nvme", "nic" */
    enum kvs_scope scope;
    struct kvs_figure read_bytes_per_s;  /* asymptotic rate towards the GPU */
    struct kvs_figure write_bytes_per_s; /* away from it */
    struct kvs_figure latency_s;         /* paid once a load */
    struct kvs_figure descriptor_s; /* fixed cost a descriptor, after overlap at full concurrency */
};

#define KVS_MAX_LINK 16
#define KVS_MAX_HOP 6

/* A tier's path to the GPU, storage side first. */
struct kvs_hw_tier {
    const char *name; /* "dram", "nvme", "remote" */
    enum kvs_scope scope;
    uint64_t capacity_bytes; /* of one such tier, as the profile's machine has it; 0: not stated */
    uint32_t n_hop;
    uint32_t hop[KVS_MAX_HOP]; /* indices of links */
};

struct kvs_hw {
    const char *name;
    uint32_t gpus_per_host;
    double gpu_mem_bytes; /* HBM of one GPU */
    uint32_t n_link, n_tier;
    struct kvs_hw_link link[KVS_MAX_LINK];
    struct kvs_hw_tier tier[KVS_MAX_LINK];
    struct kvs_hw_gpu *gpu; /* operator parameters, cost.c's business */
    struct kvs_doc *doc;    /* what the strings are borrowed from */
};

KVS_MUST_CHECK enum kvs_code kvs_hw_open(const char *name_or_file, struct kvs_hw **hw,
                                         struct kvs_err *err);
void kvs_hw_free(struct kvs_hw *hw); /* accepts NULL */

/*
 * Seconds that n_bytes in n_descriptor pieces take on one link alone, without its latency:
 *
 *     n_descriptor * descriptor_s + n_bytes / rate
 */
double kvs_link_s(const struct kvs_hw_link *link, bool write, double n_bytes, double n_descriptor);

#endif
