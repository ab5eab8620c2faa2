/*
 * admit.c - a waiting prompt gets its place: look-up of its blocks, room in HBM, plan, loads.
 */
#include "state.h"

#include <assert.h>
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

/* Under repair: whether the block that is held was computed behind other text. One that is held
 * nowhere is computed here. */
static bool find_moved(struct sim *sim, struct req *req, uint32_t b, bool *any)
{
    bool found;
    req->moved[b] = false;
    if (!sim->config->repair.n)
        return true;
    uint32_t *made = kvs_map_put(&sim->made, req->key[b], req->chain[b], &found);
    if (!made)
        return sim_nomem(sim);
    if (req->where[b] == KVS_AT_NONE)
        *made = req->chain[b];
    else
        req->moved[b] = *made != req->chain[b];
    *any |= req->moved[b];
    return true;
}

/* n_tok tokens of block b lie in a tier. */
static void add_found(const struct sim *sim, struct req *req, uint32_t tier_i, uint32_t b,
                      uint32_t n_tok)
{
    req->now.tier_tok[tier_i] += n_tok;
    if (!sim->levels)
        return;
    const struct kvs_map *held = &sim_block_store(sim, req, b)->held;
    req->now.tier_bytes[tier_i] += n_tok * sim_kv_per_tok(sim, sim_held(sim, held, req->key[b]));
}

/* The prompt as pieces for the planner; at least its last token is computed. Sets what was
 * found. */
static bool to_pieces(struct sim *sim, struct req *req, uint32_t *n_piece, bool *moved)
{
    *moved = false;
    if (req->n_block + 2 > sim->piece_room) {
        uint32_t room = 2 * (req->n_block + 2);
        struct kvs_piece *piece = realloc(sim->piece, room * sizeof *piece);
        if (!piece)
            return sim_nomem(sim);
        sim->piece = piece;
        sim->piece_room = room;
    }
    struct found *now = &req->now;
    uint32_t n = 0, left_tok = req->record.input_tok + req->done_tok;
    *now = (struct found){.prompt_tok = left_tok};
    for (uint32_t b = 0; b < req->n_block; b++) {
        uint32_t n_tok = req->tok[b];
        if (!find_moved(sim, req, b, moved))
            return false;
        left_tok -= n_tok;
        if (left_tok == 0 && req->where[b] != KVS_AT_NONE) {
            n_tok--; /* wholly held: the last token is computed all the same */
            left_tok = 1;
        }
        if (n_tok == 0)
            continue;
        sim->piece[n] =
            (struct kvs_piece){.n_tok = n_tok, .where = req->where[b], .moved = req->moved[b]};
        if (sim->notes)
            sim_describe(sim, req, b, &sim->piece[n]);
        if (req->where[b] == KVS_AT_HBM)
            now->hbm_tok += n_tok;
        else if (req->where[b] >= 0)
            add_found(sim, req, (uint32_t)req->where[b], b, n_tok);
        else
            now->new_tok += n_tok;
        n++;
    }
    if (left_tok) {
        sim->piece[n++] = (struct kvs_piece){.n_tok = left_tok, .where = KVS_AT_NONE};
        now->new_tok += left_tok;
    }
    *n_piece = n;
    return true;
}

/* A plan that loads nothing waits for no route. */
static void without_routes(struct kvs_plan_problem *problem)
{
    for (uint32_t k = 0; k < problem->n_route; k++)
        problem->io_start_ns[k] = 0;
}

/* The policy's plan, or recomputing all where the policy may and the links' backlog makes it
 * better, or where the policy knows no plan within the budget. */
static bool choose(struct sim *sim, struct req *req, struct kvs_plan_eval *eval)
{
    const struct kvs_planner_ops *planner = sim->config->planner;
    struct kvs_plan_problem problem = req->problem;
    int64_t bound_ns;
    if (planner->priced) {
        sim_stretch(sim, req, &problem);
        sim_price(sim, req, &problem);
    }
    if (planner->plan(&problem, sim->scratch, &req->plan, eval, &bound_ns, sim->err) != KVS_OK)
        return false;
    bool loads = req->plan.frac_i[sim->n_layer - 1] + 1u < problem.n_frac;
    bool over = (sim->config->repair.n || sim->levels) && eval->distortion > problem.budget;
    if (loads && !planner->may_recompute && !over)
        return true;
    struct kvs_plan_problem alone = problem;
    struct kvs_plan plan;
    struct kvs_plan_eval all;
    without_routes(&alone);
    memset(plan.frac_i, (int)problem.n_frac - 1, sim->n_layer);
    memset(plan.level, 0, sim->n_layer);
    bool fine = kvs_plan_eval(&alone, &plan, NULL, &all);
    assert(fine);
    if (!loads || over ||
        kvs_plan_cost(&alone, &plan, &all) < kvs_plan_cost(&problem, &req->plan, eval)) {
        req->plan = plan;
        *eval = all;
    }
    return true;
}

