/* Prompts behind a store of bounded capacity: which blocks it holds, and what comes out. */
#include "test.h"

#include "base/rng.h"
#include "kernels/exec/serve.h"
#include "kernels/store/fill.h"
#include "store/evict.h"
#include "tmpdir.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4, MAX_BLOCK = 6, MAX_TOK = BLOCK * MAX_BLOCK + 3, N_PROMPT = 40, VOCAB = 96 };

struct lab {
    struct kvs_weights *weights;
    struct kvs_dev *dev;
    struct kvs_stream *stream;
    struct kvs_forward *forward, *other; /* the second one for full prefill */
    struct kvs_exec *exec;
    struct kvs_store *store;
    struct kvs_serve *serve;
    uint64_t model[2];
};

static void must(enum kvs_code code, const struct kvs_err *err)
{
    if (code)
        fail_msg("%s", err->msg);
}

static const struct kvs_evict_ops *lru(void)
{
    const struct kvs_evict_ops *ops;
    struct kvs_err err = {0};

    must(kvs_evict_find("lru", &ops, &err), &err);
    return ops;
}

static void lab_open(struct lab *lab, const char *name, uint32_t n_held)
{
    struct kvs_weights_shape shape = {.n_layer = 3,
                                      .hidden = 48,
                                      .ffn = 80,
                                      .n_head = 6,
                                      .n_kv_head = 2,
                                      .head_dim = 8,
                                      .n_vocab = VOCAB,
                                      .n_ctx = 64,
                                      .norm_eps = 1e-5f,
                                      .rope_halves = true};
    const struct kvs_forward_opt f = {.max_row = MAX_TOK,
                                      .max_ctx = MAX_TOK,
                                      .max_out = 1,
                                      .kv_elem = KVS_BF16,
                                      .act_elem = KVS_F32,
                                      .gemm_elem = KVS_F32};
    const struct kvs_store_opt make = {.make = true};
    const struct kvs_exec_opt opt = {0};
    struct kvs_err err = {0};
    char place[200];

    for (int i = 0; i < 4; i++)
        shape.freq[i] = pow(10000, -i / 4.);
    snprintf(place, sizeof place, "%s/%s", tmpdir(), name);
    must(kvs_weights_random(&shape, 5, &lab->weights, &err), &err);
    must(kvs_model_hash(lab->weights, lab->model, &err), &err);
    must(kvs_dev_open("ref", 0, 1, &lab->dev, &err), &err);
    must(kvs_stream_new(lab->dev, &lab->stream, &err), &err);
    must(kvs_forward_new(lab->dev, lab->weights, &f, &lab->forward, &err), &err);
    must(kvs_forward_new(lab->dev, lab->weights, &f, &lab->other, &err), &err);
    must(kvs_exec_new(lab->dev, lab->forward, &opt, &lab->exec, &err), &err);
    must(kvs_store_open(place, &make, &lab->store, &err), &err);
    const struct kvs_serve_config config = {.forward = lab->forward,
                                            .exec = lab->exec,
                                            .store = lab->store,
                                            .model_hash = lab->model,
                                            .block_tok = BLOCK,
                                            .evict = lru(),
                                            .capacity_bytes = n_held * 1000,
                                            .block_bytes = 1000};
    must(kvs_serve_new(&config, &lab->serve, &err), &err);
}

static void lab_close(struct lab *lab)
{
    kvs_serve_free(lab->serve);
    kvs_store_close(lab->store);
    kvs_exec_free(lab->exec);
    kvs_forward_free(lab->other);
    kvs_forward_free(lab->forward);
    kvs_stream_free(lab->stream);
    kvs_dev_close(lab->dev);
    kvs_weights_close(lab->weights);
}

