/*
 * recommend_print.h - what kvsim recommend tells: the answer, the front, what matters, settings,
 * prices. With -o it is left in the folder too, as KVS_RECOMMEND_TXT, for `kvsim report`.
 */
#ifndef KVS_RECOMMEND_PRINT_H
#define KVS_RECOMMEND_PRINT_H

#include "report/workload.h"
#include "study/recommend.h"

#include <stdio.h>

#define KVS_RECOMMEND_TXT "recommend.txt"

struct kvs_recommend_view {
    const struct kvs_space *space;
    const struct kvs_slo *slo;
    const struct kvs_recommend *found;
    const struct kvs_workload *workload;
    FILE *to;
};

void kvs_recommend_print(const struct kvs_recommend_view *view);

#endif
