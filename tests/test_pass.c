/*
 * test_pass.c - how long a step of several prompts takes: prompts that are computed in their first
 * layers only share those, and whoever decodes goes through all layers.
 */
#include "memtrace.h"
#include "simlab.h"
#include "test.h"

#include "base/units.h"

#define S_NS ((int64_t)1000000000)

enum { N_DOC = 2, N_BLOCK = 32, BLOCK_TOK = 256, DOC_TOK = N_BLOCK * BLOCK_TOK, NEW = 300 };
enum { OTHER = N_DOC, ASK, SHORT = ASK + N_DOC, N = SHORT + 6 }; /* requests in order */

/* The step in which both questions' documents are computed; and which plans were held. */
struct both {
    struct kvs_plan plan[N_DOC];
    int64_t step_ns;
};

static enum kvs_code keep_plan(void *ctx, const struct kvs_sim_request *request,
                               struct kvs_err *err)
{
    struct both *both = ctx;
    (void)err;
    if (request->index >= ASK && request->index < SHORT)
        both->plan[request->index - ASK] = *request->plan;
    return KVS_OK;
}

static enum kvs_code keep_step(void *ctx, const struct kvs_span *span, struct kvs_err *err)
{
    struct both *both = ctx;
    (void)err;
    if (span->kind == KVS_SPAN_STEP && span->n_tok == N_DOC * DOC_TOK)
        both->step_ns = span->end_ns - span->begin_ns;
    return KVS_OK;
}

/* Two documents are stored; then, while another prompt is computed or decoded, both are asked
 * about. Shorter prompts come and go first until what the questions load is there, so that they can
 * be in one step. */
static struct both ask_both(struct simlab *lab, uint32_t n_out, int64_t after_ns)
{
    struct kvs_trace_block block[N_DOC][N_BLOCK];
    struct kvs_request request[N] = {0};
    struct both both = {0};
    struct kvs_sim_sink sink = {.ctx = &both, .request = keep_plan, .span = keep_step};
    struct kvs_err err = {0};
    for (int d = 0; d < N_DOC; d++) {
        for (uint32_t b = 0; b < N_BLOCK; b++)
            block[d][b] =
                (struct kvs_trace_block){(uint64_t)d * 100 + b + 1, BLOCK_TOK, KVS_PART_TEXT};
        struct kvs_request one = {.arrive_ns = d * 100 * S_NS,
                                  .input_tok = DOC_TOK + NEW,
                                  .output_tok = 1,
                                  .n_block = N_BLOCK,
                                  .block = block[d]};
        request[d] = one;
        one.arrive_ns = 1000 * S_NS + after_ns;
        request[ASK + d] = one;
    }
    request[OTHER] =
        (struct kvs_request){.arrive_ns = 1000 * S_NS, .input_tok = 1000, .output_tok = n_out};
    for (int i = SHORT; i < N; i++)
        request[i] = (struct kvs_request){
            .arrive_ns = 1000 * S_NS + after_ns + 1, .input_tok = DOC_TOK, .output_tok = 1};
    lab->config.hbm_cache = false;
    lab->config.tier[0] = lab->config.tier[1];
    lab->config.n_tier = 1;
    lab->config.chunk_tok = N_DOC * DOC_TOK;
    lab->config.planner = kvs_planner_find("layer-split");
    lab->config.sched = kvs_sched_find("shortest-first");
    struct kvs_trace *trace = memtrace(request, N, true);
    if (kvs_sim_run(&lab->config, trace, &sink, &lab->result, &err) != KVS_OK)
        fail_msg("%s", err.msg);
    kvs_trace_close(trace);
    return both;
}

/* Whoever is in a layer; where a document's tokens are computed for the last time, their keys and
 * values alone are. */
static int64_t by_hand_ns(const struct simlab *lab, const struct both *both,
                          const struct kvs_seg *decode)
{
    const uint32_t n_layer = kvs_model_n_layer(lab->model);
    int64_t ns = 0;
    for (uint32_t l = 0; l < n_layer; l++) {
        uint32_t class_i = kvs_cost_class(lab->cost, l), n_seg = 0;
        struct kvs_seg seg[N_DOC + 1];
        for (int d = 0; d < N_DOC; d++) {
            const uint8_t *frac_i = both->plan[d].frac_i;
            bool on = l + 1 < n_layer && frac_i[l + 1];
            if (on)
                seg[n_seg++] = (struct kvs_seg){1, DOC_TOK, 0};
            else if (frac_i[l])
                ns += kvs_ns(kvs_cost_kv_s(lab->cost, class_i, DOC_TOK));
        }
        if (decode)
            seg[n_seg++] = *decode;
        ns += kvs_ns(kvs_cost_layer_s(lab->cost, class_i, seg, n_seg));
    }
    return ns + (decode ? kvs_ns(kvs_cost_head_s(lab->cost, 1, 1)) : 0);
}

/* How many layers compute documents; all of them are computed, or none. */
static uint32_t n_computing(const struct simlab *lab, const struct kvs_plan *plan)
{
    uint32_t n = 0;
    for (uint32_t l = 0; l < kvs_model_n_layer(lab->model); l++) {
        assert_in_range(plan->frac_i[l], 0, 1);
        n += plan->frac_i[l] > 0;
    }
    return n;
}

static void two_prompts_share_the_layers_that_both_compute(void **state)
{
    struct simlab lab;
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-2gpu", 1);
    struct both both = ask_both(&lab, 1, S_NS / 1000);
    int64_t alone_ns = 0;
    for (int d = 0; d < N_DOC; d++) {
        uint32_t n = n_computing(&lab, &both.plan[d]);
        struct kvs_seg seg = {1, DOC_TOK, 0};
        assert_in_range(n, 2, 31); /* a split */
        alone_ns += (n - 1) * kvs_ns(kvs_cost_layer_s(lab.cost, 0, &seg, 1)) +
                    kvs_ns(kvs_cost_kv_s(lab.cost, 0, DOC_TOK));
    }
    int64_t want_ns = by_hand_ns(&lab, &both, NULL);
    assert_in_range(both.step_ns, want_ns - 100, want_ns + 100);
    assert_true(both.step_ns <= alone_ns);
    simlab_close(&lab);
}

/* In the layers where nothing is computed but for it, too: those are read from memory for it. */
static void who_decodes_goes_through_all_layers(void **state)
{
    struct simlab lab;
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-2gpu", 1);
    struct both both = ask_both(&lab, 400, S_NS);
    struct kvs_seg decode = {1, 1, 1000}; /* it and its answer until then, fewer than 1400 */
    int64_t least_ns = by_hand_ns(&lab, &both, &decode);
    decode.context_tok = 1400;
    int64_t most_ns = by_hand_ns(&lab, &both, &decode);
    assert_in_range(n_computing(&lab, &both.plan[0]), 2, 31);
    assert_in_range(both.step_ns, least_ns - 100, most_ns + 100);
    decode.context_tok = 1000;
    assert_true(both.step_ns > 32 * kvs_ns(kvs_cost_layer_s(lab.cost, 0, &decode, 1)));
    simlab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_prompts_share_the_layers_that_both_compute),
        cmocka_unit_test(who_decodes_goes_through_all_layers),
    };
    return cmocka_run_group_tests_name("pass", tests, NULL, NULL);
}
