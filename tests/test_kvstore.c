#include "test.h"

#include "kernels/store/place.h"
#include "store_lab.h"
#include "tmpdir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A folder of the test's own. */
static const char *fresh(const char *name)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", tmpdir(), name);
    return path;
}

static struct kvs_stored *find(struct kvs_store *store, struct kvs_block_key key, const char *tag)
{
    struct kvs_stored *block;
    struct kvs_err err = {0};
    if (kvs_store_find(store, key, tag, &block, &err))
        fail_msg("%s", err.msg);
    return block;
}

static size_t count(struct kvs_store *store)
{
    struct kvs_store_entry *entry;
    size_t n;
    struct kvs_err err = {0};
    if (kvs_store_list(store, &entry, &n, &err))
        fail_msg("%s", err.msg);
    free(entry);
    return n;
}

/* A layer by a reader, decoded; what came back. */
static enum kvs_code read_layer(struct kvs_store *store, const struct kvs_path_ops *path,
                                struct kvs_stored *block, uint32_t layer, uint16_t *k, uint16_t *v,
                                struct kvs_err *err)
{
    struct kvs_reader *reader = NULL;
    struct kvs_read read = {.block = block}, *back = &read;
    struct kvs_reader_opt opt = {.depth = 4};
    enum kvs_code code = KVS_OK;

    kvs_stored_range(block, 2 * layer, 2, &read.at_bytes, &read.n_byte);
    read.to = kvs_store_pages(read.n_byte);
    assert_non_null(read.to);
    if (path) { /* this one, whatever the store would take */
        void *self;
        assert_int_equal(path->new_path(kvs_store_at(store), &opt, &self, err), KVS_OK);
        assert_true(path->start(self, &read));
        back = path->poll(self, INT64_MAX);
        assert_true(path->free_path(self, 1000000000));
    } else if (!(code = kvs_reader_new(store, &opt, &reader, err))) {
        kvs_reader_submit(reader, &read);
        back = kvs_reader_wait(reader, INT64_MAX);
        assert_int_equal(kvs_reader_n_pending(reader), 0);
    }
    if (!code) {
        assert_ptr_equal(back, &read);
        code = kvs_read_error(back, err);
    }
    for (uint32_t i = 0; i < 2 && !code; i++) {
        struct kvs_section s = kvs_kvf_section(kvs_stored_kvf(block), 2 * layer + i);
        code = kvs_kvf_decode(kvs_stored_kvf(block), 2 * layer + i,
                              read.to + (s.at_bytes - read.at_bytes), kvs_kvf_isa(NULL), i ? v : k,
                              LAB_CHAN, err);
    }
    kvs_reader_free(reader);
    free(read.to);
    return code;
}

static void keys_tell_prefixes_lengths_and_models_apart(void **state)
{
    const uint64_t model[2] = {5, 6}, other[2] = {5, 7};
    uint32_t tok[64];
    struct kvs_block_key a[4], b[4], c[2];
    (void)state;

    for (uint32_t i = 0; i < 64; i++)
        tok[i] = i;
    kvs_block_keys(model, tok, 16, 4, a);
    kvs_block_keys(other, tok, 16, 4, b);
    kvs_block_keys(model, tok, 32, 2, c);
    for (int i = 0; i < 4; i++)
        assert_memory_not_equal(&a[i], &b[i], sizeof a[i]);
    assert_memory_not_equal(&a[1], &c[0], sizeof a[1]);
    tok[20] = 99; /* in the second block: all from it on are others */
    kvs_block_keys(model, tok, 16, 4, b);
    assert_memory_equal(&a[0], &b[0], sizeof a[0]);
    for (int i = 1; i < 4; i++)
        assert_memory_not_equal(&a[i], &b[i], sizeof a[i]);
}

static void tags_name_levels(void **state)
{
    uint8_t level[8] = {KVS_E4, KVS_E4, KVS_E4, KVS_E4, KVS_E4, KVS_E4, KVS_E4, KVS_E4};
    char tag[KVS_TAG_MAX], other[KVS_TAG_MAX];
    (void)state;

    kvs_store_tag(level, 4, tag);
    assert_string_equal(tag, "e4");
    level[3] = KVS_P4;
    kvs_store_tag(level, 4, tag);
    assert_int_equal(strncmp(tag, "mix-", 4), 0);
    assert_true(kvs_tag_ok(tag));
    level[3] = KVS_P3;
    kvs_store_tag(level, 4, other);
    assert_string_not_equal(tag, other);
    assert_false(kvs_tag_ok(""));
    assert_false(kvs_tag_ok(".x"));
    assert_false(kvs_tag_ok("../x"));
    assert_false(kvs_tag_ok("a/b"));
    assert_false(kvs_tag_ok("abcdefghijklmnopqrstuvwx"));
    assert_true(kvs_tag_ok("abcdefghijklmnopqrstuvw"));
}

