/*
 * validate_run.c - a cell: a plan run until enough runs were quiet, and what they measured.
 */
#include "signals.h"
#include "validate.h"

#include <assert.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CANARY_M 64    /* rows, as the lab's buffers */
#define CANARY_GEMM 60 /* products: some milliseconds on a processor */
/*
 * Of 151 cells of a busy hour on two cores, those under a pressure of .05 were predicted within 6.4
 * % (95th percentile), from .1 on within 24 to 32 %; those with a canary under 1.15 within 4.8 to
 * 11 %, from 1.25 on within 24 %. A run's own threads, alone, make a pressure of up to .08.
 */
#define CANARY_SLOW 1.15  /* times the fastest one seen */
#define MOST_STOLEN .03   /* of a run's time */
#define MOST_PRESSURE .10 /* likewise */
#define MOST_SPREAD .10   /* of quiet runs, highest to lowest over the median */
#define AGREE .02         /* two quiet runs that lie so close are enough */
#define MAX_RUN 16

static int64_t now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

/* --- noise --------------------------------------------------------------------------------------
 */

/* Seconds that the host of a virtual machine took from it, all processors together. */
static double stolen_s(void)
{
    FILE *file = fopen("/proc/stat", "r");
    unsigned long long steal = 0;

    if (file) {
        if (fscanf(file, "cpu %*u %*u %*u %*u %*u %*u %*u %llu", &steal) != 1)
            steal = 0;
        (void)fclose(file); /* was only read */
    }
    return (double)steal / (double)sysconf(_SC_CLK_TCK);
}

/* Seconds that threads of this process, those alive, were ready and waited for a processor. */
static double waited_s(void)
{
    DIR *dir = opendir("/proc/self/task");
    unsigned long long sum_ns = 0;

    for (struct dirent *task; dir && (task = readdir(dir));) {
        char path[300];
        unsigned long long ns = 0;
        FILE *file;

        snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", task->d_name);
        if (task->d_name[0] == '.' || !(file = fopen(path, "r")))
            continue;
        if (fscanf(file, "%*u %llu", &ns) == 1)
            sum_ns += ns;
        (void)fclose(file); /* was only read */
    }
    if (dir)
        (void)closedir(dir);
    return (double)sum_ns * 1e-9;
}

/* Seconds in which some task waited for a processor. */
static double pressure_s(void)
{
    FILE *file = fopen("/proc/pressure/cpu", "r");
    unsigned long long us = 0;

    if (file) {
        if (fscanf(file, "some avg10=%*f avg60=%*f avg300=%*f total=%llu", &us) != 1)
            us = 0;
        (void)fclose(file); /* was only read */
    }
    return (double)us * 1e-6;
}

/* A fixed amount of computing on the device, as fast as it goes. */
static enum kvs_code canary(struct kvs_val_lab *lab, int64_t *ns, struct kvs_err *err)
{
    uint32_t hidden = kvs_weights_shape(lab->weights)->hidden;
    enum kvs_elem elem = kvs_dev_info(lab->dev)->gemm_elem;
    struct kvs_gemm op = {.y = kvs_at(lab->canary_buf[0], 0),
                          .x = kvs_at(lab->canary_buf[1], 0),
                          .w = kvs_at(lab->canary_buf[2], 0),
                          .y_elem = elem,
                          .x_elem = elem,
                          .w_elem = elem,
                          .m = CANARY_M,
                          .n = hidden,
                          .k = hidden,
                          .y_stride = hidden,
                          .x_stride = hidden,
                          .w_stride = hidden};
    enum kvs_code code = KVS_OK;
    int64_t from_ns;

    if (!lab->canary && (code = kvs_stream_new(lab->dev, &lab->canary, err)))
        return code;
    from_ns = now_ns();
    for (int i = 0; i < CANARY_GEMM && !code; i++)
        code = kvs_stream_gemm(lab->canary, &op, err);
    enum kvs_code waited = kvs_stream_sync(lab->canary, err);
    *ns = now_ns() - from_ns;
    if (!code && !waited && (!lab->best_canary_ns || *ns < lab->best_canary_ns))
        lab->best_canary_ns = *ns;
    return code ? code : waited;
}

