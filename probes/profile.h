/*
 * profile.h - a machine's profile: the figures that kvsim reads, and the record they rest on.
 *
 * The file is a hardware profile of configs/hardware (format: configs/README.md) with links and
 * tiers as measured, and beside them, kept apart, kvprobe's record: run, env, topology, points with
 * every repeat, fits. Fits are made from the points and can be made again.
 */
#ifndef KVS_PROBES_PROFILE_H
#define KVS_PROBES_PROFILE_H

#include "fit.h"
#include "point.h"

struct kvs_named_fit {
    char probe[KVS_NAME_MAX], target[KVS_NAME_MAX];
    bool noisy; /* of any point */
    struct kvs_link_fit fit;
};

#define KVS_MAX_FIT 32

/* Fits every probe and target whose points tell something; what cannot be fitted is left out. */
KVS_MUST_CHECK enum kvs_code kvs_profile_fits(const struct kvs_points *points, uint64_t seed,
                                              struct kvs_named_fit fits[KVS_MAX_FIT], unsigned *n,
                                              struct kvs_err *err);

/* What the document is made of; the JSON parts are borrowed and may be NULL. */
struct kvs_profile {
    const char *name, *about;
    unsigned gpus_per_host;
    double mem_bytes, disk_bytes; /* capacities, 0: not known */
    json_t *run, *env, *topology;
    json_t *gpu, *compute; /* NULL: null, and none */
    const struct kvs_points *points;
    uint64_t seed;
};

/* The whole document. NULL: no memory. */
json_t *kvs_profile_json(const struct kvs_profile *profile);
/* Writes it to path by way of a temporary name, so that path holds a whole file or the old one.
 * "-": standard output. */
KVS_MUST_CHECK enum kvs_code kvs_profile_write(json_t *json, const char *path, struct kvs_err *err);

/* Reads a profile: its points, and the document, which the caller frees. Any hardware profile of
 * version 1 will do; one without points has none. */
KVS_MUST_CHECK enum kvs_code kvs_profile_open(const char *path, struct kvs_doc **doc,
                                              struct kvs_points *points, struct kvs_err *err);
/* The same from a document, which stays the caller's. */
KVS_MUST_CHECK enum kvs_code kvs_profile_points(const struct kvs_doc *doc,
                                                struct kvs_points *points, struct kvs_err *err);

/* This machine: kernel, processor, memory, libraries, and the disk under dir (NULL: none). */
json_t *kvs_profile_env(const char *dir);
void kvs_profile_host_name(char *buf, size_t room); /* "host-3f2a91c4": a hash, no name */

#endif
