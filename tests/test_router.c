/* test_router.c - routers: choices worked out by hand, and where they send prompts in a run. */
#include "simlab.h"
#include "test.h"

#include <string.h>

#define HOUR_NS 3600000000000

static uint32_t choice(const char *router, const struct kvs_replica_view *view, uint32_t n)
{
    const struct kvs_router_ops *ops = kvs_router_find(router);
    assert_non_null(ops);
    return ops->route(view, n, 0);
}

static void cache_aware_goes_where_most_is_held(void **state)
{
    struct kvs_replica_view view[3] = {
        {.n_waiting = 3, .prompt_tok = 1000, .match_tok = 400, .cached_bytes = 30},
        {.n_waiting = 5, .prompt_tok = 1000, .match_tok = 500, .cached_bytes = 20},
        {.n_waiting = 1, .prompt_tok = 1000, .match_tok = 500, .cached_bytes = 10},
    };
    (void)state;
    assert_int_equal(choice("cache-aware", view, 3), 2); /* longest; the lighter of two */
    view[0].match_tok = 501;
    assert_int_equal(choice("cache-aware", view, 3), 0);
    for (int r = 0; r < 3; r++)
        view[r].match_tok = 300; /* 0.3 of the prompt: too little to matter */
    view[1].cached_bytes = 5;
    assert_int_equal(choice("cache-aware", view, 3), 1); /* the emptiest cache */
    view[1].match_tok = 900;
    view[1].n_running = 60; /* 65 to 1: 64 more, still in balance */
    assert_int_equal(choice("cache-aware", view, 3), 1);
    view[1].n_running = 61;
    assert_int_equal(choice("cache-aware", view, 3), 2); /* the least loaded */
    view[0].n_waiting = view[2].n_waiting = 140;         /* 66 against 140: 74 more and 2.1 times */
    assert_int_equal(choice("cache-aware", view, 3), 1);
    view[1].n_running = 95; /* 100 against 140: only 1.4 times */
    assert_int_equal(choice("cache-aware", view, 3), 1);
}

static void least_ttft_adds_queue_transfer_and_prefill(void **state)
{
    struct kvs_replica_view view[3] = {
        {.backlog_ns = 500, .transfer_ns = 100, .prefill_ns = 50},
        {.backlog_ns = 0, .transfer_ns = 0, .prefill_ns = 651},
        {.backlog_ns = 100, .transfer_ns = 300, .prefill_ns = 249},
    };
    (void)state;
    assert_int_equal(choice("least-ttft", view, 3), 2); /* 650, 651, 649 */
    view[2].transfer_ns = 301;
    assert_int_equal(choice("least-ttft", view, 3), 0); /* a tie: the lowest index */
}

static void least_work_counts_seconds_not_requests(void **state)
{
    struct kvs_replica_view view[3] = {
        {.n_waiting = 1, .backlog_ns = 500, .transfer_ns = 0},
        {.n_waiting = 9, .n_running = 3, .backlog_ns = 400, .transfer_ns = 900},
        {.n_waiting = 8, .n_running = 3, .backlog_ns = 400, .transfer_ns = 900},
    };
    (void)state;
    assert_int_equal(choice("least-loaded", view, 3), 0);
    assert_int_equal(choice("least-work", view, 3), 2); /* a tie: the fewer requests */
    view[1].backlog_ns = 399;
    assert_int_equal(choice("least-work", view, 3), 1);
    view[2] = view[0] = view[1];
    assert_int_equal(choice("least-work", view, 3), 0);
}

/*
 * Two replicas with room for one prompt each. A long one, then four short ones: they wait for each
 * other, not for the long one, which takes longer than all of them.
 */
static void short_prompts_do_not_queue_behind_a_long_one(void **state)
{
    struct kvs_request request[5] = {{0}};
    struct simlab lab;
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    lab.config.router = kvs_router_find("least-work");
    lab.config.n_replica = 2;
    lab.config.max_batch = 1;
    for (int i = 0; i < 5; i++)
        request[i] =
            (struct kvs_request){.arrive_ns = i, .input_tok = i ? 1000 : 100000, .output_tok = 1};
    simlab_run(&lab, request, 5, true);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(lab.record[i].replica, i > 0);
    simlab_close(&lab);
}

/*
 * Two replicas, each with a long prompt in HBM. The next of each kind comes back to its own; round
 * robin would send it to the other.
 */
static void prompts_return_to_their_blocks(void **state)
{
    static const char *const routers[] = {"cache-aware", "least-ttft"};
    struct kvs_trace_block block[2][40];
    (void)state;
    for (uint32_t b = 0; b < 40; b++)
        for (uint32_t k = 0; k < 2; k++)
            block[k][b] = (struct kvs_trace_block){1000 * k + b, 256, KVS_PART_TEXT};
    for (int r = 0; r < 2; r++) {
        struct kvs_request request[4] = {{0}};
        struct simlab lab;
        simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
        lab.config.router = kvs_router_find(routers[r]);
        lab.config.n_replica = 2;
        lab.config.n_tier = 0;
        for (int i = 0; i < 4; i++) /* the first two at once: the second goes elsewhere */
            request[i] = (struct kvs_request){.arrive_ns = i < 2 ? i * 1000 : i * HOUR_NS,
                                              .input_tok = 40 * 256 + 10,
                                              .output_tok = 2,
                                              .n_block = 40,
                                              .block = block[i == 1 || i == 2]};
        simlab_run(&lab, request, 4, true);
        assert_int_equal(lab.record[0].replica, 0);
        assert_int_equal(lab.record[1].replica, 1);
        assert_int_equal(lab.record[2].replica, 1);
        assert_int_equal(lab.record[3].replica, 0);
        assert_int_equal(lab.record[2].hbm_tok, 40 * 256);
        simlab_close(&lab);
    }
}

/* Prompts that wait for room count as queue: eight equal ones at once spread evenly. */
static void prompts_without_room_count_as_queue(void **state)
{
    static const char *const routers[] = {"least-ttft", "least-work"};
    (void)state;
    for (int r = 0; r < 2; r++) {
        struct kvs_request request[8] = {{0}};
        struct simlab lab;
        uint32_t n[2] = {0};
        simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
        lab.config.router = kvs_router_find(routers[r]);
        lab.config.n_replica = 2;
        lab.config.max_batch = 1;
        for (int i = 0; i < 8; i++)
            request[i] = (struct kvs_request){.input_tok = 5000, .output_tok = 1};
        simlab_run(&lab, request, 8, true);
        for (int i = 0; i < 8; i++)
            n[lab.record[i].replica]++;
        assert_int_equal(n[0], 4);
        simlab_close(&lab);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cache_aware_goes_where_most_is_held),
        cmocka_unit_test(least_ttft_adds_queue_transfer_and_prefill),
        cmocka_unit_test(least_work_counts_seconds_not_requests),
        cmocka_unit_test(short_prompts_do_not_queue_behind_a_long_one),
        cmocka_unit_test(prompts_return_to_their_blocks),
        cmocka_unit_test(prompts_without_room_count_as_queue),
    };
    return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}
