/*
 * space.h - configurations that may be bought: GPUs of a type, DRAM, drives and network; their
 * cost.
 *
 * Replicas run on hosts of the GPU's hardware profile, as many as they need. DRAM and drives are
 * those of the KV tiers, the same in every host; 0 leaves the tier out. All else of the tiers is as
 * the workload has it.
 */
#ifndef KVS_SPACE_H
#define KVS_SPACE_H

#include "prices.h"
#include "spec.h"

#define KVS_MAX_CHOICE 32
#define KVS_HOURS_A_YEAR 8766.0

/* What is chosen. The first four are numbers, ascending; the others are names in a list. */
enum kvs_dim {
    KVS_DIM_REPLICAS,
    KVS_DIM_TP,
    KVS_DIM_DRAM,      /* bytes a host */
    KVS_DIM_DRIVES,    /* a host */
    KVS_DIM_GPU,       /* prices->gpu */
    KVS_DIM_DRIVE,     /* prices->drive: which, where there are any */
    KVS_DIM_NIC,       /* prices->nic */
    KVS_DIM_LEVEL,     /* space->name: level at which drives hold KV */
    KVS_DIM_PLACEMENT, /* space->name: how drives' blocks lie over hosts */
    KVS_N_DIM
};
#define KVS_DIM_ORDERED 4                         /* dimensions of numbers */
extern const char *const kvs_dim_name[KVS_N_DIM]; /* options of kvsim recommend */

/* A dimension that is left as the workload and its hardware have it. */
#define KVS_AS_IT_IS UINT64_MAX

struct kvs_space {
    uint32_t n[KVS_N_DIM];
    uint64_t choice[KVS_N_DIM][KVS_MAX_CHOICE];  /* a number, or an index of its list */
    const char *name[KVS_N_DIM][KVS_MAX_CHOICE]; /* of levels and placements */
    const json_t *tier[2];                       /* the workload's dram and nvme; may be NULL */
    const struct kvs_prices *prices;
};

/* A configuration: which choice of each dimension. Its number counts the last fastest. */
struct kvs_choice {
    uint32_t i[KVS_N_DIM];
};
uint64_t kvs_space_n(const struct kvs_space *space);
struct kvs_choice kvs_space_at(const struct kvs_space *space, uint64_t number);
uint64_t kvs_space_number(const struct kvs_space *space, struct kvs_choice choice);
/* Whether it is a configuration of its own that can be had: no choice among drives where there are
 * none, no more DRAM and drives than are sold or come with the GPUs. */
bool kvs_space_offered(const struct kvs_space *space, struct kvs_choice choice);

/* The value of one dimension, and what was chosen from the prices. */
uint64_t kvs_space_value(const struct kvs_space *space, struct kvs_choice choice, enum kvs_dim dim);
const struct kvs_priced_gpu *kvs_space_gpu(const struct kvs_space *space, struct kvs_choice choice);
const struct kvs_priced_drive *kvs_space_drive(const struct kvs_space *space,
                                               struct kvs_choice choice);

/*
 * Whether a has at most what b has of everything, with GPUs of one type and number a replica, and
 * drives' KV of one level and placement. Then b is taken to do no worse.
 */
bool kvs_space_no_larger(const struct kvs_space *space, struct kvs_choice a, struct kvs_choice b);
/* The largest with as many replicas of the same GPUs, level and placement, of those offered. */
struct kvs_choice kvs_space_ceiling(const struct kvs_space *space, struct kvs_choice choice);
/* Those one step of one dimension away, of those offered, or with another name of its list. */
#define KVS_MAX_NEIGHBOUR (KVS_N_DIM * KVS_MAX_CHOICE)
uint32_t kvs_space_neighbours(const struct kvs_space *space, uint64_t number,
                              uint64_t neighbour[KVS_MAX_NEIGHBOUR]);

struct kvs_cost_hour {
    double gpu, dram, drives, nic, power, all; /* per hour, in the prices' currency */
    double invest;                             /* all hardware that is bought, once */
    uint32_t hosts;
};
struct kvs_cost_hour kvs_space_cost(const struct kvs_space *space, struct kvs_choice choice);

/* The space as a sweep over its points: JSON text that the caller frees. NULL: no memory. */
char *kvs_space_sweep(const struct kvs_space *space, const char *workload);
/* "4 x 2 h100-sxm, 1 host, 512 GiB DRAM, 4 x 3.84TB" into text, which is returned. */
#define KVS_CHOICE_TEXT 200
char *kvs_space_text(const struct kvs_space *space, struct kvs_choice choice,
                     char text[KVS_CHOICE_TEXT]);

#endif
