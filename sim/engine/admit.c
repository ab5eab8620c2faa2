/*
 * admit.c - a waiting prompt gets its place: look-up of its blocks, room in HBM, plan, loads.
 */
#include "parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t block_bytes(const struct sim *sim, uint32_t n_tok)
{
    return (uint64_t)ceil(sim->kv_bytes_per_tok * (double)n_tok);
}

void sim_look_up(struct sim *sim, struct req *req)
{
    const struct kvs_sim_config *config = sim->config;
    struct kvs_tier *tier[1 + KVS_MAX_TIER] = {sim->replica[req->record.replica].hbm};
    uint32_t n_tier = 1;
    if (sim->node_load) {
        sim_shard_look_up(sim, req);
        return;
    }
    for (uint32_t t = 0; t < config->n_tier && !config->planner->never_loads; t++)
        tier[n_tier++] = sim_store(sim, req->record.replica, t)->tier;
    kvs_lookup(config->reuse == KVS_REUSE_PREFIX ? KVS_LOOKUP_PREFIX : KVS_LOOKUP_CONTENT, tier,
               n_tier, req->key, req->n_block, req->place);
    for (uint32_t b = 0; b < req->n_block; b++) {
        const struct kvs_place *place = &req->place[b];
        bool in_hbm = place->tier_i == 0;
        req->where[b] = place->tier_i == KVS_NOWHERE ? KVS_AT_NONE
                        : in_hbm                     ? KVS_AT_HBM
                                                     : (int8_t)(place->tier_i - 1);
        req->slot[b] = in_hbm ? place->slot : KVS_NO_SLOT;
        req->tier_slot[b] = req->where[b] >= 0 ? place->slot : KVS_NO_SLOT;
    }
}

uint64_t sim_need_bytes(const struct sim *sim, const struct req *req, uint32_t out_tok)
{
    uint64_t n_tok = (uint64_t)req->record.input_tok + out_tok;
    uint64_t n_bytes =
        block_bytes(sim, 1) + req->n_block + 1; /* what rounding up block by block adds */
    for (uint32_t b = 0; b < req->n_block; b++)
        if (req->where[b] == KVS_AT_HBM)
            n_tok -= req->tok[b];
    return n_bytes + (uint64_t)ceil(sim->kv_bytes_per_tok * (double)n_tok);
}

double sim_recompute_s(const struct sim *sim, uint32_t n_tok, uint32_t pos_tok)
{
    return n_tok * (sim->tok_s + sim->tok_per_pos_s * (pos_tok + n_tok / 2.0));
}

static bool owner_room(struct sim *sim, struct replica *replica, uint32_t slot)
{
    if (slot < replica->owner_room)
        return true;
    uint32_t room = slot + slot / 2 + 64;
    uint32_t *owner = realloc(replica->owner, room * sizeof *owner);
    if (!owner)
        return sim_nomem(sim);
    memset(owner + replica->owner_room, 0, (room - replica->owner_room) * sizeof *owner);
    replica->owner = owner;
    replica->owner_room = room;
    return true;
}

/* The request waits for the one that brings this block, unless it does already. */
static bool wait_for_owner(struct sim *sim, struct req *req, uint32_t owner_id)
{
    struct req *owner = sim->live[owner_id - 1];
    if (owner == req || (owner->n_follow && owner->follow[owner->n_follow - 1] == req))
        return true;
    if (owner->n_follow == owner->follow_room) {
        uint32_t room = owner->follow_room ? 2 * owner->follow_room : 8;
        struct req **follow = realloc(owner->follow, room * sizeof(struct req *));
        if (!follow)
            return sim_nomem(sim);
        owner->follow = follow;
        owner->follow_room = room;
    }
    owner->follow[owner->n_follow++] = req;
    req->n_wait++;
    return true;
}

/*
 * Takes the prompt's room in HBM: pins what is there, gives each other block of it a place at once
 * (so that a later prompt finds it and shares the load), and holds the rest of the prompt and the
 * answer as a reservation. false without an error in sim->err: there is no room now, and nothing
 * was taken.
 */
static bool take_room(struct sim *sim, struct req *req)
{
    struct replica *replica = &sim->replica[req->record.replica];
    for (uint32_t b = 0; b < req->n_block; b++)
        if (req->where[b] == KVS_AT_HBM)
            kvs_tier_pin(replica->hbm, req->slot[b]);
    req->base_tok =
        sim->config->preemption == KVS_PREEMPT_NEVER ? req->record.output_tok : req->done_tok + 1;
    uint64_t n_bytes = sim_need_bytes(sim, req, req->base_tok);
    if (!sim_reserve_prompt(sim, replica, n_bytes)) {
        for (uint32_t b = 0; b < req->n_block; b++)
            if (req->where[b] == KVS_AT_HBM)
                kvs_tier_unpin(replica->hbm, req->slot[b]);
        return false;
    }
    req->reserved_bytes = n_bytes;
    uint32_t pos_tok = 0, of_tok = 0;
    uint64_t of_bytes = 0; /* a block of of_tok tokens has */
    for (uint32_t b = 0; b < req->n_block; b++)
        pos_tok += req->tok[b];
    /* from the end: a prefix is of use without its tail, so the tail is to leave first */
    for (uint32_t b = req->n_block; b-- > 0;) {
        pos_tok -= req->tok[b];
        if (req->where[b] == KVS_AT_HBM) {
            kvs_tier_touch(replica->hbm, req->slot[b], sim->now_ns);
            if (req->slot[b] < replica->owner_room && replica->owner[req->slot[b]] &&
                !wait_for_owner(sim, req, replica->owner[req->slot[b]]))
                return false;
            continue;
        }
        if (req->where[b] >= 0) {
            struct kvs_tier *tier = sim_block_store(sim, req, b)->tier;
            kvs_tier_touch(tier, req->tier_slot[b], sim->now_ns);
            kvs_tier_pin(tier, req->tier_slot[b]);
        }
        if (kvs_tier_find(replica->hbm, req->key[b]) != KVS_NO_SLOT)
            continue; /* twice in one prompt, or held behind the prefix's end */
        if (req->tok[b] != of_tok)
            of_bytes = block_bytes(sim, of_tok = req->tok[b]);
        struct kvs_block_info info = {.n_bytes = of_bytes,
                                      .recompute_s =
                                          (float)sim_recompute_s(sim, req->tok[b], pos_tok),
                                      .pos_tok = pos_tok};
        kvs_tier_release(replica->hbm, info.n_bytes);
        uint32_t slot = kvs_tier_insert(replica->hbm, req->key[b], &info, sim->now_ns);
        if (slot == KVS_NO_SLOT) /* out of memory: the room was just given back */
            return sim_nomem(sim);
        req->reserved_bytes -= info.n_bytes;
        kvs_tier_pin(replica->hbm, slot);
        if (!owner_room(sim, replica, slot))
            return false;
        req->slot[b] = slot;
        replica->owner[slot] = req->id;
    }
    return true;
}

