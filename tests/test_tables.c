#include "test.h"

#include "base/rng.h"
#include "base/units.h"
#include "model/cost.h"
#include "plan/tables.h"

#include <math.h>
#include <string.h>

/* Memory behind a fast bus, and a slow disk behind a bus of its own. */
static const struct kvs_hw_link disk = {
    .read_bytes_per_s.value = 5e9, .latency_s.value = 1e-4, .descriptor_s.value = 2e-6};
static const struct kvs_hw_link bus = {.read_bytes_per_s.value = 4e10, .latency_s.value = 1e-5};
static const struct kvs_hw_link other_bus = {.read_bytes_per_s.value = 4e10,
                                             .latency_s.value = 1e-5};
static const struct kvs_table_route routes[] = {
    {1, {{&bus, 1}}}, {2, {{&disk, 1}, {&other_bus, 1}}}, /* shares no hop */
};
/* 1000 in every layer of 32 when nothing is exact, for menus of 3 fractions */
#define THREE 1000, 500, 0
#define TWELVE THREE, THREE, THREE, THREE
static const int64_t half[96] = {TWELVE, TWELVE, TWELVE, TWELVE, TWELVE, TWELVE, TWELVE, TWELVE};
static const struct kvs_table_level levels[] = {
    {.name = "raw16", .k_ratio = 1, .v_ratio = 1},
    {.name = "half", .k_ratio = .6, .v_ratio = .4, .decode_bytes_per_s = 1e11, .distortion = half},
};

struct setup {
    struct kvs_model *model;
    struct kvs_hw *hw;
    struct kvs_cost *cost;
    struct kvs_tables *tables;
    struct kvs_tables_inst *inst;
};

static struct setup setup_on(const struct kvs_table_route route[2], uint32_t n_frac,
                             uint32_t n_level, uint32_t chunk_tok)
{
    struct setup s;
    struct kvs_err err = {0};
    struct kvs_tables_config config = {.n_route = 2,
                                       .route = route,
                                       .chunk_tok = chunk_tok,
                                       .n_frac = n_frac,
                                       .descriptors = 2,
                                       .n_level = n_level,
                                       .level = levels,
                                       .budget = 5000};

    if (kvs_model_open("llama-3.1-8b", &s.model, &err) || kvs_hw_open("h100-sxm", &s.hw, &err) ||
        kvs_cost_new(s.model, s.hw, 1, &s.cost, &err))
        fail_msg("%s", err.msg);
    config.model = s.model;
    config.cost = s.cost;
    if (kvs_tables_new(&config, &s.tables, &err))
        fail_msg("%s", err.msg);
    s.inst = kvs_tables_inst_new(s.tables);
    assert_non_null(s.inst);
    return s;
}

static struct setup setup(uint32_t n_frac, uint32_t n_level, uint32_t chunk_tok)
{
    return setup_on(routes, n_frac, n_level, chunk_tok);
}

static void end(struct setup *s)
{
    kvs_tables_inst_free(s->inst);
    kvs_tables_free(s->tables);
    kvs_cost_free(s->cost);
    kvs_hw_free(s->hw);
    kvs_model_free(s->model);
}

static int64_t layer_ns(const struct setup *s, double n_tok, double context_tok)
{
    struct kvs_seg seg = {1, n_tok, context_tok};

    return kvs_ns(kvs_cost_layer_s(s->cost, 0, &seg, 1));
}

