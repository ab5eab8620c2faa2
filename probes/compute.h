/*
 * compute.h - from points of prefill.h to what a profile says of a device: the "compute" entry of
 * the layers measured, and operator figures for layers of other shapes. Pure.
 */
#ifndef KVS_PROBES_COMPUTE_H
#define KVS_PROBES_COMPUTE_H

#include "point.h"

#include "kernels/weights/weights.h"

/* Whose layers were measured, on what. */
struct kvs_compute_of {
    const char *model, *device; /* as the entry names them */
    const struct kvs_weights_shape *shape;
    unsigned weight_bytes; /* of an element, as the device multiplies them */
    double memory_bytes;   /* of the device; 0: not known */
};

/*
 * The entry: attention as measured alone, the linear part as what whole layers take beyond it
 * (median over contexts), made to never fall as rows and context grow. NULL if the points do not
 * tell it (*why, a constant) or memory ends (*why is NULL).
 */
json_t *kvs_compute_entry(const struct kvs_compute_of *of, const struct kvs_points *points,
                          const char **why);
/* The figures of "gpu", for a device that is not in a data sheet. NULL likewise. */
json_t *kvs_compute_gpu(const struct kvs_compute_of *of, const struct kvs_points *points,
                        const char **why);

#endif
