#include "plan_case.h"

#include "base/data.h"
#include "base/units.h"
#include "model/layout.h"
#include "plan/regret.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_BUDGET .05

void kvs_case_room(const struct kvs_plan_case *c, const struct kvs_cost *cost, uint32_t tp,
                   double n_tok, double *need, double *has)
{
    *has = kvs_cost_kv_room_bytes(cost, (double)c->options.chunk_tok);
    *need = kvs_model_kv_needed_bytes(c->model, n_tok) * tp * kvs_model_kv_share(c->model, tp);
}

/* What would do where no number of GPUs holds the prompt: most is the most that hold the model. */
static enum kvs_code fail_room(const struct kvs_plan_case *c, uint32_t most, double need,
                               double has, struct kvs_err *err)
{
    double total = (double)c->context_tok + c->new_tok, room_tok = total * fmax(has, 0) / need;
    double unit = pow(10, fmax(floor(log10(fmax(room_tok, 1))) - 2, 0)); /* three digits of it */
    char kv[KVS_TEXT_MAX], room[KVS_TEXT_MAX], tok[KVS_TEXT_MAX], fit[KVS_TEXT_MAX];

    return kvs_fail(
        err, KVS_ERR_RANGE,
        "--context and --new: KV of %s tokens is %s, where the %u GPU%s of a host of %s leave%s "
        "%s beside weights and activations; want about %s tokens in all at most, or "
        "--tp %u, which plans it though it does not fit",
        kvs_text_count(tok, (uint64_t)total), kvs_text_bytes(kv, need), most, most > 1 ? "s" : "",
        c->hw->name, most > 1 ? "" : "s", kvs_text_bytes(room, fmax(has, 0)),
        kvs_text_count(fit, (uint64_t)(floor(room_tok / unit) * unit)), most);
}

/* Whether so many GPUs hold the model; and whether the prompt beside it. */
static enum kvs_code try_tp(const struct kvs_plan_case *c, uint32_t tp, bool *model, double *need,
                            double *has, struct kvs_err *err)
{
    struct kvs_cost *cost;
    struct kvs_err own = {0};
    enum kvs_code code = kvs_cost_new(c->model, c->hw, tp, &cost, &own);

    *model = code == KVS_OK;
    if (*model)
        kvs_case_room(c, cost, tp, (double)c->context_tok + c->new_tok, need, has);
    kvs_cost_free(cost);
    return code && code != KVS_ERR_RANGE ? kvs_fail(err, own.code, "%s", own.msg) : KVS_OK;
}

/* The fewest GPUs, a power of two, that hold the weights and the prompt's KV. */
static enum kvs_code find_tp(struct kvs_plan_case *c, struct kvs_err *err)
{
    uint32_t most, hold = 0; /* the most that hold the model */
    double need = 0, has = 0;
    bool model;

    if (!c->hw->gpu)
        return kvs_fail(err, KVS_ERR_ARG, "--hardware: %s has no GPU figures", c->hw->name);
    most = c->hw->gpus_per_host;
    c->tp = (uint32_t)c->options.tp;
    if (c->tp > most)
        return kvs_fail(err, KVS_ERR_RANGE, "--tp: found %u, a host of %s has %u GPU%s", c->tp,
                        c->hw->name, most, most > 1 ? "s" : "");
    for (uint32_t tp = 1; !c->tp && tp <= most; tp *= 2) {
        if (try_tp(c, tp, &model, &need, &has, err))
            return err->code;
        hold = model ? tp : hold;
        c->tp = model && need <= has ? tp : 0;
    }
    if (!c->tp && hold)
        return fail_room(c, hold, need, has, err);
    if (!c->tp)
        return kvs_fail(err, KVS_ERR_RANGE,
                        "%s does not fit the %u GPU%s of a host of %s; want a machine with more "
                        "memory, or a shape with fewer weight_bits",
                        c->model->name, most, most > 1 ? "s" : "", c->hw->name);
    if (try_tp(c, c->tp, &model, &need, &has, err))
        return err->code;
    c->fits = model && need <= has;
    return KVS_OK;
}

