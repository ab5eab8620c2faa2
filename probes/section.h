/*
 * section.h - the parts of a profile: what is opened, which points are measured, in which order.
 */
#ifndef KVS_PROBES_SECTION_H
#define KVS_PROBES_SECTION_H

#include "grid.h"
#include "topology.h"

/* What the command line says; cmd_measure.c explains each. */
struct kvs_probe_options {
    bool quick, standard, full, json, buffered, destroy;
    const char *out, *dir, *target, *peer, *name, *topology, *libs;
    int engine;
    uint64_t file_bytes, port, seed;
};

/* One run of kvprobe, and what it has found so far. */
struct kvs_probe_run {
    struct kvs_probe_options opt;
    int argc;
    char **argv;
    enum kvs_grid_level level;
    struct kvs_effort effort;
    struct kvs_machine machine;
    struct kvs_hooks hooks;
    struct kvs_points points;
    struct kvs_topology *topology;
    json_t *topology_json, *env, *storage, *network, *devices;
    char name[64], section[16], started[32];
    bool complete, tty;
    double memory_rate; /* measured, as the ceiling of what passes through memory */
};

/* The registry, in the order in which they are measured; all but the first may be asked for alone.
 */
struct kvs_section {
    const char *name;
    enum kvs_code (*measure)(struct kvs_probe_run *run, struct kvs_err *err);
};
#define KVS_N_SECTION 5
extern const struct kvs_section kvs_sections[KVS_N_SECTION];

void kvs_probe_end_progress(const struct kvs_probe_run *run); /* takes the line away */

#endif
