/*
 * section.h - the parts of a profile: what is opened, which points are measured, in which order.
 */
#ifndef KVS_PROBES_SECTION_H
#define KVS_PROBES_SECTION_H

#include "grid.h"
#include "subject.h"
#include "topology.h"

/* What the command line says; cmd_measure.c explains each. */
struct kvs_probe_options {
    bool quick, standard, full, json, buffered, destroy;
    const char *model, *device, *tokens;
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
    struct kvs_subject subject; /* opened by the first section that computes */
    json_t *compute, *gpu;      /* what the profile says of the device */
    json_t *codec, *quality;    /* files of their own, beside the profile */
    double memory_rate;         /* measured, as the ceiling of what passes through memory */
};

/* The registry, in the order in which they are measured; all but the first may be asked for alone.
 */
struct kvs_probe_section {
    const char *name;
    enum kvs_code (*measure)(struct kvs_probe_run *run, struct kvs_err *err);
};
#define KVS_N_SECTION 8
extern const struct kvs_probe_section kvs_sections[KVS_N_SECTION];

/* For sections: measures tasks with the run's effort, NULL, or another one. */
KVS_MUST_CHECK enum kvs_code kvs_probe_measure(struct kvs_probe_run *run, struct kvs_tasks *tasks,
                                               const struct kvs_effort *effort,
                                               struct kvs_err *err);
/* A section that cannot even begin is one point that says why. */
KVS_MUST_CHECK enum kvs_code kvs_probe_absent(struct kvs_probe_run *run, const char *probe,
                                              const char *target, enum kvs_code why,
                                              const struct kvs_err *reason, struct kvs_err *err);
/* section_model.c */
/* Opens the model, once. */
KVS_MUST_CHECK enum kvs_code kvs_probe_subject(struct kvs_probe_run *run, struct kvs_err *err);
enum kvs_code kvs_probe_prefill(struct kvs_probe_run *run, struct kvs_err *err);
enum kvs_code kvs_probe_codec(struct kvs_probe_run *run, struct kvs_err *err);
enum kvs_code kvs_probe_quality(struct kvs_probe_run *run,
                                struct kvs_err *err); /* section_quality.c */

void kvs_probe_end_progress(const struct kvs_probe_run *run); /* takes the line away */

#endif
