/*
 * Traces written and read again: .kvt, JSON lines, oracleGeneral.
 */
#include "test.h"

#include "tmpdir.h"

#include "base/opt.h"
#include "workloads/gen.h"
#include "workloads/kvt.h"
#include "workloads/trace_write.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* A path in the test's folder; one of four static buffers. */
static const char *at(const char *name)
{
    static char path[4][128];
    static unsigned next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", tmpdir(), name);
    return p;
}

static unsigned char *read_whole(const char *path, size_t *n)
{
    FILE *file = fopen(path, "rb");
    unsigned char *data;
    long size;
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size = ftell(file);
    assert_true(size >= 0);
    rewind(file);
    *n = (size_t)size;
    data = malloc(*n + 16);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *n, file), *n);
    assert_int_equal(fclose(file), 0);
    return data;
}

static void convert(const char *from, const char *to)
{
    struct kvs_err err = {0};
    struct kvs_trace *trace;
    if (kvs_trace_open(from, NULL, &trace, &err) ||
        kvs_trace_copy(trace, to, NULL, NULL, NULL, &err))
        fail_msg("%s", err.msg);
    kvs_trace_close(trace);
}

/* Reads all; the code of the first failure. */
static enum kvs_code read_kvt(const void *data, size_t n, unsigned *n_request)
{
    struct kvs_trace_options options = {.format = "kvt"};
    struct kvs_err err = {0};
    struct kvs_trace *trace;
    const struct kvs_request *req = NULL;
    enum kvs_code code = kvs_trace_open_mem("x.kvt", data, n, &options, &trace, &err);
    *n_request = 0;
    if (code == KVS_OK) {
        while ((code = kvs_trace_next(trace, &req, &err)) == KVS_OK && req)
            ++*n_request;
        kvs_trace_close(trace);
    }
    assert_int_equal(err.code, code);
    assert_int_equal(err.msg[0] == '\0', code == KVS_OK);
    return code;
}

static void every_flipped_byte_of_a_kvt_is_found(void **state)
{
    size_t n;
    unsigned n_request;
    unsigned char *data;
    (void)state;
    convert("tests/data/ragpulse", at("small.kvt"));
    data = read_whole(at("small.kvt"), &n);
    assert_int_equal(n, 64 + 32 + 4 * 32 + 28 * 16);
    assert_int_equal(read_kvt(data, n, &n_request), KVS_OK);
    assert_int_equal(n_request, 4);
    for (size_t i = 0; i < n; i++) {
        for (int bit = 0; bit < 9; bit++) {
            unsigned char kept = data[i];
            data[i] ^= (unsigned char)(bit < 8 ? 1 << bit : 0xff);
            if (read_kvt(data, n, &n_request) != KVS_ERR_PARSE)
                fail_msg("byte %zu, bit %d: not found", i, bit);
            data[i] = kept;
        }
    }
    free(data);
}

static void a_kvt_cut_short_or_made_longer_is_found(void **state)
{
    size_t n;
    unsigned n_request;
    unsigned char *data;
    (void)state;
    convert("tests/data/mooncake.jsonl", at("cut.kvt"));
    data = read_whole(at("cut.kvt"), &n);
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(read_kvt(data, cut, &n_request), KVS_ERR_PARSE);
    data[n] = 0;
    assert_int_equal(read_kvt(data, n + 1, &n_request), KVS_ERR_PARSE);
    free(data);
}

/* Makes the checksums of a kvt of one chunk right again. */
static void mend(unsigned char *data, size_t n)
{
    struct kvt_header header;
    struct kvt_chunk chunk;
    memcpy(&header, data, sizeof header);
    memcpy(&chunk, data + sizeof header, sizeof chunk);
    chunk.body_sum = XXH3_64bits(data + 96, n - 96);
    chunk.sum = XXH3_64bits(&chunk, offsetof(struct kvt_chunk, sum));
    header.sum = XXH3_64bits(&header, offsetof(struct kvt_header, sum));
    memcpy(data, &header, sizeof header);
    memcpy(data + sizeof header, &chunk, sizeof chunk);
}

