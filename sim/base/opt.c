#include "opt_in.h"

#include "arena.h"
#include "units.h"

#include <assert.h>
#include <string.h>

/* --- what would do: every such text of kvsim --- */

/* " in 1..65536", " from 1 up", or nothing. */
void kvs_opt_range(const struct kvs_opt *opt, char *buf, size_t room)
{
    bool bounded = opt->max < 0x1p63;
    buf[0] = '\0';
    if (opt->min == 0 && (opt->max == 0 || !bounded))
        return;
    if (bounded)
        snprintf(buf, room, " in %.15g..%.15g", opt->min, opt->max);
    else
        snprintf(buf, room, " from %.15g up", opt->min);
}

void kvs_opt_names(const struct kvs_opt *opt, char *buf, size_t room)
{
    size_t at = (size_t)snprintf(buf, room, "one of ");
    for (unsigned i = 0; opt->names[i] && at < room; i++)
        at += (size_t)snprintf(buf + at, room - at, "%s%s", i ? ", " : "", opt->names[i]);
}

const char *kvs_opt_want(const struct kvs_opt *opt, char buf[KVS_OPT_WANT_MAX])
{
    static const char *const noun[] = {
        [KVS_OPT_FLAG] = "true or false",
        [KVS_OPT_U64] = "a whole number",
        [KVS_OPT_DOUBLE] = "a number",
        [KVS_OPT_BYTES] = "bytes like \"4TiB\", \"512GB\" or a number",
        [KVS_OPT_TOK] = "tokens like \"4k\", \"4Ki\" or a whole number",
        [KVS_OPT_RATE] = "a rate like \"25GB/s\", \"100Gb/s\" or a number of bytes per second",
        [KVS_OPT_TIME] = "a time like \"150ms\", \"2s\" or a number of seconds",
        [KVS_OPT_STR] = "a string",
        [KVS_OPT_ENUM] = "",
        [KVS_OPT_LIST] = "a list of strings",
        [KVS_OPT_MANY] = "a string, as often as wanted",
        [KVS_OPT_NODE] = "an object or array",
    };
    char range[64];
    if (opt->type == KVS_OPT_ENUM) {
        kvs_opt_names(opt, buf, KVS_OPT_WANT_MAX);
        return buf;
    }
    kvs_opt_range(opt, range, sizeof range);
    snprintf(buf, KVS_OPT_WANT_MAX, "%s%s", noun[opt->type], range);
    return buf;
}

/* kvs_opt_want, and the nearest name if found is none of an option's names. */
const char *kvs_opt_want_for(const struct kvs_opt *opt, const char *found,
                             char buf[KVS_OPT_WANT_MAX])
{
    unsigned n = 0;
    kvs_opt_want(opt, buf);
    if (opt->type != KVS_OPT_ENUM)
        return buf;
    while (opt->names[n])
        n++;
    const char *near = kvs_nearest(found, opt->names, n);
    size_t at = strlen(buf);
    if (near)
        snprintf(buf + at, KVS_OPT_WANT_MAX - at, "; did you mean \"%s\"?", near);
    return buf;
}

/* --- setting a field --- */

void *kvs_opt_field(const struct kvs_opt *opt, void *out)
{
    return (char *)out + opt->offset;
}

static bool in_range(const struct kvs_opt *opt, double value)
{
    return (opt->min == 0 && opt->max == 0) || (value >= opt->min && value <= opt->max);
}

static enum kvs_code set_u64(const struct kvs_opt *opt, uint64_t value, void *out)
{
    *(uint64_t *)kvs_opt_field(opt, out) = value;
    return in_range(opt, (double)value) ? KVS_OK : KVS_ERR_RANGE;
}

static enum kvs_code set_double(const struct kvs_opt *opt, double value, void *out)
{
    *(double *)kvs_opt_field(opt, out) = value;
    return in_range(opt, value) ? KVS_OK : KVS_ERR_RANGE;
}

static enum kvs_code set_name(const struct kvs_opt *opt, const char *name, void *out)
{
    for (int i = 0; opt->names[i]; i++)
        if (strcmp(opt->names[i], name) == 0) {
            *(int *)kvs_opt_field(opt, out) = i;
            return KVS_OK;
        }
    return KVS_ERR_PARSE;
}

bool kvs_strs_add(struct kvs_strs *strs, const char *text)
{
    if (strs->n == sizeof strs->v / sizeof *strs->v)
        return false;
    strs->v[strs->n++] = text;
    return true;
}

