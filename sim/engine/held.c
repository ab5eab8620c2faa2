/*
 * held.c - the level that a copy of a block was stored at, and the loss it carries.
 *
 * A tier stores what it gets at its own level. What a copy has lost is what its producer's context
 * had, and what its level costs; both go with it wherever it is copied to, and no place stores it
 * at a level that loses less. What is computed is raw, and carries what its prompt's plan loses.
 *
 * With config.state_at, what a tier with states gets from the prompt that computed it comes with
 * the hidden states that entered some layers: in that prompt's context, 16 bits an element, in
 * every level. HBM keeps none, so a copy of what was there already, or was loaded, has none.
 *
 * A copy's state is packed in 32 bits: the level above, then whether it has hidden states, then the
 * carried loss, in units of 1e-8 nats and up to 1.34 nats. 0, raw and exact, is the state of
 * whatever a place's map does not know; a block's state is set whenever it comes, so what an
 * evicted one leaves there is never read.
 */
#include "parts.h"
#include "plan/levels.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define LOSS_BITS 27
#define HAS_STATES (1u << LOSS_BITS)
#define LEVEL_SHIFT (LOSS_BITS + 1)
#define MOST_LOSS ((1u << LOSS_BITS) - 2)
#define LOSS_UNIT 10 /* 1e-9 nats */

static_assert(KVS_MAX_LEVEL <= 1 << (32 - LEVEL_SHIFT), "a level fits above the rest");

/* Losses of all layers at the first and the last fraction, for planners that look at no other. */
static bool take_ends(struct sim *sim)
{
    const struct kvs_sim_config *config = sim->config;
    const uint32_t n_level = config->n_level;
    assert(n_level > 0 && sim->n_layer > 0);
    int64_t *end = calloc((size_t)n_level * sim->n_layer * 2, sizeof *end);
    sim->end_loss = end;
    if (!end)
        return sim_nomem(sim);
    for (uint32_t q = 0; q < n_level; q++) {
        const int64_t *loss = config->level[q].distortion;
        if (!loss)
            continue;
        sim->level[q].distortion = end;
        for (uint32_t l = 0; l < sim->n_layer; l++) {
            *end++ = loss[l * config->n_frac];
            *end++ = loss[(l + 1) * config->n_frac - 1];
        }
    }
    return true;
}

bool sim_levels_begin(struct sim *sim)
{
    const struct kvs_sim_config *config = sim->config;
    sim->level[0] = (struct kvs_table_level){.name = "raw16", .k_ratio = 1, .v_ratio = 1};
    sim->ratio[0] = 1;
    for (uint32_t t = 0; t < config->n_tier; t++) {
        assert(config->tier[t].level == 0 || config->tier[t].level < config->n_level);
        sim->levels |= config->tier[t].level > 0;
    }
    for (uint32_t l = 1; config->state_at && l < sim->n_layer; l++)
        sim->n_state += config->state_at[l];
    sim->state_bytes_per_tok = sim->n_state * kvs_state_bytes_per_tok(config->model);
    sim->notes = sim->levels || sim->n_state;
    assert(config->n_level <= KVS_MAX_LEVEL);
    for (uint32_t q = 0; sim->levels && q < config->n_level; q++) {
        sim->level[q] = config->level[q];
        sim->ratio[q] = (config->level[q].k_ratio + config->level[q].v_ratio) / 2;
        for (uint32_t l = 0; config->level[q].distortion && l < sim->n_layer; l++)
            sim->full_loss[q] += config->level[q].distortion[l * config->n_frac];
    }
    if (!sim->notes)
        return true;
    for (uint32_t r = 0; r < sim->n_replica; r++)
        if (!kvs_map_init(&sim->replica[r].held, 64))
            return sim_nomem(sim);
    for (uint32_t i = 0; i < config->n_tier * sim->n_host; i++)
        if (!kvs_map_init(&sim->store[i].held, 64))
            return sim_nomem(sim);
    return !sim->levels || !config->planner->ends_only || config->n_frac == 2 || take_ends(sim);
}

static uint32_t level_of(uint32_t state)
{
    return state >> LEVEL_SHIFT;
}

static uint32_t with_level(uint32_t state, uint32_t level)
{
    return level << LEVEL_SHIFT | (state & ((1u << LEVEL_SHIFT) - 1));
}

static int64_t carried(uint32_t state)
{
    return (int64_t)(state & ((1u << LOSS_BITS) - 1)) * LOSS_UNIT;
}

