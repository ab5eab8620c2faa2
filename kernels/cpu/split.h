/*
 * split.h - an operator as several that can run at once: rows, columns of a GEMM, heads and queries
 * of attention. Each part writes what no other reads or writes.
 */
#ifndef KVS_CPU_SPLIT_H
#define KVS_CPU_SPLIT_H

#include "kernels/backend.h"

/* Into how many parts n_thread threads should share it; at least 1. */
unsigned kvs_split_n(const struct kvs_item *item, unsigned n_thread);
/* Part i of n; it may be empty. */
struct kvs_item kvs_split(const struct kvs_item *item, unsigned n, unsigned i);

#endif