/* A number as text, with its unit: what a JSON string, a command line and a default share. */
enum kvs_code kvs_opt_set_text(const struct kvs_opt *opt, const char *text, void *out)
{
    uint64_t whole = 0;
    double real = 0;
    enum kvs_code code = KVS_OK;
    switch (opt->type) {
    case KVS_OPT_FLAG:
        *(bool *)kvs_opt_field(opt, out) = strcmp(text, "true") == 0;
        return *(bool *)kvs_opt_field(opt, out) || strcmp(text, "false") == 0 ? KVS_OK
                                                                              : KVS_ERR_PARSE;
    case KVS_OPT_U64:
        code = kvs_parse_u64(text, &whole, NULL);
        return code ? code : set_u64(opt, whole, out);
    case KVS_OPT_BYTES:
        code = kvs_parse_bytes(text, &whole, NULL);
        return code ? code : set_u64(opt, whole, out);
    case KVS_OPT_TOK:
        code = kvs_parse_tok(text, &whole, NULL);
        return code ? code : set_u64(opt, whole, out);
    case KVS_OPT_DOUBLE:
        code = kvs_parse_double(text, &real, NULL);
        return code ? code : set_double(opt, real, out);
    case KVS_OPT_RATE:
        code = kvs_parse_rate(text, &real, NULL);
        return code ? code : set_double(opt, real, out);
    case KVS_OPT_TIME:
        code = kvs_parse_time(text, &real, NULL);
        return code ? code : set_double(opt, real, out);
    case KVS_OPT_STR:
        *(const char **)kvs_opt_field(opt, out) = text;
        return KVS_OK;
    case KVS_OPT_ENUM:
        return set_name(opt, text, out);
    case KVS_OPT_MANY:
        return kvs_strs_add(kvs_opt_field(opt, out), text) ? KVS_OK : KVS_ERR_RANGE;
    case KVS_OPT_LIST:
    case KVS_OPT_NODE:
        break;
    }
    return KVS_ERR_PARSE;
}

/* The field before anything is read: nothing. */
void kvs_opt_clear(const struct kvs_opt *opt, void *out)
{
    static const size_t size[] = {
        [KVS_OPT_FLAG] = sizeof(bool),
        [KVS_OPT_U64] = sizeof(uint64_t),
        [KVS_OPT_DOUBLE] = sizeof(double),
        [KVS_OPT_BYTES] = sizeof(uint64_t),
        [KVS_OPT_TOK] = sizeof(uint64_t),
        [KVS_OPT_RATE] = sizeof(double),
        [KVS_OPT_TIME] = sizeof(double),
        [KVS_OPT_STR] = sizeof(const char *),
        [KVS_OPT_ENUM] = sizeof(int),
        [KVS_OPT_LIST] = sizeof(struct kvs_strs),
        [KVS_OPT_MANY] = sizeof(struct kvs_strs),
        [KVS_OPT_NODE] = sizeof(struct kvs_json),
    };
    memset(kvs_opt_field(opt, out), 0, size[opt->type]);
}

bool kvs_opt_may_be_absent(const struct kvs_opt *opt)
{
    return !opt->required && (opt->def || opt->type == KVS_OPT_STR || opt->type == KVS_OPT_LIST ||
                              opt->type == KVS_OPT_MANY || opt->type == KVS_OPT_NODE);
}

/* A default is ours: one that can't be read is a bug. */
void kvs_opt_set_default(const struct kvs_opt *opt, void *out)
{
    if (!opt->def)
        return;
    if (opt->type == KVS_OPT_LIST) {
        assert(!strchr(opt->def, ','));
        kvs_strs_add(kvs_opt_field(opt, out), opt->def);
        return;
    }
    enum kvs_code code = kvs_opt_set_text(opt, opt->def, out);
    assert(code == KVS_OK);
    (void)code;
}

/* --- JSON --- */

static enum kvs_code set_list(const struct kvs_opt *opt, struct kvs_json node, void *out,
                              struct kvs_err *err)
{
    struct kvs_strs *strs = kvs_opt_field(opt, out);
    enum kvs_code code = kvs_json_array(node, NULL);
    if (code)
        return kvs_json_want(node, err, code, "an array of strings");
    for (size_t i = 0; i < kvs_json_size(node); i++) {
        const char *text;
        code = kvs_json_str(kvs_json_at(node, i), &text, err);
        if (code)
            return code;
        if (!kvs_strs_add(strs, text))
            return kvs_json_fail(node, err, KVS_ERR_RANGE, "found %zu strings, want at most %zu",
                                 kvs_json_size(node), sizeof strs->v / sizeof *strs->v);
    }
    return KVS_OK;
}

/* A JSON number where bytes, tokens or a count are wanted. */
static enum kvs_code set_whole(const struct kvs_opt *opt, struct kvs_json node, void *out,
                               struct kvs_err *err)
{
    char want[KVS_OPT_WANT_MAX];
    int64_t value;
    if (!kvs_json_whole(node, &value))
        return kvs_json_want(node, err, KVS_ERR_PARSE,
                             opt->type == KVS_OPT_BYTES ? "a whole number of bytes"
                             : opt->type == KVS_OPT_TOK ? "a whole number of tokens"
                                                        : kvs_opt_want(opt, want));
    if (value < 0 || set_u64(opt, (uint64_t)value, out) != KVS_OK)
        return kvs_json_want(node, err, KVS_ERR_RANGE, kvs_opt_want(opt, want));
    return KVS_OK;
}

