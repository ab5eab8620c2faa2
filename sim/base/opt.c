#include "opt.h"

#include "arena.h"
#include "units.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define ROWS_MAX 128
#define WANT_MAX 256

/* --- what would do: every such text of kvsim --- */

/* " in 1..65536", " from 1 up", or nothing. */
static void range_text(const struct kvs_opt *opt, char *buf, size_t room)
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

static void names_text(const struct kvs_opt *opt, char *buf, size_t room)
{
    size_t at = (size_t)snprintf(buf, room, "one of ");
    for (unsigned i = 0; opt->names[i] && at < room; i++)
        at += (size_t)snprintf(buf + at, room - at, "%s%s", i ? ", " : "", opt->names[i]);
}

static const char *want_text(const struct kvs_opt *opt, char buf[WANT_MAX])
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
        names_text(opt, buf, WANT_MAX);
        return buf;
    }
    range_text(opt, range, sizeof range);
    snprintf(buf, WANT_MAX, "%s%s", noun[opt->type], range);
    return buf;
}

/* want_text, and the nearest name if found is none of an option's names. */
static const char *want_for(const struct kvs_opt *opt, const char *found, char buf[WANT_MAX])
{
    unsigned n = 0;
    want_text(opt, buf);
    if (opt->type != KVS_OPT_ENUM)
        return buf;
    while (opt->names[n])
        n++;
    const char *near = kvs_nearest(found, opt->names, n);
    size_t at = strlen(buf);
    if (near)
        snprintf(buf + at, WANT_MAX - at, "; did you mean \"%s\"?", near);
    return buf;
}

/* --- setting a field --- */

static void *field(const struct kvs_opt *opt, void *out)
{
    return (char *)out + opt->offset;
}

static bool in_range(const struct kvs_opt *opt, double value)
{
    return (opt->min == 0 && opt->max == 0) || (value >= opt->min && value <= opt->max);
}

static enum kvs_code set_u64(const struct kvs_opt *opt, uint64_t value, void *out)
{
    *(uint64_t *)field(opt, out) = value;
    return in_range(opt, (double)value) ? KVS_OK : KVS_ERR_RANGE;
}

static enum kvs_code set_double(const struct kvs_opt *opt, double value, void *out)
{
    *(double *)field(opt, out) = value;
    return in_range(opt, value) ? KVS_OK : KVS_ERR_RANGE;
}

static enum kvs_code set_name(const struct kvs_opt *opt, const char *name, void *out)
{
    for (int i = 0; opt->names[i]; i++)
        if (strcmp(opt->names[i], name) == 0) {
            *(int *)field(opt, out) = i;
            return KVS_OK;
        }
    return KVS_ERR_PARSE;
}

static bool add_str(struct kvs_strs *strs, const char *text)
{
    if (strs->n == sizeof strs->v / sizeof *strs->v)
        return false;
    strs->v[strs->n++] = text;
    return true;
}

/* Splits text at its commas, in place. */
static enum kvs_code add_split(struct kvs_strs *strs, char *text)
{
    for (char *next; text; text = next) {
        next = strchr(text, ',');
        if (next)
            *next++ = '\0';
        if (!add_str(strs, text))
            return KVS_ERR_RANGE;
    }
    return KVS_OK;
}

/* A number as text, with its unit: what a JSON string, a command line and a default share. */
static enum kvs_code set_text(const struct kvs_opt *opt, const char *text, void *out)
{
    uint64_t whole = 0;
    double real = 0;
    enum kvs_code code = KVS_OK;
    switch (opt->type) {
    case KVS_OPT_FLAG:
        *(bool *)field(opt, out) = strcmp(text, "true") == 0;
        return *(bool *)field(opt, out) || strcmp(text, "false") == 0 ? KVS_OK : KVS_ERR_PARSE;
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
        *(const char **)field(opt, out) = text;
        return KVS_OK;
    case KVS_OPT_ENUM:
        return set_name(opt, text, out);
    case KVS_OPT_MANY:
        return add_str(field(opt, out), text) ? KVS_OK : KVS_ERR_RANGE;
    case KVS_OPT_LIST:
    case KVS_OPT_NODE:
        break;
    }
    return KVS_ERR_PARSE;
}

/* The field before anything is read: nothing. */
static void clear(const struct kvs_opt *opt, void *out)
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
    memset(field(opt, out), 0, size[opt->type]);
}

