/*
 * state.h - the simulator's inside: replicas, live requests, transfers. Private to sim/engine.
 *
 * arrive.c when requests come: trace, drawn, closed loop
 * life.c   a request from arrival to end
 * admit.c  a waiting prompt gets its place: look-up, room in HBM
 * choose.c its plan and its loads
 * handover.c prefill and decode on replicas of their own
 * room.c   HBM for answers: growth with decoding, preemption
 * replan.c a plan made again when compute begins
 * move.c   transfers between tiers and HBM: lanes, flows
 * write.c  what gets into tiers
 * shard.c  a tier spread over the nodes: who holds what, and who gives it
 * shard_links.c the links between its nodes
 * outage.c nodes of such a tier, lost and back
 * gpu.c    steps of a replica: prefill chunks, the layers they wait for
 * pass.c   how long a step's forward pass takes
 * decode.c steps of decode iterations
 * held.c   the levels that blocks are stored at, and what they lost
 * foresee.c the trace's future, for Belady
 * tally.c  look-ups counted, samples of the machine over time
 * setup.c  the cluster of a run
 * sim.c    the event loop, totals
 * check.c  what must hold at the end of every run
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

/* All return false once sim->err holds a failure. */

/* arrive.c */
bool sim_arrivals_begin(struct sim *sim);
bool sim_coming(struct sim *sim, uint32_t index);          /* EV_ARRIVE */
bool sim_answered(struct sim *sim, const struct req *req); /* it ended; another may come for it */
bool sim_more(const struct sim *sim);                      /* requests are still to come */
void sim_turns_free(struct turns *turns);                  /* accepts NULL */

/* life.c */
bool sim_front_end(struct sim *sim, uint32_t replica_i);                  /* EV_FRONT */
struct req *sim_req_new(struct sim *sim, const struct kvs_request *from); /* NULL: a failure */
bool sim_arrive(struct sim *sim, struct req *req);      /* it is there; takes it over */
void sim_first_token(struct sim *sim, struct req *req); /* for the record */
bool sim_prefilled(struct sim *sim, struct req *req);   /* its prompt is computed */
bool sim_finish(struct sim *sim, struct req *req);
void sim_req_free(struct req *req);

/* admit.c */
/*
 * Where each block is: HBM (resident, or on its way there for an earlier request), the nearest tier
 * that holds it, or nowhere. A prefix ends at the first block that is nowhere.
 */
void sim_look_up(struct sim *sim, struct req *req);
/* To compute n_tok tokens behind pos_tok others: affine in the position. */
double sim_recompute_s(const struct sim *sim, uint32_t n_tok, uint32_t pos_tok);
/* What a prompt and out_tok tokens of its answer need in HBM beyond blocks that are there. */
uint64_t sim_need_bytes(const struct sim *sim, const struct req *req, uint32_t out_tok);
void sim_leave_waiting(struct replica *replica, struct req *req);
/* Admits waiting prompts in the scheduler's order, as far as there is room. */
bool sim_admit_waiting(struct sim *sim, uint32_t replica_i);

/*
 * When the GPU will have done what admitted prompts up to `before` (NULL: all) have it compute: the
 * step in progress, and the work of what comes after.
 */
int64_t sim_gpu_start_ns(const struct sim *sim, uint32_t replica_i, const struct req *before);
/* Of a prompt's work, a chunk of n_tok tokens that would begin now. */
int64_t sim_chunk_ns(const struct req *req, uint32_t n_tok);
/* choose.c */
bool sim_plan_prompt(struct sim *sim, struct req *req); /* and starts its loads */
/* Of hidden states that a rise of the fraction before layer l loads. */
double sim_state_bytes(const struct req *req, const struct kvs_plan *plan, uint32_t tier_i,
                       uint32_t l);
/* What there is to compute under its plan; adds it to the replica's backlog. */
void sim_set_work(struct sim *sim, struct req *req, const struct kvs_plan_eval *eval);
/* Unpins what the plan does not read. */
void sim_drop_unread(struct sim *sim, struct req *req);

/* replan.c */
/*
 * Compute of an admitted prompt could begin now: its plan is made again, once. *computes: there is
 * more to compute now than before, some of it at once.
 */
bool sim_replan(struct sim *sim, struct req *req, bool *computes);
/* How long work takes that takes `slow` times as long for the first while_ns (0: for ever), since
 * those that share the link end then, and later_slow times as long after, but never longer than at
 * first. */
double sim_slowed_ns(double work_ns, double slow, double while_ns, double later_slow);

