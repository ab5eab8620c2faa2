#include "outcome.h"

#include "base/hist.h"
#include "plan/levels.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const kvs_ttft_part_name[KVS_N_TTFT_PART] = {"queue", "load", "decode", "compute"};

static const double none = (double)NAN; /* a figure over no request */

static double part_s(const struct kvs_row *row, enum kvs_ttft_part part)
{
    const int64_t ns[KVS_N_TTFT_PART] = {row->queue_ns, row->load_ns, row->decode_ns,
                                         row->compute_ns};
    return (double)ns[part] * 1e-9;
}

static double ttft_s(const struct kvs_row *row)
{
    return (double)(row->first_token_ns - row->arrive_ns) * 1e-9;
}

/* Sorts value in place. */
static struct kvs_spread spread(double *value, uint64_t n)
{
    double sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += value[i];
    if (n)
        qsort(value, n, sizeof *value, kvs_cmp_double);
    return (struct kvs_spread){
        .mean = n ? sum / (double)n : none,
        .p50 = kvs_percentile(value, n, 50),
        .p90 = kvs_percentile(value, n, 90),
        .p95 = kvs_percentile(value, n, 95),
        .p99 = kvs_percentile(value, n, 99),
        .max = n ? value[n - 1] : none,
    };
}

/* How many of the first rows are the warm-up. Sets what MSER-5 says; value is scratch. */
static uint64_t warmup_rows(struct kvs_outcome *outcome, const struct kvs_collect *collect,
                            const struct kvs_warmup *warmup, double *value)
{
    uint64_t n = 0, cut = 0;
    for (uint64_t i = 0; i < collect->n_row; i++)
        if (!collect->row[i].refused)
            value[n++] = ttft_s(&collect->row[i]);
    outcome->n_mser5 = kvs_mser5(value, n, &outcome->has_mser5);
    switch (warmup->cut) {
    case KVS_CUT_NONE:
        break;
    case KVS_CUT_REQUESTS:
        cut = warmup->n_request;
        break;
    case KVS_CUT_TIME:
        while (cut < collect->n_row &&
               (double)(collect->row[cut].arrive_ns - collect->row[0].arrive_ns) * 1e-9 <
                   warmup->time_s)
            cut++;
        break;
    case KVS_CUT_AUTO: /* refused ones among the first are left out with them */
        for (n = 0; n < outcome->n_mser5; cut++)
            n += !collect->row[cut].refused;
    }
    return cut < collect->n_row ? cut : collect->n_row;
}

/* Requests within the SLO a second, in KVS_N_BATCH equal parts of the time of arrivals. */
static struct kvs_interval goodput_interval(const struct kvs_outcome *outcome,
                                            const struct kvs_collect *collect)
{
    double batch[KVS_N_BATCH] = {0};
    const struct kvs_row *first = &collect->row[outcome->n_warmup];
    const uint64_t n = collect->n_row - outcome->n_warmup;
    const double span_ns = n ? (double)(first[n - 1].arrive_ns - first->arrive_ns) : 0;
    if (n < 10 * KVS_N_BATCH || span_ns <= 0)
        return (struct kvs_interval){none, none};
    for (uint64_t i = 0; i < n; i++) {
        double at = (double)(first[i].arrive_ns - first->arrive_ns) / span_ns * KVS_N_BATCH;
        batch[at < KVS_N_BATCH ? (int)at : KVS_N_BATCH - 1] += first[i].in_slo;
    }
    for (int b = 0; b < KVS_N_BATCH; b++)
        batch[b] *= KVS_N_BATCH / (span_ns * 1e-9);
    return kvs_batch_interval(outcome->goodput_per_s, batch);
}

/* Mean of each part over the rows whose TTFT lies from lo to hi; sums are in row order. */
static void part_means(const struct kvs_collect *collect, uint64_t first, double lo, double hi,
                       double *mean_s)
{
    uint64_t n = 0;
    for (int part = 0; part < KVS_N_TTFT_PART; part++)
        mean_s[part] = 0;
    for (uint64_t i = first; i < collect->n_row; i++) {
        const struct kvs_row *row = &collect->row[i];
        if (row->refused || ttft_s(row) < lo || ttft_s(row) > hi)
            continue;
        n++;
        for (int part = 0; part < KVS_N_TTFT_PART; part++)
            mean_s[part] += part_s(row, (enum kvs_ttft_part)part);
    }
    for (int part = 0; part < KVS_N_TTFT_PART; part++)
        mean_s[part] = n ? mean_s[part] / (double)n : none;
}

