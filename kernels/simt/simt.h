/*
 * simt.h - runs CUDA kernels on the host, thread by thread, to find out whether they are right.
 *
 * Each CUDA thread of a block is a fiber; a fiber runs until it must wait: for its warp at a
 * collective, or for its block at a barrier. Blocks run one after the other. What makes bugs show:
 * fresh shared memory is NaN and exactly as large as asked for; a cp.async poisons its destination
 * and lands only at the wait that covers it; a thread that touches memory outside the device's
 * buffers ends the launch; a schedule may let one warp run as far as it can
 * (which alone exposes overwriting what another still reads). Lanes that meet different
 * collectives, and barriers that not all threads reach, end the launch with an error that lists who
 * waits where. FP32 sums are in plain order, so tensor-core results equal the hardware's within a
 * tolerance only. Fragment layouts are those of the PTX ISA (mma.m16n8k16, ldmatrix).
 *
 * Not modelled: several blocks at once, partial-mask collectives (all 32 lanes must take part, and
 * blocks are whole warps), bank conflicts, coalescing, time.
 */
#ifndef KVS_SIMT_H
#define KVS_SIMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#include "base/err.h"

struct simt; /* one device: fiber stacks and the schedule; from simt_new, ended by simt_free */

enum simt_schedule {
    SIMT_FORWARD, /* even: threads in order */
    SIMT_REVERSE, /* even: last thread first, and last block first */
    SIMT_RANDOM,  /* even on average: a random ready thread each time */
    SIMT_FIRST,   /* greedy: the first warp runs as far as it can */
    SIMT_LAST,    /* greedy: the last warp, and last block first */
    SIMT_N_SCHEDULE
};

/* mutant: which planted bug a mutant build of the kernels shows; 0: none. NULL: no memory. */
struct simt *simt_new(enum simt_schedule schedule, uint64_t seed, int mutant);
void simt_free(struct simt *simt);

/*
 * Global memory: from the first buffer named on, threads may touch nothing else (through the
 * dialect's kvs_ld, kvs_st, kvs_load, kvs_store, kvs_cp_async16). false: no memory.
 */
bool simt_buffer_new(struct simt *simt, const void *base, size_t n_byte);
void simt_buffer_gone(struct simt *simt, const void *base);

/* Runs body(arg) for every thread of every block; block: threads, a multiple of 32, at most 1024.
 */
KVS_MUST_CHECK enum kvs_code simt_run(struct simt *simt, unsigned grid_x, unsigned grid_y,
                                      unsigned block, size_t shared_bytes, void (*body)(void *arg),
                                      void *arg, struct kvs_err *err);

/* What the latest launch asked for, once: false if there was none since the last call. */
bool simt_last_launch(struct simt *simt, unsigned *block, size_t *shared_bytes);

/* --- what the running thread may call: dialect.h gives these their names ---------------------- */

struct simt_self { /* the running thread; one of these a host thread */
    unsigned tid, bid_x, bid_y, block, grid_x;
    int mutant;
    unsigned char *shared;
};
extern __thread struct simt_self simt_self;

struct simt_slot { /* one lane's registers at a collective */
    uint32_t in[8], out[8];
    const void *address;
};
typedef void simt_op(struct simt_slot lane[32], unsigned imm);

/* Waits for all 32 lanes, which must bring the same op and imm; the last one to come runs op. */
void simt_collective(simt_op *op, unsigned imm, struct simt_slot *slot);
void simt_global(const void *at, size_t n_byte); /* reads or writes it */
void simt_barrier(unsigned line);
void simt_cp_async16(void *shared, const void *global, unsigned n_byte); /* zeros after n_byte */
void simt_cp_commit(void);
void simt_cp_wait(unsigned n_left); /* all but the n_left latest groups land */

simt_op simt_shfl_xor, simt_ldmatrix_x4, simt_ldmatrix_x4_trans, simt_mma_16816_bf16;

#ifdef __cplusplus
}
#endif
#endif
