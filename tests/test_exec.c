/*
 * test_exec.c - what the executor does when something goes wrong, and the parts of a plan that
 * prop_exec.c does not draw: repairs, moved blocks, windows that are too small, the order of
 * stages.
 */
#include "exec_lab.h"
#include "kernels/backend.h"
#include "kernels/store/fill.h"
#include "store_lab.h"
#include "test.h"
#include "tmpdir.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOL 1e-4

static const char *fresh_dir(void)
{
    static char dir[400];
    static unsigned n;

    snprintf(dir, sizeof dir, "%s/store%u", tmpdir(), n++);
    return dir;
}

static void open_lab(struct exec_lab *lab, const char *backend)
{
    struct kvs_exec_opt opt = {0};

    exec_lab_open(lab, backend, 3, NULL, fresh_dir(), &opt);
}

static void must_fall_back(struct exec_lab *lab, const char *word)
{
    exec_lab_run(lab);
    assert_true(lab->result.fell_back);
    if (!strstr(lab->result.why, word))
        fail_msg("\"%s\" does not say \"%s\"", lab->result.why, word);
    if (!(exec_lab_apart(lab) <= TOL))
        fail_msg("logits are %g apart", exec_lab_apart(lab));
}

static void must_run(struct exec_lab *lab)
{
    exec_lab_run(lab);
    if (lab->result.fell_back)
        fail_msg("fell back: %s", lab->result.why);
    if (!(exec_lab_apart(lab) <= TOL))
        fail_msg("logits are %g apart", exec_lab_apart(lab));
}

/* --- faults of the store -----------------------------------------------------------------------
 */

/* The file of a block, changed or cut off at the place of a layer. */
static void spoil(const struct exec_lab *lab, uint32_t block, int form, uint32_t layer,
                  bool cut_off)
{
    const struct kvs_stored *stored = lab->stored[block][form];
    uint64_t at;
    size_t n;
    FILE *file = fopen(kvs_stored_name(stored), "r+b");

    assert_non_null(file);
    kvs_stored_range(stored, 2 * layer, 2, &at, &n);
    if (cut_off) {
        assert_int_equal(ftruncate(fileno(file), (off_t)at + 100), 0);
    } else {
        struct kvs_section section = kvs_kvf_section(kvs_stored_kvf(stored), 2 * layer);
        long place = (long)(section.at_bytes + section.n_byte / 2);
        int byte;
        assert_int_equal(fseek(file, place, SEEK_SET), 0);
        byte = fgetc(file);
        assert_int_equal(fseek(file, place, SEEK_SET), 0);
        (void)fputc(byte ^ 0x40, file);
    }
    assert_int_equal(fclose(file), 0);
}

static void a_corrupted_section_means_recompute(void **state)
{
    struct exec_lab lab;
    (void)state;
    open_lab(&lab, "cpu");
    spoil(&lab, 2, LAB_RAW, 1, false);
    must_fall_back(&lab, "checksum");
    assert_true(lab.result.load_bytes > 0);
    /* a plan that does not load it runs */
    for (uint32_t l = 0; l < 2; l++)
        lab.cut[l] = 3;
    must_run(&lab);
    exec_lab_close(&lab);
}

static void a_truncated_block_means_recompute(void **state)
{
    struct exec_lab lab;
    (void)state;
    open_lab(&lab, "cpu");
    spoil(&lab, 4, LAB_RAW, 2, true);
    must_fall_back(&lab, ".kvf");
    exec_lab_close(&lab);
}

static void a_corrupted_hidden_state_means_recompute(void **state)
{
    struct exec_lab lab;
    (void)state;
    open_lab(&lab, "cpu");
    lab.form[1] = lab.form[2] = LAB_HIDDEN;
    spoil(&lab, 3, LAB_HIDDEN, 2, false);
    must_fall_back(&lab, "checksum");
    assert_true(lab.result.load_bytes > 0);
    spoil(&lab, 4, LAB_HIDDEN, 1, true);
    must_fall_back(&lab, ".hidden.kvf");
    exec_lab_close(&lab);
}