static bool takes_text(enum kvs_opt_type type)
{
    return type == KVS_OPT_BYTES || type == KVS_OPT_TOK || type == KVS_OPT_RATE ||
           type == KVS_OPT_TIME || type == KVS_OPT_STR || type == KVS_OPT_ENUM;
}

static enum kvs_code set_node(const struct kvs_opt *opt, struct kvs_json node, void *out,
                              struct kvs_err *err)
{
    enum kvs_code code = KVS_ERR_PARSE;
    char want[KVS_OPT_WANT_MAX];
    const char *text = json_string_value(node.v);
    bool number = json_is_number(node.v);
    if (opt->type == KVS_OPT_LIST || opt->type == KVS_OPT_MANY)
        return set_list(opt, node, out, err);
    if (opt->type == KVS_OPT_NODE) {
        *(struct kvs_json *)kvs_opt_field(opt, out) = node;
        return KVS_OK;
    }
    if (number &&
        (opt->type == KVS_OPT_U64 || opt->type == KVS_OPT_BYTES || opt->type == KVS_OPT_TOK))
        return set_whole(opt, node, out, err);
    if (number &&
        (opt->type == KVS_OPT_DOUBLE || opt->type == KVS_OPT_RATE || opt->type == KVS_OPT_TIME)) {
        double value = json_number_value(node.v);
        code =
            opt->type != KVS_OPT_DOUBLE && value < 0 ? KVS_ERR_RANGE : set_double(opt, value, out);
    } else if (json_is_boolean(node.v) && opt->type == KVS_OPT_FLAG) {
        *(bool *)kvs_opt_field(opt, out) = json_is_true(node.v);
        code = KVS_OK;
    } else if (text && takes_text(opt->type)) {
        code = kvs_opt_set_text(opt, text, out);
    }
    return code ? kvs_json_want(node, err, code, kvs_opt_want_for(opt, text ? text : "", want))
                : KVS_OK;
}

enum kvs_code kvs_opt_json(const struct kvs_opt *table, unsigned n, struct kvs_json object,
                           void *out, struct kvs_err *err)
{
    const char *names[KVS_OPT_ROWS_MAX] = {NULL};
    assert(n <= KVS_OPT_ROWS_MAX);
    for (unsigned i = 0; i < n; i++) {
        names[i] = table[i].key;
        kvs_opt_clear(&table[i], out);
    }
    enum kvs_code code = object.v ? kvs_json_object(object, err) : KVS_OK;
    if (code == KVS_OK)
        code = kvs_json_only(object, names, n, err);
    for (unsigned i = 0; i < n && code == KVS_OK; i++) {
        const struct kvs_opt *opt = &table[i];
        struct kvs_json node = kvs_json_get(object, opt->key);
        char want[KVS_OPT_WANT_MAX];
        if (node.v)
            code = set_node(opt, node, out, err);
        else if (!kvs_opt_may_be_absent(opt))
            code = kvs_json_fail(object, err, KVS_ERR_PARSE, "missing key \"%s\"; want %s",
                                 opt->key, kvs_opt_want(opt, want));
        else if (opt->type == KVS_OPT_NODE)
            *(struct kvs_json *)kvs_opt_field(opt, out) = node;
        else
            kvs_opt_set_default(opt, out);
    }
    return code;
}

/* --- record --- */

static json_t *record_u64(uint64_t value)
{
    return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value);
}

static json_t *record_strs(const struct kvs_strs *strs)
{
    json_t *array = json_array();
    for (unsigned i = 0; array && i < strs->n; i++)
        if (json_array_append_new(array, json_string(strs->v[i])) != 0) {
            json_decref(array);
            array = NULL;
        }
    return array;
}

static json_t *record_one(const struct kvs_opt *opt, const void *in)
{
    const void *value = (const char *)in + opt->offset;
    switch (opt->type) {
    case KVS_OPT_FLAG:
        return json_boolean(*(const bool *)value);
    case KVS_OPT_U64:
    case KVS_OPT_BYTES:
    case KVS_OPT_TOK:
        return record_u64(*(const uint64_t *)value);
    case KVS_OPT_DOUBLE:
    case KVS_OPT_RATE:
    case KVS_OPT_TIME:
        return json_real(*(const double *)value);
    case KVS_OPT_STR: {
        const char *text = *(const char *const *)value;
        return text ? json_string(text) : json_null();
    }
    case KVS_OPT_ENUM:
        return json_string(opt->names[*(const int *)value]);
    case KVS_OPT_LIST:
    case KVS_OPT_MANY:
        return record_strs(value);
    case KVS_OPT_NODE: {
        const json_t *v = ((const struct kvs_json *)value)->v;
        return v ? json_deep_copy(v) : json_null();
    }
    }
    return NULL;
}

json_t *kvs_opt_record(const struct kvs_opt *table, unsigned n, const void *in)
{
    json_t *object = json_object();
    for (unsigned i = 0; object && i < n; i++)
        if (json_object_set_new(object, table[i].key, record_one(&table[i], in)) != 0) {
            json_decref(object);
            object = NULL;
        }
    return object;
}
