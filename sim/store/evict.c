#include "evict.h"

#include <string.h>

#define X(name) extern const struct kvs_evict_ops kvs_evict_##name;
#include "evict_list.h"
#undef X

#define X(name) &kvs_evict_##name,
const struct kvs_evict_ops *const kvs_evict_all[] = {
#include "evict_list.h" // NOLINT(readability-duplicate-include)
    NULL,
};
#undef X

enum kvs_code kvs_evict_find(const char *name, const struct kvs_evict_ops **ops,
                             struct kvs_err *err)
{
    const char *names[sizeof kvs_evict_all / sizeof kvs_evict_all[0]];
    unsigned n = 0;
    *ops = NULL;
    for (; kvs_evict_all[n]; n++) {
        names[n] = kvs_evict_all[n]->name;
        if (strcmp(names[n], name) == 0) {
            *ops = kvs_evict_all[n];
            return KVS_OK;
        }
    }
    const char *near = kvs_nearest(name, names, n);
    return kvs_fail(err, KVS_ERR_ARG, "\"%s\" is no eviction policy; %s \"%s\"", name,
                    near ? "did you mean" : "the first is", near ? near : names[0]);
}

double kvs_evict_s_per_byte(const struct kvs_block_info *info)
{
    double s = info->recompute_s > 0 ? (double)info->recompute_s : 1.0;
    return s / (double)(info->n_bytes ? info->n_bytes : 1);
}
