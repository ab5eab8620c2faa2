#include "crossover.h"

#include "plan/regret.h"
#include "plan/tables.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_TOK 128
#define MIN_CONTEXT_TOK 512.0
#define CONTEXT_STEP (1.0 / 8) /* octaves */
#define MIN_BYTES_PER_S 0.125e9
#define BANDWIDTH_STEP (1.0 / 6)
#define MAX_PIECE (131072 / BLOCK_TOK + 2)
#define MAX_POLICY 32
#define EQUAL_FRAC 0.02 /* policies that come so near to the fastest are as good */

struct map {
    struct kvs_tables *tables;
    struct kvs_tables_inst *inst;
    struct kvs_plan_scratch *scratch;
    struct kvs_hw_link link; /* its read rate is the grid's */
    struct kvs_table_route route;
    struct kvs_piece piece[MAX_PIECE];
    uint32_t n_policy;
    const struct kvs_planner_ops *policy[MAX_POLICY];
    uint32_t place[MAX_POLICY]; /* in the registry */
    uint32_t recompute, load;   /* of them */
    struct kvs_plan_error error;
};

static bool is_compared(const struct kvs_workload *workload, const char *name)
{
    for (uint32_t i = 0; i < workload->n_policy; i++)
        if (strcmp(workload->policy[i].name, name) == 0)
            return true;
    return false;
}

/* Policies whose TTFT stands in a column of its own, in the registry's order. */
static void list_policies(struct map *map, const struct kvs_workload *workload)
{
    for (uint32_t i = 0; kvs_planner_list[i] && map->n_policy < MAX_POLICY; i++) {
        const char *name = kvs_planner_list[i]->name;
        const bool is_end = strcmp(name, "recompute") == 0 || strcmp(name, "load") == 0;
        const bool left_out = strcmp(name, "best") == 0 || strcmp(name, "exact") == 0;
        const bool stands_in = strcmp(name, "optimal") == 0 && is_compared(workload, "exact");
        if (!is_end && !stands_in && (left_out || !is_compared(workload, name)))
            continue;
        if (is_end)
            *(strcmp(name, "load") == 0 ? &map->load : &map->recompute) = map->n_policy;
        map->place[map->n_policy] = i;
        map->policy[map->n_policy++] = kvs_planner_list[i];
    }
}

static enum kvs_code new_tables(const struct kvs_sim_config *config,
                                const struct kvs_table_route *route, struct kvs_tables **tables,
                                struct kvs_tables_inst **inst, struct kvs_err *err)
{
    static const struct kvs_table_level raw = {.name = "raw", .k_ratio = 1, .v_ratio = 1};
    const struct kvs_tables_config tc = {
        .model = config->model,
        .cost = config->cost,
        .n_route = 1,
        .route = route,
        .chunk_tok = config->chunk_tok,
        .n_frac = KVS_MAX_FRAC,
        .descriptors = config->model->mla.kv_lora ? 1 : 2, /* K and V apart; a latent is one */
        .n_level = 1,
        .level = &raw,
    };
    enum kvs_code code = kvs_tables_new(&tc, tables, err);
    if (code)
        return code;
    *inst = kvs_tables_inst_new(*tables);
    return *inst ? KVS_OK : kvs_nomem(err);
}

/* The route of a tier as one replica sees it: it spreads its loads over its GPUs' own links. */
static struct kvs_table_route tier_route(const struct kvs_sim_config *config, const char *name)
{
    const struct kvs_hw *hw = config->hw;
    struct kvs_table_route route = {0};
    uint32_t tier_i = 0;
    while (tier_i < hw->n_tier && strcmp(hw->tier[tier_i].name, name) != 0)
        tier_i++;
    assert(tier_i < hw->n_tier);
    for (uint32_t i = 0; i < hw->tier[tier_i].n_hop; i++) {
        const struct kvs_hw_link *link = &hw->link[hw->tier[tier_i].hop[i]];
        route.hop[route.n_hop++] =
            (struct kvs_table_hop){link, link->scope == KVS_SCOPE_GPU ? 1.0 / config->tp : 1.0};
    }
    return route;
}