static void every_level_comes_back_layer_by_layer(void **state)
{
    static const struct kvs_path_ops *const paths[] = {NULL, &kvs_path_threads};
    struct kvs_store *store = lab_open(fresh("levels"));
    uint16_t k[LAB_TOK * LAB_CHAN], v[LAB_TOK * LAB_CHAN], want[LAB_TOK * LAB_CHAN];
    (void)state;

    for (int level = 0; level < KVS_N_LEVEL; level++) {
        struct lab_block made = lab_block(7, (enum kvs_level)level);
        struct kvs_err err = {0};
        struct kvs_kvf *kvf;
        lab_put(store, &made, (enum kvs_level)level);
        struct kvs_stored *block = find(store, made.key, kvs_level_names[level]);
        assert_non_null(block);
        assert_int_equal(
            kvs_kvf_parse("made", made.file, made.n_byte, made.n_byte, true, &kvf, &err), KVS_OK);
        for (uint32_t layer = 0; layer < LAB_LAYERS; layer++)
            for (int p = 0; p < 2; p++) {
                if (read_layer(store, paths[p], block, layer, k, v, &err))
                    fail_msg("%s: %s", kvs_level_names[level], err.msg);
                for (uint32_t i = 0; i < 2; i++) {
                    assert_int_equal(kvs_kvf_decode(kvf, 2 * layer + i, NULL, kvs_kvf_isa(NULL),
                                                    want, LAB_CHAN, &err),
                                     KVS_OK);
                    assert_memory_equal(i ? v : k, want, sizeof want);
                }
                if (level == KVS_RAW16)
                    assert_memory_equal(k, made.x[2 * layer], sizeof k);
            }
        kvs_kvf_close(kvf);
        kvs_stored_close(block);
        lab_block_free(&made);
    }
    assert_int_equal(count(store), KVS_N_LEVEL);
    kvs_store_close(store);
}

static void held_block_stays_and_dropped_one_is_gone(void **state)
{
    struct kvs_store *store = lab_open(fresh("again")), *second = lab_open(fresh("again"));
    struct lab_block made = lab_block(1, KVS_P4);
    struct kvs_err err = {0};
    bool there = true;
    uint16_t k[LAB_TOK * LAB_CHAN], v[LAB_TOK * LAB_CHAN];
    (void)state;

    assert_null(find(store, made.key, "p4"));
    assert_int_equal(kvs_store_put(store, made.key, "p4", made.file, made.n_byte, &there, &err), 0);
    assert_false(there);
    assert_int_equal(kvs_store_put(second, made.key, "p4", made.file, made.n_byte, &there, &err),
                     0);
    assert_true(there);
    struct kvs_stored *block = find(second, made.key, "p4");
    assert_non_null(block);
    assert_int_equal(kvs_store_drop(store, made.key, "p4", &err), KVS_OK);
    assert_int_equal(kvs_store_drop(store, made.key, "p4", &err), KVS_OK);
    assert_null(find(store, made.key, "p4"));
    /* whoever had found it can read it to the end */
    assert_int_equal(read_layer(second, NULL, block, 1, k, v, &err), KVS_OK);
    kvs_stored_close(block);
    lab_block_free(&made);
    kvs_store_close(store);
    kvs_store_close(second);
}

static void another_blocks_file_is_refused(void **state)
{
    struct kvs_store *store = lab_open(fresh("other"));
    struct lab_block a = lab_block(1, KVS_P4), b = lab_block(2, KVS_P4);
    struct kvs_stored *block;
    struct kvs_err err = {0};
    char from[300], to[300];
    (void)state;

    assert_int_equal(kvs_store_put(store, a.key, "p4", b.file, b.n_byte, NULL, &err), KVS_ERR_ARG);
    assert_non_null(strstr(err.msg, "another block"));
    assert_int_equal(count(store), 0);
    lab_put(store, &a, KVS_P4);
    lab_put(store, &b, KVS_P4);
    snprintf(from, sizeof from, "%s/%02x/" KVS_KEY_FMT ".p4.kvf", fresh("other"),
             (unsigned)(a.key.word[0] >> 56), KVS_KEY_ARG(&a.key));
    snprintf(to, sizeof to, "%s/%02x/" KVS_KEY_FMT ".p4.kvf", fresh("other"),
             (unsigned)(b.key.word[0] >> 56), KVS_KEY_ARG(&b.key));
    assert_int_equal(rename(from, to), 0);
    err = (struct kvs_err){0};
    assert_int_equal(kvs_store_find(store, b.key, "p4", &block, &err), KVS_ERR_PARSE);
    assert_null(block);
    assert_non_null(strstr(err.msg, "another block"));
    err = (struct kvs_err){0};
    assert_int_equal(kvs_store_put(store, a.key, "P4", a.file, a.n_byte, NULL, &err), KVS_ERR_ARG);
    assert_non_null(strstr(err.msg, "\"P4\""));
    lab_block_free(&a);
    lab_block_free(&b);
    kvs_store_close(store);
}

