/*
 * kvsim plan: explains one prompt on one machine; or plans the problems of a file.
 */
#include "cmd_plan.h"

#include "cmd.h"
#include "plan_answer.h"

#include <stdio.h>
#include <string.h>

static const char *const reuse_names[] = {"prefix", "content", NULL};

#define AT(field) offsetof(struct kvs_plan_options, field)
static const struct kvs_opt table[] = {
    {"model", KVS_OPT_STR, AT(model), NULL, 0, 0, "shape of configs/models, or a file", NULL, false,
     'm'},
    {"hardware", KVS_OPT_STR, AT(hw), NULL, 0, 0, "profile of configs/hardware, or a file", NULL,
     false, 'H'},
    {"context", KVS_OPT_TOK, AT(context_tok), "16Ki", 1, 16777216, "cached tokens", NULL, false,
     'c'},
    {"new", KVS_OPT_TOK, AT(new_tok), "256", 1, 1048576, "new tokens behind them", NULL, false,
     'n'},
    {"tier", KVS_OPT_LIST, AT(tiers), "nvme", 0, 0,
     "where the cached tokens lie: a tier of the profile; several share them equally, the first "
     "part "
     "on the one that the profile has first",
     NULL, false, 't'},
    {"reuse", KVS_OPT_ENUM, AT(reuse), "prefix", 0, 0,
     "prefix: cached behind the same text; content: passages cached elsewhere, to be repaired",
     reuse_names, false, 0},
    {"spans", KVS_OPT_LIST, AT(spans), NULL, 0, 0,
     "the prompt span by span instead of --context, --new and --reuse, as prefix:8Ki,"
     "content:4Ki@dram,new:256; prefix or content as with --reuse, hbm: there already, new: not "
     "cached, also last; behind it @TIER: there, not on --tier; =LEVEL: stored and loaded at it "
     "(raw16 where only others say); +NATS: a loss it carries, as if all cached text were such",
     NULL, false, 0},
    {"budget", KVS_OPT_STR, AT(budget), NULL, 0, 0,
     "nats that may be lost (0; 0.05 with --reuse content or when levels are named)", NULL, false,
     'b'},
    {"codec", KVS_OPT_STR, AT(codec), NULL, 0, 0,
     "codec of configs/codec, or a file (gpu-published where the budget is not 0)", NULL, false, 0},
    {"levels", KVS_OPT_LIST, AT(levels), NULL, 0, 0,
     "all levels that the tier holds, as raw16,p8,p8/p4 (K/V); no raw16 if it is not named (those "
     "of "
     "the codec that trade best, raw16 too)",
     NULL, false, 0},
    {"quality", KVS_OPT_STR, AT(quality), NULL, 0, 0,
     "quality table of configs/quality, or a file (the model's)", NULL, false, 0},
    {"repair", KVS_OPT_STR, AT(repair), NULL, 0, 0,
     "which tokens of moved text are repaired: a method of the quality table (its first)", NULL,
     false, 0},
    {"hidden", KVS_OPT_FLAG, AT(hidden), NULL, 0, 0,
     "the tier holds hidden states too (HCache); used where they are fewer bytes", NULL, false, 0},
    {"states", KVS_OPT_LIST, AT(states), NULL, 0, 0,
     "layers, as 8,16, whose incoming hidden states the tier holds too: tokens may be computed "
     "from "
     "there on",
     NULL, false, 0},
    {"load", KVS_OPT_DOUBLE, AT(load), "0", 0, .99,
     "share of the GPU's time that other requests take: all it does is as much slower, and planner "
     "online weighs how long others wait; the queue before the prompt is not counted",
     NULL, false, 0},
    {"bandwidth", KVS_OPT_RATE, AT(bandwidth), "0", 0, 1e15,
     "rate of the tier's slowest link (of several tiers', the slowest of all), 1MB/s or more, of "
     "each GPU's where it is a GPU's own; other links keep theirs; 0: the profile's",
     NULL, false, 0},
    {"slo", KVS_OPT_TIME, AT(slo), "1s", 0, 3600, "CacheGen's deadline for the context", NULL,
     false, 0},
    {"tp", KVS_OPT_U64, AT(tp), "0", 0, 1024,
     "GPUs that share a layer; 0: as few as hold the model and the prompt", NULL, false, 0},
    {"block", KVS_OPT_TOK, AT(block_tok), "256", 1, 1048576, "tokens of a block, or of a passage",
     NULL, false, 0},
    {"chunk", KVS_OPT_TOK, AT(chunk_tok), "8Ki", 1, 1048576, "tokens of a prefill chunk", NULL,
     false, 0},
    {"decoders", KVS_OPT_U64, AT(decoders), "8", 1, 1024, "host threads that decode levels", NULL,
     false, 0},
    {"fractions", KVS_OPT_U64, AT(fractions), "17", 2, KVS_MAX_FRAC,
     "recompute fractions to begin with; doubled while that gains 0.1 %", NULL, false, 0},
    {"planner", KVS_OPT_STR, AT(planner), NULL, 0, 0,
     "who plans, of those named above; default careful, with --instances optimal", NULL, false,
     'p'},
    {"limit", KVS_OPT_TIME, AT(limit), "60s", 0, 1e6,
     "processor time that planner exact may take, of each problem; then the best known stands",
     NULL, false, 0},
    {"json", KVS_OPT_FLAG, AT(json), NULL, 0, 0, "print JSON (configs/schema/plan.schema.json)",
     NULL, false, 0},
    {"plot", KVS_OPT_STR, AT(plot), NULL, 0, 0,
     "draw staircase, stages and crossover into this folder", NULL, false, 0},
    {"overwrite", KVS_OPT_FLAG, AT(overwrite), NULL, 0, 0, "replace the folder of --plot", NULL,
     false, 0},
    {"error", KVS_OPT_DOUBLE, AT(error), "0", 0, 10,
     "with --instances: relative error of each route, the decoder and the compute engine; above 0, "
     "each plan's largest regret against the better of load-all and recompute-all is told",
     NULL, false, 0},
    {"instances", KVS_OPT_STR, AT(instances), NULL, 0, 0,
     "plan and check a file of problems instead: {\"instances\": [...]} (sim/plan/instance.h)",
     NULL, false, 0},
};
#define N_OPT (unsigned)(sizeof table / sizeof *table)

