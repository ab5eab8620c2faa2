/*
 * exec_lab.h - a small model on a device, a prompt whose blocks are stored at a few levels, and the
 * logits that full prefill gives: what tests of the executor run plans against.
 */
#ifndef KVS_EXEC_LAB_H
#define KVS_EXEC_LAB_H

#include "kernels/exec/exec.h"

enum { LAB_BLOCK_TOK = 4, LAB_N_BLOCK = 5, LAB_NEW = 3, LAB_N_FORM = 3, LAB_MAX_LAYER = 8 };
enum { LAB_RAW, LAB_P8, LAB_HIDDEN }; /* forms */
enum { LAB_N_TOK = LAB_BLOCK_TOK * LAB_N_BLOCK + LAB_NEW };

struct exec_lab {
    struct kvs_dev *dev;
    struct kvs_stream *stream;
    struct kvs_weights *weights;
    struct kvs_forward *forward;
    struct kvs_exec *exec;
    struct kvs_store *store;
    uint32_t n_layer, n_vocab, tok[LAB_N_TOK];
    struct kvs_block_key key[LAB_N_BLOCK];
    struct kvs_stored *stored[LAB_N_BLOCK][LAB_N_FORM];
    struct kvs_exec_block block[LAB_N_BLOCK];
    uint32_t cut[LAB_MAX_LAYER];
    uint8_t form[LAB_MAX_LAYER];
    struct kvs_exec_plan plan; /* all loaded, raw16 */
    float *full, *logits;      /* of full prefill; of a run */
    struct kvs_exec_result result;
};

/* 4 layers of hidden 48, 6 heads over 2 of 8 dims, seeded; kvs_weights_close ends them. */
struct kvs_weights *exec_lab_weights(void);
/* backend: "ref", "cpu", "simt"; weights: NULL for tiny random ones, else the lab's from then on;
 * dir: a folder for the store, its own. */
void exec_lab_open(struct exec_lab *lab, const char *backend, uint64_t seed,
                   struct kvs_weights *weights, const char *dir, const struct kvs_exec_opt *opt);
void exec_lab_close(struct exec_lab *lab);
/* Poisons the cache and runs the plan; fails the test if the run does. */
void exec_lab_run(struct exec_lab *lab);
/* Largest difference of the run's logits to those of full prefill; NaN stays. */
double exec_lab_apart(const struct exec_lab *lab);

#endif
