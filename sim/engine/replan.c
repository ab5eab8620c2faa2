/*
 * replan.c - a plan made again when compute begins.
 *
 * A plan is made when a prompt is admitted, with the GPU's start and the links' rates as they look
 * then. When the GPU could begin with the prompt, all of that is known better: what has arrived is
 * there, and what is still to come comes at the links' present rate for as long as a load takes,
 * and then at the rate of late. Prompts before this one that wait for their loads leave the GPU
 * free now, but what they have to compute comes before its end.
 * The plan is then compared with plans that compute more and load less: a greater fraction in the
 * first layers, for every fraction and every number of layers. The reads which that makes needless
 * are cancelled from the next border of a layer on; what was read of them is counted. No load
 * grows: what a plan leaves out at admission has the whole queue to arrive in, and now it has not.
 *
 * The cost is that of plan.h, T and what others pay, counted from now on. A prompt is looked at
 * once: at the moment of its admission nothing has changed, so one that finds the GPU free keeps
 * its plan.
 */
#include "parts.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* A new plan must save so much of the time that is left: rates are not known better than that. */
#define ENOUGH_FRAC .01

/* What is known of one tier's load. */
struct coming {
    uint32_t keep;   /* layers whose reads are over or under way */
    int64_t from_ns; /* when those have arrived, or when the load begins */
    /* How many times its work a later layer takes: as the link is now for as long as a load takes,
     * since those that share it end then, and after that as loads took lately. */
    double slow, later_slow, while_ns;
    int64_t at_ns[KVS_MAX_LAYER];
};

struct replan {
    struct kvs_plan_problem problem; /* with prices, and the GPU's start as it is now */
    struct coming coming[KVS_MAX_TIER];
    uint32_t first_cut; /* a greater fraction in fewer layers cancels nothing */
};

/* Work before a load in its lane, at the lane's pace, and the latencies between. */
static int64_t turn_ns(const struct sim *sim, const struct lane *lane,
                       const struct transfer *transfer, double slow)
{
    double ns = 0;
    for (const struct transfer *t = lane->first; t != transfer; t = t->next) {
        double left_ns = (double)t->work_ns * slow + (double)t->latency_ns;
        if (t->flow != KVS_NO_FLOW) {
            int64_t end_ns = kvs_net_end_ns(sim->net, t->flow);
            left_ns = end_ns == INT64_MAX ? left_ns : (double)(end_ns - sim->now_ns);
        }
        ns += left_ns;
    }
    return sim->now_ns + (int64_t)ns + transfer->latency_ns;
}

/* false: a link stands still, and nothing can be said. */
static bool look_at(const struct sim *sim, const struct req *req, uint32_t t, struct coming *coming)
{
    const uint32_t n_layer = sim->n_layer;
    const struct lane *lane = sim_lane(sim, req->record.replica, t, false);
    coming->keep = n_layer;
    coming->slow = coming->later_slow = sim_lane_slow(lane, sim->now_ns);
    coming->while_ns = lane->took_ns;
    if (req->load[t] == LOAD_QUEUED) {
        coming->keep = 0;
        coming->from_ns = turn_ns(sim, lane, req->transfer[t], coming->slow);
        return true;
    }
    for (uint32_t l = 0; l < n_layer; l++) {
        coming->at_ns[l] = sim_arrival_ns(sim, req, t, l);
        if (coming->at_ns[l] == INT64_MAX)
            return false;
        if (coming->keep == n_layer && coming->at_ns[l] > sim->now_ns)
            coming->keep = l + 1; /* under way */
    }
    coming->from_ns = coming->at_ns[coming->keep - 1];
    int64_t work_ns = req->due_ns[t][n_layer - 1] - req->due_ns[t][coming->keep - 1];
    if (work_ns > 0)
        coming->slow = (double)(coming->at_ns[n_layer - 1] - coming->from_ns) / (double)work_ns;
    return true;
}

