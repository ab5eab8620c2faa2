/*
 * life.c - a request from its arrival to its end: which replica, first token, finish.
 */
#include "parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void sim_req_free(struct req *req)
{
    if (!req)
        return;
    free(req->key);
    free(req->tok);
    free(req->slot);
    free(req->tier_slot);
    free(req->place);
    free(req->where);
    free(req->node);
    free(req->chain);
    free(req->moved);
    free(req->follow);
    for (uint32_t t = 0; t < KVS_MAX_TIER; t++) {
        free(req->due_ns[t]);
        free(req->arrive_ns[t]);
    }
    kvs_tables_inst_free(req->inst);
    free(req);
}

static struct req *fresh(struct sim *sim)
{
    struct req *req = sim->idle_req;
    if (req) {
        sim->idle_req = req->next;
        req->next = NULL;
        return req;
    }
    req = calloc(1, sizeof *req);
    bool fine = req && (req->inst = kvs_tables_inst_new(sim->tables));
    for (uint32_t t = 0; fine && t < sim->config->n_tier; t++) {
        req->due_ns[t] = calloc(sim->n_layer, sizeof *req->due_ns[t]);
        req->arrive_ns[t] = calloc(sim->n_layer, sizeof *req->arrive_ns[t]);
        fine = req->due_ns[t] && req->arrive_ns[t];
    }
    if (!fine) {
        sim_req_free(req);
        sim_nomem(sim);
        return NULL;
    }
    return req;
}

static bool blocks_room(struct req *req, uint32_t n)
{
    if (n <= req->block_room)
        return true;
    uint32_t room = n + n / 2;
    void *key = realloc(req->key, room * sizeof *req->key);
    req->key = key ? key : req->key;
    void *tok = realloc(req->tok, room * sizeof *req->tok);
    req->tok = tok ? tok : req->tok;
    void *slot = realloc(req->slot, room * sizeof *req->slot);
    req->slot = slot ? slot : req->slot;
    void *tier_slot = realloc(req->tier_slot, room * sizeof *req->tier_slot);
    req->tier_slot = tier_slot ? tier_slot : req->tier_slot;
    void *place = realloc(req->place, room * sizeof *req->place);
    req->place = place ? place : req->place;
    void *where = realloc(req->where, room * sizeof *req->where);
    req->where = where ? where : req->where;
    void *node = realloc(req->node, room * sizeof *req->node);
    req->node = node ? node : req->node;
    void *chain = realloc(req->chain, room * sizeof *req->chain);
    req->chain = chain ? chain : req->chain;
    void *moved = realloc(req->moved, room * sizeof *req->moved);
    req->moved = moved ? moved : req->moved;
    if (!key || !tok || !slot || !tier_slot || !place || !where || !node || !chain || !moved)
        return false;
    req->block_room = room;
    return true;
}

/* Copies a trace's request; keys are what its blocks are known by under this kind of reuse. */
static bool take_in(struct sim *sim, struct req *req, const struct kvs_request *from)
{
    if (!blocks_room(req, from->n_block))
        return sim_nomem(sim);
    bool chain = sim->config->reuse == KVS_REUSE_PREFIX && !kvs_trace_chained(sim->trace);
    uint64_t prefix = 0, before = 0;
    memset(&req->record, 0, sizeof req->record);
    req->record.session = from->session;
    req->record.input_tok = from->input_tok;
    req->record.output_tok = from->output_tok;
    req->counted = false;
    req->n_block = from->n_block;
    for (uint32_t b = 0; b < from->n_block; b++) {
        prefix = chain ? kvs_chain(prefix, from->block[b].id) : from->block[b].id;
        req->key[b] = prefix;
        req->tok[b] = from->block[b].n_tok;
        before = kvs_chain(before, from->block[b].id);
        req->chain[b] = (uint32_t)(before >> 33);
        req->slot[b] = req->tier_slot[b] = KVS_NO_SLOT;
    }
    return true;
}

struct req *sim_req_new(struct sim *sim, const struct kvs_request *from)
{
    struct req *req = fresh(sim);
    if (req && !take_in(sim, req, from)) {
        sim_req_free(req);
        req = NULL;
    }
    return req;
}

/* The number in the system is about to change by step. */
static void count_in_system(struct sim *sim, int step)
{
    sim->in_system_s +=
        (double)sim->n_in_system * (double)(sim->now_ns - sim->in_system_at_ns) * 1e-9;
    sim->in_system_at_ns = sim->now_ns;
    assert(step > 0 || sim->n_in_system > 0);
    sim->n_in_system = step > 0 ? sim->n_in_system + 1 : sim->n_in_system - 1;
    if (sim->n_in_system > sim->result->max_in_system)
        sim->result->max_in_system = sim->n_in_system;
}

