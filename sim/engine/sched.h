/*
 * sched.h - which prompt of a replica goes first: into HBM, and into the next prefill step. A
 * scheduler is one file sched_NAME.c and one line of sched_list.h.
 */
#ifndef KVS_SCHED_H
#define KVS_SCHED_H

#include <stdint.h>

/* What a scheduler sees of a prompt that waits, admitted or not. */
struct kvs_sched_view {
    uint32_t hit_tok;  /* found in HBM or a tier */
    uint32_t left_tok; /* tokens that it has still to compute: absent, and recomputed by its plan */
};

struct kvs_sched_ops {
    const char *name, *help;
    /*
     * The lowest rank goes first; ties to the earlier arrival. NULL: order of arrival. Whatever the
     * rank, a prompt that arrived KVS_SCHED_AGE_NS ago goes before all that did not, the oldest
     * first, so that none starves; and of those without room yet only the KVS_SCHED_WINDOW oldest
     * are compared, which bounds the look-ups (SGLang's longest-prefix-match gives way to order of
     * arrival at the same 128).
     */
    int64_t (*rank)(const struct kvs_sched_view *view);
};

#define KVS_SCHED_AGE_NS (60 * (int64_t)1000000000)
#define KVS_SCHED_WINDOW 128

extern const struct kvs_sched_ops *const kvs_sched_list[];    /* NULL-ended */
const struct kvs_sched_ops *kvs_sched_find(const char *name); /* NULL if there is none */

#endif