/* Part of a replica's bytes that crosses one link of the kind. */
static double hop_share(const struct kvs_plan_case *c, const struct kvs_hw_link *link)
{
    return link->scope == KVS_SCOPE_GPU ? 1.0 / c->tp : 1.0;
}

/* As the options have it: a rate that was asked for is exact. */
static struct kvs_figure rate_of(const struct kvs_plan_case *c, uint32_t link)
{
    struct kvs_figure rate = c->hw->link[link].read_bytes_per_s;

    if (link == c->slow_link && c->options.bandwidth > 0) {
        rate.value = c->options.bandwidth;
        rate.rel_error = 0;
    }
    return rate;
}

/* The link that --bandwidth sets, by the profile's rates; and the error bar of the slowest hop once
 * it is set. */
static void find_slowest(struct kvs_plan_case *c)
{
    double most = 0;

    c->slow_link = UINT32_MAX; /* none yet */
    for (int set = 0; set < 2; set++) {
        uint32_t slowest = 0;

        most = 0;
        for (uint32_t k = 0; k < c->n_route; k++)
            for (uint32_t h = 0; h < c->tier[k]->n_hop; h++) {
                uint32_t link = c->tier[k]->hop[h];
                struct kvs_figure rate = rate_of(c, link);
                double s_per_byte = hop_share(c, &c->hw->link[link]) / rate.value;

                if (s_per_byte > most) {
                    most = s_per_byte;
                    slowest = link;
                    c->link_error = rate.rel_error;
                }
            }
        c->slow_link = set ? c->slow_link : slowest;
    }
}

/* The table that --quality names, or the model's. Without one a plan may lose nothing. */
static enum kvs_code open_quality(struct kvs_plan_case *c, struct kvs_err *err)
{
    const struct kvs_plan_options *o = &c->options;
    const char *name = o->quality ? o->quality : c->model->name;
    struct kvs_err own = {0};
    char *path = NULL;

    if (!o->quality && kvs_data_find("quality table", "configs/quality", name, &path, &own)) {
        if (own.code != KVS_ERR_ARG)
            return kvs_fail(err, own.code, "%s", own.msg);
        if (c->budget_nats > 0)
            return kvs_fail(err, KVS_ERR_ARG,
                            "there is no quality table of %s; --quality FILE names one, --budget 0 "
                            "needs none",
                            name);
        return KVS_OK;
    }
    free(path);
    return kvs_quality_open(name, kvs_model_n_layer(c->model), &c->quality, err);
}

/* How moved text is repaired, and whether it is known what the rest loses. */
static enum kvs_code find_repair(struct kvs_plan_case *c, struct kvs_err *err)
{
    const struct kvs_plan_options *o = &c->options;
    const char *names[KVS_MAX_QUALITY_ROW];
    char known[400];
    unsigned n = 0;

    assert(c->quality || c->budget_nats <= 0); /* by open_quality */
    c->loss_unknown = !c->quality || c->quality->n_repair == 0;
    if (c->loss_unknown && c->budget_nats > 0)
        return kvs_fail(err, KVS_ERR_ARG,
                        "--reuse content: the quality table of %s does not say what moved text "
                        "loses (\"repair\"); --budget 0 needs none",
                        c->quality->model);
    if (c->loss_unknown && o->repair)
        return kvs_fail(err, KVS_ERR_ARG,
                        "--repair: no quality table says what is lost with \"%s\"; see --quality",
                        o->repair);
    if (c->loss_unknown)
        return KVS_OK;
    if (!o->repair)
        c->options.repair = c->quality->repair[0].method;
    if (!isinf(kvs_quality_repair_nats(c->quality, o->repair, 0)))
        return KVS_OK;
    for (uint32_t i = 0; i < c->quality->n_repair; i++)
        if (i == 0 || strcmp(c->quality->repair[i].method, names[n - 1]) != 0)
            names[n++] = c->quality->repair[i].method;
    return kvs_fail(err, KVS_ERR_ARG, "--repair: the quality table of %s has no method \"%s\"%s",
                    c->quality->model, o->repair,
                    kvs_known(known, sizeof known, o->repair, names, n));
}

