#include "hardware.h"

#include "base/data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N(table) ((unsigned)(sizeof(table) / sizeof *(table)))

static const char *const scope_names[] = {"gpu", "host", "cluster", NULL};

/* --- GPU ------------------------------------------------------------------------------------- */

#define GPU(key, min, max, required)                                                               \
    {                                                                                              \
#key, offsetof(struct kvs_hw_gpu, key), min, max, required                                 \
    }
static const struct kvs_figure_row gpu_rows[] = {
    GPU(memory_bytes, 1, 1e15, true),
    GPU(peak_flop_per_s, 1e6, 1e18, true),
    GPU(peak_fp8_flop_per_s, 1e6, 1e18, false),
    GPU(mem_bytes_per_s, 1e6, 1e15, true),
    GPU(usable_frac, 0.01, 1, true),
    GPU(gemm_eff, 0.001, 1.5, true),
    GPU(gemm_half_rows, 0, 1e6, true),
    GPU(mem_eff, 0.001, 1.5, true),
    GPU(launch_s, 0, 1, true),
    GPU(moe_eff, 0.001, 1.5, true),
    GPU(attn_eff, 0.001, 1.5, true),
    GPU(attn_half_rows, 0, 1e6, true),
    GPU(attn_tail_tok, 0, 1e6, true),
    GPU(allreduce_bytes_per_s, 1, 1e15, false),
    GPU(allreduce_latency_s, 0, 1, false),
};

static enum kvs_code read_gpu(struct kvs_json node, struct kvs_hw *hw, struct kvs_err *err)
{
    const char *keys[N(gpu_rows)];
    enum kvs_code code;
    if (json_is_null(node.v))
        return KVS_OK; /* a machine without one */
    if ((code = kvs_json_object(node, err)))
        return code;
    for (unsigned i = 0; i < N(gpu_rows); i++)
        keys[i] = gpu_rows[i].key;
    if ((code = kvs_json_only(node, keys, N(keys), err)))
        return code;
    hw->gpu = calloc(1, sizeof *hw->gpu);
    if (!hw->gpu)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for a hardware profile");
    if ((code = kvs_figures_json(node, gpu_rows, N(gpu_rows), hw->gpu, err)))
        return code;
    return KVS_OK;
}

/* --- links and tiers ------------------------------------------------------------------------- */

struct link_file {
    const char *name;
    int scope;
    struct kvs_json read, write, latency, descriptor;
};

static const struct kvs_opt link_table[] = {
    {"name", KVS_OPT_STR, offsetof(struct link_file, name), NULL, 0, 0, "name, for routes", NULL,
     true, 0},
    {"scope", KVS_OPT_ENUM, offsetof(struct link_file, scope), NULL, 0, 0,
     "one a GPU, one a host, one for all", scope_names, true, 0},
    {"read_bytes_per_s", KVS_OPT_NODE, offsetof(struct link_file, read), NULL, 0, 0,
     "rate towards the GPU", NULL, false, 0},
    {"write_bytes_per_s", KVS_OPT_NODE, offsetof(struct link_file, write), NULL, 0, 0,
     "rate away from it", NULL, false, 0},
    {"latency_s", KVS_OPT_NODE, offsetof(struct link_file, latency), NULL, 0, 0, "once a load",
     NULL, false, 0},
    {"descriptor_s", KVS_OPT_NODE, offsetof(struct link_file, descriptor), NULL, 0, 0,
     "fixed cost a descriptor", NULL, false, 0},
};

static const struct kvs_figure_row link_rows[] = {
    {"read_bytes_per_s", offsetof(struct kvs_hw_link, read_bytes_per_s), 1e6, 1e15, true},
    {"write_bytes_per_s", offsetof(struct kvs_hw_link, write_bytes_per_s), 1e6, 1e15, true},
    {"latency_s", offsetof(struct kvs_hw_link, latency_s), 0, 3600, true},
    {"descriptor_s", offsetof(struct kvs_hw_link, descriptor_s), 0, 3600, true},
};

