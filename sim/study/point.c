#include "point.h"

#include "report/csv.h"
#include "report/replay.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double none = (double)NAN;

/* --- figures: one line a column ----------------------------------------------------------------
 */

static double share_of_input(const struct kvs_outcome *o, uint64_t tok)
{
    return o->sim.input_tok ? (double)tok / (double)o->sim.input_tok : none;
}

static double tier_hit(const struct kvs_outcome *o, uint32_t i)
{
    return i < o->sim.n_tier ? share_of_input(o, o->sim.tier[i].hit_tok) : none;
}

static double tier_write(const struct kvs_outcome *o, uint32_t i)
{
    return i < o->sim.n_tier ? (double)o->sim.tier[i].write_bytes : none;
}

static double tiers_hit(const struct kvs_outcome *o)
{
    uint64_t tok = 0;
    for (uint32_t i = 0; i < o->sim.n_tier; i++)
        tok += o->sim.tier[i].hit_tok;
    return share_of_input(o, tok);
}

static double tiers_dropped(const struct kvs_outcome *o)
{
    double bytes = 0;
    for (uint32_t i = 0; i < o->sim.n_tier; i++)
        bytes += (double)o->sim.tier[i].write_dropped_bytes;
    return bytes;
}

/* Between the nodes of tiers that all hosts see. */
static double tiers_network(const struct kvs_outcome *o)
{
    double bytes = 0;
    for (uint32_t i = 0; i < o->sim.n_tier; i++)
        bytes += (double)o->sim.tier[i].network_bytes;
    return bytes;
}

/* Requests a second as they came. */
static double offered(const struct kvs_outcome *o)
{
    const double span_s = (double)(o->sim.last_arrive_ns - o->sim.first_arrive_ns) * 1e-9;
    return span_s > 0 ? (double)(o->sim.n_request - 1) / span_s : none;
}

#define FIGURES(X)                                                                                 \
    X(requests, (double)o->sim.n_request)                                                          \
    X(refused, (double)o->sim.n_refused)                                                           \
    X(offered_req_per_s, offered(o))                                                               \
    X(throughput_req_per_s, o->throughput_per_s)                                                   \
    X(goodput_req_per_s, o->goodput_per_s)                                                         \
    X(in_slo_frac, o->in_slo_frac)                                                                 \
    X(ttft_mean_s, o->ttft_s.mean)                                                                 \
    X(ttft_p50_s, o->ttft_s.p50)                                                                   \
    X(ttft_p90_s, o->ttft_s.p90)                                                                   \
    X(ttft_p95_s, o->ttft_s.p95)                                                                   \
    X(ttft_p99_s, o->ttft_s.p99)                                                                   \
    X(tpot_mean_s, o->tpot_s.mean)                                                                 \
    X(tpot_p50_s, o->tpot_s.p50)                                                                   \
    X(tpot_p99_s, o->tpot_s.p99)                                                                   \
    X(e2e_mean_s, o->e2e_s.mean)                                                                   \
    X(e2e_p99_s, o->e2e_s.p99)                                                                     \
    X(input_tok, (double)o->sim.input_tok)                                                         \
    X(output_tok, (double)o->sim.output_tok)                                                       \
    X(hbm_hit_frac, share_of_input(o, o->sim.hbm_hit_tok))                                         \
    X(tiers_hit_frac, tiers_hit(o))                                                                \
    X(tier0_hit_frac, tier_hit(o, 0))                                                              \
    X(tier1_hit_frac, tier_hit(o, 1))                                                              \
    X(tier2_hit_frac, tier_hit(o, 2))                                                              \
    X(tier3_hit_frac, tier_hit(o, 3))                                                              \
    X(recomputed_frac, share_of_input(o, o->sim.recompute_tok))                                    \
    X(gpu_busy_frac, o->gpu_busy_frac)                                                             \
    X(gpu_prefill_frac, o->gpu_prefill_frac)                                                       \
    X(gpu_decode_frac, o->gpu_decode_frac)                                                         \
    X(gpu_stall_frac, o->gpu_stall_frac)                                                           \
    X(busiest_link_frac, o->busiest_frac)                                                          \
    X(load_bytes, o->load_bytes)                                                                   \
    X(write_bytes, o->write_bytes)                                                                 \
    X(tier0_write_bytes, tier_write(o, 0))                                                         \
    X(tier1_write_bytes, tier_write(o, 1))                                                         \
    X(tier2_write_bytes, tier_write(o, 2))                                                         \
    X(tier3_write_bytes, tier_write(o, 3))                                                         \
    X(write_dropped_bytes, tiers_dropped(o))                                                       \
    X(network_bytes, tiers_network(o))                                                             \
    X(span_s, o->span_s)

#define ENTRY(name, value) FIGURE_##name,
enum { FIGURES(ENTRY) N_FIGURE };
#undef ENTRY

static void put_figures(struct kvs_csv *csv, const struct kvs_outcome *o)
{
#define PUT(name, value) kvs_csv_double(csv, value);
    FIGURES(PUT)
#undef PUT
}

/* --- rows --------------------------------------------------------------------------------------
 */

/* A row in memory: what csv.h needs of a file. */
struct text {
    char *text;
    size_t n;
    FILE *to;
    struct kvs_csv csv;
};

