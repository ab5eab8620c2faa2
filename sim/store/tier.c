#include "tier.h"

#include "base/prefetch.h"
#include "evict.h"
#include "index.h"

#include <assert.h>
#include <stdlib.h>

/* A slot's pins: their number, with ASIDE if the policy has it out of its order and UNUSED until
 * its first touch; FREE: no block. */
#define ASIDE (1u << 31)
#define UNUSED (1u << 30)
#define PINS (UNUSED - 1)
#define FREE UINT32_MAX

#define SLOT_MAX ((1u << 28) - 1) /* the index and kvs_node's links bound it */

#define FEW_SLOTS (1u << 14) /* fewer are doubled when they run out */

struct kvs_tier {
    struct kvs_evict evict; /* owns node and info; the key lies in node */
    uint32_t *pin;          /* [slot] */
    uint32_t n_slot;        /* of the arrays */
    uint32_t n_fresh;       /* slots ever used */
    uint32_t free;          /* the freed ones, through node.next */
    struct kvs_index index;
    uint64_t capacity_bytes, pinned_bytes, reserved_bytes;
    kvs_evicted_fn *evicted;
    void *ctx;
    uint64_t n_insert, n_evict, n_touch, n_refused, insert_bytes, evict_bytes;
    uint64_t unused_bytes, evict_unused_bytes;
    max_align_t state[]; /* the policy's */
};

static struct kvs_keys node_keys(const struct kvs_tier *tier)
{
    return (struct kvs_keys){tier->evict.node, sizeof *tier->evict.node};
}

static bool resident(const struct kvs_tier *tier, uint32_t slot)
{
    return slot < tier->n_fresh && tier->pin[slot] != FREE;
}

enum kvs_code kvs_tier_new(const struct kvs_evict_ops *evict, uint64_t capacity_bytes,
                           kvs_evicted_fn *evicted, void *ctx, struct kvs_tier **tier,
                           struct kvs_err *err)
{
    *tier = NULL;
    struct kvs_tier *made = calloc(1, sizeof *made + evict->state_bytes);
    if (!made)
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for a tier");
    made->evict.ops = evict;
    made->evict.state = made->state;
    made->evict.room_bytes = made->capacity_bytes = capacity_bytes;
    made->evicted = evicted;
    made->ctx = ctx;
    made->free = KVS_NIL;
    if (evict->init && !evict->init(&made->evict)) {
        kvs_tier_free(made);
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for a tier's policy \"%s\"", evict->name);
    }
    *tier = made;
    return KVS_OK;
}

void kvs_tier_free(struct kvs_tier *tier)
{
    if (!tier)
        return;
    if (tier->evict.ops->end)
        tier->evict.ops->end(&tier->evict);
    free(tier->evict.node);
    free(tier->evict.info);
    free(tier->pin);
    free(tier->index.entry);
    free(tier);
}

/* --- looking up ------------------------------------------------------------------------------- */

static inline uint32_t find(const struct kvs_tier *tier, uint64_t key, uint64_t hash)
{
    uint32_t bucket = kvs_index_find(&tier->index, key, hash, node_keys(tier));
    return bucket == KVS_INDEX_NONE ? KVS_NO_SLOT : kvs_index_slot(&tier->index, bucket);
}

uint32_t kvs_tier_find(const struct kvs_tier *tier, uint64_t key)
{
    return find(tier, key, kvs_index_hash(key));
}

void kvs_tier_prefetch(const struct kvs_tier *tier, uint64_t key)
{
    if (tier->index.n > 0)
        kvs_prefetch(&tier->index.entry[kvs_index_home(&tier->index, kvs_index_hash(key))]);
}

/* A block set aside goes back into the policy's order. */
static inline void bring_back(struct kvs_tier *tier, uint32_t slot)
{
    if (tier->pin[slot] & ASIDE) {
        tier->pin[slot] &= ~ASIDE;
        tier->evict.ops->on_return(&tier->evict, slot);
    }
}

