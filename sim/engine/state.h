/*
 * state.h - the simulator's inside: replicas, live requests, transfers. Private to sim/engine; what
 * its parts do with them is in parts.h.
 */
#ifndef KVS_STATE_H
#define KVS_STATE_H

#include "base/map.h"
#include "base/rng.h"
#include "base/units.h"
#include "net.h"
#include "plan/tables.h"
#include "queue.h"
#include "router.h"
#include "sched.h"
#include "sim.h"
#include "store/lookup.h"
#include "store/ring.h"

/* A write-back is dropped while writes of so many seconds wait before it, as stores under pressure
 * do. */
#define SIM_WRITE_QUEUE_NS (30 * (int64_t)1000000000)

/* Kinds of events, which is their priority too: completions before arrivals. */
enum event_kind {
    EV_FLOW_END,   /* index: flow */
    EV_STEP_END,   /* index: replica */
    EV_FLOW_START, /* index: lane; the latency of its first transfer is over */
    EV_WAKE,       /* index: replica; a waiting prompt could start without a stall now */
    EV_FRONT,      /* index: replica; its front end is done with a prompt */
    EV_NODE,       /* index: of an outage, see outage.c; a node goes or comes back */
    EV_ARRIVE,     /* index: of a turn or a user, see arrive.c */
};

enum load_state { LOAD_NONE, LOAD_QUEUED, LOAD_MOVING, LOAD_DONE };

/* Bytes that travel for one request between one tier and HBM. */
struct transfer {
    struct transfer *next; /* in its lane */
    struct req *req;       /* of a load; NULL for a write-back */
    struct req *handover;  /* of a prompt on its way to its decode replica; NULL otherwise */
    struct req *swap;      /* of a preempted request's KV, out or in; NULL otherwise */
    uint64_t request_i;
    uint32_t replica_i, tier_i;
    bool write;
    bool open; /* more blocks may join until it begins */
    uint64_t n_bytes;
    double n_descriptor;
    double encode_s; /* of a write-back: what encoding its blocks takes */
    double ease;     /* of what it occupies of its links; see sim_ease_loads */
    int64_t work_ns, latency_ns, begin_ns;
    uint32_t flow;
    /* a write-back's blocks */
    uint32_t n_block, block_room;
    uint64_t *key;
    struct kvs_block_info *info;
    uint32_t *held; /* their states: see held.c */
    /* of a tier spread over nodes */
    bool sharded;
    bool move;            /* from one node to another: replica_i is the node that gives */
    uint32_t *node;       /* [n_block] where each goes: a block has an entry for each copy */
    uint64_t *node_bytes; /* [host] that each node gives or takes */
    uint64_t once_bytes;  /* n_bytes, copies counted once: what leaves HBM */
};

/* What is counted of a GPU's or a lane's unbroken runs of work, for prices: see price.c. */
struct run {
    uint32_t n;      /* prompts in the present one so far */
    double pairs;    /* sum over prompts of those before it in its run that delayed it */
    double ahead_ns; /* sum over prompts of the work queued when they were planned, its own too */
};

/*
 * Transfers of one direction between one replica and one tier go one after the other, as do
 * hand-overs out of one replica (tier_i is n_tier).
 */
struct lane {
    uint32_t replica_i, tier_i;
    bool write;
    struct transfer *first, *last;
    int64_t queued_ns;  /* work of those that have not ended */
    double slow;        /* how many times its work a load took lately */
    double took_ns;     /* mean time of a load */
    int64_t slow_at_ns; /* when `slow` was seen */
    struct run run;     /* of loads; unbroken: there was always one in the lane */
    uint32_t n_hop;
    uint32_t link[KVS_MAX_HOP]; /* instances */
    struct kvs_table_hop hop[KVS_MAX_HOP];
    int64_t latency_ns;
};

/* Where the blocks go that a place evicts. */
struct let_go {
    struct sim *sim;
    uint32_t replica_i, tier_i; /* over this replica's lane to this tier */
    const struct kvs_map *held; /* of the place */
    bool raw;                   /* it is HBM: what it holds is decoded */
};

/* One instance of a tier: a host's, or the cluster's. */
struct store {
    struct kvs_tier *tier;
    struct let_go let_go;
    void *admit; /* its admission rule's */
    struct kvs_map
        pending; /* keys on their way into it; of a tier spread over nodes, all at host 0 */
    bool down;   /* the node is lost */
    uint64_t reading_bytes, read_bytes; /* that it has still to give; that it gave */
    struct kvs_map held;                /* key to state: see held.c */
};

