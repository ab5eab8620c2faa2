/*
 * collect.h - what one policy's run leaves: a row a request, its distinct plans, the first spans.
 *
 * The simulator's sink: it takes some hundred thousand requests a second, so each becomes one
 * compact row, and sorting, percentiles and writing wait for the end. Times are integer
 * nanoseconds from the trace's start.
 */
#ifndef KVS_COLLECT_H
#define KVS_COLLECT_H

#include "engine/sim.h"

#define KVS_NO_PLAN UINT32_MAX

/* struct kvs_sim_request, with its plan as an index of the distinct ones; in as few bytes as will
 * do, since there may be ten million. */
struct kvs_row {
    uint64_t session;
    int64_t arrive_ns, admit_ns, first_token_ns, finish_ns, predicted_ttft_ns;
    int64_t queue_ns, load_ns, decode_ns, compute_ns;
    int64_t loss; /* 1e-9 nats */
    uint64_t load_bytes[KVS_MAX_TIER];
    uint32_t tier_tok[KVS_MAX_TIER];
    uint32_t index, input_tok, output_tok, hbm_tok, recompute_tok, new_tok;
    uint32_t again_tok; /* UINT32_MAX: that many and more; n_preempt likewise */
    uint32_t plan_i;    /* KVS_NO_PLAN: nothing was held outside HBM */
    uint16_t replica, decode_replica, n_preempt;
    bool refused, in_slo;
};

/* One distinct staircase and who got it; frac_i and level stand in kvs_collect.plan_byte. */
struct kvs_plan_use {
    uint64_t n_request;
    int64_t ttft_ns, predicted_ttft_ns; /* sums over these requests */
};

struct kvs_collect {
    uint32_t n_layer;
    uint64_t n_row, room_row;
    struct kvs_row *row; /* by index once kvs_collect_sort was called */
    uint32_t n_plan, room_plan;
    struct kvs_plan_use *plan;
    uint8_t *plan_byte; /* [plan][2 * n_layer]: n_layer fraction indices, n_layer levels */
    struct kvs_plan_index *plan_index;
    /* spans up to the end of the first n_timeline requests; span_cut: there were more than fit */
    uint64_t n_timeline, n_timeline_ended;
    uint64_t n_span, room_span;
    struct kvs_span *span;
    bool span_cut;
    uint64_t n_sample, room_sample;
    struct kvs_sim_sample *sample;
};

/* n_timeline: how many of the first requests the timeline shows; 0: none. */
KVS_MUST_CHECK enum kvs_code kvs_collect_init(struct kvs_collect *collect, uint32_t n_layer,
                                              uint64_t n_timeline, struct kvs_err *err);
void kvs_collect_free(struct kvs_collect *collect); /* accepts a zeroed one */

/* For struct kvs_sim_sink; ctx is the struct kvs_collect. */
enum kvs_code kvs_collect_request(void *ctx, const struct kvs_sim_request *request,
                                  struct kvs_err *err);
enum kvs_code kvs_collect_span(void *ctx, const struct kvs_span *span, struct kvs_err *err);
enum kvs_code kvs_collect_sample(void *ctx, const struct kvs_sim_sample *sample,
                                 struct kvs_err *err);

/* Orders the rows by index. Asserts that no index is missing or there twice. */
void kvs_collect_sort(struct kvs_collect *collect);
/* After the sort: gives back the rows but those of the first n_timeline requests. */
void kvs_collect_shrink(struct kvs_collect *collect);

#endif
