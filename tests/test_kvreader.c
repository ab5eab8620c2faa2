#include "test.h"

#include "kernels/store/place.h"
#include "store_lab.h"
#include "tmpdir.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N_READ = 12 };

/* A store with one raw block, and reads of all its layers, again and again. */
struct lab {
    struct kvs_store *store;
    struct lab_block made;
    struct kvs_stored *block;
    struct kvs_reader *reader;
    struct kvs_read read[N_READ];
    uint8_t *pool;
};

static struct lab lab_new(const char *place, struct kvs_reader_opt opt)
{
    struct lab lab = {.store = lab_open(place), .made = lab_block(3, KVS_RAW16)};
    struct kvs_err err = {0};
    size_t n_byte = 0;

    lab_put(lab.store, &lab.made, KVS_RAW16);
    if (kvs_store_find(lab.store, lab.made.key, "raw16", &lab.block, &err))
        fail_msg("%s", err.msg);
    for (uint32_t i = 0; i < N_READ; i++) {
        lab.read[i].block = lab.block;
        kvs_stored_range(lab.block, 2 * (i % LAB_LAYERS), 2, &lab.read[i].at_bytes,
                         &lab.read[i].n_byte);
        n_byte += lab.read[i].n_byte;
    }
    lab.pool = kvs_store_pages(n_byte);
    assert_non_null(lab.pool);
    memset(lab.pool, 0x5a, n_byte);
    if (opt.pool_bytes) { /* half of it */
        opt.pool = lab.pool;
        opt.pool_bytes = n_byte / 2 / KVS_STORE_PAGE * KVS_STORE_PAGE;
    }
    for (uint32_t i = 0, at = 0; i < N_READ; at += (uint32_t)lab.read[i++].n_byte)
        lab.read[i].to = lab.pool + at;
    if (kvs_reader_new(lab.store, &opt, &lab.reader, &err))
        fail_msg("%s", err.msg);
    return lab;
}

static void lab_free(struct lab *lab)
{
    kvs_reader_free(lab->reader);
    kvs_stored_close(lab->block);
    kvs_store_close(lab->store);
    lab_block_free(&lab->made);
    free(lab->pool);
}

static void assert_is_there(const struct lab *lab, const struct kvs_read *read)
{
    assert_int_equal(read->code, KVS_OK);
    assert_memory_equal(read->to, lab->made.file + read->at_bytes, read->n_byte);
}

static void submit_all(struct lab *lab)
{
    for (uint32_t i = 0; i < N_READ; i++)
        kvs_reader_submit(lab->reader, &lab->read[i]);
    assert_int_equal(kvs_reader_n_pending(lab->reader), N_READ);
}

static void every_read_comes_back_once(struct lab *lab)
{
    bool seen[N_READ] = {false};

    submit_all(lab);
    for (uint32_t i = 0; i < N_READ; i++) {
        struct kvs_read *read = kvs_reader_wait(lab->reader, INT64_MAX);
        assert_non_null(read);
        assert_false(seen[read - lab->read]);
        seen[read - lab->read] = true;
        assert_is_there(lab, read);
        assert_true(read->end_ns >= read->begin_ns);
    }
    assert_null(kvs_reader_wait(lab->reader, INT64_MAX));
}

static const char *folder(void)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/reads", tmpdir());
    return path;
}

static void reads_come_back_whole_at_any_depth(void **state)
{
    (void)state;
    for (uint32_t depth = 1; depth <= 1024; depth *= 4)
        for (size_t pool = 0; pool < 2; pool++) {
            struct lab lab =
                lab_new(folder(), (struct kvs_reader_opt){.depth = depth, .pool_bytes = pool});
            every_read_comes_back_once(&lab);
            every_read_comes_back_once(&lab);
            print_message("# %s\n", kvs_reader_how(lab.reader));
            lab_free(&lab);
        }
}