/* Blocks of which the states of layers 0 and 1 alone are stored. */
static void states_of_other_layers_mean_recompute(void **state)
{
    struct kvs_states *states;
    struct kvs_err err = {0};
    struct exec_lab lab;
    uint64_t model[2];
    (void)state;
    open_lab(&lab, "cpu");
    assert_int_equal(kvs_model_hash(lab.weights, model, &err), KVS_OK);
    assert_int_equal(
        kvs_states_new(lab.forward, lab.stream, lab.tok, LAB_N_TOK, 0, 2, &states, &err), KVS_OK);
    struct kvs_fill fill = {.store = lab.store,
                            .shape = kvs_weights_shape(lab.weights),
                            .forward = lab.forward,
                            .model_hash = model,
                            .tok = lab.tok,
                            .n_tok = LAB_BLOCK_TOK * LAB_N_BLOCK,
                            .block_tok = LAB_BLOCK_TOK,
                            .states = states};
    assert_int_equal(kvs_fill(&fill, NULL, &err), KVS_OK);
    for (uint32_t b = 0; b < LAB_N_BLOCK; b++) {
        struct kvs_stored **held = &lab.stored[b][LAB_HIDDEN];
        kvs_stored_close(*held);
        assert_int_equal(kvs_store_find(lab.store, lab.key[b], "hidden-0-1", held, &err), KVS_OK);
        assert_non_null(*held);
    }
    lab.form[1] = LAB_HIDDEN;
    exec_lab_run(&lab);
    assert_false(lab.result.fell_back);
    assert_true(exec_lab_apart(&lab) <= .02);
    lab.form[2] = LAB_HIDDEN;
    must_fall_back(&lab, "from layer 0 to 1; want layer 2");
    /* one block's K and V among the others' states */
    lab.form[2] = LAB_RAW;
    kvs_stored_close(lab.stored[1][LAB_HIDDEN]);
    assert_int_equal(
        kvs_store_find(lab.store, lab.key[1], "raw16", &lab.stored[1][LAB_HIDDEN], &err), KVS_OK);
    must_fall_back(&lab, "raw16.kvf: holds hidden states of 4 tokens");
    kvs_states_free(states);
    exec_lab_close(&lab);
}

static void a_block_that_is_not_held_means_recompute(void **state)
{
    struct exec_lab lab;
    (void)state;
    open_lab(&lab, "cpu");
    kvs_stored_close(lab.stored[3][0]);
    lab.stored[3][0] = NULL;
    must_fall_back(&lab, "block 3 is not held");
    exec_lab_close(&lab);
}

static void a_block_of_another_length_means_recompute(void **state)
{
    struct exec_lab lab;
    (void)state;
    open_lab(&lab, "cpu");
    lab.block[LAB_N_BLOCK - 1].n_tok--;
    must_fall_back(&lab, "of 4 tokens of 4 layers");
    exec_lab_close(&lab);
}

/* Every open descriptor of a file whose path has `part` becomes one of what fd is. */
static void become(const char *part, int fd)
{
    for (int other = 3; other < 256; other++) {
        char link[64], path[512];
        ssize_t n;
        snprintf(link, sizeof link, "/proc/self/fd/%d", other);
        n = readlink(link, path, sizeof path - 1);
        if (n < 0)
            continue;
        path[n] = 0;
        if (strstr(path, part))
            assert_int_equal(dup2(fd, other), other);
    }
}

static void a_store_that_never_answers_means_recompute(void **state)
{
    struct kvs_exec_opt opt = {.latency_ns = 3000000};
    struct exec_lab lab;
    int fd[2];
    (void)state;
    /* the blocks' path ends in the middle: their descriptors become those of an empty pipe's end */
    exec_lab_open(&lab, "cpu", 3, NULL, fresh_dir(), &opt);
    assert_int_equal(pipe(fd), 0);
    become(".kvf", fd[1]); /* reads fail */
    must_fall_back(&lab, ".kvf");
    (void)close(fd[0]);
    (void)close(fd[1]);
    exec_lab_close(&lab);
}

/* The files' descriptors become those of an empty pipe, which never has anything to read. */
static void a_disk_that_hangs_means_recompute(void **state)
{
    struct kvs_exec_opt opt = {.reader = {.timeout_ns = 60000000}};
    struct exec_lab lab;
    int fd[2];
    (void)state;
    exec_lab_open(&lab, "cpu", 3, NULL, fresh_dir(), &opt);
    must_run(&lab);
    if (strncmp(lab.result.how, "io_uring", 8) != 0)
        KVS_SKIP("reads go by %s", lab.result.how); /* fault_exec.c has threads */
    assert_int_equal(pipe(fd), 0);
    become(".raw16.kvf", fd[0]);
    must_fall_back(&lab, "no answer");
    assert_true(lab.result.ttft_ns >= 60000000 && lab.result.ttft_ns < 3000000000);
    must_fall_back(&lab, "no answer"); /* once more */
    lab.plan.n_block = 0;
    must_run(&lab); /* what loads nothing is not held up */
    (void)close(fd[0]);
    (void)close(fd[1]);
    exec_lab_close(&lab);
}

