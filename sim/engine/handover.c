/*
 * handover.c - prefill and decode on replicas of their own: a computed prompt's KV goes over a link
 * from where it was prefilled to where it decodes.
 *
 * The prompt keeps its room at the prefill replica until its KV has arrived; it waits for room at
 * the decode replica, and for hand-overs before it from the same prefill replica. The first token
 * counts when the KV is there: TTFT is prefill + transfer, as the Mooncake PD performance doc has
 * it. The transfer begins when the prompt is wholly computed; layers do not overlap.
 */
#include "parts.h"

#include <assert.h>

bool sim_only_prefills(const struct sim *sim, uint32_t replica_i)
{
    return sim->config->n_decode_replica && replica_i < sim->config->n_replica;
}

/* The decode replica with the fewest requests, those on their way included. */
static uint32_t choose(const struct sim *sim)
{
    uint32_t best = sim->config->n_replica;
    for (uint32_t r = best + 1; r < sim->n_replica; r++) {
        const struct replica *here = &sim->replica[r], *there = &sim->replica[best];
        if (here->n_waiting + here->n_decoding < there->n_waiting + there->n_decoding)
            best = r;
    }
    return best;
}

bool sim_hand_over(struct sim *sim, struct req *req)
{
    if (!sim_prefilled(sim, req))
        return false;
    req->home_i = req->record.replica;
    req->incoming = true;
    req->record.decode_replica = choose(sim);
    struct replica *to = &sim->replica[req->record.decode_replica];
    /* it waits there under that replica's number; its blocks stay home until they have arrived */
    req->record.replica = req->record.decode_replica;
    req->prev = to->wait_last;
    req->next = NULL;
    *(req->prev ? &req->prev->next : &to->wait_first) = req;
    to->wait_last = req;
    to->n_waiting++;
    req->expected_ns = 0;
    return to->wait_first != req || sim_admit_waiting(sim, req->record.replica);
}

bool sim_take_in(struct sim *sim, struct req *req, bool *done)
{
    struct replica *to = &sim->replica[req->record.replica];
    for (uint32_t b = 0; b < req->n_block; b++)
        req->where[b] = KVS_AT_NONE; /* of its blocks, nothing is here */
    uint32_t out_tok = sim->config->preemption == KVS_PREEMPT_NEVER ? req->record.output_tok : 1;
    req->there_bytes = sim_need_bytes(sim, req, out_tok);
    if (!sim_reserve_prompt(sim, to, req->there_bytes))
        return sim->err->code == KVS_OK;
    to->n_admitted++;
    sim_leave_waiting(to, req);
    *done = true;
    return sim_send(sim, req);
}

bool sim_handed_over(struct sim *sim, struct req *req, int64_t begin_ns)
{
    const uint32_t to_i = req->record.decode_replica;
    struct replica *to = &sim->replica[to_i];
    req->record.replica = req->home_i;
    sim_release_room(sim, req);
    req->record.replica = to_i;
    req->reserved_bytes = req->there_bytes;
    req->base_tok = sim->config->preemption == KVS_PREEMPT_NEVER ? req->record.output_tok : 1;
    req->incoming = false;
    req->n_out = 1;
    req->record.load_ns += sim->now_ns - begin_ns;
    sim_first_token(sim, req);
    req->next = to->back;
    to->back = req;
    return sim_poke(sim, to_i) && sim_admit_waiting(sim, req->home_i);
}
