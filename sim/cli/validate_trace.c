/*
 * validate_trace.c - kvsim validate trace: what the replay is asked, and what it says.
 */
#include "validate_trace.h"

#include "base/hist.h"
#include "base/outdir.h"
#include "report/csv.h"
#include "store/evict.h"

#include <math.h>
#include <stdlib.h>

#define MOST_APART 0.01 /* of hit tokens, where requests come by the clock */

#define AT(field) offsetof(struct kvs_vt_options, field)
static const struct kvs_opt table[] = {
    {"weights", KVS_OPT_STR, AT(weights), NULL, 0, 0, "the model: GGUF, safetensors or llama2.c",
     NULL, true, 'w'},
    {"device", KVS_OPT_STR, AT(device), "cpu", 0, 0, "what computes: see kvsim devices", NULL,
     false, 'd'},
    {"store", KVS_OPT_STR, AT(store), NULL, 0, 0,
     "folder, or redis:HOST:PORT, for the blocks (a temporary folder)", NULL, false, 0},
    {"set", KVS_OPT_MANY, AT(sets), NULL, 0, 0, "PATH=VALUE of the workload, as kvsim run has it",
     NULL, false, 0},
    {"requests", KVS_OPT_U64, AT(requests), "100", 1, 1e6, "the trace's first so many", NULL, false,
     'n'},
    {"scale", KVS_OPT_DOUBLE, AT(scale), "1", 1e-6, 1, "tokens of each text, of the trace's", NULL,
     false, 0},
    {"block", KVS_OPT_TOK, AT(block_tok), "64", 1, 65536, "tokens of a block", NULL, false, 0},
    {"seed", KVS_OPT_U64, AT(seed), "1", 0, 0, "of made-up tokens", NULL, false, 0},
    {"window", KVS_OPT_BYTES, AT(window_bytes), "1GiB", 4096, 1e15,
     "pinned memory that loads may take", NULL, false, 0},
    {"clock", KVS_OPT_FLAG, AT(clock), NULL, 0, 0,
     "requests come when the trace says, and wait; else each when all of the last is done", NULL,
     false, 0},
    {"throttle", KVS_OPT_FLAG, AT(throttle), NULL, 0, 0,
     "keep the store at the rate and latency that the profile gives the tier", NULL, false, 0},
    {"json", KVS_OPT_FLAG, AT(json), NULL, 0, 0,
     "print JSON (configs/schema/validate_trace.schema.json)", NULL, false, 0},
    {"out", KVS_OPT_STR, AT(out), NULL, 0, 0,
     "folder for validate_trace.json and validate_trace.csv, a row a request", NULL, false, 'o'},
    {"overwrite", KVS_OPT_FLAG, AT(overwrite), NULL, 0, 0, "replace the folder", NULL, false, 0},
};
#define N_OPT (unsigned)(sizeof table / sizeof *table)

/* --- what it comes to ---------------------------------------------------------------------------
 */

struct hits {
    uint64_t simulated_tok, measured_tok, apart_tok, prompt_tok;
    uint32_t n_apart, n_plan_apart, n_fell_back; /* requests */
};

static uint32_t apart(uint32_t a, uint32_t b)
{
    return a > b ? a - b : b - a;
}

static struct hits count(const struct kvs_vt *vt)
{
    struct hits hits = {0};

    for (uint32_t i = 0; i < vt->n; i++) {
        const struct kvs_vt_row *row = &vt->row[i];

        hits.prompt_tok += vt->prompt[i].n_tok;
        hits.simulated_tok += row->simulated.hit_tok;
        hits.measured_tok += row->measured.hit_tok;
        hits.apart_tok += apart(row->simulated.hit_tok, row->measured.hit_tok);
        hits.n_apart += row->simulated.hit_tok != row->measured.hit_tok;
        hits.n_plan_apart += row->simulated.recompute_tok != row->measured.recompute_tok;
        hits.n_fell_back += row->fell_back;
    }
    return hits;
}