/* The error bars of the GPU, and for the map's link those of the least certain tier. */
static struct kvs_plan_error map_error(const struct kvs_sim_config *config)
{
    struct kvs_plan_error error = {0}, one;
    for (uint32_t t = 0; t < config->n_tier || t == 0; t++) {
        const struct kvs_table_route route =
            config->n_tier ? tier_route(config, config->tier[t].name) : (struct kvs_table_route){0};
        kvs_plan_error_of(config->hw, &route, 1, NULL, 0, &one);
        error.compute = one.compute;
        error.route[0] = fmax(error.route[0], one.route[0]);
    }
    return error;
}

static enum kvs_code begin_map(struct map *map, const struct kvs_workload *workload,
                               struct kvs_err *err)
{
    list_policies(map, workload);
    map->link = (struct kvs_hw_link){.name = "load"};
    map->link.read_bytes_per_s.value = MIN_BYTES_PER_S;
    map->route = (struct kvs_table_route){.n_hop = 1, .hop = {{&map->link, 1}}};
    map->error = map_error(&workload->sim);
    map->scratch = kvs_plan_scratch_new();
    if (!map->scratch)
        return kvs_nomem(err);
    return new_tables(&workload->sim, &map->route, &map->tables, &map->inst, err);
}

static void end_map(struct map *map)
{
    kvs_tables_inst_free(map->inst);
    kvs_tables_free(map->tables);
    kvs_plan_scratch_free(map->scratch);
}

/* The cached context in blocks on route 0, then the new tokens. */
static uint32_t make_prompt(struct kvs_piece *piece, uint32_t context_tok, uint32_t new_tok,
                            uint32_t block_tok)
{
    uint32_t n = 0;
    for (uint32_t at = 0; at < context_tok; at += piece[n++].n_tok) {
        uint32_t left = context_tok - at;
        piece[n] = (struct kvs_piece){.n_tok = left < block_tok ? left : block_tok};
    }
    piece[n++] = (struct kvs_piece){.n_tok = new_tok, .where = KVS_AT_NONE};
    return n;
}

static void map_header(const struct map *map, struct kvs_csv *csv)
{
    static const char *const columns[] = {
        "context_tok",         "context_lo_tok",      "context_hi_tok", "load_bytes_per_s",
        "load_lo_bytes_per_s", "load_hi_bytes_per_s", "new_tok",
    };
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        kvs_csv_str(csv, columns[i]);
    kvs_csv_str(csv, "fastest");
    kvs_csv_str(csv, "choice");
    kvs_csv_str(csv, "choice_i");
    kvs_csv_str(csv, "gain_ratio");
    kvs_csv_str(csv, "sure");
    for (uint32_t i = 0; i < map->n_policy; i++)
        kvs_csv_str2(csv, map->policy[i]->name, "_ttft_s");
    kvs_csv_row(csv);
}

/* A grid line and its cell's edges, which lie half a step away in the logarithm. */
static void put_cell(struct kvs_csv *csv, double value, double step)
{
    kvs_csv_double(csv, value);
    kvs_csv_double(csv, value * exp2(-step / 2));
    kvs_csv_double(csv, value * exp2(step / 2));
}

static bool is_named(const struct kvs_planner_ops *policy, const char *name)
{
    return strcmp(policy->name, name) == 0;
}

