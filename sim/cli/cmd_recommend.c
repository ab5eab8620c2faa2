/*
 * kvsim recommend: the cheapest configuration of a space that meets an SLO, and what to know of it.
 */
#include "cmd.h"
#include "recommend_print.h"
#include "signals.h"

#include "base/opt.h"
#include "base/outfile.h"
#include "base/units.h"
#include "report/workload.h"
#include "study/front.h"
#include "study/recommend.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define USAGE "kvsim recommend WORKLOAD --slo ttft.p99=500ms --prices h100-2025 [options]"
#define ABOUT                                                                                      \
    "Searches GPU types, replicas, DRAM, drives and networks for the cheapest configuration "      \
    "that\n"                                                                                       \
    "meets an SLO at the workload's rate; then what binds, what more or less of each would do,\n"  \
    "how far traffic may grow, what a million tokens cost, and the settings of serving systems.\n" \
    "Policies are those of the workload's compare. Simulated."
#define MOST_CONFIGURATIONS 20000

struct args {
    const char *prices, *dir;
    struct kvs_strs slo, sets, dim[KVS_N_DIM];
    uint64_t jobs;
    bool all, quiet;
};

#define ARG(field) offsetof(struct args, field)
static const struct kvs_opt table[] = {
    {"slo", KVS_OPT_LIST, ARG(slo), NULL, 0, 0,
     "ttft.p99=500ms,tpot.mean=50ms; default: p99 within the workload's slo", NULL, false, 0},
    {"prices", KVS_OPT_STR, ARG(prices), "h100-2025", 0, 0, "a name of configs/prices, or a file",
     NULL, false, 0},
    {"replicas", KVS_OPT_LIST, ARG(dim[KVS_DIM_REPLICAS]), NULL, 0, 0, "choices; default: 1,2,4,8",
     NULL, false, 0},
    {"tp", KVS_OPT_LIST, ARG(dim[KVS_DIM_TP]), NULL, 0, 0,
     "choices of GPUs a replica; default: the workload's", NULL, false, 0},
    {"dram", KVS_OPT_LIST, ARG(dim[KVS_DIM_DRAM]), NULL, 0, 0,
     "choices of KV tier a host; default: 0,128GiB,512GiB,2TiB", NULL, false, 0},
    {"drives", KVS_OPT_LIST, ARG(dim[KVS_DIM_DRIVES]), NULL, 0, 0,
     "choices a host; default: 0,1,2,4,8", NULL, false, 0},
    {"gpu", KVS_OPT_LIST, ARG(dim[KVS_DIM_GPU]), NULL, 0, 0,
     "hardware profiles among those priced; default: all", NULL, false, 0},
    {"drive", KVS_OPT_LIST, ARG(dim[KVS_DIM_DRIVE]), NULL, 0, 0,
     "sizes of drives among those priced; default: all", NULL, false, 0},
    {"nic", KVS_OPT_LIST, ARG(dim[KVS_DIM_NIC]), NULL, 0, 0,
     "networks among those priced; default: the hardware's", NULL, false, 0},
    {"level", KVS_OPT_LIST, ARG(dim[KVS_DIM_LEVEL]), NULL, 0, 0,
     "compression levels of the KV on drives; default: the workload's", NULL, false, 0},
    {"placement", KVS_OPT_LIST, ARG(dim[KVS_DIM_PLACEMENT]), NULL, 0, 0,
     "of drives' blocks over hosts: local,hashed,cache-aware; default: the workload's", NULL, false,
     0},
    {"set", KVS_OPT_MANY, ARG(sets), NULL, 0, 0, "PATH=VALUE, a setting of the workload", NULL,
     false, 0},
    {"out", KVS_OPT_STR, ARG(dir), NULL, 0, 0,
     "folder for the answer, cost_front.csv and its drawing, cost against p99 TTFT", NULL, false,
     'o'},
    {"all", KVS_OPT_FLAG, ARG(all), NULL, 0, 0,
     "simulate the whole space: the front is then complete", NULL, false, 0},
    {"jobs", KVS_OPT_U64, ARG(jobs), "0", 0, 4096, "worker processes; 0: one a core", NULL, false,
     'j'},
    {"quiet", KVS_OPT_FLAG, ARG(quiet), NULL, 0, 0, "no progress", NULL, false, 'q'},
};
#define N_ARG ((unsigned)(sizeof table / sizeof *table))