/* Queues and prices as if this prompt were not there yet. */
static void price(struct sim *sim, const struct req *req, struct kvs_plan_problem *problem)
{
    struct replica *replica = &sim->replica[req->record.replica];
    replica->backlog_ns -= req->work_ns;
    for (int sign = -1; sign <= 1; sign += 2) {
        for (uint32_t t = 0; t < sim->config->n_tier; t++)
            if (req->transfer[t])
                sim_lane(sim, req->record.replica, t, false)->queued_ns +=
                    sign * req->transfer[t]->work_ns;
        if (sign < 0)
            sim_price(sim, req, problem);
    }
    replica->backlog_ns += req->work_ns;
}

double sim_slowed_ns(double work_ns, double slow, double while_ns, double later_slow)
{
    double soon_ns = work_ns * slow;
    if (while_ns <= 0 || soon_ns <= while_ns)
        return soon_ns;
    return while_ns + (work_ns - while_ns / slow) * fmin(slow, later_slow);
}

/* Cost of a plan from now on; its evaluation counts from now too. */
static double cost_of(const struct sim *sim, const struct req *req, struct replan *replan,
                      const struct kvs_plan *plan, struct kvs_plan_eval *eval)
{
    const struct kvs_plan_problem *problem = &replan->problem;
    struct kvs_plan_actual actual = {.has_start = false};
    double link = 0;
    for (uint32_t t = 0; t < kvs_plan_routes(problem); t++) {
        struct coming *coming = &replan->coming[t];
        int64_t due_ns[KVS_MAX_LAYER];
        double own_ns = (double)sim_due(req, plan, t, coming->keep, due_ns);
        int64_t kept_ns = coming->keep ? due_ns[coming->keep - 1] : 0;
        for (uint32_t l = coming->keep; l < sim->n_layer; l++)
            coming->at_ns[l] = coming->from_ns +
                               (int64_t)sim_slowed_ns((double)(due_ns[l] - kept_ns), coming->slow,
                                                      coming->while_ns, coming->later_slow);
        link += problem->price_link[t] * own_ns * coming->slow;
        actual.arrive_ns[t] = coming->at_ns;
    }
    bool fine = kvs_plan_eval(problem, plan, &actual, eval);
    assert(fine);
    double pass_ns = kvs_plan_pass_ns(problem, plan);
    return (1 + problem->price_t) * ((double)(eval->end_ns - sim->now_ns) + pass_ns) + link +
           problem->price_gpu *
               ((double)(eval->pre_ns + eval->wait_ns + problem->head_ns) + pass_ns);
}

/* The best of the plans that compute more in the first layers; false: none is worth it. */
static bool pick(const struct sim *sim, const struct req *req, struct replan *replan,
                 struct kvs_plan *plan, struct kvs_plan_eval *eval)
{
    const struct kvs_plan *old = &req->plan;
    struct kvs_plan_eval its;
    double least = cost_of(sim, req, replan, old, &its);
    bool found = false;
    least -= ENOUGH_FRAC * (double)(its.end_ns - sim->now_ns);
    for (uint32_t i = 1; i < req->problem.n_frac; i++) {
        struct kvs_plan other = *old;
        for (uint32_t l = 0; l < sim->n_layer; l++) {
            if (old->frac_i[l] >= i)
                continue;
            other.frac_i[l] = (uint8_t)i;
            if (l < replan->first_cut)
                continue;
            double cost = cost_of(sim, req, replan, &other, &its);
            if (cost >= least || its.distortion > req->problem.budget)
                continue;
            found = true;
            least = cost;
            *plan = other;
            *eval = its;
        }
    }
    return found;
}

/* Bytes of layers [from, to) under a plan. */
static double bytes_of(const struct sim *sim, const struct req *req, const struct kvs_plan *plan,
                       uint32_t t, uint32_t from, uint32_t to)
{
    double n_bytes = 0;
    for (uint32_t l = from; l < to; l++)
        n_bytes += kvs_tables_load_bytes(req->inst, t, kvs_cost_class(sim->config->cost, l),
                                         plan->frac_i[l], plan->level[l]) +
                   sim_state_bytes(req, plan, t, l);
    return n_bytes;
}