/* The file of a block, changed: to n_byte bytes, byte at turned. */
static void spoil(const struct kvs_stored *block, off_t n_byte, off_t at)
{
    unsigned char byte;
    int fd = open(kvs_stored_name(block), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    if (at >= 0) {
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        assert_int_equal(fsync(fd), 0);
    }
    if (n_byte >= 0)
        assert_int_equal(ftruncate(fd, n_byte), 0);
    close(fd);
}

static void broken_sections_are_found_before_they_are_used(void **state)
{
    struct kvs_store *store = lab_open(fresh("broken"));
    uint16_t k[LAB_TOK * LAB_CHAN], v[LAB_TOK * LAB_CHAN];
    struct kvs_err err = {0};
    (void)state;

    for (int paths = 0; paths < 2; paths++) {
        const struct kvs_path_ops *path = paths ? &kvs_path_threads : NULL;
        struct lab_block made = lab_block(20 + (uint64_t)paths, KVS_E4);
        lab_put(store, &made, KVS_E4);
        struct kvs_stored *block = find(store, made.key, "e4");
        struct kvs_section s = kvs_kvf_section(kvs_stored_kvf(block), 3); /* V of layer 1 */
        spoil(block, -1, (off_t)(s.at_bytes + s.n_byte / 2));
        assert_int_equal(read_layer(store, path, block, 0, k, v, &err), KVS_OK);
        assert_int_equal(read_layer(store, path, block, 1, k, v, &err), KVS_ERR_PARSE);
        assert_non_null(strstr(err.msg, "layer 1, V: the checksum is wrong"));
        err = (struct kvs_err){0};
        assert_int_equal(read_layer(store, path, block, 2, k, v, &err), KVS_OK);
        assert_int_equal(kvs_store_verify(store, made.key, "e4", &err), KVS_ERR_PARSE);
        assert_non_null(strstr(err.msg, "layer 1, V: the checksum is wrong"));
        /* cut off inside layer 2 after its head was read */
        err = (struct kvs_err){0};
        s = kvs_kvf_section(kvs_stored_kvf(block), 4);
        spoil(block, (off_t)s.at_bytes + 100, -1);
        assert_int_equal(read_layer(store, path, block, 2, k, v, &err), KVS_ERR_IO);
        assert_non_null(strstr(err.msg, "it ends at"));
        err = (struct kvs_err){0};
        assert_int_equal(kvs_store_verify(store, made.key, "e4", &err), KVS_ERR_PARSE);
        spoil(block, 0, -1);
        err = (struct kvs_err){0};
        assert_int_equal(kvs_store_verify(store, made.key, "e4", &err), KVS_ERR_PARSE);
        assert_non_null(strstr(err.msg, "has 0 bytes"));
        kvs_stored_close(block);
        err = (struct kvs_err){0};
        assert_int_equal(kvs_store_drop(store, made.key, "e4", &err), KVS_OK);
        assert_int_equal(kvs_store_verify(store, made.key, "e4", &err), KVS_ERR_ABSENT);
        err = (struct kvs_err){0};
        lab_block_free(&made);
    }
    kvs_store_close(store);
}

static void what_else_lies_in_the_folder_is_no_block(void **state)
{
    static const char *const names[] = {
        "ab/readme",
        "ab/.hidden",
        "ab/abababababababababababababababab.p4",     /* no suffix */
        "ab/abababababababababababababababab..kvf",   /* no tag */
        "ab/abababababababababababababababab.P4.kvf", /* no tag either */
        "ab/ababababababababababababababa.p4.kvf",    /* short */
        "ab/abababababababababababababababaX.p4.kvf", /* no digit */
        "ab/abababababababababababababababab.abcdefghijklmnopqrstuvwxyz.kvf",
    };
    struct kvs_store *store = lab_open(fresh("odd"));
    struct kvs_stored *block;
    struct kvs_err err = {0};
    struct kvs_block_key key = {{0xabababababababab, 0xabababababababab}};
    char path[300], link_path[300];
    (void)state;

    snprintf(path, sizeof path, "%s/ab", fresh("odd"));
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(path, sizeof path, "%s/ac", fresh("odd")); /* a file where a folder should be */
    assert_true(close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0666)) == 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", fresh("odd"), names[i]);
        assert_true(close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0666)) == 0);
    }
    assert_int_equal(count(store), 0);
    /* a pipe, a folder and a link of a block's name: neither blocks nor a place to hang */
    snprintf(path, sizeof path, "%s/ab/" KVS_KEY_FMT ".p4.kvf", fresh("odd"), KVS_KEY_ARG(&key));
    assert_int_equal(mkfifo(path, 0666), 0);
    assert_int_equal(count(store), 0);
    assert_int_not_equal(kvs_store_find(store, key, "p4", &block, &err), KVS_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0777), 0);
    err = (struct kvs_err){0};
    assert_int_not_equal(kvs_store_find(store, key, "p4", &block, &err), KVS_OK);
    assert_int_equal(rmdir(path), 0);
    snprintf(link_path, sizeof link_path, "%s/ab/readme", fresh("odd"));
    assert_int_equal(symlink(link_path, path), 0);
    assert_int_equal(count(store), 0);
    err = (struct kvs_err){0};
    assert_int_not_equal(kvs_store_find(store, key, "p4", &block, &err), KVS_OK);
    kvs_store_close(store);
}

