/*
 * plan_show.c - what `kvsim plan` prints: at most 100 columns, ASCII.
 */
#include "plan_answer.h"

#include "base/units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STRIP 48 /* columns of the context */
#define TIME 60  /* columns of the timeline */

static double s_of(int64_t ns)
{
    return (double)ns * 1e-9;
}

static double nats_of(int64_t distortion)
{
    return (double)distortion / KVS_NAT;
}

/* Each span of --spans, in prompt order. */
static void show_spans(const struct kvs_plan_case *c)
{
    char n[KVS_TEXT_MAX];

    printf("prompt:");
    for (uint32_t i = 0; i < c->n_span; i++) {
        const struct kvs_span *span = &c->span[i];

        printf("%s %s %s", i ? " |" : "", kvs_span_names[span->kind],
               kvs_text_count(n, span->n_tok));
        if (span->route >= 0)
            printf(" on %s", c->tier[span->route]->name);
        if (*span->level)
            printf(" at %s", span->level);
        if (span->loss_nats > 0)
            printf(", which carries %g nats", span->loss_nats);
    }
    printf("\n");
}

/* Where a codec's bits, or rates of decoding, come from: "published and assumed". */
static void show_sources(const struct kvs_codec *codec, bool rates)
{
    bool seen[4] = {false}, any = false;

    for (uint32_t q = 1; q < codec->n_level; q++) {
        const struct kvs_codec_level *level = &codec->level[q];

        if (!rates)
            seen[level->k_bits.source] = seen[level->v_bits.source] = true;
        else if (level->decode_bytes_per_s.known)
            seen[level->decode_bytes_per_s.source] = true;
    }
    for (int s = KVS_MEASURED; s >= KVS_ASSUMED; s--) {
        if (seen[s])
            printf("%s%s", any ? " and " : "", kvs_source_name((enum kvs_source)s));
        any |= seen[s];
    }
}

/* Levels of the codec that nothing can be planned with. */
static void show_unusable(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    struct kvs_levels_config config;
    bool any = false;

    kvs_variant_levels(c, &answer->v, &config);
    for (uint32_t q = 0; q < kvs_plan_n_choice(c, &config); q++) {
        const char *why = kvs_levels_why_not(&config, q);
        if (why)
            printf("%s%s (%s)", any ? ", " : "\nlevels left out: ", config.codec->level[q].name,
                   why);
        any |= why != NULL;
    }
}

static void show_case(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    char n[KVS_TEXT_MAX], more[KVS_TEXT_MAX], rate[KVS_TEXT_MAX], bytes[KVS_TEXT_MAX];
    double kv = 0;

    for (uint32_t l = 0; l < answer->v.problem.n_layer; l++)
        kv += kvs_model_kv_bytes_per_tok(c->model, l) * answer->v.context_tok;
    printf("%s on %s, %u GPU%s: %s %s (%s of KV) on ", c->model->name, c->hw->name, c->tp,
           c->tp > 1 ? "s" : "", kvs_text_count(n, answer->v.context_tok),
           c->moved && !c->options.spans.n ? "tokens of passages cached elsewhere"
                                           : "cached tokens",
           kvs_text_bytes(bytes, kv));
    for (uint32_t k = 0; k < c->n_route; k++)
        printf("%s%s", k ? " and " : "", c->tier[k]->name);
    printf(" (loads come at %s), %s new\n", kvs_text_rate(rate, answer->load_rate),
           kvs_text_count(more, answer->v.new_tok));
    if (c->options.spans.n)
        show_spans(c);
    printf("simulated");
    if (c->codec && kvs_plan_has_levels(&answer->v)) {
        printf("; levels of codec %s: bits ", c->codec->name);
        show_sources(c->codec, false);
        printf(", decoding ");
        show_sources(c->codec, true);
        if (c->quality) /* exact levels need none */
            printf("\nlosses of quality table %s", c->quality->model);
    }
    show_unusable(c, answer);
    if (c->options.load > 0)
        printf("\nothers take %.0f %% of the GPU's time: all it does takes %.3g times as long; a "
               "second of its own time\nmakes others wait %.3g s (M/M/1), which online heeds; not "
               "counted: the queue before this prompt,\nothers' loads on the links",
               100 * c->options.load, 1 / (1 - c->options.load), kvs_load_price(c->options.load));
    printf("\n\n");
}