/* --- arguments ---------------------------------------------------------------------------------
 */

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static enum kvs_code read_numbers(const struct kvs_strs *text, enum kvs_dim dim,
                                  struct kvs_space *space, struct kvs_err *err)
{
    const uint64_t least = dim == KVS_DIM_REPLICAS || dim == KVS_DIM_TP ? 1 : 0,
                   most = dim == KVS_DIM_DRAM ? UINT64_C(1) << 60 : 4096;
    for (unsigned i = 0; i < text->n; i++) {
        uint64_t *value = &space->choice[dim][i];
        const bool bad = dim == KVS_DIM_DRAM ? kvs_parse_bytes(text->v[i], value, NULL) != KVS_OK
                                             : kvs_parse_u64(text->v[i], value, NULL) != KVS_OK;
        if (bad || *value < least || *value > most)
            return kvs_fail(err, KVS_ERR_ARG, "--%s: found \"%.40s\", want %s", kvs_dim_name[dim],
                            text->v[i],
                            dim == KVS_DIM_DRAM ? "bytes like 512GiB"
                            : least             ? "whole numbers from 1 to 4096"
                                                : "whole numbers up to 4096");
    }
    qsort(space->choice[dim], text->n, sizeof(uint64_t), by_value);
    for (unsigned i = 1; i < text->n; i++)
        if (space->choice[dim][i] == space->choice[dim][i - 1])
            return kvs_fail(err, KVS_ERR_ARG, "--%s: found a choice twice", kvs_dim_name[dim]);
    space->n[dim] = text->n;
    return KVS_OK;
}

/* Names among known ones; without a list all of them. */
static enum kvs_code read_priced(const struct kvs_strs *text, enum kvs_dim dim,
                                 const char *const *known, uint32_t n_known,
                                 struct kvs_space *space, struct kvs_err *err)
{
    const unsigned n = text->n ? text->n : n_known;
    for (unsigned i = 0; i < n; i++) {
        uint32_t k = text->n ? 0 : i;
        while (text->n && k < n_known && strcmp(known[k], text->v[i]) != 0)
            k++;
        if (k == n_known) {
            char names[300];
            return kvs_fail(err, KVS_ERR_ARG, "--%s: the prices have no \"%.40s\"%s",
                            kvs_dim_name[dim], text->v[i],
                            kvs_known(names, sizeof names, text->v[i], known, n_known));
        }
        for (unsigned j = 0; j < i; j++)
            if (space->choice[dim][j] == k)
                return kvs_fail(err, KVS_ERR_ARG, "--%s: found %s twice", kvs_dim_name[dim],
                                known[k]);
        space->choice[dim][i] = k;
    }
    space->n[dim] = n;
    return KVS_OK;
}

/* Names that the workload's reader knows. */
static enum kvs_code read_names(const struct kvs_strs *text, enum kvs_dim dim,
                                struct kvs_space *space, struct kvs_err *err)
{
    for (unsigned i = 0; i < text->n; i++) {
        for (unsigned j = 0; j < i; j++)
            if (strcmp(text->v[i], text->v[j]) == 0)
                return kvs_fail(err, KVS_ERR_ARG, "--%s: found %s twice", kvs_dim_name[dim],
                                text->v[i]);
        space->choice[dim][i] = i;
        space->name[dim][i] = text->v[i];
    }
    space->n[dim] = text->n;
    return KVS_OK;
}

static void leave_as_it_is(struct kvs_space *space, enum kvs_dim dim)
{
    space->n[dim] = 1;
    space->choice[dim][0] = KVS_AS_IT_IS;
}

