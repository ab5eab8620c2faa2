/* What gets into a tier, when, and what it costs: write policies and admission rules by hand. */
#include "simlab.h"
#include "test.h"

#include "memtrace.h"
#include "store/admit.h"

#include <stdlib.h>

#define X_BLOCK 10
#define X_TOK 256
#define FILL 60000 /* tokens of one filler; a few push all else out of HBM */
#define N_FILL 10
#define S INT64_C(1000000000)

static uint64_t bytes_of(const struct simlab *lab, uint64_t n_tok)
{
    return n_tok * kvs_model_n_layer(lab->model) *
           (uint64_t)kvs_model_kv_bytes_per_tok(lab->model, 0);
}

/*
 * X, X again at once if twice, fillers, X, fillers: each filler one block of its own. All is far
 * apart but the first two.
 */
struct story {
    struct kvs_trace_block x[X_BLOCK], fill[2 * N_FILL];
    struct kvs_request request[3 + 2 * N_FILL];
    size_t n;
};

static void add(struct story *story, int64_t at_s, struct kvs_trace_block *block, uint32_t n_block)
{
    struct kvs_request *request = &story->request[story->n++];
    *request = (struct kvs_request){at_s * S, 0, 1, 1, n_block, block};
    for (uint32_t b = 0; b < n_block; b++)
        request->input_tok += block[b].n_tok;
}

static struct story *tell(bool twice)
{
    struct story *story = calloc(1, sizeof *story);
    assert_non_null(story);
    for (uint32_t b = 0; b < X_BLOCK; b++)
        story->x[b] = (struct kvs_trace_block){b + 1, X_TOK, KVS_PART_TEXT};
    add(story, 0, story->x, X_BLOCK);
    if (twice)
        add(story, 100, story->x, X_BLOCK);
    for (uint32_t i = 0; i < 2 * N_FILL; i++) {
        story->fill[i] = (struct kvs_trace_block){1000 + i, FILL, KVS_PART_TEXT};
        if (i == N_FILL)
            add(story, 100 * (2 + i), story->x, X_BLOCK);
        add(story, 100 * (3 + i), &story->fill[i], 1);
    }
    return story;
}

static void open_lab(struct simlab *lab, enum kvs_write write)
{
    simlab_open(lab, "llama-3.1-8b", "h100-sxm", 1);
    lab->config.max_batch = 1;
    lab->config.n_tier = 1;
    lab->config.tier[0].write = write;
    lab->config.tier[0].capacity_bytes = (uint64_t)1 << 40;
}

/* What was written, or is still on its way when the last request ends. */
static uint64_t written(const struct simlab *lab)
{
    return lab->result.tier[0].write_bytes + lab->result.tier[0].write_backlog_bytes;
}

/* The index of the third story of X, which comes after the first fillers. */
static const struct kvs_sim_request *x_again(const struct simlab *lab, bool twice)
{
    return &lab->record[N_FILL + 1 + twice];
}

static void write_back_writes_what_hbm_lets_go_and_only_once(void **state)
{
    struct story *story = tell(false);
    uint64_t write_bytes[3], n_block[3];
    (void)state;
    for (int write = KVS_WRITE_THROUGH; write <= KVS_WRITE_EXCLUSIVE; write++) {
        struct simlab lab;
        open_lab(&lab, (enum kvs_write)write);
        simlab_run(&lab, story->request, 1, true); /* X alone */
        assert_true(written(&lab) ==
                    (write == KVS_WRITE_THROUGH ? bytes_of(&lab, X_BLOCK * X_TOK) : 0));
        simlab_run(&lab, story->request, story->n, true);
        assert_int_equal(x_again(&lab, false)->tier_tok[0], X_BLOCK * X_TOK);
        write_bytes[write] = written(&lab);
        n_block[write] = lab.result.tier[0].stats.n_block;
        const uint64_t x_bytes = bytes_of(&lab, X_BLOCK * X_TOK);
        const uint64_t fill_bytes = bytes_of(&lab, FILL);
        if (write == KVS_WRITE_THROUGH)
            assert_true(write_bytes[write] == x_bytes + 2 * N_FILL * fill_bytes);
        else /* the last fillers are still in HBM */
            assert_true(write_bytes[write] < write_bytes[KVS_WRITE_THROUGH]);
        simlab_close(&lab);
        if (write != KVS_WRITE_EXCLUSIVE)
            continue;
        /* loaded, it left; evicted again, it is written again */
        assert_true(write_bytes[write] == write_bytes[KVS_WRITE_BACK] + x_bytes);
        assert_true(n_block[write] == n_block[KVS_WRITE_BACK]);
    }
    free(story);
}

static void exclusive_tier_gives_up_what_is_loaded(void **state)
{
    struct story *story = tell(false);
    struct simlab lab;
    (void)state;
    open_lab(&lab, KVS_WRITE_BACK);
    simlab_run(&lab, story->request, N_FILL + 2, true); /* up to the load of X */
    const uint64_t with = lab.result.tier[0].stats.n_block;
    lab.config.tier[0].write = KVS_WRITE_EXCLUSIVE;
    simlab_run(&lab, story->request, N_FILL + 2, true);
    assert_true(lab.result.tier[0].stats.n_block == with - X_BLOCK);
    simlab_close(&lab);
    free(story);
}

