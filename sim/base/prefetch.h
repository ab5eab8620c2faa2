/*
 * prefetch.h - asks for a cache line ahead of its use.
 */
#ifndef KVS_BASE_PREFETCH_H
#define KVS_BASE_PREFETCH_H

/*
 * The line at `at`, which need not be readable, will be read soon. gcc takes a function that does
 * nothing but __builtin_prefetch for one without effect and drops the calls; the empty statement
 * is an effect to it.
 */
static inline void kvs_prefetch(const void *at)
{
    __builtin_prefetch(at);
    __asm__ volatile("");
}

#endif
