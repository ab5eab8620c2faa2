#include "test.h"

#include "fault.h"
#include "tmpdir.h"

#include "base/arena.h"
#include "base/data.h"
#include "base/hist.h"
#include "base/lines.h"
#include "base/map.h"
#include "base/opt.h"
#include "base/outdir.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

static void text_to(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static enum kvs_code parse_lines(void *ctx, struct kvs_err *err)
{
    (void)ctx;
    struct kvs_lines *lines;
    char *line;
    size_t n;
    enum kvs_code code = kvs_lines_open("lines.txt", &lines, err);
    if (code)
        return code;
    do
        code = kvs_lines_next(lines, &line, &n, err);
    while (code == KVS_OK && line);
    kvs_lines_close(lines);
    return code;
}

static void lines_report_no_memory_and_failed_reads(void **state)
{
    size_t n = 1 << 20;
    char *text = malloc(n + 1);
    (void)state;
    assert_non_null(text);
    memset(text, 'x', n);
    text[n] = '\0';
    text[10] = '\n';
    text_to("lines.txt", text);
    free(text);
    kvs_fault_every(KVS_FAULT_MEM, true, parse_lines, NULL);
    kvs_fault_every(KVS_FAULT_IO, true, parse_lines, NULL);
}

struct sample {
    uint64_t n;
    const char *name;
};
static const struct kvs_opt sample_table[] = {
    {.key = "n", .type = KVS_OPT_U64, .offset = offsetof(struct sample, n), .help = ""},
    {.key = "name", .type = KVS_OPT_STR, .offset = offsetof(struct sample, name), .help = ""},
};

/* Paths that find no memory are no error of the read: that is tried on its own below. */
static enum kvs_code parse_json(void *ctx, struct kvs_err *err)
{
    (void)ctx;
    struct kvs_doc *doc;
    enum kvs_code code = kvs_doc_open("s.json", &doc, err);
    if (code)
        return code;
    code = kvs_doc_set(doc, "name", "\"y\"", err);
    char *text = code ? NULL : kvs_doc_dump(doc);
    if (!code && !text)
        code = kvs_nomem(err);
    if (text)
        assert_string_equal(text, "{\n  \"n\": 3,\n  \"name\": \"y\"\n}");
    free(text);
    kvs_doc_free(doc);
    return code;
}

static void json_reports_no_memory_and_failed_opens(void **state)
{
    (void)state;
    text_to("s.json", "{\"n\": 3, \"name\": \"x\"}");
    kvs_fault_every(KVS_FAULT_MEM, false, parse_json, NULL);
    kvs_fault_every(KVS_FAULT_IO, false, parse_json, NULL);
}

static void options_survive_paths_without_memory(void **state)
{
    const char text[] = "{\"n\": 3, \"name\": \"x\"}";
    (void)state;
    for (unsigned n = 1; n < 4; n++) {
        struct kvs_err err = {0};
        struct kvs_doc *doc;
        struct sample sample;
        assert_int_equal(kvs_doc_parse("s.json", text, strlen(text), &doc, &err), KVS_OK);
        kvs_fault_at(KVS_FAULT_MEM, n);
        assert_int_equal(kvs_opt_json(sample_table, 2, kvs_doc_root(doc), &sample, &err), KVS_OK);
        kvs_fault_end();
        assert_int_equal(sample.n, 3);
        kvs_doc_free(doc);
    }
}

static enum kvs_code fill_memory(void *ctx, struct kvs_err *err)
{
    (void)ctx;
    struct kvs_arena *arena = kvs_arena_new();
    struct kvs_tally *tally = kvs_tally_new();
    struct kvs_map map;
    bool ok = kvs_map_init(&map, 0) && arena && tally, found;
    for (unsigned i = 0; ok && i < 3000; i++)
        ok = kvs_arena_alloc(arena, i, 8) && kvs_tally_add(tally, i) &&
             kvs_map_put(&map, i, i, &found);
    if (ok)
        ok = kvs_arena_str(arena, "x") && map.n == 3000 &&
             kvs_tally_sum(tally) == 2999ull * 3000 / 2;
    kvs_arena_free(arena);
    kvs_tally_free(tally);
    kvs_map_free(&map);
    return ok ? KVS_OK : kvs_nomem(err);
}

static void containers_report_no_memory(void **state)
{
    (void)state;
    kvs_fault_every(KVS_FAULT_MEM, true, fill_memory, NULL);
}

/* --- results folders --- */

static bool holds(const char *path, const char *want)
{
    char text[64] = "";
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    size_t n = fread(text, 1, sizeof text - 1, file);
    text[n] = '\0';
    assert_int_equal(fclose(file), 0);
    return strcmp(text, want) == 0;
}

static unsigned n_hidden(void)
{
    unsigned n = 0;
    DIR *dir = opendir(".");
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        n += strncmp(entry->d_name, ".out.kvsim", 10) == 0;
    closedir(dir);
    return n;
}

static enum kvs_code write_out(const char *text, struct kvs_err *err)
{
    static const char *const names[] = {"a.csv", "plots/b.csv"};
    struct kvs_outdir *out;
    enum kvs_code code = kvs_outdir_begin("out", true, &out, err);
    for (unsigned i = 0; code == KVS_OK && i < 2; i++) {
        FILE *file = kvs_outdir_file(out, names[i], err);
        if (!file) {
            code = err->code;
            break;
        }
        fputs(text, file);
        code = kvs_outdir_close(out, file, err);
    }
    if (code) {
        kvs_outdir_abort(out);
        return code;
    }
    return kvs_outdir_commit(out, err);
}

static void clear_out(void)
{
    if (system("rm -rf out .out.kvsim*") != 0) /* NOLINT: names of our own making */
        fail();
}

/* Whichever call fails: the old folder whole and an error, or the new one whole. */
static void any_failure_leaves_old_or_new_whole(void **state)
{
    (void)state;
    for (int kind = KVS_FAULT_MEM; kind <= KVS_FAULT_IO; kind++) {
        for (int had_old = 0; had_old < 2; had_old++) {
            unsigned n = 1;
            for (bool more = true; more; n++) {
                struct kvs_err err = {0};
                clear_out();
                if (had_old)
                    assert_int_equal(write_out("old", &err), KVS_OK);
                kvs_fault_at((enum kvs_fault)kind, n);
                enum kvs_code code = write_out("new", &err);
                more = kvs_fault_end();
                const char *want = code ? "old" : "new";
                bool whole = holds("out/a.csv", want) && holds("out/plots/b.csv", want);
                if (code && !had_old)
                    whole = access("out", F_OK) != 0;
                if (!whole)
                    fail_msg("kind %d, call %u, old %d: code %d \"%s\"", kind, n, had_old, code,
                             err.msg);
                if (n_hidden() != 0)
                    fail_msg("kind %d, call %u: something hidden stays", kind, n);
            }
            assert_true(n > 5);
        }
    }
    clear_out();
}

static void full_disk_leaves_the_old_folder(void **state)
{
    struct kvs_err err = {0};
    struct rlimit limit, small = {.rlim_cur = 100, .rlim_max = RLIM_INFINITY};
    char text[4000];
    (void)state;
    clear_out();
    assert_int_equal(write_out("old", &err), KVS_OK);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small.rlim_max = limit.rlim_max;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum kvs_code code = write_out(text, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(code, KVS_ERR_IO);
    assert_string_equal(err.msg, "out: a file could not be written: File too large");
    assert_true(holds("out/a.csv", "old"));
    assert_int_equal(n_hidden(), 0);
    clear_out();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_report_no_memory_and_failed_reads),
        cmocka_unit_test(json_reports_no_memory_and_failed_opens),
        cmocka_unit_test(options_survive_paths_without_memory),
        cmocka_unit_test(containers_report_no_memory),
        cmocka_unit_test(any_failure_leaves_old_or_new_whole),
        cmocka_unit_test(full_disk_leaves_the_old_folder),
    };
    return cmocka_run_group_tests_name("fault_base", tests, tmpdir_enter, tmpdir_drop);
}
