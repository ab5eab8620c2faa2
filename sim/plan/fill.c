#include "share.h"

#include "base/units.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* The level that a block is loaded at when the plan says q: of those held the next finer one, or
 * else the finest. */
static uint32_t held_level(const struct kvs_piece *piece, uint32_t q)
{
    uint32_t up_to_q = piece->held & ((2u << q) - 1);

    if (!piece->held || piece->held >> q & 1)
        return q;
    if (up_to_q)
        return 31 - (uint32_t)__builtin_clz(up_to_q);
    return (uint32_t)__builtin_ctz(piece->held);
}

/* Tokens still to load, by route, by the plan's level, by the level they are held at; and what they
 * weigh as stored. */
struct left {
    double tok[KVS_MAX_TIER_ROUTE][KVS_MAX_LEVEL][KVS_MAX_LEVEL];
    double stored_tok[KVS_MAX_TIER_ROUTE][KVS_MAX_LEVEL][KVS_MAX_LEVEL];
    double block[KVS_MAX_TIER_ROUTE];
};

/* Units that a block is stored in. */
static double n_unit(const struct kvs_tables_config *config, uint32_t n_tok)
{
    return config->unit_tok ? (n_tok + config->unit_tok - 1) / config->unit_tok : 1;
}

static void add_left(const struct kvs_tables_inst *inst, const struct kvs_piece *piece,
                     struct left *left)
{
    left->block[piece->where] += n_unit(&inst->tables->config, piece->n_tok);
    for (uint32_t q = 0; q < inst->tables->n_menu; q++) {
        uint32_t h = inst->mixed ? held_level(piece, q) : q;

        left->tok[piece->where][q][h] += piece->n_tok;
        left->stored_tok[piece->where][q][h] +=
            piece->stored_tok ? piece->stored_tok[h] : piece->n_tok;
    }
}

/* One menu entry's loads and decoding. */
static void fill_cell(const struct kvs_tables *t, struct kvs_tables_inst *inst, uint32_t c,
                      uint32_t i, uint32_t q, const struct left *left)
{
    const struct kvs_tables_config *config = &t->config;
    struct kvs_tables_class *class = &inst->class[c];
    uint32_t at = i * t->n_menu + q;
    uint32_t from = inst->mixed ? 0 : q, to = inst->mixed ? config->n_level : q + 1;
    double held_tok[KVS_MAX_LEVEL] = {0}, held_unit[KVS_MAX_LEVEL] = {0}, decode_s = 0, gpu_s = 0,
           project_tok = 0, shared_s[KVS_MAX_TIER_ROUTE * KVS_MAX_HOP] = {0};

    for (uint32_t k = 0; k < config->n_route; k++) {
        double bytes = 0, slowest_s = 0, tok = 0;

        if (!inst->used[k])
            continue;
        for (uint32_t h = from; h < to; h++) {
            bytes += left->stored_tok[k][q][h] * t->raw_bytes_per_tok[c] * t->ratio[h];
            held_tok[h] += left->tok[k][q][h];
            tok += left->tok[k][q][h];
        }
        for (uint32_t h = from; h < to && tok > 0; h++)
            held_unit[h] += left->block[k] * (left->tok[k][q][h] / tok);
        kvs_share_add(inst, k, bytes, left->block[k] * config->descriptors, &slowest_s, shared_s);
        class->load_bytes[k][at] = bytes;
        class->io_ns[k][at] = kvs_io_ns(slowest_s);
    }
    kvs_share_fill(inst, shared_s, class->io_ns, at);
    for (uint32_t h = from; h < to; h++) {
        const struct kvs_table_level *level = &config->level[h];
        double s = level->decode_bytes_per_s > 0
                       ? held_tok[h] * t->raw_bytes_per_tok[c] / level->decode_bytes_per_s
                       : 0;

        s += held_unit[h] * level->decode_unit_s;
        *(level->on_gpu ? &gpu_s : &decode_s) += s;
        project_tok += level->projected ? held_tok[h] : 0;
        class->lossy_frac[at * config->n_level + h] =
            level->distortion && held_tok[h] > 0 ? held_tok[h] / inst->cached_tok : 0;
    }
    class->decode_ns[at] = kvs_ns(decode_s);
    class->gpu_decode_ns[at] = kvs_ns(gpu_s);
    class->post_ns[at] = kvs_ns(gpu_s + kvs_cost_kv_s(config->cost, c, project_tok) +
                                kvs_cost_shift_s(config->cost, c, inst->cut[i].moved_tok));
}