static struct text *text_new(void)
{
    struct text *t = calloc(1, sizeof *t);
    if (t && (t->to = open_memstream(&t->text, &t->n)))
        kvs_csv_begin(&t->csv, t->to);
    if (t && t->to)
        return t;
    free(t);
    return NULL;
}

/* The text, without the last row's line end, other line ends as separators. */
static char *text_end(struct text *t)
{
    kvs_csv_end(&t->csv);
    const bool bad = fclose(t->to) != 0;
    char *text = t->text;
    free(t);
    if (bad) {
        free(text);
        return NULL;
    }
    for (char *at = text; (at = strchr(at, '\n'));)
        *at = at[1] ? KVS_POINT_SEPARATOR : '\0';
    return text;
}

char *kvs_point_header(const struct kvs_spec *spec)
{
    struct text *t = text_new();
    if (!t)
        return NULL;
    kvs_csv_str(&t->csv, "point");
    for (uint32_t i = 0; i < spec->n_axis; i++)
        kvs_csv_quoted(&t->csv, spec->axis[i].name);
    kvs_csv_str(&t->csv, "policy");
    kvs_csv_str(&t->csv, "status");
    kvs_csv_str(&t->csv, "verdict");
    kvs_csv_str(&t->csv, "busiest_link");
#define NAME(name, value) kvs_csv_str(&t->csv, #name);
    FIGURES(NAME)
#undef NAME
    kvs_csv_row(&t->csv);
    return text_end(t);
}

static void begin_row(struct kvs_csv *csv, const struct kvs_spec *spec, uint64_t point)
{
    kvs_csv_u64(csv, point);
    for (uint32_t i = 0; i < spec->n_axis; i++)
        kvs_csv_quoted(csv, spec->axis[i].value[kvs_spec_value_i(spec, point, i)].label);
}

static void put_row(struct kvs_csv *csv, const struct kvs_spec *spec, uint64_t point,
                    const struct kvs_outcome *o)
{
    begin_row(csv, spec, point);
    kvs_csv_str(csv, o->policy);
    kvs_csv_str(csv, "ok");
    kvs_csv_str(csv, kvs_verdict_name(o->sim.verdict));
    if (o->busiest_link == UINT32_MAX)
        kvs_csv_str(csv, "");
    else
        kvs_csv_str2(csv, o->sim.link[o->busiest_link].name,
                     o->sim.link[o->busiest_link].write ? " write" : "");
    put_figures(csv, o);
    kvs_csv_row(csv);
}

char *kvs_point_failed(const struct kvs_spec *spec, uint64_t point, const char *reason)
{
    struct text *t = text_new();
    if (!t)
        return NULL;
    begin_row(&t->csv, spec, point);
    kvs_csv_str(&t->csv, "");
    kvs_csv_quoted(&t->csv, reason);
    kvs_csv_str(&t->csv, "");
    kvs_csv_str(&t->csv, "");
    for (int i = 0; i < N_FIGURE; i++)
        kvs_csv_str(&t->csv, "");
    kvs_csv_row(&t->csv);
    return text_end(t);
}

bool kvs_point_is_failed(const struct kvs_spec *spec, const char *rows)
{
    bool quoted = false;
    uint32_t field = 0;
    for (; *rows && field < spec->n_axis + 1; rows++) { /* the policy's field: empty in a failure */
        quoted ^= *rows == '"';
        field += *rows == ',' && !quoted;
    }
    return *rows == ',';
}

/* --- the run -----------------------------------------------------------------------------------
 */

enum kvs_code kvs_point_document(const struct kvs_spec *spec, uint64_t point, struct kvs_doc **doc,
                                 struct kvs_err *err)
{
    struct kvs_strs sets;
    kvs_spec_sets(spec, point, &sets);
    return kvs_workload_document(spec->workload, &sets, doc, err);
}

static enum kvs_code run_policies(const struct kvs_point_job *job, uint64_t point,
                                  const struct kvs_workload *workload, struct kvs_csv *csv,
                                  struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    for (uint32_t i = 0; i < workload->n_policy && !code; i++) {
        struct kvs_outcome *outcome = calloc(1, sizeof *outcome); /* some 10 KB */
        if (!outcome)
            return kvs_nomem(err);
        if (!(code = kvs_replay_outcome(workload, i, outcome, err)))
            put_row(csv, job->spec, point, outcome);
        kvs_outcome_free(outcome);
        free(outcome);
    }
    return code;
}

char *kvs_point_run(const struct kvs_point_job *job, uint64_t point)
{
    struct kvs_err err = {0};
    struct kvs_doc *doc = NULL;
    struct kvs_workload *workload = NULL;
    struct text *t = text_new();
    enum kvs_code code;
    if (!t)
        return NULL;
    if (!(code = kvs_point_document(job->spec, point, &doc, &err))) {
        if ((code = kvs_traces_use(job->traces, doc, &err)))
            kvs_doc_free(doc);
        else if (!(code = kvs_workload_from(doc, job->spec->workload, &workload, &err)))
            code = run_policies(job, point, workload, &t->csv, &err);
    }
    kvs_workload_free(workload);
    char *rows = text_end(t);
    if (!code)
        return rows;
    free(rows);
    return kvs_point_failed(job->spec, point, err.msg);
}
