#include "timeline.h"

#include <inttypes.h>
#include <stdlib.h>

/* Tracks of a replica, in the order in which they are shown. */
#define TRACK_GPU 0
#define TRACK_STALL 1
#define TRACK_LOAD 2                   /* + tier */
#define TRACK_WRITE (2 + KVS_MAX_TIER) /* + tier */
#define TRACK_HAND_OVER (2 + 2 * KVS_MAX_TIER)
#define MAX_LANE 1024 /* of one track; what finds no lane shares the last one */

struct writer {
    FILE *to;
    bool any; /* an event stands before: a comma is due */
};

static void begin_event(struct writer *w)
{
    fputs(w->any ? ",\n" : "\n", w->to);
    w->any = true;
}

/* kind: "process_name" or "thread_name". text and more are names of ours: nothing to escape. */
static void name_event(struct writer *w, const char *kind, uint32_t pid, uint32_t tid,
                       const char *text, const char *more, uint32_t lane)
{
    begin_event(w);
    fprintf(w->to,
            "{\"ph\":\"M\",\"name\":\"%s\",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32
            ",\"args\":{\"name\":\"%s%s",
            kind, pid, tid, text, more);
    if (lane)
        fprintf(w->to, " (%" PRIu32 ")", lane + 1);
    fputs("\"}}", w->to);
}

static void put_us(FILE *to, const char *key, int64_t ns)
{
    fprintf(to, "\"%s\":%" PRId64 ".%03d,", key, ns / 1000, (int)(ns % 1000));
}

/* Begins a complete event up to its args, which the caller writes and closes with "}}". */
static void span_event(struct writer *w, const char *name, uint32_t pid, uint32_t tid,
                       int64_t begin_ns, int64_t end_ns)
{
    begin_event(w);
    fprintf(w->to, "{\"ph\":\"X\",\"name\":\"%s\",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32 ",", name,
            pid, tid);
    put_us(w->to, "ts", begin_ns);
    put_us(w->to, "dur", end_ns - begin_ns);
    fputs("\"args\":{", w->to);
}

static uint32_t track_of(const struct kvs_span *span)
{
    switch (span->kind) {
    case KVS_SPAN_STEP:
    case KVS_SPAN_DECODE:
        return TRACK_GPU;
    case KVS_SPAN_STALL:
        return TRACK_STALL;
    case KVS_SPAN_LOAD:
    case KVS_SPAN_SWAP_IN:
        return TRACK_LOAD + span->tier;
    case KVS_SPAN_WRITE:
    case KVS_SPAN_SWAP_OUT:
        return TRACK_WRITE + span->tier;
    case KVS_SPAN_HAND_OVER:
        return TRACK_HAND_OVER;
    }
    return TRACK_GPU;
}

struct placed {
    const struct kvs_span *span;
    uint64_t order; /* as the simulator gave it */
    uint32_t track;
};

