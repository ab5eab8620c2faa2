#include "workload_in.h"

#include "base/data.h"
#include "store/evict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kvs_code kvs_wl_unknown(struct kvs_json node, struct kvs_err *err, const char *found,
                             const char *const *names, uint32_t n)
{
    char list[256] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < n && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
    const char *near = kvs_nearest(found, names, n);
    return kvs_json_fail(node, err, KVS_ERR_ARG, "found \"%s\", want one of %s%s%s%s", found, list,
                         near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

enum kvs_code kvs_wl_fail_at(struct kvs_json node, struct kvs_err *err, enum kvs_code code,
                             const struct kvs_err *inner)
{
    return kvs_json_fail(node, err, code, "%s", inner->msg);
}

static bool is_path(const char *name)
{
    size_t n = strlen(name);
    return strchr(name, '/') || (n > 5 && strcmp(name + n - 5, ".json") == 0);
}

char *kvs_wl_name_or_path(const struct kvs_workload_in *in, const char *name)
{
    return is_path(name) ? kvs_path_from(kvs_doc_file(in->doc), name) : strdup(name);
}

enum kvs_code kvs_wl_find_file(const struct kvs_workload_in *in, struct kvs_json node,
                               const char *name, char **file, struct kvs_err *err)
{
    *file = kvs_wl_name_or_path(in, name);
    if (!*file)
        return kvs_nomem(err);
    if (!is_path(name) || access(*file, R_OK) == 0)
        return KVS_OK;
    kvs_json_fail(node, err, KVS_ERR_ARG, "no file %s; want a file or a name of configs/", *file);
    free(*file);
    *file = NULL;
    return KVS_ERR_ARG;
}

enum kvs_code kvs_wl_evict(struct kvs_json node, const char *name,
                           const struct kvs_evict_ops **evict, struct kvs_err *err)
{
    const char *names[KVS_WL_N_NAME];
    uint32_t n = 0;
    for (uint32_t i = 0; kvs_evict_all[i] && n < KVS_WL_N_NAME; i++) {
        names[n++] = kvs_evict_all[i]->name;
        if (strcmp(names[n - 1], name) == 0) {
            *evict = kvs_evict_all[i];
            return KVS_OK;
        }
    }
    return kvs_wl_unknown(node, err, name, names, n);
}

enum kvs_code kvs_wl_link(struct kvs_json node, const struct kvs_hw *hw, const char *name,
                          uint32_t *link_i, struct kvs_err *err)
{
    const char *names[KVS_MAX_LINK];
    for (*link_i = 0; *link_i < hw->n_link; (*link_i)++) {
        names[*link_i] = hw->link[*link_i].name;
        if (strcmp(names[*link_i], name) == 0)
            return KVS_OK;
    }
    return kvs_wl_unknown(node, err, name, names, hw->n_link);
}

json_t *kvs_wl_record_path(const struct kvs_workload_in *in, const char *file)
{
    char *path = kvs_path_from(kvs_doc_file(in->doc), file);
    char *real = path ? realpath(path, NULL) : NULL;
    json_t *text = path ? json_string(real ? real : path) : NULL;
    free(real);
    free(path);
    return text;
}

json_t *kvs_wl_record_name(const struct kvs_workload_in *in, const char *name)
{
    return is_path(name) ? kvs_wl_record_path(in, name) : json_string(name);
}