static void blocks_of_a_prefix_become_a_menu(void **state)
{
    struct setup s = setup(3, 1, 512);
    /* 100 resident, then three blocks on disk, then 600 new tokens: two chunks */
    const struct kvs_piece piece[] = {{100, KVS_AT_HBM, false, 0, 0, NULL, false},
                                      {200, 1, false, 0, 0, NULL, false},
                                      {200, 1, false, 0, 0, NULL, false},
                                      {200, 1, false, 0, 0, NULL, false},
                                      {600, KVS_AT_NONE, false, 0, 0, NULL, false}};
    struct kvs_plan_problem p;
    const struct kvs_layer_cost *c;
    double bytes = 4096 * 200.; /* K and V, 8 heads of 128, 2 bytes */
    struct kvs_seg both[2] = {{1, 600, 100}, {1, 512, 700}};

    (void)state;
    kvs_tables_build(s.tables, s.inst, piece, 5, &p);
    c = p.layer[0];
    assert_int_equal(p.n_layer, 32);
    assert_int_equal(p.n_frac, 3);
    assert_int_equal(p.n_route, 2);
    assert_ptr_equal(p.layer[31], c);
    /* half of 600 tokens takes two whole blocks */
    assert_int_equal(kvs_tables_recompute_tok(s.inst, 0), 0);
    assert_int_equal(kvs_tables_recompute_tok(s.inst, 1), 400);
    assert_int_equal(kvs_tables_recompute_tok(s.inst, 2), 600);
    assert_true(p.frac[0] == 0 && fabs(p.frac[1] - 2. / 3) < 1e-12 && p.frac[2] == 1);
    assert_int_equal(kvs_tables_first_tok(s.inst), 512);
    assert_true(kvs_tables_load_bytes(s.inst, 1, 0, 1, 0) == bytes);
    /* the disk is the slowest hop: bytes over its rate, two descriptors a block */
    assert_int_equal(c->io_ns[1][0], kvs_ns(3 * bytes / 5e9 + 6 * 2e-6));
    assert_int_equal(c->io_ns[1][1], kvs_ns(bytes / 5e9 + 2 * 2e-6));
    assert_int_equal(c->io_ns[1][2], 0);
    assert_int_equal(c->io_ns[0][0], 0);
    assert_int_equal(p.io_start_ns[0], 0);
    assert_int_equal(p.io_start_ns[1], 110000);
    assert_int_equal(c->full_ns[0], 0);
    assert_int_equal(c->full_ns[1], layer_ns(&s, 400, 100));
    assert_int_equal(c->full_ns[2], layer_ns(&s, 600, 100));
    assert_int_equal(c->kv_ns[1], kvs_ns(kvs_cost_kv_s(s.cost, 0, 400)));
    assert_int_equal(c->post_ns[0], layer_ns(&s, 512, 700));
    assert_int_equal(c->post_ns[1], c->post_ns[0]);
    assert_int_equal(c->post_ns[2], kvs_ns(kvs_cost_layer_s(s.cost, 0, both, 2)) - c->full_ns[2]);
    assert_int_equal(c->wfull_ns[2], 0);
    assert_int_equal(p.head_ns,
                     32 * layer_ns(&s, 88, 1212) + kvs_ns(kvs_cost_head_s(s.cost, 600, 1)));
    end(&s);
}

/* One block: whatever share is wanted, all of it is computed, in one pass with the new tokens. */
static void a_fraction_that_computes_all_is_the_last_one(void **state)
{
    struct setup s = setup(3, 1, 512);
    const struct kvs_piece piece[] = {{200, 1, false, 0, 0, NULL, false},
                                      {100, KVS_AT_NONE, false, 0, 0, NULL, false}};
    struct kvs_plan_problem p;
    const struct kvs_layer_cost *c;

    (void)state;
    kvs_tables_build(s.tables, s.inst, piece, 2, &p);
    c = p.layer[0];
    assert_true(p.frac[0] == 0 && p.frac[1] == 1 && p.frac[2] == 1);
    assert_int_equal(c->full_ns[1], c->full_ns[2]);
    assert_int_equal(c->post_ns[1], c->post_ns[2]);
    assert_true(c->post_ns[1] < c->post_ns[0]);
    end(&s);
}

