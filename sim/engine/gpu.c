/*
 * gpu.c - steps of a replica: prefill chunks, the layers they wait for.
 *
 * A step is one forward pass: a chunk of one waiting prompt, chunks of others that fit the token
 * budget beside it, and one token of each decoding sequence. Without a waiting prompt that can
 * start, a run of decode iterations is one step, cut short at the next iteration when one can.
 *
 * A prompt's first chunk of new tokens waits for its loads layer by layer (kvs_plan_eval). It
 * starts as late as it can without ending later, so that the GPU serves others meanwhile; if its
 * loads slow down after that, the step stalls, and its end is known when they are done.
 */
#include "parts.h"

#include <assert.h>

/* Fills in the arrivals of a request's layers. false if a load has not begun. */
static bool arrivals(struct sim *sim, const struct req *req, struct kvs_plan_actual *actual)
{
    for (uint32_t t = 0; t < kvs_plan_routes(&req->problem); t++) {
        int64_t *at = req->arrive_ns[t];
        if (req->load[t] == LOAD_QUEUED)
            return false;
        if (req->load[t] != LOAD_DONE)
            for (uint32_t l = 0; l < sim->n_layer; l++)
                at[l] = sim_arrival_ns(sim, req, t, l);
        actual->arrive_ns[t] = at;
    }
    return true;
}

/* A prompt parked for its loads is looked at when it is admitted and every repoll_ns from then on.
 */
static int64_t seen_ns(const struct sim *sim, const struct req *req, int64_t at_ns)
{
    const int64_t every_ns = sim->config->repoll_ns;
    if (!every_ns || at_ns <= req->ready_ns)
        return at_ns;
    int64_t n = (at_ns - req->admit_ns + every_ns - 1) / every_ns;
    return req->admit_ns + n * every_ns;
}

/* When the first chunk could start without a stall, as things stand; INT64_MAX: a load has not
 * begun. */
static int64_t unstalled_ns(struct sim *sim, struct req *req)
{
    if (req->unstalled_ns != INT64_MAX)
        return req->unstalled_ns;
    if (!req->loads) {
        req->unstalled_ns = req->ready_ns;
        return req->ready_ns;
    }
    struct kvs_plan_actual actual = {.has_start = true, .start_ns = req->ready_ns};
    struct kvs_plan_eval eval;
    if (!arrivals(sim, req, &actual))
        return INT64_MAX;
    bool fine = kvs_plan_eval(&req->problem, &req->plan, &actual, &eval);
    assert(fine);
    req->unstalled_ns = seen_ns(sim, req, req->ready_ns + eval.slack_ns);
    return req->unstalled_ns;
}

/* When the prompt's next work can start: now or earlier, later, or INT64_MAX for not known yet. */
static int64_t can_start_ns(struct sim *sim, struct req *req)
{
    if (req->n_wait)
        return INT64_MAX;
    return req->phase == PHASE_FIRST ? unstalled_ns(sim, req) : INT64_MIN;
}

/* Tokens of the prompt's next chunk within a budget; 0 if none fits. */
static uint32_t chunk_of(const struct req *req, uint32_t budget)
{
    uint32_t left = req->phase == PHASE_PRE ? req->pre_left_tok : req->later_left_tok;
    if (req->phase == PHASE_FIRST)
        return req->first_tok <= budget ? req->first_tok : 0;
    return left < budget ? left : budget;
}

static int64_t rank_of(const struct sim *sim, const struct req *req)
{
    if (sim->now_ns - req->record.arrive_ns >= KVS_SCHED_AGE_NS)
        return INT64_MIN;
    struct kvs_sched_view view = {.hit_tok = req->now.prompt_tok - req->now.new_tok,
                                  .left_tok = req->work_tok};
    return sim->config->sched->rank(&view);
}

/* Whether a goes before b, which stands before it in the list of admitted prompts. */
static bool goes_before(const struct sim *sim, const struct req *a, const struct req *b)
{
    if (!sim->config->sched->rank)
        return false;
    int64_t x = rank_of(sim, a), y = rank_of(sim, b);
    return x < y || (x == y && a->record.index < b->record.index);
}

/* The scheduler's first among the prompts that can start now; *soon_ns: when the next one can. */
static struct req *next_prompt(struct sim *sim, struct replica *replica, int64_t *soon_ns)
{
    struct req *best = NULL;
    *soon_ns = INT64_MAX;
    for (struct req *req = replica->pre_first; req; req = req->next) {
        int64_t at_ns = can_start_ns(sim, req);
        if (at_ns > sim->now_ns)
            *soon_ns = at_ns < *soon_ns ? at_ns : *soon_ns;
        else if (!best || goes_before(sim, req, best))
            best = req;
        if (best && !sim->config->sched->rank)
            break;
    }
    return best;
}