/* Layers that do the same, in one row: '#' computed, '^' from stored states, 'r' repaired, '='
 * loaded. */
static void show_run(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                     uint32_t first, uint32_t last)
{
    const struct kvs_variant *v = &answer->v;
    uint32_t i = answer->best.plan.frac_i[first], q = answer->best.plan.level[first];
    double menu_tok = kvs_tables_recompute_tok(v->inst, v->n_frac - 1);
    double cut = kvs_tables_recompute_tok(v->inst, i) / menu_tok;
    double repair = kvs_tables_repair_tok(v->inst, i) / menu_tok;
    bool restarts = answer->state_bytes[first] > 0;
    uint32_t before = restarts ? answer->best.plan.frac_i[first - 1] : i;
    int n_cut = (int)lround(cut * STRIP);
    int n_low = (int)lround(kvs_tables_recompute_tok(v->inst, before) / menu_tok * STRIP);
    char name[32], bytes[KVS_TEXT_MAX];

    if (first == last)
        snprintf(name, sizeof name, "layer  %u", first);
    else
        snprintf(name, sizeof name, "layers %u-%u", first, last);
    printf("  %-15s |", name);
    for (int x = 0; x < STRIP; x++) {
        /* repaired tokens lie spread over the passages: every so many columns one */
        bool is_repair = repair > 0 && x >= n_cut &&
                         floor((x + 1) * repair / (1 - cut)) > floor(x * repair / (1 - cut));
        putchar(x < n_low ? '#' : x < n_cut ? '^' : is_repair ? 'r' : '=');
    }
    printf("| ");
    if (cut + repair < 1)
        printf("%3.0f %% computed, %s", 100 * (cut + repair),
               c->as_held ? "as stored" : v->levels->level[q].name);
    else
        printf("all computed");
    if (restarts)
        printf(", %s of states", kvs_text_bytes(bytes, answer->state_bytes[first]));
    putchar('\n');
}

static void show_staircase(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    const struct kvs_plan *plan = &answer->best.plan;
    uint32_t n_layer = answer->v.problem.n_layer, last_frac = answer->v.n_frac - 1;
    char ttft[KVS_TEXT_MAX];

    printf("%s plan: TTFT %s     # computed again  = loaded%s%s\n", answer->best.planner->name,
           kvs_text_time(ttft, s_of(answer->best.eval.end_ns)),
           answer->without_states_ns ? "  ^ restarted" : "",
           answer->v.inst && kvs_tables_repair_tok(answer->v.inst, 1) ? "  r repaired" : "");
    printf("  %-15s  first token%*slast cached token\n", "", STRIP - 27, "");
    for (uint32_t first = 0; first < n_layer;) {
        uint32_t last = first;

        while (last + 1 < n_layer && plan->frac_i[last + 1] == plan->frac_i[first] &&
               (plan->level[last + 1] == plan->level[first] || plan->frac_i[first] == last_frac))
            last++;
        show_run(c, answer, first, last);
        first = last + 1;
    }
    putchar('\n');
}

static void bar(char row[TIME + 1], int64_t from_ns, int64_t to_ns, int64_t end_ns, char with)
{
    int from = (int)floor((double)from_ns * TIME / (double)end_ns);
    int to = (int)ceil((double)to_ns * TIME / (double)end_ns);

    for (int x = from < 0 ? 0 : from; x < to && x < TIME; x++)
        row[x] = with;
}

static void show_bar(const char *name, const char row[TIME + 1], int64_t work_ns, int64_t end_ns)
{
    char busy[KVS_TEXT_MAX];

    if (work_ns > 0)
        printf("  %-10s |%s| busy %s, %3.0f %%\n", name, row, kvs_text_time(busy, s_of(work_ns)),
               100 * (double)work_ns / (double)end_ns);
}

