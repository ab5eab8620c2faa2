#include "hw_set.h"

#include "base/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KNOWN 64

static bool ends_in(const char *text, const char *end)
{
    const size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

/* "found ..., want ...; did you mean" for a name that object (or a list's entries) does not have.
 */
static enum kvs_code unknown(struct kvs_json set, const json_t *in, const char *part,
                             struct kvs_err *err)
{
    const char *names[MAX_KNOWN], *key;
    char known[400];
    unsigned n = 0;
    json_t *item;
    size_t i;
    if (json_is_array(in)) {
        json_array_foreach((json_t *)in, i, item)
        {
            const char *name = json_string_value(json_object_get(item, "name"));
            if (name && n < MAX_KNOWN)
                names[n++] = name;
        }
    } else {
        json_object_foreach((json_t *)in, key, item)
        {
            if (n < MAX_KNOWN)
                names[n++] = key;
        }
    }
    return kvs_json_fail(set, err, KVS_ERR_ARG, "the hardware profile has no \"%s\"%s", part,
                         kvs_known(known, sizeof known, part, names, n));
}

/* The entry of that name in an object, or in a list of objects with names. */
static json_t *entry(json_t *in, const char *name)
{
    json_t *item;
    size_t i;
    if (!json_is_array(in))
        return json_object_get(in, name);
    json_array_foreach(in, i, item)
    {
        const char *its = json_string_value(json_object_get(item, "name"));
        if (its && strcmp(its, name) == 0)
            return item;
    }
    return NULL;
}

/* The SI number that a value stands for: itself, or text with the unit that the figure's name asks
 * for. */
static enum kvs_code number_of(struct kvs_json set, const char *figure, double *value,
                               struct kvs_err *err)
{
    const char *text = json_string_value(set.v);
    struct kvs_err inner = {0};
    enum kvs_code code;
    uint64_t bytes = 0;
    if (!text)
        return kvs_json_double(set, 0, 1e30, value, err);
    if (ends_in(figure, "_bytes_per_s")) {
        code = kvs_parse_rate(text, value, &inner);
    } else if (ends_in(figure, "_bytes")) {
        code = kvs_parse_bytes(text, &bytes, &inner);
        *value = (double)bytes;
    } else if (ends_in(figure, "_s") && !ends_in(figure, "_per_s")) {
        code = kvs_parse_time(text, value, &inner);
    } else {
        code = kvs_parse_double(text, value, &inner);
    }
    return code ? kvs_json_fail(set, err, code, "%s", inner.msg) : KVS_OK;
}

/* A figure of the profile is an object with a source, or null; other entries are plain numbers. */
static json_t *made(const json_t *old, double value)
{
    if (json_is_integer(old))
        return json_integer((json_int_t)value);
    return json_pack("{s:f, s:s, s:s, s:f}", "value", value, "source", "assumed", "ref",
                     "set by the workload", "rel_error", 0.0);
}

static enum kvs_code set_one(json_t *root, struct kvs_json set, const char *path,
                             struct kvs_err *err)
{
    char *copy = strdup(path), *rest = copy;
    json_t *at = root;
    const char *last = path;
    double value = 0;
    enum kvs_code code = copy ? KVS_OK : kvs_nomem(err);
    for (char *part; !code && (part = strsep(&rest, ".")) != NULL;) {
        json_t *next = entry(at, part);
        if (!next)
            code = unknown(set, at, part, err);
        else if (!rest)
            last = part;
        else
            at = next;
    }
    if (!code) {
        json_t *old = json_object_get(at, last);
        const bool figure =
            json_is_null(old) || json_is_integer(old) || json_object_get(old, "value");
        if (!figure)
            code =
                kvs_json_fail(set, err, KVS_ERR_ARG, "%s is no figure; want the path of one", path);
        else if (!(code = number_of(set, last, &value, err)) &&
                 json_object_set_new(at, last, made(old, value)))
            code = kvs_nomem(err);
    }
    free(copy);
    return code;
}

enum kvs_code kvs_hw_set(struct kvs_doc *profile, struct kvs_json sets, struct kvs_err *err)
{
    json_t *root = (json_t *)kvs_doc_root(profile).v; /* the document is the caller's to change */
    const char *path;
    json_t *item;
    enum kvs_code code = kvs_json_object(sets, err);
    if (code)
        return code;
    json_object_foreach((json_t *)sets.v, path, item)
    {
        if ((code = set_one(root, kvs_json_get(sets, path), path, err)))
            return code;
    }
    return KVS_OK;
}
