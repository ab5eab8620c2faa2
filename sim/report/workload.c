#include "workload_in.h"

#include "base/data.h"
#include "base/units.h"
#include "model/hw_set.h"
#include "plan/levels.h"
#include "sample.h"
#include "workloads/trace_filter.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the tables: what may stand in a workload file ----------------------------------------------
 */

#define TOP(field) offsetof(struct kvs_wl_top, field)
static const struct kvs_opt top_table[] = {
    {"kvsim", KVS_OPT_STR, TOP(kvsim), NULL, 0, 0, "version that recorded this file; not a setting",
     NULL, false, 0},
    {"about", KVS_OPT_STR, TOP(about), NULL, 0, 0, "what this workload is, for people", NULL, false,
     0},
    {"model", KVS_OPT_STR, TOP(model), NULL, 0, 0, "a name of configs/models, or a file", NULL,
     true, 0},
    {"hardware", KVS_OPT_STR, TOP(hardware), NULL, 0, 0, "a name of configs/hardware, or a file",
     NULL, true, 0},
    {"hardware_set", KVS_OPT_NODE, TOP(hardware_set), NULL, 0, 0,
     "what-ifs: figures of the profile by path, {\"links.nvme.read_bytes_per_s\": \"28GB/s\"}",
     NULL, false, 0},
    {"trace", KVS_OPT_NODE, TOP(trace), NULL, 0, 0, "where the requests come from", NULL, true, 0},
    {"arrivals", KVS_OPT_NODE, TOP(arrivals), NULL, 0, 0,
     "when they come; default: when the trace says", NULL, false, 0},
    {"seed", KVS_OPT_U64, TOP(seed), "1", 0, 0x1p63, "of all random draws", NULL, false, 0},
    {"cluster", KVS_OPT_NODE, TOP(cluster), NULL, 0, 0, "the replicas", NULL, false, 0},
    {"tiers", KVS_OPT_NODE, TOP(tiers), NULL, 0, 0,
     "where KV is kept below HBM, nearest first; default: all of the profile's", NULL, false, 0},
    {"planner", KVS_OPT_NODE, TOP(planner), NULL, 0, 0, "what plans may be", NULL, false, 0},
    {"slo", KVS_OPT_NODE, TOP(slo), NULL, 0, 0, "bounds that make a request count for goodput",
     NULL, false, 0},
    {"warmup", KVS_OPT_NODE, TOP(warmup), NULL, 0, 0, "which of the first requests do not count",
     NULL, false, 0},
    {"compare", KVS_OPT_NODE, TOP(compare), NULL, 0, 0, "policies, run one after another", NULL,
     false, 0},
    {"output", KVS_OPT_NODE, TOP(output), NULL, 0, 0, "what the results hold", NULL, false, 0},
};

static const struct kvs_opt slo_table[] = {
    {"ttft", KVS_OPT_TIME, offsetof(struct kvs_wl_slo, ttft_s), "2s", 0, 1e6,
     "time to first token; 0: no bound", NULL, false, 0},
    {"tpot", KVS_OPT_TIME, offsetof(struct kvs_wl_slo, tpot_s), "100ms", 0, 1e6,
     "mean time per output token after it; 0: no bound", NULL, false, 0},
};

static const char *const cut_names[] = {"none", "requests", "time", "auto",
                                        NULL}; /* enum kvs_cut */

static const struct kvs_opt warmup_table[] = {
    {"cut", KVS_OPT_ENUM, offsetof(struct kvs_wl_warmup, cut), "none", 0, 0,
     "leave the first out of the figures: by requests, by time, or auto: where MSER-5 says",
     cut_names, false, 0},
    {"requests", KVS_OPT_U64, offsetof(struct kvs_wl_warmup, requests), "0", 0, 0x1p63,
     "cut requests: so many", NULL, false, 0},
    {"time", KVS_OPT_TIME, offsetof(struct kvs_wl_warmup, time), "0", 0, 1e9,
     "cut time: those that arrive within it", NULL, false, 0},
};

