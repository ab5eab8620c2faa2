/*
 * space.h - configurations that may be bought: replicas, DRAM and drives of each host; their cost.
 *
 * Replicas run on hosts of the workload's hardware profile, as many as they need. DRAM and drives
 * are those of the KV tiers, the same in every host; 0 leaves the tier out.
 */
#ifndef KVS_SPACE_H
#define KVS_SPACE_H

#include "prices.h"
#include "spec.h"

#define KVS_MAX_CHOICE 32
#define KVS_HOURS_A_YEAR 8766.0

enum kvs_dim { KVS_DIM_REPLICAS, KVS_DIM_DRAM, KVS_DIM_DRIVES, KVS_N_DIM };
extern const char *const kvs_dim_name[KVS_N_DIM]; /* "replicas", "dram", "drives" */

struct kvs_space {
    uint32_t n[KVS_N_DIM];
    uint64_t choice[KVS_N_DIM][KVS_MAX_CHOICE]; /* ascending; DRAM in bytes */
    uint32_t tp, gpus_per_host;
    const struct kvs_prices *prices;
};

/* A configuration: which choice of each dimension. Its number counts the last fastest. */
struct kvs_choice {
    uint32_t i[KVS_N_DIM];
};
uint64_t kvs_space_n(const struct kvs_space *space);
struct kvs_choice kvs_space_at(const struct kvs_space *space, uint64_t number);
uint64_t kvs_space_number(const struct kvs_space *space, struct kvs_choice choice);

struct kvs_cost_hour {
    double gpu, dram, drives, power, all; /* per hour, in the prices' currency */
    double invest;                        /* all hardware, once */
    uint32_t hosts;
};
struct kvs_cost_hour kvs_space_cost(const struct kvs_space *space, struct kvs_choice choice);

/* The space as a sweep over its points: JSON text that the caller frees. NULL: no memory. */
char *kvs_space_sweep(const struct kvs_space *space, const char *workload);
/* "4 replicas on 2 hosts, each 512 GiB of DRAM and 4 drives" into text, which is returned. */
#define KVS_CHOICE_TEXT 120
char *kvs_space_text(const struct kvs_space *space, struct kvs_choice choice,
                     char text[KVS_CHOICE_TEXT]);

#endif