static void a_restart_loads_the_states_of_what_a_fraction_adds(void **state)
{
    static const uint8_t state_at[32] = {[16] = 1};
    const struct kvs_piece good[] = {{200, 0, false, 0, 0, NULL, false},
                                     {200, 1, false, 0, 0, NULL, false},
                                     {200, 1, false, 0, 0, NULL, false},
                                     {200, 1, false, 0, 0, NULL, false},
                                     {600, KVS_AT_NONE, false, 0, 0, NULL, false}};
    struct kvs_piece piece[5];
    struct setup s = setup(3, 1, 512);
    struct kvs_tables_config config = {.model = s.model,
                                       .cost = s.cost,
                                       .n_route = 2,
                                       .route = routes,
                                       .chunk_tok = 512,
                                       .n_frac = 3,
                                       .descriptors = 2,
                                       .n_level = 1,
                                       .level = levels,
                                       .state_at = state_at,
                                       .state_bytes_per_tok = 8192};
    struct kvs_tables *tables;
    struct kvs_tables_inst *inst;
    struct kvs_plan_problem p;

    (void)state;
    assert_int_equal(kvs_tables_new(&config, &tables, NULL), KVS_OK);
    inst = kvs_tables_inst_new(tables);
    assert_non_null(inst);
    kvs_tables_build(tables, inst, good, 5, &p);
    assert_ptr_equal(p.state_at, state_at);
    /* half is a block on the bus and one on the disk; all is one and three; a descriptor each */
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(p.state_ns[0][i], i ? kvs_ns(200 * 8192 / 4e10) : 0);
        assert_int_equal(p.state_ns[1][i], i ? kvs_ns((2 * i - 1) * (200 * 8192 / 5e9 + 2e-6)) : 0);
    }
    assert_true(kvs_tables_state_bytes(inst, 0, 1) == 400 * 8192);
    assert_true(kvs_tables_state_bytes(inst, 1, 2) == 400 * 8192);
    assert_true(kvs_tables_state_bytes(inst, 2, 2) == 0);
    assert_true(kvs_tables_route_state_bytes(inst, 0, 0, 2) == 200 * 8192); /* one and three */
    assert_true(kvs_tables_route_state_bytes(inst, 1, 0, 2) == 600 * 8192);
    /* a block that is held without them */
    memcpy(piece, good, sizeof piece);
    piece[1].stateless = true;
    kvs_tables_build(tables, inst, piece, 5, &p);
    assert_null(p.state_at);
    /* states of text that stood elsewhere, or was lossy, are not those of this prompt */
    memcpy(piece, good, sizeof piece);
    piece[1].moved = true;
    kvs_tables_build(tables, inst, piece, 5, &p);
    assert_null(p.state_at);
    memcpy(piece, good, sizeof piece);
    piece[2].loss = 7;
    kvs_tables_build(tables, inst, piece, 5, &p);
    assert_null(p.state_at);
    kvs_tables_inst_free(inst);
    kvs_tables_free(tables);
    end(&s);
}

static void residents_between_blocks_count_as_context(void **state)
{
    struct setup s = setup(2, 1, 512);
    const struct kvs_piece piece[] = {{100, 0, false, 0, 0, NULL, false},
                                      {300, KVS_AT_HBM, false, 0, 0, NULL, false},
                                      {100, 0, false, 0, 0, NULL, false},
                                      {10, KVS_AT_NONE, false, 0, 0, NULL, false}};
    struct kvs_plan_problem p;

    (void)state;
    kvs_tables_build(s.tables, s.inst, piece, 4, &p);
    /* 200 tokens as one sequence; the second hundred sees 300 more: 150 in the mean */
    assert_int_equal(p.layer[0]->full_ns[1], layer_ns(&s, 200, 150));
    assert_int_equal(p.n_route, 1);
    assert_int_equal(p.io_start_ns[0], 10000);
    end(&s);
}

static void holes_and_new_tokens_share_chunks(void **state)
{
    struct setup s = setup(2, 1, 64);
    const struct kvs_piece piece[] = {{40, KVS_AT_NONE, false, 0, 0, NULL, false},
                                      {100, 0, false, 0, 0, NULL, false},
                                      {60, KVS_AT_NONE, false, 0, 0, NULL, false},
                                      {50, 1, false, 0, 0, NULL, false},
                                      {20, KVS_AT_NONE, false, 0, 0, NULL, false}};
    struct kvs_plan_problem p;

    (void)state;
    kvs_tables_build(s.tables, s.inst, piece, 5, &p);
    assert_int_equal(kvs_tables_first_tok(s.inst), 64);
    /* first chunk: positions 0..39 and 140..163; the 24 see 100 more */
    assert_int_equal(p.layer[0]->post_ns[0], layer_ns(&s, 64, 24 * 100 / 64.));
    /* second: 164..199 and 250..269, 56 tokens; the first 36 see 164, the others 214 */
    assert_int_equal(p.head_ns, 32 * layer_ns(&s, 56, (36 * 164 + 20 * 214) / 56.) +
                                    kvs_ns(kvs_cost_head_s(s.cost, 120, 1)));
    end(&s);
}