static bool in_step(const struct step *step, const struct req *req)
{
    for (uint32_t p = 0; p < step->n_part; p++)
        if (step->part[p].req == req)
            return true;
    return false;
}

/* The scheduler's next among those that can join the step with a chunk of at most budget tokens. */
static struct req *next_part(struct sim *sim, const struct replica *replica, uint32_t budget)
{
    const struct step *step = &replica->step;
    const bool ranked = sim->config->sched->rank;
    struct req *best = NULL;
    for (struct req *req = ranked ? replica->pre_first : step->part[step->n_part - 1].req->next;
         req && (ranked || !best); req = req->next)
        if (can_start_ns(sim, req) <= sim->now_ns && !req->n_loading && chunk_of(req, budget) &&
            !(ranked && in_step(step, req)) && (!best || goes_before(sim, req, best)))
            best = req;
    return best;
}

static bool wake_at(struct sim *sim, uint32_t replica_i, int64_t at_ns)
{
    struct replica *replica = &sim->replica[replica_i];
    if (at_ns == replica->wake_ns)
        return true;
    replica->wake_ns = at_ns;
    replica->wake_version++;
    return at_ns == INT64_MAX || sim_event(sim, at_ns, EV_WAKE, replica_i, replica->wake_version);
}

bool sim_step_ends_at(struct sim *sim, uint32_t replica_i, int64_t end_ns)
{
    struct replica *replica = &sim->replica[replica_i];
    replica->step.end_ns = end_ns;
    replica->step_version++;
    return sim_event(sim, end_ns, EV_STEP_END, replica_i, replica->step_version);
}

/* Other prompts join the first one's pass. */
static void fill_step(struct sim *sim, struct replica *replica)
{
    struct step *step = &replica->step;
    uint32_t budget = sim->config->chunk_tok;
    uint32_t used = step->part[0].n_tok < budget ? step->part[0].n_tok : budget;
    while (step->n_part < sim->config->prefill_batch && used < budget) {
        struct req *req = next_part(sim, replica, budget - used);
        if (!req)
            break;
        uint32_t n_tok = chunk_of(req, budget - used);
        step->part[step->n_part++] = (struct part){req, n_tok};
        used += n_tok;
    }
    step->extra_ns = sim_extra_ns(sim, replica);
}

/* Embedding and logits of a prompt, which count in its last chunk. */
static int64_t head_ns(const struct sim *sim, const struct req *req)
{
    return kvs_ns(kvs_cost_head_s(sim->config->cost, req->now.new_tok, 1));
}

int64_t sim_chunk_ns(const struct req *req, uint32_t n_tok)
{
    if (req->phase == PHASE_PRE)
        return (int64_t)((double)(req->work_ns - req->rest_ns) * n_tok / req->pre_left_tok);
    return (int64_t)((double)req->work_ns * n_tok / req->work_tok);
}

int64_t sim_gpu_start_ns(const struct sim *sim, uint32_t replica_i, const struct req *before)
{
    const struct replica *replica = &sim->replica[replica_i];
    const struct step *step = &replica->step;
    int64_t ns = before ? 0 : replica->backlog_ns, part_ns = 0;

    for (const struct req *req = replica->pre_first; before && req != before; req = req->next)
        ns += req->work_ns;
    if (step->kind != STEP_PREFILL)
        return sim->now_ns + ns;
    for (uint32_t p = 0; p < step->n_part; p++)
        part_ns += sim_chunk_ns(step->part[p].req, step->part[p].n_tok);
    ns -= part_ns;
    if (!step->open)
        return step->end_ns + ns;
    part_ns -= sim->now_ns - step->begin_ns;
    return sim->now_ns + ns + (part_ns > 0 ? part_ns : 0);
}

/* An open step's end, now that its first part's loads are done. */
static bool close_first(struct sim *sim, uint32_t replica_i)
{
    struct replica *replica = &sim->replica[replica_i];
    struct step *step = &replica->step;
    struct req *req = step->part[0].req;
    struct kvs_plan_actual actual = {.has_start = true, .start_ns = step->begin_ns};
    struct kvs_plan_eval eval;
    bool fine =
        arrivals(sim, req, &actual) && kvs_plan_eval(&req->problem, &req->plan, &actual, &eval);
    assert(fine);
    step->open = false;
    step->stall_ns = eval.stall_ns;
    int64_t end_ns = eval.end_ns - req->problem.head_ns + step->extra_ns;
    if (sim_is_last_chunk(&step->part[0]))
        end_ns += head_ns(sim, req);
    assert(end_ns >= sim->now_ns);
    return sim_step_ends_at(sim, replica_i, end_ns);
}

