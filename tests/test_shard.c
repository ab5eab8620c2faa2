/* A tier spread over nodes: who gets what, over which links, by hand and over seeds. */
#include "simlab.h"
#include "test.h"

#include "base/map.h"
#include "base/rng.h"
#include "base/units.h"
#include "memtrace.h"
#include "store/evict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define S INT64_C(1000000000)
#define TOK 1024
#define N_BLOCK 8
#define MAX_REQUEST 600

static uint32_t link_of(const struct simlab *lab, const char *name)
{
    for (uint32_t j = 0; j < lab->hw->n_link; j++)
        if (!strcmp(lab->hw->link[j].name, name))
            return j;
    fail_msg("no link %s", name);
    return 0;
}

/* n hosts of one replica each; NVMe alone below HBM, which keeps nothing. */
static void open_lab(struct simlab *lab, uint32_t n_host, enum kvs_placement placement,
                     uint32_t n_copy)
{
    simlab_open(lab, "llama-3.1-8b", "h100-sxm", 8);
    struct kvs_sim_config *config = &lab->config;
    config->n_replica = n_host;
    config->router = kvs_router_find("round-robin");
    config->hbm_cache = false;
    config->tier[0] = config->tier[1];
    config->tier[0].placement = placement;
    config->tier[0].n_copy = n_copy;
    config->tier[0].network = link_of(lab, "nic");
    config->n_tier = 1;
}

static double bytes_of(const struct simlab *lab, const char *link, bool write)
{
    for (uint32_t l = 0; l < lab->result.n_link; l++)
        if (!strcmp(lab->result.link[l].name, link) && lab->result.link[l].write == write)
            return lab->result.link[l].n_bytes;
    return -1;
}

/* Requests far apart, all of the same one prompt. */
static void same_prompt(struct kvs_request *request, uint32_t n, struct kvs_trace_block *block,
                        uint32_t n_block)
{
    for (uint32_t b = 0; b < n_block; b++)
        block[b] = (struct kvs_trace_block){b + 1, TOK, KVS_PART_TEXT};
    for (uint32_t i = 0; i < n; i++)
        request[i] = (struct kvs_request){100 * S * i, 0, n_block * TOK, 1, n_block, block};
}

static uint64_t kv_bytes(const struct simlab *lab, uint64_t n_tok)
{
    return n_tok * kvs_model_n_layer(lab->model) *
           (uint64_t)kvs_model_kv_bytes_per_tok(lab->model, 0);
}

/*
 * Two nodes, placement cache-aware: the prompt is computed on node 0 and lies there; node 1 loads
 * it from node 0, then node 0 from itself. Node 1's load is bound by the slowest of NVMe, DRAM,
 * network and PCIe, as node 0's is but for the network, whose latency it pays besides.
 */