static void nothing_on_a_route_leaves_one_choice(void **state)
{
    struct setup s = setup(5, 2, 512);
    const struct kvs_piece piece[] = {{1000, KVS_AT_HBM, false, 0, 0, NULL, false},
                                      {30, KVS_AT_NONE, false, 0, 0, NULL, false}};
    struct kvs_plan_problem p;
    struct kvs_plan a = {{0}, {0}}, b = {{0}, {0}};
    struct kvs_plan_eval x, y;

    (void)state;
    kvs_tables_build(s.tables, s.inst, piece, 2, &p);
    assert_int_equal(p.n_route, 0);
    memset(a.frac_i, 4, sizeof a.frac_i);
    assert_true(kvs_plan_eval(&p, &a, NULL, &x));
    assert_true(kvs_plan_eval(&p, &b, NULL, &y));
    assert_int_equal(x.end_ns, y.end_ns);
    assert_int_equal(x.end_ns,
                     32 * layer_ns(&s, 30, 1000) + kvs_ns(kvs_cost_head_s(s.cost, 30, 1)));
    end(&s);
}

static void levels_shrink_loads_and_cost_decoding_and_quality(void **state)
{
    struct setup s = setup(3, 2, 512);
    const struct kvs_piece piece[] = {{256, 0, false, 0, 0, NULL, false},
                                      {256, 0, false, 0, 0, NULL, false},
                                      {1, KVS_AT_NONE, false, 0, 0, NULL, false}};
    struct kvs_plan_problem p;
    const struct kvs_layer_cost *c;
    double bytes = 4096 * 512.;

    (void)state;
    kvs_tables_build(s.tables, s.inst, piece, 3, &p);
    c = p.layer[0];
    assert_int_equal(p.n_level, 2);
    assert_int_equal(p.budget, 5000);
    assert_int_equal(c->io_ns[0][0], kvs_ns(bytes / 4e10));
    assert_int_equal(c->io_ns[0][1], kvs_ns(bytes / 2 / 4e10));
    assert_int_equal(c->decode_ns[0], 0);
    assert_int_equal(c->decode_ns[1], kvs_ns(bytes / 1e11));
    assert_int_equal(c->distortion[1], 1000);
    assert_int_equal(c->distortion[3], 500);
    assert_int_equal(c->distortion[5], 0);
    end(&s);
}

