#include "labels_in.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY UINT32_MAX
#define WIDE_ARCS 24 /* with a width: arcs of a fraction, the cheapest ones */
#define TIEBREAK 3   /* weight of the first potential's bound in a guided score */

/* One potential at one layer: a bound is linear in a label's state. */
struct slope {
    double in[KVS_MAX_ROUTE], x, after, work, distortion, fixed;
    const double *value;
};

struct kvs_labels *kvs_labels_new(void)
{
    return calloc(1, sizeof(struct kvs_labels));
}

void kvs_labels_free(struct kvs_labels *labels)
{
    if (!labels)
        return;
    free(labels->now);
    free(labels->then);
    free(labels->trace);
    free(labels);
}

/* Room for n labels in both lists. */
static bool grow(struct kvs_labels *s, size_t n)
{
    size_t room = s->room ? s->room : 1024;
    void *more;

    if (n <= s->room)
        return true;
    while (room < n)
        room *= 2;
    more = realloc(s->now, room * sizeof *s->now);
    if (!more)
        return false;
    s->now = more;
    more = realloc(s->then, room * sizeof *s->then);
    if (!more)
        return false;
    s->then = more;
    s->room = room;
    return true;
}

static bool add_trace(struct kvs_labels *s, struct kvs_label_trace trace)
{
    if (s->n_trace == s->trace_room) {
        size_t room = s->trace_room ? 2 * s->trace_room : 4096;
        void *more = realloc(s->trace, room * sizeof *s->trace);

        if (!more || room >= NOBODY) {
            s->trace = more ? more : s->trace;
            return false;
        }
        s->trace = more;
        s->trace_room = room;
    }
    s->trace[s->n_trace++] = trace;
    return true;
}

/*
 * The weights of critical paths that pass a layer's border: in route k (they enter later), in the
 * decoder's chain, in the compute chain, and on all work. The flow is kept at each layer, so they
 * follow from the prices on both sides.
 */
static void slope_at(const struct kvs_plan_problem *problem, int64_t budget,
                     const struct kvs_potential *potential, uint32_t l, struct slope *slope)
{
    const struct kvs_prices *prices = &potential->prices;
    double entered = 0;

    memset(slope, 0, sizeof *slope);
    slope->work = prices->pre;
    slope->distortion = prices->distortion;
    slope->fixed = prices->pre * (double)problem->gpu_start_ns -
                   prices->distortion * (double)budget + (double)problem->head_ns;
    slope->value = potential->value[l];
    if (l < problem->n_layer)
        for (uint32_t k = 0; k < problem->n_route; k++)
            slope->in[k] = prices->io[k][l];
    if (l == 0)
        return;
    entered = prices->wait[l - 1] - (l > 1 ? prices->wait[l - 2] : prices->pre);
    slope->x = prices->decode[l - 1] - entered;
    slope->after = prices->wait[l - 1] - prices->pre;
}

static double bound_of(const struct slope *slope, uint32_t n_route,
                       const struct kvs_chain_head *head, uint32_t i)
{
    double sum = slope->fixed + slope->work * (double)head->work_ns +
                 slope->distortion * (double)head->distortion + slope->x * (double)head->x_ns +
                 slope->value[i];

    if (slope->after > 0)
        sum += slope->after * (double)head->after_ns;
    for (uint32_t k = 0; k < n_route; k++)
        sum += slope->in[k] * (double)head->in_ns[k];
    return sum;
}

/* A fraction of layer l may be above the one before. */
static bool may_rise(const struct kvs_plan_problem *problem, uint32_t l)
{
    return problem->state_at && l < problem->n_layer && problem->state_at[l];
}

static void fill_least(struct kvs_labels *s, const struct kvs_plan_problem *problem)
{
    uint32_t n_layer = problem->n_layer, n_frac = problem->n_frac;

    for (uint32_t i = 0; i < n_frac; i++)
        s->least[n_layer][i] = 0;
    for (uint32_t l = n_layer; l-- > 0;) {
        int64_t on = INT64_MAX;

        if (may_rise(problem, l + 1))
            for (uint32_t i = 0; i < n_frac; i++)
                on = s->least[l + 1][i] < on ? s->least[l + 1][i] : on;
        for (uint32_t i = 0; i < n_frac; i++) {
            const int64_t *distortion = problem->layer[l]->distortion + i * problem->n_level;
            int64_t own = distortion[0];

            for (uint32_t q = 1; q < problem->n_level; q++)
                own = distortion[q] < own ? distortion[q] : own;
            on = s->least[l + 1][i] < on ? s->least[l + 1][i] : on;
            s->least[l][i] = own + on;
        }
    }
}

