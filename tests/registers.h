/*
 * registers.h - what ptxas said of a file's kernels (build-cuda/NAME.ptxas), held to a budget.
 */
#ifndef KVS_REGISTERS_H
#define KVS_REGISTERS_H

#include <stddef.h>

struct register_budget {
    const char *kernel; /* a part of its mangled name */
    unsigned most;      /* registers a thread */
};

/* Fails the test if a kernel takes more, spills, is not in the budget, or was not compiled for both
 * sm_80 and sm_90a; skips it without nvcc. */
void hold_registers(const char *file, const struct register_budget *budget, size_t n);

#endif
