/*
 * store_lab.h - made-up blocks for the tests of stores, and a Redis server of their own.
 */
#ifndef KVS_STORE_LAB_H
#define KVS_STORE_LAB_H

#include "kernels/store/reader.h"

#include <sys/types.h>

enum { LAB_LAYERS = 3, LAB_TOK = 32, LAB_HEADS = 2, LAB_DIM = 64, LAB_CHAN = LAB_HEADS * LAB_DIM };

struct lab_block {
    struct kvs_block_key key;
    uint16_t *x[LAB_LAYERS * 2];
    uint8_t *file;
    size_t n_byte;
};

/* Seeded elements, at a level. */
struct lab_block lab_block(uint64_t seed, enum kvs_level level);
void lab_block_free(struct lab_block *block);
/* Put under the level's name; fails the test if that fails. */
void lab_put(struct kvs_store *store, const struct lab_block *block, enum kvs_level level);
struct kvs_store *lab_open(const char *place); /* made where it is not there */

/* A server on a socket in the folder dir; place: "redis:..." of it. 0: there is none here, and
 * *why_not says why. */
pid_t lab_redis(const char *dir, char *place, size_t room, const char **why_not);

#endif
