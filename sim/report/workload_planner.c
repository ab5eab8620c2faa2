#include "workload_in.h"

#include "plan/levels.h"
#include "tier_levels.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NO_REPAIR "none"

static const struct kvs_opt planner_table[] = {
    {"fractions", KVS_OPT_U64, offsetof(struct kvs_wl_planner, fractions), "17", 2, KVS_MAX_FRAC,
     "recompute fractions that plans choose from: i / (n - 1)", NULL, false, 0},
    {"repair", KVS_OPT_STR, offsetof(struct kvs_wl_planner, repair), NO_REPAIR, 0, 0,
     "how text reused behind other text is repaired: a method of the quality table", NULL, false,
     0},
    {"codec", KVS_OPT_STR, offsetof(struct kvs_wl_planner, codec), "gpu-published", 0, 0,
     "of tiers' levels: a name of configs/codec, or a file", NULL, false, 0},
    {"decoders", KVS_OPT_U64, offsetof(struct kvs_wl_planner, decoders), "8", 1, 1024,
     "host threads that decode and encode levels; a GPU codec runs on the replica's GPUs", NULL,
     false, 0},
    {"quality", KVS_OPT_STR, offsetof(struct kvs_wl_planner, quality), "", 0, 0,
     "a name of configs/quality, or a file; \"\": the model's", NULL, false, 0},
    {"budget", KVS_OPT_DOUBLE, offsetof(struct kvs_wl_planner, budget), "0.05", 0, 1000,
     "nats that a prompt may lose by levels and repair", NULL, false, 0},
};

/* The quality table that the planner names; the model's if it names none. */
static enum kvs_code open_quality(const struct kvs_workload_in *in, struct kvs_quality **quality,
                                  struct kvs_err *err)
{
    const struct kvs_json node = kvs_json_get(in->top.planner, "quality");
    const char *name = *in->planner.quality ? in->planner.quality : kvs_model_name(in->model);
    struct kvs_err inner = {0};
    char *file = NULL;
    enum kvs_code code = kvs_wl_find_file(in, node, name, &file, err);
    *quality = NULL;
    if (!code && (code = kvs_quality_open(file, kvs_model_n_layer(in->model), quality, &inner)))
        code = kvs_wl_fail_at(node, err, code, &inner);
    free(file);
    return code;
}

/* Shares of repair to choose from, as the quality table of the model has their cost. */
static enum kvs_code read_repair(struct kvs_workload_in *in, struct kvs_sim_config *sim,
                                 struct kvs_err *err)
{
    const struct kvs_json node = in->top.planner;
    const struct kvs_wl_planner *p = &in->planner;
    struct kvs_quality *quality = NULL;
    if (strcmp(p->repair, NO_REPAIR) == 0)
        return KVS_OK;
    if (sim->reuse != KVS_REUSE_CONTENT)
        return kvs_json_fail(kvs_json_get(node, "repair"), err, KVS_ERR_ARG,
                             "found \"%s\" with cluster.reuse prefix, want cluster.reuse content",
                             p->repair);
    if (p->fractions <= KVS_REPAIR_SHARES)
        return kvs_json_fail(kvs_json_get(node, "fractions"), err, KVS_ERR_RANGE,
                             "found %" PRIu64 ", want at least %d with repair", p->fractions,
                             KVS_REPAIR_SHARES + 1);
    enum kvs_code code = open_quality(in, &quality, err);
    if (code)
        return code;
    if (!kvs_repair_menu_of(quality, NULL, p->repair, &in->repair))
        code = kvs_json_fail(kvs_json_get(node, "repair"), err, KVS_ERR_ARG,
                             "found \"%s\", want none or a method of quality table %s", p->repair,
                             quality->model);
    for (uint32_t i = 0, n = 0; kvs_planner_list[i] && n < KVS_WL_OWN_REPAIR; i++)
        if (kvs_planner_list[i]->repairs) {
            struct kvs_wl_own_repair *own = &in->own_repair[n++];
            own->planner = kvs_planner_list[i];
            own->known = kvs_repair_menu_of(quality, own->planner, p->repair, &own->menu);
        }
    kvs_quality_free(quality);
    if (code)
        return code;
    sim->repair = kvs_repair_table(&in->repair);
    sim->budget = llround(p->budget * KVS_NAT);
    return KVS_OK;
}

