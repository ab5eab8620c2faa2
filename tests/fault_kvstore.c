#include "test.h"

#include "fault.h"
#include "kernels/store/place.h"
#include "store_lab.h"
#include "tmpdir.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct lab {
    const char *place;
    struct lab_block made;
};

static enum kvs_code read_layer(struct kvs_store *store, struct kvs_stored *block,
                                struct kvs_err *err)
{
    const struct kvs_reader_opt opt = {.depth = 2};
    struct kvs_reader *reader = NULL;
    struct kvs_read read = {.block = block};
    uint16_t out[LAB_TOK * LAB_CHAN];

    kvs_stored_range(block, 2, 2, &read.at_bytes, &read.n_byte);
    if (posix_memalign((void **)&read.to, KVS_STORE_PAGE, read.n_byte)) /* is not made to fail */
        return kvs_nomem(err);
    enum kvs_code code = kvs_reader_new(store, &opt, &reader, err);
    if (!code) {
        kvs_reader_submit(reader, &read);
        code = kvs_read_error(kvs_reader_wait(reader, INT64_MAX), err);
    }
    if (!code)
        code = kvs_kvf_decode(kvs_stored_kvf(block), 2, read.to, kvs_kvf_isa(NULL), out, LAB_CHAN,
                              err);
    kvs_reader_free(reader);
    free(read.to);
    return code;
}

/* All that is done with a store; what it leaves is whole or not there. */
static enum kvs_code use(void *ctx, struct kvs_err *err)
{
    const struct lab *lab = ctx;
    const struct kvs_store_opt opt = {.make = true};
    struct kvs_store *store = NULL;
    struct kvs_stored *block = NULL;
    struct kvs_store_entry *entry = NULL;
    size_t n;
    enum kvs_code code = kvs_store_open(lab->place, &opt, &store, err);

    if (!code)
        code =
            kvs_store_put(store, lab->made.key, "p4", lab->made.file, lab->made.n_byte, NULL, err);
    if (!code)
        code = kvs_store_find(store, lab->made.key, "p4", &block, err);
    if (!code)
        code = read_layer(store, block, err);
    if (!code)
        code = kvs_store_list(store, &entry, &n, err);
    if (!code)
        code = kvs_store_verify(store, lab->made.key, "p4", err);
    if (!code)
        code = kvs_store_drop(store, lab->made.key, "p4", err);
    free(entry);
    kvs_stored_close(block);
    kvs_store_close(store);
    return code;
}

static enum kvs_code use_and_look(void *ctx, struct kvs_err *err)
{
    struct lab *lab = ctx;
    struct kvs_err look = {0};
    enum kvs_code code = use(ctx, err);
    struct kvs_store *store = NULL;

    if (code && kvs_store_open(lab->place, NULL, &store, &look) == KVS_OK) {
        enum kvs_code state = kvs_store_verify(store, lab->made.key, "p4", &look);
        if (state != KVS_OK && state != KVS_ERR_ABSENT)
            fail_msg("%s", look.msg);
        kvs_store_close(store);
    }
    return code;
}

static void failed_allocation_or_call_is_an_error_and_leaves_blocks_whole(void **state)
{
    char place[160];
    struct lab lab = {place, lab_block(5, KVS_P4)};
    (void)state;

    snprintf(place, sizeof place, "%s/store", tmpdir());
    kvs_fault_every(KVS_FAULT_MEM, true, use_and_look, &lab);
    kvs_fault_every(KVS_FAULT_IO, true, use_and_look, &lab);
    lab_block_free(&lab.made);
}

static void failed_allocation_is_an_error_with_redis(void **state)
{
    char place[160];
    const char *why_not;
    struct lab lab = {place, lab_block(5, KVS_P4)};
    (void)state;

    pid_t server = lab_redis(tmpdir(), place, sizeof place, &why_not);
    if (server)
        kvs_fault_every(KVS_FAULT_MEM, true, use, &lab);
    lab_block_free(&lab.made);
    if (!server)
        KVS_SKIP("%s", why_not);
    (void)kill(server, SIGKILL);
    (void)waitpid(server, NULL, 0);
}

/* A read hangs: the path gives it up and is freed, and later the read does no harm. */
static void a_thread_that_hangs_is_given_up(void **state)
{
    const struct kvs_reader_opt opt = {.depth = 4};
    char place[160];
    struct lab_block made = lab_block(9, KVS_P4);
    struct kvs_store *store;
    struct kvs_stored *block = NULL;
    struct kvs_err err = {0};
    struct kvs_read *read = calloc(4, sizeof *read);
    uint8_t *memory;
    void *path;
    (void)state;

    snprintf(place, sizeof place, "%s/hang", tmpdir());
    store = lab_open(place);
    assert_non_null(read);
    assert_int_equal(kvs_store_put(store, made.key, "p4", made.file, made.n_byte, NULL, &err),
                     KVS_OK);
    assert_int_equal(kvs_store_find(store, made.key, "p4", &block, &err), KVS_OK);
    assert_non_null(block);
    assert_int_equal(kvs_path_threads.new_path(NULL, &opt, &path, &err), KVS_OK);
    for (unsigned i = 0; i < 4; i++) {
        read[i].block = block;
        kvs_stored_range(block, 2, 2, &read[i].at_bytes, &read[i].n_byte);
    }
    memory = kvs_store_pages(4 * read->n_byte);
    assert_non_null(memory);
    kvs_fault_at(KVS_FAULT_HANG, 2);
    for (unsigned i = 0; i < 4; i++) {
        read[i].to = memory + i * read->n_byte;
        assert_true(kvs_path_threads.start(path, &read[i]));
    }
    for (unsigned i = 0; i < 3; i++) {
        struct kvs_read *back = kvs_path_threads.poll(path, kvs_store_now_ns() + 5000000000);
        assert_non_null(back);
        assert_int_equal(back->code, KVS_OK);
        back->user = read; /* it came */
    }
    assert_null(kvs_path_threads.poll(path, kvs_store_now_ns() + 10000000));
    struct kvs_read *left = kvs_path_threads.abandon(path);
    assert_non_null(left);
    assert_null(left->user);
    assert_null(kvs_path_threads.abandon(path));
    assert_false(kvs_path_threads.free_path(path, 10000000));
    free(read); /* the memory that it reads into stays */
    kvs_stored_close(block);
    assert_true(kvs_fault_end());
    usleep(50000); /* its thread frees the path */
    free(memory);
    kvs_store_close(store);
    lab_block_free(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_allocation_or_call_is_an_error_and_leaves_blocks_whole),
        cmocka_unit_test(failed_allocation_is_an_error_with_redis),
        cmocka_unit_test(a_thread_that_hangs_is_given_up),
    };
    return cmocka_run_group_tests_name("fault kvstore", tests, tmpdir_make, tmpdir_drop);
}
