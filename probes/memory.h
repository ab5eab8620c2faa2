/*
 * memory.h - host memory: read, write, copy by threads and NUMA pair, gathers, and latency.
 *
 * Rates count payload: a copy of n bytes counts n, though the bus carries 2n or, with write
 * allocation, 3n. Buffers are at least four times the last cache, or the point says in_cache.
 */
#ifndef KVS_PROBES_MEMORY_H
#define KVS_PROBES_MEMORY_H

#include "measure.h"

struct kvs_mem; /* from kvs_mem_open, ended by kvs_mem_close */

/* Buffers of buffer_bytes in all on each of the nodes from and to (-1: wherever). cache_bytes is
 * that of the last cache, 0: unknown. */
KVS_MUST_CHECK enum kvs_code kvs_mem_open(uint64_t buffer_bytes, int from_node, int to_node,
                                          uint64_t seed, const volatile int *stop,
                                          struct kvs_mem **mem, struct kvs_err *err);
void kvs_mem_close(struct kvs_mem *mem); /* accepts NULL */

/*
 * A kvs_run_fn. The point's probe is memory.read, memory.write, memory.copy (jobs threads, each on
 * its part), memory.gather (one thread copies pieces of size_bytes from random places, as a block
 * gather does) or memory.latency (a chase of dependent loads; the sample's histogram holds one
 * value a chase, nanoseconds a load).
 */
enum kvs_code kvs_mem_run(void *mem, struct kvs_point *point, double secs,
                          struct kvs_sample *sample, struct kvs_err *err);

#endif
