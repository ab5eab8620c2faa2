#include "recommend.h"

#include "farm.h"
#include "point.h"
#include "report/crossover.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 4 /* fixed, so that what is ruled out does not depend on the machine */

struct search {
    const struct kvs_recommend_options *options;
    struct kvs_recommend *out;
    struct kvs_point_job job;
    char *header;
    uint64_t *order; /* numbers, from cheap to dear */
    /* the batch that is simulated */
    const uint64_t *item;
    uint32_t n_item, next;
    struct kvs_measure *into; /* by item, or by its place in the batch where item is NULL */
};

/* --- simulating --------------------------------------------------------------------------------
 */

static bool next_item(void *ctx, uint64_t *item)
{
    struct search *search = ctx;
    if (search->next == search->n_item)
        return false;
    *item = search->item ? search->item[search->next] : search->next;
    search->next++;
    return true;
}

static char *work(void *ctx, uint64_t item)
{
    const struct search *search = ctx;
    return kvs_point_run(&search->job, item);
}

static enum kvs_code done(void *ctx, uint64_t item, const char *text, const char *reason,
                          struct kvs_err *err)
{
    struct search *search = ctx;
    char *failed = text ? NULL : kvs_point_failed(search->job.spec, item, reason);
    enum kvs_code code = text || failed
                             ? kvs_measure_read(search->header, text ? text : failed,
                                                search->options->slo, &search->into[item], err)
                             : kvs_nomem(err);
    free(failed);
    search->out->n_simulated++;
    return code;
}

static bool tick(void *ctx)
{
    const struct search *search = ctx;
    return search->options->progress &&
           search->options->progress(search->options->ctx, search->out->n_simulated);
}

/* Points of the current spec; item NULL: all of n_item. */
static enum kvs_code simulate(struct search *search, const uint64_t *item, uint32_t n_item,
                              struct kvs_measure *into, struct kvs_err *err)
{
    const struct kvs_farm farm = {
        .ctx = search, .next = next_item, .work = work, .done = done, .tick = tick};
    search->item = item;
    search->n_item = n_item;
    search->next = 0;
    search->into = into;
    return kvs_farm_local(&farm, search->options->n_job, err);
}

/* --- the space ---------------------------------------------------------------------------------
 */

static bool failed(const struct search *search, uint64_t number)
{
    return search->out->state[number] == KVS_TRY_DONE && !search->out->measure[number].meets;
}

/* Whether one that failed is at least as large in everything. */
static bool ruled_out(const struct search *search, uint64_t number)
{
    const struct kvs_space *space = search->options->space;
    const struct kvs_choice own = kvs_space_at(space, number);
    for (uint64_t i = 0; i < search->out->n; i++)
        if (failed(search, i) && kvs_space_no_larger(space, own, kvs_space_at(space, i)))
            return true;
    return false;
}

static uint64_t ceiling_of(const struct search *search, uint64_t number)
{
    const struct kvs_space *space = search->options->space;
    return kvs_space_number(space, kvs_space_ceiling(space, kvs_space_at(space, number)));
}

static bool has(const uint64_t *item, uint32_t n, uint64_t number)
{
    for (uint32_t i = 0; i < n; i++)
        if (item[i] == number)
            return true;
    return false;
}

/*
 * What to simulate next; none: the search is at its end. The answer is the cheapest that meets the
 * SLO, wear counted, once all that cost no more without wear are known or ruled out.
 */
static uint32_t next_batch(struct search *search, uint64_t batch[BATCH])
{
    const struct kvs_space *space = search->options->space;
    struct kvs_recommend *out = search->out;
    uint32_t n = 0;
    out->found = kvs_recommend_cheapest(out, space, &out->best);
    const double least = out->found ? kvs_recommend_total(out, space, out->best).all : 0;
    for (uint64_t i = 0; i < out->n && n < BATCH; i++) {
        uint64_t number = search->order[i];
        if (out->found && kvs_space_cost(space, kvs_space_at(space, number)).all > least)
            break;
        if (out->state[number] == KVS_TRY_UNKNOWN && !search->options->all &&
            ruled_out(search, number))
            out->state[number] = KVS_TRY_RULED_OUT;
        if (out->state[number] != KVS_TRY_UNKNOWN)
            continue;
        if (!search->options->all && out->state[ceiling_of(search, number)] == KVS_TRY_UNKNOWN)
            number = ceiling_of(search, number);
        if (!has(batch, n, number))
            batch[n++] = number;
    }
    return n;
}