/* By the definitions alone, fraction by fraction. */
static void tables_equal_their_definition(void **state)
{
    struct setup s = setup(17, 1, 256);

    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "tables");
        struct kvs_piece piece[40] = {{0}};
        uint32_t n = 1 + (uint32_t)kvs_rng_below(&rng, 39);
        struct kvs_plan_problem p;
        uint64_t total = 0;

        for (uint32_t b = 0; b < n; b++) {
            piece[b].n_tok = 1 + (uint32_t)kvs_rng_below(&rng, 700);
            piece[b].where = (int32_t)kvs_rng_below(&rng, 4) - 2;
            total += piece[b].where >= 0 ? piece[b].n_tok : 0;
        }
        piece[n] = (struct kvs_piece){
            1 + (uint32_t)kvs_rng_below(&rng, 1000), KVS_AT_NONE, false, 0, 0, NULL, false};
        kvs_tables_build(s.tables, s.inst, piece, n + 1, &p);
        assert_int_equal(kvs_tables_recompute_tok(s.inst, 16), total);
        for (uint32_t i = 0; i < 17; i++) {
            uint64_t done = 0, pos = 0;
            double pos_sum = 0, left[2] = {0, 0}, blocks[2] = {0, 0};

            for (uint32_t b = 0; b <= n; b++) {
                if (piece[b].where >= 0 && done * 16 < i * total) {
                    for (uint32_t t = 0; t < piece[b].n_tok; t++)
                        pos_sum += (double)(pos + t);
                    done += piece[b].n_tok;
                } else if (piece[b].where >= 0) {
                    left[piece[b].where] += piece[b].n_tok;
                    blocks[piece[b].where] += 1;
                }
                pos += piece[b].n_tok;
            }
            assert_int_equal(kvs_tables_recompute_tok(s.inst, i), done);
            if (done) {
                double n_tok = (double)done;
                double context = (pos_sum - n_tok * (n_tok - 1) / 2) / n_tok;

                assert_int_equal(p.layer[0]->full_ns[i], layer_ns(&s, n_tok, context));
            }
            for (uint32_t k = 0; k < 2 && k < p.n_route; k++) {
                double bytes = 4096 * left[k];
                double want = kvs_link_s(&bus, false, bytes, 2 * blocks[k]);
                double other = k ? kvs_link_s(&disk, false, bytes, 2 * blocks[k]) : 0;

                assert_int_equal(p.layer[0]->io_ns[k][i],
                                 left[k] > 0 ? kvs_ns(want > other ? want : other) : 0);
            }
        }
    }
    end(&s);
}

/* One token from the disk comes in small pieces; it may hold up a large load by no more than that.
 */
static void small_load_does_not_slow_a_large_one(void **state)
{
    static const struct kvs_hw_link shared = {.read_bytes_per_s.value = 4e10,
                                              .descriptor_s.value = 3e-6};
    static const struct kvs_table_route both[] = {{1, {{&shared, 1}}},
                                                  {2, {{&disk, 1}, {&shared, 1}}}};
    struct setup s = setup_on(both, 2, 1, 512);
    struct kvs_piece piece[22];
    struct kvs_plan_problem p;

    (void)state;
    for (uint32_t b = 0; b < 20; b++)
        piece[b] = (struct kvs_piece){512, 0, false, 0, 0, NULL, false};
    piece[20] = (struct kvs_piece){100, KVS_AT_NONE, false, 0, 0, NULL, false};
    kvs_tables_build(s.tables, s.inst, piece, 21, &p);
    int64_t alone_ns = p.layer[0]->io_ns[0][0];
    piece[21] = piece[20];
    piece[20] = (struct kvs_piece){1, 1, false, 0, 0, NULL, false};
    kvs_tables_build(s.tables, s.inst, piece, 22, &p);
    int64_t small_ns = kvs_ns(kvs_link_s(&shared, false, 4096, 2));
    assert_true(p.layer[0]->io_ns[0][0] >= alone_ns);
    assert_true(p.layer[0]->io_ns[0][0] <= alone_ns + small_ns + 1);
    end(&s);
}

static void blocks_held_at_other_levels_sum_up(void **state)
{
    struct setup s = setup(3, 2, 512);
    /* the first is held raw only, the second at half only, the third at both */
    const struct kvs_piece piece[] = {{200, 0, false, 1, 0, NULL, false},
                                      {200, 0, false, 2, 0, NULL, false},
                                      {200, 0, false, 3, 0, NULL, false},
                                      {1, KVS_AT_NONE, false, 0, 0, NULL, false}};
    struct kvs_plan_problem p;
    double bytes = 4096 * 200.;

    (void)state;
    kvs_tables_build(s.tables, s.inst, piece, 4, &p);
    const struct kvs_layer_cost *c = p.layer[0];
    assert_int_equal(c->io_ns[0][0], kvs_ns(2.5 * bytes / 4e10)); /* raw wanted: raw, half, raw */
    assert_int_equal(c->io_ns[0][1], kvs_ns(2 * bytes / 4e10));   /* half wanted: raw, half, half */
    assert_int_equal(c->decode_ns[0], kvs_ns(bytes / 1e11));
    assert_int_equal(c->decode_ns[1], kvs_ns(2 * bytes / 1e11));
    /* of 1000 when nothing is exact: a third, two thirds */
    assert_int_equal(c->distortion[0], 333);
    assert_int_equal(c->distortion[1], 667);
    assert_true(kvs_tables_load_bytes(s.inst, 0, 0, 0, 0) == 2.5 * bytes);
    end(&s);
}

