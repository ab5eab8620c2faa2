/*
 * share.h - hops that several routes of a prompt share: pipes of their own.
 *
 * Whatever order loads come in, a hop can't have brought the first layers before it had time for
 * all that its routes bring of them. A hop that always works, on the earliest layer that is not
 * there, needs no longer; nothing is held back for a route that brings little, nothing, or is done.
 */
#ifndef KVS_SHARE_H
#define KVS_SHARE_H

#include "tables_in.h"

/* Links that several of the used routes take, but for those that never are slower than another one
 * of at least the same routes. */
void kvs_find_shared(struct kvs_tables_inst *inst);
/* Puts the filled tables of routes, and of shared links that may bind, in the problem's places. */
void kvs_place_pipes(struct kvs_tables_inst *inst, struct kvs_plan_problem *problem);

/* A pipe's entry. What takes days is as good as never, and sums of it stay within the clock. */
int64_t kvs_io_ns(double s);
/* Adds what a route brings to its slowest hop's time, and to those of the shared links [n_shared].
 */
void kvs_share_add(const struct kvs_tables_inst *inst, uint32_t k, double bytes,
                   double n_descriptor, double *route_s, double *shared_s);
/* Fills entry `at` of the shared links' pipes; of links that have one together the slowest counts.
 */
void kvs_share_fill(const struct kvs_tables_inst *inst, const double *shared_s,
                    int64_t *const *pipe_ns, uint32_t at);

#endif
