#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *kvs_shared(const char *name)
{
    static char path[4096];
    const char *root = getenv("KVS_SHARED");
    snprintf(path, sizeof path, "%s/%s", root ? root : "../shared", name);
    return access(path, R_OK) == 0 ? path : NULL;
}
