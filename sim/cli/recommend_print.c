/* What kvsim recommend tells. */
#include "recommend_print.h"

#include "base/units.h"
#include "study/settings.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static void print_line(const struct kvs_recommend_view *view, uint64_t number, const char *mark)
{
    const struct kvs_measure *m = &view->found->measure[number];
    const struct kvs_choice choice = kvs_space_at(view->space, number);
    char text[KVS_CHOICE_TEXT], time[KVS_TEXT_MAX];
    fprintf(view->to, "  %-66s %9.2f", kvs_space_text(view->space, choice, text),
            kvs_recommend_total(view->found, view->space, number).all);
    if (!m->ran) {
        fprintf(view->to, "  %.80s\n", m->reason);
        return;
    }
    fprintf(view->to, " %9s %8.3g %4.0f %% %4.0f %%  %-8s %s %.0f %%%s\n",
            kvs_text_time(time, m->ttft_p99_s), m->goodput_per_s, 100 * m->gpu_busy_frac,
            100 * m->link_frac, kvs_measure_binding(m), m->meets ? "meets" : m->worst,
            100 * m->worst_frac, mark);
}

static void print_head(const struct kvs_recommend_view *view)
{
    fprintf(view->to,
            "  %-66s %5s/h   TTFT p99  goodput    GPU   link  busiest  SLO, share of its bound\n",
            "", view->space->prices->currency);
}

static void print_front(const struct kvs_recommend_view *view)
{
    uint64_t n_ran = 0;
    for (uint64_t i = 0; i < view->found->n; i++)
        n_ran += view->found->state[i] == KVS_TRY_DONE;
    fprintf(view->to,
            "\nPareto front of cost, p99 TTFT and goodput, over %" PRIu64 " of %" PRIu64
            " configurations that were simulated\n",
            n_ran, view->found->n_offered);
    print_head(view);
    for (uint64_t i = 0; i < view->found->n; i++)
        if (kvs_recommend_on_front(view->found, view->space, i))
            print_line(view, i,
                       view->found->found && i == view->found->best ? "  <- cheapest" : "");
}

static void print_neighbours(const struct kvs_recommend_view *view)
{
    uint64_t near[KVS_MAX_NEIGHBOUR];
    const uint64_t best = view->found->best;
    const uint32_t n = kvs_space_neighbours(view->space, best, near);
    const double own = kvs_recommend_total(view->found, view->space, best).all;
    if (n == 0)
        return;
    fprintf(view->to, "\none step of each, from the cheapest\n");
    print_head(view);
    for (uint32_t i = 0; i < n; i++)
        if (view->found->state[near[i]] == KVS_TRY_DONE)
            print_line(view, near[i],
                       kvs_recommend_total(view->found, view->space, near[i]).all < own &&
                               !view->found->measure[near[i]].meets
                           ? "  (binds)"
                           : "");
}

/* Prices of one kind, multiplied. */
enum moved { MOVED_GPU, MOVED_DRAM, MOVED_DRIVE };

static void move_prices(struct kvs_prices *prices, enum moved what, double factor)
{
    for (uint32_t i = 0; what == MOVED_GPU && i < prices->n_gpu; i++) {
        prices->gpu[i].price *= factor;
        prices->gpu[i].rent *= factor;
    }
    for (uint32_t i = 0; what == MOVED_DRIVE && i < prices->n_drive; i++)
        prices->drive[i].price *= factor;
    if (what == MOVED_DRAM)
        prices->dram_gib *= factor;
}

/* Would another of the simulated ones be the cheapest if prices moved? */
static void print_price_sensitivity(const struct kvs_recommend_view *view)
{
    static const struct {
        const char *words;
        enum moved what;
        double factor;
    } move[] = {{"GPUs 30 % cheaper", MOVED_GPU, 0.7}, {"GPUs 30 % dearer", MOVED_GPU, 1.3},
                {"DRAM at half", MOVED_DRAM, 0.5},     {"DRAM at double", MOVED_DRAM, 2},
                {"drives at half", MOVED_DRIVE, 0.5},  {"drives at double", MOVED_DRIVE, 2}};
    fprintf(view->to, "\nif prices move (among those simulated)\n");
    for (size_t i = 0; i < sizeof move / sizeof *move; i++) {
        struct kvs_prices prices = *view->space->prices;
        struct kvs_space space = *view->space;
        uint64_t best = 0;
        char text[KVS_CHOICE_TEXT];
        move_prices(&prices, move[i].what, move[i].factor);
        space.prices = &prices;
        if (!kvs_recommend_cheapest(view->found, &space, &best))
            continue;
        fprintf(view->to, "  %-20s %s%s, %.2f %s/h\n", move[i].words,
                best == view->found->best ? "the same, " : "",
                kvs_space_text(&space, kvs_space_at(&space, best), text),
                kvs_recommend_total(view->found, &space, best).all, prices.currency);
    }
}

static void print_endurance(const struct kvs_recommend_view *view)
{
    const struct kvs_total total = kvs_recommend_total(view->found, view->space, view->found->best);
    if (isnan(total.writes_per_day))
        return;
    fprintf(view->to,
            "  drives: written over %.2f times a day at this rate; made for %g over %d years",
            total.writes_per_day,
            kvs_space_drive(view->space, kvs_space_at(view->space, view->found->best))->dwpd,
            KVS_RATED_YEARS);
    if (total.wear > 0)
        fprintf(view->to, ": wear costs %.2f %s an hour, which is counted\n", total.wear,
                view->space->prices->currency);
    else
        fputc('\n', view->to);
}

