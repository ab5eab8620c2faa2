/*
 * plan_json.c - the answer of `kvsim plan` for programs: configs/schema/plan.schema.json.
 */
#include "plan_answer.h"

#include <stdio.h>
#include <string.h>

static json_t *seconds(int64_t ns)
{
    return json_real((double)ns * 1e-9);
}

/* null: not known. */
static json_t *nats(bool known, int64_t distortion)
{
    return known ? json_real((double)distortion / KVS_NAT) : json_null();
}

static json_t *row_json(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                        const struct kvs_policy_row *row)
{
    const char *level = kvs_plan_flat_level(answer, row);

    return json_pack("{ss so sf sf sf so sb so so}", "policy", row->planner->name, "ttft_s",
                     seconds(row->eval.end_ns), "recompute_frac", row->recompute_frac, "load_bytes",
                     row->load_bytes, "gpu_s", kvs_plan_gpu_s(c, row), "loss_nats",
                     nats(kvs_plan_loss_known(row), row->eval.distortion), "over_budget",
                     (int)row->over_budget, "lower_bound_s",
                     row->lower_bound_ns == INT64_MIN ? json_null() : seconds(row->lower_bound_ns),
                     "all_at", level ? json_string(level) : json_null());
}

/* Tokens whose computing restarts at layer l. */
static int state_tok(const struct kvs_plan_answer *answer, uint32_t l)
{
    const uint8_t *i = answer->best.plan.frac_i;

    if (l == 0 || i[l] <= i[l - 1])
        return 0;
    return (int)(kvs_tables_recompute_tok(answer->v.inst, i[l]) -
                 kvs_tables_recompute_tok(answer->v.inst, i[l - 1]));
}

static json_t *states_json(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    json_t *layers = json_array();

    for (uint32_t l = 0; l < answer->v.problem.n_layer; l++)
        if (c->state_at[l])
            json_array_append_new(layers, json_integer(l));
    return json_pack("{so sf so}", "layers", layers, "bytes_per_tok",
                     c->n_state * kvs_state_bytes_per_tok(c->model), "without_ttft_s",
                     answer->without_states_ns ? seconds(answer->without_states_ns) : json_null());
}

static json_t *spans_json(const struct kvs_plan_case *c)
{
    json_t *spans = json_array();

    for (uint32_t i = 0; i < c->n_span; i++) {
        const struct kvs_span *span = &c->span[i];
        bool stored = span->kind == KVS_SPAN_PREFIX || span->kind == KVS_SPAN_CONTENT;
        uint32_t first = span->route >= 0 ? (uint32_t)span->route : 0;
        uint32_t end = !stored ? 0 : span->route >= 0 ? first + 1 : c->n_tier;
        json_t *tiers = json_array();

        for (uint32_t k = first; k < end; k++)
            json_array_append_new(tiers, json_string(c->tier[k]->name));
        json_array_append_new(spans,
                              json_pack("{ss si so so sf}", "kind", kvs_span_names[span->kind],
                                        "tok", (int)span->n_tok, "tiers", tiers, "level",
                                        *span->level ? json_string(span->level) : json_null(),
                                        "carried_nats", span->loss_nats));
    }
    return spans;
}

/* What kind of reuse the spans are, all together. */
static const char *reuse_of(const struct kvs_plan_case *c)
{
    bool seen[4] = {false};

    for (uint32_t i = 0; i < c->n_span; i++)
        seen[c->span[i].kind] = true;
    if (seen[KVS_SPAN_PREFIX] && seen[KVS_SPAN_CONTENT])
        return "mixed";
    return kvs_span_names[seen[KVS_SPAN_CONTENT] ? KVS_SPAN_CONTENT : KVS_SPAN_PREFIX];
}

static json_t *layers_json(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    const struct kvs_plan_problem *p = &answer->v.problem;
    json_t *layers = json_array();

    for (uint32_t l = 0; layers && l < p->n_layer; l++) {
        uint32_t i = answer->best.plan.frac_i[l], q = answer->best.plan.level[l];
        json_t *arrive = json_object(), *layer = NULL;

        for (uint32_t k = 0; k < c->n_route; k++)
            json_object_set_new(arrive, c->tier[k]->name, seconds(answer->io_end_ns[k][l]));
        layer = json_pack(
            "{sf si si si sf ss so so so so}", "recompute_frac", p->frac[i], "recompute_tok",
            (int)kvs_tables_recompute_tok(answer->v.inst, i), "repair_tok",
            (int)kvs_tables_repair_tok(answer->v.inst, i), "state_tok", state_tok(answer, l),
            "state_bytes", answer->state_bytes[l], "level",
            c->as_held ? "as stored" : answer->v.levels->level[q].name, "loss_nats",
            nats(kvs_plan_loss_known(&answer->best), p->layer[l]->distortion[i * p->n_level + q]),
            "arrive_s", arrive, "decoded_s", seconds(answer->decode_end_ns[l]), "computed_s",
            seconds(answer->gpu_end_ns[l]));
        if (!layer || json_array_append_new(layers, layer)) {
            json_decref(layers);
            return NULL;
        }
    }
    return layers;
}