static void put_winner(const struct map *map, struct kvs_csv *csv, const int64_t *ttft_ns)
{
    uint32_t fastest = 0, choice = 0;
    int64_t ends_ns = INT64_MAX;
    for (uint32_t i = 0; i < map->n_policy; i++) {
        bool is_end = is_named(map->policy[i], "recompute") || is_named(map->policy[i], "load");
        if (is_end && ttft_ns[i] < ends_ns)
            ends_ns = ttft_ns[i];
        if (ttft_ns[i] < ttft_ns[fastest])
            fastest = i;
    }
    while ((double)ttft_ns[choice] > (double)ttft_ns[fastest] * (1 + EQUAL_FRAC))
        choice++;
    kvs_csv_str(csv, map->policy[fastest]->name);
    kvs_csv_str(csv, map->policy[choice]->name);
    kvs_csv_u64(csv, map->place[choice]);
    kvs_csv_double(csv, (double)ends_ns / (double)ttft_ns[fastest]);
}

/* Whether the same one of recomputing and loading all is faster anywhere in the error bars. */
static bool is_sure(const struct map *map, struct kvs_plan_problem *problem,
                    const struct kvs_plan plan[MAX_POLICY], const int64_t *ttft_ns)
{
    const uint32_t faster =
        ttft_ns[map->load] < ttft_ns[map->recompute] ? map->load : map->recompute;
    struct kvs_regret regret;
    problem->error = map->error;
    kvs_regret(problem, &plan[faster], &plan[map->load], 1, &regret);
    return regret.corner_ns <= 1;
}

static enum kvs_code map_point(struct map *map, struct kvs_csv *csv, uint32_t context_tok,
                               double bytes_per_s, uint32_t new_tok, struct kvs_err *err)
{
    struct kvs_plan_problem problem;
    struct kvs_plan plan[MAX_POLICY];
    struct kvs_plan_eval eval;
    int64_t ttft_ns[MAX_POLICY] = {0}, bound_ns;
    map->link.read_bytes_per_s.value = bytes_per_s;
    assert(map->n_policy > 0);
    const uint32_t n_piece = make_prompt(map->piece, context_tok, new_tok, BLOCK_TOK);
    kvs_tables_build(map->tables, map->inst, map->piece, n_piece, &problem);
    for (uint32_t i = 0; i < map->n_policy; i++) {
        enum kvs_code code =
            map->policy[i]->plan(&problem, map->scratch, &plan[i], &eval, &bound_ns, err);
        if (code)
            return code;
        ttft_ns[i] = eval.end_ns;
    }
    put_cell(csv, context_tok, CONTEXT_STEP);
    put_cell(csv, bytes_per_s, BANDWIDTH_STEP);
    kvs_csv_u64(csv, new_tok);
    put_winner(map, csv, ttft_ns);
    kvs_csv_u64(csv, is_sure(map, &problem, plan, ttft_ns));
    for (uint32_t i = 0; i < map->n_policy; i++)
        kvs_csv_double(csv, (double)ttft_ns[i] * 1e-9);
    kvs_csv_row(csv);
    return KVS_OK;
}

enum kvs_code kvs_crossover_csv(struct kvs_csv *csv, const struct kvs_workload *workload,
                                uint32_t new_tok, struct kvs_err *err)
{
    struct map *map = calloc(1, sizeof *map);
    if (!map)
        return kvs_nomem(err);
    enum kvs_code code = begin_map(map, workload, err);
    if (!code)
        map_header(map, csv);
    for (int c = 0; c < KVS_CROSSOVER_CONTEXTS && !code; c++)
        for (int b = 0; b < KVS_CROSSOVER_BANDWIDTHS && !code; b++)
            code = map_point(map, csv, (uint32_t)lround(MIN_CONTEXT_TOK * exp2(c * CONTEXT_STEP)),
                             MIN_BYTES_PER_S * exp2(b * BANDWIDTH_STEP), new_tok, err);
    end_map(map);
    free(map);
    return code;
}

