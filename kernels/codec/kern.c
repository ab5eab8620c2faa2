/* kern.c - the loops of an instruction set, as kern.h has them. */
#include "kern_vec.h"

#define XXH_INLINE_ALL /* with this instruction set */
#include <xxhash.h>

/* In steps, so that what comes next is fetched while this is summed: from memory a third faster. */
static uint64_t hash(const void *data, size_t n_byte)
{
    enum { STEP = 2048, AHEAD = 8192 };
    const uint8_t *p = data;
    XXH3_state_t state;

    if (n_byte < 4 * AHEAD) {
        for (size_t k = 0; k < n_byte; k += 64)
            __builtin_prefetch(p + k);
        return XXH3_64bits(data, n_byte);
    }
    for (size_t k = 0; k < AHEAD; k += 64)
        __builtin_prefetch(p + k);
    (void)XXH3_64bits_reset(&state);
    for (size_t i = 0; i < n_byte; i += STEP) {
        for (size_t k = i + AHEAD; k < i + AHEAD + STEP && k < n_byte; k += 64)
            __builtin_prefetch(p + k);
        (void)XXH3_64bits_update(&state, p + i, n_byte - i < STEP ? n_byte - i : STEP);
    }
    return XXH3_64bits_digest(&state);
}

#define TEXT_(name) #name
#define TEXT(name) TEXT_(name)
#define TABLE_(set) kvs_kvf_##set
#define TABLE(set) TABLE_(set)

const struct kvs_kvf_isa TABLE(KVS_VEC_NAME) = {
    .name = TEXT(KVS_VEC_NAME),
    .hash = hash,
    .widen = KERN(widen),
    .max_bits = KERN(max_bits),
    .range = KERN(range),
    .range_row = KERN(range_row),
    .scales = KERN(scales),
    .moments = KERN(moments),
    .pack = KERN(pack),
    .unpack = KERN(unpack),
    .quantise = KERN(quantise),
    .places = KERN(places),
    .count = KERN(count),
    .count_each = KERN(count_each),
    .sort = KERN(sort),
    .turn = KERN(turn),
    .outside = KERN(outside),
    .place = KERN(place),
    .rans_decode = KERN(rans_decode),
    .rans_encode = KERN(rans_encode),
};