static void left_over_hidden_files_are_swept_but_not_a_living_writers(void **state)
{
    struct kvs_store *store = lab_open(fresh("sweep"));
    char dead[300], living[300];
    (void)state;

    snprintf(dead, sizeof dead, "%s/5f", fresh("sweep"));
    assert_int_equal(mkdir(dead, 0777), 0);
    snprintf(dead, sizeof dead, "%s/5f/.x.p4.kvf.kvsim-1-0", fresh("sweep"));
    snprintf(living, sizeof living, "%s/5f/.y.p4.kvf.kvsim-2-0", fresh("sweep"));
    assert_true(close(open(dead, O_CREAT | O_WRONLY | O_CLOEXEC, 0666)) == 0);
    int fd = open(living, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    kvs_store_close(store);
    store = lab_open(fresh("sweep"));
    assert_int_equal(access(dead, F_OK), -1);
    assert_int_equal(access(living, F_OK), 0);
    close(fd);
    kvs_store_close(store);
}

static void folder_that_is_not_there_is_an_error_by_name(void **state)
{
    struct kvs_store *store;
    struct kvs_err err = {0};
    char path[300];
    (void)state;

    snprintf(path, sizeof path, "%s/none", tmpdir());
    assert_int_equal(kvs_store_open(path, NULL, &store, &err), KVS_ERR_IO);
    assert_null(store);
    assert_non_null(strstr(err.msg, "/none: No such file"));
    assert_true(close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0666)) == 0);
    err = (struct kvs_err){0};
    assert_int_equal(kvs_store_open(path, NULL, &store, &err), KVS_ERR_ARG);
    assert_non_null(strstr(err.msg, "is no folder"));
}

