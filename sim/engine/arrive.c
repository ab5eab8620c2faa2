/*
 * arrive.c - when the next request comes: as the trace says, drawn, or when an earlier one ended.
 *
 * open      the trace's requests in its order, at its times or at drawn ones; one is read ahead
 * sessions  a session begins like an open request; its next turn comes a think time after the
 *           answer to the one before: a partly open system (Schroeder, Wierman and Harchol-Balter
 *           2006). The trace is kept in memory: 48 bytes a request, 16 a block
 * closed    so many users; each takes the trace's next request a think time after the answer to the
 *           one before
 */
#include "parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define NO_TURN UINT32_MAX
#define MAX_TURN (1u << 28) /* they are indices of events */

/* A request kept for later. */
struct turn {
    /* in the trace; of a session's later turns, once all are read: time since the one before */
    int64_t at_ns;
    uint64_t session, first_block;
    uint32_t input_tok, output_tok, n_block;
    uint32_t next; /* of its session; NO_TURN: none */
    bool later;    /* there is one before it */
};

struct turns {
    struct turn *turn;
    struct kvs_trace_block *block;
    size_t n, room, n_block, block_room;
    size_t at; /* no session begins before this one that has not begun */
};

void sim_turns_free(struct turns *turns)
{
    if (!turns)
        return;
    free(turns->turn);
    free(turns->block);
    free(turns);
}

static bool turns_room(struct turns *turns, uint32_t n_block)
{
    if (turns->n == turns->room) {
        size_t room = turns->room + turns->room / 2 + 256;
        struct turn *turn = realloc(turns->turn, room * sizeof *turn);
        if (!turn)
            return false;
        turns->turn = turn;
        turns->room = room;
    }
    if (turns->n_block + n_block > turns->block_room) {
        size_t room = turns->n_block + n_block + turns->block_room / 2;
        struct kvs_trace_block *block = realloc(turns->block, room * sizeof *block);
        if (!block)
            return false;
        turns->block = block;
        turns->block_room = room;
    }
    return true;
}

/* Keeps a request; last knows each session's latest turn. */
static bool keep(struct sim *sim, struct kvs_map *last, const struct kvs_request *from)
{
    struct turns *turns = sim->turns;
    bool found;
    if (turns->n == MAX_TURN) {
        kvs_fail(sim->err, KVS_ERR_RANGE,
                 "arrivals.loop: more than %u requests to keep in memory; want a shorter trace",
                 MAX_TURN);
        return false;
    }
    if (!turns_room(turns, from->n_block))
        return sim_nomem(sim);
    const uint32_t i = (uint32_t)turns->n++;
    turns->turn[i] = (struct turn){.at_ns = from->arrive_ns,
                                   .session = from->session,
                                   .first_block = turns->n_block,
                                   .input_tok = from->input_tok,
                                   .output_tok = from->output_tok,
                                   .n_block = from->n_block,
                                   .next = NO_TURN};
    if (from->n_block)
        memcpy(turns->block + turns->n_block, from->block, from->n_block * sizeof *from->block);
    turns->n_block += from->n_block;
    if (!from->session)
        return true;
    uint32_t *before = kvs_map_put(last, from->session, i, &found);
    if (!before)
        return sim_nomem(sim);
    if (found) {
        turns->turn[i].later = true;
        turns->turn[*before].next = i;
        *before = i;
    }
    return true;
}

static bool read_next(struct sim *sim, const struct kvs_request **from)
{
    *from = NULL;
    if (sim->config->n_request && sim->n_read == sim->config->n_request)
        return true;
    if (kvs_trace_next(sim->trace, from, sim->err) != KVS_OK)
        return false;
    sim->n_read += *from != NULL;
    return true;
}

static bool read_all(struct sim *sim)
{
    struct kvs_map last;
    const struct kvs_request *from;
    bool fine = (sim->turns = calloc(1, sizeof *sim->turns)) && kvs_map_init(&last, 1024);
    if (!fine)
        return sim_nomem(sim);
    while ((fine = read_next(sim, &from)) && from && (fine = keep(sim, &last, from)))
        continue;
    kvs_map_free(&last);
    struct turns *turns = sim->turns;
    /* backwards, so that the turn before still has its time in the trace */
    for (size_t i = turns->n; fine && i-- > 0;)
        if (turns->turn[i].next != NO_TURN)
            turns->turn[turns->turn[i].next].at_ns -= turns->turn[i].at_ns;
    return fine;
}

static bool come(struct sim *sim, int64_t at_ns, uint32_t index)
{
    sim->n_coming++;
    return sim_event(sim, at_ns, EV_ARRIVE, index, 0);
}

