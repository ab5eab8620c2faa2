/* What a planner is told of the work before its prompt, and what a prompt does to those who wait
 * for its room. */
#include "simlab.h"
#include "test.h"

#include <math.h>

#define HOUR_NS 3600000000000
#define S 1000000000

enum { MAX_BLOCK = 640, MAX_DOC = 12 };

/* A cluster of one replica that keeps KV in one tier only, and documents put there one an hour. */
struct shelf {
    struct simlab lab;
    struct kvs_trace_block block[MAX_DOC][MAX_BLOCK];
    struct kvs_request request[3 * MAX_DOC];
    uint32_t n_doc, n;
    int64_t now_ns; /* when all documents are stored */
};

static void open_shelf(struct shelf *shelf, const char *hardware, const char *tier,
                       const char *planner)
{
    *shelf = (struct shelf){0};
    simlab_open(&shelf->lab, "llama-3.1-8b", hardware, 1);
    shelf->lab.config.tier[0] = shelf->lab.config.tier[1];
    shelf->lab.config.tier[0].name = tier;
    shelf->lab.config.n_tier = 1;
    shelf->lab.config.hbm_cache = false;
    shelf->lab.config.chunk_tok = 8192;
    shelf->lab.config.planner = kvs_planner_find(planner);
}

static void store(struct shelf *shelf, uint32_t n_block, uint32_t block_tok)
{
    const uint32_t d = shelf->n_doc++;
    for (uint32_t b = 0; b < n_block; b++)
        shelf->block[d][b] =
            (struct kvs_trace_block){(uint64_t)d * MAX_BLOCK + b + 1, block_tok, KVS_PART_TEXT};
    shelf->now_ns += HOUR_NS;
    shelf->request[shelf->n++] = (struct kvs_request){.arrive_ns = shelf->now_ns,
                                                      .input_tok = n_block * block_tok + 1,
                                                      .output_tok = 1,
                                                      .n_block = n_block,
                                                      .block = shelf->block[d]};
}

/* Asks with new_tok tokens behind document d, `after_ns` after the last was stored and an hour;
 * returns the request's index. */
static uint32_t ask(struct shelf *shelf, uint32_t d, uint32_t new_tok, int64_t after_ns)
{
    shelf->request[shelf->n] = shelf->request[d];
    shelf->request[shelf->n].arrive_ns = shelf->now_ns + HOUR_NS + after_ns;
    shelf->request[shelf->n].input_tok += new_tok - 1;
    return shelf->n++;
}

static double error_of(const struct shelf *shelf, uint32_t i)
{
    double ttft_ns = (double)simlab_ttft_ns(&shelf->lab, i);
    return fabs((double)shelf->lab.record[i].predicted_ttft_ns - ttft_ns) / ttft_ns;
}

/* One chunk of 30,000 tokens is half over when the other prompt comes. */
static void a_chunk_under_way_counts_for_what_is_left_of_it(void **state)
{
    static const struct kvs_request alone = {.input_tok = 30000, .output_tok = 1};
    struct kvs_request request[2] = {alone, {.input_tok = 1000, .output_tok = 1}};
    struct simlab lab;
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-2gpu", 1);
    lab.config.chunk_tok = 32768;
    request[1].arrive_ns = simlab_service_ns(&lab, 30000) / 2;
    simlab_run(&lab, request, 2, true);
    assert_int_equal(lab.record[1].predicted_ttft_ns, simlab_ttft_ns(&lab, 1));
    simlab_close(&lab);
}

/*
 * A quarter of a long context is computed again first, near its beginning, where a token is cheap;
 * then come new tokens at its end, fewer but dearer. The other prompt comes between the two.
 */
static void work_that_is_done_is_counted_by_its_time_not_its_tokens(void **state)
{
    struct shelf shelf;
    (void)state;
    open_shelf(&shelf, "workloads/reproduce/machines/h100-one-drive.json", "nvme", "token-split");
    store(&shelf, 20, 5120);
    store(&shelf, 1, 16);
    uint32_t first = ask(&shelf, 0, 16000, 0), second = ask(&shelf, 1, 500, 13 * (int64_t)S / 10);
    simlab_run(&shelf.lab, shelf.request, shelf.n, true);
    const struct kvs_sim_request *record = &shelf.lab.record[first];
    assert_true(record->recompute_tok > 20000);
    assert_true(record->first_token_ns > shelf.lab.record[second].arrive_ns + S / 2);
    if (error_of(&shelf, second) > .06)
        fail_msg("%.0f %% off", 100 * error_of(&shelf, second));
    simlab_close(&shelf.lab);
}

/*
 * Two prompts at once, the first with six times the load. The second may compute its recomputed
 * tokens while the first waits for its load, but no more of them for that: the GPU has the first
 * one's new tokens to compute as soon as the load is there.
 */
static void a_gap_in_another_prompt_is_no_free_gpu(void **state)
{
    uint32_t computed_tok[2];
    (void)state;
    for (int again = 0; again < 2; again++) {
        struct kvs_planner_ops ops = *kvs_planner_find("online");
        struct shelf shelf;
        ops.replans = again;
        open_shelf(&shelf, "h100-2gpu", "dram", "online");
        shelf.lab.config.planner = &ops;
        store(&shelf, 618, 512);
        store(&shelf, 100, 512);
        ask(&shelf, 0, 2000, 0);
        uint32_t second = ask(&shelf, 1, 909, 0);
        simlab_run(&shelf.lab, shelf.request, shelf.n, true);
        computed_tok[again] = shelf.lab.record[second].recompute_tok;
        simlab_close(&shelf.lab);
    }
    assert_true(computed_tok[0] > 0);
    assert_true(computed_tok[1] <= computed_tok[0]);
}

/*
 * Prompts of which HBM holds one at a time, from a slow volume, more than it can serve. Those that
 * wait do so for the room, which a prompt holds while it loads as well as while it computes: what
 * is best for itself is best for them.
 */
static void where_room_is_short_online_does_not_hold_it_for_a_load(void **state)
{
    static const char *const name[] = {"online", "optimal", "load"};
    double mean_s[3] = {0};
    (void)state;
    for (int p = 0; p < 3; p++) {
        struct shelf shelf;
        open_shelf(&shelf, "workloads/reproduce/machines/h100-volume.json", "nvme", name[p]);
        for (int d = 0; d < MAX_DOC; d++)
            store(&shelf, 20, 16384);
        for (uint32_t d = 0; d < MAX_DOC; d++)
            (void)ask(&shelf, d, 500, d * 12 * (int64_t)S);
        simlab_run(&shelf.lab, shelf.request, shelf.n, true);
        for (uint32_t i = MAX_DOC; i < shelf.n - 3; i++) /* nobody comes after the last: it is
                                                            not to know */
            mean_s[p] += (double)simlab_ttft_ns(&shelf.lab, i) * 1e-9 / (MAX_DOC - 3);
        simlab_close(&shelf.lab);
    }
    if (!(mean_s[0] < 1.02 * mean_s[1]))
        fail_msg("online %.1f s, optimal %.1f s", mean_s[0], mean_s[1]);
    assert_true(mean_s[0] < .7 * mean_s[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_under_way_counts_for_what_is_left_of_it),
        cmocka_unit_test(work_that_is_done_is_counted_by_its_time_not_its_tokens),
        cmocka_unit_test(a_gap_in_another_prompt_is_no_free_gpu),
        cmocka_unit_test(where_room_is_short_online_does_not_hold_it_for_a_load),
    };
    return cmocka_run_group_tests_name("backlog", tests, NULL, NULL);
}