/* Ends a process after a while, while the plan runs. */
static void *end_later(void *arg)
{
    usleep(60000);
    kill(*(pid_t *)arg, SIGKILL);
    return NULL;
}

static void a_peer_lost_in_the_middle_means_recompute(void **state)
{
    /* a layer takes 80 ms: five blocks of two pages at 500 kB/s; the window holds one */
    struct kvs_exec_opt opt = {.window_bytes = 64 << 10, .reader = {.bytes_per_s = 500000}};
    struct exec_lab lab;
    char place[300];
    const char *why = "";
    pthread_t thread;
    pid_t server = lab_redis(tmpdir(), place, sizeof place, &why);
    (void)state;
    if (!server)
        KVS_SKIP("%s", why);
    exec_lab_open(&lab, "cpu", 3, NULL, place, &opt);
    assert_int_equal(pthread_create(&thread, NULL, end_later, &server), 0);
    must_fall_back(&lab, "kvs:");
    assert_true(lab.result.load_bytes > 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(waitpid(server, NULL, 0), server);
    exec_lab_close(&lab);
}

/* --- faults of the device ----------------------------------------------------------------------
 */

static struct {
    const struct kvs_backend *real;
    long left;      /* submissions until the failure; negative: none comes */
    bool for_ever;  /* and all after it */
    bool lose_wait; /* waits between streams are lost */
} plan_of_faults;

static enum kvs_code bad_submit(struct kvs_dev *dev, void *stream, const struct kvs_item *item,
                                struct kvs_err *err)
{
    if (plan_of_faults.left == 0 || (plan_of_faults.left < 0 && plan_of_faults.for_ever)) {
        plan_of_faults.left = -1;
        return kvs_fail(err, KVS_ERR_DEVICE, "planted: the device failed");
    }
    if (plan_of_faults.left > 0)
        plan_of_faults.left--;
    if (plan_of_faults.lose_wait && item->kind == KVS_ITEM_WAIT)
        return KVS_OK;
    return plan_of_faults.real->submit(dev, stream, item, err);
}

/* The lab's device from now on fails as planned. */
static void plant(struct exec_lab *lab, struct kvs_backend *bad)
{
    plan_of_faults.real = lab->dev->backend;
    plan_of_faults.left = -1;
    plan_of_faults.for_ever = plan_of_faults.lose_wait = false;
    *bad = *lab->dev->backend;
    bad->submit = bad_submit;
    lab->dev->backend = bad;
}

static void a_device_error_anywhere_means_recompute(void **state)
{
    struct kvs_backend bad;
    struct exec_lab lab;
    long n;
    (void)state;
    open_lab(&lab, "ref");
    plant(&lab, &bad);
    for (uint32_t l = 0; l < lab.n_layer; l++)
        lab.cut[l] = l == 0 ? LAB_N_BLOCK : 3 - l / 2;
    for (n = 0;; n++) {
        plan_of_faults.left = n;
        exec_lab_run(&lab);
        if (!(exec_lab_apart(&lab) <= TOL))
            fail_msg("submission %ld fails: logits are %g apart", n, exec_lab_apart(&lab));
        if (plan_of_faults.left >= 0)
            break; /* the run was over before it */
        assert_true(lab.result.fell_back);
        assert_non_null(strstr(lab.result.why, "planted"));
    }
    assert_false(lab.result.fell_back);
    assert_true(n > 100);
    exec_lab_close(&lab);
}

static void a_device_that_stays_broken_is_an_error(void **state)
{
    struct kvs_backend bad;
    struct exec_lab lab;
    struct kvs_err err = {0};
    (void)state;
    open_lab(&lab, "cpu");
    plant(&lab, &bad);
    plan_of_faults.left = 40;
    plan_of_faults.for_ever = true;
    assert_int_equal(kvs_exec_run(lab.exec, lab.store, &lab.plan, lab.logits, &lab.result, &err),
                     KVS_ERR_DEVICE);
    plan_of_faults.for_ever = false;
    must_run(&lab);
    exec_lab_close(&lab);
}

static void a_lost_wait_shows(void **state)
{
    unsigned n_wrong = 0;
    struct kvs_backend bad;
    struct exec_lab lab;
    (void)state;
    open_lab(&lab, "ref");
    plant(&lab, &bad);
    plan_of_faults.lose_wait = true;
    /* copies are few items and compute is many: mostly they are ahead even if not waited for */
    for (unsigned i = 0; i < 400; i++) {
        exec_lab_run(&lab);
        n_wrong += !(exec_lab_apart(&lab) <= TOL);
    }
    assert_true(n_wrong >= 1);
    print_message("# %u of 400 runs without waits are wrong\n", n_wrong);
    exec_lab_close(&lab);
}

/* --- moved text --------------------------------------------------------------------------------
 */

static void repair_of_all_tokens_is_exact(void **state)
{
    uint32_t repair[LAB_MAX_LAYER];
    static const char *const backend[] = {"ref", "cpu"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct exec_lab lab;
        open_lab(&lab, backend[i]);
        lab.plan.repair_tok = repair;
        for (uint32_t l = 0; l < lab.n_layer; l++)
            repair[l] = LAB_BLOCK_TOK;
        for (uint32_t b = 0; b < LAB_N_BLOCK; b++)
            lab.block[b].moved = b > 0; /* the first is exact as it is */
        /* wrong forms in moved blocks are repaired away: they hold another block's text */
        for (uint32_t b = 1; b + 1 < LAB_N_BLOCK; b++)
            lab.block[b].form = lab.stored[b + 1];
        must_run(&lab);
        /* and beside recomputed ones, riding first; those are loaded below, unrepaired */
        lab.block[1].form = lab.stored[1];
        lab.cut[0] = LAB_N_BLOCK;
        lab.cut[1] = lab.cut[2] = 2;
        must_run(&lab);
        exec_lab_close(&lab);
    }
}

/* The repaired share may shrink with depth; loads of right text stay right. */
static void repairs_shrink_from_layer_to_layer(void **state)
{
    uint32_t repair[LAB_MAX_LAYER] = {4, 3, 1, 0};
    struct exec_lab lab;
    (void)state;
    open_lab(&lab, "ref");
    lab.plan.repair_tok = repair;
    for (uint32_t b = 0; b < LAB_N_BLOCK; b++)
        lab.block[b].moved = true;
    must_run(&lab);
    exec_lab_close(&lab);
}

/* Block 0's keys, stored at position 0, are used as if they were block 2's text: in layer 0 they
 * depend on token and position only. */
static void keys_of_moved_blocks_are_turned(void **state)
{
    struct exec_lab lab;
    size_t n;
    (void)state;
    open_lab(&lab, "cpu");
    n = LAB_BLOCK_TOK * kvs_forward_slot_bytes(lab.forward);
    uint16_t *want = malloc(n), *have = malloc(n);
    struct kvs_view at;
    struct kvs_err err = {0};
    memcpy(lab.tok + 2 * LAB_BLOCK_TOK, lab.tok, LAB_BLOCK_TOK * sizeof *lab.tok);
    assert_int_equal(
        kvs_forward_prefill(lab.forward, lab.stream, lab.tok, 0, LAB_N_TOK, lab.full, &err),
        KVS_OK);
    at = kvs_forward_k(lab.forward, 0);
    at.at_bytes += 2 * n;
    assert_int_equal(kvs_buf_read(want, at, n, &err), KVS_OK);
    lab.block[2].form = lab.stored[0];
    lab.block[2].shift = 2 * LAB_BLOCK_TOK;
    lab.block[2].moved = true;
    exec_lab_run(&lab);
    assert_false(lab.result.fell_back);
    assert_int_equal(kvs_buf_read(have, at, n, &err), KVS_OK);
    for (size_t i = 0; i < n / 2; i++) {
        double a = (double)kvs_f32_of_bf16(want[i]), b = (double)kvs_f32_of_bf16(have[i]);
        if (!(fabs(a - b) <= 0.02 * (1 + fabs(a)))) /* rounded to bf16 twice */
            fail_msg("element %zu: %g, want %g", i, b, a);
    }
    free(want);
    free(have);
    exec_lab_close(&lab);
}

/* Layer 0's states are the embeddings, bf16 here: nothing is rounded, wherever the text moves to.
 */
static void keys_and_values_of_exact_states_are_those_of_prefill(void **state)
{
    struct exec_lab lab;
    struct kvs_err err = {0};
    size_t n;
    (void)state;
    open_lab(&lab, "simt");
    n = LAB_BLOCK_TOK * kvs_forward_slot_bytes(lab.forward);
    uint8_t *want = malloc(2 * n * LAB_N_BLOCK), *have = malloc(2 * n * LAB_N_BLOCK);
    memcpy(lab.tok + 2 * LAB_BLOCK_TOK, lab.tok, LAB_BLOCK_TOK * sizeof *lab.tok);
    assert_int_equal(
        kvs_forward_prefill(lab.forward, lab.stream, lab.tok, 0, LAB_N_TOK, lab.full, &err),
        KVS_OK);
    for (size_t kv = 0; kv < 2; kv++)
        assert_int_equal(
            kvs_buf_read(want + kv * n * LAB_N_BLOCK,
                         kv ? kvs_forward_v(lab.forward, 0) : kvs_forward_k(lab.forward, 0),
                         n * LAB_N_BLOCK, &err),
            KVS_OK);
    lab.form[0] = LAB_HIDDEN;
    lab.block[2].form = lab.stored[0];
    lab.block[2].shift = 2 * LAB_BLOCK_TOK;
    lab.block[2].moved = true;
    exec_lab_run(&lab);
    assert_false(lab.result.fell_back);
    for (size_t kv = 0; kv < 2; kv++)
        assert_int_equal(
            kvs_buf_read(have + kv * n * LAB_N_BLOCK,
                         kv ? kvs_forward_v(lab.forward, 0) : kvs_forward_k(lab.forward, 0),
                         n * LAB_N_BLOCK, &err),
            KVS_OK);
    assert_memory_equal(have, want, 2 * n * LAB_N_BLOCK);
    free(want);
    free(have);
    exec_lab_close(&lab);
}

static void holes_between_blocks_are_computed(void **state)
{
    struct exec_lab lab;
    (void)state;
    open_lab(&lab, "ref");
    for (uint32_t b = 1; b + 1 < LAB_N_BLOCK; b++) /* block 1 is absent */
        lab.block[b] = lab.block[b + 1];
    lab.plan.n_block = LAB_N_BLOCK - 1;
    must_run(&lab);
    for (uint32_t l = 0; l < 2; l++)
        lab.cut[l] = LAB_N_BLOCK - 1; /* all computed, the hole with them */
    lab.cut[2] = 1;
    must_run(&lab);
    exec_lab_close(&lab);
}

/* --- plans that are none -----------------------------------------------------------------------
 */

static void must_refuse(struct exec_lab *lab, const char *word)
{
    struct kvs_err err = {0};

    assert_int_equal(
        kvs_exec_run(lab->exec, lab->store, &lab->plan, lab->logits, &lab->result, &err),
        KVS_ERR_RANGE);
    if (!strstr(err.msg, word))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, word);
}

