/* test_parked.c - prompts that wait for their loads: the re-poll interval, and how many load at
 * once. */
#include "simlab.h"
#include "test.h"

#define HOUR_NS 3600000000000
#define MS_NS 1000000

/* n prompts of 30 blocks of their own, stored by n others an hour before; all at once. */
static void run_stored(struct simlab *lab, size_t n, uint32_t n_new)
{
    struct kvs_trace_block block[4][30];
    struct kvs_request request[8] = {{0}};
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t b = 0; b < 30; b++)
            block[i][b] = (struct kvs_trace_block){1000 * i + b, 256, KVS_PART_TEXT};
    for (size_t i = 0; i < 2 * n; i++)
        request[i] = (struct kvs_request){.arrive_ns = i < n ? 0 : HOUR_NS,
                                          .input_tok = 30 * 256 + n_new,
                                          .output_tok = 1,
                                          .n_block = 30,
                                          .block = block[i % n]};
    lab->config.hbm_cache = false;
    simlab_run(lab, request, 2 * n, true);
}

/* A lone hit starts its prefill at the first look after it could have. */
static void repoll_rounds_a_hit_s_start_up(void **state)
{
    struct simlab lab;
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    run_stored(&lab, 1, 100);
    const int64_t at_once_ns = simlab_ttft_ns(&lab, 1);
    const int64_t start_ns = lab.record[1].load_ns; /* waited for loads, then computed */
    assert_int_equal(lab.record[1].load_ns + lab.record[1].compute_ns, at_once_ns);
    assert_true(start_ns > MS_NS);
    for (int64_t every_ns = MS_NS / 10; every_ns <= 1000 * MS_NS; every_ns *= 10) {
        lab.config.repoll_ns = every_ns;
        run_stored(&lab, 1, 100);
        int64_t rounded_ns = (start_ns + every_ns - 1) / every_ns * every_ns;
        /* a later start stalls less, so it may gain back part of the delay, never more */
        assert_true(simlab_ttft_ns(&lab, 1) <= at_once_ns + rounded_ns - start_ns);
        assert_true(simlab_ttft_ns(&lab, 1) >= rounded_ns + lab.record[1].compute_ns);
        assert_int_equal(lab.record[1].queue_ns, 0);
        assert_true(simlab_ttft_ns(&lab, 0) == lab.record[0].compute_ns); /* a miss is not parked */
    }
    assert_true(simlab_ttft_ns(&lab, 1) > 1000 * MS_NS); /* one second: the whole of it */
    simlab_close(&lab);
}

/* Four hits at once: without a bound all get their room at once, with one they go one by one. */
static void pending_loads_are_bounded(void **state)
{
    struct simlab lab;
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    run_stored(&lab, 4, 100);
    for (int i = 4; i < 8; i++)
        assert_true(lab.record[i].admit_ns == HOUR_NS);
    lab.config.max_pending_loads = 1;
    run_stored(&lab, 4, 100);
    assert_true(lab.record[4].admit_ns == HOUR_NS);
    for (int i = 5; i < 8; i++) {
        assert_true(lab.record[i].admit_ns > lab.record[i - 1].admit_ns);
        assert_int_equal(lab.record[i].tier_tok[0], 30 * 256);
    }
    for (int i = 0; i < 4; i++)
        assert_true(lab.record[i].admit_ns == 0); /* nothing to load: not held up */
    lab.config.max_pending_loads = 3;
    run_stored(&lab, 4, 100);
    assert_true(lab.record[6].admit_ns == HOUR_NS && lab.record[7].admit_ns > HOUR_NS);
    simlab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repoll_rounds_a_hit_s_start_up),
        cmocka_unit_test(pending_loads_are_bounded),
    };
    return cmocka_run_group_tests_name("parked", tests, NULL, NULL);
}