/* GPU work of a request without a hit: its prefill, and its share of full decode batches. */
static int64_t weight_ns(const struct sim *sim, const struct req *req)
{
    const uint32_t b = sim->config->max_batch, out_tok = req->record.output_tok;
    return kvs_ns(sim_recompute_s(sim, req->record.input_tok, 0) +
                  out_tok * sim->decode_fixed_s[b] / b);
}

/* Keeps the work in the system at up to 1024 arrivals, evenly spread over those so far. */
static void sample_work(struct sim *sim)
{
    const uint32_t room = sizeof sim->sample_ns / sizeof *sim->sample_ns;
    if (sim->n_arrived % sim->sample_every)
        return;
    if (sim->n_sample == room) {
        for (uint32_t i = 0; i < room / 2; i++)
            sim->sample_ns[i] = sim->sample_ns[2 * i];
        sim->n_sample = room / 2;
        sim->sample_every *= 2;
        if (sim->n_arrived % sim->sample_every)
            return;
    }
    sim->sample_ns[sim->n_sample++] = sim->work_ns;
}

static bool live_add(struct sim *sim, struct req *req)
{
    if (sim->n_live == sim->live_room) {
        uint32_t room = sim->live_room ? 2 * sim->live_room : 256;
        struct req **live = realloc(sim->live, room * sizeof(struct req *));
        if (!live)
            return sim_nomem(sim);
        sim->live = live;
        sim->live_room = room;
    }
    sim->live[sim->n_live++] = req;
    req->id = sim->n_live;
    return true;
}

static void live_del(struct sim *sim, struct req *req)
{
    struct req *last = sim->live[--sim->n_live];
    struct replica *replica = &sim->replica[last->record.replica];
    if (last != req) {
        uint32_t id = req->id;
        sim->live[id - 1] = last;
        for (uint32_t b = 0; b < last->n_block; b++)
            if (last->slot[b] != KVS_NO_SLOT && last->slot[b] < replica->owner_room &&
                replica->owner[last->slot[b]] == last->id)
                replica->owner[last->slot[b]] = id;
        last->id = id;
    }
    req->id = 0;
}

static bool emit(struct sim *sim, struct req *req)
{
    struct kvs_sim_request *record = &req->record;
    struct kvs_sim_result *result = sim->result;
    result->n_request++;
    result->input_tok += record->input_tok;
    result->output_tok += record->refused ? 0 : record->output_tok;
    if (!record->refused) {
        double ttft_s = (double)(record->first_token_ns - record->arrive_ns) * 1e-9;
        double tpot_s = record->output_tok > 1
                            ? (double)(record->finish_ns - record->first_token_ns) * 1e-9 /
                                  (record->output_tok - 1)
                            : 0;
        record->in_slo = (sim->config->slo_ttft_s <= 0 || ttft_s <= sim->config->slo_ttft_s) &&
                         (sim->config->slo_tpot_s <= 0 || tpot_s <= sim->config->slo_tpot_s);
        result->n_in_slo += record->in_slo;
        result->again_tok += record->again_tok;
        result->hbm_hit_tok += record->hbm_tok;
        result->recompute_tok += record->recompute_tok;
        result->new_tok += record->new_tok;
        uint64_t n_tok = (uint64_t)record->hbm_tok + record->new_tok;
        sim->check.compute_ns += record->compute_ns;
        for (uint32_t t = 0; t < sim->config->n_tier; t++) {
            sim->check.load_bytes[t] += record->load_bytes[t];
            result->tier[t].hit_tok += record->tier_tok[t];
            n_tok += record->tier_tok[t];
        }
        assert(n_tok == record->input_tok);
        assert(record->queue_ns >= 0 && record->load_ns >= 0);
        assert(record->queue_ns + record->load_ns + record->decode_ns + record->compute_ns ==
               record->first_token_ns - record->arrive_ns);
    } else {
        result->n_refused++;
    }
    const bool has_plan = req->done_tok ? req->had_plan : req->has_plan;
    record->plan = !has_plan || record->refused ? NULL
                   : req->done_tok              ? &req->first_plan
                                                : &req->plan;
    return sim->sink->request(sim->sink->ctx, record, sim->err) == KVS_OK;
}

