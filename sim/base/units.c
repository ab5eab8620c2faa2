#include "units.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <langinfo.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;

struct unit {
    const char *name;
    uint64_t mul; /* of the base unit below */
};

#define KI 1024ull
#define K 1000ull

static const struct unit byte_units[] = {
    {"", 1},
    {"B", 1},
    {"KiB", KI},
    {"MiB", KI *KI},
    {"GiB", KI *KI *KI},
    {"TiB", KI *KI *KI *KI},
    {"PiB", KI *KI *KI *KI *KI},
    {"EiB", KI *KI *KI *KI *KI *KI},
    {"kB", K},
    {"MB", K *K},
    {"GB", K *K *K},
    {"TB", K *K *K *K},
    {"PB", K *K *K *K *K},
    {"EB", K *K *K *K *K *K},
    {NULL, 0},
};

/* In bits per second. */
static const struct unit rate_units[] = {
    {"", 8},
    {"B/s", 8},
    {"KiB/s", 8 * KI},
    {"MiB/s", 8 * KI *KI},
    {"GiB/s", 8 * KI *KI *KI},
    {"TiB/s", 8 * KI *KI *KI *KI},
    {"kB/s", 8 * K},
    {"MB/s", 8 * K *K},
    {"GB/s", 8 * K *K *K},
    {"TB/s", 8 * K *K *K *K},
    {"b/s", 1},
    {"kb/s", K},
    {"Mb/s", K *K},
    {"Gb/s", K *K *K},
    {"Tb/s", K *K *K *K},
    {"bit/s", 1},
    {"kbit/s", K},
    {"Mbit/s", K *K},
    {"Gbit/s", K *K *K},
    {"Tbit/s", K *K *K *K},
    {NULL, 0},
};

/* In nanoseconds. */
static const struct unit time_units[] = {
    {"", K *K *K},
    {"ns", 1},
    {"us", K},
    {"ms", K *K},
    {"s", K *K *K},
    {"min", 60 * K *K *K},
    {"h", 3600 * K *K *K},
    {"d", 86400 * K *K *K},
    {NULL, 0},
};

static const struct unit tok_units[] = {
    {"", 1}, {"k", K}, {"M", K *K}, {"Ki", KI}, {"Mi", KI *KI}, {NULL, 0},
};

static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

/* A quantity: what it is called, its units, and what a message offers. */
struct quantity {
    const char *noun, *want;
    const struct unit *units;
};

static const struct quantity bytes_q = {
    "size", "bytes: a number with B, KiB, MiB, GiB, TiB, PiB, kB, MB, GB, TB or PB", byte_units};
static const struct quantity rate_q = {
    "rate", "a number with B/s, kB/s, MB/s, GB/s, TB/s, MiB/s, GiB/s, TiB/s, Mb/s or Gb/s",
    rate_units};
static const struct quantity time_q = {"time", "a number with ns, us, ms, s, min, h or d",
                                       time_units};
static const struct quantity tok_q = {"number of tokens", "a number with k, M, Ki, Mi or nothing",
                                      tok_units};
static const struct quantity count_q = {"whole number", "decimal digits", no_units};
static const struct quantity double_q = {"number", "a decimal number", no_units};

static enum kvs_code refuse(const struct quantity *q, const char *text, struct kvs_err *err)
{
    return kvs_fail(err, KVS_ERR_PARSE, "\"%.80s\" is no %s: want %s", text, q->noun, q->want);
}

static const char *skip_digits(const char *c)
{
    while (isdigit((unsigned char)*c))
        c++;
    return c;
}

/* The end of a plain decimal number at text: digits, a fraction, an exponent, as 5, 0.5, .5. NULL
 * if there is none. No sign, no hexadecimal, no "nan". */
static const char *number_end(const char *text)
{
    const char *end = skip_digits(text);
    if (end == text && *end != '.')
        return NULL;
    if (*end == '.') {
        const char *frac = end + 1;
        end = skip_digits(frac);
        if (end == frac)
            return NULL;
    }
    if (*end == 'e' || *end == 'E') {
        const char *exp = end + 1 + (end[1] == '+' || end[1] == '-');
        if (isdigit((unsigned char)*exp))
            end = skip_digits(exp);
    }
    return end;
}