/* One of a few beginnings, cut somewhere, and an end of its own. */
static uint32_t make_prompt(struct kvs_rng *rng, uint32_t *tok)
{
    uint32_t n_tok = 1 + (uint32_t)kvs_rng_below(rng, MAX_TOK);
    uint32_t n_same = (uint32_t)kvs_rng_below(rng, n_tok + 1);
    uint32_t which = (uint32_t)kvs_rng_below(rng, 3);

    for (uint32_t t = 0; t < n_tok; t++)
        tok[t] =
            t < n_same ? (t * 7 + which * 31 + 1) % VOCAB : (uint32_t)kvs_rng_below(rng, VOCAB);
    return n_tok;
}

/* What a tier of the simulator makes of a prompt, as sim/engine does: hits touched from the end,
 * then what was missing comes, the last first. */
static uint32_t access_tier(struct kvs_tier *tier, const struct kvs_block_key *key, uint32_t n,
                            int64_t now_ns)
{
    const struct kvs_block_info info = {.n_bytes = 1000};
    uint32_t n_hit = 0;
    bool lacks[MAX_BLOCK];

    while (n_hit < n && kvs_tier_find(tier, key[n_hit].word[0]) != KVS_NO_SLOT)
        n_hit++;
    for (uint32_t b = n_hit; b-- > 0;)
        kvs_tier_touch(tier, kvs_tier_find(tier, key[b].word[0]), now_ns);
    for (uint32_t b = 0; b < n; b++)
        lacks[b] = kvs_tier_find(tier, key[b].word[0]) == KVS_NO_SLOT;
    for (uint32_t b = n; b-- > 0;)
        if (lacks[b])
            (void)kvs_tier_insert(tier, key[b].word[0], &info, now_ns);
    return n_hit;
}

static void same_logits(struct lab *lab, const uint32_t *tok, uint32_t n_tok, const float *got)
{
    float full[VOCAB];
    struct kvs_err err = {0};

    must(kvs_forward_prefill(lab->other, lab->stream, tok, 0, n_tok, full, &err), &err);
    for (int v = 0; v < VOCAB; v++)
        assert_true(fabsf(got[v] - full[v]) <= 1e-4f);
}

/* Prompts that hit other than the tier says. */
static unsigned replay(const char *name, uint64_t seed, uint32_t n_held, uint32_t n_tier,
                       uint64_t *n_evict)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "prompts");
    struct kvs_block_key key[MAX_BLOCK + 1];
    struct kvs_exec_result *result = malloc(sizeof *result);
    struct kvs_tier_stats stats;
    struct kvs_tier *tier;
    struct kvs_err err = {0};
    struct lab lab;
    uint32_t tok[MAX_TOK];
    float logits[VOCAB];
    unsigned n_apart = 0;

    assert_non_null(result);
    lab_open(&lab, name, n_held);
    must(kvs_tier_new(lru(), n_tier * 1000, NULL, NULL, &tier, &err), &err);
    for (int i = 0; i < N_PROMPT; i++) {
        uint32_t n_tok = make_prompt(&rng, tok), n = kvs_serve_blocks(n_tok, BLOCK), cut[3];
        kvs_block_keys(lab.model, tok, BLOCK, n, key);
        uint32_t n_hit = kvs_serve_find(lab.serve, tok, n_tok, i);
        n_apart += access_tier(tier, key, n, i) != n_hit;
        cut[0] = (uint32_t)kvs_rng_below(&rng, n_hit + 1);
        cut[1] = cut[2] = cut[0] / 2;
        must(kvs_serve_run(lab.serve, i % 2 ? cut : NULL, logits, result, &err), &err);
        assert_false(result->fell_back);
        same_logits(&lab, tok, n_tok, logits);
        must(kvs_serve_keep(lab.serve, i, &err), &err);
    }
    kvs_serve_stats(lab.serve, &stats);
    *n_evict = stats.n_evict;
    kvs_tier_free(tier);
    lab_close(&lab);
    free(result);
    return n_apart;
}

static void blocks_held_are_the_tiers_and_logits_those_of_full_prefill(void **state)
{
    uint64_t n_evict;
    char name[32];
    (void)state;

    for (uint32_t n_held = 2; n_held <= 14; n_held += 4)
        for (uint64_t seed = 1; seed <= 2; seed++) {
            snprintf(name, sizeof name, "s%d-%d", (int)n_held, (int)seed);
            assert_int_equal(replay(name, seed, n_held, n_held, &n_evict), 0);
            assert_true(n_evict > 20);
        }
}

