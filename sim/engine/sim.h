/*
 * sim.h - replay of a trace on a described cluster under one policy: what loading stored KV would
 * do.
 *
 * The simulator owns the clock, the cluster's replicas, links and tiers, and every request from its
 * arrival to its last token. It pulls requests from a trace and hands each finished one to a sink;
 * what the numbers are written into is sim/report's business. Integer nanoseconds from the trace's
 * start; the same configuration, trace and seed give the same calls of the sink in the same order.
 */
#ifndef KVS_SIM_H
#define KVS_SIM_H

#include "base/err.h"
#include "model/cost.h"
#include "plan/tables.h"
#include "store/admit.h"
#include "store/future.h"
#include "store/tier.h"
#include "workloads/trace.h"

#define KVS_MAX_TIER 4 /* below HBM */

struct kvs_evict_ops;
struct kvs_router_ops;
struct kvs_sched_ops;

/* Which stored blocks a prompt may use. */
enum kvs_reuse {
    KVS_REUSE_PREFIX, /* those of its own beginning: exact */
    KVS_REUSE_CONTENT /* the same text anywhere: without repair of cross-attention that changes the
                         answer */
};

/* When requests come (loop open) or sessions begin (loop sessions). */
enum kvs_process {
    KVS_PROCESS_TRACE,   /* as the trace says */
    KVS_PROCESS_POISSON, /* exponential gaps */
    KVS_PROCESS_GAMMA    /* Gamma gaps: cv above 1 is burstier than Poisson, below 1 more even */
};
enum kvs_loop {
    KVS_LOOP_OPEN,     /* nobody waits for an answer */
    KVS_LOOP_SESSIONS, /* a session's next turn waits for the answer to the one before */
    KVS_LOOP_CLOSED    /* in_flight users, each with one request at a time, in the trace's order */
};
/* From an answer's end to its session's or user's next request. */
enum kvs_think {
    KVS_THINK_TRACE, /* sessions: the time between the two turns' arrivals in the trace */
    KVS_THINK_FIXED,
    KVS_THINK_EXPONENTIAL
};

struct kvs_arrivals { /* zeroed: as the trace says */
    enum kvs_process process;
    double rate_per_s, cv; /* drawn processes: mean rate; gamma: deviation of a gap over its mean */
    enum kvs_loop loop;
    uint32_t in_flight; /* closed: at least 1 */
    enum kvs_think think;
    double think_s; /* its mean */
};

/* What happens when answers outgrow HBM. */
enum kvs_preempt {
    KVS_PREEMPT_RECOMPUTE, /* the youngest request's KV is dropped and computed again (vLLM) */
    KVS_PREEMPT_SWAP,      /* it moves to the nearest tier's memory and back */
    KVS_PREEMPT_NEVER      /* it can't: a prompt is admitted with room for its whole answer
                              (TensorRT-LLM's GUARANTEED_NO_EVICT) */
};

struct kvs_layout;

/* When blocks get into a tier. */
enum kvs_write {
    KVS_WRITE_THROUGH,  /* after prefill */
    KVS_WRITE_BACK,     /* when the place before it (HBM, the nearer tier) evicts them */
    KVS_WRITE_EXCLUSIVE /* the same, and what is loaded whole leaves it: no block is in two places
                         */
};

/* Where the blocks of a tier of the hosts go, and who sees them. */
enum kvs_placement {
    KVS_PLACE_LOCAL,  /* to the host that computed them; no other host sees them */
    KVS_PLACE_HASHED, /* to the nodes that a ring gives them (store/ring.h); all hosts see them */
    KVS_PLACE_CACHE_AWARE /* to the host that computed them; all hosts see them */
};

#define KVS_MAX_OUTAGE 16

/* A node (host) is away; what it held is gone. */
struct kvs_outage {
    uint32_t host;
    int64_t from_ns, to_ns;
};