static void residents_are_exact(void **state)
{
    struct setup s = setup(3, 2, 512);
    const struct kvs_piece piece[] = {{300, KVS_AT_HBM, false, 0, 0, NULL, false},
                                      {100, 0, false, 0, 0, NULL, false},
                                      {1, KVS_AT_NONE, false, 0, 0, NULL, false}};
    struct kvs_plan_problem p;

    (void)state;
    kvs_tables_build(s.tables, s.inst, piece, 3, &p);
    assert_int_equal(p.layer[31]->distortion[1], 250);
    assert_int_equal(p.layer[31]->distortion[0], 0);
    end(&s);
}

static struct setup setup_levels(uint32_t n_frac, const struct kvs_table_level *level,
                                 const struct kvs_table_repair *repair)
{
    struct setup s = setup(n_frac, 1, 512);
    struct kvs_err err = {0};
    struct kvs_tables_config config = {.model = s.model,
                                       .cost = s.cost,
                                       .n_route = 2,
                                       .route = routes,
                                       .chunk_tok = 512,
                                       .n_frac = n_frac,
                                       .descriptors = 2,
                                       .n_level = 2,
                                       .level = level,
                                       .repair = *repair,
                                       .budget = 5000};

    kvs_tables_inst_free(s.inst);
    kvs_tables_free(s.tables);
    if (kvs_tables_new(&config, &s.tables, &err))
        fail_msg("%s", err.msg);
    s.inst = kvs_tables_inst_new(s.tables);
    assert_non_null(s.inst);
    return s;
}

static void what_the_gpu_does_to_loads_delays_the_new_tokens(void **state)
{
    static const struct kvs_table_level gpu[] = {
        {.name = "raw16", .k_ratio = 1, .v_ratio = 1},
        {.name = "x", .k_ratio = .5, .v_ratio = .5, .decode_bytes_per_s = 1e11, .on_gpu = true}};
    static const struct kvs_table_level hidden[] = {
        {.name = "raw16", .k_ratio = 1, .v_ratio = 1},
        {.name = "hidden", .k_ratio = 2, .v_ratio = 2, .projected = true}};
    const struct kvs_table_repair none = {0};
    const struct kvs_piece piece[] = {{256, 0, false, 0, 0, NULL, false},
                                      {1, KVS_AT_NONE, false, 0, 0, NULL, false}};
    struct setup s = setup_levels(2, gpu, &none);
    struct kvs_plan_problem p;

    (void)state;
    kvs_tables_build(s.tables, s.inst, piece, 2, &p);
    assert_int_equal(p.layer[0]->decode_ns[1], 0);
    assert_int_equal(p.layer[0]->post_ns[1], layer_ns(&s, 1, 256) + kvs_ns(4096 * 256. / 1e11));
    assert_int_equal(p.layer[0]->post_ns[0], layer_ns(&s, 1, 256));
    end(&s);
    s = setup_levels(2, hidden, &none);
    kvs_tables_build(s.tables, s.inst, piece, 2, &p);
    /* a hidden state of Llama 3.1 8B is twice its K and V; they are projected when it is there */
    assert_int_equal(p.layer[0]->io_ns[0][1], kvs_ns(2 * 4096 * 256. / 4e10));
    assert_int_equal(p.layer[0]->post_ns[1],
                     layer_ns(&s, 1, 256) + kvs_ns(kvs_cost_kv_s(s.cost, 0, 256)));
    end(&s);
}