enum phase {
    PHASE_PRE,   /* the recomputed tokens, which wait for no load */
    PHASE_FIRST, /* the first chunk of the new tokens, layer by layer behind the loads */
    PHASE_LATER, /* later chunks */
    PHASE_DECODE,
};

/* A prompt's tokens as found when it was admitted. They are input_tok and what was generated before
 * a preemption. */
struct found {
    uint32_t prompt_tok, hbm_tok, new_tok;
    uint32_t tier_tok[KVS_MAX_TIER];
    double tier_bytes[KVS_MAX_TIER]; /* as stored; without levels not kept */
    uint32_t work_tok;               /* to be computed under its plan */
};

/* What a prompt had before it when it was planned, its own work with it. */
struct ahead {
    double gpu_ns, io_ns[KVS_MAX_TIER];
    uint32_t n_load[KVS_MAX_TIER]; /* loads before its own in the lane's run */
};

struct req {
    struct req *prev, *next; /* in its replica's list of waiting or of admitted prompts */
    struct kvs_sim_request record;
    struct found now;
    int64_t admit_ns;     /* this time; the record has the first */
    uint32_t done_tok;    /* generated before it was preempted; 0: no token yet */
    uint32_t base_tok;    /* of its answer, those whose room is in reserved_bytes */
    bool incoming;        /* handed over: its blocks are still at home_i, or on their way */
    uint32_t home_i;      /* where it was prefilled */
    uint64_t there_bytes; /* reserved at its decode replica meanwhile */
    uint32_t n_out;       /* tokens it has when it decodes on */
    uint64_t swap_bytes;  /* its KV lies in memory below; 0: it does not */
    uint64_t load_bytes[KVS_MAX_TIER];   /* this time */
    uint64_t state_bytes[KVS_MAX_TIER];  /* of these hidden states */
    uint64_t unused_bytes[KVS_MAX_TIER]; /* of these: a plan made again has no use for them */
    enum phase phase;
    uint32_t id;      /* place in the table of live requests, plus 1 */
    uint64_t trace_i; /* its place in the trace */
    uint32_t turn_i;  /* or the user: see arrive.c */

    uint32_t n_block, block_room;
    uint64_t *key;
    uint32_t *tok;
    uint32_t *slot;          /* in HBM, pinned; KVS_NO_SLOT: none */
    uint32_t *tier_slot;     /* in the tier it is loaded from, pinned until read */
    struct kvs_place *place; /* as looked up: 0 is HBM, tiers follow */
    int8_t *where;           /* the same as kvs_piece.where */
    uint32_t *node;          /* of a tier spread over nodes: the host it is loaded from */
    uint32_t *chain; /* under repair: what stands before the block and in it, hashed to 31 bits */
    bool *moved;     /* it was computed behind other text */
    uint64_t reserved_bytes; /* in HBM, beyond its blocks */

    /* blocks that an earlier request of this replica is still bringing or computing */
    uint32_t n_wait; /* requests this one waits for */
    uint32_t n_follow, follow_room;
    struct req **follow; /* requests that wait for this one */

    struct kvs_tables_inst *inst;
    struct kvs_plan_problem problem;
    struct kvs_plan plan;
    bool has_plan;
    bool counted;               /* its first look-up */
    int64_t weight_ns;          /* GPU work if nothing of it were held */
    struct kvs_plan first_plan; /* once it was preempted: the one for its first token */
    bool had_plan;
    int64_t expected_ns; /* its prefill as the router saw it; 0: that one did not look */
    struct ahead ahead;
    int64_t work_ns;   /* its share of the replica's backlog, less what is done */
    int64_t rest_ns;   /* of that, what comes after the recomputed tokens */
    uint32_t work_tok; /* tokens that it has still to compute */

    int64_t pre_left_ns;
    uint32_t pre_tok, pre_left_tok; /* recomputed tokens */
    uint32_t first_tok;             /* new tokens in the first chunk */
    int64_t decode_gpu_ns;          /* of its levels on the GPU, with the first chunk */
    uint32_t later_left_tok;
    int64_t ready_ns; /* end of its own work before the first chunk */
    int64_t
        unstalled_ns; /* when its first chunk could start without a stall; INT64_MAX: not known */
    int64_t stall_ns; /* of the step in progress */

