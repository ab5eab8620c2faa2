#include "collect.h"

#include "base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A timeline with more spans than this is no longer looked at, it is waited for. */
#define MAX_SPAN 200000

/* Distinct plans by the hash of their bytes. */
struct kvs_plan_index {
    struct kvs_map map;
};

enum kvs_code kvs_collect_init(struct kvs_collect *collect, uint32_t n_layer, uint64_t n_timeline,
                               struct kvs_err *err)
{
    assert(n_layer > 0 && n_layer <= KVS_MAX_LAYER);
    *collect = (struct kvs_collect){.n_layer = n_layer, .n_timeline = n_timeline};
    collect->plan_index = calloc(1, sizeof *collect->plan_index);
    if (!collect->plan_index || !kvs_map_init(&collect->plan_index->map, 64)) {
        kvs_collect_free(collect);
        return kvs_nomem(err);
    }
    return KVS_OK;
}

void kvs_collect_free(struct kvs_collect *collect)
{
    if (collect->plan_index)
        kvs_map_free(&collect->plan_index->map);
    free(collect->plan_index);
    free(collect->row);
    free(collect->plan);
    free(collect->plan_byte);
    free(collect->span);
    free(collect->sample);
    *collect = (struct kvs_collect){0};
}

/* Room for one more item; the array grows by halves. NULL: no memory, and items stays. */
static void *grown(void *items, uint64_t n, uint64_t *room, size_t size)
{
    if (n < *room)
        return items;
    uint64_t more = *room + *room / 2 + 64;
    size_t n_byte = 0;
    if (__builtin_mul_overflow(more, size, &n_byte))
        return NULL;
    void *p = realloc(items, n_byte);
    if (p)
        *room = more;
    return p;
}

static uint64_t plan_hash(const uint8_t *byte, size_t n)
{
    uint64_t hash = n;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = 0;
        memcpy(&word, byte + i, n - i < 8 ? n - i : 8);
        hash = kvs_chain(hash, word);
    }
    return hash;
}

/* Index of a plan among the distinct ones; KVS_NO_PLAN: no memory. */
static uint32_t plan_index(struct kvs_collect *collect, const struct kvs_plan *plan)
{
    const uint32_t n_layer = collect->n_layer;
    const size_t n_byte = (size_t)2 * n_layer;
    uint8_t byte[2 * KVS_MAX_LAYER];
    memcpy(byte, plan->frac_i, n_layer);
    memcpy(byte + n_layer, plan->level, n_layer);

    for (uint64_t hash = plan_hash(byte, n_byte);; hash++) {
        bool found = false;
        uint32_t *at = kvs_map_put(&collect->plan_index->map, hash, collect->n_plan, &found);
        if (!at)
            return KVS_NO_PLAN;
        if (found && memcmp(collect->plan_byte + *at * n_byte, byte, n_byte) == 0)
            return *at;
        if (!found)
            break;
    }
    if (collect->n_plan == collect->room_plan) {
        uint64_t room_plan = collect->room_plan, room_byte = collect->room_plan;
        void *plans = grown(collect->plan, room_plan, &room_plan, sizeof *collect->plan);
        if (plans)
            collect->plan = plans;
        void *bytes = grown(collect->plan_byte, room_byte, &room_byte, n_byte);
        if (bytes)
            collect->plan_byte = bytes;
        if (!plans || !bytes)
            return KVS_NO_PLAN;
        collect->room_plan = (uint32_t)room_plan;
    }
    collect->plan[collect->n_plan] = (struct kvs_plan_use){0};
    memcpy(collect->plan_byte + collect->n_plan * n_byte, byte, n_byte);
    return collect->n_plan++;
}

