/*
 * scratch.h - the room's own view of a planner's working memory: a block that grows when needed,
 * and labels.
 */
#ifndef KVS_PLAN_SCRATCH_H
#define KVS_PLAN_SCRATCH_H

#include "plan.h"

#include <stddef.h>

struct kvs_labels;

/*
 * n_bytes of memory, aligned to 64, contents undefined; what an earlier call gave is gone. NULL: no
 * memory.
 */
void *kvs_plan_scratch_mem(struct kvs_plan_scratch *scratch, size_t n_bytes);
const struct kvs_plan_watch *kvs_plan_scratch_watched(const struct kvs_plan_scratch *scratch);
/* *n plans that are known. */
const struct kvs_plan *kvs_plan_scratch_known(const struct kvs_plan_scratch *scratch, uint32_t *n);
/* The labels of label setting, which grow. NULL: no memory. */
struct kvs_labels *kvs_plan_scratch_labels(struct kvs_plan_scratch *scratch);

#endif