static void ttft_figures(struct kvs_outcome *outcome, const struct kvs_collect *collect,
                         double *value)
{
    struct kvs_batches batches;
    uint64_t n = 0;
    for (uint64_t i = outcome->n_warmup; i < collect->n_row; i++)
        if (!collect->row[i].refused) {
            value[n++] = ttft_s(&collect->row[i]);
            outcome->n_in_slo += collect->row[i].in_slo;
        }
    outcome->n_run = n;
    kvs_batches_make(value, n, &batches);
    outcome->ttft_s = spread(value, n);
    outcome->ttft_ci = kvs_ttft_intervals(&batches, outcome->ttft_s.mean, outcome->ttft_s.p50,
                                          outcome->ttft_s.p99);
    for (int i = 0; i < KVS_N_QUANTILE; i++) {
        double p = 100.0 * i / (KVS_N_QUANTILE - 1);
        outcome->ttft_quantile_s[i] = n == 0   ? none
                                      : i == 0 ? value[0]
                                               : kvs_percentile(value, n, p);
    }
    part_means(collect, outcome->n_warmup, (double)-INFINITY, (double)INFINITY,
               outcome->part_mean_s);
    part_means(collect, outcome->n_warmup, kvs_percentile(value, n, 94),
               kvs_percentile(value, n, 96), outcome->part_p95_s);
}

static void later_figures(struct kvs_outcome *outcome, const struct kvs_collect *collect,
                          double *value)
{
    uint64_t n = 0, n_planned = 0;
    double error = 0, loss = 0;
    for (uint64_t i = outcome->n_warmup; i < collect->n_row; i++) {
        const struct kvs_row *row = &collect->row[i];
        if (!row->refused && row->output_tok > 1)
            value[n++] = (double)(row->finish_ns - row->first_token_ns) * 1e-9 /
                         (double)(row->output_tok - 1);
    }
    outcome->tpot_s = spread(value, n);

    n = 0;
    for (uint64_t i = outcome->n_warmup; i < collect->n_row; i++)
        loss += collect->row[i].refused ? 0 : (double)collect->row[i].loss / KVS_NAT;
    outcome->predicted_loss_nats = outcome->n_run ? loss / (double)outcome->n_run : none;
    for (uint64_t i = outcome->n_warmup; i < collect->n_row; i++)
        if (!collect->row[i].refused)
            value[n++] = (double)(collect->row[i].finish_ns - collect->row[i].arrive_ns) * 1e-9;
    outcome->e2e_s = spread(value, n);

    for (uint64_t i = outcome->n_warmup; i < collect->n_row; i++) {
        const struct kvs_row *row = &collect->row[i];
        double took = ttft_s(row);
        if (row->plan_i == KVS_NO_PLAN || took <= 0)
            continue;
        error += fabs(took - (double)row->predicted_ttft_ns * 1e-9) / took;
        value[n_planned++] = row->new_tok;
    }
    outcome->predicted_error = n_planned ? error / (double)n_planned : none;
    struct kvs_spread new_tok = spread(value, n_planned);
    outcome->loaded_new_tok = n_planned ? (uint32_t)new_tok.p50 : 0;
}

double kvs_outcome_link_frac(const struct kvs_outcome *outcome, uint32_t link_i)
{
    assert(link_i < outcome->sim.n_link);
    const struct kvs_sim_link_total *link = &outcome->sim.link[link_i];
    double all_s = outcome->span_s * link->n;
    return all_s > 0 ? link->busy_s / all_s : 0;
}

static int64_t last_finish_ns(const struct kvs_collect *collect)
{
    int64_t last_ns = 0;
    for (uint64_t i = 0; i < collect->n_row; i++)
        if (collect->row[i].finish_ns > last_ns)
            last_ns = collect->row[i].finish_ns;
    return last_ns;
}

