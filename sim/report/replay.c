#include "replay.h"

#include <stdio.h>

/* The simulator has one context for all its calls; more is wanted. */
struct sink {
    struct kvs_collect *collect;
    const struct kvs_replay_options *options;
    const struct kvs_trace *trace;
    uint32_t policy_i;
};

static enum kvs_code on_request(void *ctx, const struct kvs_sim_request *request,
                                struct kvs_err *err)
{
    return kvs_collect_request(((struct sink *)ctx)->collect, request, err);
}

static enum kvs_code on_span(void *ctx, const struct kvs_span *span, struct kvs_err *err)
{
    return kvs_collect_span(((struct sink *)ctx)->collect, span, err);
}

static enum kvs_code on_sample(void *ctx, const struct kvs_sim_sample *sample, struct kvs_err *err)
{
    return kvs_collect_sample(((struct sink *)ctx)->collect, sample, err);
}

static bool on_progress(void *ctx, uint64_t n_arrived, int64_t now_ns)
{
    const struct sink *sink = ctx;
    (void)now_ns;
    return sink->options->progress(sink->options->ctx, sink->policy_i, n_arrived,
                                   kvs_trace_done_frac(sink->trace));
}

static void take_note(const struct kvs_trace *trace, struct kvs_trace_note *note)
{
    const char *invents = kvs_trace_invents(trace);
    snprintf(note->format, sizeof note->format, "%s", kvs_trace_format(trace));
    snprintf(note->invents, sizeof note->invents, "%s", invents ? invents : "");
    note->chained = kvs_trace_chained(trace);
    note->skipped = kvs_trace_skipped(trace);
    note->moved = kvs_trace_moved(trace);
}

/* For Belady the trace is read twice. */
static enum kvs_code foresee(const struct kvs_workload *workload, struct kvs_sim_config *config,
                             struct kvs_foresight *foresight, struct kvs_err *err)
{
    struct kvs_trace *trace = NULL;
    if (!kvs_sim_wants_foresight(config))
        return KVS_OK;
    enum kvs_code code = kvs_workload_trace(workload, &trace, err);
    if (!code && !(code = kvs_foresee(config, trace, foresight, err)))
        config->foresight = foresight;
    kvs_trace_close(trace);
    return code;
}

static enum kvs_code simulate(const struct kvs_workload *workload, struct sink *sink,
                              struct kvs_trace_note *note, struct kvs_sim_result *result,
                              struct kvs_err *err)
{
    struct kvs_sim_config config = kvs_workload_config(workload, sink->policy_i);
    const struct kvs_sim_sink calls = {
        .ctx = sink,
        .request = on_request,
        .span = sink->options->n_timeline ? on_span : NULL,
        .sample = on_sample,
        .progress = sink->options->progress ? on_progress : NULL,
    };
    struct kvs_foresight foresight = {0};
    struct kvs_trace *trace = NULL;
    enum kvs_code code = foresee(workload, &config, &foresight, err);
    if (!code)
        code = kvs_workload_trace(workload, &trace, err);
    if (!code) {
        sink->trace = trace;
        code = kvs_sim_run(&config, trace, &calls, result, err);
        take_note(trace, note);
        if (!code && result->n_request == 0)
            code = kvs_fail(err, KVS_ERR_PARSE, "%s: trace: holds no request%s", workload->name,
                            kvs_trace_skipped(trace) ? " but bad lines that were skipped" : "");
    }
    kvs_trace_close(trace);
    kvs_foresight_free(&foresight);
    return code;
}

enum kvs_code kvs_replay(const struct kvs_workload *workload, uint32_t policy_i,
                         const struct kvs_replay_options *options, struct kvs_collect *collect,
                         struct kvs_trace_note *note, struct kvs_sim_result *result,
                         struct kvs_err *err)
{
    struct sink sink = {.collect = collect, .options = options, .policy_i = policy_i};
    enum kvs_code code =
        kvs_collect_init(collect, kvs_model_n_layer(workload->sim.model), options->n_timeline, err);
    if (!code && !(code = simulate(workload, &sink, note, result, err)))
        kvs_collect_sort(collect);
    if (code)
        kvs_collect_free(collect);
    return code;
}

enum kvs_code kvs_replay_outcome(const struct kvs_workload *workload, uint32_t policy_i,
                                 struct kvs_outcome *outcome, struct kvs_err *err)
{
    const struct kvs_replay_options options = {0};
    struct kvs_collect collect = {0};
    struct kvs_trace_note note;
    struct kvs_sim_result result;
    enum kvs_code code = kvs_replay(workload, policy_i, &options, &collect, &note, &result, err);
    *outcome = (struct kvs_outcome){0};
    if (!code && !(code = kvs_outcome_make(workload->policy[policy_i].name, &result,
                                           &workload->warmup, &collect, outcome, err))) {
        outcome->trace = note;
        kvs_collect_shrink(&outcome->collect);
    }
    kvs_collect_free(&collect);
    return code;
}