static enum kvs_code simulate_batch(struct search *search, const uint64_t *batch, uint32_t n,
                                    struct kvs_err *err)
{
    struct kvs_recommend *out = search->out;
    enum kvs_code code = n ? simulate(search, batch, n, out->measure, err) : KVS_OK;
    for (uint32_t i = 0; i < n && !code; i++)
        out->state[batch[i]] = KVS_TRY_DONE;
    return code;
}

static enum kvs_code simulate_all(struct search *search, struct kvs_err *err)
{
    uint32_t n = 0;
    uint64_t *all = calloc(search->out->n, sizeof *all);
    if (!all)
        return kvs_nomem(err);
    for (uint64_t i = 0; i < search->out->n; i++)
        if (search->out->state[i] == KVS_TRY_UNKNOWN)
            all[n++] = i;
    enum kvs_code code = simulate_batch(search, all, n, err);
    free(all);
    return code;
}

static enum kvs_code search_space(struct search *search, struct kvs_err *err)
{
    uint64_t batch[BATCH];
    enum kvs_code code = search->options->all ? simulate_all(search, err) : KVS_OK;
    for (uint32_t n; !code && (n = next_batch(search, batch)) > 0;)
        code = simulate_batch(search, batch, n, err);
    return code;
}

/* The neighbours of the answer: for the table of what matters. */
static enum kvs_code simulate_neighbours(struct search *search, struct kvs_err *err)
{
    uint64_t batch[KVS_MAX_NEIGHBOUR];
    uint32_t n = 0;
    const uint32_t n_near = kvs_space_neighbours(search->options->space, search->out->best, batch);
    for (uint32_t i = 0; i < n_near; i++)
        if (search->out->state[batch[i]] != KVS_TRY_DONE)
            batch[n++] = batch[i];
    return simulate_batch(search, batch, n, err);
}

/* --- growth ------------------------------------------------------------------------------------
 */

static enum kvs_code open_spec(const char *text, const struct kvs_strs *sets,
                               struct kvs_spec **spec, struct kvs_err *err)
{
    struct kvs_doc *doc = NULL;
    enum kvs_code code =
        text ? kvs_doc_parse("space.json", text, strlen(text), &doc, err) : kvs_nomem(err);
    return code ? code : kvs_spec_from(doc, "space.json", sets, spec, err);
}

/* The rate that the workload has, which growth multiplies. */
static enum kvs_code base_rate(const struct search *search, double *rate, struct kvs_err *err)
{
    struct kvs_doc *doc;
    enum kvs_code code = kvs_point_document(search->job.spec, search->out->best, &doc, err);
    if (code)
        return code;
    const json_t *trace = json_object_get(kvs_doc_root(doc).v, "trace");
    const json_t *value = json_object_get(trace, "rate");
    *rate = value ? json_number_value(value) : 1;
    kvs_doc_free(doc);
    return KVS_OK;
}

/* n factors, simulated with the answer's settings: growth becomes the last before the first that
 * fails. */
static enum kvs_code try_factors(struct search *search, double rate, const double *factor,
                                 uint32_t n, struct kvs_err *err)
{
    const struct kvs_spec *answer = search->job.spec;
    struct kvs_spec *spec = NULL;
    struct kvs_measure measure[16];
    struct kvs_strs sets;
    json_t *values = json_array();
    enum kvs_code code;
    assert(n <= 16);
    kvs_spec_sets(answer, search->out->best, &sets);
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(values, json_real(rate * factor[i]));
    json_t *sweep = json_pack("{s:s, s:[{s:s, s:o}]}", "workload", search->options->workload,
                              "axes", "path", "trace.rate", "values", values);
    char *text = sweep ? json_dumps(sweep, 0) : NULL;
    json_decref(sweep);
    if (!(code = open_spec(text, &sets, &spec, err))) {
        char *header = search->header;
        search->job.spec = spec;
        search->header = kvs_point_header(spec);
        code = search->header ? simulate(search, NULL, n, measure, err) : kvs_nomem(err);
        free(search->header);
        search->header = header;
        search->job.spec = answer;
    }
    kvs_spec_free(spec);
    free(text);
    for (uint32_t i = 0; i < n && !code; i++) {
        if (!measure[i].meets) {
            search->out->growth_not = factor[i];
            break;
        }
        search->out->growth = factor[i];
    }
    return code;
}