double sim_state_bytes(const struct req *req, const struct kvs_plan *plan, uint32_t tier_i,
                       uint32_t l)
{
    if (!req->problem.state_at || l == 0 || plan->frac_i[l] <= plan->frac_i[l - 1])
        return 0;
    return kvs_tables_route_state_bytes(req->inst, tier_i, plan->frac_i[l - 1], plan->frac_i[l]);
}

/* Sets when each layer is due on each route, and starts the loads. */
static bool start_loads(struct sim *sim, struct req *req)
{
    for (uint32_t t = 0; t < sim->config->n_tier; t++) {
        req->load[t] = LOAD_NONE;
        req->unused_bytes[t] = 0;
        if (t >= kvs_plan_routes(&req->problem))
            continue;
        double n_bytes = 0, state_bytes = 0;
        int64_t own_ns = sim_due(req, &req->plan, t, 0, req->due_ns[t]);
        for (uint32_t l = 0; l < sim->n_layer; l++) {
            uint32_t i = req->plan.frac_i[l], q = req->plan.level[l];
            n_bytes +=
                kvs_tables_load_bytes(req->inst, t, kvs_cost_class(sim->config->cost, l), i, q);
            state_bytes += sim_state_bytes(req, &req->plan, t, l);
        }
        n_bytes += state_bytes;
        req->state_bytes[t] = (uint64_t)state_bytes;
        sim->result->tier[t].load_state_bytes += req->state_bytes[t];
        req->load_bytes[t] = own_ns > 0 && n_bytes >= 1 ? (uint64_t)n_bytes : 0;
        req->record.load_bytes[t] += req->load_bytes[t];
        if (req->load_bytes[t] && !sim_load(sim, req, t))
            return false;
    }
    req->loads = req->n_loading > 0;
    sim->replica[req->record.replica].n_loading += req->loads;
    if (req->n_loading > 1)
        sim_ease_loads(sim, req);
    return true;
}

void sim_drop_unread(struct sim *sim, struct req *req)
{
    for (uint32_t b = 0; b < req->n_block; b++) {
        if (req->where[b] < 0 || req->load[req->where[b]] != LOAD_NONE ||
            req->tier_slot[b] == KVS_NO_SLOT)
            continue;
        kvs_tier_unpin(sim_block_store(sim, req, b)->tier, req->tier_slot[b]);
        req->tier_slot[b] = KVS_NO_SLOT;
    }
}

static int64_t n_pre_step(const struct sim *sim, const struct req *req)
{
    return (req->pre_tok + sim->config->chunk_tok - 1) / sim->config->chunk_tok;
}

/* Steps that the prompt takes alone. */
static int64_t n_step(const struct sim *sim, const struct req *req)
{
    const uint32_t chunk_tok = sim->config->chunk_tok;
    return 1 + n_pre_step(sim, req) + (req->later_left_tok + chunk_tok - 1) / chunk_tok;
}

/* What waits for loads besides the first chunk's own pass: levels decoded on the GPU. */
static int64_t decode_gpu_ns(const struct sim *sim, const struct req *req)
{
    const struct kvs_plan_problem *problem = &req->problem;
    const struct kvs_seg first = {1, kvs_tables_first_tok(req->inst),
                                  req->now.prompt_tok - req->now.new_tok};
    int64_t ns = -sim_pass_ns(sim, &first, 1);
    for (uint32_t l = 0; l < sim->n_layer; l++)
        ns += problem->layer[l]->post_ns[req->plan.frac_i[l] * problem->n_level];
    return ns > 0 ? ns : 0;
}

