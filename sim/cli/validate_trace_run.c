/*
 * validate_trace_run.c - the two sides: the simulator, and the device behind its store.
 */
#include "base/units.h"
#include "model/cost.h"
#include "signals.h"
#include "validate_trace.h"

#include <assert.h>
#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* --- simulated ----------------------------------------------------------------------------------
 */

/* The prompts as a trace: kvsim's own format, ids the store's keys. *text is the caller's. */
static enum kvs_code write_trace(const struct kvs_vt *vt, char **text, size_t *n_byte,
                                 struct kvs_err *err)
{
    uint32_t block_tok = (uint32_t)vt->options.block_tok;
    struct kvs_block_key *key = calloc(vt->max_tok / block_tok + 1, sizeof *key);
    FILE *to = open_memstream(text, n_byte);
    bool bad = !key || !to;

    if (to)
        fprintf(to, "{\"kvsim_trace\": 1, \"ids\": \"chained\", \"block_tok\": %u}\n", block_tok);
    for (uint32_t i = 0; i < vt->n && !bad; i++) {
        const struct kvs_vt_prompt *p = &vt->prompt[i];

        kvs_block_keys(vt->model_hash, p->tok, block_tok, p->n_block, key);
        fprintf(to, "{\"arrive_ns\": %lld, \"input_tok\": %u, \"output_tok\": 1, \"blocks\": [",
                (long long)p->arrive_ns, p->n_tok);
        for (uint32_t b = 0; b < p->n_block; b++)
            fprintf(to, "%s[\"text\", %llu, %u]", b ? ", " : "", (unsigned long long)key[b].word[0],
                    block_tok);
        fprintf(to, "]}\n");
    }
    bad |= to && fclose(to);
    free(key);
    return bad ? kvs_nomem(err) : KVS_OK;
}

static enum kvs_code take_row(void *ctx, const struct kvs_sim_request *request, struct kvs_err *err)
{
    struct kvs_vt *vt = ctx;
    struct kvs_vt_row *row = &vt->row[request->index];

    if (request->refused)
        return kvs_fail(err, KVS_ERR_RANGE, "request %llu is larger than the device's memory",
                        (unsigned long long)request->index);
    row->simulated = (struct kvs_vt_side){.hit_tok = request->tier_tok[0],
                                          .recompute_tok = request->recompute_tok,
                                          .ttft_ns = request->first_token_ns - request->arrive_ns,
                                          .load_bytes = request->load_bytes[0]};
    row->has_plan = request->plan;
    if (request->plan)
        row->plan = *request->plan;
    return KVS_OK;
}

enum kvs_code kvs_vt_simulate(struct kvs_vt *vt, struct kvs_err *err)
{
    const struct kvs_sim_sink sink = {.ctx = vt, .request = take_row};
    struct kvs_sim_result result;
    struct kvs_trace *trace = NULL;
    char *text = NULL;
    size_t n_byte = 0;
    enum kvs_code code = write_trace(vt, &text, &n_byte, err);

    if (!code)
        code = kvs_trace_open_mem("prompts.jsonl", text, n_byte, NULL, &trace, err);
    if (!code)
        code = kvs_sim_run(&vt->config, trace, &sink, &result, err);
    if (!code) {
        vt->simulated_insert = result.tier[0].stats.n_insert;
        vt->simulated_evict = result.tier[0].stats.n_evict;
    }
    kvs_trace_close(trace);
    free(text);
    return code;
}

/* --- measured -----------------------------------------------------------------------------------
 */

struct bench {
    struct kvs_dev *dev;
    struct kvs_forward *forward;
    struct kvs_exec *exec;
    struct kvs_store *store;
    struct kvs_serve *serve;
    float *logits;
    char made_store[256]; /* to be removed; "" if none */
    int64_t n_step;       /* look-ups and keepings so far: the store's clock */
    bool is_found;        /* the next request was looked up already, */
    uint32_t n_hit;       /* and so many blocks were held */
};

