#include "table.h"

#include "arrivals.h"
#include "base/units.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#define MAX_COLUMN 24
#define CELL_MAX 40

struct grid {
    uint32_t n_column, n_row; /* header rows included */
    char cell[KVS_MAX_POLICY + 2][MAX_COLUMN][CELL_MAX];
};

/* The next cell of the last row. */
static void KVS_PRINTF(2, 3) cell(struct grid *grid, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(grid->cell[grid->n_row][grid->n_column++], CELL_MAX, fmt, args);
    va_end(args);
}

static void end_row(struct grid *grid)
{
    grid->n_row++;
    grid->n_column = 0;
}

static void time_cell(struct grid *grid, double s)
{
    char text[KVS_TEXT_MAX];
    if (isnan(s))
        cell(grid, "-");
    else
        cell(grid, "%s", kvs_text_time(text, s));
}

static void share_cell(struct grid *grid, double part, double whole)
{
    if (whole > 0 && isfinite(part))
        cell(grid, "%.0f %%", 100 * part / whole);
    else
        cell(grid, "-");
}

static void header_rows(struct grid *grid, const struct kvs_sim_config *config)
{
    static const char *const above[] = {"",     "TTFT",    "TTFT", "TTFT", "speed-",
                                        "TPOT", "goodput", "in",   "HBM"};
    static const char *const below[] = {"policy", "p50",   "p95", "p99", "up",
                                        "mean",   "req/s", "SLO", "hit"};
    for (size_t i = 0; i < sizeof above / sizeof *above; i++)
        cell(grid, "%s", above[i]);
    for (uint32_t i = 0; i < config->n_tier; i++)
        cell(grid, "%s", config->tier[i].name);
    cell(grid, "recom-");
    cell(grid, "GPU pre-");
    cell(grid, "busiest");
    cell(grid, "bytes");
    cell(grid, "%s", "");
    end_row(grid);
    for (size_t i = 0; i < sizeof below / sizeof *below; i++)
        cell(grid, "%s", below[i]);
    for (uint32_t i = 0; i < config->n_tier; i++)
        cell(grid, "hit");
    cell(grid, "puted");
    cell(grid, "fill/dec");
    cell(grid, "link");
    cell(grid, "moved");
    cell(grid, " verdict");
    end_row(grid);
}

static void policy_row(struct grid *grid, const struct kvs_sim_config *config,
                       const struct kvs_outcome *outcome, const struct kvs_outcome *baseline)
{
    const struct kvs_sim_result *sim = &outcome->sim;
    const double input = (double)sim->input_tok;
    char text[KVS_TEXT_MAX];
    cell(grid, "%s", outcome->policy);
    time_cell(grid, outcome->ttft_s.p50);
    time_cell(grid, outcome->ttft_s.p95);
    time_cell(grid, outcome->ttft_s.p99);
    if (baseline && outcome->n_run)
        cell(grid, "%.2fx%s", baseline->ttft_s.mean / outcome->ttft_s.mean,
             baseline->sim.verdict == KVS_OVERLOADED ? "*" : "");
    else
        cell(grid, "-");
    time_cell(grid, outcome->tpot_s.mean);
    if (isfinite(outcome->goodput_per_s))
        cell(grid, "%.3g", outcome->goodput_per_s);
    else
        cell(grid, "-");
    share_cell(grid, outcome->in_slo_frac, 1);
    share_cell(grid, (double)sim->hbm_hit_tok, input);
    for (uint32_t i = 0; i < config->n_tier; i++) {
        if (i < sim->n_tier)
            share_cell(grid, (double)sim->tier[i].hit_tok, input);
        else
            cell(grid, "-");
    }
    share_cell(grid, (double)sim->recompute_tok, input);
    if (isfinite(outcome->gpu_prefill_frac))
        cell(grid, "%.0f/%.0f %%", 100 * outcome->gpu_prefill_frac, 100 * outcome->gpu_decode_frac);
    else
        cell(grid, "-");
    if (outcome->busiest_link == UINT32_MAX)
        cell(grid, "-");
    else
        cell(grid, "%.12s%s %.0f %%", sim->link[outcome->busiest_link].name,
             sim->link[outcome->busiest_link].write ? " wr" : "", 100 * outcome->busiest_frac);
    cell(grid, "%s", kvs_text_bytes(text, outcome->load_bytes + outcome->write_bytes));
    cell(grid, " %s", kvs_verdict_name(sim->verdict));
    end_row(grid);
}