static bool may_be_absent(const struct kvs_opt *opt)
{
    return !opt->required && (opt->def || opt->type == KVS_OPT_STR || opt->type == KVS_OPT_LIST ||
                              opt->type == KVS_OPT_MANY || opt->type == KVS_OPT_NODE);
}

/* A default is ours: one that can't be read is a bug. */
static void set_default(const struct kvs_opt *opt, void *out)
{
    if (!opt->def)
        return;
    if (opt->type == KVS_OPT_LIST) {
        assert(!strchr(opt->def, ','));
        add_str(field(opt, out), opt->def);
        return;
    }
    enum kvs_code code = set_text(opt, opt->def, out);
    assert(code == KVS_OK);
    (void)code;
}

/* --- JSON --- */

static enum kvs_code set_list(const struct kvs_opt *opt, struct kvs_json node, void *out,
                              struct kvs_err *err)
{
    struct kvs_strs *strs = field(opt, out);
    enum kvs_code code = kvs_json_array(node, NULL);
    if (code)
        return kvs_json_want(node, err, code, "an array of strings");
    for (size_t i = 0; i < kvs_json_size(node); i++) {
        const char *text;
        code = kvs_json_str(kvs_json_at(node, i), &text, err);
        if (code)
            return code;
        if (!add_str(strs, text))
            return kvs_json_fail(node, err, KVS_ERR_RANGE, "found %zu strings, want at most %zu",
                                 kvs_json_size(node), sizeof strs->v / sizeof *strs->v);
    }
    return KVS_OK;
}

/* A JSON number where bytes, tokens or a count are wanted. */
static enum kvs_code set_whole(const struct kvs_opt *opt, struct kvs_json node, void *out,
                               struct kvs_err *err)
{
    char want[WANT_MAX];
    int64_t value;
    if (!kvs_json_whole(node, &value))
        return kvs_json_want(node, err, KVS_ERR_PARSE,
                             opt->type == KVS_OPT_BYTES ? "a whole number of bytes"
                             : opt->type == KVS_OPT_TOK ? "a whole number of tokens"
                                                        : want_text(opt, want));
    if (value < 0 || set_u64(opt, (uint64_t)value, out) != KVS_OK)
        return kvs_json_want(node, err, KVS_ERR_RANGE, want_text(opt, want));
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
    char want[WANT_MAX];
    const char *text = json_string_value(node.v);
    bool number = json_is_number(node.v);
    if (opt->type == KVS_OPT_LIST || opt->type == KVS_OPT_MANY)
        return set_list(opt, node, out, err);
    if (opt->type == KVS_OPT_NODE) {
        *(struct kvs_json *)field(opt, out) = node;
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
        *(bool *)field(opt, out) = json_is_true(node.v);
        code = KVS_OK;
    } else if (text && takes_text(opt->type)) {
        code = set_text(opt, text, out);
    }
    return code ? kvs_json_want(node, err, code, want_for(opt, text ? text : "", want)) : KVS_OK;
}

enum kvs_code kvs_opt_json(const struct kvs_opt *table, unsigned n, struct kvs_json object,
                           void *out, struct kvs_err *err)
{
    const char *names[ROWS_MAX] = {NULL};
    assert(n <= ROWS_MAX);
    for (unsigned i = 0; i < n; i++) {
        names[i] = table[i].key;
        clear(&table[i], out);
    }
    enum kvs_code code = object.v ? kvs_json_object(object, err) : KVS_OK;
    if (code == KVS_OK)
        code = kvs_json_only(object, names, n, err);
    for (unsigned i = 0; i < n && code == KVS_OK; i++) {
        const struct kvs_opt *opt = &table[i];
        struct kvs_json node = kvs_json_get(object, opt->key);
        char want[WANT_MAX];
        if (node.v)
            code = set_node(opt, node, out, err);
        else if (!may_be_absent(opt))
            code = kvs_json_fail(object, err, KVS_ERR_PARSE, "missing key \"%s\"; want %s",
                                 opt->key, want_text(opt, want));
        else if (opt->type == KVS_OPT_NODE)
            *(struct kvs_json *)field(opt, out) = node;
        else
            set_default(opt, out);
    }
    return code;
}

/* --- command lines --- */

struct line {
    const struct kvs_opt *table;
    unsigned n;
    void *out;
    bool given[ROWS_MAX];
    struct kvs_err *err;
};

static bool on_command_line(const struct kvs_opt *opt)
{
    return opt->type != KVS_OPT_NODE;
}