static inline void touch(struct kvs_tier *tier, uint32_t slot)
{
    tier->n_touch++;
    if (tier->pin[slot] & UNUSED) {
        tier->pin[slot] &= ~UNUSED;
        tier->unused_bytes -= tier->evict.info[slot].n_bytes;
    }
    bring_back(tier, slot);
    tier->evict.ops->on_hit(&tier->evict, slot);
}

void kvs_tier_touch(struct kvs_tier *tier, uint32_t slot, int64_t now_ns)
{
    assert(resident(tier, slot));
    tier->evict.now_ns = now_ns;
    touch(tier, slot);
}

void kvs_tier_expect(struct kvs_tier *tier, uint32_t slot, uint64_t next_use)
{
    assert(resident(tier, slot));
    if (!tier->evict.ops->on_expect)
        return;
    bring_back(tier, slot);
    tier->evict.ops->on_expect(&tier->evict, slot, next_use);
}

uint32_t kvs_tier_next(const struct kvs_tier *tier, uint32_t from)
{
    while (from < tier->n_fresh && tier->pin[from] == FREE)
        from++;
    return from < tier->n_fresh ? from : KVS_NO_SLOT;
}

uint64_t kvs_tier_key(const struct kvs_tier *tier, uint32_t slot)
{
    assert(resident(tier, slot));
    return tier->evict.node[slot].key;
}

const struct kvs_block_info *kvs_tier_info(const struct kvs_tier *tier, uint32_t slot)
{
    assert(resident(tier, slot));
    return &tier->evict.info[slot];
}

/* --- leaving ---------------------------------------------------------------------------------- */

/* Frees the slot of a block that the policy has let go. */
static void drop(struct kvs_tier *tier, uint32_t slot)
{
    uint64_t hash = kvs_index_hash(tier->evict.node[slot].key);
    kvs_index_del(&tier->index, kvs_index_bucket(&tier->index, hash, slot), node_keys(tier));
    tier->evict.used_bytes -= tier->evict.info[slot].n_bytes;
    tier->evict.n_block--;
    if (tier->pin[slot] & UNUSED)
        tier->unused_bytes -= tier->evict.info[slot].n_bytes;
    tier->pin[slot] = FREE;
    tier->evict.node[slot].next = tier->free & KVS_NIL;
    tier->free = slot;
}

static uint32_t pick_victim(struct kvs_tier *tier)
{
    uint32_t slot = tier->evict.ops->victim(&tier->evict);
    assert(slot != KVS_NIL);
    assert(resident(tier, slot));
    assert(!(tier->pin[slot] & ASIDE));
    return slot;
}

/*
 * Brings into cache what the evictions after this one read, once slot is out of its list: in every
 * policy that is a list, its neighbours there leave next, or soon. A guess, which no result depends
 * on.
 */
static inline void foresee(const struct kvs_tier *tier, uint32_t slot)
{
    const struct kvs_node *node = tier->evict.node;
    uint32_t next = node[slot].prev;
    if (next >= tier->n_fresh || (next = node[next].prev) >= tier->n_fresh)
        return;
    kvs_prefetch(&tier->evict.info[next]);
    kvs_prefetch(&tier->pin[next]);
    kvs_tier_prefetch(tier, node[next].key);
    if (node[next].prev < tier->n_fresh)
        kvs_prefetch(&node[node[next].prev]);
}

static void evict_one(struct kvs_tier *tier)
{
    const struct kvs_evict_ops *ops = tier->evict.ops;
    uint32_t slot;
    while ((tier->pin[slot = pick_victim(tier)] & PINS) != 0) {
        ops->on_remove(&tier->evict, slot, KVS_LEAVE_ASIDE);
        tier->pin[slot] |= ASIDE;
    }
    ops->on_remove(&tier->evict, slot, KVS_LEAVE_EVICTED);
    foresee(tier, slot);
    tier->n_evict++;
    tier->evict_bytes += tier->evict.info[slot].n_bytes;
    if (tier->pin[slot] & UNUSED)
        tier->evict_unused_bytes += tier->evict.info[slot].n_bytes;
    drop(tier, slot);
    if (tier->evicted)
        tier->evicted(tier->ctx, tier->evict.node[slot].key, &tier->evict.info[slot]);
}