static int drop_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static enum kvs_code open_store(const struct kvs_vt *vt, struct bench *bench, struct kvs_err *err)
{
    const struct kvs_store_opt opt = {.make = true};
    const char *place = vt->options.store, *tmp = getenv("TMPDIR");

    if (!place) {
        snprintf(bench->made_store, sizeof bench->made_store, "%s/kvsim-validate-XXXXXX",
                 tmp && strlen(tmp) < 200 ? tmp : "/var/tmp");
        if (!mkdtemp(bench->made_store)) {
            kvs_fail(err, KVS_ERR_IO, "%s: %s", bench->made_store, strerror(errno));
            bench->made_store[0] = 0;
            return err->code;
        }
        place = bench->made_store;
    }
    return kvs_store_open(place, &opt, &bench->store, err);
}

/* The path as the profile has the tier's: its slowest hop, its latencies. */
static void set_path(const struct kvs_vt *vt, struct kvs_exec_opt *opt)
{
    const struct kvs_hw *hw = vt->config.hw;
    const struct kvs_hw_tier *tier = kvs_hw_tier(hw, vt->config.tier[0].name);
    double slowest = (double)INFINITY, latency_s = 0;

    for (uint32_t h = 0; h < tier->n_hop; h++) {
        const struct kvs_hw_link *link = &hw->link[tier->hop[h]];

        slowest = fmin(slowest, link->read_bytes_per_s.value);
        latency_s += link->latency_s.value;
    }
    opt->reader.bytes_per_s = slowest;
    opt->latency_ns = kvs_ns(latency_s);
}

static enum kvs_code open_bench(const struct kvs_vt *vt, struct bench *bench, struct kvs_err *err)
{
    struct kvs_exec_opt exec = {.window_bytes = vt->options.window_bytes,
                                .reader = {.timeout_ns = 60000000000}};
    enum kvs_code code;

    if ((code = kvs_dev_open(vt->options.device, 0, vt->options.seed, &bench->dev, err)))
        return code;
    const struct kvs_dev_info *info = kvs_dev_info(bench->dev);
    const struct kvs_forward_opt forward = {.max_row = vt->max_tok,
                                            .max_ctx = vt->max_tok,
                                            .max_out = 1,
                                            .kv_elem = KVS_BF16,
                                            .act_elem = info->act_elem,
                                            .gemm_elem = info->gemm_elem};
    if (vt->options.throttle)
        set_path(vt, &exec);
    bench->logits = calloc(kvs_weights_shape(vt->weights)->n_vocab, sizeof *bench->logits);
    if (!bench->logits)
        return kvs_nomem(err);
    if ((code = kvs_forward_new(bench->dev, vt->weights, &forward, &bench->forward, err)) ||
        (code = kvs_exec_new(bench->dev, bench->forward, &exec, &bench->exec, err)) ||
        (code = open_store(vt, bench, err)))
        return code;
    const struct kvs_serve_config config = {.forward = bench->forward,
                                            .exec = bench->exec,
                                            .store = bench->store,
                                            .model_hash = vt->model_hash,
                                            .block_tok = (uint32_t)vt->options.block_tok,
                                            .evict = vt->config.tier[0].evict,
                                            .capacity_bytes = vt->config.tier[0].capacity_bytes,
                                            .block_bytes = vt->block_bytes};
    return kvs_serve_new(&config, &bench->serve, err);
}

static void close_bench(struct bench *bench)
{
    kvs_serve_free(bench->serve);
    kvs_store_close(bench->store);
    if (bench->made_store[0])
        (void)nftw(bench->made_store, drop_one, 16,
                   FTW_DEPTH | FTW_PHYS); /* best effort: temporary */
    kvs_exec_free(bench->exec);
    kvs_forward_free(bench->forward);
    kvs_dev_close(bench->dev);
    free(bench->logits);
}