/* Loads of one class on all routes: blocks from each cut on, gathered from the end backwards. */
static void fill_loads(const struct kvs_tables *t, struct kvs_tables_inst *inst, uint32_t c,
                       const struct kvs_piece *piece, uint32_t n_piece)
{
    const struct kvs_tables_config *config = &t->config;
    struct left left;
    uint64_t end = 0, seen_from = 0;
    uint32_t p = n_piece;

    memset(&left.block, 0, sizeof left.block);
    for (uint32_t k = 0; k < config->n_route; k++)
        for (uint32_t q = 0; q < t->n_menu; q++) {
            memset(left.tok[k][q], 0, config->n_level * sizeof left.tok[k][q][0]);
            memset(left.stored_tok[k][q], 0, config->n_level * sizeof left.stored_tok[k][q][0]);
        }
    for (uint32_t i = 0; i < n_piece; i++)
        end += piece[i].n_tok;
    if (t->window_tok[c] && inst->first_absent_pos != UINT32_MAX &&
        inst->first_absent_pos > t->window_tok[c])
        seen_from = inst->first_absent_pos - t->window_tok[c];
    for (uint32_t i = config->n_frac; i-- > 0;) {
        while (p > inst->cut[i].piece_i) {
            p--;
            if (piece[p].where >= 0 && end > seen_from)
                add_left(inst, &piece[p], &left);
            end -= piece[p].n_tok;
        }
        for (uint32_t q = 0; q < t->n_menu; q++)
            fill_cell(t, inst, c, i, q, &left);
    }
}

void kvs_fill_states(const struct kvs_tables *t, struct kvs_tables_inst *inst,
                     const struct kvs_piece *piece)
{
    const struct kvs_tables_config *config = &t->config;
    double tok[KVS_MAX_TIER_ROUTE] = {0}, unit[KVS_MAX_TIER_ROUTE] = {0};
    uint32_t p = 0;

    for (uint32_t i = 0; i < config->n_frac; i++) {
        for (; p < inst->cut[i].piece_i; p++)
            if (piece[p].where >= 0) {
                tok[piece[p].where] += piece[p].n_tok;
                unit[piece[p].where] += n_unit(config, piece[p].n_tok);
            }
        double shared_s[KVS_MAX_TIER_ROUTE * KVS_MAX_HOP] = {0};

        for (uint32_t k = 0; k < config->n_route; k++) {
            double bytes = tok[k] * config->state_bytes_per_tok, slowest_s = 0;

            kvs_share_add(inst, k, bytes, unit[k], &slowest_s, shared_s);
            inst->state_bytes[k][i] = bytes;
            inst->state_ns[k][i] = kvs_io_ns(slowest_s);
        }
        kvs_share_fill(inst, shared_s, inst->state_ns, i);
    }
}

/* Compute of one class: full, kv, wfull, wkv and post of every fraction. */
static void fill_compute(const struct kvs_tables *t, struct kvs_tables_inst *inst, uint32_t c,
                         const struct kvs_seg *first)
{
    const struct kvs_tables_config *config = &t->config;
    struct kvs_tables_class *class = &inst->class[c];
    uint32_t last = config->n_frac - 1, n_menu = t->n_menu, all_tok = inst->cut[last].n_tok;
    int64_t first_ns = kvs_ns(kvs_cost_layer_s(config->cost, c, first, 1));

    for (uint32_t i = 0; i <= last; i++) {
        const struct kvs_cut *cut = &inst->cut[i];
        struct kvs_seg pass[2] = {{1, cut->n_tok, cut->context_tok}, *first};
        int64_t post_ns = first_ns;

        if (i > 0 && cut->n_tok == cut[-1].n_tok) {
            class->full_ns[i] = class->full_ns[i - 1];
            class->kv_ns[i] = class->kv_ns[i - 1];
        } else {
            class->full_ns[i] = kvs_ns(kvs_cost_layer_s(config->cost, c, pass, 1));
            class->kv_ns[i] = kvs_ns(kvs_cost_kv_s(config->cost, c, cut->n_tok));
        }
        if (cut->n_tok == all_tok && all_tok > 0) {
            post_ns = kvs_ns(kvs_cost_layer_s(config->cost, c, pass, 2)) - class->full_ns[i];
            post_ns = post_ns > 0 ? post_ns : 0;
        }
        class->wfull_ns[i] = class->wkv_ns[i] = 0;
        if (cut->repair_tok) {
            struct kvs_seg both[2] = {{1, cut->repair_tok, cut->repair_context_tok}, *first};
            int64_t kv_ns = kvs_ns(kvs_cost_kv_s(config->cost, c, cut->repair_tok + first->n_tok)) -
                            kvs_ns(kvs_cost_kv_s(config->cost, c, first->n_tok));
            int64_t full_ns = kvs_ns(kvs_cost_layer_s(config->cost, c, both, 2)) - first_ns;

            class->wfull_ns[i] = full_ns > 0 ? full_ns : 0;
            class->wkv_ns[i] =
                kv_ns < class->wfull_ns[i] ? kv_ns : class->wfull_ns[i]; /* rounding */
        }
        for (uint32_t q = 0; q < n_menu; q++)
            class->post_ns[i * n_menu + q] += post_ns;
    }
}