/* Can the blocks be brought to leave n_bytes free, whatever else is in the budget? */
static bool can_free(const struct kvs_tier *tier, uint64_t n_bytes)
{
    return n_bytes <= tier->capacity_bytes - tier->reserved_bytes - tier->pinned_bytes;
}

static void make_room(struct kvs_tier *tier, uint64_t n_bytes)
{
    while (tier->capacity_bytes - tier->reserved_bytes - tier->evict.used_bytes < n_bytes)
        evict_one(tier);
}

void kvs_tier_remove(struct kvs_tier *tier, uint32_t slot)
{
    assert(resident(tier, slot));
    assert((tier->pin[slot] & ~UNUSED) == 0);
    tier->evict.ops->on_remove(&tier->evict, slot, KVS_LEAVE_REMOVED);
    drop(tier, slot);
}

/* --- coming ----------------------------------------------------------------------------------- */

/* More slots: of many an eighth at a time, as reallocation of large arrays moves pages, not bytes.
 */
static bool grow(struct kvs_tier *tier)
{
    uint32_t n = tier->n_slot + tier->n_slot / (tier->n_slot < FEW_SLOTS ? 1 : 8) + 16;
    if (n > SLOT_MAX)
        return false;
    void *grown = realloc(tier->evict.node, n * sizeof *tier->evict.node);
    if (!grown)
        return false;
    tier->evict.node = grown;
    grown = realloc(tier->evict.info, n * sizeof *tier->evict.info);
    if (!grown)
        return false;
    tier->evict.info = grown;
    grown = realloc(tier->pin, n * sizeof *tier->pin);
    if (!grown)
        return false;
    tier->pin = grown;
    if (tier->evict.ops->grow && !tier->evict.ops->grow(&tier->evict, n))
        return false;
    tier->n_slot = n;
    return true;
}

/* Makes sure of a slot and an index entry for one block more than there are. */
static bool have_slot(struct kvs_tier *tier)
{
    if (tier->free == KVS_NIL && tier->n_fresh == tier->n_slot && !grow(tier))
        return false;
    return kvs_index_reserve(&tier->index, tier->evict.n_block + 1, node_keys(tier));
}

static uint32_t take_slot(struct kvs_tier *tier)
{
    uint32_t slot = tier->free;
    if (slot == KVS_NIL)
        return tier->n_fresh++;
    tier->free = tier->evict.node[slot].next;
    return slot;
}

/* Inserts key, which is not resident and has this hash. */
static uint32_t insert(struct kvs_tier *tier, uint64_t key, uint64_t hash,
                       const struct kvs_block_info *info)
{
    const struct kvs_evict_ops *ops = tier->evict.ops;
    bool full =
        info->n_bytes > tier->capacity_bytes - tier->reserved_bytes - tier->evict.used_bytes;
    /* where a block is evicted first, its slot serves */
    if (!can_free(tier, info->n_bytes) || (!full && !have_slot(tier))) {
        tier->n_refused++;
        return KVS_NO_SLOT;
    }
    if (ops->before_insert)
        ops->before_insert(&tier->evict, key);
    make_room(tier, info->n_bytes);
    uint32_t slot = take_slot(tier);
    tier->evict.node[slot] = (struct kvs_node){.key = key, .prev = KVS_NIL, .next = KVS_NIL};
    tier->evict.info[slot] = *info;
    tier->pin[slot] = UNUSED;
    tier->unused_bytes += info->n_bytes;
    kvs_index_add(&tier->index, hash, slot, node_keys(tier));
    tier->evict.used_bytes += info->n_bytes;
    tier->evict.n_block++;
    tier->n_insert++;
    tier->insert_bytes += info->n_bytes;
    ops->on_insert(&tier->evict, slot);
    return slot;
}

uint32_t kvs_tier_insert(struct kvs_tier *tier, uint64_t key, const struct kvs_block_info *info,
                         int64_t now_ns)
{
    uint64_t hash = kvs_index_hash(key);
    tier->evict.now_ns = now_ns;
    return insert(tier, key, hash, info);
}

