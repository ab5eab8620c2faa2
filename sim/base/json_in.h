/*
 * json_in.h - what json.c and json_set.c share.
 */
#ifndef KVS_JSON_IN_H
#define KVS_JSON_IN_H

#include "json.h"

#define KVS_JSON_DEPTH_MAX 64

struct kvs_doc {
    char *file;
    json_t *root;
    struct kvs_arena *arena; /* paths */
};

/* v, itself at a depth, or anything in it lies deeper than KVS_JSON_DEPTH_MAX. */
bool kvs_json_too_deep(const json_t *v, int depth);

#endif