static int by_extra(const void *a, const void *b)
{
    const struct kvs_label_arc *x = a, *y = b;

    if (x->extra != y->extra)
        return x->extra < y->extra ? -1 : 1;
    if (x->next != y->next)
        return (int)x->next - (int)y->next;
    return (int)x->level - (int)y->level;
}

/* The price of what comes between layer l at fraction i and the next at `next`. */
static double price_edge(const struct kvs_plan_problem *problem, const struct kvs_prices *prices,
                         uint32_t l, uint32_t low, uint32_t i, uint32_t next)
{
    const struct kvs_layer_cost *cost = problem->layer[l];
    double pre = prices->pre, wait = prices->wait[l], price = 0;
    uint32_t c = next < i ? next : i, on = next < low ? next : low;

    if (!problem->state_at)
        return pre * (double)(cost->full_ns[next] - cost->kv_ns[next]) +
               wait * (double)(cost->wfull_ns[next] - cost->wkv_ns[next]);
    for (uint32_t k = 0; next > i && k < problem->n_route; k++)
        price +=
            prices->io[k][l + 1] * (double)(problem->state_ns[k][next] - problem->state_ns[k][i]);
    return price + (pre - wait) * (double)(cost->full_ns[on] - cost->kv_ns[on]) +
           wait * (double)(cost->full_ns[c] - cost->kv_ns[c] + cost->wfull_ns[c] - cost->wkv_ns[c]);
}

/* Arcs from fraction i at layer l, where `low` is the least so far: those worth no more than `most`
 * above the best, ascending. */
static void fill_arcs(struct kvs_labels *s, const struct kvs_label_search *search, uint32_t l,
                      uint32_t low, uint32_t i, double most)
{
    const struct kvs_plan_problem *problem = search->problem;
    const struct kvs_layer_cost *cost = problem->layer[l];
    const struct kvs_potential *potential = search->potential[0];
    const struct kvs_prices *prices = &potential->prices;
    double pre = prices->pre, wait = prices->wait[l];
    uint32_t top = l + 1 < problem->n_layer ? i : 0, n = 0;
    double rest = problem->state_at
                      ? wait * (double)cost->kv_ns[i] + (pre - wait) * (double)cost->kv_ns[low]
                      : pre * (double)cost->kv_ns[i];
    uint32_t cap = search->width ? WIDE_ARCS : KVS_MAX_LEVEL * KVS_MAX_FRAC;

    if (may_rise(problem, l + 1))
        top = problem->n_frac - 1;
    for (uint32_t q = 0; q < problem->n_level; q++) {
        uint32_t at = i * problem->n_level + q;
        double own = prices->decode[l] * (double)cost->decode_ns[at] +
                     wait * (double)(cost->post_ns[at] + cost->wkv_ns[i]) +
                     prices->distortion * (double)cost->distortion[at] + rest -
                     potential->value[l][i];

        for (uint32_t k = 0; k < problem->n_route; k++)
            own += prices->io[k][l] * (double)cost->io_ns[k][at];
        for (uint32_t next = 0; next <= top; next++) {
            double extra =
                own + potential->value[l + 1][next] + price_edge(problem, prices, l, low, i, next);

            if (extra > most || (n == cap && extra >= s->arc[i][n - 1].extra))
                continue;
            n -= n == cap;
            s->arc[i][n++] = (struct kvs_label_arc){extra, (uint8_t)q, (uint8_t)next};
            for (uint32_t at_n = n - 1; search->width && at_n > 0; at_n--) {
                struct kvs_label_arc swap = s->arc[i][at_n];

                if (by_extra(&s->arc[i][at_n - 1], &swap) <= 0)
                    break;
                s->arc[i][at_n] = s->arc[i][at_n - 1];
                s->arc[i][at_n - 1] = swap;
            }
        }
    }
    if (n > 1 && !search->width)
        qsort(s->arc[i], n, sizeof **s->arc, by_extra);
    s->n_arc[i] = n;
    s->has_arc[i] = true;
    s->arc_low[i] = (uint8_t)low;
}