/* Loading n_tok tokens in n_unit units of the layout from a tier of the replica, behind other
 * loads. */
static int64_t transfer_ns(const struct sim *sim, uint32_t replica_i, uint32_t tier_i,
                           uint32_t n_tok, uint32_t n_unit)
{
    const struct lane *lane = sim_lane(sim, replica_i, tier_i, false);
    const double n_bytes =
        sim->kv_bytes_per_tok * sim->ratio[sim->config->tier[tier_i].level] * n_tok;
    const double n_descriptor = sim->unit_descriptors * n_unit;
    double longest_s = 0;
    for (uint32_t h = 0; h < lane->n_hop; h++) {
        const struct kvs_table_hop *hop = &lane->hop[h];
        double s = kvs_link_s(hop->link, false, hop->share * n_bytes, hop->share * n_descriptor);
        longest_s = s > longest_s ? s : longest_s;
    }
    return lane->queued_ns + lane->latency_ns + kvs_ns(longest_s);
}

/* What a replica holds of the prompt, and what it would cost there. Tiers load at the same time. */
static void view_prompt(struct sim *sim, struct req *req, uint32_t replica_i,
                        struct kvs_replica_view *view)
{
    uint32_t held_tok = 0, tok[KVS_MAX_TIER] = {0}, n_unit[KVS_MAX_TIER] = {0};
    struct kvs_tier_stats hbm;
    req->record.replica = replica_i;
    sim_look_up(sim, req);
    for (uint32_t b = 0; b < req->n_block; b++) {
        int8_t where = req->where[b];
        if (where == KVS_AT_NONE)
            continue;
        held_tok += req->tok[b];
        if (where == KVS_AT_HBM ||
            (!sim->tier_shared[where] && (!sim_sharded(sim, (uint32_t)where) ||
                                          req->node[b] == sim->replica[replica_i].host_i)))
            view->match_tok += req->tok[b];
        if (where >= 0) {
            tok[where] += req->tok[b];
            n_unit[where] += sim_units(sim, req->tok[b]);
        }
    }
    for (uint32_t t = 0; t < sim->config->n_tier; t++) {
        int64_t ns = tok[t] ? transfer_ns(sim, replica_i, t, tok[t], n_unit[t]) : 0;
        view->transfer_ns = ns > view->transfer_ns ? ns : view->transfer_ns;
    }
    kvs_tier_stats(sim->replica[replica_i].hbm, &hbm);
    view->cached_bytes = hbm.used_bytes;
    view->prompt_tok = req->record.input_tok;
    view->prefill_ns = kvs_ns(sim_recompute_s(sim, req->record.input_tok - held_tok, held_tok));
    view->backlog_ns += sim->replica[replica_i].expected_ns;
}

static uint32_t route(struct sim *sim, struct req *req)
{
    const struct kvs_sim_config *config = sim->config;
    for (uint32_t r = 0; r < config->n_replica; r++) {
        const struct replica *replica = &sim->replica[r];
        sim->view[r] = (struct kvs_replica_view){.n_waiting = replica->n_waiting,
                                                 .n_running = replica->n_decoding,
                                                 .backlog_ns = replica->backlog_ns};
        if (config->router->looks_up)
            view_prompt(sim, req, r, &sim->view[r]);
    }
    uint32_t chosen = config->router->route(sim->view, config->n_replica, sim->n_arrived);
    req->expected_ns = sim->view[chosen].prefill_ns;
    return chosen;
}

static bool wait_for_room(struct sim *sim, struct req *req)
{
    struct replica *replica = &sim->replica[req->record.replica];
    req->next = NULL;
    req->prev = replica->wait_last;
    *(req->prev ? &req->prev->next : &replica->wait_first) = req;
    replica->wait_last = req;
    return (replica->wait_first != req && !sim->config->sched->rank) ||
           sim_admit_waiting(sim, req->record.replica);
}

/* The front end takes up its first prompt. */
static bool begin_front(struct sim *sim, uint32_t replica_i)
{
    const struct kvs_hw_serving *serving = sim->config->serving;
    const struct req *req = sim->replica[replica_i].front_first;
    double s = serving->request_s.value + serving->tok_s.value * req->record.input_tok;
    return sim_event(sim, sim->now_ns + kvs_ns(s), EV_FRONT, replica_i, 0);
}

static bool enter_front(struct sim *sim, struct req *req)
{
    struct replica *replica = &sim->replica[req->record.replica];
    const bool empty = !replica->front_first;
    req->next = NULL;
    *(empty ? &replica->front_first : &replica->front_last->next) = req;
    replica->front_last = req;
    return !empty || begin_front(sim, req->record.replica);
}