/* Splits text into number and unit; NULL if it is not made so. */
static const struct unit *split(const struct quantity *q, const char *text, const char **end)
{
    const char *after = number_end(text);
    if (!after)
        return NULL;
    *end = after;
    const char *name = after;
    while (*name == ' ')
        name++;
    if (*name == '\0' && name != after)
        return NULL;
    for (const struct unit *unit = q->units; unit->name; unit++)
        if (strcmp(unit->name, name) == 0)
            return unit;
    return NULL;
}

/* A decimal number as digits * 10^exp10, digits at most 10^20: what a double would round, it keeps.
 */
struct decimal {
    u128 digits;
    int exp10;
};

static struct decimal read_decimal(const char *text, const char *end)
{
    struct decimal number = {0};
    bool frac = false;
    int n_digit = 0;
    const char *c = text;
    for (; c < end && *c != 'e' && *c != 'E'; c++) {
        if (*c == '.') {
            frac = true;
        } else if (n_digit < 20) {
            number.digits = number.digits * 10 + (unsigned)(*c - '0');
            number.exp10 -= frac;
            n_digit += number.digits != 0;
        } else {
            number.digits += n_digit == 20 && *c >= '5'; /* the first digit left out rounds */
            number.exp10 += !frac;
            n_digit = 21;
        }
    }
    if (c < end) {
        long exp10 = strtol(c + 1, NULL, 10);
        number.exp10 += (int)(exp10 > 100000 ? 100000 : exp10 < -100000 ? -100000 : exp10);
    }
    return number;
}

/* round(number * mul), to nearest, exactly; *whole: nothing was rounded. false: over 2^64 - 1. */
static bool scale(struct decimal number, uint64_t mul, uint64_t *value, bool *whole)
{
    u128 product = number.digits * mul, div = 1; /* at most 10^20 * 2^60, below 2^127 */
    int exp10 = number.exp10;
    *value = 0;
    *whole = product == 0;
    for (; exp10 > 0 && product != 0; exp10--) {
        if (product > UINT64_MAX)
            return false;
        product *= 10;
    }
    for (; exp10 < 0; exp10++) {
        if (div > product / 2)
            return true; /* below a fifth: 0 */
        div *= 10;
    }
    u128 rest = product % div;
    *whole = rest == 0;
    product = product / div + (rest >= div - rest);
    if (product > UINT64_MAX)
        return false;
    *value = (uint64_t)product;
    return true;
}

/* *whole: the text says a whole number; else *value is the nearest. */
static enum kvs_code parse_whole(const struct quantity *q, const char *text, uint64_t *value,
                                 bool *whole, struct kvs_err *err)
{
    const char *end = NULL;
    const struct unit *unit = split(q, text, &end);
    *value = 0;
    *whole = false;
    if (!unit)
        return refuse(q, text, err);
    if (!scale(read_decimal(text, end), unit->mul, value, whole))
        return kvs_fail(err, KVS_ERR_RANGE, "\"%.80s\" is over the largest %s, 2^64 - 1", text,
                        q->noun);
    return KVS_OK;
}

/* strtod of [text, end), whatever decimal point the caller's locale has. */
static double to_double(const char *text, const char *end)
{
    char copy[128];
    size_t n = (size_t)(end - text);
    if (n >= sizeof copy)
        return (double)NAN;
    memcpy(copy, text, n);
    copy[n] = '\0';
    char *point = strchr(copy, '.');
    if (point)
        *point = *nl_langinfo(RADIXCHAR);
    return strtod(copy, NULL);
}

static enum kvs_code parse_real(const struct quantity *q, const char *text, double per_base,
                                double *value, struct kvs_err *err)
{
    const char *end = NULL;
    const struct unit *unit = split(q, text, &end);
    *value = 0;
    if (!unit)
        return refuse(q, text, err);
    double number = to_double(text, end);
    double mul = (double)unit->mul;
    number = mul >= per_base ? number * (mul / per_base) : number / (per_base / mul);
    if (!isfinite(number))
        return kvs_fail(err, KVS_ERR_RANGE, "\"%.80s\" is over the largest %s", text, q->noun);
    *value = number;
    return KVS_OK;
}