static int find_link(const struct kvs_hw *hw, const char *name)
{
    for (uint32_t i = 0; i < hw->n_link; i++)
        if (strcmp(hw->link[i].name, name) == 0)
            return (int)i;
    return -1;
}

static enum kvs_code read_links(struct kvs_json array, struct kvs_hw *hw, struct kvs_err *err)
{
    enum kvs_code code = kvs_json_array(array, err);
    size_t n = code ? 0 : kvs_json_size(array);
    if (n > KVS_MAX_LINK)
        return kvs_json_fail(array, err, KVS_ERR_RANGE, "found %zu links, want at most %d", n,
                             KVS_MAX_LINK);
    for (size_t i = 0; i < n && !code; i++) {
        struct link_file f;
        struct kvs_json node = kvs_json_at(array, i);
        struct kvs_hw_link *link = &hw->link[i];
        if ((code = kvs_json_object(node, err)) ||
            (code = kvs_opt_json(link_table, N(link_table), node, &f, err)) ||
            (code = kvs_figures_json(node, link_rows, N(link_rows), link, err)))
            return code;
        if (find_link(hw, f.name) >= 0)
            return kvs_json_fail(kvs_json_get(node, "name"), err, KVS_ERR_PARSE,
                                 "\"%s\" is the name of an earlier link", f.name);
        link->name = f.name;
        link->scope = (enum kvs_scope)f.scope;
        hw->n_link++;
    }
    return code;
}

struct tier_file {
    const char *name;
    int scope;
    struct kvs_json capacity, route;
};

static const struct kvs_opt tier_table[] = {
    {"name", KVS_OPT_STR, offsetof(struct tier_file, name), NULL, 0, 0, "name, for workloads", NULL,
     true, 0},
    {"scope", KVS_OPT_ENUM, offsetof(struct tier_file, scope), NULL, 0, 0,
     "one a GPU, one a host, one for all", scope_names, true, 0},
    {"capacity_bytes", KVS_OPT_NODE, offsetof(struct tier_file, capacity), NULL, 0, 0,
     "of one such tier", NULL, false, 0},
    {"route", KVS_OPT_NODE, offsetof(struct tier_file, route), NULL, 0, 0,
     "links to the GPU, storage side first", NULL, true, 0},
};

static const struct kvs_figure_row capacity_row = {
    "capacity_bytes", offsetof(struct kvs_hw_tier, capacity), 0, 1e18, false};