void kvs_fill_class(const struct kvs_tables *t, struct kvs_tables_inst *inst, uint32_t class_i,
                    const struct kvs_piece *piece, uint32_t n_piece, const struct kvs_seg *first)
{
    fill_loads(t, inst, class_i, piece, n_piece);
    fill_compute(t, inst, class_i, first);
}

/* A curve over j / last, at frac. */
static double curve_at(const int64_t *at, uint32_t last, double frac)
{
    double pos = frac * last;
    uint32_t j = pos < last ? (uint32_t)pos : last - 1;

    return (double)at[j] + ((double)at[j + 1] - (double)at[j]) * (pos - j);
}

/* What is lost in layer l when the shares lossy[h], from <= h < to, of the cached tokens are at
 * level h. */
static double level_loss(const struct kvs_tables *t, uint32_t l, const double *lossy, uint32_t from,
                         uint32_t to)
{
    const struct kvs_tables_config *config = &t->config;
    double sum = 0, loss = 0;

    for (uint32_t h = from; h < to; h++)
        sum += lossy[h];
    for (uint32_t h = from; h < to && sum > 0; h++)
        if (lossy[h] > 0)
            loss += lossy[h] / sum *
                    curve_at(config->level[h].distortion + (size_t)l * config->n_frac,
                             config->n_frac - 1, fmax(0, 1 - sum));
    return loss;
}

/* Of a prompt whose cached text is all moved, that share of it repaired. */
static double share_loss(const struct kvs_table_repair *repair, double frac)
{
    double from = repair->frac[0], loss = (double)repair->distortion[0];

    for (uint32_t j = 1; j <= repair->n; j++) {
        double to = j < repair->n ? repair->frac[j] : 1;
        double next = j < repair->n ? (double)repair->distortion[j] : 0;

        if (frac <= to && to > from)
            return loss + (next - loss) * (frac - from) / (to - from);
        from = to;
        loss = next;
    }
    return 0;
}

/* What moved text costs that stays as it is: shared evenly by the layers. */
static double repair_loss(const struct kvs_tables *t, const struct kvs_tables_inst *inst,
                          uint32_t i)
{
    const struct kvs_table_repair *repair = &t->config.repair;
    const struct kvs_cut *cut = &inst->cut[i];
    double left_tok = (double)cut->moved_tok + cut->repair_tok, whole;

    if (!inst->moved || !repair->n || left_tok <= 0)
        return 0;
    whole = repair->first_tok ? share_loss(repair, inst->repair_frac[i])
                              : (double)repair->distortion[i < repair->n ? i : repair->n - 1];
    return whole * left_tok / inst->cached_tok / t->n_layer;
}

/* What a layer loses whatever level it is loaded at. */
static double other_loss(const struct kvs_tables *t, const struct kvs_tables_inst *inst, uint32_t i)
{
    return repair_loss(t, inst, i) + inst->cut[i].carried / t->n_layer;
}

int64_t kvs_tables_other_loss(const struct kvs_tables_inst *inst, uint32_t frac_i)
{
    return llround(other_loss(inst->tables, inst, frac_i));
}

int64_t kvs_tables_carried_loss(const struct kvs_tables_inst *inst, uint32_t frac_i)
{
    return llround(inst->cut[frac_i].carried / inst->tables->n_layer);
}

double kvs_tables_lossy_frac(const struct kvs_tables_inst *inst, uint32_t class_i, uint32_t frac_i,
                             uint32_t q, uint32_t h)
{
    uint32_t at = frac_i * inst->tables->n_menu + q;

    if (!inst->mixed && h != q)
        return 0;
    return inst->class[class_i].lossy_frac[at * inst->tables->config.n_level + h];
}

void kvs_fill_distortion(const struct kvs_tables *t, struct kvs_tables_inst *inst)
{
    uint32_t n_level = t->config.n_level, n_menu = t->n_menu;
    uint32_t n_cell = t->config.n_frac * n_menu;
    double other[KVS_MAX_FRAC];

    assert(n_menu > 0);
    for (uint32_t i = 0; i < t->config.n_frac; i++)
        other[i] = other_loss(t, inst, i);
    for (uint32_t c = 0; c < t->n_class; c++)
        for (uint32_t at = 0; at < n_cell; at++)
            inst->class[c].distortion[at] = llround(other[at / n_menu]);
    for (uint32_t l = 0; t->by_layer && l < t->n_layer; l++) {
        const struct kvs_tables_class *class = &inst->class[t->class_of[l]];
        int64_t *distortion = inst->layer_distortion + (size_t)l * n_cell;

        for (uint32_t at = 0; at < n_cell; at++) {
            uint32_t q = at % n_menu, from = inst->mixed ? 0 : q,
                     to = inst->mixed ? n_level : q + 1;

            distortion[at] =
                llround(level_loss(t, l, class->lossy_frac + (size_t)at * n_level, from, to) +
                        other[at / n_menu]);
        }
        inst->layer_cost[l] = class->cost;
        inst->layer_cost[l].distortion = distortion;
    }
}