void sim_leave_waiting(struct replica *replica, struct req *req)
{
    *(req->prev ? &req->prev->next : &replica->wait_first) = req->next;
    *(req->next ? &req->next->prev : &replica->wait_last) = req->prev;
    replica->expected_ns -= req->expected_ns;
}

static bool in_a_tier(const struct req *req)
{
    for (uint32_t b = 0; b < req->n_block; b++)
        if (req->where[b] >= 0)
            return true;
    return false;
}

/* Room for all that a preempted request had, and the way back. */
static bool swap_in(struct sim *sim, struct req *req, bool *done)
{
    struct replica *replica = &sim->replica[req->record.replica];
    for (uint32_t b = 0; b < req->n_block; b++) {
        req->slot[b] = req->tier_slot[b] = KVS_NO_SLOT;
        req->where[b] = KVS_AT_NONE;
    }
    req->base_tok = req->done_tok;
    uint64_t n_bytes = sim_need_bytes(sim, req, req->base_tok);
    if (!sim_reserve_prompt(sim, replica, n_bytes))
        return sim->err->code == KVS_OK;
    req->reserved_bytes = n_bytes;
    replica->n_admitted++;
    *done = true;
    sim_leave_waiting(replica, req);
    return sim_swap(sim, req, false);
}

/* Gives a waiting prompt its room and its plan. *done is false if it must wait on. */
static bool admit(struct sim *sim, struct req *req, bool *done)
{
    struct replica *replica = &sim->replica[req->record.replica];
    *done = false;
    if (req->swap_bytes)
        return swap_in(sim, req, done);
    if (req->incoming)
        return sim_take_in(sim, req, done);
    req->n_wait = req->n_follow = 0;
    sim_look_up(sim, req);
    if (sim->config->max_pending_loads && replica->n_loading >= sim->config->max_pending_loads &&
        in_a_tier(req))
        return true;
    if (!take_room(sim, req))
        return sim->err->code == KVS_OK;
    req->admit_ns = sim->now_ns;
    if (!req->record.n_preempt)
        req->record.admit_ns = sim->now_ns;
    replica->n_admitted++;
    *done = true;
    sim_leave_waiting(replica, req);
    if (!sim_foresee(sim, req) || !sim_plan_prompt(sim, req))
        return false;
    sim_tally_lookup(sim, req);
    req->prev = replica->pre_last;
    req->next = NULL;
    *(req->prev ? &req->prev->next : &replica->pre_first) = req;
    replica->pre_last = req;
    return true;
}

/* What the scheduler goes by, of a prompt that was just looked up. */
static int64_t rank_waiting(const struct sim *sim, const struct req *req)
{
    uint32_t hit_tok = 0;
    for (uint32_t b = 0; b < req->n_block; b++)
        hit_tok += req->where[b] != KVS_AT_NONE ? req->tok[b] : 0;
    struct kvs_sched_view view = {.hit_tok = hit_tok, .left_tok = req->record.input_tok - hit_tok};
    return sim->config->sched->rank(&view);
}

/* The waiting prompt that is admitted next; NULL: none waits. */
static struct req *pick_waiting(struct sim *sim, const struct replica *replica)
{
    struct req *best = replica->wait_first;
    int64_t best_rank = INT64_MAX;
    if (!best || !best->next || !sim->config->sched->rank ||
        sim->now_ns - best->record.arrive_ns >= KVS_SCHED_AGE_NS)
        return best;
    struct req *req = best;
    for (uint32_t i = 0; req && i < KVS_SCHED_WINDOW; i++, req = req->next) {
        if (req->incoming)
            return req; /* computed already, and its places at home are still needed */
        sim_look_up(sim, req);
        int64_t rank = rank_waiting(sim, req);
        if (rank < best_rank) {
            best_rank = rank;
            best = req;
        }
    }
    return best;
}

bool sim_admit_waiting(struct sim *sim, uint32_t replica_i)
{
    struct replica *replica = &sim->replica[replica_i];
    while (replica->wait_first && replica->n_admitted < sim->config->max_batch) {
        struct req *req = pick_waiting(sim, replica);
        bool done;
        if (!admit(sim, req, &done))
            return false;
        if (!done)
            break;
    }
    return sim_poke(sim, replica_i);
}