static void rate_delivers_bytes_at_known_times(void **state)
{
    /* each of the 12 reads is 2 sections of 8 KiB + 64 bytes, 24 KiB in pages: 2 ms each */
    struct lab lab = lab_new(folder(), (struct kvs_reader_opt){.depth = 4, .bytes_per_s = 12288e3});
    int64_t free_ns = 0;
    (void)state;

    assert_int_equal(lab.read[0].n_byte, 24576);
    submit_all(&lab);
    assert_null(kvs_reader_wait(lab.reader, 0));
    for (uint32_t i = 0; i < N_READ; i++) {
        struct kvs_read *read = kvs_reader_wait(lab.reader, INT64_MAX);
        assert_ptr_equal(read, &lab.read[i]); /* a pipe keeps the order */
        assert_is_there(&lab, read);
        free_ns = (free_ns > read->begin_ns ? free_ns : read->begin_ns) + 2000000;
        /* within rounding to ns, each rounded up */
        assert_in_range((uint64_t)(read->free_ns - free_ns + 100), 99, 102 + i);
        assert_true(read->end_ns >= read->free_ns);
        free_ns = read->free_ns;
    }
    /* an idle pipe saves nothing up */
    usleep(5000);
    kvs_reader_submit(lab.reader, &lab.read[0]);
    assert_true(lab.read[0].free_ns - lab.read[0].begin_ns >= 2000000);
    struct kvs_read *early = kvs_reader_wait(lab.reader, lab.read[0].begin_ns + 500000);
    if (!early) /* else the machine slept over it */
        early = kvs_reader_wait(lab.reader, INT64_MAX);
    assert_ptr_equal(early, &lab.read[0]);
    assert_true(early->end_ns >= early->free_ns);
    lab_free(&lab);
}

static void freed_reader_has_no_reads_left_in_flight(void **state)
{
    struct lab lab = lab_new(folder(), (struct kvs_reader_opt){.depth = 8, .bytes_per_s = 1});
    (void)state;

    submit_all(&lab);
    kvs_reader_free(lab.reader); /* does not wait for the rate: that would be days */
    lab.reader = NULL;
    lab_free(&lab);
}

static void wrong_options_are_refused(void **state)
{
    struct kvs_store *store = lab_open(folder());
    const struct kvs_reader_opt opt[] = {{.depth = 0},
                                         {.depth = 1025},
                                         {.depth = 1, .bytes_per_s = -1},
                                         {.depth = 1, .bytes_per_s = 1e308 * 10}};
    (void)state;

    for (size_t i = 0; i < sizeof opt / sizeof opt[0]; i++) {
        struct kvs_reader *reader;
        struct kvs_err err = {0};
        assert_int_equal(kvs_reader_new(store, &opt[i], &reader, &err), KVS_ERR_ARG);
        assert_null(reader);
    }
    kvs_store_close(store);
}

/* --- Redis ------------------------------------------------------------------------------------ */

static pid_t server;
static char place[160];
static const char *why_not;

#define NEEDS_SERVER()                                                                             \
    do {                                                                                           \
        if (!server)                                                                               \
            KVS_SKIP("%s", why_not);                                                               \
    } while (0)

static int start_server(void **state)
{
    if (tmpdir_make(state))
        return -1;
    server = lab_redis(tmpdir(), place, sizeof place, &why_not);
    return 0;
}

static int stop_server(void **state)
{
    if (server) {
        (void)kill(server, SIGCONT);
        (void)kill(server, SIGKILL);
        (void)waitpid(server, NULL, 0);
    }
    return tmpdir_drop(state);
}

static void redis_reads_come_back_whole(void **state)
{
    (void)state;
    NEEDS_SERVER();
    for (uint32_t depth = 1; depth <= 1024; depth *= 32) {
        struct lab lab = lab_new(place, (struct kvs_reader_opt){.depth = depth});
        every_read_comes_back_once(&lab);
        assert_string_equal(kvs_reader_how(lab.reader), "redis, GETRANGE");
        lab_free(&lab);
    }
}

static void redis_holds_lists_and_drops_blocks(void **state)
{
    struct lab_block a = lab_block(1, KVS_P4), b = lab_block(2, KVS_E4);
    struct kvs_store_entry *entry;
    struct kvs_stored *block;
    struct kvs_err err = {0};
    size_t n;
    bool there;
    (void)state;

    NEEDS_SERVER();
    struct kvs_store *store = lab_open(place);
    lab_put(store, &a, KVS_P4);
    lab_put(store, &b, KVS_E4);
    assert_int_equal(kvs_store_put(store, b.key, "e4", b.file, b.n_byte, &there, &err), KVS_OK);
    assert_true(there);
    assert_int_equal(kvs_store_list(store, &entry, &n, &err), KVS_OK);
    size_t n_ours = 0;
    for (size_t i = 0; i < n; i++)
        n_ours += entry[i].n_byte == a.n_byte || entry[i].n_byte == b.n_byte;
    assert_int_equal(n_ours, 2);
    free(entry);
    assert_int_equal(kvs_store_verify(store, a.key, "p4", &err), KVS_OK);
    assert_int_equal(kvs_store_verify(store, b.key, "e4", &err), KVS_OK);
    assert_int_equal(kvs_store_drop(store, a.key, "p4", &err), KVS_OK);
    assert_int_equal(kvs_store_find(store, a.key, "p4", &block, &err), KVS_OK);
    assert_null(block);
    lab_block_free(&a);
    lab_block_free(&b);
    kvs_store_close(store);
}