enum kvs_code kvs_collect_request(void *ctx, const struct kvs_sim_request *request,
                                  struct kvs_err *err)
{
    struct kvs_collect *collect = ctx;
    struct kvs_row *rows = grown(collect->row, collect->n_row, &collect->room_row, sizeof *rows);
    if (!rows)
        return kvs_nomem(err);
    collect->row = rows;
    if (request->index >= UINT32_MAX)
        return kvs_fail(err, KVS_ERR_RANGE, "more than %u requests in one run", UINT32_MAX - 1);
    assert(request->replica <= UINT16_MAX && request->decode_replica <= UINT16_MAX);
    struct kvs_row *row = &rows[collect->n_row];
    *row = (struct kvs_row){
        .index = (uint32_t)request->index,
        .session = request->session,
        .arrive_ns = request->arrive_ns,
        .admit_ns = request->admit_ns,
        .first_token_ns = request->first_token_ns,
        .finish_ns = request->finish_ns,
        .predicted_ttft_ns = request->predicted_ttft_ns,
        .queue_ns = request->queue_ns,
        .load_ns = request->load_ns,
        .decode_ns = request->decode_ns,
        .compute_ns = request->compute_ns,
        .loss = request->loss,
        .replica = (uint16_t)request->replica,
        .input_tok = request->input_tok,
        .output_tok = request->output_tok,
        .hbm_tok = request->hbm_tok,
        .recompute_tok = request->recompute_tok,
        .new_tok = request->new_tok,
        .n_preempt = (uint16_t)(request->n_preempt < UINT16_MAX ? request->n_preempt : UINT16_MAX),
        .again_tok = (uint32_t)(request->again_tok < UINT32_MAX ? request->again_tok : UINT32_MAX),
        .decode_replica = (uint16_t)request->decode_replica,
        .plan_i = KVS_NO_PLAN,
        .refused = request->refused,
        .in_slo = request->in_slo,
    };
    memcpy(row->tier_tok, request->tier_tok, sizeof row->tier_tok);
    memcpy(row->load_bytes, request->load_bytes, sizeof row->load_bytes);
    if (request->plan && !request->refused) {
        row->plan_i = plan_index(collect, request->plan);
        if (row->plan_i == KVS_NO_PLAN)
            return kvs_nomem(err);
        struct kvs_plan_use *use = &collect->plan[row->plan_i];
        use->n_request++;
        use->ttft_ns += row->first_token_ns - row->arrive_ns;
        use->predicted_ttft_ns += row->predicted_ttft_ns;
    }
    if (row->index < collect->n_timeline)
        collect->n_timeline_ended++;
    collect->n_row++;
    return KVS_OK;
}

enum kvs_code kvs_collect_span(void *ctx, const struct kvs_span *span, struct kvs_err *err)
{
    struct kvs_collect *collect = ctx;
    bool shown = span->request == UINT64_MAX || span->request < collect->n_timeline;
    if (collect->n_timeline_ended == collect->n_timeline || !shown)
        return KVS_OK;
    if (collect->n_span == MAX_SPAN) {
        collect->span_cut = true;
        return KVS_OK;
    }
    struct kvs_span *spans =
        grown(collect->span, collect->n_span, &collect->room_span, sizeof *spans);
    if (!spans)
        return kvs_nomem(err);
    collect->span = spans;
    spans[collect->n_span++] = *span;
    return KVS_OK;
}

enum kvs_code kvs_collect_sample(void *ctx, const struct kvs_sim_sample *sample,
                                 struct kvs_err *err)
{
    struct kvs_collect *collect = ctx;
    struct kvs_sim_sample *samples =
        grown(collect->sample, collect->n_sample, &collect->room_sample, sizeof *samples);
    if (!samples)
        return kvs_nomem(err);
    collect->sample = samples;
    samples[collect->n_sample++] = *sample;
    return KVS_OK;
}

/* In place: a second copy would double what ten million requests take. */
void kvs_collect_sort(struct kvs_collect *collect)
{
    for (uint64_t i = 0; i < collect->n_row; i++)
        while (collect->row[i].index != i) {
            struct kvs_row *place = &collect->row[collect->row[i].index];
            assert(collect->row[i].index < collect->n_row);
            assert(place->index != collect->row[i].index);
            struct kvs_row there = *place;
            *place = collect->row[i];
            collect->row[i] = there;
        }
}

void kvs_collect_shrink(struct kvs_collect *collect)
{
    if (collect->n_row <= collect->n_timeline)
        return;
    collect->n_row = collect->n_timeline;
    if (collect->n_row == 0) {
        free(collect->row);
        collect->row = NULL;
        collect->room_row = 0;
        return;
    }
    struct kvs_row *less = realloc(collect->row, collect->n_row * sizeof *less);
    if (less) {
        collect->row = less;
        collect->room_row = collect->n_row;
    }
}
