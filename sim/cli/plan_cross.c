/*
 * plan_cross.c - where loading begins to beat recomputing: at which lengths of what is cached, and
 * from which --bandwidth on.
 *
 * Loading means all that is cached, at the best level within the budget. Text that moved may not be
 * loaded whole, so there it means the best plan, if that gains enough on recomputing.
 */
#include "plan_answer.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_CONTEXT_TOK 1048576
#define LEAST_CONTEXT_TOK 128
#define MOST_STEP 48 /* of half an octave, from one token to the longest context */
#define MOST_LOOKS (MOST_STEP + 2)
#define MOVED_FRAC 17
#define MOVED_GAIN .01
#define CLOSE .002      /* relative: how far crossings are followed */
#define CLOSE_MENU .005 /* where each look chooses its levels */
#define FIRST_STEP 1.01

/* One value of a knob: who wins there. */
struct look {
    const struct kvs_plan_case *c;
    bool bandwidth; /* as if it were asked for; else a context, relative to the prompt's */
    bool choose;    /* fractions and levels, as the answer there would */
    double error;   /* of GPU and links, from -1 to 1: which end of the bars */
};

static bool is_ahead(const struct kvs_plan_case *c, int64_t load_ns, int64_t recompute_ns)
{
    double least = c->moved ? 1 - MOVED_GAIN : 1;

    return (double)load_ns < least * (double)recompute_ns;
}

static enum kvs_code compare(const struct kvs_plan_case *c, const struct kvs_variant *v, bool *wins,
                             struct kvs_err *err)
{
    const char *load_name = c->moved ? "optimal" : "load";
    struct kvs_policy_row load, recompute;
    enum kvs_code code = kvs_plan_row(c, v, kvs_planner_find(load_name), NULL, &load, err);

    if (!code)
        code = kvs_plan_row(c, v, kvs_planner_find("recompute"), NULL, &recompute, err);
    *wins = !code && !load.over_budget && is_ahead(c, load.eval.end_ns, recompute.eval.end_ns);
    return code;
}

static double turned(double rel_error, double by)
{
    return 1 + by * (rel_error < .9 ? rel_error : .9);
}

/* The ends of the error bars that favour loading, at error 1, or recomputing, at -1. */
static void turn_bars(const struct look *look, struct kvs_knobs *knobs)
{
    knobs->gpu = turned(look->c->gpu_error, -look->error);
    knobs->decoder = turned(look->c->decode_error, look->error);
}

static enum kvs_code look_at_context(const struct look *look, double factor, bool *wins,
                                     struct kvs_err *err)
{
    const struct kvs_plan_case *c = look->c;
    struct kvs_variant *v = malloc(sizeof *v);
    struct kvs_knobs knobs = KVS_KNOBS_AS_IS;

    if (!v)
        return kvs_nomem(err);
    knobs.context_tok = factor;
    knobs.link = turned(c->link_error, look->error);
    turn_bars(look, &knobs);
    enum kvs_code code = kvs_variant_begin(c, &knobs, c->moved ? MOVED_FRAC : 2, v, err);
    if (!code)
        code = compare(c, v, wins, err);
    kvs_variant_end(v);
    free(v);
    return code;
}

/* As if the rate were asked for: levels are those that go with it, not with the rate here. */
static enum kvs_code look_at_bandwidth(const struct look *look, double bytes_per_s, bool *wins,
                                       struct kvs_err *err)
{
    struct kvs_plan_case *c = malloc(sizeof *c);
    struct kvs_plan_answer *there = calloc(1, sizeof *there);
    enum kvs_code code = KVS_OK;

    if (!c || !there) {
        free(c);
        free(there);
        return kvs_nomem(err);
    }
    *c = *look->c; /* borrows all that it points to */
    c->menu.n = 0;
    c->options.bandwidth = bytes_per_s;
    there->knobs = KVS_KNOBS_AS_IS;
    turn_bars(look, &there->knobs);
    if (look->choose)
        code = kvs_plan_refine(c, there, err);
    else
        code = kvs_variant_begin(c, &there->knobs, c->moved ? MOVED_FRAC : 2, &there->v, err);
    if (!code)
        code = compare(c, &there->v, wins, err);
    kvs_variant_end(&there->v);
    free(there);
    free(c);
    return code;
}

