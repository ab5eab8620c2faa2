/*
 * units.h - quantities as people write them, and the one place that rounds seconds to nanoseconds.
 *
 * Bytes: "4096", "64KiB", "40GiB", "1.5TB" (KiB.. powers of 1024, kB.. of 1000, B).
 * Rates: bytes per second: "25GB/s", "24GiB/s", "100Gb/s" or "100Gbit/s" (bits, powers of 1000).
 * Times: "150ms", "2s", "20us", "500ns", "3min", "2h", "1d". Tokens: "512", "4k" (1000), "4Ki"
 * (1024). A bare number is bytes, bytes per second, seconds, tokens. Spaces between number and unit
 * are fine. Sizes and tokens are exact, to the nearest whole one: "1.5TB" is 1500000000000. Over
 * 2^64 - 1, or over the largest double: KVS_ERR_RANGE. NaN, infinity, negative numbers and trailing
 * text are refused: KVS_ERR_PARSE, the message says what was found and what would do ("\"25 XB/s\"
 * is no rate: want a number with B/s, kB/s, ... ").
 */
#ifndef KVS_BASE_UNITS_H
#define KVS_BASE_UNITS_H

#include "err.h"

#include <stddef.h>
#include <stdint.h>

KVS_MUST_CHECK enum kvs_code kvs_parse_bytes(const char *text, uint64_t *bytes,
                                             struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_parse_rate(const char *text, double *bytes_per_s,
                                            struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_parse_time(const char *text, double *s, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_parse_tok(const char *text, uint64_t *n_tok, struct kvs_err *err);
/* A whole decimal number, and a finite decimal number, which may be negative; nothing may follow.
 */
KVS_MUST_CHECK enum kvs_code kvs_parse_u64(const char *text, uint64_t *value, struct kvs_err *err);
KVS_MUST_CHECK enum kvs_code kvs_parse_double(const char *text, double *value, struct kvs_err *err);

/* Seconds to integer nanoseconds, to nearest, ties away from zero. s must be finite and below 292
 * years. */
int64_t kvs_ns(double s);

/* Three digits and a unit into buf, which is returned: "12.5 GiB", "3.20 GB/s", "1.24 ms"; a count
 * whole: "12,031". */
#define KVS_TEXT_MAX 32
char *kvs_text_bytes(char buf[KVS_TEXT_MAX], double bytes);
char *kvs_text_rate(char buf[KVS_TEXT_MAX], double bytes_per_s);
char *kvs_text_time(char buf[KVS_TEXT_MAX], double s);
char *kvs_text_count(char buf[KVS_TEXT_MAX], uint64_t n);

#endif
