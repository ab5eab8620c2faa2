/*
 * grid.h - which points are measured: quick (all under a minute), standard (minutes), full (hours).
 */
#ifndef KVS_PROBES_GRID_H
#define KVS_PROBES_GRID_H

#include "measure.h"
#include "network.h"

enum kvs_grid_level { KVS_QUICK, KVS_STANDARD, KVS_FULL };

struct kvs_effort kvs_grid_effort(enum kvs_grid_level level, uint64_t seed);

struct kvs_tasks {
    unsigned n, room;
    struct kvs_task *v;
    struct kvs_points *points; /* new points go here */
};

/* A new point with its task: depth and jobs 1. NULL: no memory. */
struct kvs_point *kvs_tasks_add(struct kvs_tasks *tasks, const char *probe, const char *target,
                                void *self, kvs_run_fn *run);
/* Each adds a section's points and the tasks that measure them. false: no memory. */
bool kvs_grid_memory(struct kvs_tasks *tasks, enum kvs_grid_level level, unsigned n_core,
                     const char *target, void *mem, kvs_run_fn *run);
bool kvs_grid_storage(struct kvs_tasks *tasks, enum kvs_grid_level level, const char *path,
                      bool can_write, uint64_t file_bytes, void *disk, kvs_run_fn *run);
/* transport: "tcp", or a libfabric provider. is_usual: as one would wait there; quick measures no
 * more than the latency of the other way. */
bool kvs_grid_network(struct kvs_tasks *tasks, enum kvs_grid_level level, const char *peer,
                      const char *transport, enum kvs_net_wait wait, bool is_usual, void *net,
                      kvs_run_fn *run);
/* The latency of the smallest read, and copies, with something else going on: busy.h. beside says
 * what, for people. */
bool kvs_grid_loaded(struct kvs_tasks *tasks, const char *peer, const char *transport,
                     enum kvs_net_wait wait, const char *beside, void *busy, kvs_run_fn *run);
bool kvs_grid_copy_busy(struct kvs_tasks *tasks, const char *gpu, const char *beside, void *busy,
                        kvs_run_fn *run);
bool kvs_grid_gds(struct kvs_tasks *tasks, enum kvs_grid_level level, const char *gpu,
                  uint64_t file_bytes, void *gds, kvs_run_fn *run);
bool kvs_grid_copy(struct kvs_tasks *tasks, enum kvs_grid_level level, const char *gpu, void *copy,
                   kvs_run_fn *run);

#endif