/* due.c */
/*
 * Work of a route's flow when each layer has arrived, under the request's plan up to layer `from`
 * and another one from there on. Loads of one prompt come layer by layer: where a hop that several
 * share is what they wait for, each moves at the pace of the layers, as the evaluation has it.
 * Returns what the route alone takes for the layers from `from` on.
 */
int64_t sim_due(const struct req *req, const struct kvs_plan *plan, uint32_t t, uint32_t from,
                int64_t *due_ns);

/* move.c */
bool sim_load(struct sim *sim, struct req *req,
              uint32_t tier_i); /* due_ns and the record's bytes are set */
/*
 * The plan has a pipe for what a prompt's loads have in common, so that in the mean they fill no
 * hop. As flows their paces are even and they begin one after another: the sum may then be a little
 * above one. It is scaled back to one, so that a prompt never slows its own loads.
 */
void sim_ease_loads(const struct sim *sim, const struct req *req);
/* A load that has not ended brings only this much; its due_ns are set. Nothing: it is dropped. */
bool sim_cut_load(struct sim *sim, struct req *req, uint32_t tier_i, uint64_t n_bytes);
bool sim_lane_start(struct sim *sim, uint32_t lane_i);
bool sim_flow_end(struct sim *sim, uint32_t flow);
/* When the tier's load had or, at its present rate, will have brought layer l. */
int64_t sim_arrival_ns(const struct sim *sim, const struct req *req, uint32_t tier_i, uint32_t l);
void sim_transfer_free(struct transfer *transfer);
struct transfer *sim_transfer_new(struct sim *sim); /* NULL: a failure */
bool sim_enqueue(struct sim *sim, struct lane *lane, struct transfer *transfer);
/* Units of the layout that n_tok tokens of one block are stored in. */
uint32_t sim_units(const struct sim *sim, uint32_t n_tok);
struct store *sim_store(const struct sim *sim, uint32_t replica_i, uint32_t tier_i);
struct lane *sim_lane(const struct sim *sim, uint32_t replica_i, uint32_t tier_i, bool write);
/* What a transfer that no plan made takes alone. */
void sim_set_transfer_work(const struct sim *sim, const struct lane *lane,
                           struct transfer *transfer);
void sim_transfer_idle(struct sim *sim, struct transfer *transfer);

/* write.c */
bool sim_write_back(struct sim *sim, const struct req *req);
/* For kvs_tier_new: ctx is a struct let_go. */
void sim_let_go(void *ctx, uint64_t key, const struct kvs_block_info *info);
bool sim_block_room(struct transfer *transfer);
/* The block is in the tier now, unless someone else brought it or it finds no room. */
bool sim_land(struct sim *sim, struct store *store, uint64_t key, const struct kvs_block_info *info,
              uint32_t state);
/* The transfer has moved all its bytes. */
bool sim_load_ended(struct sim *sim, struct transfer *transfer);
bool sim_write_ended(struct sim *sim, struct transfer *transfer);

/* held.c; without levels and hidden states these do nothing, and a copy's state is 0 */
bool sim_levels_begin(struct sim *sim);
uint32_t sim_held(const struct sim *sim, const struct kvs_map *held, uint64_t key);
bool sim_hold(struct sim *sim, struct kvs_map *held, uint64_t key, uint32_t state);
double sim_kv_per_tok(const struct sim *sim, uint32_t state);     /* bytes of a token, stored */
double sim_stored_per_tok(const struct sim *sim, uint32_t state); /* with its hidden states */
uint32_t sim_stateless(uint32_t state); /* the same copy without hidden states */
/* Descriptors of what is stored of n_unit units. */
double sim_stored_descriptors(const struct sim *sim, uint32_t state, double n_unit);
/*
 * A copy of n_tok tokens, raw or as stored at its state's level, as the tier will store it: sets
 * state and the bytes of info. Returns the seconds that encoding takes.
 */
double sim_settle(const struct sim *sim, uint32_t tier_i, bool raw, uint32_t n_tok,
                  struct kvs_block_info *info, uint32_t *state);
/* Of the prompt's block b: what its piece is held at and carries. */
void sim_describe(const struct sim *sim, const struct req *req, uint32_t b,
                  struct kvs_piece *piece);
/* The prompt's blocks that are new in HBM: loaded ones as their tiers have them, computed ones with
 * the plan's loss. */
bool sim_hold_prompt(struct sim *sim, const struct req *req, int64_t loss);