static enum kvs_code look_at(const struct look *look, double value, bool *wins, struct kvs_err *err)
{
    *wins = false;
    return look->bandwidth ? look_at_bandwidth(look, value, wins, err)
                           : look_at_context(look, value, wins, err);
}

/* Bisects on a logarithmic scale between a value where loading loses and one where it wins; *at is
 * one where it wins. */
static enum kvs_code bisect(const struct look *look, double loses, double wins, double *at,
                            struct kvs_err *err)
{
    double close = look->choose ? CLOSE_MENU : CLOSE;
    enum kvs_code code = KVS_OK;

    while (!code && fabs(log(wins / loses)) > close) {
        double value = sqrt(loses * wins);
        bool win;

        code = look_at(look, value, &win, err);
        *(win ? &wins : &loses) = value;
    }
    *at = wins;
    return code;
}

/* --- lengths -------------------------------------------------------------------------------------
 */

/* The values looked at: half an octave apart, and the prompt's own. */
static uint32_t choose_values(double low, double high, double value[MOST_LOOKS])
{
    uint32_t n = 0, n_step = (uint32_t)ceil(2 * log2(high / low) - 1e-9);

    assert(n_step > 0 && n_step <= MOST_STEP);
    for (uint32_t i = 0; i <= n_step; i++) {
        double next = i == n_step ? high : low * pow(high / low, (double)i / n_step);

        if (n && value[n - 1] < 1 && next > 1)
            value[n++] = 1;
        value[n++] = next;
    }
    assert(n <= MOST_LOOKS);
    return n;
}

static void add_range(struct kvs_crossing *x, double from, double to)
{
    if (x->n_range == KVS_MAX_RANGE) {
        x->n_more++; /* the last range named is the last one there is */
        x->n_range--;
    }
    x->range[x->n_range++] = (struct kvs_range){from, to};
}

/*
 * Who wins may change more than once: short prompts load little and compute in a few steps, long
 * ones attend to much. All ends of ranges are followed, or the last beginning only.
 */
static enum kvs_code cross_context(const struct look *look, bool all, struct kvs_crossing *x,
                                   struct kvs_err *err)
{
    double value[MOST_LOOKS], context = (double)look->c->context_tok, from = 0;
    const struct kvs_crossing none = {.least = fmin(LEAST_CONTEXT_TOK, context),
                                      .most = fmax(MOST_CONTEXT_TOK, context)};
    uint32_t n = choose_values(none.least / context, none.most / context, value);
    bool wins[MOST_LOOKS] = {false};
    uint32_t last = 0; /* that loses */

    *x = none;
    for (uint32_t i = 0; i < n; i++) {
        if (look_at(look, value[i], &wins[i], err))
            return err->code;
        last = wins[i] ? last : i;
    }
    for (uint32_t i = 0; i < n; i++) {
        bool before = i > 0 && wins[i - 1];
        double at = 0;

        if (i > 0 && wins[i] != before && (all || i == last + 1) &&
            bisect(look, value[wins[i] ? i - 1 : i], value[wins[i] ? i : i - 1], &at, err))
            return err->code;
        if (wins[i] && !before)
            from = at * context;
        if (!wins[i] && before)
            add_range(x, from, at * context);
    }
    if (wins[n - 1])
        add_range(x, from, 0);
    return KVS_OK;
}

/* Where the last range begins, at the end of the scale if there is none that goes on. */
static double last_start(const struct kvs_crossing *x)
{
    const struct kvs_range *last = &x->range[x->n_range - 1];

    if (x->n_range == 0 || last->to > 0)
        return x->most;
    return last->from > 0 ? last->from : x->least;
}

