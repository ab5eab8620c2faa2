#include "test.h"

#include "base/lines.h"
#include "base/rng.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

static void expect_line(struct kvs_lines *lines, const char *want)
{
    struct kvs_err err = {0};
    char *line;
    size_t n;
    if (kvs_lines_next(lines, &line, &n, &err))
        fail_msg("%s", err.msg);
    if (!want) {
        assert_null(line);
        return;
    }
    assert_string_equal(line, want);
    assert_int_equal(n, strlen(want));
}

static struct kvs_lines *from(const void *data, size_t n)
{
    struct kvs_err err = {0};
    struct kvs_lines *lines;
    if (kvs_lines_mem("mem", data, n, &lines, &err))
        fail_msg("%s", err.msg);
    return lines;
}

static void lines_end_with_lf_crlf_or_the_file(void **state)
{
    const char text[] = "one\r\n\ntwo\rx\nthree";
    (void)state;
    struct kvs_lines *lines = from(text, sizeof text - 1);
    expect_line(lines, "one");
    expect_line(lines, "");
    expect_line(lines, "two\rx");
    assert_int_equal(kvs_lines_number(lines), 3);
    assert_int_equal(kvs_lines_offset(lines), 12);
    expect_line(lines, "three");
    assert_int_equal(kvs_lines_number(lines), 4);
    expect_line(lines, NULL);
    expect_line(lines, NULL);
    assert_int_equal(kvs_lines_offset(lines), sizeof text - 1);
    assert_int_equal(kvs_lines_size(lines), sizeof text - 1);
    kvs_lines_close(lines);
    lines = from("", 0);
    expect_line(lines, NULL);
    assert_int_equal(kvs_lines_number(lines), 0);
    kvs_lines_close(lines);
    lines = from("\xef\xbb\xbfid,n\n", 8);
    expect_line(lines, "id,n");
    expect_line(lines, NULL);
    kvs_lines_close(lines);
}

static char z[5 << 20]; /* compressed */

/* Lines of many lengths, longer than the buffers among them. */
static char *long_text(size_t *n)
{
    struct kvs_rng rng = kvs_rng_stream(1, "lines");
    size_t room = 4u << 20;
    char *text = malloc(room);
    assert_non_null(text);
    *n = 0;
    for (unsigned i = 0; i < 60; i++) {
        size_t n_line = i == 30 ? 900000 : (size_t)kvs_rng_below(&rng, i % 3 ? 200 : 60000);
        for (size_t j = 0; j < n_line; j++)
            text[(*n)++] = (char)('a' + kvs_rng_below(&rng, 26));
        text[(*n)++] = '\n';
    }
    text[*n] = '\0';
    return text;
}

static void expect_same_lines(struct kvs_lines *lines, const char *text)
{
    unsigned number = 0;
    for (const char *at = text; *at; at = strchr(at, '\n') + 1) {
        struct kvs_err err = {0};
        char *line;
        size_t n, want = strcspn(at, "\n");
        assert_int_equal(kvs_lines_next(lines, &line, &n, &err), KVS_OK);
        assert_int_equal(n, want);
        assert_memory_equal(line, at, n);
        assert_int_equal(kvs_lines_number(lines), ++number);
    }
    expect_line(lines, NULL);
}

static void zstd_gives_the_same_lines_as_plain(void **state)
{
    size_t n, n_z;
    char *text = long_text(&n);
    (void)state;
    struct kvs_lines *lines = from(text, n);
    expect_same_lines(lines, text);
    kvs_lines_close(lines);
    /* two frames, one behind the other */
    n_z = ZSTD_compress(z, sizeof z, text, n / 2, 1);
    n_z += ZSTD_compress(z + n_z, sizeof z - n_z, text + n / 2, n - n / 2, 1);
    lines = from(z, n_z);
    expect_same_lines(lines, text);
    assert_int_equal(kvs_lines_offset(lines), n_z);
    kvs_lines_close(lines);
    free(text);
}