bool sim_front_end(struct sim *sim, uint32_t replica_i)
{
    struct replica *replica = &sim->replica[replica_i];
    struct req *req = replica->front_first;
    replica->front_first = req->next;
    return (!req->next || begin_front(sim, replica_i)) && wait_for_room(sim, req);
}

bool sim_arrive(struct sim *sim, struct req *req)
{
    req->record.index = sim->n_arrived;
    req->record.arrive_ns = sim->now_ns;
    uint32_t replica_i = req->record.replica = route(sim, req);
    struct replica *replica = &sim->replica[replica_i];
    struct kvs_tier_stats hbm;
    if (sim->n_arrived == 0)
        sim->result->first_arrive_ns = sim->now_ns;
    sim->result->last_arrive_ns = sim->now_ns;
    sample_work(sim);
    sim->n_arrived++;
    if (sim->sink->progress && sim->n_arrived % 1024 == 0 &&
        sim->sink->progress(sim->sink->ctx, sim->n_arrived, sim->now_ns)) {
        kvs_fail(sim->err, KVS_ERR_IO, "interrupted after %llu requests",
                 (unsigned long long)sim->n_arrived);
        sim_req_free(req);
        return false;
    }
    req->n_wait = req->n_follow = 0;
    req->has_plan = false;
    req->done_tok = 0;
    req->swap_bytes = 0;
    req->incoming = false;
    req->home_i = req->record.decode_replica = replica_i;
    kvs_tier_stats(replica->hbm, &hbm);
    for (uint32_t b = 0; b < req->n_block; b++)
        req->where[b] = KVS_AT_NONE;
    if (sim_need_bytes(sim, req, req->record.output_tok) > hbm.capacity_bytes) {
        req->record.refused = true;
        bool fine = emit(sim, req) && sim_answered(sim, req);
        req->next = sim->idle_req;
        sim->idle_req = req;
        return fine;
    }
    if (!live_add(sim, req)) {
        sim_req_free(req);
        return false;
    }
    count_in_system(sim, 1);
    req->weight_ns = weight_ns(sim, req);
    sim->work_ns += req->weight_ns;
    sim->all_work_ns += req->weight_ns;
    replica->n_waiting++;
    replica->expected_ns += req->expected_ns;
    return sim->config->serving ? enter_front(sim, req) : wait_for_room(sim, req);
}

void sim_first_token(struct sim *sim, struct req *req)
{
    struct kvs_sim_request *record = &req->record;
    record->first_token_ns = sim->last_first_token_ns = sim->now_ns;
    record->queue_ns = record->first_token_ns - record->arrive_ns - record->load_ns -
                       record->decode_ns - record->compute_ns;
}

bool sim_prefilled(struct sim *sim, struct req *req)
{
    struct replica *replica = &sim->replica[req->record.replica];
    replica->n_waiting--;
    replica->backlog_ns -= req->work_ns;
    *(req->prev ? &req->prev->next : &replica->pre_first) = req->next;
    *(req->next ? &req->next->prev : &replica->pre_last) = req->prev;
    for (uint32_t b = 0; b < req->n_block; b++)
        if (req->slot[b] != KVS_NO_SLOT && req->slot[b] < replica->owner_room &&
            replica->owner[req->slot[b]] == req->id)
            replica->owner[req->slot[b]] = 0;
    for (uint32_t f = 0; f < req->n_follow; f++) {
        assert(req->follow[f]->n_wait > 0);
        req->follow[f]->n_wait--;
    }
    req->n_follow = 0;
    return sim->config->planner->never_loads || sim_write_back(sim, req);
}

bool sim_finish(struct sim *sim, struct req *req)
{
    uint32_t replica_i = req->record.replica;
    req->record.finish_ns = sim->result->end_ns = sim->now_ns;
    sim_release_room(sim, req);
    live_del(sim, req);
    count_in_system(sim, -1);
    sim->work_ns -= req->weight_ns;
    sim->sojourn_s += (double)(req->record.finish_ns - req->record.arrive_ns) * 1e-9;
    req->record.replica = req->home_i;
    sim_trim_room(sim, &sim->replica[replica_i], 0); /* its answer's room, for those that wait */
    bool fine = emit(sim, req) && sim_answered(sim, req);
    req->next = sim->idle_req;
    sim->idle_req = req;
    return fine && sim_admit_waiting(sim, replica_i);
}