static const struct kvs_planner_ops *find_planner(const char *name, struct kvs_err *err)
{
    const struct kvs_planner_ops *planner = kvs_planner_find(name);
    const char *names[64];
    char known[400];
    unsigned n = 0;

    for (; kvs_planner_list[n] && n < 64; n++)
        names[n] = kvs_planner_list[n]->name;
    if (!planner)
        kvs_fail(err, KVS_ERR_ARG, "--planner: unknown planner \"%s\"%s", name,
                 kvs_known(known, sizeof known, name, names, n));
    return planner;
}

/* What means nothing beside what else was asked for. */
static enum kvs_code refuse_idle(const struct kvs_plan_options *o, int argc, char *const *argv,
                                 struct kvs_err *err)
{
    static const char *const of_prompt[] = {
        "model",     "hardware",  "context",   "new",     "tier",   "reuse",  "spans",
        "budget",    "codec",     "levels",    "quality", "repair", "hidden", "states",
        "load",      "bandwidth", "slo",       "tp",      "block",  "chunk",  "decoders",
        "fractions", "plot",      "overwrite", NULL};
    static const char
        *const of_instances[] = {"error", NULL},
               *const of_plot[] = {"overwrite", NULL},
               *const of_spans[] = {"context", "new", "reuse", NULL},
               *const of_tier[] = {"tier", NULL}, *const of_moved[] = {"repair", NULL},
               *const of_levels[] = {"levels", "hidden", NULL}, *const of_exact[] = {"limit", NULL};
    bool moved = o->reuse == 1, shared = o->spans.n == 0, stored = false;