static const struct kvs_opt output_table[] = {
    {"plots", KVS_OPT_FLAG, offsetof(struct kvs_wl_output, plots), "true", 0, 0,
     "draw the figures, where gnuplot is there", NULL, false, 0},
    {"timeline_requests", KVS_OPT_U64, offsetof(struct kvs_wl_output, timeline_requests), "64", 0,
     1000, "first requests of each policy that timeline.json shows", NULL, false, 0},
    {"bin", KVS_OPT_TIME, offsetof(struct kvs_wl_output, bin), "0", 0, 1e6,
     "of hits and utilisation over time; 0: 128 to 256 bins a run", NULL, false, 0},
};

/* --- policies ----------------------------------------------------------------------------------
 */

/* What `compare` may name: every planner, and one entry that keeps nothing. */
#define NO_CACHE "no-cache"

static uint32_t policy_names(const char **names)
{
    uint32_t n = 0;
    names[n++] = NO_CACHE;
    for (uint32_t i = 0; kvs_planner_list[i] && n < KVS_WL_N_NAME; i++)
        names[n++] = kvs_planner_list[i]->name;
    return n;
}

static bool find_policy(const char *name, struct kvs_policy *policy)
{
    const bool cached = strcmp(name, NO_CACHE) != 0;
    *policy = (struct kvs_policy){
        .name = name,
        .planner = kvs_planner_find(cached ? name : "recompute"),
        .cached = cached,
    };
    return policy->planner != NULL;
}

/* --- reading -----------------------------------------------------------------------------------
 */

/* The profile with the workload's what-ifs put in. */
static enum kvs_code open_hardware(struct kvs_workload_in *in, struct kvs_json root,
                                   const char *name, struct kvs_err *err)
{
    const struct kvs_json node = kvs_json_get(root, "hardware");
    struct kvs_err inner = {0};
    struct kvs_doc *doc = NULL;
    char *path = NULL;
    enum kvs_code code;
    if (!(code = kvs_data_find("hardware", "configs/hardware", name, &path, &inner)) &&
        !(code = kvs_doc_open(path, &doc, &inner))) {
        if (!in->top.hardware_set.v || !(code = kvs_hw_set(doc, in->top.hardware_set, err)))
            code = kvs_hw_from(doc, &in->hw, &inner); /* takes the document */
        else
            kvs_doc_free(doc);
    }
    if (code)
        kvs_wl_fail_at(node, err, code, &inner); /* unless err has it */
    free(path);
    return code;
}

static enum kvs_code read_machine(struct kvs_workload_in *in, struct kvs_json root,
                                  struct kvs_err *err)
{
    struct kvs_err inner = {0};
    char *model = NULL, *hw = NULL;
    enum kvs_code code;
    if (!(code = kvs_wl_find_file(in, kvs_json_get(root, "model"), in->top.model, &model, err)) &&
        !(code =
              kvs_wl_find_file(in, kvs_json_get(root, "hardware"), in->top.hardware, &hw, err))) {
        if ((code = kvs_model_open(model, &in->model, &inner)))
            code = kvs_wl_fail_at(kvs_json_get(root, "model"), err, code, &inner);
        else
            code = open_hardware(in, root, hw, err);
    }
    free(model);
    free(hw);
    return code;
}

static enum kvs_code read_policy(struct kvs_workload *w, struct kvs_json node, struct kvs_err *err)
{
    const char *name = NULL, *names[KVS_WL_N_NAME];
    enum kvs_code code = kvs_json_str(node, &name, err);
    if (code)
        return code;
    for (uint32_t i = 0; i < w->n_policy; i++)
        if (strcmp(w->policy[i].name, name) == 0)
            return kvs_json_fail(node, err, KVS_ERR_ARG,
                                 "found \"%s\" a second time, want a "
                                 "policy once",
                                 name);
    if (!find_policy(name, &w->policy[w->n_policy]))
        return kvs_wl_unknown(node, err, name, names, policy_names(names));
    w->n_policy++;
    return KVS_OK;
}

static enum kvs_code read_compare(struct kvs_workload *w, struct kvs_json node, struct kvs_err *err)
{
    static const char *const usual[] = {"recompute", "load", "token-split", "layer-split", "best"};
    const size_t n = kvs_json_size(node);
    for (uint32_t i = 0; !node.v && i < sizeof usual / sizeof *usual; i++)
        if (find_policy(usual[i], &w->policy[w->n_policy]))
            w->n_policy++;
    if (!node.v)
        return KVS_OK;
    enum kvs_code code = kvs_json_array(node, err);
    if (!code && (n == 0 || n > KVS_MAX_POLICY))
        return kvs_json_fail(node, err, KVS_ERR_RANGE, "found %zu policies, want 1 to %d", n,
                             KVS_MAX_POLICY);
    for (size_t i = 0; i < n && !code; i++)
        code = read_policy(w, kvs_json_at(node, i), err);
    return code;
}