static bool are_equal(const struct kvs_vt *vt, const struct hits *hits)
{
    if (vt->options.clock)
        return (double)hits->apart_tok <= MOST_APART * (double)hits->simulated_tok;
    return hits->n_apart == 0 && vt->simulated_insert == vt->measured_insert &&
           vt->simulated_evict == vt->measured_evict;
}

enum { MEAN, P10, P50, P90, P95, P99, N_FIGURE };
static const char *const figure_names[N_FIGURE] = {"mean", "p10", "p50", "p90", "p95", "p99"};
static const double percent[N_FIGURE] = {0, 10, 50, 90, 95, 99};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Of sorted seconds. */
static void figures(double *s, uint32_t n, double figure[N_FIGURE])
{
    double sum = 0;

    qsort(s, n, sizeof *s, by_value);
    for (uint32_t i = 0; i < n; i++)
        sum += s[i];
    figure[MEAN] = sum / n;
    for (int f = P10; f < N_FIGURE; f++)
        figure[f] = kvs_percentile(s, n, percent[f]);
}

static bool distributions(const struct kvs_vt *vt, double simulated[N_FIGURE],
                          double measured[N_FIGURE])
{
    double *s = malloc(vt->n * sizeof *s);

    for (uint32_t i = 0; s && i < vt->n; i++)
        s[i] = (double)vt->row[i].simulated.ttft_ns * 1e-9;
    if (s)
        figures(s, vt->n, simulated);
    for (uint32_t i = 0; s && i < vt->n; i++)
        s[i] = (double)vt->row[i].measured.ttft_ns * 1e-9;
    if (s)
        figures(s, vt->n, measured);
    free(s);
    return s;
}

/* --- telling ------------------------------------------------------------------------------------
 */

static json_t *figures_json(const double *figure, const double *of)
{
    json_t *json = json_object();

    for (int f = 0; json && f < N_FIGURE; f++)
        json_object_set_new(json, figure_names[f],
                            json_real(of ? figure[f] / of[f] - 1 : figure[f]));
    return json;
}

static json_t *side_json(const struct kvs_vt_side *side)
{
    return json_pack("{si si sf sI}", "hit_tok", (int)side->hit_tok, "recompute_tok",
                     (int)side->recompute_tok, "ttft_s", (double)side->ttft_ns * 1e-9, "load_bytes",
                     (json_int_t)side->load_bytes);
}

static json_t *rows_json(const struct kvs_vt *vt)
{
    json_t *rows = json_array();

    for (uint32_t i = 0; rows && i < vt->n; i++)
        json_array_append_new(rows, json_pack("{sf si so so sf sb}", "arrive_s",
                                              (double)vt->prompt[i].arrive_ns * 1e-9, "prompt_tok",
                                              (int)vt->prompt[i].n_tok, "simulated",
                                              side_json(&vt->row[i].simulated), "measured",
                                              side_json(&vt->row[i].measured), "measured_run_s",
                                              (double)vt->row[i].run_ns * 1e-9, "fell_back",
                                              (int)vt->row[i].fell_back));
    return rows;
}

static json_t *report_json(const struct kvs_vt *vt)
{
    double simulated[N_FIGURE], measured[N_FIGURE];
    struct hits hits = count(vt);
    const struct kvs_tier_config *tier = &vt->config.tier[0];

    if (!distributions(vt, simulated, measured))
        return NULL;
    return json_pack(
        "{ss ss ss ss ss ss ss sb si si sf sI sI sI so so}", "workload", vt->workload->name, "mode",
        vt->options.clock ? "clock" : "one-at-a-time", "policy", vt->policy, "model",
        kvs_model_name(vt->config.model), "hardware", vt->config.hw->name, "tier", tier->name,
        "evict", tier->evict->name, "throttled", (int)vt->options.throttle, "requests", (int)vt->n,
        "block_tok", (int)vt->options.block_tok, "scale", vt->options.scale, "seed",
        (json_int_t)vt->options.seed, "capacity_bytes", (json_int_t)tier->capacity_bytes,
        "block_bytes", (json_int_t)vt->block_bytes, "hits",
        json_pack("{sb sI sI sI sI si si si s{sI sI} s{sI sI}}", "equal", (int)are_equal(vt, &hits),
                  "prompt_tok", (json_int_t)hits.prompt_tok, "simulated_tok",
                  (json_int_t)hits.simulated_tok, "measured_tok", (json_int_t)hits.measured_tok,
                  "apart_tok", (json_int_t)hits.apart_tok, "requests_apart", (int)hits.n_apart,
                  "plans_apart", (int)hits.n_plan_apart, "fell_back", (int)hits.n_fell_back,
                  "stored_blocks", "simulated", (json_int_t)vt->simulated_insert, "measured",
                  (json_int_t)vt->measured_insert, "evicted_blocks", "simulated",
                  (json_int_t)vt->simulated_evict, "measured", (json_int_t)vt->measured_evict),
        "ttft_s",
        json_pack("{so so so}", "simulated", figures_json(simulated, NULL), "measured",
                  figures_json(measured, NULL), "error", figures_json(simulated, measured)));
}

