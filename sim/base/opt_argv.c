/*
 * opt_argv.c - a table of options on the command line: reading arguments, help.
 */
#include "opt_in.h"

#include <assert.h>
#include <string.h>

/* Splits text at its commas, in place. */
static enum kvs_code add_split(struct kvs_strs *strs, char *text)
{
    for (char *next; text; text = next) {
        next = strchr(text, ',');
        if (next)
            *next++ = '\0';
        if (!kvs_strs_add(strs, text))
            return KVS_ERR_RANGE;
    }
    return KVS_OK;
}

struct line {
    const struct kvs_opt *table;
    unsigned n;
    void *out;
    bool given[KVS_OPT_ROWS_MAX];
    struct kvs_err *err;
};

static bool on_command_line(const struct kvs_opt *opt)
{
    return opt->type != KVS_OPT_NODE;
}

/* A key as a command line has it: JSON's topic_skew is --topic-skew. */
struct spelled {
    char text[64];
};
static struct spelled spell(const char *key)
{
    struct spelled as;

    snprintf(as.text, sizeof as.text, "%s", key);
    for (char *c = as.text; *c; c++)
        *c = *c == '_' ? '-' : *c;
    return as;
}

static enum kvs_code unknown_option(const struct line *line, const char *arg)
{
    const char *names[KVS_OPT_ROWS_MAX + 1] = {NULL};
    struct spelled key[KVS_OPT_ROWS_MAX];
    char word[64];
    unsigned n = 0;
    for (unsigned i = 0; i < line->n; i++)
        if (on_command_line(&line->table[i])) {
            key[n] = spell(line->table[i].key);
            names[n] = key[n].text;
            n++;
        }
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
        if (is_long ? strlen(opt->key) == n_key && memcmp(spell(opt->key).text, arg + 2, n_key) == 0
                    : opt->letter && arg[1] == opt->letter && !arg[2])
            return opt;
    }
    return NULL;
}

static enum kvs_code set_arg(struct line *line, const struct kvs_opt *opt, char *value)
{
    char want[KVS_OPT_WANT_MAX];
    bool *given = &line->given[opt - line->table];
    enum kvs_code code;
    if (opt->type == KVS_OPT_LIST) {
        struct kvs_strs *strs = kvs_opt_field(opt, line->out);
        if (!*given)
            strs->n = 0; /* the default gives way */
        code = add_split(strs, value);
    } else {
        code = kvs_opt_set_text(opt, value, line->out);
    }
    *given = true;
    if (code == KVS_OK)
        return KVS_OK;
    if (opt->type == KVS_OPT_LIST || opt->type == KVS_OPT_MANY)
        return kvs_fail(line->err, KVS_ERR_ARG, "--%s: more than %zu names", spell(opt->key).text,
                        sizeof((struct kvs_strs *)0)->v / sizeof(char *));
    return kvs_fail(line->err, KVS_ERR_ARG, "--%s: found \"%.60s\", want %s", spell(opt->key).text,
                    value, kvs_opt_want_for(opt, value, want));
}

/* The option at argv[*i]; *i moves on if its value is an argument of its own. */
static enum kvs_code read_option(struct line *line, int argc, char *const *argv, int *i)
{
    char want[KVS_OPT_WANT_MAX];
    char *value;
    const struct kvs_opt *opt = find_row(line, argv[*i], &value);
    if (!opt)
        return unknown_option(line, argv[*i]);
    if (opt->type == KVS_OPT_FLAG) {
        if (value)
            return kvs_fail(line->err, KVS_ERR_ARG, "--%s: takes no value", spell(opt->key).text);
        *(bool *)kvs_opt_field(opt, line->out) = true;
        return KVS_OK;
    }
    if (!value) {
        if (*i + 1 >= argc)
            return kvs_fail(line->err, KVS_ERR_ARG, "--%s: missing value; want %s",
                            spell(opt->key).text, kvs_opt_want(opt, want));
        value = argv[++*i];
    }
    return set_arg(line, opt, value);
}

static enum kvs_code check_given(const struct line *line)
{
    char want[KVS_OPT_WANT_MAX];
    for (unsigned i = 0; i < line->n; i++) {
        const struct kvs_opt *opt = &line->table[i];
        if (on_command_line(opt) && opt->type != KVS_OPT_FLAG && !line->given[i] &&
            !kvs_opt_may_be_absent(opt))
            return kvs_fail(line->err, KVS_ERR_ARG, "--%s: missing; want %s", spell(opt->key).text,
                            kvs_opt_want(opt, want));
    }
    return KVS_OK;
}

enum kvs_code kvs_opt_argv(const struct kvs_opt *table, unsigned n, int argc, char *const *argv,
                           void *out, struct kvs_strs *pos, bool *help, struct kvs_err *err)
{
    struct line line = {.table = table, .n = n, .out = out, .err = err};
    enum kvs_code code = KVS_OK;
    bool options = true;
    assert(n <= KVS_OPT_ROWS_MAX);
    *help = false;
    if (pos)
        pos->n = 0;
    for (unsigned i = 0; i < n; i++) {
        kvs_opt_clear(&table[i], out);
        if (on_command_line(&table[i]))
            kvs_opt_set_default(&table[i], out);
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
        else if (!kvs_strs_add(pos, arg))
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
            return kvs_fail(err, KVS_ERR_ARG, "--%s: %s", spell(opt->key).text, why);
        if (opt && opt->type != KVS_OPT_FLAG && !value)
            i++; /* the value is no option, whatever it looks like */
    }
    return KVS_OK;
}

/* --- help --- */

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
    return snprintf(buf, room, "  %s --%s%s", letter, spell(opt->key).text, value_word(opt->type));
}

static void right_side(FILE *to, const struct kvs_opt *opt)
{
    char range[KVS_OPT_WANT_MAX] = "";
    const char *sep = " [";
    if (opt->type == KVS_OPT_ENUM)
        kvs_opt_names(opt, range, sizeof range);
    else
        kvs_opt_range(opt, range, sizeof range);
    fputs(opt->help, to);
    if (*range) {
        fprintf(to, "%s%s", sep, range + (*range == ' '));
        sep = ", ";
    }
    if (opt->def && opt->type != KVS_OPT_FLAG)
        fprintf(to, "%sdefault %s", sep, opt->def);
    else if (!kvs_opt_may_be_absent(opt) && opt->type != KVS_OPT_FLAG)
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