/* shard.c */
/* Links that a transfer takes, with the seconds of each link's time that it occupies. */
struct hops {
    uint32_t n;
    uint32_t link[KVS_FLOW_HOP]; /* instances */
    double s[KVS_FLOW_HOP];
    uint64_t n_bytes[KVS_FLOW_HOP];
};
enum kvs_code sim_shard_check(const struct sim *sim);
bool sim_shard_begin(struct sim *sim); /* rings, outages to come */
bool sim_sharded(const struct sim *sim, uint32_t tier_i);
/* sim_look_up where a tier is spread over nodes: each block from the requester's own host, or the
 * node with the least to give among those that hold it. A lost node holds nothing. */
void sim_shard_look_up(struct sim *sim, struct req *req);
struct store *sim_block_store(const struct sim *sim, const struct req *req, uint32_t b);
/* Sets the routes of tiers spread over nodes for a plan of this prompt; and adds the network's
 * latency to the problem that was built with them. */
void sim_shard_routes(struct sim *sim, const struct req *req);
void sim_shard_latency(const struct sim *sim, const struct req *req,
                       struct kvs_plan_problem *problem);
/* A load has fewer bytes than it had: its nodes give less in the same shares. */
void sim_shard_cut(struct sim *sim, struct transfer *transfer);
bool sim_shard_load(struct sim *sim, struct transfer *transfer); /* a load: its nodes' shares */
/* A write: gives the block its places. 0: it has them all. -1: out of memory. */
int sim_shard_add(struct sim *sim, struct transfer *transfer, uint64_t key,
                  const struct kvs_block_info *info, uint32_t state);
/* The block has fewer copies than it is to have, and there is a place for one. */
bool sim_shard_lacks(struct sim *sim, uint32_t replica_i, uint32_t tier_i, uint64_t key,
                     uint64_t n_bytes);
/* The network's latency, if the transfer takes it. */
int64_t sim_shard_network_ns(const struct sim *sim, const struct transfer *transfer);
void sim_shard_hops(const struct sim *sim, const struct lane *lane, const struct transfer *transfer,
                    struct hops *hops);
void sim_shard_done(struct sim *sim, const struct lane *lane, const struct transfer *transfer);
struct lane *sim_move_lane(const struct sim *sim, uint32_t tier_i, uint32_t host_i);
struct store *sim_node_at(const struct sim *sim, uint32_t tier_i, uint32_t host_i);
/* The nodes that hold a block and are there, as bits. */
uint64_t sim_holders(const struct sim *sim, uint32_t tier_i, uint64_t key);
int64_t sim_shard_latency_ns(const struct sim *sim, uint32_t tier_i); /* the network's */
bool sim_shard_make(struct sim *sim, struct transfer *transfer);      /* no bytes yet */
/* One more block for a node. false: no memory. */
bool sim_shard_add_copy(struct transfer *transfer, uint32_t node, uint64_t key,
                        const struct kvs_block_info *info, uint32_t state);
void sim_shard_sum(struct sim *sim);
/* What the tier's traffic amounts to on a link of the profile; on_lane: prompts' transfers take it.
 */
uint64_t sim_shard_link_bytes(const struct sim *sim, uint32_t tier_i, uint32_t link_i, bool write,
                              bool on_lane);

/* outage.c */
bool sim_node(struct sim *sim, uint32_t index); /* EV_NODE */
void sim_move_done(struct sim *sim, const struct transfer *transfer);

/* tally.c */
void sim_tally_lookup(struct sim *sim, struct req *req); /* it is admitted and has its plan */
bool sim_samples_begin(struct sim *sim);
bool sim_sample_until(struct sim *sim, int64_t at_ns); /* nothing changed since the last event */
bool sim_samples_end(struct sim *sim);

/* foresee.c */
/* The prompt has its place in HBM: says when its blocks are asked for next, wherever they are. */
bool sim_foresee(struct sim *sim, const struct req *req);
void sim_expect(const struct sim *sim, struct kvs_tier *tier, uint32_t slot,
                uint64_t key); /* it was just inserted */
/* Moves an incoming request's KV to its decode replica; sim_handed_over follows. */
bool sim_send(struct sim *sim, struct req *req);
int64_t sim_send_ns(const struct sim *sim, const struct req *req); /* what that takes alone */
/* Moves a preempted request's KV to the nearest tier's memory or back; sim_swapped follows. */
bool sim_swap(struct sim *sim, struct req *req, bool out);

/* handover.c */
bool sim_only_prefills(const struct sim *sim, uint32_t replica_i);
bool sim_hand_over(struct sim *sim, struct req *req);           /* its prompt is computed */
bool sim_take_in(struct sim *sim, struct req *req, bool *done); /* if there is room for it */
bool sim_handed_over(struct sim *sim, struct req *req, int64_t begin_ns);