    enum load_state load[KVS_MAX_TIER];
    bool loads;     /* the plan loads anything */
    bool replanned; /* it has been looked at again since it was admitted */
    uint32_t n_loading;
    struct transfer *transfer[KVS_MAX_TIER];
    int64_t begin_ns[KVS_MAX_ROUTE];  /* latency of the problem's pipes, no load before this one */
    int64_t *due_ns[KVS_MAX_TIER];    /* [layer] work of the flow when the layer has arrived */
    int64_t *arrive_ns[KVS_MAX_TIER]; /* [layer] when it had; valid once LOAD_DONE */
    uint64_t due_at_decode;           /* iteration count of its replica at which it ends */
};

struct part {
    struct req *req;
    uint32_t n_tok;
};

enum step_kind { STEP_IDLE, STEP_PREFILL, STEP_DECODE, STEP_ENDING };

struct step {
    enum step_kind kind;
    bool open; /* its end is known when the loads of its first part are done */
    int64_t begin_ns, end_ns, stall_ns, extra_ns;
    uint32_t n_part;
    struct part *part;
    uint64_t n_iter; /* STEP_DECODE */
};

/* Running means of a replica's requests, for prices. */
struct pace {
    uint64_t n_plan;
    double gpu_ns, io_ns[KVS_MAX_TIER]; /* work of a request */
};

struct replica {
    uint32_t host_i;
    struct kvs_tier *hbm;
    struct let_go let_go;
    struct kvs_map held; /* key to state: see held.c */
    uint32_t
        *owner; /* [slot] id of the request that brings or computes the block; 0: it is there */
    uint32_t owner_room;
    struct req *front_first, *front_last; /* in the serving system's front end: one at a time */
    struct req *wait_first, *wait_last;   /* arrived, no room yet */
    struct req *pre_first, *pre_last; /* admitted, before the first token, in order of admission */
    uint32_t n_waiting, n_admitted, n_decoding;
    struct req *back;     /* swapped in or handed over: they decode on from the next step */
    uint32_t n_swapping;  /* requests on their way out: the GPU waits for their room */
    uint64_t grown_tok;   /* of decoding sequences, beyond their base_tok */
    uint64_t grown_bytes; /* reserved for these and the step in progress */
    uint32_t n_loading;   /* prompts with loads under way */
    int64_t backlog_ns;   /* prefill work of admitted prompts */
    int64_t expected_ns;  /* of those without room yet, as the router saw it */
    struct step step;
    uint32_t step_version, wake_version;
    int64_t wake_ns; /* when the next wake event comes; INT64_MAX: none */
    /* decoding sequences: a heap by due_at_decode */
    struct req **decoding;
    uint64_t iter;      /* decode iterations so far */
    double context_tok; /* sum over decoding sequences */
    int64_t busy_ns, stall_ns, prefill_ns, decode_ns;
    int64_t steps_ns; /* from begin to end */
    struct pace pace;
    struct run run;         /* of prompts */
    int64_t prefill_end_ns; /* of the last prefill step */
    int64_t run_end_ns;     /* a prefill step that begins later begins a new run */
};

/* Sums over requests and steps that the end of a run is checked by: see check.c. */
struct check {
    uint64_t load_bytes[KVS_MAX_TIER]; /* as the records have them */
    uint64_t asked_tok, done_tok;      /* to be computed by the plans; computed in steps */
    int64_t compute_ns;                /* as the records have it */
    int64_t n_part;                    /* prompts in steps */
    /* of tiers spread over nodes: written, copies counted once; of network_bytes, by writes */
    uint64_t once_bytes[KVS_MAX_TIER], network_write_bytes[KVS_MAX_TIER];
};

struct turns;

struct sim {
    const struct kvs_sim_config *config;
    const struct kvs_sim_sink *sink;
    struct kvs_trace *trace;
    struct kvs_err *err;
    int64_t now_ns;
    struct kvs_queue queue;
    struct kvs_net *net;
    uint32_t *flow_version, n_flow_version;
    struct transfer **flow_transfer; /* [flow] */

