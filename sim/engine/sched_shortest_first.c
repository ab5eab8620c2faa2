/*
 * sched_shortest_first.c - the prompt with the least left to compute. What a cache holds of a
 * prompt makes it shorter, and each prefill chunk of it too (shortest remaining work first).
 */
#include "sched.h"

extern const struct kvs_sched_ops kvs_sched_shortest_first;

static int64_t rank(const struct kvs_sched_view *view)
{
    return view->left_tok;
}

const struct kvs_sched_ops kvs_sched_shortest_first = {
    .name = "shortest-first",
    .help = "least left to compute first; after 60 s in order of arrival",
    .rank = rank,
};
