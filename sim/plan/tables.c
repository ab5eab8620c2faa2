#include "tables.h"

#include "base/units.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct kvs_tables {
    struct kvs_tables_config config;
    uint32_t n_layer, n_class;
    uint32_t class_of[KVS_MAX_LAYER];
    uint32_t *class_n;         /* [class] layers of it */
    double *raw_bytes_per_tok; /* [class] K and V, one layer, all ranks */
    uint32_t *window_tok;      /* [class] 0: sees all */
    double frac[KVS_MAX_FRAC];
    double latency_s[KVS_MAX_ROUTE];
    double ratio[KVS_MAX_LEVEL];
};

/* What is recomputed at one fraction: the blocks on routes before the cut. */
struct cut {
    uint32_t piece_i; /* pieces from here on are not recomputed */
    uint32_t n_tok;
    double context_tok; /* as one sequence: what its tokens see besides one another, in the mean */
};

/* One class of layers. */
struct tables_class {
    struct kvs_layer_cost cost;
    int64_t *io_ns[KVS_MAX_ROUTE], *decode_ns, *post_ns, *distortion; /* [i * n_level + q] */
    int64_t *full_ns, *kv_ns;                                         /* [i] */
    double *load_bytes[KVS_MAX_ROUTE];                                /* [i] raw */
};

struct kvs_tables_inst {
    const struct kvs_tables *tables;
    uint32_t route_tok, absent_tok, first_tok, first_absent_pos;
    bool used[KVS_MAX_ROUTE];
    struct cut cut[KVS_MAX_FRAC];
    const struct kvs_layer_cost *layer[KVS_MAX_LAYER];
    int64_t *zero;  /* [n_frac * n_level] */
    int64_t *cells; /* memory of all classes' integer tables */
    double *bytes;  /* and of their byte counts */
    struct tables_class class[];
};

enum kvs_code kvs_tables_new(const struct kvs_tables_config *config, struct kvs_tables **out,
                             struct kvs_err *err)
{
    uint32_t n_layer = kvs_model_n_layer(config->model), n_class = kvs_cost_n_class(config->cost);
    struct kvs_tables *t;

    *out = NULL;
    if (n_layer < 1 || n_layer > KVS_MAX_LAYER)
        return kvs_fail(err, KVS_ERR_RANGE, "%u layers, want 1 to %d", n_layer, KVS_MAX_LAYER);
    if (config->n_route > KVS_MAX_ROUTE)
        return kvs_fail(err, KVS_ERR_RANGE, "%u routes, want at most %d", config->n_route,
                        KVS_MAX_ROUTE);
    if (config->n_frac < 2 || config->n_frac > KVS_MAX_FRAC)
        return kvs_fail(err, KVS_ERR_RANGE, "%u recompute fractions, want 2 to %d", config->n_frac,
                        KVS_MAX_FRAC);
    if (config->n_level < 1 || config->n_level > KVS_MAX_LEVEL)
        return kvs_fail(err, KVS_ERR_RANGE, "%u levels, want 1 to %d", config->n_level,
                        KVS_MAX_LEVEL);
    if (config->chunk_tok < 1)
        return kvs_fail(err, KVS_ERR_RANGE, "a prefill chunk of 0 tokens, want at least 1");
    t = calloc(1, sizeof *t);
    if (!t)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for plan tables");
    t->config = *config;
    t->n_layer = n_layer;
    t->n_class = n_class;
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
    for (uint32_t q = 0; q < config->n_level; q++)
        t->ratio[q] = (config->level[q].k_ratio + config->level[q].v_ratio) / 2;
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

struct kvs_tables_inst *kvs_tables_inst_new(const struct kvs_tables *t)
{
    uint32_t n_frac = t->config.n_frac, n_route = t->config.n_route;
    size_t n_cell = (size_t)n_frac * t->config.n_level;
    size_t per_class = (n_route + 3) * n_cell + 2 * (size_t)n_frac;
    struct kvs_tables_inst *inst =
        calloc(1, sizeof *inst + t->n_class * sizeof(struct tables_class));

