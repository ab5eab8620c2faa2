#include "answer.h"

#include "base/units.h"
#include "provenance.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Policies within this share of the fastest one are called as fast. */
#define EQUAL_FRAC 0.01

struct text {
    char *at;
    size_t room;
};

static void KVS_PRINTF(2, 3) say(struct text *text, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text->at, text->room, fmt, args);
    va_end(args);
    if (n < 0)
        return;
    size_t used = (size_t)n < text->room ? (size_t)n : text->room - 1;
    text->at += used;
    text->room -= used;
}

/* The first of compare that is within EQUAL_FRAC of the fastest; NULL: no request ran. */
static const struct kvs_outcome *winner_of(const struct kvs_outcome *outcome, uint32_t n)
{
    double least_s = (double)INFINITY;
    for (uint32_t i = 0; i < n; i++)
        if (outcome[i].n_run && outcome[i].ttft_s.mean < least_s)
            least_s = outcome[i].ttft_s.mean;
    for (uint32_t i = 0; i < n; i++)
        if (outcome[i].n_run && outcome[i].ttft_s.mean <= least_s * (1 + EQUAL_FRAC))
            return &outcome[i];
    return NULL;
}

static bool equal_to(const struct kvs_outcome *winner, const struct kvs_outcome *other)
{
    return other->ttft_s.mean <= winner->ttft_s.mean * (1 + EQUAL_FRAC);
}

/* "load is fastest here: mean TTFT 31 ms, 2.41x as fast as recompute. ", or "load is as fast as any
 * here (best within 1 %): ...". */
static void say_fastest(struct text *text, const struct kvs_outcome *winner,
                        const struct kvs_outcome *outcome, uint32_t n)
{
    char time[KVS_TEXT_MAX];
    uint32_t n_equal = 0;
    for (uint32_t i = 0; i < n; i++)
        n_equal += outcome[i].n_run && &outcome[i] != winner && equal_to(winner, &outcome[i]);
    say(text, "%s is %s here", winner->policy, n_equal ? "as fast as any" : "fastest");
    for (uint32_t i = 0, n_said = 0; i < n; i++)
        if (outcome[i].n_run && &outcome[i] != winner && equal_to(winner, &outcome[i]))
            say(text, "%s%s", n_said++ ? ", " : " (", outcome[i].policy);
    say(text, "%s: mean TTFT %s", n_equal ? " within 1 %)" : "",
        kvs_text_time(time, winner->ttft_s.mean));
    if (isfinite(winner->ttft_ci.mean.low))
        say(text, " (95 %%: -+%s)",
            kvs_text_time(time, winner->ttft_ci.mean.high - winner->ttft_s.mean));
    for (uint32_t i = 0; i < n; i++)
        if (outcome[i].n_run && !equal_to(winner, &outcome[i]))
            say(text, ", %.2fx as fast as %s", outcome[i].ttft_s.mean / winner->ttft_s.mean,
                outcome[i].policy);
    say(text, ". ");
}

/* What its TTFT is mostly made of, and how busy what makes it so is. */
static void say_bound(struct text *text, const struct kvs_outcome *outcome)
{
    static const char *const made_of[KVS_N_TTFT_PART] = {
        "waiting in the queue", "waiting for stored KV", "sharing its steps with other sequences",
        "its own prefill"};
    int most = 0;
    for (int part = 1; part < KVS_N_TTFT_PART; part++)
        if (outcome->part_mean_s[part] > outcome->part_mean_s[most])
            most = part;
    say(text,
        "Its TTFT is mostly %s (%.0f %%); the GPU spends %.0f %% of its time on prefill and "
        "%.0f %% on decoding",
        made_of[most], 100 * outcome->part_mean_s[most] / outcome->ttft_s.mean,
        100 * outcome->gpu_prefill_frac, 100 * outcome->gpu_decode_frac);
    if (outcome->busiest_link != UINT32_MAX) {
        const struct kvs_sim_link_total *link = &outcome->sim.link[outcome->busiest_link];
        say(text, ", the busiest link (%s %s) is %.0f %% busy", link->name,
            link->write ? "write" : "read", 100 * outcome->busiest_frac);
    }
    say(text, ". ");
}

static void say_verdicts(struct text *text, const struct kvs_outcome *outcome, uint32_t n)
{
    for (int verdict = KVS_OVERLOADED; verdict > KVS_STABLE; verdict--) {
        uint32_t n_such = 0;
        for (uint32_t i = 0; i < n; i++)
            if ((int)outcome[i].sim.verdict == verdict)
                say(text, "%s%s", n_such++ ? ", " : "", outcome[i].policy);
        if (n_such)
            say(text, " %s %s: %s ", n_such == 1 ? "is" : "are",
                kvs_verdict_name((enum kvs_verdict)verdict),
                verdict == KVS_OVERLOADED
                    ? "work came faster than it was done, so latencies grow with the length of the "
                      "run."
                    : "the queue grew during the run and drained soon after it.");
    }
}

static void say_steady(struct text *text, const struct kvs_outcome *winner)
{
    if (winner->ttft_ci.steady == KVS_STEADY_DRIFTING)
        say(text, "Its TTFT still drifts, so this is no steady state. ");
    else if (winner->ttft_ci.steady == KVS_STEADY_SHORT)
        say(text, "The run is too short for a sure interval. ");
}

static void say_caveats(struct text *text, const struct kvs_workload *workload,
                        const struct kvs_outcome *outcome)
{
    const struct kvs_provenance from = kvs_provenance(workload->sim.hw);
    if (outcome->sim.n_refused)
        say(text, "%llu requests are larger than a replica's HBM and were refused. ",
            (unsigned long long)outcome->sim.n_refused);
    if (outcome->sim.n_preempt)
        say(text, "HBM ran out for answers %llu times: the youngest request left and came back. ",
            (unsigned long long)outcome->sim.n_preempt);
    if (outcome->trace.skipped)
        say(text, "%llu bad lines of the trace were left out. ",
            (unsigned long long)outcome->trace.skipped);
    if (*outcome->trace.invents)
        say(text, "Made up where the trace has nothing: %s. ", outcome->trace.invents);
    if (workload->sim.reuse == KVS_REUSE_CONTENT && !workload->sim.repair.n)
        say(text, "Content reuse without repair of cross-attention changes answers. ");
    say(text, "Simulated: %u of the hardware profile's %u figures are assumed, %u measured.",
        from.n[KVS_ASSUMED], from.n_all, from.n[KVS_MEASURED]);
}

void kvs_answer(char *text, const struct kvs_workload *workload, const struct kvs_outcome *outcome,
                uint32_t n)
{
    struct text t = {text, KVS_ANSWER_MAX};
    const struct kvs_outcome *winner = winner_of(outcome, n);
    *text = '\0';
    if (winner) {
        if (n > 1)
            say_fastest(&t, winner, outcome, n);
        say_bound(&t, winner);
        say_steady(&t, winner);
    } else {
        say(&t, outcome[0].n_warmup ? "Every request was left out as warm-up: want a shorter one. "
                                    : "No request ran. ");
    }
    say_verdicts(&t, outcome, n);
    say_caveats(&t, workload, &outcome[0]);
}