static void print_grid(FILE *to, const struct grid *grid, uint32_t n_column)
{
    int width[MAX_COLUMN] = {0};
    for (uint32_t row = 0; row < grid->n_row; row++)
        for (uint32_t col = 0; col < n_column; col++) {
            int n = (int)strlen(grid->cell[row][col]);
            width[col] = n > width[col] ? n : width[col];
        }
    for (uint32_t row = 0; row < grid->n_row; row++) {
        fprintf(to, "%-*s", width[0], grid->cell[row][0]);
        for (uint32_t col = 1; col + 1 < n_column; col++)
            fprintf(to, "  %*s", width[col], grid->cell[row][col]);
        fprintf(to, " %s\n", grid->cell[row][n_column - 1]);
    }
}

static void print_title(FILE *to, const struct kvs_workload *workload,
                        const struct kvs_outcome *outcome)
{
    const struct kvs_sim_config *config = &workload->sim;
    char how[KVS_ARRIVALS_TEXT_MAX];
    char requests[KVS_TEXT_MAX], span[KVS_TEXT_MAX], ttft[KVS_TEXT_MAX], tpot[KVS_TEXT_MAX];
    double arrivals_s = (double)(outcome->sim.last_arrive_ns - outcome->sim.first_arrive_ns) * 1e-9;
    char apart[32] = "";
    if (config->n_decode_replica)
        snprintf(apart, sizeof apart, " + %u to decode", config->n_decode_replica);
    fprintf(to,
            "%s: %s requests arriving over %s%s; %s on %u x %u GPU%s (%s); SLO: TTFT %s, TPOT %s; "
            "simulated\n\n",
            workload->name, kvs_text_count(requests, outcome->sim.n_request),
            kvs_text_time(span, arrivals_s), kvs_arrivals_text(how, &config->arrivals),
            kvs_model_name(config->model), config->n_replica, config->tp, apart, config->hw->name,
            config->slo_ttft_s > 0 ? kvs_text_time(ttft, config->slo_ttft_s) : "any",
            config->slo_tpot_s > 0 ? kvs_text_time(tpot, config->slo_tpot_s) : "any");
    if (workload->share < 1)
        fprintf(to,
                "a sample: %g of the trace on as much of the cluster; rates and bytes are the "
                "sample's (kvsim sample gives the whole's, with intervals)\n\n",
                workload->share);
}

/* Loads for nothing; and writes that did not keep up: what is stored lags behind, or never gets
 * there. */
static void waste_note(FILE *to, const struct kvs_sim_config *config,
                       const struct kvs_outcome *outcome)
{
    char left[KVS_TEXT_MAX], dropped[KVS_TEXT_MAX];
    for (uint32_t t = 0; t < outcome->sim.n_tier; t++) {
        const struct kvs_sim_tier_total *tier = &outcome->sim.tier[t];
        if (tier->write_dropped_bytes)
            fprintf(to, "%s: writes to %s did not keep up: %s dropped, %s waiting at the end\n",
                    outcome->policy, config->tier[t].name,
                    kvs_text_bytes(dropped, (double)tier->write_dropped_bytes),
                    kvs_text_bytes(left, (double)tier->write_backlog_bytes));
        if (tier->load_unused_bytes)
            fprintf(to,
                    "%s: of %s loaded from %s, %s were for prompts preempted before they began\n",
                    outcome->policy, kvs_text_bytes(left, (double)tier->load_bytes),
                    config->tier[t].name, kvs_text_bytes(dropped, (double)tier->load_unused_bytes));
    }
}

/* What answers lose by levels and repair. */
static void loss_note(FILE *to, const struct kvs_outcome *outcome)
{
    if (outcome->predicted_loss_nats > 0)
        fprintf(to, "%s: plans lose %.3g nats in the mean (predicted)\n", outcome->policy,
                outcome->predicted_loss_nats);
}

