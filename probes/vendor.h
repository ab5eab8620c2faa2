/*
 * vendor.h - libraries that may be there or not, opened at run time by name.
 */
#ifndef KVS_PROBES_VENDOR_H
#define KVS_PROBES_VENDOR_H

#include "base/err.h"

/* One function to find: where its address goes. */
struct kvs_symbol {
    const char *name;
    void (**to)(void);
};

/*
 * Opens the first of names (NULL-ended, newest first) that is there and has all n symbols. In dir,
 * or where the system looks if that is NULL; a library in a folder of stubs is refused. *lib is
 * closed with kvs_vendor_close. KVS_ERR_ABSENT says what was tried.
 */
KVS_MUST_CHECK enum kvs_code kvs_vendor_open(const char *dir, const char *const *names,
                                             const struct kvs_symbol *symbols, unsigned n,
                                             void **lib, struct kvs_err *err);
void kvs_vendor_close(void *lib); /* accepts NULL */

#endif