enum kvs_code kvs_plan_cross_context(const struct kvs_plan_case *c, struct kvs_crossing *x,
                                     struct kvs_err *err)
{
    struct look look = {.c = c};
    struct kvs_crossing end;
    enum kvs_code code = cross_context(&look, true, x, err);

    if (code || kvs_crossing_at(x) == 0)
        return code;
    look.error = 1;
    code = cross_context(&look, false, &end, err);
    x->low = last_start(&end);
    look.error = -1;
    if (!code)
        code = cross_context(&look, false, &end, err);
    x->high = last_start(&end);
    return code;
}

/* --- bandwidth -----------------------------------------------------------------------------------
 */

/* From a first crossing on, which no menu was chosen around: steps away from it that grow, until
 * one side loses and the other wins. */
static enum kvs_code follow(struct look *look, double *at, struct kvs_err *err)
{
    double loses = 0, wins = 0, value = *at;
    enum kvs_code code = KVS_OK;

    look->choose = true;
    for (double step = FIRST_STEP; !code && (loses == 0 || wins == 0); step *= step) {
        bool win;

        code = look_at(look, value, &win, err);
        *(win ? &wins : &loses) = value;
        value = win ? value / step : value * step;
        if (value < KVS_LEAST_BANDWIDTH || value > KVS_MOST_BANDWIDTH)
            break;
    }
    if (!code && loses > 0 && wins > 0)
        code = bisect(look, loses, wins, at, err);
    look->choose = false;
    return code;
}

/* With the first levels that go with each rate. *at: 0 where loading wins everywhere; HUGE_VAL
 * where it wins nowhere. */
static enum kvs_code cross_bandwidth(const struct look *look, double *at, struct kvs_err *err)
{
    bool wins;

    *at = HUGE_VAL;
    if (look_at(look, KVS_MOST_BANDWIDTH, &wins, err) || !wins)
        return err->code;
    *at = 0;
    if (look_at(look, KVS_LEAST_BANDWIDTH, &wins, err) || wins)
        return err->code;
    return bisect(look, KVS_LEAST_BANDWIDTH, KVS_MOST_BANDWIDTH, at, err);
}

static double clamp(double bytes_per_s)
{
    return fmin(fmax(bytes_per_s, KVS_LEAST_BANDWIDTH), KVS_MOST_BANDWIDTH);
}

enum kvs_code kvs_plan_cross_bandwidth(const struct kvs_plan_case *c, struct kvs_crossing *x,
                                       struct kvs_err *err)
{
    struct look look = {.c = c, .bandwidth = true};
    double first, at;

    *x = (struct kvs_crossing){.least = KVS_LEAST_BANDWIDTH, .most = KVS_MOST_BANDWIDTH};
    if (cross_bandwidth(&look, &first, err) || isinf(first))
        return err->code;
    at = first;
    if (first > 0 && follow(&look, &at, err))
        return err->code;
    add_range(x, at, 0);
    if (first == 0)
        return KVS_OK;
    /* relative to the crossing, what the bars make of it hardly depends on the menu */
    look.error = 1;
    if (cross_bandwidth(&look, &x->low, err))
        return err->code;
    look.error = -1;
    if (cross_bandwidth(&look, &x->high, err))
        return err->code;
    x->low = clamp(x->low * (at / first));
    x->high = clamp(x->high * (at / first));
    return KVS_OK;
}

double kvs_plan_bandwidth(const struct kvs_plan_case *c)
{
    return c->options.bandwidth > 0 ? c->options.bandwidth
                                    : c->hw->link[c->slow_link].read_bytes_per_s.value;
}

bool kvs_plan_bandwidth_per_gpu(const struct kvs_plan_case *c)
{
    return c->hw->link[c->slow_link].scope == KVS_SCOPE_GPU;
}

double kvs_crossing_at(const struct kvs_crossing *x)
{
    return x->n_range > 0 && x->range[x->n_range - 1].to == 0 ? x->range[x->n_range - 1].from : 0;
}