static void dropped_blocks_reads_fail_and_no_others(void **state)
{
    struct kvs_err err = {0};
    (void)state;

    NEEDS_SERVER();
    struct lab lab = lab_new(place, (struct kvs_reader_opt){.depth = 8});
    every_read_comes_back_once(&lab);
    assert_int_equal(kvs_store_drop(lab.store, lab.made.key, "raw16", &err), KVS_OK);
    kvs_reader_submit(lab.reader, &lab.read[0]);
    struct kvs_read *read = kvs_reader_wait(lab.reader, INT64_MAX);
    assert_int_equal(kvs_read_error(read, &err), KVS_ERR_IO);
    assert_non_null(strstr(err.msg, "it ends at"));
    lab_put(lab.store, &lab.made, KVS_RAW16);
    every_read_comes_back_once(&lab);
    lab_free(&lab);
}

static void silent_server_fails_reads_after_the_time_allowed(void **state)
{
    struct kvs_err err = {0};
    (void)state;

    NEEDS_SERVER();
    struct lab lab = lab_new(place, (struct kvs_reader_opt){.depth = 8, .timeout_ns = 200000000});
    assert_int_equal(kill(server, SIGSTOP), 0);
    submit_all(&lab);
    for (uint32_t i = 0; i < N_READ; i++) {
        struct kvs_read *read = kvs_reader_wait(lab.reader, INT64_MAX);
        assert_int_equal(kvs_read_error(read, &err), KVS_ERR_IO);
        assert_non_null(strstr(err.msg, "timed out"));
    }
    assert_int_equal(kill(server, SIGCONT), 0);
    lab_free(&lab);
}

static void killed_server_fails_reads_and_a_new_one_serves_again(void **state)
{
    struct kvs_store *store;
    struct kvs_err err = {0};
    (void)state;

    NEEDS_SERVER();
    struct lab lab = lab_new(place, (struct kvs_reader_opt){.depth = 8});
    assert_int_equal(kill(server, SIGSTOP), 0);
    submit_all(&lab); /* in flight when it dies */
    assert_int_equal(kill(server, SIGKILL), 0);
    assert_int_equal(waitpid(server, NULL, 0), server);
    server = 0;
    for (uint32_t i = 0; i < N_READ; i++) {
        struct kvs_read *read = kvs_reader_wait(lab.reader, INT64_MAX);
        assert_non_null(read);
        assert_int_equal(read->code, KVS_ERR_IO);
        assert_int_not_equal(read->error, 0);
    }
    kvs_reader_submit(lab.reader, &lab.read[0]);
    assert_int_equal(kvs_reader_wait(lab.reader, INT64_MAX)->code, KVS_ERR_IO);
    assert_int_equal(kvs_store_drop(lab.store, lab.made.key, "raw16", &err), KVS_ERR_IO);
    err = (struct kvs_err){0};
    assert_int_equal(kvs_store_open(place, NULL, &store, &err), KVS_ERR_IO);
    server = lab_redis(tmpdir(), place, sizeof place, &why_not);
    assert_true(server > 0);
    lab_put(lab.store, &lab.made, KVS_RAW16); /* connects anew */
    assert_int_equal(kvs_store_verify(lab.store, lab.made.key, "raw16", &err), KVS_OK);
    lab_free(&lab);
}

static void wrong_place_says_what_would_do(void **state)
{
    static const char *const wrong[] = {
        "redis:",      "redis:host",       "redis:host:",   "redis:host:0",
        "redis::6379", "redis:host:66000", "redis:host:12x"};
    struct kvs_store *store;
    (void)state;

    NEEDS_SERVER();
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct kvs_err err = {0};
        assert_int_equal(kvs_store_open(wrong[i], NULL, &store, &err), KVS_ERR_ARG);
        assert_non_null(strstr(err.msg, "want redis:HOST:PORT"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_come_back_whole_at_any_depth),
        cmocka_unit_test(rate_delivers_bytes_at_known_times),
        cmocka_unit_test(freed_reader_has_no_reads_left_in_flight),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(redis_reads_come_back_whole),
        cmocka_unit_test(redis_holds_lists_and_drops_blocks),
        cmocka_unit_test(dropped_blocks_reads_fail_and_no_others),
        cmocka_unit_test(silent_server_fails_reads_after_the_time_allowed),
        cmocka_unit_test(killed_server_fails_reads_and_a_new_one_serves_again),
        cmocka_unit_test(wrong_place_says_what_would_do),
    };
    return cmocka_run_group_tests_name("kvreader", tests, start_server, stop_server);
}