static enum kvs_code unknown_option(const struct line *line, const char *arg)
{
    const char *names[ROWS_MAX + 1] = {NULL};
    char word[64];
    unsigned n = 0;
    for (unsigned i = 0; i < line->n; i++)
        if (on_command_line(&line->table[i]))
            names[n++] = line->table[i].key;
    names[n++] = "help";
    snprintf(word, sizeof word, "%.*s", (int)strcspn(arg, "="), arg);
    const char *near = kvs_nearest(word + strspn(word, "-"), names, n);
    if (near)
        return kvs_fail(line->err, KVS_ERR_ARG, "%s: unknown option; did you mean --%s?", word,
                        near);
    return kvs_fail(line->err, KVS_ERR_ARG, "%s: unknown option; see --help", word);
}

/* The row that arg ("--key", "--key=value", "-k") names, or NULL; *value: what stands behind '='.
 */
static const struct kvs_opt *find_row(const struct line *line, char *arg, char **value)
{
    bool is_long = arg[1] == '-';
    size_t n_key = is_long ? strcspn(arg + 2, "=") : 0;
    *value = is_long && arg[2 + n_key] == '=' ? arg + 2 + n_key + 1 : NULL;
    for (unsigned i = 0; i < line->n; i++) {
        const struct kvs_opt *opt = &line->table[i];
        if (!on_command_line(opt))
            continue;
        if (is_long ? strlen(opt->key) == n_key && memcmp(opt->key, arg + 2, n_key) == 0
                    : opt->letter && arg[1] == opt->letter && !arg[2])
            return opt;
    }
    return NULL;
}

static enum kvs_code set_arg(struct line *line, const struct kvs_opt *opt, char *value)
{
    char want[WANT_MAX];
    bool *given = &line->given[opt - line->table];
    enum kvs_code code;
    if (opt->type == KVS_OPT_LIST) {
        struct kvs_strs *strs = field(opt, line->out);
        if (!*given)
            strs->n = 0; /* the default gives way */
        code = add_split(strs, value);
    } else {
        code = set_text(opt, value, line->out);
    }
    *given = true;
    if (code == KVS_OK)
        return KVS_OK;
    if (opt->type == KVS_OPT_LIST || opt->type == KVS_OPT_MANY)
        return kvs_fail(line->err, KVS_ERR_ARG, "--%s: more than %zu names", opt->key,
                        sizeof((struct kvs_strs *)0)->v / sizeof(char *));
    return kvs_fail(line->err, KVS_ERR_ARG, "--%s: found \"%.60s\", want %s", opt->key, value,
                    want_for(opt, value, want));
}

/* The option at argv[*i]; *i moves on if its value is an argument of its own. */
static enum kvs_code read_option(struct line *line, int argc, char *const *argv, int *i)
{
    char want[WANT_MAX];
    char *value;
    const struct kvs_opt *opt = find_row(line, argv[*i], &value);
    if (!opt)
        return unknown_option(line, argv[*i]);
    if (opt->type == KVS_OPT_FLAG) {
        if (value)
            return kvs_fail(line->err, KVS_ERR_ARG, "--%s: takes no value", opt->key);
        *(bool *)field(opt, line->out) = true;
        return KVS_OK;
    }
    if (!value) {
        if (*i + 1 >= argc)
            return kvs_fail(line->err, KVS_ERR_ARG, "--%s: missing value; want %s", opt->key,
                            want_text(opt, want));
        value = argv[++*i];
    }
    return set_arg(line, opt, value);
}

static enum kvs_code check_given(const struct line *line)
{
    char want[WANT_MAX];
    for (unsigned i = 0; i < line->n; i++) {
        const struct kvs_opt *opt = &line->table[i];
        if (on_command_line(opt) && opt->type != KVS_OPT_FLAG && !line->given[i] &&
            !may_be_absent(opt))
            return kvs_fail(line->err, KVS_ERR_ARG, "--%s: missing; want %s", opt->key,
                            want_text(opt, want));
    }
    return KVS_OK;
}