/* --- pins and reservations -------------------------------------------------------------------- */

void kvs_tier_pin(struct kvs_tier *tier, uint32_t slot)
{
    assert(resident(tier, slot));
    if ((tier->pin[slot] & PINS) == 0)
        tier->pinned_bytes += tier->evict.info[slot].n_bytes;
    tier->pin[slot]++;
}

void kvs_tier_unpin(struct kvs_tier *tier, uint32_t slot)
{
    assert(resident(tier, slot));
    assert((tier->pin[slot] & PINS) != 0);
    if ((--tier->pin[slot] & PINS) > 0)
        return;
    tier->pinned_bytes -= tier->evict.info[slot].n_bytes;
    bring_back(tier, slot);
}

bool kvs_tier_pinned(const struct kvs_tier *tier, uint32_t slot)
{
    assert(resident(tier, slot));
    return (tier->pin[slot] & PINS) > 0;
}

bool kvs_tier_reserve(struct kvs_tier *tier, uint64_t n_bytes)
{
    if (!can_free(tier, n_bytes))
        return false;
    make_room(tier, n_bytes);
    tier->reserved_bytes += n_bytes;
    tier->evict.room_bytes -= n_bytes;
    return true;
}

void kvs_tier_release(struct kvs_tier *tier, uint64_t n_bytes)
{
    assert(n_bytes <= tier->reserved_bytes);
    tier->reserved_bytes -= n_bytes;
    tier->evict.room_bytes += n_bytes;
}

/* --- hit-rate mode ---------------------------------------------------------------------------- */

enum { BATCH = 32 };

static uint64_t access_batch(struct kvs_tier *tier, const uint64_t *key, size_t n,
                             const struct kvs_block_info *info, const uint64_t *next_use)
{
    uint64_t hash[BATCH], n_hit = 0;
    for (size_t i = 0; i < n; i++) {
        hash[i] = kvs_index_hash(key[i]);
        if (tier->index.n > 0)
            kvs_prefetch(&tier->index.entry[kvs_index_home(&tier->index, hash[i])]);
    }
    for (size_t i = 0; i < n && tier->index.n > 0; i++) {
        uint32_t slot = kvs_index_slot(&tier->index, kvs_index_home(&tier->index, hash[i]));
        kvs_prefetch(tier->evict.node + slot);
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t slot = find(tier, key[i], hash[i]);
        tier->evict.now_ns++;
        if (slot != KVS_NO_SLOT) {
            n_hit++;
            touch(tier, slot);
        } else {
            slot = insert(tier, key[i], hash[i], info);
        }
        if (next_use && slot != KVS_NO_SLOT)
            kvs_tier_expect(tier, slot, next_use[i]);
    }
    return n_hit;
}

uint64_t kvs_tier_access(struct kvs_tier *tier, const uint64_t *key, size_t n,
                         const struct kvs_block_info *info, const uint64_t *next_use)
{
    uint64_t n_hit = 0;
    for (size_t at = 0; at < n; at += BATCH)
        n_hit += access_batch(tier, key + at, n - at < BATCH ? n - at : BATCH, info,
                              next_use ? next_use + at : NULL);
    return n_hit;
}

void kvs_tier_stats(const struct kvs_tier *tier, struct kvs_tier_stats *stats)
{
    *stats = (struct kvs_tier_stats){
        .capacity_bytes = tier->capacity_bytes,
        .used_bytes = tier->evict.used_bytes,
        .pinned_bytes = tier->pinned_bytes,
        .reserved_bytes = tier->reserved_bytes,
        .n_block = tier->evict.n_block,
        .n_insert = tier->n_insert,
        .n_evict = tier->n_evict,
        .n_touch = tier->n_touch,
        .n_refused = tier->n_refused,
        .insert_bytes = tier->insert_bytes,
        .evict_bytes = tier->evict_bytes,
        .unused_bytes = tier->unused_bytes,
        .evict_unused_bytes = tier->evict_unused_bytes,
    };
}
