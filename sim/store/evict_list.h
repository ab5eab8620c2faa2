/*
 * evict_list.h - the eviction policies, one line each; the order is that of options and reports.
 *
 * No include guard: it is included where X is defined.
 */
X(lru)
X(fifo)
X(s3fifo)
X(lfu)
X(sieve)
X(gdsf)
X(pgdsf)
X(pensieve)
X(cost)
X(belady)