static int64_t now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static void wait_until(int64_t at_ns)
{
    struct timespec at = {at_ns / 1000000000, at_ns % 1000000000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

/* Fraction i as the tables cut it: the shortest row of blocks with so much of the tokens. Returns
 * the mean over layers, in tokens. */
static uint32_t cuts(const struct kvs_vt *vt, const struct kvs_vt_row *row, uint32_t n_hit,
                     uint32_t cut[KVS_MAX_LAYER])
{
    uint32_t n_frac = vt->config.planner->ends_only ? 2 : vt->config.n_frac;
    uint32_t n_layer = kvs_weights_shape(vt->weights)->n_layer;
    uint64_t sum = 0;

    assert(n_layer > 0 && n_frac > 1);
    for (uint32_t l = 0; l < n_layer; l++) {
        double part = (double)row->plan.frac_i[l] / (n_frac - 1) * n_hit;

        cut[l] = (uint32_t)ceil(part - 1e-9);
        sum += cut[l] * vt->options.block_tok;
    }
    return (uint32_t)((sum + n_layer / 2) / n_layer);
}

static uint32_t look_up(const struct kvs_vt *vt, struct bench *bench, uint32_t i)
{
    const struct kvs_vt_prompt *p = &vt->prompt[i];

    return kvs_serve_find(bench->serve, p->tok, p->n_tok, bench->n_step++);
}

static enum kvs_code serve_one(struct kvs_vt *vt, struct bench *bench, uint32_t i, int64_t begin_ns,
                               struct kvs_err *err)
{
    const struct kvs_vt_prompt *p = &vt->prompt[i];
    struct kvs_vt_row *row = &vt->row[i];
    struct kvs_exec_result result;
    uint32_t cut[KVS_MAX_LAYER];
    int64_t from_ns = now_ns();
    enum kvs_code code;

    if (vt->options.clock && from_ns < begin_ns + p->arrive_ns)
        wait_until(begin_ns + p->arrive_ns);
    if (vt->options.clock)
        from_ns = begin_ns + p->arrive_ns;
    uint32_t n_hit = bench->is_found ? bench->n_hit : look_up(vt, bench, i);
    row->measured.hit_tok = n_hit * (uint32_t)vt->options.block_tok;
    bool planned = row->has_plan && row->measured.hit_tok == row->simulated.hit_tok;
    if (planned)
        row->measured.recompute_tok = cuts(vt, row, n_hit, cut);
    if ((code = kvs_serve_run(bench->serve, planned ? cut : NULL, bench->logits, &result, err)))
        return code;
    row->measured.ttft_ns = now_ns() - from_ns;
    row->measured.load_bytes = result.load_bytes;
    row->run_ns = result.ttft_ns;
    row->fell_back = result.fell_back;
    if (result.load_bytes)
        snprintf(vt->how, sizeof vt->how, "%s", result.how);
    /* the simulator ends with the last request's answer: its blocks are not written any more */
    if (i + 1 == vt->n)
        return KVS_OK;
    /* who waits already is admitted now, before anything of this one is written */
    bench->is_found = vt->options.clock && now_ns() >= begin_ns + vt->prompt[i + 1].arrive_ns;
    if (bench->is_found)
        bench->n_hit = look_up(vt, bench, i + 1);
    return kvs_serve_keep(bench->serve, bench->n_step++, err);
}

/* Memory is touched and threads are started before the first request is timed. */
static enum kvs_code warm_up(struct kvs_vt *vt, struct bench *bench, struct kvs_err *err)
{
    struct kvs_stream *stream;
    enum kvs_code code = kvs_stream_new(bench->dev, &stream, err);

    for (uint32_t i = 0; i < vt->n && !code; i++)
        if (vt->prompt[i].n_tok == vt->max_tok) {
            code = kvs_forward_prefill(bench->forward, stream, vt->prompt[i].tok, 0, vt->max_tok,
                                       bench->logits, err);
            break;
        }
    if (!code || stream)
        kvs_stream_free(stream);
    return code;
}

enum kvs_code kvs_vt_measure(struct kvs_vt *vt, struct kvs_err *err)
{
    struct bench bench = {0};
    struct kvs_tier_stats stats;
    enum kvs_code code = open_bench(vt, &bench, err);

    if (!code)
        code = warm_up(vt, &bench, err);
    int64_t begin_ns = now_ns();
    for (uint32_t i = 0; i < vt->n && !code; i++) {
        code = kvs_interrupted() ? KVS_OK : serve_one(vt, &bench, i, begin_ns, err);
        if (!code && kvs_interrupted()) /* a signal ends sleeps too */
            code = kvs_fail(err, KVS_ERR_IO, "interrupted");
    }
    if (!code) {
        kvs_serve_stats(bench.serve, &stats);
        vt->measured_insert = stats.n_insert;
        vt->measured_evict = stats.n_evict;
    }
    close_bench(&bench);
    return code;
}
