/* memory.c - what the encoder writes into, kept from file to file. */
#include "encode.h"

#include <stdlib.h>
#include <sys/mman.h>

/* Memory for much at once, n > 0: few page faults. Ended by free. */
static void *big_alloc(size_t n)
{
    const size_t huge = 2 << 20;
    size_t align = n < 2 * huge ? 64 : huge;
    void *p = aligned_alloc(align, (n + align - 1) / align * align);

    if (p && n >= 2 * huge)
        (void)madvise(p, n, MADV_HUGEPAGE); /* a kernel without them does as well */
    return p;
}

void kvs_kvf_memory_free(struct kvs_kvf_memory *memory)
{
    free(memory->bytes);
    free(memory->symbol);
    free(memory->section);
    *memory = (struct kvs_kvf_memory){0};
}

uint8_t *kvs_memory_room(uint8_t **room, size_t *n_room, size_t n)
{
    if (*n_room < n) {
        free(*room);
        *room = big_alloc(n);
        *n_room = *room ? n : 0;
    }
    return *room;
}
