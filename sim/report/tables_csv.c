#include "tables_csv.h"

#include "plan/levels.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char *const first_columns[] = {
    "policy",         "request",
    "session",        "replica",
    "refused",        "input_tok",
    "output_tok",     "hbm_tok",
    "recompute_tok",  "new_tok",
    "arrive_ns",      "admit_ns",
    "first_token_ns", "finish_ns",
    "ttft_ns",        "predicted_ttft_ns",
    "queue_ns",       "load_ns",
    "decode_ns",      "compute_ns",
    "in_slo",         "plan",
    "preemptions",    "again_tok",
    "decode_replica", "predicted_loss_nats",
};

void kvs_requests_csv_header(struct kvs_csv *csv, const struct kvs_sim_config *config)
{
    for (size_t i = 0; i < sizeof first_columns / sizeof *first_columns; i++)
        kvs_csv_str(csv, first_columns[i]);
    for (uint32_t i = 0; i < config->n_tier; i++)
        kvs_csv_str2(csv, config->tier[i].name, "_tok");
    for (uint32_t i = 0; i < config->n_tier; i++)
        kvs_csv_str2(csv, config->tier[i].name, "_load_bytes");
    kvs_csv_row(csv);
}

static void request_row(struct kvs_csv *csv, const struct kvs_sim_config *config,
                        const char *policy, const struct kvs_row *row)
{
    kvs_csv_str(csv, policy);
    kvs_csv_u64(csv, row->index);
    kvs_csv_u64(csv, row->session);
    kvs_csv_u64(csv, row->replica);
    kvs_csv_u64(csv, row->refused);
    kvs_csv_u64(csv, row->input_tok);
    kvs_csv_u64(csv, row->output_tok);
    kvs_csv_u64(csv, row->hbm_tok);
    kvs_csv_u64(csv, row->recompute_tok);
    kvs_csv_u64(csv, row->new_tok);
    kvs_csv_i64(csv, row->arrive_ns);
    kvs_csv_i64(csv, row->admit_ns);
    kvs_csv_i64(csv, row->first_token_ns);
    kvs_csv_i64(csv, row->finish_ns);
    kvs_csv_i64(csv, row->refused ? 0 : row->first_token_ns - row->arrive_ns);
    kvs_csv_i64(csv, row->predicted_ttft_ns);
    kvs_csv_i64(csv, row->queue_ns);
    kvs_csv_i64(csv, row->load_ns);
    kvs_csv_i64(csv, row->decode_ns);
    kvs_csv_i64(csv, row->compute_ns);
    kvs_csv_u64(csv, row->in_slo);
    if (row->plan_i == KVS_NO_PLAN)
        kvs_csv_str(csv, "");
    else
        kvs_csv_u64(csv, row->plan_i);
    kvs_csv_u64(csv, row->n_preempt);
    kvs_csv_u64(csv, row->again_tok);
    kvs_csv_u64(csv, row->decode_replica);
    if (row->loss) /* few have one, and doubles take their time */
        kvs_csv_double(csv, (double)row->loss / KVS_NAT);
    else
        kvs_csv_u64(csv, 0);
    for (uint32_t i = 0; i < config->n_tier; i++)
        kvs_csv_u64(csv, row->tier_tok[i]);
    for (uint32_t i = 0; i < config->n_tier; i++)
        kvs_csv_u64(csv, row->load_bytes[i]);
    kvs_csv_row(csv);
}

void kvs_requests_csv_rows(struct kvs_csv *csv, const struct kvs_sim_config *config,
                           const char *policy, const struct kvs_collect *collect)
{
    for (uint64_t i = 0; i < collect->n_row; i++)
        request_row(csv, config, policy, &collect->row[i]);
}

void kvs_staircase_text(char *text, const uint8_t *step, uint32_t n_layer, uint32_t n_frac)
{
    assert(n_layer <= KVS_MAX_LAYER && n_frac != 1);
    *text = '\0';
    char *at = text;
    for (uint32_t from = 0, to = 0; from < n_layer; from = to) {
        while (to < n_layer && step[to] == step[from])
            to++;
        double value = n_frac ? (double)step[from] / (double)(n_frac - 1) : (double)step[from];
        size_t room = KVS_STAIRCASE_MAX - (size_t)(at - text);
        int n = snprintf(at, room, "%s%ux%.6g", from ? " " : "", to - from, value);
        assert(n > 0 && (size_t)n < room);
        at += n;
    }
}

void kvs_plans_csv_header(struct kvs_csv *csv)
{
    static const char *const columns[] = {
        "policy",         "plan",
        "requests",       "mean_predicted_ttft_ns",
        "mean_ttft_ns",   "recomputed_frac_by_layer",
        "level_by_layer",
    };
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        kvs_csv_str(csv, columns[i]);
    kvs_csv_row(csv);
}

struct ranked {
    uint64_t n_request;
    uint32_t plan_i;
};

static int by_use(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->n_request != y->n_request)
        return x->n_request > y->n_request ? -1 : 1;
    return x->plan_i < y->plan_i ? -1 : x->plan_i > y->plan_i;
}

static void plan_row(struct kvs_csv *csv, const struct kvs_outcome *outcome, uint32_t plan_i)
{
    const struct kvs_collect *collect = &outcome->collect;
    const struct kvs_plan_use *use = &collect->plan[plan_i];
    const uint8_t *step = collect->plan_byte + (size_t)plan_i * 2 * collect->n_layer;
    char text[KVS_STAIRCASE_MAX];
    kvs_csv_str(csv, outcome->policy);
    kvs_csv_u64(csv, plan_i);
    kvs_csv_u64(csv, use->n_request);
    kvs_csv_i64(csv, use->predicted_ttft_ns / (int64_t)use->n_request);
    kvs_csv_i64(csv, use->ttft_ns / (int64_t)use->n_request);
    kvs_staircase_text(text, step, collect->n_layer, outcome->sim.n_frac);
    kvs_csv_str(csv, text);
    kvs_staircase_text(text, step + collect->n_layer, collect->n_layer, 0);
    kvs_csv_str(csv, text);
    kvs_csv_row(csv);
}

enum kvs_code kvs_plans_csv_rows(struct kvs_csv *csv, const struct kvs_outcome *outcome,
                                 struct kvs_err *err)
{
    const struct kvs_collect *collect = &outcome->collect;
    struct ranked *rank = calloc(collect->n_plan + (size_t)1, sizeof *rank);
    if (!rank)
        return kvs_nomem(err);
    for (uint32_t i = 0; i < collect->n_plan; i++)
        rank[i] = (struct ranked){collect->plan[i].n_request, i};
    qsort(rank, collect->n_plan, sizeof *rank, by_use);
    for (uint32_t i = 0; i < collect->n_plan; i++)
        plan_row(csv, outcome, rank[i].plan_i);
    free(rank);
    return KVS_OK;
}
