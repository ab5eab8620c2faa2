/*
 * Every parser of quantities over one text: what one accepts is in range, and is written as text.
 */
#include "base/units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

static void check(enum kvs_code code, const struct kvs_err *err)
{
    if (err->code != code || (code && code != KVS_ERR_PARSE && code != KVS_ERR_RANGE))
        abort();
}

static void parse_whole(const char *text,
                        enum kvs_code (*parse)(const char *, uint64_t *, struct kvs_err *))
{
    struct kvs_err err = {0};
    char buf[KVS_TEXT_MAX];
    uint64_t value;
    enum kvs_code code = parse(text, &value, &err);
    check(code, &err);
    if (code && value)
        abort();
    if (strlen(kvs_text_count(buf, value)) >= sizeof buf ||
        strlen(kvs_text_bytes(buf, (double)value)) >= sizeof buf)
        abort();
}

static void parse_real(const char *text,
                       enum kvs_code (*parse)(const char *, double *, struct kvs_err *))
{
    struct kvs_err err = {0};
    char buf[KVS_TEXT_MAX];
    double value;
    enum kvs_code code = parse(text, &value, &err);
    check(code, &err);
    if (!isfinite(value))
        abort();
    if (strlen(kvs_text_time(buf, value)) >= sizeof buf ||
        strlen(kvs_text_rate(buf, value)) >= sizeof buf)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    char *text = malloc(n_byte + 1);
    if (!text)
        return 0;
    memcpy(text, data, n_byte);
    text[n_byte] = '\0';
    parse_whole(text, kvs_parse_bytes);
    parse_whole(text, kvs_parse_tok);
    parse_whole(text, kvs_parse_u64);
    parse_real(text, kvs_parse_rate);
    parse_real(text, kvs_parse_time);
    parse_real(text, kvs_parse_double);
    free(text);
    return 0;
}