static void without_an_hbm_cache_blocks_go_back_when_their_request_ends(void **state)
{
    struct story *story = tell(true);
    struct simlab lab;
    (void)state;
    open_lab(&lab, KVS_WRITE_BACK);
    lab.config.hbm_cache = false;
    simlab_run(&lab, story->request, 3, true);
    assert_int_equal(lab.record[1].tier_tok[0], X_BLOCK * X_TOK);
    assert_true(written(&lab) == bytes_of(&lab, X_BLOCK * X_TOK + FILL)); /* X once */
    simlab_close(&lab);
    free(story);
}

static void tier_behind_gets_what_the_nearer_one_evicts(void **state)
{
    struct story *story = tell(false);
    struct simlab lab;
    (void)state;
    open_lab(&lab, KVS_WRITE_THROUGH);
    lab.config.n_tier = 2;
    lab.config.tier[0].capacity_bytes = bytes_of(&lab, 4 * FILL);
    lab.config.tier[1].write = KVS_WRITE_BACK;
    simlab_run(&lab, story->request, story->n, true);
    assert_true(x_again(&lab, false)->tier_tok[1] == X_BLOCK * X_TOK);
    assert_true(lab.result.tier[1].stats.insert_bytes > 0);
    assert_true(lab.result.tier[1].stats.insert_bytes <= lab.result.tier[0].stats.evict_bytes);
    simlab_close(&lab);
    free(story);
}

static void second_touch_writes_nothing_that_comes_once(void **state)
{
    struct story *story = tell(true);
    struct simlab lab;
    (void)state;
    open_lab(&lab, KVS_WRITE_THROUGH);
    lab.config.tier[0].admit = kvs_admit_find("touched");
    lab.config.tier[0].admit_config.n = 2;
    simlab_run(&lab, story->request, story->n, true);
    const uint64_t x_bytes = bytes_of(&lab, X_BLOCK * X_TOK);
    assert_true(written(&lab) == x_bytes); /* at its second prompt, out of HBM */
    assert_true(lab.result.tier[0].write_declined_bytes ==
                x_bytes + 2 * N_FILL * bytes_of(&lab, FILL));
    assert_int_equal(x_again(&lab, true)->tier_tok[0], X_BLOCK * X_TOK);
    lab.config.tier[0].admit_config.n = 3;
    simlab_run(&lab, story->request, story->n, true);
    assert_int_equal(x_again(&lab, true)->tier_tok[0], 0);
    assert_true(written(&lab) == x_bytes); /* at its third */
    simlab_close(&lab);
    free(story);
}

/* Every rule: an offer is taken or not, the same way each time from the same seed. */
static void rules_are_alike_from_the_same_seed(void **state)
{
    const struct kvs_admit_config config = {.n = 2, .share = 0.3, .seed = 5};
    (void)state;
    for (int i = 0; kvs_admit_all[i]; i++) {
        const struct kvs_admit_ops *ops = kvs_admit_all[i];
        void *one = calloc(1, ops->state_bytes + 1), *other = calloc(1, ops->state_bytes + 1);
        assert_non_null(one);
        assert_non_null(other);
        assert_true(ops->init(one, &config) && ops->init(other, &config));
        for (uint64_t key = 0; key < 20000; key++)
            assert_true(ops->wants(one, key % 700) == ops->wants(other, key % 700));
        if (ops->end) {
            ops->end(one);
            ops->end(other);
        }
        free(one);
        free(other);
    }
}

static void random_rule_takes_its_share(void **state)
{
    const struct kvs_admit_ops *ops = kvs_admit_find("random");
    const struct kvs_admit_config config = {.share = 0.3, .seed = 5};
    uint64_t n = 0;
    (void)state;
    void *rule = calloc(1, ops->state_bytes);
    assert_non_null(rule);
    assert_true(ops->init(rule, &config));
    for (uint64_t key = 0; key < 10000; key++)
        n += ops->wants(rule, key);
    assert_in_range(n, 2850, 3150);
    free(rule);
}

/* More keys than the rule remembers: it forgets the oldest and stays within its memory. */
static void touched_rule_forgets_the_oldest(void **state)
{
    const struct kvs_admit_ops *ops = kvs_admit_find("touched");
    const struct kvs_admit_config config = {.n = 2};
    const uint64_t many = ((uint64_t)1 << 20) + 1000;
    (void)state;
    void *rule = calloc(1, ops->state_bytes);
    assert_non_null(rule);
    assert_true(ops->init(rule, &config));
    for (uint64_t key = 0; key < many; key++)
        assert_false(ops->wants(rule, key));
    assert_false(ops->wants(rule, 5));
    assert_true(ops->wants(rule, many - 1));
    assert_true(ops->wants(rule, 5)); /* remembered since */
    ops->end(rule);
    free(rule);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_back_writes_what_hbm_lets_go_and_only_once),
        cmocka_unit_test(exclusive_tier_gives_up_what_is_loaded),
        cmocka_unit_test(without_an_hbm_cache_blocks_go_back_when_their_request_ends),
        cmocka_unit_test(tier_behind_gets_what_the_nearer_one_evicts),
        cmocka_unit_test(second_touch_writes_nothing_that_comes_once),
        cmocka_unit_test(rules_are_alike_from_the_same_seed),
        cmocka_unit_test(random_rule_takes_its_share),
        cmocka_unit_test(touched_rule_forgets_the_oldest),
    };
    return cmocka_run_group_tests_name("tiering", tests, NULL, NULL);
}