    if (!inst)
        return NULL;
    inst->tables = t;
    inst->cells = calloc(t->n_class * per_class + n_cell, sizeof *inst->cells);
    inst->bytes = calloc((size_t)t->n_class * n_route * n_frac + 1, sizeof *inst->bytes);
    if (!inst->cells || !inst->bytes) {
        kvs_tables_inst_free(inst);
        return NULL;
    }
    inst->zero = inst->cells + t->n_class * per_class;
    for (uint32_t c = 0; c < t->n_class; c++) {
        struct tables_class *class = &inst->class[c];
        int64_t *at = inst->cells + c * per_class;

        for (uint32_t k = 0; k < n_route; k++) {
            class->cost.io_ns[k] = class->io_ns[k] = at;
            at += n_cell;
            class->load_bytes[k] = inst->bytes + ((size_t)c * n_route + k) * n_frac;
        }
        class->cost.decode_ns = class->decode_ns = at;
        class->cost.post_ns = class->post_ns = at + n_cell;
        class->cost.distortion = class->distortion = at + 2 * n_cell;
        class->cost.full_ns = class->full_ns = at + 3 * n_cell;
        class->cost.kv_ns = class->kv_ns = at + 3 * n_cell + n_frac;
        class->cost.wfull_ns = class->cost.wkv_ns = inst->zero;
    }
    for (uint32_t l = 0; l < t->n_layer; l++)
        inst->layer[l] = &inst->class[t->class_of[l]].cost;
    return inst;
}

void kvs_tables_inst_free(struct kvs_tables_inst *inst)
{
    if (!inst)
        return;
    free(inst->cells); /* zero is part of it */
    free(inst->bytes);
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
    uint32_t n_route = inst->tables->config.n_route, pos = 0;
    uint64_t total = 0;

    inst->route_tok = inst->absent_tok = 0;
    inst->first_absent_pos = UINT32_MAX;
    memset(inst->used, 0, sizeof inst->used);
    for (uint32_t p = 0; p < n_piece; p++) {
        int32_t where = piece[p].where;

        assert(where >= KVS_AT_NONE && where < (int32_t)n_route);
        total += piece[p].n_tok;
        if (where >= 0 && piece[p].n_tok > 0) {
            inst->route_tok += piece[p].n_tok;
            inst->used[where] = true;
        } else if (where == KVS_AT_NONE && piece[p].n_tok > 0) {
            inst->absent_tok += piece[p].n_tok;
            if (inst->first_absent_pos == UINT32_MAX)
                inst->first_absent_pos = pos;
        }
        pos += piece[p].n_tok;
    }
    assert(total < UINT32_MAX);
    (void)total;
}

/* Where each fraction cuts the row of blocks, and what the recomputed ones see. */
static void find_cuts(struct kvs_tables_inst *inst, const struct kvs_piece *piece, uint32_t n_piece)
{
    uint32_t last = inst->tables->config.n_frac - 1;
    uint32_t p = 0, pos = 0, n_tok = 0;
    double pos_sum = 0;

    for (uint32_t i = 0; i <= last; i++) {
        uint64_t want = (uint64_t)i * inst->route_tok; /* of n_tok * last */

        while ((uint64_t)n_tok * last < want) {
            assert(p < n_piece);
            if (piece[p].where >= 0) {
                pos_sum += sum_of_pos(pos, piece[p].n_tok);
                n_tok += piece[p].n_tok;
            }
            pos += piece[p++].n_tok;
        }
        inst->cut[i] = (struct cut){
            .piece_i = p, .n_tok = n_tok, .context_tok = mean_context_tok(pos_sum, n_tok)};
    }
}

/* What a prompt's loads do to the hops of their routes, one layer, raw, all its blocks. */
struct hop_use {
    double rate[KVS_MAX_ROUTE];             /* loads per second of each route alone; 0: not used */
    double use[KVS_MAX_ROUTE][KVS_MAX_HOP]; /* share of each hop's time that it takes then */
};

/* The rate that a link has for each of its routes not fixed yet: equal, but for those that need
 * less. */
static double link_level(const struct kvs_tables_config *config, const struct hop_use *hops,
                         const struct kvs_hw_link *link, const double speed[], const bool fixed[])
{
    bool out[KVS_MAX_ROUTE];
    double level = HUGE_VAL;

    memcpy(out, fixed, sizeof out);
    for (uint32_t round = 0; round <= config->n_route; round++) {
        double left = 1, s_per_byte = 0;
        bool more = false;

        for (uint32_t k = 0; k < config->n_route; k++)
            for (uint32_t h = 0; h < config->route[k].n_hop && hops->rate[k] > 0; h++) {
                if (config->route[k].hop[h].link != link)
                    continue;
                if (out[k])
                    left -= speed[k] * hops->use[k][h];
                else
                    s_per_byte += hops->use[k][h] / hops->rate[k];
            }
        level = s_per_byte > 0 ? fmax(left, 0) / s_per_byte : HUGE_VAL;
        for (uint32_t k = 0; k < config->n_route; k++)
            if (!out[k] && hops->rate[k] <= level)
                out[k] = more = true; /* at its own speed, which is 1 */
        if (!more)
            break;
    }
    return level;
}

static double link_use(const struct kvs_tables_config *config, const struct hop_use *hops,
                       const struct kvs_hw_link *link, const double speed[])
{
    double use = 0;

    for (uint32_t k = 0; k < config->n_route; k++)
        for (uint32_t h = 0; h < config->route[k].n_hop; h++)
            if (config->route[k].hop[h].link == link)
                use += speed[k] * hops->use[k][h];
    return use;
}

/*
 * Routes that load at once share hops max-min fair, each weighted by what it has to bring, so that
 * routes that are slowed by one hop end together: each route's speed, 1 as alone. (Equal bytes per
 * second would let one small load in many pieces hold up a large one for all its time.) The
 * over-full link that has least for each of its routes fixes theirs; then the next.
 */
static void share_hops(const struct kvs_tables_config *config, const struct hop_use *hops,
                       double speed[])
{
    bool fixed[KVS_MAX_ROUTE] = {false};

    for (uint32_t k = 0; k < config->n_route; k++)
        speed[k] = 1;
    for (uint32_t round = 0; round < config->n_route; round++) {
        const struct kvs_hw_link *full = NULL;
        double least = HUGE_VAL;

        for (uint32_t k = 0; k < config->n_route; k++)
            for (uint32_t h = 0; h < config->route[k].n_hop && hops->rate[k] > 0; h++) {
                const struct kvs_hw_link *link = config->route[k].hop[h].link;
                double level;

                if (link_use(config, hops, link, speed) <= 1 + 1e-12)
                    continue;
                level = link_level(config, hops, link, speed, fixed);
                if (level < least) {
                    least = level;
                    full = link;
                }
            }
        if (!full)
            return;
        for (uint32_t k = 0; k < config->n_route; k++)
            for (uint32_t h = 0; h < config->route[k].n_hop && hops->rate[k] > 0; h++)
                if (config->route[k].hop[h].link == full && !fixed[k]) {
                    speed[k] = fmin(1, least / hops->rate[k]);
                    fixed[k] = true;
                }
    }
}

/* Slows the loads of routes that share hops; for the prompt's whole time, as if all loaded all
 * along. */
static void slow_down(const struct kvs_tables *t, struct kvs_tables_inst *inst,
                      struct tables_class *class, const double n_block[])
{
    const struct kvs_tables_config *config = &t->config;
    struct hop_use hops = {.rate = {0}};
    double speed[KVS_MAX_ROUTE];
    uint32_t n_used = 0;