struct kvs_tier_config {
    const char *name;        /* a tier of the hardware profile: "dram", "nvme", "remote" */
    uint64_t capacity_bytes; /* of one such tier (a host's, or the cluster's, by its scope) */
    const struct kvs_evict_ops *evict;
    enum kvs_write write;
    uint32_t level; /* that it stores blocks at: an index of kvs_sim_config.level */
    bool states;    /* and with them the hidden states of kvs_sim_config.state_at; write through */
    const struct kvs_admit_ops *admit; /* of what is offered; NULL: all */
    struct kvs_admit_config admit_config;
    enum kvs_placement placement; /* other than local: a tier of the hosts, write through */
    uint32_t n_copy;              /* of a block, each on another node; at least 1 unless local */
    uint32_t hot_reads;           /* hashed: a block that was read from other nodes so often is due
                                     one copy more, and so on; 0: none is */
    uint32_t network;             /* index of the link between the nodes */
    uint32_t n_outage;
    struct kvs_outage outage[KVS_MAX_OUTAGE]; /* a node's own do not overlap */
};

/* The order in which a trace asks for blocks, for eviction policies that must be told the future.
 */
struct kvs_foresight { /* zeroed is empty */
    struct kvs_future future;
    uint64_t *first; /* [request] where its blocks stand there */
    size_t n, room;
};

struct kvs_sim_config {
    const struct kvs_model *model;
    const struct kvs_hw *hw;
    const struct kvs_cost *cost; /* of model on hw at the cluster's tp */

    uint32_t n_replica;
    /*
     * 0: the n_replica replicas prefill and decode. Otherwise they only prefill, so many more only
     * decode (and compute again what they preempted), and KV goes over a link of hw between them.
     */
    uint32_t n_decode_replica;
    uint32_t handover_link; /* index */
    uint32_t tp;            /* GPUs a replica; replicas fill hosts of hw->gpus_per_host in order */
    uint32_t max_batch;     /* sequences admitted to a replica at once, at most */
    uint32_t chunk_tok; /* prompt tokens of one step, at most; each decoding sequence adds one */
    uint32_t prefill_batch; /* prompts that share one step, at most */
    const struct kvs_router_ops *router;
    const struct kvs_sched_ops *sched;
    int64_t repoll_ns; /* a prompt parked for its loads is looked at this often; 0: at once */
    uint32_t max_pending_loads; /* prompts of a replica that load at once, at most; 0: no bound */
    const struct kvs_hw_serving *serving; /* of hw: what the engine adds; NULL: nothing */
    const struct kvs_layout *layout; /* of stored KV: what one descriptor moves; NULL: "blocks" */
    enum kvs_reuse reuse;
    enum kvs_preempt preemption;

    const struct kvs_evict_ops *hbm_evict; /* of blocks kept in HBM after their request ended */
    bool hbm_cache;                        /* false: HBM keeps nothing between requests */
    uint32_t n_tier;                       /* nearest first */
    struct kvs_tier_config tier[KVS_MAX_TIER];
    uint32_t n_level;                    /* that tiers store blocks at; 0: raw only */
    const struct kvs_table_level *level; /* [n_level] [0] is raw; distortions for n_frac */
    /* [layers] 1: tiers with states keep those that enter it (never the first); NULL: none do */
    const uint8_t *state_at;

    const struct kvs_planner_ops *planner;
    /* what moved text needs under content reuse (n 0: none, which changes answers), and what a plan
     * may lose by it or by levels, both in 1e-9 nats */
    struct kvs_table_repair repair;
    int64_t budget;
    uint32_t n_frac;               /* recompute fractions i / (n_frac - 1) */
    double slo_ttft_s, slo_tpot_s; /* a request within both counts for goodput; 0: no such bound */
    uint64_t n_request;            /* stop after so many arrivals; 0: the whole trace */
    struct kvs_arrivals arrivals;
    const struct kvs_foresight *foresight; /* NULL: Belady is LRU */
    int64_t bin_ns;                        /* of samples; 0: 128 to 256 bins a run */
    uint64_t seed;                         /* of drawn arrivals and think times */
};