/* A path that leads nowhere is told before anything else of the trace is looked at. */
static enum kvs_code check_trace(struct kvs_workload_in *in, struct kvs_err *err)
{
    const struct kvs_json node = kvs_json_get(in->top.trace, "path");
    const char *path = json_string_value(node.v);
    enum kvs_code code = kvs_json_object(in->top.trace, err);
    if (code || !path)
        return code;
    if (strcmp(path, "-") == 0)
        return kvs_json_fail(node, err, KVS_ERR_ARG,
                             "found \"-\", want a file: every policy reads it from its start");
    char *file = kvs_path_from(kvs_doc_file(in->doc), path);
    struct stat about;
    if (!file)
        return kvs_nomem(err);
    if (access(file, R_OK) != 0)
        code = kvs_json_fail(node, err, KVS_ERR_ARG,
                             "no file %s; get the trace (workloads/README.md says where) or give "
                             "its place: --set trace.path='\"FILE\"'",
                             file);
    else if (stat(file, &about) == 0 && !S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode))
        code = kvs_json_fail(node, err, KVS_ERR_ARG,
                             "%s is a pipe or a device, want a file: every policy reads it from "
                             "its start",
                             file);
    free(file);
    return code;
}

static enum kvs_code read_warmup(struct kvs_workload *w, struct kvs_workload_in *in,
                                 struct kvs_err *err)
{
    const struct kvs_json node = in->top.warmup;
    struct kvs_wl_warmup *warmup = &in->warmup;
    enum kvs_code code = kvs_opt_json(warmup_table, N(warmup_table), node, warmup, err);
    if (code)
        return code;
    if ((warmup->cut == KVS_CUT_REQUESTS) != (warmup->requests > 0))
        return kvs_json_fail(kvs_json_get(node, "requests"), err, KVS_ERR_ARG,
                             "found %" PRIu64 " with cut %s, want a number above 0 with cut "
                             "requests and none without",
                             warmup->requests, cut_names[warmup->cut]);
    if ((warmup->cut == KVS_CUT_TIME) != (warmup->time > 0))
        return kvs_json_fail(kvs_json_get(node, "time"), err, KVS_ERR_ARG,
                             "found %g with cut %s, want a time above 0 with cut time and none "
                             "without",
                             warmup->time, cut_names[warmup->cut]);
    w->warmup = (struct kvs_warmup){(enum kvs_cut)warmup->cut, warmup->requests, warmup->time};
    return KVS_OK;
}

static enum kvs_code read_rest(struct kvs_workload *w, struct kvs_workload_in *in,
                               struct kvs_err *err)
{
    enum kvs_code code;
    if ((code = kvs_arrivals_json(in->top.arrivals, &in->arrivals, &w->sim.arrivals, err)) ||
        (code = kvs_wl_read_planner(in, &w->sim, err)) || (code = kvs_wl_check_repair(w, err)) ||
        (code = kvs_opt_json(slo_table, N(slo_table), in->top.slo, &in->slo, err)) ||
        (code = read_warmup(w, in, err)) ||
        (code = kvs_opt_json(output_table, N(output_table), in->top.output, &in->output, err)))
        return code;
    w->sim.model = in->model;
    w->sim.hw = in->hw;
    w->sim.cost = in->cost;
    w->sim.slo_ttft_s = in->slo.ttft_s;
    w->sim.slo_tpot_s = in->slo.tpot_s;
    w->seed = w->sim.seed = in->top.seed;
    w->about = in->top.about ? in->top.about : "";
    w->plots = in->output.plots;
    w->sim.bin_ns = kvs_ns(in->output.bin);
    w->timeline_requests = in->output.timeline_requests;
    return KVS_OK;
}