static void wrong_plans_are_refused(void **state)
{
    uint32_t repair[LAB_MAX_LAYER] = {1, 2};
    struct exec_lab lab;
    (void)state;
    open_lab(&lab, "cpu");
    lab.cut[1] = 1;
    must_refuse(&lab, "layer 1 computes 1 blocks again");
    lab.cut[1] = 0;
    lab.form[2] = LAB_N_FORM;
    must_refuse(&lab, "layer 2 loads form 3 of 3");
    lab.form[2] = 0;
    lab.plan.repair_tok = repair;
    must_refuse(&lab, "layer 1 repairs 2 tokens");
    lab.plan.repair_tok = NULL;
    lab.plan.n_tok = LAB_N_BLOCK * LAB_BLOCK_TOK;
    must_refuse(&lab, "want a new last one");
    lab.plan.n_tok = LAB_N_TOK + 1;
    must_refuse(&lab, "24 tokens, want 1 to 23");
    lab.plan.n_tok = LAB_N_TOK;
    lab.block[1].first_tok = 3;
    must_refuse(&lab, "block 1 of 4 tokens at 3");
    lab.block[1].first_tok = 4;
    lab.cut[0] = 3;
    lab.block[0] = lab.block[1];
    lab.plan.block = lab.block + 1;
    lab.plan.n_block = LAB_N_BLOCK - 1;
    must_refuse(&lab, "behind absent tokens");
    exec_lab_close(&lab);
}