/* One request, ended. All tokens of its prompt: hit in HBM, hit in a tier, or absent. */
struct kvs_sim_request {
    uint64_t index; /* from 0, in order of arrival */
    uint64_t session;
    uint32_t replica;
    uint32_t decode_replica; /* the same one, unless decode replicas are apart */
    bool refused;            /* larger than a replica's HBM: never run; the times below are 0 */
    uint32_t input_tok, output_tok;
    uint32_t hbm_tok;                /* found in HBM, or on their way there for another request */
    uint32_t tier_tok[KVS_MAX_TIER]; /* found in a tier */
    uint32_t recompute_tok; /* of those in tiers, computed again instead (mean over layers) */
    uint32_t new_tok;       /* absent: computed under every plan */
    uint32_t n_preempt;     /* how often it lost its room in HBM */
    uint64_t again_tok;     /* tokens computed that had to be computed again for it */
    uint64_t load_bytes[KVS_MAX_TIER];
    int64_t arrive_ns, admit_ns, first_token_ns, finish_ns;
    int64_t predicted_ttft_ns; /* by the plan, when it was made, from arrival; with the hand-over */
    /*
     * first_token_ns - arrive_ns = queue + load + decode + compute: waiting for the GPU or for room
     * in HBM; waiting for stored KV while the GPU had nothing nearer to do, and the hand-over; the
     * share of its own steps spent on other sequences; its own prefill.
     */
    int64_t queue_ns, load_ns, decode_ns, compute_ns;
    bool in_slo;
    int64_t loss;                /* 1e-9 nats, as the plan for the first token predicts */
    const struct kvs_plan *plan; /* n_layer entries; NULL if nothing was held outside HBM */
};

/* What a span of the timeline is about. */
enum kvs_span_kind {
    KVS_SPAN_STEP,
    KVS_SPAN_DECODE,
    KVS_SPAN_STALL,
    KVS_SPAN_LOAD,
    KVS_SPAN_WRITE,
    KVS_SPAN_SWAP_OUT,
    KVS_SPAN_SWAP_IN,
    KVS_SPAN_HAND_OVER
};

struct kvs_span {
    enum kvs_span_kind kind;
    uint32_t replica;
    uint32_t tier;    /* LOAD, WRITE: index of the tier */
    uint64_t request; /* index of the request, or UINT64_MAX: several */
    int64_t begin_ns, end_ns;
    uint64_t n_bytes; /* all but the first three */
    uint32_t n_tok;   /* STEP: prefill tokens; DECODE: iterations */
};

/* State and sums so far, at the end of a bin of time; the share of a bin is a difference. */
struct kvs_sim_sample {
    int64_t at_ns;
    uint64_t n_arrived, n_in_system;
    uint64_t input_tok, hbm_hit_tok, tier_hit_tok[KVS_MAX_TIER]; /* of prompts, when admitted */
    double gpu_busy_s; /* over replicas; of a step in progress its share of the time */
    double link_busy_s[2 * KVS_MAX_LINK]; /* as result.link, over instances */
    uint64_t hbm_used_bytes, tier_used_bytes[KVS_MAX_TIER], tier_insert_bytes[KVS_MAX_TIER];
};

/* Where results go; a call that fails ends the run with that error. span, sample and progress may
 * be NULL.
 */
struct kvs_sim_sink {
    void *ctx;
    enum kvs_code (*request)(void *ctx, const struct kvs_sim_request *request, struct kvs_err *err);
    enum kvs_code (*span)(void *ctx, const struct kvs_span *span, struct kvs_err *err);
    /* After the last request, in order of time; the first stands for the beginning. */
    enum kvs_code (*sample)(void *ctx, const struct kvs_sim_sample *sample, struct kvs_err *err);
    /* About every 1000 arrivals; a true return stops the run (KVS_ERR_IO, "interrupted"). */
    bool (*progress)(void *ctx, uint64_t n_arrived, int64_t now_ns);
};

