#include "share.h"

#include "base/units.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kvs_code kvs_tables_new(const struct kvs_tables_config *config, struct kvs_tables **out,
                             struct kvs_err *err)
{
    uint32_t n_layer = kvs_model_n_layer(config->model), n_class = kvs_cost_n_class(config->cost);
    struct kvs_tables *t;

    *out = NULL;
    if (n_layer < 1 || n_layer > KVS_MAX_LAYER)
        return kvs_fail(err, KVS_ERR_RANGE, "%u layers, want 1 to %d", n_layer, KVS_MAX_LAYER);
    if (config->n_route > KVS_MAX_TIER_ROUTE)
        return kvs_fail(err, KVS_ERR_RANGE, "%u routes, want at most %d", config->n_route,
                        KVS_MAX_TIER_ROUTE);
    if (config->n_frac < 2 || config->n_frac > KVS_MAX_FRAC)
        return kvs_fail(err, KVS_ERR_RANGE, "%u recompute fractions, want 2 to %d", config->n_frac,
                        KVS_MAX_FRAC);
    if (config->n_level < 1 || config->n_level > KVS_MAX_LEVEL)
        return kvs_fail(err, KVS_ERR_RANGE, "%u levels, want 1 to %d", config->n_level,
                        KVS_MAX_LEVEL);
    if (config->repair.n >= config->n_frac)
        return kvs_fail(err, KVS_ERR_RANGE, "%u shares of repair, want fewer than the %u fractions",
                        config->repair.n, config->n_frac);
    if (config->chunk_tok < 1)
        return kvs_fail(err, KVS_ERR_RANGE, "a prefill chunk of 0 tokens, want at least 1");
    t = calloc(1, sizeof *t);
    if (!t)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for plan tables");
    t->config = *config;
    t->n_layer = n_layer;
    t->n_class = n_class;
    t->n_menu = config->as_held ? 1 : config->n_level;
    t->class_n = calloc(n_class, sizeof *t->class_n);
    t->raw_bytes_per_tok = calloc(n_class, sizeof *t->raw_bytes_per_tok);
    t->window_tok = calloc(n_class, sizeof *t->window_tok);
    if (!t->class_n || !t->raw_bytes_per_tok || !t->window_tok) {
        kvs_tables_free(t);
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for plan tables");
    }
    for (uint32_t l = 0; l < n_layer; l++) {
        uint32_t c = t->class_of[l] = kvs_cost_class(config->cost, l);

        t->class_n[c]++;
        t->raw_bytes_per_tok[c] = kvs_model_kv_bytes_per_tok(config->model, l);
        t->window_tok[c] = kvs_model_window_tok(config->model, l);
    }
    for (uint32_t i = 0; i < config->n_frac; i++)
        t->frac[i] = i / (double)(config->n_frac - 1);
    for (uint32_t q = 0; q < config->n_level; q++) {
        t->ratio[q] = (config->level[q].k_ratio + config->level[q].v_ratio) / 2;
        t->by_layer |= config->level[q].distortion != NULL;
    }
    for (uint32_t k = 0; k < config->n_route; k++)
        for (uint32_t h = 0; h < config->route[k].n_hop; h++)
            t->latency_s[k] += config->route[k].hop[h].link->latency_s.value;
    *out = t;
    return KVS_OK;
}

void kvs_tables_free(struct kvs_tables *tables)
{
    if (!tables)
        return;
    free(tables->class_n);
    free(tables->raw_bytes_per_tok);
    free(tables->window_tok);
    free(tables);
}

/* Pipes that a class has tables for. */
static size_t n_pipe(const struct kvs_tables *t)
{
    return t->config.n_route + (t->config.n_route > 1 ? KVS_MAX_SHARED : 0);
}

/* Memory of one class, from where its tables lie. */
static void place_class(const struct kvs_tables *t, struct kvs_tables_class *class, int64_t *cell,
                        double *bytes)
{
    size_t n_frac = t->config.n_frac, n_cell = n_frac * t->n_menu;

    for (uint32_t k = 0; k < n_pipe(t); k++) {
        class->io_ns[k] = cell;
        cell += n_cell;
    }
    for (uint32_t k = 0; k < t->config.n_route; k++) {
        class->load_bytes[k] = bytes;
        bytes += n_cell;
    }
    class->lossy_frac = bytes;
    class->cost.decode_ns = class->decode_ns = cell;
    class->cost.post_ns = class->post_ns = cell + n_cell;
    class->cost.distortion = class->distortion = cell + 2 * n_cell;
    class->cost.gpu_decode_ns = class->gpu_decode_ns = cell + 3 * n_cell;
    cell += 4 * n_cell;
    class->cost.full_ns = class->full_ns = cell;
    class->cost.kv_ns = class->kv_ns = cell + n_frac;
    class->cost.wfull_ns = class->wfull_ns = cell + 2 * n_frac;
    class->cost.wkv_ns = class->wkv_ns = cell + 3 * n_frac;
}

