/*
 * foresee.c - the trace's future, for policies that must be told it (Belady).
 *
 * A first pass over the trace notes in which order blocks are asked for; the run then tells each
 * tier when the blocks it holds are next asked for. Approximate in three ways: the order is that of
 * the trace, not of admissions; uses on another host count too; and a prompt's blocks behind the
 * end of its held prefix count as asked for.
 */
#include "parts.h"

#include "store/evict.h"

#include <stdlib.h>

#define NEVER (UINT32_MAX - 1) /* as a map's value */

static bool wants(const struct kvs_evict_ops *ops)
{
    return ops && ops->on_expect;
}

bool kvs_sim_wants_foresight(const struct kvs_sim_config *config)
{
    bool any = config->hbm_cache && wants(config->hbm_evict);
    for (uint32_t t = 0; t < config->n_tier; t++)
        any |= wants(config->tier[t].evict);
    return any;
}

void kvs_foresight_free(struct kvs_foresight *foresight)
{
    kvs_future_free(&foresight->future);
    free(foresight->first);
    *foresight = (struct kvs_foresight){0};
}

static enum kvs_code add(struct kvs_foresight *foresight, bool chain,
                         const struct kvs_request *request, struct kvs_err *err)
{
    uint64_t prefix = 0;
    if (foresight->n == foresight->room) {
        size_t room = 2 * foresight->room + 256;
        uint64_t *first = realloc(foresight->first, room * sizeof *first);
        if (!first)
            return kvs_nomem(err);
        foresight->first = first;
        foresight->room = room;
    }
    foresight->first[foresight->n++] = foresight->future.n;
    for (uint32_t b = 0; b < request->n_block; b++) {
        prefix = chain ? kvs_chain(prefix, request->block[b].id) : request->block[b].id;
        enum kvs_code code = kvs_future_add(&foresight->future, &prefix, 1, err);
        if (code)
            return code;
    }
    return KVS_OK;
}

enum kvs_code kvs_foresee(const struct kvs_sim_config *config, struct kvs_trace *trace,
                          struct kvs_foresight *foresight, struct kvs_err *err)
{
    const bool chain = config->reuse == KVS_REUSE_PREFIX && !kvs_trace_chained(trace);
    const struct kvs_request *request;
    enum kvs_code code;
    *foresight = (struct kvs_foresight){0};
    while (!(code = kvs_trace_next(trace, &request, err)) && request)
        if ((code = add(foresight, chain, request, err)))
            break;
    if (!code)
        code = kvs_future_find(&foresight->future, err);
    if (code)
        kvs_foresight_free(foresight);
    return code;
}

void sim_expect(const struct sim *sim, struct kvs_tier *tier, uint32_t slot, uint64_t key)
{
    if (!sim->config->foresight)
        return;
    const uint32_t *next = kvs_map_find(&sim->next_use, key);
    kvs_tier_expect(tier, slot, next && *next != NEVER ? *next : UINT64_MAX);
}

static void expect_in(const struct sim *sim, struct kvs_tier *tier, uint64_t key)
{
    uint32_t slot = kvs_tier_find(tier, key);
    if (slot != KVS_NO_SLOT)
        sim_expect(sim, tier, slot, key);
}

bool sim_foresee(struct sim *sim, const struct req *req)
{
    const struct kvs_foresight *foresight = sim->config->foresight;
    if (!foresight)
        return true;
    const uint64_t *next_use = foresight->future.next_use + foresight->first[req->trace_i];
    for (uint32_t b = req->n_block; b-- > 0;) { /* a key that is there twice: its last next use */
        bool found;
        uint32_t next = next_use[b] < NEVER ? (uint32_t)next_use[b] : NEVER;
        uint32_t *of = kvs_map_put(&sim->next_use, req->key[b], next, &found);
        if (!of)
            return sim_nomem(sim);
        if (*of < next)
            *of = next;
    }
    for (uint32_t b = 0; b < req->n_block; b++) {
        expect_in(sim, sim->replica[req->record.replica].hbm, req->key[b]);
        for (uint32_t t = 0; t < sim->config->n_tier; t++) {
            const bool sharded = sim_sharded(sim, t);
            struct store *store = sim_store(sim, sharded ? 0 : req->record.replica, t);
            for (uint32_t h = 0; h < (sharded ? sim->n_host : 1); h++)
                expect_in(sim, store[h].tier, req->key[b]);
        }
    }
    return true;
}
