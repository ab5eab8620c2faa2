/*
 * room.c - HBM for the answers: it grows with decoding, and who leaves when it runs out.
 *
 * A prompt is admitted with room for itself and one token. Each step then takes the room that its
 * decode iterations need, evicting cached blocks. Where that fails the youngest request leaves and
 * waits again, as in vLLM (Kwon et al. 2023, section 4.5): its KV is dropped and computed again, or
 * moves to the nearest tier's memory and back. A prompt that has not begun to decode just gives its
 * room back, unless loads or other prompts depend on it.
 */
#include "parts.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static bool grows(const struct sim *sim)
{
    return sim->config->preemption != KVS_PREEMPT_NEVER;
}

static uint64_t free_bytes(const struct replica *replica)
{
    struct kvs_tier_stats hbm;
    kvs_tier_stats(replica->hbm, &hbm);
    return hbm.capacity_bytes - hbm.pinned_bytes - hbm.reserved_bytes;
}

/* vLLM admits only while this share of its blocks stays free (its watermark). */
#define WATERMARK_FRAC 0.01

static bool fits(const struct sim *sim, const struct replica *replica, uint64_t n_bytes)
{
    struct kvs_tier_stats hbm;
    if (!grows(sim) || !replica->n_admitted)
        return true;
    kvs_tier_stats(replica->hbm, &hbm);
    uint64_t spare = (uint64_t)(WATERMARK_FRAC * (double)hbm.capacity_bytes);
    return n_bytes + spare <= hbm.capacity_bytes - hbm.pinned_bytes - hbm.reserved_bytes;
}

/*
 * A decode run is one event and took the room of all its iterations. Those to come have nothing
 * yet, so a prompt does not wait for what they would need.
 */
bool sim_reserve_prompt(struct sim *sim, struct replica *replica, uint64_t n_bytes)
{
    if (!fits(sim, replica, n_bytes)) {
        if (!sim_shorten_decode(sim, replica) || !fits(sim, replica, n_bytes))
            return false;
    }
    return kvs_tier_reserve(replica->hbm, n_bytes);
}

static uint64_t bytes_of(const struct sim *sim, uint64_t n_tok)
{
    return (uint64_t)ceil(sim->kv_bytes_per_tok * (double)n_tok);
}

void sim_trim_room(struct sim *sim, struct replica *replica, uint64_t n_iter)
{
    if (!grows(sim))
        return;
    uint64_t n_bytes = bytes_of(sim, replica->grown_tok + n_iter * replica->n_decoding);
    assert(n_bytes <= replica->grown_bytes);
    kvs_tier_release(replica->hbm, replica->grown_bytes - n_bytes);
    replica->grown_bytes = n_bytes;
}

uint64_t sim_grow_room(struct sim *sim, struct replica *replica, uint64_t n_iter)
{
    if (!grows(sim) || !replica->n_decoding)
        return n_iter;
    uint64_t want = bytes_of(sim, replica->grown_tok + n_iter * replica->n_decoding);
    if (want <= replica->grown_bytes)
        return n_iter;
    uint64_t room = free_bytes(replica);
    if (want - replica->grown_bytes > room) {
        double n_tok = (double)(replica->grown_bytes + room) / sim->kv_bytes_per_tok;
        n_tok -= (double)replica->grown_tok;
        n_iter = n_tok > 0 ? (uint64_t)(n_tok / replica->n_decoding) : 0;
        want = bytes_of(sim, replica->grown_tok + n_iter * replica->n_decoding);
        if (n_iter == 0 || want - replica->grown_bytes > room)
            return 0;
    }
    bool fine = kvs_tier_reserve(replica->hbm, want - replica->grown_bytes);
    assert(fine);
    replica->grown_bytes = want;
    return n_iter;
}

/* Whether an admitted prompt before its first token can give its room back just so. */
static bool can_leave(const struct req *req)
{
    return req->n_loading == 0 && req->n_follow == 0;
}

/* The youngest request that can leave. */
static struct req *victim(const struct replica *replica)
{
    assert(replica->n_decoding > 0);
    struct req *best = replica->decoding[0];
    for (uint32_t i = 1; i < replica->n_decoding; i++)
        if (replica->decoding[i]->record.index > best->record.index)
            best = replica->decoding[i];
    for (struct req *req = replica->pre_first; req; req = req->next)
        if (can_leave(req) && req->record.index > best->record.index)
            best = req;
    return best;
}

/* It waits no longer for the prompts that bring its blocks. */
static void leave_owners(struct sim *sim, struct req *req)
{
    const struct replica *replica = &sim->replica[req->record.replica];
    for (uint32_t b = 0; b < req->n_block && req->n_wait; b++) {
        uint32_t slot = req->slot[b];
        if (slot == KVS_NO_SLOT || slot >= replica->owner_room || !replica->owner[slot] ||
            replica->owner[slot] == req->id)
            continue;
        struct req *owner = sim->live[replica->owner[slot] - 1];
        for (uint32_t f = 0; f < owner->n_follow; f++)
            if (owner->follow[f] == req) {
                memmove(owner->follow + f, owner->follow + f + 1,
                        (owner->n_follow - f - 1) * sizeof(struct req *));
                owner->n_follow--;
                req->n_wait--;
                break;
            }
    }
    assert(req->n_wait == 0);
}