static void machine_figures(struct kvs_outcome *outcome, const struct kvs_collect *collect)
{
    const struct kvs_sim_result *sim = &outcome->sim;
    outcome->span_s = (double)(last_finish_ns(collect) - sim->first_arrive_ns) * 1e-9;
    const double span_s = outcome->span_s, gpu_s = span_s * sim->n_replica;
    const double arrivals_s = (double)(sim->last_arrive_ns - sim->first_arrive_ns) * 1e-9;
    outcome->offered_per_s = arrivals_s > 0 ? (double)(sim->n_request - 1) / arrivals_s : none;
    const uint64_t n_counted = collect->n_row - outcome->n_warmup;
    if (n_counted)
        outcome->counted_s =
            (double)(last_finish_ns(collect) - collect->row[outcome->n_warmup].arrive_ns) * 1e-9;
    const double counted_s = outcome->counted_s;
    outcome->throughput_per_s = counted_s > 0 ? (double)outcome->n_run / counted_s : none;
    outcome->goodput_per_s = counted_s > 0 ? (double)outcome->n_in_slo / counted_s : none;
    outcome->in_slo_frac = n_counted ? (double)outcome->n_in_slo / (double)n_counted : none;
    outcome->goodput_ci = goodput_interval(outcome, collect);
    outcome->gpu_busy_frac = gpu_s > 0 ? sim->gpu_busy_s / gpu_s : none;
    outcome->gpu_stall_frac = gpu_s > 0 ? sim->gpu_stall_s / gpu_s : none;
    outcome->gpu_prefill_frac = gpu_s > 0 ? sim->prefill_s / gpu_s : none;
    outcome->gpu_decode_frac = gpu_s > 0 ? sim->decode_s / gpu_s : none;
    outcome->busiest_link = UINT32_MAX;
    for (uint32_t i = 0; i < sim->n_link; i++) {
        double frac = kvs_outcome_link_frac(outcome, i);
        if (frac > outcome->busiest_frac) {
            outcome->busiest_frac = frac;
            outcome->busiest_link = i;
        }
    }
    for (uint32_t i = 0; i < sim->n_tier; i++) {
        outcome->load_bytes += (double)sim->tier[i].load_bytes;
        outcome->write_bytes += (double)sim->tier[i].write_bytes;
    }
}

static double over(double part, double whole)
{
    return whole > 0 ? part / whole : none;
}

static void tier_figures(struct kvs_outcome *outcome)
{
    const struct kvs_sim_result *sim = &outcome->sim;
    const double input = (double)sim->input_tok, days = outcome->span_s / 86400;
    double final_tok = (double)sim->hbm_hit_tok - (double)sim->recompute_tok;
    for (uint32_t t = 0; t < sim->n_tier; t++) {
        const struct kvs_sim_tier_total *total = &sim->tier[t];
        const double stored = (double)total->stats.insert_bytes;
        /* instances share the capacity alike */
        const double capacity = (double)total->stats.capacity_bytes;
        struct kvs_outcome_tier *tier = &outcome->tier[t];
        final_tok += (double)total->hit_tok;
        tier->hit_tok_frac = over((double)total->hit_tok, input);
        tier->hit_byte_frac = over((double)total->hit_bytes, input * sim->kv_bytes_per_tok);
        tier->unused_write_frac =
            over((double)(total->stats.evict_unused_bytes + total->stats.unused_bytes), stored);
        tier->stored_bytes_per_day = over(stored / fmax(1, total->n), days);
        tier->drive_writes_per_day = over(over(stored, capacity), days);
    }
    outcome->first_hit_frac = over((double)sim->first_hit_tok, input);
    outcome->final_hit_frac = over(final_tok, input);
}

enum kvs_code kvs_outcome_make(const char *policy, const struct kvs_sim_result *sim,
                               const struct kvs_warmup *warmup, struct kvs_collect *collect,
                               struct kvs_outcome *outcome, struct kvs_err *err)
{
    *outcome = (struct kvs_outcome){.policy = policy, .sim = *sim};
    double *value = calloc(collect->n_row + 1, sizeof *value);
    if (!value)
        return kvs_nomem(err);
    outcome->n_warmup = warmup_rows(outcome, collect, warmup, value);
    ttft_figures(outcome, collect, value);
    later_figures(outcome, collect, value);
    machine_figures(outcome, collect);
    tier_figures(outcome);
    free(value);
    outcome->collect = *collect;
    memset(collect, 0, sizeof *collect);
    return KVS_OK;
}

void kvs_outcome_free(struct kvs_outcome *outcome)
{
    kvs_collect_free(&outcome->collect);
}

const struct kvs_outcome *kvs_outcome_baseline(const struct kvs_outcome *outcome, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(outcome[i].policy, "recompute") == 0)
            return &outcome[i];
    return NULL;
}

const char *kvs_verdict_name(enum kvs_verdict verdict)
{
    static const char *const name[] = {"stable", "backlogged", "overloaded"};
    return name[verdict];
}
