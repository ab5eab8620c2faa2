/*
 * point.h - one measured point: what was asked, every repeat, and what the repeats say together.
 *
 * Points are what a profile keeps of measuring; fits are made from them and can be made again. SI
 * bytes, seconds, nanoseconds. Absent hardware is status unavailable with a reason, never a zero.
 */
#ifndef KVS_PROBES_POINT_H
#define KVS_PROBES_POINT_H

#include "base/hist.h"
#include "base/json.h"
#include "stat.h"

enum kvs_status { KVS_MEASURED_OK, KVS_UNAVAILABLE, KVS_FAILED };

#define KVS_NAME_MAX 48
#define KVS_REASON_MAX 256

struct kvs_bin {
    uint64_t value, n; /* n values of at most value, over the bin before */
};

/* What a run of a benchmark hands over. */
struct kvs_sample {
    double secs;            /* the window */
    uint64_t bytes, ops;    /* completed inside it */
    double bytes_per_s;     /* the sum of the jobs' rates */
    double cpu_ns;          /* of this process inside the window; < 0: not known */
    struct kvs_hist lat_ns; /* of one operation (or of one load), from before submit to reap */
};

/* The state of the machine around one repeat; < 0 where the kernel does not tell. */
struct kvs_health {
    double psi_cpu_frac; /* share of time in which some task waited for a core */
    double steal_frac;   /* of all cores' time, taken by the hypervisor */
    double gap_frac;     /* of the spin-gap canary before the repeat */
    double n_runnable;   /* tasks on or waiting for a core, before the repeat */
    double nivcsw;       /* involuntary context switches of this process */
};

struct kvs_repeat {
    double t0_s; /* since the epoch */
    double secs, bytes_per_s, cpu_ns_per_op;
    uint64_t bytes, ops;
    double p50_ns, p90_ns, p99_ns, p999_ns, max_ns; /* NaN if no latency was taken */
    struct kvs_health health;
    size_t n_bin;
    struct kvs_bin *bin; /* the whole histogram, empty bins left out */
};

struct kvs_point {
    char probe[KVS_NAME_MAX];  /* "storage.read" */
    char target[KVS_NAME_MAX]; /* "disk0", "node0", "127.0.0.1" */
    enum kvs_status status;
    char reason[KVS_REASON_MAX]; /* of a status that is not ok, or of noisy and suspect */
    char source[KVS_NAME_MAX];   /* "measured", "imported" */
    uint64_t size_bytes, depth, jobs, n_descriptor; /* 0: does not apply */
    json_t *params;             /* the rest: pattern, path, engine, flags; owned, may be NULL */
    double ceiling_bytes_per_s; /* more than this is not to be believed; 0: none known */
    bool steady, noisy, suspect;
    unsigned n_repeat;
    struct kvs_repeat repeat[KVS_MAX_REPEAT];
    struct kvs_summary rate, p50, p99; /* bytes per second; nanoseconds */
};

struct kvs_points {
    size_t n, room;
    struct kvs_point **v; /* each stays where it is */
};

void kvs_points_free(struct kvs_points *points);
/* A new point at the end, zeroed but for probe, target, status ok, source measured. NULL: no
 * memory. */
struct kvs_point *kvs_points_add(struct kvs_points *points, const char *probe, const char *target);
/* Takes params into the point (also when it fails): false: no memory. */
bool kvs_point_set(struct kvs_point *point, const char *key, json_t *value);
const char *kvs_point_param(const struct kvs_point *point,
                            const char *key); /* "" if no such text */
void kvs_point_unavailable(struct kvs_point *point, enum kvs_status status, const char *reason);

/* Adds a repeat made of sample, histogram and all. KVS_ERR_RANGE: no room; KVS_ERR_NOMEM. */
KVS_MUST_CHECK enum kvs_code kvs_point_repeat(struct kvs_point *point,
                                              const struct kvs_sample *sample,
                                              const struct kvs_health *health, double t0_s,
                                              struct kvs_err *err);
/* Sums the repeats up and judges them: rate, p50, p99, steady, noisy, suspect, reason. */
void kvs_point_judge(struct kvs_point *point, unsigned n_core, uint64_t seed);

/* A line for people and for compare: "storage.read disk0 1 MiB x 32 rand direct". */
char *kvs_point_title(const struct kvs_point *point, char *buf, size_t room);

json_t *kvs_point_json(const struct kvs_point *point); /* NULL: no memory */
/* Reads what kvs_point_json wrote, and adds it. Bad input names its path. */
KVS_MUST_CHECK enum kvs_code kvs_point_read(struct kvs_json node, struct kvs_points *points,
                                            struct kvs_err *err);

#endif
