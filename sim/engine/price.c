/*
 * price.c - what a second of a GPU or of a lane costs the requests behind it, for planners that
 * heed prices (plan.h).
 *
 * A second more of service makes all those a second later who come after it in the same unbroken
 * run of work, and nobody once the server has stood idle. So the runs are counted as they happen
 * (infinitesimal perturbation analysis, Ho and Cao 1983), whatever the arrivals are like: pairs of
 * one prompt before another, over the work that was queued when they were planned, gives how many a
 * second of queue delays. For Poisson arrivals and rho = lambda * mean service that is lambda / (1
 * - rho), as many as come before the queue has drained.
 *
 * A prompt that found the GPU idle and had waited for its loads was delayed by those before it in
 * its lane; any other by those before it on the GPU. Decoding does not delay a prompt: prefill goes
 * first. It does so, and goes on with a run, where prompts wait for a place and most places are
 * held by what is computed or decoded. Those that wait for a place, or for room in HBM, wait for
 * whoever holds the places: a nanosecond of T keeps this prompt's share of them so much longer, one
 * of a lane that of the prompts which load behind it, and one of the GPU all the others.
 *
 * Sequences that decode join every pass, all layers of them and their logits, even where a prompt
 * is computed in its first layers only. What is computed before the loads are there takes passes of
 * its own, one a chunk: no prompt that loads joins another's step. That delays the prompt and those
 * behind it on the GPU; the others would be decoded anyway. In a layer with tokens they take little
 * more time; one with none is read from memory for them. Where prompts wait for a place, they wait
 * for decoding: a pass then does what an iteration of decoding would, and what both share, the
 * reading of the weights, is won.
 *
 * Loads of replicas that share a link slow each other down, so a lane's work counts as much longer
 * as its loads took lately; the planner sees io times stretched by the same.
 */
#include "parts.h"

#include <math.h>
#include <string.h>

#define MEMORY (1. / 64) /* weight of the newest in a running mean */
#define RECENT .25       /* of how slow the newest load was */
/* Of a lane's delay to those behind: they compute more instead, which wins back about half.
 * Assumed, and of little weight: from .25 to 1 the mean TTFT over 48 rows of workloads/reproduce
 * changes by 0.14 %. */
#define LANE_FELT .5

static void blend(double *mean, double value, bool first)
{
    *mean = first ? value : *mean + MEMORY * (value - *mean);
}

double sim_lane_slow(const struct lane *lane, int64_t now_ns)
{
    double ago_ns = (double)(now_ns - lane->slow_at_ns);

    if (lane->slow <= 1)
        return 1;
    return 1 + (lane->slow - 1) * lane->took_ns / (lane->took_ns + ago_ns);
}

void sim_pace_planned(struct sim *sim, struct req *req)
{
    struct replica *replica = &sim->replica[req->record.replica];
    struct pace *pace = &replica->pace;

    blend(&pace->gpu_ns, (double)req->work_ns, pace->n_plan == 0);
    req->ahead.gpu_ns = (double)replica->backlog_ns;
    for (uint32_t t = 0; t < sim->config->n_tier; t++) {
        struct lane *lane = sim_lane(sim, req->record.replica, t, false);
        const struct transfer *transfer = req->transfer[t];
        double slow = sim_lane_slow(lane, sim->now_ns);

        blend(&pace->io_ns[t], transfer ? (double)transfer->work_ns * slow : 0, pace->n_plan == 0);
        if (!transfer)
            continue;
        if (lane->first == transfer)
            lane->run.n = 0;
        req->ahead.io_ns[t] = (double)lane->queued_ns * slow;
        req->ahead.n_load[t] = lane->run.n++;
    }
    pace->n_plan++;
}

static void run_add(struct run *run, double ahead_ns, uint32_t n_before)
{
    run->pairs += n_before - MEMORY * run->pairs;
    run->ahead_ns += ahead_ns - MEMORY * run->ahead_ns;
}

