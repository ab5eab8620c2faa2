/*
 * prop_work.c - work conservation: where nothing has to be waited for, a GPU works exactly while
 * one of its requests is in the system; and where loads must be waited for, never without one.
 */
#include "simlab.h"
#include "test.h"

#include "base/rng.h"
#include "base/units.h"

#include <math.h>
#include <stdlib.h>

enum { N_REQUEST = 300, N_BLOCK = 24 };

struct traffic {
    struct kvs_request request[N_REQUEST];
    struct kvs_trace_block block[N_REQUEST][N_BLOCK];
};

static void make(struct traffic *traffic, uint64_t seed, double gap_s)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "work");
    double at_s = 0;
    for (uint32_t i = 0; i < N_REQUEST; i++) {
        struct kvs_request *request = &traffic->request[i];
        uint64_t group = kvs_rng_below(&rng, 20);
        uint32_t shared = (uint32_t)kvs_rng_below(&rng, N_BLOCK);
        at_s += kvs_rng_exp(&rng, gap_s);
        *request = (struct kvs_request){.arrive_ns = kvs_ns(at_s),
                                        .n_block = 1 + (uint32_t)kvs_rng_below(&rng, N_BLOCK),
                                        .output_tok = (uint32_t)kvs_rng_below(&rng, 120),
                                        .block = traffic->block[i]};
        for (uint32_t b = 0; b < request->n_block; b++)
            traffic->block[i][b] = (struct kvs_trace_block){
                b < shared ? group * 1000 + b : 1000000 + i * 1000 + b, 256, KVS_PART_TEXT};
        request->input_tok = request->n_block * 256 + 1 + (uint32_t)kvs_rng_below(&rng, 200);
    }
}

/* Seconds in which at least one of the replica's requests was there; they are in order of arrival.
 */
static double occupied_s(const struct simlab *lab, uint32_t replica)
{
    int64_t from_ns = 0, to_ns = 0, sum_ns = 0;
    for (size_t i = 0; i < lab->n_record; i++) {
        const struct kvs_sim_request *r = &lab->record[i];
        if (r->replica != replica || r->refused)
            continue;
        if (r->arrive_ns > to_ns) {
            sum_ns += to_ns - from_ns;
            from_ns = r->arrive_ns;
        }
        to_ns = r->finish_ns > to_ns ? r->finish_ns : to_ns;
    }
    return (double)(sum_ns + to_ns - from_ns) * 1e-9;
}

static void gpus_work_exactly_while_a_request_is_there(void **state)
{
    static struct traffic traffic;
    (void)state;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        struct simlab lab;
        double want_s = 0;
        simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
        make(&traffic, seed, seed % 3 ? 0.2 : 0.05);
        lab.config.n_replica = 1 + (uint32_t)seed % 3;
        lab.config.n_tier = 0;
        lab.config.planner = kvs_planner_find("recompute");
        lab.config.hbm_cache = seed % 2;
        lab.config.chunk_tok = 256u << seed % 6;
        simlab_run(&lab, traffic.request, N_REQUEST, true);
        for (uint32_t r = 0; r < lab.config.n_replica; r++)
            want_s += occupied_s(&lab, r);
        if (!(fabs(lab.result.gpu_busy_s - want_s) <= 1e-9 * want_s))
            fail_msg("seed %llu: busy for %.9f s, requests were there for %.9f s",
                     (unsigned long long)seed, lab.result.gpu_busy_s, want_s);
        assert_true(lab.result.gpu_stall_s == 0);
        assert_true(fabs(lab.result.prefill_s + lab.result.decode_s - want_s) <= 1e-9 * want_s);
        simlab_close(&lab);
    }
}

static void gpus_that_wait_for_loads_never_work_without_a_request(void **state)
{
    static struct traffic traffic;
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct simlab lab;
        double most_s = 0;
        simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
        make(&traffic, seed, 0.1);
        lab.config.n_replica = 1 + (uint32_t)seed % 3;
        lab.config.planner = kvs_planner_find(seed % 2 ? "load" : "best");
        lab.config.hbm_cache = false;
        simlab_run(&lab, traffic.request, N_REQUEST, true);
        for (uint32_t r = 0; r < lab.config.n_replica; r++)
            most_s += occupied_s(&lab, r);
        assert_true(lab.result.gpu_busy_s + lab.result.gpu_stall_s <= most_s * (1 + 1e-9));
        assert_true(lab.result.gpu_busy_s > 0);
        /* no link is occupied for longer than the run took */
        for (uint32_t j = 0; j < lab.result.n_link; j++)
            assert_true(lab.result.link[j].busy_s <=
                        lab.result.link[j].n * (double)lab.last_span_ns * 1e-9 + most_s);
        simlab_close(&lab);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpus_work_exactly_while_a_request_is_there),
        cmocka_unit_test(gpus_that_wait_for_loads_never_work_without_a_request),
    };
    return cmocka_run_group_tests_name("work", tests, NULL, NULL);
}
