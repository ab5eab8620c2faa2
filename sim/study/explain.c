#include "explain.h"

#include "base/units.h"
#include "sheet.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct view {
    const struct kvs_sheet *sheet, *plans;
    uint64_t row; /* of the request, under one policy */
    FILE *to;
};

static double num(const struct view *view, const char *name)
{
    return kvs_sheet_num(view->sheet, view->row, kvs_sheet_col(view->sheet, name));
}

static const char *str(const struct view *view, const char *name)
{
    return kvs_sheet_str(view->sheet, view->row, kvs_sheet_col(view->sheet, name));
}

static bool same_policy(const struct view *view, uint64_t row)
{
    const int policy = kvs_sheet_col(view->sheet, "policy");
    return strcmp(kvs_sheet_str(view->sheet, row, policy), str(view, "policy")) == 0;
}

/* Share of this policy's requests whose TTFT is below this one's. */
static double slower_than_frac(const struct view *view)
{
    const int ttft = kvs_sheet_col(view->sheet, "ttft_ns");
    const double own = num(view, "ttft_ns");
    uint64_t n = 0, n_below = 0;
    for (uint64_t row = 0; row < view->sheet->n_row; row++)
        if (same_policy(view, row)) {
            n++;
            n_below += kvs_sheet_num(view->sheet, row, ttft) < own;
        }
    return n ? (double)n_below / (double)n : 0;
}

/* Requests in the same replica that had come and not ended when this one came. */
static uint64_t n_before(const struct view *view)
{
    const int arrive = kvs_sheet_col(view->sheet, "arrive_ns"),
              finish = kvs_sheet_col(view->sheet, "finish_ns"),
              replica = kvs_sheet_col(view->sheet, "replica");
    const double at = num(view, "arrive_ns");
    uint64_t n = 0;
    for (uint64_t row = 0; row < view->sheet->n_row; row++)
        n += row != view->row && same_policy(view, row) &&
             kvs_sheet_num(view->sheet, row, replica) == num(view, "replica") &&
             kvs_sheet_num(view->sheet, row, arrive) <= at &&
             kvs_sheet_num(view->sheet, row, finish) > at;
    return n;
}

static const char *plan_of(const struct view *view)
{
    const int policy = kvs_sheet_col(view->plans, "policy"),
              plan = kvs_sheet_col(view->plans, "plan"),
              stairs = kvs_sheet_col(view->plans, "recomputed_frac_by_layer");
    if (!*str(view, "plan"))
        return NULL;
    for (uint64_t row = 0; row < view->plans->n_row; row++)
        if (strcmp(kvs_sheet_str(view->plans, row, policy), str(view, "policy")) == 0 &&
            strcmp(kvs_sheet_str(view->plans, row, plan), str(view, "plan")) == 0)
            return kvs_sheet_str(view->plans, row, stairs);
    return NULL;
}

/* "1.2 GiB of 9,830 tokens from nvme" for each tier that had some. */
static void tell_tiers(const struct view *view)
{
    const struct kvs_sheet *sheet = view->sheet;
    char bytes[KVS_TEXT_MAX], tok[KVS_TEXT_MAX];
    for (unsigned i = 0; i < sheet->n_col; i++) {
        const char *end = strstr(sheet->col[i], "_load_bytes");
        char name[64], key[72];
        if (!end || end[strlen("_load_bytes")] || (size_t)(end - sheet->col[i]) >= sizeof name)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(end - sheet->col[i]), sheet->col[i]);
        snprintf(key, sizeof key, "%s_tok", name);
        if (num(view, key) > 0)
            fprintf(view->to, "  %s held %s tokens of it; %s were loaded\n", name,
                    kvs_text_count(tok, (uint64_t)num(view, key)),
                    kvs_text_bytes(bytes, kvs_sheet_num(sheet, view->row, (int)i)));
    }
}