struct kvs_tables_inst *kvs_tables_inst_new(const struct kvs_tables *t)
{
    size_t n_frac = t->config.n_frac, n_level = t->config.n_level, n_route = t->config.n_route;
    size_t n_cell = n_frac * t->n_menu;
    size_t class_cells = (n_pipe(t) + 4) * n_cell + 4 * n_frac;
    size_t class_bytes = (n_route + n_level) * n_cell;
    size_t n_state = t->config.state_at ? n_pipe(t) * n_frac : 0;
    struct kvs_tables_inst *inst =
        calloc(1, sizeof *inst + t->n_class * sizeof(struct kvs_tables_class));

    if (!inst)
        return NULL;
    inst->tables = t;
    inst->cells = calloc(t->n_class * class_cells + n_cell + n_state, sizeof *inst->cells);
    inst->bytes = calloc(t->n_class * class_bytes + n_state, sizeof *inst->bytes);
    if (t->by_layer) {
        inst->layer_cost = calloc(t->n_layer, sizeof *inst->layer_cost);
        inst->layer_distortion = calloc(t->n_layer * n_cell, sizeof *inst->layer_distortion);
    }
    if (!inst->cells || !inst->bytes ||
        (t->by_layer && (!inst->layer_cost || !inst->layer_distortion))) {
        kvs_tables_inst_free(inst);
        return NULL;
    }
    inst->zero = inst->cells + t->n_class * class_cells;
    for (uint32_t k = 0; k < n_pipe(t) && n_state; k++)
        inst->state_ns[k] = inst->zero + n_cell + k * n_frac;
    for (uint32_t k = 0; k < n_route && n_state; k++)
        inst->state_bytes[k] = inst->bytes + t->n_class * class_bytes + k * n_frac;
    for (uint32_t c = 0; c < t->n_class; c++)
        place_class(t, &inst->class[c], inst -> cells + c * class_cells,
                    inst -> bytes + c * class_bytes);
    for (uint32_t l = 0; l < t->n_layer; l++)
        inst->layer[l] = t->by_layer ? &inst->layer_cost[l] : &inst->class[t->class_of[l]].cost;
    return inst;
}

void kvs_tables_inst_free(struct kvs_tables_inst *inst)
{
    if (!inst)
        return;
    free(inst->cells); /* zero is part of it */
    free(inst->bytes);
    free(inst->layer_cost);
    free(inst->layer_distortion);
    free(inst);
}

/* n_tok tokens whose positions sum up to pos_sum, as one sequence that attends as much as they do.
 */
static double mean_context_tok(double pos_sum, double n_tok)
{
    return n_tok > 0 ? (pos_sum - n_tok * (n_tok - 1) / 2) / n_tok : 0;
}

/* Sum of n positions from pos on. */
static double sum_of_pos(double pos, double n_tok)
{
    return n_tok * pos + n_tok * (n_tok - 1) / 2;
}

static void count_pieces(struct kvs_tables_inst *inst, const struct kvs_piece *piece,
                         uint32_t n_piece)
{
    uint32_t n_route = inst->tables->config.n_route, n_level = inst->tables->config.n_level;
    uint32_t pos = 0, every = (1u << n_level) - 1;
    uint64_t total = 0;

    inst->absent_tok = inst->cached_tok = inst->menu_tok = 0;
    inst->moved = inst->carries = inst->stateless = false;
    inst->mixed = inst->tables->config.as_held;
    inst->first_absent_pos = UINT32_MAX;
    memset(inst->used, 0, sizeof inst->used);
    for (uint32_t p = 0; p < n_piece; p++) {
        int32_t where = piece[p].where;
        uint32_t n_tok = piece[p].n_tok;

        assert(where >= KVS_AT_NONE && where < (int32_t)n_route);
        total += n_tok;
        if (n_tok > 0 && where == KVS_AT_NONE) {
            inst->absent_tok += n_tok;
            if (inst->first_absent_pos == UINT32_MAX)
                inst->first_absent_pos = pos;
        } else if (n_tok > 0) {
            inst->cached_tok += n_tok;
            inst->moved |= piece[p].moved;
            inst->carries |= piece[p].loss > 0;
            inst->stateless |= where >= 0 && piece[p].stateless;
            inst->menu_tok += kvs_on_menu(&piece[p]) ? n_tok : 0;
        }
        if (n_tok > 0 && where >= 0) {
            inst->used[where] = true;
            inst->mixed |= piece[p].held && (piece[p].held & every) != every;
        }
        pos += n_tok;
    }
    assert(total < UINT32_MAX);
    (void)total;
}