static void blank(char row[TIME + 1])
{
    memset(row, ' ', TIME);
    row[TIME] = '\0';
}

static void show_timeline(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    const struct kvs_plan_problem *p = &answer->v.problem;
    int64_t end_ns = answer->best.eval.end_ns, start_ns = p->gpu_start_ns;
    char row[TIME + 1], ttft[KVS_TEXT_MAX], again = c->moved ? 'r' : '^';
    bool any = false;

    printf("timeline  0%*s%s\n", TIME + 1, "", kvs_text_time(ttft, s_of(end_ns)));
    for (uint32_t k = 0; k < c->n_route; k++) {
        blank(row);
        bar(row, p->io_start_ns[k], answer->io_end_ns[k][p->n_layer - 1], end_ns, '=');
        show_bar(c->tier[k]->name, row, answer->io_work_ns[k], end_ns);
    }
    blank(row);
    for (uint32_t l = 0; l < p->n_layer; l++) {
        uint32_t at = answer->best.plan.frac_i[l] * p->n_level + answer->best.plan.level[l];

        bar(row, answer->decode_end_ns[l] - p->layer[l]->decode_ns[at], answer->decode_end_ns[l],
            end_ns, 'd');
    }
    show_bar("decoder", row, answer->decode_work_ns, end_ns);
    blank(row);
    bar(row, start_ns, start_ns + answer->best.eval.pre_ns, end_ns, '#');
    for (uint32_t l = 0; l < p->n_layer; l++) {
        int64_t from_ns = answer->gpu_end_ns[l] - answer->gpu_wait_ns[l];
        int64_t new_ns = from_ns + answer->gpu_again_ns[l];

        bar(row, from_ns, new_ns, end_ns, again);
        bar(row, new_ns, answer->gpu_end_ns[l], end_ns, 'n');
        any |= new_ns > from_ns;
    }
    bar(row, end_ns - p->head_ns, end_ns, end_ns, 'h');
    show_bar("GPU", row, answer->gpu_work_ns, end_ns);
    printf("            # computed again%s  n new tokens, layer by layer behind the loads  h later "
           "chunks, logits\n\n",
           !any       ? ""
           : c->moved ? "  r repaired"
                      : "  ^ computed from states");
}

static void show_policy(const struct kvs_plan_answer *answer, const struct kvs_policy_row *row,
                        int64_t recompute_ns)
{
    char ttft[KVS_TEXT_MAX], bytes[KVS_TEXT_MAX], nats[24] = "?";
    bool alone = row == &answer->best;
    const char *level = kvs_plan_flat_level(answer, row);

    if (kvs_plan_loss_known(row))
        snprintf(nats, sizeof nats, "%.4f", nats_of(row->eval.distortion));
    printf("  %-16s %10s   %5.2fx   %9.0f %%   %10s   %8s%s%s%s%s\n", row->planner->name,
           kvs_text_time(ttft, s_of(row->eval.end_ns)),
           (double)recompute_ns / (double)row->eval.end_ns, 100 * row->recompute_frac,
           kvs_text_bytes(bytes, row->load_bytes), nats, level ? "  at " : "", level ? level : "",
           row->over_budget ? "  over the budget" : "", alone ? "  <- this plan" : "");
}

/* Policies that are left out, and why. */
static void show_no_own(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    const char *before = NULL;

    for (uint32_t i = 0; kvs_own_list[i]; i++) {
        const char *why = kvs_plan_no_own(c, answer, kvs_own_list[i]);

        if (before && before != why)
            printf(": %s\n", before);
        if (why)
            printf("%s %s", before == why ? "," : "  left out:", kvs_own_list[i]->name);
        before = why;
    }
    if (before)
        printf(": %s\n", before);
}

