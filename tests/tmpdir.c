#include "tmpdir.h"

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
