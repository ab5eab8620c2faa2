#include "scan.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCAN_DEPTH = 64, SCAN_SHOWN = 40 };

static const int64_t time_max_ns = INT64_MAX / 2;

void kvs_ids_free(struct kvs_ids *ids)
{
    free(ids->v);
    *ids = (struct kvs_ids){0};
}

void kvs_scan_begin(struct kvs_scan *scan, const struct kvs_lines *lines, const char *line,
                    struct kvs_err *err)
{
    *scan = (struct kvs_scan){.at = line, .field = "(row)", .lines = lines, .err = err};
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void skip_space(struct kvs_scan *scan)
{
    while (is_space(*scan->at))
        scan->at++;
}

/* What stands at the scan, short and printable. */
static void shown(const char *at, char out[SCAN_SHOWN + 1])
{
    size_t n = 0;
    bool quoted = *at == '"', nested = *at == '[' || *at == '{';
    for (; *at && n < SCAN_SHOWN; at++) {
        if (n && !quoted && !nested && (*at == ',' || *at == '}' || *at == ']' || is_space(*at)))
            break;
        out[n++] = isprint((unsigned char)*at) ? *at : '?';
        if (quoted && n > 1 && *at == '"')
            break;
    }
    out[n] = '\0';
}

bool kvs_scan_want(struct kvs_scan *scan, const char *want)
{
    char found[SCAN_SHOWN + 1];
    shown(scan->at, found);
    kvs_lines_fail(scan->lines, scan->err, KVS_ERR_PARSE, "%s: found %s, want %s", scan->field,
                   *found ? found : "the line's end", want);
    return false;
}

bool kvs_scan_bad(struct kvs_scan *scan, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    kvs_lines_fail(scan->lines, scan->err, KVS_ERR_RANGE, "%s: %s", scan->field, text);
    return false;
}

bool kvs_scan_object(struct kvs_scan *scan)
{
    skip_space(scan);
    if (*scan->at != '{')
        return kvs_scan_want(scan, "an object");
    scan->at++;
    scan->opened = true;
    return true;
}

bool kvs_scan_array(struct kvs_scan *scan)
{
    skip_space(scan);
    if (*scan->at != '[')
        return kvs_scan_want(scan, "a list");
    scan->at++;
    scan->opened = true;
    return true;
}

/* Past a string's body and its closing quote; JSON's own escapes only. */
static bool string_body(struct kvs_scan *scan)
{
    for (;;) {
        unsigned char c = (unsigned char)*scan->at;
        if (c == '"') {
            scan->at++;
            return true;
        }
        if (c < 0x20)
            return kvs_scan_want(scan, "the rest of a string and its closing quote");
        scan->at++;
        if (c != '\\')
            continue;
        if (*scan->at == 'u') {
            for (int i = 1; i <= 4; i++)
                if (!isxdigit((unsigned char)scan->at[i]))
                    return kvs_scan_want(scan, "four hex digits after \\u");
            scan->at += 5;
        } else if (*scan->at && strchr("\"\\/bfnrt", *scan->at)) {
            scan->at++;
        } else {
            return kvs_scan_want(scan, "an escape of JSON");
        }
    }
}

bool kvs_scan_str(struct kvs_scan *scan, const char **text, size_t *n_byte)
{
    skip_space(scan);
    if (*scan->at != '"')
        return kvs_scan_want(scan, "a string");
    scan->at++;
    *text = scan->at;
    if (!string_body(scan))
        return false;
    *n_byte = (size_t)(scan->at - *text) - 1;
    return true;
}

static bool field_end(struct kvs_scan *scan, const struct kvs_scan_name *names, unsigned n,
                      uint32_t seen)
{
    for (unsigned i = 0; i < n; i++) {
        if (names[i].want && !(seen & (1u << i))) {
            kvs_lines_fail(scan->lines, scan->err, KVS_ERR_PARSE, "%s: missing, want %s",
                           names[i].key, names[i].want);
            return false;
        }
    }
    return true;
}

static unsigned field_index(const struct kvs_scan_name *names, unsigned n, const char *key,
                            size_t n_byte)
{
    unsigned i = 0;
    while (i < n && (strncmp(names[i].key, key, n_byte) != 0 || names[i].key[n_byte]))
        i++;
    return i;
}

/* Whether one more member follows, at which the scan then stands; past close if not. */
static bool member(struct kvs_scan *scan, char close, const char *want, bool *more)
{
    bool opened = scan->opened;
    scan->opened = false;
    skip_space(scan);
    *more = *scan->at != close;
    if (!*more) {
        scan->at++;
        return true;
    }
    if (opened)
        return true;
    if (*scan->at != ',')
        return kvs_scan_want(scan, want);
    scan->at++;
    return true;
}

bool kvs_scan_element(struct kvs_scan *scan, bool *more)
{
    return member(scan, ']', "a comma or ]", more);
}

/* A key and its colon. */
static bool scan_key(struct kvs_scan *scan, const char **key, size_t *n_byte)
{
    scan->field = "(row)";
    if (!kvs_scan_str(scan, key, n_byte))
        return false;
    skip_space(scan);
    if (*scan->at != ':')
        return kvs_scan_want(scan, "a colon after the key");
    scan->at++;
    return true;
}

bool kvs_scan_field(struct kvs_scan *scan, const struct kvs_scan_name *names, unsigned n,
                    uint32_t *seen, unsigned *which)
{
    for (;;) {
        const char *key;
        size_t n_byte;
        bool more;
        if (!member(scan, '}', "a comma or }", &more))
            return false;
        if (!more) {
            *which = n;
            return field_end(scan, names, n, *seen);
        }
        if (!scan_key(scan, &key, &n_byte))
            return false;
        *which = field_index(names, n, key, n_byte);
        if (*which < n)
            break;
        if (!kvs_scan_skip(scan))
            return false;
    }
    scan->field = names[*which].key;
    if (*seen & (1u << *which))
        return kvs_scan_bad(scan, "given twice");
    *seen |= 1u << *which;
    return true;
}

/* Digits without leading zeros; false if there are none or they don't fit. */
static bool digits(const char **at, uint64_t *value)
{
    const char *p = *at;
    uint64_t v = 0;
    int n = 0;
    if (!is_digit(*p) || (*p == '0' && is_digit(p[1])))
        return false;
    for (; is_digit(*p); p++, n++)
        if (n < 18)
            v = v * 10 + (uint64_t)(*p - '0');
        else if (__builtin_mul_overflow(v, 10, &v) ||
                 __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return false;
    *at = p;
    *value = v;
    return true;
}

bool kvs_scan_u64(struct kvs_scan *scan, uint64_t min, uint64_t max, uint64_t *value)
{
    const char *end;
    char want[96];
    skip_space(scan);
    end = scan->at;
    if (digits(&end, value) && *value >= min && *value <= max && *end != '.' && *end != 'e' &&
        *end != 'E') {
        scan->at = end;
        return true;
    }
    snprintf(want, sizeof want, "an integer from %llu to %llu", (unsigned long long)min,
             (unsigned long long)max);
    return kvs_scan_want(scan, want);
}

bool kvs_scan_u32(struct kvs_scan *scan, uint32_t min, uint32_t *value)
{
    uint64_t wide;
    if (!kvs_scan_u64(scan, min, UINT32_MAX, &wide))
        return false;
    *value = (uint32_t)wide;
    return true;
}

/* The digits after a point times unit_ns (at most 1e9), to nearest; nine of them count. */
static int64_t fraction_ns(const char **at, int64_t unit_ns)
{
    const char *p = *at;
    uint64_t part = 0, scale = 1;
    for (int n = 0; is_digit(*p); p++, n++) {
        if (n < 9) {
            part = part * 10 + (uint64_t)(*p - '0');
            scale *= 10;
        }
    }
    *at = p;
    return (int64_t)((part * (uint64_t)unit_ns + scale / 2) / scale);
}

/* As strtod reads it: for the rare times written with an exponent. */
static bool time_exponent(const char **at, int64_t unit_ns, int64_t *ns)
{
    char *end;
    double v = strtod(*at, &end) * (double)unit_ns;
    if (!(v >= 0 && v <= (double)time_max_ns) || !is_digit(end[-1]))
        return false;
    *ns = (int64_t)llround(v);
    *at = end;
    return true;
}

static bool time_at(const char **at, int64_t unit_ns, int64_t *ns)
{
    const char *p = *at;
    uint64_t whole;
    if (!digits(&p, &whole) || whole > (uint64_t)(time_max_ns / unit_ns))
        return false;
    *ns = (int64_t)whole * unit_ns;
    if (*p == '.') {
        p++;
        if (!is_digit(*p))
            return false;
        *ns += fraction_ns(&p, unit_ns);
    }
    if (*p == 'e' || *p == 'E')
        return time_exponent(at, unit_ns, ns);
    *at = p;
    return true;
}

bool kvs_scan_time(struct kvs_scan *scan, int64_t unit_ns, bool quoted, int64_t *ns)
{
    const char *end, *want = "a time of at least 0 and at most 292 years";
    skip_space(scan);
    if (quoted && *scan->at != '"')
        return kvs_scan_want(scan, "a time of at least 0 and at most 292 years in quotes");
    end = scan->at + quoted;
    if (!time_at(&end, unit_ns, ns) || (quoted && *end != '"'))
        return kvs_scan_want(scan, quoted ? "a time of at least 0 and at most 292 years in quotes"
                                          : want);
    scan->at = end + quoted;
    return true;
}

static bool ids_grow(struct kvs_scan *scan, struct kvs_ids *ids)
{
    size_t cap = ids->cap ? ids->cap * 2 : 256;
    uint64_t *v = realloc(ids->v, cap * sizeof *v);
    if (!v) {
        kvs_lines_fail(scan->lines, scan->err, KVS_ERR_NOMEM, "no memory for %zu ids", cap);
        return false;
    }
    ids->v = v;
    ids->cap = cap;
    return true;
}

bool kvs_ids_add(struct kvs_ids *ids, uint64_t id, struct kvs_scan *scan)
{
    if (ids->n == ids->cap && !ids_grow(scan, ids))
        return false;
    ids->v[ids->n++] = id;
    return true;
}

bool kvs_scan_ids(struct kvs_scan *scan, uint64_t max, struct kvs_ids *ids)
{
    bool more;
    ids->n = 0;
    if (!kvs_scan_array(scan))
        return false;
    for (;;) {
        if (!kvs_scan_element(scan, &more))
            return false;
        if (!more)
            return true;
        if (ids->n == ids->cap && !ids_grow(scan, ids))
            return false;
        if (!kvs_scan_u64(scan, 0, max, &ids->v[ids->n]))
            return false;
        ids->n++;
    }
}

static bool skip_number(struct kvs_scan *scan)
{
    const char *p = scan->at;
    if (*p == '-')
        p++;
    if (!is_digit(*p) || (*p == '0' && is_digit(p[1])))
        return kvs_scan_want(scan, "a value of JSON");
    while (is_digit(*p))
        p++;
    if (*p == '.') {
        if (!is_digit(*++p))
            return kvs_scan_want(scan, "a number of JSON");
        while (is_digit(*p))
            p++;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-')
            p++;
        if (!is_digit(*p))
            return kvs_scan_want(scan, "a number of JSON");
        while (is_digit(*p))
            p++;
    }
    scan->at = p;
    return true;
}

static bool skip_word(struct kvs_scan *scan)
{
    static const char *const words[] = {"true", "false", "null"};
    for (unsigned i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if (strncmp(scan->at, words[i], n) == 0 && !isalnum((unsigned char)scan->at[n])) {
            scan->at += n;
            return true;
        }
    }
    return skip_number(scan);
}

/* Members of what is open until it and all in it is closed; open holds '}' or ']' for each depth.
 */
bool kvs_scan_skip(struct kvs_scan *scan)
{
    char open[SCAN_DEPTH];
    int depth = 0;
    do {
        const char *text;
        size_t n_byte;
        bool more;
        skip_space(scan);
        if (*scan->at == '{' || *scan->at == '[') {
            if (depth == SCAN_DEPTH)
                return kvs_scan_bad(scan, "nested deeper than %d", SCAN_DEPTH);
            open[depth++] = *scan->at == '{' ? '}' : ']';
            scan->at++;
            scan->opened = true;
        } else if (*scan->at == '"') {
            if (!kvs_scan_str(scan, &text, &n_byte))
                return false;
        } else if (!skip_word(scan)) {
            return false;
        }
        for (more = false; depth && !more; depth -= !more)
            if (!member(scan, open[depth - 1], "a comma or the end of it", &more))
                return false;
        if (depth && open[depth - 1] == '}' && !scan_key(scan, &text, &n_byte))
            return false;
    } while (depth);
    return true;
}

bool kvs_scan_end(struct kvs_scan *scan)
{
    skip_space(scan);
    scan->field = "(row)";
    return *scan->at ? kvs_scan_want(scan, "the line's end") : true;
}

bool kvs_scan_comma(struct kvs_scan *scan)
{
    if (*scan->at != ',')
        return kvs_scan_want(scan, "a comma");
    scan->at++;
    return true;
}

void kvs_scan_cell(struct kvs_scan *scan, const char **text, size_t *n_byte)
{
    *text = scan->at;
    *n_byte = strcspn(scan->at, ",");
    scan->at += *n_byte;
}
