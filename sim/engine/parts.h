/*
 * parts.h - the simulator's parts, a file each: what one does for others (README.md says what
 * each is). Private to sim/engine.
 */
#ifndef KVS_PARTS_H
#define KVS_PARTS_H

#include "state.h"

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
/* Moves an incoming request's KV to its decode replica; sim_handed_over follows. */
bool sim_send(struct sim *sim, struct req *req);
int64_t sim_send_ns(const struct sim *sim, const struct req *req); /* what that takes alone */
/* Moves a preempted request's KV to the nearest tier's memory or back; sim_swapped follows. */
bool sim_swap(struct sim *sim, struct req *req, bool out);

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
struct lane *sim_move_lane(const struct sim *sim, uint32_t tier_i, uint32_t host_i);
struct store *sim_node_at(const struct sim *sim, uint32_t tier_i, uint32_t host_i);
/* The nodes that hold a block and are there, as bits. */
uint64_t sim_holders(const struct sim *sim, uint32_t tier_i, uint64_t key);
bool sim_shard_make(struct sim *sim, struct transfer *transfer); /* no bytes yet */
/* One more block for a node. false: no memory. */
bool sim_shard_add_copy(struct transfer *transfer, uint32_t node, uint64_t key,
                        const struct kvs_block_info *info, uint32_t state);
void sim_shard_sum(struct sim *sim);

/* shard_links.c */
/* Links that a transfer takes, with the seconds of each link's time that it occupies. */
struct hops {
    uint32_t n;
    uint32_t link[KVS_FLOW_HOP]; /* instances */
    double s[KVS_FLOW_HOP];
    uint64_t n_bytes[KVS_FLOW_HOP];
};
int64_t sim_shard_latency_ns(const struct sim *sim, uint32_t tier_i); /* the network's */
/* The network's latency, if the transfer takes it. */
int64_t sim_shard_network_ns(const struct sim *sim, const struct transfer *transfer);
void sim_shard_hops(const struct sim *sim, const struct lane *lane, const struct transfer *transfer,
                    struct hops *hops);
void sim_shard_done(struct sim *sim, const struct lane *lane, const struct transfer *transfer);
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
bool sim_step_ends_at(struct sim *sim, uint32_t replica_i, int64_t end_ns);
/*
 * When the GPU will have done what admitted prompts up to `before` (NULL: all) have it compute: the
 * step in progress, and the work of what comes after.
 */
int64_t sim_gpu_start_ns(const struct sim *sim, uint32_t replica_i, const struct req *before);
/* Of a prompt's work, a chunk of n_tok tokens that would begin now. */
int64_t sim_chunk_ns(const struct req *req, uint32_t n_tok);

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