    for (uint32_t k = 0; k < config->n_route; k++) {
        double hop_s[KVS_MAX_HOP], alone_s = 0, bytes = class->load_bytes[k][0];

        if (!inst->used[k] || bytes <= 0)
            continue;
        for (uint32_t h = 0; h < config->route[k].n_hop; h++) {
            hop_s[h] =
                kvs_link_s(config->route[k].hop[h].link, false,
                           bytes * config->route[k].hop[h].share, n_block[k] * config->descriptors);
            alone_s = fmax(alone_s, hop_s[h]);
        }
        for (uint32_t h = 0; h < config->route[k].n_hop; h++)
            hops.use[k][h] = hop_s[h] / alone_s;
        hops.rate[k] = 1 / alone_s;
        n_used++;
    }
    if (n_used < 2)
        return;
    share_hops(config, &hops, speed);
    for (uint32_t k = 0; k < config->n_route; k++)
        for (uint32_t at = 0; speed[k] < 1 && at < config->n_frac * config->n_level; at++)
            class->io_ns[k][at] = (int64_t)ceil((double)class->io_ns[k][at] / speed[k]);
}

static double n_unit(const struct kvs_tables_config *config, uint32_t n_tok)
{
    return config->unit_tok ? (n_tok + config->unit_tok - 1) / config->unit_tok : 1;
}

/* Loads of one class on all routes: blocks from each cut on, gathered from the end backwards. */
static void fill_loads(const struct kvs_tables *t, struct kvs_tables_inst *inst, uint32_t c,
                       const struct kvs_piece *piece, uint32_t n_piece)
{
    const struct kvs_tables_config *config = &t->config;
    struct tables_class *class = &inst->class[c];
    double n_tok[KVS_MAX_ROUTE] = {0}, n_block[KVS_MAX_ROUTE] = {0};
    uint64_t end = 0, seen_from = 0;
    uint32_t p = n_piece;

    for (uint32_t i = 0; i < n_piece; i++)
        end += piece[i].n_tok;
    if (t->window_tok[c] && inst->first_absent_pos != UINT32_MAX &&
        inst->first_absent_pos > t->window_tok[c])
        seen_from = inst->first_absent_pos - t->window_tok[c];
    for (uint32_t i = config->n_frac; i-- > 0;) {
        while (p > inst->cut[i].piece_i) {
            p--;
            if (piece[p].where >= 0 && end > seen_from) {
                n_tok[piece[p].where] += piece[p].n_tok;
                n_block[piece[p].where] += n_unit(config, piece[p].n_tok);
            }
            end -= piece[p].n_tok;
        }
        for (uint32_t k = 0; k < config->n_route; k++) {
            const struct kvs_table_route *route = &config->route[k];
            double raw_bytes = n_tok[k] * t->raw_bytes_per_tok[c];

            class->load_bytes[k][i] = raw_bytes;
            if (!inst->used[k])
                continue;
            for (uint32_t q = 0; q < config->n_level; q++) {
                double slowest_s = 0;

                for (uint32_t h = 0; h < route->n_hop && n_block[k] > 0; h++) {
                    double s = kvs_link_s(route->hop[h].link, false,
                                          raw_bytes * t->ratio[q] * route->hop[h].share,
                                          n_block[k] * config->descriptors);

                    slowest_s = s > slowest_s ? s : slowest_s;
                }
                class->io_ns[k][i * config->n_level + q] = kvs_ns(slowest_s);
            }
        }
    }
    slow_down(t, inst, class, n_block);
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

/* Compute of one class: full, kv and post of every fraction. */
static void fill_compute(const struct kvs_tables *t, struct kvs_tables_inst *inst, uint32_t c,
                         const struct kvs_seg *first)
{
    const struct kvs_tables_config *config = &t->config;
    struct tables_class *class = &inst->class[c];
    uint32_t last = config->n_frac - 1, n_level = config->n_level;
    int64_t post_ns = kvs_ns(kvs_cost_layer_s(config->cost, c, first, 1));

    for (uint32_t i = 0; i <= last; i++) {
        const struct cut *cut = &inst->cut[i];
        struct kvs_seg pass[2] = {{1, cut->n_tok, cut->context_tok}, *first};
        int64_t post_i_ns = post_ns;

        if (i > 0 && cut->n_tok == cut[-1].n_tok) {
            class->full_ns[i] = class->full_ns[i - 1];
            class->kv_ns[i] = class->kv_ns[i - 1];
        } else {
            class->full_ns[i] = kvs_ns(kvs_cost_layer_s(config->cost, c, pass, 1));
            class->kv_ns[i] = kvs_ns(kvs_cost_kv_s(config->cost, c, cut->n_tok));
        }
        if (i == last && cut->n_tok > 0) {
            post_i_ns = kvs_ns(kvs_cost_layer_s(config->cost, c, pass, 2)) - class->full_ns[i];
            post_i_ns = post_i_ns > 0 ? post_i_ns : 0;
        }
        for (uint32_t q = 0; q < n_level; q++)
            class->post_ns[i * n_level + q] = post_i_ns;
    }
}

/* Decoding and distortion follow the tokens that are loaded. */
static void fill_levels(const struct kvs_tables *t, struct kvs_tables_inst *inst, uint32_t c)
{
    const struct kvs_tables_config *config = &t->config;
    struct tables_class *class = &inst->class[c];

    for (uint32_t q = 0; q < config->n_level; q++) {
        const struct kvs_table_level *level = &config->level[q];
        bool plain = level->decode_bytes_per_s == 0 && level->distortion == 0;

        for (uint32_t i = 0; i < config->n_frac && !plain; i++) {
            double n_tok = inst->route_tok - inst->cut[i].n_tok, bytes = 0;
            uint32_t at = i * config->n_level + q;

            for (uint32_t k = 0; k < config->n_route; k++)
                bytes += class->load_bytes[k][i];
            class->decode_ns[at] =
                level->decode_bytes_per_s > 0 ? kvs_ns(bytes / level->decode_bytes_per_s) : 0;
            class->distortion[at] =
                inst->route_tok
                    ? (int64_t)((double)level->distortion * n_tok / inst->route_tok + .5)
                    : 0;
        }
    }
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
    first = chunk_seg(piece, n_piece, &p, &used_tok, &pos, t->config.chunk_tok);
    inst->first_tok = (uint32_t)first.n_tok;
    for (uint32_t c = 0; c < t->n_class; c++) {
        fill_loads(t, inst, c, piece, n_piece);
        fill_compute(t, inst, c, &first);
        fill_levels(t, inst, c);
    }
    *problem = (struct kvs_plan_problem){.n_layer = t->n_layer,
                                         .n_frac = t->config.n_frac,
                                         .n_level = t->config.n_level,
                                         .frac = t->frac,
                                         .layer = inst->layer,
                                         .budget = t->config.budget};
    for (uint32_t k = 0; k < t->config.n_route; k++) {
        if (!inst->used[k])
            continue;
        problem->n_route = k + 1;
        problem->io_start_ns[k] = kvs_ns(t->latency_s[k]);
    }
    for (uint32_t c = 0; c < t->n_class; c++)
        for (uint32_t k = 0; k < problem->n_route; k++)
            inst->class[c].cost.io_ns[k] = inst->used[k] ? inst->class[c].io_ns[k] : inst->zero;
    problem->head_ns = kvs_ns(kvs_cost_head_s(t->config.cost, inst->absent_tok, 1));
    while ((later = chunk_seg(piece, n_piece, &p, &used_tok, &pos, t->config.chunk_tok)).n_tok > 0)
        problem->head_ns += pass_ns(t, &later);
}

uint32_t kvs_tables_route_tok(const struct kvs_tables_inst *inst)
{
    return inst->route_tok;
}

uint32_t kvs_tables_recompute_tok(const struct kvs_tables_inst *inst, uint32_t frac_i)
{
    assert(frac_i < inst->tables->config.n_frac);
    return inst->cut[frac_i].n_tok;
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
    assert(frac_i < t->config.n_frac && level < t->config.n_level);
    return inst->class[class_i].load_bytes[route][frac_i] * t->ratio[level];
}
