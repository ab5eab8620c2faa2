/*
 * plan_words.c - the answer of `kvsim plan` in sentences.
 */
#include "plan_answer.h"

#include "base/units.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static double s_of(int64_t ns)
{
    return (double)ns * 1e-9;
}

static const char *count(char buf[KVS_TEXT_MAX], double n)
{
    return kvs_text_count(buf, (uint64_t)llround(n));
}

static const struct kvs_policy_row *find_row(const struct kvs_plan_answer *answer, const char *name)
{
    if (strcmp(answer->best.planner->name, name) == 0)
        return &answer->best;
    for (uint32_t i = 0; i < answer->n_policy; i++)
        if (strcmp(answer->policy[i].planner->name, name) == 0)
            return &answer->policy[i];
    return NULL;
}

/* What loading whole is called: text that moved is loaded with its repair. */
static const char *loading(const struct kvs_plan_case *c)
{
    return c->moved ? "loading with repair" : "loading";
}

const char *kvs_plan_knob_name(const struct kvs_plan_case *c, const struct kvs_knob_row *row,
                               char buf[KVS_PLAN_KNOB_NAME])
{
    if (strcmp(row->name, "bandwidth") == 0)
        snprintf(buf, KVS_PLAN_KNOB_NAME, "rate of %.32s (--bandwidth)",
                 c->hw->link[c->slow_link].name);
    else
        snprintf(buf, KVS_PLAN_KNOB_NAME, "%s", row->name);
    return buf;
}

const char *kvs_plan_binds(const struct kvs_plan_answer *answer)
{
    int64_t least_ns = llround((double)kvs_plan_turned_row(answer)->eval.end_ns * .99);
    const char *name = NULL;

    for (uint32_t i = 0; i < answer->n_knob; i++) {
        const struct kvs_knob_row *row = &answer->knob[i];

        if (row->kind == KVS_KNOB_STAGE && row->twice_ns < least_ns) {
            least_ns = row->twice_ns;
            name = row->name;
        }
    }
    return name;
}

/* A crossing is followed to 0.2 %: three digits. */
static const char *about(char buf[KVS_TEXT_MAX], double n)
{
    double unit = n >= 1000 ? pow(10, floor(log10(n)) - 2) : 1;

    return count(buf, round(n / unit) * unit);
}

/* "from 128 to 512, from about 1,020 to 5,000 and from 9,000 cached tokens on" */
static void list_ranges(const struct kvs_crossing *x, char buf[KVS_PLAN_WORDS / 2])
{
    char from[KVS_TEXT_MAX], to[KVS_TEXT_MAX];
    size_t n = 0;

    buf[0] = '\0';
    for (uint32_t i = 0; i < x->n_range; i++) {
        const struct kvs_range *range = &x->range[i];
        bool last = i + 1 == x->n_range;
        const char *between = i == 0      ? ""
                              : !last     ? ", "
                              : x->n_more ? ", in places between, and "
                                          : " and ";

        about(to, range->to);
        n += (size_t)snprintf(buf + n, KVS_PLAN_WORDS / 2 - n, "%sfrom %s%s%s%s%s%s", between,
                              range->from > 0 ? "about " : "",
                              range->from > 0 ? about(from, range->from) : count(from, x->least),
                              range->to > 0 ? " to about " : "", range->to > 0 ? to : "",
                              last ? " cached tokens" : "", range->to == 0 ? " on" : "");
    }
}

/* What is compared: text that moved may not be loaded whole. */
static const char *beats(const struct kvs_plan_case *c)
{
    return c->moved ? "The best plan that loads, with repair, gains 1 % or more over recomputing"
                    : "Loading beats recomputing";
}

static bool say_context(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                        char buf[KVS_PLAN_WORDS])
{
    const struct kvs_crossing *x = &answer->context;
    char low[KVS_TEXT_MAX], high[KVS_TEXT_MAX], fresh[KVS_TEXT_MAX], looked[80], n[160];
    char ranges[KVS_PLAN_WORDS / 2];
    size_t used;

    snprintf(looked, sizeof looked, "%s to %s", count(low, x->least), count(high, x->most));
    snprintf(n, sizeof n, "(%s new%s; looked at: %s, whatever length the model is made for)",
             count(fresh, answer->v.new_tok), c->options.spans.n ? ", spans in proportion" : "",
             looked);
    if (x->n_range == 0 || (x->range[0].from == 0 && x->range[0].to == 0)) {
        snprintf(buf, KVS_PLAN_WORDS, "%s here at %s number of cached tokens %s.", beats(c),
                 x->n_range == 0 ? "no" : "any", n);
        return true;
    }
    list_ranges(x, ranges);
    snprintf(buf, KVS_PLAN_WORDS, "%s %s %s", beats(c), ranges, n);
    used = strlen(buf);
    if (kvs_crossing_at(x) > 0)
        snprintf(
            buf + used, KVS_PLAN_WORDS - used, "; within the profile's error bars %sfrom %s to %s.",
            x->n_range > 1 ? "the last begins " : "", about(low, x->low), about(high, x->high));
    else
        snprintf(buf + used, KVS_PLAN_WORDS - used, ".");
    return true;
}