/* What a search carries from layer to layer. */
struct run {
    const struct kvs_label_search *search;
    struct slope slope[8];
    double limit;
    double worst;              /* score of the worst label that still has a place */
    double base[KVS_MAX_FRAC]; /* least of the present layer's labels */
};

/* T if the mixture took over from layer l on, and a charge for distortion above the budget. */
static double score_of(const struct run *run, uint32_t l, const struct kvs_label *label)
{
    const struct kvs_label_search *search = run->search;
    const struct kvs_guide *guide = search->guide;
    const struct kvs_chain_head *head = &label->head;
    double end = (double)(search->problem->gpu_start_ns + head->work_ns) + guide->work[l];
    double over = (double)(head->distortion - search->budget) + guide->distortion[l];

    end = fmax(end, (double)head->after_ns + guide->wait[l]);
    end = fmax(end, (double)head->x_ns + guide->from_x[l]);
    for (uint32_t k = 0; k < search->problem->n_route; k++)
        end = fmax(end, (double)head->in_ns[k] + guide->from_in[l][k]);
    end += (double)search->problem->head_ns;
    end += run->slope[0].value[label->frac_i] - guide->value[l];
    end = fmax(end, label->bound) + TIEBREAK * label->base;
    if (over > 0)
        end += over *
               fmax(2 * run->slope[0].distortion, .1 * run->limit / ((double)search->budget + 1));
    return end;
}

static enum kvs_code extend(struct kvs_labels *s, struct run *run, uint32_t l, uint32_t from,
                            struct kvs_err *err)
{
    const struct kvs_label_search *search = run->search;
    const struct kvs_plan_problem *problem = search->problem;
    uint32_t n_route = problem->n_route, i = s->now[from].frac_i, low = s->now[from].low_i;
    double base = s->now[from].base;

    if (!s->has_arc[i] || s->arc_low[i] != low) /* labels come sorted by both */
        fill_arcs(s, search, l, low, i, run->limit - run->base[i]);
    for (uint32_t a = 0; a < s->n_arc[i]; a++) {
        const struct kvs_label_arc *arc = &s->arc[i][a];
        struct kvs_chain_step step;
        struct kvs_label *label;
        double bound;

        if (base + arc->extra > run->limit)
            break;
        if (!grow(s, s->n_then + 1))
            return kvs_fail(err, KVS_ERR_NOMEM, "no memory for the planner's labels");
        label = &s->then[s->n_then];
        label->head = s->now[from].head;
        if (problem->state_at)
            kvs_chain_step_low(problem, l, low, i, arc->next, arc->level, &step);
        else
            kvs_chain_step_at(problem, l, i, arc->next, arc->level, &step);
        kvs_chain_append(n_route, &label->head, &step);
        kvs_chain_rise(problem, i, arc->next, &label->head);
        if (label->head.distortion + s->least[l + 1][arc->next] > search->budget)
            continue;
        bound = label->base = bound_of(&run->slope[0], n_route, &label->head, arc->next);
        for (uint32_t p = 1; p < search->n_potential && bound <= run->limit; p++) {
            double other = bound_of(&run->slope[p], n_route, &label->head, arc->next);

            bound = other > bound ? other : bound;
        }
        if (bound > run->limit)
            continue;
        label->bound = bound;
        label->frac_i = arc->next;
        label->low_i = arc->next < low ? arc->next : (uint8_t)low;
        label->score = search->guide ? score_of(run, l + 1, label) : bound;
        if (label->score > run->worst)
            continue;
        label->trace = (uint32_t)s->n_trace;
        if (!add_trace(s, (struct kvs_label_trace){s->now[from].trace, (uint8_t)i, arc->level}))
            return kvs_fail(err, KVS_ERR_NOMEM, "no memory for the planner's labels");
        s->n_then++;
        if (search->width && s->n_then >= 4 * (size_t)search->width) {
            kvs_labels_select(s->then, s->n_then, search->width);
            s->n_then = search->width;
            run->worst = 0;
            for (size_t n = 0; n < s->n_then; n++)
                run->worst = fmax(run->worst, s->then[n].score);
        }
    }
    return KVS_OK;
}

/* now -> then over one layer, then what survives. */
static enum kvs_code step_layer(struct kvs_labels *s, struct run *run, uint32_t l,
                                struct kvs_err *err)
{
    const struct kvs_label_search *search = run->search;
    const struct kvs_plan_problem *problem = search->problem;
    struct kvs_label *swap;