static void two_nodes_by_hand(void **state)
{
    struct simlab lab;
    struct kvs_trace_block block[N_BLOCK];
    struct kvs_request request[3];
    (void)state;
    open_lab(&lab, 2, KVS_PLACE_CACHE_AWARE, 1);
    const double rate = 1e9; /* the network's, of 8 NICs together; the slowest by far */
    struct kvs_hw_link *nic = &lab.hw->link[lab.config.tier[0].network];
    nic->read_bytes_per_s.value = nic->write_bytes_per_s.value = rate / 8;
    nic->descriptor_s.value = 0;
    same_prompt(request, 3, block, N_BLOCK);
    simlab_run(&lab, request, 3, true);
    assert_int_equal(lab.record[0].tier_tok[0], 0);
    assert_int_equal(lab.record[1].tier_tok[0], N_BLOCK * TOK - 1);
    assert_int_equal(lab.record[2].tier_tok[0], N_BLOCK * TOK - 1);
    assert_int_equal(lab.record[1].replica, 1);
    assert_int_equal(lab.record[2].replica, 0);

    const uint64_t n_bytes = lab.record[1].load_bytes[0];
    assert_true(n_bytes == kv_bytes(&lab, N_BLOCK * TOK - 1));
    assert_true(lab.result.tier[0].network_bytes == n_bytes);
    assert_true(bytes_of(&lab, "nic", false) == (double)n_bytes); /* in at node 1 */
    assert_true(bytes_of(&lab, "nic", true) == (double)n_bytes);  /* out of node 0 */
    assert_true(bytes_of(&lab, "nvme", false) == 2 * (double)n_bytes);
    assert_true(bytes_of(&lab, "pcie", false) == 2 * (double)n_bytes);
    assert_true(lab.result.tier[0].node_spread == 2); /* node 0 gave all */

    /* layer by layer, each rounded to nanoseconds: the network's latency and all of its time; then
     * what the last layer still waits for */
    const uint32_t n_layer = kvs_model_n_layer(lab.model);
    int64_t load_ns = (int64_t)n_layer * kvs_ns((double)n_bytes / n_layer / rate);
    const char *const route[] = {"nvme", "dram", "pcie", "nic"};
    for (int i = 0; i < 4; i++)
        load_ns += kvs_ns(kvs_hw_link(lab.hw, route[i])->latency_s.value);
    const struct kvs_seg last = {1, 1, N_BLOCK * TOK - 1};
    int64_t after_ns =
        kvs_ns(kvs_cost_head_s(lab.cost, 1, 1)) + kvs_ns(kvs_cost_layer_s(lab.cost, 0, &last, 1));
    assert_true(simlab_ttft_ns(&lab, 1) == load_ns + after_ns);
    assert_true(simlab_ttft_ns(&lab, 1) == lab.record[1].predicted_ttft_ns);
    assert_true(simlab_ttft_ns(&lab, 2) == lab.record[2].predicted_ttft_ns);
    assert_true(simlab_ttft_ns(&lab, 2) < simlab_ttft_ns(&lab, 1) / 4);
    simlab_close(&lab);
}

/* A single node: spread or not, it is the same machine. */
static void one_node_is_a_local_tier(void **state)
{
    struct simlab local, hashed;
    struct kvs_trace_block block[N_BLOCK];
    struct kvs_request request[4];
    (void)state;
    open_lab(&local, 1, KVS_PLACE_LOCAL, 0);
    open_lab(&hashed, 1, KVS_PLACE_HASHED, 1);
    same_prompt(request, 4, block, N_BLOCK);
    simlab_run(&local, request, 4, true);
    simlab_run(&hashed, request, 4, true);
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(simlab_ttft_ns(&local, i) == simlab_ttft_ns(&hashed, i));
        assert_true(local.record[i].finish_ns == hashed.record[i].finish_ns);
    }
    assert_true(hashed.result.tier[0].network_bytes == 0);
    assert_true(bytes_of(&hashed, "nic", false) == 0);
    assert_true(local.result.tier[0].write_bytes == hashed.result.tier[0].write_bytes);
    simlab_close(&local);
    simlab_close(&hashed);
}

/* Prompts of a shared beginning and an end of their own, drawn; some come again. */
struct drawn {
    struct kvs_trace_block block[MAX_REQUEST][6];
    struct kvs_request request[MAX_REQUEST];
};

static struct drawn *draw(uint64_t seed, uint32_t n, double gap_s, uint32_t n_prompt)
{
    struct drawn *drawn = calloc(1, sizeof *drawn);
    struct kvs_rng rng = kvs_rng_stream(seed, "shard");
    double at_s = 0;
    assert_non_null(drawn);
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t prompt = kvs_rng_below(&rng, n_prompt);
        const uint32_t n_block = 2 + (uint32_t)(prompt % 5);
        uint64_t id = 1;
        for (uint32_t b = 0; b < n_block; b++) {
            id = b < 2 ? kvs_chain(id, prompt % 7 * 2 + b) : kvs_chain(id, prompt);
            drawn->block[i][b] = (struct kvs_trace_block){id, TOK, KVS_PART_TEXT};
        }
        at_s += gap_s < 1 ? kvs_rng_exp(&rng, gap_s) : gap_s; /* one at a time */
        drawn->request[i] = (struct kvs_request){
            (int64_t)(at_s * 1e9), 0, n_block * TOK, 2, n_block, drawn->block[i]};
    }
    return drawn;
}

