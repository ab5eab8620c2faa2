#include "curve.h"

#include "base/map.h"
#include "stack.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Student's t, 15 degrees of freedom, 97.5 %. */
#define T_975 2.131
#define AHEAD 16 /* accesses between asking for memory and needing it */

/* Keys of one group, and how often each distance among them came. */
struct group {
    struct kvs_stack *stack;
    uint64_t n_access;
    uint64_t *count, *upto; /* [room], by distance; upto: hits at this distance and below */
    size_t room;
    uint32_t most; /* largest distance seen */
};

struct kvs_curve {
    double rate;
    uint64_t threshold; /* of a key's hash, in 2^-32 */
    uint32_t n_group;
    uint64_t n_access;
    struct group group[KVS_CURVE_GROUPS];
};

struct kvs_curve *kvs_curve_new(double rate)
{
    struct kvs_curve *curve = calloc(1, sizeof *curve);
    assert(rate > 0 && rate <= 1);
    if (!curve)
        return NULL;
    curve->threshold = (uint64_t)ceil(rate * 0x1p32);
    curve->rate = (double)curve->threshold * 0x1p-32;
    curve->n_group = rate < 1 ? KVS_CURVE_GROUPS : 1;
    for (uint32_t i = 0; i < curve->n_group; i++)
        if (!(curve->group[i].stack = kvs_stack_new())) {
            kvs_curve_free(curve);
            return NULL;
        }
    return curve;
}

void kvs_curve_free(struct kvs_curve *curve)
{
    if (!curve)
        return;
    for (uint32_t i = 0; i < curve->n_group; i++) {
        kvs_stack_free(curve->group[i].stack);
        free(curve->group[i].count);
        free(curve->group[i].upto);
    }
    free(curve);
}

/* The group that follows a key; NULL: none does. The hash is not that of the keys' map. */
static struct group *group_of(struct kvs_curve *curve, uint64_t key)
{
    if (curve->n_group == 1)
        return &curve->group[0];
    const uint64_t hash = kvs_mix64(key + UINT64_C(0x9e3779b97f4a7c15));
    return hash >> 32 < curve->threshold ? &curve->group[hash % curve->n_group] : NULL;
}

static bool grow(struct group *group, uint32_t distance)
{
    const size_t room = (size_t)distance + distance / 2 + 1024;
    uint64_t *count = realloc(group->count, room * sizeof *count);
    if (!count)
        return false;
    memset(count + group->room, 0, (room - group->room) * sizeof *count);
    group->count = count;
    group->room = room;
    return true;
}

bool kvs_curve_add(struct kvs_curve *curve, const uint64_t *key, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct group *group = group_of(curve, key[i]);
        uint32_t distance;
        if (curve->n_group == 1 && i + AHEAD < n)
            kvs_stack_prefetch(group->stack, key[i + AHEAD]);
        if (curve->n_group == 1 && i + AHEAD / 2 < n)
            kvs_stack_prefetch_bit(group->stack, key[i + AHEAD / 2]);
        if (!group)
            continue;
        if (!kvs_stack_access(group->stack, key[i], &distance) ||
            (distance >= group->room && !grow(group, distance)))
            return false;
        group->count[distance]++; /* [0]: first uses */
        group->n_access++;
        group->most = distance > group->most ? distance : group->most;
    }
    curve->n_access += n;
    return true;
}

uint64_t kvs_curve_n_access(const struct kvs_curve *curve)
{
    return curve->n_access;
}

uint64_t kvs_curve_n_followed(const struct kvs_curve *curve)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < curve->n_group; i++)
        n += curve->group[i].n_access;
    return n;
}

double kvs_curve_n_key(const struct kvs_curve *curve)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < curve->n_group; i++)
        n += kvs_stack_n_key(curve->group[i].stack);
    return (double)n / curve->rate;
}

bool kvs_curve_end(struct kvs_curve *curve)
{
    for (uint32_t i = 0; i < curve->n_group; i++) {
        struct group *group = &curve->group[i];
        free(group->upto);
        group->upto = calloc((size_t)group->most + 1, sizeof *group->upto);
        if (!group->upto)
            return false;
        for (uint32_t d = 1; d <= group->most; d++)
            group->upto[d] = group->upto[d - 1] + group->count[d];
    }
    return true;
}

/* Hits of one group's caches, over the accesses that its share of all would be. */
static double group_hit_frac(const struct kvs_curve *curve, const struct group *group,
                             uint64_t n_block)
{
    const double share = curve->rate / curve->n_group;
    const double expected = (double)curve->n_access * share;
    const double at = floor((double)n_block * share);
    const uint32_t distance = at < (double)group->most ? (uint32_t)at : group->most;
    if (curve->n_access == 0)
        return 0;
    const double extra = expected - (double)group->n_access; /* 0 where all is followed */
    return ((double)group->upto[distance] + (n_block ? extra : 0)) / expected;
}

struct kvs_curve_point kvs_curve_at(const struct kvs_curve *curve, uint64_t n_block)
{
    double hit[KVS_CURVE_GROUPS], sum = 0, square = 0;
    const double n = curve->n_group;
    for (uint32_t i = 0; i < curve->n_group; i++) {
        hit[i] = group_hit_frac(curve, &curve->group[i], n_block);
        sum += hit[i];
    }
    const double mean = sum / n;
    for (uint32_t i = 0; i < curve->n_group; i++)
        square += (hit[i] - mean) * (hit[i] - mean);
    return (struct kvs_curve_point){
        .hit_frac = fmin(fmax(mean, 0), 1),
        .error = curve->n_group > 1 ? T_975 * sqrt(square / (n - 1) / n) : 0,
    };
}
