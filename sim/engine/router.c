#include "router.h"

#include <stddef.h>
#include <string.h>

#define X(name) extern const struct kvs_router_ops kvs_router_##name;
#include "router_list.h"
#undef X

const struct kvs_router_ops *const kvs_router_list[] = {
#define X(name) &kvs_router_##name,
#include "router_list.h"
#undef X
    NULL,
};

const struct kvs_router_ops *kvs_router_find(const char *name)
{
    for (size_t i = 0; kvs_router_list[i]; i++)
        if (!strcmp(kvs_router_list[i]->name, name))
            return kvs_router_list[i];
    return NULL;
}
