#include "scratch.h"

#include "labels.h"

#include <stdlib.h>

#define ALIGN_BYTES 64u

struct kvs_plan_scratch {
    void *mem;
    size_t n_bytes;
    struct kvs_labels *labels;
    const struct kvs_plan_watch *watch;
    const struct kvs_plan *known;
    uint32_t n_known;
};

struct kvs_plan_scratch *kvs_plan_scratch_new(void)
{
    return calloc(1, sizeof(struct kvs_plan_scratch));
}

void kvs_plan_scratch_free(struct kvs_plan_scratch *scratch)
{
    if (!scratch)
        return;
    free(scratch->mem);
    kvs_labels_free(scratch->labels);
    free(scratch);
}

void *kvs_plan_scratch_mem(struct kvs_plan_scratch *scratch, size_t n_bytes)
{
    if (n_bytes > SIZE_MAX - ALIGN_BYTES)
        return NULL;
    if (!scratch->mem || scratch->n_bytes < n_bytes) {
        size_t round = (n_bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;

        free(scratch->mem);
        scratch->n_bytes = 0;
        scratch->mem = aligned_alloc(ALIGN_BYTES, round ? round : ALIGN_BYTES);
        if (!scratch->mem)
            return NULL;
        scratch->n_bytes = round;
    }
    return scratch->mem;
}

void kvs_plan_scratch_watch(struct kvs_plan_scratch *scratch, const struct kvs_plan_watch *watch)
{
    scratch->watch = watch;
}

const struct kvs_plan_watch *kvs_plan_scratch_watched(const struct kvs_plan_scratch *scratch)
{
    return scratch->watch;
}

void kvs_plan_scratch_know(struct kvs_plan_scratch *scratch, const struct kvs_plan *plan,
                           uint32_t n)
{
    scratch->known = plan;
    scratch->n_known = n;
}

const struct kvs_plan *kvs_plan_scratch_known(const struct kvs_plan_scratch *scratch, uint32_t *n)
{
    *n = scratch->n_known;
    return scratch->known;
}

struct kvs_labels *kvs_plan_scratch_labels(struct kvs_plan_scratch *scratch)
{
    if (!scratch->labels)
        scratch->labels = kvs_labels_new();
    return scratch->labels;
}