static void a_window_that_is_too_small_is_refused_with_the_bytes(void **state)
{
    struct kvs_exec_opt opt = {.window_bytes = 4096};
    struct exec_lab lab;
    size_t least;
    char word[64];
    (void)state;
    open_lab(&lab, "cpu");
    must_run(&lab); /* with a slot for each layer's loads */
    least = lab.result.pinned_bytes / lab.n_layer;
    exec_lab_close(&lab);
    assert_true(least > 4096);
    exec_lab_open(&lab, "cpu", 3, NULL, fresh_dir(), &opt);
    snprintf(word, sizeof word, "need %zu bytes", least);
    must_refuse(&lab, word);
    exec_lab_close(&lab);
}

static void nothing_is_pinned_beyond_the_window(void **state)
{
    struct kvs_exec_opt opt = {0};
    struct exec_lab lab;
    size_t least;
    (void)state;
    open_lab(&lab, "cpu");
    must_run(&lab);
    least = lab.result.pinned_bytes / lab.n_layer;
    assert_int_equal(lab.result.pinned_bytes, least * lab.n_layer);
    assert_int_equal(lab.result.n_window_wait, 0);
    exec_lab_close(&lab);
    opt.window_bytes = 2 * least + 100;
    exec_lab_open(&lab, "cpu", 3, NULL, fresh_dir(), &opt);
    must_run(&lab);
    assert_int_equal(lab.result.pinned_bytes, 2 * least);
    exec_lab_close(&lab);
}