/* A rate in as many digits as profiles have, so that it may be given back as --bandwidth. */
static void exact_rate(char buf[KVS_TEXT_MAX], double bytes_per_s)
{
    if (bytes_per_s >= 1e9)
        snprintf(buf, KVS_TEXT_MAX, "%.6g GB/s", bytes_per_s / 1e9);
    else
        snprintf(buf, KVS_TEXT_MAX, "%.6g MB/s", bytes_per_s / 1e6);
}

static bool say_bandwidth(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                          char buf[KVS_PLAN_WORDS])
{
    const struct kvs_crossing *x = &answer->bandwidth;
    const char *per = kvs_plan_bandwidth_per_gpu(c) ? " per GPU" : "";
    char at[KVS_TEXT_MAX], low[KVS_TEXT_MAX], high[KVS_TEXT_MAX], rate[KVS_TEXT_MAX], here[120];
    char n[KVS_TEXT_MAX];

    snprintf(n, sizeof n, "%s token%s", count(at, answer->v.context_tok),
             answer->v.context_tok == 1 ? "" : "s");
    exact_rate(rate, kvs_plan_bandwidth(c));
    snprintf(here, sizeof here, "here link %.32s has %s%s", c->hw->link[c->slow_link].name, rate,
             per);
    if (x->n_range == 0)
        snprintf(buf, KVS_PLAN_WORDS,
                 "At %s recomputing wins at any --bandwidth, other links as they are; %s.", n,
                 here);
    else if (kvs_crossing_at(x) == 0)
        snprintf(buf, KVS_PLAN_WORDS, "At %s %s wins at any --bandwidth from 1 MB/s on; %s.", n,
                 loading(c), here);
    else
        snprintf(buf, KVS_PLAN_WORDS,
                 "At %s %s pays from a --bandwidth of %s%s on (%s to %s within the error bars of "
                 "the GPU%s); %s.",
                 n, loading(c), kvs_text_rate(at, kvs_crossing_at(x)), per,
                 kvs_text_rate(low, x->low), kvs_text_rate(high, x->high),
                 c->decode_error > 0 ? " and of decoding" : "", here);
    return true;
}

/* A plan that may not be taken is no better than any other. */
static void say_over_budget(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                            char buf[KVS_PLAN_WORDS])
{
    char ttft[KVS_TEXT_MAX], within[KVS_TEXT_MAX], loses[32] = "what no table tells";

    kvs_text_time(ttft, s_of(answer->best.eval.end_ns));
    kvs_text_time(within, s_of(answer->optimum.eval.end_ns));
    if (kvs_plan_loss_known(&answer->best))
        snprintf(loses, sizeof loses, "%.4f nats", answer->loss.nats);
    snprintf(buf, KVS_PLAN_WORDS,
             "%s is over the budget: it takes %s, but loses %s, and %.4f may be lost; within "
             "them optimal takes %s.",
             answer->best.planner->name, ttft, loses, c->budget_nats, within);
}

/* A policy that the plan is weighed against. */
struct rival {
    const char *name;
    int64_t end_ns;
};

static void offer(struct rival *best, const char *name, int64_t end_ns, bool over_budget)
{
    if (!over_budget && end_ns < best->end_ns)
        *best = (struct rival){name, end_ns};
}

/* kvsim's own planners, which differ in what they weigh; the others are published policies. */
static bool is_own(const struct kvs_planner_ops *planner)
{
    static const char *const own[] = {"optimal", "exact", "best", "careful", "online"};

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(planner->name, own[i]) == 0)
            return true;
    return false;
}

/* The fastest other within the budget: of the published ones, if one of kvsim's own was asked. */
static struct rival find_rival(const struct kvs_plan_answer *answer)
{
    struct rival best = {NULL, INT64_MAX};

