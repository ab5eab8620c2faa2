/*
 * memtrace.h - a trace made of an array of requests, for tests of what consumes traces.
 */
#ifndef KVS_MEMTRACE_H
#define KVS_MEMTRACE_H

#include "workloads/trace.h"

/* Borrows the requests, which are in order of arrival. NULL: no memory. */
struct kvs_trace *memtrace(const struct kvs_request *request, size_t n, bool chained);

#endif
