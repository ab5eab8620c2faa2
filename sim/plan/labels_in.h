/*
 * labels_in.h - the inside of labels.h: labels, and which of them go on (labels_thin.c).
 */
#ifndef KVS_PLAN_LABELS_IN_H
#define KVS_PLAN_LABELS_IN_H

#include "chain.h"
#include "labels.h"

#define KVS_LABELS_ASKED 256 /* labels between questions of the watch */

struct kvs_label {
    struct kvs_chain_head head;
    double bound; /* the largest any potential proves */
    double base;  /* what the first potential proves */
    double score; /* how promising: the less the more */
    uint32_t trace;
    uint8_t frac_i, low_i; /* low_i: the least so far, which is frac_i where nothing rose */
};

/* How a label came about, for the way back. */
struct kvs_label_trace {
    uint32_t before;
    uint8_t frac_i, level;
};

/* A choice of level and next fraction, by what it costs above the best under the first potential.
 */
struct kvs_label_arc {
    double extra;
    uint8_t level, next;
};

struct kvs_labels {
    struct kvs_label *now, *then;
    size_t n_now, n_then, room;
    struct kvs_label_trace *trace;
    size_t n_trace, trace_room;
    struct kvs_label_arc arc[KVS_MAX_FRAC][KVS_MAX_LEVEL * KVS_MAX_FRAC]; /* of the present layer */
    uint32_t n_arc[KVS_MAX_FRAC];
    bool has_arc[KVS_MAX_FRAC];
    uint8_t arc_low[KVS_MAX_FRAC]; /* the least fraction so far that they were made for */
    int64_t least[KVS_MAX_LAYER + 1][KVS_MAX_FRAC]; /* distortion from the layer on */
};

/* Brings the n most promising labels of a list to the front. */
void kvs_labels_select(struct kvs_label *list, size_t n_list, size_t n);
/* true: whoever watches the search ends it. */
bool kvs_labels_stopped(const struct kvs_label_search *search, uint32_t l, size_t n_partial);
/* Drops labels of `then` that another of their fractions dominates. false: stopped. */
bool kvs_labels_drop(struct kvs_labels *s, const struct kvs_label_search *search, uint32_t l);

#endif