    for (uint32_t i = 0; i < answer->n_policy; i++) {
        const struct kvs_policy_row *row = &answer->policy[i];

        if (!is_own(row->planner) || !is_own(answer->best.planner))
            offer(&best, row->planner->name, row->eval.end_ns, row->over_budget);
    }
    for (uint32_t i = 0; i < answer->n_own; i++)
        offer(&best, answer->own_ops[i]->name, answer->own[i].end_ns,
              answer->own[i].distortion > answer->v.problem.budget);
    return best;
}

static bool say_gain(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                     char buf[KVS_PLAN_WORDS])
{
    const struct kvs_policy_row *load = find_row(answer, "load");
    const struct kvs_policy_row *recompute = find_row(answer, "recompute");
    const char *name = answer->best.planner->name;
    struct rival end = {NULL, INT64_MAX}, rival = find_rival(answer);
    char ttft[KVS_TEXT_MAX], other[KVS_TEXT_MAX], more[KVS_PLAN_WORDS / 2] = "";
    bool careful = strcmp(name, "careful") == 0;
    bool best = strcmp(name, "optimal") == 0 || (careful && !answer->fell_back),
         no_load = load && load->over_budget;
    double end_ns = (double)answer->best.eval.end_ns;

    if (answer->best.over_budget) {
        say_over_budget(c, answer, buf);
        return true;
    }
    if (load && load != &answer->best)
        offer(&end, "load", load->eval.end_ns, load->over_budget);
    if (recompute && recompute != &answer->best)
        offer(&end, "recompute", recompute->eval.end_ns, false);
    kvs_text_time(ttft, s_of(answer->best.eval.end_ns));
    if (rival.name && rival.end_ns < answer->best.eval.end_ns) {
        snprintf(buf, KVS_PLAN_WORDS, "%s takes %s; better here: %s, %s.", name, ttft, rival.name,
                 kvs_text_time(other, s_of(rival.end_ns)));
        return true;
    }
    if (!end.name || load == &answer->best || recompute == &answer->best) {
        snprintf(buf, KVS_PLAN_WORDS, "%s takes %s to the first token.", name, ttft);
        return true;
    }
    double ratio = (double)end.end_ns / end_ns;
    if (ratio < 1.01) {
        snprintf(buf, KVS_PLAN_WORDS, "%s gains nothing here: %s is within 1 %% of %s (%s).",
                 best ? "Mixing" : name, end.name, best ? "the best plan" : "it", ttft);
        return true;
    }
    if (rival.end_ns < end.end_ns && (double)rival.end_ns >= 1.005 * end_ns)
        snprintf(more, sizeof more,
                 ", %.2f times as fast as the best other policy within the budget (%s, %s)",
                 (double)rival.end_ns / end_ns, rival.name,
                 kvs_text_time(other, s_of(rival.end_ns)));
    kvs_text_time(other, s_of(end.end_ns));
    snprintf(buf, KVS_PLAN_WORDS, "%s here: %s, %.2f times as fast as %s (%s%s%s%s)%s.",
             best      ? "Best"
             : careful ? "Taken"
                       : name,
             ttft, ratio, no_load ? "recompute" : "the better of load and recompute",
             no_load ? "" : end.name, no_load ? "" : ", ", other,
             no_load ? "; load is over the budget" : "", more);
    return true;
}

/* The knob that helps most, a whole stage first where it is as good as one rate of it; and what
 * binds, if that is another. */
static bool say_knob(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                     char buf[KVS_PLAN_WORDS])
{
    const struct kvs_knob_row *most = NULL, *part = NULL;
    char now[KVS_TEXT_MAX], better[KVS_TEXT_MAX], own[KVS_TEXT_MAX];
    char name[KVS_PLAN_KNOB_NAME];
    double end_ns = (double)kvs_plan_turned_row(answer)->eval.end_ns;
    size_t used;

    for (uint32_t i = 0; i < answer->n_knob; i++) {
        const struct kvs_knob_row *row = &answer->knob[i];
        const struct kvs_knob_row **best = row->kind == KVS_KNOB_PART ? &part : &most;

        if (row->kind != KVS_KNOB_PROMPT && (!*best || row->twice_ns < (*best)->twice_ns))
            *best = row;
    }
    assert(most && part);
    if ((double)most->twice_ns > .99 * end_ns) {
        snprintf(buf, KVS_PLAN_WORDS, "No single stage that were twice as fast gains 1 %%.");
        return true;
    }
    kvs_text_time(now, s_of((int64_t)end_ns));
    kvs_text_time(better, s_of(most->twice_ns));
    snprintf(buf, KVS_PLAN_WORDS, "What binds: the %s; twice as fast %s %s of %s%s.", most->name,
             strcmp(most->name, "links") == 0 ? "they make" : "it makes", better,
             answer->fell_back ? "the optimum's " : "", now);
    if (strcmp(most->name, "links") != 0 || (double)part->twice_ns > .99 * end_ns)
        return true;
    used = strlen(buf);
    snprintf(buf + used, KVS_PLAN_WORDS - used,
             " Of that most is due to the %s: twice it alone makes %s.",
             kvs_plan_knob_name(c, part, name), kvs_text_time(own, s_of(part->twice_ns)));
    return true;
}

