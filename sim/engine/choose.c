/*
 * choose.c - the plan of a prompt that has its room: what was found of it, the policy's choice, its
 * loads and its work.
 */
#include "parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

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

bool sim_plan_prompt(struct sim *sim, struct req *req)
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