    if (strcmp(o->planner, "exact") != 0 &&
        kvs_opt_refuse(table, N_OPT, argc, argv, of_exact, "is of --planner exact", err))
        return err->code;
    if (o->instances)
        return kvs_opt_refuse(table, N_OPT, argc, argv, of_prompt,
                              "is of a prompt; --instances FILE has problems of its own", err);
    for (unsigned i = 0; i < o->spans.n; i++) {
        bool content = strncmp(o->spans.v[i], "content", 7) == 0;
        bool cached = content || strncmp(o->spans.v[i], "prefix", 6) == 0;

        moved |= content;
        stored |= cached;
        shared |= cached && !strchr(o->spans.v[i], '@');
    }
    bool levels = false;
    for (unsigned i = 0; i < o->spans.n; i++)
        levels |= strchr(o->spans.v[i], '=') != NULL;
    if ((levels && kvs_opt_refuse(table, N_OPT, argc, argv, of_levels,
                                  "spans of --spans say what they are stored at", err)) ||
        kvs_opt_refuse(table, N_OPT, argc, argv, of_instances,
                       "is of --instances FILE; a prompt has the error bars of its profile", err) ||
        (o->spans.n && kvs_opt_refuse(table, N_OPT, argc, argv, of_spans,
                                      "--spans says what the prompt consists of", err)) ||
        (!shared && stored &&
         kvs_opt_refuse(table, N_OPT, argc, argv, of_tier,
                        "each cached span of --spans names its own", err)) ||
        (!moved && kvs_opt_refuse(table, N_OPT, argc, argv, of_moved,
                                  "is of text cached elsewhere; want --reuse content", err)) ||
        (!o->plot && kvs_opt_refuse(table, N_OPT, argc, argv, of_plot,
                                    "replaces the folder of --plot; there is none", err)))
        return err->code;
    return KVS_OK;
}

/* What means nothing for this prompt, by its codec, budget and levels. */
static enum kvs_code refuse_unused(const struct kvs_plan_case *c, int argc, char *const *argv,
                                   struct kvs_err *err)
{
    static const char *const of_codec[] = {"codec", "decoders", NULL},
                             *const of_host[] = {"decoders", NULL},
                             *const of_loss[] = {"quality", NULL};
    const struct kvs_strs *levels = &c->options.levels;
    bool raw = levels->n == 1 && strcmp(levels->v[0], KVS_CODEC_RAW) == 0;

    if ((raw && kvs_opt_refuse(table, N_OPT, argc, argv, of_codec, "raw16 is not encoded", err)) ||
        (!c->codec &&
         kvs_opt_refuse(table, N_OPT, argc, argv, of_host,
                        "nothing is encoded; want --codec, --levels or --budget", err)) ||
        (c->codec && c->codec->decoder == KVS_DECODER_GPU &&
         kvs_opt_refuse(table, N_OPT, argc, argv, of_host,
                        "the codec is decoded by the GPUs; --codec cpu-avx512 is by the host",
                        err)) ||
        (!c->moved && c->budget_nats <= 0 &&
         kvs_opt_refuse(table, N_OPT, argc, argv, of_loss,
                        "tells what is lost, and the budget allows nothing", err)))
        return err->code;
    return KVS_OK;
}

/* No level is one that a plan within a budget of 0 may load. */
static bool all_lossy(const struct kvs_variant *v)
{
    for (uint32_t q = 0; q < v->levels->n; q++) {
        const int64_t *distortion = v->levels->level[q].distortion;
        int64_t sum = 0;

        for (uint32_t l = 0; distortion && l < v->problem.n_layer; l++)
            sum += distortion[(size_t)l * v->n_frac]; /* all of it loaded */
        if (sum == 0)
            return false;
    }
    return true;
}

static const char *why_not(const struct kvs_plan_case *c, const struct kvs_plan_answer *answer,
                           uint32_t level)
{
    struct kvs_levels_config config;

    kvs_variant_levels(c, &answer->v, &config);
    return config.codec ? kvs_levels_why_not(&config, level) : "";
}

/* The same, by what the answer made of it. */
static enum kvs_code refuse_vain(const struct kvs_plan_case *c,
                                 const struct kvs_plan_answer *answer, int argc, char *const *argv,
                                 struct kvs_err *err)
{
    static const char *const of_cachegen[] = {"slo", NULL}, *const of_codec[] = {"codec", NULL},
                             *const of_levels[] = {"levels", NULL};
    const char *why = NULL;
    char text[200], vain[200] = "none of its levels is exact, and the budget allows no loss";

