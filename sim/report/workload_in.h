/*
 * workload_in.h - what a workload file holds, section by section, and who reads each: for the files
 * of workload.h alone.
 */
#ifndef KVS_WORKLOAD_IN_H
#define KVS_WORKLOAD_IN_H

#include "arrivals.h"
#include "plan/repair.h"
#include "workload.h"

#define N(table) ((unsigned)(sizeof(table) / sizeof *(table)))
#define KVS_WL_N_NAME 64     /* that a list of names may have */
#define KVS_WL_NETWORK "nic" /* default of settings that name a link between hosts */
#define KVS_WL_OWN_REPAIR 4  /* planners with a repair of their own, at most */

struct kvs_wl_top {
    const char *kvsim, *about, *model, *hardware;
    struct kvs_json hardware_set, trace, arrivals, cluster, tiers, planner, slo, warmup, compare,
        output;
    uint64_t seed;
};

struct kvs_wl_cluster {
    uint64_t replicas, decode_replicas, tp, max_batch, chunk_tok, prefill_batch, max_pending_loads;
    double repoll_s;
    const char *layout, *serving, *handover_link, *router, *scheduler, *hbm_evict;
    int reuse, preemption;
    bool hbm_cache;
};

struct kvs_wl_tier {
    const char *name, *level, *evict, *admit;
    uint64_t capacity, admit_n, replicas, hot_reads;
    double admit_share;
    int write, placement;
    const char *network;
    struct kvs_json nodes_lost, states;
};

struct kvs_wl_planner {
    uint64_t fractions, decoders;
    const char *repair, *codec, *quality;
    double budget;
};

struct kvs_wl_slo {
    double ttft_s, tpot_s;
};

struct kvs_wl_warmup {
    int cut;
    uint64_t requests;
    double time;
};

struct kvs_wl_output {
    bool plots;
    uint64_t timeline_requests;
    double bin;
};

struct kvs_workload_in {
    struct kvs_doc *doc;
    struct kvs_model *model;
    struct kvs_hw *hw;
    struct kvs_cost *cost;
    char *name;
    struct kvs_wl_top top;
    struct kvs_arrivals_in arrivals;
    struct kvs_wl_cluster cluster;
    struct kvs_wl_tier tier[KVS_MAX_TIER];
    struct kvs_wl_planner planner;
    struct kvs_repair_menu repair; /* of planners without a repair of their own; and of those */
    struct kvs_wl_own_repair {
        const struct kvs_planner_ops *planner; /* NULL: no more */
        struct kvs_repair_menu menu;
        bool known; /* what it loses */
    } own_repair[KVS_WL_OWN_REPAIR];
    struct kvs_levels *levels;       /* that tiers store at; NULL: raw only */
    uint8_t state_at[KVS_MAX_LAYER]; /* 1: tiers with states keep those that enter this layer */
    struct kvs_wl_slo slo;
    struct kvs_wl_warmup warmup;
    struct kvs_wl_output output;
};

/* --- sections: each reads its table into in and what follows from it into sim -------------------
 */
KVS_MUST_CHECK enum kvs_code kvs_wl_read_cluster(struct kvs_workload_in *in,
                                                 struct kvs_sim_config *sim, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_wl_read_tiers(struct kvs_workload_in *in,
                                               struct kvs_sim_config *sim, struct kvs_err *err);
/* After the two above: levels belong to tiers, repair to a cluster's reuse. */
KVS_MUST_CHECK enum kvs_code kvs_wl_read_planner(struct kvs_workload_in *in,
                                                 struct kvs_sim_config *sim, struct kvs_err *err);
/* Policies of `compare` that repair in their own way do so under a repair, by a known method. */
KVS_MUST_CHECK enum kvs_code kvs_wl_check_repair(const struct kvs_workload *workload,
                                                 struct kvs_err *err);
/* A section with every setting, defaults included; NULL: no memory. */
json_t *kvs_wl_record_cluster(const struct kvs_workload_in *in);
json_t *kvs_wl_record_tier(const struct kvs_workload *workload, uint32_t i);
json_t *kvs_wl_record_planner(const struct kvs_workload_in *in);

/* --- names that a file gives to things ----------------------------------------------------------
 */
/* Fails: found "lruu", want one of lru, fifo, s3fifo; did you mean "lru"? */
KVS_MUST_CHECK enum kvs_code kvs_wl_unknown(struct kvs_json node, struct kvs_err *err,
                                            const char *found, const char *const *names,
                                            uint32_t n);
/* A failure of another room, told with the place in the workload file. */
enum kvs_code kvs_wl_fail_at(struct kvs_json node, struct kvs_err *err, enum kvs_code code,
                             const struct kvs_err *inner);
KVS_MUST_CHECK enum kvs_code kvs_wl_evict(struct kvs_json node, const char *name,
                                          const struct kvs_evict_ops **evict, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_wl_link(struct kvs_json node, const struct kvs_hw *hw,
                                         const char *name, uint32_t *link_i, struct kvs_err *err);
/* A shape's or profile's name as it stands, or its path from the workload file's folder. NULL: no
 * memory. */
char *kvs_wl_name_or_path(const struct kvs_workload_in *in, const char *name);
/* The same for the room that opens it, which the caller frees; a path that leads nowhere fails. */
KVS_MUST_CHECK enum kvs_code kvs_wl_find_file(const struct kvs_workload_in *in,
                                              struct kvs_json node, const char *name, char **file,
                                              struct kvs_err *err);
/* A name as it stands; a file spelled so that it is found from anywhere. NULL: no memory. */
json_t *kvs_wl_record_name(const struct kvs_workload_in *in, const char *name);
json_t *kvs_wl_record_path(const struct kvs_workload_in *in, const char *file);

#endif