/* The budget; and whether the plan needs a quality table at all. */
static enum kvs_code find_quality(struct kvs_plan_case *c, struct kvs_err *err)
{
    const struct kvs_plan_options *o = &c->options;
    bool asked = c->moved || c->carries || o->levels.n || o->codec || o->quality;
    struct kvs_err own = {0};

    c->budget_nats = asked ? DEFAULT_BUDGET : 0;
    if (o->budget && kvs_parse_double(o->budget, &c->budget_nats, &own))
        return kvs_fail(err, KVS_ERR_ARG, "--budget: %s", own.msg);
    if (!(c->budget_nats >= 0 && c->budget_nats <= 1000))
        return kvs_fail(err, KVS_ERR_ARG, "--budget: found %s, want 0 to 1000 nats", o->budget);
    if (!asked && c->budget_nats == 0)
        return KVS_OK;
    if (kvs_codec_open(o->codec ? o->codec : "gpu-published", &c->codec, err))
        return err->code;
    if (open_quality(c, err))
        return err->code;
    return c->moved ? find_repair(c, err) : KVS_OK;
}

/* Layers whose incoming hidden states the tier holds. */
static enum kvs_code find_states(struct kvs_plan_case *c, struct kvs_err *err)
{
    const struct kvs_strs *names = &c->options.states;
    uint32_t n_layer = kvs_model_n_layer(c->model);

    if (names->n > 0 && c->moved)
        return kvs_fail(err, KVS_ERR_ARG,
                        "--states: the states of passages cached elsewhere saw other text; want "
                        "--reuse prefix");
    if (names->n > 0 && c->carries)
        return kvs_fail(err, KVS_ERR_ARG,
                        "--states: the states of text that carries a loss are not those of exact "
                        "text; want spans that carry none");
    if (names->n > 0 && n_layer < 2)
        return kvs_fail(err, KVS_ERR_ARG,
                        "--states: %s has one layer, into which go the tokens themselves",
                        c->model->name);
    for (unsigned n = 0; n < names->n; n++) {
        struct kvs_err own = {0};
        uint64_t l;

        if (kvs_parse_u64(names->v[n], &l, &own) || l < 1 || l >= n_layer || l >= KVS_MAX_LAYER)
            return kvs_fail(err, KVS_ERR_ARG,
                            "--states: found \"%s\", want layers from 1 to %u of %s; into layer 0 "
                            "go the tokens themselves",
                            names->v[n], n_layer - 1, c->model->name);
        if (c->state_at[l])
            return kvs_fail(err, KVS_ERR_ARG, "--states: found %s twice, want a layer once",
                            names->v[n]);
        c->n_state++;
        c->state_at[l] = 1;
    }
    return KVS_OK;
}

enum kvs_code kvs_plan_case_open(const struct kvs_plan_options *options, struct kvs_plan_case **out,
                                 struct kvs_err *err)
{
    struct kvs_plan_case *c = calloc(1, sizeof *c);
    enum kvs_code code = KVS_OK;

    *out = NULL;
    if (!c)
        return kvs_nomem(err);
    c->options = *options;
    c->scratch = kvs_plan_scratch_new();
    if (!c->scratch)
        code = kvs_nomem(err);
    kvs_plan_limit_begin(&c->limit, options->limit);
    if (!code)
        kvs_plan_scratch_watch(c->scratch, &c->limit.watch);
    if (!code)
        code = kvs_model_open(options->model, &c->model, err);
    if (!code && options->hidden && c->model->mla.kv_lora)
        code = kvs_fail(err, KVS_ERR_ARG,
                        "--hidden: %s stores latent KV, which is fewer bytes than hidden states",
                        c->model->name);
    if (!code)
        code = kvs_hw_open(options->hw, &c->hw, err);
    if (!code)
        code = kvs_plan_spans(c, err);
    if (!code)
        code = find_tp(c, err);
    if (!code)
        find_slowest(c);
    if (!code)
        code = find_quality(c, err);
    if (!code)
        code = find_states(c, err);
    if (code) {
        kvs_plan_case_free(c);
        return code;
    }
    c->gpu_error = c->hw->gpu->gemm_eff.rel_error;
    c->n_decoder =
        c->codec && c->codec->decoder == KVS_DECODER_GPU ? c->tp : (uint32_t)options->decoders;
    *out = c;
    return KVS_OK;
}