static uint64_t hit_tok(const struct simlab *lab)
{
    return lab->result.tier[0].hit_tok;
}

/* No request lost, every byte on all its links, and none read from nowhere. */
static void check(const struct simlab *lab, uint32_t n)
{
    const struct kvs_sim_tier_total *tier = &lab->result.tier[0];
    uint64_t load_bytes = 0;
    assert_true(lab->result.n_request == n && lab->result.n_refused == 0);
    for (uint32_t i = 0; i < n; i++)
        load_bytes += lab->record[i].load_bytes[0];
    assert_true(load_bytes == tier->load_bytes);
    /* what goes out of nodes comes into others, also of loads, copies and moves */
    assert_true(bytes_of(lab, "nic", false) == (double)tier->network_bytes);
    assert_true(bytes_of(lab, "nic", true) == (double)tier->network_bytes);
    assert_true(bytes_of(lab, "nvme", false) ==
                (double)tier->load_bytes + (double)tier->rebalance_bytes);
    assert_true(bytes_of(lab, "nvme", true) ==
                (double)tier->write_bytes + (double)tier->rebalance_bytes);
    assert_true(bytes_of(lab, "pcie", false) == (double)tier->load_bytes);
    assert_true(tier->stats.insert_bytes <= tier->write_bytes + tier->rebalance_bytes);
    assert_true(tier->node_spread == 0 ||
                (tier->node_spread >= 1 && tier->node_spread <= lab->config.n_replica));
}

static void bytes_are_conserved_over_seeds(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 12; seed++) {
        struct simlab lab;
        const uint32_t n = 200, n_host = 1 + seed % 5;
        const uint32_t n_copy = 1 + seed % 3 < n_host ? 1 + seed % 3 : n_host;
        struct drawn *drawn = draw(seed, n, 0.02 + 0.05 * (seed % 3), 60);
        open_lab(&lab, n_host, seed % 2 ? KVS_PLACE_HASHED : KVS_PLACE_CACHE_AWARE, n_copy);
        lab.config.tier[0].capacity_bytes = kv_bytes(&lab, 40 * TOK);
        if (seed % 2)
            lab.config.tier[0].hot_reads = seed % 4;
        if (n_host > 1) {
            lab.config.tier[0].n_outage = 1;
            lab.config.tier[0].outage[0] = (struct kvs_outage){seed % n_host, S, 4 * S};
        }
        simlab_run(&lab, drawn->request, n, true);
        check(&lab, n);
        assert_true(hit_tok(&lab) > 0);
        simlab_close(&lab);
        free(drawn);
    }
}

/* With room for all, a hashed tier hits what one store for all hits, and a local one less. */
static void hashed_nodes_hold_what_one_large_tier_holds(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 4; seed++) {
        struct simlab lab;
        const uint32_t n = 300, n_host = 2 + seed;
        struct drawn *drawn = draw(seed, n, 2, 80);
        open_lab(&lab, n_host, KVS_PLACE_HASHED, 1);
        lab.config.tier[0].capacity_bytes = kv_bytes(&lab, 600 * TOK / n_host);
        simlab_run(&lab, drawn->request, n, true);
        check(&lab, n);
        const uint64_t hashed = hit_tok(&lab);
        lab.config.tier[0].placement = KVS_PLACE_LOCAL;
        simlab_run(&lab, drawn->request, n, true);
        const uint64_t local = hit_tok(&lab);
        lab.config.n_replica = 1;
        lab.config.tier[0].capacity_bytes = kv_bytes(&lab, 600 * TOK);
        simlab_run(&lab, drawn->request, n, true);
        assert_true(hashed == hit_tok(&lab));
        assert_true(local < hashed);
        simlab_close(&lab);
        free(drawn);
    }
}

static uint32_t n_full_hit(const struct simlab *lab, uint32_t from, uint32_t to)
{
    uint32_t n = 0;
    for (uint32_t i = from; i < to; i++)
        n += lab->record[i].new_tok <= 1;
    return n;
}

