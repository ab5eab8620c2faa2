#include "test.h"

#include "base/units.h"

#include <string.h>

static void sizes_are_exact(void **state)
{
    static const struct {
        const char *text;
        uint64_t want;
    } cases[] = {
        {"0", 0},
        {"4096", 4096},
        {"4096B", 4096},
        {"64KiB", 65536},
        {"64 KiB", 65536},
        {"40GiB", 42949672960},
        {"4TiB", 4398046511104},
        {"512GB", 512000000000},
        {"1.5TB", 1500000000000},
        {"0.1GB", 100000000},
        {"2.5kB", 2500},
        {"1e3", 1000},
        {"1.25e2kB", 125000},
        {"100000000000000000000e-5", 1000000000000000},
        {"0.4", 0},
        {"0.5", 1}, /* to nearest, ties up */
        {"1.4999", 1},
        {"0.3KiB", 307}, /* 307.2 */
        {"1e-400", 0},
        {"0e999999", 0},
        {"18446744073709551615", UINT64_MAX},
        {"0.5e1", 5},
        {".5e1", 5},
        {"49.999999999999999999999e-1", 5},
        {"0018446744073709551615", UINT64_MAX},
        {"15.999999999999999999EiB", UINT64_MAX}, /* 2^64 - 1.15 */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvs_err err = {0};
        uint64_t got = 1;
        assert_int_equal(kvs_parse_bytes(cases[i].text, &got, &err), KVS_OK);
        if (got != cases[i].want)
            fail_msg("%s: %llu", cases[i].text, (unsigned long long)got);
    }
}

static void rates_times_and_tokens_know_their_units(void **state)
{
    double d;
    uint64_t n;
    (void)state;
    assert_int_equal(kvs_parse_rate("25GB/s", &d, NULL), KVS_OK);
    assert_true(d == 25e9);
    assert_int_equal(kvs_parse_rate("24 GiB/s", &d, NULL), KVS_OK);
    assert_true(d == 24.0 * 1073741824);
    assert_int_equal(kvs_parse_rate("100Gb/s", &d, NULL), KVS_OK);
    assert_true(d == 12.5e9);
    assert_int_equal(kvs_parse_rate("100Gbit/s", &d, NULL), KVS_OK);
    assert_true(d == 12.5e9);
    assert_int_equal(kvs_parse_rate("5", &d, NULL), KVS_OK);
    assert_true(d == 5);
    assert_int_equal(kvs_parse_time("150ms", &d, NULL), KVS_OK);
    assert_true(d == 0.15);
    assert_int_equal(kvs_parse_time("20us", &d, NULL), KVS_OK);
    assert_true(d == 20e-6);
    assert_int_equal(kvs_parse_time("500ns", &d, NULL), KVS_OK);
    assert_true(d == 500e-9);
    assert_int_equal(kvs_parse_time("3min", &d, NULL), KVS_OK);
    assert_true(d == 180);
    assert_int_equal(kvs_parse_time("2h", &d, NULL), KVS_OK);
    assert_true(d == 7200);
    assert_int_equal(kvs_parse_time("1.5 d", &d, NULL), KVS_OK);
    assert_true(d == 129600);
    assert_int_equal(kvs_parse_time("2", &d, NULL), KVS_OK);
    assert_true(d == 2);
    assert_int_equal(kvs_parse_tok("512", &n, NULL), KVS_OK);
    assert_int_equal(n, 512);
    assert_int_equal(kvs_parse_tok("4k", &n, NULL), KVS_OK);
    assert_int_equal(n, 4000);
    assert_int_equal(kvs_parse_tok("1.5", &n, NULL), KVS_ERR_PARSE); /* no half tokens */
    assert_int_equal(kvs_parse_tok("1.5Ki", &n, NULL), KVS_OK);
    assert_int_equal(n, 1536);
    assert_int_equal(kvs_parse_tok("4Ki", &n, NULL), KVS_OK);
    assert_int_equal(n, 4096);
    assert_int_equal(kvs_parse_double("-1.5e-3", &d, NULL), KVS_OK);
    assert_true(d == -1.5e-3);
}

typedef enum kvs_code parse_fn(const char *text, struct kvs_err *err);
static enum kvs_code bytes_of(const char *text, struct kvs_err *err)
{
    uint64_t value;
    enum kvs_code code = kvs_parse_bytes(text, &value, err);
    assert_int_equal(value, 0);
    return code;
}
static enum kvs_code u64_of(const char *text, struct kvs_err *err)
{
    uint64_t value;
    return kvs_parse_u64(text, &value, err);
}
static enum kvs_code rate_of(const char *text, struct kvs_err *err)
{
    double value;
    return kvs_parse_rate(text, &value, err);
}
static enum kvs_code time_of(const char *text, struct kvs_err *err)
{
    double value;
    return kvs_parse_time(text, &value, err);
}
static enum kvs_code double_of(const char *text, struct kvs_err *err)
{
    double value;
    return kvs_parse_double(text, &value, err);
}