/* Tokens of a moved piece that the menu's choice i repairs. */
static uint32_t repair_tok(const struct kvs_table_repair *repair, uint32_t i,
                           const struct kvs_piece *piece)
{
    if (!repair->n)
        return 0;
    if (!repair->first_tok)
        return (uint32_t)ceil(repair->frac[i] * piece->n_tok);
    if (i == 0)
        return 0;
    return piece->n_tok < repair->first_tok ? piece->n_tok : repair->first_tok;
}

/* Tokens repaired by choice i in moved pieces from the cut on, and what stays moved. */
static void find_repair(const struct kvs_table_repair *repair, uint32_t i,
                        const struct kvs_piece *piece, uint32_t n_piece, struct kvs_cut *cut)
{
    uint32_t pos = 0, n_tok = 0, moved_tok = 0;
    double pos_sum = 0;

    cut->has_first = true;
    for (uint32_t p = 0; p < n_piece; p++) {
        if (p >= cut->piece_i && piece[p].moved && piece[p].where != KVS_AT_NONE) {
            uint32_t n = repair_tok(repair, i, &piece[p]);

            cut->has_first &= n >= KVS_LEGO_TOK || n == piece[p].n_tok;
            pos_sum += sum_of_pos(pos, n);
            n_tok += n;
            moved_tok += piece[p].n_tok - n;
        }
        pos += piece[p].n_tok;
    }
    cut->repair_tok = n_tok;
    cut->repair_context_tok = mean_context_tok(pos_sum, n_tok);
    cut->moved_tok = moved_tok;
}

/* What the pieces carry that each cut keeps: those behind it, and those that are not on the menu.
 */
static void find_carried(struct kvs_tables_inst *inst, const struct kvs_piece *piece,
                         uint32_t n_piece)
{
    for (uint32_t i = 0; i < inst->tables->config.n_frac; i++) {
        double sum = 0;

        for (uint32_t p = 0; inst->carries && p < n_piece; p++)
            if (piece[p].where != KVS_AT_NONE &&
                (p >= inst->cut[i].piece_i || !kvs_on_menu(&piece[p])))
                sum += (double)piece[p].loss * piece[p].n_tok;
        inst->cut[i].carried = inst->carries ? sum / inst->cached_tok : 0;
    }
}

/*
 * Where each fraction cuts the row of blocks, and what the recomputed ones see. With moved pieces
 * the first fractions cut nothing and repair.
 */
static void find_cuts(struct kvs_tables_inst *inst, const struct kvs_piece *piece, uint32_t n_piece)
{
    const struct kvs_table_repair *repair = &inst->tables->config.repair;
    uint32_t n_repair = kvs_n_repair(inst);
    uint32_t last = inst->tables->config.n_frac - n_repair; /* that many steps of cutting */
    uint32_t p = 0, pos = 0, n_tok = 0;
    double pos_sum = 0;

    for (uint32_t i = 0; i < inst->tables->config.n_frac; i++) {
        uint32_t step = i < n_repair ? 0 : i - n_repair + 1;
        uint64_t want = (uint64_t)step * inst->menu_tok; /* of n_tok * last */
        struct kvs_cut *cut = &inst->cut[i];

        while ((uint64_t)n_tok * last < want) {
            assert(p < n_piece);
            if (kvs_on_menu(&piece[p])) {
                pos_sum += sum_of_pos(pos, piece[p].n_tok);
                n_tok += piece[p].n_tok;
            }
            pos += piece[p++].n_tok;
        }
        *cut = (struct kvs_cut){
            .piece_i = p, .n_tok = n_tok, .context_tok = mean_context_tok(pos_sum, n_tok)};
        if (inst->moved)
            find_repair(repair, i < n_repair ? i : n_repair - 1, piece, n_piece, cut);
        inst->repair_frac[i] =
            cut->repair_tok ? cut->repair_tok / (double)(cut->repair_tok + cut->moved_tok) : 0;
        inst->frac[i] = inst->menu_tok ? (cut->n_tok + cut->repair_tok) / (double)inst->menu_tok
                                       : inst->tables->frac[i];
    }
}

/* The next chunk of the absent tokens, from *used_tok in piece *p on, which move: how many, and
 * what they see as one sequence. */
static struct kvs_seg chunk_seg(const struct kvs_piece *piece, uint32_t n_piece, uint32_t *p,
                                uint32_t *used_tok, uint32_t *pos, uint32_t chunk_tok)
{
    uint32_t n_tok = 0;
    double pos_sum = 0;

    while (*p < n_piece && n_tok < chunk_tok) {
        uint32_t left = piece[*p].n_tok - *used_tok, take = 0;

        if (piece[*p].where == KVS_AT_NONE) {
            take = left < chunk_tok - n_tok ? left : chunk_tok - n_tok;
            pos_sum += sum_of_pos(*pos, take);
            n_tok += take;
        } else {
            take = left;
        }
        *pos += take;
        *used_tok += take;
        if (*used_tok == piece[*p].n_tok) {
            (*p)++;
            *used_tok = 0;
        }
    }
    return (struct kvs_seg){1, n_tok, mean_context_tok(pos_sum, n_tok)};
}