/*
 * The same prompt every 100 s on two nodes; the only node that holds it is lost from 150 to 350 s.
 * It is computed again, now stored on the other one, and found all the time after that.
 */
static void lost_node_yields_no_hit(void **state)
{
    struct simlab lab;
    struct kvs_trace_block block[N_BLOCK];
    struct kvs_request request[6];
    (void)state;
    open_lab(&lab, 2, KVS_PLACE_CACHE_AWARE, 1);
    same_prompt(request, 6, block, N_BLOCK); /* computed on node 0 */
    lab.config.tier[0].n_outage = 1;
    lab.config.tier[0].outage[0] = (struct kvs_outage){0, 150 * S, 350 * S};
    simlab_run(&lab, request, 6, true);
    assert_int_equal(lab.record[1].new_tok, 1);
    assert_int_equal(lab.record[2].tier_tok[0], 0); /* on node 0, which can't store it */
    assert_int_equal(lab.record[3].tier_tok[0], 0); /* on node 1, which can */
    assert_int_equal(n_full_hit(&lab, 4, 6), 2);
    assert_true(lab.result.tier[0].lost_bytes == kv_bytes(&lab, N_BLOCK * TOK));
    assert_true(lab.result.tier[0].rebalance_bytes == 0);
    /* with a copy on each, nothing is missed */
    lab.config.tier[0].n_copy = 2;
    simlab_run(&lab, request, 6, true);
    assert_int_equal(n_full_hit(&lab, 1, 6), 5);
    simlab_close(&lab);
}

/* What was stored elsewhere while a node was away moves to it when it is back: then each block is
 * where the ring has it, and one that left nobody's hands is nowhere else. */
static void node_that_returns_gets_its_blocks(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 6; seed++) {
        struct simlab lab;
        const uint32_t n = 300;
        struct drawn *drawn = draw(seed, n, 1, 60);
        open_lab(&lab, 4, KVS_PLACE_HASHED, 1 + seed % 3);
        simlab_run(&lab, drawn->request, n, true);
        const uint64_t used_bytes = lab.result.tier[0].stats.used_bytes;
        const double spread = lab.result.tier[0].node_spread;
        lab.config.tier[0].n_outage = 1;
        lab.config.tier[0].outage[0] = (struct kvs_outage){1, 0, 100 * S};
        simlab_run(&lab, drawn->request, n, true);
        check(&lab, n);
        assert_true(lab.result.tier[0].lost_bytes == 0); /* it had nothing yet */
        assert_true(lab.result.tier[0].rebalance_bytes > 0);
        assert_true(lab.result.tier[0].rebalance_left_bytes == 0);
        assert_true(lab.result.tier[0].stats.used_bytes == used_bytes); /* moved, not copied */
        assert_true(fabs(lab.result.tier[0].node_spread - spread) < 0.75);
        simlab_close(&lab);
        free(drawn);
    }
}

/* One hot prompt asked for by all nodes at once: copies share the reading. */
static void copies_share_a_hot_prompt(void **state)
{
    double spread[2];
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        struct simlab lab;
        struct kvs_trace_block block[1] = {{7, 4 * TOK, KVS_PART_TEXT}};
        struct kvs_request request[41];
        for (uint32_t r = 0; r < 41; r++)
            request[r] = (struct kvs_request){r ? 100 * S : 0, 0, 4 * TOK, 1, 1, block};
        open_lab(&lab, 8, KVS_PLACE_HASHED, i ? 4 : 1);
        simlab_run(&lab, request, 41, true);
        spread[i] = lab.result.tier[0].node_spread;
        simlab_close(&lab);
    }
    assert_true(spread[0] == 8);
    assert_true(spread[1] < 4);
}

/* The same prompt again and again on four nodes in turn: each time two prompts have read it from
 * elsewhere a node more has it, until all have and nothing goes over the network. */