static bool is_quiet(const struct kvs_val_lab *lab, const struct kvs_val_noise *noise)
{
    return (double)noise->canary_ns <= CANARY_SLOW * (double)lab->best_canary_ns &&
           noise->stolen_frac <= MOST_STOLEN && noise->pressure_frac <= MOST_PRESSURE;
}

/* --- one run ------------------------------------------------------------------------------------
 */

struct run {
    struct kvs_exec_result result;
    struct kvs_val_noise noise;
};

static double s_of(int64_t ns)
{
    return (double)ns * 1e-9;
}

/* What runs share: the plan as the executor takes it. */
struct job {
    struct kvs_exec *exec;
    struct kvs_exec_block *block;
    struct kvs_stored **form; /* [block], of one form */
    struct kvs_exec_plan plan;
    uint32_t cut[KVS_MAX_LAYER], repair_tok[KVS_MAX_LAYER];
    uint8_t level[KVS_MAX_LAYER];
};

static enum kvs_code make_job(struct kvs_val_lab *lab, const struct kvs_val_case *c,
                              const struct kvs_val_problem *p,
                              const struct kvs_val_predicted *predicted, struct job *job,
                              struct kvs_err *err)
{
    uint32_t block_tok = (uint32_t)lab->options.block_tok, n = 0;
    struct kvs_exec_opt opt = {.window_bytes = lab->options.window_bytes,
                               .reader = {.bytes_per_s = c->bytes_per_s, .timeout_ns = 60000000000},
                               .latency_ns = (int64_t)(c->latency_s * 1e9)};

    memset(job, 0, sizeof *job);
    job->block = calloc(p->n_block + 1u, sizeof *job->block);
    if (!job->block)
        return kvs_nomem(err);
    for (uint32_t b = 0; b < p->n_block; b++) {
        unsigned as = kvs_val_held_as(c, b);
        bool moved = as == KVS_VAL_CONTENT;

        if (as == KVS_VAL_ABSENT)
            continue;
        job->block[n++] =
            (struct kvs_exec_block){.first_tok = b * block_tok,
                                    .n_tok = block_tok,
                                    .shift = moved ? (int32_t)(b * block_tok) : 0,
                                    .moved = moved && b > 0,
                                    .form = &lab->held[as].stored[(size_t)b * lab->n_level]};
    }
    for (uint32_t l = 0; l < p->problem.n_layer; l++) {
        job->cut[l] = kvs_tables_recompute_tok(p->inst, predicted->plan.frac_i[l]) / block_tok;
        job->repair_tok[l] = kvs_val_repair_tok(lab, p, predicted->plan.frac_i[l]);
        job->level[l] = (uint8_t)p->level_i[predicted->plan.level[l]];
    }
    job->plan = (struct kvs_exec_plan){.tok = lab->tok,
                                       .n_tok = c->context_tok + c->new_tok,
                                       .block = job->block,
                                       .n_block = n,
                                       .n_form = lab->n_level,
                                       .cut = job->cut,
                                       .form = job->level,
                                       .repair_tok = p->n_repair ? job->repair_tok : NULL};
    return kvs_exec_new(lab->dev, lab->forward, &opt, &job->exec, err);
}

static void drop_job(struct job *job)
{
    kvs_exec_free(job->exec);
    free(job->block);
}

static enum kvs_code run_once(struct kvs_val_lab *lab, struct job *job, struct run *run,
                              struct kvs_err *err)
{
    double stolen, waited, pressure;
    int64_t before_ns, after_ns, from_ns;
    enum kvs_code code = canary(lab, &before_ns, err);