static uint32_t find(struct lab *lab, const uint32_t *tok, uint32_t n_tok, int64_t now_ns)
{
    return kvs_serve_find(lab->serve, tok, n_tok, now_ns);
}

static void run_right(struct lab *lab, const uint32_t *tok, uint32_t n_tok)
{
    struct kvs_exec_result *result = malloc(sizeof *result);
    struct kvs_err err = {0};
    float logits[VOCAB];

    assert_non_null(result);
    must(kvs_serve_run(lab->serve, NULL, logits, result, &err), &err);
    assert_false(result->fell_back);
    same_logits(lab, tok, n_tok, logits);
    free(result);
}

enum { TWO_BLOCKS = 2 * BLOCK + 1 };

/* Two prompts of two blocks that are kept, alike in their first n_common tokens. */
static void two_prompts(uint32_t a[TWO_BLOCKS], uint32_t b[TWO_BLOCKS], uint32_t n_common)
{
    for (uint32_t i = 0; i < TWO_BLOCKS; i++) {
        a[i] = i % VOCAB;
        b[i] = (i < n_common ? i : i + 3) % VOCAB;
    }
}

static void prompt_that_waits_does_not_see_what_is_yet_to_be_kept(void **state)
{
    enum { N = TWO_BLOCKS };
    uint32_t a[N], b[N];
    struct kvs_err err = {0};
    struct lab lab;
    (void)state;

    two_prompts(a, b, BLOCK);
    lab_open(&lab, "waits", 8);
    assert_int_equal(find(&lab, a, N, 0), 0);
    run_right(&lab, a, N);
    assert_int_equal(find(&lab, b, N, 1), 0);
    must(kvs_serve_keep(lab.serve, 2, &err), &err);
    run_right(&lab, b, N);
    must(kvs_serve_keep(lab.serve, 3, &err), &err);
    assert_int_equal(find(&lab, a, N, 4), 2);
    run_right(&lab, a, N);
    assert_int_equal(find(&lab, b, N, 5), 2);
    lab_close(&lab);
}

static void prompt_whose_blocks_leave_while_it_waits_is_computed(void **state)
{
    enum { N = TWO_BLOCKS };
    uint32_t a[N], b[N];
    struct kvs_err err = {0};
    struct lab lab;
    (void)state;

    two_prompts(a, b, 0);
    lab_open(&lab, "leaves", 2);
    (void)find(&lab, a, N, 0);
    run_right(&lab, a, N);
    must(kvs_serve_keep(lab.serve, 1, &err), &err);
    (void)find(&lab, b, N, 2);
    run_right(&lab, b, N);
    assert_int_equal(find(&lab, a, N, 3), 2);
    must(kvs_serve_keep(lab.serve, 4, &err), &err);
    run_right(&lab, a, N);
    lab_close(&lab);
}

static void store_of_one_block_less_is_told_apart(void **state)
{
    uint64_t n_evict;
    (void)state;

    assert_true(replay("less", 1, 5, 6, &n_evict) > 0);
}

static void last_token_is_never_in_a_kept_block(void **state)
{
    (void)state;
    assert_int_equal(kvs_serve_blocks(0, 4), 0);
    assert_int_equal(kvs_serve_blocks(4, 4), 0);
    assert_int_equal(kvs_serve_blocks(5, 4), 1);
    assert_int_equal(kvs_serve_blocks(8, 4), 1);
    assert_int_equal(kvs_serve_blocks(9, 4), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_held_are_the_tiers_and_logits_those_of_full_prefill),
        cmocka_unit_test(prompt_that_waits_does_not_see_what_is_yet_to_be_kept),
        cmocka_unit_test(prompt_whose_blocks_leave_while_it_waits_is_computed),
        cmocka_unit_test(store_of_one_block_less_is_told_apart),
        cmocka_unit_test(last_token_is_never_in_a_kept_block),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_drop);
}