static enum kvs_code find_growth(struct search *search, struct kvs_err *err)
{
    static const double coarse[] = {1, 1.25, 1.5, 2, 3, 4, 6, 8};
    double fine[8], rate = 1;
    enum kvs_code code = base_rate(search, &rate, err);
    if (code || (code = try_factors(search, rate, coarse, 8, err)) || search->out->growth_not <= 0)
        return code;
    const double low = search->out->growth, high = search->out->growth_not;
    for (int i = 0; i < 7; i++)
        fine[i] = low + (high - low) * (i + 1) / 8;
    return low > 0 ? try_factors(search, rate, fine, 7, err) : KVS_OK;
}

/* --- all of it ---------------------------------------------------------------------------------
 */

struct priced {
    double cost;
    uint64_t number;
};

static int by_cost(const void *a, const void *b)
{
    const struct priced *x = a, *y = b;
    if (x->cost != y->cost)
        return x->cost < y->cost ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static enum kvs_code make_order(struct search *search, struct kvs_err *err)
{
    const uint64_t n = search->out->n;
    struct priced *priced = calloc(n, sizeof *priced);
    search->order = calloc(n, sizeof *search->order);
    if (!priced || !search->order) {
        free(priced);
        return kvs_nomem(err);
    }
    for (uint64_t i = 0; i < n; i++)
        priced[i] = (struct priced){
            kvs_space_cost(search->options->space, kvs_space_at(search->options->space, i)).all, i};
    for (uint64_t i = 0; i < n; i++)
        if (!kvs_space_offered(search->options->space, kvs_space_at(search->options->space, i)))
            search->out->state[i] = KVS_TRY_NOT_OFFERED;
        else
            search->out->n_offered++;
    qsort(priced, n, sizeof *priced, by_cost);
    for (uint64_t i = 0; i < n; i++)
        search->order[i] = priced[i].number;
    free(priced);
    return KVS_OK;
}

/* All points replay the same trace: it is read once. */
static enum kvs_code share_trace(struct search *search, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    for (int i = 0; i < 2 && !code; i++) {
        struct kvs_doc *doc;
        if (!(code = kvs_point_document(search->job.spec, 0, &doc, err))) {
            code = kvs_traces_count(search->job.traces, doc, err);
            kvs_doc_free(doc);
        }
    }
    return code ? code : kvs_traces_load(search->job.traces, err);
}

/* A setting that no configuration can do with is told, rather than a table of nothing. */
static enum kvs_code check_some_ran(const struct search *search, struct kvs_err *err)
{
    const struct kvs_recommend *out = search->out;
    const char *reason = "no configuration is offered at these prices";
    for (uint64_t i = 0; i < out->n; i++) {
        if (out->state[i] == KVS_TRY_DONE && out->measure[i].ran)
            return KVS_OK;
        if (out->state[i] == KVS_TRY_DONE)
            reason = out->measure[i].reason;
    }
    return kvs_fail(err, KVS_ERR_ARG, "no configuration runs: %s", reason);
}

/* From how many tokens on the answer's tiers are worth loading from. */
static enum kvs_code find_thresholds(struct search *search, struct kvs_err *err)
{
    struct kvs_recommend *out = search->out;
    struct kvs_workload *workload = NULL;
    struct kvs_doc *doc;
    enum kvs_code code = kvs_point_document(search->job.spec, out->best, &doc, err);
    if (!code)
        code = kvs_workload_from(doc, search->options->workload, &workload, err);
    for (uint32_t t = 0; !code && t < workload->sim.n_tier; t++)
        code = kvs_crossover_threshold(
            workload, t, KVS_THRESHOLD_TOK,
            &out->threshold_tok[strcmp(workload->sim.tier[t].name, "dram") != 0], err);
    kvs_workload_free(workload);
    return code;
}

static enum kvs_code run(struct search *search, struct kvs_err *err)
{
    enum kvs_code code;
    if ((code = make_order(search, err)) || (code = share_trace(search, err)) ||
        (code = search_space(search, err)) || (code = check_some_ran(search, err)) ||
        !search->out->found)
        return code;
    for (uint64_t last = UINT64_MAX; search->out->best != last;) {
        last = search->out->best;
        if ((code = simulate_neighbours(search, err)))
            return code;
        /* one that was ruled out may meet the SLO all the same */
        kvs_recommend_cheapest(search->out, search->options->space, &search->out->best);
    }
    code = find_thresholds(search, err);
    return code ? code : find_growth(search, err);
}

enum kvs_code kvs_recommend(const struct kvs_recommend_options *options, struct kvs_recommend **out,
                            struct kvs_err *err)
{
    struct kvs_recommend *recommend = calloc(1, sizeof *recommend);
    struct search search = {.options = options, .out = recommend};
    struct kvs_spec *spec = NULL;
    char *text = kvs_space_sweep(options->space, options->workload);
    enum kvs_code code = text ? open_spec(text, &options->sets, &spec, err) : kvs_nomem(err);
    *out = NULL;
    free(text);
    if (!recommend || code) {
        kvs_spec_free(spec);
        free(recommend);
        return code ? code : kvs_nomem(err);
    }
    recommend->n = kvs_space_n(options->space);
    recommend->state = calloc(recommend->n, sizeof *recommend->state);
    recommend->measure = calloc(recommend->n, sizeof *recommend->measure);
    search.job = (struct kvs_point_job){spec, kvs_traces_new()};
    search.header = kvs_point_header(spec);
    if (!recommend->state || !recommend->measure || !search.job.traces || !search.header)
        code = kvs_nomem(err);
    else
        code = run(&search, err);
    kvs_traces_free(search.job.traces);
    free(search.header);
    free(search.order);
    kvs_spec_free(spec);
    if (code) {
        kvs_recommend_free(recommend);
        return code;
    }
    *out = recommend;
    return KVS_OK;
}

void kvs_recommend_free(struct kvs_recommend *recommend)
{
    if (!recommend)
        return;
    free(recommend->state);
    free(recommend->measure);
    free(recommend);
}

struct kvs_total kvs_recommend_total(const struct kvs_recommend *recommend,
                                     const struct kvs_space *space, uint64_t number)
{
    const struct kvs_choice choice = kvs_space_at(space, number);
    const struct kvs_priced_drive *drive = kvs_space_drive(space, choice);
    const struct kvs_cost_hour cost = kvs_space_cost(space, choice);
    const struct kvs_measure *m = &recommend->measure[number];
    const double drives = (double)(kvs_space_value(space, choice, KVS_DIM_DRIVES) * cost.hosts);
    const int tier = kvs_space_value(space, choice, KVS_DIM_DRAM) ? 1 : 0;
    struct kvs_total total = {.all = cost.all, .writes_per_day = (double)NAN};
    if (drives <= 0 || !m->ran || !(m->span_s > 0) || isnan(m->write_bytes[tier]))
        return total;
    total.writes_per_day = m->write_bytes[tier] / m->span_s * 86400 / (drives * drive->bytes);
    if (!(cost.drives > 0)) /* they come with the GPUs: their wear is their owner's */
        return total;
    /* a drive lasts KVS_RATED_YEARS * rated / writes; its price over the years it is written off is
     * in cost.drives already */
    total.wear =
        cost.drives * space->prices->years *
        fmax(0, total.writes_per_day / drive->dwpd / KVS_RATED_YEARS - 1 / space->prices->years);
    total.all += total.wear;
    return total;
}

const char *kvs_measure_binding(const struct kvs_measure *measure)
{
    if (!(measure->gpu_busy_frac > 0) && !(measure->link_frac > 0))
        return "none";
    return *measure->link && measure->link_frac > measure->gpu_busy_frac ? measure->link : "GPU";
}

bool kvs_recommend_cheapest(const struct kvs_recommend *recommend, const struct kvs_space *space,
                            uint64_t *best)
{
    bool found = false;
    double least = 0;
    for (uint64_t i = 0; i < recommend->n; i++) {
        const struct kvs_measure *m = &recommend->measure[i];
        if (recommend->state[i] != KVS_TRY_DONE || !m->meets)
            continue;
        const double cost = kvs_recommend_total(recommend, space, i).all;
        if (!found || cost < least ||
            (cost == least && m->worst_frac < recommend->measure[*best].worst_frac)) {
            least = cost;
            *best = i;
        }
        found = true;
    }
    return found;
}

bool kvs_recommend_on_front(const struct kvs_recommend *recommend, const struct kvs_space *space,
                            uint64_t number)
{
    const struct kvs_measure *own = &recommend->measure[number];
    const double cost = kvs_recommend_total(recommend, space, number).all;
    if (recommend->state[number] != KVS_TRY_DONE || !own->ran)
        return false;
    for (uint64_t i = 0; i < recommend->n; i++) {
        const struct kvs_measure *m = &recommend->measure[i];
        if (recommend->state[i] != KVS_TRY_DONE || !m->ran || i == number)
            continue;
        const double its = kvs_recommend_total(recommend, space, i).all;
        const bool as_good = its <= cost && m->ttft_p99_s <= own->ttft_p99_s &&
                             m->goodput_per_s >= own->goodput_per_s;
        if (as_good && (its < cost || m->ttft_p99_s < own->ttft_p99_s ||
                        m->goodput_per_s > own->goodput_per_s || i < number))
            return false;
    }
    return true;
}