enum kvs_code kvs_opt_argv(const struct kvs_opt *table, unsigned n, int argc, char *const *argv,
                           void *out, struct kvs_strs *pos, bool *help, struct kvs_err *err)
{
    struct line line = {.table = table, .n = n, .out = out, .err = err};
    enum kvs_code code = KVS_OK;
    bool options = true;
    assert(n <= ROWS_MAX);
    *help = false;
    if (pos)
        pos->n = 0;
    for (unsigned i = 0; i < n; i++) {
        clear(&table[i], out);
        if (on_command_line(&table[i]))
            set_default(&table[i], out);
    }
    for (int i = 1; i < argc && code == KVS_OK && !*help; i++) {
        char *arg = argv[i];
        if (options && strcmp(arg, "--") == 0)
            options = false;
        else if (options && (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0))
            *help = true;
        else if (options && arg[0] == '-' && arg[1])
            code = read_option(&line, argc, argv, &i);
        else if (!pos)
            code =
                kvs_fail(err, KVS_ERR_ARG, "found the argument \"%.80s\", want options only", arg);
        else if (!add_str(pos, arg))
            code = kvs_fail(err, KVS_ERR_ARG, "too many arguments");
    }
    return code || *help ? code : check_given(&line);
}

static bool is_one_of(const char *key, const char *const *keys)
{
    while (*keys && strcmp(*keys, key) != 0)
        keys++;
    return *keys;
}

enum kvs_code kvs_opt_refuse(const struct kvs_opt *table, unsigned n, int argc, char *const *argv,
                             const char *const *keys, const char *why, struct kvs_err *err)
{
    const struct line line = {.table = table, .n = n};

    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        char *value;
        const struct kvs_opt *opt =
            argv[i][0] == '-' && argv[i][1] ? find_row(&line, argv[i], &value) : NULL;

        if (opt && is_one_of(opt->key, keys))
            return kvs_fail(err, KVS_ERR_ARG, "--%s: %s", opt->key, why);
        if (opt && opt->type != KVS_OPT_FLAG && !value)
            i++; /* the value is no option, whatever it looks like */
    }
    return KVS_OK;
}

/* --- help and record --- */

static const char *value_word(enum kvs_opt_type type)
{
    static const char *const word[] = {
        [KVS_OPT_FLAG] = "",         [KVS_OPT_U64] = " N",     [KVS_OPT_DOUBLE] = " X",
        [KVS_OPT_BYTES] = " BYTES",  [KVS_OPT_TOK] = " TOK",   [KVS_OPT_RATE] = " RATE",
        [KVS_OPT_TIME] = " TIME",    [KVS_OPT_STR] = " TEXT",  [KVS_OPT_ENUM] = " NAME",
        [KVS_OPT_LIST] = " A,B,...", [KVS_OPT_MANY] = " TEXT", [KVS_OPT_NODE] = "",
    };
    return word[type];
}

/* "  -s, --seed N" into buf; its length. */
static int left_side(const struct kvs_opt *opt, char *buf, size_t room)
{
    char letter[] = {opt->letter ? '-' : ' ', opt->letter ? opt->letter : ' ',
                     opt->letter ? ',' : ' ', '\0'};
    return snprintf(buf, room, "  %s --%s%s", letter, opt->key, value_word(opt->type));
}

static void right_side(FILE *to, const struct kvs_opt *opt)
{
    char range[WANT_MAX] = "";
    const char *sep = " [";
    if (opt->type == KVS_OPT_ENUM)
        names_text(opt, range, sizeof range);
    else
        range_text(opt, range, sizeof range);
    fputs(opt->help, to);
    if (*range) {
        fprintf(to, "%s%s", sep, range + (*range == ' '));
        sep = ", ";
    }
    if (opt->def && opt->type != KVS_OPT_FLAG)
        fprintf(to, "%sdefault %s", sep, opt->def);
    else if (!may_be_absent(opt) && opt->type != KVS_OPT_FLAG)
        fprintf(to, "%srequired", sep);
    else if (!*range) {
        fputc('\n', to);
        return;
    }
    fputs("]\n", to);
}

void kvs_opt_help(FILE *to, const char *usage, const char *about, const struct kvs_opt *table,
                  unsigned n)
{
    static const struct kvs_opt help = {"help", KVS_OPT_FLAG, 0,    NULL,  0,
                                        0,      "this text",  NULL, false, 'h'};
    char left[96];
    int width = 0;
    for (unsigned i = 0; i <= n; i++) {
        const struct kvs_opt *opt = i < n ? &table[i] : &help;
        int length = on_command_line(opt) ? left_side(opt, left, sizeof left) : 0;
        width = length > width ? length : width;
    }
    fprintf(to, "usage: %s\n\n%s\n\noptions:\n", usage, about);
    for (unsigned i = 0; i <= n; i++) {
        const struct kvs_opt *opt = i < n ? &table[i] : &help;
        if (!on_command_line(opt))
            continue;
        left_side(opt, left, sizeof left);
        fprintf(to, "%-*s  ", width, left);
        right_side(to, opt);
    }
}

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