static void tell_reason(const struct view *view)
{
    static const struct {
        const char *key, *words;
    } part[] = {
        {"queue_ns", "waiting for the GPU, or for room in HBM"},
        {"load_ns", "waiting for stored KV while the GPU had nothing nearer to do"},
        {"decode_ns", "the share of its own steps that other sequences took"},
        {"compute_ns", "its own prefill"},
    };
    const double ttft_ns = num(view, "ttft_ns");
    char time[KVS_TEXT_MAX], count[KVS_TEXT_MAX], again[KVS_TEXT_MAX];
    size_t most = 0;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        const double ns = num(view, part[i].key);
        most = ns > num(view, part[most].key) ? i : most;
        if (ns > 0)
            fprintf(view->to, "  %9s  %3.0f %%  %s\n", kvs_text_time(time, ns * 1e-9),
                    100 * ns / ttft_ns, part[i].words);
    }
    fprintf(view->to, "  Most of it is %s", part[most].words);
    if (most == 0 || most == 2)
        fprintf(view->to, ": %s requests were in its replica when it came",
                kvs_text_count(count, n_before(view)));
    if (most == 3)
        fprintf(view->to, ": %s tokens were new, and %s computed again",
                kvs_text_count(count, (uint64_t)num(view, "new_tok")),
                kvs_text_count(again, (uint64_t)num(view, "recompute_tok")));
    fputs(".\n", view->to);
    const double predicted_ns = num(view, "predicted_ttft_ns");
    if (predicted_ns > 0 && fabs(ttft_ns - predicted_ns) > 0.1 * ttft_ns)
        fprintf(view->to,
                "  Its plan foresaw %s; %s came later: others' loads and steps after the plan was "
                "made.\n",
                kvs_text_time(time, predicted_ns * 1e-9),
                ttft_ns > predicted_ns ? "the rest" : "less");
}

static void tell(const struct view *view)
{
    char time[KVS_TEXT_MAX], tok[KVS_TEXT_MAX], again[KVS_TEXT_MAX];
    if (num(view, "refused") > 0) {
        fprintf(view->to, "\n%s: refused, it is larger than a replica's HBM\n",
                str(view, "policy"));
        return;
    }
    fprintf(view->to, "\n%s: TTFT %s, slower than %.1f %% of the requests%s\n", str(view, "policy"),
            kvs_text_time(time, num(view, "ttft_ns") * 1e-9), 100 * slower_than_frac(view),
            num(view, "in_slo") > 0 ? "" : "; outside the SLO");
    fprintf(view->to, "  HBM held %s tokens of it",
            kvs_text_count(tok, (uint64_t)num(view, "hbm_tok")));
    if (num(view, "recompute_tok") > 0)
        fprintf(view->to, "; of what tiers held, %s tokens were computed again",
                kvs_text_count(again, (uint64_t)num(view, "recompute_tok")));
    fputc('\n', view->to);
    tell_tiers(view);
    if (plan_of(view))
        fprintf(view->to, "  plan, layers x share recomputed: %s\n", plan_of(view));
    tell_reason(view);
}

static enum kvs_code open_sheet(const char *dir, const char *name, struct kvs_sheet **sheet,
                                struct kvs_err *err)
{
    char *file = NULL;
    if (asprintf(&file, "%s/%s", dir, name) < 0)
        return kvs_nomem(err);
    enum kvs_code code = kvs_sheet_open(file, sheet, err);
    free(file);
    return code;
}

enum kvs_code kvs_explain_request(const char *dir, uint64_t request, FILE *to, struct kvs_err *err)
{
    struct kvs_sheet *sheet = NULL, *plans = NULL;
    enum kvs_code code = open_sheet(dir, "requests.csv", &sheet, err);
    bool found = false;
    if (!code)
        code = open_sheet(dir, "plans.csv", &plans, err);
    if (sheet && plans) {
        struct view view = {.sheet = sheet, .plans = plans, .to = to};
        const int index = kvs_sheet_col(sheet, "request");
        for (; view.row < sheet->n_row; view.row++) {
            char time[KVS_TEXT_MAX], in[KVS_TEXT_MAX], out[KVS_TEXT_MAX];
            if (kvs_sheet_num(sheet, view.row, index) != (double)request)
                continue;
            if (!found)
                fprintf(to, "request %" PRIu64 ": came at %s; %s tokens in, %s out; simulated\n",
                        request, kvs_text_time(time, num(&view, "arrive_ns") * 1e-9),
                        kvs_text_count(in, (uint64_t)num(&view, "input_tok")),
                        kvs_text_count(out, (uint64_t)num(&view, "output_tok")));
            found = true;
            tell(&view);
        }
        if (!found)
            code = kvs_fail(err, KVS_ERR_ARG, "%s: holds no request %" PRIu64, dir, request);
    }
    kvs_sheet_free(sheet);
    kvs_sheet_free(plans);
    return code;
}
