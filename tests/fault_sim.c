/*
 * fault_sim.c - a run whose nth allocation fails ends with that error and leaks nothing; the next
 * run is as if nothing had happened.
 */
#include "fault.h"
#include "memtrace.h"
#include "simlab.h"
#include "test.h"

#include "store/admit.h"
#include "store/evict.h"

#include <string.h>

enum { N_REQUEST = 40 };

static enum kvs_code sum(void *ctx, const struct kvs_sim_request *request, struct kvs_err *err)
{
    int64_t *total = ctx;
    (void)err;
    *total += request->finish_ns;
    return KVS_OK;
}

static enum kvs_code ignore(void *ctx, const struct kvs_sim_sample *sample, struct kvs_err *err)
{
    (void)ctx;
    (void)sample;
    (void)err;
    return KVS_OK;
}

static enum kvs_code run(const struct kvs_sim_config *config, const struct kvs_request *request,
                         struct kvs_sim_result *result, int64_t *total, struct kvs_err *err)
{
    struct kvs_sim_sink sink = {.ctx = total, .request = sum, .sample = ignore};
    struct kvs_trace *trace = memtrace(request, N_REQUEST, true);
    *total = 0;
    *result = (struct kvs_sim_result){0};
    if (!trace)
        return kvs_fail(err, KVS_ERR_NOMEM, "the trace");
    struct kvs_sim_config told = *config;
    struct kvs_foresight foresight = {0};
    enum kvs_code code = KVS_OK;
    if (kvs_sim_wants_foresight(config)) {
        struct kvs_trace *ahead = memtrace(request, N_REQUEST, true);
        code = ahead ? kvs_foresee(config, ahead, &foresight, err)
                     : kvs_fail(err, KVS_ERR_NOMEM, "the trace");
        kvs_trace_close(ahead);
        told.foresight = &foresight;
    }
    if (!code)
        code = kvs_sim_run(&told, trace, &sink, result, err);
    kvs_foresight_free(&foresight);
    kvs_trace_close(trace);
    return code;
}

static void fail_each_allocation(struct simlab *lab)
{
    struct kvs_trace_block block[N_REQUEST][8];
    struct kvs_request request[N_REQUEST];
    struct kvs_sim_result result;
    int64_t want, got;
    unsigned n_failed = 0;
    bool more = true;
    for (uint32_t i = 0; i < N_REQUEST; i++) {
        for (uint32_t b = 0; b < 8; b++)
            block[i][b] = (struct kvs_trace_block){b < 5 ? i % 7 * 10 + b : 1000 + i * 10 + b, 300,
                                                   KVS_PART_TEXT};
        request[i] = (struct kvs_request){(int64_t)i * 40000000, i % 9, 2500, 10, 8, block[i]};
    }
    assert_int_equal(run(&lab->config, request, &result, &want, NULL), KVS_OK);
    for (unsigned n = 1; more; n++) {
        struct kvs_err err = {0};
        kvs_fault_at(KVS_FAULT_MEM, n);
        enum kvs_code code = run(&lab->config, request, &result, &got, &err);
        more = kvs_fault_end();
        assert_int_equal(code, err.code);
        if (code == KVS_OK) /* none failed, or a block found no place in a tier's table */
            continue;
        assert_int_equal(code, KVS_ERR_NOMEM);
        assert_int_equal(result.n_request, 0);
        n_failed++;
    }
    assert_true(n_failed > 100);
    assert_int_equal(run(&lab->config, request, &result, &got, NULL), KVS_OK);
    assert_true(got == want);
}

static void nth_allocation_fails_cleanly(void **state)
{
    struct simlab lab;
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    lab.config.n_replica = 2;
    lab.config.hbm_cache = false;
    lab.config.planner = kvs_planner_find("best");
    fail_each_allocation(&lab);
    simlab_close(&lab);
}

/* Sessions, a first pass for Belady, write-back, an admission rule with a memory. */
static void nth_allocation_of_what_is_optional_fails_cleanly(void **state)
{
    struct simlab lab;
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    lab.config.hbm_cache = false;
    lab.config.arrivals.loop = KVS_LOOP_SESSIONS;
    lab.config.tier[0].write = KVS_WRITE_EXCLUSIVE;
    lab.config.tier[0].admit = kvs_admit_find("touched");
    lab.config.tier[0].admit_config.n = 2;
    assert_int_equal(kvs_evict_find("belady", &lab.config.tier[1].evict, NULL), KVS_OK);
    fail_each_allocation(&lab);
    simlab_close(&lab);
}

/* A tier over nodes with copies, one lost and back, which gives it work to move blocks. */
static void nth_allocation_of_a_tier_over_nodes_fails_cleanly(void **state)
{
    struct simlab lab;
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 8);
    lab.config.n_replica = 3;
    lab.config.hbm_cache = false;
    lab.config.tier[1].placement = KVS_PLACE_HASHED;
    lab.config.tier[1].n_copy = 2;
    lab.config.tier[1].network = (uint32_t)(kvs_hw_link(lab.hw, "nic") - lab.hw->link);
    lab.config.tier[1].n_outage = 1;
    lab.config.tier[1].outage[0] = (struct kvs_outage){1, 100000000, 900000000};
    fail_each_allocation(&lab);
    simlab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nth_allocation_fails_cleanly),
        cmocka_unit_test(nth_allocation_of_what_is_optional_fails_cleanly),
        cmocka_unit_test(nth_allocation_of_a_tier_over_nodes_fails_cleanly),
    };
    return cmocka_run_group_tests_name("fault_sim", tests, NULL, NULL);
}