static json_t *loss_json(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    const struct kvs_plan_loss *loss = &answer->loss;
    json_t *sources = json_object(), *parts = json_array();

    for (int s = KVS_ASSUMED; s <= KVS_MEASURED; s++)
        json_object_set_new(sources, kvs_source_name((enum kvs_source)s),
                            json_real(loss->source_nats[s]));
    for (uint32_t q = 0; q < answer->v.levels->n; q++)
        if (loss->level_nats[q] > 0)
            json_array_append_new(
                parts, json_pack("{ss si sf}", "what", answer->v.levels->level[q].name, "layers",
                                 (int)loss->level_n[q], "nats", loss->level_nats[q]));
    if (loss->moved_nats > 0)
        json_array_append_new(parts,
                              json_pack("{ss si sf}", "what", "moved text", "layers",
                                        (int)answer->v.problem.n_layer, "nats", loss->moved_nats));
    if (loss->carried_nats > 0)
        json_array_append_new(parts, json_pack("{ss si sf}", "what", "carried", "layers",
                                               (int)answer->v.problem.n_layer, "nats",
                                               loss->carried_nats));
    bool known = kvs_plan_loss_known(&answer->best);
    return json_pack(
        "{so so so so so so}", "nats", known ? json_real(loss->nats) : json_null(), "low_nats",
        known ? json_real(loss->nats / (1 + loss->rel_error)) : json_null(), "high_nats",
        known ? json_real(loss->nats * (1 + loss->rel_error)) : json_null(), "table",
        c->quality ? json_string(c->quality->model) : json_null(), "sources", sources, "parts",
        parts);
}

static json_t *regret_json(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    const struct kvs_plan_error *error = &answer->v.problem.error;
    json_t *routes = json_object();

    for (uint32_t k = 0; k < c->n_route; k++)
        json_object_set_new(routes, c->tier[k]->name, json_real(error->route[k]));
    return json_pack("{sf sf sb s{so sf sf sf}}", "most_s", answer->regret.most_ns * 1e-9,
                     "of_ttft", answer->regret.most_ns / (double)answer->best.eval.end_ns,
                     "fell_back", (int)answer->fell_back, "rel_error", "routes", routes, "decoder",
                     error->decode, "gpu_decoding", error->gpu_decode, "gpu", error->compute);
}

static json_t *above_0(double x)
{
    return x > 0 ? json_real(x) : json_null();
}

static json_t *crossing_json(const struct kvs_crossing *x)
{
    const struct kvs_range *first = &x->range[0];
    double from = kvs_crossing_at(x), until = x->n_range > 0 && first->from == 0 ? first->to : 0;
    json_t *ranges = json_array();

    for (uint32_t i = 0; i < x->n_range; i++)
        json_array_append_new(ranges, json_pack("{so so}", "from", above_0(x->range[i].from), "to",
                                                above_0(x->range[i].to)));
    return json_pack("{ss so so so so so si sf sf}", "loading_wins",
                     x->n_range == 0                      ? "never"
                     : from > 0                           ? "from"
                     : until > 0                          ? "until"
                     : first->from == 0 && first->to == 0 ? "always"
                                                          : "between",
                     "from", above_0(from), "low", above_0(from > 0 ? x->low : 0), "high",
                     above_0(from > 0 ? x->high : 0), "until", above_0(until), "ranges", ranges,
                     "ranges_not_named", (int)x->n_more, "least", x->least, "most", x->most);
}

static json_t *work_json(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    json_t *work = json_object();

    for (uint32_t k = 0; work && k < c->n_route; k++)
        json_object_set_new(work, c->tier[k]->name, seconds(answer->io_work_ns[k]));
    json_object_set_new(work, "decoder", seconds(answer->decode_work_ns));
    json_object_set_new(work, "gpu", seconds(answer->gpu_work_ns));
    return work;
}

static json_t *left_out_json(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    json_t *left_out = json_array();

    for (uint32_t i = 0; kvs_own_list[i]; i++) {
        const char *why = kvs_plan_no_own(c, answer, kvs_own_list[i]);

        if (why)
            json_array_append_new(
                left_out, json_pack("{ss ss}", "policy", kvs_own_list[i]->name, "why", why));
    }
    return left_out;
}

static json_t *names_json(char names[][32], uint32_t n)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(array, json_string(names[i]));
    return array;
}

static json_t *held_json(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    struct kvs_plan_held held;

    kvs_plan_hold(c, answer, &held);
    return json_pack("{sf s{so so sf} s{so so sf}}", "raw_bytes_per_tok", held.raw_bytes, "free",
                     "k", names_json(held.free[0], held.n_free[0]), "v",
                     names_json(held.free[1], held.n_free[1]), "bytes_per_tok", held.free_bytes,
                     "loaded", "k", names_json(held.loaded[0], held.n_loaded[0]), "v",
                     names_json(held.loaded[1], held.n_loaded[1]), "bytes_per_tok",
                     held.loaded_bytes);
}