void kvs_plan_case_free(struct kvs_plan_case *c)
{
    if (!c)
        return;
    kvs_plan_limit_end(&c->limit);
    kvs_plan_scratch_free(c->scratch);
    kvs_quality_free(c->quality);
    kvs_codec_free(c->codec);
    kvs_hw_free(c->hw);
    kvs_model_free(c->model);
    free(c);
}

/* Rates of everything the GPU does. */
static void turn_gpu(const struct kvs_plan_case *c, const struct kvs_knobs *knobs,
                     struct kvs_variant *v)
{
    double speed = knobs->gpu * (1 - c->options.load);

    v->hw = *c->hw;
    v->gpu = *c->hw->gpu;
    v->hw.gpu = &v->gpu;
    v->gpu.peak_flop_per_s.value *= speed;
    v->gpu.peak_fp8_flop_per_s.value *= speed;
    v->gpu.mem_bytes_per_s.value *= speed;
    v->gpu.launch_s.value /= speed;
    v->gpu.allreduce_bytes_per_s.value *= speed;
    v->gpu.allreduce_latency_s.value /= speed;
}

static void turn_links(const struct kvs_plan_case *c, const struct kvs_knobs *knobs,
                       struct kvs_variant *v)
{
    for (uint32_t k = 0; k < c->n_route; k++) {
        v->route[k].n_hop = c->tier[k]->n_hop;
        for (uint32_t h = 0; h < c->tier[k]->n_hop; h++) {
            uint32_t link_i = c->tier[k]->hop[h];
            struct kvs_hw_link *link = &v->link[k][h];
            const struct kvs_hw_link *same = link;

            *link = c->hw->link[link_i];
            link->read_bytes_per_s = rate_of(c, link_i);
            link->read_bytes_per_s.value *=
                knobs->link * (link_i == c->slow_link ? knobs->rate : 1);
            link->descriptor_s.value /= knobs->link * knobs->piece;
            /* a hop that an earlier route has too is one link, and shared */
            for (uint32_t j = 0; j < k; j++)
                for (uint32_t i = 0; i < c->tier[j]->n_hop; i++)
                    if (c->tier[j]->hop[i] == link_i)
                        same = v->route[j].hop[i].link;
            v->route[k].hop[h] = (struct kvs_table_hop){same, hop_share(c, link)};
        }
    }
}

void kvs_variant_levels(const struct kvs_plan_case *c, const struct kvs_variant *v,
                        struct kvs_levels_config *config)
{
    double s_per_byte = 0;

    for (uint32_t h = 0; h < v->route[0].n_hop; h++)
        s_per_byte = fmax(s_per_byte, v->route[0].hop[h].share /
                                          v->route[0].hop[h].link->read_bytes_per_s.value);
    *config = (struct kvs_levels_config){
        .model = c->model,
        .codec = c->budget_nats > 0 || c->options.levels.n || c->options.codec ? c->codec : NULL,
        .quality = c->quality,
        .n_decoder = c->n_decoder,
        .n_frac = v->n_frac,
        .block_tok = (uint32_t)c->options.block_tok,
        .hidden = c->options.hidden,
        .load_s_per_byte = s_per_byte,
        .budget_nats = c->budget_nats,
        .names = c->options.levels.n ? &c->options.levels : &c->menu,
        .exactly = c->options.levels.n > 0,
        .prefix = c->as_held ? "--spans: " : NULL,
    };
}

static enum kvs_code make_levels(const struct kvs_plan_case *c, const struct kvs_knobs *knobs,
                                 struct kvs_variant *v, struct kvs_err *err)
{
    struct kvs_levels_config config;

    kvs_variant_levels(c, v, &config);
    if (kvs_levels_new(&config, &v->levels, err))
        return err->code;
    for (uint32_t q = 0; q < v->levels->n; q++) {
        v->levels->level[q].decode_bytes_per_s *= knobs->decoder;
        v->levels->level[q].decode_unit_s /= knobs->decoder;
    }
    return KVS_OK;
}