void sim_pace_first(struct sim *sim, const struct req *req, bool idle)
{
    struct replica *replica = &sim->replica[req->record.replica];
    bool by_loads = idle && req->loads && req->unstalled_ns > req->ready_ns;

    run_add(&replica->run, req->ahead.gpu_ns, by_loads ? 0 : replica->run.n);
    replica->run.n++;
    for (uint32_t t = 0; t < sim->config->n_tier; t++)
        if (req->load[t] != LOAD_NONE)
            run_add(&sim_lane(sim, req->record.replica, t, false)->run, req->ahead.io_ns[t],
                    by_loads ? req->ahead.n_load[t] : 0);
}

void sim_pace_decoded(struct replica *replica, int64_t now_ns)
{
    if (replica->wait_first && 4 * replica->n_loading < replica->n_admitted)
        replica->run_end_ns = now_ns;
}

void sim_lane_done(struct lane *lane, const struct transfer *transfer, int64_t now_ns)
{
    double took_ns = (double)(now_ns - transfer->begin_ns);

    blend(&lane->took_ns, took_ns, lane->took_ns <= 0);
    lane->slow = sim_lane_slow(lane, now_ns);
    lane->slow += RECENT * (fmax(took_ns / (double)transfer->work_ns, 1) - lane->slow);
    lane->slow_at_ns = now_ns;
}

/* How many are delayed by a server with this much queued. */
static double n_behind(const struct run *run, double queue_ns)
{
    return run->ahead_ns > 0 ? run->pairs / run->ahead_ns * queue_ns : 0;
}

/* Passes over tokens that wait for no load: what the serving system and those who decode add, less
 * the iteration of decoding that a pass saves where prompts wait for a place. */
static void price_passes(struct sim *sim, const struct req *req, struct kvs_plan_problem *problem)
{
    const struct replica *replica = &sim->replica[req->record.replica];
    const uint32_t chunk_tok = sim->config->chunk_tok;
    int64_t pass_ns = sim->step_ns, rest_ns = 0;

    if (replica->n_decoding) {
        double n = replica->n_decoding;
        uint32_t n_tok = req->now.prompt_tok < chunk_tok ? req->now.prompt_tok : chunk_tok;
        struct kvs_seg seg[2] = {{1, n_tok, 0}, {n, 1, replica->context_tok / n}};
        int64_t more_ns = sim_pass_ns(sim, seg, 2) - sim_pass_ns(sim, seg, 1);

        more_ns = more_ns > 0 ? more_ns : 0;
        rest_ns = (sim_pass_ns(sim, &seg[1], 1) - more_ns) / sim->n_layer;
        if (replica->wait_first)
            pass_ns -= rest_ns * sim->n_layer;
        else
            pass_ns += more_ns + kvs_ns(kvs_cost_head_s(sim->config->cost, n, n));
    }
    for (uint32_t i = 0; i < problem->n_frac; i++) {
        uint32_t n_tok = kvs_tables_recompute_tok(req->inst, i);
        uint32_t n_pass = (n_tok + chunk_tok - 1) / chunk_tok;

        sim->pass_ns[i] = pass_ns * n_pass;
        sim->pass_rest_ns[i] = rest_ns * n_pass;
    }
    problem->pass_ns = sim->pass_ns;
    problem->pass_rest_ns = sim->pass_rest_ns;
}

/* Of the places, or the room in HBM where that is what there is too little of, that are taken. */
struct shares {
    double own, loading, others; /* this prompt's; those of other prompts that load; the rest */
};

static struct shares shares_of(const struct sim *sim, const struct req *req)
{
    const struct replica *replica = &sim->replica[req->record.replica];
    const bool by_place = replica->n_admitted >= sim->config->max_batch;
    double own = by_place ? 1 : req->now.prompt_tok, loading = 0;
    double others = by_place ? replica->n_decoding : replica->context_tok;

    for (const struct req *r = replica->pre_first; r; r = r->next)
        if (r != req)
            *(r->n_loading ? &loading : &others) += by_place ? 1 : r->now.prompt_tok;
    double all = own + loading + others;
    return (struct shares){own / all, loading / all, others / all};
}

