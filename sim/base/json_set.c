/*
 * json_set.c - `--set PATH=VALUE`: a document with one value changed.
 */
#include "json_in.h"

#include <ctype.h>
#include <string.h>

/* One step of a path: a key, or an index. */
struct step {
    char key[256];
    size_t index;
    bool is_index;
};

/* ["..."] with \" and \\, from behind the opening quote. NULL: not closed, or too long. */
static const char *read_quoted(const char *at, struct step *step)
{
    size_t n = 0;
    for (; *at && *at != '"'; at++) {
        if (*at == '\\' && at[1])
            at++;
        if (n + 1 >= sizeof step->key)
            return NULL;
        step->key[n++] = *at;
    }
    step->key[n] = '\0';
    return at[0] == '"' && at[1] == ']' ? at + 2 : NULL;
}

static const char *read_index(const char *at, struct step *step)
{
    step->is_index = true;
    if (!isdigit((unsigned char)*at))
        return NULL;
    for (; isdigit((unsigned char)*at); at++) {
        if (step->index > 1u << 24)
            return NULL;
        step->index = step->index * 10 + (size_t)(*at - '0');
    }
    return *at == ']' ? at + 1 : NULL;
}

static const char *read_key(const char *at, struct step *step)
{
    size_t n = strcspn(at, ".[");
    if (n == 0 || n >= sizeof step->key)
        return NULL;
    memcpy(step->key, at, n);
    step->key[n] = '\0';
    return at + n;
}

/* Reads a step at *at and moves behind it. false: not a path. */
static bool next_step(const char **at, bool first, struct step *step)
{
    const char *c = *at;
    *step = (struct step){0};
    if (c[0] == '[' && c[1] == '"')
        c = read_quoted(c + 2, step);
    else if (c[0] == '[')
        c = read_index(c + 1, step);
    else if (first || *c == '.')
        c = read_key(c + !first, step);
    else
        c = NULL;
    *at = c;
    return c != NULL;
}

/* What stands at step in container, NULL if nothing. false: it can't be asked there. */
static bool look(const json_t *container, const struct step *step, json_t **found)
{
    *found = NULL;
    if (step->is_index) {
        *found = json_array_get(container, step->index);
        return json_is_array(container) && step->index <= json_array_size(container);
    }
    *found = json_object_get(container, step->key);
    return json_is_object(container);
}

/* Takes over value; false: no memory. */
static bool put(json_t *container, const struct step *step, json_t *value)
{
    if (!step->is_index)
        return json_object_set_new(container, step->key, value) == 0;
    if (step->index < json_array_size(container))
        return json_array_set_new(container, step->index, value) == 0;
    return json_array_append_new(container, value) == 0;
}

static enum kvs_code set_fail(const char *path, const char *upto, const json_t *container,
                              const struct step *step, struct kvs_err *err)
{
    int n = (int)(upto - path);
    if (!step->is_index)
        return kvs_fail(err, KVS_ERR_ARG, "--set %s: %.*s: what holds it is %s, no object", path, n,
                        path, json_is_array(container) ? "an array" : "a plain value");
    if (!json_is_array(container))
        return kvs_fail(err, KVS_ERR_ARG, "--set %s: %.*s: what holds it is no array", path, n,
                        path);
    return kvs_fail(err, KVS_ERR_ARG,
                    "--set %s: %.*s: the array has %zu elements; [%zu] appends one", path, n, path,
                    json_array_size(container), json_array_size(container));
}

static json_t *parse_value(const char *path, const char *text, struct kvs_err *err)
{
    json_error_t error = {.text = ""};
    json_t *value = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!value && !error.text[0])
        kvs_nomem(err);
    else if (!value)
        kvs_fail(err, KVS_ERR_PARSE,
                 "--set %s: %.80s is no JSON (%s); a text needs its quotes: --set '%s=\"...\"'",
                 path, text, error.text, path);
    return value;
}

/* Sets value, which it takes over, at path below root. */
static enum kvs_code set_at(json_t *root, const char *path, json_t *value, struct kvs_err *err)
{
    json_t *container = root, *found;
    struct step step;
    const char *at = path;
    for (int depth = 0;; depth++) {
        if (!next_step(&at, depth == 0, &step) || depth >= KVS_JSON_DEPTH_MAX) {
            json_decref(value);
            return kvs_fail(
                err, KVS_ERR_ARG,
                "--set %s: no path; want one like cluster.replicas or tiers[0].capacity", path);
        }
        if (!look(container, &step, &found)) {
            json_decref(value);
            return set_fail(path, at, container, &step, err);
        }
        if (*at == '\0')
            return put(container, &step, value) ? KVS_OK : kvs_nomem(err);
        if (!found) {
            found = at[0] == '[' && at[1] != '"' ? json_array() : json_object();
            if (!found || !put(container, &step, found)) {
                json_decref(value);
                return kvs_nomem(err);
            }
        }
        container = found;
    }
}

enum kvs_code kvs_doc_set(struct kvs_doc *doc, const char *path, const char *text,
                          struct kvs_err *err)
{
    struct kvs_err local = {0};
    json_t *value = parse_value(path, text, &local);
    if (!value)
        return kvs_fail(err, local.code, "%s", local.msg);
    json_t *root = json_deep_copy(doc->root); /* a failure leaves the document as it was */
    if (!root) {
        json_decref(value);
        return kvs_nomem(err);
    }
    if (set_at(root, path, value, &local) == KVS_OK && kvs_json_too_deep(root, 0))
        kvs_fail(&local, KVS_ERR_ARG, "--set %s: deeper than %d levels", path, KVS_JSON_DEPTH_MAX);
    if (local.code) {
        json_decref(root);
        return kvs_fail(err, local.code, "%s", local.msg);
    }
    json_decref(doc->root);
    doc->root = root;
    return KVS_OK;
}