/* room.c */
/* Room for a prompt, while enough stays free for answers to grow. May set sim->err. */
bool sim_reserve_prompt(struct sim *sim, struct replica *replica, uint64_t n_bytes);
/* Takes the room of n_iter more decode iterations, or of as many as fit; returns how many. */
uint64_t sim_grow_room(struct sim *sim, struct replica *replica, uint64_t n_iter);
/* Makes room for one iteration: whoever stands in its way leaves. */
bool sim_make_room(struct sim *sim, uint32_t replica_i);
/* Gives back what was taken beyond n_iter iterations from the last step's end. */
void sim_trim_room(struct sim *sim, struct replica *replica, uint64_t n_iter);
/* The request no longer holds anything in HBM; blocks that are whole may stay as cached ones. */
void sim_release_room(struct sim *sim, struct req *req);
bool sim_swapped(struct sim *sim, struct req *req, bool out);
bool sim_join_back(struct sim *sim, struct replica *replica); /* between steps */

/* price.c */
void sim_pace_planned(struct sim *sim, struct req *req); /* its loads have been queued */
/* The prompt's first chunk begins; idle: the GPU had no prefill just before. */
void sim_pace_first(struct sim *sim, const struct req *req, bool idle);
void sim_pace_decoded(struct replica *replica, int64_t now_ns); /* a run of iterations is over */
void sim_lane_done(struct lane *lane, const struct transfer *transfer, int64_t now_ns);
/* How many times its work a load would take now: as lately, less the longer that is ago. */
double sim_lane_slow(const struct lane *lane, int64_t now_ns);
/* Sets the prices of a problem whose queues are those before the request. */
void sim_price(struct sim *sim, const struct req *req, struct kvs_plan_problem *problem);
/* Lets the io times and starts of a problem be what they would be now, until the next call. */
void sim_stretch(struct sim *sim, const struct req *req, struct kvs_plan_problem *problem);

/* gpu.c */
bool sim_poke(struct sim *sim, uint32_t replica_i); /* something may be able to start */
bool sim_step_end(struct sim *sim, uint32_t replica_i);
bool sim_loads_done(struct sim *sim, struct req *req); /* an open step may have its end now */

/* pass.c */
int64_t sim_pass_ns(const struct sim *sim, const struct kvs_seg *seg,
                    uint32_t n_seg); /* all layers */
/* What a chunk takes alone, when it waits for nothing, without embedding and logits. */
int64_t sim_part_ns(const struct sim *sim, const struct part *part);
/* What the other parts of the replica's step and its decoding sequences add to the first's time. */
int64_t sim_extra_ns(struct sim *sim, const struct replica *replica);
bool sim_is_last_chunk(const struct part *part); /* embedding and logits count in it */
/* How long the GPU waits for a cache that brings a prompt's KV in inside the forward pass. */
int64_t sim_cache_wait_ns(const struct sim *sim, const struct req *req);

bool sim_step_ends_at(struct sim *sim, uint32_t replica_i, int64_t end_ns);

/* decode.c */
void sim_decode_leave(struct replica *replica, const struct req *req);
/* The request has n_out tokens and decodes on, or ends. */
bool sim_resume_decode(struct sim *sim, struct req *req, uint32_t n_out);
/* A decode run ends with its current iteration, and gives back the room of those to come. */
bool sim_shorten_decode(struct sim *sim, struct replica *replica);
bool sim_begin_decode(struct sim *sim, uint32_t replica_i);
/* Cuts a decode run at the first iteration that ends now or later. */
bool sim_cut_decode(struct sim *sim, uint32_t replica_i);
/* n iterations are over: sequences that have all their tokens end. */
bool sim_advance_decode(struct sim *sim, struct replica *replica, uint64_t n);

/* check.c */
void sim_check_end(const struct sim *sim); /* the totals are made */

/* setup.c */
enum kvs_code sim_set_up(struct sim *sim);
void sim_tear_down(struct sim *sim);                      /* what was set up so far */
uint32_t sim_n_frac(const struct kvs_sim_config *config); /* fractions that plans choose from */
uint32_t sim_link_instance(const struct sim *sim, uint32_t link_i, bool write, uint32_t replica_i);
uint32_t sim_n_instance(const struct sim *sim, uint32_t link_i); /* of a link, in one direction */

/* sim.c */
bool sim_event(struct sim *sim, int64_t at_ns, enum event_kind kind, uint32_t index,
               uint32_t version);
bool sim_nomem(struct sim *sim);
bool sim_span(struct sim *sim, const struct kvs_span *span);

#endif