    for (uint32_t i = 0; kvs_own_list[i]; i++)
        if (strcmp(kvs_own_list[i]->name, "cachegen") == 0)
            why = kvs_plan_no_own(c, answer, kvs_own_list[i]);
    if (c->codec && c->budget_nats > 0 && c->codec->n_level > 1)
        snprintf(vain, sizeof vain,
                 "nothing can be planned with any of its levels; %s, for one: %s",
                 c->codec->level[1].name, why_not(c, answer, 1));
    else if (c->codec && c->budget_nats > 0)
        snprintf(vain, sizeof vain, "it has no level but raw16");
    snprintf(text, sizeof text, "is CacheGen's, which is left out here: %s", why ? why : "");
    if ((why && kvs_opt_refuse(table, N_OPT, argc, argv, of_cachegen, text, err)) ||
        (!kvs_plan_has_levels(&answer->v) && !c->options.levels.n &&
         kvs_opt_refuse(table, N_OPT, argc, argv, of_codec, vain, err)) ||
        (c->budget_nats <= 0 && all_lossy(&answer->v) &&
         kvs_opt_refuse(table, N_OPT, argc, argv, of_levels,
                        "each of them loses something, and the budget allows nothing; want raw16 "
                        "or lx among them, or a budget",
                        err)))
        return err->code;
    return KVS_OK;
}

static enum kvs_code explain(const struct kvs_plan_options *options,
                             const struct kvs_planner_ops *planner, int argc, char *const *argv,
                             struct kvs_err *err)
{
    struct kvs_plan_case *c = NULL;
    struct kvs_plan_answer *answer = NULL;
    enum kvs_code code = kvs_plan_case_open(options, &c, err);

    if (!code)
        code = refuse_unused(c, argc, argv, err);
    if (!code)
        code = kvs_plan_answer_new(c, planner, &answer, err);
    if (!code)
        code = refuse_vain(c, answer, argc, argv, err);
    if (!code && options->json)
        code = kvs_plan_json(c, answer, err);
    else if (!code)
        kvs_plan_show(c, answer);
    if (!code && options->plot)
        code = kvs_plan_draw(c, answer, err);
    kvs_plan_answer_free(answer);
    kvs_plan_case_free(c);
    return code;
}

static void print_help(void)
{
    char about[1200];
    size_t n = (size_t)snprintf(
        about, sizeof about, "%s",
        "Plans one prompt: which layers of its cached tokens to load, which to compute "
        "again, at which\nlevel; beside all policies, with a certificate, and from "
        "where on loading pays. With --instances\nevery problem of a file is planned "
        "and checked: within staircase and budget, valued as the\nevaluation does, the "
        "lower bound not above value or optimum; ends 1 if one fails.\n\nplanners:");

    for (unsigned i = 0; kvs_planner_list[i] && n < sizeof about; i++)
        n += (size_t)snprintf(about + n, sizeof about - n, "%s %s", i ? "," : "",
                              kvs_planner_list[i]->name);
    kvs_opt_help(stdout, "kvsim plan --model M --hardware H --context N --new M --tier T [options]",
                 about, table, N_OPT);
}

static enum kvs_code run(int argc, char *const *argv, struct kvs_err *err)
{
    const struct kvs_planner_ops *planner;
    struct kvs_plan_options options = {0};
    struct kvs_strs pos;
    bool help;

    if (kvs_opt_argv(table, N_OPT, argc, argv, &options, &pos, &help, err))
        return err->code;
    if (help) {
        print_help();
        return KVS_OK;
    }
    if (pos.n > 0)
        return kvs_fail(err, KVS_ERR_ARG, "\"%s\": want options only; see kvsim plan --help",
                        pos.v[0]);
    if (!options.planner) /* the rule of never worse; problems by themselves have no error bars */
        options.planner = options.instances ? "optimal" : "careful";
    planner = find_planner(options.planner, err);
    if (!planner || refuse_idle(&options, argc, argv, err))
        return err->code;
    if (options.instances)
        return kvs_plan_instances(&options, planner, err);
    if (!options.model || !options.hw)
        return kvs_fail(err, KVS_ERR_ARG,
                        "%s: missing; want --model and --hardware, or --instances FILE; see kvsim "
                        "plan --help",
                        options.model ? "--hardware" : "--model");
    return explain(&options, planner, argc, argv, err);
}

const struct kvs_cmd kvs_cmd_plan = {
    .name = "plan",
    .help = "explain one prompt: load or recompute, layer by layer, and from where on it pays",
    .run = run,
};
