/*
 * decode.c - sequences that decode: runs of iterations as one step, and who ends when.
 */
#include "parts.h"

#include <assert.h>

/* Time of the first n iterations of a decode run. */
static int64_t run_ns(const struct sim *sim, const struct replica *replica, uint64_t n)
{
    uint32_t b = replica->n_decoding;
    double k = (double)n;
    double context = k * replica->context_tok + b * k * (k - 1) / 2;
    return kvs_ns(k * sim->decode_fixed_s[b] + context * sim->decode_per_tok_s[b]);
}

bool sim_begin_decode(struct sim *sim, uint32_t replica_i)
{
    struct replica *replica = &sim->replica[replica_i];
    struct step *step = &replica->step;
    step->kind = STEP_DECODE;
    step->begin_ns = sim->now_ns;
    step->stall_ns = 0;
    step->n_part = 0;
    step->n_iter = sim_grow_room(sim, replica, replica->decoding[0]->due_at_decode - replica->iter);
    assert(step->n_iter > 0);
    return sim_step_ends_at(sim, replica_i, sim->now_ns + run_ns(sim, replica, step->n_iter));
}

/* Cuts a decode run at the first iteration that ends now or later. */
bool sim_cut_decode(struct sim *sim, uint32_t replica_i)
{
    struct replica *replica = &sim->replica[replica_i];
    struct step *step = &replica->step;
    uint64_t low = 1, high = step->n_iter;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (step->begin_ns + run_ns(sim, replica, mid) >= sim->now_ns)
            high = mid;
        else
            low = mid + 1;
    }
    if (low == step->n_iter)
        return true;
    step->n_iter = low;
    return sim_step_ends_at(sim, replica_i, step->begin_ns + run_ns(sim, replica, low));
}

bool sim_shorten_decode(struct sim *sim, struct replica *replica)
{
    if (replica->step.kind != STEP_DECODE)
        return true;
    if (!sim_cut_decode(sim, (uint32_t)(replica - sim->replica)))
        return false;
    sim_trim_room(sim, replica, replica->step.n_iter);
    return true;
}

/* Whether a ends before b: the heap's order. */
static bool ends_before(const struct req *a, const struct req *b)
{
    return a->due_at_decode < b->due_at_decode ||
           (a->due_at_decode == b->due_at_decode && a->record.index < b->record.index);
}

static void decode_push(struct replica *replica, struct req *req)
{
    uint32_t i = replica->n_decoding++;
    for (uint32_t up; i > 0 && ends_before(req, replica->decoding[up = (i - 1) / 2]); i = up)
        replica->decoding[i] = replica->decoding[up];
    replica->decoding[i] = req;
}

/* Puts the last sequence into place i, which is empty, and restores the heap's order. */
static void decode_fill(struct replica *replica, uint32_t i)
{
    struct req *last = replica->decoding[--replica->n_decoding];
    const uint32_t n = replica->n_decoding;
    if (i == n)
        return;
    for (uint32_t up; i > 0 && ends_before(last, replica->decoding[up = (i - 1) / 2]); i = up)
        replica->decoding[i] = replica->decoding[up];
    for (uint32_t least; (least = 2 * i + 1) < n; i = least) {
        if (least + 1 < n && ends_before(replica->decoding[least + 1], replica->decoding[least]))
            least++;
        if (ends_before(last, replica->decoding[least]))
            break;
        replica->decoding[i] = replica->decoding[least];
    }
    replica->decoding[i] = last;
}

static struct req *decode_pop(struct replica *replica)
{
    struct req *first = replica->decoding[0];
    decode_fill(replica, 0);
    return first;
}

void sim_decode_leave(struct replica *replica, const struct req *req)
{
    uint32_t i = 0;
    while (replica->decoding[i] != req)
        i++;
    decode_fill(replica, i);
}

/* n iterations are over: sequences that have all their tokens end. */
bool sim_advance_decode(struct sim *sim, struct replica *replica, uint64_t n)
{
    replica->iter += n;
    replica->context_tok += (double)n * replica->n_decoding;
    replica->grown_tok += n * replica->n_decoding;
    while (replica->n_decoding && replica->decoding[0]->due_at_decode <= replica->iter) {
        struct req *req = decode_pop(replica);
        replica->context_tok -= (double)req->record.input_tok + req->record.output_tok;
        replica->grown_tok -= req->record.output_tok - req->base_tok;
        if (!sim_finish(sim, req))
            return false;
    }
    return true;
}

bool sim_resume_decode(struct sim *sim, struct req *req, uint32_t n_out)
{
    struct replica *replica = &sim->replica[req->record.replica];
    req->phase = PHASE_DECODE;
    if (req->record.output_tok <= n_out)
        return sim_finish(sim, req);
    req->due_at_decode = replica->iter + req->record.output_tok - n_out;
    replica->context_tok += (double)req->record.input_tok + n_out;
    replica->grown_tok += n_out - req->base_tok;
    decode_push(replica, req);
    return true;
}
