#include "json_in.h"

#include "arena.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 80 };

/* --- reading --- */

bool kvs_json_too_deep(const json_t *v, int depth)
{
    const char *key;
    size_t i;
    json_t *item;
    if (depth > KVS_JSON_DEPTH_MAX)
        return true;
    json_array_foreach(v, i, item)
    {
        if (kvs_json_too_deep(item, depth + 1))
            return true;
    }
    /* json_object_foreach wants a json_t that is not const, to delete from; nothing is deleted */
    json_t *object = (json_t *)v;
    json_object_foreach(object, key, item)
    {
        if (kvs_json_too_deep(item, depth + 1))
            return true;
    }
    return false;
}

static json_t *load(const char *name, const char *text, size_t n_byte, struct kvs_err *err)
{
    json_error_t error = {.text = ""};
    json_t *root = json_loadb(text, n_byte, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!root) {
        enum json_error_code code = json_error_code(&error);
        /* where memory runs out, Jansson often sets no error at all */
        if (code == json_error_out_of_memory || !error.text[0])
            kvs_nomem(err);
        else
            kvs_fail(err, KVS_ERR_PARSE, "%s:%d:%d: %s%s", name, error.line, error.column,
                     code == json_error_numeric_overflow ? "a number does not fit 64 bits: " : "",
                     error.text);
        return NULL;
    }
    if (kvs_json_too_deep(root, 0)) {
        kvs_fail(err, KVS_ERR_PARSE, "%s: deeper than %d levels", name, KVS_JSON_DEPTH_MAX);
        json_decref(root);
        return NULL;
    }
    return root;
}

enum kvs_code kvs_doc_parse(const char *name, const char *text, size_t n_byte, struct kvs_doc **out,
                            struct kvs_err *err)
{
    struct kvs_err local = {0};
    struct kvs_doc *doc = calloc(1, sizeof *doc);
    *out = NULL;
    if (!doc)
        return kvs_nomem(err);
    doc->arena = kvs_arena_new();
    doc->file = strdup(name);
    if (!doc->arena || !doc->file)
        kvs_nomem(&local);
    else
        doc->root = load(name, text, n_byte, &local);
    if (!doc->root) {
        kvs_doc_free(doc);
        return kvs_fail(err, local.code, "%s", local.msg);
    }
    *out = doc;
    return KVS_OK;
}

/* The whole of file in fresh memory; NULL: see errno. */
static char *read_all(FILE *file, size_t *n_byte)
{
    size_t room = 0;
    char *text = NULL;
    *n_byte = 0;
    do {
        if (*n_byte == room) {
            room = room ? room * 2 : 16384;
            char *more = realloc(text, room);
            if (!more) {
                free(text);
                return NULL;
            }
            text = more;
        }
        *n_byte += fread(text + *n_byte, 1, room - *n_byte, file);
    } while (!feof(file) && !ferror(file));
    if (ferror(file)) {
        free(text);
        return NULL;
    }
    return text;
}

enum kvs_code kvs_doc_open(const char *name, struct kvs_doc **doc, struct kvs_err *err)
{
    size_t n_byte;
    *doc = NULL;
    FILE *file = fopen(name, "rbe");
    if (!file)
        return kvs_fail(err, kvs_errno_code(errno), "%s: %s", name, strerror(errno));
    errno = 0;
    char *text = read_all(file, &n_byte);
    int error = errno;
    (void)fclose(file); /* was only read */
    if (!text && error == ENOMEM)
        return kvs_nomem(err);
    if (!text)
        return kvs_fail(err, kvs_errno_code(error), "%s: %s", name, strerror(error));
    enum kvs_code code = kvs_doc_parse(name, text, n_byte, doc, err);
    free(text);
    return code;
}

void kvs_doc_free(struct kvs_doc *doc)
{
    if (!doc)
        return;
    json_decref(doc->root);
    kvs_arena_free(doc->arena);
    free(doc->file);
    free(doc);
}

struct kvs_json kvs_doc_root(const struct kvs_doc *doc)
{
    return (struct kvs_json){.v = doc->root, .doc = doc, .path = ""};
}

