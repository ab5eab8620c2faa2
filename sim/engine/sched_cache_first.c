/*
 * sched_cache_first.c - the prompt of which most is held: SGLang's longest prefix match (Zheng et
 * al. 2024, section 3.2), which uses blocks before they are evicted.
 */
#include "sched.h"

extern const struct kvs_sched_ops kvs_sched_cache_first;

static int64_t rank(const struct kvs_sched_view *view)
{
    return -(int64_t)view->hit_tok;
}

const struct kvs_sched_ops kvs_sched_cache_first = {
    .name = "cache-hit-first",
    .help = "longest match in HBM and tiers first; after 60 s in order of arrival",
    .rank = rank,
};