static struct kvs_table_repair make_repair(const struct kvs_plan_case *c,
                                           const struct kvs_planner_ops *planner,
                                           struct kvs_variant *v)
{
    struct kvs_table_repair repair = {.n = 0};

    if (!c->moved)
        return repair;
    v->repairer = planner && planner->repairs ? planner : NULL;
    if (kvs_repair_menu_of(c->loss_unknown ? NULL : c->quality, planner, c->options.repair,
                           &v->repair))
        v->repair_method = kvs_repair_method(planner, c->options.repair);
    repair = kvs_repair_table(&v->repair);
    repair.n = repair.n < v->n_frac ? repair.n : v->n_frac - 1;
    return repair;
}

enum kvs_code kvs_variant_begin(const struct kvs_plan_case *c, const struct kvs_knobs *knobs,
                                uint32_t n_frac, struct kvs_variant *v, struct kvs_err *err)
{
    return kvs_variant_begin_of(c, knobs, n_frac, NULL, v, err);
}

enum kvs_code kvs_variant_begin_of(const struct kvs_plan_case *c, const struct kvs_knobs *knobs,
                                   uint32_t n_frac, const struct kvs_planner_ops *planner,
                                   struct kvs_variant *v, struct kvs_err *err)
{
    uint32_t n_piece = 0;

    memset(v, 0, sizeof *v);
    v->n_frac = n_frac;
    v->knobs = *knobs;
    turn_gpu(c, knobs, v);
    turn_links(c, knobs, v);
    if (kvs_cost_new(c->model, &v->hw, c->tp, &v->cost, err) || make_levels(c, knobs, v, err))
        return err->code;
    const struct kvs_tables_config config = {
        .model = c->model,
        .cost = v->cost,
        .n_route = c->n_route,
        .route = v->route,
        .chunk_tok = (uint32_t)c->options.chunk_tok,
        .n_frac = n_frac,
        .descriptors = kvs_layout_layer(kvs_layout_find("blocks"), c->model, 0, 1, 1, 1).n_piece,
        .n_level = v->levels->n,
        .keep_shared = v->levels->n > 1, /* menus differ in their levels only */
        .level = v->levels->level,
        .as_held = c->as_held,
        .repair = make_repair(c, planner, v),
        .state_at = c->n_state ? c->state_at : NULL,
        .state_bytes_per_tok = kvs_state_bytes_per_tok(c->model),
        .budget = llround(c->budget_nats * KVS_NAT),
    };
    if (kvs_tables_new(&config, &v->tables, err) || kvs_variant_pieces(c, knobs, v, &n_piece, err))
        return err->code;
    v->inst = kvs_tables_inst_new(v->tables);
    if (!v->inst)
        return kvs_nomem(err);
    kvs_tables_build(v->tables, v->inst, v->piece, n_piece, &v->problem);
    kvs_plan_error_of(&v->hw, v->route, c->n_route, v->levels->level, v->levels->n,
                      &v->problem.error);
    kvs_plan_share(&v->problem);
    /* the tables' work takes 1 / (1 - load) of the GPU's own time */
    v->problem.price_gpu = (1 - c->options.load) * kvs_load_price(c->options.load);
    return KVS_OK;
}

void kvs_variant_end(struct kvs_variant *v)
{
    kvs_tables_inst_free(v->inst);
    kvs_tables_free(v->tables);
    kvs_levels_free(v->levels);
    kvs_cost_free(v->cost);
    free(v->piece);
    memset(v, 0, sizeof *v);
}

double kvs_variant_load_rate(const struct kvs_variant *v)
{
    double bytes = 0, s = 0;

    for (uint32_t l = 0; l < v->problem.n_layer; l++) {
        int64_t slowest_ns = 0;

        for (uint32_t k = 0; k < v->problem.n_route; k++) {
            if (k < kvs_plan_routes(&v->problem))
                bytes += kvs_tables_load_bytes(v->inst, k, kvs_cost_class(v->cost, l), 0, 0);
            if (v->problem.layer[l]->io_ns[k][0] > slowest_ns)
                slowest_ns = v->problem.layer[l]->io_ns[k][0];
        }
        s += (double)slowest_ns * 1e-9;
    }
    return s > 0 ? bytes / s : HUGE_VAL;
}