uint32_t sim_held(const struct sim *sim, const struct kvs_map *held, uint64_t key)
{
    const uint32_t *state = sim->notes ? kvs_map_find(held, key) : NULL;
    return state ? *state : 0;
}

bool sim_hold(struct sim *sim, struct kvs_map *held, uint64_t key, uint32_t state)
{
    bool found;
    if (!sim->notes)
        return true;
    if (!state) {
        kvs_map_del(held, key);
        return true;
    }
    uint32_t *at = kvs_map_put(held, key, state, &found);
    if (!at)
        return sim_nomem(sim);
    *at = state;
    return true;
}

double sim_kv_per_tok(const struct sim *sim, uint32_t state)
{
    return sim->kv_bytes_per_tok * sim->ratio[level_of(state)];
}

double sim_stored_per_tok(const struct sim *sim, uint32_t state)
{
    return sim_kv_per_tok(sim, state) + (state & HAS_STATES ? sim->state_bytes_per_tok : 0);
}

uint32_t sim_stateless(uint32_t state)
{
    return state & ~HAS_STATES;
}

double sim_stored_descriptors(const struct sim *sim, uint32_t state, double n_unit)
{
    return n_unit * (sim->unit_descriptors + (state & HAS_STATES ? sim->n_state : 0));
}

double sim_settle(const struct sim *sim, uint32_t tier_i, bool raw, uint32_t n_tok,
                  struct kvs_block_info *info, uint32_t *state)
{
    if (!sim->notes)
        return 0;
    const uint32_t was = level_of(*state), own = sim->config->tier[tier_i].level;
    const uint32_t level = sim->full_loss[was] > sim->full_loss[own] ? was : own;
    const double rate = sim->level[level].encode_bytes_per_s;
    *state = with_level(*state, level);
    if (!sim->config->tier[tier_i].states)
        *state = sim_stateless(*state);
    info->n_bytes = (uint64_t)ceil(sim_stored_per_tok(sim, *state) * n_tok);
    return (raw || level != was) && rate > 0 ? sim->kv_bytes_per_tok * n_tok / rate : 0;
}

void sim_describe(const struct sim *sim, const struct req *req, uint32_t b, struct kvs_piece *piece)
{
    if (!sim->notes || req->where[b] == KVS_AT_NONE)
        return;
    const bool in_hbm = req->where[b] == KVS_AT_HBM;
    const struct kvs_map *held =
        in_hbm ? &sim->replica[req->record.replica].held : &sim_block_store(sim, req, b)->held;
    const uint32_t state = sim_held(sim, held, req->key[b]), level = level_of(state);
    piece->stateless = !in_hbm && !(state & HAS_STATES);
    if (!sim->levels)
        return;
    piece->held = (uint16_t)(1u << level);
    piece->loss = carried(state) + (in_hbm ? sim->full_loss[level] : 0);
}

bool sim_hold_prompt(struct sim *sim, const struct req *req, int64_t loss)
{
    struct replica *replica = &sim->replica[req->record.replica];
    if (!sim->notes)
        return true;
    /* recomputed in every layer */
    uint32_t least_i = req->plan.frac_i[0];
    for (uint32_t l = 1; l < sim->n_layer; l++)
        least_i = req->plan.frac_i[l] < least_i ? req->plan.frac_i[l] : least_i;
    uint32_t left_tok = req->has_plan ? kvs_tables_recompute_tok(req->inst, least_i) : 0;
    const int64_t unit = (loss + LOSS_UNIT / 2) / LOSS_UNIT;
    const uint32_t fresh =
        (unit < MOST_LOSS ? (uint32_t)unit : MOST_LOSS) | (sim->n_state ? HAS_STATES : 0);
    for (uint32_t b = 0; b < req->n_block; b++) {
        uint32_t state = fresh;
        const bool on_menu = req->where[b] >= 0 || req->moved[b];
        const bool again = on_menu && left_tok > 0;
        left_tok -= !again ? 0 : req->tok[b] < left_tok ? req->tok[b] : left_tok;
        if (req->slot[b] == KVS_NO_SLOT || req->where[b] == KVS_AT_HBM)
            continue;
        if (req->where[b] >= 0 && !again) {
            const struct store *from = sim_block_store(sim, req, b);
            state = sim_stateless(sim_held(sim, &from->held, req->key[b]));
            if (!sim->full_loss[level_of(state)])
                state = with_level(state, 0); /* as it was before it was encoded */
        }
        if (!sim_hold(sim, &replica->held, req->key[b], state))
            return false;
    }
    return true;
}