/* What checksums can't find: a program that wrote nonsense. At byte 96 the first request begins. */
static void nonsense_under_right_checksums_is_refused(void **state)
{
    static const struct {
        const char *what;
        size_t at;
        uint32_t value;
    } cases[] = {
        {"version", 8, 2},
        {"flags", 12, 2},
        {"zero", 20, 1},
        {"requests", 24, 5},
        {"blocks", 32, 27},
        {"chunks", 40, 2},
        {"chunk's index", 64, 1},
        {"its requests", 72, 3},
        {"its blocks", 76, 27},
        {"more blocks", 76, 29},
        {"no requests", 72, 0},
        {"time", 96 + 32 + 4, 1u << 31},
        {"input", 96 + 16, 1},
        {"no input", 96 + 16, 0},
        {"blocks of it", 96 + 24, 29},
        {"fewer", 96 + 24, 6},
        {"request's zero", 96 + 28, 1},
        {"tokens", 96 + 128 + 8, 0},
        {"part", 96 + 128 + 12, KVS_N_PART},
    };
    size_t n;
    unsigned n_request;
    unsigned char *data;
    (void)state;
    convert("tests/data/ragpulse", at("nonsense.kvt"));
    data = read_whole(at("nonsense.kvt"), &n);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t kept;
        memcpy(&kept, data + cases[i].at, 4);
        memcpy(data + cases[i].at, &cases[i].value, 4);
        mend(data, n);
        if (read_kvt(data, n, &n_request) != KVS_ERR_PARSE)
            fail_msg("%s: not refused", cases[i].what);
        memcpy(data + cases[i].at, &kept, 4);
    }
    mend(data, n);
    assert_int_equal(read_kvt(data, n, &n_request), KVS_OK);
    free(data);
}

static void an_empty_kvt_or_a_folder_is_refused(void **state)
{
    struct kvs_trace_options options = {.format = "kvt"};
    struct kvs_trace *trace;
    struct kvs_err err = {0};
    FILE *file = fopen(at("empty.kvt"), "w");
    (void)state;
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(kvs_trace_open(at("empty.kvt"), &options, &trace, &err), KVS_ERR_IO);
    assert_non_null(strstr(err.msg, "is empty"));
    err = (struct kvs_err){0};
    assert_int_equal(kvs_trace_open("/dev/null", &options, &trace, &err), KVS_ERR_IO);
    assert_non_null(strstr(err.msg, "is no regular file"));
    err = (struct kvs_err){0};
    assert_int_equal(kvs_trace_open(at("none.kvt"), &options, &trace, &err), KVS_ERR_ARG);
    assert_non_null(strstr(err.msg, "none.kvt: No such file"));
}

static void expect_same_files(const char *a, const char *b)
{
    size_t n_a, n_b;
    unsigned char *x = read_whole(a, &n_a), *y = read_whole(b, &n_b);
    assert_int_equal(n_a, n_b);
    assert_memory_equal(x, y, n_a);
    free(x);
    free(y);
}

static struct kvs_trace *generated(uint64_t n_request)
{
    struct kvs_gen_options options;
    struct kvs_err err = {0};
    struct kvs_trace *trace;
    bool help;
    char *argv[] = {(char *)"generate", NULL};
    if (kvs_opt_argv(kvs_gen_table, kvs_gen_n_opt, 1, argv, &options, NULL, &help, &err))
        fail_msg("%s", err.msg);
    options.n_request = n_request;
    options.rate_per_s = 100;
    if (kvs_gen_open(&options, 11, &trace, &err))
        fail_msg("%s", err.msg);
    return trace;
}