/* What can't run; false: the prompt fits. */
static bool say_no_room(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                        char buf[KVS_PLAN_WORDS])
{
    char need[KVS_TEXT_MAX], has[KVS_TEXT_MAX];
    double bytes, room;

    if (c->fits)
        return false;
    kvs_plan_room(c, answer, answer->v.context_tok, &bytes, &room);
    snprintf(buf, KVS_PLAN_WORDS,
             "This prompt does not fit, so this is no plan that can run: %s of KV, where --tp %u "
             "leaves %s of HBM beside weights and activations; --tp 0 takes as many GPUs as do.",
             kvs_text_bytes(need, bytes), c->tp, kvs_text_bytes(has, fmax(room, 0)));
    return true;
}

/* What restart points are worth; false: there are none. */
static bool say_states(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                       char buf[KVS_PLAN_WORDS])
{
    double per_tok = c->n_state * kvs_state_bytes_per_tok(c->model), kv_per_tok = 0, loaded = 0;
    char own[KVS_TEXT_MAX], kv[KVS_TEXT_MAX], bytes[KVS_TEXT_MAX], ttft[KVS_TEXT_MAX];
    uint32_t n_used = 0;

    if (!answer->without_states_ns)
        return false;
    for (uint32_t l = 0; l < answer->v.problem.n_layer; l++) {
        kv_per_tok += kvs_model_kv_bytes_per_tok(c->model, l);
        n_used += answer->state_bytes[l] > 0;
        loaded += answer->state_bytes[l];
    }
    kvs_text_bytes(own, per_tok);
    kvs_text_bytes(kv, kv_per_tok);
    kvs_text_time(ttft, s_of(answer->without_states_ns));
    if (n_used)
        snprintf(
            buf, KVS_PLAN_WORDS,
            "Stored states (%s a token beside %s of KV) are restarted from at %u of %u layers, "
            "%s of them: %.2f %% less TTFT than %s without.",
            own, kv, n_used, c->n_state, kvs_text_bytes(bytes, loaded),
            100 * (1 - (double)answer->best.eval.end_ns / (double)answer->without_states_ns), ttft);
    else
        snprintf(buf, KVS_PLAN_WORDS,
                 "No stored state is worth its load here: %s a token beside %s of KV are held for "
                 "nothing.",
                 own, kv);
    return true;
}