static void sections_cost_decoding_besides_their_bytes(void **state)
{
    static const struct kvs_table_level slow[] = {{.name = "raw16", .k_ratio = 1, .v_ratio = 1},
                                                  {.name = "x",
                                                   .k_ratio = .5,
                                                   .v_ratio = .5,
                                                   .decode_bytes_per_s = 1e11,
                                                   .decode_unit_s = 1e-5}};
    const struct kvs_table_repair none = {0};
    /* the first is held raw only: of two blocks, one has tokens to decode */
    const struct kvs_piece piece[] = {{256, 0, false, 1, 0, NULL, false},
                                      {256, 0, false, 3, 0, NULL, false},
                                      {1, KVS_AT_NONE, false, 0, 0, NULL, false}};
    struct setup s = setup_levels(2, slow, &none);
    struct kvs_plan_problem p;

    (void)state;
    kvs_tables_build(s.tables, s.inst, piece, 3, &p);
    assert_int_equal(p.layer[0]->decode_ns[1], kvs_ns(4096 * 256. / 1e11 + 1e-5));
    assert_int_equal(p.layer[0]->decode_ns[0], 0);
    end(&s);
}

/* Exact prefix of 100 on a route, then two moved passages, one of them resident: a menu that
 * repairs none, a tenth, a fifth, then computes from the front too. */
static void moved_text_is_rotated_and_repaired(void **state)
{
    static const double frac[] = {0, .1, .2};
    static const int64_t distortion[] = {32000, 16000, 3200};
    static const struct kvs_table_level exact[] = {
        {.name = "raw16", .k_ratio = 1, .v_ratio = 1},
        {.name = "half", .k_ratio = .5, .v_ratio = .5},
    };
    const struct kvs_table_repair repair = {.n = 3, .frac = frac, .distortion = distortion};
    struct setup s = setup_levels(5, exact, &repair);
    const struct kvs_piece piece[] = {{100, 0, false, 0, 0, NULL, false},
                                      {200, 0, true, 0, 0, NULL, false},
                                      {100, KVS_AT_HBM, true, 0, 0, NULL, false},
                                      {50, KVS_AT_NONE, false, 0, 0, NULL, false}};
    struct kvs_plan_problem p;

    (void)state;
    kvs_tables_build(s.tables, s.inst, piece, 4, &p);
    const struct kvs_layer_cost *c = p.layer[0];
    /* 20 tokens from 100 on, 10 from 300 on: positions sum up to 2190 + 3045; as one sequence */
    double context = (2190 + 3045 - 30 * 29 / 2.) / 30;
    struct kvs_seg both[2] = {{1, 30, context}, {1, 50, 400}};
    const uint32_t repaired[] = {0, 30, 60, 20, 0}, cut[] = {0, 0, 0, 300, 400};
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(kvs_tables_repair_tok(s.inst, i), repaired[i]);
        assert_int_equal(kvs_tables_recompute_tok(s.inst, i), cut[i]);
        assert_true(p.frac[i] == (repaired[i] + cut[i]) / 400.);
    }
    assert_int_equal(c->wfull_ns[1],
                     kvs_ns(kvs_cost_layer_s(s.cost, 0, both, 2)) - layer_ns(&s, 50, 400));
    assert_int_equal(c->wkv_ns[1],
                     kvs_ns(kvs_cost_kv_s(s.cost, 0, 80)) - kvs_ns(kvs_cost_kv_s(s.cost, 0, 50)));
    assert_int_equal(c->wfull_ns[0], 0);
    assert_int_equal(c->wfull_ns[4], 0);
    assert_int_equal(c->full_ns[2], 0);
    assert_int_equal(c->full_ns[3], layer_ns(&s, 300, 0));
    /* all blocks on routes are read, whatever is repaired in them */
    assert_int_equal(c->io_ns[0][1 * 2], kvs_ns(300 * 4096. / 4e10));
    assert_int_equal(c->io_ns[0][3 * 2], 0);
    /* the keys of 300 tokens are rotated, or of what is left of them */
    assert_int_equal(c->post_ns[0],
                     layer_ns(&s, 50, 400) + kvs_ns(kvs_cost_shift_s(s.cost, 0, 300)));
    assert_int_equal(c->post_ns[2 * 2],
                     layer_ns(&s, 50, 400) + kvs_ns(kvs_cost_shift_s(s.cost, 0, 240)));
    /* three quarters of the cached text is moved: 1000 a layer if it all were */
    assert_int_equal(p.layer[5]->distortion[0], 750);
    assert_int_equal(p.layer[5]->distortion[1 * 2], 375);
    assert_int_equal(p.layer[5]->distortion[2 * 2], 75);
    assert_int_equal(p.layer[5]->distortion[3 * 2], 25);
    assert_int_equal(p.layer[5]->distortion[4 * 2], 0);
    end(&s);
}

