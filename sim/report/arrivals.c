#include "arrivals.h"

#include "base/units.h"

#include <stddef.h>

/* by enum kvs_process, kvs_loop, kvs_think */
static const char *const process_names[] = {"trace", "poisson", "gamma", NULL};
static const char *const loop_names[] = {"open", "sessions", "closed", NULL};
static const char *const think_names[] = {"trace", "fixed", "exponential", NULL};

#define IN(field) offsetof(struct kvs_arrivals_in, field)
const struct kvs_opt kvs_arrivals_table[] = {
    {"process", KVS_OPT_ENUM, IN(process), "trace", 0, 0,
     "when requests (loop sessions: sessions) begin", process_names, false, 0},
    {"rate", KVS_OPT_DOUBLE, IN(rate), "0", 0, 1e9,
     "so many begin a second; process poisson and gamma", NULL, false, 0},
    {"cv", KVS_OPT_DOUBLE, IN(cv), "1", 0.01, 100,
     "process gamma: deviation of the gaps over their mean; above 1: bursts", NULL, false, 0},
    {"loop", KVS_OPT_ENUM, IN(loop), "open", 0, 0,
     "open: nobody waits; sessions: a next turn waits for the answer; closed: users do", loop_names,
     false, 0},
    {"in_flight", KVS_OPT_U64, IN(in_flight), "0", 0, 1u << 20,
     "loop closed: users, each with one request at a time", NULL, false, 0},
    {"think", KVS_OPT_ENUM, IN(think), "trace", 0, 0,
     "time from an answer to the next request; trace: as between the turns there, closed: none",
     think_names, false, 0},
    {"think_time", KVS_OPT_TIME, IN(think_time), "0", 0, 1e6, "its mean", NULL, false, 0},
};
const unsigned kvs_arrivals_n_opt = sizeof kvs_arrivals_table / sizeof *kvs_arrivals_table;

static enum kvs_code check(struct kvs_json node, const struct kvs_arrivals_in *in,
                           struct kvs_err *err)
{
    const struct kvs_json rate = kvs_json_get(node, "rate");
    const struct kvs_json users = kvs_json_get(node, "in_flight");
    const bool drawn = in->process != KVS_PROCESS_TRACE, closed = in->loop == KVS_LOOP_CLOSED;
    if (drawn && closed)
        return kvs_json_fail(kvs_json_get(node, "process"), err, KVS_ERR_ARG,
                             "found %s, want none: in a closed loop the users' answers say when "
                             "requests come",
                             process_names[in->process]);
    if (drawn && !(in->rate > 0))
        return kvs_json_fail(rate, err, KVS_ERR_ARG,
                             "found %g, want requests per second above 0 for process %s", in->rate,
                             process_names[in->process]);
    if (!drawn && in->rate > 0)
        return kvs_json_fail(rate, err, KVS_ERR_ARG,
                             "found %g, want none without process poisson or gamma; trace.rate "
                             "makes a trace's own times faster",
                             in->rate);
    if (in->process != KVS_PROCESS_GAMMA && in->cv != 1)
        return kvs_json_fail(kvs_json_get(node, "cv"), err, KVS_ERR_ARG,
                             "found %g, want none without process gamma", in->cv);
    if (closed && in->in_flight == 0)
        return kvs_json_fail(users, err, KVS_ERR_ARG,
                             "found 0, want how many requests a closed loop has in flight");
    if (!closed && in->in_flight > 0)
        return kvs_json_fail(users, err, KVS_ERR_ARG,
                             "found %llu, want none without loop closed; cluster.max_batch bounds "
                             "what runs at once",
                             (unsigned long long)in->in_flight);
    if (in->think != KVS_THINK_TRACE && in->loop == KVS_LOOP_OPEN)
        return kvs_json_fail(kvs_json_get(node, "think"), err, KVS_ERR_ARG,
                             "found %s, want none in an open loop: nobody waits for an answer",
                             think_names[in->think]);
    if (in->think != KVS_THINK_TRACE && !(in->think_time > 0))
        return kvs_json_fail(kvs_json_get(node, "think_time"), err, KVS_ERR_ARG,
                             "found %g, want a time above 0 for think %s", in->think_time,
                             think_names[in->think]);
    if (in->think == KVS_THINK_TRACE && in->think_time > 0)
        return kvs_json_fail(kvs_json_get(node, "think_time"), err, KVS_ERR_ARG,
                             "found %g, want none without think fixed or exponential",
                             in->think_time);
    return KVS_OK;
}

enum kvs_code kvs_arrivals_json(struct kvs_json node, struct kvs_arrivals_in *in,
                                struct kvs_arrivals *arrivals, struct kvs_err *err)
{
    enum kvs_code code = kvs_opt_json(kvs_arrivals_table, kvs_arrivals_n_opt, node, in, err);
    if (code || (code = check(node, in, err)))
        return code;
    *arrivals = (struct kvs_arrivals){
        .process = (enum kvs_process)in->process,
        .rate_per_s = in->rate,
        .cv = in->cv,
        .loop = (enum kvs_loop)in->loop,
        .in_flight = (uint32_t)in->in_flight,
        .think = (enum kvs_think)in->think,
        .think_s = in->think_time,
    };
    return KVS_OK;
}

char *kvs_arrivals_text(char text[KVS_ARRIVALS_TEXT_MAX], const struct kvs_arrivals *arrivals)
{
    const char *what = arrivals->loop == KVS_LOOP_SESSIONS ? " sessions" : "";
    char more[48] = "";
    text[0] = '\0';
    if (arrivals->loop == KVS_LOOP_CLOSED) {
        snprintf(text, KVS_ARRIVALS_TEXT_MAX, " (closed loop, %u in flight)", arrivals->in_flight);
        return text;
    }
    if (arrivals->process == KVS_PROCESS_GAMMA)
        snprintf(more, sizeof more, " of cv %g", arrivals->cv);
    if (arrivals->process != KVS_PROCESS_TRACE)
        snprintf(text, KVS_ARRIVALS_TEXT_MAX, " (%s%s, %g%s/s)",
                 arrivals->process == KVS_PROCESS_POISSON ? "Poisson" : "Gamma", more,
                 arrivals->rate_per_s, what);
    else if (arrivals->loop == KVS_LOOP_SESSIONS)
        snprintf(text, KVS_ARRIVALS_TEXT_MAX, " (a session's turns wait for answers)");
    return text;
}
