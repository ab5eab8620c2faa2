/*
 * price.c - what a second of a GPU or of a lane costs the requests behind it, for planners that
 * heed prices (plan.h).
 *
 * In a busy period a second more of service delays by a second whoever is behind: those who wait
 * already, and those who arrive before the queue drains. With work W in the queue, arrivals at rate
 * lambda and a load of rho = lambda * mean service, a queue drains in W / (1 - rho), so lambda * W
 * / (1 - rho) arrive meanwhile. A request has two queues before it, a GPU's and a lane's, and the
 * longer one decides when it starts: a GPU second counts by its share of both, a lane's second by
 * the square of its own, since a load is hidden behind the GPU's queue as long as that lasts.
 *
 * Sequences that decode join every pass, with logits of their own; a plan that computes before its
 * loads are there makes a pass more. That delays itself only: the logits would be computed anyway.
 *
 * Loads of replicas that share a link slow each other down, so a lane's work counts as much longer
 * as its loads took lately; the planner sees io times stretched by the same.
 */
#include "state.h"

#include <math.h>
#include <string.h>

#define MEMORY (1. / 64) /* weight of the newest in a running mean */
#define RECENT .25       /* of how slow the newest load was */
#define MOST_RHO .98     /* an estimate at or above 1 says nothing of how long a queue lasts */

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

void sim_pace_arrive(struct replica *replica, int64_t arrive_ns)
{
    struct pace *pace = &replica->pace;
    double gap_ns = arrive_ns > pace->last_ns ? (double)(arrive_ns - pace->last_ns) : 0;

    blend(&pace->gap_ns, gap_ns, pace->n_gap == 0);
    pace->last_ns = arrive_ns > pace->last_ns ? arrive_ns : pace->last_ns;
    pace->n_gap++;
}

void sim_pace_planned(struct sim *sim, const struct req *req)
{
    struct pace *pace = &sim->replica[req->record.replica].pace;

    blend(&pace->gpu_ns, (double)req->work_ns, pace->n_plan == 0);
    for (uint32_t t = 0; t < sim->config->n_tier; t++) {
        const struct lane *lane = sim_lane(sim, req->record.replica, t, false);
        const struct transfer *transfer = req->transfer[t];
        double io_ns = transfer ? (double)transfer->work_ns * sim_lane_slow(lane, sim->now_ns) : 0;

        blend(&pace->io_ns[t], io_ns, pace->n_plan == 0);
    }
    pace->n_plan++;
}

void sim_lane_done(struct lane *lane, const struct transfer *transfer, int64_t now_ns)
{
    double took_ns = (double)(now_ns - transfer->begin_ns);

    blend(&lane->took_ns, took_ns, lane->took_ns <= 0);
    lane->slow = sim_lane_slow(lane, now_ns);
    lane->slow += RECENT * (fmax(took_ns / (double)transfer->work_ns, 1) - lane->slow);
    lane->slow_at_ns = now_ns;
}

/* Arrivals in the rest of a busy period, from now on; idle: share of the time that is free for it.
 */
static double n_behind(double rate, double queue_ns, double mean_ns, double idle)
{
    double rho = fmin(rate * mean_ns / idle, MOST_RHO);

    return rate * (queue_ns + mean_ns) / idle / (1 - rho);
}

/* Share of its time that a GPU has for prefill. */
static double idle_of(const struct sim *sim, const struct replica *replica)
{
    double decode = sim->now_ns > 0 ? (double)replica->decode_ns / (double)sim->now_ns : 0;

    return fmax(1 - decode, .1);
}

double sim_gpu_price(const struct sim *sim, const struct replica *replica)
{
    const struct pace *pace = &replica->pace;
    double rate = pace->gap_ns > 0 ? 1 / pace->gap_ns : 0;
    /* admitted ones that neither wait nor decode are being handed over */
    double waiting = fmax(0, (double)replica->n_waiting -
                                 ((double)replica->n_admitted - (double)replica->n_decoding));

    return waiting +
           n_behind(rate, (double)replica->backlog_ns, pace->gpu_ns, idle_of(sim, replica));
}

void sim_price(const struct sim *sim, const struct req *req, struct kvs_plan_problem *problem)
{
    const struct replica *replica = &sim->replica[req->record.replica];
    const struct pace *pace = &replica->pace;
    double rate = pace->gap_ns > 0 ? 1 / pace->gap_ns : 0;
    double gpu_ns = ((double)replica->backlog_ns + pace->gpu_ns) / idle_of(sim, replica);
    double queue_ns[KVS_MAX_TIER];
    double longest_ns = 0, share;

    for (uint32_t t = 0; t < problem->n_route; t++) {
        const struct lane *lane = sim_lane(sim, req->record.replica, t, false);

        queue_ns[t] = (double)lane->queued_ns * sim_lane_slow(lane, sim->now_ns);
        longest_ns = fmax(longest_ns, queue_ns[t] + pace->io_ns[t]);
    }
    if (gpu_ns + longest_ns <= 0)
        return;
    share = longest_ns / (gpu_ns + longest_ns);
    problem->price_gpu = sim_gpu_price(sim, replica) * (1 - share);
    for (uint32_t t = 0; t < problem->n_route; t++)
        problem->price_link[t] = n_behind(rate, queue_ns[t], pace->io_ns[t], 1) * share * share *
                                 (queue_ns[t] + pace->io_ns[t]) / longest_ns;
    if (replica->n_decoding)
        problem->pass_ns =
            kvs_ns(kvs_cost_head_s(sim->config->cost, replica->n_decoding, replica->n_decoding));
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
                double slow =
                    sim_lane_slow(sim_lane(sim, req->record.replica, t, false), sim->now_ns);
                int64_t *io_ns = sim->stretched_ns + (n_class * (size_t)KVS_MAX_TIER + t) *
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
    for (uint32_t t = 0; t < problem->n_route; t++) {
        const struct lane *lane = sim_lane(sim, req->record.replica, t, false);

        problem->io_start_ns[t] +=
            (int64_t)((double)lane->queued_ns * (sim_lane_slow(lane, sim->now_ns) - 1));
    }
}