    uint32_t n_layer, n_class;
    uint32_t class_n[KVS_MAX_LAYER]; /* layers of a class */
    int64_t class_ns[KVS_MAX_LAYER]; /* a layer of it, while a pass is added up; < 0: not yet */
    double kv_bytes_per_tok;         /* all layers */
    uint32_t unit_tok;               /* of the layout: blocks are stored in units; 0: in one */
    double unit_descriptors;         /* of a unit, all layers */
    int64_t step_ns;                 /* what the serving system adds to each step */
    double tok_s, tok_per_pos_s;     /* prefill of one token: at position 0; for each before it */
    double *decode_fixed_s, *decode_per_tok_s; /* [sequences] */

    uint32_t n_replica;                        /* all of them: those that only decode come last */
    uint32_t n_host, n_link, n_lane, per_host; /* replicas a host */
    double *link_bytes;                        /* [instance] */
    struct replica *replica;
    struct store *store;            /* [tier * n_host + host], cluster-wide tiers at host 0 */
    bool tier_shared[KVS_MAX_TIER]; /* the tier is cluster-wide */
    bool passes[KVS_MAX_TIER][KVS_MAX_TIER]; /* [t][near] loads from t pass the nearer tier */
    bool broken;                             /* sim->err has what a callback could not return */
    struct lane *lane; /* [(replica * (n_tier + 1) + tier) * 2 + write], and from node to node */
    struct kvs_ring *ring[KVS_MAX_TIER]; /* of hashed tiers */
    struct kvs_map reads[KVS_MAX_TIER];  /* of tiers with hot_reads: how often a block came from
                                            another node */
    uint64_t *node_load; /* [tier * n_host + host] while a look-up or a write goes */
    struct kvs_table_route route[KVS_MAX_TIER]; /* what tables borrows */
    struct kvs_plan_error error;                /* the profile's error bars */
    bool levels;                                /* any tier stores at another level than raw */
    bool notes;                                 /* what copies are is kept: see held.c */
    uint32_t n_state;                           /* layers whose hidden states tiers keep */
    double state_bytes_per_tok;                 /* of all these */
    struct kvs_table_level level[KVS_MAX_LEVEL];
    double ratio[KVS_MAX_LEVEL];                 /* of stored bytes to raw ones, K and V together */
    int64_t full_loss[KVS_MAX_LEVEL], *end_loss; /* of a prompt whose cached text is all at it */
    struct kvs_tables *tables;
    struct kvs_plan_scratch *scratch;
    int64_t pass_ns[KVS_MAX_FRAC], pass_rest_ns[KVS_MAX_FRAC]; /* of a priced plan problem */
    struct kvs_layer_cost
        *stretched;        /* [class, or layer with levels]: costs with io as slow as it is now */
    int64_t *stretched_ns; /* [class][pipe][fraction * level] */
    const struct kvs_layer_cost *stretched_layer[KVS_MAX_LAYER];
    int64_t stretched_state_ns[KVS_MAX_ROUTE][KVS_MAX_FRAC];
    struct kvs_replica_view *view;
    struct kvs_piece *piece;
    uint32_t piece_room;
    struct kvs_seg *seg;

    struct req *next_req;  /* read ahead from the trace */
    int64_t next_trace_ns; /* when the trace has it */
    struct turns *turns;   /* loop of sessions: the trace */
    struct kvs_rng arrive_rng, think_rng;
    int64_t last_begin_ns; /* of a drawn process */
    uint64_t n_read;       /* requests taken from the trace */
    uint32_t n_coming;     /* arrivals that are scheduled */
    struct req *idle_req;  /* ended, to be used again */
    struct transfer *idle_transfer;
    struct req **live;
    uint32_t n_live, live_room;
    uint64_t n_arrived, n_in_system;
    int64_t in_system_at_ns;
    double in_system_s, sojourn_s;
    int64_t work_ns, all_work_ns; /* GPU work of the prompts in the system, and of all so far */
    /* work in the system at every sample_every-th arrival */
    uint32_t n_sample;
    uint64_t sample_every;
    int64_t sample_ns[1024];
    int64_t last_first_token_ns;
    struct kvs_sim_sample tally, *bin; /* sums of tokens so far; what was sampled */
    uint32_t n_bin, bin_room;
    struct kvs_map made;     /* under repair: a block's key to the chain that it was computed in */
    struct kvs_map next_use; /* by key: rank in the foresight; empty without one */
    int64_t bin_ns, next_bin_ns; /* INT64_MAX: no more */
    struct check check;
    struct kvs_sim_result *result;
};

#endif