void sim_set_work(struct sim *sim, struct req *req, const struct kvs_plan_eval *eval)
{
    uint64_t recompute_tok = 0, layer_tok = 0;
    assert(sim->n_layer > 0);
    for (uint32_t l = 0; req->has_plan && l < sim->n_layer; l++) {
        if (l == 0 || req->plan.frac_i[l] != req->plan.frac_i[l - 1])
            layer_tok = kvs_tables_recompute_tok(req->inst, req->plan.frac_i[l]) +
                        kvs_tables_repair_tok(req->inst, req->plan.frac_i[l]);
        recompute_tok += layer_tok;
    }
    recompute_tok = (recompute_tok + sim->n_layer / 2) / sim->n_layer;
    req->decode_gpu_ns = sim->levels ? decode_gpu_ns(sim, req) : 0;
    req->pre_left_ns = eval->pre_ns;
    req->pre_tok = req->pre_left_tok =
        req->has_plan ? (uint32_t)kvs_tables_recompute_tok(req->inst, req->plan.frac_i[0]) : 0;
    req->first_tok = kvs_tables_first_tok(req->inst);
    req->work_tok = req->now.work_tok = req->pre_tok + req->now.new_tok;
    sim->check.asked_tok += req->work_tok;
    req->later_left_tok = req->now.new_tok - req->first_tok;
    req->work_ns =
        eval->pre_ns + eval->wait_ns + req->problem.head_ns + sim->step_ns * n_step(sim, req);
    req->rest_ns = req->work_ns - eval->pre_ns - sim->step_ns * n_pre_step(sim, req);
    sim->replica[req->record.replica].backlog_ns += req->work_ns;
    if (!req->done_tok) {
        req->record.recompute_tok = (uint32_t)recompute_tok;
        req->record.loss = eval->distortion;
    }
    req->phase = req->pre_left_tok ? PHASE_PRE : PHASE_FIRST;
    req->ready_ns = sim->now_ns;
    req->unstalled_ns = INT64_MAX;
}

static bool plan(struct sim *sim, struct req *req)
{
    struct kvs_plan_problem *problem = &req->problem;
    struct kvs_plan_eval eval;
    uint32_t n_piece = 0;
    bool moved;
    if (!to_pieces(sim, req, &n_piece, &moved))
        return false;
    sim_shard_routes(sim, req);
    kvs_tables_build(sim->tables, req->inst, sim->piece, n_piece, problem);
    sim_shard_latency(sim, req, problem);
    problem->error = sim->error;
    kvs_plan_share(problem);
    memcpy(req->begin_ns, problem->io_start_ns, sizeof req->begin_ns);
    problem->gpu_start_ns = sim_gpu_start_ns(sim, req->record.replica, NULL) - sim->now_ns;
    for (uint32_t t = 0; t < kvs_plan_routes(problem); t++)
        problem->io_start_ns[t] += sim_lane(sim, req->record.replica, t, false)->queued_ns;
    kvs_plan_share(problem);
    uint32_t held_tok = 0;
    for (uint32_t t = 0; t < sim->config->n_tier; t++)
        held_tok += req->now.tier_tok[t];
    req->has_plan = held_tok > 0 || moved;
    if (req->has_plan) {
        if (!choose(sim, req, &eval))
            return false;
    } else {
        without_routes(problem);
        memset(req->plan.frac_i, 0, sim->n_layer);
        memset(req->plan.level, 0, sim->n_layer);
        bool fine = kvs_plan_eval(problem, &req->plan, NULL, &eval);
        assert(fine);
    }

    sim_set_work(sim, req, &eval);
    if (!req->done_tok) {
        struct kvs_sim_request *record = &req->record;
        record->predicted_ttft_ns =
            sim->now_ns - record->arrive_ns + eval.end_ns + sim->step_ns * n_step(sim, req);
        if (sim_only_prefills(sim, record->replica))
            record->predicted_ttft_ns += sim_send_ns(sim, req);
        record->hbm_tok = req->now.hbm_tok;
        record->new_tok = req->now.new_tok;
        memcpy(record->tier_tok, req->now.tier_tok, sizeof record->tier_tok);
    }
    req->n_loading = 0;
    req->replanned = false;
    if (!start_loads(sim, req))
        return false;
    if (!req->done_tok)
        req->record.predicted_ttft_ns += sim_cache_wait_ns(sim, req);
    sim_pace_planned(sim, req);
    sim_drop_unread(sim, req);
    return sim_hold_prompt(sim, req, eval.distortion);
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
    if (!sim_foresee(sim, req) || !plan(sim, req))
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