/* --- telling -----------------------------------------------------------------------------------
 */

static void stages_follow_one_another(void **state)
{
    struct exec_lab lab;
    (void)state;
    open_lab(&lab, "cpu");
    for (uint32_t l = 0; l < lab.n_layer; l++)
        lab.cut[l] = 2;
    must_run(&lab);
    const struct kvs_exec_result *r = &lab.result;
    for (uint32_t l = 0; l < lab.n_layer; l++) {
        for (int s = 0; s < KVS_EXEC_HEAD; s++)
            assert_true(r->time[s][l].from_ns <= r->time[s][l].to_ns && r->time[s][l].to_ns > 0);
        assert_true(r->time[KVS_EXEC_READ][l].to_ns <= r->time[KVS_EXEC_DECODE][l].from_ns);
        assert_true(r->time[KVS_EXEC_COPY][l].to_ns <= r->time[KVS_EXEC_POST][l].from_ns);
    }
    assert_true(r->time[KVS_EXEC_HEAD][0].to_ns <= r->ttft_ns);
    assert_true(r->load_bytes > 0);
    exec_lab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_corrupted_section_means_recompute),
        cmocka_unit_test(a_truncated_block_means_recompute),
        cmocka_unit_test(a_corrupted_hidden_state_means_recompute),
        cmocka_unit_test(states_of_other_layers_mean_recompute),
        cmocka_unit_test(a_block_that_is_not_held_means_recompute),
        cmocka_unit_test(a_block_of_another_length_means_recompute),
        cmocka_unit_test(a_store_that_never_answers_means_recompute),
        cmocka_unit_test(a_disk_that_hangs_means_recompute),
        cmocka_unit_test(a_peer_lost_in_the_middle_means_recompute),
        cmocka_unit_test(a_device_error_anywhere_means_recompute),
        cmocka_unit_test(a_device_that_stays_broken_is_an_error),
        cmocka_unit_test(a_lost_wait_shows),
        cmocka_unit_test(repair_of_all_tokens_is_exact),
        cmocka_unit_test(repairs_shrink_from_layer_to_layer),
        cmocka_unit_test(keys_of_moved_blocks_are_turned),
        cmocka_unit_test(keys_and_values_of_exact_states_are_those_of_prefill),
        cmocka_unit_test(holes_between_blocks_are_computed),
        cmocka_unit_test(wrong_plans_are_refused),
        cmocka_unit_test(a_window_that_is_too_small_is_refused_with_the_bytes),
        cmocka_unit_test(nothing_is_pinned_beyond_the_window),
        cmocka_unit_test(stages_follow_one_another),
    };
    return cmocka_run_group_tests_name("executor", tests, tmpdir_make, tmpdir_drop);
}