static void what_is_no_quantity_is_refused(void **state)
{
    static const struct {
        parse_fn *parse;
        const char *text;
        enum kvs_code want;
    } cases[] = {
        {bytes_of, "", KVS_ERR_PARSE},
        {bytes_of, "nan", KVS_ERR_PARSE},
        {bytes_of, "inf", KVS_ERR_PARSE},
        {bytes_of, "0x10", KVS_ERR_PARSE},
        {bytes_of, "-5", KVS_ERR_PARSE},
        {bytes_of, "+5", KVS_ERR_PARSE},
        {bytes_of, "5 XB", KVS_ERR_PARSE},
        {bytes_of, "5KB", KVS_ERR_PARSE},
        {bytes_of, "5 ", KVS_ERR_PARSE},
        {bytes_of, " 5", KVS_ERR_PARSE},
        {bytes_of, "5.", KVS_ERR_PARSE},
        {bytes_of, ".", KVS_ERR_PARSE},
        {bytes_of, "1,5", KVS_ERR_PARSE},
        {bytes_of, "GiB", KVS_ERR_PARSE},
        {bytes_of, "5GB/s", KVS_ERR_PARSE},
        {bytes_of, "1e400", KVS_ERR_RANGE},
        {bytes_of, "1e99999999999999999999", KVS_ERR_RANGE},
        {bytes_of, "18446744073709551616", KVS_ERR_RANGE},
        {bytes_of, "16EiB", KVS_ERR_RANGE},
        {bytes_of, "18446744073709551615.5", KVS_ERR_RANGE},
        {u64_of, "", KVS_ERR_PARSE},
        {u64_of, "1.0", KVS_ERR_PARSE},
        {u64_of, "1e3", KVS_ERR_PARSE},
        {u64_of, "12x", KVS_ERR_PARSE},
        {u64_of, "18446744073709551616", KVS_ERR_RANGE},
        {rate_of, "25 XB/s", KVS_ERR_PARSE},
        {rate_of, "25GB", KVS_ERR_PARSE},
        {rate_of, "1e400", KVS_ERR_RANGE},
        {rate_of, "1e308TB/s", KVS_ERR_RANGE},
        {time_of, "5m", KVS_ERR_PARSE},
        {time_of, "-1s", KVS_ERR_PARSE},
        {double_of, "1.5x", KVS_ERR_PARSE},
        {double_of, "--1", KVS_ERR_PARSE},
        {double_of, "nan", KVS_ERR_PARSE},
        {double_of, "-inf", KVS_ERR_PARSE},
        {double_of, "1e400", KVS_ERR_RANGE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvs_err err = {0};
        enum kvs_code got = cases[i].parse(cases[i].text, &err);
        if (got != cases[i].want || err.code != got || !strstr(err.msg, cases[i].text))
            fail_msg("\"%s\": code %d, \"%s\"", cases[i].text, got, err.msg);
    }
}

static void message_says_what_would_do(void **state)
{
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(rate_of("25 XB/s", &err), KVS_ERR_PARSE);
    assert_string_equal(err.msg,
                        "\"25 XB/s\" is no rate: want a number with B/s, kB/s, MB/s, GB/s, "
                        "TB/s, MiB/s, GiB/s, TiB/s, Mb/s or Gb/s");
}

static void seconds_round_to_nearest_nanosecond(void **state)
{
    (void)state;
    assert_int_equal(kvs_ns(0), 0);
    assert_int_equal(kvs_ns(1.5), 1500000000);
    assert_int_equal(kvs_ns(0.4e-9), 0);
    assert_int_equal(kvs_ns(0.5e-9), 1);
    assert_int_equal(kvs_ns(-0.5e-9), -1);
    assert_int_equal(kvs_ns(86400), 86400000000000);
}

static void texts_have_three_digits(void **state)
{
    char buf[KVS_TEXT_MAX];
    (void)state;
    assert_string_equal(kvs_text_bytes(buf, 0), "0 B");
    assert_string_equal(kvs_text_bytes(buf, 1023), "1023 B");
    assert_string_equal(kvs_text_bytes(buf, 1024), "1.00 KiB");
    assert_string_equal(kvs_text_bytes(buf, 12.5 * 1073741824), "12.5 GiB");
    assert_string_equal(kvs_text_rate(buf, 3.2e9), "3.20 GB/s");
    assert_string_equal(kvs_text_rate(buf, 999.9e6), "1.00 GB/s");
    assert_string_equal(kvs_text_rate(buf, 0.5), "0.50 B/s");
    assert_string_equal(kvs_text_time(buf, 1.24e-3), "1.24 ms");
    assert_string_equal(kvs_text_time(buf, 0), "0 s");
    assert_string_equal(kvs_text_time(buf, 59), "59.0 s");
    assert_string_equal(kvs_text_time(buf, 90), "1.50 min");
    assert_string_equal(kvs_text_time(buf, 3e6), "34.7 d");
    assert_string_equal(kvs_text_count(buf, 0), "0");
    assert_string_equal(kvs_text_count(buf, 999), "999");
    assert_string_equal(kvs_text_count(buf, 12031), "12,031");
    assert_string_equal(kvs_text_count(buf, UINT64_MAX), "18,446,744,073,709,551,615");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_exact),
        cmocka_unit_test(rates_times_and_tokens_know_their_units),
        cmocka_unit_test(what_is_no_quantity_is_refused),
        cmocka_unit_test(message_says_what_would_do),
        cmocka_unit_test(seconds_round_to_nearest_nanosecond),
        cmocka_unit_test(texts_have_three_digits),
    };
    return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
