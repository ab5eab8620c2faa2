/*
 * scratch.h - the room's own view of a planner's working memory: one block, grown when needed.
 */
#ifndef KVS_PLAN_SCRATCH_H
#define KVS_PLAN_SCRATCH_H

#include "plan.h"

#include <stddef.h>

/*
 * n_bytes of memory, aligned to 64, contents undefined; what an earlier call gave is gone. NULL: no
 * memory.
 */
void *kvs_plan_scratch_mem(struct kvs_plan_scratch *scratch, size_t n_bytes);

#endif