static void full_disk_leaves_nothing_half_written(void **state)
{
    struct kvs_store *store = lab_open(fresh("full"));
    struct lab_block small = lab_block(1, KVS_P2), large = lab_block(1, KVS_RAW16);
    struct kvs_err err = {0};
    struct rlimit was, cap;
    int status;
    (void)state;

    lab_put(store, &small, KVS_P2);
    /* a child whose files may not grow as large as the block: writing ends with EFBIG */
    pid_t child = fork();
    if (child == 0) {
        (void)signal(SIGXFSZ, SIG_IGN);
        getrlimit(RLIMIT_FSIZE, &was);
        cap = (struct rlimit){large.n_byte / 2, was.rlim_max};
        setrlimit(RLIMIT_FSIZE, &cap);
        enum kvs_code code =
            kvs_store_put(store, large.key, "raw16", large.file, large.n_byte, NULL, &err);
        _exit(code == KVS_ERR_IO && strstr(err.msg, "raw16.kvf") ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(count(store), 1);
    assert_null(find(store, large.key, "raw16"));
    char command[300];
    snprintf(command, sizeof command, "test -z \"$(find '%s' -name '.*' -type f)\"", fresh("full"));
    assert_int_equal(system(command), 0); /* NOLINT: a path of our own making */
    lab_put(store, &large, KVS_RAW16);    /* room again */
    assert_int_equal(kvs_store_verify(store, large.key, "raw16", &err), KVS_OK);
    lab_block_free(&small);
    lab_block_free(&large);
    kvs_store_close(store);
}

/* Puts blocks for ever, dropping them all now and then. */
static void write_for_ever(const char *place)
{
    static const enum kvs_level levels[] = {KVS_RAW16, KVS_P4};
    struct lab_block block[4];
    for (int i = 0; i < 4; i++)
        block[i] = lab_block((uint64_t)i / 2, levels[i % 2]);
    struct kvs_store *store = lab_open(place);
    for (;;) {
        for (int i = 0; i < 4; i++)
            lab_put(store, &block[i], levels[i % 2]);
        for (int i = 0; i < 4; i++)
            if (kvs_store_drop(store, block[i].key, kvs_level_names[levels[i % 2]], NULL))
                _exit(1);
    }
}

static void killed_writer_leaves_whole_blocks_or_none(void **state)
{
    char place[160];
    size_t n_seen = 0;
    (void)state;

    snprintf(place, sizeof place, "%s", fresh("kill"));
    kvs_store_close(lab_open(place));
    for (int round = 0; round < 25; round++) {
        struct kvs_store_entry *entry;
        struct kvs_err err = {0};
        size_t n;
        pid_t writer = fork();
        if (writer == 0)
            write_for_ever(place);
        usleep(20000 + (useconds_t)round * 1777 % 13000);
        assert_int_equal(kill(writer, SIGKILL), 0);
        assert_int_equal(waitpid(writer, NULL, 0), writer);
        struct kvs_store *store = lab_open(place);
        assert_int_equal(kvs_store_list(store, &entry, &n, &err), KVS_OK);
        for (size_t i = 0; i < n; i++)
            if (kvs_store_verify(store, entry[i].key, entry[i].tag, &err))
                fail_msg("%s", err.msg);
        n_seen += n;
        free(entry);
        kvs_store_close(store);
    }
    assert_true(n_seen > 0);
    char command[300];
    snprintf(command, sizeof command, "test -z \"$(find '%s' -name '.*' -type f)\"", place);
    assert_int_equal(system(command), 0); /* NOLINT: a path of our own making */
}

static void store_is_readable_while_it_is_written(void **state)
{
    char place[160];
    size_t n_found = 0;
    (void)state;

    snprintf(place, sizeof place, "%s", fresh("busy"));
    struct kvs_store *store = lab_open(place);
    pid_t writer = fork();
    if (writer == 0)
        write_for_ever(place);
    for (int round = 0; round < 100000 && n_found < 100; round++) {
        struct kvs_err err = {0};
        struct kvs_block_key key;
        struct kvs_stored *block;
        uint32_t tok[LAB_TOK];
        uint16_t k[LAB_TOK * LAB_CHAN], v[LAB_TOK * LAB_CHAN];
        for (uint32_t i = 0; i < LAB_TOK; i++)
            tok[i] = (uint32_t)(round % 2) * 1000 + i;
        kvs_block_keys((const uint64_t[]){1, 2}, tok, LAB_TOK, 1, &key);
        if (kvs_store_find(store, key, round % 3 ? "p4" : "raw16", &block, &err))
            fail_msg("%s", err.msg);
        if (!block) {
            usleep(100);
            continue;
        }
        n_found++;
        if (read_layer(store, NULL, block, (uint32_t)round % LAB_LAYERS, k, v, &err))
            fail_msg("%s", err.msg);
        kvs_stored_close(block);
    }
    assert_int_equal(kill(writer, SIGKILL), 0);
    assert_int_equal(waitpid(writer, NULL, 0), writer);
    assert_int_equal(n_found, 100);
    kvs_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_tell_prefixes_lengths_and_models_apart),
        cmocka_unit_test(tags_name_levels),
        cmocka_unit_test(every_level_comes_back_layer_by_layer),
        cmocka_unit_test(held_block_stays_and_dropped_one_is_gone),
        cmocka_unit_test(another_blocks_file_is_refused),
        cmocka_unit_test(broken_sections_are_found_before_they_are_used),
        cmocka_unit_test(what_else_lies_in_the_folder_is_no_block),
        cmocka_unit_test(left_over_hidden_files_are_swept_but_not_a_living_writers),
        cmocka_unit_test(folder_that_is_not_there_is_an_error_by_name),
        cmocka_unit_test(full_disk_leaves_nothing_half_written),
        cmocka_unit_test(killed_writer_leaves_whole_blocks_or_none),
        cmocka_unit_test(store_is_readable_while_it_is_written),
    };
    return cmocka_run_group_tests_name("kvstore", tests, tmpdir_make, tmpdir_drop);
}