static bool begin_prefill(struct sim *sim, uint32_t replica_i, struct req *req)
{
    struct replica *replica = &sim->replica[replica_i];
    struct step *step = &replica->step;
    bool computes;
    if (req->phase == PHASE_PRE && !sim_replan(sim, req, &computes))
        return false;
    const bool idle = sim->now_ns > replica->prefill_end_ns;
    if (sim->now_ns > replica->run_end_ns)
        replica->run.n = 0;
    step->kind = STEP_PREFILL;
    step->begin_ns = sim->now_ns;
    step->stall_ns = 0;
    step->n_part = 1;
    step->part[0] = (struct part){req, chunk_of(req, sim->config->chunk_tok)};
    assert(step->part[0].n_tok > 0);
    fill_step(sim, replica);
    for (uint32_t p = 0; p < step->n_part; p++) {
        struct req *other = step->part[p].req;
        if (other->phase == PHASE_FIRST)
            sim_pace_first(sim, other, idle && p == 0);
        if (other->phase == PHASE_FIRST && !other->done_tok)
            other->record.load_ns += other->unstalled_ns - other->ready_ns;
    }
    if (req->phase == PHASE_FIRST) {
        step->open = req->n_loading > 0;
        return step->open || close_first(sim, replica_i);
    }
    step->open = false;
    int64_t ns = sim_part_ns(sim, &step->part[0]);
    if (sim_is_last_chunk(&step->part[0]))
        ns += head_ns(sim, req);
    return sim_step_ends_at(sim, replica_i, sim->now_ns + ns + step->extra_ns);
}

/*
 * The GPU has nothing nearer to do than to wait for the first prompt's loads: computing some of it
 * instead may be better. *req: it is, and that can begin.
 */
static bool replan_first(struct sim *sim, struct replica *replica, struct req **req)
{
    struct req *first = replica->pre_first;
    bool computes;
    while (first && first->n_wait)
        first = first->next;
    *req = NULL;
    if (!first || !first->n_loading)
        return true;
    if (!sim_replan(sim, first, &computes))
        return false;
    *req = computes && first->phase == PHASE_PRE ? first : NULL;
    return true;
}

bool sim_poke(struct sim *sim, uint32_t replica_i)
{
    struct replica *replica = &sim->replica[replica_i];
    int64_t soon_ns;
    if (replica->step.kind == STEP_PREFILL || replica->step.kind == STEP_ENDING)
        return true;
    if (replica->step.kind == STEP_IDLE && !sim_join_back(sim, replica))
        return false;
    if (replica->step.kind == STEP_IDLE && replica->n_decoding) {
        if (!sim_make_room(sim, replica_i))
            return false;
        if (replica->n_swapping)
            return true; /* sim_swapped comes back here */
    }
    struct req *req = next_prompt(sim, replica, &soon_ns);
    if (!req && !replan_first(sim, replica, &req))
        return false;
    if (!req && !wake_at(sim, replica_i, soon_ns))
        return false;
    if (replica->step.kind == STEP_DECODE)
        return !(req || replica->back) || sim_cut_decode(sim, replica_i);
    if (req)
        return begin_prefill(sim, replica_i, req) &&
               (!sim->config->planner->replans || !sim->config->max_pending_loads ||
                sim_admit_waiting(sim, replica_i)); /* its loads may be dropped */
    return replica->n_decoding == 0 || sim_begin_decode(sim, replica_i);
}

bool sim_loads_done(struct sim *sim, struct req *req)
{
    const struct step *step = &sim->replica[req->record.replica].step;
    req->unstalled_ns = INT64_MAX;
    if (req->n_loading)
        return true;
    sim->replica[req->record.replica].n_loading--;
    if (sim->config->max_pending_loads && !sim_admit_waiting(sim, req->record.replica))
        return false;
    if (step->kind == STEP_PREFILL && step->open && step->part[0].req == req)
        return close_first(sim, req->record.replica);
    return sim_poke(sim, req->record.replica);
}

/* The prompt is computed: its first token is there, or the next after a preemption. */
static bool first_token(struct sim *sim, struct req *req)
{
    if (sim_only_prefills(sim, req->record.replica))
        return sim_hand_over(sim, req);
    if (!req->done_tok)
        sim_first_token(sim, req);
    if (!sim_prefilled(sim, req))
        return false;
    return sim_resume_decode(sim, req, req->done_tok + 1);
}