    memset(s->has_arc, 0, sizeof s->has_arc);
    for (uint32_t p = 0; p < search->n_potential; p++)
        slope_at(problem, search->budget, search->potential[p], l + 1, &run->slope[p]);
    for (uint32_t i = 0; i < problem->n_frac; i++)
        run->base[i] = HUGE_VAL;
    for (uint32_t n = 0; n < s->n_now; n++)
        if (s->now[n].base < run->base[s->now[n].frac_i])
            run->base[s->now[n].frac_i] = s->now[n].base;
    s->n_then = 0;
    run->worst = HUGE_VAL;
    for (uint32_t n = 0; n < s->n_now; n++) {
        if (extend(s, run, l, n, err))
            return err->code;
        if (n % KVS_LABELS_ASKED == KVS_LABELS_ASKED - 1 &&
            kvs_labels_stopped(search, l, s->n_then))
            return kvs_fail(err, KVS_ERR_RANGE, "stopped");
        if (s->n_then > search->n_most)
            return kvs_fail(err, KVS_ERR_RANGE,
                            "the plan problem is too large for an exact search: over %u partial "
                            "plans at layer %u of %u",
                            search->n_most, l, problem->n_layer);
    }
    if (search->width && s->n_then > search->width) {
        kvs_labels_select(s->then, s->n_then, search->width);
        s->n_then = search->width;
    }
    if (!kvs_labels_drop(s, search, l))
        return kvs_fail(err, KVS_ERR_RANGE, "stopped");
    swap = s->now;
    s->now = s->then;
    s->then = swap;
    s->n_now = s->n_then;
    return KVS_OK;
}

static void first_labels(struct kvs_labels *s, const struct run *run)
{
    const struct kvs_plan_problem *problem = run->search->problem;

    s->n_now = 0;
    for (uint32_t i = 0; i < problem->n_frac; i++) {
        struct kvs_label *label = &s->now[s->n_now];

        kvs_chain_head_init(problem, &label->head);
        label->frac_i = label->low_i = (uint8_t)i;
        label->trace = NOBODY;
        label->base = bound_of(&run->slope[0], problem->n_route, &label->head, i);
        label->bound = label->base;
        if (label->base <= run->limit && s->least[0][i] <= run->search->budget)
            s->n_now++;
    }
}

enum kvs_code kvs_label_search(struct kvs_labels *s, const struct kvs_label_search *search,
                               struct kvs_plan *plan, bool *found, struct kvs_err *err)
{
    const struct kvs_plan_problem *problem = search->problem;
    struct kvs_err local = {0};
    struct run run = {.search = search};
    int64_t least = search->limit_ns;
    uint32_t best = NOBODY;

    err = err ? err : &local;
    *found = false;
    assert(search->n_potential >= 1 && search->n_potential <= 8);
    if (!grow(s, KVS_MAX_FRAC))
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for the planner's labels");
    /* doubles are right to far less than half a nanosecond, except of times of weeks */
    run.limit = (double)search->limit_ns - .5 + 1e-12 * (double)search->limit_ns;
    s->n_trace = 0;
    fill_least(s, problem);
    for (uint32_t p = 0; p < search->n_potential; p++)
        slope_at(problem, search->budget, search->potential[p], 0, &run.slope[p]);
    first_labels(s, &run);
    for (uint32_t l = 0; l < problem->n_layer && s->n_now > 0; l++)
        if (step_layer(s, &run, l, err))
            return err->code;
    for (uint32_t n = 0; n < s->n_now; n++) {
        const struct kvs_chain_head *head = &s->now[n].head;
        int64_t end = problem->gpu_start_ns + head->work_ns;

        end = (end > head->after_ns ? end : head->after_ns) + problem->head_ns;
        if (end < least) {
            least = end;
            best = s->now[n].trace;
        }
    }
    if (best == NOBODY)
        return KVS_OK;
    *found = true;
    for (uint32_t l = problem->n_layer; l-- > 0;) {
        plan->frac_i[l] = s->trace[best].frac_i;
        plan->level[l] = s->trace[best].level;
        best = s->trace[best].before;
    }
    return KVS_OK;
}

void kvs_potential_of(struct kvs_dual *dual, const struct kvs_prices *prices,
                      struct kvs_potential *potential)
{
    potential->prices = *prices;
    kvs_dual_values(dual, prices, potential->value);
}