static enum kvs_code read_root(struct kvs_workload *w, struct kvs_workload_in *in,
                               struct kvs_err *err)
{
    const struct kvs_json root = kvs_doc_root(in->doc);
    struct kvs_trace *trace = NULL;
    enum kvs_code code = kvs_json_object(root, err);
    if (code || (code = kvs_opt_json(top_table, N(top_table), root, &in->top, err)) ||
        (code = read_machine(in, root, err)) || (code = kvs_wl_read_cluster(in, &w->sim, err)) ||
        (code = kvs_wl_read_tiers(in, &w->sim, err)) ||
        (code = read_compare(w, in->top.compare, err)) || (code = read_rest(w, in, err)) ||
        (code = check_trace(in, err)) || (code = kvs_sample_scale(root, &w->sim, in->hw, err)))
        return code;
    w->share = kvs_sample_share(in->top.trace);
    code = kvs_workload_trace(w, &trace, err);
    kvs_trace_close(trace);
    return code;
}

/* "a/quickstart.json" is called "quickstart". NULL: no memory. */
static char *base_name(const char *file)
{
    const char *slash = strrchr(file, '/');
    char *name = strdup(strcmp(file, "-") == 0 ? "stdin" : slash ? slash + 1 : file);
    size_t n = name ? strlen(name) : 0;
    if (n > 5 && strcmp(name + n - 5, ".json") == 0)
        name[n - 5] = '\0';
    for (char *c = name; c && *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '_'; /* it stands in JSON, file names and figures */
    return name;
}

static enum kvs_code apply_sets(struct kvs_doc *doc, const struct kvs_strs *sets,
                                struct kvs_err *err)
{
    for (unsigned i = 0; sets && i < sets->n; i++) {
        const char *equal = strchr(sets->v[i], '=');
        if (!equal || equal == sets->v[i])
            return kvs_fail(err, KVS_ERR_ARG, "--set %s: want PATH=VALUE, like cluster.replicas=2",
                            sets->v[i]);
        char *path = strndup(sets->v[i], (size_t)(equal - sets->v[i]));
        if (!path)
            return kvs_nomem(err);
        enum kvs_code code = kvs_doc_set(doc, path, equal + 1, err);
        free(path);
        if (code)
            return code;
    }
    return KVS_OK;
}

static enum kvs_code open_document(const char *name, struct kvs_doc **doc, struct kvs_err *err)
{
    char *file = NULL;
    enum kvs_code code = KVS_OK;
    if (strcmp(name, "-") == 0)
        return kvs_doc_open(name, doc, err);
    if (!(code = kvs_data_find("workload", "workloads", name, &file, err))) {
        if (access(file, F_OK) != 0)
            code = kvs_fail(err, KVS_ERR_ARG,
                            "%s: no such file; want a workload file or a name of "
                            "workloads/, like quickstart",
                            file);
        else
            code = kvs_doc_open(file, doc, err);
    }
    free(file);
    return code;
}

enum kvs_code kvs_workload_document(const char *file, const struct kvs_strs *sets,
                                    struct kvs_doc **doc, struct kvs_err *err)
{
    enum kvs_code code = open_document(file, doc, err);
    if (code || !(code = apply_sets(*doc, sets, err)))
        return code;
    kvs_doc_free(*doc);
    *doc = NULL;
    return code;
}

enum kvs_code kvs_workload_open(const char *file, const struct kvs_strs *sets,
                                struct kvs_workload **workload, struct kvs_err *err)
{
    struct kvs_doc *doc = NULL;
    enum kvs_code code = kvs_workload_document(file, sets, &doc, err);
    *workload = NULL;
    return code ? code : kvs_workload_from(doc, file, workload, err);
}

enum kvs_code kvs_workload_from(struct kvs_doc *doc, const char *file,
                                struct kvs_workload **workload, struct kvs_err *err)
{
    struct kvs_workload *w = calloc(1, sizeof *w);
    struct kvs_workload_in *in = calloc(1, sizeof *in);
    enum kvs_code code;
    *workload = NULL;
    if (w)
        w->in = in;
    if (!w || !in) {
        free(in);
        free(w);
        kvs_doc_free(doc);
        return kvs_nomem(err);
    }
    in->doc = doc;
    in->name = base_name(file);
    w->name = in->name;
    code = in->name ? read_root(w, in, err) : kvs_nomem(err);
    if (code) {
        kvs_workload_free(w);
        return code;
    }
    *workload = w;
    return KVS_OK;
}

void kvs_workload_free(struct kvs_workload *workload)
{
    if (!workload)
        return;
    struct kvs_workload_in *in = workload->in;
    kvs_levels_free(in->levels);
    kvs_cost_free(in->cost);
    kvs_hw_free(in->hw);
    kvs_model_free(in->model);
    kvs_doc_free(in->doc);
    free(in->name);
    free(in);
    free(workload);
}

enum kvs_code kvs_workload_trace(const struct kvs_workload *workload, struct kvs_trace **trace,
                                 struct kvs_err *err)
{
    return kvs_trace_from_json(workload->in->top.trace, workload->seed, trace, err);
}

struct kvs_sim_config kvs_workload_config(const struct kvs_workload *workload, uint32_t policy_i)
{
    struct kvs_sim_config config = workload->sim;
    const struct kvs_wl_own_repair *own = workload->in->own_repair;
    config.planner = workload->policy[policy_i].planner;
    for (uint32_t i = 0; i < KVS_WL_OWN_REPAIR && config.repair.n; i++)
        if (own[i].planner == config.planner)
            config.repair = kvs_repair_table(&own[i].menu);
    if (!workload->policy[policy_i].cached) {
        config.hbm_cache = false;
        config.n_tier = 0;
        if (config.preemption == KVS_PREEMPT_SWAP)
            config.preemption = KVS_PREEMPT_RECOMPUTE; /* there is nowhere to swap to */
    }
    return config;
}

/* --- recording ---------------------------------------------------------------------------------
 */

static json_t *record_trace(const struct kvs_workload_in *in)
{
    json_t *trace = json_copy((json_t *)in->top.trace.v);
    const char *path = json_string_value(json_object_get(trace, "path"));
    if (path && json_object_set_new(trace, "path", kvs_wl_record_path(in, path))) {
        json_decref(trace);
        return NULL;
    }
    return trace;
}

/* [make(0), make(1), ...]; NULL: no memory. */
static json_t *record_list(const struct kvs_workload *w, uint32_t n,
                           json_t *(*make)(const struct kvs_workload *w, uint32_t i))
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < n; i++)
        if (json_array_append_new(list, make(w, i))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *record_policy(const struct kvs_workload *w, uint32_t i)
{
    return json_string(w->policy[i].name);
}

json_t *kvs_workload_record(const struct kvs_workload *workload)
{
    const struct kvs_workload_in *in = workload->in;
    json_t *all = json_object();
    int bad = !all;
    for (unsigned i = 0; i < N(top_table) && !bad; i++)
        bad = json_object_set_new(all, top_table[i].key, json_null()); /* in the table's order */
    if (!bad) {
        bad |= json_object_set_new(all, "kvsim", json_string(KVS_VERSION));
        bad |= json_object_set_new(all, "about", json_string(workload->about));
        bad |= json_object_set_new(all, "model", kvs_wl_record_name(in, in->top.model));
        bad |= json_object_set_new(all, "hardware", kvs_wl_record_name(in, in->top.hardware));
        bad |= json_object_set_new(
            all, "hardware_set",
            in->top.hardware_set.v ? json_copy((json_t *)in->top.hardware_set.v) : json_object());
        bad |= json_object_set_new(all, "trace", record_trace(in));
        bad |= json_object_set_new(
            all, "arrivals", kvs_opt_record(kvs_arrivals_table, kvs_arrivals_n_opt, &in->arrivals));
        bad |= json_object_set_new(all, "seed", json_integer((json_int_t)in->top.seed));
        bad |= json_object_set_new(all, "cluster", kvs_wl_record_cluster(in));
        bad |= json_object_set_new(all, "tiers",
                                   record_list(workload, workload->sim.n_tier, kvs_wl_record_tier));
        bad |= json_object_set_new(all, "planner", kvs_wl_record_planner(in));
        bad |= json_object_set_new(all, "slo", kvs_opt_record(slo_table, N(slo_table), &in->slo));
        bad |= json_object_set_new(all, "warmup",
                                   kvs_opt_record(warmup_table, N(warmup_table), &in->warmup));
        bad |= json_object_set_new(all, "compare",
                                   record_list(workload, workload->n_policy, record_policy));
        bad |= json_object_set_new(all, "output",
                                   kvs_opt_record(output_table, N(output_table), &in->output));
    }
    if (bad) {
        json_decref(all);
        all = NULL;
    }
    return all;
}