/* What the figures are worth. */
static void steady_note(FILE *to, const struct kvs_outcome *outcome)
{
    char mean[KVS_TEXT_MAX], low[KVS_TEXT_MAX], high[KVS_TEXT_MAX];
    const struct kvs_ttft_intervals *ci = &outcome->ttft_ci;
    static const char *const worth[] = {"", "; too short a run: take the interval for wider",
                                        "; drifting: no steady state, the interval means little"};
    if (isfinite(ci->mean.low))
        fprintf(to, "  %s: %s, %s to %s%s\n", outcome->policy,
                kvs_text_time(mean, outcome->ttft_s.mean),
                kvs_text_time(low, fmax(0, ci->mean.low)), kvs_text_time(high, ci->mean.high),
                worth[ci->steady]);
}

/* What is stored in a tier under the policy that stores most, and how much of it for nothing. */
static void store_note(FILE *to, const char *name, const struct kvs_outcome *outcome, uint32_t n,
                       uint32_t tier_i)
{
    char day[KVS_TEXT_MAX], n_times[KVS_TEXT_MAX];
    const struct kvs_outcome *most = NULL;
    for (uint32_t i = 0; i < n; i++)
        if (tier_i < outcome[i].sim.n_tier && outcome[i].sim.tier[tier_i].stats.insert_bytes &&
            (!most || outcome[i].tier[tier_i].stored_bytes_per_day >
                          most->tier[tier_i].stored_bytes_per_day))
            most = &outcome[i];
    if (!most)
        return;
    double times = most->tier[tier_i].drive_writes_per_day;
    if (times < 100)
        snprintf(n_times, sizeof n_times, "%.3g", times);
    else
        kvs_text_count(n_times, (uint64_t)llround(times));
    fprintf(to, "%s stores up to %s a day (%s), %s times its capacity; %.0f %% without a hit\n",
            name, kvs_text_bytes(day, most->tier[tier_i].stored_bytes_per_day), most->policy,
            n_times, 100 * most->tier[tier_i].unused_write_frac);
}

static void warmup_note(FILE *to, const struct kvs_outcome *outcome, uint32_t n)
{
    char least_text[KVS_TEXT_MAX], most_text[KVS_TEXT_MAX];
    uint64_t least = outcome[0].n_warmup, most = least;
    for (uint32_t i = 1; i < n; i++) {
        least = outcome[i].n_warmup < least ? outcome[i].n_warmup : least;
        most = outcome[i].n_warmup > most ? outcome[i].n_warmup : most;
    }
    kvs_text_count(least_text, least);
    kvs_text_count(most_text, most);
    if (most && least == most)
        fprintf(to, "the first %s requests are left out as warm-up\n", most_text);
    else if (most)
        fprintf(to, "the first %s to %s requests, by policy, are left out as warm-up\n", least_text,
                most_text);
}

static void steady_notes(FILE *to, const struct kvs_outcome *outcome, uint32_t n)
{
    warmup_note(to, outcome, n);
    if (!isfinite(outcome[0].ttft_ci.mean.low))
        return;
    fputs("mean TTFT with its 95 % interval, by batch means:\n", to);
    for (uint32_t i = 0; i < n; i++)
        steady_note(to, &outcome[i]);
}

void kvs_table_print(FILE *to, const struct kvs_workload *workload,
                     const struct kvs_outcome *outcome, uint32_t n)
{
    static const char note[] =
        "speed-up: of the mean TTFT, over recompute; hit, recomputed: shares of the input tokens;\n"
        "GPU: shares of its time in prefill and in decode, mixed steps split by tokens;\n"
        "bytes moved: loaded from tiers and written back to them\n";
    struct grid grid = {0};
    const struct kvs_outcome *baseline = kvs_outcome_baseline(outcome, n);
    print_title(to, workload, outcome);
    header_rows(&grid, &workload->sim);
    for (uint32_t i = 0; i < n; i++)
        policy_row(&grid, &workload->sim, &outcome[i], baseline);
    print_grid(to, &grid, 9 + workload->sim.n_tier + 5);
    fputs(note, to);
    for (uint32_t i = 0; i < n; i++)
        waste_note(to, &workload->sim, &outcome[i]);
    for (uint32_t i = 0; i < n; i++)
        loss_note(to, &outcome[i]);
    steady_notes(to, outcome, n);
    for (uint32_t t = 0; t < workload->sim.n_tier; t++)
        store_note(to, workload->sim.tier[t].name, outcome, n, t);
    if (baseline && baseline->sim.verdict == KVS_OVERLOADED)
        fputs("* recompute did not keep up with the arrivals: a longer run would show more\n", to);
}