/* All layers of one pass over a chunk. */
static int64_t pass_ns(const struct kvs_tables *t, const struct kvs_seg *seg)
{
    int64_t sum = 0;

    for (uint32_t c = 0; c < t->n_class; c++)
        sum += t->class_n[c] * kvs_ns(kvs_cost_layer_s(t->config.cost, c, seg, 1));
    return sum;
}

void kvs_tables_build(const struct kvs_tables *t, struct kvs_tables_inst *inst,
                      const struct kvs_piece *piece, uint32_t n_piece,
                      struct kvs_plan_problem *problem)
{
    uint32_t p = 0, used_tok = 0, pos = 0;
    struct kvs_seg first, later;

    assert(inst->tables == t);
    count_pieces(inst, piece, n_piece);
    find_cuts(inst, piece, n_piece);
    find_carried(inst, piece, n_piece);
    kvs_find_shared(inst);
    first = chunk_seg(piece, n_piece, &p, &used_tok, &pos, t->config.chunk_tok);
    inst->first_tok = (uint32_t)first.n_tok;
    for (uint32_t c = 0; c < t->n_class; c++)
        kvs_fill_class(t, inst, c, piece, n_piece, &first);
    *problem = (struct kvs_plan_problem){.n_layer = t->n_layer,
                                         .n_frac = t->config.n_frac,
                                         .n_level = t->n_menu,
                                         .frac = inst->frac,
                                         .layer = inst->layer,
                                         .budget = t->config.budget};
    if (inst->moved && t->config.repair.n) {
        problem->repair_frac = inst->repair_frac;
        problem->n_repair = (uint8_t)kvs_n_repair(inst);
        while (problem->first_i + 1 < problem->n_repair && !inst->cut[problem->first_i].has_first)
            problem->first_i++;
    }
    for (uint32_t q = 1; q < t->n_menu; q++)
        if (t->config.level[q].projected)
            problem->hidden_level = (uint8_t)q;
    for (uint32_t k = 0; k < t->config.n_route; k++) {
        if (!inst->used[k])
            continue;
        problem->n_route = k + 1;
        problem->io_start_ns[k] = kvs_ns(t->latency_s[k]);
    }
    if (t->config.state_at && !inst->moved && !inst->carries && !inst->stateless) {
        kvs_fill_states(t, inst, piece);
        problem->state_at = t->config.state_at;
    }
    kvs_place_pipes(inst, problem);
    kvs_fill_distortion(t, inst);
    problem->head_ns = kvs_ns(kvs_cost_head_s(t->config.cost, inst->absent_tok, 1));
    while ((later = chunk_seg(piece, n_piece, &p, &used_tok, &pos, t->config.chunk_tok)).n_tok > 0)
        problem->head_ns += pass_ns(t, &later);
}

uint32_t kvs_tables_recompute_tok(const struct kvs_tables_inst *inst, uint32_t frac_i)
{
    assert(frac_i < inst->tables->config.n_frac);
    return inst->cut[frac_i].n_tok;
}

uint32_t kvs_tables_repair_tok(const struct kvs_tables_inst *inst, uint32_t frac_i)
{
    assert(frac_i < inst->tables->config.n_frac);
    return inst->cut[frac_i].repair_tok;
}

uint32_t kvs_tables_first_tok(const struct kvs_tables_inst *inst)
{
    return inst->first_tok;
}

double kvs_tables_load_bytes(const struct kvs_tables_inst *inst, uint32_t route, uint32_t class_i,
                             uint32_t frac_i, uint32_t level)
{
    const struct kvs_tables *t = inst->tables;

    assert(route < t->config.n_route && class_i < t->n_class);
    assert(frac_i < t->config.n_frac && level < t->n_menu);
    return inst->class[class_i].load_bytes[route][frac_i * t->n_menu + level];
}

double kvs_tables_route_state_bytes(const struct kvs_tables_inst *inst, uint32_t route,
                                    uint32_t from_i, uint32_t to_i)
{
    assert(from_i <= to_i && to_i < inst->tables->config.n_frac);
    assert(inst->tables->config.state_at && route < inst->tables->config.n_route);
    return inst->state_bytes[route][to_i] - inst->state_bytes[route][from_i];
}

double kvs_tables_state_bytes(const struct kvs_tables_inst *inst, uint32_t from_i, uint32_t to_i)
{
    double bytes = 0;

    for (uint32_t k = 0; inst->tables->config.state_at && k < inst->tables->config.n_route; k++)
        bytes += kvs_tables_route_state_bytes(inst, k, from_i, to_i);
    return bytes;
}
