#include "sched.h"

#include <stddef.h>
#include <string.h>

#define X(name) extern const struct kvs_sched_ops kvs_sched_##name;
#include "sched_list.h"
#undef X

const struct kvs_sched_ops *const kvs_sched_list[] = {
#define X(name) &kvs_sched_##name,
#include "sched_list.h"
#undef X
    NULL,
};

const struct kvs_sched_ops *kvs_sched_find(const char *name)
{
    for (size_t i = 0; kvs_sched_list[i]; i++)
        if (!strcmp(kvs_sched_list[i]->name, name))
            return kvs_sched_list[i];
    return NULL;
}