static void show(const struct kvs_vt *vt, const json_t *report)
{
    const json_t *ttft = json_object_get(report, "ttft_s");
    struct hits hits = count(vt);

    printf("%u requests, %llu tokens, %s; %s, store of %llu blocks, %s%s%s\n", vt->n,
           (unsigned long long)hits.prompt_tok,
           vt->options.clock ? "by the trace's clock" : "one at a time", vt->policy,
           (unsigned long long)(vt->config.tier[0].capacity_bytes / vt->block_bytes),
           vt->config.tier[0].evict->name, vt->how[0] ? "; read by " : "", vt->how);
    printf("\n%-16s %12s %12s %9s\n", "", "simulated", "measured", "error");
    printf("%-16s %12llu %12llu %9s\n", "hits, tokens", (unsigned long long)hits.simulated_tok,
           (unsigned long long)hits.measured_tok, hits.n_apart ? "" : "equal");
    printf("%-16s %12llu %12llu\n", "stored, blocks", (unsigned long long)vt->simulated_insert,
           (unsigned long long)vt->measured_insert);
    printf("%-16s %12llu %12llu\n", "evicted, blocks", (unsigned long long)vt->simulated_evict,
           (unsigned long long)vt->measured_evict);
    for (int f = 0; f < N_FIGURE; f++) {
        const char *name = figure_names[f];
        char label[32];

        snprintf(label, sizeof label, "TTFT %s, s", name);
        printf("%-16s %12.4f %12.4f %8.1f%%\n", label,
               json_number_value(json_object_get(json_object_get(ttft, "simulated"), name)),
               json_number_value(json_object_get(json_object_get(ttft, "measured"), name)),
               100 * json_number_value(json_object_get(json_object_get(ttft, "error"), name)));
    }
    if (hits.n_fell_back)
        printf("%u requests gave their plan up and computed the whole prompt\n", hits.n_fell_back);
}

static void csv_side(struct kvs_csv *csv, const struct kvs_vt_side *side)
{
    kvs_csv_u64(csv, side->hit_tok);
    kvs_csv_u64(csv, side->recompute_tok);
    kvs_csv_u64(csv, side->load_bytes);
    kvs_csv_double(csv, (double)side->ttft_ns * 1e-9);
}

static void write_csv(const struct kvs_vt *vt, FILE *to, struct kvs_csv *csv)
{
    static const char *const names[] = {"request",           "arrive_s",         "prompt_tok",
                                        "simulated_hit_tok", "simulated_re_tok", "simulated_load_b",
                                        "simulated_ttft_s",  "measured_hit_tok", "measured_re_tok",
                                        "measured_load_b",   "measured_ttft_s",  "measured_run_s",
                                        "fell_back"};

    kvs_csv_begin(csv, to);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        kvs_csv_str(csv, names[i]);
    kvs_csv_row(csv);
    for (uint32_t i = 0; i < vt->n; i++) {
        kvs_csv_u64(csv, i);
        kvs_csv_double(csv, (double)vt->prompt[i].arrive_ns * 1e-9);
        kvs_csv_u64(csv, vt->prompt[i].n_tok);
        csv_side(csv, &vt->row[i].simulated);
        csv_side(csv, &vt->row[i].measured);
        kvs_csv_double(csv, (double)vt->row[i].run_ns * 1e-9);
        kvs_csv_u64(csv, vt->row[i].fell_back);
        kvs_csv_row(csv);
    }
    kvs_csv_end(csv);
}