/* Levels of the codec that nothing can be planned with. */
static json_t *unusable_json(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    struct kvs_levels_config config;
    json_t *list = json_array();

    kvs_variant_levels(c, &answer->v, &config);
    for (uint32_t q = 0; q < kvs_plan_n_choice(c, &config); q++) {
        const char *why = kvs_levels_why_not(&config, q);
        if (why)
            json_array_append_new(
                list, json_pack("{ss ss}", "level", config.codec->level[q].name, "why", why));
    }
    return list;
}

/* Which levels the plan chose from, of how many, and what is proven over all of them. */
static json_t *menu_json(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    bool proven = answer->n_pair > 0 && answer->pair_bound_ns != INT64_MIN;
    json_t *names = json_array();

    for (uint32_t q = 0; q < answer->v.levels->n; q++)
        json_array_append_new(names, json_string(answer->v.levels->level[q].name));
    return json_pack("{so so so so}", "levels", names, "unusable", unusable_json(c, answer),
                     "chosen_from",
                     answer->n_pair > 0 ? json_integer(answer->n_pair + 1) : json_null(),
                     "lower_bound_all_s", proven ? seconds(answer->pair_bound_ns) : json_null());
}

static json_t *lists_json(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    json_t *policies = json_array(), *knobs = json_array(), *words = json_array();
    json_t *owns = json_array();
    char text[KVS_PLAN_WORDS];

    for (uint32_t i = 0; i < answer->n_policy; i++)
        json_array_append_new(policies, row_json(c, answer, &answer->policy[i]));
    for (uint32_t i = 0; i < answer->n_own; i++) {
        const struct kvs_own_result *own = &answer->own[i];

        json_array_append_new(
            owns, json_pack("{ss so sf sf sb}", "policy", answer->own_ops[i]->name, "ttft_s",
                            seconds(own->end_ns), "recompute_frac", own->recompute_frac,
                            "loss_nats", (double)own->distortion / KVS_NAT, "over_budget",
                            own->distortion > answer->v.problem.budget));
    }
    for (uint32_t i = 0; i < answer->n_knob; i++)
        json_array_append_new(knobs, json_pack("{ss so so}", "knob", answer->knob[i].name,
                                               "half_ttft_s", seconds(answer->knob[i].half_ns),
                                               "twice_ttft_s", seconds(answer->knob[i].twice_ns)));
    for (unsigned n = 0; kvs_plan_words(c, answer, n, text); n++)
        json_array_append_new(words, json_string(text));
    return json_pack("{so so so so so}", "policies", policies, "own_rule", owns, "left_out",
                     left_out_json(c, answer), "sensitivity", knobs, "words", words);
}

enum kvs_code kvs_plan_json(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                            struct kvs_err *err)
{
    const char *binds = kvs_plan_binds(answer);
    json_t *tiers = json_array(), *all, *lists = lists_json(c, answer);

    for (uint32_t k = 0; k < c->n_route; k++)
        json_array_append_new(tiers, json_string(c->tier[k]->name));
    all = json_pack("{ss ss ss si so si si ss sf sf sf ss so}", "source", "simulated", "model",
                    c->model->name, "hardware", c->hw->name, "gpus", (int)c->tp, "tiers", tiers,
                    "context_tok", (int)answer->v.context_tok, "new_tok", (int)answer->v.new_tok,
                    "reuse", reuse_of(c), "budget_nats", c->budget_nats, "load_bytes_per_s",
                    answer->load_rate, "bandwidth_bytes_per_s", kvs_plan_bandwidth(c),
                    "bandwidth_link", c->hw->link[c->slow_link].name, "plan",
                    row_json(c, answer, &answer->best));
    if (!all || !lists || json_object_update(all, lists) ||
        json_object_set_new(all, "fractions", json_integer(answer->v.n_frac)) ||
        json_object_set_new(all, "last_fractions_gain",
                            answer->refine_gain < 1 ? json_real(answer->refine_gain)
                                                    : json_null()) ||
        json_object_set_new(all, "menu", menu_json(c, answer)) ||
        json_object_set_new(all, "held", held_json(c, answer)) ||
        json_object_set_new(all, "fits", json_boolean(c->fits)) ||
        json_object_set_new(all, "load",
                            json_pack("{sf sf}", "gpu_frac", c->options.load, "price_gpu",
                                      kvs_load_price(c->options.load))) ||
        json_object_set_new(all, "regret", regret_json(c, answer)) ||
        json_object_set_new(all, "loss", loss_json(c, answer)) ||
        json_object_set_new(all, "spans", spans_json(c)) ||
        json_object_set_new(all, "layers", layers_json(c, answer)) ||
        json_object_set_new(all, "states", states_json(c, answer)) ||
        json_object_set_new(all, "work_s", work_json(c, answer)) ||
        json_object_set_new(all, "binds", binds ? json_string(binds) : json_null()) ||
        json_object_set_new(all, "context_crossing_tok", crossing_json(&answer->context)) ||
        json_object_set_new(all, "bandwidth_crossing_bytes_per_s",
                            crossing_json(&answer->bandwidth)))
        kvs_nomem(err);
    else {
        (void)json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)); /* main checks */
        putchar('\n');
    }
    json_decref(lists);
    json_decref(all);
    return err->code;
}
