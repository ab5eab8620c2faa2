/*
 * Azure LLM inference traces of 2023 and 2024 (Azure/AzurePublicDataset; Patel et al., ISCA 2024;
 * Stojkovic et al., HPCA 2025): CSV with columns TIMESTAMP (wall clock, YYYY-MM-DD HH:MM:SS.f; what
 * may follow as a zone is left out), ContextTokens, GeneratedTokens. Arrivals and lengths only.
 */
#include "trace_format.h"

#include <string.h>

static const char header[] = "TIMESTAMP,ContextTokens,GeneratedTokens";
static const int64_t second_ns = 1000000000;

static bool azure_detect(const char *line)
{
    return strncmp(line, header, sizeof header - 1) == 0;
}

/* n digits; false if there are others. */
static bool digits(const char **at, int n, int64_t *value)
{
    *value = 0;
    for (; n; n--, (*at)++) {
        if (**at < '0' || **at > '9')
            return false;
        *value = *value * 10 + (**at - '0');
    }
    return true;
}

static bool mark(const char **at, char c)
{
    if (**at != c)
        return false;
    (*at)++;
    return true;
}

/* Days from 1970-01-01 in the Gregorian calendar (Hinnant, days_from_civil). */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year, era = y / 400, year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

static bool scan_clock(struct kvs_scan *scan, int64_t *ns)
{
    const char *at = scan->at;
    int64_t year, month, day, hour, minute, second, unit_ns = second_ns;
    if (!digits(&at, 4, &year) || !mark(&at, '-') || !digits(&at, 2, &month) || !mark(&at, '-') ||
        !digits(&at, 2, &day) || !mark(&at, ' ') || !digits(&at, 2, &hour) || !mark(&at, ':') ||
        !digits(&at, 2, &minute) || !mark(&at, ':') || !digits(&at, 2, &second) || year < 1970 ||
        year > 2100 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 ||
        second > 60)
        return kvs_scan_want(scan, "YYYY-MM-DD HH:MM:SS.f");
    *ns = (days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second) * second_ns;
    if (*at == '.')
        for (at++; *at >= '0' && *at <= '9'; at++) {
            unit_ns /= 10;
            *ns += (*at - '0') * unit_ns;
        }
    scan->at = at + strcspn(at, ",");
    return true;
}

static enum kvs_code azure_row(struct kvs_trace *trace, const char *line, struct kvs_err *err)
{
    struct kvs_scan scan;
    int64_t at_ns = 0;
    uint32_t input_tok = 0, output_tok = 0;
    bool ok;
    if (azure_detect(line)) {
        trace->no_request = true;
        return KVS_OK;
    }
    kvs_scan_begin(&scan, trace->lines, line, err);
    scan.field = "TIMESTAMP";
    ok = scan_clock(&scan, &at_ns) && kvs_scan_comma(&scan);
    scan.field = "ContextTokens";
    ok = ok && kvs_scan_u32(&scan, 1, &input_tok) && kvs_scan_comma(&scan);
    scan.field = "GeneratedTokens";
    ok = ok && kvs_scan_u32(&scan, 0, &output_tok) && kvs_scan_end(&scan);
    return ok ? kvs_row_end(trace, at_ns, 0, input_tok, output_tok, err) : err->code;
}

const struct kvs_trace_ops kvs_trace_azure = {
    .name = "azure",
    .help = "Azure LLM inference traces, CSV (Azure/AzurePublicDataset): arrivals and lengths",
    .detect = azure_detect,
    .row = azure_row,
};