void sim_release_room(struct sim *sim, struct req *req)
{
    struct replica *replica = &sim->replica[req->record.replica];
    for (uint32_t b = 0; b < req->n_block; b++) {
        uint32_t slot = req->slot[b];
        if (slot == KVS_NO_SLOT)
            continue;
        bool unmade = slot < replica->owner_room && replica->owner[slot] == req->id;
        kvs_tier_unpin(replica->hbm, slot);
        if ((unmade || !sim->config->hbm_cache) && !kvs_tier_pinned(replica->hbm, slot)) {
            if (!unmade && sim->config->n_tier && !sim->config->planner->never_loads &&
                sim->config->tier[0].write != KVS_WRITE_THROUGH)
                sim_let_go(&replica->let_go, req->key[b], kvs_tier_info(replica->hbm, slot));
            kvs_tier_remove(replica->hbm, slot);
        }
        if (unmade)
            replica->owner[slot] = 0;
        req->slot[b] = KVS_NO_SLOT;
    }
    kvs_tier_release(replica->hbm, req->reserved_bytes);
    req->reserved_bytes = 0;
    replica->n_admitted--;
}

/* Back among those that wait for room, where its arrival puts it. */
static void wait_again(struct sim *sim, struct req *req)
{
    struct replica *replica = &sim->replica[req->record.replica];
    struct req *after = replica->wait_first;
    while (after && after->record.index < req->record.index)
        after = after->next;
    req->next = after;
    req->prev = after ? after->prev : replica->wait_last;
    *(req->prev ? &req->prev->next : &replica->wait_first) = req;
    *(after ? &after->prev : &replica->wait_last) = req;
    req->expected_ns = 0;
}

/* A prompt that has not had its first token since it was admitted: what it loaded was for nothing.
 */
static void put_back(struct sim *sim, struct req *req)
{
    struct replica *replica = &sim->replica[req->record.replica];
    leave_owners(sim, req);
    *(req->prev ? &req->prev->next : &replica->pre_first) = req->next;
    *(req->next ? &req->next->prev : &replica->pre_last) = req->prev;
    replica->backlog_ns -= req->work_ns;
    req->record.again_tok += req->now.work_tok - req->work_tok;
    sim->check.asked_tok -= req->work_tok;
    for (uint32_t t = 0; t < sim->config->n_tier; t++)
        if (req->load[t] == LOAD_DONE)
            sim->result->tier[t].load_unused_bytes += req->load_bytes[t] - req->unused_bytes[t];
    sim_release_room(sim, req);
    wait_again(sim, req);
}

static bool preempt(struct sim *sim, struct req *req)
{
    struct replica *replica = &sim->replica[req->record.replica];
    req->record.n_preempt++;
    sim->result->n_preempt++;
    if (req->phase != PHASE_DECODE) {
        put_back(sim, req);
        return true;
    }
    sim_decode_leave(replica, req);
    uint32_t n_out = req->record.output_tok - (uint32_t)(req->due_at_decode - replica->iter);
    replica->context_tok -= (double)req->record.input_tok + n_out;
    replica->grown_tok -= n_out - req->base_tok;
    sim_trim_room(sim, replica, 0);
    if (!req->done_tok) {
        req->first_plan = req->plan;
        req->had_plan = req->has_plan;
    }
    req->done_tok = n_out;
    replica->n_waiting++;
    if (sim->config->preemption == KVS_PREEMPT_SWAP) {
        req->swap_bytes = bytes_of(sim, (uint64_t)req->record.input_tok + n_out);
        replica->n_swapping++;
        return sim_swap(sim, req, true);
    }
    req->record.again_tok += req->record.input_tok + n_out;
    sim_release_room(sim, req);
    wait_again(sim, req);
    return true;
}

bool sim_make_room(struct sim *sim, uint32_t replica_i)
{
    struct replica *replica = &sim->replica[replica_i];
    while (!replica->n_swapping && !sim_grow_room(sim, replica, 1))
        if (!preempt(sim, victim(replica)))
            return false;
    assert(replica->n_admitted > 0); /* one alone always has room: see sim_arrive */
    return true;
}

bool sim_swapped(struct sim *sim, struct req *req, bool out)
{
    uint32_t replica_i = req->record.replica;
    struct replica *replica = &sim->replica[replica_i];
    if (out) {
        sim->result->swap_bytes += req->swap_bytes;
        replica->n_swapping--;
        sim_release_room(sim, req);
        wait_again(sim, req);
        return replica->n_swapping || sim_admit_waiting(sim, replica_i);
    }
    req->swap_bytes = 0;
    req->n_out = req->done_tok;
    req->next = replica->back;
    replica->back = req;
    return sim_poke(sim, replica_i);
}

bool sim_join_back(struct sim *sim, struct replica *replica)
{
    while (replica->back) {
        struct req *req = replica->back;
        replica->back = req->next;
        replica->n_waiting--;
        if (!sim_resume_decode(sim, req, req->n_out))
            return false;
    }
    return true;
}
