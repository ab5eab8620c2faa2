/*
 * subject.h - the model that prefill, codec and quality are measured with.
 *
 * A weights file, or the name of a shape in configs/models with seeded random weights: times are
 * the same, quality needs real ones. By default SmolLM2-135M: the file that `make models` fetches
 * ($KVS_SMOLLM2, models/) where it is there, else its shape.
 */
#ifndef KVS_PROBES_SUBJECT_H
#define KVS_PROBES_SUBJECT_H

#include "kernels/weights/weights.h"

struct kvs_subject {
    char name[64]; /* of configs/models where the shape is one of theirs, else the file's */
    bool real;     /* weights of a file */
    struct kvs_weights *weights;
};

/* name_or_file: NULL for the default. */
KVS_MUST_CHECK enum kvs_code kvs_subject_open(const char *name_or_file, uint64_t seed,
                                              struct kvs_subject *subject, struct kvs_err *err);
void kvs_subject_close(struct kvs_subject *subject); /* accepts one that is not open */

#endif