static enum kvs_code read_dim(const struct args *args, const struct kvs_workload *workload,
                              enum kvs_dim dim, struct kvs_space *space, struct kvs_err *err)
{
    static const struct kvs_strs usual[KVS_N_DIM] = {
        [KVS_DIM_REPLICAS] = {4, {"1", "2", "4", "8"}},
        [KVS_DIM_DRAM] = {4, {"0", "128GiB", "512GiB", "2TiB"}},
        [KVS_DIM_DRIVES] = {5, {"0", "1", "2", "4", "8"}}};
    const struct kvs_prices *prices = space->prices;
    const struct kvs_strs *text = args->dim[dim].n ? &args->dim[dim] : &usual[dim];
    const char *known[KVS_MAX_PRICED];
    if (text->n > KVS_MAX_CHOICE)
        return kvs_fail(err, KVS_ERR_ARG, "--%s: more than %d choices", kvs_dim_name[dim],
                        KVS_MAX_CHOICE);
    switch (dim) {
    case KVS_DIM_GPU:
        for (uint32_t i = 0; i < prices->n_gpu; i++)
            known[i] = prices->gpu[i].hardware;
        return read_priced(text, dim, known, prices->n_gpu, space, err);
    case KVS_DIM_DRIVE:
        for (uint32_t i = 0; i < prices->n_drive; i++)
            known[i] = prices->drive[i].name;
        return read_priced(text, dim, known, prices->n_drive, space, err);
    case KVS_DIM_NIC:
        for (uint32_t i = 0; i < prices->n_nic; i++)
            known[i] = prices->nic[i].name;
        if (text->n)
            return read_priced(text, dim, known, prices->n_nic, space, err);
        leave_as_it_is(space, dim);
        return KVS_OK;
    case KVS_DIM_LEVEL:
    case KVS_DIM_PLACEMENT:
        if (text->n)
            return read_names(text, dim, space, err);
        leave_as_it_is(space, dim);
        return KVS_OK;
    default:
        if (text->n)
            return read_numbers(text, dim, space, err);
        space->n[dim] = 1; /* tp */
        space->choice[dim][0] = workload->sim.tp;
        return KVS_OK;
    }
}

/* The workload's own dram and nvme: what else it sets of them is kept. */
static void take_tiers(const json_t *record, struct kvs_space *space)
{
    static const char *const name[] = {"dram", "nvme"};
    size_t i;
    json_t *tier;
    json_array_foreach(json_object_get(record, "tiers"), i, tier)
    {
        for (int k = 0; k < 2; k++)
            if (strcmp(json_string_value(json_object_get(tier, "name")), name[k]) == 0)
                space->tier[k] = tier;
    }
}

static enum kvs_code read_space(const struct args *args, const struct kvs_workload *workload,
                                const struct kvs_prices *prices, const json_t *record,
                                struct kvs_space *space, struct kvs_err *err)
{
    *space = (struct kvs_space){.prices = prices};
    take_tiers(record, space);
    for (int d = 0; d < KVS_N_DIM; d++) {
        enum kvs_code code = read_dim(args, workload, (enum kvs_dim)d, space, err);
        if (code)
            return code;
    }
    if (kvs_space_n(space) > MOST_CONFIGURATIONS)
        return kvs_fail(err, KVS_ERR_RANGE,
                        "found %" PRIu64 " configurations, want at most %d: name fewer choices",
                        kvs_space_n(space), MOST_CONFIGURATIONS);
    return KVS_OK;
}

static enum kvs_code read_slo(const struct args *args, const struct kvs_workload *workload,
                              struct kvs_slo *slo, struct kvs_err *err)
{
    char ttft[48], tpot[48];
    struct kvs_strs text = args->slo;
    if (text.n == 0 && workload->sim.slo_ttft_s > 0) {
        snprintf(ttft, sizeof ttft, "ttft.p99=%gs", workload->sim.slo_ttft_s);
        text.v[text.n++] = ttft;
    }
    if (args->slo.n == 0 && workload->sim.slo_tpot_s > 0) {
        snprintf(tpot, sizeof tpot, "tpot.p99=%gs", workload->sim.slo_tpot_s);
        text.v[text.n++] = tpot;
    }
    if (text.n == 0)
        return kvs_fail(err, KVS_ERR_ARG, "no SLO: want --slo ttft.p99=500ms");
    return kvs_slo_read(&text, slo, err);
}