static void wrong_sizes_are_refused(void **state)
{
    struct setup s = setup(2, 1, 512);
    struct kvs_tables_config good = {.model = s.model,
                                     .cost = s.cost,
                                     .n_route = 2,
                                     .route = routes,
                                     .chunk_tok = 1,
                                     .n_frac = 2,
                                     .n_level = 1,
                                     .level = levels};
    struct kvs_tables_config bad[5];
    struct kvs_tables *tables;

    (void)state;
    for (int n = 0; n < 5; n++)
        bad[n] = good;
    bad[0].n_route = KVS_MAX_TIER_ROUTE + 1;
    bad[1].n_frac = 1;
    bad[2].n_frac = KVS_MAX_FRAC + 1;
    bad[3].n_level = 0;
    bad[4].chunk_tok = 0;
    for (int n = 0; n < 5; n++) {
        struct kvs_err err = {0};

        assert_int_equal(kvs_tables_new(&bad[n], &tables, &err), KVS_ERR_RANGE);
        assert_null(tables);
        assert_non_null(strstr(err.msg, "want"));
    }
    end(&s);
}

/* A route brings what is stored: blocks may weigh more or less than their level does in the mean.
 */
static void blocks_weigh_what_they_do_in_the_store(void **state)
{
    static const double heavy[] = {150}, light[] = {50};
    const struct kvs_piece even[] = {{100, 0, false, 0, 0, NULL, false},
                                     {100, 0, false, 0, 0, NULL, false},
                                     {1, KVS_AT_NONE, false, 0, 0, NULL, false}};
    struct kvs_piece piece[] = {even[0], even[1], even[2]};
    struct setup s = setup(3, 1, 512);
    struct kvs_plan_problem problem;
    double all, second;
    (void)state;
    kvs_tables_build(s.tables, s.inst, even, 3, &problem);
    all = kvs_tables_load_bytes(s.inst, 0, 0, 0, 0);
    second = kvs_tables_load_bytes(s.inst, 0, 0, 1, 0);
    piece[0].stored_tok = heavy;
    piece[1].stored_tok = light;
    kvs_tables_build(s.tables, s.inst, piece, 3, &problem);
    assert_true(fabs(kvs_tables_load_bytes(s.inst, 0, 0, 0, 0) - all) < 1);
    assert_true(fabs(kvs_tables_load_bytes(s.inst, 0, 0, 1, 0) - second / 2) < 1);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_a_prefix_become_a_menu),
        cmocka_unit_test(a_fraction_that_computes_all_is_the_last_one),
        cmocka_unit_test(a_restart_loads_the_states_of_what_a_fraction_adds),
        cmocka_unit_test(residents_between_blocks_count_as_context),
        cmocka_unit_test(holes_and_new_tokens_share_chunks),
        cmocka_unit_test(nothing_on_a_route_leaves_one_choice),
        cmocka_unit_test(levels_shrink_loads_and_cost_decoding_and_quality),
        cmocka_unit_test(tables_equal_their_definition),
        cmocka_unit_test(small_load_does_not_slow_a_large_one),
        cmocka_unit_test(blocks_held_at_other_levels_sum_up),
        cmocka_unit_test(blocks_weigh_what_they_do_in_the_store),
        cmocka_unit_test(residents_are_exact),
        cmocka_unit_test(sections_cost_decoding_besides_their_bytes),
        cmocka_unit_test(what_the_gpu_does_to_loads_delays_the_new_tokens),
        cmocka_unit_test(moved_text_is_rotated_and_repaired),
        cmocka_unit_test(wrong_sizes_are_refused),
    };
    return cmocka_run_group_tests_name("tables", tests, NULL, NULL);
}
