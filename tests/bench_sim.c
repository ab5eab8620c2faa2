/*
 * bench_sim.c - replay of the Mooncake conversation trace: Llama-3.1-8B on 4 H100 replicas at the
 * trace's own rate, one core; requests a second by policy. One JSON line each.
 */
#include "test.h"

#include "engine/router.h"
#include "engine/sched.h"
#include "engine/sim.h"
#include "store/evict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Processor time of this program, which is one thread: wall time where nothing else runs. */
static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static enum kvs_code ignore(void *ctx, const struct kvs_sim_request *request, struct kvs_err *err)
{
    int64_t *sum = ctx;
    (void)err;
    *sum += request->first_token_ns - request->arrive_ns;
    return KVS_OK;
}

/* Requests a second of the fastest of n replays; the trace is parsed each time. */
static bool replay(struct kvs_sim_config *config, const char *path, const char *policy, int n,
                   double goal)
{
    struct kvs_err err = {0};
    struct kvs_sim_result result;
    double least_s = 1e9;
    int64_t sum_ns = 0;
    config->planner = kvs_planner_find(policy);
    for (int i = 0; i < n; i++) {
        struct kvs_trace *trace = NULL;
        struct kvs_sim_sink sink = {.ctx = &sum_ns, .request = ignore};
        struct kvs_trace_options options = {.format = "mooncake"};
        sum_ns = 0;
        double start_s = now_s();
        if (kvs_trace_open(path, &options, &trace, &err) != KVS_OK ||
            kvs_sim_run(config, trace, &sink, &result, &err) != KVS_OK) {
            fprintf(stderr, "%s\n", err.msg);
            kvs_trace_close(trace);
            return false;
        }
        double took_s = now_s() - start_s;
        kvs_trace_close(trace);
        least_s = took_s < least_s ? took_s : least_s;
    }
    double n_request = (double)result.n_request;
    printf("{\"bench\":\"sim.replay.mooncake\",\"policy\":\"%s\",\"requests_per_cpu_s\":%.0f,"
           "\"goal\":%.0f,\"events_per_request\":%.2f,\"mean_ttft_s\":%.6g,\"hbm_hit_frac\":%.6g,"
           "\"runs\":%d,"
           "\"verdict\":%d}\n",
           policy, n_request / least_s, goal, (double)result.n_event / n_request,
           (double)sum_ns * 1e-9 / n_request, (double)result.hbm_hit_tok / (double)result.input_tok,
           n, (int)result.verdict);
    return true;
}

int main(int argc, char **argv)
{
    struct kvs_err err = {0};
    const char *path = kvs_shared("traces/mooncake/conversation_trace.jsonl");
    struct kvs_model *model = NULL;
    struct kvs_hw *hw = NULL;
    struct kvs_cost *cost = NULL;
    const struct kvs_evict_ops *lru = NULL;
    bool fine = false;
    if (argc > 1)
        path = argv[1];
    if (!path) {
        printf("{\"bench\":\"sim.replay.mooncake\",\"skipped\":\"no trace: give its path\"}\n");
        return 0;
    }
    if (kvs_model_open("llama-3.1-8b", &model, &err) == KVS_OK &&
        kvs_hw_open("h100-sxm", &hw, &err) == KVS_OK &&
        kvs_cost_new(model, hw, 1, &cost, &err) == KVS_OK &&
        kvs_evict_find("lru", &lru, &err) == KVS_OK) {
        struct kvs_sim_config config = {
            .model = model,
            .hw = hw,
            .cost = cost,
            .n_replica = 4,
            .tp = 1,
            .max_batch = 256,
            .chunk_tok = 8192,
            .prefill_batch = 8,
            .router = kvs_router_find("least-loaded"),
            .sched = kvs_sched_find("fcfs"),
            .hbm_evict = lru,
            .hbm_cache = true,
            .n_tier = 2,
            .tier = {{.name = "dram", .capacity_bytes = (uint64_t)1 << 39, .evict = lru},
                     {.name = "nvme", .capacity_bytes = (uint64_t)4 << 40, .evict = lru}},
            .n_frac = 17,
        };
        static const struct {
            const char *policy;
            double goal;
        } run[] = {{"recompute", 0},   {"load", 100000}, {"token-split", 0},
                   {"layer-split", 0}, {"best", 50000},  {"optimal", 25000}};
        fine = true;
        for (size_t i = 0; fine && i < sizeof run / sizeof *run; i++)
            if (argc < 3 || !strcmp(argv[2], run[i].policy))
                fine = replay(&config, path, run[i].policy, 3, run[i].goal);
    } else {
        fprintf(stderr, "%s\n", err.msg);
    }
    kvs_cost_free(cost);
    kvs_hw_free(hw);
    kvs_model_free(model);
    return fine ? 0 : 1;
}