    if (code)
        return code;
    stolen = stolen_s();
    waited = waited_s();
    pressure = pressure_s();
    from_ns = now_ns();
    if ((code = kvs_exec_run(job->exec, lab->store, &job->plan, lab->logits, &run->result, err)))
        return code;
    double wall_s = s_of(now_ns() - from_ns);
    run->noise = (struct kvs_val_noise){.stolen_frac = (stolen_s() - stolen) / wall_s,
                                        .waited_frac = (waited_s() - waited) / wall_s,
                                        .pressure_frac = (pressure_s() - pressure) / wall_s};
    code = canary(lab, &after_ns, err);
    run->noise.canary_ns = before_ns > after_ns ? before_ns : after_ns;
    return code;
}

/* --- the cell -----------------------------------------------------------------------------------
 */

void kvs_val_id(const struct kvs_val_case *c, const char *policy, char *id, size_t room)
{
    int n = snprintf(id, room, "c%u-n%u-%s%s-", c->context_tok, c->new_tok,
                     c->reuse == KVS_VAL_CONTENT ? "moved-" : "", c->level ? c->level : "mixed");

    if (c->budget_nats > 0)
        n += snprintf(id + n, room - (size_t)n, "q%g-", c->budget_nats);
    if (c->rate > 0)
        n += snprintf(id + n, room - (size_t)n, "r%g", c->rate);
    else
        n += snprintf(id + n, room - (size_t)n, "b%.3g", c->bytes_per_s);
    if (c->latency_s > 0)
        n += snprintf(id + n, room - (size_t)n, "-l%gms", c->latency_s * 1e3);
    if (policy)
        snprintf(id + n, room - (size_t)n, "/%s", policy);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const double *x, unsigned n)
{
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* Busy time of a stage over all layers. */
static double stage_s(const struct kvs_exec_result *result, enum kvs_exec_stage stage)
{
    int64_t sum = 0;

    for (uint32_t l = 0; l < KVS_MAX_LAYER; l++)
        sum += result->time[stage][l].to_ns - result->time[stage][l].from_ns;
    return s_of(sum);
}

/* Adds "NAME_s", how long a stage took for a layer, and when it ended. */
static void put_stage(json_t *to, const char *name, const char *ended, int64_t ns, int64_t end_ns)
{
    json_object_set_new(to, name, json_real(s_of(ns)));
    json_object_set_new(to, ended, json_real(s_of(end_ns)));
}

static json_t *layers_json(const struct kvs_exec_result *result,
                           const struct kvs_val_predicted *predicted, uint32_t n_layer)
{
    static const struct {
        enum kvs_exec_stage stage;
        const char *name, *ended;
    } stages[] = {{KVS_EXEC_READ, "link_s", "arrive_s"},
                  {KVS_EXEC_DECODE, "decode_s", "decoded_s"},
                  {KVS_EXEC_COPY, "copy_s", "copied_s"},
                  {KVS_EXEC_PRE, "pre_s", "pre_end_s"},
                  {KVS_EXEC_POST, "post_s", "computed_s"}};
    json_t *layers = json_array();

    for (uint32_t l = 0; layers && l < n_layer; l++) {
        json_t *told = json_object(), *seen = json_object();

        put_stage(told, "link_s", "arrive_s", predicted->io_ns[l], predicted->io_end_ns[l]);
        put_stage(told, "decode_s", "decoded_s", predicted->decode_ns[l],
                  predicted->decode_end_ns[l]);
        put_stage(told, "pre_s", "pre_end_s", predicted->pre_ns[l], predicted->pre_end_ns[l]);
        put_stage(told, "post_s", "computed_s", predicted->post_ns[l], predicted->post_end_ns[l]);
        for (size_t s = 0; s < sizeof stages / sizeof *stages; s++) {
            const struct kvs_exec_time *time = &result->time[stages[s].stage][l];

            put_stage(seen, stages[s].name, stages[s].ended, time->to_ns - time->from_ns,
                      time->to_ns);
        }
        json_array_append_new(layers, json_pack("{so so}", "predicted", told, "measured", seen));
    }
    return layers;
}

/* The quiet runs' TTFT, sorted; how many. */
static unsigned quiet_s(const struct kvs_val_lab *lab, const struct run *run, unsigned n_run,
                        double *ttft)
{
    unsigned n = 0;

    for (unsigned i = 0; i < n_run; i++)
        if (is_quiet(lab, &run[i].noise))
            ttft[n++] = s_of(run[i].result.ttft_ns);
    qsort(ttft, n, sizeof *ttft, by_value);
    return n;
}

static unsigned fewest(const struct kvs_val_lab *lab)
{
    return lab->options.repeats < 2 ? (unsigned)lab->options.repeats : 2;
}

/* true if the quiet runs are as many as were wanted, or agree. */
static bool is_enough(const struct kvs_val_lab *lab, const struct run *run, unsigned n_run)
{
    double ttft[MAX_RUN];
    unsigned n = quiet_s(lab, run, n_run, ttft);

    return n >= lab->options.repeats ||
           (n >= fewest(lab) && ttft[n - 1] - ttft[0] <= AGREE * ttft[0]);
}

/* What the plan's levels and its moved text lose together, where the table knows of both. */
static json_t *predicted_nats(const struct kvs_val_lab *lab, const struct kvs_val_case *c,
                              const struct kvs_val_predicted *predicted)
{
    if (!lab->quality || (c->reuse == KVS_VAL_CONTENT && lab->quality->n_repair == 0))
        return json_null();
    return json_real((double)predicted->eval.distortion / KVS_NAT);
}

static const char *reuse_of(const struct kvs_val_case *c, const struct kvs_val_problem *p)
{
    for (uint32_t b = 0; b < p->n_block; b++)
        if (kvs_val_held_as(c, b) != (unsigned)c->reuse)
            return "mixed";
    return c->reuse == KVS_VAL_CONTENT ? "content" : "prefix";
}

static json_t *cell_json(const struct kvs_val_lab *lab, const struct kvs_val_case *c,
                         const struct kvs_val_problem *p, const char *policy,
                         const struct kvs_val_predicted *predicted, const struct run *run,
                         unsigned n_run, const struct kvs_val_loss *loss)
{
    double ttft[MAX_RUN], frac = 0;
    unsigned n_quiet = quiet_s(lab, run, n_run, ttft), n = n_quiet, middle = 0;
    char id[160];

    /* what is noisy is decided here, before the prediction is looked at */
    bool noisy = n_quiet < fewest(lab);
    if (n_quiet == 0) {
        for (; n < n_run; n++)
            ttft[n] = s_of(run[n].result.ttft_ns);
        qsort(ttft, n, sizeof *ttft, by_value);
    }
    double mid = median(ttft, n);
    noisy |= (ttft[n - 1] - ttft[0]) > MOST_SPREAD * mid;
    for (unsigned i = 1; i < n_run; i++)
        if (fabs(s_of(run[i].result.ttft_ns) - mid) < fabs(s_of(run[middle].result.ttft_ns) - mid))
            middle = i;
    const struct kvs_exec_result *r = &run[middle].result;
    bool fell_back = false;

    for (unsigned i = 0; i < n_run; i++)
        fell_back |= run[i].result.fell_back;

    for (uint32_t l = 0; l < p->problem.n_layer; l++)
        frac += p->problem.frac[predicted->plan.frac_i[l]] / p->problem.n_layer;
    kvs_val_id(c, policy, id, sizeof id);
    json_t *cell = json_pack(
        "{ss ss si si ss sf sf sf sf sf sf sf sf sb si si sb}", "id", id, "policy", policy,
        "context_tok", (int)c->context_tok, "new_tok", (int)c->new_tok, "level",
        c->level ? c->level : "mixed", "rate", c->rate, "bytes_per_s", c->bytes_per_s, "latency_s",
        c->latency_s, "recompute_frac", frac, "measured_ttft_s", mid, "measured_low_s", ttft[0],
        "measured_high_s", ttft[n - 1], "predicted_ttft_s", s_of(predicted->eval.end_ns), "noisy",
        (int)noisy, "runs", (int)n_run, "quiet_runs", (int)n_quiet, "fell_back", (int)fell_back);
    json_t *more = json_pack(
        "{sf s{sfsfsfsfsf} s{sfsfsfsfsf} sf so si si sI si s{sfsfsfsf} so}", "ttft_error",
        s_of(predicted->eval.end_ns) / mid - 1, "predicted_s", "link", s_of(predicted->io_work_ns),
        "decoder", s_of(predicted->decode_work_ns), "compute", s_of(predicted->compute_work_ns),
        "pre", s_of(predicted->eval.pre_ns), "head", s_of(predicted->head_ns), "measured_s", "link",
        stage_s(r, KVS_EXEC_READ), "decoder", stage_s(r, KVS_EXEC_DECODE), "compute",
        stage_s(r, KVS_EXEC_PRE) + stage_s(r, KVS_EXEC_POST) + stage_s(r, KVS_EXEC_HEAD), "pre",
        stage_s(r, KVS_EXEC_PRE), "head", stage_s(r, KVS_EXEC_HEAD), "measured_nats", loss->nats,
        "predicted_nats", predicted_nats(lab, c, predicted), "greedy_same", (int)loss->n_same,
        "greedy_of", KVS_VAL_GREEDY, "load_bytes", (json_int_t)r->load_bytes, "window_waits",
        (int)r->n_window_wait, "noise", "canary",
        (double)run[middle].noise.canary_ns / (double)lab->best_canary_ns, "waited",
        run[middle].noise.waited_frac, "stolen", run[middle].noise.stolen_frac, "pressure",
        run[middle].noise.pressure_frac, "layers", layers_json(r, predicted, p->problem.n_layer));

    json_t *new_tok =
        json_pack("{ss sf sf sf}", "reuse", reuse_of(c, p), "budget_nats", c->budget_nats,
                  "mean_nats", loss->mean_nats, "agreement", loss->agreement);

    if (!cell || !more || !new_tok || json_object_update(cell, more) ||
        json_object_update(cell, new_tok)) {
        json_decref(cell);
        cell = NULL;
    }
    json_decref(more);
    json_decref(new_tok);
    return cell;
}

enum kvs_code kvs_val_cell(struct kvs_val_lab *lab, const struct kvs_val_case *c,
                           const struct kvs_val_problem *p, const char *policy,
                           const struct kvs_val_predicted *predicted, json_t **cell,
                           struct kvs_err *err)
{
    struct run *run = calloc(MAX_RUN, sizeof *run);
    unsigned n_run = 0, most = 2 * (unsigned)lab->options.repeats + 1;
    struct kvs_val_loss loss = {0};
    struct job job = {0};
    enum kvs_code code = run ? KVS_OK : kvs_nomem(err);

    *cell = NULL;
    most = most < MAX_RUN ? most : MAX_RUN;
    assert(code || run);
    if (!code)
        code = kvs_val_reference(lab, c, err);
    if (!code)
        code = make_job(lab, c, p, predicted, &job, err);
    /* what fell back once is told as that: a peer that hangs would be waited for each time */
    while (!code && n_run < most && !is_enough(lab, run, n_run) &&
           !(n_run && run[n_run - 1].result.fell_back)) {
        code = kvs_interrupted() ? KVS_OK : run_once(lab, &job, &run[n_run], err);
        if (!code && kvs_interrupted()) /* a signal ends sleeps too: its times mean nothing */
            code = kvs_fail(err, KVS_ERR_IO, "interrupted");
        if (!code && n_run == 0)
            code = kvs_val_loss(lab, c, &loss, err);
        n_run++;
    }
    if (!code) {
        *cell = cell_json(lab, c, p, policy, predicted, run, n_run, &loss);
        if (!*cell)
            code = kvs_nomem(err);
    }
    drop_job(&job);
    free(run);
    return code;
}