static int by_track(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    if (x->span->replica != y->span->replica)
        return x->span->replica < y->span->replica ? -1 : 1;
    if (x->track != y->track)
        return x->track < y->track ? -1 : 1;
    if (x->span->begin_ns != y->span->begin_ns)
        return x->span->begin_ns < y->span->begin_ns ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* The first lane that is free at begin_ns; a new one is counted in *n_lane. */
static uint32_t lane_for(int64_t *end_ns, uint32_t *n_lane, int64_t begin_ns, int64_t new_end_ns)
{
    uint32_t lane = 0;
    while (lane < *n_lane && end_ns[lane] > begin_ns)
        lane++;
    if (lane == MAX_LANE)
        lane = MAX_LANE - 1;
    if (lane == *n_lane)
        (*n_lane)++;
    end_ns[lane] = new_end_ns;
    return lane;
}

static void track_name(struct writer *w, const char *const *tier_name, uint32_t pid, uint32_t tid,
                       uint32_t track, uint32_t lane)
{
    if (track == TRACK_HAND_OVER)
        name_event(w, "thread_name", pid, tid, "hand over", "", lane);
    else if (track >= TRACK_WRITE)
        name_event(w, "thread_name", pid, tid, "write ", tier_name[track - TRACK_WRITE], lane);
    else if (track >= TRACK_LOAD)
        name_event(w, "thread_name", pid, tid, "load ", tier_name[track - TRACK_LOAD], lane);
    else
        name_event(w, "thread_name", pid, tid, "GPU", track == TRACK_STALL ? " stalls" : "", lane);
}

static void span_args(FILE *to, const struct kvs_span *span)
{
    static const char *const count_name[] = {"prefill_tok", "iterations", "tokens", "tokens",
                                             "tokens",      "tokens",     "tokens", "tokens"};
    fprintf(to, "\"%s\":%" PRIu32, count_name[span->kind], span->n_tok);
    if (span->kind >= KVS_SPAN_LOAD)
        fprintf(to, ",\"bytes\":%" PRIu64, span->n_bytes);
    if (span->request != UINT64_MAX)
        fprintf(to, ",\"request\":%" PRIu64, span->request);
    fputs("}}", to);
}

static void replica_name(struct writer *w, uint32_t pid, const char *policy, uint32_t replica)
{
    char text[32];
    snprintf(text, sizeof text, ": replica %" PRIu32, replica);
    name_event(w, "process_name", pid, 0, policy, text, 0);
}

/* GPU, loads and writes of all replicas; pids from first_pid on. */
static enum kvs_code machine_events(struct writer *w, const char *const *tier_name,
                                    const struct kvs_outcome *outcome, uint32_t first_pid,
                                    struct kvs_err *err)
{
    static const char *const kind_name[] = {"prefill", "decode",   "stall",   "load",
                                            "write",   "swap out", "swap in", "hand over"};
    const struct kvs_collect *collect = &outcome->collect;
    struct placed *placed = calloc(collect->n_span + 1, sizeof *placed);
    if (!placed)
        return kvs_nomem(err);
    for (uint64_t i = 0; i < collect->n_span; i++)
        placed[i] = (struct placed){&collect->span[i], i, track_of(&collect->span[i])};
    qsort(placed, collect->n_span, sizeof *placed, by_track);

    int64_t end_ns[MAX_LANE];
    uint32_t n_lane = 0;
    for (uint64_t i = 0; i < collect->n_span; i++) {
        const struct kvs_span *span = placed[i].span;
        const uint32_t pid = first_pid + span->replica, track = placed[i].track;
        const bool new_replica = i == 0 || placed[i - 1].span->replica != span->replica;
        if (new_replica)
            replica_name(w, pid, outcome->policy, span->replica);
        if (new_replica || placed[i - 1].track != track)
            n_lane = 0;
        const uint32_t n_before = n_lane;
        const uint32_t lane = lane_for(end_ns, &n_lane, span->begin_ns, span->end_ns);
        const uint32_t tid = track * MAX_LANE + lane;
        if (n_lane > n_before)
            track_name(w, tier_name, pid, tid, track, lane);
        span_event(w, kind_name[span->kind], pid, tid, span->begin_ns, span->end_ns);
        span_args(w->to, span);
    }
    free(placed);
    return KVS_OK;
}

static void request_events(struct writer *w, const struct kvs_row *row, uint32_t pid, uint32_t tid)
{
    char name[48];
    snprintf(name, sizeof name, "request %" PRIu32, row->index);
    span_event(w, name, pid, tid, row->arrive_ns, row->finish_ns);
    fprintf(w->to,
            "\"input_tok\":%" PRIu32 ",\"output_tok\":%" PRIu32 ",\"hbm_tok\":%" PRIu32
            ",\"recompute_tok\":%" PRIu32 ",\"new_tok\":%" PRIu32 ",\"replica\":%" PRIu32 "}}",
            row->input_tok, row->output_tok, row->hbm_tok, row->recompute_tok, row->new_tok,
            row->replica);
    span_event(w, "wait", pid, tid, row->arrive_ns, row->admit_ns);
    fputs("}}", w->to);
    span_event(w, "prefill", pid, tid, row->admit_ns, row->first_token_ns);
    fprintf(w->to, "\"load_us\":%.3f,\"compute_us\":%.3f,\"others_us\":%.3f}}",
            (double)row->load_ns * 1e-3, (double)row->compute_ns * 1e-3,
            (double)row->decode_ns * 1e-3);
    span_event(w, "decode", pid, tid, row->first_token_ns, row->finish_ns);
    fputs("}}", w->to);
}

/* The requests' lives, each in a lane of its own while it lasts. */
static void life_events(struct writer *w, const struct kvs_outcome *outcome, uint32_t pid)
{
    const struct kvs_collect *collect = &outcome->collect;
    int64_t end_ns[MAX_LANE];
    uint32_t n_lane = 0;
    name_event(w, "process_name", pid, 0, outcome->policy, ": requests", 0);
    for (uint64_t i = 0; i < collect->n_row && i < collect->n_timeline; i++) {
        const struct kvs_row *row = &collect->row[i];
        if (row->refused)
            continue;
        const uint32_t lane = lane_for(end_ns, &n_lane, row->arrive_ns, row->finish_ns);
        request_events(w, row, pid, lane);
    }
    for (uint32_t lane = 0; lane < n_lane; lane++)
        name_event(w, "thread_name", pid, lane, "requests", "", lane);
}

enum kvs_code kvs_timeline_write(FILE *to, const char *const *tier_name,
                                 const struct kvs_outcome *outcome, uint32_t n_outcome,
                                 struct kvs_err *err)
{
    struct writer w = {.to = to};
    enum kvs_code code = KVS_OK;
    bool cut = false;
    fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[", to);
    for (uint32_t i = 0, pid = 1; i < n_outcome && code == KVS_OK; i++) {
        life_events(&w, &outcome[i], pid);
        code = machine_events(&w, tier_name, &outcome[i], pid + 1, err);
        pid += 1 + outcome[i].sim.n_replica;
        cut |= outcome[i].collect.span_cut;
    }
    fprintf(to, "\n],\"otherData\":{\"simulated\":true,\"cut\":%s,\"kvsim\":\"%s\"}}\n",
            cut ? "true" : "false", KVS_VERSION);
    return code;
}