/* --- the command -------------------------------------------------------------------------------
 */

static bool on_progress(void *ctx, uint64_t n_simulated)
{
    if (*(const bool *)ctx)
        fprintf(stderr, "\r%" PRIu64 " configurations simulated\033[K", n_simulated);
    return kvs_interrupted();
}

static unsigned n_core(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : (unsigned)CPU_COUNT(&set);
}

/* The answer and the front's figure, in the folder. */
static enum kvs_code leave(struct kvs_recommend_view *view, const char *dir, struct kvs_err *err)
{
    struct kvs_outfile *out = NULL;
    char *path = NULL;
    enum kvs_code code = kvs_front_draw(view->found, view->space, dir, view->workload->name, err);
    if (code && code != KVS_ERR_ABSENT) /* without gnuplot there is no figure */
        return code;
    struct kvs_err inner = {0};
    if (asprintf(&path, "%s/" KVS_RECOMMEND_TXT, dir) < 0)
        return kvs_nomem(err);
    enum kvs_code left = kvs_outfile_begin(path, &out, &inner);
    if (!left) {
        view->to = kvs_outfile_stream(out);
        kvs_recommend_print(view);
        left = kvs_outfile_commit(out, &inner);
    }
    free(path);
    return left && !code ? kvs_fail(err, left, "%s", inner.msg) : code;
}

static enum kvs_code run(const struct args *args, const char *file,
                         const struct kvs_workload *workload, struct kvs_err *err)
{
    bool shown = !args->quiet && isatty(STDERR_FILENO);
    struct kvs_prices *prices = NULL;
    struct kvs_recommend *found = NULL;
    struct kvs_space space;
    struct kvs_slo slo;
    json_t *record = kvs_workload_record(workload);
    enum kvs_code code = record ? kvs_prices_open(args->prices, &prices, err) : kvs_nomem(err);
    if (!code && !(code = read_space(args, workload, prices, record, &space, err)) &&
        !(code = read_slo(args, workload, &slo, err))) {
        const struct kvs_recommend_options options = {
            .workload = file,
            .sets = args->sets,
            .space = &space,
            .slo = &slo,
            .n_job = args->jobs ? (unsigned)args->jobs : n_core(),
            .all = args->all,
            .progress = on_progress,
            .ctx = &shown,
        };
        kvs_catch_signals();
        code = kvs_recommend(&options, &found, err);
        if (shown)
            fputs("\r\033[K", stderr);
        struct kvs_recommend_view view = {&space, &slo, found, workload, stdout};
        if (!code)
            kvs_recommend_print(&view);
        if (!code && args->dir)
            code = leave(&view, args->dir, err);
    }
    kvs_recommend_free(found);
    kvs_prices_free(prices);
    json_decref(record);
    return code;
}

static enum kvs_code recommend(int argc, char *const *argv, struct kvs_err *err)
{
    struct args args = {0};
    struct kvs_strs pos = {0};
    struct kvs_workload *workload = NULL;
    bool help = false;
    enum kvs_code code = kvs_opt_argv(table, N_ARG, argc, argv, &args, &pos, &help, err);
    if (code)
        return code;
    if (help) {
        kvs_opt_help(stdout, USAGE, ABOUT, table, N_ARG);
        return KVS_OK;
    }
    if (pos.n != 1)
        return kvs_fail(err, KVS_ERR_ARG, "found %u workloads, want one: " USAGE, pos.n);
    if (!(code = kvs_workload_open(pos.v[0], &args.sets, &workload, err)))
        code = run(&args, pos.v[0], workload, err);
    kvs_workload_free(workload);
    return code;
}

const struct kvs_cmd kvs_cmd_recommend = {
    "recommend", "the cheapest configuration that meets an SLO, and the settings to use",
    recommend};
