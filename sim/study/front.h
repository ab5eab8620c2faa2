/*
 * front.h - the configurations of a search as a table and a figure: cost an hour against p99 TTFT.
 */
#ifndef KVS_FRONT_H
#define KVS_FRONT_H

#include "recommend.h"

#include <stdio.h>

/* A row a configuration that ran: cost with wear, p99 TTFT, goodput; meets, front, cheapest: 0
 * or 1. */
void kvs_front_csv(const struct kvs_recommend *recommend, const struct kvs_space *space, FILE *to);
bool kvs_front_has(const char *dir); /* a search has left its table there */
/* dir/cost_front.csv and its drawing; dir is made if it is not there. KVS_ERR_ABSENT without
 * gnuplot: the table is there then. */
KVS_MUST_CHECK enum kvs_code kvs_front_draw(const struct kvs_recommend *recommend,
                                            const struct kvs_space *space, const char *dir,
                                            const char *title, struct kvs_err *err);

#endif