/* Of these, from a layer on, hidden states. */
static double states_of(const struct sim *sim, const struct req *req, const struct kvs_plan *plan,
                        uint32_t t, uint32_t from)
{
    double n_bytes = 0;
    for (uint32_t l = from; l < sim->n_layer; l++)
        n_bytes += sim_state_bytes(req, plan, t, l);
    return n_bytes;
}

static bool cut_load(struct sim *sim, struct req *req, uint32_t t, uint32_t keep,
                     const struct kvs_plan *plan)
{
    struct kvs_sim_tier_total *total = &sim->result->tier[t];
    const uint32_t n_layer = sim->n_layer;
    double kept = bytes_of(sim, req, &req->plan, t, 0, keep);
    double n_bytes = kept + bytes_of(sim, req, plan, t, keep, n_layer);
    uint64_t left_bytes = n_bytes < 1                            ? 0
                          : n_bytes < (double)req->load_bytes[t] ? (uint64_t)n_bytes
                                                                 : req->load_bytes[t];
    uint64_t cancel_bytes = req->load_bytes[t] - left_bytes;
    req->unused_bytes[t] = (uint64_t)(kept - bytes_of(sim, req, plan, t, 0, keep));
    total->load_unused_bytes += req->unused_bytes[t];
    total->load_cancelled_bytes += cancel_bytes;
    const double less =
        states_of(sim, req, &req->plan, t, keep) - states_of(sim, req, plan, t, keep);
    const uint64_t state_bytes =
        less < (double)req->state_bytes[t] ? (uint64_t)fmax(0, less) : req->state_bytes[t];
    req->state_bytes[t] -= state_bytes;
    total->load_state_bytes -= state_bytes;
    req->load_bytes[t] = left_bytes;
    req->record.load_bytes[t] -= cancel_bytes;
    if (!cancel_bytes)
        return true;
    (void)sim_due(req, plan, t, keep, req->due_ns[t]);
    return sim_cut_load(sim, req, t, left_bytes);
}

/* The new plan takes the old one's place. */
static bool take(struct sim *sim, struct req *req, const struct replan *replan,
                 const struct kvs_plan *plan, const struct kvs_plan_eval *eval)
{
    struct replica *replica = &sim->replica[req->record.replica];
    for (uint32_t t = 0; t < kvs_plan_routes(&req->problem); t++)
        if (req->load[t] != LOAD_NONE && !cut_load(sim, req, t, replan->coming[t].keep, plan))
            return false;
    replica->n_loading -= req->n_loading == 0;
    req->plan = *plan;
    sim_drop_unread(sim, req);
    replica->backlog_ns -= req->work_ns;
    sim->check.asked_tok -= req->work_tok;
    sim_set_work(sim, req, eval);
    return true;
}

bool sim_replan(struct sim *sim, struct req *req, bool *computes)
{
    struct replan replan;
    struct kvs_plan plan;
    struct kvs_plan_eval eval;
    *computes = false;
    if (!sim->config->planner->replans || req->replanned || req->pre_left_tok < req->pre_tok)
        return true;
    req->replanned = true;
    if (sim->now_ns == req->admit_ns || !req->n_loading)
        return true;
    replan.problem = req->problem;
    replan.problem.gpu_start_ns = sim_gpu_start_ns(sim, req->record.replica, req);
    replan.first_cut = sim->n_layer;
    for (uint32_t t = 0; t < kvs_plan_routes(&req->problem); t++) {
        struct coming *coming = &replan.coming[t];
        if (!look_at(sim, req, t, coming))
            return true;
        replan.first_cut = coming->keep < replan.first_cut ? coming->keep : replan.first_cut;
    }
    if (sim->config->planner->priced)
        price(sim, req, &replan.problem);
    if (!pick(sim, req, &replan, &plan, &eval))
        return true;
    *computes = true;
    return take(sim, req, &replan, &plan, &eval);
}