static void hot_blocks_get_copies(void **state)
{
    struct simlab lab;
    struct kvs_trace_block block[N_BLOCK];
    struct kvs_request request[40];
    uint64_t bytes[2];
    (void)state;
    same_prompt(request, 40, block, N_BLOCK);
    open_lab(&lab, 4, KVS_PLACE_HASHED, 1);
    for (uint32_t i = 0; i < 2; i++) {
        lab.config.tier[0].hot_reads = i ? 2 : 0;
        simlab_run(&lab, request, 40, true);
        check(&lab, 40);
        bytes[i] = lab.result.tier[0].network_bytes;
        assert_int_equal(n_full_hit(&lab, 1, 40), 39);
        assert_true(lab.result.tier[0].stats.n_block == N_BLOCK * (i ? 4 : 1));
    }
    assert_true(bytes[1] < bytes[0] / 2);
    simlab_close(&lab);
}

/* Thirty prompts with seven beginnings on six nodes: copies of what is read most take an eighth and
 * more off the network. */
static void hot_copies_ease_the_network(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 3; seed++) {
        struct simlab lab;
        uint64_t bytes[2];
        const uint32_t n = 400;
        struct drawn *drawn = draw(seed, n, 2, 30);
        open_lab(&lab, 6, KVS_PLACE_HASHED, 1);
        lab.config.tier[0].capacity_bytes = kv_bytes(&lab, 100 * TOK);
        for (uint32_t i = 0; i < 2; i++) {
            lab.config.tier[0].hot_reads = i ? 8 : 0;
            simlab_run(&lab, drawn->request, n, true);
            check(&lab, n);
            bytes[i] = lab.result.tier[0].network_bytes;
        }
        print_message("# seed %u: network bytes %.3f of those without copies of hot blocks\n", seed,
                      (double)bytes[1] / (double)bytes[0]);
        assert_true((double)bytes[1] < 0.9 * (double)bytes[0]);
        simlab_close(&lab);
        free(drawn);
    }
}

/*
 * Hashed tiers that hold blocks at a level, under policies that plan by layer and plan again, with
 * copies of hot blocks, little room and a node lost: nothing is lost or made of nothing, budgets
 * hold, and the same run gives the same times.
 */
static void levels_and_plans_made_again_go_with_hashed_tiers(void **state)
{
    static const char *const policy[] = {"load", "online", "layer-split", "optimal", "token-split"};
    enum { N_LAYER = 32, N_FRAC = 17, N = 120 };
    static int64_t distortion[N_LAYER * N_FRAC];
    const struct kvs_table_level level[2] = {{.name = "raw16", .k_ratio = 1, .v_ratio = 1},
                                             {.name = "x",
                                              .k_ratio = .25,
                                              .v_ratio = .5,
                                              .decode_bytes_per_s = 2e11,
                                              .distortion = distortion}};
    uint64_t n_hit = 0, n_loss = 0, n_again = 0;
    (void)state;
    for (int l = 0; l < N_LAYER; l++)
        for (int j = 0; j < N_FRAC; j++)
            distortion[l * N_FRAC + j] = 100000 * (N_FRAC - 1 - j) / (N_FRAC - 1);
    for (uint32_t seed = 1; seed <= 15; seed++) {
        struct simlab lab;
        int64_t ttft_ns[2] = {0};
        const uint32_t n_host = 2 + seed % 3;
        struct drawn *drawn = draw(seed, N, 0.01 + 0.03 * (seed % 3), 40);
        open_lab(&lab, n_host, KVS_PLACE_HASHED, 1 + seed % 2);
        struct kvs_sim_config *config = &lab.config;
        config->n_level = 2;
        config->level = level;
        config->n_frac = N_FRAC;
        config->budget = 1000000000;
        config->hbm_cache = seed % 4 == 0;
        config->tier[0].level = 1;
        config->tier[0].hot_reads = seed % 3;
        config->tier[0].capacity_bytes = kv_bytes(&lab, 25 * TOK);
        config->tier[0].n_outage = 1;
        config->tier[0].outage[0] = (struct kvs_outage){seed % n_host, S, 2 * S};
        config->planner = kvs_planner_find(policy[seed % 5]);
        assert_non_null(config->planner);
        for (int again = 0; again < 2; again++) {
            simlab_run(&lab, drawn->request, N, true);
            assert_int_equal(lab.result.n_request, N);
            assert_int_equal(lab.result.n_refused, 0);
            assert_true(bytes_of(&lab, "nic", false) == (double)lab.result.tier[0].network_bytes);
            assert_true(bytes_of(&lab, "nic", true) == (double)lab.result.tier[0].network_bytes);
            for (uint32_t i = 0; i < N; i++) {
                const struct kvs_sim_request *r = &lab.record[i];
                assert_int_equal(r->hbm_tok + r->tier_tok[0] + r->new_tok,
                                 drawn->request[i].input_tok);
                assert_true(r->loss >= 0 && r->loss <= config->budget);
                assert_true(r->first_token_ns > drawn->request[i].arrive_ns);
                n_loss += r->loss > 0;
                ttft_ns[again] += simlab_ttft_ns(&lab, i);
            }
            assert_true(lab.result.tier[0].stats.used_bytes <=
                        n_host * config->tier[0].capacity_bytes);
            n_hit += hit_tok(&lab) > 0;
        }
        assert_true(ttft_ns[0] == ttft_ns[1]);
        n_again += !strcmp(policy[seed % 5], "online") && hit_tok(&lab) > 0;
        simlab_close(&lab);
        free(drawn);
    }
    assert_true(n_hit == 30 && n_loss > 100 && n_again == 3);
}