/* Tokens found in tiers, as a share of the input, at which the tiers pay for themselves: each saves
 * its prefill, at what GPU time costs. */
static void print_tokens(const struct kvs_recommend_view *view)
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
    fprintf(view->to,
            "  a million input tokens cost %.3f %s (their answers with them), at %.3g million an "
            "hour\n",
            total.all / (tok_per_h * 1e-6), currency, tok_per_h * 1e-6);
    if (kept <= 0 || computed <= 0)
        return;
    const double prefill_per_h = (cost.gpu + cost.power) * m->gpu_prefill_frac;
    const double saved_at_one = prefill_per_h / computed; /* an hour's, if all input were hits */
    fprintf(
        view->to,
        "  the tiers cost %.2f %s an hour and pay for themselves in GPU time alone from %.1f %% "
        "of the\n  input found in them; they find %.1f %% (of which %.1f %% computed again)\n",
        kept, currency, 100 * kept / saved_at_one, 100 * tiers, 100 * m->recomputed_frac);
}

static void print_growth(const struct kvs_recommend_view *view)
{
    const struct kvs_recommend *found = view->found;
    if (found->growth_not > 0)
        fprintf(view->to,
                "  traffic may grow to %.2f times this rate; at %.2f times the SLO is missed\n",
                found->growth, found->growth_not);
    else
        fprintf(view->to, "  traffic may grow to %.2f times this rate, the most that was tried\n",
                found->growth);
}

static void print_answer(const struct kvs_recommend_view *view)
{
    const struct kvs_choice choice = kvs_space_at(view->space, view->found->best);
    const struct kvs_cost_hour cost = kvs_space_cost(view->space, choice);
    const struct kvs_measure *m = &view->found->measure[view->found->best];
    const struct kvs_total total = kvs_recommend_total(view->found, view->space, view->found->best);
    char text[KVS_CHOICE_TEXT], time[KVS_TEXT_MAX];
    fprintf(view->to, "cheapest that meets the SLO: %s, policy %s\n",
            kvs_space_text(view->space, choice, text), m->policy);
    fprintf(view->to,
            "  %.2f %s an hour (GPUs %.2f, DRAM %.2f, drives %.2f, their wear %.2f, network %.2f, "
            "power %.2f); %.0f %s to buy\n",
            total.all, view->space->prices->currency, cost.gpu, cost.dram, cost.drives, total.wear,
            cost.nic, cost.power, cost.invest, view->space->prices->currency);
    fprintf(view->to, "  DRAM and drives are those of each host\n");
    for (unsigned i = 0; i < view->slo->n; i++)
        fprintf(view->to, "  %s: %s\n", view->slo->term[i].text,
                kvs_text_time(time, m->value_s[i]));
    fprintf(view->to,
            "  nearest to its bound: %s, at %.0f %% of it; GPUs %.0f %% busy, busiest link %s %.0f "
            "%%\n",
            m->worst, 100 * m->worst_frac, 100 * m->gpu_busy_frac, *m->link ? m->link : "none",
            100 * m->link_frac);
    print_growth(view);
    print_tokens(view);
    print_endurance(view);
    fprintf(view->to, "  simulated: %" PRIu64 " runs for a space of %" PRIu64 "\n",
            view->found->n_simulated, view->found->n_offered);
}

static void print_settings(const struct kvs_recommend_view *view)
{
    const struct kvs_space *space = view->space;
    const struct kvs_choice choice = kvs_space_at(space, view->found->best);
    const uint64_t tp = kvs_space_value(space, choice, KVS_DIM_TP),
                   gpus = kvs_space_value(space, choice, KVS_DIM_REPLICAS) * tp,
                   of_host = kvs_space_gpu(space, choice)->gpus_per_host;
    const struct kvs_settings settings = {
        .gpus_of_host = gpus < of_host ? gpus : of_host,
        .tp = (uint32_t)tp,
        .dram_bytes = kvs_space_value(space, choice, KVS_DIM_DRAM),
        .drive_bytes = (uint64_t)((double)kvs_space_value(space, choice, KVS_DIM_DRIVES) *
                                  kvs_space_drive(space, choice)->bytes),
        .dram_threshold_tok = view->found->threshold_tok[0],
        .drive_threshold_tok = view->found->threshold_tok[1],
        .chunk_tok = view->workload->sim.chunk_tok,
        .max_batch = view->workload->sim.max_batch,
    };
    fprintf(view->to, "\nsettings\n\n");
    kvs_settings_print(&settings, view->to);
}

void kvs_recommend_print(const struct kvs_recommend_view *view)
{
    if (view->found->found) {
        print_answer(view);
    } else {
        fprintf(view->to, "no configuration of this space meets the SLO\n");
    }
    print_front(view);
    if (view->found->found) {
        print_neighbours(view);
        print_price_sensitivity(view);
        print_settings(view);
    }
    fprintf(view->to, "\nprices (%s)\n", view->space->prices->name);
    kvs_prices_print(view->space->prices, view->to);
}
