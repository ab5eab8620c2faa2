/* kern.c - the loops of an instruction set, as kern.h has them. */
#include "kern_vec.h"

#define XXH_INLINE_ALL         /* with this instruction set */
#define XXH_PREFETCH_DIST 4096 /* bytes; sections come from memory */
#include <xxhash.h>

static uint64_t hash(const void *data, size_t n_byte)
{
    return XXH3_64bits(data, n_byte);
}

static void copy(void *to, const void *from, size_t n_byte)
{
#ifdef KVS_VEC_LOOKUP
    bool stream = (uintptr_t)to % 64 == 0;
    for (size_t i = 0; i < n_byte; i += 64)
        w_store((uint16_t *)((char *)to + i), i_load((const char *)from + i), stream);
    stream_end();
#else
    memcpy(to, from, n_byte);
#endif
}

#define TEXT_(name) #name
#define TEXT(name) TEXT_(name)
#define TABLE_(set) kvs_kvf_##set
#define TABLE(set) TABLE_(set)

const struct kvs_kvf_isa TABLE(KVS_VEC_NAME) = {
    .name = TEXT(KVS_VEC_NAME),
    .copy = copy,
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
    .count_pairs = KERN(count_pairs),
    .count_each = KERN(count_each),
    .sort = KERN(sort),
    .turn = KERN(turn),
    .outside = KERN(outside),
    .place = KERN(place),
    .rans_decode = KERN(rans_decode),
    .rans_encode = KERN(rans_encode),
};