static enum kvs_code read_hop(struct kvs_json node, const struct kvs_hw *hw, uint32_t *hop,
                              struct kvs_err *err)
{
    const char *name, *names[KVS_MAX_LINK];
    enum kvs_code code = kvs_json_str(node, &name, err);
    if (code)
        return code;
    int found = find_link(hw, name);
    if (found < 0) {
        for (uint32_t i = 0; i < hw->n_link; i++)
            names[i] = hw->link[i].name;
        const char *near = kvs_nearest(name, names, hw->n_link);
        return kvs_json_fail(node, err, KVS_ERR_ARG, "no link \"%s\" in this profile%s%s%s", name,
                             near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
    for (unsigned i = 0; i < N(link_rows); i++) {
        const struct kvs_figure *figure =
            (const struct kvs_figure *)((const char *)&hw->link[found] + link_rows[i].offset);
        if (!figure->known)
            return kvs_json_fail(node, err, KVS_ERR_ARG,
                                 "link \"%s\" has no known %s, so no tier can lie behind it", name,
                                 link_rows[i].key);
    }
    *hop = (uint32_t)found;
    return KVS_OK;
}

static enum kvs_code read_tier(struct kvs_json node, const struct kvs_hw *hw,
                               struct kvs_hw_tier *tier, struct kvs_err *err)
{
    struct tier_file f;
    enum kvs_code code;
    if ((code = kvs_json_object(node, err)) ||
        (code = kvs_opt_json(tier_table, N(tier_table), node, &f, err)) ||
        (code = kvs_figure_json(f.capacity, &capacity_row, &tier->capacity, err)) ||
        (code = kvs_json_array(f.route, err)))
        return code;
    if (kvs_hw_tier(hw, f.name))
        return kvs_json_fail(kvs_json_get(node, "name"), err, KVS_ERR_PARSE,
                             "\"%s\" is the name of an earlier tier", f.name);
    size_t n_hop = kvs_json_size(f.route);
    if (n_hop < 1 || n_hop > KVS_MAX_HOP)
        return kvs_json_fail(f.route, err, KVS_ERR_RANGE, "found %zu links, want 1 to %d", n_hop,
                             KVS_MAX_HOP);
    for (size_t i = 0; i < n_hop; i++)
        if ((code = read_hop(kvs_json_at(f.route, i), hw, &tier->hop[i], err)))
            return code;
    tier->n_hop = (uint32_t)n_hop;
    tier->name = f.name;
    tier->scope = (enum kvs_scope)f.scope;
    tier->capacity_bytes = (uint64_t)tier->capacity.value;
    return KVS_OK;
}

static enum kvs_code read_tiers(struct kvs_json array, struct kvs_hw *hw, struct kvs_err *err)
{
    enum kvs_code code = kvs_json_array(array, err);
    size_t n = code ? 0 : kvs_json_size(array);
    if (n > KVS_MAX_LINK)
        return kvs_json_fail(array, err, KVS_ERR_RANGE, "found %zu tiers, want at most %d", n,
                             KVS_MAX_LINK);
    for (size_t i = 0; i < n && !code; i++) {
        code = read_tier(kvs_json_at(array, i), hw, &hw->tier[i], err);
        if (!code)
            hw->n_tier++;
    }
    return code;
}

/* --- serving --------------------------------------------------------------------------------- */

struct serving_file {
    const char *name;
    struct kvs_strs of;
    uint64_t chunk_tok;
    struct kvs_json request, tok, step, cache_request, cache_tok;
};

static const struct kvs_opt serving_table[] = {
    {"name", KVS_OPT_STR, offsetof(struct serving_file, name), NULL, 0, 0, "name", NULL, true, 0},
    {"of", KVS_OPT_LIST, offsetof(struct serving_file, of), NULL, 0, 0,
     "publications that measured with it", NULL, false, 0},
    {"chunk_tok", KVS_OPT_TOK, offsetof(struct serving_file, chunk_tok), NULL, 1, 1e9,
     "prefill chunk", NULL, true, 0},
    {"request_s", KVS_OPT_NODE, offsetof(struct serving_file, request), NULL, 0, 0,
     "once a request", NULL, false, 0},
    {"tok_s", KVS_OPT_NODE, offsetof(struct serving_file, tok), NULL, 0, 0,
     "each token of the prompt", NULL, false, 0},
    {"step_s", KVS_OPT_NODE, offsetof(struct serving_file, step), NULL, 0, 0, "each forward pass",
     NULL, false, 0},
    {"cache_request_s", KVS_OPT_NODE, offsetof(struct serving_file, cache_request), NULL, 0, 0,
     "once a prompt, where there are tiers: the GPU waits", NULL, false, 0},
    {"cache_tok_s", KVS_OPT_NODE, offsetof(struct serving_file, cache_tok), NULL, 0, 0,
     "each of its tokens not in HBM, where there are tiers: the GPU waits", NULL, false, 0},
};

static const struct kvs_figure_row serving_rows[] = {
    {"request_s", offsetof(struct kvs_hw_serving, request_s), 0, 3600, true},
    {"tok_s", offsetof(struct kvs_hw_serving, tok_s), 0, 1, true},
    {"step_s", offsetof(struct kvs_hw_serving, step_s), 0, 3600, true},
    {"cache_request_s", offsetof(struct kvs_hw_serving, cache_request_s), 0, 3600, false},
    {"cache_tok_s", offsetof(struct kvs_hw_serving, cache_tok_s), 0, 1, false},
};

static enum kvs_code read_serving(struct kvs_json array, struct kvs_hw *hw, struct kvs_err *err)
{
    if (!array.v)
        return KVS_OK;
    enum kvs_code code = kvs_json_array(array, err);
    size_t n = code ? 0 : kvs_json_size(array);
    if (n > KVS_MAX_SERVING)
        return kvs_json_fail(array, err, KVS_ERR_RANGE, "found %zu entries, want at most %d", n,
                             KVS_MAX_SERVING);
    for (size_t i = 0; i < n && !code; i++) {
        struct serving_file f;
        struct kvs_json node = kvs_json_at(array, i);
        struct kvs_hw_serving *serving = &hw->serving[i];
        if ((code = kvs_json_object(node, err)) ||
            (code = kvs_opt_json(serving_table, N(serving_table), node, &f, err)) ||
            (code = kvs_figures_json(node, serving_rows, N(serving_rows), serving, err)))
            return code;
        serving->name = f.name;
        serving->of = f.of;
        serving->chunk_tok = f.chunk_tok;
        hw->n_serving++;
    }
    return code;
}

/* --- layers as measured ---------------------------------------------------------------------- */

static enum kvs_code read_compute(struct kvs_json array, struct kvs_hw *hw, struct kvs_err *err)
{
    if (!array.v)
        return KVS_OK;
    enum kvs_code code = kvs_json_array(array, err);
    size_t n = code ? 0 : kvs_json_size(array);
    if (n > KVS_MAX_MEASURED)
        return kvs_json_fail(array, err, KVS_ERR_RANGE, "found %zu entries, want at most %d", n,
                             KVS_MAX_MEASURED);
    for (size_t i = 0; i < n && !code; i++) {
        code = kvs_measured_json(kvs_json_at(array, i), &hw->measured[i], err);
        hw->n_measured += !code;
    }
    return code;
}

/* --- the profile ----------------------------------------------------------------------------- */

struct file {
    const char *schema, *version, *name, *about;
    uint64_t gpus_per_host;
    struct kvs_strs aliases, fitted_on;
    struct kvs_json gpu, compute, links, tiers, serving;
    struct kvs_json kvprobe, run, env, topology, points, fits; /* kvprobe's record; not read here */
};

#define AT(field) offsetof(struct file, field)
#define RECORD(key)                                                                                \
    {                                                                                              \
#key, KVS_OPT_NODE, AT(key), NULL, 0, 0, "kvprobe's record", NULL, false, 0                \
    }
static const struct kvs_opt profile_table[] = {
    {"schema", KVS_OPT_STR, AT(schema), NULL, 0, 0, "kvsim.profile", NULL, true, 0},
    {"schema_version", KVS_OPT_STR, AT(version), NULL, 0, 0, "1.x.y", NULL, true, 0},
    {"name", KVS_OPT_STR, AT(name), NULL, 0, 0, "name", NULL, true, 0},
    {"about", KVS_OPT_STR, AT(about), NULL, 0, 0, "what machine this is", NULL, false, 0},
    {"aliases", KVS_OPT_LIST, AT(aliases), NULL, 0, 0, "other names of the GPU", NULL, false, 0},
    {"gpus_per_host", KVS_OPT_U64, AT(gpus_per_host), NULL, 0, 1024, "GPUs of one host", NULL, true,
     0},
    {"fitted_on", KVS_OPT_LIST, AT(fitted_on), NULL, 0, 0, "published rows used in fitting", NULL,
     false, 0},
    {"gpu", KVS_OPT_NODE, AT(gpu), NULL, 0, 0, "operator figures; null: no GPU", NULL, true, 0},
    {"compute", KVS_OPT_NODE, AT(compute), NULL, 0, 0, "layers as they were measured", NULL, false,
     0},
    {"links", KVS_OPT_NODE, AT(links), NULL, 0, 0, "what bytes travel through", NULL, true, 0},
    {"tiers", KVS_OPT_NODE, AT(tiers), NULL, 0, 0, "places that hold blocks", NULL, true, 0},
    {"serving", KVS_OPT_NODE, AT(serving), NULL, 0, 0, "what serving systems add", NULL, false, 0},
    RECORD(kvprobe),
    RECORD(run),
    RECORD(env),
    RECORD(topology),
    RECORD(points),
    RECORD(fits),
};

static enum kvs_code read_profile(struct kvs_json root, struct kvs_hw *hw, struct kvs_err *err)
{
    struct file f;
    enum kvs_code code = kvs_opt_json(profile_table, N(profile_table), root, &f, err);
    if (code)
        return code;
    if (strcmp(f.schema, "kvsim.profile") != 0)
        return kvs_json_fail(kvs_json_get(root, "schema"), err, KVS_ERR_PARSE,
                             "found \"%s\", want \"kvsim.profile\"", f.schema);
    if (strncmp(f.version, "1.", 2) != 0)
        return kvs_json_fail(kvs_json_get(root, "schema_version"), err, KVS_ERR_PARSE,
                             "found \"%s\", this kvsim reads 1.x", f.version);
    hw->name = f.name;
    hw->gpus_per_host = (uint32_t)f.gpus_per_host;
    hw->aliases = f.aliases;
    hw->fitted_on = f.fitted_on;
    if ((code = read_gpu(f.gpu, hw, err)) || (code = read_compute(f.compute, hw, err)) ||
        (code = read_links(f.links, hw, err)) || (code = read_tiers(f.tiers, hw, err)))
        return code;
    return read_serving(f.serving, hw, err);
}

enum kvs_code kvs_hw_from(struct kvs_doc *doc, struct kvs_hw **hw, struct kvs_err *err)
{
    struct kvs_hw *h = calloc(1, sizeof *h);
    *hw = NULL;
    if (!h) {
        kvs_doc_free(doc);
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for a hardware profile");
    }
    h->doc = doc;
    enum kvs_code code = read_profile(kvs_doc_root(doc), h, err);
    if (code) {
        kvs_hw_free(h);
        return code;
    }
    *hw = h;
    return KVS_OK;
}

enum kvs_code kvs_hw_open(const char *name_or_file, struct kvs_hw **hw, struct kvs_err *err)
{
    char *path = NULL;
    struct kvs_doc *doc = NULL;
    *hw = NULL;
    enum kvs_code code = kvs_data_find("hardware", "configs/hardware", name_or_file, &path, err);
    if (!code)
        code = kvs_doc_open(path, &doc, err);
    if (!code)
        code = kvs_hw_from(doc, hw, err);
    free(path);
    return code;
}

void kvs_hw_free(struct kvs_hw *hw)
{
    if (!hw)
        return;
    free(hw->gpu);
    kvs_doc_free(hw->doc);
    free(hw);
}

const struct kvs_hw_link *kvs_hw_link(const struct kvs_hw *hw, const char *name)
{
    int i = find_link(hw, name);
    return i < 0 ? NULL : &hw->link[i];
}

const struct kvs_hw_tier *kvs_hw_tier(const struct kvs_hw *hw, const char *name)
{
    for (uint32_t i = 0; i < hw->n_tier; i++)
        if (strcmp(hw->tier[i].name, name) == 0)
            return &hw->tier[i];
    return NULL;
}

/* --- time on a link -------------------------------------------------------------------------- */

static double rate(const struct kvs_hw_link *link, bool write)
{
    return write ? link->write_bytes_per_s.value : link->read_bytes_per_s.value;
}

double kvs_link_s(const struct kvs_hw_link *link, bool write, double n_bytes, double n_descriptor)
{
    return n_descriptor * link->descriptor_s.value + n_bytes / rate(link, write);
}