enum kvs_code kvs_wl_check_repair(const struct kvs_workload *w, struct kvs_err *err)
{
    const struct kvs_wl_own_repair *own = w->in->own_repair;
    for (uint32_t i = 0; i < w->n_policy && w->sim.reuse == KVS_REUSE_CONTENT; i++) {
        const struct kvs_planner_ops *planner = w->policy[i].planner;
        uint32_t k = 0;
        if (!planner->repairs)
            continue;
        if (!w->sim.repair.n)
            return kvs_json_fail(kvs_json_get(w->in->top.planner, "repair"), err, KVS_ERR_ARG,
                                 "found \"%s\", want a method of the quality table: %s repairs",
                                 NO_REPAIR, planner->name);
        while (k < KVS_WL_OWN_REPAIR && own[k].planner != planner)
            k++;
        if (k == KVS_WL_OWN_REPAIR || !own[k].known)
            return kvs_json_fail(w->in->top.compare, err, KVS_ERR_ARG,
                                 "found \"%s\", want none of it: the quality table does not say "
                                 "what is lost by its repair, \"%s\"",
                                 planner->name, planner->repairs);
    }
    return KVS_OK;
}

/* What tiers store blocks at. */
static enum kvs_code read_levels(struct kvs_workload_in *in, struct kvs_sim_config *sim,
                                 struct kvs_err *err)
{
    const struct kvs_wl_planner *p = &in->planner;
    struct kvs_tier_levels_config config = {
        .model = in->model,
        .codec_node = kvs_json_get(in->top.planner, "codec"),
        .quality_node = kvs_json_get(in->top.planner, "quality"),
        .n_gpu = (uint32_t)in->cluster.tp,
        .n_thread = (uint32_t)p->decoders,
        .n_frac = (uint32_t)p->fractions,
        .n_tier = sim->n_tier,
    };
    uint32_t level[KVS_MAX_TIER] = {0};
    for (uint32_t t = 0; t < sim->n_tier; t++) {
        config.name[t] = in->tier[t].level;
        config.node[t] = kvs_json_get(kvs_json_at(in->top.tiers, t), "level");
    }
    char *codec = kvs_wl_name_or_path(in, p->codec);
    char *quality = kvs_wl_name_or_path(in, *p->quality ? p->quality : kvs_model_name(in->model));
    config.codec = codec;
    config.quality = quality;
    enum kvs_code code =
        codec && quality ? kvs_tier_levels_new(&config, &in->levels, level, err) : kvs_nomem(err);
    free(codec);
    free(quality);
    if (code || !in->levels)
        return code;
    for (uint32_t t = 0; t < sim->n_tier; t++)
        sim->tier[t].level = level[t];
    sim->n_level = in->levels->n;
    sim->level = in->levels->level;
    sim->budget = llround(p->budget * KVS_NAT);
    return KVS_OK;
}

/* A codec and a quality table that nothing here needs are still no names to be wrong. */
static enum kvs_code check_unused(const struct kvs_workload_in *in, struct kvs_err *err)
{
    const struct kvs_json node = kvs_json_get(in->top.planner, "codec");
    struct kvs_quality *quality = NULL;
    struct kvs_codec *codec = NULL;
    struct kvs_err inner = {0};
    char *file = NULL;
    enum kvs_code code =
        node.v ? kvs_wl_find_file(in, node, in->planner.codec, &file, err) : KVS_OK;
    if (!code && file && (code = kvs_codec_open(file, &codec, &inner)))
        code = kvs_wl_fail_at(node, err, code, &inner);
    if (!code && *in->planner.quality)
        code = open_quality(in, &quality, err);
    kvs_quality_free(quality);
    kvs_codec_free(codec);
    free(file);
    return code;
}

enum kvs_code kvs_wl_read_planner(struct kvs_workload_in *in, struct kvs_sim_config *sim,
                                  struct kvs_err *err)
{
    enum kvs_code code =
        kvs_opt_json(planner_table, N(planner_table), in->top.planner, &in->planner, err);
    if (code || (code = read_repair(in, sim, err)) || (code = read_levels(in, sim, err)) ||
        (!in->levels && (code = check_unused(in, err))))
        return code;
    sim->n_frac = (uint32_t)in->planner.fractions;
    return KVS_OK;
}

json_t *kvs_wl_record_planner(const struct kvs_workload_in *in)
{
    json_t *planner = kvs_opt_record(planner_table, N(planner_table), &in->planner);
    if (planner &&
        (json_object_set_new(planner, "codec", kvs_wl_record_name(in, in->planner.codec)) ||
         json_object_set_new(planner, "quality", kvs_wl_record_name(in, in->planner.quality)))) {
        json_decref(planner);
        return NULL;
    }
    return planner;
}
