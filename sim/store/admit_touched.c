/*
 * A block is stored when it is offered the nth time: 2 keeps out what is never used again, as
 * HiCache's write_through_selective and KVBM's disk filter (frequency >= 2) do. Offers are
 * remembered for the last 2^20 blocks that were not stored.
 */
#include "admit.h"
#include "ghost.h"

#define REMEMBERED (1u << 20)

struct touched {
    struct kvs_ghost ghost; /* a note: how often the block was offered, uint32_t */
    uint32_t room, n;
};

static bool touched_init(void *state, const struct kvs_admit_config *config)
{
    struct touched *touched = state;
    touched->ghost.note_bytes = sizeof(uint32_t);
    touched->n = config->n;
    touched->room = 1024;
    return kvs_ghost_grow(&touched->ghost, touched->room);
}

static void touched_end(void *state)
{
    struct touched *touched = state;
    kvs_ghost_free(&touched->ghost);
}

static bool touched_wants(void *state, uint64_t key)
{
    struct touched *touched = state;
    uint32_t n = 0;
    (void)kvs_ghost_take(&touched->ghost, key, &n);
    if (++n >= touched->n)
        return true;
    if (touched->ghost.index.n == touched->room && touched->room < REMEMBERED &&
        kvs_ghost_grow(&touched->ghost, 2 * touched->room))
        touched->room *= 2; /* without memory for more, older ones are forgotten sooner */
    kvs_ghost_add(&touched->ghost, key, touched->room, &n);
    return false;
}

extern const struct kvs_admit_ops kvs_admit_touched;
const struct kvs_admit_ops kvs_admit_touched = {
    .name = "touched",
    .help = "a block when it is offered the nth time (admit_n)",
    .state_bytes = sizeof(struct touched),
    .init = touched_init,
    .end = touched_end,
    .wants = touched_wants,
};
