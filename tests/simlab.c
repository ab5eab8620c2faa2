#include "simlab.h"

#include "memtrace.h"
#include "test.h"

#include "base/units.h"
#include "store/evict.h"

#include <stdlib.h>

void simlab_open(struct simlab *lab, const char *model, const char *hardware, uint32_t tp)
{
    struct kvs_err err = {0};
    const struct kvs_evict_ops *lru = NULL;
    *lab = (struct simlab){0};
    if (kvs_model_open(model, &lab->model, &err) || kvs_hw_open(hardware, &lab->hw, &err) ||
        kvs_cost_new(lab->model, lab->hw, tp, &lab->cost, &err) ||
        kvs_evict_find("lru", &lru, &err))
        fail_msg("%s", err.msg);
    lab->config = (struct kvs_sim_config){
        .model = lab->model,
        .hw = lab->hw,
        .cost = lab->cost,
        .n_replica = 1,
        .tp = tp,
        .max_batch = 64,
        .chunk_tok = 2048,
        .prefill_batch = 4,
        .router = kvs_router_find("least-loaded"),
        .sched = kvs_sched_find("fcfs"),
        .hbm_evict = lru,
        .hbm_cache = true,
        .n_tier = 2,
        .tier = {{.name = "dram", .capacity_bytes = (uint64_t)1 << 38, .evict = lru},
                 {.name = "nvme", .capacity_bytes = (uint64_t)1 << 42, .evict = lru}},
        .planner = kvs_planner_find("load"),
        .n_frac = 17,
    };
}

static void forget(struct simlab *lab)
{
    free(lab->record);
    free(lab->plan);
    lab->record = NULL;
    lab->plan = NULL;
    lab->n_record = 0;
    lab->n_load_span = lab->load_span_bytes = lab->write_span_bytes = 0;
    lab->last_span_ns = 0;
}

void simlab_close(struct simlab *lab)
{
    forget(lab);
    kvs_cost_free(lab->cost);
    kvs_hw_free(lab->hw);
    kvs_model_free(lab->model);
}

static enum kvs_code keep(void *ctx, const struct kvs_sim_request *request, struct kvs_err *err)
{
    struct simlab *lab = ctx;
    if (request->index >= lab->n_record) {
        size_t n = 2 * (size_t)request->index + 64;
        lab->record = realloc(lab->record, n * sizeof *lab->record);
        lab->plan = realloc(lab->plan, n * sizeof *lab->plan);
        if (!lab->record || !lab->plan)
            return kvs_fail(err, KVS_ERR_NOMEM, "records");
        lab->n_record = n;
    }
    lab->record[request->index] = *request;
    if (request->plan)
        lab->plan[request->index] = *request->plan;
    return KVS_OK;
}

static enum kvs_code count(void *ctx, const struct kvs_span *span, struct kvs_err *err)
{
    struct simlab *lab = ctx;
    (void)err;
    assert_true(span->begin_ns <= span->end_ns && span->end_ns >= lab->last_span_ns);
    lab->last_span_ns = span->end_ns; /* spans end in order of time */
    assert_true(span->kind != KVS_SPAN_STEP || span->n_tok <= lab->config.chunk_tok);
    lab->n_load_span += span->kind == KVS_SPAN_LOAD;
    lab->load_span_bytes += span->kind == KVS_SPAN_LOAD ? span->n_bytes : 0;
    lab->write_span_bytes += span->kind == KVS_SPAN_WRITE ? span->n_bytes : 0;
    return KVS_OK;
}

void simlab_trace(struct simlab *lab, struct kvs_trace *trace)
{
    struct kvs_err err = {0};
    struct kvs_sim_sink sink = {.ctx = lab, .request = keep, .span = count};
    forget(lab);
    assert_non_null(trace);
    if (kvs_sim_run(&lab->config, trace, &sink, &lab->result, &err) != KVS_OK)
        fail_msg("%s", err.msg);
    kvs_trace_close(trace);
    lab->n_record = (size_t)lab->result.n_request;
}

void simlab_run(struct simlab *lab, const struct kvs_request *request, size_t n, bool chained)
{
    simlab_trace(lab, memtrace(request, n, chained));
    assert_true(lab->n_record == n);
}

int64_t simlab_ttft_ns(const struct simlab *lab, size_t i)
{
    return lab->record[i].first_token_ns - lab->record[i].arrive_ns;
}

int64_t simlab_service_ns(const struct simlab *lab, uint32_t n_tok)
{
    struct kvs_seg seg = {1, n_tok, 0};
    int64_t ns = kvs_ns(kvs_cost_head_s(lab->cost, n_tok, 1));
    for (uint32_t l = 0; l < kvs_model_n_layer(lab->model); l++)
        ns += kvs_ns(kvs_cost_layer_s(lab->cost, kvs_cost_class(lab->cost, l), &seg, 1));
    return ns;
}

uint32_t simlab_prompt_for(const struct simlab *lab, double s)
{
    uint32_t low = 1, high = 130000;
    while (low < high) {
        uint32_t mid = low + (high - low + 1) / 2;
        if ((double)simlab_service_ns(lab, mid) * 1e-9 <= s)
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}