static enum kvs_code tier_row(struct kvs_csv *csv, const struct kvs_sim_config *config,
                              const char *name, uint32_t n_tok, uint32_t block_tok,
                              struct kvs_err *err)
{
    const struct kvs_table_route route = tier_route(config, name);
    struct kvs_tables *tables = NULL;
    struct kvs_tables_inst *inst = NULL;
    struct kvs_plan_problem problem;
    struct kvs_piece *piece = calloc(n_tok / block_tok + 2, sizeof *piece);
    enum kvs_code code = piece ? new_tables(config, &route, &tables, &inst, err) : kvs_nomem(err);
    if (!code && piece) {
        kvs_tables_build(tables, inst, piece, make_prompt(piece, n_tok, 1, block_tok), &problem);
        double bytes = 0, s = 0;
        for (uint32_t l = 0; l < problem.n_layer; l++) {
            bytes += kvs_tables_load_bytes(inst, 0, kvs_cost_class(config->cost, l), 0, 0);
            s += (double)problem.layer[l]->io_ns[0][0] * 1e-9;
        }
        kvs_csv_str(csv, name);
        kvs_csv_double(csv, bytes / s);
        kvs_csv_row(csv);
    }
    kvs_tables_inst_free(inst);
    kvs_tables_free(tables);
    free(piece);
    return code;
}

enum kvs_code kvs_crossover_tiers_csv(struct kvs_csv *csv, const struct kvs_workload *workload,
                                      uint32_t n_tok, uint32_t block_tok, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    kvs_csv_str(csv, "tier");
    kvs_csv_str(csv, "load_bytes_per_s");
    kvs_csv_row(csv);
    for (uint32_t i = 0; i < workload->sim.n_tier && !code; i++)
        code = tier_row(csv, &workload->sim, workload->sim.tier[i].name, n_tok, block_tok, err);
    return code;
}

/* --- one tier's threshold ----------------------------------------------------------------------
 */

#define MOST_TOK 131072

/* Whether loading n_tok tokens is as fast as computing them. */
static bool loads_sooner(struct kvs_tables *tables, struct kvs_tables_inst *inst,
                         struct kvs_piece *piece, uint32_t n_tok, uint32_t step_tok)
{
    struct kvs_plan_problem problem;
    struct kvs_plan plan;
    struct kvs_plan_eval load, recompute;
    memset(&plan, 0, sizeof plan);
    kvs_tables_build(tables, inst, piece, make_prompt(piece, n_tok, step_tok, step_tok), &problem);
    bool fine = kvs_plan_eval(&problem, &plan, NULL, &load);
    memset(plan.frac_i, (int)problem.n_frac - 1, problem.n_layer);
    fine = kvs_plan_eval(&problem, &plan, NULL, &recompute) && fine;
    assert(fine);
    return load.end_ns <= recompute.end_ns;
}

enum kvs_code kvs_crossover_threshold(const struct kvs_workload *workload, uint32_t tier_i,
                                      uint32_t step_tok, uint32_t *n_tok, struct kvs_err *err)
{
    const struct kvs_table_route route =
        tier_route(&workload->sim, workload->sim.tier[tier_i].name);
    struct kvs_tables *tables = NULL;
    struct kvs_tables_inst *inst = NULL;
    struct kvs_piece *piece = calloc(MOST_TOK / step_tok + 2, sizeof *piece);
    uint32_t low = 0, high = step_tok; /* computing wins at low, loading at high */
    *n_tok = 0;
    if (!piece)
        return kvs_nomem(err);
    enum kvs_code code = new_tables(&workload->sim, &route, &tables, &inst, err);
    while (!code && high <= MOST_TOK && !loads_sooner(tables, inst, piece, high, step_tok)) {
        low = high;
        high *= 2;
    }
    while (!code && high <= MOST_TOK && high - low > step_tok) {
        const uint32_t middle = low + (high - low) / 2 / step_tok * step_tok;
        *(loads_sooner(tables, inst, piece, middle, step_tok) ? &high : &low) = middle;
    }
    if (!code && high <= MOST_TOK)
        *n_tok = high;
    kvs_tables_inst_free(inst);
    kvs_tables_free(tables);
    free(piece);
    return code;
}
