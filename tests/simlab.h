/*
 * simlab.h - a small cluster for tests of the simulator: a configuration that runs, requests made
 * by hand, and the records of what came out.
 */
#ifndef KVS_SIMLAB_H
#define KVS_SIMLAB_H

#include "engine/router.h"
#include "engine/sched.h"
#include "engine/sim.h"

struct simlab {
    struct kvs_model *model;
    struct kvs_hw *hw;
    struct kvs_cost *cost;
    struct kvs_sim_config config; /* one replica, DRAM and NVMe, lru, policy load; change at will */
    struct kvs_sim_result result;
    struct kvs_sim_request *record; /* [n_record] in the order of the requests */
    struct kvs_plan *plan;          /* [n_record] */
    size_t n_record;
    uint64_t n_load_span, load_span_bytes, write_span_bytes;
    int64_t last_span_ns;
};

/* Fails the test if the model or the hardware can't be had. */
void simlab_open(struct simlab *lab, const char *model, const char *hardware, uint32_t tp);
void simlab_close(struct simlab *lab);
/* Runs the requests; fails the test on an error. Records of an earlier run are gone. */
void simlab_run(struct simlab *lab, const struct kvs_request *request, size_t n, bool chained);
void simlab_trace(struct simlab *lab, struct kvs_trace *trace); /* takes and closes the trace */
/* Prefill of n_tok tokens in one step, alone: what the simulator must charge. */
int64_t simlab_service_ns(const struct simlab *lab, uint32_t n_tok);
/* The prompt whose service is nearest to s seconds from below; service grows with tokens. */
uint32_t simlab_prompt_for(const struct simlab *lab, double s);
int64_t simlab_ttft_ns(const struct simlab *lab, size_t i);

#endif