enum kvs_code kvs_parse_bytes(const char *text, uint64_t *bytes, struct kvs_err *err)
{
    bool whole;

    return parse_whole(&bytes_q, text, bytes, &whole, err);
}

enum kvs_code kvs_parse_tok(const char *text, uint64_t *n_tok, struct kvs_err *err)
{
    bool whole;
    enum kvs_code code = parse_whole(&tok_q, text, n_tok, &whole, err);

    if (!code && !whole) {
        *n_tok = 0;
        return kvs_fail(err, KVS_ERR_PARSE, "\"%.80s\" tokens are no whole number", text);
    }
    return code;
}

enum kvs_code kvs_parse_rate(const char *text, double *bytes_per_s, struct kvs_err *err)
{
    return parse_real(&rate_q, text, 8, bytes_per_s, err);
}

enum kvs_code kvs_parse_time(const char *text, double *s, struct kvs_err *err)
{
    return parse_real(&time_q, text, 1e9, s, err);
}

enum kvs_code kvs_parse_u64(const char *text, uint64_t *value, struct kvs_err *err)
{
    *value = 0;
    if (!*text || *skip_digits(text))
        return refuse(&count_q, text, err);
    bool whole;
    return parse_whole(&count_q, text, value, &whole, err);
}

enum kvs_code kvs_parse_double(const char *text, double *value, struct kvs_err *err)
{
    bool minus = *text == '-';
    *value = 0;
    if (!number_end(text + minus))
        return refuse(&double_q, text, err);
    enum kvs_code code = parse_real(&double_q, text + minus, 1, value, err);
    if (minus)
        *value = -*value;
    return code;
}

int64_t kvs_ns(double s)
{
    assert(isfinite(s) && fabs(s) < 292.0 * 365.25 * 86400);
    return llround(s * 1e9);
}

/* Three digits, no more than one unit's worth: 9.99, 99.9, 999. */
static void three_digits(char buf[KVS_TEXT_MAX], double value, const char *unit)
{
    int digits = fabs(value) < 9.995 ? 2 : fabs(value) < 99.95 ? 1 : 0;
    snprintf(buf, KVS_TEXT_MAX, "%.*f %s", digits, value, unit);
}

/* In the largest unit that leaves at least 1 after rounding; steps ascend. */
static char *in_units(char buf[KVS_TEXT_MAX], double value, const struct unit *unit, double base)
{
    while (unit[1].name && fabs(value) * base / (double)unit[1].mul >= 0.9995)
        unit++;
    three_digits(buf, value * base / (double)unit->mul, unit->name);
    return buf;
}

char *kvs_text_bytes(char buf[KVS_TEXT_MAX], double bytes)
{
    /* "B" to "EiB" are rows 1 to 7 of the table, in order */
    struct unit steps[8] = {{0}};
    memcpy(steps, byte_units + 1, 7 * sizeof *steps);
    if (fabs(bytes) < 1023.5) {
        snprintf(buf, KVS_TEXT_MAX, "%.0f B", bytes);
        return buf;
    }
    return in_units(buf, bytes, steps, 1);
}

char *kvs_text_rate(char buf[KVS_TEXT_MAX], double bytes_per_s)
{
    static const struct unit steps[] = {
        {"B/s", 1}, {"kB/s", K}, {"MB/s", K * K}, {"GB/s", K * K * K}, {"TB/s", K * K * K * K},
        {NULL, 0}};
    return in_units(buf, bytes_per_s, steps, 1);
}

char *kvs_text_time(char buf[KVS_TEXT_MAX], double s)
{
    if (s == 0) {
        snprintf(buf, KVS_TEXT_MAX, "0 s");
        return buf;
    }
    return in_units(buf, s, time_units + 1, 1e9);
}

char *kvs_text_count(char buf[KVS_TEXT_MAX], uint64_t n)
{
    char digits[KVS_TEXT_MAX];
    int n_digit = snprintf(digits, sizeof digits, "%" PRIu64, n);
    char *to = buf;
    for (int i = 0; i < n_digit; i++) {
        if (i && (n_digit - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return buf;
}