const char *kvs_doc_file(const struct kvs_doc *doc)
{
    return doc->file;
}

struct kvs_arena *kvs_doc_arena(const struct kvs_doc *doc)
{
    return doc->arena;
}

struct text {
    char *at;
    size_t n, room;
    bool nomem;
};

static int add_text(const char *piece, size_t n_byte, void *ctx)
{
    struct text *text = ctx;
    if (text->room - text->n <= n_byte && !text->nomem) {
        size_t room = 2 * text->room + n_byte + 1;
        char *more = realloc(text->at, room);
        text->nomem = !more;
        if (more) {
            text->at = more;
            text->room = room;
        }
    }
    if (text->nomem)
        return -1;
    memcpy(text->at + text->n, piece, n_byte);
    text->n += n_byte;
    text->at[text->n] = '\0';
    return 0;
}

/* Into a buffer of our own: json_dumps 2.14 that runs out of memory may leave a part out. */
char *kvs_doc_dump(const struct kvs_doc *doc)
{
    struct text text = {0};
    int failed = json_dump_callback(doc->root, add_text, &text,
                                    JSON_SORT_KEYS | JSON_INDENT(2) | JSON_ENCODE_ANY);
    if (!failed && !text.nomem)
        return text.at;
    free(text.at);
    return NULL;
}

/* --- walking --- */

static bool plain_key(const char *key)
{
    for (const char *c = key; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '_' && *c != '-')
            return false;
    return *key != '\0';
}

/* path.key, or path["key"] where key is not plain. */
static const char *key_path(struct kvs_json object, const char *key)
{
    size_t n_path = strlen(object.path), n_key = strlen(key);
    char *path = kvs_arena_alloc(object.doc->arena, n_path + 2 * n_key + 5, 1);
    if (!path)
        return "(no memory for the path)";
    char *to = stpcpy(path, object.path);
    if (plain_key(key)) {
        if (n_path)
            *to++ = '.';
        stpcpy(to, key);
        return path;
    }
    *to++ = '[';
    *to++ = '"';
    for (const char *c = key; *c; c++) {
        if (*c == '"' || *c == '\\')
            *to++ = '\\';
        *to++ = *c;
    }
    *to++ = '"';
    *to = ']';
    return path;
}

struct kvs_json kvs_json_get(struct kvs_json object, const char *key)
{
    return (struct kvs_json){
        .v = json_object_get(object.v, key), .doc = object.doc, .path = key_path(object, key)};
}

struct kvs_json kvs_json_at(struct kvs_json array, size_t index)
{
    size_t room = strlen(array.path) + 24;
    char *path = kvs_arena_alloc(array.doc->arena, room, 1);
    if (path)
        snprintf(path, room, "%s[%zu]", array.path, index);
    return (struct kvs_json){.v = json_array_get(array.v, index),
                             .doc = array.doc,
                             .path = path ? path : "(no memory for the path)"};
}

size_t kvs_json_size(struct kvs_json node)
{
    return json_is_array(node.v) ? json_array_size(node.v) : json_object_size(node.v);
}

/* --- messages --- */