static enum kvs_code write_files(const struct kvs_vt *vt, const json_t *report, struct kvs_err *err)
{
    struct kvs_outdir *out = NULL;
    struct kvs_csv *csv = malloc(sizeof *csv);
    FILE *to;
    enum kvs_code code =
        csv ? kvs_outdir_begin(vt->options.out, vt->options.overwrite, &out, err) : kvs_nomem(err);

    if (!code && !(to = kvs_outdir_file(out, "validate_trace.json", err)))
        code = err->code;
    if (!code && json_dumpf(report, to, JSON_INDENT(2) | JSON_REAL_PRECISION(9)))
        kvs_fail(err, KVS_ERR_IO, "the results could not be written");
    if (!code)
        code = kvs_outdir_close(out, to, err);
    if (!code && !(to = kvs_outdir_file(out, "validate_trace.csv", err)))
        code = err->code;
    if (!code) {
        write_csv(vt, to, csv);
        code = kvs_outdir_close(out, to, err);
    }
    code = code ? code : err->code;
    if (!code)
        code = kvs_outdir_commit(out, err);
    else
        kvs_outdir_abort(out);
    free(csv);
    return code;
}

static enum kvs_code tell(const struct kvs_vt *vt, struct kvs_err *err)
{
    json_t *report = report_json(vt), *rows = report ? rows_json(vt) : NULL;
    enum kvs_code code =
        rows && !json_object_set_new(report, "rows", rows) ? KVS_OK : kvs_nomem(err);

    if (!code && vt->options.out)
        code = write_files(vt, report, err);
    if (!code && vt->options.json) {
        (void)json_dumpf(report, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)); /* main checks */
        putchar('\n');
    } else if (!code) {
        show(vt, report);
    }
    json_decref(report);
    struct hits hits = count(vt);
    if (!code && !are_equal(vt, &hits))
        code = kvs_fail(
            err, KVS_ERR_CHECK,
            "the store and its simulation differ: %u of %u requests hit other blocks, "
            "%llu tokens of %llu; stored %llu and %llu blocks, evicted %llu and %llu",
            hits.n_apart, vt->n, (unsigned long long)hits.apart_tok,
            (unsigned long long)hits.simulated_tok, (unsigned long long)vt->simulated_insert,
            (unsigned long long)vt->measured_insert, (unsigned long long)vt->simulated_evict,
            (unsigned long long)vt->measured_evict);
    return code;
}

enum kvs_code kvs_val_trace(int argc, char *const *argv, struct kvs_err *err)
{
    struct kvs_vt_options options = {0};
    struct kvs_strs files = {0};
    struct kvs_vt vt = {0};
    bool help;
    enum kvs_code code = kvs_opt_argv(table, N_OPT, argc, argv, &options, &files, &help, err);

    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, "kvsim validate trace WORKLOAD.json --weights W [options]",
                     "Replays a workload's first requests on a device behind a real store, and on "
                     "the simulator: hits are\ncompared block by block, TTFT as distributions. The "
                     "trace's texts become made-up tokens. One request\nis under way at a time, "
                     "nothing decodes, and HBM keeps nothing between requests, on both sides.",
                     table, N_OPT);
        return KVS_OK;
    }
    if (files.n != 1)
        return kvs_fail(err, KVS_ERR_ARG, "found %u workloads, want one", files.n);
    code = kvs_vt_begin(files.v[0], &options, &vt, err);
    if (!code)
        code = kvs_vt_simulate(&vt, err);
    if (!code)
        code = kvs_vt_measure(&vt, err);
    if (!code)
        code = tell(&vt, err);
    kvs_vt_end(&vt);
    return code;
}