/* 12000 requests are more than two chunks, by requests and by blocks. */
static void a_trace_survives_kvt_and_back_byte_for_byte(void **state)
{
    struct kvs_trace *trace = generated(12000);
    struct kvs_err err = {0};
    uint64_t n;
    (void)state;
    if (kvs_trace_copy(trace, at("a.jsonl"), NULL, NULL, &n, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(n, 12000);
    kvs_trace_close(trace);
    convert(at("a.jsonl"), at("b.kvt"));
    convert(at("b.kvt"), at("c.jsonl"));
    expect_same_files(at("a.jsonl"), at("c.jsonl"));
    convert("tests/data/mooncake.jsonl", at("m.kvt"));
    convert("tests/data/mooncake.jsonl", at("m.jsonl"));
    convert(at("m.kvt"), at("n.jsonl"));
    expect_same_files(at("m.jsonl"), at("n.jsonl"));
}

/* [0 1 2] [0 1] [0 3] ...: the first access of 0 is followed by the 4th, that by the 6th. */
/* Larger than what the reader keeps mapped behind it, and read to the last request. */
static void a_large_kvt_is_let_go_of_while_it_is_read(void **state)
{
    struct kvs_trace *trace = generated(60000);
    const struct kvs_request *req = NULL;
    struct kvs_err err = {0};
    double last = 0;
    unsigned n = 0;
    (void)state;
    if (kvs_trace_copy(trace, at("large.kvt"), NULL, NULL, NULL, &err))
        fail_msg("%s", err.msg);
    assert_true(kvs_trace_done_frac(trace) == 1);
    kvs_trace_close(trace);
    if (kvs_trace_open(at("large.kvt"), NULL, &trace, &err))
        fail_msg("%s", err.msg);
    while (kvs_trace_next(trace, &req, &err) == KVS_OK && req) {
        assert_true(kvs_trace_done_frac(trace) > last);
        last = kvs_trace_done_frac(trace);
        n++;
    }
    assert_int_equal(err.code, KVS_OK);
    assert_int_equal(n, 60000);
    assert_true(last == 1);
    kvs_trace_close(trace);
}

static void oracle_general_knows_the_next_access(void **state)
{
    static const struct {
        uint32_t at_s;
        uint64_t id;
        uint32_t n_tok;
        int64_t next;
    } want[] = {{0, 0, 512, 4}, {0, 1, 512, 5}, {0, 2, 76, 10}, {0, 0, 512, 6},
                {0, 1, 512, 9}, {0, 0, 512, 8}, {0, 3, 88, -1}, {3, 0, 512, 15}};
    size_t n;
    unsigned char *data;
    (void)state;
    convert("tests/data/mooncake.jsonl", at("m.oracleGeneral"));
    data = read_whole(at("m.oracleGeneral"), &n);
    assert_int_equal(n, 22 * 24);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        uint32_t at_s, n_tok;
        uint64_t id;
        int64_t next;
        memcpy(&at_s, data + i * 24, 4);
        memcpy(&id, data + i * 24 + 4, 8);
        memcpy(&n_tok, data + i * 24 + 12, 4);
        memcpy(&next, data + i * 24 + 16, 8);
        assert_int_equal(at_s, want[i].at_s);
        assert_int_equal(id, want[i].id);
        assert_int_equal(n_tok, want[i].n_tok);
        assert_int_equal(next, want[i].next);
    }
    free(data);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static unsigned n_entry(const char *folder)
{
    DIR *dir = opendir(folder);
    unsigned n = 0;
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void expect_untouched(const char *folder, const char *file)
{
    size_t n;
    unsigned char *data = read_whole(file, &n);
    assert_int_equal(n, 4);
    assert_memory_equal(data, "old\n", 4);
    free(data);
    assert_int_equal(n_entry(folder), 3); /* ., .. and the file */
}

static void a_trace_that_fails_midway_leaves_the_old_file(void **state)
{
    static const char *const outs[] = {"out.kvt", "out.jsonl", "out.oracleGeneral"};
    static const char text[] =
        "{\"timestamp\":0,\"input_length\":5,\"output_length\":1,\"hash_ids\":[1]}\n{}\n";
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct kvs_err err = {0};
        struct kvs_trace *trace;
        char folder[128], file[160];
        snprintf(folder, sizeof folder, "%s/midway%d", tmpdir(), i);
        snprintf(file, sizeof file, "%s/%s", folder, outs[i]);
        assert_int_equal(mkdir(folder, 0700), 0);
        write_text(file, "old\n");
        assert_int_equal(kvs_trace_open_mem("m", text, sizeof text - 1, NULL, &trace, &err),
                         KVS_OK);
        assert_int_equal(kvs_trace_copy(trace, file, NULL, NULL, NULL, &err), KVS_ERR_PARSE);
        kvs_trace_close(trace);
        expect_untouched(folder, file);
    }
}

static void a_full_disk_leaves_the_old_file(void **state)
{
    static const char *const outs[] = {"out.kvt", "out.jsonl", "out.oracleGeneral"};
    struct rlimit old, small;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 3; i++) {
        struct kvs_trace *trace = generated(2000);
        struct kvs_err err = {0};
        enum kvs_code code;
        char folder[128], file[160];
        snprintf(folder, sizeof folder, "%s/full%d", tmpdir(), i);
        snprintf(file, sizeof file, "%s/%s", folder, outs[i]);
        assert_int_equal(mkdir(folder, 0700), 0);
        write_text(file, "old\n");
        small = (struct rlimit){.rlim_cur = 65536, .rlim_max = old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        code = kvs_trace_copy(trace, file, NULL, NULL, NULL, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(code, KVS_ERR_IO);
        assert_non_null(strstr(err.msg, "File too large"));
        kvs_trace_close(trace);
        expect_untouched(folder, file);
    }
    (void)signal(SIGXFSZ, SIG_DFL);
}

static void binary_formats_do_not_go_to_standard_output(void **state)
{
    struct kvs_trace_about about = {0};
    struct kvs_trace_out *out;
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(kvs_trace_out_open("-", "kvt", &about, &out, &err), KVS_ERR_ARG);
    assert_null(out);
    err = (struct kvs_err){0};
    assert_int_equal(kvs_trace_out_open(at("x"), "ktv", &about, &out, &err), KVS_ERR_ARG);
    assert_non_null(strstr(err.msg, "did you mean \"kvt\"?"));
    err = (struct kvs_err){0};
    assert_int_equal(kvs_trace_out_open("/nowhere/x.kvt", NULL, &about, &out, &err), KVS_ERR_IO);
    assert_string_equal(err.msg, "/nowhere/x.kvt: No such file or directory");
}

/* --- the schema of the JSON lines --- */

/* Reads header and request as a trace; whether that goes well. */
static bool reads(const json_t *header, const json_t *request)
{
    char *head = json_dumps(header, JSON_COMPACT), *row = json_dumps(request, JSON_COMPACT);
    struct kvs_trace_options options = {.format = "kvsim"};
    struct kvs_trace *trace;
    const struct kvs_request *req = NULL;
    char text[2000];
    bool ok = false;
    assert_true(head && row);
    snprintf(text, sizeof text, "%s\n%s\n", head, row);
    free(head);
    free(row);
    if (kvs_trace_open_mem("x", text, strlen(text), &options, &trace, NULL))
        return false;
    ok = kvs_trace_next(trace, &req, NULL) == KVS_OK && req;
    kvs_trace_close(trace);
    return ok;
}

/* The writer's keys are the schema's; the reader wants the required ones and only those. */
static void expect_schema(const json_t *schema, const char *kind, json_t *header, json_t *request)
{
    const json_t *part = json_object_get(json_object_get(schema, "$defs"), kind);
    const json_t *properties = json_object_get(part, "properties"), *name, *value;
    json_t *line = strcmp(kind, "header") == 0 ? header : request;
    const char *key;
    size_t i;
    assert_int_equal(json_object_size(properties), json_object_size(line));
    json_object_foreach((json_t *)properties, key, value)
    {
        json_t *copy = json_copy(line);
        bool required = false;
        assert_non_null(json_object_get(line, key));
        json_array_foreach(json_object_get(part, "required"), i, name) required =
            required || strcmp(json_string_value(name), key) == 0;
        assert_int_equal(json_object_del(copy, key), 0);
        if (reads(line == header ? copy : header, line == request ? copy : request) == required)
            fail_msg("%s.%s: schema and reader disagree on whether it may be absent", kind, key);
        json_decref(copy);
    }
}

static void the_schema_is_what_is_written_and_read(void **state)
{
    json_t *schema = json_load_file("configs/schema/trace.schema.json", 0, NULL), *line[2];
    const json_t *parts, *part;
    char text[1000];
    size_t i;
    FILE *file;
    (void)state;
    assert_non_null(schema);
    convert("tests/data/ragpulse", at("schema.jsonl"));
    file = fopen(at("schema.jsonl"), "r");
    assert_non_null(file);
    for (int k = 0; k < 2; k++) {
        assert_non_null(fgets(text, sizeof text, file));
        line[k] = json_loads(text, 0, NULL);
        assert_non_null(line[k]);
    }
    assert_int_equal(fclose(file), 0);
    assert_true(reads(line[0], line[1]));
    expect_schema(schema, "header", line[0], line[1]);
    expect_schema(schema, "request", line[0], line[1]);
    parts = json_object_get(json_object_get(schema, "$defs"), "request");
    parts = json_object_get(json_object_get(parts, "properties"), "blocks");
    parts = json_object_get(json_object_get(parts, "items"), "prefixItems");
    parts = json_object_get(json_array_get(parts, 0), "enum");
    assert_int_equal(json_array_size(parts), KVS_N_PART);
    json_array_foreach((json_t *)parts, i, part)
        assert_string_equal(json_string_value(part), kvs_part_name[i]);
    json_decref(line[0]);
    json_decref(line[1]);
    json_decref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flipped_byte_of_a_kvt_is_found),
        cmocka_unit_test(a_kvt_cut_short_or_made_longer_is_found),
        cmocka_unit_test(nonsense_under_right_checksums_is_refused),
        cmocka_unit_test(an_empty_kvt_or_a_folder_is_refused),
        cmocka_unit_test(a_large_kvt_is_let_go_of_while_it_is_read),
        cmocka_unit_test(a_trace_survives_kvt_and_back_byte_for_byte),
        cmocka_unit_test(oracle_general_knows_the_next_access),
        cmocka_unit_test(a_trace_that_fails_midway_leaves_the_old_file),
        cmocka_unit_test(a_full_disk_leaves_the_old_file),
        cmocka_unit_test(the_schema_is_what_is_written_and_read),
        cmocka_unit_test(binary_formats_do_not_go_to_standard_output),
    };
    return cmocka_run_group_tests_name("trace_files", tests, tmpdir_make, tmpdir_drop);
}