static void broken_zstd_is_an_error(void **state)
{
    size_t n, n_z;
    char *text = long_text(&n);
    (void)state;
    n_z = ZSTD_compress(z, sizeof z, text, n, 1);
    for (int kind = 0; kind < 2; kind++) {
        struct kvs_err err = {0};
        char *line = z;
        size_t n_line;
        if (kind)
            z[n_z / 2] ^= 0x55;
        struct kvs_lines *lines = from(z, kind ? n_z - n_z / 4 : n_z - 3);
        while (line && !err.code)
            (void)!kvs_lines_next(lines, &line, &n_line, &err);
        assert_int_equal(err.code, KVS_ERR_IO);
        assert_non_null(strstr(err.msg, "zstd"));
        kvs_lines_close(lines);
    }
    free(text);
}

static void nul_byte_is_named_with_its_line(void **state)
{
    struct kvs_err err = {0};
    char *line;
    size_t n;
    (void)state;
    struct kvs_lines *lines = from("a\nb\0c\nd\n", 8);
    expect_line(lines, "a");
    assert_int_equal(kvs_lines_next(lines, &line, &n, &err), KVS_ERR_PARSE);
    assert_string_equal(err.msg, "mem:2: found a NUL byte, want text");
    expect_line(lines, "d"); /* a reader that skips bad lines goes on */
    kvs_lines_close(lines);
}

static void gzip_and_missing_files_are_named(void **state)
{
    struct kvs_err err = {0};
    struct kvs_lines *lines;
    (void)state;
    assert_int_equal(kvs_lines_mem("t.gz", "\x1f\x8b\x08\0\0", 5, &lines, &err), KVS_ERR_PARSE);
    assert_string_equal(err.msg, "t.gz: found gzip, want plain text or zstd");
    err = (struct kvs_err){0};
    assert_int_equal(kvs_lines_open("/nonexistent/t", &lines, &err), KVS_ERR_ARG);
    assert_string_equal(err.msg, "/nonexistent/t: No such file or directory");
    err = (struct kvs_err){0};
    assert_int_equal(kvs_lines_open("/", &lines, &err), KVS_ERR_IO);
    assert_string_equal(err.msg, "/: Is a directory");
    kvs_lines_close(NULL);
}

static void file_and_pipe_give_the_same_lines(void **state)
{
    size_t n;
    char *text = long_text(&n);
    char path[] = "/tmp/kvsim-lines-XXXXXX";
    struct kvs_err err = {0};
    struct kvs_lines *lines;
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), n);
    close(fd);
    assert_int_equal(kvs_lines_open(path, &lines, &err), KVS_OK);
    assert_int_equal(kvs_lines_size(lines), n);
    assert_string_equal(kvs_lines_file(lines), path);
    expect_same_lines(lines, text);
    kvs_lines_close(lines);
    char command[64];
    snprintf(command, sizeof command, "cat %s", path);
    FILE *pipe = popen(command, "r"); /* NOLINT: a pipe is what is tested */
    int saved = dup(STDIN_FILENO);
    assert_non_null(pipe);
    assert_int_equal(dup2(fileno(pipe), STDIN_FILENO), STDIN_FILENO);
    assert_int_equal(kvs_lines_open("-", &lines, &err), KVS_OK);
    assert_int_equal(kvs_lines_size(lines), 0);
    expect_same_lines(lines, text);
    kvs_lines_close(lines);
    dup2(saved, STDIN_FILENO);
    close(saved);
    pclose(pipe);
    unlink(path);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_end_with_lf_crlf_or_the_file),
        cmocka_unit_test(zstd_gives_the_same_lines_as_plain),
        cmocka_unit_test(broken_zstd_is_an_error),
        cmocka_unit_test(nul_byte_is_named_with_its_line),
        cmocka_unit_test(gzip_and_missing_files_are_named),
        cmocka_unit_test(file_and_pipe_give_the_same_lines),
    };
    return cmocka_run_group_tests_name("lines", tests, NULL, NULL);
}