struct kvs_sim_tier_total {
    uint32_t n; /* instances */
    uint64_t hit_tok, hit_blocks, load_bytes, write_bytes;
    uint64_t load_state_bytes; /* of load_bytes: hidden states */
    /* of load_bytes: for prompts that gave their room back before the first token they loaded for,
     * and of layers that a plan made again computes after all */
    uint64_t load_unused_bytes;
    uint64_t load_cancelled_bytes; /* that a plan made again did not read: not in load_bytes */
    uint64_t hit_bytes;            /* KV of the tokens in the blocks that were hit */
    uint64_t write_backlog_bytes;  /* not yet written when the last request ended */
    uint64_t write_declined_bytes; /* offered, but the admission rule did not want them */
    uint64_t write_dropped_bytes;  /* never written: the queue to this tier was too long */
    uint64_t lookup_blocks; /* blocks of admitted prompts that HBM and nearer tiers did not hold */
    /* placement other than local */
    uint64_t network_bytes;        /* between nodes: loads, copies written, blocks moved */
    uint64_t rebalance_bytes;      /* of these moved to nodes that came back */
    uint64_t rebalance_left_bytes; /* still to be moved when the last request ended */
    uint64_t lost_bytes;           /* of blocks that nodes took with them */
    double node_spread;            /* bytes read from the busiest node over the mean; 0: none */
    struct kvs_tier_stats stats;   /* summed over the instances of this tier, at the end */
};

struct kvs_sim_link_total {
    const char *name; /* of the profile's link */
    bool write;       /* away from the GPU */
    uint32_t n;       /* instances; the figures are sums over them */
    double busy_s;    /* time a link was occupied, weighted by how much of it */
    double n_bytes;
};

enum kvs_verdict { KVS_STABLE, KVS_BACKLOGGED, KVS_OVERLOADED };

struct kvs_sim_result {
    uint64_t n_request, n_refused, n_event, n_in_slo;
    int64_t end_ns; /* the last request's last token */
    int64_t first_arrive_ns, last_arrive_ns;
    uint64_t input_tok, output_tok, hbm_hit_tok, recompute_tok, new_tok;
    uint64_t first_hit_tok; /* found in HBM or a tier when a prompt was admitted first */
    uint32_t n_replica, n_tier, n_link;
    uint32_t n_frac; /* of its plans: 2 for a planner that looks at the ends only */
    double kv_bytes_per_tok;
    double gpu_busy_s;          /* summed over replicas; stalls are not busy */
    double gpu_stall_s;         /* the GPU was held for a layer that had not arrived */
    double prefill_s, decode_s; /* parts of gpu_busy_s */
    double in_system_s;         /* integral of the number of requests in the system over time */
    double sojourn_s; /* sum over requests of finish - arrive: Little's law makes the two equal */
    uint64_t max_in_system;
    uint64_t n_preempt, again_tok; /* sums over requests */
    uint64_t handover_bytes;       /* from prefill to decode replicas */
    uint64_t swap_bytes;           /* moved out of HBM; all of it came back */
    struct kvs_tier_stats hbm;
    struct kvs_sim_tier_total tier[KVS_MAX_TIER];
    struct kvs_sim_link_total link[2 * KVS_MAX_LINK];
    /*
     * Stable: the GPUs kept up with the work that arrived. Backlogged: the work in the system (of a
     * prompt as if nothing of it were held) grew over the run but drained within a tenth of its
     * span after the last arrival. Overloaded: it did not.
     */
    enum kvs_verdict verdict;
};

/* One of the policies must be told the future. */
bool kvs_sim_wants_foresight(const struct kvs_sim_config *config);
/* Reads a trace to its end: the same one as kvs_sim_run will, by another handle. */
KVS_MUST_CHECK enum kvs_code kvs_foresee(const struct kvs_sim_config *config,
                                         struct kvs_trace *trace, struct kvs_foresight *foresight,
                                         struct kvs_err *err);
void kvs_foresight_free(struct kvs_foresight *foresight);

/*
 * Runs the whole trace. On error *result is zeroed and the sink has got what had ended before.
 * Invariants (bytes, tokens, Little's law, no lost request) are asserted.
 */
KVS_MUST_CHECK enum kvs_code kvs_sim_run(const struct kvs_sim_config *config,
                                         struct kvs_trace *trace, const struct kvs_sim_sink *sink,
                                         struct kvs_sim_result *result, struct kvs_err *err);

#endif
