/*
 * published_in.h - what the parts of published.h share: reading rows, and predicting one.
 */
#ifndef KVS_PUBLISHED_IN_H
#define KVS_PUBLISHED_IN_H

#include "published.h"

/* The table's rows into pub, texts into its arena. */
KVS_MUST_CHECK enum kvs_code kvs_pub_rows(struct kvs_lines *lines, struct kvs_pub *pub,
                                          struct kvs_err *err);

#define KVS_PUB_MAX_HW 64
#define KVS_PUB_MAX_MODEL 64

struct kvs_pub_lib {
    unsigned n_hw, n_model;
    struct kvs_hw *hw[KVS_PUB_MAX_HW];
    struct kvs_model *model[KVS_PUB_MAX_MODEL];
};

KVS_MUST_CHECK enum kvs_code kvs_pub_lib_fill(struct kvs_pub_lib *lib, struct kvs_err *err);
void kvs_pub_lib_free(struct kvs_pub_lib *lib);
/* By name or alias; NULL: none. */
const struct kvs_hw *kvs_pub_hw(const struct kvs_pub_lib *lib, const char *gpu);

/* Sets a row's prediction and error, or why there is none; passed or failed is left to others. */
void kvs_pub_predict(const struct kvs_pub_lib *lib, struct kvs_pub_row *row);

#endif