/* Policies that repair moved text in their own way. */
static void show_repairs(const struct kvs_plan_answer *answer)
{
    const char *first = "  moved text repaired by a method of their own:";

    for (uint32_t i = 0; i <= answer->n_policy; i++) {
        const struct kvs_policy_row *row =
            i < answer->n_policy ? &answer->policy[i] : &answer->best;

        if (!row->planner->repairs)
            continue;
        printf("%s %s %s%s", first, row->planner->name, row->planner->repairs,
               row->loss_unknown ? ", of which the quality table does not say the loss" : "");
        first = ";";
    }
    printf("%s", *first == ';' ? "\n" : "");
}

static void show_policies(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    int64_t recompute_ns = answer->best.eval.end_ns;
    char ttft[KVS_TEXT_MAX], name[24];

    for (uint32_t i = 0; i < answer->n_policy; i++)
        if (strcmp(answer->policy[i].planner->name, "recompute") == 0)
            recompute_ns = answer->policy[i].eval.end_ns;
    printf("  %-16s %10s   %6s   %11s   %10s   %8s\n", "policy", "TTFT", "speed", "computed",
           "loaded", "nats");
    for (uint32_t i = 0; i < answer->n_policy; i++)
        show_policy(answer, &answer->policy[i], recompute_ns);
    for (uint32_t i = 0; i < answer->n_own; i++) {
        const struct kvs_own_result *own = &answer->own[i];

        snprintf(name, sizeof name, "%s*", answer->own_ops[i]->name);
        printf("  %-16s %10s   %5.2fx   %9.0f %%   %10s   %8.4f%s\n", name,
               kvs_text_time(ttft, s_of(own->end_ns)), (double)recompute_ns / (double)own->end_ns,
               100 * own->recompute_frac, "", nats_of(own->distortion),
               own->distortion > answer->v.problem.budget ? "  over the budget" : "");
    }
    show_policy(answer, &answer->best, recompute_ns);
    if (answer->v.problem.n_level > 1)
        printf("  at LEVEL: in all layers, the fastest within the budget; engines load as stored "
               "(--levels %s)\n",
               KVS_CODEC_RAW);
    if (answer->n_own)
        printf("  * no staircase: replayed by its own rule, token group by token group\n");
    if (c->moved)
        show_repairs(answer);
    show_no_own(c, answer);
}

static void show_knobs(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    static const char *const head[][3] = {
        {NULL, "half as fast", "twice as fast"},
        {"of the links:", "half of it", "twice it"},
        {"and with", "half as many", "twice as many"},
    };
    const char *binds = kvs_plan_binds(answer);
    double now = (double)kvs_plan_turned_row(answer)->eval.end_ns;
    char name[KVS_PLAN_KNOB_NAME];

    for (uint32_t i = 0; i < answer->n_knob; i++) {
        const struct kvs_knob_row *row = &answer->knob[i];
        const char *const *of = head[row->kind];

        if (i == 0 || row->kind != answer->knob[i - 1].kind)
            printf("  %-28s %13s %14s\n",
                   of[0]               ? of[0]
                   : answer->fell_back ? "the optimum's TTFT, with"
                                       : "TTFT, planned anew, with",
                   of[1], of[2]);
        printf("    %-26s %+11.1f %% %+12.1f %%%s\n", kvs_plan_knob_name(c, row, name),
               100 * ((double)row->half_ns / now - 1), 100 * ((double)row->twice_ns / now - 1),
               row->kind == KVS_KNOB_STAGE && binds && strcmp(binds, row->name) == 0 ? "  <- binds"
                                                                                     : "");
    }
    putchar('\n');
}

void kvs_plan_show(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer)
{
    char words[KVS_PLAN_WORDS];

    if (!c->fits)
        printf("%s\n\n", kvs_plan_words(c, answer, 0, words));
    show_case(c, answer);
    show_staircase(c, answer);
    show_timeline(c, answer);
    show_policies(c, answer);
    kvs_plan_show_sure(c, answer);
    show_knobs(c, answer);
    for (unsigned n = c->fits ? 0 : 1; kvs_plan_words(c, answer, n, words); n++)
        printf("%s\n", words);
}