static void refused(struct simlab *lab, const char *says)
{
    struct kvs_trace_block block = {1, TOK, KVS_PART_TEXT};
    struct kvs_request request = {0, 0, TOK, 1, 1, &block};
    struct kvs_trace *trace = memtrace(&request, 1, false);
    struct kvs_sim_sink sink = {0};
    struct kvs_err err = {0};
    assert_true(kvs_sim_run(&lab->config, trace, &sink, &lab->result, &err) != KVS_OK);
    if (!strstr(err.msg, says))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, says);
    kvs_trace_close(trace);
}

static void what_two_nodes_can_not_be_is_refused(void **state)
{
    struct simlab lab;
    struct kvs_tier_config *tier = &lab.config.tier[0];
    (void)state;
    open_lab(&lab, 2, KVS_PLACE_HASHED, 3);
    refused(&lab, "tiers[0].replicas: found 3, want at most 2, the hosts");
    tier->n_copy = 2;
    tier->n_outage = 2;
    tier->outage[0] = (struct kvs_outage){2, S, 2 * S};
    refused(&lab, "tiers[0].nodes_lost[0].host: found 2, want less than 2");
    tier->outage[0] = (struct kvs_outage){1, S, 3 * S};
    tier->outage[1] = (struct kvs_outage){1, 2 * S, 4 * S};
    refused(&lab, "host 1 is lost already at that time, by entry 0");
    tier->n_outage = 0;
    tier->write = KVS_WRITE_BACK;
    refused(&lab, "tiers[0].write: a tier spread over nodes wants \"through\"");
    tier->write = KVS_WRITE_THROUGH;
    tier->network = link_of(&lab, "nvme");
    refused(&lab, "nvme is on the tier's own route already");
    simlab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_nodes_by_hand),
        cmocka_unit_test(one_node_is_a_local_tier),
        cmocka_unit_test(bytes_are_conserved_over_seeds),
        cmocka_unit_test(hashed_nodes_hold_what_one_large_tier_holds),
        cmocka_unit_test(lost_node_yields_no_hit),
        cmocka_unit_test(node_that_returns_gets_its_blocks),
        cmocka_unit_test(copies_share_a_hot_prompt),
        cmocka_unit_test(hot_blocks_get_copies),
        cmocka_unit_test(hot_copies_ease_the_network),
        cmocka_unit_test(levels_and_plans_made_again_go_with_hashed_tiers),
        cmocka_unit_test(what_two_nodes_can_not_be_is_refused),
    };
    return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