void sim_price(struct sim *sim, const struct req *req, struct kvs_plan_problem *problem)
{
    const struct replica *replica = &sim->replica[req->record.replica];
    const struct pace *pace = &replica->pace;
    /* admitted ones that neither wait nor decode are being handed over */
    double placeless = fmax(0, (double)replica->n_waiting -
                                   ((double)replica->n_admitted - (double)replica->n_decoding));
    const struct shares shares = placeless > 0 ? shares_of(sim, req) : (struct shares){0};
    double queue_ns[KVS_MAX_TIER], longest_ns = 0;

    problem->price_t = placeless * shares.own;
    problem->price_gpu = placeless * shares.others +
                         n_behind(&replica->run, (double)replica->backlog_ns + pace->gpu_ns);
    for (uint32_t t = 0; t < kvs_plan_routes(problem); t++) {
        const struct lane *lane = sim_lane(sim, req->record.replica, t, false);

        queue_ns[t] = (double)lane->queued_ns * sim_lane_slow(lane, sim->now_ns) + pace->io_ns[t];
        longest_ns = fmax(longest_ns, queue_ns[t]);
    }
    for (uint32_t t = 0; t < kvs_plan_routes(problem) && longest_ns > 0; t++)
        problem->price_link[t] =
            placeless * shares.loading * queue_ns[t] / longest_ns +
            LANE_FELT * n_behind(&sim_lane(sim, req->record.replica, t, false)->run, queue_ns[t]);
    price_passes(sim, req, problem);
}

/* How many times its work a pipe takes: of a shared hop, as the slowest of its routes' lanes. */
static double pipe_slow(const struct sim *sim, const struct req *req,
                        const struct kvs_plan_problem *problem, uint32_t k)
{
    uint32_t n_route = kvs_plan_routes(problem);
    uint32_t by = k < n_route ? 1u << k : problem->shared_by[k - n_route];
    double slow = 0;

    for (uint32_t t = 0; t < n_route; t++)
        if (by >> t & 1)
            slow = fmax(slow,
                        sim_lane_slow(sim_lane(sim, req->record.replica, t, false), sim->now_ns));
    return slow;
}

void sim_stretch(struct sim *sim, const struct req *req, struct kvs_plan_problem *problem)
{
    uint32_t n_cell = problem->n_frac * problem->n_level, n_class = 0;
    const struct kvs_layer_cost *from[KVS_MAX_LAYER];

    for (uint32_t l = 0; l < problem->n_layer; l++) {
        uint32_t c = n_class;

        while (c > 0 && from[c - 1] != problem->layer[l])
            c--;
        if (c == 0) {
            struct kvs_layer_cost *cost = &sim->stretched[n_class];

            from[n_class] = problem->layer[l];
            *cost = *problem->layer[l];
            for (uint32_t t = 0; t < problem->n_route; t++) {
                double slow = pipe_slow(sim, req, problem, t);
                int64_t *io_ns = sim->stretched_ns + (n_class * (size_t)KVS_MAX_ROUTE + t) *
                                                         KVS_MAX_FRAC * KVS_MAX_LEVEL;

                for (uint32_t i = 0; i < n_cell; i++)
                    io_ns[i] = (int64_t)((double)problem->layer[l]->io_ns[t][i] * slow);
                cost->io_ns[t] = io_ns;
            }
            c = ++n_class;
        }
        sim->stretched_layer[l] = &sim->stretched[c - 1];
    }
    problem->layer = sim->stretched_layer;
    for (uint32_t k = 0; problem->state_at && k < problem->n_route; k++) {
        double slow = pipe_slow(sim, req, problem, k);

        for (uint32_t i = 0; i < problem->n_frac; i++)
            sim->stretched_state_ns[k][i] = (int64_t)((double)problem->state_ns[k][i] * slow);
        problem->state_ns[k] = sim->stretched_state_ns[k];
    }
    for (uint32_t t = 0; t < kvs_plan_routes(problem); t++) {
        const struct lane *lane = sim_lane(sim, req->record.replica, t, false);

        problem->io_start_ns[t] +=
            (int64_t)((double)lane->queued_ns * (sim_lane_slow(lane, sim->now_ns) - 1));
    }
    kvs_plan_share(problem);
}
