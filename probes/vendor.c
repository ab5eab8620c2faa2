#include "vendor.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A stub links, and fails at every call. */
static bool is_stub(void (*symbol)(void))
{
    Dl_info info;
    void *address;
    memcpy(&address, &symbol, sizeof address);
    return dladdr(address, &info) && info.dli_fname && strstr(info.dli_fname, "/stubs/");
}

static enum kvs_code find_all(void *lib, const char *name, const struct kvs_symbol *symbols,
                              unsigned n, struct kvs_err *err)
{
    for (unsigned i = 0; i < n; i++) {
        void *found = dlsym(lib, symbols[i].name);
        if (!found)
            return kvs_fail(err, KVS_ERR_ABSENT, "%s has no %s", name, symbols[i].name);
        memcpy(symbols[i].to, &found, sizeof found); /* ISO C has no cast from data to function */
    }
    if (n && is_stub(*symbols[0].to))
        return kvs_fail(err, KVS_ERR_ABSENT, "%s is a stub for linking, no driver", name);
    return KVS_OK;
}

enum kvs_code kvs_vendor_open(const char *dir, const char *const *names,
                              const struct kvs_symbol *symbols, unsigned n, void **lib,
                              struct kvs_err *err)
{
    enum kvs_code code = KVS_ERR_ABSENT;
    const char *first = names[0];
    *lib = NULL;
    for (; *names && code; names++) {
        char path[4096];
        struct kvs_err own = {KVS_OK, ""};
        snprintf(path, sizeof path, "%s%s%s", dir ? dir : "", dir ? "/" : "", *names);
        void *open = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!open)
            continue;
        code = find_all(open, *names, symbols, n, &own);
        if (code) {
            kvs_fail(err, code, "%s", own.msg); /* the first says most */
            dlclose(open);
        } else {
            *lib = open;
        }
    }
    if (code)
        return kvs_fail(err, KVS_ERR_ABSENT, "%s is not on this machine", first);
    if (err)
        err->code = KVS_OK; /* an older name did */
    return KVS_OK;
}

void kvs_vendor_close(void *lib)
{
    if (lib)
        dlclose(lib);
}
