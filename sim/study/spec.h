/*
 * spec.h - sweep.json: a workload and the axes over which a study varies it.
 *
 * An axis is a path of the workload with a list of values, a linear or a logarithmic range, or a
 * list of named choices that set several paths at once. Points are all combinations, the last axis
 * fastest. Format: configs/schema/sweep.schema.json.
 */
#ifndef KVS_SPEC_H
#define KVS_SPEC_H

#include "base/opt.h"

#define KVS_MAX_AXIS 16

/* One value of an axis. */
struct kvs_axis_value {
    const char *label;    /* what the table of results shows */
    struct kvs_strs sets; /* PATH=VALUE */
};

struct kvs_axis {
    const char *name; /* a column of the results */
    uint32_t n_value;
    struct kvs_axis_value *value;
};

struct kvs_spec {
    const char *name;     /* the file's, without folder and ".json" */
    const char *workload; /* a name of workloads/, or a path */
    struct kvs_strs sets; /* for every point */
    uint32_t n_axis;
    struct kvs_axis axis[KVS_MAX_AXIS];
    uint64_t n_point;
    struct kvs_doc *doc;
};

/* Reads file ("quick": configs/sweeps/quick.json); more sets from the command line follow its own.
 */
KVS_MUST_CHECK enum kvs_code kvs_spec_open(const char *file, const struct kvs_strs *sets,
                                           struct kvs_spec **spec, struct kvs_err *err);
/* The same from a document, which it takes, also when it fails; file names it. */
KVS_MUST_CHECK enum kvs_code kvs_spec_from(struct kvs_doc *doc, const char *file,
                                           const struct kvs_strs *sets, struct kvs_spec **spec,
                                           struct kvs_err *err);
void kvs_spec_free(struct kvs_spec *spec); /* accepts NULL */

/* Which value of an axis point has. */
uint32_t kvs_spec_value_i(const struct kvs_spec *spec, uint64_t point, uint32_t axis_i);
/* All settings of a point, in the order in which they are put in. */
void kvs_spec_sets(const struct kvs_spec *spec, uint64_t point, struct kvs_strs *sets);

#endif
