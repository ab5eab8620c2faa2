/*
 * kvsim recommend: the cheapest configuration of a space that meets an SLO, and what to know of it.
 */
#include "cmd.h"
#include "signals.h"

#include "base/opt.h"
#include "base/units.h"
#include "report/workload.h"
#include "study/front.h"
#include "study/recommend.h"
#include "study/settings.h"

#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define USAGE "kvsim recommend WORKLOAD --slo ttft.p99=500ms --prices h100-2025 [options]"
#define ABOUT                                                                                      \
    "Searches replicas, DRAM and drives for the cheapest configuration that meets an SLO at the\n" \
    "workload's rate; then what binds, what more or less of each would do, how far traffic may\n"  \
    "grow, what a million tokens cost, and the settings of serving systems. Simulated."

struct args {
    const char *prices, *dir;
    struct kvs_strs slo, sets, replicas, dram, drives;
    uint64_t jobs;
    bool all, quiet;
};

#define ARG(field) offsetof(struct args, field)
static const struct kvs_opt table[] = {
    {"slo", KVS_OPT_LIST, ARG(slo), NULL, 0, 0,
     "ttft.p99=500ms,tpot.mean=50ms; default: p99 within the workload's slo", NULL, false, 0},
    {"prices", KVS_OPT_STR, ARG(prices), "h100-2025", 0, 0, "a name of configs/prices, or a file",
     NULL, false, 0},
    {"replicas", KVS_OPT_LIST, ARG(replicas), NULL, 0, 0, "choices; default: 1,2,4,8", NULL, false,
     0},
    {"dram", KVS_OPT_LIST, ARG(dram), NULL, 0, 0,
     "choices of KV tier a host; default: 0,128GiB,512GiB,2TiB", NULL, false, 0},
    {"drives", KVS_OPT_LIST, ARG(drives), NULL, 0, 0, "choices a host; default: 0,1,2,4,8", NULL,
     false, 0},
    {"set", KVS_OPT_MANY, ARG(sets), NULL, 0, 0, "PATH=VALUE, a setting of the workload", NULL,
     false, 0},
    {"output", KVS_OPT_STR, ARG(dir), NULL, 0, 0,
     "folder for cost_front.csv and its drawing, cost against p99 TTFT", NULL, false, 'o'},
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

static enum kvs_code read_choices(const struct kvs_strs *given, const struct kvs_strs *usual,
                                  enum kvs_dim dim, struct kvs_space *space, struct kvs_err *err)
{
    const struct kvs_strs *text = given->n ? given : usual;
    if (text->n > KVS_MAX_CHOICE)
        return kvs_fail(err, KVS_ERR_ARG, "--%s: more than %d choices", kvs_dim_name[dim],
                        KVS_MAX_CHOICE);
    for (unsigned i = 0; i < text->n; i++) {
        uint64_t *value = &space->choice[dim][i];
        const bool bad = dim == KVS_DIM_DRAM ? kvs_parse_bytes(text->v[i], value, NULL) != KVS_OK
                                             : kvs_parse_u64(text->v[i], value, NULL) != KVS_OK;
        if (bad || (dim == KVS_DIM_REPLICAS && (*value < 1 || *value > 4096)))
            return kvs_fail(err, KVS_ERR_ARG, "--%s: found \"%.40s\", want %s", kvs_dim_name[dim],
                            text->v[i],
                            dim == KVS_DIM_DRAM ? "bytes like 512GiB" : "whole numbers");
    }
    qsort(space->choice[dim], text->n, sizeof(uint64_t), by_value);
    space->n[dim] = text->n;
    return KVS_OK;
}

static enum kvs_code read_space(const struct args *args, const struct kvs_workload *workload,
                                const struct kvs_prices *prices, struct kvs_space *space,
                                struct kvs_err *err)
{
    static const struct kvs_strs replicas = {4, {"1", "2", "4", "8"}},
                                 dram = {4, {"0", "128GiB", "512GiB", "2TiB"}},
                                 drives = {5, {"0", "1", "2", "4", "8"}};
    enum kvs_code code;
    *space = (struct kvs_space){
        .tp = workload->sim.tp, .gpus_per_host = workload->sim.hw->gpus_per_host, .prices = prices};
    if ((code = read_choices(&args->replicas, &replicas, KVS_DIM_REPLICAS, space, err)) ||
        (code = read_choices(&args->dram, &dram, KVS_DIM_DRAM, space, err)))
        return code;
    return read_choices(&args->drives, &drives, KVS_DIM_DRIVES, space, err);
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

/* --- what is told ------------------------------------------------------------------------------
 */

struct view {
    const struct kvs_space *space;
    const struct kvs_slo *slo;
    const struct kvs_recommend *found;
};

static void print_line(const struct view *view, uint64_t number, const char *mark)
{
    const struct kvs_measure *m = &view->found->measure[number];
    const struct kvs_choice choice = kvs_space_at(view->space, number);
    char text[KVS_CHOICE_TEXT], time[KVS_TEXT_MAX];
    printf("  %-44s %9.2f", kvs_space_text(view->space, choice, text),
           kvs_recommend_total(view->found, view->space, number).all);
    if (!m->ran) {
        printf("  %.80s\n", m->reason);
        return;
    }
    printf(" %9s %8.3g %4.0f %% %4.0f %%  %-8s %s %.0f %%%s\n", kvs_text_time(time, m->ttft_p99_s),
           m->goodput_per_s, 100 * m->gpu_busy_frac, 100 * m->link_frac, kvs_measure_binding(m),
           m->meets ? "meets" : m->worst, 100 * m->worst_frac, mark);
}

static void print_head(const struct kvs_space *space)
{
    printf("  %-44s %5s/h   TTFT p99  goodput    GPU   link  busiest  SLO, share of its bound\n",
           "", space->prices->currency);
}

static void print_front(const struct view *view)
{
    uint64_t n_ran = 0;
    for (uint64_t i = 0; i < view->found->n; i++)
        n_ran += view->found->state[i] == KVS_TRY_DONE;
    printf("\nPareto front of cost, p99 TTFT and goodput, over %" PRIu64 " of %" PRIu64
           " configurations that were simulated\n",
           n_ran, view->found->n);
    print_head(view->space);
    for (uint64_t i = 0; i < view->found->n; i++)
        if (kvs_recommend_on_front(view->found, view->space, i))
            print_line(view, i,
                       view->found->found && i == view->found->best ? "  <- cheapest" : "");
}

static void print_neighbours(const struct view *view)
{
    printf("\none step of each, from the cheapest\n");
    print_head(view->space);
    for (int d = 0; d < KVS_N_DIM; d++)
        for (int step = -1; step <= 1; step += 2) {
            struct kvs_choice choice = kvs_space_at(view->space, view->found->best);
            if ((step < 0 && choice.i[d] == 0) ||
                (step > 0 && choice.i[d] + 1 == view->space->n[d]))
                continue;
            choice.i[d] = step < 0 ? choice.i[d] - 1 : choice.i[d] + 1;
            const uint64_t number = kvs_space_number(view->space, choice);
            if (view->found->state[number] == KVS_TRY_DONE)
                print_line(view, number,
                           step < 0 && !view->found->measure[number].meets ? "  (binds)" : "");
        }
}

/* Would another of the simulated ones be the cheapest if prices moved? */
static void print_price_sensitivity(const struct view *view)
{
    static const struct {
        const char *words;
        enum kvs_price price;
        double factor;
    } move[] = {
        {"GPUs 30 % cheaper", KVS_PRICE_GPU, 0.7}, {"GPUs 30 % dearer", KVS_PRICE_GPU, 1.3},
        {"DRAM at half", KVS_PRICE_DRAM_GIB, 0.5}, {"DRAM at double", KVS_PRICE_DRAM_GIB, 2},
        {"drives at half", KVS_PRICE_DRIVE, 0.5},  {"drives at double", KVS_PRICE_DRIVE, 2}};
    printf("\nif prices move (among those simulated)\n");
    for (size_t i = 0; i < sizeof move / sizeof *move; i++) {
        struct kvs_prices prices = *view->space->prices;
        struct kvs_space space = *view->space;
        uint64_t best = 0;
        char text[KVS_CHOICE_TEXT];
        prices.value[move[i].price] *= move[i].factor;
        space.prices = &prices;
        if (!kvs_recommend_cheapest(view->found, &space, &best))
            continue;
        printf("  %-20s %s%s, %.2f %s/h\n", move[i].words,
               best == view->found->best ? "the same, " : "",
               kvs_space_text(&space, kvs_space_at(&space, best), text),
               kvs_recommend_total(view->found, &space, best).all, prices.currency);
    }
}

static void print_endurance(const struct view *view)
{
    const struct kvs_total total = kvs_recommend_total(view->found, view->space, view->found->best);
    if (isnan(total.writes_per_day))
        return;
    printf("  drives: written over %.2f times a day at this rate; made for %g over %d years",
           total.writes_per_day, view->space->prices->value[KVS_PRICE_DRIVE_DWPD], KVS_RATED_YEARS);
    printf(total.wear > 0 ? ": wear costs %.2f %s an hour, which is counted\n" : "\n", total.wear,
           view->space->prices->currency);
}

/* Tokens found in tiers, as a share of the input, at which the tiers pay for themselves: each saves
 * its prefill, at what GPU time costs. */
static void print_tokens(const struct view *view)
{
    const struct kvs_choice choice = kvs_space_at(view->space, view->found->best);
    const struct kvs_measure *m = &view->found->measure[view->found->best];
    const struct kvs_cost_hour cost = kvs_space_cost(view->space, choice);
    const struct kvs_total total = kvs_recommend_total(view->found, view->space, view->found->best);
    const double kept = cost.dram + cost.drives + total.wear; /* what the tiers cost an hour */
    const char *currency = view->space->prices->currency;
    const double tok_per_h = m->input_tok / m->span_s * 3600;
    const double tiers = (isnan(m->tier_hit_frac[0]) ? 0 : m->tier_hit_frac[0]) +
                         (isnan(m->tier_hit_frac[1]) ? 0 : m->tier_hit_frac[1]);
    const double computed = 1 - m->hbm_hit_frac - tiers + m->recomputed_frac;
    printf("  a million input tokens cost %.3f %s (their answers with them), at %.3g million an "
           "hour\n",
           total.all / (tok_per_h * 1e-6), currency, tok_per_h * 1e-6);
    if (kept <= 0 || computed <= 0)
        return;
    const double prefill_per_h = (cost.gpu + cost.power) * m->gpu_prefill_frac;
    const double saved_at_one = prefill_per_h / computed; /* an hour's, if all input were hits */
    printf("  the tiers cost %.2f %s an hour and pay for themselves in GPU time alone from %.1f %% "
           "of the\n  input found in them; they find %.1f %% (of which %.1f %% computed again)\n",
           kept, currency, 100 * kept / saved_at_one, 100 * tiers, 100 * m->recomputed_frac);
}

static void print_growth(const struct kvs_recommend *found)
{
    if (found->growth_not > 0)
        printf("  traffic may grow to %.2f times this rate; at %.2f times the SLO is missed\n",
               found->growth, found->growth_not);
    else
        printf("  traffic may grow to %.2f times this rate, the most that was tried\n",
               found->growth);
}

static void print_answer(const struct view *view)
{
    const struct kvs_choice choice = kvs_space_at(view->space, view->found->best);
    const struct kvs_cost_hour cost = kvs_space_cost(view->space, choice);
    const struct kvs_measure *m = &view->found->measure[view->found->best];
    const struct kvs_total total = kvs_recommend_total(view->found, view->space, view->found->best);
    char text[KVS_CHOICE_TEXT], time[KVS_TEXT_MAX];
    printf("cheapest that meets the SLO: %s, policy %s\n",
           kvs_space_text(view->space, choice, text), m->policy);
    printf("  %.2f %s an hour (GPUs %.2f, DRAM %.2f, drives %.2f, their wear %.2f, power %.2f); "
           "%.0f %s "
           "to buy\n",
           total.all, view->space->prices->currency, cost.gpu, cost.dram, cost.drives, total.wear,
           cost.power, cost.invest, view->space->prices->currency);
    for (unsigned i = 0; i < view->slo->n; i++)
        printf("  %s: %s\n", view->slo->term[i].text, kvs_text_time(time, m->value_s[i]));
    printf("  nearest to its bound: %s, at %.0f %% of it; GPUs %.0f %% busy, busiest link %s %.0f "
           "%%\n",
           m->worst, 100 * m->worst_frac, 100 * m->gpu_busy_frac, *m->link ? m->link : "none",
           100 * m->link_frac);
    print_growth(view->found);
    print_tokens(view);
    print_endurance(view);
    printf("  simulated: %" PRIu64 " runs for a space of %" PRIu64 "\n", view->found->n_simulated,
           view->found->n);
}

static void print_settings(const struct view *view, const struct kvs_workload *workload)
{
    const struct kvs_choice choice = kvs_space_at(view->space, view->found->best);
    const uint64_t gpus = view->space->choice[0][choice.i[0]] * view->space->tp;
    const struct kvs_settings settings = {
        .gpus_of_host = gpus < view->space->gpus_per_host ? gpus : view->space->gpus_per_host,
        .tp = view->space->tp,
        .dram_bytes = view->space->choice[KVS_DIM_DRAM][choice.i[KVS_DIM_DRAM]],
        .drive_bytes =
            (uint64_t)((double)view->space->choice[KVS_DIM_DRIVES][choice.i[KVS_DIM_DRIVES]] *
                       view->space->prices->value[KVS_PRICE_DRIVE_BYTES]),
        .chunk_tok = workload->sim.chunk_tok,
        .max_batch = workload->sim.max_batch,
    };
    printf("\nsettings\n\n");
    kvs_settings_print(&settings, stdout);
}

static void print_all(const struct view *view, const struct kvs_workload *workload)
{
    if (view->found->found) {
        print_answer(view);
    } else {
        printf("no configuration of this space meets the SLO\n");
    }
    print_front(view);
    if (view->found->found) {
        print_neighbours(view);
        print_price_sensitivity(view);
        print_settings(view, workload);
    }
    printf("\nprices (%s)\n", view->space->prices->name);
    kvs_prices_print(view->space->prices, stdout);
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

static enum kvs_code run(const struct args *args, const char *file,
                         const struct kvs_workload *workload, struct kvs_err *err)
{
    bool shown = !args->quiet && isatty(STDERR_FILENO);
    struct kvs_prices *prices = NULL;
    struct kvs_recommend *found = NULL;
    struct kvs_space space;
    struct kvs_slo slo;
    enum kvs_code code = kvs_prices_open(args->prices, &prices, err);
    if (!code && !(code = read_space(args, workload, prices, &space, err)) &&
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
        if (!code)
            print_all(&(struct view){&space, &slo, found}, workload);
        if (!code && args->dir)
            code = kvs_front_draw(found, &space, args->dir, workload->name, err);
    }
    kvs_recommend_free(found);
    kvs_prices_free(prices);
    return code;
}

static enum kvs_code recommend(int argc, char *const *argv, struct kvs_err *err)
{
    struct args args;
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