/* Moves a prompt past its chunk. *done: that was its last. */
static void advance_part(struct sim *sim, struct req *req, uint32_t n_tok, bool *done)
{
    *done = false;
    switch (req->phase) {
    case PHASE_PRE:
        req->pre_left_ns = n_tok == req->pre_left_tok
                               ? 0
                               : req->pre_left_ns - (int64_t)((double)req->pre_left_ns * n_tok /
                                                              req->pre_left_tok);
        req->pre_left_tok -= n_tok;
        if (req->pre_left_tok == 0) {
            req->phase = PHASE_FIRST;
            req->ready_ns = sim->now_ns;
            req->unstalled_ns = INT64_MAX;
        }
        break;
    case PHASE_FIRST:
        req->phase = PHASE_LATER;
        *done = req->later_left_tok == 0;
        break;
    case PHASE_LATER:
        req->later_left_tok -= n_tok;
        *done = req->later_left_tok == 0;
        break;
    case PHASE_DECODE:
        assert(req->phase != PHASE_DECODE); /* it has no chunk */
    }
}

static bool prefill_end(struct sim *sim, struct replica *replica)
{
    struct step *step = &replica->step;
    int64_t busy_ns = step->end_ns - step->begin_ns - step->stall_ns;
    uint64_t n_tok = 0;
    for (uint32_t p = 0; p < step->n_part; p++)
        n_tok += step->part[p].n_tok;
    replica->prefill_end_ns = replica->run_end_ns = sim->now_ns;
    sim->check.done_tok += n_tok;
    sim->check.n_part += step->n_part;
    double share = (double)n_tok / (double)(n_tok + replica->n_decoding);
    int64_t prefill_ns = (int64_t)((double)busy_ns * share);
    replica->busy_ns += busy_ns;
    replica->stall_ns += step->stall_ns;
    replica->prefill_ns += prefill_ns;
    replica->decode_ns += busy_ns - prefill_ns;
    uint32_t n_part = step->n_part, n_old = replica->n_decoding;
    /* sequences that decoded in this step are those from before it */
    if (n_old && !sim_advance_decode(sim, replica, 1))
        return false;
    for (uint32_t p = 0; p < n_part; p++) {
        struct req *req = step->part[p].req;
        int64_t own_ns =
            n_part == 1 && !n_old
                ? busy_ns
                : (int64_t)((double)busy_ns * step->part[p].n_tok / (double)(n_tok + n_old));
        bool done;
        if (!req->done_tok) {
            req->record.compute_ns += own_ns;
            req->record.decode_ns += busy_ns - own_ns;
            req->record.load_ns += step->stall_ns;
        }
        int64_t done_ns = sim_chunk_ns(req, step->part[p].n_tok);
        req->work_ns -= done_ns;
        req->work_tok -= step->part[p].n_tok;
        replica->backlog_ns -= done_ns;
        advance_part(sim, req, step->part[p].n_tok, &done);
        if (done && !first_token(sim, req))
            return false;
    }
    sim_trim_room(sim, replica, 0);
    return true;
}

bool sim_step_end(struct sim *sim, uint32_t replica_i)
{
    struct replica *replica = &sim->replica[replica_i];
    struct step *step = &replica->step;
    struct kvs_span span = {
        .replica = replica_i, .begin_ns = step->begin_ns, .end_ns = sim->now_ns};
    assert(step->end_ns == sim->now_ns && !step->open);
    replica->steps_ns += step->end_ns - step->begin_ns;
    if (step->kind == STEP_DECODE) {
        span.kind = KVS_SPAN_DECODE;
        span.n_tok = (uint32_t)step->n_iter;
        span.request = UINT64_MAX;
        replica->busy_ns += sim->now_ns - step->begin_ns;
        replica->decode_ns += sim->now_ns - step->begin_ns;
        step->kind = STEP_ENDING;
        sim_pace_decoded(replica, sim->now_ns);
        if (!sim_span(sim, &span) || !sim_advance_decode(sim, replica, step->n_iter))
            return false;
        sim_trim_room(sim, replica, 0);
    } else {
        step->kind = STEP_ENDING;
        span.kind = KVS_SPAN_STEP;
        span.request = step->n_part == 1 ? step->part[0].req->record.index : UINT64_MAX;
        for (uint32_t p = 0; p < step->n_part; p++)
            span.n_tok += step->part[p].n_tok;
        if (!sim_span(sim, &span))
            return false;
        if (step->stall_ns) {
            struct kvs_span stall = span;
            stall.kind = KVS_SPAN_STALL;
            stall.begin_ns = stall.end_ns - step->stall_ns;
            if (!sim_span(sim, &stall))
                return false;
        }
        if (!prefill_end(sim, replica))
            return false;
    }
    step->kind = STEP_IDLE;
    return sim_poke(sim, replica_i);
}
