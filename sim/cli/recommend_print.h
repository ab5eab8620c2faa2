/*
 * recommend_print.h - what kvsim recommend tells: the answer, the front, what matters, settings,
 * prices.
 */
#ifndef KVS_RECOMMEND_PRINT_H
#define KVS_RECOMMEND_PRINT_H

#include "report/workload.h"
#include "study/recommend.h"

struct kvs_recommend_view {
    const struct kvs_space *space;
    const struct kvs_slo *slo;
    const struct kvs_recommend *found;
    const struct kvs_workload *workload;
};

void kvs_recommend_print(const struct kvs_recommend_view *view);

#endif