/* "e5, e4 and e3" */
static void list_names(char names[][32], uint32_t n, char *buf, size_t size)
{
    size_t used = 0;

    buf[0] = '\0';
    for (uint32_t i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(buf + used, size - used, "%s%s",
                                 i == 0       ? ""
                                 : i + 1 == n ? " and "
                                              : ", ",
                                 names[i]);
}

/* What the tier has to hold; false: raw16 only. */
static bool say_held(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                     char buf[KVS_PLAN_WORDS])
{
    struct kvs_plan_held held;
    char k[120], v[120], raw[KVS_TEXT_MAX];

    if (!kvs_plan_has_levels(&answer->v) || c->as_held)
        return false;
    kvs_plan_hold(c, answer, &held);
    kvs_text_bytes(raw, held.raw_bytes);
    list_names(held.free[0], held.n_free[0], k, sizeof k);
    list_names(held.free[1], held.n_free[1], v, sizeof v);
    if (c->options.levels.n)
        snprintf(buf, KVS_PLAN_WORDS,
                 "The tier holds %s of K and %s of V in every layer (--levels): %.2f times raw16's "
                 "%s a token.",
                 k, v, held.free_bytes / held.raw_bytes, raw);
    else
        snprintf(buf, KVS_PLAN_WORDS,
                 "To be free to plan so, the tier has to hold all %u levels of K and %u of V in "
                 "every layer, %.2f times raw16's %s a token; --levels says what it does hold.",
                 held.n_free[0], held.n_free[1], held.free_bytes / held.raw_bytes, raw);
    return true;
}

/* What of that it loads. */
static bool say_loaded(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                       char buf[KVS_PLAN_WORDS])
{
    struct kvs_plan_held held;
    char k[120], v[120], loaded[KVS_TEXT_MAX];

    kvs_plan_hold(c, answer, &held);
    if (!kvs_plan_has_levels(&answer->v) || held.n_loaded[0] == 0 || c->as_held)
        return false;
    list_names(held.loaded[0], held.n_loaded[0], k, sizeof k);
    list_names(held.loaded[1], held.n_loaded[1], v, sizeof v);
    snprintf(buf, KVS_PLAN_WORDS,
             "This plan loads %s of K and %s of V, one of each a layer: %s a token, %.2f times "
             "raw16's.",
             k, v, kvs_text_bytes(loaded, held.loaded_bytes), held.loaded_bytes / held.raw_bytes);
    return true;
}

/* What online makes of a load; false: there is none, or it plans as optimal does. */
static bool say_online(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                       char buf[KVS_PLAN_WORDS])
{
    const struct kvs_policy_row *online = find_row(answer, "online");
    const struct kvs_policy_row *optimal = find_row(answer, "optimal");
    double less_s;
    char ttft[KVS_TEXT_MAX], than[KVS_TEXT_MAX], less[KVS_TEXT_MAX], wait[KVS_TEXT_MAX];

    optimal = optimal ? optimal : &answer->optimum;
    if (c->options.load <= 0 || !online)
        return false;
    less_s = kvs_plan_gpu_s(c, optimal) - kvs_plan_gpu_s(c, online);
    if (less_s <= 0)
        return false;
    snprintf(buf, KVS_PLAN_WORDS,
             "At this load online plans otherwise: %s to the first token for optimal's %s, with %s "
             "(%.1f %%) less of the GPU's time, for which others would wait %s.",
             kvs_text_time(ttft, s_of(online->eval.end_ns)),
             kvs_text_time(than, s_of(optimal->eval.end_ns)), kvs_text_time(less, less_s),
             100 * less_s / kvs_plan_gpu_s(c, optimal),
             kvs_text_time(wait, less_s * kvs_load_price(c->options.load)));
    return true;
}

/* The optimum was not taken: it may lose to loading or recomputing all, within the error bars. */
static bool say_optimum(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                        char *buf)
{
    const struct kvs_policy_row *optimum = &answer->optimum;
    double end_ns = (double)optimum->eval.end_ns, share;
    struct kvs_regret regret;
    char ttft[KVS_TEXT_MAX];

    (void)c;
    if (!answer->fell_back || answer->best.over_budget)
        return false;
    kvs_regret_of(&answer->v.problem, &optimum->plan, &regret);
    share = regret.most_ns / end_ns;
    snprintf(buf, KVS_PLAN_WORDS,
             "The optimum takes %s (%+.1f %%) if all inputs are exact; within their error bars it "
             "may lose %.1f %% to the better of load and recompute, so it is not taken "
             "(--planner optimal takes it).",
             kvs_text_time(ttft, s_of(optimum->eval.end_ns)),
             100 * (end_ns / (double)answer->best.eval.end_ns - 1), 100 * share);
    return true;
}

/* The asked planner's plan may lose so; what one that can't costs. */
static bool say_careful(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                        char *buf)
{
    const struct kvs_policy_row *careful = find_row(answer, "careful"), *best = &answer->best;
    double share = answer->regret.most_ns / (double)best->eval.end_ns;
    char ttft[KVS_TEXT_MAX];

    (void)c;
    if (!careful || careful == best || best->over_budget || share <= KVS_REGRET_FRAC)
        return false;
    kvs_text_time(ttft, s_of(careful->eval.end_ns));
    snprintf(
        buf, KVS_PLAN_WORDS,
        "Within the error bars this plan may lose %.1f %% to the better of load and recompute. "
        "careful loses at most 1 %%: %s (%+.1f %%), %s.",
        100 * share, ttft, 100 * ((double)careful->eval.end_ns / (double)best->eval.end_ns - 1),
        careful->recompute_frac <= 0   ? "loading all"
        : careful->recompute_frac >= 1 ? "recomputing all"
                                       : "a mixture too");
    return true;
}

const char *kvs_plan_words(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                           unsigned n, char buf[KVS_PLAN_WORDS])
{
    static bool (*const say[])(const struct kvs_plan_case *, const struct kvs_plan_answer *,
                               char *) = {say_no_room, say_gain,    say_context, say_bandwidth,
                                          say_held,    say_loaded,  say_knob,    say_online,
                                          say_states,  say_optimum, say_careful};

    for (size_t i = 0; i < sizeof say / sizeof *say; i++)
        if (say[i](c, answer, buf) && n-- == 0)
            return buf;
    return NULL;
}
