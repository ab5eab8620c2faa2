#include "tmpdir.h"

#include "test.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char root[64];

int tmpdir_make(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/kvsim-test-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

int tmpdir_enter(void **state)
{
    return tmpdir_make(state) == 0 && chdir(root) == 0 ? 0 : -1;
}

int tmpdir_drop(void **state)
{
    char command[160];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command); /* NOLINT: a path of our own making */
}

const char *tmpdir(void)
{
    assert(root[0]); /* tmpdir_make or tmpdir_enter sets a test program up */
    return root;
}

static FILE *open_file(const char *name, const char *mode)
{
    char path[500];
    snprintf(path, sizeof path, "%s/%s", name[0] == '/' ? "" : tmpdir(), name);
    FILE *file = fopen(path, mode);
    if (!file)
        fail_msg("%s cannot be opened", path);
    return file;
}

void tmpdir_write(const char *name, const char *text)
{
    FILE *to = open_file(name, "w");
    assert_true(fputs(text, to) >= 0);
    assert_int_equal(fclose(to), 0);
}

char *tmpdir_read(const char *name)
{
    FILE *from = open_file(name, "rb");
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, from) < (1 << 20) - 1);
    fclose(from);
    return text;
}
