#include "admit.h"

#include <string.h>

#define X(name) extern const struct kvs_admit_ops kvs_admit_##name;
#include "admit_list.h"
#undef X

#define X(name) &kvs_admit_##name,
const struct kvs_admit_ops *const kvs_admit_all[] = {
#include "admit_list.h" // NOLINT(readability-duplicate-include)
    NULL,
};
#undef X

const struct kvs_admit_ops *kvs_admit_find(const char *name)
{
    for (int i = 0; kvs_admit_all[i]; i++)
        if (strcmp(kvs_admit_all[i]->name, name) == 0)
            return kvs_admit_all[i];
    return NULL;
}