/* When the request or session that the trace has at trace_ns begins. */
static int64_t begin_ns(struct sim *sim, int64_t trace_ns)
{
    const struct kvs_arrivals *arrivals = &sim->config->arrivals;
    double gap_s = 0;
    switch (arrivals->process) {
    case KVS_PROCESS_TRACE:
        return trace_ns;
    case KVS_PROCESS_POISSON:
        gap_s = kvs_rng_exp(&sim->arrive_rng, 1 / arrivals->rate_per_s);
        break;
    case KVS_PROCESS_GAMMA: {
        double cv2 = arrivals->cv * arrivals->cv;
        gap_s = kvs_rng_gamma(&sim->arrive_rng, 1 / cv2, cv2 / arrivals->rate_per_s);
        break;
    }
    }
    sim->last_begin_ns += kvs_ns(gap_s);
    return sim->last_begin_ns;
}

static int64_t think_ns(struct sim *sim, int64_t trace_gap_ns)
{
    const struct kvs_arrivals *arrivals = &sim->config->arrivals;
    switch (arrivals->think) {
    case KVS_THINK_TRACE:
        return trace_gap_ns;
    case KVS_THINK_FIXED:
        return kvs_ns(arrivals->think_s);
    case KVS_THINK_EXPONENTIAL:
        break;
    }
    return kvs_ns(kvs_rng_exp(&sim->think_rng, arrivals->think_s));
}

/* Reads the trace's next request ahead. */
static bool read_ahead(struct sim *sim)
{
    const struct kvs_request *from;
    if (!read_next(sim, &from))
        return false;
    if (!from)
        return true;
    sim->next_trace_ns = from->arrive_ns;
    sim->next_req = sim_req_new(sim, from);
    if (sim->next_req)
        sim->next_req->trace_i = sim->n_read - 1;
    return sim->next_req;
}

/* Open: schedules the request that was read ahead. */
static bool pull(struct sim *sim)
{
    return read_ahead(sim) && (!sim->next_req || come(sim, begin_ns(sim, sim->next_trace_ns), 0));
}

/* Sessions: schedules the first turn of the next one. */
static bool next_session(struct sim *sim)
{
    struct turns *turns = sim->turns;
    while (turns->at < turns->n && turns->turn[turns->at].later)
        turns->at++;
    if (turns->at == turns->n)
        return true;
    uint32_t i = (uint32_t)turns->at++;
    return come(sim, begin_ns(sim, turns->turn[i].at_ns), i);
}

bool sim_arrivals_begin(struct sim *sim)
{
    const struct kvs_arrivals *arrivals = &sim->config->arrivals;
    sim->arrive_rng = kvs_rng_stream(sim->config->seed, "arrivals");
    sim->think_rng = kvs_rng_stream(sim->config->seed, "think");
    switch (arrivals->loop) {
    case KVS_LOOP_OPEN:
        return pull(sim);
    case KVS_LOOP_SESSIONS:
        return read_all(sim) && next_session(sim);
    case KVS_LOOP_CLOSED:
        break;
    }
    if (!read_ahead(sim))
        return false;
    for (uint32_t user = 0; user < arrivals->in_flight; user++)
        if (!come(sim, think_ns(sim, 0), user))
            return false;
    return true;
}

static bool arrive_turn(struct sim *sim, uint32_t i)
{
    const struct turn *turn = &sim->turns->turn[i];
    const struct kvs_request from = {.session = turn->session,
                                     .input_tok = turn->input_tok,
                                     .output_tok = turn->output_tok,
                                     .n_block = turn->n_block,
                                     .block = sim->turns->block + turn->first_block};
    const bool later = turn->later;
    struct req *req = sim_req_new(sim, &from);
    if (!req)
        return false;
    req->turn_i = i;
    req->trace_i = i;
    return sim_arrive(sim, req) && (later || next_session(sim));
}

bool sim_coming(struct sim *sim, uint32_t index)
{
    assert(sim->n_coming > 0);
    sim->n_coming--;
    if (sim->turns)
        return arrive_turn(sim, index);
    struct req *req = sim->next_req;
    sim->next_req = NULL;
    if (!req)
        return true; /* the trace is used up: this user is done */
    req->turn_i = index;
    if (sim->config->arrivals.loop == KVS_LOOP_OPEN)
        return sim_arrive(sim, req) && pull(sim);
    if (read_ahead(sim))
        return sim_arrive(sim, req);
    sim_req_free(req);
    return false;
}

bool sim_more(const struct sim *sim)
{
    return sim->next_req || (sim->turns && sim->n_coming);
}

bool sim_answered(struct sim *sim, const struct req *req)
{
    if (sim->config->arrivals.loop == KVS_LOOP_CLOSED)
        return come(sim, sim->now_ns + think_ns(sim, 0), req->turn_i);
    if (sim->config->arrivals.loop == KVS_LOOP_OPEN)
        return true;
    uint32_t next = sim->turns->turn[req->turn_i].next;
    return next == NO_TURN ||
           come(sim, sim->now_ns + think_ns(sim, sim->turns->turn[next].at_ns), next);
}