enum kvs_code kvs_json_fail(struct kvs_json node, struct kvs_err *err, enum kvs_code code,
                            const char *fmt, ...)
{
    char msg[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(msg, sizeof msg, fmt, args);
    va_end(args);
    return kvs_fail(err, code, "%s: %s: %s", node.doc->file, *node.path ? node.path : "(root)",
                    msg);
}

/* What was found, for messages: "\"5 XB\"", "1.5", "an array"; into buf where it must. */
static const char *text_of(struct kvs_json node, char buf[TEXT_MAX])
{
    switch (node.v ? json_typeof(node.v) : JSON_NULL) {
    case JSON_STRING:
        snprintf(buf, TEXT_MAX, "\"%.60s%s\"", json_string_value(node.v),
                 json_string_length(node.v) > 60 ? "..." : "");
        break;
    case JSON_INTEGER:
        snprintf(buf, TEXT_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(node.v));
        break;
    case JSON_REAL:
        snprintf(buf, TEXT_MAX, "%.15g", json_real_value(node.v));
        break;
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return node.v ? "null" : "nothing";
    }
    return buf;
}

enum kvs_code kvs_json_want(struct kvs_json node, struct kvs_err *err, enum kvs_code code,
                            const char *want)
{
    char found[TEXT_MAX];
    if (!node.v)
        return kvs_json_fail(node, err, KVS_ERR_PARSE, "missing; want %s", want);
    return kvs_json_fail(node, err, code, "found %s, want %s", text_of(node, found), want);
}

/* --- typed reads --- */

enum kvs_code kvs_json_object(struct kvs_json node, struct kvs_err *err)
{
    return json_is_object(node.v) ? KVS_OK : kvs_json_want(node, err, KVS_ERR_PARSE, "an object");
}

enum kvs_code kvs_json_array(struct kvs_json node, struct kvs_err *err)
{
    return json_is_array(node.v) ? KVS_OK : kvs_json_want(node, err, KVS_ERR_PARSE, "an array");
}

enum kvs_code kvs_json_str(struct kvs_json node, const char **text, struct kvs_err *err)
{
    *text = json_string_value(node.v);
    return *text ? KVS_OK : kvs_json_want(node, err, KVS_ERR_PARSE, "a string");
}

enum kvs_code kvs_json_bool(struct kvs_json node, bool *value, struct kvs_err *err)
{
    *value = json_is_true(node.v);
    return json_is_boolean(node.v) ? KVS_OK
                                   : kvs_json_want(node, err, KVS_ERR_PARSE, "true or false");
}

bool kvs_json_whole(struct kvs_json node, int64_t *value)
{
    *value = 0;
    if (json_is_integer(node.v)) {
        *value = json_integer_value(node.v);
        return true;
    }
    double real = json_real_value(node.v); /* 0 if it is no real */
    if (!json_is_real(node.v) || fabs(real) > 0x1p53 || real != floor(real))
        return false;
    *value = (int64_t)real;
    return true;
}

enum kvs_code kvs_json_i64(struct kvs_json node, int64_t min, int64_t max, int64_t *value,
                           struct kvs_err *err)
{
    char want[96] = "a whole number";
    bool whole = kvs_json_whole(node, value);
    if (whole && *value >= min && *value <= max)
        return KVS_OK;
    *value = 0;
    if (max < INT64_MAX)
        snprintf(want, sizeof want, "a whole number in %" PRId64 "..%" PRId64, min, max);
    else if (min > INT64_MIN)
        snprintf(want, sizeof want, "a whole number from %" PRId64 " up", min);
    return kvs_json_want(node, err, whole ? KVS_ERR_RANGE : KVS_ERR_PARSE, want);
}

enum kvs_code kvs_json_double(struct kvs_json node, double min, double max, double *value,
                              struct kvs_err *err)
{
    char want[96] = "a number";
    bool number = json_is_number(node.v);
    *value = json_number_value(node.v);
    if (number && *value >= min && *value <= max)
        return KVS_OK;
    *value = 0;
    if (isfinite(max))
        snprintf(want, sizeof want, "a number in %.15g..%.15g", min, max);
    else if (isfinite(min))
        snprintf(want, sizeof want, "a number from %.15g up", min);
    return kvs_json_want(node, err, number ? KVS_ERR_RANGE : KVS_ERR_PARSE, want);
}

enum kvs_code kvs_json_only(struct kvs_json object, const char *const *names, unsigned n,
                            struct kvs_err *err)
{
    const char *key;
    json_t *item, *v = (json_t *)object.v; /* as in too_deep */
    json_object_foreach(v, key, item)
    {
        unsigned i = 0;
        while (i < n && strcmp(names[i], key) != 0)
            i++;
        if (i == n) {
            char known[400];
            return kvs_json_fail(kvs_json_get(object, key), err, KVS_ERR_PARSE, "unknown key%s",
                                 kvs_known(known, sizeof known, key, names, n));
        }
    }
    return KVS_OK;
}
